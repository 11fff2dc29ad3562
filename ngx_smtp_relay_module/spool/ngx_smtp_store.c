
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The store's frame: start, tick, wake-ups, leaving, the end; memory of
 * segments and messages; small accessors.  See ngx_smtp_store_internal.h for
 * the other parts.
 *
 * A store lives from init_process to exit_process.  Messages and reports are
 * cells in blocks that are freed with the store; what varies in size (bitmap,
 * texts of a report) is malloc'ed.
 */


#include "ngx_smtp_store_internal.h"


static void ngx_smtp_store_tick_handler(ngx_event_t *ev);
static void ngx_smtp_store_wake_handler(ngx_event_t *ev);
static void ngx_smtp_store_slice_handler(ngx_event_t *ev);
static void ngx_smtp_store_event(ngx_smtp_store_t *store, ngx_event_t *ev,
    ngx_event_handler_pt handler);
static ngx_uint_t ngx_smtp_store_held(ngx_smtp_store_t *store);
static void ngx_smtp_store_stop_segment(ngx_smtp_segment_t *seg,
    ngx_uint_t seal);
static void ngx_smtp_store_settle(ngx_smtp_segment_t *seg);
static void ngx_smtp_store_free(ngx_smtp_store_t *store);


ngx_smtp_store_t *
ngx_smtp_store_start(ngx_smtp_store_conf_t *conf, ngx_log_t *log)
{
    ngx_str_t         *name;
    ngx_uint_t         i;
    ngx_smtp_store_t  *store;

    store = ngx_calloc(sizeof(ngx_smtp_store_t), log);
    if (store == NULL) {
        return NULL;
    }

    if (conf->segment_size == 0) {
        conf->segment_size = NGX_SMTP_SEGMENT_SIZE;
    }

    store->conf = conf;
    store->log = log;
    store->space.bytes = -1;
    store->space.inodes = -1;
    store->spool.dir = -1;
    store->spool.tmp = -1;
    store->spool.quarantine = -1;

    store->dummy.data = store;
    store->dummy.fd = (ngx_socket_t) -1;

    ngx_queue_init(&store->segments);
    ngx_queue_init(&store->accepts);
    ngx_queue_init(&store->larges);
    ngx_queue_init(&store->watches);
    ngx_queue_init(&store->walks);

    store->messages.size = sizeof(ngx_smtp_message_t);
    store->reports.size = sizeof(ngx_smtp_report_t);
    store->freshes.size = sizeof(ngx_smtp_fresh_t);

    ngx_smtp_writer_task(&store->batches[0], store);
    ngx_smtp_writer_task(&store->batches[1], store);
    ngx_smtp_upkeep_task(store);

    ngx_smtp_store_event(store, &store->tick, ngx_smtp_store_tick_handler);
    ngx_smtp_store_event(store, &store->wake, ngx_smtp_store_wake_handler);
    ngx_smtp_store_event(store, &store->slice, ngx_smtp_store_slice_handler);

    name = conf->queues.elts;

    for (i = 0; i < conf->queues.nelts; i++) {
        if (ngx_smtp_store_queue(store, &name[i]) == NGX_ERROR) {
            ngx_smtp_store_free(store);
            return NULL;
        }
    }

    store->errors.size = NGX_SMTP_ERRORS_STORE;

    store->open_at = ngx_current_msec;
    store->create_at = ngx_current_msec;
    store->look_at = ngx_current_msec;
    store->clean_at = ngx_current_msec;
    store->space_at = ngx_current_msec;

    /* nothing is read or written in init_process: the first tick begins */

    store->tick.cancelable = 1;
    ngx_add_timer(&store->tick, 1);

    return store;
}


