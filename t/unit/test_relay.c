
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Deliveries, with a store and connections made up here: what is said to the
 * peer, and in which order the store hears what.  Everything the store is told
 * is written to a journal:
 *
 *     out+        an answer to the end of data is outstanding; out- no more
 *     r0=1/250    recipient 0 got result 1 by code 250;  due=60 from now
 *     report(0)   a report about recipient 0;  reported, report=60 deferred
 *     stale       the memory of a fresh message is given back
 *     done        the message is ended
 *
 * sources: t/unit/relay_scene.c relay/ngx_smtp_relay_home.c
 *     relay/ngx_smtp_relay.c relay/ngx_smtp_relay_route.c
 *     relay/ngx_smtp_relay_conn.c net/ngx_smtp_talk.c
 *     relay/ngx_smtp_delivery.c relay/ngx_smtp_delivery_body.c
 *     relay/ngx_smtp_delivery_result.c relay/ngx_smtp_bounce.c
 *     relay/ngx_smtp_report.c
 *     relay/ngx_smtp_control_act.c
 *     protocol/ngx_smtp_client.c protocol/ngx_smtp_client_write.c
 *     protocol/ngx_smtp_client_login.c
 *     protocol/ngx_smtp_response.c protocol/ngx_smtp_data.c
 *     protocol/ngx_smtp_address.c protocol/ngx_smtp_param.c
 *     protocol/ngx_smtp_reply.c
 *     queue/ngx_smtp_due.c queue/ngx_smtp_schedule.c queue/ngx_smtp_site.c
 *     message/ngx_smtp_dsn.c message/ngx_smtp_dsn_out.c
 *     message/ngx_smtp_dsn_status.c message/ngx_smtp_dsn_text.c
 *     message/ngx_smtp_header.c message/ngx_smtp_trace.c
 * libs: -lcrypto
 */


#include "relay_scene.h"
#include "ngx_smtp_control.h"


static void test_delivers(void **state);
static void test_reuses(void **state);
static void test_stuffing(void **state);
static void test_mixed(void **state);
static void test_bounce(void **state);
static void test_bounce_full(void **state);
static void test_no_bounce(void **state);
static void test_expires(void **state);
static void test_unknown(void **state);
static void test_outstanding_order(void **state);
static void test_dripping(void **state);
static void test_wish_unread(void **state);
static void test_hold_at_report(void **state);
static void test_not_ready(void **state);
static void test_refused(void **state);
static void test_next_server(void **state);
static void test_tls_fallback(void **state);
static void test_tls_require(void **state);
static void test_replaced(void **state);
static void test_replaced_421(void **state);
static void test_transactions(void **state);
static void test_transactions_unknown(void **state);
static void test_slow_reader(void **state);
static void test_slow_reader_idle(void **state);
static void test_blocked(void **state);
static void test_leave(void **state);
static void test_forget(void **state);
static void test_stop(void **state);
static void test_too_large(void **state);
static void test_utf8(void **state);
static void test_bad_peer(void **state);
static void test_dead_site(void **state);
static void test_dead_site_queue(void **state);


static const char  pipelining[] = "250-mx\r\n250-PIPELINING\r\n"
                                  "250-SIZE 1000\r\n250 8BITMIME\r\n";


static void
test_delivers(void **state)
{
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "Subject: x\r\n\r\nhello\r\n", 1,
                      "b@to.test");
    scene_settle();

    scene_open_session(0, pipelining);
    assert_string_equal(scene_heard(0), "MAIL FROM:<a@from.test> SIZE=21\r\n"
                                  "RCPT TO:<b@to.test>\r\nDATA\r\n");
    assert_journal("");

    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_string_equal(scene_heard(0), "Subject: x\r\n\r\nhello\r\n.\r\n");
    assert_journal("out+");
    assert_false(tm->ended);

    scene_say(0, "250 2.0.0 taken\r\n");
    assert_journal("r0=1/250 out- done");
    assert_true(tm->ended);
    assert_string_equal(logged, "[1 250 2.0.0 taken]");

    /* the connection is kept, then ended politely */

    assert_false(scene_peer(0)->closed);
    scene_lose(0, NGX_SMTP_PEER_TIMEDOUT);
    assert_string_equal(scene_heard(0), "QUIT\r\n");
    scene_say(0, "221 bye\r\n");
    assert_true(scene_peer(0)->closed);
    assert_false(scene_peer(0)->failed);
}


