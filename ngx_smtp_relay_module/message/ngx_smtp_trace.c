
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Trace fields.  Each is built of words; the writer puts a blank between two
 * of them, or folds the line where the next one would not fit.  What a hostile
 * string may contribute is decided in one place, ngx_smtp_trace_word().
 */


#include "ngx_smtp_trace.h"
#include "ngx_smtp_address.h"


#define NGX_SMTP_TRACE_COLUMNS    78
#define NGX_SMTP_TRACE_TAB        8     /* columns a folded line begins with */

/* what is taken of a string at most */
#define NGX_SMTP_TRACE_NAME_MAX   255
#define NGX_SMTP_TRACE_ADDR_MAX   64
#define NGX_SMTP_TRACE_ID_MAX     128
#define NGX_SMTP_TRACE_TLS_MAX    64
#define NGX_SMTP_TRACE_RCPT_MAX   320
#define NGX_SMTP_TRACE_UNIQUE_MAX 200

/* the longest word: a recipient in "<>;" */
#define NGX_SMTP_TRACE_WORD_MAX   512

/* 9999-12-31 23:59:59 UTC, less a day for the offset */
#define NGX_SMTP_TRACE_TIME_MAX   (253402300799LL - 86400)


typedef struct {
    u_char              *pos;
    size_t               column;
} ngx_smtp_trace_out_t;


static void ngx_smtp_trace_from(ngx_smtp_trace_out_t *out,
    ngx_smtp_trace_t *t);
static void ngx_smtp_trace_tls(ngx_smtp_trace_out_t *out, ngx_smtp_trace_t *t);
static void ngx_smtp_trace_by(ngx_smtp_trace_out_t *out, ngx_smtp_trace_t *t,
    ngx_uint_t end);
static ngx_uint_t ngx_smtp_trace_rcpt(ngx_smtp_trace_t *t);
static void ngx_smtp_trace_with(ngx_smtp_trace_out_t *out,
    ngx_smtp_trace_t *t, ngx_uint_t end);
static void ngx_smtp_trace_put(ngx_smtp_trace_out_t *out, u_char *data,
    size_t len);
static void ngx_smtp_trace_fold(ngx_smtp_trace_out_t *out);


static const char  *ngx_smtp_trace_days[] = {
    "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"
};

static const char  *ngx_smtp_trace_months[] = {
    "Jan", "Feb", "Mar", "Apr", "May", "Jun",
    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
};


#define ngx_smtp_trace_lit(out, s)                                            \
    ngx_smtp_trace_put(out, (u_char *) s, sizeof(s) - 1)


u_char *
ngx_smtp_trace_received(u_char *buf, ngx_smtp_trace_t *t)
{
    u_char                *p, word[NGX_SMTP_TRACE_WORD_MAX];
    ngx_uint_t             rcpt;
    ngx_smtp_trace_out_t   out;

    out.pos = ngx_cpymem(buf, "Received:", sizeof("Received:") - 1);
    out.column = sizeof("Received:") - 1;

    ngx_smtp_trace_from(&out, t);

    if (t->tls) {
        ngx_smtp_trace_tls(&out, t);
    }

    rcpt = ngx_smtp_trace_rcpt(t);

    ngx_smtp_trace_by(&out, t, !rcpt);

    if (rcpt) {
        ngx_smtp_trace_fold(&out);
        ngx_smtp_trace_lit(&out, "for");

        p = word;
        *p++ = '<';
        p = ngx_cpymem(p, t->rcpt.data, t->rcpt.len);
        *p++ = '>';
        *p++ = ';';

        ngx_smtp_trace_put(&out, word, p - word);
    }

    p = ngx_smtp_trace_date(word, t->time, t->gmtoff);
    ngx_smtp_trace_put(&out, word, p - word);

    *out.pos++ = CR;
    *out.pos++ = LF;

    return out.pos;
}


