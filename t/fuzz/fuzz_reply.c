
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Replies of a peer: in pieces they mean what they mean in one go, and drive a
 * client that sends messages whatever it hears: each recipient must have
 * exactly one verdict.  The first octet chooses pieces and policy.
 *
 * sources: protocol/ngx_smtp_response.c protocol/ngx_smtp_reply.c
 * sources: protocol/ngx_smtp_client.c protocol/ngx_smtp_client_write.c
 * sources: protocol/ngx_smtp_client_login.c
 * sources: protocol/ngx_smtp_param.c protocol/ngx_smtp_address.c
 */


#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include "ngx_smtp_client.h"
#include "ngx_smtp_reply.h"


#define FUZZ_RCPTS  3


static uint64_t fuzz_parse(const uint8_t *data, size_t size, size_t step);
static void fuzz_client(const uint8_t *data, size_t size, size_t step,
    ngx_uint_t tls);
static void fuzz_told(void *data, ngx_uint_t i, ngx_smtp_verdict_t *v);
static void fuzz_text(ngx_str_t *s);
static uint64_t fuzz_hash(uint64_t h, const void *data, size_t len);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char     *p, buf[600];
    size_t      step;
    ngx_str_t   s;

    if (size == 0) {
        return 0;
    }

    step = 1 + (data[0] >> 4);

    if (fuzz_parse(data + 1, size - 1, size)
        != fuzz_parse(data + 1, size - 1, step))
    {
        abort();
    }

    fuzz_client(data + 1, size - 1, step, data[0] % 3);
    fuzz_client(data + 1, size - 1, size, data[0] % 3);

    s.data = (u_char *) data + 1;
    s.len = size - 1;

    p = ngx_smtp_reply_write(buf, buf + 16 + data[0], data[0], &s);

    if (p < buf + 2 || p > buf + 16 + data[0] || p[-1] != LF || p[-2] != CR
        || memchr(buf, CR, p - buf) != p - 2)
    {
        abort();
    }

    return 0;
}


static uint64_t
fuzz_parse(const uint8_t *data, size_t size, size_t step)
{
    u_char               *piece, *pos;
    size_t                n, used;
    uint64_t              h;
    ngx_int_t             rc;
    ngx_smtp_caps_t       caps;
    ngx_smtp_response_t   r;

    ngx_smtp_response_init(&r);
    memset(&caps, 0, sizeof(caps));

    r.handler = ngx_smtp_caps_line;
    r.data = &caps;

    h = 14695981039346656037ULL;

    for (used = 0; used < size; used += n) {
        n = ngx_min(step, size - used);

        piece = malloc(n);

        if (piece == NULL) {
            abort();
        }

        memcpy(piece, data + used, n);
        pos = piece;

        while (pos < piece + n) {
            rc = ngx_smtp_response_parse(&r, &pos, piece + n);

            if (rc == NGX_AGAIN) {
                break;
            }

            if (rc == NGX_ERROR) {
                free(piece);
                return fuzz_hash(h, r.error, strlen(r.error));
            }

            if (r.code < 200 || r.code > 599) {
                abort();
            }

            fuzz_text(&r.text);
            fuzz_text(&r.status);

            h = fuzz_hash(h, &r.code, sizeof(r.code));
            h = fuzz_hash(h, r.text.data, r.text.len);
            h = fuzz_hash(h, r.status.data, r.status.len);
        }

        free(piece);
    }

    if (caps.size < 0) {
        abort();
    }

    h = fuzz_hash(h, &caps.flags, sizeof(caps.flags));

    return fuzz_hash(h, &caps.size, sizeof(caps.size));
}


