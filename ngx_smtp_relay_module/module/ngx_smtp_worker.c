
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A worker's life: what is started in it, the watcher that sees it leave
 * (NGINX-NOTES P26), and the order in which all of it ends.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_conf.h"
#include "ngx_smtp_control.h"
#include "ngx_smtp_drain.h"
#include "ngx_smtp_health.h"
#include "ngx_smtp_loop.h"
#include "ngx_smtp_peer.h"
#include "ngx_smtp_task.h"


/* open files that are neither of connections nor of segments */
#define NGX_SMTP_WORKER_FILES     64
#define NGX_SMTP_WORKER_SEGMENTS  4


static ngx_int_t ngx_smtp_worker_start(ngx_cycle_t *cycle,
    ngx_smtp_main_conf_t *smcf);
static ngx_uint_t ngx_smtp_worker_segments(ngx_cycle_t *cycle,
    ngx_uint_t nstores);
static ngx_int_t ngx_smtp_worker_health(ngx_cycle_t *cycle,
    ngx_smtp_main_conf_t *smcf);
static void ngx_smtp_worker_health_stop(ngx_smtp_main_conf_t *smcf);
static ngx_int_t ngx_smtp_worker_usage(ngx_cycle_t *cycle,
    ngx_smtp_main_conf_t *smcf);
static ngx_int_t ngx_smtp_worker_watch(ngx_cycle_t *cycle,
    ngx_smtp_main_conf_t *smcf);
static void ngx_smtp_worker_leave(ngx_event_t *rev);
static void ngx_smtp_worker_unwatch(void);
static void ngx_smtp_worker_attempt(void *data, ngx_smtp_attempt_t *a);


static ngx_smtp_relay_t  *ngx_smtp_worker_relay;
static ngx_connection_t  *ngx_smtp_worker_watcher;
static ngx_uint_t         ngx_smtp_worker_started;
static ngx_array_t        ngx_smtp_worker_controls;   /* of one each store */


/* In the master, for the workers to come. */

