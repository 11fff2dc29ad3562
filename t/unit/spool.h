
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the tests of the spool's files share: a spool in a temporary folder,
 * messages made from numbers, a table of system calls that fails or stops the
 * process at the n-th call.
 *
 * A message's envelope, fields and content follow from its number, so that
 * what is read back can be compared without keeping it.
 */


#ifndef _NGX_SMTP_TEST_SPOOL_H_INCLUDED_
#define _NGX_SMTP_TEST_SPOOL_H_INCLUDED_


#include "shim.h"
#include "ngx_smtp_segment.h"
#include "ngx_smtp_recovery.h"
#include "ngx_smtp_rewrite.h"


#define TEST_NOW        1700000000
#define TEST_MANY       70          /* recipients of each fifth message */


/* what the table does at the n-th call, counted from 1 */
typedef enum {
    test_fault_none = 0,
    test_fault_stop,            /* _exit() instead of the call */
    test_fault_errno,           /* this call fails */
    test_fault_all,             /* this and all later ones that write fail */
    test_fault_short            /* this pwritev writes half, and no error */
} test_fault_e;


typedef struct {
    test_fault_e        what;
    ngx_uint_t          at;
    int                 err;
    ngx_uint_t          half;       /* a pwritev hit writes half before */
    ngx_uint_t          calls;      /* made so far */
    ngx_uint_t          hits;       /* faults given */
    const char         *name;       /* of the call hit first */
} test_fault_t;


extern test_fault_t  test_fault;

/* puts the failing table in force; both start a new count */
void test_fault_set(test_fault_e what, ngx_uint_t at, int err);
void test_fault_clear(void);

/* before test_spool_make(): memory for a disk, for thousands of files */
void test_sync_off(void);


/* a fresh 0700 folder, opened; the path is static */
const char *test_spool_make(ngx_smtp_spool_t *spool);
/* closes it and removes all of it */
void test_spool_remove(ngx_smtp_spool_t *spool);
/* files in a folder of the spool ("" for itself) whose name contains part */
ngx_uint_t test_spool_files(const char *sub, const char *part);
/* the whole file, malloc'ed */
u_char *test_file_read(const char *name, size_t *size);
void test_file_write(const char *name, const u_char *data, size_t size);


/* one message: the parts of a batch's iovec, freed by test_message_free() */
typedef struct {
    u_char             *head;
    size_t              head_size;
    u_char             *content;
    size_t              content_size;
    ngx_uint_t          nrcpts;
} test_message_t;

void test_message_make(test_message_t *m, uint32_t number, ngx_uint_t large);
void test_message_free(test_message_t *m);

/* content of a message, malloc'ed */
u_char *test_content(uint32_t number, size_t *size);
ngx_uint_t test_nrcpts(uint32_t number);

/* a segment with random bytes taken from seed */
ngx_int_t test_segment_create(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, ngx_uint_t seed, off_t prezero);

/* messages first .. first + n - 1 as one batch; need is reserved */
ngx_int_t test_append(ngx_smtp_segment_file_t *f, uint32_t first,
    ngx_uint_t n, off_t *offset);

/* one event, written but not synced; results for rcpts [from, to) */
ngx_int_t test_log(ngx_smtp_segment_file_t *f, ngx_uint_t type,
    uint32_t number, ngx_uint_t from, ngx_uint_t to, time_t until);

/* RESULT (failed) and REPORT, in one call */
ngx_int_t test_log_failed(ngx_smtp_segment_file_t *f, uint32_t number,
    uint32_t report);

/* locks and recovers all of it; NULL: rc says why, nothing is open */
ngx_smtp_recovery_t *test_recover(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, const ngx_smtp_segment_id_t *id,
    ngx_int_t *rc);

/* what a seal says of what was recovered; freed by test_said() */
void test_say(ngx_smtp_recovery_t *r, time_t now, ngx_smtp_seal_content_t *c);
void test_said(ngx_smtp_seal_content_t *c);

/* seals what was recovered, as an adopter does */
ngx_int_t test_seal(ngx_smtp_segment_file_t *f, ngx_smtp_recovery_t *r,
    time_t now);
ngx_int_t test_relog(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f,
    ngx_smtp_recovery_t *r, time_t now);

/* the live message with that number, or NULL */
ngx_smtp_recovered_t *test_live(ngx_smtp_recovery_t *r, uint32_t number);

/* 1 when head and content are as they were made */
ngx_uint_t test_intact(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f,
    ngx_smtp_recovered_t *m);

ngx_uint_t test_final(ngx_smtp_recovered_t *m, ngx_uint_t i);


#endif /* _NGX_SMTP_TEST_SPOOL_H_INCLUDED_ */
