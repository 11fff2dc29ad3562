
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Replies of a peer: tables, fed whole and byte by byte; limits; keywords of
 * EHLO.
 *
 * sources: protocol/ngx_smtp_response.c protocol/ngx_smtp_reply.c
 * sources: t/unit/json.c
 */


#include "shim.h"

#include <string.h>

#include "json.h"
#include "ngx_smtp_response.h"


typedef struct {
    const char   *in;
    size_t        len;
    const char   *out;
} test_row_t;


typedef struct {
    ngx_smtp_response_t   r;
    char                 *p;
} test_ctx_t;


typedef struct {
    const char       *lines[8];
    ngx_smtp_caps_t   caps;
} test_caps_t;


static void test_table(void **state);
static void test_limits(void **state);
static void test_text_cut(void **state);
static void test_handler(void **state);
static void test_caps(void **state);
static void test_testdata(void **state);
static ngx_int_t test_lines(size_t line, ngx_uint_t lines);
static ngx_int_t test_feed(void *data, u_char *in, size_t len);
static void test_parse(const char *in, size_t len, size_t step, char *out);
static void test_count(void *data, ngx_uint_t code, ngx_uint_t n,
    ngx_str_t *line);


#define row(in, out)  { in, sizeof(in) - 1, out }

/* "(code|status|text)" for each reply, "!" for an error */

static test_row_t  test_rows[] = {
    row("", ""),
    row("250 OK", ""),
    row("250 OK\r", ""),
    row("250 OK\r\n", "(250||OK)"),
    row("250 OK\n", "(250||OK)"),
    row("250\r\n", "(250||)"),
    row("250 \r\n", "(250||)"),
    row("220 a\r\n250 b\r\n", "(220||a)(250||b)"),
    row("250-a\r\n250-b\r\n250 c\r\n", "(250||a b c)"),
    row("250-a\r\n250\r\n", "(250||a)"),
    row("250-\r\n250 a\r\n", "(250||a)"),
    row("250-a\r\n", ""),
    row("250 2.1.5 OK\r\n", "(250|2.1.5|OK)"),
    row("250 2.1.5\r\n", "(250|2.1.5|)"),
    row("550-5.7.1 No\r\n550-5.7.1 never\r\n550 5.7.1 so\r\n",
        "(550|5.7.1|No never so)"),
    row("550-5.7.1 No\r\n550 5.7.2 never\r\n", "(550|5.7.1|No 5.7.2 never)"),
    row("550-No\r\n550 5.7.1 never\r\n", "(550||No 5.7.1 never)"),
    row("550 5.7.100 x\r\n", "(550|5.7.100|x)"),
    row("550 5.7.1000 x\r\n", "(550||5.7.1000 x)"),
    row("550 5.7 x\r\n", "(550||5.7 x)"),
    row("550 5..1 x\r\n", "(550||5..1 x)"),
    row("550 5.7.1x\r\n", "(550||5.7.1x)"),
    row("550 4.7.1 x\r\n", "(550||4.7.1 x)"),
    row("354 3.0.0 go\r\n", "(354||3.0.0 go)"),
    row("250 \x01\x7f\xc3\xa4.\r\n", "(250||????.)"),
    row("250 a\rb\r\n", "(250||a?b)"),
    row("250 a\r\r\n", "(250||a?)"),

    row("250 a\0b\r\n", "!"),
    row("\0", "!"),
    row("\r\n", "!"),
    row("\n", "!"),
    row("25\r\n", "!"),
    row("22X OK\r\n", "!"),
    row("2500 OK\r\n", "!"),
    row("250OK\r\n", "!"),
    row("250\tOK\r\n", "!"),
    row("150 OK\r\n", "!"),
    row("100 OK\r\n", "!"),
    row("650 OK\r\n", "!"),
    row("000 OK\r\n", "!"),
    row("-50 OK\r\n", "!"),
    row(" 250 OK\r\n", "!"),
    row("HTTP/1.1 400 Bad Request\r\n", "!"),
    row("250-a\r\n251 b\r\n", "!"),
    row("250-a\r\n550 b\r\n", "!"),
    row("250-a\r\n\r\n", "!"),
    row("250-a\r\nb\r\n", "!"),
    row("250 a\r\nb\r\n", "(250||a)!")
};


