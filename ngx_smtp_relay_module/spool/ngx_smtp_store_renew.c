
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Segments that take no more mail, written anew while their messages live on:
 * to replace a broken log, to seal one, to shorten one that grew long, and to
 * give back the space of messages that ended.  One segment at a time, after
 * everything else there is to do.
 *
 *     SNAPSHOT -> STEPS -> CHECK -> READY -> MOVE
 *     (slices)   (thread) (slices) (thread)  (slices)
 *
 * The segment belongs to the writer as ever until READY; the commit then has
 * it for itself.  CHECK looks whether the new files have all that lives: what
 * is not in them would be gone with the old ones.  MOVE gives the messages
 * their places in the new data, in the order of their numbers: readers of
 * those behind "moved" still get the old file.  It is closed when its last
 * reader is.
 *
 * What is gained must be worth it: three quarters of the data are dead, and at
 * least a megabyte of it; a log is shortened when events take twice as much as
 * the summaries, and 4 MB more.
 */


#include "ngx_smtp_store_internal.h"


#define NGX_SMTP_RENEW_SHARE    4
#define NGX_SMTP_RENEW_DATA     (1024 * 1024)
#define NGX_SMTP_RENEW_LOG      (4 * 1024 * 1024)
#define NGX_SMTP_RENEW_ACTIVE   (16 * 1024 * 1024)
#define NGX_SMTP_RENEW_NEVER    ((ngx_msec_t) 24 * 3600 * 1000)


typedef enum {
    ngx_smtp_renew_nothing = 0,
    ngx_smtp_renew_broken,
    ngx_smtp_renew_data,
    ngx_smtp_renew_seal,
    ngx_smtp_renew_log
} ngx_smtp_renew_e;


static ngx_smtp_renew_e ngx_smtp_renew_want(ngx_smtp_segment_t *seg);
static ngx_int_t ngx_smtp_renew_create(ngx_smtp_segment_t *seg,
    ngx_smtp_renew_e what);
static ngx_uint_t ngx_smtp_renew_doomed(ngx_smtp_renewal_t *r);
static void ngx_smtp_renew_watch(ngx_smtp_renewal_t *r);
static ngx_int_t ngx_smtp_renew_walk(ngx_smtp_renewal_t *r,
    ngx_int_t (*one)(ngx_smtp_renewal_t *r, ngx_smtp_message_t *m));
static ngx_smtp_summary_t *ngx_smtp_renew_summary(ngx_smtp_renewal_t *r,
    ngx_smtp_message_t *m);
static ngx_uint_t ngx_smtp_renew_snapshot(ngx_smtp_renewal_t *r);
static ngx_int_t ngx_smtp_renew_snapshot_one(ngx_smtp_renewal_t *r,
    ngx_smtp_message_t *m);
static ngx_uint_t ngx_smtp_renew_check(ngx_smtp_renewal_t *r);
static ngx_int_t ngx_smtp_renew_check_one(ngx_smtp_renewal_t *r,
    ngx_smtp_message_t *m);
static void ngx_smtp_renew_check_last(ngx_smtp_renewal_t *r);
static void ngx_smtp_renew_missing(ngx_smtp_renewal_t *r,
    ngx_smtp_message_t *m);
static ngx_uint_t ngx_smtp_renew_move(ngx_smtp_renewal_t *r);
static ngx_int_t ngx_smtp_renew_move_one(ngx_smtp_renewal_t *r,
    ngx_smtp_message_t *m);
static void ngx_smtp_renew_committed(ngx_smtp_renewal_t *r, ngx_int_t rc);
static void ngx_smtp_renew_failed(ngx_smtp_renewal_t *r);
static void ngx_smtp_renew_free(ngx_smtp_renewal_t *r);


