
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A transaction (RFC 5321 section 3.3) and the seam between receiving mail and
 * what becomes of it.  The server side fills a transaction and drives its
 * sink; spool and proxy are sinks; nothing in server/ knows which it talks to.
 *
 *   MAIL      open(txn)
 *   RCPT      rcpt(txn, rcpt)     for each recipient that passed the checks
 *   DATA      body(txn)           whenever txn->content grew
 *   "."       commit(txn)         one reply for the whole message
 *   RSET,     abort(txn)          at any moment
 *   close
 *
 * open, rcpt, body and commit return
 *
 *   NGX_OK        done; for open, rcpt and commit txn->reply is the answer
 *   NGX_AGAIN     txn->handler(txn) is called later, with txn->rc set to what
 *                 would have been returned; until then nothing more is fed
 *   NGX_ERROR     refused; txn->reply is the answer
 *
 * fields is set before body is called with the end of the header in content.
 *
 * The transaction lives in its own pool.  The server destroys it with
 * ngx_smtp_transaction_free() after an answered commit.  abort() gives it to
 * the sink: the sink frees it at once, or when its work in flight has ended,
 * and calls no handler any more.  After the sink answered commit it has no
 * interest in the transaction.  A client that leaves while commit is in flight
 * changes nothing in the fate of the message: the server calls abort(), the
 * sink finishes the commit, logs it through txn->log_handler, and frees it.
 */


#ifndef _NGX_SMTP_TRANSACTION_H_INCLUDED_
#define _NGX_SMTP_TRANSACTION_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_envelope.h"
#include "ngx_smtp_content.h"


typedef struct ngx_smtp_transaction_s  ngx_smtp_transaction_t;
typedef struct ngx_smtp_sink_s         ngx_smtp_sink_t;

/* extensions that a sink has or has not */
#define NGX_SMTP_EXTENSION_SMTPUTF8  0x0002
#define NGX_SMTP_EXTENSION_DSN       0x0004    /* NOTIFY and the like are
                                                  obeyed (RFC 3461) */


typedef void (*ngx_smtp_transaction_pt)(ngx_smtp_transaction_t *txn);


struct ngx_smtp_sink_s {
    ngx_int_t               (*open)(ngx_smtp_transaction_t *txn);
    ngx_int_t               (*rcpt)(ngx_smtp_transaction_t *txn,
                                 ngx_smtp_rcpt_t *rcpt);
    ngx_int_t               (*body)(ngx_smtp_transaction_t *txn);
    ngx_int_t               (*commit)(ngx_smtp_transaction_t *txn);
    void                    (*abort)(ngx_smtp_transaction_t *txn);

    /* what EHLO may offer now, NGX_SMTP_EXTENSION_*; conf: see sink_conf */
    ngx_uint_t              (*extensions)(void *conf);
};


/*
 * Looks at a recipient that the checks have allowed, before the sink gets it;
 * and once more if that gave the transaction to another sink, which has to do
 * without a recipient that is no longer in the envelope then.
 * NGX_OK: it may have it; NGX_ERROR: refused, txn->reply is the answer;
 * NGX_AGAIN: txn->handler(txn) is called later, with txn->rc set to one of
 * these.  A transaction that ends meanwhile calls nothing any more.
 */
typedef struct {
    ngx_int_t               (*rcpt)(ngx_smtp_transaction_t *txn,
                                 ngx_smtp_rcpt_t *rcpt, void *conf);
} ngx_smtp_verifier_t;


/*
 * What a sink answers: a row of the reply table and what follows its text; or,
 * if code is not 0, the words of a peer, which are sanitized when written.
 */
typedef struct {
    ngx_uint_t                id;         /* NGX_SMTP_REPLY_* */
    ngx_str_t                 detail;
    ngx_uint_t                code;       /* 200..599; 0: see id */
    ngx_str_t                 enhanced;   /* of code; never empty */
    ngx_str_t                 text;       /* of code; until the next answer */
} ngx_smtp_answer_t;


