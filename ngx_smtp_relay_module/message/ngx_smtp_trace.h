
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The fields this server adds above a message: Received (RFC 5321 section
 * 4.4), and Date and Message-ID where a submission lacks them (RFC 6409
 * section 8).  Strings that come from a client, from DNS or from TLS are taken
 * as hostile: what is written here can neither end a line, nor open or close
 * a comment.  Everything is written to a buffer of the caller's.
 */


#ifndef _NGX_SMTP_TRACE_H_INCLUDED_
#define _NGX_SMTP_TRACE_H_INCLUDED_


#include "ngx_smtp_pure.h"


/* "Thu, 01 Jan 1970 00:00:00 +0000" */
#define NGX_SMTP_DATE_LEN           31

/* room that is always enough for one field with its CRLF */
#define NGX_SMTP_RECEIVED_MAX       2048
#define NGX_SMTP_DATE_FIELD_MAX     (sizeof("Date: " CRLF) - 1                \
                                     + NGX_SMTP_DATE_LEN)
#define NGX_SMTP_MESSAGE_ID_MAX     512


typedef struct {
    ngx_str_t           helo;       /* as the client gave it; empty: none */
    ngx_str_t           ptr;        /* its verified name; empty: unknown */
    ngx_str_t           addr;       /* "192.0.2.1", "2001:db8::1", "unix" */
    ngx_str_t           hostname;   /* ours */
    ngx_str_t           id;         /* any token; empty: no id clause */
    ngx_str_t           rcpt;       /* mailbox of the only recipient, else
                                       empty: no for clause (privacy) */
    ngx_str_t           tls_version;    /* "TLSv1.3"; used if tls is set */
    ngx_str_t           tls_cipher;     /* may be empty */
    ngx_uint_t          tls_bits;       /* of the cipher; 0: not shown */
    time_t              time;
    ngx_int_t           gmtoff;     /* minutes east of UTC */
    unsigned            esmtp:1;    /* EHLO, not HELO */
    unsigned            tls:1;
    unsigned            auth:1;     /* the client has authenticated */
    unsigned            smtputf8:1; /* of the transaction: UTF-8 is allowed */
} ngx_smtp_trace_t;


/*
 * Writes the field with its CRLF, folded below 78 columns where the tokens
 * allow it.  buf has NGX_SMTP_RECEIVED_MAX bytes, always enough: longer
 * strings are cut (255 bytes for a name), a recipient that is over 320 bytes
 * or not printable is left out.  Bytes that cannot stand in a domain
 * become "?"; those over 127 too, unless they are valid UTF-8 and smtputf8 is
 * set.  "with" is SMTP, ESMTP[S][A] (RFC 3848) or UTF8SMTP[S][A] (RFC 6531).
 * Returns the end of what was written.
 */
u_char *ngx_smtp_trace_received(u_char *buf, ngx_smtp_trace_t *t);

/*
 * Writes a date as in RFC 5322 section 3.3, exactly NGX_SMTP_DATE_LEN bytes,
 * without CRLF.  A time outside of 1970..9999 is moved to the nearest end; an
 * offset beyond a day is taken as 0.  Returns the end.
 */
u_char *ngx_smtp_trace_date(u_char *buf, time_t t, ngx_int_t gmtoff);

/*
 * Writes "Date: ...CRLF", NGX_SMTP_DATE_FIELD_MAX bytes.  Returns the end.
 */
u_char *ngx_smtp_trace_date_field(u_char *buf, time_t t, ngx_int_t gmtoff);

/*
 * Writes "Message-ID: <unique@hostname>CRLF" (RFC 5322 section 3.6.4).  unique
 * is a token nobody else makes: the caller's random or counted one; at most
 * 200 bytes of it are taken, others than letters, digits, "-_." become "-".
 * buf has NGX_SMTP_MESSAGE_ID_MAX bytes.  Returns the end.
 */
u_char *ngx_smtp_trace_message_id(u_char *buf, ngx_str_t *unique,
    ngx_str_t *hostname);

/*
 * Copies src to buf with everything that may not stand in a domain, an address
 * literal or a word of a trace field replaced by "?"; at most max bytes (a
 * UTF-8 sequence is never cut).  utf8: valid UTF-8 is kept.  Returns the end;
 * nothing is written for an empty src.
 */
u_char *ngx_smtp_trace_word(u_char *buf, ngx_str_t *src, size_t max,
    ngx_uint_t utf8);

/*
 * The length of the UTF-8 sequence at p, or 0 if it is not valid, cut by last,
 * or no character for a text: a control (C0, DEL, C1), a line or paragraph
 * separator.  *ch is the character, if not NULL.  p < last.
 */
size_t ngx_smtp_trace_utf8(u_char *p, u_char *last, uint32_t *ch);


#endif /* _NGX_SMTP_TRACE_H_INCLUDED_ */
