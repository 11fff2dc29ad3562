
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Which server a transaction goes to, and what follows from a failure: the
 * next one, the spool behind, or an answer.
 *
 * Servers are chosen on an evaluation session of the transaction, apart from
 * connections: a server is held (peer.get .. peer.free) as long as it has the
 * transaction, whether on a new connection or on a kept one.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_enqueue.h"
#include "ngx_smtp_eval.h"
#include "ngx_smtp_health.h"
#include "ngx_smtp_reply.h"
#include "ngx_smtp_pass_private.h"


static ngx_int_t ngx_smtp_pass_pick(ngx_smtp_pass_t *ps);
static ngx_int_t ngx_smtp_pass_balance(ngx_smtp_pass_t *ps);
static ngx_int_t ngx_smtp_pass_get(ngx_smtp_pass_t *ps,
    ngx_peer_connection_t *pc);
static void ngx_smtp_pass_connect(ngx_smtp_pass_t *ps, ngx_uint_t fresh);


void
ngx_smtp_pass_start(ngx_smtp_pass_t *ps)
{
    if (!ps->picked && ngx_smtp_pass_pick(ps) != NGX_OK) {
        ngx_smtp_pass_give_up(ps, NGX_SMTP_PASS_ERROR);
        return;
    }

    ngx_smtp_pass_connect(ps, 0);
}


void
ngx_smtp_pass_reconnect(ngx_smtp_pass_t *ps)
{
    ngx_smtp_pass_connect(ps, 1);
}


static void
ngx_smtp_pass_connect(ngx_smtp_pass_t *ps, ngx_uint_t fresh)
{
    ngx_smtp_pass_conf_t  *conf;

    conf = ps->conf;

    ps->begun = 0;
    ps->sending = 0;

    if (ngx_smtp_pass_identity(ps) != NGX_OK) {
        ngx_smtp_pass_unpick(ps, 0);
        ngx_smtp_pass_give_up(ps, NGX_SMTP_PASS_ERROR);
        return;
    }

    /*
     * connecting alone does not keep a worker that leaves: but a client waits
     * for it.  Stopped by ngx_smtp_pass_ready()
     */

    ngx_add_timer(&ps->timer, conf->connect_timeout + 8 * conf->timeout);

    if (ngx_smtp_pass_conn_get(ps, fresh) != NGX_OK) {
        ngx_smtp_pass_unpick(ps, 0);
        ngx_smtp_pass_give_up(ps, NGX_SMTP_PASS_ERROR);
    }
}


static ngx_int_t
ngx_smtp_pass_pick(ngx_smtp_pass_t *ps)
{
    ngx_addr_t  *addr;

    if (ps->started == 0) {
        ps->started = ngx_current_msec ? ngx_current_msec : 1;
    }

    if (ps->addrs) {

        if (ps->addr == ps->naddrs
            || (ps->conf->next_tries && ps->addr == ps->conf->next_tries))
        {
            return NGX_DECLINED;
        }

        addr = &ps->addrs[ps->addr++];

        ps->sockaddr = addr->sockaddr;
        ps->socklen = addr->socklen;
        ps->name = addr->name;

    } else if (ngx_smtp_pass_balance(ps) != NGX_OK) {
        return NGX_DECLINED;
    }

    ps->picked = 1;
    ps->again = 0;

    ps->txn->passed.tries++;
    ps->txn->passed.addr = ps->name;

    ngx_log_debug2(NGX_LOG_DEBUG_STREAM, ps->txn->log, 0,
                   "smtp pass try %ui: %V", ps->txn->passed.tries, &ps->name);

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_pass_balance(ngx_smtp_pass_t *ps)
{
    ngx_uint_t               n;
    ngx_peer_connection_t   *pc;
    ngx_smtp_transaction_t  *txn;

    txn = ps->txn;

    if (ps->eval == NULL) {
        n = txn->envelope.rcpts.nelts;

        /* of a client that is gone there is nothing to be asked */

        ps->eval = txn->aborted ? NULL
                                : txn->eval(txn, txn->pool,
                                            (ngx_smtp_rcpt_t *)
                                            txn->envelope.rcpts.elts + n - 1);

        if (ps->eval == NULL
            || ngx_smtp_eval_upstream(ps->eval, ps->upstream) != NGX_OK)
        {
            ps->eval = NULL;
            return NGX_ERROR;
        }

        pc = &ps->eval->upstream->peer;

        if (ps->conf->next_tries && pc->tries > ps->conf->next_tries) {
            pc->tries = ps->conf->next_tries;
        }

    } else {
        pc = &ps->eval->upstream->peer;

        if (pc->tries == 0) {
            return NGX_DECLINED;
        }
    }

    if (ngx_smtp_pass_get(ps, pc) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, txn->log, 0,
                      "no live upstreams for \"smtp_pass %V\"",
                      &ps->conf->target);
        return NGX_DECLINED;
    }

    /* the memory of a server may go once it is released */

    ps->sockaddr = &ps->address.sockaddr;
    ps->socklen = pc->socklen;
    ngx_memcpy(&ps->address, pc->sockaddr,
               ngx_min(pc->socklen, (socklen_t) sizeof(ngx_sockaddr_t)));

    ps->name.len = pc->name->len;
    ps->name.data = ngx_pstrdup(txn->pool, pc->name);

    if (ps->name.data == NULL) {
        ps->name.len = 0;
    }

    return NGX_OK;
}


