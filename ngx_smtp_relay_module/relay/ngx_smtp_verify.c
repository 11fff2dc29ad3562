
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * One recipient at a time: what is known in the zone; else a question, whose
 * answer is remembered there.
 *
 *   rcpt -> known? -> question -> finish -> answer
 *             \__ answer            ^
 *                       deadline ---+
 *
 * A backend that did not answer is not asked again for a while, by nobody: a
 * message with a thousand recipients waits for it once.
 *
 * The question lives in the pool of its own transaction, its context in that
 * of the client's.  A client that leaves takes both along.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_pass_private.h"
#include "ngx_smtp_reply.h"
#include "ngx_smtp_verified.h"
#include "ngx_smtp_verify.h"


/* a backend that did not answer is left alone for so long, ms */
#define NGX_SMTP_VERIFY_PAUSE  10000

/* questions of this worker at a time */
#define NGX_SMTP_VERIFY_MAX    256


/* of a client's transaction */
typedef struct {
    ngx_smtp_transaction_t   *txn;
    ngx_smtp_verify_conf_t   *conf;
    ngx_smtp_transaction_t   *question;   /* NULL: none is in flight */
    ngx_event_t               timer;      /* its deadline */
    ngx_event_t               answered;   /* posted when it was */
    u_char                    rcpt[NGX_SMTP_ZONE_KEY_LEN];
    u_char                    backend[NGX_SMTP_ZONE_KEY_LEN];
    ngx_smtp_verified_t       verified;
    unsigned                  keyed:1;    /* rcpt and backend are set */
} ngx_smtp_verify_t;


static ngx_int_t ngx_smtp_verify_rcpt(ngx_smtp_transaction_t *txn,
    ngx_smtp_rcpt_t *rcpt, void *conf);
static ngx_smtp_verify_t *ngx_smtp_verify_create(ngx_smtp_transaction_t *txn,
    ngx_smtp_verify_conf_t *conf);
static ngx_int_t ngx_smtp_verify_keys(ngx_smtp_verify_t *v,
    ngx_smtp_rcpt_t *rcpt);
static ngx_int_t ngx_smtp_verify_known(ngx_smtp_verify_t *v);
static ngx_int_t ngx_smtp_verify_ask(ngx_smtp_verify_t *v,
    ngx_smtp_rcpt_t *rcpt);
static ngx_stream_session_t *ngx_smtp_verify_eval(ngx_smtp_transaction_t *txn,
    ngx_pool_t *pool, ngx_smtp_rcpt_t *rcpt);
static void ngx_smtp_verify_handler(ngx_smtp_transaction_t *question);
static void ngx_smtp_verify_answered(ngx_event_t *ev);
static void ngx_smtp_verify_timer(ngx_event_t *ev);
static ngx_int_t ngx_smtp_verify_finish(ngx_smtp_verify_t *v);
static ngx_int_t ngx_smtp_verify_unknown(ngx_smtp_verify_t *v,
    ngx_smtp_answer_t *answer);
static ngx_int_t ngx_smtp_verify_refuse(ngx_smtp_verify_t *v);
static void ngx_smtp_verify_drop(ngx_smtp_verify_t *v);
static void ngx_smtp_verify_cleanup(void *data);


ngx_smtp_verifier_t  ngx_smtp_verifier = {
    ngx_smtp_verify_rcpt
};


static ngx_uint_t  ngx_smtp_verify_n;


