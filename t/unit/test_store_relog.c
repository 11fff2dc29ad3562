
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A log that is written anew replaces all that was known of a segment, so it
 * has to say everything: at exit too, when the summaries at hand are those of
 * another time, and while a segment is still being handed up.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"
#include "ngx_smtp_segment.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>


#define TEST_MAILS  300
#define TEST_SLICE  32      /* messages of one step of the insertion */


static void test_stop_broken(void **state);
static void test_stop_breaks(void **state);
static void test_damaged_head(void **state);
static void test_read_handler(ngx_smtp_reader_t *r, ngx_int_t rc);
static void test_insert_broken(void **state);
static void test_insert_leave(void **state);
static void test_insert_stop(void **state);
static void test_insert_check(void);
static void test_sealed(ngx_uint_t n);
static void test_slow(void *data, ngx_smtp_message_t *m);


static env_mail_t  test_mail[TEST_MAILS];

static void      (*test_message)(void *data, ngx_smtp_message_t *m);
static ngx_uint_t  test_slow_calls;
static ngx_uint_t  test_leave_at;
static ngx_int_t   test_read;


/* leaves a sealed segment with n messages of two recipients */

static void
test_sealed(ngx_uint_t n)
{
    ngx_uint_t     i;
    env_worker_t  *w;

    w = env_start(0, NULL);
    env_time(300);

    for (i = 0; i < n; i++) {
        env_mail(&test_mail[i], "internet", 2, 300, i);
        assert_int_equal(env_accepted(w, &test_mail[i]), NGX_OK);
    }

    env_stop(w);
}


/* the log is broken, and cannot be replaced before the worker ends */

static void
test_stop_broken(void **state)
{
    env_worker_t        *w;
    ngx_smtp_message_t  *m;

    test_sealed(3);

    w = env_start(0, NULL);
    env_time(300);
    assert_int_equal(w->nmessages, 3);
    m = env_find(w, 2);

    env_fault_fdatasync.match = ".log";
    env_fault_fdatasync.times = 1;
    env_fault_fdatasync.err = EIO;
    env_fault_fsync.match = "smtp-store-test";
    env_fault_fsync.times = 1000;
    env_fault_fsync.err = EIO;

    env_result(env_find(w, 1), 0, NGX_SMTP_RESULT_DELIVERED, 0);
    env_time(2000);

    assert_int_equal(ngx_smtp_message_ready(env_find(w, 0)), NGX_AGAIN);

    /* an answer that comes in now is in no summary yet */

    env_result(m, 1, NGX_SMTP_RESULT_DELIVERED, 0);

    env_fault_fsync.times = 0;
    env_stop(w);

    w = env_start(0, NULL);
    env_time(300);

    assert_int_equal(w->nmessages, 3);
    assert_int_equal(env_find(w, 0)->npending, 2);
    assert_int_equal(env_find(w, 1)->npending, 1);
    assert_int_equal(env_find(w, 2)->npending, 1);
    env_check_read(env_find(w, 2), 2, 300, 2);

    env_stop(w);
}


/* the last write to the log, at exit, is the one that fails */

static void
test_stop_breaks(void **state)
{
    char                 id[NGX_SMTP_QUEUE_ID_LEN];
    env_worker_t        *w;
    ngx_smtp_message_t  *m;

    test_sealed(3);

    w = env_start(0, NULL);
    env_time(300);
    assert_int_equal(w->nmessages, 3);

    m = env_find(w, 1);

    (void) ngx_smtp_message_id(m, (u_char *) id);
    id[NGX_SMTP_ID_TEXT] = '\0';

    env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);

    env_fault_pwritev.match = id;
    env_fault_pwritev.times = 1;
    env_fault_pwritev.err = EIO;

    env_stop(w);
    assert_int_equal(env_fault_pwritev.times, 0);

    w = env_start(0, NULL);
    env_time(300);

    assert_int_equal(w->nmessages, 3);
    assert_int_equal(env_find(w, 0)->npending, 2);
    assert_int_equal(env_find(w, 1)->npending, 1);

    env_stop(w);
}


/*
 * The head of one message is damaged, and then the log breaks: the others go
 * on all the same.
 */
