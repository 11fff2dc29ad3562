
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What a session does with its input: message data goes to its decoder, lines
 * are found, judged by the rules of the session, and carried out by whoever
 * has the verb in the table below.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_session_private.h"


static ngx_int_t ngx_smtp_session_line(ngx_smtp_session_t *s);
static ngx_int_t ngx_smtp_session_bad_line(ngx_smtp_session_t *s,
    ngx_uint_t id);
static ngx_int_t ngx_smtp_session_command(ngx_smtp_session_t *s,
    ngx_str_t *line);
static ngx_int_t ngx_smtp_session_execute(ngx_smtp_session_t *s,
    ngx_smtp_command_t *cmd);
static ngx_int_t ngx_smtp_command_simple(ngx_smtp_session_t *s,
    ngx_smtp_command_t *cmd);


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


ngx_int_t
ngx_smtp_session_process(ngx_smtp_session_t *s)
{
    ngx_int_t  rc;

    for ( ;; ) {

        if (s->quit || s->starttls) {
            ngx_smtp_session_input_drop(s);
            return NGX_BUSY;
        }

        if (s->waiting || ngx_smtp_turn_over()) {
            return NGX_BUSY;
        }

        rc = ngx_smtp_session_output_reserve(s);

        if (rc != NGX_OK) {
            return (rc == NGX_ERROR) ? NGX_ERROR : NGX_BUSY;
        }

        ngx_smtp_session_input_open(s);

        if (s->state == NGX_SMTP_STATE_DATA
            || s->state == NGX_SMTP_STATE_CHUNK)
        {
            rc = ngx_smtp_session_data(s, &s->input.pos, s->input.last);

        } else {
            rc = ngx_smtp_session_line(s);
        }

        if (rc == NGX_AGAIN && !s->waiting) {
            return NGX_AGAIN;
        }
    }
}


static ngx_int_t
ngx_smtp_session_line(ngx_smtp_session_t *s)
{
    ngx_int_t   rc;
    ngx_str_t   line;
    ngx_uint_t  auth;

    auth = (s->state == NGX_SMTP_STATE_AUTH);

    s->connection->log->action = auth ? "reading SMTP login"
                                      : "reading SMTP command";

    s->line.limit = auth ? NGX_SMTP_AUTH_LINE_MAX
                         : s->conf->max_line_size;

    rc = ngx_smtp_line_next(&s->line, &s->input.pos, s->input.last, &line);

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    ngx_smtp_turn_spend(NGX_SMTP_TURN_COMMAND);

    /* each command has its own time; one that drips in does not prolong it */

    s->timed = 0;

    if (rc == NGX_SMTP_LINE_TOO_LONG) {
        return ngx_smtp_session_bad_line(s, auth
                                            ? NGX_SMTP_REPLY_AUTH_TOO_LONG
                                            : NGX_SMTP_REPLY_LINE_TOO_LONG);
    }

    if (s->line.bad) {

        if (auth) {
            ngx_explicit_memzero(line.data, line.len);
        }

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
    ngx_uint_t          secret;
    ngx_smtp_command_t  cmd;

    rc = ngx_smtp_command_parse(line, &cmd);

    ngx_log_debug2(NGX_LOG_DEBUG_STREAM, s->connection->log, 0,
                   "smtp command: %V, %i", ngx_smtp_verb_name(cmd.verb), rc);

    /*
     * a password that was sent too early, too late, or behind a refused AUTH
     * is one
     */

    secret = (cmd.verb == NGX_SMTP_VERB_AUTH
              || cmd.verb == NGX_SMTP_VERB_UNKNOWN);

    if (ngx_smtp_session_over_limit(s, &cmd)) {

        if (secret) {
            ngx_explicit_memzero(line->data, line->len);
        }

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

        if (secret) {
            ngx_explicit_memzero(line->data, line->len);
        }

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