static test_caps_t  test_caps_rows[] = {
    { { "PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "STARTTLS", "DSN",
        "CHUNKING" },
      { NGX_SMTP_CAP_PIPELINING|NGX_SMTP_CAP_SIZE|NGX_SMTP_CAP_8BITMIME
        |NGX_SMTP_CAP_SMTPUTF8|NGX_SMTP_CAP_STARTTLS|NGX_SMTP_CAP_DSN
        |NGX_SMTP_CAP_CHUNKING, 0, 0, 1000, 0, 0, 0 } },

    { { "enhancedstatuscodes", "RequireTLS", "BINARYMIME", "VRFY", "X-FOO a",
        "", " " },
      { NGX_SMTP_CAP_STATUSCODES|NGX_SMTP_CAP_REQUIRETLS
        |NGX_SMTP_CAP_BINARYMIME, 0, 0, 0, 0, 0, 0 } },

    { { "SIZE" }, { NGX_SMTP_CAP_SIZE, 0, 0, 0, 0, 0, 0 } },
    { { "SIZE 0" }, { NGX_SMTP_CAP_SIZE, 0, 0, 0, 0, 0, 0 } },
    { { "SIZE -1" }, { NGX_SMTP_CAP_SIZE, 0, 0, 0, 0, 0, 0 } },
    { { "SIZE 1x" }, { NGX_SMTP_CAP_SIZE, 0, 0, 0, 0, 0, 0 } },
    { { "SIZE 9223372036854775807" },
      { NGX_SMTP_CAP_SIZE, 0, 0, NGX_MAX_OFF_T_VALUE, 0, 0, 0 } },
    { { "SIZE 9223372036854775808" },
      { NGX_SMTP_CAP_SIZE, 0, 0, 0, 0, 0, 0 } },

    { { "AUTH PLAIN LOGIN GSSAPI" },
      { NGX_SMTP_CAP_AUTH,
        NGX_SMTP_CAP_AUTH_PLAIN|NGX_SMTP_CAP_AUTH_LOGIN, 0, 0, 0, 0, 0 } },
    { { "AUTH=login SCRAM-SHA-256", "AUTH external" },
      { NGX_SMTP_CAP_AUTH,
        NGX_SMTP_CAP_AUTH_LOGIN|NGX_SMTP_CAP_AUTH_SCRAM
        |NGX_SMTP_CAP_AUTH_EXTERNAL, 0, 0, 0, 0, 0 } },
    { { "AUTH" }, { NGX_SMTP_CAP_AUTH, 0, 0, 0, 0, 0, 0 } },
    { { "AUTHX PLAIN" }, { 0, 0, 0, 0, 0, 0, 0 } },

    { { "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT X" },
      { NGX_SMTP_CAP_XCLIENT, 0, 0xff, 0, 0, 0, 0 } },

    { { "XFORWARD NAME addr PORT PROTO HELO IDENT SOURCE", "XFORWARD X" },
      { NGX_SMTP_CAP_XFORWARD, 0, 0, 0, 0, 0, 0x7f } },

    { { "LIMITS RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1" },
      { NGX_SMTP_CAP_LIMITS, 0, 0, 0, 5, 20, 0 } },
    { { "LIMITS RCPTMAX=0 MAILMAX=" },
      { NGX_SMTP_CAP_LIMITS, 0, 0, 0, 0, 0, 0 } },
    { { "LIMITS RCPTMAX=1000000 MAILMAX=-3" },
      { NGX_SMTP_CAP_LIMITS, 0, 0, 0, 0, 0, 0 } }
};


static void
test_table(void **state)
{
    char         out[256];
    size_t       step;
    test_row_t  *t;

    for (t = test_rows;
         t < test_rows + sizeof(test_rows) / sizeof(test_rows[0]);
         t++)
    {
        for (step = 0; step <= t->len; step++) {
            test_parse(t->in, t->len, step, out);

            if (strcmp(out, t->out) != 0) {
                fail_msg("\"%s\", step %zu: %s", t->in, step, out);
            }
        }
    }
}


