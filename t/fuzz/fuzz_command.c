
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Command lines of a client: the scanner in pieces must find what it finds in
 * one go, and nothing that comes out may be longer than the line.  The first
 * octet chooses policy, limit and size of the pieces.
 *
 * sources: protocol/ngx_smtp_line.c protocol/ngx_smtp_command.c
 */


#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include "ngx_smtp_command.h"
#include "ngx_smtp_line.h"


static uint64_t fuzz_scan(const uint8_t *data, size_t size, size_t step,
    size_t limit, ngx_uint_t newline);
static void fuzz_command(ngx_str_t *line);
static uint64_t fuzz_hash(uint64_t h, const void *data, size_t len);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t      limit;
    ngx_uint_t  newline;

    if (size == 0) {
        return 0;
    }

    newline = data[0] & 1;
    limit = (data[0] & 2) ? 16 : 2048;

    if (fuzz_scan(data + 1, size - 1, size, limit, newline)
        != fuzz_scan(data + 1, size - 1, 1 + (data[0] >> 3), limit, newline))
    {
        abort();
    }

    return 0;
}


static uint64_t
fuzz_scan(const uint8_t *data, size_t size, size_t step, size_t limit,
    ngx_uint_t newline)
{
    size_t            n;
    u_char           *buf, *pos;
    uint64_t          h;
    ngx_int_t         rc;
    ngx_str_t         line;
    ngx_smtp_line_t   ln;

    ngx_smtp_line_init(&ln, limit, newline);

    buf = malloc(size + 1);

    if (buf == NULL) {
        abort();
    }

    pos = buf;
    h = 14695981039346656037ULL;

    for (n = 0; n < size; /* void */ ) {

        memcpy(buf + n, data + n, ngx_min(step, size - n));
        n += ngx_min(step, size - n);

        for ( ;; ) {
            rc = ngx_smtp_line_next(&ln, &pos, buf + n, &line);

            if (pos > buf + n) {
                abort();
            }

            if (rc == NGX_AGAIN) {
                break;
            }

            h = fuzz_hash(h, &rc, sizeof(rc));

            if (rc == NGX_OK) {
                if (line.len > limit) {
                    abort();
                }

                h = fuzz_hash(h, &ln.bad, sizeof(ln.bad));
                h = fuzz_hash(h, line.data, line.len);
                fuzz_command(&line);
            }
        }

        /* bounded: what is kept is shorter than the limit */

        if ((size_t) (buf + n - pos) >= limit) {
            abort();
        }
    }

    free(buf);

    return h;
}


static void
fuzz_command(ngx_str_t *line)
{
    off_t                size;
    ngx_str_t            mech, initial;
    ngx_uint_t           last;
    ngx_smtp_command_t   cmd;

    (void) ngx_smtp_command_parse(line, &cmd);

    if (cmd.verb >= NGX_SMTP_VERB_LAST
        || cmd.name.len + cmd.arg.len > line->len
        || cmd.arg.data + cmd.arg.len > line->data + line->len)
    {
        abort();
    }

    if (ngx_smtp_helo_check(&cmd.arg) == NGX_OK
        && (memchr(cmd.arg.data, ' ', cmd.arg.len)
            || memchr(cmd.arg.data, CR, cmd.arg.len)
            || memchr(cmd.arg.data, LF, cmd.arg.len)))
    {
        abort();
    }

    if (ngx_smtp_bdat_parse(&cmd.arg, &size, &last) == NGX_OK && size < 0) {
        abort();
    }

    if (ngx_smtp_auth_parse(&cmd.arg, &mech, &initial) == NGX_OK
        && (mech.len == 0 || mech.len + initial.len > cmd.arg.len))
    {
        abort();
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
