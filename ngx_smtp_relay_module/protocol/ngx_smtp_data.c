
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Data framing: see the header.  Most of a message is plain: lines that end in
 * CRLF and do not begin with a dot.  It is found by ngx_smtp_data_plain(), in
 * one pass, and moved in runs of many lines; the state machines below see the
 * rest, and work in runs of up to a line.
 *
 * Decoder:
 *                      "."             CR              LF
 *     BOL  ---------------> DOT -------------> DOT_CR ------> the end
 *      ^  \  other           | other            | other
 *      |   '---> TEXT <------'  (dot dropped)   |  (dot dropped)
 *   LF |          | CR                          |
 *      '-------  CR  <--------------------------'
 *
 * A CR is held back in CR until it is known whether it is a bare one.  NL is
 * TEXT behind a bare newline that was normalized: the output is at the begin
 * of a line, but the input, as a strict reader sees it, is not.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_data.h"


#define NGX_SMTP_DATA_ST_BOL     0
#define NGX_SMTP_DATA_ST_DOT     1
#define NGX_SMTP_DATA_ST_DOT_CR  2
#define NGX_SMTP_DATA_ST_TEXT    3
#define NGX_SMTP_DATA_ST_CR      4
#define NGX_SMTP_DATA_ST_NL      5

/*
 * Runs are looked for in windows: else input made of nothing but bare CRs
 * would have all that follows searched for an LF at each of them.
 */
#define NGX_SMTP_DATA_WINDOW  1024

/* octets that are looked at together, by the vector unit if there is one */
#define NGX_SMTP_DATA_BLOCK   16


typedef u_char  ngx_smtp_data_vector_t
    __attribute__((vector_size(NGX_SMTP_DATA_BLOCK)));


static ngx_int_t ngx_smtp_data_run(ngx_smtp_data_decoder_t *d, u_char **pos,
    u_char *last, u_char **out, u_char *out_last, ngx_uint_t dots);
static ngx_int_t ngx_smtp_data_text(ngx_smtp_data_decoder_t *d, u_char **pos,
    u_char *last, u_char **out, u_char *out_last, ngx_uint_t dots);
static ngx_int_t ngx_smtp_data_newline(ngx_smtp_data_decoder_t *d,
    u_char **pos, u_char **out, u_char *out_last);
static ngx_int_t ngx_smtp_data_cr(ngx_smtp_data_decoder_t *d, u_char **pos,
    u_char **out, u_char *out_last);
static ngx_int_t ngx_smtp_data_put(ngx_smtp_data_decoder_t *d, u_char **out,
    u_char *out_last, const char *s, size_t n);
static u_char *ngx_smtp_data_plain(u_char *p, u_char *last, ngx_uint_t dots,
    ngx_uint_t *seen);
static ngx_uint_t ngx_smtp_data_any(ngx_smtp_data_vector_t v);
static ngx_uint_t ngx_smtp_data_look(u_char *p, u_char *last);
static u_char *ngx_smtp_data_line_end(u_char *p, u_char *last);


void
ngx_smtp_data_decoder_init(ngx_smtp_data_decoder_t *d, ngx_uint_t newline)
{
    ngx_memzero(d, sizeof(ngx_smtp_data_decoder_t));

    d->newline = newline;
    d->state = NGX_SMTP_DATA_ST_BOL;
}


ngx_int_t
ngx_smtp_data_decode(ngx_smtp_data_decoder_t *d, u_char **pos, u_char *last,
    u_char **out, u_char *out_last)
{
    return ngx_smtp_data_run(d, pos, last, out, out_last, 1);
}


void
ngx_smtp_chunk_begin(ngx_smtp_data_decoder_t *d, off_t size)
{
    d->left = size;
}


ngx_int_t
ngx_smtp_chunk_decode(ngx_smtp_data_decoder_t *d, u_char **pos, u_char *last,
    u_char **out, u_char *out_last)
{
    u_char     *start;
    ngx_int_t   rc;

    start = *pos;

    if (last - start > d->left) {
        last = start + d->left;
    }

    rc = ngx_smtp_data_run(d, pos, last, out, out_last, 0);

    d->left -= *pos - start;

    if (rc == NGX_AGAIN && d->left == 0) {
        return NGX_DONE;
    }

    return rc;
}


