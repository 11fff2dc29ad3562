
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Large bodies: written to a file without a name while they come in, synced
 * when the message is accepted, given their name by the batch.  The object is
 * freed by abort, or by the end of its accept; a task in flight delays that.
 */


#include "ngx_smtp_store_internal.h"


/* copied at once from another file */
#define NGX_SMTP_LARGE_PIECE  (128 * 1024)


static ngx_int_t ngx_smtp_large_start(ngx_smtp_large_t *l,
    ngx_smtp_block_t *blocks);
static void ngx_smtp_large_run(void *data);
static ngx_int_t ngx_smtp_large_source(ngx_smtp_large_t *l);
static void ngx_smtp_large_done(void *data);
static void ngx_smtp_large_answer(ngx_smtp_large_t *l);
static void ngx_smtp_large_later(ngx_smtp_large_t *l);


ngx_smtp_large_t *
ngx_smtp_large_open(ngx_smtp_store_t *store)
{
    ngx_time_t        *tp;
    ngx_smtp_large_t  *l;

    l = ngx_calloc(sizeof(ngx_smtp_large_t), store->log);
    if (l == NULL) {
        return NULL;
    }

    l->store = store;
    l->body.fd = -1;
    l->source = -1;
    l->rc = NGX_OK;

    /* in a container a worker may have the pid of the one that was killed */

    tp = ngx_timeofday();

    (void) ngx_snprintf((u_char *) l->wish, sizeof(l->wish),
                        "%P-%T.%03M-%ui.body%Z", ngx_pid, tp->sec, tp->msec,
                        ++store->large_id);

    ngx_smtp_task_init(&l->task, "spool large body", ngx_smtp_large_run,
                       ngx_smtp_large_done, l);

    return l;
}


void
ngx_smtp_large_write(ngx_smtp_large_t *l, ngx_smtp_block_t *blocks,
    ngx_smtp_large_pt handler, void *data)
{
    l->handler = handler;
    l->data = data;

    if (ngx_smtp_large_start(l, blocks) != NGX_OK) {
        ngx_smtp_large_later(l);
    }
}


void
ngx_smtp_large_copy(ngx_smtp_large_t *l, ngx_fd_t fd, off_t size,
    ngx_smtp_block_t *blocks, ngx_smtp_large_pt handler, void *data)
{
    /* of our own, so that the caller may come to its end before the thread */

    l->source = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    l->source_size = size;

    if (l->source == -1) {
        ngx_log_error(NGX_LOG_CRIT, l->store->log, ngx_errno,
                      "fcntl(F_DUPFD_CLOEXEC) failed");
        l->rc = NGX_ERROR;
    }

    ngx_smtp_large_write(l, blocks, handler, data);
}


void
ngx_smtp_large_commit(ngx_smtp_large_t *l, ngx_smtp_accept_t *a)
{
    l->accept = a;

    if (ngx_smtp_large_start(l, ngx_smtp_content_take(a->content))
        != NGX_OK)
    {
        ngx_smtp_large_later(l);
    }
}


void
ngx_smtp_large_abort(ngx_smtp_large_t *l)
{
    l->aborted = 1;

    if (l->task.active) {
        return;
    }

    if (l->queued) {
        ngx_queue_remove(&l->link);
    }

    if (l->body.fd == -1) {
        ngx_smtp_large_free(l);
        return;
    }

    if (ngx_smtp_task_post(l->store->conf->pool, &l->task, l->store->log)
        != NGX_OK)
    {
        /* many are: the pool takes no more, but the upkeep has its turn */

        ngx_smtp_store_close(l->store, &l->body);
        ngx_smtp_large_free(l);
    }
}


void
ngx_smtp_large_free(ngx_smtp_large_t *l)
{
    if (l->source != -1) {
        (void) ngx_smtp_sys.close(l->source);
    }

    ngx_smtp_block_free(l->blocks);
    ngx_free(l->iov);
    ngx_free(l);
}


void
ngx_smtp_larges_fail(ngx_smtp_store_t *store)
{
    ngx_queue_t       *q;
    ngx_smtp_large_t  *l;

    while (!ngx_queue_empty(&store->larges)) {
        q = ngx_queue_head(&store->larges);
        l = ngx_queue_data(q, ngx_smtp_large_t, link);

        ngx_queue_remove(q);
        l->queued = 0;

        ngx_smtp_large_answer(l);
    }
}


/* An error is told later, as a result always is; the first one stays. */

static void
ngx_smtp_large_later(ngx_smtp_large_t *l)
{
    if (l->rc == NGX_OK) {
        l->rc = NGX_ERROR;
    }

    ngx_smtp_block_free(l->blocks);
    l->blocks = NULL;

    l->queued = 1;

    ngx_queue_insert_tail(&l->store->larges, &l->link);
    ngx_smtp_store_wake(l->store);
}


