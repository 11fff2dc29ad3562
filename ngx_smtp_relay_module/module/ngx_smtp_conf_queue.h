
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the files that read smtp_queue{} share.  All of it lives in the pool of
 * the configuration.
 */


#ifndef _NGX_SMTP_CONF_QUEUE_H_INCLUDED_
#define _NGX_SMTP_CONF_QUEUE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_conf.h"


/* a block while it is read; what is the store's goes there in the end */
typedef struct {
    ngx_smtp_queue_conf_t    queue;      /* must be first */
    ngx_str_t                spool;
    ngx_str_t                report;
    size_t                   segment_size;
    off_t                    min_free;
    ngx_uint_t               min_inodes;
    size_t                   memory;
    u_char                  *file;
    ngx_uint_t               line;
} ngx_smtp_queue_block_t;


/* Gives the queue the store of its path.  NGX_CONF_OK, or logged. */
char *ngx_smtp_conf_queue_store(ngx_conf_t *cf, ngx_smtp_main_conf_t *smcf,
    ngx_smtp_queue_block_t *b);

/*
 * Defaults and checks of all stores, when every queue has its own; makes what
 * is missing of the folders.  NGX_CONF_OK, or logged.
 */
char *ngx_smtp_conf_init_stores(ngx_conf_t *cf, ngx_smtp_main_conf_t *smcf);

/*
 * Logs what is wrong with a queue, value in quotes behind the text (NULL:
 * none), and where the queue stands.  NGX_CONF_ERROR.
 */
char *ngx_smtp_queue_error(ngx_conf_t *cf, ngx_smtp_queue_block_t *b,
    const char *text, ngx_str_t *value);


#endif /* _NGX_SMTP_CONF_QUEUE_H_INCLUDED_ */
