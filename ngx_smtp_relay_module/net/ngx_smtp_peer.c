
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Outbound connections.  A handler call is always the last thing an event
 * handler does, since the caller may close the peer in it.  Calls of the
 * caller never lead to a handler call from inside: what is known at once is
 * told by a posted event.
 *
 * A peer has its own pool.  Copied output is in malloc'ed blocks, of which one
 * is kept between messages and none when idle, so that a connection that waits
 * for work is small.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>
#include <ngx_stream.h>

#include "ngx_smtp_eval.h"
#include "ngx_smtp_peer.h"


#define NGX_SMTP_PEER_POOL   (NGX_SMTP_PEER_INPUT + 2048)
#define NGX_SMTP_PEER_BLOCK  16384


struct ngx_smtp_peer_block_s {
    ngx_smtp_peer_block_t    *next;
    u_char                   *last;
    u_char                   *end;
    u_char                    data[1];
};


static void ngx_smtp_peer_try(ngx_smtp_peer_t *p);
static ngx_int_t ngx_smtp_peer_opened(ngx_smtp_peer_t *p);
static void ngx_smtp_peer_connect_handler(ngx_event_t *ev);
static ngx_err_t ngx_smtp_peer_test_connect(ngx_connection_t *c);
static void ngx_smtp_peer_connected(ngx_smtp_peer_t *p);
static void ngx_smtp_peer_release(ngx_smtp_peer_t *p, ngx_uint_t state);
static void ngx_smtp_peer_disconnect(ngx_smtp_peer_t *p);
static void ngx_smtp_peer_post(ngx_smtp_peer_t *p, ngx_uint_t event,
    ngx_uint_t failure);
static void ngx_smtp_peer_posted_handler(ngx_event_t *ev);
static void ngx_smtp_peer_failed(ngx_smtp_peer_t *p, ngx_uint_t failure,
    ngx_err_t err);
static void ngx_smtp_peer_read_handler(ngx_event_t *rev);
static void ngx_smtp_peer_write_handler(ngx_event_t *wev);
static void ngx_smtp_peer_handshake_handler(ngx_connection_t *c);
static void ngx_smtp_peer_handshaked(ngx_smtp_peer_t *p);
static ngx_int_t ngx_smtp_peer_server_name(ngx_smtp_peer_t *p);
static ngx_chain_t *ngx_smtp_peer_add(ngx_smtp_peer_t *p, u_char *data,
    size_t len);
static ngx_int_t ngx_smtp_peer_send(ngx_smtp_peer_t *p);
static ngx_int_t ngx_smtp_peer_keep(ngx_smtp_peer_t *p);
static ngx_smtp_peer_block_t *ngx_smtp_peer_block(ngx_smtp_peer_t *p);
static void ngx_smtp_peer_drop_output(ngx_smtp_peer_t *p, ngx_uint_t keep);
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


/*
 * Tells the caller later; the last word counts.
 */

static void
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


static void
ngx_smtp_peer_failed(ngx_smtp_peer_t *p, ngx_uint_t failure, ngx_err_t err)
{
    p->failure = failure;
    p->err = err;

    p->handler(p, NGX_SMTP_PEER_FAILED);
}


static void
ngx_smtp_peer_read_handler(ngx_event_t *rev)
{
    size_t             room;
    ssize_t            n;
    ngx_uint_t         got, full;
    ngx_connection_t  *c;
    ngx_smtp_peer_t   *p;

    c = rev->data;
    p = c->data;

    ngx_log_debug0(NGX_LOG_DEBUG_STREAM, rev->log, 0,
                   "smtp peer read handler");

    if (c->close) {
        p->handler(p, NGX_SMTP_PEER_SHUTDOWN);
        return;
    }

    if (rev->timedout) {
        rev->timedout = 0;
        ngx_smtp_peer_failed(p, NGX_SMTP_PEER_TIMEDOUT, NGX_ETIMEDOUT);
        return;
    }

    if (p->event.posted) {

        /* its end was seen: that is told first */

        return;
    }

    got = 0;
    full = 0;

    if (p->in.pos == p->in.last) {
        p->in.pos = p->in.start;
        p->in.last = p->in.start;
    }

    for ( ;; ) {
        room = p->in.end - p->in.last;

        if (room == 0) {
            full = 1;
            break;
        }

        n = c->recv(c, p->in.last, room);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == 0 || n == NGX_ERROR) {
            p->err = n ? ngx_socket_errno : 0;

            ngx_smtp_peer_post(p, NGX_SMTP_PEER_FAILED,
                               n ? NGX_SMTP_PEER_ERROR : NGX_SMTP_PEER_CLOSED);
            break;
        }

        p->in.last += n;
        got = 1;

        if (!rev->ready) {
            break;
        }
    }

    if (!p->event.posted && ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_smtp_peer_failed(p, NGX_SMTP_PEER_ERROR, 0);
        return;
    }

    if (full && !p->event.posted) {

        /* no new edge will come for the rest: the next turn takes it */

        ngx_post_event(rev, &ngx_posted_next_events);
    }

    if (got) {
        p->handler(p, NGX_SMTP_PEER_READ);
    }
}


