
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A segment written anew: its log alone (sealed, with the history of what
 * still lives), or log and data with nothing but the live messages
 * (compaction).
 * Deliveries go on meanwhile, and their events go to the old log: what follows
 * the place where the summaries were taken is copied behind SEALED at the end.
 * An event that is in the summary as well does no harm: all events say what
 * is, not what is to be added.
 *
 * Blocking, for threads, in steps.  Until the commit nothing of the segment
 * is changed: whatever happens, it can be given up.  The order of system calls
 * is in docs/spool-format.md.  Sealing in place, which both build upon, is
 * here as well.
 */


#ifndef _NGX_SMTP_REWRITE_H_INCLUDED_
#define _NGX_SMTP_REWRITE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_segment.h"


typedef struct ngx_smtp_seal_s  ngx_smtp_seal_t;


/* what a seal says; the caller's, until it is freed */
typedef struct {
    ngx_smtp_summary_t         *summaries;
    ngx_uint_t                  n;
    ngx_smtp_event_t           *reports;
    ngx_uint_t                  nreports;
    uint32_t                    next_number;
    time_t                      now;
    time_t                      earliest;   /* due; 0: now */
} ngx_smtp_seal_content_t;


/*
 * ngx_smtp_segment_seal() in steps of some ms; no batch may follow from the
 * start on (full), no record may come between the steps.  start: NULL without
 * memory, with f->fault.  step: NGX_AGAIN, or the code of the whole.  free: at
 * any moment, NULL is allowed.
 *
 * lenient, after the start: a message whose head cannot be read gets a summary
 * without strings, so that it does not hinder all the others.
 */
ngx_smtp_seal_t *ngx_smtp_seal_start(ngx_smtp_segment_file_t *f,
    const ngx_smtp_seal_content_t *content);
void ngx_smtp_seal_lenient(ngx_smtp_seal_t *s);
ngx_int_t ngx_smtp_seal_step(ngx_smtp_seal_t *s);
void ngx_smtp_seal_free(ngx_smtp_seal_t *s);


typedef struct ngx_smtp_rewrite_s  ngx_smtp_rewrite_t;

typedef ngx_int_t (*ngx_smtp_rewrite_pt)(ngx_smtp_rewrite_t *rw);


struct ngx_smtp_rewrite_s {
    ngx_smtp_spool_t           *spool;
    ngx_smtp_segment_file_t    *file;   /* only header and data are used
                                           before the commit */
    ngx_smtp_segment_file_t     next;   /* what takes its place */

    /*
     * The caller's.  A compaction sets the offsets of the summaries to where
     * the messages are in the new data.
     */
    ngx_smtp_seal_content_t     content;

    off_t                       past;   /* of the old log: history that was
                                           looked at up to here */
    off_t                       tail;   /* of the old log: the first record
                                           that is not in the new one */
    off_t                       log_end;    /* of the old log; set by the
                                               caller before each step */
    ngx_smtp_rewrite_pt         part;
    ngx_smtp_seal_t            *seal;
    ngx_uint_t                  cursor;
    u_char                     *buf;
    size_t                      room;
    int                         old_data;   /* after the commit of a
                                               compaction: the caller closes
                                               it; else -1 */
    ngx_smtp_fault_t            fault;

    /* no bits: written in threads, some read by the event loop */
    ngx_uint_t                  data;       /* a compaction */
    ngx_uint_t                  broken;     /* the old log is not read */
    ngx_uint_t                  made;       /* files that an abort removes */
    ngx_uint_t                  committed;
    ngx_uint_t                  damaged;    /* a message is: never compact */
};


/*
 * Begins; nothing is done yet.  tail and log_end become the end of f's log as
 * it is now: what is recorded from here on is copied.  data: a compaction.  A
 * broken log is replaced by what the content says, which must know all that
 * happened until the commit.
 */
void ngx_smtp_rewrite_start(ngx_smtp_rewrite_t *rw, ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, ngx_uint_t data);

/*
 * Works for some ms.  NGX_AGAIN; NGX_OK: the rest is up to the commit;
 * NGX_BUSY, NGX_ERROR: with rw->fault, give it up.  f's log may be written by
 * others meanwhile, below log_end nothing changes.
 */
ngx_int_t ngx_smtp_rewrite_step(ngx_smtp_rewrite_t *rw);

/*
 * The rest; f is nobody else's.  NGX_OK: f is the new one.  NGX_BUSY,
 * NGX_ERROR with rw->fault: give it up; or, with rw->committed, f is the new
 * one but may not be after a loss of power: its log counts as broken, and is
 * to be written anew before anything else happens.
 */
ngx_int_t ngx_smtp_rewrite_commit(ngx_smtp_rewrite_t *rw);

/* Frees what it has; removes what it made, unless it was committed. */
void ngx_smtp_rewrite_end(ngx_smtp_rewrite_t *rw);


#endif /* _NGX_SMTP_REWRITE_H_INCLUDED_ */
