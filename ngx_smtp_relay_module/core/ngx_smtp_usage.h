
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * How much mail a worker has in a queue.  The store writes it, message by
 * message; whoever sums up reads it from other processes, so that each number
 * is right by itself, and all of them together nearly are.  The memory belongs
 * to the zone (net/ngx_smtp_zone.h), or to a test.
 */


#ifndef _NGX_SMTP_USAGE_H_INCLUDED_
#define _NGX_SMTP_USAGE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct {
    uint64_t         key;       /* of the queue's name; 0: names that are not
                                   configured, all together */
    ngx_atomic_t     messages;
    ngx_atomic_t     held;      /* of them: on hold */
    ngx_atomic_t     bytes;     /* of their content and fields */
} ngx_smtp_usage_t;


#endif /* _NGX_SMTP_USAGE_H_INCLUDED_ */
