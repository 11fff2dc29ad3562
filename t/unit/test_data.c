
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Data framing.  All strings of up to eight octets of "a", ".", CR and LF go
 * through decoder and encoder, whole and in pieces, and are compared with a
 * model that has the whole string at hand; shorter ones also amid long text.
 * Tables name the known disguises of an end of data.
 *
 * sources: t/unit/data_model.c
 */


#include "data_model.h"

#include <string.h>


#define DEPTH  8

/* more than some blocks of octets that the coders look at together */
#define LONG   70


typedef struct {
    const char   *in;
    const char   *reject;    /* the message; NULL: no end of data in it */
    const char   *normal;
    ngx_uint_t    seen;
    size_t        rest;      /* octets behind the end */
} test_row_t;


typedef void (*test_string_pt)(u_char *in, size_t len);


static void test_table(void **state);
static void test_seen(void **state);
static void test_discard(void **state);
static void test_decode_all(void **state);
static void test_chunk_all(void **state);
static void test_encode_all(void **state);
static void test_long_all(void **state);
static void test_long_seen(void **state);
static void test_chunk_table(void **state);
static void test_end_room(void **state);
static void test_strings(test_string_pt check, size_t depth);
static void test_decode_one(u_char *in, size_t len);
static void test_chunk_one(u_char *in, size_t len);
static void test_encode_one(u_char *in, size_t len);
static void test_long_one(u_char *in, size_t len);


/* ATTACKS: what an end of data might look like to someone else */

static test_row_t  test_rows[] = {
    { ".\r\n", "", "", 0, 0 },
    { "a\r\n.\r\n", "a\r\n", "a\r\n", 0, 0 },
    { "a\r\n.\r\nQUIT\r\n", "a\r\n", "a\r\n", 0, 6 },
    { "\r\n.\r\n", "\r\n", "\r\n", 0, 0 },
    { "..\r\n.\r\n", ".\r\n", ".\r\n", 0, 0 },
    { ".a\r\n.\r\n", "a\r\n", "a\r\n", 0, 0 },
    { "...\r\n.\r\n", "..\r\n", "..\r\n", 0, 0 },
    { "a.\r\n.\r\n", "a.\r\n", "a.\r\n", 0, 0 },
    { "a\n.\nb\r\n.\r\n", "a\n.\nb\r\n", "a\r\n.\r\nb\r\n", LFS, 0 },
    { "a\n.\r\nb\r\n.\r\n", "a\n.\r\nb\r\n", "a\r\n.\r\nb\r\n", LFS, 0 },
    { "a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n", "a\r\n\r\nb\r\n", LFS, 0 },
    { "a\r.\rb\r\n.\r\n", "a\r.\rb\r\n", "a\r\n.\r\nb\r\n", CRS, 0 },
    { "a\r\n.\rb\r\n.\r\n", "a\r\n\rb\r\n", "a\r\n\r\nb\r\n", CRS, 0 },
    { "a\r.\r\nb\r\n.\r\n", "a\r.\r\nb\r\n", "a\r\n.\r\nb\r\n", CRS, 0 },
    { "a\r\r\n.\r\r\nb\r\n.\r\n", "a\r\r\n\r\r\nb\r\n",
      "a\r\n\r\n\r\n\r\nb\r\n", CRS, 0 },
    { "a\r\n.\r\r\n.\r\n", "a\r\n\r\r\n", "a\r\n\r\n\r\n", CRS, 0 },
    { "a\n\n.\n\n.\r\nb\r\n.\r\n", "a\n\n.\n\n.\r\nb\r\n",
      "a\r\n\r\n.\r\n\r\n.\r\nb\r\n", LFS, 0 },
    { "a\n..b\r\n.\r\n", "a\n..b\r\n", "a\r\n..b\r\n", LFS, 0 },
    { "a\r\n.", NULL, NULL, 0, 0 },
    { "a\r\n.\r", NULL, NULL, 0, 0 },
    { "a\n.\n", NULL, NULL, LFS, 0 },
    { "a\n.\r\n", NULL, NULL, LFS, 0 },
    { "a\r.\r", NULL, NULL, CRS, 0 },
    { "a\r\n.\n", NULL, NULL, LFS, 0 },
    { "\n.\r\n", NULL, NULL, LFS, 0 },
    { "..\r\n", NULL, NULL, 0, 0 },
    { "", NULL, NULL, 0, 0 }
};


