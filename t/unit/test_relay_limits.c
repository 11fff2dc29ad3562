
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What a peer does not take, at all or now, and what must not be made of it:
 * too many recipients, no SMTPUTF8, no TLS, no sessions; on the scene of
 * test_relay.c, with the journal explained there.
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

#include "ngx_smtp_control.h"


static void test_send(ngx_uint_t i, const char *envelope);
static void test_surplus(void **state);
static void test_surplus_code(void **state);
static void test_surplus_no_progress(void **state);
static void test_surplus_lost(void **state);
static void test_surplus_ended(void **state);
static void test_utf8_again(void **state);
static void test_unsecured(void **state);
static void test_tls_of_next_server(void **state);
static void test_report_too_large(void **state);
static void test_broken_sessions(void **state);
static void test_broken_unsaid(void **state);
static void test_dead_expires(void **state);
static void test_requeue_report(void **state);
static void test_requeue_message(void **state);


static const char  pipelining[] = "250-mx\r\n250 PIPELINING\r\n";


/* the peer is named this envelope, gets a message, and takes it */

static void
test_send(ngx_uint_t i, const char *envelope)
{
    assert_string_equal(scene_heard(i), envelope);
    scene_say(i, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_string_equal(scene_heard(i), "x\r\n.\r\n");
    scene_say(i, "250 ok\r\n");
}


/* 452: those who were too many come next, in the same attempt */

static void
test_surplus(void **state)
{
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "x\r\n", 4, "b@to.test", "c@to.test",
                      "d@to.test", "e@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_heard(0);
    scene_say(0, "250 ok\r\n250 ok\r\n452 4.5.3 too many\r\n"
                 "550 5.1.1 nobody\r\n452 4.5.3 too many\r\n354 go\r\n");
    assert_string_equal(scene_heard(0), "x\r\n.\r\n");
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ r2=3/550 r0=1/250 out- report(2)");
    assert_int_equal(tm->m.attempts, 1);

    /* not more of them at a time than it has taken */

    test_send(0, "MAIL FROM:<a@from.test>\r\nRCPT TO:<c@to.test>\r\nDATA\r\n");
    assert_journal("out+ r1=1/250 out-");
    assert_int_equal(tm->m.attempts, 1);

    test_send(0, "MAIL FROM:<a@from.test>\r\nRCPT TO:<e@to.test>\r\nDATA\r\n");
    assert_journal("out+ r3=1/250 out- stale");
    assert_int_equal(tm->m.attempts, 1);
}


/* what means it, and what does not */

static void
test_surplus_code(void **state)
{
    size_t           i;
    char             text[128];
    test_message_t  *tm;

    static const struct {
        const char  *reply;
        const char  *journal;
    } cases[] = {
        { "452 too many recipients", "out+ r0=1/250 out-" },
        { "552 5.5.3 too many", "out+ r0=1/250 out-" },
        { "552 too many", "out+ r0=1/250 out-" },
        { "452 4.2.2 mailbox full", "out+ r1=5/452 r0=1/250 due" },
        { "552 5.2.2 mailbox full", "out+ r1=3/552 r0=1/250 out- report(1)" },
        { "450 4.5.3 later", "out+ r1=5/450 r0=1/250 due" },
        { "550 5.5.3 never", "out+ r1=3/550 r0=1/250 out- report(1)" },
    };

    scene_teardown(NULL);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        scene_setup(NULL);

        tm = scene_submit("a@from.test", "x\r\n", 2, "b@to.test",
                          "c@to.test");
        scene_settle();
        scene_open_session(0, pipelining);
        scene_heard(0);

        snprintf(text, sizeof(text), "250 ok\r\n250 ok\r\n%s\r\n354 go\r\n",
                 cases[i].reply);
        scene_say(0, text);
        scene_say(0, "250 ok\r\n");
        assert_memory_equal(journal, cases[i].journal,
                            strlen(cases[i].journal));
        assert_int_equal(tm->m.attempts, 1);

        scene_teardown(NULL);
    }

    scene_setup(NULL);
}


/* each transaction has to get somebody there, or the rest waits */