static void
test_reuses(void **state)
{
    scene_submit("a@from.test", "one\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ r0=1/250 out- done");

    scene_heard(0);
    scene_submit("c@from.test", "two\r\n", 1, "d@to.test");
    scene_settle();

    assert_int_equal(npeers, 1);
    assert_string_equal(scene_heard(0), "MAIL FROM:<c@from.test> SIZE=5\r\n"
                                  "RCPT TO:<d@to.test>\r\nDATA\r\n");
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ r0=1/250 out- done");
}


static void
test_stuffing(void **state)
{
    char  *big;

    scene_submit("a@from.test", ".dot\r\n..\r\nx\r\n.\r\nlast", 1,
                 "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_heard(0);
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_string_equal(scene_heard(0),
                        "..dot\r\n...\r\nx\r\n..\r\nlast\r\n.\r\n");
    scene_say(0, "250 ok\r\n");

    /* one that is sent from where it lies */

    big = malloc(20001);
    memset(big, 'x', 20000);
    big[0] = '.';
    big[19998] = '\r';
    big[19999] = '\n';
    big[20000] = '\0';

    scene_submit("a@from.test", big, 1, "b@to.test");
    qcf.connection_messages = 100;
    scene_settle();
    scene_heard(0);

    /* SIZE 1000 of the first peer refuses it: told without a command */

    assert_journal("out+ r0=1/250 out- done r0=3/0 report(0) stale");

    free(big);
}


static void
test_mixed(void **state)
{
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "x\r\n", 3, "b@to.test", "c@to.test",
                "d@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n250 ok\r\n450 4.2.1 later\r\n550 5.1.1 never\r\n"
           "354 go\r\n");
    scene_say(0, "250 ok\r\n");

    assert_string_equal(logged, "[2 450 4.2.1 later]");

    journal[strlen("out+ r1=5/450 r2=3/550 r0=1/250 due=")] = '\0';
    assert_journal("out+ r1=5/450 r2=3/550 r0=1/250 due=");

    assert_int_equal(tm->m.npending, 1);
    assert_true(tm->m.scheduled);
    assert_null(tm->m.fresh);
    assert_true(tm->m.due_at >= ngx_time() + 54);
    assert_true(tm->m.due_at <= ngx_time() + 66);

    /* the report went on the same connection and waits for its replies */

    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(0, "250 ok\r\n");

    /* the retry names the one that is left */

    journal[0] = '\0';
    scene_heard(0);
    scene_lose(0, NGX_SMTP_PEER_CLOSED);

    shim_time_advance(70000);
    scene_settle();
    scene_open_session(1, pipelining);
    assert_string_equal(scene_heard(1), "MAIL FROM:<a@from.test> SIZE=3\r\n"
                                  "RCPT TO:<c@to.test>\r\nDATA\r\n");
    scene_say(1, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(1, "250 ok\r\n");
    assert_journal("out+ r1=1/250 out- done");
}


static void
test_bounce(void **state)
{
    const char  *text;

    scene_submit("a@from.test", "Subject: s\r\nX: y\r\n\r\nsecret body\r\n", 1,
           "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_heard(0);
    scene_say(0, "250 ok\r\n550 5.1.1 no such user\r\n503 no\r\n");
    assert_string_equal(logged, "[4 550 5.1.1 no such user]");
    assert_journal("r0=3/550 report(0) stale");

    text = scene_heard(0);
    assert_non_null(strstr(text, "RSET\r\nMAIL FROM:<>"));
    assert_non_null(strstr(text, "RCPT TO:<a@from.test>"));

    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    text = scene_heard(0);
    assert_non_null(strstr(text, "To: a@from.test\r\n"));
    assert_non_null(strstr(text, "multipart/report"));
    assert_non_null(strstr(text, "rfc822; b@to.test"));
    assert_non_null(strstr(text, "Status: 5.1.1\r\n"));
    assert_non_null(strstr(text, "550 5.1.1 no such user"));
    assert_non_null(strstr(text, "Subject: s\r\n"));
    assert_null(strstr(text, "secret body"));
    assert_string_equal(text + strlen(text) - 5, "\r\n.\r\n");

    scene_say(0, "250 ok\r\n");
    assert_journal("out+ reported out- done");
}


static void
test_bounce_full(void **state)
{
    const char      *text;
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "Subject: s\r\n\r\n.body\r\n", 1,
                      "b@to.test");
    tm->envelope.ret = NGX_SMTP_RET_FULL;
    scene_settle();
    scene_open_session(0, "250-mx\r\n250 PIPELINING\r\n");
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(0, "554 5.7.1 spam\r\n");
    assert_journal("out+ r0=3/554 out- report(0) stale");

    scene_heard(0);
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    text = scene_heard(0);
    assert_non_null(strstr(text, "Subject: s\r\n\r\n..body\r\n"));

    /* a report that is refused for good is not reported */

    scene_say(0, "550 no\r\n");
    assert_journal("out+ reported out- done");
    assert_int_equal(shim_log_count("report about QID"), 1);
}


static void
test_no_bounce(void **state)
{
    test_message_t  *tm;

    scene_submit("", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n550 no\r\n503 no\r\n");
    assert_journal("r0=3/550 done");

    tm = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    tm->rcpts[0].notify = NGX_SMTP_NOTIFY_NEVER;
    scene_settle();
    scene_say(0, "250 ok\r\n250 ok\r\n550 no\r\n503 no\r\n");
    assert_journal("r0=3/550 done");
}


static void
test_expires(void **state)
{
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    tm->m.received = ngx_time() - 990;
    tm->m.attempts = 3;
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "450 4.3.0 later\r\n503 no\r\n503 no\r\n");
    assert_journal("r0=4/450 report(0) stale");
    assert_string_equal(logged, "[5 450 4.3.0 later]");
}


static void
test_unknown(void **state)
{
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_journal("out+");

    scene_lose(0, NGX_SMTP_PEER_CLOSED);
    assert_journal("r0=5/0 due=600 out- stale");
    assert_true(scene_peer(0)->closed);
    assert_int_equal(tm->m.due_at, ngx_time() + 600);
    assert_int_equal(npeers, 1);
}


static void
test_outstanding_order(void **state)
{
    scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_heard(0);

    block_output = 1;
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_journal("out+");
    block_output = 0;

    scene_say(0, "452 4.3.1 full\r\n");
    journal[strlen("r0=5/452 due=")] = '\0';
    assert_journal("r0=5/452 due=");
}


/* a reply that never ends: each command has its time, whatever comes */

static void
test_dripping(void **state)
{
    ngx_uint_t  set;

    scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);

    set = timeouts_set;
    scene_say(0, "250-o");
    scene_say(0, "k\r\n");
    assert_int_equal(timeouts_set, set);

    scene_say(0, "250 ok\r\n250 ok\r\n");
    assert_int_not_equal(timeouts_set, set);

    scene_say(0, "354 go\r\n");
    assert_journal("out+");

    set = timeouts_set;
    scene_say(0, "250-wait\r\n");
    scene_say(0, "250-wai");
    assert_int_equal(timeouts_set, set);

    scene_lose(0, NGX_SMTP_PEER_TIMEDOUT);
    assert_journal("r0=5/0 due=600 out- stale");
}


