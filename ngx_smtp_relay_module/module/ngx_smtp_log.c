
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * smtp_log: one JSON object a line, for each transaction and each delivery
 * attempt (docs/directives.md has the members).  A line is built in a buffer
 * of the worker that grows, and is written by one call, so that workers do not
 * mix their lines.  Whatever a client or peer sent is escaped.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_address.h"
#include "ngx_smtp_reply.h"
#include "ngx_smtp_conf.h"


#define NGX_SMTP_LOG_BUFFER  4096
#define NGX_SMTP_LOG_KEEP    65536      /* a larger buffer is given back */


typedef struct {
    u_char      *start;
    u_char      *pos;
    u_char      *end;
    unsigned     failed:1;              /* no memory: the line is dropped */
} ngx_smtp_log_line_t;


static ngx_int_t ngx_smtp_log_begin(const char *event);
static void ngx_smtp_log_end(ngx_open_file_t *file);
static ngx_int_t ngx_smtp_log_room(size_t len);
static void ngx_smtp_log_raw(const char *text);
static void ngx_smtp_log_key(const char *name);
static void ngx_smtp_log_string(ngx_str_t *s);
static void ngx_smtp_log_latin1(ngx_str_t *s);
static void ngx_smtp_log_member(const char *name, ngx_str_t *value);
static void ngx_smtp_log_number(const char *name, off_t value);
static void ngx_smtp_log_seconds(const char *name, ngx_msec_t ms);
static void ngx_smtp_log_code(ngx_uint_t code, ngx_str_t *reply);
static void ngx_smtp_log_results(ngx_smtp_attempt_t *a);
static ngx_str_t *ngx_smtp_log_rcpt(ngx_smtp_attempt_t *a, ngx_uint_t i);


static ngx_smtp_log_line_t  ngx_smtp_log_line;


static ngx_str_t  ngx_smtp_log_outcomes[] = {
    ngx_string("unknown"),
    ngx_string("delivered"),
    ngx_string("partial"),
    ngx_string("deferred"),
    ngx_string("failed"),
    ngx_string("expired")
};


static ngx_str_t  ngx_smtp_log_accepted = ngx_string("accepted");
static ngx_str_t  ngx_smtp_log_refused = ngx_string("refused");
static ngx_str_t  ngx_smtp_log_aborted = ngx_string("aborted");


static ngx_str_t  ngx_smtp_log_statuses[] = {
    ngx_string("unknown"),
    ngx_string("delivered"),
    ngx_string("delivered"),
    ngx_string("failed"),
    ngx_string("expired"),
    ngx_string("deferred")
};


static ngx_str_t  ngx_smtp_log_reports[] = {
    ngx_null_string,
    ngx_string("failure"),
    ngx_string("delay"),
    ngx_string("success"),
    ngx_string("double")
};


char *
ngx_smtp_conf_log(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_server_conf_t *sscf = conf;

    ngx_str_t  *value;

    if (sscf->log_set) {
        return "is duplicate";
    }

    value = cf->args->elts;
    sscf->log_set = 1;

    if (ngx_strcmp(value[1].data, "off") == 0 && cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (cf->args->nelts == 3 && ngx_strcmp(value[2].data, "json") != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown log format \"%V\", must be \"json\"",
                           &value[2]);
        return NGX_CONF_ERROR;
    }

    sscf->log = ngx_conf_open_file(cf->cycle, &value[1]);

    return sscf->log ? NGX_CONF_OK : NGX_CONF_ERROR;
}


