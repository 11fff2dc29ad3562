
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Who owns what: adoption after a crash, leaving with and without answers
 * outstanding, mail that comes in while leaving, queues nobody knows, newer
 * formats; and a long random run of several workers against a model.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>


#define TEST_MAILS    400
#define TEST_STEPS    4000
#define TEST_WORKERS  3


/* what has to be true after all */
typedef struct {
    env_mail_t            mail[TEST_MAILS];
    ngx_uint_t            nmail;
    ngx_uint_t            recipients[TEST_MAILS];
    ngx_uint_t            final[TEST_MAILS];
    ngx_uint_t            ended[TEST_MAILS];
    ngx_uint_t            deferred[TEST_MAILS];
    env_worker_t         *workers[TEST_WORKERS];
    ngx_uint_t            leaving[TEST_WORKERS];
} test_model_t;


static void test_leave(void **state);
static void test_leave_outstanding(void **state);
static void test_stop_report(void **state);
static void test_leave_accept(void **state);
static void test_leave_reading(void **state);
static void test_leave_in_flight(void **state);
static void test_leave_creating(void **state);
static void test_leave_empty(void **state);
static void test_crash(void **state);
static void test_unknown_queue(void **state);
static void test_newer(void **state);
static void test_share(void **state);
static void test_crowded(void **state);
static void test_crowded_share(void **state);
static void test_no_memory(void **state);
static void test_unusable(void **state);
static void test_random(void **state);
static void test_random_step(test_model_t *t, ngx_uint_t i);
static void test_random_deliver(test_model_t *t, env_worker_t *w,
    ngx_smtp_message_t *m);
static void test_random_end(test_model_t *t);
static ngx_uint_t test_timers(void);


/* timers that keep a worker: those that are not cancelable */

static ngx_uint_t
test_timers(void)
{
    ngx_uint_t          n;
    ngx_event_t        *ev;
    ngx_rbtree_t       *tree;
    ngx_rbtree_node_t  *node;

    tree = &ngx_event_timer_rbtree;
    n = 0;

    if (tree->root == tree->sentinel) {
        return 0;
    }

    for (node = ngx_rbtree_min(tree->root, tree->sentinel);
         node;
         node = ngx_rbtree_next(tree, node))
    {
        ev = ngx_rbtree_data(node, ngx_event_t, timer);
        n += !ev->cancelable;
    }

    return n;
}


static void
test_leave(void **state)
{
    ngx_uint_t           i;
    env_mail_t           mail[9], last;
    env_worker_t        *a, *b;
    ngx_smtp_message_t  *m, *other;

    a = env_start(16384, NULL);
    env_time(300);

    for (i = 0; i < 9; i++) {
        env_mail(&mail[i], "internet", 2, 4000, i);
        assert_int_equal(env_accepted(a, &mail[i]), NGX_OK);
    }

    env_result(env_find(a, 3), 1, NGX_SMTP_RESULT_DELIVERED, 0);
    env_result(env_find(a, 4), 0, NGX_SMTP_RESULT_DEFERRED,
               ngx_time() + 700);

    assert_int_equal(test_timers(), 0);

    /* the other worker has nothing until this one leaves */

    b = env_start(16384, NULL);
    env_time(3000);
    assert_int_equal(b->nmessages, 0);

    ngx_smtp_store_leave(a->store);
    assert_true(test_timers() > 0);
    assert_int_equal(ngx_smtp_message_ready(a->messages[0]), NGX_AGAIN);

    env_time(50);
    assert_int_equal(a->nmessages, 0);
    assert_int_equal(a->forgotten, 9);

    env_time(450);
    assert_int_equal(b->nmessages, 9);
    assert_int_equal(shim_log_count("by a scan"), 0);

    assert_int_equal(env_find(b, 3)->npending, 1);
    assert_int_equal(ngx_smtp_message_final(env_find(b, 3), 1), 1);
    assert_int_equal(env_find(b, 4)->due_at, 1700000000 + 700);

    for (i = 0; i < 9; i++) {
        env_check_read(env_find(b, i), 2, 4000, i);
    }

    /* nothing keeps the first worker any more */

    env_time(300);
    assert_int_equal(test_timers(), 0);

    env_stop(a);
    assert_int_equal(b->nmessages, 9);

    /* sealed already: what happens last is in the log before it is let go */

    env_result(env_find(b, 5), 0, NGX_SMTP_RESULT_DELIVERED, 0);
    env_result(env_find(b, 6), 0, NGX_SMTP_RESULT_DELIVERED, 0);
    env_result(env_find(b, 6), 1, NGX_SMTP_RESULT_DELIVERED, 0);

    a = env_start(16384, NULL);
    env_time(300);

    m = env_find(b, 6);
    other = env_find(b, 7);

    /* the writer has something else to do just then */

    env_mail(&last, "internet", 1, 1000, 9);
    env_accept(b, &last);
    shim_posted_run();

    env_result(other, 1, NGX_SMTP_RESULT_DELIVERED, 0);
    assert_int_equal(env_done(b, m), NGX_OK);
    ngx_smtp_store_leave(b->store);
    env_time(1000);

    assert_int_equal(last.rc, NGX_OK);
    assert_int_equal(a->nmessages, 9);
    assert_int_equal(env_find(a, 5)->npending, 1);
    assert_int_equal(ngx_smtp_message_final(env_find(a, 7), 1), 1);
    assert_null(env_find(a, 6));

    env_stop(b);
    env_stop(a);
}


