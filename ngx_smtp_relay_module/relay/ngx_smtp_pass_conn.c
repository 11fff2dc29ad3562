
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * One connection to a backend, between the peer, which moves bytes, and the
 * client engine, which knows the protocol; and the idle ones of this worker.
 *
 *   get -> connect -> dialogue -> READY -> pass .. -> release
 *    ^                                                  |
 *    +--- idle <----------- DONE <----------- RSET <----+
 *
 * An idle connection has had a complete reply to the end of data or to RSET,
 * and nothing behind it.  A byte that comes meanwhile ends it: it could only
 * be taken for the reply to something else.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_pass_private.h"


/*
 * Refusals since the last message that was taken, from which on a connection
 * is not kept: servers count them as errors of one client, and become slow or
 * leave (Postfix after 10 and 20)
 */
#define NGX_SMTP_PASS_CONN_REFUSED  8


static ngx_smtp_pass_conn_t *ngx_smtp_pass_conn_take(ngx_smtp_pass_t *ps);
static ngx_uint_t ngx_smtp_pass_conn_quiet(ngx_smtp_pass_conn_t *conn);
static ngx_int_t ngx_smtp_pass_conn_open(ngx_smtp_pass_t *ps);
static void ngx_smtp_pass_conn_client(ngx_smtp_pass_conn_t *conn,
    ngx_smtp_pass_t *ps);
static ngx_int_t ngx_smtp_pass_conn_identify(ngx_pool_t *pool,
    ngx_smtp_pass_conn_t *conn, ngx_smtp_pass_t *ps, ngx_addr_t **local);
static ngx_int_t ngx_smtp_pass_conn_copy(ngx_pool_t *pool, ngx_str_t *dst,
    ngx_str_t *src);
static ngx_int_t ngx_smtp_pass_conn_connected(ngx_smtp_talk_t *talk);
static ngx_int_t ngx_smtp_pass_conn_input(ngx_smtp_talk_t *talk,
    ngx_int_t action);
static ngx_int_t ngx_smtp_pass_conn_ready(ngx_smtp_talk_t *talk);
static ngx_int_t ngx_smtp_pass_conn_more(ngx_smtp_talk_t *talk);
static ngx_int_t ngx_smtp_pass_conn_body(ngx_smtp_talk_t *talk);
static ngx_int_t ngx_smtp_pass_conn_done(ngx_smtp_talk_t *talk);
static ngx_int_t ngx_smtp_pass_conn_sent(ngx_smtp_talk_t *talk);
static void ngx_smtp_pass_conn_lost(ngx_smtp_talk_t *talk, ngx_uint_t how);
static void ngx_smtp_pass_conn_closed(ngx_smtp_talk_t *talk);
static void ngx_smtp_pass_conn_log(ngx_smtp_pass_conn_t *conn);
static ngx_uint_t ngx_smtp_pass_conn_blamed(ngx_smtp_pass_conn_t *conn);
static ngx_uint_t ngx_smtp_pass_conn_over(ngx_smtp_pass_conn_t *conn);
static ngx_uint_t ngx_smtp_pass_conn_worn(ngx_smtp_pass_conn_t *conn);
static void ngx_smtp_pass_conn_idle(ngx_smtp_pass_conn_t *conn);
static void ngx_smtp_pass_conn_busy(ngx_smtp_pass_conn_t *conn);
static void ngx_smtp_pass_conn_free(ngx_smtp_pass_conn_t *conn);


static ngx_smtp_talk_callbacks_t  ngx_smtp_pass_conn_callbacks = {
    ngx_smtp_pass_conn_connected,
    ngx_smtp_pass_conn_input,
    ngx_smtp_pass_conn_ready,
    ngx_smtp_pass_conn_more,
    ngx_smtp_pass_conn_body,
    ngx_smtp_pass_conn_done,
    ngx_smtp_pass_conn_sent,
    ngx_smtp_pass_conn_lost,
    ngx_smtp_pass_conn_closed
};


ngx_int_t
ngx_smtp_pass_conn_get(ngx_smtp_pass_t *ps, ngx_uint_t fresh)
{
    ngx_smtp_pass_conn_t  *conn;

    if (!fresh) {
        conn = ngx_smtp_pass_conn_take(ps);

        if (conn) {
            conn->pass = ps;
            conn->reused = 1;
            ps->conn = conn;

            ngx_smtp_pass_conn_action(conn, ngx_smtp_pass_ready(ps));
            return NGX_OK;
        }
    }

    return ngx_smtp_pass_conn_open(ps);
}


