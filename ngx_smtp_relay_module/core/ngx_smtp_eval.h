
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Evaluation sessions: a stream session with a connection that is none (fd is
 * -1), on which variables, complex values and upstream{} balancing work.  One
 * is made for each stage, recipient and delivery, because nginx caches the
 * values of a session: on the client's own one a second recipient would get
 * the answers of the first.
 *
 * A session and all it allocates lives in the pool that its creator gives, and
 * goes with that pool; there is nothing to close.  Its log must live as long.
 */


#ifndef _NGX_SMTP_EVAL_H_INCLUDED_
#define _NGX_SMTP_EVAL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_envelope.h"
#include "ngx_smtp_transaction.h"


/*
 * What the $smtp_* variables of an evaluation session tell.  Empty strings and
 * NULL mean "not known at this stage".  All of it is referenced, not copied,
 * and lives as long as the session's pool.
 */
typedef struct {
    ngx_smtp_transaction_t   *transaction;    /* inbound, else NULL */
    ngx_smtp_envelope_t      *envelope;       /* NULL: no MAIL yet */
    ngx_smtp_rcpt_t          *rcpt;           /* the one this is about; NULL:
                                                 see rcpts */
    ngx_smtp_rcpt_t         **rcpts;          /* those of a delivery; NULL: all
                                                 of the envelope */
    ngx_uint_t                nrcpts;
    ngx_str_t                 helo;
    ngx_str_t                 login;
    ngx_str_t                 queue_id;
    ngx_str_t                 reply;
    off_t                     size;           /* -1: not known */
} ngx_smtp_eval_ctx_t;


/* a client session as it was when the content handler was entered */
typedef struct {
    void                         **main_conf;
    void                         **srv_conf;
    ngx_stream_variable_value_t   *variables;
    ngx_uint_t                     nvariables;
    struct sockaddr               *sockaddr;
    socklen_t                      socklen;
    struct sockaddr               *local_sockaddr;
    socklen_t                      local_socklen;
    ngx_str_t                      addr_text;
    ngx_proxy_protocol_t          *proxy_protocol;
    ngx_atomic_uint_t              number;
    time_t                         start_sec;
    ngx_msec_t                     start_msec;
} ngx_smtp_snapshot_t;


/*
 * Takes a snapshot of a client session, in pool (usually the connection's).
 * Values that have been evaluated so far are copied, so that what "set" and
 * "js_var" stored survives; those of variables that are not cacheable are not.
 * NULL: no memory.
 */
ngx_smtp_snapshot_t *ngx_smtp_snapshot_create(ngx_stream_session_t *s,
    ngx_pool_t *pool);

/*
 * A fresh evaluation session from a snapshot.  All of the snapshot is copied:
 * the session may outlive it.  ctx is copied too (not what it points to) and
 * is found by ngx_smtp_eval_get_ctx().  NULL: no memory.
 */
ngx_stream_session_t *ngx_smtp_eval_create(ngx_pool_t *pool, ngx_log_t *log,
    ngx_smtp_snapshot_t *sn, ngx_smtp_eval_ctx_t *ctx);

/*
 * A fresh evaluation session for a delivery: no client is there, addr is the
 * text of the address it had (NULL or unreadable: none, the address family is
 * AF_UNIX then).  srv_conf is the accepting server's, or stream{}'s own; it is
 * never NULL.  NULL: no memory.
 */
ngx_stream_session_t *ngx_smtp_eval_create_stored(ngx_pool_t *pool,
    ngx_log_t *log, void **main_conf, void **srv_conf, ngx_str_t *addr,
    ngx_smtp_eval_ctx_t *ctx);

/*
 * The context of an evaluation session, which may be changed in place as long
 * as nothing was evaluated; NULL for any other session.  For the getters of
 * the $smtp_* variables.
 */
ngx_smtp_eval_ctx_t *ngx_smtp_eval_get_ctx(ngx_stream_session_t *s);

/*
 * Prepares balancing over uscf on an evaluation session: s->upstream->peer has
 * get, free, tries and log afterwards.  NGX_OK, NGX_ERROR.
 */
ngx_int_t ngx_smtp_eval_upstream(ngx_stream_session_t *s,
    ngx_stream_upstream_srv_conf_t *uscf);


#endif /* _NGX_SMTP_EVAL_H_INCLUDED_ */
