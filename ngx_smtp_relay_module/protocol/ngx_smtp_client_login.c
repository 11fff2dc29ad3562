
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What a proxy says beyond a delivery: XCLIENT and a login before the first
 * message, and an envelope that grows recipient by recipient (tx->more).  The
 * dialogue itself is in ngx_smtp_client.c.
 *
 * XCLIENT names every attribute that the peer offers, so that none is left
 * from somebody else; values are xtext, and no octet of them can end a line.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_client_private.h"
#include "ngx_smtp_param.h"


/* of HELO and LOGIN in XCLIENT; of other values; raw */
#define NGX_SMTP_CLIENT_VALUE_MAX  255
#define NGX_SMTP_CLIENT_SHORT_MAX  64

#define NGX_SMTP_CLIENT_XFORWARD_GROUPS  2

/* user and password up to which AUTH stays below 512 octets */
#define NGX_SMTP_CLIENT_INITIAL_MAX  330


static ngx_uint_t ngx_smtp_client_secret_valid(ngx_smtp_client_t *cl);
static ngx_uint_t ngx_smtp_client_auth_complete(ngx_smtp_client_t *cl);
static u_char *ngx_smtp_client_write_response(ngx_smtp_client_t *cl,
    u_char *p);
static u_char *ngx_smtp_client_write_xclient(ngx_smtp_client_t *cl, u_char *p,
    u_char *last);
static u_char *ngx_smtp_client_write_base64(u_char *p, u_char *data,
    size_t len);


static const ngx_uint_t
    ngx_smtp_client_xforward_groups[NGX_SMTP_CLIENT_XFORWARD_GROUPS] = {
    NGX_SMTP_CAP_XFORWARD_NAME|NGX_SMTP_CAP_XFORWARD_ADDR
    |NGX_SMTP_CAP_XFORWARD_PORT,
    NGX_SMTP_CAP_XFORWARD_PROTO|NGX_SMTP_CAP_XFORWARD_HELO
    |NGX_SMTP_CAP_XFORWARD_IDENT|NGX_SMTP_CAP_XFORWARD_SOURCE
};


ngx_int_t
ngx_smtp_client_rcpt(ngx_smtp_client_t *cl)
{
    ngx_uint_t             i;
    ngx_smtp_client_tx_t  *tx;

    tx = cl->tx;

    if (cl->state != NGX_SMTP_CLIENT_ST_RCPT || cl->pending || !tx->more) {
        return ngx_smtp_client_lost(cl, NGX_SMTP_CLIENT_LOST_LOCAL);
    }

    if (ngx_smtp_client_early(cl)) {
        return ngx_smtp_client_protocol(cl, "reply before its command");
    }

    i = tx->nrcpts - 1;

    tx->state[i] = NGX_SMTP_CLIENT_RCPT_OPEN;

    ngx_smtp_client_judge_rcpts(cl, tx, i);

    if (tx->state[i] != NGX_SMTP_CLIENT_RCPT_OPEN) {
        return NGX_SMTP_CLIENT_MORE;
    }

    cl->rcpt_send = i;
    cl->rcpt_recv = i;
    cl->to_send = NGX_SMTP_CLIENT_ST_RCPT;

    return NGX_SMTP_CLIENT_WAIT;
}


ngx_int_t
ngx_smtp_client_data(ngx_smtp_client_t *cl)
{
    if (cl->state != NGX_SMTP_CLIENT_ST_RCPT || cl->pending
        || cl->accepted == 0)
    {
        return ngx_smtp_client_lost(cl, NGX_SMTP_CLIENT_LOST_LOCAL);
    }

    if (ngx_smtp_client_early(cl)) {
        return ngx_smtp_client_protocol(cl, "reply before its command");
    }

    return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_DATA);
}


ngx_int_t
ngx_smtp_client_rset(ngx_smtp_client_t *cl)
{
    cl->tx = NULL;

    if ((cl->state != NGX_SMTP_CLIENT_ST_RCPT
         && cl->state != NGX_SMTP_CLIENT_ST_READY)
        || cl->pending)
    {
        return ngx_smtp_client_lost(cl, NGX_SMTP_CLIENT_LOST_LOCAL);
    }

    if (ngx_smtp_client_early(cl)) {
        return ngx_smtp_client_protocol(cl, "reply before its command");
    }

    return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_RSET);
}


