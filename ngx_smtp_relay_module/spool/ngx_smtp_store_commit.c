
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Group commit.  Accepts queue up; one batch is in flight; what arrived
 * meanwhile is the next.  The same task writes the pending log records of all
 * segments and syncs the log of the active one when that is due.  Here is the
 * event loop's part.
 *
 * Two job structures take turns: the next batch goes to the thread before the
 * answers of the last one are given.  A job's arrays are kept and grow.  While
 * a job is in flight its thread reads heads and blocks, and owns the files of
 * the segments named in it; nothing else looks at them.
 */


#include "ngx_smtp_store_internal.h"


static ngx_uint_t ngx_smtp_writer_gathers(ngx_smtp_store_t *store);
static ngx_int_t ngx_smtp_writer_build(ngx_smtp_store_t *store,
    ngx_smtp_batch_job_t *b);
static ngx_int_t ngx_smtp_writer_item(ngx_smtp_store_t *store,
    ngx_smtp_batch_job_t *b, ngx_smtp_accept_t *a);
static void ngx_smtp_writer_roll(ngx_smtp_store_t *store, off_t size);
static ngx_int_t ngx_smtp_writer_logs(ngx_smtp_store_t *store,
    ngx_smtp_batch_job_t *b);
static void ngx_smtp_writer_undo(ngx_smtp_store_t *store,
    ngx_smtp_batch_job_t *b);
static void ngx_smtp_writer_done(void *data);
static void ngx_smtp_writer_link(ngx_smtp_batch_job_t *b);
static void ngx_smtp_writer_logged(ngx_smtp_store_t *store,
    ngx_smtp_log_write_t *l);
static void ngx_smtp_writer_answer(ngx_smtp_batch_job_t *b);
static void ngx_smtp_writer_report(ngx_smtp_batch_job_t *b);
static void ngx_smtp_writer_fresh(ngx_smtp_store_t *store,
    ngx_smtp_item_t *item);
static void *ngx_smtp_writer_grow(void *p, ngx_uint_t *room, ngx_uint_t n,
    size_t size, ngx_log_t *log);


void
ngx_smtp_writer_task(ngx_smtp_batch_job_t *b, ngx_smtp_store_t *store)
{
    b->store = store;

    ngx_smtp_task_init(&b->task, "spool commit", ngx_smtp_writer_run,
                       ngx_smtp_writer_done, b);
}


void
ngx_smtp_store_accept(ngx_smtp_store_t *store, ngx_smtp_accept_t *a)
{
    off_t  content;

    content = a->content->size;

    if (a->large) {
        content = ((ngx_smtp_large_t *) a->large)->body.size
                  + (off_t) a->content->buffered;
    }

    /* without a head it fails when its turn comes */

    a->record = ngx_smtp_record_encode(a->envelope, a->meta, &a->fields,
                                       content, a->large != NULL,
                                       &a->record_size, store->log);

    a->queue_id.len = 0;
    a->queue_id.data = a->id;

    if (a->large && a->record) {
        ngx_smtp_large_commit(a->large, a);
        return;
    }

    ngx_smtp_accept_queue(store, a);
}


void
ngx_smtp_accept_queue(ngx_smtp_store_t *store, ngx_smtp_accept_t *a)
{
    ngx_queue_insert_tail(&store->accepts, &a->link);
    store->naccepts++;

    ngx_smtp_store_wake(store);
}


/* The end of an accept; on failure nothing is kept. */

void
ngx_smtp_accept_end(ngx_smtp_store_t *store, ngx_smtp_accept_t *a,
    ngx_int_t rc)
{
    if (rc != NGX_OK) {
        ngx_free(a->record);
        ngx_smtp_block_free(ngx_smtp_content_take(a->content));

        if (a->large) {
            ngx_smtp_large_abort(a->large);
        }
    }

    a->record = NULL;
    a->large = NULL;

    a->handler(a, rc);
}


/* All that wait.  What their handlers queue is not touched. */

void
ngx_smtp_accepts_fail(ngx_smtp_store_t *store, ngx_int_t rc)
{
    ngx_queue_t         failed, *q;
    ngx_smtp_accept_t  *a;

    if (ngx_queue_empty(&store->accepts)) {
        return;
    }

    ngx_queue_init(&failed);
    ngx_queue_add(&failed, &store->accepts);
    ngx_queue_init(&store->accepts);
    store->naccepts = 0;

    while (!ngx_queue_empty(&failed)) {
        q = ngx_queue_head(&failed);
        a = ngx_queue_data(q, ngx_smtp_accept_t, link);

        ngx_queue_remove(q);
        ngx_smtp_accept_end(store, a, rc);
    }
}


