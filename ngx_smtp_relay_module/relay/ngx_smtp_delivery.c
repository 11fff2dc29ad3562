
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * One attempt: reads the message back, is a transaction or several on a
 * connection, records what became of each recipient, and schedules what is
 * left.  Lives in its own pool from start to done, failed or drop.
 *
 * The rule for the end of data: the store knows that an answer is outstanding
 * before the kernel gets its first octet, and the results before it hears
 * that no answer is outstanding any more.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"


#define NGX_SMTP_DELIVERY_POOL   2048

/* pieces of the content up to this size are copied and sent with others */
#define NGX_SMTP_DELIVERY_COPY   8192

/* output that is collected before it is sent */
#define NGX_SMTP_DELIVERY_FLUSH  32768


static ngx_int_t ngx_smtp_delivery_opened(ngx_smtp_delivery_t *d);
static ngx_int_t ngx_smtp_delivery_todo(ngx_smtp_delivery_t *d);
static void ngx_smtp_delivery_scan(ngx_smtp_delivery_t *d);
static void ngx_smtp_delivery_expire(ngx_smtp_delivery_t *d);
static void ngx_smtp_delivery_read_handler(ngx_smtp_reader_t *r,
    ngx_int_t rc);
static void ngx_smtp_delivery_verdict(void *data, ngx_uint_t i,
    ngx_smtp_verdict_t *v);
static void ngx_smtp_delivery_result(ngx_smtp_delivery_t *d, ngx_uint_t rcpt,
    ngx_smtp_verdict_t *v);
static ngx_int_t ngx_smtp_delivery_slice(ngx_smtp_delivery_t *d,
    ngx_str_t *slice);
static ngx_int_t ngx_smtp_delivery_write(ngx_smtp_delivery_t *d,
    ngx_str_t *slice);
static ngx_int_t ngx_smtp_delivery_end(ngx_smtp_delivery_t *d);
static void ngx_smtp_delivery_record(ngx_smtp_delivery_t *d);
static time_t ngx_smtp_delivery_due(ngx_smtp_delivery_t *d, time_t now);
static void ngx_smtp_delivery_finish(ngx_smtp_delivery_t *d);
static ngx_uint_t ngx_smtp_delivery_free(ngx_smtp_delivery_t *d,
    ngx_uint_t grant);


ngx_smtp_delivery_t *
ngx_smtp_delivery_start(ngx_smtp_route_t *route, ngx_smtp_message_t *m,
    ngx_smtp_report_t *r, ngx_uint_t what)
{
    ngx_int_t             rc;
    ngx_pool_t           *pool;
    ngx_smtp_delivery_t  *d;

    d = NULL;

    pool = ngx_create_pool(NGX_SMTP_DELIVERY_POOL, route->relay->log);

    if (pool) {
        d = ngx_pcalloc(pool, sizeof(ngx_smtp_delivery_t));
    }

    if (d == NULL) {
        if (pool) {
            ngx_destroy_pool(pool);
        }

        if (r) {
            ngx_smtp_route_insert_report(route->relay, r,
                                         ngx_time() + NGX_SMTP_RELAY_PAUSE);

        } else {
            ngx_smtp_route_insert(route->relay, m,
                                  ngx_time() + NGX_SMTP_RELAY_PAUSE);
        }

        return NULL;
    }

    d->pool = pool;
    d->relay = route->relay;
    d->route = route;
    d->home = m->data;
    d->message = m;
    d->report = r;
    d->expire = (what == NGX_SMTP_DELIVERY_EXPIRE);
    d->warn = (what == NGX_SMTP_DELIVERY_WARN);
    d->wish = (what == NGX_SMTP_DELIVERY_WISH);
    d->started = ngx_current_msec;

    d->queue_id.data = d->id;
    d->queue_id.len = ngx_smtp_message_id(m, d->id) - d->id;

    m->data = d;
    m->busy = 1;

    ngx_smtp_message_work(m);

    if (r) {
        r->busy = 1;
    }

    route->expiring += (d->expire || d->warn);

    ngx_queue_insert_tail(&d->relay->deliveries, &d->link);

    rc = ngx_smtp_reader_open(m, ngx_smtp_delivery_read_handler, d,
                              d->relay->log, &d->reader);

    if (rc == NGX_AGAIN) {
        d->reading = 1;
        return d;
    }

    if (rc == NGX_ERROR) {
        d->reader = NULL;
    }

    if (rc == NGX_OK) {
        rc = ngx_smtp_delivery_opened(d);
    }

    if (rc == NGX_AGAIN) {
        return d;
    }

    if (rc != NGX_OK) {
        ngx_smtp_delivery_drop(d, ngx_time() + NGX_SMTP_RELAY_PAUSE);
        return NULL;
    }

    if (d->expire || d->warn || d->wish) {
        ngx_smtp_delivery_expire(d);
        return NULL;
    }

    return d;
}


