
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * SASL PLAIN and LOGIN: complete exchanges, and what hostile clients send.
 * Tables hold decoded bytes, the tests encode them, so that what is tested is
 * readable; base64 itself is tested with literal lines.
 *
 * sources: auth/ngx_smtp_sasl.c
 */


#include "shim.h"
#include "ngx_smtp_sasl.h"


#define PLAIN      NGX_SMTP_SASL_PLAIN
#define LOGIN      NGX_SMTP_SASL_LOGIN
#define MALFORMED  NGX_SMTP_SASL_MALFORMED
#define TOO_LONG   NGX_SMTP_SASL_TOO_LONG
#define REFUSED    NGX_SMTP_SASL_REFUSED


/* base64 of bytes, in a static buffer, in memory of exactly its size */

static ngx_str_t
encode(const void *data, size_t len)
{
    ngx_str_t       src, dst;
    static u_char  *last;

    free(last);
    last = malloc(ngx_base64_encoded_length(len) + 1);

    src.data = (u_char *) data;
    src.len = len;
    dst.data = last;
    ngx_encode_base64(&dst, &src);

    if (len == 0) {
        dst.len = 0;
    }

    /* the sanitizer sees a read past the line */

    dst.data = malloc(dst.len ? dst.len : 1);
    memcpy(dst.data, last, dst.len);
    free(last);
    last = dst.data;

    return dst;
}


static ngx_int_t
plain(ngx_smtp_sasl_t *s, const void *data, size_t len, int initial)
{
    ngx_int_t  rc;
    ngx_str_t  line;

    line = encode(data, len);

    if (initial) {
        return ngx_smtp_sasl_start(s, PLAIN, &line);
    }

    rc = ngx_smtp_sasl_start(s, PLAIN, NULL);
    assert_int_equal(rc, NGX_AGAIN);
    assert_int_equal(s->challenge.len, 0);

    return ngx_smtp_sasl_step(s, &line);
}


static ngx_int_t
login(ngx_smtp_sasl_t *s, const void *name, size_t nlen, const void *password,
    size_t plen, int initial)
{
    ngx_int_t  rc;
    ngx_str_t  line, eq;

    if (initial) {
        line = encode(name, nlen);
        eq = shim_str("=");
        rc = ngx_smtp_sasl_start(s, LOGIN, nlen ? &line : &eq);

    } else {
        rc = ngx_smtp_sasl_start(s, LOGIN, NULL);
        assert_int_equal(rc, NGX_AGAIN);
        assert_str_equal(&s->challenge, "VXNlcm5hbWU6");

        line = encode(name, nlen);
        rc = ngx_smtp_sasl_step(s, &line);
    }

    if (rc != NGX_AGAIN) {
        return rc;
    }

    assert_str_equal(&s->challenge, "UGFzc3dvcmQ6");

    line = encode(password, plen);

    return ngx_smtp_sasl_step(s, &line);
}


#define B(s)  s, sizeof(s) - 1


static const struct {
    const char  *data;
    size_t       len;
    ngx_int_t    rc;
    const char  *login;
    const char  *password;
} plains[] = {
    { B("\0user\0pass"), NGX_OK, "user", "pass" },
    { B("user\0user\0pass"), NGX_OK, "user", "pass" },
    { B("USER\0user\0pass"), NGX_OK, "user", "pass" },
    { B("\0a@b.example\0\xc3\xa4 \x01"), NGX_OK, "a@b.example",
      "\xc3\xa4 \x01" },
    { B("\0u\0p"), NGX_OK, "u", "p" },
    { B(""), MALFORMED, NULL, NULL },
    { B("user"), MALFORMED, NULL, NULL },
    { B("\0"), MALFORMED, NULL, NULL },
    { B("\0user"), MALFORMED, NULL, NULL },
    { B("user\0pass"), MALFORMED, NULL, NULL },
    { B("\0user\0pass\0"), MALFORMED, NULL, NULL },
    { B("\0user\0pa\0ss"), MALFORMED, NULL, NULL },
    { B("\0\0\0"), MALFORMED, NULL, NULL },
    { B("\0\0"), REFUSED, NULL, NULL },
    { B("\0user\0"), REFUSED, NULL, NULL },
    { B("\0\0pass"), REFUSED, NULL, NULL },
    { B("admin\0user\0pass"), REFUSED, NULL, NULL },
    { B("use\0user\0pass"), REFUSED, NULL, NULL },
    { B("user2\0user\0pass"), REFUSED, NULL, NULL },
};


