
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Segments of a running worker that are sealed, shortened and compacted, while
 * messages are read, get results and end, the worker leaves, stops or is
 * killed, at each moment of it, and with faults of the disk.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"
#include "ngx_smtp_store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>


#define TEST_MAILS  60
#define TEST_SIZE   40000
#define TEST_KEEP   10      /* each tenth stays */
#define TEST_LEFT   (TEST_MAILS / TEST_KEEP)

#define TEST_SEGMENT    ((size_t) TEST_MAILS * TEST_SIZE + 40000)


/* what happens at a chosen step of a renewal */
typedef enum {
    test_does_nothing = 0,
    test_does_result,
    test_does_done,
    test_does_hold,
    test_does_read,
    test_does_leave,
    test_does_stop,
    test_does_die,
    test_does_break,
    test_does_last
} test_does_e;


static void test_fill(env_worker_t *w, ngx_uint_t n, size_t size);
static void test_serve(env_worker_t *w, unsigned seed);
static env_worker_t *test_ripe(void);
static off_t test_bytes(const char *ext);
static void test_read_handler(ngx_smtp_reader_t *r, ngx_int_t rc);
static void test_at(test_does_e does, ngx_uint_t at);
static ngx_uint_t test_life(test_does_e does, ngx_uint_t at);
static env_worker_t *test_do(env_worker_t *w, test_does_e does);
static void test_after(test_does_e does);
static void test_lacking(ngx_uint_t at);
static int test_nosync(int fd);


static env_mail_t          test_mail[TEST_MAILS + 1];
static ngx_smtp_reader_t  *test_reader;
static ngx_uint_t          test_read;
static ngx_uint_t          test_done_at;    /* it has happened */


/* so many mails, numbered, then one more that needs another segment */

static void
test_fill(env_worker_t *w, ngx_uint_t n, size_t size)
{
    ngx_uint_t  i;

    for (i = 0; i <= n; i++) {
        env_mail(&test_mail[i], "internet", 2, size, i);
        assert_int_equal(env_accepted(w, &test_mail[i]), NGX_OK);
    }

    for (i = 0; i < w->nmessages; i++) {
        ngx_smtp_message_stale(w->messages[i]);
    }
}


static void
test_serve(env_worker_t *w, unsigned seed)
{
    ngx_smtp_message_t  *m;

    m = env_find(w, seed);
    assert_non_null(m);

    env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);
    env_result(m, 1, NGX_SMTP_RESULT_DELIVERED, 0);

    assert_int_equal(env_done(w, m), NGX_OK);
}


/* a full segment, most of which is done; the rest is up to the caller */

static env_worker_t *
test_ripe(void)
{
    ngx_uint_t     i;
    env_worker_t  *w;

    w = env_start(TEST_SEGMENT, NULL);
    env_time(300);

    test_fill(w, TEST_MAILS, TEST_SIZE);

    for (i = 0; i < TEST_MAILS; i++) {
        if (i % TEST_KEEP) {
            test_serve(w, i);
        }
    }

    env_time(4900);
    assert_int_equal(shim_log_count("compacted, from"), 0);

    return w;
}


/* what files whose names end so take on disk, in bytes as told */

static off_t
test_bytes(const char *ext)
{
    char   command[256], line[32];
    FILE  *f;

    snprintf(command, sizeof(command),
             "find %s -name '*%s' -printf '%%s\\n' | "
             "awk '{ n += $1 } END { print n + 0 }'", env_path, ext);

    f = popen(command, "r");

    if (f == NULL || fgets(line, sizeof(line), f) == NULL) {
        fail();
    }

    pclose(f);

    return (off_t) atoll(line);
}


static void
test_read_handler(ngx_smtp_reader_t *r, ngx_int_t rc)
{
    assert_int_equal(rc, NGX_OK);
    test_read++;
}


/* a segment that is full is sealed, and then found sealed */

