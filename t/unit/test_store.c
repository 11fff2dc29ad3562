
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Accepting and what happens to messages afterwards: batches, faults, roll
 * over, events, removal, reading back.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static void test_accept(void **state);
static void test_batch(void **state);
static void test_sync_fails(void **state);
static void test_write_fails(void **state);
static void test_busy_pool(void **state);
static void test_space(void **state);
static void test_roll(void **state);
static void test_events(void **state);
static void test_reports(void **state);
static void test_log_fails(void **state);
static void test_read(void **state);
static void test_read_closed(void **state);
static void test_damaged(void **state);
static void test_large(void **state);
static void test_large_aborted(void **state);
static void test_large_fails(void **state);
static void test_stop_in_flight(void **state);
static void test_many_recipients(void **state);
static void test_large_handler(void *data, ngx_int_t rc);


static void
test_accept(void **state)
{
    env_mail_t           mail;
    env_worker_t        *w;
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);

    assert_int_equal(ngx_smtp_store_ready(w->store, 0), NGX_OK);

    env_mail(&mail, "internet", 2, 5000, 1);

    /* nothing is open yet: it waits */

    env_accept(w, &mail);
    assert_int_equal(env_files(""), 0);
    assert_int_equal(mail.done, 0);

    env_time(300);
    assert_int_equal(mail.done, 1);
    assert_int_equal(mail.rc, NGX_OK);
    assert_true(mail.accept.queue_id.len > 20);

    /* handed up before it was answered */

    assert_int_equal(mail.told, 1);
    assert_int_equal(w->nmessages, 1);

    m = w->messages[0];

    assert_int_equal(m->nrcpts, 2);
    assert_int_equal(m->npending, 2);
    assert_int_equal(m->size, 5000 + strlen("Received: by test\r\n"));
    assert_int_equal(m->queue, 0);
    assert_int_equal(m->unknown_queue, 0);
    assert_int_equal(ngx_smtp_message_ready(m), NGX_OK);
    assert_true(sizeof(ngx_smtp_message_t) <= 200);

    assert_non_null(m->fresh);
    env_check_read(m, 2, 5000, 1);

    ngx_smtp_message_stale(m);
    assert_null(m->fresh);
    env_check_read(m, 2, 5000, 1);

    env_stop(w);

    /* and it is there for the next one */

    w = env_start(0, NULL);
    env_time(300);
    assert_int_equal(w->nmessages, 1);
    env_check_read(w->messages[0], 2, 5000, 1);
    assert_int_equal(shim_log_count("by a scan"), 0);
    env_stop(w);
}


static void
test_batch(void **state)
{
    env_mail_t     mail[21];
    ngx_uint_t     i;
    env_worker_t  *w;

    w = env_start(0, NULL);
    env_time(300);
    env_data_syncs = 0;

    for (i = 0; i < 21; i++) {
        env_mail(&mail[i], "internet", 1, 1000 + i * 3000, i);
    }

    /* a lone one goes at once, no timer */

    env_accept(w, &mail[0]);
    shim_posted_run();
    assert_int_equal(shim_tasks_work(), 1);
    assert_int_equal(env_data_syncs, 1);

    /* what arrives during its sync makes one batch */

    for (i = 1; i < 20; i++) {
        env_accept(w, &mail[i]);
        shim_posted_run();
    }

    assert_int_equal(mail[0].done, 0);
    assert_int_equal(shim_tasks_deliver(), 1);
    assert_int_equal(mail[0].done, 1);
    assert_int_equal(mail[1].done, 0);

    /* the next is under way before the first one's answers: one more waits */

    assert_int_equal(shim_tasks_work(), 1);
    assert_int_equal(env_data_syncs, 2);
    env_accept(w, &mail[20]);
    assert_int_equal(shim_tasks_deliver(), 1);

    for (i = 1; i < 20; i++) {
        assert_int_equal(mail[i].done, 1);
        assert_int_equal(mail[i].rc, NGX_OK);
    }

    assert_int_equal(mail[20].done, 0);
    env_pump();
    assert_int_equal(mail[20].done, 1);
    assert_int_equal(env_data_syncs, 3);

    for (i = 0; i < 21; i++) {
        ngx_smtp_message_stale(w->messages[i]);
        env_check_read(w->messages[i], 1, 1000 + i * 3000, i);
    }

    env_stop(w);
}


