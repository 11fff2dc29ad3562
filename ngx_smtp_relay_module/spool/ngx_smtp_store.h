
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The durable store of one spool directory, as one worker sees it: group
 * commit of new messages, the events of a message's life, adoption of segments
 * nobody owns, leaving, reading back.  docs/spool-format.md has bytes and
 * protocol.  Everything here runs on the event loop; what blocks is done in
 * the store's thread pool.
 *
 * The store owns segments and messages.  Upper layers get messages through
 * callbacks, keep their own links in the message, and tell the store what
 * happened to it; the store frees a message when it is done or released.
 */


#ifndef _NGX_SMTP_STORE_H_INCLUDED_
#define _NGX_SMTP_STORE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_thread_pool.h>

#include "ngx_smtp_envelope.h"
#include "ngx_smtp_content.h"
#include "ngx_smtp_usage.h"
#include "ngx_smtp_work.h"


#define NGX_SMTP_QUEUE_ID_LEN   40      /* room for a queue id as text */
#define NGX_SMTP_RESULT_TEXT    512     /* reply text kept of a result */

/* results of a recipient */
#define NGX_SMTP_RESULT_DELIVERED   1   /* final: the peer took it */
#define NGX_SMTP_RESULT_RELAYED     2   /* final: took it, without DSN */
#define NGX_SMTP_RESULT_FAILED      3   /* final: refused for good */
#define NGX_SMTP_RESULT_EXPIRED     4   /* final: gave up */
#define NGX_SMTP_RESULT_DEFERRED    5   /* to be tried again */

/* kinds of reports */
#define NGX_SMTP_REPORT_FAILURE     1
#define NGX_SMTP_REPORT_DELAY       2
#define NGX_SMTP_REPORT_SUCCESS     3
#define NGX_SMTP_REPORT_DOUBLE      4       /* to the postmaster: a failure
                                               report was not deliverable */

/* what an operator wants of a message when its attempt is over */
#define NGX_SMTP_WISH_NONE          0
#define NGX_SMTP_WISH_BOUNCE        1
#define NGX_SMTP_WISH_DELETE        2

/*
 * A destination is the name of a queue; behind a NUL, if there is one, the
 * next hop that a message was given instead of that of its queue.
 */
#define NGX_SMTP_DESTINATION        1024
#define NGX_SMTP_DESTINATIONS       4096    /* of a spool, made by operators */


typedef struct ngx_smtp_store_s    ngx_smtp_store_t;
typedef struct ngx_smtp_segment_s  ngx_smtp_segment_t;
typedef struct ngx_smtp_message_s  ngx_smtp_message_t;
typedef struct ngx_smtp_report_s   ngx_smtp_report_t;
typedef struct ngx_smtp_accept_s   ngx_smtp_accept_t;
typedef struct ngx_smtp_reader_s   ngx_smtp_reader_t;


/* facts stored with a message besides its envelope */
typedef struct {
    ngx_str_t               queue;      /* name of its smtp_queue */
    ngx_str_t               server;     /* name of the accepting server{} */
    ngx_str_t               client;     /* address of the client */
    ngx_str_t               helo;
    ngx_str_t               login;
    ngx_array_t             vars;       /* of ngx_keyval_t: smtp_keep */
    time_t                  received;
} ngx_smtp_meta_t;


typedef struct {
    ngx_uint_t              rcpt;       /* index in the envelope */
    ngx_uint_t              status;     /* NGX_SMTP_RESULT_* */
    ngx_uint_t              code;       /* of the reply; 0: none came */
    ngx_str_t               text;       /* reply text with enhanced code, or
                                           what went wrong; no CR, LF */
} ngx_smtp_result_t;


