
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * One SMTP session, as the files of server/ share it.  The session lives in
 * the pool of the client connection and ends with it; a transaction has a pool
 * of its own and may outlive the session (core/ngx_smtp_transaction.h).
 *
 *                 command line complete
 *      +-------------------------------------------+
 *      v                                           |
 *   COMMAND --DATA--> DATA --end of data--> (commit is awaited) --> COMMAND
 *      |  \---BDAT--> CHUNK --chunk read--/
 *      +------AUTH--> AUTH  --line--> (login is awaited) --> COMMAND
 *
 * While an answer is awaited (s->waiting) nothing is read from the client.
 * That it has left is noticed during a login only: a sink's answer is about
 * mail, which may not be the client's alone any more.
 * Reading and writing go through buffers of the worker, not of the session:
 * an idle session keeps none.
 */


#ifndef _NGX_SMTP_SESSION_H_INCLUDED_
#define _NGX_SMTP_SESSION_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_command.h"
#include "ngx_smtp_data.h"
#include "ngx_smtp_eval.h"
#include "ngx_smtp_line.h"
#include "ngx_smtp_turn.h"
#include "ngx_smtp_reply.h"
#include "ngx_smtp_header.h"
#include "ngx_smtp_sasl.h"
#include "ngx_smtp_login.h"
#include "ngx_smtp_server.h"


#define NGX_SMTP_STATE_COMMAND  0
#define NGX_SMTP_STATE_DATA     1
#define NGX_SMTP_STATE_CHUNK    2
#define NGX_SMTP_STATE_AUTH     3


/* RCPT waits for the verifier: before the sink, or behind it */
#define NGX_SMTP_VERIFY_BEFORE  1
#define NGX_SMTP_VERIFY_BEHIND  2


/* the body of the transaction, while it comes in; in the transaction's pool */
typedef struct {
    ngx_smtp_data_decoder_t   decoder;
    ngx_smtp_header_t         header;
    ngx_msec_t                started;    /* when 354 was sent */
    ngx_msec_t                paused;     /* ms that we kept it waiting */
    ngx_msec_t                pause_started;
    off_t                     received;   /* bytes, as they came */
    ngx_uint_t                refused;    /* reply id (or txn->reply has a
                                             code): discard the rest */
    off_t                     chunk;      /* octets of this BDAT */
    unsigned                  last:1;     /* BDAT LAST */
    unsigned                  ended:1;    /* the end of data was seen */
} ngx_smtp_receive_t;


/* who the client is by XCLIENT, see ngx_smtp_command_xclient.c */
typedef struct ngx_smtp_identity_s  ngx_smtp_identity_t;


/* a login as the client has sent it, kept for the sink; wiped when it goes */
typedef struct {
    ngx_str_t                 user;
    ngx_str_t                 password;
    size_t                    size;
    u_char                    data[1];
} ngx_smtp_secret_t;


/* what the client sent and nobody used yet: ngx_smtp_session_input.c */
typedef struct {
    u_char                   *pos;        /* both NULL: there is none */
    u_char                   *last;
    u_char                   *kept;       /* malloc'ed; NULL: it lies in the
                                             worker's buffer */
    size_t                    size;       /* of kept */
} ngx_smtp_input_t;


/* replies that the socket did not take: ngx_smtp_session_output.c */
typedef struct {
    u_char                   *kept;       /* malloc'ed; NULL: there are none */
    u_char                   *pos;
    u_char                   *last;
} ngx_smtp_output_t;


struct ngx_smtp_session_s {
    ngx_stream_session_t     *stream;
    ngx_connection_t         *connection;
    ngx_smtp_srv_conf_t      *conf;       /* another one after STARTTLS: by
                                             its SNI the client chooses */

    ngx_smtp_transaction_t   *txn;
    ngx_smtp_receive_t       *receive;

    ngx_smtp_turn_t           turn;       /* waits for it with more to do */

    ngx_smtp_rules_t          rules;
    ngx_smtp_line_t           line;
    ngx_uint_t                state;      /* NGX_SMTP_STATE_* */

    ngx_smtp_input_t          input;
    ngx_smtp_output_t         output;

