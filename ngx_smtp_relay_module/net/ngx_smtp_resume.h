
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * TLS sessions of outbound connections, kept to be resumed: a small table of a
 * worker and a TLS context.  A session stands for what was verified when it
 * was made, so it is found only under an id that says all of it: address,
 * verified name, client certificate.  What differs in protocols, ciphers or
 * trusted certificates is another context, and has a table of its own.
 *
 * The table is made when the configuration is read; each worker then has its
 * own copy of it.  When it is full the session not used for longest goes.
 */


#ifndef _NGX_SMTP_RESUME_H_INCLUDED_
#define _NGX_SMTP_RESUME_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>


#define NGX_SMTP_RESUME_ID    32
#define NGX_SMTP_RESUME_SIZE  64


typedef struct ngx_smtp_resume_s  ngx_smtp_resume_t;


/* An empty table, in pool; its sessions go with the pool.  NULL: no memory. */
ngx_smtp_resume_t *ngx_smtp_resume_create(ngx_pool_t *pool);

/*
 * The id of n strings; id has NGX_SMTP_RESUME_ID octets.  Other strings, or
 * the same ones divided otherwise, have another id.
 */
void ngx_smtp_resume_id(u_char *id, ngx_str_t *parts, ngx_uint_t n);

/* The session of an id, still the table's; NULL: none. */
ngx_ssl_session_t *ngx_smtp_resume_get(ngx_smtp_resume_t *table, u_char *id);

/* Keeps a session, which is the table's then, in place of an older one. */
void ngx_smtp_resume_put(ngx_smtp_resume_t *table, u_char *id,
    ngx_ssl_session_t *session);

/* Forgets the session of an id. */
void ngx_smtp_resume_drop(ngx_smtp_resume_t *table, u_char *id);


#endif /* _NGX_SMTP_RESUME_H_INCLUDED_ */
