
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Thread tasks with a guard.  The event of the nginx task serves twice: the
 * thread pool calls its handler when the work is done, and its own timer, not
 * cancelable, keeps a leaving worker alive until then.  All tasks in flight
 * hang on one queue per worker, so that exit_process can end those whose
 * completion nginx will not deliver any more.
 */


#include "ngx_smtp_task.h"
#include "ngx_smtp_compat.h"


#define NGX_SMTP_TASK_GUARD  60000


static void ngx_smtp_task_thread(void *ctx, ngx_log_t *log);
static void ngx_smtp_task_event(ngx_event_t *ev);
static void ngx_smtp_task_end(ngx_smtp_task_t *t);


static ngx_queue_t  ngx_smtp_tasks;
static ngx_uint_t   ngx_smtp_tasks_finishing;


void
ngx_smtp_task_init_worker(void)
{
    ngx_queue_init(&ngx_smtp_tasks);
    ngx_smtp_tasks_finishing = 0;
}


void
ngx_smtp_task_init(ngx_smtp_task_t *t, const char *what, ngx_smtp_task_pt run,
    ngx_smtp_task_pt done, void *data)
{
    t->what = what;
    t->run = run;
    t->done = done;
    t->data = data;

    t->task.ctx = t;
    t->task.handler = ngx_smtp_task_thread;

    /* debug logs of timers read the fd of what they take for a connection */

    t->dummy[0] = t;
    t->dummy[3] = (void *) -1;

    t->task.event.data = t->dummy;
    t->task.event.handler = ngx_smtp_task_event;
}


ngx_int_t
ngx_smtp_task_post(ngx_thread_pool_t *tp, ngx_smtp_task_t *t, ngx_log_t *log)
{
    if (t->active) {
        ngx_log_error(NGX_LOG_ALERT, log, 0,
                      "thread task \"%s\" is already in flight", t->what);
        return NGX_ERROR;
    }

    if (ngx_smtp_tasks_finishing) {
        return NGX_ERROR;
    }

    t->task.event.log = log;

    if (ngx_thread_task_post(tp, &t->task) != NGX_OK) {
        return NGX_ERROR;
    }

    t->active = 1;
    ngx_queue_insert_tail(&ngx_smtp_tasks, &t->link);

    ngx_add_timer(&t->task.event, NGX_SMTP_TASK_GUARD);

    return NGX_OK;
}


void
ngx_smtp_task_finish_all(void)
{
    ngx_queue_t      *q;
    ngx_smtp_task_t  *t;

    ngx_smtp_tasks_finishing = 1;

    while (!ngx_queue_empty(&ngx_smtp_tasks)) {
        q = ngx_queue_head(&ngx_smtp_tasks);
        t = ngx_queue_data(q, ngx_smtp_task_t, link);

        t->task.event.active = 0;
        ngx_smtp_task_end(t);
    }
}


ngx_uint_t
ngx_smtp_task_finishing(void)
{
    return ngx_smtp_tasks_finishing;
}


static void
ngx_smtp_task_thread(void *ctx, ngx_log_t *log)
{
    ngx_smtp_task_t *t = ctx;

    t->run(t->data);
}


static void
ngx_smtp_task_event(ngx_event_t *ev)
{
    void            **dummy;
    ngx_smtp_task_t  *t;

    dummy = ev->data;
    t = dummy[0];

    if (ev->timedout) {
        ev->timedout = 0;

        ngx_log_error(NGX_LOG_CRIT, ev->log, 0,
                      "%s takes more than %d seconds, is the disk stuck?",
                      t->what, NGX_SMTP_TASK_GUARD / 1000);

        ngx_add_timer(ev, NGX_SMTP_TASK_GUARD);
        return;
    }

    ngx_smtp_task_end(t);
}


static void
ngx_smtp_task_end(ngx_smtp_task_t *t)
{
    ngx_event_t  *ev;

    ev = &t->task.event;

    if (ev->timer_set) {
        ngx_del_timer(ev);
    }

    ev->complete = 0;

    ngx_queue_remove(&t->link);
    t->active = 0;

    /* may post the task again, or free it */

    t->done(t->data);
}