static void
test_sync_fails(void **state)
{
    env_mail_t     mail[4];
    ngx_uint_t     i;
    env_worker_t  *w;

    w = env_start(0, NULL);
    env_time(300);

    for (i = 0; i < 4; i++) {
        env_mail(&mail[i], "internet", 1, 3000, i);
    }

    assert_int_equal(env_accepted(w, &mail[0]), NGX_OK);

    env_fault_fdatasync.match = ".data";
    env_fault_fdatasync.times = 1;
    env_fault_fdatasync.err = EIO;

    assert_int_equal(env_accepted(w, &mail[1]), NGX_ERROR);
    assert_int_equal(w->nmessages, 1);
    assert_int_equal(shim_log_count("refused with 451"), 1);

    /* the same disk is asked again, with another segment, not the same sync */

    assert_int_equal(env_accepted(w, &mail[2]), NGX_OK);
    assert_int_equal(shim_log_count("written again"), 1);
    assert_int_equal(env_files(".data"), 2);

    env_stop(w);

    w = env_start(0, NULL);
    env_time(2000);
    assert_int_equal(w->nmessages, 2);
    assert_non_null(env_find(w, 0));
    assert_null(env_find(w, 1));
    assert_non_null(env_find(w, 2));

    assert_int_equal(env_accepted(w, &mail[3]), NGX_OK);

    env_stop(w);
}


static void
test_write_fails(void **state)
{
    env_mail_t     mail[3];
    ngx_uint_t     i;
    env_worker_t  *w;

    w = env_start(0, NULL);
    env_time(300);

    for (i = 0; i < 3; i++) {
        env_mail(&mail[i], "internet", 1, 3000, i);
    }

    env_fault_pwritev.match = ".data";
    env_fault_pwritev.times = 1;
    env_fault_pwritev.err = ENOSPC;

    /* a batch of two: both */

    env_accept(w, &mail[0]);
    env_accept(w, &mail[1]);
    env_pump();

    assert_int_equal(mail[0].done, 1);
    assert_int_equal(mail[1].done, 1);
    assert_int_equal(mail[0].rc, NGX_BUSY);
    assert_int_equal(mail[1].rc, NGX_BUSY);
    assert_int_equal(shim_log_count("refused with 452"), 1);

    assert_int_equal(env_accepted(w, &mail[2]), NGX_OK);
    assert_int_equal(w->nmessages, 1);

    env_stop(w);

    w = env_start(0, NULL);
    env_time(300);
    assert_int_equal(w->nmessages, 1);
    env_check_read(w->messages[0], 1, 3000, 2);
    env_stop(w);
}


/* the thread pool's queue is full: nothing is lost, nothing hangs */

static void
test_busy_pool(void **state)
{
    env_mail_t     mail[2];
    env_worker_t  *w;

    w = env_start(0, NULL);
    env_time(300);

    env_mail(&mail[0], "internet", 1, 70000, 0);
    env_mail(&mail[1], "internet", 1, 100, 1);

    env_accept(w, &mail[0]);
    env_accept(w, &mail[1]);

    shim_tasks_refuse(2);
    shim_posted_run();
    assert_int_equal(mail[0].done, 0);
    shim_tasks_refuse(0);

    env_time(400);
    assert_int_equal(mail[0].done, 1);
    assert_int_equal(mail[0].rc, NGX_OK);
    assert_int_equal(mail[1].rc, NGX_OK);

    ngx_smtp_message_stale(w->messages[0]);
    env_check_read(w->messages[0], 1, 70000, 0);

    env_stop(w);
}


static void
test_space(void **state)
{
    env_mail_t     mail;
    env_worker_t  *w;

    w = env_start(0, NULL);
    w->conf.min_free = 1024 * 1024 * 1024;
    env_free = (off_t) 4 * 1024 * 1024 * 1024;
    env_time(1500);

    assert_int_equal(ngx_smtp_store_ready(w->store, 1024), NGX_OK);
    assert_int_equal(ngx_smtp_store_ready(w->store,
                                          (off_t) 4 * 1024 * 1024 * 1024),
                     NGX_BUSY);

    /* it is seen within about a second, and with each batch */

    env_free = 1024 * 1024;
    env_time(1500);
    assert_int_equal(ngx_smtp_store_ready(w->store, 0), NGX_BUSY);

    env_mail(&mail, "internet", 1, 100, 0);
    env_free = (off_t) 4 * 1024 * 1024 * 1024;
    assert_int_equal(env_accepted(w, &mail), NGX_OK);
    assert_int_equal(ngx_smtp_store_ready(w->store, 0), NGX_OK);

    env_stop(w);
}


