
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The arguments of MAIL and RCPT: path and ESMTP parameters (RFC 5321 section
 * 4.1.1.11): SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), AUTH (RFC
 * 4954), REQUIRETLS (RFC 8689), RET, ENVID, NOTIFY, ORCPT (RFC 3461).  Strings
 * that come out are slices of the command line: whoever keeps them copies.
 */


#ifndef _NGX_SMTP_PARAM_H_INCLUDED_
#define _NGX_SMTP_PARAM_H_INCLUDED_


#include "ngx_smtp_pure.h"
#include "ngx_smtp_address.h"
#include "ngx_smtp_envelope.h"
#include "ngx_smtp_reply.h"


/* RFC 3461 sections 4.2 and 4.4 */
#define NGX_SMTP_ENVID_MAX         100
#define NGX_SMTP_ORCPT_MAX         500

/* flags of ngx_smtp_mail_parse() */
#define NGX_SMTP_MAIL_REQUIRETLS   0x01   /* REQUIRETLS is offered */


/*
 * Parses all of arg, the argument of MAIL: "FROM:<path>[ parameters]".  One or
 * more spaces between ":" and "<" are accepted: common clients send them.
 *
 * NGX_OK: *path is the reverse-path (path->null for <>); of env the fields
 * size, body, ret, envid, smtputf8 and requiretls are set (zeroed first), the
 * others are not touched: the caller copies path->mailbox to env->sender.
 * env->envid is a slice of arg.
 *
 * Else the id of the reply: NGX_SMTP_REPLY_SYNTAX, _BAD_SENDER, _SENDER_UTF8,
 * _BAD_PARAM (empty, malformed, doubled), _UNKNOWN_PARAM (also BODY=BINARYMIME
 * and, if not offered, REQUIRETLS), _TOO_LARGE (a SIZE that off_t does not
 * hold).  The limit on SIZE is the caller's.  *bad, if not NULL, is set to the
 * parameter or path at fault, or to an empty string: use it as detail of the
 * reply or in the log only sanitized.
 */
ngx_int_t ngx_smtp_mail_parse(ngx_str_t *arg, ngx_uint_t flags,
    ngx_smtp_path_t *path, ngx_smtp_envelope_t *env, ngx_str_t *bad);

/*
 * Parses all of arg, the argument of RCPT: "TO:<path>[ parameters]".  flags:
 * NGX_SMTP_PATH_UTF8 if the transaction has SMTPUTF8, NGX_SMTP_PATH_POSTMASTER
 * if <postmaster> alone is good.
 *
 * NGX_OK: *path is the forward-path; rcpt->notify and rcpt->orcpt (a slice of
 * arg) are set, its other fields are not touched.  Else as above with
 * NGX_SMTP_REPLY_BAD_RCPT and _RCPT_UTF8.
 */
ngx_int_t ngx_smtp_rcpt_parse(ngx_str_t *arg, ngx_uint_t flags,
    ngx_smtp_path_t *path, ngx_smtp_rcpt_t *rcpt, ngx_str_t *bad);


/* 1 if all of s is xtext (RFC 3461 section 4), "+" followed by two hex digits
 * in upper case included; an empty string is. */
ngx_uint_t ngx_smtp_xtext_valid(ngx_str_t *s);

/*
 * 1 if s is an ORCPT of type utf-8 with octets of UTF-8 (utf-8-addr-unitext,
 * RFC 6533 section 3), which may be in a transaction with SMTPUTF8 only.
 */
ngx_uint_t ngx_smtp_orcpt_utf8(ngx_str_t *s);

/*
 * Encodes UTF-8 as utf-8-addr-xtext (RFC 6533 section 3): what is not ASCII
 * becomes \x{HEX}; if src is a literal address, without encoding, so do the
 * characters that would be taken for one.  dst must hold 6 * src->len octets.
 * Returns the position behind the last octet, NULL if src is not UTF-8.
 */
u_char *ngx_smtp_utf8_xtext_encode(u_char *dst, ngx_str_t *src,
    ngx_uint_t literal);

/*
 * Decodes xtext to dst, which must hold src->len octets and may be src->data.
 * Returns the length, or NGX_ERROR if src is not xtext.
 */
ssize_t ngx_smtp_xtext_decode(u_char *dst, ngx_str_t *src);

/*
 * Encodes src as xtext to dst, which must hold 3 * src->len octets; returns
 * the position behind the last octet written.
 */
u_char *ngx_smtp_xtext_encode(u_char *dst, ngx_str_t *src);


#endif /* _NGX_SMTP_PARAM_H_INCLUDED_ */
