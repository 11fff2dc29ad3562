
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The files of one segment: made, found, locked, batches, removed; its log is
 * in ngx_smtp_segment_log.c.  The order of system calls is section 6 of
 * docs/spool-format.md; each function here is a table there.  Blocking, for
 * threads; all memory is the caller's.
 */


#include "ngx_smtp_segment.h"

#include <limits.h>
#include <sys/file.h>


#define NGX_SMTP_ZEROS          (64 * 1024)
#define NGX_SMTP_ZERO_IOV       16

/* zeros are written ahead in pieces, once there is a load of small batches */
#define NGX_SMTP_ZERO_AHEAD     (1024 * 1024)
#define NGX_SMTP_ZERO_AFTER     32              /* batches */
#define NGX_SMTP_ZERO_BATCH     (128 * 1024)    /* at most, bytes */

#define NGX_SMTP_LOCK_TRIES     3


static ngx_int_t ngx_smtp_segment_create_data(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, off_t prezero);
static ngx_int_t ngx_smtp_segment_zero(int fd, off_t offset, off_t size);
static void ngx_smtp_segment_zero_ahead(ngx_smtp_segment_file_t *f,
    off_t size);
static ngx_int_t ngx_smtp_segment_lock_file(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, const char *name);
static ngx_int_t ngx_smtp_segment_read_header(ngx_smtp_segment_file_t *f,
    const ngx_smtp_segment_id_t *id);
static void ngx_smtp_segment_take_back(ngx_smtp_segment_file_t *f,
    ngx_uint_t synced);
static ngx_int_t ngx_smtp_segment_unlink(ngx_smtp_spool_t *spool,
    const char *name, ngx_smtp_fault_t *fault, const char *what);
static void ngx_smtp_segment_close_fd(int *fd);


/* create */

ngx_int_t
ngx_smtp_segment_create(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f,
    uint64_t msec, const u_char *random, off_t prezero)
{
    char              name[NGX_SMTP_FILE_NAME];
    ngx_int_t         rc;
    ngx_smtp_fault_t  fault;

    ngx_memzero(f, sizeof(ngx_smtp_segment_file_t));

    f->data = -1;
    f->log = -1;

    ngx_smtp_segment_id_make(&f->header.id, msec, random);
    ngx_memcpy(f->header.key, random + 6, NGX_SMTP_KEY_SIZE);
    f->header.version = NGX_SMTP_FORMAT_VERSION;
    f->header.generation = 1;
    f->header.created = (time_t) (msec / 1000);

    rc = ngx_smtp_segment_create_data(spool, f, prezero);

    if (rc == NGX_OK) {
        rc = ngx_smtp_segment_log_create(spool, f, f->header.created);

        if (rc != NGX_OK) {

            /*
             * No mail is in it: what cannot be unlinked is found empty.  But a
             * log alone would be an alarm, so it has to be gone for good.
             */

            ngx_smtp_log_name(name, &f->header.id, f->header.generation);

            if (ngx_smtp_segment_unlink(spool, name, &fault, "") == NGX_OK
                && ngx_smtp_sys.fsync(spool->dir) == 0)
            {
                ngx_smtp_data_name(name, &f->header.id);
                (void) ngx_smtp_segment_unlink(spool, name, &fault, "");
            }
        }
    }

    if (rc != NGX_OK) {
        ngx_smtp_segment_close(NULL, f);
    }

    return rc;
}


