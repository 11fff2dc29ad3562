
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * When a new iteration begins is not told to modules: ngx_current_msec is
 * taken for its name.  Iterations that are shorter than a millisecond have a
 * share together, which they do not use up in that time.
 */


#include "ngx_smtp_turn.h"


static void ngx_smtp_turn_handler(ngx_event_t *ev);


static ngx_msec_t   ngx_smtp_turn_at;
static size_t       ngx_smtp_turn_spent;
static size_t       ngx_smtp_turn_all;
static ngx_queue_t  ngx_smtp_turn_line = { &ngx_smtp_turn_line,
                                           &ngx_smtp_turn_line };
static ngx_event_t  ngx_smtp_turn_event;


void
ngx_smtp_turn_spend(size_t octets)
{
    if (ngx_smtp_turn_at != ngx_current_msec) {
        ngx_smtp_turn_at = ngx_current_msec;
        ngx_smtp_turn_spent = 0;
    }

    ngx_smtp_turn_spent += octets;
    ngx_smtp_turn_all += octets;
}


ngx_uint_t
ngx_smtp_turn_over(void)
{
    return ngx_smtp_turn_spent >= NGX_SMTP_TURN_SHARE
           && ngx_smtp_turn_at == ngx_current_msec;
}


size_t
ngx_smtp_turn_work(void)
{
    return ngx_smtp_turn_all;
}


void
ngx_smtp_turn_wait(ngx_smtp_turn_t *t)
{
    if (t->link.next == NULL) {
        ngx_queue_insert_tail(&ngx_smtp_turn_line, &t->link);
    }

    ngx_smtp_turn_event.handler = ngx_smtp_turn_handler;
    ngx_smtp_turn_event.log = ngx_cycle->log;

    ngx_post_event(&ngx_smtp_turn_event, &ngx_posted_next_events);
}


void
ngx_smtp_turn_cancel(ngx_smtp_turn_t *t)
{
    if (t->link.next) {
        ngx_queue_remove(&t->link);
        t->link.next = NULL;
    }
}


static void
ngx_smtp_turn_handler(ngx_event_t *ev)
{
    ngx_queue_t      *last, *q;
    ngx_smtp_turn_t  *t;

    static ngx_msec_t  over;

    /*
     * with "timer_resolution" the clock stands still for many iterations: the
     * second one that finds the share used up in that time asks for it
     */

    if (ngx_smtp_turn_over()) {

        if (over == ngx_current_msec) {
            ngx_time_update();
        }

        over = ngx_current_msec;
    }

    /* those who come back now wait behind the last one */

    last = ngx_queue_last(&ngx_smtp_turn_line);

    while (!ngx_queue_empty(&ngx_smtp_turn_line) && !ngx_smtp_turn_over()) {
        q = ngx_queue_head(&ngx_smtp_turn_line);
        t = ngx_queue_data(q, ngx_smtp_turn_t, link);

        ngx_smtp_turn_cancel(t);

        t->handler(t->data);

        if (q == last) {
            break;
        }
    }

    if (!ngx_queue_empty(&ngx_smtp_turn_line)) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }
}
