
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * See powerloss.h.  Files are numbered as they are met; names are kept in a
 * list as they are now, so that an opened name is known again.  Each call in
 * the trace knows which later call made it durable.
 */


#include "powerloss_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define POWER_FDS       1024


typedef struct {
    ngx_uint_t          used;
    ngx_uint_t          is_dir;
    ngx_uint_t          number;     /* of the file, or the folder */
} power_fd_t;


static ngx_uint_t power_fails(const char *call, ngx_uint_t file);
static power_op_t *power_record(power_op_e op, const char *call,
    ngx_uint_t file);
static void power_recorded(void);
static void power_synced(const char *call, int fd, ngx_uint_t failed);
static ngx_uint_t power_dir(int fd);
static ngx_uint_t power_new_dir(const char *name);
static ngx_uint_t power_file(int fd);
static void power_load(const char *path, ngx_uint_t dir);
static ngx_uint_t power_new_file(void);
static const char *power_file_name(ngx_uint_t file);
static void power_table(void);


power_fault_t            power_fault;
ngx_uint_t               power_all;
ngx_uint_t               power_no_tmpfile;
ngx_uint_t               power_dead_at;
void                   (*power_hook)(ngx_uint_t n);
void                   (*power_tick)(void);

power_op_t              *power_ops;
ngx_uint_t               power_nops;
power_content_t         *power_base;
power_entries_t          power_first;
char                    *power_dirs[POWER_DIRS];
ngx_uint_t               power_ndirs;

static ngx_smtp_sys_t    power_sys;         /* what is wrapped */
static ngx_uint_t        power_room;        /* of power_ops */
static ngx_uint_t        power_nfiles;
static power_entries_t   power_live;
static power_fd_t        power_fds[POWER_FDS];
static const char       *power_fail_call, *power_fail_part;
static int               power_fail_err;
static ngx_uint_t        power_hooked;


void
power_die(const char *what)
{
    fprintf(stderr, "powerloss: %s: %s\n", what, strerror(errno));
    abort();
}


/* the trace */

static power_op_t *
power_record(power_op_e op, const char *call, ngx_uint_t file)
{
    power_op_t  *p;

    if (power_nops == power_room) {
        power_room = power_room ? 2 * power_room : 256;
        power_ops = realloc(power_ops, power_room * sizeof(power_op_t));

        if (power_ops == NULL) {
            power_die("realloc()");
        }
    }

    p = &power_ops[power_nops++];

    memset(p, 0, sizeof(power_op_t));

    p->op = op;
    p->call = call;
    p->file = file;
    p->durable = POWER_NEVER;
    p->number = power_fault.calls;
    p->time = ngx_current_msec;

    return p;
}


static void
power_recorded(void)
{
    if (power_hook && !power_hooked) {
        power_hooked = 1;
        power_hook(power_nops);
        power_hooked = 0;
    }
}


static void
power_synced(const char *call, int fd, ngx_uint_t failed)
{
    ngx_uint_t   i, is_dir, number;
    power_op_t  *p;

    if (fd < 0 || fd >= POWER_FDS || !power_fds[fd].used) {
        return;
    }

    is_dir = power_fds[fd].is_dir;
    number = power_fds[fd].number;

    p = power_record(failed ? power_op_failed : power_op_sync, call, number);
    p->is_dir = is_dir;
    p->dir = number;

    for (i = 0; i < power_nops - 1; i++) {
        p = &power_ops[i];

        if (p->durable != POWER_NEVER || p->doomed) {
            continue;
        }

        switch (p->op) {

        case power_op_write:
        case power_op_truncate:
            if (is_dir || p->file != number) {
                continue;
            }

            break;

        case power_op_add:
        case power_op_delete:
            if (!is_dir || p->dir != number) {
                continue;
            }

            break;

        case power_op_rename:
            if (!is_dir || (p->dir != number && p->dir2 != number)) {
                continue;
            }

            break;

        default:
            continue;
        }

        if (failed) {
            p->doomed = 1;

        } else {
            p->durable = power_nops - 1;
        }
    }

    power_recorded();
}


ngx_uint_t
power_calls(void)
{
    return power_nops;
}


