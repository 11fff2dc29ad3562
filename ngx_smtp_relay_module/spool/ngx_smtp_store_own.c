
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Segments that come: what recovery found, handing their messages up in slices
 * of the event loop.
 *
 * While a segment is inserted its recovery owns the strings; afterwards only
 * the messages stay.
 */


#include "ngx_smtp_store_internal.h"


static void ngx_smtp_own_errors(ngx_smtp_segment_t *seg, ngx_uint_t n,
    time_t now);
static ngx_uint_t ngx_smtp_own_unknown(ngx_smtp_segment_t *seg);
static void ngx_smtp_own_notes(ngx_smtp_segment_t *seg);
static void ngx_smtp_own_taken(ngx_smtp_segment_t *seg);
static void ngx_smtp_own_seal_end(ngx_smtp_segment_t *seg);
static ngx_int_t ngx_smtp_own_seal_begin(ngx_smtp_segment_t *seg, time_t now);
static ngx_int_t ngx_smtp_own_insert_one(ngx_smtp_segment_t *seg,
    ngx_smtp_recovered_t *r);


/* adopting */

void
ngx_smtp_own_recovered(ngx_smtp_segment_t *seg, ngx_int_t rc,
    ngx_smtp_fault_t *fault)
{
    ngx_smtp_store_t    *store;
    ngx_smtp_refused_t   r;
    ngx_smtp_shunned_t  *s;

    store = seg->store;

    if (rc == NGX_AGAIN || seg->leaving) {
        return;
    }

    if (rc != NGX_OK) {
        r.id = seg->file.header.id;
        r.version = NGX_SMTP_FORMAT_VERSION + 1;
        r.rc = rc;
        r.fault = *fault;

        ngx_smtp_own_refused(store, &r);
        ngx_smtp_own_drop(seg);
        return;
    }

    s = ngx_smtp_own_shunned(store, &seg->file.header.id);

    if (ngx_smtp_own_unknown(seg) && (s == NULL || !s->unknown)) {

        /* somebody else may know its queues */

        s = ngx_smtp_own_shun(store, &seg->file.header.id,
                              NGX_SMTP_STORE_UNKNOWN);
        if (s) {
            s->unknown = 1;
            ngx_smtp_own_drop(seg);
            return;
        }
    }

    if (s) {
        *s = store->shunned[--store->nshunned];
    }

    ngx_smtp_strike_messages(seg);

    ngx_smtp_own_notes(seg);

    seg->next_number = seg->recovery->next_number;
    seg->end = seg->file.data_end;
    seg->unreserved = (seg->file.owed
                       > seg->file.log_space - seg->file.log_end
                       && !seg->file.no_reserve);

    if (seg->recovery->notes.scanned && seg->recovery->nlive) {
        seg->state = ngx_smtp_state_recovered;
        return;
    }

    seg->sealed = !seg->recovery->notes.scanned;
    seg->summed = seg->sealed;

    ngx_smtp_own_insert(seg);
}


static ngx_uint_t
ngx_smtp_own_unknown(ngx_smtp_segment_t *seg)
{
    ngx_str_t         *name, queue;
    ngx_uint_t         i, k;
    ngx_smtp_store_t  *store;

    store = seg->store;
    name = store->conf->queues.elts;

    for (i = 0; i < seg->recovery->nqueues; i++) {

        if (seg->recovery->queues[i].data == NULL) {
            continue;
        }

        ngx_smtp_destination(&seg->recovery->queues[i], &queue, NULL);

        for (k = 0; k < store->conf->queues.nelts; k++) {
            if (name[k].len == queue.len
                && ngx_memcmp(name[k].data, queue.data, queue.len) == 0)
            {
                break;
            }
        }

        if (k == store->conf->queues.nelts) {
            return 1;
        }
    }

    return 0;
}


