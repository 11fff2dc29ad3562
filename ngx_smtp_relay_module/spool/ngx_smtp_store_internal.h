
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the parts of the store share.
 *
 *   ngx_smtp_store.c         start, stop, the tick, wake-ups, memory
 *   ngx_smtp_store_commit.c  accepts, batches: the event loop's part
 *   ngx_smtp_store_write.c   the thread's part of batches and logs
 *   ngx_smtp_store_event.c   what happens to messages; pending log records
 *   ngx_smtp_store_upkeep.c  all other file work, one task at a time
 *   ngx_smtp_upkeep_run.c    what its thread does
 *   ngx_smtp_store_look.c    looking for segments that nobody has
 *   ngx_smtp_store_own.c     found segments, insertion
 *   ngx_smtp_store_unknown.c mail of queues that are not configured
 *   ngx_smtp_store_strike.c  what workers died of
 *   ngx_smtp_store_leave.c   leaving, forgetting
 *   ngx_smtp_store_renew.c   sealing and compaction while running
 *   ngx_smtp_store_file.c    files read from, files to be closed
 *   ngx_smtp_snapshot.c      what a seal says of the messages
 *   ngx_smtp_large.c         large bodies
 *   ngx_smtp_reader.c        reading back
 *   ngx_smtp_history.c       what the log tells of a message
 *   ngx_smtp_store_walk.c    looking at what is there
 *   ngx_smtp_store_change.c  destinations, wishes, last errors
 *
 * Two tasks change files of segments: the writer (batch, log records, sync of
 * the active log) and the upkeep (everything else).  A segment's file belongs
 * to a task while the segment is busy; a third kind, readers, only reads.
 * Nothing is started where it becomes possible: callers say
 * ngx_smtp_store_wake(), and a posted event starts whatever can be started, so
 * that a batch takes all that came in with one round of the event loop, and no
 * caller is called back from below.
 */


#ifndef _NGX_SMTP_STORE_INTERNAL_H_INCLUDED_
#define _NGX_SMTP_STORE_INTERNAL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_smtp_task.h"
#include "ngx_smtp_turn.h"
#include "ngx_smtp_pages.h"
#include "ngx_smtp_store.h"
#include "ngx_smtp_segment.h"
#include "ngx_smtp_cells.h"
#include "ngx_smtp_errors.h"
#include "ngx_smtp_recovery.h"
#include "ngx_smtp_rewrite.h"


/* ms */
#define NGX_SMTP_STORE_TICK         200
#define NGX_SMTP_STORE_LOOK         2000    /* without a hint */
#define NGX_SMTP_STORE_SYNC         500     /* events are unsynced at most,
                                               plus a tick and the sync */
#define NGX_SMTP_STORE_RETRY        1000    /* after a fault of the disk */
#define NGX_SMTP_STORE_CLEAN        60000
#define NGX_SMTP_STORE_RENEW        5000    /* a full segment: is sealed, or
                                               compacted, not before */
#define NGX_SMTP_STORE_RENEW_RETRY  60000
#define NGX_SMTP_STORE_UNKNOWN      10000   /* left to who knows the queue */
#define NGX_SMTP_STORE_FORGET       600000
#define NGX_SMTP_STORE_SERVE        5000    /* leaving: serve what is held */
#define NGX_SMTP_STORE_STOP         500     /* at exit: time for sealing */
#define NGX_SMTP_STORE_SLICE        2       /* of the event loop */

#define NGX_SMTP_BATCH_MESSAGES     256
#define NGX_SMTP_BATCH_BYTES        (8 * 1024 * 1024)

/* iterations of the loop that a batch is held back at most */
#define NGX_SMTP_GATHER_LOOKS       8
#define NGX_SMTP_LOOK_MAX           16      /* segments taken by a look */
#define NGX_SMTP_SEGMENT_SIZE       (64 * 1024 * 1024)
#define NGX_SMTP_PREZERO            (2 * 1024 * 1024)
#define NGX_SMTP_CHUNK_SIZE         4096
#define NGX_SMTP_READ_SIZE          65536
#define NGX_SMTP_SLICE_STEP         32
#define NGX_SMTP_UNLINK_STEP        4       /* large bodies in one go */
#define NGX_SMTP_MAX_ATTEMPTS       65535

