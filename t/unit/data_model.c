
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The model of message data, and who drives the coders: see the header.
 *
 * sources: protocol/ngx_smtp_data.c
 */


#include "data_model.h"

#include <stdlib.h>
#include <string.h>


static void test_drain(test_out_t *out, u_char *buf, u_char *last);
static size_t test_model_lines(const u_char *in, size_t len,
    ngx_uint_t newline, ngx_uint_t dots, test_out_t *out);


void
test_decode(const u_char *in, size_t len, ngx_uint_t newline, size_t step,
    size_t room, test_out_t *out)
{
    u_char                   *buf, *piece, *pos, *p;
    size_t                    n;
    ngx_smtp_data_decoder_t   d;

    out->len = 0;
    out->used = 0;
    out->rc = NGX_AGAIN;

    ngx_smtp_data_decoder_init(&d, newline);

    buf = malloc(room);
    assert_non_null(buf);

    while (out->used < len && out->rc != NGX_DONE) {
        n = len - out->used;
        n = (step == 0) ? n : ngx_min(step, n);

        piece = malloc(n);
        assert_non_null(piece);
        memcpy(piece, in + out->used, n);

        pos = piece;

        do {
            p = buf;
            out->rc = ngx_smtp_data_decode(&d, &pos, piece + n, &p,
                                           buf + room);
            test_drain(out, buf, p);

            if (out->rc == NGX_SMTP_DATA_FULL) {
                assert_true(p > buf);
            }

        } while (out->rc == NGX_SMTP_DATA_FULL);

        out->used += pos - piece;

        free(piece);
    }

    free(buf);

    out->seen = d.seen;
    assert_int_equal(d.size, out->len);
}


void
test_chunks(const u_char *in, size_t len, size_t first, ngx_uint_t newline,
    size_t step, size_t room, test_out_t *out)
{
    u_char                   *buf, *piece, *pos, *p;
    size_t                    n, end;
    ngx_uint_t                i;
    ngx_smtp_data_decoder_t   d;

    out->len = 0;
    out->used = 0;

    ngx_smtp_data_decoder_init(&d, newline);

    buf = malloc(room);
    assert_non_null(buf);

    for (i = 0; i < 2; i++) {
        end = (i == 0) ? first : len;

        ngx_smtp_chunk_begin(&d, end - out->used);

        do {

            /* there may be more input than belongs to the chunk */

            n = len - out->used;
            n = (step == 0) ? n : ngx_min(step, n);

            piece = malloc(n + (n == 0));
            assert_non_null(piece);
            memcpy(piece, in + out->used, n);

            pos = piece;

            do {
                p = buf;
                out->rc = ngx_smtp_chunk_decode(&d, &pos, piece + n, &p,
                                                buf + room);
                test_drain(out, buf, p);

            } while (out->rc == NGX_SMTP_DATA_FULL);

            out->used += pos - piece;

            free(piece);

        } while (out->rc == NGX_AGAIN);

        assert_int_equal(out->rc, NGX_DONE);
        assert_int_equal(out->used, end);
    }

    p = buf;
    out->rc = ngx_smtp_chunk_finish(&d, &p, buf + room);
    test_drain(out, buf, p);

    free(buf);

    out->seen = d.seen;
    assert_int_equal(d.size, out->len);
}


void
test_encode(const u_char *in, size_t len, size_t step, size_t room,
    test_out_t *out)
{
    u_char                   *buf, *piece, *pos, *p;
    size_t                    n;
    ngx_smtp_data_encoder_t   e;

    out->len = 0;
    out->used = 0;
    out->seen = 0;

    ngx_smtp_data_encoder_init(&e);

    buf = malloc(room);
    assert_non_null(buf);

    while (out->used < len) {
        n = len - out->used;
        n = (step == 0) ? n : ngx_min(step, n);

        piece = malloc(n);
        assert_non_null(piece);
        memcpy(piece, in + out->used, n);

        pos = piece;

        do {
            p = buf;
            out->rc = ngx_smtp_data_encode(&e, &pos, piece + n, &p,
                                           buf + room);
            test_drain(out, buf, p);

            if (out->rc == NGX_SMTP_DATA_FULL) {
                assert_true(p > buf);
            }

        } while (out->rc == NGX_SMTP_DATA_FULL);

        assert_int_equal(out->rc, NGX_AGAIN);

        out->used += pos - piece;

        free(piece);
    }

    p = buf;
    out->rc = ngx_smtp_data_encode_end(&e, &p, buf + room);
    test_drain(out, buf, p);

    free(buf);
}