const char *
power_name(ngx_uint_t n)
{
    static char  text[128];

    power_op_t  *p;
    const char  *name;

    if (n >= power_nops) {
        return "the end";
    }

    p = &power_ops[n];

    name = p->name ? p->name : p->is_dir ? power_dirs[p->dir]
                                         : power_file_name(p->file);
    if (p->name2) {
        name = p->name2;
    }

    snprintf(text, sizeof(text), "%s%s %.64s%s%.32s", p->call,
             p->op == power_op_failed ? "(failed)" : "", name,
             p->name2 ? " from " : "", p->name2 ? power_dirs[p->dir] : "");

    return text;
}


ngx_uint_t
power_number(ngx_uint_t n)
{
    return power_ops[n].number;
}


ngx_msec_t
power_time(ngx_uint_t n)
{
    return n < power_nops ? power_ops[n].time : ngx_current_msec;
}


/* names and files */

ngx_uint_t
power_find(power_entries_t *list, ngx_uint_t dir, const char *name)
{
    ngx_uint_t  i;

    for (i = 0; i < list->n; i++) {

        if (list->elts[i].dir == dir && strcmp(list->elts[i].name, name) == 0)
        {
            return i;
        }
    }

    return POWER_NEVER;
}


void
power_put(power_entries_t *list, ngx_uint_t dir, const char *name,
    ngx_uint_t file)
{
    ngx_uint_t  i;

    i = power_find(list, dir, name);

    if (i == POWER_NEVER) {
        i = list->n++;
        list->elts = realloc(list->elts, list->n * sizeof(power_entry_t));

        if (list->elts == NULL) {
            power_die("realloc()");
        }

        list->elts[i].dir = dir;
        list->elts[i].name = strdup(name);
    }

    list->elts[i].file = file;
}


void
power_del(power_entries_t *list, ngx_uint_t dir, const char *name)
{
    ngx_uint_t  i;

    i = power_find(list, dir, name);

    if (i != POWER_NEVER) {
        free(list->elts[i].name);
        list->elts[i] = list->elts[--list->n];
    }
}


void
power_list_free(power_entries_t *list)
{
    ngx_uint_t  i;

    for (i = 0; i < list->n; i++) {
        free(list->elts[i].name);
    }

    free(list->elts);
    memset(list, 0, sizeof(power_entries_t));
}


static ngx_uint_t
power_new_file(void)
{
    power_base = realloc(power_base,
                         (power_nfiles + 1) * sizeof(power_content_t));
    if (power_base == NULL) {
        power_die("realloc()");
    }

    memset(&power_base[power_nfiles], 0, sizeof(power_content_t));

    return power_nfiles++;
}


static ngx_uint_t
power_new_dir(const char *name)
{
    ngx_uint_t  i;

    for (i = 1; i < power_ndirs; i++) {
        if (strcmp(power_dirs[i], name) == 0) {
            return i;
        }
    }

    if (power_ndirs == POWER_DIRS) {
        power_die("too many folders");
    }

    power_dirs[power_ndirs] = strdup(name);

    return power_ndirs++;
}


static ngx_uint_t
power_dir(int fd)
{
    return fd >= 0 && fd < POWER_FDS && power_fds[fd].used
           && power_fds[fd].is_dir ? power_fds[fd].number : POWER_NEVER;
}


static ngx_uint_t
power_file(int fd)
{
    return fd >= 0 && fd < POWER_FDS && power_fds[fd].used
           && !power_fds[fd].is_dir ? power_fds[fd].number : POWER_NEVER;
}


/* its name, or that it had last */

static const char *
power_file_name(ngx_uint_t file)
{
    ngx_uint_t  i;

    for (i = 0; i < power_live.n; i++) {
        if (power_live.elts[i].file == file) {
            return power_live.elts[i].name;
        }
    }

    for (i = power_nops; i-- > 0; /* void */ ) {
        if (power_ops[i].file == file && power_ops[i].name) {
            return power_ops[i].name;
        }
    }

    return "a file without a name";
}


