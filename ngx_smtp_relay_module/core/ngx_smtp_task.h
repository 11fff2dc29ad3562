
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Work in a thread pool.  run() is called in a thread: system calls and pure
 * code on memory that the task owns, no pools, no sessions, no ngx_time().
 * done() is called on the event loop afterwards.  While a task is in flight a
 * timer that is not cancelable keeps the worker alive (NGINX-NOTES P6) and
 * says so in the log when it takes over a minute.
 *
 * The task is embedded in an object that lives until done() was called.  At
 * exit the thread pools are drained before exit_process handlers run, but
 * done() is not called: ngx_smtp_task_finish_all() does it by hand.
 */


#ifndef _NGX_SMTP_TASK_H_INCLUDED_
#define _NGX_SMTP_TASK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_thread_pool.h>


typedef struct ngx_smtp_task_s  ngx_smtp_task_t;

typedef void (*ngx_smtp_task_pt)(void *data);


struct ngx_smtp_task_s {
    ngx_thread_task_t    task;
    ngx_smtp_task_pt     run;       /* in a thread */
    ngx_smtp_task_pt     done;      /* on the event loop */
    void                *data;
    ngx_queue_t          link;      /* tasks in flight */
    void                *dummy[4];  /* stands for a connection in debug logs */
    const char          *what;      /* for the log: "spool commit" */
    unsigned             active:1;
};


/*
 * Sets up a zeroed task; what is a literal for the log.
 */
void ngx_smtp_task_init(ngx_smtp_task_t *t, const char *what,
    ngx_smtp_task_pt run, ngx_smtp_task_pt done, void *data);

/*
 * Hands the task to the pool.  NGX_OK; NGX_ERROR when the queue of the pool is
 * full: nothing will be called.  Posting an active task is a bug (NGX_ERROR).
 */
ngx_int_t ngx_smtp_task_post(ngx_thread_pool_t *tp, ngx_smtp_task_t *t,
    ngx_log_t *log);

/*
 * For exit_process, after the thread pools were joined: calls done() of all
 * tasks whose completion was never delivered.  done() must not post new ones.
 */
void ngx_smtp_task_finish_all(void);

/* Is the worker in it, or behind it?  Then nothing new may begin. */
ngx_uint_t ngx_smtp_task_finishing(void);

/* Once per worker, before anything is posted. */
void ngx_smtp_task_init_worker(void);


#endif /* _NGX_SMTP_TASK_H_INCLUDED_ */
