
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * AUTH (RFC 4954): the exchange of lines here, the mechanisms in auth/, the
 * look-up and the hashing behind ngx_smtp_login_start().  The exchange holds
 * secrets: it is wiped whenever it ends, however it ends.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_session.h"


static ngx_int_t ngx_smtp_session_auth_start(ngx_smtp_session_t *s,
    ngx_str_t *arg);
static ngx_int_t ngx_smtp_session_auth_step(ngx_smtp_session_t *s,
    ngx_int_t rc);
static ngx_int_t ngx_smtp_session_login(ngx_smtp_session_t *s);
static void ngx_smtp_session_remember(ngx_smtp_session_t *s);
static void ngx_smtp_session_logged_in(ngx_smtp_login_t *login);


ngx_int_t
ngx_smtp_command_auth(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    ngx_int_t  rc;

    rc = ngx_smtp_session_auth_start(s, &cmd->arg);

    /* also what was refused may be a password */

    ngx_explicit_memzero(cmd->arg.data, cmd->arg.len);

    return rc;
}


static ngx_int_t
ngx_smtp_session_auth_start(ngx_smtp_session_t *s, ngx_str_t *arg)
{
    ngx_int_t   rc;
    ngx_str_t   name, initial;
    ngx_uint_t  mechanism;

    rc = ngx_smtp_auth_parse(arg, &name, &initial);

    if (rc != NGX_OK) {
        ngx_smtp_session_reply(s, rc, NULL);
        return NGX_OK;
    }

    mechanism = ngx_smtp_sasl_mechanism(&name)
                & s->conf->auth;

    if (mechanism == 0) {
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_AUTH_MECHANISM, NULL);
        return NGX_OK;
    }

    s->sasl = ngx_alloc(sizeof(ngx_smtp_sasl_t), s->connection->log);
    if (s->sasl == NULL) {
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_AUTH_TEMPFAIL, NULL);
        return NGX_OK;
    }

    s->state = NGX_SMTP_STATE_AUTH;

    /* the parser says "=" as an empty string, the mechanism wants it back */

    if (initial.data && initial.len == 0) {
        ngx_str_set(&initial, "=");
    }

    rc = ngx_smtp_sasl_start(s->sasl, mechanism,
                             initial.data ? &initial : NULL);

    return ngx_smtp_session_auth_step(s, rc);
}


ngx_int_t
ngx_smtp_session_auth_line(ngx_smtp_session_t *s, ngx_str_t *line)
{
    ngx_int_t  rc;

    rc = ngx_smtp_sasl_step(s->sasl, line);

    ngx_explicit_memzero(line->data, line->len);

    return ngx_smtp_session_auth_step(s, rc);
}


static ngx_int_t
ngx_smtp_session_auth_step(ngx_smtp_session_t *s, ngx_int_t rc)
{
    ngx_uint_t  id;

    switch (rc) {

    case NGX_AGAIN:
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_AUTH_CONTINUE,
                               &s->sasl->challenge);
        return NGX_OK;

    case NGX_OK:
        return ngx_smtp_session_login(s);

    case NGX_DECLINED:
        id = NGX_SMTP_REPLY_AUTH_CANCELLED;
        break;

    case NGX_SMTP_SASL_TOO_LONG:
        id = NGX_SMTP_REPLY_AUTH_TOO_LONG;
        break;

    case NGX_SMTP_SASL_REFUSED:
        id = NGX_SMTP_REPLY_AUTH_FAILED;
        break;

    default:
        id = NGX_SMTP_REPLY_AUTH_MALFORMED;
    }

    if (rc != NGX_DECLINED) {
        ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                      "login refused: %s", s->sasl->reason);
    }

    ngx_smtp_session_auth_end(s);
    ngx_smtp_session_reply(s, id, NULL);

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_session_login(ngx_smtp_session_t *s)
{
    ngx_smtp_srv_conf_t  *conf;

    conf = s->conf;

    s->login = ngx_smtp_login_start(conf->login, &s->sasl->login,
                                    &s->sasl->password, &s->addr,
                                    ngx_smtp_session_logged_in, s);

    if (s->login && conf->keep_password) {
        ngx_smtp_session_remember(s);
    }

    ngx_smtp_sasl_wipe(s->sasl);

    if (s->login == NULL) {
        ngx_smtp_session_auth_end(s);
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_AUTH_TEMPFAIL, NULL);
        return NGX_OK;
    }

    s->awaited = NGX_SMTP_VERB_AUTH;
    s->waiting = 1;
    s->connection->log->action = "checking SMTP login";

    return NGX_AGAIN;
}


