
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Requests about queued mail, carried out by the worker that owns it.
 *
 *   request -> walk over all messages -> filters in memory -> ring of readers
 *                  ^                                              |
 *                  +--- next slice ---    filters by address, row or action
 *
 * Jobs work for 2 ms of an iteration together, and 80 ms each in all; then a
 * job says how far it came.  What needs the envelope waits in a ring, in the
 * order of the walk, for readers that read the heads of messages in threads,
 * so that everything is done in the order of ids and one position tells what
 * was done.
 *
 * A job owns its pool, its walk, its readers; the call belongs to the bus,
 * which says when nobody waits for the answer any more.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_control_private.h"


#define NGX_SMTP_CONTROL_JOBS    16
#define NGX_SMTP_CONTROL_RING    16
#define NGX_SMTP_CONTROL_ANSWER  (1024 * 1024)  /* enough for a page */

/* messages looked at in memory before the clock is */
#define NGX_SMTP_CONTROL_LOOKS   32


typedef struct ngx_smtp_control_job_s  ngx_smtp_control_job_t;


typedef struct {
    ngx_smtp_control_job_t      *job;
    ngx_smtp_watch_t             watch;
    ngx_smtp_reader_t           *reader;
    ngx_smtp_history_t          *history;   /* of one that is shown */
    ngx_uint_t                   reading;   /* answers to come */
    u_char                       key[NGX_SMTP_KEY_LEN];
} ngx_smtp_control_slot_t;


struct ngx_smtp_control_job_s {
    ngx_queue_t                  link;
    ngx_smtp_control_t          *control;
    ngx_smtp_bus_call_t         *call;
    ngx_pool_t                  *pool;
    ngx_event_t                  event;     /* posted: the next slice */

    ngx_smtp_control_request_t   request;
    ngx_smtp_control_filter_t    filter;
    uint64_t                     deadline;
    ngx_smtp_walk_t              walk;
    u_char                       id[NGX_SMTP_KEY_LEN];
    u_char                       position[NGX_SMTP_KEY_LEN];
    u_char                       done[NGX_SMTP_KEY_LEN];    /* of the ring */

    ngx_smtp_control_slot_t      ring[NGX_SMTP_CONTROL_RING];
    ngx_uint_t                   head;
    ngx_uint_t                   used;

    ngx_smtp_json_t              out;
    ngx_smtp_json_t              row;
    ngx_uint_t                   rows;
    uint64_t                     tally[NGX_SMTP_CONTROL_RESULTS];
    ngx_array_t                  counts;    /* of uint64_t[NUMBERS], by queue
                                               of the store */
    unsigned                     envelope:1;    /* must be read */
    unsigned                     walked:1;  /* to the end */
    unsigned                     stop:1;    /* walks no further */
    unsigned                     some:1;    /* done is set */
};


struct ngx_smtp_control_s {
    ngx_smtp_relay_t            *relay;
    ngx_smtp_store_t            *store;
    ngx_smtp_bus_t              *bus;
    ngx_log_t                   *log;
    ngx_queue_t                  jobs;
    ngx_uint_t                   njobs;
};


static void ngx_smtp_control_request(void *data, ngx_smtp_bus_call_t *call,
    ngx_str_t *payload);
static ngx_int_t ngx_smtp_control_job_init(ngx_smtp_control_job_t *job,
    ngx_str_t *payload);
static void ngx_smtp_control_refuse(ngx_smtp_bus_call_t *call,
    ngx_uint_t tag);
static void ngx_smtp_control_handler(ngx_event_t *ev);
static void ngx_smtp_control_step(ngx_smtp_control_job_t *job);
static void ngx_smtp_control_late(ngx_smtp_control_job_t *job);
static void ngx_smtp_control_ring_free(ngx_smtp_control_job_t *job);
static void ngx_smtp_control_visit(ngx_smtp_control_job_t *job,
    ngx_smtp_message_t *m);
static void ngx_smtp_control_count(ngx_smtp_control_job_t *job,
    ngx_smtp_message_t *m);
static void ngx_smtp_control_read(ngx_smtp_control_job_t *job,
    ngx_smtp_message_t *m);