    ngx_str_t                 helo;
    size_t                    helo_size;  /* of the memory */
    ngx_str_t                 addr;       /* client, text */
    ngx_uint_t                port;

    ngx_smtp_sasl_t          *sasl;       /* during AUTH; malloc'ed */
    ngx_smtp_login_t         *login;      /* while its answer is awaited */
    ngx_smtp_account_t       *account;    /* logged in as */
    ngx_smtp_secret_t        *secret;     /* by this; malloc'ed, NULL: none,
                                             or nobody asks for it */
    ngx_smtp_snapshot_t      *snapshot;   /* made when first needed */
    ngx_smtp_identity_t      *identity;   /* NULL: no XCLIENT yet */

    ngx_smtp_passed_t        *passed;     /* of the last transaction passed;
                                             NULL: there was none */

    off_t                     chunk_drop;     /* of a refused BDAT */
    off_t                     dropped;    /* of this message or chunk */
    ngx_uint_t                chunk_reply;    /* its reply, when it is read */
    ngx_uint_t                awaited;    /* verb that is being answered */
    ngx_smtp_sink_t          *asked;      /* for the recipient */
    ngx_int_t                 login_rc;   /* of the login that has ended */

    ngx_msec_t                deadline;   /* for what is read, see timed */

    ngx_uint_t                errors;
    ngx_uint_t                deferred;   /* RCPTs of this transaction that
                                             got a 4xx */
    ngx_uint_t                idle_commands;
    ngx_uint_t                transactions;
    ngx_uint_t                extensions; /* at the last EHLO or HELO */

    unsigned                  waiting:1;      /* for an answer: no reading */
    unsigned                  answered:1;     /* it came: see awaited */
    unsigned                  verifying:2;    /* NGX_SMTP_VERIFY_* */
    unsigned                  timed:1;        /* deadline counts; cleared when
                                                 what was read is complete */
    unsigned                  quit:1;         /* close when flushed */
    unsigned                  starttls:1;     /* handshake when flushed */
};


/*
 * Adds a reply to what will be sent.  detail may be NULL.  Replies with a
 * code of 500 and above count as errors of the client.
 */
void ngx_smtp_session_reply(ngx_smtp_session_t *s, ngx_uint_t id,
    ngx_str_t *detail);

/* Adds the answer of a sink or check, as ngx_smtp_session_reply() does. */
void ngx_smtp_session_reply_answer(ngx_smtp_session_t *s,
    ngx_smtp_answer_t *answer);

/* Adds a line of a multi-line reply, see ngx_smtp_reply_line(). */
void ngx_smtp_session_reply_line(ngx_smtp_session_t *s, ngx_uint_t code,
    ngx_str_t *enhanced, ngx_str_t *text, ngx_uint_t more);

/*
 * The answer to s->awaited, for which s->waiting was set, is there.  It is
 * taken when the session runs next: the buffers may be another one's now.
 */
void ngx_smtp_session_resume(ngx_smtp_session_t *s);

/*
 * Ends the transaction, if there is one: writes its log line with the last
 * answer, gives it back to the sink if that has not answered commit, frees it.
 */
void ngx_smtp_session_end_transaction(ngx_smtp_session_t *s);

/* The transaction's log line, and what the session remembers of it. */
void ngx_smtp_session_log_transaction(ngx_smtp_session_t *s,
    ngx_smtp_transaction_t *txn);

/*
 * The answer of the sink to a verb: replies, and does what follows from it.
 * rc as in core/ngx_smtp_transaction.h; NGX_AGAIN makes the session wait.
 * Returns NGX_OK or NGX_AGAIN.
 */
ngx_int_t ngx_smtp_session_answer(ngx_smtp_session_t *s, ngx_uint_t verb,
    ngx_int_t rc);

/* What was awaited by NGX_SMTP_VERB_RCPT: of the verifier, or of the sink. */
void ngx_smtp_session_rcpt_answered(ngx_smtp_session_t *s);

/*
 * A fresh evaluation session about this session, its transaction if there is
 * one, and rcpt unless it is NULL; in pool.  NULL: no memory.
 */
ngx_stream_session_t *ngx_smtp_session_eval(ngx_smtp_session_t *s,
    ngx_pool_t *pool, ngx_smtp_rcpt_t *rcpt);

