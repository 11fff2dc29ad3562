
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
#include "ngx_smtp_zone.h"


static void ngx_smtp_conn_handler(ngx_smtp_peer_t *p, ngx_uint_t event);
static void ngx_smtp_conn_connect(ngx_smtp_conn_t *conn);
static ngx_int_t ngx_smtp_conn_connected(ngx_smtp_talk_t *talk);
static void ngx_smtp_conn_client(ngx_smtp_conn_t *conn);
static ngx_int_t ngx_smtp_conn_input(ngx_smtp_talk_t *talk,
    ngx_int_t action);
static ngx_int_t ngx_smtp_conn_ready(ngx_smtp_talk_t *talk);
static ngx_int_t ngx_smtp_conn_mail(ngx_smtp_conn_t *conn);
static ngx_uint_t ngx_smtp_conn_rcpts(ngx_smtp_conn_t *conn);
static ngx_int_t ngx_smtp_conn_body(ngx_smtp_talk_t *talk);
static ngx_int_t ngx_smtp_conn_done(ngx_smtp_talk_t *talk);
static ngx_int_t ngx_smtp_conn_sent(ngx_smtp_talk_t *talk);
static ngx_int_t ngx_smtp_conn_next(ngx_smtp_conn_t *conn);
static void ngx_smtp_conn_unready(ngx_smtp_conn_t *conn);
static ngx_uint_t ngx_smtp_conn_worn(ngx_smtp_conn_t *conn);
static void ngx_smtp_conn_idle(ngx_smtp_conn_t *conn, ngx_uint_t on);
static ngx_int_t ngx_smtp_conn_quit(ngx_smtp_conn_t *conn);
static void ngx_smtp_conn_lost(ngx_smtp_talk_t *talk, ngx_uint_t how);
static ngx_uint_t ngx_smtp_conn_replace(ngx_smtp_conn_t *conn,
    ngx_uint_t how);
static void ngx_smtp_conn_closed(ngx_smtp_talk_t *talk);
static ngx_uint_t ngx_smtp_conn_retry(ngx_smtp_conn_t *conn);
static void ngx_smtp_conn_reason(ngx_smtp_conn_t *conn,
    ngx_smtp_verdict_t *v, u_char *buf, size_t size);
static void ngx_smtp_conn_name(ngx_smtp_conn_t *conn);
static void ngx_smtp_conn_free(ngx_smtp_conn_t *conn, ngx_uint_t failed);


static ngx_smtp_talk_callbacks_t  ngx_smtp_conn_callbacks = {
    ngx_smtp_conn_connected,
    ngx_smtp_conn_input,
    ngx_smtp_conn_ready,
    NULL,
    ngx_smtp_conn_body,
    ngx_smtp_conn_done,
    ngx_smtp_conn_sent,
    ngx_smtp_conn_lost,
    ngx_smtp_conn_closed
};


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

    p->data = &conn->talk;

    conn->talk.callbacks = &ngx_smtp_conn_callbacks;
    conn->talk.peer = p;
    conn->talk.client = &conn->client;
    conn->talk.data = conn;
    conn->talk.timeout = route->conf->command_timeout;
    conn->talk.data_timeout = route->conf->data_timeout;
    conn->talk.ssl = route->conf->ssl;
    conn->talk.tls_name = &route->conf->tls_name;

    conn->relay = relay;
    conn->route = route;
    conn->peer = p;

    ngx_smtp_site_opened(&route->site, &conn->slot, ngx_smtp_relay_seconds());

    ngx_queue_insert_tail(&relay->conns, &conn->link);
    ngx_smtp_gauge_inc(NGX_SMTP_GAUGE_OUTBOUND);

    conn->delivery = d;
    d->conn = conn;

    if (d->ready) {
        ngx_smtp_conn_connect(conn);
    }

    return conn;
}


static void
ngx_smtp_conn_handler(ngx_smtp_peer_t *p, ngx_uint_t event)
{
    ngx_smtp_talk_t  *talk;
    ngx_smtp_conn_t  *conn;

    talk = p->data;
    conn = talk->data;

    if (conn->delivery) {
        ngx_smtp_message_work(conn->delivery->message);
    }

    ngx_smtp_talk_handler(p, event);
}