static void ngx_smtp_control_read_handler(ngx_smtp_reader_t *r, ngx_int_t rc);
static void ngx_smtp_control_history_handler(ngx_smtp_history_t *h);
static void ngx_smtp_control_read_done(ngx_smtp_control_slot_t *slot);
static void ngx_smtp_control_slot(ngx_smtp_control_job_t *job,
    ngx_smtp_control_slot_t *slot);
static void ngx_smtp_control_apply(ngx_smtp_control_job_t *job,
    ngx_smtp_message_t *m, ngx_smtp_reader_t *reader, ngx_smtp_history_t *h);
static void ngx_smtp_control_put_row(ngx_smtp_control_job_t *job,
    ngx_smtp_message_t *m, ngx_smtp_reader_t *reader, ngx_smtp_history_t *h);
static void ngx_smtp_control_end(ngx_smtp_control_job_t *job);
static void ngx_smtp_control_put(ngx_smtp_control_job_t *job, ngx_uint_t tag,
    const void *data, size_t len);
static void ngx_smtp_control_put_number(ngx_smtp_control_job_t *job,
    ngx_uint_t tag, uint64_t n);
static void ngx_smtp_control_put_counts(ngx_smtp_control_job_t *job);
static void ngx_smtp_control_gone(void *data);
static void ngx_smtp_control_job_free(ngx_smtp_control_job_t *job);
static uint64_t ngx_smtp_control_clock(void);


ngx_smtp_control_t *
ngx_smtp_control_start(ngx_smtp_relay_t *relay, ngx_smtp_store_t *store,
    ngx_str_t *path, ngx_log_t *log)
{
    ngx_smtp_control_t  *control;

    control = ngx_calloc(sizeof(ngx_smtp_control_t), log);
    if (control == NULL) {
        return NULL;
    }

    control->relay = relay;
    control->store = store;
    control->log = log;

    ngx_queue_init(&control->jobs);

    control->bus = ngx_smtp_bus_start(path, ngx_smtp_control_request, control,
                                      log);
    if (control->bus == NULL) {
        ngx_free(control);
        return NULL;
    }

    return control;
}


void
ngx_smtp_control_stop(ngx_smtp_control_t *control)
{
    /* calls gone() of each job */

    ngx_smtp_bus_stop(control->bus);

    ngx_free(control);
}


static void
ngx_smtp_control_request(void *data, ngx_smtp_bus_call_t *call,
    ngx_str_t *payload)
{
    ngx_smtp_control_t *control = data;

    ngx_pool_t              *pool;
    ngx_smtp_control_job_t  *job;

    pool = (control->njobs < NGX_SMTP_CONTROL_JOBS)
           ? ngx_create_pool(4096, control->log) : NULL;

    if (pool == NULL) {
        ngx_smtp_control_refuse(call, NGX_SMTP_CONTROL_TAG_OVERLOAD);
        return;
    }

    job = ngx_pcalloc(pool, sizeof(ngx_smtp_control_job_t));

    if (job == NULL) {
        ngx_destroy_pool(pool);
        ngx_smtp_control_refuse(call, NGX_SMTP_CONTROL_TAG_OVERLOAD);
        return;
    }

    job->control = control;
    job->call = call;
    job->pool = pool;

    ngx_smtp_json_init(&job->out, control->log);
    ngx_smtp_json_init(&job->row, control->log);

    /* what it does not understand it leaves to others */

    if (ngx_smtp_control_job_init(job, payload) != NGX_OK) {
        ngx_destroy_pool(pool);
        ngx_smtp_control_refuse(call, NGX_SMTP_CONTROL_TAG_OVERLOAD);
        return;
    }

    ngx_queue_insert_tail(&control->jobs, &job->link);
    control->njobs++;

    call->gone = ngx_smtp_control_gone;
    call->data = job;

    ngx_smtp_control_put_number(job, NGX_SMTP_CONTROL_TAG_PID, ngx_pid);
    ngx_smtp_control_put_number(job, NGX_SMTP_CONTROL_TAG_LEAVING,
                                control->relay->leaving);

    ngx_post_event(&job->event, &ngx_posted_events);
}