void
ngx_smtp_log_transaction(ngx_smtp_transaction_t *txn)
{
    u_char                  *p;
    ngx_str_t                reply;
    ngx_uint_t               i, code;
    ngx_smtp_rcpt_t         *rcpt;
    const ngx_smtp_reply_t  *row;
    u_char                   buf[NGX_SMTP_REPLY_LINE_MAX];

    if (ngx_smtp_log_begin("transaction") != NGX_OK) {
        return;
    }

    ngx_smtp_log_member("id", &txn->id);
    ngx_smtp_log_member("queue_id", &txn->queue_id);
    ngx_smtp_log_member("client", &txn->origin.addr);
    ngx_smtp_log_number("port", txn->origin.port);
    ngx_smtp_log_member("helo", &txn->origin.helo);
    ngx_smtp_log_member("login", &txn->origin.login);
    ngx_smtp_log_member("tls", &txn->origin.tls_protocol);
    ngx_smtp_log_member("cipher", &txn->origin.tls_cipher);
    ngx_smtp_log_member("from", &txn->envelope.sender);

    ngx_smtp_log_key("to");
    ngx_smtp_log_raw("[");

    rcpt = txn->envelope.rcpts.elts;

    for (i = 0; i < txn->envelope.rcpts.nelts; i++) {

        if (i) {
            ngx_smtp_log_raw(",");
        }

        ngx_smtp_log_string(&rcpt[i].mailbox);
    }

    ngx_smtp_log_raw("]");

    ngx_smtp_log_number("size", txn->content.size);

    /* all recipients refused is a refusal; anything else was given up */

    ngx_smtp_log_member("status",
                        txn->accepted ? &ngx_smtp_log_accepted
                        : txn->refused || (txn->envelope.rcpts.nelts == 0
                                           && txn->reply.id
                                              != NGX_SMTP_REPLY_MAIL_OK)
                        ? &ngx_smtp_log_refused : &ngx_smtp_log_aborted);

    reply.data = buf;

    if (txn->reply.code) {
        code = txn->reply.code;

        p = ngx_slprintf(buf, buf + sizeof(buf), "%V ", &txn->reply.enhanced);
        p = ngx_smtp_reply_sanitize(p, buf + sizeof(buf), &txn->reply.text);

    } else {
        row = ngx_smtp_reply_get(txn->reply.id);
        code = row->code;

        p = ngx_slprintf(buf, buf + sizeof(buf), "%V %V%s%V",
                         &row->enhanced, &row->text,
                         txn->reply.detail.len ? " " : "",
                         &txn->reply.detail);
    }

    reply.len = p - buf;

    ngx_smtp_log_code(code, &reply);

    if (txn->passed.tries) {
        ngx_smtp_log_member("upstream", &txn->passed.addr);
        ngx_smtp_log_number("upstream_tries", txn->passed.tries);
        ngx_smtp_log_seconds("upstream_time", txn->passed.time);
    }

    ngx_smtp_log_seconds("duration", ngx_current_msec - txn->started_msec);

    ngx_smtp_log_end(txn->logs);
}


void
ngx_smtp_log_attempt(void *data, ngx_smtp_attempt_t *a)
{
    ngx_uint_t  i;

    if (ngx_smtp_log_begin("delivery") != NGX_OK) {
        return;
    }

    ngx_smtp_log_member("queue", &a->queue->name);
    ngx_smtp_log_member("queue_id", &a->queue_id);
    ngx_smtp_log_member("report",
                        &ngx_smtp_log_reports[ngx_min(a->report, 4)]);
    ngx_smtp_log_member("from", &a->envelope->sender);

    ngx_smtp_log_key("to");
    ngx_smtp_log_raw("[");

    for (i = 0; i < a->nresults; i++) {

        if (i) {
            ngx_smtp_log_raw(",");
        }

        ngx_smtp_log_string(ngx_smtp_log_rcpt(a, i));
    }

    ngx_smtp_log_raw("]");

    ngx_smtp_log_number("size", a->size);
    ngx_smtp_log_member("status",
                        &ngx_smtp_log_outcomes[a->outcome
                                               <= NGX_SMTP_ATTEMPT_EXPIRED
                                               ? a->outcome : 0]);
    ngx_smtp_log_code(a->code, &a->reply);

    if (a->outcome == NGX_SMTP_ATTEMPT_PARTIAL) {
        ngx_smtp_log_results(a);
    }

    ngx_smtp_log_member("next_hop", &a->next_hop);
    ngx_smtp_log_member("peer", &a->peer);
    ngx_smtp_log_member("tls", &a->tls_protocol);
    ngx_smtp_log_member("cipher", &a->tls_cipher);
    ngx_smtp_log_number("attempt", a->attempts);
    ngx_smtp_log_number("delay", ngx_time() - a->received);
    ngx_smtp_log_seconds("duration", a->duration);

    if (a->due) {
        ngx_smtp_log_number("next_attempt", a->due);
    }

    ngx_smtp_log_end(data);
}


/* Recipients of one attempt that fared differently. */

static void
ngx_smtp_log_results(ngx_smtp_attempt_t *a)
{
    ngx_uint_t          i;
    ngx_smtp_result_t  *r;

    ngx_smtp_log_key("results");
    ngx_smtp_log_raw("[");

    for (i = 0; i < a->nresults; i++) {
        r = &a->results[i];

        ngx_smtp_log_raw(i ? ",{\"to\":" : "{\"to\":");
        ngx_smtp_log_string(ngx_smtp_log_rcpt(a, i));
        ngx_smtp_log_member("status",
                            &ngx_smtp_log_statuses[r->status
                                                 <= NGX_SMTP_RESULT_DEFERRED
                                                 ? r->status : 0]);
        ngx_smtp_log_code(r->code, &r->text);
        ngx_smtp_log_raw("}");
    }

    ngx_smtp_log_raw("]");
}


static ngx_str_t *
ngx_smtp_log_rcpt(ngx_smtp_attempt_t *a, ngx_uint_t i)
{
    ngx_smtp_rcpt_t  *rcpt;

    rcpt = a->envelope->rcpts.elts;

    return &rcpt[a->results[i].rcpt].mailbox;
}


