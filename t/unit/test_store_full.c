
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A disk that is full between the acceptance of a message and what happens to
 * it: the log has room for results and for reports of all kinds, those of a
 * delay and to the postmaster without texts, so that after a crash no report
 * is made twice and none is missing.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"
#include "ngx_smtp_store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static void test_full(void **state);
static int test_fallocate(int fd, int mode, off_t offset, off_t len);
static void test_crash(void);
static void test_adopted(void **state);


static ngx_smtp_sys_t  test_sys;
static ngx_uint_t      test_no_room;
static env_mail_t      mail;


/* only what is needed at least: no room to spare */

static int
test_fallocate(int fd, int mode, off_t offset, off_t len)
{
    if (test_no_room || len == 1024 * 1024 || len == 32 * 1024) {
        errno = ENOSPC;
        return -1;
    }

    return test_sys.fallocate(fd, mode, offset, len);
}


/* the spool as a killed worker left it */

static void
test_crash(void)
{
    char  command[256];

    snprintf(command, sizeof(command), "cp -a %s %s.crash", env_path,
             env_path);
    assert_int_equal(system(command), 0);
    strcat(env_path, ".crash");
}


static void
test_full(void **state)
{
    char                 command[256];
    ngx_str_t            peer;
    env_worker_t        *w, *w2;
    ngx_smtp_report_t   *failed, *delay;
    ngx_smtp_result_t    results[2];
    ngx_smtp_message_t  *m;

    test_sys = ngx_smtp_sys;
    ngx_smtp_sys.fallocate = test_fallocate;

    w = env_start(0, NULL);
    env_time(300);

    env_mail(&mail, "internet", 2, 300, 0);
    assert_int_equal(env_accepted(w, &mail), NGX_OK);

    test_no_room = 1;

    m = env_find(w, 0);
    peer = shim_str("mx.example.org[192.0.2.2]:25");

    memset(results, 0, sizeof(results));

    results[0].rcpt = 0;
    results[0].status = NGX_SMTP_RESULT_FAILED;
    results[0].code = 550;
    results[0].text = shim_str("5.1.1 no such user");

    results[1].rcpt = 1;
    results[1].status = NGX_SMTP_RESULT_DEFERRED;
    results[1].code = 450;
    results[1].text = shim_str("4.2.2 not now, and a long story about that");

    ngx_smtp_store_results(m, results, 2, &peer, ngx_time(),
                           ngx_time() + 600, 0);
    failed = ngx_smtp_store_report(m, NGX_SMTP_REPORT_FAILURE, results, 1,
                                   &peer, ngx_time());
    assert_non_null(failed);
    env_pump();

    delay = ngx_smtp_store_report_delay(m, &results[1], 1, &peer,
                                        ngx_time());
    assert_non_null(delay);
    env_pump();

    results[0].text = shim_str("5.7.1 the sender does not exist either");

    assert_int_equal(ngx_smtp_store_report_double(failed, results, &peer,
                                                  ngx_time()), NGX_OK);
    env_pump();

    ngx_smtp_store_reported(delay, ngx_time());
    env_time(1200);

    /* nothing is blocked by it */

    assert_int_equal(ngx_smtp_message_ready(m), NGX_OK);

    test_crash();

    w2 = env_start(0, NULL);
    env_time(300);

    assert_int_equal(w2->nmessages, 1);
    m = env_find(w2, 0);

    assert_int_equal(m->npending, 1);
    assert_int_equal(m->delay_told, 1);
    assert_int_equal(m->nreports, 2);
    assert_null(env_report(m, 2));

    failed = env_report(m, 1);
    assert_non_null(failed);
    assert_int_equal(failed->kind, NGX_SMTP_REPORT_DOUBLE);
    assert_int_equal(failed->nresults, 2);
    assert_int_equal(failed->results[0].code, 550);

    /* and its own end has room as well */

    ngx_smtp_store_reported(failed, ngx_time());
    env_result(m, 1, NGX_SMTP_RESULT_DELIVERED, 0);
    assert_int_equal(env_done(w2, m), NGX_OK);
    env_pump();

    env_stop(w2);

    snprintf(command, sizeof(command), "rm -rf %s", env_path);
    assert_int_equal(system(command), 0);
    env_path[strlen(env_path) - strlen(".crash")] = '\0';

    env_stop(w);

    ngx_smtp_sys = test_sys;
}


/*
 * Of mail that was taken over from a seal less is owed than of mail that was
 * accepted: its end gives back no more.  Deferrals leave room for the others.
 */

static void
test_adopted(void **state)
{
    off_t                 owed;
    ngx_uint_t            i, k;
    env_worker_t         *w;
    ngx_smtp_message_t   *m;
    ngx_smtp_segment_t   *seg;

    w = env_start(0, NULL);
    env_time(300);

    for (i = 0; i < 3; i++) {
        env_mail(&mail, "internet", 4, 300, i);
        assert_int_equal(env_accepted(w, &mail), NGX_OK);

        for (k = 0; k < 3; k++) {
            env_result(env_find(w, i), k, NGX_SMTP_RESULT_DELIVERED, 0);
        }
    }

    env_time(300);
    env_stop(w);

    test_sys = ngx_smtp_sys;
    ngx_smtp_sys.fallocate = test_fallocate;
    test_no_room = 0;

    w = env_start(0, NULL);
    env_time(300);
    assert_int_equal(w->nmessages, 3);

    test_no_room = 1;

    m = env_find(w, 2);
    seg = m->segment;

    for (i = 0; i < 2; i++) {
        env_result(env_find(w, i), 3, NGX_SMTP_RESULT_DELIVERED, 0);
        assert_int_equal(env_done(w, env_find(w, i)), NGX_OK);
        env_pump();
    }

    owed = NGX_SMTP_LOG_MARKS + ngx_smtp_log_need(0, 1);
    assert_in_range(seg->file.owed, owed,
                    NGX_SMTP_LOG_MARKS + ngx_smtp_log_need(0, 4));

    for (i = 0; i < 500; i++) {
        env_result(m, 3, NGX_SMTP_RESULT_DEFERRED, ngx_time() + 600);
        env_pump();
    }

    assert_true(seg->file.log_space - seg->file.log_end >= owed);
    assert_int_equal(ngx_smtp_message_ready(m), NGX_OK);

    env_stop(w);

    ngx_smtp_sys = test_sys;
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_full, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_adopted, env_setup,
                                        env_teardown),
    };

    return shim_run(tests);
}
