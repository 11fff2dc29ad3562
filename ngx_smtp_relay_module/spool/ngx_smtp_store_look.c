
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Looking for segments that nobody has: in a thread, which locks some of them;
 * what became of it, on the event loop.  A store takes over no more than its
 * part of all segments, until it is clear that nobody comes for the rest, and
 * no more than it has room for.  It remembers those that it is to let alone:
 * they cannot be read, workers died of them, or somebody else may know their
 * queues.
 */


#include "ngx_smtp_store_internal.h"


/*
 * Looks that left free ones for others, who look every two seconds at least.
 * After these it is counted on half as many workers with each look, and at
 * the last on nobody else.
 */
#define NGX_SMTP_LOOK_PATIENCE  8
#define NGX_SMTP_LOOK_LAST      14


static void ngx_smtp_own_look_lock(ngx_smtp_spool_t *spool,
    ngx_smtp_look_t *look, ngx_smtp_spool_list_t *list);
static ngx_uint_t ngx_smtp_own_share(ngx_smtp_look_t *look,
    ngx_smtp_spool_list_t *list);
static int ngx_libc_cdecl ngx_smtp_own_by_id(const void *one,
    const void *two);
static void ngx_smtp_own_crowded(ngx_smtp_store_t *store,
    ngx_smtp_look_t *look);
static void ngx_smtp_own_orphan(ngx_smtp_store_t *store,
    ngx_smtp_orphan_t *orphan);


void
ngx_smtp_own_look(ngx_smtp_spool_t *spool, ngx_smtp_look_t *look)
{
    ngx_int_t              rc;
    ngx_uint_t             i;
    ngx_smtp_fault_t       fault;
    ngx_smtp_spool_list_t  list;

    look->rc = ngx_smtp_spool_list(spool, &list, &look->fault);

    if (look->rc != NGX_OK) {
        return;
    }

    ngx_smtp_own_look_lock(spool, look, &list);

    for (i = 0; i < list.norphans; i++) {
        rc = ngx_smtp_spool_orphan(spool, &list.orphans[i], &fault);

        if (rc == NGX_DECLINED && look->norphans < NGX_SMTP_LOOK_MAX) {
            look->orphans[look->norphans++] = list.orphans[i];
        }
    }

    if (look->clean) {
        ngx_smtp_spool_clean(spool, look->now);
    }

    ngx_smtp_spool_list_free(&list);
}


/* Locks those that are taken; one more tells whether something is left. */

static void
ngx_smtp_own_look_lock(ngx_smtp_spool_t *spool, ngx_smtp_look_t *look,
    ngx_smtp_spool_list_t *list)
{
    ngx_int_t                 rc;
    ngx_uint_t                i, share, take;
    ngx_smtp_refused_t       *r;
    ngx_smtp_segment_file_t   f;

    share = ngx_smtp_own_share(look, list);
    take = ngx_min(share, look->room);

    for (i = 0; i < list->nsegments; i++) {

        rc = ngx_smtp_segment_lock(spool, &f, &list->segments[i].id);

        if (rc == NGX_OK) {

            if (look->nfiles == take || look->nfiles == NGX_SMTP_LOOK_MAX) {
                ngx_smtp_segment_close(NULL, &f);

                look->more = 1;
                look->crowded = (look->nfiles == take && take < share);
                break;
            }

            look->files[look->nfiles++] = f;

        } else if (rc != NGX_AGAIN && look->nrefused < NGX_SMTP_LOOK_MAX) {
            r = &look->refused[look->nrefused++];

            r->id = list->segments[i].id;
            r->version = f.header.version;
            r->rc = rc;
            r->fault = f.fault;
        }
    }
}


/*
 * How many of the segments to take, so that each worker has as many in the
 * end: half of that now, as others want some of what is due early, too.  The
 * list loses those that are ours, or to be let alone.
 */
