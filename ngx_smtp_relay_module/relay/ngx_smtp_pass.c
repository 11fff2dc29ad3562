
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The sink of smtp_pass.  MAIL is answered here and sent with the first RCPT;
 * each RCPT waits for the backend's verdict; 354 is ours, the body is kept
 * while it fits the buffer, and sent when all of it is here, or when the
 * buffer is full; the reply to the end of data is the backend's.
 *
 * The pass lives in the transaction's pool.  A client that is gone changes
 * nothing once commit was called: the transaction is freed here then.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_health.h"
#include "ngx_smtp_reply.h"
#include "ngx_smtp_pass_private.h"
#include "ngx_smtp_zone.h"


/* of a streamed body: what is sent at once */
#define NGX_SMTP_PASS_PIECE  65536


static ngx_int_t ngx_smtp_pass_open(ngx_smtp_transaction_t *txn);
static ngx_int_t ngx_smtp_pass_rcpt(ngx_smtp_transaction_t *txn,
    ngx_smtp_rcpt_t *rcpt);
static ngx_int_t ngx_smtp_pass_take(ngx_smtp_transaction_t *txn);
static ngx_int_t ngx_smtp_pass_commit(ngx_smtp_transaction_t *txn);
static void ngx_smtp_pass_abort(ngx_smtp_transaction_t *txn);
static ngx_uint_t ngx_smtp_pass_extensions(void *conf);
static ngx_int_t ngx_smtp_pass_refuse(ngx_smtp_transaction_t *txn,
    ngx_uint_t id);
static void ngx_smtp_pass_mail(ngx_smtp_pass_t *ps);
static ngx_int_t ngx_smtp_pass_add(ngx_smtp_pass_t *ps,
    ngx_smtp_rcpt_t *rcpt);
static void ngx_smtp_pass_go(ngx_smtp_pass_t *ps, ngx_uint_t goal);
static ngx_int_t ngx_smtp_pass_result(ngx_smtp_pass_t *ps);
static void ngx_smtp_pass_give_back(ngx_smtp_pass_t *ps);
static ngx_int_t ngx_smtp_pass_final(ngx_smtp_pass_t *ps);
static void ngx_smtp_pass_told(void *data, ngx_uint_t i,
    ngx_smtp_verdict_t *v);
static void ngx_smtp_pass_timer(ngx_event_t *ev);


ngx_smtp_sink_t  ngx_smtp_pass_sink = {
    ngx_smtp_pass_open,
    ngx_smtp_pass_rcpt,
    ngx_smtp_pass_take,
    ngx_smtp_pass_commit,
    ngx_smtp_pass_abort,
    ngx_smtp_pass_extensions
};


