
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The header scanner.  Names of fields are looked at byte by byte, everything
 * else is passed over in strides: the end of a line with memchr(), bytes
 * over 127 a word at a time.
 *
 *             CR                 LF
 *     START ------> EMPTY -------------> (done)
 *       | |            | other: malformed
 *       | | SP HT      v
 *       | +---------> REST <----------------+---------------+
 *       |              | CR LF: START       | : (a field)   | : (a field)
 *       | other        v                    | other:        | other:
 *       +-----------------------> NAME -----+ malformed     | malformed
 *                                   | SP HT                 |
 *                                   +--------> BLANK -------+
 */


#include "ngx_smtp_header.h"


#define NGX_SMTP_HEADER_START  0
#define NGX_SMTP_HEADER_EMPTY  1
#define NGX_SMTP_HEADER_NAME   2
#define NGX_SMTP_HEADER_BLANK  3
#define NGX_SMTP_HEADER_REST   4


static ngx_uint_t ngx_smtp_header_octet(ngx_smtp_header_t *h, u_char ch);
static u_char *ngx_smtp_header_rest(ngx_smtp_header_t *h, u_char *p,
    u_char *last);
static void ngx_smtp_header_field(ngx_smtp_header_t *h);
static void ngx_smtp_header_malformed(ngx_smtp_header_t *h, u_char ch);


void
ngx_smtp_header_init(ngx_smtp_header_t *h, off_t max_size,
    ngx_uint_t max_fields)
{
    ngx_memzero(h, sizeof(ngx_smtp_header_t));

    h->max_size = max_size;
    h->max_fields = max_fields;
}


ngx_int_t
ngx_smtp_header_scan(ngx_smtp_header_t *h, u_char *data, size_t len)
{
    u_char      *p, *start, *last;
    ngx_uint_t   cut;

    if (h->error) {
        return h->error;
    }

    if (h->done) {
        return NGX_OK;
    }

    /*
     * Stopping exactly at the limit makes the answer independent of how the
     * message is sliced.
     */

    cut = 0;

    if (h->max_size && (off_t) len > h->max_size - h->size) {
        len = h->max_size - h->size;
        cut = 1;
    }

    start = data;
    last = data + len;

    for (p = data; p < last; /* void */ ) {

        if (h->state == NGX_SMTP_HEADER_REST) {
            p = ngx_smtp_header_rest(h, p, last);
            continue;
        }

        if (ngx_smtp_header_octet(h, *p++)) {
            break;
        }

        if (h->error) {
            break;
        }
    }

    h->size += p - start;

    if (h->error) {
        return h->error;
    }

    if (h->done) {
        return NGX_OK;
    }

    if (cut) {
        h->error = NGX_SMTP_HEADER_TOO_LARGE;
        return h->error;
    }

    return NGX_AGAIN;
}


ngx_int_t
ngx_smtp_header_end(ngx_smtp_header_t *h)
{
    if (h->error) {
        return h->error;
    }

    if (h->done) {
        return NGX_OK;
    }

    switch (h->state) {

    case NGX_SMTP_HEADER_EMPTY:
    case NGX_SMTP_HEADER_NAME:
    case NGX_SMTP_HEADER_BLANK:
        h->malformed++;
        break;

    default:
        break;
    }

    h->done = 1;

    return NGX_OK;
}


void
ngx_smtp_header_body(ngx_smtp_header_t *h, u_char *data, size_t len)
{
    if (!h->body_8bit && ngx_smtp_header_8bit(data, len)) {
        h->body_8bit = 1;
    }
}


ngx_uint_t
ngx_smtp_header_8bit(u_char *data, size_t len)
{
    u_char    *p, *last;
    uint64_t   w[4];

    p = data;
    last = data + len;

    /* copies, as the data may be anywhere; compilers make them loads */

    for ( /* void */ ; (size_t) (last - p) >= sizeof(w); p += sizeof(w)) {
        ngx_memcpy(w, p, sizeof(w));

        if ((w[0] | w[1] | w[2] | w[3]) & 0x8080808080808080ULL) {
            return 1;
        }
    }

    for ( /* void */ ; p < last; p++) {
        if (*p & 0x80) {
            return 1;
        }
    }

    return 0;
}


/* one octet outside of the rest of a line; 1: the header has ended */