/* a report (DSN) that is due to the sender of a message */
struct ngx_smtp_report_s {
    ngx_queue_t             link;       /* in message->reports */
    ngx_smtp_message_t     *message;
    void                   *data;       /* the relay's */
    ngx_rbtree_node_t       due;        /* the relay's schedule */
    time_t                  due_at;     /* wall clock, s */
    time_t                  created;
    ngx_str_t               peer;       /* what gave the results */
    ngx_smtp_result_t      *results;    /* one for each recipient in it */
    ngx_uint_t              nresults;
    uint32_t                number;     /* its event's number: Message-ID */
    uint16_t                attempts;
    unsigned                kind:4;     /* NGX_SMTP_REPORT_* */
    unsigned                scheduled:1;    /* the relay's */
    unsigned                postponed:1;    /* the relay's: its message was in
                                               an attempt when it was due */
    unsigned                busy:1;         /* the relay's: in an attempt */
    unsigned                headers:1;      /* the relay's: with the whole
                                               original it was too large */
};


/* the index entry of a live message: 176 bytes for the usual one */
struct ngx_smtp_message_s {
    ngx_queue_t             link;       /* in its segment */
    ngx_smtp_segment_t     *segment;
    void                   *data;       /* the relay's */
    ngx_rbtree_node_t       due;        /* the relay's schedule */
    ngx_queue_t             reports;    /* of ngx_smtp_report_t, pending */
    time_t                  received;
    time_t                  due_at;     /* wall clock, s: next attempt */
    off_t                   offset;     /* of the record in the data file */
    off_t                   size;       /* of fields + content */
    time_t                  until;      /* outstanding: the peer's time-out */
    void                   *fresh;      /* head and content still in memory */
    union {
        uint64_t            word;
        uint8_t            *bitmap;     /* of more than 64 recipients */
    } final;                            /* those with a final result */
    uint32_t                number;     /* in its segment */
    uint32_t                head_size;
    uint32_t                nrcpts;
    uint32_t                npending;   /* recipients without final result */
    uint32_t                nreports;   /* highest report number so far */
    uint16_t                attempts;
    uint16_t                queue;      /* index in conf->queues, or beyond:
                                           another destination */
    uint32_t                error;      /* the last one: of its text, see
                                           ngx_smtp_message_error() */
    unsigned                hold:1;
    unsigned                large:1;    /* content in a file of its own */
    unsigned                scheduled:1;    /* the relay's */
    unsigned                busy:1;         /* the relay's: in an attempt */
    unsigned                outstanding:1;  /* the relay's: an end of data was
                                               sent, its answer is not in */
    unsigned                unknown_queue:1;    /* nobody here delivers it */
    unsigned                postponed:1;    /* the relay's: was due while a
                                               report was in an attempt */
    unsigned                delay_told:1;   /* a delay report was made, for
                                               ever; the relay also sets it
                                               where none is wanted */
    unsigned                wish:2;     /* NGX_SMTP_WISH_*: what an operator
                                           wants when the attempt is over */
    unsigned                known:1;    /* the store's: was handed up */
    unsigned                strikes:2;  /* the store's: workers that died of
                                           it since an attempt came to its
                                           end */
    unsigned                awaited:1;  /* the store's: outstanding since
                                           before the worker left */
    unsigned                unreported:1;   /* the store's: a report of it is
                                               only in the log */
};


/* Are their final results in a bitmap? */
#define ngx_smtp_message_many(m)  ((m)->nrcpts > 64)


/* callbacks into the upper layer; all run on the event loop */
typedef struct {
    /*
     * A message is this worker's: just committed, or adopted with its state.
     * Called before the 250 of a new one is given.  Its reports, if any,
     * hang on it.  Not called for what a leaving worker accepts.
     */
    void                  (*message)(void *data, ngx_smtp_message_t *m);

    /*
     * The worker is leaving and m is about to be released (or dropped with a
     * broken segment): take it and its reports out of the schedule and drop
     * an attempt that has not sent its end of data.  Not called for a message
     * that is outstanding.  After it the message is freed.
     */
    void                  (*forget)(void *data, ngx_smtp_message_t *m);
} ngx_smtp_store_handlers_t;


