
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * HELO and EHLO, MAIL and RCPT: what opens a transaction.  The transaction's
 * strings are copies in its pool; those of a command line are gone when the
 * command was carried out.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_param.h"
#include "ngx_smtp_check.h"
#include "ngx_smtp_session.h"

#include <openssl/err.h>
#include <openssl/rand.h>


static void ngx_smtp_session_ehlo(ngx_smtp_session_t *s);
static ngx_int_t ngx_smtp_session_verify(ngx_smtp_session_t *s,
    ngx_smtp_rcpt_t *rcpt);
static ngx_int_t ngx_smtp_session_sink_rcpt(ngx_smtp_session_t *s,
    ngx_smtp_rcpt_t *rcpt);
static ngx_int_t ngx_smtp_session_sink_answered(ngx_smtp_session_t *s,
    ngx_smtp_rcpt_t *rcpt, ngx_int_t rc);
static ngx_smtp_transaction_t *ngx_smtp_session_transaction(
    ngx_smtp_session_t *s);
static ngx_int_t ngx_smtp_session_origin(ngx_smtp_session_t *s,
    ngx_smtp_transaction_t *txn);
static ngx_int_t ngx_smtp_transaction_id(ngx_smtp_transaction_t *txn);
static ngx_int_t ngx_smtp_session_copy_path(ngx_pool_t *pool,
    ngx_smtp_path_t *path, ngx_str_t *mailbox, ngx_str_t *domain);
static ngx_int_t ngx_smtp_session_copy(ngx_pool_t *pool, ngx_str_t *dst,
    ngx_str_t *src);
static void ngx_smtp_session_answered(ngx_smtp_transaction_t *txn);
static ngx_stream_session_t *ngx_smtp_session_transaction_eval(
    ngx_smtp_transaction_t *txn, ngx_pool_t *pool, ngx_smtp_rcpt_t *rcpt);


ngx_int_t
ngx_smtp_command_helo(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    ngx_int_t             rc;
    ngx_smtp_srv_conf_t  *conf;

    rc = ngx_smtp_helo_check(&cmd->arg);

    if (rc != NGX_OK) {
        ngx_smtp_session_reply(s, rc, NULL);
        return NGX_OK;
    }

    if (ngx_smtp_session_helo(s, &cmd->arg) != NGX_OK) {
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_INTERNAL, NULL);
        return NGX_OK;
    }

    ngx_smtp_identity_settle(s);
    ngx_smtp_session_end_transaction(s);
    ngx_smtp_rules_accept(&s->rules, cmd->verb);

    conf = s->conf;

    /* what a client was offered it may use: it may change meanwhile */

    s->extensions = conf->sink->extensions(conf->sink_conf);

    if (cmd->verb == NGX_SMTP_VERB_EHLO) {
        ngx_smtp_session_ehlo(s);
        return NGX_OK;
    }

    ngx_smtp_session_reply(s, NGX_SMTP_REPLY_HELO, &conf->hostname);

    return NGX_OK;
}


/* One piece of memory, however often a client says EHLO. */

ngx_int_t
ngx_smtp_session_helo(ngx_smtp_session_t *s, ngx_str_t *name)
{
    u_char  *p;

    if (name->len > s->helo_size) {
        s->helo_size = s->helo_size ? NGX_SMTP_DOMAIN_MAX : name->len;

        p = ngx_pnalloc(s->connection->pool, s->helo_size);
        if (p == NULL) {
            s->helo_size = 0;
            s->helo.len = 0;
            return NGX_ERROR;
        }

        s->helo.data = p;
    }

    s->helo.len = name->len;
    ngx_memcpy(s->helo.data, name->data, name->len);

    return NGX_OK;
}