static ngx_int_t
ngx_smtp_segment_create_data(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, off_t prezero)
{
    char          name[NGX_SMTP_FILE_NAME], tmp[NGX_SMTP_TMP_NAME];
    u_char        header[NGX_SMTP_FILE_HEADER];
    ngx_int_t     rc;
    struct iovec  iov;

    ngx_smtp_data_name(name, &f->header.id);

    f->data = ngx_smtp_spool_tmpfile(spool, tmp, name, &f->fault);

    if (f->data == -1) {
        return f->fault.err == ENOSPC || f->fault.err == EDQUOT ? NGX_BUSY
                                                                : NGX_ERROR;
    }

    ngx_smtp_file_header_put(header, NGX_SMTP_FILE_DATA, &f->header);

    iov.iov_base = header;
    iov.iov_len = NGX_SMTP_FILE_HEADER;

    rc = ngx_smtp_write_all(f->data, &iov, 1, 0, &f->fault,
                            "write() of segment header");

    if (rc == NGX_OK) {
        if (ngx_smtp_segment_zero(f->data, NGX_SMTP_FILE_HEADER, prezero)
            == NGX_OK)
        {
            f->data_zero = NGX_SMTP_FILE_HEADER + prezero;
        }

        if (ngx_smtp_sys.fsync(f->data) == -1) {
            rc = ngx_smtp_fault_set(&f->fault, "fsync() of new segment");
        }
    }

    if (rc == NGX_OK) {
        rc = ngx_smtp_spool_link(spool, f->data, tmp, name, &f->fault);
    }

    if (rc != NGX_OK) {

        if (tmp[0]) {
            (void) ngx_smtp_sys.unlinkat(spool->tmp, tmp, 0);
        }

        return rc;
    }

    f->data_end = NGX_SMTP_FILE_HEADER;

    if (ngx_smtp_sys.fsync(spool->dir) == -1) {
        rc = ngx_smtp_fault_set(&f->fault, "fsync() of spool directory");
        (void) ngx_smtp_sys.unlinkat(spool->dir, name, 0);
    }

    return rc;
}


/* zeros only make later syncs faster: a fault is that of a later write */

static ngx_int_t
ngx_smtp_segment_zero(int fd, off_t offset, off_t size)
{
    off_t              end;
    ngx_uint_t         n;
    struct iovec       iov[NGX_SMTP_ZERO_IOV];
    ngx_smtp_fault_t   fault;

    static u_char  zeros[NGX_SMTP_ZEROS];

    for (end = offset; size > 0; /* void */ ) {

        for (n = 0; n < NGX_SMTP_ZERO_IOV && size > 0; n++) {
            iov[n].iov_base = zeros;
            iov[n].iov_len = (size_t) ngx_min(size, NGX_SMTP_ZEROS);

            size -= iov[n].iov_len;
        }

        if (ngx_smtp_write_all(fd, iov, n, end, &fault, "") != NGX_OK) {
            (void) ngx_smtp_sys.ftruncate(fd, offset);
            return NGX_ERROR;
        }

        end += NGX_SMTP_ZERO_IOV * NGX_SMTP_ZEROS;
    }

    return NGX_OK;
}


/*
 * The sync of a batch that is written over zeros has no blocks and no size of
 * the file to record: it takes half of the time.  Zeros behind this batch, of
 * size bytes, are synced with it.  For large batches writing everything twice
 * costs more.
 */
static void
ngx_smtp_segment_zero_ahead(ngx_smtp_segment_file_t *f, off_t size)
{
    off_t  end, start;

    end = f->data_end + size;

    if (f->no_zeros || f->batch < NGX_SMTP_ZERO_AFTER
        || size > NGX_SMTP_ZERO_BATCH || end + size <= f->data_zero)
    {
        return;
    }

    start = ngx_max(end, f->data_zero);

    if (ngx_smtp_segment_zero(f->data, start, NGX_SMTP_ZERO_AHEAD) != NGX_OK) {
        f->no_zeros = 1;
        return;
    }

    f->data_zero = start + NGX_SMTP_ZERO_AHEAD;
}


/* find */

