
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A temporary file: a copy of a message that does not fit the memory it may
 * have, without a name, so that it goes with the process.  Opened, written,
 * read and closed in a thread pool; nothing of it blocks the event loop.
 *
 *   create -> write .. write -> read .. -> close
 *
 * One write and one read may be in flight at a time, also both.  The object
 * is malloc'ed: close() may be called at any moment, and frees it when the
 * last task has ended.
 */


#ifndef _NGX_SMTP_TEMP_H_INCLUDED_
#define _NGX_SMTP_TEMP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_content.h"
#include "ngx_smtp_task.h"


/* octets read at once */
#define NGX_SMTP_TEMP_PIECE  65536


typedef struct ngx_smtp_temp_s  ngx_smtp_temp_t;

/* rc: NGX_OK, NGX_ERROR (logged); called from the event loop, never from
   inside of write or read, and not after close */
typedef void (*ngx_smtp_temp_pt)(void *data, ngx_int_t rc);


struct ngx_smtp_temp_s {
    ngx_smtp_content_file_t   file;       /* fd: -1 before the first write */

    u_char                   *buf;        /* what was read: got octets ... */
    size_t                    got;        /* 0: none */
    off_t                     offset;     /* ... from here on */

    /* private */
    ngx_smtp_task_t           write;
    ngx_smtp_task_t           read;
    ngx_smtp_task_t           end;
    ngx_smtp_temp_pt          written;
    ngx_smtp_temp_pt          was_read;
    void                     *data;
    ngx_thread_pool_t        *pool;
    ngx_log_t                *log;
    char                     *path;       /* folder */
    ngx_smtp_block_t         *blocks;     /* of the write in flight */
    size_t                    size;       /* of the read in flight */

    /* results of threads; one word each */
    off_t                     added;
    ssize_t                   n;
    ngx_err_t                 write_err;
    ngx_err_t                 read_err;   /* of the last read; 0: none */

    ngx_uint_t                broken;     /* a write failed: no more of it */
    ngx_uint_t                dropping;   /* the task of write closes it */
    ngx_uint_t                closed;
};


/*
 * path: an absolute folder, NUL-terminated, that lives as long as the cycle.
 * written and was_read are called with data.  NULL: no memory.
 */
ngx_smtp_temp_t *ngx_smtp_temp_create(u_char *path, ngx_thread_pool_t *pool,
    ngx_smtp_temp_pt written, ngx_smtp_temp_pt was_read, void *data);

/*
 * Appends a chain of blocks, which neither changes nor is freed before
 * written() was called.  NGX_OK: it will be; NGX_ERROR: the thread pool takes
 * no more, broken is set.
 */
ngx_int_t ngx_smtp_temp_write(ngx_smtp_temp_t *t, ngx_smtp_block_t *blocks);

/*
 * Nobody wants it any more: its room on the disk is given back, broken is set.
 * No write and no read are in flight.  NGX_OK: written() will be called, as of
 * a write; NGX_ERROR: the room is given back by close.
 */
ngx_int_t ngx_smtp_temp_drop(ngx_smtp_temp_t *t);

/*
 * Reads size octets (at most NGX_SMTP_TEMP_PIECE) from offset on into buf; all
 * of them were written.  NGX_OK: was_read() will be called; NGX_ERROR.
 */
ngx_int_t ngx_smtp_temp_read(ngx_smtp_temp_t *t, off_t offset, size_t size);

#define ngx_smtp_temp_writing(t)  ((t)->write.active)
#define ngx_smtp_temp_reading(t)  ((t)->read.active)

/* The object is gone for the caller, the file soon. */
void ngx_smtp_temp_close(ngx_smtp_temp_t *t);


#endif /* _NGX_SMTP_TEMP_H_INCLUDED_ */
