
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The moving view of a file; see the header.  Reads 256 KB at a time, more
 * when one piece is larger.
 */


#include "ngx_smtp_window.h"
#include "ngx_smtp_crc32c.h"
#include "ngx_smtp_pages.h"


#define NGX_SMTP_WINDOW_SIZE    (256 * 1024)


void
ngx_smtp_window_init(ngx_smtp_window_t *w, int fd, off_t size,
    const char *what)
{
    w->fd = fd;
    w->size = size;
    w->what = what;
    w->start = 0;
    w->len = 0;
}


ngx_int_t
ngx_smtp_window_get(ngx_smtp_window_t *w, off_t offset, size_t need,
    u_char **p, u_char **last, ngx_smtp_fault_t *fault)
{
    u_char   *buf;
    size_t    size;
    ssize_t   n;

    if (offset >= w->start
        && offset + (off_t) need <= w->start + (off_t) w->len)
    {
        *p = w->buf + (offset - w->start);
        *last = w->buf + w->len;
        return NGX_OK;
    }

    if (offset > w->size || (off_t) need > w->size - offset) {
        return NGX_DECLINED;
    }

    size = ngx_max(need, NGX_SMTP_WINDOW_SIZE);

    if (size > w->room) {
        buf = ngx_smtp_pages_realloc(w->buf, size);

        if (buf == NULL) {
            (void) ngx_smtp_fault_set(fault, "malloc() for recovery");
            return NGX_ERROR;
        }

        w->buf = buf;
        w->room = size;
    }

    size = (size_t) ngx_min((off_t) size, w->size - offset);

    n = ngx_smtp_read_all(w->fd, w->buf, size, offset, fault, w->what);

    if (n == -1) {
        w->len = 0;
        return NGX_ERROR;
    }

    w->start = offset;
    w->len = n;
    w->read += n;

    if ((size_t) n < need) {
        return NGX_DECLINED;
    }

    *p = w->buf;
    *last = w->buf + n;

    return NGX_OK;
}


ngx_int_t
ngx_smtp_window_crc(ngx_smtp_window_t *w, off_t offset, off_t size,
    uint32_t *crc, ngx_smtp_fault_t *fault)
{
    u_char     *p, *last;
    size_t      n;
    ngx_int_t   rc;

    *crc = 0;

    while (size) {
        rc = ngx_smtp_window_get(w, offset, 1, &p, &last, fault);

        if (rc != NGX_OK) {
            return rc;
        }

        n = (size_t) ngx_min(size, last - p);

        *crc = ngx_smtp_crc32c(*crc, p, n);

        offset += n;
        size -= n;
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_window_zero(ngx_smtp_window_t *w, off_t start, off_t end,
    ngx_uint_t *zero, ngx_smtp_fault_t *fault)
{
    u_char     *p, *last;
    ngx_int_t   rc;

    *zero = 1;

    while (start < end) {
        rc = ngx_smtp_window_get(w, start, 1, &p, &last, fault);

        if (rc != NGX_OK) {
            return rc;
        }

        for ( /* void */ ; p < last && start < end; p++, start++) {

            if (*p) {
                *zero = 0;
                return NGX_OK;
            }
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_window_search(ngx_smtp_window_t *w, off_t offset,
    const ngx_smtp_file_header_t *h, off_t *found, ngx_smtp_fault_t *fault)
{
    u_char     *p, *last, *mark;
    ngx_int_t   rc;

    for ( ;; ) {
        rc = ngx_smtp_window_get(w, offset, NGX_SMTP_BATCH_MARK, &p, &last,
                                 fault);
        if (rc != NGX_OK) {
            return rc;
        }

        mark = ngx_smtp_batch_search(p, last, h);

        if (mark) {
            *found = offset + (mark - p);
            return NGX_OK;
        }

        /* a mark may begin in the last bytes of the buffer */

        offset += last - p - NGX_SMTP_BATCH_MARK + 1;
    }
}


void
ngx_smtp_window_free(ngx_smtp_window_t *w)
{
    ngx_smtp_pages_free(w->buf);

    w->buf = NULL;
    w->room = 0;
    w->len = 0;
}