u_char *
ngx_smtp_trace_date(u_char *buf, time_t t, ngx_int_t gmtoff)
{
    ngx_tm_t    tm;
    ngx_uint_t  off;

    if (gmtoff <= -24 * 60 || gmtoff >= 24 * 60) {
        gmtoff = 0;
    }

    if (t > NGX_SMTP_TRACE_TIME_MAX) {
        t = NGX_SMTP_TRACE_TIME_MAX;
    }

    if (t < 0) {
        t = 0;
    }

    t += gmtoff * 60;

    if (t < 0) {
        /* the first hours of 1970 west of Greenwich */
        t -= gmtoff * 60;
        gmtoff = 0;
    }

    ngx_gmtime(t, &tm);

    off = (gmtoff < 0) ? -gmtoff : gmtoff;

    return ngx_sprintf(buf, "%s, %02d %s %04d %02d:%02d:%02d %c%02ui%02ui",
                       ngx_smtp_trace_days[tm.ngx_tm_wday], tm.ngx_tm_mday,
                       ngx_smtp_trace_months[tm.ngx_tm_mon - 1],
                       tm.ngx_tm_year, tm.ngx_tm_hour, tm.ngx_tm_min,
                       tm.ngx_tm_sec, (gmtoff < 0) ? '-' : '+',
                       off / 60, off % 60);
}


u_char *
ngx_smtp_trace_date_field(u_char *buf, time_t t, ngx_int_t gmtoff)
{
    buf = ngx_cpymem(buf, "Date: ", sizeof("Date: ") - 1);
    buf = ngx_smtp_trace_date(buf, t, gmtoff);

    *buf++ = CR;
    *buf++ = LF;

    return buf;
}


u_char *
ngx_smtp_trace_message_id(u_char *buf, ngx_str_t *unique, ngx_str_t *hostname)
{
    u_char  *p, *last, ch;

    buf = ngx_cpymem(buf, "Message-ID: <", sizeof("Message-ID: <") - 1);

    p = unique->data;
    last = p + ngx_min(unique->len, NGX_SMTP_TRACE_UNIQUE_MAX);

    for ( /* void */ ; p < last; p++) {
        ch = *p;

        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
            || (ch >= '0' && ch <= '9') || ch == '.' || ch == '_')
        {
            *buf++ = ch;

        } else {
            *buf++ = '-';
        }
    }

    *buf++ = '@';

    if (hostname->len) {
        buf = ngx_smtp_trace_word(buf, hostname, NGX_SMTP_TRACE_NAME_MAX, 0);

    } else {
        buf = ngx_cpymem(buf, "localhost", sizeof("localhost") - 1);
    }

    *buf++ = '>';
    *buf++ = CR;
    *buf++ = LF;

    return buf;
}


u_char *
ngx_smtp_trace_word(u_char *buf, ngx_str_t *src, size_t max, ngx_uint_t utf8)
{
    u_char  *p, *last, *end, ch;
    size_t   n;

    p = src->data;
    last = p + src->len;
    end = buf + max;

    while (p < last && buf < end) {
        ch = *p;

        if (ch & 0x80) {
            n = utf8 ? ngx_smtp_trace_utf8(p, last, NULL) : 0;

            if (n == 0) {
                *buf++ = '?';
                p++;
                continue;
            }

            if ((size_t) (end - buf) < n) {
                break;
            }

            buf = ngx_cpymem(buf, p, n);
            p += n;
            continue;
        }

        p++;

        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
            || (ch >= '0' && ch <= '9'))
        {
            *buf++ = ch;
            continue;
        }

        switch (ch) {

        case '-': case '.': case '_': case ':': case '[': case ']':
        case '+': case '/': case '=':
            *buf++ = ch;
            break;

        default:
            *buf++ = '?';
            break;
        }
    }

    return buf;
}


