
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * One attempt: reads the message back, is a transaction or several on a
 * connection (the content: ngx_smtp_delivery_body.c), has what became of each
 * recipient recorded (ngx_smtp_delivery_result.c), and schedules what is left.
 * Lives in its own pool from start to done, failed or drop.
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


#define NGX_SMTP_DELIVERY_POOL  2048


static ngx_int_t ngx_smtp_delivery_opened(ngx_smtp_delivery_t *d);
static ngx_int_t ngx_smtp_delivery_todo(ngx_smtp_delivery_t *d);
static ngx_int_t ngx_smtp_delivery_scan(ngx_smtp_delivery_t *d);
static void ngx_smtp_delivery_expire(ngx_smtp_delivery_t *d);
static void ngx_smtp_delivery_read_handler(ngx_smtp_reader_t *r,
    ngx_int_t rc);
static void ngx_smtp_delivery_verdict(void *data, ngx_uint_t i,
    ngx_smtp_verdict_t *v);
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

    d->utf8 = d->envelope->smtputf8;

    if (d->utf8 && d->report == NULL && !d->expire && !d->warn) {
        rc = ngx_smtp_delivery_scan(d);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (ngx_smtp_delivery_todo(d) != NGX_OK) {
        return NGX_ERROR;
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
    d->surplus = ngx_pcalloc(d->pool, n);

    if (d->todo == NULL || d->results == NULL || d->tx.rcpts == NULL
        || d->tx.state == NULL || d->surplus == NULL)
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
 * engine looks at the addresses).  NGX_OK; NGX_AGAIN: the next slice is on its
 * way; NGX_ERROR.
 */

static ngx_int_t
ngx_smtp_delivery_scan(ngx_smtp_delivery_t *d)
{
    ngx_int_t           rc;
    ngx_str_t           slice;
    ngx_smtp_header_t  *h;

    h = d->header;

    if (h == NULL) {
        h = ngx_palloc(d->pool, sizeof(ngx_smtp_header_t));
        if (h == NULL) {
            return NGX_ERROR;
        }

        ngx_smtp_header_init(h, 0, 0);

        d->header = h;
        d->begun = 1;
    }

    for ( ;; ) {
        rc = ngx_smtp_reader_next(d->reader, &slice);

        if (rc == NGX_DONE) {
            break;
        }

        if (rc == NGX_AGAIN) {
            d->reading = 1;
        }

        if (rc != NGX_OK) {
            return rc;
        }

        if (ngx_smtp_header_scan(h, slice.data, slice.len) != NGX_AGAIN
            || h->header_8bit)
        {
            break;
        }
    }

    d->utf8 = h->header_8bit;
    d->header = NULL;

    return NGX_OK;
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
        ngx_smtp_bounce_delay(d, "4.4.1 no answer from the next hop");

        /* once told it is due as before; else not at once again */

        wait = d->message->delay_told
               ? 0 : ngx_smtp_schedule_interval(&d->route->schedule,
                                                d->message->attempts);

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


ngx_int_t
ngx_smtp_delivery_done(ngx_smtp_delivery_t *d, ngx_uint_t lost)
{
    if (d->nresults) {
        ngx_smtp_delivery_put_back(d, lost);
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

        if (ngx_smtp_route_done(m, ngx_time()) == NGX_OK) {
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
