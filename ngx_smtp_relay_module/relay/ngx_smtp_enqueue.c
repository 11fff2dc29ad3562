
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * From a transaction to the store: the content stays in memory up to
 * NGX_SMTP_LARGE, beyond that it goes to a file piece by piece, while the
 * client waits; commit hands everything to the group commit.
 *
 *   body* --(over 1 MB)--> large file: write .. write
 *   commit: [write what is left] -> accept -> 250, 451 or 452
 *
 * The context lives in the transaction's pool.  A client that is gone changes
 * nothing once commit was called: the transaction is freed here then.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_reply.h"
#include "ngx_smtp_enqueue.h"
#include "ngx_smtp_zone.h"


/* what is collected before it is written to a large file */
#define NGX_SMTP_ENQUEUE_PIECE  (256 * 1024)

/* that a queue is full is logged at most so often, s */
#define NGX_SMTP_ENQUEUE_FULL   60


typedef struct {
    ngx_smtp_transaction_t  *txn;
    ngx_smtp_store_t        *store;
    ngx_smtp_large_t        *large;
    ngx_smtp_meta_t          meta;
    ngx_smtp_accept_t        accept;
    off_t                    size;      /* counted as accepting */
    unsigned                 writing:1;
} ngx_smtp_enqueue_ctx_t;


static ngx_int_t ngx_smtp_enqueue_open(ngx_smtp_transaction_t *txn);
static ngx_uint_t ngx_smtp_enqueue_extensions(void *conf);
static ngx_int_t ngx_smtp_enqueue_rcpt(ngx_smtp_transaction_t *txn,
    ngx_smtp_rcpt_t *rcpt);
static ngx_int_t ngx_smtp_enqueue_body(ngx_smtp_transaction_t *txn);
static ngx_int_t ngx_smtp_enqueue_commit(ngx_smtp_transaction_t *txn);
static void ngx_smtp_enqueue_abort(ngx_smtp_transaction_t *txn);
static ngx_int_t ngx_smtp_enqueue_full(ngx_smtp_transaction_t *txn,
    off_t size);
static ngx_int_t ngx_smtp_enqueue_copy(ngx_smtp_enqueue_ctx_t *ctx);
static ngx_int_t ngx_smtp_enqueue_write(ngx_smtp_enqueue_ctx_t *ctx);
static void ngx_smtp_enqueue_written(void *data, ngx_int_t rc);
static void ngx_smtp_enqueue_accept(ngx_smtp_enqueue_ctx_t *ctx);
static void ngx_smtp_enqueue_accepted(ngx_smtp_accept_t *a, ngx_int_t rc);
static void ngx_smtp_enqueue_answer(ngx_smtp_transaction_t *txn);
static ngx_int_t ngx_smtp_enqueue_refuse(ngx_smtp_transaction_t *txn,
    ngx_int_t rc);


ngx_smtp_sink_t  ngx_smtp_enqueue_sink = {
    ngx_smtp_enqueue_open,
    ngx_smtp_enqueue_rcpt,
    ngx_smtp_enqueue_body,
    ngx_smtp_enqueue_commit,
    ngx_smtp_enqueue_abort,
    ngx_smtp_enqueue_extensions
};


