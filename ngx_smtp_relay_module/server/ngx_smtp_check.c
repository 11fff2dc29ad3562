
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The checks.  Never an open relay by accident: the last one for a recipient
 * refuses whatever none before it has allowed.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_check.h"


#define NGX_SMTP_CHECK_POOL  4096


typedef struct {
    ngx_uint_t           stage;
    ngx_smtp_check_pt    handler;
} ngx_smtp_check_t;


static ngx_int_t ngx_smtp_check_sender(ngx_smtp_session_t *s,
    ngx_smtp_rcpt_t *rcpt, ngx_smtp_answer_t *answer);
static ngx_int_t ngx_smtp_check_login(ngx_smtp_session_t *s,
    ngx_smtp_rcpt_t *rcpt, ngx_smtp_answer_t *answer);
static ngx_int_t ngx_smtp_check_trust(ngx_smtp_session_t *s,
    ngx_smtp_rcpt_t *rcpt, ngx_smtp_answer_t *answer);
static ngx_int_t ngx_smtp_check_domain(ngx_smtp_session_t *s,
    ngx_smtp_rcpt_t *rcpt, ngx_smtp_answer_t *answer);
static ngx_int_t ngx_smtp_check_relay(ngx_smtp_session_t *s,
    ngx_smtp_rcpt_t *rcpt, ngx_smtp_answer_t *answer);
static ngx_int_t ngx_smtp_check_newline(ngx_smtp_session_t *s,
    ngx_smtp_rcpt_t *rcpt, ngx_smtp_answer_t *answer);
static ngx_int_t ngx_smtp_check_hops(ngx_smtp_session_t *s,
    ngx_smtp_rcpt_t *rcpt, ngx_smtp_answer_t *answer);
static ngx_uint_t ngx_smtp_check_values(ngx_smtp_session_t *s,
    ngx_smtp_rcpt_t *rcpt, ngx_array_t *values);


static ngx_smtp_check_t  ngx_smtp_checks[] = {
    { NGX_SMTP_STAGE_MAIL, ngx_smtp_check_sender },
    { NGX_SMTP_STAGE_RCPT, ngx_smtp_check_login },
    { NGX_SMTP_STAGE_RCPT, ngx_smtp_check_trust },
    { NGX_SMTP_STAGE_RCPT, ngx_smtp_check_domain },
    { NGX_SMTP_STAGE_RCPT, ngx_smtp_check_relay },
    { NGX_SMTP_STAGE_MESSAGE, ngx_smtp_check_newline },
    { NGX_SMTP_STAGE_MESSAGE, ngx_smtp_check_hops },
    { NGX_SMTP_STAGES, NULL }
};


ngx_int_t
ngx_smtp_check_run(ngx_smtp_session_t *s, ngx_uint_t stage,
    ngx_smtp_rcpt_t *rcpt, ngx_smtp_answer_t *answer)
{
    ngx_int_t          rc;
    ngx_smtp_check_t  *check;

    for (check = ngx_smtp_checks; check->handler; check++) {

        if (check->stage != stage) {
            continue;
        }

        rc = check->handler(s, rcpt, answer);

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    return NGX_OK;
}


/*
 * An account that lists its senders may use no other; the null reverse-path is
 * everybody's (RFC 5321 section 4.5.5).
 */

static ngx_int_t
ngx_smtp_check_sender(ngx_smtp_session_t *s, ngx_smtp_rcpt_t *rcpt,
    ngx_smtp_answer_t *answer)
{
    ngx_str_t  *sender;

    sender = &s->txn->envelope.sender;

    if (s->account == NULL || !s->account->has_senders || sender->len == 0
        || ngx_smtp_account_may_send(s->account, sender))
    {
        return NGX_DECLINED;
    }

    ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                  "login \"%V\" may not send as the given sender",
                  &s->account->login);

    answer->id = NGX_SMTP_REPLY_SENDER_DENIED;

    return NGX_ERROR;
}


