
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The client's dialogue as a proxy uses it: recipients one by one, RSET in
 * between, XCLIENT and logins.
 *
 * sources: protocol/ngx_smtp_client.c protocol/ngx_smtp_client_write.c
 * sources: protocol/ngx_smtp_client_login.c
 * sources: protocol/ngx_smtp_response.c protocol/ngx_smtp_reply.c
 * sources: protocol/ngx_smtp_param.c protocol/ngx_smtp_address.c
 */


#include "shim.h"

#include <string.h>

#include "ngx_smtp_client.h"


static ngx_smtp_client_t     cl;
static ngx_smtp_client_tx_t  tx;
static ngx_smtp_rcpt_t       rcpts[4];
static ngx_smtp_rcpt_t      *prcpts[4];
static u_char                state[4];
static char                  told[256];


static void
on_verdict(void *data, ngx_uint_t i, ngx_smtp_verdict_t *v)
{
    sprintf(told + strlen(told), "%u:%u/%d ", (unsigned) i,
            (unsigned) v->code,
            (int) v->stage - NGX_SMTP_CLIENT_ST_MAIL);
}


static ngx_int_t
feed(const char *text)
{
    u_char  buf[1024], *pos;

    pos = buf;
    strcpy((char *) buf, text);

    return ngx_smtp_client_recv(&cl, &pos, buf + strlen(text));
}


static void
wrote(const char *expected)
{
    u_char  buf[2 * NGX_SMTP_CLIENT_COMMAND_MAX], *p;

    p = ngx_smtp_client_write(&cl, buf, buf + sizeof(buf) - 1);
    *p = '\0';

    assert_string_equal((char *) buf, expected);
}


static void
verdicts(const char *expected)
{
    assert_string_equal(told, expected);
    told[0] = '\0';
}


static void
rcpt(const char *mailbox)
{
    rcpts[tx.nrcpts].mailbox = shim_str(mailbox);
    prcpts[tx.nrcpts] = &rcpts[tx.nrcpts];
    tx.nrcpts++;
}


static void
hello(ngx_smtp_client_conf_t *conf, const char *ehlo)
{
    conf->helo = shim_str("me.test");

    ngx_smtp_client_init(&cl, conf);

    told[0] = '\0';
    memset(&tx, 0, sizeof(tx));
    memset(rcpts, 0, sizeof(rcpts));

    tx.sender = shim_str("a@b.test");
    tx.rcpts = prcpts;
    tx.state = state;
    tx.more = 1;
    tx.handler = on_verdict;
    tx.accepted = on_verdict;

    assert_int_equal(feed("220 x\r\n"), NGX_SMTP_CLIENT_WAIT);
    wrote("EHLO me.test\r\n");
    (void) feed(ehlo);
}


static void
test_more(void **unused)
{
    ngx_smtp_client_conf_t  conf;

    memset(&conf, 0, sizeof(conf));

    hello(&conf, "250-x\r\n250 PIPELINING\r\n");

    rcpt("one@to.test");
    assert_int_equal(ngx_smtp_client_mail(&cl, &tx), NGX_SMTP_CLIENT_WAIT);
    wrote("MAIL FROM:<a@b.test>\r\nRCPT TO:<one@to.test>\r\n");
    assert_int_equal(feed("250 ok\r\n"), NGX_SMTP_CLIENT_WAIT);
    assert_int_equal(feed("550 no\r\n"), NGX_SMTP_CLIENT_MORE);
    verdicts("0:550/1 ");
    wrote("");

    /* in its place another one */

    tx.nrcpts--;
    rcpt("two@to.test");
    assert_int_equal(ngx_smtp_client_rcpt(&cl), NGX_SMTP_CLIENT_WAIT);
    wrote("RCPT TO:<two@to.test>\r\n");
    assert_int_equal(feed("250 yes\r\n"), NGX_SMTP_CLIENT_MORE);
    verdicts("0:250/1 ");

    /* one that cannot be named here */

    rcpt("\xc3\xa4@to.test");
    assert_int_equal(ngx_smtp_client_rcpt(&cl), NGX_SMTP_CLIENT_MORE);
    verdicts("1:550/1 ");
    wrote("");
    tx.nrcpts--;

    assert_int_equal(ngx_smtp_client_data(&cl), NGX_SMTP_CLIENT_WAIT);
    wrote("DATA\r\n");
    assert_int_equal(feed("354 go\r\n"), NGX_SMTP_CLIENT_BODY);
    assert_int_equal(ngx_smtp_client_end(&cl), NGX_SMTP_CLIENT_WAIT);
    assert_int_equal(feed("250 done\r\n"), NGX_SMTP_CLIENT_DONE);
    verdicts("0:250/4 ");
}


