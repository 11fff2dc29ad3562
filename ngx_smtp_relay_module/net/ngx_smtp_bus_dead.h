
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Sockets of the worker bus whose workers were killed, on their way to being
 * removed from the folder run of a spool.  Names are random, so one that is
 * dead stays dead: the list may be old when a thread gets to it, and several
 * processes may remove the same.
 *
 * A list is malloc'ed and belongs to who created it until it is handed over
 * with ngx_smtp_bus_dead_remove().  There are few at a time in a process, so
 * that memory does not run out when the disk does not answer.
 */


#ifndef _NGX_SMTP_BUS_DEAD_H_INCLUDED_
#define _NGX_SMTP_BUS_DEAD_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_thread_pool.h>


#define NGX_SMTP_BUS_DEAD        1024   /* names in a list */
#define NGX_SMTP_BUS_DEAD_LISTS  8      /* in this process */
#define NGX_SMTP_BUS_NAME        24     /* <pid>-<random>, with NUL */


typedef struct ngx_smtp_bus_dead_s  ngx_smtp_bus_dead_t;


/*
 * An empty list for that spool; the path, NUL-terminated, lives as long as the
 * process.  NULL: there are too many, or no memory; the next request finds
 * what is left.
 */
ngx_smtp_bus_dead_t *ngx_smtp_bus_dead_create(ngx_str_t *path, ngx_log_t *log);

/* A name, shorter than NGX_SMTP_BUS_NAME; passed over if the list is full. */
void ngx_smtp_bus_dead_add(ngx_smtp_bus_dead_t *dead, const char *name);

/* Removes them in a thread, then frees the list; it must not be touched. */
void ngx_smtp_bus_dead_remove(ngx_smtp_bus_dead_t *dead,
    ngx_thread_pool_t *threads);


#endif /* _NGX_SMTP_BUS_DEAD_H_INCLUDED_ */
