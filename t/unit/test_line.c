
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Command lines in a receive buffer: tables, whole and byte by byte, and all
 * short inputs against a plain model.
 *
 * sources: protocol/ngx_smtp_line.c
 */


#include "shim.h"

#include <string.h>

#include "ngx_smtp_line.h"


typedef struct {
    const char   *in;
    size_t        len;
    size_t        limit;
    ngx_uint_t    newline;
    const char   *out;
} test_line_t;


static void test_table(void **state);
static void test_model(void **state);
static void test_bounded(void **state);
static void test_limit_change(void **state);
static char *test_scan(const u_char *in, size_t len, size_t step,
    size_t limit, ngx_uint_t newline, char *p);
static char *test_note(char *p, ngx_int_t rc, ngx_str_t *line, ngx_uint_t bad);
static char *test_expect(const u_char *in, size_t len, size_t limit,
    ngx_uint_t newline, char *p);


#define R  NGX_SMTP_NEWLINE_REJECT
#define N  NGX_SMTP_NEWLINE_NORMALIZE

/* "(line:flags)": C bare CR, L bare LF, N NUL; "!": too long */

#define row(in, limit, newline, out)                                          \
    { in, sizeof(in) - 1, limit, newline, out }

static test_line_t  test_lines[] = {
    row("", 10, R, ""),
    row("NOOP", 10, R, ""),
    row("NOOP\r", 10, R, ""),
    row("NOOP\r\n", 10, R, "(NOOP:)"),
    row("\r\n", 10, R, "(:)"),
    row("a\r\nb\r\nc", 10, R, "(a:)(b:)"),
    row("a\nb\r\n", 10, R, "(a.b:L)"),
    row("a\nb\r\n", 10, N, "(a:)(b:)"),
    row("\n\n", 10, N, "(:)(:)"),
    row("a\rb\r\n", 10, R, "(a.b:C)"),
    row("a\rb\r\n", 10, N, "(a.b:C)"),
    row("a\r\r\n", 10, R, "(a.:C)"),
    row("a\0b\r\nc\r\n", 10, R, "(a.b:N)(c:)"),
    row("a\0\r\n\r\n", 10, R, "(a.:N)(:)"),
    row("\n\r\n\r\r\n", 10, R, "(.:L)(.:C)"),
    row("12345678\r\n", 10, R, "(12345678:)"),
    row("123456789\r\nX\r\n", 10, R, "!(X:)"),
    row("123456789\r\nX\r\n", 10, N, "!(X:)"),
    row("123456789\nX\n", 10, N, "(123456789:)(X:)"),
    row("1234567890\nX\r\nY\r\n", 10, R, "!(Y:)"),
    row("1234567890\nX\r\nY\r\n", 10, N, "!(X:)(Y:)"),
    row("1234567890\r\r\nY\r\n", 10, R, "!(Y:)"),
    row("12345678901234567890\r", 10, R, ""),
    row("1234567890123456789\r\n\r\n", 10, R, "!(:)"),
    row("1234567890\r\n1234567890\r\n\r\n", 10, R, "!!(:)"),
    row("STARTTLS\r\nMAIL FROM:<a@b>\r\n", 64, R,
        "(STARTTLS:)(MAIL FROM:<a@b>:)")
};


static void
test_table(void **state)
{
    char          out[256];
    size_t        step;
    test_line_t  *t;

    for (t = test_lines;
         t < test_lines + sizeof(test_lines) / sizeof(test_lines[0]);
         t++)
    {
        for (step = 0; step <= t->len; step++) {
            *test_scan((u_char *) t->in, t->len, step, t->limit, t->newline,
                       out)
                = '\0';

            if (strcmp(out, t->out) != 0) {
                fail_msg("\"%s\", step %zu: %s", t->in, step, out);
            }
        }
    }
}


/* all inputs of up to seven octets of an alphabet of four */

static void
test_model(void **state)
{
    char        out[128], expected[128];
    u_char      in[7];
    size_t      len, i, limit;
    ngx_uint_t  n, k, count, newline;

    static const u_char  alphabet[] = { 'a', CR, LF, '\0' };

    for (len = 1; len <= sizeof(in); len++) {

        for (count = 1, i = 0; i < len; i++) {
            count *= 4;
        }

        for (n = 0; n < count; n++) {

            for (k = n, i = 0; i < len; i++, k /= 4) {
                in[i] = alphabet[k % 4];
            }

            limit = 2 + n % 4;
            newline = (n / 7) % 2;

            *test_expect(in, len, limit, newline, expected) = '\0';

            *test_scan(in, len, 0, limit, newline, out) = '\0';
            assert_string_equal(out, expected);

            *test_scan(in, len, 1, limit, newline, out) = '\0';
            assert_string_equal(out, expected);
        }
    }
}


/* a line without end keeps nothing in the buffer once it is too long */

