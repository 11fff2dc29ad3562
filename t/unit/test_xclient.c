
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The argument of XCLIENT.
 *
 * sources: protocol/ngx_smtp_xclient.c protocol/ngx_smtp_command.c
 *          protocol/ngx_smtp_param.c protocol/ngx_smtp_address.c
 */


#include "shim.h"
#include "ngx_smtp_reply.h"
#include "ngx_smtp_xclient.h"


static u_char              line[2048];
static ngx_str_t           bad;
static ngx_smtp_xclient_t  x;


/* values are decoded in place: a fresh copy each time */

static ngx_int_t
parse(const char *text)
{
    ngx_str_t  arg;

    arg.len = strlen(text);
    arg.data = line;
    memcpy(line, text, arg.len);

    return ngx_smtp_xclient_parse(&arg, &x, &bad);
}


static void
test_all(void **state)
{
    assert_int_equal(parse("NAME=mail.example.com ADDR=192.0.2.1 PORT=4242 "
                           "PROTO=ESMTP HELO=[192.0.2.1] LOGIN=Joe+40+20x "
                           "DESTADDR=IPV6:2001:db8::1 DESTPORT=25"), NGX_OK);

    assert_int_equal(x.named, 0xff);
    assert_int_equal(x.known, 0xff);
    assert_str_equal(&x.name, "mail.example.com");
    assert_str_equal(&x.addr, "192.0.2.1");
    assert_int_equal(x.addr6, 0);
    assert_int_equal(x.port, 4242);
    assert_int_equal(x.esmtp, 1);
    assert_str_equal(&x.helo, "[192.0.2.1]");
    assert_str_equal(&x.login, "Joe@ x");
    assert_str_equal(&x.destaddr, "2001:db8::1");
    assert_int_equal(x.destaddr6, 1);
    assert_int_equal(x.destport, 25);
    assert_int_equal(bad.len, 0);
}


static void
test_some(void **state)
{
    assert_int_equal(parse("  addr=+31.2.3.4   proto=smtp "), NGX_OK);
    assert_int_equal(x.named, NGX_SMTP_CAP_XCLIENT_ADDR
                              |NGX_SMTP_CAP_XCLIENT_PROTO);
    assert_int_equal(x.known, x.named);
    assert_str_equal(&x.addr, "1.2.3.4");
    assert_int_equal(x.esmtp, 0);

    assert_int_equal(parse("ADDR=[UNAVAILABLE] NAME=[tempunavail] LOGIN=a"),
                     NGX_OK);
    assert_int_equal(x.named, NGX_SMTP_CAP_XCLIENT_ADDR
                              |NGX_SMTP_CAP_XCLIENT_NAME
                              |NGX_SMTP_CAP_XCLIENT_LOGIN);
    assert_int_equal(x.known, NGX_SMTP_CAP_XCLIENT_LOGIN);
    assert_int_equal(x.addr.len, 0);

    /* values may have what separates them */

    assert_int_equal(parse("LOGIN=a+3Db=c"), NGX_SMTP_REPLY_BAD_PARAM);
    assert_int_equal(parse("LOGIN=a+3Db"), NGX_OK);
    assert_str_equal(&x.login, "a=b");
}


static void
test_bad(void **state)
{
    ngx_uint_t  i;

    static const struct {
        const char  *arg;
        const char  *bad;
    } t[] = {
        { "", "" },
        { "   ", "" },
        { "ADDR", "ADDR" },
        { "ADDR=", "ADDR" },
        { "=1.2.3.4", "" },
        { "ADDRESS=1.2.3.4", "ADDRESS" },
        { "ADD=1.2.3.4", "ADD" },
        { "PORT=1 ADDR=1.2.3.4 PORT=1", "PORT" },
        { "PORT=1 PORT=[UNAVAILABLE]", "PORT" },
        { "PORT=1\tADDR=1.2.3.4", "PORT" },
        { "PORT=0", "PORT" },
        { "PORT=65536", "PORT" },
        { "PORT=000001", "PORT" },
        { "PORT=+2D1", "PORT" },
        { "PORT=1 2", "2" },
        { "DESTPORT=99999", "DESTPORT" },
        { "ADDR=unknown", "ADDR" },
        { "ADDR=1.2.3.4/8", "ADDR" },
        { "ADDR=::1", "ADDR" },
        { "ADDR=IPV6:", "ADDR" },
        { "ADDR=IPV6:::1%eth0", "ADDR" },
        { "ADDR=1.2.3.4+0", "ADDR" },
        { "ADDR=1.2.3.4+0a", "ADDR" },
        { "ADDR=1.2.3.4+00", "ADDR" },
        { "ADDR=IPV6:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111",
          "ADDR" },
        { "DESTADDR=x", "DESTADDR" },
        { "NAME=a+20b", "NAME" },
        { "NAME=[UNAVAILABLE", "NAME" },
        { "NAME=a+0D+0AMAIL", "NAME" },
        { "HELO=a+00", "HELO" },
        { "HELO=\xc3\xa4", "HELO" },
        { "PROTO=LMTP", "PROTO" },
        { "PROTO=ESMTPS", "PROTO" },
        { "PROTO=ESMT", "PROTO" },
        { "LOGIN=a=b", "LOGIN" },
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        print_message("# %s\n", t[i].arg);
        assert_int_equal(parse(t[i].arg), NGX_SMTP_REPLY_BAD_PARAM);
        assert_int_equal(bad.len, strlen(t[i].bad));

        if (bad.len) {
            assert_memory_equal(bad.data, t[i].bad, bad.len);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_some),
        cmocka_unit_test(test_bad),
    };

    return shim_run(tests);
}
