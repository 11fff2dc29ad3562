
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The table of replies, and the writers: what is sanitized, what is cut.
 *
 * sources: protocol/ngx_smtp_reply.c
 */


#include "shim.h"

#include <string.h>

#include "ngx_smtp_reply.h"


static void test_table(void **state);
static void test_write(void **state);
static void test_sanitized(void **state);
static void test_cut(void **state);
static void test_line(void **state);
static void test_is(u_char *p, u_char *last, const char *expected);


static void
test_table(void **state)
{
    u_char                   buf[NGX_SMTP_REPLY_LINE_MAX], *p;
    ngx_uint_t               id, i;
    const ngx_smtp_reply_t  *rp;

    for (id = NGX_SMTP_REPLY_NONE + 1; id < NGX_SMTP_REPLY_LAST; id++) {
        rp = ngx_smtp_reply_get(id);

        assert_int_equal(rp->id, id);
        assert_in_range(rp->code, 200, 599);

        /* class of both codes; no enhanced one for 3xx and the greetings */

        if (rp->enhanced.len) {
            assert_int_equal(rp->enhanced.data[0] - '0', rp->code / 100);
            assert_true(rp->enhanced.len >= 5);
            assert_int_equal(rp->enhanced.data[1], '.');

        } else {
            assert_true(rp->code / 100 == 3 || id == NGX_SMTP_REPLY_GREETING
                        || id == NGX_SMTP_REPLY_HELO);
        }

        p = ngx_smtp_reply_write(buf, buf + sizeof(buf), id, NULL);

        assert_true(p - buf >= 6);
        assert_memory_equal(p - 2, "\r\n", 2);

        for (i = 0; buf + i < p - 2; i++) {
            assert_in_range(buf[i], 0x20, 0x7e);
        }
    }

    assert_int_equal(ngx_smtp_reply_get(0)->id, NGX_SMTP_REPLY_INTERNAL);
    assert_int_equal(ngx_smtp_reply_get(NGX_SMTP_REPLY_LAST)->id,
                     NGX_SMTP_REPLY_INTERNAL);
    assert_int_equal(ngx_smtp_reply_get((ngx_uint_t) -1)->id,
                     NGX_SMTP_REPLY_INTERNAL);
}


static void
test_write(void **state)
{
    u_char      buf[600], *p;
    ngx_str_t   s;

    static const struct {
        ngx_uint_t    id;
        const char   *detail;
        const char   *out;
    } table[] = {
        { NGX_SMTP_REPLY_GREETING, "mail.example.com ESMTP",
          "220 mail.example.com ESMTP\r\n" },
        { NGX_SMTP_REPLY_HELO, "mail.example.com",
          "250 mail.example.com\r\n" },
        { NGX_SMTP_REPLY_OK, "", "250 2.0.0 Ok\r\n" },
        { NGX_SMTP_REPLY_BYE, "", "221 2.0.0 Bye\r\n" },
        { NGX_SMTP_REPLY_MAIL_OK, "", "250 2.1.0 Ok\r\n" },
        { NGX_SMTP_REPLY_RCPT_OK, "", "250 2.1.5 Ok\r\n" },
        { NGX_SMTP_REPLY_DATA_GO, "",
          "354 End data with <CR><LF>.<CR><LF>\r\n" },
        { NGX_SMTP_REPLY_QUEUED, "1A2B", "250 2.0.0 Ok: queued as 1A2B\r\n" },
        { NGX_SMTP_REPLY_BDAT_OK, "86 octets",
          "250 2.0.0 Ok: 86 octets\r\n" },
        { NGX_SMTP_REPLY_AUTH_CONTINUE, "VXNlcm5hbWU6",
          "334 VXNlcm5hbWU6\r\n" },
        { NGX_SMTP_REPLY_AUTH_CONTINUE, "", "334 \r\n" },
        { NGX_SMTP_REPLY_UNKNOWN, "", "500 5.5.2 Unknown command\r\n" },
        { NGX_SMTP_REPLY_AUTH_ENCRYPTION, "",
          "538 5.7.11 Encryption required for authentication\r\n" },
        { NGX_SMTP_REPLY_UNKNOWN_PARAM, "X=1",
          "555 5.5.4 Unsupported parameter X=1\r\n" }
    };

    ngx_uint_t  i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        s = shim_str(table[i].detail);

        p = ngx_smtp_reply_write(buf, buf + sizeof(buf), table[i].id, &s);

        test_is(buf, p, table[i].out);
    }
}


