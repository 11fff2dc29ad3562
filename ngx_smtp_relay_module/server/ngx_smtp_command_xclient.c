
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * XCLIENT: a trusted filter says who its client is, and the session begins
 * anew as that client's.  The addresses of the connection are replaced, as
 * nginx's realip module does it, so that everything that looks at the client
 * sees it: checks, variables, logs, Received, XCLIENT to a backend.
 *
 * Commands that follow each other without anything between add up, since a
 * filter may need several lines.  After EHLO, HELO or MAIL, XCLIENT begins a
 * new *round*: nothing of the last client is left, what is not named is the
 * connection's own again.  All of a round lives in a pool that ends with it,
 * however many clients a filter has on one connection.
 *
 * Whether XCLIENT is offered is decided by the address that the connection
 * came from, never by one that XCLIENT named.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_core.h"
#include "ngx_smtp_session.h"
#include "ngx_smtp_xclient.h"


#define NGX_SMTP_IDENTITY_POOL  1024


struct ngx_smtp_identity_s {
    ngx_smtp_session_t    *session;
    ngx_pool_t            *pool;        /* of this round; NULL: none */

    /* the connection's own */
    struct sockaddr       *sockaddr;
    socklen_t              socklen;
    struct sockaddr       *local_sockaddr;
    socklen_t              local_socklen;
    ngx_str_t              addr_text;
    ngx_str_t              addr;
    ngx_uint_t             port;

    /* of this round, in its pool */
    ngx_smtp_account_t    *account;
    ngx_str_t              name;
    ngx_str_t              helo;
    ngx_uint_t             client_port; /* 0: not named */
    ngx_uint_t             dest_port;
    unsigned               esmtp:1;
    unsigned               open:1;      /* the next XCLIENT adds to it */
};


/* addresses that were parsed, before anything is changed */
typedef struct {
    ngx_sockaddr_t         addr;
    socklen_t              len;
} ngx_smtp_identity_addr_t;


static ngx_int_t ngx_smtp_identity_begin(ngx_smtp_session_t *s);
static ngx_int_t ngx_smtp_identity_create(ngx_smtp_session_t *s);
static void ngx_smtp_identity_restore(ngx_smtp_identity_t *id);
static void ngx_smtp_identity_cleanup(void *data);
static ngx_int_t ngx_smtp_identity_address(ngx_str_t *text, ngx_uint_t ipv6,
    ngx_smtp_identity_addr_t *a);
static ngx_int_t ngx_smtp_identity_apply(ngx_smtp_session_t *s,
    ngx_smtp_xclient_t *x, ngx_smtp_identity_addr_t *client,
    ngx_smtp_identity_addr_t *dest);
static ngx_int_t ngx_smtp_identity_client(ngx_smtp_session_t *s,
    ngx_smtp_xclient_t *x, ngx_smtp_identity_addr_t *client);
static ngx_int_t ngx_smtp_identity_dest(ngx_smtp_session_t *s,
    ngx_smtp_xclient_t *x, ngx_smtp_identity_addr_t *dest);
static ngx_int_t ngx_smtp_identity_login(ngx_smtp_identity_t *id,
    ngx_smtp_xclient_t *x);
static ngx_int_t ngx_smtp_identity_string(ngx_smtp_identity_t *id,
    ngx_str_t *dst, ngx_str_t *src, ngx_uint_t known);
static void *ngx_smtp_identity_copy(ngx_pool_t *pool, void *src, size_t len);
static void ngx_smtp_identity_forget(ngx_smtp_session_t *s);


