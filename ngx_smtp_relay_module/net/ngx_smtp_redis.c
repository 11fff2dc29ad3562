
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Redis client of a worker.  The client object is made by the first query and
 * lives until the worker ends; its connection comes and goes:
 *
 *   NONE -> CONNECTING -> [TLS] -> [HANDSHAKE: AUTH, SELECT] -> READY -> NONE
 *
 * Requests stand in waiting, move to sent when the last byte of their command
 * was written, and leave from the front of sent with their reply.  In NONE
 * both queues are empty.  Every request has a pool of its own, which goes
 * after its handler returned.
 */


#include "ngx_smtp_redis.h"


#define NGX_SMTP_REDIS_NONE         0
#define NGX_SMTP_REDIS_CONNECTING   1
#define NGX_SMTP_REDIS_TLS          2
#define NGX_SMTP_REDIS_HANDSHAKE    3
#define NGX_SMTP_REDIS_READY        4

#define NGX_SMTP_REDIS_BUFFER       4096
#define NGX_SMTP_REDIS_MAX_TRIES    2
#define NGX_SMTP_REDIS_MIN_BACKOFF  50
#define NGX_SMTP_REDIS_MAX_BACKOFF  1000


/* how a connection ended */
#define NGX_SMTP_REDIS_BROKEN       0
#define NGX_SMTP_REDIS_TIMED_OUT    1


struct ngx_smtp_redis_s {
    /* the place of the descriptor, for debug logs of the timer */
    void                        *dummy[3];
    ngx_int_t                    ident;

    ngx_queue_t                  link;      /* all of the worker */
    ngx_smtp_redis_conf_t       *conf;
    ngx_pool_t                  *pool;
    ngx_log_t                    log;

    ngx_uint_t                   state;
    ngx_peer_connection_t        peer;
    ngx_event_t                  timer;

    ngx_queue_t                  waiting;
    ngx_queue_t                  sent;
    ngx_uint_t                   npending;  /* in both */

    ngx_str_t                    hello;     /* AUTH and SELECT, formatted */
    size_t                       hello_written;
    ngx_uint_t                   hello_replies; /* of this connection */

    ngx_smtp_redis_reader_t      reader;
    u_char                       buf[NGX_SMTP_REDIS_BUFFER];

    ngx_uint_t                   server;    /* to be tried, or connected */
    ngx_uint_t                   failed;    /* servers, since one was of use */
    ngx_msec_t                   backoff;
    ngx_msec_t                   down_until;
    unsigned                     down:1;
    unsigned                     proven:1;  /* a valid reply has come */
};


static ngx_smtp_redis_t *ngx_smtp_redis_create_client(
    ngx_smtp_redis_conf_t *conf);
static ngx_int_t ngx_smtp_redis_hello(ngx_smtp_redis_t *rds);
static u_char *ngx_smtp_redis_log_error(ngx_log_t *log, u_char *buf,
    size_t len);
static ngx_int_t ngx_smtp_redis_connect(ngx_smtp_redis_t *rds);
static ngx_int_t ngx_smtp_redis_connect_one(ngx_smtp_redis_t *rds);
static void ngx_smtp_redis_connected(ngx_smtp_redis_t *rds);
#if (NGX_SSL)
static void ngx_smtp_redis_tls(ngx_smtp_redis_t *rds);
static void ngx_smtp_redis_tls_handler(ngx_connection_t *c);
#endif
static void ngx_smtp_redis_greet(ngx_smtp_redis_t *rds);
static void ngx_smtp_redis_ready(ngx_smtp_redis_t *rds);
static void ngx_smtp_redis_write_handler(ngx_event_t *wev);
static void ngx_smtp_redis_read_handler(ngx_event_t *rev);
static ngx_int_t ngx_smtp_redis_write(ngx_smtp_redis_t *rds,
    ngx_connection_t *c, ngx_str_t *data, size_t *written);
static void ngx_smtp_redis_send(ngx_smtp_redis_t *rds);
static ngx_int_t ngx_smtp_redis_reply(ngx_smtp_redis_t *rds,
    ngx_smtp_redis_reply_t *reply);