static void
test_seal(void **state)
{
    int            status;
    pid_t          pid;
    ngx_uint_t     i;
    env_worker_t  *w;

    fflush(stdout);

    pid = fork();

    if (pid == 0) {
        w = env_start(200000, NULL);
        env_time(300);

        test_fill(w, TEST_MAILS, 8000);

        /* not at once: what is delivered soon needs no summary */

        env_time(3000);
        assert_int_equal(env_files(".1.log"), 4);

        test_serve(w, 3);
        env_result(env_find(w, 4), 1, NGX_SMTP_RESULT_DELIVERED, 0);

        env_time(4000);

        env_result(env_find(w, 5), 1, NGX_SMTP_RESULT_DELIVERED, 0);
        ngx_smtp_store_hold(env_find(w, 6), 1, ngx_time());
        env_time(1000);

        _exit(17);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 17);

    w = env_start(0, NULL);
    env_time(1000);

    /* of all but the last one, which took mail, and an empty one */

    assert_int_equal(shim_log_count("taken over"), 4);
    assert_int_equal(shim_log_count("by a scan"), 2);

    assert_int_equal(w->nmessages, TEST_MAILS);
    assert_null(env_find(w, 3));
    assert_int_equal(env_find(w, 4)->npending, 1);
    assert_int_equal(env_find(w, 5)->npending, 1);
    assert_int_equal(env_find(w, 6)->hold, 1);

    for (i = 0; i <= TEST_MAILS; i++) {
        if (i != 3) {
            env_check_read(env_find(w, i), 2, 8000, i);
        }
    }

    env_stop(w);
}


static void
test_compact(void **state)
{
    off_t          full;
    ngx_int_t      rc;
    ngx_str_t      s;
    ngx_uint_t     i, n;
    env_worker_t  *w;

    w = env_start(TEST_SEGMENT, NULL);
    env_time(300);

    test_fill(w, TEST_MAILS, TEST_SIZE);
    full = test_bytes(".data");

    for (i = 0; i < TEST_MAILS; i++) {
        if (i % TEST_KEEP) {
            test_serve(w, i);
        }
    }

    /* somebody reads meanwhile */

    rc = ngx_smtp_reader_open(env_find(w, 20), test_read_handler, NULL,
                              &shim_log, &test_reader);
    assert_int_equal(rc, NGX_AGAIN);
    env_pump();

    env_time(8000);

    assert_int_equal(shim_log_count("compacted, from"), 1);
    assert_int_equal(env_files(".2.log"), 1);
    assert_true(full - test_bytes(".data")
                > (off_t) TEST_MAILS * TEST_SIZE * 3 / 4);

    /* the old file is there for the one who had it */

    for (n = 0, i = 0; /* void */ ; /* void */ ) {
        rc = ngx_smtp_reader_next(test_reader, &s);

        if (rc == NGX_AGAIN) {
            env_pump();
            continue;
        }

        if (rc != NGX_OK) {
            break;
        }

        n += s.len;
    }

    assert_int_equal(rc, NGX_DONE);
    assert_int_equal(n, TEST_SIZE + strlen("Received: by test\r\n"));
    ngx_smtp_reader_close(test_reader);
    env_pump();

    for (i = 0; i < TEST_MAILS; i += TEST_KEEP) {
        env_check_read(env_find(w, i), 2, TEST_SIZE, i);
    }

    /* and again, when there is little left of it */

    env_stop(w);

    w = env_start(0, NULL);
    env_time(1000);

    assert_int_equal(shim_log_count("by a scan"), 0);
    assert_int_equal(w->nmessages, TEST_LEFT + 1);

    for (i = 0; i < TEST_MAILS; i += TEST_KEEP) {
        env_check_read(env_find(w, i), 2, TEST_SIZE, i);
        test_serve(w, i);
    }

    env_time(2000);
    env_stop(w);

    assert_int_equal(env_files(".2.log"), 0);
    assert_int_equal(env_files(".log"), 1);
}


/* a log that has grown by deferrals is written anew */

