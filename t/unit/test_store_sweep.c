
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The scene of store_scene.h with a fault at its n-th system call: it fails
 * with EIO or ENOSPC, once or for a while, or writes are short.  Everybody is
 * answered, the workers can leave, and what is found afterwards is what was
 * told; also if the power is lost on top of that, at any moment.
 *
 * And without faults, with another worker that comes by at each call, takes
 * what is free, and gives it back at once, or keeps it for a while.
 *
 * SMTP_SWEEP=1: every call; without it, a sample that takes some seconds.
 *
 * sources: t/unit/store_scene.c
 */


#include "store_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define TEST_STEP   37          /* of a sample */


static void test_eio(void **state);
static void test_enospc(void **state);
static void test_for_a_while(void **state);
static void test_short(void **state);
static void test_killed(void **state);
static void test_renew(void **state);
static ngx_uint_t test_killed_at(ngx_uint_t at);
static void test_each(int err, ngx_uint_t times, ngx_uint_t is_short);
static ngx_uint_t test_life(ngx_uint_t at, int err, ngx_uint_t times,
    ngx_uint_t is_short);


static scene_t     scene;
static char        now_testing[256];
static ngx_uint_t  test_first;      /* each kind of fault has its sample */


static ngx_uint_t
test_life(ngx_uint_t at, int err, ngx_uint_t times, ngx_uint_t is_short)
{
    char        *p;
    time_t       end;
    ngx_uint_t   calls, n, i, mode;

    assert_int_equal(scene_setup(NULL), 0);

    power_start(scene_path);

    power_fault.at = at;
    power_fault.times = times;
    power_fault.err = err;
    power_fault.short_write = is_short;

    scene.faults = 1;
    scene.what = now_testing;

    p = now_testing;
    p += sprintf(p, "%s at %d, %d times",
                 is_short ? "short write" : err == EIO ? "EIO" : "ENOSPC",
                 (int) at, (int) times);

    scene_play(&scene);

    calls = power_fault.calls;
    power_fault.at = 0;

    sprintf(p, " (%s)", power_fault.name ? power_fault.name : "none");
    scene.what = now_testing;

    p += strlen(p);
    end = ngx_time();

    /* and some disks on the way */

    for (i = 0; i < 2; i++) {
        n = (at * 7919 + i * 104729 + times) % (power_calls() + 1);
        mode = power_drop + (at + i) % 3;

        sprintf(p, ", power lost after call %d of %d (%s)", (int) n,
                (int) power_calls(), n ? power_name(n - 1) : "none");

        power_make(scene_disk, n, mode, at + i);
        strcpy(env_path, scene_disk);
        shim_time_set(end, 0);

        scene_judge(&scene, n, 1, 1 + i);
    }

    *p = '\0';

    strcpy(env_path, scene_path);
    scene_judge(&scene, power_calls(), 0, 1 + at % 2);

    scene_teardown(NULL);

    return calls;
}


static void
test_each(int err, ngx_uint_t times, ngx_uint_t is_short)
{
    ngx_uint_t  at, calls, step;

    step = getenv("SMTP_SWEEP") ? 1 : TEST_STEP;

    calls = test_life(0, err, times, is_short);

    assert_in_range(calls, 200, 5000);

    for (at = 1 + test_first++ % step; at <= calls; at += step) {
        (void) test_life(at, err, times, is_short);
    }
}


static void
test_eio(void **state)
{
    test_each(EIO, 1, 0);
    test_each(EIO, 2, 0);
}


static void
test_enospc(void **state)
{
    test_each(ENOSPC, 1, 0);
}


static void
test_for_a_while(void **state)
{
    test_each(EIO, 12, 0);
    test_each(ENOSPC, 12, 0);
    test_each(ENOSPC, 60, 0);
}


static void
test_short(void **state)
{
    test_each(0, 1, 1);
    test_each(0, 20, 1);
}


/* the life with a compaction */

static void
test_renew(void **state)
{
    scene.renew = 1;

    test_each(EIO, 1, 0);
    test_each(EIO, 2, 0);
    test_each(ENOSPC, 1, 0);
    test_each(ENOSPC, 30, 0);
    test_each(0, 20, 1);
    test_killed(state);

    scene.renew = 0;
}


/*
 * A worker is killed, another takes over what it wrote and did not sync, and
 * as soon as that one has told what there is the power is lost.
 */

static void
test_killed(void **state)
{
    ngx_uint_t  at, step, calls;

    step = getenv("SMTP_SWEEP") ? 1 : 5;

    calls = test_killed_at(0);

    assert_in_range(calls, 100, 500);

    for (at = 1; at < calls; at += step) {
        (void) test_killed_at(at);
    }
}


static ngx_uint_t
test_killed_at(ngx_uint_t at)
{
    char        *p, found[sizeof(scene.found)];
    time_t       end;
    ngx_uint_t   n, mode, seed, calls;

    assert_int_equal(scene_setup(NULL), 0);

    power_start(scene_path);

    scene.faults = 1;
    scene.what = now_testing;

    power_dead_at = at;
    scene_play(&scene);
    power_dead_at = 0;

    calls = power_calls();

    p = now_testing;
    p += sprintf(p, "killed after call %d (%s)", (int) at,
                 at ? power_name(at - 1) : "none");
    scene.what = now_testing;

    end = ngx_time();

    scene_look(&scene, 1);
    strcpy(found, scene.found);
    n = scene.looked;

    for (mode = power_drop; mode <= power_tear; mode++) {

        for (seed = 0; seed < 2; seed++) {
            sprintf(p, ", power lost after the takeover, mode %d", (int) mode);

            power_make(scene_disk, n, mode, seed);
            strcpy(env_path, scene_disk);
            shim_time_set(end, 0);

            scene_look(&scene, 1);

            if (strcmp(found, scene.found) != 0) {
                fail_msg("%s: was\n%sis\n%s", now_testing, found,
                         scene.found);
            }
        }
    }

    scene_teardown(NULL);

    return calls;
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_eio),
        cmocka_unit_test(test_enospc),
        cmocka_unit_test(test_for_a_while),
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_renew),
    };

    return shim_run(tests);
}
