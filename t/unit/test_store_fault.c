
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A worker's life with a fault at its n-th system call, for every n: every
 * accept is answered, the worker can leave, what was acknowledged is there
 * afterwards and what was refused is not, and the state of messages is what
 * was recorded, unless the log says that it could not be.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define TEST_MAILS  8
#define TEST_LARGE  5       /* this one has a large body */


typedef struct {
    env_mail_t   mail[TEST_MAILS];
    ngx_uint_t   final[TEST_MAILS];     /* recorded results */
    ngx_uint_t   ended[TEST_MAILS];
    ngx_uint_t   given[TEST_MAILS];     /* was given to the store */
} test_life_t;


static void test_once(void **state);
static void test_twice(void **state);
static void test_for_a_while(void **state);
static void test_each(int err, ngx_uint_t times);
static ngx_uint_t test_life(long n, int err, ngx_uint_t times);
static void test_worker(test_life_t *t, ngx_uint_t *calls);
static void test_large(env_worker_t *w, env_mail_t *mail);
static void test_deliver(test_life_t *t, env_worker_t *w);
static void test_after(test_life_t *t, long n);
static ngx_uint_t test_fails(void);


static ngx_smtp_sys_t  test_sys;
static long            test_left;       /* calls before the fault */
static ngx_uint_t      test_times;      /* so many fail */
static ngx_uint_t      test_calls;
static int             test_err;
static ngx_uint_t      test_told;
static ngx_int_t       test_rc;


static ngx_uint_t
test_fails(void)
{
    test_calls++;

    if (test_left > 0) {
        test_left--;
        return 0;
    }

    if (test_left < 0 || test_times == 0) {
        return 0;
    }

    test_times--;
    errno = test_err;

    return 1;
}


static int
test_openat(int dir, const char *name, int flags, mode_t mode)
{
    return test_fails() ? -1 : test_sys.openat(dir, name, flags, mode);
}


static ssize_t
test_pread(int fd, void *buf, size_t size, off_t offset)
{
    return test_fails() ? -1 : test_sys.pread(fd, buf, size, offset);
}


static ssize_t
test_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    struct iovec  half;

    if (test_fails()) {

        /* some of it arrives all the same */

        half.iov_base = iov[0].iov_base;
        half.iov_len = iov[0].iov_len / 2;

        if (half.iov_len) {
            (void) test_sys.pwritev(fd, &half, 1, offset);
        }

        errno = test_err;
        return -1;
    }

    return test_sys.pwritev(fd, iov, n, offset);
}


static int
test_fsync(int fd)
{
    return test_fails() ? -1 : test_sys.fsync(fd);
}


static int
test_fdatasync(int fd)
{
    return test_fails() ? -1 : test_sys.fdatasync(fd);
}


static int
test_ftruncate(int fd, off_t size)
{
    return test_fails() ? -1 : test_sys.ftruncate(fd, size);
}


static int
test_fallocate(int fd, int mode, off_t offset, off_t len)
{
    return test_fails() ? -1 : test_sys.fallocate(fd, mode, offset, len);
}


static int
test_linkat(int olddir, const char *oldname, int newdir, const char *newname,
    int flags)
{
    return test_fails() ? -1 : test_sys.linkat(olddir, oldname, newdir,
                                               newname, flags);
}


static int
test_renameat2(int olddir, const char *oldname, int newdir,
    const char *newname, unsigned flags)
{
    return test_fails() ? -1 : test_sys.renameat2(olddir, oldname, newdir,
                                                  newname, flags);
}


static int
test_unlinkat(int dir, const char *name, int flags)
{
    return test_fails() ? -1 : test_sys.unlinkat(dir, name, flags);
}


static int
test_futimens(int fd, const struct timespec times[2])
{
    return test_fails() ? -1 : test_sys.futimens(fd, times);
}


static void
test_once(void **state)
{
    test_each(EIO, 1);
    test_each(ENOSPC, 1);
}


static void
test_twice(void **state)
{
    test_each(EIO, 2);
}


static void
test_for_a_while(void **state)
{
    test_each(EIO, 12);
    test_each(ENOSPC, 12);
}


static void
test_each(int err, ngx_uint_t times)
{
    long        n;
    ngx_uint_t  calls;

    calls = test_life(-1, err, times);

    assert_in_range(calls, 50, 2000);

    for (n = 0; n < (long) calls; n++) {
        (void) test_life(n, err, times);
    }
}


/* Returns how many system calls a life had. */

static ngx_uint_t
test_life(long n, int err, ngx_uint_t times)
{
    ngx_uint_t    calls;
    test_life_t  *t;

    assert_int_equal(env_setup(NULL), 0);

    t = calloc(1, sizeof(test_life_t));
    assert_non_null(t);

    test_sys = ngx_smtp_sys;

    ngx_smtp_sys.openat = test_openat;
    ngx_smtp_sys.pread = test_pread;
    ngx_smtp_sys.pwritev = test_pwritev;
    ngx_smtp_sys.fsync = test_fsync;
    ngx_smtp_sys.fdatasync = test_fdatasync;
    ngx_smtp_sys.ftruncate = test_ftruncate;
    ngx_smtp_sys.fallocate = test_fallocate;
    ngx_smtp_sys.linkat = test_linkat;
    ngx_smtp_sys.renameat2 = test_renameat2;
    ngx_smtp_sys.unlinkat = test_unlinkat;
    ngx_smtp_sys.futimens = test_futimens;

    test_left = n;
    test_err = err;
    test_times = times;
    test_calls = 0;

    if (getenv("SMTP_STORE_VERBOSE")) {
        fprintf(stderr, "fault at %ld, errno %d, %u times\n", n, err,
                (unsigned) times);
    }

    test_worker(t, &calls);

    ngx_smtp_sys = test_sys;

    test_after(t, n);

    free(t);

    assert_int_equal(env_teardown(NULL), 0);

    return calls;
}