static void
test_sanitized(void **state)
{
    u_char      all[256], buf[600], *p;
    size_t      i;
    ngx_str_t   s;

    for (i = 0; i < sizeof(all); i++) {
        all[i] = i;
    }

    s.data = all;
    s.len = sizeof(all);

    p = ngx_smtp_reply_write(buf, buf + sizeof(buf), NGX_SMTP_REPLY_BAD_PARAM,
                             &s);

    assert_memory_equal(p - 2, "\r\n", 2);

    for (i = 0; buf + i < p - 2; i++) {
        assert_in_range(buf[i], 0x20, 0x7e);
    }

    s = shim_str("a\r\n250 forged\r\n");
    p = ngx_smtp_reply_write(buf, buf + sizeof(buf), NGX_SMTP_REPLY_SYNTAX,
                             &s);
    test_is(buf, p, "501 5.5.4 Syntax error in arguments a??250 forged??\r\n");

    p = ngx_smtp_reply_line(buf, buf + sizeof(buf), 550, &s, &s, 0);
    test_is(buf, p, "550 a??250 forged?? a??250 forged??\r\n");
}


/* whatever the room, a reply is whole or ends in CRLF */

static void
test_cut(void **state)
{
    u_char      detail[1000], *buf, *p;
    size_t      room;
    ngx_str_t   s;

    memset(detail, 'x', sizeof(detail));
    s.data = detail;
    s.len = sizeof(detail);

    for (room = 0; room < 1200; room++) {

        /* exact, so that one octet too many is seen */

        buf = malloc(room + (room == 0));
        assert_non_null(buf);

        p = ngx_smtp_reply_write(buf, buf + room, NGX_SMTP_REPLY_AUTH_FAILED,
                                 &s);

        if (room < 16) {
            assert_ptr_equal(p, buf);

        } else {
            assert_int_equal(p - buf, ngx_min(room, 512));
            assert_memory_equal(p - 2, "\r\n", 2);
        }

        p = ngx_smtp_reply_line(buf, buf + room, 451, &s, &s, 1);

        if (room < 16) {
            assert_ptr_equal(p, buf);

        } else {
            assert_int_equal(p - buf, ngx_min(room, 512));
            assert_memory_equal(p - 2, "\r\n", 2);
        }

        free(buf);
    }
}


static void
test_line(void **state)
{
    u_char      buf[600], *p;
    ngx_str_t   status, text;

    text = shim_str("PIPELINING");

    p = ngx_smtp_reply_line(buf, buf + sizeof(buf), 250, NULL, &text, 1);
    p = ngx_smtp_reply_line(p, buf + sizeof(buf), 250, NULL, &text, 0);
    test_is(buf, p, "250-PIPELINING\r\n250 PIPELINING\r\n");

    status = shim_str("4.4.1");
    p = ngx_smtp_reply_line(buf, buf + sizeof(buf), 451, &status, &text, 0);
    test_is(buf, p, "451 4.4.1 PIPELINING\r\n");

    ngx_str_null(&status);
    ngx_str_null(&text);
    p = ngx_smtp_reply_line(buf, buf + sizeof(buf), 250, &status, &text, 0);
    test_is(buf, p, "250 \r\n");
}


static void
test_is(u_char *p, u_char *last, const char *expected)
{
    *last = '\0';
    assert_string_equal((char *) p, expected);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_sanitized),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_line)
    };

    return shim_run(tests);
}