static void
test_roll(void **state)
{
    env_mail_t           mail[12];
    ngx_uint_t           i;
    env_worker_t        *w;
    ngx_smtp_message_t  *m;
    ngx_smtp_segment_t  *first;

    w = env_start(16384, NULL);
    env_time(300);

    for (i = 0; i < 12; i++) {
        env_mail(&mail[i], "internet", 1, 4000, i);
        assert_int_equal(env_accepted(w, &mail[i]), NGX_OK);
    }

    /* three each, and one created ahead at most */

    assert_in_range(env_files(".data"), 4, 5);

    first = w->messages[0]->segment;
    assert_ptr_equal(w->messages[1]->segment, first);
    assert_ptr_not_equal(w->messages[4]->segment, first);
    assert_ptr_not_equal(w->messages[11]->segment, w->messages[4]->segment);

    /* the first segment goes when its last message is done */

    i = env_files(".data");

    while (w->nmessages) {
        m = w->messages[0];

        if (m->segment != first) {
            break;
        }

        assert_int_equal(env_done(w, m), NGX_DECLINED);
        env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);
        assert_int_equal(env_done(w, m), NGX_OK);

        /* env_done() moves the last to the front */

        for (m = NULL; w->nmessages; /* void */ ) {
            ngx_uint_t  k;

            for (k = 0; k < w->nmessages; k++) {
                if (w->messages[k]->segment == first) {
                    m = w->messages[k];
                    w->messages[k] = w->messages[0];
                    w->messages[0] = m;
                    break;
                }
            }

            break;
        }

        if (m == NULL) {
            break;
        }

        env_pump();
        assert_int_equal(env_files(".data"), i);
    }

    env_pump();
    assert_int_equal(env_files(".data"), i - 1);
    assert_int_equal(env_files(".log"), i - 1);

    /* the others are untouched */

    i = w->nmessages;
    env_stop(w);

    w = env_start(16384, NULL);
    env_time(2000);
    assert_int_equal(w->nmessages, i);
    env_stop(w);

    /* an active segment without mail does not stay either */

    assert_int_equal(env_files(".data"), i / 3);
}


static void
test_events(void **state)
{
    ngx_str_t            peer;
    env_mail_t           mail[3];
    ngx_uint_t           i, pass;
    env_worker_t        *w;
    ngx_smtp_report_t   *r;
    ngx_smtp_result_t    results[2];
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);
    env_time(300);

    for (i = 0; i < 3; i++) {
        env_mail(&mail[i], "internet", 3, 1000, i);
        assert_int_equal(env_accepted(w, &mail[i]), NGX_OK);
    }

    /* 0: one delivered, one deferred, one failed with a report */

    m = env_find(w, 0);
    peer = shim_str("peer");

    results[0].rcpt = 2;
    results[0].status = NGX_SMTP_RESULT_FAILED;
    results[0].code = 550;
    results[0].text = shim_str("5.1.1 no such user");
    results[1].rcpt = 0;
    results[1].status = NGX_SMTP_RESULT_DEFERRED;
    results[1].code = 450;
    results[1].text = shim_str("4.2.0 later");

    env_result(m, 1, NGX_SMTP_RESULT_DELIVERED, 0);
    ngx_smtp_store_results(m, results, 2, &peer, ngx_time(),
                           ngx_time() + 500, 0);
    r = ngx_smtp_store_report(m, NGX_SMTP_REPORT_FAILURE, results, 1, &peer,
                              ngx_time());
    assert_non_null(r);
    assert_int_equal(r->number, 1);

    ngx_smtp_store_report_deferred(r, ngx_time(), ngx_time() + 60);

    /* 1: held; 2: done */

    ngx_smtp_store_hold(env_find(w, 1), 1, ngx_time());

    m = env_find(w, 2);

    for (i = 0; i < 3; i++) {
        env_result(m, i, NGX_SMTP_RESULT_DELIVERED, 0);
    }

    assert_int_equal(env_done(w, m), NGX_OK);

    /* from memory by a seal, then from the log again */

    for (pass = 0; pass < 2; pass++) {
        env_stop(w);

        w = env_start(0, NULL);
        env_time(300);

        assert_int_equal(w->nmessages, 2);

        m = env_find(w, 0);
        assert_int_equal(m->npending, 1);
        assert_int_equal(m->attempts, 2);
        assert_int_equal(m->due_at, 1700000000 + 500);
        assert_int_equal(ngx_smtp_message_final(m, 0), 0);
        assert_int_equal(ngx_smtp_message_final(m, 1), 1);
        assert_int_equal(ngx_smtp_message_final(m, 2), 1);
        assert_int_equal(m->hold, 0);

        assert_false(ngx_queue_empty(&m->reports));
        r = ngx_queue_data(ngx_queue_head(&m->reports), ngx_smtp_report_t,
                           link);
        assert_int_equal(r->kind, NGX_SMTP_REPORT_FAILURE);
        assert_int_equal(r->number, 1);
        assert_int_equal(r->attempts, 1);
        assert_int_equal(r->due_at, 1700000000 + 60);
        assert_int_equal(r->nresults, 1);
        assert_int_equal(r->results[0].rcpt, 2);
        assert_int_equal(r->results[0].code, 550);
        assert_str_equal(&r->results[0].text, "5.1.1 no such user");
        assert_str_equal(&r->peer, "peer");

        assert_int_equal(env_find(w, 1)->hold, 1);

        shim_time_set(1700000000, 0);
    }

    /* what is pending keeps a message from being done */

    env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);
    assert_int_equal(env_done(w, m), NGX_DECLINED);
    ngx_smtp_store_reported(r, ngx_time());
    assert_true(ngx_queue_empty(&m->reports));
    assert_int_equal(env_done(w, m), NGX_OK);

    ngx_smtp_store_hold(w->messages[0], 0, ngx_time());

    env_stop(w);

    w = env_start(0, NULL);
    env_time(300);
    assert_int_equal(w->nmessages, 1);
    assert_int_equal(w->messages[0]->hold, 0);
    env_stop(w);
}