static void
test_rset(void **unused)
{
    ngx_smtp_client_conf_t  conf;

    memset(&conf, 0, sizeof(conf));

    hello(&conf, "250 x\r\n");

    rcpt("one@to.test");
    (void) ngx_smtp_client_mail(&cl, &tx);
    wrote("MAIL FROM:<a@b.test>\r\n");
    (void) feed("250 ok\r\n");
    wrote("RCPT TO:<one@to.test>\r\n");

    /* not while a reply is outstanding */

    assert_int_equal(feed("250 ok\r\n"), NGX_SMTP_CLIENT_MORE);
    verdicts("0:250/1 ");
    assert_int_equal(ngx_smtp_client_rset(&cl), NGX_SMTP_CLIENT_WAIT);
    wrote("RSET\r\n");
    assert_int_equal(feed("250 ok\r\n"), NGX_SMTP_CLIENT_DONE);
    verdicts("");
    wrote("");

    tx.nrcpts = 0;
    rcpt("two@to.test");
    assert_int_equal(ngx_smtp_client_mail(&cl, &tx), NGX_SMTP_CLIENT_WAIT);
    wrote("MAIL FROM:<a@b.test>\r\n");
    assert_int_equal(ngx_smtp_client_rset(&cl), NGX_SMTP_CLIENT_CLOSE);
}


static void
test_unasked(void **unused)
{
    ngx_smtp_client_conf_t  conf;

    memset(&conf, 0, sizeof(conf));

    hello(&conf, "250-x\r\n250 PIPELINING\r\n");

    rcpt("one@to.test");
    (void) ngx_smtp_client_mail(&cl, &tx);
    wrote("MAIL FROM:<a@b.test>\r\nRCPT TO:<one@to.test>\r\n");
    assert_int_equal(feed("250 a\r\n250 b\r\n25"), NGX_SMTP_CLIENT_MORE);
    verdicts("0:250/1 ");

    /* half a reply is there: it must not become that to the next command */

    rcpt("two@to.test");
    assert_int_equal(ngx_smtp_client_rcpt(&cl), NGX_SMTP_CLIENT_CLOSE);
}


static void
test_xclient(void **unused)
{
    ngx_str_t               x[NGX_SMTP_CLIENT_XCLIENT_N];
    ngx_smtp_client_conf_t  conf;

    memset(&conf, 0, sizeof(conf));
    memset(x, 0, sizeof(x));

    x[1] = shim_str("IPV6:2001:db8::1");
    x[2] = shim_str("25");
    x[4] = shim_str("a+b=c d\r\nMAIL");
    x[5] = shim_str("\xff");
    conf.xclient = x;
    conf.xclient_helo = shim_str("client.test");

    hello(&conf, "250-x\r\n250 XCLIENT NAME ADDR HELO LOGIN\r\n");
    wrote("XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 "
          "HELO=a+2Bb+3Dc+20d+0D+0AMAIL LOGIN=+FF\r\n");
    assert_int_equal(feed("220 again\r\n"), NGX_SMTP_CLIENT_WAIT);
    wrote("EHLO client.test\r\n");
    assert_int_equal(feed("250-x\r\n250 XCLIENT NAME ADDR HELO LOGIN\r\n"),
                     NGX_SMTP_CLIENT_READY);

    hello(&conf, "250-x\r\n250 XCLIENT NAME\r\n");
    wrote("XCLIENT NAME=[UNAVAILABLE]\r\n");
    assert_int_equal(feed("550 not you\r\n"), NGX_SMTP_CLIENT_CLOSE);
    assert_int_equal(cl.verdict.stage, NGX_SMTP_CLIENT_ST_XCLIENT);

    hello(&conf, "250 x\r\n");
    assert_int_equal(cl.state, NGX_SMTP_CLIENT_ST_READY);
}


