
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The Redis protocol: commands as bytes, replies whole, split at each byte,
 * one after another, truncated, over each limit, and nonsense.
 *
 * sources: net/ngx_smtp_redis_codec.c
 * libs: -lhiredis
 */


#include "shim.h"
#include "ngx_smtp_redis_codec.h"


#define B(s)  s, sizeof(s) - 1


/* a reply as text: what is compared */

static void
dump(ngx_smtp_redis_reply_t *r, char *out, size_t size)
{
    size_t      n;
    ngx_uint_t  i;

    n = strlen(out);
    out += n;
    size -= n;

    switch (r->type) {

    case NGX_SMTP_REDIS_STRING:
    case NGX_SMTP_REDIS_STATUS:
    case NGX_SMTP_REDIS_FAILURE:
        snprintf(out, size, "%c%zu:%.*s", "$+-"[r->type], r->str.len,
                 (int) r->str.len, (char *) r->str.data);
        break;

    case NGX_SMTP_REDIS_INTEGER:
        snprintf(out, size, ":%lld", (long long) r->integer);
        break;

    case NGX_SMTP_REDIS_NIL:
        snprintf(out, size, "nil");
        break;

    case NGX_SMTP_REDIS_ARRAY:
        strcat(out, "[");

        for (i = 0; i < r->nelts; i++) {
            if (i) {
                strcat(out, ",");
            }

            assert_non_null(r->elts[i]);
            dump(r->elts[i], out, size);
        }

        strcat(out, "]");
        break;
    }
}


typedef struct {
    ngx_smtp_redis_reader_t   rd;
    char                      out[8192];
    ngx_int_t                 rc;
} stream_t;


static ngx_int_t
feed(void *ctx, u_char *data, size_t len)
{
    u_char                  *pos;
    stream_t                *s;
    ngx_int_t                rc;
    ngx_smtp_redis_reply_t  *reply;

    s = ctx;
    pos = data;

    for ( ;; ) {
        rc = ngx_smtp_redis_reader_next(&s->rd, &pos, data + len, &reply);

        if (rc == NGX_OK) {
            strcat(s->out, s->out[0] ? " " : "");
            dump(reply, s->out, sizeof(s->out));
            continue;
        }

        if (rc == NGX_AGAIN) {
            assert_ptr_equal(pos, data + len);
        }

        if (rc == NGX_ERROR) {
            assert_non_null(s->rd.reason);
        }

        return rc;
    }
}


/* what comes out of a stream, cut into pieces of step bytes */

static ngx_int_t
stream(const char *data, size_t len, size_t step, size_t max, char *out)
{
    stream_t   *s;
    ngx_int_t   rc;

    s = calloc(1, sizeof(stream_t));
    assert_int_equal(ngx_smtp_redis_reader_init(&s->rd, max, &shim_log),
                     NGX_OK);

    rc = shim_feed(feed, s, data, len, step);

    strcpy(out, s->out);
    ngx_smtp_redis_reader_cleanup(&s->rd);
    ngx_smtp_redis_reader_cleanup(&s->rd);
    free(s);

    return rc;
}


static void
test_format(void **state)
{
    ngx_str_t    argv[3], out;
    ngx_pool_t  *pool;

    pool = ngx_create_pool(1024, &shim_log);

    argv[0] = shim_str("HGETALL");
    argv[1].data = (u_char *) "a\0\r\n*$ b";
    argv[1].len = 8;
    argv[2] = shim_str("");

    assert_int_equal(ngx_smtp_redis_format(pool, argv, 3, &out), NGX_OK);
    assert_str_equal(&out, "*3\r\n$7\r\nHGETALL\r\n$8\r\na\0\r\n*$ b\r\n"
                           "$0\r\n\r\n");

    argv[0] = shim_str("PING");
    assert_int_equal(ngx_smtp_redis_format(pool, argv, 1, &out), NGX_OK);
    assert_str_equal(&out, "*1\r\n$4\r\nPING\r\n");

    ngx_destroy_pool(pool);
}


static const struct {
    const char  *data;
    size_t       len;
    const char  *out;
} good[] = {
    { B("+OK\r\n"), "+2:OK" },
    { B("-ERR no\r\n"), "-6:ERR no" },
    { B(":0\r\n"), ":0" },
    { B(":-42\r\n"), ":-42" },
    { B("$0\r\n\r\n"), "$0:" },
    { B("$3\r\nabc\r\n"), "$3:abc" },
    { B("$4\r\n\r\n\r\n\r\n"), "$4:\r\n\r\n" },
    { B("$-1\r\n"), "nil" },
    { B("*-1\r\n"), "nil" },
    { B("*0\r\n"), "[]" },
    { B("*3\r\n$1\r\na\r\n$-1\r\n$2\r\nbc\r\n"), "[$1:a,nil,$2:bc]" },
    { B("*2\r\n*1\r\n:1\r\n*2\r\n+x\r\n-y\r\n"), "[[:1],[+1:x,-1:y]]" },
    { B("*1\r\n*0\r\n"), "[[]]" },
    { B("+OK\r\n+OK\r\n*1\r\n$1\r\nx\r\n-WRONGTYPE Operation\r\n:7\r\n"),
      "+2:OK +2:OK [$1:x] -19:WRONGTYPE Operation :7" },
    { B(""), "" },
};


static void
test_good(void **state)
{
    char       out[8192];
    size_t     i, step;
    ngx_int_t  rc;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        for (step = 0; step <= good[i].len; step++) {

            rc = stream(good[i].data, good[i].len, step, 65536, out);

            if (good[i].len) {
                assert_int_equal(rc, NGX_AGAIN);
            }

            assert_string_equal(out, good[i].out);
        }
    }
}


