
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Trace fields: exact text for usual sessions, well-formedness for hostile
 * strings, dates against the C library.
 *
 * sources: message/ngx_smtp_trace.c protocol/ngx_smtp_address.c
 */


#include "shim.h"
#include "ngx_smtp_trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>


#define T0  1767225600      /* 2026-01-01 00:00:00 UTC */


static const char *test_received(ngx_smtp_trace_t *t);
static void test_usual(ngx_smtp_trace_t *t);
static void test_fields(void **state);
static void test_with(void **state);
static void test_rcpt(void **state);
static void test_hostile(void **state);
static void test_long(void **state);
static void test_date(void **state);
static void test_date_ends(void **state);
static void test_message_id(void **state);
static void test_word(void **state);
static void test_utf8(void **state);
static void test_well_formed(const char *field, ngx_uint_t utf8);


/*
 * In memory of exactly NGX_SMTP_RECEIVED_MAX bytes, so that an overrun is
 * caught; the text lives until the next call.
 */

static const char *
test_received(ngx_smtp_trace_t *t)
{
    size_t   n;
    u_char  *buf;

    static char  text[NGX_SMTP_RECEIVED_MAX + 1];

    buf = malloc(NGX_SMTP_RECEIVED_MAX);
    assert_non_null(buf);

    n = ngx_smtp_trace_received(buf, t) - buf;
    assert_true(n <= NGX_SMTP_RECEIVED_MAX);

    memcpy(text, buf, n);
    text[n] = '\0';

    free(buf);

    assert_int_equal(strlen(text), n);

    return text;
}


static void
test_usual(ngx_smtp_trace_t *t)
{
    memset(t, 0, sizeof(ngx_smtp_trace_t));

    t->helo = shim_str("laptop.example.net");
    t->ptr = shim_str("host.example.net");
    t->addr = shim_str("192.0.2.1");
    t->hostname = shim_str("mail.example.com");
    t->time = T0;
    t->esmtp = 1;
}


static void
test_fields(void **state)
{
    ngx_smtp_trace_t  t;

    test_usual(&t);

    assert_string_equal(test_received(&t),
        "Received: from laptop.example.net (host.example.net [192.0.2.1])\r\n"
        "\tby mail.example.com with ESMTP; Thu, 01 Jan 2026 00:00:00 +0000"
        "\r\n");

    t.id = shim_str("65af-1");

    assert_string_equal(test_received(&t),
        "Received: from laptop.example.net (host.example.net [192.0.2.1])\r\n"
        "\tby mail.example.com with ESMTP id 65af-1;\r\n"
        "\tThu, 01 Jan 2026 00:00:00 +0000\r\n");

    t.rcpt = shim_str("bob@example.org");
    t.tls = 1;
    t.tls_version = shim_str("TLSv1.3");
    t.tls_cipher = shim_str("TLS_AES_256_GCM_SHA384");
    t.tls_bits = 256;
    t.auth = 1;
    t.gmtoff = -150;
    t.addr = shim_str("2001:db8::1");
    t.ptr.len = 0;

    assert_string_equal(test_received(&t),
        "Received: from laptop.example.net (unknown [IPv6:2001:db8::1])\r\n"
        "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))"
        "\r\n"
        "\tby mail.example.com with ESMTPSA id 65af-1\r\n"
        "\tfor <bob@example.org>; Wed, 31 Dec 2025 21:30:00 -0230\r\n");

    t.tls_bits = 0;
    t.id.len = 0;
    t.helo = shim_str("[192.0.2.1]");
    t.addr = shim_str("unix");

    assert_string_equal(test_received(&t),
        "Received: from [192.0.2.1] (local)\r\n"
        "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n"
        "\tby mail.example.com with ESMTPSA\r\n"
        "\tfor <bob@example.org>; Wed, 31 Dec 2025 21:30:00 -0230\r\n");

    t.tls_cipher.len = 0;
    t.tls_version.len = 0;
    t.helo.len = 0;
    t.hostname.len = 0;

    assert_string_equal(test_received(&t),
        "Received: from unknown (local)\r\n"
        "\t(using TLS)\r\n"
        "\tby localhost with ESMTPSA\r\n"
        "\tfor <bob@example.org>; Wed, 31 Dec 2025 21:30:00 -0230\r\n");
}


