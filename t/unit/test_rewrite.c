
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A segment written anew, its log alone or compacted, while its messages live
 * on: once for each system call in it and each thing that can happen there.
 * The process stops, with a write done by half or not at all; the call fails
 * once with EIO or ENOSPC, or it and all later writes do; writes are short.
 * Then recovery looks at what is there:
 *
 *   - what was acknowledged and not ended is there once, intact, with all that
 *     was recorded before, in the middle of it, and afterwards;
 *   - what was ended does not come back, nothing is said to be damaged;
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

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


#define TEST_BULK       4000        /* of the test that takes many steps */


/* what is done to the segment, one after the other */
typedef struct {
    ngx_uint_t              data[2];
} test_kind_t;


static void test_youth(void);
static ngx_uint_t test_rewrite(ngx_uint_t data, ngx_uint_t second);
static void test_meanwhile(ngx_smtp_segment_file_t *f, ngx_uint_t step,
    ngx_uint_t second);
static void test_life(void);
static ngx_uint_t test_run(ngx_uint_t kind, test_fault_e what, ngx_uint_t at,
    int err, ngx_uint_t half);
static void test_each(test_fault_e what, int err, ngx_uint_t half);
static ngx_int_t test_compact(ngx_smtp_segment_file_t *f,
    ngx_smtp_recovery_t *r);
static int test_unlink_not(int dir, const char *name, int flags);


static test_kind_t  test_kinds[] = {
    { { 1, 0 } },
    { { 0, 1 } },
    { { 1, 1 } },
};

static test_kind_t  *test_kind;         /* of this life */


/* the life */

/* a segment that is full and mostly done; without faults */

static void
test_youth(void)
{
    uint32_t                 i;
    ngx_smtp_segment_file_t  f;

    if (test_segment_create(&life_spool, &f, 1, 3000) != NGX_OK) {
        abort();
    }

    life->id = f.header.id;

    life_accept(&f, 1, 2);
    life_accept_large(&f);

    for (i = 4; i < LIFE_MESSAGES; i += 3) {
        life_accept(&f, i, 3);
    }

    life_event(&f, NGX_SMTP_LOG_DONE, 1, &life->fate[1].done);
    life_event(&f, NGX_SMTP_LOG_DONE, 2, &life->fate[2].done);
    life_event(&f, NGX_SMTP_LOG_DONE, 6, &life->fate[6].done);
    life_event(&f, NGX_SMTP_LOG_HOLD, 4, &life->fate[4].hold);
    life_event(&f, NGX_SMTP_LOG_HOLD, 5, &life->fate[5].hold);
    life_event(&f, NGX_SMTP_LOG_RESULT, 7, &life->fate[7].result);
    life_event(&f, NGX_SMTP_LOG_REPORT, 8, &life->fate[8].report);

    (void) ngx_smtp_segment_log_sync(&f);

    ngx_smtp_segment_close(&life_spool, &f);
}


/* what happens between two steps goes to the old log */

static void
test_meanwhile(ngx_smtp_segment_file_t *f, ngx_uint_t step, ngx_uint_t second)
{
    if (second) {
        return;
    }

    switch (step) {

    case 0:
        life_event(f, NGX_SMTP_LOG_RESULT, 9, &life->fate[9].result);
        break;

    case 1:
        life_event(f, NGX_SMTP_LOG_DONE, 10, &life->fate[10].done);
        break;

    case 2:
        if (life->fate[5].hold == 2) {
            life_event(f, NGX_SMTP_LOG_RELEASE, 5, &life->fate[5].release);
        }

        break;

    default:
        break;
    }
}


/* 0: the disk is too bad to go on */

