
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The table of backends in the zone.  Places are claimed when a worker starts,
 * searched one by one then, and by pointer ever after; each use looks whether
 * the place is still that of the backend.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_backend.h"
#include "ngx_smtp_zone.h"

#include <openssl/err.h>
#include <openssl/evp.h>


/* untouched for so long a place may be taken, s */
#define NGX_SMTP_BACKEND_STALE  3600


static ngx_int_t ngx_smtp_backend_key(ngx_smtp_backend_t *b,
    ngx_str_t *profile);
static ngx_smtp_backend_sh_t *ngx_smtp_backend_place_locked(
    ngx_smtp_backend_sh_t *table, ngx_smtp_backend_t *b);
static ngx_uint_t ngx_smtp_backend_ours(ngx_smtp_backend_t *b);


ngx_int_t
ngx_smtp_backend_claim(ngx_smtp_backend_t *b, ngx_shm_zone_t *zone,
    ngx_str_t *profile)
{
    ngx_smtp_backend_sh_t  *table;

    b->zone = zone;
    b->sh = NULL;

    if (ngx_smtp_backend_key(b, profile) != NGX_OK) {
        return NGX_DECLINED;
    }

    ngx_smtp_zone_lock(zone);

    table = ngx_smtp_zone_table(zone, NGX_SMTP_ZONE_BACKENDS,
                                NGX_SMTP_BACKENDS
                                * sizeof(ngx_smtp_backend_sh_t));
    if (table) {
        b->sh = ngx_smtp_backend_place_locked(table, b);
    }

    ngx_smtp_zone_unlock(zone);

    return b->sh ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_smtp_backend_key(ngx_smtp_backend_t *b, ngx_str_t *profile)
{
    ngx_int_t      rc;
    EVP_MD_CTX    *ctx;
    unsigned int   len;
    u_char         digest[EVP_MAX_MD_SIZE];

    ctx = EVP_MD_CTX_new();

    rc = (ctx
          && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL)
          && EVP_DigestUpdate(ctx, b->sockaddr, b->socklen)
          && EVP_DigestUpdate(ctx, profile->data, profile->len)
          && EVP_DigestFinal_ex(ctx, digest, &len))
         ? NGX_OK : NGX_ERROR;

    EVP_MD_CTX_free(ctx);

    if (rc != NGX_OK) {
        ERR_clear_error();
        return NGX_ERROR;
    }

    ngx_memcpy(b->key, digest, NGX_SMTP_BACKEND_KEY_LEN);

    return NGX_OK;
}


/* its place, else a free one, else the one that was left alone the longest */

static ngx_smtp_backend_sh_t *
ngx_smtp_backend_place_locked(ngx_smtp_backend_sh_t *table,
    ngx_smtp_backend_t *b)
{
    ngx_uint_t              i;
    ngx_smtp_backend_sh_t  *sh, *place;

    place = NULL;

    for (i = 0; i < NGX_SMTP_BACKENDS; i++) {
        sh = &table[i];

        if (sh->used
            && ngx_memcmp(sh->key, b->key, NGX_SMTP_BACKEND_KEY_LEN) == 0)
        {
            sh->touched = ngx_time();
            return sh;
        }

        if (place == NULL
            || (place->used && (!sh->used || sh->touched < place->touched)))
        {
            place = sh;
        }
    }

    if (place->used && ngx_time() - place->touched < NGX_SMTP_BACKEND_STALE) {
        return NULL;
    }

    ngx_memzero(place, sizeof(ngx_smtp_backend_sh_t));

    place->used = 1;
    place->touched = ngx_time();
    ngx_memcpy(place->key, b->key, NGX_SMTP_BACKEND_KEY_LEN);

    return place;
}


static ngx_uint_t
ngx_smtp_backend_ours(ngx_smtp_backend_t *b)
{
    return b->sh
           && ngx_memcmp(b->sh->key, b->key, NGX_SMTP_BACKEND_KEY_LEN) == 0;
}


ngx_uint_t
ngx_smtp_backend_down(ngx_smtp_backend_t *b)
{
    return ngx_smtp_backend_ours(b) && b->sh->down;
}


ngx_uint_t
ngx_smtp_backend_offers(ngx_smtp_backend_t *b)
{
    return ngx_smtp_backend_ours(b) ? b->sh->offers : 0;
}


