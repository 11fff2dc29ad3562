
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What happens to messages: results, reports, hold, the end.  The state in
 * memory changes at once, the record waits in the segment's chunks for the
 * writer.  What the kernel does not have yet a killed worker forgets: such a
 * delivery is made again, nothing is lost.
 *
 * Reports are cells; their results and texts are one malloc'ed block.
 */


#include "ngx_smtp_store_internal.h"


/* results in one record; more than the usual transaction has */
#define NGX_SMTP_EVENT_RESULTS  128


static void ngx_smtp_event_report(ngx_smtp_event_t *e, ngx_smtp_report_t *r,
    ngx_uint_t type, time_t now);
static void ngx_smtp_event_results(ngx_smtp_message_t *m,
    ngx_smtp_event_t *e, ngx_smtp_result_t *results, ngx_uint_t n,
    ngx_uint_t deferred);
static void ngx_smtp_report_record(ngx_smtp_report_t *r, time_t now);
static ngx_int_t ngx_smtp_report_fill(ngx_smtp_store_t *store,
    ngx_smtp_report_t *r, ngx_smtp_result_t *results, ngx_uint_t n,
    ngx_str_t *peer);
static void ngx_smtp_message_set_final(ngx_smtp_message_t *m, ngx_uint_t i);
static ngx_smtp_chunk_t *ngx_smtp_event_chunk(ngx_smtp_segment_t *seg,
    size_t size, ngx_uint_t final);
static void ngx_smtp_event_dead(ngx_smtp_segment_t *seg, uint32_t number);


void
ngx_smtp_store_results(ngx_smtp_message_t *m, ngx_smtp_result_t *results,
    ngx_uint_t n, ngx_str_t *peer, time_t now, time_t due, ngx_uint_t more)
{
    ngx_smtp_event_t  e;

    if (!more && m->attempts < NGX_SMTP_MAX_ATTEMPTS) {
        m->attempts++;
    }

    if (due) {
        m->due_at = due;
    }

    ngx_smtp_strike_clear(m);

    ngx_smtp_event_init(&e, m, NGX_SMTP_LOG_DEFERRED, now);

    e.until = due;
    e.attempts = m->attempts;
    e.peer = *peer;

    /* final results last: a report about them follows at once */

    ngx_smtp_event_results(m, &e, results, n, 1);

    e.type = NGX_SMTP_LOG_RESULT;

    ngx_smtp_event_results(m, &e, results, n, 0);
}


/*
 * Records those results that are deferred, or those that are final.  It needs
 * no memory: what is final here is not tried again, whatever becomes of its
 * record.
 */

static void
ngx_smtp_event_results(ngx_smtp_message_t *m, ngx_smtp_event_t *e,
    ngx_smtp_result_t *results, ngx_uint_t n, ngx_uint_t deferred)
{
    u_char             id[NGX_SMTP_QUEUE_ID_LEN];
    ngx_uint_t         i;
    ngx_smtp_result_t  list[NGX_SMTP_EVENT_RESULTS];

    e->results = list;
    e->nresults = 0;

    for (i = 0; i < n; i++) {

        if ((results[i].status == NGX_SMTP_RESULT_DEFERRED) != deferred) {
            continue;
        }

        if (results[i].rcpt >= m->nrcpts
            || ngx_smtp_message_final(m, results[i].rcpt))
        {
            ngx_log_error(NGX_LOG_ALERT, m->segment->store->log, 0,
                          "result for recipient %ui of %*s, which has one",
                          results[i].rcpt,
                          (size_t) (ngx_smtp_message_id(m, id) - id), id);
            continue;
        }

        if (!deferred) {
            ngx_smtp_message_set_final(m, results[i].rcpt);
        }

        list[e->nresults++] = results[i];

        if (e->nresults == NGX_SMTP_EVENT_RESULTS) {
            ngx_smtp_event_record(m->segment, e);
            e->nresults = 0;
        }
    }

    if (e->nresults) {
        ngx_smtp_event_record(m->segment, e);
    }
}


static void
ngx_smtp_message_set_final(ngx_smtp_message_t *m, ngx_uint_t i)
{
    if (ngx_smtp_message_many(m)) {
        m->final.bitmap[i / 8] |= (uint8_t) (1 << (i % 8));

    } else {
        m->final.word |= (uint64_t) 1 << i;
    }

    m->npending--;
}


