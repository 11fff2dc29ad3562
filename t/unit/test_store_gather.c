
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A batch is held back for the others of the last round while sessions keep
 * the loop busy: until half of them are there, an iteration finds none that
 * did anything, or it took too many iterations.  Whoever is alone never waits.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"

#include "ngx_smtp_turn.h"


#define TEST_ROUND  8       /* messages of a round: half of it is 4 */
#define TEST_LOOKS  8       /* NGX_SMTP_GATHER_LOOKS */


static void test_alone(void **state);
static void test_half(void **state);
static void test_idle(void **state);
static void test_busy(void **state);
static void test_next(void **state);
static void test_leaving(void **state);
static void test_start(void);
static void test_accept(ngx_uint_t n);
static void test_iterate(size_t work);
static ngx_uint_t test_answered(void);


static env_worker_t  *worker;
static env_mail_t     mails[4 * TEST_ROUND];
static ngx_uint_t     nmails;


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_alone, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_half, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_idle, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_busy, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_next, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_leaving, env_setup,
                                        env_teardown),
    };

    return shim_run(tests);
}


static void
test_alone(void **state)
{
    ngx_uint_t  n;

    (void) state;

    nmails = 0;
    worker = env_start(0, NULL);
    env_time(300);

    /* rounds of one, two and three */

    for (n = 1; n <= 3; n++) {
        test_accept(n);
        test_iterate(1);
        assert_int_equal(test_answered(), nmails);

        test_accept(1);
        test_iterate(1);
        assert_int_equal(test_answered(), nmails);
    }

    env_stop(worker);
}


static void
test_half(void **state)
{
    (void) state;

    test_start();

    test_accept(1);
    test_iterate(1);
    test_accept(1);
    test_iterate(1);
    assert_int_equal(test_answered(), TEST_ROUND);

    test_accept(2);
    test_iterate(1);
    assert_int_equal(test_answered(), TEST_ROUND + 4);

    env_stop(worker);
}


static void
test_idle(void **state)
{
    (void) state;

    test_start();

    test_accept(1);
    test_iterate(1);
    assert_int_equal(test_answered(), TEST_ROUND);

    test_iterate(0);
    assert_int_equal(test_answered(), TEST_ROUND + 1);

    env_stop(worker);
}


static void
test_busy(void **state)
{
    ngx_uint_t  i;

    (void) state;

    test_start();

    test_accept(1);

    for (i = 0; i < TEST_LOOKS; i++) {
        test_iterate(1);
        assert_int_equal(test_answered(), TEST_ROUND);
    }

    test_iterate(1);
    assert_int_equal(test_answered(), TEST_ROUND + 1);

    env_stop(worker);
}


/* what waits when a batch ends is enough for the next one, or is not */

static void
test_next(void **state)
{
    (void) state;

    test_start();

    test_accept(TEST_ROUND);
    test_iterate(1);
    assert_int_equal(shim_tasks_work(), 1);
    test_accept(TEST_ROUND);
    assert_int_equal(shim_tasks_deliver(), 1);

    /* it was posted before the answers */

    assert_int_equal(shim_tasks_work(), 1);
    test_accept(2);
    assert_int_equal(shim_tasks_deliver(), 1);
    assert_int_equal(test_answered(), 3 * TEST_ROUND);

    test_iterate(1);
    assert_int_equal(test_answered(), 3 * TEST_ROUND);

    test_iterate(0);
    assert_int_equal(test_answered(), 3 * TEST_ROUND + 2);

    env_stop(worker);
}


/* a worker that leaves holds nothing back, it only needs a new segment */

static void
test_leaving(void **state)
{
    ngx_uint_t  i;

    (void) state;

    test_start();

    test_accept(1);
    test_iterate(1);
    assert_int_equal(test_answered(), TEST_ROUND);

    ngx_smtp_store_leave(worker->store);

    for (i = 0; i < TEST_LOOKS / 2; i++) {
        test_iterate(1);
        (void) test_answered();
    }

    assert_int_equal(test_answered(), TEST_ROUND + 1);

    env_stop(worker);
}


/* a store that has seen a round */

static void
test_start(void)
{
    nmails = 0;
    worker = env_start(0, NULL);
    env_time(300);

    test_accept(TEST_ROUND);
    env_pump();
    assert_int_equal(test_answered(), TEST_ROUND);
}


static void
test_accept(ngx_uint_t n)
{
    while (n--) {
        assert_true(nmails < 4 * TEST_ROUND);

        env_mail(&mails[nmails], "internet", 1, 1000, nmails);
        env_accept(worker, &mails[nmails]);
        nmails++;
    }
}


/* of the loop, with so much work of sessions */

static void
test_iterate(size_t work)
{
    ngx_queue_add(&ngx_posted_events, &ngx_posted_next_events);
    ngx_queue_init(&ngx_posted_next_events);

    ngx_smtp_turn_spend(work);

    (void) shim_posted_run();
}


/* so many have a 250, once the thread did what it was given */

static ngx_uint_t
test_answered(void)
{
    ngx_uint_t  i, n;

    (void) shim_tasks_run();

    for (i = 0, n = 0; i < nmails; i++) {
        n += mails[i].done;
        assert_true(!mails[i].done || mails[i].rc == NGX_OK);
    }

    return n;
}