ngx_int_t
ngx_smtp_worker_prepare(ngx_cycle_t *cycle)
{
    ngx_smtp_main_conf_t  *smcf;

    smcf = ngx_stream_cycle_get_module_main_conf(cycle, ngx_smtp_relay_module);

    if (ngx_test_config || smcf == NULL || smcf->zone == NULL) {
        return NGX_OK;
    }

    ngx_smtp_drain_init(cycle);

    if (smcf->drain) {
        ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                      "draining: new mail is refused, because of "
                      "\"smtp_drain on\"");
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_worker_init(ngx_cycle_t *cycle)
{
    ngx_smtp_main_conf_t  *smcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    smcf = ngx_stream_cycle_get_module_main_conf(cycle, ngx_smtp_relay_module);

    if (smcf == NULL || smcf->zone == NULL) {
        return NGX_OK;
    }

    /* NGX_ERROR would end the worker for good, see NGINX-NOTES P10 */

    if (ngx_smtp_worker_start(cycle, smcf) != NGX_OK) {
        ngx_log_error(NGX_LOG_CRIT, cycle->log, 0,
                      "no memory to start the queues of this worker: "
                      "mail is refused and not delivered, restart nginx");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_worker_start(ngx_cycle_t *cycle, ngx_smtp_main_conf_t *smcf)
{
    ngx_uint_t               i;
    ngx_core_conf_t         *ccf;
    ngx_smtp_control_t     **control;
    ngx_smtp_store_conf_t  **sc;
    ngx_smtp_server_conf_t  *conf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    ngx_smtp_worker_started = 1;

    ngx_smtp_loop_start(cycle->log);
    ngx_smtp_task_init_worker();
    ngx_smtp_zone_init_worker(smcf->zone, cycle->log);
    ngx_smtp_drain_init_worker(smcf->drain);
    ngx_smtp_drain_touch();

    if (ngx_smtp_worker_usage(cycle, smcf) != NGX_OK) {
        return NGX_ERROR;
    }

    conf = smcf->ctx->srv_conf[ngx_smtp_relay_module.ctx_index];

    smcf->relay.queues = smcf->queues;
    smcf->relay.main_conf = smcf->ctx->main_conf;
    smcf->relay.srv_conf = smcf->ctx->srv_conf;

    smcf->relay.log_handler = ngx_smtp_worker_attempt;
    smcf->relay.log_data = conf->log;

    ngx_smtp_worker_relay = ngx_smtp_relay_start(&smcf->relay, cycle->log);

    if (ngx_smtp_worker_relay == NULL) {
        return NGX_ERROR;
    }

    if (ngx_array_init(&ngx_smtp_worker_controls, cycle->pool,
                       smcf->stores.nelts + 1, sizeof(ngx_smtp_control_t *))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    sc = smcf->stores.elts;

    for (i = 0; i < smcf->stores.nelts; i++) {

        if (ngx_smtp_relay_bind(ngx_smtp_worker_relay, sc[i]) != NGX_OK) {
            return NGX_ERROR;
        }

        sc[i]->workers = (ngx_process == NGX_PROCESS_SINGLE)
                         ? 1 : ccf->worker_processes;
        sc[i]->segments = ngx_smtp_worker_segments(cycle,
                                                   smcf->stores.nelts);

        sc[i]->store = ngx_smtp_store_start(sc[i], cycle->log);

        if (sc[i]->store == NULL) {
            return NGX_ERROR;
        }

        control = ngx_array_push(&ngx_smtp_worker_controls);

        *control = ngx_smtp_control_start(ngx_smtp_worker_relay,
                                          sc[i]->store, &sc[i]->path,
                                          cycle->log);
        if (*control == NULL) {
            ngx_smtp_worker_controls.nelts--;
            return NGX_ERROR;
        }
    }

    if (ngx_smtp_worker_health(cycle, smcf) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_smtp_worker_watch(cycle, smcf);
}


/*
 * How many segments a store may have open: what connections leave of the open
 * files that are allowed, but a quarter of these at least; two for each.
 */

static ngx_uint_t
ngx_smtp_worker_segments(ngx_cycle_t *cycle, ngx_uint_t nstores)
{
    ngx_uint_t     files, room;
    struct rlimit  rlmt;

    if (getrlimit(RLIMIT_NOFILE, &rlmt) == -1
        || rlmt.rlim_cur == RLIM_INFINITY)
    {
        return 0;
    }

    files = (ngx_uint_t) rlmt.rlim_cur;
    room = cycle->connection_n + NGX_SMTP_WORKER_FILES;
    room = (files > room) ? files - room : 0;
    room = ngx_max(room, files / 4);

    return ngx_max(room / 2 / nstores, NGX_SMTP_WORKER_SEGMENTS);
}


static ngx_int_t
ngx_smtp_worker_health(ngx_cycle_t *cycle, ngx_smtp_main_conf_t *smcf)
{
    ngx_uint_t              i;
    ngx_smtp_pass_conf_t  **pass;

    pass = smcf->passes.elts;

    for (i = 0; i < smcf->passes.nelts; i++) {

        if (ngx_smtp_health_start(pass[i], smcf->zone, cycle) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static void
ngx_smtp_worker_health_stop(ngx_smtp_main_conf_t *smcf)
{
    ngx_uint_t              i;
    ngx_smtp_pass_conf_t  **pass;

    pass = smcf->passes.elts;

    for (i = 0; i < smcf->passes.nelts; i++) {
        ngx_smtp_health_stop(pass[i]);
    }
}


/* Where the stores count their mail, for this and other processes. */

static ngx_int_t
ngx_smtp_worker_usage(ngx_cycle_t *cycle, ngx_smtp_main_conf_t *smcf)
{
    ngx_str_t               **names, *name;
    ngx_uint_t                i, k;
    ngx_smtp_usage_t         *usage;
    ngx_smtp_queue_conf_t   **q;
    ngx_smtp_store_conf_t   **sc;

    q = smcf->queues.elts;
    sc = smcf->stores.elts;

    if (smcf->queues.nelts == 0) {
        return NGX_OK;
    }

    names = ngx_palloc(cycle->pool, smcf->queues.nelts * sizeof(ngx_str_t *));
    if (names == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < smcf->queues.nelts; i++) {
        names[i] = &q[i]->name;
    }

    usage = ngx_smtp_zone_usage(names, smcf->queues.nelts, cycle->log);
    if (usage == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < smcf->queues.nelts; i++) {
        q[i]->usage = &usage[i];
    }

    for (i = 0; i < smcf->stores.nelts; i++) {

        sc[i]->struck = ngx_smtp_zone_struck;
        sc[i]->acquit = ngx_smtp_zone_acquit;
        sc[i]->commits = &ngx_smtp_slot->counts[NGX_SMTP_COUNT_COMMITS];

        sc[i]->usage = ngx_palloc(cycle->pool, (sc[i]->queues.nelts + 1)
                                               * sizeof(ngx_smtp_usage_t *));
        if (sc[i]->usage == NULL) {
            return NGX_ERROR;
        }

        name = sc[i]->queues.elts;

        for (k = 0; k < sc[i]->queues.nelts; k++) {
            sc[i]->usage[k] = ngx_smtp_conf_find_queue(smcf, &name[k])->usage;
        }

        sc[i]->usage[k] = &usage[smcf->queues.nelts];
    }

    return NGX_OK;
}


/*
 * An idle connection that is none: nginx calls its read handler when the
 * worker has to leave.
 */

static ngx_int_t
ngx_smtp_worker_watch(ngx_cycle_t *cycle, ngx_smtp_main_conf_t *smcf)
{
    ngx_connection_t  *c;

    c = ngx_get_connection(0, cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    c->fd = (ngx_socket_t) -2;
    c->idle = 1;
    c->data = smcf;
    c->log = cycle->log;
    c->read->log = cycle->log;
    c->write->log = cycle->log;
    c->read->handler = ngx_smtp_worker_leave;
    c->write->handler = ngx_smtp_worker_leave;

    ngx_smtp_worker_watcher = c;

    return NGX_OK;
}


static void
ngx_smtp_worker_leave(ngx_event_t *rev)
{
    ngx_uint_t               i;
    ngx_connection_t        *c;
    ngx_smtp_main_conf_t    *smcf;
    ngx_smtp_store_conf_t  **sc;

    c = rev->data;

    if (!c->close) {
        return;
    }

    smcf = c->data;

    ngx_log_debug0(NGX_LOG_DEBUG_STREAM, c->log, 0, "smtp worker leaves");

    ngx_smtp_worker_unwatch();

    ngx_smtp_worker_health_stop(smcf);
    /* who is killed because it stays too long did not die of its mail */

    ngx_smtp_works_set(NULL);

    ngx_smtp_relay_leave(ngx_smtp_worker_relay);

    sc = smcf->stores.elts;

    for (i = 0; i < smcf->stores.nelts; i++) {
        ngx_smtp_store_leave(sc[i]->store);
    }
}


static void
ngx_smtp_worker_unwatch(void)
{
    ngx_connection_t  *c;

    c = ngx_smtp_worker_watcher;

    if (c) {
        ngx_smtp_worker_watcher = NULL;
        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
    }
}


/*
 * The thread pools are joined already.  First those who ask for work, then the
 * results of work that was done, then what is below.
 */

void
ngx_smtp_worker_exit(ngx_cycle_t *cycle)
{
    ngx_uint_t               i;
    ngx_smtp_main_conf_t    *smcf;
    ngx_smtp_control_t     **control;
    ngx_smtp_store_conf_t  **sc;

    if (!ngx_smtp_worker_started) {
        return;
    }

    smcf = ngx_stream_cycle_get_module_main_conf(cycle, ngx_smtp_relay_module);

    ngx_smtp_worker_started = 0;
    ngx_smtp_worker_unwatch();
    ngx_smtp_loop_end();

    ngx_smtp_worker_health_stop(smcf);
    ngx_smtp_login_exit_worker();

    control = ngx_smtp_worker_controls.elts;

    for (i = 0; i < ngx_smtp_worker_controls.nelts; i++) {
        ngx_smtp_control_stop(control[i]);
    }

    if (ngx_smtp_worker_relay) {
        ngx_smtp_relay_stop(ngx_smtp_worker_relay);
    }

    ngx_smtp_task_finish_all();

    sc = smcf->stores.elts;

    for (i = 0; i < smcf->stores.nelts; i++) {

        if (sc[i]->store) {
            ngx_smtp_store_stop(sc[i]->store);
            sc[i]->store = NULL;
        }
    }

    ngx_smtp_peer_close_all();
    ngx_smtp_redis_exit_worker();
    ngx_smtp_zone_exit_worker();
    ngx_smtp_drain_touch();
}


/* Each attempt is counted; it is logged only where stream{} has a log. */

static void
ngx_smtp_worker_attempt(void *data, ngx_smtp_attempt_t *a)
{
    ngx_uint_t  i;

    ngx_smtp_count(NGX_SMTP_COUNT_ATTEMPTS);

    for (i = 0; i < a->nresults && a->report == 0; i++) {

        switch (a->results[i].status) {

        case NGX_SMTP_RESULT_DELIVERED:
        case NGX_SMTP_RESULT_RELAYED:
            ngx_smtp_count(NGX_SMTP_COUNT_DELIVERED);
            break;

        case NGX_SMTP_RESULT_DEFERRED:
            ngx_smtp_count(NGX_SMTP_COUNT_DEFERRED);
            break;

        case NGX_SMTP_RESULT_EXPIRED:
            ngx_smtp_count(NGX_SMTP_COUNT_EXPIRED);
            ngx_smtp_count(NGX_SMTP_COUNT_BOUNCED);
            break;

        default:
            ngx_smtp_count(NGX_SMTP_COUNT_BOUNCED);
        }
    }

    if (data) {
        ngx_smtp_log_attempt(data, a);
    }
}