static ngx_uint_t
ngx_smtp_own_share(ngx_smtp_look_t *look, ngx_smtp_spool_list_t *list)
{
    ngx_uint_t  i, n, workers;

    ngx_qsort(look->skip, look->nskip, sizeof(ngx_smtp_segment_id_t),
              ngx_smtp_own_by_id);

    for (i = 0, n = 0; i < list->nsegments; i++) {

        if (bsearch(&list->segments[i].id, look->skip, look->nskip,
                    sizeof(ngx_smtp_segment_id_t), ngx_smtp_own_by_id)
            == NULL)
        {
            list->segments[n++] = list->segments[i];
        }
    }

    list->nsegments = n;

    workers = look->workers;

    if (look->looks >= NGX_SMTP_LOOK_LAST) {
        workers = 1;

    } else if (look->looks > NGX_SMTP_LOOK_PATIENCE) {
        workers >>= look->looks - NGX_SMTP_LOOK_PATIENCE;
        workers = ngx_max(workers, 1);
    }

    if (workers == 1) {
        return n;
    }

    n = (look->own + n + workers - 1) / workers;

    return n > look->own ? (n - look->own + 1) / 2 : 0;
}


static int ngx_libc_cdecl
ngx_smtp_own_by_id(const void *one, const void *two)
{
    return ngx_memcmp(one, two, sizeof(ngx_smtp_segment_id_t));
}


ngx_uint_t
ngx_smtp_own_room(ngx_smtp_store_t *store)
{
    ngx_uint_t    n;
    ngx_queue_t  *q;

    if (store->conf->segments == 0) {
        return NGX_MAX_UINT32_VALUE;
    }

    n = 0;

    for (q = ngx_queue_head(&store->segments);
         q != ngx_queue_sentinel(&store->segments);
         q = ngx_queue_next(q))
    {
        n++;
    }

    return (n < store->conf->segments) ? store->conf->segments - n : 0;
}


void
ngx_smtp_own_looked(ngx_smtp_store_t *store, ngx_smtp_look_t *look)
{
    ngx_uint_t           i;
    ngx_smtp_segment_t  *seg;
    ngx_smtp_shunned_t  *s;

    if (look->rc != NGX_OK) {
        if (!store->look_failed) {
            store->look_failed = 1;
            ngx_smtp_store_fault(store, NGX_LOG_CRIT, &look->fault,
                                 "mail left by other workers is not found; "
                                 "it is tried again");
        }

        return;
    }

    store->look_failed = 0;

    ngx_smtp_own_crowded(store, look);

    for (i = 0; i < look->nrefused; i++) {
        ngx_smtp_own_refused(store, &look->refused[i]);
    }

    for (i = 0; i < look->norphans; i++) {
        ngx_smtp_own_orphan(store, &look->orphans[i]);
    }

    for (i = 0; i < look->nfiles; i++) {
        seg = ngx_smtp_segment_add(store, ngx_smtp_state_found);

        if (seg == NULL) {
            ngx_smtp_segment_close(NULL, &look->files[i]);
            continue;
        }

        seg->file = look->files[i];
        seg->leaving = store->leaving;

        if (ngx_smtp_strike_segment(seg)) {
            s = ngx_smtp_own_shun(store, &seg->file.header.id, 0);

            if (s) {
                s->forever = 1;
            }

            ngx_smtp_own_drop(seg);
        }
    }

    if (!look->more || look->crowded) {
        store->looks = 0;
        return;
    }

    /* with the next tick */

    store->look_at = ngx_current_msec;

    /* our part comes first; who waits for others counts */

    if (look->nfiles && store->looks <= NGX_SMTP_LOOK_PATIENCE) {
        store->looks = 0;

    } else if (store->looks < NGX_SMTP_LOOK_LAST) {
        store->looks++;
    }
}


/*
 * Each segment has two open files.  Without a limit they would take those of
 * clients and next hops, and nothing would go on at all.  It is told of once,
 * until none is left: one that waits for others to take their part, too, is
 * not crowded for that time.
 */

static void
ngx_smtp_own_crowded(ngx_smtp_store_t *store, ngx_smtp_look_t *look)
{
    if (look->crowded && !store->crowded) {
        ngx_log_error(NGX_LOG_CRIT, store->log, 0,
                      "spool \"%V\": this worker has %ui segments open and "
                      "takes over no more, so mail may wait that nobody "
                      "delivers: raise \"worker_rlimit_nofile\"",
                      &store->conf->path, store->conf->segments);
    }

    store->crowded = look->crowded || (store->crowded && look->more);
}


