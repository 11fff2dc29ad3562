
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The life of an SMTP session: it starts, is woken up by its connection, by an
 * answer or when it has its turn, goes back to wait, and ends.  Input, output
 * and commands are in files of their own, see ngx_smtp_session_private.h.
 *
 *   greet, events ---> run: output that was kept, the answer awaited
 *                       |
 *                      serve: process input, flush, read more, ...
 *                       |
 *                       +---> finalize      after QUIT, or something broke
 *                       +---> starttls      after 220: nginx, and again run
 *                       '---> wait          for the next event
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_core.h"
#include "ngx_smtp_drain.h"
#include "ngx_smtp_zone.h"
#include "ngx_smtp_session_private.h"


/* reads before other connections get their turn */
#define NGX_SMTP_READS        16


static ngx_smtp_session_t *ngx_smtp_session_create(ngx_stream_session_t *st);
static ngx_int_t ngx_smtp_session_preread(ngx_smtp_session_t *s);
static void ngx_smtp_session_configure(ngx_smtp_session_t *s);
static void ngx_smtp_session_greet(ngx_smtp_session_t *s);
static void ngx_smtp_session_read(ngx_event_t *rev);
static void ngx_smtp_session_write(ngx_event_t *wev);
static void ngx_smtp_session_closing(ngx_smtp_session_t *s);
static void ngx_smtp_session_run(ngx_smtp_session_t *s);
static ngx_int_t ngx_smtp_session_serve(ngx_smtp_session_t *s);
static ngx_int_t ngx_smtp_session_read_more(ngx_smtp_session_t *s);
static void ngx_smtp_session_turn(void *data);
static void ngx_smtp_session_answer_awaited(ngx_smtp_session_t *s);
static void ngx_smtp_session_wait(ngx_smtp_session_t *s);
static void ngx_smtp_session_set_timer(ngx_smtp_session_t *s);
static ngx_uint_t ngx_smtp_session_overdue(ngx_smtp_session_t *s);
static void ngx_smtp_session_starttls(ngx_smtp_session_t *s);
static void ngx_smtp_session_abandon(ngx_smtp_session_t *s, ngx_uint_t id);
static void ngx_smtp_session_cleanup(void *data);
static void ngx_smtp_session_finalize(ngx_smtp_session_t *s, ngx_uint_t rc);


void
ngx_smtp_server_handler(ngx_stream_session_t *st)
{
    ngx_connection_t    *c;
    ngx_smtp_session_t  *s;

    c = st->connection;
    s = ngx_smtp_session_get(st);

    ngx_log_debug1(NGX_LOG_DEBUG_STREAM, c->log, 0,
                   "smtp server handler, session:%p", s);

    c->read->handler = ngx_smtp_session_read;
    c->write->handler = ngx_smtp_session_write;

    if (s && s->starttls) {

        /* nginx did the handshake: RFC 3207 section 4.2 */

        s->starttls = 0;
        ngx_smtp_rules_accept(&s->rules, NGX_SMTP_VERB_STARTTLS);
        s->helo.len = 0;
        s->account = NULL;
        s->snapshot = NULL;

        /* what a filter said of the client was not said by the client */

        ngx_smtp_identity_settle(s);

        /* by its SNI the client may be with another server{} now */

        ngx_smtp_session_configure(s);

        if (ngx_smtp_session_preread(s) != NGX_OK) {
            ngx_smtp_session_finalize(s, NGX_STREAM_INTERNAL_SERVER_ERROR);
            return;
        }

        ngx_smtp_session_run(s);
        return;
    }

    s = ngx_smtp_session_create(st);
    if (s == NULL) {
        ngx_stream_finalize_session(st, NGX_STREAM_INTERNAL_SERVER_ERROR);
        return;
    }

    if (ngx_smtp_session_preread(s) != NGX_OK) {
        ngx_smtp_session_finalize(s, NGX_STREAM_INTERNAL_SERVER_ERROR);
        return;
    }

    ngx_smtp_session_greet(s);
}