static void
test_xforward(void **unused)
{
    char                    helo[256], ident[128];
    ngx_str_t               x[NGX_SMTP_CLIENT_XFORWARD_N];
    ngx_smtp_client_conf_t  conf;

    memset(&conf, 0, sizeof(conf));
    memset(x, 0, sizeof(x));

    x[1] = shim_str("192.0.2.1");
    x[2] = shim_str("25");
    x[3] = shim_str("ESMTP");
    x[4] = shim_str("a b");
    x[5] = shim_str("id");
    x[6] = shim_str("REMOTE");

    /* in front of MAIL, two commands, in one group with it */

    hello(&conf, "250-x\r\n250-PIPELINING\r\n"
          "250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\r\n");

    tx.xforward = x;
    rcpt("one@to.test");
    assert_int_equal(ngx_smtp_client_mail(&cl, &tx), NGX_SMTP_CLIENT_WAIT);
    wrote("XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=25\r\n"
          "XFORWARD PROTO=ESMTP HELO=a+20b IDENT=id SOURCE=REMOTE\r\n"
          "MAIL FROM:<a@b.test>\r\nRCPT TO:<one@to.test>\r\n");
    assert_int_equal(feed("250 a\r\n250 b\r\n250 c\r\n450 d\r\n"),
                     NGX_SMTP_CLIENT_MORE);
    verdicts("0:450/1 ");

    /* again behind RSET */

    assert_int_equal(ngx_smtp_client_rset(&cl), NGX_SMTP_CLIENT_WAIT);
    wrote("RSET\r\n");
    assert_int_equal(feed("250 ok\r\n"), NGX_SMTP_CLIENT_DONE);
    cl.rset = 1;
    x[4] = shim_str("b");
    assert_int_equal(ngx_smtp_client_mail(&cl, &tx), NGX_SMTP_CLIENT_WAIT);
    wrote("RSET\r\nXFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=25\r\n"
          "XFORWARD PROTO=ESMTP HELO=b IDENT=id SOURCE=REMOTE\r\n"
          "MAIL FROM:<a@b.test>\r\nRCPT TO:<one@to.test>\r\n");

    /* refused: not said again; the mail goes on */

    assert_int_equal(feed("250 rset\r\n550 no\r\n550 no\r\n250 mail\r\n"),
                     NGX_SMTP_CLIENT_WAIT);
    verdicts("");
    assert_int_equal(feed("550 rcpt\r\n"), NGX_SMTP_CLIENT_MORE);
    verdicts("0:550/1 ");
    (void) ngx_smtp_client_rset(&cl);
    wrote("RSET\r\n");
    (void) feed("250 ok\r\n");
    (void) ngx_smtp_client_mail(&cl, &tx);
    wrote("MAIL FROM:<a@b.test>\r\nRCPT TO:<one@to.test>\r\n");

    /* one after the other; what is too long is not known */

    memset(helo, '=', 100);
    helo[100] = '\0';
    memset(ident, 'i', 64);
    ident[64] = '\0';

    hello(&conf, "250-x\r\n250 XFORWARD HELO NAME IDENT NONSENSE\r\n");
    tx.xforward = x;
    x[0] = shim_str("name");
    x[4] = shim_str(helo);
    x[5] = shim_str(ident);
    rcpt("one@to.test");
    (void) ngx_smtp_client_mail(&cl, &tx);
    wrote("XFORWARD NAME=name\r\n");
    assert_int_equal(feed("250 ok\r\n"), NGX_SMTP_CLIENT_WAIT);
    wrote("XFORWARD HELO=[UNAVAILABLE] "
          "IDENT=iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii"
          "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii\r\n");
    assert_int_equal(feed("250 ok\r\n"), NGX_SMTP_CLIENT_WAIT);
    wrote("MAIL FROM:<a@b.test>\r\n");

    /* no attribute of ours, no XFORWARD; and none if nobody wants it */

    hello(&conf, "250-x\r\n250 XFORWARD NONSENSE\r\n");
    tx.xforward = x;
    rcpt("one@to.test");
    (void) ngx_smtp_client_mail(&cl, &tx);
    wrote("MAIL FROM:<a@b.test>\r\n");

    hello(&conf, "250-x\r\n250 XFORWARD ADDR\r\n");
    rcpt("one@to.test");
    (void) ngx_smtp_client_mail(&cl, &tx);
    wrote("MAIL FROM:<a@b.test>\r\n");

    /* 354 to it is nonsense */

    hello(&conf, "250-x\r\n250 XFORWARD ADDR\r\n");
    tx.xforward = x;
    rcpt("one@to.test");
    (void) ngx_smtp_client_mail(&cl, &tx);
    wrote("XFORWARD ADDR=192.0.2.1\r\n");
    assert_int_equal(feed("354 go\r\n"), NGX_SMTP_CLIENT_CLOSE);
    verdicts("0:451/-1 ");
}


