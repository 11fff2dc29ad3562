
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The state machine of a site: each edge of its diagram, then random events
 * with the promises of the header checked after each.
 *
 * sources: queue/ngx_smtp_site.c queue/ngx_smtp_schedule.c
 */


#include "shim.h"
#include "ngx_smtp_site.h"

#include <stdlib.h>
#include <string.h>


#define CONNECT  NGX_SMTP_SITE_CONNECT
#define SESSION  NGX_SMTP_SITE_SESSION
#define MESSAGE  NGX_SMTP_SITE_MESSAGE


static ngx_int_t test_may(ngx_smtp_site_t *site, time_t now);
static void test_setup(ngx_smtp_site_t *site);
static void test_die(ngx_smtp_site_t *site, time_t now);
static void test_window(void **state);
static void test_shrink(void **state);
static void test_dead(void **state);
static void test_probe(void **state);
static void test_backoff(void **state);
static void test_revive_other(void **state);
static void test_message(void **state);
static void test_session(void **state);
static void test_ready(void **state);
static void test_slot(void **state);
static void test_clock(void **state);
static void test_conf(void **state);
static void test_random(void **state);


static ngx_smtp_site_conf_t  test_conf_default;
static time_t                test_until;


static ngx_int_t
test_may(ngx_smtp_site_t *site, time_t now)
{
    return ngx_smtp_site_may_open(site, now, &test_until);
}


static void
test_setup(ngx_smtp_site_t *site)
{
    ngx_smtp_site_conf_default(&test_conf_default);
    ngx_smtp_site_init(site, &test_conf_default);
}


/* three failures in a row; nothing stays open */

static void
test_die(ngx_smtp_site_t *site, time_t now)
{
    ngx_uint_t            i;
    ngx_smtp_site_slot_t  slot;

    for (i = 0; i < 3; i++) {
        memset(&slot, 0, sizeof(slot));

        assert_int_equal(site->state, NGX_SMTP_SITE_ALIVE);
        assert_int_equal(test_may(site, now), NGX_OK);
        ngx_smtp_site_opened(site, &slot, now);
        ngx_smtp_site_failure(site, &slot, CONNECT, now, 0);
        ngx_smtp_site_closed(site, &slot, now, 0);
    }

    assert_int_equal(site->state, NGX_SMTP_SITE_DEAD);
}


static void
test_window(void **state)
{
    size_t                i, n;
    ngx_smtp_site_t       site;
    ngx_smtp_site_slot_t  slots[20];

    test_setup(&site);
    memset(slots, 0, sizeof(slots));

    for (i = 0; i < 5; i++) {
        assert_int_equal(test_may(&site, 100), NGX_OK);
        ngx_smtp_site_opened(&site, &slots[i], 100);
    }

    assert_int_equal(test_may(&site, 100), NGX_AGAIN);
    assert_int_equal(test_until, 0);

    /* one more for each window of successes: 5, 6, ... 19 of them, then 20 */

    for (n = 5; n < 20; n++) {
        assert_int_equal(site.window, n);

        for (i = 0; i < n - 1; i++) {
            ngx_smtp_site_success(&site, &slots[0]);
            assert_int_equal(site.window, n);
        }

        ngx_smtp_site_success(&site, &slots[0]);
        assert_int_equal(site.window, n + 1);

        assert_int_equal(test_may(&site, 100), NGX_OK);
        ngx_smtp_site_opened(&site, &slots[n], 100);
        assert_int_equal(test_may(&site, 100), NGX_AGAIN);
    }

    for (i = 0; i < 100; i++) {
        ngx_smtp_site_success(&site, &slots[0]);
    }

    assert_int_equal(site.window, 20);
    assert_int_equal(site.open, 20);
    assert_int_equal(test_may(&site, 100), NGX_AGAIN);

    ngx_smtp_site_closed(&site, &slots[7], 100, 0);
    assert_int_equal(test_may(&site, 100), NGX_OK);
}


