
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the pure layers (protocol, message, auth, queue) may use of nginx:
 *
 *   types     ngx_str_t, ngx_int_t, ngx_array_t, ngx_queue_t, ngx_rbtree_t ...
 *   memory    ngx_palloc, ngx_pnalloc, ngx_pcalloc, ngx_alloc, ngx_free,
 *             ngx_memcpy & co, ngx_explicit_memzero
 *   strings   ngx_snprintf, ngx_slprintf, ngx_strncasecmp, ngx_strcasecmp,
 *             ngx_strlow, ngx_strlchr, ngx_strnstr, ngx_atoi, ngx_hextoi,
 *             ngx_encode_base64, ngx_decode_base64, ngx_utf8_decode,
 *             ngx_gmtime
 *   trees     ngx_array_*, ngx_queue_*, ngx_rbtree_*
 *
 * No I/O, events, clock, randomness or logging: time and random bytes are
 * arguments.  Unit tests and fuzzers link these layers with t/unit/shim.c.
 */


#ifndef _NGX_SMTP_PURE_H_INCLUDED_
#define _NGX_SMTP_PURE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#endif /* _NGX_SMTP_PURE_H_INCLUDED_ */