static void
test_surplus_no_progress(void **state)
{
    test_message_t  *tm;

    /* of all: not that they are many */

    tm = scene_submit("a@from.test", "x\r\n", 2, "b@to.test", "c@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_heard(0);
    scene_say(0, "250 ok\r\n452 4.5.3 no\r\n452 4.5.3 no\r\n503 no\r\n");
    assert_non_null(strstr(journal, "r0=5/452 r1=5/452 due="));
    assert_string_equal(scene_heard(0), "");
    assert_int_equal(tm->m.attempts, 1);
    journal[0] = '\0';

    /* the message is not taken */

    scene_submit("a@from.test", "x\r\n", 2, "b@to.test", "c@to.test");
    scene_settle();
    scene_heard(0);
    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n552 5.5.3 no\r\n354 go\r\n");
    scene_heard(0);
    scene_say(0, "451 later\r\n");
    assert_non_null(strstr(journal, "out+ r1=5/552 r0=5/451 due="));
    assert_string_equal(scene_heard(0), "");
}


/* a peer that hangs up over them is named less the next time */

static void
test_surplus_lost(void **state)
{
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "x\r\n", 3, "b@to.test", "c@to.test",
                      "d@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_heard(0);
    scene_say(0, "250 ok\r\n250 ok\r\n452 4.5.3 no\r\n421 4.7.0 enough\r\n");
    assert_non_null(strstr(journal, "r1=5/452 r0=5/421 r2=5/421 due="));
    assert_true(scene_peer(0)->closed);
    journal[0] = '\0';

    shim_time_advance(70000);
    scene_settle();
    scene_open_session(1, pipelining);
    test_send(1, "MAIL FROM:<a@from.test>\r\nRCPT TO:<b@to.test>\r\nDATA\r\n");
    test_send(1, "MAIL FROM:<a@from.test>\r\nRCPT TO:<c@to.test>\r\nDATA\r\n");
    test_send(1, "MAIL FROM:<a@from.test>\r\nRCPT TO:<d@to.test>\r\nDATA\r\n");
    assert_journal("out+ r0=1/250 out- out+ r1=1/250 out- out+ r2=1/250 out-"
                   " done");
    assert_int_equal(tm->ended, 1);
}


/* it has to be the peer that ends it, and over them: not over the message */

static void
test_surplus_ended(void **state)
{
    size_t  i;

    static const struct {
        const char  *reply;     /* to the third recipient, and to DATA */
        ngx_uint_t   failure;   /* 0: the message cannot be read */
        ngx_uint_t   limit;
    } cases[] = {
        { "", NGX_SMTP_PEER_CLOSED, 1 },
        { "", NGX_SMTP_PEER_TIMEDOUT, 0 },
        { "450 later\r\n354 go\r\n", NGX_SMTP_PEER_CLOSED, 0 },
        { "450 later\r\n354 go\r\n", NGX_SMTP_PEER_TIMEDOUT, 0 },
        { "450 later\r\n354 go\r\n", 0, 0 },
    };

    scene_teardown(NULL);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        scene_setup(NULL);

        scene_submit("a@from.test", "x\r\n", 3, "b@to.test", "c@to.test",
                     "d@to.test");
        scene_settle();

        /* a server before did: that is forgotten */

        next_servers = 1;
        scene_connected(0);
        scene_lose(0, NGX_SMTP_PEER_CLOSED);

        scene_open_session(0, pipelining);
        scene_heard(0);
        slow_reader = cases[i].failure ? 0 : 2;
        scene_say(0, "250 ok\r\n250 ok\r\n452 4.5.3 no\r\n");

        if (cases[i].reply[0]) {
            scene_say(0, cases[i].reply);
        }

        if (cases[i].failure) {
            scene_lose(0, cases[i].failure);

        } else {
            assert_non_null(waiting_reader);
            waiting_reader->handler(waiting_reader, NGX_ERROR);
            scene_settle();
        }

        assert_true(scene_peer(0)->closed);
        assert_non_null(strstr(journal, "r1=5/452"));
        assert_int_equal(relay->routes[0].limit, cases[i].limit);

        scene_teardown(NULL);
    }

    scene_setup(NULL);
}


/* what needs no SMTPUTF8 at first needs none later, read from disk */

static void
test_utf8_again(void **state)
{
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "Subject: x\r\nX: y\r\n\r\n\xc3\xa4\r\n",
                      1, "b@to.test");
    tm->envelope.smtputf8 = 1;
    scene_settle();
    scene_open_session(0, pipelining);
    scene_heard(0);
    scene_say(0, "450 later\r\n503 no\r\n503 no\r\n");
    assert_non_null(strstr(journal, "r0=5/450 due="));
    assert_null(tm->m.fresh);
    journal[0] = '\0';

    slow_reader = 2;
    shim_time_advance(70000);
    scene_settle();
    assert_string_equal(scene_heard(0), "");

    while (waiting_reader) {
        scene_read();
    }

    slow_reader = 0;
    assert_string_equal(scene_heard(0), "RSET\r\nMAIL FROM:<a@from.test>\r\n"
                                        "RCPT TO:<b@to.test>\r\nDATA\r\n");
    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    assert_string_equal(scene_heard(0),
                        "Subject: x\r\nX: y\r\n\r\n\xc3\xa4\r\n.\r\n");
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ r0=1/250 out- done");
}