void
ngx_smtp_renew_begin(ngx_smtp_store_t *store)
{
    ngx_queue_t         *q;
    ngx_smtp_renew_e     what, best;
    ngx_smtp_segment_t  *seg, *found;

    if (store->renewal || store->stopping) {
        return;
    }

    found = NULL;
    best = ngx_smtp_renew_nothing;

    for (q = ngx_queue_head(&store->segments);
         q != ngx_queue_sentinel(&store->segments);
         q = ngx_queue_next(q))
    {
        seg = ngx_queue_data(q, ngx_smtp_segment_t, link);
        what = ngx_smtp_renew_want(seg);

        if (what != ngx_smtp_renew_nothing
            && (best == ngx_smtp_renew_nothing || what < best))
        {
            best = what;
            found = seg;
        }
    }

    if (found && ngx_smtp_renew_create(found, best) != NGX_OK) {
        found->retry_at = ngx_current_msec + NGX_SMTP_STORE_RETRY;
        found->renew_at = ngx_current_msec + NGX_SMTP_STORE_RENEW_RETRY;
    }
}


static ngx_smtp_renew_e
ngx_smtp_renew_want(ngx_smtp_segment_t *seg)
{
    off_t                     waste;
    ngx_smtp_segment_file_t  *f;

    f = &seg->file;

    /* what is only in the log would be lost */

    if (seg->busy || seg->live == 0 || seg->reread) {
        return ngx_smtp_renew_nothing;
    }

    if (seg->broken) {

        /* the new log must not lack those that are still to be inserted */

        return (seg->state == ngx_smtp_state_open
                || seg->state == ngx_smtp_state_active)
               && ngx_smtp_after(seg->retry_at) ? ngx_smtp_renew_broken
                                                : ngx_smtp_renew_nothing;
    }

    if (seg->leaving || seg->blocked || seg->unreserved || f->log == -1
        || f->data_broken || !ngx_smtp_after(seg->renew_at))
    {
        return ngx_smtp_renew_nothing;
    }

    /* where little new mail comes in a segment is never full */

    if (seg->state == ngx_smtp_state_active
        && f->log_end > NGX_SMTP_RENEW_ACTIVE)
    {
        return ngx_smtp_renew_log;
    }

    if (seg->state != ngx_smtp_state_open) {
        return ngx_smtp_renew_nothing;
    }

    waste = seg->end - seg->live_bytes;

    if (seg->live_bytes < seg->end / NGX_SMTP_RENEW_SHARE
        && waste >= NGX_SMTP_RENEW_DATA)
    {
        return ngx_smtp_renew_data;
    }

    if (!seg->sealed) {
        return ngx_smtp_renew_seal;
    }

    if (f->log_base && f->log_end - f->log_base > 2 * f->log_base
                                                  + NGX_SMTP_RENEW_LOG)
    {
        return ngx_smtp_renew_log;
    }

    return ngx_smtp_renew_nothing;
}


static ngx_int_t
ngx_smtp_renew_create(ngx_smtp_segment_t *seg, ngx_smtp_renew_e what)
{
    ngx_smtp_store_t    *store;
    ngx_smtp_renewal_t  *r;

    store = seg->store;

    r = ngx_calloc(sizeof(ngx_smtp_renewal_t), store->log);
    if (r == NULL) {
        return NGX_ERROR;
    }

    r->segment = seg;
    r->size = seg->end;

    if (ngx_smtp_snapshot_init(&r->snapshot, seg->live, store->queues,
                               store->nqueues)
        != NGX_OK)
    {
        ngx_free(r);
        return NGX_ERROR;
    }

    if (what == ngx_smtp_renew_data) {
        r->data = ngx_calloc(sizeof(ngx_smtp_data_t), store->log);

        if (r->data == NULL || ngx_smtp_data_need(seg) != NGX_OK) {
            ngx_smtp_snapshot_free(&r->snapshot);
            ngx_free(r->data);
            ngx_free(r);
            return NGX_ERROR;
        }

        r->data->fd = -1;
    }

    if (store->active == seg) {
        store->active = NULL;
        seg->state = ngx_smtp_state_open;
    }

    /* what is recorded from now on is copied, or waits in memory */

    ngx_smtp_rewrite_start(&r->rewrite, &store->spool, &seg->file,
                           what == ngx_smtp_renew_data);

    store->renewal = r;

    ngx_smtp_renew_watch(r);
    ngx_smtp_store_slice(store);

    return NGX_OK;
}


