
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Messages that workers died of: strikes, what clears them, the hold at the
 * third; segments that cannot be read.  The zone is played: it says which
 * messages the dead worker was at.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"

#include <string.h>


#define TEST_MAILS  5


static void test_work(void **state);
static void test_strikes(void **state);
static void test_cleared(void **state);
static void test_sealed(void **state);
static void test_segment(void **state);
static env_worker_t *test_start(void);
static env_worker_t *test_again(env_worker_t *w);
static ngx_uint_t test_struck(u_char *id, ngx_smtp_struck_t *struck);
static void test_acquit(u_char *id);


static env_mail_t         test_mail;
static ngx_smtp_struck_t  test_dead;        /* the worker was at these */
static ngx_uint_t         test_readers;     /* workers that died reading */
static ngx_uint_t         test_acquitted;


static ngx_uint_t
test_struck(u_char *id, ngx_smtp_struck_t *struck)
{
    if (struck) {
        *struck = test_dead;
        test_dead.n = 0;
    }

    return test_readers;
}


static void
test_acquit(u_char *id)
{
    test_acquitted++;
}


static env_worker_t *
test_start(void)
{
    env_worker_t  *w;

    w = env_start(0, NULL);
    w->conf.struck = test_struck;
    w->conf.acquit = test_acquit;

    env_time(2000);

    return w;
}


/* the next worker */

static env_worker_t *
test_again(env_worker_t *w)
{
    env_stop(w);

    return test_start();
}


static void
test_work(void **state)
{
    env_worker_t     *w;
    ngx_smtp_work_t  *at;

    at = &ngx_smtp_works[NGX_SMTP_WORK_LOOP];
    w = test_start();

    env_mail(&test_mail, "internet", 1, 300, 1);
    assert_int_equal(env_accepted(w, &test_mail), NGX_OK);
    env_mail(&test_mail, "internet", 1, 300, 2);
    assert_int_equal(env_accepted(w, &test_mail), NGX_OK);

    assert_int_equal(at->used, 0);

    ngx_smtp_message_work(w->messages[0]);
    assert_int_equal(at->used, 1);
    assert_int_equal(at->number, w->messages[0]->number);

    ngx_smtp_message_work(w->messages[1]);
    assert_int_equal(at->number, w->messages[1]->number);

    ngx_smtp_message_rest(w->messages[0]);
    assert_int_equal(at->used, 1);

    /* an attempt that ends, and a message that does */

    env_result(w->messages[1], 0, NGX_SMTP_RESULT_DEFERRED, ngx_time() + 60);
    assert_int_equal(at->used, 0);

    ngx_smtp_message_work(w->messages[0]);
    env_result(w->messages[0], 0, NGX_SMTP_RESULT_DELIVERED, 0);
    ngx_smtp_message_work(w->messages[0]);
    assert_int_equal(env_done(w, w->messages[0]), NGX_OK);
    assert_int_equal(at->used, 0);

    env_stop(w);
}


static void
test_strikes(void **state)
{
    ngx_uint_t           i, n;
    env_worker_t        *w;
    ngx_smtp_message_t  *m;

    w = test_start();

    for (i = 0; i < TEST_MAILS; i++) {
        env_mail(&test_mail, "internet", 1, 300, i);
        assert_int_equal(env_accepted(w, &test_mail), NGX_OK);
    }

    for (n = 1; n <= 3; n++) {
        test_dead.n = 1;
        test_dead.numbers[0] = 3;

        w = test_again(w);

        assert_int_equal(w->nmessages, TEST_MAILS);

        for (i = 0; i < TEST_MAILS; i++) {
            m = w->messages[i];

            if (m->number != 3) {
                assert_int_equal(m->strikes, 0);
                assert_int_equal(m->hold, 0);
                assert_true(m->due_at <= ngx_time());
                continue;
            }

            assert_int_equal(m->strikes, n);
            assert_int_equal(m->hold, n == 3);
            assert_true(n == 3 || m->due_at > ngx_time() - 4);
        }
    }

    /* on hold it stays, and is accused no more */

    test_dead.n = 1;
    test_dead.numbers[0] = 3;

    w = test_again(w);
    assert_int_equal(w->usage[0].held, 1);
    m = w->messages[2];
    assert_int_equal(m->number, 3);
    assert_int_equal(m->strikes, 3);

    /* released, it has three again */

    ngx_smtp_store_hold(m, 0, ngx_time());
    assert_int_equal(m->strikes, 0);

    test_dead.n = 1;
    test_dead.numbers[0] = 3;

    w = test_again(w);
    assert_int_equal(w->usage[0].held, 0);
    assert_int_equal(w->messages[2]->strikes, 1);

    env_stop(w);
}


