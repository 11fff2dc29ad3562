
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The client's side of a session, for deliveries: a dialogue without I/O.  The
 * caller owns the connection, the timers and all memory; this engine tells
 * what to send and what replies mean.  It keeps count of what is outstanding,
 * so a reply is never taken for that of another command; whatever comes
 * unasked for ends the session.
 *
 *     connect -> GREETING -> EHLO [-> HELO] [-> STARTTLS -> TLS -> EHLO]
 *             [-> XCLIENT -> EHLO] [-> AUTH]
 *             -> READY -> ENVELOPE (RSET XFORWARD MAIL RCPT... DATA)
 *             -> BODY -> EOM
 *             -> READY ... -> QUIT -> CLOSED
 *
 * How it is driven:
 *
 *     ngx_smtp_client_init(cl, &conf);
 *     on connect:   nothing to send; wait for the greeting
 *     on input:     action = ngx_smtp_client_recv(cl, &pos, last)
 *     by action:
 *       WAIT        send what ngx_smtp_client_write() gives, read on
 *       STARTTLS    do the handshake, action = ngx_smtp_client_tls_done(cl)
 *       READY       action = ngx_smtp_client_mail(cl, tx), or _quit(cl)
 *       BODY        send the body with ngx_smtp_data_encoder_t; call
 *                   ngx_smtp_client_end(cl) before the first octet of the end
 *                   of data is given to the kernel; reads must go on meanwhile
 *       MORE        (tx->more) each recipient so far was answered: _rcpt(cl),
 *                   _data(cl) or _rset(cl), now or later
 *       DONE        the message is over: each recipient's verdict was told;
 *                   free it, then as READY
 *       CLOSE       close the connection; cl->verdict tells why
 *     on time-out (ngx_smtp_client_timeout()), close or error of the
 *                   connection: ngx_smtp_client_lost(cl, how)
 */


#ifndef _NGX_SMTP_CLIENT_H_INCLUDED_
#define _NGX_SMTP_CLIENT_H_INCLUDED_


#include "ngx_smtp_pure.h"
#include "ngx_smtp_envelope.h"
#include "ngx_smtp_response.h"


/* the longest command that ngx_smtp_client_write() makes, with CRLF */
#define NGX_SMTP_CLIENT_COMMAND_MAX  8192

/* the longest user and password, or token; longer ones are no login */
#define NGX_SMTP_CLIENT_USER_MAX    255
#define NGX_SMTP_CLIENT_SECRET_MAX  4096


/* tls policy */
#define NGX_SMTP_CLIENT_TLS_OFF            0
#define NGX_SMTP_CLIENT_TLS_OPPORTUNISTIC  1
#define NGX_SMTP_CLIENT_TLS_REQUIRE        2


/* actions */
#define NGX_SMTP_CLIENT_WAIT      0
#define NGX_SMTP_CLIENT_STARTTLS  1
#define NGX_SMTP_CLIENT_READY     2
#define NGX_SMTP_CLIENT_BODY      3
#define NGX_SMTP_CLIENT_DONE      4
#define NGX_SMTP_CLIENT_CLOSE     5
#define NGX_SMTP_CLIENT_MORE      6


/* attributes of XCLIENT: bit n of caps.xclient is the n-th */
#define NGX_SMTP_CLIENT_XCLIENT_N  8

/* attributes of XFORWARD, likewise */
#define NGX_SMTP_CLIENT_XFORWARD_N  7


/* states; also the stage of a verdict */
typedef enum {
    NGX_SMTP_CLIENT_ST_CONNECT = 0,      /* for verdicts of the caller only */
    NGX_SMTP_CLIENT_ST_GREETING,
    NGX_SMTP_CLIENT_ST_EHLO,
    NGX_SMTP_CLIENT_ST_HELO,
    NGX_SMTP_CLIENT_ST_STARTTLS,
    NGX_SMTP_CLIENT_ST_TLS,              /* the caller's handshake */
    NGX_SMTP_CLIENT_ST_XCLIENT,
    NGX_SMTP_CLIENT_ST_AUTH,
    NGX_SMTP_CLIENT_ST_AUTH_USER,        /* AUTH LOGIN: its two answers */
    NGX_SMTP_CLIENT_ST_AUTH_PASSWORD,
    NGX_SMTP_CLIENT_ST_AUTH_RESPONSE,    /* too long to go with AUTH */
    NGX_SMTP_CLIENT_ST_AUTH_CANCEL,      /* the end of a refused XOAUTH2 */
    NGX_SMTP_CLIENT_ST_READY,
    NGX_SMTP_CLIENT_ST_RSET,
    NGX_SMTP_CLIENT_ST_XFORWARD,
    NGX_SMTP_CLIENT_ST_MAIL,
    NGX_SMTP_CLIENT_ST_RCPT,
    NGX_SMTP_CLIENT_ST_DATA,
    NGX_SMTP_CLIENT_ST_BODY,
    NGX_SMTP_CLIENT_ST_EOM,              /* end of data sent, no reply yet */
    NGX_SMTP_CLIENT_ST_DOT,              /* lone dot of RFC 2920 section 3.1 */
    NGX_SMTP_CLIENT_ST_QUIT,
    NGX_SMTP_CLIENT_ST_CLOSED
} ngx_smtp_client_state_e;


