
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A disk that can lose its power.  A table of system calls that passes
 * everything on to the file system, and keeps a trace of every call that
 * changes a file or a folder, and of every sync.  From the trace the folder
 * can be made again as it would be found if the machine had stopped after the
 * n-th of these calls: with all that was written (a killed process), or
 * without what was not synced, or with any part of that, in any order, torn.
 * So one life of a program gives as many disks as one likes.
 *
 *   power_start(path);             trace what happens below path
 *   ... the life ...
 *   power_stop();
 *
 *   for (n = 0; n <= power_calls(); n++) {
 *       power_make(to, n, power_tear, seed);
 *       ... recovery, in the folder to ...
 *   }
 *
 *   power_free();
 *
 * What is durable: a file's bytes and size after fsync() or fdatasync() of it;
 * a name (made, linked, renamed, unlinked) after fsync() of its folder, or of
 * one of the two a rename is about.  A sync that fails makes nothing durable,
 * and what was written before it is not written by a later sync either, as
 * with a kernel that takes the pages for clean.
 *
 * The same table gives faults: see power_fault.  It wraps what is in force
 * when it starts.  One disk at a time; not for threads.
 */


#ifndef _NGX_SMTP_TEST_POWERLOSS_H_INCLUDED_
#define _NGX_SMTP_TEST_POWERLOSS_H_INCLUDED_


#include "shim.h"
#include "ngx_smtp_sys.h"


typedef enum {
    power_keep = 0,     /* killed: all that was written is there */
    power_half,         /* the same, and half of the write that was next */
    power_drop,         /* nothing that was not synced */
    power_some,         /* in order, up to some point, torn there */
    power_tear          /* any sectors and names of it */
} power_mode_e;

#define POWER_MODES     5


/*
 * A fault.  Calls of all kinds are counted, those that only read too; from
 * the at-th on (from 1) "times" of them fail with err; a pwritev() that fails
 * has written half.  short_write: they do not fail, but pwritev() writes a
 * part of what it should.  A hint for messages: name is the call hit first.
 */
typedef struct {
    ngx_uint_t      at;             /* 0: none */
    ngx_uint_t      times;
    int             err;
    ngx_uint_t      short_write;

    ngx_uint_t      calls;          /* so far */
    ngx_uint_t      hits;
    const char     *name;
} power_fault_t;

extern power_fault_t  power_fault;

/* the next call of that name on a file whose name contains part fails */
void power_fail(const char *call, const char *part, int err);

/* calls that change nothing are in the trace as well, but openat() */
extern ngx_uint_t     power_all;

/* there is no O_TMPFILE on this disk */
extern ngx_uint_t     power_no_tmpfile;

/*
 * From the call on that would be in the trace as this one (0: never) nothing
 * is done any more, but close(): a process that was killed, whose memory is
 * still to be freed.  It may go on and fail at everything; then this is set
 * to 0, and another one sees what the first had written, synced or not.
 */
extern ngx_uint_t     power_dead_at;

/*
 * Called after each call that is in the trace, with power_calls(); and before
 * each call, also of those that only read.  What they do themselves is traced,
 * but has no faults.
 */
extern void         (*power_hook)(ngx_uint_t n);
extern void         (*power_tick)(void);


/* path and what lies below it (one level of folders) is durable as it is */
void power_start(const char *path);
/* the table of before is in force again; the trace stays */
void power_stop(void);
void power_free(void);

/* changing calls in the trace */
ngx_uint_t power_calls(void);
/* what the n-th was (from 0), for messages and tables: "pwritev .data" */
const char *power_name(ngx_uint_t n);
/* which of all kinds of calls the n-th was: for power_fault.at */
ngx_uint_t power_number(ngx_uint_t n);
/* when the n-th was made: ngx_current_msec; behind the last one: of now */
ngx_msec_t power_time(ngx_uint_t n);

/*
 * Makes the folder "to" (emptied if there) as left by the first n calls.  The
 * same mode and seed give the same disk.  The trace may be running.
 */
void power_make(const char *to, ngx_uint_t n, power_mode_e mode,
    unsigned seed);

/* removes a folder and all below */
void power_remove(const char *path);


#endif /* _NGX_SMTP_TEST_POWERLOSS_H_INCLUDED_ */