/*
 * The envelope is there.  NGX_OK: the attempt can go on; NGX_AGAIN: when the
 * reader has more; NGX_ERROR.
 */

static ngx_int_t
ngx_smtp_delivery_opened(ngx_smtp_delivery_t *d)
{
    ngx_int_t  rc;

    if (d->report) {
        rc = ngx_smtp_report_build(d);

        if (rc != NGX_OK) {
            return rc;
        }

    } else {
        d->envelope = &d->reader->envelope;
    }

    if (d->wish) {
        d->ready = 1;
        return NGX_OK;
    }

    if (ngx_smtp_delivery_todo(d) != NGX_OK) {
        return NGX_ERROR;
    }

    d->utf8 = d->envelope->smtputf8;

    if (d->utf8 && d->report == NULL) {
        ngx_smtp_delivery_scan(d);
    }

    if (d->report == NULL
        && ngx_smtp_bounce_delay_due(d->home, d->message))
    {
        d->delayed = ngx_pcalloc(d->pool, d->envelope->rcpts.nelts
                                          * sizeof(ngx_smtp_result_t));
        if (d->delayed == NULL) {
            return NGX_ERROR;
        }
    }

    d->ready = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_delivery_todo(ngx_smtp_delivery_t *d)
{
    ngx_uint_t  i, n;

    n = d->envelope->rcpts.nelts;

    if (n == 0) {
        return NGX_ERROR;
    }

    d->todo = ngx_palloc(d->pool, n * sizeof(ngx_uint_t));
    d->results = ngx_pcalloc(d->pool, n * sizeof(ngx_smtp_result_t));
    d->tx.rcpts = ngx_palloc(d->pool, n * sizeof(ngx_smtp_rcpt_t *));
    d->tx.state = ngx_pnalloc(d->pool, n);

    if (d->todo == NULL || d->results == NULL || d->tx.rcpts == NULL
        || d->tx.state == NULL)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {
        if (d->report || !ngx_smtp_message_final(d->message, i)) {
            d->todo[d->ntodo++] = i;
        }
    }

    return d->ntodo ? NGX_OK : NGX_ERROR;
}


/*
 * A message that came with SMTPUTF8 may go without if its header is ASCII (the
 * engine looks at the addresses).  Only looked for while it is in memory.
 */

static void
ngx_smtp_delivery_scan(ngx_smtp_delivery_t *d)
{
    ngx_str_t           slice;
    ngx_smtp_header_t   h;

    if (d->message->fresh == NULL || d->message->large) {
        return;
    }

    ngx_smtp_header_init(&h, 0, 0);

    while (ngx_smtp_reader_next(d->reader, &slice) == NGX_OK) {
        if (ngx_smtp_header_scan(&h, slice.data, slice.len) != NGX_AGAIN) {
            break;
        }
    }

    d->utf8 = h.header_8bit;
    d->begun = 1;
}


/*
 * The next hop is known to be dead: given up without a try, or the sender is
 * told of the delay and nothing else happens to the message.  Or the end of
 * the attempt was all that was waited for.
 */

static void
ngx_smtp_delivery_expire(ngx_smtp_delivery_t *d)
{
    time_t              wait;
    ngx_smtp_verdict_t  v;

    if (d->wish) {
        ngx_smtp_delivery_drop(d, ngx_time() + NGX_SMTP_RELAY_PAUSE);
        return;
    }

    if (d->warn) {
        wait = ngx_smtp_schedule_interval(&d->route->schedule,
                                          d->message->attempts);

        ngx_smtp_bounce_delay(d, "4.4.1 no answer from the next hop");
        ngx_smtp_delivery_drop(d, ngx_time() + wait);

        return;
    }

    ngx_memzero(&v, sizeof(ngx_smtp_verdict_t));

    v.local = 1;
    v.code = 451;

    ngx_str_set(&v.status, "4.4.1");
    ngx_str_set(&v.text, "no answer from the next hop until the message "
                         "expired");

    ngx_smtp_delivery_failed(d, &v);
}


static void
ngx_smtp_delivery_read_handler(ngx_smtp_reader_t *r, ngx_int_t rc)
{
    ngx_smtp_conn_t      *conn;
    ngx_smtp_delivery_t  *d;

    d = r->data;
    conn = d->conn;

    d->reading = 0;

    ngx_smtp_message_work(d->message);

    if (d->ready) {

        /* a slice of the body */

        if (rc != NGX_OK) {
            d->broken = 1;
        }

        if (conn) {
            ngx_smtp_conn_resume(conn);
        }

        return;
    }

    if (rc == NGX_OK) {
        rc = ngx_smtp_delivery_opened(d);
    }

    if (rc == NGX_AGAIN) {
        return;
    }

    if (rc != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, d->relay->log, 0,
                      "message %V cannot be read, trying again later",
                      &d->queue_id);

        ngx_smtp_delivery_drop(d, ngx_time() + NGX_SMTP_RELAY_UNREADABLE);

        if (conn) {
            ngx_smtp_conn_detach(conn);
        }

        return;
    }

    if (d->expire || d->warn || d->wish) {
        ngx_smtp_delivery_expire(d);
        return;
    }

    ngx_smtp_conn_go(conn);
}