/* It would be in the way, or say what is not true any more. */

static ngx_uint_t
ngx_smtp_renew_doomed(ngx_smtp_renewal_t *r)
{
    ngx_smtp_segment_t  *seg;

    seg = r->segment;

    if (r->failed || seg->state != ngx_smtp_state_open || seg->live == 0
        || seg->reread)
    {
        return 1;
    }

    return !r->rewrite.broken && (seg->broken || seg->leaving);
}


static void
ngx_smtp_renew_watch(ngx_smtp_renewal_t *r)
{
    ngx_queue_t         *q;
    ngx_smtp_segment_t  *seg;

    seg = r->segment;
    q = ngx_queue_head(&seg->messages);

    r->cursor = 0;
    r->next.step = 1;
    r->next.message = NULL;

    if (q != ngx_queue_sentinel(&seg->messages)) {
        ngx_smtp_message_watch(ngx_queue_data(q, ngx_smtp_message_t, link),
                               &r->next);
    }
}


ngx_uint_t
ngx_smtp_renew_slice(ngx_smtp_store_t *store, ngx_msec_t start)
{
    ngx_uint_t           more;
    ngx_smtp_renewal_t  *r;

    r = store->renewal;

    if (r == NULL) {
        return 0;
    }

    do {
        switch (r->phase) {

        case ngx_smtp_renew_phase_snapshot:
            more = ngx_smtp_renew_snapshot(r);
            break;

        case ngx_smtp_renew_phase_check:
            more = ngx_smtp_renew_check(r);
            break;

        case ngx_smtp_renew_phase_move:
            more = ngx_smtp_renew_move(r);
            break;

        default:
            return 0;
        }

    } while (more
             && ngx_smtp_store_clock() - start < NGX_SMTP_STORE_SLICE);

    if (!more) {
        ngx_smtp_store_wake(store);
    }

    return more;
}


/* Some messages more.  NGX_AGAIN; NGX_OK: all; NGX_ERROR: one() said so. */

static ngx_int_t
ngx_smtp_renew_walk(ngx_smtp_renewal_t *r,
    ngx_int_t (*one)(ngx_smtp_renewal_t *r, ngx_smtp_message_t *m))
{
    ngx_uint_t           i;
    ngx_queue_t         *q;
    ngx_smtp_message_t  *m;

    for (i = 0; i < NGX_SMTP_SLICE_STEP && r->next.message; i++) {
        m = r->next.message;

        if (one(r, m) != NGX_OK) {
            return NGX_ERROR;
        }

        q = ngx_queue_next(&m->link);

        r->next.message = (q == ngx_queue_sentinel(&r->segment->messages))
                          ? NULL : ngx_queue_data(q, ngx_smtp_message_t, link);
    }

    if (r->next.message) {
        return NGX_AGAIN;
    }

    ngx_smtp_message_unwatch(&r->next);

    return NGX_OK;
}


/*
 * Those that are asked for come in the order of their numbers; what is in no
 * message any more has ended.  NULL: it is not there.
 */
static ngx_smtp_summary_t *
ngx_smtp_renew_summary(ngx_smtp_renewal_t *r, ngx_smtp_message_t *m)
{
    ngx_uint_t           n;
    ngx_smtp_summary_t  *s;

    n = r->snapshot.n;
    s = r->snapshot.summaries;

    while (r->cursor < n && s[r->cursor].number < m->number) {
        r->cursor++;
    }

    return (r->cursor < n && s[r->cursor].number == m->number)
           ? &s[r->cursor] : NULL;
}


/* Returns 1 when there is more, as those below. */