static void
test_leave_outstanding(void **state)
{
    ngx_uint_t           i;
    env_mail_t           mail[6];
    env_worker_t        *a, *b;
    ngx_smtp_message_t  *m, *other;

    a = env_start(16384, NULL);
    env_time(300);

    for (i = 0; i < 6; i++) {
        env_mail(&mail[i], "internet", 1, 4000, i);
        assert_int_equal(env_accepted(a, &mail[i]), NGX_OK);
    }

    m = env_find(a, 0);
    other = env_find(a, 1);
    assert_ptr_equal(m->segment, other->segment);

    ngx_smtp_message_outstanding(m, 1, ngx_time() + 600);

    b = env_start(16384, NULL);
    ngx_smtp_store_leave(a->store);
    env_time(1000);

    /* the segment with the answer outstanding stays, the others went */

    assert_in_range(a->nmessages, 2, 4);
    assert_int_equal(a->nmessages + b->nmessages, 6);
    assert_null(env_find(b, 0));
    assert_null(env_find(b, 1));

    i = b->nmessages;

    assert_int_equal(ngx_smtp_message_ready(other), NGX_AGAIN);

    /* after five seconds what is held is served meanwhile */

    env_time(5000);
    assert_int_equal(ngx_smtp_message_ready(other), NGX_OK);
    assert_true(test_timers() > 0);

    ngx_smtp_message_outstanding(other, 1, ngx_time() + 600);

    /* the answer: nothing new starts, but what started is waited for */

    env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);
    ngx_smtp_message_outstanding(m, 0, 0);
    assert_int_equal(env_done(a, m), NGX_OK);
    assert_int_equal(ngx_smtp_message_ready(other), NGX_AGAIN);

    env_time(3000);
    assert_int_equal(b->nmessages, i);

    env_result(other, 0, NGX_SMTP_RESULT_DEFERRED, ngx_time() + 1234);
    ngx_smtp_message_outstanding(other, 0, 0);
    env_time(1000);

    assert_int_equal(a->nmessages, 0);
    assert_int_equal(b->nmessages, 5);
    assert_null(env_find(b, 0));
    assert_int_equal(env_find(b, 1)->attempts, 1);
    assert_true(env_find(b, 1)->due_at > ngx_time() + 1000);

    env_time(300);
    assert_int_equal(test_timers(), 0);

    env_stop(a);
    env_stop(b);
}


/* a report whose answer never came is not sent again before it may be */