/* Remembers the name of HELO or EHLO.  NGX_OK, or NGX_ERROR: no memory. */
ngx_int_t ngx_smtp_session_helo(ngx_smtp_session_t *s, ngx_str_t *name);

/* 1 if the connection comes from where XCLIENT is accepted from. */
ngx_uint_t ngx_smtp_identity_trusted(ngx_smtp_session_t *s);

/* The client speaks for itself now: the next XCLIENT begins with nothing. */
void ngx_smtp_identity_settle(ngx_smtp_session_t *s);

/* The client's name by XCLIENT: NULL or empty: not known. */
ngx_str_t *ngx_smtp_identity_name(ngx_smtp_session_t *s);

/* For what is of this client: the connection's, or that of XCLIENT's round. */
ngx_pool_t *ngx_smtp_identity_pool(ngx_smtp_session_t *s);


/*
 * Before a command is looked at; NULL: a line that is none.  1 when the
 * session ends instead: answered, s->quit is set.
 */
ngx_uint_t ngx_smtp_session_over_limit(ngx_smtp_session_t *s,
    ngx_smtp_command_t *cmd);


/* RCPT got a 4xx: too many of them in a transaction are errors. */
void ngx_smtp_session_deferred(ngx_smtp_session_t *s);


/*
 * Carries out a command whose order and form were checked.  NGX_OK: answered,
 * or the state was changed; NGX_AGAIN: s->waiting was set.
 */
typedef ngx_int_t (*ngx_smtp_command_pt)(ngx_smtp_session_t *s,
    ngx_smtp_command_t *cmd);

ngx_int_t ngx_smtp_command_helo(ngx_smtp_session_t *s,
    ngx_smtp_command_t *cmd);
ngx_int_t ngx_smtp_command_mail(ngx_smtp_session_t *s,
    ngx_smtp_command_t *cmd);
ngx_int_t ngx_smtp_command_rcpt(ngx_smtp_session_t *s,
    ngx_smtp_command_t *cmd);
ngx_int_t ngx_smtp_command_data(ngx_smtp_session_t *s,
    ngx_smtp_command_t *cmd);
ngx_int_t ngx_smtp_command_bdat(ngx_smtp_session_t *s,
    ngx_smtp_command_t *cmd);
ngx_int_t ngx_smtp_command_auth(ngx_smtp_session_t *s,
    ngx_smtp_command_t *cmd);
ngx_int_t ngx_smtp_command_xclient(ngx_smtp_session_t *s,
    ngx_smtp_command_t *cmd);

/*
 * Input in the states DATA and CHUNK, and a line in the state AUTH.  NGX_OK:
 * the state was left; NGX_AGAIN: more input, or s->waiting was set.
 */
ngx_int_t ngx_smtp_session_data(ngx_smtp_session_t *s, u_char **pos,
    u_char *last);
ngx_int_t ngx_smtp_session_auth_line(ngx_smtp_session_t *s, ngx_str_t *line);

/*
 * n more octets were read, or the end of a chunk was reached: 1 if message
 * data comes slower than smtp_min_data_rate, which is logged then; else 0.
 */
ngx_uint_t ngx_smtp_session_too_slow(ngx_smtp_session_t *s, size_t n);

/* What was awaited by NGX_SMTP_VERB_DATA (body or commit), by AUTH. */
ngx_int_t ngx_smtp_session_data_answered(ngx_smtp_session_t *s);
ngx_int_t ngx_smtp_session_auth_answered(ngx_smtp_session_t *s);

/*
 * Before the session goes on waiting: 1 when a login is awaited and its client
 * has left, which is logged.  Reads nothing.
 */
ngx_uint_t ngx_smtp_session_login_left(ngx_smtp_session_t *s);

/* Drops an AUTH exchange; secrets are wiped. */
void ngx_smtp_session_auth_end(ngx_smtp_session_t *s);

/* Wipes the login that was kept for the sink: the client is nobody now. */
void ngx_smtp_session_forget(ngx_smtp_session_t *s);


#endif /* _NGX_SMTP_SESSION_H_INCLUDED_ */