/*
 * What modules of the preread phase have read before us; after STARTTLS they
 * were called again, and read what came encrypted.
 */

static ngx_int_t
ngx_smtp_session_preread(ngx_smtp_session_t *s)
{
    ngx_int_t   rc;
    ngx_buf_t  *b;

    b = s->connection->buffer;

    if (b == NULL || b->pos == b->last) {
        return NGX_OK;
    }

    rc = ngx_smtp_session_input_add(s, b->pos, b->last);

    /* all of the buffer is theirs once more */

    b->pos = b->start;
    b->last = b->start;

    return rc;
}


ngx_smtp_session_t *
ngx_smtp_session_get(ngx_stream_session_t *st)
{
    return ngx_stream_get_module_ctx(st, ngx_smtp_relay_module);
}


static ngx_smtp_session_t *
ngx_smtp_session_create(ngx_stream_session_t *st)
{
    ngx_connection_t    *c;
    ngx_pool_cleanup_t  *cln;
    ngx_smtp_session_t  *s;

    if (ngx_smtp_session_input_init() != NGX_OK
        || ngx_smtp_session_output_init() != NGX_OK)
    {
        return NULL;
    }

    c = st->connection;

    s = ngx_pcalloc(c->pool, sizeof(ngx_smtp_session_t));
    cln = ngx_pool_cleanup_add(c->pool, 0);

    if (s == NULL || cln == NULL) {
        return NULL;
    }

    /* nginx may end it as well: a handshake that fails */

    cln->handler = ngx_smtp_session_cleanup;

    ngx_smtp_gauge_inc(NGX_SMTP_GAUGE_SESSIONS);

    s->stream = st;
    s->connection = c;
    s->turn.handler = ngx_smtp_session_turn;
    s->turn.data = s;

    ngx_stream_set_ctx(st, s, ngx_smtp_relay_module);

    s->addr = c->addr_text;

    if (c->sockaddr->sa_family == AF_UNIX) {
        ngx_str_set(&s->addr, "unix");

    } else {
        s->port = ngx_inet_get_port(c->sockaddr);
    }

    ngx_smtp_session_configure(s);

    return s;
}


static void
ngx_smtp_session_cleanup(void *data)
{
    ngx_smtp_gauge_dec(NGX_SMTP_GAUGE_SESSIONS);
}


/* What the server{} block says, and the handshake, if there was one. */

static void
ngx_smtp_session_configure(ngx_smtp_session_t *s)
{
    ngx_connection_t     *c;
    ngx_smtp_srv_conf_t  *conf;

    c = s->connection;

    conf = ngx_stream_get_module_srv_conf(s->stream, ngx_smtp_relay_module);

    s->conf = conf;

    s->rules.offer_starttls = (conf->starttls != NGX_SMTP_STARTTLS_OFF);
    s->rules.need_starttls = (conf->starttls == NGX_SMTP_STARTTLS_REQUIRED);
    s->rules.offer_auth = (conf->auth != 0);
    s->rules.plaintext_auth = (conf->auth_plaintext == 1);
    s->rules.offer_xclient = ngx_smtp_identity_trusted(s);
    s->rules.tls = (c->ssl != NULL);

    ngx_smtp_line_init(&s->line, conf->max_line_size,
                       conf->bare_newline == NGX_SMTP_BARE_NORMALIZE
                       ? NGX_SMTP_NEWLINE_NORMALIZE
                       : NGX_SMTP_NEWLINE_REJECT);

#if (NGX_STREAM_SSL)

    /* what was not sent is tried again from another buffer */

    if (c->ssl) {
        (void) SSL_set_mode(c->ssl->connection,
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);

        /* nobody waits for its farewell, which could be more commands */

        c->ssl->no_wait_shutdown = 1;
    }

#endif
}