size_t
ngx_smtp_trace_utf8(u_char *p, u_char *last, uint32_t *ch)
{
    u_char    *start;
    uint32_t   u;

    start = p;

    if (*p < 0x80) {
        u = *p++;

    } else {
        u = ngx_utf8_decode(&p, last - p);

        /* nginx takes lead bytes over 0xf7 and continuation bytes over 0xbf */

        if (!ngx_smtp_utf8_valid(start, p - start)) {
            return 0;
        }
    }

    if (u < 0x20 || (u >= 0x7f && u < 0xa0) || u == 0x2028 || u == 0x2029
        || (u >= 0xd800 && u <= 0xdfff) || u > 0x10ffff)
    {
        return 0;
    }

    if (ch) {
        *ch = u;
    }

    return p - start;
}


/* from helo (ptr [addr]), RFC 5321 section 4.4: Extended-Domain */

static void
ngx_smtp_trace_from(ngx_smtp_trace_out_t *out, ngx_smtp_trace_t *t)
{
    u_char  *p, word[NGX_SMTP_TRACE_WORD_MAX];

    ngx_smtp_trace_lit(out, "from");

    if (t->helo.len) {
        p = ngx_smtp_trace_word(word, &t->helo, NGX_SMTP_TRACE_NAME_MAX,
                                t->smtputf8);
        ngx_smtp_trace_put(out, word, p - word);

    } else {
        ngx_smtp_trace_lit(out, "unknown");
    }

    if (t->addr.len == 0
        || (t->addr.len >= 4 && ngx_strncmp(t->addr.data, "unix", 4) == 0))
    {
        ngx_smtp_trace_lit(out, "(local)");
        return;
    }

    p = word;
    *p++ = '(';

    if (t->ptr.len) {
        p = ngx_smtp_trace_word(p, &t->ptr, NGX_SMTP_TRACE_NAME_MAX, 0);

    } else {
        p = ngx_cpymem(p, "unknown", sizeof("unknown") - 1);
    }

    ngx_smtp_trace_put(out, word, p - word);

    p = word;
    *p++ = '[';

    if (ngx_strlchr(t->addr.data, t->addr.data + t->addr.len, ':')) {
        p = ngx_cpymem(p, "IPv6:", sizeof("IPv6:") - 1);
    }

    p = ngx_smtp_trace_word(p, &t->addr, NGX_SMTP_TRACE_ADDR_MAX, 0);

    *p++ = ']';
    *p++ = ')';

    ngx_smtp_trace_put(out, word, p - word);
}


/* a comment in the wording that log readers know */

static void
ngx_smtp_trace_tls(ngx_smtp_trace_out_t *out, ngx_smtp_trace_t *t)
{
    u_char  *p, word[NGX_SMTP_TRACE_WORD_MAX];

    ngx_smtp_trace_fold(out);

    ngx_smtp_trace_lit(out, "(using");

    if (t->tls_version.len) {
        p = ngx_smtp_trace_word(word, &t->tls_version, NGX_SMTP_TRACE_TLS_MAX,
                                0);
    } else {
        p = ngx_cpymem(word, "TLS", sizeof("TLS") - 1);
    }

    if (t->tls_cipher.len) {
        ngx_smtp_trace_put(out, word, p - word);

        ngx_smtp_trace_lit(out, "with");
        ngx_smtp_trace_lit(out, "cipher");

        p = ngx_smtp_trace_word(word, &t->tls_cipher, NGX_SMTP_TRACE_TLS_MAX,
                                0);
    }

    if (t->tls_bits) {
        ngx_smtp_trace_put(out, word, p - word);

        p = ngx_sprintf(word, "(%ui/%ui bits)", t->tls_bits, t->tls_bits);
    }

    *p++ = ')';

    ngx_smtp_trace_put(out, word, p - word);
}


/* by hostname with protocol id token; end: a semicolon follows */

