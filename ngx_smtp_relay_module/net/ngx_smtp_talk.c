
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Between a peer and a client engine.  Of time there are three watches: the
 * peer's own on connects and on output that is not taken, and ours on replies.
 * Ours is wound up by commands and complete replies only.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_talk.h"


/* how long the reply to RSET and to QUIT is waited for at most, ms: nothing
   depends on it */
#define NGX_SMTP_TALK_RSET  20000
#define NGX_SMTP_TALK_QUIT  5000


static void ngx_smtp_talk_connected(ngx_smtp_talk_t *talk);
static void ngx_smtp_talk_secured(ngx_smtp_talk_t *talk);
static void ngx_smtp_talk_failed(ngx_smtp_talk_t *talk);
static void ngx_smtp_talk_read(ngx_smtp_talk_t *talk);
static ngx_int_t ngx_smtp_talk_starttls(ngx_smtp_talk_t *talk);
static ngx_int_t ngx_smtp_talk_wait(ngx_smtp_talk_t *talk);


void
ngx_smtp_talk_handler(ngx_smtp_peer_t *p, ngx_uint_t event)
{
    ngx_smtp_talk_t  *talk;

    talk = p->data;

    ngx_log_debug2(NGX_LOG_DEBUG_STREAM, &p->log, 0,
                   "smtp talk event:%ui state:%ui",
                   event, talk->client->state);

    switch (event) {

    case NGX_SMTP_PEER_CONNECTED:
        ngx_smtp_talk_connected(talk);
        return;

    case NGX_SMTP_PEER_READ:
        ngx_smtp_talk_read(talk);
        return;

    case NGX_SMTP_PEER_SENT:
        ngx_smtp_talk_action(talk, talk->callbacks->sent(talk));
        return;

    case NGX_SMTP_PEER_SECURED:
        ngx_smtp_talk_secured(talk);
        return;

    case NGX_SMTP_PEER_SHUTDOWN:
        talk->callbacks->lost(talk, NGX_SMTP_CLIENT_LOST_LOCAL);
        return;

    default: /* NGX_SMTP_PEER_FAILED */
        ngx_smtp_talk_failed(talk);
    }
}


static void
ngx_smtp_talk_connected(ngx_smtp_talk_t *talk)
{
    if (talk->callbacks->connected
        && talk->callbacks->connected(talk) != NGX_OK)
    {
        talk->callbacks->lost(talk, NGX_SMTP_CLIENT_LOST_CLOSED);
        return;
    }

    if (talk->client->conf.tls_on) {
        ngx_smtp_talk_action(talk, NGX_SMTP_CLIENT_STARTTLS);
        return;
    }

    ngx_smtp_peer_timeout(talk->peer, talk->timeout);
}


static void
ngx_smtp_talk_secured(ngx_smtp_talk_t *talk)
{
    if (talk->client->state == NGX_SMTP_CLIENT_ST_GREETING) {

        /* TLS from the first octet on: the greeting is to come */

        ngx_smtp_peer_timeout(talk->peer, talk->timeout);
        return;
    }

    ngx_smtp_talk_action(talk, ngx_smtp_client_tls_done(talk->client));
}


static void
ngx_smtp_talk_failed(ngx_smtp_talk_t *talk)
{
    ngx_uint_t  how;

    switch (talk->peer->failure) {

    case NGX_SMTP_PEER_REFUSED:
        talk->client->state = NGX_SMTP_CLIENT_ST_CONNECT;
        how = NGX_SMTP_CLIENT_LOST_CLOSED;
        break;

    case NGX_SMTP_PEER_TIMEDOUT:
        how = NGX_SMTP_CLIENT_LOST_TIMEOUT;
        break;

    case NGX_SMTP_PEER_TLS:
    case NGX_SMTP_PEER_VERIFY:
        how = NGX_SMTP_CLIENT_LOST_TLS;
        break;

    default:
        how = NGX_SMTP_CLIENT_LOST_CLOSED;
    }

    talk->callbacks->lost(talk, how);
}


static void
ngx_smtp_talk_read(ngx_smtp_talk_t *talk)
{
    u_char           *pos;
    ngx_int_t         action;
    ngx_uint_t        pending;
    ngx_smtp_peer_t  *p;

    p = talk->peer;
    pending = talk->client->pending;

    pos = p->in.pos;
    action = ngx_smtp_client_recv(talk->client, &pos, p->in.last);
    p->in.pos = pos;

    /*
     * Part of a reply is no sign of life: the time-out goes on, or a peer that
     * says a byte now and then would keep its message, and a leaving worker,
     * for ever.
     */

    if (action == NGX_SMTP_CLIENT_WAIT && talk->client->pending == pending) {
        action = NGX_DECLINED;
    }

    ngx_smtp_talk_action(talk, talk->callbacks->input(talk, action));
}


