
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The open spool directory of a worker: descriptors of it and its subfolders,
 * listing, temporary files, quarantine, the file "released".  Everything
 * blocks and is for threads.  Memory is malloc'ed; names are checked letter by
 * letter, as anybody may have put files there.
 */


#include "ngx_smtp_segment.h"

#include <sys/file.h>


#define NGX_SMTP_COPY_SIZE      (256 * 1024)
#define NGX_SMTP_TMP_AGE        60              /* s */
#define NGX_SMTP_QUARANTINE_TMP 160
#define NGX_SMTP_DIR_FLAGS      (O_RDONLY|O_DIRECTORY|O_CLOEXEC|O_NOFOLLOW)

#define NGX_SMTP_NAME_OTHER     0
#define NGX_SMTP_NAME_DATA      1
#define NGX_SMTP_NAME_LOG       2
#define NGX_SMTP_NAME_KNOWN     3


static int ngx_smtp_spool_subdir(int dir, const char *name,
    ngx_smtp_fault_t *fault);
static void ngx_smtp_spool_probe(ngx_smtp_spool_t *spool);
static ngx_uint_t ngx_smtp_spool_name(const char *name,
    ngx_smtp_segment_id_t *id, uint32_t *generation);
static ngx_int_t ngx_smtp_spool_list_add(ngx_smtp_spool_t *spool,
    ngx_smtp_spool_list_t *list, const char *name, ngx_smtp_fault_t *fault);
static void *ngx_smtp_spool_grow(void *elts, ngx_uint_t n, size_t size);
static int ngx_libc_cdecl ngx_smtp_spool_by_mtime(const void *one,
    const void *two);
static void ngx_smtp_spool_list_orphans(ngx_smtp_spool_t *spool,
    ngx_smtp_spool_list_t *list);
static ngx_int_t ngx_smtp_spool_orphan_done(int fd, ngx_smtp_orphan_t *o,
    ngx_smtp_fault_t *fault);
static void ngx_smtp_spool_clean_one(ngx_smtp_spool_t *spool,
    const char *name, time_t now);
static ngx_int_t ngx_smtp_spool_copy(int from, off_t start, off_t end, int to,
    ngx_smtp_fault_t *fault);


ngx_int_t
ngx_smtp_fault_set(ngx_smtp_fault_t *fault, const char *what)
{
    fault->err = ngx_errno;
    fault->what = what;

    return (fault->err == ENOSPC || fault->err == EDQUOT) ? NGX_BUSY
                                                          : NGX_ERROR;
}


/* open */

ngx_int_t
ngx_smtp_spool_open(ngx_smtp_spool_t *spool, const char *path,
    ngx_smtp_fault_t *fault)
{
    spool->tmpfile = 0;
    spool->tmp = -1;
    spool->quarantine = -1;

    spool->dir = ngx_smtp_sys.openat(AT_FDCWD, path, NGX_SMTP_DIR_FLAGS, 0);

    if (spool->dir == -1) {
        (void) ngx_smtp_fault_set(fault, "open() of spool directory");
        return NGX_ERROR;
    }

    spool->tmp = ngx_smtp_spool_subdir(spool->dir, "tmp", fault);

    if (spool->tmp != -1) {
        spool->quarantine = ngx_smtp_spool_subdir(spool->dir, "quarantine",
                                                  fault);
    }

    if (spool->quarantine == -1) {
        ngx_smtp_spool_close(spool);
        return NGX_ERROR;
    }

    ngx_smtp_spool_probe(spool);

    return NGX_OK;
}


static int
ngx_smtp_spool_subdir(int dir, const char *name, ngx_smtp_fault_t *fault)
{
    int  fd;

    if (ngx_smtp_sys.mkdirat(dir, name, 0700) == -1 && ngx_errno != EEXIST) {
        (void) ngx_smtp_fault_set(fault, "mkdir() in spool directory");
        return -1;
    }

    fd = ngx_smtp_sys.openat(dir, name, NGX_SMTP_DIR_FLAGS, 0);

    if (fd == -1) {
        (void) ngx_smtp_fault_set(fault, "open() of folder in spool");
    }

    return fd;
}


/*
 * A file without a name gets one through /proc, which may be missing; linkat()
 * of the descriptor itself needs a capability that workers do not have.
 */
