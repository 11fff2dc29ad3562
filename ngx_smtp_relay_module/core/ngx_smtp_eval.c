
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * An evaluation session is one block: stream session, connection, its events
 * and the context of the $smtp_* variables.  Everything that handlers of
 * nginx reach through a session is there and harmless: addresses that need no
 * system call, events with handlers that do nothing, a log.  c->ssl is NULL.
 *
 * The session is recognized by its connection, which lies behind it; other
 * modules too make sessions whose connection has an fd of -1.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_eval.h"


typedef struct {
    ngx_stream_session_t      session;
    ngx_connection_t          connection;
    ngx_event_t               read;
    ngx_event_t               write;
    ngx_smtp_eval_ctx_t       ctx;
} ngx_smtp_eval_t;


static ngx_smtp_eval_t *ngx_smtp_eval_alloc(ngx_pool_t *pool, ngx_log_t *log,
    void **main_conf, void **srv_conf, ngx_smtp_eval_ctx_t *ctx);
static ngx_int_t ngx_smtp_eval_variables(ngx_pool_t *pool,
    ngx_stream_variable_value_t *dst, ngx_stream_variable_value_t *src,
    ngx_uint_t n);
static ngx_proxy_protocol_t *ngx_smtp_eval_proxy_protocol(ngx_pool_t *pool,
    ngx_proxy_protocol_t *src);
static ngx_int_t ngx_smtp_eval_copy(ngx_pool_t *pool, ngx_str_t *dst,
    ngx_str_t *src);
static ngx_int_t ngx_smtp_eval_address(ngx_smtp_eval_t *e, ngx_str_t *addr);
static void ngx_smtp_eval_event_handler(ngx_event_t *ev);


ngx_smtp_snapshot_t *
ngx_smtp_snapshot_create(ngx_stream_session_t *s, ngx_pool_t *pool)
{
    ngx_connection_t             *c;
    ngx_smtp_snapshot_t          *sn;
    ngx_stream_core_main_conf_t  *cmcf;

    c = s->connection;

    /*
     * on a wildcard listener the local address is not known before it is asked
     * for, and there is nobody to ask once the client has gone
     */

    if (ngx_connection_local_sockaddr(c, NULL, 0) != NGX_OK) {
        return NULL;
    }

    sn = ngx_pcalloc(pool, sizeof(ngx_smtp_snapshot_t));
    if (sn == NULL) {
        return NULL;
    }

    cmcf = ngx_stream_get_module_main_conf(s, ngx_stream_core_module);

    sn->main_conf = s->main_conf;
    sn->srv_conf = s->srv_conf;
    sn->nvariables = cmcf->variables.nelts;
    sn->number = c->number;
    sn->start_sec = s->start_sec;
    sn->start_msec = s->start_msec;

    sn->sockaddr = ngx_palloc(pool, c->socklen);
    sn->local_sockaddr = ngx_palloc(pool, c->local_socklen);
    sn->variables = ngx_pcalloc(pool, sn->nvariables
                                      * sizeof(ngx_stream_variable_value_t));

    if (sn->sockaddr == NULL || sn->local_sockaddr == NULL
        || sn->variables == NULL)
    {
        return NULL;
    }

    sn->socklen = c->socklen;
    ngx_memcpy(sn->sockaddr, c->sockaddr, c->socklen);

    sn->local_socklen = c->local_socklen;
    ngx_memcpy(sn->local_sockaddr, c->local_sockaddr, c->local_socklen);

    if (ngx_smtp_eval_copy(pool, &sn->addr_text, &c->addr_text) != NGX_OK) {
        return NULL;
    }

    if (c->proxy_protocol) {
        sn->proxy_protocol = ngx_smtp_eval_proxy_protocol(pool,
                                                          c->proxy_protocol);
        if (sn->proxy_protocol == NULL) {
            return NULL;
        }
    }

    if (ngx_smtp_eval_variables(pool, sn->variables, s->variables,
                                sn->nvariables)
        != NGX_OK)
    {
        return NULL;
    }

    return sn;
}


