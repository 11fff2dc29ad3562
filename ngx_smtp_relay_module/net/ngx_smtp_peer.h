
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * An outbound connection: to a given address or to a server of an upstream{},
 * with TLS on demand, buffered input and output, time-outs.  What is spoken on
 * it is the caller's business.
 *
 *   create -> connect -> CONNECTED -> put.. flush -> READ, SENT .. -> close
 *                                     starttls -> SECURED
 *
 * The caller owns the peer and ends it with ngx_smtp_peer_close(), at any
 * moment, also from inside of a handler call: a handler call is always the
 * last thing the peer does.  Everything a peer has lives in its own pool; all
 * peers of a worker hang in a list, so that exit_process can close what is
 * left.
 */


#ifndef _NGX_SMTP_PEER_H_INCLUDED_
#define _NGX_SMTP_PEER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>
#include <ngx_stream.h>

#include "ngx_smtp_resume.h"


/* what a handler is told */
#define NGX_SMTP_PEER_CONNECTED  1  /* p->name tells to whom */
#define NGX_SMTP_PEER_READ       2  /* p->in has new bytes; take from pos on */
#define NGX_SMTP_PEER_SENT       3  /* output that had to wait is out */
#define NGX_SMTP_PEER_SECURED    4  /* the handshake is done */
#define NGX_SMTP_PEER_FAILED     5  /* p->failure tells why; close it now, or
                                       call ngx_smtp_peer_next() */
#define NGX_SMTP_PEER_SHUTDOWN   6  /* the worker ends now (time-out of a
                                       shutdown), or idle and leaving: close */

/* why */
#define NGX_SMTP_PEER_REFUSED    1  /* no server could be connected to */
#define NGX_SMTP_PEER_TIMEDOUT   2  /* ngx_smtp_peer_timeout(), or a send */
#define NGX_SMTP_PEER_CLOSED     3  /* the other side closed */
#define NGX_SMTP_PEER_ERROR      4  /* reset, or no memory */
#define NGX_SMTP_PEER_TLS        5  /* the handshake failed */
#define NGX_SMTP_PEER_VERIFY     6  /* the certificate was not accepted */

/* size of the input buffer: a caller that cannot take a line of this length
   finds the buffer full and gives up */
#define NGX_SMTP_PEER_INPUT      4096


typedef struct ngx_smtp_peer_s  ngx_smtp_peer_t;
typedef struct ngx_smtp_peer_block_s  ngx_smtp_peer_block_t;

typedef void (*ngx_smtp_peer_pt)(ngx_smtp_peer_t *p, ngx_uint_t event);


/* what of TLS differs between the connections of a context */
typedef struct {
    ngx_smtp_resume_t        *resume;     /* sessions; NULL: none is resumed */
    u_char                    id[NGX_SMTP_RESUME_ID];
    ngx_str_t                 certificate;    /* of ours, as in nginx's
                                             directives, NUL behind; empty:
                                             that of the context, if any */
    ngx_str_t                 key;
    ngx_array_t              *passwords;  /* of key */
} ngx_smtp_peer_tls_t;


struct ngx_smtp_peer_s {
    ngx_pool_t               *pool;
    ngx_log_t                 log;        /* of its own; action may be set */
    void                     *data;       /* the caller's */
    ngx_smtp_peer_pt          handler;

    ngx_buf_t                 in;         /* pos .. last: not yet taken */
    ngx_str_t                 name;       /* "192.0.2.1:25" once connected (or
                                             of the last one tried) */
    struct sockaddr          *sockaddr;   /* a copy */
    socklen_t                 socklen;
    ngx_uint_t                failure;    /* NGX_SMTP_PEER_REFUSED .. */
    ngx_err_t                 err;        /* errno of it, or 0 */
    ngx_uint_t                unable;     /* REFUSED is our own fault: no
                                             socket, no address to bind to */

    ngx_connection_t         *connection; /* NULL: not connected */

    /* the caller's, before it connects */
    ngx_smtp_peer_tls_t      *tls;        /* as long as the peer, or NULL */
    unsigned                  no_sni:1;   /* no name in TLS */
    unsigned                  transparent:1;  /* of the local address */
    unsigned                  secret:1;   /* set with each put of a secret:
                                             wiped when the output is out */

    /* private */
    ngx_queue_t               link;
    ngx_event_t               event;      /* posted: a handler call to come */
    ngx_uint_t                posted;     /* which */
    ngx_peer_connection_t     own;        /* to one address */
    ngx_peer_connection_t    *pc;         /* own, or that of eval */
    ngx_stream_session_t     *eval;
    ngx_addr_t               *local;
    ngx_msec_t                connect_timeout;
    ngx_msec_t                send_timeout;
    ngx_msec_t                started;
    ngx_str_t                 tls_name;
    ngx_smtp_peer_block_t    *blocks;     /* copied output */
    ngx_smtp_peer_block_t    *last_block;
    ngx_chain_t              *out;
    ngx_chain_t              *out_last;
    ngx_chain_t              *free;
    off_t                     out_size;
    ngx_sockaddr_t            address;
    unsigned                  secure:1;   /* TLS is on */
    unsigned                  verify:1;
    unsigned                  picked:1;   /* a server of upstream{} is held */
    unsigned                  blocked:1;  /* output waits: SENT will come */
};


