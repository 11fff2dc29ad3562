
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Segments that go: which of them a leaving worker can give up, taking their
 * messages back in slices of the event loop, and what a seal says of them.
 */


#include "ngx_smtp_store_internal.h"


static void ngx_smtp_own_give_up(ngx_smtp_segment_t *seg);
static void ngx_smtp_own_close(ngx_smtp_segment_t *seg);
static void ngx_smtp_own_detach(ngx_smtp_store_t *store);
static void ngx_smtp_own_texts(ngx_smtp_segment_t *seg);
static size_t ngx_smtp_own_summary_size(ngx_smtp_segment_t *seg);
static u_char *ngx_smtp_own_summary(ngx_smtp_segment_t *seg, u_char *p,
    ngx_smtp_summary_t *s, ngx_smtp_message_t *m);
static size_t ngx_smtp_own_report_size(ngx_smtp_result_t *results,
    ngx_uint_t n, ngx_str_t *peer);
static u_char *ngx_smtp_own_report(ngx_smtp_segment_t *seg, u_char *p,
    ngx_smtp_report_t *r);


void
ngx_smtp_own_leave(ngx_smtp_segment_t *seg)
{
    ngx_queue_t         *q;
    ngx_smtp_message_t  *m;

    seg->leaving = 1;

    if (seg->outstanding == 0) {
        return;
    }

    for (q = ngx_queue_head(&seg->messages);
         q != ngx_queue_sentinel(&seg->messages);
         q = ngx_queue_next(q))
    {
        m = ngx_queue_data(q, ngx_smtp_message_t, link);

        if (m->outstanding && !m->awaited) {
            m->awaited = 1;
            seg->awaited++;
        }
    }
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
        if (seg->outstanding) {
            return;
        }

        break;

    default:
        return;
    }

    seg->state = ngx_smtp_state_forget;

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


/* sealing */

time_t
ngx_smtp_own_earliest(ngx_smtp_segment_t *seg)
{
    time_t               earliest;
    ngx_queue_t         *q, *rq;
    ngx_smtp_report_t   *r;
    ngx_smtp_message_t  *m;

    earliest = 0;

    for (q = ngx_queue_head(&seg->messages);
         q != ngx_queue_sentinel(&seg->messages);
         q = ngx_queue_next(q))
    {
        m = ngx_queue_data(q, ngx_smtp_message_t, link);

        if (m->hold) {
            continue;
        }

        if (m->npending && (earliest == 0 || m->due_at < earliest)) {
            earliest = m->due_at;
        }

        for (rq = ngx_queue_head(&m->reports);
             rq != ngx_queue_sentinel(&m->reports);
             rq = ngx_queue_next(rq))
        {
            r = ngx_queue_data(rq, ngx_smtp_report_t, link);

            if (earliest == 0 || r->due_at < earliest) {
                earliest = r->due_at;
            }
        }
    }

    return earliest;
}


/*
 * Copies, in one block: a thread reads them while messages may end.  The
 * names of queues are stable.
 */

ngx_int_t
ngx_smtp_own_summarize(ngx_smtp_segment_t *seg)
{
    u_char              *p;
    ngx_queue_t         *q;
    ngx_smtp_summary_t  *s;
    ngx_smtp_message_t  *m;

    ngx_free(seg->summaries);

    seg->nsummaries = 0;
    seg->nreports = 0;
    seg->earliest = ngx_smtp_own_earliest(seg);

    seg->summaries = ngx_calloc(ngx_smtp_own_summary_size(seg),
                                seg->store->log);
    if (seg->summaries == NULL) {
        return NGX_ERROR;
    }

    s = seg->summaries;

    seg->reports = (ngx_smtp_event_t *) &s[seg->nsummaries];
    p = (u_char *) &seg->reports[seg->nreports];

    seg->nreports = 0;

    for (q = ngx_queue_head(&seg->messages);
         q != ngx_queue_sentinel(&seg->messages);
         q = ngx_queue_next(q))
    {
        m = ngx_queue_data(q, ngx_smtp_message_t, link);
        p = ngx_smtp_own_summary(seg, p, s++, m);
    }

    ngx_smtp_own_texts(seg);

    return NGX_OK;
}


/* Last errors go with the seal; without memory they are forgotten. */