static ngx_smtp_pass_conn_t *
ngx_smtp_pass_conn_take(ngx_smtp_pass_t *ps)
{
    ngx_queue_t           *q, *next;
    ngx_smtp_pass_conn_t  *conn;

    for (q = ngx_queue_head(&ps->conf->idle);
         q != ngx_queue_sentinel(&ps->conf->idle);
         q = next)
    {
        next = ngx_queue_next(q);
        conn = ngx_queue_data(q, ngx_smtp_pass_conn_t, link);

        if (conn->key.len != ps->who.key.len
            || ngx_memcmp(conn->key.data, ps->who.key.data, conn->key.len) != 0
            || ngx_cmp_sockaddr(conn->peer->sockaddr, conn->peer->socklen,
                                ps->sockaddr, ps->socklen, 1)
               != NGX_OK)
        {
            continue;
        }

        if (ngx_smtp_pass_conn_worn(conn)
            || !ngx_smtp_pass_conn_quiet(conn))
        {
            ngx_smtp_pass_conn_close(conn);
            continue;
        }

        ngx_smtp_pass_conn_busy(conn);

        return conn;
    }

    return NULL;
}


/*
 * What the event loop has not seen yet must not become the reply to our next
 * command: the kernel is asked.
 */

static ngx_uint_t
ngx_smtp_pass_conn_quiet(ngx_smtp_pass_conn_t *conn)
{
    u_char            c;
    ssize_t           n;
    ngx_smtp_peer_t  *p;

    p = conn->peer;

    if (p->connection == NULL || p->event.posted || p->in.pos != p->in.last) {
        return 0;
    }

    do {
        n = recv(p->connection->fd, &c, 1, MSG_PEEK);
    } while (n == -1 && ngx_socket_errno == NGX_EINTR);

    return n == -1 && ngx_socket_errno == NGX_EAGAIN;
}


static ngx_int_t
ngx_smtp_pass_conn_open(ngx_smtp_pass_t *ps)
{
    ngx_addr_t            *local;
    ngx_smtp_peer_t       *p;
    ngx_smtp_pass_conf_t  *conf;
    ngx_smtp_pass_conn_t  *conn;

    conf = ps->conf;

    p = ngx_smtp_peer_create(ps->txn->log, conf->send_timeout,
                             ngx_smtp_talk_handler, NULL);
    if (p == NULL) {
        return NGX_ERROR;
    }

    conn = ngx_pcalloc(p->pool, sizeof(ngx_smtp_pass_conn_t));

    if (conn == NULL
        || ngx_smtp_pass_conn_identify(p->pool, conn, ps, &local) != NGX_OK)
    {
        ngx_smtp_peer_close(p, 0);
        return NGX_ERROR;
    }

    p->data = &conn->talk;
    p->tls = &conn->tls;
    p->no_sni = !conf->ssl_server_name;
    p->transparent = conf->bind_transparent;

    conn->talk.callbacks = &ngx_smtp_pass_conn_callbacks;
    conn->talk.peer = p;
    conn->talk.client = &conn->client;
    conn->talk.data = conn;
    conn->talk.timeout = conf->timeout;
    conn->talk.data_timeout = conf->data_timeout;
    conn->talk.ssl = conf->ssl;
    conn->talk.tls_name = &conn->tls_name;
    conn->talk.verify = conf->ssl_verify;

    conn->peer = p;
    conn->conf = conf;
    conn->pass = ps;
    conn->born = ngx_current_msec;

    ps->conn = conn;

    ngx_smtp_pass_conn_client(conn, ps);

    ngx_smtp_peer_connect(p, ps->sockaddr, ps->socklen, &ps->name, local,
                          conf->connect_timeout);

    return NGX_OK;
}


