
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The life of a segment, from creation to removal, once for each system call
 * in it and each thing that can happen at it: the process stops there, with a
 * write done by half or not at all; the call fails once with EIO or ENOSPC,
 * or it and all later writes do; writes are short.  Then recovery looks at
 * what is there:
 *
 *   - what was acknowledged and not ended is there, intact, with its results;
 *   - what was refused, or ended, does not come back;
 *   - a report that is due is due, one that was sent is not;
 *   - it all can be ended and removed, and nothing is left.
 *
 * The life is led by a child process, which tells by shared memory what it
 * tried and what it was told.
 *
 * sources: core/ngx_smtp_sys.c core/ngx_smtp_crc32c.c
 * sources: core/ngx_smtp_pages.c
 * sources: spool/ngx_smtp_record.c spool/ngx_smtp_event.c
 * sources: spool/ngx_smtp_spool_dir.c spool/ngx_smtp_segment.c
 * sources: spool/ngx_smtp_seal.c spool/ngx_smtp_body.c
 * sources: spool/ngx_smtp_rewrite.c
 * sources: spool/ngx_smtp_window.c spool/ngx_smtp_recovery.c
 * sources: spool/ngx_smtp_recovery_log.c spool/ngx_smtp_recovery_scan.c
 * sources: t/unit/spool.c
 * sources: spool/ngx_smtp_errors.c
 * sources: spool/ngx_smtp_recovery_skip.c
 */


#include "spool.h"
#include "ngx_smtp_crc32c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>


#define TEST_MESSAGES   7           /* 1 to 6; 3 is large */
#define TEST_LARGE      3


/* 1: tried; 2: and told that it worked */
typedef struct {
    unsigned char           accept;
    unsigned char           refused;
    unsigned char           result;     /* of recipient 0 */
    unsigned char           report;
    unsigned char           reported;
    unsigned char           hold;
    unsigned char           release;
    unsigned char           done;
} test_fate_t;


typedef struct {
    test_fate_t             fate[TEST_MESSAGES];
    ngx_smtp_segment_id_t   id;
    ngx_uint_t              created;
    ngx_uint_t              broken;     /* a batch could not be taken back */
    ngx_uint_t              removed;
    ngx_uint_t              finished;
    ngx_uint_t              calls;
    char                    call[32];
} test_model_t;


static void test_accept_one(ngx_smtp_segment_file_t *f, uint32_t number);
static void test_accept_large(ngx_smtp_segment_file_t *f);
static void test_accepted(ngx_smtp_segment_file_t *f, uint32_t first,
    ngx_uint_t n, ngx_int_t rc);
static void test_event(ngx_smtp_segment_file_t *f, ngx_uint_t type,
    uint32_t number, unsigned char *fate);
static ngx_smtp_recovery_t *test_adopt(ngx_smtp_segment_file_t *f);
static void test_youth(void);
static void test_middle_age(void);
static void test_old_age(void);
static void test_life(void);
static void test_run(test_fault_e what, ngx_uint_t at, int err,
    ngx_uint_t half);
static void test_judge(void);
static void test_judge_message(ngx_smtp_recovery_t *r,
    ngx_smtp_segment_file_t *f, uint32_t number);
static void test_end_all(ngx_smtp_recovery_t *r, ngx_smtp_segment_file_t *f);
static void test_fail(const char *what, uint32_t number);
static void test_each(test_fault_e what, int err, ngx_uint_t half);


static ngx_smtp_spool_t   spool;
static test_model_t      *model;
static char               now_testing[128];


/* the life, in the child */

static void
test_accepted(ngx_smtp_segment_file_t *f, uint32_t first, ngx_uint_t n,
    ngx_int_t rc)
{
    ngx_uint_t  i;

    for (i = first; i < first + n; i++) {

        if (rc == NGX_OK) {
            model->fate[i].accept = 2;

        } else {
            model->fate[i].refused = 1;
        }
    }

    model->broken |= f->data_broken;
}