/* 530 where STARTTLS went wrong is no word about the message */

static void
test_unsecured(void **state)
{
    size_t  i;

    static const char  ehlo[] = "250-mx\r\n250-PIPELINING\r\n"
                                "250 STARTTLS\r\n";

    static const struct {
        ngx_uint_t   tls;
        const char  *starttls;
        const char  *reply;
        ngx_uint_t   deferred;
    } cases[] = {
        { NGX_SMTP_RELAY_TLS_OPPORTUNISTIC, "454 4.7.0 not now\r\n",
          "530 5.7.0 issue STARTTLS first\r\n", 1 },
        { NGX_SMTP_RELAY_TLS_OPPORTUNISTIC, "454 4.7.0 not now\r\n",
          "550 5.7.0 never\r\n", 0 },
        { NGX_SMTP_RELAY_TLS_OFF, NULL,
          "530 5.7.0 issue STARTTLS first\r\n", 0 },
    };

    scene_teardown(NULL);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        scene_setup(NULL);
        qcf.tls = cases[i].tls;

        scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
        scene_settle();
        scene_open_session(0, ehlo);

        if (cases[i].starttls) {
            assert_string_equal(scene_heard(0), "STARTTLS\r\n");
            scene_say(0, cases[i].starttls);
        }

        scene_heard(0);
        scene_say(0, cases[i].reply);
        scene_say(0, "503 no\r\n503 no\r\n");

        assert_non_null(strstr(journal, cases[i].deferred ? "r0=5/530 due="
                                        : i == 1 ? "r0=3/550 report(0)"
                                                 : "r0=3/530 report(0)"));
        scene_teardown(NULL);
    }

    scene_setup(NULL);
}


/* TLS failed with one server: that is its affair, and not that of the next */

static void
test_tls_of_next_server(void **state)
{
    size_t  i;

    static const char  ehlo[] = "250-mx\r\n250-PIPELINING\r\n"
                                "250 STARTTLS\r\n";

    scene_teardown(NULL);

    for (i = 0; i < 2; i++) {
        scene_setup(NULL);
        qcf.tls = NGX_SMTP_RELAY_TLS_OPPORTUNISTIC;

        scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
        scene_settle();
        scene_open_session(0, ehlo);
        assert_string_equal(scene_heard(0), "STARTTLS\r\n");
        scene_say(0, "220 go\r\n");
        assert_int_equal(scene_peer(0)->tls, 1);
        scene_lose(0, NGX_SMTP_PEER_TLS);
        assert_int_equal(scene_peer(0)->reconnected, 1);

        /* it cannot be reached any more, and another one can */

        if (i == 1) {
            ngx_str_set(&scene_peer(0)->peer->name, "192.0.2.2:25");
        }

        scene_open_session(0, ehlo);
        assert_string_equal(scene_heard(0),
                            i == 1 ? "STARTTLS\r\n"
                                   : "MAIL FROM:<a@from.test>\r\n"
                                     "RCPT TO:<b@to.test>\r\nDATA\r\n");
        scene_teardown(NULL);
    }

    scene_setup(NULL);
}


/* with the whole original it is too large: then with the header only */

static void
test_report_too_large(void **state)
{
    const char      *text;
    test_message_t  *tm;

    qcf.postmaster = shim_str("pm@relay.test");

    tm = scene_submit("a@from.test", "X: y\r\n\r\nsecret\r\n", 1, "b@to.test");
    tm->envelope.ret = NGX_SMTP_RET_FULL;
    scene_settle();
    scene_open_session(0, "250-mx\r\n250-PIPELINING\r\n250 SIZE 1000\r\n");
    scene_heard(0);
    scene_say(0, "250 ok\r\n550 no\r\n503 no\r\n");
    assert_non_null(strstr(journal, "r0=3/550 report(0) stale report="));
    assert_string_equal(scene_heard(0), "");
    journal[0] = '\0';

    shim_time_advance(70000);
    scene_settle();
    assert_non_null(strstr(scene_heard(0), "MAIL FROM:<>\r\n"));
    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    text = scene_heard(0);
    assert_non_null(strstr(text, "Action: failed\r\n"));
    assert_non_null(strstr(text, "X: y\r\n"));
    assert_null(strstr(text, "secret"));
    scene_say(0, "250 ok\r\n");
    assert_journal("out+ reported out- done");
}


