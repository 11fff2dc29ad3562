
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What is due, and who may deliver it.  Each queue of a worker has a schedule
 * of its messages and reports, a site that tells how many connections its next
 * hop bears, and connections.  One timer wakes for the earliest event of all
 * queues; it never keeps a leaving worker alive, that is the store's business.
 *
 *   message() -> schedule -> due -> idle connection, or a new one -> delivery
 *                   ^                                                  |
 *                   +------------- deferred ---------------------------+
 *
 * What begins when is decided in ngx_smtp_relay_route.c.  The relay lives in a
 * pool of its own, as long as the worker.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"


/* the wall clock was set if it is off by more, ms */
#define NGX_SMTP_RELAY_DRIFT     1000


static ngx_smtp_route_t *ngx_smtp_relay_route(ngx_smtp_relay_t *relay,
    ngx_smtp_queue_conf_t *conf);
static void ngx_smtp_relay_message(void *data, ngx_smtp_message_t *m);
static void ngx_smtp_relay_forget(void *data, ngx_smtp_message_t *m);
static void ngx_smtp_relay_timer_handler(ngx_event_t *ev);
static void ngx_smtp_relay_wake_handler(ngx_event_t *ev);
static void ngx_smtp_relay_run(ngx_smtp_relay_t *relay);
static void ngx_smtp_relay_clock(ngx_smtp_relay_t *relay);