static void
test_shrink(void **state)
{
    size_t                i;
    ngx_smtp_site_t       site;
    ngx_smtp_site_slot_t  slots[20];

    test_setup(&site);
    memset(slots, 0, sizeof(slots));
    site.window = 20;

    for (i = 0; i < 20; i++) {
        ngx_smtp_site_opened(&site, &slots[i], 100);
    }

    /* together: one event */

    ngx_smtp_site_failure(&site, &slots[0], SESSION, 100, 0);
    ngx_smtp_site_failure(&site, &slots[1], CONNECT, 100, 0);
    ngx_smtp_site_failure(&site, &slots[2], SESSION, 100, 0);
    assert_int_equal(site.window, 10);

    ngx_smtp_site_success(&site, &slots[3]);
    ngx_smtp_site_failure(&site, &slots[4], CONNECT, 101, 0);
    assert_int_equal(site.window, 5);
    assert_int_equal(site.credit, 0);
    ngx_smtp_site_failure(&site, &slots[5], SESSION, 102, 0);
    assert_int_equal(site.window, 2);
    ngx_smtp_site_failure(&site, &slots[6], SESSION, 103, 0);
    assert_int_equal(site.window, 1);

    /* nothing opens before the surplus is closed */

    for (i = 0; i < 20; i++) {
        assert_int_equal(test_may(&site, 103), NGX_AGAIN);
        ngx_smtp_site_closed(&site, &slots[i], 103, 0);
    }

    assert_int_equal(test_may(&site, 103), NGX_OK);
}


static void
test_dead(void **state)
{
    ngx_smtp_site_t       site;
    ngx_smtp_site_slot_t  slot;

    test_setup(&site);
    memset(&slot, 0, sizeof(slot));

    /* two failures, a success, two failures: no row of three */

    ngx_smtp_site_opened(&site, &slot, 100);
    ngx_smtp_site_failure(&site, &slot, CONNECT, 100, 0);
    ngx_smtp_site_failure(&site, &slot, CONNECT, 101, 0);
    ngx_smtp_site_success(&site, &slot);
    ngx_smtp_site_failure(&site, &slot, CONNECT, 102, 0);
    ngx_smtp_site_failure(&site, &slot, CONNECT, 103, 0);
    assert_int_equal(site.state, NGX_SMTP_SITE_ALIVE);

    ngx_smtp_site_failure(&site, &slot, CONNECT, 104, 0);
    assert_int_equal(site.state, NGX_SMTP_SITE_DEAD);
    ngx_smtp_site_closed(&site, &slot, 104, 0);

    /* seed 0 is the shortest: 54 s */

    assert_int_equal(test_may(&site, 104), NGX_DECLINED);
    assert_int_equal(test_until, 104 + 54);
    assert_int_equal(test_may(&site, 104 + 53), NGX_DECLINED);
    assert_int_equal(test_until, 104 + 54);
    assert_int_equal(test_may(&site, 104 + 54), NGX_OK);
    assert_int_equal(test_until, 0);
}


static void
test_probe(void **state)
{
    ngx_smtp_site_t       site;
    ngx_smtp_site_slot_t  slot, other;

    test_setup(&site);
    memset(&slot, 0, sizeof(slot));
    memset(&other, 0, sizeof(other));

    test_die(&site, 100);

    /* asking alone changes nothing */

    assert_int_equal(test_may(&site, 200), NGX_OK);
    assert_int_equal(test_may(&site, 200), NGX_OK);
    ngx_smtp_site_opened(&site, &slot, 200);

    assert_int_equal(site.state, NGX_SMTP_SITE_PROBE);
    assert_int_equal(test_may(&site, 200), NGX_AGAIN);
    assert_int_equal(test_may(&site, 100000), NGX_AGAIN);

    ngx_smtp_site_success(&site, &slot);

    assert_int_equal(site.state, NGX_SMTP_SITE_ALIVE);
    assert_int_equal(site.window, 5);
    assert_int_equal(test_may(&site, 201), NGX_OK);

    /* its close is like any other now */

    ngx_smtp_site_opened(&site, &other, 201);
    ngx_smtp_site_closed(&site, &slot, 201, 0);
    assert_int_equal(site.state, NGX_SMTP_SITE_ALIVE);
    assert_int_equal(site.open, 1);
}