static void
power_load(const char *path, ngx_uint_t dir)
{
    int               fd;
    DIR              *d;
    char              name[512];
    ngx_uint_t        file, sub;
    struct stat       st;
    struct dirent    *de;
    power_content_t  *c;

    d = opendir(path);

    if (d == NULL) {
        power_die(path);
    }

    while ((de = readdir(d)) != NULL) {

        if (de->d_name[0] == '.') {
            continue;
        }

        snprintf(name, sizeof(name), "%.200s/%.255s", path, de->d_name);

        fd = open(name, O_RDONLY|O_NOFOLLOW);

        if (fd == -1 || fstat(fd, &st) == -1) {
            power_die(name);
        }

        if (S_ISDIR(st.st_mode)) {
            close(fd);
            sub = power_new_dir(de->d_name);
            power_load(name, sub);
            continue;
        }

        file = power_new_file();
        c = &power_base[file];
        c->size = st.st_size;
        c->data = malloc(c->size + 1);

        if (c->data == NULL
            || read(fd, c->data, c->size) != (ssize_t) c->size)
        {
            power_die(name);
        }

        close(fd);

        power_put(&power_live, dir, de->d_name, file);
        power_put(&power_first, dir, de->d_name, file);
    }

    closedir(d);
}


void
power_start(const char *path)
{
    power_free();

    power_dirs[0] = strdup(path);
    power_ndirs = 1;

    power_load(path, 0);

    memset(&power_fault, 0, sizeof(power_fault_t));
    power_fail_call = NULL;

    power_table();
}


void
power_stop(void)
{
    if (power_sys.close) {
        ngx_smtp_sys = power_sys;
    }

    memset(&power_sys, 0, sizeof(ngx_smtp_sys_t));
    memset(power_fds, 0, sizeof(power_fds));
}


void
power_free(void)
{
    ngx_uint_t  i;

    power_stop();

    for (i = 0; i < power_nops; i++) {
        free(power_ops[i].name);
        free(power_ops[i].name2);
        free(power_ops[i].data);
    }

    for (i = 0; i < power_nfiles; i++) {
        free(power_base[i].data);
    }

    for (i = 0; i < power_ndirs; i++) {
        free(power_dirs[i]);
    }

    free(power_ops);
    free(power_base);
    power_list_free(&power_live);
    power_list_free(&power_first);

    power_ops = NULL;
    power_nops = 0;
    power_room = 0;
    power_base = NULL;
    power_nfiles = 0;
    power_ndirs = 0;
}


/* faults */

void
power_fail(const char *call, const char *part, int err)
{
    power_fail_call = call;
    power_fail_part = part;
    power_fail_err = err;
}


static ngx_uint_t
power_fails(const char *call, ngx_uint_t file)
{
    power_fault_t  *f;

    f = &power_fault;

    if (power_hooked) {
        return 0;
    }

    if (power_dead_at && power_nops >= power_dead_at) {
        errno = EIO;
        return 2;
    }

    f->calls++;

    if (power_tick) {
        power_hooked = 1;
        power_tick();
        power_hooked = 0;
    }

    if (power_fail_call && strcmp(power_fail_call, call) == 0
        && file != POWER_NEVER && strstr(power_file_name(file),
                                         power_fail_part))
    {
        power_fail_call = NULL;
        errno = power_fail_err;
        return 1;
    }

    if (power_all && file != POWER_NEVER && strcmp(call, "pwritev") != 0
        && strcmp(call, "fsync") != 0 && strcmp(call, "fdatasync") != 0
        && strcmp(call, "ftruncate") != 0)
    {
        (void) power_record(power_op_other, call, file);
    }

    if (f->at == 0 || f->calls < f->at || f->hits >= f->times) {
        return 0;
    }

    if (f->short_write && strcmp(call, "pwritev") != 0) {
        return 0;
    }

    if (f->hits++ == 0) {
        f->name = call;
    }

    errno = f->err;

    return 1;
}


/* the table */

static int
power_openat(int dir, const char *name, int flags, mode_t mode)
{
    int          fd;
    ngx_uint_t   parent, i, file;
    power_op_t  *p;

    if (power_fails("openat", POWER_NEVER)) {
        return -1;
    }

    if (power_no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }

    fd = power_sys.openat(dir, name, flags, mode);

    if (fd < 0 || fd >= POWER_FDS) {
        return fd;
    }

    memset(&power_fds[fd], 0, sizeof(power_fd_t));

    if (dir == AT_FDCWD) {

        if (strcmp(name, power_dirs[0]) == 0) {
            power_fds[fd].used = 1;
            power_fds[fd].is_dir = 1;
        }

        return fd;
    }

    parent = power_dir(dir);

    if (parent == POWER_NEVER) {
        return fd;
    }

    power_fds[fd].used = 1;

    if ((flags & O_TMPFILE) == O_TMPFILE) {
        power_fds[fd].number = power_new_file();
        return fd;
    }

    if (flags & O_DIRECTORY) {
        power_fds[fd].is_dir = 1;
        power_fds[fd].number = strcmp(name, ".") == 0 ? parent
                                                      : power_new_dir(name);
        return fd;
    }

    i = power_find(&power_live, parent, name);

    if (i != POWER_NEVER) {
        file = power_live.elts[i].file;
        power_fds[fd].number = file;

        if (flags & O_TRUNC) {
            (void) power_record(power_op_truncate, "openat", file);
            power_recorded();
        }

        return fd;
    }

    file = power_new_file();
    power_fds[fd].number = file;

    p = power_record(power_op_add, "openat", file);
    p->dir = parent;
    p->name = strdup(name);

    power_put(&power_live, parent, name, file);
    power_recorded();

    return fd;
}


