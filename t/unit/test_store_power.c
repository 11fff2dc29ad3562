
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The scene of store_scene.h, and every disk it can leave: after each call
 * that changes something the workers are killed, or the power is lost, and
 * what was not synced is gone, or some of it, or any sectors of it.  Then
 * other workers look at what is there.
 *
 * Each state is also recovered with a stop, or a loss of power, at the calls
 * of that recovery, and once more after it: the outcome is the same.
 *
 * SMTP_SWEEP=n: n seeds for each call, and all calls of recoveries; without
 * it, a sample that takes some seconds.
 *
 * sources: t/unit/store_scene.c
 */


#include "store_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static void test_killed(void **state);
static void test_half(void **state);
static void test_drop(void **state);
static void test_some(void **state);
static void test_tear(void **state);
static void test_again(void **state);
static void test_renew(void **state);
static void test_again_one(ngx_uint_t workers);
static void test_each(power_mode_e mode, ngx_uint_t seeds);
static void test_one(ngx_uint_t n, power_mode_e mode, unsigned seed);
static ngx_uint_t test_seeds(ngx_uint_t few);


#define TEST_BASES  24      /* states whose recovery is stopped */


static scene_t  scene;
static time_t   test_end;           /* of the scene */
static char     now_testing[256];

static const char  *test_modes[] = { "keep", "half", "drop", "some", "tear" };


static ngx_uint_t
test_seeds(ngx_uint_t few)
{
    char  *many;

    many = getenv("SMTP_SWEEP");

    return many ? ngx_max((ngx_uint_t) atoi(many), few) : few;
}


static int
test_setup(void **state)
{
    if (scene_setup(state) != 0) {
        return -1;
    }

    power_start(scene_path);
    scene_play(&scene);

    test_end = ngx_time();

    return 0;
}


/* from here on it is the life with a compaction */

static void
test_renew(void **state)
{
    assert_int_equal(scene_teardown(NULL), 0);

    scene.renew = 1;

    assert_int_equal(test_setup(NULL), 0);
}


static void
test_one(ngx_uint_t n, power_mode_e mode, unsigned seed)
{
    char  *p;

    p = now_testing;
    p += sprintf(p, "%s, seed %u, after call %d (%s", test_modes[mode], seed,
                 (int) n, n ? power_name(n - 1) : "none");
    sprintf(p, ", before %s)", power_name(n));

    scene.what = now_testing;

    power_make(scene_disk, n, mode, seed);
    strcpy(env_path, scene_disk);
    shim_time_set(test_end, 0);

    scene_judge(&scene, n, mode > power_half, 1 + (n + seed) % 2);
}


static void
test_each(power_mode_e mode, ngx_uint_t seeds)
{
    ngx_uint_t  n, seed;

    assert_in_range(power_calls(), 100, 2000);

    for (n = 0; n <= power_calls(); n++) {
        for (seed = 0; seed < seeds; seed++) {
            test_one(n, mode, n * 101 + seed);
        }
    }
}


static void
test_killed(void **state)
{
    test_each(power_keep, 1);
}


static void
test_half(void **state)
{
    test_each(power_half, 1);
}


static void
test_drop(void **state)
{
    test_each(power_drop, 1);
}


static void
test_some(void **state)
{
    test_each(power_some, test_seeds(1));
}


static void
test_tear(void **state)
{
    test_each(power_tear, test_seeds(1));
}


/*
 * Recovery of a state, stopped at its calls, with all kinds of loss, then
 * done again: what is found is the same.
 */

static void
test_again(void **state)
{
    char        *p, base[80];
    ngx_uint_t   i, n, mode, bases;

    bases = getenv("SMTP_SWEEP") ? power_calls() : TEST_BASES;

    for (i = 0; i < bases; i++) {
        n = (i * power_calls() + i) / bases;
        mode = i % POWER_MODES;

        snprintf(base, sizeof(base), "%s.base%d", scene_path, (int) i);
        power_make(base, n, mode, i);
    }

    for (i = 0; i < bases; i++) {
        p = now_testing;
        p += sprintf(p, "recovery of state %d of %d", (int) i, (int) bases);
        scene.what = now_testing;

        snprintf(base, sizeof(base), "%s.base%d", scene_path, (int) i);

        power_start(base);
        strcpy(env_path, base);

        test_again_one(1 + i % 2);

        power_free();
        power_remove(base);
    }
}


static void
test_again_one(ngx_uint_t workers)
{
    char          found[sizeof(scene.found)], *p;
    ngx_uint_t    n, step, mode;

    shim_time_set(test_end, 0);
    scene_look(&scene, workers);
    strcpy(found, scene.found);

    power_stop();

    p = now_testing + strlen(now_testing);
    step = getenv("SMTP_SWEEP") ? 1 : power_calls() / 12 + 1;

    for (n = 0; n <= power_calls(); n++) {

        if (n % step && n < power_calls()) {
            continue;
        }

        mode = (n / step) % POWER_MODES;

        sprintf(p, ", %s, after its call %d (%s)", test_modes[mode], (int) n,
                n ? power_name(n - 1) : "none");

        power_make(scene_disk, n, mode, n);
        strcpy(env_path, scene_disk);
        shim_time_set(test_end, 0);

        scene_look(&scene, 1 + n % 2);

        if (strcmp(found, scene.found) != 0) {
            fail_msg("%s:\n%sbut first\n%s", now_testing, scene.found,
                     found);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_half),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_some),
        cmocka_unit_test(test_tear),
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_renew),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_half),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_some),
        cmocka_unit_test(test_tear),
        cmocka_unit_test(test_again),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, test_setup, scene_teardown);
}
