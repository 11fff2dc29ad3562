
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The client's dialogue with scripted peers, good and bad.  A script is a list
 * of steps, the first octet telling what is done:
 *
 *     "<..."  the peer sends this; then "=" tells the action
 *     ">..."  what the client writes now, all of it; "" is nothing
 *     "="     an action, by name: wait tls ready body done close
 *     "M"     ngx_smtp_client_mail()     "E"  _end()     "T"  _tls_done()
 *     "Q"     ngx_smtp_client_quit()     "L0" to "L3"    _lost(how)
 *     "v..."  the verdicts told since the last "v"
 *     "x..."  cl->verdict
 *
 * A verdict is "recipient:code/status/stage[!][?]": "!" ours, "?" unknown.
 * Scripts run with input at once, and octet by octet.
 *
 * sources: protocol/ngx_smtp_client.c protocol/ngx_smtp_client_write.c
 * sources: protocol/ngx_smtp_client_login.c
 * sources: protocol/ngx_smtp_response.c protocol/ngx_smtp_reply.c
 * sources: protocol/ngx_smtp_param.c protocol/ngx_smtp_address.c
 */


#include "shim.h"

#include <string.h>

#include "ngx_smtp_client.h"


#define OFF   NGX_SMTP_CLIENT_TLS_OFF
#define OPP   NGX_SMTP_CLIENT_TLS_OPPORTUNISTIC
#define REQ   NGX_SMTP_CLIENT_TLS_REQUIRE

/* the begin of most sessions */
#define HELLO(caps)                                                           \
    "=wait", ">", "<220 mx ESMTP\r\n", "=wait", ">EHLO me\r\n",               \
    "<250-mx\r\n" caps "250 HELP\r\n"

#define PIPE    HELLO("250-PIPELINING\r\n"), "=ready"
#define NOPIPE  HELLO(""), "=ready"


/* what is sent */
typedef struct {
    const char   *sender;
    const char   *rcpts[4];
    off_t         size;
    const char   *flags;     /* 8: 8BITMIME, u: SMTPUTF8, n: needed, t:
                                REQUIRETLS, d: DSN parameters */
} test_tx_t;


typedef struct {
    const char   *name;
    ngx_uint_t    tls;
    test_tx_t     tx;
    const char   *steps[48];
} test_script_t;


typedef struct {
    ngx_smtp_client_t      cl;
    ngx_smtp_client_tx_t   tx;
    ngx_smtp_rcpt_t        rcpts[4];
    ngx_smtp_rcpt_t       *prcpts[4];
    u_char                 state[4];
    ngx_uint_t             told[4];
    ngx_int_t              action;
    char                   verdicts[1024];
} test_ctx_t;


static void test_scripts(void **state);
static void test_many(void **state);
static void test_write_room(void **state);
static void test_timeouts(void **state);
static void test_cut_everywhere(void **state);
static void test_run(test_script_t *t, size_t step, size_t cut);
static ngx_int_t test_feed(void *data, u_char *in, size_t len);
static void test_action(test_script_t *t, test_ctx_t *ctx, const char *name);
static void test_written(test_script_t *t, test_ctx_t *ctx,
    const char *expected);
static void test_prepare(test_ctx_t *ctx, test_tx_t *t);
static void test_told(void *data, ngx_uint_t i, ngx_smtp_verdict_t *v);
static char *test_put_verdict(char *p, ngx_smtp_verdict_t *v);


#define ONE  { "a@b", { "c@d" }, 100, "" }
#define TWO  { "a@b", { "c@d", "e@f" }, 100, "" }


