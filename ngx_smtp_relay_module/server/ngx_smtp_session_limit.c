
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What ends a session whose commands are right by themselves: too many errors,
 * too many commands without mail, a client that speaks another protocol; new
 * mail for a node that is being drained.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_core.h"
#include "ngx_smtp_drain.h"
#include "ngx_smtp_zone.h"
#include "ngx_smtp_session.h"


/*
 * RCPTs of a transaction that may get a 4xx before that counts as an error:
 * a client that knows nothing of our limits is to get its message through
 */
#define NGX_SMTP_MAX_DEFERRED  1000


static ngx_uint_t ngx_smtp_session_limits(ngx_smtp_session_t *s,
    ngx_uint_t verb);
static ngx_uint_t ngx_smtp_session_is_http(ngx_str_t *name);


ngx_uint_t
ngx_smtp_session_over_limit(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    ngx_uint_t  id;

    id = ngx_smtp_session_limits(s, cmd ? cmd->verb : NGX_SMTP_VERB_UNKNOWN);

    if (id == NGX_SMTP_REPLY_NONE) {

        if (cmd == NULL || cmd->verb != NGX_SMTP_VERB_UNKNOWN
            || !ngx_smtp_session_is_http(&cmd->name))
        {
            return 0;
        }

        /* a browser was made to talk to us: what follows is not its own */

        ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                      "session ended: client speaks HTTP");
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_UNKNOWN, NULL);
        s->quit = 1;

        return 1;
    }

    ngx_log_error(NGX_LOG_INFO, s->connection->log, 0, "session ended: %V",
                  &ngx_smtp_reply_get(id)->text);

    ngx_smtp_session_reply(s, id, NULL);
    s->quit = 1;

    return 1;
}


static ngx_uint_t
ngx_smtp_session_limits(ngx_smtp_session_t *s, ngx_uint_t verb)
{
    ngx_smtp_srv_conf_t  *conf;

    conf = s->conf;

    if (s->errors > conf->max_errors) {
        return NGX_SMTP_REPLY_TOO_MANY_ERRORS;
    }

    if (verb == NGX_SMTP_VERB_MAIL && ngx_smtp_draining()) {
        return NGX_SMTP_REPLY_DRAINING;
    }

    switch (verb) {

    case NGX_SMTP_VERB_RCPT:
    case NGX_SMTP_VERB_DATA:
    case NGX_SMTP_VERB_BDAT:
    case NGX_SMTP_VERB_QUIT:
        break;

    default:
        if (++s->idle_commands > conf->max_idle_commands) {
            return NGX_SMTP_REPLY_TOO_MANY_COMMANDS;
        }
    }

    return NGX_SMTP_REPLY_NONE;
}


void
ngx_smtp_session_deferred(ngx_smtp_session_t *s)
{
    if (++s->deferred > NGX_SMTP_MAX_DEFERRED) {
        s->errors++;
    }
}


static ngx_uint_t
ngx_smtp_session_is_http(ngx_str_t *name)
{
    ngx_uint_t  i;

    static ngx_str_t  methods[] = {
        ngx_string("GET"),
        ngx_string("POST"),
        ngx_string("PUT"),
        ngx_string("HEAD"),
        ngx_string("OPTIONS"),
        ngx_string("CONNECT"),
        ngx_null_string
    };

    for (i = 0; methods[i].len; i++) {

        if (name->len == methods[i].len
            && ngx_strncasecmp(name->data, methods[i].data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}
