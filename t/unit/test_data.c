
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Data framing.  All strings of up to eight octets of "a", ".", CR and LF go
 * through decoder and encoder, whole and in pieces, and are compared with a
 * model that has the whole string at hand; shorter ones also amid long text.
 * Tables name the known disguises of an end of data, and the mails of
 * ../shared/testdata/mime make the round trip.
 *
 * sources: protocol/ngx_smtp_data.c t/unit/json.c
 */


#include "shim.h"

#include <string.h>

#include "json.h"
#include "ngx_smtp_data.h"


#define R      NGX_SMTP_NEWLINE_REJECT
#define N      NGX_SMTP_NEWLINE_NORMALIZE

#define CRS    NGX_SMTP_DATA_BARE_CR
#define LFS    NGX_SMTP_DATA_BARE_LF

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


typedef struct {
    u_char        data[1024];
    size_t        len;
    size_t        used;      /* input consumed */
    ngx_uint_t    seen;
    ngx_int_t     rc;
} test_out_t;


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
static void test_framing(void **state);
static void test_mime(void **state);
static ngx_uint_t test_has_feature(json_t *m, const char *name);
static void test_mime_file(const char *path, ngx_str_t *eol, u_char **buf);
static void test_strings(test_string_pt check, size_t depth);
static void test_decode_one(u_char *in, size_t len);
static void test_chunk_one(u_char *in, size_t len);
static void test_encode_one(u_char *in, size_t len);
static void test_long_one(u_char *in, size_t len);
static void test_decode(const u_char *in, size_t len, ngx_uint_t newline,
    size_t step, size_t room, test_out_t *out);
static void test_chunks(const u_char *in, size_t len, size_t first,
    ngx_uint_t newline, size_t step, size_t room, test_out_t *out);
static void test_encode(const u_char *in, size_t len, size_t step, size_t room,
    test_out_t *out);
static void test_encode_clean(const u_char *in, size_t len, size_t step,
    test_out_t *out);
static void test_drain(test_out_t *out, u_char *buf, u_char *last);
static void test_model_decode(const u_char *in, size_t len, ngx_uint_t newline,
    ngx_uint_t dots, test_out_t *out);
static void test_model_encode(const u_char *in, size_t len, test_out_t *out);
static size_t test_model_lines(const u_char *in, size_t len,
    ngx_uint_t newline, ngx_uint_t dots, test_out_t *out);
static void test_same(const u_char *in, size_t len, test_out_t *a,
    test_out_t *b);


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


/*
 * Differences, all about bare newlines:
 *
 *   - an end of data with a bare LF in it is none here ("ends only when
 *     bare-LF endings are accepted");
 *   - errors of the source ("ErrCRLF") are flags here, the message is read to
 *     its end and refused then;
 *   - mox takes a lone LF for content in one case; it is flagged here.
 */

static void
test_framing(void **state)
{
    size_t       step;
    json_t      *js, *c, *expect;
    ngx_str_t   *wire, *mode;
    ngx_uint_t   n;
    test_out_t   out;

    js = json_load(TESTDATA "framing/data-reader-cases.json");

    if (js == NULL) {
        print_message("# no test data in ../shared/testdata\n");
        skip();
    }

    n = 0;

    for (c = json_get(js, "cases")->child; c; c = c->next) {
        wire = json_str(c, "wire");
        mode = json_str(c, "mode");
        expect = json_get(c, "expect");

        for (step = 0; step <= 2; step++) {
            test_decode(wire->data, wire->len, R, step, 16, &out);

            if (mode && (ngx_strstr(mode->data, "strict reader sees no end")
                         || ngx_strstr(mode->data, "no end of data")))
            {
                if (out.rc != NGX_AGAIN) {
                    fail_msg("\"%s\" has an end of data", wire->data);
                }

                continue;
            }

            if (out.rc != NGX_DONE) {
                fail_msg("\"%s\" has no end of data", wire->data);
            }

            if (json_str(c, "error")) {
                assert_true(out.seen & (CRS|LFS));
                continue;
            }

            if (expect && expect->type == JSON_STRING) {
                assert_int_equal(out.len, expect->str.len);
                assert_memory_equal(out.data, expect->str.data, out.len);

            } else {
                assert_non_null(json_str(c, "expect_contains"));
                out.data[out.len] = '\0';
                assert_non_null(strstr((char *) out.data, (char *)
                                json_str(c, "expect_contains")->data));
                assert_int_equal(out.used, wire->len);
            }
        }

        n++;
    }

    assert_true(n >= 30);

    json_free(js);
}