ngx_int_t
ngx_smtp_delivery_mail(ngx_smtp_delivery_t *d)
{
    ngx_uint_t             i;
    ngx_smtp_rcpt_t       *rcpts;
    ngx_smtp_client_tx_t  *tx;

    if (ngx_smtp_message_ready(d->message) != NGX_OK) {
        return NGX_ERROR;
    }

    tx = &d->tx;
    rcpts = d->envelope->rcpts.elts;

    tx->nrcpts = d->last - d->first;

    for (i = 0; i < tx->nrcpts; i++) {
        tx->rcpts[i] = &rcpts[d->todo[d->first + i]];
    }

    tx->sender = d->envelope->sender;
    tx->envid = d->envelope->envid;
    tx->size = d->envelope->size;
    tx->ret = d->envelope->ret;
    tx->eightbit = (d->envelope->body == NGX_SMTP_BODY_8BITMIME);
    tx->smtputf8 = d->envelope->smtputf8;
    tx->need_utf8 = d->utf8;
    tx->requiretls = d->envelope->requiretls;
    tx->handler = ngx_smtp_delivery_verdict;
    tx->data = d;

    if (d->report == NULL) {

        /* what the client announced was without our fields */

        tx->size = d->message->size;
    }

    d->nresults = 0;
    d->unknown = 0;
    d->part = d->report ? NGX_SMTP_PART_TOP : NGX_SMTP_PART_CONTENT;

    if (d->begun) {
        ngx_smtp_reader_rewind(d->reader);
        d->begun = 0;
    }

    if (d->header) {
        ngx_smtp_header_init(d->header, ngx_smtp_report_limit(d->home->conf),
                             0);
    }

    ngx_smtp_data_encoder_init(&d->encoder);

    return NGX_OK;
}


static void
ngx_smtp_delivery_verdict(void *data, ngx_uint_t i, ngx_smtp_verdict_t *v)
{
    ngx_smtp_delivery_t *d = data;

    if (d->ignore) {
        return;
    }

    if (v->unknown) {
        d->unknown = 1;
    }

    ngx_smtp_delivery_result(d, d->todo[d->first + i], v);
}