static ngx_uint_t
ngx_smtp_header_octet(ngx_smtp_header_t *h, u_char ch)
{
    switch (h->state) {

    case NGX_SMTP_HEADER_START:

        if (ch == CR) {
            h->state = NGX_SMTP_HEADER_EMPTY;
            break;
        }

        if (ch == ' ' || ch == '\t') {

            if (h->fields == 0) {
                /* there is nothing yet that it could continue */
                ngx_smtp_header_malformed(h, ch);
                break;
            }

            h->state = NGX_SMTP_HEADER_REST;
            h->cr = 0;
            break;
        }

        if (ch == ':') {
            ngx_smtp_header_malformed(h, ch);
            break;
        }

        h->state = NGX_SMTP_HEADER_NAME;
        h->name_len = 0;

        /* fall through */

    case NGX_SMTP_HEADER_NAME:

        if (ch == ':') {
            ngx_smtp_header_field(h);
            break;
        }

        if (ch == ' ' || ch == '\t') {
            h->state = NGX_SMTP_HEADER_BLANK;
            break;
        }

        if (ch <= ' ' || ch >= 0x7f) {
            ngx_smtp_header_malformed(h, ch);
            break;
        }

        if (h->name_len < NGX_SMTP_HEADER_NAME_LEN) {
            h->name[h->name_len] = ch;
        }

        if (h->name_len <= NGX_SMTP_HEADER_NAME_LEN) {
            h->name_len++;
        }

        break;

    case NGX_SMTP_HEADER_BLANK:

        /* obsolete syntax, RFC 5322 section 4.5: "Name : value" */

        if (ch == ':') {
            ngx_smtp_header_field(h);

        } else if (ch != ' ' && ch != '\t') {
            ngx_smtp_header_malformed(h, ch);
        }

        break;

    default: /* NGX_SMTP_HEADER_EMPTY */

        if (ch == LF) {
            h->done = 1;
            return 1;
        }

        ngx_smtp_header_malformed(h, ch);
        break;
    }

    return 0;
}


/* passes over the rest of a line, or of the slice */

static u_char *
ngx_smtp_header_rest(ngx_smtp_header_t *h, u_char *p, u_char *last)
{
    u_char  *start, *lf;

    start = p;

    for ( ;; ) {
        lf = memchr(p, LF, last - p);

        if (lf == NULL) {
            h->cr = (last[-1] == CR);
            p = last;
            break;
        }

        p = lf + 1;

        if ((lf == start) ? h->cr : (lf[-1] == CR)) {
            h->state = NGX_SMTP_HEADER_START;
            break;
        }

        if (p == last) {
            h->cr = 0;
            break;
        }
    }

    if (!h->header_8bit && ngx_smtp_header_8bit(start, p - start)) {
        h->header_8bit = 1;
    }

    return p;
}


static void
ngx_smtp_header_field(ngx_smtp_header_t *h)
{
    u_char      *name;
    ngx_uint_t   len;

#define ngx_smtp_header_is(s)                                                 \
    (len == sizeof(s) - 1                                                     \
     && ngx_strncasecmp(name, (u_char *) s, sizeof(s) - 1) == 0)

    name = h->name;
    len = h->name_len;

    if (h->max_fields && h->fields == h->max_fields) {
        h->error = NGX_SMTP_HEADER_TOO_MANY;
        return;
    }

    h->fields++;

    if (ngx_smtp_header_is("Received")) {
        h->received++;

    } else if (ngx_smtp_header_is("Date")) {
        h->date = 1;

    } else if (ngx_smtp_header_is("From")) {
        h->from = 1;

    } else if (ngx_smtp_header_is("Message-ID")) {
        h->message_id = 1;

    } else if (ngx_smtp_header_is("Auto-Submitted")) {
        h->auto_submitted = 1;
    }

    h->state = NGX_SMTP_HEADER_REST;
    h->cr = 0;

#undef ngx_smtp_header_is
}


/* ch made the line no field; it may be the CR that ends it */

static void
ngx_smtp_header_malformed(ngx_smtp_header_t *h, u_char ch)
{
    h->malformed++;

    h->state = NGX_SMTP_HEADER_REST;
    h->cr = (ch == CR);

    if (ch & 0x80) {
        h->header_8bit = 1;
    }
}
