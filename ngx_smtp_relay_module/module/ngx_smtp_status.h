
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Answers of all workers put together as JSON, for smtp_status.  Knows
 * nothing of HTTP but the status codes.
 */


#ifndef _NGX_SMTP_STATUS_H_INCLUDED_
#define _NGX_SMTP_STATUS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_bus.h"
#include "ngx_smtp_control.h"
#include "ngx_smtp_json.h"
#include "ngx_smtp_zone.h"


/* of this worker's configuration; smcf NULL: there is no stream{} */
typedef struct {
    ngx_shm_zone_t          *zone;
    ngx_thread_pool_t       *threads;
    ngx_str_t               *paths;     /* of spools */
    ngx_uint_t               npaths;
    ngx_str_t               *queues;    /* configured ones */
    ngx_uint_t               nqueues;
} ngx_smtp_status_conf_t;


/* From the cycle; strings and arrays in pool.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_smtp_status_conf(ngx_smtp_status_conf_t *conf,
    ngx_pool_t *pool);

/*
 * The object that answers the request, into *j; returns the HTTP status.  The
 * ask is over, but not ended.
 */
ngx_uint_t ngx_smtp_status_answer(ngx_smtp_status_conf_t *conf,
    ngx_smtp_control_request_t *request, ngx_smtp_bus_ask_t *ask,
    ngx_smtp_json_t *j);

/* The member "backends" of the object that is being written. */
void ngx_smtp_status_backends(ngx_smtp_json_t *j);


#endif /* _NGX_SMTP_STATUS_H_INCLUDED_ */