static int
power_close(int fd)
{
    if (power_file(fd) != POWER_NEVER) {
        (void) power_fails("close", power_file(fd));
    }

    if (fd >= 0 && fd < POWER_FDS) {
        power_fds[fd].used = 0;
    }

    return power_sys.close(fd);
}


static ssize_t
power_pread(int fd, void *buf, size_t size, off_t offset)
{
    return power_fails("pread", power_file(fd))
           ? -1 : power_sys.pread(fd, buf, size, offset);
}


static ssize_t
power_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    int            i, err;
    size_t         size, len;
    u_char        *data;
    ssize_t        rc;
    ngx_uint_t     fails;
    power_op_t    *p;
    struct iovec   part;

    for (i = 0, size = 0; i < n; i++) {
        size += iov[i].iov_len;
    }

    fails = power_fails("pwritev", power_file(fd));
    err = errno;

    len = fails ? (size + (power_fault.short_write != 0)) / 2 : size;

    if (fails == 2) {
        errno = err;
        return -1;
    }

    data = malloc(size + 1);

    if (data == NULL) {
        power_die("malloc()");
    }

    for (i = 0, size = 0; i < n; i++) {
        memcpy(data + size, iov[i].iov_base, iov[i].iov_len);
        size += iov[i].iov_len;
    }

    part.iov_base = data;
    part.iov_len = len;

    rc = len ? power_sys.pwritev(fd, &part, 1, offset) : 0;

    if (rc > 0 && power_file(fd) != POWER_NEVER) {
        p = power_record(power_op_write, "pwritev", power_file(fd));
        p->offset = offset;
        p->len = rc;
        p->data = data;
        power_recorded();

    } else {
        free(data);
    }

    if (fails && !power_fault.short_write) {
        errno = err;
        return -1;
    }

    return rc;
}


static int
power_fsync(int fd)
{
    ngx_uint_t  fails;

    fails = power_fails("fsync", power_file(fd));

    if (fails == 2) {
        return -1;
    }

    if (!fails && power_sys.fsync(fd) == -1) {
        return -1;
    }

    power_synced("fsync", fd, fails);

    if (fails) {
        errno = power_fault.err ? power_fault.err : EIO;
    }

    return fails ? -1 : 0;
}


static int
power_fdatasync(int fd)
{
    ngx_uint_t  fails;

    fails = power_fails("fdatasync", power_file(fd));

    if (fails == 2) {
        return -1;
    }

    if (!fails && power_sys.fdatasync(fd) == -1) {
        return -1;
    }

    power_synced("fdatasync", fd, fails);

    if (fails) {
        errno = power_fault.err ? power_fault.err : EIO;
    }

    return fails ? -1 : 0;
}


static int
power_ftruncate(int fd, off_t size)
{
    power_op_t  *p;

    if (power_fails("ftruncate", power_file(fd))
        || power_sys.ftruncate(fd, size) == -1)
    {
        return -1;
    }

    if (power_file(fd) != POWER_NEVER) {
        p = power_record(power_op_truncate, "ftruncate", power_file(fd));
        p->offset = size;
        power_recorded();
    }

    return 0;
}


static int
power_fallocate(int fd, int mode, off_t offset, off_t len)
{
    /* the size stays: nothing to be seen later */

    return power_fails("fallocate", power_file(fd))
           ? -1 : power_sys.fallocate(fd, mode, offset, len);
}


