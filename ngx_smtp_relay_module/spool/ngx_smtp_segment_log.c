
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The log of a segment while it is written: made, given room for what is owed
 * to accepted mail, appended to, synced.  A write that does not fit leaves the
 * log as it was; a fault of the device or of a sync is final, the log counts
 * as broken then.  Blocking, for threads; the structure is the caller's.
 */


#include "ngx_smtp_segment.h"


ngx_int_t
ngx_smtp_segment_log_create(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, time_t now)
{
    char                    name[NGX_SMTP_FILE_NAME];
    u_char                  header[NGX_SMTP_FILE_HEADER];
    ngx_int_t               rc;
    struct iovec            iov;
    ngx_smtp_file_header_t  h;

    ngx_smtp_log_name(name, &f->header.id, f->header.generation);

    f->log = ngx_smtp_sys.openat(spool->dir, name,
                                 O_CREAT|O_EXCL|O_RDWR|O_CLOEXEC, 0600);
    if (f->log == -1) {
        return ngx_smtp_fault_set(&f->fault, "open() of new log");
    }

    h = f->header;
    h.created = now;

    ngx_smtp_file_header_put(header, NGX_SMTP_FILE_LOG, &h);

    iov.iov_base = header;
    iov.iov_len = NGX_SMTP_FILE_HEADER;

    f->seed = ngx_smtp_log_seed(&h);
    f->log_end = NGX_SMTP_FILE_HEADER;
    f->log_space = NGX_SMTP_FILE_HEADER;
    f->owed = 0;
    f->sequence = 0;
    f->log_dirty = 0;
    f->log_broken = 0;

    rc = ngx_smtp_write_all(f->log, &iov, 1, 0, &f->fault,
                            "write() of log header");

    if (rc == NGX_OK) {
        rc = ngx_smtp_segment_reserve(f, NGX_SMTP_LOG_MARKS);
    }

    if (rc == NGX_OK && ngx_smtp_sys.fsync(f->log) == -1) {
        rc = ngx_smtp_fault_set(&f->fault, "fsync() of new log");
    }

    if (rc == NGX_OK && ngx_smtp_sys.fsync(spool->dir) == -1) {
        rc = ngx_smtp_fault_set(&f->fault, "fsync() of spool directory");
    }

    if (rc != NGX_OK) {
        (void) ngx_smtp_sys.unlinkat(spool->dir, name, 0);
        (void) ngx_smtp_sys.close(f->log);
        f->log = -1;
    }

    return rc;
}


/* room */

ngx_int_t
ngx_smtp_segment_reserve(ngx_smtp_segment_file_t *f, off_t need)
{
    ngx_int_t  rc;

    if (f->log == -1 || f->log_broken) {
        f->fault.err = 0;
        f->fault.what = "log is broken";
        return NGX_ERROR;
    }

    rc = ngx_smtp_segment_log_extend(f, f->log_end + f->owed + need);

    if (rc == NGX_OK) {
        f->owed += need;
    }

    return rc;
}


ngx_int_t
ngx_smtp_segment_log_extend(ngx_smtp_segment_file_t *f, off_t end)
{
    int    rc;
    off_t  size;

    if (f->no_reserve || end <= f->log_space) {
        return NGX_OK;
    }

    /* a segment that takes no more mail, or little of it, grows by little */

    size = NGX_SMTP_RESERVE_SMALL;

    if (!f->full && f->log_space > size) {
        size = ngx_min(f->log_space, NGX_SMTP_RESERVE_CHUNK);
    }

    size = ngx_max(size, end - f->log_space);

    rc = ngx_smtp_sys.fallocate(f->log, FALLOC_FL_KEEP_SIZE, f->log_space,
                                size);

    if (rc == -1 && (ngx_errno == ENOSPC || ngx_errno == EDQUOT)
        && size > end - f->log_space)
    {
        size = end - f->log_space;

        rc = ngx_smtp_sys.fallocate(f->log, FALLOC_FL_KEEP_SIZE,
                                    f->log_space, size);
    }

    if (rc == 0) {
        f->log_space += size;
        return NGX_OK;
    }

    if (ngx_errno == EOPNOTSUPP || ngx_errno == ENOSYS) {
        f->no_reserve = 1;
        return NGX_OK;
    }

    return ngx_smtp_fault_set(&f->fault, "fallocate() of log");
}


/* records */

ngx_int_t
ngx_smtp_segment_log(ngx_smtp_segment_file_t *f, u_char *records, size_t size,
    ngx_uint_t final, off_t repay)
{
    ngx_int_t     rc;
    struct iovec  iov;

    if (f->log == -1 || f->log_broken) {
        f->fault.err = 0;
        f->fault.what = "log is broken";
        return NGX_ERROR;
    }

    rc = ngx_smtp_segment_log_extend(f, f->log_end + (off_t) size
                                        + (final ? 0 : f->owed));

    if (rc != NGX_OK && !final) {
        return rc;
    }

    ngx_smtp_log_seal(records, records + size, f->seed, &f->sequence);

    iov.iov_base = records;
    iov.iov_len = size;

    rc = ngx_smtp_write_all(f->log, &iov, 1, f->log_end, &f->fault,
                            "write() of log");

    if (rc != NGX_OK) {

        if (rc == NGX_ERROR) {
            f->log_broken = 1;
        }

        return rc;
    }

    f->log_end += size;
    f->log_space = ngx_max(f->log_space, f->log_end);
    f->owed = ngx_max(f->owed - repay, 0);
    f->log_dirty = 1;

    return NGX_OK;
}


ngx_int_t
ngx_smtp_segment_log_sync(ngx_smtp_segment_file_t *f)
{
    if (f->log_broken) {
        f->fault.err = 0;
        f->fault.what = "log is broken";
        return NGX_ERROR;
    }

    if (!f->log_dirty) {
        return NGX_OK;
    }

    if (ngx_smtp_sys.fdatasync(f->log) == -1) {
        (void) ngx_smtp_fault_set(&f->fault, "fdatasync() of log");
        f->log_broken = 1;
        return NGX_ERROR;
    }

    f->log_dirty = 0;

    return NGX_OK;
}