ngx_int_t
ngx_smtp_client_prepare(ngx_smtp_client_t *cl)
{
    ngx_smtp_verdict_t  v;

    if (cl->conf.xclient && !cl->xclient
        && (cl->caps.flags & NGX_SMTP_CAP_XCLIENT) && cl->caps.xclient)
    {
        return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_XCLIENT);
    }

    if (cl->conf.user.len == 0) {
        return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_READY);
    }

    if (!cl->tls) {
        ngx_smtp_client_own(&v, NGX_SMTP_CLIENT_ST_AUTH, 451, "4.7.0",
                            "no login without TLS");

        return ngx_smtp_client_fail(cl, &v);
    }

    if (!ngx_smtp_client_secret_valid(cl)) {
        ngx_smtp_client_own(&v, NGX_SMTP_CLIENT_ST_AUTH, 451, "4.7.0",
                            "the user or password cannot be sent");

        return ngx_smtp_client_fail(cl, &v);
    }

    if (cl->conf.xoauth2) {
        cl->mechanism = cl->caps.auth & NGX_SMTP_CAP_AUTH_XOAUTH2;

    } else if (cl->caps.auth & NGX_SMTP_CAP_AUTH_PLAIN) {
        cl->mechanism = NGX_SMTP_CAP_AUTH_PLAIN;

    } else {
        cl->mechanism = cl->caps.auth & NGX_SMTP_CAP_AUTH_LOGIN;
    }

    if (cl->mechanism == 0) {
        ngx_smtp_client_own(&v, NGX_SMTP_CLIENT_ST_AUTH, 451, "4.7.0",
                            cl->conf.xoauth2
                            ? "the host does not offer AUTH XOAUTH2"
                            : "the host offers neither AUTH PLAIN nor LOGIN");

        return ngx_smtp_client_fail(cl, &v);
    }

    /* RFC 4954 section 4: a command has 512 octets, a response has more */

    cl->split = (cl->mechanism == NGX_SMTP_CAP_AUTH_LOGIN
                 || cl->conf.user.len + cl->conf.password.len
                    > NGX_SMTP_CLIENT_INITIAL_MAX);

    return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_AUTH);
}


/*
 * No octet may end a field of a mechanism: NUL in PLAIN, ^A in XOAUTH2, where
 * no other control makes sense either.
 */

static ngx_uint_t
ngx_smtp_client_secret_valid(ngx_smtp_client_t *cl)
{
    u_char       least;
    ngx_str_t   *s[2];
    ngx_uint_t   i, n;

    s[0] = &cl->conf.user;
    s[1] = &cl->conf.password;

    if (s[0]->len > NGX_SMTP_CLIENT_USER_MAX
        || s[1]->len > NGX_SMTP_CLIENT_SECRET_MAX)
    {
        return 0;
    }

    least = cl->conf.xoauth2 ? 0x20 : 0x01;

    for (n = 0; n < 2; n++) {
        for (i = 0; i < s[n]->len; i++) {
            if (s[n]->data[i] < least) {
                return 0;
            }
        }
    }

    return 1;
}


ngx_int_t
ngx_smtp_client_on_login(ngx_smtp_client_t *cl)
{
    ngx_uint_t  code;

    code = cl->response.code;

    if (cl->state == NGX_SMTP_CLIENT_ST_XCLIENT) {

        if (code / 100 != 2) {
            return ngx_smtp_client_refused(cl);
        }

        /* the session begins anew: what was offered before is void */

        cl->xclient = 1;

        return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_EHLO);
    }

    /* a success where more is to be said would be that of somebody else */

    if (code / 100 == 2 && ngx_smtp_client_auth_complete(cl)) {
        return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_READY);
    }

    if (code != 334) {
        return ngx_smtp_client_refused(cl);
    }

    switch (cl->state) {

    case NGX_SMTP_CLIENT_ST_AUTH:

        if (cl->split) {
            return ngx_smtp_client_enter(cl,
                       cl->mechanism == NGX_SMTP_CAP_AUTH_LOGIN
                       ? NGX_SMTP_CLIENT_ST_AUTH_USER
                       : NGX_SMTP_CLIENT_ST_AUTH_RESPONSE);
        }

        break;

    case NGX_SMTP_CLIENT_ST_AUTH_USER:
        return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_AUTH_PASSWORD);

    case NGX_SMTP_CLIENT_ST_AUTH_RESPONSE:
        break;

    default: /* AUTH_PASSWORD, AUTH_CANCEL */
        return ngx_smtp_client_refused(cl);
    }

    /* XOAUTH2 says in a challenge why not; the refusal comes behind */

    return cl->mechanism == NGX_SMTP_CAP_AUTH_XOAUTH2
           ? ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_AUTH_CANCEL)
           : ngx_smtp_client_refused(cl);
}


