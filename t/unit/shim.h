
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What unit tests and fuzzers link instead of nginx: the functions that pure
 * code and the spool may call (see ngx_smtp_pure.h), written to behave as
 * nginx's do, and a few handles for tests.
 *
 * Pools give every allocation its own malloc(), so that AddressSanitizer sees
 * each overrun, each use after ngx_destroy_pool() and each pool not destroyed.
 * Time stands still until a test moves it.  Log lines are kept, not printed.
 *
 * A unit test is t/unit/test_<name>.c, a cmocka program.  It names what it
 * links in comments, paths relative to ngx_smtp_relay_module/, shim.c being
 * there always:
 *
 *     sources: protocol/ngx_smtp_command.c protocol/ngx_smtp_address.c
 *     libs: -lcrypt
 *
 * and runs its table of tests with shim_run().
 */


#ifndef _NGX_SMTP_SHIM_H_INCLUDED_
#define _NGX_SMTP_SHIM_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_thread_pool.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifndef SHIM_FUZZ
#include <cmocka.h>

/* cmocka 1.1.5 prints "not ok" for a skipped test: leave the test instead */
#undef skip
#define skip()                                                                \
    do {                                                                      \
        print_message("# SKIP\n");                                            \
        return;                                                               \
    } while (0)

/* return shim_run(tests); in main(), prints TAP */
#define shim_run(tests)                                                       \
    (cmocka_set_message_output(CM_OUTPUT_TAP),                                \
     cmocka_run_group_tests(tests, NULL, NULL))
#endif


/* memory: 0 or more allocations succeed, then all fail; -1: none fails */
void shim_alloc_fail_after(long n);


/* time: of ngx_time(), ngx_timeofday() and ngx_current_msec */
void shim_time_set(time_t sec, ngx_uint_t msec);
/* the wall clock alone is set */
void shim_wall_set(time_t sec);
/* the ms by which ngx_time_update() finds ngx_current_msec late, once */
extern ngx_msec_t  shim_time_late;
/* moves both clocks and runs the timers that are due, in order */
void shim_time_advance(ngx_msec_t msec);

/* what ngx_random() gives from here on */
void shim_seed(unsigned seed);


/* a log for code that wants one: keeps everything from info up */
extern ngx_log_t  shim_log;

/* the kept lines "level: text", oldest first, each ended by LF */
const char *shim_log_text(void);
/* how many kept lines contain the text */
size_t shim_log_count(const char *text);
void shim_log_reset(void);


/*
 * Thread pools: ngx_thread_task_post() queues, shim_tasks_run() runs the
 * oldest task and then its completion; 0 when there was none.  The two halves
 * can be had one by one: shim_tasks_work() the thread's, shim_tasks_deliver()
 * the event loop's.  The pool can be shim_thread_pool, or any other pointer.
 */
extern ngx_thread_pool_t  *shim_thread_pool;

ngx_uint_t shim_tasks_run(void);
ngx_uint_t shim_tasks_work(void);
ngx_uint_t shim_tasks_deliver(void);
/* runs tasks until none is left; returns how many were run */
ngx_uint_t shim_tasks_drain(void);
/* as at exit: the threads end their work, no completion is delivered */
void shim_tasks_join(void);
/* the next n posts fail as with a full queue */
void shim_tasks_refuse(ngx_uint_t n);


/* runs what ngx_post_event() posted; returns how many events */
ngx_uint_t shim_posted_run(void);


/* ngx_str_t of a C string, for arguments */
ngx_str_t shim_str(const char *s);
/* a pooled NUL-terminated copy, for assert_string_equal() */
char *shim_cstr(ngx_pool_t *pool, ngx_str_t *s);

#define assert_str_equal(s, lit)                                              \
    do {                                                                      \
        ngx_str_t  *shim_s_ = (s);                                            \
        assert_int_equal(shim_s_->len, sizeof(lit) - 1);                      \
        assert_memory_equal(shim_s_->data, lit, sizeof(lit) - 1);             \
    } while (0)


/*
 * Feeds data in pieces of step bytes (0: all at once).  Each piece is handed
 * over in memory of exactly its size and freed when the call returns, so that
 * a parser that reads past a piece, or keeps a pointer into it, is caught.
 * Stops when the callback returns anything but NGX_OK and NGX_AGAIN; returns
 * its last answer.
 */
typedef ngx_int_t (*shim_feed_pt)(void *ctx, u_char *data, size_t len);

ngx_int_t shim_feed(shim_feed_pt feed, void *ctx, const void *data, size_t len,
    size_t step);


#endif /* _NGX_SMTP_SHIM_H_INCLUDED_ */