static void
ngx_smtp_trace_by(ngx_smtp_trace_out_t *out, ngx_smtp_trace_t *t,
    ngx_uint_t end)
{
    u_char  *p, word[NGX_SMTP_TRACE_WORD_MAX];

    ngx_smtp_trace_fold(out);

    ngx_smtp_trace_lit(out, "by");

    if (t->hostname.len) {
        p = ngx_smtp_trace_word(word, &t->hostname, NGX_SMTP_TRACE_NAME_MAX,
                                0);
    } else {
        p = ngx_cpymem(word, "localhost", sizeof("localhost") - 1);
    }

    ngx_smtp_trace_put(out, word, p - word);

    ngx_smtp_trace_with(out, t, end && t->id.len == 0);

    if (t->id.len) {
        ngx_smtp_trace_lit(out, "id");

        p = ngx_smtp_trace_word(word, &t->id, NGX_SMTP_TRACE_ID_MAX, 0);

        if (end) {
            *p++ = ';';
        }

        ngx_smtp_trace_put(out, word, p - word);
    }
}


/*
 * RFC 3848 and 6531 register the letters S and A for ESMTP and UTF8SMTP only:
 * a session by HELO is SMTP, whatever it is wrapped in.
 */

static void
ngx_smtp_trace_with(ngx_smtp_trace_out_t *out, ngx_smtp_trace_t *t,
    ngx_uint_t end)
{
    u_char  *p, word[sizeof("UTF8SMTPSA;")];

    ngx_smtp_trace_lit(out, "with");

    p = word;

    if (!t->esmtp) {
        p = ngx_cpymem(p, "SMTP", sizeof("SMTP") - 1);

    } else {
        if (t->smtputf8) {
            p = ngx_cpymem(p, "UTF8SMTP", sizeof("UTF8SMTP") - 1);

        } else {
            p = ngx_cpymem(p, "ESMTP", sizeof("ESMTP") - 1);
        }

        if (t->tls) {
            *p++ = 'S';
        }

        if (t->auth) {
            *p++ = 'A';
        }
    }

    if (end) {
        *p++ = ';';
    }

    ngx_smtp_trace_put(out, word, p - word);
}


/*
 * May the recipient be shown?  Its syntax was checked when it was accepted; a
 * cut or altered address would be a lie, so anything odd leaves it out.
 */

static ngx_uint_t
ngx_smtp_trace_rcpt(ngx_smtp_trace_t *t)
{
    u_char      *p, *last;
    size_t       n;
    ngx_uint_t   quoted;

    if (t->rcpt.len == 0 || t->rcpt.len > NGX_SMTP_TRACE_RCPT_MAX) {
        return 0;
    }

    quoted = 0;
    p = t->rcpt.data;
    last = p + t->rcpt.len;

    while (p < last) {
        n = ngx_smtp_trace_utf8(p, last, NULL);

        if (n == 0 || (n > 1 && !t->smtputf8)) {
            return 0;
        }

        if (*p == '\\' && quoted) {

            /* takes the next one, which must be printable ASCII */

            if (++p == last || *p < ' ' || *p > '~') {
                return 0;
            }

        } else if (*p == '"') {
            quoted = !quoted;

        } else if (!quoted && ngx_strchr(" <>(),;\\", *p)) {
            return 0;
        }

        p += n;
    }

    return !quoted;
}


/* appends a word, on a new line if it does not fit on this one */

static void
ngx_smtp_trace_put(ngx_smtp_trace_out_t *out, u_char *data, size_t len)
{
    if (out->column > NGX_SMTP_TRACE_TAB
        && out->column + 1 + len > NGX_SMTP_TRACE_COLUMNS)
    {
        ngx_smtp_trace_fold(out);
    }

    if (out->column > NGX_SMTP_TRACE_TAB) {
        *out->pos++ = ' ';
        out->column++;
    }

    out->pos = ngx_cpymem(out->pos, data, len);
    out->column += len;
}


static void
ngx_smtp_trace_fold(ngx_smtp_trace_out_t *out)
{
    *out->pos++ = CR;
    *out->pos++ = LF;
    *out->pos++ = '\t';

    out->column = NGX_SMTP_TRACE_TAB;
}