static void
test_table(void **state)
{
    size_t         len, step, room;
    test_row_t    *t;
    test_out_t     out;
    ngx_uint_t     newline;
    const char    *expected;

    for (t = test_rows;
         t < test_rows + sizeof(test_rows) / sizeof(test_rows[0]);
         t++)
    {
        len = strlen(t->in);

        for (newline = R; newline <= N; newline++) {
            expected = (newline == R) ? t->reject : t->normal;

            for (step = 0; step <= len; step++) {
                for (room = 4; room < 8; room++) {
                    test_decode((u_char *) t->in, len, newline, step, room,
                                &out);

                    if (expected == NULL) {
                        assert_int_equal(out.rc, NGX_AGAIN);
                        assert_int_equal(out.used, len);

                    } else {
                        assert_int_equal(out.rc, NGX_DONE);
                        assert_int_equal(out.used, len - t->rest);

                        if (out.len != strlen(expected)
                            || memcmp(out.data, expected, out.len) != 0)
                        {
                            fail_msg("\"%s\", step %zu: \"%.*s\"", t->in, step,
                                     (int) out.len, out.data);
                        }

                        assert_int_equal(out.seen, t->seen);
                    }
                }
            }
        }
    }
}


static void
test_seen(void **state)
{
    size_t      step;
    test_out_t  out;

    static const u_char  in[] = "0123456789\0abcdefghijk\xe9\r\n.\r\n\0\xff";

    for (step = 0; step < sizeof(in); step++) {

        /* a NUL is content; what is behind the end was not seen */

        test_decode(in, sizeof(in) - 1, R, step, 100, &out);
        assert_int_equal(out.rc, NGX_DONE);
        assert_int_equal(out.len, 25);
        assert_memory_equal(out.data, in, 25);
        assert_int_equal(out.seen, NGX_SMTP_DATA_NUL|NGX_SMTP_DATA_8BIT);

        test_decode(in, 10, R, step, 100, &out);
        assert_int_equal(out.seen, 0);

        test_decode(in, 11, R, step, 100, &out);
        assert_int_equal(out.seen, NGX_SMTP_DATA_NUL);

        test_decode((u_char *) "abc\r\n.\r\n\0\xff", 10, R, step, 100, &out);
        assert_int_equal(out.seen, 0);
    }
}


/* a refused message is read to its end without a place to put it */

static void
test_discard(void **state)
{
    u_char                    in[] = "..a\r\nb\r\n.\r\nX", *pos;
    ngx_smtp_data_decoder_t   d;

    ngx_smtp_data_decoder_init(&d, R);
    pos = in;

    assert_int_equal(ngx_smtp_data_decode(&d, &pos, in + sizeof(in) - 1, NULL,
                                          NULL), NGX_DONE);
    assert_int_equal(*pos, 'X');
    assert_int_equal(d.size, 7);
}


static void
test_decode_all(void **state)
{
    test_strings(test_decode_one, DEPTH);
}


static void
test_chunk_all(void **state)
{
    test_strings(test_chunk_one, DEPTH - 1);
}


static void
test_encode_all(void **state)
{
    test_strings(test_encode_one, DEPTH);
}


static void
test_long_all(void **state)
{
    test_strings(test_long_one, DEPTH / 2);
}


/* what is in a block of octets, and where, is seen; and nothing else is */

static void
test_long_seen(void **state)
{
    size_t      i;
    u_char      in[2 * LONG + 8];
    test_out_t  out;

    memset(in, 'a', sizeof(in));
    memcpy(in + 2 * LONG, "\r\n.\r\n\0\xff\n", 8);

    test_decode(in, sizeof(in), R, 0, 4 * LONG, &out);
    assert_int_equal(out.rc, NGX_DONE);
    assert_int_equal(out.seen, 0);

    for (i = 0; i < 2 * LONG; i++) {
        in[i] = 0;
        test_decode(in, sizeof(in), R, 0, 4 * LONG, &out);
        assert_int_equal(out.seen, NGX_SMTP_DATA_NUL);

        in[i] = 0x80;
        test_decode(in, sizeof(in), R, 0, 4 * LONG, &out);
        assert_int_equal(out.seen, NGX_SMTP_DATA_8BIT);

        in[i] = '\n';
        test_decode(in, sizeof(in), R, 0, 4 * LONG, &out);
        assert_int_equal(out.seen, LFS);

        in[i] = '\r';
        test_decode(in, sizeof(in), R, 0, 4 * LONG, &out);
        assert_int_equal(out.seen, CRS);

        in[i] = 'a';
    }
}


