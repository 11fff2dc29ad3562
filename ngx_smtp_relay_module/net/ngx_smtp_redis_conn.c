
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Redis client of a worker: the connection.  It comes and goes,
 *
 *   NONE -> CONNECTING -> [TLS] -> [HANDSHAKE: AUTH, SELECT] -> READY -> NONE
 *
 * tries the servers in their order, and has what it sends from the queue of
 * requests, which are ngx_smtp_redis.c's.
 */


#include "ngx_smtp_redis_private.h"


#define NGX_SMTP_REDIS_MIN_BACKOFF  50
#define NGX_SMTP_REDIS_MAX_BACKOFF  1000

/* s; probes of an idle connection: when the first, then how often, how many */
#define NGX_SMTP_REDIS_PROBE_AFTER  60
#define NGX_SMTP_REDIS_PROBE_EVERY  15
#define NGX_SMTP_REDIS_PROBES       3


static ngx_int_t ngx_smtp_redis_connect_one(ngx_smtp_redis_t *rds);
static void ngx_smtp_redis_probe(ngx_smtp_redis_t *rds);
static void ngx_smtp_redis_connected(ngx_smtp_redis_t *rds);
#if (NGX_SSL)
static void ngx_smtp_redis_tls(ngx_smtp_redis_t *rds);
static void ngx_smtp_redis_tls_handler(ngx_connection_t *c);
#endif
static void ngx_smtp_redis_greet(ngx_smtp_redis_t *rds);
static void ngx_smtp_redis_read_handler(ngx_event_t *rev);
static void ngx_smtp_redis_write_handler(ngx_event_t *wev);
static ngx_int_t ngx_smtp_redis_write(ngx_smtp_redis_t *rds,
    ngx_connection_t *c, ngx_str_t *data, size_t *written);


ngx_int_t
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


ngx_int_t
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

    if (rds->peer.sockaddr->sa_family != AF_UNIX) {
        ngx_smtp_redis_probe(rds);
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


/*
 * A server that went away without a word, or something in between that has
 * forgotten the connection, would else be found out by the next request: it
 * would fail after its time-out.
 */

static void
ngx_smtp_redis_probe(ngx_smtp_redis_t *rds)
{
    ngx_uint_t         i;
    ngx_connection_t  *c;

    static struct {
        int            level;
        int            name;
        int            value;
    } options[] = {
        { SOL_SOCKET, SO_KEEPALIVE, 1 },
#if (NGX_HAVE_KEEPALIVE_TUNABLE)
        { IPPROTO_TCP, TCP_KEEPIDLE, NGX_SMTP_REDIS_PROBE_AFTER },
        { IPPROTO_TCP, TCP_KEEPINTVL, NGX_SMTP_REDIS_PROBE_EVERY },
        { IPPROTO_TCP, TCP_KEEPCNT, NGX_SMTP_REDIS_PROBES },
#endif
        { 0, 0, 0 }
    };

    c = rds->peer.connection;

    for (i = 0; options[i].value; i++) {

        if (setsockopt(c->fd, options[i].level, options[i].name,
                       (const void *) &options[i].value, sizeof(int))
            == -1)
        {
            ngx_log_error(NGX_LOG_ERR, &rds->log, ngx_socket_errno,
                          "setsockopt() of keepalive failed");
            return;
        }
    }
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


void
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


void
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

            r->offered = 1;

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


void
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
