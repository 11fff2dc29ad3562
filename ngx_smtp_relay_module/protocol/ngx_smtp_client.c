
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The client's dialogue: ngx_smtp_client_enter() sets what is sent in a state,
 * ngx_smtp_client_reply() decides what an answer means.  See the header.
 *
 * cl->state names the command whose reply comes next; cl->pending counts the
 * commands written and not answered.  With PIPELINING they are always a piece
 * of the sequence [RSET] [XFORWARD...] MAIL RCPT... DATA, so that state,
 * xf_recv, rcpt_recv and pending tell of each reply what it answers.  A reply
 * with nothing pending is an answer to nothing, and so is half of one begun
 * before its command went.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_client_private.h"


/* RFC 5321 section 4.5.3.2, ms */
#define NGX_SMTP_CLIENT_WAIT_GREETING  300000
#define NGX_SMTP_CLIENT_WAIT_COMMAND   300000
#define NGX_SMTP_CLIENT_WAIT_DATA      120000
#define NGX_SMTP_CLIENT_WAIT_BODY      180000
#define NGX_SMTP_CLIENT_WAIT_EOM       600000
#define NGX_SMTP_CLIENT_WAIT_TLS       60000
#define NGX_SMTP_CLIENT_WAIT_RSET      20000
#define NGX_SMTP_CLIENT_WAIT_QUIT      5000


static ngx_int_t ngx_smtp_client_reply(ngx_smtp_client_t *cl);
static ngx_int_t ngx_smtp_client_on_ehlo(ngx_smtp_client_t *cl);
static ngx_int_t ngx_smtp_client_on_helo(ngx_smtp_client_t *cl);
static ngx_int_t ngx_smtp_client_on_starttls(ngx_smtp_client_t *cl);
static ngx_int_t ngx_smtp_client_on_mail(ngx_smtp_client_t *cl);
static ngx_int_t ngx_smtp_client_on_rcpt(ngx_smtp_client_t *cl);
static ngx_int_t ngx_smtp_client_on_data(ngx_smtp_client_t *cl);
static ngx_int_t ngx_smtp_client_on_eom(ngx_smtp_client_t *cl);
static ngx_int_t ngx_smtp_client_introduced(ngx_smtp_client_t *cl);
static ngx_int_t ngx_smtp_client_await_next(ngx_smtp_client_t *cl);
static ngx_int_t ngx_smtp_client_unasked(ngx_smtp_client_t *cl);
static ngx_int_t ngx_smtp_client_done(ngx_smtp_client_t *cl);
static void ngx_smtp_client_heard(ngx_smtp_client_t *cl,
    ngx_smtp_verdict_t *v);
static void ngx_smtp_client_tell_all(ngx_smtp_client_t *cl,
    ngx_smtp_verdict_t *v);
static void ngx_smtp_client_keep(ngx_smtp_client_t *cl, ngx_smtp_verdict_t *v);


void
ngx_smtp_client_init(ngx_smtp_client_t *cl, ngx_smtp_client_conf_t *conf)
{
    ngx_memzero(cl, sizeof(ngx_smtp_client_t));

    cl->conf = *conf;
    cl->tls = conf->tls_on;
    cl->state = NGX_SMTP_CLIENT_ST_GREETING;
    cl->pending = 1;

    ngx_smtp_response_init(&cl->response);
}


ngx_int_t
ngx_smtp_client_recv(ngx_smtp_client_t *cl, u_char **pos, u_char *last)
{
    ngx_int_t  rc, action;

    action = NGX_SMTP_CLIENT_WAIT;

    while (*pos < last && cl->state != NGX_SMTP_CLIENT_ST_CLOSED) {

        if (cl->state == NGX_SMTP_CLIENT_ST_TLS) {

            /* plaintext where TLS begins: an injection (CVE-2026-1642) */

            *pos = last;
            return ngx_smtp_client_protocol(cl, "data behind STARTTLS");
        }

        rc = ngx_smtp_response_parse(&cl->response, pos, last);

        if (rc == NGX_AGAIN) {
            break;
        }

        if (rc == NGX_ERROR) {
            *pos = last;
            return ngx_smtp_client_protocol(cl, cl->response.error);
        }

        /* of two actions the later one counts: that is CLOSE */

        action = cl->pending ? ngx_smtp_client_reply(cl)
                             : ngx_smtp_client_unasked(cl);
    }

    if (cl->state == NGX_SMTP_CLIENT_ST_CLOSED) {
        *pos = last;
        return NGX_SMTP_CLIENT_CLOSE;
    }

    /* must not become the reply to what is sent next */

    if (cl->pending == 0
        && (cl->to_send != NGX_SMTP_CLIENT_NOTHING
            || cl->state == NGX_SMTP_CLIENT_ST_TLS)
        && ngx_smtp_client_early(cl))
    {
        return ngx_smtp_client_protocol(cl, "reply before its command");
    }

    return action;
}


