
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the files of a relay share.
 *
 *   relay   one per worker
 *   route   one per smtp_queue: what is due, the site's health, connections;
 *           and one for a queue and each next hop that an operator named
 *   conn    one connection of a route, with the dialogue on it
 *   delivery   one attempt for a message or a report; bound to a conn unless
 *              it only reads, or gives an expired message up
 *
 * A message has at most one delivery at a time, for itself or for one of its
 * reports: m->busy, and m->data points to it.
 */


#ifndef _NGX_SMTP_RELAY_PRIVATE_H_INCLUDED_
#define _NGX_SMTP_RELAY_PRIVATE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_client.h"
#include "ngx_smtp_data.h"
#include "ngx_smtp_due.h"
#include "ngx_smtp_header.h"
#include "ngx_smtp_schedule.h"
#include "ngx_smtp_site.h"
#include "ngx_smtp_store.h"
#include "ngx_smtp_talk.h"
#include "ngx_smtp_relay.h"


/* what a node of a schedule is: kept in node->data */
#define NGX_SMTP_DUE_MESSAGE     0
#define NGX_SMTP_DUE_REPORT      1

/* a leaving worker starts nothing for so long, ms */
#define NGX_SMTP_RELAY_LEAVE     5000

/* a message that cannot be read or recorded now waits so long, s */
#define NGX_SMTP_RELAY_PAUSE     5
#define NGX_SMTP_RELAY_UNREADABLE  60

/* a limit that a peer gave away as it left is kept so long, s */
#define NGX_SMTP_RELAY_LIMITED   86400


typedef struct ngx_smtp_route_s     ngx_smtp_route_t;
typedef struct ngx_smtp_conn_s      ngx_smtp_conn_t;
typedef struct ngx_smtp_delivery_s  ngx_smtp_delivery_t;


struct ngx_smtp_relay_s {
    ngx_smtp_relay_conf_t    *conf;
    ngx_pool_t               *pool;
    ngx_log_t                *log;

    ngx_smtp_route_t         *routes;
    ngx_uint_t                nroutes;
    ngx_queue_t               via;        /* routes to other next hops */
    ngx_uint_t                nvia;

    ngx_event_t               timer;      /* the only one of all messages */
    ngx_event_t               wake;       /* posted: look what is due */
    void                     *dummy[4];   /* a connection, for debug logs */

    ngx_queue_t               conns;
    ngx_queue_t               deliveries;

    int64_t                   epoch;      /* wall clock less
                                             ngx_current_msec, ms; a jump of
                                             the clock does not change it */
    int64_t                   behind;     /* the most by which the wall clock
                                             was ever behind it, ms, <= 0 */

    ngx_msec_t                quiet;      /* leaving: nothing new until then */
    unsigned                  leaving:1;
    unsigned                  stopped:1;
};


struct ngx_smtp_route_s {
    ngx_smtp_relay_t         *relay;
    ngx_smtp_queue_conf_t    *conf;
    ngx_smtp_route_t         *reports;    /* where its reports go */
    ngx_smtp_route_t         *base;       /* to another next hop: of the queue;
                                             conf is a copy then */
    ngx_queue_t               link;       /* in relay->via */
    ngx_addr_t               *address;    /* NULL: conf->upstream */
    ngx_smtp_schedule_t       schedule;
    ngx_smtp_due_t            due;
    ngx_smtp_site_conf_t      site_conf;
    ngx_smtp_site_t           site;
    ngx_queue_t               idle;       /* of ngx_smtp_conn_t */
    ngx_pool_t               *pool;       /* with a base only: its own */
    ngx_uint_t                messages;   /* whose home it is */
    ngx_uint_t                expiring;   /* deliveries that only give up, or
                                             tell of a delay */
    ngx_uint_t                looks;      /* ngx_smtp_route_expire() ... */
    time_t                    patrol;     /* ... in this second */
    ngx_uint_t                limit;      /* of recipients, which a peer gave
                                             away as it left; 0: none */
    time_t                    limited;    /* when, by relay_seconds() */
    unsigned                  used:1;     /* see ngx_smtp_relay_via.c */
};


