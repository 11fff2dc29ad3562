
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Retry times: a table, the bounds of the jitter, whole lives of messages, and
 * clocks that are wrong.
 *
 * sources: queue/ngx_smtp_schedule.c
 */


#include "shim.h"
#include "ngx_smtp_schedule.h"


#define NOW   1700000000


static uint32_t test_seed_none(time_t value);
static void test_interval(void **state);
static void test_jitter(void **state);
static void test_next(void **state);
static void test_life(void **state);
static void test_clock_back(void **state);
static void test_load(void **state);
static void test_extremes(void **state);


static time_t  test_retry[] = { 60, 300, 900, 3600, 14400 };

static ngx_smtp_schedule_t  test_schedule = { test_retry, 5, 5 * 86400 };


/* the seed that leaves this value as it is */

static uint32_t
test_seed_none(time_t value)
{
    uint32_t  seed;

    for (seed = 0; ngx_smtp_schedule_jitter(value, seed) != value; seed++) {
        assert_true(seed < 1000000);
    }

    return seed;
}


static void
test_interval(void **state)
{
    time_t               odd[2] = { 0, -5 };
    ngx_uint_t           i;
    ngx_smtp_schedule_t  s;

    static const time_t  expected[] = {
        60, 60, 300, 900, 3600, 14400, 14400, 14400
    };

    for (i = 0; i < 8; i++) {
        assert_int_equal(ngx_smtp_schedule_interval(&test_schedule, i),
                         expected[i]);
    }

    assert_int_equal(ngx_smtp_schedule_interval(&test_schedule,
                                                (ngx_uint_t) -1),
                     14400);

    s.retry = odd;
    s.nretry = 2;
    s.expire = 0;

    assert_int_equal(ngx_smtp_schedule_interval(&s, 1), 1);
    assert_int_equal(ngx_smtp_schedule_interval(&s, 2), 1);
}


static void
test_jitter(void **state)
{
    size_t    i;
    time_t    v, j, min, max;
    uint32_t  seed;

    static const time_t  values[] = {
        1, 2, 5, 9, 10, 19, 20, 60, 300, 86400, 10 * 365 * 86400
    };

    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        v = values[i];
        min = max = v;

        for (seed = 0; seed < 1000000; seed += 7) {
            j = ngx_smtp_schedule_jitter(v, seed * 2654435761U);

            assert_true(j >= 1);
            assert_true(j >= v - v / 10 && j <= v + v / 10);

            min = ngx_min(min, j);
            max = ngx_max(max, j);
        }

        /* and all of the room is used */

        assert_true(min <= v - v / 10 + v / 1000);
        assert_true(max >= v + v / 10 - v / 1000);
    }

    assert_int_equal(ngx_smtp_schedule_jitter(0, 12345), 0);
    assert_int_equal(ngx_smtp_schedule_jitter(-7, 12345), -7);
}


static void
test_next(void **state)
{
    size_t      i;
    time_t      due;
    uint32_t    seed;
    ngx_int_t   rc;

    static const struct {
        time_t      age;
        ngx_uint_t  attempts;
        ngx_int_t   rc;
        time_t      wait;
    } c[] = {
        { 0, 0, NGX_OK, 60 },
        { 0, 1, NGX_OK, 60 },
        { 60, 2, NGX_OK, 300 },
        { 360, 3, NGX_OK, 900 },
        { 1260, 4, NGX_OK, 3600 },
        { 4860, 5, NGX_OK, 14400 },
        { 4860, 500, NGX_OK, 14400 },

        /* age and interval meet expire */
        { 432000 - 14401, 9, NGX_OK, 14400 },
        { 432000 - 14400, 9, NGX_DONE, 0 },
        { 432000 - 61, 1, NGX_OK, 60 },
        { 432000 - 60, 1, NGX_DONE, 0 },
        { 432000, 1, NGX_DONE, 0 },
        { 43200000, 1, NGX_DONE, 0 },
    };

    for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        seed = test_seed_none(ngx_smtp_schedule_interval(&test_schedule,
                                                         c[i].attempts));
        due = -1;
        rc = ngx_smtp_schedule_next(&test_schedule, NOW - c[i].age,
                                    c[i].attempts, NOW, seed, &due);

        if (rc != c[i].rc || due != NOW + c[i].wait) {
            fail_msg("case %zu: rc %ld due %ld", i, (long) rc,
                     (long) (due - NOW));
        }

        /* the same question has the same answer */

        assert_int_equal(ngx_smtp_schedule_next(&test_schedule,
                                                NOW - c[i].age,
                                                c[i].attempts, NOW, seed,
                                                &due),
                         rc);
    }
}


/* a message that always fails: how often it is tried, when it is given up */