/*
 * What is wished for while the message is being read: the attempt ends before
 * the envelope is there, and another one grants it.
 */

static void
test_wish_unread(void **state)
{
    test_message_t      *tm;
    ngx_smtp_reader_t   *r;

    slow_reader = 1;

    tm = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    assert_true(tm->m.busy);
    assert_non_null(waiting_reader);

    assert_int_equal(ngx_smtp_control_act(relay, &tm->m,
                                          NGX_SMTP_CONTROL_BOUNCE, NULL,
                                          NULL),
                     NGX_SMTP_CONTROL_PENDING);
    assert_journal("wish-bounce");

    r = waiting_reader;
    waiting_reader = NULL;
    slow_reader = 0;
    r->handler(r, NGX_ERROR);
    scene_settle();

    assert_false(tm->ended);
    assert_int_equal(tm->m.wish, NGX_SMTP_WISH_BOUNCE);

    shim_time_advance(61000);
    scene_settle();

    assert_int_equal(tm->m.wish, NGX_SMTP_WISH_NONE);
    assert_non_null(strstr(journal, "r0=3/0"));
    assert_non_null(strstr(journal, "report(0)"));
}


/* held and released while one of its reports is tried: it is tried again */

static void
test_hold_at_report(void **state)
{
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "x\r\n", 2, "b@to.test", "c@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n550 5.1.1 no\r\n450 4.2.1 later\r\n"
                 "554 no valid recipients\r\n");
    scene_settle();

    assert_true(tm->m.busy);
    assert_true(tm->m.scheduled);

    assert_int_equal(ngx_smtp_control_act(relay, &tm->m,
                                          NGX_SMTP_CONTROL_HOLD, NULL, NULL),
                     NGX_SMTP_CONTROL_PENDING);
    assert_false(tm->m.scheduled);
    assert_int_equal(ngx_smtp_control_act(relay, &tm->m,
                                          NGX_SMTP_CONTROL_RELEASE, NULL,
                                          NULL),
                     NGX_SMTP_CONTROL_DONE);
    assert_true(tm->m.scheduled);
}