static ngx_int_t
ngx_smtp_pass_open(ngx_smtp_transaction_t *txn)
{
    ngx_smtp_pass_t  *ps;

    ps = ngx_pcalloc(txn->pool, sizeof(ngx_smtp_pass_t));
    if (ps == NULL) {
        return ngx_smtp_pass_refuse(txn, NGX_SMTP_REPLY_INTERNAL);
    }

    txn->sink_ctx = ps;

    ps->txn = txn;
    ps->conf = txn->sink_conf;

    ps->timer.handler = ngx_smtp_pass_timer;
    ps->timer.data = ps;
    ps->timer.log = txn->log;

    txn->reply.id = NGX_SMTP_REPLY_MAIL_OK;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_pass_rcpt(ngx_smtp_transaction_t *txn, ngx_smtp_rcpt_t *rcpt)
{
    ngx_int_t         rc;
    ngx_smtp_pass_t  *ps;

    ps = txn->sink_ctx;

    rc = ngx_smtp_pass_target(ps, rcpt);

    if (rc == NGX_OK) {
        rc = ngx_smtp_pass_identity_next(ps);
    }

    if (rc == NGX_DECLINED) {

        /* MTAs send it again in a transaction of its own */

        return ngx_smtp_pass_refuse(txn, NGX_SMTP_REPLY_TOO_MANY_RCPTS);
    }

    if (ps->doomed) {
        return ngx_smtp_pass_refuse(txn, NGX_SMTP_REPLY_NO_UPSTREAM);
    }

    if (ngx_smtp_pass_add(ps, rcpt) != NGX_OK) {
        ngx_smtp_pass_unresolve(ps);
        return ngx_smtp_pass_refuse(txn, NGX_SMTP_REPLY_INTERNAL);
    }

    ps->goal = NGX_SMTP_PASS_RCPT;
    ps->sync = 1;
    ps->answered = 0;

    if (ps->mail_refused) {
        ngx_smtp_pass_answer_verdict(ps);

    } else {

        /* what was said of another recipient is no word on this one */

        ngx_memzero(&ps->verdict, sizeof(ngx_smtp_verdict_t));

        if (rc == NGX_ERROR) {
            ngx_smtp_pass_give_back(ps);
            ngx_smtp_pass_unpick(ps, 0);
            ngx_smtp_pass_give_up(ps, NGX_SMTP_PASS_ERROR);

        } else if (rc == NGX_OK) {
            ngx_smtp_pass_go(ps, NGX_SMTP_PASS_RCPT);
        }
    }

    ps->sync = 0;

    return ps->answered ? txn->rc : NGX_AGAIN;
}


/* sink.body */

static ngx_int_t
ngx_smtp_pass_take(ngx_smtp_transaction_t *txn)
{
    ngx_smtp_pass_t  *ps;

    ps = txn->sink_ctx;

    if (ps->doomed) {
        return ngx_smtp_pass_refuse(txn, NGX_SMTP_REPLY_UPSTREAM_LOST);
    }

    if (!ps->streamed) {

        if (txn->content.buffered <= ps->conf->buffer_size
            || txn->fields.len == 0)
        {
            return NGX_OK;
        }

    } else if (txn->content.buffered < NGX_SMTP_PASS_PIECE) {
        return NGX_OK;
    }

    ps->sync = 1;
    ps->answered = 0;

    ngx_smtp_pass_keep(ps);
    ngx_smtp_pass_go(ps, NGX_SMTP_PASS_BODY);

    ps->sync = 0;

    return ps->answered ? txn->rc : NGX_AGAIN;
}


static ngx_int_t
ngx_smtp_pass_commit(ngx_smtp_transaction_t *txn)
{
    ngx_smtp_pass_t  *ps;

    ps = txn->sink_ctx;

    if (ps->doomed) {
        return ngx_smtp_pass_refuse(txn, NGX_SMTP_REPLY_UPSTREAM_LOST);
    }

    ps->sync = 1;
    ps->answered = 0;

    ngx_smtp_pass_go(ps, NGX_SMTP_PASS_COMMIT);

    ps->sync = 0;

    return ps->answered ? txn->rc : NGX_AGAIN;
}


static void
ngx_smtp_pass_abort(ngx_smtp_transaction_t *txn)
{
    ngx_smtp_pass_t  *ps;

    ps = txn->sink_ctx;

    if (txn->committing) {

        /* ngx_smtp_pass_answer() will free it */

        return;
    }

    if (ps) {
        if (ps->conn) {
            if (ps->begun) {

                /* no end of data is ever sent: the backend drops it */

                ps->conn->ready = 0;
                ngx_smtp_pass_conn_close(ps->conn);

            } else {
                ngx_smtp_pass_give_back(ps);
            }
        }

        ngx_smtp_pass_unpick(ps, 0);
        ngx_smtp_pass_unresolve(ps);

        if (ps->timer.timer_set) {
            ngx_del_timer(&ps->timer);
        }

        if (ngx_smtp_pass_writing(ps)) {
            ps->freeing = 1;
            return;
        }
    }

    ngx_smtp_transaction_free(txn);
}


static ngx_uint_t
ngx_smtp_pass_extensions(void *conf)
{
    ngx_smtp_pass_conf_t *pass = conf;

    if (pass->extensions == NGX_CONF_BITMASK_SET) {
        return ngx_smtp_health_extensions(pass);
    }

    return pass->extensions;
}


static ngx_int_t
ngx_smtp_pass_refuse(ngx_smtp_transaction_t *txn, ngx_uint_t id)
{
    txn->reply.id = id;
    txn->reply.code = 0;

    return NGX_ERROR;
}


/* What MAIL says; with the first recipient. */

static void
ngx_smtp_pass_mail(ngx_smtp_pass_t *ps)
{
    ngx_smtp_envelope_t   *e;
    ngx_smtp_client_tx_t  *tx;

    e = &ps->txn->envelope;
    tx = &ps->tx;

    tx->sender = e->sender;
    tx->envid = e->envid;
    tx->size = e->size;
    tx->ret = e->ret;
    tx->eightbit = (e->body == NGX_SMTP_BODY_8BITMIME);
    tx->smtputf8 = e->smtputf8;
    tx->need_utf8 = e->smtputf8;
    tx->requiretls = e->requiretls;
    tx->more = 1;
    tx->handler = ngx_smtp_pass_told;
    tx->accepted = ngx_smtp_pass_told;
    tx->data = ps;
}


static ngx_int_t
ngx_smtp_pass_add(ngx_smtp_pass_t *ps, ngx_smtp_rcpt_t *rcpt)
{
    u_char                *state;
    ngx_uint_t             n;
    ngx_pool_t            *pool;
    ngx_smtp_rcpt_t      **rcpts, *copy;
    ngx_smtp_client_tx_t  *tx;

    tx = &ps->tx;
    pool = ps->txn->pool;

    if (tx->data == NULL) {
        if (ngx_smtp_pass_xforward(ps) != NGX_OK) {
            return NGX_ERROR;
        }

        ngx_smtp_pass_mail(ps);
    }

    if (tx->nrcpts == ps->capacity) {
        n = ps->capacity ? 2 * ps->capacity : 4;

        rcpts = ngx_palloc(pool, n * sizeof(ngx_smtp_rcpt_t *));
        state = ngx_pnalloc(pool, n);

        if (rcpts == NULL || state == NULL) {
            return NGX_ERROR;
        }

        if (tx->nrcpts) {
            ngx_memcpy(rcpts, tx->rcpts,
                       tx->nrcpts * sizeof(ngx_smtp_rcpt_t *));
            ngx_memcpy(state, tx->state, tx->nrcpts);
        }

        tx->rcpts = rcpts;
        tx->state = state;
        ps->capacity = n;
    }

    /* the envelope's array moves when it grows */

    copy = ngx_palloc(pool, sizeof(ngx_smtp_rcpt_t));
    if (copy == NULL) {
        return NGX_ERROR;
    }

    *copy = *rcpt;

    tx->state[tx->nrcpts] = 0;
    tx->rcpts[tx->nrcpts++] = copy;

    return NGX_OK;
}


/* The next step on the connection, or a connection. */

static void
ngx_smtp_pass_go(ngx_smtp_pass_t *ps, ngx_uint_t goal)
{
    ngx_int_t           action;
    ngx_smtp_client_t  *cl;

    if (ps->conn && ps->conn->peer->event.posted) {

        /*
         * its end was seen and is about to be told: while we waited, that is,
         * and before anything is sent that cannot be undone
         */

        ps->goal = NGX_SMTP_PASS_IDLE;
        ngx_smtp_pass_conn_gone(ps->conn);
    }

    ps->goal = goal;

    if (ps->conn == NULL) {

        if (!ngx_smtp_pass_kept(ps)) {

            /* it was lost while we waited for the client */

            ngx_smtp_pass_give_up(ps, NGX_SMTP_PASS_ERROR);
            return;
        }

        ngx_smtp_pass_start(ps);
        return;
    }

    cl = &ps->conn->client;

    if (cl->state == NGX_SMTP_CLIENT_ST_READY) {
        action = ngx_smtp_pass_ready(ps);

    } else if (goal == NGX_SMTP_PASS_RCPT) {
        action = ngx_smtp_client_rcpt(cl);

    } else if (ps->begun) {
        action = ngx_smtp_pass_body(ps);

    } else {
        action = ngx_smtp_client_data(cl);
    }

    if (action != NGX_DECLINED) {
        ngx_smtp_pass_conn_action(ps->conn, action);
    }
}


ngx_int_t
ngx_smtp_pass_ready(ngx_smtp_pass_t *ps)
{
    if (ps->timer.timer_set) {
        ngx_del_timer(&ps->timer);
    }

    ps->replay_refused = 0;
    ps->begun = 0;

    ngx_smtp_pass_alive(ps);

    if (!ps->conn->reused) {
        ngx_smtp_health_learn(ps->conf, ps->sockaddr, ps->socklen,
                              &ps->conn->client.caps);
    }

    return ngx_smtp_client_mail(&ps->conn->client, &ps->tx);
}


ngx_int_t
ngx_smtp_pass_more(ngx_smtp_pass_t *ps)
{
    if (ps->replay_refused) {

        /* a recipient that had its 250 is refused now */

        ngx_smtp_pass_give_back(ps);
        ngx_smtp_pass_unpick(ps, 0);
        ngx_smtp_pass_give_up(ps, NGX_SMTP_PASS_ERROR);

        return NGX_DECLINED;
    }

    if (ps->goal != NGX_SMTP_PASS_RCPT) {
        return ngx_smtp_client_data(&ps->conn->client);
    }

    return ngx_smtp_pass_result(ps);
}


/* The verdict on the last recipient, or on MAIL and so on it. */

static ngx_int_t
ngx_smtp_pass_result(ngx_smtp_pass_t *ps)
{
    if (ps->verdict.code / 100 == 4 && ps->naccepted == 0
        && !ps->verdict.local
        && ((ps->conf->next & NGX_SMTP_PASS_4XX)
            || ngx_smtp_pass_may_spool(ps, NGX_SMTP_PASS_4XX)))
    {
        ps->mail_refused = 0;

        ngx_smtp_pass_give_back(ps);
        ngx_smtp_pass_failed(ps, NGX_SMTP_PASS_4XX, 0);

        return NGX_DECLINED;
    }

    ngx_smtp_pass_answer_verdict(ps);

    return NGX_DECLINED;
}


ngx_int_t
ngx_smtp_pass_done(ngx_smtp_pass_t *ps)
{
    switch (ps->verdict.stage) {

    case NGX_SMTP_CLIENT_ST_MAIL:
    case NGX_SMTP_CLIENT_ST_RCPT:

        if (ps->naccepted) {
            ngx_smtp_pass_give_back(ps);
            ngx_smtp_pass_unpick(ps, 0);
            ngx_smtp_pass_give_up(ps, NGX_SMTP_PASS_ERROR);

            return NGX_DECLINED;
        }

        if (ps->verdict.stage == NGX_SMTP_CLIENT_ST_MAIL) {
            ps->mail_refused = 1;
        }

        return ngx_smtp_pass_result(ps);

    default: /* DATA, EOM */
        return ngx_smtp_pass_final(ps);
    }
}


/* The reply to the message: the backend has it, or never will. */

static ngx_int_t
ngx_smtp_pass_final(ngx_smtp_pass_t *ps)
{
    ngx_smtp_pass_give_back(ps);
    ngx_smtp_pass_unpick(ps, 0);

    ngx_smtp_pass_decided(ps);

    return NGX_DECLINED;
}


/* The connection may be gone already. */

static void
ngx_smtp_pass_give_back(ngx_smtp_pass_t *ps)
{
    if (ps->conn) {
        ngx_smtp_pass_conn_release(ps->conn);
    }
}


void
ngx_smtp_pass_decided(ngx_smtp_pass_t *ps)
{
    ngx_uint_t  why;

    if (ps->verdict.code / 100 == 4) {
        why = NGX_SMTP_PASS_4XX;

        if (ps->verdict.code == 421) {
            why |= NGX_SMTP_PASS_421;
        }

        if (ngx_smtp_pass_may_spool(ps, why)) {
            ngx_smtp_pass_spool(ps);
            return;
        }
    }

    ngx_smtp_pass_answer_verdict(ps);
}


void
ngx_smtp_pass_verdict(ngx_smtp_pass_t *ps, ngx_smtp_verdict_t *v)
{
    ps->verdict = *v;

    ps->verdict.text.data = ps->text;
    ps->verdict.text.len = ngx_min(v->text.len, sizeof(ps->text));
    ngx_memcpy(ps->text, v->text.data, ps->verdict.text.len);

    ps->verdict.status.data = ps->status;
    ps->verdict.status.len = ngx_min(v->status.len, sizeof(ps->status));
    ngx_memcpy(ps->status, v->status.data, ps->verdict.status.len);
}


/*
 * The engine tells of recipient i: accepted for now, or a final verdict.
 */

static void
ngx_smtp_pass_told(void *data, ngx_uint_t i, ngx_smtp_verdict_t *v)
{
    ngx_smtp_pass_t *ps = data;

    if (i < ps->naccepted && v->stage == NGX_SMTP_CLIENT_ST_RCPT
        && v->code >= 300)
    {
        ps->replay_refused = 1;
    }

    if (i != ps->tx.nrcpts - 1) {
        return;
    }

    ngx_smtp_pass_verdict(ps, v);

    if (v->local || ps->conn == NULL) {
        return;
    }

    if (v->code >= 400) {
        ps->conn->refused++;

    } else if (v->stage == NGX_SMTP_CLIENT_ST_EOM) {
        ps->conn->refused = 0;
    }
}


void
ngx_smtp_pass_answer_verdict(ngx_smtp_pass_t *ps)
{
    ngx_uint_t           ok;
    ngx_smtp_answer_t   *a;
    ngx_smtp_verdict_t  *v;

    v = &ps->verdict;
    a = &ps->txn->reply;
    ok = (v->code / 100 == 2);

    /* 421 would tell the client that we close the connection */

    a->id = ok ? NGX_SMTP_REPLY_OK : NGX_SMTP_REPLY_UPSTREAM_LOST;
    a->code = ok ? 250 : (v->code == 421) ? 451 : v->code;
    a->text = v->text;

    if (v->status.len && v->status.data[0] == '0' + a->code / 100) {
        a->enhanced = v->status;

    } else {
        a->enhanced.data = (u_char *) (ok ? "2.0.0"
                                       : a->code < 500 ? "4.0.0" : "5.0.0");
        a->enhanced.len = 5;
    }

    ngx_smtp_pass_answer(ps, ok ? NGX_OK : NGX_ERROR);
}


void
ngx_smtp_pass_answer_reply(ngx_smtp_pass_t *ps, ngx_uint_t id)
{
    ngx_smtp_pass_answer(ps, ngx_smtp_pass_refuse(ps->txn, id));
}


void
ngx_smtp_pass_answer(ngx_smtp_pass_t *ps, ngx_int_t rc)
{
    ngx_uint_t               goal;
    ngx_smtp_transaction_t  *txn;

    txn = ps->txn;
    goal = ps->goal;

    if (ps->timer.timer_set) {
        ngx_del_timer(&ps->timer);
    }

    if (ngx_smtp_pass_writing(ps)) {

        /* the server frees or adds to the blocks */

        ps->answering = 1;
        ps->later = rc;
        return;
    }

    ps->goal = NGX_SMTP_PASS_IDLE;

    if (goal == NGX_SMTP_PASS_RCPT) {

        if (rc == NGX_OK) {
            ps->naccepted = ps->tx.nrcpts;

        } else {
            ps->tx.nrcpts--;
        }
    }

    if (ps->started) {
        txn->passed.time = ngx_current_msec - ps->started;
    }

    txn->rc = rc;

    if (ps->sync) {
        ps->answered = 1;
        return;
    }

    if (!txn->aborted) {
        txn->handler(txn);
        return;
    }

    /* to the log alone: the client left after its end of data */

    txn->accepted = (rc == NGX_OK);
    txn->refused = !txn->accepted;

    ngx_smtp_count_message(txn->reply.code
                           ? txn->reply.code
                           : ngx_smtp_reply_get(txn->reply.id)->code,
                           txn->content.size);

    if (txn->log_handler) {
        txn->log_handler(txn);
    }

    ngx_smtp_transaction_free(txn);
}


/* A safety net only: each step has a time-out of its own. */

static void
ngx_smtp_pass_timer(ngx_event_t *ev)
{
    ngx_smtp_pass_t  *ps;

    ps = ev->data;

    ngx_log_error(NGX_LOG_ERR, ev->log, NGX_ETIMEDOUT,
                  "no session with upstream \"%V\" in time", &ps->name);

    if (ps->conn) {
        ps->conn->ready = 0;
        ngx_smtp_pass_conn_close(ps->conn);
    }

    ngx_smtp_pass_failed(ps, NGX_SMTP_PASS_ERROR|NGX_SMTP_PASS_TIMEOUT, 1);
}
