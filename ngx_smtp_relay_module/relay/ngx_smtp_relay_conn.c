
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * One connection to a next hop: between the peer, which moves bytes, and the
 * client engine, which knows the protocol.
 *
 *   open -> (envelope read) -> connect -> dialogue -> READY
 *        -> message -> DONE -> next message | idle | QUIT -> closed
 *
 * Whatever fails before READY is a failure of that server: the next one of the
 * upstream{} is tried.  A connection lives in the pool of its peer, so that
 * closing it frees everything; after a call that may close it, return.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_eval.h"
#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"


/* how long the answer to QUIT is waited for, ms */
#define NGX_SMTP_CONN_QUIT  5000


static void ngx_smtp_conn_connect(ngx_smtp_conn_t *conn);
static void ngx_smtp_conn_client(ngx_smtp_conn_t *conn);
static void ngx_smtp_conn_handler(ngx_smtp_peer_t *p, ngx_uint_t event);
static void ngx_smtp_conn_read(ngx_smtp_conn_t *conn);
static void ngx_smtp_conn_action(ngx_smtp_conn_t *conn, ngx_int_t action);
static ngx_int_t ngx_smtp_conn_wait(ngx_smtp_conn_t *conn);
static ngx_int_t ngx_smtp_conn_starttls(ngx_smtp_conn_t *conn);
static ngx_int_t ngx_smtp_conn_ready(ngx_smtp_conn_t *conn);
static ngx_int_t ngx_smtp_conn_mail(ngx_smtp_conn_t *conn);
static ngx_int_t ngx_smtp_conn_body(ngx_smtp_conn_t *conn);
static ngx_int_t ngx_smtp_conn_done(ngx_smtp_conn_t *conn);
static ngx_int_t ngx_smtp_conn_next(ngx_smtp_conn_t *conn);
static ngx_uint_t ngx_smtp_conn_worn(ngx_smtp_conn_t *conn);
static void ngx_smtp_conn_idle(ngx_smtp_conn_t *conn, ngx_uint_t on);
static ngx_int_t ngx_smtp_conn_quit(ngx_smtp_conn_t *conn);
static void ngx_smtp_conn_lost(ngx_smtp_conn_t *conn, ngx_uint_t how);
static ngx_uint_t ngx_smtp_conn_replace(ngx_smtp_conn_t *conn,
    ngx_uint_t how);
static void ngx_smtp_conn_closed(ngx_smtp_conn_t *conn);
static ngx_uint_t ngx_smtp_conn_retry(ngx_smtp_conn_t *conn);
static void ngx_smtp_conn_reason(ngx_smtp_conn_t *conn,
    ngx_smtp_verdict_t *v, u_char *buf, size_t size);
static void ngx_smtp_conn_name(ngx_smtp_conn_t *conn);
static void ngx_smtp_conn_free(ngx_smtp_conn_t *conn, ngx_uint_t failed);


ngx_smtp_conn_t *
ngx_smtp_conn_open(ngx_smtp_route_t *route, ngx_smtp_delivery_t *d)
{
    ngx_smtp_conn_t   *conn;
    ngx_smtp_peer_t   *p;
    ngx_smtp_relay_t  *relay;

    relay = route->relay;

    p = ngx_smtp_peer_create(relay->log, route->conf->send_timeout,
                             ngx_smtp_conn_handler, NULL);
    if (p == NULL) {
        return NULL;
    }

    conn = ngx_pcalloc(p->pool, sizeof(ngx_smtp_conn_t));
    if (conn == NULL) {
        ngx_smtp_peer_close(p, 0);
        return NULL;
    }

    p->data = conn;

    conn->relay = relay;
    conn->route = route;
    conn->peer = p;

    ngx_smtp_site_opened(&route->site, &conn->slot, ngx_smtp_relay_seconds());

    ngx_queue_insert_tail(&relay->conns, &conn->link);

    conn->delivery = d;
    d->conn = conn;

    if (d->ready) {
        ngx_smtp_conn_connect(conn);
    }

    return conn;
}


