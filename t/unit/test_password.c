
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Stored passwords: each scheme with a right and wrong passwords, published
 * test vectors, verifiers that must not be taken, dummies, threads.
 *
 * sources: auth/ngx_smtp_password.c
 * libs: -lcrypt -lcrypto -lpthread
 */


#include "shim.h"
#include "ngx_smtp_password.h"

#include <pthread.h>
#include <openssl/err.h>


#define B53  "abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"
#define S5   "vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC"
#define S6   ".r0X7ub5wGR2v4Xz7svCIozfnlorFh19V89t8KC9Umd"                    \
             "81uGhFgsyTRNyzQDXDIm17fFcR9z3z7oBNdsyYBbtm/"
#define Y43  "E9XAySfP6N2THWdzNKesSVmhpcmhNusa8y5TMfT668."
#define KEY  "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
#define SRV  "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="


static ngx_str_t
exact(const char *s)
{
    ngx_str_t  r;

    r.len = strlen(s);
    r.data = malloc(r.len ? r.len : 1);
    memcpy(r.data, s, r.len);

    return r;
}


static ngx_int_t
verify(const char *verifier, const char *password)
{
    ngx_int_t  rc;
    ngx_str_t  v, p;

    v = exact(verifier);
    p = exact(password);

    rc = ngx_smtp_password_verify(&v, &p);

    free(v.data);
    free(p.data);

    assert_int_equal(ERR_peek_error(), 0);

    return rc;
}


static const struct {
    const char  *verifier;
    const char  *password;
    ngx_uint_t   scheme;
} good[] = {
    { "$2b$04$" B53, "correct horse", NGX_SMTP_PASSWORD_BCRYPT },
    { "$2a$04$" B53, "correct horse", NGX_SMTP_PASSWORD_BCRYPT },
    { "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2",
      "correct horse", NGX_SMTP_PASSWORD_BCRYPT },
    { "$5$saltstring$" S5, "correct horse", NGX_SMTP_PASSWORD_SHA256 },
    { "$5$rounds=1000$abc$/cRuvrIiQqQvcPwD.a/LO47x90cA9f8oqYBouKihds1",
      "correct horse", NGX_SMTP_PASSWORD_SHA256 },
    { "$6$saltstring$" S6, "correct horse", NGX_SMTP_PASSWORD_SHA512 },
    { "$6$rounds=1400$anotherlongsalts$"
      "BIJq9mRCZh1kev4gsEFy0R5hLBKgZM.fwvpxgy31e6b"
      "RJqRdXTpSE8TJFJysi3GwDPeX9bz4aZklq669D26ai0",
      "correct horse", NGX_SMTP_PASSWORD_SHA512 },
    { "$y$j75$k2XAnEHBqQ1Ct2aMXFKNa/$" Y43, "correct horse",
      NGX_SMTP_PASSWORD_YESCRYPT },
    { "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
      "Hello world!", NGX_SMTP_PASSWORD_SHA256 },

    /* keys of the example in RFC 7677 section 3, as a client has them */
    { "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" KEY ":" SRV, "pencil",
      NGX_SMTP_PASSWORD_SCRAM },
};


static void
test_good(void **state)
{
    char        wrong[64];
    size_t      i;
    ngx_str_t   v;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {

        v = exact(good[i].verifier);

        if (ngx_smtp_password_scheme(&v) != good[i].scheme) {
            fail_msg("scheme of %s", good[i].verifier);
        }

        free(v.data);

        if (verify(good[i].verifier, good[i].password) != NGX_OK) {
            fail_msg("%s refuses", good[i].verifier);
        }

        snprintf(wrong, sizeof(wrong), "%s ", good[i].password);
        assert_int_equal(verify(good[i].verifier, wrong), NGX_DECLINED);

        strcpy(wrong, good[i].password);
        wrong[strlen(wrong) - 1] = '\0';
        assert_int_equal(verify(good[i].verifier, wrong), NGX_DECLINED);

        strcpy(wrong, good[i].password);
        wrong[0] ^= 0x20;
        assert_int_equal(verify(good[i].verifier, wrong), NGX_DECLINED);

        assert_int_equal(verify(good[i].verifier, ""), NGX_DECLINED);
        assert_int_equal(verify(good[i].verifier, good[i].verifier),
                         NGX_DECLINED);
    }
}