static void
test_reports(void **state)
{
    ngx_str_t            peer;
    env_mail_t           mail[2];
    ngx_uint_t           i, pass;
    env_worker_t        *w;
    ngx_smtp_report_t   *r;
    ngx_smtp_result_t    results[2], failure;
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);
    env_time(300);

    for (i = 0; i < 2; i++) {
        env_mail(&mail[i], "internet", 2, 1000, i);
        assert_int_equal(env_accepted(w, &mail[i]), NGX_OK);
    }

    /* 0: its delay is told, once and for ever; not on a full disk */

    m = env_find(w, 0);
    peer = shim_str("peer");

    for (i = 0; i < 2; i++) {
        results[i].rcpt = i;
        results[i].status = NGX_SMTP_RESULT_DEFERRED;
        results[i].code = 450;
        results[i].text = shim_str("4.2.0 later");
    }

    ngx_smtp_store_results(m, results, 2, &peer, ngx_time(),
                           ngx_time() + 500, 0);

    w->conf.min_free = 1024 * 1024;
    env_free = 1024;
    env_time(1500);
    assert_null(ngx_smtp_store_report_delay(m, results, 2, &peer,
                                            ngx_time()));
    assert_int_equal(m->delay_told, 0);
    assert_int_equal(m->nreports, 0);

    env_free = 4 * 1024 * 1024;
    env_result(m, 1, NGX_SMTP_RESULT_DELIVERED, 0);
    env_time(1500);

    r = ngx_smtp_store_report_delay(m, results, 1, &peer, ngx_time());
    assert_non_null(r);
    assert_int_equal(r->kind, NGX_SMTP_REPORT_DELAY);
    assert_int_equal(m->delay_told, 1);
    ngx_smtp_store_reported(r, ngx_time());

    /* 1: a failure report becomes one to the postmaster */

    m = env_find(w, 1);

    results[0].rcpt = 1;
    results[0].status = NGX_SMTP_RESULT_FAILED;
    results[0].code = 550;
    results[0].text = shim_str("5.1.1 no such user");
    ngx_smtp_store_results(m, results, 1, &peer, ngx_time(), 0, 0);
    r = ngx_smtp_store_report(m, NGX_SMTP_REPORT_FAILURE, results, 1, &peer,
                              ngx_time());
    assert_non_null(r);
    ngx_smtp_store_report_deferred(r, ngx_time(), ngx_time() + 60);

    failure.rcpt = 0;
    failure.status = NGX_SMTP_RESULT_FAILED;
    failure.code = 554;
    failure.text = shim_str("5.7.1 no reports here");
    peer = shim_str("other");
    assert_int_equal(ngx_smtp_store_report_double(r, &failure, &peer,
                                                  ngx_time()),
                     NGX_OK);
    assert_int_equal(r->attempts, 0);

    for (pass = 0; pass < 2; pass++) {
        env_stop(w);

        w = env_start(0, NULL);
        env_time(300);

        m = env_find(w, 0);
        assert_non_null(m);
        assert_int_equal(m->delay_told, 1);
        assert_int_equal(m->nreports, 1);
        assert_true(ngx_queue_empty(&m->reports));

        m = env_find(w, 1);
        assert_non_null(m);
        assert_int_equal(m->delay_told, 0);
        assert_int_equal(m->nreports, 1);
        assert_false(ngx_queue_empty(&m->reports));
        r = ngx_queue_data(ngx_queue_head(&m->reports), ngx_smtp_report_t,
                           link);
        assert_ptr_equal(ngx_queue_next(&r->link), &m->reports);
        assert_int_equal(r->kind, NGX_SMTP_REPORT_DOUBLE);
        assert_int_equal(r->number, 1);
        assert_int_equal(r->attempts, 0);
        assert_int_equal(r->nresults, 2);
        assert_int_equal(r->results[0].rcpt, 0);
        assert_str_equal(&r->results[0].text, "5.7.1 no reports here");
        assert_int_equal(r->results[1].rcpt, 1);
        assert_str_equal(&r->results[1].text, "5.1.1 no such user");
        assert_str_equal(&r->peer, "other");
    }

    ngx_smtp_store_reported(r, ngx_time());
    assert_true(ngx_queue_empty(&m->reports));
    env_stop(w);
}


