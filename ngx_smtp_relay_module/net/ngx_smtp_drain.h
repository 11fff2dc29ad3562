
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Draining: no new mail is taken.  It is switched on by an operator, or
 * configured ("smtp_drain on").
 *
 * The switch is a page of memory that all workers of a master share, and the
 * master of a new binary (USR2) with them: a file without a name (memfd) whose
 * descriptor stays open over exec, and is told by an environment variable.  So
 * there is one switch for both while they run side by side, and whichever of
 * them stays has it.  It ends with the last of them.
 */


#ifndef _NGX_SMTP_DRAIN_H_INCLUDED_
#define _NGX_SMTP_DRAIN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * init_module: finds the page, or makes it.  Never fails: without a memfd the
 * page is kept over reloads only, which is logged; without any memory the
 * switch cannot be used.
 */
void ngx_smtp_drain_init(ngx_cycle_t *cycle);

/* init_process: what the configuration says. */
void ngx_smtp_drain_init_worker(ngx_uint_t configured);

/* For sessions and the status: new mail is refused; and by what. */
ngx_uint_t ngx_smtp_draining(void);
ngx_uint_t ngx_smtp_drain_configured(void);

/* NGX_OK; NGX_ERROR: there is no page. */
ngx_int_t ngx_smtp_drain_switch(ngx_uint_t on);

/* A worker comes or goes: mail may be on its way to another one. */
void ngx_smtp_drain_touch(void);

/*
 * For how long, in ms, it was not switched, and no worker of these masters
 * came or went.
 */
ngx_msec_t ngx_smtp_drain_settled(void);


#endif /* _NGX_SMTP_DRAIN_H_INCLUDED_ */
