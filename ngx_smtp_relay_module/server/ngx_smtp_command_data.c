
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * DATA and BDAT: the content of a message comes in, is decoded straight into
 * the blocks of the transaction, scanned for what the header tells, and handed
 * to the sink.  A message that is refused on the way is read to its end and
 * dropped, so that its reply comes where the client expects it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_trace.h"
#include "ngx_smtp_zone.h"
#include "ngx_smtp_check.h"
#include "ngx_smtp_session.h"


/* how much more than a message may have is read of a refused one */
#define NGX_SMTP_MAX_DROPPED  (64 * 1024 * 1024)

/* octets without the end of a header, until it is taken for complete */
#define NGX_SMTP_SESSION_HEADER  (256 * 1024)


static ngx_smtp_receive_t *ngx_smtp_session_receive(ngx_smtp_session_t *s);
static ngx_int_t ngx_smtp_session_drop(ngx_smtp_session_t *s, u_char **pos,
    u_char *last);
static ngx_uint_t ngx_smtp_session_dropped(ngx_smtp_session_t *s, off_t n,
    ngx_uint_t id);
static ngx_int_t ngx_smtp_session_decode(ngx_smtp_session_t *s, u_char **pos,
    u_char *last);
static ngx_int_t ngx_smtp_session_body(ngx_smtp_session_t *s);
static ngx_int_t ngx_smtp_session_refuse(ngx_smtp_session_t *s,
    ngx_uint_t id);
static ngx_int_t ngx_smtp_session_ended(ngx_smtp_session_t *s);
static ngx_int_t ngx_smtp_session_chunk_ended(ngx_smtp_session_t *s);
static ngx_int_t ngx_smtp_session_message(ngx_smtp_session_t *s);
static ngx_int_t ngx_smtp_session_message_done(ngx_smtp_session_t *s,
    ngx_int_t rc);
static void ngx_smtp_session_count(ngx_smtp_transaction_t *txn);
static ngx_int_t ngx_smtp_session_fields(ngx_smtp_session_t *s);


ngx_int_t
ngx_smtp_command_data(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    if (ngx_smtp_session_receive(s) == NULL) {
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_INTERNAL, NULL);
        return NGX_OK;
    }

    s->state = NGX_SMTP_STATE_DATA;
    s->dropped = 0;
    s->connection->log->action = "reading SMTP message";

    ngx_smtp_session_reply(s, NGX_SMTP_REPLY_DATA_GO, NULL);

    return NGX_OK;
}


ngx_int_t
ngx_smtp_command_bdat(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    off_t                 size;
    ngx_int_t             rc;
    ngx_uint_t            last;
    ngx_smtp_receive_t   *r;

    rc = ngx_smtp_bdat_parse(&cmd->arg, &size, &last);

    if (rc != NGX_OK) {

        /* where the next command begins is anybody's guess */

        ngx_smtp_session_reply(s, rc, NULL);
        s->quit = 1;
        return NGX_OK;
    }

    s->state = NGX_SMTP_STATE_CHUNK;
    s->dropped = 0;
    s->connection->log->action = "reading SMTP message";

    if (s->chunk_reply == NGX_OK) {
        r = ngx_smtp_session_receive(s);

        if (r) {
            r->last = last;
            r->chunk = size;
            ngx_smtp_chunk_begin(&r->decoder, size);
            return NGX_OK;
        }

        s->chunk_reply = NGX_SMTP_REPLY_INTERNAL;
        ngx_smtp_rules_bdat_failed(&s->rules);
    }

    s->chunk_drop = size;

    return NGX_OK;
}


static ngx_smtp_receive_t *
ngx_smtp_session_receive(ngx_smtp_session_t *s)
{
    ngx_smtp_receive_t  *r;

    if (s->receive) {
        return s->receive;
    }

    r = ngx_pcalloc(s->txn->pool, sizeof(ngx_smtp_receive_t));
    if (r == NULL) {
        return NULL;
    }

    r->started = ngx_current_msec;
    s->txn->reply.code = 0;

    ngx_smtp_data_decoder_init(&r->decoder,
                               s->conf->bare_newline
                               == NGX_SMTP_BARE_NORMALIZE
                               ? NGX_SMTP_NEWLINE_NORMALIZE
                               : NGX_SMTP_NEWLINE_REJECT);

    ngx_smtp_header_init(&r->header, 0, 0);

    s->receive = r;

    return r;
}