ngx_int_t
ngx_smtp_store_ready(ngx_smtp_store_t *store, off_t size)
{
    if (!store->opened) {
        return store->open_failed ? NGX_ERROR : NGX_OK;
    }

    if (store->active == NULL && store->next == NULL
        && store->create_rc != NGX_OK)
    {
        return store->create_rc;
    }

    if (store->space.bytes != -1
        && store->space.bytes - size < store->conf->min_free)
    {
        return NGX_BUSY;
    }

    if (store->space.inodes != -1
        && store->space.inodes < (off_t) store->conf->min_inodes)
    {
        return NGX_BUSY;
    }

    return NGX_OK;
}


void
ngx_smtp_store_leave(ngx_smtp_store_t *store)
{
    ngx_queue_t         *q;
    ngx_smtp_segment_t  *seg;

    if (store->leaving) {
        return;
    }

    store->leaving = 1;
    store->leave_at = ngx_current_msec;

    for (q = ngx_queue_head(&store->segments);
         q != ngx_queue_sentinel(&store->segments);
         q = ngx_queue_next(q))
    {
        seg = ngx_queue_data(q, ngx_smtp_segment_t, link);

        /* one created ahead, or about to be, serves what still comes in */

        if (seg->state != ngx_smtp_state_next) {
            ngx_smtp_own_leave(seg);
        }
    }

    /*
     * From here on the tick keeps the worker until nothing is held; nginx
     * looks for timers before it runs what is posted.
     */

    if (store->tick.timer_set) {
        ngx_del_timer(&store->tick);
    }

    store->tick.cancelable = 0;
    ngx_add_timer(&store->tick, 1);

    ngx_smtp_store_wake(store);
}


void
ngx_smtp_store_stop(ngx_smtp_store_t *store)
{
    ngx_uint_t           seal;
    ngx_msec_t           start;
    ngx_queue_t         *q;
    ngx_smtp_segment_t  *seg;

    store->stopping = 1;

    /* the thread pools were joined, but nobody told us what they did */

    ngx_smtp_task_finish_all();

    ngx_smtp_larges_fail(store);
    ngx_smtp_accepts_fail(store, NGX_ERROR);
    ngx_smtp_renew_stop(store);

    start = ngx_smtp_store_clock();

    while (!ngx_queue_empty(&store->segments)) {
        q = ngx_queue_head(&store->segments);
        seg = ngx_queue_data(q, ngx_smtp_segment_t, link);

        seal = ngx_smtp_store_clock() - start < NGX_SMTP_STORE_STOP;

        ngx_smtp_store_stop_segment(seg, seal);
        ngx_smtp_segment_free(seg);
    }

    ngx_smtp_store_free(store);
}


/*
 * At exit: events are written in any case; if sealing takes too long, the next
 * owner scans the data instead.
 */

static void
ngx_smtp_store_stop_segment(ngx_smtp_segment_t *seg, ngx_uint_t seal)
{
    ngx_smtp_fault_t       fault;
    ngx_smtp_store_t      *store;
    ngx_smtp_log_write_t   l;

    store = seg->store;

    if (seg->file.data == -1) {
        return;
    }

    ngx_smtp_store_settle(seg);

    if (seg->chunks && !seg->broken) {
        ngx_memzero(&l, sizeof(ngx_smtp_log_write_t));

        l.segment = seg;
        l.chunks = seg->chunks;
        seg->chunks = NULL;

        ngx_smtp_log_write(&l);

        if (l.chunks) {
            ngx_log_error(NGX_LOG_CRIT, store->log, 0,
                          "spool \"%V\": results of deliveries could not be "
                          "written at exit, some may be made again",
                          &store->conf->path);
            ngx_smtp_chunks_free(l.chunks);
        }
    }

    /* a log that is to be replaced needs those not inserted yet, too */

    if (seg->state == ngx_smtp_state_insert && seg->file.log_broken) {
        while (ngx_smtp_own_insert_some(seg)) { /* void */ }
    }

    if (seg->state == ngx_smtp_state_found
        || seg->state == ngx_smtp_state_recovered
        || seg->state == ngx_smtp_state_insert
        || seg->reread)
    {
        seg->as_found = 1;
    }

    /* what a task had begun says less than what is known now */

    ngx_smtp_seal_free(seg->sealing);
    ngx_smtp_snapshot_free(&seg->snapshot);
    seg->sealing = NULL;

    /* a broken log is replaced: by what is known now */

    if (!seg->as_found
        && ((!seal && (!seg->sealed || seg->file.log_broken))
            || ngx_smtp_snapshot_init(&seg->snapshot, seg->live,
                                      store->queues, store->nqueues)
               != NGX_OK))
    {
        (void) ngx_smtp_segment_log_sync(&seg->file);
        seg->as_found = 1;
    }

    fault.err = 0;
    fault.what = NULL;

    while (ngx_smtp_segment_release(&store->spool, seg, ngx_time(), &fault)
           == NGX_AGAIN)
    {
        ngx_smtp_own_texts(seg);
    }

    if (fault.what) {
        ngx_smtp_store_fault(store, NGX_LOG_CRIT, &fault,
                             "a segment was left without its summary and "
                             "will be scanned");
    }
}