static test_script_t  test_list[] = {

    { "one message, pipelined", OFF, ONE,
      { PIPE, "M", "=wait",
        ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n", "=wait", "<250 ok\r\n", "=wait", "<354 go\r\n",
        "=body", ">", "v", "E", "=wait", "<250 2.0.0 queued\r\n", "=done",
        "v0:250/2.0.0/eom ", "Q", "=wait", ">QUIT\r\n",
        "<221 bye\r\n", "=close", "x221//quit" } },

    { "one message, replies in one segment", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "=body", "E", "=wait",
        "<250 ok\r\n", "=done", "v0:250//eom " } },

    { "one message, not pipelined", OFF, ONE,
      { NOPIPE, "M", ">MAIL FROM:<a@b>\r\n", ">", "<250 ok\r\n", "=wait",
        ">RCPT TO:<c@d>\r\n", "<250 ok\r\n", "=wait", ">DATA\r\n",
        "<354 go\r\n", "=body", "E", "<250 ok\r\n", "=done",
        "v0:250//eom " } },

    { "two messages", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "=body", "E", "<250 ok\r\n",
        "=done", "v0:250//eom ", "M", "=wait",
        ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "=body", "E",
        "<451 4.3.0 later\r\n", "=done", "v0:451/4.3.0/eom ", "Q",
        ">QUIT\r\n" } },

    { "all parameters", OFF, { "a@b", { "c@d" }, 100, "8ud" },
      { HELLO("250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
              "250-DSN\r\n"), "=ready", "M",
        ">MAIL FROM:<a@b> SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS"
        " ENVID=x+20y\r\n", "<250 ok\r\n", "=wait",
        ">RCPT TO:<c@d> NOTIFY=FAILURE,DELAY ORCPT=rfc822;c@d\r\n" } },

    { "ORCPT where none came", OFF, { "a@b", { "c+x=y@d" }, 0, "" },
      { HELLO("250-DSN\r\n"), "=ready", "M", ">MAIL FROM:<a@b>\r\n",
        "<250 ok\r\n", "=wait",
        ">RCPT TO:<c+x=y@d> ORCPT=rfc822;c+2Bx+3Dy@d\r\n" } },

    { "ORCPT where none came, internationalized", OFF,
      { "a@b", { "\303\266+x@d" }, 0, "un" },
      { HELLO("250-SMTPUTF8\r\n250-DSN\r\n"), "=ready", "M",
        ">MAIL FROM:<a@b> SMTPUTF8\r\n", "<250 ok\r\n", "=wait",
        ">RCPT TO:<\303\266+x@d> ORCPT=utf-8;\\x{F6}\\x{2B}x@d\r\n" } },

    { "ORCPT that came in UTF-8", OFF, { "a@b", { "c@d" }, 0, "o" },
      { HELLO("250-DSN\r\n"), "=ready", "M", ">MAIL FROM:<a@b>\r\n",
        "<250 ok\r\n", "=wait",
        ">RCPT TO:<c@d> ORCPT=utf-8;\\x{F6}@\\x{20AC}\r\n" } },

    { "nothing is told of a report", OFF, { "", { "c@d" }, 0, "v" },
      { HELLO("250-DSN\r\n"), "=ready", "M", ">MAIL FROM:<>\r\n",
        "<250 ok\r\n", "=wait", ">RCPT TO:<c@d> NOTIFY=NEVER\r\n" } },

    { "no parameters without their extensions", OFF,
      { "a@b", { "c@d" }, 100, "8ud" },
      { NOPIPE, "M", ">MAIL FROM:<a@b>\r\n", "<250 ok\r\n", "=wait",
        ">RCPT TO:<c@d>\r\n" } },

    { "null sender", OFF, { "", { "c@d" }, 100, "" },
      { NOPIPE, "M", ">MAIL FROM:<>\r\n" } },

    { "the recipient postmaster", OFF, { "", { "postmaster" }, 100, "" },
      { NOPIPE, "M", ">MAIL FROM:<>\r\n", "<250 ok\r\n", "=wait",
        ">RCPT TO:<postmaster>\r\n" } },

    /* HELO */

    { "EHLO unknown", OPP, ONE,
      { "<220 mx\r\n", ">EHLO me\r\n", "<500 what\r\n", "=wait",
        ">HELO me\r\n", "<250 mx\r\n", "=ready", "M",
        ">MAIL FROM:<a@b>\r\n" } },

    { "keywords of a refused EHLO do not count", OPP, ONE,
      { "<220 mx\r\n", ">EHLO me\r\n",
        "<502-what\r\n502-STARTTLS\r\n502 PIPELINING\r\n",
        "=wait", ">HELO me\r\n", "<250 mx\r\n", "=ready", "M",
        ">MAIL FROM:<a@b>\r\n" } },

    { "HELO refused", OFF, ONE,
      { "<220 mx\r\n", ">EHLO me\r\n", "<500 what\r\n", ">HELO me\r\n",
        "<550 5.7.1 no\r\n", "=close", "x550/5.7.1/helo" } },

    { "EHLO refused for now", OFF, ONE,
      { "<220 mx\r\n", ">EHLO me\r\n", "<451 4.3.0 later\r\n", "=close",
        "x451/4.3.0/ehlo" } },

    { "greeting refused", OFF, ONE,
      { "<554 5.7.1 go away\r\n", "=close", "x554/5.7.1/greeting", ">" } },

    { "greeting busy", OFF, ONE,
      { "<421 4.3.2 busy\r\n", "=close", "x421/4.3.2/greeting" } },

    { "greeting of something else", OFF, ONE,
      { "<HTTP/1.1 400 Bad Request\r\n", "=close",
        "x451/4.5.0/greeting!" } },

    { "greeting that is none", OFF, ONE,
      { "<250 hello\r\n", "=close", "x451/4.5.0/greeting!" } },

    { "two greetings", OFF, ONE,
      { "<220 mx\r\n220 mx\r\n", "=close", "x451/4.5.0/ehlo!" } },

    { "EHLO answered before it was sent", OFF, ONE,
      { "<220 mx\r\n250-", "=close", "x451/4.5.0/ehlo!" } },

    /* STARTTLS */

    { "STARTTLS", OPP, ONE,
      { HELLO("250-STARTTLS\r\n250-PIPELINING\r\n"), "=wait", ">STARTTLS\r\n",
        "<220 go\r\n", "=tls", ">", "T", "=wait", ">EHLO me\r\n",
        "<250-mx\r\n250 SIZE\r\n", "=ready", "M",
        ">MAIL FROM:<a@b> SIZE=100\r\n" } },

    { "STARTTLS offered again", OPP, ONE,
      { HELLO("250-STARTTLS\r\n"), ">STARTTLS\r\n", "<220 go\r\n", "=tls",
        "T", ">EHLO me\r\n", "<250-mx\r\n250 STARTTLS\r\n", "=ready" } },

    { "STARTTLS not wanted", OFF, ONE, { HELLO("250-STARTTLS\r\n"),
      "=ready" } },

    { "STARTTLS refused, opportunistic", OPP, ONE,
      { HELLO("250-STARTTLS\r\n"), ">STARTTLS\r\n", "<454 4.7.0 no\r\n",
        "=ready" } },

    { "STARTTLS refused, required", REQ, ONE,
      { HELLO("250-STARTTLS\r\n"), ">STARTTLS\r\n", "<454 4.7.0 no\r\n",
        "=close", "x451/4.7.0/starttls!", ">" } },

    { "STARTTLS stripped, required", REQ, ONE,
      { HELLO(""), "=close", "x451/4.7.0/starttls!", ">" } },

    { "HELO only, required", REQ, ONE,
      { "<220 mx\r\n", ">EHLO me\r\n", "<500 what\r\n", ">HELO me\r\n",
        "<250 mx\r\n", "=close", "x451/4.7.0/starttls!" } },

    { "plaintext behind the 220", OPP, ONE,
      { HELLO("250-STARTTLS\r\n"), ">STARTTLS\r\n",
        "<220 go\r\n250 forged\r\n", "=close", "x451/4.5.0/tls!" } },

    { "half a reply behind the 220", OPP, ONE,
      { HELLO("250-STARTTLS\r\n"), ">STARTTLS\r\n", "<220 go\r\n2",
        "=close", "x451/4.5.0/tls!" } },

    { "handshake failed", REQ, ONE,
      { HELLO("250-STARTTLS\r\n"), ">STARTTLS\r\n", "<220 go\r\n", "=tls",
        "L2", "=close", "x451/4.7.5/tls!" } },

    { "EHLO refused inside of TLS", OPP, ONE,
      { HELLO("250-STARTTLS\r\n"), ">STARTTLS\r\n", "<220 go\r\n", "=tls",
        "T", ">EHLO me\r\n", "<500 what\r\n", "=close", "x500//ehlo" } },

    /* refusals, pipelined */

    { "MAIL refused", OFF, TWO,
      { PIPE, "M",
        ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n",
        "<550 5.1.8 no\r\n", "=wait",
        "v0:550/5.1.8/mail 1:550/5.1.8/mail ", "<503 1\r\n503 2\r\n", "=wait",
        "<503 3\r\n", "=done", "v", "M", "=wait", ">RSET\r\nMAIL FROM:<a@b>"
        "\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n" } },

    { "MAIL refused, but RCPT and DATA are not", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<550 no\r\n", "v0:550//mail ", "<250 ok\r\n354 go\r\n", "=wait",
        ">.\r\n", "<250 thanks\r\n", "=done", "v", "M",
        ">RSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 1\r\n250 2\r\n250 3\r\n354 4\r\n", "=body", "E",
        "<250 5\r\n", "=done", "v0:250//eom " } },

    { "one recipient refused", OFF, TWO,
      { PIPE, "M",
        ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n",
        "<250 ok\r\n550 5.1.1 who\r\n", "v0:550/5.1.1/rcpt ",
        "<250 ok\r\n354 go\r\n", "=body", "E", "<250 ok\r\n", "=done",
        "v1:250//eom " } },

    { "one recipient deferred, message refused", OFF, TWO,
      { PIPE, "M",
        ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n452 4.5.3 many\r\n354 go\r\n", "=body",
        "v1:452/4.5.3/rcpt ", "E", "<554 5.6.0 spam\r\n", "=done",
        "v0:554/5.6.0/eom " } },

    { "all recipients refused, DATA too", OFF, TWO,
      { PIPE, "M",
        ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n",
        "<250 ok\r\n550 1\r\n450 2\r\n", "=wait",
        "v0:550//rcpt 1:450//rcpt ", "<554 none\r\n", "=done", "v", "M",
        ">RSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\n"
        "DATA\r\n" } },

    { "all recipients refused, DATA accepted: a lone dot", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n550 1\r\n354 go\r\n", "=wait", "v0:550//rcpt ",
        ">.\r\n", ">", "<554 none\r\n", "=done", "v" } },

    { "DATA refused", OFF, TWO,
      { PIPE, "M",
        ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n250 ok\r\n451 4.3.0 no\r\n", "=done",
        "v0:451/4.3.0/data 1:451/4.3.0/data ", "M",
        ">RSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\n"
        "DATA\r\n", "<250 ok\r\n550 no\r\n", "=wait",
        "v0:550//mail 1:550//mail " } },

    /* refusals, not pipelined */

    { "MAIL refused, not pipelined", OFF, TWO,
      { NOPIPE, "M", ">MAIL FROM:<a@b>\r\n", "<450 4.7.1 grey\r\n", "=done",
        "v0:450/4.7.1/mail 1:450/4.7.1/mail ", ">", "M",
        ">MAIL FROM:<a@b>\r\n" } },

    { "all recipients refused, not pipelined", OFF, TWO,
      { NOPIPE, "M", ">MAIL FROM:<a@b>\r\n", "<250 ok\r\n", "=wait",
        ">RCPT TO:<c@d>\r\n", "<550 1\r\n", "=wait", ">RCPT TO:<e@f>\r\n",
        "<550 2\r\n", "=done", "v0:550//rcpt 1:550//rcpt ", ">", "M",
        ">RSET\r\n", ">", "<250 ok\r\n", "=wait", ">MAIL FROM:<a@b>\r\n" } },

    { "DATA refused, not pipelined", OFF, ONE,
      { NOPIPE, "M", ">MAIL FROM:<a@b>\r\n", "<250 ok\r\n",
        ">RCPT TO:<c@d>\r\n", "<250 ok\r\n", ">DATA\r\n", "<554 no\r\n",
        "=done", "v0:554//data ", "Q", ">QUIT\r\n" } },

    /* what cannot be sent to this peer */

    { "larger than SIZE", OFF, { "a@b", { "c@d" }, 1001, "" },
      { HELLO("250-SIZE 1000\r\n"), "=ready", "M", "=done",
        "v0:552/5.3.4/mail! ", ">", "Q", "=wait", ">QUIT\r\n" } },

    { "as large as SIZE", OFF, { "a@b", { "c@d" }, 1000, "" },
      { HELLO("250-SIZE 1000\r\n"), "=ready", "M", "=wait",
        ">MAIL FROM:<a@b> SIZE=1000\r\n" } },

    { "SMTPUTF8 needed and missing", OFF,
      { "a@b", { "c@d", "e@f" }, 100, "un" },
      { NOPIPE, "M", "=done", "v0:550/5.6.7/mail! 1:550/5.6.7/mail! " } },

    { "SMTPUTF8 needed and offered", OFF, { "a@b", { "c@d" }, 100, "n" },
      { HELLO("250-SMTPUTF8\r\n"), "=ready", "M",
        ">MAIL FROM:<a@b> SMTPUTF8\r\n" } },

    { "a UTF-8 recipient is refused alone", OFF,
      { "a@b", { "\xc3\xa4@d", "e@f" }, 100, "" },
      { PIPE, "M", "=wait", "v0:550/5.6.7/rcpt! ",
        ">MAIL FROM:<a@b>\r\nRCPT TO:<e@f>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "=body", "E", "<250 ok\r\n",
        "=done", "v1:250//eom " } },

    { "a UTF-8 sender", OFF, { "\xc3\xa4@b", { "c@d" }, 100, "" },
      { NOPIPE, "M", "=done", "v0:550/5.6.7/mail! " } },

    { "REQUIRETLS in the clear", OFF, { "a@b", { "c@d" }, 100, "t" },
      { HELLO("250-REQUIRETLS\r\n"), "=ready", "M", "=done",
        "v0:550/5.7.30/mail! " } },

    { "REQUIRETLS", REQ, { "a@b", { "c@d" }, 100, "t" },
      { HELLO("250-STARTTLS\r\n"), ">STARTTLS\r\n", "<220 go\r\n", "T",
        ">EHLO me\r\n", "<250-mx\r\n250 REQUIRETLS\r\n", "=ready", "M",
        ">MAIL FROM:<a@b> REQUIRETLS\r\n" } },

    { "a command in a sender", OFF,
      { "a@b>\r\nRCPT TO:<x@y", { "c@d" }, 100, "" },
      { PIPE, "M", "=done", "v0:553/5.1.7/mail! ", ">" } },

    { "a command in a recipient", OFF,
      { "a@b", { "c@d>\r\nRSET\r\nMAIL FROM:<", "e@f" }, 100, "" },
      { PIPE, "M", "=wait", "v0:553/5.1.3/rcpt! ",
        ">MAIL FROM:<a@b>\r\nRCPT TO:<e@f>\r\nDATA\r\n" } },

    { "no recipient is left", OFF, { "a@b", { "c d" }, 100, "" },
      { PIPE, "M", "=done", "v0:553/5.1.3/rcpt! ", ">" } },

    /* 421 */

    { "421 to MAIL", OFF, TWO,
      { PIPE, "M",
        ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n",
        "<421 4.3.2 down\r\n", "=close",
        "v0:421/4.3.2/mail 1:421/4.3.2/mail ", "x421/4.3.2/mail" } },

    { "421 to the second recipient", OFF, TWO,
      { PIPE, "M",
        ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n",
        "<250 ok\r\n550 1\r\n421 down\r\n", "=close",
        "v0:550//rcpt 1:421//rcpt " } },

    { "421 between messages", OFF, ONE,
      { PIPE, "<421 4.4.2 idle\r\n", "=close", "x421/4.4.2/ready", "v" } },

    { "421 while the body is sent", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "=body", "<421 4.3.2 down\r\n",
        "=close", "v0:421/4.3.2/body " } },

    { "421 to the end of data", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "=body", "E",
        "<421 4.3.2 down\r\n", "=close", "v0:421/4.3.2/eom " } },

    { "421 right behind the reply to the message", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "E",
        "<250 2.0.0 ok\r\n421 bye\r\n", "=close", "v0:250/2.0.0/eom ",
        "x421//ready" } },

    /* replies that answer nothing, or nonsense */

    { "an early reply to the message", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n", "=close",
        "v0:451/4.5.0/body! " } },

    { "354 twice", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "=body", "<354 go\r\n", "=close",
        "v0:451/4.5.0/body! " } },

    { "an early refusal of the message is not final", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "=body", "<552 large\r\n",
        "=close", "v0:451/4.5.0/body! " } },

    { "half an early reply does not become the final one", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n250 que", "=body", "E", "=close",
        "v0:451/4.5.0/body! " } },

    { "half a reply between messages does not answer the next", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "E", "<250 ok\r\n25", "=done",
        "v0:250//eom ", "M", "=close", "v0:451/4.5.0/ready! " } },

    { "half a reply between commands", OFF, ONE,
      { NOPIPE, "M", ">MAIL FROM:<a@b>\r\n", "<250 ok\r\n2", "=close",
        "v0:451/4.5.0/rcpt! " } },

    { "a reply to no command", OFF, ONE,
      { PIPE, "<250 ok\r\n", "=close", "x451/4.5.0/ready!" } },

    { "one reply too many", OFF, ONE,
      { NOPIPE, "M", ">MAIL FROM:<a@b>\r\n", "<250 ok\r\n250 ok\r\n",
        "=close", "v0:451/4.5.0/rcpt! " } },

    { "354 to MAIL", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<354 go\r\n", "=close", "v0:451/4.5.0/mail! " } },

    { "354 to RCPT", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n354 go\r\n", "=close", "v0:451/4.5.0/rcpt! " } },

    { "250 to DATA", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n250 ok\r\n", "=close",
        "v0:451/4.5.0/data! " } },

    { "354 to the end of data", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "E", "<354 go\r\n", "=close",
        "v0:451/4.5.0/eom!? " } },

    { "nonsense to the end of data", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "E", "<hello\r\n", "=close",
        "v0:451/4.5.0/eom!? " } },

    { "mixed codes", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250-ok\r\n550 no\r\n", "=close", "v0:451/4.5.0/mail! " } },

    { "RSET refused", OFF, ONE,
      { NOPIPE, "M", ">MAIL FROM:<a@b>\r\n", "<250 ok\r\n",
        ">RCPT TO:<c@d>\r\n", "<550 1\r\n", "=done", "v0:550//rcpt ", "M",
        ">RSET\r\n", "<502 what\r\n", "=close", "v0:451/4.5.0/rset! " } },

    /* the connection goes */

    { "closed before the greeting", OFF, ONE,
      { "L0", "=close", "x451/4.4.2/greeting!" } },

    { "closed in the envelope", OFF, TWO,
      { PIPE, "M",
        ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n",
        "<250 ok\r\n550 1\r\n", "L0", "=close",
        "v0:550//rcpt 1:451/4.4.2/rcpt! ", "x451/4.4.2/rcpt!" } },

    { "timed out in the body", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "L1", "=close",
        "v0:451/4.4.2/body! " } },

    { "no answer to the end of data", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "E", "L1", "=close",
        "v0:451/4.4.2/eom!? ", "x451/4.4.2/eom!?" } },

    { "half an answer to the end of data", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "E", "<250-o\r\n250 k", "=wait",
        "L0", "=close", "v0:451/4.4.2/eom!? " } },

    { "the body cannot be read", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        "<250 ok\r\n250 ok\r\n354 go\r\n", "L3", "=close",
        "v0:451/4.3.0/body! " } },

    { "closed twice", OFF, ONE,
      { PIPE, "L0", "=close", "x451/4.4.2/ready!", "L1", "=close",
        "x451/4.4.2/ready!", "M", "=close", "v0:451/4.3.0/closed! ",
        "<250 ok\r\n", "=close" } },

    { "closed instead of an answer to QUIT", OFF, ONE,
      { PIPE, "Q", ">QUIT\r\n", "L0", "=close" } },

    { "the end without a body", OFF, ONE,
      { PIPE, "M", ">MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", "E",
        "=close", "v0:451/4.5.0/mail! " } }
};


