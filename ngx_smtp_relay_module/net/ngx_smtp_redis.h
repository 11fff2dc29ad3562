
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Redis client of a worker: hiredis formats commands and parses replies
 * (ngx_smtp_redis_codec.h), nginx does the I/O.  One connection for each
 * worker and named Redis, opened by the first request, pipelined, answers
 * matched by order.
 *
 * Servers are tried in the order of the configuration, each for timeout.  A
 * connection that breaks after it was of use is replaced by a new one; one
 * that never was, whose reply did not come in time, or on which the server
 * said that it is of no use (it loads its data, has too many clients), counts
 * as a failure of its server, and the next one is tried.  Requests that had no
 * reply are sent once more, so only reads belong here.  When all servers
 * failed, all requests do, and new ones fail at once until a back-off is over
 * (50 ms, doubled up to 1 s): Redis back is noticed within a second and
 * without a timer.
 *
 * Anything unexpected (garbage, nesting, a reply over the limit, a reply to
 * nothing) drops the connection; it is never guessed where the next reply
 * starts.
 */


#ifndef _NGX_SMTP_REDIS_H_INCLUDED_
#define _NGX_SMTP_REDIS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>

#include "ngx_smtp_redis_codec.h"


#define NGX_SMTP_REDIS_TIMEOUT      2000
#define NGX_SMTP_REDIS_MAX_PENDING  1024
#define NGX_SMTP_REDIS_PORT         6379
#define NGX_SMTP_REDIS_PREFIX       "smtp:"


typedef struct ngx_smtp_redis_s          ngx_smtp_redis_t;
typedef struct ngx_smtp_redis_request_s  ngx_smtp_redis_request_t;

typedef void (*ngx_smtp_redis_pt)(ngx_smtp_redis_request_t *r);


/* a named Redis: the block smtp_redis NAME { } */
typedef struct {
    ngx_str_t                    name;

    ngx_array_t                  servers;   /* of ngx_addr_t, resolved */
    ngx_str_t                    host;      /* of the first server */
    ngx_str_t                    username;  /* empty: AUTH password only */
    ngx_str_t                    password;  /* empty: no AUTH */
    ngx_int_t                    database;  /* 0: no SELECT */
    ngx_msec_t                   timeout;   /* connect, and each reply */
    ngx_uint_t                   max_pending;
    ngx_str_t                    prefix;    /* of all keys */

    ngx_flag_t                   tls;
    ngx_flag_t                   tls_verify;    /* default: on if trusted */
    ngx_str_t                    tls_name;  /* SNI and check; default: host */
    ngx_str_t                    tls_trusted_certificate;   /* full path */

#if (NGX_SSL)
    ngx_ssl_t                   *ssl;       /* made by conf_init() */
#endif

    u_char                      *file;      /* for messages */
    ngx_uint_t                   line;

    ngx_smtp_redis_t            *redis;     /* the worker's, at run time */
} ngx_smtp_redis_conf_t;


struct ngx_smtp_redis_request_s {
    ngx_queue_t                  queue;
    ngx_pool_t                  *pool;

    ngx_smtp_redis_t            *redis;
    ngx_smtp_redis_pt            handler;   /* NULL: canceled */
    void                        *data;

    ngx_int_t                    rc;        /* NGX_OK: reply is set, be it an
                                               error reply; NGX_ERROR: none */
    ngx_smtp_redis_reply_t      *reply;     /* until the handler returns */

    ngx_str_t                    command;   /* formatted */
    size_t                       written;   /* bytes of it */
    ngx_msec_t                   deadline;  /* ngx_current_msec */
    ngx_uint_t                   tries;     /* how often it was sent */
    unsigned                     ending:1;  /* out of all queues */
    unsigned                     offered:1; /* to send(): to be sent for good,
                                               TLS may hold a part */
};


/*
 * Configuration: a struct with every value unset, in cf->pool; NULL without
 * memory.
 */
ngx_smtp_redis_conf_t *ngx_smtp_redis_conf_create(ngx_conf_t *cf,
    ngx_str_t *name);

/*
 * Adds a server, "host:port", "host" or "unix:/path", resolved now; all
 * addresses of a name are added.  NGX_OK or NGX_ERROR (logged, EMERG).
 */
ngx_int_t ngx_smtp_redis_conf_server(ngx_conf_t *cf,
    ngx_smtp_redis_conf_t *conf, ngx_str_t *url);

/*
 * Sets defaults, checks that the values go together, and makes the TLS
 * context.  At the end of the block.  NGX_OK or NGX_ERROR (logged, EMERG).
 */
ngx_int_t ngx_smtp_redis_conf_init(ngx_conf_t *cf,
    ngx_smtp_redis_conf_t *conf);

/*
 * Sends a command of argc binary-safe arguments (copied).  handler(r) is
 * called exactly once, from the event loop, never from within this function;
 * the request is freed after it returned.  NULL: not taken (no memory, too
 * many pending, all servers failed a moment ago, worker is leaving for good);
 * no handler will be called.
 */
ngx_smtp_redis_request_t *ngx_smtp_redis_query(ngx_smtp_redis_conf_t *conf,
    ngx_str_t *argv, ngx_uint_t argc, ngx_smtp_redis_pt handler, void *data);

/*
 * Lets go of a request: its handler will not be called, its memory goes when
 * its reply has come.  Not from within its own handler.
 */
void ngx_smtp_redis_cancel(ngx_smtp_redis_request_t *r);

/* exit_process: closes all connections and frees everything, silently. */
void ngx_smtp_redis_exit_worker(void);


#endif /* _NGX_SMTP_REDIS_H_INCLUDED_ */