static void
ngx_smtp_spool_probe(ngx_smtp_spool_t *spool)
{
    int          fd;
    char         name[NGX_SMTP_FILE_NAME];
    struct stat  st;

    fd = ngx_smtp_sys.openat(spool->dir, ".", O_TMPFILE|O_RDWR|O_CLOEXEC,
                             0600);
    if (fd == -1) {
        return;
    }

    ngx_sprintf((u_char *) name, "/proc/self/fd/%d%Z", fd);

    if (ngx_smtp_sys.fstatat(AT_FDCWD, name, &st, 0) == 0) {
        spool->tmpfile = 1;
    }

    (void) ngx_smtp_sys.close(fd);
}


void
ngx_smtp_spool_close(ngx_smtp_spool_t *spool)
{
    int         *fds[3];
    ngx_uint_t   i;

    fds[0] = &spool->quarantine;
    fds[1] = &spool->tmp;
    fds[2] = &spool->dir;

    for (i = 0; i < 3; i++) {

        if (*fds[i] != -1) {
            (void) ngx_smtp_sys.close(*fds[i]);
            *fds[i] = -1;
        }
    }
}


/* listing */

ngx_int_t
ngx_smtp_spool_list(ngx_smtp_spool_t *spool, ngx_smtp_spool_list_t *list,
    ngx_smtp_fault_t *fault)
{
    DIR            *dir;
    ngx_int_t       rc;
    struct dirent  *de;

    ngx_memzero(list, sizeof(ngx_smtp_spool_list_t));

    dir = ngx_smtp_spool_opendir(spool->dir, fault);
    if (dir == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_OK;

    while (rc == NGX_OK) {

        ngx_set_errno(0);
        de = ngx_smtp_sys.readdir(dir);

        if (de == NULL) {

            if (ngx_errno) {
                rc = NGX_ERROR;
                (void) ngx_smtp_fault_set(fault, "readdir() of spool");
            }

            break;
        }

        rc = ngx_smtp_spool_list_add(spool, list, de->d_name, fault);
    }

    (void) ngx_smtp_sys.closedir(dir);

    if (rc != NGX_OK) {
        ngx_smtp_spool_list_free(list);
        return NGX_ERROR;
    }

    ngx_smtp_spool_list_orphans(spool, list);

    if (list->nsegments) {
        ngx_qsort(list->segments, list->nsegments, sizeof(ngx_smtp_found_t),
                  ngx_smtp_spool_by_mtime);
    }

    return NGX_OK;
}


DIR *
ngx_smtp_spool_opendir(int dir, ngx_smtp_fault_t *fault)
{
    int   fd;
    DIR  *d;

    /* a descriptor of its own: a duplicate would share the position */

    fd = ngx_smtp_sys.openat(dir, ".", NGX_SMTP_DIR_FLAGS, 0);

    if (fd == -1) {
        (void) ngx_smtp_fault_set(fault, "open() to list spool");
        return NULL;
    }

    d = ngx_smtp_sys.fdopendir(fd);

    if (d == NULL) {
        (void) ngx_smtp_fault_set(fault, "opendir() of spool");
        (void) ngx_smtp_sys.close(fd);
    }

    return d;
}


static ngx_uint_t
ngx_smtp_spool_name(const char *name, ngx_smtp_segment_id_t *id,
    uint32_t *generation)
{
    char        check[NGX_SMTP_FILE_NAME];
    size_t      len;
    uint64_t    n;
    const char  *p;

    len = ngx_strlen(name);

    if (ngx_strcmp(name, "released") == 0 || ngx_strcmp(name, "run") == 0
        || ngx_strcmp(name, "tmp") == 0 || ngx_strcmp(name, "quarantine") == 0
        || ngx_strcmp(name, ".") == 0 || ngx_strcmp(name, "..") == 0
        || ngx_strcmp(name, "lost+found") == 0)
    {
        return NGX_SMTP_NAME_KNOWN;
    }

    if (len <= NGX_SMTP_ID_TEXT || len >= NGX_SMTP_FILE_NAME
        || ngx_smtp_segment_id_parse(id, (u_char *) name, NGX_SMTP_ID_TEXT)
           != NGX_OK)
    {
        return NGX_SMTP_NAME_OTHER;
    }

    p = name + NGX_SMTP_ID_TEXT;

    if (ngx_strcmp(p, ".data") == 0) {
        return NGX_SMTP_NAME_DATA;
    }

    if (*p != '.' && *p != '-') {
        return NGX_SMTP_NAME_OTHER;
    }

    n = 0;

    for (p++; *p >= '0' && *p <= '9' && n <= 0xffffffff; p++) {
        n = n * 10 + (*p - '0');
    }

    /* one spelling for each name: write it again and compare */

    if (n <= 0xffffffff) {
        *generation = (uint32_t) n;

        ngx_smtp_log_name(check, id, *generation);

        if (ngx_strcmp(check, name) == 0) {
            return NGX_SMTP_NAME_LOG;
        }

        ngx_smtp_body_name(check, id, *generation);

        if (ngx_strcmp(check, name) == 0) {
            return NGX_SMTP_NAME_KNOWN;
        }
    }

    return NGX_SMTP_NAME_OTHER;
}


static ngx_int_t
ngx_smtp_spool_list_add(ngx_smtp_spool_t *spool, ngx_smtp_spool_list_t *list,
    const char *name, ngx_smtp_fault_t *fault)
{
    void                   *p;
    uint32_t                generation;
    struct stat             st;
    ngx_smtp_segment_id_t   id;

    switch (ngx_smtp_spool_name(name, &id, &generation)) {

    case NGX_SMTP_NAME_OTHER:
        list->strange++;
        return NGX_OK;

    case NGX_SMTP_NAME_DATA:

        if (ngx_smtp_sys.fstatat(spool->dir, name, &st, AT_SYMLINK_NOFOLLOW)
            == -1)
        {
            return NGX_OK;
        }

        if (!S_ISREG(st.st_mode)) {
            list->strange++;
            return NGX_OK;
        }

        p = ngx_smtp_spool_grow(list->segments, list->nsegments,
                                sizeof(ngx_smtp_found_t));
        if (p == NULL) {
            break;
        }

        list->segments = p;
        list->segments[list->nsegments].id = id;
        list->segments[list->nsegments].mtime = st.st_mtim;
        list->segments[list->nsegments].size = st.st_size;
        list->nsegments++;

        return NGX_OK;

    case NGX_SMTP_NAME_LOG:

        p = ngx_smtp_spool_grow(list->orphans, list->norphans,
                                sizeof(ngx_smtp_orphan_t));
        if (p == NULL) {
            break;
        }

        list->orphans = p;
        list->orphans[list->norphans].id = id;
        list->orphans[list->norphans].generation = generation;
        list->norphans++;

        return NGX_OK;

    default: /* NGX_SMTP_NAME_KNOWN */
        return NGX_OK;
    }

    (void) ngx_smtp_fault_set(fault, "malloc() to list spool");

    return NGX_ERROR;
}


static void *
ngx_smtp_spool_grow(void *elts, ngx_uint_t n, size_t size)
{
    /* room is doubled whenever n reaches a power of two from 64 on */

    if (n == 0) {
        return malloc(64 * size);
    }

    if (n >= 64 && (n & (n - 1)) == 0) {
        return realloc(elts, 2 * n * size);
    }

    return elts;
}


static int ngx_libc_cdecl
ngx_smtp_spool_by_mtime(const void *one, const void *two)
{
    const ngx_smtp_found_t  *a, *b;

    a = one;
    b = two;

    if (a->mtime.tv_sec != b->mtime.tv_sec) {
        return a->mtime.tv_sec < b->mtime.tv_sec ? -1 : 1;
    }

    if (a->mtime.tv_nsec != b->mtime.tv_nsec) {
        return a->mtime.tv_nsec < b->mtime.tv_nsec ? -1 : 1;
    }

    return ngx_memcmp(a->id.bytes, b->id.bytes, NGX_SMTP_ID_SIZE);
}


/* keeps of all logs those whose data file is not there */

static void
ngx_smtp_spool_list_orphans(ngx_smtp_spool_t *spool,
    ngx_smtp_spool_list_t *list)
{
    char         name[NGX_SMTP_FILE_NAME];
    ngx_uint_t   i, n;
    struct stat  st;

    n = 0;

    for (i = 0; i < list->norphans; i++) {

        ngx_smtp_data_name(name, &list->orphans[i].id);

        if (ngx_smtp_sys.fstatat(spool->dir, name, &st, AT_SYMLINK_NOFOLLOW)
            == -1
            && ngx_errno == NGX_ENOENT)
        {
            list->orphans[n++] = list->orphans[i];
        }
    }

    list->norphans = n;
}


void
ngx_smtp_spool_list_free(ngx_smtp_spool_list_t *list)
{
    free(list->segments);
    free(list->orphans);

    ngx_memzero(list, sizeof(ngx_smtp_spool_list_t));
}


/* a log without data */

ngx_int_t
ngx_smtp_spool_orphan(ngx_smtp_spool_t *spool, ngx_smtp_orphan_t *orphan,
    ngx_smtp_fault_t *fault)
{
    int          fd;
    char         name[NGX_SMTP_FILE_NAME];
    ngx_int_t    rc;
    struct stat  st;

    ngx_smtp_data_name(name, &orphan->id);

    if (ngx_smtp_sys.fstatat(spool->dir, name, &st, AT_SYMLINK_NOFOLLOW)
        == 0)
    {
        return NGX_OK;
    }

    ngx_smtp_log_name(name, &orphan->id, orphan->generation);

    fd = ngx_smtp_sys.openat(spool->dir, name,
                             O_RDONLY|O_CLOEXEC|O_NOFOLLOW, 0);
    if (fd == -1) {

        if (ngx_errno == NGX_ENOENT) {
            return NGX_OK;
        }

        (void) ngx_smtp_fault_set(fault, "open() of log without data");
        return NGX_ERROR;
    }

    rc = ngx_smtp_spool_orphan_done(fd, orphan, fault);

    (void) ngx_smtp_sys.close(fd);

    /*
     * Who removed the data may have been killed before that was on disk: data
     * without a log would all be sent again.
     */

    if (rc == NGX_OK && ngx_smtp_sys.fsync(spool->dir) == -1) {
        (void) ngx_smtp_fault_set(fault, "fsync() of spool directory");
        return NGX_ERROR;
    }

    if (rc == NGX_OK
        && ngx_smtp_sys.unlinkat(spool->dir, name, 0) == -1
        && ngx_errno != NGX_ENOENT)
    {
        (void) ngx_smtp_fault_set(fault, "unlink() of log without data");
        return NGX_ERROR;
    }

    return rc;
}


static ngx_int_t
ngx_smtp_spool_orphan_done(int fd, ngx_smtp_orphan_t *o,
    ngx_smtp_fault_t *fault)
{
    u_char                  *next;
    size_t                   need;
    ssize_t                  n;
    struct stat              st;
    ngx_smtp_file_header_t   h;
    ngx_smtp_log_record_t    r;
    u_char                   buf[NGX_SMTP_FILE_HEADER];
    u_char                   mark[NGX_SMTP_LOG_MARK];

    if (ngx_smtp_sys.fstat(fd, &st) == -1) {
        (void) ngx_smtp_fault_set(fault, "fstat() of log without data");
        return NGX_ERROR;
    }

    n = ngx_smtp_sys.pread(fd, buf, NGX_SMTP_FILE_HEADER, 0);

    if (n == -1) {
        (void) ngx_smtp_fault_set(fault, "read() of log without data");
        return NGX_ERROR;
    }

    if (ngx_smtp_file_header_get(buf, n, NGX_SMTP_FILE_LOG, &h) != NGX_OK
        || ngx_memcmp(h.id.bytes, o->id.bytes, NGX_SMTP_ID_SIZE) != 0
        || h.generation != o->generation
        || st.st_size < NGX_SMTP_FILE_HEADER + NGX_SMTP_LOG_MARK)
    {
        return NGX_DECLINED;
    }

    /* SEGMENT_DONE has a size of its own: it can be found from the end */

    n = ngx_smtp_sys.pread(fd, mark, NGX_SMTP_LOG_MARK,
                           st.st_size - NGX_SMTP_LOG_MARK);

    if (n == -1) {
        (void) ngx_smtp_fault_set(fault, "read() of log without data");
        return NGX_ERROR;
    }

    if (ngx_smtp_log_next(mark, mark + n, ngx_smtp_log_seed(&h), 0, &r, &next,
                          &need)
        != NGX_OK
        || r.type != NGX_SMTP_LOG_SEGMENT_DONE
        || next != mark + n)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* temporary files */

void
ngx_smtp_spool_clean(ngx_smtp_spool_t *spool, time_t now)
{
    DIR               *dir;
    struct dirent     *de;
    ngx_smtp_fault_t   fault;

    ngx_smtp_body_clean(spool);

    dir = ngx_smtp_spool_opendir(spool->tmp, &fault);
    if (dir == NULL) {
        return;
    }

    for ( ;; ) {
        de = ngx_smtp_sys.readdir(dir);

        if (de == NULL) {
            break;
        }

        if (de->d_name[0] != '.') {
            ngx_smtp_spool_clean_one(spool, de->d_name, now);
        }
    }

    (void) ngx_smtp_sys.closedir(dir);
}


static void
ngx_smtp_spool_clean_one(ngx_smtp_spool_t *spool, const char *name,
    time_t now)
{
    int          fd;
    struct stat  st, named;

    fd = ngx_smtp_sys.openat(spool->tmp, name,
                             O_RDWR|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK, 0);
    if (fd == -1) {
        return;
    }

    /* locked, it may have got its name in the spool before: compare */

    if (ngx_smtp_sys.fstat(fd, &st) == 0
        && st.st_mtime + NGX_SMTP_TMP_AGE < now
        && ngx_smtp_sys.flock(fd, LOCK_EX|LOCK_NB) == 0
        && ngx_smtp_sys.fstatat(spool->tmp, name, &named,
                                AT_SYMLINK_NOFOLLOW)
           == 0
        && named.st_ino == st.st_ino && named.st_dev == st.st_dev)
    {
        (void) ngx_smtp_sys.unlinkat(spool->tmp, name, 0);
    }

    (void) ngx_smtp_sys.close(fd);
}


int
ngx_smtp_spool_tmpfile(ngx_smtp_spool_t *spool, char *name, const char *wish,
    ngx_smtp_fault_t *fault)
{
    int  fd;

    name[0] = '\0';

    if (spool->tmpfile) {
        fd = ngx_smtp_sys.openat(spool->dir, ".", O_TMPFILE|O_RDWR|O_CLOEXEC,
                                 0600);

    } else {
        fd = ngx_smtp_sys.openat(spool->tmp, wish,
                                 O_CREAT|O_EXCL|O_RDWR|O_CLOEXEC, 0600);
    }

    if (fd == -1) {
        (void) ngx_smtp_fault_set(fault, "open() of new file in spool");
        return -1;
    }

    if (!spool->tmpfile) {
        ngx_cpystrn((u_char *) name, (u_char *) wish, NGX_SMTP_TMP_NAME);
    }

    if (ngx_smtp_sys.flock(fd, LOCK_EX|LOCK_NB) == -1) {
        (void) ngx_smtp_fault_set(fault, "flock() of new file in spool");

        if (name[0]) {
            (void) ngx_smtp_sys.unlinkat(spool->tmp, name, 0);
        }

        (void) ngx_smtp_sys.close(fd);
        return -1;
    }

    return fd;
}


ngx_int_t
ngx_smtp_spool_link(ngx_smtp_spool_t *spool, int fd, const char *tmp,
    const char *name, ngx_smtp_fault_t *fault)
{
    int   rc;
    char  proc[NGX_SMTP_FILE_NAME];

    if (tmp[0] == '\0') {
        ngx_sprintf((u_char *) proc, "/proc/self/fd/%d%Z", fd);

        rc = ngx_smtp_sys.linkat(AT_FDCWD, proc, spool->dir, name,
                                 AT_SYMLINK_FOLLOW);

        if (rc == -1) {
            return ngx_smtp_fault_set(fault, "link() of new file in spool");
        }

        return NGX_OK;
    }

    rc = ngx_smtp_sys.renameat2(spool->tmp, tmp, spool->dir, name,
                                RENAME_NOREPLACE);

    if (rc == -1 && (ngx_errno == EINVAL || ngx_errno == ENOSYS)) {

        /* a file system without that flag: the same in two steps */

        rc = ngx_smtp_sys.linkat(spool->tmp, tmp, spool->dir, name, 0);

        if (rc == 0) {
            (void) ngx_smtp_sys.unlinkat(spool->tmp, tmp, 0);
        }
    }

    if (rc == -1) {
        return ngx_smtp_fault_set(fault, "rename() of new file in spool");
    }

    return NGX_OK;
}


/* the file "released", free space */

ngx_int_t
ngx_smtp_spool_touch(ngx_smtp_spool_t *spool, ngx_smtp_fault_t *fault)
{
    int        fd;
    ngx_int_t  rc;

    fd = ngx_smtp_sys.openat(spool->dir, "released",
                             O_CREAT|O_WRONLY|O_CLOEXEC|O_NOFOLLOW, 0600);
    if (fd == -1) {
        (void) ngx_smtp_fault_set(fault, "open() of \"released\"");
        return NGX_ERROR;
    }

    rc = NGX_OK;

    if (ngx_smtp_sys.futimens(fd, NULL) == -1) {
        rc = NGX_ERROR;
        (void) ngx_smtp_fault_set(fault, "futimens() of \"released\"");
    }

    (void) ngx_smtp_sys.close(fd);

    return rc;
}


void
ngx_smtp_spool_released(ngx_smtp_spool_t *spool, struct timespec *mtime)
{
    struct stat  st;

    ngx_memzero(mtime, sizeof(struct timespec));

    if (ngx_smtp_sys.fstatat(spool->dir, "released", &st,
                             AT_SYMLINK_NOFOLLOW)
        == 0)
    {
        *mtime = st.st_mtim;
    }
}


ngx_int_t
ngx_smtp_spool_space(ngx_smtp_spool_t *spool, ngx_smtp_space_t *space,
    ngx_smtp_fault_t *fault)
{
    struct statvfs  st;

    if (ngx_smtp_sys.fstatvfs(spool->dir, &st) == -1) {
        (void) ngx_smtp_fault_set(fault, "statvfs() of spool directory");
        return NGX_ERROR;
    }

    space->bytes = (off_t) st.f_bavail * (off_t) st.f_frsize;

    /* some file systems make inodes as they are needed and count none */

    space->inodes = st.f_files ? (off_t) st.f_favail : -1;

    return NGX_OK;
}


/* quarantine */

ngx_int_t
ngx_smtp_spool_quarantine(ngx_smtp_spool_t *spool, int fd, off_t start,
    off_t end, const char *name, ngx_smtp_fault_t *fault)
{
    int          copy;
    char         tmp[NGX_SMTP_QUARANTINE_TMP];
    ngx_int_t    rc;
    struct stat  st;

    if (ngx_smtp_sys.fstatat(spool->quarantine, name, &st,
                             AT_SYMLINK_NOFOLLOW)
        == 0
        && st.st_size == end - start)
    {
        return NGX_OK;
    }

    /*
     * Under a name of its own until it is whole: several threads may read
     * damaged messages of the same file.
     */

    (void) ngx_snprintf((u_char *) tmp, sizeof(tmp), ".%P-%s%Z", ngx_pid,
                        name);

    copy = ngx_smtp_sys.openat(spool->quarantine, tmp,
                               O_CREAT|O_TRUNC|O_WRONLY|O_CLOEXEC|O_NOFOLLOW,
                               0600);
    if (copy == -1) {
        return ngx_smtp_fault_set(fault, "open() in quarantine");
    }

    rc = ngx_smtp_spool_copy(fd, start, end, copy, fault);

    if (rc == NGX_OK && ngx_smtp_sys.fsync(copy) == -1) {
        rc = ngx_smtp_fault_set(fault, "fsync() in quarantine");
    }

    (void) ngx_smtp_sys.close(copy);

    if (rc == NGX_OK
        && ngx_smtp_sys.renameat2(spool->quarantine, tmp, spool->quarantine,
                                  name, 0)
           == -1)
    {
        rc = ngx_smtp_fault_set(fault, "rename() in quarantine");
    }

    if (rc != NGX_OK) {
        (void) ngx_smtp_sys.unlinkat(spool->quarantine, tmp, 0);
        return rc;
    }

    if (ngx_smtp_sys.fsync(spool->quarantine) == -1) {
        return ngx_smtp_fault_set(fault, "fsync() of quarantine");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_spool_copy(int from, off_t start, off_t end, int to,
    ngx_smtp_fault_t *fault)
{
    u_char        *buf;
    off_t          done;
    ssize_t        n, w;
    ngx_int_t      rc;
    struct iovec   iov;

    buf = malloc(NGX_SMTP_COPY_SIZE);

    if (buf == NULL) {
        return ngx_smtp_fault_set(fault, "malloc() for quarantine");
    }

    rc = NGX_OK;
    done = 0;

    while (start + done < end) {

        n = ngx_smtp_sys.pread(from, buf,
                               ngx_min(end - start - done,
                                       NGX_SMTP_COPY_SIZE),
                               start + done);

        if (n <= 0) {
            rc = ngx_smtp_fault_set(fault, "read() for quarantine");
            break;
        }

        iov.iov_base = buf;
        iov.iov_len = n;

        w = ngx_smtp_sys.pwritev(to, &iov, 1, done);

        if (w <= 0) {
            rc = ngx_smtp_fault_set(fault, "write() in quarantine");
            break;
        }

        /* a short write: what is missing is read again */

        done += w;
    }

    free(buf);

    return rc;
}