static ngx_uint_t
ngx_smtp_renew_snapshot(ngx_smtp_renewal_t *r)
{
    ngx_int_t             rc;
    ngx_smtp_segment_t   *seg;
    ngx_smtp_snapshot_t  *snap;

    seg = r->segment;
    snap = &r->snapshot;

    if (ngx_smtp_renew_doomed(r)) {
        ngx_smtp_renew_free(r);
        return 0;
    }

    rc = ngx_smtp_renew_walk(r, ngx_smtp_renew_snapshot_one);

    if (rc == NGX_ERROR) {
        seg->renew_at = ngx_current_msec + NGX_SMTP_STORE_RENEW_RETRY;
        seg->retry_at = ngx_current_msec + NGX_SMTP_STORE_RETRY;

        ngx_smtp_renew_free(r);
        return 0;
    }

    if (rc == NGX_AGAIN) {
        return 1;
    }

    ngx_smtp_snapshot_content(snap, &r->rewrite.content, seg->next_number,
                              ngx_time());

    /* without memory last errors are forgotten */

    (void) ngx_smtp_errors_record(&seg->store->errors, snap->of, snap->nof,
                                  ngx_time(), &r->rewrite.next.tail);

    r->texts = r->rewrite.next.tail.data;

    r->phase = ngx_smtp_renew_phase_steps;

    return 0;
}


static ngx_int_t
ngx_smtp_renew_snapshot_one(ngx_smtp_renewal_t *r, ngx_smtp_message_t *m)
{
    ngx_smtp_snapshot_t  *snap;

    snap = &r->snapshot;

    /* the order of numbers is how their places are found again */

    if (snap->n && snap->summaries[snap->n - 1].number >= m->number) {
        return NGX_ERROR;
    }

    return ngx_smtp_snapshot_add(snap, m, r->segment->store->queues);
}


static ngx_uint_t
ngx_smtp_renew_check(ngx_smtp_renewal_t *r)
{
    ngx_int_t  rc;

    /* a thread gives it up */

    if (ngx_smtp_renew_doomed(r)) {
        return 0;
    }

    rc = ngx_smtp_renew_walk(r, ngx_smtp_renew_check_one);

    if (rc == NGX_OK) {
        r->phase = ngx_smtp_renew_phase_ready;
    }

    return rc == NGX_AGAIN;
}