/* each character of the hash counts */

static void
test_every_byte(void **state)
{
    char    v[256];
    size_t  i, n;

    static const char  *verifiers[] = {
        "$5$rounds=1000$abc$/cRuvrIiQqQvcPwD.a/LO47x90cA9f8oqYBouKihds1",
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" KEY ":" SRV,
    };

    n = strlen(verifiers[0]);

    for (i = n - 43; i < n - 1; i++) {
        strcpy(v, verifiers[0]);
        v[i] = (v[i] == 'A') ? 'B' : 'A';
        assert_int_equal(verify(v, "correct horse"), NGX_DECLINED);
    }

    n = strlen("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$");

    for (i = n; i < n + 42; i++) {
        strcpy(v, verifiers[1]);
        v[i] = (v[i] == 'A') ? 'B' : 'A';
        assert_int_equal(verify(v, "pencil"), NGX_DECLINED);
    }

    /* ServerKey is for clients of SCRAM: what is in it decides nothing */

    strcpy(v, verifiers[1]);
    v[n + 45] = 'A';
    assert_int_equal(verify(v, "pencil"), NGX_OK);
}


static const char  *bad[] = {
    "", "x", "*", "!", "$", "$$", "$$$", "$6", "$6$", "$6$$", "secret",

    /* schemes that are too weak, or not known */
    "abhfCpXqd4GrI",
    "_J9..rasmDiLRGIlI80c",
    "$1$abcdefgh$y6iHhJNbuC0xpbk0w9pm80",
    "$3$$cfc43211ba8dc470832267827cac1407",
    "$md5,rounds=904$YkDbkFCSKzIV3FbH$Sb9I158pxzJItmorVOmPR.",
    "$sha1$123$abc$mdVeN5YEikPeSTSo/XkStpWGe0Ft",
    "$2x$04$" B53,
    "$2$04$" B53,
    "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",

    /* bcrypt: cost, length, alphabet */
    "$2b$03$" B53, "$2b$16$" B53, "$2b$31$" B53, "$2b$4$" B53,
    "$2b$-4$" B53, "$2b$ 4$" B53, "$2b$04" B53, "$2b$04$" B53 "a",
    "$2b$04$abc",
    "$2b$04$$bcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
    "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6:",

    /* SHA: rounds, salt, hash */
    "$6$rounds=999$salt$" S6, "$6$rounds=5000001$salt$" S6,
    "$6$rounds=99999999999999999999$salt$" S6, "$6$rounds=$salt$" S6,
    "$6$rounds=-5000$salt$" S6, "$6$rounds=05000$salt$" S6,
    "$6$rounds=5000x$salt$" S6, "$6$rounds=5000" S6,
    "$6$saltstringsaltstr$" S6, "$6$sa:t$" S6, "$6$salt$" S5, "$5$salt$" S6,
    "$6$salt$" S6 "x", "$6$salt", "$6$salt$", "$6$salt$x$" S6,

    /* yescrypt: memory, flavor */
    "$y$jD5$k2XAnEHBqQ1Ct2aMXFKNa/$" Y43, "$y$jFT$k2XAnEHBqQ1Ct2aMXFKNa/$" Y43,
    "$y$jzz$k2XAnEHBqQ1Ct2aMXFKNa/$" Y43, "$y$j9U$k2XAnEHBqQ1Ct2aMXFKNa/$" Y43,
    "$y$k75$k2XAnEHBqQ1Ct2aMXFKNa/$" Y43,
    "$y$j75x$k2XAnEHBqQ1Ct2aMXFKNa/$" Y43,
    "$y$j7$k2XAnEHBqQ1Ct2aMXFKNa/$" Y43, "$y$j75$$" Y43, "$y$j75$" Y43,
    "$y$j75$k2XAnEHBqQ1Ct2aMXFKNa/$", "$y$$k2XAnEHBqQ1Ct2aMXFKNa/$" Y43,

    /* SCRAM: iterations, salt, keys */
    "SCRAM-SHA-256$", "SCRAM-SHA-256$4096", "SCRAM-SHA-256$4096:",
    "SCRAM-SHA-256$4096:YWJj$", "SCRAM-SHA-256$4096:YWJj$" KEY,
    "SCRAM-SHA-256$4096:YWJj$" KEY ":", "SCRAM-SHA-256$0:YWJj$" KEY ":" SRV,
    "SCRAM-SHA-256$-1:YWJj$" KEY ":" SRV, "SCRAM-SHA-256$:YWJj$" KEY ":" SRV,
    "SCRAM-SHA-256$1000001:YWJj$" KEY ":" SRV,
    "SCRAM-SHA-256$99999999999999999999:YWJj$" KEY ":" SRV,
    "SCRAM-SHA-256$4096:$" KEY ":" SRV, "SCRAM-SHA-256$4096:YWJ$" KEY ":" SRV,
    "SCRAM-SHA-256$4096:=WJj$" KEY ":" SRV,
    "SCRAM-SHA-256$4096:YW=j$" KEY ":" SRV,
    "SCRAM-SHA-256$4096:====$" KEY ":" SRV,
    "SCRAM-SHA-256$4096:YWJj$" KEY "x:" SRV,
    "SCRAM-SHA-256$4096:YWJj$YWJj:" SRV,
    "SCRAM-SHA-256$4096:YWJj$" KEY ":YWJj",
    "SCRAM-SHA-256$4096:YWJj$" KEY ":" SRV "YWJj",
    "SCRAM-SHA-256$4096:YWJj$" SRV KEY ":" SRV,
    "SCRAM-SHA-1$4096:YWJj$" KEY ":" SRV,
    "scram-sha-256$4096:YWJj$" KEY ":" SRV,
};


