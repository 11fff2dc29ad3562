
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What a request for queued mail is: from a query string, to the bus, from the
 * bus.  No I/O.  Both forms come from outside of this process and are checked
 * in the same places, so that what one accepts the other does.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_bus_codec.h"
#include "ngx_smtp_control.h"


static const char *ngx_smtp_control_argument(
    ngx_smtp_control_request_t *request, ngx_str_t *name, ngx_str_t *value);
static ngx_str_t *ngx_smtp_control_text(ngx_smtp_control_request_t *request,
    ngx_uint_t tag);
static ngx_int_t ngx_smtp_control_unescape(u_char *dst, u_char *src,
    size_t len, ngx_str_t *out);
static ngx_int_t ngx_smtp_control_hex(u_char c);
static ngx_int_t ngx_smtp_control_time(ngx_str_t *value, time_t *out);
static ngx_int_t ngx_smtp_control_number(ngx_str_t *value, ngx_uint_t max,
    ngx_uint_t *out);
static ngx_int_t ngx_smtp_control_number_tag(
    ngx_smtp_control_request_t *request, ngx_uint_t tag, ngx_str_t *value);


const char  *ngx_smtp_control_ops[] = {
    "", "count", "list", "show", "flush", "hold", "release", "requeue",
    "bounce", "delete", "move", "next-hop", NULL
};


const char  *ngx_smtp_control_states[] = {
    "any", "busy", "held", "unknown", "report", "due", "deferred", NULL
};


const char  *ngx_smtp_control_results[] = {
    "done", "pending", "unchanged", "refused", "again", NULL
};


static const char  ngx_smtp_control_twice[] =
                                 "an argument of the query is there twice";


/* arguments that are text */

static struct {
    const char  *name;
    ngx_uint_t   tag;
} ngx_smtp_control_texts[] = {
    { "id", NGX_SMTP_CONTROL_TAG_ID },
    { "after", NGX_SMTP_CONTROL_TAG_AFTER },
    { "queue", NGX_SMTP_CONTROL_TAG_QUEUE },
    { "sender", NGX_SMTP_CONTROL_TAG_SENDER },
    { "recipient", NGX_SMTP_CONTROL_TAG_RECIPIENT },
    { "domain", NGX_SMTP_CONTROL_TAG_DOMAIN },
    { "error", NGX_SMTP_CONTROL_TAG_ERROR },
    { "to", NGX_SMTP_CONTROL_TAG_TO },
    { NULL, 0 }
};


#define ngx_smtp_control_moves(op)                                            \
    ((op) == NGX_SMTP_CONTROL_MOVE || (op) == NGX_SMTP_CONTROL_NEXT_HOP)


#define ngx_smtp_control_is(s, lit)                                           \
    ((s)->len == ngx_strlen(lit)                                              \
     && ngx_strncmp((s)->data, lit, (s)->len) == 0)


const char *
ngx_smtp_control_query(ngx_smtp_control_request_t *request, ngx_str_t *args,
    ngx_pool_t *pool)
{
    u_char      *p, *last, *end, *eq, *buf;
    ngx_str_t    name, value;
    const char  *err;

    request->limit = 0;

    buf = ngx_pnalloc(pool, args->len + 1);
    if (buf == NULL) {
        return "no memory";
    }

    p = args->data;
    last = p + args->len;

    for ( /* void */ ; p < last; p = end + 1) {

        for (end = p; end < last && *end != '&'; end++) { /* void */ }

        if (end == p) {
            continue;
        }

        for (eq = p; eq < end && *eq != '='; eq++) { /* void */ }

        name.data = p;
        name.len = eq - p;

        ngx_str_set(&value, "");

        if (eq < end
            && ngx_smtp_control_unescape(buf, eq + 1, end - eq - 1, &value)
               != NGX_OK)
        {
            return "invalid escape or control character in the query";
        }

        buf += value.len;

        if (value.len == 0 || value.len > NGX_SMTP_CONTROL_VALUE_MAX) {
            return "an argument of the query is empty or too long";
        }

        err = ngx_smtp_control_argument(request, &name, &value);
        if (err) {
            return err;
        }
    }

    /* who limits an action expects the rest to be left alone */

    if (request->limit && request->op > NGX_SMTP_CONTROL_SHOW) {
        return "\"limit\" is for the list; an action is on all that match";
    }

    if (request->limit == 0) {
        request->limit = NGX_SMTP_CONTROL_LIMIT;
    }

    if (ngx_smtp_control_moves(request->op) && request->to.len == 0) {
        return "this action needs \"to\"";
    }

    if (!ngx_smtp_control_moves(request->op) && request->to.len) {
        return "\"to\" is for move and next-hop";
    }

    return NULL;
}