#define TEST_LIST_END  (test_list + sizeof(test_list) / sizeof(test_list[0]))


static void
test_scripts(void **state)
{
    test_script_t  *t;

    for (t = test_list; t < TEST_LIST_END; t++) {
        test_run(t, 0, 0);
        test_run(t, 1, 0);
        test_run(t, 3, 0);
    }
}


/*
 * The connection is lost after each step of each script: whatever the state,
 * every recipient of a message that was begun has exactly one verdict.
 */

static void
test_cut_everywhere(void **state)
{
    size_t          cut;
    test_script_t  *t;

    for (t = test_list; t < TEST_LIST_END; t++) {
        for (cut = 1; t->steps[cut - 1]; cut++) {
            test_run(t, 0, cut);
        }
    }
}


static void
test_run(test_script_t *t, size_t step, size_t cut)
{
    char                     buf[64];
    size_t                   n;
    test_ctx_t               ctx;
    ngx_uint_t               i;
    const char             **s, *arg;
    ngx_smtp_client_conf_t   conf;

    memset(&ctx, 0, sizeof(ctx));
    memset(&conf, 0, sizeof(conf));

    conf.helo = shim_str("me");
    conf.tls = t->tls;

    ngx_smtp_client_init(&ctx.cl, &conf);

    for (n = 0, s = t->steps; *s; n++, s++) {

        if (cut && n == cut) {
            break;
        }

        arg = *s + 1;

        switch (**s) {

        case '<':
            ctx.action = NGX_SMTP_CLIENT_WAIT;
            (void) shim_feed(test_feed, &ctx, arg, strlen(arg), step);
            break;

        case '>':
            test_written(t, &ctx, arg);
            break;

        case '=':
            test_action(t, &ctx, arg);
            break;

        case 'M':
            test_prepare(&ctx, &t->tx);
            ctx.action = ngx_smtp_client_mail(&ctx.cl, &ctx.tx);
            break;

        case 'E':
            ctx.action = ngx_smtp_client_end(&ctx.cl);
            break;

        case 'T':
            ctx.action = ngx_smtp_client_tls_done(&ctx.cl);
            break;

        case 'Q':
            ctx.action = ngx_smtp_client_quit(&ctx.cl);
            break;

        case 'L':
            ctx.action = ngx_smtp_client_lost(&ctx.cl, *arg - '0');
            break;

        case 'v':
            if (strcmp(ctx.verdicts, arg) != 0) {
                fail_msg("%s, step %zu: verdicts \"%s\", not \"%s\"", t->name,
                         n, ctx.verdicts, arg);
            }

            ctx.verdicts[0] = '\0';
            break;

        case 'x':
            *test_put_verdict(buf, &ctx.cl.verdict) = '\0';

            if (strcmp(buf, arg) != 0) {
                fail_msg("%s, step %zu: \"%s\", not \"%s\"", t->name, n, buf,
                         arg);
            }

            break;
        }

        /* when a message is over, all its recipients were told */

        if (ctx.tx.nrcpts && ctx.cl.tx == NULL) {
            for (i = 0; i < ctx.tx.nrcpts; i++) {
                if (ctx.told[i] != 1) {
                    fail_msg("%s, step %zu: rcpt %lu told %lu times", t->name,
                             n, i, ctx.told[i]);
                }
            }
        }
    }

    (void) ngx_smtp_client_lost(&ctx.cl, NGX_SMTP_CLIENT_LOST_CLOSED);

    assert_null(ctx.cl.tx);

    for (i = 0; i < ctx.tx.nrcpts; i++) {
        assert_int_equal(ctx.told[i], 1);
    }
}


