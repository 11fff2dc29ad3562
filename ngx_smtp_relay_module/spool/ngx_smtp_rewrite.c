
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Writing a segment anew (docs/spool-format.md, 6.8 and 6.9):
 *
 *     data -> copy .. -> log -> history .. -> seal .. -> tail .. -> (commit)
 *
 * A log alone starts with "log".  The new files are those of rw->next, a
 * segment file of its own, so that they are written by the functions that
 * write any other segment; the commit gives them to the segment.
 *
 * What the new log takes over of the old one is ngx_smtp_rewrite_log.c.
 *
 * A compaction copies heads and contents as they are, with their numbers and
 * CRCs, which are checked on the way: damage must not be copied to where
 * nobody looks for it.
 */


#include "ngx_smtp_rewrite_internal.h"
#include "ngx_smtp_crc32c.h"
#include "ngx_smtp_pages.h"

#include <sys/file.h>


static ngx_int_t ngx_smtp_rewrite_data(ngx_smtp_rewrite_t *rw);
static ngx_int_t ngx_smtp_rewrite_copy(ngx_smtp_rewrite_t *rw);
static ngx_int_t ngx_smtp_rewrite_message(ngx_smtp_rewrite_t *rw,
    ngx_smtp_summary_t *s, size_t *used);
static ngx_int_t ngx_smtp_rewrite_read(ngx_smtp_rewrite_t *rw, size_t used,
    size_t size, off_t offset);
static ngx_int_t ngx_smtp_rewrite_batch(ngx_smtp_rewrite_t *rw,
    ngx_uint_t messages, size_t size);
static ngx_int_t ngx_smtp_rewrite_log(ngx_smtp_rewrite_t *rw);
static ngx_int_t ngx_smtp_rewrite_unlink_log(ngx_smtp_rewrite_t *rw,
    uint32_t generation);
static ngx_int_t ngx_smtp_rewrite_log_tmp(ngx_smtp_rewrite_t *rw);
static ngx_int_t ngx_smtp_rewrite_seal(ngx_smtp_rewrite_t *rw);
static ngx_int_t ngx_smtp_rewrite_switch(ngx_smtp_rewrite_t *rw);
static int ngx_smtp_rewrite_tmp(ngx_smtp_rewrite_t *rw, const char *name,
    const char *what);
static void ngx_smtp_rewrite_tmp_name(ngx_smtp_rewrite_t *rw, char *name);
static ngx_int_t ngx_smtp_rewrite_damaged(ngx_smtp_rewrite_t *rw,
    const char *what);


void
ngx_smtp_rewrite_start(ngx_smtp_rewrite_t *rw, ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, ngx_uint_t data)
{
    ngx_smtp_segment_file_t  *next;

    ngx_memzero(rw, sizeof(ngx_smtp_rewrite_t));

    rw->spool = spool;
    rw->file = f;
    rw->data = data;
    rw->past = NGX_SMTP_FILE_HEADER;
    rw->tail = f->log_end;
    rw->log_end = f->log_end;
    rw->broken = f->log_broken;
    rw->old_data = -1;
    rw->part = data ? ngx_smtp_rewrite_data : ngx_smtp_rewrite_log;

    f->full = 1;

    next = &rw->next;

    next->header = f->header;
    next->data = data ? -1 : f->data;
    next->log = -1;
    next->data_end = data ? NGX_SMTP_FILE_HEADER : f->data_end;
    next->batch = data ? 0 : f->batch;
    next->no_reserve = f->no_reserve;
    next->tail = f->tail;
    next->full = 1;

    if (data) {
        next->header.generation++;
    }
}


ngx_int_t
ngx_smtp_rewrite_step(ngx_smtp_rewrite_t *rw)
{
    ngx_int_t            rc;
    ngx_smtp_rewrite_pt  part;

    part = rw->part;

    if (part == NULL) {
        return NGX_OK;
    }

    rc = part(rw);

    /* a part that is over has set the next one */

    return (rc == NGX_OK && rw->part) ? NGX_AGAIN : rc;
}