/* the answers to an end of data that will not come any more */

static void
ngx_smtp_store_settle(ngx_smtp_segment_t *seg)
{
    ngx_queue_t         *q, *rq;
    ngx_smtp_event_t     e;
    ngx_smtp_report_t   *r;
    ngx_smtp_message_t  *m;

    if (seg->outstanding == 0) {
        return;
    }

    for (q = ngx_queue_head(&seg->messages);
         q != ngx_queue_sentinel(&seg->messages);
         q = ngx_queue_next(q))
    {
        m = ngx_queue_data(q, ngx_smtp_message_t, link);

        if (!m->outstanding) {
            continue;
        }

        m->attempts++;
        m->due_at = ngx_max(m->until, ngx_time());

        ngx_memzero(&e, sizeof(ngx_smtp_event_t));

        e.type = NGX_SMTP_LOG_SETTLE;
        e.number = m->number;
        e.time = ngx_time();
        e.until = m->due_at;
        e.attempts = m->attempts;

        ngx_smtp_event_record(seg, &e);

        /* it may have been the answer to one of its reports */

        for (rq = ngx_queue_head(&m->reports);
             rq != ngx_queue_sentinel(&m->reports);
             rq = ngx_queue_next(rq))
        {
            r = ngx_queue_data(rq, ngx_smtp_report_t, link);

            ngx_smtp_store_report_deferred(r, ngx_time(),
                                           ngx_max(r->due_at, m->due_at));
        }
    }

    seg->outstanding = 0;
}


static void
ngx_smtp_store_free(ngx_smtp_store_t *store)
{
    ngx_uint_t  i;

    if (store->tick.timer_set) {
        ngx_del_timer(&store->tick);
    }

    if (store->wake.posted) {
        ngx_delete_posted_event(&store->wake);
    }

    if (store->slice.posted) {
        ngx_delete_posted_event(&store->slice);
    }

    for (i = 0; i < store->nclosing; i++) {
        ngx_smtp_body_abort(&store->spool, &store->closing[i]);
    }

    ngx_free(store->closing);

    if (store->opened) {
        ngx_smtp_spool_close(&store->spool);
    }

    ngx_smtp_errors_free(&store->errors);

    for (i = 0; i < store->nqueues; i++) {
        ngx_free(store->queues[i].data);
    }

    for (i = 0; i < 2; i++) {
        ngx_free(store->batches[i].items);
        ngx_free(store->batches[i].iov);
        ngx_free(store->batches[i].logs);
    }

    ngx_free(store->queues);
    ngx_free(store->nlive);
    ngx_free(store->shunned);

    ngx_smtp_cells_free(&store->messages);
    ngx_smtp_cells_free(&store->reports);
    ngx_smtp_cells_free(&store->freshes);

    ngx_free(store);
}


