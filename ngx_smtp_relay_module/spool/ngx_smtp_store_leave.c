
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Segments that go: which of them a leaving worker can give up, taking their
 * messages back and freeing them, in slices of the event loop, and what is
 * written in between.
 */


#include "ngx_smtp_store_internal.h"


static void ngx_smtp_own_give_up(ngx_smtp_segment_t *seg);
static void ngx_smtp_own_close(ngx_smtp_segment_t *seg);
static void ngx_smtp_own_detach(ngx_smtp_store_t *store);
static void ngx_smtp_own_due(ngx_smtp_segment_t *seg, ngx_smtp_message_t *m);
static ngx_int_t ngx_smtp_release_begin(ngx_smtp_segment_t *seg, time_t now);
static ngx_int_t ngx_smtp_release_snapshot(ngx_smtp_segment_t *seg);


void
ngx_smtp_own_leave(ngx_smtp_segment_t *seg)
{
    if (seg->leaving) {
        return;
    }

    /* all that are outstanding now are awaited: they are marked already */

    seg->leaving = 1;
    seg->awaited = seg->outstanding;
}


void
ngx_smtp_own_advance(ngx_smtp_store_t *store)
{
    ngx_queue_t         *q;
    ngx_smtp_segment_t  *seg;

    if (store->leaving) {
        ngx_smtp_own_detach(store);
    }

    for (q = ngx_queue_head(&store->segments);
         q != ngx_queue_sentinel(&store->segments);
         q = ngx_queue_next(q))
    {
        seg = ngx_queue_data(q, ngx_smtp_segment_t, link);

        if (seg->busy) {
            continue;
        }

        if (seg->reread && ngx_smtp_after(seg->reread_at)) {
            ngx_smtp_own_give_up(seg);
        }

        if (seg->leaving) {
            ngx_smtp_own_close(seg);
        }
    }
}


void
ngx_smtp_own_reread(ngx_smtp_message_t *m)
{
    ngx_smtp_segment_t  *seg;

    seg = m->segment;
    m->unreported = 1;

    if (seg->reread) {
        return;
    }

    /* when there may be memory again */

    seg->reread = 1;
    seg->reread_at = ngx_current_msec + NGX_SMTP_STORE_RETRY;

    ngx_log_error(NGX_LOG_CRIT, seg->store->log, 0,
                  "spool \"%V\": no memory for a report, it will be read "
                  "from the log", &seg->store->conf->path);
}


/* It is left as it is: a seal or a new log would not have all reports. */

static void
ngx_smtp_own_give_up(ngx_smtp_segment_t *seg)
{
    if (seg->state == ngx_smtp_state_active) {
        seg->store->active = NULL;
        seg->state = ngx_smtp_state_open;
    }

    if (seg->state == ngx_smtp_state_open) {
        seg->as_found = 1;

        if (!seg->leaving) {
            ngx_smtp_own_leave(seg);
        }
    }
}


/* A leaving worker keeps a segment for new mail only while there is some. */

static void
ngx_smtp_own_detach(ngx_smtp_store_t *store)
{
    ngx_smtp_segment_t  *seg;

    seg = store->active;

    if (seg && !seg->busy
        && (seg->leaving || ngx_queue_empty(&store->accepts)))
    {
        if (!seg->leaving) {
            ngx_smtp_own_leave(seg);
        }

        seg->state = ngx_smtp_state_open;
        store->active = NULL;
    }

    seg = store->next;

    if (seg && ngx_queue_empty(&store->accepts)) {
        ngx_smtp_own_leave(seg);
        store->next = NULL;
    }
}


static void
ngx_smtp_own_close(ngx_smtp_segment_t *seg)
{
    switch (seg->state) {

    case ngx_smtp_state_next:
        if (seg != seg->store->next) {
            seg->state = ngx_smtp_state_close;
        }

        return;

    case ngx_smtp_state_found:
    case ngx_smtp_state_recovered:
        ngx_smtp_own_drop(seg);
        return;

    case ngx_smtp_state_insert:

        /* a new log has to say everything: all go in, then they go again */

        if (seg->outstanding || seg->broken) {
            return;
        }

        /* what was not handed up has no events */

        ngx_smtp_recovery_free(seg->recovery);

        seg->recovery = NULL;
        seg->as_found = 1;
        break;

    case ngx_smtp_state_open:
        if (seg->outstanding || ngx_smtp_renew_moving(seg)) {
            return;
        }

        break;

    default:
        return;
    }

    seg->state = ngx_smtp_state_forget;
    seg->due = NGX_MAX_INT_T_VALUE;

    ngx_smtp_store_slice(seg->store);
}


ngx_uint_t
ngx_smtp_own_forget_some(ngx_smtp_segment_t *seg)
{
    ngx_uint_t           n;
    ngx_queue_t         *q;
    ngx_smtp_store_t    *store;
    ngx_smtp_message_t  *m;

    store = seg->store;

    for (n = 0; n < NGX_SMTP_SLICE_STEP; n++) {

        if (ngx_queue_empty(&seg->messages)) {
            ngx_queue_add(&seg->messages, &seg->forgotten);
            ngx_queue_init(&seg->forgotten);

            seg->state = ngx_smtp_state_close;

            return 0;
        }

        q = ngx_queue_head(&seg->messages);
        m = ngx_queue_data(q, ngx_smtp_message_t, link);

        ngx_smtp_own_due(seg, m);
        ngx_smtp_message_gone(m);
        ngx_queue_remove(q);
        ngx_queue_insert_tail(&seg->forgotten, q);

        if (m->known) {
            m->known = 0;
            store->conf->handlers.forget(store->conf->data, m);
        }
    }

    return 1;
}


