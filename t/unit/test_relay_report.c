
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Reports that deliveries make, and a wall clock that jumps, on the scene of
 * test_relay.c.  The journal has, besides what is explained there:
 *
 *     success(0), delay(0)   a report of this kind about recipient 0
 *     double                 a failure report became one to the postmaster
 *
 * sources: t/unit/relay_scene.c relay/ngx_smtp_relay_home.c
 *     relay/ngx_smtp_relay.c relay/ngx_smtp_relay_route.c
 *     relay/ngx_smtp_relay_conn.c net/ngx_smtp_talk.c
 *     relay/ngx_smtp_delivery.c relay/ngx_smtp_delivery_body.c
 *     relay/ngx_smtp_delivery_result.c relay/ngx_smtp_bounce.c
 *     relay/ngx_smtp_report.c relay/ngx_smtp_control_act.c
 *     protocol/ngx_smtp_client.c protocol/ngx_smtp_client_login.c
 *     protocol/ngx_smtp_client_write.c
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


static void test_relayed(void **state);
static void test_delay(void **state);
static void test_delay_unwanted(void **state);
static void test_delay_over(void **state);
static void test_delay_dead_site(void **state);
static void test_double(void **state);
static void test_report_8bit(void **state);
static void test_report_long_header(void **state);
static void test_clock(void **state);


static const char  pipelining[] = "250-mx\r\n250-PIPELINING\r\n"
                                  "250 SIZE 1000\r\n";


static void
test_relayed(void **state)
{
    const char      *text;
    test_message_t  *tm;

    /* the peer has no DSN: one who wants to know is told, with the failure */

    tm = scene_submit("a@from.test", "X: y\r\n\r\nsecret\r\n", 3, "b@to.test",
                      "c@to.test", "d@to.test");
    tm->rcpts[0].notify = NGX_SMTP_NOTIFY_SUCCESS;
    tm->rcpts[2].notify = NGX_SMTP_NOTIFY_SUCCESS|NGX_SMTP_NOTIFY_FAILURE;
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n");
    scene_heard(0);
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ r2=3/550 r0=2/250 r1=1/250 out- report(2) success(0)"
                   " stale");

    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    scene_heard(0);
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ reported out-");

    /* the second report was due meanwhile: it goes at once */

    scene_say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    text = scene_heard(0);
    assert_non_null(strstr(text, "Final-Recipient: rfc822; b@to.test\r\n"
                                 "Action: relayed\r\nStatus: 2.0.0\r\n"));
    assert_null(strstr(text, "c@to.test"));
    assert_null(strstr(text, "secret"));
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ reported out- done");
}


static void
test_delay(void **state)
{
    const char      *text;
    test_message_t  *tm;

    qcf.delay_warning = 100;

    tm = scene_submit("a@from.test", "X: y\r\n\r\nsecret\r\n", 3, "b@to.test",
                      "c@to.test", "d@to.test");
    tm->rcpts[1].notify = NGX_SMTP_NOTIFY_FAILURE;
    tm->rcpts[2].notify = NGX_SMTP_NOTIFY_DELAY;
    tm->m.received = ngx_time() - 99;
    scene_settle();
    scene_open_session(0, pipelining);

    /* too early */

    scene_say(0, "250 ok\r\n450 no\r\n450 no\r\n450 no\r\n503 no\r\n");
    assert_null(strstr(journal, "delay"));
    assert_false(tm->m.delay_told);
    journal[0] = '\0';

    /* while the disk is full nothing is promised */

    disk_full = 1;
    shim_time_advance(70000);
    scene_settle();
    scene_say(0, "250 ok\r\n250 ok\r\n450 no\r\n450 no\r\n450 no\r\n"
                 "503 no\r\n");
    assert_null(strstr(journal, "delay"));
    assert_false(tm->m.delay_told);
    journal[0] = '\0';

    disk_full = 0;
    shim_time_advance(350000);
    scene_settle();
    scene_heard(0);
    scene_say(0, "250 ok\r\n250 ok\r\n450 4.2.1 wait\r\n450 no\r\n450 no\r\n"
                 "503 no\r\n");
    assert_non_null(strstr(journal, " delay(0) delay(2)"));
    journal[0] = '\0';

    text = scene_heard(0);
    assert_non_null(strstr(text, "RCPT TO:<a@from.test>"));
    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    text = scene_heard(0);
    assert_non_null(strstr(text, "Final-Recipient: rfc822; b@to.test\r\n"
                                 "Action: delayed\r\nStatus: 4.2.1\r\n"));
    assert_non_null(strstr(text, "Will-Retry-Until: "));
    assert_non_null(strstr(text, "Final-Recipient: rfc822; d@to.test\r\n"));
    assert_null(strstr(text, "c@to.test"));
    assert_null(strstr(text, "secret"));
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ reported out-");

    /* only once */

    shim_time_advance(350000);
    scene_settle();
    scene_say(0, "250 ok\r\n450 no\r\n450 no\r\n450 no\r\n503 no\r\n");
    assert_null(strstr(journal, "delay"));
}