static void
test_plain(void **state)
{
    int              initial;
    size_t           i;
    ngx_int_t        rc;
    ngx_smtp_sasl_t  s;

    for (i = 0; i < sizeof(plains) / sizeof(plains[0]); i++) {
        for (initial = 0; initial < 2; initial++) {

            if (initial && plains[i].len == 0) {
                continue;
            }

            rc = plain(&s, plains[i].data, plains[i].len, initial);

            if (rc != plains[i].rc) {
                fail_msg("row %zu: %d", i, (int) rc);
            }

            if (rc == NGX_OK) {
                assert_int_equal(s.login.len, strlen(plains[i].login));
                assert_memory_equal(s.login.data, plains[i].login,
                                    s.login.len);
                assert_int_equal(s.password.len, strlen(plains[i].password));
                assert_memory_equal(s.password.data, plains[i].password,
                                    s.password.len);

            } else {
                assert_non_null(s.reason);
                assert_int_equal(s.login.len, 0);
                assert_int_equal(s.password.len, 0);
            }
        }
    }
}


static const struct {
    const char  *login;
    size_t       llen;
    const char  *password;
    size_t       plen;
    ngx_int_t    rc;
} logins[] = {
    { B("user"), B("pass"), NGX_OK },
    { B("u"), B("p"), NGX_OK },
    { B(" "), B(" "), NGX_OK },
    { B(""), B("pass"), REFUSED },
    { B("user"), B(""), REFUSED },
    { B("us\0er"), B("pass"), REFUSED },
    { B("user\0"), B("pass"), REFUSED },
    { B("user"), B("pa\0ss"), REFUSED },
    { B("user"), B("\0"), REFUSED },
};


static void
test_login(void **state)
{
    int              initial;
    size_t           i;
    ngx_int_t        rc;
    ngx_smtp_sasl_t  s;

    for (i = 0; i < sizeof(logins) / sizeof(logins[0]); i++) {
        for (initial = 0; initial < 2; initial++) {

            rc = login(&s, logins[i].login, logins[i].llen,
                       logins[i].password, logins[i].plen, initial);

            if (rc != logins[i].rc) {
                fail_msg("row %zu: %d", i, (int) rc);
            }

            if (rc == NGX_OK) {
                assert_int_equal(s.login.len, logins[i].llen);
                assert_memory_equal(s.login.data, logins[i].login,
                                    s.login.len);
                assert_int_equal(s.password.len, logins[i].plen);
                assert_memory_equal(s.password.data, logins[i].password,
                                    s.password.len);
            }
        }
    }
}


static const char  *bad_base64[] = {
    "A", "AA", "AAA", "AAAAA", "====", "A===", "AA=A", "=AAA", "AAAA=AAA",
    "AAAA====", "AAA=AAAA", "AA AAAA=", "AAA\n", "AA-_", "AAA.",
    "\xff\xff\xff\xff",
    "AAA\x01", " AAA", "AAA ", "*AAA", "**", "=", "==", "AHUAcA=",
};


static void
test_base64(void **state)
{
    size_t           i;
    ngx_int_t        rc;
    ngx_str_t        line;
    ngx_smtp_sasl_t  s;

    for (i = 0; i < sizeof(bad_base64) / sizeof(bad_base64[0]); i++) {

        line.len = strlen(bad_base64[i]);
        line.data = malloc(line.len);
        memcpy(line.data, bad_base64[i], line.len);

        assert_int_equal(ngx_smtp_sasl_start(&s, PLAIN, NULL), NGX_AGAIN);
        rc = ngx_smtp_sasl_step(&s, &line);

        if (rc != MALFORMED) {
            fail_msg("\"%s\": %d", bad_base64[i], (int) rc);
        }

        assert_int_equal(ngx_smtp_sasl_start(&s, LOGIN, NULL), NGX_AGAIN);
        rc = ngx_smtp_sasl_step(&s, &line);
        assert_int_equal(rc, MALFORMED);

        free(line.data);
    }

    /* the initial response: "=" is an empty one, nothing at all is not */

    line = shim_str("=");
    assert_int_equal(ngx_smtp_sasl_start(&s, PLAIN, &line), MALFORMED);
    assert_int_equal(ngx_smtp_sasl_start(&s, LOGIN, &line), NGX_AGAIN);

    line.len = 0;
    assert_int_equal(ngx_smtp_sasl_start(&s, PLAIN, &line), MALFORMED);
    assert_int_equal(ngx_smtp_sasl_start(&s, LOGIN, &line), MALFORMED);

    /* "*" is a cancel as a line, and malformed as an initial response */

    line = shim_str("*");
    assert_int_equal(ngx_smtp_sasl_start(&s, PLAIN, &line), MALFORMED);
}


