
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The backends of smtp_pass as they are known before they are asked: checks of
 * their health (smtp_health_check), and what they offer in EHLO.  Both are
 * shared by all workers (net/ngx_smtp_backend.h).
 *
 * The backends of a server{} block are the servers of a literal smtp_pass;
 * those that a variable names are not known.
 */


#ifndef _NGX_SMTP_HEALTH_H_INCLUDED_
#define _NGX_SMTP_HEALTH_H_INCLUDED_


#include "ngx_smtp_response.h"
#include "ngx_smtp_pass.h"


/*
 * init_process: lists the backends of conf, in the cycle's pool, and starts
 * their checks, if there are to be any.  NGX_OK, NGX_ERROR: no memory.
 */
ngx_int_t ngx_smtp_health_start(ngx_smtp_pass_conf_t *conf,
    ngx_shm_zone_t *zone, ngx_cycle_t *cycle);

/* The worker leaves, or ends: no checks any more.  May be called twice. */
void ngx_smtp_health_stop(ngx_smtp_pass_conf_t *conf);

/* 1 if the backend of that address is checked, and down. */
ngx_uint_t ngx_smtp_health_down(ngx_smtp_pass_conf_t *conf,
    struct sockaddr *sockaddr, socklen_t socklen);

/* What the backend of that address offered; it need not be known. */
void ngx_smtp_health_learn(ngx_smtp_pass_conf_t *conf,
    struct sockaddr *sockaddr, socklen_t socklen, ngx_smtp_caps_t *caps);

/*
 * What all backends offer that can be chosen: NGX_SMTP_EXTENSION_*.  One that
 * nobody spoke with yet offers nothing, unless it is a backup.
 */
ngx_uint_t ngx_smtp_health_extensions(ngx_smtp_pass_conf_t *conf);


#endif /* _NGX_SMTP_HEALTH_H_INCLUDED_ */