static void
test_not_ready(void **state)
{
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_heard(0);

    /* its results could not be recorded: the message must not end there */

    not_ready = 1;
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_null(strstr(scene_heard(0), "\r\n.\r\n"));
    assert_true(scene_peer(0)->closed);
    assert_null(strstr(journal, "out+"));
    assert_true(tm->m.scheduled);

    /* and nothing is tried before it is ready */

    journal[0] = '\0';
    shim_time_advance(400000);
    scene_settle();
    assert_int_equal(npeers, 1);

    not_ready = 0;
    shim_time_advance(2000);
    scene_settle();
    assert_int_equal(npeers, 2);
}


static void
test_refused(void **state)
{
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "x\r\n", 2, "b@to.test", "c@to.test");
    scene_settle();
    assert_true(scene_peer(0)->waits);
    scene_peer(0)->peer->err = ECONNREFUSED;
    scene_lose(0, NGX_SMTP_PEER_REFUSED);

    journal[strlen("r0=5/0 r1=5/0 due=")] = '\0';
    assert_journal("r0=5/0 r1=5/0 due=");
    assert_true(scene_peer(0)->closed);
    assert_true(tm->m.scheduled);
    assert_string_equal(logged, "[3 0 4.4.1 connect to mta failed: "
                                "Connection refused]");
}


static void
test_next_server(void **state)
{
    scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();

    next_servers = 1;
    scene_connected(0);
    scene_say(0, "554 go away\r\n");
    assert_journal("");
    assert_true(scene_peer(0)->waits);

    /* a 5xx before MAIL is no bounce */

    scene_connected(0);
    scene_say(0, "554 go away\r\n");
    journal[strlen("r0=5/0 due=")] = '\0';
    assert_journal("r0=5/0 due=");
    assert_true(scene_peer(0)->closed);
    assert_true(scene_peer(0)->failed);
}


static void
test_tls_fallback(void **state)
{
    qcf.tls = NGX_SMTP_RELAY_TLS_OPPORTUNISTIC;

    scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, "250-mx\r\n250 STARTTLS\r\n");
    assert_string_equal(scene_heard(0), "STARTTLS\r\n");
    scene_say(0, "220 go\r\n");
    assert_true(scene_peer(0)->tls);

    scene_lose(0, NGX_SMTP_PEER_TLS);
    assert_int_equal(scene_peer(0)->reconnected, 1);
    assert_journal("");

    /* the second time in clear */

    scene_open_session(0, "250-mx\r\n250 STARTTLS\r\n");
    assert_string_equal(scene_heard(0), "MAIL FROM:<a@from.test>\r\n");
    scene_say(0, "250 ok\r\n");
    scene_say(0, "250 ok\r\n");
    scene_say(0, "354 ok\r\n");
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ r0=1/250 out- done");
}