static void
test_stop_report(void **state)
{
    time_t               until;
    ngx_str_t            peer;
    env_mail_t           mail;
    env_worker_t        *w;
    ngx_queue_t         *q;
    ngx_smtp_result_t    result;
    ngx_smtp_report_t   *r;
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);
    env_time(300);

    env_mail(&mail, "internet", 1, 1000, 1);
    assert_int_equal(env_accepted(w, &mail), NGX_OK);
    m = env_find(w, 1);

    result.rcpt = 0;
    result.status = NGX_SMTP_RESULT_FAILED;
    result.code = 550;
    result.text = shim_str("5.1.1 nobody");
    peer = shim_str("mx.example.org[192.0.2.2]:25");

    ngx_smtp_store_results(m, &result, 1, &peer, ngx_time(), 0, 0);
    assert_non_null(ngx_smtp_store_report(m, NGX_SMTP_REPORT_FAILURE, &result,
                                          1, &peer, ngx_time()));

    until = ngx_time() + 600;
    ngx_smtp_message_outstanding(m, 1, until);

    env_stop(w);

    w = env_start(0, NULL);
    env_time(300);

    m = env_find(w, 1);
    assert_non_null(m);
    assert_false(ngx_queue_empty(&m->reports));

    q = ngx_queue_head(&m->reports);
    r = ngx_queue_data(q, ngx_smtp_report_t, link);
    assert_int_equal(r->due_at, until);

    env_stop(w);
}


static void
test_leave_accept(void **state)
{
    ngx_uint_t     i;
    env_mail_t     mail[5];
    env_worker_t  *a, *b;

    a = env_start(0, NULL);
    env_time(300);

    for (i = 0; i < 5; i++) {
        env_mail(&mail[i], "internet", 1, 4000, i);
    }

    assert_int_equal(env_accepted(a, &mail[0]), NGX_OK);

    ngx_smtp_store_leave(a->store);

    /* at once, and long after everything was given up */

    assert_int_equal(env_accepted(a, &mail[1]), NGX_OK);
    env_time(2000);
    assert_int_equal(test_timers(), 0);
    assert_int_equal(env_files(".data"), 2);

    env_accept(a, &mail[2]);
    assert_true(test_timers() > 0);
    env_pump();
    assert_int_equal(mail[2].rc, NGX_OK);

    env_accept(a, &mail[3]);
    env_pump();
    assert_int_equal(mail[3].rc, NGX_OK);

    /* only what came before was ever known here */

    assert_int_equal(a->told, 1);
    assert_int_equal(a->forgotten, 1);

    b = env_start(0, NULL);
    env_time(3000);
    assert_int_equal(b->nmessages, 4);

    for (i = 0; i < 4; i++) {
        env_check_read(env_find(b, i), 1, 4000, i);
    }

    assert_int_equal(test_timers(), 0);

    /* the disk fails */

    env_fault_fdatasync.match = ".data";
    env_fault_fdatasync.times = 1;
    env_fault_fdatasync.err = EIO;

    assert_int_equal(env_accepted(a, &mail[4]), NGX_ERROR);
    env_time(1000);
    assert_int_equal(b->nmessages, 4);
    assert_int_equal(test_timers(), 0);

    env_stop(a);
    env_stop(b);
}


static ngx_uint_t  test_called;


static void
test_never(ngx_smtp_reader_t *r, ngx_int_t rc)
{
    test_called++;
}


/* the relay closes a reader, but its thread still reads */

static void
test_leave_reading(void **state)
{
    env_mail_t          mail;
    env_worker_t       *a, *b;
    ngx_smtp_reader_t  *r;

    a = env_start(0, NULL);
    env_time(300);

    env_mail(&mail, "internet", 1, 4000, 1);
    assert_int_equal(env_accepted(a, &mail), NGX_OK);
    ngx_smtp_message_stale(a->messages[0]);

    test_called = 0;
    assert_int_equal(ngx_smtp_reader_open(a->messages[0], test_never, NULL,
                                          &shim_log, &r),
                     NGX_AGAIN);

    ngx_smtp_store_leave(a->store);
    shim_posted_run();
    ngx_smtp_reader_close(r);
    shim_posted_run();

    env_pump();
    assert_int_equal(test_called, 0);

    b = env_start(0, NULL);
    env_time(500);
    assert_int_equal(b->nmessages, 1);

    env_stop(a);
    env_stop(b);
}


