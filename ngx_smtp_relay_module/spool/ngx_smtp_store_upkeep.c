
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * All file work of the store besides batches and events: the directory, new
 * segments, removal, sealing, adoption, syncs of logs, unlinks, looks.  One
 * task at a time, so that threads stay free for the batch; what is next is
 * decided anew each time from the state of the segments, in the order of
 * urgency of ngx_smtp_upkeep_choose().  Here is the event loop's part.
 */


#include "ngx_smtp_store_internal.h"


static ngx_smtp_upkeep_e ngx_smtp_upkeep_choose(ngx_smtp_store_t *store,
    ngx_smtp_segment_t **seg);
static ngx_uint_t ngx_smtp_upkeep_want_segment(ngx_smtp_store_t *store);
static ngx_smtp_upkeep_e ngx_smtp_upkeep_segment(ngx_smtp_segment_t *seg);
static ngx_int_t ngx_smtp_upkeep_prepare(ngx_smtp_upkeep_t *u);
static ngx_int_t ngx_smtp_upkeep_prepare_look(ngx_smtp_upkeep_t *u);
static ngx_int_t ngx_smtp_upkeep_prepare_release(ngx_smtp_segment_t *seg);
static void ngx_smtp_upkeep_prepare_close(ngx_smtp_upkeep_t *u);
static void ngx_smtp_upkeep_cancel(ngx_smtp_upkeep_t *u);
static void ngx_smtp_upkeep_done(void *data);
static void ngx_smtp_upkeep_done_store(ngx_smtp_upkeep_t *u);
static void ngx_smtp_upkeep_done_segment(ngx_smtp_upkeep_t *u);
static void ngx_smtp_upkeep_released(ngx_smtp_upkeep_t *u);
static void ngx_smtp_upkeep_opened(ngx_smtp_upkeep_t *u);
static void ngx_smtp_upkeep_created(ngx_smtp_upkeep_t *u);
static void ngx_smtp_upkeep_synced(ngx_smtp_upkeep_t *u);
static void ngx_smtp_upkeep_unlinked(ngx_smtp_upkeep_t *u);
static void ngx_smtp_upkeep_failed(ngx_smtp_upkeep_t *u, const char *text);


void
ngx_smtp_upkeep_task(ngx_smtp_store_t *store)
{
    store->upkeep.store = store;

    ngx_smtp_task_init(&store->upkeep.task, "spool upkeep",
                       ngx_smtp_upkeep_run, ngx_smtp_upkeep_done,
                       &store->upkeep);
}


void
ngx_smtp_upkeep_start(ngx_smtp_store_t *store)
{
    ngx_time_t         *tp;
    ngx_smtp_upkeep_t  *u;

    u = &store->upkeep;
    tp = ngx_timeofday();

    if (u->task.active || store->stopping) {
        return;
    }

    u->segment = NULL;
    u->look = NULL;
    u->bodies = NULL;
    u->nbodies = 0;
    u->files = NULL;
    u->nfiles = 0;
    u->renewal = NULL;
    u->rc = NGX_OK;
    u->fault.err = 0;
    u->fault.what = NULL;
    u->now = ngx_time();
    u->msec = (uint64_t) tp->sec * 1000 + tp->msec;

    ngx_smtp_renew_begin(store);

    u->op = ngx_smtp_upkeep_choose(store, &u->segment);

    if (u->op == ngx_smtp_upkeep_none) {
        return;
    }

    if (ngx_smtp_upkeep_prepare(u) != NGX_OK) {
        return;
    }

    if (ngx_smtp_task_post(store->conf->pool, &u->task, store->log)
        != NGX_OK)
    {
        /* the next tick tries again */

        ngx_smtp_upkeep_cancel(u);
    }
}