static void
ngx_smtp_delivery_result(ngx_smtp_delivery_t *d, ngx_uint_t rcpt,
    ngx_smtp_verdict_t *v)
{
    u_char             *p;
    size_t              len;
    ngx_smtp_rcpt_t    *rcpts;
    ngx_smtp_result_t  *r;

    r = &d->results[d->nresults++];

    rcpts = d->envelope->rcpts.elts;

    r->rcpt = rcpt;
    r->code = v->local ? 0 : v->code;

    switch (v->code / 100) {

    case 2:
        r->status = NGX_SMTP_RESULT_DELIVERED;

        if ((rcpts[rcpt].notify & NGX_SMTP_NOTIFY_SUCCESS)
            && d->conn && !(d->conn->client.caps.flags & NGX_SMTP_CAP_DSN))
        {
            r->status = NGX_SMTP_RESULT_RELAYED;
        }

        break;

    case 5:
        r->status = NGX_SMTP_RESULT_FAILED;
        break;

    default:
        r->status = NGX_SMTP_RESULT_DEFERRED;
    }

    ngx_str_null(&r->text);

    len = v->status.len + 1 + v->text.len;

    p = ngx_pnalloc(d->pool, len);
    if (p == NULL) {
        return;
    }

    r->text.data = p;

    if (v->status.len) {
        p = ngx_cpymem(p, v->status.data, v->status.len);
        *p++ = ' ';
    }

    p = ngx_cpymem(p, v->text.data, v->text.len);

    r->text.len = ngx_min((size_t) (p - r->text.data), NGX_SMTP_RESULT_TEXT);
}


ngx_int_t
ngx_smtp_delivery_body(ngx_smtp_delivery_t *d)
{
    ngx_int_t         rc;
    ngx_str_t         slice;
    ngx_smtp_peer_t  *p;

    p = d->conn->peer;

    for ( ;; ) {

        if (d->broken) {
            return NGX_ERROR;
        }

        if (d->reading || p->blocked) {
            return NGX_AGAIN;
        }

        if (d->part == NGX_SMTP_PART_END) {
            return ngx_smtp_delivery_end(d);
        }

        rc = ngx_smtp_delivery_slice(d, &slice);

        if (rc == NGX_AGAIN) {

            /* what is collected need not wait for the disk */

            d->reading = 1;

            return (ngx_smtp_peer_flush(p) == NGX_ERROR) ? NGX_ABORT
                                                         : NGX_AGAIN;
        }

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        rc = ngx_smtp_delivery_write(d, &slice);

        if (rc == NGX_ERROR) {
            return NGX_ABORT;
        }
    }
}


/*
 * The next piece of what is sent, advancing d->part.  NGX_OK (the piece may be
 * empty), NGX_AGAIN, NGX_ERROR.
 */

static ngx_int_t
ngx_smtp_delivery_slice(ngx_smtp_delivery_t *d, ngx_str_t *slice)
{
    ngx_int_t  rc;

    switch (d->part) {

    case NGX_SMTP_PART_TOP:
        *slice = d->top;
        d->part = NGX_SMTP_PART_CONTENT;

        return NGX_OK;

    case NGX_SMTP_PART_CONTENT:
        d->begun = 1;

        rc = ngx_smtp_reader_next(d->reader, slice);

        if (rc == NGX_OK) {

            if (d->report && ngx_smtp_report_slice(d, slice) == NGX_DONE) {
                d->part = NGX_SMTP_PART_TAIL;
            }

            return NGX_OK;
        }

        if (rc != NGX_DONE) {
            return rc;
        }

        slice->len = 0;
        d->part = d->report ? NGX_SMTP_PART_TAIL : NGX_SMTP_PART_END;

        return NGX_OK;

    default: /* NGX_SMTP_PART_TAIL */
        *slice = d->tail;
        d->part = NGX_SMTP_PART_END;

        return NGX_OK;
    }
}


/*
 * Small pieces are collected, so that a usual message goes out in one write
 * with its end of data; a large one is sent from where it lies.
 */