/* asked to leave while a batch is in a thread, and more waits */

static void
test_leave_in_flight(void **state)
{
    ngx_uint_t     i;
    env_mail_t     mail[3];
    env_worker_t  *a, *b;

    a = env_start(0, NULL);
    env_time(300);

    for (i = 0; i < 3; i++) {
        env_mail(&mail[i], "internet", 1, 4000, i);
    }

    env_accept(a, &mail[0]);
    shim_posted_run();
    shim_tasks_work();
    env_accept(a, &mail[1]);
    env_accept(a, &mail[2]);

    ngx_smtp_store_leave(a->store);
    assert_true(test_timers() > 0);

    env_pump();

    for (i = 0; i < 3; i++) {
        assert_int_equal(mail[i].rc, NGX_OK);
        assert_int_equal(mail[i].done, 1);
    }

    assert_int_equal(a->nmessages, 0);

    b = env_start(0, NULL);
    env_time(1000);
    assert_int_equal(b->nmessages, 3);

    /* the other one leaves in the middle of taking over */

    env_stop(a);
    ngx_smtp_store_leave(b->store);
    env_time(500);
    assert_int_equal(b->nmessages, 0);

    a = env_start(0, NULL);
    shim_posted_run();

    for (i = 0; a->nmessages == 0; i++) {
        assert_true(i < 100);
        shim_time_advance(50);
        shim_posted_run();
        shim_tasks_run();
    }

    ngx_smtp_store_leave(a->store);
    env_time(500);
    assert_int_equal(a->nmessages, 0);
    env_stop(a);
    env_stop(b);

    b = env_start(0, NULL);
    env_time(1000);
    assert_int_equal(b->nmessages, 3);

    for (i = 0; i < 3; i++) {
        env_check_read(env_find(b, i), 1, 4000, i);
    }

    env_stop(b);
}


/* asked to leave while the next segment is being created, mail waits */

static void
test_leave_creating(void **state)
{
    ngx_uint_t     i, n;
    env_mail_t     mail[5];
    env_worker_t  *a, *b;

    for (n = 0; n < 6; n++) {
        a = env_start(16384, NULL);
        env_time(300);

        for (i = 0; i < 5; i++) {
            env_mail(&mail[i], "internet", 1, 4000, n * 5 + i);
            env_accept(a, &mail[i]);

            if (i < 3) {
                env_pump();
            }
        }

        /* n steps after the batch that makes a segment ahead due */

        for (i = 0; i < n; i++) {
            shim_posted_run();
            (void) (i % 2 ? shim_tasks_deliver() : shim_tasks_work());
        }

        ngx_smtp_store_leave(a->store);
        env_time(1000);

        for (i = 0; i < 5; i++) {
            assert_int_equal(mail[i].done, 1);
            assert_int_equal(mail[i].rc, NGX_OK);
        }

        assert_int_equal(test_timers(), 0);
        env_stop(a);
    }

    /* nothing accepted at all, only the first segment under way */

    a = env_start(16384, NULL);
    env_mail(&mail[0], "internet", 1, 4000, 30);
    env_accept(a, &mail[0]);
    shim_posted_run();
    shim_tasks_run();
    shim_posted_run();
    ngx_smtp_store_leave(a->store);
    env_time(1000);
    assert_int_equal(mail[0].done, 1);
    assert_int_equal(mail[0].rc, NGX_OK);
    assert_int_equal(test_timers(), 0);
    env_stop(a);

    b = env_start(0, NULL);
    env_time(3000);
    assert_int_equal(b->nmessages, 31);
    env_stop(b);
}


/* a worker that never had mail leaves nothing */

static void
test_leave_empty(void **state)
{
    env_worker_t  *a;

    a = env_start(0, NULL);
    env_time(300);
    assert_int_equal(env_files(".data"), 1);
    ngx_smtp_store_leave(a->store);
    env_time(500);
    assert_int_equal(env_files(".data"), 0);
    assert_int_equal(env_files(".log"), 0);
    assert_int_equal(test_timers(), 0);
    env_stop(a);

    /* stopped before it opened anything */

    a = env_start(0, NULL);
    env_stop(a);
    assert_int_equal(env_files(".data"), 0);
}