/* data */

static ngx_int_t
ngx_smtp_rewrite_data(ngx_smtp_rewrite_t *rw)
{
    char           name[NGX_SMTP_FILE_NAME];
    u_char         header[NGX_SMTP_FILE_HEADER];
    struct iovec   iov;

    /*
     * The log before this one, if it could not be unlinked: there is one place
     * to remember such a log, and soon there is another one.
     */

    if (rw->file->stale) {
        if (ngx_smtp_rewrite_unlink_log(rw, rw->file->stale) != NGX_OK) {
            return NGX_ERROR;
        }

        rw->file->stale = 0;
    }

    ngx_smtp_rewrite_tmp_name(rw, name);

    rw->next.data = ngx_smtp_rewrite_tmp(rw, name, "open() of compacted data");

    if (rw->next.data == -1) {
        return ngx_smtp_fault_set(&rw->fault, rw->fault.what);
    }

    ngx_smtp_file_header_put(header, NGX_SMTP_FILE_DATA, &rw->next.header);

    iov.iov_base = header;
    iov.iov_len = NGX_SMTP_FILE_HEADER;

    rw->part = ngx_smtp_rewrite_copy;

    return ngx_smtp_write_all(rw->next.data, &iov, 1, 0, &rw->fault,
                              "write() of compacted data");
}