static void
test_bad(void **state)
{
    char       *big;
    size_t      i, n;
    ngx_str_t   v;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {

        v = exact(bad[i]);

        if (ngx_smtp_password_scheme(&v) != NGX_SMTP_PASSWORD_NONE) {
            fail_msg("\"%s\" is taken", bad[i]);
        }

        free(v.data);

        assert_int_equal(verify(bad[i], "correct horse"), NGX_ERROR);
    }

    /* every beginning of a good one */

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        for (n = 0; n < strlen(good[i].verifier); n++) {

            v.data = malloc(n ? n : 1);
            memcpy(v.data, good[i].verifier, n);
            v.len = n;

            assert_int_equal(ngx_smtp_password_scheme(&v),
                             NGX_SMTP_PASSWORD_NONE);
            free(v.data);
        }
    }

    /* a salt of 64 bytes is the longest, and nothing is over 512 */

    big = malloc(2000);
    strcpy(big, "SCRAM-SHA-256$1:");
    memset(big + 16, 'A', 84);
    strcpy(big + 16 + 84, "AA==$" KEY ":" SRV);
    v = shim_str(big);
    assert_int_equal(ngx_smtp_password_scheme(&v), NGX_SMTP_PASSWORD_SCRAM);

    strcpy(big + 16 + 84, "AAA=$" KEY ":" SRV);
    v = shim_str(big);
    assert_int_equal(ngx_smtp_password_scheme(&v), NGX_SMTP_PASSWORD_NONE);

    memset(big, 'A', 2000);
    memcpy(big, "SCRAM-SHA-256$1:", 16);
    v.data = (u_char *) big;
    v.len = 2000;
    assert_int_equal(ngx_smtp_password_scheme(&v), NGX_SMTP_PASSWORD_NONE);

    free(big);
}


/* crypt(3) takes at most 511 bytes; a longer password matches nothing */

static void
test_long_password(void **state)
{
    char  *p;

    static const char  *v =
        "$6$s$58Nxxypo2v2JtKEtrhiJbWFo57qtaF90P1n5eqFz1prrru3ey5cON62g61dZJYe"
        "DHFoSfipObzSdnspeSpcb0/";

    p = calloc(1, 2000);

    memset(p, 'x', 511);
    assert_int_equal(verify(v, p), NGX_OK);

    memset(p, 'x', 512);
    assert_int_equal(verify(v, p), NGX_DECLINED);

    memset(p, 'x', 1024);
    assert_int_equal(verify(v, p), NGX_DECLINED);

    /* SCRAM has no such limit */

    memset(p, 0, 2000);
    memset(p, 'x', 600);
    assert_int_equal(verify("SCRAM-SHA-256$1:YWJj$"
                            "718JpKU9hctTk07VpiuekcbqmRcl+HfMuW2aVAPrV50=:"
                            "bYXQBDM/1OlaiQr9WEF2PBV06CFGxBCa1NGG/j3NU0Q=",
                            p),
                     NGX_OK);

    free(p);
}