/* s; times the strikes, a second more for each further suspect */
#define NGX_SMTP_STRIKE_PAUSE       2


typedef struct ngx_smtp_chunk_s  ngx_smtp_chunk_t;


/* what standalone events carry: debug logs take it for a connection */
typedef struct {
    void                    *data;
    void                    *read;
    void                    *write;
    ngx_socket_t             fd;
} ngx_smtp_dummy_t;


/* a message still in memory; a cell */
typedef struct {
    u_char                  *head;
    ngx_smtp_block_t        *blocks;
    size_t                   size;      /* of memory, for the budget */
    ngx_uint_t               readers;
    unsigned                 stale:1;   /* the last reader frees it */
} ngx_smtp_fresh_t;


/*
 * Log records not written yet; all of a chunk are final, or none is.  A chunk
 * is one call of ngx_smtp_segment_log(), so it grows as long as records of the
 * same kind follow.
 */
struct ngx_smtp_chunk_s {
    ngx_smtp_chunk_t        *next;
    u_char                  *last;
    u_char                  *end;
    off_t                    repay;
    ngx_uint_t               final;
    u_char                   data[1];
};


/*
 *   NEXT  ->  ACTIVE  ->  OPEN  --------------> FORGET -> CLOSE
 *                          ^                      ^
 *   FOUND -> RECOVERED -> INSERT -----------------'
 *
 * FOUND and RECOVERED go to CLOSE directly.  OPEN without a message is
 * removed.  After CLOSE, and after the removal, GONE frees the memory.
 */
typedef enum {
    ngx_smtp_state_next = 0,  /* created, waiting for its turn */
    ngx_smtp_state_active,    /* takes the batches */
    ngx_smtp_state_open,      /* takes no more, has its messages */
    ngx_smtp_state_found,     /* locked, being read */
    ngx_smtp_state_recovered, /* read, to be sealed */
    ngx_smtp_state_insert,    /* its messages are handed up */
    ngx_smtp_state_forget,    /* its messages are taken back */
    ngx_smtp_state_close,     /* nobody knows them any more */
    ngx_smtp_state_gone       /* the files are closed, messages are freed */
} ngx_smtp_segment_state_e;


/* the file that readers read from; a compaction makes another one */
typedef struct {
    int                      fd;        /* -1: closed */
    ngx_uint_t               readers;
    ngx_uint_t               stale;     /* the last reader closes it */
} ngx_smtp_data_t;


/* what a seal says; memory of its own; zeroed: nothing */
typedef struct {
    ngx_smtp_summary_t      *summaries;
    ngx_uint_t               n;
    ngx_uint_t               room;
    ngx_smtp_event_t        *reports;
    ngx_uint_t               nreports;
    ngx_uint_t               reports_room;
    ngx_str_t               *queues;    /* destinations, as they were */
    time_t                   earliest;  /* due, of what is not held; 0: now,
                                           or nothing */
    ngx_smtp_error_of_t     *of;        /* last errors */
    ngx_uint_t               nof;
    ngx_uint_t               taken;     /* complete */
    u_char                  *blocks;    /* texts and bitmaps */
    u_char                  *last;
    size_t                   left;
} ngx_smtp_snapshot_t;


struct ngx_smtp_segment_s {
    ngx_queue_t              link;      /* in store->segments */
    ngx_smtp_store_t        *store;
    ngx_smtp_segment_file_t  file;      /* of the task while busy */
    ngx_smtp_segment_state_e state;

    ngx_queue_t              messages;
    ngx_queue_t              forgotten; /* messages nobody knows any more */
    ngx_uint_t               live;
    off_t                    live_bytes;    /* of the data file, about */
    ngx_smtp_data_t         *data;      /* NULL: nobody reads */
    ngx_uint_t               outstanding;
    ngx_uint_t               awaited;   /* outstanding since leaving began */
    ngx_uint_t               reading;   /* reads in flight */
    uint32_t                 next_number;
    off_t                    end;       /* of the data, after the last batch */