static void
test_backoff(void **state)
{
    size_t                i, k;
    time_t                now;
    ngx_smtp_site_t       site;
    ngx_smtp_site_slot_t  slot;

    static const time_t  waits[] = { 54, 108, 216, 432, 810, 810, 810 };

    /* by failure of the probe, by its session, by its silent end */

    static const ngx_uint_t  kinds[] = { CONNECT, SESSION, 0 };

    for (i = 0; i < 3; i++) {
        test_setup(&site);
        now = 1000;
        test_die(&site, now);

        for (k = 0; k < sizeof(waits) / sizeof(waits[0]); k++) {
            assert_int_equal(test_may(&site, now), NGX_DECLINED);
            assert_int_equal(test_until, now + waits[k]);

            now = test_until;
            memset(&slot, 0, sizeof(slot));

            assert_int_equal(test_may(&site, now), NGX_OK);
            ngx_smtp_site_opened(&site, &slot, now);

            if (kinds[i]) {
                ngx_smtp_site_failure(&site, &slot, kinds[i], now, 0);
                assert_int_equal(site.state, NGX_SMTP_SITE_DEAD);
            }

            /* does not count a second time */

            ngx_smtp_site_closed(&site, &slot, now, 0);
            assert_int_equal(site.state, NGX_SMTP_SITE_DEAD);
        }

        /* a revived site begins again */

        assert_int_equal(test_may(&site, now + 1000), NGX_OK);
        memset(&slot, 0, sizeof(slot));
        ngx_smtp_site_opened(&site, &slot, now + 1000);
        ngx_smtp_site_success(&site, &slot);
        ngx_smtp_site_closed(&site, &slot, now + 1000, 0);

        test_die(&site, now + 2000);
        assert_int_equal(test_may(&site, now + 2000), NGX_DECLINED);
        assert_int_equal(test_until, now + 2000 + 54);
    }

    /* the jitter is that of the seed */

    test_setup(&site);
    memset(&slot, 0, sizeof(slot));
    test_conf_default.dead_after = 1;
    ngx_smtp_site_opened(&site, &slot, 0);
    ngx_smtp_site_failure(&site, &slot, CONNECT, 0, 12);
    assert_int_equal(site.until, 66);
}


/* connections that were open when the site died */

static void
test_revive_other(void **state)
{
    ngx_smtp_site_t       site;
    ngx_smtp_site_slot_t  old, probe, next;

    test_setup(&site);
    memset(&old, 0, sizeof(old));
    memset(&probe, 0, sizeof(probe));
    memset(&next, 0, sizeof(next));

    ngx_smtp_site_opened(&site, &old, 100);
    test_die(&site, 100);
    assert_int_equal(site.open, 1);

    /* its failures tell nothing new */

    ngx_smtp_site_failure(&site, &old, CONNECT, 110, 0);
    assert_int_equal(site.until, 154);
    assert_int_equal(site.backoff, 60);

    assert_int_equal(test_may(&site, 160), NGX_OK);
    ngx_smtp_site_opened(&site, &probe, 160);
    ngx_smtp_site_failure(&site, &old, SESSION, 161, 0);
    assert_int_equal(site.state, NGX_SMTP_SITE_PROBE);

    /* its success does */

    ngx_smtp_site_success(&site, &old);
    assert_int_equal(site.state, NGX_SMTP_SITE_ALIVE);

    /* the probe is forgotten: dead again, another one, and the old one ends */

    ngx_smtp_site_closed(&site, &old, 161, 0);
    test_die(&site, 162);
    assert_int_equal(test_may(&site, 300), NGX_OK);
    ngx_smtp_site_opened(&site, &next, 300);
    ngx_smtp_site_failure(&site, &probe, CONNECT, 301, 0);
    ngx_smtp_site_closed(&site, &probe, 301, 0);
    assert_int_equal(site.state, NGX_SMTP_SITE_PROBE);
    assert_int_equal(test_may(&site, 301), NGX_AGAIN);

    ngx_smtp_site_success(&site, &next);
    assert_int_equal(site.state, NGX_SMTP_SITE_ALIVE);
}


