
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The schedule of a route: what goes into it, and what of it is due may begin
 * now.  Its site tells how many connections its next hop bears.
 *
 * A site that is dead suspends its queue: a message as probe after each
 * back-off, and messages that have expired are given up without a try.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"


/* started in one go; the rest waits for the events at hand */
#define NGX_SMTP_RELAY_BATCH     64

/* deliveries at a time that only give an expired message up, per queue */
#define NGX_SMTP_RELAY_EXPIRING  4

/* between two looks for expired messages while a site is dead, s */
#define NGX_SMTP_RELAY_PATROL    10

/* looks at messages of a dead site in a second, whatever wakes us: of a
   million each has its turn in a quarter of an hour */
#define NGX_SMTP_RELAY_LOOKS     1024


static time_t ngx_smtp_relay_key(ngx_smtp_relay_t *relay, time_t due);
static time_t ngx_smtp_route_expire(ngx_smtp_route_t *route, time_t wait);
static ngx_uint_t ngx_smtp_route_expired(ngx_smtp_route_t *route,
    ngx_rbtree_node_t *node);
static ngx_smtp_delivery_t *ngx_smtp_route_begin(ngx_smtp_route_t *route,
    ngx_rbtree_node_t *node, ngx_uint_t what);
static ngx_smtp_message_t *ngx_smtp_route_item(ngx_rbtree_node_t *node,
    ngx_smtp_report_t **report);


void
ngx_smtp_route_insert(ngx_smtp_relay_t *relay, ngx_smtp_message_t *m,
    time_t due)
{
    time_t             key;
    ngx_smtp_route_t  *route;

    route = ngx_smtp_route_home(m);

    if (route == NULL || m->scheduled || (m->hold && !m->wish)) {
        return;
    }

    key = ngx_smtp_relay_key(relay, due);

    if (m->wish && due <= ngx_time()) {

        /* it waits for no next hop: before all others */

        key = 0;
    }

    m->due_at = due;
    m->scheduled = 1;
    m->due.data = NGX_SMTP_DUE_MESSAGE;

    ngx_smtp_due_insert(&route->due, &m->due, key);

    ngx_smtp_relay_wake(relay);
}


void
ngx_smtp_route_insert_report(ngx_smtp_relay_t *relay, ngx_smtp_report_t *r,
    time_t due)
{
    ngx_smtp_route_t  *route;

    route = ngx_smtp_route_home(r->message);

    if (route == NULL || r->message->hold || r->scheduled) {
        return;
    }

    r->data = route->reports;
    r->due_at = due;
    r->scheduled = 1;
    r->due.data = NGX_SMTP_DUE_REPORT;

    ngx_smtp_due_insert(&route->reports->due, &r->due,
                        ngx_smtp_relay_key(relay, due));

    ngx_smtp_relay_wake(relay);
}


/* a time of the wall clock as it is now, on the clock of the schedules */

static time_t
ngx_smtp_relay_key(ngx_smtp_relay_t *relay, time_t due)
{
    return due - ngx_time() + ngx_smtp_relay_steady(relay);
}


void
ngx_smtp_route_remove(ngx_smtp_relay_t *relay, ngx_smtp_message_t *m)
{
    ngx_queue_t        *q;
    ngx_smtp_route_t   *route;
    ngx_smtp_report_t  *r;

    if (m->scheduled) {
        route = ngx_smtp_route_home(m);
        ngx_smtp_due_remove(&route->due, &m->due);
        m->scheduled = 0;
    }

    for (q = ngx_queue_head(&m->reports);
         q != ngx_queue_sentinel(&m->reports);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_smtp_report_t, link);

        if (r->scheduled) {
            route = r->data;
            ngx_smtp_due_remove(&route->due, &r->due);
            r->scheduled = 0;
        }
    }
}


/*
 * Starts what is due and allowed.  Returns how many seconds may pass before
 * there is something to do again; 0: go on after the events at hand.  What a
 * closing connection or a finished delivery allows needs no timer: they wake.
 */

