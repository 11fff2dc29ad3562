
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Memory that runs out while something is recorded: a report that has no room
 * in memory is in the log, so it is made later; its message is not ended
 * without it, and nothing else of its segment is lost or sent twice.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"


static void test_result(void **state);
static void test_report_later(void **state);
static void test_report_after_stop(void **state);
static void test_report_sealed(void **state);
static env_worker_t *test_fail(ngx_uint_t sealed);
static void test_check(env_worker_t *w);


static env_mail_t  mail[3];


/* mail 1 fails, and there is no memory for the report; it cannot be ended */

static env_worker_t *
test_fail(ngx_uint_t sealed)
{
    ngx_str_t            peer;
    ngx_uint_t           i;
    env_worker_t        *w;
    ngx_smtp_result_t    result;
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);
    env_time(300);

    for (i = 0; i < 3; i++) {
        env_mail(&mail[i], "internet", 1 + (i != 1), 300, i);
        assert_int_equal(env_accepted(w, &mail[i]), NGX_OK);
    }

    if (sealed) {
        env_stop(w);
        w = env_start(0, NULL);
        env_time(300);
    }

    env_result(env_find(w, 0), 0, NGX_SMTP_RESULT_DELIVERED, 0);
    env_pump();

    m = env_find(w, 1);
    assert_non_null(m);

    result.rcpt = 0;
    result.status = NGX_SMTP_RESULT_FAILED;
    result.code = 550;
    result.text = shim_str("5.1.1 no such user");

    peer = shim_str("mx.example.org[192.0.2.2]:25");

    ngx_smtp_store_results(m, &result, 1, &peer, ngx_time(), 0, 0);

    shim_alloc_fail_after(0);

    assert_null(ngx_smtp_store_report(m, NGX_SMTP_REPORT_FAILURE, &result, 1,
                                      &peer, ngx_time()));

    shim_alloc_fail_after(-1);

    assert_int_equal(ngx_smtp_store_done(m, ngx_time()), NGX_DECLINED);

    return w;
}


/* what was delivered is not tried again, even if that cannot be recorded */

static void
test_result(void **state)
{
    ngx_str_t            peer;
    env_worker_t        *w;
    ngx_smtp_result_t    result;
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);
    env_time(300);

    env_mail(&mail[0], "internet", 1, 300, 0);
    assert_int_equal(env_accepted(w, &mail[0]), NGX_OK);

    m = env_find(w, 0);

    ngx_memzero(&result, sizeof(ngx_smtp_result_t));

    result.status = NGX_SMTP_RESULT_DELIVERED;
    result.code = 250;

    peer = shim_str("mx.example.org[192.0.2.2]:25");

    shim_alloc_fail_after(0);
    ngx_smtp_store_results(m, &result, 1, &peer, ngx_time(), 0, 0);
    shim_alloc_fail_after(-1);

    assert_int_equal(m->npending, 0);
    assert_int_equal(env_done(w, m), NGX_OK);

    env_pump();
    env_stop(w);

    w = env_start(0, NULL);
    env_time(300);
    assert_int_equal(w->nmessages, 0);
    env_stop(w);
}


static void
test_check(env_worker_t *w)
{
    ngx_smtp_report_t   *r;
    ngx_smtp_message_t  *m;

    assert_int_equal(w->nmessages, 3);

    m = env_find(w, 1);
    assert_non_null(m);
    assert_false(ngx_queue_empty(&m->reports));

    r = ngx_queue_data(ngx_queue_head(&m->reports), ngx_smtp_report_t, link);

    assert_int_equal(r->number, 1);
    assert_int_equal(r->kind, NGX_SMTP_REPORT_FAILURE);
    assert_str_equal(&r->results[0].text, "5.1.1 no such user");

    assert_int_equal(env_find(w, 0)->npending, 1);
    assert_int_equal(env_find(w, 2)->npending, 2);

    ngx_smtp_store_reported(r, ngx_time());
    assert_int_equal(env_done(w, m), NGX_OK);

    env_pump();
    env_stop(w);

    w = env_start(0, NULL);
    env_time(300);

    assert_int_equal(w->nmessages, 2);
    assert_null(env_find(w, 1));

    env_stop(w);
}


/* the worker goes on, takes new mail, and has it in a moment */

static void
test_report_later(void **state)
{
    env_mail_t     more;
    env_worker_t  *w;

    w = test_fail(0);

    env_mail(&more, "internet", 1, 300, 7);
    assert_int_equal(env_accepted(w, &more), NGX_OK);

    env_time(5000);

    assert_int_equal(shim_log_count("no memory for a report"), 1);
    assert_int_equal(w->nmessages, 4);

    env_result(env_find(w, 7), 0, NGX_SMTP_RESULT_DELIVERED, 0);
    assert_int_equal(env_done(w, env_find(w, 7)), NGX_OK);

    test_check(w);
}


static void
test_report_sealed(void **state)
{
    env_worker_t  *w;

    w = test_fail(1);
    env_time(5000);
    test_check(w);
}


static void
test_report_after_stop(void **state)
{
    env_worker_t  *w;

    w = test_fail(0);
    env_stop(w);

    w = env_start(0, NULL);
    env_time(300);
    test_check(w);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_result, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_report_later, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_report_sealed, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_report_after_stop, env_setup,
                                        env_teardown),
    };

    return shim_run(tests);
}