static void
test_message(void **state)
{
    size_t                i;
    ngx_smtp_site_t       site;
    ngx_smtp_site_slot_t  slot;

    test_setup(&site);
    memset(&slot, 0, sizeof(slot));
    ngx_smtp_site_opened(&site, &slot, 100);

    for (i = 0; i < 100; i++) {
        ngx_smtp_site_failure(&site, &slot, MESSAGE, 100 + i, 0);
    }

    assert_int_equal(site.state, NGX_SMTP_SITE_ALIVE);
    assert_int_equal(site.window, 5);

    ngx_smtp_site_failure(&site, &slot, CONNECT, 300, 0);
    ngx_smtp_site_failure(&site, &slot, CONNECT, 301, 0);
    ngx_smtp_site_failure(&site, &slot, MESSAGE, 302, 0);
    ngx_smtp_site_failure(&site, &slot, CONNECT, 303, 0);
    assert_int_equal(site.state, NGX_SMTP_SITE_ALIVE);
    ngx_smtp_site_closed(&site, &slot, 303, 0);

    test_setup(&site);
    test_die(&site, 100);
    ngx_smtp_site_opened(&site, &slot, 200);
    assert_int_equal(site.state, NGX_SMTP_SITE_PROBE);
    ngx_smtp_site_failure(&site, &slot, MESSAGE, 201, 0);
    assert_int_equal(site.state, NGX_SMTP_SITE_ALIVE);
}


/* sessions that break kill a site only when it cannot be used less */

static void
test_session(void **state)
{
    ngx_smtp_site_t       site;
    ngx_smtp_site_slot_t  slot;

    test_setup(&site);
    memset(&slot, 0, sizeof(slot));
    ngx_smtp_site_opened(&site, &slot, 100);

    ngx_smtp_site_failure(&site, &slot, SESSION, 100, 0);
    ngx_smtp_site_failure(&site, &slot, SESSION, 101, 0);
    assert_int_equal(site.window, 1);
    assert_int_equal(site.failures, 0);

    ngx_smtp_site_failure(&site, &slot, SESSION, 102, 0);
    ngx_smtp_site_failure(&site, &slot, SESSION, 103, 0);
    assert_int_equal(site.state, NGX_SMTP_SITE_ALIVE);
    ngx_smtp_site_failure(&site, &slot, SESSION, 104, 0);
    assert_int_equal(site.state, NGX_SMTP_SITE_DEAD);
}


/* a session that came as far as EHLO and broke behind it */

