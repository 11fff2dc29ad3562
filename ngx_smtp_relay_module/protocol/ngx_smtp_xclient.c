
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The argument of XCLIENT: attribute by attribute, each with its own check.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_command.h"
#include "ngx_smtp_param.h"
#include "ngx_smtp_xclient.h"


#define NGX_SMTP_XCLIENT_ADDR_MAX  45


typedef ngx_int_t (*ngx_smtp_xclient_value_pt)(ngx_smtp_xclient_t *x,
    ngx_str_t *value);


typedef struct {
    ngx_str_t                   name;
    ngx_uint_t                  bit;
    ngx_smtp_xclient_value_pt   handler;
} ngx_smtp_xclient_attr_t;


static ngx_int_t ngx_smtp_xclient_attribute(ngx_str_t *name, ngx_str_t *value,
    ngx_smtp_xclient_t *x);
static ngx_int_t ngx_smtp_xclient_name(ngx_smtp_xclient_t *x,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_xclient_addr(ngx_smtp_xclient_t *x,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_xclient_port(ngx_smtp_xclient_t *x,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_xclient_proto(ngx_smtp_xclient_t *x,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_xclient_helo(ngx_smtp_xclient_t *x,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_xclient_login(ngx_smtp_xclient_t *x,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_xclient_destaddr(ngx_smtp_xclient_t *x,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_xclient_destport(ngx_smtp_xclient_t *x,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_xclient_address(ngx_str_t *value, ngx_str_t *addr,
    ngx_uint_t *ipv6);
static ngx_int_t ngx_smtp_xclient_number(ngx_str_t *value, ngx_uint_t *port);
static ngx_uint_t ngx_smtp_xclient_is(ngx_str_t *s, const char *text);


static const ngx_smtp_xclient_attr_t  ngx_smtp_xclient_attrs[] = {
    { ngx_string("NAME"), NGX_SMTP_CAP_XCLIENT_NAME, ngx_smtp_xclient_name },
    { ngx_string("ADDR"), NGX_SMTP_CAP_XCLIENT_ADDR, ngx_smtp_xclient_addr },
    { ngx_string("PORT"), NGX_SMTP_CAP_XCLIENT_PORT, ngx_smtp_xclient_port },
    { ngx_string("PROTO"), NGX_SMTP_CAP_XCLIENT_PROTO,
      ngx_smtp_xclient_proto },
    { ngx_string("HELO"), NGX_SMTP_CAP_XCLIENT_HELO, ngx_smtp_xclient_helo },
    { ngx_string("LOGIN"), NGX_SMTP_CAP_XCLIENT_LOGIN,
      ngx_smtp_xclient_login },
    { ngx_string("DESTADDR"), NGX_SMTP_CAP_XCLIENT_DESTADDR,
      ngx_smtp_xclient_destaddr },
    { ngx_string("DESTPORT"), NGX_SMTP_CAP_XCLIENT_DESTPORT,
      ngx_smtp_xclient_destport },
    { ngx_null_string, 0, NULL }
};


ngx_int_t
ngx_smtp_xclient_parse(ngx_str_t *arg, ngx_smtp_xclient_t *x, ngx_str_t *bad)
{
    u_char     *p, *last, *end;
    ngx_str_t   value;

    ngx_memzero(x, sizeof(ngx_smtp_xclient_t));

    p = arg->data;
    last = p + arg->len;

    for ( ;; ) {

        while (p < last && *p == ' ') {
            p++;
        }

        if (p == last) {
            break;
        }

        end = ngx_strlchr(p, last, ' ');

        if (end == NULL) {
            end = last;
        }

        bad->data = p;

        while (p < end && *p != '=') {
            p++;
        }

        bad->len = p - bad->data;

        if (p == end) {
            return NGX_SMTP_REPLY_BAD_PARAM;
        }

        value.data = ++p;
        value.len = end - p;

        if (ngx_smtp_xclient_attribute(bad, &value, x) != NGX_OK) {
            return NGX_SMTP_REPLY_BAD_PARAM;
        }

        p = end;
    }

    ngx_str_null(bad);

    return x->named ? NGX_OK : NGX_SMTP_REPLY_BAD_PARAM;
}


static ngx_int_t
ngx_smtp_xclient_attribute(ngx_str_t *name, ngx_str_t *value,
    ngx_smtp_xclient_t *x)
{
    ssize_t                         n;
    const ngx_smtp_xclient_attr_t  *a;

    for (a = ngx_smtp_xclient_attrs; a->name.len; a++) {

        if (a->name.len == name->len
            && ngx_strncasecmp(a->name.data, name->data, name->len) == 0)
        {
            break;
        }
    }

    if (a->name.len == 0 || (x->named & a->bit)) {
        return NGX_ERROR;
    }

    x->named |= a->bit;

    if (ngx_smtp_xclient_is(value, "[UNAVAILABLE]")
        || ngx_smtp_xclient_is(value, "[TEMPUNAVAIL]"))
    {
        return NGX_OK;
    }

    n = ngx_smtp_xtext_decode(value->data, value);

    if (n <= 0) {
        return NGX_ERROR;
    }

    value->len = n;
    x->known |= a->bit;

    return a->handler(x, value);
}


static ngx_int_t
ngx_smtp_xclient_name(ngx_smtp_xclient_t *x, ngx_str_t *value)
{
    x->name = *value;

    return ngx_smtp_helo_check(value) == NGX_OK ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_smtp_xclient_helo(ngx_smtp_xclient_t *x, ngx_str_t *value)
{
    x->helo = *value;

    return ngx_smtp_helo_check(value) == NGX_OK ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_smtp_xclient_login(ngx_smtp_xclient_t *x, ngx_str_t *value)
{
    x->login = *value;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_xclient_proto(ngx_smtp_xclient_t *x, ngx_str_t *value)
{
    x->esmtp = ngx_smtp_xclient_is(value, "ESMTP");

    return (x->esmtp || ngx_smtp_xclient_is(value, "SMTP")) ? NGX_OK
                                                            : NGX_ERROR;
}


static ngx_int_t
ngx_smtp_xclient_addr(ngx_smtp_xclient_t *x, ngx_str_t *value)
{
    ngx_int_t   rc;
    ngx_uint_t  ipv6;

    rc = ngx_smtp_xclient_address(value, &x->addr, &ipv6);
    x->addr6 = ipv6;

    return rc;
}


static ngx_int_t
ngx_smtp_xclient_destaddr(ngx_smtp_xclient_t *x, ngx_str_t *value)
{
    ngx_int_t   rc;
    ngx_uint_t  ipv6;

    rc = ngx_smtp_xclient_address(value, &x->destaddr, &ipv6);
    x->destaddr6 = ipv6;

    return rc;
}


static ngx_int_t
ngx_smtp_xclient_port(ngx_smtp_xclient_t *x, ngx_str_t *value)
{
    return ngx_smtp_xclient_number(value, &x->port);
}


static ngx_int_t
ngx_smtp_xclient_destport(ngx_smtp_xclient_t *x, ngx_str_t *value)
{
    return ngx_smtp_xclient_number(value, &x->destport);
}


/* only octets that an address has: the rest is its parser's */

static ngx_int_t
ngx_smtp_xclient_address(ngx_str_t *value, ngx_str_t *addr, ngx_uint_t *ipv6)
{
    u_char  ch;
    size_t  i;

    *addr = *value;
    *ipv6 = 0;

    if (addr->len > 5
        && ngx_strncasecmp(addr->data, (u_char *) "IPV6:", 5) == 0)
    {
        *ipv6 = 1;
        addr->data += 5;
        addr->len -= 5;
    }

    if (addr->len > NGX_SMTP_XCLIENT_ADDR_MAX) {
        return NGX_ERROR;
    }

    for (i = 0; i < addr->len; i++) {
        ch = addr->data[i];

        if ((ch >= '0' && ch <= '9') || ch == '.') {
            continue;
        }

        if (*ipv6 && (ch == ':' || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'f')))
        {
            continue;
        }

        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_xclient_number(ngx_str_t *value, ngx_uint_t *port)
{
    ngx_int_t  n;

    n = (value->len <= 5) ? ngx_atoi(value->data, value->len) : NGX_ERROR;

    if (n < 1 || n > 65535) {
        return NGX_ERROR;
    }

    *port = n;

    return NGX_OK;
}


static ngx_uint_t
ngx_smtp_xclient_is(ngx_str_t *s, const char *text)
{
    size_t  len;

    len = ngx_strlen(text);

    return s->len == len
           && ngx_strncasecmp(s->data, (u_char *) text, len) == 0;
}