    ngx_smtp_chunk_t        *chunks;
    ngx_smtp_chunk_t        *chunks_last;
    ngx_msec_t               dirty_at;  /* first unsynced record */
    ngx_msec_t               retry_at;  /* after a fault */
    ngx_msec_t               reread_at;
    ngx_msec_t               renew_at;  /* sealed or compacted not before */
    time_t                   due;       /* earliest, when it is given up; 0:
                                           not known, and soon done */

    /* large bodies of ended messages: unlinked once that is synced */
    uint32_t                *dead;
    ngx_uint_t               ndead;
    ngx_uint_t               dead_room;
    ngx_uint_t               dead_written;
    ngx_uint_t               dead_synced;

    ngx_smtp_recovery_t     *recovery;
    ngx_uint_t               cursor;    /* of insertion */
    ngx_smtp_struck_t        struck;    /* messages of dead workers */

    /* of a seal in place; the upkeep's */
    ngx_smtp_snapshot_t      snapshot;
    ngx_smtp_seal_t         *sealing;

    unsigned                 busy:1;
    unsigned                 sealed:1;
    unsigned                 summed:1;      /* found sealed: nothing is owed
                                               for summaries */
    unsigned                 as_found:1;    /* close without a word */
    unsigned                 leaving:1;
    unsigned                 broken:1;      /* its log cannot be written */
    unsigned                 reread:1;      /* its log knows reports that
                                               memory does not */
    unsigned                 blocked:1;     /* final results wait for room */
    unsigned                 unreserved:1;  /* no room for final results */
    unsigned                 dirty:1;       /* written, not synced */
};


typedef struct {
    ngx_smtp_accept_t       *accept;
    ngx_smtp_message_t      *message;
    ngx_smtp_block_t        *blocks;
    ngx_smtp_large_t        *large;
    off_t                    content;
    off_t                    need;      /* of log */
    ngx_int_t                rc;
} ngx_smtp_item_t;


typedef struct {
    ngx_smtp_segment_t      *segment;
    ngx_smtp_chunk_t        *chunks;
    ngx_uint_t               dead;
    ngx_int_t                rc;
    ngx_smtp_fault_t         fault;     /* of what failed last */
    ngx_uint_t               dropped;   /* chunks that did not fit */
    unsigned                 sync:1;
    unsigned                 wrote:1;
} ngx_smtp_log_write_t;


/* what the writer task does in one go */
typedef struct {
    ngx_smtp_task_t          task;
    ngx_smtp_store_t        *store;
    ngx_smtp_segment_t      *segment;   /* of the messages */

    ngx_smtp_item_t         *items;
    ngx_uint_t               nitems;
    ngx_uint_t               items_room;
    struct iovec            *iov;
    ngx_uint_t               niov;
    ngx_uint_t               iov_room;
    off_t                    offset;
    ngx_int_t                rc;
    ngx_smtp_fault_t         fault;

    ngx_smtp_log_write_t    *logs;
    ngx_uint_t               nlogs;
    ngx_uint_t               logs_room;

    ngx_smtp_space_t         space;     /* bytes -1: not known */
    ngx_uint_t               data_broken;
} ngx_smtp_batch_job_t;


/* holding a batch back, while the loop is busy with what may join it */
typedef struct {
    ngx_uint_t               wanted;    /* so many messages are enough */
    ngx_uint_t               looks;     /* since the batch could have begun */
    size_t                   work;      /* ngx_smtp_turn_work() at the last */
} ngx_smtp_gather_t;


