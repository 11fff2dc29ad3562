
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The thread's part of the writer: one batch, its large bodies, the pending
 * records of logs.  It touches only the job, what its items point to, and the
 * files of the segments in it.
 */


#include "ngx_smtp_store_internal.h"
#include "ngx_smtp_crc32c.h"


static void ngx_smtp_writer_append(ngx_smtp_batch_job_t *b);
static ngx_int_t ngx_smtp_chunk_shorten(ngx_smtp_chunk_t *c);
static ngx_uint_t ngx_smtp_writer_iov(ngx_smtp_batch_job_t *b);


void
ngx_smtp_writer_run(void *data)
{
    ngx_smtp_batch_job_t *b = data;

    ngx_uint_t             i;
    ngx_smtp_fault_t       fault;
    ngx_smtp_log_write_t  *l;

    /*
     * What is written outlives a killed process: results first, they would be
     * doubled if they waited for the sync of the batch.
     */

    for (i = 0; i < b->nlogs; i++) {
        ngx_smtp_log_write(&b->logs[i]);
    }

    if (b->nitems) {
        ngx_smtp_writer_append(b);
    }

    for (i = 0; i < b->nlogs; i++) {
        l = &b->logs[i];

        if (l->sync && l->rc != NGX_ERROR
            && ngx_smtp_segment_log_sync(&l->segment->file) != NGX_OK)
        {
            l->rc = NGX_ERROR;
            l->fault = l->segment->file.fault;
        }
    }

    if (ngx_smtp_spool_space(&b->store->spool, &b->space, &fault) != NGX_OK) {
        b->space.bytes = -1;
    }
}


static void
ngx_smtp_writer_append(ngx_smtp_batch_job_t *b)
{
    off_t                     need;
    ngx_uint_t                i, n, messages;
    ngx_smtp_item_t          *item;
    ngx_smtp_fault_t          fault;
    ngx_smtp_segment_file_t  *f;

    f = &b->segment->file;
    need = 0;

    for (i = 0; i < b->nitems; i++) {
        if (b->items[i].rc == NGX_OK) {
            need += b->items[i].need;
        }
    }

    b->rc = ngx_smtp_segment_reserve(f, need);

    if (b->rc != NGX_OK) {
        b->fault = f->fault;
        return;
    }

    for (i = 0, messages = 0; i < b->nitems; i++) {
        item = &b->items[i];

        if (item->rc == NGX_OK && item->large) {
            item->rc = ngx_smtp_body_commit(&b->store->spool,
                                            &item->large->body,
                                            &f->header.id,
                                            item->message->number);
            if (item->rc != NGX_OK) {
                b->fault = item->large->body.fault;
                f->owed -= item->need;
                need -= item->need;
            }
        }

        if (item->rc == NGX_OK) {
            messages++;
        }
    }

    if (messages == 0) {
        return;
    }

    n = ngx_smtp_writer_iov(b);

    b->rc = ngx_smtp_segment_append(f, b->iov, n, messages, &b->offset);

    if (b->rc == NGX_OK) {
        return;
    }

    b->fault = f->fault;
    f->owed -= need;

    for (i = 0; i < b->nitems; i++) {
        item = &b->items[i];

        /* where the batch may come back the body has to stay */

        if (item->rc == NGX_OK && item->large && !f->data_broken) {
            (void) ngx_smtp_body_unlink(&b->store->spool, &f->header.id,
                                        item->message->number, &fault);
        }
    }
}


static ngx_uint_t
ngx_smtp_writer_iov(ngx_smtp_batch_job_t *b)
{
    uint32_t           crc;
    ngx_uint_t         i, n;
    ngx_smtp_item_t   *item;
    ngx_smtp_block_t  *block;

    n = 1;

    for (i = 0; i < b->nitems; i++) {
        item = &b->items[i];

        if (item->rc != NGX_OK) {
            continue;
        }

        b->iov[n].iov_base = item->accept->record;
        b->iov[n].iov_len = item->accept->record_size;
        n++;

        crc = item->large ? item->large->body.crc : 0;

        for (block = item->blocks; block; block = block->next) {
            b->iov[n].iov_base = ngx_smtp_block_start(block);
            b->iov[n].iov_len = ngx_smtp_block_size(block);

            crc = ngx_smtp_crc32c(crc, b->iov[n].iov_base, b->iov[n].iov_len);

            if (b->iov[n].iov_len) {
                n++;
            }
        }

        ngx_smtp_record_seal(item->accept->record, item->message->number,
                             item->content, crc);
    }

    return n;
}


void
ngx_smtp_log_write(ngx_smtp_log_write_t *l)
{
    ngx_int_t          rc;
    ngx_smtp_chunk_t  *c;

    l->rc = NGX_OK;

    while (l->chunks) {
        c = l->chunks;

        rc = ngx_smtp_segment_log(&l->segment->file, c->data,
                                  c->last - c->data, c->final, c->repay);

        if (rc == NGX_OK) {
            l->wrote = 1;

        } else if (rc == NGX_BUSY && !c->final) {

            /*
             * Deferrals hinder nothing: memory knows them.  Reports would be
             * made again after a crash, and have room without their texts.
             */

            l->dropped++;
            l->fault = l->segment->file.fault;

            if (ngx_smtp_chunk_shorten(c) == NGX_OK && c->last > c->data) {
                c->final = 1;
                continue;
            }

        } else {
            l->rc = rc;
            l->fault = l->segment->file.fault;
            return;
        }

        l->chunks = c->next;
        ngx_free(c);
    }
}


/* Leaves only the reports in it, without texts. */

static ngx_int_t
ngx_smtp_chunk_shorten(ngx_smtp_chunk_t *c)
{
    u_char                 *p, *last;
    ngx_uint_t              i, n;
    ngx_smtp_event_t        e;
    ngx_smtp_result_t      *results;
    ngx_smtp_log_record_t   record;

    /* a result takes some bytes, so there are fewer */

    n = c->last - c->data;

    results = malloc(n * sizeof(ngx_smtp_result_t) / 8 + 1);
    if (results == NULL) {
        return NGX_ERROR;
    }

    last = c->data;

    for (p = c->data; p < c->last; p = record.payload + record.length) {

        record.type = p[0];
        record.length = ngx_smtp_get32(p + 4);
        record.payload = p + NGX_SMTP_LOG_RECORD;

        n = (c->last - c->data) / 8;

        if (record.type != NGX_SMTP_LOG_REPORT
            || ngx_smtp_event_get(&record, &e, results, &n) != NGX_OK)
        {
            continue;
        }

        e.peer.len = 0;

        for (i = 0; i < e.nresults; i++) {
            results[i].text.len = 0;
        }

        last = ngx_smtp_event_put(last, &e);
    }

    c->last = last;

    free(results);

    return NGX_OK;
}


void
ngx_smtp_chunks_free(ngx_smtp_chunk_t *c)
{
    ngx_smtp_chunk_t  *next;

    for ( /* void */ ; c; c = next) {
        next = c->next;
        ngx_free(c);
    }
}