static void
test_cancel(void **state)
{
    ngx_str_t        line, star;
    ngx_smtp_sasl_t  s;

    star = shim_str("*");

    assert_int_equal(ngx_smtp_sasl_start(&s, PLAIN, NULL), NGX_AGAIN);
    assert_int_equal(ngx_smtp_sasl_step(&s, &star), NGX_DECLINED);

    assert_int_equal(ngx_smtp_sasl_start(&s, LOGIN, NULL), NGX_AGAIN);
    assert_int_equal(ngx_smtp_sasl_step(&s, &star), NGX_DECLINED);

    assert_int_equal(ngx_smtp_sasl_start(&s, LOGIN, NULL), NGX_AGAIN);
    line = encode(B("user"));
    assert_int_equal(ngx_smtp_sasl_step(&s, &line), NGX_AGAIN);
    assert_int_equal(ngx_smtp_sasl_step(&s, &star), NGX_DECLINED);

    /* nothing of it is left, and it does not go on */

    assert_int_equal(s.login.len, 0);
    line = encode(B("pass"));
    assert_int_equal(ngx_smtp_sasl_step(&s, &line), MALFORMED);
}


static void
test_limits(void **state)
{
    char             *big;
    size_t            n;
    ngx_str_t         line;
    ngx_smtp_sasl_t   s;

    static const struct {
        size_t     login;
        size_t     password;
        ngx_int_t  rc;
    } sizes[] = {
        { 255, 1024, NGX_OK },
        { 256, 1024, TOO_LONG },
        { 255, 1025, TOO_LONG },
        { 256, 4, TOO_LONG },
        { 4, 1025, TOO_LONG },
        { 4000, 4, TOO_LONG },
        { 4, 9000, TOO_LONG },
    };

    big = malloc(20000);

    for (n = 0; n < sizeof(sizes) / sizeof(sizes[0]); n++) {

        memset(big, 'x', 20000);

        assert_int_equal(login(&s, big, sizes[n].login, big,
                               sizes[n].password, 0),
                         sizes[n].rc);

        big[0] = '\0';
        big[1 + sizes[n].login] = '\0';

        assert_int_equal(plain(&s, big, 2 + sizes[n].login + sizes[n].password,
                               1),
                         sizes[n].rc);
    }

    /* with the identity as long as the login allows */

    memset(big, 'x', 20000);
    big[255] = '\0';
    big[255 + 1 + 255] = '\0';
    assert_int_equal(plain(&s, big, 255 * 2 + 2 + 1024, 1), NGX_OK);
    assert_int_equal(plain(&s, big, 255 * 2 + 2 + 1025, 1), TOO_LONG);

    /* over the length of a line, whatever is in it */

    for (n = 12284; n <= 12300; n += 4) {
        memset(big, n == 12288 ? 'A' : '!', 20000);
        line.data = (u_char *) big;
        line.len = n;

        assert_int_equal(ngx_smtp_sasl_start(&s, PLAIN, NULL), NGX_AGAIN);
        assert_int_equal(ngx_smtp_sasl_step(&s, &line),
                         n < 12288 ? MALFORMED : TOO_LONG);
    }

    free(big);
}


static void
test_wipe(void **state)
{
    size_t           i;
    ngx_smtp_sasl_t  s;

    assert_int_equal(plain(&s, B("\0user\0secret"), 1), NGX_OK);
    ngx_smtp_sasl_wipe(&s);
    ngx_smtp_sasl_wipe(&s);

    for (i = 0; i < sizeof(s.buf); i++) {
        assert_int_equal(s.buf[i], 0);
    }

    assert_int_equal(s.password.len, 0);
    assert_null(s.password.data);

    /* a refused one holds nothing either */

    assert_int_equal(plain(&s, B("other\0user\0secret"), 1), REFUSED);

    for (i = 0; i < sizeof(s.buf); i++) {
        assert_int_equal(s.buf[i], 0);
    }
}


static void
test_mechanisms(void **state)
{
    ngx_str_t        name;
    ngx_smtp_sasl_t  s;

#define is(text, mask)                                                        \
    name = shim_str(text);                                                    \
    assert_int_equal(ngx_smtp_sasl_mechanism(&name), mask)

    is("PLAIN", PLAIN);
    is("plain", PLAIN);
    is("Login", LOGIN);
    is("", 0);
    is("PLAI", 0);
    is("PLAINX", 0);
    is("CRAM-MD5", 0);
    is("*", 0);

    assert_int_equal(ngx_smtp_sasl_start(&s, 0, NULL), MALFORMED);
    assert_int_equal(ngx_smtp_sasl_start(&s, PLAIN | LOGIN, NULL), MALFORMED);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_login),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_wipe),
        cmocka_unit_test(test_mechanisms),
    };

    return shim_run(tests);
}