static void
test_crash(void **state)
{
    int            status;
    pid_t          pid;
    ngx_uint_t     i;
    env_mail_t     mail[6];
    env_worker_t  *w;

    fflush(stdout);

    pid = fork();

    if (pid == 0) {
        w = env_start(0, NULL);
        env_time(300);

        for (i = 0; i < 6; i++) {
            env_mail(&mail[i], "internet", 2, 4000, i);
            assert_int_equal(env_accepted(w, &mail[i]), NGX_OK);
        }

        env_result(env_find(w, 1), 0, NGX_SMTP_RESULT_DELIVERED, 0);
        env_result(env_find(w, 2), 0, NGX_SMTP_RESULT_DELIVERED, 0);
        env_result(env_find(w, 2), 1, NGX_SMTP_RESULT_DELIVERED, 0);
        env_done(w, env_find(w, 2));
        env_pump();

        /* killed between the last result and the end */

        env_result(env_find(w, 4), 0, NGX_SMTP_RESULT_DELIVERED, 0);
        env_result(env_find(w, 4), 1, NGX_SMTP_RESULT_DELIVERED, 0);
        env_pump();

        /* not written: made again */

        env_result(env_find(w, 3), 0, NGX_SMTP_RESULT_DELIVERED, 0);
        _exit(17);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 17);

    for (i = 0; i < 2; i++) {
        w = env_start(0, NULL);
        env_time(300);

        assert_int_equal(w->nmessages, 4);
        assert_int_equal(shim_log_count("by a scan"), 1);
        assert_int_equal(env_find(w, 0)->npending, 2);
        assert_int_equal(env_find(w, 1)->npending, 1);
        assert_null(env_find(w, 2));
        assert_int_equal(env_find(w, 3)->npending, 2);
        env_check_read(env_find(w, 5), 2, 4000, 5);

        env_stop(w);
    }
}


static void
test_unknown_queue(void **state)
{
    const char    *ab[] = { "a", "b", NULL };
    const char    *b[] = { "b", NULL };
    const char    *none[] = { "c", NULL };

    ngx_uint_t     i;
    env_mail_t     mail[2];
    env_worker_t  *w, *x;

    w = env_start(0, ab);
    env_time(300);

    env_mail(&mail[0], "a", 1, 100, 0);
    env_mail(&mail[1], "b", 1, 100, 1);
    assert_int_equal(env_accepted(w, &mail[0]), NGX_OK);
    assert_int_equal(env_accepted(w, &mail[1]), NGX_OK);
    assert_int_equal(env_find(w, 1)->queue, 1);
    env_stop(w);

    /* left to somebody who knows it, for ten seconds */

    w = env_start(0, none);
    env_time(8000);
    assert_int_equal(w->nmessages, 0);

    x = env_start(0, ab);
    env_time(1000);
    assert_int_equal(x->nmessages, 2);
    env_stop(x);
    env_stop(w);

    w = env_start(0, b);
    env_time(13000);
    assert_int_equal(w->nmessages, 2);
    assert_int_equal(env_find(w, 0)->unknown_queue, 1);
    assert_int_equal(env_find(w, 1)->unknown_queue, 0);
    assert_int_equal(env_find(w, 1)->queue, 0);
    assert_int_equal(shim_log_count("not configured"), 1);

    /* held without an event: whoever knows it delivers */

    ngx_smtp_store_leave(w->store);
    x = env_start(0, ab);
    env_time(1000);
    assert_int_equal(x->nmessages, 2);

    for (i = 0; i < 2; i++) {
        assert_int_equal(x->messages[i]->unknown_queue, 0);
        assert_int_equal(x->messages[i]->hold, 0);
    }

    env_stop(w);
    env_stop(x);
}


