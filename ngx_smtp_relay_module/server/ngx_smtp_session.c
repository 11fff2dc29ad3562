
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The connection of an SMTP session: reading, writing, time-outs, STARTTLS,
 * leaving.  What the commands do is in ngx_smtp_command_*.c.
 *
 * All sessions of a worker share one input and one output buffer: a session
 * uses them only while it runs, which is between two returns to the event
 * loop.  What is left over when it stops is kept in memory of its own, and
 * while replies are left over nothing is read.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_core.h"
#include "ngx_smtp_drain.h"
#include "ngx_smtp_zone.h"
#include "ngx_smtp_session.h"


/* holds the longest line, and a good piece of a message */
#define NGX_SMTP_IN_SIZE      (NGX_SMTP_AUTH_LINE_MAX + 65536)
#define NGX_SMTP_OUT_SIZE     16384

/* room for the longest answer to one command: that to EHLO */
#define NGX_SMTP_OUT_RESERVE  4096

/* reads before other connections get their turn */
#define NGX_SMTP_READS        16


static ngx_smtp_session_t *ngx_smtp_session_create(ngx_stream_session_t *st);
static void ngx_smtp_session_configure(ngx_smtp_session_t *s);
static void ngx_smtp_session_greet(ngx_smtp_session_t *s);
static void ngx_smtp_session_read(ngx_event_t *rev);
static void ngx_smtp_session_write(ngx_event_t *wev);
static void ngx_smtp_session_closing(ngx_smtp_session_t *s);
static void ngx_smtp_session_run(ngx_smtp_session_t *s);
static void ngx_smtp_session_turn(void *data);
static void ngx_smtp_session_answer_awaited(ngx_smtp_session_t *s);
static ssize_t ngx_smtp_session_recv(ngx_smtp_session_t *s, u_char *buf,
    size_t size);
static ngx_int_t ngx_smtp_session_process(ngx_smtp_session_t *s, u_char **pos,
    u_char *last);
static ngx_int_t ngx_smtp_session_line(ngx_smtp_session_t *s, u_char **pos,
    u_char *last);
static ngx_int_t ngx_smtp_session_command(ngx_smtp_session_t *s,
    ngx_str_t *line);
static ngx_int_t ngx_smtp_session_execute(ngx_smtp_session_t *s,
    ngx_smtp_command_t *cmd);
static ngx_int_t ngx_smtp_command_simple(ngx_smtp_session_t *s,
    ngx_smtp_command_t *cmd);
static ngx_int_t ngx_smtp_session_bad_line(ngx_smtp_session_t *s,
    ngx_uint_t id);
static ngx_int_t ngx_smtp_session_flush(ngx_smtp_session_t *s);
static ngx_int_t ngx_smtp_session_keep_input(ngx_smtp_session_t *s,
    u_char *pos, u_char *last);
static void ngx_smtp_session_wait(ngx_smtp_session_t *s);
static void ngx_smtp_session_set_timer(ngx_smtp_session_t *s);
static void ngx_smtp_session_starttls(ngx_smtp_session_t *s);
static void ngx_smtp_session_abandon(ngx_smtp_session_t *s, ngx_uint_t id);
static void ngx_smtp_session_cleanup(void *data);
static void ngx_smtp_session_finalize(ngx_smtp_session_t *s, ngx_uint_t rc);


static u_char  *ngx_smtp_in;
static u_char  *ngx_smtp_out;
static u_char  *ngx_smtp_out_last;


