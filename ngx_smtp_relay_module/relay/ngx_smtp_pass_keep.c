
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A message that does not fit the buffer.  The backend gets it while it comes
 * in; aside a copy goes to a temporary file, so that the next server or the
 * spool can still have it:
 *
 *   client -> blocks -+-> backend
 *                     +-> file (a thread)
 *
 * The client is read on when the blocks have gone both ways, so that memory
 * holds the buffer at most.  Another server gets the file, piece by piece, and
 * then what is in memory; the spool copies the file in a thread of its own.
 *
 * While blocks are being written nobody may free or change them: an answer, a
 * change to the spool, and the end of the transaction wait for it.
 *
 * A file that cannot be written costs the message its second chance, and not
 * the first one.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_reply.h"
#include "ngx_smtp_pass_private.h"


static void ngx_smtp_pass_temp(ngx_smtp_pass_t *ps);
static ngx_uint_t ngx_smtp_pass_room(ngx_smtp_pass_t *ps);
static ngx_uint_t ngx_smtp_pass_spare(ngx_smtp_pass_t *ps);
static void ngx_smtp_pass_temp_cleanup(void *data);
static void ngx_smtp_pass_written(void *data, ngx_int_t rc);
static void ngx_smtp_pass_was_read(void *data, ngx_int_t rc);
static void ngx_smtp_pass_resume(ngx_smtp_pass_t *ps);
static ngx_int_t ngx_smtp_pass_unreadable(ngx_smtp_pass_t *ps);


void
ngx_smtp_pass_keep(ngx_smtp_pass_t *ps)
{
    ngx_smtp_content_t  *content;

    content = &ps->txn->content;

    if (!ps->streamed) {
        ps->streamed = 1;
        ngx_smtp_pass_temp(ps);
    }

    if (ps->temp == NULL || ps->temp->broken || content->first == NULL) {
        return;
    }

    if (ngx_smtp_pass_spare(ps) && !ngx_smtp_pass_room(ps)) {

        ngx_log_error(NGX_LOG_WARN, ps->txn->log, 0,
                      "the copy of a large message is given up, as its room "
                      "on the disk is the spool's (spool_min_free): it has no "
                      "next server and no fallback");

        content->file = NULL;
        (void) ngx_smtp_temp_drop(ps->temp);
        return;
    }

    if (ngx_smtp_temp_write(ps->temp, content->first) != NGX_OK) {
        content->file = NULL;

        ngx_log_error(NGX_LOG_ERR, ps->txn->log, 0,
                      "no thread for the copy of a large message: it has no "
                      "next server and no fallback");
    }
}


/* A full disk is left to its owner; the spool could not take it either. */

static void
ngx_smtp_pass_temp(ngx_smtp_pass_t *ps)
{
    u_char                *path;
    ngx_pool_cleanup_t    *cln;
    ngx_smtp_pass_conf_t  *conf;

    conf = ps->conf;
    path = conf->temp_folder;

    if (path == NULL || !ngx_smtp_pass_room(ps)) {
        return;
    }

    cln = ngx_pool_cleanup_add(ps->txn->pool, 0);
    if (cln == NULL) {
        return;
    }

    ps->temp = ngx_smtp_temp_create(path, conf->temp_pool,
                                    ngx_smtp_pass_written,
                                    ngx_smtp_pass_was_read, ps);
    if (ps->temp == NULL) {
        return;
    }

    cln->handler = ngx_smtp_pass_temp_cleanup;
    cln->data = ps->temp;

    ps->txn->content.file = &ps->temp->file;
}


/* What other messages may need is asked again for each piece. */

static ngx_uint_t
ngx_smtp_pass_room(ngx_smtp_pass_t *ps)
{
    ngx_smtp_store_t      *store;
    ngx_smtp_pass_conf_t  *conf;

    conf = ps->conf;

    if (conf->temp_path) {
        return 1;
    }

    store = conf->queue->store->store;

    return store && ngx_smtp_store_ready(store, 0) == NGX_OK;
}


/* A server has all that is in the file, and nobody else is sent it. */