static ngx_int_t
ngx_smtp_enqueue_open(ngx_smtp_transaction_t *txn)
{
    ngx_int_t                rc;
    ngx_smtp_queue_conf_t   *queue;
    ngx_smtp_enqueue_ctx_t  *ctx;

    queue = txn->sink_conf;

    ctx = ngx_pcalloc(txn->pool, sizeof(ngx_smtp_enqueue_ctx_t));
    if (ctx == NULL) {
        return ngx_smtp_enqueue_refuse(txn, NGX_ERROR);
    }

    ctx->txn = txn;
    ctx->store = queue->store->store;
    txn->sink_ctx = ctx;

    if (ctx->store == NULL) {
        return ngx_smtp_enqueue_refuse(txn, NGX_ERROR);
    }

    rc = ngx_smtp_store_ready(ctx->store, txn->envelope.size);

    if (rc != NGX_OK) {
        return ngx_smtp_enqueue_refuse(txn, rc);
    }

    if (ngx_smtp_enqueue_full(txn, txn->envelope.size) != NGX_OK) {
        return NGX_ERROR;
    }

    txn->reply.id = NGX_SMTP_REPLY_MAIL_OK;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_enqueue_rcpt(ngx_smtp_transaction_t *txn, ngx_smtp_rcpt_t *rcpt)
{
    txn->reply.id = NGX_SMTP_REPLY_RCPT_OK;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_enqueue_body(ngx_smtp_transaction_t *txn)
{
    ngx_smtp_enqueue_ctx_t  *ctx;

    ctx = txn->sink_ctx;

    if (ctx->large == NULL) {

        if (txn->content.size <= NGX_SMTP_LARGE && txn->content.file == NULL) {
            return NGX_OK;
        }

        ctx->large = ngx_smtp_large_open(ctx->store);
        if (ctx->large == NULL) {
            return ngx_smtp_enqueue_refuse(txn, NGX_ERROR);
        }
    }

    if (txn->content.file) {
        return ngx_smtp_enqueue_copy(ctx);
    }

    if (txn->content.buffered < NGX_SMTP_ENQUEUE_PIECE) {
        return NGX_OK;
    }

    return ngx_smtp_enqueue_write(ctx);
}


static ngx_int_t
ngx_smtp_enqueue_commit(ngx_smtp_transaction_t *txn)
{
    ngx_smtp_enqueue_ctx_t  *ctx;

    ctx = txn->sink_ctx;

    /* it was not when the message began, but others were quicker */

    if (ngx_smtp_enqueue_full(txn, txn->fields.len + txn->content.size)
        != NGX_OK)
    {
        if (ctx->large) {
            ngx_smtp_large_abort(ctx->large);
            ctx->large = NULL;
        }

        return NGX_ERROR;
    }

    if (ctx->large && txn->content.buffered) {
        return ngx_smtp_enqueue_write(ctx);
    }

    ngx_smtp_enqueue_accept(ctx);

    return NGX_AGAIN;
}


static void
ngx_smtp_enqueue_abort(ngx_smtp_transaction_t *txn)
{
    ngx_smtp_enqueue_ctx_t  *ctx;

    ctx = txn->sink_ctx;

    if (txn->committing) {

        /* ngx_smtp_enqueue_answer() will free it */

        return;
    }

    if (ctx && ctx->large) {
        ngx_smtp_large_abort(ctx->large);
    }

    ngx_smtp_transaction_free(txn);
}


/*
 * Has the queue all it may have, in all workers?  What it has is delivered as
 * ever.  NGX_OK; NGX_ERROR: the transaction has its reply.
 */

static ngx_int_t
ngx_smtp_enqueue_full(ngx_smtp_transaction_t *txn, off_t size)
{
    ngx_atomic_uint_t       messages, bytes;
    ngx_smtp_queue_conf_t  *queue;

    queue = txn->sink_conf;

    if (queue->usage == NULL
        || (queue->max_messages == 0 && queue->max_size == 0))
    {
        return NGX_OK;
    }

    ngx_smtp_zone_usage_sum(queue->usage, &messages, &bytes);

    messages += queue->accepting;
    bytes += queue->accepting_size;

    if ((queue->max_messages == 0 || messages < queue->max_messages)
        && (queue->max_size == 0
            || (off_t) bytes + size <= queue->max_size))
    {
        return NGX_OK;
    }

    if (queue->full_at == 0
        || ngx_time() - queue->full_at >= NGX_SMTP_ENQUEUE_FULL)
    {
        queue->full_at = ngx_time();

        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "smtp_queue \"%V\" is full: %uA messages of %uA bytes; "
                      "new mail is refused with 452 until some of it is "
                      "delivered", &queue->name, messages, bytes);
    }

    txn->reply.id = NGX_SMTP_REPLY_QUEUE_FULL;

    return NGX_ERROR;
}


/* The sink before us has kept what is not in memory any more. */

static ngx_int_t
ngx_smtp_enqueue_copy(ngx_smtp_enqueue_ctx_t *ctx)
{
    off_t                size;
    ngx_fd_t             fd;
    ngx_smtp_content_t  *content;

    content = &ctx->txn->content;

    fd = content->file->fd;
    size = ngx_smtp_content_offset(content);

    content->file = NULL;
    ctx->writing = 1;

    ngx_smtp_large_copy(ctx->large, fd, size, ngx_smtp_content_take(content),
                        ngx_smtp_enqueue_written, ctx);

    return NGX_AGAIN;
}


static ngx_int_t
ngx_smtp_enqueue_write(ngx_smtp_enqueue_ctx_t *ctx)
{
    ctx->writing = 1;

    ngx_smtp_large_write(ctx->large, ngx_smtp_content_take(&ctx->txn->content),
                         ngx_smtp_enqueue_written, ctx);

    return NGX_AGAIN;
}


static void
ngx_smtp_enqueue_written(void *data, ngx_int_t rc)
{
    ngx_smtp_enqueue_ctx_t *ctx = data;

    ngx_smtp_transaction_t  *txn;

    txn = ctx->txn;
    ctx->writing = 0;

    if (rc != NGX_OK) {
        ngx_smtp_large_abort(ctx->large);
        ctx->large = NULL;

        txn->rc = ngx_smtp_enqueue_refuse(txn, rc);
        ngx_smtp_enqueue_answer(txn);
        return;
    }

    if (txn->committing) {
        ngx_smtp_enqueue_accept(ctx);
        return;
    }

    txn->rc = NGX_OK;
    ngx_smtp_enqueue_answer(txn);
}


static void
ngx_smtp_enqueue_accept(ngx_smtp_enqueue_ctx_t *ctx)
{
    ngx_smtp_accept_t       *a;
    ngx_smtp_transaction_t  *txn;
    ngx_smtp_queue_conf_t   *queue;

    txn = ctx->txn;
    queue = txn->sink_conf;
    a = &ctx->accept;

    ctx->meta.queue = queue->name;
    ctx->meta.server = txn->origin.server;
    ctx->meta.client = txn->origin.addr;
    ctx->meta.helo = txn->origin.helo;
    ctx->meta.login = txn->origin.login;
    ctx->meta.received = txn->started;

    a->envelope = &txn->envelope;
    a->meta = &ctx->meta;
    a->fields = txn->fields;
    a->content = &txn->content;
    a->large = ctx->large;
    a->handler = ngx_smtp_enqueue_accepted;
    a->data = ctx;

    ctx->large = NULL;
    ctx->size = txn->fields.len + txn->content.size;

    queue->accepting++;
    queue->accepting_size += ctx->size;

    ngx_smtp_store_accept(ctx->store, a);
}


static void
ngx_smtp_enqueue_accepted(ngx_smtp_accept_t *a, ngx_int_t rc)
{
    ngx_smtp_enqueue_ctx_t  *ctx;
    ngx_smtp_queue_conf_t   *queue;
    ngx_smtp_transaction_t  *txn;

    ctx = a->data;
    txn = ctx->txn;
    queue = txn->sink_conf;

    queue->accepting--;
    queue->accepting_size -= ctx->size;

    if (rc == NGX_OK) {
        txn->queue_id = a->queue_id;
        txn->reply.id = NGX_SMTP_REPLY_QUEUED;
        txn->reply.detail = a->queue_id;
        txn->rc = NGX_OK;

    } else {
        txn->rc = ngx_smtp_enqueue_refuse(txn, rc);
    }

    ngx_smtp_enqueue_answer(txn);
}


/* To the session; to the log alone when it is gone. */

static void
ngx_smtp_enqueue_answer(ngx_smtp_transaction_t *txn)
{
    if (!txn->aborted) {
        txn->handler(txn);
        return;
    }

    txn->accepted = (txn->rc == NGX_OK);
    txn->refused = !txn->accepted;

    ngx_smtp_count_message(txn->reply.code
                           ? txn->reply.code
                           : ngx_smtp_reply_get(txn->reply.id)->code,
                           txn->content.size);

    if (txn->log_handler) {
        txn->log_handler(txn);
    }

    ngx_smtp_transaction_free(txn);
}


static ngx_int_t
ngx_smtp_enqueue_refuse(ngx_smtp_transaction_t *txn, ngx_int_t rc)
{
    txn->reply.id = (rc == NGX_BUSY) ? NGX_SMTP_REPLY_DISK_FULL
                                     : NGX_SMTP_REPLY_IO_ERROR;

    return NGX_ERROR;
}


static ngx_uint_t
ngx_smtp_enqueue_extensions(void *conf)
{
    return NGX_SMTP_EXTENSION_SMTPUTF8|NGX_SMTP_EXTENSION_DSN;
}