static void ngx_smtp_redis_timer_handler(ngx_event_t *ev);
static void ngx_smtp_redis_settle(ngx_smtp_redis_t *rds);
static void ngx_smtp_redis_lost(ngx_smtp_redis_t *rds, ngx_uint_t how);
static void ngx_smtp_redis_requeue(ngx_smtp_redis_t *rds,
    ngx_queue_t *failed);
static void ngx_smtp_redis_server_failed(ngx_smtp_redis_t *rds);
static void ngx_smtp_redis_fail(ngx_queue_t *failed);
static void ngx_smtp_redis_fail_all(ngx_smtp_redis_t *rds);
static void ngx_smtp_redis_close(ngx_smtp_redis_t *rds);
static void ngx_smtp_redis_free_request(ngx_smtp_redis_request_t *r);


static ngx_queue_t  ngx_smtp_redis_clients;
static ngx_uint_t   ngx_smtp_redis_started;


ngx_smtp_redis_request_t *
ngx_smtp_redis_query(ngx_smtp_redis_conf_t *conf, ngx_str_t *argv,
    ngx_uint_t argc, ngx_smtp_redis_pt handler, void *data)
{
    ngx_pool_t                *pool;
    ngx_smtp_redis_t          *rds;
    ngx_smtp_redis_request_t  *r;

    if (ngx_terminate) {
        return NULL;
    }

    rds = conf->redis;

    if (rds == NULL) {
        rds = ngx_smtp_redis_create_client(conf);

        if (rds == NULL) {
            return NULL;
        }
    }

    if (rds->npending >= conf->max_pending) {
        ngx_log_error(NGX_LOG_ERR, &rds->log, 0,
                      "too many requests pending");
        return NULL;
    }

    if (rds->state == NGX_SMTP_REDIS_NONE && rds->down
        && (ngx_msec_int_t) (rds->down_until - ngx_current_msec) > 0)
    {
        return NULL;
    }

    pool = ngx_create_pool(1024, &rds->log);

    if (pool == NULL) {
        return NULL;
    }

    r = ngx_pcalloc(pool, sizeof(ngx_smtp_redis_request_t));

    if (r == NULL
        || ngx_smtp_redis_format(pool, argv, argc, &r->command) != NGX_OK)
    {
        ngx_destroy_pool(pool);
        return NULL;
    }

    r->pool = pool;
    r->redis = rds;
    r->handler = handler;
    r->data = data;
    r->deadline = ngx_current_msec + conf->timeout;

    if (rds->state == NGX_SMTP_REDIS_NONE
        && ngx_smtp_redis_connect(rds) != NGX_OK)
    {
        ngx_destroy_pool(pool);
        return NULL;
    }

    ngx_queue_insert_tail(&rds->waiting, &r->queue);
    rds->npending++;

    ngx_smtp_redis_settle(rds);

    /* the event sends it: nothing fails while the caller is on the stack */

    if (rds->state == NGX_SMTP_REDIS_READY
        && rds->peer.connection->write->ready)
    {
        ngx_post_event(rds->peer.connection->write, &ngx_posted_events);
    }

    return r;
}


void
ngx_smtp_redis_cancel(ngx_smtp_redis_request_t *r)
{
    ngx_smtp_redis_t  *rds;

    r->handler = NULL;

    if (r->ending || r->written) {

        /* its reply is still to come and must be matched */

        return;
    }

    rds = r->redis;

    ngx_queue_remove(&r->queue);
    rds->npending--;

    ngx_smtp_redis_free_request(r);
    ngx_smtp_redis_settle(rds);
}


void
ngx_smtp_redis_exit_worker(void)
{
    ngx_queue_t               *q;
    ngx_smtp_redis_t          *rds;
    ngx_smtp_redis_request_t  *r;

    if (!ngx_smtp_redis_started) {
        return;
    }

    while (!ngx_queue_empty(&ngx_smtp_redis_clients)) {

        q = ngx_queue_head(&ngx_smtp_redis_clients);
        ngx_queue_remove(q);

        rds = ngx_queue_data(q, ngx_smtp_redis_t, link);

        ngx_smtp_redis_close(rds);
        ngx_queue_add(&rds->sent, &rds->waiting);

        while (!ngx_queue_empty(&rds->sent)) {
            q = ngx_queue_head(&rds->sent);
            ngx_queue_remove(q);

            r = ngx_queue_data(q, ngx_smtp_redis_request_t, queue);
            ngx_smtp_redis_free_request(r);
        }

        rds->conf->redis = NULL;
        ngx_destroy_pool(rds->pool);
    }

    ngx_smtp_redis_started = 0;
}