ngx_int_t
ngx_smtp_client_tls_done(ngx_smtp_client_t *cl)
{
    if (cl->state != NGX_SMTP_CLIENT_ST_TLS) {
        return ngx_smtp_client_protocol(cl, "handshake not expected");
    }

    /* nothing said before the handshake counts (RFC 3207 section 4.2) */

    ngx_memzero(&cl->caps, sizeof(ngx_smtp_caps_t));
    ngx_smtp_response_init(&cl->response);

    cl->tls = 1;

    return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_EHLO);
}


ngx_int_t
ngx_smtp_client_mail(ngx_smtp_client_t *cl, ngx_smtp_client_tx_t *tx)
{
    ngx_smtp_verdict_t  v;

    cl->tx = tx;

    ngx_memzero(tx->state, tx->nrcpts);

    if (cl->state != NGX_SMTP_CLIENT_ST_READY) {
        return ngx_smtp_client_lost(cl, NGX_SMTP_CLIENT_LOST_LOCAL);
    }

    if (ngx_smtp_client_early(cl)) {
        return ngx_smtp_client_protocol(cl, "reply before its command");
    }

    cl->rcpt_recv = 0;
    cl->accepted = 0;
    cl->refused = 0;
    cl->data_sent = 0;

    if (!ngx_smtp_client_judge(cl, tx, &v)) {
        ngx_smtp_client_tell_all(cl, &v);
        return ngx_smtp_client_done(cl);
    }

    ngx_smtp_client_judge_rcpts(cl, tx, 0);

    cl->rcpt_send = ngx_smtp_client_next_rcpt(cl, 0);
    cl->rcpt_recv = cl->rcpt_send;

    if (cl->rcpt_send == tx->nrcpts) {
        return ngx_smtp_client_done(cl);
    }

    cl->mails++;

    cl->xf_send = ngx_smtp_client_xforward(cl, tx);
    cl->xf_recv = cl->xf_send;

    if (cl->rset) {
        return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_RSET);
    }

    return ngx_smtp_client_enter(cl, cl->xf_send ? NGX_SMTP_CLIENT_ST_XFORWARD
                                                 : NGX_SMTP_CLIENT_ST_MAIL);
}


ngx_int_t
ngx_smtp_client_end(ngx_smtp_client_t *cl)
{
    if (cl->state != NGX_SMTP_CLIENT_ST_BODY) {
        return ngx_smtp_client_protocol(cl, "end of data not expected");
    }

    if (ngx_smtp_client_early(cl)) {
        return ngx_smtp_client_protocol(cl, "reply before end of data");
    }

    cl->state = NGX_SMTP_CLIENT_ST_EOM;
    cl->pending = 1;

    return NGX_SMTP_CLIENT_WAIT;
}


ngx_int_t
ngx_smtp_client_quit(ngx_smtp_client_t *cl)
{
    if (cl->state != NGX_SMTP_CLIENT_ST_READY) {
        return ngx_smtp_client_lost(cl, NGX_SMTP_CLIENT_LOST_LOCAL);
    }

    return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_QUIT);
}


ngx_int_t
ngx_smtp_client_lost(ngx_smtp_client_t *cl, ngx_uint_t how)
{
    ngx_uint_t          stage;
    ngx_smtp_verdict_t  v;

    stage = cl->state;

    switch (how) {

    case NGX_SMTP_CLIENT_LOST_TIMEOUT:
        ngx_smtp_client_own(&v, stage, 451, "4.4.2",
                            "timed out waiting for the host");
        break;

    case NGX_SMTP_CLIENT_LOST_TLS:
        ngx_smtp_client_own(&v, stage, 451, "4.7.5", "TLS handshake failed");
        break;

    case NGX_SMTP_CLIENT_LOST_LOCAL:
        ngx_smtp_client_own(&v, stage, 451, "4.3.0",
                            "given up for a local reason");
        break;

    default: /* NGX_SMTP_CLIENT_LOST_CLOSED */
        ngx_smtp_client_own(&v, stage, 451, "4.4.2",
                            "the host closed the connection");
    }

    return ngx_smtp_client_fail(cl, &v);
}