void
ngx_smtp_own_refused(ngx_smtp_store_t *store, ngx_smtp_refused_t *r)
{
    u_char               id[NGX_SMTP_ID_TEXT];
    ngx_uint_t           again;
    ngx_smtp_shunned_t  *s;

    s = ngx_smtp_own_shunned(store, &r->id);
    again = (s != NULL);

    s = ngx_smtp_own_shun(store, &r->id, NGX_SMTP_STORE_UNKNOWN);

    if (s && (r->rc == NGX_DECLINED || r->fault.err == 0)) {
        s->forever = 1;
    }

    if (again) {
        return;
    }

    (void) ngx_smtp_segment_id_text(&r->id, id);

    if (r->rc == NGX_DECLINED) {
        ngx_log_error(NGX_LOG_CRIT, store->log, 0,
                      "spool \"%V\": segment %*s has format version %uD, "
                      "this version of the module reads up to %d; its mail "
                      "waits, start the newer one again to deliver it",
                      &store->conf->path, (size_t) NGX_SMTP_ID_TEXT, id,
                      r->version, NGX_SMTP_FORMAT_VERSION);
        return;
    }

    ngx_log_error(NGX_LOG_CRIT, store->log, r->fault.err,
                  "spool \"%V\": segment %*s cannot be read: %s failed; it is "
                  "left alone",
                  &store->conf->path, (size_t) NGX_SMTP_ID_TEXT, id,
                  r->fault.what ? r->fault.what : "its header");
}


static void
ngx_smtp_own_orphan(ngx_smtp_store_t *store, ngx_smtp_orphan_t *orphan)
{
    u_char               id[NGX_SMTP_ID_TEXT];
    ngx_smtp_shunned_t  *s;

    if (ngx_smtp_own_shunned(store, &orphan->id)) {
        return;
    }

    s = ngx_smtp_own_shun(store, &orphan->id, 0);

    if (s) {
        s->forever = 1;
    }

    (void) ngx_smtp_segment_id_text(&orphan->id, id);

    ngx_log_error(NGX_LOG_CRIT, store->log, 0,
                  "spool \"%V\": segment %*s has a log but no data, mail may "
                  "be missing",
                  &store->conf->path, (size_t) NGX_SMTP_ID_TEXT, id);
}


ngx_smtp_shunned_t *
ngx_smtp_own_shunned(ngx_smtp_store_t *store, ngx_smtp_segment_id_t *id)
{
    ngx_uint_t  i;

    for (i = 0; i < store->nshunned; i++) {
        if (ngx_memcmp(store->shunned[i].id.bytes, id->bytes,
                       NGX_SMTP_ID_SIZE)
            == 0)
        {
            return &store->shunned[i];
        }
    }

    return NULL;
}


ngx_smtp_shunned_t *
ngx_smtp_own_shun(ngx_smtp_store_t *store, ngx_smtp_segment_id_t *id,
    ngx_msec_t msec)
{
    ngx_uint_t           i, room;
    ngx_smtp_shunned_t  *s;

    s = ngx_smtp_own_shunned(store, id);

    if (s) {
        s->until = ngx_current_msec + msec;
        return s;
    }

    if (store->nshunned == store->shunned_room) {
        room = store->shunned_room * 2 + 16;

        s = ngx_alloc(room * sizeof(ngx_smtp_shunned_t), store->log);
        if (s == NULL) {
            return NULL;
        }

        for (i = 0; i < store->nshunned; i++) {
            s[i] = store->shunned[i];
        }

        ngx_free(store->shunned);

        store->shunned = s;
        store->shunned_room = room;
    }

    s = &store->shunned[store->nshunned++];

    ngx_memzero(s, sizeof(ngx_smtp_shunned_t));

    s->id = *id;
    s->until = ngx_current_msec + msec;

    return s;
}