void
ngx_smtp_conn_use(ngx_smtp_conn_t *conn, ngx_smtp_delivery_t *d)
{
    ngx_smtp_conn_idle(conn, 0);

    conn->delivery = d;
    d->conn = conn;
    conn->reused = 1;

    if (d->ready) {
        ngx_smtp_conn_action(conn, ngx_smtp_conn_mail(conn));
    }
}


void
ngx_smtp_conn_go(ngx_smtp_conn_t *conn)
{
    if (conn->ready) {
        ngx_smtp_conn_action(conn, ngx_smtp_conn_mail(conn));
        return;
    }

    if (!conn->connecting) {
        ngx_smtp_conn_connect(conn);
    }
}


static void
ngx_smtp_conn_connect(ngx_smtp_conn_t *conn)
{
    ngx_stream_session_t   *s;
    ngx_smtp_delivery_t    *d;
    ngx_smtp_eval_ctx_t     ctx;
    ngx_smtp_relay_conf_t  *rcf;
    ngx_smtp_queue_conf_t  *qcf;

    d = conn->delivery;
    qcf = conn->route->conf;
    rcf = conn->relay->conf;

    conn->connecting = 1;

    ngx_smtp_conn_client(conn);

    ngx_memzero(&ctx, sizeof(ngx_smtp_eval_ctx_t));

    ctx.envelope = d->envelope;
    ctx.queue_id = d->queue_id;
    ctx.helo = d->reader->meta.helo;
    ctx.login = d->reader->meta.login;
    ctx.size = d->message->size;

    s = ngx_smtp_eval_create_stored(conn->peer->pool, &conn->peer->log,
                                    rcf->main_conf, rcf->srv_conf,
                                    &d->reader->meta.client, &ctx);
    if (s == NULL) {
        conn->client.state = NGX_SMTP_CLIENT_ST_CONNECT;
        ngx_smtp_conn_lost(conn, NGX_SMTP_CLIENT_LOST_LOCAL);
        return;
    }

    conn->eval = s;

    ngx_smtp_peer_connect_upstream(conn->peer, s, qcf->upstream, qcf->local,
                                   qcf->connect_timeout);

    /* what the balancer wanted to know of the message may go with it */

    ngx_memzero(ngx_smtp_eval_get_ctx(s), sizeof(ngx_smtp_eval_ctx_t));
}


static void
ngx_smtp_conn_client(ngx_smtp_conn_t *conn)
{
    ngx_smtp_queue_conf_t   *qcf;
    ngx_smtp_client_conf_t   cc;

    qcf = conn->route->conf;

    ngx_memzero(&cc, sizeof(ngx_smtp_client_conf_t));

    cc.helo = qcf->hostname;
    cc.tls = conn->no_tls ? NGX_SMTP_CLIENT_TLS_OFF : qcf->tls;

    ngx_smtp_client_init(&conn->client, &cc);
}