static ngx_uint_t
test_rewrite(ngx_uint_t data, ngx_uint_t second)
{
    ngx_int_t                 rc;
    ngx_uint_t                step, old;
    ngx_smtp_rewrite_t        rw;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    r = life_adopt(&f);

    if (r == NULL) {
        return 0;
    }

    old = f.header.generation;

    ngx_smtp_rewrite_start(&rw, &life_spool, &f, data);
    test_say(r, TEST_NOW, &rw.content);

    step = 0;

    do {
        test_meanwhile(&f, step++, second);
        rw.log_end = f.log_end;

        rc = ngx_smtp_rewrite_step(&rw);

    } while (rc == NGX_AGAIN);

    if (rc == NGX_OK) {
        rc = ngx_smtp_rewrite_commit(&rw);
    }

    ngx_smtp_rewrite_end(&rw);

    if (rc == NGX_OK || rw.committed) {
        if (f.header.generation != old + data) {
            abort();
        }

    } else if (f.header.generation != old) {
        abort();
    }

    if (rw.old_data != -1) {
        (void) ngx_smtp_sys.close(rw.old_data);
    }

    test_said(&rw.content);
    ngx_smtp_recovery_free(r);

    /* life goes on, in one file or the other */

    if (!second) {
        life_event(&f, NGX_SMTP_LOG_RESULT, 11, &life->fate[11].result);
        life_end_large(&f);

    } else {
        life_event(&f, NGX_SMTP_LOG_RESULT, 12, &life->fate[12].result);
    }

    life->generation = f.header.generation;

    ngx_smtp_segment_close(&life_spool, &f);

    return 1;
}


static void
test_life(void)
{
    if (test_rewrite(test_kind->data[0], 0)) {
        (void) test_rewrite(test_kind->data[1], 1);
    }
}


static ngx_uint_t
test_run(ngx_uint_t kind, test_fault_e what, ngx_uint_t at, int err,
    ngx_uint_t half)
{
    char        text[32];
    ngx_uint_t  calls;

    test_kind = &test_kinds[kind];

    (void) snprintf(text, sizeof(text), "kind %d%d, ",
                    (int) test_kind->data[0], (int) test_kind->data[1]);

    calls = life_run(text, test_youth, test_life, what, at, err, half, 1);

    /* a fault may be too much for it, short writes are none */

    if (what == test_fault_none || what == test_fault_short) {
        assert_int_equal(life->generation, 1 + test_kind->data[0]
                                           + test_kind->data[1]);
    }

    return calls;
}


static void
test_each(test_fault_e what, int err, ngx_uint_t half)
{
    ngx_uint_t  i, at, calls;

    for (i = 0; i < sizeof(test_kinds) / sizeof(test_kind_t); i++) {

        /* twice compacted: one fault is enough */

        if (i == 2 && (what != test_fault_errno || err != EIO)) {
            continue;
        }

        calls = test_run(i, test_fault_none, 0, 0, 0);

        assert_true(calls > 50);

        for (at = 1; at <= calls; at++) {
            (void) test_run(i, what, at, err, half);
        }
    }
}


static void
test_stop(void **state)
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
    test_each(test_fault_errno, ENOSPC, 1);
}


static void
test_disk_dies(void **state)
{
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
    ngx_uint_t  i, at;

    for (i = 0; i < sizeof(test_kinds) / sizeof(test_kind_t); i++) {
        for (at = 1; at < 60; at += 7) {
            (void) test_run(i, test_fault_short, at, 0, 0);
        }
    }
}


/* without O_TMPFILE a new file has a name from the start */

static void
test_no_tmpfile(void **state)
{
    life_spool.tmpfile = 0;

    test_each(test_fault_stop, 0, 1);
}


/* a compaction, whole; r is what is there */

