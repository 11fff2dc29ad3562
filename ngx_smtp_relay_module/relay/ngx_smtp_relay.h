
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Delivery of queued messages from the worker that owns them: when they are
 * due, connections to the next hop, results, retries, bounces.
 *
 * ngx_smtp_relay.c        schedule of each queue, connections, leaving
 * ngx_smtp_relay_conn.c   one connection and the dialogue on it
 * ngx_smtp_delivery.c     one attempt for a message or a report
 * ngx_smtp_bounce.c       what is reported to whom
 * ngx_smtp_report.c       a report as it is sent
 *
 * A relay is made once per worker and lives as long.  Configuration structures
 * are the caller's and live as long as the cycle.
 */


#ifndef _NGX_SMTP_RELAY_H_INCLUDED_
#define _NGX_SMTP_RELAY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_envelope.h"
#include "ngx_smtp_store.h"


/* tls of a queue; the same values as NGX_SMTP_CLIENT_TLS_* */
#define NGX_SMTP_RELAY_TLS_OFF            0
#define NGX_SMTP_RELAY_TLS_OPPORTUNISTIC  1
#define NGX_SMTP_RELAY_TLS_REQUIRE        2

/* defaults; times in ms */
#define NGX_SMTP_RELAY_CONNECT_TIMEOUT    30000
#define NGX_SMTP_RELAY_COMMAND_TIMEOUT    300000  /* greeting, replies */
#define NGX_SMTP_RELAY_SEND_TIMEOUT       180000
#define NGX_SMTP_RELAY_DATA_TIMEOUT       600000  /* the end of data */
#define NGX_SMTP_RELAY_IDLE_TIMEOUT       5000
#define NGX_SMTP_RELAY_MAX_CONNECTIONS    20
#define NGX_SMTP_RELAY_MAX_MESSAGES       1000
#define NGX_SMTP_RELAY_MAX_RCPTS          100
#define NGX_SMTP_RELAY_BOUNCE_SIZE        51200


typedef struct ngx_smtp_relay_s       ngx_smtp_relay_t;
typedef struct ngx_smtp_queue_conf_s  ngx_smtp_queue_conf_t;


/* an smtp_queue{} block; all set by the module, defaults as above */
struct ngx_smtp_queue_conf_s {
    ngx_str_t                        name;
    ngx_smtp_store_conf_t           *store;
    ngx_str_t                        hostname;    /* for EHLO and reports */

    ngx_str_t                        next_hop;    /* as written, for logs */
    ngx_stream_upstream_srv_conf_t  *upstream;    /* host:port: implicit one */
    ngx_str_t                        tls_name;    /* SNI; empty: none */
    ngx_addr_t                      *local;       /* source, or NULL */

    ngx_uint_t                       tls;         /* NGX_SMTP_RELAY_TLS_* */
    ngx_ssl_t                       *ssl;         /* NULL only with off */

    ngx_array_t                      retry;       /* of time_t, s; >= 1 */
    time_t                           expire;      /* s */
    time_t                           delay_warning;   /* s; 0: none */
    ngx_smtp_queue_conf_t           *report_queue;    /* NULL: itself */
    ngx_str_t                        postmaster;  /* gets double bounces;
                                                     empty: are dropped */

    ngx_msec_t                       connect_timeout;
    ngx_msec_t                       command_timeout;
    ngx_msec_t                       send_timeout;
    ngx_msec_t                       data_timeout;
    ngx_msec_t                       idle_timeout;

    ngx_uint_t                       max_connections; /* of each worker */
    ngx_uint_t                       connection_messages; /* of each */
    ngx_uint_t                       max_rcpts;       /* of a transaction */
    off_t                            bounce_size;     /* messages up to it are
                                                         returned whole with
                                                         RET=FULL */
    void                            *logs;        /* the module's, or NULL */

    /* above them new mail is refused; 0: no limit */
    ngx_uint_t                       max_messages;
    off_t                            max_size;    /* of all of them */