static void
ngx_smtp_session_ehlo(ngx_smtp_session_t *s)
{
    u_char                     *p, *last;
    ngx_str_t                   line;
    ngx_uint_t                  i;
    ngx_smtp_srv_conf_t        *conf;
    ngx_smtp_sasl_mechanism_t  *m;
    u_char                      buf[256];

    static ngx_str_t  keywords[] = {
        ngx_string("PIPELINING"),
        ngx_string("8BITMIME"),
        ngx_string("ENHANCEDSTATUSCODES"),
        ngx_string("CHUNKING"),
        ngx_null_string
    };

    conf = s->conf;
    last = buf + sizeof(buf);

    ngx_smtp_session_reply_line(s, 250, NULL, &conf->hostname, 1);

    for (i = 0; keywords[i].len; i++) {
        ngx_smtp_session_reply_line(s, 250, NULL, &keywords[i], 1);
    }

    if (s->extensions & NGX_SMTP_EXTENSION_DSN) {
        ngx_str_set(&line, "DSN");
        ngx_smtp_session_reply_line(s, 250, NULL, &line, 1);
    }

    if (s->extensions & NGX_SMTP_EXTENSION_SMTPUTF8) {
        ngx_str_set(&line, "SMTPUTF8");
        ngx_smtp_session_reply_line(s, 250, NULL, &line, 1);
    }

    line.data = buf;

    if (s->rules.offer_starttls && !s->rules.tls) {
        ngx_str_set(&line, "STARTTLS");
        ngx_smtp_session_reply_line(s, 250, NULL, &line, 1);
        line.data = buf;
    }

    if (conf->auth && (s->rules.tls || s->rules.plaintext_auth)) {
        p = ngx_cpymem(buf, "AUTH", 4);

        for (m = ngx_smtp_sasl_mechanisms; m->name.len; m++) {
            if (conf->auth & m->mask) {
                p = ngx_slprintf(p, last, " %V", &m->name);
            }
        }

        line.len = p - buf;
        ngx_smtp_session_reply_line(s, 250, NULL, &line, 1);
    }

    if (s->rules.offer_xclient && (s->rules.tls || !s->rules.need_starttls)) {
        ngx_str_set(&line, "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR "
                           "DESTPORT");
        ngx_smtp_session_reply_line(s, 250, NULL, &line, 1);
        line.data = buf;
    }

    p = ngx_slprintf(buf, last, "LIMITS RCPTMAX=%ui", conf->max_recipients);
    line.len = p - buf;
    ngx_smtp_session_reply_line(s, 250, NULL, &line, 1);

    /* SIZE without a number: no fixed limit (RFC 1870 section 4) */

    p = conf->max_message_size
        ? ngx_slprintf(buf, last, "SIZE %O", conf->max_message_size)
        : ngx_slprintf(buf, last, "SIZE");

    line.len = p - buf;
    ngx_smtp_session_reply_line(s, 250, NULL, &line, 0);
}


ngx_int_t
ngx_smtp_command_mail(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    ngx_int_t                rc;
    ngx_str_t                bad;
    ngx_smtp_path_t          path;
    ngx_smtp_envelope_t      envelope;
    ngx_smtp_srv_conf_t     *conf;
    ngx_smtp_transaction_t  *txn;

    conf = s->conf;

    ngx_memzero(&envelope, sizeof(ngx_smtp_envelope_t));

    rc = ngx_smtp_mail_parse(&cmd->arg, 0, &path, &envelope, &bad);

    if (rc == NGX_OK && envelope.smtputf8
        && !(s->extensions & NGX_SMTP_EXTENSION_SMTPUTF8))
    {
        rc = NGX_SMTP_REPLY_UNKNOWN_PARAM;
        ngx_str_set(&bad, "SMTPUTF8");
    }

    if (rc == NGX_OK && conf->max_message_size
        && envelope.size > conf->max_message_size)
    {
        rc = NGX_SMTP_REPLY_TOO_LARGE;
        bad.len = 0;
    }

    if (rc != NGX_OK) {
        ngx_smtp_session_reply(s, rc, &bad);
        return NGX_OK;
    }

    txn = ngx_smtp_session_transaction(s);
    if (txn == NULL) {
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_INTERNAL, NULL);
        return NGX_OK;
    }

    txn->envelope = envelope;

    if (ngx_array_init(&txn->envelope.rcpts, txn->pool, 2,
                       sizeof(ngx_smtp_rcpt_t))
        != NGX_OK
        || ngx_smtp_session_copy(txn->pool, &txn->envelope.envid,
                                 &envelope.envid)
        != NGX_OK
        || ngx_smtp_session_copy_path(txn->pool, &path, &txn->envelope.sender,
                                      &txn->envelope.sender_domain)
        != NGX_OK
        || ngx_smtp_session_origin(s, txn) != NGX_OK
        || ngx_smtp_transaction_id(txn) != NGX_OK)
    {
        ngx_smtp_transaction_free(txn);
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_INTERNAL, NULL);
        return NGX_OK;
    }

    s->txn = txn;
    s->transactions++;
    s->deferred = 0;

    ngx_smtp_identity_settle(s);

    rc = ngx_smtp_check_run(s, NGX_SMTP_STAGE_MAIL, NULL, &txn->reply);

    if (rc == NGX_OK) {
        rc = txn->sink->open(txn);
    }

    return ngx_smtp_session_answer(s, NGX_SMTP_VERB_MAIL, rc);
}


