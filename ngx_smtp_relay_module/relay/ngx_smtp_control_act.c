
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What an operator may do to a queued message.  The state in memory changes at
 * once; hold, release and the results of a removal are recorded as those of a
 * delivery are, a due time only when the segment is handed on.
 *
 * A message in an attempt is never taken away from it: the next hop may
 * have it already.  Hold keeps it from being tried again; bounce and delete
 * leave a wish, granted when the attempt is over for the recipients that have
 * no final result then.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_control.h"
#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"


#define NGX_SMTP_CONTROL_POOL  1024


static void ngx_smtp_control_schedule(ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m, time_t due);
static ngx_uint_t ngx_smtp_control_due(ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m, ngx_uint_t flush);
static ngx_uint_t ngx_smtp_control_hold(ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m);
static ngx_uint_t ngx_smtp_control_release(ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m);
static ngx_uint_t ngx_smtp_control_move(ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m, ngx_uint_t op, ngx_str_t *to);
static ngx_uint_t ngx_smtp_control_trying(ngx_smtp_message_t *m);
static ngx_uint_t ngx_smtp_control_remove(ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m, ngx_uint_t op, ngx_smtp_envelope_t *envelope,
    ngx_uint_t attempted);
static ngx_int_t ngx_smtp_control_give_up(ngx_smtp_delivery_t *d,
    ngx_uint_t op);


ngx_uint_t
ngx_smtp_control_act(ngx_smtp_relay_t *relay, ngx_smtp_message_t *m,
    ngx_uint_t op, ngx_str_t *to, ngx_smtp_envelope_t *envelope)
{
    switch (op) {

    case NGX_SMTP_CONTROL_FLUSH:
        return ngx_smtp_control_due(relay, m, 1);

    case NGX_SMTP_CONTROL_REQUEUE:
        return ngx_smtp_control_due(relay, m, 0);

    case NGX_SMTP_CONTROL_HOLD:
        return ngx_smtp_control_hold(relay, m);

    case NGX_SMTP_CONTROL_RELEASE:
        return ngx_smtp_control_release(relay, m);

    case NGX_SMTP_CONTROL_MOVE:
    case NGX_SMTP_CONTROL_NEXT_HOP:
        return ngx_smtp_control_move(relay, m, op, to);

    default:
        return ngx_smtp_control_remove(relay, m, op, envelope, 0);
    }
}


/* Puts back what is to be tried; a due time of 0 is the one it had. */

static void
ngx_smtp_control_schedule(ngx_smtp_relay_t *relay, ngx_smtp_message_t *m,
    time_t due)
{
    ngx_queue_t        *q;
    ngx_smtp_report_t  *r;

    if (m->npending && !ngx_smtp_control_trying(m)) {
        ngx_smtp_route_insert(relay, m, due ? due : m->due_at);
    }

    for (q = ngx_queue_head(&m->reports);
         q != ngx_queue_sentinel(&m->reports);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_smtp_report_t, link);

        if (!r->busy) {
            ngx_smtp_route_insert_report(relay, r, due ? due : r->due_at);
        }
    }
}


/*
 * Flush tries now whatever is known of the next hop, but lets held mail be;
 * requeue ends a hold, and the message takes its turn.
 */

static ngx_uint_t
ngx_smtp_control_due(ngx_smtp_relay_t *relay, ngx_smtp_message_t *m,
    ngx_uint_t flush)
{
    ngx_uint_t         held;
    ngx_smtp_route_t  *route;

    route = ngx_smtp_route_home(m);
    held = m->hold;

    if (route == NULL || (flush && held)) {
        return NGX_SMTP_CONTROL_REFUSED;
    }

    if (held) {
        ngx_smtp_store_hold(m, 0, ngx_time());
    }

    if (flush) {
        ngx_smtp_site_retry(&route->site, ngx_smtp_relay_seconds());
    }

    /*
     * It is being tried, or only a report of it is left, which is.  What a
     * hold took out of the schedule is not.
     */

    if (!held
        && (ngx_smtp_control_trying(m) || (m->busy && m->npending == 0)))
    {
        return NGX_SMTP_CONTROL_UNCHANGED;
    }

    ngx_smtp_route_remove(relay, m);
    ngx_smtp_control_schedule(relay, m, ngx_time());
    ngx_smtp_relay_wake(relay);

    return NGX_SMTP_CONTROL_DONE;
}


