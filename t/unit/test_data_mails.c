
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Data framing, by what others have collected: cases of how readers of other
 * servers tell the end of data; the mails of ../shared/testdata/mime, which
 * make the round trip.
 *
 * sources: t/unit/data_model.c t/unit/json.c
 */


#include "data_model.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"


static void test_framing(void **state);
static void test_mime(void **state);
static ngx_uint_t test_has_feature(json_t *m, const char *name);
static void test_mime_file(const char *path, ngx_str_t *eol, u_char **buf);


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


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_mime)
    };

    return shim_run(tests);
}
