
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Commands of a client: the verb table, arguments that are not addresses, and
 * the session rules.  Slices of the caller's line, nothing is allocated.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_command.h"


#define NGX_SMTP_AUTH_MECH_MAX    20     /* RFC 4422 section 3.1 */
#define NGX_SMTP_HELO_MAX         255

/* the argument of a verb */
#define NGX_SMTP_ARG_NONE         0
#define NGX_SMTP_ARG_OPTIONAL     1
#define NGX_SMTP_ARG_REQUIRED     2

/* when a verb is allowed */
#define NGX_SMTP_RULE_PLAIN       0x01   /* before a required STARTTLS */
#define NGX_SMTP_RULE_HELO        0x02   /* needs HELO or EHLO */
#define NGX_SMTP_RULE_EHLO        0x04   /* needs EHLO */
#define NGX_SMTP_RULE_FAILED      0x08   /* behind a refused BDAT chunk */
#define NGX_SMTP_RULE_IDLE        0x10   /* not in a transaction */
#define NGX_SMTP_RULE_MAIL        0x20   /* in a transaction only */
#define NGX_SMTP_RULE_NOT_BDAT    0x40   /* not behind a BDAT chunk */


typedef struct {
    ngx_str_t           name;
    ngx_uint_t          arg;         /* NGX_SMTP_ARG_* */
    ngx_uint_t          rules;       /* NGX_SMTP_RULE_* */
} ngx_smtp_verb_t;


static ngx_uint_t ngx_smtp_verb_find(ngx_str_t *name);
static ngx_int_t ngx_smtp_rules_verb(ngx_smtp_rules_t *r, ngx_uint_t verb);
static ngx_uint_t ngx_smtp_is_space(u_char ch);


/* in the order of ngx_smtp_verb_e */

static const ngx_smtp_verb_t  ngx_smtp_verbs[] = {

    { ngx_string("unknown"), NGX_SMTP_ARG_OPTIONAL, 0 },

    { ngx_string("EHLO"), NGX_SMTP_ARG_REQUIRED,
      NGX_SMTP_RULE_PLAIN|NGX_SMTP_RULE_FAILED },

    { ngx_string("HELO"), NGX_SMTP_ARG_REQUIRED,
      NGX_SMTP_RULE_PLAIN|NGX_SMTP_RULE_FAILED },

    { ngx_string("MAIL"), NGX_SMTP_ARG_REQUIRED, NGX_SMTP_RULE_HELO },

    { ngx_string("RCPT"), NGX_SMTP_ARG_REQUIRED,
      NGX_SMTP_RULE_HELO|NGX_SMTP_RULE_MAIL|NGX_SMTP_RULE_NOT_BDAT },

    { ngx_string("DATA"), NGX_SMTP_ARG_NONE,
      NGX_SMTP_RULE_HELO|NGX_SMTP_RULE_MAIL|NGX_SMTP_RULE_NOT_BDAT },

    { ngx_string("BDAT"), NGX_SMTP_ARG_REQUIRED,
      NGX_SMTP_RULE_HELO|NGX_SMTP_RULE_EHLO|NGX_SMTP_RULE_MAIL },

    { ngx_string("RSET"), NGX_SMTP_ARG_NONE, NGX_SMTP_RULE_FAILED },

    { ngx_string("NOOP"), NGX_SMTP_ARG_OPTIONAL,
      NGX_SMTP_RULE_PLAIN|NGX_SMTP_RULE_FAILED },

    { ngx_string("VRFY"), NGX_SMTP_ARG_REQUIRED, NGX_SMTP_RULE_FAILED },

    { ngx_string("EXPN"), NGX_SMTP_ARG_REQUIRED, NGX_SMTP_RULE_FAILED },

    { ngx_string("HELP"), NGX_SMTP_ARG_OPTIONAL, NGX_SMTP_RULE_FAILED },

    { ngx_string("QUIT"), NGX_SMTP_ARG_NONE,
      NGX_SMTP_RULE_PLAIN|NGX_SMTP_RULE_FAILED },

    { ngx_string("STARTTLS"), NGX_SMTP_ARG_NONE,
      NGX_SMTP_RULE_PLAIN|NGX_SMTP_RULE_HELO|NGX_SMTP_RULE_EHLO
      |NGX_SMTP_RULE_IDLE },

    { ngx_string("AUTH"), NGX_SMTP_ARG_REQUIRED,
      NGX_SMTP_RULE_HELO|NGX_SMTP_RULE_EHLO|NGX_SMTP_RULE_IDLE },

    { ngx_string("XCLIENT"), NGX_SMTP_ARG_REQUIRED, NGX_SMTP_RULE_IDLE }
};