static void
test_auth(void **unused)
{
    ngx_smtp_client_conf_t  conf;

    memset(&conf, 0, sizeof(conf));

    conf.user = shim_str("u");
    conf.password = shim_str("p");

    /* never in clear */

    hello(&conf, "250-x\r\n250 AUTH PLAIN\r\n");
    assert_int_equal(cl.state, NGX_SMTP_CLIENT_ST_CLOSED);
    wrote("");

    conf.tls_on = 1;

    hello(&conf, "250-x\r\n250 AUTH LOGIN PLAIN\r\n");
    wrote("AUTH PLAIN AHUAcA==\r\n");
    assert_int_equal(feed("235 ok\r\n"), NGX_SMTP_CLIENT_READY);

    hello(&conf, "250-x\r\n250 AUTH LOGIN\r\n");
    wrote("AUTH LOGIN\r\n");
    assert_int_equal(feed("334 VXNlcm5hbWU6\r\n"), NGX_SMTP_CLIENT_WAIT);
    wrote("dQ==\r\n");
    assert_int_equal(feed("334 UGFzc3dvcmQ6\r\n"), NGX_SMTP_CLIENT_WAIT);
    wrote("cA==\r\n");
    assert_int_equal(feed("235 ok\r\n"), NGX_SMTP_CLIENT_READY);

    hello(&conf, "250-x\r\n250 AUTH LOGIN\r\n");
    wrote("AUTH LOGIN\r\n");
    assert_int_equal(feed("235 too early\r\n"), NGX_SMTP_CLIENT_CLOSE);

    hello(&conf, "250-x\r\n250 AUTH PLAIN\r\n");
    wrote("AUTH PLAIN AHUAcA==\r\n");
    assert_int_equal(feed("535 no\r\n"), NGX_SMTP_CLIENT_CLOSE);
    assert_int_equal(cl.verdict.code, 535);

    hello(&conf, "250-x\r\n250 AUTH PLAIN\r\n");
    wrote("AUTH PLAIN AHUAcA==\r\n");
    assert_int_equal(feed("334 more\r\n"), NGX_SMTP_CLIENT_CLOSE);

    hello(&conf, "250 x\r\n");
    assert_int_equal(cl.state, NGX_SMTP_CLIENT_ST_CLOSED);
}


