
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Queued messages as JSON.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_control_private.h"


/* recipients shown in a list */
#define NGX_SMTP_CONTROL_RCPTS   20

/*
 * Bytes of JSON in which a message that is shown alone has its recipients, and
 * with them its reports.  History is bounded by NGX_SMTP_HISTORY_BYTES, and
 * the header by what follows; where each byte becomes six, all of it is still
 * less than NGX_SMTP_BUS_ANSWER_MAX.
 */
#define NGX_SMTP_CONTROL_SHOWN    (1280 * 1024)
#define NGX_SMTP_CONTROL_REPORTS  (1792 * 1024)
#define NGX_SMTP_CONTROL_HEADER   (64 * 1024)


static void ngx_smtp_control_common(ngx_smtp_json_t *j,
    ngx_smtp_relay_t *relay, ngx_smtp_message_t *m, time_t now);
static void ngx_smtp_control_rcpts(ngx_smtp_json_t *j, ngx_smtp_message_t *m,
    ngx_smtp_envelope_t *e);
static void ngx_smtp_control_meta(ngx_smtp_json_t *j, ngx_smtp_meta_t *meta);
static void ngx_smtp_control_reports(ngx_smtp_json_t *j,
    ngx_smtp_message_t *m);
static void ngx_smtp_control_report(ngx_smtp_json_t *j, ngx_smtp_report_t *r);
static void ngx_smtp_control_header(ngx_smtp_json_t *j, ngx_log_t *log,
    ngx_smtp_reader_t *reader);


const char  *ngx_smtp_control_wishes[] = { "", "bounce", "delete", "" };


const char  *ngx_smtp_control_kinds[] = {
    "", "failure", "delay", "success", "double"
};


const char  *ngx_smtp_control_statuses[] = {
    "", "delivered", "relayed", "failed", "expired", "deferred"
};


ngx_uint_t
ngx_smtp_control_state(ngx_smtp_message_t *m, time_t now)
{
    if (m->busy) {
        return NGX_SMTP_CONTROL_BUSY;
    }

    if (m->hold) {
        return NGX_SMTP_CONTROL_HELD;
    }

    if (ngx_smtp_control_unknown(m)) {
        return NGX_SMTP_CONTROL_UNKNOWN;
    }

    if (m->npending == 0) {
        return NGX_SMTP_CONTROL_REPORT;
    }

    return (m->due_at <= now) ? NGX_SMTP_CONTROL_DUE
                              : NGX_SMTP_CONTROL_DEFERRED;
}


static void
ngx_smtp_control_common(ngx_smtp_json_t *j, ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m, time_t now)
{
    u_char     id[NGX_SMTP_QUEUE_ID_LEN];
    ngx_str_t  s, hop;

    s.data = id;
    s.len = ngx_smtp_message_id(m, id) - id;

    ngx_smtp_json_member(j, "id", &s);
    ngx_smtp_message_queue(m, &s, &hop);
    ngx_smtp_json_member(j, "queue", &s);

    if (hop.len) {
        ngx_smtp_json_member(j, "next_hop", &hop);
    }

    ngx_smtp_json_text(j, "state",
                    ngx_smtp_control_states[ngx_smtp_control_state(m, now)]);
    ngx_smtp_json_count(j, "size", m->size);
    ngx_smtp_json_count(j, "received", m->received);
    ngx_smtp_json_count(j, "age", ngx_max(now - m->received, 0));
    ngx_smtp_json_count(j, "attempts", m->attempts);
    ngx_smtp_json_count(j, "due", m->npending ? m->due_at : 0);
    ngx_smtp_json_count(j, "recipient_count", m->nrcpts);
    ngx_smtp_json_count(j, "pending_count", m->npending);
    ngx_smtp_json_count(j, "worker", ngx_pid);

    if (m->hold) {
        ngx_smtp_json_flag(j, "held", 1);
    }

    if (m->outstanding) {
        ngx_smtp_json_flag(j, "outstanding", 1);
    }

    if (m->wish) {
        ngx_smtp_json_text(j, "wish", ngx_smtp_control_wishes[m->wish]);
    }

    if (ngx_smtp_message_error(m, &s) == NGX_OK) {
        ngx_smtp_json_member(j, "error", &s);
    }
}