ngx_int_t
ngx_smtp_command_xclient(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    u_char                    *p;
    ngx_int_t                  rc;
    ngx_str_t                  text, bad;
    ngx_smtp_xclient_t         x;
    ngx_smtp_srv_conf_t       *conf;
    ngx_smtp_identity_addr_t   client, dest;
    u_char                     buf[NGX_SMTP_REPLY_LINE_MAX];

    rc = ngx_smtp_xclient_parse(&cmd->arg, &x, &bad);

    if (rc != NGX_OK) {
        ngx_smtp_session_reply(s, rc, &bad);
        return NGX_OK;
    }

    ngx_smtp_session_forget(s);

    ngx_str_null(&bad);

    if ((x.known & NGX_SMTP_CAP_XCLIENT_ADDR)
        && ngx_smtp_identity_address(&x.addr, x.addr6, &client) != NGX_OK)
    {
        ngx_str_set(&bad, "ADDR");

    } else if ((x.known & NGX_SMTP_CAP_XCLIENT_DESTADDR)
               && ngx_smtp_identity_address(&x.destaddr, x.destaddr6, &dest)
                  != NGX_OK)
    {
        ngx_str_set(&bad, "DESTADDR");

    } else if ((x.known & NGX_SMTP_CAP_XCLIENT_LOGIN)
               && ngx_smtp_account_normalize(&x.login) != NGX_OK)
    {
        ngx_str_set(&bad, "LOGIN");
    }

    if (bad.len) {
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_BAD_PARAM, &bad);
        return NGX_OK;
    }

    if (ngx_smtp_identity_begin(s) != NGX_OK
        || ngx_smtp_identity_apply(s, &x, &client, &dest) != NGX_OK)
    {
        /* half a client is none */

        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_INTERNAL_CLOSE, NULL);
        s->quit = 1;
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                  "client is that of XCLIENT by %V", &s->identity->addr);

    conf = s->conf;

    p = ngx_slprintf(buf, buf + sizeof(buf), "%V ESMTP", &conf->hostname);

    text.data = buf;
    text.len = p - buf;

    ngx_smtp_session_reply(s, NGX_SMTP_REPLY_GREETING, &text);

    return NGX_OK;
}


ngx_uint_t
ngx_smtp_identity_trusted(ngx_smtp_session_t *s)
{
    struct sockaddr      *sockaddr;
    ngx_smtp_srv_conf_t  *conf;

    conf = s->conf;

    if (conf->xclient == NULL) {
        return 0;
    }

    sockaddr = s->identity ? s->identity->sockaddr : s->connection->sockaddr;

    return ngx_cidr_match(sockaddr, conf->xclient) == NGX_OK;
}


void
ngx_smtp_identity_settle(ngx_smtp_session_t *s)
{
    if (s->identity) {
        s->identity->open = 0;
    }
}


ngx_str_t *
ngx_smtp_identity_name(ngx_smtp_session_t *s)
{
    return s->identity ? &s->identity->name : NULL;
}


ngx_pool_t *
ngx_smtp_identity_pool(ngx_smtp_session_t *s)
{
    return (s->identity && s->identity->pool) ? s->identity->pool
                                              : s->connection->pool;
}


/* A new round, or one more command of this one. */