void
ngx_smtp_writer_start(ngx_smtp_store_t *store)
{
    ngx_smtp_batch_job_t  *b;

    if (store->writing || store->stopping || !store->opened) {
        return;
    }

    if (ngx_smtp_writer_gathers(store)) {
        ngx_post_event(&store->wake, &ngx_posted_next_events);
        return;
    }

    b = &store->batches[store->batch];

    b->segment = NULL;
    b->nitems = 0;
    b->niov = 0;
    b->nlogs = 0;
    b->rc = NGX_OK;
    b->space.bytes = -1;

    if (ngx_smtp_writer_build(store, b) != NGX_OK
        || ngx_smtp_writer_logs(store, b) != NGX_OK)
    {
        /* no memory: what was collected so far is tried at the next tick */

        ngx_smtp_writer_undo(store, b);
        return;
    }

    if (b->nitems == 0 && b->nlogs == 0) {
        return;
    }

    if (ngx_smtp_task_post(store->conf->pool, &b->task, store->log)
        != NGX_OK)
    {
        ngx_smtp_writer_undo(store, b);
        return;
    }

    store->writing = b;
    store->batch ^= 1;
}


/*
 * Of fifty sessions that always have one more message, forty-nine wait for the
 * sync of the first one, then that one for theirs, and so on: most of the time
 * there is nothing to do but wait, and half of the syncs are for one message.
 * So a batch is held back until half of those who took part in the last round
 * are there again, but only as long as sessions keep the loop busy: when an
 * iteration found none that did anything, waiting would cost time.
 */
static ngx_uint_t
ngx_smtp_writer_gathers(ngx_smtp_store_t *store)
{
    size_t              work;
    ngx_smtp_gather_t  *g;

    g = &store->gather;
    work = ngx_smtp_turn_work();

    if (store->naccepts == 0
        || store->naccepts >= g->wanted
        || store->leaving
        || g->looks == NGX_SMTP_GATHER_LOOKS
        || (g->looks && g->work == work))
    {
        g->looks = 0;
        return 0;
    }

    g->looks++;
    g->work = work;

    return 1;
}


/* Takes as many waiting accepts as go into one batch. */