static ngx_int_t
ngx_smtp_rewrite_copy(ngx_smtp_rewrite_t *rw)
{
    size_t      used;
    ngx_int_t   rc;
    ngx_uint_t  messages;

    used = NGX_SMTP_BATCH_HEADER;
    messages = 0;

    while (rw->cursor < rw->content.n && used < NGX_SMTP_COPY_STEP) {
        rc = ngx_smtp_rewrite_message(rw,
                                      &rw->content.summaries[rw->cursor],
                                      &used);
        if (rc != NGX_OK) {
            return rc;
        }

        rw->cursor++;
        messages++;
    }

    if (messages) {
        rc = ngx_smtp_rewrite_batch(rw, messages, used);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (rw->cursor < rw->content.n) {
        return NGX_AGAIN;
    }

    /* the size of the file as well: it is new */

    if (ngx_smtp_sys.fsync(rw->next.data) == -1) {
        return ngx_smtp_fault_set(&rw->fault, "fsync() of compacted data");
    }

    rw->part = ngx_smtp_rewrite_log;

    return NGX_OK;
}


/* Reads one message into the batch, checks it, and moves its summary. */

static ngx_int_t
ngx_smtp_rewrite_message(ngx_smtp_rewrite_t *rw, ngx_smtp_summary_t *s,
    size_t *used)
{
    size_t             size;
    u_char            *head;
    ngx_int_t          rc;
    ngx_smtp_record_t  r;

    rc = ngx_smtp_rewrite_read(rw, *used, s->head_size, s->offset);

    if (rc != NGX_OK) {
        return rc;
    }

    head = rw->buf + *used;

    if (ngx_smtp_record_check(head, s->head_size, &r) != NGX_OK
        || r.number != s->number || r.large != s->large
        || r.content > s->size)
    {
        return ngx_smtp_rewrite_damaged(rw, "check of a message's head");
    }

    size = r.large ? 0 : (size_t) r.content;

    rc = ngx_smtp_rewrite_read(rw, *used + s->head_size, size,
                               s->offset + s->head_size);
    if (rc != NGX_OK) {
        return rc;
    }

    if (!r.large
        && ngx_smtp_crc32c(0, rw->buf + *used + s->head_size, size)
           != r.body_crc)
    {
        return ngx_smtp_rewrite_damaged(rw, "check of a message's content");
    }

    s->offset = rw->next.data_end + (off_t) *used;
    *used += s->head_size + size;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_rewrite_read(ngx_smtp_rewrite_t *rw, size_t used, size_t size,
    off_t offset)
{
    ngx_int_t  rc;

    rc = ngx_smtp_rewrite_room(rw, used + size);

    if (rc != NGX_OK || size == 0) {
        return rc;
    }

    if (ngx_smtp_segment_read(rw->file, rw->buf + used, size, offset,
                              &rw->fault)
        == NGX_OK)
    {
        return NGX_OK;
    }

    if (rw->fault.err == 0) {
        rw->damaged = 1;
    }

    return NGX_ERROR;
}


/* buf has room for the header, then the messages. */

static ngx_int_t
ngx_smtp_rewrite_batch(ngx_smtp_rewrite_t *rw, ngx_uint_t messages,
    size_t size)
{
    ngx_int_t                 rc;
    struct iovec              iov;
    ngx_smtp_batch_t          batch;
    ngx_smtp_segment_file_t  *next;

    next = &rw->next;

    batch.length = size - NGX_SMTP_BATCH_HEADER;
    batch.messages = (uint32_t) messages;
    batch.sequence = ++next->batch;

    ngx_smtp_batch_put(rw->buf, &next->header, &batch);

    iov.iov_base = rw->buf;
    iov.iov_len = size;

    rc = ngx_smtp_write_all(next->data, &iov, 1, next->data_end, &rw->fault,
                            "write() of compacted data");
    if (rc != NGX_OK) {
        return rc;
    }

    next->data_end += (off_t) size;

    /* little by little: one long sync would be in the way of the batches */

    if (rw->cursor < rw->content.n
        && ngx_smtp_sys.fdatasync(next->data) == -1)
    {
        return ngx_smtp_fault_set(&rw->fault,
                                  "fdatasync() of compacted data");
    }

    return NGX_OK;
}


/* log */

static ngx_int_t
ngx_smtp_rewrite_log(ngx_smtp_rewrite_t *rw)
{
    ngx_int_t                 rc;
    ngx_smtp_segment_file_t  *next;

    next = &rw->next;

    if (!rw->data) {
        rc = ngx_smtp_rewrite_log_tmp(rw);

    } else {

        /* one that an earlier compaction left: the segment is ours */

        rw->made |= 2;

        rc = ngx_smtp_rewrite_unlink_log(rw, next->header.generation);

        if (rc != NGX_OK) {
            return rc;
        }

        rc = ngx_smtp_segment_log_create(rw->spool, next, rw->content.now);

        if (rc != NGX_OK) {
            rw->fault = next->fault;
        }
    }

    if (rc != NGX_OK) {
        return rc;
    }

    rw->part = rw->broken ? ngx_smtp_rewrite_sealing
                          : ngx_smtp_rewrite_history;

    /* compacted data have no others */

    return rw->data ? NGX_OK : ngx_smtp_rewrite_living(rw);
}


static ngx_int_t
ngx_smtp_rewrite_unlink_log(ngx_smtp_rewrite_t *rw, uint32_t generation)
{
    char  name[NGX_SMTP_FILE_NAME];

    ngx_smtp_log_name(name, &rw->next.header.id, generation);

    if (ngx_smtp_sys.unlinkat(rw->spool->dir, name, 0) == -1
        && ngx_errno != NGX_ENOENT)
    {
        (void) ngx_smtp_fault_set(&rw->fault, "unlink() of old log");
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_rewrite_log_tmp(ngx_smtp_rewrite_t *rw)
{
    char                      name[NGX_SMTP_FILE_NAME];
    u_char                    header[NGX_SMTP_FILE_HEADER];
    struct iovec              iov;
    ngx_smtp_file_header_t    h;
    ngx_smtp_segment_file_t  *next;

    next = &rw->next;

    ngx_smtp_rewrite_tmp_name(rw, name);

    next->log = ngx_smtp_rewrite_tmp(rw, name, "open() of replacement log");

    if (next->log == -1) {
        return ngx_smtp_fault_set(&rw->fault, rw->fault.what);
    }

    h = next->header;
    h.created = rw->content.now;

    ngx_smtp_file_header_put(header, NGX_SMTP_FILE_LOG, &h);

    iov.iov_base = header;
    iov.iov_len = NGX_SMTP_FILE_HEADER;

    next->seed = ngx_smtp_log_seed(&h);
    next->log_end = NGX_SMTP_FILE_HEADER;
    next->log_space = NGX_SMTP_FILE_HEADER;

    return ngx_smtp_write_all(next->log, &iov, 1, 0, &rw->fault,
                              "write() of replacement log");
}


ngx_int_t
ngx_smtp_rewrite_sealing(ngx_smtp_rewrite_t *rw)
{
    rw->seal = ngx_smtp_seal_start(&rw->next, &rw->content);

    if (rw->seal == NULL) {
        rw->fault = rw->next.fault;
        return NGX_ERROR;
    }

    /* nothing of the segment is sent until a broken log is replaced */

    if (rw->broken) {
        ngx_smtp_seal_lenient(rw->seal);
    }

    rw->part = ngx_smtp_rewrite_seal;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_rewrite_seal(ngx_smtp_rewrite_t *rw)
{
    ngx_int_t  rc;

    rc = ngx_smtp_seal_step(rw->seal);

    if (rc == NGX_OK) {
        ngx_smtp_seal_free(rw->seal);
        rw->seal = NULL;
        rw->part = ngx_smtp_rewrite_tail;

    } else if (rc != NGX_AGAIN) {
        rw->fault = rw->next.fault;
        rw->damaged = (rw->fault.err == 0);
    }

    return rc;
}


/* commit */

ngx_int_t
ngx_smtp_rewrite_commit(ngx_smtp_rewrite_t *rw)
{
    ngx_int_t                 rc;
    ngx_smtp_segment_file_t  *f, *next;

    f = rw->file;
    next = &rw->next;

    rw->log_end = f->log_end;

    while (!rw->broken && rw->tail < rw->log_end) {
        rc = ngx_smtp_rewrite_tail_some(rw);

        if (rc != NGX_AGAIN) {
            return rc;
        }
    }

    next->owed = f->owed;

    rc = ngx_smtp_segment_reserve(next, 0);

    if (rc == NGX_OK) {
        rc = ngx_smtp_segment_log_sync(next);
    }

    if (rc != NGX_OK) {
        rw->fault = next->fault;
        return rc;
    }

    return ngx_smtp_rewrite_switch(rw);
}


/* From the rename on the old files are not the segment's any more. */

static ngx_int_t
ngx_smtp_rewrite_switch(ngx_smtp_rewrite_t *rw)
{
    int                       old_data, old_log;
    char                      tmp[NGX_SMTP_FILE_NAME];
    char                      name[NGX_SMTP_FILE_NAME];
    ngx_int_t                 rc;
    ngx_smtp_segment_file_t  *f;

    f = rw->file;
    old_data = f->data;
    old_log = f->log;

    ngx_smtp_rewrite_tmp_name(rw, tmp);

    if (rw->data) {
        ngx_smtp_data_name(name, &f->header.id);

    } else {
        ngx_smtp_log_name(name, &f->header.id, f->header.generation);
    }

    if (ngx_smtp_sys.renameat2(rw->spool->tmp, tmp, rw->spool->dir, name, 0)
        == -1)
    {
        return ngx_smtp_fault_set(&rw->fault, "rename() of rewritten segment");
    }

    rw->committed = 1;

    rw->next.stale = rw->data ? f->header.generation : f->stale;
    rw->next.data_broken = f->data_broken;
    rw->next.tail = f->tail;

    *f = rw->next;

    rw->next.data = -1;
    rw->next.log = -1;

    if (rw->data) {
        rw->old_data = old_data;
    }

    if (old_log != -1) {
        (void) ngx_smtp_sys.close(old_log);
    }

    rc = NGX_OK;

    if (ngx_smtp_sys.fsync(rw->spool->dir) == -1) {
        f->log_broken = 1;
        rc = ngx_smtp_fault_set(&rw->fault, "fsync() of spool directory");

    } else {
        (void) ngx_smtp_segment_unstale(rw->spool, f);
    }

    return rc;
}


void
ngx_smtp_rewrite_end(ngx_smtp_rewrite_t *rw)
{
    char                      name[NGX_SMTP_FILE_NAME];
    ngx_smtp_segment_file_t  *f, *next;

    f = rw->file;
    next = &rw->next;

    ngx_smtp_seal_free(rw->seal);
    rw->seal = NULL;

    ngx_smtp_pages_free(rw->buf);
    rw->buf = NULL;

    if (rw->committed) {
        return;
    }

    if (next->log != -1) {
        (void) ngx_smtp_sys.close(next->log);
    }

    if (rw->data && next->data != -1) {
        (void) ngx_smtp_sys.close(next->data);
    }

    next->log = -1;
    next->data = -1;

    if (rw->made & 1) {
        ngx_smtp_rewrite_tmp_name(rw, name);
        (void) ngx_smtp_sys.unlinkat(rw->spool->tmp, name, 0);
    }

    if (rw->made & 2) {
        f->stale = next->header.generation;
        (void) ngx_smtp_segment_unstale(rw->spool, f);
    }

    rw->made = 0;
}


/* A locked new file in tmp/; -1 with errno and fault.what. */

static int
ngx_smtp_rewrite_tmp(ngx_smtp_rewrite_t *rw, const char *name,
    const char *what)
{
    int  fd;

    rw->fault.what = what;
    rw->made |= 1;

    /*
     * One that an earlier owner left goes: a new file is young, and so is let
     * alone by those who clean tmp/ until it is locked.
     */

    if (ngx_smtp_sys.unlinkat(rw->spool->tmp, name, 0) == -1
        && ngx_errno != NGX_ENOENT)
    {
        return -1;
    }

    fd = ngx_smtp_sys.openat(rw->spool->tmp, name,
                             O_CREAT|O_EXCL|O_RDWR|O_CLOEXEC|O_NOFOLLOW,
                             0600);
    if (fd == -1) {
        return -1;
    }

    /* the lock of the data is the ownership after the commit */

    if (ngx_smtp_sys.flock(fd, LOCK_EX|LOCK_NB) == -1) {
        (void) ngx_smtp_sys.close(fd);
        return -1;
    }

    return fd;
}


static void
ngx_smtp_rewrite_tmp_name(ngx_smtp_rewrite_t *rw, char *name)
{
    u_char  *p;

    p = ngx_smtp_segment_id_text(&rw->next.header.id, (u_char *) name);

    ngx_sprintf(p, "%s%Z", rw->data ? "" : ".log");
}


ngx_int_t
ngx_smtp_rewrite_room(ngx_smtp_rewrite_t *rw, size_t size)
{
    u_char  *p;

    if (size <= rw->room) {
        return NGX_OK;
    }

    size = ngx_max(size, NGX_SMTP_COPY_STEP + NGX_SMTP_COPY_STEP / 4);

    p = ngx_smtp_pages_realloc(rw->buf, size);

    if (p == NULL) {
        ngx_set_errno(NGX_ENOMEM);
        (void) ngx_smtp_fault_set(&rw->fault, "malloc() to rewrite");
        return NGX_ERROR;
    }

    rw->buf = p;
    rw->room = size;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_rewrite_damaged(ngx_smtp_rewrite_t *rw, const char *what)
{
    rw->fault.err = 0;
    rw->fault.what = what;
    rw->damaged = 1;

    return NGX_ERROR;
}
