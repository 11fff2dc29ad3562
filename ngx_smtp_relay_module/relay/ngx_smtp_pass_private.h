
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the files of the proxy share.
 *
 * A *pass* is a transaction on its way through us.  It lives in the pool of
 * the transaction, and has a connection from the first RCPT on, with breaks.
 * A connection lives in the pool of its peer; it has a pass, or none while it
 * waits in the pool of the worker or for the reply to RSET.
 *
 * Functions that return an "action" return what the engine wants next
 * (protocol/ngx_smtp_client.h), or NGX_DECLINED: nothing more is to be done,
 * and connection and pass may be gone.
 */


#ifndef _NGX_SMTP_PASS_PRIVATE_H_INCLUDED_
#define _NGX_SMTP_PASS_PRIVATE_H_INCLUDED_


#include "ngx_smtp_client.h"
#include "ngx_smtp_data.h"
#include "ngx_smtp_talk.h"
#include "ngx_smtp_pass.h"
#include "ngx_smtp_temp.h"


/* what the session waits for */
#define NGX_SMTP_PASS_IDLE    0
#define NGX_SMTP_PASS_RCPT    1
#define NGX_SMTP_PASS_BODY    2          /* body() is to be taken */
#define NGX_SMTP_PASS_COMMIT  3


typedef struct ngx_smtp_pass_s       ngx_smtp_pass_t;
typedef struct ngx_smtp_pass_conn_s  ngx_smtp_pass_conn_t;


/*
 * Who we are on a connection, and what a kept one must have in common with
 * the transaction that wants it.  In the pool of the transaction.
 */
typedef struct {
    ngx_str_t                  key;      /* all of it; no data: not made yet */
    ngx_str_t                  tls_name;
    ngx_str_t                  certificate;  /* NUL behind; empty: see ssl */
    ngx_str_t                  certificate_key;
    ngx_addr_t                *local;    /* NULL: the kernel chooses */
    ngx_str_t                  header;   /* PROXY protocol; empty: none */
    ngx_str_t                  user;     /* of AUTH; empty: none */
    ngx_str_t                  password; /* wiped with the pool */
    ngx_str_t                 *xclient;  /* NULL: not to be sent */
} ngx_smtp_pass_identity_t;


struct ngx_smtp_pass_conn_s {
    ngx_smtp_talk_t            talk;     /* of peer and client */
    ngx_smtp_peer_t           *peer;
    ngx_smtp_pass_conf_t      *conf;
    ngx_smtp_pass_t           *pass;     /* NULL: idle, or being reset */
    ngx_smtp_client_t          client;
    ngx_queue_t                link;     /* idle */
    ngx_str_t                  key;      /* of its identity */
    ngx_str_t                  tls_name;
    ngx_str_t                  header;   /* to be sent first */
    ngx_smtp_peer_tls_t        tls;
    ngx_msec_t                 born;
    ngx_uint_t                 refused;  /* 4xx and 5xx to MAIL and RCPT since
                                            the last 2xx to a message */
    unsigned                   ready:1;  /* EHLO and all that is done */
    unsigned                   reused:1; /* and not one reply came since */
    unsigned                   idle:1;
    unsigned                   timedout:1;
    unsigned                   ours:1;   /* it was given up by us */
    unsigned                   closed:1; /* by the peer */
};


struct ngx_smtp_pass_s {
    ngx_smtp_transaction_t    *txn;
    ngx_smtp_pass_conf_t      *conf;
    ngx_smtp_pass_conn_t      *conn;

    /* where to */
    ngx_str_t                  value;    /* of smtp_pass with variables */
    ngx_str_t                  host;     /* for TLS */
    ngx_stream_upstream_srv_conf_t  *upstream;
    ngx_addr_t                *addrs;    /* of value, or NULL */
    ngx_uint_t                 naddrs;
    ngx_uint_t                 addr;     /* the next of them */
    in_port_t                  port;     /* of value, while its name is ... */
    ngx_resolver_ctx_t        *resolving;    /* asked for, or NULL */
    ngx_stream_session_t      *eval;     /* the balancer's; NULL: not begun */
    struct sockaddr           *sockaddr; /* of the server: a copy */
    socklen_t                  socklen;
    ngx_str_t                  name;
    ngx_msec_t                 started;  /* when the first server was chosen */
    ngx_smtp_pass_identity_t   who;
    ngx_sockaddr_t             address;

