
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Replies of a Redis that may be anything: read whole and byte by byte with
 * the same result, within the limits.
 *
 * sources: net/ngx_smtp_redis_codec.c
 * libs: -lhiredis
 */


#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include "ngx_smtp_redis_codec.h"


#define FUZZ_MAX  512


static ngx_uint_t fuzz_read(u_char *data, size_t size, size_t step,
    ngx_int_t *end);
static ngx_uint_t fuzz_walk(ngx_smtp_redis_reply_t *r, ngx_uint_t depth);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char      *buf;
    ngx_int_t    whole, bytes;
    ngx_uint_t   sum;

    buf = malloc(size ? size : 1);

    if (buf == NULL) {
        abort();
    }

    memcpy(buf, data, size);

    sum = fuzz_read(buf, size, size ? size : 1, &whole);

    if (fuzz_read(buf, size, 1, &bytes) != sum || whole != bytes) {
        abort();
    }

    free(buf);

    return 0;
}


static ngx_uint_t
fuzz_read(u_char *data, size_t size, size_t step, ngx_int_t *end)
{
    u_char                   *pos, *last, *stop;
    ngx_int_t                 rc;
    ngx_uint_t                sum;
    ngx_smtp_redis_reply_t   *reply;
    ngx_smtp_redis_reader_t   rd;

    if (ngx_smtp_redis_reader_init(&rd, FUZZ_MAX, &shim_log) != NGX_OK) {
        abort();
    }

    sum = 0;
    rc = NGX_AGAIN;
    last = data + size;

    for (stop = data; stop < last && rc != NGX_ERROR; /* void */ ) {

        pos = stop;
        stop += ngx_min(step, (size_t) (last - stop));

        do {
            rc = ngx_smtp_redis_reader_next(&rd, &pos, stop, &reply);

            if (rc == NGX_OK) {
                sum = sum * 31 + fuzz_walk(reply, 0);
            }

        } while (rc == NGX_OK);
    }

    ngx_smtp_redis_reader_cleanup(&rd);
    *end = rc;

    return sum;
}


static ngx_uint_t
fuzz_walk(ngx_smtp_redis_reply_t *r, ngx_uint_t depth)
{
    size_t      n;
    ngx_uint_t  i, sum;

    if (depth > 16 || r->nelts > NGX_SMTP_REDIS_MAX_ELEMENTS) {
        abort();
    }

    sum = r->type + 1;

    for (n = 0; n < r->str.len; n++) {
        sum = sum * 33 + r->str.data[n];
    }

    for (i = 0; i < r->nelts; i++) {
        sum = sum * 37 + fuzz_walk(r->elts[i], depth + 1);
    }

    return sum + r->integer;
}
