
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the files of the control share.  A job is one request in a worker; it
 * lives in its own pool from the request to its answer, or until who asked is
 * gone.
 */


#ifndef _NGX_SMTP_CONTROL_PRIVATE_H_INCLUDED_
#define _NGX_SMTP_CONTROL_PRIVATE_H_INCLUDED_


#include "ngx_smtp_control.h"
#include "ngx_smtp_history.h"
#include "ngx_smtp_json.h"
#include "ngx_smtp_relay_private.h"


/* by NGX_SMTP_WISH_*, NGX_SMTP_REPORT_*, NGX_SMTP_RESULT_* */
extern const char  *ngx_smtp_control_wishes[];
extern const char  *ngx_smtp_control_kinds[];
extern const char  *ngx_smtp_control_statuses[];

/* Nobody here knows its queue, or the next hop it was given. */
#define ngx_smtp_control_unknown(m)                                           \
    ((m)->unknown_queue || ngx_smtp_route_home(m) == NULL)

/* -- ngx_smtp_control_filter.c ------------------------------------------- */

typedef struct ngx_smtp_control_verdict_s  ngx_smtp_control_verdict_t;

typedef struct {
    ngx_smtp_control_request_t  *request;
    ngx_smtp_control_verdict_t  *verdicts;  /* NULL: any last error will do */
    unsigned                     addresses:1;   /* the envelope decides, too */
} ngx_smtp_control_filter_t;

/* That of a request, which must outlive it.  NGX_OK; NGX_ERROR: no memory. */
ngx_int_t ngx_smtp_control_filter(ngx_smtp_control_filter_t *f,
    ngx_smtp_control_request_t *request, ngx_pool_t *pool);

/* Is it one that is meant, as far as memory tells? */
ngx_uint_t ngx_smtp_control_wanted(ngx_smtp_control_filter_t *f,
    ngx_smtp_message_t *m);

/* Do the addresses match?  Recipients with a final result do not count. */
ngx_uint_t ngx_smtp_control_match(ngx_smtp_control_filter_t *f,
    ngx_smtp_message_t *m, ngx_smtp_envelope_t *e);


/* -- ngx_smtp_control_show.c, ngx_smtp_control_history.c ----------------- */

/* the state of a message, NGX_SMTP_CONTROL_BUSY ... */
ngx_uint_t ngx_smtp_control_state(ngx_smtp_message_t *m, time_t now);

/*
 * A message as an object of JSON; reader: NULL when it could not be read.
 * The second one with everything that is known, header and history (NULL: not
 * read) included.
 */
void ngx_smtp_control_row(ngx_smtp_json_t *j, ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m, ngx_smtp_reader_t *reader, time_t now);
void ngx_smtp_control_all(ngx_smtp_json_t *j, ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m, ngx_smtp_reader_t *reader, ngx_smtp_history_t *h,
    time_t now);

/* Members "history" and "history_complete" (docs/control.md). */
void ngx_smtp_control_history(ngx_smtp_json_t *j, ngx_smtp_message_t *m,
    ngx_smtp_history_t *h);


#endif /* _NGX_SMTP_CONTROL_PRIVATE_H_INCLUDED_ */
