
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Bodies over NGX_SMTP_LARGE in files of their own: written while they come
 * in, synced and named before the batch that names them, unlinked after the
 * end of their message was synced.  Blocking, for threads; the structure is
 * the caller's.
 */


#include "ngx_smtp_segment.h"
#include "ngx_smtp_crc32c.h"


#define NGX_SMTP_BODY_CLEAN     32      /* at most, in one go */


typedef struct {
    ngx_smtp_segment_id_t       id;
    uint32_t                    number;
    ngx_uint_t                  keep;
} ngx_smtp_body_stray_t;


static ngx_uint_t ngx_smtp_body_strays(ngx_smtp_spool_t *spool, DIR *dir,
    ngx_smtp_body_stray_t *strays);


ngx_int_t
ngx_smtp_body_create(ngx_smtp_spool_t *spool, ngx_smtp_body_file_t *b,
    const char *wish)
{
    ngx_memzero(b, sizeof(ngx_smtp_body_file_t));

    b->fd = ngx_smtp_spool_tmpfile(spool, b->name, wish, &b->fault);

    if (b->fd != -1) {
        return NGX_OK;
    }

    return (b->fault.err == ENOSPC || b->fault.err == EDQUOT) ? NGX_BUSY
                                                              : NGX_ERROR;
}


ngx_int_t
ngx_smtp_body_write(ngx_smtp_body_file_t *b, struct iovec *iov, ngx_uint_t n)
{
    off_t       size;
    uint32_t    crc;
    ngx_int_t   rc;
    ngx_uint_t  i;

    crc = b->crc;
    size = b->size;

    for (i = 0; i < n; i++) {
        crc = ngx_smtp_crc32c(crc, iov[i].iov_base, iov[i].iov_len);
        size += iov[i].iov_len;
    }

    rc = ngx_smtp_write_all(b->fd, iov, n, b->size, &b->fault,
                            "write() of large body");

    if (rc == NGX_OK) {
        b->crc = crc;
        b->size = size;
    }

    return rc;
}


ngx_int_t
ngx_smtp_body_commit(ngx_smtp_spool_t *spool, ngx_smtp_body_file_t *b,
    const ngx_smtp_segment_id_t *id, uint32_t number)
{
    char       name[NGX_SMTP_FILE_NAME];
    ngx_int_t  rc;

    if (ngx_smtp_sys.fsync(b->fd) == -1) {
        rc = ngx_smtp_fault_set(&b->fault, "fsync() of large body");
        ngx_smtp_body_abort(spool, b);
        return rc;
    }

    ngx_smtp_body_name(name, id, number);

    rc = ngx_smtp_spool_link(spool, b->fd, b->name, name, &b->fault);

    if (rc != NGX_OK) {
        ngx_smtp_body_abort(spool, b);
        return rc;
    }

    b->name[0] = '\0';

    if (ngx_smtp_sys.fsync(spool->dir) == -1) {
        rc = ngx_smtp_fault_set(&b->fault, "fsync() of spool directory");
        (void) ngx_smtp_sys.unlinkat(spool->dir, name, 0);
    }

    ngx_smtp_body_close(b);

    return rc;
}


void
ngx_smtp_body_abort(ngx_smtp_spool_t *spool, ngx_smtp_body_file_t *b)
{
    if (b->name[0]) {
        (void) ngx_smtp_sys.unlinkat(spool->tmp, b->name, 0);
        b->name[0] = '\0';
    }

    ngx_smtp_body_close(b);
}


