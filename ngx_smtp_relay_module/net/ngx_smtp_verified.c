
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The table: buckets of four places.  An eighth of the zone at most.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_verified.h"


#define NGX_SMTP_VERIFIED_WAYS  4


typedef struct {
    u_char               key[NGX_SMTP_ZONE_KEY_LEN];
    ngx_msec_t           expires;       /* of ngx_current_msec */
    ngx_uint_t           used;
    ngx_smtp_verified_t  v;
} ngx_smtp_verified_place_t;


static ngx_smtp_verified_place_t *ngx_smtp_verified_bucket_locked(
    ngx_shm_zone_t *zone, u_char *key);


ngx_int_t
ngx_smtp_verified_key(ngx_shm_zone_t *zone, ngx_str_t *backend,
    ngx_str_t *rcpt, u_char key[NGX_SMTP_ZONE_KEY_LEN])
{
    ngx_str_t  none;

    /* logins have keys of the same kind, but none of them is empty */

    ngx_str_null(&none);

    return ngx_smtp_zone_login_key(zone, &none, backend, rcpt, key);
}


ngx_int_t
ngx_smtp_verified_get(ngx_shm_zone_t *zone, u_char *key,
    ngx_smtp_verified_t *v)
{
    ngx_int_t                   rc;
    ngx_uint_t                  i;
    ngx_smtp_verified_place_t  *p;

    rc = NGX_DECLINED;

    ngx_smtp_zone_lock(zone);

    p = ngx_smtp_verified_bucket_locked(zone, key);

    for (i = 0; p && i < NGX_SMTP_VERIFIED_WAYS; i++) {

        if (p[i].used
            && ngx_memcmp(p[i].key, key, NGX_SMTP_ZONE_KEY_LEN) == 0)
        {
            if ((ngx_msec_int_t) (p[i].expires - ngx_current_msec) > 0) {
                *v = p[i].v;
                rc = NGX_OK;
            }

            break;
        }
    }

    ngx_smtp_zone_unlock(zone);

    return rc;
}


void
ngx_smtp_verified_put(ngx_shm_zone_t *zone, u_char *key,
    ngx_smtp_verified_t *v, ngx_msec_t ttl)
{
    ngx_uint_t                  i;
    ngx_smtp_verified_place_t  *p, *place;

    ngx_smtp_zone_lock(zone);

    p = ngx_smtp_verified_bucket_locked(zone, key);
    place = NULL;

    for (i = 0; p && i < NGX_SMTP_VERIFIED_WAYS; i++) {

        if (p[i].used
            && ngx_memcmp(p[i].key, key, NGX_SMTP_ZONE_KEY_LEN) == 0)
        {
            place = &p[i];
            break;
        }

        /* else a free place, else the one that ends first */

        if (place == NULL
            || (place->used
                && (!p[i].used
                    || (ngx_msec_int_t) (p[i].expires - place->expires) < 0)))
        {
            place = &p[i];
        }
    }

    if (place) {
        place->used = 1;
        place->expires = ngx_current_msec + ttl;
        place->v = *v;
        ngx_memcpy(place->key, key, NGX_SMTP_ZONE_KEY_LEN);
    }

    ngx_smtp_zone_unlock(zone);
}


static ngx_smtp_verified_place_t *
ngx_smtp_verified_bucket_locked(ngx_shm_zone_t *zone, u_char *key)
{
    size_t                      room;
    uint32_t                    hash;
    ngx_uint_t                  n;
    ngx_smtp_verified_place_t  *table;

    room = zone->shm.size / 8
           / (NGX_SMTP_VERIFIED_WAYS * sizeof(ngx_smtp_verified_place_t));

    n = 1;

    while (n * 2 <= room) {
        n *= 2;
    }

    table = ngx_smtp_zone_table(zone, NGX_SMTP_ZONE_VERIFIED,
                                n * NGX_SMTP_VERIFIED_WAYS
                                * sizeof(ngx_smtp_verified_place_t));
    if (table == NULL) {
        return NULL;
    }

    ngx_memcpy(&hash, key, sizeof(uint32_t));

    return &table[(hash & (n - 1)) * NGX_SMTP_VERIFIED_WAYS];
}


void
ngx_smtp_verified_reply(ngx_smtp_verified_t *v, ngx_uint_t code,
    ngx_str_t *status, ngx_str_t *text)
{
    v->code = code;
    v->status_len = ngx_min(status->len, NGX_SMTP_VERIFIED_STATUS_MAX);
    v->text_len = ngx_min(text->len, NGX_SMTP_VERIFIED_TEXT_MAX);

    ngx_memcpy(v->status, status->data, v->status_len);
    ngx_memcpy(v->text, text->data, v->text_len);
}
