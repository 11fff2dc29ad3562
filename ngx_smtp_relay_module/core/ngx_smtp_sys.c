
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The table of system calls the spool uses.  Those that a signal may
 * interrupt are called again; the others are the C library's.  close() is not
 * called again: on Linux the descriptor is gone after EINTR, too.
 */


#include "ngx_smtp_sys.h"

#include <sys/file.h>


static int ngx_smtp_sys_openat(int dir, const char *name, int flags,
    mode_t mode);
static ssize_t ngx_smtp_sys_pread(int fd, void *buf, size_t size,
    off_t offset);
static ssize_t ngx_smtp_sys_pwritev(int fd, const struct iovec *iov, int n,
    off_t offset);
static int ngx_smtp_sys_fsync(int fd);
static int ngx_smtp_sys_fdatasync(int fd);
static int ngx_smtp_sys_ftruncate(int fd, off_t size);
static int ngx_smtp_sys_fallocate(int fd, int mode, off_t offset, off_t len);
static int ngx_smtp_sys_flock(int fd, int operation);


ngx_smtp_sys_t  ngx_smtp_sys = {
    ngx_smtp_sys_openat,
    close,
    ngx_smtp_sys_pread,
    ngx_smtp_sys_pwritev,
    ngx_smtp_sys_fsync,
    ngx_smtp_sys_fdatasync,
    ngx_smtp_sys_ftruncate,
    ngx_smtp_sys_fallocate,
    ngx_smtp_sys_flock,
    fstat,
    fstatat,
    fstatvfs,
    fstatfs,
    fchown,
    linkat,
    renameat2,
    unlinkat,
    mkdirat,
    futimens,
    fdopendir,
    readdir,
    closedir
};


static int
ngx_smtp_sys_openat(int dir, const char *name, int flags, mode_t mode)
{
    int  rc;

    do {
        rc = openat(dir, name, flags, mode);
    } while (rc == -1 && ngx_errno == NGX_EINTR);

    return rc;
}


static ssize_t
ngx_smtp_sys_pread(int fd, void *buf, size_t size, off_t offset)
{
    ssize_t  rc;

    do {
        rc = pread(fd, buf, size, offset);
    } while (rc == -1 && ngx_errno == NGX_EINTR);

    return rc;
}


static ssize_t
ngx_smtp_sys_pwritev(int fd, const struct iovec *iov, int n,
    off_t offset)
{
    ssize_t  rc;

    do {
        rc = pwritev(fd, iov, n, offset);
    } while (rc == -1 && ngx_errno == NGX_EINTR);

    return rc;
}


static int
ngx_smtp_sys_fsync(int fd)
{
    int  rc;

    do {
        rc = fsync(fd);
    } while (rc == -1 && ngx_errno == NGX_EINTR);

    return rc;
}


static int
ngx_smtp_sys_fdatasync(int fd)
{
    int  rc;

    do {
        rc = fdatasync(fd);
    } while (rc == -1 && ngx_errno == NGX_EINTR);

    return rc;
}


static int
ngx_smtp_sys_ftruncate(int fd, off_t size)
{
    int  rc;

    do {
        rc = ftruncate(fd, size);
    } while (rc == -1 && ngx_errno == NGX_EINTR);

    return rc;
}


static int
ngx_smtp_sys_fallocate(int fd, int mode, off_t offset, off_t len)
{
    int  rc;

    do {
        rc = fallocate(fd, mode, offset, len);
    } while (rc == -1 && ngx_errno == NGX_EINTR);

    return rc;
}


static int
ngx_smtp_sys_flock(int fd, int operation)
{
    int  rc;

    do {
        rc = flock(fd, operation);
    } while (rc == -1 && ngx_errno == NGX_EINTR);

    return rc;
}