time_t
ngx_smtp_route_run(ngx_smtp_route_t *route)
{
    time_t                due, until, now;
    ngx_int_t             rc;
    ngx_uint_t            n;
    ngx_queue_t          *q;
    ngx_smtp_conn_t      *conn;
    ngx_smtp_delivery_t  *d;

    for (n = 0; n < NGX_SMTP_RELAY_BATCH; n++) {

        if (ngx_smtp_due_next(&route->due, &due) != NGX_OK) {
            return NGX_SMTP_RELAY_LOOK;
        }

        now = ngx_smtp_relay_steady(route->relay);

        if (due > now) {
            return due - now;
        }

        if (!ngx_queue_empty(&route->idle)) {

            d = ngx_smtp_route_next(route);
            if (d == NULL) {
                continue;
            }

            /* the one that was used last: others may time out */

            q = ngx_queue_head(&route->idle);
            conn = ngx_queue_data(q, ngx_smtp_conn_t, idle_link);

            ngx_smtp_conn_use(conn, d);
            continue;
        }

        now = ngx_smtp_relay_seconds();

        rc = ngx_smtp_site_may_open(&route->site, now, &until);

        if (rc == NGX_AGAIN) {
            return NGX_SMTP_RELAY_LOOK;
        }

        if (rc == NGX_DECLINED) {
            return ngx_smtp_route_expire(route, until - now);
        }

        d = ngx_smtp_route_next(route);
        if (d == NULL) {
            continue;
        }

        if (ngx_smtp_conn_open(route, d) == NULL) {
            ngx_smtp_delivery_drop(d, ngx_time() + NGX_SMTP_RELAY_PAUSE);
            return NGX_SMTP_RELAY_PAUSE;
        }
    }

    return 0;
}


ngx_smtp_delivery_t *
ngx_smtp_route_next(ngx_smtp_route_t *route)
{
    ngx_uint_t            n;
    ngx_rbtree_node_t    *node;
    ngx_smtp_delivery_t  *d;

    if (!ngx_smtp_relay_active(route->relay)) {
        return NULL;
    }

    for (n = 0; n < NGX_SMTP_RELAY_BATCH; n++) {

        node = ngx_smtp_due_pop(&route->due,
                                ngx_smtp_relay_steady(route->relay));
        if (node == NULL) {
            return NULL;
        }

        d = ngx_smtp_route_begin(route, node, NGX_SMTP_DELIVERY_TRY);
        if (d) {
            return d;
        }
    }

    ngx_smtp_relay_wake(route->relay);

    return NULL;
}


/*
 * The site is dead: of the messages that are due those that have expired are
 * given up, and senders are told of a delay.  Others go behind all that are
 * due, so that everyone's turn comes, BATCH at a time and so many a second.
 * wait is the time till the next probe; returns when to look again.
 */

static time_t
ngx_smtp_route_expire(ngx_smtp_route_t *route, time_t wait)
{
    time_t               now;
    ngx_uint_t           n, what;
    ngx_rbtree_node_t   *node;
    ngx_smtp_report_t   *r;
    ngx_smtp_message_t  *m;

    now = ngx_smtp_relay_steady(route->relay);

    if (route->patrol != now) {
        route->patrol = now;
        route->looks = 0;
    }

    for (n = 0; n < NGX_SMTP_RELAY_BATCH; n++) {

        node = ngx_smtp_due_first(&route->due);

        if (node == NULL || route->expiring >= NGX_SMTP_RELAY_EXPIRING
            || ngx_smtp_due_at(node) > now)
        {
            return ngx_max(ngx_min(wait, NGX_SMTP_RELAY_PATROL), 1);
        }

        m = ngx_smtp_route_item(node, &r);

        /* wishes are in front of all others */

        if (route->looks == NGX_SMTP_RELAY_LOOKS && (r || !m->wish)) {
            return 1;
        }

        route->looks = ngx_min(route->looks + 1, NGX_SMTP_RELAY_LOOKS);

        ngx_smtp_due_remove(&route->due, node);

        if (r == NULL && m->wish) {
            what = NGX_SMTP_DELIVERY_WISH;

        } else if (ngx_smtp_route_expired(route, node)) {
            what = NGX_SMTP_DELIVERY_EXPIRE;

        } else if (r == NULL && ngx_smtp_bounce_delay_due(route, m)) {
            what = NGX_SMTP_DELIVERY_WARN;

        } else {
            ngx_smtp_due_insert(&route->due, node, now + 1);
            continue;
        }

        (void) ngx_smtp_route_begin(route, node, what);
    }

    return 0;
}


