
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Requests for queued mail: query strings good and bad, and that a request
 * comes out of the bus as it went in.
 *
 * sources: relay/ngx_smtp_control_request.c net/ngx_smtp_bus_codec.c
 */


#include "shim.h"
#include "ngx_smtp_control.h"

#include <stdlib.h>
#include <string.h>


static const char *test_query(ngx_smtp_control_request_t *r, ngx_pool_t *pool,
    const char *args);
static void test_good(void **state);
static void test_bad(void **state);
static void test_bus(void **state);
static void test_bus_bad(void **state);


static const char *
test_query(ngx_smtp_control_request_t *r, ngx_pool_t *pool, const char *args)
{
    ngx_str_t  s;

    ngx_memzero(r, sizeof(ngx_smtp_control_request_t));
    r->op = NGX_SMTP_CONTROL_LIST;

    s = shim_str(args);

    return ngx_smtp_control_query(r, &s, pool);
}


static void
test_good(void **state)
{
    ngx_pool_t                  *pool;
    ngx_smtp_control_request_t   r;

    pool = ngx_create_pool(1024, &shim_log);

    assert_null(test_query(&r, pool, ""));
    assert_int_equal(r.limit, NGX_SMTP_CONTROL_LIMIT);
    assert_false(ngx_smtp_control_filtered(&r));

    assert_null(test_query(&r, pool, "&&all=1&limit=1000&"));
    assert_int_equal(r.limit, 1000);
    assert_true(r.all);
    assert_false(ngx_smtp_control_filtered(&r));

    assert_null(test_query(&r, pool, "after=x"));
    assert_false(ngx_smtp_control_filtered(&r));

    assert_null(test_query(&r, pool, "sender=a%2bb+c@x%20=%26&domain=D"));
    assert_str_equal(&r.sender, "a+b+c@x =&");
    assert_str_equal(&r.domain, "D");
    assert_true(ngx_smtp_control_filtered(&r));

    assert_null(test_query(&r, pool, "older=90&younger=2d&state=deferred"));
    assert_int_equal(r.older, 90);
    assert_int_equal(r.younger, 172800);
    assert_int_equal(r.state, NGX_SMTP_CONTROL_DEFERRED);

    assert_null(test_query(&r, pool, "older=1w"));
    assert_int_equal(r.older, 604800);
    assert_null(test_query(&r, pool, "older=5m"));
    assert_int_equal(r.older, 300);
    assert_null(test_query(&r, pool, "older=1s"));
    assert_int_equal(r.older, 1);

    ngx_destroy_pool(pool);
}


static void
test_bad(void **state)
{
    char                         args[2048];
    size_t                       i;
    ngx_str_t                    s;
    ngx_pool_t                  *pool;
    ngx_smtp_control_request_t   r;

    static const char  *bad[] = {
        "x", "x=1", "queue", "queue=", "queue=a&queue=b", "queue=%",
        "queue=%4", "queue=%4g", "queue=%00", "queue=a%0ab", "queue=\x7f",
        "id=1", "limit=0", "limit=1001", "limit=x", "limit=-1", "limit=1 ",
        "limit=99999999999999999999", "older=0", "older=s", "older=1x",
        "older=-1", "older=1.5h", "older=99999999w", "older=4000000000",
        "state=any", "state=", "state=Held", "all=0", "all", "=", "=a",
        "queues=a", "queu=a", "state=held&state=due", "limit=5&limit=5",
        "older=1d&older=2d", "younger=1d&younger=1d", "all=1&all=1"
    };

    pool = ngx_create_pool(1024, &shim_log);

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (test_query(&r, pool, bad[i]) == NULL) {
            fail_msg("\"%s\" was taken", bad[i]);
        }
    }

    /* an action does not stop after so many */

    memset(&r, 0, sizeof(r));
    r.op = NGX_SMTP_CONTROL_DELETE;
    s = shim_str("sender=a@x&limit=5");

    assert_non_null(ngx_smtp_control_query(&r, &s, pool));

    memset(args, 'a', sizeof(args));
    memcpy(args, "queue=", 6);

    args[6 + NGX_SMTP_CONTROL_VALUE_MAX] = '\0';
    assert_null(test_query(&r, pool, args));

    args[6 + NGX_SMTP_CONTROL_VALUE_MAX] = 'a';
    args[7 + NGX_SMTP_CONTROL_VALUE_MAX] = '\0';
    assert_non_null(test_query(&r, pool, args));

    ngx_destroy_pool(pool);
}


