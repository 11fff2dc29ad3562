
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The bytes of the log (docs/spool-format.md): what happened to the messages
 * of a segment, in order, and the summaries of a sealed one.  Pure functions
 * over memory.
 *
 * Records are encoded on the event loop into buffers that the caller grows;
 * ngx_smtp_segment_log() numbers and seals them when it writes them.
 */


#ifndef _NGX_SMTP_EVENT_H_INCLUDED_
#define _NGX_SMTP_EVENT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_record.h"


#define NGX_SMTP_LOG_RECORD         16      /* header of a log record */

/* events of a message */
#define NGX_SMTP_LOG_RESULT             1   /* final results of an attempt */
#define NGX_SMTP_LOG_DEFERRED           2   /* results to be tried again */
#define NGX_SMTP_LOG_HOLD               3
#define NGX_SMTP_LOG_RELEASE            4
#define NGX_SMTP_LOG_REPORT             5   /* a report became due */
#define NGX_SMTP_LOG_REPORT_DEFERRED    6
#define NGX_SMTP_LOG_REPORTED           7   /* delivered or given up */
#define NGX_SMTP_LOG_DONE               8   /* the message is ended */
#define NGX_SMTP_LOG_SETTLE             9   /* result unknown: not before */
#define NGX_SMTP_LOG_WISH              10   /* what an operator wants */
#define NGX_SMTP_LOG_STRIKE            11   /* a worker died of it: not before;
                                               attempts: how many did */

/* facts about the segment */
#define NGX_SMTP_LOG_SUMMARY            16
#define NGX_SMTP_LOG_SEALED             17
#define NGX_SMTP_LOG_END                18  /* end of the data, nothing more */
#define NGX_SMTP_LOG_SEGMENT_DONE       19
#define NGX_SMTP_LOG_ERRORS             20  /* last errors of its messages:
                                               ngx_smtp_errors.h */

/* an event of a message, too: it goes to another queue or next hop */
#define NGX_SMTP_LOG_LIVING             21  /* who was live when the log was
                                               written anew */
#define NGX_SMTP_LOG_MOVED              24

/* kept free: compaction */
#define NGX_SMTP_LOG_COMPACTED          25

/* a message of so many strikes is put on hold */
#define NGX_SMTP_STRIKES                3

/* what a reader does with a type it does not know: policy byte */
#define NGX_SMTP_POLICY_IGNORE          0
#define NGX_SMTP_POLICY_REQUIRED        1   /* leave the segment alone */

/* flag: the next record was written together with this one */
#define NGX_SMTP_LOG_MORE               1

#define NGX_SMTP_PEER_TEXT              255

/*
 * The most a record takes: what is reserved.  An attempt to n recipients may
 * write n records (each recipient refused on its own).
 */
#define NGX_SMTP_LOG_MAX_RESULT         (NGX_SMTP_RESULT_TEXT + 16)
#define NGX_SMTP_LOG_MAX_EVENT          (NGX_SMTP_LOG_RECORD + 64            \
                                         + NGX_SMTP_PEER_TEXT)

/* types of events of a message */
#define ngx_smtp_event_known(type)                                            \
    (((type) && (type) <= NGX_SMTP_LOG_STRIKE) || (type) == NGX_SMTP_LOG_MOVED)


/* any event of a message; a type uses what its comment names */
typedef struct {
    ngx_uint_t              type;       /* NGX_SMTP_LOG_* */
    uint32_t                number;     /* of the message */
    time_t                  time;       /* when it happened */
    time_t                  until;      /* DEFERRED, SETTLE, STRIKE, REPORT*:
                                           due */
    uint32_t                attempts;   /* made so far, this one included:
                                           RESULT, DEFERRED, SETTLE, REPORT,
                                           REPORT_DEFERRED; of STRIKE: the
                                           strikes */
    uint32_t                report;     /* number of the report: REPORT* */
    ngx_uint_t              kind;       /* REPORT: NGX_SMTP_REPORT_*; WISH:
                                           NGX_SMTP_WISH_* */
    ngx_str_t               queue;      /* MOVED: destination */
    ngx_str_t               peer;       /* RESULT, DEFERRED, REPORT */
    ngx_smtp_result_t      *results;    /* RESULT, DEFERRED, REPORT */
    ngx_uint_t              nresults;
} ngx_smtp_event_t;


/* a live message in a sealed log */
typedef struct {
    uint32_t                number;
    uint32_t                head_size;
    uint32_t                nrcpts;
    uint32_t                attempts;
    uint32_t                reports;    /* highest report number so far */
    off_t                   offset;     /* of its head in the data file */
    off_t                   size;       /* of fields + content */
    time_t                  received;
    time_t                  due_at;
    ngx_str_t               queue;      /* destination */
    uint8_t                *final;      /* bitmap; NULL: final_word */
    uint64_t                final_word;
    /*
     * meta, envelope and extensions of the head as they stand in the data
     * file; data NULL: the sealer reads them from there and sets meta and
     * envelope itself
     */
    ngx_str_t               strings;
    uint32_t                meta;       /* size of the meta in strings */
    uint32_t                envelope;
    unsigned                hold:1;
    unsigned                large:1;
    unsigned                delay_told:1;
    unsigned                wish:2;     /* NGX_SMTP_WISH_* */
    unsigned                strikes:2;
} ngx_smtp_summary_t;


