
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * CPU time of the iterations of the event loop.  An iteration is what happens
 * between two calls of the function that waits for events: it begins when that
 * one is called (waiting itself costs no CPU time), and has all handlers,
 * timers and posted events that follow.  To be called then, we put ourselves
 * in the place of that function.
 *
 * The clock is that of the thread: what other threads and processes do on the
 * same CPU does not count.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_smtp_loop.h"


#if (NGX_SMTP_LOOP_TIME)

#define NGX_SMTP_LOOP_LONG  5000000     /* ns */


static ngx_int_t ngx_smtp_loop_process_events(ngx_cycle_t *cycle,
    ngx_msec_t timer, ngx_uint_t flags);
static uint64_t ngx_smtp_loop_clock(clockid_t id);
static void ngx_smtp_loop_tell(void);


static ngx_int_t  (*ngx_smtp_loop_next)(ngx_cycle_t *cycle, ngx_msec_t timer,
                      ngx_uint_t flags);
static ngx_log_t   *ngx_smtp_loop_log;
static uint64_t     ngx_smtp_loop_began;    /* ns of CPU time */
static uint64_t     ngx_smtp_loop_longest;
static uint64_t     ngx_smtp_loop_ended;    /* the longest, monotonic clock */
static ngx_uint_t   ngx_smtp_loop_count;
static ngx_uint_t   ngx_smtp_loop_long;
static time_t       ngx_smtp_loop_second;


void
ngx_smtp_loop_start(ngx_log_t *log)
{
    ngx_smtp_loop_log = log;
    ngx_smtp_loop_second = ngx_time();
    ngx_smtp_loop_next = ngx_event_actions.process_events;

    ngx_event_actions.process_events = ngx_smtp_loop_process_events;
}


static ngx_int_t
ngx_smtp_loop_process_events(ngx_cycle_t *cycle, ngx_msec_t timer,
    ngx_uint_t flags)
{
    uint64_t  now, took;

    now = ngx_smtp_loop_clock(CLOCK_THREAD_CPUTIME_ID);

    /* the first iteration began before us */

    took = ngx_smtp_loop_began ? now - ngx_smtp_loop_began : 0;

    ngx_smtp_loop_count++;

    if (took > NGX_SMTP_LOOP_LONG) {
        ngx_smtp_loop_long++;
    }

    if (took > ngx_smtp_loop_longest) {
        ngx_smtp_loop_longest = took;
        ngx_smtp_loop_ended = ngx_smtp_loop_clock(CLOCK_MONOTONIC);
    }

    if (ngx_smtp_loop_second != ngx_time()) {
        ngx_smtp_loop_tell();
    }

    /* telling is not the server's work */

    ngx_smtp_loop_began = ngx_smtp_loop_clock(CLOCK_THREAD_CPUTIME_ID);

    return ngx_smtp_loop_next(cycle, timer, flags);
}


static uint64_t
ngx_smtp_loop_clock(clockid_t id)
{
    struct timespec  ts;

    (void) clock_gettime(id, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


static void
ngx_smtp_loop_tell(void)
{
    ngx_log_error(NGX_LOG_NOTICE, ngx_smtp_loop_log, 0,
                  "smtp loop: %uL us until %uL.%06uL, %ui of %ui over 5 ms",
                  ngx_smtp_loop_longest / 1000,
                  ngx_smtp_loop_ended / 1000000000,
                  ngx_smtp_loop_ended % 1000000000 / 1000,
                  ngx_smtp_loop_long, ngx_smtp_loop_count);

    ngx_smtp_loop_longest = 0;
    ngx_smtp_loop_long = 0;
    ngx_smtp_loop_count = 0;
    ngx_smtp_loop_second = ngx_time();
}


void
ngx_smtp_loop_end(void)
{
    if (ngx_smtp_loop_log) {
        ngx_smtp_loop_tell();
        ngx_smtp_loop_log = NULL;
    }
}

#endif
