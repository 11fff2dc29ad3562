
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Delivery status notifications (RFC 3461, 3464, 6533): the report of failure,
 * delay or success that goes to the sender of a message, with the null
 * reverse-path.  A report is three pieces: what ngx_smtp_dsn_top() makes (the
 * report's header, the part for people, the part for programs, and the opening
 * of the third part); then the original message or its header section, which
 * the caller streams as it is stored; then what ngx_smtp_dsn_tail() makes.
 *
 * Replies of remote hosts and addresses are hostile: controls never get
 * through, long ones are cut and folded.  The input belongs to the caller, the
 * output is allocated from a pool.
 */


#ifndef _NGX_SMTP_DSN_H_INCLUDED_
#define _NGX_SMTP_DSN_H_INCLUDED_


#include "ngx_smtp_pure.h"
#include "ngx_smtp_envelope.h"


/* kinds; the same numbers as NGX_SMTP_REPORT_* of the store */
#define NGX_SMTP_DSN_FAILURE    1
#define NGX_SMTP_DSN_DELAY      2
#define NGX_SMTP_DSN_SUCCESS    3
#define NGX_SMTP_DSN_DOUBLE     4   /* to the postmaster: a failure could not
                                       be reported */

/* what became of a recipient; the same numbers as NGX_SMTP_RESULT_* */
#define NGX_SMTP_DSN_DELIVERED  1   /* Action: delivered; of a relay: the peer
                                       has DSN and reports success itself */
#define NGX_SMTP_DSN_RELAYED    2   /* Action: relayed, peer without DSN */
#define NGX_SMTP_DSN_FAILED     3   /* Action: failed, refused for good */
#define NGX_SMTP_DSN_EXPIRED    4   /* Action: failed, gave up */
#define NGX_SMTP_DSN_DELAYED    5   /* Action: delayed, will be tried again */

/* room for "5.123.456" */
#define NGX_SMTP_DSN_STATUS_LEN 9

/* reply text is cut to this many bytes */
#define NGX_SMTP_DSN_TEXT_MAX   1024

/* default of max_full */
#define NGX_SMTP_DSN_FULL_MAX   (50 * 1024)


typedef struct {
    ngx_str_t               mailbox;    /* as in ngx_smtp_rcpt_t */
    ngx_str_t               orcpt;      /* as received (xtext); empty: none */
    ngx_uint_t              result;     /* NGX_SMTP_DSN_DELIVERED ... */
    ngx_uint_t              code;       /* of the remote reply; 0: none came */
    ngx_str_t               text;       /* reply text, with enhanced code if
                                           there was one, or (code 0) our own
                                           words about what went wrong */
    ngx_str_t               remote;     /* who gave the reply: a name, or
                                           "name[address]:port", or
                                           "address:port"; may be empty */
    time_t                  attempted;  /* Last-Attempt-Date; 0: left out */
} ngx_smtp_dsn_rcpt_t;


typedef struct {
    ngx_uint_t              kind;       /* NGX_SMTP_DSN_FAILURE ... */
    ngx_str_t               hostname;   /* ours: Reporting-MTA, From */
    ngx_str_t               sender;     /* the original reverse-path: To; never
                                           empty, no report goes to <>.  Of
                                           DOUBLE the postmaster; the original
                                           sender is rcpts[0] there */
    ngx_str_t               envid;      /* as received (xtext); empty: none */
    ngx_str_t               queue_id;   /* of the original */
    ngx_uint_t              number;     /* of the report's event: with queue_id
                                           it makes the Message-ID, so that a
                                           report sent twice has one id */
    ngx_str_t               boundary;   /* token of letters, digits and "-_.",
                                           up to 60 bytes.  The sender of the
                                           original should not be able to guess
                                           it (hex of random bytes).  Empty:
                                           made of queue_id and number */
    time_t                  arrived;    /* Arrival-Date; 0: left out */
    time_t                  now;        /* Date */
    time_t                  until;      /* delay: Will-Retry-Until; 0: none */
    ngx_int_t               gmtoff;     /* minutes east of UTC, of all dates */

    ngx_smtp_dsn_rcpt_t    *rcpts;
    ngx_uint_t              nrcpts;

    /* the original */
    ngx_uint_t              ret;        /* NGX_SMTP_RET_* */
    off_t                   size;       /* bytes of fields + content */
    off_t                   max_full;   /* a larger one is never returned in
                                           full; 0: NGX_SMTP_DSN_FULL_MAX */
    unsigned                orig_smtputf8:1;
    unsigned                orig_header_8bit:1; /* set both if not known: */
    unsigned                orig_body_8bit:1;   /* costs only 8BITMIME */

    /* set by ngx_smtp_dsn_top() */
    unsigned                full:1;     /* stream the whole original, else its
                                           header section only (without, or
                                           with, the empty line) */
    unsigned                smtputf8:1; /* send the report with SMTPUTF8 */
    unsigned                body_8bit:1;    /* and with BODY=8BITMIME */
} ngx_smtp_dsn_t;


/*
 * Makes everything above the returned original.  Lines end with CRLF and are
 * under 998 bytes; 7-bit unless d->smtputf8 comes out set, which it does
 * when the sender's own address needs it.  Else an internationalized recipient
 * is written as in RFC 6533 section 3 (\x{HEX}).
 *
 * RET decides on the third part of a failure (RFC 3461 section 4.3); if
 * not given, a message up to max_full is returned in full.  Other kinds return
 * the header section only.
 *
 * NGX_OK, or NGX_ERROR without memory.  out is allocated from the pool, its
 * size is bounded by a constant and the lengths of the input.
 */
ngx_int_t ngx_smtp_dsn_top(ngx_smtp_dsn_t *d, ngx_pool_t *pool,
    ngx_str_t *out);

/*
 * Makes what follows the original: starts with a CRLF of its own, so that the
 * original need not end with one.  NGX_OK or NGX_ERROR without memory.
 */
ngx_int_t ngx_smtp_dsn_tail(ngx_smtp_dsn_t *d, ngx_pool_t *pool,
    ngx_str_t *out);

/*
 * Does NOTIFY of a recipient (NGX_SMTP_NOTIFY_*, 0: not given) ask for a
 * report about this result?  Returns the kind of the report, _FAILURE, _DELAY
 * or _SUCCESS, or 0 for none.  Not given means failure and delay (RFC 3461
 * section 4.1).  Success is reported for _RELAYED only: after _DELIVERED the
 * peer does (RFC 3461 section 5.2.1).  The caller sees to it that no report
 * goes to the null sender.
 */
ngx_uint_t ngx_smtp_dsn_wanted(ngx_uint_t notify, ngx_uint_t result);

/*
 * The status code (RFC 3463) of a result: the enhanced code at the start of
 * text if it is well-formed and of the class of the reply code, else one
 * derived from the reply code, else one that suits the result.  Writes at
 * most NGX_SMTP_DSN_STATUS_LEN bytes to buf and returns the end.
 */
u_char *ngx_smtp_dsn_status(u_char *buf, ngx_uint_t result, ngx_uint_t code,
    ngx_str_t *text);


#endif /* _NGX_SMTP_DSN_H_INCLUDED_ */