/*
 * What the balancer gives, less what is known to be down: that is no try.  One
 * server alone is given again and again, hence the bound.
 */

static ngx_int_t
ngx_smtp_pass_get(ngx_smtp_pass_t *ps, ngx_peer_connection_t *pc)
{
    ngx_uint_t             n, tries;
    ngx_smtp_pass_conf_t  *conf;

    conf = ps->conf;

    for (n = 0; n <= conf->nbackends; n++) {

        if (pc->get(pc, pc->data) != NGX_OK) {
            return NGX_DECLINED;
        }

        if (!ngx_smtp_health_down(conf, pc->sockaddr, pc->socklen)) {
            return NGX_OK;
        }

        ngx_log_debug1(NGX_LOG_DEBUG_STREAM, ps->txn->log, 0,
                       "smtp pass skips %V: down", pc->name);

        tries = pc->tries;
        pc->free(pc, pc->data, 0);
        pc->tries = tries;
    }

    return NGX_DECLINED;
}


void
ngx_smtp_pass_alive(ngx_smtp_pass_t *ps)
{
    ngx_stream_upstream_t  *u;

    if (!ps->picked || ps->addrs || ps->eval == NULL) {
        return;
    }

    u = ps->eval->upstream;

    if (u->state->connect_time == (ngx_msec_t) -1) {
        u->state->connect_time = ngx_current_msec - u->start_time;
    }

    u->state->peer = &ps->name;

    if (u->peer.notify) {
        u->peer.connection = ps->conn->peer->connection;
        u->peer.notify(&u->peer, u->peer.data,
                       NGX_STREAM_UPSTREAM_NOTIFY_CONNECT);
        u->peer.connection = NULL;
    }
}


void
ngx_smtp_pass_unpick(ngx_smtp_pass_t *ps, ngx_uint_t state)
{
    ngx_stream_upstream_t        *u;
    ngx_stream_upstream_state_t  *us;

    if (!ps->picked) {
        return;
    }

    ps->picked = 0;

    if (ps->addrs || ps->eval == NULL) {
        return;
    }

    u = ps->eval->upstream;
    us = u->state;

    /* balancers by time read them */

    us->response_time = ngx_current_msec - u->start_time;

    if (us->connect_time == (ngx_msec_t) -1) {
        us->connect_time = us->response_time;
    }

    if (us->first_byte_time == (ngx_msec_t) -1) {
        us->first_byte_time = us->response_time;
    }

    u->peer.free(&u->peer, u->peer.data, state);
    u->peer.sockaddr = NULL;
}


void
ngx_smtp_pass_lost(ngx_smtp_pass_t *ps, ngx_uint_t stage, ngx_uint_t timedout)
{
    ngx_uint_t  why, peers;

    /* a 421 is the peer's word, what the engine says of it is ours */

    peers = !ps->verdict.local;

    if (ps->goal == NGX_SMTP_PASS_IDLE) {

        /* it had nothing to do: no failure, and told when it matters */

        if (ps->again) {
            ngx_smtp_pass_unpick(ps, 0);
        }

        ps->again = 1;
        return;
    }

    if (stage == NGX_SMTP_CLIENT_ST_EOM
        || (stage == NGX_SMTP_CLIENT_ST_DATA && peers))
    {
        ngx_smtp_pass_unpick(ps, peers ? 0 : NGX_PEER_FAILED);

        if (peers) {
            ngx_smtp_pass_decided(ps);
            return;
        }

        /* RFC 1047: it may have the message, so nobody else gets it */

        ngx_smtp_pass_answer_reply(ps, NGX_SMTP_REPLY_UPSTREAM_LOST);
        return;
    }

    if (stage < NGX_SMTP_CLIENT_ST_READY) {
        why = NGX_SMTP_PASS_ERROR;

        if (timedout) {
            why |= NGX_SMTP_PASS_TIMEOUT;
        }

        ps->verdict.local = 1;

    } else if (peers) {
        why = NGX_SMTP_PASS_421|NGX_SMTP_PASS_4XX;

    } else {
        why = timedout ? NGX_SMTP_PASS_TIMEOUT : NGX_SMTP_PASS_ERROR;
    }

    ngx_smtp_pass_failed(ps, why, 1);
}


