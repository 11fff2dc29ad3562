
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What a seal says of the messages of a segment: copies, since a thread reads
 * them while the messages go on living.  Taken on the event loop in slices, or
 * in a thread where nobody knows the messages any more; so nothing is logged.
 * Each message is copied at once, different ones at different moments: events
 * of a message that are behind its summary in the log change nothing when they
 * are in it already.
 */


#include "ngx_smtp_store_internal.h"


#define NGX_SMTP_SNAPSHOT_BLOCK  16384


static ngx_int_t ngx_smtp_snapshot_queue(ngx_smtp_snapshot_t *snap,
    ngx_str_t *queue, ngx_str_t *name);
static void ngx_smtp_snapshot_due(ngx_smtp_snapshot_t *snap, time_t due);
static ngx_int_t ngx_smtp_snapshot_report(ngx_smtp_snapshot_t *snap,
    ngx_smtp_report_t *r);
static ngx_smtp_event_t *ngx_smtp_snapshot_event(ngx_smtp_snapshot_t *snap);
static u_char *ngx_smtp_snapshot_alloc(ngx_smtp_snapshot_t *snap,
    size_t size);


ngx_int_t
ngx_smtp_snapshot_init(ngx_smtp_snapshot_t *snap, ngx_uint_t messages,
    ngx_str_t *queues, ngx_uint_t nqueues)
{
    ngx_smtp_snapshot_free(snap);

    /* the array of names may move; of the names see below */

    snap->room = messages;
    snap->summaries = ngx_smtp_pages_alloc(messages
                                           * sizeof(ngx_smtp_summary_t));
    snap->of = ngx_smtp_pages_alloc(messages * sizeof(ngx_smtp_error_of_t));
    snap->queues = malloc(nqueues * sizeof(ngx_str_t) + 1);

    if (snap->summaries == NULL || snap->of == NULL || snap->queues == NULL) {
        ngx_smtp_snapshot_free(snap);
        return NGX_ERROR;
    }

    if (nqueues) {
        ngx_memcpy(snap->queues, queues, nqueues * sizeof(ngx_str_t));
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_snapshot_add(ngx_smtp_snapshot_t *snap, ngx_smtp_message_t *m,
    ngx_str_t *queues)
{
    size_t               size;
    u_char              *p;
    ngx_queue_t         *q;
    ngx_smtp_report_t   *r;
    ngx_smtp_summary_t  *s;

    if (snap->n == snap->room) {
        return NGX_ERROR;
    }

    s = &snap->summaries[snap->n];

    ngx_memzero(s, sizeof(ngx_smtp_summary_t));

    s->number = m->number;
    s->head_size = m->head_size;
    s->nrcpts = m->nrcpts;
    s->attempts = m->attempts;
    s->reports = m->nreports;
    s->offset = m->offset;
    s->size = m->size;
    s->received = m->received;
    s->due_at = m->due_at;
    s->hold = m->hold;
    s->large = m->large;
    s->delay_told = m->delay_told;
    s->wish = m->wish;
    s->strikes = m->strikes;

    if (ngx_smtp_snapshot_queue(snap, &s->queue, &queues[m->queue])
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!ngx_smtp_message_many(m)) {
        s->final_word = m->final.word;

    } else {
        size = (m->nrcpts + 7) / 8;

        p = ngx_smtp_snapshot_alloc(snap, size);
        if (p == NULL) {
            return NGX_ERROR;
        }

        s->final = p;
        ngx_memcpy(p, m->final.bitmap, size);
    }

    if (m->npending && !m->hold) {
        ngx_smtp_snapshot_due(snap, m->due_at);
    }

    for (q = ngx_queue_head(&m->reports);
         q != ngx_queue_sentinel(&m->reports);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_smtp_report_t, link);

        if (!m->hold) {
            ngx_smtp_snapshot_due(snap, r->due_at);
        }

        if (ngx_smtp_snapshot_report(snap, r) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (m->error) {
        snap->of[snap->nof].number = m->number;
        snap->of[snap->nof++].hash = m->error;
    }

    snap->n++;

    return NGX_OK;
}


/*
 * The names of queues stay, those with a next hop may go when the message
 * does (ngx_smtp_store_change.c): they are copied, but not for each neighbor.
 */

static ngx_int_t
ngx_smtp_snapshot_queue(ngx_smtp_snapshot_t *snap, ngx_str_t *queue,
    ngx_str_t *name)
{
    ngx_str_t  *last;

    *queue = *name;

    if (memchr(name->data, '\0', name->len) == NULL) {
        return NGX_OK;
    }

    if (snap->n) {
        last = &snap->summaries[snap->n - 1].queue;

        if (last->len == name->len
            && ngx_memcmp(last->data, name->data, name->len) == 0)
        {
            *queue = *last;
            return NGX_OK;
        }
    }

    queue->data = ngx_smtp_snapshot_alloc(snap, name->len);
    if (queue->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(queue->data, name->data, name->len);

    return NGX_OK;
}


static void
ngx_smtp_snapshot_due(ngx_smtp_snapshot_t *snap, time_t due)
{
    if (snap->earliest == 0 || due < snap->earliest) {
        snap->earliest = due;
    }
}


static ngx_int_t
ngx_smtp_snapshot_report(ngx_smtp_snapshot_t *snap, ngx_smtp_report_t *r)
{
    size_t              size;
    u_char             *p;
    ngx_uint_t          i;
    ngx_smtp_event_t   *e;

    size = r->nresults * sizeof(ngx_smtp_result_t) + r->peer.len;

    for (i = 0; i < r->nresults; i++) {
        size += r->results[i].text.len;
    }

    e = ngx_smtp_snapshot_event(snap);
    p = ngx_smtp_snapshot_alloc(snap, size);

    if (e == NULL || p == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(e, sizeof(ngx_smtp_event_t));

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

    snap->nreports++;

    return NGX_OK;
}


/* Room for one more; it counts when nreports does. */

static ngx_smtp_event_t *
ngx_smtp_snapshot_event(ngx_smtp_snapshot_t *snap)
{
    void        *p;
    ngx_uint_t   room;

    if (snap->nreports == snap->reports_room) {
        room = 2 * snap->reports_room + 16;

        p = realloc(snap->reports, room * sizeof(ngx_smtp_event_t));
        if (p == NULL) {
            return NULL;
        }

        snap->reports = p;
        snap->reports_room = room;
    }

    return &snap->reports[snap->nreports];
}


static u_char *
ngx_smtp_snapshot_alloc(ngx_smtp_snapshot_t *snap, size_t size)
{
    u_char  *p, **block;
    size_t   room;

    size = ngx_align(size, 16);

    if (size > snap->left) {
        room = ngx_max(size + 16, NGX_SMTP_SNAPSHOT_BLOCK);

        block = malloc(room);
        if (block == NULL) {
            return NULL;
        }

        *block = snap->blocks;
        snap->blocks = (u_char *) block;
        snap->last = snap->blocks + 16;
        snap->left = room - 16;
    }

    p = snap->last;
    snap->last += size;
    snap->left -= size;

    return p;
}


void
ngx_smtp_snapshot_free(ngx_smtp_snapshot_t *snap)
{
    u_char  *block, *next;

    for (block = snap->blocks; block; block = next) {
        next = *(u_char **) block;
        free(block);
    }

    ngx_smtp_pages_free(snap->summaries);
    free(snap->reports);
    free(snap->queues);
    ngx_smtp_pages_free(snap->of);

    ngx_memzero(snap, sizeof(ngx_smtp_snapshot_t));
}


void
ngx_smtp_snapshot_content(ngx_smtp_snapshot_t *snap,
    ngx_smtp_seal_content_t *c, uint32_t next_number, time_t now)
{
    c->summaries = snap->summaries;
    c->n = snap->n;
    c->reports = snap->reports;
    c->nreports = snap->nreports;
    c->next_number = next_number;
    c->now = now;
    c->earliest = snap->earliest;
}
