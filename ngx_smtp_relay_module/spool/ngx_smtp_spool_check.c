
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * ngx_smtp_store_check(): is this directory fit for a spool?  Runs in the
 * master at configuration time, possibly as root, so it follows no symbolic
 * link, creates only what is missing, and never changes mode or owner of what
 * is there: it tells what to do instead.
 */


#include "ngx_smtp_segment.h"

#include <sys/file.h>
#include <sys/un.h>


/* what the bus appends for its sockets: /run/<pid>-<random> */
#define NGX_SMTP_CHECK_SOCKET   (sizeof("/run/") - 1 + 10 + 1 + 16)

/* statfs() types without flock() between hosts, or that lose what is synced */
#define NGX_SMTP_CHECK_NFS      0x6969
#define NGX_SMTP_CHECK_CIFS     0xff534d42
#define NGX_SMTP_CHECK_SMB      0x517b
#define NGX_SMTP_CHECK_SMB2     0xfe534d42
#define NGX_SMTP_CHECK_AFS      0x5346414f
#define NGX_SMTP_CHECK_9P       0x01021997


typedef struct {
    const char         *path;
    uid_t               user;
    gid_t               group;
    u_char             *err;
} ngx_smtp_check_t;


static ngx_int_t ngx_smtp_check_dir(ngx_smtp_check_t *check, int dir,
    const char *name, const char *sub, int *fd);
static ngx_int_t ngx_smtp_check_mode(ngx_smtp_check_t *check, const char *sub,
    struct stat *st);
static ngx_int_t ngx_smtp_check_fs(ngx_smtp_check_t *check, int dir);
static ngx_int_t ngx_smtp_check_device(ngx_smtp_check_t *check, int dir,
    int tmp);
static ngx_int_t ngx_smtp_check_files(ngx_smtp_check_t *check, int tmp);
static ngx_int_t ngx_smtp_check_locks(ngx_smtp_check_t *check, int tmp,
    const char *name, int fd);
static ngx_int_t ngx_smtp_check_error(ngx_smtp_check_t *check,
    const char *sub, const char *fmt, ...);


static const char  *ngx_smtp_check_subdirs[] = { "run", "quarantine", "tmp" };