static const char *
ngx_smtp_control_argument(ngx_smtp_control_request_t *request,
    ngx_str_t *name, ngx_str_t *value)
{
    ngx_str_t   *text;
    ngx_uint_t   i;

    for (i = 0; ngx_smtp_control_texts[i].name; i++) {

        if (!ngx_smtp_control_is(name, ngx_smtp_control_texts[i].name)
            || ngx_smtp_control_texts[i].tag == NGX_SMTP_CONTROL_TAG_ID)
        {
            continue;
        }

        text = ngx_smtp_control_text(request, ngx_smtp_control_texts[i].tag);

        if (text->len) {
            return ngx_smtp_control_twice;
        }

        *text = *value;

        return NULL;
    }

    if ((request->all && ngx_smtp_control_is(name, "all"))
        || (request->limit && ngx_smtp_control_is(name, "limit"))
        || (request->older && ngx_smtp_control_is(name, "older"))
        || (request->younger && ngx_smtp_control_is(name, "younger"))
        || (request->state && ngx_smtp_control_is(name, "state")))
    {
        return ngx_smtp_control_twice;
    }

    if (ngx_smtp_control_is(name, "all")) {
        request->all = 1;
        return ngx_smtp_control_is(value, "1") ? NULL : "invalid \"all\"";
    }

    if (ngx_smtp_control_is(name, "limit")) {
        return (ngx_smtp_control_number(value, NGX_SMTP_CONTROL_LIMIT_MAX,
                                        &request->limit)
                == NGX_OK && request->limit)
               ? NULL : "invalid \"limit\", must be 1 to 1000";
    }

    if (ngx_smtp_control_is(name, "older")) {
        return (ngx_smtp_control_time(value, &request->older) == NGX_OK)
               ? NULL : "invalid \"older\", must be as \"90\", \"10m\", "
                      "\"3h\" or \"2d\"";
    }

    if (ngx_smtp_control_is(name, "younger")) {
        return (ngx_smtp_control_time(value, &request->younger) == NGX_OK)
               ? NULL : "invalid \"younger\", must be as \"90\", \"10m\", "
                      "\"3h\" or \"2d\"";
    }

    if (ngx_smtp_control_is(name, "state")) {

        for (i = 1; ngx_smtp_control_states[i]; i++) {
            if (ngx_smtp_control_is(value, ngx_smtp_control_states[i])) {
                request->state = i;
                return NULL;
            }
        }

        return "invalid \"state\", must be busy, held, unknown, report, due "
               "or deferred";
    }

    return "unknown argument in the query, must be queue, sender, recipient, "
           "domain, older, younger, state, error, limit, after, all or to";
}


static ngx_str_t *
ngx_smtp_control_text(ngx_smtp_control_request_t *request, ngx_uint_t tag)
{
    switch (tag) {

    case NGX_SMTP_CONTROL_TAG_ID:
        return &request->id;

    case NGX_SMTP_CONTROL_TAG_AFTER:
        return &request->after;

    case NGX_SMTP_CONTROL_TAG_QUEUE:
        return &request->queue;

    case NGX_SMTP_CONTROL_TAG_SENDER:
        return &request->sender;

    case NGX_SMTP_CONTROL_TAG_RECIPIENT:
        return &request->recipient;

    case NGX_SMTP_CONTROL_TAG_DOMAIN:
        return &request->domain;

    case NGX_SMTP_CONTROL_TAG_ERROR:
        return &request->error;

    case NGX_SMTP_CONTROL_TAG_TO:
        return &request->to;
    }

    return NULL;
}


/* A plus is a plus: addresses have them, and no argument has spaces. */

