
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Where smtp_pass with variables sends a recipient: an upstream{} by its name,
 * a Unix socket, an address and port, or the name of a host and port.  Names
 * are asked of the resolver of the server{} block; meanwhile the recipient has
 * no answer.  The addresses of a name are servers that are tried in turn.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_pass_private.h"


#define NGX_SMTP_PASS_TARGET_POOL  4096


static ngx_int_t ngx_smtp_pass_evaluate(ngx_smtp_pass_t *ps,
    ngx_smtp_rcpt_t *rcpt, ngx_pool_t *pool);
static ngx_int_t ngx_smtp_pass_change(ngx_smtp_pass_t *ps, ngx_str_t *value);
static ngx_int_t ngx_smtp_pass_find(ngx_smtp_pass_t *ps,
    ngx_stream_session_t *s);
static ngx_uint_t ngx_smtp_pass_named(ngx_smtp_pass_t *ps);
static ngx_int_t ngx_smtp_pass_resolve(ngx_smtp_pass_t *ps,
    ngx_stream_session_t *s, in_port_t port);
static void ngx_smtp_pass_resolved(ngx_resolver_ctx_t *ctx);
static ngx_int_t ngx_smtp_pass_addrs(ngx_smtp_pass_t *ps,
    ngx_resolver_ctx_t *ctx);


