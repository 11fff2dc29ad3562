
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What differs between the versions of nginx this module builds against.
 * nginx_version is tested in this header only, so that it lists all that is
 * to be looked at again when a version is given up or a new one comes out.
 */


#ifndef _NGX_SMTP_COMPAT_H_INCLUDED_
#define _NGX_SMTP_COMPAT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>


#if (nginx_version < 1022000)
#error "ngx_smtp_relay_module needs nginx 1.22.0 or newer"
#endif

/* configuration of ngx_stream_ssl_module: renamed in 1.25.5 */

#if (nginx_version < 1025005)

#define ngx_smtp_stream_ssl_conf_t  ngx_stream_ssl_conf_t

/* listeners: one entry for each "listen" of a server{} until then */
#define NGX_SMTP_COMPAT_LISTEN      1

/* its context is made for "listen ... ssl" only, see ngx_smtp_starttls */
#define NGX_SMTP_COMPAT_SSL_LISTEN  1

#else
#define ngx_smtp_stream_ssl_conf_t  ngx_stream_ssl_srv_conf_t
#endif


/* protocols of TLS as a client: 1.22 has no default with TLSv1.3 */

#define NGX_SMTP_CLIENT_PROTOCOLS                                             \
    (NGX_SSL_TLSv1_2|NGX_SSL_TLSv1_3)


/* a certificate of one connection: with a cache of files since 1.27.4 */

#if (nginx_version < 1027004)

#define ngx_smtp_compat_certificate(c, pool, cert, key, passwords)            \
    ngx_ssl_connection_certificate(c, pool, cert, key, passwords)

#else

#define ngx_smtp_compat_certificate(c, pool, cert, key, passwords)            \
    ngx_ssl_connection_certificate(c, pool, cert, key, NULL, passwords)

#endif


#if !(NGX_THREADS)
#error "ngx_smtp_relay_module needs nginx built with --with-threads"
#endif


/*
 * Whether a listener of the server{} block whose context is cf->ctx has
 * "proxy_protocol".  1 or 0.
 */
ngx_uint_t ngx_smtp_compat_proxy_protocol(ngx_conf_t *cf);

/* Likewise, whether one has "ssl". */
ngx_uint_t ngx_smtp_compat_listen_ssl(ngx_conf_t *cf);


#endif /* _NGX_SMTP_COMPAT_H_INCLUDED_ */