static ngx_int_t
ngx_smtp_check_login(ngx_smtp_session_t *s, ngx_smtp_rcpt_t *rcpt,
    ngx_smtp_answer_t *answer)
{
    return s->rules.auth ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_smtp_check_trust(ngx_smtp_session_t *s, ngx_smtp_rcpt_t *rcpt,
    ngx_smtp_answer_t *answer)
{
    ngx_smtp_srv_conf_t  *conf;

    conf = s->conf;

    if (conf->trust
        && ngx_cidr_match(s->connection->sockaddr, conf->trust) == NGX_OK)
    {
        return NGX_OK;
    }

    if (conf->trust_values
        && ngx_smtp_check_values(s, rcpt, conf->trust_values))
    {
        return NGX_OK;
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_smtp_check_domain(ngx_smtp_session_t *s, ngx_smtp_rcpt_t *rcpt,
    ngx_smtp_answer_t *answer)
{
    ngx_uint_t            key;
    ngx_smtp_srv_conf_t  *conf;

    conf = s->conf;

    if (conf->domains == NULL && conf->domains_values == NULL) {
        return NGX_DECLINED;
    }

    if (conf->domains_open) {
        return NGX_OK;
    }

    /* <postmaster> without a domain is ours wherever we have domains */

    if (rcpt->domain.len == 0) {
        return NGX_OK;
    }

    if (conf->domains) {
        key = ngx_hash_key(rcpt->domain.data, rcpt->domain.len);

        if (ngx_hash_find_combined(conf->domains, key, rcpt->domain.data,
                                   rcpt->domain.len))
        {
            return NGX_OK;
        }
    }

    if (conf->domains_values
        && ngx_smtp_check_values(s, rcpt, conf->domains_values))
    {
        return NGX_OK;
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_smtp_check_relay(ngx_smtp_session_t *s, ngx_smtp_rcpt_t *rcpt,
    ngx_smtp_answer_t *answer)
{
    answer->id = s->rules.offer_auth ? NGX_SMTP_REPLY_NEED_AUTH
                                     : NGX_SMTP_REPLY_RELAY_DENIED;
    return NGX_ERROR;
}


static ngx_int_t
ngx_smtp_check_newline(ngx_smtp_session_t *s, ngx_smtp_rcpt_t *rcpt,
    ngx_smtp_answer_t *answer)
{
    if (s->conf->bare_newline != NGX_SMTP_BARE_REJECT
        || !(s->receive->decoder.seen
             & (NGX_SMTP_DATA_BARE_CR|NGX_SMTP_DATA_BARE_LF)))
    {
        return NGX_DECLINED;
    }

    answer->id = NGX_SMTP_REPLY_BARE_NEWLINE;

    return NGX_ERROR;
}


static ngx_int_t
ngx_smtp_check_hops(ngx_smtp_session_t *s, ngx_smtp_rcpt_t *rcpt,
    ngx_smtp_answer_t *answer)
{
    if (s->receive->header.received <= s->conf->max_hops) {
        return NGX_DECLINED;
    }

    answer->id = NGX_SMTP_REPLY_LOOP;

    return NGX_ERROR;
}


/*
 * 1 if a value is neither empty nor "0"; a value that fails is no yes.  What
 * it takes is given back at once: there may be a thousand recipients.
 */

static ngx_uint_t
ngx_smtp_check_values(ngx_smtp_session_t *s, ngx_smtp_rcpt_t *rcpt,
    ngx_array_t *values)
{
    ngx_str_t                     value;
    ngx_pool_t                   *pool;
    ngx_uint_t                    i, yes;
    ngx_stream_session_t         *st;
    ngx_stream_complex_value_t  **cv;

    pool = ngx_create_pool(NGX_SMTP_CHECK_POOL, s->txn->log);
    if (pool == NULL) {
        return 0;
    }

    yes = 0;

    st = ngx_smtp_session_eval(s, pool, rcpt);
    if (st == NULL) {
        goto done;
    }

#if (NGX_STREAM_SSL)

    /* $ssl_*: the client is there as long as the pool is */

    st->connection->ssl = s->connection->ssl;

#endif

    cv = values->elts;

    for (i = 0; i < values->nelts; i++) {

        if (ngx_stream_complex_value(st, cv[i], &value) != NGX_OK) {
            continue;
        }

        if (value.len && !(value.len == 1 && value.data[0] == '0')) {
            yes = 1;
            break;
        }
    }

done:

    ngx_destroy_pool(pool);

    return yes;
}
