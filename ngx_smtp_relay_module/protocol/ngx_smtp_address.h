
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Addresses of the envelope: paths and mailboxes of RFC 5321 section 4.1.2,
 * with RFC 6531 (SMTPUTF8).  Parsers give slices of their input and allocate
 * nothing.
 */


#ifndef _NGX_SMTP_ADDRESS_H_INCLUDED_
#define _NGX_SMTP_ADDRESS_H_INCLUDED_


#include "ngx_smtp_pure.h"


/* RFC 5321 section 4.5.3.1: octets; a path is 256 with its brackets */
#define NGX_SMTP_LOCAL_MAX         64
#define NGX_SMTP_DOMAIN_MAX        255
#define NGX_SMTP_MAILBOX_MAX       254

/* what a path may be */
#define NGX_SMTP_PATH_UTF8         0x01   /* SMTPUTF8 is in force */
#define NGX_SMTP_PATH_NULL         0x02   /* <> (MAIL) */
#define NGX_SMTP_PATH_POSTMASTER   0x04   /* <postmaster> (RCPT) */

/* why a path was refused; positive, beside NGX_OK */
#define NGX_SMTP_PATH_E_SYNTAX     1
#define NGX_SMTP_PATH_E_LOCAL      2      /* local part malformed or empty */
#define NGX_SMTP_PATH_E_DOMAIN     3      /* domain malformed or missing */
#define NGX_SMTP_PATH_E_LITERAL    4      /* bad address in [] */
#define NGX_SMTP_PATH_E_LONG       5      /* a length limit */
#define NGX_SMTP_PATH_E_UTF8       6      /* not well-formed UTF-8 */
#define NGX_SMTP_PATH_E_NEED_UTF8  7      /* non-ASCII without SMTPUTF8 */


typedef struct {
    ngx_str_t           mailbox;     /* local@domain, no brackets, no route */
    ngx_str_t           local;       /* as written, with its quotes */
    ngx_str_t           domain;      /* as written; literal: with [] */
    unsigned            null:1;      /* <> */
    unsigned            postmaster:1;    /* <postmaster>, no domain */
    unsigned            quoted:1;    /* local is a quoted string */
    unsigned            literal:1;   /* domain is an address literal */
    unsigned            utf8:1;      /* mailbox has octets >= 0x80 */
} ngx_smtp_path_t;


/*
 * Parses "<[@route,...:]local@domain>" at *pos.  flags: NGX_SMTP_PATH_*.
 * NGX_OK: *path holds slices of the input and *pos is behind the ">".  Else an
 * NGX_SMTP_PATH_E_* code; *pos and *path are then undefined.
 *
 * A source route is checked and dropped (RFC 5321 appendix C).  Address
 * literals must be valid IPv4 or "IPv6:" addresses; others are refused, for we
 * could never deliver to them.  Domains: labels of letters, digits, "-" and
 * "_", 1-63 octets, neither beginning nor ending with "-"; no trailing dot.
 * The brackets are required.
 */
ngx_int_t ngx_smtp_path_parse(u_char **pos, u_char *last, ngx_uint_t flags,
    ngx_smtp_path_t *path);

/*
 * Parses all of in as "local@domain" (no brackets, no route), e.g. an address
 * of the configuration.  Flags and results as above.
 */
ngx_int_t ngx_smtp_mailbox_parse(ngx_str_t *in, ngx_uint_t flags,
    ngx_smtp_path_t *path);

/* A short static reason for an NGX_SMTP_PATH_E_* code. */
const char *ngx_smtp_path_error(ngx_int_t code);

/*
 * Checks a domain name (not a literal) by the rules above.  NGX_OK or
 * NGX_SMTP_PATH_E_DOMAIN, _LONG, _UTF8, _NEED_UTF8.
 */
ngx_int_t ngx_smtp_domain_check(ngx_str_t *domain, ngx_uint_t flags);

/*
 * Checks an address literal with its brackets.  NGX_OK or
 * NGX_SMTP_PATH_E_LITERAL.
 */
ngx_int_t ngx_smtp_literal_check(ngx_str_t *domain);

/*
 * Do two parsed mailboxes name the same box?  Local parts are compared exactly
 * after removal of quoting (RFC 5321 section 2.4 leaves their case to the
 * domain), domains without regard to ASCII case.  1 or 0.
 */
ngx_uint_t ngx_smtp_mailbox_equal(ngx_smtp_path_t *a, ngx_smtp_path_t *b);

/*
 * Writes the local part without quotes and backslashes to dst, which must hold
 * local->len octets; returns the length.
 */
size_t ngx_smtp_local_unquote(u_char *dst, ngx_str_t *local);

/*
 * 1 if the octets are well-formed UTF-8 (RFC 3629: no overlong forms, no
 * surrogates, at most U+10FFFF); ASCII is.  NUL and controls are not judged.
 */
ngx_uint_t ngx_smtp_utf8_valid(u_char *p, size_t len);

/*
 * The length of the sequence at p, in front of last, of an octet that is not
 * ASCII (table of RFC 3629 section 4); 0: it is not well-formed.
 */
ngx_uint_t ngx_smtp_utf8_sequence(u_char *p, u_char *last);


#endif /* _NGX_SMTP_ADDRESS_H_INCLUDED_ */
