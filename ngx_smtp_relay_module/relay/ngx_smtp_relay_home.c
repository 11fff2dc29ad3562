
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Which messages are on which route.  Each is on one at most, its home, from
 * when it is known until it ends, is forgotten, or is moved.  They are
 * counted: a route to another next hop goes when nothing is on it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"


ngx_smtp_route_t *
ngx_smtp_route_home(ngx_smtp_message_t *m)
{
    return m->busy ? ((ngx_smtp_delivery_t *) m->data)->home : m->data;
}


void
ngx_smtp_route_join(ngx_smtp_route_t *route, ngx_smtp_message_t *m)
{
    ngx_smtp_route_t  *old;

    old = ngx_smtp_route_home(m);

    if (old) {
        old->messages--;
    }

    if (route) {
        route->messages++;
    }

    if (m->busy) {
        ((ngx_smtp_delivery_t *) m->data)->home = route;

    } else {
        m->data = route;
    }
}


ngx_int_t
ngx_smtp_route_done(ngx_smtp_message_t *m, time_t now)
{
    ngx_int_t          rc;
    ngx_smtp_route_t  *route;

    route = ngx_smtp_route_home(m);

    rc = ngx_smtp_store_done(m, now);

    if (rc == NGX_OK && route) {
        route->messages--;
    }

    return rc;
}
