
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What became of the recipients of an attempt: the results are collected as
 * the verdicts come in, then decided, logged, recorded, and reported.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"


static ngx_uint_t ngx_smtp_delivery_surplus(ngx_smtp_delivery_t *d,
    ngx_smtp_verdict_t *v);
static ngx_uint_t ngx_smtp_delivery_unsecured(ngx_smtp_delivery_t *d,
    ngx_smtp_verdict_t *v);
static ngx_uint_t ngx_smtp_delivery_shorten(ngx_smtp_delivery_t *d,
    ngx_smtp_verdict_t *v);
static ngx_uint_t ngx_smtp_delivery_attempts(ngx_smtp_delivery_t *d);
static time_t ngx_smtp_delivery_due(ngx_smtp_delivery_t *d, time_t now,
    ngx_uint_t attempts);


void
ngx_smtp_delivery_result(ngx_smtp_delivery_t *d, ngx_uint_t rcpt,
    ngx_smtp_verdict_t *v)
{
    u_char             *p;
    size_t              len;
    ngx_uint_t          surplus;
    ngx_smtp_rcpt_t    *rcpts;
    ngx_smtp_result_t  *r;

    surplus = ngx_smtp_delivery_surplus(d, v);

    d->surplus[d->nresults] = surplus;
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
        r->status = (surplus || ngx_smtp_delivery_unsecured(d, v)
                     || ngx_smtp_delivery_shorten(d, v))
                    ? NGX_SMTP_RESULT_DEFERRED : NGX_SMTP_RESULT_FAILED;
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


/*
 * The peer has taken others, and says that this one is too many for one
 * transaction: by 452, or 552 as older hosts do (RFC 5321 section 4.5.3.1.10),
 * and with an enhanced code that says so, or none.
 */

static ngx_uint_t
ngx_smtp_delivery_surplus(ngx_smtp_delivery_t *d, ngx_smtp_verdict_t *v)
{
    if (v->local || v->stage != NGX_SMTP_CLIENT_ST_RCPT
        || (v->code != 452 && v->code != 552)
        || d->conn == NULL || d->conn->client.accepted == 0)
    {
        return 0;
    }

    return v->status.len == 0
           || (v->status.len == sizeof("4.5.3") - 1
               && ngx_strncmp(v->status.data + 1, ".5.3", 4) == 0);
}


/*
 * 530 may ask for TLS, which this connection would have, had its STARTTLS not
 * gone wrong: that is no word about the message.
 */

static ngx_uint_t
ngx_smtp_delivery_unsecured(ngx_smtp_delivery_t *d, ngx_smtp_verdict_t *v)
{
    ngx_smtp_client_t  *cl;

    if (v->local || v->code != 530 || d->conn == NULL) {
        return 0;
    }

    cl = &d->conn->client;

    return !cl->tls && (cl->caps.flags & NGX_SMTP_CAP_STARTTLS)
           && d->conn->route->conf->tls != NGX_SMTP_RELAY_TLS_OFF;
}


/*
 * A report that is too large with the whole original: its sender must hear of
 * the failure all the same.  Next time it has the header only.
 */

static ngx_uint_t
ngx_smtp_delivery_shorten(ngx_smtp_delivery_t *d, ngx_smtp_verdict_t *v)
{
    if (d->report == NULL || !d->full || v->code != 552) {
        return 0;
    }

    d->report->headers = 1;

    return 1;
}


/*
 * Each transaction that puts recipients back has delivered to others, so there
 * is an end.  Where none is delivered they are deferred with the rest; if the
 * peer hung up over them, the next attempt must not name as many again.  An
 * end of our making, or without an answer to the message, is no word of that.
 */

void
ngx_smtp_delivery_put_back(ngx_smtp_delivery_t *d, ngx_uint_t lost)
{
    ngx_uint_t        i, k, n, delivered;
    ngx_smtp_conn_t  *conn;

    conn = d->conn;
    delivered = 0;

    for (i = 0, n = 0; i < d->nresults; i++) {
        n += d->surplus[i];
        delivered |= (d->results[i].status <= NGX_SMTP_RESULT_RELAYED);
    }

    if (n == 0) {
        return;
    }

    d->limit = conn->client.accepted;

    if (lost && !d->unknown
        && (conn->hung_up || conn->client.verdict.code == 421))
    {
        d->route->limit = d->limit;
        d->route->limited = ngx_smtp_relay_seconds();
    }

    if (!delivered) {
        return;
    }

    /* in todo, those with a result come first */

    d->last = d->first + d->nresults - n;

    for (i = 0, k = 0, n = d->last; i < d->nresults; i++) {

        if (d->surplus[i]) {
            d->todo[n++] = d->results[i].rcpt;
            continue;
        }

        d->todo[d->first + k] = d->results[i].rcpt;
        d->results[k++] = d->results[i];
    }

    d->nresults = k;
}


void
ngx_smtp_delivery_record(ngx_smtp_delivery_t *d)
{
    time_t               now, due;
    ngx_str_t           *peer;
    ngx_uint_t           attempts;
    ngx_smtp_message_t  *m;

    m = d->message;
    now = ngx_time();

    attempts = ngx_smtp_delivery_attempts(d);

    peer = (d->conn && d->conn->name.len) ? &d->conn->name
                                          : &d->route->conf->next_hop;

    due = ngx_smtp_delivery_due(d, now, attempts);

    /* an answer that may still come is waited for by all that is left */

    if (due && (d->due == 0 || due < d->due || d->unknown)) {
        d->due = due;
    }

    ngx_smtp_delivery_log(d, due, attempts);

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
        ngx_smtp_store_results(m, d->results, d->nresults, peer, now, due,
                               d->counted);
        d->counted = 1;

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
 * The number of this attempt.  Transactions that follow each other, as there
 * are more recipients than one takes, are one attempt.
 */

static ngx_uint_t
ngx_smtp_delivery_attempts(ngx_smtp_delivery_t *d)
{
    if (d->report) {
        return d->report->attempts + 1;
    }

    return d->message->attempts + (d->counted ? 0 : 1);
}


/*
 * When what was deferred is tried again; what may not wait longer, or is given
 * up, becomes EXPIRED.  0: nothing is deferred.
 */

static time_t
ngx_smtp_delivery_due(ngx_smtp_delivery_t *d, time_t now, ngx_uint_t attempts)
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
        rc = ngx_smtp_schedule_next(s, d->report->created, attempts, clock,
                                    (uint32_t) ngx_random(), &due);

    } else {
        rc = ngx_smtp_schedule_next(s, d->message->received, attempts, clock,
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
