
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * smtp_verify_recipient: a backend is asked for a recipient before the spool
 * takes it.  The question is a transaction of its own with the sink of
 * smtp_pass, given up after RCPT, so that all of the proxy serves: balancing,
 * kept connections, TLS, a login.
 */


#ifndef _NGX_SMTP_VERIFY_H_INCLUDED_
#define _NGX_SMTP_VERIFY_H_INCLUDED_


#include "ngx_smtp_pass.h"


/* defaults; times in ms */
#define NGX_SMTP_VERIFY_POSITIVE  3600000
#define NGX_SMTP_VERIFY_NEGATIVE  300000
#define NGX_SMTP_VERIFY_TIMEOUT   10000


/* of a server{} block; made by the module, in the cycle's pool */
typedef struct {
    ngx_smtp_pass_conf_t    pass;         /* who is asked, and how */
    ngx_shm_zone_t         *zone;
    ngx_str_t               sender;       /* in MAIL; empty: <> */
    ngx_msec_t              positive_ttl;
    ngx_msec_t              negative_ttl;
    ngx_msec_t              timeout;      /* for one recipient */
    ngx_uint_t              defer;        /* 450 if there is no answer; else
                                             the recipient is accepted */
} ngx_smtp_verify_conf_t;


/* conf of a verifier is the ngx_smtp_verify_conf_t */
extern ngx_smtp_verifier_t  ngx_smtp_verifier;


#endif /* _NGX_SMTP_VERIFY_H_INCLUDED_ */
