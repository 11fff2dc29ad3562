
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Messages that are moved to another queue or next hop, wishes, and last
 * errors, through a restart; and what of it is refused.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"

#include "ngx_smtp_store_internal.h"

#include <stdlib.h>
#include <string.h>


#define TEST_NOW  1700000000


static void test_fill(env_worker_t *w, ngx_uint_t n, const char *queue);
static void test_is(ngx_smtp_message_t *m, const char *queue,
    const char *hop, ngx_uint_t unknown);
static void test_goes(env_worker_t *w, unsigned seed, const char *queue,
    const char *hop);
static env_worker_t *test_again(env_worker_t *w, const char **queues,
    ngx_msec_t msec);
static void test_move(void **state);
static void test_unknown(void **state);
static void test_refused(void **state);
static void test_wish(void **state);
static void test_error(void **state);


static void
test_fill(env_worker_t *w, ngx_uint_t n, const char *queue)
{
    ngx_uint_t   i;
    env_mail_t  *mail;

    mail = calloc(1, sizeof(env_mail_t));
    assert_non_null(mail);

    for (i = 0; i < n; i++) {
        env_mail(mail, queue, 1, 300, i);
        assert_int_equal(env_accepted(w, mail), NGX_OK);
    }

    free(mail);
}


static void
test_is(ngx_smtp_message_t *m, const char *queue, const char *hop,
    ngx_uint_t unknown)
{
    ngx_str_t  q, h;

    assert_non_null(m);
    ngx_smtp_message_queue(m, &q, &h);

    assert_int_equal(q.len, strlen(queue));
    assert_memory_equal(q.data, queue, q.len);
    assert_int_equal(h.len, strlen(hop));
    assert_true(h.len == 0 || memcmp(h.data, hop, h.len) == 0);
    assert_int_equal(m->unknown_queue, unknown);
}


static void
test_goes(env_worker_t *w, unsigned seed, const char *queue, const char *hop)
{
    ngx_str_t  q, h;

    q = shim_str(queue);
    h = shim_str(hop);

    assert_int_equal(ngx_smtp_store_move(env_find(w, seed), &q, &h, TEST_NOW),
                     NGX_OK);
}


/* it stops; what another one finds, that knows these queues */

static env_worker_t *
test_again(env_worker_t *w, const char **queues, ngx_msec_t msec)
{
    env_stop(w);

    w = env_start(0, queues);
    env_time(msec);

    return w;
}


static void
test_move(void **state)
{
    ngx_uint_t     pass;
    env_worker_t  *w;
    const char    *queues[] = { "out", "other", NULL };

    w = env_start(0, queues);
    test_fill(w, 4, "out");

    test_goes(w, 0, "other", "");
    test_goes(w, 1, "out", "192.0.2.1:25");
    test_goes(w, 2, "other", "192.0.2.1:25");
    test_goes(w, 2, "out", "");

    /* the same place is the same index */

    assert_int_equal(env_find(w, 0)->queue, 1);
    assert_int_equal(env_find(w, 2)->queue, 0);

    /* by a seal, and by the events behind it */

    for (pass = 0; pass < 3; pass++) {
        test_is(env_find(w, 0), "other", "", 0);
        test_is(env_find(w, 1), "out", "192.0.2.1:25", 0);
        test_is(env_find(w, 2), "out", "", 0);
        test_is(env_find(w, 3), pass == 2 ? "other" : "out",
                pass == 2 ? "192.0.2.1:25" : "", 0);

        if (pass == 1) {
            test_goes(w, 3, "other", "192.0.2.1:25");
        }

        w = test_again(w, queues, 3000);
    }

    assert_int_equal(w->nmessages, 4);
    env_stop(w);
}


/* mail of a queue that is not there any more finds another one */

static void
test_unknown(void **state)
{
    env_worker_t  *w;
    const char    *queues[] = { "old", NULL };
    const char    *after[] = { "next", NULL };

    w = env_start(0, queues);
    test_fill(w, 3, "old");
    test_goes(w, 2, "old", "mx");
    w = test_again(w, after, 20000);
    test_is(env_find(w, 0), "old", "", 1);
    test_is(env_find(w, 2), "old", "mx", 1);
    test_goes(w, 0, "next", "");
    test_is(env_find(w, 0), "next", "", 0);
    w = test_again(w, after, 20000);
    test_is(env_find(w, 0), "next", "", 0);
    test_is(env_find(w, 1), "old", "", 1);
    test_goes(w, 1, "next", "");
    test_goes(w, 2, "next", "");

    /* nobody is waited for any more that knows the old one */

    w = test_again(w, after, 3000);
    test_is(env_find(w, 2), "next", "", 0);
    env_stop(w);
}