ngx_smtp_report_t *
ngx_smtp_store_report(ngx_smtp_message_t *m, ngx_uint_t kind,
    ngx_smtp_result_t *results, ngx_uint_t n, ngx_str_t *peer, time_t now)
{
    ngx_smtp_event_t    e;
    ngx_smtp_report_t  *r;

    m->nreports++;

    ngx_smtp_event_init(&e, m, NGX_SMTP_LOG_REPORT, now);

    e.until = now;
    e.report = m->nreports;
    e.kind = kind;
    e.peer = *peer;
    e.results = results;
    e.nresults = n;

    ngx_smtp_event_record(m->segment, &e);

    r = ngx_smtp_report_create(m->segment->store, m, results, n, peer);
    if (r == NULL) {
        ngx_smtp_own_reread(m);
        return NULL;
    }

    r->number = m->nreports;
    r->kind = kind;
    r->created = now;
    r->due_at = now;

    return r;
}


ngx_smtp_report_t *
ngx_smtp_store_report_delay(ngx_smtp_message_t *m,
    ngx_smtp_result_t *results, ngx_uint_t n, ngx_str_t *peer, time_t now)
{
    ngx_smtp_store_t   *store;
    ngx_smtp_report_t  *r;

    store = m->segment->store;

    /* the room that is left is for what cannot wait */

    if (ngx_smtp_store_ready(store, 0) != NGX_OK) {
        return NULL;
    }

    r = ngx_smtp_report_create(store, m, results, n, peer);
    if (r == NULL) {
        return NULL;
    }

    m->nreports++;
    m->delay_told = 1;

    r->number = m->nreports;
    r->kind = NGX_SMTP_REPORT_DELAY;
    r->created = now;
    r->due_at = now;

    ngx_smtp_report_record(r, now);

    return r;
}


ngx_int_t
ngx_smtp_store_report_double(ngx_smtp_report_t *r,
    ngx_smtp_result_t *failure, ngx_str_t *peer, time_t now)
{
    ngx_int_t           rc;
    ngx_uint_t          n;
    ngx_smtp_store_t   *store;
    ngx_smtp_result_t  *list, *old;

    store = r->message->segment->store;
    old = r->results;
    n = r->nresults + 1;

    list = ngx_alloc(n * sizeof(ngx_smtp_result_t), store->log);
    if (list == NULL) {
        return NGX_ERROR;
    }

    list[0] = *failure;
    list[0].rcpt = 0;

    ngx_memcpy(&list[1], old, r->nresults * sizeof(ngx_smtp_result_t));

    rc = ngx_smtp_report_fill(store, r, list, n, peer);

    ngx_free(list);

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_free(old);

    r->kind = NGX_SMTP_REPORT_DOUBLE;
    r->attempts = 0;
    r->created = now;
    r->due_at = now;

    ngx_smtp_report_record(r, now);

    return NGX_OK;
}


static void
ngx_smtp_report_record(ngx_smtp_report_t *r, time_t now)
{
    ngx_smtp_event_t  e;

    ngx_smtp_event_report(&e, r, NGX_SMTP_LOG_REPORT, now);

    e.peer = r->peer;
    e.results = r->results;
    e.nresults = r->nresults;

    ngx_smtp_event_record(r->message->segment, &e);
}


/* A report with copies of its results, hanging on the message. */

ngx_smtp_report_t *
ngx_smtp_report_create(ngx_smtp_store_t *store, ngx_smtp_message_t *m,
    ngx_smtp_result_t *results, ngx_uint_t n, ngx_str_t *peer)
{
    ngx_smtp_report_t  *r;

    r = ngx_smtp_cell_alloc(&store->reports, store->log);
    if (r == NULL) {
        return NULL;
    }

    if (ngx_smtp_report_fill(store, r, results, n, peer) != NGX_OK) {
        ngx_smtp_cell_free(&store->reports, r);
        return NULL;
    }

    r->message = m;
    ngx_queue_insert_tail(&m->reports, &r->link);

    return r;
}


/* One block of memory with copies; the one before is not freed. */

static ngx_int_t
ngx_smtp_report_fill(ngx_smtp_store_t *store, ngx_smtp_report_t *r,
    ngx_smtp_result_t *results, ngx_uint_t n, ngx_str_t *peer)
{
    size_t              size;
    u_char             *p;
    ngx_uint_t          i;
    ngx_smtp_result_t  *copy;

    size = n * sizeof(ngx_smtp_result_t) + peer->len + 1;

    for (i = 0; i < n; i++) {
        size += ngx_min(results[i].text.len, NGX_SMTP_RESULT_TEXT);
    }

    copy = ngx_alloc(size, store->log);
    if (copy == NULL) {
        return NGX_ERROR;
    }

    p = (u_char *) &copy[n];

    r->results = copy;
    r->nresults = n;
    r->peer.len = peer->len;
    r->peer.data = p;
    p = ngx_cpymem(p, peer->data, peer->len);

    for (i = 0; i < n; i++) {
        copy[i] = results[i];
        copy[i].text.len = ngx_min(results[i].text.len, NGX_SMTP_RESULT_TEXT);
        copy[i].text.data = p;
        p = ngx_cpymem(p, results[i].text.data, copy[i].text.len);
    }

    return NGX_OK;
}