static void
test_accept_one(ngx_smtp_segment_file_t *f, uint32_t number)
{
    model->fate[number].accept = 1;

    test_accepted(f, number, 1, test_append(f, number, 1, NULL));
}


static void
test_accept_large(ngx_smtp_segment_file_t *f)
{
    off_t                  offset, need;
    ngx_int_t              rc;
    struct iovec           iov[2];
    test_message_t         m;
    ngx_smtp_fault_t       fault;
    ngx_smtp_body_file_t   b;

    model->fate[TEST_LARGE].accept = 1;

    test_message_make(&m, TEST_LARGE, 1);

    need = ngx_smtp_log_need(m.head_size, m.nrcpts);

    rc = ngx_smtp_body_create(&spool, &b, "body-1");

    if (rc == NGX_OK) {
        iov[0].iov_base = m.content;
        iov[0].iov_len = m.content_size;

        rc = ngx_smtp_body_write(&b, iov, 1);

        if (rc == NGX_OK) {
            rc = ngx_smtp_segment_reserve(f, need);
        }

        if (rc != NGX_OK) {
            ngx_smtp_body_abort(&spool, &b);
        }
    }

    if (rc == NGX_OK) {
        rc = ngx_smtp_body_commit(&spool, &b, &f->header.id, TEST_LARGE);
    }

    if (rc == NGX_OK) {
        iov[1].iov_base = m.head;
        iov[1].iov_len = m.head_size;

        rc = ngx_smtp_segment_append(f, iov, 2, 1, &offset);

        if (rc != NGX_OK && !f->data_broken) {
            (void) ngx_smtp_body_unlink(&spool, &f->header.id, TEST_LARGE,
                                        &fault);
        }
    }

    test_accepted(f, TEST_LARGE, 1, rc);
    test_message_free(&m);
}


static void
test_event(ngx_smtp_segment_file_t *f, ngx_uint_t type, uint32_t number,
    unsigned char *fate)
{
    ngx_int_t  rc;

    if (model->fate[number].accept != 2) {
        return;
    }

    /* what could not be recorded may be recorded the next time */

    *fate = ngx_max(*fate, 1);

    if (type == NGX_SMTP_LOG_REPORT) {
        rc = test_log_failed(f, number, 1);

    } else {
        rc = test_log(f, type, number, 0, type == NGX_SMTP_LOG_RESULT, 0);
    }

    if (rc == NGX_OK) {
        *fate = 2;
    }
}


static void
test_youth(void)
{
    ngx_int_t                 rc;
    ngx_uint_t                i;
    ngx_smtp_segment_file_t   f;

    rc = NGX_ERROR;

    for (i = 1; i < 4 && rc != NGX_OK; i++) {
        rc = test_segment_create(&spool, &f, i, i == 1 ? 3000 : 0);
    }

    if (rc != NGX_OK) {
        return;
    }

    model->id = f.header.id;
    model->created = 1;

    model->fate[1].accept = 1;
    model->fate[2].accept = 1;
    test_accepted(&f, 1, 2, test_append(&f, 1, 2, NULL));

    test_accept_large(&f);

    test_event(&f, NGX_SMTP_LOG_RESULT, 1, &model->fate[1].result);
    test_event(&f, NGX_SMTP_LOG_DONE, 1, &model->fate[1].done);
    (void) ngx_smtp_segment_log_sync(&f);

    test_event(&f, NGX_SMTP_LOG_REPORT, 2, &model->fate[2].report);
    (void) ngx_smtp_segment_log_sync(&f);

    test_accept_one(&f, 4);
    test_accept_one(&f, 5);
    test_accept_one(&f, 6);

    test_event(&f, NGX_SMTP_LOG_HOLD, 5, &model->fate[5].hold);
    (void) ngx_smtp_segment_log_sync(&f);

    ngx_smtp_segment_close(&spool, &f);
}


/* a fault at adoption is over the next time */