static ngx_int_t
test_compact(ngx_smtp_segment_file_t *f, ngx_smtp_recovery_t *r)
{
    ngx_int_t           rc;
    ngx_smtp_rewrite_t  rw;

    ngx_smtp_rewrite_start(&rw, &life_spool, f, 1);
    test_say(r, TEST_NOW, &rw.content);

    do {
        rc = ngx_smtp_rewrite_step(&rw);
    } while (rc == NGX_AGAIN);

    if (rc == NGX_OK) {
        rc = ngx_smtp_rewrite_commit(&rw);
    }

    ngx_smtp_rewrite_end(&rw);

    if (rw.old_data != -1) {
        (void) ngx_smtp_sys.close(rw.old_data);
    }

    test_said(&rw.content);

    return rc;
}


/* many steps: copied in parts, a tail that is longer than the commit's part */

static void
test_many_steps(void **state)
{
    off_t                     before;
    ngx_int_t                 rc;
    ngx_uint_t                steps;
    uint32_t                  i;
    struct stat               st;
    ngx_smtp_rewrite_t        rw;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    assert_int_equal(test_segment_create(&life_spool, &f, 1, 0), NGX_OK);

    life->id = f.header.id;

    for (i = 1; i <= TEST_BULK; i += 100) {
        assert_int_equal(test_append(&f, i, 100, NULL), NGX_OK);
    }

    ngx_smtp_segment_close(&life_spool, &f);

    r = test_recover(&life_spool, &f, &life->id, &rc);
    assert_non_null(r);

    assert_int_equal(fstat(f.data, &st), 0);
    before = st.st_size;

    ngx_smtp_rewrite_start(&rw, &life_spool, &f, 1);
    test_say(r, TEST_NOW, &rw.content);

    for (steps = 0; /* void */ ; steps++) {

        if (steps == 1) {
            for (i = 1; i <= TEST_BULK; i++) {
                assert_int_equal(test_log(&f, NGX_SMTP_LOG_RESULT, i, 0, 1,
                                          0), NGX_OK);

                if (i % 10 != 1) {
                    assert_int_equal(test_log(&f, NGX_SMTP_LOG_DONE, i, 0, 0,
                                              0), NGX_OK);
                }
            }
        }

        rw.log_end = f.log_end;
        rc = ngx_smtp_rewrite_step(&rw);

        if (rc != NGX_AGAIN) {
            break;
        }
    }

    assert_int_equal(rc, NGX_OK);
    assert_true(steps > 6);
    assert_true(f.log_end - rw.tail <= 65536);
    assert_int_equal(f.header.generation, 1);

    assert_int_equal(ngx_smtp_rewrite_commit(&rw), NGX_OK);
    ngx_smtp_rewrite_end(&rw);

    (void) ngx_smtp_sys.close(rw.old_data);
    test_said(&rw.content);
    ngx_smtp_recovery_free(r);

    ngx_smtp_segment_close(&life_spool, &f);

    /* once more: now most of it is gone */

    r = test_recover(&life_spool, &f, &life->id, &rc);
    assert_non_null(r);
    assert_int_equal(r->notes.scanned, 0);
    assert_int_equal(r->nlive, TEST_BULK / 10);

    assert_int_equal(test_compact(&f, r), NGX_OK);
    ngx_smtp_recovery_free(r);

    assert_int_equal(fstat(f.data, &st), 0);
    assert_true(st.st_size < before / 5);

    ngx_smtp_segment_close(&life_spool, &f);

    /* also by a scan: the log is lost */

    {
        char  name[64];

        ngx_smtp_log_name(name, &life->id, 3);
        assert_int_equal(unlinkat(life_spool.dir, name, 0), 0);
    }

    r = test_recover(&life_spool, &f, &life->id, &rc);
    assert_non_null(r);
    assert_int_equal(r->notes.no_log, 1);
    assert_int_equal(r->notes.damaged, 0);
    assert_int_equal(r->nlive, TEST_BULK / 10);

    for (i = 1; i <= TEST_BULK; i += 10) {
        assert_non_null(test_live(r, i));
        assert_true(test_intact(&life_spool, &f, test_live(r, i)));
    }

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&life_spool, &f);
}


