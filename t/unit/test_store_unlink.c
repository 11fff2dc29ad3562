
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * New mail does not wait for the large bodies of many ended messages to be
 * unlinked: that is done in small steps, and a batch goes in between.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"

#include <string.h>


#define TEST_MAILS  40


static void test_steps(void **state);
static int test_unlinkat(int dir, const char *name, int flags);


static int           (*test_unlink)(int dir, const char *name, int flags);
static env_mail_t      test_mail[TEST_MAILS + 1];
static env_worker_t   *test_worker;
static ngx_uint_t      test_waited;     /* unlinks before the batch */


/* the first unlink finds new mail waiting */

static int
test_unlinkat(int dir, const char *name, int flags)
{
    env_mail_t  *mail;

    if (strstr(name, ".body")) {
        mail = &test_mail[TEST_MAILS];

        if (test_waited == 0) {
            env_accept(test_worker, mail);
        }

        test_waited += !mail->done;
    }

    return test_unlink(dir, name, flags);
}


static void
test_steps(void **state)
{
    ngx_uint_t           i;
    env_worker_t        *w;
    ngx_smtp_message_t  *m;

    w = env_start(0, NULL);
    env_time(300);

    for (i = 0; i < TEST_MAILS; i++) {
        env_mail(&test_mail[i], "internet", 1, 2000, i);

        test_mail[i].accept.large = ngx_smtp_large_open(w->store);
        assert_non_null(test_mail[i].accept.large);
        assert_int_equal(env_accepted(w, &test_mail[i]), NGX_OK);
    }

    assert_int_equal(env_files(".body"), TEST_MAILS);

    test_worker = w;
    env_mail(&test_mail[TEST_MAILS], "internet", 1, 1000, TEST_MAILS);

    test_unlink = ngx_smtp_sys.unlinkat;
    ngx_smtp_sys.unlinkat = test_unlinkat;

    while (w->nmessages) {
        m = w->messages[0];

        env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);
        assert_int_equal(env_done(w, m), NGX_OK);
    }

    env_time(2000);

    ngx_smtp_sys.unlinkat = test_unlink;

    assert_int_equal(test_mail[TEST_MAILS].done, 1);
    assert_int_equal(test_mail[TEST_MAILS].rc, NGX_OK);
    assert_in_range(test_waited, 1, 8);
    assert_int_equal(env_files(".body"), 0);
    assert_int_equal(w->nmessages, 1);

    env_stop(w);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_steps, env_setup, env_teardown),
    };

    return shim_run(tests);
}