ngx_int_t
ngx_smtp_session_data(ngx_smtp_session_t *s, u_char **pos, u_char *last)
{
    u_char              *start;
    ngx_int_t            rc;
    ngx_smtp_receive_t  *r;

    if (s->state == NGX_SMTP_STATE_CHUNK && s->chunk_reply != NGX_OK) {
        return ngx_smtp_session_drop(s, pos, last);
    }

    r = s->receive;

    while (!r->ended) {

        start = *pos;

        rc = ngx_smtp_session_decode(s, pos, last);

        r->received += *pos - start;

        if (r->refused != NGX_SMTP_REPLY_NONE && rc != NGX_DONE
            && ngx_smtp_session_dropped(s, *pos - start, r->refused))
        {
            return NGX_OK;
        }

        if (rc == NGX_DONE) {
            r->ended = 1;
        }

        if (ngx_smtp_session_body(s) == NGX_AGAIN) {
            return NGX_AGAIN;
        }

        if (rc == NGX_AGAIN) {
            return NGX_AGAIN;
        }
    }

    return ngx_smtp_session_ended(s);
}


ngx_uint_t
ngx_smtp_session_too_slow(ngx_smtp_session_t *s, size_t n)
{
    ngx_msec_t            spent;
    ngx_smtp_receive_t   *r;
    ngx_smtp_srv_conf_t  *conf;

    r = s->receive;
    conf = s->conf;

    if (r == NULL
        || conf->min_data_rate == 0
        || (s->state != NGX_SMTP_STATE_DATA
            && s->state != NGX_SMTP_STATE_CHUNK))
    {
        return 0;
    }

    spent = ngx_current_msec - r->started - r->paused;

    if (spent <= conf->data_timeout
        || (r->received + (off_t) n) / (off_t) (spent / 1000 + 1)
           >= (off_t) conf->min_data_rate)
    {
        return 0;
    }

    ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                  "client sent %O bytes of data in %M ms: "
                  "slower than \"smtp_min_data_rate\"", r->received, spent);

    return 1;
}


/* The octets of a BDAT that was refused come all the same. */

static ngx_int_t
ngx_smtp_session_drop(ngx_smtp_session_t *s, u_char **pos, u_char *last)
{
    size_t  n;

    n = last - *pos;

    if ((off_t) n > s->chunk_drop) {
        n = s->chunk_drop;
    }

    *pos += n;
    s->chunk_drop -= n;

    if (s->chunk_drop) {
        return ngx_smtp_session_dropped(s, n, s->chunk_reply) ? NGX_OK
                                                              : NGX_AGAIN;
    }

    s->state = NGX_SMTP_STATE_COMMAND;
    ngx_smtp_session_reply(s, s->chunk_reply, NULL);

    s->timed = 0;

    return NGX_OK;
}


/*
 * Octets of a refused message or chunk went by.  1: more of them than we are
 * ready to read, the session is over.
 */

static ngx_uint_t
ngx_smtp_session_dropped(ngx_smtp_session_t *s, off_t n, ngx_uint_t id)
{
    s->dropped += n;

    if (s->dropped - NGX_SMTP_MAX_DROPPED
        <= s->conf->max_message_size)
    {
        return 0;
    }

    ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                  "session ended: client goes on with a refused message, "
                  "%O bytes were dropped", s->dropped);

    if (s->txn) {
        s->txn->reply.id = id;
        s->txn->refused = 1;
    }

    ngx_smtp_session_reply(s, id, NULL);

    s->state = NGX_SMTP_STATE_COMMAND;
    s->quit = 1;

    return 1;
}