static ngx_int_t
ngx_smtp_delivery_write(ngx_smtp_delivery_t *d, ngx_str_t *slice)
{
    u_char           *pos, *last, *end, *out, tmp[8];
    ngx_int_t         rc;
    ngx_uint_t        copy;
    ngx_smtp_peer_t  *p;

    p = d->conn->peer;

    pos = slice->data;
    last = pos + slice->len;
    copy = (slice->len <= NGX_SMTP_DELIVERY_COPY);

    while (pos < last) {

        end = ngx_smtp_data_clean(&d->encoder, pos, last);

        rc = copy ? ngx_smtp_peer_put(p, pos, end - pos)
                  : ngx_smtp_peer_ref(p, pos, end - pos);

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }

        pos = end;

        if (pos < last) {
            end = pos + 1;
            out = tmp;

            (void) ngx_smtp_data_encode(&d->encoder, &pos, end, &out,
                                        tmp + sizeof(tmp));

            if (ngx_smtp_peer_put(p, tmp, out - tmp) != NGX_OK) {
                return NGX_ERROR;
            }

            pos = end;
        }
    }

    if (copy && ngx_smtp_peer_pending(p) < NGX_SMTP_DELIVERY_FLUSH) {
        return NGX_OK;
    }

    return ngx_smtp_peer_flush(p);
}


