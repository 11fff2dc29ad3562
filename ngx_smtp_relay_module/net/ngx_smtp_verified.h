
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What backends said of recipients (smtp_verify_recipient), for all workers: a
 * table of the zone of fixed size.  Keys are keyed hashes: nobody outside can
 * choose addresses that share a place, and no address stands in the zone.
 */


#ifndef _NGX_SMTP_VERIFIED_H_INCLUDED_
#define _NGX_SMTP_VERIFIED_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_zone.h"


#define NGX_SMTP_VERIFIED_STATUS_MAX  11
#define NGX_SMTP_VERIFIED_TEXT_MAX    75

typedef enum {
    NGX_SMTP_VERIFIED_GOOD = 0,     /* the backend takes mail for it */
    NGX_SMTP_VERIFIED_BAD,          /* 5xx: see code, status and text */
    NGX_SMTP_VERIFIED_DOWN          /* of a backend: it cannot be asked */
} ngx_smtp_verified_e;


typedef struct {
    ngx_uint_t           state;         /* NGX_SMTP_VERIFIED_* */
    ngx_uint_t           code;          /* of a reply; 0: none */
    size_t               status_len;
    size_t               text_len;
    u_char               status[NGX_SMTP_VERIFIED_STATUS_MAX];
    u_char               text[NGX_SMTP_VERIFIED_TEXT_MAX];
} ngx_smtp_verified_t;


/*
 * The key of a recipient at a backend; an empty recipient: of the backend.
 * NGX_OK, or NGX_ERROR: do without the table.
 */
ngx_int_t ngx_smtp_verified_key(ngx_shm_zone_t *zone, ngx_str_t *backend,
    ngx_str_t *rcpt, u_char key[NGX_SMTP_ZONE_KEY_LEN]);

/* NGX_OK: *v is known and its time not over; NGX_DECLINED. */
ngx_int_t ngx_smtp_verified_get(ngx_shm_zone_t *zone, u_char *key,
    ngx_smtp_verified_t *v);

/* Remembers *v for ttl ms; what ends first makes room. */
void ngx_smtp_verified_put(ngx_shm_zone_t *zone, u_char *key,
    ngx_smtp_verified_t *v, ngx_msec_t ttl);

/* Sets code, status and text, cut to what is kept. */
void ngx_smtp_verified_reply(ngx_smtp_verified_t *v, ngx_uint_t code,
    ngx_str_t *status, ngx_str_t *text);


#endif /* _NGX_SMTP_VERIFIED_H_INCLUDED_ */