ngx_msec_t
ngx_smtp_client_timeout(ngx_smtp_client_t *cl)
{
    switch (cl->state) {

    case NGX_SMTP_CLIENT_ST_GREETING:
        return NGX_SMTP_CLIENT_WAIT_GREETING;

    case NGX_SMTP_CLIENT_ST_TLS:
        return NGX_SMTP_CLIENT_WAIT_TLS;

    case NGX_SMTP_CLIENT_ST_RSET:
        return NGX_SMTP_CLIENT_WAIT_RSET;

    case NGX_SMTP_CLIENT_ST_DATA:
        return NGX_SMTP_CLIENT_WAIT_DATA;

    case NGX_SMTP_CLIENT_ST_BODY:
        return NGX_SMTP_CLIENT_WAIT_BODY;

    case NGX_SMTP_CLIENT_ST_EOM:
        return NGX_SMTP_CLIENT_WAIT_EOM;

    case NGX_SMTP_CLIENT_ST_QUIT:
        return NGX_SMTP_CLIENT_WAIT_QUIT;

    default:
        return NGX_SMTP_CLIENT_WAIT_COMMAND;
    }
}


ngx_int_t
ngx_smtp_client_enter(ngx_smtp_client_t *cl, ngx_uint_t state)
{
    cl->state = state;
    cl->to_send = NGX_SMTP_CLIENT_NOTHING;

    switch (state) {

    case NGX_SMTP_CLIENT_ST_EHLO:
        ngx_memzero(&cl->caps_new, sizeof(ngx_smtp_caps_t));
        cl->response.handler = ngx_smtp_caps_line;
        cl->response.data = &cl->caps_new;
        break;

    case NGX_SMTP_CLIENT_ST_TLS:
        return NGX_SMTP_CLIENT_STARTTLS;

    case NGX_SMTP_CLIENT_ST_READY:

        /* its memory may go */

        ngx_str_null(&cl->conf.user);
        ngx_str_null(&cl->conf.password);

        return NGX_SMTP_CLIENT_READY;

    case NGX_SMTP_CLIENT_ST_BODY:
        return NGX_SMTP_CLIENT_BODY;

    default:
        break;
    }

    cl->to_send = state;

    return NGX_SMTP_CLIENT_WAIT;
}


/* the reply to the oldest command */

static ngx_int_t
ngx_smtp_client_reply(ngx_smtp_client_t *cl)
{
    ngx_uint_t          code;
    ngx_smtp_verdict_t  v;

    cl->pending--;

    code = cl->response.code;

    /* 421 may come at any moment and answers whatever there is */

    if (code == 421) {
        return ngx_smtp_client_refused(cl);
    }

    switch (cl->state) {

    case NGX_SMTP_CLIENT_ST_GREETING:

        if (code == 220) {
            return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_EHLO);
        }

        return ngx_smtp_client_refused(cl);

    case NGX_SMTP_CLIENT_ST_EHLO:
        return ngx_smtp_client_on_ehlo(cl);

    case NGX_SMTP_CLIENT_ST_HELO:
        return ngx_smtp_client_on_helo(cl);

    case NGX_SMTP_CLIENT_ST_STARTTLS:
        return ngx_smtp_client_on_starttls(cl);

    case NGX_SMTP_CLIENT_ST_XCLIENT:
    case NGX_SMTP_CLIENT_ST_AUTH:
    case NGX_SMTP_CLIENT_ST_AUTH_USER:
    case NGX_SMTP_CLIENT_ST_AUTH_PASSWORD:
    case NGX_SMTP_CLIENT_ST_AUTH_RESPONSE:
    case NGX_SMTP_CLIENT_ST_AUTH_CANCEL:
        return ngx_smtp_client_on_login(cl);

    case NGX_SMTP_CLIENT_ST_RSET:

        if (code / 100 != 2) {
            return ngx_smtp_client_protocol(cl, "RSET was refused");
        }

        cl->rset = 0;

        if (cl->tx == NULL) {
            return ngx_smtp_client_done(cl);
        }

        cl->state = cl->xf_recv ? NGX_SMTP_CLIENT_ST_XFORWARD
                                : NGX_SMTP_CLIENT_ST_MAIL;

        return NGX_SMTP_CLIENT_WAIT;

    case NGX_SMTP_CLIENT_ST_XFORWARD:
        return ngx_smtp_client_on_xforward(cl);

    case NGX_SMTP_CLIENT_ST_MAIL:
        return ngx_smtp_client_on_mail(cl);

    case NGX_SMTP_CLIENT_ST_RCPT:
        return ngx_smtp_client_on_rcpt(cl);

    case NGX_SMTP_CLIENT_ST_DATA:
        return ngx_smtp_client_on_data(cl);

    case NGX_SMTP_CLIENT_ST_EOM:
        return ngx_smtp_client_on_eom(cl);

    case NGX_SMTP_CLIENT_ST_DOT:

        /* whatever it says: the message had no recipients */

        return ngx_smtp_client_done(cl);

    default: /* NGX_SMTP_CLIENT_ST_QUIT */
        ngx_smtp_client_heard(cl, &v);
        return ngx_smtp_client_fail(cl, &v);
    }
}