typedef enum {
    ngx_smtp_upkeep_none = 0,
    ngx_smtp_upkeep_open,       /* the directory */
    ngx_smtp_upkeep_create,     /* a segment */
    ngx_smtp_upkeep_release,    /* record all, seal, close; in steps */
    ngx_smtp_upkeep_commit,     /* of a segment written anew; or give it up */
    ngx_smtp_upkeep_remove,     /* no message left */
    ngx_smtp_upkeep_sync,       /* the log */
    ngx_smtp_upkeep_unlink,     /* large bodies */
    ngx_smtp_upkeep_reserve,    /* room for final results */
    ngx_smtp_upkeep_recover,    /* one step */
    ngx_smtp_upkeep_seal,       /* what was recovered by a scan; in steps */
    ngx_smtp_upkeep_close,      /* files nobody reads any more */
    ngx_smtp_upkeep_stat,       /* was something released? */
    ngx_smtp_upkeep_look,       /* for free segments */
    ngx_smtp_upkeep_space,      /* how much is free */
    ngx_smtp_upkeep_rewrite     /* one step of a segment written anew */
} ngx_smtp_upkeep_e;


/* what became of a segment that a look could not or should not take */
typedef struct {
    ngx_smtp_segment_id_t    id;
    uint32_t                 version;
    ngx_int_t                rc;
    ngx_smtp_fault_t         fault;
} ngx_smtp_refused_t;


typedef struct {
    ngx_smtp_segment_id_t   *skip;
    ngx_uint_t               nskip;
    ngx_smtp_segment_file_t  files[NGX_SMTP_LOOK_MAX];
    ngx_uint_t               nfiles;
    ngx_smtp_refused_t       refused[NGX_SMTP_LOOK_MAX];
    ngx_uint_t               nrefused;
    ngx_smtp_orphan_t        orphans[NGX_SMTP_LOOK_MAX];
    ngx_uint_t               norphans;  /* without SEGMENT-DONE */
    ngx_uint_t               workers;
    ngx_uint_t               own;       /* segments that we have */
    ngx_uint_t               looks;     /* in a row that left free ones */
    ngx_uint_t               room;      /* no more than so many */
    time_t                   now;
    ngx_int_t                rc;
    ngx_smtp_fault_t         fault;     /* of the listing */
    unsigned                 clean:1;
    unsigned                 more:1;    /* free ones were left */
    unsigned                 crowded:1; /* ... for lack of room */
} ngx_smtp_look_t;


typedef enum {
    ngx_smtp_renew_phase_snapshot = 0,  /* the loop copies, in slices */
    ngx_smtp_renew_phase_steps,         /* a thread writes */
    ngx_smtp_renew_phase_check,         /* the loop looks if all is there */
    ngx_smtp_renew_phase_ready,         /* to be committed, by a thread */
    ngx_smtp_renew_phase_move           /* the loop moves the messages */
} ngx_smtp_renew_phase_e;


/* a segment that is written anew */
typedef struct {
    ngx_smtp_rewrite_t       rewrite;
    ngx_smtp_snapshot_t      snapshot;
    ngx_smtp_segment_t      *segment;
    ngx_smtp_renew_phase_e   phase;
    ngx_smtp_watch_t         next;      /* message to be copied, looked for,
                                           or moved */
    ngx_uint_t               cursor;    /* in the snapshot: of these */
    uint32_t                 moved;     /* up to this number */
    ngx_smtp_data_t         *data;      /* of a compaction: the new file's,
                                           then the old one's */
    u_char                  *texts;     /* of last errors: the tail */
    off_t                    size;      /* of the data, before */
    ngx_uint_t               failed;
} ngx_smtp_renewal_t;


typedef struct {
    ngx_smtp_task_t          task;
    ngx_smtp_store_t        *store;
    ngx_smtp_upkeep_e        op;
    ngx_smtp_segment_t      *segment;
    ngx_smtp_look_t         *look;
    uint32_t                *bodies;    /* to unlink */
    ngx_uint_t               nbodies;
    ngx_smtp_body_file_t    *files;     /* to close */
    ngx_uint_t               nfiles;
    ngx_smtp_renewal_t      *renewal;
    ngx_uint_t               give_up;
    struct timespec          released;
    time_t                   now;
    uint64_t                 msec;
    off_t                    prezero;
    ngx_smtp_space_t         space;
    ngx_int_t                rc;
    ngx_smtp_fault_t         fault;
} ngx_smtp_upkeep_t;


