
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The worker bus may bring anything: packets, fields and requests are read
 * within the bytes that came, and what was understood is written and read
 * again to the same.  The first byte chooses: a packet, or a payload.
 *
 * sources: relay/ngx_smtp_control_request.c net/ngx_smtp_bus_codec.c
 */


#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include "ngx_smtp_control.h"


static void fuzz_payload(ngx_str_t *payload);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char                 *buf;
    ngx_str_t               payload;
    ngx_smtp_bus_packet_t   packet;

    if (size == 0) {
        return 0;
    }

    buf = malloc(size);

    if (buf == NULL) {
        abort();
    }

    memcpy(buf, data + 1, size - 1);

    payload.data = buf;
    payload.len = size - 1;

    if (data[0] & 1) {
        if (ngx_smtp_bus_packet_get(buf, size - 1, &packet) == NGX_OK) {

            if (packet.piece.len + packet.rest > NGX_SMTP_BUS_ANSWER_MAX
                || packet.piece.data + packet.piece.len != buf + size - 1)
            {
                abort();
            }

            fuzz_payload(&packet.piece);
        }

    } else {
        fuzz_payload(&payload);
    }

    free(buf);

    return 0;
}


static void
fuzz_payload(ngx_str_t *payload)
{
    u_char                      *p, *last, *end;
    ngx_str_t                    value, out;
    ngx_uint_t                   tag;
    ngx_pool_t                  *pool;
    ngx_smtp_control_request_t   r, again;

    p = payload->data;
    last = p + payload->len;

    while (ngx_smtp_bus_field_next(&p, last, &tag, &value) == NGX_OK) {

        end = value.data + value.len;

        if (value.data < payload->data || end > last || p != end) {
            abort();
        }

        (void) ngx_smtp_bus_number(&value);
    }

    if (ngx_smtp_control_decode(&r, payload) != NGX_OK) {
        return;
    }

    pool = ngx_create_pool(1024, &shim_log);

    if (pool == NULL
        || ngx_smtp_control_encode(&r, pool, &out) != NGX_OK
        || out.len > NGX_SMTP_BUS_REQUEST_MAX
        || ngx_smtp_control_decode(&again, &out) != NGX_OK
        || again.op != r.op || again.limit != r.limit
        || again.state != r.state || again.older != r.older
        || again.younger != r.younger || again.sender.len != r.sender.len
        || (r.sender.len && memcmp(again.sender.data, r.sender.data,
                                   r.sender.len) != 0))
    {
        abort();
    }

    ngx_destroy_pool(pool);
}
