
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The worker bus: every worker listens on a socket of its own in
 * <spool>/run, named <pid>-<random>; who wants to know something asks all of
 * them at once.  So workers of older generations and other masters on the same
 * spool answer as well, and no process has to know of another.
 *
 * A request is one packet, an answer as many as it needs (SOCK_SEQPACKET; the
 * format is in ngx_smtp_bus_codec.h).  Everything is bounded in size and time:
 * who has not answered within the time asked for is named and left.
 *
 * A bus is malloc'ed, a call belongs to the bus, an ask lives in its caller's
 * pool and must be ended or cancelled before that pool goes.
 */


#ifndef _NGX_SMTP_BUS_H_INCLUDED_
#define _NGX_SMTP_BUS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_thread_pool.h>

#include "ngx_smtp_bus_codec.h"
#include "ngx_smtp_bus_dead.h"


#define NGX_SMTP_BUS_TIMEOUT    200     /* ms, for an answer */
#define NGX_SMTP_BUS_CALLS      64      /* at a time in a worker */
#define NGX_SMTP_BUS_WORKERS    512     /* asked at a time */


typedef struct ngx_smtp_bus_s         ngx_smtp_bus_t;
typedef struct ngx_smtp_bus_call_s    ngx_smtp_bus_call_t;
typedef struct ngx_smtp_bus_ask_s     ngx_smtp_bus_ask_t;
typedef struct ngx_smtp_bus_worker_s  ngx_smtp_bus_worker_t;


/* -- the side that answers ----------------------------------------------- */

/*
 * A request came in; the payload is valid during the call only.  The handler
 * answers at once or later, with exactly one ngx_smtp_bus_answer().
 */
typedef void (*ngx_smtp_bus_request_pt)(void *data, ngx_smtp_bus_call_t *call,
    ngx_str_t *request);

struct ngx_smtp_bus_call_s {
    ngx_queue_t             link;       /* in bus->calls */
    ngx_smtp_bus_t         *bus;
    ngx_connection_t       *connection;
    uint32_t                id;
    u_char                 *answer;     /* malloc'ed, when there is one */
    size_t                  size;
    size_t                  sent;

    /* the handler's: who asked is gone, do not answer.  May be NULL. */
    void                  (*gone)(void *data);
    void                   *data;
    unsigned                asked:1;
    unsigned                answered:1;
};

/*
 * Starts to listen in the folder run of the spool (path absolute, NUL-
 * terminated).  Never fails for a fault of the disk: it tries again every
 * second.  NULL: no memory.
 */
ngx_smtp_bus_t *ngx_smtp_bus_start(ngx_str_t *path,
    ngx_smtp_bus_request_pt handler, void *data, ngx_log_t *log);

/* exit_process: calls gone() of what is not answered, removes the socket. */
void ngx_smtp_bus_stop(ngx_smtp_bus_t *bus);

/*
 * The answer, copied: at most NGX_SMTP_BUS_ANSWER_MAX.  The call must not be
 * touched after it.
 */
void ngx_smtp_bus_answer(ngx_smtp_bus_call_t *call, ngx_str_t *answer);


/* -- the side that asks -------------------------------------------------- */

#define NGX_SMTP_BUS_WAITING    0
#define NGX_SMTP_BUS_ANSWERED   1
#define NGX_SMTP_BUS_SILENT     2       /* in time */
#define NGX_SMTP_BUS_FAILED     3       /* broke off, or speaks otherwise */

struct ngx_smtp_bus_worker_s {
    ngx_smtp_bus_ask_t     *ask;
    ngx_connection_t       *connection;
    ngx_uint_t              state;      /* NGX_SMTP_BUS_* */
    ngx_str_t               name;       /* "<pid>-<random>" */
    ngx_str_t               answer;     /* malloc'ed until the ask ends */
    size_t                  room;
};

struct ngx_smtp_bus_ask_s {
    ngx_pool_t             *pool;       /* the caller's */
    ngx_log_t              *log;
    ngx_array_t             workers;    /* of ngx_smtp_bus_worker_t * */
    ngx_uint_t              waiting;    /* for so many, and for the slice */
    ngx_event_t             event;      /* time-out, or nobody to wait for */
    ngx_event_t             slice;      /* there are more names in run/ */
    void                   *dummy[4];
    ngx_str_t               packet;
    ngx_str_t              *paths;
    ngx_uint_t              npaths;
    ngx_uint_t              path;       /* the one that is read */
    DIR                    *dir;
    ngx_smtp_bus_dead_t    *dead;       /* NULL: none was found */
    ngx_thread_pool_t      *threads;    /* the caller's, to remove the dead */

    /* all have answered, or their time is over; called once, never from
       within ngx_smtp_bus_ask() */
    void                  (*handler)(ngx_smtp_bus_ask_t *ask);
    void                   *data;
    unsigned                partial:1;  /* not every folder was read */
};

/*
 * Asks all workers of these spools (paths as above, valid until the ask ends)
 * the same.  Sets up *ask, zeroed but for handler, data and threads.  NGX_OK;
 * NGX_ERROR: no memory, or the request is too long; nothing is called then.
 */
ngx_int_t ngx_smtp_bus_ask(ngx_smtp_bus_ask_t *ask, ngx_str_t *paths,
    ngx_uint_t npaths, ngx_str_t *request, ngx_msec_t timeout,
    ngx_pool_t *pool, ngx_log_t *log);

/*
 * Closes what is open and frees the answers; at any moment, also twice; must
 * also be called from or after the handler.
 */
void ngx_smtp_bus_ask_end(ngx_smtp_bus_ask_t *ask);


#endif /* _NGX_SMTP_BUS_H_INCLUDED_ */
