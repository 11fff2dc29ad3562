
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * How long iterations of a worker's event loop are; for benchmarks.  A module
 * built with -DNGX_SMTP_LOOP_TIME=1 measures them, others have none of it.
 */


#ifndef _NGX_SMTP_LOOP_H_INCLUDED_
#define _NGX_SMTP_LOOP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#ifndef NGX_SMTP_LOOP_TIME
#define NGX_SMTP_LOOP_TIME  0
#endif


#if (NGX_SMTP_LOOP_TIME)

/*
 * In init_process: from now on a line in the error log, level notice, tells
 * once a second the CPU time of the longest iteration in it, microseconds:
 *
 *     smtp loop: 1234 us until 5678.901234, 0 of 4321 over 5 ms
 *
 * When it ended is told by the monotonic clock, to find it in a profile:
 * perf record -k CLOCK_MONOTONIC.
 */
void ngx_smtp_loop_start(ngx_log_t *log);

/* In exit_process: the line for the time since the last one. */
void ngx_smtp_loop_end(void);

#else

#define ngx_smtp_loop_start(log)
#define ngx_smtp_loop_end()

#endif


#endif /* _NGX_SMTP_LOOP_H_INCLUDED_ */