static ngx_smtp_recovery_t *
test_adopt(ngx_smtp_segment_file_t *f)
{
    ngx_int_t             rc;
    ngx_uint_t            i;
    ngx_smtp_recovery_t  *r;

    r = NULL;

    for (i = 0; i < 3 && r == NULL; i++) {
        r = test_recover(&spool, f, &model->id, &rc);
    }

    return r;
}


static void
test_middle_age(void)
{
    ngx_smtp_fault_t          fault;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    r = test_adopt(&f);

    if (r == NULL) {
        return;
    }

    if (r->notes.scanned) {
        (void) test_seal(&f, r, TEST_NOW);
    }

    if (model->fate[2].report == 2) {
        test_event(&f, NGX_SMTP_LOG_REPORTED, 2, &model->fate[2].reported);
    }

    if (test_live(r, 4)) {
        test_event(&f, NGX_SMTP_LOG_RESULT, 4, &model->fate[4].result);
    }

    test_event(&f, NGX_SMTP_LOG_DONE, TEST_LARGE,
               &model->fate[TEST_LARGE].done);

    if (ngx_smtp_segment_log_sync(&f) == NGX_OK
        && model->fate[TEST_LARGE].done == 2)
    {
        (void) ngx_smtp_body_unlink(&spool, &f.header.id, TEST_LARGE, &fault);
    }

    if (model->fate[5].hold == 2) {
        test_event(&f, NGX_SMTP_LOG_RELEASE, 5, &model->fate[5].release);
    }

    (void) ngx_smtp_segment_settle(&f, r->earliest);

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);
}


static void
test_old_age(void)
{
    uint32_t                  i;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    r = test_adopt(&f);

    if (r == NULL) {
        return;
    }

    if (f.log != -1) {
        (void) test_relog(&spool, &f, r, TEST_NOW);
    }

    for (i = 1; i < TEST_MESSAGES; i++) {

        if (test_live(r, i)) {
            test_event(&f, NGX_SMTP_LOG_DONE, i, &model->fate[i].done);
        }
    }

    (void) ngx_smtp_segment_log_sync(&f);

    for (i = 1; i < TEST_MESSAGES; i++) {

        if (model->fate[i].accept == 2 && model->fate[i].done != 2) {
            break;
        }
    }

    if (i == TEST_MESSAGES && !model->broken
        && ngx_smtp_segment_remove(&spool, &f, NULL, 0, TEST_NOW) == NGX_OK)
    {
        model->removed = 1;

    } else {
        ngx_smtp_segment_close(&spool, &f);
    }

    ngx_smtp_recovery_free(r);
}


static void
test_life(void)
{
    test_youth();

    if (model->created) {
        test_middle_age();
        test_old_age();
    }

    model->finished = 1;
    model->calls = test_fault.calls;

    if (test_fault.name) {
        strncpy(model->call, test_fault.name, sizeof(model->call) - 1);
    }
}


/* the judgment, in the parent */

static void
test_fail(const char *what, uint32_t number)
{
    fprintf(stderr, "# %s: message %u %s\n", now_testing, number, what);
    fail();
}


static void
test_judge_message(ngx_smtp_recovery_t *r, ngx_smtp_segment_file_t *f,
    uint32_t number)
{
    test_fate_t           *fate;
    ngx_smtp_recovered_t  *m;

    fate = &model->fate[number];
    m = r ? test_live(r, number) : NULL;

    if (m == NULL) {

        if (fate->accept == 2 && !fate->done) {
            test_fail("was acknowledged and is lost", number);
        }

        return;
    }

    if (fate->accept == 0) {
        test_fail("came from nowhere", number);
    }

    if (fate->refused) {

        if (!model->broken) {
            test_fail("was refused and is there", number);
        }

        return;
    }

    if (fate->done == 2) {
        test_fail("was ended and came back", number);
    }

    if (!test_intact(&spool, f, m)) {
        test_fail("is damaged", number);
    }

    if (fate->result == 2 && !test_final(m, 0)) {
        test_fail("lost its result", number);
    }

    if (!fate->result && !fate->report && m->npending != m->nrcpts) {
        test_fail("has a result it never had", number);
    }

    if (fate->report && m->nreports != test_final(m, 0)) {
        test_fail("has a failure without a report", number);
    }

    if (fate->report == 2 && !fate->reported && m->reports == NULL) {
        test_fail("lost its report", number);
    }

    if (fate->reported == 2 && m->reports) {
        test_fail("reports again", number);
    }

    if (fate->release == 2 ? m->hold
                           : fate->hold == 2 && !fate->release && !m->hold)
    {
        test_fail("is on hold, or not, as it was not", number);
    }
}