static void
test_limits(void **state)
{
    u_char                buf[4096], *pos;
    ngx_int_t             rc;
    ngx_uint_t            i;
    ngx_smtp_response_t   r;

    assert_int_equal(test_lines(10, 200), NGX_OK);
    assert_int_equal(test_lines(10, 201), NGX_ERROR);
    assert_int_equal(test_lines(NGX_SMTP_RESPONSE_LINE_MAX, 1), NGX_OK);
    assert_int_equal(test_lines(NGX_SMTP_RESPONSE_LINE_MAX + 1, 1), NGX_ERROR);
    assert_int_equal(test_lines(NGX_SMTP_RESPONSE_LINE_MAX, 4), NGX_OK);
    assert_int_equal(test_lines(NGX_SMTP_RESPONSE_LINE_MAX, 5), NGX_ERROR);

    /* a line that never ends, and lines that never end */

    ngx_smtp_response_init(&r);
    memset(buf, '2', sizeof(buf));
    rc = NGX_AGAIN;

    for (i = 0; i < 1000 && rc == NGX_AGAIN; i++) {
        pos = buf;
        rc = ngx_smtp_response_parse(&r, &pos, buf + sizeof(buf));
    }

    assert_int_equal(rc, NGX_ERROR);
    assert_int_equal(i, 17);
    assert_string_equal(r.error, "reply line too long");
}


/* a reply of so many lines of so many octets */

static ngx_int_t
test_lines(size_t line, ngx_uint_t lines)
{
    u_char               *buf, *pos;
    ngx_int_t             rc;
    ngx_uint_t            i;
    ngx_smtp_response_t   r;

    buf = malloc(line);
    assert_non_null(buf);

    memset(buf, 'x', line);
    memcpy(buf + line - 2, "\r\n", 2);

    ngx_smtp_response_init(&r);
    rc = NGX_AGAIN;

    for (i = 1; i <= lines && rc == NGX_AGAIN; i++) {
        memcpy(buf, (i == lines) ? "250 " : "250-", 4);
        pos = buf;

        rc = ngx_smtp_response_parse(&r, &pos, buf + line);

        if (rc == NGX_OK) {
            assert_int_equal(i, lines);
            assert_ptr_equal(pos, buf + line);
        }
    }

    free(buf);

    return rc;
}


static void
test_text_cut(void **state)
{
    u_char                buf[3000], *pos;
    ngx_smtp_response_t   r;

    /* what is kept of a line is less than the line, its end is found yet */

    memset(buf, 'x', sizeof(buf));
    memcpy(buf, "550 5.1.1 ", 10);
    memcpy(buf + 2000, "\r\n250 y\r\n", 9);

    ngx_smtp_response_init(&r);
    pos = buf;

    assert_int_equal(ngx_smtp_response_parse(&r, &pos, buf + 2009), NGX_OK);
    assert_int_equal(r.code, 550);
    assert_str_equal(&r.status, "5.1.1");
    assert_int_equal(r.text.len, NGX_SMTP_RESPONSE_TEXT_MAX);
    assert_int_equal(r.text.data[NGX_SMTP_RESPONSE_TEXT_MAX - 1], 'x');

    assert_int_equal(ngx_smtp_response_parse(&r, &pos, buf + 2009), NGX_OK);
    assert_int_equal(r.code, 250);
    assert_str_equal(&r.text, "y");
    assert_int_equal(r.status.len, 0);
}


static void
test_handler(void **state)
{
    u_char                in[] = "250-a\r\n250-b\r\n250 c\r\n", *pos;
    ngx_uint_t            count;
    ngx_smtp_response_t   r;

    ngx_smtp_response_init(&r);

    count = 0;
    r.handler = test_count;
    r.data = &count;
    pos = in;

    assert_int_equal(ngx_smtp_response_parse(&r, &pos, in + sizeof(in) - 1),
                     NGX_OK);
    assert_int_equal(count, 3);
}


static void
test_count(void *data, ngx_uint_t code, ngx_uint_t n, ngx_str_t *line)
{
    ngx_uint_t  *count = data;

    assert_int_equal(code, 250);
    assert_int_equal(n, *count);
    assert_int_equal(line->len, 1);
    assert_int_equal(line->data[0], 'a' + n);

    (*count)++;
}