void
ngx_smtp_conn_use(ngx_smtp_conn_t *conn, ngx_smtp_delivery_t *d)
{
    ngx_smtp_conn_idle(conn, 0);

    conn->delivery = d;
    d->conn = conn;
    conn->reused = 1;

    if (d->ready) {
        ngx_smtp_talk_action(&conn->talk, ngx_smtp_conn_mail(conn));
        return;
    }

    ngx_smtp_conn_unready(conn);
}


void
ngx_smtp_conn_go(ngx_smtp_conn_t *conn)
{
    if (conn->ready) {
        ngx_smtp_talk_action(&conn->talk, ngx_smtp_conn_mail(conn));
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
        ngx_smtp_conn_lost(&conn->talk, NGX_SMTP_CLIENT_LOST_LOCAL);
        return;
    }

    conn->eval = s;

    if (conn->route->address) {
        ngx_smtp_peer_connect(conn->peer, conn->route->address->sockaddr,
                              conn->route->address->socklen,
                              &conn->route->address->name, qcf->local,
                              qcf->connect_timeout);

    } else {
        ngx_smtp_peer_connect_upstream(conn->peer, s, qcf->upstream,
                                       qcf->local, qcf->connect_timeout);
    }

    /* what the balancer wanted to know of the message may go with it */

    ngx_memzero(ngx_smtp_eval_get_ctx(s), sizeof(ngx_smtp_eval_ctx_t));
}


static ngx_int_t
ngx_smtp_conn_connected(ngx_smtp_talk_t *talk)
{
    ngx_str_t        *name;
    ngx_smtp_conn_t  *conn;

    conn = talk->data;
    name = &conn->peer->name;

    /*
     * The server whose TLS failed could not be reached in clear, and this is
     * the next one
     */

    if (conn->no_tls
        && (name->len != conn->tls_failed.len
            || ngx_memcmp(name->data, conn->tls_failed.data, name->len) != 0))
    {
        conn->no_tls = 0;
        ngx_smtp_conn_client(conn);
    }

    ngx_smtp_conn_name(conn);

    return NGX_OK;
}


static void
ngx_smtp_conn_client(ngx_smtp_conn_t *conn)
{
    ngx_smtp_queue_conf_t   *qcf;
    ngx_smtp_client_conf_t   cc;

    qcf = conn->route->conf;
    conn->hung_up = 0;

    ngx_memzero(&cc, sizeof(ngx_smtp_client_conf_t));

    cc.helo = qcf->hostname;
    cc.tls = conn->no_tls ? NGX_SMTP_CLIENT_TLS_OFF : qcf->tls;

    ngx_smtp_client_init(&conn->client, &cc);
}


static ngx_int_t
ngx_smtp_conn_input(ngx_smtp_talk_t *talk, ngx_int_t action)
{
    ngx_smtp_conn_t  *conn;

    conn = talk->data;

    /* "421 idle for too long" may cross with the next message */

    if (action == NGX_SMTP_CLIENT_CLOSE && conn->reused
        && conn->client.verdict.code == 421
        && ngx_smtp_conn_replace(conn, NGX_SMTP_CLIENT_LOST_CLOSED))
    {
        return NGX_DECLINED;
    }

    conn->reused = 0;

    return action;
}


static ngx_int_t
ngx_smtp_conn_ready(ngx_smtp_talk_t *talk)
{
    ngx_smtp_conn_t  *conn;

    conn = talk->data;
    conn->ready = 1;

    ngx_smtp_site_ready(&conn->route->site, &conn->slot);

    return conn->delivery ? ngx_smtp_conn_mail(conn)
                          : ngx_smtp_conn_next(conn);
}


static ngx_int_t
ngx_smtp_conn_mail(ngx_smtp_conn_t *conn)
{
    ngx_smtp_delivery_t  *d;

    d = conn->delivery;

    d->last = ngx_min(d->ntodo, d->first + ngx_smtp_conn_rcpts(conn));

    if (ngx_smtp_delivery_mail(d) != NGX_OK) {
        ngx_smtp_delivery_drop(d, ngx_time() + NGX_SMTP_RELAY_PAUSE);

        return ngx_smtp_conn_next(conn);
    }

    return ngx_smtp_client_mail(&conn->client, &d->tx);
}


/* how many recipients a transaction may have: what is configured and known */