static void
test_with(void **state)
{
    char              word[32];
    ngx_uint_t        i;
    ngx_smtp_trace_t  t;

    /* bits: esmtp, tls, auth, smtputf8 */

    static const char  *with[] = {
        "SMTP", "ESMTP", "SMTP", "ESMTPS",
        "SMTP", "ESMTPA", "SMTP", "ESMTPSA",
        "SMTP", "UTF8SMTP", "SMTP", "UTF8SMTPS",
        "SMTP", "UTF8SMTPA", "SMTP", "UTF8SMTPSA"
    };

    for (i = 0; i < 16; i++) {
        test_usual(&t);

        t.esmtp = i & 1;
        t.tls = (i >> 1) & 1;
        t.auth = (i >> 2) & 1;
        t.smtputf8 = (i >> 3) & 1;

        sprintf(word, " with %s;", with[i]);
        assert_non_null(strstr(test_received(&t), word));

        t.id = shim_str("Q");

        sprintf(word, " with %s id Q;", with[i]);
        assert_non_null(strstr(test_received(&t), word));

        test_well_formed(test_received(&t), t.smtputf8);
    }
}


static void
test_rcpt(void **state)
{
    size_t            i;
    char              expected[64];
    const char       *text;
    ngx_smtp_trace_t  t;

    static const struct {
        const char  *rcpt;
        unsigned     utf8;
        unsigned     shown;
    } c[] = {
        { "bob@example.org", 0, 1 },
        { "postmaster", 0, 1 },
        { "\"a b\"@example.org", 0, 1 },
        { "\"a\\\"> b\"@example.org", 0, 1 },
        { "\"a(b\"@example.org", 0, 1 },
        { "o'b;|b@example.org", 0, 0 },
        { "a@[IPv6:2001:db8::1]", 0, 1 },
        { "b\303\266b@example.org", 1, 1 },
        { "b\303\266b@example.org", 0, 0 },
        { "b\303@example.org", 1, 0 },
        { "", 0, 0 },
        { "a b@example.org", 0, 0 },
        { "a@example.org>\r\nX: y", 0, 0 },
        { "\"a\r\n b\"@example.org", 0, 0 },
        { "\"a\\\r\"@example.org", 0, 0 },
        { "\"a\\", 0, 0 },
        { "\"a@example.org", 0, 0 },
        { "a>@example.org", 0, 0 },
        { "a\\@example.org", 0, 0 },
        { "a(b@example.org", 0, 0 },
        { "a\177@example.org", 0, 0 },
    };

    for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        test_usual(&t);

        t.rcpt = shim_str(c[i].rcpt);
        t.smtputf8 = c[i].utf8;

        text = test_received(&t);
        sprintf(expected, "\r\n\tfor <%s>;", c[i].rcpt);

        if ((strstr(text, expected) != NULL) != c[i].shown
            || (strstr(text, "for <") != NULL) != c[i].shown)
        {
            fail_msg("case %zu: %s", i, text);
        }

        test_well_formed(text, c[i].utf8);
    }
}


/* every byte, and a few strings, in every place */

static void
test_hostile(void **state)
{
    char              byte[8];
    size_t            i, k, u;
    ngx_str_t        *s;
    ngx_smtp_trace_t  t;

    static const char  *strings[] = {
        "x\r\nX-Injected: yes", "x\nX-Injected: yes", "x\rX-Injected: yes",
        "x) (y", "\\)", "\\", "(((", ")))", "\"", "x; y", "a\tb c", "<x@y>",
        "\342\200\250x", "\302\205x", "\355\240\200", "\364\220\200\200",
        "\300\212", "\360\237\230\200", "\303", "\303\r\nX-Injected: yes",
        "\303\r\n\303"
    };

    for (u = 0; u < 2; u++) {
        for (k = 0; k < 8; k++) {
            for (i = 1; i < 256 + sizeof(strings) / sizeof(char *); i++) {
                test_usual(&t);

                t.smtputf8 = u;
                t.tls = 1;
                t.tls_version = shim_str("TLSv1.2");
                t.tls_cipher = shim_str("AES");

                s = (k == 0) ? &t.helo : (k == 1) ? &t.ptr
                    : (k == 2) ? &t.addr : (k == 3) ? &t.hostname
                    : (k == 4) ? &t.id : (k == 5) ? &t.rcpt
                    : (k == 6) ? &t.tls_version : &t.tls_cipher;

                if (i < 256) {
                    sprintf(byte, "a%cb", (int) i);
                    *s = shim_str(byte);

                } else {
                    *s = shim_str(strings[i - 256]);
                }

                test_well_formed(test_received(&t), u);
            }

            /* NUL */

            test_usual(&t);
            s = (k & 1) ? &t.helo : &t.rcpt;
            s->data = (u_char *) "a\0b";
            s->len = 3;
            test_well_formed(test_received(&t), u);
        }
    }

    test_usual(&t);
    t.helo = shim_str("a\r\nX-Injected: (yes\\)\303\244\303");
    t.smtputf8 = 1;

    assert_string_equal(test_received(&t),
        "Received: from a??X-Injected:??yes??\303\244? (host.example.net"
        " [192.0.2.1])\r\n"
        "\tby mail.example.com with UTF8SMTP;"
        " Thu, 01 Jan 2026 00:00:00 +0000\r\n");
}