ngx_int_t
ngx_smtp_pass_target(ngx_smtp_pass_t *ps, ngx_smtp_rcpt_t *rcpt)
{
    ngx_int_t              rc;
    ngx_pool_t            *pool;
    ngx_smtp_pass_conf_t  *conf;

    conf = ps->conf;

    if (conf->value == NULL) {
        ps->upstream = conf->upstream;
        ps->host = conf->host;

        return NGX_OK;
    }

    /* what it takes is given back: a client may try thousands of recipients */

    pool = ngx_create_pool(NGX_SMTP_PASS_TARGET_POOL, ps->txn->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_smtp_pass_evaluate(ps, rcpt, pool);

    ngx_destroy_pool(pool);

    return rc;
}


static ngx_int_t
ngx_smtp_pass_evaluate(ngx_smtp_pass_t *ps, ngx_smtp_rcpt_t *rcpt,
    ngx_pool_t *pool)
{
    ngx_str_t                value;
    ngx_smtp_pass_conf_t    *conf;
    ngx_stream_session_t    *s;
    ngx_smtp_transaction_t  *txn;

    conf = ps->conf;
    txn = ps->txn;

    s = txn->eval(txn, pool, rcpt);

    if (s == NULL
        || ngx_stream_complex_value(s, conf->value, &value) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ps->value.data) {

        if (ps->value.len == value.len
            && ngx_memcmp(ps->value.data, value.data, value.len) == 0)
        {
            return (ps->upstream || ps->addrs) ? NGX_OK : NGX_ERROR;
        }

        if (ps->naccepted) {
            return NGX_DECLINED;
        }
    }

    if (ngx_smtp_pass_change(ps, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_smtp_pass_find(ps, s);
}


/* Nobody was promised anything yet: it may go elsewhere. */

static ngx_int_t
ngx_smtp_pass_change(ngx_smtp_pass_t *ps, ngx_str_t *value)
{
    if (ps->conn) {
        ngx_smtp_pass_conn_release(ps->conn);
    }

    ngx_smtp_pass_unpick(ps, 0);

    ps->eval = NULL;
    ps->mail_refused = 0;
    ps->doomed = 0;

    ps->upstream = NULL;
    ps->addrs = NULL;
    ps->naddrs = 0;
    ps->addr = 0;
    ps->who.key.data = NULL;

    ps->value.len = value->len;
    ps->value.data = ngx_pnalloc(ps->txn->pool, value->len + 1);

    if (ps->value.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(ps->value.data, value->data, value->len);

    return NGX_OK;
}


/* NGX_OK, NGX_AGAIN (a name is asked for) or NGX_ERROR (logged). */

static ngx_int_t
ngx_smtp_pass_find(ngx_smtp_pass_t *ps, ngx_stream_session_t *s)
{
    ngx_url_t  u;

    if (ngx_smtp_pass_named(ps)) {
        return NGX_OK;
    }

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = ps->value;
    u.no_resolve = 1;

    if (ps->value.len == 0 || ngx_parse_url(ps->txn->pool, &u) != NGX_OK
        || (u.no_port && u.family != AF_UNIX))
    {
        ngx_log_error(NGX_LOG_ERR, ps->txn->log, 0,
                      "\"%V\" of \"smtp_pass %V\" is neither the name of an "
                      "upstream{}, nor an address or host with a port%s%s",
                      &ps->value, &ps->conf->target, u.err ? ": " : "",
                      u.err ? u.err : "");
        return NGX_ERROR;
    }

    ps->host = u.host;

    if (u.naddrs == 0) {
        return ngx_smtp_pass_resolve(ps, s, u.port);
    }

    ps->addrs = u.addrs;
    ps->naddrs = u.naddrs;

    return NGX_OK;
}


static ngx_uint_t
ngx_smtp_pass_named(ngx_smtp_pass_t *ps)
{
    ngx_uint_t                        i;
    ngx_stream_upstream_srv_conf_t  **uscf;
    ngx_stream_upstream_main_conf_t  *umcf;

    umcf = ngx_stream_cycle_get_module_main_conf(ngx_cycle,
                                                 ngx_stream_upstream_module);
    uscf = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if (uscf[i]->port == 0 && uscf[i]->host.len == ps->value.len
            && ngx_strncasecmp(uscf[i]->host.data, ps->value.data,
                               ps->value.len)
               == 0)
        {
            ps->upstream = uscf[i];
            ps->host = uscf[i]->host;
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_smtp_pass_resolve(ngx_smtp_pass_t *ps, ngx_stream_session_t *s,
    in_port_t port)
{
    ngx_resolver_ctx_t          *ctx, temp;
    ngx_stream_core_srv_conf_t  *cscf;

    cscf = ngx_stream_get_module_srv_conf(s, ngx_stream_core_module);

    ngx_memzero(&temp, sizeof(ngx_resolver_ctx_t));
    temp.name = ps->host;

    ctx = ngx_resolve_start(cscf->resolver, &temp);

    if (ctx == NULL) {
        return NGX_ERROR;
    }

    if (ctx == NGX_NO_RESOLVER) {
        ngx_log_error(NGX_LOG_ERR, ps->txn->log, 0,
                      "host \"%V\" of \"smtp_pass %V\" cannot be resolved: "
                      "there is no \"resolver\" in stream{}", &ps->host,
                      &ps->conf->target);
        return NGX_ERROR;
    }

    ctx->name = ps->host;
    ctx->handler = ngx_smtp_pass_resolved;
    ctx->data = ps;
    ctx->timeout = cscf->resolver_timeout;

    ps->port = port;
    ps->resolving = ctx;
    ps->resolving_now = 1;

    if (ngx_resolve_name(ctx) != NGX_OK) {
        ps->resolving = NULL;
    }

    ps->resolving_now = 0;

    if (ps->resolving) {
        return NGX_AGAIN;
    }

    return ps->addrs ? NGX_OK : NGX_ERROR;
}


/* May be called from inside of ngx_resolve_name(). */

static void
ngx_smtp_pass_resolved(ngx_resolver_ctx_t *ctx)
{
    ngx_int_t         rc;
    ngx_smtp_pass_t  *ps;

    ps = ctx->data;

    if (ctx->state) {
        ngx_log_error(NGX_LOG_ERR, ps->txn->log, 0,
                      "host \"%V\" of \"smtp_pass %V\" could not be resolved "
                      "(%i: %s)", &ps->host, &ps->conf->target, ctx->state,
                      ngx_resolver_strerror(ctx->state));
        rc = NGX_ERROR;

    } else {
        rc = ngx_smtp_pass_addrs(ps, ctx);
    }

    ngx_resolve_name_done(ctx);

    ps->resolving = NULL;

    if (ps->resolving_now) {
        return;
    }

    if (rc == NGX_OK) {
        ngx_smtp_pass_start(ps);
        return;
    }

    ngx_smtp_pass_give_up(ps, NGX_SMTP_PASS_ERROR);
}


/* The resolver's own go with the answer. */

static ngx_int_t
ngx_smtp_pass_addrs(ngx_smtp_pass_t *ps, ngx_resolver_ctx_t *ctx)
{
    u_char           *text;
    ngx_uint_t        i;
    ngx_addr_t       *addr;
    ngx_pool_t       *pool;
    struct sockaddr  *sockaddr;

    pool = ps->txn->pool;

    addr = ngx_palloc(pool, ctx->naddrs * sizeof(ngx_addr_t));
    if (addr == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < ctx->naddrs; i++) {
        sockaddr = ngx_palloc(pool, ctx->addrs[i].socklen);
        text = ngx_pnalloc(pool, NGX_SOCKADDR_STRLEN);

        if (sockaddr == NULL || text == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(sockaddr, ctx->addrs[i].sockaddr, ctx->addrs[i].socklen);
        ngx_inet_set_port(sockaddr, ps->port);

        addr[i].sockaddr = sockaddr;
        addr[i].socklen = ctx->addrs[i].socklen;
        addr[i].name.data = text;
        addr[i].name.len = ngx_sock_ntop(sockaddr, addr[i].socklen, text,
                                         NGX_SOCKADDR_STRLEN, 1);
    }

    ps->addrs = addr;
    ps->naddrs = ctx->naddrs;

    return NGX_OK;
}


void
ngx_smtp_pass_unresolve(ngx_smtp_pass_t *ps)
{
    if (ps->resolving) {
        ngx_resolve_name_done(ps->resolving);
        ps->resolving = NULL;
    }
}
