
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Which route a message has: that of its queue, or, where an operator has
 * named another next hop, a route of its own for this queue and next hop, with
 * everything else as the queue has it.  Such routes are made when the first
 * message needs them.  Their number is bounded: when there are too many, those
 * that nothing is on any more go.  Until then they are kept, as what is known
 * of a host is worth something.
 *
 * A next hop is known if it is written like one of a queue, is the name of an
 * upstream{}, or an address with port, or unix:path.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"


#define NGX_SMTP_RELAY_VIA_POOL  1024


static ngx_smtp_route_t *ngx_smtp_route_via(ngx_smtp_relay_t *relay,
    ngx_smtp_route_t *base, ngx_str_t *hop, ngx_uint_t max);
static void ngx_smtp_route_sweep(ngx_smtp_relay_t *relay);
static void ngx_smtp_route_free(ngx_smtp_route_t *route);
static ngx_int_t ngx_smtp_route_next_hop(ngx_smtp_relay_t *relay,
    ngx_smtp_route_t *route, ngx_pool_t *pool);
static ngx_stream_upstream_srv_conf_t *ngx_smtp_route_upstream(
    ngx_smtp_relay_t *relay, ngx_str_t *hop);


ngx_smtp_route_t *
ngx_smtp_route_find(ngx_smtp_relay_store_t *rs, ngx_str_t *queue,
    ngx_str_t *hop, ngx_uint_t max)
{
    ngx_uint_t         i;
    ngx_smtp_route_t  *route;

    for (i = 0; i < rs->nroutes; i++) {

        route = rs->routes[i];

        if (route && route->conf->name.len == queue->len
            && ngx_memcmp(route->conf->name.data, queue->data, queue->len)
               == 0)
        {
            return hop->len ? ngx_smtp_route_via(rs->relay, route, hop, max)
                            : route;
        }
    }

    return NULL;
}