struct ngx_smtp_conn_s {
    ngx_queue_t               link;       /* in relay->conns */
    ngx_queue_t               idle_link;
    ngx_smtp_relay_t         *relay;
    ngx_smtp_route_t         *route;
    ngx_smtp_talk_t           talk;       /* of peer and client */
    ngx_smtp_peer_t          *peer;       /* the conn lives in its pool */
    ngx_smtp_delivery_t      *delivery;
    ngx_stream_session_t     *eval;
    ngx_smtp_site_slot_t      slot;
    ngx_str_t                 name;       /* "host[192.0.2.1]:25" */
    ngx_str_t                 tls_failed; /* no_tls: the server, of its peer */
    unsigned                  connecting:1;   /* or connected */
    unsigned                  ready:1;    /* a message may be sent */
    unsigned                  idle:1;
    unsigned                  reused:1;   /* had an earlier message, and no
                                             reply to this one yet */
    unsigned                  body:1;     /* the delivery writes */
    unsigned                  no_tls:1;   /* it failed: in clear this time */
    unsigned                  quitting:1;
    unsigned                  hung_up:1;  /* the peer closed it, in silence */
    ngx_smtp_client_t         client;
};


struct ngx_smtp_delivery_s {
    ngx_queue_t               link;       /* in relay->deliveries */
    ngx_pool_t               *pool;
    ngx_smtp_relay_t         *relay;
    ngx_smtp_route_t         *route;
    ngx_smtp_route_t         *home;       /* of the message: not a report's */
    ngx_smtp_conn_t          *conn;
    ngx_smtp_message_t       *message;
    ngx_smtp_report_t        *report;     /* NULL: the message itself */
    ngx_smtp_reader_t        *reader;
    ngx_smtp_envelope_t      *envelope;   /* of what is sent */
    ngx_smtp_client_tx_t      tx;

    ngx_uint_t               *todo;       /* recipients to be tried */
    ngx_uint_t                ntodo;
    ngx_uint_t                first;      /* todo of this transaction: first */
    ngx_uint_t                last;       /* .. up to before last */
    ngx_smtp_result_t        *results;    /* of this transaction */
    ngx_uint_t                nresults;
    u_char                   *surplus;    /* by result: it was one recipient
                                             too many */
    ngx_uint_t                limit;      /* of recipients; 0: not known */
    ngx_smtp_result_t        *delayed;    /* by recipient, status 0: none; NULL
                                             while no delay is to be told */
    ngx_str_t                 delayed_by; /* who gave the last of them */

    ngx_smtp_data_encoder_t   encoder;
    ngx_uint_t                part;       /* NGX_SMTP_PART_* */
    ngx_str_t                 top;        /* of a report */
    ngx_str_t                 tail;
    ngx_smtp_header_t        *header;     /* of a report: its scanner */

    ngx_msec_t                started;
    time_t                    due;        /* earliest of its deferrals, or 0 */
    time_t                    until;      /* end of data: when we give up */
    ngx_str_t                 queue_id;
    u_char                    id[NGX_SMTP_QUEUE_ID_LEN];
    unsigned                  ready:1;    /* envelope read */
    unsigned                  reading:1;  /* a reader handler is to come */
    unsigned                  ignore:1;   /* verdicts: it starts again */
    unsigned                  again:1;    /* it did so once */
    unsigned                  expire:1;   /* only gives up */
    unsigned                  warn:1;     /* only tells of a delay */
    unsigned                  wish:1;     /* only grants m->wish */
    unsigned                  full:1;     /* report with the whole original */
    unsigned                  outstanding:1;
    unsigned                  unknown:1;  /* end of data without answer */
    unsigned                  progress:1; /* some recipient became final */
    unsigned                  counted:1;  /* in m->attempts */
    unsigned                  begun:1;    /* slices were taken: rewind */
    unsigned                  broken:1;   /* the message cannot be read */
    unsigned                  utf8:1;     /* it cannot go without SMTPUTF8 */
};


/* parts of what is sent */
#define NGX_SMTP_PART_TOP        0
#define NGX_SMTP_PART_CONTENT    1
#define NGX_SMTP_PART_TAIL       2
#define NGX_SMTP_PART_END        3