static ngx_smtp_transaction_t *
ngx_smtp_session_transaction(ngx_smtp_session_t *s)
{
    ngx_smtp_srv_conf_t         *conf;
    ngx_smtp_transaction_t      *txn;
    ngx_stream_core_srv_conf_t  *cscf;

    conf = s->conf;
    cscf = ngx_stream_get_module_srv_conf(s->stream, ngx_stream_core_module);

    /* the connection's own log goes with the connection */

    txn = ngx_smtp_transaction_create(cscf->error_log);
    if (txn == NULL) {
        return NULL;
    }

    txn->sink = conf->sink;
    txn->sink_conf = conf->sink_conf;
    txn->handler = ngx_smtp_session_answered;
    txn->data = s;
    txn->eval = ngx_smtp_session_transaction_eval;
    txn->log_handler = conf->log_handler;
    txn->logs = conf->logs;
    txn->started = ngx_time();
    txn->started_msec = ngx_current_msec;

    return txn;
}


static ngx_int_t
ngx_smtp_session_origin(ngx_smtp_session_t *s, ngx_smtp_transaction_t *txn)
{
    ngx_pool_t           *pool;
    ngx_str_t             protocol, cipher, *name;
    ngx_smtp_origin_t    *o;
    ngx_smtp_srv_conf_t  *conf;

    conf = s->conf;
    pool = txn->pool;
    o = &txn->origin;

    ngx_str_null(&protocol);
    ngx_str_null(&cipher);

#if (NGX_STREAM_SSL)
    if (s->connection->ssl) {
        (void) ngx_ssl_get_protocol(s->connection, pool, &protocol);
        (void) ngx_ssl_get_cipher_name(s->connection, pool, &cipher);
    }
#endif

    /* both are static, and come without length */

    if (protocol.data) {
        protocol.len = ngx_strlen(protocol.data);
    }

    if (cipher.data) {
        cipher.len = ngx_strlen(cipher.data);
    }

    o->tls_protocol = protocol;
    o->tls_cipher = cipher;
    o->hostname = conf->hostname;      /* the cycle's */
    o->server = conf->name;
    o->port = s->port;
    o->esmtp = s->rules.esmtp;

    if (s->account
        && ngx_smtp_session_copy(pool, &o->login, &s->account->login)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (s->account && s->secret
        && (ngx_smtp_session_copy(pool, &o->user, &s->secret->user) != NGX_OK
            || ngx_smtp_secret_copy(pool, &o->password, &s->secret->password)
               != NGX_OK))
    {
        return NGX_ERROR;
    }

    if (ngx_smtp_session_copy(pool, &o->addr, &s->addr) != NGX_OK) {
        return NGX_ERROR;
    }

    name = ngx_smtp_identity_name(s);

    if (name && ngx_smtp_session_copy(pool, &o->name, name) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_smtp_session_copy(pool, &o->helo, &s->helo);
}


/*
 * The name of a transaction in Received and in logs: it exists before the
 * message has a queue id, and for those that never get one.  Message-ID is
 * made of it, too: nodes behind one smtp_hostname, whose workers in containers
 * may have the same pid, must not make the same one.
 */

static ngx_int_t
ngx_smtp_transaction_id(ngx_smtp_transaction_t *txn)
{
    static uint32_t   number;
    static uint64_t   worker;
    static ngx_pid_t  pid;

    if (pid != ngx_pid) {

        if (RAND_bytes((u_char *) &worker, sizeof(worker)) != 1) {
            ERR_clear_error();
            return NGX_ERROR;
        }

        pid = ngx_pid;
    }

    txn->id.data = ngx_pnalloc(txn->pool, NGX_TIME_T_LEN + 32);
    if (txn->id.data == NULL) {
        return NGX_ERROR;
    }

    txn->id.len = ngx_sprintf(txn->id.data, "%xT%010xL%06xD", txn->started,
                              worker & 0xffffffffff, number++ & 0xffffff)
                  - txn->id.data;

    return NGX_OK;
}


ngx_int_t
ngx_smtp_command_rcpt(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    ngx_int_t                rc;
    ngx_str_t                bad;
    ngx_uint_t               flags;
    ngx_smtp_path_t          path;
    ngx_smtp_rcpt_t         *rcpt, parsed;
    ngx_smtp_srv_conf_t     *conf;
    ngx_smtp_transaction_t  *txn;

    txn = s->txn;
    conf = s->conf;

    if (txn->envelope.rcpts.nelts >= conf->max_recipients) {
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_TOO_MANY_RCPTS, NULL);
        ngx_smtp_session_deferred(s);
        return NGX_OK;
    }

    flags = txn->envelope.smtputf8 ? NGX_SMTP_PATH_UTF8 : 0;

    if (conf->domains || conf->domains_values) {
        flags |= NGX_SMTP_PATH_POSTMASTER;
    }

    ngx_memzero(&parsed, sizeof(ngx_smtp_rcpt_t));

    rc = ngx_smtp_rcpt_parse(&cmd->arg, flags, &path, &parsed, &bad);

    if (rc != NGX_OK) {
        ngx_smtp_session_reply(s, rc, &bad);
        return NGX_OK;
    }

    rcpt = ngx_array_push(&txn->envelope.rcpts);
    if (rcpt == NULL) {
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_INTERNAL, NULL);
        return NGX_OK;
    }

    *rcpt = parsed;
    txn->reply.code = 0;

    if (ngx_smtp_session_copy(txn->pool, &rcpt->orcpt, &parsed.orcpt) != NGX_OK
        || ngx_smtp_session_copy_path(txn->pool, &path, &rcpt->mailbox,
                                      &rcpt->domain)
           != NGX_OK)
    {
        txn->envelope.rcpts.nelts--;
        ngx_smtp_session_reply(s, NGX_SMTP_REPLY_INTERNAL, NULL);
        return NGX_OK;
    }

    rc = ngx_smtp_check_run(s, NGX_SMTP_STAGE_RCPT, rcpt, &txn->reply);

    if (rc == NGX_OK) {
        rc = ngx_smtp_session_verify(s, rcpt);
    }

    return ngx_smtp_session_answer(s, NGX_SMTP_VERB_RCPT, rc);
}