void
ngx_smtp_control_row(ngx_smtp_json_t *j, ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m, ngx_smtp_reader_t *reader, time_t now)
{
    ngx_uint_t            i, n;
    ngx_smtp_rcpt_t      *rcpts;
    ngx_smtp_envelope_t  *e;

    ngx_smtp_json_raw(j, "{");
    ngx_smtp_control_common(j, relay, m, now);

    if (reader == NULL) {
        ngx_smtp_json_flag(j, "unreadable", 1);
        ngx_smtp_json_raw(j, "}");
        return;
    }

    e = &reader->envelope;
    rcpts = e->rcpts.elts;

    ngx_smtp_json_member(j, "sender", &e->sender);
    ngx_smtp_json_key(j, "recipients");
    ngx_smtp_json_raw(j, "[");

    for (i = 0, n = 0; i < e->rcpts.nelts; i++) {

        if (i >= m->nrcpts || ngx_smtp_message_final(m, i)) {
            continue;
        }

        if (n == NGX_SMTP_CONTROL_RCPTS) {
            break;
        }

        ngx_smtp_json_raw(j, n++ ? "," : "");
        ngx_smtp_json_string(j, &rcpts[i].mailbox);
    }

    ngx_smtp_json_raw(j, "]}");
}


void
ngx_smtp_control_all(ngx_smtp_json_t *j, ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m, ngx_smtp_reader_t *reader, ngx_smtp_history_t *h,
    time_t now)
{
    ngx_smtp_envelope_t  *e;

    static const char  *rets[] = { "", "full", "hdrs", "" };
    static const char  *bodies[] = { "", "7bit", "8bitmime", "" };

    ngx_smtp_json_raw(j, "{");
    ngx_smtp_control_common(j, relay, m, now);

    if (reader == NULL) {
        ngx_smtp_json_flag(j, "unreadable", 1);
        ngx_smtp_control_reports(j, m);
        ngx_smtp_control_history(j, m, h);
        ngx_smtp_json_raw(j, "}");
        return;
    }

    e = &reader->envelope;

    ngx_smtp_json_member(j, "sender", &e->sender);
    ngx_smtp_json_member(j, "envid", &e->envid);
    ngx_smtp_json_text(j, "ret", rets[e->ret]);
    ngx_smtp_json_text(j, "body", bodies[e->body]);
    ngx_smtp_json_flag(j, "smtputf8", e->smtputf8);
    ngx_smtp_json_flag(j, "requiretls", e->requiretls);

    ngx_smtp_control_rcpts(j, m, e);
    ngx_smtp_control_meta(j, &reader->meta);
    ngx_smtp_control_reports(j, m);
    ngx_smtp_control_history(j, m, h);
    ngx_smtp_control_header(j, relay->log, reader);

    ngx_smtp_json_raw(j, "}");
}


static void
ngx_smtp_control_rcpts(ngx_smtp_json_t *j, ngx_smtp_message_t *m,
    ngx_smtp_envelope_t *e)
{
    ngx_uint_t        i;
    ngx_smtp_rcpt_t  *rcpts;

    rcpts = e->rcpts.elts;

    ngx_smtp_json_key(j, "recipients");
    ngx_smtp_json_raw(j, "[");

    for (i = 0; i < e->rcpts.nelts; i++) {

        if (ngx_smtp_json_size(j) > NGX_SMTP_CONTROL_SHOWN) {
            break;
        }

        ngx_smtp_json_raw(j, i ? ",{" : "{");
        ngx_smtp_json_member(j, "address", &rcpts[i].mailbox);
        ngx_smtp_json_flag(j, "final", i < m->nrcpts
                                       && ngx_smtp_message_final(m, i));

        if (rcpts[i].orcpt.len) {
            ngx_smtp_json_member(j, "orcpt", &rcpts[i].orcpt);
        }

        if (rcpts[i].notify) {
            ngx_smtp_json_key(j, "notify");
            ngx_smtp_json_raw(j, "[");

            if (rcpts[i].notify & NGX_SMTP_NOTIFY_NEVER) {
                ngx_smtp_json_raw(j, "\"never\",");
            }

            if (rcpts[i].notify & NGX_SMTP_NOTIFY_SUCCESS) {
                ngx_smtp_json_raw(j, "\"success\",");
            }

            if (rcpts[i].notify & NGX_SMTP_NOTIFY_FAILURE) {
                ngx_smtp_json_raw(j, "\"failure\",");
            }

            if (rcpts[i].notify & NGX_SMTP_NOTIFY_DELAY) {
                ngx_smtp_json_raw(j, "\"delay\",");
            }

            if (!j->failed && j->pos[-1] == ',') {
                j->pos--;
            }

            ngx_smtp_json_raw(j, "]");
        }

        ngx_smtp_json_raw(j, "}");
    }

    ngx_smtp_json_raw(j, "]");

    if (i < e->rcpts.nelts) {
        ngx_smtp_json_count(j, "more_recipients", e->rcpts.nelts - i);
    }
}


