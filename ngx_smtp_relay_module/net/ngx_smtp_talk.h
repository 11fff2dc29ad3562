
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A talk is an outbound connection that speaks SMTP: a peer (ngx_smtp_peer.h),
 * which moves bytes, and a client engine (protocol/ngx_smtp_client.h), which
 * knows the protocol.  It gives the peer's events to the engine, carries out
 * what the engine wants, and watches the time; what is talked about (messages,
 * a probe) is its owner's, who is asked by callbacks.
 *
 * The owner creates the peer with ngx_smtp_talk_handler() as handler and the
 * talk as data, initializes the engine, and closes the peer in the end.  Talk
 * and engine live as long as the peer, mostly in its pool.
 */


#ifndef _NGX_SMTP_TALK_H_INCLUDED_
#define _NGX_SMTP_TALK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_client.h"
#include "ngx_smtp_data.h"
#include "ngx_smtp_peer.h"


/* what is shorter is worth no reference: see ngx_smtp_talk_encode() */
#define NGX_SMTP_TALK_COPY  1024


typedef struct ngx_smtp_talk_s  ngx_smtp_talk_t;


/*
 * Callbacks that return an "action" return what the engine wants next
 * (NGX_SMTP_CLIENT_*), or NGX_DECLINED: there is nothing to be done now, and
 * talk and peer may be gone.  Those marked so may be NULL.
 */
typedef struct {

    /*
     * The connection is there; nothing was read or sent.  NGX_OK; NGX_ERROR:
     * it is of no use, lost() follows.  May be NULL.
     */
    ngx_int_t  (*connected)(ngx_smtp_talk_t *talk);

    /*
     * Input came and the engine made this action of it, which is still to be
     * carried out: returns it, or another one.
     */
    ngx_int_t  (*input)(ngx_smtp_talk_t *talk, ngx_int_t action);

    /* READY, MORE (may be NULL), BODY and DONE of the engine. */
    ngx_int_t  (*ready)(ngx_smtp_talk_t *talk);
    ngx_int_t  (*more)(ngx_smtp_talk_t *talk);
    ngx_int_t  (*body)(ngx_smtp_talk_t *talk);
    ngx_int_t  (*done)(ngx_smtp_talk_t *talk);

    /* Output that had to wait is out: mostly the next piece of the body. */
    ngx_int_t  (*sent)(ngx_smtp_talk_t *talk);

    /*
     * The connection failed, or must end now; how: NGX_SMTP_CLIENT_LOST_*,
     * LOCAL if the worker leaves.  The engine was not told yet.
     */
    void       (*lost)(ngx_smtp_talk_t *talk, ngx_uint_t how);

    /* The engine's CLOSE: client->verdict tells why. */
    void       (*closed)(ngx_smtp_talk_t *talk);

} ngx_smtp_talk_callbacks_t;


struct ngx_smtp_talk_s {
    ngx_smtp_talk_callbacks_t  *callbacks;
    ngx_smtp_peer_t            *peer;
    ngx_smtp_client_t          *client;
    void                       *data;      /* the owner's */

    ngx_msec_t                  timeout;   /* reply to a command */
    ngx_msec_t                  data_timeout;  /* reply to the end of data */

    ngx_ssl_t                  *ssl;       /* NULL: no TLS is ever wanted */
    ngx_str_t                  *tls_name;
    ngx_uint_t                  verify;
};


/* The handler of the peer; p->data is the talk. */
void ngx_smtp_talk_handler(ngx_smtp_peer_t *p, ngx_uint_t event);

/*
 * Carries out an action of the engine, or NGX_DECLINED, until it waits for the
 * peer.  May end the talk: called last.
 */
void ngx_smtp_talk_action(ngx_smtp_talk_t *talk, ngx_int_t action);

/*
 * Adds [pos, last) of a message to the output as DATA wants it: leading dots
 * doubled, no bare CR or LF (RFC 5321 section 4.5.2).  Runs up to copy octets
 * are copied, longer ones referred to until the next flush.  NGX_OK; NGX_ERROR
 * (no memory).
 */
ngx_int_t ngx_smtp_talk_encode(ngx_smtp_talk_t *talk,
    ngx_smtp_data_encoder_t *encoder, u_char *pos, u_char *last, size_t copy);

/* Adds the end of data; ngx_smtp_client_end() comes before.  As above. */
ngx_int_t ngx_smtp_talk_encode_end(ngx_smtp_talk_t *talk,
    ngx_smtp_data_encoder_t *encoder);


#endif /* _NGX_SMTP_TALK_H_INCLUDED_ */