static void
test_ready(void **state)
{
    size_t                i;
    ngx_smtp_site_t       site;
    ngx_smtp_site_slot_t  slot;

    test_setup(&site);
    memset(&slot, 0, sizeof(slot));
    site.window = 1;

    for (i = 0; i < 3; i++) {
        assert_int_equal(test_may(&site, 100 + i), NGX_OK);
        ngx_smtp_site_opened(&site, &slot, 100 + i);
        ngx_smtp_site_ready(&site, &slot);
        assert_int_equal(site.window, 1);
        ngx_smtp_site_failure(&site, &slot, SESSION, 100 + i, 0);
        ngx_smtp_site_closed(&site, &slot, 100 + i, 0);
    }

    assert_int_equal(site.state, NGX_SMTP_SITE_DEAD);

    /* the next EHLO is not yet a sign of life, a message is */

    ngx_smtp_site_opened(&site, &slot, 200);
    ngx_smtp_site_ready(&site, &slot);
    assert_int_equal(site.state, NGX_SMTP_SITE_PROBE);
    ngx_smtp_site_failure(&site, &slot, SESSION, 201, 0);
    ngx_smtp_site_closed(&site, &slot, 201, 0);
    assert_int_equal(test_may(&site, 202), NGX_DECLINED);
    assert_int_equal(test_until, 201 + 108);

    ngx_smtp_site_opened(&site, &slot, 400);
    ngx_smtp_site_ready(&site, &slot);
    ngx_smtp_site_failure(&site, &slot, MESSAGE, 401, 0);
    assert_int_equal(site.state, NGX_SMTP_SITE_ALIVE);
    ngx_smtp_site_closed(&site, &slot, 401, 0);

    /* of connects it is */

    test_die(&site, 500);
    ngx_smtp_site_opened(&site, &slot, 600);
    ngx_smtp_site_ready(&site, &slot);
    assert_int_equal(site.state, NGX_SMTP_SITE_ALIVE);
    assert_int_equal(site.window, 5);
}


static void
test_slot(void **state)
{
    ngx_smtp_site_t       site;
    ngx_smtp_site_slot_t  slot;

    test_setup(&site);
    memset(&slot, 0, sizeof(slot));

    /* before it is open, and after */

    ngx_smtp_site_closed(&site, &slot, 1, 0);
    ngx_smtp_site_failure(&site, &slot, CONNECT, 1, 0);
    ngx_smtp_site_success(&site, &slot);
    assert_int_equal(site.open, 0);
    assert_int_equal(site.failures, 0);
    assert_int_equal(site.credit, 0);

    ngx_smtp_site_opened(&site, &slot, 1);
    ngx_smtp_site_opened(&site, &slot, 1);
    assert_int_equal(site.open, 1);
    ngx_smtp_site_closed(&site, &slot, 1, 0);
    ngx_smtp_site_closed(&site, &slot, 1, 0);
    assert_int_equal(site.open, 0);
    ngx_smtp_site_failure(&site, &slot, CONNECT, 1, 0);
    assert_int_equal(site.failures, 0);
    assert_int_equal(site.window, 5);

    /* and again */

    ngx_smtp_site_opened(&site, &slot, 2);
    assert_int_equal(site.open, 1);
}


static void
test_clock(void **state)
{
    ngx_smtp_site_t  site;

    test_setup(&site);
    test_die(&site, 1000000);

    /* put back by days: waits no longer than the longest back-off */

    assert_int_equal(test_may(&site, 100), NGX_DECLINED);
    assert_int_equal(test_until, 100 + 990);
    assert_int_equal(test_may(&site, 101), NGX_DECLINED);
    assert_int_equal(test_until, 100 + 990);
    assert_int_equal(test_may(&site, 1090), NGX_OK);
}


static void
test_conf(void **state)
{
    ngx_smtp_site_t       site;
    ngx_smtp_site_conf_t  conf;
    ngx_smtp_site_slot_t  slot, slot2;

    memset(&conf, 0, sizeof(conf));
    memset(&slot, 0, sizeof(slot));
    memset(&slot2, 0, sizeof(slot2));

    ngx_smtp_site_init(&site, &conf);

    assert_int_equal(test_may(&site, 10), NGX_OK);
    ngx_smtp_site_opened(&site, &slot, 10);
    assert_int_equal(test_may(&site, 10), NGX_AGAIN);
    ngx_smtp_site_failure(&site, &slot, CONNECT, 10, 0);
    ngx_smtp_site_closed(&site, &slot, 10, 0);
    assert_int_equal(test_may(&site, 10), NGX_DECLINED);
    assert_int_equal(test_until, 11);
    assert_int_equal(test_may(&site, 11), NGX_OK);

    conf.initial = 10;
    conf.max = 2;
    ngx_smtp_site_init(&site, &conf);
    assert_int_equal(site.window, 2);

    /* lowered while in use */

    ngx_smtp_site_opened(&site, &slot, 1);
    ngx_smtp_site_opened(&site, &slot2, 1);
    ngx_smtp_site_closed(&site, &slot2, 1, 0);
    conf.max = 1;
    assert_int_equal(test_may(&site, 1), NGX_AGAIN);
}