ngx_int_t
ngx_smtp_body_unlink(ngx_smtp_spool_t *spool, const ngx_smtp_segment_id_t *id,
    uint32_t number, ngx_smtp_fault_t *fault)
{
    char  name[NGX_SMTP_FILE_NAME];

    ngx_smtp_body_name(name, id, number);

    if (ngx_smtp_sys.unlinkat(spool->dir, name, 0) == -1
        && ngx_errno != NGX_ENOENT)
    {
        (void) ngx_smtp_fault_set(fault, "unlink() of large body");
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_smtp_body_clean(ngx_smtp_spool_t *spool)
{
    DIR                    *dir;
    ngx_uint_t              i, n;
    struct dirent          *de;
    ngx_smtp_fault_t        fault;
    ngx_smtp_segment_id_t   id;
    ngx_smtp_body_stray_t   strays[NGX_SMTP_BODY_CLEAN];

    dir = ngx_smtp_spool_opendir(spool->dir, &fault);
    if (dir == NULL) {
        return;
    }

    n = ngx_smtp_body_strays(spool, dir, strays);

    (void) ngx_smtp_sys.closedir(dir);

    if (n == 0) {
        return;
    }

    /* once more, for their logs */

    dir = ngx_smtp_spool_opendir(spool->dir, &fault);
    if (dir == NULL) {
        return;
    }

    for ( ;; ) {
        ngx_set_errno(0);
        de = ngx_smtp_sys.readdir(dir);

        if (de == NULL) {
            break;
        }

        if (ngx_strlen(de->d_name) <= NGX_SMTP_ID_TEXT
            || de->d_name[NGX_SMTP_ID_TEXT] != '.'
            || ngx_smtp_segment_id_parse(&id, (u_char *) de->d_name,
                                         NGX_SMTP_ID_TEXT)
               != NGX_OK)
        {
            continue;
        }

        for (i = 0; i < n; i++) {
            strays[i].keep |= ngx_memcmp(strays[i].id.bytes, id.bytes,
                                         NGX_SMTP_ID_SIZE)
                              == 0;
        }
    }

    /* a listing that broke off tells nothing */

    for (i = 0; i < n && ngx_errno == 0; i++) {

        if (!strays[i].keep) {
            (void) ngx_smtp_body_unlink(spool, &strays[i].id,
                                        strays[i].number, &fault);
            ngx_set_errno(0);
        }
    }

    (void) ngx_smtp_sys.closedir(dir);
}


static ngx_uint_t
ngx_smtp_body_strays(ngx_smtp_spool_t *spool, DIR *dir,
    ngx_smtp_body_stray_t *strays)
{
    char            name[NGX_SMTP_FILE_NAME];
    size_t          len;
    ngx_uint_t      n;
    struct stat     st;
    struct dirent  *de;

    for (n = 0; n < NGX_SMTP_BODY_CLEAN; /* void */) {
        de = ngx_smtp_sys.readdir(dir);

        if (de == NULL) {
            break;
        }

        len = ngx_strlen(de->d_name);

        if (len < 5 || ngx_strcmp(de->d_name + len - 5, ".body") != 0
            || ngx_smtp_queue_id_parse(&strays[n].id, &strays[n].number,
                                       (u_char *) de->d_name, len - 5)
               != NGX_OK)
        {
            continue;
        }

        ngx_smtp_data_name(name, &strays[n].id);

        if (ngx_smtp_sys.fstatat(spool->dir, name, &st, AT_SYMLINK_NOFOLLOW)
            == -1
            && ngx_errno == NGX_ENOENT)
        {
            strays[n++].keep = 0;
        }
    }

    return n;
}


ngx_int_t
ngx_smtp_body_open(ngx_smtp_spool_t *spool, ngx_smtp_body_file_t *b,
    const ngx_smtp_segment_id_t *id, uint32_t number)
{
    char         name[NGX_SMTP_FILE_NAME];
    struct stat  st;

    ngx_memzero(b, sizeof(ngx_smtp_body_file_t));

    ngx_smtp_body_name(name, id, number);

    b->fd = ngx_smtp_sys.openat(spool->dir, name,
                                O_RDONLY|O_CLOEXEC|O_NOFOLLOW, 0);
    if (b->fd == -1) {
        (void) ngx_smtp_fault_set(&b->fault, "open() of large body");
        return NGX_ERROR;
    }

    if (ngx_smtp_sys.fstat(b->fd, &st) == -1) {
        (void) ngx_smtp_fault_set(&b->fault, "fstat() of large body");
        ngx_smtp_body_close(b);
        return NGX_ERROR;
    }

    b->size = st.st_size;

    return NGX_OK;
}


ngx_int_t
ngx_smtp_body_read(ngx_smtp_body_file_t *b, u_char *buf, size_t size,
    off_t offset, ngx_smtp_fault_t *fault)
{
    ssize_t  n;

    n = ngx_smtp_read_all(b->fd, buf, size, offset, fault,
                          "read() of large body");
    if (n == -1) {
        return NGX_ERROR;
    }

    if ((size_t) n < size) {
        fault->err = 0;
        fault->what = "large body is too short";
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_smtp_body_close(ngx_smtp_body_file_t *b)
{
    if (b->fd != -1) {
        (void) ngx_smtp_sys.close(b->fd);
        b->fd = -1;
    }
}