/* What is due first goes first: the next owner is waiting for it. */

static void
ngx_smtp_own_due(ngx_smtp_segment_t *seg, ngx_smtp_message_t *m)
{
    ngx_queue_t        *q;
    ngx_smtp_report_t  *r;

    if (m->hold) {
        return;
    }

    if (m->npending) {
        seg->due = ngx_min(seg->due, m->due_at);
    }

    for (q = ngx_queue_head(&m->reports);
         q != ngx_queue_sentinel(&m->reports);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_smtp_report_t, link);
        seg->due = ngx_min(seg->due, r->due_at);
    }
}


/* in a thread, or at exit */

ngx_int_t
ngx_smtp_segment_release(ngx_smtp_spool_t *spool, ngx_smtp_segment_t *seg,
    time_t now, ngx_smtp_fault_t *fault)
{
    ngx_int_t                 rc;
    ngx_smtp_segment_file_t  *f;

    f = &seg->file;

    if (f->data == -1) {
        return NGX_OK;
    }

    if (seg->sealing) {
        rc = ngx_smtp_seal_step(seg->sealing);

    } else if (seg->as_found) {
        rc = f->log_dirty ? ngx_smtp_segment_log_sync(f) : NGX_OK;

    } else if (seg->live == 0) {
        rc = ngx_smtp_segment_remove(spool, f, seg->dead, seg->ndead, now);

        if (rc == NGX_OK) {
            return NGX_OK;
        }

    } else if (!seg->snapshot.taken) {
        rc = ngx_smtp_release_snapshot(seg);

    } else {
        rc = ngx_smtp_release_begin(seg, now);
    }

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    if (rc != NGX_OK) {
        *fault = f->fault;
    }

    ngx_smtp_segment_close(spool, f);

    return NGX_OK;
}


/* NGX_AGAIN: it is being sealed, in steps. */

static ngx_int_t
ngx_smtp_release_begin(ngx_smtp_segment_t *seg, time_t now)
{
    ngx_smtp_snapshot_t      *snap;
    ngx_smtp_segment_file_t  *f;
    ngx_smtp_seal_content_t   c;

    f = &seg->file;
    snap = &seg->snapshot;

    if (f->log_broken) {
        return ngx_smtp_segment_relog(&seg->store->spool, f, snap->summaries,
                                      snap->n, snap->reports, snap->nreports,
                                      seg->next_number, now);
    }

    if (seg->sealed) {
        return ngx_smtp_segment_settle(f, snap->earliest);
    }

    ngx_smtp_snapshot_content(snap, &c, seg->next_number, now);

    seg->sealing = ngx_smtp_seal_start(f, &c);

    return seg->sealing ? NGX_AGAIN : NGX_ERROR;
}


/* NGX_AGAIN: then the event loop adds what only it knows. */

static ngx_int_t
ngx_smtp_release_snapshot(ngx_smtp_segment_t *seg)
{
    ngx_queue_t  *q;

    for (q = ngx_queue_head(&seg->messages);
         q != ngx_queue_sentinel(&seg->messages);
         q = ngx_queue_next(q))
    {
        if (ngx_smtp_snapshot_add(&seg->snapshot,
                                  ngx_queue_data(q, ngx_smtp_message_t, link),
                                  seg->snapshot.queues)
            != NGX_OK)
        {
            seg->file.fault.err = NGX_ENOMEM;
            seg->file.fault.what = "malloc() to seal";
            return NGX_ERROR;
        }
    }

    seg->snapshot.taken = 1;

    return NGX_AGAIN;
}


void
ngx_smtp_own_texts(ngx_smtp_segment_t *seg)
{
    ngx_smtp_snapshot_t  *snap;

    snap = &seg->snapshot;

    if (!snap->taken || seg->sealing || seg->file.tail.data) {
        return;
    }

    (void) ngx_smtp_errors_record(&seg->store->errors, snap->of, snap->nof,
                                  ngx_time(), &seg->file.tail);
}


/* the rest of it */

void
ngx_smtp_own_gone(ngx_smtp_segment_t *seg)
{
    ngx_queue_add(&seg->messages, &seg->forgotten);
    ngx_queue_init(&seg->forgotten);

    ngx_smtp_chunks_free(seg->chunks);
    seg->chunks = NULL;

    seg->state = ngx_smtp_state_gone;

    ngx_smtp_store_slice(seg->store);
}


ngx_uint_t
ngx_smtp_own_gone_some(ngx_smtp_segment_t *seg)
{
    ngx_uint_t           n;
    ngx_queue_t         *q;
    ngx_smtp_message_t  *m;

    for (n = 0; n < NGX_SMTP_SLICE_STEP; n++) {

        if (ngx_queue_empty(&seg->messages)) {
            ngx_smtp_segment_free(seg);
            return 0;
        }

        q = ngx_queue_head(&seg->messages);
        m = ngx_queue_data(q, ngx_smtp_message_t, link);

        ngx_smtp_message_gone(m);
        ngx_queue_remove(q);
        ngx_smtp_message_free(seg->store, m);
    }

    return 1;
}