static ngx_int_t
ngx_smtp_client_on_ehlo(ngx_smtp_client_t *cl)
{
    cl->response.handler = NULL;

    if (cl->response.code == 250) {
        cl->caps = cl->caps_new;
        return ngx_smtp_client_introduced(cl);
    }

    /* one that knew EHLO before TLS knows it now */

    if (cl->response.code / 100 == 5
        && (!cl->tls || cl->conf.tls_on))
    {
        return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_HELO);
    }

    return ngx_smtp_client_refused(cl);
}


static ngx_int_t
ngx_smtp_client_on_helo(ngx_smtp_client_t *cl)
{
    if (cl->response.code != 250) {
        return ngx_smtp_client_refused(cl);
    }

    ngx_memzero(&cl->caps, sizeof(ngx_smtp_caps_t));

    return ngx_smtp_client_introduced(cl);
}


static ngx_int_t
ngx_smtp_client_introduced(ngx_smtp_client_t *cl)
{
    ngx_smtp_verdict_t  v;

    if (cl->tls || cl->conf.tls == NGX_SMTP_CLIENT_TLS_OFF) {
        return ngx_smtp_client_prepare(cl);
    }

    if (cl->caps.flags & NGX_SMTP_CAP_STARTTLS) {
        return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_STARTTLS);
    }

    if (cl->conf.tls == NGX_SMTP_CLIENT_TLS_REQUIRE) {
        ngx_smtp_client_own(&v, NGX_SMTP_CLIENT_ST_STARTTLS, 451, "4.7.0",
                            "TLS is required, but the host does not offer it");

        return ngx_smtp_client_fail(cl, &v);
    }

    return ngx_smtp_client_prepare(cl);
}


static ngx_int_t
ngx_smtp_client_on_starttls(ngx_smtp_client_t *cl)
{
    ngx_smtp_verdict_t  v;

    if (cl->response.code == 220) {
        return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_TLS);
    }

    if (cl->response.code / 100 != 4 && cl->response.code / 100 != 5) {
        return ngx_smtp_client_protocol(cl, "unexpected reply to STARTTLS");
    }

    if (cl->conf.tls == NGX_SMTP_CLIENT_TLS_REQUIRE) {
        ngx_smtp_client_own(&v, NGX_SMTP_CLIENT_ST_STARTTLS, 451, "4.7.0",
                            "TLS is required, but the host refused STARTTLS");

        return ngx_smtp_client_fail(cl, &v);
    }

    return ngx_smtp_client_prepare(cl);
}


static ngx_int_t
ngx_smtp_client_on_mail(ngx_smtp_client_t *cl)
{
    ngx_smtp_verdict_t  v;

    switch (cl->response.code / 100) {

    case 2:
        cl->state = NGX_SMTP_CLIENT_ST_RCPT;
        return NGX_SMTP_CLIENT_WAIT;

    case 4:
    case 5:
        ngx_smtp_client_heard(cl, &v);
        ngx_smtp_client_tell_all(cl, &v);

        /* what was not written is dropped, replies to the rest awaited */

        cl->refused = 1;
        cl->to_send = NGX_SMTP_CLIENT_NOTHING;

        return ngx_smtp_client_await_next(cl);

    default:
        return ngx_smtp_client_protocol(cl, "unexpected reply to MAIL");
    }
}