ngx_int_t
ngx_smtp_command_parse(ngx_str_t *line, ngx_smtp_command_t *cmd)
{
    u_char  *p, *last;

    p = line->data;
    last = p + line->len;

    while (last > p && ngx_smtp_is_space(last[-1])) {
        last--;
    }

    cmd->name.data = p;

    while (p < last && !ngx_smtp_is_space(*p)) {
        p++;
    }

    cmd->name.len = p - cmd->name.data;

    while (p < last && ngx_smtp_is_space(*p)) {
        p++;
    }

    cmd->arg.data = p;
    cmd->arg.len = last - p;

    cmd->verb = ngx_smtp_verb_find(&cmd->name);

    if (cmd->verb == NGX_SMTP_VERB_UNKNOWN) {
        return NGX_SMTP_REPLY_UNKNOWN;
    }

    switch (ngx_smtp_verbs[cmd->verb].arg) {

    case NGX_SMTP_ARG_NONE:
        return cmd->arg.len ? NGX_SMTP_REPLY_ARG_FORBIDDEN : NGX_OK;

    case NGX_SMTP_ARG_REQUIRED:
        return cmd->arg.len ? NGX_OK : NGX_SMTP_REPLY_ARG_MISSING;

    default: /* NGX_SMTP_ARG_OPTIONAL */
        return NGX_OK;
    }
}


static ngx_uint_t
ngx_smtp_verb_find(ngx_str_t *name)
{
    u_char                  ch;
    ngx_uint_t              i;
    const ngx_smtp_verb_t  *v;

    if (name->len == 0) {
        return NGX_SMTP_VERB_UNKNOWN;
    }

    ch = ngx_toupper(name->data[0]);

    for (i = NGX_SMTP_VERB_UNKNOWN + 1; i < NGX_SMTP_VERB_LAST; i++) {
        v = &ngx_smtp_verbs[i];

        if (v->name.data[0] == ch
            && v->name.len == name->len
            && ngx_strncasecmp(v->name.data, name->data, name->len) == 0)
        {
            return i;
        }
    }

    return NGX_SMTP_VERB_UNKNOWN;
}


const ngx_str_t *
ngx_smtp_verb_name(ngx_uint_t verb)
{
    if (verb >= NGX_SMTP_VERB_LAST) {
        verb = NGX_SMTP_VERB_UNKNOWN;
    }

    return &ngx_smtp_verbs[verb].name;
}


