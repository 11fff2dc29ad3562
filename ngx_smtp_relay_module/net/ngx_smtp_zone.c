
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The shared memory zone.  All its parts are allocated once, when the zone is
 * made, and are of fixed size; there is no pointer to the memory of a worker
 * in it.  A worker that dies leaves its slot and its hashing tickets behind:
 * whoever needs one of these asks the kernel whether the owner lives.
 */


#include "ngx_smtp_zone_private.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>


#define NGX_SMTP_ZONE_SLOTS         256
#define NGX_SMTP_ZONE_NO_ROOM       ((void *) -1)
#define NGX_SMTP_ZONE_HASHING_TIME  120000
#define NGX_SMTP_ZONE_WAYS          4
#define NGX_SMTP_ZONE_INPUT         2048    /* of the cache key */


static ngx_int_t ngx_smtp_zone_init(ngx_shm_zone_t *shm_zone, void *data);
static void ngx_smtp_zone_fold_locked(ngx_smtp_zone_t *zone,
    ngx_smtp_slot_t *slot);
static ngx_smtp_zone_login_t *ngx_smtp_zone_bucket(ngx_smtp_zone_sh_t *sh,
    u_char *key);
static ngx_int_t ngx_smtp_zone_hashing_take_locked(
    ngx_smtp_zone_hashing_t *h, ngx_str_t *addr, ngx_uint_t *ticket);
static void ngx_smtp_zone_hashing_give_locked(ngx_smtp_zone_hashing_t *h,
    ngx_uint_t ticket);
static u_char *ngx_smtp_zone_put_string(u_char *p, ngx_str_t *s);


ngx_str_t  ngx_smtp_count_names[] = {
    ngx_string("sessions"),
    ngx_string("refused"),
    ngx_string("tls"),
    ngx_string("auth_ok"),
    ngx_string("auth_failed"),
    ngx_string("auth_temp"),
    ngx_string("auth_cached"),
    ngx_string("accepted"),
    ngx_string("rejected"),
    ngx_string("tempfailed"),
    ngx_string("bytes"),
    ngx_string("attempts"),
    ngx_string("delivered"),
    ngx_string("deferred"),
    ngx_string("bounced"),
    ngx_string("expired"),
    ngx_string("commits")
};


ngx_str_t  ngx_smtp_gauge_names[] = {
    ngx_string("sessions"),
    ngx_string("queued"),
    ngx_string("held"),
    ngx_string("outbound"),
    ngx_string("receiving")
};


static ngx_smtp_slot_t           ngx_smtp_slot_private;
static ngx_smtp_zone_hashing_t   ngx_smtp_zone_hashing_private;

ngx_smtp_slot_t                 *ngx_smtp_slot = &ngx_smtp_slot_private;
ngx_smtp_zone_t                 *ngx_smtp_slot_zone;


ngx_shm_zone_t *
ngx_smtp_zone_add(ngx_conf_t *cf, ngx_str_t *name, size_t size, void *tag)
{
    ngx_shm_zone_t   *shm_zone;
    ngx_smtp_zone_t  *zone;

    if (size < NGX_SMTP_ZONE_MIN_SIZE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is too small, must be at least %uzk",
                           name, (size_t) NGX_SMTP_ZONE_MIN_SIZE / 1024);
        return NULL;
    }

    shm_zone = ngx_shared_memory_add(cf, name, size, tag);

    if (shm_zone == NULL || shm_zone->data) {
        return shm_zone;
    }

    zone = ngx_pcalloc(cf->pool, sizeof(ngx_smtp_zone_t));

    if (zone == NULL) {
        return NULL;
    }

    shm_zone->init = ngx_smtp_zone_init;
    shm_zone->data = zone;

    return shm_zone;
}