/* byte identity: encoded, decoded, in the buffers of a server */

static void
test_mime(void **state)
{
    char         path[1024];
    json_t      *js, *m;
    u_char      *buf[3];
    ngx_str_t   *eol, *name;
    ngx_uint_t   i, n;

    js = json_load(TESTDATA "mime/manifest.json");

    if (js == NULL) {
        print_message("# no test data in ../shared/testdata\n");
        skip();
    }

    for (i = 0; i < 3; i++) {
        buf[i] = malloc(8 * 1024 * 1024);
        assert_non_null(buf[i]);
    }

    m = (js->type == JSON_ARRAY) ? js : json_get(js, "files");
    assert_non_null(m);

    for (n = 0, m = m->child; m; m = m->next) {
        name = json_str(m, "path") ? json_str(m, "path") : json_str(m, "file");
        eol = json_str(m, "eol");

        if (name == NULL
            || eol == NULL
            || (strcmp((char *) eol->data, "crlf") != 0
                && strcmp((char *) eol->data, "lf") != 0)
            || test_has_feature(m, "bare-cr"))
        {
            continue;
        }

        snprintf(path, sizeof(path), TESTDATA "mime/%s", name->data);
        test_mime_file(path, eol, buf);
        n++;
    }

    print_message("# %lu mails\n", n);
    assert_true(n > 400);

    for (i = 0; i < 3; i++) {
        free(buf[i]);
    }

    json_free(js);
}


static ngx_uint_t
test_has_feature(json_t *m, const char *name)
{
    json_t  *f;

    for (f = json_get(m, "features")->child; f; f = f->next) {
        if (strcmp((char *) f->str.data, name) == 0) {
            return 1;
        }
    }

    return 0;
}


static void
test_mime_file(const char *path, ngx_str_t *eol, u_char **buf)
{
    int                       c;
    FILE                     *f;
    u_char                   *msg, *wire, *back, *p, *out, *pos, *last, *next;
    ngx_uint_t                lf, cr;
    ngx_smtp_data_decoder_t   d;
    ngx_smtp_data_encoder_t   e;

    f = fopen(path, "rb");
    assert_non_null(f);

    msg = buf[0];
    wire = buf[1];
    back = buf[2];

    lf = (strcmp((char *) eol->data, "lf") == 0);
    p = msg;
    cr = 0;

    while ((c = getc(f)) != EOF) {

        if (c == LF && lf && !cr) {
            *p++ = CR;
        }

        cr = (c == CR);
        *p++ = c;
        assert_true(p < msg + 8 * 1024 * 1024 - 8);
    }

    fclose(f);

    if (p - msg < 2 || p[-1] != LF) {
        *p++ = CR;
        *p++ = LF;
    }

    last = p;

    ngx_smtp_data_encoder_init(&e);
    out = wire;

    for (pos = msg; pos < last; pos = next) {
        next = ngx_min(pos + 4096, last);

        p = pos;
        (void) ngx_smtp_data_encode(&e, &p, next, &out,
                                    wire + 8 * 1024 * 1024);
        assert_ptr_equal(p, next);
    }

    assert_int_equal(ngx_smtp_data_encode_end(&e, &out,
                                              wire + 8 * 1024 * 1024),
                     NGX_DONE);

    ngx_smtp_data_decoder_init(&d, R);
    pos = wire;
    p = back;

    assert_int_equal(ngx_smtp_data_decode(&d, &pos, out, &p,
                                          back + 8 * 1024 * 1024), NGX_DONE);
    assert_ptr_equal(pos, out);

    if (p - back != last - msg || memcmp(back, msg, p - back) != 0) {
        fail_msg("%s differs", path);
    }

    assert_int_equal(d.size, p - back);
}


/* input and output in memory of exactly their size */

static void
test_decode(const u_char *in, size_t len, ngx_uint_t newline, size_t step,
    size_t room, test_out_t *out)
{
    u_char                   *buf, *piece, *pos, *p;
    size_t                    n;
    ngx_smtp_data_decoder_t   d;

    out->len = 0;
    out->used = 0;
    out->rc = NGX_AGAIN;

    ngx_smtp_data_decoder_init(&d, newline);

    buf = malloc(room);
    assert_non_null(buf);

    while (out->used < len && out->rc != NGX_DONE) {
        n = len - out->used;
        n = (step == 0) ? n : ngx_min(step, n);

        piece = malloc(n);
        assert_non_null(piece);
        memcpy(piece, in + out->used, n);

        pos = piece;

        do {
            p = buf;
            out->rc = ngx_smtp_data_decode(&d, &pos, piece + n, &p,
                                           buf + room);
            test_drain(out, buf, p);

            if (out->rc == NGX_SMTP_DATA_FULL) {
                assert_true(p > buf);
            }

        } while (out->rc == NGX_SMTP_DATA_FULL);

        out->used += pos - piece;

        free(piece);
    }

    free(buf);

    out->seen = d.seen;
    assert_int_equal(d.size, out->len);
}


