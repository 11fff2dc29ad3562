
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The working state of a recovery, shared by its three parts: steps and
 * finish (ngx_smtp_recovery.c), the log (_log.c, _skip.c), the scan of the
 * data (_scan.c).  Not for others.
 */


#ifndef _NGX_SMTP_RECOVERY_INTERNAL_H_INCLUDED_
#define _NGX_SMTP_RECOVERY_INTERNAL_H_INCLUDED_


#include "ngx_smtp_recovery.h"
#include "ngx_smtp_window.h"


#define NGX_SMTP_RECOVERY_STEP      (4 * 1024 * 1024)


typedef struct ngx_smtp_arena_s         ngx_smtp_arena_t;
typedef struct ngx_smtp_recovery_ctx_s  ngx_smtp_recovery_ctx_t;

/* NGX_AGAIN: again; NGX_OK: the next part is r->part; else the step's code */
typedef ngx_int_t (*ngx_smtp_recovery_part_pt)(ngx_smtp_recovery_ctx_t *r);


/* blocks that are freed together */
struct ngx_smtp_arena_s {
    ngx_smtp_arena_t           *next;
    size_t                      used;
    size_t                      size;
    u_char                      data[];
};


/* what the first reading of the log found; offsets of complete groups */
typedef struct {
    off_t                       size;       /* of the file */
    off_t                       pos;        /* reading here */
    off_t                       good;       /* end of the last good group */
    uint32_t                    sequence;
    uint32_t                    seed;
    uint32_t                    max_event;  /* highest message number */

    off_t                       run;        /* first of these summaries, 0 */
    uint32_t                    run_summaries;
    uint32_t                    run_reports;

    off_t                       sealed_at;  /* behind SEALED; 0: none */
    ngx_smtp_sealed_t           sealed;
    off_t                       data_end;   /* of END or SEALED; 0: none */
} ngx_smtp_recovery_log_t;


/* a part of the log that does not count: bad, or of the same group */
typedef struct ngx_smtp_recovery_skip_s  ngx_smtp_recovery_skip_t;

struct ngx_smtp_recovery_skip_s {
    ngx_smtp_recovery_skip_t   *next;
    off_t                       start;
    off_t                       end;
};


/* the part of the data that is bad so far, with nothing good behind it */
typedef struct {
    off_t                       start;      /* 0: none */
    ngx_uint_t                  first;      /* index of its first message */
    uint32_t                    number;     /* it starts with; 0: not known */
    ngx_uint_t                  damaged;
} ngx_smtp_recovery_bad_t;


struct ngx_smtp_recovery_ctx_s {
    ngx_smtp_recovery_t         recovery;   /* first: it is the public one */

    ngx_smtp_spool_t           *spool;
    ngx_smtp_segment_file_t    *file;
    time_t                      now;

    ngx_smtp_recovery_part_pt   part;
    ngx_smtp_window_t           window;
    off_t                       budget;     /* window.read to stop at */

    off_t                       data_size;
    off_t                       pos;        /* scan, apply */
    off_t                       limit;      /* of the scan */
    off_t                       scan_end;   /* end of the last good batch */
    ngx_smtp_recovery_bad_t     bad;
    uint32_t                    last_number;
    ngx_uint_t                  batches;

    ngx_smtp_recovery_log_t     log;
    ngx_smtp_recovery_skip_t   *skips;      /* of the log, by offset */
    ngx_uint_t                  room;       /* of recovery.messages */
    ngx_uint_t                  queues_room;
    ngx_smtp_arena_t           *arena;
    ngx_smtp_result_t          *results;    /* scratch */
    ngx_uint_t                  results_room;
    unsigned                    sorted:1;   /* messages, by number */
};


/* parts */
ngx_int_t ngx_smtp_recovery_log_open(ngx_smtp_recovery_ctx_t *r);
ngx_int_t ngx_smtp_recovery_log_check(ngx_smtp_recovery_ctx_t *r);
ngx_int_t ngx_smtp_recovery_log_apply(ngx_smtp_recovery_ctx_t *r);
ngx_int_t ngx_smtp_recovery_scan_start(ngx_smtp_recovery_ctx_t *r);
ngx_int_t ngx_smtp_recovery_finish(ngx_smtp_recovery_ctx_t *r);

/* what a scan found, and the record LIVING does not know, has ended */
void ngx_smtp_recovery_scan_living(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_log_record_t *record);

/* the record at pos.  NGX_DONE: no good one is there */
ngx_int_t ngx_smtp_recovery_record(ngx_smtp_recovery_ctx_t *r, off_t pos,
    uint32_t sequence, ngx_smtp_log_record_t *record, off_t *next);

/*
 * The record at bad, in the group at r->log.pos, is bad; sequence: that of the
 * one before.  NGX_OK: r->log.pos is at the next group that can be believed,
 * and what is left out is in r->skips; NGX_DONE: nothing good follows.
 */
ngx_int_t ngx_smtp_recovery_skip(ngx_smtp_recovery_ctx_t *r, off_t bad,
    uint32_t sequence);
/* pos, or the end of what is left out there */
off_t ngx_smtp_recovery_skipped(ngx_smtp_recovery_ctx_t *r, off_t pos);
/* copies to quarantine/ and counts what matters of it */
ngx_int_t ngx_smtp_recovery_skip_keep(ngx_smtp_recovery_ctx_t *r);

/* memory; NULL or NGX_ERROR with file->fault */
void *ngx_smtp_recovery_alloc(ngx_smtp_recovery_ctx_t *r, size_t size);
ngx_smtp_recovered_t *ngx_smtp_recovery_add(ngx_smtp_recovery_ctx_t *r,
    ngx_uint_t nrcpts);
ngx_int_t ngx_smtp_recovery_queue(ngx_smtp_recovery_ctx_t *r,
    ngx_str_t *name, uint16_t *index);
ngx_int_t ngx_smtp_recovery_memory(ngx_smtp_recovery_ctx_t *r);

/* by number, or NULL; the messages must be sorted */
ngx_smtp_recovered_t *ngx_smtp_recovery_find(ngx_smtp_recovery_ctx_t *r,
    uint32_t number);

/*
 * Copies start..end of fd to quarantine/<id>.<generation>.<start>.<kind>.
 * NGX_OK, or a fault that hinders nothing but the cut.
 */
ngx_int_t ngx_smtp_recovery_keep(ngx_smtp_recovery_ctx_t *r, int fd,
    off_t start, off_t end, const char *kind);


#endif /* _NGX_SMTP_RECOVERY_INTERNAL_H_INCLUDED_ */
