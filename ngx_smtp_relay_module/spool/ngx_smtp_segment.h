
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * One segment's files and what is done to them: create, find and lock, append
 * a batch, write the log, seal, unlock, remove, read; and large bodies.  The
 * order of system calls is docs/spool-format.md.
 *
 * Everything here blocks: it runs in threads (or at exit), on memory of the
 * caller, through ngx_smtp_sys, without pools and without logging: what failed
 * is in file->fault.  Calls that change one file (append, log, seal, close,
 * ...) must come one after the other; ngx_smtp_segment_read() may run beside
 * them in other threads, but not beside close and remove.
 *
 * Return codes: NGX_OK; NGX_BUSY no space (ENOSPC, EDQUOT); NGX_ERROR any
 * other fault; NGX_DECLINED as told.
 */


#ifndef _NGX_SMTP_SEGMENT_H_INCLUDED_
#define _NGX_SMTP_SEGMENT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_spool_dir.h"
#include "ngx_smtp_record.h"
#include "ngx_smtp_event.h"


#define NGX_SMTP_RESERVE_CHUNK      (1024 * 1024)
#define NGX_SMTP_RESERVE_SMALL      (32 * 1024)


/*
 * The lock on the data file is the ownership: kernel-held, gone with the
 * descriptor.  Embedded in the store's segment; zeroed by create and lock.
 */
typedef struct {
    ngx_smtp_file_header_t  header;     /* id, key, generation */
    int                     data;       /* locked; -1: closed */
    int                     log;        /* -1: not open (adopted, no log) */
    off_t                   data_end;   /* committed end of the data */
    off_t                   data_zero;  /* zeros were written up to here */
    off_t                   log_end;    /* end of the records written */
    off_t                   log_space;  /* allocated up to here */
    off_t                   log_base;   /* what the last seal took of it; 0:
                                           not sealed */
    off_t                   owed;       /* bytes of log that accepted mail may
                                           still need for final records */
    uint32_t                batch;      /* last batch sequence used */
    uint32_t                sequence;   /* last log sequence used */
    uint32_t                seed;       /* of the log's CRCs */
    uint32_t                stale;      /* generation of a compaction's log
                                           that is still there; 0: none */
    ngx_smtp_fault_t        fault;      /* of the last call that failed */
    ngx_str_t               tail;       /* records that a seal puts behind
                                           SEALED; the caller's, malloc'ed */
    unsigned                full:1;     /* END or SEALED: no batch any more */
    unsigned                log_dirty:1;    /* written, not synced */
    unsigned                log_broken:1;   /* a log write or sync failed for
                                               good: send nothing, record
                                               nothing until relog, or close
                                               it */
    unsigned                data_broken:1;  /* a batch could not be taken
                                               back: see append */
    unsigned                no_reserve:1;   /* no fallocate() here */
    unsigned                no_zeros:1; /* they could not be written */
    unsigned                ended:1;    /* SEGMENT_DONE is written */
} ngx_smtp_segment_file_t;


/*
 * Creates an empty segment, locked, both files and their names durable.  msec:
 * milliseconds since 1970; random: NGX_SMTP_SEGMENT_RANDOM bytes.  prezero:
 * bytes to be written as zeros ahead (faster syncs; 0: none; append does so in
 * small steps when there is a load).  NGX_OK; else nothing is open, and what
 * was made is left for ngx_smtp_spool_clean() or is an empty segment that
 * anybody removes.
 */
ngx_int_t ngx_smtp_segment_create(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, uint64_t msec, const u_char *random,
    off_t prezero);

/*
 * Locks a segment found in the directory and reads its header; its log is not
 * opened (recovery does).  NGX_OK; NGX_AGAIN: somebody has it, or it is gone;
 * NGX_DECLINED: written by a newer version, header.version tells; NGX_ERROR:
 * with a fault; err 0: the header is damaged (CRIT; left alone).  Nothing is
 * open unless NGX_OK.
 */
ngx_int_t ngx_smtp_segment_lock(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, const ngx_smtp_segment_id_t *id);

/*
 * Room in the log for the final records of mail about to be accepted: adds
 * need bytes (the sum of ngx_smtp_log_need()) to what is owed and allocates in
 * chunks.  NGX_OK; NGX_BUSY: no space, refuse the mail, nothing is owed.  If
 * its batch fails then, the caller subtracts need from owed.
 */
ngx_int_t ngx_smtp_segment_reserve(ngx_smtp_segment_file_t *f, off_t need);