static ngx_uint_t
ngx_smtp_control_hold(ngx_smtp_relay_t *relay, ngx_smtp_message_t *m)
{
    if (m->hold) {
        return NGX_SMTP_CONTROL_UNCHANGED;
    }

    ngx_smtp_store_hold(m, 1, ngx_time());
    ngx_smtp_route_remove(relay, m);

    return m->busy ? NGX_SMTP_CONTROL_PENDING : NGX_SMTP_CONTROL_DONE;
}


static ngx_uint_t
ngx_smtp_control_release(ngx_smtp_relay_t *relay, ngx_smtp_message_t *m)
{
    if (!m->hold) {
        return NGX_SMTP_CONTROL_UNCHANGED;
    }

    ngx_smtp_store_hold(m, 0, ngx_time());

    if (ngx_smtp_route_home(m)) {
        ngx_smtp_control_schedule(relay, m, 0);
    }

    return NGX_SMTP_CONTROL_DONE;
}


/*
 * Another queue, with its next hop; or another next hop, "-" being that of the
 * queue.  It is due there at once: where it was is why it is moved.
 */

static ngx_uint_t
ngx_smtp_control_move(ngx_smtp_relay_t *relay, ngx_smtp_message_t *m,
    ngx_uint_t op, ngx_str_t *to)
{
    ngx_int_t          rc;
    ngx_str_t          queue, hop, old_queue, old_hop;
    ngx_smtp_route_t  *route;

    ngx_smtp_message_queue(m, &old_queue, &old_hop);

    queue = old_queue;
    ngx_str_null(&hop);

    if (op == NGX_SMTP_CONTROL_MOVE) {
        queue = *to;

    } else if (to->len != 1 || to->data[0] != '-') {
        hop = *to;
    }

    if (queue.len == old_queue.len && hop.len == old_hop.len
        && ngx_memcmp(queue.data, old_queue.data, queue.len) == 0
        && ngx_memcmp(hop.data, old_hop.data, hop.len) == 0)
    {
        return NGX_SMTP_CONTROL_UNCHANGED;
    }

    route = ngx_smtp_route_find(ngx_smtp_message_data(m), &queue, &hop,
                                NGX_SMTP_ROUTE_GIVEN);

    if (route == NULL) {
        return NGX_SMTP_CONTROL_REFUSED;
    }

    ngx_smtp_route_remove(relay, m);

    rc = ngx_smtp_store_move(m, &queue, &hop, ngx_time());

    if (rc != NGX_OK) {
        ngx_smtp_control_schedule(relay, m, 0);

        return (rc == NGX_DECLINED) ? NGX_SMTP_CONTROL_REFUSED
                                    : NGX_SMTP_CONTROL_AGAIN;
    }

    ngx_smtp_route_join(route, m);

    ngx_smtp_control_schedule(relay, m, ngx_time());
    ngx_smtp_relay_wake(relay);

    return ngx_smtp_control_trying(m) ? NGX_SMTP_CONTROL_PENDING
                                      : NGX_SMTP_CONTROL_DONE;
}


/* Is an attempt made for the message itself, and not for a report of it? */

static ngx_uint_t
ngx_smtp_control_trying(ngx_smtp_message_t *m)
{
    return m->busy && ((ngx_smtp_delivery_t *) m->data)->report == NULL;
}