/* all of a reply is needed before it is one */

static void
test_truncated(void **state)
{
    char    out[8192];
    size_t  n;

    static const char  reply[] = "*2\r\n$3\r\nabc\r\n*2\r\n:1\r\n$-1\r\n";

    for (n = 1; n < sizeof(reply) - 1; n++) {
        assert_int_equal(stream(reply, n, 0, 65536, out), NGX_AGAIN);
        assert_string_equal(out, "");
        assert_int_equal(stream(reply, n, 1, 65536, out), NGX_AGAIN);
        assert_string_equal(out, "");
    }
}


static const struct {
    const char  *data;
    size_t       len;
    const char  *out;           /* what came before it */
} bad[] = {
    { B("HTTP/1.1 400 Bad Request\r\n"), "" },
    { B("220 mail.example.com ESMTP\r\n"), "" },
    { B("\r\n"), "" },
    { B("\0"), "" },
    { B("\x16\x03\x01\x02"), "" },
    { B("+OK\r\nxyz"), "+2:OK" },
    { B(":abc\r\n"), "" },
    { B("$abc\r\n"), "" },
    { B("$-2\r\n"), "" },
    { B("*abc\r\n"), "" },
    { B("*-2\r\n"), "" },
    { B("*1\r\n?"), "" },
    { B("*1\r\n$-7\r\n"), "" },
    { B("*257\r\n"), "" },
    { B("*2147483647\r\n"), "" },
    { B("*99999999999999999999\r\n"), "" },
    { B("*1\r\n*1000\r\n"), "" },
    { B("$99999999999999999999\r\n"), "" },

    /* deeper than anything that was asked for */
    { B("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"
        "*1\r\n:1\r\n"), "" },

    /* RESP3 */
    { B(",1.5\r\n"), "" },
    { B("#t\r\n"), "" },
};


static void
test_bad(void **state)
{
    char       out[8192];
    size_t     i, step;
    ngx_int_t  rc;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (step = 0; step <= bad[i].len; step++) {

            rc = stream(bad[i].data, bad[i].len, step, 65536, out);

            if (rc != NGX_ERROR) {
                fail_msg("row %zu, step %zu: %d", i, step, (int) rc);
            }

            assert_string_equal(out, bad[i].out);
        }
    }
}


/* after an error nothing is read any more */

static void
test_dead(void **state)
{
    u_char                   *pos, ok[] = "+OK\r\n", garbage[] = "garbage";
    ngx_smtp_redis_reader_t   rd;
    ngx_smtp_redis_reply_t   *reply;

    assert_int_equal(ngx_smtp_redis_reader_init(&rd, 100, &shim_log), NGX_OK);

    pos = garbage;
    assert_int_equal(ngx_smtp_redis_reader_next(&rd, &pos, garbage + 7,
                                                &reply),
                     NGX_ERROR);
    pos = ok;
    assert_int_equal(ngx_smtp_redis_reader_next(&rd, &pos, ok + 5, &reply),
                     NGX_ERROR);

    ngx_smtp_redis_reader_cleanup(&rd);
}


/* one reply may be as long as the limit, any number of them may follow */

static void
test_limit(void **state)
{
    char    *data, *p, out[8192];
    size_t   i, step;

    /* "$91\r\n" + 91 + "\r\n" = 98 bytes */

    data = malloc(100 * 20 + 1);
    p = data;

    for (i = 0; i < 20; i++) {
        p += sprintf(p, "$91\r\n");
        memset(p, 'x', 91);
        p += 91;
        p += sprintf(p, "\r\n");
    }

    for (step = 0; step < 200; step += 33) {
        assert_int_equal(stream(data, p - data, step, 98, out), NGX_AGAIN);
        assert_int_equal(strlen(out), 20 * (91 + 4) + 19);

        assert_int_equal(stream(data, p - data, step, 97, out), NGX_ERROR);
        assert_string_equal(out, "");
    }

    /* what does not end: in a line, in a string that says it is huge */

    memset(data, 'x', 2000);
    data[0] = '+';
    assert_int_equal(stream(data, 2000, 0, 1000, out), NGX_ERROR);
    assert_int_equal(stream(data, 2000, 1, 1000, out), NGX_ERROR);
    assert_int_equal(stream(data, 1000, 1, 1000, out), NGX_AGAIN);

    memcpy(data, "$2147483647\r\n", 13);
    assert_int_equal(stream(data, 2000, 7, 1000, out), NGX_ERROR);
    assert_int_equal(stream(data, 1000, 7, 1000, out), NGX_AGAIN);

    free(data);
}


static void
test_no_memory(void **state)
{
    long        n;
    stream_t   *s;
    ngx_int_t   rc;

    static const char  reply[] = "*3\r\n$3\r\nabc\r\n:1\r\n$-1\r\n";

    for (n = 0; n < 20; n++) {
        s = calloc(1, sizeof(stream_t));
        assert_int_equal(ngx_smtp_redis_reader_init(&s->rd, 1000, &shim_log),
                         NGX_OK);

        shim_alloc_fail_after(n);
        rc = feed(s, (u_char *) reply, sizeof(reply) - 1);
        shim_alloc_fail_after(-1);

        if (rc == NGX_AGAIN) {
            assert_string_equal(s->out, "[$3:abc,:1,nil]");
        } else {
            assert_int_equal(rc, NGX_ERROR);
            assert_string_equal(s->rd.reason, "no memory");
        }

        ngx_smtp_redis_reader_cleanup(&s->rd);
        free(s);

        if (rc == NGX_AGAIN) {
            break;
        }
    }

    assert_in_range(n, 3, 19);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_dead),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_no_memory),
    };

    return shim_run(tests);
}
