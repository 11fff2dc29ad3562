
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


static ngx_uint_t ngx_smtp_delivery_attempts(ngx_smtp_delivery_t *d);
static time_t ngx_smtp_delivery_due(ngx_smtp_delivery_t *d, time_t now,
    ngx_uint_t attempts);


void
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