/* two chunks, the last one finished */

static void
test_chunks(const u_char *in, size_t len, size_t first, ngx_uint_t newline,
    size_t step, size_t room, test_out_t *out)
{
    u_char                   *buf, *piece, *pos, *p;
    size_t                    n, end;
    ngx_uint_t                i;
    ngx_smtp_data_decoder_t   d;

    out->len = 0;
    out->used = 0;

    ngx_smtp_data_decoder_init(&d, newline);

    buf = malloc(room);
    assert_non_null(buf);

    for (i = 0; i < 2; i++) {
        end = (i == 0) ? first : len;

        ngx_smtp_chunk_begin(&d, end - out->used);

        do {

            /* there may be more input than belongs to the chunk */

            n = len - out->used;
            n = (step == 0) ? n : ngx_min(step, n);

            piece = malloc(n + (n == 0));
            assert_non_null(piece);
            memcpy(piece, in + out->used, n);

            pos = piece;

            do {
                p = buf;
                out->rc = ngx_smtp_chunk_decode(&d, &pos, piece + n, &p,
                                                buf + room);
                test_drain(out, buf, p);

            } while (out->rc == NGX_SMTP_DATA_FULL);

            out->used += pos - piece;

            free(piece);

        } while (out->rc == NGX_AGAIN);

        assert_int_equal(out->rc, NGX_DONE);
        assert_int_equal(out->used, end);
    }

    p = buf;
    out->rc = ngx_smtp_chunk_finish(&d, &p, buf + room);
    test_drain(out, buf, p);

    free(buf);

    out->seen = d.seen;
    assert_int_equal(d.size, out->len);
}


static void
test_encode(const u_char *in, size_t len, size_t step, size_t room,
    test_out_t *out)
{
    u_char                   *buf, *piece, *pos, *p;
    size_t                    n;
    ngx_smtp_data_encoder_t   e;

    out->len = 0;
    out->used = 0;
    out->seen = 0;

    ngx_smtp_data_encoder_init(&e);

    buf = malloc(room);
    assert_non_null(buf);

    while (out->used < len) {
        n = len - out->used;
        n = (step == 0) ? n : ngx_min(step, n);

        piece = malloc(n);
        assert_non_null(piece);
        memcpy(piece, in + out->used, n);

        pos = piece;

        do {
            p = buf;
            out->rc = ngx_smtp_data_encode(&e, &pos, piece + n, &p,
                                           buf + room);
            test_drain(out, buf, p);

            if (out->rc == NGX_SMTP_DATA_FULL) {
                assert_true(p > buf);
            }

        } while (out->rc == NGX_SMTP_DATA_FULL);

        assert_int_equal(out->rc, NGX_AGAIN);

        out->used += pos - piece;

        free(piece);
    }

    p = buf;
    out->rc = ngx_smtp_data_encode_end(&e, &p, buf + room);
    test_drain(out, buf, p);

    free(buf);
}


/* by clean prefixes, as the header tells it */

static void
test_encode_clean(const u_char *in, size_t len, size_t step, test_out_t *out)
{
    u_char                   *buf, *piece, *pos, *last, *p, *q;
    size_t                    n;
    ngx_smtp_data_encoder_t   e;

    out->len = 0;
    out->used = 0;
    out->seen = 0;

    ngx_smtp_data_encoder_init(&e);

    buf = malloc(5);
    assert_non_null(buf);

    while (out->used < len) {
        n = len - out->used;
        n = (step == 0) ? n : ngx_min(step, n);

        piece = malloc(n);
        assert_non_null(piece);
        memcpy(piece, in + out->used, n);

        pos = piece;
        last = piece + n;

        for ( ;; ) {
            p = ngx_smtp_data_clean(&e, pos, last);
            test_drain(out, pos, p);

            if (p == last) {
                break;
            }

            pos = p;
            q = buf;
            assert_int_equal(ngx_smtp_data_encode(&e, &p, p + 1, &q, buf + 4),
                             NGX_AGAIN);
            assert_ptr_equal(p, pos + 1);
            test_drain(out, buf, q);
            pos = p;
        }

        out->used += n;

        free(piece);
    }

    p = buf;
    out->rc = ngx_smtp_data_encode_end(&e, &p, buf + 5);
    test_drain(out, buf, p);

    free(buf);
}