static void
test_dummy(void **state)
{
    size_t     i;
    u_char    *buf;
    ngx_str_t  v, dummy, password;

    buf = malloc(NGX_SMTP_PASSWORD_MAX);

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {

        v = exact(good[i].verifier);
        password = shim_str(good[i].password);

        ngx_smtp_password_dummy(&v, buf, &dummy);

        assert_ptr_equal(dummy.data, buf);
        assert_int_equal(dummy.len, v.len);
        assert_int_equal(ngx_smtp_password_scheme(&dummy), good[i].scheme);
        assert_int_equal(ngx_smtp_password_same_cost(&dummy, &v), 1);

        /* computed, not refused: that is what makes it take its time */

        assert_int_equal(ngx_smtp_password_verify(&dummy, &password),
                         NGX_DECLINED);

        /* nothing of the account is in it */

        assert_null(memmem(dummy.data, dummy.len, v.data + v.len - 20, 19));

        free(v.data);
    }

    ngx_smtp_password_dummy(NULL, buf, &dummy);
    assert_int_equal(ngx_smtp_password_scheme(&dummy),
                     NGX_SMTP_PASSWORD_SHA512);
    password = shim_str("x");
    assert_int_equal(ngx_smtp_password_verify(&dummy, &password),
                     NGX_DECLINED);

    v = shim_str("nonsense");
    ngx_smtp_password_dummy(&v, buf, &dummy);
    assert_int_equal(ngx_smtp_password_scheme(&dummy),
                     NGX_SMTP_PASSWORD_SHA512);

    free(buf);
}


static void
test_same_cost(void **state)
{
    ngx_str_t  a, b;

#define same(x, y, is)                                                        \
    a = shim_str(x);                                                          \
    b = shim_str(y);                                                          \
    assert_int_equal(ngx_smtp_password_same_cost(&a, &b), is)

    same("$2b$04$" B53, "$2y$04$" B53, 1);
    same("$2b$04$" B53, "$2b$05$" B53, 0);
    same("$6$salt$" S6, "$6$rounds=5000$saltsalt$" S6, 1);
    same("$6$salt$" S6, "$6$rounds=5001$salt$" S6, 0);
    same("$6$salt$" S6, "$5$salt$" S5, 0);
    same("$y$j75$k2XAnEHBqQ1Ct2aMXFKNa/$" Y43,
         "$y$j7T$k2XAnEHBqQ1Ct2aMXFKNa/$" Y43, 0);
    same("SCRAM-SHA-256$1:YWJj$" KEY ":" SRV,
         "SCRAM-SHA-256$1:YWJjYWJj$" KEY ":" SRV, 1);
    same("SCRAM-SHA-256$1:YWJj$" KEY ":" SRV,
         "SCRAM-SHA-256$2:YWJj$" KEY ":" SRV, 0);
    same("nonsense", "nonsense", 0);
}


static void *
thread(void *arg)
{
    size_t      i, n;
    ngx_str_t   v, p;
    uintptr_t   failed;

    failed = 0;

    for (n = 0; n < 4; n++) {
        for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {

            v = shim_str(good[i].verifier);
            p = shim_str(good[i].password);

            if (ngx_smtp_password_verify(&v, &p) != NGX_OK) {
                failed++;
            }

            p = shim_str("wrong");

            if (ngx_smtp_password_verify(&v, &p) != NGX_DECLINED) {
                failed++;
            }
        }
    }

    return (void *) failed;
}


static void
test_threads(void **state)
{
    int        i;
    void      *failed;
    pthread_t  t[4];

    for (i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, thread, NULL), 0);
    }

    for (i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(t[i], &failed), 0);
        assert_null(failed);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_long_password),
        cmocka_unit_test(test_dummy),
        cmocka_unit_test(test_same_cost),
        cmocka_unit_test(test_threads),
    };

    return shim_run(tests);
}