static void
test_caps(void **state)
{
    ngx_str_t         line;
    ngx_uint_t        i;
    test_caps_t      *t;
    ngx_smtp_caps_t   caps;

    for (t = test_caps_rows;
         t < test_caps_rows
             + sizeof(test_caps_rows) / sizeof(test_caps_rows[0]);
         t++)
    {
        memset(&caps, 0, sizeof(caps));

        for (i = 0; i < 8 && t->lines[i]; i++) {
            line = shim_str(t->lines[i]);
            ngx_smtp_caps_line(&caps, 250, i + 1, &line);
        }

        if (caps.flags != t->caps.flags
            || caps.auth != t->caps.auth
            || caps.xclient != t->caps.xclient
            || caps.size != t->caps.size
            || caps.mailmax != t->caps.mailmax
            || caps.rcptmax != t->caps.rcptmax
            || caps.xforward != t->caps.xforward)
        {
            fail_msg("\"%s\": %lx %lx %lx %lld %lu %lu", t->lines[0],
                     caps.flags, caps.auth, caps.xclient,
                     (long long) caps.size, caps.mailmax, caps.rcptmax);
        }
    }

    /* neither the greeting nor a refusal offers anything */

    memset(&caps, 0, sizeof(caps));
    line = shim_str("STARTTLS");

    ngx_smtp_caps_line(&caps, 250, 0, &line);
    ngx_smtp_caps_line(&caps, 550, 1, &line);

    assert_int_equal(caps.flags, 0);
}


/*
 * Differences: a control in a text is replaced, not refused; the limit on the
 * size is not the test's 50 octets.
 */

static void
test_testdata(void **state)
{
    char        out[1024], expected[1024], *p;
    json_t     *js, *tables, *t, *l;
    ngx_str_t  *s;
    ngx_uint_t  i, n;

    js = json_load(TESTDATA "smtp-syntax/dovecot-smtp-reply.json");

    if (js == NULL) {
        print_message("# no test data in ../shared/testdata\n");
        skip();
    }

    tables = json_get(js, "tables");
    n = 0;

    for (t = json_get(tables, "valid_reply_parse_tests")->child; t;
         t = t->next)
    {
        s = json_str(t, "input");
        p = expected;

        p += sprintf(p, "(%d|", (int) json_get(t, "status")->number);

        l = json_get(t, "enhanced_code");

        if (l) {
            l = l->child;
            p += sprintf(p, "%d.%d.%d", (int) l->number,
                         (int) l->next->number, (int) l->next->next->number);
        }

        *p++ = '|';

        for (i = 0, l = json_get(t, "text_lines")->child;
             l && l->type == JSON_STRING;
             i++, l = l->next)
        {
            p += sprintf(p, "%s%s", i ? " " : "", l->str.data);
        }

        strcpy(p, ")");

        if (ngx_strlchr(s->data, s->data + s->len, '\b')) {

            /* it makes a space of it, we a question mark */

            p = strstr(expected, "' '");
            assert_non_null(p);
            p[1] = '?';
        }

        test_parse((char *) s->data, s->len, 0, out);
        assert_string_equal(out, expected);

        test_parse((char *) s->data, s->len, 1, out);
        assert_string_equal(out, expected);
        n++;
    }

    for (t = json_get(tables, "invalid_reply_parse_tests")->child; t;
         t = t->next)
    {
        s = json_str(t, "reply");

        if (json_get(t, "max_size")
            || ngx_strlchr(s->data, s->data + s->len, '\x03')
            || ngx_strlchr(s->data, s->data + s->len, '\x04'))
        {
            continue;
        }

        test_parse((char *) s->data, s->len, 1, out);
        assert_string_equal(out, "!");
        n++;
    }

    assert_true(n >= 8);

    json_free(js);
}


static void
test_parse(const char *in, size_t len, size_t step, char *out)
{
    test_ctx_t  ctx;

    ngx_smtp_response_init(&ctx.r);
    ctx.p = out;

    if (shim_feed(test_feed, &ctx, in, len, step) == NGX_ERROR) {
        assert_non_null(ctx.r.error);
        *ctx.p++ = '!';
    }

    *ctx.p = '\0';
}


static ngx_int_t
test_feed(void *data, u_char *in, size_t len)
{
    test_ctx_t *ctx = data;

    u_char     *pos, *last;
    ngx_int_t   rc;

    pos = in;
    last = in + len;

    while (pos < last) {
        rc = ngx_smtp_response_parse(&ctx->r, &pos, last);

        if (rc == NGX_AGAIN) {
            assert_ptr_equal(pos, last);
            break;
        }

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        ctx->p += sprintf(ctx->p, "(%lu|%.*s|%.*s)", ctx->r.code,
                          (int) ctx->r.status.len, ctx->r.status.data,
                          (int) ctx->r.text.len, ctx->r.text.data);
    }

    return NGX_AGAIN;
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_text_cut),
        cmocka_unit_test(test_handler),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_testdata)
    };

    return shim_run(tests);
}