static void
test_bounded(void **state)
{
    u_char            buf[512], *pos;
    ngx_int_t         rc;
    ngx_str_t         line;
    ngx_uint_t        i;
    ngx_smtp_line_t   ln;

    ngx_smtp_line_init(&ln, sizeof(buf), R);

    memset(buf, 'x', sizeof(buf));

    for (i = 0; i < 2048; i++) {
        pos = buf;
        rc = ngx_smtp_line_next(&ln, &pos, buf + sizeof(buf), &line);

        assert_int_equal(rc, NGX_AGAIN);
        assert_ptr_equal(pos, buf + sizeof(buf));
    }

    memcpy(buf, "\r\nRSET\r\n", 8);
    pos = buf;

    assert_int_equal(ngx_smtp_line_next(&ln, &pos, buf + 8, &line),
                     NGX_SMTP_LINE_TOO_LONG);
    assert_int_equal(ngx_smtp_line_next(&ln, &pos, buf + 8, &line), NGX_OK);
    assert_str_equal(&line, "RSET");
}


/* AUTH lines are longer: the limit changes between two lines */

static void
test_limit_change(void **state)
{
    u_char            in[] = "123456789\r\n123456789\r\n", *pos, *last;
    ngx_str_t         line;
    ngx_smtp_line_t   ln;

    ngx_smtp_line_init(&ln, 8, R);

    pos = in;
    last = in + sizeof(in) - 1;

    assert_int_equal(ngx_smtp_line_next(&ln, &pos, last, &line),
                     NGX_SMTP_LINE_TOO_LONG);

    ln.limit = 11;

    assert_int_equal(ngx_smtp_line_next(&ln, &pos, last, &line), NGX_OK);
    assert_str_equal(&line, "123456789");
    assert_ptr_equal(pos, last);
}


/*
 * Feeds by steps from a buffer that is moved before each call and holds not an
 * octet more than what is unread.
 */

static char *
test_scan(const u_char *in, size_t len, size_t step, size_t limit,
    ngx_uint_t newline, char *p)
{
    u_char           *buf, *pos, *last, *unread;
    size_t            n, used, left;
    ngx_int_t         rc;
    ngx_str_t         line;
    ngx_smtp_line_t   ln;

    ngx_smtp_line_init(&ln, limit, newline);

    used = 0;
    left = 0;
    unread = NULL;

    do {
        n = (step == 0 || step > len - used) ? len - used : step;

        buf = malloc(left + n);
        assert_true(buf != NULL || left + n == 0);

        if (left) {
            memcpy(buf, unread, left);
        }

        if (n) {
            memcpy(buf + left, in + used, n);
        }

        free(unread);
        unread = NULL;

        used += n;
        pos = buf;
        last = buf + left + n;

        for ( ;; ) {
            rc = ngx_smtp_line_next(&ln, &pos, last, &line);

            if (rc == NGX_AGAIN) {
                break;
            }

            p = test_note(p, rc, &line, ln.bad);
        }

        left = last - pos;

        if (left) {
            unread = malloc(left);
            assert_non_null(unread);
            memcpy(unread, pos, left);
        }

        free(buf);

    } while (used < len);

    free(unread);

    return p;
}


static char *
test_note(char *p, ngx_int_t rc, ngx_str_t *line, ngx_uint_t bad)
{
    size_t  i;

    if (rc == NGX_SMTP_LINE_TOO_LONG) {
        *p++ = '!';
        return p;
    }

    assert_int_equal(rc, NGX_OK);

    *p++ = '(';

    for (i = 0; i < line->len; i++) {
        *p++ = (line->data[i] < 0x20) ? '.' : line->data[i];
    }

    *p++ = ':';

    if (bad & NGX_SMTP_LINE_BARE_CR) {
        *p++ = 'C';
    }

    if (bad & NGX_SMTP_LINE_BARE_LF) {
        *p++ = 'L';
    }

    if (bad & NGX_SMTP_LINE_NUL) {
        *p++ = 'N';
    }

    *p++ = ')';

    return p;
}


/* the same, with the whole input at hand */

static char *
test_expect(const u_char *in, size_t len, size_t limit, ngx_uint_t newline,
    char *p)
{
    size_t      start, i, end, j;
    ngx_str_t   line;
    ngx_uint_t  bad;

    for (start = 0, i = 0; i < len; i++) {

        if (in[i] != LF) {
            continue;
        }

        if (i > start && in[i - 1] == CR) {
            end = i - 1;

        } else if (newline == N) {
            end = i;

        } else {
            continue;
        }

        bad = 0;

        for (j = start; j < end; j++) {
            bad |= (in[j] == CR) ? NGX_SMTP_LINE_BARE_CR
                   : (in[j] == LF) ? NGX_SMTP_LINE_BARE_LF
                   : (in[j] == '\0') ? NGX_SMTP_LINE_NUL : 0;
        }

        line.data = (u_char *) in + start;
        line.len = end - start;

        p = test_note(p, (i + 1 - start > limit) ? NGX_SMTP_LINE_TOO_LONG
                                                 : NGX_OK, &line, bad);
        start = i + 1;
    }

    return p;
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_limit_change)
    };

    return shim_run(tests);
}