ngx_int_t
ngx_smtp_store_check(ngx_str_t *path, uid_t user, gid_t group, u_char *err)
{
    int                dir, sub;
    ngx_int_t          rc;
    ngx_uint_t         i;
    ngx_smtp_check_t   check;

    check.path = (char *) path->data;
    check.user = user;
    check.group = group;
    check.err = err;

    /* only root can give files away, and only root's workers change users */

    if (geteuid() != 0 || user == (uid_t) -1) {
        check.user = geteuid();
    }

    if (path->len == 0 || path->data[0] != '/') {
        return ngx_smtp_check_error(&check, "", "must be an absolute path");
    }

    if (path->len + NGX_SMTP_CHECK_SOCKET
        >= sizeof(((struct sockaddr_un *) NULL)->sun_path))
    {
        return ngx_smtp_check_error(&check, "", "is too long for sockets in "
                                    "it, use at most %d characters",
                     (int) (sizeof(((struct sockaddr_un *) NULL)->sun_path)
                            - 1 - NGX_SMTP_CHECK_SOCKET));
    }

    if (ngx_smtp_check_dir(&check, AT_FDCWD, check.path, "", &dir)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_smtp_check_fs(&check, dir);

    for (i = 0; i < 3 && rc == NGX_OK; i++) {

        rc = ngx_smtp_check_dir(&check, dir, ngx_smtp_check_subdirs[i],
                                ngx_smtp_check_subdirs[i], &sub);
        if (rc != NGX_OK) {
            break;
        }

        /* tmp/ comes last: the whole tree is there then */

        if (i == 2) {
            rc = ngx_smtp_check_device(&check, dir, sub);

            if (rc == NGX_OK) {
                rc = ngx_smtp_check_files(&check, sub);
            }
        }

        (void) ngx_smtp_sys.close(sub);
    }

    (void) ngx_smtp_sys.close(dir);

    return rc;
}


static ngx_int_t
ngx_smtp_check_dir(ngx_smtp_check_t *check, int dir, const char *name,
    const char *sub, int *fd)
{
    ngx_uint_t   created;
    struct stat  st;

    created = 0;

    if (ngx_smtp_sys.fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == -1) {

        if (ngx_errno != NGX_ENOENT) {
            return ngx_smtp_check_error(check, sub, "cannot be looked at: %s",
                                        strerror(ngx_errno));
        }

        if (ngx_smtp_sys.mkdirat(dir, name, 0700) == -1) {

            if (ngx_errno != EEXIST) {
                return ngx_smtp_check_error(check, sub, "cannot be created: "
                                            "%s; create it, mode 0700, owned "
                                            "by uid %d", strerror(ngx_errno),
                                            (int) check->user);
            }

        } else {
            created = 1;
        }

    } else if (S_ISLNK(st.st_mode)) {
        return ngx_smtp_check_error(check, sub, "is a symbolic link, use the "
                                    "directory itself");
    }

    *fd = ngx_smtp_sys.openat(dir, name,
                              O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC, 0);
    if (*fd == -1) {
        return ngx_smtp_check_error(check, sub, "cannot be opened as a "
                                    "directory: %s", strerror(ngx_errno));
    }

    if (created && check->user != geteuid()
        && ngx_smtp_sys.fchown(*fd, check->user, check->group) == -1)
    {
        (void) ngx_smtp_check_error(check, sub, "cannot be given to uid %d: "
                                    "%s", (int) check->user,
                                    strerror(ngx_errno));
        goto failed;
    }

    if (ngx_smtp_sys.fstat(*fd, &st) == -1) {
        (void) ngx_smtp_check_error(check, sub, "cannot be looked at: %s",
                                    strerror(ngx_errno));
        goto failed;
    }

    if (ngx_smtp_check_mode(check, sub, &st) == NGX_OK) {
        return NGX_OK;
    }

failed:

    (void) ngx_smtp_sys.close(*fd);

    return NGX_ERROR;
}


static ngx_int_t
ngx_smtp_check_mode(ngx_smtp_check_t *check, const char *sub, struct stat *st)
{
    const char  *slash;

    slash = sub[0] ? "/" : "";

    if (st->st_uid != check->user) {
        return ngx_smtp_check_error(check, sub, "is owned by uid %d, but "
                                    "workers run as uid %d: chown it, or "
                                    "change the \"user\" directive",
                                    (int) st->st_uid, (int) check->user);
    }

    if ((st->st_mode & 07777) != 0700) {
        return ngx_smtp_check_error(check, sub, "has mode %04o, mail must be "
                                    "private: chmod 0700 %s%s%s",
                                    (unsigned) (st->st_mode & 07777),
                                    check->path, slash, sub);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_check_fs(ngx_smtp_check_t *check, int dir)
{
    struct statfs  st;

    if (ngx_smtp_sys.fstatfs(dir, &st) == -1) {
        return ngx_smtp_check_error(check, "", "cannot be looked at: %s",
                                    strerror(ngx_errno));
    }

    switch ((uint32_t) st.f_type) {

    case NGX_SMTP_CHECK_NFS:
    case NGX_SMTP_CHECK_CIFS:
    case NGX_SMTP_CHECK_SMB:
    case NGX_SMTP_CHECK_SMB2:
    case NGX_SMTP_CHECK_AFS:
    case NGX_SMTP_CHECK_9P:
        return ngx_smtp_check_error(check, "", "is on a network file system, "
                                    "whose locks and syncs cannot be relied "
                                    "on: use a local one");
    default:
        return NGX_OK;
    }
}


/* Files made in tmp/ are renamed into the spool. */

static ngx_int_t
ngx_smtp_check_device(ngx_smtp_check_t *check, int dir, int tmp)
{
    struct stat  st, sub;

    if (ngx_smtp_sys.fstat(dir, &st) == -1
        || ngx_smtp_sys.fstat(tmp, &sub) == -1)
    {
        return ngx_smtp_check_error(check, "tmp", "cannot be looked at: %s",
                                    strerror(ngx_errno));
    }

    if (st.st_dev != sub.st_dev) {
        return ngx_smtp_check_error(check, "tmp", "is on a file system of its "
                                    "own, so files cannot be moved from it "
                                    "to the spool: unmount it");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_check_files(ngx_smtp_check_t *check, int tmp)
{
    int        fd;
    char       name[NGX_SMTP_FILE_NAME];
    ngx_int_t  rc;

    /* a name of its own: a master may test while another one runs */

    ngx_sprintf((u_char *) name, "check-%P%Z", ngx_pid);

    (void) ngx_smtp_sys.unlinkat(tmp, name, 0);

    fd = ngx_smtp_sys.openat(tmp, name, O_CREAT|O_EXCL|O_RDWR|O_CLOEXEC,
                             0600);
    if (fd == -1) {
        return ngx_smtp_check_error(check, "tmp", "does not let a file be "
                                    "created: %s", strerror(ngx_errno));
    }

    rc = ngx_smtp_check_locks(check, tmp, name, fd);

    if (rc == NGX_OK && ngx_smtp_sys.fsync(fd) == -1) {
        rc = ngx_smtp_check_error(check, "tmp", "does not sync files: %s",
                                  strerror(ngx_errno));
    }

    /* O_TMPFILE is not asked for: without it names in tmp/ are used */

    (void) ngx_smtp_sys.close(fd);
    (void) ngx_smtp_sys.unlinkat(tmp, name, 0);

    return rc;
}


static ngx_int_t
ngx_smtp_check_locks(ngx_smtp_check_t *check, int tmp, const char *name,
    int fd)
{
    int        rc, other;
    ngx_err_t  err;

    if (ngx_smtp_sys.flock(fd, LOCK_EX|LOCK_NB) == -1) {
        return ngx_smtp_check_error(check, "", "is on a file system without "
                                    "locks (%s): use another one",
                                    strerror(ngx_errno));
    }

    other = ngx_smtp_sys.openat(tmp, name, O_RDWR|O_CLOEXEC|O_NOFOLLOW, 0);

    if (other == -1) {
        return ngx_smtp_check_error(check, "tmp", "does not let a file be "
                                    "opened: %s", strerror(ngx_errno));
    }

    rc = ngx_smtp_sys.flock(other, LOCK_EX|LOCK_NB);
    err = ngx_errno;

    (void) ngx_smtp_sys.close(other);

    if (rc == 0 || err != EWOULDBLOCK) {
        return ngx_smtp_check_error(check, "", "is on a file system whose "
                                    "locks do not exclude: use another one");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_check_error(ngx_smtp_check_t *check, const char *sub,
    const char *fmt, ...)
{
    int      n;
    char    *p;
    size_t   room;
    va_list  args;

    p = (char *) check->err;
    room = NGX_MAX_CONF_ERRSTR;

    n = snprintf(p, room, "spool \"%s%s%s\" ", check->path,
                 sub[0] ? "/" : "", sub);

    if (n < 0 || (size_t) n >= room) {
        return NGX_ERROR;
    }

    va_start(args, fmt);
    (void) vsnprintf(p + n, room - n, fmt, args);
    va_end(args);

    return NGX_ERROR;
}
