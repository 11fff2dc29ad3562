
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The message on its way to the backend: the fields above it, the content as
 * DATA wants it (dots doubled, no bare CR or LF), the end of data.
 *
 * While the message fits the buffer nothing is freed, so that another server
 * or the spool can have it.  Beyond that what was sent is freed, and the
 * client is read as fast as the backend reads; if there is a copy in a file,
 * it is sent again from there (ngx_smtp_pass_keep.c).
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_pass_private.h"


/* handed to the kernel at once */
#define NGX_SMTP_PASS_FLUSH  65536

/* up to here the end of data goes with the message in one write */
#define NGX_SMTP_PASS_WHOLE  32768


static ngx_int_t ngx_smtp_pass_blocks(ngx_smtp_pass_t *ps);
static ngx_int_t ngx_smtp_pass_end(ngx_smtp_pass_t *ps);
static ngx_int_t ngx_smtp_pass_broken(ngx_smtp_pass_t *ps);


void
ngx_smtp_pass_rewind(ngx_smtp_pass_t *ps)
{
    ngx_smtp_data_encoder_init(&ps->encoder);

    ps->begun = 1;
    ps->fields = 0;
    ps->sending = 0;
    ps->offset = 0;
    ps->block = NULL;
    ps->pos = NULL;
}


ngx_int_t
ngx_smtp_pass_body(ngx_smtp_pass_t *ps)
{
    ngx_int_t   rc;
    ngx_str_t  *fields;

    if (!ps->begun) {
        ngx_smtp_pass_rewind(ps);
    }

    ps->sending = 0;

    if (!ps->fields) {
        ps->fields = 1;
        fields = &ps->txn->fields;

        if (ngx_smtp_pass_encode(ps, fields->data, fields->data + fields->len)
            != NGX_OK)
        {
            return ngx_smtp_pass_broken(ps);
        }
    }

    rc = ngx_smtp_pass_stored(ps);

    if (rc == NGX_OK) {
        rc = ngx_smtp_pass_blocks(ps);
    }

    if (rc == NGX_ERROR) {
        return ngx_smtp_pass_broken(ps);
    }

    if (rc != NGX_OK || ngx_smtp_pass_writing(ps)) {
        return NGX_DECLINED;
    }

    if (ps->goal == NGX_SMTP_PASS_COMMIT) {
        return ngx_smtp_pass_end(ps);
    }

    ngx_smtp_block_free(ngx_smtp_content_take(&ps->txn->content));

    ngx_smtp_pass_answer(ps, NGX_OK);

    return NGX_DECLINED;
}


/* What is in memory; NGX_OK, NGX_AGAIN or NGX_ERROR as flush. */

static ngx_int_t
ngx_smtp_pass_blocks(ngx_smtp_pass_t *ps)
{
    u_char              *last;
    ngx_int_t            rc;
    ngx_uint_t           whole;
    ngx_smtp_peer_t     *p;
    ngx_smtp_content_t  *content;

    p = ps->conn->peer;
    content = &ps->txn->content;

    whole = (ps->goal == NGX_SMTP_PASS_COMMIT && !ps->streamed
             && content->buffered <= NGX_SMTP_PASS_WHOLE);

    while (ps->offset < content->size) {

        if (ps->block == NULL) {
            ps->block = content->first;
            ps->pos = ngx_smtp_block_start(ps->block);
        }

        last = ps->block->last;

        if (last - ps->pos > NGX_SMTP_PASS_FLUSH) {
            last = ps->pos + NGX_SMTP_PASS_FLUSH;
        }

        if (ngx_smtp_pass_encode(ps, ps->pos, last) != NGX_OK) {
            return NGX_ERROR;
        }

        ps->offset += last - ps->pos;
        ps->pos = last;

        if (last == ps->block->last) {
            ps->block = ps->block->next;
            ps->pos = ps->block ? ngx_smtp_block_start(ps->block) : NULL;
        }

        if (whole || ngx_smtp_peer_pending(p) < NGX_SMTP_PASS_FLUSH) {
            continue;
        }

        rc = ngx_smtp_pass_flush(ps);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return whole ? NGX_OK : ngx_smtp_pass_flush(ps);
}


/*
 * NGX_OK, NGX_AGAIN: ngx_smtp_pass_body() is called when all is out,
 * NGX_ERROR.  Nothing refers to the octets afterwards.
 */

ngx_int_t
ngx_smtp_pass_flush(ngx_smtp_pass_t *ps)
{
    ngx_int_t  rc;

    rc = ngx_smtp_peer_flush(ps->conn->peer);

    ps->sending = (rc == NGX_AGAIN);

    return rc;
}


/*
 * Small pieces between doubled dots are collected, larger ones are sent from
 * where they lie.
 */

ngx_int_t
ngx_smtp_pass_encode(ngx_smtp_pass_t *ps, u_char *pos, u_char *last)
{
    return ngx_smtp_talk_encode(&ps->conn->talk, &ps->encoder, pos, last,
                                NGX_SMTP_TALK_COPY);
}


/* From here on nobody but the backend knows what becomes of the message. */

static ngx_int_t
ngx_smtp_pass_end(ngx_smtp_pass_t *ps)
{
    ngx_int_t              rc;
    ngx_smtp_pass_conn_t  *conn;

    conn = ps->conn;

    rc = ngx_smtp_client_end(&conn->client);

    if (rc != NGX_SMTP_CLIENT_WAIT) {
        return rc;
    }

    if (ngx_smtp_talk_encode_end(&conn->talk, &ps->encoder) != NGX_OK) {
        return ngx_smtp_pass_broken(ps);
    }

    return NGX_SMTP_CLIENT_WAIT;
}


static ngx_int_t
ngx_smtp_pass_broken(ngx_smtp_pass_t *ps)
{
    return ngx_smtp_client_lost(&ps->conn->client,
                                NGX_SMTP_CLIENT_LOST_CLOSED);
}