void
ngx_smtp_talk_action(ngx_smtp_talk_t *talk, ngx_int_t action)
{
    /* of NGX_DECLINED the talk may be gone already */

    for ( ;; ) {

        switch (action) {

        case NGX_SMTP_CLIENT_WAIT:
            if (ngx_smtp_talk_wait(talk) != NGX_OK) {
                talk->callbacks->lost(talk, NGX_SMTP_CLIENT_LOST_CLOSED);
            }

            return;

        case NGX_SMTP_CLIENT_STARTTLS:
            action = ngx_smtp_talk_starttls(talk);
            break;

        case NGX_SMTP_CLIENT_READY:
            action = talk->callbacks->ready(talk);
            break;

        case NGX_SMTP_CLIENT_MORE:
            action = talk->callbacks->more(talk);
            break;

        case NGX_SMTP_CLIENT_BODY:
            ngx_smtp_peer_timeout(talk->peer, 0);
            action = talk->callbacks->body(talk);
            break;

        case NGX_SMTP_CLIENT_DONE:
            action = talk->callbacks->done(talk);
            break;

        case NGX_SMTP_CLIENT_CLOSE:
            talk->callbacks->closed(talk);
            return;

        default: /* NGX_DECLINED */
            return;
        }
    }
}


static ngx_int_t
ngx_smtp_talk_starttls(ngx_smtp_talk_t *talk)
{
    ngx_int_t  rc;

    ngx_smtp_peer_timeout(talk->peer, talk->timeout);

    rc = ngx_smtp_peer_starttls(talk->peer, talk->ssl, talk->tls_name,
                                talk->verify);

    if (rc == NGX_AGAIN) {
        return NGX_DECLINED;
    }

    /* data in clear is the peer's fault, anything else is ours */

    talk->callbacks->lost(talk, rc == NGX_DECLINED
                                ? NGX_SMTP_CLIENT_LOST_TLS
                                : NGX_SMTP_CLIENT_LOST_LOCAL);

    return NGX_DECLINED;
}


/* Sends what the engine has to say, and waits for the reply. */

static ngx_int_t
ngx_smtp_talk_wait(ngx_smtp_talk_t *talk)
{
    u_char             *last, buf[NGX_SMTP_CLIENT_COMMAND_MAX + 2048];
    ngx_int_t           rc;
    ngx_msec_t          timeout;
    ngx_smtp_peer_t    *p;
    ngx_smtp_client_t  *cl;

    p = talk->peer;
    cl = talk->client;

    for ( ;; ) {
        last = ngx_smtp_client_write(cl, buf, buf + sizeof(buf));

        if (last == buf) {
            break;
        }

        rc = ngx_smtp_peer_put(p, buf, last - buf);

        if (cl->state >= NGX_SMTP_CLIENT_ST_AUTH
            && cl->state <= NGX_SMTP_CLIENT_ST_AUTH_CANCEL)
        {
            p->secret = 1;
            ngx_explicit_memzero(buf, last - buf);
        }

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (ngx_smtp_peer_flush(p) == NGX_ERROR) {
        return NGX_ERROR;
    }

    switch (cl->state) {

    case NGX_SMTP_CLIENT_ST_BODY:

        /* the send time-out watches the body */

        return NGX_OK;

    case NGX_SMTP_CLIENT_ST_EOM:
        timeout = talk->data_timeout;
        break;

    case NGX_SMTP_CLIENT_ST_RSET:

        /* with a message behind it the time is that message's */

        timeout = cl->tx ? talk->timeout
                         : ngx_min(talk->timeout, NGX_SMTP_TALK_RSET);
        break;

    case NGX_SMTP_CLIENT_ST_QUIT:
        timeout = NGX_SMTP_TALK_QUIT;
        break;

    default:
        timeout = talk->timeout;
    }

    ngx_smtp_peer_timeout(p, timeout);

    return NGX_OK;
}


ngx_int_t
ngx_smtp_talk_encode(ngx_smtp_talk_t *talk, ngx_smtp_data_encoder_t *encoder,
    u_char *pos, u_char *last, size_t copy)
{
    size_t            n;
    u_char           *end, *out, tmp[8];
    ngx_int_t         rc;
    ngx_smtp_peer_t  *p;

    p = talk->peer;

    while (pos < last) {

        end = ngx_smtp_data_clean(encoder, pos, last);
        n = end - pos;

        rc = (n <= copy) ? ngx_smtp_peer_put(p, pos, n)
                         : ngx_smtp_peer_ref(p, pos, n);

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }

        pos = end;

        if (pos < last) {
            end = pos + 1;
            out = tmp;

            (void) ngx_smtp_data_encode(encoder, &pos, end, &out,
                                        tmp + sizeof(tmp));

            if (ngx_smtp_peer_put(p, tmp, out - tmp) != NGX_OK) {
                return NGX_ERROR;
            }

            pos = end;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_talk_encode_end(ngx_smtp_talk_t *talk,
    ngx_smtp_data_encoder_t *encoder)
{
    u_char  *out, tmp[8];

    out = tmp;

    (void) ngx_smtp_data_encode_end(encoder, &out, tmp + sizeof(tmp));

    return ngx_smtp_peer_put(talk->peer, tmp, out - tmp);
}
