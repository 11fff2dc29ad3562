
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * How the parts of a report are written: private to the generator.  The output
 * buffer is allocated once, at a size computed from the input; nothing is
 * written past its end, and a report that would not fit is an error, not cut.
 * Every string of the input goes through one of the filters here.
 */


#ifndef _NGX_SMTP_DSN_OUT_H_INCLUDED_
#define _NGX_SMTP_DSN_OUT_H_INCLUDED_


#include "ngx_smtp_pure.h"
#include "ngx_smtp_dsn.h"


/* what is taken of a string, and written for an address, at most */
#define NGX_SMTP_DSN_NAME_MAX      255
#define NGX_SMTP_DSN_TOKEN_MAX     100
#define NGX_SMTP_DSN_ADDRESS_MAX   900


typedef struct {
    u_char              *pos;
    u_char              *last;
    unsigned             utf8:1;        /* the report is in UTF-8 */
    unsigned             overflow:1;    /* something did not fit */
} ngx_smtp_dsn_out_t;


/* Writes a string as it is. */
void ngx_smtp_dsn_puts(ngx_smtp_dsn_out_t *out, const char *s);
void ngx_smtp_dsn_put(ngx_smtp_dsn_out_t *out, u_char *data, size_t len);

/* A name or token, by ngx_smtp_trace_word(), at most max bytes. */
void ngx_smtp_dsn_name(ngx_smtp_dsn_out_t *out, ngx_str_t *s, size_t max);

/*
 * The host of a peer: "name[address]:port" gives name; "[address]:port" and
 * "address:port" give the address, in brackets (a domain literal).
 */
void ngx_smtp_dsn_remote(ngx_smtp_dsn_out_t *out, ngx_str_t *remote);

/*
 * An address, or another string on a line of its own, at most
 * NGX_SMTP_DSN_ADDRESS_MAX bytes.  Printable ASCII goes through, and UTF-8 in
 * a report in UTF-8.  In others it becomes "?", or \x{HEX} with one of
 *
 *   _UNICODE  only what is not ASCII
 *   _XTEXT    also the ASCII that RFC 6533 section 3 does not allow as it is
 *             in utf-8-addr-xtext; nothing at all if s is ASCII
 */
#define NGX_SMTP_DSN_PLAIN         0
#define NGX_SMTP_DSN_XTEXT         1
#define NGX_SMTP_DSN_UNICODE       2

void ngx_smtp_dsn_address(ngx_smtp_dsn_out_t *out, ngx_str_t *s,
    ngx_uint_t encode);

/*
 * A text, at most NGX_SMTP_DSN_TEXT_MAX bytes, folded between words: indent
 * (CRLF and blanks) goes where the next word would pass the right margin.
 * column: where the text begins.  Runs of blanks become one.
 */
void ngx_smtp_dsn_text(ngx_smtp_dsn_out_t *out, ngx_str_t *s, size_t column,
    const char *indent);

/* A field with a date; name includes ": ". */
void ngx_smtp_dsn_date(ngx_smtp_dsn_out_t *out, const char *name, time_t t,
    ngx_int_t gmtoff);

/* Are there bytes over 127 in s? */
ngx_uint_t ngx_smtp_dsn_8bit(ngx_str_t *s);

/* The first part of the report, for people, with its delimiter and fields. */
void ngx_smtp_dsn_human(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d);

/* The boundary, without dashes. */
void ngx_smtp_dsn_boundary(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d);


#endif /* _NGX_SMTP_DSN_OUT_H_INCLUDED_ */