static void
ngx_smtp_own_notes(ngx_smtp_segment_t *seg)
{
    u_char                      id[NGX_SMTP_ID_TEXT];
    ngx_log_t                  *log;
    ngx_str_t                  *path;
    ngx_smtp_recovery_notes_t  *n;

    log = seg->store->log;
    path = &seg->store->conf->path;
    n = &seg->recovery->notes;

    (void) ngx_smtp_segment_id_text(&seg->file.header.id, id);

    if (n->no_log) {
        ngx_log_error(NGX_LOG_CRIT, log, 0,
                      "spool \"%V\": segment %*s has no log, its mail counts "
                      "as never tried",
                      path, (size_t) NGX_SMTP_ID_TEXT, id);
    }

    if (n->quarantined || n->damaged) {
        ngx_log_error(NGX_LOG_CRIT, log, 0,
                      "spool \"%V\": segment %*s is damaged: %ui parts were "
                      "put into quarantine/, at least %ui messages are lost",
                      path, (size_t) NGX_SMTP_ID_TEXT, id, n->quarantined,
                      n->damaged);
    }

    if (n->log_bad) {
        ngx_log_error(NGX_LOG_CRIT, log, 0,
                      "spool \"%V\": %ui parts of the log of segment %*s are "
                      "bad, copies are in quarantine/: results in them are "
                      "lost, some mail may be delivered again; check the disk",
                      path, n->log_bad, (size_t) NGX_SMTP_ID_TEXT, id);
    }

    if (n->torn || n->events_lost) {
        ngx_log_error(NGX_LOG_WARN, log, 0,
                      "spool \"%V\": segment %*s ended in mail that was never "
                      "acknowledged (%ui) or in incomplete events (%ui)",
                      path, (size_t) NGX_SMTP_ID_TEXT, id, n->torn,
                      n->events_lost);
    }

}


/* All of its messages were handed up. */

static void
ngx_smtp_own_taken(ngx_smtp_segment_t *seg)
{
    u_char  id[NGX_SMTP_ID_TEXT];

    (void) ngx_smtp_segment_id_text(&seg->file.header.id, id);

    ngx_log_error(NGX_LOG_INFO, seg->store->log, 0,
                  "spool \"%V\": segment %*s taken over with %ui messages%s",
                  &seg->store->conf->path, (size_t) NGX_SMTP_ID_TEXT, id,
                  seg->recovery->nlive,
                  seg->recovery->notes.scanned ? ", by a scan" : "");
}


void
ngx_smtp_own_drop(ngx_smtp_segment_t *seg)
{
    ngx_smtp_own_seal_end(seg);
    ngx_smtp_recovery_free(seg->recovery);

    seg->recovery = NULL;
    seg->as_found = 1;
    seg->state = ngx_smtp_state_close;
}