static ngx_int_t
test_feed(void *data, u_char *in, size_t len)
{
    test_ctx_t *ctx = data;

    u_char     *pos;
    ngx_int_t   action;

    pos = in;

    action = ngx_smtp_client_recv(&ctx->cl, &pos, in + len);

    assert_ptr_equal(pos, in + len);

    if (action != NGX_SMTP_CLIENT_WAIT) {
        ctx->action = action;
    }

    return NGX_AGAIN;
}


static void
test_action(test_script_t *t, test_ctx_t *ctx, const char *name)
{
    static const char  *names[] = {
        "wait", "tls", "ready", "body", "done", "close"
    };

    if (strcmp(names[ctx->action], name) != 0) {
        fail_msg("%s: action \"%s\", not \"%s\"", t->name, names[ctx->action],
                 name);
    }
}


static void
test_written(test_script_t *t, test_ctx_t *ctx, const char *expected)
{
    u_char  buf[2 * NGX_SMTP_CLIENT_COMMAND_MAX], *p;

    p = ngx_smtp_client_write(&ctx->cl, buf, buf + sizeof(buf) - 1);
    *p = '\0';

    if (strcmp((char *) buf, expected) != 0) {
        fail_msg("%s: wrote \"%s\", not \"%s\"", t->name, buf, expected);
    }
}


