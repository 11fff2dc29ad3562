
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The writer of reports; see the header.
 */


#include "ngx_smtp_dsn_out.h"
#include "ngx_smtp_header.h"
#include "ngx_smtp_trace.h"


/* lines of text and of folded fields; a longer word is broken anyway */
#define NGX_SMTP_DSN_COLUMNS       76
#define NGX_SMTP_DSN_WORD_MAX      200


void
ngx_smtp_dsn_puts(ngx_smtp_dsn_out_t *out, const char *s)
{
    ngx_smtp_dsn_put(out, (u_char *) s, ngx_strlen(s));
}


void
ngx_smtp_dsn_put(ngx_smtp_dsn_out_t *out, u_char *data, size_t len)
{
    if ((size_t) (out->last - out->pos) < len) {
        out->overflow = 1;
        return;
    }

    out->pos = ngx_cpymem(out->pos, data, len);
}


void
ngx_smtp_dsn_name(ngx_smtp_dsn_out_t *out, ngx_str_t *s, size_t max)
{
    u_char  *p, buf[NGX_SMTP_DSN_NAME_MAX];

    p = ngx_smtp_trace_word(buf, s, ngx_min(max, NGX_SMTP_DSN_NAME_MAX), 0);

    ngx_smtp_dsn_put(out, buf, p - buf);
}


void
ngx_smtp_dsn_remote(ngx_smtp_dsn_out_t *out, ngx_str_t *remote)
{
    u_char      *p, *last;
    ngx_str_t    s;
    ngx_uint_t   literal;

    s = *remote;
    last = s.data + s.len;

    p = ngx_strlchr(s.data, last, '[');

    if (p > s.data) {
        last = p;

    } else if (p) {
        s.data++;
        p = ngx_strlchr(s.data, last, ']');

        if (p) {
            last = p;
        }

    } else {
        p = ngx_strlchr(s.data, last, ':');

        /* one colon: a port; more of them: IPv6 without a port */

        if (p && ngx_strlchr(p + 1, last, ':') == NULL) {
            last = p;
        }
    }

    s.len = last - s.data;
    literal = 1;

    for (p = s.data; p < last; p++) {

        if (*p == ':') {
            literal = 2;
            break;
        }

        if ((*p < '0' || *p > '9') && *p != '.') {
            literal = 0;
        }
    }

    if (literal) {
        ngx_smtp_dsn_puts(out, (literal == 2) ? "[IPv6:" : "[");
    }

    ngx_smtp_dsn_name(out, &s, NGX_SMTP_DSN_NAME_MAX);

    if (literal) {
        ngx_smtp_dsn_puts(out, "]");
    }
}


void
ngx_smtp_dsn_address(ngx_smtp_dsn_out_t *out, ngx_str_t *s, ngx_uint_t encode)
{
    u_char    *p, *q, *last, buf[sizeof("\\x{10FFFF}")];
    size_t     n, total;
    uint32_t   ch;

    p = s->data;
    last = p + s->len;

    if (out->utf8 || !ngx_smtp_dsn_8bit(s)) {
        encode = NGX_SMTP_DSN_PLAIN;
    }

    for (total = 0; p < last; p += n) {
        n = ngx_smtp_trace_utf8(p, last, &ch);

        if (n == 0 || (n > 1 && !out->utf8 && !encode)) {
            n = n ? n : 1;
            buf[0] = '?';
            q = buf + 1;

        } else if ((n > 1 && !out->utf8)
                   || (encode == NGX_SMTP_DSN_XTEXT
                       && (ch == ' ' || ch == '+' || ch == '=' || ch == '\\')))
        {
            q = ngx_sprintf(buf, "\\x{%02XD}", ch);

        } else {
            q = ngx_cpymem(buf, p, n);
        }

        total += q - buf;

        if (total > NGX_SMTP_DSN_ADDRESS_MAX) {
            return;
        }

        ngx_smtp_dsn_put(out, buf, q - buf);
    }
}


void
ngx_smtp_dsn_text(ngx_smtp_dsn_out_t *out, ngx_str_t *s, size_t column,
    const char *indent)
{
    u_char  *p, *last, *end, *word;
    size_t   n, len, start;

    p = s->data;
    last = p + ngx_min(s->len, NGX_SMTP_DSN_TEXT_MAX);

    start = ngx_strlen(indent) - (sizeof(CRLF) - 1);
    len = 0;

    while (p < last) {

        while (p < last && (*p == ' ' || *p == '\t')) {
            p++;
        }

        word = p;
        end = word + ngx_min(last - word, NGX_SMTP_DSN_WORD_MAX);

        while (p < end && *p != ' ' && *p != '\t') {
            n = ngx_smtp_trace_utf8(p, last, NULL);
            p += n ? n : 1;
        }

        if (p == word) {
            break;
        }

        n = p - word;

        if (len && column + 1 + n > NGX_SMTP_DSN_COLUMNS) {
            ngx_smtp_dsn_puts(out, indent);
            column = start;
            len = 0;
        }

        if (len) {
            ngx_smtp_dsn_puts(out, " ");
            column++;
        }

        for (end = p, p = word; p < end; p += n) {
            n = ngx_smtp_trace_utf8(p, end, NULL);

            if (n == 0 || (n > 1 && !out->utf8)) {
                ngx_smtp_dsn_puts(out, "?");
                n = n ? n : 1;

            } else {
                ngx_smtp_dsn_put(out, p, n);
            }
        }

        column += end - word;
        len = end - word;
    }
}


void
ngx_smtp_dsn_date(ngx_smtp_dsn_out_t *out, const char *name, time_t t,
    ngx_int_t gmtoff)
{
    u_char  *p, buf[NGX_SMTP_DATE_LEN];

    ngx_smtp_dsn_puts(out, name);

    p = ngx_smtp_trace_date(buf, t, gmtoff);

    ngx_smtp_dsn_put(out, buf, p - buf);
    ngx_smtp_dsn_puts(out, CRLF);
}


ngx_uint_t
ngx_smtp_dsn_8bit(ngx_str_t *s)
{
    return ngx_smtp_header_8bit(s->data, s->len);
}
