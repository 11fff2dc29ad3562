
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A report as it is sent: its text is made anew for each attempt from the
 * original and the results that its event holds (message/ngx_smtp_dsn.h).
 * First the original, or its header section, is looked through: the report
 * asks for 8BITMIME only if what it returns needs it.  All memory is of the
 * delivery's pool.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include <openssl/err.h>
#include <openssl/rand.h>

#include "ngx_smtp_dsn.h"
#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"


#define NGX_SMTP_REPORT_RANDOM  16


static ngx_int_t ngx_smtp_report_scan(ngx_smtp_delivery_t *d);
static ngx_uint_t ngx_smtp_report_whole(ngx_smtp_delivery_t *d);
static ngx_int_t ngx_smtp_report_rcpts(ngx_smtp_delivery_t *d,
    ngx_smtp_dsn_t *dsn);
static ngx_int_t ngx_smtp_report_boundary(ngx_smtp_delivery_t *d,
    ngx_str_t *boundary);
static ngx_int_t ngx_smtp_report_envelope(ngx_smtp_delivery_t *d,
    ngx_smtp_dsn_t *dsn);


ngx_int_t
ngx_smtp_report_build(ngx_smtp_delivery_t *d)
{
    time_t                expire;
    ngx_int_t             rc;
    ngx_time_t           *tp;
    ngx_smtp_dsn_t        dsn;
    ngx_smtp_envelope_t  *original;

    rc = ngx_smtp_report_scan(d);

    if (rc != NGX_OK) {
        return rc;
    }

    original = &d->reader->envelope;
    tp = ngx_timeofday();

    ngx_memzero(&dsn, sizeof(ngx_smtp_dsn_t));

    dsn.kind = d->report->kind;
    dsn.hostname = d->home->conf->hostname;
    dsn.sender = original->sender;
    dsn.envid = original->envid;

    if (dsn.kind == NGX_SMTP_DSN_DOUBLE) {

        /* the postmaster knows nothing of the sender's envelope id */

        dsn.sender = d->home->conf->postmaster;
        ngx_str_null(&dsn.envid);
    }

    dsn.queue_id = d->queue_id;
    dsn.number = d->report->number;
    dsn.arrived = d->message->received;
    dsn.now = tp->sec;
    dsn.gmtoff = tp->gmtoff;

    dsn.ret = original->ret;
    dsn.size = d->message->size;
    dsn.max_full = d->home->conf->bounce_size;
    dsn.orig_smtputf8 = original->smtputf8;

    dsn.orig_header_8bit = d->header->header_8bit;
    dsn.orig_body_8bit = d->header->body_8bit;

    expire = d->home->schedule.expire;

    if (dsn.kind == NGX_SMTP_DSN_DELAY && expire > 0
        && dsn.arrived + expire > dsn.now)
    {
        dsn.until = dsn.arrived + expire;
    }

    /* returned whole only to those who asked for it (RFC 3461 section 4.3) */

    if (dsn.ret == NGX_SMTP_RET_UNSET || dsn.max_full == 0
        || d->report->headers)
    {
        dsn.ret = NGX_SMTP_RET_HDRS;
    }

    if (ngx_smtp_report_rcpts(d, &dsn) != NGX_OK
        || ngx_smtp_report_boundary(d, &dsn.boundary) != NGX_OK
        || ngx_smtp_dsn_top(&dsn, d->pool, &d->top) != NGX_OK
        || ngx_smtp_dsn_tail(&dsn, d->pool, &d->tail) != NGX_OK)
    {
        return NGX_ERROR;
    }

    d->full = dsn.full;

    return ngx_smtp_report_envelope(d, &dsn);
}


/*
 * Looks through as much of the original as is returned.  NGX_AGAIN: the next
 * slice is on its way.
 */

