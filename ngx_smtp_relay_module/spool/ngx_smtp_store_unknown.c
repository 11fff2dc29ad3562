
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Mail of queues that are not configured here: it waits, without an event in
 * its log, and is told of once when all that was found is in.
 */


#include "ngx_smtp_store_internal.h"


void
ngx_smtp_unknown_found(ngx_smtp_message_t *m)
{
    if (m->unknown_queue) {
        m->segment->store->unknown = 1;
    }
}


void
ngx_smtp_unknown_tell(ngx_smtp_store_t *store)
{
    ngx_str_t            queue;
    ngx_uint_t           i;
    ngx_queue_t         *q;
    ngx_smtp_segment_t  *seg;

    if (!store->unknown || store->leaving) {
        return;
    }

    for (q = ngx_queue_head(&store->segments);
         q != ngx_queue_sentinel(&store->segments);
         q = ngx_queue_next(q))
    {
        seg = ngx_queue_data(q, ngx_smtp_segment_t, link);

        if (seg->state == ngx_smtp_state_found
            || seg->state == ngx_smtp_state_recovered
            || seg->state == ngx_smtp_state_insert)
        {
            return;
        }
    }

    store->unknown = 0;

    for (i = store->conf->queues.nelts; i < store->nqueues; i++) {

        if (store->nlive[i] == 0 || !ngx_smtp_store_unknown(store, i)) {
            continue;
        }

        ngx_smtp_destination(&store->queues[i], &queue, NULL);

        ngx_log_error(NGX_LOG_WARN, store->log, 0,
                      "spool \"%V\": %ui messages of smtp_queue \"%V\", which "
                      "is not configured, wait: configure it again, or give "
                      "them to another one by \"smtpq move\"",
                      &store->conf->path, store->nlive[i], &queue);
    }
}