static void
test_log_fails(void **state)
{
    env_mail_t           mail;
    env_worker_t        *w;
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);
    env_time(300);

    env_mail(&mail, "internet", 2, 1000, 7);
    assert_int_equal(env_accepted(w, &mail), NGX_OK);
    m = w->messages[0];

    /* the sync of the first result fails: nothing more is sent ... */

    env_fault_fdatasync.match = ".log";
    env_fault_fdatasync.times = 1;
    env_fault_fdatasync.err = EIO;
    env_fault_fsync.match = "smtp-store-test";
    env_fault_fsync.times = 1;
    env_fault_fsync.err = EIO;

    env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);
    env_time(200);
    assert_int_equal(ngx_smtp_message_ready(m), NGX_OK);

    env_time(900);
    assert_int_equal(shim_log_count("nothing more is sent"), 1);

    /* ... until the log was written anew, with what memory knows */

    env_time(2500);
    assert_int_equal(ngx_smtp_message_ready(m), NGX_OK);
    assert_int_equal(shim_log_count("written anew"), 1 + 1);

    env_result(m, 1, NGX_SMTP_RESULT_DEFERRED, ngx_time() + 1000);
    env_time(1000);

    env_stop(w);

    w = env_start(0, NULL);
    env_time(300);
    assert_int_equal(w->nmessages, 1);
    assert_int_equal(w->messages[0]->npending, 1);
    assert_int_equal(w->messages[0]->attempts, 2);
    env_stop(w);
}


static void
test_read(void **state)
{
    env_mail_t     mail;
    env_worker_t  *w;

    w = env_start(0, NULL);
    env_time(300);

    /* not large, but of several slices; and none at all */

    env_mail(&mail, "internet", 1, 300001, 3);
    assert_int_equal(env_accepted(w, &mail), NGX_OK);
    env_check_read(w->messages[0], 1, 300001, 3);
    ngx_smtp_message_stale(w->messages[0]);
    env_check_read(w->messages[0], 1, 300001, 3);

    env_mail(&mail, "internet", 1, 0, 4);
    assert_int_equal(env_accepted(w, &mail), NGX_OK);
    env_check_read(w->messages[1], 1, 0, 4);
    ngx_smtp_message_stale(w->messages[1]);
    env_check_read(w->messages[1], 1, 0, 4);

    /* over the budget nothing stays in memory */

    w->conf.memory = 0;
    env_mail(&mail, "internet", 1, 4096, 5);
    assert_int_equal(env_accepted(w, &mail), NGX_OK);
    assert_null(w->messages[2]->fresh);
    env_check_read(w->messages[2], 1, 4096, 5);

    env_stop(w);
}


static ngx_uint_t  test_called;