/* ngx_smtp_client_lost() */
#define NGX_SMTP_CLIENT_LOST_CLOSED   0
#define NGX_SMTP_CLIENT_LOST_TIMEOUT  1
#define NGX_SMTP_CLIENT_LOST_TLS      2  /* the handshake failed */
#define NGX_SMTP_CLIENT_LOST_LOCAL    3  /* we give up: body unreadable ... */


typedef struct {
    ngx_uint_t          code;        /* 250, 450, 550 ...: never 0 */
    ngx_str_t           status;      /* "4.4.2"; empty: the peer sent none */
    ngx_str_t           text;        /* printable ASCII */
    ngx_uint_t          stage;       /* NGX_SMTP_CLIENT_ST_*: reply to what */
    unsigned            local:1;     /* ours: the peer did not say this */
    unsigned            unknown:1;   /* end of data sent and not answered: it
                                        may have arrived (RFC 1047) */
} ngx_smtp_verdict_t;


/*
 * The final verdict on recipient i of the message.  Called exactly once for
 * each recipient before DONE or CLOSE is returned, in no certain order, from
 * inside of a call of the engine: copy what is to be kept, call nothing here.
 * 2xx: delivered; 4xx: try again; 5xx: bounce.
 */
typedef void (*ngx_smtp_client_verdict_pt)(void *data, ngx_uint_t i,
    ngx_smtp_verdict_t *v);


/* one message to be sent; the caller's, untouched until DONE or CLOSE */
typedef struct {
    ngx_str_t                    sender;     /* empty: <> */
    ngx_str_t                    envid;      /* xtext, or empty */
    ngx_smtp_rcpt_t            **rcpts;      /* nrcpts pointers */
    ngx_uint_t                   nrcpts;     /* >= 1 */
    u_char                      *state;      /* nrcpts octets, private */
    off_t                        size;       /* octets of the message */
    ngx_str_t                   *xforward;   /* values of the attributes, as
                                                of xclient; NULL: none */
    unsigned                     ret:2;      /* NGX_SMTP_RET_* */
    unsigned                     eightbit:1; /* it came as BODY=8BITMIME, or
                                                has octets >= 0x80 */
    unsigned                     smtputf8:1; /* it came with SMTPUTF8 */
    unsigned                     need_utf8:1;    /* and cannot go without */
    unsigned                     requiretls:1;
    unsigned                     more:1;     /* recipients come one by one:
                                                DATA is not sent by itself */
    ngx_smtp_client_verdict_pt   handler;
    ngx_smtp_client_verdict_pt   accepted;   /* 2xx to RCPT, at once; no final
                                                verdict; NULL: not told */
    void                        *data;
} ngx_smtp_client_tx_t;


typedef struct {
    ngx_str_t                    helo;       /* our name in EHLO */
    ngx_uint_t                   tls;        /* NGX_SMTP_CLIENT_TLS_* */
    unsigned                     tls_on:1;   /* TLS from the first octet on */

    /*
     * values of the NGX_SMTP_CLIENT_XCLIENT_N attributes, raw, in the order of
     * NGX_SMTP_CAP_XCLIENT_*; empty: [UNAVAILABLE].  NULL: no XCLIENT
     */
    ngx_str_t                   *xclient;
    ngx_str_t                    xclient_helo;   /* for EHLO behind it; empty:
                                                    helo */
    ngx_str_t                    user;       /* of AUTH; empty: none */
    ngx_str_t                    password;   /* both: until READY */
    unsigned                     xoauth2:1;  /* it is a token: by XOAUTH2, not
                                                by PLAIN or LOGIN */
} ngx_smtp_client_conf_t;


typedef struct {
    ngx_smtp_client_conf_t       conf;
    ngx_uint_t                   state;      /* NGX_SMTP_CLIENT_ST_* */
    ngx_smtp_caps_t              caps;       /* of the last EHLO */
    ngx_uint_t                   mails;      /* messages sent so far */
    ngx_smtp_verdict_t           verdict;    /* CLOSE: why; the text lives as
                                                long as the client */
    unsigned                     tls:1;      /* TLS is on */
    unsigned                     rset:1;     /* RSET before the next MAIL: the
                                                peer has a transaction open */

    /* private */
    ngx_smtp_client_tx_t        *tx;
    ngx_smtp_response_t          response;
    ngx_uint_t                   to_send;    /* next command to be written */
    ngx_uint_t                   rcpt_send;  /* next recipient to be written */
    ngx_uint_t                   rcpt_recv;  /* next one to be answered */
    ngx_uint_t                   accepted;   /* recipients */
    ngx_uint_t                   pending;    /* commands written, unanswered */
    ngx_uint_t                   mechanism;  /* NGX_SMTP_CAP_AUTH_* */
    ngx_uint_t                   xf_send;    /* groups of XFORWARD to be */
    ngx_uint_t                   xf_recv;    /* written, and answered */
    ngx_smtp_caps_t              caps_new;
    unsigned                     refused:1;  /* MAIL was */
    unsigned                     xclient:1;  /* was sent and taken */
    unsigned                     split:1;    /* AUTH without a response */
    unsigned                     no_xforward:1;  /* it was refused */
    unsigned                     data_sent:1;
    unsigned                     utf8:1;     /* MAIL with SMTPUTF8 */
    u_char                       text[NGX_SMTP_RESPONSE_TEXT_MAX];
    u_char                       status[16];
} ngx_smtp_client_t;


