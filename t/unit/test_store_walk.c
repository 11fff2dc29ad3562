
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Going through the messages of a worker while they come and go, and looking
 * into one that may end meanwhile.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"

#include <stdlib.h>
#include <string.h>


#define TEST_MAILS    600
#define TEST_SEGMENT  65536


static void test_fill(env_worker_t *w, ngx_uint_t n);
static ngx_uint_t test_walk(env_worker_t *w, u_char *after, u_char *last);
static void test_all(void **state);
static void test_position(void **state);
static void test_changes(void **state);
static void test_leaves(void **state);
static void test_watch(void **state);
static void test_peek(void **state);
static void test_peek_handler(ngx_smtp_reader_t *r, ngx_int_t rc);


static ngx_int_t  test_peeked;


/* Messages of two recipients in several segments. */

static void
test_fill(env_worker_t *w, ngx_uint_t n)
{
    ngx_uint_t   i;
    env_mail_t  *mail;

    mail = calloc(1, sizeof(env_mail_t));
    assert_non_null(mail);

    for (i = 0; i < n; i++) {
        env_mail(mail, "out", 2, 300, i);
        assert_int_equal(env_accepted(w, mail), NGX_OK);

        /* names of segments sort by time only if it goes on */

        if (i % 10 == 0) {
            env_time(2);
        }
    }

    free(mail);
}


/* How many are behind the key; each must be behind the one before it. */

static ngx_uint_t
test_walk(env_worker_t *w, u_char *after, u_char *last)
{
    u_char               key[NGX_SMTP_KEY_LEN];
    ngx_int_t            rc;
    ngx_uint_t           n;
    ngx_smtp_walk_t      walk;
    ngx_smtp_message_t  *m;

    n = 0;
    memcpy(last, after, NGX_SMTP_KEY_LEN);

    ngx_smtp_walk_start(&walk, w->store, after);

    while ((rc = ngx_smtp_walk_next(&walk, &m)) != NGX_DONE) {

        if (rc == NGX_OK) {
            ngx_smtp_message_key(m, key);
            assert_true(memcmp(key, last, NGX_SMTP_KEY_LEN) > 0);
            memcpy(last, key, NGX_SMTP_KEY_LEN);
            n++;
        }
    }

    ngx_smtp_walk_end(&walk);
    ngx_smtp_walk_end(&walk);

    return n;
}


static void
test_all(void **state)
{
    u_char         key[NGX_SMTP_KEY_LEN], last[NGX_SMTP_KEY_LEN];
    env_worker_t  *w;
    const char    *queues[] = { "out", NULL };

    w = env_start(TEST_SEGMENT, queues);
    env_pump();

    memset(key, 0, sizeof(key));
    assert_int_equal(test_walk(w, key, last), 0);

    test_fill(w, TEST_MAILS);
    assert_true(env_files(".data") > 3);
    assert_int_equal(test_walk(w, key, last), TEST_MAILS);

    /* all of them, found by another worker */

    env_stop(w);

    w = env_start(TEST_SEGMENT, queues);
    env_time(20000);
    assert_int_equal(w->nmessages, TEST_MAILS);
    assert_int_equal(test_walk(w, key, last), TEST_MAILS);

    env_stop(w);
}


static void
test_position(void **state)
{
    u_char                id[NGX_SMTP_QUEUE_ID_LEN];
    u_char                text[NGX_SMTP_QUEUE_ID_LEN];
    u_char                key[NGX_SMTP_KEY_LEN], last[NGX_SMTP_KEY_LEN];
    ngx_str_t             s, name, hop;
    ngx_uint_t            i;
    env_worker_t         *w;
    const char           *queues[] = { "out", NULL };

    w = env_start(TEST_SEGMENT, queues);
    test_fill(w, TEST_MAILS);

    for (i = 0; i < TEST_MAILS; i += 37) {
        ngx_smtp_message_key(w->messages[i], key);
        assert_int_equal(test_walk(w, key, last), TEST_MAILS - i - 1);

        /* a key and its text */

        s.data = id;
        s.len = ngx_smtp_key_text(key, id) - id;

        assert_int_equal(s.len, ngx_smtp_message_id(w->messages[i], text)
                                - text);
        assert_memory_equal(id, text, s.len);
        assert_int_equal(ngx_smtp_key_parse(&s, last), NGX_OK);
        assert_memory_equal(key, last, NGX_SMTP_KEY_LEN);

        assert_true(ngx_smtp_store_owns(w->store, key));

        ngx_smtp_message_queue(w->messages[i], &name, &hop);
        assert_int_equal(name.len, 3);
        assert_memory_equal(name.data, "out", 3);
        assert_int_equal(hop.len, 0);
    }

    memset(key, 0xff, sizeof(key));
    assert_int_equal(test_walk(w, key, last), 0);
    assert_false(ngx_smtp_store_owns(w->store, key));

    s = shim_str("nonsense");
    assert_int_equal(ngx_smtp_key_parse(&s, last), NGX_ERROR);

    env_stop(w);
}


/* The next one, the last one of a segment, and whole segments go. */

