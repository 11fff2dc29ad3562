
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
#include "ngx_smtp_json.h"
#include "ngx_smtp_relay_private.h"


/* the state of a message, NGX_SMTP_CONTROL_BUSY ... */
ngx_uint_t ngx_smtp_control_state(ngx_smtp_message_t *m, time_t now);

/*
 * A message as an object of JSON; reader: NULL when it could not be read.
 * The second one with everything that is known, header included.
 */
void ngx_smtp_control_row(ngx_smtp_json_t *j, ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m, ngx_smtp_reader_t *reader, time_t now);
void ngx_smtp_control_all(ngx_smtp_json_t *j, ngx_smtp_relay_t *relay,
    ngx_smtp_message_t *m, ngx_smtp_reader_t *reader, time_t now);

/* Do the addresses match?  Recipients with a final result do not count. */
ngx_uint_t ngx_smtp_control_match(ngx_smtp_control_request_t *request,
    ngx_smtp_message_t *m, ngx_smtp_envelope_t *e);


#endif /* _NGX_SMTP_CONTROL_PRIVATE_H_INCLUDED_ */
