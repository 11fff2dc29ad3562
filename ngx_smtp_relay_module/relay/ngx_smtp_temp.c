
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Temporary files.  O_TMPFILE makes one without a name; where the file system
 * does not know it, the name is removed as soon as the file is open.  The last
 * close frees the blocks on disk, which takes time for a large one: it is done
 * in a thread as well.
 *
 * A thread writes fd, added, n and the errors, the loop reads them when the
 * task is done.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_sys.h"
#include "ngx_smtp_temp.h"


/* blocks written by one system call */
#define NGX_SMTP_TEMP_IOVS  16

/* a fault of the disk is logged that often, s */
#define NGX_SMTP_TEMP_SILENCE  60


static void ngx_smtp_temp_write_run(void *data);
static ngx_int_t ngx_smtp_temp_open(ngx_smtp_temp_t *t);
static ngx_int_t ngx_smtp_temp_write_all(ngx_smtp_temp_t *t,
    struct iovec *iov, ngx_uint_t n);
static void ngx_smtp_temp_write_done(void *data);
static void ngx_smtp_temp_read_run(void *data);
static void ngx_smtp_temp_read_done(void *data);
static void ngx_smtp_temp_end_run(void *data);
static void ngx_smtp_temp_end_done(void *data);
static void ngx_smtp_temp_fault(ngx_smtp_temp_t *t, ngx_err_t err,
    const char *what);


ngx_smtp_temp_t *
ngx_smtp_temp_create(u_char *path, ngx_thread_pool_t *pool,
    ngx_smtp_temp_pt written, ngx_smtp_temp_pt was_read, void *data)
{
    ngx_smtp_temp_t  *t;

    t = ngx_calloc(sizeof(ngx_smtp_temp_t), ngx_cycle->log);
    if (t == NULL) {
        return NULL;
    }

    t->file.fd = -1;
    t->path = (char *) path;
    t->pool = pool;
    t->written = written;
    t->was_read = was_read;
    t->data = data;
    t->log = ngx_cycle->log;

    ngx_smtp_task_init(&t->write, "temporary file", ngx_smtp_temp_write_run,
                       ngx_smtp_temp_write_done, t);
    ngx_smtp_task_init(&t->read, "temporary file", ngx_smtp_temp_read_run,
                       ngx_smtp_temp_read_done, t);
    ngx_smtp_task_init(&t->end, "temporary file", ngx_smtp_temp_end_run,
                       ngx_smtp_temp_end_done, t);

    return t;
}


