
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The variables $smtp_*.  What concerns a message has a value on an evaluation
 * session only (core/ngx_smtp_eval.h); on the client's own session, as in
 * access_log, those of the session have.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_conf.h"
#include "ngx_smtp_eval.h"
#include "ngx_smtp_session.h"


/* what $smtp_rcpt_to tells of a message with many recipients */
#define NGX_SMTP_VARIABLE_RCPTS  20


static ngx_int_t ngx_smtp_variable_session(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_smtp_variable_string(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_smtp_variable_sender(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_smtp_variable_rcpt(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_smtp_variable_rcpt_count(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_smtp_variable_size(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_smtp_variable_pass_addr(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_smtp_variable_pass_tries(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_smtp_variable_pass_time(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_smtp_passed_t *ngx_smtp_variable_passed(ngx_stream_session_t *s);
static ngx_int_t ngx_smtp_variable_rcpts(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, ngx_smtp_eval_ctx_t *ctx);
static ngx_uint_t ngx_smtp_variable_nrcpts(ngx_smtp_eval_ctx_t *ctx);
static ngx_smtp_rcpt_t *ngx_smtp_variable_nth(ngx_smtp_eval_ctx_t *ctx,
    ngx_uint_t i);
static ngx_int_t ngx_smtp_variable_set(ngx_stream_variable_value_t *v,
    ngx_str_t *s);
static ngx_int_t ngx_smtp_variable_number(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, off_t n);


static ngx_stream_variable_t  ngx_smtp_variables[] = {

    { ngx_string("smtp_helo"), NULL, ngx_smtp_variable_session,
      offsetof(ngx_smtp_eval_ctx_t, helo),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("smtp_user"), NULL, ngx_smtp_variable_session,
      offsetof(ngx_smtp_eval_ctx_t, login),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("smtp_mail_from"), NULL, ngx_smtp_variable_sender,
      offsetof(ngx_smtp_envelope_t, sender),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("smtp_mail_from_domain"), NULL, ngx_smtp_variable_sender,
      offsetof(ngx_smtp_envelope_t, sender_domain),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("smtp_rcpt_to"), NULL, ngx_smtp_variable_rcpt,
      offsetof(ngx_smtp_rcpt_t, mailbox),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("smtp_rcpt_domain"), NULL, ngx_smtp_variable_rcpt,
      offsetof(ngx_smtp_rcpt_t, domain),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("smtp_rcpt_count"), NULL, ngx_smtp_variable_rcpt_count,
      0, NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("smtp_size"), NULL, ngx_smtp_variable_size,
      0, NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("smtp_queue_id"), NULL, ngx_smtp_variable_string,
      offsetof(ngx_smtp_eval_ctx_t, queue_id),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("smtp_pass_addr"), NULL, ngx_smtp_variable_pass_addr,
      0, NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("smtp_pass_tries"), NULL, ngx_smtp_variable_pass_tries,
      0, NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("smtp_pass_time"), NULL, ngx_smtp_variable_pass_time,
      0, NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("smtp_reply"), NULL, ngx_smtp_variable_string,
      offsetof(ngx_smtp_eval_ctx_t, reply),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

      ngx_stream_null_variable
};


ngx_int_t
ngx_smtp_variables_add(ngx_conf_t *cf)
{
    ngx_stream_variable_t  *var, *v;

    for (v = ngx_smtp_variables; v->name.len; v++) {

        var = ngx_stream_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


/* $smtp_helo and $smtp_user: also on the client's own session */

static ngx_int_t
ngx_smtp_variable_session(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_smtp_session_t  *session;

    if (ngx_smtp_eval_get_ctx(s)) {
        return ngx_smtp_variable_string(s, v, data);
    }

    session = ngx_smtp_session_get(s);

    if (session && data == offsetof(ngx_smtp_eval_ctx_t, helo)) {
        return ngx_smtp_variable_set(v, &session->helo);
    }

    if (session && session->account) {
        return ngx_smtp_variable_set(v, &session->account->login);
    }

    v->not_found = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_variable_string(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_smtp_eval_ctx_t  *ctx;

    ctx = ngx_smtp_eval_get_ctx(s);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_smtp_variable_set(v, (ngx_str_t *) ((u_char *) ctx + data));
}


static ngx_int_t
ngx_smtp_variable_sender(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_smtp_eval_ctx_t  *ctx;

    ctx = ngx_smtp_eval_get_ctx(s);

    if (ctx == NULL || ctx->envelope == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_smtp_variable_set(v, (ngx_str_t *) ((u_char *) ctx->envelope
                                                   + data));
}


static ngx_int_t
ngx_smtp_variable_rcpt(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_smtp_rcpt_t      *rcpt;
    ngx_smtp_eval_ctx_t  *ctx;

    ctx = ngx_smtp_eval_get_ctx(s);

    if (ctx == NULL || ngx_smtp_variable_nrcpts(ctx) == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (ctx->rcpt == NULL && data == offsetof(ngx_smtp_rcpt_t, mailbox)) {
        return ngx_smtp_variable_rcpts(s, v, ctx);
    }

    rcpt = ngx_smtp_variable_nth(ctx, 0);

    return ngx_smtp_variable_set(v, (ngx_str_t *) ((u_char *) rcpt + data));
}


/* The backend of a transaction; on the client's own session, of the last. */

static ngx_int_t
ngx_smtp_variable_pass_addr(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_smtp_passed_t  *passed;

    passed = ngx_smtp_variable_passed(s);

    if (passed == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_smtp_variable_set(v, &passed->addr);
}


static ngx_int_t
ngx_smtp_variable_pass_tries(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_smtp_passed_t  *passed;

    passed = ngx_smtp_variable_passed(s);

    if (passed == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_smtp_variable_number(s, v, passed->tries);
}


static ngx_int_t
ngx_smtp_variable_pass_time(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_str_t           text;
    ngx_smtp_passed_t  *passed;

    passed = ngx_smtp_variable_passed(s);

    if (passed == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    text.data = ngx_pnalloc(s->connection->pool, NGX_TIME_T_LEN + 4);
    if (text.data == NULL) {
        return NGX_ERROR;
    }

    text.len = ngx_sprintf(text.data, "%T.%03M",
                           (time_t) passed->time / 1000, passed->time % 1000)
               - text.data;

    return ngx_smtp_variable_set(v, &text);
}


static ngx_smtp_passed_t *
ngx_smtp_variable_passed(ngx_stream_session_t *s)
{
    ngx_smtp_passed_t    *passed;
    ngx_smtp_session_t   *session;
    ngx_smtp_eval_ctx_t  *ctx;

    passed = NULL;
    ctx = ngx_smtp_eval_get_ctx(s);

    if (ctx) {
        passed = ctx->transaction ? &ctx->transaction->passed : NULL;

    } else {
        session = ngx_smtp_session_get(s);

        if (session) {
            passed = session->txn ? &session->txn->passed : session->passed;
        }
    }

    return passed && passed->tries ? passed : NULL;
}


/* The whole message: the first recipients, joined by ", ". */

static ngx_int_t
ngx_smtp_variable_rcpts(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, ngx_smtp_eval_ctx_t *ctx)
{
    size_t       len;
    u_char      *p;
    ngx_str_t    list;
    ngx_uint_t   i, n;

    n = ngx_min(ngx_smtp_variable_nrcpts(ctx), NGX_SMTP_VARIABLE_RCPTS);
    len = 0;

    for (i = 0; i < n; i++) {
        len += ngx_smtp_variable_nth(ctx, i)->mailbox.len + 2;
    }

    p = ngx_pnalloc(s->connection->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    list.data = p;

    for (i = 0; i < n; i++) {

        if (i) {
            *p++ = ',';
            *p++ = ' ';
        }

        p = ngx_cpymem(p, ngx_smtp_variable_nth(ctx, i)->mailbox.data,
                       ngx_smtp_variable_nth(ctx, i)->mailbox.len);
    }

    list.len = p - list.data;

    return ngx_smtp_variable_set(v, &list);
}


static ngx_uint_t
ngx_smtp_variable_nrcpts(ngx_smtp_eval_ctx_t *ctx)
{
    if (ctx->rcpt) {
        return 1;
    }

    if (ctx->rcpts) {
        return ctx->nrcpts;
    }

    return ctx->envelope ? ctx->envelope->rcpts.nelts : 0;
}


static ngx_smtp_rcpt_t *
ngx_smtp_variable_nth(ngx_smtp_eval_ctx_t *ctx, ngx_uint_t i)
{
    ngx_smtp_rcpt_t  *rcpt;

    if (ctx->rcpt) {
        return ctx->rcpt;
    }

    if (ctx->rcpts) {
        return ctx->rcpts[i];
    }

    rcpt = ctx->envelope->rcpts.elts;

    return &rcpt[i];
}


static ngx_int_t
ngx_smtp_variable_rcpt_count(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_smtp_eval_ctx_t  *ctx;

    ctx = ngx_smtp_eval_get_ctx(s);

    if (ctx == NULL || ctx->envelope == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_smtp_variable_number(s, v, ctx->rcpts
                                          ? ctx->nrcpts
                                          : ctx->envelope->rcpts.nelts);
}


/* Of the message; before it is there, what MAIL declared. */

static ngx_int_t
ngx_smtp_variable_size(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_smtp_eval_ctx_t  *ctx;

    ctx = ngx_smtp_eval_get_ctx(s);

    if (ctx == NULL
        || (ctx->size == -1 && (ctx->envelope == NULL
                                || ctx->envelope->size == 0)))
    {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_smtp_variable_number(s, v, ctx->size == -1
                                          ? ctx->envelope->size : ctx->size);
}


static ngx_int_t
ngx_smtp_variable_set(ngx_stream_variable_value_t *v, ngx_str_t *s)
{
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->len = s->len;
    v->data = s->data;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_variable_number(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, off_t n)
{
    ngx_str_t  text;

    text.data = ngx_pnalloc(s->connection->pool, NGX_OFF_T_LEN);
    if (text.data == NULL) {
        return NGX_ERROR;
    }

    text.len = ngx_sprintf(text.data, "%O", n) - text.data;

    return ngx_smtp_variable_set(v, &text);
}