void
ngx_smtp_report_free(ngx_smtp_store_t *store, ngx_smtp_report_t *r)
{
    ngx_queue_remove(&r->link);

    ngx_free(r->results);
    ngx_smtp_cell_free(&store->reports, r);
}


void
ngx_smtp_store_report_deferred(ngx_smtp_report_t *r, time_t now, time_t due)
{
    ngx_smtp_event_t  e;

    if (r->attempts < NGX_SMTP_MAX_ATTEMPTS) {
        r->attempts++;
    }

    r->due_at = due;

    ngx_smtp_strike_clear(r->message);

    ngx_smtp_event_report(&e, r, NGX_SMTP_LOG_REPORT_DEFERRED, now);
    ngx_smtp_event_record(r->message->segment, &e);
}


void
ngx_smtp_store_reported(ngx_smtp_report_t *r, time_t now)
{
    ngx_smtp_event_t  e;

    ngx_smtp_strike_clear(r->message);

    ngx_smtp_event_report(&e, r, NGX_SMTP_LOG_REPORTED, now);
    ngx_smtp_event_record(r->message->segment, &e);

    ngx_smtp_report_free(r->message->segment->store, r);
}


ngx_int_t
ngx_smtp_store_done(ngx_smtp_message_t *m, time_t now)
{
    ngx_smtp_event_t     e;
    ngx_smtp_store_t    *store;
    ngx_smtp_chunk_t    *c;
    ngx_smtp_segment_t  *seg;

    if (m->npending || !ngx_queue_empty(&m->reports) || m->unreported) {
        return NGX_DECLINED;
    }

    seg = m->segment;
    store = seg->store;

    ngx_smtp_message_outstanding(m, 0, 0);

    ngx_smtp_event_init(&e, m, NGX_SMTP_LOG_DONE, now);
    ngx_smtp_event_record(seg, &e);

    c = seg->chunks_last;

    if (seg->chunks && c->final) {
        c->repay += ngx_smtp_log_need(seg->summed ? 0 : m->head_size,
                                      m->nrcpts);
    }

    if (m->large) {
        ngx_smtp_event_dead(seg, m->number);
    }

    ngx_smtp_message_gone(m);
    ngx_queue_remove(&m->link);
    seg->live--;
    seg->live_bytes -= ngx_smtp_message_bytes(m);

    ngx_smtp_message_free(store, m);

    return NGX_OK;
}


/*
 * The body of an ended message is unlinked when its end is synced.  Without
 * memory for the number it stays until the segment is adopted or removed.
 */

static void
ngx_smtp_event_dead(ngx_smtp_segment_t *seg, uint32_t number)
{
    uint32_t    *dead;
    ngx_uint_t   room;

    if (seg->ndead == seg->dead_room) {
        room = seg->dead_room * 2 + 16;

        dead = ngx_alloc(room * sizeof(uint32_t), seg->store->log);
        if (dead == NULL) {
            return;
        }

        if (seg->ndead) {
            ngx_memcpy(dead, seg->dead, seg->ndead * sizeof(uint32_t));
        }

        ngx_free(seg->dead);

        seg->dead = dead;
        seg->dead_room = room;
    }

    seg->dead[seg->ndead++] = number;
}


void
ngx_smtp_store_hold(ngx_smtp_message_t *m, ngx_uint_t hold, time_t now)
{
    ngx_smtp_event_t  e;

    if (m->hold == (hold != 0)) {
        return;
    }

    ngx_smtp_message_count(m, -1);

    m->hold = (hold != 0);

    ngx_smtp_message_count(m, 1);

    if (!hold) {
        m->strikes = 0;
    }

    ngx_smtp_event_init(&e, m, hold ? NGX_SMTP_LOG_HOLD : NGX_SMTP_LOG_RELEASE,
                        now);
    ngx_smtp_event_record(m->segment, &e);
}


void
ngx_smtp_message_outstanding(ngx_smtp_message_t *m, ngx_uint_t on,
    time_t until)
{
    ngx_smtp_segment_t  *seg;

    seg = m->segment;

    if (on) {
        m->until = until;
    }

    if (m->outstanding == (on != 0)) {
        return;
    }

    m->outstanding = (on != 0);

    if (on) {
        seg->outstanding++;
        m->awaited = !seg->leaving;
        return;
    }

    seg->outstanding--;

    if (m->awaited && seg->leaving) {
        seg->awaited--;
    }

    /* what a leaving worker waits for may be complete */

    ngx_smtp_store_wake(seg->store);
}