typedef struct {
    off_t                   data_end;   /* what lies behind does not count */
    off_t                   log_start;  /* of the first summary */
    uint32_t                summaries;
    uint32_t                reports;    /* REPORT records behind them */
    uint32_t                next_number;
    time_t                  time;
    ngx_uint_t              nqueues;
    ngx_str_t              *queues;     /* names, each once */
} ngx_smtp_sealed_t;


/* a record found in a log */
typedef struct {
    ngx_uint_t              type;
    ngx_uint_t              policy;
    uint32_t                sequence;
    u_char                 *payload;
    size_t                  length;
    unsigned                more:1;     /* the next one belongs to it */
} ngx_smtp_log_record_t;


/*
 * Size of the whole record an event makes (texts are cut to
 * NGX_SMTP_RESULT_TEXT, the peer to NGX_SMTP_PEER_TEXT).
 */
size_t ngx_smtp_event_size(const ngx_smtp_event_t *e);

/* Writes the record of exactly that size to p, unsealed; returns its end. */
u_char *ngx_smtp_event_put(u_char *p, const ngx_smtp_event_t *e);

/*
 * Decodes the payload of an event record (known types).  results has room for
 * *nresults ones; strings point into the payload.  NGX_OK; NGX_ERROR:
 * malformed; NGX_AGAIN: more results than room, *nresults tells how many
 * (results may be NULL then).
 */
ngx_int_t ngx_smtp_event_get(const ngx_smtp_log_record_t *r,
    ngx_smtp_event_t *e, ngx_smtp_result_t *results, ngx_uint_t *nresults);

size_t ngx_smtp_summary_size(const ngx_smtp_summary_t *s);
u_char *ngx_smtp_summary_put(u_char *p, const ngx_smtp_summary_t *s);
/* final points into the payload, or is NULL for up to 64 recipients */
ngx_int_t ngx_smtp_summary_get(const ngx_smtp_log_record_t *r,
    ngx_smtp_summary_t *s);

size_t ngx_smtp_sealed_size(const ngx_smtp_sealed_t *s);
u_char *ngx_smtp_sealed_put(u_char *p, const ngx_smtp_sealed_t *s);
/*
 * queues has room for s->nqueues names, or is NULL: only their number is
 * wanted.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_smtp_sealed_get(const ngx_smtp_log_record_t *r,
    ngx_smtp_sealed_t *s, ngx_str_t *queues, ngx_uint_t room);

/*
 * The header of a record of this type, unsealed; the policy is that of the
 * type.  Returns its end.
 */
u_char *ngx_smtp_event_header_put(u_char *p, ngx_uint_t type, size_t length);

/* END and SEGMENT_DONE: NGX_SMTP_LOG_MARK bytes */
#define NGX_SMTP_LOG_MARK           (NGX_SMTP_LOG_RECORD + 16)

u_char *ngx_smtp_mark_put(u_char *p, ngx_uint_t type, off_t data_end,
    time_t now);
ngx_int_t ngx_smtp_mark_get(const ngx_smtp_log_record_t *r, off_t *data_end,
    time_t *time);

/*
 * LIVING: which of the messages below next are among the n summaries.  put
 * writes the record of exactly that size, unsealed.  get: NGX_OK or NGX_ERROR;
 * the bits are in the payload, that of message i is bit i % 8 of byte i / 8.
 */
size_t ngx_smtp_living_size(uint32_t next);
u_char *ngx_smtp_living_put(u_char *p, const ngx_smtp_summary_t *summaries,
    ngx_uint_t n, uint32_t next, time_t now);
ngx_int_t ngx_smtp_living_get(const ngx_smtp_log_record_t *r, uint32_t *next,
    u_char **bits);

/*
 * Numbers the records in p..last, one after the other from *sequence on (which
 * rises), makes them one group and sets their CRCs.  p..last are whole
 * records.
 */
void ngx_smtp_log_seal(u_char *p, u_char *last, uint32_t seed,
    uint32_t *sequence);

/*
 * The record at p.  NGX_OK: r is set, *next is behind it; NGX_AGAIN: p..last
 * ends inside it (*need bytes from p are needed); NGX_ERROR: no good record is
 * here.  sequence: that of the record before.
 */
ngx_int_t ngx_smtp_log_next(u_char *p, u_char *last, uint32_t seed,
    uint32_t sequence, ngx_smtp_log_record_t *r, u_char **next, size_t *need);

/*
 * Bytes of log to reserve for a message when it is accepted: its summary, for
 * each recipient a final result and a report on it, without texts a report on
 * a delay and one to the postmaster for each failure, its end.  head_size
 * without the fields block is enough; 0: it has its summary already.
 */
size_t ngx_smtp_log_need(size_t head_size, ngx_uint_t nrcpts);


#endif /* _NGX_SMTP_EVENT_H_INCLUDED_ */