static void
test_long_log(void **state)
{
    off_t          before, now;
    ngx_uint_t     i, k, shrank;
    env_worker_t  *w;

    w = env_start(200000, NULL);
    env_time(300);

    test_fill(w, 30, 8000);
    env_time(7000);

    assert_int_equal(env_files(".log"), 2);

    for (k = 0; k < 200; k++) {
        for (i = 0; i < w->nmessages; i++) {
            env_result(w->messages[i], 0, NGX_SMTP_RESULT_DEFERRED,
                       ngx_time() + 600);
        }

        for (i = 0; k == 0 && i < 5; i++) {
            env_result(w->messages[i], 1, NGX_SMTP_RESULT_DELIVERED, 0);
        }

        env_pump();
    }

    before = test_bytes(".log");

    /* little: it is left alone */

    env_time(7000);
    assert_true(test_bytes(".log") >= before);

    for (k = 0, shrank = 0; k < 2500; k++) {
        for (i = 0; i < w->nmessages; i++) {
            env_result(w->messages[i], 0, NGX_SMTP_RESULT_DEFERRED,
                       ngx_time() + 600);
        }

        env_pump();

        if (k % 100 == 0) {
            now = test_bytes(".log");
            shrank += (now < before);
            before = now;
        }
    }

    assert_int_equal(shrank, 1);

    env_stop(w);

    w = env_start(0, NULL);
    env_time(1000);

    assert_int_equal(w->nmessages, 31);

    for (i = 0, k = 0; i < w->nmessages; i++) {
        assert_int_equal(w->messages[i]->attempts > 2600, 1);
        k += (w->messages[i]->npending == 1);
    }

    assert_int_equal(k, 5);

    env_stop(w);
}


/* at each moment of a compaction */

static env_worker_t *
test_do(env_worker_t *w, test_does_e does)
{
    ngx_uint_t  i;

    test_done_at = 1;

    switch (does) {

    case test_does_result:

        /* one that is first, one behind */

        env_result(env_find(w, 0), 0, NGX_SMTP_RESULT_DELIVERED, 0);
        env_result(env_find(w, 50), 0, NGX_SMTP_RESULT_DELIVERED, 0);
        break;

    case test_does_done:
        test_serve(w, 0);
        test_serve(w, 30);
        test_serve(w, 50);
        break;

    case test_does_hold:
        ngx_smtp_store_hold(env_find(w, 20), 1, ngx_time());
        break;

    case test_does_read:
        assert_int_equal(ngx_smtp_reader_open(env_find(w, 40),
                                              test_read_handler, NULL,
                                              &shim_log, &test_reader),
                         NGX_AGAIN);
        break;

    case test_does_leave:
        ngx_smtp_store_leave(w->store);
        break;

    case test_does_stop:
        env_stop(w);
        return NULL;

    case test_does_die:
        _exit(17);

    case test_does_break:
        env_fault_pwritev.match = ".1.log";
        env_fault_pwritev.times = 1;
        env_fault_pwritev.err = EIO;

        env_result(env_find(w, 0), 0, NGX_SMTP_RESULT_DELIVERED, 0);
        break;

    case test_does_last:
        for (i = 0; i < TEST_MAILS; i += TEST_KEEP) {
            test_serve(w, i);
        }

        break;

    default:
        break;
    }

    return w;
}


/* Returns how many steps it took. */

static ngx_uint_t
test_life(test_does_e does, ngx_uint_t at)
{
    ngx_uint_t     i, n;
    env_worker_t  *w;

    w = test_ripe();

    test_done_at = 0;
    test_reader = NULL;
    test_read = 0;
    n = 0;

    for (i = 0; i < 12 && w; i++) {

        while (env_step()) {
            if (does && n == at) {

                /* env_find() lets all go on, so what follows is the same */

                w = test_do(w, does);

                if (w == NULL) {
                    return n;
                }
            }

            n++;
        }

        shim_time_advance(100);
    }

    if (test_reader) {
        assert_int_equal(test_read, 1);
        ngx_smtp_reader_close(test_reader);
    }

    env_time(3000);
    env_stop(w);

    return n;
}


static void
test_after(test_does_e does)
{
    ngx_uint_t           i, pending;
    env_worker_t        *w;
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);
    env_time(1000);

    assert_int_equal(shim_log_count("is damaged"), 0);
    assert_int_equal(shim_log_count("may be missing"), 0);

    for (i = 0; i < TEST_MAILS; i++) {
        m = env_find(w, i);

        if (i % TEST_KEEP
            || (test_done_at
                && (does == test_does_last
                    || (does == test_does_done
                        && (i == 0 || i == 30 || i == 50)))))
        {
            if (m) {
                fail_msg("ended mail %d came back", (int) i);
            }

            continue;
        }

        if (m == NULL) {
            fail_msg("mail %d is lost", (int) i);
        }

        pending = 2;

        if (test_done_at
            && ((does == test_does_result && (i == 0 || i == 50))
                || (does == test_does_break && i == 0)))
        {
            pending = 1;
        }

        assert_int_equal(m->npending, pending);
        assert_int_equal(m->hold, test_done_at && does == test_does_hold
                                  && i == 20);

        env_check_read(m, 2, TEST_SIZE, i);
    }

    /* whatever was begun: one log for each segment, nothing in tmp/ */

    assert_int_equal(env_files(".data"), env_files(".log"));
    assert_int_equal(env_files("tmp/"), 0);

    env_stop(w);
}


