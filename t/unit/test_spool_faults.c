
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
 * See spool_life.h.
 *
 * sources: core/ngx_smtp_sys.c core/ngx_smtp_crc32c.c
 * sources: core/ngx_smtp_pages.c
 * sources: spool/ngx_smtp_record.c spool/ngx_smtp_event.c
 * sources: spool/ngx_smtp_spool_dir.c spool/ngx_smtp_segment.c
 * sources: spool/ngx_smtp_segment_log.c
 * sources: spool/ngx_smtp_seal.c spool/ngx_smtp_body.c
 * sources: spool/ngx_smtp_rewrite.c
 * sources: spool/ngx_smtp_rewrite_log.c
 * sources: spool/ngx_smtp_window.c spool/ngx_smtp_recovery.c
 * sources: spool/ngx_smtp_recovery_log.c spool/ngx_smtp_recovery_scan.c
 * sources: t/unit/spool_life.c t/unit/spool.c
 * sources: spool/ngx_smtp_errors.c
 * sources: spool/ngx_smtp_recovery_skip.c
 */


#include "spool_life.h"


#define TEST_MESSAGES   7           /* 1 to 6 */


static void test_youth(void);
static void test_middle_age(void);
static void test_old_age(void);
static void test_life(void);
static ngx_uint_t test_run(test_fault_e what, ngx_uint_t at, int err,
    ngx_uint_t half);
static void test_each(test_fault_e what, int err, ngx_uint_t half);


/* the life */

static void
test_youth(void)
{
    ngx_int_t                 rc;
    ngx_uint_t                i;
    ngx_smtp_segment_file_t   f;

    rc = NGX_ERROR;

    for (i = 1; i < 4 && rc != NGX_OK; i++) {
        rc = test_segment_create(&life_spool, &f, i, i == 1 ? 3000 : 0);
    }

    if (rc != NGX_OK) {
        return;
    }

    life->id = f.header.id;
    life->created = 1;

    life_accept(&f, 1, 2);
    life_accept_large(&f);

    life_event(&f, NGX_SMTP_LOG_RESULT, 1, &life->fate[1].result);
    life_event(&f, NGX_SMTP_LOG_DONE, 1, &life->fate[1].done);
    (void) ngx_smtp_segment_log_sync(&f);

    life_event(&f, NGX_SMTP_LOG_REPORT, 2, &life->fate[2].report);
    (void) ngx_smtp_segment_log_sync(&f);

    life_accept(&f, 4, 1);
    life_accept(&f, 5, 1);
    life_accept(&f, 6, 1);

    life_event(&f, NGX_SMTP_LOG_HOLD, 5, &life->fate[5].hold);
    (void) ngx_smtp_segment_log_sync(&f);

    ngx_smtp_segment_close(&life_spool, &f);
}


static void
test_middle_age(void)
{
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    r = life_adopt(&f);

    if (r == NULL) {
        return;
    }

    if (r->notes.scanned) {
        (void) test_seal(&f, r, TEST_NOW);
    }

    if (life->fate[2].report == 2) {
        life_event(&f, NGX_SMTP_LOG_REPORTED, 2, &life->fate[2].reported);
    }

    if (test_live(r, 4)) {
        life_event(&f, NGX_SMTP_LOG_RESULT, 4, &life->fate[4].result);
    }

    life_end_large(&f);

    if (life->fate[5].hold == 2) {
        life_event(&f, NGX_SMTP_LOG_RELEASE, 5, &life->fate[5].release);
    }

    (void) ngx_smtp_segment_settle(&f, r->earliest);

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&life_spool, &f);
}


static void
test_old_age(void)
{
    uint32_t                  i;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    r = life_adopt(&f);

    if (r == NULL) {
        return;
    }

    if (f.log != -1) {
        (void) test_relog(&life_spool, &f, r, TEST_NOW);
    }

    for (i = 1; i < TEST_MESSAGES; i++) {

        if (test_live(r, i)) {
            life_event(&f, NGX_SMTP_LOG_DONE, i, &life->fate[i].done);
        }
    }

    (void) ngx_smtp_segment_log_sync(&f);

    for (i = 1; i < TEST_MESSAGES; i++) {

        if (life->fate[i].accept == 2 && life->fate[i].done != 2) {
            break;
        }
    }

    if (i == TEST_MESSAGES && !life->broken
        && ngx_smtp_segment_remove(&life_spool, &f, NULL, 0, TEST_NOW)
           == NGX_OK)
    {
        life->removed = 1;

    } else {
        ngx_smtp_segment_close(&life_spool, &f);
    }

    ngx_smtp_recovery_free(r);
}


static void
test_life(void)
{
    test_youth();

    if (life->created) {
        test_middle_age();
        test_old_age();
    }
}


static ngx_uint_t
test_run(test_fault_e what, ngx_uint_t at, int err, ngx_uint_t half)
{
    return life_run("", NULL, test_life, what, at, err, half, 0);
}


static void
test_each(test_fault_e what, int err, ngx_uint_t half)
{
    ngx_uint_t  at, calls;

    calls = test_run(test_fault_none, 0, 0, 0);

    assert_true(calls > 100);
    assert_int_equal(life->removed, 1);

    /* the way of a fault is longer: until none is given any more */

    for (at = 1; at <= calls; at++) {
        (void) test_run(what, at, err, half);
    }
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
        (void) test_run(test_fault_short, at, 0, 0);
        assert_int_equal(life->removed, 1);
    }
}


/* the same without O_TMPFILE */

static void
test_no_tmpfile(void **state)
{
    life_spool.tmpfile = 0;

    test_each(test_fault_stop, 0, 1);
    test_each(test_fault_errno, EIO, 0);
    test_each(test_fault_all, ENOSPC, 1);
}


int
main(void)
{
#define test(name)                                                            \
    cmocka_unit_test_setup_teardown(name, life_setup, life_teardown)

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
