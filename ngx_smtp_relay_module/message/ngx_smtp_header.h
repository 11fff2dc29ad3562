
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Scanner of the header section of a message (RFC 5322 section 2.2): finds
 * where it ends, counts Received fields for the hop limit, notes which fields
 * are there.  It changes nothing and keeps nothing but a few counters: bytes
 * may come in slices of any size.  Lines end with CRLF; a bare CR or LF is a
 * byte like any other.  No memory is owned.
 */


#ifndef _NGX_SMTP_HEADER_H_INCLUDED_
#define _NGX_SMTP_HEADER_H_INCLUDED_


#include "ngx_smtp_pure.h"


/* positive results of ngx_smtp_header_scan() */
#define NGX_SMTP_HEADER_TOO_LARGE   1   /* more bytes than max_size */
#define NGX_SMTP_HEADER_TOO_MANY    2   /* more fields than max_fields */

/* the longest field name the scanner looks for, "Auto-Submitted" */
#define NGX_SMTP_HEADER_NAME_LEN    14


typedef struct {
    /* results; counters are exact up to the end of what was scanned */
    off_t               size;       /* bytes of the header section, with the
                                       empty line: where the body starts */
    ngx_uint_t          fields;     /* of any name, folded lines not counted */
    ngx_uint_t          malformed;  /* lines that are neither a field, nor a
                                       folded line of one; skipped */
    ngx_uint_t          received;   /* Received fields */
    unsigned            date:1;             /* the field is there, even if */
    unsigned            message_id:1;       /* its value is empty */
    unsigned            from:1;
    unsigned            auto_submitted:1;
    unsigned            header_8bit:1;      /* a byte over 127 in the header */
    unsigned            body_8bit:1;        /* by ngx_smtp_header_body() */
    unsigned            done:1;             /* the end was seen */

    /* the scanner's own */
    unsigned            cr:1;
    unsigned            state:4;
    unsigned            name_len:8;
    ngx_int_t           error;
    off_t               max_size;
    ngx_uint_t          max_fields;
    u_char              name[NGX_SMTP_HEADER_NAME_LEN];
} ngx_smtp_header_t;


/*
 * Starts a message.  max_size (bytes) and max_fields limit the header section;
 * 0: no limit.
 */
void ngx_smtp_header_init(ngx_smtp_header_t *h, off_t max_size,
    ngx_uint_t max_fields);

/*
 * Scans the next slice of the message (unstuffed, as it is stored).
 *
 * NGX_AGAIN    the header goes on
 * NGX_OK       the header has ended, in this slice or before; the part of the
 *              slice behind h->size was not looked at.  Further calls cost
 *              nothing and are not needed
 * positive     NGX_SMTP_HEADER_*: a limit was passed; counters stop.  Returned
 *              again by each further call
 *
 * A line that is no field (no colon, a space or control in the name) is
 * counted in h->malformed and skipped, it does not end the header: only an
 * empty line does (RFC 5322 section 2.1).
 */
ngx_int_t ngx_smtp_header_scan(ngx_smtp_header_t *h, u_char *data, size_t len);

/*
 * The message has ended.  A header without an empty line is complete then;
 * h->size is the size of the message.  Returns NGX_OK, or the limit that
 * was passed as ngx_smtp_header_scan() does.
 */
ngx_int_t ngx_smtp_header_end(ngx_smtp_header_t *h);

/*
 * Optional: looks for bytes over 127 in a slice of the body and sets
 * h->body_8bit.  Reads a word at a time and returns at once when the flag is
 * already set.
 */
void ngx_smtp_header_body(ngx_smtp_header_t *h, u_char *data, size_t len);

/* Is there a byte over 127 in data?  1 or 0. */
ngx_uint_t ngx_smtp_header_8bit(u_char *data, size_t len);


#endif /* _NGX_SMTP_HEADER_H_INCLUDED_ */
