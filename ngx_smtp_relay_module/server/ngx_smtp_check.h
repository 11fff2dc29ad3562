
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Checks (DESIGN D4): what decides whether a client may do what it asks for.
 * A check is a function that is registered for a stage in ngx_smtp_check.c;
 * the checks of a stage run in the order of the table.
 */


#ifndef _NGX_SMTP_CHECK_H_INCLUDED_
#define _NGX_SMTP_CHECK_H_INCLUDED_


#include "ngx_smtp_session.h"


typedef enum {
    NGX_SMTP_STAGE_MAIL = 0,
    NGX_SMTP_STAGE_RCPT,
    NGX_SMTP_STAGE_MESSAGE,        /* all of it is in */
    NGX_SMTP_STAGES
} ngx_smtp_stage_e;


/*
 * NGX_OK        allowed: no further check of this stage is asked
 * NGX_DECLINED  no opinion
 * NGX_ERROR     refused: answer tells with which reply
 */
typedef ngx_int_t (*ngx_smtp_check_pt)(ngx_smtp_session_t *s,
    ngx_smtp_rcpt_t *rcpt, ngx_smtp_answer_t *answer);


/*
 * Runs the checks of a stage; rcpt with NGX_SMTP_STAGE_RCPT only.  NGX_OK, or
 * NGX_ERROR with the refusing reply in answer.
 */
ngx_int_t ngx_smtp_check_run(ngx_smtp_session_t *s, ngx_uint_t stage,
    ngx_smtp_rcpt_t *rcpt, ngx_smtp_answer_t *answer);


#endif /* _NGX_SMTP_CHECK_H_INCLUDED_ */