static ngx_int_t
ngx_smtp_client_on_rcpt(ngx_smtp_client_t *cl)
{
    ngx_uint_t          i;
    ngx_smtp_verdict_t  v;

    if (cl->refused) {
        return ngx_smtp_client_await_next(cl);
    }

    i = cl->rcpt_recv;

    switch (cl->response.code / 100) {

    case 2:
        cl->tx->state[i] = NGX_SMTP_CLIENT_RCPT_ACCEPTED;
        cl->accepted++;

        if (cl->tx->accepted) {
            ngx_smtp_client_heard(cl, &v);
            cl->tx->accepted(cl->tx->data, i, &v);
        }

        break;

    case 4:
    case 5:
        ngx_smtp_client_heard(cl, &v);
        ngx_smtp_client_tell(cl, i, &v);
        break;

    default:
        return ngx_smtp_client_protocol(cl, "unexpected reply to RCPT");
    }

    cl->rcpt_recv = ngx_smtp_client_next_rcpt(cl, i + 1);

    if (cl->rcpt_recv < cl->tx->nrcpts) {
        return NGX_SMTP_CLIENT_WAIT;
    }

    if (cl->tx->more) {
        return NGX_SMTP_CLIENT_MORE;
    }

    cl->state = NGX_SMTP_CLIENT_ST_DATA;

    if (cl->accepted == 0) {
        cl->rset = 1;

        if (!cl->data_sent) {
            return ngx_smtp_client_done(cl);
        }
    }

    return NGX_SMTP_CLIENT_WAIT;
}


/* MAIL was refused: which of the pipelined commands is answered next? */

static ngx_int_t
ngx_smtp_client_await_next(ngx_smtp_client_t *cl)
{
    if (cl->pending == 0) {
        return ngx_smtp_client_done(cl);
    }

    cl->state = (cl->pending == 1 && cl->data_sent)
                ? NGX_SMTP_CLIENT_ST_DATA : NGX_SMTP_CLIENT_ST_RCPT;

    return NGX_SMTP_CLIENT_WAIT;
}


static ngx_int_t
ngx_smtp_client_on_data(ngx_smtp_client_t *cl)
{
    ngx_smtp_verdict_t  v;

    switch (cl->response.code / 100) {

    case 3:

        if (cl->response.code != 354) {
            break;
        }

        if (cl->accepted) {
            return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_BODY);
        }

        /* RFC 2920 section 3.1: it wants a message now, so it gets none */

        cl->rset = 1;

        return ngx_smtp_client_enter(cl, NGX_SMTP_CLIENT_ST_DOT);

    case 4:
    case 5:

        cl->rset = 1;

        if (cl->accepted) {
            ngx_smtp_client_heard(cl, &v);
            ngx_smtp_client_tell_all(cl, &v);
        }

        return ngx_smtp_client_done(cl);

    default:
        break;
    }

    return ngx_smtp_client_protocol(cl, "unexpected reply to DATA");
}


static ngx_int_t
ngx_smtp_client_on_eom(ngx_smtp_client_t *cl)
{
    ngx_smtp_verdict_t  v;

    if (cl->response.code / 100 == 3) {
        return ngx_smtp_client_protocol(cl, "unexpected reply to the message");
    }

    ngx_smtp_client_heard(cl, &v);
    ngx_smtp_client_tell_all(cl, &v);

    return ngx_smtp_client_done(cl);
}


/* a reply, and no command that it could answer */

static ngx_int_t
ngx_smtp_client_unasked(ngx_smtp_client_t *cl)
{
    if (cl->response.code == 421) {
        return ngx_smtp_client_refused(cl);
    }

    return ngx_smtp_client_protocol(cl, NULL);
}


/* has a reply begun that is not complete? */

ngx_uint_t
ngx_smtp_client_early(ngx_smtp_client_t *cl)
{
    return cl->response.size && !cl->response.done;
}


/* what: static, or NULL to quote the reply */

ngx_int_t
ngx_smtp_client_protocol(ngx_smtp_client_t *cl, const char *what)
{
    u_char              *p;
    u_char               text[NGX_SMTP_RESPONSE_TEXT_MAX];
    ngx_smtp_verdict_t   v;

    ngx_smtp_client_own(&v, cl->state, 451, "4.5.0", "");

    if (what) {
        p = ngx_slprintf(text, text + sizeof(text), "protocol error: %s",
                         what);

    } else {
        p = ngx_slprintf(text, text + sizeof(text),
                         "protocol error: unexpected reply: %03ui %V",
                         cl->response.code, &cl->response.text);
    }

    v.text.data = text;
    v.text.len = p - text;

    return ngx_smtp_client_fail(cl, &v);
}