static ngx_smtp_upkeep_e
ngx_smtp_upkeep_choose(ngx_smtp_store_t *store, ngx_smtp_segment_t **found)
{
    ngx_queue_t         *q;
    ngx_smtp_upkeep_e    op, best;
    ngx_smtp_segment_t  *seg;

    if (!store->opened) {
        return ngx_smtp_after(store->open_at) ? ngx_smtp_upkeep_open
                                              : ngx_smtp_upkeep_none;
    }

    if (ngx_smtp_upkeep_want_segment(store)) {
        return ngx_smtp_upkeep_create;
    }

    best = ngx_smtp_upkeep_none;

    for (q = ngx_queue_head(&store->segments);
         q != ngx_queue_sentinel(&store->segments);
         q = ngx_queue_next(q))
    {
        seg = ngx_queue_data(q, ngx_smtp_segment_t, link);

        if (seg->busy) {
            continue;
        }

        op = ngx_smtp_upkeep_segment(seg);

        if (op == ngx_smtp_upkeep_none) {
            continue;
        }

        if (best == ngx_smtp_upkeep_none || op < best
            || (op == best && op == ngx_smtp_upkeep_release
                && seg->due < (*found)->due))
        {
            best = op;
            *found = seg;
        }
    }

    op = ngx_smtp_renew_choose(store, &seg);

    if (op == ngx_smtp_upkeep_commit
        && (best == ngx_smtp_upkeep_none || op < best))
    {
        best = op;
        *found = seg;
    }

    if (best != ngx_smtp_upkeep_none) {
        return best;
    }

    if (store->nclosing) {
        return ngx_smtp_upkeep_close;
    }

    if (store->stat) {
        return ngx_smtp_upkeep_stat;
    }

    if (store->look && !store->leaving) {
        return ngx_smtp_upkeep_look;
    }

    if (ngx_smtp_after(store->space_at)) {
        return ngx_smtp_upkeep_space;
    }

    if (op != ngx_smtp_upkeep_none) {
        *found = seg;
    }

    return op;
}


static ngx_uint_t
ngx_smtp_upkeep_want_segment(ngx_smtp_store_t *store)
{
    if (store->next || !ngx_smtp_after(store->create_at)) {
        return 0;
    }

    if (store->active && !store->active->leaving) {

        /* ahead of time */

        return !store->leaving
               && store->active->end > (off_t) store->conf->segment_size / 2;
    }

    return !store->leaving || !ngx_queue_empty(&store->accepts);
}


/* What there is to do for a segment that no task has. */

static ngx_smtp_upkeep_e
ngx_smtp_upkeep_segment(ngx_smtp_segment_t *seg)
{
    ngx_uint_t  renewed;

    /* it keeps its files until the renewal has come to an end */

    renewed = (seg->store->renewal && seg->store->renewal->segment == seg);

    switch (seg->state) {

    case ngx_smtp_state_found:
        return ngx_smtp_upkeep_recover;

    case ngx_smtp_state_recovered:
        return ngx_smtp_upkeep_seal;

    case ngx_smtp_state_close:

        if (seg->reading || renewed) {
            return ngx_smtp_upkeep_none;
        }

        /* events first; only a full disk is no reason to stay */

        if (seg->chunks && !seg->broken && !seg->blocked
            && (seg->live || seg->as_found))
        {
            return ngx_smtp_upkeep_none;
        }

        return ngx_smtp_upkeep_release;

    case ngx_smtp_state_forget:
    case ngx_smtp_state_gone:
        return ngx_smtp_upkeep_none;

    default:
        break;
    }

    if (seg->state == ngx_smtp_state_open && seg->live == 0 && !renewed
        && seg->reading == 0 && ngx_smtp_after(seg->retry_at))
    {
        return ngx_smtp_upkeep_remove;
    }

    if (seg->broken) {
        return ngx_smtp_upkeep_none;
    }

    if (seg->unreserved && ngx_smtp_after(seg->retry_at)) {
        return ngx_smtp_upkeep_reserve;
    }

    /* the active one is synced by the writer, which has it all the time */

    if (seg->dirty && seg->state != ngx_smtp_state_active
        && ngx_smtp_after(seg->dirty_at + NGX_SMTP_STORE_SYNC))
    {
        return ngx_smtp_upkeep_sync;
    }

    if (seg->dead_synced) {
        return ngx_smtp_upkeep_unlink;
    }

    return ngx_smtp_upkeep_none;
}


