
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Who we are to a backend: the name it is verified by, our certificate and our
 * address, the PROXY header, XCLIENT.  Connections are kept for a key made of
 * all of it, so that nobody ever speaks as somebody else.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_proxy_header.h"
#include "ngx_smtp_pass_private.h"


/* parts of a key in front of XCLIENT */
#define NGX_SMTP_PASS_PARTS  6


static ngx_stream_session_t *ngx_smtp_pass_identity_eval(ngx_smtp_pass_t *ps);
static ngx_int_t ngx_smtp_pass_identity_tls(ngx_smtp_pass_t *ps,
    ngx_stream_session_t *s);
static ngx_int_t ngx_smtp_pass_identity_bind(ngx_smtp_pass_t *ps,
    ngx_stream_session_t *s);
static ngx_int_t ngx_smtp_pass_identity_header(ngx_smtp_pass_t *ps,
    ngx_stream_session_t *s);
static ngx_int_t ngx_smtp_pass_identity_login(ngx_smtp_pass_t *ps,
    ngx_stream_session_t *s);
static ngx_int_t ngx_smtp_pass_identity_xclient(ngx_smtp_pass_t *ps,
    ngx_stream_session_t *s);
static u_char *ngx_smtp_pass_identity_addr(u_char *p, ngx_str_t *dst,
    ngx_str_t *addr);
static ngx_uint_t ngx_smtp_pass_identity_unknown(ngx_smtp_origin_t *o);
static ngx_int_t ngx_smtp_pass_identity_key(ngx_smtp_pass_t *ps);
static ngx_int_t ngx_smtp_pass_identity_local(ngx_stream_session_t *s,
    ngx_addr_t *addr);