static void
ngx_smtp_conn_handler(ngx_smtp_peer_t *p, ngx_uint_t event)
{
    ngx_uint_t        how;
    ngx_smtp_conn_t  *conn;

    conn = p->data;

    ngx_log_debug2(NGX_LOG_DEBUG_STREAM, &p->log, 0,
                   "smtp conn event:%ui state:%ui",
                   event, conn->client.state);

    switch (event) {

    case NGX_SMTP_PEER_CONNECTED:
        ngx_smtp_conn_name(conn);
        ngx_smtp_peer_timeout(p, conn->route->conf->command_timeout);
        return;

    case NGX_SMTP_PEER_READ:
        ngx_smtp_conn_read(conn);
        return;

    case NGX_SMTP_PEER_SENT:
        if (conn->body) {
            ngx_smtp_conn_action(conn, ngx_smtp_conn_body(conn));
        }

        return;

    case NGX_SMTP_PEER_SECURED:
        ngx_smtp_conn_action(conn, ngx_smtp_client_tls_done(&conn->client));
        return;

    case NGX_SMTP_PEER_SHUTDOWN:

        if (conn->idle) {
            ngx_smtp_conn_close(conn, 1);
            return;
        }

        how = NGX_SMTP_CLIENT_LOST_LOCAL;
        break;

    default: /* NGX_SMTP_PEER_FAILED */

        switch (p->failure) {

        case NGX_SMTP_PEER_REFUSED:
            conn->client.state = NGX_SMTP_CLIENT_ST_CONNECT;
            how = NGX_SMTP_CLIENT_LOST_CLOSED;
            break;

        case NGX_SMTP_PEER_TIMEDOUT:
            how = NGX_SMTP_CLIENT_LOST_TIMEOUT;
            break;

        case NGX_SMTP_PEER_TLS:
        case NGX_SMTP_PEER_VERIFY:
            how = NGX_SMTP_CLIENT_LOST_TLS;
            break;

        default:
            how = NGX_SMTP_CLIENT_LOST_CLOSED;
        }
    }

    ngx_smtp_conn_lost(conn, how);
}


static void
ngx_smtp_conn_read(ngx_smtp_conn_t *conn)
{
    u_char           *pos;
    ngx_int_t         action;
    ngx_uint_t        pending;
    ngx_smtp_peer_t  *p;

    p = conn->peer;
    pending = conn->client.pending;

    pos = p->in.pos;
    action = ngx_smtp_client_recv(&conn->client, &pos, p->in.last);
    p->in.pos = pos;

    /* "421 idle for too long" may cross with the next message */

    if (action == NGX_SMTP_CLIENT_CLOSE && conn->reused
        && conn->client.verdict.code == 421
        && ngx_smtp_conn_replace(conn, NGX_SMTP_CLIENT_LOST_CLOSED))
    {
        return;
    }

    conn->reused = 0;

    /*
     * Part of a reply is no sign of life: the time-out goes on, or a peer that
     * says a byte now and then would keep its message, and a leaving worker,
     * for ever.
     */

    if (action == NGX_SMTP_CLIENT_WAIT && conn->client.pending == pending) {
        return;
    }

    ngx_smtp_conn_action(conn, action);
}


/*
 * Carries out what the engine wants until it waits for the peer.  May close
 * the connection: called last.  NGX_DECLINED as action: nothing more to do.
 */

static void
ngx_smtp_conn_action(ngx_smtp_conn_t *conn, ngx_int_t action)
{
    for ( ;; ) {

        switch (action) {

        case NGX_SMTP_CLIENT_WAIT:
            if (ngx_smtp_conn_wait(conn) != NGX_OK) {
                ngx_smtp_conn_lost(conn, NGX_SMTP_CLIENT_LOST_CLOSED);
            }

            return;

        case NGX_SMTP_CLIENT_STARTTLS:
            action = ngx_smtp_conn_starttls(conn);
            break;

        case NGX_SMTP_CLIENT_READY:
            action = ngx_smtp_conn_ready(conn);
            break;

        case NGX_SMTP_CLIENT_BODY:
            ngx_smtp_peer_timeout(conn->peer, 0);
            action = ngx_smtp_conn_body(conn);
            break;

        case NGX_SMTP_CLIENT_DONE:
            action = ngx_smtp_conn_done(conn);
            break;

        case NGX_SMTP_CLIENT_CLOSE:
            ngx_smtp_conn_closed(conn);
            return;

        default: /* NGX_DECLINED */
            return;
        }
    }
}