ngx_int_t
ngx_smtp_message_ready(ngx_smtp_message_t *m)
{
    ngx_smtp_store_t    *store;
    ngx_smtp_segment_t  *seg;

    seg = m->segment;
    store = seg->store;

    if (seg->broken || seg->blocked || seg->unreserved || store->stopping
        || seg->state == ngx_smtp_state_forget
        || seg->state == ngx_smtp_state_close)
    {
        return NGX_AGAIN;
    }

    if (!seg->leaving) {
        return NGX_OK;
    }

    /*
     * Held for an answer of a peer: what else is due is served meanwhile, but
     * not for ever.
     */

    if (seg->awaited
        && ngx_smtp_after(store->leave_at + NGX_SMTP_STORE_SERVE))
    {
        return NGX_OK;
    }

    return NGX_AGAIN;
}


void
ngx_smtp_event_init(ngx_smtp_event_t *e, ngx_smtp_message_t *m,
    ngx_uint_t type, time_t now)
{
    ngx_memzero(e, sizeof(ngx_smtp_event_t));

    e->type = type;
    e->number = m->number;
    e->time = now;
    e->attempts = m->attempts;
}


static void
ngx_smtp_event_report(ngx_smtp_event_t *e, ngx_smtp_report_t *r,
    ngx_uint_t type, time_t now)
{
    ngx_smtp_event_init(e, r->message, type, now);

    e->report = r->number;
    e->attempts = r->attempts;
    e->until = r->due_at;
    e->kind = r->kind;
}


void
ngx_smtp_event_record(ngx_smtp_segment_t *seg, ngx_smtp_event_t *e)
{
    size_t             size;
    ngx_uint_t         final;
    ngx_smtp_chunk_t  *c;

    switch (e->type) {

    case NGX_SMTP_LOG_DEFERRED:
    case NGX_SMTP_LOG_REPORT_DEFERRED:
    case NGX_SMTP_LOG_HOLD:
    case NGX_SMTP_LOG_RELEASE:
    case NGX_SMTP_LOG_WISH:
    case NGX_SMTP_LOG_MOVED:
    case NGX_SMTP_LOG_STRIKE:
        final = 0;
        break;

    case NGX_SMTP_LOG_REPORT:

        /* for these there is room without their texts only: see write */

        final = (e->kind != NGX_SMTP_REPORT_DELAY
                 && e->kind != NGX_SMTP_REPORT_DOUBLE);
        break;

    default:
        final = 1;
    }

    size = ngx_smtp_event_size(e);

    c = ngx_smtp_event_chunk(seg, size, final);

    if (c == NULL) {
        ngx_log_error(NGX_LOG_CRIT, seg->store->log, 0,
                      "spool \"%V\": no memory to record what happened to a "
                      "message, it may happen again",
                      &seg->store->conf->path);
        return;
    }

    c->last = ngx_smtp_event_put(c->last, e);

    ngx_smtp_store_wake(seg->store);
}


static ngx_smtp_chunk_t *
ngx_smtp_event_chunk(ngx_smtp_segment_t *seg, size_t size, ngx_uint_t final)
{
    size_t              used, room;
    ngx_smtp_chunk_t   *c, *grown, **last;

    c = seg->chunks ? seg->chunks_last : NULL;

    if (c && c->final == final && (size_t) (c->end - c->last) >= size) {
        return c;
    }

    used = (c && c->final == final) ? c->last - c->data : 0;
    room = ngx_max(NGX_SMTP_CHUNK_SIZE, (used + size) * 2);

    grown = ngx_alloc(offsetof(ngx_smtp_chunk_t, data) + room,
                      seg->store->log);
    if (grown == NULL) {
        return NULL;
    }

    grown->next = NULL;
    grown->final = final;
    grown->repay = 0;
    grown->last = grown->data;
    grown->end = grown->data + room;

    if (used) {

        /* takes the place of c: one chunk, one call */

        for (last = &seg->chunks; *last != c; last = &(*last)->next) {
            /* void */
        }

        grown->repay = c->repay;
        grown->last = ngx_cpymem(grown->data, c->data, used);

        *last = grown;
        ngx_free(c);

    } else if (c) {
        c->next = grown;

    } else {
        seg->chunks = grown;
    }

    seg->chunks_last = grown;

    return grown;
}