    /* what is sent */
    ngx_smtp_client_tx_t       tx;       /* accepted ones, the current */
    ngx_uint_t                 capacity;
    ngx_uint_t                 naccepted;    /* of them 250 was answered */
    ngx_smtp_data_encoder_t    encoder;
    off_t                      offset;   /* in the content: next to be sent */
    ngx_smtp_block_t          *block;    /* where that is; NULL: in the file,
                                            or at the begin of the chain */
    u_char                    *pos;      /* in it */
    ngx_smtp_temp_t           *temp;     /* a copy of it; NULL: none */
    ngx_int_t                  later;    /* the answer that waits for it */

    /* the reply that counts; the last one */
    ngx_smtp_verdict_t         verdict;
    u_char                     status[16];
    u_char                     text[NGX_SMTP_RESPONSE_TEXT_MAX];

    ngx_uint_t                 goal;     /* NGX_SMTP_PASS_RCPT .. */
    ngx_event_t                timer;    /* keeps the worker, see start */

    unsigned                   picked:1; /* a server of upstream is held */
    unsigned                   sync:1;   /* in a call of the server */
    unsigned                   answered:1;   /* during it */
    unsigned                   replay_refused:1;
    unsigned                   mail_refused:1;   /* by verdict: for all */
    unsigned                   doomed:1; /* 451 for all that comes */
    unsigned                   again:1;  /* reconnected after an idle close */
    unsigned                   begun:1;  /* the body is being sent */
    unsigned                   fields:1; /* those above it were */
    unsigned                   sending:1;    /* the kernel is full */
    unsigned                   streamed:1;   /* octets sent leave memory */
    unsigned                   answering:1;  /* by later, when temp is idle */
    unsigned                   spooling:1;   /* to the spool, likewise */
    unsigned                   freeing:1;    /* to be freed, likewise */
    unsigned                   resolving_now:1;  /* in ngx_resolve_name() */
};


/* -- ngx_smtp_pass.c ----------------------------------------------------- */

/*
 * Answers what the session waits for: rc as in ngx_smtp_transaction.h, the
 * reply is set.  The pass may be gone afterwards.
 */
void ngx_smtp_pass_answer(ngx_smtp_pass_t *ps, ngx_int_t rc);

/* The reply to the message is ps->verdict; the connection is not ours now. */
void ngx_smtp_pass_decided(ngx_smtp_pass_t *ps);

/* Keeps a verdict, with copies of its strings. */
void ngx_smtp_pass_verdict(ngx_smtp_pass_t *ps, ngx_smtp_verdict_t *v);

/* As above with the verdict's reply, or with one of ours. */
void ngx_smtp_pass_answer_verdict(ngx_smtp_pass_t *ps);
void ngx_smtp_pass_answer_reply(ngx_smtp_pass_t *ps, ngx_uint_t id);

/* A connection is ready for the envelope; all RCPTs were answered; the
   message is over.  They return an action. */
ngx_int_t ngx_smtp_pass_ready(ngx_smtp_pass_t *ps);
ngx_int_t ngx_smtp_pass_more(ngx_smtp_pass_t *ps);
ngx_int_t ngx_smtp_pass_done(ngx_smtp_pass_t *ps);


/* -- ngx_smtp_pass_target.c ---------------------------------------------- */

/*
 * The value of smtp_pass for a recipient.  NGX_OK; NGX_DECLINED: it differs
 * from that of the transaction; NGX_ERROR: it is none (logged); NGX_AGAIN: its
 * host is being resolved, the goal is gone on with, or given up, later.
 */
ngx_int_t ngx_smtp_pass_target(ngx_smtp_pass_t *ps, ngx_smtp_rcpt_t *rcpt);

/* Nobody waits for the address any more. */
void ngx_smtp_pass_unresolve(ngx_smtp_pass_t *ps);


/* -- ngx_smtp_pass_next.c ------------------------------------------------ */

/* Gets a connection to the chosen server, or chooses one. */
void ngx_smtp_pass_start(ngx_smtp_pass_t *ps);

/* A fresh connection to the same server. */
void ngx_smtp_pass_reconnect(ngx_smtp_pass_t *ps);

/*
 * The connection is gone or was given back (ps->conn is NULL): the next
 * server, the spool, or an answer.  why: NGX_SMTP_PASS_*; failed: counts for
 * max_fails.
 */
void ngx_smtp_pass_failed(ngx_smtp_pass_t *ps, ngx_uint_t why,
    ngx_uint_t failed);

/* No server is left, or none may be asked: the spool, or an answer. */
void ngx_smtp_pass_give_up(ngx_smtp_pass_t *ps, ngx_uint_t why);