/* sessions that come as far as EHLO and then break do not keep a site alive */

static void
test_broken_sessions(void **state)
{
    ngx_uint_t  i;

    relay->routes[0].site_conf.max = 1;
    relay->routes[0].site.window = 1;

    for (i = 0; i < 3; i++) {
        scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
        scene_settle();
        assert_int_equal(npeers, i + 1);
        scene_open_session(i, pipelining);
        scene_say(i, "421 4.3.2 busy\r\n");
        assert_true(scene_peer(i)->closed);
    }

    scene_submit("a@from.test", "x\r\n", 1, "b@to.test");
    scene_settle();
    assert_int_equal(npeers, 3);

    /* one tries, and its EHLO is not enough */

    shim_time_advance(70000);
    scene_settle();
    assert_int_equal(npeers, 4);
    scene_open_session(3, pipelining);
    scene_say(3, "421 4.3.2 busy\r\n");
    assert_int_equal(npeers, 4);
    shim_time_advance(70000);
    scene_settle();
    assert_int_equal(npeers, 4);

    /* its message is, taken or not */

    shim_time_advance(70000);
    scene_settle();
    assert_int_equal(npeers, 5);
    scene_open_session(4, pipelining);
    journal[0] = '\0';
    scene_say(4, "450 later\r\n503 no\r\n503 no\r\n");
    assert_int_equal(relay->routes[0].site.state, NGX_SMTP_SITE_ALIVE);
    assert_non_null(strstr(journal, "r0=5/450 due="));
}


/* what we do not send to the one that tries, it has said nothing of */

static void
test_broken_unsaid(void **state)
{
    ngx_uint_t        i;
    ngx_smtp_site_t  *site;

    static const char  small[] = "250-mx\r\n250-PIPELINING\r\n250 SIZE 5\r\n";

    site = &relay->routes[0].site;
    relay->routes[0].site_conf.max = 1;
    site->window = 1;

    for (i = 0; i < 3; i++) {
        scene_submit("", "0123456789\r\n", 1, "b@to.test");
        scene_settle();
        scene_open_session(i, pipelining);
        scene_say(i, "421 4.3.2 busy\r\n");
    }

    assert_int_equal(site->state, NGX_SMTP_SITE_DEAD);

    /* all are too large: it is left as it was, and closed in the end */

    shim_time_advance(70000);
    scene_settle();
    assert_int_equal(npeers, 4);
    scene_open_session(3, small);
    assert_string_equal(scene_heard(3), "");
    assert_non_null(strstr(journal, "r0=3/0"));
    assert_int_equal(site->state, NGX_SMTP_SITE_PROBE);

    scene_lose(3, NGX_SMTP_PEER_TIMEDOUT);
    assert_string_equal(scene_heard(3), "QUIT\r\n");
    assert_int_equal(site->state, NGX_SMTP_SITE_DEAD);
    scene_say(3, "221 bye\r\n");
    assert_true(scene_peer(3)->closed);

    /* the next one, too, until something is said */

    scene_submit("", "0123456789\r\n", 1, "b@to.test");
    scene_settle();
    assert_int_equal(npeers, 4);
    shim_time_advance(140000);
    scene_settle();
    assert_int_equal(npeers, 5);
    scene_open_session(4, small);
    assert_int_equal(site->state, NGX_SMTP_SITE_PROBE);

    scene_submit("", "x\r\n", 1, "b@to.test");
    scene_settle();
    assert_int_equal(npeers, 5);
    assert_non_null(strstr(scene_heard(4), "MAIL FROM:<>"));
    scene_say(4, "450 later\r\n503 no\r\n503 no\r\n");
    assert_int_equal(site->state, NGX_SMTP_SITE_ALIVE);
}


/* what a dead next hop was never tried with is given up in its time, too */