static void
test_delay_unwanted(void **state)
{
    test_message_t  *tm;

    qcf.delay_warning = 100;

    tm = scene_submit("", "x\r\n", 1, "b@to.test");
    tm->m.received = ngx_time() - 200;
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n450 no\r\n503 no\r\n");
    assert_null(strstr(journal, "delay"));
    assert_true(tm->m.delay_told);

    tm = scene_submit("a@from.test", "x\r\n", 2, "b@to.test", "c@to.test");
    tm->rcpts[0].notify = NGX_SMTP_NOTIFY_NEVER;
    tm->rcpts[1].notify = NGX_SMTP_NOTIFY_SUCCESS|NGX_SMTP_NOTIFY_FAILURE;
    tm->m.received = ngx_time() - 200;
    scene_settle();
    scene_say(0, "250 ok\r\n250 ok\r\n450 no\r\n450 no\r\n503 no\r\n");
    assert_null(strstr(journal, "delay"));
    assert_true(tm->m.delay_told);
}


static void
test_delay_over(void **state)
{
    test_message_t  *tm;

    /* delivered before its delay could be told */

    qcf.delay_warning = 100;

    tm = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    tm->m.received = ngx_time() - 200;
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n450 no\r\n503 no\r\n");
    assert_non_null(strstr(journal, " delay(0) stale"));
    journal[0] = '\0';

    /* the report has to wait longer than the message */

    scene_say(0, "250 ok\r\n250 ok\r\n451 later\r\n503 no\r\n");
    assert_non_null(strstr(journal, "report="));
    journal[0] = '\0';
    scf.handlers.forget(scf.data, &tm->m);
    tm->m.due_at = ngx_time();
    tm->reports[0].due_at = ngx_time() + 2;
    scf.handlers.message(scf.data, &tm->m);
    scene_settle();
    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ r0=1/250 out-");
    shim_time_advance(3000);
    scene_settle();
    assert_journal("reported done");
}


static void
test_delay_dead_site(void **state)
{
    ngx_uint_t       i;
    test_message_t  *tm;

    qcf.delay_warning = 100;

    for (i = 0; i < 3; i++) {
        scene_submit("", "x\r\n", 1, "b@to.test");
        scene_settle();
        scene_lose(i, NGX_SMTP_PEER_REFUSED);
    }

    journal[0] = '\0';

    tm = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    tm->m.received = ngx_time() - 200;
    scene_settle();
    assert_int_equal(npeers, 3);
    assert_journal("delay(0)");

    /* it waits for the next hop, and not for its own next time */

    assert_true(tm->m.due_at <= ngx_time());

    /* it is not an attempt, and the message stays */

    assert_int_equal(tm->m.attempts, 0);
    assert_true(tm->m.scheduled);
    assert_non_null(strstr(tm->text[0][0], "4.4.1 no answer"));
}


static void
test_double(void **state)
{
    const char  *text;

    qcf.postmaster = shim_str("pm@relay.test");

    scene_submit("a@from.test", "X: y\r\n\r\nsecret\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n550 5.1.1 no such user\r\n503 no\r\n");
    scene_say(0, "250 ok\r\n250 ok\r\n550 5.1.2 no such sender\r\n503 no\r\n");
    assert_journal("r0=3/550 report(0) stale double");

    text = scene_heard(0);
    assert_non_null(strstr(text, "RCPT TO:<pm@relay.test>"));
    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    text = scene_heard(0);
    assert_non_null(strstr(text, "To: pm@relay.test\r\n"));
    assert_non_null(strstr(text, "Message-ID: <QID.7.d@relay.test>\r\n"));
    assert_non_null(strstr(text, "Final-Recipient: rfc822; a@from.test\r\n"
                                 "Action: failed\r\nStatus: 5.1.2\r\n"));
    assert_non_null(strstr(text, "Final-Recipient: rfc822; b@to.test\r\n"
                                 "Action: failed\r\nStatus: 5.1.1\r\n"));
    assert_null(strstr(text, "secret"));

    /* which is the end of it, whatever becomes of it */

    scene_say(0, "550 no\r\n");
    assert_journal("out+ reported out- done");
}