ngx_int_t
ngx_smtp_chunk_finish(ngx_smtp_data_decoder_t *d, u_char **out,
    u_char *out_last)
{
    ngx_int_t  rc;

    switch (d->state) {

    case NGX_SMTP_DATA_ST_TEXT:
        rc = ngx_smtp_data_put(d, out, out_last, CRLF, 2);
        break;

    case NGX_SMTP_DATA_ST_CR:
        d->seen |= NGX_SMTP_DATA_BARE_CR;

        if (d->newline == NGX_SMTP_NEWLINE_NORMALIZE) {
            rc = ngx_smtp_data_put(d, out, out_last, CRLF, 2);
            break;
        }

        rc = ngx_smtp_data_put(d, out, out_last, "\r" CRLF, 3);
        break;

    default: /* NGX_SMTP_DATA_ST_BOL, NGX_SMTP_DATA_ST_NL */
        rc = NGX_OK;
    }

    if (rc != NGX_OK) {
        return rc;
    }

    d->state = NGX_SMTP_DATA_ST_BOL;

    return NGX_DONE;
}


/* NGX_AGAIN, NGX_DONE, NGX_SMTP_DATA_FULL */

static ngx_int_t
ngx_smtp_data_run(ngx_smtp_data_decoder_t *d, u_char **pos, u_char *last,
    u_char **out, u_char *out_last, ngx_uint_t dots)
{
    ngx_int_t  rc;

    while (*pos < last) {

        rc = NGX_OK;

        switch (d->state) {

        case NGX_SMTP_DATA_ST_BOL:

            if (dots && **pos == '.') {
                (*pos)++;
                d->state = NGX_SMTP_DATA_ST_DOT;
                break;
            }

            rc = ngx_smtp_data_text(d, pos, last, out, out_last, dots);
            break;

        case NGX_SMTP_DATA_ST_DOT:

            if (**pos == CR) {
                (*pos)++;
                d->state = NGX_SMTP_DATA_ST_DOT_CR;
                break;
            }

            d->state = NGX_SMTP_DATA_ST_TEXT;
            break;

        case NGX_SMTP_DATA_ST_DOT_CR:

            if (**pos == LF) {
                (*pos)++;
                d->state = NGX_SMTP_DATA_ST_BOL;
                return NGX_DONE;
            }

            d->state = NGX_SMTP_DATA_ST_CR;
            break;

        case NGX_SMTP_DATA_ST_CR:
            rc = ngx_smtp_data_cr(d, pos, out, out_last);
            break;

        default: /* NGX_SMTP_DATA_ST_TEXT, NGX_SMTP_DATA_ST_NL */
            rc = ngx_smtp_data_text(d, pos, last, out, out_last, dots);
        }

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_AGAIN;
}


/* a plain run of lines, or one up to the next CR or LF, or these */

static ngx_int_t
ngx_smtp_data_text(ngx_smtp_data_decoder_t *d, u_char **pos, u_char *last,
    u_char **out, u_char *out_last, ngx_uint_t dots)
{
    size_t   n;
    u_char  *p, *end;

    p = *pos;

    if (out && last - p > out_last - *out) {
        last = p + (out_last - *out);
    }

    end = ngx_smtp_data_plain(p, last, dots, &d->seen);

    if (end == p && p < last && *p != CR && *p != LF) {
        end = ngx_smtp_data_line_end(p, last);
        d->seen |= ngx_smtp_data_look(p, end);
    }

    n = end - p;

    if (n == 0) {
        return ngx_smtp_data_newline(d, pos, out, out_last);
    }

    if (out) {
        *out = ngx_cpymem(*out, p, n);
    }

    d->size += n;
    d->state = (end[-1] == LF) ? NGX_SMTP_DATA_ST_BOL : NGX_SMTP_DATA_ST_TEXT;
    *pos = end;

    return NGX_OK;
}


/* a CR, which is held back, or a bare LF; or there is no room for text */

static ngx_int_t
ngx_smtp_data_newline(ngx_smtp_data_decoder_t *d, u_char **pos, u_char **out,
    u_char *out_last)
{
    if (**pos == CR) {
        d->state = NGX_SMTP_DATA_ST_CR;
        (*pos)++;

        return NGX_OK;
    }

    if (**pos != LF) {
        return NGX_SMTP_DATA_FULL;
    }

    if (d->newline == NGX_SMTP_NEWLINE_NORMALIZE) {

        if (ngx_smtp_data_put(d, out, out_last, CRLF, 2) != NGX_OK) {
            return NGX_SMTP_DATA_FULL;
        }

        d->state = NGX_SMTP_DATA_ST_NL;

    } else {

        if (ngx_smtp_data_put(d, out, out_last, "\n", 1) != NGX_OK) {
            return NGX_SMTP_DATA_FULL;
        }

        d->state = NGX_SMTP_DATA_ST_TEXT;
    }

    d->seen |= NGX_SMTP_DATA_BARE_LF;
    (*pos)++;

    return NGX_OK;
}


/* behind a CR that was held back */

static ngx_int_t
ngx_smtp_data_cr(ngx_smtp_data_decoder_t *d, u_char **pos, u_char **out,
    u_char *out_last)
{
    if (**pos == LF) {

        if (ngx_smtp_data_put(d, out, out_last, CRLF, 2) != NGX_OK) {
            return NGX_SMTP_DATA_FULL;
        }

        d->state = NGX_SMTP_DATA_ST_BOL;
        (*pos)++;

        return NGX_OK;
    }

    if (d->newline == NGX_SMTP_NEWLINE_NORMALIZE) {

        if (ngx_smtp_data_put(d, out, out_last, CRLF, 2) != NGX_OK) {
            return NGX_SMTP_DATA_FULL;
        }

        d->state = NGX_SMTP_DATA_ST_NL;

    } else {

        if (ngx_smtp_data_put(d, out, out_last, "\r", 1) != NGX_OK) {
            return NGX_SMTP_DATA_FULL;
        }

        d->state = NGX_SMTP_DATA_ST_TEXT;
    }

    d->seen |= NGX_SMTP_DATA_BARE_CR;

    return NGX_OK;
}


/* all or nothing */

static ngx_int_t
ngx_smtp_data_put(ngx_smtp_data_decoder_t *d, u_char **out, u_char *out_last,
    const char *s, size_t n)
{
    if (out) {
        if ((size_t) (out_last - *out) < n) {
            return NGX_SMTP_DATA_FULL;
        }

        *out = ngx_cpymem(*out, s, n);
    }

    d->size += n;

    return NGX_OK;
}


/*
 * The end of the longest run of whole blocks at p that needs nothing done: no
 * CR or LF but in CRLF, no dot behind CRLF if dots are looked for.  p itself
 * if there is none.  A CR at the end is left out.  Each octet is compared
 * together with the one behind it; what is before p is not a CR.
 */

static u_char *
ngx_smtp_data_plain(u_char *p, u_char *last, ngx_uint_t dots,
    ngx_uint_t *seen)
{
    u_char                  *start;
    ngx_smtp_data_vector_t   cr, lf, dot, w, next, bits, nuls, bad;

    if (last - p <= NGX_SMTP_DATA_BLOCK || *p == LF) {
        return p;
    }

    start = p;

    cr = (ngx_smtp_data_vector_t) { 0 } + CR;
    lf = (ngx_smtp_data_vector_t) { 0 } + LF;
    dot = dots ? (ngx_smtp_data_vector_t) { 0 } + '.' : lf;

    bits = (ngx_smtp_data_vector_t) { 0 };
    nuls = bits;

    while (last - p > NGX_SMTP_DATA_BLOCK) {
        ngx_memcpy(&w, p, NGX_SMTP_DATA_BLOCK);
        ngx_memcpy(&next, p + 1, NGX_SMTP_DATA_BLOCK);

        bad = (ngx_smtp_data_vector_t) ((w == cr) ^ (next == lf));
        bad |= (ngx_smtp_data_vector_t) ((w == lf) & (next == dot));

        if (ngx_smtp_data_any(bad)) {
            break;
        }

        bits |= w;
        nuls |= (ngx_smtp_data_vector_t) (w == 0);
        p += NGX_SMTP_DATA_BLOCK;
    }

    if (ngx_smtp_data_any(nuls)) {
        *seen |= NGX_SMTP_DATA_NUL;
    }

    if (ngx_smtp_data_any((ngx_smtp_data_vector_t) (bits >= 0x80))) {
        *seen |= NGX_SMTP_DATA_8BIT;
    }

    return (p > start && p[-1] == CR) ? p - 1 : p;
}


static ngx_uint_t
ngx_smtp_data_any(ngx_smtp_data_vector_t v)
{
    uint64_t  half[2];

    ngx_memcpy(half, &v, sizeof(half));

    return (half[0] | half[1]) != 0;
}


static ngx_uint_t
ngx_smtp_data_look(u_char *p, u_char *last)
{
    size_t      n;
    uint64_t    bits, word;
    ngx_uint_t  seen;

    seen = 0;
    n = last - p;

    if (n == 0) {
        return 0;
    }

    if (memchr(p, '\0', n)) {
        seen |= NGX_SMTP_DATA_NUL;
    }

    bits = 0;

    for ( /* void */ ; n >= sizeof(uint64_t); n -= sizeof(uint64_t)) {
        ngx_memcpy(&word, p, sizeof(uint64_t));
        bits |= word;
        p += sizeof(uint64_t);
    }

    while (n--) {
        bits |= *p++;
    }

    if (bits & 0x8080808080808080ULL) {
        seen |= NGX_SMTP_DATA_8BIT;
    }

    return seen;
}


/* the first CR or LF of a non-empty slice, or the end of the window */

static u_char *
ngx_smtp_data_line_end(u_char *p, u_char *last)
{
    u_char  *cr, *lf;

    if (last - p > NGX_SMTP_DATA_WINDOW) {
        last = p + NGX_SMTP_DATA_WINDOW;
    }

    cr = memchr(p, CR, last - p);

    if (cr) {
        last = cr;
    }

    if (p == last) {
        return p;
    }

    lf = memchr(p, LF, last - p);

    return lf ? lf : last;
}


void
ngx_smtp_data_encoder_init(ngx_smtp_data_encoder_t *e)
{
    e->state = NGX_SMTP_DATA_ST_BOL;
}


ngx_int_t
ngx_smtp_data_encode(ngx_smtp_data_encoder_t *e, u_char **pos, u_char *last,
    u_char **out, u_char *out_last)
{
    size_t   n, room;
    u_char  *p, *o, *end;

    p = *pos;
    o = *out;

    while (p < last) {

        room = out_last - o;

        if (e->state == NGX_SMTP_DATA_ST_CR) {
            if (room < 1) {
                break;
            }

            /* the LF of this CR, whether it has one or not */

            *o++ = LF;
            p += (*p == LF);
            e->state = NGX_SMTP_DATA_ST_BOL;
            continue;
        }

        if (e->state == NGX_SMTP_DATA_ST_BOL && *p == '.') {
            if (room < 2) {
                break;
            }

            *o++ = '.';
            *o++ = '.';
            p++;
            e->state = NGX_SMTP_DATA_ST_TEXT;
            continue;
        }

        end = ngx_smtp_data_line_end(p, last);

        if (end > p) {
            n = ngx_min((size_t) (end - p), room);

            if (n == 0) {
                break;
            }

            o = ngx_cpymem(o, p, n);
            p += n;
            e->state = NGX_SMTP_DATA_ST_TEXT;
            continue;
        }

        if (*p == CR) {
            if (room < 1) {
                break;
            }

            *o++ = CR;
            p++;
            e->state = NGX_SMTP_DATA_ST_CR;
            continue;
        }

        /* a bare LF */

        if (room < 2) {
            break;
        }

        *o++ = CR;
        *o++ = LF;
        p++;
        e->state = NGX_SMTP_DATA_ST_BOL;
    }

    *pos = p;
    *out = o;

    return (p == last) ? NGX_AGAIN : NGX_SMTP_DATA_FULL;
}


ngx_int_t
ngx_smtp_data_encode_end(ngx_smtp_data_encoder_t *e, u_char **out,
    u_char *out_last)
{
    u_char  *o;

    o = *out;

    if (out_last - o < 5) {
        return NGX_SMTP_DATA_FULL;
    }

    if (e->state == NGX_SMTP_DATA_ST_TEXT) {
        *o++ = CR;
    }

    if (e->state != NGX_SMTP_DATA_ST_BOL) {
        *o++ = LF;
    }

    *o++ = '.';
    *o++ = CR;
    *o++ = LF;

    e->state = NGX_SMTP_DATA_ST_BOL;
    *out = o;

    return NGX_DONE;
}


u_char *
ngx_smtp_data_clean(ngx_smtp_data_encoder_t *e, u_char *pos, u_char *last)
{
    u_char      *p, *end;
    ngx_uint_t   seen;

    p = pos;

    while (p < last) {

        switch (e->state) {

        case NGX_SMTP_DATA_ST_CR:

            if (*p != LF) {
                return p;
            }

            p++;
            e->state = NGX_SMTP_DATA_ST_BOL;
            break;

        case NGX_SMTP_DATA_ST_BOL:

            if (*p == '.') {
                return p;
            }

            /* fall through */

        default: /* NGX_SMTP_DATA_ST_TEXT */

            if (*p == LF) {
                return p;
            }

            if (*p == CR) {
                p++;
                e->state = NGX_SMTP_DATA_ST_CR;
                break;
            }

            seen = 0;
            end = ngx_smtp_data_plain(p, last, 1, &seen);
            p = (end > p) ? end : ngx_smtp_data_line_end(p, last);

            e->state = (p[-1] == LF) ? NGX_SMTP_DATA_ST_BOL
                                     : NGX_SMTP_DATA_ST_TEXT;
        }
    }

    return p;
}
