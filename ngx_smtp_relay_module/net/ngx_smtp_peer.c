
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Outbound connections.  A handler call is always the last thing an event
 * handler does, since the caller may close the peer in it.  Calls of the
 * caller never lead to a handler call from inside: what is known at once is
 * told by a posted event.
 *
 * ngx_smtp_peer.c         connecting, servers of an upstream{}, closing
 * ngx_smtp_peer_io.c      input and output
 * ngx_smtp_peer_tls.c     TLS
 *
 * A peer has its own pool.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>
#include <ngx_stream.h>

#include "ngx_smtp_eval.h"
#include "ngx_smtp_peer.h"
#include "ngx_smtp_peer_private.h"


#define NGX_SMTP_PEER_POOL  (NGX_SMTP_PEER_INPUT + 2048)


static void ngx_smtp_peer_try(ngx_smtp_peer_t *p);
static ngx_int_t ngx_smtp_peer_opened(ngx_smtp_peer_t *p);
static void ngx_smtp_peer_connect_handler(ngx_event_t *ev);
static ngx_err_t ngx_smtp_peer_test_connect(ngx_connection_t *c);
static void ngx_smtp_peer_connected(ngx_smtp_peer_t *p);
static void ngx_smtp_peer_release(ngx_smtp_peer_t *p, ngx_uint_t state);
static void ngx_smtp_peer_disconnect(ngx_smtp_peer_t *p);
static void ngx_smtp_peer_posted_handler(ngx_event_t *ev);
static u_char *ngx_smtp_peer_log_error(ngx_log_t *log, u_char *buf,
    size_t len);


static ngx_queue_t  ngx_smtp_peers;


void
ngx_smtp_peer_init_worker(void)
{
    ngx_queue_init(&ngx_smtp_peers);
}


void
ngx_smtp_peer_close_all(void)
{
    ngx_queue_t      *q;
    ngx_smtp_peer_t  *p;

    if (ngx_smtp_peers.next == NULL) {
        return;
    }

    while (!ngx_queue_empty(&ngx_smtp_peers)) {
        q = ngx_queue_head(&ngx_smtp_peers);
        p = ngx_queue_data(q, ngx_smtp_peer_t, link);

        ngx_smtp_peer_close(p, 0);
    }
}


ngx_smtp_peer_t *
ngx_smtp_peer_create(ngx_log_t *log, ngx_msec_t send_timeout,
    ngx_smtp_peer_pt handler, void *data)
{
    ngx_pool_t       *pool;
    ngx_smtp_peer_t  *p;

    pool = ngx_create_pool(NGX_SMTP_PEER_POOL, log);
    if (pool == NULL) {
        return NULL;
    }

    p = ngx_pcalloc(pool, sizeof(ngx_smtp_peer_t));
    if (p == NULL) {
        goto failed;
    }

    p->in.start = ngx_pnalloc(pool, NGX_SMTP_PEER_INPUT);
    if (p->in.start == NULL) {
        goto failed;
    }

    p->in.pos = p->in.start;
    p->in.last = p->in.start;
    p->in.end = p->in.start + NGX_SMTP_PEER_INPUT;

    p->pool = pool;
    p->handler = handler;
    p->data = data;
    p->send_timeout = send_timeout;

    p->log = *log;
    p->log.handler = ngx_smtp_peer_log_error;
    p->log.data = p;
    p->log.action = "connecting to next hop";

    pool->log = &p->log;

    p->event.handler = ngx_smtp_peer_posted_handler;
    p->event.data = p;
    p->event.log = &p->log;

    ngx_queue_insert_tail(&ngx_smtp_peers, &p->link);

    return p;

failed:

    ngx_destroy_pool(pool);

    return NULL;
}


void
ngx_smtp_peer_connect(ngx_smtp_peer_t *p, struct sockaddr *sockaddr,
    socklen_t socklen, ngx_str_t *name, ngx_addr_t *local, ngx_msec_t timeout)
{
    ngx_peer_connection_t  *pc;

    pc = &p->own;

    ngx_memzero(pc, sizeof(ngx_peer_connection_t));

    p->eval = NULL;
    p->pc = pc;
    p->local = local;
    p->connect_timeout = timeout;

    if (sockaddr != &p->address.sockaddr) {
        ngx_memcpy(&p->address, sockaddr,
                   ngx_min(socklen, (socklen_t) sizeof(ngx_sockaddr_t)));
    }

    p->sockaddr = &p->address.sockaddr;
    p->socklen = socklen;

    if (name != &p->name) {
        p->name.len = name->len;
        p->name.data = ngx_pstrdup(p->pool, name);
        if (p->name.data == NULL) {
            ngx_str_null(&p->name);
            ngx_smtp_peer_post(p, NGX_SMTP_PEER_FAILED, NGX_SMTP_PEER_ERROR);
            return;
        }
    }

    pc->sockaddr = p->sockaddr;
    pc->socklen = socklen;
    pc->name = &p->name;
    pc->get = ngx_event_get_peer;
    pc->type = SOCK_STREAM;
    pc->log = &p->log;
    pc->log_error = NGX_ERROR_ERR;
    pc->tries = 1;

    ngx_smtp_peer_try(p);
}