    /* of this worker, at run time */
    ngx_smtp_usage_t                *usage;       /* NULL: nobody counts */
    ngx_uint_t                       accepting;   /* messages on their way to
                                                     the store */
    off_t                            accepting_size;
    time_t                           full_at;     /* told last, s */
};


/* outcome of an attempt, for the log */
#define NGX_SMTP_ATTEMPT_DELIVERED  1   /* all recipients */
#define NGX_SMTP_ATTEMPT_PARTIAL    2   /* some */
#define NGX_SMTP_ATTEMPT_DEFERRED   3   /* none now, some later */
#define NGX_SMTP_ATTEMPT_FAILED     4   /* none, for good */
#define NGX_SMTP_ATTEMPT_EXPIRED    5   /* none, given up */

/*
 * One delivery attempt, for smtp_log: valid during the call only.  results[i]
 * is the result of recipient results[i].rcpt of the envelope; of a report
 * there is one result, rcpt 0, envelope being the report's own.
 */
typedef struct {
    ngx_smtp_queue_conf_t           *queue;
    ngx_str_t                        queue_id;
    ngx_uint_t                       report;      /* NGX_SMTP_REPORT_*, or 0:
                                                     the message itself */
    ngx_smtp_envelope_t             *envelope;
    ngx_smtp_result_t               *results;
    ngx_uint_t                       nresults;
    ngx_uint_t                       outcome;     /* NGX_SMTP_ATTEMPT_* */
    ngx_uint_t                       code;        /* of the reply that decided;
                                                     0: none came */
    ngx_str_t                        reply;       /* its text; no CR, LF */
    ngx_str_t                        next_hop;    /* as configured */
    ngx_str_t                        peer;        /* "192.0.2.1:25"; empty: no
                                                     connection was made */
    ngx_str_t                        tls_protocol;    /* empty: no TLS */
    ngx_str_t                        tls_cipher;
    off_t                            size;        /* of the message */
    ngx_uint_t                       attempts;    /* this one included */
    time_t                           received;    /* s */
    time_t                           due;         /* the next; 0: none */
    ngx_msec_t                       duration;    /* of this attempt, ms */
} ngx_smtp_attempt_t;

typedef void (*ngx_smtp_attempt_pt)(void *data, ngx_smtp_attempt_t *a);


typedef struct {
    ngx_array_t                      queues;      /* ngx_smtp_queue_conf_t * */
    void                           **main_conf;   /* of stream{} */
    void                           **srv_conf;    /* of stream{}, not NULL */
    ngx_smtp_attempt_pt              log_handler; /* may be NULL */
    void                            *log_data;
} ngx_smtp_relay_conf_t;


/*
 * init_process, before the stores are started: a relay of this worker.  conf
 * stays the caller's.  Calls ngx_smtp_peer_init_worker().  NULL: no memory.
 */
ngx_smtp_relay_t *ngx_smtp_relay_start(ngx_smtp_relay_conf_t *conf,
    ngx_log_t *log);

/*
 * Makes the relay the upper layer of a store: sets sc->handlers and sc->data.
 * Before ngx_smtp_store_start(sc), once for each store conf that the queues
 * name.  NGX_OK, NGX_ERROR (no memory).
 */
ngx_int_t ngx_smtp_relay_bind(ngx_smtp_relay_t *relay,
    ngx_smtp_store_conf_t *sc);

/*
 * The watcher saw that this worker leaves (NGINX-NOTES P26), before
 * ngx_smtp_store_leave(): attempts of which no octet of the end of data was
 * given to the kernel are dropped, idle connections closed.  Nothing new is
 * started for five seconds; what the stores still hold then is served on.
 */
void ngx_smtp_relay_leave(ngx_smtp_relay_t *relay);

/*
 * exit_process, before ngx_smtp_store_stop(): closes connections and readers.
 * Messages that are outstanding stay marked so, for the store to write it.
 */
void ngx_smtp_relay_stop(ngx_smtp_relay_t *relay);


#endif /* _NGX_SMTP_RELAY_H_INCLUDED_ */
