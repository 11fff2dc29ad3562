
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Two owners at a time.  While the scene of store_scene.h is played another
 * worker comes by, between any two system calls, and does what adoption does:
 * lists the folder, cleans it, locks what is free, recovers and seals it,
 * removes what is empty.  It gives everything back at once, or keeps it for
 * some seconds.  Nobody loses anything, and what somebody owns nobody touches.
 *
 * sources: t/unit/store_scene.c t/unit/spool.c
 */


#include "store_scene.h"
#include "spool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define TEST_HELD   64          /* segments, by the visitor */
#define TEST_KEEP   2500        /* ms */


static void test_visit(ngx_uint_t n);
static void test_visit_segment(const ngx_smtp_segment_id_t *id,
    ngx_uint_t keep);
static void test_give_back(void);
static void test_each_call(void **state);
static void test_kept(void **state);
static void test_no_tmpfile(void **state);
static void test_renew(void **state);
static void test_play(const char *what, ngx_uint_t faults);
static void test_states(void);


static scene_t                  scene;
static char                     now_testing[128];
static ngx_smtp_spool_t         test_spool;
static ngx_smtp_segment_file_t  test_held[TEST_HELD];
static ngx_uint_t               test_nheld;
static ngx_msec_t               test_held_at;
static ngx_uint_t               test_keep_at;   /* this call; 0: none */
static ngx_uint_t               test_visits, test_taken;


static void
test_visit(ngx_uint_t n)
{
    ngx_uint_t             i;
    ngx_smtp_fault_t       fault;
    ngx_smtp_spool_list_t  list;

    test_visits++;

    assert_int_equal(ngx_smtp_spool_list(&test_spool, &list, &fault), NGX_OK);

    for (i = 0; i < list.norphans; i++) {
        assert_int_equal(ngx_smtp_spool_orphan(&test_spool, &list.orphans[i],
                                               &fault), NGX_OK);
    }

    ngx_smtp_spool_clean(&test_spool, time(NULL));

    for (i = 0; i < list.nsegments; i++) {
        test_visit_segment(&list.segments[i].id, n == test_keep_at);
    }

    ngx_smtp_spool_list_free(&list);
}


static void
test_visit_segment(const ngx_smtp_segment_id_t *id, ngx_uint_t keep)
{
    ngx_int_t                  rc;
    ngx_smtp_recovery_t       *r;
    ngx_smtp_segment_file_t    f;

    r = test_recover(&test_spool, &f, id, &rc);

    if (r == NULL) {
        assert_int_equal(rc, NGX_AGAIN);
        return;
    }

    assert_int_equal(r->notes.damaged, 0);
    assert_int_equal(r->notes.quarantined, 0);
    assert_int_equal(r->notes.no_log, 0);

    test_taken++;

    if (r->nlive == 0) {
        assert_int_equal(ngx_smtp_segment_remove(&test_spool, &f, NULL, 0,
                                                 TEST_NOW), NGX_OK);
        ngx_smtp_recovery_free(r);
        return;
    }

    if (r->notes.scanned) {
        assert_int_equal(test_seal(&f, r, TEST_NOW), NGX_OK);
    }

    ngx_smtp_recovery_free(r);

    if (keep) {
        test_held[test_nheld++] = f;
        test_held_at = ngx_current_msec;
        return;
    }

    ngx_smtp_segment_close(&test_spool, &f);
}


static void
test_give_back(void)
{
    if (test_nheld && ngx_current_msec - test_held_at > TEST_KEEP) {

        while (test_nheld) {
            ngx_smtp_segment_close(&test_spool, &test_held[--test_nheld]);
        }
    }
}


static void
test_play(const char *what, ngx_uint_t faults)
{
    ngx_smtp_fault_t  fault;

    snprintf(now_testing, sizeof(now_testing), "%s", what);

    assert_int_equal(scene_setup(NULL), 0);

    power_start(scene_path);

    assert_int_equal(ngx_smtp_spool_open(&test_spool, scene_path, &fault),
                     NGX_OK);

    test_visits = 0;
    test_taken = 0;
    test_nheld = 0;

    power_hook = test_visit;
    power_tick = test_give_back;

    scene.faults = faults;
    scene.what = now_testing;

    scene_play(&scene);

    power_hook = NULL;
    power_tick = NULL;

    while (test_nheld) {
        ngx_smtp_segment_close(&test_spool, &test_held[--test_nheld]);
    }

    ngx_smtp_spool_close(&test_spool);

    scene.what = now_testing;
    strcpy(env_path, scene_path);
    scene_judge(&scene, power_calls(), 0, 1);
}


/* it comes after each call, and gives back what it took */

static void
test_each_call(void **state)
{
    test_keep_at = 0;
    test_play("visited at each call", 0);

    assert_true(test_visits > 100);
    assert_true(test_taken > 5);

    test_states();
    scene_teardown(NULL);
}


static void
test_no_tmpfile(void **state)
{
    power_no_tmpfile = 1;
    test_keep_at = 0;
    test_play("visited at each call, without O_TMPFILE", 0);
    power_no_tmpfile = 0;

    assert_true(test_visits > 100);

    test_states();
    scene_teardown(NULL);
}


static void
test_renew(void **state)
{
    scene.renew = 1;

    test_keep_at = 0;
    test_play("visited at each call, with a compaction", 0);

    assert_true(test_visits > 100);

    test_states();
    scene_teardown(NULL);

    scene.renew = 0;
}


/* what both left at some of the calls */

static void
test_states(void)
{
    time_t      end;
    ngx_uint_t  n, mode, step;

    end = ngx_time();
    step = getenv("SMTP_SWEEP") ? 1 : 7;

    for (n = 0; n <= power_calls(); n += step) {
        mode = (n / step) % POWER_MODES;

        snprintf(now_testing, sizeof(now_testing),
                 "visited, mode %d, after call %d (%s)", (int) mode, (int) n,
                 n ? power_name(n - 1) : "none");

        power_make(scene_disk, n, mode, n);
        strcpy(env_path, scene_disk);
        shim_time_set(end, 0);

        scene_judge(&scene, n, mode > power_half, 1 + n % 2);
    }
}


/* it keeps what is free at the n-th call */

static void
test_kept(void **state)
{
    char        what[64];
    ngx_uint_t  n, step, taken;

    step = getenv("SMTP_SWEEP") ? 1 : 9;
    taken = 0;

    for (n = 1; n < 160; n += step) {
        test_keep_at = n;
        snprintf(what, sizeof(what), "visitor keeps what is free at %d",
                 (int) n);

        test_play(what, 1);
        scene_teardown(NULL);

        taken += test_taken;
    }

    assert_true(taken > 0);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_each_call),
        cmocka_unit_test(test_no_tmpfile),
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_renew),
    };

    return shim_run(tests);
}