static ngx_smtp_command_pt  ngx_smtp_commands[NGX_SMTP_VERB_LAST] = {
    NULL,                                /* unknown: refused by the parser */
    ngx_smtp_command_helo,               /* EHLO */
    ngx_smtp_command_helo,
    ngx_smtp_command_mail,
    ngx_smtp_command_rcpt,
    ngx_smtp_command_data,
    ngx_smtp_command_bdat,
    ngx_smtp_command_simple,             /* RSET */
    ngx_smtp_command_simple,             /* NOOP */
    ngx_smtp_command_simple,             /* VRFY */
    ngx_smtp_command_simple,             /* EXPN */
    ngx_smtp_command_simple,             /* HELP */
    ngx_smtp_command_simple,             /* QUIT */
    ngx_smtp_command_simple,             /* STARTTLS */
    ngx_smtp_command_auth,
    ngx_smtp_command_xclient
};


void
ngx_smtp_server_handler(ngx_stream_session_t *st)
{
    ngx_buf_t           *b;
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
        ngx_smtp_session_forget(s);

        /* what a filter said of the client was not said by the client */

        ngx_smtp_identity_settle(s);

        /* by its SNI the client may be with another server{} now */

        ngx_smtp_session_configure(s);
        ngx_smtp_session_run(s);
        return;
    }

    s = ngx_smtp_session_create(st);
    if (s == NULL) {
        ngx_stream_finalize_session(st, NGX_STREAM_INTERNAL_SERVER_ERROR);
        return;
    }

    /* what came behind a PROXY protocol header before we said anything */

    b = c->buffer;

    if (b && b->pos < b->last) {
        if (b->last - b->pos > NGX_SMTP_IN_SIZE
            || ngx_smtp_session_keep_input(s, b->pos, b->last) != NGX_OK)
        {
            ngx_smtp_session_finalize(s, NGX_STREAM_INTERNAL_SERVER_ERROR);
            return;
        }

        b->pos = b->last;
    }

    ngx_smtp_session_greet(s);
}


ngx_smtp_session_t *
ngx_smtp_session_get(ngx_stream_session_t *st)
{
    return ngx_stream_get_module_ctx(st, ngx_smtp_relay_module);
}


ngx_smtp_srv_conf_t *
ngx_smtp_session_conf(ngx_smtp_session_t *s)
{
    return ngx_stream_get_module_srv_conf(s->stream, ngx_smtp_relay_module);
}