static void
ngx_smtp_peer_write_handler(ngx_event_t *wev)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;
    ngx_smtp_peer_t   *p;

    c = wev->data;
    p = c->data;

    ngx_log_debug0(NGX_LOG_DEBUG_STREAM, wev->log, 0,
                   "smtp peer write handler");

    if (c->close) {
        p->handler(p, NGX_SMTP_PEER_SHUTDOWN);
        return;
    }

    if (wev->timedout) {
        wev->timedout = 0;
        ngx_log_error(NGX_LOG_ERR, c->log, NGX_ETIMEDOUT,
                      "next hop takes no data");
        ngx_smtp_peer_failed(p, NGX_SMTP_PEER_TIMEDOUT, NGX_ETIMEDOUT);
        return;
    }

    if (!p->blocked) {
        if (ngx_handle_write_event(wev, 0) != NGX_OK) {
            ngx_smtp_peer_failed(p, NGX_SMTP_PEER_ERROR, 0);
        }

        return;
    }

    rc = ngx_smtp_peer_send(p);

    if (rc == NGX_ERROR) {
        ngx_smtp_peer_failed(p, NGX_SMTP_PEER_ERROR, p->err);
        return;
    }

    if (rc == NGX_OK) {
        p->handler(p, NGX_SMTP_PEER_SENT);
    }
}