static void
test_never(ngx_smtp_reader_t *r, ngx_int_t rc)
{
    test_called++;
}


static void
test_read_closed(void **state)
{
    ngx_str_t           s;
    env_mail_t          mail;
    env_worker_t       *w;
    ngx_smtp_reader_t  *r;

    w = env_start(0, NULL);
    env_time(300);

    env_mail(&mail, "internet", 1, 200000, 3);
    assert_int_equal(env_accepted(w, &mail), NGX_OK);

    /* a fresh one that goes stale under its reader */

    assert_int_equal(ngx_smtp_reader_open(w->messages[0], test_never, NULL,
                                          &shim_log, &r),
                     NGX_OK);
    assert_int_equal(ngx_smtp_reader_next(r, &s), NGX_OK);
    ngx_smtp_message_stale(w->messages[0]);
    assert_int_equal(ngx_smtp_reader_next(r, &s), NGX_OK);
    assert_int_equal(s.data[0], env_byte(3, 0));
    ngx_smtp_reader_close(r);

    /* closed while a task is posted, and while it is done */

    test_called = 0;

    assert_int_equal(ngx_smtp_reader_open(w->messages[0], test_never, NULL,
                                          &shim_log, &r),
                     NGX_AGAIN);
    ngx_smtp_reader_close(r);
    env_pump();

    assert_int_equal(ngx_smtp_reader_open(w->messages[0], test_never, NULL,
                                          &shim_log, &r),
                     NGX_AGAIN);
    shim_tasks_work();
    ngx_smtp_reader_close(r);
    env_pump();

    assert_int_equal(test_called, 0);

    /* rewound while a slice is read */

    assert_int_equal(ngx_smtp_reader_open(w->messages[0], test_never, NULL,
                                          &shim_log, &r),
                     NGX_AGAIN);
    env_pump();
    assert_int_equal(test_called, 1);
    assert_int_equal(ngx_smtp_reader_next(r, &s), NGX_OK);
    assert_int_equal(ngx_smtp_reader_next(r, &s), NGX_OK);
    assert_int_equal(ngx_smtp_reader_next(r, &s), NGX_AGAIN);
    ngx_smtp_reader_rewind(r);
    env_pump();
    assert_int_equal(test_called, 1);
    assert_int_equal(ngx_smtp_reader_next(r, &s), NGX_OK);
    assert_int_equal(s.data[0], 'R');
    assert_int_equal(ngx_smtp_reader_next(r, &s), NGX_AGAIN);
    env_pump();
    assert_int_equal(test_called, 2);
    assert_int_equal(ngx_smtp_reader_next(r, &s), NGX_OK);
    assert_int_equal(s.data[0], env_byte(3, 0));
    ngx_smtp_reader_close(r);

    /* the pool takes nothing: an error, nothing leaks */

    shim_tasks_refuse(1);
    assert_int_equal(ngx_smtp_reader_open(w->messages[0], test_never, NULL,
                                          &shim_log, &r),
                     NGX_ERROR);

    env_stop(w);
}


static ngx_int_t  test_rc;


static void
test_read_rc(ngx_smtp_reader_t *r, ngx_int_t rc)
{
    test_called++;
    test_rc = rc;
}


static void
test_damaged(void **state)
{
    char                 command[256];
    ngx_str_t            s;
    env_mail_t           mail;
    env_worker_t        *w;
    ngx_smtp_reader_t   *r;
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);
    env_time(300);

    env_mail(&mail, "internet", 1, 200000, 3);
    assert_int_equal(env_accepted(w, &mail), NGX_OK);

    m = w->messages[0];
    ngx_smtp_message_stale(m);

    /* a byte in the last slice */

    snprintf(command, sizeof(command),
             "printf X | dd of=`ls %s/*.data | head -1` bs=1 seek=%u "
             "conv=notrunc 2>/dev/null",
             env_path, (unsigned) (m->offset + m->head_size + 199990));
    assert_int_equal(system(command), 0);

    test_called = 0;
    assert_int_equal(ngx_smtp_reader_open(m, test_read_rc, NULL, &shim_log,
                                          &r),
                     NGX_AGAIN);
    env_pump();
    assert_int_equal(test_called, 1);
    assert_int_equal(test_rc, NGX_OK);

    while (ngx_smtp_reader_next(r, &s) != NGX_ERROR) {
        env_pump();
        assert_in_range(test_called, 1, 4);
    }

    assert_int_equal(test_called, 4);
    assert_int_equal(test_rc, NGX_ERROR);
    assert_int_equal(ngx_smtp_reader_next(r, &s), NGX_ERROR);
    ngx_smtp_reader_close(r);

    assert_int_equal(m->hold, 1);
    assert_int_equal(shim_log_count("is on hold"), 1);
    assert_int_equal(env_files(".message"), 1);

    env_stop(w);
}


