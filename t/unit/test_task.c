
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Thread tasks with their guard, and the life of a transaction.
 *
 * sources: core/ngx_smtp_task.c core/ngx_smtp_transaction.c
 * sources: core/ngx_smtp_content.c
 */


#include "shim.h"

#include "ngx_smtp_task.h"
#include "ngx_smtp_transaction.h"

#include <string.h>


typedef struct {
    ngx_smtp_task_t   task;
    ngx_uint_t        run;
    ngx_uint_t        done;
    ngx_uint_t        again;    /* done() posts it so many times */
    ngx_int_t         rc;       /* of that */
} test_work_t;


static void test_life(void **state);
static void test_guard(void **state);
static void test_refused(void **state);
static void test_finish(void **state);
static void test_transaction(void **state);
static void test_run(void *data);
static void test_done(void *data);


static void
test_run(void *data)
{
    test_work_t *w = data;

    assert_int_equal(w->run, w->done);
    w->run++;
}


static void
test_done(void *data)
{
    test_work_t *w = data;

    w->done++;
    assert_int_equal(w->run, w->done);
    assert_int_equal(w->task.active, 0);

    if (w->again) {
        w->again--;
        w->rc = ngx_smtp_task_post(shim_thread_pool, &w->task, &shim_log);
    }
}


static void
test_init(test_work_t *w)
{
    memset(w, 0, sizeof(test_work_t));

    shim_log_reset();
    ngx_smtp_task_init_worker();
    ngx_smtp_task_init(&w->task, "test work", test_run, test_done, w);
}


static void
test_life(void **state)
{
    test_work_t  w;

    test_init(&w);
    w.again = 2;

    assert_int_equal(ngx_smtp_task_post(shim_thread_pool, &w.task, &shim_log),
                     NGX_OK);
    assert_int_equal(w.task.active, 1);

    /* the worker stays for it */

    assert_int_equal(w.task.task.event.timer_set, 1);
    assert_int_equal(w.task.task.event.cancelable, 0);

    /* a second post is a bug of ours, and harmless */

    assert_int_equal(ngx_smtp_task_post(shim_thread_pool, &w.task, &shim_log),
                     NGX_ERROR);
    assert_int_equal(shim_log_count("alert:"), 1);

    assert_int_equal(shim_tasks_work(), 1);
    assert_int_equal(w.run, 1);
    assert_int_equal(w.done, 0);
    assert_int_equal(shim_tasks_deliver(), 1);
    assert_int_equal(w.done, 1);

    /* done() posted it again */

    assert_int_equal(w.rc, NGX_OK);
    assert_int_equal(w.task.active, 1);
    assert_int_equal(shim_tasks_drain(), 2);
    assert_int_equal(w.done, 3);
    assert_int_equal(w.task.active, 0);
    assert_int_equal(w.task.task.event.timer_set, 0);
}


static void
test_guard(void **state)
{
    test_work_t  w;

    test_init(&w);

    assert_int_equal(ngx_smtp_task_post(shim_thread_pool, &w.task, &shim_log),
                     NGX_OK);

    shim_time_advance(59000);
    assert_int_equal(shim_log_count("takes more than 60 seconds"), 0);
    shim_time_advance(62000);
    assert_int_equal(shim_log_count("crit: test work takes more than"), 2);

    /* it is still waited for, and ends as any */

    assert_int_equal(w.done, 0);
    assert_int_equal(w.task.task.event.timer_set, 1);
    shim_tasks_drain();
    assert_int_equal(w.done, 1);
    assert_int_equal(w.task.task.event.timer_set, 0);
}


static void
test_refused(void **state)
{
    test_work_t  w;

    test_init(&w);

    shim_tasks_refuse(1);
    assert_int_equal(ngx_smtp_task_post(shim_thread_pool, &w.task, &shim_log),
                     NGX_ERROR);
    assert_int_equal(w.task.active, 0);
    assert_int_equal(w.task.task.event.timer_set, 0);
    assert_int_equal(shim_tasks_drain(), 0);

    assert_int_equal(ngx_smtp_task_post(shim_thread_pool, &w.task, &shim_log),
                     NGX_OK);
    shim_tasks_drain();
    assert_int_equal(w.done, 1);
}


static void
test_finish(void **state)
{
    test_work_t  a, b;

    test_init(&a);
    memset(&b, 0, sizeof(test_work_t));
    ngx_smtp_task_init(&b.task, "other work", test_run, test_done, &b);

    a.again = 1;

    assert_int_equal(ngx_smtp_task_post(shim_thread_pool, &a.task, &shim_log),
                     NGX_OK);
    assert_int_equal(ngx_smtp_task_post(shim_thread_pool, &b.task, &shim_log),
                     NGX_OK);
    assert_int_equal(ngx_smtp_task_finishing(), 0);

    shim_tasks_join();
    assert_int_equal(a.done + b.done, 0);

    ngx_smtp_task_finish_all();

    assert_int_equal(ngx_smtp_task_finishing(), 1);
    assert_int_equal(a.done, 1);
    assert_int_equal(b.done, 1);
    assert_int_equal(a.rc, NGX_ERROR);
    assert_int_equal(a.task.task.event.timer_set, 0);

    /* again does nothing, and nothing can be posted any more */

    ngx_smtp_task_finish_all();
    assert_int_equal(a.done, 1);
    assert_int_equal(ngx_smtp_task_post(shim_thread_pool, &b.task, &shim_log),
                     NGX_ERROR);

    ngx_smtp_task_init_worker();
}


static u_char *
test_log_handler(ngx_log_t *log, u_char *buf, size_t len)
{
    fail_msg("the session's log handler was called");

    return buf;
}


static void
test_transaction(void **state)
{
    ngx_uint_t               i;
    ngx_log_t                log;
    ngx_smtp_transaction_t  *txn;

    log = shim_log;
    log.handler = test_log_handler;
    log.data = &log;
    log.action = "reading";
    log.connection = 17;

    txn = ngx_smtp_transaction_create(&log);
    assert_non_null(txn);

    /* it outlives the session */

    memset(&log, 0xff, sizeof(log));

    assert_null(txn->log->handler);
    assert_null(txn->log->data);
    assert_int_equal(txn->log->connection, 17);
    ngx_log_error(NGX_LOG_INFO, txn->log, 0, "from a transaction");

    assert_int_equal(txn->content.size, 0);
    assert_int_equal(ngx_smtp_content_append(&txn->content,
                                             (u_char *) "x", 1, txn->log),
                     NGX_OK);

    /* pool and content: the leak checker would tell */

    ngx_smtp_transaction_free(txn);

    for (i = 0; i < 3; i++) {
        shim_alloc_fail_after(i);
        assert_null(ngx_smtp_transaction_create(&shim_log));
        shim_alloc_fail_after(-1);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_guard),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_finish),
        cmocka_unit_test(test_transaction),
    };

    return shim_run(tests);
}