void
ngx_smtp_peer_connect_upstream(ngx_smtp_peer_t *p, ngx_stream_session_t *s,
    ngx_stream_upstream_srv_conf_t *uscf, ngx_addr_t *local,
    ngx_msec_t timeout)
{
    p->eval = s;
    p->local = local;
    p->connect_timeout = timeout;

    if (ngx_smtp_eval_upstream(s, uscf) != NGX_OK) {
        p->eval = NULL;
        ngx_smtp_peer_post(p, NGX_SMTP_PEER_FAILED, NGX_SMTP_PEER_ERROR);
        return;
    }

    p->pc = &s->upstream->peer;
    p->pc->log = &p->log;

    ngx_smtp_peer_try(p);
}


ngx_int_t
ngx_smtp_peer_next(ngx_smtp_peer_t *p)
{
    ngx_smtp_peer_disconnect(p);
    ngx_smtp_peer_release(p, NGX_PEER_FAILED);

    if (p->eval == NULL || p->pc->tries == 0) {
        return NGX_DECLINED;
    }

    ngx_smtp_peer_try(p);

    return NGX_AGAIN;
}


void
ngx_smtp_peer_reconnect(ngx_smtp_peer_t *p)
{
    ngx_int_t               rc;
    ngx_peer_connection_t   pc;

    ngx_smtp_peer_disconnect(p);

    if (p->eval == NULL) {
        ngx_smtp_peer_connect(p, p->sockaddr, p->socklen, &p->name, p->local,
                              p->connect_timeout);
        return;
    }

    /* the server stays picked: only the socket is a new one */

    ngx_memzero(&pc, sizeof(ngx_peer_connection_t));

    pc.sockaddr = p->sockaddr;
    pc.socklen = p->socklen;
    pc.name = &p->name;
    pc.get = ngx_event_get_peer;
    pc.type = SOCK_STREAM;
    pc.local = p->local;
    pc.transparent = p->transparent;
    pc.log = &p->log;
    pc.log_error = NGX_ERROR_ERR;

    p->log.action = "connecting to next hop";
    p->started = ngx_current_msec;

    rc = ngx_event_connect_peer(&pc);

    p->connection = (rc == NGX_OK || rc == NGX_AGAIN) ? pc.connection : NULL;

    if (p->connection == NULL || ngx_smtp_peer_opened(p) != NGX_OK) {
        ngx_smtp_peer_post(p, NGX_SMTP_PEER_FAILED, NGX_SMTP_PEER_REFUSED);
        return;
    }

    if (rc == NGX_OK) {
        ngx_smtp_peer_post(p, NGX_SMTP_PEER_CONNECTED, 0);
    }
}


/*
 * One server after the other until a connection is under way.
 */

static void
ngx_smtp_peer_try(ngx_smtp_peer_t *p)
{
    ngx_int_t               rc;
    ngx_peer_connection_t  *pc;

    pc = p->pc;

    for ( ;; ) {
        p->log.action = "connecting to next hop";
        p->started = ngx_current_msec;

        pc->local = p->local;
        pc->transparent = p->transparent;
        pc->connection = NULL;

        rc = ngx_event_connect_peer(pc);

        p->picked = (p->eval && rc != NGX_BUSY && pc->sockaddr) ? 1 : 0;
        p->connection = (rc == NGX_OK || rc == NGX_AGAIN) ? pc->connection
                                                          : NULL;

        if (rc == NGX_BUSY) {
            ngx_log_error(NGX_LOG_ERR, &p->log, 0,
                          "no live upstreams for next hop \"%V\"", pc->name);
            break;
        }

        if (p->picked) {

            /* the memory of a server may go once it is released */

            p->name.data = ngx_pstrdup(p->pool, pc->name);
            p->name.len = p->name.data ? pc->name->len : 0;

            p->socklen = pc->socklen;
            p->sockaddr = &p->address.sockaddr;
            ngx_memcpy(&p->address, pc->sockaddr,
                       ngx_min(pc->socklen,
                               (socklen_t) sizeof(ngx_sockaddr_t)));
        }

        if (p->connection) {
            if (ngx_smtp_peer_opened(p) != NGX_OK) {
                break;
            }

            if (rc == NGX_OK) {
                ngx_smtp_peer_post(p, NGX_SMTP_PEER_CONNECTED, 0);
            }

            return;
        }

        if (rc == NGX_ERROR) {

            /* ours, not the server's: no socket, no connection left */

            p->unable = 1;
            ngx_smtp_peer_release(p, 0);
            break;
        }

        ngx_smtp_peer_release(p, NGX_PEER_FAILED);

        if (p->eval == NULL || pc->tries == 0) {
            break;
        }
    }

    ngx_smtp_peer_post(p, NGX_SMTP_PEER_FAILED, NGX_SMTP_PEER_REFUSED);
}


