
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Input and output of an outbound connection.  Copied output is in malloc'ed
 * blocks, of which one is kept between messages and none when idle, so that a
 * connection that waits for work is small.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>
#include <ngx_stream.h>

#include "ngx_smtp_peer.h"
#include "ngx_smtp_peer_private.h"


#define NGX_SMTP_PEER_BLOCK  16384


struct ngx_smtp_peer_block_s {
    ngx_smtp_peer_block_t    *next;
    u_char                   *last;
    u_char                   *end;
    u_char                    data[1];
};


static ngx_uint_t ngx_smtp_peer_fill(ngx_smtp_peer_t *p, ngx_uint_t *full);
static ngx_chain_t *ngx_smtp_peer_add(ngx_smtp_peer_t *p, u_char *data,
    size_t len);
static ngx_int_t ngx_smtp_peer_send(ngx_smtp_peer_t *p);
static ngx_int_t ngx_smtp_peer_keep(ngx_smtp_peer_t *p);
static ngx_smtp_peer_block_t *ngx_smtp_peer_block(ngx_smtp_peer_t *p);


void
ngx_smtp_peer_read_handler(ngx_event_t *rev)
{
    ngx_uint_t         got, full;
    ngx_connection_t  *c;
    ngx_smtp_peer_t   *p;

    c = rev->data;
    p = c->data;

    ngx_log_debug0(NGX_LOG_DEBUG_STREAM, rev->log, 0,
                   "smtp peer read handler");

    if (c->close) {
        p->handler(p, NGX_SMTP_PEER_SHUTDOWN);
        return;
    }

    if (rev->timedout) {
        rev->timedout = 0;
        ngx_smtp_peer_failed(p, NGX_SMTP_PEER_TIMEDOUT, NGX_ETIMEDOUT);
        return;
    }

    if (p->event.posted) {

        /* its end was seen: that is told first */

        return;
    }

    got = ngx_smtp_peer_fill(p, &full);

    if (!p->event.posted && ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_smtp_peer_failed(p, NGX_SMTP_PEER_ERROR, 0);
        return;
    }

    if (full && !p->event.posted) {

        /* no new edge will come for the rest: the next turn takes it */

        ngx_post_event(rev, &ngx_posted_next_events);
    }

    if (got) {
        p->handler(p, NGX_SMTP_PEER_READ);
    }
}


/*
 * Reads what there is; 1 if there was something.  The end of input is posted.
 * full: the buffer has no room, and there may be more.
 */

static ngx_uint_t
ngx_smtp_peer_fill(ngx_smtp_peer_t *p, ngx_uint_t *full)
{
    size_t             room;
    ssize_t            n;
    ngx_uint_t         got;
    ngx_connection_t  *c;

    c = p->connection;
    got = 0;
    *full = 0;

    if (p->in.pos == p->in.last) {
        p->in.pos = p->in.start;
        p->in.last = p->in.start;
    }

    for ( ;; ) {
        room = p->in.end - p->in.last;

        if (room == 0) {
            *full = 1;
            return got;
        }

        n = c->recv(c, p->in.last, room);

        if (n == NGX_AGAIN) {
            return got;
        }

        if (n == 0 || n == NGX_ERROR) {
            p->err = n ? ngx_socket_errno : 0;

            ngx_smtp_peer_post(p, NGX_SMTP_PEER_FAILED,
                               n ? NGX_SMTP_PEER_ERROR : NGX_SMTP_PEER_CLOSED);
            return got;
        }

        p->in.last += n;
        got = 1;

        if (!c->read->ready) {
            return got;
        }
    }
}