static void
test_prepare(test_ctx_t *ctx, test_tx_t *t)
{
    ngx_uint_t             i;
    ngx_smtp_client_tx_t  *tx;

    tx = &ctx->tx;

    memset(tx, 0, sizeof(*tx));
    memset(ctx->told, 0, sizeof(ctx->told));
    memset(ctx->state, 0xff, sizeof(ctx->state));

    tx->sender = shim_str(t->sender);

    for (i = 0; i < 4 && t->rcpts[i]; i++) {
        memset(&ctx->rcpts[i], 0, sizeof(ngx_smtp_rcpt_t));
        ctx->rcpts[i].mailbox = shim_str(t->rcpts[i]);
        ctx->prcpts[i] = &ctx->rcpts[i];
    }

    tx->rcpts = ctx->prcpts;
    tx->nrcpts = i;
    tx->state = ctx->state;
    tx->size = t->size;
    tx->eightbit = strchr(t->flags, '8') != NULL;
    tx->smtputf8 = strchr(t->flags, 'u') != NULL;
    tx->need_utf8 = strchr(t->flags, 'n') != NULL;
    tx->requiretls = strchr(t->flags, 't') != NULL;

    if (strchr(t->flags, 'd')) {
        tx->ret = NGX_SMTP_RET_HDRS;
        tx->envid = shim_str("x+20y");
        ctx->rcpts[0].notify = NGX_SMTP_NOTIFY_FAILURE|NGX_SMTP_NOTIFY_DELAY;
        ctx->rcpts[0].orcpt = shim_str("rfc822;c@d");
    }

    if (strchr(t->flags, 'o')) {
        ctx->rcpts[0].orcpt = shim_str("utf-8;\303\266@\342\202\254");
    }

    if (strchr(t->flags, 'v')) {
        ctx->rcpts[0].notify = NGX_SMTP_NOTIFY_NEVER;
    }

    tx->handler = test_told;
    tx->data = ctx;
}


