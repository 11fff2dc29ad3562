
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The argument of XCLIENT: what is accepted is inside of it, and cannot end a
 * line.
 *
 * sources: protocol/ngx_smtp_xclient.c protocol/ngx_smtp_command.c
 *          protocol/ngx_smtp_param.c protocol/ngx_smtp_address.c
 */


#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include "ngx_smtp_xclient.h"


static void fuzz_value(ngx_str_t *arg, ngx_str_t *s, ngx_uint_t known,
    ngx_uint_t any);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char              *buf;
    ngx_int_t            rc;
    ngx_str_t            arg, bad;
    ngx_smtp_xclient_t   x;

    buf = malloc(size + 1);

    if (buf == NULL) {
        abort();
    }

    memcpy(buf, data, size);

    arg.data = buf;
    arg.len = size;

    rc = ngx_smtp_xclient_parse(&arg, &x, &bad);

    if (rc != NGX_OK) {
        if (bad.len && (bad.data < buf || bad.data + bad.len > buf + size)) {
            abort();
        }

        free(buf);
        return 0;
    }

    if (x.named == 0 || (x.named & ~(ngx_uint_t) 0xff)
        || (x.known & ~x.named))
    {
        abort();
    }

    fuzz_value(&arg, &x.name, x.known & NGX_SMTP_CAP_XCLIENT_NAME, 0);
    fuzz_value(&arg, &x.helo, x.known & NGX_SMTP_CAP_XCLIENT_HELO, 0);
    fuzz_value(&arg, &x.addr, x.known & NGX_SMTP_CAP_XCLIENT_ADDR, 0);
    fuzz_value(&arg, &x.destaddr, x.known & NGX_SMTP_CAP_XCLIENT_DESTADDR, 0);
    fuzz_value(&arg, &x.login, x.known & NGX_SMTP_CAP_XCLIENT_LOGIN, 1);

    if (x.port > 65535 || x.destport > 65535
        || (x.port == 0) != ((x.known & NGX_SMTP_CAP_XCLIENT_PORT) == 0)
        || (x.destport == 0)
           != ((x.known & NGX_SMTP_CAP_XCLIENT_DESTPORT) == 0))
    {
        abort();
    }

    free(buf);

    return 0;
}


static void
fuzz_value(ngx_str_t *arg, ngx_str_t *s, ngx_uint_t known, ngx_uint_t any)
{
    size_t  i;

    if (!known) {
        if (s->len) {
            abort();
        }

        return;
    }

    if (s->len == 0 || s->data < arg->data
        || s->data + s->len > arg->data + arg->len)
    {
        abort();
    }

    for (i = 0; i < s->len && !any; i++) {

        if (s->data[i] <= 0x20 || s->data[i] >= 0x7f) {
            abort();
        }
    }
}