void
ngx_smtp_pass_failed(ngx_smtp_pass_t *ps, ngx_uint_t why, ngx_uint_t failed)
{
    ngx_smtp_pass_conf_t  *conf;

    conf = ps->conf;

    ngx_smtp_pass_unpick(ps, failed ? NGX_PEER_FAILED : 0);

    if (ps->timer.timer_set) {
        ngx_del_timer(&ps->timer);
    }

    if (ngx_smtp_pass_kept(ps) && (conf->next & why)
        && (conf->next_timeout == 0
            || ngx_current_msec - ps->started < conf->next_timeout)
        && ngx_smtp_pass_pick(ps) == NGX_OK)
    {
        ngx_smtp_pass_connect(ps, 0);
        return;
    }

    ngx_smtp_pass_give_up(ps, why);
}


void
ngx_smtp_pass_give_up(ngx_smtp_pass_t *ps, ngx_uint_t why)
{
    if (ps->naccepted) {

        /* promised: what the failure was is no matter */

        why = NGX_SMTP_PASS_ERROR|NGX_SMTP_PASS_TIMEOUT;
    }

    if (ngx_smtp_pass_may_spool(ps, why)) {
        ngx_smtp_pass_spool(ps);
        return;
    }

    if (ps->goal == NGX_SMTP_PASS_RCPT && ps->naccepted == 0
        && !ps->verdict.local && ps->verdict.code >= 400)
    {
        ps->mail_refused = (ps->verdict.stage == NGX_SMTP_CLIENT_ST_MAIL);

        /* of the next recipient they may think differently */

        ps->eval = NULL;
        ps->addr = 0;

        ngx_smtp_pass_answer_verdict(ps);
        return;
    }

    ps->doomed = 1;

    ngx_smtp_pass_answer_reply(ps, ps->goal == NGX_SMTP_PASS_RCPT
                                   && ps->naccepted == 0
                                   ? NGX_SMTP_REPLY_NO_UPSTREAM
                                   : NGX_SMTP_REPLY_UPSTREAM_LOST);
}


ngx_uint_t
ngx_smtp_pass_may_spool(ngx_smtp_pass_t *ps, ngx_uint_t why)
{
    return ps->conf->queue && (ps->conf->fallback & why)
           && ngx_smtp_pass_kept(ps);
}


/*
 * From here on the transaction is the spool's, as if the server had driven its
 * sink from the start.
 */

void
ngx_smtp_pass_spool(ngx_smtp_pass_t *ps)
{
    ngx_int_t                rc;
    ngx_uint_t               goal;
    ngx_smtp_transaction_t  *txn;

    txn = ps->txn;
    goal = ps->goal;

    if (ps->timer.timer_set) {
        ngx_del_timer(&ps->timer);
    }

    if (ngx_smtp_pass_writing(ps)) {
        ps->spooling = 1;
        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, txn->log, 0,
                  "transaction %V goes to queue \"%V\" instead of upstream "
                  "\"%V\"", &txn->id, &ps->conf->queue->name,
                  &ps->conf->target);

    if (ps->started) {
        txn->passed.time = ngx_current_msec - ps->started;
    }

    txn->reply.code = 0;
    txn->sink = &ngx_smtp_enqueue_sink;
    txn->sink_conf = ps->conf->queue;

    rc = txn->sink->open(txn);

    if (rc != NGX_OK) {

        /* a full disk, mostly: its reply is the answer */

        txn->sink = &ngx_smtp_pass_sink;
        txn->sink_conf = ps->conf;
        txn->sink_ctx = ps;

        ps->doomed = 1;

        ngx_smtp_pass_answer(ps, rc);
        return;
    }

    if (goal == NGX_SMTP_PASS_RCPT) {
        rc = txn->sink->rcpt(txn, (ngx_smtp_rcpt_t *)
                                  txn->envelope.rcpts.elts
                                  + txn->envelope.rcpts.nelts - 1);

    } else {

        /* a large one is written to a file first, and then committed */

        rc = txn->sink->body(txn);

        if (rc == NGX_OK && goal == NGX_SMTP_PASS_COMMIT) {
            rc = txn->sink->commit(txn);
        }
    }

    if (rc != NGX_AGAIN) {
        ngx_smtp_pass_answer(ps, rc);
    }
}