/* The verifier first, if there is one; then the sink. */

static ngx_int_t
ngx_smtp_session_verify(ngx_smtp_session_t *s, ngx_smtp_rcpt_t *rcpt)
{
    ngx_int_t             rc;
    ngx_smtp_srv_conf_t  *conf;

    conf = s->conf;

    if (conf->verifier) {
        rc = conf->verifier->rcpt(s->txn, rcpt, conf->verifier_conf);

        if (rc != NGX_OK) {
            s->verifying = (rc == NGX_AGAIN) ? NGX_SMTP_VERIFY_BEFORE : 0;
            return rc;
        }
    }

    return ngx_smtp_session_sink_rcpt(s, rcpt);
}


static ngx_int_t
ngx_smtp_session_sink_rcpt(ngx_smtp_session_t *s, ngx_smtp_rcpt_t *rcpt)
{
    ngx_int_t  rc;

    s->asked = s->txn->sink;

    rc = s->asked->rcpt(s->txn, rcpt);

    return ngx_smtp_session_sink_answered(s, rcpt, rc);
}


/*
 * A sink that could not have the transaction has given it to another one,
 * which took the recipient unseen: the verifier has not looked at it for that.
 */

static ngx_int_t
ngx_smtp_session_sink_answered(ngx_smtp_session_t *s, ngx_smtp_rcpt_t *rcpt,
    ngx_int_t rc)
{
    ngx_smtp_srv_conf_t  *conf;

    conf = s->conf;

    if (rc != NGX_OK || conf->verifier == NULL || s->txn->sink == s->asked) {
        return rc;
    }

    rc = conf->verifier->rcpt(s->txn, rcpt, conf->verifier_conf);

    s->verifying = (rc == NGX_AGAIN) ? NGX_SMTP_VERIFY_BEHIND : 0;

    return rc;
}