/* which backend had a transaction, if one had: set by the sink */
typedef struct {
    ngx_str_t                 addr;       /* of the last one; empty: none */
    ngx_uint_t                tries;      /* servers that were asked */
    ngx_msec_t                time;       /* from the first to the end */
} ngx_smtp_passed_t;


/*
 * A fresh evaluation session about the client, the transaction, and rcpt
 * unless it is NULL; in pool.  Not for a transaction that is aborted.  NULL:
 * no memory.
 */
typedef ngx_stream_session_t *(*ngx_smtp_transaction_eval_pt)(
    ngx_smtp_transaction_t *txn, ngx_pool_t *pool, ngx_smtp_rcpt_t *rcpt);


/* facts of the session, copied so that they outlive it */
typedef struct {
    ngx_str_t                 addr;       /* client address, text, no port */
    ngx_uint_t                port;       /* 0: not known */
    ngx_str_t                 name;       /* of the client, as a filter says;
                                             empty: not known */
    ngx_str_t                 helo;
    ngx_str_t                 login;      /* empty: not authenticated */
    ngx_str_t                 user;       /* as the client sent it with AUTH */
    ngx_str_t                 password;   /* its; both only if the sink asks
                                             for it; wiped with the pool */
    ngx_str_t                 hostname;   /* ours: smtp_hostname */
    ngx_str_t                 tls_protocol;   /* empty: no TLS */
    ngx_str_t                 tls_cipher;
    ngx_str_t                 server;     /* name of the server{} block */
    unsigned                  esmtp:1;
} ngx_smtp_origin_t;


struct ngx_smtp_transaction_s {
    ngx_pool_t               *pool;
    ngx_log_t                *log;        /* outlives the session */

    ngx_smtp_envelope_t       envelope;
    ngx_smtp_origin_t         origin;
    ngx_smtp_content_t        content;
    ngx_str_t                 fields;     /* added above the content, CRLF */

    ngx_smtp_sink_t          *sink;
    void                     *sink_conf;  /* of the server{} block */
    void                     *sink_ctx;   /* the sink's own */
    void                     *verify_ctx; /* the verifier's own */

    ngx_int_t                 rc;
    ngx_smtp_answer_t         reply;
    ngx_str_t                 id;         /* in Received and log: our own */
    ngx_str_t                 queue_id;   /* set by the sink at commit */
    ngx_smtp_passed_t         passed;

    ngx_smtp_transaction_pt   handler;    /* the server's */
    void                     *data;       /* the server's session */
    ngx_smtp_transaction_eval_pt  eval;   /* the server's */
    ngx_smtp_transaction_pt   log_handler;    /* writes the smtp_log line */

    void                     *logs;       /* what log_handler writes to */

    time_t                    started;    /* wall clock at MAIL */
    ngx_msec_t                started_msec;

    unsigned                  accepted:1; /* 2xx was given for the message */
    unsigned                  refused:1;  /* 4xx or 5xx was, or for MAIL */
    unsigned                  aborted:1;  /* the server let go of it */
    unsigned                  committing:1;
};


/* how many there are in this worker; always valid, the zone's or private */
extern ngx_atomic_t  *ngx_smtp_transactions;


/*
 * A zeroed transaction in a pool of its own, log copied into it; NULL without
 * memory.
 */
ngx_smtp_transaction_t *ngx_smtp_transaction_create(ngx_log_t *log);

/*
 * A copy of a secret that is wiped when pool goes.  NGX_OK, NGX_ERROR: no
 * memory.
 */
ngx_int_t ngx_smtp_secret_copy(ngx_pool_t *pool, ngx_str_t *dst,
    ngx_str_t *src);

/* Frees content and pool. */
void ngx_smtp_transaction_free(ngx_smtp_transaction_t *txn);


#endif /* _NGX_SMTP_TRANSACTION_H_INCLUDED_ */
