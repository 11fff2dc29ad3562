
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Puts the answers of all workers together.  Each has gone through its own
 * messages in the order of ids, and says where it stopped: what lies behind
 * the first such position is not complete, so it is left for the next request,
 * which begins there.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_conf.h"
#include "ngx_smtp_drain.h"
#include "ngx_smtp_status.h"


/* ms in which mail without an owner has found one */
#define NGX_SMTP_STATUS_SETTLED  5000


typedef struct {
    u_char                  *key;
    ngx_str_t                json;
} ngx_smtp_status_row_t;


/* rows of one answer, in rising order */
typedef struct {
    ngx_uint_t               next;
    ngx_uint_t               end;
} ngx_smtp_status_run_t;


typedef struct {
    ngx_str_t                name;
    uint64_t                 n[NGX_SMTP_CONTROL_NUMBERS];
} ngx_smtp_status_queue_t;


typedef struct {
    uint64_t                 pid;
    uint64_t                 leaving;
    uint64_t                 messages;
} ngx_smtp_status_worker_t;


typedef struct {
    ngx_pool_t              *pool;
    ngx_array_t              rows;
    ngx_array_t              runs;
    ngx_array_t              queues;
    ngx_array_t              workers;
    uint64_t                 tally[NGX_SMTP_CONTROL_RESULTS];
    u_char                  *position;  /* the first; NULL: all went on */
    uint64_t                 left;      /* segments that nobody takes */
    unsigned                 owned:1;   /* the segment of the id is */
    unsigned                 partial:1;
} ngx_smtp_status_t;


static ngx_int_t ngx_smtp_status_collect(ngx_smtp_status_t *s,
    ngx_smtp_bus_ask_t *ask);
static ngx_int_t ngx_smtp_status_worker(ngx_smtp_status_t *s,
    ngx_smtp_bus_worker_t *w);
static ngx_int_t ngx_smtp_status_field(ngx_smtp_status_t *s, ngx_uint_t tag,
    ngx_str_t *value, ngx_smtp_status_worker_t *w);
static uint64_t ngx_smtp_status_get64(u_char *p);
static ngx_smtp_status_queue_t *ngx_smtp_status_queue(ngx_smtp_status_t *s,
    ngx_str_t *name);
static void ngx_smtp_status_totals(ngx_smtp_status_conf_t *conf,
    ngx_smtp_status_t *s, ngx_smtp_json_t *j);
static void ngx_smtp_status_queues(ngx_smtp_status_conf_t *conf,
    ngx_smtp_status_t *s, ngx_smtp_json_t *j);
static void ngx_smtp_status_draining(ngx_smtp_status_conf_t *conf,
    ngx_smtp_status_t *s, ngx_smtp_json_t *j);
static void ngx_smtp_status_partial(ngx_smtp_status_t *s,
    ngx_smtp_bus_ask_t *ask, ngx_smtp_json_t *j);
static void ngx_smtp_status_rows(ngx_smtp_status_t *s, ngx_uint_t limit,
    ngx_smtp_json_t *j);
static ngx_smtp_status_row_t *ngx_smtp_status_row(ngx_smtp_status_t *s);
static ngx_uint_t ngx_smtp_status_one(ngx_smtp_status_conf_t *conf,
    ngx_smtp_status_t *s, ngx_smtp_control_request_t *request,
    ngx_smtp_json_t *j);
static const char *ngx_smtp_status_reason(ngx_uint_t op);
static ngx_uint_t ngx_smtp_status_missing(ngx_smtp_status_conf_t *conf,
    ngx_smtp_status_t *s, ngx_smtp_control_request_t *request,
    ngx_smtp_json_t *j);
static ngx_uint_t ngx_smtp_status_settled(void);
static void ngx_smtp_status_next(u_char *key, ngx_smtp_json_t *j);