/* a segment that is let alone until then */
typedef struct {
    ngx_smtp_segment_id_t    id;
    ngx_msec_t               until;
    unsigned                 forever:1;
    unsigned                 unknown:1; /* left to who knows its queues */
} ngx_smtp_shunned_t;


struct ngx_smtp_store_s {
    ngx_smtp_store_conf_t   *conf;
    ngx_log_t               *log;
    ngx_smtp_spool_t         spool;

    ngx_queue_t              segments;
    ngx_smtp_segment_t      *active;
    ngx_smtp_segment_t      *next;

    ngx_queue_t              accepts;   /* waiting for the next batch */
    ngx_uint_t               naccepts;
    ngx_smtp_gather_t        gather;
    ngx_smtp_batch_job_t     batches[2];
    ngx_smtp_batch_job_t    *writing;   /* in flight, or NULL */
    ngx_uint_t               batch;     /* index of the one to use next */

    ngx_smtp_upkeep_t        upkeep;
    ngx_smtp_renewal_t      *renewal;   /* at most one */
    ngx_smtp_body_file_t    *closing;   /* closed, and unlinked, in a thread */
    ngx_uint_t               nclosing;
    ngx_uint_t               closing_room;
    ngx_queue_t              larges;    /* those whose task was not taken */

    /* destinations; the first are the names of conf, in its order */
    ngx_str_t               *queues;
    ngx_uint_t              *nlive;     /* messages of each */
    ngx_uint_t               nqueues;
    ngx_uint_t               queues_room;

    ngx_smtp_cells_t         messages;
    ngx_smtp_cells_t         reports;
    ngx_smtp_cells_t         freshes;
    size_t                   memory;    /* used by fresh messages */

    ngx_queue_t              watches;   /* of ngx_smtp_watch_t */
    ngx_queue_t              walks;     /* of ngx_smtp_walk_t */
    ngx_smtp_errors_t        errors;    /* texts of last errors */

    ngx_smtp_shunned_t      *shunned;
    ngx_uint_t               nshunned;
    ngx_uint_t               shunned_room;

    ngx_smtp_dummy_t         dummy;
    ngx_event_t              tick;
    ngx_event_t              wake;
    ngx_event_t              slice;     /* insertion and forgetting */

    struct timespec          released;
    ngx_smtp_space_t         space;     /* free; -1: not known */
    ngx_int_t                create_rc; /* of the last attempt */
    ngx_uint_t               large_id;
    ngx_uint_t               looks;     /* in a row that left free ones */

    ngx_msec_t               look_at;
    ngx_msec_t               open_at;
    ngx_msec_t               create_at;
    ngx_msec_t               clean_at;
    ngx_msec_t               space_at;
    ngx_msec_t               leave_at;

    unsigned                 opened:1;
    unsigned                 open_failed:1;
    unsigned                 commit_failed:1;
    unsigned                 log_failed:1;
    unsigned                 look_failed:1;
    unsigned                 crowded:1;
    unsigned                 renew_failed:1;
    unsigned                 renew_missed:1;    /* told of a bug */
    unsigned                 stat:1;
    unsigned                 look:1;
    unsigned                 leaving:1;
    unsigned                 stopping:1;
    unsigned                 unknown:1;     /* mail of such queues was found,
                                               and not told of */
};


struct ngx_smtp_large_s {
    ngx_smtp_task_t          task;
    ngx_queue_t              link;      /* in store->larges */
    ngx_smtp_store_t        *store;
    ngx_smtp_body_file_t     body;
    ngx_smtp_block_t        *blocks;
    struct iovec            *iov;
    ngx_uint_t               niov;
    ngx_fd_t                 source;    /* to be copied first; -1: none */
    off_t                    source_size;
    ngx_smtp_large_pt        handler;
    void                    *data;
    ngx_smtp_accept_t       *accept;
    ngx_int_t                rc;
    char                     wish[NGX_SMTP_TMP_NAME];
    ngx_uint_t               made;      /* the file; the thread's, and so no
                                           bit of the loop's word below */
    unsigned                 queued:1;  /* in store->larges */
    unsigned                 aborted:1; /* nobody wants it any more */
};


