
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The replies of the server: one table of code, enhanced code (RFC 3463) and
 * text, and the writers that put them on the wire.  Data of clients and peers
 * gets into a reply only sanitized.  Nothing is allocated: the caller gives
 * the output buffer.
 */


#ifndef _NGX_SMTP_REPLY_H_INCLUDED_
#define _NGX_SMTP_REPLY_H_INCLUDED_


#include "ngx_smtp_pure.h"


/* octets of a reply line with CRLF (RFC 5321 section 4.5.3.1.5) */
#define NGX_SMTP_REPLY_LINE_MAX  512


/*
 * Reply ids.  0 is no reply, and equal to NGX_OK: parsers and rules return
 * NGX_OK or the id of the reply that refuses.
 */
typedef enum {
    NGX_SMTP_REPLY_NONE = 0,

    /* session */
    NGX_SMTP_REPLY_GREETING,             /* 220 <detail> */
    NGX_SMTP_REPLY_HELO,                 /* 250 <detail> */
    NGX_SMTP_REPLY_BYE,                  /* 221 2.0.0 */
    NGX_SMTP_REPLY_OK,                   /* 250 2.0.0 */
    NGX_SMTP_REPLY_HELP,                 /* 214 2.0.0 */
    NGX_SMTP_REPLY_VRFY,                 /* 252 2.5.0 */
    NGX_SMTP_REPLY_STARTTLS,             /* 220 2.0.0 */
    NGX_SMTP_REPLY_XCLIENT,              /* 220 2.0.0 */

    /* transaction */
    NGX_SMTP_REPLY_MAIL_OK,              /* 250 2.1.0 */
    NGX_SMTP_REPLY_RCPT_OK,              /* 250 2.1.5 */
    NGX_SMTP_REPLY_DATA_GO,              /* 354 */
    NGX_SMTP_REPLY_BDAT_OK,              /* 250 2.0.0, detail "n octets" */
    NGX_SMTP_REPLY_QUEUED,               /* 250 2.0.0 Ok: queued as <detail> */

    /* the command line */
    NGX_SMTP_REPLY_UNKNOWN,              /* 500 5.5.2 unknown command */
    NGX_SMTP_REPLY_NOT_IMPLEMENTED,      /* 502 5.5.1 known, not here */
    NGX_SMTP_REPLY_LINE_TOO_LONG,        /* 500 5.5.2 */
    NGX_SMTP_REPLY_LINE_BAD,             /* 500 5.5.2 bare CR or LF, NUL */
    NGX_SMTP_REPLY_BAD_SEQUENCE,         /* 503 5.5.1 */
    NGX_SMTP_REPLY_NEED_HELO,            /* 503 5.5.1 */
    NGX_SMTP_REPLY_NEED_MAIL,            /* 503 5.5.1 */
    NGX_SMTP_REPLY_NESTED_MAIL,          /* 503 5.5.1 */
    NGX_SMTP_REPLY_NO_RCPT,              /* 554 5.5.1 no valid recipients */
    NGX_SMTP_REPLY_SYNTAX,               /* 501 5.5.4 */
    NGX_SMTP_REPLY_ARG_MISSING,          /* 501 5.5.4 */
    NGX_SMTP_REPLY_ARG_FORBIDDEN,        /* 501 5.5.4 */
    NGX_SMTP_REPLY_BAD_HELO,             /* 501 5.5.4 */
    NGX_SMTP_REPLY_BAD_PARAM,            /* 501 5.5.4 bad value, duplicate */
    NGX_SMTP_REPLY_UNKNOWN_PARAM,        /* 555 5.5.4 */
    NGX_SMTP_REPLY_BAD_SENDER,           /* 501 5.1.7 */
    NGX_SMTP_REPLY_BAD_RCPT,             /* 501 5.1.3 */
    NGX_SMTP_REPLY_SENDER_UTF8,          /* 550 5.6.7 needs SMTPUTF8 */
    NGX_SMTP_REPLY_RCPT_UTF8,            /* 553 5.6.7 needs SMTPUTF8 */

    /* limits */
    NGX_SMTP_REPLY_TOO_LARGE,            /* 552 5.3.4 */
    NGX_SMTP_REPLY_TOO_MANY_RCPTS,       /* 452 4.5.3 */
    NGX_SMTP_REPLY_TOO_MANY_MAILS,       /* 421 4.7.0 transactions/session */
    NGX_SMTP_REPLY_TOO_MANY_ERRORS,      /* 421 4.7.0 */
    NGX_SMTP_REPLY_TOO_MANY_COMMANDS,    /* 421 4.7.0 commands without mail */
    NGX_SMTP_REPLY_BUSY,                 /* 421 4.3.2 no free connections */
    NGX_SMTP_REPLY_SHUTDOWN,             /* 421 4.3.2 */
    NGX_SMTP_REPLY_DRAINING,             /* 421 4.3.2 */
    NGX_SMTP_REPLY_TIMEOUT,              /* 421 4.4.2 */
    NGX_SMTP_REPLY_TOO_SLOW,             /* 421 4.4.2 minimum data rate */
    NGX_SMTP_REPLY_LOOP,                 /* 554 5.4.6 too many hops */
    NGX_SMTP_REPLY_BARE_NEWLINE,         /* 550 5.6.0 in message data */

    /* policy */
    NGX_SMTP_REPLY_NEED_STARTTLS,        /* 530 5.7.0 */
    NGX_SMTP_REPLY_NEED_AUTH,            /* 530 5.7.0 */
    NGX_SMTP_REPLY_RELAY_DENIED,         /* 550 5.7.1 */
    NGX_SMTP_REPLY_DENIED,               /* 550 5.7.1 */
    NGX_SMTP_REPLY_SENDER_DENIED,        /* 553 5.7.1 not this login's */
    NGX_SMTP_REPLY_CONNECT_DENIED,       /* 554 5.7.1 instead of 220 */

    /* STARTTLS and AUTH */
    NGX_SMTP_REPLY_TLS_UNAVAILABLE,      /* 454 4.7.0 */
    NGX_SMTP_REPLY_TLS_ACTIVE,           /* 503 5.5.1 */
    NGX_SMTP_REPLY_AUTH_OK,              /* 235 2.7.0 */
    NGX_SMTP_REPLY_AUTH_CONTINUE,        /* 334 <detail> (base64, or none) */
    NGX_SMTP_REPLY_AUTH_FAILED,          /* 535 5.7.8 */
    NGX_SMTP_REPLY_AUTH_TEMPFAIL,        /* 454 4.7.0 */
    NGX_SMTP_REPLY_AUTH_MECHANISM,       /* 504 5.5.4 unknown mechanism */
    NGX_SMTP_REPLY_AUTH_CANCELLED,       /* 501 5.7.0 by "*" */
    NGX_SMTP_REPLY_AUTH_MALFORMED,       /* 501 5.5.2 not base64, bad form */
    NGX_SMTP_REPLY_AUTH_ENCRYPTION,      /* 538 5.7.11 needs TLS */
    NGX_SMTP_REPLY_AUTH_TOO_LONG,        /* 500 5.5.6 */
    NGX_SMTP_REPLY_AUTH_ACTIVE,          /* 503 5.5.1 already */

    /* storage and next hop */
    NGX_SMTP_REPLY_DISK_FULL,            /* 452 4.3.1 */
    NGX_SMTP_REPLY_QUEUE_FULL,           /* 452 4.3.1 */
    NGX_SMTP_REPLY_IO_ERROR,             /* 451 4.3.0 */
    NGX_SMTP_REPLY_INTERNAL,             /* 451 4.3.0 e.g. no memory */
    NGX_SMTP_REPLY_INTERNAL_CLOSE,       /* 421 4.3.0 */
    NGX_SMTP_REPLY_NO_UPSTREAM,          /* 451 4.4.1 no answer from host */
    NGX_SMTP_REPLY_UPSTREAM_LOST,        /* 451 4.4.2 connection lost */

    NGX_SMTP_REPLY_LAST
} ngx_smtp_reply_e;