ngx_int_t
ngx_smtp_status_conf(ngx_smtp_status_conf_t *conf, ngx_pool_t *pool)
{
    ngx_uint_t               i;
    ngx_cycle_t             *cycle;
    ngx_smtp_main_conf_t    *smcf;
    ngx_smtp_queue_conf_t  **queues;
    ngx_smtp_store_conf_t  **stores;

    ngx_memzero(conf, sizeof(ngx_smtp_status_conf_t));

    cycle = (ngx_cycle_t *) ngx_cycle;

    smcf = ngx_stream_cycle_get_module_main_conf(cycle, ngx_smtp_relay_module);

    if (smcf == NULL) {
        return NGX_OK;
    }

    conf->zone = smcf->zone;
    conf->threads = smcf->commit_pool;
    conf->npaths = smcf->stores.nelts;
    conf->nqueues = smcf->queues.nelts;

    conf->paths = ngx_palloc(pool, (conf->npaths + 1) * sizeof(ngx_str_t));
    conf->queues = ngx_palloc(pool, (conf->nqueues + 1) * sizeof(ngx_str_t));

    if (conf->paths == NULL || conf->queues == NULL) {
        return NGX_ERROR;
    }

    stores = smcf->stores.elts;

    for (i = 0; i < conf->npaths; i++) {
        conf->paths[i] = stores[i]->path;
    }

    queues = smcf->queues.elts;

    for (i = 0; i < conf->nqueues; i++) {
        conf->queues[i] = queues[i]->name;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_smtp_status_answer(ngx_smtp_status_conf_t *conf,
    ngx_smtp_control_request_t *request, ngx_smtp_bus_ask_t *ask,
    ngx_smtp_json_t *j)
{
    ngx_uint_t         i;
    ngx_smtp_status_t  s;

    ngx_memzero(&s, sizeof(ngx_smtp_status_t));

    s.pool = ask->pool;

    if (ngx_smtp_status_collect(&s, ask) != NGX_OK) {
        return 500;
    }

    if (request->id.len) {
        return ngx_smtp_status_one(conf, &s, request, j);
    }

    ngx_smtp_json_raw(j, "{");

    switch (request->op) {

    case NGX_SMTP_CONTROL_COUNT:
        ngx_smtp_status_totals(conf, &s, j);
        ngx_smtp_status_queues(conf, &s, j);
        ngx_smtp_status_backends(j);
        ngx_smtp_status_draining(conf, &s, j);
        ngx_smtp_json_flag(j, "complete", s.position == NULL && !s.partial);
        break;

    case NGX_SMTP_CONTROL_LIST:
        ngx_smtp_status_rows(&s, request->limit, j);
        break;

    default:
        ngx_smtp_json_text(j, "action", ngx_smtp_control_ops[request->op]);

        for (i = 0; i < NGX_SMTP_CONTROL_RESULTS; i++) {
            ngx_smtp_json_count(j, ngx_smtp_control_results[i], s.tally[i]);
        }

        if (s.position) {
            ngx_smtp_status_next(s.position, j);
        }

        ngx_smtp_json_flag(j, "settled", ngx_smtp_status_settled());
    }

    ngx_smtp_status_partial(&s, ask, j);
    ngx_smtp_json_raw(j, "}");

    return 200;
}


static ngx_int_t
ngx_smtp_status_collect(ngx_smtp_status_t *s, ngx_smtp_bus_ask_t *ask)
{
    ngx_uint_t               i;
    ngx_smtp_bus_worker_t  **w;

    if (ngx_array_init(&s->rows, s->pool, 64, sizeof(ngx_smtp_status_row_t))
        != NGX_OK
        || ngx_array_init(&s->runs, s->pool, 8, sizeof(ngx_smtp_status_run_t))
           != NGX_OK
        || ngx_array_init(&s->queues, s->pool, 16,
                          sizeof(ngx_smtp_status_queue_t))
           != NGX_OK
        || ngx_array_init(&s->workers, s->pool, 8,
                          sizeof(ngx_smtp_status_worker_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    s->partial = ask->partial;

    w = ask->workers.elts;

    for (i = 0; i < ask->workers.nelts; i++) {

        if (w[i]->state == NGX_SMTP_BUS_ANSWERED) {

            if (ngx_smtp_status_worker(s, w[i]) == NGX_OK) {
                continue;
            }

            w[i]->state = NGX_SMTP_BUS_FAILED;
        }

        s->partial = 1;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_status_worker(ngx_smtp_status_t *s, ngx_smtp_bus_worker_t *w)
{
    u_char                    *p, *last;
    ngx_int_t                  rc;
    ngx_str_t                  value;
    ngx_uint_t                 i, tag, first;
    ngx_smtp_status_run_t     *run;
    ngx_smtp_status_worker_t   worker, *all;

    ngx_memzero(&worker, sizeof(ngx_smtp_status_worker_t));

    first = s->rows.nelts;

    p = w->answer.data;
    last = p + w->answer.len;

    for ( ;; ) {
        rc = ngx_smtp_bus_field_next(&p, last, &tag, &value);

        if (rc == NGX_DONE) {
            break;
        }

        if (rc == NGX_ERROR
            || ngx_smtp_status_field(s, tag, &value, &worker) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (s->rows.nelts > first) {
        run = ngx_array_push(&s->runs);
        if (run == NULL) {
            return NGX_ERROR;
        }

        run->next = first;
        run->end = s->rows.nelts;
    }

    /* it answers once for each spool */

    all = s->workers.elts;

    for (i = 0; i < s->workers.nelts; i++) {
        if (all[i].pid == worker.pid) {
            all[i].messages += worker.messages;
            return NGX_OK;
        }
    }

    all = ngx_array_push(&s->workers);
    if (all == NULL) {
        return NGX_ERROR;
    }

    *all = worker;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_status_field(ngx_smtp_status_t *s, ngx_uint_t tag, ngx_str_t *value,
    ngx_smtp_status_worker_t *w)
{
    ngx_str_t                 name;
    ngx_uint_t                i;
    ngx_smtp_status_row_t    *row;
    ngx_smtp_status_queue_t  *queue;

    switch (tag) {

    case NGX_SMTP_CONTROL_TAG_PID:
        w->pid = ngx_smtp_bus_number(value);
        return NGX_OK;

    case NGX_SMTP_CONTROL_TAG_OWNED:
        s->owned |= (ngx_smtp_bus_number(value) != 0);
        return NGX_OK;

    case NGX_SMTP_CONTROL_TAG_LEFT:
        s->left = ngx_max(s->left, ngx_smtp_bus_number(value));
        return NGX_OK;

    case NGX_SMTP_CONTROL_TAG_LEAVING:
        w->leaving = ngx_smtp_bus_number(value);
        return NGX_OK;

    case NGX_SMTP_CONTROL_TAG_OVERLOAD:
        return NGX_ERROR;

    case NGX_SMTP_CONTROL_TAG_ROW:
        if (value->len < NGX_SMTP_KEY_LEN) {
            return NGX_ERROR;
        }

        row = ngx_array_push(&s->rows);
        if (row == NULL) {
            return NGX_ERROR;
        }

        row->key = value->data;
        row->json.data = value->data + NGX_SMTP_KEY_LEN;
        row->json.len = value->len - NGX_SMTP_KEY_LEN;

        return NGX_OK;

    case NGX_SMTP_CONTROL_TAG_POSITION:
        if (value->len != NGX_SMTP_KEY_LEN) {
            return NGX_ERROR;
        }

        if (s->position == NULL
            || ngx_memcmp(value->data, s->position, NGX_SMTP_KEY_LEN) < 0)
        {
            s->position = value->data;
        }

        return NGX_OK;

    case NGX_SMTP_CONTROL_TAG_TALLY:
        if (value->len < NGX_SMTP_CONTROL_RESULTS * 8) {
            return NGX_ERROR;
        }

        for (i = 0; i < NGX_SMTP_CONTROL_RESULTS; i++) {
            s->tally[i] += ngx_smtp_status_get64(value->data + i * 8);
        }

        return NGX_OK;

    case NGX_SMTP_CONTROL_TAG_QUEUES:
        if (value->len < NGX_SMTP_CONTROL_NUMBERS * 8) {
            return NGX_ERROR;
        }

        name.data = value->data + NGX_SMTP_CONTROL_NUMBERS * 8;
        name.len = value->len - NGX_SMTP_CONTROL_NUMBERS * 8;

        queue = ngx_smtp_status_queue(s, &name);
        if (queue == NULL) {
            return NGX_ERROR;
        }

        for (i = 0; i < NGX_SMTP_CONTROL_NUMBERS; i++) {
            queue->n[i] += ngx_smtp_status_get64(value->data + i * 8);
        }

        w->messages += ngx_smtp_status_get64(value->data);

        return NGX_OK;
    }

    /* of a later version */

    return NGX_OK;
}


static uint64_t
ngx_smtp_status_get64(u_char *p)
{
    uint64_t    n;
    ngx_uint_t  i;

    for (i = 0, n = 0; i < 8; i++) {
        n = n << 8 | p[i];
    }

    return n;
}


static ngx_smtp_status_queue_t *
ngx_smtp_status_queue(ngx_smtp_status_t *s, ngx_str_t *name)
{
    ngx_uint_t                i;
    ngx_smtp_status_queue_t  *q;

    q = s->queues.elts;

    for (i = 0; i < s->queues.nelts; i++) {
        if (q[i].name.len == name->len
            && ngx_memcmp(q[i].name.data, name->data, name->len) == 0)
        {
            return &q[i];
        }
    }

    q = ngx_array_push(&s->queues);
    if (q == NULL) {
        return NULL;
    }

    ngx_memzero(q, sizeof(ngx_smtp_status_queue_t));
    q->name = *name;

    return q;
}


static void
ngx_smtp_status_totals(ngx_smtp_status_conf_t *conf, ngx_smtp_status_t *s,
    ngx_smtp_json_t *j)
{
    ngx_uint_t                 i;
    ngx_atomic_uint_t          counts[NGX_SMTP_COUNTS];
    ngx_atomic_uint_t          gauges[NGX_SMTP_GAUGES];
    ngx_smtp_status_worker_t  *w;

    ngx_memzero(counts, sizeof(counts));
    ngx_memzero(gauges, sizeof(gauges));

    if (conf->zone) {
        ngx_smtp_zone_totals(conf->zone, counts, gauges);
    }

    ngx_smtp_json_count(j, "time", ngx_time());
    ngx_smtp_json_key(j, "totals");
    ngx_smtp_json_raw(j, "{");

    for (i = 0; i < NGX_SMTP_COUNTS; i++) {
        ngx_smtp_json_count(j, (char *) ngx_smtp_count_names[i].data,
                            counts[i]);
    }

    ngx_smtp_json_raw(j, "}");
    ngx_smtp_json_key(j, "now");
    ngx_smtp_json_raw(j, "{");

    for (i = 0; i < NGX_SMTP_GAUGES; i++) {
        ngx_smtp_json_count(j, (char *) ngx_smtp_gauge_names[i].data,
                            gauges[i]);
    }

    ngx_smtp_json_raw(j, "}");
    ngx_smtp_json_key(j, "workers");
    ngx_smtp_json_raw(j, "[");

    w = s->workers.elts;

    for (i = 0; i < s->workers.nelts; i++) {
        ngx_smtp_json_raw(j, i ? ",{" : "{");
        ngx_smtp_json_count(j, "pid", w[i].pid);
        ngx_smtp_json_flag(j, "leaving", w[i].leaving != 0);
        ngx_smtp_json_count(j, "messages", w[i].messages);
        ngx_smtp_json_raw(j, "}");
    }

    ngx_smtp_json_raw(j, "]");
}


static void
ngx_smtp_status_queues(ngx_smtp_status_conf_t *conf, ngx_smtp_status_t *s,
    ngx_smtp_json_t *j)
{
    ngx_uint_t                i, k, known;
    ngx_smtp_status_queue_t  *q;

    /* also those without mail */

    for (i = 0; i < conf->nqueues; i++) {
        (void) ngx_smtp_status_queue(s, &conf->queues[i]);
    }

    ngx_smtp_json_key(j, "queues");
    ngx_smtp_json_raw(j, "[");

    q = s->queues.elts;

    for (i = 0; i < s->queues.nelts; i++) {

        known = 0;

        for (k = 0; k < conf->nqueues; k++) {
            known |= conf->queues[k].len == q[i].name.len
                     && ngx_memcmp(conf->queues[k].data, q[i].name.data,
                                   q[i].name.len) == 0;
        }

        ngx_smtp_json_raw(j, i ? ",{" : "{");
        ngx_smtp_json_member(j, "name", &q[i].name);
        ngx_smtp_json_flag(j, "configured", known);
        ngx_smtp_json_count(j, "messages", q[i].n[0]);

        for (k = 1; k < NGX_SMTP_CONTROL_STATES; k++) {
            ngx_smtp_json_count(j, ngx_smtp_control_states[k], q[i].n[k]);
        }

        ngx_smtp_json_count(j, "bytes", q[i].n[7]);
        ngx_smtp_json_raw(j, "}");
    }

    ngx_smtp_json_raw(j, "]");
}


/*
 * Drained: nothing is queued, nothing comes in, and nothing is on its way from
 * one worker to another.
 */

static void
ngx_smtp_status_draining(ngx_smtp_status_conf_t *conf, ngx_smtp_status_t *s,
    ngx_smtp_json_t *j)
{
    uint64_t                   n;
    ngx_uint_t                 i, draining;
    ngx_atomic_uint_t          counts[NGX_SMTP_COUNTS];
    ngx_atomic_uint_t          gauges[NGX_SMTP_GAUGES];
    ngx_smtp_status_worker_t  *w;

    n = s->left;
    w = s->workers.elts;

    for (i = 0; i < s->workers.nelts; i++) {
        n += w[i].messages;
    }

    draining = ngx_smtp_draining();

    if (conf->zone) {
        ngx_smtp_zone_totals(conf->zone, counts, gauges);
        n += gauges[NGX_SMTP_GAUGE_RECEIVING] + gauges[NGX_SMTP_GAUGE_QUEUED];
    }

    ngx_smtp_json_count(j, "left_alone", s->left);
    ngx_smtp_json_flag(j, "draining", draining);
    ngx_smtp_json_flag(j, "drain_configured", ngx_smtp_drain_configured());
    ngx_smtp_json_flag(j, "drained",
                       draining && n == 0 && s->position == NULL
                       && !s->partial && ngx_smtp_status_settled());
}


static void
ngx_smtp_status_partial(ngx_smtp_status_t *s, ngx_smtp_bus_ask_t *ask,
    ngx_smtp_json_t *j)
{
    ngx_uint_t               i, n;
    ngx_smtp_bus_worker_t  **w;

    ngx_smtp_json_flag(j, "partial", s->partial);

    if (!s->partial) {
        return;
    }

    ngx_smtp_json_key(j, "silent");
    ngx_smtp_json_raw(j, "[");

    w = ask->workers.elts;

    for (i = 0, n = 0; i < ask->workers.nelts; i++) {
        if (w[i]->state != NGX_SMTP_BUS_ANSWERED) {
            ngx_smtp_json_raw(j, n++ ? "," : "");
            ngx_smtp_json_string(j, &w[i]->name);
        }
    }

    ngx_smtp_json_raw(j, "]");
}


static void
ngx_smtp_status_rows(ngx_smtp_status_t *s, ngx_uint_t limit,
    ngx_smtp_json_t *j)
{
    u_char                 *last;
    ngx_uint_t              n;
    ngx_smtp_status_row_t  *r;

    last = NULL;
    n = 0;

    ngx_smtp_json_key(j, "messages");
    ngx_smtp_json_raw(j, "[");

    for (r = ngx_smtp_status_row(s); r; r = ngx_smtp_status_row(s)) {

        if (s->position
            && ngx_memcmp(r->key, s->position, NGX_SMTP_KEY_LEN) > 0)
        {
            break;
        }

        /* it changed hands meanwhile */

        if (last && ngx_memcmp(last, r->key, NGX_SMTP_KEY_LEN) == 0) {
            continue;
        }

        if (n == limit) {
            s->position = last;
            break;
        }

        ngx_smtp_json_raw(j, n++ ? ",\n" : "\n");
        ngx_smtp_json_bytes(j, r->json.data, r->json.len);

        last = r->key;
    }

    ngx_smtp_json_raw(j, "]");

    if (s->position) {
        ngx_smtp_status_next(s->position, j);
    }
}


/*
 * The next row of all answers.  They are not sorted together: of a hundred
 * thousand rows, a thousand from each of a hundred workers, a page has a
 * thousand.
 */

static ngx_smtp_status_row_t *
ngx_smtp_status_row(ngx_smtp_status_t *s)
{
    ngx_uint_t              i;
    ngx_smtp_status_row_t  *rows, *r;
    ngx_smtp_status_run_t  *run, *first;

    rows = s->rows.elts;
    run = s->runs.elts;
    first = NULL;
    r = NULL;

    for (i = 0; i < s->runs.nelts; i++) {

        if (run[i].next < run[i].end
            && (r == NULL || ngx_memcmp(rows[run[i].next].key, r->key,
                                        NGX_SMTP_KEY_LEN) < 0))
        {
            first = &run[i];
            r = &rows[first->next];
        }
    }

    if (first) {
        first->next++;
    }

    return r;
}


/* About one message. */

static ngx_uint_t
ngx_smtp_status_one(ngx_smtp_status_conf_t *conf, ngx_smtp_status_t *s,
    ngx_smtp_control_request_t *request, ngx_smtp_json_t *j)
{
    ngx_uint_t              i;
    ngx_smtp_status_row_t  *r;

    static ngx_uint_t  codes[] = { 200, 202, 200, 409, 503 };

    if (s->rows.nelts) {
        r = s->rows.elts;
        ngx_smtp_json_bytes(j, r[0].json.data, r[0].json.len);

        return 200;
    }

    for (i = 0; i < NGX_SMTP_CONTROL_RESULTS; i++) {

        if (s->tally[i]) {
            ngx_smtp_json_raw(j, "{");
            ngx_smtp_json_member(j, "id", &request->id);
            ngx_smtp_json_text(j, "action",
                               ngx_smtp_control_ops[request->op]);
            ngx_smtp_json_text(j, "result", ngx_smtp_control_results[i]);

            if (codes[i] == 409) {
                ngx_smtp_json_text(j, "reason",
                                   ngx_smtp_status_reason(request->op));
            }

            ngx_smtp_json_raw(j, "}");

            return codes[i];
        }
    }

    return ngx_smtp_status_missing(conf, s, request, j);
}


/* Why a message refuses an action: all that it can be. */

static const char *
ngx_smtp_status_reason(ngx_uint_t op)
{
    switch (op) {

    case NGX_SMTP_CONTROL_FLUSH:
        return "it is on hold (release or requeue it), or its queue or next "
               "hop is not configured";

    case NGX_SMTP_CONTROL_MOVE:
        return "its spool has no smtp_queue of that name";

    case NGX_SMTP_CONTROL_NEXT_HOP:
        return "it must be the name of an upstream{}, an address with port, "
               "or unix:path; or its queue is not configured";

    default:
        return "its queue or next hop is not configured";
    }
}


/*
 * Nobody has it: because it is gone, because its worker did not answer, or
 * because its segment is on the way from one worker to another.
 */

static ngx_uint_t
ngx_smtp_status_missing(ngx_smtp_status_conf_t *conf, ngx_smtp_status_t *s,
    ngx_smtp_control_request_t *request, ngx_smtp_json_t *j)
{
    ngx_uint_t        i;
    ngx_file_info_t   fi;
    u_char            path[NGX_MAX_PATH];

    ngx_smtp_json_raw(j, "{");

    /* (one of an older version may not have looked at all it has) */

    if (s->partial || s->position) {
        ngx_smtp_json_text(j, "error", "not every worker has answered");
        ngx_smtp_json_raw(j, "}");

        return 503;
    }

    for (i = 0; i < conf->npaths && !s->owned; i++) {

        (void) ngx_snprintf(path, NGX_MAX_PATH - 1, "%V/%*s.data%Z",
                            &conf->paths[i], (size_t) 20, request->id.data);

        if (ngx_file_info(path, &fi) != NGX_FILE_ERROR) {
            ngx_smtp_json_text(j, "error", "its segment is changing hands, "
                               "or left alone (see the error log)");
            ngx_smtp_json_raw(j, "}");

            return 503;
        }
    }

    ngx_smtp_json_text(j, "error", "no such message");
    ngx_smtp_json_raw(j, "}");

    return 404;
}


/*
 * Is no segment on its way from a worker that died or left to one that has not
 * found it yet?  Nobody sees its mail meanwhile.
 */

static ngx_uint_t
ngx_smtp_status_settled(void)
{
    return ngx_smtp_drain_settled() >= NGX_SMTP_STATUS_SETTLED;
}


static void
ngx_smtp_status_next(u_char *key, ngx_smtp_json_t *j)
{
    u_char     id[NGX_SMTP_QUEUE_ID_LEN];
    ngx_str_t  s;

    s.data = id;
    s.len = ngx_smtp_key_text(key, id) - id;

    ngx_smtp_json_member(j, "next", &s);
}