static void
test_at(test_does_e does, ngx_uint_t at)
{
    int    status;
    pid_t  pid;

    assert_int_equal(env_setup(NULL), 0);

    if (does == test_does_die) {
        fflush(stdout);

        pid = fork();

        if (pid == 0) {
            (void) test_life(does, at);
            _exit(18);
        }

        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_in_range(WEXITSTATUS(status), 17, 18);

        test_done_at = 0;

    } else {
        (void) test_life(does, at);
    }

    test_after(does);

    assert_int_equal(env_teardown(NULL), 0);
}


static void
test_each_moment(void **state)
{
    ngx_uint_t   n, at, step;
    test_does_e  does;

    assert_int_equal(env_setup(NULL), 0);
    n = test_life(test_does_nothing, 0);
    assert_int_equal(shim_log_count("compacted, from"), 1);
    assert_int_equal(env_teardown(NULL), 0);

    assert_in_range(n, 20, 200);

    for (does = test_does_result; does <= test_does_last; does++) {

        /* of the crash more than of the others */

        step = (does == test_does_die) ? 2 : 7;

        for (at = does % step; at < n; at += step) {
            test_at(does, at);
        }
    }
}


/*
 * A bug: the new files do not have one of the messages.  The first, one in the
 * middle, the last; and one that comes when all was looked for.
 */

#define TEST_LATE  TEST_LEFT

static void
test_lacking(ngx_uint_t at)
{
    uint32_t               number;
    ngx_uint_t             i, n;
    env_worker_t          *w;
    ngx_smtp_message_t    *m;
    ngx_smtp_renewal_t    *r;
    ngx_smtp_snapshot_t   *snap;

    assert_int_equal(env_setup(NULL), 0);

    w = test_ripe();
    m = env_find(w, TEST_MAILS - TEST_KEEP);
    number = m->number;
    n = 0;

    for (i = 0; i < 12; i++) {

        while (env_step()) {
            r = w->store->renewal;

            if (n || r == NULL) {
                continue;
            }

            if (at == TEST_LATE) {

                /* nobody has time for the commit at first */

                shim_tasks_refuse(r->phase == ngx_smtp_renew_phase_check);

                if (r->phase == ngx_smtp_renew_phase_ready) {
                    m->number += 1000;
                    n++;
                }

            } else if (r->phase == ngx_smtp_renew_phase_steps) {
                snap = &r->snapshot;

                assert_int_equal(snap->n, TEST_LEFT);

                memmove(&snap->summaries[at], &snap->summaries[at + 1],
                        (snap->n - at - 1) * sizeof(ngx_smtp_summary_t));

                snap->n--;
                r->rewrite.content.n--;
                n++;
            }
        }

        shim_time_advance(100);
    }

    assert_int_equal(n, 1);
    m->number = number;

    env_time(70000);

    assert_int_equal(shim_log_count("crit:"), 1);
    assert_int_equal(shim_log_count("is missing in the new files"), 1);
    assert_int_equal(shim_log_count("compacted, from"), 0);
    assert_int_equal(env_files(".2.log"), 0);
    assert_int_equal(env_files("tmp/"), 0);

    /* it lives on */

    for (i = 0; i < TEST_MAILS; i += TEST_KEEP) {
        env_check_read(env_find(w, i), 2, TEST_SIZE, i);
        assert_int_equal(ngx_smtp_message_ready(env_find(w, i)), NGX_OK);
    }

    env_stop(w);

    test_done_at = 0;
    test_after(test_does_nothing);

    assert_int_equal(env_teardown(NULL), 0);
}