static ngx_int_t
ngx_smtp_delivery_end(ngx_smtp_delivery_t *d)
{
    u_char           *out, tmp[8];
    ngx_smtp_conn_t  *conn;

    conn = d->conn;

    /* its results could not be recorded now: the peer must not get it all */

    if (ngx_smtp_message_ready(d->message) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_smtp_client_end(&conn->client) != NGX_SMTP_CLIENT_WAIT) {
        return NGX_DECLINED;
    }

    d->until = ngx_time() + (d->route->conf->data_timeout + 999) / 1000;
    d->outstanding = 1;

    ngx_smtp_message_outstanding(d->message, 1, d->until);

    out = tmp;

    (void) ngx_smtp_data_encode_end(&d->encoder, &out, tmp + sizeof(tmp));

    if (ngx_smtp_peer_put(conn->peer, tmp, out - tmp) != NGX_OK
        || ngx_smtp_peer_flush(conn->peer) == NGX_ERROR)
    {
        return NGX_ABORT;
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_delivery_done(ngx_smtp_delivery_t *d, ngx_uint_t lost)
{
    if (d->nresults) {
        ngx_smtp_delivery_record(d);

        d->first = d->last;
        d->nresults = 0;
    }

    if (d->first < d->ntodo) {

        if (!lost && d->report == NULL) {
            return NGX_AGAIN;
        }

        /*
         * those that were not tried go on another connection; not at once when
         * this one got us nowhere, or before an answer that may still come
         */

        if (d->progress && !d->unknown) {
            d->due = ngx_time();
        }
    }

    ngx_smtp_delivery_finish(d);

    return NGX_DONE;
}


void
ngx_smtp_delivery_failed(ngx_smtp_delivery_t *d, ngx_smtp_verdict_t *v)
{
    ngx_uint_t          i;
    ngx_smtp_verdict_t  verdict;

    verdict = *v;

    /* whatever a server says before MAIL is about itself */

    if (verdict.code / 100 != 4) {
        verdict.code = 450;
        verdict.local = 1;
        ngx_str_null(&verdict.status);
    }

    d->nresults = 0;
    d->last = d->ntodo;

    for (i = d->first; i < d->ntodo; i++) {
        ngx_smtp_delivery_result(d, d->todo[i], &verdict);
    }

    ngx_smtp_delivery_record(d);

    ngx_smtp_delivery_finish(d);
}


/*
 * Makes the results of a transaction last: they are decided, logged, recorded,
 * and reported if they ask for it.
 */

static void
ngx_smtp_delivery_record(ngx_smtp_delivery_t *d)
{
    time_t               now, due;
    ngx_str_t           *peer;
    ngx_smtp_message_t  *m;

    m = d->message;
    now = ngx_time();

    peer = (d->conn && d->conn->name.len) ? &d->conn->name
                                          : &d->route->conf->next_hop;

    due = ngx_smtp_delivery_due(d, now);

    /* an answer that may still come is waited for by all that is left */

    if (due && (d->due == 0 || due < d->due || d->unknown)) {
        d->due = due;
    }

    ngx_smtp_delivery_log(d, due, (d->report ? d->report->attempts
                                             : m->attempts) + 1);

    if (d->report) {

        if (due) {
            ngx_smtp_store_report_deferred(d->report, now, due);

        } else if (d->results[0].status > NGX_SMTP_RESULT_RELAYED
                   && ngx_smtp_bounce_double(d, peer, now) == NGX_OK)
        {
            d->due = now;

        } else {
            ngx_smtp_store_reported(d->report, now);
            d->report = NULL;
            d->due = 0;
            d->header = NULL;
        }

    } else {
        ngx_smtp_store_results(m, d->results, d->nresults, peer, now, due);

        if (d->delayed) {
            ngx_smtp_bounce_deferred(d, peer);
        }
    }

    if (d->outstanding) {
        ngx_smtp_message_outstanding(m, 0, 0);
        d->outstanding = 0;
    }

    if (d->envelope == &d->reader->envelope) {
        ngx_smtp_bounce_results(d, d->results, d->nresults, peer);
    }
}


/*
 * When what was deferred is tried again; what may not wait longer, or is given
 * up, becomes EXPIRED.  0: nothing is deferred.
 */

static time_t
ngx_smtp_delivery_due(ngx_smtp_delivery_t *d, time_t now)
{
    time_t                due, until, clock;
    ngx_int_t             rc;
    ngx_uint_t            i, deferred;
    ngx_smtp_schedule_t  *s;

    deferred = 0;

    for (i = 0; i < d->nresults; i++) {
        if (d->results[i].status == NGX_SMTP_RESULT_DEFERRED) {
            deferred = 1;
            ngx_smtp_store_error(d->message, &d->results[i].text);

        } else {
            d->progress = 1;
        }
    }

    if (!deferred) {
        return 0;
    }

    s = &d->route->schedule;
    clock = ngx_smtp_relay_age_now(d->relay);
    due = clock;

    if (d->expire) {
        rc = NGX_DONE;

    } else if (d->report) {
        rc = ngx_smtp_schedule_next(s, d->report->created,
                                    d->report->attempts + 1, clock,
                                    (uint32_t) ngx_random(), &due);

    } else {
        rc = ngx_smtp_schedule_next(s, d->message->received,
                                    d->message->attempts + 1, clock,
                                    (uint32_t) ngx_random(), &due);
    }

    if (rc == NGX_DONE) {

        for (i = 0; i < d->nresults; i++) {
            if (d->results[i].status == NGX_SMTP_RESULT_DEFERRED) {
                d->results[i].status = NGX_SMTP_RESULT_EXPIRED;
            }
        }

        return 0;
    }

    due += now - clock;

    /*
     * It may still be at work on it: not while its answer could come.  A clock
     * that was set back meanwhile makes that no longer.
     */

    if (d->unknown) {
        until = now + (d->route->conf->data_timeout + 999) / 1000;
        until = ngx_min(until, d->until);

        due = ngx_max(due, until);
    }

    return due;
}


void
ngx_smtp_delivery_log(ngx_smtp_delivery_t *d, time_t due, ngx_uint_t attempts)
{
    ngx_uint_t              i, n, count[NGX_SMTP_RESULT_DEFERRED + 1];
    ngx_smtp_result_t      *r;
    ngx_smtp_attempt_t      a;
    ngx_smtp_relay_conf_t  *rcf;

    rcf = d->relay->conf;

    if (d->report && due == 0
        && d->results[0].status > NGX_SMTP_RESULT_RELAYED)
    {
        ngx_log_error(NGX_LOG_WARN, d->relay->log, 0,
                      "report about %V could not be delivered: %V",
                      &d->queue_id, &d->results[0].text);
    }

    if (rcf->log_handler == NULL) {
        return;
    }

    ngx_memzero(&a, sizeof(ngx_smtp_attempt_t));
    ngx_memzero(count, sizeof(count));

    r = d->results;

    for (i = 0, n = 0; i < d->nresults; i++) {
        count[r[i].status]++;

        /* the worst one decides */

        if (r[i].status > r[n].status) {
            n = i;
        }
    }

    i = count[NGX_SMTP_RESULT_DELIVERED] + count[NGX_SMTP_RESULT_RELAYED];

    if (i == d->nresults) {
        a.outcome = NGX_SMTP_ATTEMPT_DELIVERED;

    } else if (i) {
        a.outcome = NGX_SMTP_ATTEMPT_PARTIAL;

    } else if (count[NGX_SMTP_RESULT_DEFERRED]) {
        a.outcome = NGX_SMTP_ATTEMPT_DEFERRED;

    } else if (count[NGX_SMTP_RESULT_FAILED]) {
        a.outcome = NGX_SMTP_ATTEMPT_FAILED;

    } else {
        a.outcome = NGX_SMTP_ATTEMPT_EXPIRED;
    }

    a.queue = d->route->conf;
    a.queue_id = d->queue_id;
    a.report = d->report ? d->report->kind : 0;
    a.envelope = d->envelope;
    a.results = r;
    a.nresults = d->nresults;
    a.code = r[n].code;
    a.reply = r[n].text;
    a.next_hop = d->route->conf->next_hop;
    a.size = d->report ? d->envelope->size : d->message->size;
    a.attempts = attempts;
    a.received = d->report ? d->report->created : d->message->received;
    a.due = due;
    a.duration = ngx_current_msec - d->started;

    if (d->conn) {
        a.peer = d->conn->peer->name;
        ngx_smtp_peer_tls_info(d->conn->peer, &a.tls_protocol, &a.tls_cipher);
    }

    rcf->log_handler(rcf->log_data, &a);
}


/*
 * The attempt is over: what is left of it is scheduled, or the message ends.
 */

static void
ngx_smtp_delivery_finish(ngx_smtp_delivery_t *d)
{
    time_t               due;
    ngx_uint_t           report;
    ngx_smtp_relay_t    *relay;
    ngx_smtp_report_t   *r;
    ngx_smtp_message_t  *m;

    m = d->message;
    r = d->report;
    due = d->due;
    relay = d->relay;
    report = (d->envelope != &d->reader->envelope);

    if (d->delayed && m->npending) {
        ngx_smtp_bounce_delay(d, "4.4.2 the connection was lost before it was "
                                 "tried");
    }

    if (ngx_smtp_delivery_free(d, 1)) {
        return;
    }

    if (r && due) {
        ngx_smtp_route_insert_report(relay, r, due);
        return;
    }

    if (m->npending == 0) {

        if (ngx_smtp_store_done(m, ngx_time()) == NGX_OK) {
            return;
        }

        /* a report is still to be delivered */

    } else if (!report) {
        ngx_smtp_route_insert(relay, m, due ? due : ngx_time()
                                                    + NGX_SMTP_RELAY_PAUSE);
    }

    if (m->fresh) {
        ngx_smtp_message_stale(m);
    }
}


void
ngx_smtp_delivery_drop(ngx_smtp_delivery_t *d, time_t due)
{
    ngx_smtp_relay_t    *relay;
    ngx_smtp_report_t   *r;
    ngx_smtp_message_t  *m;

    m = d->message;
    r = d->report;
    relay = d->relay;

    /* what is forgotten takes its wish along */

    if (ngx_smtp_delivery_free(d, due != -1) || due == -1) {
        return;
    }

    if (r) {
        ngx_smtp_route_insert_report(relay, r, due);

    } else {
        ngx_smtp_route_insert(relay, m, due);
    }
}


/*
 * Returns 1 when the message is taken care of: somebody waited for the end of
 * the attempt to remove it.
 */

static ngx_uint_t
ngx_smtp_delivery_free(ngx_smtp_delivery_t *d, ngx_uint_t grant)
{
    ngx_uint_t           gone;
    ngx_smtp_relay_t    *relay;
    ngx_smtp_reader_t   *reader;
    ngx_smtp_message_t  *m;

    m = d->message;
    relay = d->relay;
    reader = d->reader;

    m->data = d->home;
    m->busy = 0;

    if (d->report) {
        d->report->busy = 0;
    }

    if (d->conn) {
        d->conn->delivery = NULL;
    }

    d->route->expiring -= (d->expire || d->warn);

    ngx_queue_remove(&d->link);

    gone = 0;

    if (grant && m->wish) {
        gone = ngx_smtp_control_wish(relay, m, d->ready ? &reader->envelope
                                                        : NULL);
    }

    /* it does not touch the message */

    if (reader) {
        ngx_smtp_reader_close(reader);
    }

    if (!gone) {
        ngx_smtp_route_postponed(m);
    }

    ngx_smtp_relay_wake(relay);

    ngx_destroy_pool(d->pool);

    return gone;
}