static void
test_cleared(void **state)
{
    env_worker_t  *w;

    w = test_start();

    env_mail(&test_mail, "internet", 2, 300, 1);
    assert_int_equal(env_accepted(w, &test_mail), NGX_OK);

    test_dead.n = 1;
    test_dead.numbers[0] = 1;
    w = test_again(w);

    test_dead.n = 1;
    test_dead.numbers[0] = 1;
    w = test_again(w);
    assert_int_equal(w->messages[0]->strikes, 2);

    /* an attempt came to its end: the strikes were others' */

    env_result(w->messages[0], 0, NGX_SMTP_RESULT_DEFERRED, ngx_time() + 60);
    assert_int_equal(w->messages[0]->strikes, 0);

    w = test_again(w);
    assert_int_equal(w->messages[0]->strikes, 0);

    test_dead.n = 1;
    test_dead.numbers[0] = 1;
    w = test_again(w);
    assert_int_equal(w->messages[0]->strikes, 1);
    assert_int_equal(w->messages[0]->hold, 0);

    env_stop(w);
}


/* several suspects do not come back at the same time; a seal keeps strikes */

static void
test_sealed(void **state)
{
    env_worker_t  *w, *next;

    w = test_start();

    env_mail(&test_mail, "internet", 1, 300, 1);
    assert_int_equal(env_accepted(w, &test_mail), NGX_OK);
    env_mail(&test_mail, "internet", 1, 300, 2);
    assert_int_equal(env_accepted(w, &test_mail), NGX_OK);

    test_dead.n = 2;
    test_dead.numbers[0] = 1;
    test_dead.numbers[1] = 2;
    w = test_again(w);

    assert_int_equal(w->messages[0]->strikes, 1);
    assert_int_equal(w->messages[1]->strikes, 1);
    assert_int_equal(w->messages[1]->due_at, w->messages[0]->due_at + 1);

    next = test_start();
    ngx_smtp_store_leave(w->store);
    env_time(2000);

    assert_int_equal(next->nmessages, 2);
    assert_int_equal(next->messages[0]->strikes, 1);
    assert_int_equal(next->messages[1]->strikes, 1);

    env_stop(w);
    env_stop(next);
}


static void
test_segment(void **state)
{
    ngx_uint_t     acquitted;
    env_worker_t  *w;

    w = test_start();

    env_mail(&test_mail, "internet", 1, 300, 1);
    assert_int_equal(env_accepted(w, &test_mail), NGX_OK);

    /* two are an accident */

    test_readers = 2;
    acquitted = test_acquitted;

    w = test_again(w);
    assert_int_equal(w->nmessages, 1);
    assert_int_equal(test_acquitted, acquitted + 1);

    test_readers = 3;

    w = test_again(w);
    assert_int_equal(w->nmessages, 0);
    assert_int_equal(test_acquitted, acquitted + 1);
    env_time(5000);
    assert_int_equal(w->nmessages, 0);

    /* somebody who knows nothing of it may try */

    test_readers = 0;

    w = test_again(w);
    assert_int_equal(w->nmessages, 1);

    env_stop(w);
}


int
main(void)
{
#define test(name)                                                            \
    cmocka_unit_test_setup_teardown(name, env_setup, env_teardown)

    const struct CMUnitTest  tests[] = {
        test(test_work),
        test(test_strikes),
        test(test_cleared),
        test(test_sealed),
        test(test_segment),
    };

    return shim_run(tests);
}
