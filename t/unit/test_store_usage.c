
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * How much mail a worker says it has, whatever happens to the mail; and when
 * the disk has too little of something for more.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"

#include <string.h>


#define TEST_MAILS  20


static void test_usage(void **state);
static void test_handover(void **state);
static void test_unknown(void **state);
static void test_commits(void **state);
static void test_inodes(void **state);
static void test_fill(env_worker_t *w, const char *queue, ngx_uint_t n);
static void test_is(ngx_smtp_usage_t *u, ngx_uint_t messages, ngx_uint_t held);
static void test_end(env_worker_t *w, ngx_smtp_message_t *m);


static env_mail_t   test_mail;
static const char  *test_queues[] = { "in", "out", NULL };


static void
test_fill(env_worker_t *w, const char *queue, ngx_uint_t n)
{
    while (n--) {
        env_mail(&test_mail, queue, 2, 300, n);
        assert_int_equal(env_accepted(w, &test_mail), NGX_OK);
    }
}


/* each of them has 300 bytes of content and the same fields */

static void
test_is(ngx_smtp_usage_t *u, ngx_uint_t messages, ngx_uint_t held)
{
    assert_int_equal(u->messages, messages);
    assert_int_equal(u->held, held);
    assert_int_equal(u->bytes,
                     messages * (300 + test_mail.accept.fields.len));
}


static void
test_end(env_worker_t *w, ngx_smtp_message_t *m)
{
    env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);
    env_result(m, 1, NGX_SMTP_RESULT_FAILED, 0);

    assert_int_equal(env_done(w, m), NGX_OK);
}


static void
test_usage(void **state)
{
    ngx_str_t      in, out, none;
    env_worker_t  *w;

    w = env_start(0, test_queues);
    env_pump();

    test_fill(w, "in", 2);
    test_fill(w, "out", TEST_MAILS);

    test_is(&w->usage[0], 2, 0);
    test_is(&w->usage[1], TEST_MAILS, 0);
    test_is(&w->usage[2], 0, 0);

    ngx_smtp_store_hold(w->messages[5], 1, ngx_time());
    ngx_smtp_store_hold(w->messages[5], 1, ngx_time());
    ngx_smtp_store_hold(w->messages[6], 1, ngx_time());
    test_is(&w->usage[1], TEST_MAILS, 2);

    ngx_smtp_store_hold(w->messages[6], 0, ngx_time());
    test_is(&w->usage[1], TEST_MAILS, 1);

    /* an attempt changes nothing, the end does, also of one on hold */

    env_result(w->messages[7], 0, NGX_SMTP_RESULT_DEFERRED, ngx_time() + 60);
    test_is(&w->usage[1], TEST_MAILS, 1);

    test_end(w, w->messages[5]);
    test_is(&w->usage[1], TEST_MAILS - 1, 0);

    /* moved to another queue, and to another next hop */

    in = shim_str("in");
    out = shim_str("out");
    none = shim_str("");

    assert_int_equal(ngx_smtp_store_move(w->messages[8], &in, &none,
                                         ngx_time()), NGX_OK);
    test_is(&w->usage[0], 3, 0);
    test_is(&w->usage[1], TEST_MAILS - 2, 0);

    assert_int_equal(ngx_smtp_store_move(w->messages[9], &out, &in,
                                         ngx_time()), NGX_OK);
    test_is(&w->usage[1], TEST_MAILS - 2, 0);
    test_is(&w->usage[2], 0, 0);

    while (w->nmessages) {
        test_end(w, w->messages[0]);
    }

    test_is(&w->usage[0], 0, 0);
    test_is(&w->usage[1], 0, 0);

    env_stop(w);
}


/* what a leaving worker gives up, the next one has */

static void
test_handover(void **state)
{
    env_worker_t  *w, *next;

    w = env_start(0, test_queues);
    env_pump();

    test_fill(w, "out", TEST_MAILS);
    ngx_smtp_store_hold(w->messages[3], 1, ngx_time());

    next = env_start(0, test_queues);
    env_pump();

    ngx_smtp_store_leave(w->store);
    env_time(2000);

    test_is(&w->usage[1], 0, 0);
    test_is(&next->usage[1], TEST_MAILS, 1);

    env_stop(w);

    /* killed, or at exit: the same */

    env_stop(next);

    next = env_start(0, test_queues);
    env_time(2000);
    test_is(&next->usage[1], TEST_MAILS, 1);

    env_stop(next);
}


static void
test_unknown(void **state)
{
    env_worker_t  *w;
    const char    *other[] = { "in", NULL };

    w = env_start(0, test_queues);
    env_pump();

    test_fill(w, "in", 3);
    test_fill(w, "out", TEST_MAILS);

    env_stop(w);

    w = env_start(0, other);
    env_time(15000);

    test_is(&w->usage[0], 3, 0);
    test_is(&w->usage[1], TEST_MAILS, 0);

    env_stop(w);
}


static void
test_commits(void **state)
{
    env_worker_t  *w;

    w = env_start(0, test_queues);
    env_pump();

    test_fill(w, "out", 5);
    assert_int_equal(w->commits, 5);

    env_fault_fdatasync.match = "data";
    env_fault_fdatasync.times = 1;
    env_fault_fdatasync.err = EIO;

    env_mail(&test_mail, "out", 2, 300, 5);
    assert_int_equal(env_accepted(w, &test_mail), NGX_ERROR);

    assert_int_equal(w->commits, 5);
    test_is(&w->usage[1], 5, 0);

    env_stop(w);
}


static void
test_inodes(void **state)
{
    env_worker_t  *w;

    w = env_start(0, test_queues);
    w->conf.min_inodes = 100;

    env_inodes = 99;
    env_time(2000);
    assert_int_equal(ngx_smtp_store_ready(w->store, 0), NGX_BUSY);

    env_inodes = 100;
    env_time(2000);
    assert_int_equal(ngx_smtp_store_ready(w->store, 0), NGX_OK);

    /* a file system that makes them as they are needed */

    env_inodes = -2;
    env_time(2000);
    assert_int_equal(ngx_smtp_store_ready(w->store, 0), NGX_OK);

    env_stop(w);
}


int
main(void)
{
#define test(name)                                                            \
    cmocka_unit_test_setup_teardown(name, env_setup, env_teardown)

    const struct CMUnitTest  tests[] = {
        test(test_usage),
        test(test_handover),
        test(test_unknown),
        test(test_commits),
        test(test_inodes),
    };

    return shim_run(tests);
}
