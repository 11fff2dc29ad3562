
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Reading a message back.  A fresh one comes from its blocks, without a copy;
 * others are read in a thread, the head with the first slice, so that the
 * usual message is one task.  The reader and its buffers live in a pool of its
 * own; when it is closed while a task is in flight, the pool goes when the
 * task ends.
 *
 * The CRC of the content is complete only with its last slice: a damaged large
 * message fails there, before the relay can send its end of data.
 */


#include "ngx_smtp_store_internal.h"
#include "ngx_smtp_crc32c.h"


typedef struct {
    ngx_smtp_task_t          task;
    ngx_smtp_reader_t       *reader;
    ngx_smtp_store_t        *store;
    ngx_smtp_segment_t      *segment;
    ngx_smtp_data_t         *file;      /* as it was when it was opened */
    ngx_smtp_fresh_t        *fresh;
    ngx_smtp_block_t        *block;     /* the next one of fresh */

    /* copies for the thread */
    ngx_smtp_segment_id_t    id;
    uint32_t                 number;
    uint32_t                 head_size;
    off_t                    start;     /* of the record */
    off_t                    total;     /* of fields and content */

    u_char                  *head;
    ngx_smtp_record_t        record;
    ngx_smtp_body_file_t     body;

    u_char                  *buf;
    size_t                   room;
    size_t                   size;      /* read into buf */
    off_t                    offset;    /* in the content, behind buf */
    uint32_t                 crc;

    ngx_int_t                rc;
    ngx_smtp_fault_t         fault;

    /*
     * The thread reads or writes these: no bits of a word in which the loop
     * sets others meanwhile, or one of both writes is lost.
     */
    ngx_uint_t               given;     /* what is in buf was given */
    ngx_uint_t               damaged;
    ngx_uint_t               headed;    /* head is read and decoded */
    ngx_uint_t               head_only;
    ngx_uint_t               peek;      /* the message may be gone */
    ngx_uint_t               large;

    ngx_uint_t               work;      /* our place, ngx_smtp_work.h */
    unsigned                 fields:1;  /* were given */
    unsigned                 waiting:1; /* the handler is to be called */
    unsigned                 rewound:1; /* what is being read is not wanted */
    unsigned                 closed:1;
} ngx_smtp_reader_ctx_t;


#define NGX_SMTP_READER_PEEK   1
#define NGX_SMTP_READER_SLICE  2


static ngx_int_t ngx_smtp_reader_begin(ngx_smtp_message_t *m,
    void (*handler)(ngx_smtp_reader_t *r, ngx_int_t rc), void *data,
    ngx_log_t *log, ngx_uint_t peek, ngx_smtp_reader_t **rp);
static ngx_int_t ngx_smtp_reader_fresh(ngx_smtp_reader_ctx_t *ctx);
static ngx_int_t ngx_smtp_reader_disk(ngx_smtp_reader_ctx_t *ctx);
static ngx_int_t ngx_smtp_reader_post(ngx_smtp_reader_ctx_t *ctx);
static ngx_int_t ngx_smtp_reader_next_fresh(ngx_smtp_reader_ctx_t *ctx,
    ngx_str_t *out);
static void ngx_smtp_reader_free(ngx_smtp_reader_ctx_t *ctx);
static ngx_int_t ngx_smtp_reader_read(ngx_smtp_reader_ctx_t *ctx, u_char *buf,
    size_t size, off_t offset);
static void ngx_smtp_reader_run(void *data);
static ngx_int_t ngx_smtp_reader_run_head(ngx_smtp_reader_ctx_t *ctx);
static ngx_int_t ngx_smtp_reader_run_slice(ngx_smtp_reader_ctx_t *ctx);
static void ngx_smtp_reader_quarantine(ngx_smtp_reader_ctx_t *ctx);
static void ngx_smtp_reader_done(void *data);
static ngx_int_t ngx_smtp_reader_decode(ngx_smtp_reader_ctx_t *ctx);
static void ngx_smtp_reader_failed(ngx_smtp_reader_ctx_t *ctx);
static void ngx_smtp_reader_reset(ngx_smtp_reader_ctx_t *ctx);


ngx_int_t
ngx_smtp_reader_open(ngx_smtp_message_t *m,
    void (*handler)(ngx_smtp_reader_t *r, ngx_int_t rc), void *data,
    ngx_log_t *log, ngx_smtp_reader_t **rp)
{
    return ngx_smtp_reader_begin(m, handler, data, log, 0, rp);
}