ngx_int_t
ngx_smtp_own_seal(ngx_smtp_segment_t *seg, time_t now)
{
    ngx_int_t  rc;

    if (seg->sealing == NULL
        && ngx_smtp_own_seal_begin(seg, now) != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_smtp_seal_step(seg->sealing);

    if (rc != NGX_AGAIN) {
        ngx_smtp_own_seal_end(seg);
    }

    return rc;
}


static void
ngx_smtp_own_seal_end(ngx_smtp_segment_t *seg)
{
    ngx_smtp_seal_free(seg->sealing);
    ngx_smtp_snapshot_free(&seg->snapshot);
    free(seg->file.tail.data);

    seg->sealing = NULL;
    ngx_str_null(&seg->file.tail);
}


/* The recovery's strings are used, not copied. */

static ngx_int_t
ngx_smtp_own_seal_begin(ngx_smtp_segment_t *seg, time_t now)
{
    size_t                        size;
    ngx_uint_t                    i, n, nr;
    ngx_smtp_seal_content_t       c;
    ngx_smtp_event_t             *reports, *e;
    ngx_smtp_summary_t           *summaries, *s;
    ngx_smtp_recovery_t          *rec;
    ngx_smtp_recovered_t         *m;
    ngx_smtp_recovered_report_t  *r;

    rec = seg->recovery;

    for (i = 0, n = 0, nr = 0; i < rec->nmessages; i++) {

        if (rec->messages[i].done) {
            continue;
        }

        n++;

        for (r = rec->messages[i].reports; r; r = r->next) {
            nr++;
        }
    }

    size = n * sizeof(ngx_smtp_summary_t) + nr * sizeof(ngx_smtp_event_t);

    summaries = ngx_smtp_pages_alloc(size);
    if (summaries == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(summaries, size);

    reports = (ngx_smtp_event_t *) &summaries[n];

    s = summaries;
    e = reports;

    for (i = 0; i < rec->nmessages; i++) {
        m = &rec->messages[i];

        if (m->done) {
            continue;
        }

        s->number = m->number;
        s->head_size = m->head_size;
        s->nrcpts = m->nrcpts;
        s->attempts = m->attempts;
        s->reports = m->nreports;
        s->offset = m->offset;
        s->size = m->size;
        s->received = m->received;
        s->due_at = m->due_at;
        s->queue = rec->queues[m->queue];
        s->final = m->final;
        s->final_word = m->final_word;
        s->hold = m->hold;
        s->large = m->large;
        s->delay_told = m->delay_told;
        s->wish = m->wish;
        s->strikes = m->strikes;
        s++;

        for (r = m->reports; r; r = r->next) {
            e->type = NGX_SMTP_LOG_REPORT;
            e->number = m->number;
            e->time = r->created;
            e->until = r->due_at;
            e->attempts = r->attempts;
            e->report = r->number;
            e->kind = r->kind;
            e->peer = r->peer;
            e->results = r->results;
            e->nresults = r->nresults;
            e++;
        }
    }

    ngx_smtp_own_errors(seg, n, now);

    /* one block */

    seg->snapshot.summaries = summaries;

    c.summaries = summaries;
    c.n = n;
    c.reports = reports;
    c.nreports = nr;
    c.next_number = rec->next_number;
    c.now = now;
    c.earliest = rec->earliest;

    seg->sealing = ngx_smtp_seal_start(&seg->file, &c);

    if (seg->sealing == NULL) {
        ngx_smtp_snapshot_free(&seg->snapshot);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* In a thread: the texts go with the seal, if there is memory. */

static void
ngx_smtp_own_errors(ngx_smtp_segment_t *seg, ngx_uint_t n, time_t now)
{
    ngx_uint_t            i, k;
    ngx_smtp_error_of_t  *of;
    ngx_smtp_recovery_t  *rec;

    rec = seg->recovery;

    of = malloc(n * sizeof(ngx_smtp_error_of_t) + 1);

    if (of == NULL) {
        return;
    }

    for (i = 0, k = 0; i < rec->nmessages; i++) {

        if (!rec->messages[i].done && rec->messages[i].error) {
            of[k].number = rec->messages[i].number;
            of[k++].hash = rec->messages[i].error;
        }
    }

    (void) ngx_smtp_errors_record(&rec->errors, of, k, now, &seg->file.tail);

    free(of);
}


void
ngx_smtp_own_insert(ngx_smtp_segment_t *seg)
{
    ngx_smtp_errors_merge(&seg->store->errors, &seg->recovery->errors);

    seg->cursor = 0;
    seg->state = ngx_smtp_state_insert;

    ngx_smtp_store_slice(seg->store);
}


ngx_uint_t
ngx_smtp_own_slice(ngx_smtp_store_t *store, ngx_msec_t start)
{
    ngx_uint_t           more, left, worked;
    ngx_queue_t         *q, *next;
    ngx_smtp_segment_t  *seg;

    more = 0;
    worked = 0;

    for (q = ngx_queue_head(&store->segments);
         q != ngx_queue_sentinel(&store->segments) && !more;
         q = next)
    {
        /* the segment may be freed */

        next = ngx_queue_next(q);
        seg = ngx_queue_data(q, ngx_smtp_segment_t, link);

        do {
            switch (seg->state) {

            case ngx_smtp_state_insert:
                left = ngx_smtp_own_insert_some(seg);
                worked = 1;
                break;

            case ngx_smtp_state_forget:
                left = ngx_smtp_own_forget_some(seg);
                worked = 1;
                break;

            case ngx_smtp_state_gone:
                left = ngx_smtp_own_gone_some(seg);
                worked = 1;
                break;

            default:
                left = 0;
            }

            /* segments behind this one may have work, too */

            if (ngx_smtp_store_clock() - start >= NGX_SMTP_STORE_SLICE) {
                more = 1;
                left = 0;
            }

        } while (left);
    }

    if (worked) {
        ngx_smtp_store_wake(store);
    }

    return more;
}


ngx_uint_t
ngx_smtp_own_insert_some(ngx_smtp_segment_t *seg)
{
    ngx_uint_t            n;
    ngx_smtp_recovery_t  *rec;

    rec = seg->recovery;

    for (n = 0; n < NGX_SMTP_SLICE_STEP && seg->cursor < rec->nmessages; n++) {

        if (!rec->messages[seg->cursor].done
            && ngx_smtp_own_insert_one(seg, &rec->messages[seg->cursor])
               != NGX_OK)
        {
            /* no memory: the next tick goes on */
            return 0;
        }

        seg->cursor++;
    }

    if (seg->cursor < rec->nmessages) {
        return 1;
    }

    ngx_smtp_own_taken(seg);
    ngx_smtp_recovery_free(rec);

    seg->recovery = NULL;
    seg->state = ngx_smtp_state_open;
    seg->renew_at = ngx_current_msec + NGX_SMTP_STORE_RENEW;

    return 0;
}


static ngx_int_t
ngx_smtp_own_insert_one(ngx_smtp_segment_t *seg, ngx_smtp_recovered_t *r)
{
    ngx_int_t                     queue;
    ngx_smtp_store_t             *store;
    ngx_smtp_report_t            *report;
    ngx_smtp_message_t           *m;
    ngx_smtp_recovered_report_t  *rr;

    store = seg->store;

    queue = ngx_smtp_store_queue(store, &seg->recovery->queues[r->queue]);
    if (queue == NGX_ERROR) {
        return NGX_ERROR;
    }

    m = ngx_smtp_message_create(store, r->nrcpts);
    if (m == NULL) {
        return NGX_ERROR;
    }

    m->received = r->received;
    m->due_at = r->due_at;
    m->offset = r->offset;
    m->size = r->size;
    m->number = r->number;
    m->head_size = r->head_size;
    m->npending = r->npending;
    m->nreports = r->nreports;
    m->attempts = r->attempts;
    m->queue = queue;
    m->hold = r->hold;
    m->large = r->large;
    m->delay_told = r->delay_told;
    m->wish = r->wish;
    m->strikes = r->strikes;
    m->error = r->error;
    m->unknown_queue = ngx_smtp_store_unknown(store, m->queue);

    if (!ngx_smtp_message_many(m)) {
        m->final.word = r->final_word;

    } else if (r->final) {
        ngx_memcpy(m->final.bitmap, r->final, (r->nrcpts + 7) / 8);
    }

    for (rr = r->reports; rr; rr = rr->next) {
        report = ngx_smtp_report_create(store, m, rr->results, rr->nresults,
                                        &rr->peer);
        if (report == NULL) {
            ngx_smtp_message_free(store, m);
            return NGX_ERROR;
        }

        report->created = rr->created;
        report->due_at = rr->due_at;
        report->number = rr->number;
        report->attempts = rr->attempts;
        report->kind = rr->kind;
    }

    ngx_smtp_message_link(seg, m);

    /* the last worker was killed right before it could say so */

    if (ngx_smtp_store_done(m, ngx_time()) == NGX_OK) {
        return NGX_OK;
    }

    ngx_smtp_unknown_found(m);

    if (seg->struck.n) {
        ngx_smtp_strike_message(m);
    }

    /* at exit the upper layer is gone already */

    if (!store->stopping) {
        m->known = 1;
        store->conf->handlers.message(store->conf->data, m);
    }

    return NGX_OK;
}