/* The connection was closed by a failure; ps->verdict tells which. */
void ngx_smtp_pass_lost(ngx_smtp_pass_t *ps, ngx_uint_t stage,
    ngx_uint_t timedout);

/* The server is alive: it counts no failures any more. */
void ngx_smtp_pass_alive(ngx_smtp_pass_t *ps);

/* Lets go of the server. */
void ngx_smtp_pass_unpick(ngx_smtp_pass_t *ps, ngx_uint_t state);

/* 1 if the message may go to the spool for one of these reasons. */
ngx_uint_t ngx_smtp_pass_may_spool(ngx_smtp_pass_t *ps, ngx_uint_t why);

/* Gives the transaction to the sink of the spool, and answers by it. */
void ngx_smtp_pass_spool(ngx_smtp_pass_t *ps);


/* -- ngx_smtp_pass_identity.c -------------------------------------------- */

/*
 * Makes ps->who for the value of smtp_pass and the last recipient; once only,
 * until its key is taken away.  NGX_OK; NGX_ERROR: no memory, or a variable
 * has no value.
 */
ngx_int_t ngx_smtp_pass_identity(ngx_smtp_pass_t *ps);

/*
 * Another recipient: are we the same for it?  NGX_OK, also if nobody was
 * promised anything and we are another one from now on; NGX_DECLINED: not in
 * this transaction.
 */
ngx_int_t ngx_smtp_pass_identity_next(ngx_smtp_pass_t *ps);

/* Sets ps->tx.xforward, if it is wanted.  NGX_OK, NGX_ERROR: no memory. */
ngx_int_t ngx_smtp_pass_xforward(ngx_smtp_pass_t *ps);


/* -- ngx_smtp_pass_body.c ------------------------------------------------ */

/* Sends what there is of the message; with its end, if that is the goal. */
ngx_int_t ngx_smtp_pass_body(ngx_smtp_pass_t *ps);

/* The body is to be sent from its begin (again). */
void ngx_smtp_pass_rewind(ngx_smtp_pass_t *ps);


/* -- ngx_smtp_pass_keep.c ------------------------------------------------ */

/*
 * The content is over the buffer: from now on it leaves memory when it was
 * sent.  A copy of what is in memory is begun, if there may be one.
 */
void ngx_smtp_pass_keep(ngx_smtp_pass_t *ps);

/* 1 if all of the message that has come can be had (again). */
ngx_uint_t ngx_smtp_pass_kept(ngx_smtp_pass_t *ps);

/* 1 while the blocks of the content are being written: they must stay. */
ngx_uint_t ngx_smtp_pass_writing(ngx_smtp_pass_t *ps);

/*
 * Sends what is in the file alone.  NGX_OK: that is out; NGX_AGAIN: it goes on
 * later; NGX_ERROR: the connection is broken; NGX_DECLINED: the file cannot be
 * read, the transaction has been answered, connection and pass may be gone.
 */
ngx_int_t ngx_smtp_pass_stored(ngx_smtp_pass_t *ps);

/* As said in pass_body.c: encodes octets of the message, and flushes. */
ngx_int_t ngx_smtp_pass_encode(ngx_smtp_pass_t *ps, u_char *pos,
    u_char *last);
ngx_int_t ngx_smtp_pass_flush(ngx_smtp_pass_t *ps);


/* -- ngx_smtp_pass_conn.c ------------------------------------------------ */

/*
 * A connection to ps->sockaddr: an idle one, unless fresh is asked for, or one
 * that is opened.  It becomes ps->conn.  NGX_OK: its next steps come by the
 * functions above, not from inside, except for the first commands; NGX_ERROR:
 * no memory.
 */
ngx_int_t ngx_smtp_pass_conn_get(ngx_smtp_pass_t *ps, ngx_uint_t fresh);

/* Carries out an action; ends with I/O.  Called last. */
void ngx_smtp_pass_conn_action(ngx_smtp_pass_conn_t *conn, ngx_int_t action);

/* The pass has no more to do with it: RSET if needed, then pool or QUIT. */
void ngx_smtp_pass_conn_release(ngx_smtp_pass_conn_t *conn);

/* The peer has closed it, which is known before the event tells. */
void ngx_smtp_pass_conn_gone(ngx_smtp_pass_conn_t *conn);

/* Closes it; with QUIT if there is nothing outstanding. */
void ngx_smtp_pass_conn_close(ngx_smtp_pass_conn_t *conn);


#endif /* _NGX_SMTP_PASS_PRIVATE_H_INCLUDED_ */