static void
test_end_all(ngx_smtp_recovery_t *r, ngx_smtp_segment_file_t *f)
{
    ngx_uint_t   i, n;
    uint32_t    *numbers;

    numbers = calloc(r->nmessages + 1, sizeof(uint32_t));
    n = 0;

    for (i = 0; i < r->nmessages; i++) {

        if (r->messages[i].done) {
            continue;
        }

        if (r->messages[i].large) {
            numbers[n++] = r->messages[i].number;
        }

        if (test_log(f, NGX_SMTP_LOG_DONE, r->messages[i].number, 0, 0, 0)
            != NGX_OK)
        {
            test_fail("cannot be ended", r->messages[i].number);
        }
    }

    if (ngx_smtp_segment_remove(&spool, f, numbers, n, TEST_NOW) != NGX_OK) {
        test_fail("is the last, the segment cannot be removed", 0);
    }

    free(numbers);
}


static void
test_judge(void)
{
    uint32_t                   i;
    ngx_int_t                  rc;
    ngx_uint_t                 pass, n;
    ngx_smtp_fault_t           fault;
    ngx_smtp_recovery_t       *r;
    ngx_smtp_spool_list_t      list;
    ngx_smtp_segment_file_t    f;

    ngx_smtp_spool_clean(&spool, time(NULL) + 3600);

    if (ngx_smtp_spool_list(&spool, &list, &fault) != NGX_OK) {
        test_fail("is not listed", 0);
    }

    for (n = 0; n < list.norphans; n++) {

        if (ngx_smtp_spool_orphan(&spool, &list.orphans[n], &fault)
            != NGX_OK)
        {
            test_fail("has a log without data", 0);
        }
    }

    if (list.strange) {
        test_fail("has a strange file", 0);
    }

    r = NULL;

    for (n = 0; n < list.nsegments; n++) {

        /* thrice: nothing a recovery or a seal does may change the state */

        for (pass = 0; pass < 3; pass++) {
            r = test_recover(&spool, &f, &list.segments[n].id, &rc);

            if (r == NULL) {
                test_fail("cannot be recovered", 0);
            }

            if (r->notes.damaged || r->notes.quarantined || r->notes.no_log
                || (pass && (r->notes.torn || r->notes.events_lost)))
            {
                test_fail("is said to be damaged", 0);
            }

            if (memcmp(&list.segments[n].id, &model->id, sizeof(model->id))
                == 0)
            {
                for (i = 1; i < TEST_MESSAGES; i++) {
                    test_judge_message(r, &f, i);
                }

            } else if (r->nlive) {
                test_fail("is in a segment that was not made", 0);
            }

            if (pass == 1 && r->nlive) {

                if (test_seal(&f, r, TEST_NOW) != NGX_OK) {
                    test_fail("cannot be sealed", 0);
                }
            }

            if (pass == 2) {
                test_end_all(r, &f);

            } else {
                ngx_smtp_segment_close(&spool, &f);
            }

            ngx_smtp_recovery_free(r);
        }
    }

    if (list.nsegments == 0) {

        for (i = 1; i < TEST_MESSAGES; i++) {
            test_judge_message(NULL, NULL, i);
        }
    }

    if (model->removed && list.nsegments) {
        test_fail("is removed, its segment is not", 0);
    }

    ngx_smtp_spool_list_free(&list);

    /* of all that nothing is left */

    ngx_smtp_spool_clean(&spool, time(NULL) + 3600);

    if (test_spool_files("", ".") || test_spool_files("tmp", "")) {
        test_fail("left files behind", 0);
    }
}


