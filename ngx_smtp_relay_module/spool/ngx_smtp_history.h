
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What has happened to a message, as the log of its segment tells it.  Read in
 * a thread, from the log alone, within bounds: the last events, and of a very
 * long log only its end.  The message may end meanwhile.
 */


#ifndef _NGX_SMTP_HISTORY_H_INCLUDED_
#define _NGX_SMTP_HISTORY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_event.h"
#include "ngx_smtp_store.h"


#define NGX_SMTP_HISTORY_EVENTS     100             /* at most so many */
#define NGX_SMTP_HISTORY_BYTES      (256 * 1024)    /* with their texts */
#define NGX_SMTP_HISTORY_LOG        (32 * 1024 * 1024)  /* of the log */


typedef struct ngx_smtp_history_s        ngx_smtp_history_t;
typedef struct ngx_smtp_history_event_s  ngx_smtp_history_event_t;


struct ngx_smtp_history_event_s {
    ngx_smtp_history_event_t   *next;       /* rising time */
    ngx_smtp_event_t            event;
    size_t                      size;       /* of memory */
};


struct ngx_smtp_history_s {
    ngx_smtp_history_event_t   *first;      /* NULL: none */
    ngx_uint_t                  whole;      /* 1: none is missing before it */

    /* all of it is there; called once, not after close */
    void                      (*handler)(ngx_smtp_history_t *h);
    void                       *data;
};


/*
 * Starts to read.  NGX_AGAIN: the handler is called; NGX_ERROR: no memory, or
 * the thread pool takes no more.  A log that cannot be read has no events.
 */
ngx_int_t ngx_smtp_history_open(ngx_smtp_message_t *m,
    void (*handler)(ngx_smtp_history_t *h), void *data, ngx_log_t *log,
    ngx_smtp_history_t **h);

/* At any moment; frees it. */
void ngx_smtp_history_close(ngx_smtp_history_t *h);


#endif /* _NGX_SMTP_HISTORY_H_INCLUDED_ */
