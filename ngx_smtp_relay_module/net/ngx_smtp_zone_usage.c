
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * How much mail is in the queues, over all workers of a zone.  Each worker has
 * an array of its own in the zone, written without a lock; it is found by the
 * key of a queue's name, since workers of different configurations may have
 * queues in different order.  And whether the node is to become empty.
 */


#include "ngx_smtp_zone_private.h"


/* what the other workers have: kept for NGX_SMTP_ZONE_USAGE_AGE */
typedef struct {
    ngx_atomic_uint_t    messages;
    ngx_atomic_uint_t    bytes;
} ngx_smtp_zone_others_t;


static uint64_t ngx_smtp_zone_usage_key(ngx_str_t *name);
static void ngx_smtp_zone_usage_look(void);
static void ngx_smtp_zone_usage_add(ngx_smtp_slot_t *slot);


static ngx_smtp_usage_t        *ngx_smtp_zone_mine;
static ngx_smtp_zone_others_t  *ngx_smtp_zone_others;
static ngx_uint_t               ngx_smtp_zone_nusage;
static ngx_msec_t               ngx_smtp_zone_looked;
static ngx_uint_t               ngx_smtp_zone_usage_private;


ngx_smtp_usage_t *
ngx_smtp_zone_usage(ngx_str_t **names, ngx_uint_t n, ngx_log_t *log)
{
    size_t             size;
    ngx_uint_t         i;
    ngx_smtp_zone_t   *zone;
    ngx_smtp_usage_t  *usage;

    ngx_smtp_zone_usage_exit();

    size = (n + 1) * sizeof(ngx_smtp_usage_t);

    ngx_smtp_zone_others = ngx_calloc((n + 1) * sizeof(ngx_smtp_zone_others_t),
                                      log);
    if (ngx_smtp_zone_others == NULL) {
        return NULL;
    }

    zone = ngx_smtp_slot_zone;
    usage = zone ? ngx_slab_calloc(zone->shpool, size) : NULL;

    if (usage == NULL) {
        ngx_log_error(NGX_LOG_WARN, log, 0,
                      "no room in smtp_zone for the queues of this worker: "
                      "others do not see how much mail it has, make the zone "
                      "larger");

        usage = ngx_calloc(size, log);
        if (usage == NULL) {
            ngx_smtp_zone_usage_exit();
            return NULL;
        }

        ngx_smtp_zone_usage_private = 1;
    }

    for (i = 0; i < n; i++) {
        usage[i].key = ngx_smtp_zone_usage_key(names[i]);
    }

    ngx_smtp_zone_mine = usage;
    ngx_smtp_zone_nusage = n + 1;
    ngx_smtp_zone_looked = ngx_current_msec - NGX_SMTP_ZONE_USAGE_AGE;

    if (!ngx_smtp_zone_usage_private) {
        ngx_smtp_slot->nusage = n + 1;
        ngx_smtp_slot->usage = usage;
    }

    return usage;
}


/* FNV-1a; never 0 */

static uint64_t
ngx_smtp_zone_usage_key(ngx_str_t *name)
{
    size_t    i;
    uint64_t  key;

    key = 0xcbf29ce484222325;

    for (i = 0; i < name->len; i++) {
        key = (key ^ name->data[i]) * 0x100000001b3;
    }

    return key ? key : 1;
}


void
ngx_smtp_zone_usage_sum(ngx_smtp_usage_t *usage, ngx_atomic_uint_t *messages,
    ngx_atomic_uint_t *bytes)
{
    ngx_uint_t  i;

    if (ngx_current_msec - ngx_smtp_zone_looked >= NGX_SMTP_ZONE_USAGE_AGE) {
        ngx_smtp_zone_looked = ngx_current_msec;
        ngx_smtp_zone_usage_look();
    }

    i = usage - ngx_smtp_zone_mine;

    *messages = usage->messages + ngx_smtp_zone_others[i].messages;
    *bytes = usage->bytes + ngx_smtp_zone_others[i].bytes;
}


static void
ngx_smtp_zone_usage_look(void)
{
    ngx_uint_t           i;
    ngx_smtp_slot_t     *slot;
    ngx_smtp_zone_t     *zone;

    zone = ngx_smtp_slot_zone;

    if (zone == NULL) {
        return;
    }

    ngx_memzero(ngx_smtp_zone_others,
                ngx_smtp_zone_nusage * sizeof(ngx_smtp_zone_others_t));

    ngx_shmtx_lock(&zone->shpool->mutex);

    for (i = 0; i < zone->sh->nslots; i++) {
        slot = &zone->sh->slots[i];

        if (slot != ngx_smtp_slot && slot->pid && slot->usage
            && !ngx_smtp_zone_is_dead(slot->pid))
        {
            ngx_smtp_zone_usage_add(slot);
        }
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


static void
ngx_smtp_zone_usage_add(ngx_smtp_slot_t *slot)
{
    ngx_uint_t  i, k;

    for (i = 0; i < slot->nusage; i++) {

        for (k = 0; k < ngx_smtp_zone_nusage; k++) {

            if (ngx_smtp_zone_mine[k].key == slot->usage[i].key) {
                ngx_smtp_zone_others[k].messages += slot->usage[i].messages;
                ngx_smtp_zone_others[k].bytes += slot->usage[i].bytes;
                break;
            }
        }
    }
}


void
ngx_smtp_zone_usage_gauges(ngx_smtp_slot_t *slot, ngx_atomic_uint_t *gauges)
{
    ngx_uint_t  i;

    if (slot->usage == NULL) {
        return;
    }

    for (i = 0; i < slot->nusage; i++) {
        gauges[NGX_SMTP_GAUGE_QUEUED] += slot->usage[i].messages;
        gauges[NGX_SMTP_GAUGE_HELD] += slot->usage[i].held;
    }
}


void
ngx_smtp_zone_usage_free_locked(ngx_smtp_zone_t *zone, ngx_smtp_slot_t *slot)
{
    if (slot->usage) {
        ngx_slab_free_locked(zone->shpool, slot->usage);
        slot->usage = NULL;
    }
}


void
ngx_smtp_zone_usage_exit(void)
{
    if (ngx_smtp_zone_usage_private) {
        ngx_free(ngx_smtp_zone_mine);
        ngx_smtp_zone_usage_private = 0;
    }

    ngx_free(ngx_smtp_zone_others);

    ngx_smtp_zone_others = NULL;
    ngx_smtp_zone_mine = NULL;
    ngx_smtp_zone_nusage = 0;
}