ngx_stream_session_t *
ngx_smtp_eval_create(ngx_pool_t *pool, ngx_log_t *log, ngx_smtp_snapshot_t *sn,
    ngx_smtp_eval_ctx_t *ctx)
{
    ngx_smtp_eval_t   *e;
    ngx_connection_t  *c;

    e = ngx_smtp_eval_alloc(pool, log, sn->main_conf, sn->srv_conf, ctx);
    if (e == NULL) {
        return NULL;
    }

    e->session.start_sec = sn->start_sec;
    e->session.start_msec = sn->start_msec;

    c = &e->connection;

    c->number = sn->number;

    c->sockaddr = ngx_palloc(pool, sn->socklen);
    c->local_sockaddr = ngx_palloc(pool, sn->local_socklen);

    if (c->sockaddr == NULL || c->local_sockaddr == NULL) {
        return NULL;
    }

    c->socklen = sn->socklen;
    ngx_memcpy(c->sockaddr, sn->sockaddr, sn->socklen);

    c->local_socklen = sn->local_socklen;
    ngx_memcpy(c->local_sockaddr, sn->local_sockaddr, sn->local_socklen);

    if (ngx_smtp_eval_copy(pool, &c->addr_text, &sn->addr_text) != NGX_OK) {
        return NULL;
    }

    if (sn->proxy_protocol) {
        c->proxy_protocol = ngx_smtp_eval_proxy_protocol(pool,
                                                         sn->proxy_protocol);
        if (c->proxy_protocol == NULL) {
            return NULL;
        }
    }

    if (ngx_smtp_eval_variables(pool, e->session.variables, sn->variables,
                                sn->nvariables)
        != NGX_OK)
    {
        return NULL;
    }

    return &e->session;
}


ngx_stream_session_t *
ngx_smtp_eval_create_stored(ngx_pool_t *pool, ngx_log_t *log,
    void **main_conf, void **srv_conf, ngx_str_t *addr,
    ngx_smtp_eval_ctx_t *ctx)
{
    ngx_time_t       *tp;
    ngx_smtp_eval_t  *e;

    e = ngx_smtp_eval_alloc(pool, log, main_conf, srv_conf, ctx);
    if (e == NULL) {
        return NULL;
    }

    tp = ngx_timeofday();
    e->session.start_sec = tp->sec;
    e->session.start_msec = tp->msec;

    if (ngx_smtp_eval_address(e, addr) != NGX_OK) {
        return NULL;
    }

    return &e->session;
}


ngx_smtp_eval_ctx_t *
ngx_smtp_eval_get_ctx(ngx_stream_session_t *s)
{
    ngx_smtp_eval_t  *e;

    e = (ngx_smtp_eval_t *)
            ((u_char *) s - offsetof(ngx_smtp_eval_t, session));

    return (s->connection == &e->connection) ? &e->ctx : NULL;
}