static void
test_missing(void **state)
{
    test_lacking(0);
    test_lacking(2);
    test_lacking(TEST_LEFT - 1);
    test_lacking(TEST_LATE);
}


/* the disk fails while it is compacted; and then it works again */

static void
test_faults(void **state)
{
    ngx_uint_t     i, k, skip;
    env_fault_t   *fault;
    env_worker_t  *w;

    static env_fault_t  *faults[] = {
        &env_fault_pwritev, &env_fault_fdatasync, &env_fault_fsync
    };

    for (k = 0; k < 3; k++) {
        for (skip = 0; skip < 4; skip++) {
            assert_int_equal(env_setup(NULL), 0);

            w = test_ripe();

            fault = faults[k];
            fault->match = (k == 2) ? "smtp-store-test" : "";
            fault->skip = skip;
            fault->times = 1;
            fault->err = skip % 2 ? EIO : ENOSPC;

            env_time(5000);

            fault->times = 0;

            /* it is tried again, later */

            env_time(65000);

            if (shim_log_count("compacted, from") != 1) {
                fail_msg("not compacted, %d %d: %s", (int) k, (int) skip,
                         shim_log_text());
            }

            for (i = 0; i < TEST_MAILS; i += TEST_KEEP) {
                env_check_read(env_find(w, i), 2, TEST_SIZE, i);
                assert_int_equal(ngx_smtp_message_ready(env_find(w, i)),
                                 NGX_OK);
            }

            env_stop(w);

            test_done_at = 0;
            test_after(test_does_nothing);

            assert_int_equal(env_teardown(NULL), 0);
        }
    }
}


/* aborted transactions leave nothing: no file, no descriptor, no byte */

#define TEST_ABORTS  10000

static ngx_uint_t
test_fds(void)
{
    DIR         *dir;
    ngx_uint_t   n;

    dir = opendir("/proc/self/fd");
    assert_non_null(dir);

    for (n = 0; readdir(dir); n++) { /* void */ }

    closedir(dir);

    return n;
}


static void
test_large_handler(void *data, ngx_int_t rc)
{
    test_read++;
}


static void
test_aborts(void **state)
{
    u_char               c;
    off_t                bytes;
    ngx_uint_t           i, fds, files;
    env_mail_t           mail;
    env_worker_t        *w;
    ngx_smtp_large_t    *l;

    w = env_start(0, NULL);
    env_time(300);

    env_mail(&mail, "internet", 1, 100, 1);
    assert_int_equal(env_accepted(w, &mail), NGX_OK);
    env_time(300);

    fds = test_fds();
    files = env_files("");
    bytes = test_bytes(".data") + test_bytes(".log");

    for (i = 0; i < TEST_ABORTS; i++) {
        l = ngx_smtp_large_open(w->store);
        assert_non_null(l);

        if (i % 4) {
            ngx_memzero(&mail.content, sizeof(mail.content));
            c = 'x';
            (void) ngx_smtp_content_append(&mail.content, &c, 1, &shim_log);

            test_read = 0;
            ngx_smtp_large_write(l, ngx_smtp_content_take(&mail.content),
                                 test_large_handler, NULL);

            /* while it is written, when it was, and when nobody has time */

            if (i % 4 > 1) {
                env_pump();
                assert_int_equal(test_read, 1);
            }

            if (i % 4 > 2) {
                shim_tasks_refuse(1);
            }
        }

        ngx_smtp_large_abort(l);

        if (i % 16 == 0) {
            env_pump();
        }
    }

    shim_tasks_refuse(0);
    env_time(1000);

    assert_int_equal(test_fds(), fds);
    assert_int_equal(env_files(""), files);
    assert_int_equal(test_bytes(".data") + test_bytes(".log"), bytes);

    env_stop(w);
}


/* processes are killed here, the machine is not: nothing has to be synced */

static int
test_nosync(int fd)
{
    return 0;
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_seal, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_compact, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_long_log, env_setup,
                                        env_teardown),
        cmocka_unit_test(test_each_moment),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_faults),
        cmocka_unit_test_setup_teardown(test_aborts, env_setup, env_teardown),
    };

    ngx_smtp_sys.fsync = test_nosync;
    ngx_smtp_sys.fdatasync = test_nosync;

    return shim_run(tests);
}
