
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Stored passwords: crypt(3) strings ($2a$ $2b$ $2y$ bcrypt, $5$ and $6$
 * SHA-2, $y$ yescrypt) and SCRAM-SHA-256 verifiers as PostgreSQL stores them
 * (SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>, RFC 5803).  DES
 * and MD5 are refused.  Pure computation, thread-safe, milliseconds long: to
 * be called in a thread.  All intermediate secrets are zeroed here.
 */


#ifndef _NGX_SMTP_PASSWORD_H_INCLUDED_
#define _NGX_SMTP_PASSWORD_H_INCLUDED_


#include "ngx_smtp_pure.h"


#define NGX_SMTP_PASSWORD_NONE       0      /* not a verifier we take */
#define NGX_SMTP_PASSWORD_BCRYPT     1
#define NGX_SMTP_PASSWORD_SHA256     2
#define NGX_SMTP_PASSWORD_SHA512     3
#define NGX_SMTP_PASSWORD_YESCRYPT   4
#define NGX_SMTP_PASSWORD_SCRAM      5

/* the longest verifier taken, and the room a dummy needs */
#define NGX_SMTP_PASSWORD_MAX        512

/* a bound on what a record of the store can cost */
#define NGX_SMTP_PASSWORD_MAX_BCRYPT_COST   15
#define NGX_SMTP_PASSWORD_MAX_SHA_ROUNDS    5000000
#define NGX_SMTP_PASSWORD_MAX_SCRAM_ITER    1000000


/*
 * The scheme of a verifier, NGX_SMTP_PASSWORD_NONE if its form, scheme or cost
 * is not taken.
 */
ngx_uint_t ngx_smtp_password_scheme(ngx_str_t *verifier);

/*
 * Whether password is the one of verifier.  NGX_OK: it is; NGX_DECLINED: it is
 * not; NGX_ERROR: the verifier is not one we take, or the library failed.
 */
ngx_int_t ngx_smtp_password_verify(ngx_str_t *verifier, ngx_str_t *password);

/*
 * A verifier that costs as much as the given one and that no password matches:
 * same scheme, cost and length of salt.  Written to buf
 * (NGX_SMTP_PASSWORD_MAX bytes), *dummy points there.  A verifier not taken
 * (or NULL) gives the dummy of $6$ with default rounds.
 */
void ngx_smtp_password_dummy(ngx_str_t *verifier, u_char *buf,
    ngx_str_t *dummy);

/*
 * Whether two verifiers cost the same: 1 if scheme and cost are equal.
 */
ngx_uint_t ngx_smtp_password_same_cost(ngx_str_t *a, ngx_str_t *b);


#endif /* _NGX_SMTP_PASSWORD_H_INCLUDED_ */