static void
test_newer(void **state)
{
    char           command[256];
    env_mail_t     mail;
    env_worker_t  *w;

    w = env_start(0, NULL);
    env_time(300);
    env_mail(&mail, "internet", 1, 100, 0);
    assert_int_equal(env_accepted(w, &mail), NGX_OK);
    env_stop(w);

    /* a header that is not one of ours any more */

    snprintf(command, sizeof(command),
             "printf X | dd of=`ls %s/*.data` bs=1 seek=20 conv=notrunc "
             "2>/dev/null", env_path);
    assert_int_equal(system(command), 0);

    w = env_start(0, NULL);
    env_time(30000);
    assert_int_equal(w->nmessages, 0);
    assert_int_equal(shim_log_count("crit:"), 1);
    assert_int_equal(shim_log_count("it is left alone"), 1);
    env_mail(&mail, "internet", 1, 100, 1);
    assert_int_equal(env_accepted(w, &mail), NGX_OK);
    env_stop(w);

    assert_int_equal(env_files(".data"), 2);
}


/* what a gone worker had is shared, and all of it is taken in five seconds */

static void
test_share(void **state)
{
    ngx_uint_t     i;
    env_mail_t     mail[60];
    env_worker_t  *a, *b, *c;

    a = env_start(4096, NULL);
    env_time(300);

    for (i = 0; i < 60; i++) {
        env_mail(&mail[i], "internet", 1, 4000, i);
        assert_int_equal(env_accepted(a, &mail[i]), NGX_OK);
    }

    assert_true(env_files(".data") > 25);

    b = env_start(0, NULL);
    c = env_start(0, NULL);
    b->conf.workers = 2;
    c->conf.workers = 2;
    env_time(300);

    ngx_smtp_store_leave(a->store);
    env_time(5000);

    assert_int_equal(b->nmessages + c->nmessages, 60);
    assert_in_range(b->nmessages, 20, 40);

    env_stop(a);

    /* a lone one of many takes all in time, too */

    env_stop(b);
    c->conf.workers = 16;
    env_time(5000);
    assert_int_equal(c->nmessages, 60);

    env_stop(c);
}


/*
 * More segments than may be open: the rest waits, told of once, and comes when
 * others are gone.
 */

static void
test_crowded(void **state)
{
    ngx_uint_t     i, k, done;
    env_mail_t     mail[24];
    env_worker_t  *a, *b;

    a = env_start(4096, NULL);
    env_time(300);

    for (i = 0; i < 24; i++) {
        env_mail(&mail[i], "internet", 1, 4000, i);
        assert_int_equal(env_accepted(a, &mail[i]), NGX_OK);
    }

    env_stop(a);

    b = env_start(4096, NULL);
    b->conf.segments = 8;
    env_time(12000);

    assert_in_range(b->nmessages, 5, 8);
    assert_int_equal(shim_log_count("crit:"), 1);
    assert_int_equal(shim_log_count("\"worker_rlimit_nofile\""), 1);

    done = 0;

    for (k = 0; k < 24; k++) {
        for (i = b->nmessages; i > 0; i--) {
            env_result(b->messages[i - 1], 0, NGX_SMTP_RESULT_DELIVERED, 0);
            assert_int_equal(env_done(b, b->messages[i - 1]), NGX_OK);
            done++;
        }

        env_time(3000);
    }

    assert_int_equal(done, 24);
    env_stop(b);
}


/*
 * The same where another worker takes none of its part: told of once as well,
 * not whenever this one stops to wait for it, nor as each segment ends.
 */

static void
test_crowded_share(void **state)
{
    ngx_uint_t     i, k;
    env_mail_t     mail[24];
    env_worker_t  *a, *b;

    a = env_start(4096, NULL);
    env_time(300);

    for (i = 0; i < 24; i++) {
        env_mail(&mail[i], "internet", 1, 4000, i);
        assert_int_equal(env_accepted(a, &mail[i]), NGX_OK);
    }

    env_stop(a);

    /* six are left, fewer than it has */

    b = env_start(4096, NULL);
    b->conf.workers = 2;
    b->conf.segments = env_files(".data") - 6;
    env_time(40000);

    assert_int_equal(shim_log_count("\"worker_rlimit_nofile\""), 1);

    for (k = 0; k < 3; k++) {
        assert_true(b->nmessages > 0);
        env_result(b->messages[0], 0, NGX_SMTP_RESULT_DELIVERED, 0);
        assert_int_equal(env_done(b, b->messages[0]), NGX_OK);
        env_time(20000);
    }

    assert_true(b->told < 24);
    assert_int_equal(shim_log_count("\"worker_rlimit_nofile\""), 1);

    env_stop(b);
}