static void
ngx_smtp_own_texts(ngx_smtp_segment_t *seg)
{
    ngx_uint_t            n;
    ngx_queue_t          *q;
    ngx_smtp_message_t   *m;
    ngx_smtp_error_of_t  *of;

    free(seg->file.tail.data);
    ngx_str_null(&seg->file.tail);

    of = ngx_alloc(seg->nsummaries * sizeof(ngx_smtp_error_of_t) + 1,
                   seg->store->log);
    if (of == NULL) {
        return;
    }

    n = 0;

    for (q = ngx_queue_head(&seg->messages);
         q != ngx_queue_sentinel(&seg->messages);
         q = ngx_queue_next(q))
    {
        m = ngx_queue_data(q, ngx_smtp_message_t, link);

        if (m->error) {
            of[n].number = m->number;
            of[n++].hash = m->error;
        }
    }

    (void) ngx_smtp_errors_record(&seg->store->errors, of, n, ngx_time(),
                                  &seg->file.tail);
    ngx_free(of);
}


/* Also counts messages and reports. */

static size_t
ngx_smtp_own_summary_size(ngx_smtp_segment_t *seg)
{
    size_t               size;
    ngx_queue_t         *q, *rq;
    ngx_smtp_report_t   *r;
    ngx_smtp_message_t  *m;

    size = 1;

    for (q = ngx_queue_head(&seg->messages);
         q != ngx_queue_sentinel(&seg->messages);
         q = ngx_queue_next(q))
    {
        m = ngx_queue_data(q, ngx_smtp_message_t, link);

        size += sizeof(ngx_smtp_summary_t);
        seg->nsummaries++;

        if (m->final) {
            size += m->nrcpts / 8 + 16;
        }

        for (rq = ngx_queue_head(&m->reports);
             rq != ngx_queue_sentinel(&m->reports);
             rq = ngx_queue_next(rq))
        {
            r = ngx_queue_data(rq, ngx_smtp_report_t, link);

            size += ngx_smtp_own_report_size(r->results, r->nresults,
                                             &r->peer);
            seg->nreports++;
        }
    }

    return size;
}


static u_char *
ngx_smtp_own_summary(ngx_smtp_segment_t *seg, u_char *p,
    ngx_smtp_summary_t *s, ngx_smtp_message_t *m)
{
    ngx_queue_t  *q;

    s->number = m->number;
    s->head_size = m->head_size;
    s->nrcpts = m->nrcpts;
    s->attempts = m->attempts;
    s->reports = m->nreports;
    s->offset = m->offset;
    s->size = m->size;
    s->received = m->received;
    s->due_at = m->due_at;
    s->queue = seg->store->queues[m->queue];
    s->final_word = m->final_word;
    s->hold = m->hold;
    s->large = m->large;
    s->delay_told = m->delay_told;
    s->wish = m->wish;
    s->strikes = m->strikes;

    for (q = ngx_queue_head(&m->reports);
         q != ngx_queue_sentinel(&m->reports);
         q = ngx_queue_next(q))
    {
        p = ngx_smtp_own_report(seg, p,
                                ngx_queue_data(q, ngx_smtp_report_t, link));
    }

    if (m->final) {
        s->final = p;
        p = ngx_cpymem(p, m->final, (m->nrcpts + 7) / 8);
        p = ngx_align_ptr(p, 8);
    }

    return p;
}


static size_t
ngx_smtp_own_report_size(ngx_smtp_result_t *results, ngx_uint_t n,
    ngx_str_t *peer)
{
    size_t      size;
    ngx_uint_t  i;

    size = sizeof(ngx_smtp_event_t) + n * sizeof(ngx_smtp_result_t)
           + peer->len + 8;

    for (i = 0; i < n; i++) {
        size += results[i].text.len;
    }

    return size;
}


static u_char *
ngx_smtp_own_report(ngx_smtp_segment_t *seg, u_char *p, ngx_smtp_report_t *r)
{
    ngx_uint_t         i;
    ngx_smtp_event_t  *e;

    e = &seg->reports[seg->nreports++];

    e->type = NGX_SMTP_LOG_REPORT;
    e->number = r->message->number;
    e->time = r->created;
    e->until = r->due_at;
    e->attempts = r->attempts;
    e->report = r->number;
    e->kind = r->kind;
    e->nresults = r->nresults;

    e->results = (ngx_smtp_result_t *) p;
    p = (u_char *) &e->results[r->nresults];

    e->peer.len = r->peer.len;
    e->peer.data = p;
    p = ngx_cpymem(p, r->peer.data, r->peer.len);

    for (i = 0; i < r->nresults; i++) {
        e->results[i] = r->results[i];
        e->results[i].text.data = p;
        p = ngx_cpymem(p, r->results[i].text.data, r->results[i].text.len);
    }

    return ngx_align_ptr(p, 8);
}
