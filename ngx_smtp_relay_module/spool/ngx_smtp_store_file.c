
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Files that outlive what they were opened for: a segment's data that a
 * compaction has replaced, while somebody reads from them, and whatever else
 * is closed when nobody wants it any more.  The last one to close an unlinked
 * file frees its blocks, which takes its time: it is left to a thread.
 */


#include "ngx_smtp_store_internal.h"


ngx_int_t
ngx_smtp_data_need(ngx_smtp_segment_t *seg)
{
    if (seg->data == NULL) {
        seg->data = ngx_calloc(sizeof(ngx_smtp_data_t), seg->store->log);

        if (seg->data == NULL) {
            return NGX_ERROR;
        }

        seg->data->fd = seg->file.data;
    }

    return NGX_OK;
}


ngx_smtp_data_t *
ngx_smtp_data_get(ngx_smtp_message_t *m)
{
    ngx_smtp_data_t     *data;
    ngx_smtp_segment_t  *seg;
    ngx_smtp_renewal_t  *r;

    seg = m->segment;
    r = seg->store->renewal;

    if (ngx_smtp_data_need(seg) != NGX_OK) {
        return NULL;
    }

    data = seg->data;

    if (ngx_smtp_renew_moving(seg) && m->number > r->moved) {
        data = r->data;
    }

    data->readers++;

    return data;
}


void
ngx_smtp_data_put(ngx_smtp_store_t *store, ngx_smtp_data_t *data)
{
    data->readers--;

    if (data->stale && data->readers == 0) {
        ngx_smtp_data_stale(store, data);
    }
}


void
ngx_smtp_data_stale(ngx_smtp_store_t *store, ngx_smtp_data_t *data)
{
    ngx_smtp_body_file_t  b;

    data->stale = 1;

    if (data->readers) {
        return;
    }

    ngx_memzero(&b, sizeof(ngx_smtp_body_file_t));

    b.fd = data->fd;

    ngx_smtp_store_close(store, &b);
    ngx_free(data);
}


void
ngx_smtp_store_close(ngx_smtp_store_t *store, ngx_smtp_body_file_t *b)
{
    ngx_uint_t             room;
    ngx_smtp_body_file_t  *files;

    if (b->fd == -1) {
        return;
    }

    if (store->nclosing == store->closing_room) {
        room = store->closing_room * 2 + 8;

        files = store->stopping ? NULL
                : ngx_alloc(room * sizeof(ngx_smtp_body_file_t), store->log);

        if (files == NULL) {
            ngx_smtp_body_abort(&store->spool, b);
            return;
        }

        if (store->nclosing) {
            ngx_memcpy(files, store->closing,
                       store->nclosing * sizeof(ngx_smtp_body_file_t));
        }

        ngx_free(store->closing);

        store->closing = files;
        store->closing_room = room;
    }

    store->closing[store->nclosing++] = *b;

    b->fd = -1;
    b->name[0] = '\0';

    ngx_smtp_store_wake(store);
}