/*
 * Everything is tried once.  But a dead site is only probed, by some of what
 * waits for it: what would have been tried, too, at the longest interval, is
 * not worse off than those.
 */

static ngx_uint_t
ngx_smtp_route_expired(ngx_smtp_route_t *route, ngx_rbtree_node_t *node)
{
    time_t                dead, since;
    ngx_uint_t            attempts;
    ngx_smtp_report_t    *r;
    ngx_smtp_message_t   *m;
    ngx_smtp_schedule_t  *s;

    m = ngx_smtp_route_item(node, &r);
    s = &route->schedule;

    attempts = r ? r->attempts : m->attempts;
    since = r ? r->created : m->received;

    dead = ngx_smtp_site_dead(&route->site, ngx_smtp_relay_seconds());

    return (attempts || dead >= ngx_smtp_schedule_interval(s, s->nretry))
           && ngx_smtp_schedule_expired(s, since, attempts,
                                        ngx_smtp_relay_age_now(route->relay));
}


static ngx_smtp_delivery_t *
ngx_smtp_route_begin(ngx_smtp_route_t *route, ngx_rbtree_node_t *node,
    ngx_uint_t what)
{
    ngx_smtp_report_t   *r;
    ngx_smtp_message_t  *m;

    m = ngx_smtp_route_item(node, &r);

    if (r) {
        r->scheduled = 0;
        r->postponed = 0;

    } else {
        m->scheduled = 0;
        m->postponed = 0;
    }

    if (m->hold && (r || !m->wish)) {
        return NULL;
    }

    /* one attempt at a time; what comes second waits a little */

    if (m->busy || ngx_smtp_message_ready(m) != NGX_OK) {

        node->data = r ? NGX_SMTP_DUE_REPORT : NGX_SMTP_DUE_MESSAGE;

        if (r) {
            r->scheduled = 1;
            r->postponed = m->busy;

        } else {
            m->scheduled = 1;
            m->postponed = m->busy;
        }

        ngx_smtp_due_insert(&route->due, node,
                            ngx_smtp_relay_steady(route->relay) + 1);

        return NULL;
    }

    if (r && ngx_smtp_bounce_moot(r)) {
        ngx_smtp_store_reported(r, ngx_time());

        if (m->npending == 0) {
            (void) ngx_smtp_route_done(m, ngx_time());
        }

        return NULL;
    }

    if (r == NULL && m->wish) {
        (void) ngx_smtp_delivery_start(route, m, NULL, NGX_SMTP_DELIVERY_WISH);
        return NULL;
    }

    return ngx_smtp_delivery_start(route, m, r, what);
}


void
ngx_smtp_route_postponed(ngx_smtp_message_t *m)
{
    ngx_queue_t        *q;
    ngx_smtp_route_t   *route;
    ngx_smtp_report_t  *r;

    route = ngx_smtp_route_home(m);

    if (m->scheduled && m->postponed) {
        m->postponed = 0;
        ngx_smtp_due_remove(&route->due, &m->due);
        ngx_smtp_due_insert(&route->due, &m->due,
                            ngx_smtp_relay_steady(route->relay));
    }

    for (q = ngx_queue_head(&m->reports);
         q != ngx_queue_sentinel(&m->reports);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_smtp_report_t, link);

        if (r->scheduled && r->postponed) {
            route = r->data;
            r->postponed = 0;
            ngx_smtp_due_remove(&route->due, &r->due);
            ngx_smtp_due_insert(&route->due, &r->due,
                                ngx_smtp_relay_steady(route->relay));
        }
    }
}


static ngx_smtp_message_t *
ngx_smtp_route_item(ngx_rbtree_node_t *node, ngx_smtp_report_t **report)
{
    if (node->data == NGX_SMTP_DUE_REPORT) {
        *report = ngx_rbtree_data(node, ngx_smtp_report_t, due);
        return (*report)->message;
    }

    *report = NULL;

    return ngx_rbtree_data(node, ngx_smtp_message_t, due);
}