typedef struct {
    ngx_str_t               path;       /* absolute, NUL-terminated */
    ngx_array_t             queues;     /* of ngx_str_t: names of our queues */
    ngx_thread_pool_t      *pool;       /* commits and all other file work */
    ngx_uint_t              workers;    /* that share the spool; 0: 1 */
    ngx_uint_t              segments;   /* to have open at most before others
                                           are taken over; 0: no limit */
    size_t                  segment_size;   /* rollover, default 64m */
    off_t                   min_free;       /* bytes; below: NGX_BUSY */
    ngx_uint_t              min_inodes;     /* likewise */
    size_t                  memory;     /* budget for fresh messages */
    ngx_smtp_store_handlers_t
                            handlers;
    void                   *data;

    /* set before ngx_smtp_store_start(), or NULL; live as long as the store */
    ngx_smtp_usage_t      **usage;      /* of each queue, then of all names
                                           that are none of ours */
    ngx_atomic_t           *commits;    /* batches that were synced */

    /* what dead workers were at: ngx_smtp_zone_struck() and its like; may be
       NULL, both */
    ngx_uint_t            (*struck)(u_char *id, ngx_smtp_struck_t *struck);
    void                  (*acquit)(u_char *id);

    ngx_smtp_store_t       *store;      /* this worker's, at run time */
} ngx_smtp_store_conf_t;


/*
 * In the master at configuration time, as root or not: checks the directory
 * (0700 or creatable, no symlink, right owner, locks work).  user is the uid
 * that workers will have, (uid_t) -1: unchanged.  On failure a reason that
 * tells what to do is written to err (NGX_MAX_CONF_ERRSTR bytes).
 */
ngx_int_t ngx_smtp_store_check(ngx_str_t *path, uid_t user, gid_t group,
    u_char *err);

/*
 * Once per worker and path.  Never fails for a fault of the disk: that is
 * logged, retried, and new mail refused meanwhile.  NULL: no memory.  conf
 * stays the caller's and lives as long as the store.
 */
ngx_smtp_store_t *ngx_smtp_store_start(ngx_smtp_store_conf_t *conf,
    ngx_log_t *log);

/*
 * The worker is asked to leave (watcher, NGINX-NOTES P26).  The relay has
 * already dropped attempts without end of data.  The store seals and unlocks
 * each segment without outstanding messages at once, others when
 * ngx_smtp_message_outstanding() falls.  Accepts go on: to segments that are
 * sealed and unlocked whenever no commit is in flight.  A timer that is not
 * cancelable is armed until the last segment is unlocked.
 */
void ngx_smtp_store_leave(ngx_smtp_store_t *store);

/*
 * exit_process: writes pending events synchronously, seals what it can, closes
 * and unlocks everything.
 */
void ngx_smtp_store_stop(ngx_smtp_store_t *store);


/* -- accepting ---------------------------------------------------------- */

/*
 * A message to be made durable.  Embedded in the sink's context; envelope,
 * meta and fields must live until the handler was called, content is taken
 * over (the store frees the blocks, also on failure).
 */
struct ngx_smtp_accept_s {
    ngx_queue_t             link;
    ngx_smtp_envelope_t    *envelope;
    ngx_smtp_meta_t        *meta;
    ngx_str_t               fields;     /* added above the content */
    ngx_smtp_content_t     *content;
    void                   *large;      /* from ngx_smtp_large_open, or NULL */

    /*
     * NGX_OK      durable; queue_id is set, the message was handed up
     * NGX_BUSY    no space: 452 4.3.1
     * NGX_ERROR   could not be written: 451 4.3.0; nothing was kept
     */
    void                  (*handler)(ngx_smtp_accept_t *a, ngx_int_t rc);
    void                   *data;

    ngx_str_t               queue_id;   /* points to id */
    u_char                  id[NGX_SMTP_QUEUE_ID_LEN];

    void                   *record;     /* the store's own */
    size_t                  record_size;
};

/*
 * May a message of this size (0: unknown) be accepted now?  For MAIL: NGX_OK,
 * NGX_BUSY (disk below min_free or min_inodes), NGX_ERROR (store not usable).
 */
ngx_int_t ngx_smtp_store_ready(ngx_smtp_store_t *store, off_t size);

/* Queues the message for the next batch; the handler is called later. */
void ngx_smtp_store_accept(ngx_smtp_store_t *store, ngx_smtp_accept_t *a);