static ngx_int_t
ngx_smtp_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_smtp_zone_t *old = data;

    size_t               len, room;
    ngx_smtp_zone_t     *zone;
    ngx_smtp_zone_sh_t  *sh;

    zone = shm_zone->data;

    if (old) {
        zone->sh = old->sh;
        zone->shpool = old->shpool;
        return NGX_OK;
    }

    zone->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (shm_zone->shm.exists) {
        zone->sh = zone->shpool->data;
        return NGX_OK;
    }

    sh = ngx_slab_calloc(zone->shpool, sizeof(ngx_smtp_zone_sh_t));

    if (sh == NULL) {
        return NGX_ERROR;
    }

    sh->nslots = NGX_SMTP_ZONE_SLOTS;
    sh->slots = ngx_slab_calloc(zone->shpool,
                                sh->nslots * sizeof(ngx_smtp_slot_t));

    /* a quarter of the zone at most remembers logins */

    room = shm_zone->shm.size / 4
           / (NGX_SMTP_ZONE_WAYS * sizeof(ngx_smtp_zone_login_t));

    sh->nbuckets = 1;

    while (sh->nbuckets * 2 <= room) {
        sh->nbuckets *= 2;
    }

    sh->logins = ngx_slab_calloc(zone->shpool,
                                 sh->nbuckets * NGX_SMTP_ZONE_WAYS
                                 * sizeof(ngx_smtp_zone_login_t));

    if (sh->slots == NULL || sh->logins == NULL) {
        return NGX_ERROR;
    }

    if (RAND_bytes(sh->key, sizeof(sh->key)) != 1) {
        ERR_clear_error();
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "RAND_bytes() failed");
        return NGX_ERROR;
    }

    len = sizeof(" in smtp zone \"\"") + shm_zone->shm.name.len;

    zone->shpool->log_ctx = ngx_slab_alloc(zone->shpool, len);

    if (zone->shpool->log_ctx == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(zone->shpool->log_ctx, " in smtp zone \"%V\"%Z",
                &shm_zone->shm.name);

    zone->shpool->data = sh;
    zone->sh = sh;

    return NGX_OK;
}