static void
test_changes(void **state)
{
    u_char               key[NGX_SMTP_KEY_LEN], last[NGX_SMTP_KEY_LEN];
    ngx_int_t            rc;
    ngx_uint_t           i, n, ended, kept;
    env_worker_t        *w;
    ngx_smtp_walk_t      walk;
    ngx_smtp_message_t  *m;
    const char          *queues[] = { "out", NULL };

    w = env_start(TEST_SEGMENT, queues);
    test_fill(w, TEST_MAILS);

    memset(last, 0, sizeof(last));
    ngx_smtp_walk_start(&walk, w->store, last);

    n = 0;
    ended = 0;

    while ((rc = ngx_smtp_walk_next(&walk, &m)) != NGX_DONE) {

        if (rc != NGX_OK) {
            continue;
        }

        ngx_smtp_message_key(m, key);
        assert_true(memcmp(key, last, NGX_SMTP_KEY_LEN) > 0);
        memcpy(last, key, NGX_SMTP_KEY_LEN);
        n++;

        /* some that come next, and once a hundred at a time */

        kept = (n == 50) ? 100 : n % 3;

        for (i = 0; i < kept && w->nmessages; i++) {
            for (m = NULL, rc = 0; rc < (ngx_int_t) w->nmessages; rc++) {
                ngx_smtp_message_key(w->messages[rc], key);

                if (memcmp(key, last, NGX_SMTP_KEY_LEN) > 0) {
                    m = w->messages[rc];
                    break;
                }
            }

            if (m == NULL) {
                break;
            }

            env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);
            env_result(m, 1, NGX_SMTP_RESULT_DELIVERED, 0);
            assert_int_equal(env_done(w, m), NGX_OK);
            ended++;
        }

        if (n % 20 == 0) {
            env_time(1000);
        }
    }

    ngx_smtp_walk_end(&walk);

    assert_int_equal(n + ended, TEST_MAILS);
    assert_true(ended > 100);

    env_stop(w);
}


/* The worker leaves in the middle of it. */

static void
test_leaves(void **state)
{
    u_char               after[NGX_SMTP_KEY_LEN];
    ngx_int_t            rc;
    ngx_uint_t           n;
    env_worker_t        *w;
    ngx_smtp_walk_t      walk;
    ngx_smtp_message_t  *m;
    const char          *queues[] = { "out", NULL };

    w = env_start(TEST_SEGMENT, queues);
    test_fill(w, TEST_MAILS);

    memset(after, 0, sizeof(after));
    ngx_smtp_walk_start(&walk, w->store, after);

    for (n = 0; n < 10; /* void */ ) {
        rc = ngx_smtp_walk_next(&walk, &m);
        assert_int_not_equal(rc, NGX_DONE);
        n += (rc == NGX_OK);
    }

    ngx_smtp_store_leave(w->store);
    env_time(2000);
    assert_int_equal(w->forgotten, TEST_MAILS);

    do {
        rc = ngx_smtp_walk_next(&walk, &m);
        assert_int_not_equal(rc, NGX_OK);
    } while (rc != NGX_DONE);

    ngx_smtp_walk_end(&walk);
    env_stop(w);
}


static void
test_watch(void **state)
{
    env_worker_t        *w;
    ngx_smtp_watch_t     one, two, none;
    ngx_smtp_message_t  *m;
    const char          *queues[] = { "out", NULL };

    w = env_start(0, queues);
    test_fill(w, 3);

    memset(&one, 0, sizeof(one));
    memset(&two, 0, sizeof(two));
    memset(&none, 0, sizeof(none));

    m = w->messages[1];

    ngx_smtp_message_watch(m, &one);
    ngx_smtp_message_watch(w->messages[2], &two);
    assert_ptr_equal(one.message, m);

    env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);
    env_result(m, 1, NGX_SMTP_RESULT_DELIVERED, 0);
    assert_int_equal(env_done(w, m), NGX_OK);

    assert_null(one.message);
    assert_non_null(two.message);

    ngx_smtp_message_unwatch(&one);
    ngx_smtp_message_unwatch(&one);
    ngx_smtp_message_unwatch(&none);

    /* forgotten is gone as well */

    ngx_smtp_store_leave(w->store);
    env_time(2000);
    assert_null(two.message);

    ngx_smtp_message_unwatch(&two);
    env_stop(w);
}


static void
test_peek_handler(ngx_smtp_reader_t *r, ngx_int_t rc)
{
    test_peeked = rc;
}


/* From disk: the envelope; the message ends while it is read. */

static void
test_peek(void **state)
{
    ngx_int_t            rc;
    ngx_uint_t           slice;
    env_worker_t        *w;
    ngx_smtp_reader_t   *r;
    ngx_smtp_message_t  *m;
    const char          *queues[] = { "out", NULL };

    w = env_start(0, queues);
    test_fill(w, 4);

    for (slice = 0; slice < 2; slice++) {

        m = w->messages[0];

        if (m->fresh) {
            ngx_smtp_message_stale(m);
        }

        test_peeked = NGX_DECLINED;

        rc = ngx_smtp_reader_peek(m, slice, test_peek_handler, NULL,
                                  &shim_log, &r);
        assert_int_equal(rc, NGX_AGAIN);

        env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);
        env_result(m, 1, NGX_SMTP_RESULT_DELIVERED, 0);
        assert_int_equal(env_done(w, m), NGX_OK);

        env_pump();

        assert_int_equal(test_peeked, NGX_OK);
        assert_int_equal(r->envelope.rcpts.nelts, 2);

        ngx_smtp_reader_close(r);

        /* closed before it was read */

        m = w->messages[0];

        if (m->fresh) {
            ngx_smtp_message_stale(m);
        }

        test_peeked = NGX_DECLINED;

        assert_int_equal(ngx_smtp_reader_peek(m, slice, test_peek_handler,
                                              NULL, &shim_log, &r),
                         NGX_AGAIN);
        ngx_smtp_reader_close(r);

        env_pump();
        assert_int_equal(test_peeked, NGX_DECLINED);
    }

    env_stop(w);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_all, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_position, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_changes, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_leaves, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_watch, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_peek, env_setup, env_teardown),
    };

    return shim_run(tests);
}