static ngx_int_t
ngx_smtp_renew_check_one(ngx_smtp_renewal_t *r, ngx_smtp_message_t *m)
{
    if (ngx_smtp_renew_summary(r, m) == NULL) {
        ngx_smtp_renew_missing(r, m);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* What came in since is behind all that was looked for. */

static void
ngx_smtp_renew_check_last(ngx_smtp_renewal_t *r)
{
    ngx_queue_t          *q;
    ngx_smtp_message_t   *m;
    ngx_smtp_snapshot_t  *snap;

    snap = &r->snapshot;
    q = ngx_queue_last(&r->segment->messages);

    if (q == ngx_queue_sentinel(&r->segment->messages)) {
        return;
    }

    m = ngx_queue_data(q, ngx_smtp_message_t, link);

    if (snap->n == 0 || m->number > snap->summaries[snap->n - 1].number) {
        ngx_smtp_renew_missing(r, m);
    }
}


/* It would be lost with the old files: they stay. */

static void
ngx_smtp_renew_missing(ngx_smtp_renewal_t *r, ngx_smtp_message_t *m)
{
    u_char               id[NGX_SMTP_QUEUE_ID_LEN];
    ngx_smtp_store_t    *store;
    ngx_smtp_segment_t  *seg;

    seg = r->segment;
    store = seg->store;

    r->failed = 1;

    seg->renew_at = ngx_current_msec + NGX_SMTP_RENEW_NEVER;
    seg->retry_at = ngx_current_msec + NGX_SMTP_STORE_RETRY;

    if (store->renew_missed) {
        return;
    }

    store->renew_missed = 1;

    ngx_log_error(NGX_LOG_CRIT, store->log, 0,
                  "spool \"%V\": message %*s is missing in the new files of "
                  "its segment, which keeps the old ones; this is a bug, "
                  "reload nginx to have the segment read again",
                  &store->conf->path,
                  (size_t) (ngx_smtp_message_id(m, id) - id), id);
}


static ngx_uint_t
ngx_smtp_renew_move(ngx_smtp_renewal_t *r)
{
    if (ngx_smtp_renew_walk(r, ngx_smtp_renew_move_one) == NGX_AGAIN) {
        return 1;
    }

    ngx_smtp_renew_free(r);

    return 0;
}


/* A new place; without one it was not committed. */

static ngx_int_t
ngx_smtp_renew_move_one(ngx_smtp_renewal_t *r, ngx_smtp_message_t *m)
{
    ngx_smtp_summary_t  *s;

    s = ngx_smtp_renew_summary(r, m);

    if (s) {
        m->offset = s->offset;
    }

    r->moved = m->number;

    return NGX_OK;
}


ngx_uint_t
ngx_smtp_renew_moving(ngx_smtp_segment_t *seg)
{
    ngx_smtp_renewal_t  *r;

    r = seg->store->renewal;

    return r && r->segment == seg && r->phase == ngx_smtp_renew_phase_move;
}


ngx_uint_t
ngx_smtp_renew_ready(ngx_smtp_segment_t *seg)
{
    ngx_smtp_renewal_t  *r;

    r = seg->store->renewal;

    return r && r->segment == seg && r->phase == ngx_smtp_renew_phase_ready;
}


/* the thread's part */

ngx_smtp_upkeep_e
ngx_smtp_renew_choose(ngx_smtp_store_t *store, ngx_smtp_segment_t **seg)
{
    ngx_smtp_renewal_t  *r;

    r = store->renewal;

    if (r == NULL || r->phase == ngx_smtp_renew_phase_snapshot
        || r->phase == ngx_smtp_renew_phase_move)
    {
        return ngx_smtp_upkeep_none;
    }

    *seg = r->segment;

    if (!ngx_smtp_renew_doomed(r)) {

        if (r->phase == ngx_smtp_renew_phase_check) {
            return ngx_smtp_upkeep_none;
        }

        if (r->phase == ngx_smtp_renew_phase_steps) {
            return ngx_smtp_upkeep_rewrite;
        }
    }

    /* a commit needs the segment for itself */

    return r->segment->busy ? ngx_smtp_upkeep_none : ngx_smtp_upkeep_commit;
}


void
ngx_smtp_renew_prepare(ngx_smtp_upkeep_t *u)
{
    ngx_smtp_renewal_t  *r;

    r = u->store->renewal;

    u->renewal = r;

    if (u->op == ngx_smtp_upkeep_commit) {

        if (!ngx_smtp_renew_doomed(r)) {
            ngx_smtp_renew_check_last(r);
        }

        u->give_up = ngx_smtp_renew_doomed(r);
    }

    /* while the writer has the log its end is not known: the last one does */

    if (!r->segment->busy) {
        r->rewrite.log_end = r->segment->file.log_end;
    }
}


void
ngx_smtp_renew_run(ngx_smtp_upkeep_t *u)
{
    ngx_smtp_rewrite_t  *rw;

    rw = &u->renewal->rewrite;

    if (u->op == ngx_smtp_upkeep_rewrite) {
        u->rc = ngx_smtp_rewrite_step(rw);
        return;
    }

    u->rc = u->give_up ? NGX_DECLINED : ngx_smtp_rewrite_commit(rw);

    ngx_smtp_rewrite_end(rw);
}


void
ngx_smtp_renew_done(ngx_smtp_upkeep_t *u)
{
    ngx_smtp_renewal_t  *r;

    r = u->renewal;

    if (u->op == ngx_smtp_upkeep_rewrite) {

        if (u->rc == NGX_OK) {
            r->phase = ngx_smtp_renew_phase_check;

            ngx_smtp_renew_watch(r);
            ngx_smtp_store_slice(u->store);

        } else if (u->rc != NGX_AGAIN) {
            r->failed = 1;
            ngx_smtp_renew_failed(r);
        }

        return;
    }

    if (r->rewrite.committed) {
        ngx_smtp_renew_committed(r, u->rc);
        return;
    }

    if (u->rc != NGX_DECLINED) {
        ngx_smtp_renew_failed(r);
    }

    ngx_smtp_renew_free(r);
}


static void
ngx_smtp_renew_committed(ngx_smtp_renewal_t *r, ngx_int_t rc)
{
    u_char               id[NGX_SMTP_ID_TEXT];
    ngx_smtp_data_t     *old;
    ngx_smtp_store_t    *store;
    ngx_smtp_segment_t  *seg;

    seg = r->segment;
    store = seg->store;

    if (rc == NGX_OK && seg->broken) {
        seg->broken = 0;
        store->log_failed = 0;

        ngx_log_error(NGX_LOG_NOTICE, store->log, 0,
                      "spool \"%V\": the log was written anew",
                      &store->conf->path);
    }

    if (rc == NGX_OK) {
        store->renew_failed = 0;

    } else {

        /* it may be undone by a loss of power: nothing may follow yet */

        seg->broken = 1;
        ngx_smtp_renew_failed(r);
    }

    seg->sealed = 1;
    seg->dirty = 0;
    seg->dead_synced = seg->dead_written;
    seg->renew_at = ngx_current_msec + NGX_SMTP_STORE_RENEW;

    if (!r->rewrite.data) {
        ngx_smtp_renew_free(r);
        return;
    }

    (void) ngx_smtp_segment_id_text(&seg->file.header.id, id);

    ngx_log_error(NGX_LOG_INFO, store->log, 0,
                  "spool \"%V\": segment %*s compacted, from %O bytes to %O",
                  &store->conf->path, (size_t) NGX_SMTP_ID_TEXT, id, r->size,
                  seg->file.data_end);

    old = seg->data;
    seg->data = r->data;
    seg->data->fd = seg->file.data;
    seg->end = seg->file.data_end;

    r->data = old;
    r->phase = ngx_smtp_renew_phase_move;

    ngx_smtp_renew_watch(r);
    ngx_smtp_store_slice(store);
}


/* Says so once; without a reason to hurry it is tried again much later. */

static void
ngx_smtp_renew_failed(ngx_smtp_renewal_t *r)
{
    u_char               id[NGX_SMTP_ID_TEXT];
    ngx_smtp_store_t    *store;
    ngx_smtp_segment_t  *seg;

    seg = r->segment;
    store = seg->store;

    seg->retry_at = ngx_current_msec + NGX_SMTP_STORE_RETRY;
    seg->renew_at = ngx_current_msec + (r->rewrite.damaged
                                        ? NGX_SMTP_RENEW_NEVER
                                        : NGX_SMTP_STORE_RENEW_RETRY);

    if (r->rewrite.broken || r->rewrite.committed) {

        if (!store->log_failed) {
            store->log_failed = 1;
            ngx_smtp_store_fault(store, NGX_LOG_CRIT, &r->rewrite.fault,
                                 "nothing is sent from this segment; check "
                                 "the disk");
        }

        return;
    }

    if (store->renew_failed) {
        return;
    }

    store->renew_failed = 1;

    (void) ngx_smtp_segment_id_text(&seg->file.header.id, id);

    ngx_log_error(NGX_LOG_WARN, store->log, r->rewrite.fault.err,
                  "spool \"%V\": segment %*s stays as it is for now: %s "
                  "failed, so the space of delivered mail is not freed",
                  &store->conf->path, (size_t) NGX_SMTP_ID_TEXT, id,
                  r->rewrite.fault.what);
}


static void
ngx_smtp_renew_free(ngx_smtp_renewal_t *r)
{
    ngx_smtp_store_t  *store;

    store = r->segment->store;

    ngx_smtp_message_unwatch(&r->next);
    ngx_smtp_snapshot_free(&r->snapshot);
    free(r->texts);

    if (r->data) {
        ngx_smtp_data_stale(store, r->data);
    }

    store->renewal = NULL;

    ngx_free(r);
}


void
ngx_smtp_renew_stop(ngx_smtp_store_t *store)
{
    ngx_smtp_renewal_t  *r;

    r = store->renewal;

    if (r == NULL) {
        return;
    }

    if (r->phase == ngx_smtp_renew_phase_move) {
        while (ngx_smtp_renew_move(r)) { /* void */ }
        return;
    }

    ngx_smtp_rewrite_end(&r->rewrite);
    ngx_smtp_renew_free(r);
}