static ngx_smtp_session_t *
ngx_smtp_session_create(ngx_stream_session_t *st)
{
    ngx_connection_t    *c;
    ngx_pool_cleanup_t  *cln;
    ngx_smtp_session_t  *s;

    if (ngx_smtp_in == NULL) {
        ngx_smtp_in = ngx_alloc(NGX_SMTP_IN_SIZE + NGX_SMTP_OUT_SIZE,
                                ngx_cycle->log);
        if (ngx_smtp_in == NULL) {
            return NULL;
        }

        ngx_smtp_out = ngx_smtp_in + NGX_SMTP_IN_SIZE;
    }

    ngx_smtp_out_last = ngx_smtp_out;

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
    conf = ngx_smtp_session_conf(s);

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

    conf = ngx_smtp_session_conf(s);

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

    if (s->out == NULL) {
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

    if (c->error || s->waiting || s->out) {
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
    u_char            *pos, *last;
    ssize_t            n;
    ngx_int_t          rc;
    ngx_uint_t         turn;
    ngx_connection_t  *c;

    c = s->connection;
    c->idle = 0;

    ngx_smtp_turn_cancel(&s->turn);

    rc = ngx_smtp_session_flush(s);

    if (rc == NGX_ERROR) {
        ngx_smtp_session_finalize(s, NGX_STREAM_OK);
        return;
    }

    if (rc == NGX_OK && s->answered) {
        ngx_smtp_session_answer_awaited(s);
    }

    if (rc == NGX_AGAIN || (s->waiting && !s->quit)) {
        ngx_smtp_session_wait(s);
        return;
    }

    /* before what is left over is copied for nothing */

    if (ngx_smtp_turn_over() && !s->quit && !s->starttls) {

        if (ngx_smtp_session_flush(s) == NGX_ERROR) {
            ngx_smtp_session_finalize(s, NGX_STREAM_OK);
            return;
        }

        ngx_smtp_turn_wait(&s->turn);
        ngx_smtp_session_wait(s);
        return;
    }

    pos = ngx_smtp_in;
    last = pos;

    if (s->in) {
        last = ngx_cpymem(pos, s->in, s->in_len);
        ngx_free(s->in);
        s->in = NULL;
    }

    for (turn = 0; /* void */ ; turn++) {

        rc = ngx_smtp_session_process(s, &pos, last);

        if (ngx_smtp_session_keep_input(s, pos, last) != NGX_OK
            || ngx_smtp_session_flush(s) == NGX_ERROR)
        {
            ngx_smtp_session_finalize(s, NGX_STREAM_OK);
            return;
        }

        if (s->quit && s->out == NULL) {
            ngx_smtp_session_finalize(s, NGX_STREAM_OK);
            return;
        }

        if (s->starttls && s->out == NULL) {
            ngx_smtp_session_starttls(s);
            return;
        }

        if (s->waiting || s->out) {
            break;
        }

        if ((turn == NGX_SMTP_READS || ngx_smtp_turn_over())
            && (rc == NGX_BUSY || c->read->ready))
        {
            ngx_smtp_turn_wait(&s->turn);
            break;
        }

        if (rc == NGX_BUSY) {

            /* the socket was full for a moment: go on with what is here */

            pos = ngx_smtp_in;
            last = pos;

            if (s->in) {
                last = ngx_cpymem(pos, s->in, s->in_len);
                ngx_free(s->in);
                s->in = NULL;
            }

            continue;
        }

        if (!c->read->ready) {
            break;
        }

        pos = ngx_smtp_in;
        last = pos;

        if (s->in) {
            last = ngx_cpymem(pos, s->in, s->in_len);
        }

        n = ngx_smtp_session_recv(s, last,
                                  ngx_smtp_in + NGX_SMTP_IN_SIZE - last);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR || n == 0) {
            ngx_smtp_session_finalize(s, NGX_STREAM_OK);
            return;
        }

        last += n;

        if (s->in) {
            ngx_free(s->in);
            s->in = NULL;
        }
    }

    ngx_smtp_session_wait(s);
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


static ssize_t
ngx_smtp_session_recv(ngx_smtp_session_t *s, u_char *buf, size_t size)
{
    ssize_t              n;
    ngx_msec_t           spent;
    ngx_connection_t    *c;
    ngx_smtp_receive_t  *r;

    c = s->connection;

    n = c->recv(c, buf, size);

    if (n == 0) {
        ngx_log_error(NGX_LOG_INFO, c->log, 0, "client closed connection");
        return n;
    }

    if (n <= 0) {
        return n;
    }

    s->stream->received += n;

    ngx_smtp_turn_spend(n + NGX_SMTP_TURN_COMMAND);

    if (s->state == NGX_SMTP_STATE_DATA || s->state == NGX_SMTP_STATE_CHUNK) {
        r = s->receive;

        if (r) {
            spent = ngx_current_msec - r->started - r->paused;

            if (ngx_smtp_session_conf(s)->min_data_rate
                && spent > ngx_smtp_session_conf(s)->data_timeout
                && (r->received + n) / (off_t) (spent / 1000 + 1)
                   < (off_t) ngx_smtp_session_conf(s)->min_data_rate)
            {
                ngx_log_error(NGX_LOG_INFO, c->log, 0,
                              "client sent %O bytes of data in %M ms: "
                              "slower than \"smtp_min_data_rate\"",
                              r->received, spent);

                ngx_smtp_session_reply(s, NGX_SMTP_REPLY_TOO_SLOW, NULL);
                (void) ngx_smtp_session_flush(s);
                return NGX_ERROR;
            }
        }
    }

    return n;
}


/*
 * Uses as much of the input as it can.  NGX_OK, or NGX_AGAIN: more input is
 * needed; NGX_BUSY: the socket takes no more replies, an answer is awaited,
 * others have their turn, or the session is over.
 */

static ngx_int_t
ngx_smtp_session_process(ngx_smtp_session_t *s, u_char **pos, u_char *last)
{
    ngx_int_t  rc;

    for ( ;; ) {

        if (s->quit || s->starttls) {
            *pos = last;
            return NGX_BUSY;
        }

        if (s->waiting || ngx_smtp_turn_over()) {
            return NGX_BUSY;
        }

        if (ngx_smtp_out + NGX_SMTP_OUT_SIZE - ngx_smtp_out_last
            < NGX_SMTP_OUT_RESERVE)
        {
            if (ngx_smtp_session_flush(s) != NGX_OK) {
                return NGX_BUSY;
            }
        }

        if (s->state == NGX_SMTP_STATE_DATA
            || s->state == NGX_SMTP_STATE_CHUNK)
        {
            rc = ngx_smtp_session_data(s, pos, last);

        } else {
            rc = ngx_smtp_session_line(s, pos, last);
        }

        if (rc == NGX_AGAIN && !s->waiting) {
            return NGX_AGAIN;
        }
    }
}


static ngx_int_t
ngx_smtp_session_line(ngx_smtp_session_t *s, u_char **pos, u_char *last)
{
    ngx_int_t   rc;
    ngx_str_t   line;
    ngx_uint_t  auth;

    auth = (s->state == NGX_SMTP_STATE_AUTH);

    s->connection->log->action = auth ? "reading SMTP login"
                                      : "reading SMTP command";

    s->line.limit = auth ? NGX_SMTP_AUTH_LINE_MAX
                         : ngx_smtp_session_conf(s)->max_line_size;

    rc = ngx_smtp_line_next(&s->line, pos, last, &line);

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    ngx_smtp_turn_spend(NGX_SMTP_TURN_COMMAND);

    /* each command has its own time; one that drips in does not prolong it */

    if (s->connection->read->timer_set) {
        ngx_del_timer(s->connection->read);
    }

    if (rc == NGX_SMTP_LINE_TOO_LONG) {
        return ngx_smtp_session_bad_line(s, auth
                                            ? NGX_SMTP_REPLY_AUTH_TOO_LONG
                                            : NGX_SMTP_REPLY_LINE_TOO_LONG);
    }

    if (s->line.bad) {
        return ngx_smtp_session_bad_line(s, NGX_SMTP_REPLY_LINE_BAD);
    }

    if (auth) {
        rc = ngx_smtp_session_auth_line(s, &line);

    } else {
        rc = ngx_smtp_session_command(s, &line);
    }

    return rc;
}


/* A line that is no command counts as one. */

static ngx_int_t
ngx_smtp_session_bad_line(ngx_smtp_session_t *s, ngx_uint_t id)
{
    ngx_smtp_session_auth_end(s);

    if (!ngx_smtp_session_over_limit(s, NULL)) {
        ngx_smtp_session_reply(s, id, NULL);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_session_command(ngx_smtp_session_t *s, ngx_str_t *line)
{
    ngx_int_t           rc, order;
    ngx_smtp_command_t  cmd;

    rc = ngx_smtp_command_parse(line, &cmd);

    ngx_log_debug2(NGX_LOG_DEBUG_STREAM, s->connection->log, 0,
                   "smtp command: %V, %i", ngx_smtp_verb_name(cmd.verb), rc);

    if (ngx_smtp_session_over_limit(s, &cmd)) {
        return NGX_OK;
    }

    order = ngx_smtp_rules_check(&s->rules, cmd.verb);

    if (cmd.verb == NGX_SMTP_VERB_BDAT) {

        /* its octets follow, whatever becomes of it */

        s->chunk_reply = (rc != NGX_OK) ? rc : order;
        return ngx_smtp_session_execute(s, &cmd);
    }

    if (cmd.verb == NGX_SMTP_VERB_UNKNOWN || order == NGX_OK) {
        order = rc;
    }

    if (order != NGX_OK) {
        ngx_smtp_session_reply(s, order, NULL);
        return NGX_OK;
    }

    return ngx_smtp_session_execute(s, &cmd);
}


static ngx_int_t
ngx_smtp_session_execute(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    return ngx_smtp_commands[cmd->verb](s, cmd);
}


static ngx_int_t
ngx_smtp_command_simple(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    switch (cmd->verb) {

    case NGX_SMTP_VERB_RSET:
        ngx_smtp_session_end_transaction(s);
        ngx_smtp_rules_accept(&s->rules, NGX_SMTP_VERB_RSET);
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_OK, NULL);
        break;

    case NGX_SMTP_VERB_NOOP:
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_OK, NULL);
        break;

    case NGX_SMTP_VERB_VRFY:
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_VRFY, NULL);
        break;

    case NGX_SMTP_VERB_HELP:
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_HELP, NULL);
        break;

    case NGX_SMTP_VERB_QUIT:
        ngx_smtp_session_end_transaction(s);
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_BYE, NULL);
        s->quit = 1;
        break;

    case NGX_SMTP_VERB_STARTTLS:

        /* the handshake begins when the reply is out */

        ngx_smtp_session_end_transaction(s);
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_STARTTLS, NULL);
        s->starttls = 1;
        break;

    default: /* EXPN */
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_NOT_IMPLEMENTED, NULL);
    }

    return NGX_OK;
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

    if (s->in) {
        ngx_free(s->in);
        s->in = NULL;
    }

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
ngx_smtp_session_reply(ngx_smtp_session_t *s, ngx_uint_t id, ngx_str_t *detail)
{
    if (ngx_smtp_reply_get(id)->code >= 500) {
        s->errors++;
    }

    ngx_smtp_out_last = ngx_smtp_reply_write(ngx_smtp_out_last,
                                             ngx_smtp_out + NGX_SMTP_OUT_SIZE,
                                             id, detail);
}