static void
fuzz_client(const uint8_t *data, size_t size, size_t step, ngx_uint_t tls)
{
    u_char                   *piece, *pos, *p, state[FUZZ_RCPTS];
    u_char                    out[NGX_SMTP_CLIENT_COMMAND_MAX];
    size_t                    n, used;
    ngx_int_t                 action;
    ngx_uint_t                i, told[FUZZ_RCPTS], begun;
    ngx_smtp_rcpt_t           rcpt, *rcpts[FUZZ_RCPTS];
    ngx_smtp_client_t         cl;
    ngx_smtp_client_tx_t      tx;
    ngx_smtp_client_conf_t    conf;

    memset(&conf, 0, sizeof(conf));
    memset(&tx, 0, sizeof(tx));
    memset(&rcpt, 0, sizeof(rcpt));

    ngx_str_set(&conf.helo, "me");
    conf.tls = tls;

    ngx_smtp_client_init(&cl, &conf);

    ngx_str_set(&rcpt.mailbox, "c@d");

    for (i = 0; i < FUZZ_RCPTS; i++) {
        rcpts[i] = &rcpt;
        told[i] = 1;
    }

    ngx_str_set(&tx.sender, "a@b");
    tx.rcpts = rcpts;
    tx.nrcpts = FUZZ_RCPTS;
    tx.state = state;
    tx.size = 1000;
    tx.handler = fuzz_told;
    tx.data = told;

    begun = 0;

    for (used = 0; used < size; used += n) {
        n = ngx_min(step, size - used);

        piece = malloc(n);

        if (piece == NULL) {
            abort();
        }

        memcpy(piece, data + used, n);
        pos = piece;

        action = ngx_smtp_client_recv(&cl, &pos, piece + n);

        if (pos != piece + n) {
            abort();
        }

        free(piece);

        do {
            switch (action) {

            case NGX_SMTP_CLIENT_STARTTLS:
                action = ngx_smtp_client_tls_done(&cl);
                break;

            case NGX_SMTP_CLIENT_DONE:
            case NGX_SMTP_CLIENT_READY:

                for (i = 0; i < FUZZ_RCPTS; i++) {
                    if (told[i] != 1) {
                        abort();
                    }

                    told[i] = 0;
                }

                if (begun++ == 1000) {
                    return;
                }

                action = ngx_smtp_client_mail(&cl, &tx);
                break;

            case NGX_SMTP_CLIENT_BODY:
                action = ngx_smtp_client_end(&cl);
                break;

            default: /* NGX_SMTP_CLIENT_WAIT, NGX_SMTP_CLIENT_CLOSE */
                break;
            }

        } while (action != NGX_SMTP_CLIENT_WAIT
                 && action != NGX_SMTP_CLIENT_CLOSE);

        do {
            p = ngx_smtp_client_write(&cl, out, out + sizeof(out));

            if (p > out && (p[-1] != LF || p > out + sizeof(out))) {
                abort();
            }

        } while (p > out);
    }

    if (ngx_smtp_client_lost(&cl, NGX_SMTP_CLIENT_LOST_CLOSED)
        != NGX_SMTP_CLIENT_CLOSE)
    {
        abort();
    }

    fuzz_text(&cl.verdict.text);

    for (i = 0; i < FUZZ_RCPTS; i++) {
        if (told[i] != 1) {
            abort();
        }
    }
}


static void
fuzz_told(void *data, ngx_uint_t i, ngx_smtp_verdict_t *v)
{
    ngx_uint_t *told = data;

    if (i >= FUZZ_RCPTS || told[i]++ != 0 || v->code < 200 || v->code > 599) {
        abort();
    }

    fuzz_text(&v->text);
    fuzz_text(&v->status);
}


static void
fuzz_text(ngx_str_t *s)
{
    size_t  i;

    for (i = 0; i < s->len; i++) {
        if (s->data[i] < 0x20 || s->data[i] > 0x7e) {
            abort();
        }
    }
}


static uint64_t
fuzz_hash(uint64_t h, const void *data, size_t len)
{
    const u_char  *p;

    for (p = data; len; len--) {
        h = (h ^ *p++) * 1099511628211ULL;
    }

    return (h ^ 0xff) * 1099511628211ULL;
}
