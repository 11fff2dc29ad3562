
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * BDAT: "BDAT size [LAST]" lines and chunks as a client sends them, in pieces
 * and in one go; the message does not depend on where chunks or pieces end.
 * The first two octets choose policy, pieces and room.
 *
 * sources: protocol/ngx_smtp_data.c protocol/ngx_smtp_line.c
 * sources: protocol/ngx_smtp_command.c
 */


#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include "ngx_smtp_command.h"
#include "ngx_smtp_data.h"
#include "ngx_smtp_line.h"


typedef struct {
    u_char       *data;
    size_t        len;
    size_t        left;      /* input not taken for the message */
    ngx_uint_t    seen;
    ngx_uint_t    done;      /* LAST was there */
    u_char       *raw;       /* the chunks' octets */
    size_t        nraw;
} fuzz_out_t;


static void fuzz_session(const uint8_t *data, size_t size, size_t step,
    size_t room, ngx_uint_t newline, fuzz_out_t *out);
static ngx_int_t fuzz_line(ngx_smtp_line_t *ln, u_char **pos, u_char *last,
    ngx_smtp_data_decoder_t *d, ngx_uint_t *last_chunk);
static void fuzz_put(fuzz_out_t *out, u_char *buf, u_char *p);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char                   *pos, *p, *buf;
    size_t                    step, room;
    ngx_uint_t                newline;
    fuzz_out_t                one, two;
    ngx_smtp_data_decoder_t   d;

    if (size < 2) {
        return 0;
    }

    newline = data[0] & 1;
    step = 1 + (data[0] >> 1);
    room = 4 + data[1];

    data += 2;
    size -= 2;

    fuzz_session(data, size, size + 1, 2 * size + 8, newline, &one);
    fuzz_session(data, size, step, room, newline, &two);

    if (one.len != two.len || one.seen != two.seen || one.done != two.done
        || one.nraw != two.nraw || one.left != two.left
        || memcmp(one.data, two.data, one.len) != 0)
    {
        abort();
    }

    if (one.done) {

        /* as if it had been one chunk */

        buf = malloc(2 * one.nraw + 8);

        if (buf == NULL) {
            abort();
        }

        ngx_smtp_data_decoder_init(&d, newline);
        ngx_smtp_chunk_begin(&d, one.nraw);

        pos = one.raw;
        p = buf;

        if (ngx_smtp_chunk_decode(&d, &pos, one.raw + one.nraw, &p,
                                  buf + 2 * one.nraw + 8) != NGX_DONE
            || ngx_smtp_chunk_finish(&d, &p, buf + 2 * one.nraw + 8)
               != NGX_DONE
            || (size_t) (p - buf) != one.len
            || memcmp(buf, one.data, one.len) != 0)
        {
            abort();
        }

        /* and it ends in CRLF, so that DATA can send it */

        if (one.len && (one.len < 2
                        || memcmp(one.data + one.len - 2, CRLF, 2) != 0))
        {
            abort();
        }

        free(buf);
    }

    free(one.data);
    free(one.raw);
    free(two.data);
    free(two.raw);

    return 0;
}


static void
fuzz_session(const uint8_t *data, size_t size, size_t step, size_t room,
    ngx_uint_t newline, fuzz_out_t *out)
{
    u_char                   *in, *pos, *end, *start, *buf, *p;
    ngx_int_t                 rc;
    ngx_uint_t                chunk, last_chunk;
    ngx_smtp_line_t           ln;
    ngx_smtp_data_decoder_t   d;

    memset(out, 0, sizeof(fuzz_out_t));

    in = malloc(size + 1);
    out->raw = malloc(size + 1);
    out->data = malloc(2 * size + 8);
    buf = malloc(room);

    if (in == NULL || out->raw == NULL || out->data == NULL || buf == NULL) {
        abort();
    }

    memcpy(in, data, size);

    ngx_smtp_line_init(&ln, 64, NGX_SMTP_NEWLINE_REJECT);
    ngx_smtp_data_decoder_init(&d, newline);

    chunk = 0;
    last_chunk = 0;
    pos = in;
    end = in;

    for ( ;; ) {

        if (!chunk) {
            rc = fuzz_line(&ln, &pos, end, &d, &last_chunk);

            if (rc == NGX_OK) {
                chunk = 1;
                continue;
            }

            if (rc != NGX_AGAIN) {
                break;
            }

        } else {
            start = pos;
            p = buf;

            rc = ngx_smtp_chunk_decode(&d, &pos, end, &p, buf + room);

            memcpy(out->raw + out->nraw, start, pos - start);
            out->nraw += pos - start;
            fuzz_put(out, buf, p);

            if (rc == NGX_DONE) {

                if (last_chunk) {
                    p = buf;

                    if (ngx_smtp_chunk_finish(&d, &p, buf + room)
                        != NGX_DONE)
                    {
                        abort();
                    }

                    fuzz_put(out, buf, p);
                    out->done = 1;
                    break;
                }

                chunk = 0;
                continue;
            }

            if (rc == NGX_SMTP_DATA_FULL) {
                continue;
            }
        }

        if (end == in + size) {
            break;
        }

        end += ngx_min(step, (size_t) (in + size - end));
    }

    out->left = out->done ? (size_t) (in + size - pos) : 0;
    out->seen = d.seen;

    if ((size_t) d.size != out->len) {
        abort();
    }

    free(in);
    free(buf);
}


/* NGX_OK: a chunk begins */

static ngx_int_t
fuzz_line(ngx_smtp_line_t *ln, u_char **pos, u_char *last,
    ngx_smtp_data_decoder_t *d, ngx_uint_t *last_chunk)
{
    off_t                size;
    ngx_int_t            rc;
    ngx_str_t            line;
    ngx_smtp_command_t   cmd;

    rc = ngx_smtp_line_next(ln, pos, last, &line);

    if (rc != NGX_OK) {
        return rc;
    }

    (void) ngx_smtp_command_parse(&line, &cmd);

    if (cmd.verb != NGX_SMTP_VERB_BDAT
        || ngx_smtp_bdat_parse(&cmd.arg, &size, last_chunk) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_smtp_chunk_begin(d, size);

    return NGX_OK;
}


static void
fuzz_put(fuzz_out_t *out, u_char *buf, u_char *p)
{
    memcpy(out->data + out->len, buf, p - buf);
    out->len += p - buf;
}