static ngx_int_t
ngx_smtp_verify_rcpt(ngx_smtp_transaction_t *txn, ngx_smtp_rcpt_t *rcpt,
    void *conf)
{
    ngx_int_t           rc;
    ngx_smtp_verify_t  *v;

    if (txn->sink == &ngx_smtp_pass_sink) {

        /* a backend decides on it in any case */

        return NGX_OK;
    }

    v = txn->verify_ctx;

    if (v == NULL) {
        v = ngx_smtp_verify_create(txn, conf);
        if (v == NULL) {
            txn->reply.id = NGX_SMTP_REPLY_INTERNAL;
            return NGX_ERROR;
        }
    }

    rc = ngx_smtp_verify_keys(v, rcpt);

    if (rc == NGX_DONE) {
        return NGX_OK;
    }

    if (rc == NGX_OK) {
        rc = ngx_smtp_verify_known(v);

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    return ngx_smtp_verify_ask(v, rcpt);
}


static ngx_smtp_verify_t *
ngx_smtp_verify_create(ngx_smtp_transaction_t *txn,
    ngx_smtp_verify_conf_t *conf)
{
    ngx_smtp_verify_t   *v;
    ngx_pool_cleanup_t  *cln;

    v = ngx_pcalloc(txn->pool, sizeof(ngx_smtp_verify_t));
    cln = ngx_pool_cleanup_add(txn->pool, 0);

    if (v == NULL || cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_smtp_verify_cleanup;
    cln->data = v;

    v->txn = txn;
    v->conf = conf;

    v->timer.handler = ngx_smtp_verify_timer;
    v->timer.data = v;
    v->timer.log = txn->log;

    v->answered.handler = ngx_smtp_verify_answered;
    v->answered.data = v;
    v->answered.log = txn->log;

    txn->verify_ctx = v;

    return v;
}


/*
 * The domain has no case, the local part is the backend's business.  NGX_DONE:
 * nobody is to be asked; NGX_DECLINED: there are no keys.
 */

static ngx_int_t
ngx_smtp_verify_keys(ngx_smtp_verify_t *v, ngx_smtp_rcpt_t *rcpt)
{
    size_t                    len;
    ngx_str_t                 target, address, none;
    ngx_stream_session_t     *s;
    ngx_smtp_verify_conf_t   *conf;
    ngx_smtp_transaction_t   *txn;

    conf = v->conf;
    txn = v->txn;

    v->keyed = 0;
    target = conf->pass.target;

    if (conf->pass.value) {
        s = txn->eval(txn, txn->pool, rcpt);

        if (s == NULL
            || ngx_stream_complex_value(s, conf->pass.value, &target)
               != NGX_OK)
        {
            return NGX_DECLINED;
        }

        if (target.len == 0) {
            return NGX_DONE;
        }
    }

    len = rcpt->mailbox.len;

    address.data = ngx_pnalloc(txn->pool, len);
    if (address.data == NULL) {
        return NGX_DECLINED;
    }

    address.len = len;
    ngx_memcpy(address.data, rcpt->mailbox.data, len);

    len = ngx_min(len, rcpt->domain.len);
    ngx_strlow(address.data + address.len - len,
               address.data + address.len - len, len);

    ngx_str_null(&none);

    if (ngx_smtp_verified_key(conf->zone, &target, &address, v->rcpt)
        != NGX_OK
        || ngx_smtp_verified_key(conf->zone, &target, &none, v->backend)
           != NGX_OK)
    {
        return NGX_DECLINED;
    }

    v->keyed = 1;

    return NGX_OK;
}


/* NGX_DECLINED: it has to be asked. */

static ngx_int_t
ngx_smtp_verify_known(ngx_smtp_verify_t *v)
{
    ngx_smtp_verified_t      down;
    ngx_smtp_verify_conf_t  *conf;

    conf = v->conf;

    if (ngx_smtp_verified_get(conf->zone, v->rcpt, &v->verified) == NGX_OK) {

        ngx_log_debug1(NGX_LOG_DEBUG_STREAM, v->txn->log, 0,
                       "smtp verify: known, state:%ui", v->verified.state);

        return (v->verified.state == NGX_SMTP_VERIFIED_GOOD)
               ? NGX_OK : ngx_smtp_verify_refuse(v);
    }

    if (ngx_smtp_verified_get(conf->zone, v->backend, &down) == NGX_OK) {
        return ngx_smtp_verify_unknown(v, NULL);
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_smtp_verify_ask(ngx_smtp_verify_t *v, ngx_smtp_rcpt_t *rcpt)
{
    ngx_int_t                rc;
    ngx_smtp_rcpt_t         *copy;
    ngx_smtp_transaction_t  *q;

    if (ngx_smtp_verify_n == NGX_SMTP_VERIFY_MAX) {
        return ngx_smtp_verify_unknown(v, NULL);
    }

    q = ngx_smtp_transaction_create(v->txn->log);
    if (q == NULL) {
        return ngx_smtp_verify_unknown(v, NULL);
    }

    q->sink = &ngx_smtp_pass_sink;
    q->sink_conf = &v->conf->pass;
    q->handler = ngx_smtp_verify_handler;
    q->data = v;
    q->eval = ngx_smtp_verify_eval;
    q->origin = v->txn->origin;
    ngx_str_null(&q->origin.user);
    ngx_str_null(&q->origin.password);

    q->started = ngx_time();
    q->started_msec = ngx_current_msec;

    q->envelope.sender = v->conf->sender;
    q->envelope.smtputf8 = v->txn->envelope.smtputf8;

    copy = NULL;

    if (ngx_array_init(&q->envelope.rcpts, q->pool, 1, sizeof(ngx_smtp_rcpt_t))
        == NGX_OK)
    {
        copy = ngx_array_push(&q->envelope.rcpts);
    }

    if (copy == NULL || q->sink->open(q) != NGX_OK) {
        ngx_smtp_transaction_free(q);
        return ngx_smtp_verify_unknown(v, NULL);
    }

    ngx_memzero(copy, sizeof(ngx_smtp_rcpt_t));

    copy->mailbox = rcpt->mailbox;
    copy->domain = rcpt->domain;

    v->question = q;
    ngx_smtp_verify_n++;

    rc = q->sink->rcpt(q, copy);

    if (rc == NGX_AGAIN) {
        ngx_add_timer(&v->timer, v->conf->timeout);
        return NGX_AGAIN;
    }

    q->rc = rc;

    return ngx_smtp_verify_finish(v);
}


/* Variables see the client, and the recipient it has named. */

static ngx_stream_session_t *
ngx_smtp_verify_eval(ngx_smtp_transaction_t *question, ngx_pool_t *pool,
    ngx_smtp_rcpt_t *rcpt)
{
    ngx_array_t             *rcpts;
    ngx_smtp_verify_t       *v;
    ngx_smtp_transaction_t  *txn;

    v = question->data;
    txn = v->txn;
    rcpts = &txn->envelope.rcpts;

    if (txn->aborted) {
        return NULL;
    }

    return txn->eval(txn, pool,
                     (ngx_smtp_rcpt_t *) rcpts->elts + rcpts->nelts - 1);
}


/* Called from inside of the proxy, which cannot be ended here. */

static void
ngx_smtp_verify_handler(ngx_smtp_transaction_t *question)
{
    ngx_smtp_verify_t  *v;

    v = question->data;

    ngx_post_event(&v->answered, &ngx_posted_events);
}


static void
ngx_smtp_verify_answered(ngx_event_t *ev)
{
    ngx_smtp_verify_t  *v;

    v = ev->data;

    if (v->txn->aborted) {
        ngx_smtp_verify_drop(v);
        return;
    }

    v->txn->rc = ngx_smtp_verify_finish(v);
    v->txn->handler(v->txn);
}


static void
ngx_smtp_verify_timer(ngx_event_t *ev)
{
    ngx_smtp_verify_t  *v;

    v = ev->data;

    if (v->txn->aborted) {
        ngx_smtp_verify_drop(v);
        return;
    }

    ngx_log_error(NGX_LOG_WARN, v->txn->log, NGX_ETIMEDOUT,
                  "\"smtp_verify_recipient %V\": no answer in time",
                  &v->conf->pass.target);

    /* no answer counts as one without a code */

    v->question->rc = NGX_ERROR;
    v->question->reply.code = 0;

    v->txn->rc = ngx_smtp_verify_finish(v);
    v->txn->handler(v->txn);
}


/* The question was answered, or not: what follows from that. */

static ngx_int_t
ngx_smtp_verify_finish(ngx_smtp_verify_t *v)
{
    ngx_int_t                rc;
    ngx_uint_t               own;
    ngx_smtp_pass_t         *ps;
    ngx_smtp_answer_t       *a;
    ngx_smtp_verify_conf_t  *conf;

    conf = v->conf;
    a = &v->question->reply;
    ps = v->question->sink_ctx;

    /* a refused MAIL tells nothing of the recipient */

    own = (ps->verdict.stage == NGX_SMTP_CLIENT_ST_RCPT && !ps->verdict.local);

    if (v->question->rc == NGX_OK) {
        v->verified.state = NGX_SMTP_VERIFIED_GOOD;
        v->verified.code = 0;

        if (v->keyed) {
            ngx_smtp_verified_put(conf->zone, v->rcpt, &v->verified,
                                  conf->positive_ttl);
        }

        rc = NGX_OK;

    } else if (a->code >= 500 && ps->verdict.stage == NGX_SMTP_CLIENT_ST_RCPT)
    {
        v->verified.state = NGX_SMTP_VERIFIED_BAD;
        ngx_smtp_verified_reply(&v->verified, a->code, &a->enhanced, &a->text);

        /* what we say ourselves depends on the transaction */

        if (v->keyed && own) {
            ngx_smtp_verified_put(conf->zone, v->rcpt, &v->verified,
                                  conf->negative_ttl);
        }

        rc = ngx_smtp_verify_refuse(v);

    } else {

        if (a->code == 0 && v->keyed) {
            v->verified.state = NGX_SMTP_VERIFIED_DOWN;
            v->verified.code = 0;

            ngx_smtp_verified_put(conf->zone, v->backend, &v->verified,
                                  NGX_SMTP_VERIFY_PAUSE);
        }

        rc = ngx_smtp_verify_unknown(v, own ? a : NULL);
    }

    ngx_smtp_verify_drop(v);

    return rc;
}


/* There is no verdict; answer: the backend's own 4xx, or NULL. */

static ngx_int_t
ngx_smtp_verify_unknown(ngx_smtp_verify_t *v, ngx_smtp_answer_t *answer)
{
    ngx_str_t  status, text;

    if (!v->conf->defer) {
        return NGX_OK;
    }

    if (answer && answer->code / 100 == 4) {
        ngx_smtp_verified_reply(&v->verified, answer->code, &answer->enhanced,
                                &answer->text);

    } else {
        ngx_str_set(&status, "4.4.1");
        ngx_str_set(&text, "Recipient cannot be verified now");

        ngx_smtp_verified_reply(&v->verified, 450, &status, &text);
    }

    return ngx_smtp_verify_refuse(v);
}


/* v->verified has the reply, and lives until the next recipient. */

static ngx_int_t
ngx_smtp_verify_refuse(ngx_smtp_verify_t *v)
{
    ngx_smtp_answer_t  *a;

    a = &v->txn->reply;

    a->id = NGX_SMTP_REPLY_INTERNAL;
    a->code = v->verified.code;
    a->enhanced.data = v->verified.status;
    a->enhanced.len = v->verified.status_len;
    a->text.data = v->verified.text;
    a->text.len = v->verified.text_len;

    return NGX_ERROR;
}


static void
ngx_smtp_verify_drop(ngx_smtp_verify_t *v)
{
    ngx_smtp_transaction_t  *q;

    if (v->timer.timer_set) {
        ngx_del_timer(&v->timer);
    }

    if (v->answered.posted) {
        ngx_delete_posted_event(&v->answered);
    }

    q = v->question;

    if (q) {
        v->question = NULL;
        ngx_smtp_verify_n--;

        q->aborted = 1;
        q->sink->abort(q);
    }
}


static void
ngx_smtp_verify_cleanup(void *data)
{
    ngx_smtp_verify_drop(data);
}