static ngx_int_t
ngx_smtp_control_job_init(ngx_smtp_control_job_t *job, ngx_str_t *payload)
{
    u_char                      *p, after[NGX_SMTP_KEY_LEN];
    ngx_str_t                    copy;
    ngx_uint_t                   i;
    ngx_smtp_control_request_t  *request;

    request = &job->request;

    copy.len = payload->len;
    copy.data = ngx_pstrdup(job->pool, payload);

    if (copy.data == NULL
        || ngx_smtp_control_decode(request, &copy) != NGX_OK
        || ngx_smtp_control_filter(&job->filter, request, job->pool) != NGX_OK
        || ngx_array_init(&job->counts, job->pool, 16,
                          NGX_SMTP_CONTROL_NUMBERS * sizeof(uint64_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_memzero(after, NGX_SMTP_KEY_LEN);

    if (request->after.len
        && ngx_smtp_key_parse(&request->after, after) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (request->id.len) {

        if (ngx_smtp_key_parse(&request->id, job->id) != NGX_OK) {
            return NGX_ERROR;
        }

        /* the walk begins right in front of it */

        ngx_memcpy(after, job->id, NGX_SMTP_KEY_LEN);

        for (i = NGX_SMTP_KEY_LEN; i-- > 0 && after[i]-- == 0; ) {
            /* void */
        }
    }

    job->envelope = (request->op == NGX_SMTP_CONTROL_LIST
                     || request->op == NGX_SMTP_CONTROL_SHOW
                     || request->op == NGX_SMTP_CONTROL_BOUNCE
                     || request->op == NGX_SMTP_CONTROL_DELETE
                     || job->filter.addresses);

    job->event.handler = ngx_smtp_control_handler;
    job->event.data = job;
    job->event.log = job->control->log;
    job->deadline = ngx_smtp_control_clock() + NGX_SMTP_CONTROL_BUDGET;

    for (i = 0; i < NGX_SMTP_CONTROL_RING; i++) {
        job->ring[i].job = job;
    }

    p = after;
    ngx_memcpy(job->position, p, NGX_SMTP_KEY_LEN);
    ngx_smtp_walk_start(&job->walk, job->control->store, p);

    return NGX_OK;
}


static void
ngx_smtp_control_refuse(ngx_smtp_bus_call_t *call, ngx_uint_t tag)
{
    u_char     buf[2 * (NGX_SMTP_BUS_FIELD + 8)];
    u_char    *p;
    ngx_str_t  answer;

    p = ngx_smtp_bus_number_put(buf, NGX_SMTP_CONTROL_TAG_PID, ngx_pid);
    p = ngx_smtp_bus_number_put(p, tag, 1);

    answer.data = buf;
    answer.len = p - buf;

    ngx_smtp_bus_answer(call, &answer);
}


static void
ngx_smtp_control_handler(ngx_event_t *ev)
{
    ngx_smtp_control_step(ev->data);
}


static void
ngx_smtp_control_step(ngx_smtp_control_job_t *job)
{
    uint64_t                  end, now;
    ngx_int_t                 rc;
    ngx_uint_t                n;
    ngx_smtp_message_t       *m;
    ngx_smtp_control_slot_t  *slot;

    /* one slice of an iteration for all jobs */

    now = ngx_smtp_control_clock();
    end = now + NGX_SMTP_CONTROL_SLICE / job->control->njobs;

    for (n = 1; /* void */ ; n++) {

        while (job->used) {
            slot = &job->ring[job->head % NGX_SMTP_CONTROL_RING];

            if (slot->reading) {
                break;
            }

            job->head++;
            job->used--;

            ngx_smtp_control_slot(job, slot);

            if (ngx_smtp_control_clock() >= end) {
                break;
            }
        }

        if (job->stop || job->walked) {

            if (job->used == 0) {
                ngx_smtp_control_end(job);
                return;
            }

        } else if (job->used < NGX_SMTP_CONTROL_RING) {

            rc = ngx_smtp_walk_next(&job->walk, &m);

            if (rc == NGX_DONE) {
                job->walked = 1;
                continue;
            }

            if (rc == NGX_OK) {
                ngx_smtp_control_visit(job, m);
            }
        }

        if (job->envelope || n % NGX_SMTP_CONTROL_LOOKS == 0) {
            now = ngx_smtp_control_clock();

            /* of one message there is no part: who asks leaves in time */

            if (now >= job->deadline && job->request.id.len == 0) {
                job->stop = 1;
                ngx_smtp_control_late(job);
            }
        }

        if (job->used
            && (job->used == NGX_SMTP_CONTROL_RING || job->stop
                || job->walked)
            && job->ring[job->head % NGX_SMTP_CONTROL_RING].reading)
        {
            /* the reader goes on with it */
            return;
        }

        if (now >= end) {
            ngx_post_event(&job->event, &ngx_posted_next_events);
            return;
        }
    }
}


/* The disk is slow: what it did not give in time is for the next request. */

static void
ngx_smtp_control_late(ngx_smtp_control_job_t *job)
{
    if (job->used == 0 || !job->some) {
        return;
    }

    ngx_smtp_control_ring_free(job);

    job->used = 0;
    job->walked = 0;

    ngx_memcpy(job->position, job->done, NGX_SMTP_KEY_LEN);
}


static void
ngx_smtp_control_visit(ngx_smtp_control_job_t *job, ngx_smtp_message_t *m)
{
    u_char  key[NGX_SMTP_KEY_LEN];

    ngx_smtp_message_key(m, key);

    if (job->request.id.len) {

        job->walked = 1;

        if (ngx_memcmp(key, job->id, NGX_SMTP_KEY_LEN) != 0) {
            return;
        }
    }

    ngx_memcpy(job->position, key, NGX_SMTP_KEY_LEN);

    if (!ngx_smtp_control_wanted(&job->filter, m)) {
        return;
    }

    if (job->request.op == NGX_SMTP_CONTROL_COUNT) {
        ngx_smtp_control_count(job, m);

    } else if (job->envelope) {
        ngx_smtp_control_read(job, m);

    } else {
        ngx_smtp_control_apply(job, m, NULL, NULL);
    }
}


static void
ngx_smtp_control_count(ngx_smtp_control_job_t *job, ngx_smtp_message_t *m)
{
    void        *p;
    uint64_t    *n;
    ngx_uint_t   missing;

    if (m->queue >= job->counts.nelts) {
        missing = m->queue + 1 - job->counts.nelts;

        p = ngx_array_push_n(&job->counts, missing);
        if (p == NULL) {
            job->stop = 1;
            return;
        }

        ngx_memzero(p, missing * job->counts.size);
    }

    n = (uint64_t *) job->counts.elts + m->queue * NGX_SMTP_CONTROL_NUMBERS;

    n[0]++;
    n[ngx_smtp_control_state(m, ngx_time())]++;
    n[7] += m->size;
}


static void
ngx_smtp_control_read(ngx_smtp_control_job_t *job, ngx_smtp_message_t *m)
{
    ngx_int_t                 rc;
    ngx_smtp_control_slot_t  *slot;

    slot = &job->ring[(job->head + job->used) % NGX_SMTP_CONTROL_RING];

    job->used++;

    ngx_smtp_message_key(m, slot->key);
    ngx_smtp_message_watch(m, &slot->watch);

    slot->reader = NULL;

    rc = ngx_smtp_reader_peek(m, job->request.op == NGX_SMTP_CONTROL_SHOW,
                              ngx_smtp_control_read_handler, slot,
                              job->control->log, &slot->reader);

    slot->reading = (rc == NGX_AGAIN);

    if (rc == NGX_ERROR) {
        slot->reader = NULL;
    }

    if (job->request.op != NGX_SMTP_CONTROL_SHOW) {
        return;
    }

    rc = ngx_smtp_history_open(m, ngx_smtp_control_history_handler, slot,
                               job->control->log, &slot->history);

    slot->reading += (rc == NGX_AGAIN);
}


static void
ngx_smtp_control_read_handler(ngx_smtp_reader_t *r, ngx_int_t rc)
{
    ngx_smtp_control_slot_t  *slot;

    slot = r->data;

    if (rc != NGX_OK) {
        ngx_smtp_reader_close(r);
        slot->reader = NULL;
    }

    ngx_smtp_control_read_done(slot);
}


static void
ngx_smtp_control_history_handler(ngx_smtp_history_t *h)
{
    ngx_smtp_control_read_done(h->data);
}


static void
ngx_smtp_control_read_done(ngx_smtp_control_slot_t *slot)
{
    if (--slot->reading == 0) {
        ngx_post_event(&slot->job->event, &ngx_posted_events);
    }
}


static void
ngx_smtp_control_slot(ngx_smtp_control_job_t *job,
    ngx_smtp_control_slot_t *slot)
{
    ngx_smtp_reader_t   *reader;
    ngx_smtp_message_t  *m;

    m = slot->watch.message;
    reader = slot->reader;
    slot->reader = NULL;

    ngx_smtp_message_unwatch(&slot->watch);

    ngx_memcpy(job->done, slot->key, NGX_SMTP_KEY_LEN);
    job->some = 1;

    if (m && reader
        && !ngx_smtp_control_match(&job->filter, m, &reader->envelope))
    {
        m = NULL;
    }

    if (m) {
        ngx_smtp_control_apply(job, m, reader, slot->history);
    }

    if (reader) {
        ngx_smtp_reader_close(reader);
    }

    if (slot->history) {
        ngx_smtp_history_close(slot->history);
        slot->history = NULL;
    }

    if (m && job->rows
        && (job->rows == job->request.limit
            || ngx_smtp_json_size(&job->out) > NGX_SMTP_CONTROL_ANSWER))
    {
        /* what is in the ring is behind it: the next page */

        ngx_smtp_control_ring_free(job);

        job->used = 0;
        job->stop = 1;
        job->walked = 0;

        ngx_memcpy(job->position, slot->key, NGX_SMTP_KEY_LEN);
    }
}


static void
ngx_smtp_control_apply(ngx_smtp_control_job_t *job, ngx_smtp_message_t *m,
    ngx_smtp_reader_t *reader, ngx_smtp_history_t *h)
{
    ngx_uint_t                   rc;
    ngx_smtp_control_request_t  *request;

    request = &job->request;

    if (request->op == NGX_SMTP_CONTROL_LIST
        || request->op == NGX_SMTP_CONTROL_SHOW)
    {
        /* of one that cannot be read nobody knows the addresses */

        if (reader || !job->filter.addresses) {
            ngx_smtp_control_put_row(job, m, reader, h);
        }

        return;
    }

    if (reader == NULL && job->filter.addresses) {
        rc = NGX_SMTP_CONTROL_AGAIN;

    } else {
        rc = ngx_smtp_control_act(job->control->relay, m, request->op,
                                  &request->to,
                                  reader ? &reader->envelope : NULL);
    }

    job->tally[rc]++;
}


static void
ngx_smtp_control_put_row(ngx_smtp_control_job_t *job, ngx_smtp_message_t *m,
    ngx_smtp_reader_t *reader, ngx_smtp_history_t *h)
{
    u_char  key[NGX_SMTP_KEY_LEN];

    job->row.pos = job->row.start;

    ngx_smtp_message_key(m, key);
    ngx_smtp_json_bytes(&job->row, key, NGX_SMTP_KEY_LEN);

    if (job->request.op == NGX_SMTP_CONTROL_SHOW) {
        ngx_smtp_control_all(&job->row, job->control->relay, m, reader, h,
                             ngx_time());

    } else {
        ngx_smtp_control_row(&job->row, job->control->relay, m, reader,
                             ngx_time());
    }

    if (job->row.failed) {
        job->out.failed = 1;
        return;
    }

    ngx_smtp_control_put(job, NGX_SMTP_CONTROL_TAG_ROW, job->row.start,
                         ngx_smtp_json_size(&job->row));
    job->rows++;
}


static void
ngx_smtp_control_end(ngx_smtp_control_job_t *job)
{
    u_char                buf[NGX_SMTP_CONTROL_RESULTS * 8], *p;
    ngx_str_t             answer;
    ngx_uint_t            i, k;
    ngx_smtp_bus_call_t  *call;

    if (job->request.id.len) {
        ngx_smtp_control_put_number(job, NGX_SMTP_CONTROL_TAG_OWNED,
                                    ngx_smtp_store_owns(job->control->store,
                                                        job->id));
    }

    if (!job->walked) {
        ngx_smtp_control_put(job, NGX_SMTP_CONTROL_TAG_POSITION,
                             job->position, NGX_SMTP_KEY_LEN);
    }

    if (job->request.op == NGX_SMTP_CONTROL_COUNT) {
        ngx_smtp_control_put_counts(job);
        ngx_smtp_control_put_number(job, NGX_SMTP_CONTROL_TAG_LEFT,
                                   ngx_smtp_store_left(job->control->store));

    } else if (job->request.op > NGX_SMTP_CONTROL_SHOW) {

        p = buf;

        for (i = 0; i < NGX_SMTP_CONTROL_RESULTS; i++) {
            for (k = 0; k < 8; k++) {
                *p++ = (u_char) (job->tally[i] >> (56 - 8 * k));
            }
        }

        ngx_smtp_control_put(job, NGX_SMTP_CONTROL_TAG_TALLY, buf,
                             sizeof(buf));
    }

    call = job->call;

    if (job->out.failed) {
        ngx_smtp_control_job_free(job);
        ngx_smtp_control_refuse(call, NGX_SMTP_CONTROL_TAG_OVERLOAD);
        return;
    }

    answer.data = job->out.start;
    answer.len = ngx_smtp_json_size(&job->out);

    ngx_smtp_bus_answer(call, &answer);

    ngx_smtp_control_job_free(job);
}


static void
ngx_smtp_control_put(ngx_smtp_control_job_t *job, ngx_uint_t tag,
    const void *data, size_t len)
{
    if (ngx_smtp_json_room(&job->out, NGX_SMTP_BUS_FIELD + len) == NGX_OK) {
        job->out.pos = ngx_smtp_bus_field_put(job->out.pos, tag, data, len);
    }
}


static void
ngx_smtp_control_put_number(ngx_smtp_control_job_t *job, ngx_uint_t tag,
    uint64_t n)
{
    if (ngx_smtp_json_room(&job->out, NGX_SMTP_BUS_FIELD + 8) == NGX_OK) {
        job->out.pos = ngx_smtp_bus_number_put(job->out.pos, tag, n);
    }
}


static void
ngx_smtp_control_put_counts(ngx_smtp_control_job_t *job)
{
    uint64_t    *n;
    ngx_str_t    name;
    ngx_uint_t   i, k, b;

    n = job->counts.elts;

    for (i = 0; i < job->counts.nelts; i++, n += NGX_SMTP_CONTROL_NUMBERS) {

        if (n[0] == 0) {
            continue;
        }

        ngx_smtp_store_queue_name(job->control->store, i, &name, NULL);

        job->row.pos = job->row.start;

        if (ngx_smtp_json_room(&job->row,
                               NGX_SMTP_CONTROL_NUMBERS * 8 + name.len)
            != NGX_OK)
        {
            job->out.failed = 1;
            return;
        }

        for (k = 0; k < NGX_SMTP_CONTROL_NUMBERS; k++) {
            for (b = 0; b < 8; b++) {
                *job->row.pos++ = (u_char) (n[k] >> (56 - 8 * b));
            }
        }

        ngx_smtp_json_bytes(&job->row, name.data, name.len);

        ngx_smtp_control_put(job, NGX_SMTP_CONTROL_TAG_QUEUES,
                             job->row.start, ngx_smtp_json_size(&job->row));
    }
}


static void
ngx_smtp_control_gone(void *data)
{
    ngx_smtp_control_job_free(data);
}


static void
ngx_smtp_control_ring_free(ngx_smtp_control_job_t *job)
{
    ngx_uint_t                i;
    ngx_smtp_control_slot_t  *slot;

    for (i = 0; i < NGX_SMTP_CONTROL_RING; i++) {
        slot = &job->ring[i];

        ngx_smtp_message_unwatch(&slot->watch);

        if (slot->reader) {
            ngx_smtp_reader_close(slot->reader);
            slot->reader = NULL;
        }

        if (slot->history) {
            ngx_smtp_history_close(slot->history);
            slot->history = NULL;
        }
    }
}


static void
ngx_smtp_control_job_free(ngx_smtp_control_job_t *job)
{
    ngx_smtp_control_ring_free(job);

    ngx_smtp_walk_end(&job->walk);

    if (job->event.posted) {
        ngx_delete_posted_event(&job->event);
    }

    ngx_smtp_json_free(&job->out);
    ngx_smtp_json_free(&job->row);

    ngx_queue_remove(&job->link);
    job->control->njobs--;

    ngx_destroy_pool(job->pool);
}


/* us */

static uint64_t
ngx_smtp_control_clock(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