static void
test_large_handler(void *data, ngx_int_t rc)
{
    test_called++;
    test_rc = rc;
}


/* Feeds the content in two writes and leaves the rest in memory. */

static void
test_large_feed(env_worker_t *w, env_mail_t *mail, size_t size, unsigned seed)
{
    size_t             i;
    u_char             c;
    ngx_smtp_large_t  *l;

    env_mail(mail, "internet", 1, 0, seed);

    l = ngx_smtp_large_open(w->store);
    assert_non_null(l);

    for (i = 0; i < size; i++) {
        c = env_byte(seed, i);
        assert_int_equal(ngx_smtp_content_append(&mail->content, &c, 1,
                                                 &shim_log),
                         NGX_OK);

        if (i == size / 3 || i == size / 2) {
            test_called = 0;
            ngx_smtp_large_write(l, ngx_smtp_content_take(&mail->content),
                                 test_large_handler, NULL);
            assert_int_equal(test_called, 0);
            env_pump();
            assert_int_equal(test_called, 1);
        }
    }

    mail->accept.large = l;
}


static void
test_large(void **state)
{
    env_mail_t           mail[2];
    env_worker_t        *w;
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);
    env_time(300);

    test_large_feed(w, &mail[0], 2 * 1024 * 1024 + 17, 5);
    assert_int_equal(test_rc, NGX_OK);
    assert_int_equal(env_files(".body"), 0);

    env_mail(&mail[1], "internet", 1, 1000, 6);
    env_accept(w, &mail[1]);
    assert_int_equal(env_accepted(w, &mail[0]), NGX_OK);
    assert_int_equal(mail[1].rc, NGX_OK);

    assert_int_equal(env_files(".body"), 1);

    m = env_find(w, 5);
    assert_int_equal(m->large, 1);
    assert_null(m->fresh);
    env_check_read(m, 1, 2 * 1024 * 1024 + 17, 5);

    env_stop(w);

    w = env_start(0, NULL);
    env_time(300);
    assert_int_equal(w->nmessages, 2);

    m = env_find(w, 5);
    env_check_read(m, 1, 2 * 1024 * 1024 + 17, 5);

    /* its file goes when its end is synced, the segment stays */

    env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);
    assert_int_equal(env_done(w, m), NGX_OK);
    env_pump();
    assert_int_equal(env_files(".body"), 1);
    env_time(1500);
    assert_int_equal(env_files(".body"), 0);
    assert_int_equal(w->nmessages, 1);

    env_stop(w);
}


static void
test_large_aborted(void **state)
{
    env_mail_t         mail;
    env_worker_t      *w;
    ngx_smtp_large_t  *l;

    w = env_start(0, NULL);
    env_time(300);

    test_large_feed(w, &mail, 100000, 5);
    ngx_smtp_block_free(ngx_smtp_content_take(&mail.content));
    ngx_smtp_large_abort(mail.accept.large);
    env_pump();

    /* with a write posted, and with a write done but not delivered */

    env_mail(&mail, "internet", 1, 50000, 6);
    l = ngx_smtp_large_open(w->store);
    test_called = 0;
    ngx_smtp_large_write(l, ngx_smtp_content_take(&mail.content),
                         test_large_handler, NULL);
    ngx_smtp_large_abort(l);
    env_pump();

    env_mail(&mail, "internet", 1, 50000, 6);
    l = ngx_smtp_large_open(w->store);
    ngx_smtp_large_write(l, ngx_smtp_content_take(&mail.content),
                         test_large_handler, NULL);
    shim_tasks_work();
    ngx_smtp_large_abort(l);
    env_pump();

    /* before anything */

    ngx_smtp_large_abort(ngx_smtp_large_open(w->store));

    /* the pool is full: told later, aborted before it was told */

    env_mail(&mail, "internet", 1, 50000, 6);
    l = ngx_smtp_large_open(w->store);
    shim_tasks_refuse(1);
    ngx_smtp_large_write(l, ngx_smtp_content_take(&mail.content),
                         test_large_handler, NULL);
    ngx_smtp_large_abort(l);
    env_pump();

    assert_int_equal(test_called, 0);
    assert_int_equal(env_files("body"), 0);

    env_stop(w);
    assert_int_equal(env_files("body"), 0);
    assert_int_equal(env_files(".data"), 0);
}