static void
test_worker(test_life_t *t, ngx_uint_t *calls)
{
    ngx_uint_t     i;
    env_worker_t  *w;

    w = env_start(16384, NULL);
    env_time(300);

    for (i = 0; i < TEST_MAILS; i++) {

        if (i == TEST_LARGE) {
            env_mail(&t->mail[i], "internet", 2, 0, i);
            test_large(w, &t->mail[i]);

        } else {
            env_mail(&t->mail[i], "internet", 2, 5000, i);
        }

        if (i == TEST_MAILS - 1) {

            /* the last one comes while the worker leaves */

            test_deliver(t, w);
            env_time(1500);
            ngx_smtp_store_leave(w->store);
        }

        t->given[i] = 1;
        env_accept(w, &t->mail[i]);

        /* some have their batch alone, some share one */

        if (i % 2 || i == TEST_LARGE) {
            env_time(100);
        }
    }

    /* everybody is answered, and the worker can go */

    env_time(6000);

    for (i = 0; i < TEST_MAILS; i++) {
        assert_int_equal(t->mail[i].done, 1);
    }

    assert_int_equal(w->nmessages, 0);

    *calls = test_calls;

    env_stop(w);
}


static void
test_large_handler(void *data, ngx_int_t rc)
{
    test_told++;
    test_rc = rc;
}


static void
test_large(env_worker_t *w, env_mail_t *mail)
{
    size_t             i;
    u_char             c;
    ngx_uint_t         part;
    ngx_smtp_large_t  *l;

    l = ngx_smtp_large_open(w->store);
    assert_non_null(l);

    for (part = 0; part < 2; part++) {

        for (i = 0; i < 5000; i++) {
            c = env_byte(TEST_LARGE, part * 5000 + i);
            (void) ngx_smtp_content_append(&mail->content, &c, 1, &shim_log);
        }

        if (part == 0) {
            test_told = 0;
            ngx_smtp_large_write(l, ngx_smtp_content_take(&mail->content),
                                 test_large_handler, NULL);
            env_pump();
            assert_int_equal(test_told, 1);
        }
    }

    mail->accept.large = l;
}


/* 1: one recipient is served; 2 and 3: all, they end; 4: deferred */

static void
test_deliver(test_life_t *t, env_worker_t *w)
{
    u_char               id[NGX_SMTP_QUEUE_ID_LEN];
    size_t               len;
    ngx_uint_t           i, k;
    ngx_smtp_message_t  *m;

    for (i = 1; i < 5; i++) {

        if (t->mail[i].rc != NGX_OK || !t->mail[i].done) {
            continue;
        }

        for (k = 0, m = NULL; k < w->nmessages; k++) {
            len = ngx_smtp_message_id(w->messages[k], id) - id;

            if (len == t->mail[i].accept.queue_id.len
                && memcmp(id, t->mail[i].accept.queue_id.data, len) == 0)
            {
                m = w->messages[k];
            }
        }

        assert_non_null(m);

        if (ngx_smtp_message_ready(m) != NGX_OK) {
            continue;
        }

        if (i == 4) {
            env_result(m, 0, NGX_SMTP_RESULT_DEFERRED, ngx_time() + 5000);
            continue;
        }

        env_result(m, t->final[i]++, NGX_SMTP_RESULT_DELIVERED, 0);

        if (i > 1) {
            env_pump();
            env_result(m, t->final[i]++, NGX_SMTP_RESULT_DELIVERED, 0);
            assert_int_equal(env_done(w, m), NGX_OK);
            t->ended[i] = 1;
        }
    }
}


static void
test_after(test_life_t *t, long n)
{
    ngx_uint_t           i, doubtful, again;
    env_worker_t        *w;
    ngx_smtp_message_t  *m;

    again = shim_log_count("could not be taken back");

    doubtful = shim_log_count("could not be written at exit")
               + shim_log_count("without its summary");

    w = env_start(0, NULL);
    env_time(13000);

    for (i = 0; i < TEST_MAILS; i++) {
        m = env_find(w, i);

        if (t->mail[i].rc != NGX_OK) {

            if (m != NULL && !again) {
                fail_msg("fault at %ld: refused mail %d came back", n,
                         (int) i);
            }

            continue;
        }

        if (t->ended[i]) {

            if (m != NULL && !doubtful) {
                fail_msg("fault at %ld: ended mail %d came back", n, (int) i);
            }

            continue;
        }

        if (m == NULL) {
            fail_msg("fault at %ld: acknowledged mail %d is lost", n,
                     (int) i);
        }

        if (m->nrcpts - m->npending != t->final[i] && !doubtful) {
            fail_msg("fault at %ld: mail %d lost a result", n, (int) i);
        }

        env_check_read(m, 2, i == TEST_LARGE ? 10000 : 5000, i);
    }

    /* nothing damaged, nothing left over */

    assert_int_equal(shim_log_count("is damaged"), 0);

    i = w->nmessages;
    env_time(3000);
    assert_int_equal(w->nmessages, i);

    env_stop(w);

    if (!again) {
        assert_int_equal(env_files(".body"), t->mail[TEST_LARGE].rc == NGX_OK);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_twice),
        cmocka_unit_test(test_for_a_while),
    };

    return shim_run(tests);
}