static ngx_int_t
ngx_smtp_identity_begin(ngx_smtp_session_t *s)
{
    ngx_connection_t     *c;
    ngx_smtp_identity_t  *id;

    if (s->identity && s->identity->open) {
        return NGX_OK;
    }

    if (s->identity == NULL && ngx_smtp_identity_create(s) != NGX_OK) {
        return NGX_ERROR;
    }

    c = s->connection;
    id = s->identity;

    ngx_smtp_identity_restore(id);

    id->pool = ngx_create_pool(NGX_SMTP_IDENTITY_POOL, ngx_cycle->log);
    if (id->pool == NULL) {
        return NGX_ERROR;
    }

    /* it is another client: what the last one did wrong is not held to it */

    s->errors = 0;
    s->idle_commands = 0;

    /* copies: a port may be changed in them */

    c->sockaddr = ngx_smtp_identity_copy(id->pool, id->sockaddr, id->socklen);
    c->local_sockaddr = ngx_smtp_identity_copy(id->pool, id->local_sockaddr,
                                               id->local_socklen);

    if (c->sockaddr == NULL || c->local_sockaddr == NULL) {
        ngx_smtp_identity_restore(id);
        return NGX_ERROR;
    }

    id->open = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_identity_create(ngx_smtp_session_t *s)
{
    ngx_connection_t     *c;
    ngx_pool_cleanup_t   *cln;
    ngx_smtp_identity_t  *id;

    c = s->connection;

    /* on a wildcard listener it has not been asked for yet */

    if (ngx_connection_local_sockaddr(c, NULL, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    id = ngx_pcalloc(c->pool, sizeof(ngx_smtp_identity_t));
    cln = ngx_pool_cleanup_add(c->pool, 0);

    if (id == NULL || cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_smtp_identity_cleanup;
    cln->data = id;

    id->session = s;
    id->sockaddr = c->sockaddr;
    id->socklen = c->socklen;
    id->local_sockaddr = c->local_sockaddr;
    id->local_socklen = c->local_socklen;
    id->addr_text = c->addr_text;
    id->addr = s->addr;
    id->port = s->port;

    s->identity = id;

    return NGX_OK;
}


static void
ngx_smtp_identity_restore(ngx_smtp_identity_t *id)
{
    ngx_connection_t    *c;
    ngx_smtp_session_t  *s;

    s = id->session;
    c = s->connection;

    c->sockaddr = id->sockaddr;
    c->socklen = id->socklen;
    c->local_sockaddr = id->local_sockaddr;
    c->local_socklen = id->local_socklen;
    c->addr_text = id->addr_text;

    s->addr = id->addr;
    s->port = id->port;
    s->account = NULL;
    s->snapshot = NULL;

    id->account = NULL;
    id->client_port = 0;
    id->dest_port = 0;
    id->esmtp = 0;
    id->open = 0;

    ngx_str_null(&id->name);
    ngx_str_null(&id->helo);

    if (id->pool) {
        ngx_destroy_pool(id->pool);
        id->pool = NULL;
    }
}


/* The connection ends; its log still names the client. */

static void
ngx_smtp_identity_cleanup(void *data)
{
    ngx_smtp_identity_restore(data);
}


static ngx_int_t
ngx_smtp_identity_address(ngx_str_t *text, ngx_uint_t ipv6,
    ngx_smtp_identity_addr_t *a)
{
    in_addr_t  in;

    ngx_memzero(a, sizeof(ngx_smtp_identity_addr_t));

    if (!ipv6) {
        in = ngx_inet_addr(text->data, text->len);

        if (in == INADDR_NONE) {
            return NGX_ERROR;
        }

        a->addr.sockaddr_in.sin_family = AF_INET;
        a->addr.sockaddr_in.sin_addr.s_addr = in;
        a->len = sizeof(struct sockaddr_in);

        return NGX_OK;
    }

#if (NGX_HAVE_INET6)

    if (ngx_inet6_addr(text->data, text->len,
                       a->addr.sockaddr_in6.sin6_addr.s6_addr)
        == NGX_OK)
    {
        a->addr.sockaddr_in6.sin6_family = AF_INET6;
        a->len = sizeof(struct sockaddr_in6);

        return NGX_OK;
    }

#endif

    return NGX_ERROR;
}


static ngx_int_t
ngx_smtp_identity_apply(ngx_smtp_session_t *s, ngx_smtp_xclient_t *x,
    ngx_smtp_identity_addr_t *client, ngx_smtp_identity_addr_t *dest)
{
    ngx_smtp_identity_t  *id;

    id = s->identity;

    if (((x->named & NGX_SMTP_CAP_XCLIENT_NAME)
         && ngx_smtp_identity_string(id, &id->name, &x->name, x->known
                                     & NGX_SMTP_CAP_XCLIENT_NAME)
            != NGX_OK)
        || ((x->named & NGX_SMTP_CAP_XCLIENT_HELO)
            && ngx_smtp_identity_string(id, &id->helo, &x->helo, x->known
                                        & NGX_SMTP_CAP_XCLIENT_HELO)
               != NGX_OK)
        || ngx_smtp_identity_client(s, x, client) != NGX_OK
        || ngx_smtp_identity_dest(s, x, dest) != NGX_OK
        || ngx_smtp_identity_login(id, x) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (x->named & NGX_SMTP_CAP_XCLIENT_PROTO) {
        id->esmtp = x->esmtp;
    }

    ngx_smtp_session_end_transaction(s);
    ngx_smtp_rules_accept(&s->rules, NGX_SMTP_VERB_XCLIENT);

    s->account = id->account;
    s->rules.auth = (id->account != NULL);
    s->helo.len = 0;
    s->extensions = 0;

    if (id->helo.len) {

        /* it said EHLO to the filter, and need not say it again */

        if (ngx_smtp_session_helo(s, &id->helo) != NGX_OK) {
            return NGX_ERROR;
        }

        s->rules.helo = 1;
        s->rules.esmtp = id->esmtp;
    }

    ngx_smtp_identity_forget(s);

    return NGX_OK;
}


/* ADDR and PORT */

static ngx_int_t
ngx_smtp_identity_client(ngx_smtp_session_t *s, ngx_smtp_xclient_t *x,
    ngx_smtp_identity_addr_t *client)
{
    u_char               *text;
    ngx_connection_t     *c;
    ngx_smtp_identity_t  *id;

    c = s->connection;
    id = s->identity;

    if (x->named & NGX_SMTP_CAP_XCLIENT_PORT) {
        id->client_port = x->port;
    }

    if (x->named & NGX_SMTP_CAP_XCLIENT_ADDR) {

        if (x->known & NGX_SMTP_CAP_XCLIENT_ADDR) {
            text = ngx_pnalloc(id->pool, NGX_SOCKADDR_STRLEN);
            c->sockaddr = ngx_smtp_identity_copy(id->pool, &client->addr,
                                                 client->len);
            if (text == NULL || c->sockaddr == NULL) {
                return NGX_ERROR;
            }

            c->socklen = client->len;
            c->addr_text.data = text;
            c->addr_text.len = ngx_sock_ntop(c->sockaddr, c->socklen, text,
                                             NGX_SOCKADDR_STRLEN, 0);

        } else {

            /* of no family: in nobody's network */

            c->socklen = sizeof(struct sockaddr_in6);
            c->sockaddr = ngx_pcalloc(id->pool, c->socklen);

            if (c->sockaddr == NULL) {
                return NGX_ERROR;
            }

            c->sockaddr->sa_family = AF_UNSPEC;
            ngx_str_set(&c->addr_text, "unknown");
        }

        s->addr = c->addr_text;
        s->port = 0;
    }

    if (c->sockaddr->sa_family == AF_INET
        || c->sockaddr->sa_family == AF_INET6)
    {
        if (x->named & (NGX_SMTP_CAP_XCLIENT_ADDR|NGX_SMTP_CAP_XCLIENT_PORT)) {
            ngx_inet_set_port(c->sockaddr, (in_port_t) id->client_port);
            s->port = id->client_port;
        }
    }

    return NGX_OK;
}


/* DESTADDR and DESTPORT; what is not known stays ours */

static ngx_int_t
ngx_smtp_identity_dest(ngx_smtp_session_t *s, ngx_smtp_xclient_t *x,
    ngx_smtp_identity_addr_t *dest)
{
    in_port_t             port;
    ngx_connection_t     *c;
    ngx_smtp_identity_t  *id;

    c = s->connection;
    id = s->identity;

    if (x->known & NGX_SMTP_CAP_XCLIENT_DESTPORT) {
        id->dest_port = x->destport;
    }

    if (x->known & NGX_SMTP_CAP_XCLIENT_DESTADDR) {
        port = ngx_inet_get_port(c->local_sockaddr);

        c->local_sockaddr = ngx_smtp_identity_copy(id->pool, &dest->addr,
                                                   dest->len);
        if (c->local_sockaddr == NULL) {
            return NGX_ERROR;
        }

        c->local_socklen = dest->len;
        ngx_inet_set_port(c->local_sockaddr, port);
    }

    if (id->dest_port && c->local_sockaddr->sa_family != AF_UNIX) {
        ngx_inet_set_port(c->local_sockaddr, (in_port_t) id->dest_port);
    }

    return NGX_OK;
}


/* The filter has checked the password: the account is not looked up. */

static ngx_int_t
ngx_smtp_identity_login(ngx_smtp_identity_t *id, ngx_smtp_xclient_t *x)
{
    if (!(x->named & NGX_SMTP_CAP_XCLIENT_LOGIN)) {
        return NGX_OK;
    }

    id->account = NULL;

    if (!(x->known & NGX_SMTP_CAP_XCLIENT_LOGIN)) {
        return NGX_OK;
    }

    id->account = ngx_pcalloc(id->pool, sizeof(ngx_smtp_account_t));
    if (id->account == NULL) {
        return NGX_ERROR;
    }

    id->account->enabled = 1;

    return ngx_smtp_identity_string(id, &id->account->login, &x->login, 1);
}


static ngx_int_t
ngx_smtp_identity_string(ngx_smtp_identity_t *id, ngx_str_t *dst,
    ngx_str_t *src, ngx_uint_t known)
{
    ngx_str_null(dst);

    if (!known) {
        return NGX_OK;
    }

    dst->data = ngx_smtp_identity_copy(id->pool, src->data, src->len);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    dst->len = src->len;

    return NGX_OK;
}


static void *
ngx_smtp_identity_copy(ngx_pool_t *pool, void *src, size_t len)
{
    void  *p;

    p = ngx_palloc(pool, len);

    if (p) {
        ngx_memcpy(p, src, len);
    }

    return p;
}


/*
 * Values that were cached tell of the last client.  What "set" has stored is
 * kept: nobody would store it again.
 */

static void
ngx_smtp_identity_forget(ngx_smtp_session_t *s)
{
    ngx_uint_t                    i;
    ngx_stream_variable_t        *v;
    ngx_stream_session_t         *st;
    ngx_stream_core_main_conf_t  *cmcf;

    st = s->stream;
    cmcf = ngx_stream_get_module_main_conf(st, ngx_stream_core_module);
    v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {

        if (!(v[i].flags & NGX_STREAM_VAR_WEAK)) {
            st->variables[i].valid = 0;
            st->variables[i].not_found = 0;
        }
    }

    s->snapshot = NULL;
}