/* Has all been said that the mechanism asks for? */

static ngx_uint_t
ngx_smtp_client_auth_complete(ngx_smtp_client_t *cl)
{
    return cl->state == NGX_SMTP_CLIENT_ST_AUTH_PASSWORD
           || cl->state == NGX_SMTP_CLIENT_ST_AUTH_RESPONSE
           || (cl->state == NGX_SMTP_CLIENT_ST_AUTH && !cl->split);
}


u_char *
ngx_smtp_client_write_login(ngx_smtp_client_t *cl, u_char *p, u_char *last)
{
    const char  *name;

    switch (cl->state) {

    case NGX_SMTP_CLIENT_ST_XCLIENT:
        return ngx_smtp_client_write_xclient(cl, p, last);

    case NGX_SMTP_CLIENT_ST_AUTH:

        name = (cl->mechanism == NGX_SMTP_CAP_AUTH_PLAIN) ? "PLAIN"
               : (cl->mechanism == NGX_SMTP_CAP_AUTH_LOGIN) ? "LOGIN"
               : "XOAUTH2";

        p = ngx_slprintf(p, last, "AUTH %s", name);

        if (cl->split) {
            return ngx_cpymem(p, CRLF, sizeof(CRLF) - 1);
        }

        *p++ = ' ';

        return ngx_smtp_client_write_response(cl, p);

    case NGX_SMTP_CLIENT_ST_AUTH_USER:
        return ngx_smtp_client_write_base64(p, cl->conf.user.data,
                                            cl->conf.user.len);

    case NGX_SMTP_CLIENT_ST_AUTH_PASSWORD:
        return ngx_smtp_client_write_base64(p, cl->conf.password.data,
                                            cl->conf.password.len);

    case NGX_SMTP_CLIENT_ST_AUTH_RESPONSE:
        return ngx_smtp_client_write_response(cl, p);

    default: /* NGX_SMTP_CLIENT_ST_AUTH_CANCEL: an empty response */
        return ngx_cpymem(p, CRLF, sizeof(CRLF) - 1);
    }
}


/* The response of PLAIN (RFC 4616), or of XOAUTH2. */

static u_char *
ngx_smtp_client_write_response(ngx_smtp_client_t *cl, u_char *p)
{
    u_char  *last;
    u_char   buf[NGX_SMTP_CLIENT_USER_MAX + NGX_SMTP_CLIENT_SECRET_MAX + 32];

    last = buf;

    if (cl->mechanism == NGX_SMTP_CAP_AUTH_XOAUTH2) {
        last = ngx_sprintf(last, "user=%V\001auth=Bearer %V\001\001",
                           &cl->conf.user, &cl->conf.password);

    } else {
        *last++ = '\0';
        last = ngx_cpymem(last, cl->conf.user.data, cl->conf.user.len);
        *last++ = '\0';
        last = ngx_cpymem(last, cl->conf.password.data, cl->conf.password.len);
    }

    p = ngx_smtp_client_write_base64(p, buf, last - buf);

    ngx_explicit_memzero(buf, sizeof(buf));

    return p;
}