void
ngx_smtp_session_reply_answer(ngx_smtp_session_t *s, ngx_smtp_answer_t *answer)
{
    if (answer->code == 0) {
        ngx_smtp_session_reply(s, answer->id, &answer->detail);
        return;
    }

    if (answer->code >= 500) {
        s->errors++;
    }

    ngx_smtp_session_reply_line(s, answer->code, &answer->enhanced,
                                &answer->text, 0);
}


void
ngx_smtp_session_reply_line(ngx_smtp_session_t *s, ngx_uint_t code,
    ngx_str_t *enhanced, ngx_str_t *text, ngx_uint_t more)
{
    ngx_smtp_out_last = ngx_smtp_reply_line(ngx_smtp_out_last,
                                            ngx_smtp_out + NGX_SMTP_OUT_SIZE,
                                            code, enhanced, text, more);
}


/*
 * Sends what the socket takes; the rest is kept.  NGX_OK: all was sent;
 * NGX_AGAIN, NGX_ERROR.
 */

static ngx_int_t
ngx_smtp_session_flush(ngx_smtp_session_t *s)
{
    size_t             size;
    u_char            *pos, *last;
    ssize_t            n;
    ngx_connection_t  *c;

    c = s->connection;

    pos = s->out ? s->out_pos : ngx_smtp_out;
    last = s->out ? s->out_last : ngx_smtp_out_last;

    while (pos < last) {
        n = c->send(c, pos, last - pos);

        if (n == NGX_ERROR) {
            ngx_smtp_out_last = ngx_smtp_out;
            return NGX_ERROR;
        }

        if (n == NGX_AGAIN || n == 0) {
            break;
        }

        pos += n;
    }

    if (s->out) {

        /* only taking replies gives a client more time to take them */

        if (pos > s->out_pos && pos < last && c->write->timer_set) {
            ngx_del_timer(c->write);
        }

        s->out_pos = pos;

        if (pos < last) {
            return NGX_AGAIN;
        }

        ngx_free(s->out);
        s->out = NULL;

        if (c->write->timer_set) {
            ngx_del_timer(c->write);
        }

        return NGX_OK;
    }

    ngx_smtp_out_last = ngx_smtp_out;
    size = last - pos;

    if (size == 0) {
        return NGX_OK;
    }

    s->out = ngx_alloc(size, c->log);
    if (s->out == NULL) {
        return NGX_ERROR;
    }

    s->out_pos = s->out;
    s->out_last = ngx_cpymem(s->out, pos, size);

    return NGX_AGAIN;
}