ngx_smtp_relay_t *
ngx_smtp_relay_start(ngx_smtp_relay_conf_t *conf, ngx_log_t *log)
{
    ngx_pool_t              *pool;
    ngx_time_t              *tp;
    ngx_uint_t               i;
    ngx_smtp_relay_t        *relay;
    ngx_smtp_route_t        *route;
    ngx_smtp_queue_conf_t  **queues;

    ngx_smtp_peer_init_worker();

    pool = ngx_create_pool(4096, log);
    if (pool == NULL) {
        return NULL;
    }

    relay = ngx_pcalloc(pool, sizeof(ngx_smtp_relay_t));
    if (relay == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    relay->conf = conf;
    relay->pool = pool;
    relay->log = log;
    relay->nroutes = conf->queues.nelts;

    tp = ngx_timeofday();
    relay->epoch = (int64_t) tp->sec * 1000 + tp->msec
                   - (int64_t) ngx_current_msec;

    relay->routes = ngx_pcalloc(pool,
                                relay->nroutes * sizeof(ngx_smtp_route_t));
    if (relay->routes == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    ngx_queue_init(&relay->via);
    ngx_queue_init(&relay->conns);
    ngx_queue_init(&relay->deliveries);

    relay->dummy[3] = (void *) -1;

    relay->timer.handler = ngx_smtp_relay_timer_handler;
    relay->timer.data = relay->dummy;
    relay->timer.log = log;
    relay->timer.cancelable = 1;

    relay->wake.handler = ngx_smtp_relay_wake_handler;
    relay->wake.data = relay;
    relay->wake.log = log;

    queues = conf->queues.elts;

    for (i = 0; i < relay->nroutes; i++) {
        ngx_smtp_route_init(&relay->routes[i], relay, queues[i]);
    }

    for (i = 0; i < relay->nroutes; i++) {
        route = &relay->routes[i];

        route->reports = route;

        if (route->conf->report_queue) {
            route->reports = ngx_smtp_relay_route(relay,
                                                  route->conf->report_queue);
        }
    }

    return relay;
}


void
ngx_smtp_route_init(ngx_smtp_route_t *route, ngx_smtp_relay_t *relay,
    ngx_smtp_queue_conf_t *conf)
{
    ngx_smtp_site_conf_t  *sc;

    route->relay = relay;
    route->conf = conf;

    route->schedule.retry = conf->retry.elts;
    route->schedule.nretry = conf->retry.nelts;
    route->schedule.expire = conf->expire;

    ngx_smtp_due_init(&route->due);
    ngx_queue_init(&route->idle);

    sc = &route->site_conf;

    ngx_smtp_site_conf_default(sc);

    sc->max = conf->max_connections;
    sc->initial = ngx_min(sc->initial, sc->max);

    /* who asks for short retries does not want a long silence */

    sc->backoff_min = ngx_min(sc->backoff_min, route->schedule.retry[0]);
    sc->backoff_max = ngx_min(sc->backoff_max,
                          route->schedule.retry[route->schedule.nretry - 1]);

    ngx_smtp_site_init(&route->site, sc);
}


static ngx_smtp_route_t *
ngx_smtp_relay_route(ngx_smtp_relay_t *relay, ngx_smtp_queue_conf_t *conf)
{
    ngx_uint_t  i;

    for (i = 0; i < relay->nroutes; i++) {
        if (relay->routes[i].conf == conf) {
            return &relay->routes[i];
        }
    }

    return NULL;
}


ngx_int_t
ngx_smtp_relay_bind(ngx_smtp_relay_t *relay, ngx_smtp_store_conf_t *sc)
{
    ngx_str_t               *name;
    ngx_uint_t               i, n;
    ngx_smtp_route_t        *route;
    ngx_smtp_relay_store_t  *rs;

    rs = ngx_pcalloc(relay->pool, sizeof(ngx_smtp_relay_store_t));
    if (rs == NULL) {
        return NGX_ERROR;
    }

    rs->relay = relay;
    rs->nroutes = sc->queues.nelts;

    rs->routes = ngx_pcalloc(relay->pool,
                             (rs->nroutes + 1) * sizeof(ngx_smtp_route_t *));
    if (rs->routes == NULL) {
        return NGX_ERROR;
    }

    name = sc->queues.elts;

    for (n = 0; n < rs->nroutes; n++) {

        for (i = 0; i < relay->nroutes; i++) {
            route = &relay->routes[i];

            if (route->conf->store == sc
                && route->conf->name.len == name[n].len
                && ngx_strncmp(route->conf->name.data, name[n].data,
                               name[n].len)
                   == 0)
            {
                rs->routes[n] = route;
                break;
            }
        }
    }

    sc->handlers.message = ngx_smtp_relay_message;
    sc->handlers.forget = ngx_smtp_relay_forget;
    sc->data = rs;

    return NGX_OK;
}


/*
 * Until a delivery begins, m->data is the route of the message; then it is the
 * delivery, which knows the route.
 */

static void
ngx_smtp_relay_message(void *data, ngx_smtp_message_t *m)
{
    ngx_smtp_relay_store_t *rs = data;

    time_t              now;
    ngx_str_t           queue, hop;
    ngx_queue_t        *q;
    ngx_smtp_route_t   *route;
    ngx_smtp_report_t  *r;

    m->data = NULL;
    m->scheduled = 0;
    m->busy = 0;

    if (m->queue < rs->nroutes) {
        route = rs->routes[m->queue];

    } else {
        ngx_smtp_message_queue(m, &queue, &hop);
        route = ngx_smtp_route_find(rs, &queue, &hop, NGX_SMTP_ROUTE_FOUND);
    }

    if (route == NULL) {
        return;
    }

    ngx_smtp_route_join(route, m);

    now = ngx_time();

    if (m->npending == 0 && m->wish == NGX_SMTP_WISH_BOUNCE) {
        m->wish = NGX_SMTP_WISH_NONE;
    }

    if (m->wish) {
        ngx_smtp_route_insert(rs->relay, m, now);

    } else if (m->npending) {
        ngx_smtp_route_insert(rs->relay, m,
                              ngx_smtp_schedule_load(&route->schedule,
                                                     m->attempts, m->due_at,
                                                     now));
    }

    for (q = ngx_queue_head(&m->reports);
         q != ngx_queue_sentinel(&m->reports);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_smtp_report_t, link);

        r->scheduled = 0;
        r->busy = 0;

        ngx_smtp_route_insert_report(rs->relay, r,
                           ngx_smtp_schedule_load(&route->reports->schedule,
                                                  r->attempts, r->due_at,
                                                  now));
    }
}


static void
ngx_smtp_relay_forget(void *data, ngx_smtp_message_t *m)
{
    ngx_smtp_relay_store_t *rs = data;

    ngx_smtp_conn_t      *conn;
    ngx_smtp_delivery_t  *d;

    if (m->busy) {
        d = m->data;
        conn = d->conn;

        ngx_smtp_delivery_drop(d, -1);

        if (conn) {
            ngx_smtp_conn_detach(conn);
        }
    }

    ngx_smtp_route_remove(rs->relay, m);
    ngx_smtp_route_join(NULL, m);
}


/*
 * A wall clock that is adjusted little by little is followed, so that both
 * mean the same; one that was set is not.
 */

static void
ngx_smtp_relay_clock(ngx_smtp_relay_t *relay)
{
    int64_t      epoch, off;
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    epoch = (int64_t) tp->sec * 1000 + tp->msec - (int64_t) ngx_current_msec;
    off = epoch - relay->epoch;

    if (off >= -NGX_SMTP_RELAY_DRIFT && off <= NGX_SMTP_RELAY_DRIFT) {
        relay->epoch = epoch;
        return;
    }

    relay->behind = ngx_min(relay->behind, off);
}


void
ngx_smtp_relay_wake(ngx_smtp_relay_t *relay)
{
    if (!relay->stopped) {
        ngx_post_event(&relay->wake, &ngx_posted_events);
    }
}


ngx_uint_t
ngx_smtp_relay_active(ngx_smtp_relay_t *relay)
{
    if (relay->stopped || ngx_terminate) {
        return 0;
    }

    /* leaving is what nginx says: idle events may come before the watcher's */

    if (!relay->leaving && (ngx_exiting || ngx_quit)) {
        return 0;
    }

    return !relay->leaving
           || (ngx_msec_int_t) (ngx_current_msec - relay->quiet) >= 0;
}


static void
ngx_smtp_relay_timer_handler(ngx_event_t *ev)
{
    ngx_smtp_relay_t  *relay;

    relay = (ngx_smtp_relay_t *)
                ((u_char *) ev->data - offsetof(ngx_smtp_relay_t, dummy));

    ngx_smtp_relay_run(relay);
}


static void
ngx_smtp_relay_wake_handler(ngx_event_t *ev)
{
    ngx_smtp_relay_run(ev->data);
}


static void
ngx_smtp_relay_run(ngx_smtp_relay_t *relay)
{
    time_t        wait, next;
    ngx_msec_t    delay;
    ngx_uint_t    i;
    ngx_queue_t  *q;

    ngx_log_debug0(NGX_LOG_DEBUG_STREAM, relay->log, 0, "smtp relay run");

    if (relay->stopped) {
        return;
    }

    if (!ngx_smtp_relay_active(relay)) {
        if (relay->leaving) {
            delay = relay->quiet - ngx_current_msec;
            ngx_add_timer(&relay->timer, ngx_max(delay, 1));
        }

        return;
    }

    ngx_smtp_relay_clock(relay);

    next = NGX_SMTP_RELAY_LOOK;

    for (i = 0; i < relay->nroutes; i++) {
        wait = ngx_smtp_route_run(&relay->routes[i]);
        next = ngx_min(next, wait);
    }

    for (q = ngx_queue_head(&relay->via);
         q != ngx_queue_sentinel(&relay->via);
         q = ngx_queue_next(q))
    {
        wait = ngx_smtp_route_run(ngx_queue_data(q, ngx_smtp_route_t, link));
        next = ngx_min(next, wait);
    }

    if (next == 0) {
        ngx_post_event(&relay->wake, &ngx_posted_next_events);
        return;
    }

    ngx_add_timer(&relay->timer, (ngx_msec_t) next * 1000);
}


void
ngx_smtp_relay_leave(ngx_smtp_relay_t *relay)
{
    ngx_queue_t          *q, *next;
    ngx_smtp_conn_t      *conn;
    ngx_smtp_delivery_t  *d;

    if (relay->leaving) {
        return;
    }

    relay->leaving = 1;
    relay->quiet = ngx_current_msec + NGX_SMTP_RELAY_LEAVE;

    for (q = ngx_queue_head(&relay->deliveries);
         q != ngx_queue_sentinel(&relay->deliveries);
         q = next)
    {
        next = ngx_queue_next(q);
        d = ngx_queue_data(q, ngx_smtp_delivery_t, link);

        if (d->outstanding) {
            continue;
        }

        conn = d->conn;

        ngx_smtp_delivery_drop(d, d->report ? d->report->due_at
                                            : d->message->due_at);

        if (conn) {
            ngx_smtp_conn_close(conn, 0);
        }
    }

    for (q = ngx_queue_head(&relay->conns);
         q != ngx_queue_sentinel(&relay->conns);
         q = next)
    {
        next = ngx_queue_next(q);
        conn = ngx_queue_data(q, ngx_smtp_conn_t, link);

        if (conn->delivery == NULL) {
            ngx_smtp_conn_close(conn, conn->idle);
        }
    }

    ngx_smtp_relay_run(relay);
}


void
ngx_smtp_relay_stop(ngx_smtp_relay_t *relay)
{
    ngx_queue_t          *q;
    ngx_smtp_conn_t      *conn;
    ngx_smtp_delivery_t  *d;

    relay->stopped = 1;

    while (!ngx_queue_empty(&relay->deliveries)) {
        q = ngx_queue_head(&relay->deliveries);
        d = ngx_queue_data(q, ngx_smtp_delivery_t, link);

        ngx_smtp_delivery_drop(d, -1);
    }

    while (!ngx_queue_empty(&relay->conns)) {
        q = ngx_queue_head(&relay->conns);
        conn = ngx_queue_data(q, ngx_smtp_conn_t, link);

        ngx_smtp_conn_close(conn, conn->idle);
    }

    if (relay->timer.timer_set) {
        ngx_del_timer(&relay->timer);
    }

    if (relay->wake.posted) {
        ngx_delete_posted_event(&relay->wake);
    }
}