void
ngx_smtp_session_rcpt_answered(ngx_smtp_session_t *s)
{
    ngx_int_t         rc;
    ngx_uint_t        verifying;
    ngx_array_t      *rcpts;
    ngx_smtp_rcpt_t  *rcpt;

    verifying = s->verifying;
    s->verifying = 0;

    rcpts = &s->txn->envelope.rcpts;
    rcpt = (ngx_smtp_rcpt_t *) rcpts->elts + rcpts->nelts - 1;

    rc = s->txn->rc;

    if (verifying == 0) {
        rc = ngx_smtp_session_sink_answered(s, rcpt, rc);

    } else if (verifying == NGX_SMTP_VERIFY_BEFORE && rc == NGX_OK) {
        rc = ngx_smtp_session_sink_rcpt(s, rcpt);
    }

    (void) ngx_smtp_session_answer(s, NGX_SMTP_VERB_RCPT, rc);
}


ngx_int_t
ngx_smtp_session_answer(ngx_smtp_session_t *s, ngx_uint_t verb, ngx_int_t rc)
{
    ngx_uint_t               code;
    ngx_smtp_transaction_t  *txn;

    txn = s->txn;

    if (rc == NGX_AGAIN) {
        s->awaited = verb;
        s->waiting = 1;
        return NGX_AGAIN;
    }

    ngx_smtp_session_reply_answer(s, &txn->reply);
    ngx_str_null(&txn->reply.detail);

    if (rc == NGX_OK) {
        txn->reply.code = 0;
        ngx_smtp_rules_accept(&s->rules, verb);

    } else if (verb == NGX_SMTP_VERB_RCPT) {
        txn->envelope.rcpts.nelts--;

        code = txn->reply.code ? txn->reply.code
                               : ngx_smtp_reply_get(txn->reply.id)->code;

        if (code < 500) {
            ngx_smtp_session_deferred(s);
        }

    } else {
        txn->refused = 1;
        ngx_smtp_session_end_transaction(s);
    }

    return NGX_OK;
}


/* The sink answers later; the session goes on when it runs next. */

static void
ngx_smtp_session_answered(ngx_smtp_transaction_t *txn)
{
    ngx_smtp_session_t  *s;

    s = txn->data;

    ngx_log_debug2(NGX_LOG_DEBUG_STREAM, s->connection->log, 0,
                   "smtp sink answered %ui: %i", s->awaited, txn->rc);

    ngx_smtp_session_resume(s);
}


static ngx_stream_session_t *
ngx_smtp_session_transaction_eval(ngx_smtp_transaction_t *txn,
    ngx_pool_t *pool, ngx_smtp_rcpt_t *rcpt)
{
    return ngx_smtp_session_eval(txn->data, pool, rcpt);
}


ngx_stream_session_t *
ngx_smtp_session_eval(ngx_smtp_session_t *s, ngx_pool_t *pool,
    ngx_smtp_rcpt_t *rcpt)
{
    ngx_smtp_eval_ctx_t  ctx;

    if (s->snapshot == NULL) {
        s->snapshot = ngx_smtp_snapshot_create(s->stream,
                                               ngx_smtp_identity_pool(s));
        if (s->snapshot == NULL) {
            return NULL;
        }
    }

    ngx_memzero(&ctx, sizeof(ngx_smtp_eval_ctx_t));

    ctx.helo = s->helo;
    ctx.size = -1;
    ctx.rcpt = rcpt;
    ctx.transaction = s->txn;

    if (s->account) {
        ctx.login = s->account->login;
    }

    if (s->txn) {
        ctx.envelope = &s->txn->envelope;
    }

    return ngx_smtp_eval_create(pool, s->txn ? s->txn->log
                                             : s->connection->log,
                                s->snapshot, &ctx);
}


static ngx_int_t
ngx_smtp_session_copy_path(ngx_pool_t *pool, ngx_smtp_path_t *path,
    ngx_str_t *mailbox, ngx_str_t *domain)
{
    if (ngx_smtp_session_copy(pool, mailbox, &path->mailbox) != NGX_OK
        || ngx_smtp_session_copy(pool, domain, &path->domain) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_strlow(domain->data, domain->data, domain->len);

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_session_copy(ngx_pool_t *pool, ngx_str_t *dst, ngx_str_t *src)
{
    if (src->len == 0) {
        ngx_str_null(dst);
        return NGX_OK;
    }

    dst->data = ngx_pnalloc(pool, src->len);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    dst->len = src->len;
    ngx_memcpy(dst->data, src->data, src->len);

    return NGX_OK;
}
