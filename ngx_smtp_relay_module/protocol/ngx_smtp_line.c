
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Command lines in a receive buffer: see the header.  memchr() finds line
 * ends; a line is looked at twice, once for its end and once, when it is
 * complete, for what must not be in it.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_line.h"


static ngx_int_t ngx_smtp_line_discard(ngx_smtp_line_t *ln, u_char **pos,
    u_char *last);
static ngx_uint_t ngx_smtp_line_judge(u_char *p, u_char *last);


void
ngx_smtp_line_init(ngx_smtp_line_t *ln, size_t limit, ngx_uint_t newline)
{
    ngx_memzero(ln, sizeof(ngx_smtp_line_t));

    ln->limit = limit;
    ln->newline = newline;
}


ngx_int_t
ngx_smtp_line_next(ngx_smtp_line_t *ln, u_char **pos, u_char *last,
    ngx_str_t *line)
{
    u_char  *p, *lf, *end, *start;

    ln->bad = 0;

    if (ln->discard) {
        return ngx_smtp_line_discard(ln, pos, last);
    }

    start = *pos;
    p = start + ln->scanned;

    for ( ;; ) {
        lf = (p < last) ? memchr(p, LF, last - p) : NULL;

        if (lf == NULL) {
            if ((size_t) (last - start) >= ln->limit) {
                goto too_long;
            }

            ln->scanned = last - start;
            return NGX_AGAIN;
        }

        if ((size_t) (lf + 1 - start) > ln->limit) {
            goto too_long;
        }

        if (lf > start && lf[-1] == CR) {
            end = lf - 1;
            break;
        }

        if (ln->newline == NGX_SMTP_NEWLINE_NORMALIZE) {
            end = lf;
            break;
        }

        p = lf + 1;
    }

    line->data = start;
    line->len = end - start;

    ln->bad = ngx_smtp_line_judge(start, end);
    ln->scanned = 0;

    *pos = lf + 1;

    return NGX_OK;

too_long:

    ln->scanned = 0;
    ln->discard = 1;
    ln->cr = 0;

    return ngx_smtp_line_discard(ln, pos, last);
}


static ngx_int_t
ngx_smtp_line_discard(ngx_smtp_line_t *ln, u_char **pos, u_char *last)
{
    u_char  *p, *lf;

    for (p = *pos; p < last; p = lf + 1) {

        lf = memchr(p, LF, last - p);

        if (lf == NULL) {
            break;
        }

        if (ln->newline == NGX_SMTP_NEWLINE_NORMALIZE
            || (lf > *pos ? lf[-1] == CR : ln->cr))
        {
            ln->discard = 0;
            *pos = lf + 1;

            return NGX_SMTP_LINE_TOO_LONG;
        }
    }

    if (last > *pos) {
        ln->cr = (last[-1] == CR);
        *pos = last;
    }

    return NGX_AGAIN;
}


static ngx_uint_t
ngx_smtp_line_judge(u_char *p, u_char *last)
{
    size_t      len;
    ngx_uint_t  bad;

    bad = 0;
    len = last - p;

    if (len == 0) {
        return 0;
    }

    if (memchr(p, CR, len)) {
        bad |= NGX_SMTP_LINE_BARE_CR;
    }

    if (memchr(p, LF, len)) {
        bad |= NGX_SMTP_LINE_BARE_LF;
    }

    if (memchr(p, '\0', len)) {
        bad |= NGX_SMTP_LINE_NUL;
    }

    return bad;
}
