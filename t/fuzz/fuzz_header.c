
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The header scanner.  The first bytes choose limits and slices; the result
 * of the slices must be that of the whole.
 *
 * sources: message/ngx_smtp_header.c
 */


#include "shim.h"
#include "ngx_smtp_header.h"

#include <stdlib.h>
#include <string.h>


static ngx_int_t fuzz_feed(void *ctx, u_char *data, size_t len);
static ngx_int_t fuzz_scan(ngx_smtp_header_t *h, const uint8_t *data,
    size_t len, size_t step, const uint8_t *conf);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static ngx_int_t
fuzz_feed(void *ctx, u_char *data, size_t len)
{
    return ngx_smtp_header_scan(ctx, data, len);
}


static ngx_int_t
fuzz_scan(ngx_smtp_header_t *h, const uint8_t *data, size_t len, size_t step,
    const uint8_t *conf)
{
    ngx_smtp_header_init(h, conf[0], conf[1] & 0x0f);

    if (len) {
        (void) shim_feed(fuzz_feed, h, data, len, step);
    }

    return ngx_smtp_header_end(h);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_int_t          rc;
    ngx_smtp_header_t  h, ref;

    if (size < 3) {
        return 0;
    }

    rc = fuzz_scan(&ref, data + 3, size - 3, 0, data);

    if (rc != fuzz_scan(&h, data + 3, size - 3, 1 + data[2] % 16, data)
        || h.size != ref.size || h.fields != ref.fields
        || h.malformed != ref.malformed || h.received != ref.received
        || h.date != ref.date || h.from != ref.from
        || h.message_id != ref.message_id
        || h.auto_submitted != ref.auto_submitted
        || h.header_8bit != ref.header_8bit)
    {
        abort();
    }

    if ((size_t) h.size > size - 3 || (data[0] && h.size > data[0])) {
        abort();
    }

    /* an end that was seen is an empty line, and the first one */

    if (rc == NGX_OK && (size_t) h.size < size - 3) {

        if (memcmp(data + 3 + h.size - 2, "\r\n", 2) != 0
            || (h.size > 2
                && memmem(data + 3, h.size - 1, "\r\n\r\n", 4) != NULL))
        {
            abort();
        }
    }

    return 0;
}
