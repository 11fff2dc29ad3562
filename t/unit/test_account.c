
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Account records: logins, fields as from Redis, lines of the accounts file,
 * senders.
 *
 * sources: auth/ngx_smtp_account.c
 */


#include "shim.h"
#include "ngx_smtp_account.h"


static int
setup(void **state)
{
    *state = ngx_create_pool(4096, &shim_log);
    return *state == NULL;
}


static int
teardown(void **state)
{
    ngx_destroy_pool(*state);
    return 0;
}


static ngx_int_t
normalize(const char *in, size_t len, const char *out)
{
    u_char     *copy;
    ngx_int_t   rc;
    ngx_str_t   s;

    copy = malloc(len ? len : 1);
    memcpy(copy, in, len);
    s.data = copy;
    s.len = len;

    rc = ngx_smtp_account_normalize(&s);

    if (out) {
        assert_int_equal(s.len, strlen(out));
        assert_memory_equal(s.data, out, s.len);
    }

    free(copy);

    return rc;
}


static void
test_normalize(void **state)
{
    char  big[256];

    assert_int_equal(normalize("Alice@Example.COM", 17, "alice@example.com"),
                     NGX_OK);
    assert_int_equal(normalize("a b", 3, "a b"), NGX_OK);
    assert_int_equal(normalize("*", 1, "*"), NGX_OK);

    /* only ASCII has another case here */
    assert_int_equal(normalize("\xc3\x84\xff", 3, "\xc3\x84\xff"), NGX_OK);

    assert_int_equal(normalize("", 0, NULL), NGX_DECLINED);
    assert_int_equal(normalize("a\0b", 3, NULL), NGX_DECLINED);
    assert_int_equal(normalize("a\r\nb", 4, NULL), NGX_DECLINED);
    assert_int_equal(normalize("a\x1f", 2, NULL), NGX_DECLINED);
    assert_int_equal(normalize("a\x7f", 2, NULL), NGX_DECLINED);
    assert_int_equal(normalize("\t", 1, NULL), NGX_DECLINED);

    memset(big, 'a', sizeof(big));
    assert_int_equal(normalize(big, 255, NULL), NGX_OK);
    assert_int_equal(normalize(big, 256, NULL), NGX_DECLINED);
}


static ngx_int_t
set(ngx_smtp_account_t *a, ngx_pool_t *pool, const char *name,
    const char *value, size_t len)
{
    u_char      *copy;
    ngx_int_t    rc;
    ngx_str_t    n, v;
    const char  *reason;

    /* the account must hold copies */

    copy = malloc(len ? len : 1);
    memcpy(copy, value, len);

    n = shim_str(name);
    v.data = copy;
    v.len = len;
    reason = NULL;

    rc = ngx_smtp_account_set(a, &n, &v, pool, &reason);

    memset(copy, '#', len);
    free(copy);

    if (rc == NGX_DECLINED) {
        assert_non_null(reason);
    }

    return rc;
}


#define SET(name, value)  set(&a, pool, name, value, sizeof(value) - 1)