static ngx_uint_t
ngx_smtp_conn_rcpts(ngx_smtp_conn_t *conn)
{
    ngx_uint_t         max;
    ngx_smtp_caps_t   *caps;
    ngx_smtp_route_t  *route;

    route = conn->route;
    caps = &conn->client.caps;

    max = route->conf->max_rcpts;

    if ((caps->flags & NGX_SMTP_CAP_LIMITS) && caps->rcptmax) {
        max = ngx_min(max, caps->rcptmax);
    }

    if (conn->delivery->limit) {
        max = ngx_min(max, conn->delivery->limit);
    }

    if (route->limit
        && ngx_smtp_relay_seconds() - route->limited < NGX_SMTP_RELAY_LIMITED)
    {
        max = ngx_min(max, route->limit);
    }

    return max;
}


static ngx_int_t
ngx_smtp_conn_body(ngx_smtp_talk_t *talk)
{
    ngx_int_t         rc;
    ngx_smtp_conn_t  *conn;

    conn = talk->data;
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


static ngx_int_t
ngx_smtp_conn_sent(ngx_smtp_talk_t *talk)
{
    ngx_smtp_conn_t  *conn;

    conn = talk->data;

    return conn->body ? ngx_smtp_conn_body(talk) : NGX_DECLINED;
}


void
ngx_smtp_conn_resume(ngx_smtp_conn_t *conn)
{
    ngx_smtp_talk_action(&conn->talk, ngx_smtp_conn_sent(&conn->talk));
}


static ngx_int_t
ngx_smtp_conn_done(ngx_smtp_talk_t *talk)
{
    ngx_uint_t            i, said, delivered;
    ngx_smtp_conn_t      *conn;
    ngx_smtp_delivery_t  *d;

    conn = talk->data;
    d = conn->delivery;

    conn->reused = 0;
    conn->body = 0;

    said = 0;
    delivered = 0;

    for (i = 0; i < d->nresults; i++) {
        if (d->results[i].status <= NGX_SMTP_RESULT_RELAYED) {
            delivered = 1;
        }

        if (d->results[i].code) {
            said = 1;
        }
    }

    /* what we did not send is no sign of life: the site stays as it is */

    if (delivered) {
        ngx_smtp_site_success(&conn->route->site, &conn->slot);

    } else if (said) {
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
        ngx_smtp_conn_unready(conn);
        return NGX_DECLINED;
    }

    return ngx_smtp_conn_mail(conn);
}


/*
 * The envelope is still being read: the time of an idle connection is over,
 * and a word of the peer still counts.
 */

static void
ngx_smtp_conn_unready(ngx_smtp_conn_t *conn)
{
    ngx_smtp_peer_timeout(conn->peer, conn->route->conf->command_timeout);
}


/*
 * A connection that should take no further message.
 */

static ngx_uint_t
ngx_smtp_conn_worn(ngx_smtp_conn_t *conn)
{
    ngx_smtp_caps_t  *caps;

    caps = &conn->client.caps;

    return conn->client.mails >= conn->route->conf->connection_messages
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
ngx_smtp_conn_lost(ngx_smtp_talk_t *talk, ngx_uint_t how)
{
    ngx_smtp_conn_t  *conn;

    conn = talk->data;

    if (conn->idle && how == NGX_SMTP_CLIENT_LOST_LOCAL) {
        ngx_smtp_conn_close(conn, 1);
        return;
    }

    if (conn->idle && how == NGX_SMTP_CLIENT_LOST_TIMEOUT) {
        ngx_smtp_talk_action(&conn->talk, ngx_smtp_conn_quit(conn));
        return;
    }

    if (conn->quitting || conn->idle) {
        ngx_smtp_conn_free(conn, 0);
        return;
    }

    if (conn->reused && ngx_smtp_conn_replace(conn, how)) {
        return;
    }

    conn->hung_up = (how == NGX_SMTP_CLIENT_LOST_CLOSED);

    (void) ngx_smtp_client_lost(&conn->client, how);

    ngx_smtp_conn_closed(talk);
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
ngx_smtp_conn_closed(ngx_smtp_talk_t *talk)
{
    u_char                buf[NGX_SMTP_RESULT_TEXT];
    ngx_uint_t            kind;
    ngx_smtp_conn_t      *conn;
    ngx_smtp_verdict_t    v;
    ngx_smtp_delivery_t  *d;

    conn = talk->data;

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
        conn->tls_failed = conn->peer->name;

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
    ngx_smtp_gauge_dec(NGX_SMTP_GAUGE_OUTBOUND);

    ngx_smtp_relay_wake(conn->relay);

    ngx_smtp_peer_close(conn->peer, failed);
}
