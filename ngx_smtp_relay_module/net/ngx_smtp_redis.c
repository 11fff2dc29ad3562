
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Redis client of a worker: its requests.  The client object is made by the
 * first query and lives until the worker ends; its connection comes and goes
 * (ngx_smtp_redis_conn.c).
 *
 * Requests stand in waiting, move to sent when the last byte of their command
 * was written, and leave from the front of sent with their reply.  Without a
 * connection both queues are empty.  Every request has a pool of its own,
 * which goes after its handler returned.
 */


#include "ngx_smtp_redis_private.h"


#define NGX_SMTP_REDIS_MAX_TRIES    2


static ngx_smtp_redis_t *ngx_smtp_redis_create_client(
    ngx_smtp_redis_conf_t *conf);
static u_char *ngx_smtp_redis_log_error(ngx_log_t *log, u_char *buf,
    size_t len);
static ngx_uint_t ngx_smtp_redis_unfit(ngx_smtp_redis_reply_t *reply);
static void ngx_smtp_redis_timer_handler(ngx_event_t *ev);
static void ngx_smtp_redis_requeue(ngx_smtp_redis_t *rds,
    ngx_queue_t *failed);
static void ngx_smtp_redis_fail(ngx_queue_t *failed);
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

        if (!rds->full) {
            rds->full = 1;
            ngx_log_error(NGX_LOG_ERR, &rds->log, 0,
                          "too many requests pending");
        }

        return NULL;
    }

    if (rds->npending <= conf->max_pending / 2) {
        rds->full = 0;
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

    if (r->ending || r->offered) {

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


ngx_int_t
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

    if (ngx_smtp_redis_unfit(reply)) {
        ngx_log_error(NGX_LOG_ERR, &rds->log, 0,
                      "Redis is of no use now: \"%V\"", &reply->str);

        /* nothing was carried out: for the next server it is the first try */

        for (q = ngx_queue_head(&rds->sent);
             q != ngx_queue_sentinel(&rds->sent);
             q = ngx_queue_next(q))
        {
            r = ngx_queue_data(q, ngx_smtp_redis_request_t, queue);
            r->tries--;
        }

        rds->proven = 0;

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


/* Errors that are about the server, whatever it is asked. */

static ngx_uint_t
ngx_smtp_redis_unfit(ngx_smtp_redis_reply_t *reply)
{
    ngx_str_t  *e;

    static ngx_str_t  errors[] = {
        ngx_string("LOADING "),         /* it was just started */
        ngx_string("MASTERDOWN "),      /* its data may be old */
        ngx_string("CLUSTERDOWN "),
        ngx_string("BUSY "),            /* with a script */
        ngx_string("NOAUTH "),
        ngx_string("ERR max number of clients reached"),
        ngx_null_string
    };

    if (reply->type != NGX_SMTP_REDIS_FAILURE) {
        return 0;
    }

    for (e = errors; e->len; e++) {

        if (reply->str.len >= e->len
            && ngx_memcmp(reply->str.data, e->data, e->len) == 0)
        {
            return 1;
        }
    }

    return 0;
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

void
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

void
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
            r->offered = 0;
            ngx_queue_insert_tail(&rds->waiting, q);

        } else {
            r->ending = 1;
            rds->npending--;
            ngx_queue_insert_tail(failed, q);
        }
    }
}


void
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


void
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
ngx_smtp_redis_free_request(ngx_smtp_redis_request_t *r)
{
    ngx_destroy_pool(r->pool);
}
