
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A file seen through a buffer that moves forward: what recovery reads by.
 * The window owns its buffer (core/ngx_smtp_pages.h), not the descriptor.
 */


#ifndef _NGX_SMTP_WINDOW_H_INCLUDED_
#define _NGX_SMTP_WINDOW_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_segment.h"


typedef struct {
    int                 fd;
    off_t               size;       /* what lies behind is not looked at */
    off_t               start;      /* of the buffer in the file */
    size_t              len;
    size_t              room;
    u_char             *buf;
    off_t               read;       /* bytes read so far, for budgets */
    const char         *what;       /* a literal for faults */
} ngx_smtp_window_t;


/*
 * Looks at another file from now on.  The window was zeroed once; it keeps its
 * buffer and the count of bytes read.
 */
void ngx_smtp_window_init(ngx_smtp_window_t *w, int fd, off_t size,
    const char *what);

/*
 * At least need bytes at offset: NGX_OK, *p points to them, *last behind what
 * is there; valid until the next call.  NGX_DECLINED: the file ends before;
 * NGX_ERROR: *fault.
 */
ngx_int_t ngx_smtp_window_get(ngx_smtp_window_t *w, off_t offset, size_t need,
    u_char **p, u_char **last, ngx_smtp_fault_t *fault);

/* CRC32C of size bytes at offset.  Return codes as above. */
ngx_int_t ngx_smtp_window_crc(ngx_smtp_window_t *w, off_t offset, off_t size,
    uint32_t *crc, ngx_smtp_fault_t *fault);

/* *zero: whether start..end has nothing but zeros.  Return codes as above. */
ngx_int_t ngx_smtp_window_zero(ngx_smtp_window_t *w, off_t start, off_t end,
    ngx_uint_t *zero, ngx_smtp_fault_t *fault);

/*
 * The next mark of a batch header of this segment at or after offset.  NGX_OK:
 * *found; NGX_DECLINED: there is none; NGX_ERROR.
 */
ngx_int_t ngx_smtp_window_search(ngx_smtp_window_t *w, off_t offset,
    const ngx_smtp_file_header_t *h, off_t *found, ngx_smtp_fault_t *fault);

void ngx_smtp_window_free(ngx_smtp_window_t *w);


#endif /* _NGX_SMTP_WINDOW_H_INCLUDED_ */
