
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Arguments of MAIL and RCPT: slices stay inside of the argument, what is kept
 * can be sent again.  The first octet is the flags.
 *
 * sources: protocol/ngx_smtp_param.c protocol/ngx_smtp_address.c
 */


#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include "ngx_smtp_param.h"


static void fuzz_inside(ngx_str_t *arg, ngx_str_t *s);
static void fuzz_xtext(ngx_str_t *s);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char                *buf;
    ngx_str_t              arg, bad;
    ngx_uint_t             flags;
    ngx_smtp_rcpt_t        rcpt;
    ngx_smtp_path_t        path;
    ngx_smtp_envelope_t    env;

    if (size == 0) {
        return 0;
    }

    flags = data[0];

    buf = malloc(size);

    if (buf == NULL) {
        abort();
    }

    memcpy(buf, data, size);

    arg.data = buf + 1;
    arg.len = size - 1;

    if (ngx_smtp_mail_parse(&arg, flags, &path, &env, &bad) == NGX_OK) {

        if (env.size < 0 || (path.utf8 && !env.smtputf8)
            || (env.requiretls && !(flags & NGX_SMTP_MAIL_REQUIRETLS))
            || env.envid.len > NGX_SMTP_ENVID_MAX)
        {
            abort();
        }

        fuzz_inside(&arg, &path.mailbox);
        fuzz_inside(&arg, &env.envid);
        fuzz_xtext(&env.envid);

    } else {
        fuzz_inside(&arg, &bad);
    }

    if (ngx_smtp_rcpt_parse(&arg, flags, &path, &rcpt, &bad) == NGX_OK) {

        if (path.null || rcpt.notify > 0x0f
            || rcpt.orcpt.len > NGX_SMTP_ORCPT_MAX)
        {
            abort();
        }

        fuzz_inside(&arg, &path.mailbox);
        fuzz_inside(&arg, &rcpt.orcpt);

        if (rcpt.orcpt.len && !ngx_smtp_xtext_valid(&rcpt.orcpt)) {
            abort();
        }

    } else {
        fuzz_inside(&arg, &bad);
    }

    free(buf);

    return 0;
}


static void
fuzz_inside(ngx_str_t *arg, ngx_str_t *s)
{
    if (s->len
        && (s->data < arg->data || s->data + s->len > arg->data + arg->len))
    {
        abort();
    }
}


static void
fuzz_xtext(ngx_str_t *s)
{
    u_char      text[NGX_SMTP_ENVID_MAX], back[3 * NGX_SMTP_ENVID_MAX];
    ssize_t     n;
    ngx_str_t   plain;

    if (s->len == 0) {
        return;
    }

    n = ngx_smtp_xtext_decode(text, s);

    if (n == NGX_ERROR || (size_t) n > s->len) {
        abort();
    }

    plain.data = text;
    plain.len = n;
    plain.len = ngx_smtp_xtext_encode(back, &plain) - back;
    plain.data = back;

    if (ngx_smtp_xtext_decode(back, &plain) != n
        || memcmp(back, text, n) != 0)
    {
        abort();
    }
}