static ngx_uint_t
ngx_smtp_control_remove(ngx_smtp_relay_t *relay, ngx_smtp_message_t *m,
    ngx_uint_t op, ngx_smtp_envelope_t *envelope, ngx_uint_t attempted)
{
    u_char               *p, id[NGX_SMTP_QUEUE_ID_LEN];
    ngx_int_t             rc;
    ngx_uint_t            pending;
    ngx_pool_t           *pool;
    ngx_smtp_delivery_t  *d;

    /* without a queue nobody knows how to send the report */

    if (op == NGX_SMTP_CONTROL_BOUNCE
        && (m->npending == 0 || ngx_smtp_route_home(m) == NULL))
    {
        return m->npending ? NGX_SMTP_CONTROL_REFUSED
                           : NGX_SMTP_CONTROL_UNCHANGED;
    }

    if (m->busy) {
        ngx_smtp_store_wish(m, (op == NGX_SMTP_CONTROL_BOUNCE)
                               ? NGX_SMTP_WISH_BOUNCE
                               : NGX_SMTP_WISH_DELETE, ngx_time());
        return NGX_SMTP_CONTROL_PENDING;
    }

    /* what comes right after an attempt is recorded as its results are */

    if ((!attempted && ngx_smtp_message_ready(m) != NGX_OK)
        || (op == NGX_SMTP_CONTROL_BOUNCE && envelope == NULL))
    {
        return NGX_SMTP_CONTROL_AGAIN;
    }

    pool = ngx_create_pool(NGX_SMTP_CONTROL_POOL, relay->log);
    if (pool == NULL) {
        return NGX_SMTP_CONTROL_AGAIN;
    }

    /* an attempt that was none: for the log and the report */

    d = ngx_pcalloc(pool, sizeof(ngx_smtp_delivery_t));

    if (d == NULL) {
        ngx_destroy_pool(pool);
        return NGX_SMTP_CONTROL_AGAIN;
    }

    p = ngx_smtp_message_id(m, id);
    pending = m->npending;

    d->pool = pool;
    d->relay = relay;
    d->route = m->data;
    d->home = m->data;
    d->message = m;
    d->envelope = envelope;
    d->started = ngx_current_msec;
    d->queue_id.data = id;
    d->queue_id.len = p - id;

    rc = ngx_smtp_control_give_up(d, op);

    ngx_destroy_pool(pool);

    if (rc != NGX_OK) {
        return NGX_SMTP_CONTROL_AGAIN;
    }

    ngx_log_error(NGX_LOG_NOTICE, relay->log, 0,
                  "message %*s was %s by an operator, %ui recipients were "
                  "left", (size_t) (p - id), id,
                  (op == NGX_SMTP_CONTROL_BOUNCE) ? "bounced" : "deleted",
                  pending);

    return NGX_SMTP_CONTROL_DONE;
}


static ngx_int_t
ngx_smtp_control_give_up(ngx_smtp_delivery_t *d, ngx_uint_t op)
{
    time_t               now;
    ngx_str_t            text, peer;
    ngx_uint_t           i, n;
    ngx_queue_t         *q;
    ngx_smtp_result_t   *results;
    ngx_smtp_message_t  *m;

    m = d->message;
    now = ngx_time();
    n = 0;

    ngx_str_null(&peer);

    if (op == NGX_SMTP_CONTROL_BOUNCE) {
        ngx_str_set(&text, "5.7.1 returned to the sender by an operator");

    } else {
        ngx_str_set(&text, "5.7.1 deleted by an operator, not reported");
    }

    results = ngx_pcalloc(d->pool, (m->npending + 1)
                                   * sizeof(ngx_smtp_result_t));
    if (results == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < m->nrcpts && n < m->npending; i++) {

        if (!ngx_smtp_message_final(m, i)) {
            results[n].rcpt = i;
            results[n].status = NGX_SMTP_RESULT_FAILED;
            results[n++].text = text;
        }
    }

    ngx_smtp_route_remove(d->relay, m);

    if (n) {
        d->results = results;
        d->nresults = n;

        if (d->envelope && d->route) {
            ngx_smtp_delivery_log(d, 0, m->attempts + 1);
        }

        ngx_smtp_store_results(m, results, n, &peer, now, 0, 0);
    }

    if (op == NGX_SMTP_CONTROL_BOUNCE) {

        /* a hold would keep the report as well */

        ngx_smtp_store_hold(m, 0, now);
        ngx_smtp_bounce_results(d, results, n, &peer);

        /* those of earlier results, too */

        ngx_smtp_control_schedule(d->relay, m, 0);

    } else {
        while (!ngx_queue_empty(&m->reports)) {
            q = ngx_queue_head(&m->reports);
            ngx_smtp_store_reported(ngx_queue_data(q, ngx_smtp_report_t, link),
                                    now);
        }
    }

    (void) ngx_smtp_route_done(m, now);

    return NGX_OK;
}


ngx_uint_t
ngx_smtp_control_wish(ngx_smtp_relay_t *relay, ngx_smtp_message_t *m,
    ngx_smtp_envelope_t *envelope)
{
    ngx_uint_t  op, rc, wish;

    wish = m->wish;
    op = (wish == NGX_SMTP_WISH_BOUNCE) ? NGX_SMTP_CONTROL_BOUNCE
                                        : NGX_SMTP_CONTROL_DELETE;

    /* the results that follow are recorded, and leave nothing to wish for */

    m->wish = NGX_SMTP_WISH_NONE;

    rc = ngx_smtp_control_remove(relay, m, op, envelope, 1);

    if (rc == NGX_SMTP_CONTROL_AGAIN) {
        m->wish = wish;
    }

    return rc == NGX_SMTP_CONTROL_DONE;
}