/* without memory at any moment: a late answer or an error, nothing breaks */

static void
test_no_memory(void **state)
{
    long           n;
    ngx_int_t      rc;
    env_mail_t     mail;
    env_worker_t  *w;

    for (n = 0; n < 40; n++) {
        w = env_start(0, NULL);
        env_mail(&mail, "internet", 70, 6000, n);

        shim_alloc_fail_after(n);

        env_accept(w, &mail);
        env_time(700);

        shim_alloc_fail_after(-1);

        env_time(2500);
        assert_int_equal(mail.done, 1);

        rc = mail.rc;

        if (rc == NGX_OK) {
            env_check_read(env_find(w, n), 70, 6000, n);

            shim_alloc_fail_after(n % 7);
            ngx_smtp_store_leave(w->store);
            env_time(500);
            shim_alloc_fail_after(-1);
            env_time(500);
        }

        env_stop(w);

        w = env_start(0, NULL);
        shim_alloc_fail_after(n % 11);
        env_time(1000);
        shim_alloc_fail_after(-1);
        env_time(12000);

        assert_int_equal(env_find(w, n) != NULL, rc == NGX_OK);
        env_stop(w);
    }
}


/* the directory is not there: refused, and taken once it is */

static void
test_unusable(void **state)
{
    char           command[256];
    env_mail_t     mail[2];
    env_worker_t  *w;

    snprintf(command, sizeof(command), "mv %s %s.away", env_path, env_path);
    assert_int_equal(system(command), 0);

    w = env_start(0, NULL);
    env_time(300);
    assert_int_equal(ngx_smtp_store_ready(w->store, 0), NGX_ERROR);
    env_mail(&mail[0], "internet", 1, 100, 0);
    env_accept(w, &mail[0]);
    env_time(3000);
    assert_int_equal(mail[0].rc, NGX_ERROR);
    assert_int_equal(shim_log_count("crit:"), 1);

    snprintf(command, sizeof(command), "mv %s.away %s", env_path, env_path);
    assert_int_equal(system(command), 0);

    env_time(3000);
    assert_int_equal(ngx_smtp_store_ready(w->store, 0), NGX_OK);
    env_mail(&mail[1], "internet", 1, 100, 1);
    assert_int_equal(env_accepted(w, &mail[1]), NGX_OK);
    assert_int_equal(shim_log_count("opened"), 1);
    env_stop(w);
}


/*
 * Workers come, accept, deliver, leave, are stopped; disks fail now and then.
 * Each acknowledged mail is owned by one worker at most, by somebody in the
 * end, and has the state it was given.  SMTP_STORE_SEED chooses another run.
 */

static void
test_random(void **state)
{
    ngx_uint_t     i, step;
    const char    *env;
    test_model_t  *t;

    t = calloc(1, sizeof(test_model_t));
    assert_non_null(t);

    env = getenv("SMTP_STORE_SEED");
    srandom(env ? atoi(env) : 4711);

    for (step = 0; step < TEST_STEPS; step++) {
        test_random_step(t, random() % TEST_WORKERS);
    }

    env_fault_fdatasync.times = 0;

    /* every accept is answered, whoever leaves meanwhile */

    env_time(3000);

    for (i = 0; i < t->nmail; i++) {
        assert_int_equal(t->mail[i].done, 1);
    }

    for (i = 0; i < TEST_WORKERS; i++) {
        if (t->workers[i]) {
            env_pump();
            env_stop(t->workers[i]);
        }
    }

    test_random_end(t);

    free(t);
}