static ngx_smtp_redis_t *
ngx_smtp_redis_create_client(ngx_smtp_redis_conf_t *conf)
{
    ngx_pool_t        *pool;
    ngx_smtp_redis_t  *rds;

    pool = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, ngx_cycle->log);

    if (pool == NULL) {
        return NULL;
    }

    rds = ngx_pcalloc(pool, sizeof(ngx_smtp_redis_t));

    if (rds == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    rds->pool = pool;
    rds->conf = conf;
    rds->ident = -1;

    rds->log = *ngx_cycle->log;
    rds->log.handler = ngx_smtp_redis_log_error;
    rds->log.data = rds;
    rds->log.action = NULL;

    rds->timer.handler = ngx_smtp_redis_timer_handler;
    rds->timer.data = rds;
    rds->timer.log = &rds->log;

    ngx_queue_init(&rds->waiting);
    ngx_queue_init(&rds->sent);

    if (ngx_smtp_redis_hello(rds) != NGX_OK) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    if (!ngx_smtp_redis_started) {
        ngx_queue_init(&ngx_smtp_redis_clients);
        ngx_smtp_redis_started = 1;
    }

    ngx_queue_insert_tail(&ngx_smtp_redis_clients, &rds->link);

    conf->redis = rds;

    return rds;
}


/* AUTH and SELECT go out together and are answered before anything else */