static ngx_int_t
ngx_smtp_control_unescape(u_char *dst, u_char *src, size_t len,
    ngx_str_t *out)
{
    u_char     *p, *last, c;
    ngx_int_t   high, low;

    p = dst;

    for (last = src + len; src < last; src++) {
        c = *src;

        if (c == '%') {
            if (last - src < 3) {
                return NGX_ERROR;
            }

            high = ngx_smtp_control_hex(src[1]);
            low = ngx_smtp_control_hex(src[2]);

            if (high < 0 || low < 0) {
                return NGX_ERROR;
            }

            c = (u_char) (high << 4 | low);
            src += 2;
        }

        if (c < 0x20 || c == 0x7f) {
            return NGX_ERROR;
        }

        *p++ = c;
    }

    out->data = dst;
    out->len = p - dst;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_control_hex(u_char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return (c >= 'a' && c <= 'f') ? c - 'a' + 10 : -1;
}


/* Seconds, or a number with one of s m h d w. */

static ngx_int_t
ngx_smtp_control_time(ngx_str_t *value, time_t *out)
{
    ngx_str_t   digits;
    ngx_uint_t  n, unit;

    digits = *value;
    unit = 1;

    switch (value->data[value->len - 1]) {

    case 'w':
        unit = 7 * 24 * 3600;
        break;

    case 'd':
        unit = 24 * 3600;
        break;

    case 'h':
        unit = 3600;
        break;

    case 'm':
        unit = 60;
        break;

    case 's':
        break;

    default:
        digits.len++;
    }

    digits.len--;

    if (ngx_smtp_control_number(&digits, 100000000, &n) != NGX_OK || n == 0) {
        return NGX_ERROR;
    }

    /* about a century */

    if (n > (ngx_uint_t) 3000000000 / unit) {
        return NGX_ERROR;
    }

    *out = (time_t) n * unit;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_control_number(ngx_str_t *value, ngx_uint_t max, ngx_uint_t *out)
{
    size_t      i;
    ngx_uint_t  n;

    if (value->len == 0 || value->len > 9) {
        return NGX_ERROR;
    }

    n = 0;

    for (i = 0; i < value->len; i++) {

        if (value->data[i] < '0' || value->data[i] > '9') {
            return NGX_ERROR;
        }

        n = n * 10 + (value->data[i] - '0');
    }

    if (n > max) {
        return NGX_ERROR;
    }

    *out = n;

    return NGX_OK;
}


ngx_uint_t
ngx_smtp_control_filtered(ngx_smtp_control_request_t *request)
{
    return request->id.len || request->queue.len || request->sender.len
           || request->recipient.len || request->domain.len
           || request->error.len || request->state || request->older
           || request->younger;
}


ngx_int_t
ngx_smtp_control_encode(ngx_smtp_control_request_t *request, ngx_pool_t *pool,
    ngx_str_t *out)
{
    size_t      len;
    u_char     *p;
    ngx_str_t  *text;
    ngx_uint_t  i;

    len = 5 * (NGX_SMTP_BUS_FIELD + 8);

    for (i = 0; ngx_smtp_control_texts[i].name; i++) {
        text = ngx_smtp_control_text(request, ngx_smtp_control_texts[i].tag);
        len += NGX_SMTP_BUS_FIELD + text->len;
    }

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    out->data = p;

    p = ngx_smtp_bus_number_put(p, NGX_SMTP_CONTROL_TAG_OP, request->op);
    p = ngx_smtp_bus_number_put(p, NGX_SMTP_CONTROL_TAG_LIMIT,
                                request->limit);

    if (request->state) {
        p = ngx_smtp_bus_number_put(p, NGX_SMTP_CONTROL_TAG_STATE,
                                    request->state);
    }

    if (request->older) {
        p = ngx_smtp_bus_number_put(p, NGX_SMTP_CONTROL_TAG_OLDER,
                                    request->older);
    }

    if (request->younger) {
        p = ngx_smtp_bus_number_put(p, NGX_SMTP_CONTROL_TAG_YOUNGER,
                                    request->younger);
    }

    for (i = 0; ngx_smtp_control_texts[i].name; i++) {
        text = ngx_smtp_control_text(request, ngx_smtp_control_texts[i].tag);

        if (text->len) {
            p = ngx_smtp_bus_field_put(p, ngx_smtp_control_texts[i].tag,
                                       text->data, text->len);
        }
    }

    out->len = p - out->data;

    return NGX_OK;
}


ngx_int_t
ngx_smtp_control_decode(ngx_smtp_control_request_t *request,
    ngx_str_t *payload)
{
    u_char      *p, *last;
    ngx_int_t    rc;
    ngx_str_t    value, *text;
    ngx_uint_t   tag;

    ngx_memzero(request, sizeof(ngx_smtp_control_request_t));

    p = payload->data;
    last = p + payload->len;

    for ( ;; ) {
        rc = ngx_smtp_bus_field_next(&p, last, &tag, &value);

        if (rc == NGX_DONE) {
            break;
        }

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        text = ngx_smtp_control_text(request, tag);

        if (text) {
            if (value.len == 0 || value.len > NGX_SMTP_CONTROL_VALUE_MAX) {
                return NGX_ERROR;
            }

            *text = value;
            continue;
        }

        /*
         * a filter that this version does not know: without it the action
         * would hit mail that was not meant
         */

        if (ngx_smtp_control_number_tag(request, tag, &value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (request->op == 0 || request->op >= NGX_SMTP_CONTROL_OPS
        || (request->op == NGX_SMTP_CONTROL_SHOW && request->id.len == 0)
        || ngx_smtp_control_moves(request->op) != (request->to.len != 0)
        || request->state >= NGX_SMTP_CONTROL_STATES
        || request->limit == 0
        || request->limit > NGX_SMTP_CONTROL_LIMIT_MAX
        || request->older < 0 || request->younger < 0)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_control_number_tag(ngx_smtp_control_request_t *request,
    ngx_uint_t tag, ngx_str_t *value)
{
    uint64_t  n;

    n = ngx_smtp_bus_number(value);

    if (n > NGX_MAX_INT32_VALUE * (uint64_t) 1000) {
        return NGX_ERROR;
    }

    switch (tag) {

    case NGX_SMTP_CONTROL_TAG_OP:
        request->op = (ngx_uint_t) n;
        return NGX_OK;

    case NGX_SMTP_CONTROL_TAG_LIMIT:
        request->limit = (ngx_uint_t) n;
        return NGX_OK;

    case NGX_SMTP_CONTROL_TAG_STATE:
        request->state = (ngx_uint_t) n;
        return NGX_OK;

    case NGX_SMTP_CONTROL_TAG_OLDER:
        request->older = (time_t) n;
        return NGX_OK;

    case NGX_SMTP_CONTROL_TAG_YOUNGER:
        request->younger = (time_t) n;
        return NGX_OK;
    }

    return NGX_ERROR;
}