typedef struct {
    ngx_uint_t          id;
    ngx_uint_t          code;
    ngx_str_t           enhanced;    /* "5.5.1"; empty: none is sent */
    ngx_str_t           text;
} ngx_smtp_reply_t;


/*
 * The row of a reply id; never NULL (an id out of range gets the row of
 * NGX_SMTP_REPLY_INTERNAL).  Static memory.
 */
const ngx_smtp_reply_t *ngx_smtp_reply_get(ngx_uint_t id);

/*
 * Writes "code SP enhanced SP text[ detail]CRLF" to [p, last) and returns the
 * position behind it.  detail may be NULL or empty; it is sanitized: octets
 * that are not printable ASCII become '?', and the line is cut to
 * NGX_SMTP_REPLY_LINE_MAX.  If it does not fit into [p, last) it is cut too,
 * but always ends in CRLF; with less than 16 octets of room nothing is
 * written.
 */
u_char *ngx_smtp_reply_write(u_char *p, u_char *last, ngx_uint_t id,
    ngx_str_t *detail);

/*
 * Writes one line of a reply whose code and text come from elsewhere (a peer,
 * a check): "code SP [enhanced SP] text CRLF", or "code-" if more is set.
 * code must be 200..599; enhanced and text may be NULL or empty.  Sanitized
 * and cut as in ngx_smtp_reply_write().  Also for the lines of EHLO, which
 * carry no enhanced code (RFC 2034 section 3):
 *
 *     p = ngx_smtp_reply_line(p, last, 250, NULL, &keyword, 1);
 */
u_char *ngx_smtp_reply_line(u_char *p, u_char *last, ngx_uint_t code,
    ngx_str_t *enhanced, ngx_str_t *text, ngx_uint_t more);

/*
 * Copies text to [p, last) with all octets but printable ASCII replaced by
 * '?'; returns the position behind the copy.  For log lines and header fields
 * alike.
 */
u_char *ngx_smtp_reply_sanitize(u_char *p, u_char *last, ngx_str_t *text);


#endif /* _NGX_SMTP_REPLY_H_INCLUDED_ */
