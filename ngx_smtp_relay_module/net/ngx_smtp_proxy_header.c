
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Writes headers of the PROXY protocol.  nginx can write version 1 only, and
 * takes the family of the client for that of both addresses, which they need
 * not share once realip has replaced one of them.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_proxy_header.h"


#define NGX_SMTP_PROXY_LOCAL  0x20
#define NGX_SMTP_PROXY_PROXY  0x21
#define NGX_SMTP_PROXY_TCP4   0x11
#define NGX_SMTP_PROXY_TCP6   0x21


/* an address in the family of the header */
typedef struct {
    u_char      addr[16];
    in_port_t   port;
} ngx_smtp_proxy_addr_t;


static u_char *ngx_smtp_proxy_header_text(u_char *p, int family,
    ngx_smtp_proxy_addr_t *src, ngx_smtp_proxy_addr_t *dst);
static u_char *ngx_smtp_proxy_header_binary(u_char *p, int family,
    ngx_smtp_proxy_addr_t *src, ngx_smtp_proxy_addr_t *dst);
static void ngx_smtp_proxy_header_addr(ngx_smtp_proxy_addr_t *addr,
    struct sockaddr *sa, int family);


u_char *
ngx_smtp_proxy_header_write(u_char *p, ngx_uint_t version,
    struct sockaddr *src, struct sockaddr *dst)
{
    int                    family;
    ngx_smtp_proxy_addr_t  from, to;

    if (src->sa_family == AF_UNIX || dst->sa_family == AF_UNIX) {
        family = AF_UNSPEC;

    } else {
        family = (src->sa_family == AF_INET) ? dst->sa_family : src->sa_family;

        ngx_smtp_proxy_header_addr(&from, src, family);
        ngx_smtp_proxy_header_addr(&to, dst, family);
    }

    return (version == 2)
           ? ngx_smtp_proxy_header_binary(p, family, &from, &to)
           : ngx_smtp_proxy_header_text(p, family, &from, &to);
}


static u_char *
ngx_smtp_proxy_header_text(u_char *p, int family, ngx_smtp_proxy_addr_t *src,
    ngx_smtp_proxy_addr_t *dst)
{
    if (family == AF_UNSPEC) {
        return ngx_cpymem(p, "PROXY UNKNOWN" CRLF,
                          sizeof("PROXY UNKNOWN" CRLF) - 1);
    }

    p = ngx_sprintf(p, "PROXY TCP%c ", family == AF_INET ? '4' : '6');
    p += ngx_inet_ntop(family, src->addr, p, NGX_INET6_ADDRSTRLEN);
    *p++ = ' ';
    p += ngx_inet_ntop(family, dst->addr, p, NGX_INET6_ADDRSTRLEN);

    return ngx_sprintf(p, " %ui %ui" CRLF,
                       (ngx_uint_t) src->port, (ngx_uint_t) dst->port);
}


static u_char *
ngx_smtp_proxy_header_binary(u_char *p, int family,
    ngx_smtp_proxy_addr_t *src, ngx_smtp_proxy_addr_t *dst)
{
    size_t  len;

    static const u_char  signature[] = "\r\n\r\n\0\r\nQUIT\n";

    p = ngx_cpymem(p, signature, sizeof(signature) - 1);

    if (family == AF_UNSPEC) {
        *p++ = NGX_SMTP_PROXY_LOCAL;
        *p++ = 0;
        *p++ = 0;
        *p++ = 0;

        return p;
    }

    len = (family == AF_INET) ? 4 : 16;

    *p++ = NGX_SMTP_PROXY_PROXY;
    *p++ = (family == AF_INET) ? NGX_SMTP_PROXY_TCP4 : NGX_SMTP_PROXY_TCP6;
    *p++ = 0;
    *p++ = (u_char) (2 * len + 4);

    p = ngx_cpymem(p, src->addr, len);
    p = ngx_cpymem(p, dst->addr, len);

    *p++ = (u_char) (src->port >> 8);
    *p++ = (u_char) src->port;
    *p++ = (u_char) (dst->port >> 8);
    *p++ = (u_char) dst->port;

    return p;
}


static void
ngx_smtp_proxy_header_addr(ngx_smtp_proxy_addr_t *addr, struct sockaddr *sa,
    int family)
{
    struct sockaddr_in  *sin;

    static const u_char  mapped[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff,
                                      0xff };

    addr->port = ngx_inet_get_port(sa);

#if (NGX_HAVE_INET6)

    if (sa->sa_family == AF_INET6) {
        ngx_memcpy(addr->addr, &((struct sockaddr_in6 *) sa)->sin6_addr, 16);
        return;
    }

#endif

    sin = (struct sockaddr_in *) sa;

    if (family == AF_INET) {
        ngx_memcpy(addr->addr, &sin->sin_addr, 4);
        return;
    }

    ngx_memcpy(addr->addr, mapped, sizeof(mapped));
    ngx_memcpy(addr->addr + sizeof(mapped), &sin->sin_addr, 4);
}