static void
ngx_smtp_session_greet(ngx_smtp_session_t *s)
{
    u_char               *p;
    ngx_str_t             text;
    ngx_smtp_srv_conf_t  *conf;
    u_char                buf[NGX_SMTP_REPLY_LINE_MAX];

    conf = s->conf;

    ngx_smtp_count(NGX_SMTP_COUNT_SESSIONS);

    /* the rest is for the connections of mail already here */

    if (ngx_cycle->free_connection_n < ngx_cycle->connection_n / 8) {
        ngx_log_error(NGX_LOG_WARN, s->connection->log, 0,
                      "session refused: less than an eighth of "
                      "worker_connections is free");
        ngx_smtp_session_abandon(s, NGX_SMTP_REPLY_BUSY);
        return;
    }

    if (ngx_smtp_draining()) {
        ngx_smtp_session_abandon(s, NGX_SMTP_REPLY_DRAINING);
        return;
    }

    p = ngx_slprintf(buf, buf + sizeof(buf), "%V ESMTP", &conf->hostname);

    text.data = buf;
    text.len = p - buf;

    ngx_smtp_session_reply(s, NGX_SMTP_REPLY_GREETING, &text);

    ngx_smtp_session_run(s);
}


static void
ngx_smtp_session_read(ngx_event_t *rev)
{
    ngx_connection_t      *c;
    ngx_smtp_session_t    *s;
    ngx_stream_session_t  *st;

    c = rev->data;
    st = c->data;
    s = ngx_smtp_session_get(st);

    ngx_log_debug2(NGX_LOG_DEBUG_STREAM, c->log, 0,
                   "smtp session read, close:%d timedout:%d",
                   c->close, rev->timedout);

    if (c->close) {
        ngx_smtp_session_closing(s);
        return;
    }

    if (rev->timedout) {
        rev->timedout = 0;

        if (!ngx_smtp_session_overdue(s)) {
            return;
        }

        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client timed out");

        ngx_smtp_session_abandon(s, NGX_SMTP_REPLY_TIMEOUT);
        return;
    }

    ngx_smtp_session_run(s);
}


static void
ngx_smtp_session_write(ngx_event_t *wev)
{
    ngx_connection_t      *c;
    ngx_smtp_session_t    *s;
    ngx_stream_session_t  *st;

    c = wev->data;
    st = c->data;
    s = ngx_smtp_session_get(st);

    if (wev->timedout) {
        wev->timedout = 0;

        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client takes no replies");

        ngx_smtp_session_finalize(s, NGX_STREAM_OK);
        return;
    }

    if (s->output.kept == NULL) {
        if (ngx_handle_write_event(wev, 0) != NGX_OK) {
            ngx_smtp_session_finalize(s, NGX_STREAM_INTERNAL_SERVER_ERROR);
        }

        return;
    }

    ngx_smtp_session_run(s);
}


/*
 * The worker is leaving, and this session is idle; or the time it had for
 * leaving is over (c->error).  What the client already sent is served first.
 */

static void
ngx_smtp_session_closing(ngx_smtp_session_t *s)
{
    ngx_connection_t  *c;

    c = s->connection;

    if (c->error || s->waiting || s->output.kept) {
        c->error = 0;
        ngx_smtp_session_abandon(s, NGX_SMTP_REPLY_SHUTDOWN);
        return;
    }

    c->close = 0;
    c->read->ready = 1;

    ngx_smtp_session_run(s);
}


static void
ngx_smtp_session_run(ngx_smtp_session_t *s)
{
    ngx_int_t  rc;

    s->connection->idle = 0;

    ngx_smtp_turn_cancel(&s->turn);

    rc = ngx_smtp_session_flush(s);

    if (rc == NGX_OK && s->answered) {
        ngx_smtp_session_answer_awaited(s);
    }

    if (rc == NGX_OK && !s->waiting) {
        rc = ngx_smtp_session_serve(s);
    }

    if (rc == NGX_ERROR || (s->quit && s->output.kept == NULL)) {
        ngx_smtp_session_finalize(s, NGX_STREAM_OK);
        return;
    }

    if (s->starttls && s->output.kept == NULL) {
        ngx_smtp_session_starttls(s);
        return;
    }

    ngx_smtp_session_wait(s);
}