static void
test_fields(void **state)
{
    char                big[513];
    ngx_str_t           login, *sender;
    ngx_pool_t         *pool;
    ngx_smtp_account_t  a;

    pool = *state;
    login = shim_str("user");

    assert_int_equal(ngx_smtp_account_init(&a, &login, pool), NGX_OK);
    assert_int_equal(a.enabled, 1);
    assert_int_equal(a.has_senders, 0);
    assert_int_equal(a.verifier.len, 0);
    assert_ptr_not_equal(a.login.data, login.data);

    assert_int_equal(SET("password", "$6$x$y"), NGX_OK);
    assert_str_equal(&a.verifier, "$6$x$y");

    assert_int_equal(SET("password", "$6$x y"), NGX_DECLINED);
    assert_int_equal(SET("password", "$6$x\0y"), NGX_DECLINED);
    assert_int_equal(SET("password", "$6$x\xff"), NGX_DECLINED);
    memset(big, 'x', sizeof(big));
    assert_int_equal(set(&a, pool, "password", big, 512), NGX_OK);
    assert_int_equal(set(&a, pool, "password", big, 513), NGX_DECLINED);

    /* everything but "1" is no */

    assert_int_equal(SET("enabled", "0"), NGX_OK);
    assert_int_equal(a.enabled, 0);
    assert_int_equal(SET("enabled", "1"), NGX_OK);
    assert_int_equal(a.enabled, 1);
    assert_int_equal(SET("enabled", "yes"), NGX_OK);
    assert_int_equal(a.enabled, 0);
    a.enabled = 1;
    assert_int_equal(SET("enabled", ""), NGX_OK);
    assert_int_equal(a.enabled, 0);
    a.enabled = 1;
    assert_int_equal(SET("enabled", "11"), NGX_OK);
    assert_int_equal(a.enabled, 0);

    assert_int_equal(SET("senders", " a@b.example,@c.example\n\nd@e "),
                     NGX_OK);
    assert_int_equal(a.has_senders, 1);
    assert_int_equal(a.senders.nelts, 3);
    sender = a.senders.elts;
    assert_str_equal(&sender[0], "a@b.example");
    assert_str_equal(&sender[1], "@c.example");
    assert_str_equal(&sender[2], "d@e");

    assert_int_equal(SET("senders", ""), NGX_OK);
    assert_int_equal(a.has_senders, 1);
    assert_int_equal(a.senders.nelts, 0);

    assert_int_equal(SET("senders", "a@b.example nobody"), NGX_DECLINED);
    assert_int_equal(SET("senders", "@"), NGX_DECLINED);
    assert_int_equal(SET("senders", "a@"), NGX_DECLINED);

    /* fields of later versions */

    assert_int_equal(SET("limit", "whatever \xff"), NGX_OK);
    assert_int_equal(SET("", ""), NGX_OK);
}


static void
test_many_senders(void **state)
{
    char                *text;
    size_t               n;
    ngx_str_t            login;
    ngx_pool_t          *pool;
    ngx_smtp_account_t   a;

    pool = *state;
    login = shim_str("user");
    ngx_smtp_account_init(&a, &login, pool);

    text = malloc(4 * 1001);

    for (n = 0; n < 1001; n++) {
        memcpy(text + 4 * n, "a@b,", 4);
    }

    assert_int_equal(set(&a, pool, "senders", text, 4 * 1000), NGX_OK);
    assert_int_equal(a.senders.nelts, 1000);
    assert_int_equal(set(&a, pool, "senders", text, 4 * 1001), NGX_DECLINED);

    free(text);
}


static const struct {
    const char  *line;
    ngx_int_t    rc;
    const char  *login;
    const char  *verifier;
    int          enabled;
    int          senders;           /* -1: no such option */
} lines[] = {
    { "alice $6$a$b", NGX_OK, "alice", "$6$a$b", 1, -1 },
    { "Alice@Example.com\t $2b$10$xyz \t", NGX_OK, "alice@example.com",
      "$2b$10$xyz", 1, -1 },
    { "  bob SCRAM-SHA-256$4096:c2FsdA==$a:b", NGX_OK, "bob",
      "SCRAM-SHA-256$4096:c2FsdA==$a:b", 1, -1 },
    { "bob $6$a$b enabled=0", NGX_OK, "bob", "$6$a$b", 0, -1 },
    { "bob $6$a$b enabled=1\r", NGX_OK, "bob", "$6$a$b", 1, -1 },
    { "bob $6$a$b senders=bob@a.example,@b.example enabled=0", NGX_OK, "bob",
      "$6$a$b", 0, 2 },
    { "bob $6$a$b senders=", NGX_OK, "bob", "$6$a$b", 1, 0 },
    { "\xc3\xa4 $6$a$b", NGX_OK, "\xc3\xa4", "$6$a$b", 1, -1 },

    { "", NGX_DONE, NULL, NULL, 0, 0 },
    { "  \t ", NGX_DONE, NULL, NULL, 0, 0 },
    { "\r", NGX_DONE, NULL, NULL, 0, 0 },
    { "# bob $6$a$b", NGX_DONE, NULL, NULL, 0, 0 },
    { "   #", NGX_DONE, NULL, NULL, 0, 0 },

    { "bob", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "bob ", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "bob:$6$a$b", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "b\x01ob $6$a$b", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "bob $6$a\x80$b", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "bob $6$a$b enabled", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "bob $6$a$b enabled=yes", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "bob $6$a$b enabled=", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "bob $6$a$b enabled=0 enabled=1", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "bob $6$a$b senders=a@b senders=c@d", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "bob $6$a$b senders= senders=c@d", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "bob $6$a$b enable=1", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "bob $6$a$b password=x", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "bob $6$a$b senders=bob", NGX_DECLINED, NULL, NULL, 0, 0 },
    { "bob $6$a$b =1", NGX_DECLINED, NULL, NULL, 0, 0 },
};