/*
 * Prepares a session; conf is copied, conf->helo.data must outlive the client.
 * The state is GREETING: the peer speaks first.
 */
void ngx_smtp_client_init(ngx_smtp_client_t *cl, ngx_smtp_client_conf_t *conf);

/*
 * Takes input of the peer from [*pos, last) and returns an action.  All input
 * is consumed, whatever the action.  After an action other than WAIT, before
 * the caller acted on it, and while a body is sent, input must still be passed
 * here when it arrives: the peer has nothing to say then, it ends the session
 * (a 421 as what it is, anything else as a protocol error, told in the verdict
 * as 4xx with the peer's words).  So does input behind the 220 to STARTTLS.
 */
ngx_int_t ngx_smtp_client_recv(ngx_smtp_client_t *cl, u_char **pos,
    u_char *last);

/*
 * Writes commands that may be sent now to [p, last): whole ones, as many as
 * fit; returns the position behind them.  If NGX_SMTP_CLIENT_COMMAND_MAX
 * octets of room were given and the result is p there is nothing to send.
 * Call it after every other call that returned WAIT, until there is nothing:
 * with PIPELINING a group of MAIL, RCPT... and DATA may need several buffers.
 */
u_char *ngx_smtp_client_write(ngx_smtp_client_t *cl, u_char *p, u_char *last);

/* STARTTLS: the handshake is done.  (If it failed: ngx_smtp_client_lost().) */
ngx_int_t ngx_smtp_client_tls_done(ngx_smtp_client_t *cl);

/*
 * READY or DONE: sends a message.  WAIT, or DONE at once when the peer cannot
 * take it: over its SIZE (552 5.3.4), needs SMTPUTF8 (550 5.6.7), needs
 * REQUIRETLS (550 5.7.30); CLOSE on a peer that spoke unasked.  LIMITS
 * (cl->caps) are the caller's to keep.
 */
ngx_int_t ngx_smtp_client_mail(ngx_smtp_client_t *cl,
    ngx_smtp_client_tx_t *tx);

/*
 * BODY: the first octet of the end of data is about to be handed to the
 * kernel.  From here on a lost connection leaves the result unknown.  Returns
 * WAIT: read on; nothing is to be written but the rest of the end of data.  Or
 * CLOSE, if half a reply came before: then the end of data must not be sent.
 */
ngx_int_t ngx_smtp_client_end(ngx_smtp_client_t *cl);

/*
 * MORE: sends the last recipient of the message, which the caller has just
 * added to it (tx->nrcpts counts it; tx->rcpts and tx->state may have moved).
 * One that was refused may be taken off the end again.  WAIT; MORE when it
 * cannot be named to this peer (its verdict was told); CLOSE.
 */
ngx_int_t ngx_smtp_client_rcpt(ngx_smtp_client_t *cl);

/* MORE, with a recipient accepted: sends DATA.  WAIT, CLOSE. */
ngx_int_t ngx_smtp_client_data(ngx_smtp_client_t *cl);

/*
 * MORE, READY or DONE: sends RSET; no verdicts are told any more, the message
 * may be freed.  WAIT; DONE comes with the reply; CLOSE.
 */
ngx_int_t ngx_smtp_client_rset(ngx_smtp_client_t *cl);

/* READY or DONE: sends QUIT.  WAIT; CLOSE comes with its reply. */
ngx_int_t ngx_smtp_client_quit(ngx_smtp_client_t *cl);

/*
 * The connection is gone or is given up; how: NGX_SMTP_CLIENT_LOST_*.
 * Recipients without a verdict get one (4xx; unknown if the end of data was
 * sent).  Returns CLOSE, cl->verdict tells the stage.
 */
ngx_int_t ngx_smtp_client_lost(ngx_smtp_client_t *cl, ngx_uint_t how);

/*
 * How long to wait for the peer in this state, in ms (RFC 5321 section
 * 4.5.3.2): since the last progress in either direction.
 */
ngx_msec_t ngx_smtp_client_timeout(ngx_smtp_client_t *cl);


#endif /* _NGX_SMTP_CLIENT_H_INCLUDED_ */
