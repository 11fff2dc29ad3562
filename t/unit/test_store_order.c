
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * More segments than one look takes, left by a worker that went: those whose
 * mail is due earliest are taken over first, by one worker or by several, and
 * a change of when something is due counts.  They are given up in that order,
 * too.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"
#include "ngx_smtp_segment.h"

#include <stdlib.h>
#include <string.h>


#define TEST_SEGMENTS   50      /* of one mail each; a look takes 16 */
#define TEST_STEP       17      /* no divisor: the order of dues is no order */


static time_t test_due(ngx_uint_t i);
static void test_leave(time_t now);
static ngx_uint_t test_place(env_worker_t *w, ngx_uint_t i);
static ngx_uint_t test_ordered(env_worker_t *w);
static time_t test_released(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_id_t *ids, time_t *dues, ngx_uint_t *n);


static env_mail_t  test_mail[TEST_SEGMENTS];


/* seconds from now; of each another one */

static time_t
test_due(ngx_uint_t i)
{
    return 100 + (time_t) (i * TEST_STEP % TEST_SEGMENTS) * 60;
}


/* mails that are put off, in a segment each; their worker goes */

static void
test_leave(time_t now)
{
    ngx_uint_t     i;
    env_worker_t  *w;

    w = env_start(1, NULL);
    env_time(300);

    for (i = 0; i < TEST_SEGMENTS; i++) {
        env_mail(&test_mail[i], "internet", 2, 300, i);
        assert_int_equal(env_accepted(w, &test_mail[i]), NGX_OK);

        /* the next segment is made */

        env_time(50);
    }

    assert_in_range(env_files(".data"), TEST_SEGMENTS, TEST_SEGMENTS + 1);

    for (i = 0; i < TEST_SEGMENTS; i++) {
        env_result(env_find(w, i), 0, NGX_SMTP_RESULT_DEFERRED,
                   now + test_due(i));
    }

    ngx_smtp_store_leave(w->store);
    env_time(3000);
    assert_int_equal(w->nmessages, 0);

    env_stop(w);
}


/* by its due time: how many are due earlier */

static ngx_uint_t
test_place(env_worker_t *w, ngx_uint_t i)
{
    ngx_uint_t  k, n;

    n = 0;

    for (k = 0; k < w->nmessages; k++) {
        n += w->messages[k]->due_at < w->messages[i]->due_at;
    }

    return n;
}


/* Returns how many are there, each behind those that are due earlier. */

static ngx_uint_t
test_ordered(env_worker_t *w)
{
    ngx_uint_t  i;

    for (i = 0; i < w->nmessages; i++) {
        if (test_place(w, i) != i) {
            fail_msg("the %d. of %d came as the %d.", (int) test_place(w, i),
                     (int) w->nmessages, (int) i);
        }
    }

    return w->nmessages;
}


static void
test_one(void **state)
{
    time_t         now, last;
    ngx_uint_t     n, ms;
    env_worker_t  *w;

    now = ngx_time();
    test_leave(now);

    w = env_start(0, NULL);

    /* one look after the other, with what is due earliest of what is left */

    for (n = 0, ms = 0; n < TEST_SEGMENTS; ms += 50) {
        assert_true(ms < 3000);
        env_time(50);

        if (test_ordered(w) == n) {
            continue;
        }

        n = w->nmessages;
        last = w->messages[n - 1]->due_at;

        assert_int_equal(last, now + 100 + (time_t) (n - 1) * 60);
    }

    assert_true(ms >= 3 * 200);

    env_stop(w);
}


/* two share: the earliest are among those taken first */

static void
test_two(void **state)
{
    time_t         now;
    ngx_uint_t     i, k, n;
    env_worker_t  *w[2];

    now = ngx_time();
    test_leave(now);

    for (k = 0; k < 2; k++) {
        w[k] = env_start(0, NULL);
        w[k]->conf.workers = 2;
    }

    env_time(100);

    for (k = 0, n = 0; k < 2; k++) {
        assert_in_range(test_ordered(w[k]), 1, TEST_SEGMENTS / 2);

        for (i = 0; i < w[k]->nmessages; i++) {
            n += w[k]->messages[i]->due_at < now + 100 + 8 * 60;
        }
    }

    assert_int_equal(n, 8);

    env_time(5000);

    assert_int_equal(w[0]->nmessages + w[1]->nmessages, TEST_SEGMENTS);
    assert_in_range(w[0]->nmessages, TEST_SEGMENTS * 2 / 5,
                    TEST_SEGMENTS * 3 / 5);

    env_stop(w[0]);
    env_stop(w[1]);
}


/* who comes first does not take what others are about to come for */