/* the reply is an end of the session: 4xx, 5xx, or one out of place */

ngx_int_t
ngx_smtp_client_refused(ngx_smtp_client_t *cl)
{
    ngx_smtp_verdict_t  v;

    if (cl->response.code < 400) {
        return ngx_smtp_client_protocol(cl, NULL);
    }

    ngx_smtp_client_heard(cl, &v);

    return ngx_smtp_client_fail(cl, &v);
}


/* the session is over, and with it a message that has no verdict yet */

ngx_int_t
ngx_smtp_client_fail(ngx_smtp_client_t *cl, ngx_smtp_verdict_t *v)
{
    if (cl->state == NGX_SMTP_CLIENT_ST_CLOSED) {
        if (cl->tx) {
            ngx_smtp_client_tell_all(cl, v);
            cl->tx = NULL;
        }

        return NGX_SMTP_CLIENT_CLOSE;
    }

    /* no valid answer to the end of data: it may have arrived (RFC 1047) */

    v->unknown = (cl->state == NGX_SMTP_CLIENT_ST_EOM && v->local);

    if (cl->tx) {
        ngx_smtp_client_tell_all(cl, v);
        cl->tx = NULL;
    }

    ngx_smtp_client_keep(cl, v);

    cl->state = NGX_SMTP_CLIENT_ST_CLOSED;
    cl->to_send = NGX_SMTP_CLIENT_NOTHING;
    cl->pending = 0;

    return NGX_SMTP_CLIENT_CLOSE;
}


static ngx_int_t
ngx_smtp_client_done(ngx_smtp_client_t *cl)
{
    cl->tx = NULL;
    cl->state = NGX_SMTP_CLIENT_ST_READY;
    cl->to_send = NGX_SMTP_CLIENT_NOTHING;

    return NGX_SMTP_CLIENT_DONE;
}


/* the peer's reply as a verdict; its text is in the parser */

static void
ngx_smtp_client_heard(ngx_smtp_client_t *cl, ngx_smtp_verdict_t *v)
{
    ngx_memzero(v, sizeof(ngx_smtp_verdict_t));

    v->code = cl->response.code;
    v->status = cl->response.status;
    v->text = cl->response.text;
    v->stage = cl->state;
}


/* a verdict of our own, static strings */

void
ngx_smtp_client_own(ngx_smtp_verdict_t *v, ngx_uint_t stage, ngx_uint_t code,
    const char *status, const char *text)
{
    ngx_memzero(v, sizeof(ngx_smtp_verdict_t));

    v->code = code;
    v->status.data = (u_char *) status;
    v->status.len = ngx_strlen(status);
    v->text.data = (u_char *) text;
    v->text.len = ngx_strlen(text);
    v->stage = stage;
    v->local = 1;
}


void
ngx_smtp_client_tell(ngx_smtp_client_t *cl, ngx_uint_t i,
    ngx_smtp_verdict_t *v)
{
    cl->tx->state[i] = NGX_SMTP_CLIENT_RCPT_TOLD;
    cl->tx->handler(cl->tx->data, i, v);
}


static void
ngx_smtp_client_tell_all(ngx_smtp_client_t *cl, ngx_smtp_verdict_t *v)
{
    ngx_uint_t  i;

    for (i = 0; i < cl->tx->nrcpts; i++) {
        if (cl->tx->state[i] != NGX_SMTP_CLIENT_RCPT_TOLD) {
            ngx_smtp_client_tell(cl, i, v);
        }
    }
}


/* a copy that outlives parser and message */

static void
ngx_smtp_client_keep(ngx_smtp_client_t *cl, ngx_smtp_verdict_t *v)
{
    cl->verdict = *v;

    cl->verdict.text.data = cl->text;
    cl->verdict.text.len = ngx_min(v->text.len, sizeof(cl->text));
    ngx_memcpy(cl->text, v->text.data, cl->verdict.text.len);

    cl->verdict.status.data = cl->status;
    cl->verdict.status.len = ngx_min(v->status.len, sizeof(cl->status));
    ngx_memcpy(cl->status, v->status.data, cl->verdict.status.len);
}