static void
ngx_smtp_store_event(ngx_smtp_store_t *store, ngx_event_t *ev,
    ngx_event_handler_pt handler)
{
    ev->data = &store->dummy;
    ev->handler = handler;
    ev->log = store->log;
}


static void
ngx_smtp_store_tick_handler(ngx_event_t *ev)
{
    ngx_smtp_dummy_t  *dummy;
    ngx_smtp_store_t  *store;

    dummy = ev->data;
    store = dummy->data;

    if (store->opened && !store->leaving) {
        store->stat = 1;

        if (ngx_smtp_after(store->look_at)) {
            store->look = 1;
        }
    }

    ngx_smtp_unknown_tell(store);

    ngx_smtp_store_wake(store);
    ngx_smtp_store_slice(store);

    if (store->leaving && !ngx_smtp_store_held(store)) {
        return;
    }

    ngx_add_timer(ev, NGX_SMTP_STORE_TICK);
}


static void
ngx_smtp_store_wake_handler(ngx_event_t *ev)
{
    ngx_smtp_dummy_t  *dummy;
    ngx_smtp_store_t  *store;

    dummy = ev->data;
    store = dummy->data;

    if (store->stopping) {
        return;
    }

    ngx_smtp_larges_fail(store);
    ngx_smtp_own_advance(store);
    ngx_smtp_writer_start(store);
    ngx_smtp_upkeep_start(store);
}


static void
ngx_smtp_store_slice_handler(ngx_event_t *ev)
{
    ngx_msec_t         start;
    ngx_uint_t         more;
    ngx_smtp_dummy_t  *dummy;
    ngx_smtp_store_t  *store;

    dummy = ev->data;
    store = dummy->data;

    if (store->stopping) {
        return;
    }

    /* one slice for all: whoever comes last does one step at least */

    start = ngx_smtp_store_clock();

    more = ngx_smtp_own_slice(store, start);
    more += ngx_smtp_renew_slice(store, start);

    if (more) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }
}


void
ngx_smtp_store_slice(ngx_smtp_store_t *store)
{
    ngx_post_event(&store->slice, &ngx_posted_events);
}


void
ngx_smtp_store_wake(ngx_smtp_store_t *store)
{
    ngx_post_event(&store->wake, &ngx_posted_events);

    /* a leaving worker that held nothing any more was given something */

    if (store->leaving && !store->tick.timer_set && !store->stopping
        && ngx_smtp_store_held(store))
    {
        ngx_add_timer(&store->tick, NGX_SMTP_STORE_TICK);
    }
}


static ngx_uint_t
ngx_smtp_store_held(ngx_smtp_store_t *store)
{
    return !ngx_queue_empty(&store->segments)
           || !ngx_queue_empty(&store->accepts)
           || store->writing
           || store->upkeep.task.active;
}