/* NGX_OK: there is something to wait for, or the end; NGX_ERROR. */

static ngx_int_t
ngx_smtp_session_serve(ngx_smtp_session_t *s)
{
    ngx_int_t     rc;
    ngx_uint_t    n;
    ngx_event_t  *rev;

    rev = s->connection->read;

    for (n = 0; /* void */ ; n++) {

        rc = ngx_smtp_session_process(s);

        if (rc == NGX_ERROR || ngx_smtp_session_flush(s) == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (s->quit || s->starttls || s->waiting || s->output.kept) {
            return NGX_OK;
        }

        if (rc == NGX_AGAIN && !rev->ready) {
            return NGX_OK;
        }

        if (n == NGX_SMTP_READS || ngx_smtp_turn_over()) {
            ngx_smtp_turn_wait(&s->turn);
            return NGX_OK;
        }

        if (rc == NGX_BUSY) {

            /* the socket was full for a moment: go on with what is here */

            continue;
        }

        rc = ngx_smtp_session_read_more(s);

        if (rc != NGX_OK) {
            return (rc == NGX_AGAIN) ? NGX_OK : NGX_ERROR;
        }
    }
}


static ngx_int_t
ngx_smtp_session_read_more(ngx_smtp_session_t *s)
{
    ssize_t  n;

    n = ngx_smtp_session_input_read(s);

    if (n < 0) {
        return n;
    }

    s->stream->received += n;

    ngx_smtp_turn_spend(n + NGX_SMTP_TURN_COMMAND);

    if (ngx_smtp_session_too_slow(s, n)) {
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_TOO_SLOW, NULL);
        (void) ngx_smtp_session_flush(s);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_smtp_session_turn(void *data)
{
    ngx_smtp_session_run(data);
}


static void
ngx_smtp_session_answer_awaited(ngx_smtp_session_t *s)
{
    s->answered = 0;
    s->waiting = 0;

    ngx_smtp_turn_spend(NGX_SMTP_TURN_COMMAND);

    switch (s->awaited) {

    case NGX_SMTP_VERB_AUTH:
        (void) ngx_smtp_session_auth_answered(s);
        break;

    case NGX_SMTP_VERB_DATA:
        (void) ngx_smtp_session_data_answered(s);
        break;

    case NGX_SMTP_VERB_RCPT:
        ngx_smtp_session_rcpt_answered(s);
        break;

    default:
        (void) ngx_smtp_session_answer(s, s->awaited, s->txn->rc);
    }
}


/*
 * Buffered plaintext was dropped by ngx_smtp_session_process(); what is still
 * in the socket is read by the handshake, which fails on it.
 */

static void
ngx_smtp_session_starttls(ngx_smtp_session_t *s)
{
    ngx_uint_t                    i, n;
    ngx_stream_session_t         *st;
    ngx_stream_core_main_conf_t  *cmcf;

    st = s->stream;

    /* if the handshake fails nginx ends the session: we are not asked then */

    ngx_smtp_session_forget(s);

    /* the handshake has a time of its own */

    s->timed = 0;

    if (s->connection->read->timer_set) {
        ngx_del_timer(s->connection->read);
    }

    cmcf = ngx_stream_get_module_main_conf(st, ngx_stream_core_module);

    n = 0;

    for (i = 0; i < NGX_STREAM_SSL_PHASE; i++) {
        n += cmcf->phases[i].handlers.nelts;
    }

    st->ssl = 1;
    st->phase_handler = n;

    ngx_stream_core_run_phases(st);
}


void
ngx_smtp_session_resume(ngx_smtp_session_t *s)
{
    s->answered = 1;

    ngx_post_event(s->connection->read, &ngx_posted_events);
}


/*
 * Back to the event loop: others use the buffers now.  Sets timers and says
 * whether we may be closed.
 */

static void
ngx_smtp_session_wait(ngx_smtp_session_t *s)
{
    ngx_connection_t  *c;

    c = s->connection;

    if (s->waiting && ngx_smtp_session_login_left(s)) {
        ngx_smtp_session_finalize(s, NGX_STREAM_OK);
        return;
    }

    if (ngx_smtp_session_input_close(s) != NGX_OK) {
        ngx_smtp_session_finalize(s, NGX_STREAM_OK);
        return;
    }

    ngx_smtp_session_set_timer(s);

    if (s->output.kept == NULL && !s->waiting && s->txn == NULL
        && s->state == NGX_SMTP_STATE_COMMAND)
    {
        if (ngx_exiting && s->input.kept == NULL && !c->read->ready) {
            ngx_smtp_session_abandon(s, NGX_SMTP_REPLY_SHUTDOWN);
            return;
        }

        c->idle = 1;
    }

    if (ngx_handle_read_event(c->read, 0) != NGX_OK
        || ngx_handle_write_event(c->write, 0) != NGX_OK)
    {
        ngx_smtp_session_finalize(s, NGX_STREAM_INTERNAL_SERVER_ERROR);
    }
}


/*
 * The client has until s->deadline for what is read of it now: a command as a
 * whole, or the next piece of message data.  The timer fires then or before,
 * and is set again if it was before, so that a command costs no change of
 * nginx's tree of timers.
 */

static void
ngx_smtp_session_set_timer(ngx_smtp_session_t *s)
{
    ngx_msec_t    time;
    ngx_uint_t    data;
    ngx_event_t  *rev;

    if (s->output.kept || s->waiting) {
        s->timed = 0;
        return;
    }

    rev = s->connection->read;

    data = (s->state == NGX_SMTP_STATE_DATA
            || s->state == NGX_SMTP_STATE_CHUNK);

    /* a chunk that is dropped has no rate: all of it has one time */

    if (s->timed
        && (!data || (s->state == NGX_SMTP_STATE_CHUNK && s->chunk_reply)))
    {
        return;
    }

    time = data ? s->conf->data_timeout : s->conf->client_timeout;

    s->timed = 1;
    s->deadline = ngx_current_msec + time;

    if (!rev->timer_set
        || (ngx_msec_int_t) (rev->timer.key - s->deadline) > 0)
    {
        ngx_add_timer(rev, time);
    }
}


/* The timer has fired: 1 if the client's time is over. */

static ngx_uint_t
ngx_smtp_session_overdue(ngx_smtp_session_t *s)
{
    ngx_msec_int_t  left;

    if (!s->timed) {
        return 0;
    }

    left = s->deadline - ngx_current_msec;

    if (left <= 0) {
        return 1;
    }

    ngx_add_timer(s->connection->read, left);

    return 0;
}


/* A last reply, as far as the socket takes it, and the end. */

static void
ngx_smtp_session_abandon(ngx_smtp_session_t *s, ngx_uint_t id)
{
    if (s->output.kept == NULL) {
        ngx_smtp_session_reply(s, id, NULL);
        (void) ngx_smtp_session_flush(s);
    }

    ngx_smtp_session_finalize(s, NGX_STREAM_OK);
}


static void
ngx_smtp_session_finalize(ngx_smtp_session_t *s, ngx_uint_t rc)
{
    ngx_smtp_turn_cancel(&s->turn);
    ngx_smtp_session_end_transaction(s);
    ngx_smtp_session_auth_end(s);
    ngx_smtp_session_forget(s);
    ngx_smtp_session_input_drop(s);
    ngx_smtp_session_output_drop(s);

    ngx_stream_finalize_session(s->stream, rc);
}