/* the upper layer of one store: its data */
typedef struct {
    ngx_smtp_relay_t         *relay;
    ngx_smtp_route_t        **routes;     /* by the store's queue index */
    ngx_uint_t                nroutes;
} ngx_smtp_relay_store_t;


/* -- ngx_smtp_relay.c ---------------------------------------------------- */

void ngx_smtp_route_init(ngx_smtp_route_t *route, ngx_smtp_relay_t *relay,
    ngx_smtp_queue_conf_t *conf);

/* Looks soon what is due, after the events at hand. */
void ngx_smtp_relay_wake(ngx_smtp_relay_t *relay);

/* Something may be started now. */
ngx_uint_t ngx_smtp_relay_active(ngx_smtp_relay_t *relay);

/* Seconds of a clock that does not jump. */
#define ngx_smtp_relay_seconds()  ((time_t) (ngx_current_msec / 1000))

/*
 * The same as wall clock: what it would be had it not jumped since the relay
 * was started.  The keys of schedules are of this clock.
 */
#define ngx_smtp_relay_steady(relay)                                          \
    ((time_t) (((relay)->epoch + (int64_t) ngx_current_msec) / 1000))

/*
 * The now that ages are counted to: by the clock that was furthest behind when
 * a message may have been received, so that none gets older by a jump in
 * either direction.  Those that seem to come from the future have waited for
 * as long as their retry intervals add up to (ngx_smtp_schedule.h).
 */
#define ngx_smtp_relay_age_now(relay)                                         \
    ngx_min(ngx_time(),                                                       \
            ngx_smtp_relay_steady(relay) + (time_t) ((relay)->behind / 1000))


/* -- ngx_smtp_relay_route.c ----------------------------------------------- */

/* Puts a message or report into its schedule (not: on hold, unknown queue). */
void ngx_smtp_route_insert(ngx_smtp_relay_t *relay, ngx_smtp_message_t *m,
    time_t due);
void ngx_smtp_route_insert_report(ngx_smtp_relay_t *relay,
    ngx_smtp_report_t *r, time_t due);

/*
 * An attempt for m or one of its reports is over: what was due meanwhile and
 * had to wait is due now, before the next attempt for the same.
 */
void ngx_smtp_route_postponed(ngx_smtp_message_t *m);

/* Takes a message and its reports out of their schedules. */
void ngx_smtp_route_remove(ngx_smtp_relay_t *relay, ngx_smtp_message_t *m);

/* the timer looks at the wall clock at least so often, s */
#define NGX_SMTP_RELAY_LOOK      60

/*
 * Starts what is due and may begin.  Returns in how many seconds to look
 * again; 0: after the events at hand.
 */
time_t ngx_smtp_route_run(ngx_smtp_route_t *route);

/*
 * The next thing due on this route as a delivery, its reader opened; NULL:
 * nothing.
 */
ngx_smtp_delivery_t *ngx_smtp_route_next(ngx_smtp_route_t *route);


/* -- ngx_smtp_relay_home.c ----------------------------------------------- */

/* The route of its queue, also while it is busy; NULL: an unknown queue. */
ngx_smtp_route_t *ngx_smtp_route_home(ngx_smtp_message_t *m);

/* From now on its home is route; NULL: none. */
void ngx_smtp_route_join(ngx_smtp_route_t *route, ngx_smtp_message_t *m);

/* ngx_smtp_store_done() of a message that is not busy. */
ngx_int_t ngx_smtp_route_done(ngx_smtp_message_t *m, time_t now);


/* -- ngx_smtp_relay_via.c ------------------------------------------------ */

/*
 * The route of a queue, or to another next hop from it unless hop is empty.
 * NULL: no such queue in this store, a next hop that is not known, max of them
 * are there already, no memory.  Not from within a run of the relay.  A route
 * to another next hop lives until the next call, longer if a message joins it.
 */
ngx_smtp_route_t *ngx_smtp_route_find(ngx_smtp_relay_store_t *rs,
    ngx_str_t *queue, ngx_str_t *hop, ngx_uint_t max);