static int
power_flock(int fd, int operation)
{
    return power_fails("flock", power_file(fd))
           ? -1 : power_sys.flock(fd, operation);
}


static int
power_fstat(int fd, struct stat *st)
{
    return power_fails("fstat", power_file(fd)) ? -1
                                                : power_sys.fstat(fd, st);
}


static int
power_fstatat(int dir, const char *name, struct stat *st, int flags)
{
    return power_fails("fstatat", POWER_NEVER)
           ? -1 : power_sys.fstatat(dir, name, st, flags);
}


static int
power_linkat(int olddir, const char *oldname, int newdir,
    const char *newname, int flags)
{
    int          fd;
    ngx_uint_t   dir, file;
    power_op_t  *p;

    if (power_fails("linkat", POWER_NEVER)
        || power_sys.linkat(olddir, oldname, newdir, newname, flags) == -1)
    {
        return -1;
    }

    dir = power_dir(newdir);
    file = POWER_NEVER;

    if (sscanf(oldname, "/proc/self/fd/%d", &fd) == 1) {
        file = power_file(fd);
    }

    if (dir != POWER_NEVER && file != POWER_NEVER) {
        p = power_record(power_op_add, "linkat", file);
        p->dir = dir;
        p->name = strdup(newname);

        power_put(&power_live, dir, newname, file);
        power_recorded();
    }

    return 0;
}


static int
power_renameat2(int olddir, const char *oldname, int newdir,
    const char *newname, unsigned flags)
{
    ngx_uint_t   dir, dir2, i;
    power_op_t  *p;

    if (power_fails("renameat2", POWER_NEVER)
        || power_sys.renameat2(olddir, oldname, newdir, newname, flags) == -1)
    {
        return -1;
    }

    dir = power_dir(olddir);
    dir2 = power_dir(newdir);
    i = power_find(&power_live, dir, oldname);

    if (i != POWER_NEVER && dir2 != POWER_NEVER) {
        p = power_record(power_op_rename, "renameat2",
                         power_live.elts[i].file);
        p->dir = dir;
        p->dir2 = dir2;
        p->name = strdup(oldname);
        p->name2 = strdup(newname);

        power_del(&power_live, dir, oldname);
        power_put(&power_live, dir2, newname, p->file);
        power_recorded();
    }

    return 0;
}


static int
power_unlinkat(int dir, const char *name, int flags)
{
    ngx_uint_t   d, i, file;
    power_op_t  *p;

    if (power_fails("unlinkat", POWER_NEVER)
        || power_sys.unlinkat(dir, name, flags) == -1)
    {
        return -1;
    }

    d = power_dir(dir);
    i = power_find(&power_live, d, name);

    if (i != POWER_NEVER) {
        file = power_live.elts[i].file;

        p = power_record(power_op_delete, "unlinkat", file);
        p->dir = d;
        p->name = strdup(name);

        power_del(&power_live, d, name);
        power_recorded();
    }

    return 0;
}


static int
power_futimens(int fd, const struct timespec times[2])
{
    return power_fails("futimens", power_file(fd))
           ? -1 : power_sys.futimens(fd, times);
}


static int
power_closedir(DIR *dir)
{
    int  fd;

    fd = dirfd(dir);

    if (fd >= 0 && fd < POWER_FDS) {
        power_fds[fd].used = 0;
    }

    return power_sys.closedir(dir);
}


static void
power_table(void)
{
    power_sys = ngx_smtp_sys;

    ngx_smtp_sys.openat = power_openat;
    ngx_smtp_sys.close = power_close;
    ngx_smtp_sys.pread = power_pread;
    ngx_smtp_sys.pwritev = power_pwritev;
    ngx_smtp_sys.fsync = power_fsync;
    ngx_smtp_sys.fdatasync = power_fdatasync;
    ngx_smtp_sys.ftruncate = power_ftruncate;
    ngx_smtp_sys.fallocate = power_fallocate;
    ngx_smtp_sys.flock = power_flock;
    ngx_smtp_sys.fstat = power_fstat;
    ngx_smtp_sys.fstatat = power_fstatat;
    ngx_smtp_sys.linkat = power_linkat;
    ngx_smtp_sys.renameat2 = power_renameat2;
    ngx_smtp_sys.unlinkat = power_unlinkat;
    ngx_smtp_sys.futimens = power_futimens;
    ngx_smtp_sys.closedir = power_closedir;
}
