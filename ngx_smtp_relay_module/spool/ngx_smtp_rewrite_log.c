
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What a log that is written anew takes over of the old one: in front of its
 * summaries who lives, and the latest events of those that do, for whoever
 * wants to know; behind SEALED everything that was recorded since the
 * rewriting began, the last of it at the commit.  Records are checked on the
 * way, as they get new sequences and CRCs, which would make anything look
 * good.
 */


#include "ngx_smtp_rewrite_internal.h"


/* a bit for each message: no segment has as many */
#define NGX_SMTP_REWRITE_LIVING (1024 * 1024)

/* what the commit may have to copy of the log */
#define NGX_SMTP_TAIL_STEP      (64 * 1024)

/* of the end of the old log, what is kept for those who want to know */
#define NGX_SMTP_REWRITE_PAST   (1024 * 1024)


static size_t ngx_smtp_rewrite_events(ngx_smtp_rewrite_t *rw, size_t size);
static ngx_uint_t ngx_smtp_rewrite_lives(ngx_smtp_rewrite_t *rw,
    uint32_t number);
static ngx_int_t ngx_smtp_rewrite_write(ngx_smtp_rewrite_t *rw, size_t size);
static ngx_int_t ngx_smtp_rewrite_records(ngx_smtp_rewrite_t *rw, off_t pos,
    off_t end, size_t *size);


/*
 * The old log goes with the ends of all that are not in the summaries any
 * more: if summaries are damaged this alone tells who had ended.
 */
ngx_int_t
ngx_smtp_rewrite_living(ngx_smtp_rewrite_t *rw)
{
    size_t                    size;
    ngx_smtp_seal_content_t  *c;

    c = &rw->content;
    size = ngx_smtp_living_size(c->next_number);

    if (size > NGX_SMTP_REWRITE_LIVING) {
        return NGX_OK;
    }

    if (ngx_smtp_rewrite_room(rw, size) != NGX_OK) {
        return NGX_ERROR;
    }

    (void) ngx_smtp_living_put(rw->buf, c->summaries, c->n, c->next_number,
                               c->now);

    return ngx_smtp_rewrite_write(rw, size);
}


/*
 * What happened to those that live, in front of their summaries.  Nothing
 * depends on it: what cannot be read is left out.
 */
ngx_int_t
ngx_smtp_rewrite_history(ngx_smtp_rewrite_t *rw)
{
    size_t     size;
    ngx_int_t  rc;

    if (rw->past < rw->tail) {
        rc = ngx_smtp_rewrite_records(rw, rw->past, rw->tail, &size);

        if (rc == NGX_OK) {

            if (rw->past + NGX_SMTP_REWRITE_PAST >= rw->tail) {
                rc = ngx_smtp_rewrite_write(rw,
                                            ngx_smtp_rewrite_events(rw, size));
                if (rc != NGX_OK) {
                    return rc;
                }
            }

            rw->past += (off_t) size;

            return NGX_AGAIN;
        }
    }

    return ngx_smtp_rewrite_sealing(rw);
}


/* Leaves in buf what is kept of size bytes; returns how many. */

static size_t
ngx_smtp_rewrite_events(ngx_smtp_rewrite_t *rw, size_t size)
{
    size_t                  need, len;
    u_char                 *p, *last, *next, *out;
    ngx_smtp_log_record_t   r;

    out = rw->buf;
    last = rw->buf + size;

    for (p = rw->buf; p < last; p = next) {

        if (ngx_smtp_log_next(p, last, rw->file->seed, 0, &r, &next, &need)
            != NGX_OK)
        {
            break;
        }

        if (!ngx_smtp_event_known(r.type) || r.length < 4
            || !ngx_smtp_rewrite_lives(rw, ngx_smtp_get32(r.payload)))
        {
            continue;
        }

        len = next - p;

        ngx_memmove(out, p, len);
        out += len;
    }

    return out - rw->buf;
}


static ngx_uint_t
ngx_smtp_rewrite_lives(ngx_smtp_rewrite_t *rw, uint32_t number)
{
    ngx_uint_t           low, high, middle;
    ngx_smtp_summary_t  *s;

    s = rw->content.summaries;
    low = 0;
    high = rw->content.n;

    while (low < high) {
        middle = (low + high) / 2;

        if (s[middle].number == number) {
            return 1;
        }

        if (s[middle].number < number) {
            low = middle + 1;

        } else {
            high = middle;
        }
    }

    return 0;
}


/* tail */

ngx_int_t
ngx_smtp_rewrite_tail(ngx_smtp_rewrite_t *rw)
{
    if (rw->broken || rw->log_end - rw->tail <= NGX_SMTP_TAIL_STEP) {
        rw->part = NULL;
        return NGX_OK;
    }

    return ngx_smtp_rewrite_tail_some(rw);
}


ngx_int_t
ngx_smtp_rewrite_tail_some(ngx_smtp_rewrite_t *rw)
{
    size_t     size;
    ngx_int_t  rc;

    rc = ngx_smtp_rewrite_records(rw, rw->tail, rw->log_end, &size);

    if (rc == NGX_OK) {
        rc = ngx_smtp_rewrite_write(rw, size);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    rw->tail += (off_t) size;

    return NGX_AGAIN;
}


static ngx_int_t
ngx_smtp_rewrite_write(ngx_smtp_rewrite_t *rw, size_t size)
{
    ngx_int_t  rc;

    if (size == 0) {
        return NGX_OK;
    }

    rc = ngx_smtp_segment_log(&rw->next, rw->buf, size, 1, 0);

    if (rc != NGX_OK) {
        rw->fault = rw->next.fault;
    }

    return rc;
}


/*
 * Reads whole records of the old log, at least one, about so many bytes as a
 * step has.  They are checked: they get new CRCs, which would make anything
 * look good.
 */
static ngx_int_t
ngx_smtp_rewrite_records(ngx_smtp_rewrite_t *rw, off_t pos, off_t end,
    size_t *sizep)
{
    size_t                  size, need;
    u_char                 *p, *last, *next;
    ssize_t                 n;
    ngx_smtp_log_record_t   r;

    size = (size_t) ngx_min(end - pos, NGX_SMTP_COPY_STEP);

    for ( ;; ) {
        if (ngx_smtp_rewrite_room(rw, size) != NGX_OK) {
            return NGX_ERROR;
        }

        n = ngx_smtp_read_all(rw->file->log, rw->buf, size, pos, &rw->fault,
                              "read() of old log");
        if (n == -1) {
            return NGX_ERROR;
        }

        p = rw->buf;
        last = rw->buf + n;
        need = 0;

        while (p < last
               && ngx_smtp_log_next(p, last, rw->file->seed, 0, &r, &next,
                                    &need)
                  == NGX_OK)
        {
            p = next;
        }

        if (p > rw->buf) {
            *sizep = p - rw->buf;
            return NGX_OK;
        }

        if (need <= size || (off_t) need > end - pos) {
            rw->fault.err = 0;
            rw->fault.what = "check of old log";
            return NGX_ERROR;
        }

        size = need;
    }
}