static ngx_smtp_route_t *
ngx_smtp_route_via(ngx_smtp_relay_t *relay, ngx_smtp_route_t *base,
    ngx_str_t *hop, ngx_uint_t max)
{
    ngx_pool_t        *pool;
    ngx_queue_t       *q;
    ngx_smtp_route_t  *route;

    for (q = ngx_queue_head(&relay->via);
         q != ngx_queue_sentinel(&relay->via);
         q = ngx_queue_next(q))
    {
        route = ngx_queue_data(q, ngx_smtp_route_t, link);

        if (route->base == base && route->conf->next_hop.len == hop->len
            && ngx_memcmp(route->conf->next_hop.data, hop->data, hop->len)
               == 0)
        {
            return route;
        }

    }

    if (relay->nvia >= max) {
        ngx_smtp_route_sweep(relay);
    }

    if (relay->nvia >= max) {
        ngx_log_error(NGX_LOG_ERR, relay->log, 0,
                      "queued messages were given %ui different next hops, "
                      "which is as many as can be; wait until some of them "
                      "are delivered", relay->nvia);
        return NULL;
    }

    pool = ngx_create_pool(NGX_SMTP_RELAY_VIA_POOL, relay->log);
    if (pool == NULL) {
        return NULL;
    }

    route = ngx_pcalloc(pool, sizeof(ngx_smtp_route_t)
                              + sizeof(ngx_smtp_queue_conf_t));
    if (route == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    route->conf = (ngx_smtp_queue_conf_t *) (route + 1);

    *route->conf = *base->conf;
    route->conf->next_hop.len = hop->len;
    route->conf->next_hop.data = ngx_pstrdup(pool, hop);

    if (route->conf->next_hop.data == NULL
        || ngx_smtp_route_next_hop(relay, route, pool) != NGX_OK)
    {
        ngx_destroy_pool(pool);
        return NULL;
    }

    ngx_smtp_route_init(route, relay, route->conf);

    route->pool = pool;
    route->base = base;
    route->reports = base->reports;

    ngx_queue_insert_tail(&relay->via, &route->link);
    relay->nvia++;

    return route;
}


/*
 * Of a route that no message is on an attempt may be left, which was begun
 * before the message was moved, and connections.
 */

static void
ngx_smtp_route_sweep(ngx_smtp_relay_t *relay)
{
    ngx_queue_t          *q, *next;
    ngx_smtp_conn_t      *conn;
    ngx_smtp_route_t     *route;
    ngx_smtp_delivery_t  *d;

    for (q = ngx_queue_head(&relay->via);
         q != ngx_queue_sentinel(&relay->via);
         q = ngx_queue_next(q))
    {
        route = ngx_queue_data(q, ngx_smtp_route_t, link);
        route->used = (route->messages != 0);
    }

    for (q = ngx_queue_head(&relay->deliveries);
         q != ngx_queue_sentinel(&relay->deliveries);
         q = ngx_queue_next(q))
    {
        d = ngx_queue_data(q, ngx_smtp_delivery_t, link);
        d->route->used = 1;
    }

    for (q = ngx_queue_head(&relay->conns);
         q != ngx_queue_sentinel(&relay->conns);
         q = ngx_queue_next(q))
    {
        conn = ngx_queue_data(q, ngx_smtp_conn_t, link);

        if (!conn->idle) {
            conn->route->used = 1;
        }
    }

    for (q = ngx_queue_head(&relay->via);
         q != ngx_queue_sentinel(&relay->via);
         q = next)
    {
        next = ngx_queue_next(q);
        route = ngx_queue_data(q, ngx_smtp_route_t, link);

        if (!route->used) {
            ngx_smtp_route_free(route);
        }
    }
}


static void
ngx_smtp_route_free(ngx_smtp_route_t *route)
{
    ngx_queue_t       *q;
    ngx_smtp_conn_t   *conn;
    ngx_smtp_relay_t  *relay;

    relay = route->relay;

    while (!ngx_queue_empty(&route->idle)) {
        q = ngx_queue_head(&route->idle);
        conn = ngx_queue_data(q, ngx_smtp_conn_t, idle_link);

        ngx_smtp_conn_close(conn, 1);
    }

    ngx_queue_remove(&route->link);
    relay->nvia--;

    ngx_destroy_pool(route->pool);
}


static ngx_int_t
ngx_smtp_route_next_hop(ngx_smtp_relay_t *relay, ngx_smtp_route_t *route,
    ngx_pool_t *pool)
{
    ngx_url_t               u;
    ngx_smtp_queue_conf_t  *qcf;

    qcf = route->conf;

    qcf->upstream = ngx_smtp_route_upstream(relay, &qcf->next_hop);

    if (qcf->upstream) {
        return NGX_OK;
    }

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = qcf->next_hop;
    u.no_resolve = 1;

    if (ngx_parse_url(pool, &u) != NGX_OK || u.naddrs != 1
        || u.uri.len || (u.no_port && u.family != AF_UNIX)
        || (u.family != AF_UNIX && ngx_inet_get_port(u.addrs[0].sockaddr) == 0)
        || ngx_inet_wildcard(u.addrs[0].sockaddr))
    {
        return NGX_DECLINED;
    }

    route->address = u.addrs;

    return NGX_OK;
}


static ngx_stream_upstream_srv_conf_t *
ngx_smtp_route_upstream(ngx_smtp_relay_t *relay, ngx_str_t *hop)
{
    ngx_uint_t                        i;
    ngx_smtp_queue_conf_t            *qcf;
    ngx_stream_upstream_srv_conf_t  **uscf;
    ngx_stream_upstream_main_conf_t  *umcf;

    for (i = 0; i < relay->nroutes; i++) {
        qcf = relay->routes[i].conf;

        if (qcf->next_hop.len == hop->len
            && ngx_memcmp(qcf->next_hop.data, hop->data, hop->len) == 0)
        {
            return qcf->upstream;
        }
    }

    umcf = relay->conf->main_conf[ngx_stream_upstream_module.ctx_index];

    if (umcf == NULL) {
        return NULL;
    }

    uscf = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        /* those without a block were made for somebody's host:port */

        if (uscf[i]->srv_conf && uscf[i]->host.len == hop->len
            && ngx_strncasecmp(uscf[i]->host.data, hop->data, hop->len) == 0)
        {
            return uscf[i];
        }
    }

    return NULL;
}