/* of the data file; fields are counted twice, which does no harm */
#define ngx_smtp_message_bytes(m)                                             \
    ((off_t) (m)->head_size + ((m)->large ? 0 : (m)->size))

#define ngx_smtp_after(at)  ((ngx_msec_int_t) (ngx_current_msec - (at)) >= 0)


/* ngx_smtp_store.c */

/* Starts what can be started, soon. */
void ngx_smtp_store_wake(ngx_smtp_store_t *store);
void ngx_smtp_store_slice(ngx_smtp_store_t *store);

/* Milliseconds of a monotonic clock that does not stand still in a round. */
ngx_msec_t ngx_smtp_store_clock(void);

void ngx_smtp_store_fault(ngx_smtp_store_t *store, ngx_uint_t level,
    ngx_smtp_fault_t *fault, const char *text);

/* Index of a queue's name; a new name is added.  NGX_ERROR: no memory. */
ngx_int_t ngx_smtp_store_queue(ngx_smtp_store_t *store, ngx_str_t *name);

ngx_smtp_segment_t *ngx_smtp_segment_add(ngx_smtp_store_t *store,
    ngx_smtp_segment_state_e state);
/* Takes it out of the store; frees its messages, chunks, recovery. */
void ngx_smtp_segment_free(ngx_smtp_segment_t *seg);

/* A message with its bitmap, in no segment yet; NULL: no memory. */
ngx_smtp_message_t *ngx_smtp_message_create(ngx_smtp_store_t *store,
    ngx_uint_t nrcpts);
void ngx_smtp_message_link(ngx_smtp_segment_t *seg, ngx_smtp_message_t *m);
/* One more (1) or one less (-1) of its queue, in its state. */
void ngx_smtp_message_count(ngx_smtp_message_t *m, ngx_int_t n);
void ngx_smtp_message_free(ngx_smtp_store_t *store, ngx_smtp_message_t *m);
void ngx_smtp_report_free(ngx_smtp_store_t *store, ngx_smtp_report_t *r);

/* It ends or is forgotten: who watches it is told.  Before it is unlinked. */
void ngx_smtp_message_gone(ngx_smtp_message_t *m);

/* A reader of it closed. */
void ngx_smtp_fresh_done(ngx_smtp_store_t *store, ngx_smtp_fresh_t *fresh);


/* ngx_smtp_store_commit.c */

void ngx_smtp_writer_start(ngx_smtp_store_t *store);
void ngx_smtp_writer_task(ngx_smtp_batch_job_t *b, ngx_smtp_store_t *store);
void ngx_smtp_accept_queue(ngx_smtp_store_t *store, ngx_smtp_accept_t *a);
void ngx_smtp_accept_end(ngx_smtp_store_t *store, ngx_smtp_accept_t *a,
    ngx_int_t rc);
void ngx_smtp_accepts_fail(ngx_smtp_store_t *store, ngx_int_t rc);


/* ngx_smtp_store_write.c */

/* In a thread: a batch and the logs that go with it. */
void ngx_smtp_writer_run(void *data);
/* Writes the chunks; what could not be written stays in l->chunks. */
void ngx_smtp_log_write(ngx_smtp_log_write_t *l);
void ngx_smtp_chunks_free(ngx_smtp_chunk_t *c);


/* ngx_smtp_store_event.c */

ngx_smtp_report_t *ngx_smtp_report_create(ngx_smtp_store_t *store,
    ngx_smtp_message_t *m, ngx_smtp_result_t *results, ngx_uint_t n,
    ngx_str_t *peer);
void ngx_smtp_event_record(ngx_smtp_segment_t *seg, ngx_smtp_event_t *e);
void ngx_smtp_event_init(ngx_smtp_event_t *e, ngx_smtp_message_t *m,
    ngx_uint_t type, time_t now);


/* ngx_smtp_store_change.c */