static void
test_long(void **state)
{
    char              *buf;
    size_t             i, k;
    ngx_smtp_trace_t   t;

    static const size_t  lengths[] = {
        1, 60, 63, 64, 65, 128, 254, 255, 256, 320, 321, 1000, 100000
    };

    static const char  *fills[] = {
        "a", "\303\244", "\360\237\230\200", "\r"
    };

    buf = malloc(100000);
    assert_non_null(buf);

    for (k = 0; k < 4; k++) {

        for (i = 0; i < 100000; i++) {
            buf[i] = fills[k][i % strlen(fills[k])];
        }

        for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            test_usual(&t);

            t.helo.data = (u_char *) buf;
            t.helo.len = lengths[i];
            t.ptr = t.addr = t.hostname = t.id = t.rcpt = t.helo;
            t.tls_version = t.tls_cipher = t.helo;
            t.tls_bits = (ngx_uint_t) -1;
            t.tls = t.auth = t.smtputf8 = 1;

            test_well_formed(test_received(&t), 1);
        }
    }

    free(buf);
}


/*
 * One field: lines of printable characters that end with CRLF and go on with a
 * tab, no line over 78 columns that could be folded; comments are closed and
 * hold no backslash.
 */

static void
test_well_formed(const char *field, ngx_uint_t utf8)
{
    int          depth, quoted, angle;
    size_t       n, columns;
    ngx_uint_t   folds, clause;
    const char  *p, *line, *end;

    depth = 0;
    quoted = 0;
    angle = 0;
    folds = 0;
    clause = 0;

    assert_memory_equal(field, "Received: from", 14);

    for (line = field; *line; line = end + 2) {
        end = strstr(line, "\r\n");

        if (end == NULL) {
            fail_msg("no CRLF: %s", field);
        }

        if (line > field && *line != '\t') {
            fail_msg("not folded: %s", field);
        }

        p = line + (*line == '\t');
        columns = (*line == '\t') ? 8 : 0;

        while (p < end) {
            n = ngx_smtp_trace_utf8((u_char *) p, (u_char *) end, NULL);

            if (n == 0 || (n > 1 && !utf8)) {
                fail_msg("byte %02x: %s", (u_char) *p, field);
            }

            if (*p == '<' && !quoted && depth == 0) {
                angle++;

            } else if (*p == '>' && !quoted) {
                angle--;

            } else if (angle && *p == '"') {
                quoted = !quoted;

            } else if (angle && quoted && *p == '\\') {
                n++;
                columns++;

            } else if (!angle) {
                depth += (*p == '(') - (*p == ')');
                clause += (*p == ';');

                if (depth < 0 || *p == '\\' || *p == '"') {
                    fail_msg("comment: %s", field);
                }
            }

            p += n;
            columns += n;
        }

        /* a blank behind the first word: it could have been folded there */

        p = memchr(line + 1, ' ', end - line - 1);

        if (columns > 78 && line > field && p) {

            /* ... if it is not in a quoted string */

            if (!memchr(line, '"', end - line)) {
                fail_msg("%zu columns: %s", columns, field);
            }
        }

        folds++;
    }

    if (depth || quoted || angle || folds < 2 || clause != 1) {
        fail_msg("unbalanced: %s", field);
    }
}


/* against strftime(), every few hours of 200 years, and offsets */

