
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The proxy: the sink of smtp_pass hands a transaction to a backend while the
 * client waits, with the spool behind it if the server{} block has one
 * (core/ngx_smtp_transaction.h has the contract of a sink).
 *
 * ngx_smtp_pass.c        the sink: what the client asks, what it is answered
 * ngx_smtp_pass_target.c which value smtp_pass has, and its addresses
 * ngx_smtp_pass_next.c   which server, which one next, when the spool
 * ngx_smtp_pass_body.c   the message on its way out
 * ngx_smtp_pass_keep.c   the copy of a message that does not fit the buffer
 * ngx_smtp_pass_conn.c   connections to backends, and the pool of idle ones
 *
 * The fate of a message is one: passed or spooled.  It is open until the first
 * octet of the end of data was handed to the kernel; from then on the backend
 * decides, or nobody (451).
 */


#ifndef _NGX_SMTP_PASS_H_INCLUDED_
#define _NGX_SMTP_PASS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>
#include <ngx_thread_pool.h>

#include "ngx_smtp_backend.h"
#include "ngx_smtp_resume.h"
#include "ngx_smtp_transaction.h"
#include "ngx_smtp_relay.h"


/* what went wrong: of smtp_pass_next_upstream and of fallback= */
#define NGX_SMTP_PASS_OFF      0x0002    /* none of the others */
#define NGX_SMTP_PASS_ERROR    0x0004
#define NGX_SMTP_PASS_TIMEOUT  0x0008
#define NGX_SMTP_PASS_421      0x0010
#define NGX_SMTP_PASS_4XX      0x0020

/* smtp_pass_ssl */
#define NGX_SMTP_PASS_SSL_OFF       0
#define NGX_SMTP_PASS_SSL_STARTTLS  1
#define NGX_SMTP_PASS_SSL_ON        2

/* smtp_pass_extensions off; the others are NGX_SMTP_EXTENSION_* */
#define NGX_SMTP_PASS_EXTENSIONS_OFF  0x0100

/* smtp_pass_auth */
#define NGX_SMTP_PASS_AUTH_OFF      0
#define NGX_SMTP_PASS_AUTH_SERVICE  1
#define NGX_SMTP_PASS_AUTH_XOAUTH2  2
#define NGX_SMTP_PASS_AUTH_CLIENT   3

/* defaults; times in ms */
#define NGX_SMTP_PASS_BUFFER_SIZE         (1024 * 1024)
#define NGX_SMTP_PASS_CONNECT_TIMEOUT     10000
#define NGX_SMTP_PASS_TIMEOUT_COMMAND     60000
#define NGX_SMTP_PASS_SEND_TIMEOUT        60000
#define NGX_SMTP_PASS_DATA_TIMEOUT        540000
#define NGX_SMTP_PASS_KEEPALIVE           32
#define NGX_SMTP_PASS_KEEPALIVE_TIMEOUT   60000
#define NGX_SMTP_PASS_KEEPALIVE_TIME      3600000
#define NGX_SMTP_PASS_KEEPALIVE_MESSAGES  1000
#define NGX_SMTP_HEALTH_INTERVAL          5000
#define NGX_SMTP_HEALTH_TIMEOUT           5000


typedef struct ngx_smtp_health_s  ngx_smtp_health_t;


/* of a server{} block; made and checked by the module, in the cycle's pool */
typedef struct {
    ngx_str_t                        target;      /* as written */
    ngx_stream_complex_value_t      *value;       /* NULL: see upstream */
    ngx_stream_upstream_srv_conf_t  *upstream;    /* host:port: implicit one */
    ngx_str_t                        host;        /* of target, for TLS */
    ngx_str_t                        hostname;    /* in EHLO */

    ngx_smtp_queue_conf_t           *queue;       /* behind; NULL: none */
    ngx_uint_t                       fallback;    /* NGX_SMTP_PASS_* */
    ngx_uint_t                       next;        /* NGX_SMTP_PASS_* */
    ngx_uint_t                       next_tries;  /* 0: as many as there are */
    ngx_msec_t                       next_timeout;    /* 0: none */

    size_t                           buffer_size;
    ngx_path_t                      *temp_path;   /* of copies of larger ones;
                                                     NULL: see temp_folder */
    u_char                          *temp_folder; /* NUL-terminated; NULL: no
                                                     copies */
    ngx_thread_pool_t               *temp_pool;
    ngx_msec_t                       connect_timeout;
    ngx_msec_t                       timeout;     /* reply to a command */
    ngx_msec_t                       send_timeout;
    ngx_msec_t                       data_timeout;    /* to the end of data */

    ngx_uint_t                       keepalive;   /* idle ones; 0: no pool */
    ngx_uint_t                       keepalive_messages;
    ngx_msec_t                       keepalive_timeout;
    ngx_msec_t                       keepalive_time;

    ngx_uint_t                       tls;         /* NGX_SMTP_PASS_SSL_* */
    ngx_ssl_t                       *ssl;         /* NULL only with off */
    ngx_str_t                        ssl_name;    /* empty: host */
    ngx_stream_complex_value_t      *ssl_name_value;  /* or NULL: ssl_name */
    ngx_stream_complex_value_t      *ssl_certificate; /* NULL: that of ssl */
    ngx_stream_complex_value_t      *ssl_key;
    ngx_array_t                     *ssl_passwords;   /* of ssl_key */
    ngx_smtp_resume_t               *ssl_resume;  /* of this worker, or NULL */
    ngx_flag_t                       ssl_verify;
    ngx_flag_t                       ssl_server_name;

    ngx_addr_t                      *bind;        /* NULL: see bind_value */
    ngx_stream_complex_value_t      *bind_value;  /* NULL: any address */
    ngx_uint_t                       bind_transparent;
    ngx_uint_t                       proxy_protocol;  /* version; 0: off */

    ngx_flag_t                       xclient;
    ngx_flag_t                       xforward;
    ngx_uint_t                       auth;        /* NGX_SMTP_PASS_AUTH_* */
    ngx_stream_complex_value_t      *user;        /* of SERVICE, XOAUTH2 */
    ngx_stream_complex_value_t      *password;

    /*
     * smtp_pass_extensions: NGX_CONF_BITMASK_SET alone: what the backends
     * offer, if they are known; see ngx_smtp_health.h
     */
    ngx_uint_t                       extensions;

    ngx_msec_t                       health_interval; /* 0: no checks */
    ngx_msec_t                       health_timeout;
    ngx_uint_t                       health_fails;
    ngx_uint_t                       health_passes;

    /* of this worker, see ngx_smtp_health.h */
    ngx_smtp_health_t               *health;      /* NULL: no checks */
    ngx_smtp_backend_t              *backends;
    ngx_uint_t                       nbackends;

    /* of this worker: idle connections, the last used one first */
    ngx_queue_t                      idle;
    ngx_uint_t                       nidle;
} ngx_smtp_pass_conf_t;


/* sink_conf of a transaction is the ngx_smtp_pass_conf_t */
extern ngx_smtp_sink_t  ngx_smtp_pass_sink;


#endif /* _NGX_SMTP_PASS_H_INCLUDED_ */
