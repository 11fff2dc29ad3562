
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the files of the outbound connection share.
 */


#ifndef _NGX_SMTP_PEER_PRIVATE_H_INCLUDED_
#define _NGX_SMTP_PEER_PRIVATE_H_INCLUDED_


#include "ngx_smtp_peer.h"


/* -- ngx_smtp_peer.c ----------------------------------------------------- */

/* Tells the caller later; the last word counts. */
void ngx_smtp_peer_post(ngx_smtp_peer_t *p, ngx_uint_t event,
    ngx_uint_t failure);

/* Tells the caller now that it is over: touch nothing afterwards. */
void ngx_smtp_peer_failed(ngx_smtp_peer_t *p, ngx_uint_t failure,
    ngx_err_t err);


/* -- ngx_smtp_peer_io.c -------------------------------------------------- */

/* Event handlers of a connection that is established. */
void ngx_smtp_peer_read_handler(ngx_event_t *rev);
void ngx_smtp_peer_write_handler(ngx_event_t *wev);

/* Forgets output and gives its memory back; keep: all blocks but one. */
void ngx_smtp_peer_drop_output(ngx_smtp_peer_t *p, ngx_uint_t keep);


/* -- ngx_smtp_peer_tls.c ------------------------------------------------- */

/* The handshake has ended, well or not. */
void ngx_smtp_peer_handshaked(ngx_smtp_peer_t *p);


#endif /* _NGX_SMTP_PEER_PRIVATE_H_INCLUDED_ */