/*
 * A content over NGX_SMTP_LARGE bytes goes to a file of its own while it
 * comes in.  open: NULL without memory.  write: takes the blocks; one write
 * at a time; handler(data, rc) when they are on their way to disk (rc NGX_OK,
 * NGX_BUSY for no space, NGX_ERROR).  copy: as write, and before the blocks
 * the first size octets of fd, which stays the caller's and may be closed at
 * once.  The accept that carries it syncs and links the file.  abort: at any
 * moment, also while a write is in flight (its handler is not called then);
 * leaves nothing behind.
 */
#define NGX_SMTP_LARGE  (1024 * 1024)

typedef struct ngx_smtp_large_s  ngx_smtp_large_t;
typedef void (*ngx_smtp_large_pt)(void *data, ngx_int_t rc);

ngx_smtp_large_t *ngx_smtp_large_open(ngx_smtp_store_t *store);
void ngx_smtp_large_write(ngx_smtp_large_t *l, ngx_smtp_block_t *blocks,
    ngx_smtp_large_pt handler, void *data);
void ngx_smtp_large_copy(ngx_smtp_large_t *l, ngx_fd_t fd, off_t size,
    ngx_smtp_block_t *blocks, ngx_smtp_large_pt handler, void *data);
void ngx_smtp_large_abort(ngx_smtp_large_t *l);


/* -- events ------------------------------------------------------------- */

/*
 * Records the results of one attempt: final ones for ever, deferred ones with
 * the time of the next attempt (due, wall clock; 0: none deferred).  peer is
 * text such as "mx.example.org[192.0.2.1]:25".  Counts an attempt, unless more
 * is set: these are further results of the last one.  The strings are copied.
 * A recipient that already has a final result is a bug.
 */
void ngx_smtp_store_results(ngx_smtp_message_t *m, ngx_smtp_result_t *results,
    ngx_uint_t n, ngx_str_t *peer, time_t now, time_t due, ngx_uint_t more);

/*
 * A report about these results is due now.  Returns it, hanging on the
 * message, for the relay to schedule.  NULL without memory: then it is only in
 * the log, the message cannot be ended, and its segment is soon given up and
 * read again, by whoever is first.
 */
ngx_smtp_report_t *ngx_smtp_store_report(ngx_smtp_message_t *m,
    ngx_uint_t kind, ngx_smtp_result_t *results, ngx_uint_t n,
    ngx_str_t *peer, time_t now);

/*
 * A report on a delay: as ngx_smtp_store_report(), and recorded with it that
 * this message had its one (m->delay_told).  NULL without memory, or while
 * the disk is below min_free: then nothing was recorded, and a later attempt
 * may make it.  results are those of recipients that were deferred.
 */
ngx_smtp_report_t *ngx_smtp_store_report_delay(ngx_smtp_message_t *m,
    ngx_smtp_result_t *results, ngx_uint_t n, ngx_str_t *peer, time_t now);

/*
 * A failure report could not be delivered, for good: it becomes, in one
 * record, a report of kind DOUBLE about that, due now, with the same number.
 * Its first result is *failure (rcpt 0, which means the original's sender),
 * those it had follow.  peer is who gave the failure.  NGX_ERROR without
 * memory: nothing has changed.
 */
ngx_int_t ngx_smtp_store_report_double(ngx_smtp_report_t *r,
    ngx_smtp_result_t *failure, ngx_str_t *peer, time_t now);

/* A report's attempt failed for now. */
void ngx_smtp_store_report_deferred(ngx_smtp_report_t *r, time_t now,
    time_t due);

/* The report was delivered, or given up; it is freed. */
void ngx_smtp_store_reported(ngx_smtp_report_t *r, time_t now);

/*
 * All recipients are final and no report is pending: ends the message and
 * frees it.  Returns NGX_OK when it was ended, NGX_DECLINED when something is
 * still pending (nothing happens).
 */
ngx_int_t ngx_smtp_store_done(ngx_smtp_message_t *m, time_t now);

/* Hold (not attempted until released) or release; recorded. */
void ngx_smtp_store_hold(ngx_smtp_message_t *m, ngx_uint_t hold, time_t now);