static void
test_date(void **state)
{
    char       buf[64], expected[64];
    time_t     t, local;
    struct tm  tm;
    u_char    *p;
    ngx_int_t  off;

    for (t = 0; t < 200LL * 365 * 86400; t += 86400 * 3 + 12347) {

        for (off = -1439; off <= 1439; off += 411) {
            local = t + off * 60;

            if (local < 0) {
                continue;
            }

            p = ngx_smtp_trace_date((u_char *) buf, t, off);
            *p = '\0';

            gmtime_r(&local, &tm);
            strftime(expected, sizeof(expected), "%a, %d %b %Y %H:%M:%S ",
                     &tm);
            sprintf(expected + strlen(expected), "%c%02d%02d",
                    (off < 0) ? '-' : '+', abs((int) off) / 60,
                    abs((int) off) % 60);

            assert_string_equal(buf, expected);
            assert_int_equal(strlen(buf), NGX_SMTP_DATE_LEN);
        }
    }
}


static void
test_date_ends(void **state)
{
    char     buf[64];
    size_t   i;
    u_char  *p;

    static const struct {
        time_t       t;
        ngx_int_t    off;
        const char  *text;
    } c[] = {
        { 0, 0, "Thu, 01 Jan 1970 00:00:00 +0000" },
        { 0, -60, "Thu, 01 Jan 1970 00:00:00 +0000" },
        { 3600, -60, "Thu, 01 Jan 1970 00:00:00 -0100" },
        { -1, 0, "Thu, 01 Jan 1970 00:00:00 +0000" },
        { INT64_MIN, -1439, "Thu, 01 Jan 1970 00:00:00 +0000" },
        { 951782400, 0, "Tue, 29 Feb 2000 00:00:00 +0000" },
        { 4107542399, 0, "Sun, 28 Feb 2100 23:59:59 +0000" },
        { 1700000000, 1440, "Tue, 14 Nov 2023 22:13:20 +0000" },
        { 1700000000, -100000, "Tue, 14 Nov 2023 22:13:20 +0000" },
        { INT64_MAX, 1439, "Fri, 31 Dec 9999 23:58:59 +2359" },
        { INT64_MAX, 0, "Thu, 30 Dec 9999 23:59:59 +0000" },
    };

    for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        p = ngx_smtp_trace_date((u_char *) buf, c[i].t, c[i].off);
        *p = '\0';

        assert_string_equal(buf, c[i].text);
    }

    assert_int_equal(NGX_SMTP_DATE_FIELD_MAX, 39);

    p = ngx_smtp_trace_date_field((u_char *) buf, T0, 60);
    *p = '\0';

    assert_string_equal(buf, "Date: Thu, 01 Jan 2026 01:00:00 +0100\r\n");
}


static void
test_message_id(void **state)
{
    char       text[NGX_SMTP_MESSAGE_ID_MAX + 1], *buf;
    size_t     i;
    u_char    *p, *long_name;
    ngx_str_t  unique, host;

    static const struct {
        const char  *unique;
        const char  *host;
        const char  *field;
    } c[] = {
        { "1a.B-_9", "mail.example.com",
          "Message-ID: <1a.B-_9@mail.example.com>\r\n" },
        { "a@b>\r\nX: y", "h\r\nX: y>",
          "Message-ID: <a-b---X--y@h??X:?y?>\r\n" },
        { "\303\244+/=", "", "Message-ID: <-----@localhost>\r\n" },
    };

    for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        unique = shim_str(c[i].unique);
        host = shim_str(c[i].host);

        p = ngx_smtp_trace_message_id((u_char *) text, &unique, &host);
        *p = '\0';

        assert_string_equal(text, c[i].field);
    }

    long_name = malloc(1000);
    buf = malloc(NGX_SMTP_MESSAGE_ID_MAX);
    assert_non_null(long_name);
    assert_non_null(buf);
    memset(long_name, 'a', 1000);

    unique.data = host.data = long_name;
    unique.len = host.len = 1000;

    p = ngx_smtp_trace_message_id((u_char *) buf, &unique, &host);
    assert_int_equal(p - (u_char *) buf, 13 + 200 + 1 + 255 + 3);

    free(buf);
    free(long_name);
}


