
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * How many durable accepts a second one store makes, without SMTP around it:
 * the store with real threads and a bare event loop.
 *
 *     spool_bench <directory> [concurrent [bytes [seconds [deliver]]]]
 *
 * Each of the concurrent clients has one message in flight.  With deliver 1
 * each message is read, gets its result and is ended at once.  Prints the
 * rate, CPU time per message of both parts, batches, and the longest
 * iteration of the loop.
 *
 * Linked like the unit tests, but with ngx_thread_task_post of shim.c renamed:
 *
 *     cc -O2 ... -Dngx_thread_task_post=shim_thread_task_post -c shim.c
 */


#include "shim.h"

#include "ngx_smtp_store.h"
#include "ngx_smtp_sys.h"
#include "ngx_smtp_task.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>


#define BENCH_THREADS  4


typedef struct {
    ngx_smtp_accept_t     accept;
    ngx_smtp_envelope_t   envelope;
    ngx_smtp_meta_t       meta;
    ngx_smtp_content_t    content;
    ngx_smtp_rcpt_t       rcpt;
} bench_client_t;


static void *bench_thread(void *arg);
static void bench_send(bench_client_t *c);
static void bench_accepted(ngx_smtp_accept_t *a, ngx_int_t rc);
static void bench_message(void *data, ngx_smtp_message_t *m);
static void bench_forget(void *data, ngx_smtp_message_t *m);
static int bench_fdatasync(int fd);
static double bench_cpu(clockid_t id);


static pthread_mutex_t       bench_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t        bench_work = PTHREAD_COND_INITIALIZER;
static pthread_cond_t        bench_done = PTHREAD_COND_INITIALIZER;
static ngx_thread_task_t    *bench_queue, **bench_last = &bench_queue;
static ngx_thread_task_t    *bench_finished;

static ngx_smtp_store_t     *bench_store;
static size_t                bench_size = 4096;
static ngx_uint_t            bench_deliver, bench_syncs, bench_running = 1;
static unsigned long         bench_accepts;
static u_char               *bench_body;
static ngx_smtp_sys_t        bench_sys;


ngx_int_t
ngx_thread_task_post(ngx_thread_pool_t *tp, ngx_thread_task_t *task)
{
    task->event.active = 1;
    task->next = NULL;

    pthread_mutex_lock(&bench_lock);
    *bench_last = task;
    bench_last = &task->next;
    pthread_cond_signal(&bench_work);
    pthread_mutex_unlock(&bench_lock);

    return NGX_OK;
}


static void *
bench_thread(void *arg)
{
    ngx_thread_task_t  *task;

    for ( ;; ) {
        pthread_mutex_lock(&bench_lock);

        while (bench_queue == NULL) {
            pthread_cond_wait(&bench_work, &bench_lock);
        }

        task = bench_queue;
        bench_queue = task->next;

        if (bench_queue == NULL) {
            bench_last = &bench_queue;
        }

        pthread_mutex_unlock(&bench_lock);

        task->handler(task->ctx, &shim_log);

        pthread_mutex_lock(&bench_lock);
        task->next = bench_finished;
        bench_finished = task;
        pthread_cond_signal(&bench_done);
        pthread_mutex_unlock(&bench_lock);
    }

    return NULL;
}


static int
bench_fdatasync(int fd)
{
    bench_syncs++;

    return bench_sys.fdatasync(fd);
}


static void
bench_send(bench_client_t *c)
{
    c->content.size = 0;

    (void) ngx_smtp_content_append(&c->content, bench_body, bench_size,
                                   &shim_log);
    c->meta.received = ngx_time();

    ngx_smtp_store_accept(bench_store, &c->accept);
}


static void
bench_accepted(ngx_smtp_accept_t *a, ngx_int_t rc)
{
    if (rc != NGX_OK) {
        fprintf(stderr, "refused: %d\n%s", (int) rc, shim_log_text());
        exit(1);
    }

    bench_accepts++;

    if (bench_running) {
        bench_send(a->data);
    }
}


static void
bench_message(void *data, ngx_smtp_message_t *m)
{
    ngx_str_t           s, peer;
    ngx_smtp_result_t   result;
    ngx_smtp_reader_t  *r;

    if (!bench_deliver) {
        ngx_smtp_message_stale(m);
        return;
    }

    if (ngx_smtp_reader_open(m, NULL, NULL, &shim_log, &r) == NGX_OK) {
        while (ngx_smtp_reader_next(r, &s) == NGX_OK) { /* void */ }
        ngx_smtp_reader_close(r);
    }

    result.rcpt = 0;
    result.status = NGX_SMTP_RESULT_DELIVERED;
    result.code = 250;
    result.text = shim_str("2.0.0 queued");
    peer = shim_str("192.0.2.2:25");

    ngx_smtp_store_results(m, &result, 1, &peer, ngx_time(), 0, 0);
    ngx_smtp_store_done(m, ngx_time());
}


static void
bench_forget(void *data, ngx_smtp_message_t *m)
{
    /* void */
}


static double
bench_cpu(clockid_t id)
{
    struct timespec  ts;

    clock_gettime(id, &ts);

    return ts.tv_sec + ts.tv_nsec / 1e9;
}