ngx_int_t
ngx_smtp_pass_identity(ngx_smtp_pass_t *ps)
{
    ngx_stream_session_t      *s;
    ngx_smtp_pass_conf_t      *conf;
    ngx_smtp_pass_identity_t  *who;

    who = &ps->who;
    conf = ps->conf;

    if (who->key.data) {
        return NGX_OK;
    }

    ngx_memzero(who, sizeof(ngx_smtp_pass_identity_t));

    who->tls_name = conf->ssl_name.len ? conf->ssl_name : ps->host;
    who->local = conf->bind;

    if (conf->ssl_name_value == NULL && conf->ssl_certificate == NULL
        && conf->bind_value == NULL && conf->proxy_protocol == 0
        && !conf->xclient && conf->auth == NGX_SMTP_PASS_AUTH_OFF)
    {
        return ngx_smtp_pass_identity_key(ps);
    }

    s = ngx_smtp_pass_identity_eval(ps);

    if (s == NULL
        || ngx_smtp_pass_identity_tls(ps, s) != NGX_OK
        || ngx_smtp_pass_identity_bind(ps, s) != NGX_OK
        || ngx_smtp_pass_identity_header(ps, s) != NGX_OK
        || ngx_smtp_pass_identity_login(ps, s) != NGX_OK
        || ngx_smtp_pass_identity_xclient(ps, s) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_smtp_pass_identity_key(ps);
}


ngx_int_t
ngx_smtp_pass_identity_next(ngx_smtp_pass_t *ps)
{
    ngx_smtp_pass_conf_t      *conf;
    ngx_smtp_pass_identity_t   who;

    conf = ps->conf;

    if (ps->who.key.data == NULL
        || (conf->ssl_name_value == NULL && conf->ssl_certificate == NULL
            && conf->bind_value == NULL
            && (conf->user == NULL || (conf->user->lengths == NULL
                                       && conf->password->lengths == NULL))))
    {
        return NGX_OK;
    }

    who = ps->who;
    ps->who.key.data = NULL;

    if (ngx_smtp_pass_identity(ps) != NGX_OK) {
        ps->who = who;
        return NGX_DECLINED;
    }

    if (who.key.len == ps->who.key.len
        && ngx_memcmp(who.key.data, ps->who.key.data, who.key.len) == 0)
    {
        return NGX_OK;
    }

    if (ps->naccepted) {
        ps->who = who;
        return NGX_DECLINED;
    }

    if (ps->conn) {
        ngx_smtp_pass_conn_release(ps->conn);
    }

    ngx_smtp_pass_unpick(ps, 0);

    ps->eval = NULL;
    ps->addr = 0;
    ps->mail_refused = 0;
    ps->doomed = 0;

    return NGX_OK;
}


static ngx_stream_session_t *
ngx_smtp_pass_identity_eval(ngx_smtp_pass_t *ps)
{
    ngx_array_t             *rcpts;
    ngx_smtp_rcpt_t         *rcpt;
    ngx_smtp_transaction_t  *txn;

    txn = ps->txn;

    if (txn->aborted) {
        return NULL;
    }

    rcpts = &txn->envelope.rcpts;
    rcpt = rcpts->elts;

    return txn->eval(txn, txn->pool, &rcpt[rcpts->nelts - 1]);
}


static ngx_int_t
ngx_smtp_pass_identity_tls(ngx_smtp_pass_t *ps, ngx_stream_session_t *s)
{
    ngx_str_t                  name;
    ngx_smtp_pass_conf_t      *conf;
    ngx_smtp_pass_identity_t  *who;

    conf = ps->conf;
    who = &ps->who;

    if (conf->ssl_name_value) {
        if (ngx_stream_complex_value(s, conf->ssl_name_value, &name)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (name.len) {
            who->tls_name = name;
        }
    }

    if (conf->ssl_certificate == NULL || conf->tls == NGX_SMTP_PASS_SSL_OFF) {
        return NGX_OK;
    }

    /* these have their NUL counted */

    if (ngx_stream_complex_value(s, conf->ssl_certificate, &who->certificate)
        != NGX_OK
        || ngx_stream_complex_value(s, conf->ssl_key, &who->certificate_key)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (who->certificate.len <= 1) {
        ngx_str_null(&who->certificate);
        ngx_str_null(&who->certificate_key);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_pass_identity_bind(ngx_smtp_pass_t *ps, ngx_stream_session_t *s)
{
    ngx_int_t              rc;
    ngx_str_t              value;
    ngx_addr_t            *addr;
    ngx_pool_t            *pool;
    ngx_smtp_pass_conf_t  *conf;

    conf = ps->conf;
    pool = ps->txn->pool;

    if (conf->bind_value == NULL) {
        return NGX_OK;
    }

    if (ngx_stream_complex_value(s, conf->bind_value, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (value.len == 0) {
        return NGX_OK;
    }

    addr = ngx_palloc(pool, sizeof(ngx_addr_t));
    if (addr == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_parse_addr_port(pool, addr, value.data, value.len);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, ps->txn->log, 0,
                      "\"%V\" of \"smtp_pass_bind\" is no address: the "
                      "kernel chooses one", &value);
        return NGX_OK;
    }

    addr->name = value;
    ps->who.local = addr;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_pass_identity_header(ngx_smtp_pass_t *ps, ngx_stream_session_t *s)
{
    ngx_str_t   *header;
    ngx_addr_t   local;

    if (ps->conf->proxy_protocol == 0) {
        return NGX_OK;
    }

    header = &ps->who.header;

    header->data = ngx_pnalloc(ps->txn->pool, NGX_SMTP_PROXY_HEADER_MAX);
    if (header->data == NULL) {
        return NGX_ERROR;
    }

    if (ngx_smtp_pass_identity_local(s, &local) != NGX_OK) {
        return NGX_ERROR;
    }

    header->len = ngx_smtp_proxy_header_write(header->data,
                                              ps->conf->proxy_protocol,
                                              s->connection->sockaddr,
                                              local.sockaddr)
                  - header->data;

    return NGX_OK;
}


/*
 * The service's login or the client's own.  An empty user is none: so a map
 * can say for which backends there is one, and clients without a login have
 * none to be passed on.
 */

static ngx_int_t
ngx_smtp_pass_identity_login(ngx_smtp_pass_t *ps, ngx_stream_session_t *s)
{
    ngx_str_t                  user, password;
    ngx_smtp_pass_conf_t      *conf;
    ngx_smtp_pass_identity_t  *who;

    who = &ps->who;
    conf = ps->conf;

    switch (conf->auth) {

    case NGX_SMTP_PASS_AUTH_OFF:
        return NGX_OK;

    case NGX_SMTP_PASS_AUTH_CLIENT:

        if (ps->txn->origin.login.len && ps->txn->origin.user.len == 0) {

            /* XCLIENT has named it: of a password nobody knows */

            ngx_log_error(NGX_LOG_WARN, ps->txn->log, 0,
                          "no password of \"%V\" for \"smtp_pass_auth "
                          "client\"", &ps->txn->origin.login);
        }

        who->user = ps->txn->origin.user;
        who->password = ps->txn->origin.password;

        return NGX_OK;

    default:
        break;
    }

    if (ngx_stream_complex_value(s, conf->user, &user) != NGX_OK
        || ngx_stream_complex_value(s, conf->password, &password) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (user.len == 0) {
        return NGX_OK;
    }

    who->user = user;

    return ngx_smtp_secret_copy(ps->txn->pool, &who->password, &password);
}


/*
 * In the order of NGX_SMTP_CAP_XCLIENT_*: NAME ADDR PORT PROTO HELO LOGIN
 * DESTADDR DESTPORT; what we do not know stays empty.
 */

static ngx_int_t
ngx_smtp_pass_identity_xclient(ngx_smtp_pass_t *ps, ngx_stream_session_t *s)
{
    u_char             *p, text[NGX_SOCKADDR_STRLEN];
    ngx_str_t          *x, dst;
    ngx_addr_t          local;
    ngx_pool_t         *pool;
    ngx_uint_t          family;
    ngx_smtp_origin_t  *o;

    if (!ps->conf->xclient) {
        return NGX_OK;
    }

    pool = ps->txn->pool;
    o = &ps->txn->origin;

    x = ngx_pcalloc(pool, NGX_SMTP_CLIENT_XCLIENT_N * sizeof(ngx_str_t));
    p = ngx_pnalloc(pool, 2 * sizeof("IPV6:") + o->addr.len
                          + NGX_SOCKADDR_STRLEN + 2 * sizeof("65535"));

    if (x == NULL || p == NULL
        || ngx_smtp_pass_identity_local(s, &local) != NGX_OK)
    {
        return NGX_ERROR;
    }

    x[0] = o->name;

    family = s->connection->sockaddr->sa_family;

    if (family == AF_INET || family == AF_INET6) {
        p = ngx_smtp_pass_identity_addr(p, &x[1], &o->addr);
    }

    if (o->port) {
        x[2].data = p;
        p = ngx_sprintf(p, "%ui", o->port);
        x[2].len = p - x[2].data;
    }

    if (local.sockaddr->sa_family != AF_UNIX) {
        dst.data = text;
        dst.len = ngx_sock_ntop(local.sockaddr, local.socklen, text,
                                NGX_SOCKADDR_STRLEN, 0);

        p = ngx_smtp_pass_identity_addr(p, &x[6], &dst);

        x[7].data = p;
        p = ngx_sprintf(p, "%ui",
                        (ngx_uint_t) ngx_inet_get_port(local.sockaddr));
        x[7].len = p - x[7].data;
    }

    if (o->esmtp) {
        ngx_str_set(&x[3], "ESMTP");

    } else {
        ngx_str_set(&x[3], "SMTP");
    }

    x[4] = o->helo;
    x[5] = o->login;

    ps->who.xclient = x;

    return NGX_OK;
}


static u_char *
ngx_smtp_pass_identity_addr(u_char *p, ngx_str_t *dst, ngx_str_t *addr)
{
    dst->data = p;

    if (ngx_strlchr(addr->data, addr->data + addr->len, ':')) {
        p = ngx_cpymem(p, "IPV6:", sizeof("IPV6:") - 1);
    }

    p = ngx_cpymem(p, addr->data, addr->len);

    dst->len = p - dst->data;

    return p;
}


/* XCLIENT has said that nobody knows where the client is */

static ngx_uint_t
ngx_smtp_pass_identity_unknown(ngx_smtp_origin_t *o)
{
    return o->addr.len == sizeof("unknown") - 1
           && ngx_strncmp(o->addr.data, "unknown", sizeof("unknown") - 1) == 0;
}


/*
 * The address the client has connected to.  If that of the client was told by
 * a PROXY header (and taken from there by realip), this one is told there too.
 */

static ngx_int_t
ngx_smtp_pass_identity_local(ngx_stream_session_t *s, ngx_addr_t *addr)
{
    ngx_int_t              rc;
    ngx_str_t              text;
    ngx_connection_t      *c;
    ngx_proxy_protocol_t  *pp;
    u_char                 buf[NGX_SOCKADDR_STRLEN];

    c = s->connection;
    pp = c->proxy_protocol;

    addr->sockaddr = c->local_sockaddr;
    addr->socklen = c->local_socklen;

    if (pp == NULL || pp->dst_addr.len == 0) {
        return NGX_OK;
    }

    text.data = buf;
    text.len = ngx_sock_ntop(c->sockaddr, c->socklen, buf, sizeof(buf), 0);

    if (text.len != pp->src_addr.len
        || ngx_memcmp(text.data, pp->src_addr.data, text.len) != 0)
    {
        return NGX_OK;
    }

    rc = ngx_parse_addr(c->pool, addr, pp->dst_addr.data, pp->dst_addr.len);

    if (rc == NGX_OK) {
        ngx_inet_set_port(addr->sockaddr, pp->dst_port);
        return NGX_OK;
    }

    addr->sockaddr = c->local_sockaddr;
    addr->socklen = c->local_socklen;

    return (rc == NGX_DECLINED) ? NGX_OK : NGX_ERROR;
}


/*
 * In the order of NGX_SMTP_CAP_XFORWARD_*: NAME ADDR PORT PROTO HELO IDENT
 * SOURCE.  Of each transaction: a connection does not keep it.
 */

ngx_int_t
ngx_smtp_pass_xforward(ngx_smtp_pass_t *ps)
{
    u_char             *p;
    ngx_str_t          *x;
    ngx_pool_t         *pool;
    ngx_smtp_origin_t  *o;

    if (!ps->conf->xforward) {
        return NGX_OK;
    }

    pool = ps->txn->pool;
    o = &ps->txn->origin;

    x = ngx_pcalloc(pool, NGX_SMTP_CLIENT_XFORWARD_N * sizeof(ngx_str_t));
    p = ngx_pnalloc(pool, sizeof("IPV6:") + o->addr.len + sizeof("65535"));

    if (x == NULL || p == NULL) {
        return NGX_ERROR;
    }

    x[0] = o->name;

    if (o->addr.len == 4 && ngx_strncmp(o->addr.data, "unix", 4) == 0) {
        ngx_str_set(&x[6], "LOCAL");

    } else {
        ngx_str_set(&x[6], "REMOTE");

        /* a backend that refuses it gets none for all on this connection */

        if (!ngx_smtp_pass_identity_unknown(o)) {
            p = ngx_smtp_pass_identity_addr(p, &x[1], &o->addr);
        }
    }

    if (o->port) {
        x[2].data = p;
        x[2].len = ngx_sprintf(p, "%ui", o->port) - p;
    }

    if (o->esmtp) {
        ngx_str_set(&x[3], "ESMTP");

    } else {
        ngx_str_set(&x[3], "SMTP");
    }

    x[4] = o->helo;
    x[5] = ps->txn->id;

    ps->tx.xforward = x;

    return NGX_OK;
}


/* Lengths first: no value can be taken for another one, or for two. */

static ngx_int_t
ngx_smtp_pass_identity_key(ngx_smtp_pass_t *ps)
{
    u_char                    *p, id[NGX_SMTP_RESUME_ID];
    size_t                     len;
    ngx_str_t                 *x, login[2], parts[NGX_SMTP_PASS_PARTS];
    ngx_uint_t                 i;
    ngx_smtp_pass_identity_t  *who;

    who = &ps->who;

    parts[0] = who->tls_name;
    parts[1] = who->certificate;
    parts[2] = who->certificate_key;
    parts[3] = who->header;

    if (who->local) {
        parts[4] = who->local->name;

    } else {
        ngx_str_null(&parts[4]);
    }

    ngx_str_null(&parts[5]);

    if (who->user.len) {

        /* a hash: a kept connection keeps no password */

        login[0] = who->user;
        login[1] = who->password;

        ngx_smtp_resume_id(id, login, 2);

        parts[5].data = id;
        parts[5].len = sizeof(id);
    }

    x = who->xclient;
    len = 0;

    for (i = 0; i < NGX_SMTP_PASS_PARTS; i++) {
        len += NGX_SIZE_T_LEN + 1 + parts[i].len;
    }

    for (i = 0; x && i < NGX_SMTP_CLIENT_XCLIENT_N; i++) {
        len += NGX_SIZE_T_LEN + 1 + x[i].len;
    }

    p = ngx_pnalloc(ps->txn->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    who->key.data = p;

    for (i = 0; i < NGX_SMTP_PASS_PARTS; i++) {
        p = ngx_sprintf(p, "%uz:%V", parts[i].len, &parts[i]);
    }

    for (i = 0; x && i < NGX_SMTP_CLIENT_XCLIENT_N; i++) {
        p = ngx_sprintf(p, "%uz:%V", x[i].len, &x[i]);
    }

    who->key.len = p - who->key.data;

    return NGX_OK;
}