static void
test_drain(test_out_t *out, u_char *buf, u_char *last)
{
    assert_true(out->len + (last - buf) <= sizeof(out->data));

    memcpy(out->data + out->len, buf, last - buf);
    out->len += last - buf;
}


/* DATA (dots) or BDAT, from the whole input */

static void
test_model_decode(const u_char *in, size_t len, ngx_uint_t newline,
    ngx_uint_t dots, test_out_t *out)
{
    size_t  i, end;

    out->len = 0;
    out->seen = 0;

    if (!dots) {
        end = test_model_lines(in, len, newline, 0, out);

        if (end < len) {
            /* test_model_lines() wrote the tail, of which CRLF is missing */
            if (newline != N || (in[len - 1] != CR && in[len - 1] != LF)) {
                memcpy(out->data + out->len, CRLF, 2);
                out->len += 2;
            }
        }

        out->used = len;
        out->rc = NGX_DONE;
        return;
    }

    /* the first line that is a dot, between CRLFs or the begin */

    for (i = 0; i + 3 <= len; i++) {
        if (memcmp(in + i, ".\r\n", 3) == 0
            && (i == 0 || (i >= 2 && memcmp(in + i - 2, CRLF, 2) == 0)))
        {
            (void) test_model_lines(in, i, newline, 1, out);
            out->used = i + 3;
            out->rc = NGX_DONE;
            return;
        }
    }

    out->rc = NGX_AGAIN;
    out->used = len;
}


static void
test_model_encode(const u_char *in, size_t len, test_out_t *out)
{
    size_t      i;
    ngx_uint_t  bol;
    test_out_t  lines;

    test_model_decode(in, len, N, 0, &lines);

    out->len = 0;
    out->seen = 0;
    out->used = len;
    out->rc = NGX_DONE;

    for (bol = 1, i = 0; i < lines.len; i++) {
        if (bol && lines.data[i] == '.') {
            out->data[out->len++] = '.';
        }

        bol = (lines.data[i] == LF);
        out->data[out->len++] = lines.data[i];
    }

    memcpy(out->data + out->len, ".\r\n", 3);
    out->len += 3;
}


/* line by line, a line being what CRLF ends; returns the end of the last */

static size_t
test_model_lines(const u_char *in, size_t len, ngx_uint_t newline,
    ngx_uint_t dots, test_out_t *out)
{
    size_t      i, j, start;
    ngx_uint_t  crlf;

    for (start = 0, i = 0; start < len; start = i) {

        crlf = 0;

        for (i = start; i < len && !crlf; i++) {
            crlf = (i + 1 < len && in[i] == CR && in[i + 1] == LF);
        }

        /* with CRLF, i is at its LF, else at the end */

        j = start + (dots && in[start] == '.');

        for ( /* void */ ; j < (crlf ? i - 1 : i); j++) {

            if (in[j] != CR && in[j] != LF) {
                out->data[out->len++] = in[j];
                continue;
            }

            out->seen |= (in[j] == CR) ? CRS : LFS;

            if (newline == N) {
                out->data[out->len++] = CR;
                out->data[out->len++] = LF;

            } else {
                out->data[out->len++] = in[j];
            }
        }

        if (!crlf) {
            return start;
        }

        i++;
        out->data[out->len++] = CR;
        out->data[out->len++] = LF;
    }

    return len;
}


static void
test_same(const u_char *in, size_t len, test_out_t *a, test_out_t *b)
{
    size_t  i;

    if (a->rc == b->rc && a->used == b->used
        && (a->rc != NGX_DONE
            || (a->len == b->len && a->seen == b->seen
                && memcmp(a->data, b->data, a->len) == 0)))
    {
        return;
    }

    print_message("# in:");

    for (i = 0; i < len; i++) {
        print_message(" %02x", in[i]);
    }

    print_message("\n# expected: rc %ld used %zu seen %lx:", (long) a->rc,
                  a->used, (unsigned long) a->seen);

    for (i = 0; i < a->len; i++) {
        print_message(" %02x", a->data[i]);
    }

    print_message("\n# got: rc %ld used %zu seen %lx:", (long) b->rc, b->used,
                  (unsigned long) b->seen);

    for (i = 0; i < b->len; i++) {
        print_message(" %02x", b->data[i]);
    }

    fail_msg("\n# they differ");
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
        cmocka_unit_test(test_end_room),
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_mime)
    };

    return shim_run(tests);
}
