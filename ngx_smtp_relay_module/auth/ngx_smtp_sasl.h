
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The server side of SASL PLAIN (RFC 4616) and of LOGIN as SMTP carries them
 * (RFC 4954): what the client sends line by line goes in, a challenge or the
 * decoded login and password come out.  No I/O; the exchange holds its own
 * buffer with the secrets, which the caller wipes.
 *
 *   start(PLAIN) --------> want response -----> done
 *   start(PLAIN, ir) --------------------------> done
 *   start(LOGIN) --------> want login --+-----> want password --> done
 *   start(LOGIN, ir) -------------------+
 */


#ifndef _NGX_SMTP_SASL_H_INCLUDED_
#define _NGX_SMTP_SASL_H_INCLUDED_


#include "ngx_smtp_pure.h"


/* bits of the directive smtp_auth */
#define NGX_SMTP_SASL_PLAIN         0x0002
#define NGX_SMTP_SASL_LOGIN         0x0004

#define NGX_SMTP_SASL_MAX_LINE      12288   /* RFC 4954 section 4 */
#define NGX_SMTP_SASL_MAX_LOGIN     255
#define NGX_SMTP_SASL_MAX_PASSWORD  1024

/* how an exchange fails, besides NGX_DECLINED: codes of start() and step() */
#define NGX_SMTP_SASL_MALFORMED     20      /* 501 5.5.2 */
#define NGX_SMTP_SASL_TOO_LONG      21      /* 500 5.5.6 */
#define NGX_SMTP_SASL_REFUSED       22      /* 535 5.7.8, without a look-up */


typedef struct {
    ngx_str_t    name;              /* upper case */
    ngx_uint_t   mask;
} ngx_smtp_sasl_mechanism_t;


typedef struct {
    ngx_uint_t   mechanism;         /* NGX_SMTP_SASL_PLAIN or _LOGIN */
    ngx_uint_t   state;
    ngx_str_t    challenge;         /* base64; what follows "334 " */
    ngx_str_t    login;             /* as sent, in buf */
    ngx_str_t    password;          /* in buf */
    const char  *reason;            /* of a failure, for the log */

    /* authorization identity, login, password and two NULs */
    u_char       buf[2 * NGX_SMTP_SASL_MAX_LOGIN
                     + NGX_SMTP_SASL_MAX_PASSWORD + 2];
} ngx_smtp_sasl_t;


/* in the order of the EHLO line; the last one has an empty name */
extern ngx_smtp_sasl_mechanism_t  ngx_smtp_sasl_mechanisms[];


/*
 * The bit of a mechanism named by a client in any case, 0 if unknown.  Whether
 * it is enabled is the caller's to check: 504 5.5.4 in both cases.
 */
ngx_uint_t ngx_smtp_sasl_mechanism(ngx_str_t *name);

/*
 * Starts an exchange.  initial is the initial response as in the AUTH command
 * ("=" stands for an empty one), NULL if there was none.  Returns
 *
 *   NGX_AGAIN     send "334 " + challenge and give the next line to step()
 *   NGX_OK        login and password are set; both are not empty, have no NUL,
 *                 and are at most MAX_LOGIN and MAX_PASSWORD bytes
 *   NGX_SMTP_SASL_MALFORMED, _TOO_LONG, _REFUSED
 *                 the exchange is over, reason says why
 *
 * An unknown mechanism is _MALFORMED.  The struct needs no initialization.
 */
ngx_int_t ngx_smtp_sasl_start(ngx_smtp_sasl_t *sasl, ngx_uint_t mechanism,
    ngx_str_t *initial);

/*
 * The next line of the client without its line end.  Returns what start()
 * returns, or NGX_DECLINED when the client canceled with "*" (501 5.7.0).
 * After anything but NGX_AGAIN the exchange is over.
 */
ngx_int_t ngx_smtp_sasl_step(ngx_smtp_sasl_t *sasl, ngx_str_t *line);

/* Zeroes all that the exchange knows; call it in every case, may be twice. */
void ngx_smtp_sasl_wipe(ngx_smtp_sasl_t *sasl);


#endif /* _NGX_SMTP_SASL_H_INCLUDED_ */