static void
test_word(void **state)
{
    size_t     i;
    u_char    *p;
    ngx_str_t  s;

    static const struct {
        const char  *src;
        size_t       max;
        ngx_uint_t   utf8;
        const char  *word;
    } c[] = {
        { "", 10, 0, "" },
        { "a-b.c_d:[e]", 20, 0, "a-b.c_d:[e]" },
        { "abc", 2, 0, "ab" },
        { "abc", 0, 0, "" },
        { "\303\244", 10, 0, "??" },
        { "\303\244", 10, 1, "\303\244" },
        { "a\303\244b", 2, 1, "a" },
        { "a\303\244b", 3, 1, "a\303\244" },
        { "\303", 10, 1, "?" },
        { "\303a", 10, 1, "?a" },
        { "\302\205", 10, 1, "??" },
        { "!\"#$%&'()*,;<>?@\\^`{|}~ \t\r\n\177", 40, 1,
          "????????????????????????????" },
    };

    for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        s = shim_str(c[i].src);

        p = malloc(c[i].max ? c[i].max : 1);
        assert_non_null(p);

        s.len = ngx_smtp_trace_word(p, &s, c[i].max, c[i].utf8) - p;

        assert_int_equal(s.len, ngx_min(strlen(c[i].word), c[i].max));
        assert_memory_equal(p, c[i].word, s.len);

        free(p);
    }
}


/* every code point, encoded here, and every one cut */

static void
test_utf8(void **state)
{
    size_t     n, k;
    u_char     buf[4], *p;
    uint32_t   ch, got;
    ngx_int_t  good;

    for (ch = 0; ch < 0x110400; ch += (ch < 0x3000 || ch > 0x10fff0) ? 1 : 7) {

        if (ch < 0x80) {
            buf[0] = ch;
            n = 1;

        } else if (ch < 0x800) {
            buf[0] = 0xc0 | ch >> 6;
            buf[1] = 0x80 | (ch & 0x3f);
            n = 2;

        } else if (ch < 0x10000) {
            buf[0] = 0xe0 | ch >> 12;
            buf[1] = 0x80 | (ch >> 6 & 0x3f);
            buf[2] = 0x80 | (ch & 0x3f);
            n = 3;

        } else {
            buf[0] = 0xf0 | ch >> 18;
            buf[1] = 0x80 | (ch >> 12 & 0x3f);
            buf[2] = 0x80 | (ch >> 6 & 0x3f);
            buf[3] = 0x80 | (ch & 0x3f);
            n = 4;
        }

        good = !(ch < 32 || (ch >= 127 && ch < 160) || ch == 0x2028
                 || ch == 0x2029 || (ch >= 0xd800 && ch < 0xe000)
                 || ch > 0x10ffff);

        p = malloc(n);
        assert_non_null(p);
        memcpy(p, buf, n);

        assert_int_equal(ngx_smtp_trace_utf8(p, p + n, &got), good ? n : 0);

        if (good) {
            assert_int_equal(got, ch);
        }

        free(p);

        for (k = 1; k < n; k++) {
            p = malloc(k);
            assert_non_null(p);
            memcpy(p, buf, k);
            assert_int_equal(ngx_smtp_trace_utf8(p, p + k, NULL), 0);
            free(p);
        }
    }

    /* overlong, and a continuation alone */

    memcpy(buf, "\340\200\257", 3);
    assert_int_equal(ngx_smtp_trace_utf8(buf, buf + 3, NULL), 0);
    memcpy(buf, "\360\200\200\257", 4);
    assert_int_equal(ngx_smtp_trace_utf8(buf, buf + 4, NULL), 0);
    memcpy(buf, "\300\257ab", 4);
    assert_int_equal(ngx_smtp_trace_utf8(buf, buf + 4, NULL), 0);
    memcpy(buf, "\200abc", 4);
    assert_int_equal(ngx_smtp_trace_utf8(buf, buf + 4, NULL), 0);

    /* no lead byte, no continuation byte: nginx's decoder takes both */

    memcpy(buf, "\370\220\200\200", 4);
    assert_int_equal(ngx_smtp_trace_utf8(buf, buf + 4, NULL), 0);
    memcpy(buf, "\303\344ab", 4);
    assert_int_equal(ngx_smtp_trace_utf8(buf, buf + 4, NULL), 0);
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_with),
        cmocka_unit_test(test_rcpt),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_date),
        cmocka_unit_test(test_date_ends),
        cmocka_unit_test(test_message_id),
        cmocka_unit_test(test_word),
        cmocka_unit_test(test_utf8),
    };

    return shim_run(tests);
}
