
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What an operator changes of a message besides hold: where it goes, and what
 * is to become of it when its attempt is over; and the texts of last errors.
 *
 * A destination is a string that stands for a queue, or for a queue and a next
 * hop; messages have the index of theirs.  Destinations come from the
 * configuration, from segments, and from operators, who are bounded: when the
 * table is full, a next hop that no message has any more makes room.
 */


#include "ngx_smtp_store_internal.h"


static ngx_int_t ngx_smtp_store_find(ngx_smtp_store_t *store,
    ngx_str_t *destination);
static ngx_int_t ngx_smtp_store_hop(ngx_smtp_store_t *store,
    ngx_str_t *destination);
static ngx_int_t ngx_smtp_store_reuse(ngx_smtp_store_t *store,
    ngx_str_t *destination);


void
ngx_smtp_destination(ngx_str_t *destination, ngx_str_t *queue, ngx_str_t *hop)
{
    u_char  *p;

    *queue = *destination;

    if (hop) {
        ngx_str_null(hop);
    }

    p = memchr(destination->data, '\0', destination->len);

    if (p == NULL) {
        return;
    }

    queue->len = p - destination->data;

    if (hop) {
        hop->data = p + 1;
        hop->len = destination->len - queue->len - 1;
    }
}


ngx_uint_t
ngx_smtp_store_base(ngx_smtp_store_t *store, ngx_uint_t i)
{
    ngx_int_t  n;
    ngx_str_t  queue;

    if (i < store->conf->queues.nelts) {
        return i;
    }

    ngx_smtp_destination(&store->queues[i], &queue, NULL);

    n = (queue.len == store->queues[i].len)
        ? NGX_DECLINED : ngx_smtp_store_find(store, &queue);

    return (n == NGX_DECLINED) ? store->conf->queues.nelts : (ngx_uint_t) n;
}


ngx_uint_t
ngx_smtp_store_unknown(ngx_smtp_store_t *store, ngx_uint_t i)
{
    return ngx_smtp_store_base(store, i) == store->conf->queues.nelts;
}


/* The index of one of conf->queues, or NGX_DECLINED. */

static ngx_int_t
ngx_smtp_store_find(ngx_smtp_store_t *store, ngx_str_t *destination)
{
    ngx_uint_t  i;

    for (i = 0; i < store->conf->queues.nelts; i++) {
        if (store->queues[i].len == destination->len
            && ngx_memcmp(store->queues[i].data, destination->data,
                          destination->len)
               == 0)
        {
            return i;
        }
    }

    return NGX_DECLINED;
}


void
ngx_smtp_message_queue(ngx_smtp_message_t *m, ngx_str_t *queue, ngx_str_t *hop)
{
    ngx_smtp_store_queue_name(m->segment->store, m->queue, queue, hop);
}


void
ngx_smtp_store_queue_name(ngx_smtp_store_t *store, ngx_uint_t i,
    ngx_str_t *queue, ngx_str_t *hop)
{
    ngx_smtp_destination(&store->queues[i], queue, hop);
}


void *
ngx_smtp_message_data(ngx_smtp_message_t *m)
{
    return m->segment->store->conf->data;
}


ngx_int_t
ngx_smtp_store_move(ngx_smtp_message_t *m, ngx_str_t *queue, ngx_str_t *hop,
    time_t now)
{
    u_char             *p, buf[NGX_SMTP_DESTINATION];
    ngx_int_t           i;
    ngx_str_t           destination;
    ngx_smtp_event_t    e;
    ngx_smtp_store_t   *store;

    store = m->segment->store;

    if (queue->len >= NGX_SMTP_DESTINATION
        || hop->len >= NGX_SMTP_DESTINATION - queue->len
        || ngx_smtp_store_find(store, queue) == NGX_DECLINED)
    {
        return NGX_DECLINED;
    }

    p = ngx_cpymem(buf, queue->data, queue->len);

    if (hop->len) {
        *p++ = '\0';
        p = ngx_cpymem(p, hop->data, hop->len);
    }

    destination.data = buf;
    destination.len = p - buf;

    i = hop->len ? ngx_smtp_store_hop(store, &destination)
                 : ngx_smtp_store_queue(store, &destination);

    if (i == NGX_ERROR) {
        return NGX_ERROR;
    }

    ngx_smtp_message_count(m, -1);

    m->queue = (uint16_t) i;
    m->unknown_queue = 0;

    ngx_smtp_message_count(m, 1);

    ngx_smtp_event_init(&e, m, NGX_SMTP_LOG_MOVED, now);

    e.queue = store->queues[i];

    ngx_smtp_event_record(m->segment, &e);

    return NGX_OK;
}


/* The index of a destination with a next hop; NGX_ERROR: too many of them. */

static ngx_int_t
ngx_smtp_store_hop(ngx_smtp_store_t *store, ngx_str_t *destination)
{
    ngx_uint_t  i;

    if (store->nqueues < NGX_SMTP_DESTINATIONS) {
        return ngx_smtp_store_queue(store, destination);
    }

    for (i = 0; i < store->nqueues; i++) {
        if (store->queues[i].len == destination->len
            && ngx_memcmp(store->queues[i].data, destination->data,
                          destination->len)
               == 0)
        {
            return i;
        }
    }

    return ngx_smtp_store_reuse(store, destination);
}


/*
 * A snapshot has copies of such names, so that none is looked at by a thread
 * when it goes (ngx_smtp_snapshot_add()).
 */

static ngx_int_t
ngx_smtp_store_reuse(ngx_smtp_store_t *store, ngx_str_t *destination)
{
    u_char      *p;
    ngx_str_t   *name;
    ngx_uint_t   i;

    for (i = store->conf->queues.nelts; i < store->nqueues; i++) {

        name = &store->queues[i];

        if (store->nlive[i] || memchr(name->data, '\0', name->len) == NULL) {
            continue;
        }

        p = ngx_alloc(destination->len + 1, store->log);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(p, destination->data, destination->len);
        ngx_free(name->data);

        name->data = p;
        name->len = destination->len;

        return i;
    }

    return NGX_ERROR;
}


void
ngx_smtp_store_wish(ngx_smtp_message_t *m, ngx_uint_t wish, time_t now)
{
    ngx_smtp_event_t  e;

    if (m->wish == wish) {
        return;
    }

    m->wish = wish;

    ngx_smtp_event_init(&e, m, NGX_SMTP_LOG_WISH, now);

    e.kind = wish;

    ngx_smtp_event_record(m->segment, &e);
}


void
ngx_smtp_store_error(ngx_smtp_message_t *m, ngx_str_t *text)
{
    m->error = ngx_smtp_errors_put(&m->segment->store->errors, text);
}


ngx_int_t
ngx_smtp_message_error(ngx_smtp_message_t *m, ngx_str_t *text)
{
    ngx_smtp_error_t  *e;

    ngx_str_null(text);

    e = ngx_smtp_errors_find(&m->segment->store->errors, m->error);

    if (e == NULL) {
        return NGX_DECLINED;
    }

    text->data = e->text;
    text->len = e->len;

    return NGX_OK;
}