static void
test_large_fails(void **state)
{
    env_mail_t     mail[2];
    env_worker_t  *w;

    w = env_start(0, NULL);
    env_time(300);

    /* a write */

    env_fault_pwritev.match = "(deleted)";
    env_fault_pwritev.times = 1;
    env_fault_pwritev.err = ENOSPC;

    test_large_feed(w, &mail[0], 100000, 5);
    assert_int_equal(test_rc, NGX_BUSY);
    assert_int_equal(env_accepted(w, &mail[0]), NGX_BUSY);

    /* the sync; the other mail of the batch does not mind */

    env_fault_fsync.match = "(deleted)";
    env_fault_fsync.times = 1;
    env_fault_fsync.err = EIO;

    test_large_feed(w, &mail[0], 100000, 5);
    env_mail(&mail[1], "internet", 1, 1000, 6);
    env_accept(w, &mail[1]);
    assert_int_equal(env_accepted(w, &mail[0]), NGX_ERROR);
    assert_int_equal(mail[1].rc, NGX_OK);

    /* the batch: the body does not stay */

    env_fault_fdatasync.match = ".data";
    env_fault_fdatasync.times = 1;
    env_fault_fdatasync.err = EIO;

    test_large_feed(w, &mail[0], 100000, 5);
    assert_int_equal(env_accepted(w, &mail[0]), NGX_ERROR);

    assert_int_equal(env_files(".body"), 0);
    assert_int_equal(w->nmessages, 1);

    env_stop(w);
}


/* TERM in the middle: a batch on disk is answered, the rest is refused */

static void
test_stop_in_flight(void **state)
{
    env_mail_t           mail[3];
    env_worker_t        *w;
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);
    env_time(300);

    env_mail(&mail[0], "internet", 2, 1000, 0);
    env_mail(&mail[1], "internet", 1, 1000, 1);
    env_mail(&mail[2], "internet", 1, 1000, 2);

    assert_int_equal(env_accepted(w, &mail[0]), NGX_OK);

    m = w->messages[0];
    ngx_smtp_message_outstanding(m, 1, ngx_time() + 300);
    env_result(m, 1, NGX_SMTP_RESULT_DELIVERED, 0);

    env_accept(w, &mail[1]);
    shim_posted_run();
    env_accept(w, &mail[2]);

    env_stop(w);

    assert_int_equal(mail[1].rc, NGX_OK);
    assert_int_equal(mail[2].rc, NGX_ERROR);

    w = env_start(0, NULL);
    env_time(300);

    assert_int_equal(w->nmessages, 2);
    m = env_find(w, 0);

    /* the answer never came: not again before the peer has given up */

    assert_int_equal(m->npending, 1);
    assert_int_equal(m->attempts, 2);
    assert_int_equal(m->due_at, 1700000000 + 300);
    assert_non_null(env_find(w, 1));
    assert_null(env_find(w, 2));

    env_stop(w);
}


static void
test_many_recipients(void **state)
{
    ngx_uint_t           i;
    env_mail_t           mail;
    env_worker_t        *w;
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);
    env_time(300);

    env_mail(&mail, "internet", 100, 1000, 0);
    assert_int_equal(env_accepted(w, &mail), NGX_OK);

    m = w->messages[0];

    for (i = 0; i < 100; i += 3) {
        env_result(m, i, NGX_SMTP_RESULT_DELIVERED, 0);
    }

    assert_int_equal(m->npending, 66);
    env_stop(w);

    w = env_start(0, NULL);
    env_time(300);

    m = w->messages[0];
    assert_int_equal(m->npending, 66);

    for (i = 0; i < 100; i++) {
        assert_int_equal(ngx_smtp_message_final(m, i), i % 3 == 0);
    }

    env_stop(w);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_accept, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_batch, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_sync_fails, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_write_fails, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_busy_pool, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_space, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_roll, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_events, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_reports, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_log_fails, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_read, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_read_closed, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_damaged, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_large, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_large_aborted, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_large_fails, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_stop_in_flight, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_many_recipients, env_setup,
                                        env_teardown),
    };

    return shim_run(tests);
}