static void
ngx_smtp_control_meta(ngx_smtp_json_t *j, ngx_smtp_meta_t *meta)
{
    ngx_uint_t     i;
    ngx_keyval_t  *kv;

    ngx_smtp_json_member(j, "server", &meta->server);
    ngx_smtp_json_member(j, "client", &meta->client);
    ngx_smtp_json_member(j, "helo", &meta->helo);
    ngx_smtp_json_member(j, "login", &meta->login);
    ngx_smtp_json_key(j, "kept");
    ngx_smtp_json_raw(j, "{");

    kv = meta->vars.elts;

    for (i = 0; i < meta->vars.nelts; i++) {

        if (ngx_smtp_json_size(j) > NGX_SMTP_CONTROL_SHOWN) {
            break;
        }

        ngx_smtp_json_raw(j, i ? "," : "");
        ngx_smtp_json_string(j, &kv[i].key);
        ngx_smtp_json_raw(j, ":");
        ngx_smtp_json_string(j, &kv[i].value);
    }

    ngx_smtp_json_raw(j, "}");
}


static void
ngx_smtp_control_reports(ngx_smtp_json_t *j, ngx_smtp_message_t *m)
{
    ngx_uint_t    n, more;
    ngx_queue_t  *q;

    n = 0;
    more = 0;

    ngx_smtp_json_key(j, "reports");
    ngx_smtp_json_raw(j, "[");

    for (q = ngx_queue_head(&m->reports);
         q != ngx_queue_sentinel(&m->reports);
         q = ngx_queue_next(q))
    {
        if (ngx_smtp_json_size(j) > NGX_SMTP_CONTROL_REPORTS) {
            more++;
            continue;
        }

        ngx_smtp_json_raw(j, n++ ? ",{" : "{");
        ngx_smtp_control_report(j, ngx_queue_data(q, ngx_smtp_report_t,
                                                  link));
        ngx_smtp_json_raw(j, "}");
    }

    ngx_smtp_json_raw(j, "]");

    if (more) {
        ngx_smtp_json_count(j, "more_reports", more);
    }
}


static void
ngx_smtp_control_report(ngx_smtp_json_t *j, ngx_smtp_report_t *r)
{
    ngx_uint_t  i;

    ngx_smtp_json_text(j, "kind", ngx_smtp_control_kinds[r->kind]);
    ngx_smtp_json_count(j, "created", r->created);
    ngx_smtp_json_count(j, "attempts", r->attempts);
    ngx_smtp_json_count(j, "due", r->due_at);
    ngx_smtp_json_member(j, "peer", &r->peer);
    ngx_smtp_json_key(j, "results");
    ngx_smtp_json_raw(j, "[");

    for (i = 0; i < r->nresults; i++) {

        if (ngx_smtp_json_size(j) > NGX_SMTP_CONTROL_REPORTS) {
            break;
        }

        ngx_smtp_json_raw(j, i ? ",{" : "{");
        ngx_smtp_json_count(j, "recipient", r->results[i].rcpt);
        ngx_smtp_json_text(j, "status",
                           ngx_smtp_control_statuses[r->results[i].status]);
        ngx_smtp_json_count(j, "code", r->results[i].code);
        ngx_smtp_json_member(j, "text", &r->results[i].text);
        ngx_smtp_json_raw(j, "}");
    }

    ngx_smtp_json_raw(j, "]");

    if (i < r->nresults) {
        ngx_smtp_json_count(j, "more_results", r->nresults - i);
    }
}


/* The fields we added and those that came, up to the first empty line. */

static void
ngx_smtp_control_header(ngx_smtp_json_t *j, ngx_log_t *log,
    ngx_smtp_reader_t *reader)
{
    u_char           *p, *last;
    ngx_str_t         slice, header;
    ngx_uint_t        n;
    ngx_smtp_json_t   text;

    ngx_smtp_json_init(&text, log);

    /* two slices of a message on disk: fields, and the first piece */

    for (n = 0; n < (reader->message->fresh ? 64 : 1)
                    + (ngx_uint_t) (reader->fields.len != 0); n++)
    {
        if (ngx_smtp_reader_next(reader, &slice) != NGX_OK
            || ngx_smtp_json_size(&text) >= NGX_SMTP_CONTROL_HEADER)
        {
            break;
        }

        ngx_smtp_json_bytes(&text, slice.data, slice.len);
    }

    header.data = text.start;
    header.len = ngx_min(ngx_smtp_json_size(&text), NGX_SMTP_CONTROL_HEADER);

    if (header.len) {
        last = header.data + header.len;

        for (p = header.data; last - p >= 4; p++) {
            if (ngx_memcmp(p, "\r\n\r\n", 4) == 0) {
                header.len = p + 2 - header.data;
                break;
            }
        }
    }

    ngx_smtp_json_member(j, "header", &header);
    ngx_smtp_json_free(&text);
}