/*
 * Writes one batch and syncs it: 250 may be said after NGX_OK, the first
 * message's head is at *offset then.  iov[0] is the caller's spare element
 * for the batch header, iov[1] .. iov[n - 1] are whole messages (sealed head,
 * content unless large), one after the other; the elements are changed.
 *
 * On failure the batch was taken back: the data cut to data_end and synced,
 * and after a failed sync END written to the log, too (full is set).  Only
 * when neither worked data_broken is set: a restart may bring these messages
 * back (CRIT with their ids is the caller's), the segment takes no more.
 */
ngx_int_t ngx_smtp_segment_append(ngx_smtp_segment_file_t *f,
    struct iovec *iov, ngx_uint_t n, ngx_uint_t messages, off_t *offset);

/*
 * Appends whole records (from ngx_smtp_event_put() etc.) to the log; seals
 * them first.  Not synced: ngx_smtp_segment_log_sync().  Records of one call
 * count together or not at all after a crash: RESULT and the REPORT it causes
 * belong into one call.
 *
 * final: there is room for them by what is owed (RESULT, REPORT, REPORTED,
 * DONE, SETTLE); others (DEFERRED, HOLD ...) are refused with NGX_BUSY when
 * they would eat into it.  repay: the sum of what is owed to the messages
 * whose DONE is among the records (ngx_smtp_log_need() as it was reserved, or
 * the owed of a recovered one), taken from owed when they were written.
 *
 * All or nothing: after a failure the log ends where it ended, and the same
 * records can be tried again unless log_broken is set (NGX_ERROR).
 */
ngx_int_t ngx_smtp_segment_log(ngx_smtp_segment_file_t *f, u_char *records,
    size_t size, ngx_uint_t final, off_t repay);

/*
 * One fdatasync() of the log, if it is dirty.  A failure is final: log_broken.
 */
ngx_int_t ngx_smtp_segment_log_sync(ngx_smtp_segment_file_t *f);

/*
 * Seals: summaries of all live messages, the pending reports (as REPORT
 * events), SEALED, sync; the data file loses prezeroed room and gets earliest
 * (wall clock; the earliest due time, 0: now) as its mtime.  The segment stays
 * locked; events can follow, batches cannot (full).  A summary without
 * strings.data has them read from the data file.  The list of queues is
 * collected from the summaries.  NGX_BUSY, NGX_ERROR: not sealed, the adopter
 * will scan; the segment can be closed all the same (full is set).
 */
ngx_int_t ngx_smtp_segment_seal(ngx_smtp_segment_file_t *f,
    ngx_smtp_summary_t *summaries, ngx_uint_t n, ngx_smtp_event_t *reports,
    ngx_uint_t nreports, uint32_t next_number, time_t now, time_t earliest);

/*
 * Replaces a broken log by a new one that says the same as a seal: written
 * and synced in tmp/, renamed over the old one, directory synced.  On NGX_OK
 * log_broken is off and mail of the segment may be sent again; otherwise it
 * can be tried again.
 */
ngx_int_t ngx_smtp_segment_relog(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, ngx_smtp_summary_t *summaries, ngx_uint_t n,
    ngx_smtp_event_t *reports, ngx_uint_t nreports, uint32_t next_number,
    time_t now);

/*
 * For a segment sealed before: syncs the log, sets the mtime.  Then close.
 */
ngx_int_t ngx_smtp_segment_settle(ngx_smtp_segment_file_t *f,
    time_t earliest);

/*
 * Closes both files, which unlocks; with spool "released" is touched.  Never
 * fails.
 */
void ngx_smtp_segment_close(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f);

/*
 * All messages are done: SEGMENT_DONE synced, bodies of large messages
 * (numbers[n], those not unlinked yet) and data unlinked, directory synced,
 * the log unlinked, all closed.  NGX_OK; otherwise still locked and open,
 * and can be tried again.
 */
ngx_int_t ngx_smtp_segment_remove(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, uint32_t *numbers, ngx_uint_t n, time_t now);

/*
 * Reads size bytes at offset of the data file, all of them.  NGX_OK;
 * NGX_ERROR; with fault->err 0: the file is shorter.
 */
ngx_int_t ngx_smtp_segment_read(ngx_smtp_segment_file_t *f, u_char *buf,
    size_t size, off_t offset, ngx_smtp_fault_t *fault);


/* -- large bodies -------------------------------------------------------- */

/* one file being written, or read */
typedef struct {
    int                     fd;         /* -1: closed */
    off_t                   size;
    uint32_t                crc;        /* of all of it */
    ngx_smtp_fault_t        fault;
    char                    name[NGX_SMTP_TMP_NAME];    /* in tmp/, or "" */
} ngx_smtp_body_file_t;


