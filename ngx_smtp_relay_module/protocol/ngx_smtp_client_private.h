
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the files of the client share; nobody else includes this.
 */


#ifndef _NGX_SMTP_CLIENT_PRIVATE_H_INCLUDED_
#define _NGX_SMTP_CLIENT_PRIVATE_H_INCLUDED_


#include "ngx_smtp_client.h"


/*
 * tx->state of a recipient: OPEN until its verdict was told, ACCEPTED while
 * that waits for the end of data
 */
#define NGX_SMTP_CLIENT_RCPT_OPEN      0
#define NGX_SMTP_CLIENT_RCPT_ACCEPTED  1
#define NGX_SMTP_CLIENT_RCPT_TOLD      2

/* cl->to_send: nothing */
#define NGX_SMTP_CLIENT_NOTHING        NGX_SMTP_CLIENT_ST_CONNECT


/* -- ngx_smtp_client.c --------------------------------------------------- */

/* Sets the state and what is sent in it; returns the action. */
ngx_int_t ngx_smtp_client_enter(ngx_smtp_client_t *cl, ngx_uint_t state);

/* Has a reply begun that is not complete? */
ngx_uint_t ngx_smtp_client_early(ngx_smtp_client_t *cl);

/*
 * Ends of the session: what the peer did wrong (static; NULL: quotes its
 * reply), its refusal, a verdict.  All return CLOSE.
 */
ngx_int_t ngx_smtp_client_protocol(ngx_smtp_client_t *cl, const char *what);
ngx_int_t ngx_smtp_client_refused(ngx_smtp_client_t *cl);
ngx_int_t ngx_smtp_client_fail(ngx_smtp_client_t *cl, ngx_smtp_verdict_t *v);

/* A verdict of our own from static strings. */
void ngx_smtp_client_own(ngx_smtp_verdict_t *v, ngx_uint_t stage,
    ngx_uint_t code, const char *status, const char *text);

/* Tells the final verdict on recipient i. */
void ngx_smtp_client_tell(ngx_smtp_client_t *cl, ngx_uint_t i,
    ngx_smtp_verdict_t *v);


/* -- ngx_smtp_client_login.c --------------------------------------------- */

/* EHLO and TLS are done: XCLIENT, AUTH, or READY. */
ngx_int_t ngx_smtp_client_prepare(ngx_smtp_client_t *cl);

/* The reply to XCLIENT or a step of AUTH. */
ngx_int_t ngx_smtp_client_on_login(ngx_smtp_client_t *cl);

/* The groups of XFORWARD that tx needs, a bit each; the reply to one. */
ngx_uint_t ngx_smtp_client_xforward(ngx_smtp_client_t *cl,
    ngx_smtp_client_tx_t *tx);
ngx_int_t ngx_smtp_client_on_xforward(ngx_smtp_client_t *cl);

/* Writes XFORWARD, the first group to be sent; COMMAND_MAX octets fit. */
u_char *ngx_smtp_client_write_xforward(ngx_smtp_client_t *cl, u_char *p,
    u_char *last);

/* Writes XCLIENT or a step of AUTH; NGX_SMTP_CLIENT_COMMAND_MAX octets fit. */
u_char *ngx_smtp_client_write_login(ngx_smtp_client_t *cl, u_char *p,
    u_char *last);


/* -- ngx_smtp_client_write.c --------------------------------------------- */

/* Can the peer take the message?  If not (0), *v tells why. */
ngx_uint_t ngx_smtp_client_judge(ngx_smtp_client_t *cl,
    ngx_smtp_client_tx_t *tx, ngx_smtp_verdict_t *v);

/* Recipients from i on that cannot be named to this peer get verdicts. */
void ngx_smtp_client_judge_rcpts(ngx_smtp_client_t *cl,
    ngx_smtp_client_tx_t *tx, ngx_uint_t i);

/* The first recipient from i on that is OPEN; tx->nrcpts if none is. */
ngx_uint_t ngx_smtp_client_next_rcpt(ngx_smtp_client_t *cl, ngx_uint_t i);


#endif /* _NGX_SMTP_CLIENT_PRIVATE_H_INCLUDED_ */
