
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Command lines in a receive buffer.  The scanner copies nothing: it looks at
 * [pos, last) of a buffer that belongs to the caller and remembers only how
 * far it came, so a line that arrives byte by byte is looked at once.
 */


#ifndef _NGX_SMTP_LINE_H_INCLUDED_
#define _NGX_SMTP_LINE_H_INCLUDED_


#include "ngx_smtp_pure.h"


/* smtp_bare_newline: what a CR or LF outside of CRLF gets */
#define NGX_SMTP_NEWLINE_REJECT     0
#define NGX_SMTP_NEWLINE_NORMALIZE  1

/* ngx_smtp_line_next(): beside NGX_OK and NGX_AGAIN */
#define NGX_SMTP_LINE_TOO_LONG      1

/* ngx_smtp_line_t.bad */
#define NGX_SMTP_LINE_BARE_CR       0x01
#define NGX_SMTP_LINE_BARE_LF       0x02
#define NGX_SMTP_LINE_NUL           0x04


typedef struct {
    size_t              limit;       /* octets of a line with its CRLF */
    size_t              scanned;     /* octets at *pos already looked at */
    ngx_uint_t          newline;     /* NGX_SMTP_NEWLINE_* */
    ngx_uint_t          bad;         /* NGX_SMTP_LINE_* of the last line */
    unsigned            discard:1;   /* inside of a line that is too long */
    unsigned            cr:1;        /* the last octet discarded was a CR */
} ngx_smtp_line_t;


/*
 * Prepares a scanner.  limit: octets of a line including CRLF (512 for
 * commands by RFC 5321 section 4.5.3.1.4, more with extensions; 12288 for
 * AUTH, RFC 4954 section 4); the receive buffer must hold at least as many.
 * newline: NGX_SMTP_NEWLINE_*.  The limit may be changed between two lines.
 */
void ngx_smtp_line_init(ngx_smtp_line_t *ln, size_t limit, ngx_uint_t newline);

/*
 * Finds the next line in [*pos, last).
 *
 * NGX_OK: *line is the line without its line end, in the caller's buffer;
 *     *pos is behind the line end; ln->bad tells what the line must be refused
 *     for (answer 500 5.5.2): a bare CR, a bare LF or a NUL in it; 0 if clean.
 *     Under NGX_SMTP_NEWLINE_NORMALIZE a bare LF ends the line and is not bad.
 * NGX_AGAIN: more input is needed.  *pos stays at the begin of the line; the
 *     caller keeps [*pos, last), which it may move, and calls again with more
 *     behind it.  While a line that is too long is discarded *pos is last:
 *     the buffer may be emptied.
 * NGX_SMTP_LINE_TOO_LONG: a line longer than the limit was discarded up to
 *     its end, *pos is behind it.  Reported once for each such line.
 */
ngx_int_t ngx_smtp_line_next(ngx_smtp_line_t *ln, u_char **pos, u_char *last,
    ngx_str_t *line);


#endif /* _NGX_SMTP_LINE_H_INCLUDED_ */