static void
test_run(test_fault_e what, ngx_uint_t at, int err, ngx_uint_t half)
{
    int           status;
    pid_t         pid;
    ngx_fd_t      quarantine;

    static const char  *names[] = { "none", "stop", "once", "all", "short" };

    memset(model, 0, sizeof(test_model_t));

    (void) snprintf(now_testing, sizeof(now_testing),
                    "%s at %lu, %s, %s", names[what], (unsigned long) at,
                    err == EIO ? "EIO" : err == ENOSPC ? "ENOSPC" : "-",
                    half ? "half" : "whole");

    pid = fork();

    if (pid == 0) {
        test_fault_set(what, at, err);
        test_fault.half = half;
        test_life();
        _exit(0);
    }

    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));

    if (WEXITSTATUS(status) != (what == test_fault_stop && !model->finished
                                ? 9 : 0))
    {
        test_fail("died", 0);
    }

    if (what != test_fault_none || at == 0) {
        test_judge();
    }

    /* tails that were kept aside */

    quarantine = spool.quarantine;
    assert_true(quarantine != -1);
}


static void
test_each(test_fault_e what, int err, ngx_uint_t half)
{
    ngx_uint_t  at, calls;

    test_run(test_fault_none, 0, 0, 0);

    calls = model->calls;

    assert_true(calls > 100);
    assert_int_equal(model->removed, 1);

    /* the way of a fault is longer: until none is given any more */

    for (at = 1; at <= calls; at++) {
        test_run(what, at, err, half);
    }
}


static int
test_setup(void **state)
{
    test_sync_off();
    (void) test_spool_make(&spool);

    model = mmap(NULL, sizeof(test_model_t), PROT_READ|PROT_WRITE,
                 MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    return model == MAP_FAILED;
}


static int
test_teardown(void **state)
{
    munmap(model, sizeof(test_model_t));
    test_spool_remove(&spool);

    return 0;
}


static void
test_stop(void **state)
{
    test_each(test_fault_stop, 0, 0);
}


static void
test_stop_half(void **state)
{
    test_each(test_fault_stop, 0, 1);
}


static void
test_eio(void **state)
{
    test_each(test_fault_errno, EIO, 0);
    test_each(test_fault_errno, EIO, 1);
}


static void
test_enospc(void **state)
{
    test_each(test_fault_errno, ENOSPC, 0);
    test_each(test_fault_errno, ENOSPC, 1);
}


static void
test_disk_dies(void **state)
{
    test_each(test_fault_all, EIO, 0);
    test_each(test_fault_all, EIO, 1);
}


static void
test_disk_full(void **state)
{
    test_each(test_fault_all, ENOSPC, 1);
}


static void
test_short(void **state)
{
    ngx_uint_t  at;

    /* many more calls; each result is as without it */

    for (at = 1; at < 400; at += 13) {
        test_run(test_fault_short, at, 0, 0);
        assert_int_equal(model->removed, 1);
    }
}


/* the same without O_TMPFILE */

static void
test_no_tmpfile(void **state)
{
    spool.tmpfile = 0;

    test_each(test_fault_stop, 0, 1);
    test_each(test_fault_errno, EIO, 0);
    test_each(test_fault_all, ENOSPC, 1);
}


int
main(void)
{
#define test(name)                                                            \
    cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

    static const struct CMUnitTest  tests[] = {
        test(test_stop),
        test(test_stop_half),
        test(test_eio),
        test(test_enospc),
        test(test_disk_dies),
        test(test_disk_full),
        test(test_short),
        test(test_no_tmpfile),
    };

    return shim_run(tests);
}
