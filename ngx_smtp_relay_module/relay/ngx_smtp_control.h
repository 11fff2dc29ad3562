
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Looking at queued mail and changing its fate, by requests over the worker
 * bus.  Each worker carries out its part: what it owns, in slices of the event
 * loop, for a bounded time; who asks puts the parts together and goes on from
 * where they stopped.
 *
 * ngx_smtp_control.c           requests being carried out
 * ngx_smtp_control_request.c   what a request is: query string, packet (pure)
 * ngx_smtp_control_filter.c    which messages it is about
 * ngx_smtp_control_act.c       what is done to a message
 * ngx_smtp_control_show.c      messages as JSON
 * ngx_smtp_control_history.c   their past
 *
 * docs/control.md has the meaning of everything, docs/architecture.md the
 * tags.
 */


#ifndef _NGX_SMTP_CONTROL_H_INCLUDED_
#define _NGX_SMTP_CONTROL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_bus.h"
#include "ngx_smtp_relay.h"


#define NGX_SMTP_CONTROL_BUDGET     80000   /* us, so that the answer is there
                                               within 100 ms */
#define NGX_SMTP_CONTROL_SLICE      2000    /* us, of the event loop */
#define NGX_SMTP_CONTROL_LIMIT      100     /* messages of a page */
#define NGX_SMTP_CONTROL_LIMIT_MAX  1000
#define NGX_SMTP_CONTROL_VALUE_MAX  1024    /* bytes of a filter */

/* what is asked for */
#define NGX_SMTP_CONTROL_COUNT      1
#define NGX_SMTP_CONTROL_LIST       2
#define NGX_SMTP_CONTROL_SHOW       3
#define NGX_SMTP_CONTROL_FLUSH      4
#define NGX_SMTP_CONTROL_HOLD       5
#define NGX_SMTP_CONTROL_RELEASE    6
#define NGX_SMTP_CONTROL_REQUEUE    7
#define NGX_SMTP_CONTROL_BOUNCE     8
#define NGX_SMTP_CONTROL_DELETE     9
#define NGX_SMTP_CONTROL_MOVE       10  /* to another queue */
#define NGX_SMTP_CONTROL_NEXT_HOP   11
#define NGX_SMTP_CONTROL_OPS        12

/* states of a message */
#define NGX_SMTP_CONTROL_ANY        0
#define NGX_SMTP_CONTROL_BUSY       1   /* in an attempt */
#define NGX_SMTP_CONTROL_HELD       2
#define NGX_SMTP_CONTROL_UNKNOWN    3   /* its queue is not configured */
#define NGX_SMTP_CONTROL_REPORT     4   /* only reports are left */
#define NGX_SMTP_CONTROL_DUE        5
#define NGX_SMTP_CONTROL_DEFERRED   6
#define NGX_SMTP_CONTROL_STATES     7

/* what an action did to a message; also the order of a tally */
#define NGX_SMTP_CONTROL_DONE       0
#define NGX_SMTP_CONTROL_PENDING    1   /* applies when the attempt is over */
#define NGX_SMTP_CONTROL_UNCHANGED  2   /* nothing was to be done */
#define NGX_SMTP_CONTROL_REFUSED    3   /* impossible for it */
#define NGX_SMTP_CONTROL_AGAIN      4   /* not possible now */
#define NGX_SMTP_CONTROL_RESULTS    5

/* tags of a request */
#define NGX_SMTP_CONTROL_TAG_OP         1
#define NGX_SMTP_CONTROL_TAG_ID         2
#define NGX_SMTP_CONTROL_TAG_AFTER      3
#define NGX_SMTP_CONTROL_TAG_LIMIT      4
#define NGX_SMTP_CONTROL_TAG_STATE      5
#define NGX_SMTP_CONTROL_TAG_OLDER      6
#define NGX_SMTP_CONTROL_TAG_YOUNGER    7
#define NGX_SMTP_CONTROL_TAG_QUEUE      8
#define NGX_SMTP_CONTROL_TAG_SENDER     9
#define NGX_SMTP_CONTROL_TAG_RECIPIENT  10
#define NGX_SMTP_CONTROL_TAG_DOMAIN     11
#define NGX_SMTP_CONTROL_TAG_ERROR      12
#define NGX_SMTP_CONTROL_TAG_TO         13