ngx_int_t
ngx_smtp_eval_upstream(ngx_stream_session_t *s,
    ngx_stream_upstream_srv_conf_t *uscf)
{
    ngx_pool_t             *pool;
    ngx_stream_upstream_t  *u;

    pool = s->connection->pool;

    u = ngx_pcalloc(pool, sizeof(ngx_stream_upstream_t));
    if (u == NULL) {
        return NGX_ERROR;
    }

    u->upstream = uscf;
    u->start_time = ngx_current_msec;
    u->start_sec = ngx_time();
    u->peer.log = s->connection->log;
    u->peer.log_error = NGX_ERROR_ERR;
    u->peer.type = SOCK_STREAM;
    u->peer.start_time = ngx_current_msec;

    /* balancers and $upstream_* variables read the states of a session */

    s->upstream_states = ngx_array_create(pool, 1,
                                          sizeof(ngx_stream_upstream_state_t));
    if (s->upstream_states == NULL) {
        return NGX_ERROR;
    }

    u->state = ngx_array_push(s->upstream_states);
    if (u->state == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(u->state, sizeof(ngx_stream_upstream_state_t));

    u->state->connect_time = (ngx_msec_t) -1;
    u->state->first_byte_time = (ngx_msec_t) -1;
    u->state->response_time = (ngx_msec_t) -1;

    s->upstream = u;

    return uscf->peer.init(s, uscf);
}


static ngx_smtp_eval_t *
ngx_smtp_eval_alloc(ngx_pool_t *pool, ngx_log_t *log, void **main_conf,
    void **srv_conf, ngx_smtp_eval_ctx_t *ctx)
{
    ngx_event_t                  *ev;
    ngx_smtp_eval_t              *e;
    ngx_connection_t             *c;
    ngx_stream_session_t         *s;
    ngx_stream_core_main_conf_t  *cmcf;

    e = ngx_pcalloc(pool, sizeof(ngx_smtp_eval_t));
    if (e == NULL) {
        return NULL;
    }

    e->ctx = *ctx;

    s = &e->session;
    c = &e->connection;

    c->fd = (ngx_socket_t) -1;
    c->type = SOCK_STREAM;
    c->pool = pool;
    c->log = log;
    c->log_error = NGX_ERROR_INFO;
    c->data = s;
    c->read = &e->read;
    c->write = &e->write;

    for (ev = c->read; ev; ev = (ev == c->read) ? c->write : NULL) {
        ev->data = c;
        ev->log = log;
        ev->handler = ngx_smtp_eval_event_handler;
    }

    c->write->write = 1;

    s->signature = NGX_STREAM_MODULE;
    s->connection = c;
    s->main_conf = main_conf;
    s->srv_conf = srv_conf;

    cmcf = ngx_stream_get_module_main_conf(s, ngx_stream_core_module);

    s->ctx = ngx_pcalloc(pool, sizeof(void *) * ngx_stream_max_module);
    s->variables = ngx_pcalloc(pool, cmcf->variables.nelts
                                     * sizeof(ngx_stream_variable_value_t));

    if (s->ctx == NULL || s->variables == NULL) {
        return NULL;
    }

    return e;
}


static ngx_int_t
ngx_smtp_eval_variables(ngx_pool_t *pool, ngx_stream_variable_value_t *dst,
    ngx_stream_variable_value_t *src, ngx_uint_t n)
{
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {

        if ((!src[i].valid && !src[i].not_found) || src[i].no_cacheable) {
            continue;
        }

        dst[i] = src[i];

        if (!src[i].valid || src[i].len == 0) {
            continue;
        }

        dst[i].data = ngx_pnalloc(pool, src[i].len);
        if (dst[i].data == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(dst[i].data, src[i].data, src[i].len);
    }

    return NGX_OK;
}


static ngx_proxy_protocol_t *
ngx_smtp_eval_proxy_protocol(ngx_pool_t *pool, ngx_proxy_protocol_t *src)
{
    ngx_proxy_protocol_t  *pp;

    /* TLVs, which only newer versions know, are not taken */

    pp = ngx_pcalloc(pool, sizeof(ngx_proxy_protocol_t));
    if (pp == NULL) {
        return NULL;
    }

    pp->src_port = src->src_port;
    pp->dst_port = src->dst_port;

    if (ngx_smtp_eval_copy(pool, &pp->src_addr, &src->src_addr) != NGX_OK
        || ngx_smtp_eval_copy(pool, &pp->dst_addr, &src->dst_addr) != NGX_OK)
    {
        return NULL;
    }

    return pp;
}


static ngx_int_t
ngx_smtp_eval_copy(ngx_pool_t *pool, ngx_str_t *dst, ngx_str_t *src)
{
    ngx_str_null(dst);

    if (src->len == 0) {
        return NGX_OK;
    }

    dst->data = ngx_pnalloc(pool, src->len);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    dst->len = src->len;
    ngx_memcpy(dst->data, src->data, src->len);

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_eval_address(ngx_smtp_eval_t *e, ngx_str_t *addr)
{
    ngx_addr_t           parsed;
    ngx_connection_t    *c;
    struct sockaddr     *sa;
    struct sockaddr_in  *sin;

    c = &e->connection;

    /* loopback and not the wildcard, whose address nginx would ask for */

    sin = ngx_pcalloc(c->pool, sizeof(struct sockaddr_in));
    if (sin == NULL) {
        return NGX_ERROR;
    }

    sin->sin_family = AF_INET;
    sin->sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    c->local_sockaddr = (struct sockaddr *) sin;
    c->local_socklen = sizeof(struct sockaddr_in);

    if (addr && addr->len
        && ngx_parse_addr(c->pool, &parsed, addr->data, addr->len) == NGX_OK)
    {
        c->sockaddr = parsed.sockaddr;
        c->socklen = parsed.socklen;

        return ngx_smtp_eval_copy(c->pool, &c->addr_text, addr);
    }

    sa = ngx_pcalloc(c->pool, sizeof(struct sockaddr_storage));
    if (sa == NULL) {
        return NGX_ERROR;
    }

    sa->sa_family = AF_UNIX;

    c->sockaddr = sa;
    c->socklen = sizeof(sa_family_t);

    ngx_str_set(&c->addr_text, "unix:");

    return NGX_OK;
}


static void
ngx_smtp_eval_event_handler(ngx_event_t *ev)
{
    ngx_log_debug0(NGX_LOG_DEBUG_STREAM, ev->log, 0,
                   "smtp evaluation session event");
}