static u_char *
ngx_smtp_client_write_xclient(ngx_smtp_client_t *cl, u_char *p, u_char *last)
{
    size_t       max;
    ngx_str_t    value;
    ngx_uint_t   i, bit;

    static const char  *names[NGX_SMTP_CLIENT_XCLIENT_N] = {
        "NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR",
        "DESTPORT"
    };

    p = ngx_cpymem(p, "XCLIENT", sizeof("XCLIENT") - 1);

    for (i = 0; i < NGX_SMTP_CLIENT_XCLIENT_N; i++) {

        bit = (ngx_uint_t) 1 << i;

        if (!(cl->caps.xclient & bit)) {
            continue;
        }

        max = (bit & (NGX_SMTP_CAP_XCLIENT_HELO|NGX_SMTP_CAP_XCLIENT_LOGIN))
              ? NGX_SMTP_CLIENT_VALUE_MAX : NGX_SMTP_CLIENT_SHORT_MAX;

        p = ngx_slprintf(p, last, " %s=", names[i]);

        value = cl->conf.xclient[i];

        if (value.len == 0 || value.len > max) {
            p = ngx_cpymem(p, "[UNAVAILABLE]", sizeof("[UNAVAILABLE]") - 1);

        } else {
            p = ngx_smtp_xtext_encode(p, &value);
        }
    }

    return ngx_cpymem(p, CRLF, sizeof(CRLF) - 1);
}


/*
 * XFORWARD is kept below the 512 octets of a command (RFC 5321 section
 * 4.5.3.1.4): its attributes go in two groups, and are cut off at lengths at
 * which each group fits.
 */

ngx_uint_t
ngx_smtp_client_xforward(ngx_smtp_client_t *cl, ngx_smtp_client_tx_t *tx)
{
    ngx_uint_t  i, groups;

    if (tx->xforward == NULL || cl->no_xforward) {
        return 0;
    }

    groups = 0;

    for (i = 0; i < NGX_SMTP_CLIENT_XFORWARD_GROUPS; i++) {
        if (cl->caps.xforward & ngx_smtp_client_xforward_groups[i]) {
            groups |= (ngx_uint_t) 1 << i;
        }
    }

    return groups;
}


u_char *
ngx_smtp_client_write_xforward(ngx_smtp_client_t *cl, u_char *p, u_char *last)
{
    ngx_str_t   *value, encoded;
    ngx_uint_t   i, group;
    u_char       buf[3 * NGX_SMTP_CLIENT_VALUE_MAX];

    static const struct {
        const char  *name;
        size_t       max;        /* encoded */
    } attributes[NGX_SMTP_CLIENT_XFORWARD_N] = {
        { "NAME", 255 }, { "ADDR", 64 }, { "PORT", 5 }, { "PROTO", 64 },
        { "HELO", 255 }, { "IDENT", 64 }, { "SOURCE", 6 }
    };

    group = cl->caps.xforward
            & ngx_smtp_client_xforward_groups[(cl->xf_send & 1) ? 0 : 1];

    p = ngx_cpymem(p, "XFORWARD", sizeof("XFORWARD") - 1);

    for (i = 0; i < NGX_SMTP_CLIENT_XFORWARD_N; i++) {

        if (!(group & ((ngx_uint_t) 1 << i))) {
            continue;
        }

        value = &cl->tx->xforward[i];

        ngx_str_null(&encoded);

        if (value->len <= NGX_SMTP_CLIENT_VALUE_MAX) {
            encoded.data = buf;
            encoded.len = ngx_smtp_xtext_encode(buf, value) - buf;
        }

        p = ngx_slprintf(p, last, " %s=", attributes[i].name);

        if (encoded.len == 0 || encoded.len > attributes[i].max) {
            ngx_str_set(&encoded, "[UNAVAILABLE]");
        }

        p = ngx_cpymem(p, encoded.data, encoded.len);
    }

    return ngx_cpymem(p, CRLF, sizeof(CRLF) - 1);
}


/* A peer that does not want to know is not asked again; the mail goes on. */

ngx_int_t
ngx_smtp_client_on_xforward(ngx_smtp_client_t *cl)
{
    switch (cl->response.code / 100) {

    case 2:
        break;

    case 4:
    case 5:
        cl->no_xforward = 1;
        break;

    default:
        return ngx_smtp_client_protocol(cl, "unexpected reply to XFORWARD");
    }

    cl->xf_recv &= cl->xf_recv - 1;

    if (cl->xf_recv == 0) {
        cl->state = NGX_SMTP_CLIENT_ST_MAIL;
    }

    return NGX_SMTP_CLIENT_WAIT;
}


static u_char *
ngx_smtp_client_write_base64(u_char *p, u_char *data, size_t len)
{
    ngx_str_t  src, dst;

    src.data = data;
    src.len = len;
    dst.data = p;

    ngx_encode_base64(&dst, &src);

    return ngx_cpymem(p + dst.len, CRLF, sizeof(CRLF) - 1);
}