static void
test_life(void **state)
{
    time_t      now, due;
    uint32_t    seed;
    ngx_uint_t  attempts, run;

    for (run = 0; run < 1000; run++) {
        now = NOW;
        seed = run * 2654435761U;

        for (attempts = 1; /* void */ ; attempts++) {
            seed = seed * 1103515245 + 12345;

            if (ngx_smtp_schedule_next(&test_schedule, NOW, attempts, now,
                                       seed, &due)
                != NGX_OK)
            {
                assert_int_equal(due, now);
                break;
            }

            assert_true(due > now);
            assert_true(due < NOW + test_schedule.expire);
            assert_false(ngx_smtp_schedule_expired(&test_schedule, NOW,
                                                   attempts, due));

            /* stored and loaded, it stays */
            assert_int_equal(ngx_smtp_schedule_load(&test_schedule, attempts,
                                                    due, now),
                             due);
            now = due;
        }

        /* 5 days: 4 short waits, then about 29 of 4 hours */

        assert_true(attempts > 30 && attempts < 38);
        assert_true(now > NOW + test_schedule.expire - 2 * 14400);
    }

    assert_true(ngx_smtp_schedule_expired(&test_schedule, NOW, 1,
                                          NOW + 432000));
    assert_false(ngx_smtp_schedule_expired(&test_schedule, NOW, 1,
                                           NOW + 431999));
}


/* received in the future: tried as usual, and given up after the same time */

static void
test_clock_back(void **state)
{
    time_t      now, due;
    ngx_uint_t  attempts;

    now = NOW;

    for (attempts = 1; attempts < 1000; attempts++) {

        if (ngx_smtp_schedule_next(&test_schedule, NOW + 100 * 86400,
                                   attempts, now, attempts * 7919, &due)
            != NGX_OK)
        {
            break;
        }

        assert_true(due > now && due <= now + 14400 + 1440);
        now = due;
    }

    assert_true(attempts > 30 && attempts < 38);
    assert_true(now > NOW + 4 * 86400 && now < NOW + 6 * 86400);

    assert_false(ngx_smtp_schedule_expired(&test_schedule, NOW + 86400, 1,
                                           NOW));
    assert_false(ngx_smtp_schedule_older(&test_schedule, NOW + 86400, 1,
                                         NOW, 1));
    assert_false(ngx_smtp_schedule_older(&test_schedule, NOW - 100, 1, NOW,
                                         101));
    assert_true(ngx_smtp_schedule_older(&test_schedule, NOW - 100, 1, NOW,
                                        100));
    assert_true(ngx_smtp_schedule_expired(&test_schedule, NOW + 86400, 60,
                                          NOW));
}


static void
test_load(void **state)
{
    size_t  i;

    static const struct {
        ngx_uint_t  attempts;
        time_t      due;
        time_t      expected;       /* all from now */
    } c[] = {
        { 0, 0, 0 },
        { 0, -100, -100 },
        { 0, 900, 900 },
        { 0, 901, 0 },
        { 1, 66, 66 },
        { 1, 900, 900 },        /* the wait after an unknown result */
        { 1, 901, 60 },
        { 4, 3600 + 360, 3600 + 360 },
        { 4, 3600 + 361, 3600 },
        { 5, 100000000, 14400 },
        { 9, -100000000, -100000000 },
    };

    for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        assert_int_equal(ngx_smtp_schedule_load(&test_schedule, c[i].attempts,
                                                NOW + c[i].due, NOW) - NOW,
                         c[i].expected);
    }
}


/* nothing overflows (the sanitizer would tell), and expire 0 is never */

static void
test_extremes(void **state)
{
    time_t               due;
    size_t               i, k;
    time_t               big[1] = { INT64_MAX };
    ngx_int_t            rc;
    ngx_smtp_schedule_t  s;

    static const time_t  times[] = {
        INT64_MIN, -1, 0, 1, NOW, 253402300799LL
    };

    s.retry = big;
    s.nretry = 1;

    for (i = 0; i < 6; i++) {
        for (k = 2; k < 6; k++) {
            s.expire = INT64_MAX;
            rc = ngx_smtp_schedule_next(&s, times[i], (ngx_uint_t) -1,
                                        times[k], UINT32_MAX, &due);
            assert_int_equal(rc, NGX_OK);
            assert_true(due > times[k]);

            s.expire = 0;
            rc = ngx_smtp_schedule_next(&s, times[i], 65535, times[k], 0,
                                        &due);
            assert_int_equal(rc, NGX_OK);
            assert_false(ngx_smtp_schedule_expired(&s, times[i], 1,
                                                   times[k]));

            s.expire = 1;
            rc = ngx_smtp_schedule_next(&s, times[i], 1, times[k], 0, &due);
            assert_int_equal(rc, NGX_DONE);

            (void) ngx_smtp_schedule_load(&s, 1, times[i], times[k]);
        }
    }
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_interval),
        cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_clock_back),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_extremes),
    };

    return shim_run(tests);
}
