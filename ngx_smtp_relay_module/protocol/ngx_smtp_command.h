
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Commands of a client (RFC 5321 section 4.1): the verb table, the split of a
 * line into verb and argument, the arguments of HELO, AUTH and BDAT, and the
 * session rules: which verb is allowed when.  The rules are a small struct
 * embedded in the session, changed only by the functions here, so that the
 * order of commands can be tested without a server.  All results are slices
 * of the line.  Arguments of MAIL and RCPT: ngx_smtp_param.h.
 */


#ifndef _NGX_SMTP_COMMAND_H_INCLUDED_
#define _NGX_SMTP_COMMAND_H_INCLUDED_


#include "ngx_smtp_pure.h"
#include "ngx_smtp_reply.h"


/* octets of a command line with CRLF: 512, and what extensions add to it */
#define NGX_SMTP_COMMAND_LINE_MAX  2048
#define NGX_SMTP_AUTH_LINE_MAX     12288


typedef enum {
    NGX_SMTP_VERB_UNKNOWN = 0,
    NGX_SMTP_VERB_EHLO,
    NGX_SMTP_VERB_HELO,
    NGX_SMTP_VERB_MAIL,
    NGX_SMTP_VERB_RCPT,
    NGX_SMTP_VERB_DATA,
    NGX_SMTP_VERB_BDAT,
    NGX_SMTP_VERB_RSET,
    NGX_SMTP_VERB_NOOP,
    NGX_SMTP_VERB_VRFY,
    NGX_SMTP_VERB_EXPN,
    NGX_SMTP_VERB_HELP,
    NGX_SMTP_VERB_QUIT,
    NGX_SMTP_VERB_STARTTLS,
    NGX_SMTP_VERB_AUTH,
    NGX_SMTP_VERB_XCLIENT,
    NGX_SMTP_VERB_LAST
} ngx_smtp_verb_e;


typedef struct {
    ngx_uint_t          verb;        /* ngx_smtp_verb_e */
    ngx_str_t           name;        /* as the client wrote it */
    ngx_str_t           arg;         /* without surrounding spaces */
} ngx_smtp_command_t;


typedef struct {
    ngx_uint_t          rcpts;       /* accepted in this transaction */

    /* what the server is, set by the caller before the first command */
    unsigned            offer_starttls:1;
    unsigned            need_starttls:1;   /* smtp_starttls required */
    unsigned            offer_auth:1;
    unsigned            plaintext_auth:1;  /* smtp_auth_plaintext on */
    unsigned            need_auth:1;       /* MAIL needs a login */
    unsigned            offer_xclient:1;

    /* what the session is */
    unsigned            helo:1;      /* HELO or EHLO was accepted */
    unsigned            esmtp:1;     /* it was EHLO */
    unsigned            tls:1;
    unsigned            auth:1;      /* logged in */
    unsigned            mail:1;      /* MAIL was accepted */
    unsigned            bdat:1;      /* a BDAT chunk was accepted */
    unsigned            failed:1;    /* a chunk was refused: wait for RSET */
} ngx_smtp_rules_t;


/*
 * Splits a line (without CRLF) into verb and argument and checks what holds
 * for every session: that an argument is there if the verb needs one, and not
 * if it must not have one.  Spaces and tabs around the argument are dropped.
 * Returns NGX_OK or a reply id; cmd is filled in both cases, cmd->verb is
 * NGX_SMTP_VERB_UNKNOWN for anything not in the table, whose reply is
 * NGX_SMTP_REPLY_UNKNOWN (the verb is then not echoed: it may be anything).
 * The order is rules first, syntax second: a caller that wants 503 before 501
 * calls ngx_smtp_rules_check(cmd->verb) before it looks at this result.
 */
ngx_int_t ngx_smtp_command_parse(ngx_str_t *line, ngx_smtp_command_t *cmd);

/* The name of a verb in upper case; "unknown" for others.  Static memory. */
const ngx_str_t *ngx_smtp_verb_name(ngx_uint_t verb);

/*
 * The argument of HELO or EHLO: a domain or an address literal, at most 255
 * octets.  Lenient, since clients send anything: letters, digits and "-_.:" in
 * any order, or any printable ASCII but spaces, brackets and backslash in [].
 * Never a control, a space or an octet >= 0x80.  NGX_OK or
 * NGX_SMTP_REPLY_BAD_HELO.
 */
ngx_int_t ngx_smtp_helo_check(ngx_str_t *arg);

/*
 * "AUTH mechanism [initial-response]" (RFC 4954 section 4).  *mech: 1 to 20
 * octets as written; *initial: data is NULL if there is none; "=" is an empty
 * response and comes as len 0 with data set.  NGX_OK or NGX_SMTP_REPLY_SYNTAX.
 */
ngx_int_t ngx_smtp_auth_parse(ngx_str_t *arg, ngx_str_t *mech,
    ngx_str_t *initial);

/*
 * "BDAT size [LAST]" (RFC 3030 section 2).  *size: octets that follow, *last:
 * 1 if it is the last chunk.  A size that off_t does not hold is
 * NGX_SMTP_REPLY_TOO_LARGE, anything else malformed NGX_SMTP_REPLY_SYNTAX: in
 * both cases nobody knows where the next command begins, so the server must
 * answer and close.
 */
ngx_int_t ngx_smtp_bdat_parse(ngx_str_t *arg, off_t *size, ngx_uint_t *last);


/*
 * Is the verb allowed now?  NGX_OK or the id of the refusing reply.  Nothing
 * is changed.  A refused BDAT (but not one with an unreadable size) has its
 * octets sent anyway (RFC 3030 section 2): they are read and dropped before
 * the reply.
 */
ngx_int_t ngx_smtp_rules_check(ngx_smtp_rules_t *r, ngx_uint_t verb);

/*
 * The verb was carried out with a positive reply: HELO, EHLO, MAIL, RCPT (one
 * more recipient), RSET, AUTH (235), STARTTLS (call after the handshake; the
 * session is wiped and tls set, RFC 3207 section 4.2), BDAT (a chunk that was
 * not the last).  Other verbs change nothing.  DATA and BDAT LAST end with
 * ngx_smtp_rules_reset() when the final reply is known, whatever it is.
 */
void ngx_smtp_rules_accept(ngx_smtp_rules_t *r, ngx_uint_t verb);

/*
 * A BDAT chunk that was not the last was refused: nothing but RSET, EHLO,
 * HELO, QUIT, NOOP, HELP and VRFY is allowed until RSET or EHLO (RFC 3030
 * section 2).
 */
void ngx_smtp_rules_bdat_failed(ngx_smtp_rules_t *r);

/* The transaction is over: forgets MAIL, RCPT and BDAT. */
void ngx_smtp_rules_reset(ngx_smtp_rules_t *r);


#endif /* _NGX_SMTP_COMMAND_H_INCLUDED_ */