ngx_int_t
ngx_smtp_helo_check(ngx_str_t *arg)
{
    u_char  ch, *p, *last;

    if (arg->len == 0 || arg->len > NGX_SMTP_HELO_MAX) {
        return NGX_SMTP_REPLY_BAD_HELO;
    }

    p = arg->data;
    last = p + arg->len;

    if (*p == '[') {
        p++;

        if (last - p < 2 || *--last != ']') {
            return NGX_SMTP_REPLY_BAD_HELO;
        }

        for ( /* void */ ; p < last; p++) {
            ch = *p;

            if (ch <= 0x20 || ch >= 0x7f || ch == '[' || ch == ']'
                || ch == '\\')
            {
                return NGX_SMTP_REPLY_BAD_HELO;
            }
        }

        return NGX_OK;
    }

    for ( /* void */ ; p < last; p++) {
        ch = *p;

        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
            || (ch >= '0' && ch <= '9')
            || ch == '-' || ch == '_' || ch == '.' || ch == ':')
        {
            continue;
        }

        return NGX_SMTP_REPLY_BAD_HELO;
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_auth_parse(ngx_str_t *arg, ngx_str_t *mech, ngx_str_t *initial)
{
    u_char  ch, *p, *last;

    p = arg->data;
    last = p + arg->len;

    ngx_str_null(initial);

    mech->data = p;

    for ( /* void */ ; p < last && *p != ' '; p++) {
        ch = *p;

        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
            || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_')
        {
            continue;
        }

        return NGX_SMTP_REPLY_SYNTAX;
    }

    mech->len = p - mech->data;

    if (mech->len == 0 || mech->len > NGX_SMTP_AUTH_MECH_MAX) {
        return NGX_SMTP_REPLY_SYNTAX;
    }

    while (p < last && *p == ' ') {
        p++;
    }

    if (p == last) {
        return NGX_OK;
    }

    initial->data = p;
    initial->len = last - p;

    for ( /* void */ ; p < last; p++) {
        if (*p <= 0x20 || *p >= 0x7f) {
            return NGX_SMTP_REPLY_SYNTAX;
        }
    }

    if (initial->len == 1 && initial->data[0] == '=') {
        initial->len = 0;
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_bdat_parse(ngx_str_t *arg, off_t *size, ngx_uint_t *last_chunk)
{
    off_t       n;
    u_char     *p, *last;
    ngx_int_t   rc;

    p = arg->data;
    last = p + arg->len;

    n = 0;
    rc = NGX_OK;
    *size = 0;
    *last_chunk = 0;

    if (p == last || *p < '0' || *p > '9') {
        return NGX_SMTP_REPLY_SYNTAX;
    }

    for ( /* void */ ; p < last && *p >= '0' && *p <= '9'; p++) {

        if (n > (NGX_MAX_OFF_T_VALUE - (*p - '0')) / 10) {
            rc = NGX_SMTP_REPLY_TOO_LARGE;
            continue;
        }

        n = n * 10 + (*p - '0');
    }

    if (p < last) {
        if (*p != ' ') {
            return NGX_SMTP_REPLY_SYNTAX;
        }

        while (p < last && *p == ' ') {
            p++;
        }

        if (p < last) {
            if (last - p != 4
                || ngx_strncasecmp(p, (u_char *) "LAST", 4) != 0)
            {
                return NGX_SMTP_REPLY_SYNTAX;
            }

            *last_chunk = 1;
        }
    }

    if (rc == NGX_OK) {
        *size = n;
    }

    return rc;
}


ngx_int_t
ngx_smtp_rules_check(ngx_smtp_rules_t *r, ngx_uint_t verb)
{
    ngx_uint_t  rules;

    if (verb == NGX_SMTP_VERB_UNKNOWN || verb >= NGX_SMTP_VERB_LAST) {
        return NGX_SMTP_REPLY_UNKNOWN;
    }

    rules = ngx_smtp_verbs[verb].rules;

    if (r->need_starttls && !r->tls && !(rules & NGX_SMTP_RULE_PLAIN)) {
        return NGX_SMTP_REPLY_NEED_STARTTLS;
    }

    if ((verb == NGX_SMTP_VERB_EXPN)
        || (verb == NGX_SMTP_VERB_STARTTLS && !r->offer_starttls)
        || (verb == NGX_SMTP_VERB_AUTH && !r->offer_auth)
        || (verb == NGX_SMTP_VERB_XCLIENT && !r->offer_xclient))
    {
        return NGX_SMTP_REPLY_NOT_IMPLEMENTED;
    }

    if ((rules & NGX_SMTP_RULE_HELO) && !r->helo) {
        return NGX_SMTP_REPLY_NEED_HELO;
    }

    if ((rules & NGX_SMTP_RULE_EHLO) && !r->esmtp) {
        return NGX_SMTP_REPLY_BAD_SEQUENCE;
    }

    if (r->failed && !(rules & NGX_SMTP_RULE_FAILED)) {
        return NGX_SMTP_REPLY_BAD_SEQUENCE;
    }

    if ((rules & NGX_SMTP_RULE_MAIL) && !r->mail) {
        return NGX_SMTP_REPLY_NEED_MAIL;
    }

    if ((rules & NGX_SMTP_RULE_IDLE) && r->mail) {
        return NGX_SMTP_REPLY_BAD_SEQUENCE;
    }

    if ((rules & NGX_SMTP_RULE_NOT_BDAT) && r->bdat) {
        return NGX_SMTP_REPLY_BAD_SEQUENCE;
    }

    return ngx_smtp_rules_verb(r, verb);
}


/* what no other verb has */

static ngx_int_t
ngx_smtp_rules_verb(ngx_smtp_rules_t *r, ngx_uint_t verb)
{
    switch (verb) {

    case NGX_SMTP_VERB_MAIL:

        if (r->mail) {
            return NGX_SMTP_REPLY_NESTED_MAIL;
        }

        if (r->need_auth && !r->auth) {
            return NGX_SMTP_REPLY_NEED_AUTH;
        }

        break;

    case NGX_SMTP_VERB_DATA:
    case NGX_SMTP_VERB_BDAT:

        if (r->rcpts == 0) {
            return NGX_SMTP_REPLY_NO_RCPT;
        }

        break;

    case NGX_SMTP_VERB_STARTTLS:

        if (r->tls) {
            return NGX_SMTP_REPLY_TLS_ACTIVE;
        }

        /*
         * a login made in the clear is not carried over into TLS: RFC 3207
         * wipes it, and a client that does this has given its password away
         */

        break;

    case NGX_SMTP_VERB_AUTH:

        if (r->auth) {
            return NGX_SMTP_REPLY_AUTH_ACTIVE;
        }

        if (!r->tls && !r->plaintext_auth) {
            return NGX_SMTP_REPLY_AUTH_ENCRYPTION;
        }

        break;

    default:
        break;
    }

    return NGX_OK;
}


void
ngx_smtp_rules_accept(ngx_smtp_rules_t *r, ngx_uint_t verb)
{
    switch (verb) {

    case NGX_SMTP_VERB_EHLO:
    case NGX_SMTP_VERB_HELO:
        ngx_smtp_rules_reset(r);
        r->helo = 1;
        r->esmtp = (verb == NGX_SMTP_VERB_EHLO);
        break;

    case NGX_SMTP_VERB_MAIL:
        ngx_smtp_rules_reset(r);
        r->mail = 1;
        break;

    case NGX_SMTP_VERB_RCPT:
        r->rcpts++;
        break;

    case NGX_SMTP_VERB_BDAT:
        r->bdat = 1;
        break;

    case NGX_SMTP_VERB_RSET:
        ngx_smtp_rules_reset(r);
        break;

    case NGX_SMTP_VERB_AUTH:
        r->auth = 1;
        break;

    case NGX_SMTP_VERB_STARTTLS:
        ngx_smtp_rules_reset(r);
        r->helo = 0;
        r->esmtp = 0;
        r->auth = 0;
        r->tls = 1;
        break;

    case NGX_SMTP_VERB_XCLIENT:
        ngx_smtp_rules_reset(r);
        r->helo = 0;
        r->esmtp = 0;
        r->auth = 0;
        break;

    default:
        break;
    }
}


void
ngx_smtp_rules_bdat_failed(ngx_smtp_rules_t *r)
{
    r->failed = 1;
}


void
ngx_smtp_rules_reset(ngx_smtp_rules_t *r)
{
    r->rcpts = 0;
    r->mail = 0;
    r->bdat = 0;
    r->failed = 0;
}


static ngx_uint_t
ngx_smtp_is_space(u_char ch)
{
    return ch == ' ' || ch == '\t';
}
