
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Reports to senders.  A report is an event of the original message, not a
 * message: its text is made anew for each attempt from the original and the
 * results that the event holds (message/ngx_smtp_dsn.h).  Nothing is ever
 * reported to the null sender, and a report that fails is given up.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include <openssl/err.h>
#include <openssl/rand.h>

#include "ngx_smtp_dsn.h"
#include "ngx_smtp_header.h"
#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"


#define NGX_SMTP_BOUNCE_RANDOM  16


static ngx_int_t ngx_smtp_bounce_rcpts(ngx_smtp_delivery_t *d,
    ngx_smtp_dsn_t *dsn);
static ngx_int_t ngx_smtp_bounce_boundary(ngx_smtp_delivery_t *d,
    ngx_str_t *boundary);
static ngx_int_t ngx_smtp_bounce_envelope(ngx_smtp_delivery_t *d,
    ngx_smtp_dsn_t *dsn);


void
ngx_smtp_bounce_results(ngx_smtp_delivery_t *d, ngx_smtp_result_t *results,
    ngx_uint_t n, ngx_str_t *peer)
{
    time_t              now;
    ngx_uint_t          i, count;
    ngx_smtp_rcpt_t    *rcpts;
    ngx_smtp_result_t  *failed;
    ngx_smtp_report_t  *r;

    if (d->envelope->sender.len == 0) {
        return;
    }

    rcpts = d->envelope->rcpts.elts;
    failed = NULL;
    count = 0;

    for (i = 0; i < n; i++) {

        if (ngx_smtp_dsn_wanted(rcpts[results[i].rcpt].notify,
                                results[i].status)
            != NGX_SMTP_DSN_FAILURE)
        {
            continue;
        }

        if (failed == NULL) {
            failed = ngx_palloc(d->pool, n * sizeof(ngx_smtp_result_t));
            if (failed == NULL) {
                break;
            }
        }

        failed[count++] = results[i];
    }

    if (count == 0) {
        return;
    }

    now = ngx_time();

    r = ngx_smtp_store_report(d->message, NGX_SMTP_REPORT_FAILURE, failed,
                              count, peer, now);
    if (r) {
        ngx_smtp_route_insert_report(d->relay, r, now);
    }
}


ngx_int_t
ngx_smtp_bounce_build(ngx_smtp_delivery_t *d)
{
    ngx_time_t           *tp;
    ngx_smtp_dsn_t        dsn;
    ngx_smtp_envelope_t  *original;

    original = &d->reader->envelope;
    tp = ngx_timeofday();

    ngx_memzero(&dsn, sizeof(ngx_smtp_dsn_t));

    dsn.kind = d->report->kind;
    dsn.hostname = d->home->conf->hostname;
    dsn.sender = original->sender;
    dsn.envid = original->envid;
    dsn.queue_id = d->queue_id;
    dsn.number = d->report->number;
    dsn.arrived = d->message->received;
    dsn.now = tp->sec;
    dsn.gmtoff = tp->gmtoff;

    dsn.ret = original->ret;
    dsn.size = d->message->size;
    dsn.max_full = d->home->conf->bounce_size;
    dsn.orig_smtputf8 = original->smtputf8;

    /* without a look into the message; costs only 8BITMIME */

    dsn.orig_header_8bit = 1;
    dsn.orig_body_8bit = 1;

    /* returned whole only to those who asked for it (RFC 3461 section 4.3) */

    if (dsn.ret == NGX_SMTP_RET_UNSET) {
        dsn.ret = NGX_SMTP_RET_HDRS;
    }

    if (ngx_smtp_bounce_rcpts(d, &dsn) != NGX_OK
        || ngx_smtp_bounce_boundary(d, &dsn.boundary) != NGX_OK
        || ngx_smtp_dsn_top(&dsn, d->pool, &d->top) != NGX_OK
        || ngx_smtp_dsn_tail(&dsn, d->pool, &d->tail) != NGX_OK)
    {
        return NGX_ERROR;
    }

    d->full = dsn.full;

    if (!d->full) {
        d->header = ngx_palloc(d->pool, sizeof(ngx_smtp_header_t));
        if (d->header == NULL) {
            return NGX_ERROR;
        }
    }

    return ngx_smtp_bounce_envelope(d, &dsn);
}


