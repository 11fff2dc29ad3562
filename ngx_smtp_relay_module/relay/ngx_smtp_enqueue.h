
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The sink of smtp_enqueue: makes a message durable in the store of its queue
 * (core/ngx_smtp_transaction.h has the contract of a sink).
 */


#ifndef _NGX_SMTP_ENQUEUE_H_INCLUDED_
#define _NGX_SMTP_ENQUEUE_H_INCLUDED_


#include "ngx_smtp_transaction.h"
#include "ngx_smtp_relay.h"


/* sink_conf of a transaction is the ngx_smtp_queue_conf_t it goes to */
extern ngx_smtp_sink_t  ngx_smtp_enqueue_sink;


#endif /* _NGX_SMTP_ENQUEUE_H_INCLUDED_ */
