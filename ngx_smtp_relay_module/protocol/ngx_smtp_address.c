
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Addresses of the envelope: a hand-written parser of the grammar of RFC 5321
 * section 4.1.2 and 4.1.3.  Slices of the caller's input, nothing allocated.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_address.h"


#define NGX_SMTP_LABEL_MAX  63


static ngx_int_t ngx_smtp_path_route(u_char **pos, u_char *last,
    ngx_uint_t flags);
static ngx_int_t ngx_smtp_path_mailbox(u_char **pos, u_char *last,
    ngx_uint_t flags, ngx_smtp_path_t *path);
static ngx_int_t ngx_smtp_path_local(u_char **pos, u_char *last,
    ngx_smtp_path_t *path);
static ngx_int_t ngx_smtp_path_quoted(u_char **pos, u_char *last);
static ngx_int_t ngx_smtp_path_domain(u_char **pos, u_char *last,
    ngx_smtp_path_t *path);
static ngx_int_t ngx_smtp_path_utf8(ngx_str_t *s, ngx_uint_t flags);
static ngx_uint_t ngx_smtp_is_atext(u_char ch);
static ngx_uint_t ngx_smtp_is_label(u_char ch);
static ngx_int_t ngx_smtp_inet4_check(u_char *p, u_char *last);
static ngx_int_t ngx_smtp_inet6_check(u_char *p, u_char *last);