/* The queue of a destination, by index; conf->queues.nelts: no known one. */
ngx_uint_t ngx_smtp_store_base(ngx_smtp_store_t *store, ngx_uint_t i);
/* Is it none of conf->queues?  1 or 0 */
ngx_uint_t ngx_smtp_store_unknown(ngx_smtp_store_t *store, ngx_uint_t i);


/* ngx_smtp_store_upkeep.c */

void ngx_smtp_upkeep_start(ngx_smtp_store_t *store);
void ngx_smtp_upkeep_task(ngx_smtp_store_t *store);


/* ngx_smtp_upkeep_run.c: the task's; data: ngx_smtp_upkeep_t */

void ngx_smtp_upkeep_run(void *data);


/* ngx_smtp_store_look.c */

/* In a thread; then, on the loop, what it found. */
void ngx_smtp_own_look(ngx_smtp_spool_t *spool, ngx_smtp_look_t *look);
void ngx_smtp_own_looked(ngx_smtp_store_t *store, ngx_smtp_look_t *look);
/* how many segments may be taken over */
ngx_uint_t ngx_smtp_own_room(ngx_smtp_store_t *store);
/* It cannot be read: told once, and let alone for a while or for good. */
void ngx_smtp_own_refused(ngx_smtp_store_t *store, ngx_smtp_refused_t *r);
/* Is it to be let alone, or was it?  NULL: it never was. */
ngx_smtp_shunned_t *ngx_smtp_own_shunned(ngx_smtp_store_t *store,
    ngx_smtp_segment_id_t *id);
/* Lets a segment alone for msec.  NULL: no memory, it is met again. */
ngx_smtp_shunned_t *ngx_smtp_own_shun(ngx_smtp_store_t *store,
    ngx_smtp_segment_id_t *id, ngx_msec_t msec);


/* ngx_smtp_store_own.c */

/*
 * What the loop does for segments that come and go, in a slice that began at
 * start; returns 1 when there is more.
 */
ngx_uint_t ngx_smtp_own_slice(ngx_smtp_store_t *store, ngx_msec_t start);
void ngx_smtp_own_recovered(ngx_smtp_segment_t *seg, ngx_int_t rc,
    ngx_smtp_fault_t *fault);
/* In a thread: seals what was read by a scan; NGX_AGAIN: call again. */
ngx_int_t ngx_smtp_own_seal(ngx_smtp_segment_t *seg, time_t now);
void ngx_smtp_own_insert(ngx_smtp_segment_t *seg);
/* Some messages more; returns 1 when there are still more. */
ngx_uint_t ngx_smtp_own_insert_some(ngx_smtp_segment_t *seg);
/* Gives a segment back as it was found. */
void ngx_smtp_own_drop(ngx_smtp_segment_t *seg);


/* ngx_smtp_store_unknown.c */

/* A message was found; of a queue that is not configured, perhaps. */
void ngx_smtp_unknown_found(ngx_smtp_message_t *m);
/* Tells how many wait, if some were found and nothing more is coming. */
void ngx_smtp_unknown_tell(ngx_smtp_store_t *store);


/* ngx_smtp_store_strike.c */

/* Before it is read: 1 when it must not be. */
ngx_uint_t ngx_smtp_strike_segment(ngx_smtp_segment_t *seg);
/* It was read: asks which of its messages are struck. */
void ngx_smtp_strike_messages(ngx_smtp_segment_t *seg);
/* Before it is handed up: if it is struck, records that, or holds it. */
void ngx_smtp_strike_message(ngx_smtp_message_t *m);
void ngx_smtp_strike_clear(ngx_smtp_message_t *m);


/* ngx_smtp_store_leave.c */

/* Begins to close what can be closed, when leaving. */
void ngx_smtp_own_advance(ngx_smtp_store_t *store);
/* A report of the message is only in the log: its segment is read again. */
void ngx_smtp_own_reread(ngx_smtp_message_t *m);
/* The worker leaves: marks what has to be waited for. */
void ngx_smtp_own_leave(ngx_smtp_segment_t *seg);
/* Returns 1 when there is more. */
ngx_uint_t ngx_smtp_own_forget_some(ngx_smtp_segment_t *seg);
/*
 * Also at exit: seal, settle or remove.  NGX_AGAIN: call again; else it is
 * closed, and fault tells what went wrong.  seg->snapshot was initialized.
 */
