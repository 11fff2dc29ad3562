
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The argument of XCLIENT, by which a filter in front of us tells who its
 * client is (the Postfix XCLIENT_README): attributes "NAME=value" separated by
 * spaces, values in xtext.  Nothing is guessed: an attribute that is unknown,
 * named twice, empty or malformed refuses the command.
 */


#ifndef _NGX_SMTP_XCLIENT_H_INCLUDED_
#define _NGX_SMTP_XCLIENT_H_INCLUDED_


#include "ngx_smtp_pure.h"
#include "ngx_smtp_response.h"


typedef struct {
    ngx_uint_t          named;       /* NGX_SMTP_CAP_XCLIENT_* */
    ngx_uint_t          known;       /* of them; the others are
                                        [UNAVAILABLE] or [TEMPUNAVAIL] */

    /* valid if known; slices of the argument */
    ngx_str_t           name;        /* a name as in EHLO */
    ngx_str_t           helo;        /* as in EHLO */
    ngx_str_t           login;       /* any octets, not empty */
    ngx_str_t           addr;        /* without "IPV6:"; to be parsed still */
    ngx_str_t           destaddr;
    ngx_uint_t          port;        /* 1..65535 */
    ngx_uint_t          destport;

    unsigned            addr6:1;     /* it was behind "IPV6:" */
    unsigned            destaddr6:1;
    unsigned            esmtp:1;     /* PROTO */
} ngx_smtp_xclient_t;


/*
 * Parses arg, and decodes its values in place.  NGX_OK, or the id of the reply
 * that refuses (NGX_SMTP_REPLY_BAD_PARAM); *bad is the name of the attribute
 * then, with octets as they came.
 */
ngx_int_t ngx_smtp_xclient_parse(ngx_str_t *arg, ngx_smtp_xclient_t *x,
    ngx_str_t *bad);


#endif /* _NGX_SMTP_XCLIENT_H_INCLUDED_ */