ngx_int_t
ngx_smtp_segment_lock(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f,
    const ngx_smtp_segment_id_t *id)
{
    char                   name[NGX_SMTP_FILE_NAME];
    ngx_int_t              rc;
    ngx_uint_t             i;
    ngx_smtp_segment_id_t  wanted;

    /* id may be that of f itself */

    wanted = *id;

    ngx_memzero(f, sizeof(ngx_smtp_segment_file_t));

    f->data = -1;
    f->log = -1;

    ngx_smtp_data_name(name, &wanted);

    rc = NGX_DECLINED;

    for (i = 0; i < NGX_SMTP_LOCK_TRIES && rc == NGX_DECLINED; i++) {
        rc = ngx_smtp_segment_lock_file(spool, f, name);
    }

    if (rc == NGX_DECLINED) {
        return NGX_AGAIN;
    }

    if (rc == NGX_OK) {
        rc = ngx_smtp_segment_read_header(f, &wanted);
    }

    if (rc != NGX_OK) {
        ngx_smtp_segment_close_fd(&f->data);
    }

    return rc;
}


/*
 * NGX_DECLINED: the lock is that of a file which lost its name meanwhile, to
 * a removal or to a compaction.
 */
static ngx_int_t
ngx_smtp_segment_lock_file(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, const char *name)
{
    struct stat  st, named;

    f->data = ngx_smtp_sys.openat(spool->dir, name,
                                  O_RDWR|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK, 0);
    if (f->data == -1) {

        if (ngx_errno == NGX_ENOENT) {
            return NGX_AGAIN;
        }

        (void) ngx_smtp_fault_set(&f->fault, "open() of segment data");
        return NGX_ERROR;
    }

    if (ngx_smtp_sys.flock(f->data, LOCK_EX|LOCK_NB) == -1) {

        if (ngx_errno == EWOULDBLOCK) {
            return NGX_AGAIN;
        }

        (void) ngx_smtp_fault_set(&f->fault, "flock() of segment data");
        return NGX_ERROR;
    }

    if (ngx_smtp_sys.fstat(f->data, &st) == -1) {
        (void) ngx_smtp_fault_set(&f->fault, "fstat() of segment data");
        return NGX_ERROR;
    }

    if (ngx_smtp_sys.fstatat(spool->dir, name, &named, AT_SYMLINK_NOFOLLOW)
        == -1)
    {
        if (ngx_errno == NGX_ENOENT) {
            return NGX_AGAIN;
        }

        (void) ngx_smtp_fault_set(&f->fault, "stat() of segment data");
        return NGX_ERROR;
    }

    if (st.st_nlink == 0 || st.st_ino != named.st_ino
        || st.st_dev != named.st_dev)
    {
        ngx_smtp_segment_close_fd(&f->data);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_segment_read_header(ngx_smtp_segment_file_t *f,
    const ngx_smtp_segment_id_t *id)
{
    u_char     buf[NGX_SMTP_FILE_HEADER];
    ssize_t    n;
    ngx_int_t  rc;

    n = ngx_smtp_read_all(f->data, buf, NGX_SMTP_FILE_HEADER, 0, &f->fault,
                          "read() of segment header");
    if (n == -1) {
        return NGX_ERROR;
    }

    rc = ngx_smtp_file_header_get(buf, n, NGX_SMTP_FILE_DATA, &f->header);

    if (rc == NGX_OK
        && ngx_memcmp(f->header.id.bytes, id->bytes, NGX_SMTP_ID_SIZE) != 0)
    {
        rc = NGX_ERROR;
    }

    if (rc == NGX_ERROR) {
        f->fault.err = 0;
        f->fault.what = "damaged segment header";
    }

    return rc;
}


/* accept */

ngx_int_t
ngx_smtp_segment_append(ngx_smtp_segment_file_t *f, struct iovec *iov,
    ngx_uint_t n, ngx_uint_t messages, off_t *offset)
{
    u_char            header[NGX_SMTP_BATCH_HEADER];
    ngx_int_t         rc;
    ngx_uint_t        i, synced;
    ngx_smtp_batch_t  batch;

    if (f->full || f->data_broken) {
        f->fault.err = 0;
        f->fault.what = "segment takes no batch any more";
        return NGX_ERROR;
    }

    batch.length = 0;
    batch.messages = (uint32_t) messages;
    batch.sequence = ++f->batch;

    for (i = 1; i < n; i++) {
        batch.length += iov[i].iov_len;
    }

    ngx_smtp_batch_put(header, &f->header, &batch);

    iov[0].iov_base = header;
    iov[0].iov_len = NGX_SMTP_BATCH_HEADER;

    synced = 1;

    rc = ngx_smtp_write_all(f->data, iov, n, f->data_end, &f->fault,
                            "write() of batch");

    if (rc == NGX_OK) {
        ngx_smtp_segment_zero_ahead(f, NGX_SMTP_BATCH_HEADER + batch.length);
    }

    if (rc == NGX_OK && ngx_smtp_sys.fdatasync(f->data) == -1) {
        rc = ngx_smtp_fault_set(&f->fault, "fdatasync() of batch");
        synced = 0;
    }

    if (rc != NGX_OK) {
        ngx_smtp_segment_take_back(f, synced);
        return rc;
    }

    *offset = f->data_end + NGX_SMTP_BATCH_HEADER;
    f->data_end += NGX_SMTP_BATCH_HEADER + batch.length;

    return NGX_OK;
}


/*
 * After a sync that failed the kernel may show pages that are not on disk, and
 * show them differently after a restart: besides the cut, END says where the
 * data end.  The fault of the batch stays the caller's.
 */
static void
ngx_smtp_segment_take_back(ngx_smtp_segment_file_t *f, ngx_uint_t synced)
{
    u_char            mark[NGX_SMTP_LOG_MARK];
    ngx_uint_t        cut, ended;
    ngx_smtp_fault_t  fault;

    fault = f->fault;

    f->data_zero = 0;

    cut = ngx_smtp_sys.ftruncate(f->data, f->data_end) == 0
          && ngx_smtp_sys.fdatasync(f->data) == 0;

    if (cut && synced) {
        return;
    }

    f->full = 1;

    ngx_smtp_mark_put(mark, NGX_SMTP_LOG_END, f->data_end,
                      f->header.created);

    ended = ngx_smtp_segment_log(f, mark, NGX_SMTP_LOG_MARK, 1, 0) == NGX_OK
            && ngx_smtp_segment_log_sync(f) == NGX_OK;

    if (!cut && !ended) {
        f->data_broken = 1;
    }

    f->fault = fault;
}


/* unlock, remove */

void
ngx_smtp_segment_close(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f)
{
    ngx_smtp_fault_t  fault;

    ngx_smtp_segment_close_fd(&f->data);
    ngx_smtp_segment_close_fd(&f->log);

    if (spool) {
        (void) ngx_smtp_spool_touch(spool, &fault);
    }
}


ngx_int_t
ngx_smtp_segment_remove(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f,
    uint32_t *numbers, ngx_uint_t n, time_t now)
{
    char        name[NGX_SMTP_FILE_NAME];
    u_char      mark[NGX_SMTP_LOG_MARK];
    ngx_int_t   rc;
    ngx_uint_t  i;

    f->full = 1;

    if (f->log != -1 && f->log_broken) {
        rc = ngx_smtp_segment_relog(spool, f, NULL, 0, NULL, 0, 1, now);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (f->log != -1 && !f->ended) {
        ngx_smtp_mark_put(mark, NGX_SMTP_LOG_SEGMENT_DONE, 0, now);

        rc = ngx_smtp_segment_log(f, mark, NGX_SMTP_LOG_MARK, 1, 0);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (f->log != -1) {
        rc = ngx_smtp_segment_log_sync(f);

        if (rc != NGX_OK) {
            return rc;
        }

        f->ended = 1;
    }

    for (i = 0; i < n; i++) {
        rc = ngx_smtp_body_unlink(spool, &f->header.id, numbers[i],
                                  &f->fault);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (ngx_smtp_segment_unstale(spool, f) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_smtp_data_name(name, &f->header.id);

    if (ngx_smtp_segment_unlink(spool, name, &f->fault,
                                "unlink() of segment data")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_smtp_sys.fsync(spool->dir) == -1) {
        return ngx_smtp_fault_set(&f->fault, "fsync() of spool directory");
    }

    ngx_smtp_log_name(name, &f->header.id, f->header.generation);

    if (ngx_smtp_segment_unlink(spool, name, &f->fault, "unlink() of log")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_smtp_segment_close(NULL, f);

    return NGX_OK;
}


ngx_int_t
ngx_smtp_segment_unstale(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f)
{
    char  name[NGX_SMTP_FILE_NAME];

    if (f->stale == 0) {
        return NGX_OK;
    }

    ngx_smtp_log_name(name, &f->header.id, f->stale);

    if (ngx_smtp_segment_unlink(spool, name, &f->fault, "unlink() of old log")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    f->stale = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_segment_unlink(ngx_smtp_spool_t *spool, const char *name,
    ngx_smtp_fault_t *fault, const char *what)
{
    if (ngx_smtp_sys.unlinkat(spool->dir, name, 0) == -1
        && ngx_errno != NGX_ENOENT)
    {
        (void) ngx_smtp_fault_set(fault, what);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_smtp_segment_close_fd(int *fd)
{
    if (*fd != -1) {
        (void) ngx_smtp_sys.close(*fd);
        *fd = -1;
    }
}


/* read, write, names */

ngx_int_t
ngx_smtp_segment_read(ngx_smtp_segment_file_t *f, u_char *buf, size_t size,
    off_t offset, ngx_smtp_fault_t *fault)
{
    ssize_t  n;

    n = ngx_smtp_read_all(f->data, buf, size, offset, fault,
                          "read() of segment data");
    if (n == -1) {
        return NGX_ERROR;
    }

    if ((size_t) n < size) {
        fault->err = 0;
        fault->what = "segment data is too short";
        return NGX_ERROR;
    }

    return NGX_OK;
}


ssize_t
ngx_smtp_read_all(int fd, u_char *buf, size_t size, off_t offset,
    ngx_smtp_fault_t *fault, const char *what)
{
    size_t   done;
    ssize_t  n;

    for (done = 0; done < size; done += n) {

        n = ngx_smtp_sys.pread(fd, buf + done, size - done,
                               offset + (off_t) done);

        if (n == -1) {
            (void) ngx_smtp_fault_set(fault, what);
            return -1;
        }

        if (n == 0) {
            break;
        }
    }

    return (ssize_t) done;
}


ngx_int_t
ngx_smtp_write_all(int fd, struct iovec *iov, ngx_uint_t n, off_t offset,
    ngx_smtp_fault_t *fault, const char *what)
{
    ssize_t  written;

    while (n) {

        if (iov->iov_len == 0) {
            iov++;
            n--;
            continue;
        }

        written = ngx_smtp_sys.pwritev(fd, iov, (int) ngx_min(n, IOV_MAX),
                                       offset);

        if (written == 0) {
            ngx_set_errno(EIO);
            written = -1;
        }

        if (written == -1) {
            return ngx_smtp_fault_set(fault, what);
        }

        offset += written;

        while (n && (size_t) written >= iov->iov_len) {
            written -= iov->iov_len;
            iov++;
            n--;
        }

        if (n) {
            iov->iov_base = (u_char *) iov->iov_base + written;
            iov->iov_len -= written;
        }
    }

    return NGX_OK;
}


void
ngx_smtp_data_name(char *name, const ngx_smtp_segment_id_t *id)
{
    u_char  *p;

    p = ngx_smtp_segment_id_text(id, (u_char *) name);
    ngx_memcpy(p, ".data", sizeof(".data"));
}


void
ngx_smtp_log_name(char *name, const ngx_smtp_segment_id_t *id,
    uint32_t generation)
{
    u_char  *p;

    p = ngx_smtp_segment_id_text(id, (u_char *) name);
    ngx_sprintf(p, ".%uD.log%Z", generation);
}


void
ngx_smtp_body_name(char *name, const ngx_smtp_segment_id_t *id,
    uint32_t number)
{
    u_char  *p;

    p = ngx_smtp_queue_id_text(id, number, (u_char *) name);
    ngx_memcpy(p, ".body", sizeof(".body"));
}
