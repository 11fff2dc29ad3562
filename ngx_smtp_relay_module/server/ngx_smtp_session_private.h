
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the files ngx_smtp_session*.c share, and nobody else needs:
 *
 *   ngx_smtp_session.c          the life: start, events, turns, time, the end
 *   ngx_smtp_session_input.c    what the client sent and nobody used yet
 *   ngx_smtp_session_output.c   replies on their way to the client
 *   ngx_smtp_session_command.c  lines of input, and who carries them out
 *   ngx_smtp_session_limit.c    what ends a session of bad manners
 */


#ifndef _NGX_SMTP_SESSION_PRIVATE_H_INCLUDED_
#define _NGX_SMTP_SESSION_PRIVATE_H_INCLUDED_


#include "ngx_smtp_session.h"


/*
 * Input: [s->input.pos, s->input.last).  What is read lies in a buffer that
 * all sessions of the worker share.  When the session returns to the event
 * loop the input is closed: what is left lies in memory of its own, and is
 * used from there when the session runs again.  It is empty if pos is last.
 */

/* Makes the worker's buffer, if there is none yet.  NGX_OK, NGX_ERROR. */
ngx_int_t ngx_smtp_session_input_init(void);

/* Before input is used; both pointers are good then. */
void ngx_smtp_session_input_open(ngx_smtp_session_t *s);

/*
 * Adds [pos, last), which was read before the session was there, to an empty
 * input.  NGX_OK, or NGX_ERROR: more than the buffer holds.
 */
ngx_int_t ngx_smtp_session_input_add(ngx_smtp_session_t *s, u_char *pos,
    u_char *last);

/*
 * Adds what the socket has to the input.  The number of octets, which is above
 * 0; NGX_AGAIN; NGX_ERROR: no more will come, logged.
 */
ssize_t ngx_smtp_session_input_read(ngx_smtp_session_t *s);

/* Closes the input.  NGX_OK, or NGX_ERROR: no memory. */
ngx_int_t ngx_smtp_session_input_close(ngx_smtp_session_t *s);

/* Forgets all input. */
void ngx_smtp_session_input_drop(ngx_smtp_session_t *s);


/*
 * Output.  Replies are written to a buffer that all sessions of the worker
 * share.  Whoever wrote some flushes it before anybody else runs; what the
 * socket does not take then is kept in s->output, and until it is taken
 * nothing is read from the client and nothing is written.
 */

/* Makes the worker's buffer, if there is none yet.  NGX_OK, NGX_ERROR. */
ngx_int_t ngx_smtp_session_output_init(void);

/*
 * Makes room for the answer to one more command.  NGX_OK; otherwise as
 * ngx_smtp_session_flush(), which had to be called for that.
 */
ngx_int_t ngx_smtp_session_output_reserve(ngx_smtp_session_t *s);

/*
 * Sends what the socket takes; the rest is kept, and has smtp_send_timeout
 * from the last octet taken on.  NGX_OK: all was sent; NGX_AGAIN; NGX_ERROR:
 * the connection is broken, or no memory.
 */
ngx_int_t ngx_smtp_session_flush(ngx_smtp_session_t *s);

/* Forgets all output, kept or not. */
void ngx_smtp_session_output_drop(ngx_smtp_session_t *s);


/*
 * Uses as much of the input as it can.  NGX_AGAIN: more input is needed;
 * NGX_BUSY: the socket takes no more replies, an answer is awaited, others
 * have their turn, or the session is over; NGX_ERROR: the connection broke.
 */
ngx_int_t ngx_smtp_session_process(ngx_smtp_session_t *s);


#endif /* _NGX_SMTP_SESSION_PRIVATE_H_INCLUDED_ */
