
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A spool directory: the check at configuration time
 * (ngx_smtp_store_check(), declared in ngx_smtp_store.h), the open handle of a
 * worker, and what lies in it.  Blocking; system calls only, memory from
 * malloc.
 */


#ifndef _NGX_SMTP_SPOOL_DIR_H_INCLUDED_
#define _NGX_SMTP_SPOOL_DIR_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_sys.h"
#include "ngx_smtp_record.h"


/* what failed, for the caller to log; what is a literal */
typedef struct {
    ngx_err_t               err;        /* 0: no system call failed */
    const char             *what;       /* "fdatasync() of segment data" */
} ngx_smtp_fault_t;


/* what the file system has left for the workers' user */
typedef struct {
    off_t                   bytes;
    off_t                   inodes;     /* -1: it does not count them */
} ngx_smtp_space_t;


/* descriptors of one worker (or of the check); read-only after open */
typedef struct {
    int                     dir;        /* the spool */
    int                     tmp;        /* tmp/ */
    int                     quarantine; /* quarantine/ */
    unsigned                tmpfile:1;  /* O_TMPFILE and linkat work */
} ngx_smtp_spool_t;


typedef struct {
    ngx_smtp_segment_id_t   id;
    struct timespec         mtime;      /* of the data file: earliest due */
    off_t                   size;
} ngx_smtp_found_t;


/* a log whose data file is not there */
typedef struct {
    ngx_smtp_segment_id_t   id;
    uint32_t                generation;
} ngx_smtp_orphan_t;


/* all malloc'ed; freed by ngx_smtp_spool_list_free() */
typedef struct {
    ngx_smtp_found_t       *segments;   /* by mtime, earliest first */
    ngx_uint_t              nsegments;
    ngx_smtp_orphan_t      *orphans;
    ngx_uint_t              norphans;
    ngx_uint_t              strange;    /* names that are none of ours */
} ngx_smtp_spool_list_t;


/*
 * Opens a checked spool directory (path NUL-terminated), makes missing
 * subfolders, finds out whether O_TMPFILE works.  NGX_OK; NGX_ERROR with
 * *fault, nothing is open then.
 */
ngx_int_t ngx_smtp_spool_open(ngx_smtp_spool_t *spool, const char *path,
    ngx_smtp_fault_t *fault);
void ngx_smtp_spool_close(ngx_smtp_spool_t *spool);

/*
 * Lists segments (locked by somebody or not) and orphaned logs.  NGX_OK;
 * NGX_ERROR with *fault, list is empty then.
 */
ngx_int_t ngx_smtp_spool_list(ngx_smtp_spool_t *spool,
    ngx_smtp_spool_list_t *list, ngx_smtp_fault_t *fault);
void ngx_smtp_spool_list_free(ngx_smtp_spool_list_t *list);

/*
 * A log without data.  NGX_OK: it ended in SEGMENT_DONE and was unlinked, or
 * somebody else did it, or its data is there after all; NGX_DECLINED: it does
 * not (CRIT is due: data with mail may be missing); it is left alone;
 * NGX_ERROR with *fault.
 */
ngx_int_t ngx_smtp_spool_orphan(ngx_smtp_spool_t *spool,
    ngx_smtp_orphan_t *orphan, ngx_smtp_fault_t *fault);

/*
 * Unlinks what is older than a minute in tmp/ and that nobody has locked, and
 * bodies whose segment was removed.  now: wall clock, s.  Faults are not
 * reported: it is tried again.
 */
void ngx_smtp_spool_clean(ngx_smtp_spool_t *spool, time_t now);

/* Opens the folder to list it, from its start; NULL with *fault. */
DIR *ngx_smtp_spool_opendir(int dir, ngx_smtp_fault_t *fault);

/* Touches "released": something was unlocked.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_smtp_spool_touch(ngx_smtp_spool_t *spool,
    ngx_smtp_fault_t *fault);

/*
 * When "released" was last touched; zero when never.  One fstatat(): cheap
 * enough for the event loop.
 */
void ngx_smtp_spool_released(ngx_smtp_spool_t *spool, struct timespec *mtime);

/* NGX_OK or NGX_ERROR. */
ngx_int_t ngx_smtp_spool_space(ngx_smtp_spool_t *spool,
    ngx_smtp_space_t *space, ngx_smtp_fault_t *fault);

/*
 * Copies bytes start..end of fd into quarantine/<name>, synced.  A file of
 * that name and size is taken for the same copy (recovery runs again).
 * NGX_OK; NGX_ERROR or NGX_BUSY (no space) with *fault: nothing may be cut.
 */
ngx_int_t ngx_smtp_spool_quarantine(ngx_smtp_spool_t *spool, int fd,
    off_t start, off_t end, const char *name, ngx_smtp_fault_t *fault);

/*
 * A new locked file without a name, or in tmp/ under name (NUL-terminated,
 * room for NGX_SMTP_TMP_NAME).  Returns the descriptor, -1 with *fault.
 */
#define NGX_SMTP_TMP_NAME           64

int ngx_smtp_spool_tmpfile(ngx_smtp_spool_t *spool, char *name,
    const char *wish, ngx_smtp_fault_t *fault);

/*
 * Gives such a file its name in the spool; fails when the name exists.  The
 * directory is not synced yet.  NGX_OK, NGX_BUSY (no space), NGX_ERROR.
 */
ngx_int_t ngx_smtp_spool_link(ngx_smtp_spool_t *spool, int fd,
    const char *tmp, const char *name, ngx_smtp_fault_t *fault);

/* NGX_BUSY for ENOSPC and EDQUOT, else NGX_ERROR; fills *fault from errno. */
ngx_int_t ngx_smtp_fault_set(ngx_smtp_fault_t *fault, const char *what);


#endif /* _NGX_SMTP_SPOOL_DIR_H_INCLUDED_ */