/*
 * Makes the file, without a name where O_TMPFILE works, so that an abort
 * leaves nothing.  wish: a name in tmp/ otherwise, unique, of file name
 * characters (pid, time and a counter do), with room NGX_SMTP_TMP_NAME.
 */
ngx_int_t ngx_smtp_body_create(ngx_smtp_spool_t *spool,
    ngx_smtp_body_file_t *b, const char *wish);

/* Appends; the elements of iov are changed. */
ngx_int_t ngx_smtp_body_write(ngx_smtp_body_file_t *b, struct iovec *iov,
    ngx_uint_t n);

/*
 * fsync, then the name <id>-<number>.body, directory synced, closed: the
 * batch that names it may be written.  On failure nothing is left behind.
 */
ngx_int_t ngx_smtp_body_commit(ngx_smtp_spool_t *spool,
    ngx_smtp_body_file_t *b, const ngx_smtp_segment_id_t *id,
    uint32_t number);

/* At any moment before commit. */
void ngx_smtp_body_abort(ngx_smtp_spool_t *spool, ngx_smtp_body_file_t *b);

/*
 * Unlinks a body: its message ended and the event is synced, or the batch
 * that names it failed and was taken back.  NGX_OK also when it is not there.
 */
ngx_int_t ngx_smtp_body_unlink(ngx_smtp_spool_t *spool,
    const ngx_smtp_segment_id_t *id, uint32_t number,
    ngx_smtp_fault_t *fault);

/*
 * Unlinks bodies of segments that are not there: neither data nor log, as the
 * log is the last to go when a segment is removed.  Faults are ignored.
 */
void ngx_smtp_body_clean(ngx_smtp_spool_t *spool);

/* Opens one for ngx_smtp_body_read(); size is set from the file. */
ngx_int_t ngx_smtp_body_open(ngx_smtp_spool_t *spool,
    ngx_smtp_body_file_t *b, const ngx_smtp_segment_id_t *id,
    uint32_t number);

/* As ngx_smtp_segment_read(). */
ngx_int_t ngx_smtp_body_read(ngx_smtp_body_file_t *b, u_char *buf,
    size_t size, off_t offset, ngx_smtp_fault_t *fault);

void ngx_smtp_body_close(ngx_smtp_body_file_t *b);


/* -- shared by the files of this layer ----------------------------------- */

/*
 * Writes all of iov[n] at offset, however short single writes are; the
 * elements are changed.  NGX_OK, NGX_BUSY, NGX_ERROR.
 */
ngx_int_t ngx_smtp_write_all(int fd, struct iovec *iov, ngx_uint_t n,
    off_t offset, ngx_smtp_fault_t *fault, const char *what);

/* Reads up to size bytes, less only at the end of the file; -1: fault. */
ssize_t ngx_smtp_read_all(int fd, u_char *buf, size_t size, off_t offset,
    ngx_smtp_fault_t *fault, const char *what);

/*
 * Makes the log of a locked segment that has none, names it durably, and
 * reserves room for the marks.
 */
ngx_int_t ngx_smtp_segment_log_create(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, time_t now);

/*
 * Unlinks the log that a compaction, done or given up, left behind; it must
 * be gone before the data are.  NGX_OK: there is none; NGX_ERROR: f->fault.
 */
ngx_int_t ngx_smtp_segment_unstale(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f);

/* The mtime of the data: earliest due, 0: now. */
void ngx_smtp_seal_times(ngx_smtp_segment_file_t *f, time_t earliest);

/* Allocates the log up to end at least, in chunks. */
ngx_int_t ngx_smtp_segment_log_extend(ngx_smtp_segment_file_t *f, off_t end);

/* room for END, SEALED, SEGMENT_DONE */
#define NGX_SMTP_LOG_MARKS          4096


/* -- names --------------------------------------------------------------- */

#define NGX_SMTP_FILE_NAME          64      /* room for any of them */

/* NUL-terminated: <id>.data, <id>.<generation>.log, <id>-<number>.body */
void ngx_smtp_data_name(char *name, const ngx_smtp_segment_id_t *id);
void ngx_smtp_log_name(char *name, const ngx_smtp_segment_id_t *id,
    uint32_t generation);
void ngx_smtp_body_name(char *name, const ngx_smtp_segment_id_t *id,
    uint32_t number);


#endif /* _NGX_SMTP_SEGMENT_H_INCLUDED_ */