/*
 * The log of before could not be unlinked: the next compaction does that
 * first, and is not done when it still cannot.  Behind a removed segment it
 * would be taken for what is left of lost mail.
 */

static int
test_unlink_not(int dir, const char *name, int flags)
{
    if (strstr(name, ".1.log")) {
        errno = EIO;
        return -1;
    }

    return unlinkat(dir, name, flags);
}


static void
test_stale(void **state)
{
    uint32_t                  number;
    ngx_int_t                 rc;
    ngx_uint_t                pass;
    ngx_smtp_sys_t            sys;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    for (pass = 0; pass < 3; pass++) {
        memset(life, 0, sizeof(life_model_t));
        test_youth();

        r = test_recover(&life_spool, &f, &life->id, &rc);
        assert_non_null(r);

        sys = ngx_smtp_sys;
        ngx_smtp_sys.unlinkat = test_unlink_not;

        assert_int_equal(test_compact(&f, r), NGX_OK);
        assert_int_equal(test_spool_files("", ".log"), 2);

        /* the places are new ones */

        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(&life_spool, &f);

        r = test_recover(&life_spool, &f, &life->id, &rc);
        assert_non_null(r);
        f.stale = 1;

        if (pass) {
            assert_int_equal(test_compact(&f, r), NGX_ERROR);
            assert_int_equal(f.header.generation, 2);
            assert_int_equal(test_spool_files("", ".log"), 2);
        }

        ngx_smtp_sys = sys;

        if (pass < 2) {
            assert_int_equal(test_compact(&f, r), NGX_OK);
            assert_int_equal(f.header.generation, 3);
            assert_int_equal(test_spool_files("", ".log"), 1);
        }

        ngx_smtp_recovery_free(r);

        number = LIFE_LARGE;

        assert_int_equal(ngx_smtp_segment_remove(&life_spool, &f, &number, 1,
                                                 TEST_NOW), NGX_OK);

        assert_int_equal(test_spool_files("", "."), 0);
    }
}


/* a message that is damaged must not get into a file with good CRCs */

static void
test_damaged(void **state)
{
    off_t                     offset;
    u_char                    c;
    ngx_int_t                 rc;
    ngx_uint_t                data;
    ngx_smtp_rewrite_t        rw;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    test_youth();

    r = test_recover(&life_spool, &f, &life->id, &rc);
    assert_non_null(r);

    offset = test_live(r, 9)->offset;

    for (data = 0; data < 2; data++) {

        /* of the content, then of the head as well */

        offset += data ? 0 : test_live(r, 9)->head_size;
        assert_int_equal(pread(f.data, &c, 1, offset + 10), 1);
        c ^= 1;
        assert_int_equal(pwrite(f.data, &c, 1, offset + 10), 1);

        ngx_smtp_rewrite_start(&rw, &life_spool, &f, 1);
        test_say(r, TEST_NOW, &rw.content);

        do {
            rc = ngx_smtp_rewrite_step(&rw);
        } while (rc == NGX_AGAIN);

        assert_int_equal(rc, NGX_ERROR);
        assert_int_equal(rw.damaged, 1);

        ngx_smtp_rewrite_end(&rw);

        test_said(&rw.content);

        assert_int_equal(f.header.generation, 1);
        assert_int_equal(test_spool_files("", ".log"), 1);
        assert_int_equal(test_spool_files("tmp", ""), 0);

        offset = test_live(r, 9)->offset;
    }

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&life_spool, &f);
}


int
main(void)
{
#define test(name)                                                            \
    cmocka_unit_test_setup_teardown(name, life_setup, life_teardown)

    static const struct CMUnitTest  tests[] = {
        test(test_stop),
        test(test_eio),
        test(test_enospc),
        test(test_disk_dies),
        test(test_disk_full),
        test(test_short),
        test(test_no_tmpfile),
        test(test_many_steps),
        test(test_stale),
        test(test_damaged),
    };

    return shim_run(tests);
}
