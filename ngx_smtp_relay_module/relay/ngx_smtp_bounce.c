
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Which reports are made, about whom, and to whom.  A report is an event of
 * the original message, not a message (ngx_smtp_report.c makes its text).
 *
 *   failure   final results that say so, NOTIFY permitting
 *   success   relayed to a peer without DSN, where NOTIFY asks for it
 *   delay     once for a message, of the recipients then still waiting
 *   double    to the postmaster, when a failure report has failed itself
 *
 * Nothing is ever reported to the null sender; a report of another kind that
 * fails is dropped.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_dsn.h"
#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"


static void ngx_smtp_bounce_kind(ngx_smtp_delivery_t *d, ngx_uint_t kind,
    ngx_smtp_result_t *results, ngx_uint_t n, ngx_str_t *peer);
static ngx_uint_t ngx_smtp_bounce_waiting(ngx_smtp_delivery_t *d,
    ngx_smtp_result_t *list, const char *text);


void
ngx_smtp_bounce_results(ngx_smtp_delivery_t *d, ngx_smtp_result_t *results,
    ngx_uint_t n, ngx_str_t *peer)
{
    if (d->envelope->sender.len == 0) {
        return;
    }

    ngx_smtp_bounce_kind(d, NGX_SMTP_REPORT_FAILURE, results, n, peer);
    ngx_smtp_bounce_kind(d, NGX_SMTP_REPORT_SUCCESS, results, n, peer);
}


/* one report about all results that ask for this kind */

static void
ngx_smtp_bounce_kind(ngx_smtp_delivery_t *d, ngx_uint_t kind,
    ngx_smtp_result_t *results, ngx_uint_t n, ngx_str_t *peer)
{
    time_t              now;
    ngx_uint_t          i, count;
    ngx_smtp_rcpt_t    *rcpts;
    ngx_smtp_result_t  *list;
    ngx_smtp_report_t  *r;

    rcpts = d->envelope->rcpts.elts;
    list = NULL;
    count = 0;

    for (i = 0; i < n; i++) {

        if (ngx_smtp_dsn_wanted(rcpts[results[i].rcpt].notify,
                                results[i].status)
            != kind)
        {
            continue;
        }

        if (list == NULL) {
            list = ngx_palloc(d->pool, n * sizeof(ngx_smtp_result_t));

            if (list == NULL) {

                /* better one for each than none */

                r = ngx_smtp_store_report(d->message, kind, &results[i], 1,
                                          peer, ngx_time());
                if (r) {
                    ngx_smtp_route_insert_report(d->relay, r, ngx_time());
                }

                continue;
            }
        }

        list[count++] = results[i];
    }

    if (count == 0) {
        return;
    }

    now = ngx_time();

    r = ngx_smtp_store_report(d->message, kind, list, count, peer, now);

    if (r) {
        ngx_smtp_route_insert_report(d->relay, r, now);
    }
}


ngx_uint_t
ngx_smtp_bounce_delay_due(ngx_smtp_route_t *route, ngx_smtp_message_t *m)
{
    time_t  age;

    age = route->conf->delay_warning;

    return age && !m->delay_told
           && ngx_smtp_schedule_older(&route->schedule, m->received,
                                      m->attempts,
                                      ngx_smtp_relay_age_now(route->relay),
                                      age);
}


void
ngx_smtp_bounce_deferred(ngx_smtp_delivery_t *d, ngx_str_t *peer)
{
    ngx_uint_t  i;

    for (i = 0; i < d->nresults; i++) {
        if (d->results[i].status == NGX_SMTP_RESULT_DEFERRED) {
            d->delayed[d->results[i].rcpt] = d->results[i];
        }
    }

    /* the connection may be gone when it is used */

    d->delayed_by.data = ngx_pstrdup(d->pool, peer);
    d->delayed_by.len = d->delayed_by.data ? peer->len : 0;
}


void
ngx_smtp_bounce_delay(ngx_smtp_delivery_t *d, const char *text)
{
    time_t               now;
    ngx_str_t           *peer;
    ngx_uint_t           n;
    ngx_smtp_result_t   *list;
    ngx_smtp_report_t   *r;
    ngx_smtp_message_t  *m;

    m = d->message;

    if (d->envelope->sender.len == 0) {
        m->delay_told = 1;
        return;
    }

    list = ngx_palloc(d->pool, m->npending * sizeof(ngx_smtp_result_t));
    if (list == NULL) {
        return;
    }

    n = ngx_smtp_bounce_waiting(d, list, text);

    if (n == 0) {

        /* those who do not want one now will not want one later */

        m->delay_told = 1;
        return;
    }

    now = ngx_time();
    peer = d->delayed_by.len ? &d->delayed_by : &d->route->conf->next_hop;

    r = ngx_smtp_store_report_delay(m, list, n, peer, now);

    if (r) {
        ngx_smtp_route_insert_report(d->relay, r, now);
    }
}


/* those not final yet that want to hear of a delay; returns how many */

static ngx_uint_t
ngx_smtp_bounce_waiting(ngx_smtp_delivery_t *d, ngx_smtp_result_t *list,
    const char *text)
{
    ngx_uint_t           i, n;
    ngx_smtp_rcpt_t     *rcpts;
    ngx_smtp_result_t   *r;
    ngx_smtp_message_t  *m;

    m = d->message;
    rcpts = d->envelope->rcpts.elts;
    n = 0;

    for (i = 0; i < d->envelope->rcpts.nelts && n < m->npending; i++) {

        if (ngx_smtp_message_final(m, i)
            || ngx_smtp_dsn_wanted(rcpts[i].notify, NGX_SMTP_RESULT_DEFERRED)
               != NGX_SMTP_DSN_DELAY)
        {
            continue;
        }

        r = &list[n++];

        if (d->delayed && d->delayed[i].status) {
            *r = d->delayed[i];
            continue;
        }

        r->rcpt = i;
        r->status = NGX_SMTP_RESULT_DEFERRED;
        r->code = 0;
        r->text.data = (u_char *) text;
        r->text.len = ngx_strlen(text);
    }

    return n;
}


ngx_int_t
ngx_smtp_bounce_double(ngx_smtp_delivery_t *d, ngx_str_t *peer, time_t now)
{
    if (d->report->kind != NGX_SMTP_REPORT_FAILURE
        || d->home->conf->postmaster.len == 0)
    {
        return NGX_DECLINED;
    }

    if (ngx_smtp_store_report_double(d->report, &d->results[0], peer, now)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_smtp_bounce_moot(ngx_smtp_report_t *r)
{
    ngx_uint_t         i;
    ngx_smtp_route_t  *route;

    if (r->kind == NGX_SMTP_REPORT_DOUBLE) {
        route = r->message->data;

        return route->conf->postmaster.len == 0;
    }

    if (r->kind != NGX_SMTP_REPORT_DELAY) {
        return 0;
    }

    for (i = 0; i < r->nresults; i++) {
        if (r->results[i].rcpt < r->message->nrcpts
            && !ngx_smtp_message_final(r->message, r->results[i].rcpt))
        {
            return 0;
        }
    }

    return 1;
}