static ngx_int_t
ngx_smtp_session_keep_input(ngx_smtp_session_t *s, u_char *pos, u_char *last)
{
    if (pos == last) {
        return NGX_OK;
    }

    s->in_len = last - pos;
    s->in = ngx_alloc(s->in_len, s->connection->log);

    if (s->in == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(s->in, pos, s->in_len);

    return NGX_OK;
}


void
ngx_smtp_session_resume(ngx_smtp_session_t *s)
{
    s->answered = 1;

    ngx_post_event(s->connection->read, &ngx_posted_events);
}


/* Back to the event loop: sets timers and says whether we may be closed. */

static void
ngx_smtp_session_wait(ngx_smtp_session_t *s)
{
    ngx_connection_t  *c;

    c = s->connection;

    if (s->waiting && ngx_smtp_session_login_left(s)) {
        ngx_smtp_session_finalize(s, NGX_STREAM_OK);
        return;
    }

    ngx_smtp_session_set_timer(s);

    if (s->out == NULL && !s->waiting && s->txn == NULL
        && s->state == NGX_SMTP_STATE_COMMAND)
    {
        if (ngx_exiting && s->in == NULL && !c->read->ready) {
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


static void
ngx_smtp_session_set_timer(ngx_smtp_session_t *s)
{
    ngx_uint_t            data;
    ngx_connection_t     *c;
    ngx_smtp_srv_conf_t  *conf;

    c = s->connection;
    conf = ngx_smtp_session_conf(s);

    if (s->out || s->waiting) {

        if (c->read->timer_set) {
            ngx_del_timer(c->read);
        }

        if (s->out && !c->write->timer_set) {
            ngx_add_timer(c->write, conf->send_timeout);
        }

        return;
    }

    data = (s->state == NGX_SMTP_STATE_DATA
            || s->state == NGX_SMTP_STATE_CHUNK);

    /* a chunk that is dropped has no rate: all of it has one time */

    if (data && !(s->state == NGX_SMTP_STATE_CHUNK && s->chunk_reply)) {
        ngx_add_timer(c->read, conf->data_timeout);

    } else if (!c->read->timer_set) {
        ngx_add_timer(c->read, data ? conf->data_timeout
                                    : conf->client_timeout);
    }
}


/* A last reply, as far as the socket takes it, and the end. */

static void
ngx_smtp_session_abandon(ngx_smtp_session_t *s, ngx_uint_t id)
{
    if (s->out == NULL) {
        ngx_smtp_session_reply(s, id, NULL);
        (void) ngx_smtp_session_flush(s);
    }

    ngx_smtp_session_finalize(s, NGX_STREAM_OK);
}


static void
ngx_smtp_session_finalize(ngx_smtp_session_t *s, ngx_uint_t rc)
{
    ngx_smtp_out_last = ngx_smtp_out;

    ngx_smtp_turn_cancel(&s->turn);
    ngx_smtp_session_end_transaction(s);
    ngx_smtp_session_auth_end(s);
    ngx_smtp_session_forget(s);

    if (s->in) {
        ngx_free(s->in);
        s->in = NULL;
    }

    if (s->out) {
        ngx_free(s->out);
        s->out = NULL;
    }

    ngx_stream_finalize_session(s->stream, rc);
}
