
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The envelope of a message (RFC 5321 section 2.3.1): what MAIL and RCPT said,
 * as the server accepted it, the spool stores it, and a delivery sends it on.
 * All strings belong to whoever built the envelope (a transaction's pool, or
 * the buffer of a spool record).
 */


#ifndef _NGX_SMTP_ENVELOPE_H_INCLUDED_
#define _NGX_SMTP_ENVELOPE_H_INCLUDED_


#include "ngx_smtp_pure.h"


/* NOTIFY= of RCPT (RFC 3461 section 4.1); 0: the parameter was not given */
#define NGX_SMTP_NOTIFY_NEVER    0x01
#define NGX_SMTP_NOTIFY_SUCCESS  0x02
#define NGX_SMTP_NOTIFY_FAILURE  0x04
#define NGX_SMTP_NOTIFY_DELAY    0x08

/* RET= of MAIL (RFC 3461 section 4.3) */
#define NGX_SMTP_RET_UNSET       0
#define NGX_SMTP_RET_FULL        1
#define NGX_SMTP_RET_HDRS        2

/* BODY= of MAIL (RFC 6152) */
#define NGX_SMTP_BODY_UNSET      0
#define NGX_SMTP_BODY_7BIT       1
#define NGX_SMTP_BODY_8BITMIME   2


typedef struct {
    /*
     * the mailbox as it is sent on: local@domain, source route removed;
     * "postmaster" alone is the one without a domain (RFC 5321 2.3.5)
     */
    ngx_str_t           mailbox;
    ngx_str_t           domain;      /* of mailbox, lower case; may be empty */
    ngx_str_t           orcpt;       /* "rfc822;..." as received (xtext) */
    ngx_uint_t          notify;      /* NGX_SMTP_NOTIFY_* */
} ngx_smtp_rcpt_t;


typedef struct {
    ngx_str_t           sender;      /* reverse-path; empty: the null one <> */
    ngx_str_t           sender_domain;   /* lower case; may be empty */
    ngx_str_t           envid;       /* as received (xtext) */
    ngx_array_t         rcpts;       /* of ngx_smtp_rcpt_t, accepted ones */
    off_t               size;        /* SIZE= of MAIL; 0: not given */
    unsigned            body:2;      /* NGX_SMTP_BODY_* */
    unsigned            ret:2;       /* NGX_SMTP_RET_* */
    unsigned            smtputf8:1;
    unsigned            requiretls:1;
} ngx_smtp_envelope_t;


#endif /* _NGX_SMTP_ENVELOPE_H_INCLUDED_ */