void
ngx_smtp_peer_write_handler(ngx_event_t *wev)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;
    ngx_smtp_peer_t   *p;

    c = wev->data;
    p = c->data;

    ngx_log_debug0(NGX_LOG_DEBUG_STREAM, wev->log, 0,
                   "smtp peer write handler");

    if (c->close) {
        p->handler(p, NGX_SMTP_PEER_SHUTDOWN);
        return;
    }

    if (wev->timedout) {
        wev->timedout = 0;
        ngx_log_error(NGX_LOG_ERR, c->log, NGX_ETIMEDOUT,
                      "next hop takes no data");
        ngx_smtp_peer_failed(p, NGX_SMTP_PEER_TIMEDOUT, NGX_ETIMEDOUT);
        return;
    }

    if (!p->blocked) {
        if (ngx_handle_write_event(wev, 0) != NGX_OK) {
            ngx_smtp_peer_failed(p, NGX_SMTP_PEER_ERROR, 0);
        }

        return;
    }

    rc = ngx_smtp_peer_send(p);

    if (rc == NGX_ERROR) {
        ngx_smtp_peer_failed(p, NGX_SMTP_PEER_ERROR, p->err);
        return;
    }

    if (rc == NGX_OK) {
        p->handler(p, NGX_SMTP_PEER_SENT);
    }
}


