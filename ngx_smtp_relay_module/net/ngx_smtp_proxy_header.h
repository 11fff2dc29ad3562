
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The header of the PROXY protocol (version 1 in text, version 2 in binary),
 * by which a connection says for whom it was opened, before anything else.
 */


#ifndef _NGX_SMTP_PROXY_HEADER_H_INCLUDED_
#define _NGX_SMTP_PROXY_HEADER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* the longest one, of either version */
#define NGX_SMTP_PROXY_HEADER_MAX  107


/*
 * Writes the header of a client at src who connected to dst; p has room for
 * NGX_SMTP_PROXY_HEADER_MAX octets; returns the position behind it.  version:
 * 1 or 2.  If one of the two is an IPv4 address and the other one an IPv6
 * address, the first is written as IPv4-mapped.  Of a client without an
 * address (Unix socket) the header says so: UNKNOWN, or LOCAL.
 */
u_char *ngx_smtp_proxy_header_write(u_char *p, ngx_uint_t version,
    struct sockaddr *src, struct sockaddr *dst);


#endif /* _NGX_SMTP_PROXY_HEADER_H_INCLUDED_ */
