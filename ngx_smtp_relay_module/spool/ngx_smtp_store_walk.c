
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Going through the messages of this worker while they come and go.  A walk
 * holds the message it looks at next and is told when that one goes; a
 * segment that goes is looked for again by the key of the last message given.
 * Owns no memory: walks and watches are their users'.
 */


#include "ngx_smtp_store_internal.h"


/* messages passed over in one call */
#define NGX_SMTP_WALK_STEPS  256


static uint32_t ngx_smtp_key_number(u_char *key);
static void ngx_smtp_walk_segment(ngx_smtp_walk_t *w);
static void ngx_smtp_walk_stop(ngx_smtp_walk_t *w);


void
ngx_smtp_message_watch(ngx_smtp_message_t *m, ngx_smtp_watch_t *w)
{
    w->message = m;
    ngx_queue_insert_tail(&m->segment->store->watches, &w->link);
}


void
ngx_smtp_message_unwatch(ngx_smtp_watch_t *w)
{
    if (w->link.next) {
        ngx_queue_remove(&w->link);
        w->link.next = NULL;
        w->link.prev = NULL;
    }

    w->message = NULL;
}


void
ngx_smtp_message_key(ngx_smtp_message_t *m, u_char *key)
{
    u_char  *p;

    p = ngx_cpymem(key, m->segment->file.header.id.bytes, NGX_SMTP_ID_SIZE);

    *p++ = (u_char) (m->number >> 24);
    *p++ = (u_char) (m->number >> 16);
    *p++ = (u_char) (m->number >> 8);
    *p = (u_char) m->number;
}


static uint32_t
ngx_smtp_key_number(u_char *key)
{
    key += NGX_SMTP_ID_SIZE;

    return (uint32_t) key[0] << 24 | (uint32_t) key[1] << 16
           | (uint32_t) key[2] << 8 | key[3];
}


ngx_int_t
ngx_smtp_key_parse(ngx_str_t *id, u_char *key)
{
    uint32_t               n;
    ngx_smtp_segment_id_t  seg;

    if (ngx_smtp_queue_id_parse(&seg, &n, id->data, id->len) != NGX_OK) {
        return NGX_ERROR;
    }

    key = ngx_cpymem(key, seg.bytes, NGX_SMTP_ID_SIZE);

    *key++ = (u_char) (n >> 24);
    *key++ = (u_char) (n >> 16);
    *key++ = (u_char) (n >> 8);
    *key = (u_char) n;

    return NGX_OK;
}


u_char *
ngx_smtp_key_text(u_char *key, u_char *buf)
{
    ngx_smtp_segment_id_t  seg;

    ngx_memcpy(seg.bytes, key, NGX_SMTP_ID_SIZE);

    return ngx_smtp_queue_id_text(&seg, ngx_smtp_key_number(key), buf);
}


void
ngx_smtp_walk_start(ngx_smtp_walk_t *w, ngx_smtp_store_t *store, u_char *after)
{
    ngx_memzero(w, sizeof(ngx_smtp_walk_t));

    w->store = store;
    w->next.step = 1;

    ngx_memcpy(w->key, after, NGX_SMTP_KEY_LEN);

    ngx_queue_insert_tail(&store->walks, &w->link);
    ngx_queue_insert_tail(&store->watches, &w->next.link);
}


ngx_int_t
ngx_smtp_walk_next(ngx_smtp_walk_t *w, ngx_smtp_message_t **mp)
{
    uint32_t             number;
    ngx_uint_t           n;
    ngx_queue_t         *q;
    ngx_smtp_message_t  *m;

    for (n = 0; n < NGX_SMTP_WALK_STEPS; n++) {

        if (w->segment == NULL) {
            ngx_smtp_walk_segment(w);

            if (w->segment == NULL) {
                return NGX_DONE;
            }

            continue;
        }

        m = w->next.message;

        if (m == NULL) {
            ngx_smtp_walk_stop(w);
            continue;
        }

        q = ngx_queue_next(&m->link);

        w->next.message = (q == ngx_queue_sentinel(&w->segment->messages))
                          ? NULL
                          : ngx_queue_data(q, ngx_smtp_message_t, link);

        number = ngx_smtp_key_number(w->key);

        if (!m->known
            || (ngx_memcmp(w->key, w->segment->file.header.id.bytes,
                           NGX_SMTP_ID_SIZE)
                == 0
                && m->number <= number))
        {
            continue;
        }

        ngx_smtp_message_key(m, w->key);
        w->ended = 0;

        *mp = m;

        return NGX_OK;
    }

    return NGX_AGAIN;
}


/* The first segment that is not behind the key. */

static void
ngx_smtp_walk_segment(ngx_smtp_walk_t *w)
{
    int                  rc;
    u_char              *id;
    ngx_queue_t         *q;
    ngx_smtp_segment_t  *seg, *first;

    first = NULL;

    for (q = ngx_queue_head(&w->store->segments);
         q != ngx_queue_sentinel(&w->store->segments);
         q = ngx_queue_next(q))
    {
        seg = ngx_queue_data(q, ngx_smtp_segment_t, link);

        if (seg->live == 0 || ngx_queue_empty(&seg->messages)) {
            continue;
        }

        id = seg->file.header.id.bytes;
        rc = ngx_memcmp(id, w->key, NGX_SMTP_ID_SIZE);

        if (rc < 0 || (rc == 0 && w->ended)) {
            continue;
        }

        if (first == NULL
            || ngx_memcmp(id, first->file.header.id.bytes, NGX_SMTP_ID_SIZE)
               < 0)
        {
            first = seg;
        }
    }

    w->segment = first;

    if (first) {
        q = ngx_queue_head(&first->messages);
        w->next.message = ngx_queue_data(q, ngx_smtp_message_t, link);
    }
}


/* No message is left in its segment: the next one is behind it. */

static void
ngx_smtp_walk_stop(ngx_smtp_walk_t *w)
{
    ngx_memcpy(w->key, w->segment->file.header.id.bytes, NGX_SMTP_ID_SIZE);
    ngx_memset(w->key + NGX_SMTP_ID_SIZE, 0xff, 4);

    w->ended = 1;
    w->segment = NULL;
}


void
ngx_smtp_walk_end(ngx_smtp_walk_t *w)
{
    if (w->store) {
        ngx_queue_remove(&w->link);
        ngx_smtp_message_unwatch(&w->next);
        w->store = NULL;
    }
}


ngx_uint_t
ngx_smtp_store_owns(ngx_smtp_store_t *store, u_char *key)
{
    ngx_queue_t         *q;
    ngx_smtp_segment_t  *seg;

    for (q = ngx_queue_head(&store->segments);
         q != ngx_queue_sentinel(&store->segments);
         q = ngx_queue_next(q))
    {
        seg = ngx_queue_data(q, ngx_smtp_segment_t, link);

        if ((seg->state == ngx_smtp_state_active
             || seg->state == ngx_smtp_state_open)
            && ngx_memcmp(seg->file.header.id.bytes, key, NGX_SMTP_ID_SIZE)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


ngx_uint_t
ngx_smtp_store_left(ngx_smtp_store_t *store)
{
    ngx_uint_t  i, n;

    n = 0;

    for (i = 0; i < store->nshunned; i++) {
        n += store->shunned[i].forever;
    }

    return n;
}