static void
test_report_8bit(void **state)
{
    const char      *text;
    test_message_t  *tm;

    static const char  mime[] = "250-mx\r\n250-PIPELINING\r\n"
                                "250 8BITMIME\r\n";

    /* ASCII: nothing is asked for */

    tm = scene_submit("a@from.test", "X: y\r\n\r\nsmall\r\n", 1, "b@to.test");
    tm->envelope.ret = NGX_SMTP_RET_FULL;
    scene_settle();
    scene_open_session(0, mime);
    scene_heard(0);
    scene_say(0, "250 ok\r\n550 no\r\n503 no\r\n");
    text = scene_heard(0);
    assert_non_null(strstr(text, "MAIL FROM:<>\r\n"));
    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    text = scene_heard(0);
    assert_null(strstr(text, "Content-Transfer-Encoding: 8bit"));
    scene_say(0, "250 ok\r\n");

    /* a body that is not returned does not count */

    scene_submit("a@from.test", "X: y\r\n\r\nsm\xc3\xa4ll\r\n", 1,
                 "b@to.test");
    scene_settle();
    scene_heard(0);
    scene_say(0, "250 ok\r\n550 no\r\n503 no\r\n");
    text = scene_heard(0);
    assert_non_null(strstr(text, "MAIL FROM:<>\r\n"));
    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    scene_say(0, "250 ok\r\n");

    /* one that is does, wherever it is read from */

    slow_reader = 2;

    tm = scene_submit("a@from.test", "X: y\r\n\r\nsm\xc3\xa4ll\r\n", 1,
                      "b@to.test");
    tm->envelope.ret = NGX_SMTP_RET_FULL;
    scene_settle();

    while (waiting_reader) {
        scene_read();
    }

    scene_heard(0);
    scene_say(0, "250 ok\r\n550 no\r\n503 no\r\n");

    while (waiting_reader) {
        scene_read();
    }

    text = scene_heard(0);
    assert_non_null(strstr(text, "MAIL FROM:<> "));
    assert_non_null(strstr(text, "BODY=8BITMIME"));
    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");

    while (waiting_reader) {
        scene_read();
    }

    text = scene_heard(0);
    assert_non_null(strstr(text, "Content-Transfer-Encoding: 8bit"));
    assert_non_null(strstr(text, "sm\xc3\xa4ll\r\n"));
    scene_say(0, "250 ok\r\n");
}


static void
test_report_long_header(void **state)
{
    const char  *text;

    /* of a header over bounce_size as much as that comes back */

    qcf.bounce_size = 10;

    scene_submit("a@from.test", "A: 12345\r\nB: 12345\r\n\r\nsecret\r\n", 1,
                 "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n550 no\r\n503 no\r\n");
    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    text = scene_heard(0);
    assert_non_null(strstr(text, "\r\n\r\nA: 12345\r\n"));
    assert_null(strstr(text, "B: 1"));
    scene_say(0, "250 ok\r\n");
}


static void
test_clock(void **state)
{
    const char      *text;
    test_message_t  *tm;

    qcf.delay_warning = 900;

    /* set back by a day: what waits does not wait longer */

    tm = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_say(0, "250 ok\r\n450 no\r\n503 no\r\n");
    scene_heard(0);

    shim_wall_set(ngx_time() - 86400);
    scene_settle();
    shim_time_advance(50000);
    scene_settle();
    assert_string_equal(scene_heard(0), "");
    shim_time_advance(20000);
    scene_settle();
    text = scene_heard(0);
    assert_non_null(strstr(text, "MAIL FROM:<a@from.test>"));
    scene_say(0, "250 ok\r\n250 ok\r\n450 no\r\n503 no\r\n");
    scene_heard(0);

    /* set ahead by ten days: nothing expires, or is tried sooner */

    shim_wall_set(ngx_time() + 10 * 86400);
    scene_settle();
    shim_time_advance(260000);
    scene_settle();
    assert_string_equal(scene_heard(0), "");
    journal[0] = '\0';
    shim_time_advance(90000);
    scene_settle();
    text = scene_heard(0);
    assert_non_null(strstr(text, "MAIL FROM:<a@from.test>"));
    scene_say(0, "250 ok\r\n250 ok\r\n450 no\r\n503 no\r\n");
    assert_null(strstr(journal, "r0=4"));
    assert_null(strstr(journal, "delay"));
    assert_in_range(tm->m.due_at, ngx_time() + 270, ngx_time() + 330);
    scf.handlers.forget(scf.data, &tm->m);

    /* nor what comes later; it is not older than it is */

    tm = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    scene_say(0, "250 ok\r\n250 ok\r\n450 no\r\n503 no\r\n");
    assert_in_range(tm->m.due_at, ngx_time() + 54, ngx_time() + 66);
    scf.handlers.forget(scf.data, &tm->m);

    shim_wall_set(ngx_time() - 20 * 86400);
    scene_settle();
    tm = scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    journal[0] = '\0';
    scene_say(0, "250 ok\r\n250 ok\r\n450 no\r\n503 no\r\n");
    assert_null(strstr(journal, "r0=4"));
    assert_in_range(tm->m.due_at, ngx_time() + 54, ngx_time() + 66);

    /* nor what came while it was back, when it is right again */

    shim_wall_set(ngx_time() + 20 * 86400);
    shim_time_advance(70000);
    scene_settle();
    journal[0] = '\0';
    scene_say(0, "250 ok\r\n250 ok\r\n450 no\r\n503 no\r\n");
    assert_non_null(strstr(journal, "r0=5/450 due="));

    /* what another left with a due time of a wrong clock */

    scf.handlers.forget(scf.data, &tm->m);
    tm->m.due_at = ngx_time() + 86400;
    scf.handlers.message(scf.data, &tm->m);
    assert_in_range(tm->m.due_at, ngx_time(), ngx_time() + 330);
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_relayed, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_delay, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_delay_unwanted, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_delay_over, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_delay_dead_site, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_double, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_report_8bit, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_report_long_header, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_clock, scene_setup,
                                        scene_teardown),
    };

    return shim_run(tests);
}