ngx_int_t
ngx_smtp_reader_peek(ngx_smtp_message_t *m, ngx_uint_t slice,
    void (*handler)(ngx_smtp_reader_t *r, ngx_int_t rc), void *data,
    ngx_log_t *log, ngx_smtp_reader_t **rp)
{
    return ngx_smtp_reader_begin(m, handler, data, log,
                                 slice ? NGX_SMTP_READER_SLICE
                                       : NGX_SMTP_READER_PEEK, rp);
}


static ngx_int_t
ngx_smtp_reader_begin(ngx_smtp_message_t *m,
    void (*handler)(ngx_smtp_reader_t *r, ngx_int_t rc), void *data,
    ngx_log_t *log, ngx_uint_t peek, ngx_smtp_reader_t **rp)
{
    ngx_int_t               rc;
    ngx_pool_t             *pool;
    ngx_smtp_reader_t      *r;
    ngx_smtp_reader_ctx_t  *ctx;

    pool = ngx_create_pool(2048, log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    r = ngx_pcalloc(pool, sizeof(ngx_smtp_reader_t));
    ctx = ngx_pcalloc(pool, sizeof(ngx_smtp_reader_ctx_t));

    if (r == NULL || ctx == NULL) {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    r->pool = pool;
    r->message = m;
    r->handler = handler;
    r->data = data;
    r->ctx = ctx;

    ctx->reader = r;
    ctx->segment = m->segment;
    ctx->store = m->segment->store;
    ctx->id = m->segment->file.header.id;
    ctx->number = m->number;
    ctx->head_size = m->head_size;
    ctx->start = m->offset;
    ctx->total = m->size;
    ctx->large = m->large;
    ctx->body.fd = -1;
    ctx->peek = (peek != 0);
    ctx->head_only = (peek == NGX_SMTP_READER_PEEK);

    rc = m->fresh ? ngx_smtp_reader_fresh(ctx) : ngx_smtp_reader_disk(ctx);

    if (rc == NGX_ERROR) {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    *rp = r;

    return rc;
}


static ngx_int_t
ngx_smtp_reader_fresh(ngx_smtp_reader_ctx_t *ctx)
{
    ctx->fresh = ctx->reader->message->fresh;
    ctx->head = ctx->fresh->head;

    if (ngx_smtp_reader_decode(ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->fresh->readers++;
    ctx->block = ctx->fresh->blocks;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_reader_disk(ngx_smtp_reader_ctx_t *ctx)
{
    ngx_pool_t  *pool;

    pool = ctx->reader->pool;

    ctx->room = ctx->head_only ? 1 : (size_t) ngx_min(ctx->total + 1,
                                                      NGX_SMTP_READ_SIZE);

    ctx->head = ngx_palloc(pool, ctx->head_size);
    ctx->buf = ngx_palloc(pool, ctx->room);

    if (ctx->head == NULL || ctx->buf == NULL) {
        return NGX_ERROR;
    }

    ctx->file = ngx_smtp_data_get(ctx->reader->message);
    if (ctx->file == NULL) {
        return NGX_ERROR;
    }

    ngx_smtp_task_init(&ctx->task, "spool read", ngx_smtp_reader_run,
                       ngx_smtp_reader_done, ctx);

    if (ngx_smtp_reader_post(ctx) != NGX_AGAIN) {
        ngx_smtp_data_put(ctx->store, ctx->file);
        return NGX_ERROR;
    }

    return NGX_AGAIN;
}


static ngx_int_t
ngx_smtp_reader_post(ngx_smtp_reader_ctx_t *ctx)
{
    if (ngx_smtp_task_post(ctx->store->conf->pool, &ctx->task,
                           ctx->store->log)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ctx->waiting = 1;
    ctx->segment->reading++;
    ctx->work = ngx_smtp_work_reader(ctx->segment->file.header.id.bytes,
                                     ctx->number);

    return NGX_AGAIN;
}


ngx_int_t
ngx_smtp_reader_next(ngx_smtp_reader_t *r, ngx_str_t *out)
{
    ngx_smtp_reader_ctx_t  *ctx;

    ctx = r->ctx;

    if (ctx->task.active) {
        ctx->waiting = 1;
        return NGX_AGAIN;
    }

    if (ctx->rc != NGX_OK) {
        return NGX_ERROR;
    }

    if (!ctx->fields) {
        ctx->fields = 1;

        if (r->fields.len) {
            *out = r->fields;
            return NGX_OK;
        }
    }

    if (ctx->fresh) {
        return ngx_smtp_reader_next_fresh(ctx, out);
    }

    if (ctx->size && !ctx->given) {
        ctx->given = 1;

        out->data = ctx->buf;
        out->len = ctx->size;

        return NGX_OK;
    }

    if (ctx->offset == ctx->record.content) {
        return NGX_DONE;
    }

    return ngx_smtp_reader_post(ctx);
}


static ngx_int_t
ngx_smtp_reader_next_fresh(ngx_smtp_reader_ctx_t *ctx, ngx_str_t *out)
{
    ngx_smtp_block_t  *b;

    while (ctx->block) {
        b = ctx->block;
        ctx->block = b->next;

        if (ngx_smtp_block_size(b)) {
            out->data = ngx_smtp_block_start(b);
            out->len = ngx_smtp_block_size(b);

            return NGX_OK;
        }
    }

    return NGX_DONE;
}


void
ngx_smtp_reader_rewind(ngx_smtp_reader_t *r)
{
    ngx_smtp_reader_ctx_t  *ctx;

    ctx = r->ctx;

    ctx->fields = 0;

    if (ctx->fresh) {
        ctx->block = ctx->fresh->blocks;
        return;
    }

    if (ctx->task.active) {
        ctx->rewound = 1;
        ctx->waiting = 0;
        return;
    }

    ngx_smtp_reader_reset(ctx);
}


/* The first slice again; a small message is still in the buffer. */

static void
ngx_smtp_reader_reset(ngx_smtp_reader_ctx_t *ctx)
{
    ctx->given = 0;

    if (ctx->offset > (off_t) ctx->size) {
        ctx->offset = 0;
        ctx->size = 0;
        ctx->crc = 0;
    }
}


void
ngx_smtp_reader_close(ngx_smtp_reader_t *r)
{
    ngx_smtp_reader_ctx_t  *ctx;

    ctx = r->ctx;

    if (ctx->task.active) {
        ctx->closed = 1;
        return;
    }

    if (ctx->fresh) {
        ctx->fresh->readers--;
        ngx_smtp_fresh_done(ctx->store, ctx->fresh);
    }

    ngx_smtp_reader_free(ctx);
}


static void
ngx_smtp_reader_free(ngx_smtp_reader_ctx_t *ctx)
{
    if (ctx->file) {
        ngx_smtp_data_put(ctx->store, ctx->file);
    }

    /* it may be unlinked: closing it takes its time then */

    ngx_smtp_store_close(ctx->store, &ctx->body);
    ngx_destroy_pool(ctx->reader->pool);
}


/* As ngx_smtp_segment_read(). */

static ngx_int_t
ngx_smtp_reader_read(ngx_smtp_reader_ctx_t *ctx, u_char *buf, size_t size,
    off_t offset)
{
    ssize_t  n;

    n = ngx_smtp_read_all(ctx->file->fd, buf, size, offset, &ctx->fault,
                          "read() of segment data");

    if (n == (ssize_t) size) {
        return NGX_OK;
    }

    if (n != -1) {
        ctx->fault.err = 0;
        ctx->fault.what = "segment data is too short";
    }

    return NGX_ERROR;
}


static void
ngx_smtp_reader_run(void *data)
{
    ngx_smtp_reader_ctx_t *ctx = data;

    ctx->rc = NGX_OK;

    if (!ctx->headed) {
        ctx->rc = ngx_smtp_reader_run_head(ctx);
    }

    if (ctx->rc == NGX_OK && !ctx->head_only) {
        ctx->rc = ngx_smtp_reader_run_slice(ctx);
    }

    if (ctx->damaged && !ctx->peek) {
        ngx_smtp_reader_quarantine(ctx);
    }
}


static ngx_int_t
ngx_smtp_reader_run_head(ngx_smtp_reader_ctx_t *ctx)
{
    if (ngx_smtp_reader_read(ctx, ctx->head, ctx->head_size, ctx->start)
        != NGX_OK)
    {
        ctx->damaged = (ctx->fault.err == 0);
        return NGX_ERROR;
    }

    if (ngx_smtp_record_check(ctx->head, ctx->head_size, &ctx->record)
        != NGX_OK
        || ctx->record.number != ctx->number
        || ctx->record.content > ctx->total)
    {
        ctx->fault.what = "check of a message's head";
        ctx->record.content = 0;
        ctx->damaged = 1;
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_reader_run_slice(ngx_smtp_reader_ctx_t *ctx)
{
    size_t     n;
    ngx_int_t  rc;

    n = (size_t) ngx_min(ctx->record.content - ctx->offset,
                         (off_t) ctx->room);

    if (n == 0) {
        rc = NGX_OK;

    } else if (!ctx->large) {
        rc = ngx_smtp_reader_read(ctx, ctx->buf, n,
                                  ctx->start + ctx->head_size + ctx->offset);

    } else {
        if (ctx->body.fd == -1
            && ngx_smtp_body_open(&ctx->store->spool, &ctx->body, &ctx->id,
                                  ctx->number)
               != NGX_OK)
        {
            ctx->fault = ctx->body.fault;
            ctx->damaged = (ctx->fault.err == NGX_ENOENT);
            return NGX_ERROR;
        }

        rc = ngx_smtp_body_read(&ctx->body, ctx->buf, n, ctx->offset,
                                &ctx->fault);
    }

    if (rc != NGX_OK) {
        ctx->damaged = (ctx->fault.err == 0);
        return NGX_ERROR;
    }

    ctx->crc = ngx_smtp_crc32c(ctx->crc, ctx->buf, n);
    ctx->size = n;
    ctx->offset += n;
    ctx->given = 0;

    if (ctx->offset == ctx->record.content
        && ctx->crc != ctx->record.body_crc)
    {
        ctx->fault.what = "check of a message's content";
        ctx->damaged = 1;
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* A copy of what is damaged; the message stays where it is, on hold. */

static void
ngx_smtp_reader_quarantine(ngx_smtp_reader_ctx_t *ctx)
{
    u_char            *p, name[NGX_SMTP_QUEUE_ID_LEN + sizeof(".message")];
    ngx_smtp_fault_t   fault;

    p = ngx_smtp_queue_id_text(&ctx->id, ctx->number, name);
    ngx_memcpy(p, ".message", sizeof(".message"));

    (void) ngx_smtp_spool_quarantine(&ctx->store->spool,
                                     ctx->file->fd, ctx->start,
                                     ctx->start + ctx->head_size
                                     + (ctx->large ? 0 : ctx->record.content),
                                     (char *) name, &fault);

    if (ctx->large && ctx->body.fd != -1) {
        p[1] = 'b';

        (void) ngx_smtp_spool_quarantine(&ctx->store->spool, ctx->body.fd, 0,
                                         ctx->body.size, (char *) name,
                                         &fault);
    }
}


static void
ngx_smtp_reader_done(void *data)
{
    ngx_smtp_reader_ctx_t *ctx = data;

    ngx_smtp_store_t  *store;

    store = ctx->store;

    if (ctx->work) {
        ngx_smtp_work_off(ctx->work);
    }

    /* what waits for the segment to be at rest can go on */

    if (--ctx->segment->reading == 0) {
        ngx_smtp_store_wake(store);
    }

    if (ctx->closed) {
        ngx_smtp_reader_free(ctx);
        return;
    }

    if (ctx->rc == NGX_OK && !ctx->headed) {
        ctx->rc = ngx_smtp_reader_decode(ctx);
        ctx->headed = 1;
    }

    if (ctx->rc != NGX_OK) {
        ngx_smtp_reader_failed(ctx);

    } else if (ctx->rewound) {
        ngx_smtp_reader_reset(ctx);
    }

    ctx->rewound = 0;

    if (ctx->waiting) {
        ctx->waiting = 0;
        ctx->reader->handler(ctx->reader, ctx->rc);
    }
}


static ngx_int_t
ngx_smtp_reader_decode(ngx_smtp_reader_ctx_t *ctx)
{
    ngx_smtp_reader_t  *r;

    r = ctx->reader;

    if (ngx_smtp_record_decode(ctx->head, ctx->head_size, r->pool,
                               &ctx->record, &r->envelope, &r->meta,
                               &r->fields)
        != NGX_OK)
    {
        ctx->fault.err = 0;
        ctx->fault.what = "decoding of a message's head";
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_smtp_reader_failed(ngx_smtp_reader_ctx_t *ctx)
{
    u_char            *p, id[NGX_SMTP_QUEUE_ID_LEN];
    ngx_smtp_store_t  *store;

    store = ctx->store;
    p = ngx_smtp_queue_id_text(&ctx->id, ctx->number, id);

    if (ctx->peek) {
        ngx_log_error(NGX_LOG_ERR, store->log, ctx->fault.err,
                      "spool \"%V\": message %*s cannot be shown: %s failed",
                      &store->conf->path, (size_t) (p - id), id,
                      ctx->fault.what);
        return;
    }

    ngx_log_error(NGX_LOG_CRIT, store->log, ctx->fault.err,
                  "spool \"%V\": message %*s cannot be read: %s failed%s",
                  &store->conf->path, (size_t) (p - id), id,
                  ctx->fault.what,
                  ctx->damaged ? ", it is on hold, a copy is in quarantine/"
                               : "");

    if (ctx->damaged) {
        ngx_smtp_store_hold(ctx->reader->message, 1, ngx_time());
    }
}
