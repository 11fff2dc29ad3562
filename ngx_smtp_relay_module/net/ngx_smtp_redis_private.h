
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the two files of the Redis client share: ngx_smtp_redis.c has the
 * requests and what becomes of them, ngx_smtp_redis_conn.c the connection.
 */


#ifndef _NGX_SMTP_REDIS_PRIVATE_H_INCLUDED_
#define _NGX_SMTP_REDIS_PRIVATE_H_INCLUDED_


#include "ngx_smtp_redis.h"


#define NGX_SMTP_REDIS_NONE         0
#define NGX_SMTP_REDIS_CONNECTING   1
#define NGX_SMTP_REDIS_TLS          2
#define NGX_SMTP_REDIS_HANDSHAKE    3
#define NGX_SMTP_REDIS_READY        4

#define NGX_SMTP_REDIS_BUFFER       4096


/* how a connection ended */
#define NGX_SMTP_REDIS_BROKEN       0
#define NGX_SMTP_REDIS_TIMED_OUT    1


struct ngx_smtp_redis_s {
    /* the place of the descriptor, for debug logs of the timer */
    void                        *dummy[3];
    ngx_int_t                    ident;

    ngx_queue_t                  link;      /* all of the worker */
    ngx_smtp_redis_conf_t       *conf;
    ngx_pool_t                  *pool;
    ngx_log_t                    log;

    ngx_uint_t                   state;
    ngx_peer_connection_t        peer;
    ngx_event_t                  timer;

    ngx_queue_t                  waiting;
    ngx_queue_t                  sent;
    ngx_uint_t                   npending;  /* in both */

    ngx_str_t                    hello;     /* AUTH and SELECT, formatted */
    size_t                       hello_written;
    ngx_uint_t                   hello_replies; /* of this connection */

    ngx_smtp_redis_reader_t      reader;
    u_char                       buf[NGX_SMTP_REDIS_BUFFER];

    ngx_uint_t                   server;    /* to be tried, or connected */
    ngx_uint_t                   failed;    /* servers, since one was of use */
    ngx_msec_t                   backoff;
    ngx_msec_t                   down_until;
    unsigned                     down:1;
    unsigned                     full:1;    /* too many pending: was logged */
    unsigned                     proven:1;  /* a valid reply has come */
};


/* formats AUTH and SELECT, which go out together before anything else */
ngx_int_t ngx_smtp_redis_hello(ngx_smtp_redis_t *rds);

/*
 * Connects to the next server that does not fail at once.  NGX_OK: under way;
 * NGX_ERROR: all failed, the back-off runs.  Calls no handlers.
 */
ngx_int_t ngx_smtp_redis_connect(ngx_smtp_redis_t *rds);

/* the login, if any, is done: requests may go out */
void ngx_smtp_redis_ready(ngx_smtp_redis_t *rds);

/* sends what may be sent in this state; may lose the connection */
void ngx_smtp_redis_send(ngx_smtp_redis_t *rds);

/* closes the connection, if any, and stops the timer; requests stay */
void ngx_smtp_redis_close(ngx_smtp_redis_t *rds);

/* NGX_ERROR: the connection is of no use; NGX_DONE: it is gone already */
ngx_int_t ngx_smtp_redis_reply(ngx_smtp_redis_t *rds,
    ngx_smtp_redis_reply_t *reply);

/* brings timer and idle flag in line with what is pending */
void ngx_smtp_redis_settle(ngx_smtp_redis_t *rds);

/* the connection is over (how: see above); last call of a handler */
void ngx_smtp_redis_lost(ngx_smtp_redis_t *rds, ngx_uint_t how);

/* the next server is the one to be tried */
void ngx_smtp_redis_server_failed(ngx_smtp_redis_t *rds);

/* nginx wants the connection closed: the worker is leaving */
void ngx_smtp_redis_fail_all(ngx_smtp_redis_t *rds);


#endif /* _NGX_SMTP_REDIS_PRIVATE_H_INCLUDED_ */