static void
ngx_smtp_pass_conn_client(ngx_smtp_pass_conn_t *conn, ngx_smtp_pass_t *ps)
{
    ngx_smtp_pass_conf_t    *conf;
    ngx_smtp_client_conf_t   cc;

    conf = conn->conf;

    ngx_memzero(&cc, sizeof(ngx_smtp_client_conf_t));

    cc.helo = conf->hostname;
    cc.tls = (conf->tls == NGX_SMTP_PASS_SSL_STARTTLS)
             ? NGX_SMTP_CLIENT_TLS_REQUIRE : NGX_SMTP_CLIENT_TLS_OFF;
    cc.tls_on = (conf->tls == NGX_SMTP_PASS_SSL_ON);

    /* of the transaction: read before the engine is READY only */

    cc.user = ps->who.user;
    cc.password = ps->who.password;
    cc.xoauth2 = (conf->auth == NGX_SMTP_PASS_AUTH_XOAUTH2);

    if (ps->who.xclient) {
        cc.xclient = ps->who.xclient;
        cc.xclient_helo = ps->txn->origin.helo;
    }

    ngx_smtp_client_init(&conn->client, &cc);
}


/* What the connection needs of the transaction's identity, in its own pool. */

static ngx_int_t
ngx_smtp_pass_conn_identify(ngx_pool_t *pool, ngx_smtp_pass_conn_t *conn,
    ngx_smtp_pass_t *ps, ngx_addr_t **local)
{
    ngx_str_t                  parts[4];
    ngx_addr_t                *addr;
    ngx_smtp_pass_conf_t      *conf;
    ngx_smtp_pass_identity_t  *who;

    who = &ps->who;
    conf = ps->conf;

    *local = NULL;

    if (ngx_smtp_pass_conn_copy(pool, &conn->key, &who->key) != NGX_OK
        || ngx_smtp_pass_conn_copy(pool, &conn->tls_name, &who->tls_name)
           != NGX_OK
        || ngx_smtp_pass_conn_copy(pool, &conn->header, &who->header) != NGX_OK
        || ngx_smtp_pass_conn_copy(pool, &conn->tls.certificate,
                                   &who->certificate)
           != NGX_OK
        || ngx_smtp_pass_conn_copy(pool, &conn->tls.key, &who->certificate_key)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    conn->tls.passwords = conf->ssl_passwords;
    conn->tls.resume = conf->ssl_resume;

    if (conf->ssl_resume) {
        parts[0].data = (u_char *) ps->sockaddr;
        parts[0].len = ps->socklen;
        parts[1] = who->tls_name;
        parts[2] = who->certificate;
        parts[3] = who->certificate_key;

        ngx_smtp_resume_id(conn->tls.id, parts, 4);
    }

    if (who->local) {
        addr = ngx_palloc(pool, sizeof(ngx_addr_t));
        if (addr == NULL) {
            return NGX_ERROR;
        }

        *addr = *who->local;

        addr->sockaddr = ngx_palloc(pool, addr->socklen);
        if (addr->sockaddr == NULL
            || ngx_smtp_pass_conn_copy(pool, &addr->name, &who->local->name)
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        ngx_memcpy(addr->sockaddr, who->local->sockaddr, addr->socklen);

        *local = addr;
    }

    return NGX_OK;
}


/* With a NUL behind, for names of files. */

static ngx_int_t
ngx_smtp_pass_conn_copy(ngx_pool_t *pool, ngx_str_t *dst, ngx_str_t *src)
{
    if (src->len == 0) {
        ngx_str_null(dst);
        return NGX_OK;
    }

    dst->len = src->len;
    dst->data = ngx_pnalloc(pool, src->len + 1);

    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_cpymem(dst->data, src->data, src->len);
    dst->data[src->len] = '\0';

    return NGX_OK;
}


void
ngx_smtp_pass_conn_action(ngx_smtp_pass_conn_t *conn, ngx_int_t action)
{
    ngx_smtp_talk_action(&conn->talk, action);
}


static ngx_int_t
ngx_smtp_pass_conn_connected(ngx_smtp_talk_t *talk)
{
    ngx_smtp_pass_conn_t  *conn;

    conn = talk->data;

    if (conn->header.len == 0) {
        return NGX_OK;
    }

    /* TLS may be next, and writes by itself: it must be out */

    if (ngx_smtp_peer_put(conn->peer, conn->header.data, conn->header.len)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_smtp_peer_flush(conn->peer) == NGX_OK ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_smtp_pass_conn_input(ngx_smtp_talk_t *talk, ngx_int_t action)
{
    ngx_smtp_pass_conn_t  *conn;

    conn = talk->data;

    if (conn->idle) {

        /* nothing was asked: mostly "421 idle for too long" */

        ngx_smtp_pass_conn_free(conn);
        return NGX_DECLINED;
    }

    /* NGX_DECLINED: not one reply is complete */

    if (action != NGX_SMTP_CLIENT_CLOSE && action != NGX_DECLINED) {
        conn->reused = 0;
    }

    return action;
}


static ngx_int_t
ngx_smtp_pass_conn_ready(ngx_smtp_talk_t *talk)
{
    ngx_smtp_pass_conn_t  *conn;

    conn = talk->data;
    conn->ready = 1;

    ngx_smtp_peer_timeout(conn->peer, 0);

    return ngx_smtp_pass_ready(conn->pass);
}


static ngx_int_t
ngx_smtp_pass_conn_more(ngx_smtp_talk_t *talk)
{
    ngx_smtp_pass_conn_t  *conn;

    conn = talk->data;

    ngx_smtp_peer_timeout(conn->peer, 0);

    return ngx_smtp_pass_more(conn->pass);
}


static ngx_int_t
ngx_smtp_pass_conn_body(ngx_smtp_talk_t *talk)
{
    ngx_smtp_pass_conn_t  *conn;

    conn = talk->data;

    if (conn->peer->event.posted) {

        /* its end was seen: before anything is sent that cannot be undone */

        return NGX_DECLINED;
    }

    return ngx_smtp_pass_body(conn->pass);
}


static ngx_int_t
ngx_smtp_pass_conn_done(ngx_smtp_talk_t *talk)
{
    ngx_smtp_pass_conn_t  *conn;

    conn = talk->data;

    ngx_smtp_peer_timeout(conn->peer, 0);

    if (conn->pass == NULL) {
        ngx_smtp_pass_conn_idle(conn);
        return NGX_DECLINED;
    }

    return ngx_smtp_pass_done(conn->pass);
}


static ngx_int_t
ngx_smtp_pass_conn_sent(ngx_smtp_talk_t *talk)
{
    ngx_smtp_pass_conn_t  *conn;

    conn = talk->data;

    return (conn->pass && conn->pass->sending) ? ngx_smtp_pass_conn_body(talk)
                                               : NGX_DECLINED;
}


static void
ngx_smtp_pass_conn_lost(ngx_smtp_talk_t *talk, ngx_uint_t how)
{
    ngx_smtp_pass_conn_t  *conn;

    conn = talk->data;

    if (conn->peer->unable) {
        how = NGX_SMTP_CLIENT_LOST_LOCAL;
    }

    if (conn->idle
        && (how == NGX_SMTP_CLIENT_LOST_LOCAL
            || how == NGX_SMTP_CLIENT_LOST_TIMEOUT))
    {
        ngx_smtp_pass_conn_close(conn);
        return;
    }

    conn->timedout = (how == NGX_SMTP_CLIENT_LOST_TIMEOUT);
    conn->ours = (how == NGX_SMTP_CLIENT_LOST_LOCAL);
    conn->closed = (how == NGX_SMTP_CLIENT_LOST_CLOSED);

    (void) ngx_smtp_client_lost(&conn->client, how);

    ngx_smtp_pass_conn_closed(talk);
}


/*
 * The session is over; conn->client.verdict tells why.  A kept connection that
 * fails before its first reply tells of the past only.
 */

static void
ngx_smtp_pass_conn_closed(ngx_smtp_talk_t *talk)
{
    ngx_uint_t             over, ours, idle, blamed, stage, timedout, reused;
    ngx_smtp_pass_t       *ps;
    ngx_smtp_verdict_t    *v;
    ngx_smtp_pass_conn_t  *conn;

    conn = talk->data;
    ps = conn->pass;

    if (ps == NULL) {
        ngx_smtp_pass_conn_free(conn);
        return;
    }

    v = &conn->client.verdict;

    stage = v->stage;
    reused = conn->reused;
    timedout = conn->timedout;
    ours = conn->ours;
    blamed = ngx_smtp_pass_conn_blamed(conn);
    idle = (ps->goal == NGX_SMTP_PASS_IDLE);
    over = ngx_smtp_pass_conn_over(conn);

    ngx_smtp_pass_conn_log(conn);

    /* what happens while nobody asks for anything answers nothing */

    if (!over && !idle) {
        ngx_smtp_pass_verdict(ps, v);
    }

    ps->conn = NULL;
    conn->pass = NULL;

    ngx_smtp_pass_conn_free(conn);

    if (over) {
        (void) ngx_smtp_pass_done(ps);
        return;
    }

    if (idle) {
        ngx_smtp_pass_lost(ps, stage, timedout);
        return;
    }

    if (ours && ngx_exiting && stage != NGX_SMTP_CLIENT_ST_EOM) {

        /* worker_shutdown_timeout: nothing new is begun */

        ngx_smtp_pass_unpick(ps, 0);
        ngx_smtp_pass_give_up(ps, NGX_SMTP_PASS_ERROR|NGX_SMTP_PASS_TIMEOUT);
        return;
    }

    if (reused) {
        ngx_smtp_pass_reconnect(ps);
        return;
    }

    if (!blamed) {

        /* no failure of the server: no max_fails */

        ngx_smtp_pass_unpick(ps, 0);
    }

    ngx_smtp_pass_lost(ps, stage, timedout);
}


static void
ngx_smtp_pass_conn_log(ngx_smtp_pass_conn_t *conn)
{
    ngx_uint_t           level;
    ngx_smtp_verdict_t  *v;

    v = &conn->client.verdict;

    if (conn->reused) {
        ngx_log_error(NGX_LOG_INFO, &conn->peer->log, 0,
                      "kept connection to upstream is gone: %V", &v->text);
        return;
    }

    level = (conn->pass->goal == NGX_SMTP_PASS_IDLE) ? NGX_LOG_INFO
                                                     : NGX_LOG_ERR;

    ngx_log_error(level, &conn->peer->log, 0, "%s: %ui %V",
                  conn->ready ? "upstream failed" : "no session with upstream",
                  v->code, &v->text);
}


/*
 * Does the end tell of the server?  Not if the fault was ours.  Nor if it is
 * the server's word on a client it was told of: by a PROXY header, XCLIENT or
 * a login of his.  Nor if a 421 came behind recipients that it had refused:
 * too many errors.  One client could else take all servers from all others.
 */

static ngx_uint_t
ngx_smtp_pass_conn_blamed(ngx_smtp_pass_conn_t *conn)
{
    ngx_smtp_verdict_t    *v;
    ngx_smtp_pass_conf_t  *conf;

    v = &conn->client.verdict;
    conf = conn->conf;

    if (conn->ours) {
        return 0;
    }

    if (v->local) {
        return 1;
    }

    if (conn->header.len || conn->client.xclient
        || v->stage == NGX_SMTP_CLIENT_ST_XCLIENT
        || (v->stage == NGX_SMTP_CLIENT_ST_RCPT && conn->refused))
    {
        return 0;
    }

    return v->stage < NGX_SMTP_CLIENT_ST_AUTH
           || v->stage > NGX_SMTP_CLIENT_ST_AUTH_CANCEL
           || (conf->auth != NGX_SMTP_PASS_AUTH_CLIENT
               && conf->user->lengths == NULL
               && conf->password->lengths == NULL);
}


/*
 * What was asked for had its answer before the end came, and that stands: a
 * reply too many behind the one that ended the message; or a 5xx to MAIL, and
 * the peer left, perhaps with a 421, instead of a word on the recipient.
 */

static ngx_uint_t
ngx_smtp_pass_conn_over(ngx_smtp_pass_conn_t *conn)
{
    ngx_uint_t           stage;
    ngx_smtp_pass_t     *ps;
    ngx_smtp_verdict_t  *v;

    ps = conn->pass;
    v = &conn->client.verdict;

    if (!conn->ready || conn->reused || ps->goal == NGX_SMTP_PASS_IDLE) {
        return 0;
    }

    stage = ps->verdict.stage;

    if (v->stage == NGX_SMTP_CLIENT_ST_READY) {
        return stage > NGX_SMTP_CLIENT_ST_READY;
    }

    return conn->client.refused && (conn->closed || !v->local)
           && stage == NGX_SMTP_CLIENT_ST_MAIL && ps->verdict.code >= 500;
}


void
ngx_smtp_pass_conn_release(ngx_smtp_pass_conn_t *conn)
{
    if (conn->pass) {
        conn->pass->conn = NULL;
        conn->pass = NULL;
    }

    if (ngx_smtp_pass_conn_worn(conn)
        || conn->peer->in.pos != conn->peer->in.last
        || conn->peer->event.posted
        || ngx_smtp_peer_pending(conn->peer))
    {
        ngx_smtp_pass_conn_close(conn);
        return;
    }

    if (conn->client.state == NGX_SMTP_CLIENT_ST_READY && !conn->client.rset) {
        ngx_smtp_pass_conn_idle(conn);
        return;
    }

    if (conn->client.state != NGX_SMTP_CLIENT_ST_READY
        && (conn->client.state != NGX_SMTP_CLIENT_ST_RCPT
            || conn->client.pending))
    {
        ngx_smtp_pass_conn_close(conn);
        return;
    }

    /* nobody waits for it: neither a client nor a worker that leaves */

    ngx_smtp_peer_idle(conn->peer, 1);

    ngx_smtp_pass_conn_action(conn, ngx_smtp_client_rset(&conn->client));
}


static ngx_uint_t
ngx_smtp_pass_conn_worn(ngx_smtp_pass_conn_t *conn)
{
    ngx_smtp_caps_t       *caps;
    ngx_smtp_pass_conf_t  *conf;

    conf = conn->conf;
    caps = &conn->client.caps;

    return !conn->ready || ngx_exiting || conf->keepalive == 0
           || conn->refused >= NGX_SMTP_PASS_CONN_REFUSED
           || conn->client.mails >= conf->keepalive_messages
           || ngx_current_msec - conn->born >= conf->keepalive_time
           || ((caps->flags & NGX_SMTP_CAP_LIMITS) && caps->mailmax
               && conn->client.mails >= caps->mailmax);
}


static void
ngx_smtp_pass_conn_idle(ngx_smtp_pass_conn_t *conn)
{
    ngx_queue_t           *q;
    ngx_smtp_pass_conf_t  *conf;

    conf = conn->conf;

    if (ngx_smtp_pass_conn_worn(conn)) {
        ngx_smtp_pass_conn_close(conn);
        return;
    }

    if (conf->nidle >= conf->keepalive) {
        q = ngx_queue_last(&conf->idle);

        ngx_smtp_pass_conn_close(ngx_queue_data(q, ngx_smtp_pass_conn_t,
                                                link));
    }

    conn->idle = 1;
    conf->nidle++;

    ngx_queue_insert_head(&conf->idle, &conn->link);

    ngx_smtp_peer_idle(conn->peer, 1);
    ngx_smtp_peer_timeout(conn->peer, conf->keepalive_timeout);
}


static void
ngx_smtp_pass_conn_busy(ngx_smtp_pass_conn_t *conn)
{
    if (!conn->idle) {
        return;
    }

    conn->idle = 0;
    conn->conf->nidle--;

    ngx_queue_remove(&conn->link);

    ngx_smtp_peer_idle(conn->peer, 0);
    ngx_smtp_peer_timeout(conn->peer, 0);
}


void
ngx_smtp_pass_conn_gone(ngx_smtp_pass_conn_t *conn)
{
    ngx_smtp_pass_conn_lost(&conn->talk, NGX_SMTP_CLIENT_LOST_CLOSED);
}


void
ngx_smtp_pass_conn_close(ngx_smtp_pass_conn_t *conn)
{
    if (conn->ready && conn->client.pending == 0
        && conn->peer->connection && !conn->peer->event.posted
        && (conn->client.state == NGX_SMTP_CLIENT_ST_READY
            || conn->client.state == NGX_SMTP_CLIENT_ST_RCPT)
        && ngx_smtp_peer_put(conn->peer, (u_char *) "QUIT" CRLF, 6) == NGX_OK)
    {
        (void) ngx_smtp_peer_flush(conn->peer);
    }

    ngx_smtp_pass_conn_free(conn);
}


static void
ngx_smtp_pass_conn_free(ngx_smtp_pass_conn_t *conn)
{
    ngx_smtp_pass_conn_busy(conn);

    if (conn->pass) {
        conn->pass->conn = NULL;
    }

    ngx_smtp_peer_close(conn->peer, 0);
}