static void
test_lines(void **state)
{
    size_t               i;
    u_char              *copy;
    ngx_int_t            rc;
    ngx_str_t            line;
    ngx_pool_t          *pool;
    const char          *reason;
    ngx_smtp_account_t   a;

    pool = *state;

    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {

        line.len = strlen(lines[i].line);
        copy = malloc(line.len ? line.len : 1);
        memcpy(copy, lines[i].line, line.len);
        line.data = copy;
        reason = NULL;

        rc = ngx_smtp_account_parse_line(&a, &line, pool, &reason);

        free(copy);

        if (rc != lines[i].rc) {
            fail_msg("\"%s\": %d", lines[i].line, (int) rc);
        }

        if (rc == NGX_DECLINED) {
            assert_non_null(reason);
        }

        if (rc != NGX_OK) {
            continue;
        }

        assert_string_equal(shim_cstr(pool, &a.login), lines[i].login);
        assert_string_equal(shim_cstr(pool, &a.verifier), lines[i].verifier);
        assert_int_equal(a.enabled, lines[i].enabled);
        assert_int_equal(a.has_senders, lines[i].senders >= 0);

        if (lines[i].senders >= 0) {
            assert_int_equal(a.senders.nelts, lines[i].senders);
        }
    }
}


static void
test_may_send(void **state)
{
    size_t               i;
    ngx_str_t            login, address;
    ngx_pool_t          *pool;
    ngx_smtp_account_t   a, *copy;

    static const struct {
        const char  *address;
        ngx_uint_t   may;
    } rows[] = {
        { "alice@example.com", 1 },
        { "ALICE@Example.Com", 1 },
        { "bob@example.com", 0 },
        { "alice@example.org", 0 },
        { "anyone@example.net", 1 },
        { "anyone@EXAMPLE.NET", 1 },
        { "anyone@sub.example.net", 0 },
        { "anyone@xexample.net", 0 },
        { "\"a@b\"@example.net", 1 },
        { "\"x@example.net\"@example.org", 0 },
        { "@example.net", 0 },
        { "alice@", 0 },
        { "alice", 0 },
        { "@", 0 },
        { "", 0 },
    };

    pool = *state;
    login = shim_str("user");
    ngx_smtp_account_init(&a, &login, pool);

    address = shim_str("alice@example.com");
    assert_int_equal(ngx_smtp_account_may_send(&a, &address), 0);

    assert_int_equal(SET("password", "$6$x$y"), NGX_OK);
    assert_int_equal(SET("senders", "alice@example.com @example.net"),
                     NGX_OK);

    copy = ngx_smtp_account_copy(&a, pool);
    assert_non_null(copy);
    assert_int_equal(copy->verifier.len, 0);
    assert_str_equal(&copy->login, "user");
    assert_int_equal(copy->enabled, 1);
    assert_int_equal(copy->has_senders, 1);

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        address = shim_str(rows[i].address);

        if (ngx_smtp_account_may_send(&a, &address) != rows[i].may
            || ngx_smtp_account_may_send(copy, &address) != rows[i].may)
        {
            fail_msg("\"%s\"", rows[i].address);
        }
    }
}


/* every allocation fails once */

static void
test_no_memory(void **state)
{
    long                 n;
    ngx_int_t            rc;
    ngx_str_t            line;
    ngx_pool_t          *pool;
    const char          *reason;
    ngx_smtp_account_t   a, *copy;

    pool = *state;

    for (n = 0; n < 32; n++) {
        line = shim_str("bob $6$a$b senders=a@b,c@d,e@f enabled=0");

        shim_alloc_fail_after(n);
        rc = ngx_smtp_account_parse_line(&a, &line, pool, &reason);
        copy = (rc == NGX_OK) ? ngx_smtp_account_copy(&a, pool) : NULL;
        shim_alloc_fail_after(-1);

        if (copy) {
            break;
        }

        assert_true(rc == NGX_ERROR || rc == NGX_OK);
    }

    assert_in_range(n, 5, 31);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_normalize),
        cmocka_unit_test_setup_teardown(test_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_senders, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_may_send, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };

    return shim_run(tests);
}