static ngx_int_t
ngx_smtp_report_scan(ngx_smtp_delivery_t *d)
{
    off_t               before;
    ngx_int_t           rc;
    ngx_str_t           slice;
    ngx_uint_t          whole;
    ngx_smtp_header_t  *h;

    h = d->header;

    if (h == NULL) {
        h = ngx_palloc(d->pool, sizeof(ngx_smtp_header_t));
        if (h == NULL) {
            return NGX_ERROR;
        }

        ngx_smtp_header_init(h, ngx_smtp_report_limit(d->home->conf), 0);

        d->header = h;
        d->begun = 1;
    }

    whole = ngx_smtp_report_whole(d);

    for ( ;; ) {
        rc = ngx_smtp_reader_next(d->reader, &slice);

        if (rc == NGX_DONE) {
            return NGX_OK;
        }

        if (rc == NGX_AGAIN) {
            d->reading = 1;
        }

        if (rc != NGX_OK) {
            return rc;
        }

        before = h->size;

        if (ngx_smtp_header_scan(h, slice.data, slice.len) == NGX_AGAIN) {
            continue;
        }

        if (!whole) {
            return NGX_OK;
        }

        before = h->size - before;

        ngx_smtp_header_body(h, slice.data + before, slice.len - before);
    }
}


/* what ngx_smtp_dsn_top() will decide: only for it the body is looked at */

static ngx_uint_t
ngx_smtp_report_whole(ngx_smtp_delivery_t *d)
{
    return d->report->kind == NGX_SMTP_REPORT_FAILURE
           && !d->report->headers
           && d->reader->envelope.ret == NGX_SMTP_RET_FULL
           && d->message->size <= d->home->conf->bounce_size;
}


static ngx_int_t
ngx_smtp_report_rcpts(ngx_smtp_delivery_t *d, ngx_smtp_dsn_t *dsn)
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

        dr->result = r->status;
        dr->code = r->code;
        dr->text = r->text;

        if (report->kind == NGX_SMTP_REPORT_DOUBLE) {

            /* the sender, then those he should have heard of */

            if (i == 0) {
                dr->mailbox = d->reader->envelope.sender;
                dr->remote = report->peer;
                dr->attempted = report->created;

            } else {
                dr->mailbox = rcpts[r->rcpt].mailbox;
            }

            dr++;
            continue;
        }

        /* the others have got it, or failed, meanwhile */

        if (report->kind == NGX_SMTP_REPORT_DELAY
            && ngx_smtp_message_final(d->message, r->rcpt))
        {
            continue;
        }

        dr->mailbox = rcpts[r->rcpt].mailbox;
        dr->orcpt = rcpts[r->rcpt].orcpt;
        dr->remote = report->peer;
        dr->attempted = report->created;

        dr++;
    }

    dsn->nrcpts = dr - dsn->rcpts;

    return dsn->nrcpts ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_smtp_report_boundary(ngx_smtp_delivery_t *d, ngx_str_t *boundary)
{
    u_char  random[NGX_SMTP_REPORT_RANDOM];

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
ngx_smtp_report_envelope(ngx_smtp_delivery_t *d, ngx_smtp_dsn_t *dsn)
{
    ngx_smtp_rcpt_t      *rcpt;
    ngx_smtp_envelope_t  *e;

    e = ngx_pcalloc(d->pool, sizeof(ngx_smtp_envelope_t));
    if (e == NULL
        || ngx_array_init(&e->rcpts, d->pool, 1, sizeof(ngx_smtp_rcpt_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    rcpt = ngx_array_push(&e->rcpts);

    ngx_memzero(rcpt, sizeof(ngx_smtp_rcpt_t));

    rcpt->mailbox = dsn->sender;

    if (d->report->kind != NGX_SMTP_REPORT_DOUBLE) {
        rcpt->domain = d->reader->envelope.sender_domain;
    }

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
ngx_smtp_report_slice(ngx_smtp_delivery_t *d, ngx_str_t *slice)
{
    off_t               before;
    ngx_smtp_header_t  *h;

    if (d->full) {
        return NGX_OK;
    }

    h = d->header;
    before = h->size;

    if (ngx_smtp_header_scan(h, slice->data, slice->len) == NGX_AGAIN) {
        return NGX_OK;
    }

    /* the end of the header, or of what we return of a huge one */

    slice->len = (size_t) (h->size - before);

    return NGX_DONE;
}