static void
test_refused(void **state)
{
    u_char         long_hop[NGX_SMTP_DESTINATION + 8], text[16];
    ngx_str_t      out, nowhere, hop, none;
    ngx_uint_t     i;
    env_worker_t  *w;
    const char    *queues[] = { "out", NULL };

    out = shim_str("out");
    nowhere = shim_str("nowhere");
    none = shim_str("");

    w = env_start(0, queues);
    test_fill(w, 2, "out");

    assert_int_equal(ngx_smtp_store_move(env_find(w, 0), &nowhere, &none,
                                         TEST_NOW), NGX_DECLINED);

    memset(long_hop, 'x', sizeof(long_hop));
    hop.data = long_hop;
    hop.len = NGX_SMTP_DESTINATION - 3;
    assert_int_equal(ngx_smtp_store_move(env_find(w, 0), &out, &hop,
                                         TEST_NOW), NGX_DECLINED);
    hop.len--;
    assert_int_equal(ngx_smtp_store_move(env_find(w, 0), &out, &hop,
                                         TEST_NOW), NGX_OK);

    /* any number of them, one after the other */

    for (i = 0; i < NGX_SMTP_DESTINATIONS + 10; i++) {
        hop.data = text;
        hop.len = ngx_sprintf(text, "%ui:25", i) - text;

        assert_int_equal(ngx_smtp_store_move(env_find(w, 1), &out, &hop,
                                             TEST_NOW), NGX_OK);
    }

    test_is(env_find(w, 1), "out", "4105:25", 0);
    assert_int_equal(w->store->nqueues, NGX_SMTP_DESTINATIONS);

    /* but no more than that at a time; what is there goes on */

    for (i = 0; i < w->store->nqueues; i++) {
        w->store->nlive[i]++;
    }

    hop = shim_str("new:25");
    assert_int_equal(ngx_smtp_store_move(env_find(w, 1), &out, &hop,
                                         TEST_NOW), NGX_ERROR);
    test_is(env_find(w, 1), "out", "4105:25", 0);

    hop = shim_str("77:25");
    assert_int_equal(ngx_smtp_store_move(env_find(w, 1), &out, &hop,
                                         TEST_NOW), NGX_OK);

    for (i = 0; i < w->store->nqueues; i++) {
        w->store->nlive[i]--;
    }

    /* what is written down of them is theirs */

    w = test_again(w, queues, 3000);
    test_is(env_find(w, 1), "out", "77:25", 0);
    assert_int_equal(env_find(w, 0)->queue == env_find(w, 1)->queue, 0);

    assert_int_equal(ngx_smtp_store_move(env_find(w, 1), &out, &none,
                                         TEST_NOW), NGX_OK);

    w = test_again(w, queues, 3000);
    test_is(env_find(w, 1), "out", "", 0);
    env_stop(w);
}


static void
test_wish(void **state)
{
    env_worker_t  *w;
    const char    *queues[] = { "out", NULL };

    w = env_start(0, queues);
    test_fill(w, 3, "out");

    ngx_smtp_store_wish(env_find(w, 0), NGX_SMTP_WISH_BOUNCE, TEST_NOW);
    ngx_smtp_store_wish(env_find(w, 1), NGX_SMTP_WISH_BOUNCE, TEST_NOW);
    ngx_smtp_store_wish(env_find(w, 1), NGX_SMTP_WISH_DELETE, TEST_NOW);

    w = test_again(w, queues, 3000);
    assert_int_equal(env_find(w, 0)->wish, NGX_SMTP_WISH_BOUNCE);
    assert_int_equal(env_find(w, 1)->wish, NGX_SMTP_WISH_DELETE);
    assert_int_equal(env_find(w, 2)->wish, NGX_SMTP_WISH_NONE);
    ngx_smtp_store_wish(env_find(w, 2), NGX_SMTP_WISH_DELETE, TEST_NOW);
    ngx_smtp_store_wish(env_find(w, 0), NGX_SMTP_WISH_NONE, TEST_NOW);

    w = test_again(w, queues, 3000);
    assert_int_equal(env_find(w, 0)->wish, NGX_SMTP_WISH_NONE);
    assert_int_equal(env_find(w, 1)->wish, NGX_SMTP_WISH_DELETE);
    assert_int_equal(env_find(w, 2)->wish, NGX_SMTP_WISH_DELETE);
    env_stop(w);
}


static void
test_error(void **state)
{
    ngx_str_t      text, got;
    env_worker_t  *w;
    const char    *queues[] = { "out", NULL };

    w = env_start(0, queues);
    test_fill(w, 3, "out");

    text = shim_str("4.2.1 mailbox is busy");
    assert_int_equal(ngx_smtp_message_error(env_find(w, 0), &got),
                     NGX_DECLINED);
    ngx_smtp_store_error(env_find(w, 0), &text);
    ngx_smtp_store_error(env_find(w, 1), &text);

    w = test_again(w, queues, 3000);
    assert_int_equal(ngx_smtp_message_error(env_find(w, 0), &got), NGX_OK);
    assert_int_equal(got.len, text.len);
    assert_memory_equal(got.data, text.data, got.len);
    assert_int_equal(ngx_smtp_message_error(env_find(w, 1), &got), NGX_OK);
    assert_int_equal(ngx_smtp_message_error(env_find(w, 2), &got),
                     NGX_DECLINED);

    /* recorded behind the seal, it replaces what the seal says */

    env_result(env_find(w, 1), 0, NGX_SMTP_RESULT_DEFERRED, TEST_NOW);

    w = test_again(w, queues, 3000);
    assert_int_equal(ngx_smtp_message_error(env_find(w, 0), &got), NGX_OK);
    assert_memory_equal(got.data, text.data, got.len);
    assert_int_equal(ngx_smtp_message_error(env_find(w, 1), &got), NGX_OK);
    assert_true(got.len != text.len
                || memcmp(got.data, text.data, got.len) != 0);
    env_stop(w);
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_move, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_unknown, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_refused, env_setup,
                                        env_teardown),
        cmocka_unit_test_setup_teardown(test_wish, env_setup, env_teardown),
        cmocka_unit_test_setup_teardown(test_error, env_setup, env_teardown),
    };

    return shim_run(tests);
}