static void
test_xoauth2(void **unused)
{
    char                    token[NGX_SMTP_CLIENT_SECRET_MAX + 2];
    ngx_smtp_client_conf_t  conf;

    memset(&conf, 0, sizeof(conf));

    conf.user = shim_str("u");
    conf.password = shim_str("t");
    conf.tls_on = 1;
    conf.xoauth2 = 1;

    /* "user=u^Aauth=Bearer t^A^A" */

    hello(&conf, "250-x\r\n250 AUTH LOGIN XOAUTH2\r\n");
    wrote("AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==\r\n");
    assert_int_equal(feed("235 ok\r\n"), NGX_SMTP_CLIENT_READY);
    assert_int_equal(cl.conf.password.len, 0);

    /* the challenge that says why not is answered by nothing */

    hello(&conf, "250-x\r\n250 AUTH XOAUTH2\r\n");
    wrote("AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==\r\n");
    assert_int_equal(feed("334 eyJzdGF0dXMiOiI0MDEifQ==\r\n"),
                     NGX_SMTP_CLIENT_WAIT);
    wrote("\r\n");
    assert_int_equal(feed("535 5.7.8 no\r\n"), NGX_SMTP_CLIENT_CLOSE);
    assert_int_equal(cl.verdict.code, 535);

    hello(&conf, "250-x\r\n250 AUTH XOAUTH2\r\n");
    wrote("AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==\r\n");
    (void) feed("334 x\r\n");
    wrote("\r\n");
    assert_int_equal(feed("235 well\r\n"), NGX_SMTP_CLIENT_CLOSE);

    /* not offered: no password to a mechanism it is not for */

    hello(&conf, "250-x\r\n250 AUTH PLAIN LOGIN\r\n");
    assert_int_equal(cl.state, NGX_SMTP_CLIENT_ST_CLOSED);
    wrote("");

    /* too long for the command, in a response of its own */

    memset(token, 'a', sizeof(token));
    token[400] = '\0';
    conf.password = shim_str(token);

    hello(&conf, "250-x\r\n250 AUTH XOAUTH2\r\n");
    wrote("AUTH XOAUTH2\r\n");
    assert_int_equal(feed("235 early\r\n"), NGX_SMTP_CLIENT_CLOSE);

    hello(&conf, "250-x\r\n250 AUTH XOAUTH2\r\n");
    wrote("AUTH XOAUTH2\r\n");
    assert_int_equal(feed("334 \r\n"), NGX_SMTP_CLIENT_WAIT);
    cl.to_send = NGX_SMTP_CLIENT_ST_CONNECT;
    cl.pending = 1;
    assert_int_equal(feed("334 x\r\n"), NGX_SMTP_CLIENT_WAIT);
    wrote("\r\n");

    /* the longest one fits, a longer one does not go; and no ^A */

    token[400] = 'a';
    token[NGX_SMTP_CLIENT_SECRET_MAX] = '\0';
    conf.password = shim_str(token);
    hello(&conf, "250-x\r\n250 AUTH XOAUTH2\r\n");
    wrote("AUTH XOAUTH2\r\n");
    (void) feed("334 \r\n");
    {
        u_char  buf[NGX_SMTP_CLIENT_COMMAND_MAX];

        assert_true(ngx_smtp_client_write(&cl, buf, buf + sizeof(buf)) - buf
                    > NGX_SMTP_CLIENT_SECRET_MAX);
    }
    assert_int_equal(feed("235 ok\r\n"), NGX_SMTP_CLIENT_READY);

    token[NGX_SMTP_CLIENT_SECRET_MAX] = 'a';
    token[NGX_SMTP_CLIENT_SECRET_MAX + 1] = '\0';
    conf.password = shim_str(token);
    hello(&conf, "250-x\r\n250 AUTH XOAUTH2\r\n");
    assert_int_equal(cl.state, NGX_SMTP_CLIENT_ST_CLOSED);

    conf.password = shim_str("t\001auth=Bearer x");
    hello(&conf, "250-x\r\n250 AUTH XOAUTH2\r\n");
    assert_int_equal(cl.state, NGX_SMTP_CLIENT_ST_CLOSED);
    wrote("");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_more),
        cmocka_unit_test(test_rset),
        cmocka_unit_test(test_unasked),
        cmocka_unit_test(test_xclient),
        cmocka_unit_test(test_xforward),
        cmocka_unit_test(test_auth),
        cmocka_unit_test(test_xoauth2)
    };

    return shim_run(tests);
}