ngx_int_t
ngx_smtp_peer_put(ngx_smtp_peer_t *p, const u_char *data, size_t len)
{
    size_t                  n;
    ngx_chain_t            *cl;
    ngx_smtp_peer_block_t  *b;

    while (len) {
        b = ngx_smtp_peer_block(p);
        if (b == NULL) {
            return NGX_ERROR;
        }

        n = ngx_min(len, (size_t) (b->end - b->last));

        cl = p->out_last;

        if (cl && cl->buf->last == b->last && cl->buf->temporary) {
            cl->buf->last += n;
            p->out_size += n;

        } else {
            cl = ngx_smtp_peer_add(p, b->last, n);
            if (cl == NULL) {
                return NGX_ERROR;
            }

            cl->buf->temporary = 1;
        }

        b->last = ngx_cpymem(b->last, data, n);

        data += n;
        len -= n;
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_peer_ref(ngx_smtp_peer_t *p, u_char *data, size_t len)
{
    ngx_chain_t  *cl;

    if (len == 0) {
        return NGX_OK;
    }

    cl = ngx_smtp_peer_add(p, data, len);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    cl->buf->memory = 1;

    return NGX_OK;
}


ngx_int_t
ngx_smtp_peer_flush(ngx_smtp_peer_t *p)
{
    ngx_int_t  rc;

    if (p->connection == NULL) {
        return NGX_ERROR;
    }

    if (!p->blocked) {
        if (p->out == NULL) {
            return NGX_OK;
        }

        rc = ngx_smtp_peer_send(p);

        if (rc != NGX_AGAIN) {
            return rc;
        }
    }

    if (ngx_smtp_peer_keep(p) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_AGAIN;
}


/*
 * Sends what there is: NGX_OK when nothing is left, also none in the buffer of
 * TLS; NGX_AGAIN; NGX_ERROR.
 */

static ngx_int_t
ngx_smtp_peer_send(ngx_smtp_peer_t *p)
{
    off_t              size;
    ngx_chain_t       *cl, *next, *rest;
    ngx_connection_t  *c;

    c = p->connection;

    if (p->out_last) {
        p->out_last->buf->flush = 1;
    }

    rest = c->send_chain(c, p->out, 0);

    if (rest == NGX_CHAIN_ERROR) {
        p->err = ngx_socket_errno;
        return NGX_ERROR;
    }

    for (cl = p->out; cl != rest; cl = next) {
        next = cl->next;
        cl->next = p->free;
        p->free = cl;
    }

    size = 0;

    for (cl = rest; cl; cl = cl->next) {
        size += cl->buf->last - cl->buf->pos;
    }

    p->out = rest;
    p->out_size = size;

    if (rest == NULL) {
        p->out_last = NULL;
    }

    if (rest == NULL && !c->buffered) {
        p->blocked = 0;
        ngx_smtp_peer_drop_output(p, 1);

        if (c->write->timer_set) {
            ngx_del_timer(c->write);
        }

        return NGX_OK;
    }

    p->blocked = 1;

    /*
     * All of it has that time: a peer that takes some octets now and then
     * would keep its message for ever
     */

    if (!c->write->timer_set) {
        ngx_add_timer(c->write, p->send_timeout);
    }

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_AGAIN;
}


/*
 * What the kernel did not take is copied if it was only referred to.
 */

static ngx_int_t
ngx_smtp_peer_keep(ngx_smtp_peer_t *p)
{
    size_t        len;
    ngx_buf_t    *b;
    ngx_chain_t  *cl, *next;

    for (cl = p->out; cl && cl->buf->temporary; cl = cl->next) { /* void */ }

    if (cl == NULL) {
        return NGX_OK;
    }

    /* all is put again, in order; blocks are only freed when all is out */

    cl = p->out;

    p->out = NULL;
    p->out_last = NULL;
    p->out_size = 0;

    for ( /* void */ ; cl; cl = next) {
        next = cl->next;
        b = cl->buf;
        len = b->last - b->pos;

        if (b->temporary) {
            cl->next = NULL;

            if (p->out_last) {
                p->out_last->next = cl;

            } else {
                p->out = cl;
            }

            p->out_last = cl;
            p->out_size += len;
            continue;
        }

        if (ngx_smtp_peer_put(p, b->pos, len) != NGX_OK) {
            return NGX_ERROR;
        }

        cl->next = p->free;
        p->free = cl;
    }

    return NGX_OK;
}


static ngx_chain_t *
ngx_smtp_peer_add(ngx_smtp_peer_t *p, u_char *data, size_t len)
{
    ngx_chain_t  *cl;

    cl = ngx_chain_get_free_buf(p->pool, &p->free);
    if (cl == NULL) {
        return NULL;
    }

    ngx_memzero(cl->buf, sizeof(ngx_buf_t));

    cl->next = NULL;
    cl->buf->pos = data;
    cl->buf->last = data + len;

    if (p->out_last) {
        p->out_last->next = cl;

    } else {
        p->out = cl;
    }

    p->out_last = cl;
    p->out_size += len;

    return cl;
}


/*
 * A block with room.
 */

static ngx_smtp_peer_block_t *
ngx_smtp_peer_block(ngx_smtp_peer_t *p)
{
    ngx_smtp_peer_block_t  *b;

    b = p->last_block;

    if (b && b->last < b->end) {
        return b;
    }

    b = ngx_alloc(offsetof(ngx_smtp_peer_block_t, data) + NGX_SMTP_PEER_BLOCK,
                  &p->log);
    if (b == NULL) {
        return NULL;
    }

    b->next = NULL;
    b->last = b->data;
    b->end = b->data + NGX_SMTP_PEER_BLOCK;

    if (p->last_block) {
        p->last_block->next = b;

    } else {
        p->blocks = b;
    }

    p->last_block = b;

    return b;
}


void
ngx_smtp_peer_drop_output(ngx_smtp_peer_t *p, ngx_uint_t keep)
{
    ngx_chain_t            *cl, *next;
    ngx_smtp_peer_block_t  *b;

    for (cl = p->out; cl; cl = next) {
        next = cl->next;
        cl->next = p->free;
        p->free = cl;
    }

    p->out = NULL;
    p->out_last = NULL;
    p->out_size = 0;

    if (p->secret) {
        p->secret = 0;

        for (b = p->blocks; b; b = b->next) {
            ngx_explicit_memzero(b->data, b->last - b->data);
        }
    }

    if (keep && p->blocks) {
        b = p->blocks->next;

        p->blocks->next = NULL;
        p->blocks->last = p->blocks->data;
        p->last_block = p->blocks;

    } else {
        b = p->blocks;

        p->blocks = NULL;
        p->last_block = NULL;
    }

    while (b) {
        p->last_block = b->next;
        ngx_free(b);
        b = p->last_block;
    }

    p->last_block = p->blocks;
}