/*
 * From now on m belongs to this queue, one of conf->queues, and goes to hop
 * instead of the queue's next hop unless that is empty; recorded.  m->queue
 * and m->unknown_queue are set.  NGX_OK; NGX_DECLINED: the queue is not one of
 * conf->queues, or name and hop are longer than NGX_SMTP_DESTINATION;
 * NGX_ERROR: no memory, or too many different ones.
 */
ngx_int_t ngx_smtp_store_move(ngx_smtp_message_t *m, ngx_str_t *queue,
    ngx_str_t *hop, time_t now);

/* Sets m->wish; recorded. */
void ngx_smtp_store_wish(ngx_smtp_message_t *m, ngx_uint_t wish, time_t now);

/*
 * Remembers why m was deferred (its results have been, or will be recorded),
 * and tells it again: NGX_OK with the first NGX_SMTP_ERROR_TEXT bytes, or
 * NGX_DECLINED, text empty: there was none, or it is forgotten.
 */
void ngx_smtp_store_error(ngx_smtp_message_t *m, ngx_str_t *text);
ngx_int_t ngx_smtp_message_error(ngx_smtp_message_t *m, ngx_str_t *text);

/*
 * The relay sets this before the first byte of an end of data goes to the
 * kernel, and clears it after it recorded the result.  until (wall clock):
 * when that peer's time-out ends; written at exit if the answer never came.
 */
void ngx_smtp_message_outstanding(ngx_smtp_message_t *m, ngx_uint_t on,
    time_t until);

/*
 * The event loop works on this message from now on: if the worker dies, it is
 * a suspect.  Until work on another one begins, or an attempt's result is
 * recorded, or rest(): it is not worked on any more.
 */
void ngx_smtp_message_work(ngx_smtp_message_t *m);
void ngx_smtp_message_rest(ngx_smtp_message_t *m);

/*
 * May something be sent for this message now?  NGX_OK, or NGX_AGAIN while its
 * segment is being sealed, or its results could not be recorded.
 */
ngx_int_t ngx_smtp_message_ready(ngx_smtp_message_t *m);

/* Has recipient i a final result? */
ngx_uint_t ngx_smtp_message_final(ngx_smtp_message_t *m, ngx_uint_t i);

/* Writes the queue id to buf (NGX_SMTP_QUEUE_ID_LEN); returns its end. */
u_char *ngx_smtp_message_id(ngx_smtp_message_t *m, u_char *buf);

/* Gives the memory of a fresh message back (after its first attempt). */
void ngx_smtp_message_stale(ngx_smtp_message_t *m);


/* -- reading back ------------------------------------------------------- */

/*
 * Reads a message, from memory while it is fresh, else from disk.  The reader
 * lives in its own pool; handler is called whenever something asked for with
 * NGX_AGAIN is there.  The message must not be ended while a reader is open.
 */
struct ngx_smtp_reader_s {
    ngx_pool_t             *pool;
    ngx_smtp_message_t     *message;
    ngx_smtp_envelope_t     envelope;   /* valid after open */
    ngx_smtp_meta_t         meta;
    ngx_str_t               fields;

    void                  (*handler)(ngx_smtp_reader_t *r, ngx_int_t rc);
    void                   *data;

    void                   *ctx;        /* the store's own */
};

/*
 * Starts reading.  NGX_OK: *r is ready (fresh); NGX_AGAIN: handler(r, rc) with
 * rc NGX_OK or NGX_ERROR; NGX_ERROR: no memory, or thread queue full.
 * NGX_ERROR from a damaged record is logged by the store (CRIT, quarantined).
 */
ngx_int_t ngx_smtp_reader_open(ngx_smtp_message_t *m,
    void (*handler)(ngx_smtp_reader_t *r, ngx_int_t rc), void *data,
    ngx_log_t *log, ngx_smtp_reader_t **r);

/*
 * The next slice of the message: first the fields, then the content, as
 * stored (CRLF, unstuffed).  NGX_OK: *out is valid until the next call;
 * NGX_AGAIN: handler, then call again; NGX_DONE: that was all; NGX_ERROR.
 */
ngx_int_t ngx_smtp_reader_next(ngx_smtp_reader_t *r, ngx_str_t *out);