ngx_msec_t
ngx_smtp_store_clock(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (ngx_msec_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


void
ngx_smtp_store_fault(ngx_smtp_store_t *store, ngx_uint_t level,
    ngx_smtp_fault_t *fault, const char *text)
{
    ngx_log_error(level, store->log, fault->err, "spool \"%V\": %s failed, %s",
                  &store->conf->path,
                  fault->what ? fault->what : "an operation", text);
}


ngx_int_t
ngx_smtp_store_queue(ngx_smtp_store_t *store, ngx_str_t *name)
{
    u_char      *p;
    ngx_str_t   *queues;
    ngx_uint_t   i, room, *nlive;

    for (i = 0; i < store->nqueues; i++) {
        if (store->queues[i].len == name->len
            && ngx_memcmp(store->queues[i].data, name->data, name->len) == 0)
        {
            return i;
        }
    }

    if (store->nqueues == 65535) {
        return NGX_ERROR;
    }

    if (store->nqueues == store->queues_room) {
        room = store->queues_room + 16;

        queues = ngx_alloc(room * sizeof(ngx_str_t), store->log);
        nlive = ngx_calloc(room * sizeof(ngx_uint_t), store->log);

        if (queues == NULL || nlive == NULL) {
            ngx_free(queues);
            ngx_free(nlive);
            return NGX_ERROR;
        }

        if (store->nqueues) {
            ngx_memcpy(queues, store->queues,
                       store->nqueues * sizeof(ngx_str_t));
            ngx_memcpy(nlive, store->nlive,
                       store->nqueues * sizeof(ngx_uint_t));
        }

        ngx_free(store->queues);
        ngx_free(store->nlive);

        store->queues = queues;
        store->nlive = nlive;
        store->queues_room = room;
    }

    p = ngx_alloc(name->len + 1, store->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, name->data, name->len);

    store->queues[store->nqueues].data = p;
    store->queues[store->nqueues].len = name->len;

    return store->nqueues++;
}


/* segments */

ngx_smtp_segment_t *
ngx_smtp_segment_add(ngx_smtp_store_t *store, ngx_smtp_segment_state_e state)
{
    ngx_smtp_segment_t  *seg;

    seg = ngx_calloc(sizeof(ngx_smtp_segment_t), store->log);
    if (seg == NULL) {
        return NULL;
    }

    seg->store = store;
    seg->state = state;
    seg->next_number = 1;
    seg->file.data = -1;
    seg->file.log = -1;

    ngx_queue_init(&seg->messages);
    ngx_queue_init(&seg->forgotten);
    ngx_queue_insert_tail(&store->segments, &seg->link);

    return seg;
}


void
ngx_smtp_segment_free(ngx_smtp_segment_t *seg)
{
    ngx_queue_t         *q;
    ngx_smtp_walk_t     *w;
    ngx_smtp_store_t    *store;
    ngx_smtp_message_t  *m;

    store = seg->store;

    ngx_queue_add(&seg->messages, &seg->forgotten);

    while (!ngx_queue_empty(&seg->messages)) {
        q = ngx_queue_head(&seg->messages);
        m = ngx_queue_data(q, ngx_smtp_message_t, link);

        ngx_smtp_message_gone(m);
        ngx_queue_remove(q);
        ngx_smtp_message_free(store, m);
    }

    /* a walk looks for the next segment by its key */

    for (q = ngx_queue_head(&store->walks);
         q != ngx_queue_sentinel(&store->walks);
         q = ngx_queue_next(q))
    {
        w = ngx_queue_data(q, ngx_smtp_walk_t, link);

        if (w->segment == seg) {
            w->segment = NULL;
        }
    }

    if (store->active == seg) {
        store->active = NULL;
    }

    if (store->next == seg) {
        store->next = NULL;
    }

    ngx_queue_remove(&seg->link);

    ngx_smtp_recovery_free(seg->recovery);
    ngx_smtp_chunks_free(seg->chunks);
    ngx_smtp_seal_free(seg->sealing);
    ngx_smtp_snapshot_free(&seg->snapshot);

    if (seg->data) {

        /* the file is closed already */

        seg->data->fd = -1;
        ngx_smtp_data_stale(store, seg->data);
    }

    free(seg->file.tail.data);
    ngx_free(seg->dead);
    ngx_free(seg);
}


/* messages */

ngx_smtp_message_t *
ngx_smtp_message_create(ngx_smtp_store_t *store, ngx_uint_t nrcpts)
{
    ngx_smtp_message_t  *m;

    m = ngx_smtp_cell_alloc(&store->messages, store->log);
    if (m == NULL) {
        return NULL;
    }

    ngx_queue_init(&m->reports);

    m->nrcpts = nrcpts;
    m->npending = nrcpts;

    if (ngx_smtp_message_many(m)) {
        m->final.bitmap = ngx_calloc((nrcpts + 7) / 8, store->log);

        if (m->final.bitmap == NULL) {
            ngx_smtp_cell_free(&store->messages, m);
            return NULL;
        }
    }

    return m;
}


void
ngx_smtp_message_link(ngx_smtp_segment_t *seg, ngx_smtp_message_t *m)
{
    m->segment = seg;
    seg->live++;
    seg->live_bytes += ngx_smtp_message_bytes(m);

    ngx_queue_insert_tail(&seg->messages, &m->link);

    ngx_smtp_message_count(m, 1);
}


void
ngx_smtp_message_count(ngx_smtp_message_t *m, ngx_int_t n)
{
    ngx_uint_t         i;
    ngx_smtp_store_t  *store;
    ngx_smtp_usage_t  *u;

    store = m->segment->store;
    store->nlive[m->queue] += n;

    if (store->conf->usage == NULL) {
        return;
    }

    i = ngx_smtp_store_base(store, m->queue);
    u = store->conf->usage[i];

    u->messages += n;
    u->bytes += n * m->size;

    if (m->hold) {
        u->held += n;
    }
}


void
ngx_smtp_message_gone(ngx_smtp_message_t *m)
{
    ngx_queue_t       *q, *next;
    ngx_smtp_store_t  *store;
    ngx_smtp_watch_t  *w;

    store = m->segment->store;

    for (q = ngx_queue_head(&store->watches);
         q != ngx_queue_sentinel(&store->watches);
         q = ngx_queue_next(q))
    {
        w = ngx_queue_data(q, ngx_smtp_watch_t, link);

        if (w->message != m) {
            continue;
        }

        next = ngx_queue_next(&m->link);

        w->message = (w->step && next != ngx_queue_sentinel(
                                             &m->segment->messages))
                     ? ngx_queue_data(next, ngx_smtp_message_t, link) : NULL;
    }
}


void
ngx_smtp_message_free(ngx_smtp_store_t *store, ngx_smtp_message_t *m)
{
    ngx_queue_t        *q;
    ngx_smtp_report_t  *r;

    if (m->segment) {
        ngx_smtp_message_rest(m);
        ngx_smtp_message_count(m, -1);
    }

    while (!ngx_queue_empty(&m->reports)) {
        q = ngx_queue_head(&m->reports);
        r = ngx_queue_data(q, ngx_smtp_report_t, link);

        ngx_smtp_report_free(store, r);
    }

    if (m->fresh) {
        ngx_smtp_message_stale(m);
    }

    if (ngx_smtp_message_many(m)) {
        ngx_free(m->final.bitmap);
    }

    ngx_smtp_cell_free(&store->messages, m);
}


ngx_uint_t
ngx_smtp_message_final(ngx_smtp_message_t *m, ngx_uint_t i)
{
    if (ngx_smtp_message_many(m)) {
        return (m->final.bitmap[i / 8] >> (i % 8)) & 1;
    }

    return (m->final.word >> i) & 1;
}


u_char *
ngx_smtp_message_id(ngx_smtp_message_t *m, u_char *buf)
{
    return ngx_smtp_queue_id_text(&m->segment->file.header.id, m->number, buf);
}


void
ngx_smtp_message_stale(ngx_smtp_message_t *m)
{
    ngx_smtp_fresh_t  *fresh;

    fresh = m->fresh;

    if (fresh == NULL) {
        return;
    }

    m->fresh = NULL;
    fresh->stale = 1;

    ngx_smtp_fresh_done(m->segment->store, fresh);
}


void
ngx_smtp_fresh_done(ngx_smtp_store_t *store, ngx_smtp_fresh_t *fresh)
{
    if (!fresh->stale || fresh->readers) {
        return;
    }

    store->memory -= fresh->size;

    ngx_smtp_block_free(fresh->blocks);
    ngx_free(fresh->head);

    ngx_smtp_cell_free(&store->freshes, fresh);
}
