
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A file system without O_TMPFILE: files that are being made have names in
 * tmp/, and a worker that was killed leaves them there.  The next one may have
 * its pid, as in a container, and makes its own all the same.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"
#include "ngx_smtp_store_internal.h"

#include <stdio.h>
#include <stdlib.h>


#define TEST_SIZE   40000


static void test_handler(void *data, ngx_int_t rc);
static ngx_smtp_large_t *test_large(env_worker_t *w, env_mail_t *mail,
    ngx_uint_t seed);
static void test_shell(const char *fmt);
static void test_left(void **state);


static ngx_int_t  test_rc;


static void
test_handler(void *data, ngx_int_t rc)
{
    test_rc = rc;
}


/* all of it is written */

static ngx_smtp_large_t *
test_large(env_worker_t *w, env_mail_t *mail, ngx_uint_t seed)
{
    size_t             i;
    u_char             c;
    ngx_smtp_large_t  *l;

    env_mail(mail, "internet", 1, 0, seed);

    for (i = 0; i < TEST_SIZE; i++) {
        c = env_byte(seed, i);
        assert_int_equal(ngx_smtp_content_append(&mail->content, &c, 1,
                                                 &shim_log), NGX_OK);
    }

    l = ngx_smtp_large_open(w->store);
    assert_non_null(l);

    test_rc = NGX_AGAIN;

    ngx_smtp_large_write(l, ngx_smtp_content_take(&mail->content),
                         test_handler, NULL);
    env_pump();

    return l;
}


static void
test_shell(const char *fmt)
{
    char  command[512];

    snprintf(command, sizeof(command), fmt, env_path, env_path);
    assert_int_equal(system(command), 0);
}


static void
test_left(void **state)
{
    env_mail_t         mail;
    env_worker_t      *w;
    ngx_smtp_large_t  *l;

    w = env_start(0, NULL);
    env_time(300);
    w->store->spool.tmpfile = 0;

    l = test_large(w, &mail, 1);
    assert_int_equal(test_rc, NGX_OK);
    assert_int_equal(env_files(".body"), 1);

    /* as if it had been killed now */

    test_shell("ln %s/tmp/*.body %s/quarantine/");
    ngx_smtp_large_abort(l);
    env_pump();
    env_stop(w);
    test_shell("mv %s/quarantine/*.body %s/tmp/");

    shim_time_advance(1000);

    w = env_start(0, NULL);
    env_time(300);
    w->store->spool.tmpfile = 0;

    mail.accept.large = test_large(w, &mail, 2);
    assert_int_equal(test_rc, NGX_OK);
    assert_int_equal(env_accepted(w, &mail), NGX_OK);

    env_check_read(env_find(w, 2), 1, TEST_SIZE, 2);
    env_stop(w);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_left, env_setup, env_teardown),
    };

    return shim_run(tests);
}
