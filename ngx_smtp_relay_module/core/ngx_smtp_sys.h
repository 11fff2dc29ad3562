
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Every system call of the spool goes through this table, so that a test can
 * make the n-th one fail (EIO, ENOSPC, a short write) or stop the process at
 * it.  The members behave as the system calls: -1 and errno on failure.  All
 * are thread-safe.  Each retries EINTR by itself; write and pwritev may be
 * short as in the kernel.
 */


#ifndef _NGX_SMTP_SYS_H_INCLUDED_
#define _NGX_SMTP_SYS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <dirent.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/uio.h>


typedef struct {
    int       (*openat)(int dir, const char *name, int flags, mode_t mode);
    int       (*close)(int fd);
    ssize_t   (*pread)(int fd, void *buf, size_t size, off_t offset);
    ssize_t   (*pwritev)(int fd, const struct iovec *iov, int n, off_t offset);
    int       (*fsync)(int fd);
    int       (*fdatasync)(int fd);
    int       (*ftruncate)(int fd, off_t size);
    int       (*fallocate)(int fd, int mode, off_t offset, off_t len);
    int       (*flock)(int fd, int operation);
    int       (*fstat)(int fd, struct stat *st);
    int       (*fstatat)(int dir, const char *name, struct stat *st,
                  int flags);
    int       (*fstatvfs)(int fd, struct statvfs *st);
    int       (*fstatfs)(int fd, struct statfs *st);
    int       (*fchown)(int fd, uid_t user, gid_t group);
    int       (*linkat)(int olddir, const char *oldname, int newdir,
                  const char *newname, int flags);
    int       (*renameat2)(int olddir, const char *oldname, int newdir,
                  const char *newname, unsigned flags);
    int       (*unlinkat)(int dir, const char *name, int flags);
    int       (*mkdirat)(int dir, const char *name, mode_t mode);
    int       (*futimens)(int fd, const struct timespec times[2]);
    DIR      *(*fdopendir)(int fd);
    struct dirent
             *(*readdir)(DIR *dir);
    int       (*closedir)(DIR *dir);
} ngx_smtp_sys_t;


/* the table in force; tests replace it, nothing else writes to it */
extern ngx_smtp_sys_t  ngx_smtp_sys;


#endif /* _NGX_SMTP_SYS_H_INCLUDED_ */