static void
test_strings(test_string_pt check, size_t depth)
{
    u_char      in[DEPTH];
    size_t      len, i;
    ngx_uint_t  n, k, count;

    static const u_char  alphabet[] = { 'a', '.', CR, LF };

    for (len = 0, count = 1; len <= depth; len++, count *= 4) {
        for (n = 0; n < count; n++) {
            for (k = n, i = 0; i < len; i++, k /= 4) {
                in[i] = alphabet[k % 4];
            }

            check(in, len);
        }
    }
}


static void
test_decode_one(u_char *in, size_t len)
{
    test_out_t  model, out;
    ngx_uint_t  newline;

    for (newline = R; newline <= N; newline++) {
        test_model_decode(in, len, newline, 1, &model);

        test_decode(in, len, newline, 0, 100, &out);
        test_same(in, len, &model, &out);

        test_decode(in, len, newline, 1, 4, &out);
        test_same(in, len, &model, &out);

        test_decode(in, len, newline, 3, 5, &out);
        test_same(in, len, &model, &out);
    }
}


static void
test_chunk_one(u_char *in, size_t len)
{
    size_t      first;
    test_out_t  model, out;
    ngx_uint_t  newline;

    for (newline = R; newline <= N; newline++) {
        test_model_decode(in, len, newline, 0, &model);

        for (first = 0; first <= len; first++) {
            test_chunks(in, len, first, newline, 0, 100, &out);
            test_same(in, len, &model, &out);

            test_chunks(in, len, first, newline, 1, 4, &out);
            test_same(in, len, &model, &out);
        }
    }
}


static void
test_encode_one(u_char *in, size_t len)
{
    test_out_t  model, out, back;

    test_model_encode(in, len, &model);

    test_encode(in, len, 0, 100, &out);
    test_same(in, len, &model, &out);

    test_encode(in, len, 1, 5, &out);
    test_same(in, len, &model, &out);

    test_encode(in, len, 3, 6, &out);
    test_same(in, len, &model, &out);

    test_encode_clean(in, len, 0, &out);
    test_same(in, len, &model, &out);

    test_encode_clean(in, len, 1, &out);
    test_same(in, len, &model, &out);

    test_encode_clean(in, len, 3, &out);
    test_same(in, len, &model, &out);

    /* what leaves is read back by anybody, with one end, at its end */

    test_decode(out.data, out.len, R, 0, 100, &back);
    assert_int_equal(back.rc, NGX_DONE);
    assert_int_equal(back.used, out.len);
    assert_int_equal(back.seen, 0);

    /* and is the message, if that was well-formed */

    test_model_decode(in, len, N, 0, &model);
    model.seen = 0;
    model.used = back.used;
    test_same(in, len, &model, &back);
}


/* amid octets that are looked at in blocks */

static void
test_long_one(u_char *in, size_t len)
{
    size_t      n;
    u_char      framed[3 * LONG];
    test_out_t  model, out;
    ngx_uint_t  newline;

    for (n = LONG - 12; n < LONG + 4; n++) {
        memset(framed, 'x', sizeof(framed));
        memcpy(framed + n, in, len);

        for (newline = R; newline <= N; newline++) {
            test_model_decode(framed, n + len + LONG, newline, 1, &model);
            test_decode(framed, n + len + LONG, newline, 0, 4 * LONG, &out);
            test_same(framed, n + len + LONG, &model, &out);

            test_decode(framed, n + len + LONG, newline, LONG, LONG - 3, &out);
            test_same(framed, n + len + LONG, &model, &out);

            test_model_decode(framed, n + len + LONG, newline, 0, &model);
            test_chunks(framed, n + len + LONG, 3, newline, 0, 4 * LONG, &out);
            test_same(framed, n + len + LONG, &model, &out);
        }

        test_model_encode(framed, n + len + LONG, &model);
        test_encode_clean(framed, n + len + LONG, 0, &out);
        test_same(framed, n + len + LONG, &model, &out);
    }
}