/*
 * One step: fills the last block of the content.  NGX_AGAIN: all input was
 * used; NGX_DONE: the end of data, or of the chunk; NGX_OK: more to do.
 */

static ngx_int_t
ngx_smtp_session_decode(ngx_smtp_session_t *s, u_char **pos, u_char *last)
{
    u_char               *out, **to, *start, *end;
    ngx_int_t             rc;
    ngx_smtp_receive_t   *r;
    ngx_smtp_content_t   *content;
    ngx_smtp_srv_conf_t  *conf;

    r = s->receive;
    content = &s->txn->content;
    start = NULL;
    end = NULL;

    if (r->refused == NGX_SMTP_REPLY_NONE) {
        start = ngx_smtp_content_reserve(content, &end, s->txn->log);

        if (start == NULL) {
            ngx_smtp_session_refuse(s, NGX_SMTP_REPLY_INTERNAL);
        }
    }

    out = start;
    to = start ? &out : NULL;

    if (s->state == NGX_SMTP_STATE_DATA) {
        rc = ngx_smtp_data_decode(&r->decoder, pos, last, to, end);

    } else {
        rc = ngx_smtp_chunk_decode(&r->decoder, pos, last, to, end);

        if (rc == NGX_DONE && r->last) {
            rc = ngx_smtp_chunk_finish(&r->decoder, to, end);
        }
    }

    if (start) {
        if (!r->header.done) {
            (void) ngx_smtp_header_scan(&r->header, start, out - start);
        }

        ngx_smtp_content_commit(content, out);

        /*
         * a sink that sends the message on while it comes needs them now, also
         * above a header that does not end
         */

        if (s->txn->fields.len == 0
            && (r->header.done || content->size > NGX_SMTP_SESSION_HEADER)
            && ngx_smtp_session_fields(s) != NGX_OK)
        {
            ngx_smtp_session_refuse(s, NGX_SMTP_REPLY_INTERNAL);
        }

        conf = s->conf;

        if (conf->max_message_size && content->size > conf->max_message_size) {
            ngx_smtp_session_refuse(s, NGX_SMTP_REPLY_TOO_LARGE);
        }
    }

    return (rc == NGX_SMTP_DATA_FULL) ? NGX_OK : rc;
}


/* Shows the sink what came. */

static ngx_int_t
ngx_smtp_session_body(ngx_smtp_session_t *s)
{
    ngx_int_t                rc;
    ngx_smtp_receive_t      *r;
    ngx_smtp_transaction_t  *txn;

    r = s->receive;
    txn = s->txn;

    if (r->refused != NGX_SMTP_REPLY_NONE) {
        return NGX_OK;
    }

    rc = txn->sink->body(txn);

    if (rc == NGX_AGAIN) {
        s->awaited = NGX_SMTP_VERB_DATA;
        s->waiting = 1;
        r->pause_started = ngx_current_msec;
        return NGX_AGAIN;
    }

    if (rc == NGX_ERROR) {
        ngx_smtp_session_refuse(s, txn->reply.id);
    }

    return NGX_OK;
}


/* txn->reply.code is 0, or the sink's reply is a peer's: then that counts */

static ngx_int_t
ngx_smtp_session_refuse(ngx_smtp_session_t *s, ngx_uint_t id)
{
    s->receive->refused = id;
    s->txn->reply.id = id;

    ngx_smtp_block_free(ngx_smtp_content_take(&s->txn->content));

    return NGX_OK;
}


