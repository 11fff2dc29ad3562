
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * DATA: in pieces and in one go the same message comes out; encoded it is read
 * back the same, with one end of data at its end.  The first two octets choose
 * policy, pieces and room.
 *
 * sources: protocol/ngx_smtp_data.c
 */


#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include "ngx_smtp_data.h"


typedef struct {
    u_char       *data;
    size_t        len;
    size_t        used;
    ngx_uint_t    seen;
    ngx_int_t     rc;
} fuzz_out_t;


static void fuzz_decode(const uint8_t *data, size_t size, size_t step,
    size_t room, ngx_uint_t newline, fuzz_out_t *out);
static void fuzz_encode(fuzz_out_t *msg, size_t step, ngx_uint_t clean,
    fuzz_out_t *out);
static void fuzz_same(fuzz_out_t *a, fuzz_out_t *b);
static const uint8_t *fuzz_find(const uint8_t *p, const uint8_t *last,
    const char *what, size_t len);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t          step, room;
    ngx_uint_t      newline;
    fuzz_out_t      one, two, wire, wire2, back;
    const uint8_t  *end;

    if (size < 2) {
        return 0;
    }

    newline = data[0] & 1;
    step = 1 + (data[0] >> 1);
    room = 4 + data[1];

    data += 2;
    size -= 2;

    fuzz_decode(data, size, size + 1, 2 * size + 8, newline, &one);
    fuzz_decode(data, size, step, room, newline, &two);
    fuzz_same(&one, &two);

    /* the end is where CRLF.CRLF is, and nowhere else */

    if (size >= 3 && memcmp(data, ".\r\n", 3) == 0) {
        end = data + 3;

    } else {
        end = fuzz_find(data, data + size, "\r\n.\r\n", 5);
        end = end ? end + 5 : NULL;
    }

    if ((one.rc == NGX_DONE) != (end != NULL)
        || (end && (size_t) (end - data) != one.used))
    {
        abort();
    }

    if (newline == NGX_SMTP_NEWLINE_NORMALIZE && end) {
        fuzz_encode(&one, size + 1, 0, &wire);
        fuzz_encode(&one, step, 1, &wire2);
        fuzz_same(&wire, &wire2);

        fuzz_decode(wire.data, wire.len, step, room,
                    NGX_SMTP_NEWLINE_REJECT, &back);

        if (back.rc != NGX_DONE || back.used != wire.len
            || (back.seen & (NGX_SMTP_DATA_BARE_CR|NGX_SMTP_DATA_BARE_LF))
            || back.len != one.len
            || memcmp(back.data, one.data, one.len) != 0)
        {
            abort();
        }

        free(wire.data);
        free(wire2.data);
        free(back.data);
    }

    free(one.data);
    free(two.data);

    return 0;
}


static void
fuzz_decode(const uint8_t *data, size_t size, size_t step, size_t room,
    ngx_uint_t newline, fuzz_out_t *out)
{
    u_char                   *piece, *pos, *buf, *p;
    size_t                    n;
    ngx_smtp_data_decoder_t   d;

    ngx_smtp_data_decoder_init(&d, newline);

    memset(out, 0, sizeof(fuzz_out_t));
    out->rc = NGX_AGAIN;
    out->data = malloc(2 * size + 8);
    buf = malloc(room);

    if (out->data == NULL || buf == NULL) {
        abort();
    }

    while (out->used < size && out->rc != NGX_DONE) {
        n = ngx_min(step, size - out->used);

        piece = malloc(n);

        if (piece == NULL) {
            abort();
        }

        memcpy(piece, data + out->used, n);
        pos = piece;

        do {
            p = buf;
            out->rc = ngx_smtp_data_decode(&d, &pos, piece + n, &p,
                                           buf + room);

            memcpy(out->data + out->len, buf, p - buf);
            out->len += p - buf;

            if (out->rc == NGX_SMTP_DATA_FULL && p == buf) {
                abort();
            }

        } while (out->rc == NGX_SMTP_DATA_FULL);

        out->used += pos - piece;
        free(piece);
    }

    if ((size_t) d.size != out->len) {
        abort();
    }

    out->seen = d.seen;
    free(buf);
}


static void
fuzz_encode(fuzz_out_t *msg, size_t step, ngx_uint_t clean, fuzz_out_t *out)
{
    u_char                   *pos, *last, *end, *p, *q;
    ngx_smtp_data_encoder_t   e;

    memset(out, 0, sizeof(fuzz_out_t));

    out->data = malloc(2 * msg->len + 8);

    if (out->data == NULL) {
        abort();
    }

    p = out->data;
    end = p + 2 * msg->len + 8;
    last = msg->data + msg->len;

    ngx_smtp_data_encoder_init(&e);

    for (pos = msg->data; pos < last; /* void */ ) {

        if (clean) {
            q = ngx_smtp_data_clean(&e, pos, ngx_min(last, pos + step));
            p = ngx_cpymem(p, pos, q - pos);
            pos = q;

            if (pos == last) {
                break;
            }
        }

        q = clean ? pos + 1 : ngx_min(last, pos + step);

        if (ngx_smtp_data_encode(&e, &pos, q, &p, end) != NGX_AGAIN
            || pos != q)
        {
            abort();
        }
    }

    if (ngx_smtp_data_encode_end(&e, &p, end) != NGX_DONE) {
        abort();
    }

    out->len = p - out->data;
}


static void
fuzz_same(fuzz_out_t *a, fuzz_out_t *b)
{
    if (a->len != b->len || a->used != b->used || a->seen != b->seen
        || a->rc != b->rc || memcmp(a->data, b->data, a->len) != 0)
    {
        abort();
    }
}


static const uint8_t *
fuzz_find(const uint8_t *p, const uint8_t *last, const char *what, size_t len)
{
    for ( /* void */ ; (size_t) (last - p) >= len; p++) {
        if (memcmp(p, what, len) == 0) {
            return p;
        }
    }

    return NULL;
}