int
main(int argc, char **argv)
{
    int                     i, n;
    double                  start, now, tick, cpu, loop, begin, longest;
    double                  seconds;
    pthread_t               id;
    ngx_str_t               queue, path;
    u_char                  err[NGX_MAX_CONF_ERRSTR];
    bench_client_t         *c;
    struct timespec         ts;
    ngx_thread_task_t      *task, *next;
    ngx_smtp_store_conf_t   conf;

    if (argc < 2) {
        fprintf(stderr, "usage: %s directory [concurrent [bytes [seconds "
                "[deliver]]]]\n", argv[0]);
        return 2;
    }

    n = argc > 2 ? atoi(argv[2]) : 50;
    bench_size = argc > 3 ? atoi(argv[3]) : 4096;
    seconds = argc > 4 ? atof(argv[4]) : 5;
    bench_deliver = argc > 5 ? atoi(argv[5]) : 0;

    bench_sys = ngx_smtp_sys;
    ngx_smtp_sys.fdatasync = bench_fdatasync;

    bench_body = malloc(bench_size);
    memset(bench_body, 'x', bench_size);

    path = shim_str(argv[1]);

    if (ngx_smtp_store_check(&path, (uid_t) -1, (gid_t) -1, err) != NGX_OK) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }

    memset(&conf, 0, sizeof(conf));
    queue = shim_str("internet");

    conf.path = path;
    conf.queues.elts = &queue;
    conf.queues.nelts = 1;
    conf.queues.size = sizeof(ngx_str_t);
    conf.pool = (ngx_thread_pool_t *) &bench_lock;
    conf.segment_size = 64 * 1024 * 1024;
    conf.memory = 64 * 1024 * 1024;
    conf.handlers.message = bench_message;
    conf.handlers.forget = bench_forget;

    for (i = 0; i < BENCH_THREADS; i++) {
        pthread_create(&id, NULL, bench_thread, NULL);
    }

    shim_time_set(time(NULL), 0);
    ngx_smtp_task_init_worker();

    bench_store = ngx_smtp_store_start(&conf, &shim_log);

    c = calloc(n, sizeof(bench_client_t));

    start = bench_cpu(CLOCK_MONOTONIC);
    cpu = bench_cpu(CLOCK_PROCESS_CPUTIME_ID);
    loop = bench_cpu(CLOCK_THREAD_CPUTIME_ID);
    tick = start;
    longest = 0;

    for (i = 0; i < n; i++) {
        c[i].envelope.sender = shim_str("sender@example.com");
        c[i].envelope.sender_domain = shim_str("example.com");
        c[i].rcpt.mailbox = shim_str("rcpt@example.org");
        c[i].rcpt.domain = shim_str("example.org");
        c[i].envelope.rcpts.elts = &c[i].rcpt;
        c[i].envelope.rcpts.nelts = 1;
        c[i].envelope.rcpts.size = sizeof(ngx_smtp_rcpt_t);
        c[i].meta.queue = queue;
        c[i].meta.vars.size = sizeof(ngx_keyval_t);
        c[i].accept.envelope = &c[i].envelope;
        c[i].accept.meta = &c[i].meta;
        c[i].accept.fields = shim_str("Received: from x by y; now\r\n");
        c[i].accept.content = &c[i].content;
        c[i].accept.handler = bench_accepted;
        c[i].accept.data = &c[i];

        bench_send(&c[i]);
    }

    for ( ;; ) {
        begin = bench_cpu(CLOCK_THREAD_CPUTIME_ID);
        now = bench_cpu(CLOCK_MONOTONIC);

        shim_time_advance((ngx_msec_t) ((now - tick) * 1000));
        tick += (ngx_msec_t) ((now - tick) * 1000) / 1000.0;

        shim_posted_run();

        longest = ngx_max(longest,
                          bench_cpu(CLOCK_THREAD_CPUTIME_ID) - begin);

        if (now - start >= seconds) {
            break;
        }

        pthread_mutex_lock(&bench_lock);

        if (bench_finished == NULL) {
            clock_gettime(CLOCK_REALTIME, &ts);
            ts.tv_nsec += 50000000;
            ts.tv_sec += ts.tv_nsec / 1000000000;
            ts.tv_nsec %= 1000000000;
            pthread_cond_timedwait(&bench_done, &bench_lock, &ts);
        }

        task = bench_finished;
        bench_finished = NULL;

        pthread_mutex_unlock(&bench_lock);

        for ( /* void */ ; task; task = next) {
            next = task->next;

            task->event.complete = 1;
            task->event.active = 0;
            task->event.handler(&task->event);
        }
    }

    now = bench_cpu(CLOCK_MONOTONIC) - start;
    cpu = bench_cpu(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    loop = bench_cpu(CLOCK_THREAD_CPUTIME_ID) - loop;

    printf("%d clients, %zu bytes: %.0f/s, %.1f us CPU each (loop %.1f), "
           "%.1f messages a sync, longest iteration %.2f ms\n",
           n, bench_size, bench_accepts / now, cpu * 1e6 / bench_accepts,
           loop * 1e6 / bench_accepts, (double) bench_accepts / bench_syncs,
           longest * 1000);

    fflush(stdout);
    _exit(0);
}