static void
test_random(void **state)
{
    time_t                 now;
    size_t                 i, open, step;
    ngx_uint_t             before, deaths, probes;
    ngx_smtp_site_t        site;
    ngx_smtp_site_slot_t  *s, slots[30];

    test_setup(&site);
    memset(slots, 0, sizeof(slots));
    srandom(7);

    now = 1000;
    deaths = 0;
    probes = 0;

    for (step = 0; step < 500000; step++) {
        now += (random() % 20 == 0) ? random() % 60 : 0;
        s = &slots[random() % 30];
        before = site.state;

        switch (random() % 9) {

        case 0:
        case 1:
        case 2:
            if (s->open) {
                break;
            }

            switch (test_may(&site, now)) {

            case NGX_OK:
                assert_true(before != NGX_SMTP_SITE_PROBE);
                assert_true(before == NGX_SMTP_SITE_DEAD
                            || site.open < site.window);

                ngx_smtp_site_opened(&site, s, now);

                if (before == NGX_SMTP_SITE_DEAD) {
                    assert_true(now >= site.until);
                    assert_int_equal(site.state, NGX_SMTP_SITE_PROBE);
                    probes++;
                }

                break;

            case NGX_DECLINED:
                assert_int_equal(site.state, NGX_SMTP_SITE_DEAD);
                assert_true(test_until > now && test_until <= now + 990);
                break;

            default:
                assert_true(before == NGX_SMTP_SITE_PROBE
                            || site.open >= site.window);
            }

            break;

        case 3:
            ngx_smtp_site_success(&site, s);
            assert_true(!s->open || site.state == NGX_SMTP_SITE_ALIVE);
            break;

        case 4:
            ngx_smtp_site_failure(&site, s, MESSAGE, now, random());
            assert_true(!s->open || site.state == NGX_SMTP_SITE_ALIVE);
            break;

        case 5:
            ngx_smtp_site_failure(&site, s, SESSION, now, random());
            break;

        case 8:
            ngx_smtp_site_ready(&site, s);
            assert_true(!s->open || site.failures == 0);
            break;

        case 6:
            /* mostly failures, so that it dies often */
            for (i = 0; i < 3; i++) {
                ngx_smtp_site_failure(&site, s, CONNECT, now, random());
            }

            break;

        default:
            ngx_smtp_site_closed(&site, s, now, random());
            assert_false(s->open);
            break;
        }

        for (i = 0, open = 0; i < 30; i++) {
            open += slots[i].open;
        }

        assert_int_equal(site.open, open);
        assert_true(site.window >= 1 && site.window <= 20);
        assert_true(site.state <= NGX_SMTP_SITE_PROBE);

        /* a probe is open, or there is none: the site cannot hang */

        assert_int_equal(site.probe != NULL,
                         site.state == NGX_SMTP_SITE_PROBE);
        assert_true(site.probe == NULL || site.probe->open);

        deaths += (before == NGX_SMTP_SITE_ALIVE
                   && site.state == NGX_SMTP_SITE_DEAD);
    }

    assert_true(deaths > 1000);
    assert_true(probes > 100);
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_shrink),
        cmocka_unit_test(test_dead),
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_revive_other),
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_session),
        cmocka_unit_test(test_ready),
        cmocka_unit_test(test_slot),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_conf),
        cmocka_unit_test(test_random),
    };

    return shim_run(tests);
}
