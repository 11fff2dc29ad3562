
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Replies of a peer, as a client sees them (RFC 5321 section 4.2): a parser
 * fed with any number of octets at a time, and the keywords of EHLO.  A peer
 * may be hostile: lines, their number and the whole reply are bounded, and the
 * text that comes out is sanitized.  The parser owns its small buffers; what
 * it gives out lives in it until the next call.
 */


#ifndef _NGX_SMTP_RESPONSE_H_INCLUDED_
#define _NGX_SMTP_RESPONSE_H_INCLUDED_


#include "ngx_smtp_pure.h"


#define NGX_SMTP_RESPONSE_LINE_KEPT  1024    /* of a line; the rest is cut */
#define NGX_SMTP_RESPONSE_LINE_MAX   65536   /* longer: an error */
#define NGX_SMTP_RESPONSE_LINES_MAX  200     /* of a reply; more: an error */
#define NGX_SMTP_RESPONSE_SIZE_MAX   262144  /* of a reply; more: an error */
#define NGX_SMTP_RESPONSE_TEXT_MAX   512     /* of the joined text */


/*
 * Called for each line of a reply: code, the number of the line (from 0), and
 * its text behind "250-" or "250 ", raw, without line end, cut to
 * NGX_SMTP_RESPONSE_LINE_KEPT; valid during the call only.
 */
typedef void (*ngx_smtp_response_line_pt)(void *data, ngx_uint_t code,
    ngx_uint_t n, ngx_str_t *line);


typedef struct {
    /* the reply, valid after NGX_OK */
    ngx_uint_t                  code;       /* 200..599 */
    ngx_str_t                   status;     /* "5.7.1"; empty: none */
    ngx_str_t                   text;       /* without code and status */

    const char                 *error;      /* static reason of NGX_ERROR */

    ngx_smtp_response_line_pt   handler;    /* may be NULL */
    void                       *data;

    /* private */
    size_t                      len;        /* of line[] in use */
    size_t                      line_size;
    size_t                      size;
    ngx_uint_t                  lines;
    u_char                     *text_last;
    unsigned                    done:1;
    u_char                      line[NGX_SMTP_RESPONSE_LINE_KEPT + 4];
    u_char                      text_buf[NGX_SMTP_RESPONSE_TEXT_MAX];
    u_char                      status_buf[16];
} ngx_smtp_response_t;


/* keywords of EHLO */
#define NGX_SMTP_CAP_PIPELINING    0x0001
#define NGX_SMTP_CAP_SIZE          0x0002
#define NGX_SMTP_CAP_8BITMIME      0x0004
#define NGX_SMTP_CAP_SMTPUTF8      0x0008
#define NGX_SMTP_CAP_STARTTLS      0x0010
#define NGX_SMTP_CAP_DSN           0x0020
#define NGX_SMTP_CAP_CHUNKING      0x0040
#define NGX_SMTP_CAP_STATUSCODES   0x0080
#define NGX_SMTP_CAP_AUTH          0x0100
#define NGX_SMTP_CAP_LIMITS        0x0200
#define NGX_SMTP_CAP_REQUIRETLS    0x0400
#define NGX_SMTP_CAP_XCLIENT       0x0800
#define NGX_SMTP_CAP_BINARYMIME    0x1000
#define NGX_SMTP_CAP_XFORWARD      0x2000

/* mechanisms of AUTH */
#define NGX_SMTP_CAP_AUTH_PLAIN    0x01
#define NGX_SMTP_CAP_AUTH_LOGIN    0x02
#define NGX_SMTP_CAP_AUTH_SCRAM    0x04      /* SCRAM-SHA-256 */
#define NGX_SMTP_CAP_AUTH_EXTERNAL 0x08
#define NGX_SMTP_CAP_AUTH_XOAUTH2  0x10

/* attributes of XCLIENT */
#define NGX_SMTP_CAP_XCLIENT_NAME      0x01
#define NGX_SMTP_CAP_XCLIENT_ADDR      0x02
#define NGX_SMTP_CAP_XCLIENT_PORT      0x04
#define NGX_SMTP_CAP_XCLIENT_PROTO     0x08
#define NGX_SMTP_CAP_XCLIENT_HELO      0x10
#define NGX_SMTP_CAP_XCLIENT_LOGIN     0x20
#define NGX_SMTP_CAP_XCLIENT_DESTADDR  0x40
#define NGX_SMTP_CAP_XCLIENT_DESTPORT  0x80

/* attributes of XFORWARD */
#define NGX_SMTP_CAP_XFORWARD_NAME     0x01
#define NGX_SMTP_CAP_XFORWARD_ADDR     0x02
#define NGX_SMTP_CAP_XFORWARD_PORT     0x04
#define NGX_SMTP_CAP_XFORWARD_PROTO    0x08
#define NGX_SMTP_CAP_XFORWARD_HELO     0x10
#define NGX_SMTP_CAP_XFORWARD_IDENT    0x20
#define NGX_SMTP_CAP_XFORWARD_SOURCE   0x40


typedef struct {
    ngx_uint_t          flags;       /* NGX_SMTP_CAP_* */
    ngx_uint_t          auth;        /* NGX_SMTP_CAP_AUTH_* */
    ngx_uint_t          xclient;     /* NGX_SMTP_CAP_XCLIENT_* */
    off_t               size;        /* of SIZE; 0: no limit told */
    ngx_uint_t          mailmax;     /* of LIMITS (RFC 9422); 0: not told */
    ngx_uint_t          rcptmax;
    ngx_uint_t          xforward;    /* NGX_SMTP_CAP_XFORWARD_* */
} ngx_smtp_caps_t;


/* Prepares a parser; handler is NULL. */
void ngx_smtp_response_init(ngx_smtp_response_t *r);

/*
 * Feeds [*pos, last); *pos advances behind what was consumed.
 *
 * NGX_OK: a reply is complete, r->code, r->status and r->text (sanitized
 *     printable ASCII, lines joined by a space, cut) tell it, and *pos is just
 *     behind it; the next call begins the next reply.
 * NGX_AGAIN: all was consumed, more is needed.
 * NGX_ERROR: this is no reply (r->error says why): close the connection.  The
 *     parser must not be used again before ngx_smtp_response_init().
 *
 * Lines end in CRLF; a bare LF is tolerated.  Codes must be 200..599 and the
 * same on all lines.  NUL is an error, other controls become '?'.
 */
ngx_int_t ngx_smtp_response_parse(ngx_smtp_response_t *r, u_char **pos,
    u_char *last);

/*
 * Takes one line of an EHLO reply (without code) into caps; of type
 * ngx_smtp_response_line_pt, data is ngx_smtp_caps_t, zeroed by the caller
 * before the first line.  Line 0 is the greeting and ignored, and so are
 * replies other than 250.  Unknown keywords and unreadable values are ignored.
 */
void ngx_smtp_caps_line(void *data, ngx_uint_t code, ngx_uint_t n,
    ngx_str_t *line);


#endif /* _NGX_SMTP_RESPONSE_H_INCLUDED_ */