ngx_int_t ngx_smtp_segment_release(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_t *seg, time_t now, ngx_smtp_fault_t *fault);
/* After each NGX_AGAIN of a release: texts of errors, for the seal. */
void ngx_smtp_own_texts(ngx_smtp_segment_t *seg);
/* Its files are closed: frees it, in slices. */
void ngx_smtp_own_gone(ngx_smtp_segment_t *seg);
/* Returns 1 when there is more; else the segment is freed. */
ngx_uint_t ngx_smtp_own_gone_some(ngx_smtp_segment_t *seg);


/* ngx_smtp_snapshot.c */

/* Room for so many messages; NGX_ERROR: no memory, as below. */
ngx_int_t ngx_smtp_snapshot_init(ngx_smtp_snapshot_t *snap,
    ngx_uint_t messages, ngx_str_t *queues, ngx_uint_t nqueues);
ngx_int_t ngx_smtp_snapshot_add(ngx_smtp_snapshot_t *snap,
    ngx_smtp_message_t *m, ngx_str_t *queues);
void ngx_smtp_snapshot_content(ngx_smtp_snapshot_t *snap,
    ngx_smtp_seal_content_t *c, uint32_t next_number, time_t now);
void ngx_smtp_snapshot_free(ngx_smtp_snapshot_t *snap);


/* ngx_smtp_store_renew.c */

/* Begins with a segment that needs it, if there is none in work. */
void ngx_smtp_renew_begin(ngx_smtp_store_t *store);
/* The event loop's part, in a slice; returns 1 when there is more. */
ngx_uint_t ngx_smtp_renew_slice(ngx_smtp_store_t *store, ngx_msec_t start);
/* The upkeep's part: what is next, and that. */
ngx_smtp_upkeep_e ngx_smtp_renew_choose(ngx_smtp_store_t *store,
    ngx_smtp_segment_t **seg);
void ngx_smtp_renew_prepare(ngx_smtp_upkeep_t *u);
void ngx_smtp_renew_run(ngx_smtp_upkeep_t *u);
void ngx_smtp_renew_done(ngx_smtp_upkeep_t *u);
/* Its messages are between two files. */
ngx_uint_t ngx_smtp_renew_moving(ngx_smtp_segment_t *seg);
/* Its log is let alone until the commit, which is soon. */
ngx_uint_t ngx_smtp_renew_ready(ngx_smtp_segment_t *seg);
/* At exit. */
void ngx_smtp_renew_stop(ngx_smtp_store_t *store);


/* ngx_smtp_store_file.c */

/* Closes a file, and unlinks it in tmp/ if it has a name, in a thread. */
void ngx_smtp_store_close(ngx_smtp_store_t *store, ngx_smtp_body_file_t *b);
/* The file a message is in now, for a reader; NULL: no memory. */
ngx_smtp_data_t *ngx_smtp_data_get(ngx_smtp_message_t *m);
void ngx_smtp_data_put(ngx_smtp_store_t *store, ngx_smtp_data_t *data);
ngx_int_t ngx_smtp_data_need(ngx_smtp_segment_t *seg);
/* Nobody will get it any more. */
void ngx_smtp_data_stale(ngx_smtp_store_t *store, ngx_smtp_data_t *data);


/* ngx_smtp_large.c */

/* Writes what is left and syncs; then the accept waits for its batch. */
void ngx_smtp_large_commit(ngx_smtp_large_t *l, ngx_smtp_accept_t *a);
void ngx_smtp_large_free(ngx_smtp_large_t *l);
/* Answers those whose task the thread pool did not take. */
void ngx_smtp_larges_fail(ngx_smtp_store_t *store);


#endif /* _NGX_SMTP_STORE_INTERNAL_H_INCLUDED_ */