static void
test_damaged_head(void **state)
{
    char                 command[512], id[NGX_SMTP_QUEUE_ID_LEN];
    env_worker_t        *w;
    ngx_smtp_reader_t   *reader;
    ngx_smtp_message_t **m;

    test_sealed(3);

    w = env_start(0, NULL);
    env_time(300);
    assert_int_equal(w->nmessages, 3);

    m = w->messages;

    (void) ngx_smtp_message_id(m[1], (u_char *) id);
    id[NGX_SMTP_ID_TEXT] = '\0';

    snprintf(command, sizeof(command),
             "printf XXXX | dd of=%s/%s.data bs=1 seek=%d conv=notrunc "
             "2>/dev/null", env_path, id,
             (int) m[1]->offset + NGX_SMTP_RECORD_HEADER + 8);
    assert_int_equal(system(command), 0);

    env_fault_fdatasync.match = ".log";
    env_fault_fdatasync.times = 1;
    env_fault_fdatasync.err = EIO;

    env_result(m[0], 0, NGX_SMTP_RESULT_DELIVERED, 0);
    env_time(5000);

    assert_int_equal(env_fault_fdatasync.times, 0);
    assert_int_equal(shim_log_count("the log was written anew"), 1);
    assert_int_equal(ngx_smtp_message_ready(m[0]), NGX_OK);

    env_result(m[2], 1, NGX_SMTP_RESULT_DELIVERED, 0);
    env_stop(w);

    w = env_start(0, NULL);
    env_time(300);

    m = w->messages;

    assert_int_equal(w->nmessages, 3);
    assert_int_equal(shim_log_count("by a scan"), 0);
    assert_int_equal(m[0]->npending, 1);
    assert_int_equal(m[1]->npending, 2);
    assert_int_equal(m[2]->npending, 1);

    env_check_read(m[2], 2, 300, 2);

    /* it is told, and held, when it is read */

    test_read = NGX_AGAIN;

    assert_int_equal(ngx_smtp_reader_open(m[1], test_read_handler, NULL,
                                          &shim_log, &reader),
                     NGX_AGAIN);
    env_pump();
    ngx_smtp_reader_close(reader);

    assert_int_equal(test_read, NGX_ERROR);
    assert_int_equal(m[1]->hold, 1);

    env_stop(w);
}


static void
test_read_handler(ngx_smtp_reader_t *r, ngx_int_t rc)
{
    test_read = rc;
}


/* an upper layer that takes its time: one step in each slice */

static void
test_slow(void *data, ngx_smtp_message_t *m)
{
    env_worker_t *w = data;

    if (test_slow_calls == 0) {
        env_fault_pwritev.match = ".log";
        env_fault_pwritev.times = 1;
        env_fault_pwritev.err = EIO;

        env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);
    }

    if (test_slow_calls++ % TEST_SLICE == 0) {
        usleep(4000);
    }

    if (test_slow_calls == test_leave_at) {
        ngx_smtp_store_leave(w->store);
    }

    test_message(data, m);
}


static void
test_insert_broken(void **state)
{
    ngx_uint_t     i;
    env_worker_t  *w;

    test_sealed(TEST_MAILS);

    w = env_start(0, NULL);

    test_message = w->conf.handlers.message;
    w->conf.handlers.message = test_slow;

    test_slow_calls = 0;
    test_leave_at = 0;

    env_time(3000);

    assert_int_equal(env_fault_pwritev.times, 0);
    assert_int_equal(shim_log_count("written anew"), 1 + 1);
    assert_int_equal(w->nmessages, TEST_MAILS);

    env_stop(w);

    w = env_start(0, NULL);
    env_time(300);

    assert_int_equal(w->nmessages, TEST_MAILS);

    for (i = 0; i < TEST_MAILS; i++) {
        assert_non_null(env_find(w, i));
    }

    env_stop(w);
}


/* the result recorded by test_slow() is not lost, and nothing else is */

static void
test_insert_check(void)
{
    ngx_uint_t     i, n;
    env_worker_t  *w;

    w = env_start(0, NULL);
    env_time(300);

    assert_int_equal(w->nmessages, TEST_MAILS);

    for (i = 0, n = 0; i < TEST_MAILS; i++) {
        n += w->messages[i]->npending;
    }

    assert_int_equal(n, 2 * TEST_MAILS - 1);

    env_stop(w);
}


/* the worker is asked to leave while the log cannot be replaced yet */

static void
test_insert_leave(void **state)
{
    env_worker_t  *w;

    test_sealed(TEST_MAILS);

    w = env_start(0, NULL);

    test_message = w->conf.handlers.message;
    w->conf.handlers.message = test_slow;

    test_slow_calls = 0;
    test_leave_at = 100;

    env_time(3000);

    assert_int_equal(env_fault_pwritev.times, 0);
    assert_int_equal(w->nmessages, 0);

    env_stop(w);

    test_insert_check();
}


/* it has to go at once */

static void
test_insert_stop(void **state)
{
    ngx_uint_t     i;
    env_worker_t  *w;

    test_sealed(TEST_MAILS);

    w = env_start(0, NULL);

    test_message = w->conf.handlers.message;
    w->conf.handlers.message = test_slow;

    test_slow_calls = 0;
    test_leave_at = 0;

    /* no second slice: what is for the next round stays there */

    for (i = 0; i < 200 && (i < 100 || test_slow_calls == 0); i++) {

        if (test_slow_calls == 0) {
            shim_time_advance(10);
        }

        (void) shim_posted_run();
        (void) shim_tasks_run();
    }

    assert_int_equal(env_fault_pwritev.times, 0);
    assert_in_range(w->nmessages, 1, TEST_MAILS - 1);

    env_stop(w);

    /* the upper layer is gone at exit: it was not called */

    assert_in_range(test_slow_calls, 1, TEST_MAILS - 1);

    ngx_queue_init(&ngx_posted_next_events);

    test_insert_check();
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_stop_broken, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_stop_breaks, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_damaged_head, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_insert_broken, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_insert_leave, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_insert_stop, env_setup,
                                        env_teardown),
    };

    return shim_run(tests);
}