/*
 * max: what operators may give to the mail of a worker; and with what it takes
 * over, that others had: a message without a route would wait for ever
 */
#define NGX_SMTP_ROUTE_GIVEN     256
#define NGX_SMTP_ROUTE_FOUND     NGX_SMTP_DESTINATIONS


/* -- ngx_smtp_relay_conn.c ----------------------------------------------- */

/* A connection for a delivery; NULL: no memory, the delivery is not bound. */
ngx_smtp_conn_t *ngx_smtp_conn_open(ngx_smtp_route_t *route,
    ngx_smtp_delivery_t *d);

/* Gives an idle connection its next delivery. */
void ngx_smtp_conn_use(ngx_smtp_conn_t *conn, ngx_smtp_delivery_t *d);

/* The envelope of its delivery is there. */
void ngx_smtp_conn_go(ngx_smtp_conn_t *conn);

/* The delivery's next slice is there. */
void ngx_smtp_conn_resume(ngx_smtp_conn_t *conn);

/*
 * The delivery is gone (dropped, unreadable): a connection that has begun with
 * it is closed, another one is idle.
 */
void ngx_smtp_conn_detach(ngx_smtp_conn_t *conn);

/* Closes at once; quit: says QUIT, but waits for no answer. */
void ngx_smtp_conn_close(ngx_smtp_conn_t *conn, ngx_uint_t quit);


/* -- ngx_smtp_delivery.c ------------------------------------------------- */

/*
 * An attempt for m, or for its report r; the caller has taken it out of the
 * schedule.  NULL: it could not be begun, and is scheduled again.
 */
#define NGX_SMTP_DELIVERY_TRY     0
#define NGX_SMTP_DELIVERY_EXPIRE  1     /* it is given up without a try */
#define NGX_SMTP_DELIVERY_WARN    2     /* its sender is told of the delay */
#define NGX_SMTP_DELIVERY_WISH    3     /* m->wish is granted */

ngx_smtp_delivery_t *ngx_smtp_delivery_start(ngx_smtp_route_t *route,
    ngx_smtp_message_t *m, ngx_smtp_report_t *r, ngx_uint_t what);

/*
 * Prepares the next transaction: d->tx is for ngx_smtp_client_mail().
 * NGX_ERROR: no memory, or nothing may be sent for the message now.
 */
ngx_int_t ngx_smtp_delivery_mail(ngx_smtp_delivery_t *d);

/*
 * The transaction is over, its verdicts are in.  NGX_AGAIN: there are more
 * recipients, call ngx_smtp_delivery_mail(); NGX_DONE: the attempt is over and
 * d is freed.  lost: no further transaction is possible.
 */
ngx_int_t ngx_smtp_delivery_done(ngx_smtp_delivery_t *d, ngx_uint_t lost);

/* There was no session: all recipients are deferred.  Frees d. */
void ngx_smtp_delivery_failed(ngx_smtp_delivery_t *d, ngx_smtp_verdict_t *v);

/*
 * Ends an attempt without a trace: nothing was sent that counts.  The message
 * is scheduled again for due, unless due is -1.  The connection is the
 * caller's affair.
 */
void ngx_smtp_delivery_drop(ngx_smtp_delivery_t *d, time_t due);


/* -- ngx_smtp_delivery_body.c -------------------------------------------- */

/*
 * The peer wants the body, or takes more of it.  NGX_OK: all of it, with the
 * end of data, was handed to the peer; NGX_AGAIN: goes on with SENT, or with
 * ngx_smtp_conn_resume(); NGX_ERROR: it cannot be sent (the end of data was
 * not); NGX_ABORT: the connection is broken.
 */
ngx_int_t ngx_smtp_delivery_body(ngx_smtp_delivery_t *d);


/* -- ngx_smtp_delivery_result.c ------------------------------------------ */

/* Adds a verdict about a recipient (a place in the envelope) to d->results. */
void ngx_smtp_delivery_result(ngx_smtp_delivery_t *d, ngx_uint_t rcpt,
    ngx_smtp_verdict_t *v);