void
ngx_smtp_zone_init_worker(ngx_shm_zone_t *shm_zone, ngx_log_t *log)
{
    ngx_uint_t            i;
    ngx_smtp_slot_t      *slot, *s;
    ngx_smtp_zone_t      *zone;
    ngx_smtp_zone_sh_t   *sh;

    ngx_memzero(&ngx_smtp_slot_private, sizeof(ngx_smtp_slot_t));
    ngx_memzero(&ngx_smtp_zone_hashing_private,
                sizeof(ngx_smtp_zone_hashing_t));

    ngx_smtp_slot = &ngx_smtp_slot_private;
    ngx_smtp_slot_zone = NULL;
    ngx_smtp_transactions =
                   &ngx_smtp_slot_private.gauges[NGX_SMTP_GAUGE_RECEIVING];

    if (shm_zone == NULL) {
        return;
    }

    zone = shm_zone->data;
    sh = zone->sh;
    slot = NULL;

    ngx_shmtx_lock(&zone->shpool->mutex);

    for (i = 0; i < sh->nslots; i++) {

        s = &sh->slots[i];

        if (s->pid == (ngx_atomic_uint_t) ngx_pid
            || (s->pid && ngx_smtp_zone_is_dead(s->pid)))
        {
            ngx_smtp_zone_fold_locked(zone, s);
        }

        if (s->pid == 0 && slot == NULL) {
            slot = s;
        }
    }

    if (slot) {
        slot->generation = ++sh->generation;
        slot->pid = ngx_pid;
    }

    /* what a dead process with our pid was hashing */

    for (i = 0; i < NGX_SMTP_ZONE_HASHING; i++) {
        if (sh->hashing.tickets[i].pid == ngx_pid) {
            sh->hashing.tickets[i].pid = 0;
        }
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    if (slot == NULL) {
        ngx_log_error(NGX_LOG_WARN, log, 0,
                      "no free slot in smtp zone \"%V\", the counters "
                      "of this worker are not seen", &shm_zone->shm.name);
        return;
    }

    ngx_smtp_slot = slot;
    ngx_smtp_slot_zone = zone;

    ngx_smtp_works_set(slot->works);
    ngx_smtp_transactions = &slot->gauges[NGX_SMTP_GAUGE_RECEIVING];
}


void
ngx_smtp_zone_exit_worker(void)
{
    ngx_smtp_zone_t  *zone;

    ngx_smtp_zone_usage_exit();
    ngx_smtp_works_set(NULL);

    zone = ngx_smtp_slot_zone;

    if (zone == NULL) {
        return;
    }

    ngx_shmtx_lock(&zone->shpool->mutex);

    ngx_smtp_zone_fold_locked(zone, ngx_smtp_slot);

    ngx_shmtx_unlock(&zone->shpool->mutex);

    ngx_smtp_slot = &ngx_smtp_slot_private;
    ngx_smtp_slot_zone = NULL;
    ngx_smtp_transactions =
                   &ngx_smtp_slot_private.gauges[NGX_SMTP_GAUGE_RECEIVING];
}


void
ngx_smtp_count_message(ngx_uint_t code, off_t bytes)
{
    if (code < 300) {
        ngx_smtp_count(NGX_SMTP_COUNT_ACCEPTED);
        ngx_smtp_count_add(NGX_SMTP_COUNT_BYTES, bytes);

    } else if (code < 500) {
        ngx_smtp_count(NGX_SMTP_COUNT_TEMPFAILED);

    } else {
        ngx_smtp_count(NGX_SMTP_COUNT_REJECTED);
    }
}


ngx_uint_t
ngx_smtp_zone_generation(void)
{
    return ngx_smtp_slot->generation;
}


void
ngx_smtp_zone_totals(ngx_shm_zone_t *shm_zone, ngx_atomic_uint_t *counts,
    ngx_atomic_uint_t *gauges)
{
    ngx_uint_t           i, k;
    ngx_smtp_slot_t     *slot;
    ngx_smtp_zone_t     *zone;
    ngx_smtp_zone_sh_t  *sh;

    zone = shm_zone->data;
    sh = zone->sh;

    ngx_memzero(gauges, NGX_SMTP_GAUGES * sizeof(ngx_atomic_uint_t));

    ngx_shmtx_lock(&zone->shpool->mutex);

    for (k = 0; k < NGX_SMTP_COUNTS; k++) {
        counts[k] = sh->counts[k];
    }

    for (i = 0; i < sh->nslots; i++) {

        slot = &sh->slots[i];

        if (slot->pid == 0) {
            continue;
        }

        for (k = 0; k < NGX_SMTP_COUNTS; k++) {
            counts[k] += slot->counts[k];
        }

        if (ngx_smtp_zone_is_dead(slot->pid)) {
            continue;
        }

        for (k = 0; k < NGX_SMTP_GAUGES; k++) {
            gauges[k] += slot->gauges[k];
        }

        ngx_smtp_zone_usage_gauges(slot, gauges);
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


/* what a worker counted stays, what it had is gone */

static void
ngx_smtp_zone_fold_locked(ngx_smtp_zone_t *zone, ngx_smtp_slot_t *slot)
{
    ngx_uint_t  k;

    for (k = 0; k < NGX_SMTP_COUNTS; k++) {
        zone->sh->counts[k] += slot->counts[k];
    }

    ngx_smtp_zone_usage_free_locked(zone, slot);
    ngx_smtp_zone_left_locked(zone->sh, slot);

    ngx_memzero(slot, sizeof(ngx_smtp_slot_t));
}


ngx_uint_t
ngx_smtp_zone_is_dead(ngx_pid_t pid)
{
    return kill(pid, 0) == -1 && ngx_errno == NGX_ESRCH;
}


void
ngx_smtp_zone_lock(ngx_shm_zone_t *shm_zone)
{
    ngx_smtp_zone_t  *zone;

    zone = shm_zone->data;

    ngx_shmtx_lock(&zone->shpool->mutex);
}


void
ngx_smtp_zone_unlock(ngx_shm_zone_t *shm_zone)
{
    ngx_smtp_zone_t  *zone;

    zone = shm_zone->data;

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


void *
ngx_smtp_zone_table(ngx_shm_zone_t *shm_zone, ngx_uint_t id, size_t size)
{
    void             **table;
    ngx_smtp_zone_t   *zone;

    zone = shm_zone->data;
    table = &zone->sh->tables[id];

    if (*table == NULL) {
        *table = ngx_slab_calloc_locked(zone->shpool, size);

        if (*table == NULL) {

            /* it was logged, and will not be better: not at each use */

            *table = NGX_SMTP_ZONE_NO_ROOM;
        }
    }

    return (*table == NGX_SMTP_ZONE_NO_ROOM) ? NULL : *table;
}


ngx_int_t
ngx_smtp_zone_login_key(ngx_shm_zone_t *shm_zone, ngx_str_t *login,
    ngx_str_t *verifier, ngx_str_t *password,
    u_char key[NGX_SMTP_ZONE_KEY_LEN])
{
    u_char           *p, input[NGX_SMTP_ZONE_INPUT];
    ngx_int_t         rc;
    unsigned int      len;
    ngx_smtp_zone_t  *zone;

    zone = shm_zone->data;

    if (login->len > sizeof(input)
        || verifier->len > sizeof(input)
        || password->len > sizeof(input)
        || login->len + verifier->len + password->len + 3 * sizeof(uint32_t)
           > sizeof(input))
    {
        return NGX_ERROR;
    }

    p = ngx_smtp_zone_put_string(input, login);
    p = ngx_smtp_zone_put_string(p, verifier);
    p = ngx_smtp_zone_put_string(p, password);

    len = 0;
    rc = NGX_OK;

    if (HMAC(EVP_sha256(), zone->sh->key, sizeof(zone->sh->key), input,
             p - input, key, &len)
        == NULL
        || len != NGX_SMTP_ZONE_KEY_LEN)
    {
        ERR_clear_error();
        rc = NGX_ERROR;
    }

    ngx_explicit_memzero(input, sizeof(input));

    return rc;
}


/* with its length, so that no two inputs are the same bytes */

static u_char *
ngx_smtp_zone_put_string(u_char *p, ngx_str_t *s)
{
    uint32_t  len;

    len = (uint32_t) s->len;

    p = ngx_cpymem(p, &len, sizeof(uint32_t));

    return ngx_cpymem(p, s->data, s->len);
}


ngx_int_t
ngx_smtp_zone_login_get(ngx_shm_zone_t *shm_zone, u_char *key)
{
    ngx_int_t               rc;
    ngx_uint_t              i;
    ngx_smtp_zone_t        *zone;
    ngx_smtp_zone_login_t  *l;

    zone = shm_zone->data;
    rc = NGX_DECLINED;

    ngx_shmtx_lock(&zone->shpool->mutex);

    l = ngx_smtp_zone_bucket(zone->sh, key);

    for (i = 0; i < NGX_SMTP_ZONE_WAYS; i++) {

        if (l[i].used
            && ngx_memcmp(l[i].key, key, NGX_SMTP_ZONE_KEY_LEN) == 0)
        {
            if ((ngx_msec_int_t) (l[i].expires - ngx_current_msec) > 0) {
                rc = NGX_OK;
            }

            break;
        }
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    return rc;
}


void
ngx_smtp_zone_login_put(ngx_shm_zone_t *shm_zone, u_char *key, ngx_msec_t ttl)
{
    ngx_uint_t              i;
    ngx_smtp_zone_t        *zone;
    ngx_smtp_zone_login_t  *l, *place;

    zone = shm_zone->data;

    ngx_shmtx_lock(&zone->shpool->mutex);

    l = ngx_smtp_zone_bucket(zone->sh, key);
    place = NULL;

    for (i = 0; i < NGX_SMTP_ZONE_WAYS; i++) {

        if (l[i].used
            && ngx_memcmp(l[i].key, key, NGX_SMTP_ZONE_KEY_LEN) == 0)
        {
            place = &l[i];
            break;
        }

        /* else a free place, else the one that ends first */

        if (place == NULL
            || (place->used
                && (!l[i].used
                    || (ngx_msec_int_t) (l[i].expires - place->expires) < 0)))
        {
            place = &l[i];
        }
    }

    place->used = 1;
    place->expires = ngx_current_msec + ttl;
    ngx_memcpy(place->key, key, NGX_SMTP_ZONE_KEY_LEN);

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


static ngx_smtp_zone_login_t *
ngx_smtp_zone_bucket(ngx_smtp_zone_sh_t *sh, u_char *key)
{
    uint32_t  hash;

    ngx_memcpy(&hash, key, sizeof(uint32_t));

    return &sh->logins[(hash & (sh->nbuckets - 1)) * NGX_SMTP_ZONE_WAYS];
}


ngx_int_t
ngx_smtp_zone_hashing_take(ngx_shm_zone_t *shm_zone, ngx_str_t *addr,
    ngx_uint_t *ticket)
{
    ngx_int_t         rc;
    ngx_smtp_zone_t  *zone;

    if (shm_zone == NULL) {
        return ngx_smtp_zone_hashing_take_locked(
                                      &ngx_smtp_zone_hashing_private, addr,
                                      ticket);
    }

    zone = shm_zone->data;

    ngx_shmtx_lock(&zone->shpool->mutex);

    rc = ngx_smtp_zone_hashing_take_locked(&zone->sh->hashing, addr, ticket);

    ngx_shmtx_unlock(&zone->shpool->mutex);

    return rc;
}


void
ngx_smtp_zone_hashing_give(ngx_shm_zone_t *shm_zone, ngx_uint_t ticket)
{
    ngx_smtp_zone_t  *zone;

    if (shm_zone == NULL) {
        ngx_smtp_zone_hashing_give_locked(&ngx_smtp_zone_hashing_private,
                                          ticket);
        return;
    }

    zone = shm_zone->data;

    ngx_shmtx_lock(&zone->shpool->mutex);

    ngx_smtp_zone_hashing_give_locked(&zone->sh->hashing, ticket);

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


static ngx_int_t
ngx_smtp_zone_hashing_take_locked(ngx_smtp_zone_hashing_t *h, ngx_str_t *addr,
    ngx_uint_t *ticket)
{
    size_t                   len;
    ngx_uint_t               i, n, max, same;
    ngx_smtp_zone_ticket_t  *t, *place;

    len = ngx_min(addr->len, NGX_SOCKADDR_STRLEN);
    max = ngx_min(ngx_max(ngx_ncpu / 2, 1), NGX_SMTP_ZONE_HASHING);

    n = 0;
    same = 0;
    place = NULL;

    for (i = 0; i < NGX_SMTP_ZONE_HASHING; i++) {

        t = &h->tickets[i];

        if (t->pid
            && ((ngx_msec_int_t) (ngx_current_msec - t->started)
                > NGX_SMTP_ZONE_HASHING_TIME
                || ngx_smtp_zone_is_dead(t->pid)))
        {
            t->pid = 0;
        }

        if (t->pid == 0) {
            place = t;
            continue;
        }

        n++;

        if (t->len == len && ngx_memcmp(t->addr, addr->data, len) == 0) {
            same = 1;
        }
    }

    if (same) {
        return NGX_BUSY;
    }

    if (n >= max || place == NULL) {
        return NGX_AGAIN;
    }

    place->pid = ngx_pid;
    place->seq = ++h->seq;
    place->started = ngx_current_msec;
    place->len = len;
    ngx_memcpy(place->addr, addr->data, len);

    *ticket = place->seq * NGX_SMTP_ZONE_HASHING + (place - h->tickets);

    return NGX_OK;
}


static void
ngx_smtp_zone_hashing_give_locked(ngx_smtp_zone_hashing_t *h,
    ngx_uint_t ticket)
{
    ngx_smtp_zone_ticket_t  *t;

    t = &h->tickets[ticket % NGX_SMTP_ZONE_HASHING];

    /* a place that was taken back for its age may be another's by now */

    if (t->pid == ngx_pid && t->seq == ticket / NGX_SMTP_ZONE_HASHING) {
        t->pid = 0;
    }
}