static void
test_bus(void **state)
{
    ngx_str_t                    out;
    ngx_pool_t                  *pool;
    ngx_smtp_control_request_t   r, d;

    pool = ngx_create_pool(1024, &shim_log);

    assert_null(test_query(&r, pool, "queue=q&sender=<>&recipient=r@x&domain="
                           "x&error=e&after=a&older=5&younger=10&state=held"
                           "&limit=7"));
    r.op = NGX_SMTP_CONTROL_DELETE;
    r.id = shim_str("the-id");

    assert_int_equal(ngx_smtp_control_encode(&r, pool, &out), NGX_OK);
    assert_int_equal(ngx_smtp_control_decode(&d, &out), NGX_OK);

    assert_int_equal(d.op, NGX_SMTP_CONTROL_DELETE);
    assert_int_equal(d.state, NGX_SMTP_CONTROL_HELD);
    assert_int_equal(d.limit, 7);
    assert_int_equal(d.older, 5);
    assert_int_equal(d.younger, 10);
    assert_str_equal(&d.id, "the-id");
    assert_str_equal(&d.after, "a");
    assert_str_equal(&d.queue, "q");
    assert_str_equal(&d.sender, "<>");
    assert_str_equal(&d.recipient, "r@x");
    assert_str_equal(&d.domain, "x");
    assert_str_equal(&d.error, "e");

    ngx_destroy_pool(pool);
}


static void
test_bus_bad(void **state)
{
    u_char                       buf[256], *p;
    ngx_str_t                    s;
    ngx_smtp_control_request_t   d;

    s.data = buf;

    /* no limit; no operation; an unknown one; show without an id */

    p = ngx_smtp_bus_number_put(buf, NGX_SMTP_CONTROL_TAG_OP,
                                NGX_SMTP_CONTROL_LIST);
    s.len = p - buf;
    assert_int_equal(ngx_smtp_control_decode(&d, &s), NGX_ERROR);

    p = ngx_smtp_bus_number_put(buf, NGX_SMTP_CONTROL_TAG_LIMIT, 1);
    s.len = p - buf;
    assert_int_equal(ngx_smtp_control_decode(&d, &s), NGX_ERROR);

    p = ngx_smtp_bus_number_put(p, NGX_SMTP_CONTROL_TAG_OP,
                                NGX_SMTP_CONTROL_OPS);
    s.len = p - buf;
    assert_int_equal(ngx_smtp_control_decode(&d, &s), NGX_ERROR);

    p = ngx_smtp_bus_number_put(p, NGX_SMTP_CONTROL_TAG_OP,
                                NGX_SMTP_CONTROL_SHOW);
    s.len = p - buf;
    assert_int_equal(ngx_smtp_control_decode(&d, &s), NGX_ERROR);

    p = ngx_smtp_bus_number_put(p, NGX_SMTP_CONTROL_TAG_OP,
                                NGX_SMTP_CONTROL_DELETE);
    s.len = p - buf;
    assert_int_equal(ngx_smtp_control_decode(&d, &s), NGX_OK);

    /* a filter of a later version must not be passed over: all would go */

    p = ngx_smtp_bus_field_put(p, 99, "x", 1);
    s.len = p - buf;
    assert_int_equal(ngx_smtp_control_decode(&d, &s), NGX_ERROR);

    /* cut off */

    s.len = NGX_SMTP_BUS_FIELD + 3;
    assert_int_equal(ngx_smtp_control_decode(&d, &s), NGX_ERROR);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_bus),
        cmocka_unit_test(test_bus_bad),
    };

    return shim_run(tests);
}
