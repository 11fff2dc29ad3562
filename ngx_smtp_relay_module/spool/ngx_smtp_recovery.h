
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What a locked segment holds: its live messages with their state, from the
 * summaries of a log that is good up to SEALED, plus later events; otherwise
 * from a scan of the data file and the good events.  Cuts torn tails, puts
 * aside what is damaged, unlinks bodies without a message.  It can be stopped
 * at any system call and run again.
 *
 * Runs in a thread in steps, on memory from malloc that it owns until
 * ngx_smtp_recovery_free(); the event loop copies what it needs.
 */


#ifndef _NGX_SMTP_RECOVERY_H_INCLUDED_
#define _NGX_SMTP_RECOVERY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_segment.h"
#include "ngx_smtp_errors.h"


typedef struct ngx_smtp_recovered_s         ngx_smtp_recovered_t;
typedef struct ngx_smtp_recovered_report_s  ngx_smtp_recovered_report_t;
typedef struct ngx_smtp_recovery_s          ngx_smtp_recovery_t;


struct ngx_smtp_recovered_report_s {
    ngx_smtp_recovered_report_t  *next;     /* by number, rising */
    time_t                        created;
    time_t                        due_at;
    ngx_str_t                     peer;
    ngx_smtp_result_t            *results;
    ngx_uint_t                    nresults;
    uint32_t                      number;
    uint32_t                      attempts;
    ngx_uint_t                    kind;
};


/* a live message; the members of ngx_smtp_message_t of the same names */
struct ngx_smtp_recovered_s {
    off_t                         offset;
    off_t                         size;
    time_t                        received;
    time_t                        due_at;   /* received: never tried */
    ngx_smtp_recovered_report_t  *reports;
    uint8_t                      *final;    /* in the recovery's memory; NULL:
                                               final_word */
    uint64_t                      final_word;
    uint32_t                      number;
    uint32_t                      head_size;
    uint32_t                      nrcpts;
    uint32_t                      npending;
    uint32_t                      nreports; /* highest report number so far */
    uint32_t                      owed;     /* its part of f->owed: what DONE
                                               repays */
    uint32_t                      error;    /* hash, in recovery->errors */
    uint16_t                      attempts;
    uint16_t                      queue;    /* index in recovery->queues */
    unsigned                      hold:1;
    unsigned                      large:1;
    unsigned                      done:1;   /* ended: skip it */
    unsigned                      delay_told:1;
    unsigned                      wish:2;
    unsigned                      strikes:2;
};

/*
 * A message may be live without a pending recipient or report: its last event
 * was written but not DONE.  The store ends it.
 */


/* things to tell the log; each is a count, details are in notes */
typedef struct {
    ngx_uint_t                    quarantined;  /* CRIT: damaged parts copied
                                                   to quarantine/ */
    ngx_uint_t                    damaged;      /* CRIT: messages known to be
                                                   lost to damage, at least */
    ngx_uint_t                    torn;         /* WARN: an unacknowledged
                                                   tail was kept aside */
    ngx_uint_t                    events_lost;  /* WARN: the log was cut */
    ngx_uint_t                    log_bad;      /* CRIT: parts of the log that
                                                   could not be read, with
                                                   good ones behind */
    ngx_uint_t                    bodies;       /* INFO: left over, unlinked */
    unsigned                      no_log:1;     /* CRIT: mail without a log:
                                                   nothing counts as tried */
    unsigned                      scanned:1;    /* was not sealed: seal it */
    unsigned                      new_type:1;   /* an unknown record type that
                                                   must be understood */
} ngx_smtp_recovery_notes_t;


struct ngx_smtp_recovery_s {
    ngx_smtp_recovered_t         *messages;     /* nmessages, by number */
    ngx_uint_t                    nmessages;    /* those done included */
    ngx_uint_t                    nlive;
    ngx_str_t                    *queues;       /* destinations; data NULL:
                                                   of no live message */
    ngx_uint_t                    nqueues;
    time_t                        earliest;     /* due; 0: nothing is */
    uint32_t                      next_number;  /* free number */
    ngx_smtp_recovery_notes_t     notes;
    ngx_smtp_errors_t             errors;       /* texts */
    void                         *ctx;          /* the recovery's own */
};


/*
 * Starts on a segment locked by ngx_smtp_segment_lock().  f is used until
 * free and belongs to the recovery meanwhile.  now: wall clock.  Never fails
 * for a fault of the disk (step does).  NULL: no memory.
 */
ngx_smtp_recovery_t *ngx_smtp_recovery_start(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, time_t now);

/*
 * Works for about 4 MB of file (some ms).  NGX_AGAIN: call again; NGX_OK: all
 * is there, f has its log open at its end (f->log -1: there is none, and no
 * mail), space owed to the live messages is reserved if possible: nothing may
 * be sent until ngx_smtp_segment_reserve(f, 0) gives NGX_OK;
 * NGX_ERROR, NGX_BUSY: f->fault; close the segment, it is tried again later;
 * NGX_DECLINED: notes.new_type: close it and leave it alone.  No live message
 * at all with NGX_OK: the segment can be removed.
 *
 * After NGX_OK of a scanned segment the caller seals it (if that fails: no
 * harm, the next adopter scans again).
 */
ngx_int_t ngx_smtp_recovery_step(ngx_smtp_recovery_t *r);

/* Frees everything of it; the segment stays as it is.  NULL is allowed. */
void ngx_smtp_recovery_free(ngx_smtp_recovery_t *r);


#endif /* _NGX_SMTP_RECOVERY_H_INCLUDED_ */
