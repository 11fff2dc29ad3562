
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Query strings of smtp_status: within the bytes, the limits hold, and what
 * was taken goes over the bus as it is.
 *
 * sources: relay/ngx_smtp_control_request.c net/ngx_smtp_bus_codec.c
 */


#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include "ngx_smtp_control.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char                      *buf;
    ngx_str_t                    args, out;
    ngx_pool_t                  *pool;
    ngx_smtp_control_request_t   r, again;

    buf = malloc(size ? size : 1);
    pool = ngx_create_pool(1024, &shim_log);

    if (buf == NULL || pool == NULL) {
        abort();
    }

    memcpy(buf, data, size);

    args.data = buf;
    args.len = size;

    memset(&r, 0, sizeof(r));
    r.op = NGX_SMTP_CONTROL_LIST;

    if (ngx_smtp_control_query(&r, &args, pool) == NULL) {

        if (r.limit == 0 || r.limit > NGX_SMTP_CONTROL_LIMIT_MAX
            || r.older < 0 || r.younger < 0
            || r.state >= NGX_SMTP_CONTROL_STATES
            || memchr(r.sender.data ? r.sender.data : (u_char *) "", '\n',
                      r.sender.len))
        {
            abort();
        }

        if (ngx_smtp_control_encode(&r, pool, &out) != NGX_OK
            || out.len > NGX_SMTP_BUS_REQUEST_MAX
            || ngx_smtp_control_decode(&again, &out) != NGX_OK
            || again.recipient.len != r.recipient.len
            || again.older != r.older || again.limit != r.limit)
        {
            abort();
        }
    }

    ngx_destroy_pool(pool);
    free(buf);

    return 0;
}
