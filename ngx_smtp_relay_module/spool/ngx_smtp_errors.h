
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Texts of last errors.  They repeat themselves by the thousand, so a message
 * keeps a hash of 32 bits, and a table of fixed size the texts; of those that
 * want the same place the oldest is forgotten.  A sealed segment takes the
 * texts of its messages along, in one record of its log.
 *
 * Pure functions but for malloc(); a table belongs to one thread at a time.
 */


#ifndef _NGX_SMTP_ERRORS_H_INCLUDED_
#define _NGX_SMTP_ERRORS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_event.h"


#define NGX_SMTP_ERROR_TEXT         250     /* of a text; the rest is cut */
#define NGX_SMTP_ERROR_WAYS         4       /* places that a text may have */
#define NGX_SMTP_ERRORS_STORE       4096    /* texts of a worker */
#define NGX_SMTP_ERRORS_RECORD      256     /* texts of a segment's record */


typedef struct {
    uint32_t                hash;       /* 0: free */
    u_char                  len;
    u_char                  text[NGX_SMTP_ERROR_TEXT];
} ngx_smtp_error_t;


typedef struct {
    ngx_smtp_error_t       *table;      /* NULL: empty */
    ngx_uint_t              size;       /* entries, a multiple of the ways */
} ngx_smtp_errors_t;


/* The error of a message, in a record. */
typedef struct {
    uint32_t                number;
    uint32_t                hash;
} ngx_smtp_error_of_t;


/*
 * Remembers a text; returns its hash, 0 for an empty one and without memory.
 * size must be set; the table is made by the first text.
 */
uint32_t ngx_smtp_errors_put(ngx_smtp_errors_t *errors, const ngx_str_t *text);

/* Where the text of a hash is, or NULL: it is forgotten. */
ngx_smtp_error_t *ngx_smtp_errors_find(ngx_smtp_errors_t *errors,
    uint32_t hash);

/* Remembers all texts of another table. */
void ngx_smtp_errors_merge(ngx_smtp_errors_t *errors,
    ngx_smtp_errors_t *other);

void ngx_smtp_errors_free(ngx_smtp_errors_t *errors);

/*
 * A record NGX_SMTP_LOG_ERRORS, not sealed, about n messages whose texts are
 * in the table, malloc'ed: out, to be freed by the caller; at most
 * NGX_SMTP_ERRORS_RECORD texts, others are left out.  NGX_OK, NGX_ERROR: no
 * memory; out empty: nothing is to be told.
 */
ngx_int_t ngx_smtp_errors_record(ngx_smtp_errors_t *errors,
    const ngx_smtp_error_of_t *of, ngx_uint_t n, time_t now, ngx_str_t *out);

/*
 * Reads such a record: its texts go to the table, handler is told the hash of
 * each message.  NGX_ERROR: malformed; some may have been told.
 */
ngx_int_t ngx_smtp_errors_read(ngx_smtp_errors_t *errors,
    const ngx_smtp_log_record_t *r,
    void (*handler)(void *data, uint32_t number, uint32_t hash), void *data);


#endif /* _NGX_SMTP_ERRORS_H_INCLUDED_ */
