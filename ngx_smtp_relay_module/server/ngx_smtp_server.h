
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The receiving side: one SMTP session on one client connection, from the
 * greeting to QUIT, and what an operator sets for it.  It fills transactions
 * and drives the sink of its server{} block (core/ngx_smtp_transaction.h).
 *
 * ngx_smtp_session.c    connection, buffers, timers, STARTTLS, closing
 * ngx_smtp_command_*.c  one verb each, or a few that belong together
 * ngx_smtp_check.c      the checks of each stage
 */


#ifndef _NGX_SMTP_SERVER_H_INCLUDED_
#define _NGX_SMTP_SERVER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_login.h"
#include "ngx_smtp_transaction.h"


#define NGX_SMTP_STARTTLS_OFF       0
#define NGX_SMTP_STARTTLS_ON        1
#define NGX_SMTP_STARTTLS_REQUIRED  2

#define NGX_SMTP_BARE_REJECT        0
#define NGX_SMTP_BARE_NORMALIZE     1


typedef struct ngx_smtp_session_s  ngx_smtp_session_t;


/* what is set for a server{} block; create and merge are in module/ */
typedef struct {
    ngx_str_t                    hostname;
    ngx_str_t                    name;        /* of the block, for storing */

    ngx_uint_t                   starttls;    /* NGX_SMTP_STARTTLS_* */
    ngx_uint_t                   auth;        /* mechanisms, a bit mask */
    ngx_flag_t                   auth_plaintext;
    ngx_uint_t                   bare_newline;    /* NGX_SMTP_BARE_* */

    off_t                        max_message_size;    /* 0: no limit */
    ngx_uint_t                   max_recipients;
    ngx_uint_t                   max_errors;
    ngx_uint_t                   max_idle_commands;
    ngx_uint_t                   max_hops;
    size_t                       max_line_size;

    ngx_msec_t                   client_timeout;  /* for a command */
    ngx_msec_t                   data_timeout;    /* between reads of data */
    ngx_msec_t                   send_timeout;
    size_t                       min_data_rate;   /* bytes a second */

    ngx_smtp_login_conf_t       *login;       /* NULL: no smtp_accounts */
    ngx_uint_t                   keep_password;   /* the sink asks for it */

    ngx_array_t                 *trust;       /* of ngx_cidr_t */
    ngx_array_t                 *trust_values;    /* complex values */
    ngx_array_t                 *xclient;     /* of ngx_cidr_t */
    ngx_hash_combined_t         *domains;
    ngx_array_t                 *domains_values;
    ngx_flag_t                   trust_open;
    ngx_flag_t                   domains_open;
    ngx_flag_t                   xclient_open;

    ngx_smtp_sink_t             *sink;
    void                        *sink_conf;
    ngx_smtp_verifier_t         *verifier;    /* NULL: none */
    void                        *verifier_conf;

    ngx_smtp_transaction_pt      log_handler;     /* NULL: no smtp_log */
    void                        *logs;            /* the module's */

    u_char                      *file;        /* where the sink was named */
    ngx_uint_t                   line;
} ngx_smtp_srv_conf_t;


/*
 * The content handler of a server{} block with a sink: starts a session, or
 * goes on with it after STARTTLS.  May finalize the stream session.
 */
void ngx_smtp_server_handler(ngx_stream_session_t *s);

/*
 * The session's facts for variables and logs; NULL when the stream session is
 * not (yet) an SMTP session.
 */
ngx_smtp_session_t *ngx_smtp_session_get(ngx_stream_session_t *s);


#endif /* _NGX_SMTP_SERVER_H_INCLUDED_ */