/*
 * The transaction is over.  Recipients that were too many for it come with the
 * next one, unless this one has delivered nothing; lost: it was cut off.
 */
void ngx_smtp_delivery_put_back(ngx_smtp_delivery_t *d, ngx_uint_t lost);

/*
 * Makes the results of a transaction last: they are decided, logged, recorded,
 * and reported if they ask for it.
 */
void ngx_smtp_delivery_record(ngx_smtp_delivery_t *d);

/* Writes the line in smtp_log for the results at hand. */
void ngx_smtp_delivery_log(ngx_smtp_delivery_t *d, time_t due,
    ngx_uint_t attempts);


/* -- ngx_smtp_control_act.c ---------------------------------------------- */

/*
 * Carries out what is wanted of a message (NGX_SMTP_CONTROL_FLUSH ...);
 * returns NGX_SMTP_CONTROL_DONE ...  The message may be gone after it, the
 * envelope is the caller's (NULL only where it is not needed).  to: where to,
 * of MOVE and NEXT_HOP.
 */
ngx_uint_t ngx_smtp_control_act(ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m, ngx_uint_t op, ngx_str_t *to,
    ngx_smtp_envelope_t *envelope);

/*
 * An attempt for a message with m->wish is over: grants it.  1: the message is
 * gone, or in the schedule with what is left of it; 0: it goes on, and if
 * m->wish is still set, it could not be granted now: with an attempt that only
 * does that.  envelope: NULL if it was not read.
 */
ngx_uint_t ngx_smtp_control_wish(ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m, ngx_smtp_envelope_t *envelope);



/* -- ngx_smtp_bounce.c --------------------------------------------------- */

/* Makes the reports that the results of a message ask for, and schedules. */
void ngx_smtp_bounce_results(ngx_smtp_delivery_t *d,
    ngx_smtp_result_t *results, ngx_uint_t n, ngx_str_t *peer);

/* Is a delay of this message to be told now?  1 or 0. */
ngx_uint_t ngx_smtp_bounce_delay_due(ngx_smtp_route_t *route,
    ngx_smtp_message_t *m);

/* Keeps the deferred ones of d->results for ngx_smtp_bounce_delay(). */
void ngx_smtp_bounce_deferred(ngx_smtp_delivery_t *d, ngx_str_t *peer);

/*
 * The attempt is over: makes the report on a delay if it is due and wanted.
 * Recipients without result of this attempt get text as their reason.
 */
void ngx_smtp_bounce_delay(ngx_smtp_delivery_t *d, const char *text);

/*
 * d->report could not be delivered, d->results tell why.  NGX_OK: it goes to
 * the postmaster now; NGX_DECLINED: it is to be dropped.
 */
ngx_int_t ngx_smtp_bounce_double(ngx_smtp_delivery_t *d, ngx_str_t *peer,
    time_t now);

/*
 * Is it a report on a delay that is over, or to a postmaster who is not
 * configured any more?  Its message must not be busy.  1 or 0.
 */
ngx_uint_t ngx_smtp_bounce_moot(ngx_smtp_report_t *r);


/* -- ngx_smtp_report.c --------------------------------------------------- */

/*
 * The envelope and the text of d->report, from the reader's envelope, a look
 * at the original, and the results.  Sets d->envelope, d->top, d->tail,
 * d->full, d->header.  NGX_OK; NGX_AGAIN: d->reading is set, call it again
 * when the reader calls; NGX_ERROR.
 */
ngx_int_t ngx_smtp_report_build(ngx_smtp_delivery_t *d);

/* the most of a header section that is returned; bounce_size 0: no body */
#define ngx_smtp_report_limit(qcf)                                            \
    ((qcf)->bounce_size ? (qcf)->bounce_size : NGX_SMTP_RELAY_BOUNCE_SIZE)

/*
 * Of a slice of the original, what belongs into the report: all of it, or only
 * the header section.  NGX_OK; NGX_DONE: this slice is the last.
 */
ngx_int_t ngx_smtp_report_slice(ngx_smtp_delivery_t *d, ngx_str_t *slice);


#endif /* _NGX_SMTP_RELAY_PRIVATE_H_INCLUDED_ */