static ngx_int_t
ngx_smtp_bounce_rcpts(ngx_smtp_delivery_t *d, ngx_smtp_dsn_t *dsn)
{
    ngx_uint_t            i;
    ngx_array_t          *all;
    ngx_smtp_rcpt_t      *rcpts;
    ngx_smtp_result_t    *r;
    ngx_smtp_report_t    *report;
    ngx_smtp_dsn_rcpt_t  *dr;

    report = d->report;
    all = &d->reader->envelope.rcpts;
    rcpts = all->elts;

    dr = ngx_pcalloc(d->pool, report->nresults * sizeof(ngx_smtp_dsn_rcpt_t));
    if (dr == NULL) {
        return NGX_ERROR;
    }

    dsn->rcpts = dr;

    for (i = 0; i < report->nresults; i++) {
        r = &report->results[i];

        if (r->rcpt >= all->nelts) {
            continue;
        }

        dr->mailbox = rcpts[r->rcpt].mailbox;
        dr->orcpt = rcpts[r->rcpt].orcpt;
        dr->result = r->status;
        dr->code = r->code;
        dr->text = r->text;
        dr->remote = report->peer;
        dr->attempted = report->created;

        dr++;
    }

    dsn->nrcpts = dr - dsn->rcpts;

    return dsn->nrcpts ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_smtp_bounce_boundary(ngx_smtp_delivery_t *d, ngx_str_t *boundary)
{
    u_char  random[NGX_SMTP_BOUNCE_RANDOM];

    if (RAND_bytes(random, sizeof(random)) != 1) {
        ERR_clear_error();
        return NGX_ERROR;
    }

    boundary->len = 2 * sizeof(random);
    boundary->data = ngx_pnalloc(d->pool, boundary->len);

    if (boundary->data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(boundary->data, random, sizeof(random));

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_bounce_envelope(ngx_smtp_delivery_t *d, ngx_smtp_dsn_t *dsn)
{
    ngx_smtp_rcpt_t      *rcpt;
    ngx_smtp_envelope_t  *e, *original;

    original = &d->reader->envelope;

    e = ngx_pcalloc(d->pool, sizeof(ngx_smtp_envelope_t));
    if (e == NULL
        || ngx_array_init(&e->rcpts, d->pool, 1, sizeof(ngx_smtp_rcpt_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    rcpt = ngx_array_push(&e->rcpts);

    ngx_memzero(rcpt, sizeof(ngx_smtp_rcpt_t));

    rcpt->mailbox = original->sender;
    rcpt->domain = original->sender_domain;
    rcpt->notify = NGX_SMTP_NOTIFY_NEVER;

    e->smtputf8 = dsn->smtputf8;
    e->body = dsn->body_8bit ? NGX_SMTP_BODY_8BITMIME : NGX_SMTP_BODY_UNSET;

    /* of a header section nobody knows the size before it was read */

    if (d->full) {
        e->size = d->top.len + d->message->size + d->tail.len;
    }

    d->envelope = e;

    return NGX_OK;
}


ngx_int_t
ngx_smtp_bounce_slice(ngx_smtp_delivery_t *d, ngx_str_t *slice)
{
    off_t               before;
    ngx_int_t           rc;
    ngx_smtp_header_t  *h;

    if (d->full) {
        return NGX_OK;
    }

    h = d->header;
    before = h->size;

    rc = ngx_smtp_header_scan(h, slice->data, slice->len);

    if (rc == NGX_AGAIN) {
        return NGX_OK;
    }

    /* the end of the header, or of what we return of a huge one */

    slice->len = (rc == NGX_OK) ? (size_t) (h->size - before) : 0;

    return NGX_DONE;
}