static ngx_int_t
ngx_smtp_peer_opened(ngx_smtp_peer_t *p)
{
    ngx_connection_t  *c;

    c = p->connection;

    c->data = p;
    c->log = &p->log;
    c->pool = p->pool;
    c->read->log = &p->log;
    c->write->log = &p->log;
    c->read->handler = ngx_smtp_peer_connect_handler;
    c->write->handler = ngx_smtp_peer_connect_handler;

    p->log.connection = c->number;
    p->secure = 0;

    /* connects that wait never keep a leaving worker: nothing was sent yet */

    c->write->cancelable = 1;

    ngx_add_timer(c->write, p->connect_timeout);

    if (p->sockaddr->sa_family != AF_UNIX && ngx_tcp_nodelay(c) != NGX_OK) {
        ngx_smtp_peer_disconnect(p);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_smtp_peer_connect_handler(ngx_event_t *ev)
{
    ngx_err_t          err;
    ngx_connection_t  *c;
    ngx_smtp_peer_t   *p;

    c = ev->data;
    p = c->data;

    ngx_log_debug0(NGX_LOG_DEBUG_STREAM, ev->log, 0,
                   "smtp peer connect handler");

    if (c->close) {
        p->handler(p, NGX_SMTP_PEER_SHUTDOWN);
        return;
    }

    if (p->event.posted) {
        return;
    }

    if (ev->timedout) {
        ev->timedout = 0;
        err = NGX_ETIMEDOUT;
        ngx_log_error(NGX_LOG_ERR, c->log, err, "next hop timed out");

    } else {
        err = ngx_smtp_peer_test_connect(c);
    }

    if (err == 0) {
        ngx_smtp_peer_connected(p);
        return;
    }

    p->err = err;

    if (p->picked && ngx_smtp_peer_next(p) == NGX_AGAIN) {
        return;
    }

    ngx_smtp_peer_failed(p, err == NGX_ETIMEDOUT ? NGX_SMTP_PEER_TIMEDOUT
                                                 : NGX_SMTP_PEER_REFUSED, err);
}


static ngx_err_t
ngx_smtp_peer_test_connect(ngx_connection_t *c)
{
    int        err;
    socklen_t  len;

#if (NGX_HAVE_KQUEUE)

    if (ngx_event_flags & NGX_USE_KQUEUE_EVENT) {
        err = c->write->kq_errno ? c->write->kq_errno : c->read->kq_errno;

        if (err) {
            (void) ngx_connection_error(c, err,
                                    "kevent() reported that connect() failed");
        }

        return err;
    }

#endif

    err = 0;
    len = sizeof(int);

    /* BSDs and Linux return 0 and set the error, Solaris returns -1 */

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    if (err) {
        (void) ngx_connection_error(c, err, "connect() failed");
    }

    return err;
}


static void
ngx_smtp_peer_connected(ngx_smtp_peer_t *p)
{
    ngx_connection_t       *c;
    ngx_stream_upstream_t  *u;

    c = p->connection;

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    c->write->cancelable = 0;
    c->read->handler = ngx_smtp_peer_read_handler;
    c->write->handler = ngx_smtp_peer_write_handler;

    p->log.action = "talking to next hop";

    if (p->eval && p->picked) {
        u = p->eval->upstream;

        u->state->connect_time = ngx_current_msec - p->started;
        u->state->peer = &p->name;

        if (u->peer.notify) {
            u->peer.connection = c;
            u->peer.notify(&u->peer, u->peer.data,
                           NGX_STREAM_UPSTREAM_NOTIFY_CONNECT);
        }
    }

    /* what came with the connection has raised its edge already */

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);
    }

    p->handler(p, NGX_SMTP_PEER_CONNECTED);
}