ngx_int_t
ngx_smtp_temp_write(ngx_smtp_temp_t *t, ngx_smtp_block_t *blocks)
{
    t->blocks = blocks;
    t->added = 0;
    t->write_err = 0;

    if (ngx_smtp_task_post(t->pool, &t->write, t->log) != NGX_OK) {
        t->broken = 1;
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_temp_drop(ngx_smtp_temp_t *t)
{
    t->broken = 1;

    if (t->file.fd == -1) {
        return NGX_ERROR;
    }

    t->dropping = 1;

    return ngx_smtp_temp_write(t, NULL);
}


static void
ngx_smtp_temp_write_run(void *data)
{
    ngx_smtp_temp_t *t = data;

    size_t             size;
    ngx_uint_t         n;
    struct iovec       iov[NGX_SMTP_TEMP_IOVS];
    ngx_smtp_block_t  *b;

    if (t->dropping) {
        ngx_smtp_temp_end_run(t);
        return;
    }

    if (t->file.fd == -1 && ngx_smtp_temp_open(t) != NGX_OK) {
        t->write_err = ngx_errno;
        return;
    }

    b = t->blocks;

    while (b) {
        size = 0;

        for (n = 0; b && n < NGX_SMTP_TEMP_IOVS; b = b->next) {
            iov[n].iov_base = ngx_smtp_block_start(b);
            iov[n].iov_len = ngx_smtp_block_size(b);

            size += iov[n].iov_len;
            n += (iov[n].iov_len != 0);
        }

        if (ngx_smtp_temp_write_all(t, iov, n) != NGX_OK) {
            t->write_err = ngx_errno;
            return;
        }

        t->added += size;
    }
}


static ngx_int_t
ngx_smtp_temp_open(ngx_smtp_temp_t *t)
{
    int   fd;
    char  name[NGX_MAX_PATH];

    fd = ngx_smtp_sys.openat(AT_FDCWD, t->path, O_TMPFILE|O_RDWR|O_CLOEXEC,
                             0600);

    if (fd == -1 && (ngx_errno == EOPNOTSUPP || ngx_errno == EISDIR)) {

        ngx_snprintf((u_char *) name, sizeof(name), "%s/%P-%p.tmp%Z", t->path,
                     ngx_pid, t);
        name[sizeof(name) - 1] = '\0';

        fd = ngx_smtp_sys.openat(AT_FDCWD, name,
                                 O_CREAT|O_EXCL|O_RDWR|O_CLOEXEC, 0600);

        if (fd != -1) {
            (void) ngx_smtp_sys.unlinkat(AT_FDCWD, name, 0);
        }
    }

    if (fd == -1) {
        return NGX_ERROR;
    }

    t->file.fd = fd;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_temp_write_all(ngx_smtp_temp_t *t, struct iovec *iov, ngx_uint_t n)
{
    off_t    offset;
    size_t   part;
    ssize_t  rc;

    offset = t->file.size + t->added;

    while (n) {
        rc = ngx_smtp_sys.pwritev(t->file.fd, iov, n, offset);

        if (rc <= 0) {
            if (rc == 0) {
                ngx_set_errno(EIO);
            }

            return NGX_ERROR;
        }

        offset += rc;

        while (n && rc) {
            part = ngx_min((size_t) rc, iov->iov_len);

            iov->iov_base = (u_char *) iov->iov_base + part;
            iov->iov_len -= part;
            rc -= part;

            if (iov->iov_len == 0) {
                iov++;
                n--;
            }
        }
    }

    return NGX_OK;
}


static void
ngx_smtp_temp_write_done(void *data)
{
    ngx_smtp_temp_t *t = data;

    t->blocks = NULL;

    if (t->closed) {
        ngx_smtp_temp_close(t);
        return;
    }

    if (t->write_err) {
        t->broken = 1;

        ngx_smtp_temp_fault(t, t->write_err, "written");

    } else {
        t->file.size += t->added;
    }

    t->written(t->data, t->write_err ? NGX_ERROR : NGX_OK);
}


ngx_int_t
ngx_smtp_temp_read(ngx_smtp_temp_t *t, off_t offset, size_t size)
{
    t->got = 0;

    if (t->buf == NULL) {
        t->buf = ngx_alloc(NGX_SMTP_TEMP_PIECE, t->log);
        if (t->buf == NULL) {
            return NGX_ERROR;
        }
    }

    t->offset = offset;
    t->size = size;

    return ngx_smtp_task_post(t->pool, &t->read, t->log);
}


static void
ngx_smtp_temp_read_run(void *data)
{
    ngx_smtp_temp_t *t = data;

    size_t   got;
    ssize_t  n;

    got = 0;
    t->read_err = 0;

    while (got < t->size) {
        n = ngx_smtp_sys.pread(t->file.fd, t->buf + got, t->size - got,
                               t->offset + got);

        if (n <= 0) {
            t->read_err = n ? ngx_errno : EIO;
            return;
        }

        got += n;
    }

    t->n = got;
}


static void
ngx_smtp_temp_read_done(void *data)
{
    ngx_smtp_temp_t *t = data;

    if (t->closed) {
        ngx_smtp_temp_close(t);
        return;
    }

    if (t->read_err) {
        ngx_smtp_temp_fault(t, t->read_err, "read");
        t->was_read(t->data, NGX_ERROR);
        return;
    }

    t->got = t->n;

    t->was_read(t->data, NGX_OK);
}


void
ngx_smtp_temp_close(ngx_smtp_temp_t *t)
{
    t->closed = 1;

    if (t->write.active || t->read.active) {
        return;
    }

    if (t->file.fd != -1
        && ngx_smtp_task_post(t->pool, &t->end, t->log) == NGX_OK)
    {
        return;
    }

    ngx_smtp_temp_end_run(t);
    ngx_smtp_temp_end_done(t);
}


static void
ngx_smtp_temp_end_run(void *data)
{
    ngx_smtp_temp_t *t = data;

    if (t->file.fd != -1) {
        (void) ngx_smtp_sys.close(t->file.fd);
        t->file.fd = -1;
    }
}


static void
ngx_smtp_temp_end_done(void *data)
{
    ngx_smtp_temp_t *t = data;

    ngx_free(t->buf);
    ngx_free(t);
}


/* One full disk is one line a minute, not one for each message. */

static void
ngx_smtp_temp_fault(ngx_smtp_temp_t *t, ngx_err_t err, const char *what)
{
    time_t         now;
    static time_t  logged;

    now = ngx_time();

    if (logged && now >= logged && now - logged < NGX_SMTP_TEMP_SILENCE) {
        return;
    }

    logged = now;

    ngx_log_error(NGX_LOG_CRIT, t->log, err,
                  "a temporary file in \"%s\" could not be %s: large messages "
                  "go to their backend without a copy, and get 451 if it "
                  "fails; free some space, or see smtp_pass_temp_path",
                  t->path, what);
}