void
test_encode_clean(const u_char *in, size_t len, size_t step, test_out_t *out)
{
    u_char                   *buf, *piece, *pos, *last, *p, *q;
    size_t                    n;
    ngx_smtp_data_encoder_t   e;

    out->len = 0;
    out->used = 0;
    out->seen = 0;

    ngx_smtp_data_encoder_init(&e);

    buf = malloc(5);
    assert_non_null(buf);

    while (out->used < len) {
        n = len - out->used;
        n = (step == 0) ? n : ngx_min(step, n);

        piece = malloc(n);
        assert_non_null(piece);
        memcpy(piece, in + out->used, n);

        pos = piece;
        last = piece + n;

        for ( ;; ) {
            p = ngx_smtp_data_clean(&e, pos, last);
            test_drain(out, pos, p);

            if (p == last) {
                break;
            }

            pos = p;
            q = buf;
            assert_int_equal(ngx_smtp_data_encode(&e, &p, p + 1, &q, buf + 4),
                             NGX_AGAIN);
            assert_ptr_equal(p, pos + 1);
            test_drain(out, buf, q);
            pos = p;
        }

        out->used += n;

        free(piece);
    }

    p = buf;
    out->rc = ngx_smtp_data_encode_end(&e, &p, buf + 5);
    test_drain(out, buf, p);

    free(buf);
}


static void
test_drain(test_out_t *out, u_char *buf, u_char *last)
{
    assert_true(out->len + (last - buf) <= sizeof(out->data));

    memcpy(out->data + out->len, buf, last - buf);
    out->len += last - buf;
}


/* DATA (dots) or BDAT, from the whole input */

void
test_model_decode(const u_char *in, size_t len, ngx_uint_t newline,
    ngx_uint_t dots, test_out_t *out)
{
    size_t  i, end;

    out->len = 0;
    out->seen = 0;

    if (!dots) {
        end = test_model_lines(in, len, newline, 0, out);

        if (end < len) {
            /* test_model_lines() wrote the tail, of which CRLF is missing */
            if (newline != N || (in[len - 1] != CR && in[len - 1] != LF)) {
                memcpy(out->data + out->len, CRLF, 2);
                out->len += 2;
            }
        }

        out->used = len;
        out->rc = NGX_DONE;
        return;
    }

    /* the first line that is a dot, between CRLFs or the begin */

    for (i = 0; i + 3 <= len; i++) {
        if (memcmp(in + i, ".\r\n", 3) == 0
            && (i == 0 || (i >= 2 && memcmp(in + i - 2, CRLF, 2) == 0)))
        {
            (void) test_model_lines(in, i, newline, 1, out);
            out->used = i + 3;
            out->rc = NGX_DONE;
            return;
        }
    }

    out->rc = NGX_AGAIN;
    out->used = len;
}


void
test_model_encode(const u_char *in, size_t len, test_out_t *out)
{
    size_t      i;
    ngx_uint_t  bol;
    test_out_t  lines;

    test_model_decode(in, len, N, 0, &lines);

    out->len = 0;
    out->seen = 0;
    out->used = len;
    out->rc = NGX_DONE;

    for (bol = 1, i = 0; i < lines.len; i++) {
        if (bol && lines.data[i] == '.') {
            out->data[out->len++] = '.';
        }

        bol = (lines.data[i] == LF);
        out->data[out->len++] = lines.data[i];
    }

    memcpy(out->data + out->len, ".\r\n", 3);
    out->len += 3;
}


/* line by line, a line being what CRLF ends; returns the end of the last */

static size_t
test_model_lines(const u_char *in, size_t len, ngx_uint_t newline,
    ngx_uint_t dots, test_out_t *out)
{
    size_t      i, j, start;
    ngx_uint_t  crlf;

    for (start = 0, i = 0; start < len; start = i) {

        crlf = 0;

        for (i = start; i < len && !crlf; i++) {
            crlf = (i + 1 < len && in[i] == CR && in[i + 1] == LF);
        }

        /* with CRLF, i is at its LF, else at the end */

        j = start + (dots && in[start] == '.');

        for ( /* void */ ; j < (crlf ? i - 1 : i); j++) {

            if (in[j] != CR && in[j] != LF) {
                out->data[out->len++] = in[j];
                continue;
            }

            out->seen |= (in[j] == CR) ? CRS : LFS;

            if (newline == N) {
                out->data[out->len++] = CR;
                out->data[out->len++] = LF;

            } else {
                out->data[out->len++] = in[j];
            }
        }

        if (!crlf) {
            return start;
        }

        i++;
        out->data[out->len++] = CR;
        out->data[out->len++] = LF;
    }

    return len;
}


void
test_same(const u_char *in, size_t len, test_out_t *a, test_out_t *b)
{
    size_t  i;

    if (a->rc == b->rc && a->used == b->used
        && (a->rc != NGX_DONE
            || (a->len == b->len && a->seen == b->seen
                && memcmp(a->data, b->data, a->len) == 0)))
    {
        return;
    }

    print_message("# in:");

    for (i = 0; i < len; i++) {
        print_message(" %02x", in[i]);
    }

    print_message("\n# expected: rc %ld used %zu seen %lx:", (long) a->rc,
                  a->used, (unsigned long) a->seen);

    for (i = 0; i < a->len; i++) {
        print_message(" %02x", a->data[i]);
    }

    print_message("\n# got: rc %ld used %zu seen %lx:", (long) b->rc, b->used,
                  (unsigned long) b->seen);

    for (i = 0; i < b->len; i++) {
        print_message(" %02x", b->data[i]);
    }

    fail_msg("\n# they differ");
}