static void
test_told(void *data, ngx_uint_t i, ngx_smtp_verdict_t *v)
{
    test_ctx_t *ctx = data;

    char  *p;

    assert_in_range(v->code, 200, 599);
    assert_in_range(i, 0, ctx->tx.nrcpts - 1);

    ctx->told[i]++;

    p = ctx->verdicts + strlen(ctx->verdicts);
    p += sprintf(p, "%lu:", i);
    p = test_put_verdict(p, v);
    strcpy(p, " ");
}


static char *
test_put_verdict(char *p, ngx_smtp_verdict_t *v)
{
    static const char  *names[] = {
        "connect", "greeting", "ehlo", "helo", "starttls", "tls",
        "xclient", "auth", "auth-user", "auth-password", "auth-response",
        "auth-cancel", "ready", "rset", "xforward", "mail", "rcpt", "data",
        "body", "eom", "dot", "quit",
        "closed"
    };

    return p + sprintf(p, "%lu/%.*s/%s%s%s", v->code, (int) v->status.len,
                       v->status.data, names[v->stage], v->local ? "!" : "",
                       v->unknown ? "?" : "");
}


/* a hundred recipients through a buffer that holds one command */

static void
test_many(void **state)
{
    u_char                   buf[NGX_SMTP_CLIENT_COMMAND_MAX + 10], *p, *pos;
    u_char                   rstate[100];
    ngx_uint_t               i, commands;
    test_ctx_t               ctx;
    ngx_smtp_rcpt_t          rcpt, *rcpts[100];
    ngx_smtp_client_tx_t     tx;
    ngx_smtp_client_conf_t   conf;

    static u_char  hello[] = "220 mx\r\n250-mx\r\n250 PIPELINING\r\n";
    static u_char  ok[] = "250 ok\r\n";

    memset(&ctx, 0, sizeof(ctx));
    memset(&conf, 0, sizeof(conf));
    memset(&rcpt, 0, sizeof(rcpt));
    memset(&tx, 0, sizeof(tx));

    conf.helo = shim_str("me");
    ngx_smtp_client_init(&ctx.cl, &conf);

    pos = hello;
    (void) ngx_smtp_client_recv(&ctx.cl, &pos, hello + 8);
    (void) ngx_smtp_client_write(&ctx.cl, buf, buf + sizeof(buf));
    assert_int_equal(ngx_smtp_client_recv(&ctx.cl, &pos,
                                          hello + sizeof(hello) - 1),
                     NGX_SMTP_CLIENT_READY);

    rcpt.mailbox = shim_str("c@d");

    for (i = 0; i < 100; i++) {
        rcpts[i] = &rcpt;
    }

    tx.sender = shim_str("a@b");
    tx.rcpts = rcpts;
    tx.nrcpts = 100;
    tx.state = rstate;
    tx.handler = test_told;
    tx.data = &ctx;

    assert_int_equal(ngx_smtp_client_mail(&ctx.cl, &tx), NGX_SMTP_CLIENT_WAIT);

    commands = 0;

    for ( ;; ) {
        p = ngx_smtp_client_write(&ctx.cl, buf, buf + sizeof(buf));

        if (p == buf) {
            break;
        }

        assert_true(p <= buf + sizeof(buf));

        while (p > buf) {
            commands += (*--p == LF);
        }
    }

    assert_int_equal(commands, 102);

    for (i = 0; i < 101; i++) {
        pos = ok;
        assert_int_equal(ngx_smtp_client_recv(&ctx.cl, &pos,
                                              ok + sizeof(ok) - 1),
                         NGX_SMTP_CLIENT_WAIT);
    }

    pos = (u_char *) "354 go\r\n";
    assert_int_equal(ngx_smtp_client_recv(&ctx.cl, &pos, pos + 8),
                     NGX_SMTP_CLIENT_BODY);
}