ngx_int_t
ngx_smtp_peer_starttls(ngx_smtp_peer_t *p, ngx_ssl_t *ssl, ngx_str_t *name,
    ngx_uint_t verify)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    c = p->connection;

    if (p->in.pos != p->in.last) {
        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "next hop sent data in clear after its reply to "
                      "STARTTLS");
        return NGX_DECLINED;
    }

    p->log.action = "SSL handshaking to next hop";
    p->verify = verify ? 1 : 0;

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (ngx_ssl_create_connection(ssl, c, NGX_SSL_BUFFER|NGX_SSL_CLIENT)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_str_null(&p->tls_name);

    if (name->len) {

        /* with the NUL that OpenSSL wants */

        p->tls_name.data = ngx_pnalloc(p->pool, name->len + 1);
        if (p->tls_name.data == NULL) {
            return NGX_ERROR;
        }

        (void) ngx_cpystrn(p->tls_name.data, name->data, name->len + 1);
        p->tls_name.len = name->len;

        if (ngx_smtp_peer_server_name(p) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    /* a handshake is nothing that a leaving worker waits for */

    c->read->cancelable = 1;

    rc = ngx_ssl_handshake(c);

    if (rc == NGX_AGAIN) {
        c->ssl->handler = ngx_smtp_peer_handshake_handler;
        return NGX_AGAIN;
    }

    ngx_smtp_peer_post(p, NGX_SMTP_PEER_SECURED, 0);

    return NGX_AGAIN;
}


static void
ngx_smtp_peer_handshake_handler(ngx_connection_t *c)
{
    ngx_smtp_peer_handshaked(c->data);
}


static void
ngx_smtp_peer_handshaked(ngx_smtp_peer_t *p)
{
    long               rc;
    ngx_connection_t  *c;

    c = p->connection;

    c->read->handler = ngx_smtp_peer_read_handler;
    c->write->handler = ngx_smtp_peer_write_handler;
    c->read->cancelable = 0;

    if (c->close) {
        p->handler(p, NGX_SMTP_PEER_SHUTDOWN);
        return;
    }

    if (c->read->timedout) {
        c->read->timedout = 0;
        ngx_smtp_peer_failed(p, NGX_SMTP_PEER_TIMEDOUT, NGX_ETIMEDOUT);
        return;
    }

    if (!c->ssl->handshaked) {
        ngx_smtp_peer_failed(p, NGX_SMTP_PEER_TLS, 0);
        return;
    }

    if (p->verify) {
        rc = SSL_get_verify_result(c->ssl->connection);

        if (rc != X509_V_OK) {
            ngx_log_error(NGX_LOG_ERR, c->log, 0,
                          "next hop SSL certificate verify error: (%l:%s)",
                          rc, X509_verify_cert_error_string(rc));
            ngx_smtp_peer_failed(p, NGX_SMTP_PEER_VERIFY, 0);
            return;
        }

        if (ngx_ssl_check_host(c, &p->tls_name) != NGX_OK) {
            ngx_log_error(NGX_LOG_ERR, c->log, 0,
                          "next hop SSL certificate does not match \"%V\"",
                          &p->tls_name);
            ngx_smtp_peer_failed(p, NGX_SMTP_PEER_VERIFY, 0);
            return;
        }
    }

    p->log.action = "talking to next hop";
    p->secure = 1;

    /* decrypted bytes raise no edge */

    ngx_post_event(c->read, &ngx_posted_events);

    p->handler(p, NGX_SMTP_PEER_SECURED);
}


static ngx_int_t
ngx_smtp_peer_server_name(ngx_smtp_peer_t *p)
{
#ifdef SSL_CTRL_SET_TLSEXT_HOSTNAME

    if (ngx_inet_addr(p->tls_name.data, p->tls_name.len) != INADDR_NONE
        || p->tls_name.data[0] == '['
        || ngx_strlchr(p->tls_name.data, p->tls_name.data + p->tls_name.len,
                       ':'))
    {
        return NGX_OK;
    }

    if (SSL_set_tlsext_host_name(p->connection->ssl->connection,
                                 (char *) p->tls_name.data)
        == 0)
    {
        ngx_ssl_error(NGX_LOG_ERR, &p->log, 0,
                      "SSL_set_tlsext_host_name(\"%s\") failed",
                      p->tls_name.data);
        return NGX_ERROR;
    }

#endif

    return NGX_OK;
}


void
ngx_smtp_peer_tls_info(ngx_smtp_peer_t *p, ngx_str_t *protocol,
    ngx_str_t *cipher)
{
    SSL  *ssl;

    ngx_str_null(protocol);
    ngx_str_null(cipher);

    if (!p->secure || p->connection == NULL || p->connection->ssl == NULL) {
        return;
    }

    /* static strings of OpenSSL */

    ssl = p->connection->ssl->connection;

    protocol->data = (u_char *) SSL_get_version(ssl);
    protocol->len = ngx_strlen(protocol->data);

    cipher->data = (u_char *) SSL_get_cipher_name(ssl);
    cipher->len = cipher->data ? ngx_strlen(cipher->data) : 0;
}


ngx_int_t
ngx_smtp_peer_put(ngx_smtp_peer_t *p, const u_char *data, size_t len)
{
    size_t                  n;
    ngx_chain_t            *cl;
    ngx_smtp_peer_block_t  *b;

    while (len) {
        b = ngx_smtp_peer_block(p);
        if (b == NULL) {
            return NGX_ERROR;
        }

        n = ngx_min(len, (size_t) (b->end - b->last));

        cl = p->out_last;

        if (cl && cl->buf->last == b->last && cl->buf->temporary) {
            cl->buf->last += n;
            p->out_size += n;

        } else {
            cl = ngx_smtp_peer_add(p, b->last, n);
            if (cl == NULL) {
                return NGX_ERROR;
            }

            cl->buf->temporary = 1;
        }

        b->last = ngx_cpymem(b->last, data, n);

        data += n;
        len -= n;
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_peer_ref(ngx_smtp_peer_t *p, u_char *data, size_t len)
{
    ngx_chain_t  *cl;

    if (len == 0) {
        return NGX_OK;
    }

    cl = ngx_smtp_peer_add(p, data, len);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    cl->buf->memory = 1;

    return NGX_OK;
}


static ngx_chain_t *
ngx_smtp_peer_add(ngx_smtp_peer_t *p, u_char *data, size_t len)
{
    ngx_chain_t  *cl;

    cl = ngx_chain_get_free_buf(p->pool, &p->free);
    if (cl == NULL) {
        return NULL;
    }

    ngx_memzero(cl->buf, sizeof(ngx_buf_t));

    cl->next = NULL;
    cl->buf->pos = data;
    cl->buf->last = data + len;

    if (p->out_last) {
        p->out_last->next = cl;

    } else {
        p->out = cl;
    }

    p->out_last = cl;
    p->out_size += len;

    return cl;
}


ngx_int_t
ngx_smtp_peer_flush(ngx_smtp_peer_t *p)
{
    ngx_int_t  rc;

    if (p->connection == NULL) {
        return NGX_ERROR;
    }

    if (!p->blocked) {
        if (p->out == NULL) {
            return NGX_OK;
        }

        rc = ngx_smtp_peer_send(p);

        if (rc != NGX_AGAIN) {
            return rc;
        }
    }

    if (ngx_smtp_peer_keep(p) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_AGAIN;
}


/*
 * Sends what there is: NGX_OK when nothing is left, also none in the buffer of
 * TLS; NGX_AGAIN; NGX_ERROR.
 */

static ngx_int_t
ngx_smtp_peer_send(ngx_smtp_peer_t *p)
{
    off_t              size;
    ngx_chain_t       *cl, *next, *rest;
    ngx_connection_t  *c;

    c = p->connection;

    if (p->out_last) {
        p->out_last->buf->flush = 1;
    }

    rest = c->send_chain(c, p->out, 0);

    if (rest == NGX_CHAIN_ERROR) {
        p->err = ngx_socket_errno;
        return NGX_ERROR;
    }

    for (cl = p->out; cl != rest; cl = next) {
        next = cl->next;
        cl->next = p->free;
        p->free = cl;
    }

    size = 0;

    for (cl = rest; cl; cl = cl->next) {
        size += cl->buf->last - cl->buf->pos;
    }

    p->out = rest;
    p->out_size = size;

    if (rest == NULL) {
        p->out_last = NULL;
    }

    if (rest == NULL && !c->buffered) {
        p->blocked = 0;
        ngx_smtp_peer_drop_output(p, 1);

        if (c->write->timer_set) {
            ngx_del_timer(c->write);
        }

        return NGX_OK;
    }

    p->blocked = 1;

    ngx_add_timer(c->write, p->send_timeout);

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_AGAIN;
}


/*
 * What the kernel did not take is copied if it was only referred to.
 */

static ngx_int_t
ngx_smtp_peer_keep(ngx_smtp_peer_t *p)
{
    size_t        len;
    ngx_buf_t    *b;
    ngx_chain_t  *cl, *next;

    for (cl = p->out; cl && cl->buf->temporary; cl = cl->next) { /* void */ }

    if (cl == NULL) {
        return NGX_OK;
    }

    /* all is put again, in order; blocks are only freed when all is out */

    cl = p->out;

    p->out = NULL;
    p->out_last = NULL;
    p->out_size = 0;

    for ( /* void */ ; cl; cl = next) {
        next = cl->next;
        b = cl->buf;
        len = b->last - b->pos;

        if (b->temporary) {
            cl->next = NULL;

            if (p->out_last) {
                p->out_last->next = cl;

            } else {
                p->out = cl;
            }

            p->out_last = cl;
            p->out_size += len;
            continue;
        }

        if (ngx_smtp_peer_put(p, b->pos, len) != NGX_OK) {
            return NGX_ERROR;
        }

        cl->next = p->free;
        p->free = cl;
    }

    return NGX_OK;
}


/*
 * A block with room.
 */

static ngx_smtp_peer_block_t *
ngx_smtp_peer_block(ngx_smtp_peer_t *p)
{
    ngx_smtp_peer_block_t  *b;

    b = p->last_block;

    if (b && b->last < b->end) {
        return b;
    }

    b = ngx_alloc(offsetof(ngx_smtp_peer_block_t, data) + NGX_SMTP_PEER_BLOCK,
                  &p->log);
    if (b == NULL) {
        return NULL;
    }

    b->next = NULL;
    b->last = b->data;
    b->end = b->data + NGX_SMTP_PEER_BLOCK;

    if (p->last_block) {
        p->last_block->next = b;

    } else {
        p->blocks = b;
    }

    p->last_block = b;

    return b;
}


static void
ngx_smtp_peer_drop_output(ngx_smtp_peer_t *p, ngx_uint_t keep)
{
    ngx_chain_t            *cl, *next;
    ngx_smtp_peer_block_t  *b;

    for (cl = p->out; cl; cl = next) {
        next = cl->next;
        cl->next = p->free;
        p->free = cl;
    }

    p->out = NULL;
    p->out_last = NULL;
    p->out_size = 0;

    if (keep && p->blocks) {
        b = p->blocks->next;

        p->blocks->next = NULL;
        p->blocks->last = p->blocks->data;
        p->last_block = p->blocks;

    } else {
        b = p->blocks;

        p->blocks = NULL;
        p->last_block = NULL;
    }

    while (b) {
        p->last_block = b->next;
        ngx_free(b);
        b = p->last_block;
    }

    p->last_block = p->blocks;
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