static void
test_dead_expires(void **state)
{
    ngx_uint_t  i, k, ended;

    relay->routes[0].site_conf.backoff_min = 300;
    relay->routes[0].site_conf.backoff_max = 300;

    for (i = 0; i < 8; i++) {
        scene_submit("", "x\r\n", 1, "b@to.test");
        scene_settle();

        if (i < 3) {
            scene_lose(i, NGX_SMTP_PEER_REFUSED);
        }
    }

    assert_int_equal(npeers, 3);

    /* a second at a time, so that all have their turn; probes fail */

    for (i = 0; i < 1300; i++) {
        shim_time_advance(1000);
        scene_settle();

        if (!scene_peer(npeers - 1)->closed) {
            scene_lose(npeers - 1, NGX_SMTP_PEER_REFUSED);
        }

        for (k = 0, ended = 0; k < 8; k++) {
            ended += messages[k].ended;
        }

        /* they expire after 1000 s; a tried one before its next attempt */

        assert_true(ended == 0 || i > 600);
    }

    assert_in_range(npeers, 4, 7);
    assert_int_equal(ended, 8);
}


/* held and given back while a report of it is in an attempt */

static void
test_requeue_report(void **state)
{
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "x\r\n", 2, "b@to.test", "c@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_heard(0);
    scene_say(0, "250 ok\r\n550 no\r\n450 later\r\n503 no\r\n");
    assert_non_null(strstr(journal, "report(0)"));
    assert_non_null(strstr(scene_heard(0), "RCPT TO:<a@from.test>"));
    journal[0] = '\0';

    assert_int_equal(ngx_smtp_control_act(relay, &tm->m,
                                          NGX_SMTP_CONTROL_HOLD, NULL, NULL),
                     NGX_SMTP_CONTROL_PENDING);
    assert_int_equal(ngx_smtp_control_act(relay, &tm->m,
                                          NGX_SMTP_CONTROL_REQUEUE, NULL,
                                          NULL),
                     NGX_SMTP_CONTROL_DONE);
    scene_settle();
    assert_true(tm->m.scheduled);

    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    scene_heard(0);
    scene_say(0, "250 ok\r\n");
    assert_journal("hold release out+ reported out-");

    test_send(0, "MAIL FROM:<a@from.test>\r\nRCPT TO:<c@to.test>\r\nDATA\r\n");
    assert_journal("out+ r1=1/250 out- done");
}


/* held and given back in its own attempt: a report of it goes on, too */

static void
test_requeue_message(void **state)
{
    test_message_t  *tm;

    tm = scene_submit("a@from.test", "x\r\n", 2, "b@to.test", "c@to.test");
    scene_settle();
    scene_open_session(0, pipelining);
    scene_heard(0);
    scene_say(0, "250 ok\r\n550 no\r\n450 later\r\n503 no\r\n");
    scene_heard(0);
    scene_say(0, "250 ok\r\n450 later\r\n503 no\r\n503 no\r\n");
    assert_non_null(strstr(journal, "report="));

    tm->m.due_at = 0;
    ngx_smtp_route_remove(relay, &tm->m);
    ngx_smtp_route_insert(relay, &tm->m, ngx_time());
    ngx_smtp_route_insert_report(relay, &tm->reports[0], ngx_time() + 600);
    scene_settle();
    assert_non_null(strstr(scene_heard(0), "RCPT TO:<c@to.test>"));
    journal[0] = '\0';

    assert_int_equal(ngx_smtp_control_act(relay, &tm->m,
                                          NGX_SMTP_CONTROL_HOLD, NULL, NULL),
                     NGX_SMTP_CONTROL_PENDING);
    assert_int_equal(ngx_smtp_control_act(relay, &tm->m,
                                          NGX_SMTP_CONTROL_REQUEUE, NULL,
                                          NULL),
                     NGX_SMTP_CONTROL_DONE);
    assert_true(tm->reports[0].scheduled);

    /* when nothing was held nothing is to be done */

    assert_int_equal(ngx_smtp_control_act(relay, &tm->m,
                                          NGX_SMTP_CONTROL_REQUEUE, NULL,
                                          NULL),
                     NGX_SMTP_CONTROL_UNCHANGED);

    scene_say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    scene_heard(0);
    scene_say(0, "250 ok\r\n");
    assert_journal("hold release out+ r1=1/250 out-");
    assert_non_null(strstr(scene_heard(0), "RCPT TO:<a@from.test>"));
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_surplus, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_surplus_code, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_surplus_no_progress, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_surplus_lost, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_surplus_ended, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_utf8_again, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_unsecured, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_tls_of_next_server, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_report_too_large, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_broken_sessions, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_broken_unsaid, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_dead_expires, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_requeue_report, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(test_requeue_message, scene_setup,
                                        scene_teardown),
    };

    return shim_run(tests);
}