ngx_int_t
ngx_smtp_path_parse(u_char **pos, u_char *last, ngx_uint_t flags,
    ngx_smtp_path_t *path)
{
    u_char     *p;
    ngx_int_t   rc;

    ngx_memzero(path, sizeof(ngx_smtp_path_t));

    p = *pos;

    if (p == last || *p != '<') {
        return NGX_SMTP_PATH_E_SYNTAX;
    }

    p++;

    if (p < last && *p == '>') {

        if (!(flags & NGX_SMTP_PATH_NULL)) {
            return NGX_SMTP_PATH_E_SYNTAX;
        }

        path->null = 1;
        path->mailbox.data = p;
        path->local.data = p;
        path->domain.data = p;

        *pos = p + 1;

        return NGX_OK;
    }

    if (p < last && *p == '@') {
        rc = ngx_smtp_path_route(&p, last, flags);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    rc = ngx_smtp_path_mailbox(&p, last, flags, path);

    if (rc != NGX_OK) {
        return rc;
    }

    if (p == last || *p != '>') {
        return NGX_SMTP_PATH_E_SYNTAX;
    }

    *pos = p + 1;

    return NGX_OK;
}


/* "@one.example,@two.example:", which is ignored */

static ngx_int_t
ngx_smtp_path_route(u_char **pos, u_char *last, ngx_uint_t flags)
{
    u_char           *p;
    ngx_int_t         rc;
    ngx_smtp_path_t   hop;

    p = *pos;

    for ( ;; ) {
        if (p == last || *p != '@') {
            return NGX_SMTP_PATH_E_SYNTAX;
        }

        p++;

        ngx_memzero(&hop, sizeof(ngx_smtp_path_t));

        rc = ngx_smtp_path_domain(&p, last, &hop);

        if (rc == NGX_OK) {
            rc = ngx_smtp_path_utf8(&hop.domain, flags);
        }

        if (rc != NGX_OK) {
            return rc;
        }

        if (p == last) {
            return NGX_SMTP_PATH_E_SYNTAX;
        }

        if (*p == ':') {
            *pos = p + 1;
            return NGX_OK;
        }

        if (*p++ != ',') {
            return NGX_SMTP_PATH_E_SYNTAX;
        }
    }
}


ngx_int_t
ngx_smtp_mailbox_parse(ngx_str_t *in, ngx_uint_t flags, ngx_smtp_path_t *path)
{
    u_char     *p, *last;
    ngx_int_t   rc;

    ngx_memzero(path, sizeof(ngx_smtp_path_t));

    p = in->data;
    last = p + in->len;

    rc = ngx_smtp_path_mailbox(&p, last, flags, path);

    if (rc == NGX_OK && p != last) {
        return NGX_SMTP_PATH_E_SYNTAX;
    }

    return rc;
}


/* local@domain, or postmaster */

static ngx_int_t
ngx_smtp_path_mailbox(u_char **pos, u_char *last, ngx_uint_t flags,
    ngx_smtp_path_t *path)
{
    u_char     *p;
    ngx_int_t   rc;

    p = *pos;

    path->mailbox.data = p;

    rc = ngx_smtp_path_local(&p, last, path);

    if (rc != NGX_OK) {
        return rc;
    }

    if (p < last && *p == '@') {
        p++;

        rc = ngx_smtp_path_domain(&p, last, path);

        if (rc != NGX_OK) {
            return rc;
        }

    } else if ((flags & NGX_SMTP_PATH_POSTMASTER)
               && path->local.len == sizeof("postmaster") - 1
               && ngx_strncasecmp(path->local.data, (u_char *) "postmaster",
                                  sizeof("postmaster") - 1)
                  == 0)
    {
        path->postmaster = 1;
        path->domain.data = p;

    } else {
        return NGX_SMTP_PATH_E_DOMAIN;
    }

    path->mailbox.len = p - path->mailbox.data;

    if (path->mailbox.len > NGX_SMTP_MAILBOX_MAX) {
        return NGX_SMTP_PATH_E_LONG;
    }

    rc = ngx_smtp_path_utf8(&path->mailbox, flags);

    if (rc == NGX_OK) {
        path->utf8 = (ngx_smtp_path_utf8(&path->mailbox, 0) != NGX_OK);
        *pos = p;
    }

    return rc;
}


static ngx_int_t
ngx_smtp_path_local(u_char **pos, u_char *last, ngx_smtp_path_t *path)
{
    u_char     *p;
    ngx_int_t   rc;
    ngx_uint_t  dot;

    p = *pos;

    path->local.data = p;

    if (p < last && *p == '"') {

        rc = ngx_smtp_path_quoted(&p, last);

        if (rc != NGX_OK) {
            return rc;
        }

        path->quoted = 1;

    } else {

        /* atoms with single dots between them */

        for (dot = 1; p < last; p++) {

            if (*p == '.') {
                if (dot) {
                    return NGX_SMTP_PATH_E_LOCAL;
                }

                dot = 1;
                continue;
            }

            if (!ngx_smtp_is_atext(*p)) {
                break;
            }

            dot = 0;
        }

        if (dot) {
            return NGX_SMTP_PATH_E_LOCAL;
        }
    }

    path->local.len = p - path->local.data;

    if (path->local.len > NGX_SMTP_LOCAL_MAX) {
        return NGX_SMTP_PATH_E_LONG;
    }

    *pos = p;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_path_quoted(u_char **pos, u_char *last)
{
    u_char  *p;

    for (p = *pos + 1; p < last; p++) {

        if (*p == '"') {
            *pos = p + 1;
            return NGX_OK;
        }

        if (*p == '\\') {

            if (++p == last || *p < 0x20 || *p >= 0x7f) {
                return NGX_SMTP_PATH_E_LOCAL;
            }

            continue;
        }

        if (*p < 0x20 || *p == 0x7f) {
            return NGX_SMTP_PATH_E_LOCAL;
        }
    }

    return NGX_SMTP_PATH_E_LOCAL;
}


/* from *pos as far as a domain or literal goes */

static ngx_int_t
ngx_smtp_path_domain(u_char **pos, u_char *last, ngx_smtp_path_t *path)
{
    u_char     *p;
    ngx_int_t   rc;

    p = *pos;

    path->domain.data = p;

    if (p < last && *p == '[') {

        while (p < last && *p != ']') {
            p++;
        }

        if (p == last) {
            return NGX_SMTP_PATH_E_LITERAL;
        }

        p++;

        path->literal = 1;
        path->domain.len = p - path->domain.data;
        *pos = p;

        return ngx_smtp_literal_check(&path->domain);
    }

    while (p < last && (ngx_smtp_is_label(*p) || *p == '.')) {
        p++;
    }

    path->domain.len = p - path->domain.data;
    *pos = p;

    /* the whole mailbox is checked for UTF-8 by the caller */

    rc = ngx_smtp_domain_check(&path->domain, NGX_SMTP_PATH_UTF8);

    return (rc == NGX_SMTP_PATH_E_UTF8) ? NGX_OK : rc;
}


ngx_int_t
ngx_smtp_domain_check(ngx_str_t *domain, ngx_uint_t flags)
{
    u_char  *p, *last, *label;

    if (domain->len > NGX_SMTP_DOMAIN_MAX) {
        return NGX_SMTP_PATH_E_LONG;
    }

    p = domain->data;
    last = p + domain->len;

    for ( ;; ) {
        label = p;

        while (p < last && ngx_smtp_is_label(*p)) {
            p++;
        }

        if (p == label || *label == '-' || p[-1] == '-') {
            return NGX_SMTP_PATH_E_DOMAIN;
        }

        if (p - label > NGX_SMTP_LABEL_MAX) {
            return NGX_SMTP_PATH_E_LONG;
        }

        if (p == last) {
            break;
        }

        if (*p++ != '.') {
            return NGX_SMTP_PATH_E_DOMAIN;
        }
    }

    return ngx_smtp_path_utf8(domain, flags);
}


static ngx_int_t
ngx_smtp_path_utf8(ngx_str_t *s, ngx_uint_t flags)
{
    size_t  i;

    for (i = 0; i < s->len; i++) {
        if (s->data[i] >= 0x80) {
            break;
        }
    }

    if (i == s->len) {
        return NGX_OK;
    }

    if (!(flags & NGX_SMTP_PATH_UTF8)) {
        return NGX_SMTP_PATH_E_NEED_UTF8;
    }

    return ngx_smtp_utf8_valid(s->data, s->len) ? NGX_OK
                                                : NGX_SMTP_PATH_E_UTF8;
}


const char *
ngx_smtp_path_error(ngx_int_t code)
{
    switch (code) {

    case NGX_OK:
        return "no error";

    case NGX_SMTP_PATH_E_LOCAL:
        return "invalid local part";

    case NGX_SMTP_PATH_E_DOMAIN:
        return "invalid or missing domain";

    case NGX_SMTP_PATH_E_LITERAL:
        return "invalid address literal";

    case NGX_SMTP_PATH_E_LONG:
        return "too long";

    case NGX_SMTP_PATH_E_UTF8:
        return "invalid UTF-8";

    case NGX_SMTP_PATH_E_NEED_UTF8:
        return "non-ASCII without SMTPUTF8";

    default: /* NGX_SMTP_PATH_E_SYNTAX */
        return "syntax error";
    }
}


static ngx_uint_t
ngx_smtp_is_atext(u_char ch)
{
    if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
        || (ch >= '0' && ch <= '9') || ch >= 0x80)
    {
        return 1;
    }

    return ch != '\0' && ngx_strchr("!#$%&'*+-/=?^_`{|}~", ch) != NULL;
}


static ngx_uint_t
ngx_smtp_is_label(u_char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
           || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_' || ch >= 0x80;
}


ngx_int_t
ngx_smtp_literal_check(ngx_str_t *domain)
{
    ngx_int_t   rc;
    u_char     *p, *last;

    if (domain->len < 3
        || domain->data[0] != '['
        || domain->data[domain->len - 1] != ']')
    {
        return NGX_SMTP_PATH_E_LITERAL;
    }

    p = domain->data + 1;
    last = domain->data + domain->len - 1;

    if (last - p > 5 && ngx_strncasecmp(p, (u_char *) "IPv6:", 5) == 0) {
        rc = ngx_smtp_inet6_check(p + 5, last);

    } else {
        rc = ngx_smtp_inet4_check(p, last);
    }

    return (rc == NGX_OK) ? NGX_OK : NGX_SMTP_PATH_E_LITERAL;
}


/* four numbers of one to three digits, 0 to 255 */

static ngx_int_t
ngx_smtp_inet4_check(u_char *p, u_char *last)
{
    ngx_uint_t  i, n, digits;

    for (i = 0; i < 4; i++) {

        if (i > 0 && (p == last || *p++ != '.')) {
            return NGX_ERROR;
        }

        n = 0;

        for (digits = 0; p < last && *p >= '0' && *p <= '9'; digits++) {
            n = n * 10 + (*p++ - '0');

            if (digits == 3 || n > 255) {
                return NGX_ERROR;
            }
        }

        if (digits == 0) {
            return NGX_ERROR;
        }
    }

    return (p == last) ? NGX_OK : NGX_ERROR;
}


/* groups of hex digits, at most one "::", perhaps IPv4 for the last two */

static ngx_int_t
ngx_smtp_inet6_check(u_char *p, u_char *last)
{
    u_char      *start;
    ngx_uint_t   groups, gap;

    gap = 0;
    groups = 0;

    if (last - p >= 2 && p[0] == ':' && p[1] == ':') {
        gap = 1;
        p += 2;
    }

    while (p < last) {
        start = p;

        while (p < last
               && ((*p >= '0' && *p <= '9') || ((*p | 0x20) >= 'a'
                                                && (*p | 0x20) <= 'f')))
        {
            p++;
        }

        if (p < last && *p == '.') {

            if (ngx_smtp_inet4_check(start, last) != NGX_OK) {
                return NGX_ERROR;
            }

            groups += 2;
            p = last;
            break;
        }

        if (p == start || p - start > 4) {
            return NGX_ERROR;
        }

        groups++;

        if (p == last) {
            break;
        }

        if (*p++ != ':' || p == last) {
            return NGX_ERROR;
        }

        if (*p == ':') {
            if (gap) {
                return NGX_ERROR;
            }

            gap = 1;
            p++;
        }
    }

    return (gap ? groups <= 7 : groups == 8) ? NGX_OK : NGX_ERROR;
}


ngx_uint_t
ngx_smtp_mailbox_equal(ngx_smtp_path_t *a, ngx_smtp_path_t *b)
{
    size_t  alen, blen;
    u_char  abuf[NGX_SMTP_LOCAL_MAX], bbuf[NGX_SMTP_LOCAL_MAX];

    if (a->null || b->null) {
        return a->null && b->null;
    }

    if (a->local.len > NGX_SMTP_LOCAL_MAX || b->local.len > NGX_SMTP_LOCAL_MAX
        || a->domain.len != b->domain.len
        || ngx_strncasecmp(a->domain.data, b->domain.data, a->domain.len) != 0)
    {
        return 0;
    }

    alen = ngx_smtp_local_unquote(abuf, &a->local);
    blen = ngx_smtp_local_unquote(bbuf, &b->local);

    if (alen != blen) {
        return 0;
    }

    /* the one local part whose case is settled: RFC 5321 section 4.5.1 */

    if (a->postmaster && b->postmaster) {
        return ngx_strncasecmp(abuf, bbuf, alen) == 0;
    }

    return ngx_memcmp(abuf, bbuf, alen) == 0;
}


size_t
ngx_smtp_local_unquote(u_char *dst, ngx_str_t *local)
{
    u_char  *p, *last, *d;

    p = local->data;
    last = p + local->len;

    if (local->len < 2 || *p != '"') {
        ngx_memcpy(dst, p, local->len);
        return local->len;
    }

    p++;
    last--;

    for (d = dst; p < last; p++) {
        if (*p == '\\' && p + 1 < last) {
            p++;
        }

        *d++ = *p;
    }

    return d - dst;
}


ngx_uint_t
ngx_smtp_utf8_valid(u_char *p, size_t len)
{
    u_char      *last;
    ngx_uint_t   n;

    last = p + len;

    while (p < last) {

        if (*p < 0x80) {
            p++;
            continue;
        }

        n = ngx_smtp_utf8_sequence(p, last);

        if (n == 0) {
            return 0;
        }

        p += n;
    }

    return 1;
}


ngx_uint_t
ngx_smtp_utf8_sequence(u_char *p, u_char *last)
{
    u_char      low, high;
    ngx_uint_t  i, n;

    low = 0x80;
    high = 0xbf;

    if (*p >= 0xc2 && *p <= 0xdf) {
        n = 2;

    } else if (*p >= 0xe0 && *p <= 0xef) {
        n = 3;
        low = (*p == 0xe0) ? 0xa0 : 0x80;
        high = (*p == 0xed) ? 0x9f : 0xbf;

    } else if (*p >= 0xf0 && *p <= 0xf4) {
        n = 4;
        low = (*p == 0xf0) ? 0x90 : 0x80;
        high = (*p == 0xf4) ? 0x8f : 0xbf;

    } else {
        return 0;
    }

    if ((ngx_uint_t) (last - p) < n || p[1] < low || p[1] > high) {
        return 0;
    }

    for (i = 2; i < n; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf) {
            return 0;
        }
    }

    return n;
}