/* the longest commands fit into what the header promises */

static void
test_write_room(void **state)
{
    char          sender[260], orcpt[501], envid[101];
    u_char        buf[NGX_SMTP_CLIENT_COMMAND_MAX], *p, *pos;
    test_ctx_t    ctx;
    test_tx_t     tx = { sender, { sender }, NGX_MAX_OFF_T_VALUE, "8und" };

    static u_char  hello[] = "220 mx\r\n250-mx\r\n250-PIPELINING\r\n"
                             "250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
                             "250 DSN\r\n";

    ngx_smtp_client_conf_t  conf;

    memset(sender, 'd', 254);
    memset(orcpt, 'o', 500);
    memset(envid, 'e', 100);
    memcpy(orcpt, "rfc822;", 7);
    sender[1] = '@';
    sender[60] = '.';
    sender[120] = '.';
    sender[180] = '.';
    sender[240] = '.';
    sender[254] = '\0';
    orcpt[500] = '\0';
    envid[100] = '\0';

    memset(&ctx, 0, sizeof(ctx));
    memset(&conf, 0, sizeof(conf));

    conf.helo = shim_str("me");
    ngx_smtp_client_init(&ctx.cl, &conf);

    pos = hello;
    (void) ngx_smtp_client_recv(&ctx.cl, &pos, hello + 8);
    (void) ngx_smtp_client_write(&ctx.cl, buf, buf + sizeof(buf));
    (void) ngx_smtp_client_recv(&ctx.cl, &pos, hello + sizeof(hello) - 1);

    test_prepare(&ctx, &tx);
    ctx.tx.envid = shim_str(envid);
    ctx.rcpts[0].orcpt = shim_str(orcpt);
    ctx.rcpts[0].notify = 0x0e;

    assert_int_equal(ngx_smtp_client_mail(&ctx.cl, &ctx.tx),
                     NGX_SMTP_CLIENT_WAIT);

    p = ngx_smtp_client_write(&ctx.cl, buf, buf + sizeof(buf) - 1);
    assert_ptr_equal(p, buf);

    p = ngx_smtp_client_write(&ctx.cl, buf, buf + sizeof(buf));
    assert_memory_equal(buf, "MAIL FROM:<d@ddd", 16);
    assert_memory_equal(p - 2, "\r\n", 2);
    assert_true(p - buf > 254 + 100);

    p = ngx_smtp_client_write(&ctx.cl, buf, buf + sizeof(buf));
    assert_memory_equal(buf, "RCPT TO:<d@ddd", 14);
    assert_memory_equal(p - 5, "ooo\r\n", 5);
    assert_true(p - buf > 254 + 500);

    (void) ngx_smtp_client_lost(&ctx.cl, NGX_SMTP_CLIENT_LOST_CLOSED);
}


static void
test_timeouts(void **state)
{
    ngx_uint_t         st;
    ngx_smtp_client_t  cl;

    memset(&cl, 0, sizeof(cl));

    for (st = 0; st <= NGX_SMTP_CLIENT_ST_CLOSED; st++) {
        cl.state = st;
        assert_in_range(ngx_smtp_client_timeout(&cl), 1000, 600000);
    }

    cl.state = NGX_SMTP_CLIENT_ST_EOM;
    assert_int_equal(ngx_smtp_client_timeout(&cl), 600000);
    cl.state = NGX_SMTP_CLIENT_ST_MAIL;
    assert_int_equal(ngx_smtp_client_timeout(&cl), 300000);
    cl.state = NGX_SMTP_CLIENT_ST_DATA;
    assert_int_equal(ngx_smtp_client_timeout(&cl), 120000);
    cl.state = NGX_SMTP_CLIENT_ST_BODY;
    assert_int_equal(ngx_smtp_client_timeout(&cl), 180000);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_cut_everywhere),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_write_room),
        cmocka_unit_test(test_timeouts)
    };

    return shim_run(tests);
}
