
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Which messages a request is about: what memory tells is looked at first, at
 * several millions a second; only where addresses are asked for the envelope
 * has to be read.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_control_private.h"


/* verdicts on last errors that are remembered */
#define NGX_SMTP_CONTROL_ERRORS  1024


/* has a last error the text looked for? */
struct ngx_smtp_control_verdict_s {
    uint32_t  hash;         /* 0: not known yet */
    uint32_t  found;
};


static ngx_uint_t ngx_smtp_control_error(ngx_smtp_control_filter_t *f,
    ngx_smtp_message_t *m);
static ngx_uint_t ngx_smtp_control_contains(ngx_str_t *text, ngx_str_t *part);
static ngx_uint_t ngx_smtp_control_same(ngx_str_t *a, ngx_str_t *b);


ngx_int_t
ngx_smtp_control_filter(ngx_smtp_control_filter_t *f,
    ngx_smtp_control_request_t *request, ngx_pool_t *pool)
{
    f->request = request;
    f->verdicts = NULL;
    f->addresses = (request->sender.len || request->recipient.len
                    || request->domain.len);

    if (request->error.len == 0) {
        return NGX_OK;
    }

    f->verdicts = ngx_pcalloc(pool, NGX_SMTP_CONTROL_ERRORS
                                    * sizeof(ngx_smtp_control_verdict_t));

    return f->verdicts ? NGX_OK : NGX_ERROR;
}


ngx_uint_t
ngx_smtp_control_wanted(ngx_smtp_control_filter_t *f, ngx_smtp_message_t *m)
{
    time_t                       now;
    ngx_str_t                    queue;
    ngx_smtp_control_request_t  *request;

    request = f->request;
    now = ngx_time();

    if (request->older && now - m->received < request->older) {
        return 0;
    }

    if (request->younger && now - m->received > request->younger) {
        return 0;
    }

    if (request->state == NGX_SMTP_CONTROL_UNKNOWN
        ? !ngx_smtp_control_unknown(m)
        : (request->state
           && request->state != ngx_smtp_control_state(m, now)))
    {
        return 0;
    }

    if (request->queue.len) {
        ngx_smtp_message_queue(m, &queue, NULL);

        if (queue.len != request->queue.len
            || ngx_memcmp(queue.data, request->queue.data, queue.len) != 0)
        {
            return 0;
        }
    }

    return f->verdicts == NULL || ngx_smtp_control_error(f, m);
}


/* Thousands of messages have the same last error: it is read once. */

static ngx_uint_t
ngx_smtp_control_error(ngx_smtp_control_filter_t *f, ngx_smtp_message_t *m)
{
    ngx_str_t                    error;
    ngx_smtp_control_verdict_t  *v;

    if (m->error == 0) {
        return 0;
    }

    v = &f->verdicts[m->error % NGX_SMTP_CONTROL_ERRORS];

    if (v->hash != m->error) {
        v->hash = m->error;
        v->found = ngx_smtp_message_error(m, &error) == NGX_OK
                   && ngx_smtp_control_contains(&error, &f->request->error);
    }

    return v->found;
}


static ngx_uint_t
ngx_smtp_control_contains(ngx_str_t *text, ngx_str_t *part)
{
    size_t  i;

    for (i = 0; i + part->len <= text->len; i++) {
        if (ngx_strncasecmp(text->data + i, part->data, part->len) == 0) {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_smtp_control_same(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len
           && ngx_strncasecmp(a->data, b->data, a->len) == 0;
}


ngx_uint_t
ngx_smtp_control_match(ngx_smtp_control_filter_t *f, ngx_smtp_message_t *m,
    ngx_smtp_envelope_t *e)
{
    ngx_uint_t                   i, rcpt, domain;
    ngx_smtp_rcpt_t             *rcpts;
    ngx_smtp_control_request_t  *request;

    request = f->request;

    if (request->sender.len) {

        if (request->sender.len == 2
            && ngx_strncmp(request->sender.data, "<>", 2) == 0)
        {
            if (e->sender.len) {
                return 0;
            }

        } else if (!ngx_smtp_control_same(&request->sender, &e->sender)) {
            return 0;
        }
    }

    rcpt = (request->recipient.len == 0);

    domain = (request->domain.len == 0
              || ngx_smtp_control_same(&request->domain, &e->sender_domain));

    rcpts = e->rcpts.elts;

    for (i = 0; i < e->rcpts.nelts && !(rcpt && domain); i++) {

        if (i < m->nrcpts && ngx_smtp_message_final(m, i)) {
            continue;
        }

        rcpt |= ngx_smtp_control_same(&request->recipient, &rcpts[i].mailbox);
        domain |= ngx_smtp_control_same(&request->domain, &rcpts[i].domain);
    }

    return rcpt && domain;
}