/*
 * A peer that is not connected, in a pool of its own; log is copied (file and
 * level; lines name the peer).  send_timeout: until the kernel has taken all
 * of the output that was flushed.  NULL: no memory.
 */
ngx_smtp_peer_t *ngx_smtp_peer_create(ngx_log_t *log, ngx_msec_t send_timeout,
    ngx_smtp_peer_pt handler, void *data);

/*
 * Connects to one address (copied; name is copied, for the log).  local may be
 * NULL and must live as long as the peer.  The outcome comes by the handler,
 * also an immediate one; never from inside of this call.
 */
void ngx_smtp_peer_connect(ngx_smtp_peer_t *p, struct sockaddr *sockaddr,
    socklen_t socklen, ngx_str_t *name, ngx_addr_t *local, ngx_msec_t timeout);

/*
 * Connects to a server of uscf, chosen on the evaluation session s, which
 * lives in p->pool or longer.  A server that does not answer in time counts as
 * failed and the next is tried, as max_fails, backup and the number of servers
 * allow; FAILED (REFUSED) comes when none is left.
 */
void ngx_smtp_peer_connect_upstream(ngx_smtp_peer_t *p,
    ngx_stream_session_t *s, ngx_stream_upstream_srv_conf_t *uscf,
    ngx_addr_t *local, ngx_msec_t timeout);

/*
 * The server is of no use (refuses at its greeting, has no TLS): counts as
 * failed, the connection is closed, and the next server is tried.  NGX_AGAIN:
 * the outcome comes by the handler; NGX_DECLINED: there is none left.  Input
 * and output not sent are dropped.
 */
ngx_int_t ngx_smtp_peer_next(ngx_smtp_peer_t *p);

/*
 * Closes the connection and connects to the same server again (it spoils its
 * TLS, and may be spoken to without).  As ngx_smtp_peer_connect().
 */
void ngx_smtp_peer_reconnect(ngx_smtp_peer_t *p);

/*
 * Starts TLS as client with the context ssl.  name: for SNI and verification;
 * empty, or an address: no SNI.  verify: the chain must verify against ssl's
 * CAs and the certificate match name.  NGX_AGAIN: SECURED or FAILED (TLS,
 * VERIFY) comes by the handler, never from inside; NGX_DECLINED: there is
 * input that came in clear after the 220, a protocol error; NGX_ERROR: no
 * memory.  ngx_smtp_peer_timeout() holds for the handshake as well.
 */
ngx_int_t ngx_smtp_peer_starttls(ngx_smtp_peer_t *p, ngx_ssl_t *ssl,
    ngx_str_t *name, ngx_uint_t verify);

/* Protocol and cipher of TLS, static or in the pool; empty without TLS. */
void ngx_smtp_peer_tls_info(ngx_smtp_peer_t *p, ngx_str_t *protocol,
    ngx_str_t *cipher);

/*
 * Output.  put: copies; always takes all.  ref: refers; data must stay until
 * the next ngx_smtp_peer_flush() returned, which copies what the kernel did
 * not take.  Both only add: nothing is sent before flush.  NGX_OK or NGX_ERROR
 * (no memory).
 */
ngx_int_t ngx_smtp_peer_put(ngx_smtp_peer_t *p, const u_char *data,
    size_t len);
ngx_int_t ngx_smtp_peer_ref(ngx_smtp_peer_t *p, u_char *data, size_t len);

/*
 * Hands the output to the kernel.  NGX_OK: all is out; NGX_AGAIN: SENT comes
 * when it is; NGX_ERROR: the connection is broken (p->err): handle it as
 * FAILED with NGX_SMTP_PEER_ERROR, no handler is called for it.
 */
ngx_int_t ngx_smtp_peer_flush(ngx_smtp_peer_t *p);

/* Octets added and not yet with the kernel. */
#define ngx_smtp_peer_pending(p)  ((p)->out_size)

/*
 * Waits that long for input from now on: FAILED (TIMEDOUT) otherwise.  0:
 * without limit.  Input does not move it.  Nothing happens when there is no
 * connection.
 */
void ngx_smtp_peer_timeout(ngx_smtp_peer_t *p, ngx_msec_t timeout);

/*
 * Nothing is going on: memory for output is given back, the timer does not
 * keep a leaving worker alive, and SHUTDOWN comes when it leaves.
 */
void ngx_smtp_peer_idle(ngx_smtp_peer_t *p, ngx_uint_t on);

/* Closes and frees the peer.  failed: counts for max_fails of its server. */
void ngx_smtp_peer_close(ngx_smtp_peer_t *p, ngx_uint_t failed);

/* Once per worker, before the first peer. */
void ngx_smtp_peer_init_worker(void);

/*
 * exit_process: closes all peers that are left; no handler is called.
 */
void ngx_smtp_peer_close_all(void);


#endif /* _NGX_SMTP_PEER_H_INCLUDED_ */
