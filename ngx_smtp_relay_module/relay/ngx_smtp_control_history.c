
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The history of a message as JSON: attempts, what they gave, reports, and
 * what operators did.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_control_private.h"


/* groups of equal results shown of an attempt, recipients of a group */
#define NGX_SMTP_CONTROL_GROUPS  100
#define NGX_SMTP_CONTROL_GROUP   100


static ngx_uint_t ngx_smtp_control_begins(ngx_smtp_message_t *m,
    ngx_smtp_history_t *h);
static void ngx_smtp_control_event(ngx_smtp_json_t *j, ngx_smtp_event_t *e);
static void ngx_smtp_control_destination(ngx_smtp_json_t *j,
    ngx_str_t *destination);
static void ngx_smtp_control_results_group(ngx_smtp_json_t *j,
    ngx_smtp_result_t *results, ngx_uint_t n);
static ngx_uint_t ngx_smtp_control_alike(ngx_smtp_result_t *a,
    ngx_smtp_result_t *b);


static const char  *ngx_smtp_control_events[] = {
    "", "result", "deferred", "hold", "release", "report", "report_deferred",
    "reported", "done", "unanswered", "wish", "strike"
};


void
ngx_smtp_control_history(ngx_smtp_json_t *j, ngx_smtp_message_t *m,
    ngx_smtp_history_t *h)
{
    ngx_uint_t                 n;
    ngx_smtp_history_event_t  *he;

    ngx_smtp_json_key(j, "history");
    ngx_smtp_json_raw(j, "[");

    n = 0;

    for (he = h ? h->first : NULL; he; he = he->next) {
        ngx_smtp_json_raw(j, n++ ? ",{" : "{");
        ngx_smtp_control_event(j, &he->event);
        ngx_smtp_json_raw(j, "}");
    }

    ngx_smtp_json_raw(j, "]");
    ngx_smtp_json_flag(j, "history_complete",
                       h && h->whole && ngx_smtp_control_begins(m, h));
}


/*
 * A log that was written anew has only the end of the old one, and does not
 * tell; but attempts are numbered.
 */

static ngx_uint_t
ngx_smtp_control_begins(ngx_smtp_message_t *m, ngx_smtp_history_t *h)
{
    ngx_smtp_history_event_t  *he;

    for (he = h->first; he; he = he->next) {

        switch (he->event.type) {

        case NGX_SMTP_LOG_RESULT:
        case NGX_SMTP_LOG_DEFERRED:
        case NGX_SMTP_LOG_SETTLE:
            return he->event.attempts <= 1;
        }
    }

    return m->attempts == 0;
}


static void
ngx_smtp_control_event(ngx_smtp_json_t *j, ngx_smtp_event_t *e)
{
    ngx_smtp_json_count(j, "time", e->time);
    ngx_smtp_json_text(j, "event", e->type == NGX_SMTP_LOG_MOVED
                                   ? "moved"
                                   : ngx_smtp_control_events[e->type]);

    switch (e->type) {

    case NGX_SMTP_LOG_DEFERRED:
    case NGX_SMTP_LOG_RESULT:
        ngx_smtp_json_count(j, "attempt", e->attempts);
        break;

    case NGX_SMTP_LOG_REPORT:
        ngx_smtp_json_text(j, "kind", ngx_smtp_control_kinds[e->kind]);

        /* fall through */

    case NGX_SMTP_LOG_REPORT_DEFERRED:
    case NGX_SMTP_LOG_REPORTED:
        ngx_smtp_json_count(j, "report", e->report);
        break;

    case NGX_SMTP_LOG_STRIKE:
        ngx_smtp_json_count(j, "strikes", e->attempts);
        break;

    case NGX_SMTP_LOG_WISH:
        ngx_smtp_json_text(j, "wish", ngx_smtp_control_wishes[e->kind]);
        break;

    case NGX_SMTP_LOG_MOVED:
        ngx_smtp_control_destination(j, &e->queue);
        break;
    }

    if (e->until) {
        ngx_smtp_json_count(j, "due", e->until);
    }

    if (e->peer.len) {
        ngx_smtp_json_member(j, "peer", &e->peer);
    }

    if (e->nresults) {
        ngx_smtp_control_results_group(j, e->results, e->nresults);
    }
}


static void
ngx_smtp_control_destination(ngx_smtp_json_t *j, ngx_str_t *destination)
{
    ngx_str_t  queue, hop;

    ngx_smtp_destination(destination, &queue, &hop);

    ngx_smtp_json_member(j, "queue", &queue);

    if (hop.len) {
        ngx_smtp_json_member(j, "next_hop", &hop);
    }
}


/* Neighbors with the same result are one group. */

static void
ngx_smtp_control_results_group(ngx_smtp_json_t *j, ngx_smtp_result_t *results,
    ngx_uint_t n)
{
    u_char             *p, buf[NGX_INT64_LEN + 2];
    ngx_uint_t          i, k, groups;
    ngx_smtp_result_t  *r;

    ngx_smtp_json_key(j, "results");
    ngx_smtp_json_raw(j, "[");

    for (i = 0, groups = 0; i < n && groups < NGX_SMTP_CONTROL_GROUPS; i = k) {

        r = &results[i];

        ngx_smtp_json_raw(j, groups++ ? ",{" : "{");
        ngx_smtp_json_text(j, "status", ngx_smtp_control_statuses[r->status]);
        ngx_smtp_json_count(j, "code", r->code);
        ngx_smtp_json_member(j, "text", &r->text);
        ngx_smtp_json_key(j, "recipients");
        ngx_smtp_json_raw(j, "[");

        for (k = i; k < n && ngx_smtp_control_alike(r, &results[k]); k++) {

            if (k - i >= NGX_SMTP_CONTROL_GROUP) {
                continue;
            }

            p = ngx_sprintf(buf, k > i ? ",%ui" : "%ui", results[k].rcpt);
            ngx_smtp_json_bytes(j, buf, p - buf);
        }

        ngx_smtp_json_raw(j, "]");
        ngx_smtp_json_count(j, "count", k - i);
        ngx_smtp_json_raw(j, "}");
    }

    ngx_smtp_json_raw(j, "]");

    if (i < n) {
        ngx_smtp_json_count(j, "more_results", n - i);
    }
}


static ngx_uint_t
ngx_smtp_control_alike(ngx_smtp_result_t *a, ngx_smtp_result_t *b)
{
    return a->status == b->status && a->code == b->code
           && a->text.len == b->text.len
           && (a->text.len == 0
               || ngx_memcmp(a->text.data, b->text.data, a->text.len) == 0);
}