static void
test_late(void **state)
{
    ngx_uint_t     k;
    env_worker_t  *w[2];

    test_leave(ngx_time());

    for (k = 0; k < 2; k++) {
        w[k] = env_start(0, NULL);
        w[k]->conf.workers = 2;

        env_time(k ? 4000 : 1000);

        assert_in_range(w[0]->nmessages, TEST_SEGMENTS * 2 / 5,
                        TEST_SEGMENTS * 3 / 5);
    }

    assert_int_equal(w[0]->nmessages + w[1]->nmessages, TEST_SEGMENTS);

    env_stop(w[0]);
    env_stop(w[1]);
}


/* what was put off again since it was sealed is not taken for early */

static void
test_again(void **state)
{
    time_t         now;
    ngx_uint_t     i;
    env_worker_t  *w;

    now = ngx_time();
    test_leave(now);

    w = env_start(0, NULL);
    env_time(3000);
    assert_int_equal(w->nmessages, TEST_SEGMENTS);

    for (i = 0; i < TEST_SEGMENTS; i++) {
        env_result(env_find(w, i), 0, NGX_SMTP_RESULT_DEFERRED,
                   now + 10000 - test_due(i));
    }

    env_time(300);
    env_stop(w);

    w = env_start(0, NULL);
    env_time(3000);

    assert_int_equal(test_ordered(w), TEST_SEGMENTS);
    assert_int_equal(w->messages[0]->due_at, now + 10000 - 100
                                             - (TEST_SEGMENTS - 1) * 60);

    env_stop(w);
}


/* When a segment that is free now is due; it is not asked for again. */

static time_t
test_released(ngx_smtp_spool_t *spool, ngx_smtp_segment_id_t *ids,
    time_t *dues, ngx_uint_t *n)
{
    time_t                    due;
    ngx_uint_t                i;
    ngx_smtp_segment_file_t   f;

    for (i = 0; i < *n; i++) {

        if (ngx_smtp_segment_lock(spool, &f, &ids[i]) != NGX_OK) {
            continue;
        }

        ngx_smtp_segment_close(NULL, &f);

        due = dues[i];
        ids[i] = ids[--*n];
        dues[i] = dues[*n];

        return due;
    }

    return 0;
}


/* a leaving worker gives up first what is due first */

static void
test_going(void **state)
{
    time_t                  now, due, last, dues[TEST_SEGMENTS];
    u_char                  text[NGX_SMTP_QUEUE_ID_LEN];
    ngx_uint_t              i, n, released, rounds;
    env_worker_t           *w;
    ngx_smtp_spool_t        spool;
    ngx_smtp_fault_t        fault;
    ngx_smtp_message_t     *m;
    ngx_smtp_segment_id_t   ids[TEST_SEGMENTS];

    now = ngx_time();
    n = 20;

    w = env_start(1, NULL);
    env_time(300);

    for (i = 0; i < n; i++) {
        env_mail(&test_mail[i], "internet", 2, 300, i);
        assert_int_equal(env_accepted(w, &test_mail[i]), NGX_OK);
        env_time(50);
    }

    for (i = 0; i < n; i++) {
        m = env_find(w, i);
        dues[i] = now + test_due(i);

        env_result(m, 0, NGX_SMTP_RESULT_DEFERRED, dues[i]);

        (void) ngx_smtp_message_id(m, text);
        assert_int_equal(ngx_smtp_segment_id_parse(&ids[i], text,
                                                   NGX_SMTP_ID_TEXT), NGX_OK);
    }

    env_time(1000);

    assert_int_equal(ngx_smtp_spool_open(&spool, env_path, &fault), NGX_OK);

    ngx_smtp_store_leave(w->store);

    last = 0;
    released = 0;

    for (rounds = 0; n; rounds++) {
        assert_true(rounds < 20000);

        if (env_step() == 0) {
            shim_time_advance(50);
        }

        due = test_released(&spool, ids, dues, &n);

        if (due == 0) {
            continue;
        }

        /* the first one is chosen before all are known, perhaps */

        if (released > 1 && due < last) {
            fail_msg("due in %d s, but released behind one due in %d s",
                     (int) (due - now), (int) (last - now));
        }

        last = due;
        released++;
    }

    ngx_smtp_spool_close(&spool);
    env_stop(w);
}


int
main(void)
{
#define test(name)  cmocka_unit_test_setup_teardown(name, env_setup,          \
                                                    env_teardown)

    const struct CMUnitTest  tests[] = {
        test(test_one),
        test(test_two),
        test(test_late),
        test(test_again),
        test(test_going),
    };

    return shim_run(tests);
}