static void
test_tls_require(void **state)
{
    qcf.tls = NGX_SMTP_RELAY_TLS_REQUIRE;

    scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, "250-mx\r\n250 STARTTLS\r\n");
    scene_say(0, "220 go\r\n");
    scene_lose(0, NGX_SMTP_PEER_TLS);
    assert_int_equal(scene_peer(0)->reconnected, 0);
    assert_true(scene_peer(0)->closed);
    journal[strlen("r0=5/0 due=")] = '\0';
    assert_journal("r0=5/0 due=");

    /* stripped */

    scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_heard(1);
    scene_connected(1);
    scene_say(1, "220 hello\r\n");
    scene_heard(1);
    scene_say(1, "250 mx\r\n");
    assert_string_equal(scene_heard(1), "");
    assert_true(scene_peer(1)->closed);
}


static void
test_replaced(void **state)
{
    scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(0, "250 ok\r\n");
    journal[0] = '\0';

    scene_submit("a@from.test", "y\r\n", 1, "b@to.test");
    scene_settle();
    scene_lose(0, NGX_SMTP_PEER_CLOSED);

    /* at once, and no attempt was counted */

    assert_journal("");
    assert_true(scene_peer(0)->closed);
    assert_int_equal(npeers, 2);

    scene_open_session(1, pipelining);
    scene_say(1, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(1, "250 ok\r\n");
    assert_journal("out+ r0=1/250 out- done");
}


static void
test_replaced_421(void **state)
{
    scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(0, "250 ok\r\n");
    journal[0] = '\0';

    scene_submit("a@from.test", "y\r\n", 1, "b@to.test");
    scene_settle();
    scene_say(0, "421 too idle\r\n");
    assert_journal("");
    assert_int_equal(npeers, 2);

    /* on a fresh connection it counts */

    scene_open_session(1, pipelining);
    scene_say(1, "421 too busy\r\n");
    journal[strlen("r0=5/421 due=")] = '\0';
    assert_journal("r0=5/421 due=");
}


static void
test_transactions(void **state)
{
    test_message_t  *tm;

    qcf.max_rcpts = 2;

    scene_submit("a@from.test", "x\r\n", 3, "b@to.test", "c@to.test",
                 "d@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    assert_string_equal(scene_heard(0), "MAIL FROM:<a@from.test> SIZE=3\r\n"
                                  "RCPT TO:<b@to.test>\r\n"
                                  "RCPT TO:<c@to.test>\r\nDATA\r\n");
    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ r0=1/250 r1=1/250 out-");

    scene_heard(0);
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_string_equal(scene_heard(0), "x\r\n.\r\n");
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ r2=1/250 out- done");

    /* the peer's own limit holds, and its close between the two is harmless */

    tm = scene_submit("a@from.test", "x\r\n", 2, "b@to.test", "c@to.test");
    scene_settle();
    scene_say(0, "421 bye\r\n");
    scene_open_session(1, "250-mx\r\n250-PIPELINING\r\n"
                          "250 LIMITS RCPTMAX=1\r\n");
    scene_say(1, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(1, "250 ok\r\n");
    scene_lose(1, NGX_SMTP_PEER_CLOSED);
    journal[strlen("out+ r0=1/250 out- r1=5/0")] = '\0';
    assert_journal("out+ r0=1/250 out- r1=5/0");
    assert_int_equal(tm->m.attempts, 1);
    assert_in_range(tm->m.due_at - ngx_time(), retry[0] / 2, retry[0] * 2);
}


/* an answer that may still come is waited for, whatever else is left */

static void
test_transactions_unknown(void **state)
{
    ngx_uint_t       i;
    test_message_t  *tm;

    qcf.max_rcpts = 1;

    for (i = 0; i < 2; i++) {
        tm = scene_submit("a@from.test", "x\r\n", 3, "b@to.test", "c@to.test",
                          "d@to.test");
        scene_settle();
        scene_open_session(i, pipelining);

        scene_say(i, "250 ok\r\n250 ok\r\n354 go\r\n");
        scene_say(i, i ? "450 4.2.0 later\r\n" : "250 ok\r\n");

        scene_say(i, "250 ok\r\n250 ok\r\n354 go\r\n");
        scene_lose(i, NGX_SMTP_PEER_CLOSED);

        assert_true(tm->m.scheduled);
        assert_int_equal(tm->m.due_at, ngx_time() + 600);
        assert_int_equal(npeers, i + 1);
    }
}


static void
test_slow_reader(void **state)
{
    slow_reader = 2;

    scene_submit("a@from.test", "one\r\ntwo\r\n", 1, "b@to.test");
    scene_settle();

    /* nobody connects before the envelope is there */

    assert_false(scene_peer(0)->waits);
    assert_non_null(waiting_reader);
    waiting_reader->handler(waiting_reader, NGX_OK);
    waiting_reader = NULL;
    scene_settle();

    scene_open_session(0, pipelining);
    scene_heard(0);
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_string_equal(scene_heard(0), "");

    waiting_reader->handler(waiting_reader, NGX_OK);
    scene_settle();
    assert_string_equal(scene_heard(0), "one\r\n");
    waiting_reader->handler(waiting_reader, NGX_OK);
    scene_settle();
    assert_string_equal(scene_heard(0), "two\r\n.\r\n");
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ r0=1/250 out- done");

    /* the disk fails in the middle: no end of data */

    scene_submit("a@from.test", "one\r\ntwo\r\n", 1, "b@to.test");
    scene_settle();
    waiting_reader->handler(waiting_reader, NGX_OK);
    waiting_reader = NULL;
    scene_settle();
    scene_heard(0);
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    waiting_reader->handler(waiting_reader, NGX_ERROR);
    scene_settle();
    assert_string_equal(scene_heard(0), "");
    assert_true(scene_peer(0)->closed);
    journal[strlen("r0=5/0 due=")] = '\0';
    assert_journal("r0=5/0 due=");
}


/* an idle connection that is used waits for the envelope, not idly */

static void
test_slow_reader_idle(void **state)
{
    scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(0, "250 ok\r\n");
    scene_settle();
    assert_int_equal(last_timeout, qcf.idle_timeout);
    journal[0] = '\0';

    slow_reader = 1;

    scene_submit("a@from.test", "y\r\n", 1, "b@to.test");
    scene_settle();
    assert_int_equal(npeers, 1);
    assert_int_equal(last_timeout, qcf.command_timeout);

    waiting_reader->handler(waiting_reader, NGX_OK);
    scene_settle();
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ r0=1/250 out- done");
}


static void
test_blocked(void **state)
{
    char             *big;
    size_t            i, n;
    ngx_smtp_peer_t  *p;

    n = 100000;
    big = malloc(n + 1);

    for (i = 0; i < n; i++) {
        big[i] = (i % 100 == 98) ? '\r' : (i % 100 == 99) ? '\n' : 'x';
    }

    big[n] = '\0';

    scene_submit("a@from.test", big, 1, "b@to.test");
    scene_settle();
    scene_open_session(0, "250-mx\r\n250 PIPELINING\r\n");
    scene_heard(0);

    block_output = 1;
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_true(strlen(scene_heard(0)) < 40000);
    assert_journal("");

    p = scene_peer(0)->peer;
    block_output = 0;
    p->blocked = 0;
    p->out_size = 0;
    p->handler(p, NGX_SMTP_PEER_SENT);
    scene_settle();
    scene_heard(0);
    assert_journal("out+");
    scene_say(0, "250 ok\r\n");
    assert_journal("r0=1/250 out- done");

    assert_non_null(strstr(scene_peer(0)->out, big));

    free(big);
}


static void
test_leave(void **state)
{
    test_message_t  *before, *after, *idle;

    idle = scene_submit("a@from.test", "i\r\n", 1, "b@to.test");
    after = scene_submit("a@from.test", "a\r\n", 1, "b@to.test");
    before = scene_submit("a@from.test", "b\r\n", 1, "b@to.test");
    scene_settle();
    assert_int_equal(npeers, 3);

    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(0, "250 ok\r\n");
    assert_true(idle->ended);

    scene_open_session(1, pipelining);
    scene_say(1, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_open_session(2, pipelining);
    journal[0] = '\0';
    scene_heard(0);

    ngx_exiting = 1;
    ngx_smtp_relay_leave(relay);
    scene_settle();

    assert_string_equal(scene_heard(0), "QUIT\r\n");
    assert_true(scene_peer(0)->closed);
    assert_false(scene_peer(1)->closed);
    assert_true(scene_peer(2)->closed);
    assert_journal("");
    assert_true(before->m.scheduled);
    assert_false(before->m.busy);
    assert_true(after->m.outstanding);

    scene_say(1, "250 ok\r\n");
    assert_journal("r0=1/250 out- done");
    assert_string_equal(scene_heard(1) + strlen(scene_peer(1)->out) - 6, "");
    assert_int_equal(npeers, 3);

    /* what is still ours after five seconds is served */

    shim_time_advance(6000);
    scene_settle();
    assert_int_equal(npeers, 4);
}


static void
test_forget(void **state)
{
    test_message_t  *tm, *other;

    tm = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    other = scene_submit("a@from.test", "y\r\n", 1, "b@to.test");

    scf.handlers.forget(scf.data, &tm->m);
    scf.handlers.forget(scf.data, &other->m);
    memset(&tm->m, 0xa5, sizeof(ngx_smtp_message_t));
    memset(&other->m, 0xa5, sizeof(ngx_smtp_message_t));
    scene_settle();

    assert_true(scene_peer(0)->closed);
    assert_journal("");

    shim_time_advance(100000);
    scene_settle();
    assert_int_equal(npeers, 1);
}


static void
test_stop(void **state)
{
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");

    ngx_smtp_relay_stop(relay);

    /* the store writes what was outstanding */

    assert_journal("out+");
    assert_true(tm->m.outstanding);
    assert_true(scene_peer(0)->closed);
}


static void
test_too_large(void **state)
{
    scene_submit("a@from.test", "0123456789\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, "250-mx\r\n250 SIZE 5\r\n");
    assert_string_equal(logged, "[4 0 5.3.4 the message is larger than the "
                                "host accepts]");
    assert_non_null(strstr(journal, "r0=3/0 report(0)"));
}


static void
test_utf8(void **state)
{
    test_message_t  *tm;

    /* it says it needs SMTPUTF8, but does not */

    tm = scene_submit("a@from.test", "Subject: x\r\n\r\n", 1, "b@to.test");
    tm->envelope.smtputf8 = 1;
    scene_settle();
    scene_open_session(0, "250 mx\r\n");
    assert_string_equal(scene_heard(0), "MAIL FROM:<a@from.test>\r\n");
    scene_say(0, "250 ok\r\n");
    scene_say(0, "250 ok\r\n");
    scene_say(0, "354 ok\r\n");
    assert_string_equal(scene_heard(0)
                        + strlen("RCPT TO:<b@to.test>\r\nDATA\r\n"),
                        "Subject: x\r\n\r\n.\r\n");
    scene_say(0, "250 ok\r\n");
    journal[0] = '\0';
    logged[0] = '\0';

    tm = scene_submit("a@from.test", "Subject: \xc3\xa4\r\n\r\n", 1,
                      "b@to.test");
    tm->envelope.smtputf8 = 1;
    scene_settle();
    assert_non_null(strstr(journal, "r0=3/0 report(0)"));
    assert_non_null(strstr(logged, "[4 0 5.6.7 "));
}


/* whatever a peer says, and wherever it hangs up: one result, no leak */

static void
test_bad_peer(void **state)
{
    size_t            i, k;
    const char      **t;
    test_message_t   *tm;

    static const char *const  bad[] = {
        "250 early\r\n", "354 what\r\n", "354 a\r\n354 b\r\n", "999 x\r\n",
        "abc\r\n", "250-a\r\n251 b\r\n", "421 bye\r\n", "550 no\r\n",
        "450 no\r\n", "", "250 a\r\n250 b\r\n250 c\r\n250 d\r\n250 e\r\n"
    };

    static const char *good[] = {
        "220 hello\r\n", pipelining, "250 ok\r\n", "250 ok\r\n", "354 go\r\n",
        "250 ok\r\n", NULL
    };

    scene_teardown(NULL);

    for (k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {

        for (i = 0; good[i]; i++) {
            scene_setup(NULL);

            tm = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
            scene_settle();
            scene_connected(0);

            for (t = good; t < good + i; t++) {
                scene_say(0, *t);
            }

            scene_say(0, bad[k]);

            if (!scene_peer(0)->closed) {
                scene_lose(0, NGX_SMTP_PEER_CLOSED);
            }

            /* a report may be under way on the same connection */

            if (!scene_peer(0)->closed) {
                scene_lose(0, NGX_SMTP_PEER_CLOSED);
            }

            assert_true(scene_peer(0)->closed);

            if (!tm->ended) {
                assert_true(tm->m.attempts == 1);
                assert_false(tm->m.outstanding);
                assert_true(tm->m.scheduled || tm->m.busy
                            || !ngx_queue_empty(&tm->m.reports));
            }

            scene_teardown(NULL);
        }
    }

    scene_setup(NULL);
}


static void
test_dead_site(void **state)
{
    ngx_uint_t       i;
    test_message_t  *old;

    /* three failures in a row, and nothing is tried any more */

    for (i = 0; i < 3; i++) {
        scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
        scene_settle();
        scene_lose(i, NGX_SMTP_PEER_REFUSED);
    }

    scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    assert_int_equal(npeers, 3);

    /* but what has expired is given up, also behind what has not */

    journal[0] = '\0';

    old = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    old->m.received = ngx_time() - 5000;
    old->m.attempts = 9;
    scene_settle();
    shim_time_advance(11000);
    scene_settle();
    assert_int_equal(npeers, 3);
    assert_journal("r0=4/0 report(0) stale");

    /* one probe after the back-off */

    shim_time_advance(70000);
    scene_settle();
    assert_int_equal(npeers, 4);
}


/* nobody has to wait for all the others to see that it has expired */

static void
test_dead_site_queue(void **state)
{
    ngx_uint_t       i;
    test_message_t  *old;

    (void) state;

    for (i = 0; i < 3; i++) {
        scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
        scene_settle();
        scene_lose(i, NGX_SMTP_PEER_REFUSED);
    }

    while (nmessages < TEST_MESSAGES - 1) {
        scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    }

    journal[0] = '\0';

    old = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    old->m.received = ngx_time() - 5000;
    old->m.attempts = 9;

    for (i = 0; i < 2; i++) {
        scene_settle();
        shim_time_advance(1000);
    }

    assert_int_equal(npeers, 3);
    assert_journal("r0=4/0 report(0) stale");
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_delivers, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_reuses, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_stuffing, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_mixed, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_bounce, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_bounce_full, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_no_bounce, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_expires, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_unknown, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_outstanding_order, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_dripping, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_wish_unread, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_hold_at_report, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_not_ready, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_refused, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_next_server, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_tls_fallback, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_tls_require, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_replaced, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_replaced_421, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_transactions, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_transactions_unknown,
                                        scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(test_slow_reader, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_slow_reader_idle, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_blocked, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_leave, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_forget, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_stop, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_too_large, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_utf8, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_bad_peer, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_dead_site, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_dead_site_queue, scene_setup,
                                        scene_teardown),
    };

    return shim_run(tests);
}