void
ngx_smtp_backend_learn(ngx_smtp_backend_t *b, ngx_uint_t offers)
{
    offers |= NGX_SMTP_BACKEND_KNOWN;

    /* without a lock as long as there is nothing new */

    if (!ngx_smtp_backend_ours(b)
        || (b->sh->offers == offers && b->sh->touched == ngx_time()))
    {
        return;
    }

    ngx_smtp_zone_lock(b->zone);

    if (ngx_smtp_backend_ours(b)) {
        b->sh->offers = offers;
        b->sh->touched = ngx_time();
    }

    ngx_smtp_zone_unlock(b->zone);
}


ngx_int_t
ngx_smtp_backend_take(ngx_smtp_backend_t *b, ngx_msec_t interval,
    ngx_msec_t lease, ngx_msec_t *wait)
{
    ngx_int_t               rc;
    ngx_msec_int_t          left;
    ngx_smtp_backend_sh_t  *sh;

    if (b->sh == NULL) {
        return NGX_DECLINED;
    }

    sh = b->sh;
    rc = NGX_AGAIN;

    ngx_smtp_zone_lock(b->zone);

    if (!ngx_smtp_backend_ours(b)) {
        rc = NGX_DECLINED;
        goto done;
    }

    if (sh->owner) {
        left = (ngx_msec_int_t) (sh->lease - ngx_current_msec);

        if (left > 0 && !ngx_smtp_zone_is_dead(sh->owner)) {
            *wait = ngx_min((ngx_msec_t) left, interval);
            goto done;
        }
    }

    /* the interval may have been a longer one when next was set */

    left = sh->due ? (ngx_msec_int_t) (sh->next - ngx_current_msec) : 0;

    if (left > 0 && (ngx_msec_t) left <= interval) {
        *wait = left;
        goto done;
    }

    sh->owner = ngx_pid;
    sh->lease = ngx_current_msec + lease;
    sh->touched = ngx_time();
    rc = NGX_OK;

done:

    ngx_smtp_zone_unlock(b->zone);

    return rc;
}


ngx_int_t
ngx_smtp_backend_report(ngx_smtp_backend_t *b, ngx_uint_t ok,
    ngx_uint_t needed, ngx_msec_t interval, ngx_str_t *reason)
{
    ngx_int_t               rc;
    ngx_smtp_backend_sh_t  *sh;

    sh = b->sh;
    rc = NGX_DECLINED;

    ngx_smtp_zone_lock(b->zone);

    if (!ngx_smtp_backend_ours(b) || sh->owner != ngx_pid) {
        goto done;
    }

    sh->owner = 0;
    sh->due = 1;
    sh->next = ngx_current_msec + interval;
    sh->touched = ngx_time();
    sh->checked = sh->touched;
    sh->checks++;

    if (ok) {
        sh->passes++;
        sh->fails = 0;

    } else {
        sh->failed++;
        sh->fails++;
        sh->passes = 0;
        sh->reason_len = ngx_min(reason->len, NGX_SMTP_BACKEND_REASON_MAX);
        ngx_memcpy(sh->reason, reason->data, sh->reason_len);
    }

    rc = NGX_OK;

    if (sh->down == ok && (ok ? sh->passes : sh->fails) >= needed) {
        sh->down = !ok;
        sh->changed = sh->checked;
        rc = NGX_DONE;
    }

done:

    ngx_smtp_zone_unlock(b->zone);

    return rc;
}


void
ngx_smtp_backend_release(ngx_smtp_backend_t *b)
{
    ngx_smtp_zone_lock(b->zone);

    if (ngx_smtp_backend_ours(b) && b->sh->owner == ngx_pid) {
        b->sh->owner = 0;
    }

    ngx_smtp_zone_unlock(b->zone);
}


ngx_int_t
ngx_smtp_backend_state(ngx_smtp_backend_t *b, ngx_smtp_backend_state_t *st)
{
    ngx_int_t               rc;
    ngx_smtp_backend_sh_t  *sh;

    if (b->sh == NULL) {
        return NGX_DECLINED;
    }

    sh = b->sh;
    rc = NGX_DECLINED;

    ngx_smtp_zone_lock(b->zone);

    if (ngx_smtp_backend_ours(b)) {
        st->down = sh->down;
        st->offers = sh->offers;
        st->checked = sh->checked;
        st->changed = sh->changed;
        st->checks = sh->checks;
        st->failed = sh->failed;
        st->reason.len = sh->reason_len;
        st->reason.data = st->text;
        ngx_memcpy(st->text, sh->reason, sh->reason_len);

        rc = NGX_OK;
    }

    ngx_smtp_zone_unlock(b->zone);

    return rc;
}