static ngx_int_t
ngx_smtp_upkeep_prepare(ngx_smtp_upkeep_t *u)
{
    ngx_smtp_store_t    *store;
    ngx_smtp_segment_t  *seg;

    store = u->store;
    seg = u->segment;

    switch (u->op) {

    case ngx_smtp_upkeep_create:
        seg = ngx_smtp_segment_add(store, ngx_smtp_state_next);
        if (seg == NULL) {
            return NGX_ERROR;
        }

        u->segment = seg;
        u->prezero = 0;

        /* created ahead: there is a load that likes blocks to exist */

        if (store->active && !store->leaving) {
            u->prezero = ngx_min(store->conf->segment_size,
                                 NGX_SMTP_PREZERO);
        }

        break;

    case ngx_smtp_upkeep_recover:
        ngx_smtp_work_on(NGX_SMTP_WORK_RECOVERY, seg->file.header.id.bytes,
                         0);
        break;

    case ngx_smtp_upkeep_look:
        if (ngx_smtp_upkeep_prepare_look(u) != NGX_OK) {
            return NGX_ERROR;
        }

        break;

    case ngx_smtp_upkeep_unlink:

        /* the segment takes no batch meanwhile: a few at a time */

        u->nbodies = ngx_min(seg->dead_synced, NGX_SMTP_UNLINK_STEP);

        u->bodies = ngx_alloc(u->nbodies * sizeof(uint32_t), store->log);
        if (u->bodies == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(u->bodies, seg->dead, u->nbodies * sizeof(uint32_t));
        break;

    case ngx_smtp_upkeep_release:
        if (ngx_smtp_upkeep_prepare_release(seg) != NGX_OK) {
            seg->as_found = 1;
        }

        break;

    case ngx_smtp_upkeep_close:
        ngx_smtp_upkeep_prepare_close(u);
        break;

    case ngx_smtp_upkeep_commit:
        ngx_smtp_renew_prepare(u);
        break;

    case ngx_smtp_upkeep_rewrite:

        /* the writer goes on with the old log meanwhile */

        ngx_smtp_renew_prepare(u);
        return NGX_OK;

    default:
        break;
    }

    if (u->segment) {
        u->segment->busy = 1;
    }

    return NGX_OK;
}


/* The thread walks through the messages: nobody knows them any more. */

static ngx_int_t
ngx_smtp_upkeep_prepare_release(ngx_smtp_segment_t *seg)
{
    ngx_smtp_store_t  *store;

    store = seg->store;

    if (seg->as_found || seg->live == 0 || seg->snapshot.queues) {
        return NGX_OK;
    }

    return ngx_smtp_snapshot_init(&seg->snapshot, seg->live, store->queues,
                                  store->nqueues);
}


static void
ngx_smtp_upkeep_prepare_close(ngx_smtp_upkeep_t *u)
{
    ngx_smtp_store_t  *store;

    store = u->store;

    u->files = store->closing;
    u->nfiles = store->nclosing;

    store->closing = NULL;
    store->nclosing = 0;
    store->closing_room = 0;
}


/* Ids that need not be looked at: ours, and those let alone for now. */

static ngx_int_t
ngx_smtp_upkeep_prepare_look(ngx_smtp_upkeep_t *u)
{
    ngx_uint_t           i, n;
    ngx_queue_t         *q;
    ngx_smtp_look_t     *look;
    ngx_smtp_store_t    *store;
    ngx_smtp_segment_t  *seg;

    store = u->store;

    /* of those that somebody else took nothing is heard any more */

    for (i = 0; i < store->nshunned; /* void */ ) {
        if (!store->shunned[i].forever
            && ngx_smtp_after(store->shunned[i].until
                              + NGX_SMTP_STORE_FORGET))
        {
            store->shunned[i] = store->shunned[--store->nshunned];
            continue;
        }

        i++;
    }

    n = store->nshunned;

    for (q = ngx_queue_head(&store->segments);
         q != ngx_queue_sentinel(&store->segments);
         q = ngx_queue_next(q))
    {
        n++;
    }

    look = ngx_calloc(sizeof(ngx_smtp_look_t)
                      + n * sizeof(ngx_smtp_segment_id_t), store->log);
    if (look == NULL) {
        return NGX_ERROR;
    }

    look->skip = (ngx_smtp_segment_id_t *) &look[1];

    for (q = ngx_queue_head(&store->segments);
         q != ngx_queue_sentinel(&store->segments);
         q = ngx_queue_next(q))
    {
        seg = ngx_queue_data(q, ngx_smtp_segment_t, link);
        look->skip[look->nskip++] = seg->file.header.id;
    }

    look->own = look->nskip;

    for (i = 0; i < store->nshunned; i++) {
        if (store->shunned[i].forever
            || !ngx_smtp_after(store->shunned[i].until))
        {
            look->skip[look->nskip++] = store->shunned[i].id;
        }
    }

    look->workers = ngx_max(store->conf->workers, 1);
    look->looks = store->looks;
    look->room = ngx_smtp_own_room(store);
    look->now = u->now;

    if (ngx_smtp_after(store->clean_at)) {
        store->clean_at = ngx_current_msec + NGX_SMTP_STORE_CLEAN;
        look->clean = 1;
    }

    store->look = 0;
    store->look_at = ngx_current_msec + NGX_SMTP_STORE_LOOK;

    u->look = look;

    return NGX_OK;
}


static void
ngx_smtp_upkeep_cancel(ngx_smtp_upkeep_t *u)
{
    ngx_free(u->bodies);
    ngx_free(u->look);

    ngx_smtp_work_off(NGX_SMTP_WORK_RECOVERY);

    if (u->op == ngx_smtp_upkeep_create) {
        ngx_smtp_segment_free(u->segment);

    } else if (u->segment && u->op != ngx_smtp_upkeep_rewrite) {
        u->segment->busy = 0;
    }

    if (u->op == ngx_smtp_upkeep_look) {
        u->store->look = 1;
    }

    if (u->op == ngx_smtp_upkeep_close) {
        u->store->closing = u->files;
        u->store->nclosing = u->nfiles;
        u->store->closing_room = u->nfiles;
    }

    u->bodies = NULL;
    u->look = NULL;
    u->files = NULL;
}


static void
ngx_smtp_upkeep_done(void *data)
{
    ngx_smtp_upkeep_t *u = data;

    ngx_smtp_store_t  *store;

    store = u->store;

    ngx_smtp_work_off(NGX_SMTP_WORK_RECOVERY);

    if (u->op == ngx_smtp_upkeep_rewrite) {
        ngx_smtp_renew_done(u);

    } else if (u->segment) {
        u->segment->busy = 0;
        ngx_smtp_upkeep_done_segment(u);

    } else {
        ngx_smtp_upkeep_done_store(u);
    }

    ngx_free(u->bodies);
    ngx_free(u->look);
    ngx_free(u->files);

    u->bodies = NULL;
    u->look = NULL;
    u->files = NULL;

    ngx_smtp_store_wake(store);
}


static void
ngx_smtp_upkeep_done_store(ngx_smtp_upkeep_t *u)
{
    ngx_smtp_store_t  *store;

    store = u->store;

    switch (u->op) {

    case ngx_smtp_upkeep_open:
        ngx_smtp_upkeep_opened(u);
        break;

    case ngx_smtp_upkeep_look:
        ngx_smtp_own_looked(store, u->look);
        break;

    case ngx_smtp_upkeep_stat:
        store->stat = 0;

        if (u->released.tv_sec != store->released.tv_sec
            || u->released.tv_nsec != store->released.tv_nsec)
        {
            store->released = u->released;
            store->look = 1;
        }

        break;

    case ngx_smtp_upkeep_space:
        store->space_at = ngx_current_msec + NGX_SMTP_STORE_RETRY;

        if (u->rc == NGX_OK) {
            store->space = u->space;
        }

        break;

    default:
        break;
    }
}


static void
ngx_smtp_upkeep_done_segment(ngx_smtp_upkeep_t *u)
{
    ngx_smtp_segment_t  *seg;

    seg = u->segment;

    switch (u->op) {

    case ngx_smtp_upkeep_create:
        ngx_smtp_upkeep_created(u);
        break;

    case ngx_smtp_upkeep_release:
        ngx_smtp_upkeep_released(u);
        break;

    case ngx_smtp_upkeep_commit:
        ngx_smtp_renew_done(u);
        break;

    case ngx_smtp_upkeep_remove:
        if (u->rc == NGX_OK) {
            ngx_smtp_segment_free(seg);
            break;
        }

        ngx_smtp_upkeep_failed(u, "a segment without mail stays for now");
        break;

    case ngx_smtp_upkeep_sync:
        ngx_smtp_upkeep_synced(u);
        break;

    case ngx_smtp_upkeep_unlink:
        ngx_smtp_upkeep_unlinked(u);
        break;

    case ngx_smtp_upkeep_reserve:
        seg->unreserved = (u->rc != NGX_OK);
        seg->retry_at = ngx_current_msec + NGX_SMTP_STORE_RETRY;
        break;

    case ngx_smtp_upkeep_recover:
        ngx_smtp_own_recovered(seg, u->rc, &u->fault);
        break;

    case ngx_smtp_upkeep_seal:
        if (u->rc == NGX_AGAIN) {
            break;
        }

        /* if it failed the next owner scans again */

        seg->sealed = (u->rc == NGX_OK);
        ngx_smtp_own_insert(seg);
        break;

    default:
        break;
    }
}


static void
ngx_smtp_upkeep_released(ngx_smtp_upkeep_t *u)
{
    if (u->rc == NGX_AGAIN) {
        ngx_smtp_own_texts(u->segment);
        return;
    }

    if (u->fault.what) {
        ngx_smtp_store_fault(u->store, NGX_LOG_CRIT, &u->fault,
                             "a segment was left without its summary and "
                             "will be scanned; check the disk");
    }

    ngx_smtp_own_gone(u->segment);
}


static void
ngx_smtp_upkeep_opened(ngx_smtp_upkeep_t *u)
{
    ngx_smtp_store_t  *store;

    store = u->store;

    if (u->rc == NGX_OK) {
        store->opened = 1;
        store->look = 1;

        if (store->open_failed) {
            store->open_failed = 0;
            ngx_log_error(NGX_LOG_NOTICE, store->log, 0,
                          "spool \"%V\": opened", &store->conf->path);
        }

        return;
    }

    store->open_at = ngx_current_msec + NGX_SMTP_STORE_RETRY;

    if (!store->open_failed) {
        store->open_failed = 1;
        ngx_smtp_store_fault(store, NGX_LOG_CRIT, &u->fault,
                             "mail is refused with 451; it is tried again "
                             "every second");
    }

    ngx_smtp_accepts_fail(store, NGX_ERROR);
}


static void
ngx_smtp_upkeep_created(ngx_smtp_upkeep_t *u)
{
    ngx_smtp_store_t    *store;
    ngx_smtp_segment_t  *seg;

    seg = u->segment;
    store = u->store;

    if (u->rc == NGX_OK) {
        store->next = seg;

        if (store->create_rc != NGX_OK) {
            ngx_log_error(NGX_LOG_NOTICE, store->log, 0,
                          "spool \"%V\": new mail is taken again",
                          &store->conf->path);
        }

        store->create_rc = NGX_OK;

        return;
    }

    ngx_smtp_segment_free(seg);

    if (store->create_rc == NGX_OK) {
        ngx_smtp_store_fault(store, NGX_LOG_CRIT, &u->fault,
                             u->rc == NGX_BUSY
                             ? "no new segment, mail is refused with 452; "
                               "free some space"
                             : "no new segment, mail is refused with 451; "
                               "check the disk");
    }

    store->create_rc = u->rc;
    store->create_at = ngx_current_msec + NGX_SMTP_STORE_RETRY;

    if (store->active == NULL) {
        ngx_smtp_accepts_fail(store, u->rc);
    }
}


static void
ngx_smtp_upkeep_synced(ngx_smtp_upkeep_t *u)
{
    ngx_smtp_segment_t  *seg;

    seg = u->segment;

    if (u->rc == NGX_OK) {
        seg->dirty = 0;
        seg->dead_synced = seg->dead_written;
        return;
    }

    seg->broken = 1;

    ngx_smtp_upkeep_failed(u, "nothing more is sent from this segment until "
                              "its log was written anew; check the disk");

    seg->retry_at = ngx_current_msec;
}


static void
ngx_smtp_upkeep_unlinked(ngx_smtp_upkeep_t *u)
{
    ngx_smtp_segment_t  *seg;

    seg = u->segment;

    /* one that stays is found by the next owner, or with the segment */

    if (u->rc != NGX_OK) {
        ngx_smtp_store_fault(u->store, NGX_LOG_CRIT, &u->fault,
                             "the body of a delivered message stays for now");
    }

    seg->ndead -= u->nbodies;
    seg->dead_written -= ngx_min(seg->dead_written, u->nbodies);
    seg->dead_synced -= ngx_min(seg->dead_synced, u->nbodies);

    ngx_memmove(seg->dead, seg->dead + u->nbodies,
                seg->ndead * sizeof(uint32_t));
}


static void
ngx_smtp_upkeep_failed(ngx_smtp_upkeep_t *u, const char *text)
{
    u->segment->retry_at = ngx_current_msec + NGX_SMTP_STORE_RETRY;

    if (!u->store->log_failed) {
        u->store->log_failed = 1;
        ngx_smtp_store_fault(u->store, NGX_LOG_CRIT, &u->fault, text);
    }
}