static ngx_int_t
ngx_smtp_redis_hello(ngx_smtp_redis_t *rds)
{
    u_char                 *p, buf[NGX_INT_T_LEN];
    ngx_str_t               argv[3], auth, select;
    ngx_uint_t              argc;
    ngx_smtp_redis_conf_t  *conf;

    conf = rds->conf;

    ngx_str_null(&auth);
    ngx_str_null(&select);

    if (conf->password.len) {
        argc = 0;
        ngx_str_set(&argv[argc], "AUTH");
        argc++;

        if (conf->username.len) {
            argv[argc++] = conf->username;
        }

        argv[argc++] = conf->password;

        if (ngx_smtp_redis_format(rds->pool, argv, argc, &auth) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (conf->database) {
        ngx_str_set(&argv[0], "SELECT");
        argv[1].data = buf;
        argv[1].len = ngx_sprintf(buf, "%i", conf->database) - buf;

        if (ngx_smtp_redis_format(rds->pool, argv, 2, &select) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    rds->hello.len = auth.len + select.len;

    if (rds->hello.len == 0) {
        return NGX_OK;
    }

    rds->hello.data = ngx_pnalloc(rds->pool, rds->hello.len);

    if (rds->hello.data == NULL) {
        return NGX_ERROR;
    }

    p = rds->hello.data;

    if (auth.len) {
        p = ngx_cpymem(p, auth.data, auth.len);
    }

    if (select.len) {
        ngx_memcpy(p, select.data, select.len);
    }

    return NGX_OK;
}


static u_char *
ngx_smtp_redis_log_error(ngx_log_t *log, u_char *buf, size_t len)
{
    u_char            *p;
    ngx_smtp_redis_t  *rds;

    rds = log->data;
    p = buf;

    if (log->action) {
        p = ngx_snprintf(buf, len, " while %s", log->action);
        len -= p - buf;
        buf = p;
    }

    p = ngx_snprintf(buf, len, ", redis: \"%V\"", &rds->conf->name);
    len -= p - buf;
    buf = p;

    if (rds->peer.name) {
        p = ngx_snprintf(buf, len, ", server: %V", rds->peer.name);
    }

    return p;
}


/*
 * Connects to the next server that does not fail at once.  NGX_OK: under way;
 * NGX_ERROR: all failed, the back-off runs.  Calls no handlers.
 */

static ngx_int_t
ngx_smtp_redis_connect(ngx_smtp_redis_t *rds)
{
    while (rds->failed < rds->conf->servers.nelts) {

        if (ngx_smtp_redis_connect_one(rds) == NGX_OK) {
            return NGX_OK;
        }

        ngx_smtp_redis_close(rds);
        ngx_smtp_redis_server_failed(rds);
    }

    rds->failed = 0;
    rds->server = 0;

    rds->backoff = rds->backoff ? rds->backoff * 2
                                : NGX_SMTP_REDIS_MIN_BACKOFF;
    rds->backoff = ngx_min(rds->backoff, NGX_SMTP_REDIS_MAX_BACKOFF);

    rds->down = 1;
    rds->down_until = ngx_current_msec + rds->backoff;

    return NGX_ERROR;
}


static ngx_int_t
ngx_smtp_redis_connect_one(ngx_smtp_redis_t *rds)
{
    ngx_int_t               rc;
    ngx_addr_t             *addr;
    ngx_connection_t       *c;
    ngx_peer_connection_t  *pc;

    addr = rds->conf->servers.elts;
    addr = &addr[rds->server];

    pc = &rds->peer;
    ngx_memzero(pc, sizeof(ngx_peer_connection_t));

    pc->sockaddr = addr->sockaddr;
    pc->socklen = addr->socklen;
    pc->name = &addr->name;
    pc->get = ngx_event_get_peer;
    pc->log = &rds->log;
    pc->log_error = NGX_ERROR_ERR;

    rds->log.action = "connecting to Redis";

    rc = ngx_event_connect_peer(pc);

    if (rc != NGX_OK && rc != NGX_AGAIN) {
        return NGX_ERROR;
    }

    c = pc->connection;

    c->data = rds;
    c->sendfile = 0;
    c->log = &rds->log;
    c->read->log = &rds->log;
    c->write->log = &rds->log;
    c->read->handler = ngx_smtp_redis_read_handler;
    c->write->handler = ngx_smtp_redis_write_handler;

    c->pool = ngx_create_pool(128, &rds->log);

    if (c->pool == NULL
        || ngx_smtp_redis_reader_init(&rds->reader, NGX_SMTP_REDIS_MAX_REPLY,
                                      &rds->log)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    rds->state = NGX_SMTP_REDIS_CONNECTING;
    rds->proven = 0;
    rds->hello_written = 0;
    rds->hello_replies = 0;

    ngx_add_timer(&rds->timer, rds->conf->timeout);

    if (rc == NGX_OK) {
        ngx_post_event(c->write, &ngx_posted_events);
    }

    return NGX_OK;
}


static void
ngx_smtp_redis_connected(ngx_smtp_redis_t *rds)
{
    int                err;
    socklen_t          len;
    ngx_connection_t  *c;

    c = rds->peer.connection;

    err = 0;
    len = sizeof(int);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    if (err) {
        ngx_log_error(NGX_LOG_ERR, &rds->log, err, "connect() failed");
        ngx_smtp_redis_lost(rds, NGX_SMTP_REDIS_BROKEN);
        return;
    }

#if (NGX_SSL)

    if (rds->conf->ssl) {
        ngx_smtp_redis_tls(rds);
        return;
    }

#endif

    ngx_smtp_redis_greet(rds);
}


#if (NGX_SSL)

static void
ngx_smtp_redis_tls(ngx_smtp_redis_t *rds)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    c = rds->peer.connection;

    rds->state = NGX_SMTP_REDIS_TLS;
    rds->log.action = "TLS handshaking with Redis";

    if (ngx_ssl_create_connection(rds->conf->ssl, c,
                                  NGX_SSL_BUFFER|NGX_SSL_CLIENT)
        != NGX_OK)
    {
        ngx_smtp_redis_lost(rds, NGX_SMTP_REDIS_BROKEN);
        return;
    }

    /* tls_name is NUL-terminated by conf_init(); empty for an address */

    if (rds->conf->tls_name.len
        && SSL_set_tlsext_host_name(c->ssl->connection,
                                    (char *) rds->conf->tls_name.data)
           == 0)
    {
        ngx_ssl_error(NGX_LOG_ERR, &rds->log, 0,
                      "SSL_set_tlsext_host_name() failed");
        ngx_smtp_redis_lost(rds, NGX_SMTP_REDIS_BROKEN);
        return;
    }

    rc = ngx_ssl_handshake(c);

    if (rc == NGX_AGAIN) {
        c->ssl->handler = ngx_smtp_redis_tls_handler;
        return;
    }

    ngx_smtp_redis_tls_handler(c);
}


static void
ngx_smtp_redis_tls_handler(ngx_connection_t *c)
{
    long               rc;
    ngx_smtp_redis_t  *rds;

    rds = c->data;

    if (!c->ssl->handshaked) {
        ngx_log_error(NGX_LOG_ERR, &rds->log, 0, "TLS handshake failed");
        ngx_smtp_redis_lost(rds, NGX_SMTP_REDIS_BROKEN);
        return;
    }

    if (rds->conf->tls_verify) {

        rc = SSL_get_verify_result(c->ssl->connection);

        if (rc != X509_V_OK) {
            ngx_log_error(NGX_LOG_ERR, &rds->log, 0,
                          "certificate verify error: (%l:%s)", rc,
                          X509_verify_cert_error_string(rc));
            ngx_smtp_redis_lost(rds, NGX_SMTP_REDIS_BROKEN);
            return;
        }

        if (rds->conf->tls_name.len
            && ngx_ssl_check_host(c, &rds->conf->tls_name) != NGX_OK)
        {
            ngx_log_error(NGX_LOG_ERR, &rds->log, 0,
                          "certificate does not match \"%V\"",
                          &rds->conf->tls_name);
            ngx_smtp_redis_lost(rds, NGX_SMTP_REDIS_BROKEN);
            return;
        }
    }

    c->read->handler = ngx_smtp_redis_read_handler;
    c->write->handler = ngx_smtp_redis_write_handler;

    ngx_smtp_redis_greet(rds);
}

#endif


static void
ngx_smtp_redis_greet(ngx_smtp_redis_t *rds)
{
    if (rds->hello.len == 0) {
        ngx_smtp_redis_ready(rds);
        return;
    }

    rds->state = NGX_SMTP_REDIS_HANDSHAKE;
    rds->log.action = "logging in to Redis";

    rds->hello_replies = (rds->conf->password.len != 0)
                         + (rds->conf->database != 0);

    ngx_smtp_redis_send(rds);
}


static void
ngx_smtp_redis_ready(ngx_smtp_redis_t *rds)
{
    ngx_queue_t               *q;
    ngx_smtp_redis_request_t  *r;

    rds->state = NGX_SMTP_REDIS_READY;
    rds->log.action = "waiting for replies of Redis";

    /* connecting had a limit of its own */

    for (q = ngx_queue_head(&rds->waiting);
         q != ngx_queue_sentinel(&rds->waiting);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_smtp_redis_request_t, queue);
        r->deadline = ngx_current_msec + rds->conf->timeout;
    }

    if (rds->timer.timer_set) {
        ngx_del_timer(&rds->timer);
    }

    ngx_smtp_redis_settle(rds);

    ngx_smtp_redis_send(rds);
}


static void
ngx_smtp_redis_write_handler(ngx_event_t *wev)
{
    ngx_connection_t  *c;
    ngx_smtp_redis_t  *rds;

    c = wev->data;
    rds = c->data;

    ngx_log_debug1(NGX_LOG_DEBUG_STREAM, wev->log, 0,
                   "smtp redis write handler, state:%ui", rds->state);

    if (c->close) {
        ngx_smtp_redis_fail_all(rds);
        return;
    }

    if (rds->state == NGX_SMTP_REDIS_CONNECTING) {
        ngx_smtp_redis_connected(rds);
        return;
    }

    ngx_smtp_redis_send(rds);
}


static void
ngx_smtp_redis_read_handler(ngx_event_t *rev)
{
    u_char                  *p;
    ssize_t                  n;
    ngx_int_t                rc;
    ngx_connection_t        *c;
    ngx_smtp_redis_t        *rds;
    ngx_smtp_redis_reply_t  *reply;

    c = rev->data;
    rds = c->data;

    ngx_log_debug1(NGX_LOG_DEBUG_STREAM, rev->log, 0,
                   "smtp redis read handler, state:%ui", rds->state);

    if (c->close) {
        ngx_smtp_redis_fail_all(rds);
        return;
    }

    if (rds->state == NGX_SMTP_REDIS_CONNECTING) {
        ngx_smtp_redis_connected(rds);
        return;
    }

    for ( ;; ) {

        n = c->recv(c, rds->buf, NGX_SMTP_REDIS_BUFFER);

        if (n == NGX_AGAIN) {

            if (ngx_handle_read_event(rev, 0) != NGX_OK) {
                break;
            }

            ngx_smtp_redis_settle(rds);
            return;
        }

        if (n == NGX_ERROR || n == 0) {

            if (rds->npending) {
                ngx_log_error(NGX_LOG_ERR, &rds->log, 0,
                              "Redis closed connection");
            }

            break;
        }

        p = rds->buf;

        for ( ;; ) {

            rc = ngx_smtp_redis_reader_next(&rds->reader, &p, rds->buf + n,
                                            &reply);

            if (rc == NGX_AGAIN) {
                break;
            }

            if (rc == NGX_ERROR) {
                ngx_log_error(NGX_LOG_ERR, &rds->log, 0,
                              "%s from Redis", rds->reader.reason);
                goto lost;
            }

            rc = ngx_smtp_redis_reply(rds, reply);

            if (rc == NGX_DONE) {
                return;
            }

            if (rc == NGX_ERROR) {
                goto lost;
            }
        }
    }

lost:

    ngx_smtp_redis_lost(rds, NGX_SMTP_REDIS_BROKEN);
}


/* NGX_OK: all written; NGX_AGAIN: an event follows; NGX_ERROR */

static ngx_int_t
ngx_smtp_redis_write(ngx_smtp_redis_t *rds, ngx_connection_t *c,
    ngx_str_t *data, size_t *written)
{
    ssize_t  n;

    while (*written < data->len) {

        n = c->send(c, data->data + *written, data->len - *written);

        if (n > 0) {
            *written += n;
            continue;
        }

        if (n == NGX_ERROR) {
            return NGX_ERROR;
        }

        /* 0 is for TLS what NGX_AGAIN is for a socket */

        if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
            return NGX_ERROR;
        }

        return NGX_AGAIN;
    }

    return NGX_OK;
}


/* sends what may be sent in this state; may lose the connection */

static void
ngx_smtp_redis_send(ngx_smtp_redis_t *rds)
{
    ngx_int_t                  rc;
    ngx_queue_t               *q;
    ngx_connection_t          *c;
    ngx_smtp_redis_request_t  *r;

    c = rds->peer.connection;
    rc = NGX_OK;

    if (rds->state == NGX_SMTP_REDIS_HANDSHAKE) {
        rc = ngx_smtp_redis_write(rds, c, &rds->hello, &rds->hello_written);

    } else if (rds->state == NGX_SMTP_REDIS_READY) {

        while (!ngx_queue_empty(&rds->waiting)) {

            q = ngx_queue_head(&rds->waiting);
            r = ngx_queue_data(q, ngx_smtp_redis_request_t, queue);

            rc = ngx_smtp_redis_write(rds, c, &r->command, &r->written);

            if (rc != NGX_OK) {
                break;
            }

            r->tries++;

            ngx_queue_remove(q);
            ngx_queue_insert_tail(&rds->sent, q);
        }
    }

    if (rc == NGX_ERROR || ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_smtp_redis_lost(rds, NGX_SMTP_REDIS_BROKEN);
    }
}


/* NGX_ERROR: the connection is of no use; NGX_DONE: it is gone already */

static ngx_int_t
ngx_smtp_redis_reply(ngx_smtp_redis_t *rds, ngx_smtp_redis_reply_t *reply)
{
    ngx_queue_t               *q;
    ngx_smtp_redis_request_t  *r;

    if (rds->state == NGX_SMTP_REDIS_HANDSHAKE
        && rds->hello_written == rds->hello.len)
    {
        if (reply->type != NGX_SMTP_REDIS_STATUS) {
            ngx_log_error(NGX_LOG_ERR, &rds->log, 0,
                          "Redis refused AUTH or SELECT: \"%V\"",
                          &reply->str);
            return NGX_ERROR;
        }

        if (--rds->hello_replies == 0) {
            ngx_smtp_redis_ready(rds);

            /* a failure to send has freed the reader under our caller */

            if (rds->state != NGX_SMTP_REDIS_READY) {
                return NGX_DONE;
            }
        }

        return NGX_OK;
    }

    if (ngx_queue_empty(&rds->sent)) {
        ngx_log_error(NGX_LOG_ERR, &rds->log, 0,
                      "Redis sent a reply to nothing");
        return NGX_ERROR;
    }

    rds->proven = 1;
    rds->down = 0;
    rds->failed = 0;
    rds->backoff = 0;

    q = ngx_queue_head(&rds->sent);
    ngx_queue_remove(q);
    rds->npending--;

    r = ngx_queue_data(q, ngx_smtp_redis_request_t, queue);

    r->ending = 1;
    r->rc = NGX_OK;
    r->reply = reply;

    if (r->handler) {
        r->handler(r);
    }

    ngx_smtp_redis_free_request(r);

    return NGX_OK;
}


static void
ngx_smtp_redis_timer_handler(ngx_event_t *ev)
{
    ngx_queue_t               *q;
    ngx_smtp_redis_t          *rds;
    ngx_smtp_redis_request_t  *r;

    rds = ev->data;

    ngx_log_debug1(NGX_LOG_DEBUG_STREAM, ev->log, 0,
                   "smtp redis timer, state:%ui", rds->state);

    if (rds->state == NGX_SMTP_REDIS_READY) {

        if (rds->npending == 0) {
            return;
        }

        q = ngx_queue_empty(&rds->sent) ? ngx_queue_head(&rds->waiting)
                                        : ngx_queue_head(&rds->sent);
        r = ngx_queue_data(q, ngx_smtp_redis_request_t, queue);

        if ((ngx_msec_int_t) (r->deadline - ngx_current_msec) > 0) {
            ngx_smtp_redis_settle(rds);
            return;
        }
    }

    ngx_log_error(NGX_LOG_ERR, &rds->log, NGX_ETIMEDOUT, "Redis timed out");

    ngx_smtp_redis_lost(rds, NGX_SMTP_REDIS_TIMED_OUT);
}


/*
 * Brings timer and idle flag in line with what is pending.  The timer keeps a
 * leaving worker alive only while a request is.
 */

static void
ngx_smtp_redis_settle(ngx_smtp_redis_t *rds)
{
    ngx_queue_t               *q;
    ngx_msec_int_t             left;
    ngx_connection_t          *c;
    ngx_smtp_redis_request_t  *r;

    c = rds->peer.connection;

    if (c) {
        c->idle = (rds->npending == 0);
    }

    if (rds->state != NGX_SMTP_REDIS_READY) {
        return;
    }

    if (rds->npending == 0) {

        if (rds->timer.timer_set) {
            ngx_del_timer(&rds->timer);
        }

        return;
    }

    q = ngx_queue_empty(&rds->sent) ? ngx_queue_head(&rds->waiting)
                                    : ngx_queue_head(&rds->sent);
    r = ngx_queue_data(q, ngx_smtp_redis_request_t, queue);

    left = (ngx_msec_int_t) (r->deadline - ngx_current_msec);

    ngx_add_timer(&rds->timer, (ngx_msec_t) ngx_max(left, 1));
}


/*
 * The connection is over.  What was sent once is tried again: on a new
 * connection when this one had been of use and just broke (Redis restarted, or
 * closes idle clients), else on the next server.  Last call of a handler.
 */

static void
ngx_smtp_redis_lost(ngx_smtp_redis_t *rds, ngx_uint_t how)
{
    ngx_queue_t  failed;

    ngx_smtp_redis_close(rds);

    if (rds->proven && how == NGX_SMTP_REDIS_BROKEN) {
        rds->server = 0;
        rds->failed = 0;

    } else {
        ngx_smtp_redis_server_failed(rds);
    }

    ngx_queue_init(&failed);
    ngx_smtp_redis_requeue(rds, &failed);

    if (rds->npending == 0) {

        /* no request is waiting to be told: the next one starts anew */

        rds->server = 0;
        rds->failed = 0;

    } else if (ngx_smtp_redis_connect(rds) != NGX_OK) {
        ngx_queue_add(&failed, &rds->waiting);
        ngx_queue_init(&rds->waiting);
        rds->npending = 0;
    }

    ngx_smtp_redis_fail(&failed);
}


/* sent requests go back to waiting, those that had their chance to failed */

static void
ngx_smtp_redis_requeue(ngx_smtp_redis_t *rds, ngx_queue_t *failed)
{
    ngx_queue_t               *q, all;
    ngx_smtp_redis_request_t  *r;

    ngx_queue_init(&all);
    ngx_queue_add(&all, &rds->sent);
    ngx_queue_init(&rds->sent);
    ngx_queue_add(&all, &rds->waiting);
    ngx_queue_init(&rds->waiting);

    while (!ngx_queue_empty(&all)) {

        q = ngx_queue_head(&all);
        ngx_queue_remove(q);

        r = ngx_queue_data(q, ngx_smtp_redis_request_t, queue);

        if (r->handler && r->tries < NGX_SMTP_REDIS_MAX_TRIES) {
            r->written = 0;
            ngx_queue_insert_tail(&rds->waiting, q);

        } else {
            r->ending = 1;
            rds->npending--;
            ngx_queue_insert_tail(failed, q);
        }
    }
}


static void
ngx_smtp_redis_server_failed(ngx_smtp_redis_t *rds)
{
    rds->failed++;
    rds->server = (rds->server + 1) % rds->conf->servers.nelts;
}


/*
 * Ends requests that are out of the client's queues.  A handler may start new
 * requests, and cancel others of this list, which stay in it.
 */

static void
ngx_smtp_redis_fail(ngx_queue_t *failed)
{
    ngx_queue_t               *q;
    ngx_smtp_redis_request_t  *r;

    for (q = ngx_queue_head(failed);
         q != ngx_queue_sentinel(failed);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_smtp_redis_request_t, queue);
        r->ending = 1;
    }

    while (!ngx_queue_empty(failed)) {

        q = ngx_queue_head(failed);
        ngx_queue_remove(q);

        r = ngx_queue_data(q, ngx_smtp_redis_request_t, queue);

        r->rc = NGX_ERROR;
        r->reply = NULL;

        if (r->handler) {
            r->handler(r);
        }

        ngx_smtp_redis_free_request(r);
    }
}


/* nginx wants the connection closed: the worker is leaving */

static void
ngx_smtp_redis_fail_all(ngx_smtp_redis_t *rds)
{
    ngx_queue_t  failed;

    ngx_smtp_redis_close(rds);

    ngx_queue_init(&failed);
    ngx_queue_add(&failed, &rds->sent);
    ngx_queue_init(&rds->sent);
    ngx_queue_add(&failed, &rds->waiting);
    ngx_queue_init(&rds->waiting);

    rds->npending = 0;

    ngx_smtp_redis_fail(&failed);
}


static void
ngx_smtp_redis_close(ngx_smtp_redis_t *rds)
{
    ngx_pool_t        *pool;
    ngx_connection_t  *c;

    c = rds->peer.connection;

    rds->state = NGX_SMTP_REDIS_NONE;

    if (rds->timer.timer_set) {
        ngx_del_timer(&rds->timer);
    }

    ngx_smtp_redis_reader_cleanup(&rds->reader);

    if (c == NULL) {
        return;
    }

    rds->peer.connection = NULL;

    pool = c->pool;

#if (NGX_SSL)

    if (c->ssl) {

        /* nothing is owed to the server, and the shutdown must not linger */

        c->ssl->no_wait_shutdown = 1;
        c->ssl->no_send_shutdown = 1;

        (void) ngx_ssl_shutdown(c);
    }

#endif

    ngx_close_connection(c);

    if (pool) {
        ngx_destroy_pool(pool);
    }
}


static void
ngx_smtp_redis_free_request(ngx_smtp_redis_request_t *r)
{
    ngx_destroy_pool(r->pool);
}
