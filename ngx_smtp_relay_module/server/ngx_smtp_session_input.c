
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Input of a session: what was read of the client and not used yet.
 *
 *   none ----read----> in the worker's buffer ----close----> kept
 *                                  ^                          |
 *                                  '-----------read-----------'
 *   close with nothing left, and drop: none
 *
 * Most sessions have nothing left when they return to the event loop and own
 * no memory then.  What is left is half a line, or commands that have to wait:
 * for an answer, for a client that takes its replies, or for their turn.  It
 * is used from where it is kept: a thousand recipients that came together, and
 * wait for one answer after the other, are not copied to and fro for each.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_session_private.h"


/* holds the longest line, and a good piece of a message */
#define NGX_SMTP_IN_SIZE  (NGX_SMTP_AUTH_LINE_MAX + 65536)


static void ngx_smtp_session_input_free(ngx_smtp_session_t *s);
static void ngx_smtp_session_input_wipe(ngx_smtp_session_t *s, u_char *pos,
    u_char *last);


static u_char  *ngx_smtp_in;


ngx_int_t
ngx_smtp_session_input_init(void)
{
    if (ngx_smtp_in == NULL) {
        ngx_smtp_in = ngx_alloc(NGX_SMTP_IN_SIZE, ngx_cycle->log);
    }

    return ngx_smtp_in ? NGX_OK : NGX_ERROR;
}


void
ngx_smtp_session_input_open(ngx_smtp_session_t *s)
{
    ngx_smtp_input_t  *in;

    in = &s->input;

    if (in->pos == NULL) {
        in->pos = ngx_smtp_in;
        in->last = ngx_smtp_in;
    }
}


ngx_int_t
ngx_smtp_session_input_add(ngx_smtp_session_t *s, u_char *pos, u_char *last)
{
    if (last - pos > NGX_SMTP_IN_SIZE) {
        return NGX_ERROR;
    }

    s->input.pos = ngx_smtp_in;
    s->input.last = ngx_cpymem(ngx_smtp_in, pos, last - pos);

    return NGX_OK;
}


ssize_t
ngx_smtp_session_input_read(ngx_smtp_session_t *s)
{
    size_t             left;
    ssize_t            n;
    ngx_connection_t  *c;
    ngx_smtp_input_t  *in;

    c = s->connection;
    in = &s->input;

    left = in->last - in->pos;

    if (in->kept) {
        ngx_memcpy(ngx_smtp_in, in->pos, left);

        ngx_smtp_session_input_free(s);

    } else if (left && in->pos > ngx_smtp_in) {
        ngx_memmove(ngx_smtp_in, in->pos, left);

        ngx_smtp_session_input_wipe(s, ngx_smtp_in + left, in->last);
    }

    in->pos = ngx_smtp_in;
    in->last = ngx_smtp_in + left;

    n = c->recv(c, in->last, NGX_SMTP_IN_SIZE - left);

    if (n == 0) {
        ngx_log_error(NGX_LOG_INFO, c->log, 0, "client closed connection");
        return NGX_ERROR;
    }

    if (n > 0) {
        in->last += n;
    }

    return n;
}


ngx_int_t
ngx_smtp_session_input_close(ngx_smtp_session_t *s)
{
    size_t             size;
    u_char            *kept;
    ngx_smtp_input_t  *in;

    in = &s->input;

    if (in->pos == in->last) {
        ngx_smtp_session_input_drop(s);
        return NGX_OK;
    }

    size = in->last - in->pos;

    /* half a line does not hold all that came before it */

    if (in->kept && size > in->size / 2) {
        return NGX_OK;
    }

    kept = ngx_alloc(size, s->connection->log);
    if (kept == NULL) {
        return in->kept ? NGX_OK : NGX_ERROR;
    }

    ngx_memcpy(kept, in->pos, size);

    if (in->kept) {
        ngx_smtp_session_input_free(s);

    } else {
        ngx_smtp_session_input_wipe(s, in->pos, in->last);
    }

    in->kept = kept;
    in->size = size;
    in->pos = kept;
    in->last = kept + size;

    return NGX_OK;
}


void
ngx_smtp_session_input_drop(ngx_smtp_session_t *s)
{
    ngx_smtp_input_t  *in;

    in = &s->input;

    if (in->kept) {
        ngx_smtp_session_input_free(s);

    } else {
        ngx_smtp_session_input_wipe(s, in->pos, in->last);
    }

    ngx_memzero(in, sizeof(ngx_smtp_input_t));
}


/* With what was taken out of it before. */

static void
ngx_smtp_session_input_free(ngx_smtp_session_t *s)
{
    ngx_smtp_input_t  *in;

    in = &s->input;

    ngx_smtp_session_input_wipe(s, in->kept, in->kept + in->size);

    ngx_free(in->kept);
    in->kept = NULL;
}


/* Where there is AUTH, input that is left may be a part of a password. */

static void
ngx_smtp_session_input_wipe(ngx_smtp_session_t *s, u_char *pos, u_char *last)
{
    if (s->rules.offer_auth && pos < last) {
        ngx_explicit_memzero(pos, last - pos);
    }
}