static void
test_chunk_table(void **state)
{
    off_t                     left;
    u_char                    in[] = "abcdef", buf[64], *pos, *out;
    ngx_uint_t                i;
    test_out_t                o;
    ngx_smtp_data_decoder_t   d;

    static const struct {
        const char   *in;
        const char   *reject;
        const char   *normal;
        ngx_uint_t    seen;
    } table[] = {
        { "", "", "", 0 },
        { "a", "a\r\n", "a\r\n", 0 },
        { "a\r\n", "a\r\n", "a\r\n", 0 },
        { "a\n", "a\n\r\n", "a\r\n", LFS },
        { "a\r", "a\r\r\n", "a\r\n", CRS },
        { ".\r\n", ".\r\n", ".\r\n", 0 },
        { "a\r\n.\r\nb\r\n", "a\r\n.\r\nb\r\n", "a\r\n.\r\nb\r\n", 0 },
        { "\r\n.\r", "\r\n.\r\r\n", "\r\n.\r\n", CRS }
    };

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        test_chunks((u_char *) table[i].in, strlen(table[i].in), 0, R, 0, 100,
                    &o);
        assert_int_equal(o.len, strlen(table[i].reject));
        assert_memory_equal(o.data, table[i].reject, o.len);
        assert_int_equal(o.seen, table[i].seen);

        test_chunks((u_char *) table[i].in, strlen(table[i].in), 0, N, 0, 100,
                    &o);
        assert_int_equal(o.len, strlen(table[i].normal));
        assert_memory_equal(o.data, table[i].normal, o.len);
        assert_int_equal(o.seen, table[i].seen);
    }

    /* a chunk takes its octets and no more, sizes beyond 32 and 63 bits */

    ngx_smtp_data_decoder_init(&d, R);
    ngx_smtp_chunk_begin(&d, 3);
    pos = in;
    out = buf;

    assert_int_equal(ngx_smtp_chunk_decode(&d, &pos, in + 6, &out,
                                           buf + sizeof(buf)), NGX_DONE);
    assert_ptr_equal(pos, in + 3);
    assert_int_equal(out - buf, 3);

    ngx_smtp_chunk_begin(&d, 0);
    assert_int_equal(ngx_smtp_chunk_decode(&d, &pos, in + 6, &out,
                                           buf + sizeof(buf)), NGX_DONE);
    assert_ptr_equal(pos, in + 3);

    ngx_smtp_chunk_begin(&d, NGX_MAX_OFF_T_VALUE);
    assert_int_equal(ngx_smtp_chunk_decode(&d, &pos, in + 6, &out,
                                           buf + sizeof(buf)), NGX_AGAIN);
    assert_ptr_equal(pos, in + 6);

    left = NGX_MAX_OFF_T_VALUE;
    assert_true(d.left == left - 3);
}


static void
test_end_room(void **state)
{
    u_char                    buf[8], *out;
    size_t                    room;
    ngx_smtp_data_encoder_t   e;

    for (room = 0; room < 5; room++) {
        ngx_smtp_data_encoder_init(&e);
        out = buf;

        assert_int_equal(ngx_smtp_data_encode_end(&e, &out, buf + room),
                         NGX_SMTP_DATA_FULL);
        assert_ptr_equal(out, buf);
    }

    assert_int_equal(ngx_smtp_data_encode_end(&e, &out, buf + room), NGX_DONE);
    assert_int_equal(out - buf, 3);
    assert_memory_equal(buf, ".\r\n", 3);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_seen),
        cmocka_unit_test(test_discard),
        cmocka_unit_test(test_decode_all),
        cmocka_unit_test(test_chunk_all),
        cmocka_unit_test(test_encode_all),
        cmocka_unit_test(test_long_all),
        cmocka_unit_test(test_long_seen),
        cmocka_unit_test(test_chunk_table),
        cmocka_unit_test(test_end_room)
    };

    return shim_run(tests);
}