static ngx_int_t
ngx_smtp_large_start(ngx_smtp_large_t *l, ngx_smtp_block_t *blocks)
{
    ngx_uint_t         n;
    ngx_smtp_block_t  *b;

    l->blocks = blocks;
    l->niov = 0;

    if (l->rc != NGX_OK || !l->store->opened) {
        return NGX_ERROR;
    }

    for (b = blocks, n = 0; b; b = b->next) {
        n++;
    }

    ngx_free(l->iov);

    l->iov = ngx_alloc((n + 1) * sizeof(struct iovec), l->store->log);
    if (l->iov == NULL) {
        return NGX_ERROR;
    }

    for (b = blocks; b; b = b->next) {
        if (ngx_smtp_block_size(b)) {
            l->iov[l->niov].iov_base = ngx_smtp_block_start(b);
            l->iov[l->niov++].iov_len = ngx_smtp_block_size(b);
        }
    }

    return ngx_smtp_task_post(l->store->conf->pool, &l->task, l->store->log);
}


static void
ngx_smtp_large_run(void *data)
{
    ngx_smtp_large_t *l = data;

    if (l->aborted) {
        ngx_smtp_body_abort(&l->store->spool, &l->body);

        if (l->source != -1) {
            (void) ngx_smtp_sys.close(l->source);
            l->source = -1;
        }

        return;
    }

    if (!l->made) {
        l->rc = ngx_smtp_body_create(&l->store->spool, &l->body, l->wish);

        if (l->rc != NGX_OK) {
            return;
        }

        l->made = 1;
    }

    if (l->source != -1) {
        l->rc = ngx_smtp_large_source(l);

        (void) ngx_smtp_sys.close(l->source);
        l->source = -1;

        if (l->rc != NGX_OK) {
            return;
        }
    }

    if (l->niov) {
        l->rc = ngx_smtp_body_write(&l->body, l->iov, l->niov);

        if (l->rc != NGX_OK) {
            return;
        }
    }

    /* the long sync is not the batch's: the others would wait for it */

    if (l->accept && ngx_smtp_sys.fsync(l->body.fd) == -1) {
        l->rc = ngx_smtp_fault_set(&l->body.fault, "fsync() of large body");
    }
}


/* What another one has kept of the message so far. */

static ngx_int_t
ngx_smtp_large_source(ngx_smtp_large_t *l)
{
    off_t          offset;
    u_char        *buf;
    size_t         size;
    ssize_t        n;
    ngx_int_t      rc;
    struct iovec   iov;

    buf = malloc(NGX_SMTP_LARGE_PIECE);
    if (buf == NULL) {
        return ngx_smtp_fault_set(&l->body.fault, "malloc() for large body");
    }

    rc = NGX_OK;

    for (offset = 0; rc == NGX_OK && offset < l->source_size; offset += n) {
        size = (size_t) ngx_min(l->source_size - offset,
                                (off_t) NGX_SMTP_LARGE_PIECE);

        n = ngx_smtp_sys.pread(l->source, buf, size, offset);

        if (n <= 0) {
            if (n == 0) {
                ngx_set_errno(EIO);
            }

            rc = ngx_smtp_fault_set(&l->body.fault,
                                    "read() of temporary file");
            break;
        }

        iov.iov_base = buf;
        iov.iov_len = n;

        rc = ngx_smtp_body_write(&l->body, &iov, 1);
    }

    free(buf);

    return rc;
}


static void
ngx_smtp_large_done(void *data)
{
    ngx_smtp_large_t *l = data;

    ngx_smtp_block_free(l->blocks);
    l->blocks = NULL;

    if (l->aborted) {
        ngx_smtp_large_abort(l);
        return;
    }

    if (l->rc != NGX_OK) {
        ngx_smtp_store_fault(l->store, NGX_LOG_CRIT, &l->body.fault,
                             l->rc == NGX_BUSY
                             ? "a large message is refused with 452; free "
                               "some space"
                             : "a large message is refused with 451; check "
                               "the disk");
    }

    ngx_smtp_large_answer(l);
}


static void
ngx_smtp_large_answer(ngx_smtp_large_t *l)
{
    ngx_smtp_store_t   *store;
    ngx_smtp_accept_t  *a;

    a = l->accept;
    store = l->store;

    if (a == NULL) {
        l->handler(l->data, l->rc);
        return;
    }

    if (l->rc != NGX_OK) {
        ngx_smtp_accept_end(store, a, l->rc);
        return;
    }

    ngx_smtp_accept_queue(store, a);
}
