
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * An account: what Redis or the accounts file knows of a login
 * (docs/redis.md).  Parsing and matching only.  Strings of a parsed account
 * are copies in the pool that was given.
 */


#ifndef _NGX_SMTP_ACCOUNT_H_INCLUDED_
#define _NGX_SMTP_ACCOUNT_H_INCLUDED_


#include "ngx_smtp_pure.h"


#define NGX_SMTP_ACCOUNT_MAX_LOGIN     255
#define NGX_SMTP_ACCOUNT_MAX_VERIFIER  512
#define NGX_SMTP_ACCOUNT_MAX_SENDERS   1000


typedef struct {
    ngx_str_t      login;           /* normalized */
    ngx_str_t      verifier;        /* stored password; empty: none */
    ngx_array_t    senders;         /* of ngx_str_t: address or @domain */
    unsigned       enabled:1;
    unsigned       has_enabled:1;   /* the line of the file has the option */
    unsigned       has_senders:1;   /* the record has the field, even empty */
} ngx_smtp_account_t;


/*
 * Normalizes a login in place: ASCII letters become lower case.  NGX_OK, or
 * NGX_DECLINED if it is empty, longer than 255 bytes, or has a control
 * character (0-31, 127).
 */
ngx_int_t ngx_smtp_account_normalize(ngx_str_t *login);

/*
 * Starts an empty enabled account for a normalized login; NGX_ERROR without
 * memory.
 */
ngx_int_t ngx_smtp_account_init(ngx_smtp_account_t *a, ngx_str_t *login,
    ngx_pool_t *pool);

/*
 * Takes one field of a record, as from a Redis hash: password, enabled,
 * senders; others are ignored.  "enabled" is yes only for "1".  senders are
 * separated by blanks, line ends or commas.  NGX_OK; NGX_DECLINED and *reason
 * if the value cannot be; NGX_ERROR without memory.
 */
ngx_int_t ngx_smtp_account_set(ngx_smtp_account_t *a, ngx_str_t *name,
    ngx_str_t *value, ngx_pool_t *pool, const char **reason);

/*
 * One line of the accounts file, without line end (a CR before it is
 * dropped):
 *
 *   login verifier [enabled=0|1] [senders=address,@domain,...]
 *
 * separated by blanks or tabs, each option once; a line that is blank or
 * starts with "#" has no account.  NGX_OK and a filled account; NGX_DONE:
 * nothing on this line; NGX_DECLINED and *reason; NGX_ERROR without memory.
 * Whether the verifier is of a known scheme is checked by the caller.
 */
ngx_int_t ngx_smtp_account_parse_line(ngx_smtp_account_t *a, ngx_str_t *line,
    ngx_pool_t *pool, const char **reason);

/*
 * Whether the account may send as the address (local@domain): 1 if it or its
 * @domain is among the senders, compared without ASCII case.
 */
ngx_uint_t ngx_smtp_account_may_send(ngx_smtp_account_t *a,
    ngx_str_t *address);

/*
 * A copy of an account without its verifier, for a session that outlives the
 * login; NULL without memory.
 */
ngx_smtp_account_t *ngx_smtp_account_copy(ngx_smtp_account_t *a,
    ngx_pool_t *pool);


#endif /* _NGX_SMTP_ACCOUNT_H_INCLUDED_ */