/*
 * As ngx_smtp_reader_open(), for a look: the message may end while the reader
 * is open, and damage is logged, but has no consequences.  Only the head is
 * read; with slice, the first piece of the content as well, no more of it may
 * be asked for by ngx_smtp_reader_next() then.
 */
ngx_int_t ngx_smtp_reader_peek(ngx_smtp_message_t *m, ngx_uint_t slice,
    void (*handler)(ngx_smtp_reader_t *r, ngx_int_t rc), void *data,
    ngx_log_t *log, ngx_smtp_reader_t **r);

/* Starts again from the first slice (another server, the same message). */
void ngx_smtp_reader_rewind(ngx_smtp_reader_t *r);

/* At any moment; no handler is called afterwards. */
void ngx_smtp_reader_close(ngx_smtp_reader_t *r);


/* -- looking at what is there ------------------------------------------- */

/*
 * Remembers a message over rounds of the event loop: message becomes NULL when
 * it ends, or is not this worker's any more.  Embedded in whatever waits;
 * unwatch() is always allowed, also for one that was zeroed and never used.
 */
typedef struct {
    ngx_queue_t             link;       /* in store->watches */
    ngx_smtp_message_t     *message;
    unsigned                step:1;     /* of a walk: goes on to the next */
} ngx_smtp_watch_t;

void ngx_smtp_message_watch(ngx_smtp_message_t *m, ngx_smtp_watch_t *w);
void ngx_smtp_message_unwatch(ngx_smtp_watch_t *w);

/*
 * A position behind a message or in front of all; compares by bytes as queue
 * ids are ordered: by the age of the segment, then by number.
 */
#define NGX_SMTP_KEY_LEN    16

/* The key of a message, of a queue id (NGX_ERROR: it is none), and back. */
void ngx_smtp_message_key(ngx_smtp_message_t *m, u_char *key);
ngx_int_t ngx_smtp_key_parse(ngx_str_t *id, u_char *key);
u_char *ngx_smtp_key_text(u_char *key, u_char *buf);

/*
 * Goes through all messages of this worker in the order of their ids, behind
 * the key after (zeros: from the start); over as many rounds of the event loop
 * as it takes, whatever happens meanwhile.  next: NGX_OK, *m is the next one;
 * NGX_AGAIN: enough for now, call again; NGX_DONE: that was all.
 */
typedef struct {
    ngx_smtp_store_t       *store;
    ngx_smtp_segment_t     *segment;    /* NULL: to be looked for */
    ngx_queue_t             link;       /* in store->walks */
    ngx_smtp_watch_t        next;
    u_char                  key[NGX_SMTP_KEY_LEN];
    unsigned                ended:1;    /* with the segment of the key */
} ngx_smtp_walk_t;

void ngx_smtp_walk_start(ngx_smtp_walk_t *w, ngx_smtp_store_t *store,
    u_char *after);
ngx_int_t ngx_smtp_walk_next(ngx_smtp_walk_t *w, ngx_smtp_message_t **m);
void ngx_smtp_walk_end(ngx_smtp_walk_t *w);

/* Segments that this worker will not take: unreadable, of a newer format. */
ngx_uint_t ngx_smtp_store_left(ngx_smtp_store_t *store);

/* Is the segment of this key this worker's, with all its messages?  1 or 0. */
ngx_uint_t ngx_smtp_store_owns(ngx_smtp_store_t *store, u_char *key);

/*
 * The name of the queue of a message, known here or not, and the next hop it
 * was given instead of the queue's: empty if none.  hop may be NULL.
 */
void ngx_smtp_message_queue(ngx_smtp_message_t *m, ngx_str_t *queue,
    ngx_str_t *hop);
/* The same of index i as in m->queue. */
void ngx_smtp_store_queue_name(ngx_smtp_store_t *store, ngx_uint_t i,
    ngx_str_t *queue, ngx_str_t *hop);

/* The parts of a destination; hop may be NULL. */
void ngx_smtp_destination(ngx_str_t *destination, ngx_str_t *queue,
    ngx_str_t *hop);

/* What conf->data of its store is. */
void *ngx_smtp_message_data(ngx_smtp_message_t *m);


#endif /* _NGX_SMTP_STORE_H_INCLUDED_ */