static void
test_random_step(test_model_t *t, ngx_uint_t i)
{
    env_worker_t  *w;

    w = t->workers[i];

    if (w == NULL) {
        t->workers[i] = env_start(40000, NULL);
        t->leaving[i] = 0;
        return;
    }

    switch (random() % 16) {

    case 0: case 1: case 2:
        if (t->nmail < TEST_MAILS) {
            t->recipients[t->nmail] = 1 + random() % 3;
            env_mail(&t->mail[t->nmail], "internet", t->recipients[t->nmail],
                     random() % 9000, t->nmail);
            env_accept(w, &t->mail[t->nmail++]);
        }

        break;

    case 3: case 4: case 5: case 6: case 7:
        if (w->nmessages) {
            test_random_deliver(t, w,
                                w->messages[random() % w->nmessages]);
        }

        break;

    case 8:
        if (random() % 8 == 0 && !t->leaving[i]) {
            ngx_smtp_store_leave(w->store);
            t->leaving[i] = 1;
        }

        break;

    case 9:
        if (random() % 24 == 0) {

            /* others' tasks end with the thread pools of the process */

            env_pump();
            env_stop(w);
            t->workers[i] = NULL;
        }

        break;

    case 10:
        if (random() % 8 == 0) {
            env_fault_fdatasync.match = (random() % 2) ? ".data" : ".log";
            env_fault_fdatasync.times = 1;
            env_fault_fdatasync.err = (random() % 2) ? EIO : ENOSPC;
        }

        break;

    case 11: case 12:
        shim_time_advance(random() % 300);
        break;

    case 13:
        env_time(random() % 1500);
        break;

    default:
        shim_posted_run();
        shim_tasks_work();

        if (random() % 2) {
            shim_tasks_deliver();
        }
    }
}


static void
test_random_deliver(test_model_t *t, env_worker_t *w, ngx_smtp_message_t *m)
{
    u_char       id[NGX_SMTP_QUEUE_ID_LEN];
    size_t       len;
    ngx_uint_t   k;
    env_mail_t  *mail;

    if (ngx_smtp_message_ready(m) != NGX_OK) {
        return;
    }

    len = ngx_smtp_message_id(m, id) - id;

    for (k = 0; k < t->nmail; k++) {
        mail = &t->mail[k];

        if (mail->done && mail->rc == NGX_OK
            && mail->accept.queue_id.len == len
            && memcmp(mail->accept.queue_id.data, id, len) == 0)
        {
            break;
        }
    }

    assert_true(k < t->nmail);
    assert_int_equal(t->ended[k], 0);
    assert_int_equal(m->nrcpts - m->npending, t->final[k]);

    if (random() % 3 == 0) {
        t->deferred[k] = ngx_time() + 1 + random() % 1000;
        env_result(m, t->final[k], NGX_SMTP_RESULT_DEFERRED, t->deferred[k]);
        return;
    }

    env_result(m, t->final[k]++, NGX_SMTP_RESULT_DELIVERED, 0);

    if (t->final[k] == t->recipients[k]) {
        assert_int_equal(env_done(w, m), NGX_OK);
        t->ended[k] = 1;

    } else {
        assert_int_equal(env_done(w, m), NGX_DECLINED);
    }
}


static void
test_random_end(test_model_t *t)
{
    ngx_uint_t           k, n;
    env_worker_t        *w;
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);
    env_time(13000);

    for (k = 0, n = 0; k < t->nmail; k++) {
        m = env_find(w, k);

        if (t->mail[k].rc != NGX_OK || t->ended[k]) {
            assert_null(m);
            continue;
        }

        n++;
        assert_non_null(m);
        assert_int_equal(m->nrcpts - m->npending, t->final[k]);

        if (t->deferred[k]) {
            assert_int_equal(m->due_at, t->deferred[k]);
        }
    }

    assert_int_equal(w->nmessages, n);
    assert_true(n > 10);
    assert_true(t->nmail > 200);

    env_stop(w);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_leave, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_leave_outstanding, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_stop_report, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_leave_accept, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_leave_reading, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_leave_in_flight, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_leave_creating, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_leave_empty, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_crash, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_unknown_queue, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_newer, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_share, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_crowded, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_crowded_share, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_unusable, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_random, env_setup,
                                        env_teardown),
    };

    return shim_run(tests);
}