ngx_int_t
ngx_smtp_session_data_answered(ngx_smtp_session_t *s)
{
    ngx_smtp_receive_t      *r;
    ngx_smtp_transaction_t  *txn;

    r = s->receive;
    txn = s->txn;

    if (txn->committing) {
        return ngx_smtp_session_message_done(s, txn->rc);
    }

    /* the body was awaited; the time was not the client's */

    r->paused += ngx_current_msec - r->pause_started;

    if (txn->rc == NGX_ERROR) {
        return ngx_smtp_session_refuse(s, txn->reply.id);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_session_ended(ngx_smtp_session_t *s)
{
    s->timed = 0;

    if (s->state == NGX_SMTP_STATE_CHUNK && !s->receive->last) {
        return ngx_smtp_session_chunk_ended(s);
    }

    s->state = NGX_SMTP_STATE_COMMAND;

    return ngx_smtp_session_message(s);
}


static ngx_int_t
ngx_smtp_session_chunk_ended(ngx_smtp_session_t *s)
{
    ngx_str_t            text;
    ngx_smtp_receive_t  *r;
    u_char               buf[NGX_OFF_T_LEN + sizeof(" octets")];

    r = s->receive;
    r->ended = 0;

    /* a chunk in one piece with its command was read before it was one */

    if (r->refused == NGX_SMTP_REPLY_NONE && ngx_smtp_session_too_slow(s, 0)) {
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_TOO_SLOW, NULL);
        s->quit = 1;
        return NGX_OK;
    }

    s->state = NGX_SMTP_STATE_COMMAND;

    if (r->refused != NGX_SMTP_REPLY_NONE) {
        s->txn->refused = 1;

        ngx_smtp_session_reply_answer(s, &s->txn->reply);
        ngx_smtp_rules_bdat_failed(&s->rules);
        return NGX_OK;
    }

    text.data = buf;
    text.len = ngx_sprintf(buf, "%O octets", r->chunk) - buf;

    ngx_smtp_session_reply(s, NGX_SMTP_REPLY_BDAT_OK, &text);
    ngx_smtp_rules_accept(&s->rules, NGX_SMTP_VERB_BDAT);

    return NGX_OK;
}


/* All of the message is in. */

static ngx_int_t
ngx_smtp_session_message(ngx_smtp_session_t *s)
{
    ngx_int_t                rc;
    ngx_smtp_receive_t      *r;
    ngx_smtp_transaction_t  *txn;

    r = s->receive;
    txn = s->txn;

    if (!r->header.done) {
        (void) ngx_smtp_header_end(&r->header);
    }

    if (r->refused != NGX_SMTP_REPLY_NONE) {
        return ngx_smtp_session_message_done(s, NGX_ERROR);
    }

    if (ngx_smtp_check_run(s, NGX_SMTP_STAGE_MESSAGE, NULL, &txn->reply)
        != NGX_OK)
    {
        return ngx_smtp_session_message_done(s, NGX_ERROR);
    }

    if (txn->fields.len == 0 && ngx_smtp_session_fields(s) != NGX_OK) {
        txn->reply.id = NGX_SMTP_REPLY_INTERNAL;
        return ngx_smtp_session_message_done(s, NGX_ERROR);
    }

    txn->committing = 1;

    rc = txn->sink->commit(txn);

    if (rc == NGX_AGAIN) {
        s->awaited = NGX_SMTP_VERB_DATA;
        s->waiting = 1;
        s->connection->log->action = "storing SMTP message";
        return NGX_AGAIN;
    }

    return ngx_smtp_session_message_done(s, rc);
}


/* One reply for the whole message, and the end of the transaction. */

static ngx_int_t
ngx_smtp_session_message_done(ngx_smtp_session_t *s, ngx_int_t rc)
{
    ngx_smtp_transaction_t  *txn;

    txn = s->txn;

    ngx_smtp_session_reply_answer(s, &txn->reply);
    ngx_smtp_rules_reset(&s->rules);

    txn->accepted = (rc == NGX_OK);
    txn->refused = !txn->accepted;

    if (rc == NGX_OK) {
        s->idle_commands = 0;
    }

    ngx_smtp_session_count(txn);

    if (!txn->committing) {
        ngx_smtp_session_end_transaction(s);
        return NGX_OK;
    }

    /* the sink has answered and has no more to do with it */

    s->txn = NULL;
    s->receive = NULL;

    ngx_smtp_session_log_transaction(s, txn);

    ngx_smtp_transaction_free(txn);

    return NGX_OK;
}


static void
ngx_smtp_session_count(ngx_smtp_transaction_t *txn)
{
    ngx_smtp_count_message(txn->reply.code
                           ? txn->reply.code
                           : ngx_smtp_reply_get(txn->reply.id)->code,
                           txn->content.size);
}


void
ngx_smtp_session_end_transaction(ngx_smtp_session_t *s)
{
    ngx_smtp_transaction_t  *txn;

    txn = s->txn;

    if (txn == NULL) {
        return;
    }

    s->txn = NULL;
    s->receive = NULL;
    s->verifying = 0;

    if (txn->committing && !s->answered) {

        /* its fate is the sink's: it writes the log line too */

        txn->aborted = 1;
        txn->handler = NULL;
        txn->sink->abort(txn);
        return;
    }

    if (txn->committing) {

        /* the answer came, but the client did not wait for it */

        txn->accepted = (txn->rc == NGX_OK);
        txn->refused = !txn->accepted;

        ngx_smtp_session_count(txn);
    }

    ngx_smtp_session_log_transaction(s, txn);

    if (txn->committing) {
        ngx_smtp_transaction_free(txn);
        return;
    }

    txn->aborted = 1;
    txn->sink->abort(txn);
}


void
ngx_smtp_session_log_transaction(ngx_smtp_session_t *s,
    ngx_smtp_transaction_t *txn)
{
    size_t              len;
    ngx_smtp_passed_t  *passed;

    if (txn->log_handler) {
        txn->log_handler(txn);
    }

    if (txn->passed.tries == 0) {
        return;
    }

    /* for variables of the session, in one piece of memory */

    passed = s->passed;

    if (passed == NULL) {
        passed = ngx_palloc(s->connection->pool, sizeof(ngx_smtp_passed_t)
                                                 + NGX_SOCKADDR_STRLEN);
        if (passed == NULL) {
            return;
        }

        s->passed = passed;
    }

    *passed = txn->passed;

    len = ngx_min(txn->passed.addr.len, NGX_SOCKADDR_STRLEN);

    passed->addr.data = (u_char *) (passed + 1);
    passed->addr.len = len;
    ngx_memcpy(passed->addr.data, txn->passed.addr.data, len);
}


/*
 * The fields above the message: Received (RFC 5321 section 4.4), and for a
 * submission Date and Message-ID, if it has none (RFC 6409 section 8).
 */

static ngx_int_t
ngx_smtp_session_fields(ngx_smtp_session_t *s)
{
    u_char                  *p;
    ngx_smtp_trace_t         t;
    ngx_smtp_rcpt_t         *rcpt;
    ngx_smtp_origin_t       *o;
    ngx_smtp_transaction_t  *txn;

    txn = s->txn;
    o = &txn->origin;

    p = ngx_pnalloc(txn->pool, NGX_SMTP_RECEIVED_MAX + NGX_SMTP_DATE_FIELD_MAX
                               + NGX_SMTP_MESSAGE_ID_MAX);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&t, sizeof(ngx_smtp_trace_t));

    t.helo = o->helo;
    t.ptr = o->name;
    t.addr = o->addr;
    t.hostname = o->hostname;
    t.id = txn->id;
    t.tls_version = o->tls_protocol;
    t.tls_cipher = o->tls_cipher;
    t.time = ngx_time();
    t.gmtoff = ngx_cached_time->gmtoff;
    t.esmtp = o->esmtp;
    t.tls = (o->tls_protocol.len != 0);
    t.auth = (o->login.len != 0);
    t.smtputf8 = txn->envelope.smtputf8;

    if (txn->envelope.rcpts.nelts == 1) {
        rcpt = txn->envelope.rcpts.elts;
        t.rcpt = rcpt->mailbox;
    }

    txn->fields.data = p;

    p = ngx_smtp_trace_received(p, &t);

    if (s->conf->auth) {

        if (!s->receive->header.date) {
            p = ngx_smtp_trace_date_field(p, t.time, t.gmtoff);
        }

        if (!s->receive->header.message_id) {
            p = ngx_smtp_trace_message_id(p, &txn->id, &o->hostname);
        }
    }

    txn->fields.len = p - txn->fields.data;

    return NGX_OK;
}
