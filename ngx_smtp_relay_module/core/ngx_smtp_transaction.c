
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The birth and death of a transaction.  It has a pool of its own, so that a
 * long session does not grow with each message, and a log of its own, because
 * it may outlive the session while its sink still works on it.
 */


#include "ngx_smtp_transaction.h"


#define NGX_SMTP_TRANSACTION_POOL  4096


static void ngx_smtp_secret_wipe(void *data);


static ngx_atomic_t   ngx_smtp_transactions_private;

ngx_atomic_t         *ngx_smtp_transactions = &ngx_smtp_transactions_private;


ngx_smtp_transaction_t *
ngx_smtp_transaction_create(ngx_log_t *log)
{
    ngx_pool_t              *pool;
    ngx_smtp_transaction_t  *txn;

    pool = ngx_create_pool(NGX_SMTP_TRANSACTION_POOL, log);
    if (pool == NULL) {
        return NULL;
    }

    txn = ngx_pcalloc(pool, sizeof(ngx_smtp_transaction_t));
    if (txn == NULL) {
        goto failed;
    }

    txn->log = ngx_palloc(pool, sizeof(ngx_log_t));
    if (txn->log == NULL) {
        goto failed;
    }

    /* the handler of the session's log reads the session: not ours */

    *txn->log = *log;

    txn->log->handler = NULL;
    txn->log->data = NULL;
    txn->log->action = NULL;

    txn->pool = pool;
    pool->log = txn->log;

    (*ngx_smtp_transactions)++;

    return txn;

failed:

    ngx_destroy_pool(pool);

    return NULL;
}


void
ngx_smtp_transaction_free(ngx_smtp_transaction_t *txn)
{
    ngx_smtp_block_free(ngx_smtp_content_take(&txn->content));

    ngx_destroy_pool(txn->pool);

    (*ngx_smtp_transactions)--;
}


ngx_int_t
ngx_smtp_secret_copy(ngx_pool_t *pool, ngx_str_t *dst, ngx_str_t *src)
{
    ngx_str_t           *secret;
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(pool, sizeof(ngx_str_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    secret = cln->data;

    secret->len = src->len;
    secret->data = ngx_pnalloc(pool, src->len);

    if (secret->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(secret->data, src->data, src->len);

    cln->handler = ngx_smtp_secret_wipe;

    *dst = *secret;

    return NGX_OK;
}


static void
ngx_smtp_secret_wipe(void *data)
{
    ngx_str_t *secret = data;

    ngx_explicit_memzero(secret->data, secret->len);
}