static ngx_uint_t
ngx_smtp_pass_spare(ngx_smtp_pass_t *ps)
{
    return ps->conn && ps->begun && !ngx_smtp_temp_reading(ps->temp)
           && ps->offset >= ngx_smtp_content_offset(&ps->txn->content);
}


static void
ngx_smtp_pass_temp_cleanup(void *data)
{
    ngx_smtp_temp_close(data);
}


ngx_uint_t
ngx_smtp_pass_kept(ngx_smtp_pass_t *ps)
{
    return !ps->streamed || (ps->temp && !ps->temp->broken);
}


ngx_uint_t
ngx_smtp_pass_writing(ngx_smtp_pass_t *ps)
{
    return ps->temp && ngx_smtp_temp_writing(ps->temp);
}


static void
ngx_smtp_pass_written(void *data, ngx_int_t rc)
{
    ngx_smtp_pass_t *ps = data;

    if (ps->freeing) {
        ngx_smtp_transaction_free(ps->txn);
        return;
    }

    if (rc != NGX_OK) {
        ps->txn->content.file = NULL;

        /* now, and not when a slow client is done; we are called again */

        if (ngx_smtp_pass_spare(ps)
            && ngx_smtp_temp_drop(ps->temp) == NGX_OK)
        {
            return;
        }
    }

    if (ps->answering) {
        ps->answering = 0;
        ngx_smtp_pass_answer(ps, ps->later);
        return;
    }

    if (ps->spooling) {
        ps->spooling = 0;

        if (ngx_smtp_pass_kept(ps)) {
            ngx_smtp_pass_spool(ps);
            return;
        }

        ps->doomed = 1;
        ngx_smtp_pass_answer_reply(ps, NGX_SMTP_REPLY_UPSTREAM_LOST);
        return;
    }

    ngx_smtp_pass_resume(ps);
}


static void
ngx_smtp_pass_was_read(void *data, ngx_int_t rc)
{
    ngx_smtp_pass_resume(data);
}


/* If it is the file that the body waited for. */

static void
ngx_smtp_pass_resume(ngx_smtp_pass_t *ps)
{
    ngx_int_t              action;
    ngx_smtp_pass_conn_t  *conn;

    conn = ps->conn;

    if (conn == NULL || !ps->begun || ps->sending
        || conn->client.state != NGX_SMTP_CLIENT_ST_BODY
        || conn->peer->event.posted)
    {
        return;
    }

    action = ngx_smtp_pass_body(ps);

    if (action != NGX_DECLINED) {
        ngx_smtp_pass_conn_action(conn, action);
    }
}


ngx_int_t
ngx_smtp_pass_stored(ngx_smtp_pass_t *ps)
{
    off_t             rest;
    ngx_int_t         rc;
    ngx_smtp_temp_t  *t;

    t = ps->temp;

    for ( ;; ) {
        rest = ngx_smtp_content_offset(&ps->txn->content) - ps->offset;

        if (rest <= 0) {
            return NGX_OK;
        }

        if (ngx_smtp_temp_reading(t)) {
            return NGX_AGAIN;
        }

        if (t->got == 0 || t->offset != ps->offset) {
            rest = ngx_min(rest, NGX_SMTP_TEMP_PIECE);

            if (t->read_err
                || ngx_smtp_temp_read(t, ps->offset, rest) != NGX_OK)
            {
                return ngx_smtp_pass_unreadable(ps);
            }

            return NGX_AGAIN;
        }

        if (ngx_smtp_pass_encode(ps, t->buf, t->buf + t->got) != NGX_OK) {
            return NGX_ERROR;
        }

        ps->offset += t->got;

        rc = ngx_smtp_pass_flush(ps);

        if (rc != NGX_OK) {
            return rc;
        }
    }
}


/* No end of data is sent: the backend drops what it has. */

static ngx_int_t
ngx_smtp_pass_unreadable(ngx_smtp_pass_t *ps)
{
    ps->temp->broken = 1;
    ps->txn->content.file = NULL;

    ps->conn->ready = 0;

    ngx_smtp_pass_conn_close(ps->conn);
    ngx_smtp_pass_unpick(ps, 0);
    ngx_smtp_pass_give_up(ps, NGX_SMTP_PASS_ERROR);

    return NGX_DECLINED;
}
