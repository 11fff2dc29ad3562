
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Output of a session: its replies, and the client that does not take them.
 * Replies to commands that came together are sent together, from a buffer that
 * all sessions of the worker share.  What the socket does not take is kept in
 * memory of its own, and its time runs on the write event: it is over when for
 * smtp_send_timeout nothing was taken.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_session_private.h"


#define NGX_SMTP_OUT_SIZE     16384

/* room for the longest answer to one command: that to EHLO */
#define NGX_SMTP_OUT_RESERVE  4096


static u_char *ngx_smtp_session_send(ngx_connection_t *c, u_char *pos,
    u_char *last);
static ngx_int_t ngx_smtp_session_flush_kept(ngx_smtp_session_t *s);
static ngx_int_t ngx_smtp_session_output_keep(ngx_smtp_session_t *s,
    u_char *pos, u_char *last);


static u_char  *ngx_smtp_out;
static u_char  *ngx_smtp_out_last;


ngx_int_t
ngx_smtp_session_output_init(void)
{
    if (ngx_smtp_out == NULL) {
        ngx_smtp_out = ngx_alloc(NGX_SMTP_OUT_SIZE, ngx_cycle->log);
    }

    ngx_smtp_out_last = ngx_smtp_out;

    return ngx_smtp_out ? NGX_OK : NGX_ERROR;
}


void
ngx_smtp_session_reply(ngx_smtp_session_t *s, ngx_uint_t id, ngx_str_t *detail)
{
    if (ngx_smtp_reply_get(id)->code >= 500) {
        s->errors++;
    }

    ngx_smtp_out_last = ngx_smtp_reply_write(ngx_smtp_out_last,
                                             ngx_smtp_out + NGX_SMTP_OUT_SIZE,
                                             id, detail);
}


void
ngx_smtp_session_reply_answer(ngx_smtp_session_t *s, ngx_smtp_answer_t *answer)
{
    if (answer->code == 0) {
        ngx_smtp_session_reply(s, answer->id, &answer->detail);
        return;
    }

    if (answer->code >= 500) {
        s->errors++;
    }

    ngx_smtp_session_reply_line(s, answer->code, &answer->enhanced,
                                &answer->text, 0);
}


void
ngx_smtp_session_reply_line(ngx_smtp_session_t *s, ngx_uint_t code,
    ngx_str_t *enhanced, ngx_str_t *text, ngx_uint_t more)
{
    ngx_smtp_out_last = ngx_smtp_reply_line(ngx_smtp_out_last,
                                            ngx_smtp_out + NGX_SMTP_OUT_SIZE,
                                            code, enhanced, text, more);
}


ngx_int_t
ngx_smtp_session_output_reserve(ngx_smtp_session_t *s)
{
    if (ngx_smtp_out + NGX_SMTP_OUT_SIZE - ngx_smtp_out_last
        >= NGX_SMTP_OUT_RESERVE)
    {
        return NGX_OK;
    }

    return ngx_smtp_session_flush(s);
}


ngx_int_t
ngx_smtp_session_flush(ngx_smtp_session_t *s)
{
    u_char  *pos, *last;

    if (s->output.kept) {
        return ngx_smtp_session_flush_kept(s);
    }

    last = ngx_smtp_out_last;

    if (last == ngx_smtp_out) {
        return NGX_OK;
    }

    ngx_smtp_out_last = ngx_smtp_out;

    pos = ngx_smtp_session_send(s->connection, ngx_smtp_out, last);

    if (pos == NULL) {
        return NGX_ERROR;
    }

    if (pos == last) {
        return NGX_OK;
    }

    return ngx_smtp_session_output_keep(s, pos, last);
}


/* How far the socket took [pos, last); NULL: it is broken. */

static u_char *
ngx_smtp_session_send(ngx_connection_t *c, u_char *pos, u_char *last)
{
    ssize_t  n;

    while (pos < last) {
        n = c->send(c, pos, last - pos);

        if (n == NGX_ERROR) {
            return NULL;
        }

        if (n == NGX_AGAIN || n == 0) {
            break;
        }

        pos += n;
    }

    return pos;
}


static ngx_int_t
ngx_smtp_session_flush_kept(ngx_smtp_session_t *s)
{
    u_char             *pos;
    ngx_event_t        *wev;
    ngx_smtp_output_t  *out;

    out = &s->output;
    wev = s->connection->write;

    pos = ngx_smtp_session_send(s->connection, out->pos, out->last);

    if (pos == NULL) {
        return NGX_ERROR;
    }

    /* only taking replies gives a client more time to take them */

    if (pos > out->pos && wev->timer_set) {
        ngx_del_timer(wev);
    }

    out->pos = pos;

    if (pos == out->last) {
        ngx_free(out->kept);
        out->kept = NULL;

        return NGX_OK;
    }

    if (!wev->timer_set) {
        ngx_add_timer(wev, s->conf->send_timeout);
    }

    return NGX_AGAIN;
}


static ngx_int_t
ngx_smtp_session_output_keep(ngx_smtp_session_t *s, u_char *pos, u_char *last)
{
    ngx_smtp_output_t  *out;

    out = &s->output;

    out->kept = ngx_alloc(last - pos, s->connection->log);
    if (out->kept == NULL) {
        return NGX_ERROR;
    }

    out->pos = out->kept;
    out->last = ngx_cpymem(out->kept, pos, last - pos);

    ngx_add_timer(s->connection->write,
                  s->conf->send_timeout);

    return NGX_AGAIN;
}


void
ngx_smtp_session_output_drop(ngx_smtp_session_t *s)
{
    ngx_smtp_out_last = ngx_smtp_out;

    if (s->output.kept) {
        ngx_free(s->output.kept);
        s->output.kept = NULL;
    }
}