/* Without memory the message will go on without a login: it fails there. */

static void
ngx_smtp_session_remember(ngx_smtp_session_t *s)
{
    u_char             *p;
    size_t              len;
    ngx_str_t          *user, *password;
    ngx_smtp_secret_t  *secret;

    ngx_smtp_session_forget(s);

    user = &s->sasl->login;
    password = &s->sasl->password;

    len = user->len + password->len;

    secret = ngx_alloc(sizeof(ngx_smtp_secret_t) + len, s->connection->log);
    if (secret == NULL) {
        return;
    }

    p = secret->data;

    secret->size = len;

    secret->user.len = user->len;
    secret->user.data = p;
    p = ngx_cpymem(p, user->data, user->len);

    secret->password.len = password->len;
    secret->password.data = p;
    ngx_memcpy(p, password->data, password->len);

    s->secret = secret;
}


void
ngx_smtp_session_forget(ngx_smtp_session_t *s)
{
    if (s->secret) {
        ngx_explicit_memzero(s->secret->data, s->secret->size);
        ngx_free(s->secret);
        s->secret = NULL;
    }
}


/*
 * What the client has pipelined is left where it is: one octet is looked at
 * only.  A client that has sent more and then closed its side may still want
 * the replies, unless the connection is broken, or is TLS: there the octets
 * behind AUTH are those of its farewell.
 */

ngx_uint_t
ngx_smtp_session_login_left(ngx_smtp_session_t *s)
{
    int                err;
    u_char             byte;
    ssize_t            n;
    socklen_t          len;
    ngx_connection_t  *c;

    c = s->connection;

    if (s->login == NULL || !c->read->ready) {
        return 0;
    }

    err = 0;
    n = recv(c->fd, &byte, 1, MSG_PEEK);

    if (n == -1) {
        err = ngx_socket_errno;

        if (err == NGX_EAGAIN || err == NGX_EINTR) {
            return 0;
        }

    } else if (n == 0) {

        if (s->input.pos != s->input.last) {
            return 0;
        }

    } else {

        if (!c->read->pending_eof) {
            return 0;
        }

        len = sizeof(int);

        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len)
            == -1)
        {
            err = ngx_socket_errno;
        }

        if (err == 0 && c->ssl == NULL) {
            return 0;
        }
    }

    ngx_log_error(NGX_LOG_INFO, c->log, err, "client closed connection");

    return 1;
}


/* The login goes when this returns. */

static void
ngx_smtp_session_logged_in(ngx_smtp_login_t *login)
{
    ngx_str_t            name;
    ngx_smtp_session_t  *s;
    u_char               buf[NGX_SMTP_SASL_MAX_LOGIN];

    s = login->data;

    s->login = NULL;
    s->login_rc = login->rc;

    if (login->rc == NGX_OK) {
        s->account = ngx_smtp_account_copy(login->account,
                                           ngx_smtp_identity_pool(s));
        if (s->account == NULL) {
            s->login_rc = NGX_ERROR;
        }

    } else {
        name.data = buf;
        name.len = ngx_smtp_reply_sanitize(buf, buf + sizeof(buf),
                                           &login->name)
                   - buf;

        ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                      "login \"%V\" %s", &name,
                      login->rc == NGX_DECLINED ? "refused"
                                                : "could not be checked");
    }

    if (s->login_rc != NGX_OK) {
        ngx_smtp_session_forget(s);
    }

    ngx_smtp_session_resume(s);
}


ngx_int_t
ngx_smtp_session_auth_answered(ngx_smtp_session_t *s)
{
    ngx_smtp_session_auth_end(s);

    switch (s->login_rc) {

    case NGX_OK:
        ngx_smtp_rules_accept(&s->rules, NGX_SMTP_VERB_AUTH);
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_AUTH_OK, NULL);
        break;

    case NGX_DECLINED:
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_AUTH_FAILED, NULL);
        break;

    default:
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_AUTH_TEMPFAIL, NULL);
    }

    return NGX_OK;
}


void
ngx_smtp_session_auth_end(ngx_smtp_session_t *s)
{
    if (s->login) {
        ngx_smtp_login_cancel(s->login);
        s->login = NULL;
    }

    if (s->sasl) {
        ngx_smtp_sasl_wipe(s->sasl);
        ngx_free(s->sasl);
        s->sasl = NULL;
    }

    if (s->state == NGX_SMTP_STATE_AUTH) {
        s->state = NGX_SMTP_STATE_COMMAND;
    }
}