static void
ngx_smtp_peer_release(ngx_smtp_peer_t *p, ngx_uint_t state)
{
    ngx_stream_upstream_t        *u;
    ngx_stream_upstream_state_t  *us;

    if (!p->picked) {
        return;
    }

    p->picked = 0;

    u = p->eval->upstream;
    us = u->state;

    us->response_time = ngx_current_msec - p->started;

    if (us->connect_time == (ngx_msec_t) -1) {
        us->connect_time = us->response_time;
    }

    if (us->first_byte_time == (ngx_msec_t) -1) {
        us->first_byte_time = us->response_time;
    }

    u->peer.free(&u->peer, u->peer.data, state);
    u->peer.sockaddr = NULL;
    u->peer.connection = NULL;
}


static void
ngx_smtp_peer_disconnect(ngx_smtp_peer_t *p)
{
    ngx_connection_t  *c;

    if (p->event.posted) {
        ngx_delete_posted_event(&p->event);
    }

    ngx_smtp_peer_drop_output(p, 1);

    p->in.pos = p->in.start;
    p->in.last = p->in.start;
    p->blocked = 0;
    p->secure = 0;

    c = p->connection;

    if (c == NULL) {
        return;
    }

    p->connection = NULL;

#if (NGX_SSL)

    if (c->ssl) {
        c->ssl->no_wait_shutdown = 1;

        if (ngx_ssl_shutdown(c) == NGX_AGAIN) {
            c->ssl->no_send_shutdown = 1;
            (void) ngx_ssl_shutdown(c);
        }
    }

#endif

    ngx_close_connection(c);
}


void
ngx_smtp_peer_close(ngx_smtp_peer_t *p, ngx_uint_t failed)
{
    ngx_log_debug1(NGX_LOG_DEBUG_STREAM, &p->log, 0,
                   "smtp peer close, failed:%ui", failed);

    ngx_smtp_peer_disconnect(p);
    ngx_smtp_peer_release(p, failed ? NGX_PEER_FAILED : 0);
    ngx_smtp_peer_drop_output(p, 0);

    ngx_queue_remove(&p->link);

    ngx_destroy_pool(p->pool);
}


void
ngx_smtp_peer_post(ngx_smtp_peer_t *p, ngx_uint_t event, ngx_uint_t failure)
{
    p->posted = event;
    p->failure = failure;

    ngx_post_event(&p->event, &ngx_posted_events);
}


static void
ngx_smtp_peer_posted_handler(ngx_event_t *ev)
{
    ngx_smtp_peer_t  *p;

    p = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_STREAM, ev->log, 0,
                   "smtp peer posted: %ui", p->posted);

    switch (p->posted) {

    case NGX_SMTP_PEER_CONNECTED:
        ngx_smtp_peer_connected(p);
        return;

    case NGX_SMTP_PEER_SECURED:
        ngx_smtp_peer_handshaked(p);
        return;

    default:
        p->handler(p, p->posted);
    }
}


void
ngx_smtp_peer_failed(ngx_smtp_peer_t *p, ngx_uint_t failure, ngx_err_t err)
{
    p->failure = failure;
    p->err = err;

    p->handler(p, NGX_SMTP_PEER_FAILED);
}


void
ngx_smtp_peer_timeout(ngx_smtp_peer_t *p, ngx_msec_t timeout)
{
    ngx_event_t  *rev;

    if (p->connection == NULL) {
        return;
    }

    rev = p->connection->read;

    if (timeout) {
        ngx_add_timer(rev, timeout);

    } else if (rev->timer_set) {
        ngx_del_timer(rev);
    }
}


void
ngx_smtp_peer_idle(ngx_smtp_peer_t *p, ngx_uint_t on)
{
    if (p->connection == NULL) {
        return;
    }

    p->connection->idle = on ? 1 : 0;
    p->connection->read->cancelable = on ? 1 : 0;

    if (on && !p->blocked) {
        ngx_smtp_peer_drop_output(p, 0);
    }
}


static u_char *
ngx_smtp_peer_log_error(ngx_log_t *log, u_char *buf, size_t len)
{
    u_char           *p;
    ngx_smtp_peer_t  *peer;

    peer = log->data;
    p = buf;

    if (log->action) {
        p = ngx_snprintf(buf, len, " while %s", log->action);
        len -= p - buf;
        buf = p;
    }

    if (peer->name.len) {
        p = ngx_snprintf(buf, len, ", next hop: %V", &peer->name);
    }

    return p;
}
