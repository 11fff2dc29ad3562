
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A chain of malloc'ed blocks.  The first is sized for the usual message; each
 * further one is four times as large up to 64 KB, so that the waste stays
 * below the size of the message and a large one needs few blocks.
 */


#include "ngx_smtp_content.h"


#define NGX_SMTP_BLOCK_MIN   (4096 + 512)
#define NGX_SMTP_BLOCK_MAX   65536


static ngx_smtp_block_t *ngx_smtp_content_grow(ngx_smtp_content_t *c,
    ngx_log_t *log);


u_char *
ngx_smtp_content_reserve(ngx_smtp_content_t *c, u_char **last, ngx_log_t *log)
{
    ngx_smtp_block_t  *b;

    b = c->last;

    if (b == NULL || b->end - b->last < NGX_SMTP_CONTENT_ROOM) {
        b = ngx_smtp_content_grow(c, log);
        if (b == NULL) {
            return NULL;
        }
    }

    *last = b->end;

    return b->last;
}


void
ngx_smtp_content_commit(ngx_smtp_content_t *c, u_char *pos)
{
    size_t  n;

    n = pos - c->last->last;

    c->last->last = pos;
    c->buffered += n;
    c->size += n;
}


ngx_int_t
ngx_smtp_content_append(ngx_smtp_content_t *c, const u_char *data, size_t len,
    ngx_log_t *log)
{
    size_t   n;
    u_char  *p, *last;

    while (len) {
        p = ngx_smtp_content_reserve(c, &last, log);
        if (p == NULL) {
            return NGX_ERROR;
        }

        n = ngx_min(len, (size_t) (last - p));

        ngx_smtp_content_commit(c, ngx_cpymem(p, data, n));

        data += n;
        len -= n;
    }

    return NGX_OK;
}


ngx_smtp_block_t *
ngx_smtp_content_take(ngx_smtp_content_t *c)
{
    ngx_smtp_block_t  *b;

    b = c->first;

    c->first = NULL;
    c->last = NULL;
    c->buffered = 0;

    return b;
}


void
ngx_smtp_block_free(ngx_smtp_block_t *b)
{
    ngx_smtp_block_t  *next;

    for ( /* void */ ; b; b = next) {
        next = b->next;
        ngx_free(b);
    }
}


static ngx_smtp_block_t *
ngx_smtp_content_grow(ngx_smtp_content_t *c, ngx_log_t *log)
{
    size_t             size;
    ngx_smtp_block_t  *b;

    size = NGX_SMTP_BLOCK_MIN;

    if (c->last) {
        size = ngx_min((size_t) (c->last->end - c->last->data) * 4,
                       NGX_SMTP_BLOCK_MAX);
    }

    b = ngx_alloc(offsetof(ngx_smtp_block_t, data) + size, log);
    if (b == NULL) {
        return NULL;
    }

    b->next = NULL;
    b->last = b->data;
    b->end = b->data + size;

    if (c->last) {
        c->last->next = b;

    } else {
        c->first = b;
    }

    c->last = b;

    return b;
}