static ngx_int_t
ngx_smtp_writer_build(ngx_smtp_store_t *store, ngx_smtp_batch_job_t *b)
{
    off_t                size;
    ngx_queue_t         *q;
    struct iovec        *iov;
    ngx_smtp_accept_t   *a;
    ngx_smtp_segment_t  *seg;

    if (ngx_queue_empty(&store->accepts)) {
        return NGX_OK;
    }

    size = 0;

    for (q = ngx_queue_head(&store->accepts);
         q != ngx_queue_sentinel(&store->accepts)
         && size < NGX_SMTP_BATCH_BYTES;
         q = ngx_queue_next(q))
    {
        a = ngx_queue_data(q, ngx_smtp_accept_t, link);
        size += a->record_size + a->content->buffered;
    }

    ngx_smtp_writer_roll(store, size);

    seg = store->active;

    if (seg == NULL || seg->busy) {
        return NGX_OK;
    }

    size = 0;

    while (!ngx_queue_empty(&store->accepts)
           && b->nitems < NGX_SMTP_BATCH_MESSAGES
           && size < NGX_SMTP_BATCH_BYTES)
    {
        q = ngx_queue_head(&store->accepts);
        a = ngx_queue_data(q, ngx_smtp_accept_t, link);

        size += a->record_size + a->content->buffered;

        if (ngx_smtp_writer_item(store, b, a) != NGX_OK) {
            return NGX_ERROR;
        }

        ngx_queue_remove(q);
        store->naccepts--;
    }

    b->segment = seg;
    seg->busy = 1;

    iov = ngx_smtp_writer_grow(b->iov, &b->iov_room, b->niov + 1,
                               sizeof(struct iovec), store->log);
    if (iov == NULL) {
        return NGX_ERROR;
    }

    b->iov = iov;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_writer_item(ngx_smtp_store_t *store, ngx_smtp_batch_job_t *b,
    ngx_smtp_accept_t *a)
{
    ngx_int_t            queue;
    ngx_smtp_item_t     *item;
    ngx_smtp_block_t    *block;
    ngx_smtp_message_t  *m;

    item = ngx_smtp_writer_grow(b->items, &b->items_room, b->nitems + 1,
                                sizeof(ngx_smtp_item_t), store->log);
    if (item == NULL) {
        return NGX_ERROR;
    }

    b->items = item;
    item += b->nitems;

    ngx_memzero(item, sizeof(ngx_smtp_item_t));

    item->accept = a;
    item->large = a->large;
    item->rc = NGX_OK;

    queue = ngx_smtp_store_queue(store, &a->meta->queue);
    m = ngx_smtp_message_create(store, a->envelope->rcpts.nelts);

    if (queue == NGX_ERROR || m == NULL || a->record == NULL) {

        /* this one fails, with the others' answers */

        if (m) {
            ngx_smtp_message_free(store, m);
        }

        item->rc = NGX_ERROR;
        b->nitems++;

        return NGX_OK;
    }

    item->message = m;
    item->need = ngx_smtp_log_need(a->record_size, m->nrcpts);
    item->content = item->large ? item->large->body.size : a->content->size;

    m->received = a->meta->received;
    m->due_at = a->meta->received;
    m->size = a->fields.len + item->content;
    m->head_size = a->record_size;
    m->number = store->active->next_number++;
    m->queue = queue;
    m->large = (item->large != NULL);
    m->unknown_queue = ngx_smtp_store_unknown(store, m->queue);

    b->niov++;

    if (item->large == NULL) {
        item->blocks = ngx_smtp_content_take(a->content);

        for (block = item->blocks; block; block = block->next) {
            b->niov++;
        }
    }

    b->nitems++;

    return NGX_OK;
}


/* Another segment, when this one is full and the next one is there. */

static void
ngx_smtp_writer_roll(ngx_smtp_store_t *store, off_t size)
{
    ngx_smtp_segment_t  *seg;

    seg = store->active;

    if (seg && seg->busy) {
        return;
    }

    if (seg) {

        if (seg->file.full || seg->file.data_broken || seg->broken
            || seg->leaving || seg->next_number == NGX_MAX_UINT32_VALUE)
        {
            seg->state = ngx_smtp_state_open;
            store->active = NULL;

        } else if (store->next && seg->end
                   && seg->end + size > (off_t) store->conf->segment_size)
        {
            seg->state = ngx_smtp_state_open;
            store->active = NULL;
        }

        /* what is delivered soon needs no summary */

        seg->renew_at = ngx_current_msec + NGX_SMTP_STORE_RENEW;
    }

    if (store->active == NULL && store->next && !store->next->leaving) {
        store->active = store->next;
        store->active->state = ngx_smtp_state_active;
        store->next = NULL;
    }
}


/* Log records that wait, and the sync of the active segment's log. */

static ngx_int_t
ngx_smtp_writer_logs(ngx_smtp_store_t *store, ngx_smtp_batch_job_t *b)
{
    ngx_uint_t             sync;
    ngx_queue_t           *q;
    ngx_smtp_segment_t    *seg;
    ngx_smtp_log_write_t  *l;

    for (q = ngx_queue_head(&store->segments);
         q != ngx_queue_sentinel(&store->segments);
         q = ngx_queue_next(q))
    {
        seg = ngx_queue_data(q, ngx_smtp_segment_t, link);

        if ((seg->busy && seg != b->segment) || seg->broken || seg->sealing
            || ngx_smtp_renew_ready(seg))
        {
            continue;
        }

        if (seg->blocked && !ngx_smtp_after(seg->retry_at)) {
            continue;
        }

        sync = (seg == store->active && seg->dirty
                && ngx_smtp_after(seg->dirty_at + NGX_SMTP_STORE_SYNC));

        if (seg->chunks == NULL && !sync) {
            continue;
        }

        l = ngx_smtp_writer_grow(b->logs, &b->logs_room, b->nlogs + 1,
                                 sizeof(ngx_smtp_log_write_t), store->log);
        if (l == NULL) {
            return NGX_ERROR;
        }

        b->logs = l;
        l += b->nlogs++;

        ngx_memzero(l, sizeof(ngx_smtp_log_write_t));

        l->segment = seg;
        l->chunks = seg->chunks;
        l->dead = seg->ndead;
        l->sync = sync;

        seg->chunks = NULL;
        seg->busy = 1;
    }

    return NGX_OK;
}


/* The job was not posted: everything goes back to where it waited. */

static void
ngx_smtp_writer_undo(ngx_smtp_store_t *store, ngx_smtp_batch_job_t *b)
{
    ngx_uint_t             i;
    ngx_smtp_item_t       *item;
    ngx_smtp_block_t      *last;
    ngx_smtp_content_t    *c;
    ngx_smtp_log_write_t  *l;

    for (i = b->nitems; i-- > 0; /* void */ ) {
        item = &b->items[i];

        if (item->blocks) {
            c = item->accept->content;
            c->first = item->blocks;

            for (last = item->blocks; last; last = last->next) {
                c->buffered += ngx_smtp_block_size(last);
                c->last = last;
            }
        }

        if (item->message) {
            ngx_smtp_message_free(store, item->message);
        }

        ngx_queue_insert_head(&store->accepts, &item->accept->link);
        store->naccepts++;
    }

    for (i = 0; i < b->nlogs; i++) {
        l = &b->logs[i];

        /* nothing was recorded since */

        l->segment->chunks = l->chunks;
        l->segment->busy = 0;
    }

    if (b->segment) {
        b->segment->busy = 0;
    }
}


static void
ngx_smtp_writer_done(void *data)
{
    ngx_smtp_batch_job_t *b = data;

    ngx_uint_t         i;
    ngx_smtp_store_t  *store;

    store = b->store;
    store->writing = NULL;

    if (b->space.bytes != -1) {
        store->space = b->space;
        store->space_at = ngx_current_msec + NGX_SMTP_STORE_RETRY;
    }

    if (b->segment) {
        b->segment->busy = 0;
        b->segment->end = b->segment->file.data_end;
        b->data_broken = b->segment->file.data_broken;

        if (b->rc == NGX_OK && store->conf->commits) {
            (*store->conf->commits)++;
        }

        if (b->segment->file.log_broken) {
            b->segment->broken = 1;
        }

        ngx_smtp_writer_link(b);

        store->gather.wanted = ngx_min((b->nitems + store->naccepts) / 2,
                                       NGX_SMTP_BATCH_MESSAGES);
    }

    for (i = 0; i < b->nlogs; i++) {
        ngx_smtp_writer_logged(store, &b->logs[i]);
    }

    /* the disk works on the next batch while this one is answered */

    if (!ngx_queue_empty(&store->accepts)) {
        ngx_smtp_writer_start(store);
    }

    if (b->segment) {
        ngx_smtp_writer_report(b);
        ngx_smtp_writer_answer(b);
    }

    ngx_smtp_store_wake(store);
}


/* What is durable belongs to its segment before anything else happens. */

static void
ngx_smtp_writer_link(ngx_smtp_batch_job_t *b)
{
    off_t             offset;
    ngx_uint_t        i;
    ngx_smtp_item_t  *item;

    offset = b->offset;

    for (i = 0; i < b->nitems; i++) {
        item = &b->items[i];

        if (item->rc == NGX_OK) {
            item->rc = b->rc;
        }

        if (item->rc != NGX_OK) {
            continue;
        }

        item->message->offset = offset;
        offset += item->accept->record_size;

        if (item->large == NULL) {
            offset += item->content;
        }

        ngx_smtp_message_link(b->segment, item->message);
    }
}


static void
ngx_smtp_writer_logged(ngx_smtp_store_t *store, ngx_smtp_log_write_t *l)
{
    ngx_smtp_chunk_t    *c;
    ngx_smtp_segment_t  *seg;

    seg = l->segment;
    seg->busy = 0;

    if (l->wrote && !seg->dirty) {
        seg->dirty = 1;
        seg->dirty_at = ngx_current_msec;
    }

    if (l->rc == NGX_OK) {
        seg->dead_written = l->dead;
        seg->blocked = 0;

        if (l->sync) {
            seg->dirty = 0;
            seg->dead_synced = l->dead;
        }

        if (!l->dropped) {
            store->log_failed = 0;
        }
    }

    if (l->chunks) {

        /* in front of what was recorded meanwhile */

        for (c = l->chunks; c->next; c = c->next) { /* void */ }

        c->next = seg->chunks;

        if (seg->chunks == NULL) {
            seg->chunks_last = c;
        }

        seg->chunks = l->chunks;
    }

    if (l->rc == NGX_BUSY) {
        seg->blocked = 1;
        seg->retry_at = ngx_current_msec + NGX_SMTP_STORE_RETRY;

    } else if (l->rc == NGX_ERROR) {

        /* whatever failed: records are missing, so it has to be replaced */

        seg->broken = 1;
        seg->file.log_broken = 1;
        seg->retry_at = ngx_current_msec;
    }

    if ((l->rc != NGX_OK || l->dropped) && !store->log_failed) {
        store->log_failed = 1;

        ngx_smtp_store_fault(store, NGX_LOG_CRIT, &l->fault,
                             l->rc == NGX_ERROR
                             ? "nothing more is sent from this segment until "
                               "its log was written anew; check the disk"
                             : "results of deliveries are kept in memory "
                               "only; free some space");
    }
}


static void
ngx_smtp_writer_answer(ngx_smtp_batch_job_t *b)
{
    u_char              *p;
    ngx_uint_t           i, n;
    ngx_smtp_item_t     *item;
    ngx_smtp_store_t    *store;
    ngx_smtp_accept_t   *a;
    ngx_smtp_message_t  *m;

    store = b->store;

    /* the handlers may queue more, but nothing uses this job before it ends */

    n = b->nitems;
    b->nitems = 0;

    for (i = 0; i < n; i++) {
        item = &b->items[i];
        a = item->accept;
        m = item->message;

        if (item->rc != NGX_OK) {
            if (m) {
                ngx_smtp_message_free(store, m);
            }

            ngx_smtp_block_free(item->blocks);
            ngx_smtp_accept_end(store, a, item->rc);
            continue;
        }

        p = ngx_smtp_message_id(m, a->id);
        a->queue_id.data = a->id;
        a->queue_id.len = p - a->id;

        if (item->large) {
            ngx_smtp_large_free(item->large);
        }

        ngx_smtp_writer_fresh(store, item);

        /* at exit the upper layer is gone already */

        if (!store->leaving && !ngx_smtp_task_finishing()) {
            m->known = 1;
            store->conf->handlers.message(store->conf->data, m);
        }

        ngx_smtp_accept_end(store, a, NGX_OK);
    }
}


/* Says once what is wrong, and once that it is over. */

static void
ngx_smtp_writer_report(ngx_smtp_batch_job_t *b)
{
    u_char             *p, id[NGX_SMTP_QUEUE_ID_LEN];
    ngx_int_t           rc;
    ngx_uint_t          i;
    ngx_smtp_item_t    *item;
    ngx_smtp_store_t   *store;

    store = b->store;
    rc = NGX_OK;

    for (i = 0; i < b->nitems; i++) {
        item = &b->items[i];

        if (item->rc != NGX_OK && item->message) {
            rc = item->rc;
        }

        if (b->rc == NGX_OK || item->message == NULL
            || !b->data_broken)
        {
            continue;
        }

        p = ngx_smtp_queue_id_text(&b->segment->file.header.id,
                                   item->message->number, id);

        ngx_log_error(NGX_LOG_CRIT, store->log, 0,
                      "spool \"%V\": message %*s was refused, but could not "
                      "be taken back: a restart may deliver it",
                      &store->conf->path, (size_t) (p - id), id);
    }

    if (rc == NGX_OK) {
        if (store->commit_failed) {
            store->commit_failed = 0;

            ngx_log_error(NGX_LOG_NOTICE, store->log, 0,
                          "spool \"%V\": new mail is written again",
                          &store->conf->path);
        }

        return;
    }

    if (store->commit_failed) {
        return;
    }

    store->commit_failed = 1;

    ngx_smtp_store_fault(store, NGX_LOG_CRIT, &b->fault,
                         rc == NGX_BUSY
                         ? "mail was refused with 452; free some space"
                         : "mail was refused with 451; check the disk");
}


/* Keeps head and content for the first attempt, if there is room. */

static void
ngx_smtp_writer_fresh(ngx_smtp_store_t *store, ngx_smtp_item_t *item)
{
    size_t             size;
    ngx_smtp_block_t  *b;
    ngx_smtp_fresh_t  *fresh;

    size = item->accept->record_size;

    for (b = item->blocks; b; b = b->next) {
        size += b->end - (u_char *) b;
    }

    fresh = NULL;

    if (!item->large && !store->leaving
        && store->memory + size <= store->conf->memory)
    {
        fresh = ngx_smtp_cell_alloc(&store->freshes, store->log);
    }

    if (fresh == NULL) {
        ngx_smtp_block_free(item->blocks);
        ngx_free(item->accept->record);
        return;
    }

    fresh->head = item->accept->record;
    fresh->blocks = item->blocks;
    fresh->size = size;

    store->memory += size;
    item->message->fresh = fresh;
}


/* Room for n elements: p, or what takes its place; NULL: p stays. */

static void *
ngx_smtp_writer_grow(void *p, ngx_uint_t *room, ngx_uint_t n, size_t size,
    ngx_log_t *log)
{
    void        *grown;
    ngx_uint_t   more;

    if (n <= *room) {
        return p;
    }

    more = ngx_max(n, *room * 2);
    more = ngx_max(more, 64);

    grown = ngx_alloc(more * size, log);
    if (grown == NULL) {
        return NULL;
    }

    if (p) {
        ngx_memcpy(grown, p, *room * size);
        ngx_free(p);
    }

    *room = more;

    return grown;
}
