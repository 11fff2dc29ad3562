
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Turns: the share of an iteration, the order of the line, leaving it.
 *
 * sources: core/ngx_smtp_turn.c
 */


#include "shim.h"

#include "ngx_smtp_turn.h"

#include <string.h>


#define TEST_WAITERS  4


typedef struct {
    ngx_smtp_turn_t   turn;
    ngx_uint_t        number;
    ngx_uint_t        again;    /* goes to the line so many times more */
    size_t            cost;
    ngx_smtp_turn_t  *cancel;
} test_waiter_t;


static void test_share(void **state);
static void test_order(void **state);
static void test_fair(void **state);
static void test_clock(void **state);
static void test_cancel(void **state);
static void test_handler(void *data);
static void test_init(void);
static ngx_uint_t test_iterate(void);


static test_waiter_t  waiters[TEST_WAITERS];
static char           trace[64];


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_fair),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_cancel),
    };

    return shim_run(tests);
}


static void
test_init(void)
{
    ngx_uint_t  i;

    memset(waiters, 0, sizeof(waiters));
    trace[0] = '\0';

    for (i = 0; i < TEST_WAITERS; i++) {
        waiters[i].number = i;
        waiters[i].turn.handler = test_handler;
        waiters[i].turn.data = &waiters[i];
    }

    ngx_current_msec++;
}


static void
test_handler(void *data)
{
    test_waiter_t *w = data;

    size_t  n;

    n = strlen(trace);
    trace[n] = (char) ('0' + w->number);
    trace[n + 1] = '\0';

    ngx_smtp_turn_spend(w->cost);

    if (w->cancel) {
        ngx_smtp_turn_cancel(w->cancel);
    }

    if (w->again) {
        w->again--;
        ngx_smtp_turn_wait(&w->turn);
    }
}


/* one iteration, a millisecond later: 1 if there was something to do */

static ngx_uint_t
test_iterate(void)
{
    ngx_current_msec++;

    if (!ngx_queue_empty(&ngx_posted_next_events)) {
        ngx_queue_add(&ngx_posted_events, &ngx_posted_next_events);
        ngx_queue_init(&ngx_posted_next_events);
    }

    return shim_posted_run() != 0;
}


static void
test_share(void **state)
{
    test_init();

    assert_int_equal(ngx_smtp_turn_over(), 0);
    ngx_smtp_turn_spend(NGX_SMTP_TURN_SHARE - 1);
    assert_int_equal(ngx_smtp_turn_over(), 0);
    ngx_smtp_turn_spend(1);
    assert_int_equal(ngx_smtp_turn_over(), 1);

    /* the next iteration has a share of its own */

    ngx_current_msec++;
    assert_int_equal(ngx_smtp_turn_over(), 0);
    ngx_smtp_turn_spend(NGX_SMTP_TURN_SHARE - 1);
    assert_int_equal(ngx_smtp_turn_over(), 0);
}


static void
test_order(void **state)
{
    ngx_uint_t  i;

    test_init();

    for (i = 0; i < TEST_WAITERS; i++) {
        ngx_smtp_turn_wait(&waiters[i].turn);
    }

    /* who waits keeps its place */

    ngx_smtp_turn_wait(&waiters[0].turn);

    assert_string_equal(trace, "");
    assert_int_equal(test_iterate(), 1);
    assert_string_equal(trace, "0123");
    assert_int_equal(test_iterate(), 0);
}


static void
test_fair(void **state)
{
    ngx_uint_t  i;

    test_init();

    /* two of them make a share; all have more to do */

    for (i = 0; i < TEST_WAITERS; i++) {
        waiters[i].cost = NGX_SMTP_TURN_SHARE / 2;
        waiters[i].again = 1;
        ngx_smtp_turn_wait(&waiters[i].turn);
    }

    assert_int_equal(test_iterate(), 1);
    assert_string_equal(trace, "01");
    assert_int_equal(test_iterate(), 1);
    assert_string_equal(trace, "0123");
    assert_int_equal(test_iterate(), 1);
    assert_string_equal(trace, "012301");
    assert_int_equal(test_iterate(), 1);
    assert_string_equal(trace, "01230123");
    assert_int_equal(test_iterate(), 0);

    /* an iteration that has done its share before leaves the line alone */

    ngx_smtp_turn_wait(&waiters[2].turn);
    ngx_current_msec++;
    ngx_smtp_turn_spend(NGX_SMTP_TURN_SHARE);
    ngx_current_msec--;
    ngx_smtp_turn_wait(&waiters[3].turn);
    waiters[2].cost = waiters[3].cost = 0;
    trace[0] = '\0';
    assert_int_equal(test_iterate(), 1);
    assert_string_equal(trace, "");
    assert_int_equal(test_iterate(), 1);
    assert_string_equal(trace, "23");

    /* those who spend nothing have one turn each */

    waiters[0].again = waiters[1].again = 1;
    waiters[0].cost = waiters[1].cost = 0;
    trace[0] = '\0';
    ngx_smtp_turn_wait(&waiters[0].turn);
    ngx_smtp_turn_wait(&waiters[1].turn);
    assert_int_equal(test_iterate(), 1);
    assert_string_equal(trace, "01");
    assert_int_equal(test_iterate(), 1);
    assert_string_equal(trace, "0101");
    assert_int_equal(test_iterate(), 0);
}


/* with "timer_resolution" the clock stands still for many iterations */

static void
test_clock(void **state)
{
    test_init();

    ngx_smtp_turn_spend(NGX_SMTP_TURN_SHARE);
    ngx_smtp_turn_wait(&waiters[0].turn);

    ngx_current_msec--;
    assert_int_equal(test_iterate(), 1);
    assert_string_equal(trace, "");

    ngx_current_msec--;
    shim_time_late = 2;
    assert_int_equal(test_iterate(), 1);
    assert_string_equal(trace, "0");
    assert_int_equal(test_iterate(), 0);
}


static void
test_cancel(void **state)
{
    ngx_uint_t  i;

    test_init();

    /* not in the line, in it, taken out by another, the last one */

    ngx_smtp_turn_cancel(&waiters[0].turn);

    for (i = 0; i < TEST_WAITERS; i++) {
        ngx_smtp_turn_wait(&waiters[i].turn);
    }

    ngx_smtp_turn_cancel(&waiters[1].turn);
    ngx_smtp_turn_cancel(&waiters[1].turn);
    waiters[0].cancel = &waiters[3].turn;

    assert_int_equal(test_iterate(), 1);
    assert_string_equal(trace, "02");
    assert_int_equal(test_iterate(), 0);

    ngx_smtp_turn_wait(&waiters[1].turn);
    ngx_smtp_turn_cancel(&waiters[1].turn);
    assert_int_equal(test_iterate(), 1);
    assert_string_equal(trace, "02");
}
