
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The content of an attempt on its way to the peer: slices of the spool, or
 * of a report with parts of the original, stuffed and handed to the connection
 * as far as it takes them.
 *
 * The rule for the end of data: the store knows that an answer is outstanding
 * before the kernel gets its first octet.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"


/* pieces of the content up to this size are copied and sent with others */
#define NGX_SMTP_DELIVERY_COPY   8192

/* output that is collected before it is sent */
#define NGX_SMTP_DELIVERY_FLUSH  32768


static ngx_int_t ngx_smtp_delivery_slice(ngx_smtp_delivery_t *d,
    ngx_str_t *slice);
static ngx_int_t ngx_smtp_delivery_write(ngx_smtp_delivery_t *d,
    ngx_str_t *slice);
static ngx_int_t ngx_smtp_delivery_end(ngx_smtp_delivery_t *d);


ngx_int_t
ngx_smtp_delivery_body(ngx_smtp_delivery_t *d)
{
    ngx_int_t         rc;
    ngx_str_t         slice;
    ngx_smtp_peer_t  *p;

    p = d->conn->peer;

    for ( ;; ) {

        if (d->broken) {
            return NGX_ERROR;
        }

        if (d->reading || p->blocked) {
            return NGX_AGAIN;
        }

        if (d->part == NGX_SMTP_PART_END) {
            return ngx_smtp_delivery_end(d);
        }

        rc = ngx_smtp_delivery_slice(d, &slice);

        if (rc == NGX_AGAIN) {

            /* what is collected need not wait for the disk */

            d->reading = 1;

            return (ngx_smtp_peer_flush(p) == NGX_ERROR) ? NGX_ABORT
                                                         : NGX_AGAIN;
        }

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        rc = ngx_smtp_delivery_write(d, &slice);

        if (rc == NGX_ERROR) {
            return NGX_ABORT;
        }
    }
}


/*
 * The next piece of what is sent, advancing d->part.  NGX_OK (the piece may be
 * empty), NGX_AGAIN, NGX_ERROR.
 */

static ngx_int_t
ngx_smtp_delivery_slice(ngx_smtp_delivery_t *d, ngx_str_t *slice)
{
    ngx_int_t  rc;

    switch (d->part) {

    case NGX_SMTP_PART_TOP:
        *slice = d->top;
        d->part = NGX_SMTP_PART_CONTENT;

        return NGX_OK;

    case NGX_SMTP_PART_CONTENT:
        d->begun = 1;

        rc = ngx_smtp_reader_next(d->reader, slice);

        if (rc == NGX_OK) {

            if (d->report && ngx_smtp_report_slice(d, slice) == NGX_DONE) {
                d->part = NGX_SMTP_PART_TAIL;
            }

            return NGX_OK;
        }

        if (rc != NGX_DONE) {
            return rc;
        }

        slice->len = 0;
        d->part = d->report ? NGX_SMTP_PART_TAIL : NGX_SMTP_PART_END;

        return NGX_OK;

    default: /* NGX_SMTP_PART_TAIL */
        *slice = d->tail;
        d->part = NGX_SMTP_PART_END;

        return NGX_OK;
    }
}


/*
 * Small pieces are collected, so that a usual message goes out in one write
 * with its end of data; a large one is sent from where it lies.
 */

static ngx_int_t
ngx_smtp_delivery_write(ngx_smtp_delivery_t *d, ngx_str_t *slice)
{
    ngx_uint_t        whole;
    ngx_smtp_peer_t  *p;

    p = d->conn->peer;

    whole = (slice->len <= NGX_SMTP_DELIVERY_COPY);

    if (ngx_smtp_talk_encode(&d->conn->talk, &d->encoder, slice->data,
                             slice->data + slice->len,
                             whole ? slice->len : NGX_SMTP_TALK_COPY)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (whole && ngx_smtp_peer_pending(p) < NGX_SMTP_DELIVERY_FLUSH) {
        return NGX_OK;
    }

    return ngx_smtp_peer_flush(p);
}


static ngx_int_t
ngx_smtp_delivery_end(ngx_smtp_delivery_t *d)
{
    ngx_smtp_conn_t  *conn;

    conn = d->conn;

    /* its results could not be recorded now: the peer must not get it all */

    if (ngx_smtp_message_ready(d->message) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_smtp_client_end(&conn->client) != NGX_SMTP_CLIENT_WAIT) {
        return NGX_DECLINED;
    }

    d->until = ngx_time() + (d->route->conf->data_timeout + 999) / 1000;
    d->outstanding = 1;

    ngx_smtp_message_outstanding(d->message, 1, d->until);

    if (ngx_smtp_talk_encode_end(&conn->talk, &d->encoder) != NGX_OK
        || ngx_smtp_peer_flush(conn->peer) == NGX_ERROR)
    {
        return NGX_ABORT;
    }

    return NGX_OK;
}