static ngx_int_t
ngx_smtp_log_begin(const char *event)
{
    ngx_str_t             name;
    ngx_smtp_log_line_t  *l;

    l = &ngx_smtp_log_line;
    l->pos = l->start;
    l->failed = 0;

    if (ngx_smtp_log_room(NGX_SMTP_LOG_BUFFER) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_smtp_log_raw("{\"time\":");
    ngx_smtp_log_string((ngx_str_t *) &ngx_cached_http_log_iso8601);

    name.data = (u_char *) event;
    name.len = ngx_strlen(event);

    ngx_smtp_log_member("event", &name);

    return NGX_OK;
}


static void
ngx_smtp_log_end(ngx_open_file_t *file)
{
    size_t                len;
    ssize_t               n;
    ngx_smtp_log_line_t  *l;

    static time_t  reported;

    l = &ngx_smtp_log_line;

    ngx_smtp_log_raw("}\n");

    if (!l->failed) {
        len = l->pos - l->start;
        n = ngx_write_fd(file->fd, l->start, len);

        /* once a minute: a full disk must not fill the error log too */

        if (n != (ssize_t) len && ngx_time() - reported > 59) {
            reported = ngx_time();
            ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log,
                          n == -1 ? ngx_errno : 0,
                          "smtp_log: " ngx_write_fd_n " to \"%s\" %s",
                          file->name.data,
                          n == -1 ? "failed" : "was incomplete");
        }
    }

    if (l->end - l->start > NGX_SMTP_LOG_KEEP) {
        ngx_free(l->start);
        ngx_memzero(l, sizeof(ngx_smtp_log_line_t));
    }
}


static ngx_int_t
ngx_smtp_log_room(size_t len)
{
    size_t                size;
    u_char               *p;
    ngx_smtp_log_line_t  *l;

    l = &ngx_smtp_log_line;

    if (l->failed) {
        return NGX_ERROR;
    }

    if ((size_t) (l->end - l->pos) >= len) {
        return NGX_OK;
    }

    size = (l->pos - l->start) * 2 + len;

    p = ngx_alloc(size, ngx_cycle->log);
    if (p == NULL) {
        l->failed = 1;
        return NGX_ERROR;
    }

    if (l->start) {
        ngx_memcpy(p, l->start, l->pos - l->start);
        ngx_free(l->start);
    }

    l->pos = p + (l->pos - l->start);
    l->start = p;
    l->end = p + size;

    return NGX_OK;
}


static void
ngx_smtp_log_raw(const char *text)
{
    size_t  len;

    len = ngx_strlen(text);

    if (ngx_smtp_log_room(len) == NGX_OK) {
        ngx_smtp_log_line.pos = ngx_cpymem(ngx_smtp_log_line.pos, text, len);
    }
}


static void
ngx_smtp_log_key(const char *name)
{
    ngx_smtp_log_raw(",\"");
    ngx_smtp_log_raw(name);
    ngx_smtp_log_raw("\":");
}


/* Text that is not UTF-8 is shown as if it were ISO 8859-1. */

static void
ngx_smtp_log_string(ngx_str_t *s)
{
    ngx_smtp_log_line_t  *l;

    l = &ngx_smtp_log_line;

    if (ngx_smtp_log_room(s->len * 6 + 2) != NGX_OK) {
        return;
    }

    *l->pos++ = '"';

    if (ngx_smtp_utf8_valid(s->data, s->len)) {
        l->pos = (u_char *) ngx_escape_json(l->pos, s->data, s->len);

    } else {
        ngx_smtp_log_latin1(s);
    }

    *l->pos++ = '"';
}


static void
ngx_smtp_log_latin1(ngx_str_t *s)
{
    size_t                i;
    ngx_smtp_log_line_t  *l;

    l = &ngx_smtp_log_line;

    for (i = 0; i < s->len; i++) {

        if (s->data[i] < 0x80) {
            l->pos = (u_char *) ngx_escape_json(l->pos, &s->data[i], 1);

        } else {
            l->pos = ngx_sprintf(l->pos, "\\u00%02xi",
                                 (ngx_int_t) s->data[i]);
        }
    }
}


static void
ngx_smtp_log_member(const char *name, ngx_str_t *value)
{
    ngx_smtp_log_key(name);
    ngx_smtp_log_string(value);
}


static void
ngx_smtp_log_number(const char *name, off_t value)
{
    ngx_smtp_log_key(name);

    if (ngx_smtp_log_room(NGX_OFF_T_LEN) == NGX_OK) {
        ngx_smtp_log_line.pos = ngx_sprintf(ngx_smtp_log_line.pos, "%O",
                                            value);
    }
}


static void
ngx_smtp_log_seconds(const char *name, ngx_msec_t ms)
{
    ngx_smtp_log_key(name);

    if (ngx_smtp_log_room(NGX_TIME_T_LEN + 4) == NGX_OK) {
        ngx_smtp_log_line.pos = ngx_sprintf(ngx_smtp_log_line.pos,
                                            "%T.%03M", (time_t) ms / 1000,
                                            ms % 1000);
    }
}


static void
ngx_smtp_log_code(ngx_uint_t code, ngx_str_t *reply)
{
    ngx_smtp_log_number("code", code);
    ngx_smtp_log_member("reply", reply);
}