static ngx_int_t
ngx_smtp_conn_wait(ngx_smtp_conn_t *conn)
{
    u_char                 *last, buf[2 * NGX_SMTP_CLIENT_COMMAND_MAX];
    ngx_msec_t              timeout;
    ngx_smtp_peer_t        *p;
    ngx_smtp_queue_conf_t  *qcf;

    p = conn->peer;
    qcf = conn->route->conf;

    for ( ;; ) {
        last = ngx_smtp_client_write(&conn->client, buf, buf + sizeof(buf));

        if (last == buf) {
            break;
        }

        if (ngx_smtp_peer_put(p, buf, last - buf) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (ngx_smtp_peer_flush(p) == NGX_ERROR) {
        return NGX_ERROR;
    }

    switch (conn->client.state) {

    case NGX_SMTP_CLIENT_ST_BODY:

        /* the send time-out watches the body */

        return NGX_OK;

    case NGX_SMTP_CLIENT_ST_EOM:
        timeout = qcf->data_timeout;
        break;

    case NGX_SMTP_CLIENT_ST_QUIT:
        timeout = NGX_SMTP_CONN_QUIT;
        break;

    default:
        timeout = qcf->command_timeout;
    }

    ngx_smtp_peer_timeout(p, timeout);

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_conn_starttls(ngx_smtp_conn_t *conn)
{
    ngx_int_t               rc;
    ngx_smtp_queue_conf_t  *qcf;

    qcf = conn->route->conf;

    ngx_smtp_peer_timeout(conn->peer, qcf->command_timeout);

    rc = ngx_smtp_peer_starttls(conn->peer, qcf->ssl, &qcf->tls_name, 0);

    if (rc == NGX_AGAIN) {
        return NGX_DECLINED;
    }

    return ngx_smtp_client_lost(&conn->client, NGX_SMTP_CLIENT_LOST_TLS);
}


static ngx_int_t
ngx_smtp_conn_ready(ngx_smtp_conn_t *conn)
{
    conn->ready = 1;

    ngx_smtp_site_success(&conn->route->site, &conn->slot);

    return conn->delivery ? ngx_smtp_conn_mail(conn)
                          : ngx_smtp_conn_next(conn);
}


static ngx_int_t
ngx_smtp_conn_mail(ngx_smtp_conn_t *conn)
{
    ngx_uint_t            max;
    ngx_smtp_caps_t      *caps;
    ngx_smtp_delivery_t  *d;

    d = conn->delivery;
    caps = &conn->client.caps;

    max = conn->route->conf->max_rcpts;

    if ((caps->flags & NGX_SMTP_CAP_LIMITS) && caps->rcptmax) {
        max = ngx_min(max, caps->rcptmax);
    }

    d->last = ngx_min(d->ntodo, d->first + max);

    if (ngx_smtp_delivery_mail(d) != NGX_OK) {
        ngx_smtp_delivery_drop(d, ngx_time() + NGX_SMTP_RELAY_PAUSE);

        return ngx_smtp_conn_next(conn);
    }

    return ngx_smtp_client_mail(&conn->client, &d->tx);
}


static ngx_int_t
ngx_smtp_conn_body(ngx_smtp_conn_t *conn)
{
    ngx_int_t  rc;

    conn->body = 1;

    rc = ngx_smtp_delivery_body(conn->delivery);

    if (rc == NGX_AGAIN) {
        return NGX_DECLINED;
    }

    conn->body = 0;

    if (rc == NGX_OK) {
        return NGX_SMTP_CLIENT_WAIT;
    }

    if (rc == NGX_DECLINED) {
        return NGX_SMTP_CLIENT_CLOSE;
    }

    return ngx_smtp_client_lost(&conn->client,
                                rc == NGX_ABORT ? NGX_SMTP_CLIENT_LOST_CLOSED
                                                : NGX_SMTP_CLIENT_LOST_LOCAL);
}


void
ngx_smtp_conn_resume(ngx_smtp_conn_t *conn)
{
    if (conn->body) {
        ngx_smtp_conn_action(conn, ngx_smtp_conn_body(conn));
    }
}


static ngx_int_t
ngx_smtp_conn_done(ngx_smtp_conn_t *conn)
{
    ngx_uint_t            i, delivered;
    ngx_smtp_delivery_t  *d;

    d = conn->delivery;

    conn->reused = 0;
    conn->body = 0;

    delivered = 0;

    for (i = 0; i < d->nresults; i++) {
        if (d->results[i].status <= NGX_SMTP_RESULT_RELAYED) {
            delivered = 1;
        }
    }

    if (delivered) {
        ngx_smtp_site_success(&conn->route->site, &conn->slot);

    } else {
        ngx_smtp_site_failure(&conn->route->site, &conn->slot,
                              NGX_SMTP_SITE_MESSAGE, ngx_smtp_relay_seconds(),
                              ngx_random());
    }

    if (ngx_smtp_delivery_done(d, 0) == NGX_AGAIN) {

        if (!ngx_smtp_conn_worn(conn)) {
            return ngx_smtp_conn_mail(conn);
        }

        (void) ngx_smtp_delivery_done(d, 1);
    }

    return ngx_smtp_conn_next(conn);
}


/*
 * Ready and without a delivery: the next message, or QUIT, or nothing to do.
 */

static ngx_int_t
ngx_smtp_conn_next(ngx_smtp_conn_t *conn)
{
    ngx_smtp_delivery_t  *d;

    conn->delivery = NULL;

    /* this may be the room others wait for */

    ngx_smtp_relay_wake(conn->relay);

    if (ngx_smtp_conn_worn(conn) || !ngx_smtp_relay_active(conn->relay)) {
        return ngx_smtp_conn_quit(conn);
    }

    d = ngx_smtp_route_next(conn->route);

    if (d == NULL) {
        ngx_smtp_conn_idle(conn, 1);
        return NGX_DECLINED;
    }

    conn->delivery = d;
    d->conn = conn;
    conn->reused = 1;

    if (!d->ready) {

        /* while the envelope is read a word of the peer still counts */

        ngx_smtp_peer_timeout(conn->peer, conn->route->conf->command_timeout);

        return NGX_DECLINED;
    }

    return ngx_smtp_conn_mail(conn);
}


/*
 * A connection that should take no further message.
 */

static ngx_uint_t
ngx_smtp_conn_worn(ngx_smtp_conn_t *conn)
{
    ngx_smtp_caps_t  *caps;

    caps = &conn->client.caps;

    return conn->client.mails >= conn->route->conf->max_messages
           || ((caps->flags & NGX_SMTP_CAP_LIMITS) && caps->mailmax
               && conn->client.mails >= caps->mailmax);
}


static void
ngx_smtp_conn_idle(ngx_smtp_conn_t *conn, ngx_uint_t on)
{
    if (conn->idle == on) {
        return;
    }

    conn->idle = on;

    ngx_smtp_peer_idle(conn->peer, on);

    if (on) {
        ngx_queue_insert_head(&conn->route->idle, &conn->idle_link);
        ngx_smtp_peer_timeout(conn->peer, conn->route->conf->idle_timeout);
        return;
    }

    ngx_queue_remove(&conn->idle_link);
}


static ngx_int_t
ngx_smtp_conn_quit(ngx_smtp_conn_t *conn)
{
    conn->quitting = 1;
    conn->ready = 0;

    ngx_smtp_conn_idle(conn, 0);

    /* another one may be opened meanwhile, and a worker may leave */

    ngx_smtp_site_closed(&conn->route->site, &conn->slot,
                         ngx_smtp_relay_seconds(), ngx_random());

    ngx_smtp_peer_idle(conn->peer, 1);

    ngx_smtp_relay_wake(conn->relay);

    return ngx_smtp_client_quit(&conn->client);
}


static void
ngx_smtp_conn_lost(ngx_smtp_conn_t *conn, ngx_uint_t how)
{
    if (conn->idle && how == NGX_SMTP_CLIENT_LOST_TIMEOUT) {
        ngx_smtp_conn_action(conn, ngx_smtp_conn_quit(conn));
        return;
    }

    if (conn->quitting || conn->idle) {
        ngx_smtp_conn_free(conn, 0);
        return;
    }

    if (conn->reused && ngx_smtp_conn_replace(conn, how)) {
        return;
    }

    (void) ngx_smtp_client_lost(&conn->client, how);

    ngx_smtp_conn_closed(conn);
}


/*
 * A kept connection was closed by the peer before its first word to this
 * message: that says nothing about the message.  It starts again, once, on a
 * connection of its own.
 */

static ngx_uint_t
ngx_smtp_conn_replace(ngx_smtp_conn_t *conn, ngx_uint_t how)
{
    ngx_smtp_route_t     *route;
    ngx_smtp_delivery_t  *d;

    d = conn->delivery;

    if (how != NGX_SMTP_CLIENT_LOST_CLOSED || d == NULL || d->again
        || d->outstanding || !ngx_smtp_relay_active(conn->relay))
    {
        return 0;
    }

    route = conn->route;

    d->ignore = 1;
    (void) ngx_smtp_client_lost(&conn->client, how);
    d->ignore = 0;

    d->again = 1;
    d->conn = NULL;
    d->nresults = 0;
    conn->delivery = NULL;

    ngx_smtp_conn_free(conn, 0);

    if (ngx_smtp_conn_open(route, d) == NULL) {
        ngx_smtp_delivery_drop(d, ngx_time() + NGX_SMTP_RELAY_PAUSE);
    }

    return 1;
}


/*
 * The session is over; conn->client.verdict tells why.
 */

static void
ngx_smtp_conn_closed(ngx_smtp_conn_t *conn)
{
    u_char                buf[NGX_SMTP_RESULT_TEXT];
    ngx_uint_t            kind;
    ngx_smtp_verdict_t    v;
    ngx_smtp_delivery_t  *d;

    if (conn->quitting || conn->idle) {
        ngx_smtp_conn_free(conn, 0);
        return;
    }

    if (!conn->ready) {
        if (ngx_smtp_conn_retry(conn)) {
            return;
        }

        kind = NGX_SMTP_SITE_CONNECT;

    } else {
        kind = NGX_SMTP_SITE_SESSION;
    }

    ngx_smtp_site_failure(&conn->route->site, &conn->slot, kind,
                          ngx_smtp_relay_seconds(), ngx_random());

    d = conn->delivery;
    conn->delivery = NULL;

    if (d) {
        if (!d->ready) {

            /* nothing was tried: the envelope was still being read */

            ngx_smtp_delivery_drop(d, ngx_time());

        } else if (conn->ready && d->tx.nrcpts) {
            (void) ngx_smtp_delivery_done(d, 1);

        } else {
            ngx_smtp_conn_reason(conn, &v, buf, sizeof(buf));
            ngx_smtp_delivery_failed(d, &v);
        }
    }

    ngx_smtp_conn_free(conn, kind == NGX_SMTP_SITE_CONNECT);
}


/*
 * No session with this server: in clear if its TLS is broken and may be done
 * without, else the next server.
 */

static ngx_uint_t
ngx_smtp_conn_retry(ngx_smtp_conn_t *conn)
{
    u_char              buf[NGX_SMTP_RESULT_TEXT];
    ngx_smtp_verdict_t  v;

    if (!ngx_smtp_relay_active(conn->relay)) {
        return 0;
    }

    if (conn->client.verdict.stage == NGX_SMTP_CLIENT_ST_TLS
        && conn->route->conf->tls == NGX_SMTP_RELAY_TLS_OPPORTUNISTIC
        && !conn->no_tls)
    {
        ngx_log_error(NGX_LOG_WARN, &conn->peer->log, 0,
                      "TLS with next hop failed, trying without");

        conn->no_tls = 1;

        ngx_smtp_conn_client(conn);
        ngx_smtp_peer_reconnect(conn->peer);

        return 1;
    }

    if (conn->client.verdict.stage == NGX_SMTP_CLIENT_ST_CONNECT) {

        /* all servers were tried */

        return 0;
    }

    ngx_smtp_conn_reason(conn, &v, buf, sizeof(buf));

    ngx_log_error(NGX_LOG_ERR, &conn->peer->log, 0,
                  "no session with next hop: %V", &v.text);

    if (ngx_smtp_peer_next(conn->peer) == NGX_AGAIN) {
        conn->no_tls = 0;
        ngx_smtp_conn_client(conn);
        return 1;
    }

    return 0;
}


/*
 * The verdict of the session in words that name what happened.
 */

static void
ngx_smtp_conn_reason(ngx_smtp_conn_t *conn, ngx_smtp_verdict_t *v,
    u_char *buf, size_t size)
{
    *v = conn->client.verdict;

    if (v->stage == NGX_SMTP_CLIENT_ST_CONNECT) {
        v->local = 1;
        v->code = 451;

        ngx_str_set(&v->status, "4.4.1");

        v->text.data = buf;

        if (conn->peer->err) {
            v->text.len = ngx_snprintf(buf, size, "connect to %V failed: %s",
                                       &conn->route->conf->next_hop,
                                       strerror(conn->peer->err))
                          - buf;

        } else {
            v->text.len = ngx_snprintf(buf, size, "connect to %V failed",
                                       &conn->route->conf->next_hop)
                          - buf;
        }
    }
}


void
ngx_smtp_conn_detach(ngx_smtp_conn_t *conn)
{
    conn->delivery = NULL;

    if (conn->ready && conn->client.state == NGX_SMTP_CLIENT_ST_READY
        && ngx_smtp_relay_active(conn->relay))
    {
        ngx_smtp_conn_idle(conn, 1);
        ngx_smtp_relay_wake(conn->relay);
        return;
    }

    ngx_smtp_conn_free(conn, 0);
}


void
ngx_smtp_conn_close(ngx_smtp_conn_t *conn, ngx_uint_t quit)
{
    u_char  *last, buf[NGX_SMTP_CLIENT_COMMAND_MAX];

    if (quit && conn->ready
        && ngx_smtp_client_quit(&conn->client) == NGX_SMTP_CLIENT_WAIT)
    {
        last = ngx_smtp_client_write(&conn->client, buf, buf + sizeof(buf));

        if (ngx_smtp_peer_put(conn->peer, buf, last - buf) == NGX_OK) {
            (void) ngx_smtp_peer_flush(conn->peer);
        }
    }

    ngx_smtp_conn_free(conn, 0);
}


static void
ngx_smtp_conn_name(ngx_smtp_conn_t *conn)
{
    u_char           *p, buf[NGX_SOCKADDR_STRLEN];
    size_t            len;
    ngx_str_t        *host;
    ngx_smtp_peer_t  *peer;

    peer = conn->peer;
    host = &conn->route->conf->tls_name;

    conn->name = peer->name;

    if (peer->sockaddr->sa_family == AF_UNIX) {
        return;
    }

    len = ngx_sock_ntop(peer->sockaddr, peer->socklen, buf,
                        NGX_SOCKADDR_STRLEN, 0);

    p = ngx_pnalloc(peer->pool, host->len + len + sizeof("[]:65535") - 1);
    if (p == NULL) {
        return;
    }

    conn->name.data = p;
    conn->name.len = ngx_sprintf(p, "%V[%*s]:%ui", host, len, buf,
                                 (ngx_uint_t)
                                     ngx_inet_get_port(peer->sockaddr))
                     - p;
}


static void
ngx_smtp_conn_free(ngx_smtp_conn_t *conn, ngx_uint_t failed)
{
    ngx_smtp_conn_idle(conn, 0);

    ngx_smtp_site_closed(&conn->route->site, &conn->slot,
                         ngx_smtp_relay_seconds(), ngx_random());

    if (conn->delivery) {
        conn->delivery->conn = NULL;
    }

    ngx_queue_remove(&conn->link);

    ngx_smtp_relay_wake(conn->relay);

    ngx_smtp_peer_close(conn->peer, failed);
}