/* tags of an answer */
#define NGX_SMTP_CONTROL_TAG_PID        32
#define NGX_SMTP_CONTROL_TAG_LEAVING    33
#define NGX_SMTP_CONTROL_TAG_ROW        34  /* key(16) and JSON */
#define NGX_SMTP_CONTROL_TAG_POSITION   35  /* key(16): stopped behind it */
#define NGX_SMTP_CONTROL_TAG_QUEUES     36  /* 8 numbers, name: a queue */
#define NGX_SMTP_CONTROL_TAG_TALLY      37  /* 5 numbers: DONE .. AGAIN */
#define NGX_SMTP_CONTROL_TAG_OVERLOAD   38  /* could not be carried out */
#define NGX_SMTP_CONTROL_TAG_OWNED      39  /* the segment of the id is mine */
#define NGX_SMTP_CONTROL_TAG_LEFT       40  /* segments it leaves alone */

/* numbers of NGX_SMTP_CONTROL_TAG_QUEUES: all, then by state */
#define NGX_SMTP_CONTROL_NUMBERS        8


typedef struct {
    ngx_uint_t              op;         /* NGX_SMTP_CONTROL_* */
    ngx_uint_t              state;      /* only these; 0: any */
    ngx_uint_t              limit;      /* of rows */
    time_t                  older;      /* only older than, s; 0: any */
    time_t                  younger;
    ngx_str_t               id;         /* this message */
    ngx_str_t               after;      /* only behind this one */
    ngx_str_t               queue;
    ngx_str_t               sender;     /* "<>": the null one */
    ngx_str_t               recipient;
    ngx_str_t               domain;     /* of sender or recipient */
    ngx_str_t               error;      /* part of the last error's text */
    ngx_str_t               to;         /* MOVE: queue; NEXT_HOP: "-" is that
                                           of the queue */
    unsigned                all:1;      /* no filter is needed */
} ngx_smtp_control_request_t;


extern const char  *ngx_smtp_control_ops[];
extern const char  *ngx_smtp_control_states[];
extern const char  *ngx_smtp_control_results[];


/* -- ngx_smtp_control_request.c ------------------------------------------ */

/*
 * The arguments of a query string, decoded into pool.  request is zeroed but
 * for op and id.  NULL, or what is wrong with them, for the client.
 */
const char *ngx_smtp_control_query(ngx_smtp_control_request_t *request,
    ngx_str_t *args, ngx_pool_t *pool);

/* 1: something narrows it down, be it by id. */
ngx_uint_t ngx_smtp_control_filtered(ngx_smtp_control_request_t *request);

/* As the payload of a bus request, in pool.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_smtp_control_encode(ngx_smtp_control_request_t *request,
    ngx_pool_t *pool, ngx_str_t *out);

/*
 * The reverse; strings point into the payload.  NGX_ERROR: it cannot be
 * carried out, or not as it was meant: a tag of a request is unknown.
 */
ngx_int_t ngx_smtp_control_decode(ngx_smtp_control_request_t *request,
    ngx_str_t *payload);


/* -- ngx_smtp_control.c -------------------------------------------------- */

typedef struct ngx_smtp_control_s  ngx_smtp_control_t;

/*
 * In a worker, once a store of the relay was started: listens for requests
 * about its messages.  NULL: no memory.
 */
ngx_smtp_control_t *ngx_smtp_control_start(ngx_smtp_relay_t *relay,
    ngx_smtp_store_t *store, ngx_str_t *path, ngx_log_t *log);

/* exit_process, before ngx_smtp_relay_stop(). */
void ngx_smtp_control_stop(ngx_smtp_control_t *control);


#endif /* _NGX_SMTP_CONTROL_H_INCLUDED_ */
