
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Arguments of MAIL and RCPT.  A parameter is a row of a table: its name, and
 * what takes its value.  Slices of the command line, nothing is allocated.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_param.h"


#define NGX_SMTP_SIZE_DIGITS_MAX  20     /* RFC 1870 section 4 */


typedef struct {
    ngx_uint_t              flags;
    ngx_smtp_envelope_t    *env;         /* MAIL */
    ngx_smtp_rcpt_t        *rcpt;        /* RCPT */
} ngx_smtp_param_ctx_t;


/* value->data is NULL if there was no "="; NGX_OK or a reply id */
typedef ngx_int_t (*ngx_smtp_param_pt)(ngx_smtp_param_ctx_t *ctx,
    ngx_str_t *value);


typedef struct {
    ngx_str_t               name;
    ngx_smtp_param_pt       handler;
} ngx_smtp_param_t;


static ngx_int_t ngx_smtp_param_path(ngx_str_t *arg, ngx_str_t *prefix,
    u_char **pos, ngx_uint_t flags, ngx_smtp_path_t *path, ngx_int_t *code,
    ngx_str_t *bad);
static ngx_int_t ngx_smtp_params(u_char *p, u_char *last,
    const ngx_smtp_param_t *table, ngx_smtp_param_ctx_t *ctx, ngx_str_t *bad);
static ngx_int_t ngx_smtp_param_one(ngx_str_t *param,
    const ngx_smtp_param_t *table, ngx_smtp_param_ctx_t *ctx,
    ngx_uint_t *seen);
static ngx_int_t ngx_smtp_param_size(ngx_smtp_param_ctx_t *ctx,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_param_body(ngx_smtp_param_ctx_t *ctx,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_param_smtputf8(ngx_smtp_param_ctx_t *ctx,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_param_ret(ngx_smtp_param_ctx_t *ctx,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_param_envid(ngx_smtp_param_ctx_t *ctx,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_param_auth(ngx_smtp_param_ctx_t *ctx,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_param_requiretls(ngx_smtp_param_ctx_t *ctx,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_param_notify(ngx_smtp_param_ctx_t *ctx,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_param_orcpt(ngx_smtp_param_ctx_t *ctx,
    ngx_str_t *value);
static ngx_uint_t ngx_smtp_param_is(ngx_str_t *value, const char *name);
static ngx_int_t ngx_smtp_xtext_hex(u_char ch);


static const ngx_smtp_param_t  ngx_smtp_mail_params[] = {
    { ngx_string("SIZE"), ngx_smtp_param_size },
    { ngx_string("BODY"), ngx_smtp_param_body },
    { ngx_string("SMTPUTF8"), ngx_smtp_param_smtputf8 },
    { ngx_string("RET"), ngx_smtp_param_ret },
    { ngx_string("ENVID"), ngx_smtp_param_envid },
    { ngx_string("AUTH"), ngx_smtp_param_auth },
    { ngx_string("REQUIRETLS"), ngx_smtp_param_requiretls },
    { ngx_null_string, NULL }
};


static const ngx_smtp_param_t  ngx_smtp_rcpt_params[] = {
    { ngx_string("NOTIFY"), ngx_smtp_param_notify },
    { ngx_string("ORCPT"), ngx_smtp_param_orcpt },
    { ngx_null_string, NULL }
};


ngx_int_t
ngx_smtp_mail_parse(ngx_str_t *arg, ngx_uint_t flags, ngx_smtp_path_t *path,
    ngx_smtp_envelope_t *env, ngx_str_t *bad)
{
    u_char                *p;
    ngx_int_t              rc, code;
    ngx_str_t              unused;
    ngx_smtp_param_ctx_t   ctx;

    static ngx_str_t  from = ngx_string("FROM:");

    bad = bad ? bad : &unused;
    ngx_str_null(bad);

    env->size = 0;
    env->body = NGX_SMTP_BODY_UNSET;
    env->ret = NGX_SMTP_RET_UNSET;
    env->smtputf8 = 0;
    env->requiretls = 0;
    ngx_str_null(&env->envid);

    /* whether UTF-8 is allowed is told by a parameter behind the path */

    rc = ngx_smtp_param_path(arg, &from, &p,
                             NGX_SMTP_PATH_NULL|NGX_SMTP_PATH_UTF8, path,
                             &code, bad);
    if (rc != NGX_OK) {
        return code ? NGX_SMTP_REPLY_BAD_SENDER : rc;
    }

    ctx.flags = flags;
    ctx.env = env;
    ctx.rcpt = NULL;

    rc = ngx_smtp_params(p, arg->data + arg->len, ngx_smtp_mail_params, &ctx,
                         bad);
    if (rc != NGX_OK) {
        return rc;
    }

    if (path->utf8 && !env->smtputf8) {
        *bad = path->mailbox;
        return NGX_SMTP_REPLY_SENDER_UTF8;
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_rcpt_parse(ngx_str_t *arg, ngx_uint_t flags, ngx_smtp_path_t *path,
    ngx_smtp_rcpt_t *rcpt, ngx_str_t *bad)
{
    u_char                *p;
    ngx_int_t              rc, code;
    ngx_str_t              unused;
    ngx_smtp_param_ctx_t   ctx;

    static ngx_str_t  to = ngx_string("TO:");

    bad = bad ? bad : &unused;
    ngx_str_null(bad);

    rcpt->notify = 0;
    ngx_str_null(&rcpt->orcpt);

    flags &= NGX_SMTP_PATH_UTF8|NGX_SMTP_PATH_POSTMASTER;

    rc = ngx_smtp_param_path(arg, &to, &p, flags, path, &code, bad);

    if (rc != NGX_OK) {

        if (code == NGX_SMTP_PATH_E_NEED_UTF8) {
            return NGX_SMTP_REPLY_RCPT_UTF8;
        }

        return code ? NGX_SMTP_REPLY_BAD_RCPT : rc;
    }

    ctx.flags = flags;
    ctx.env = NULL;
    ctx.rcpt = rcpt;

    return ngx_smtp_params(p, arg->data + arg->len, ngx_smtp_rcpt_params, &ctx,
                           bad);
}


/*
 * "FROM:" or "TO:", and the path.  On failure *code is the NGX_SMTP_PATH_E_*
 * of a bad path, or 0 if there is none to be judged.
 */

static ngx_int_t
ngx_smtp_param_path(ngx_str_t *arg, ngx_str_t *prefix, u_char **pos,
    ngx_uint_t flags, ngx_smtp_path_t *path, ngx_int_t *code, ngx_str_t *bad)
{
    u_char  *p, *last, *start;

    *code = 0;

    p = arg->data;
    last = p + arg->len;

    if (arg->len < prefix->len
        || ngx_strncasecmp(p, prefix->data, prefix->len) != 0)
    {
        return NGX_SMTP_REPLY_SYNTAX;
    }

    p += prefix->len;

    while (p < last && *p == ' ') {
        p++;
    }

    if (p == last) {
        return NGX_SMTP_REPLY_SYNTAX;
    }

    start = p;

    *code = ngx_smtp_path_parse(&p, last, flags, path);

    if (*code == NGX_OK && p < last && *p != ' ') {
        *code = NGX_SMTP_PATH_E_SYNTAX;
    }

    if (*code != NGX_OK) {
        bad->data = start;
        bad->len = last - start;
        return NGX_SMTP_REPLY_SYNTAX;
    }

    *pos = p;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_params(u_char *p, u_char *last, const ngx_smtp_param_t *table,
    ngx_smtp_param_ctx_t *ctx, ngx_str_t *bad)
{
    ngx_int_t   rc;
    ngx_str_t   param;
    ngx_uint_t  seen;

    seen = 0;

    for ( ;; ) {

        while (p < last && *p == ' ') {
            p++;
        }

        if (p == last) {
            return NGX_OK;
        }

        param.data = p;

        while (p < last && *p != ' ') {
            p++;
        }

        param.len = p - param.data;

        rc = ngx_smtp_param_one(&param, table, ctx, &seen);

        if (rc != NGX_OK) {
            *bad = param;
            return rc;
        }
    }
}


/* keyword [ "=" value ], RFC 5321 section 4.1.2 */

static ngx_int_t
ngx_smtp_param_one(ngx_str_t *param, const ngx_smtp_param_t *table,
    ngx_smtp_param_ctx_t *ctx, ngx_uint_t *seen)
{
    u_char      *p, *last;
    ngx_str_t    name, value;
    ngx_uint_t   i;

    p = param->data;
    last = p + param->len;

    name.data = p;

    for ( /* void */ ; p < last && *p != '='; p++) {
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')
            || (*p >= '0' && *p <= '9') || (*p == '-' && p > name.data))
        {
            continue;
        }

        return NGX_SMTP_REPLY_BAD_PARAM;
    }

    name.len = p - name.data;

    if (name.len == 0) {
        return NGX_SMTP_REPLY_BAD_PARAM;
    }

    ngx_str_null(&value);

    if (p < last) {
        p++;

        value.data = p;
        value.len = last - p;

        if (value.len == 0) {
            return NGX_SMTP_REPLY_BAD_PARAM;
        }

        for ( /* void */ ; p < last; p++) {

            /* UTF8-non-ascii with SMTPUTF8, RFC 6531 section 3.3 */

            if (*p >= 0x80 && (ctx->flags & NGX_SMTP_PATH_UTF8)) {
                continue;
            }

            if (*p <= 0x20 || *p >= 0x7f || *p == '=') {
                return NGX_SMTP_REPLY_BAD_PARAM;
            }
        }
    }

    for (i = 0; table[i].handler; i++) {

        if (table[i].name.len != name.len
            || ngx_strncasecmp(table[i].name.data, name.data, name.len) != 0)
        {
            continue;
        }

        if (*seen & ((ngx_uint_t) 1 << i)) {
            return NGX_SMTP_REPLY_BAD_PARAM;
        }

        *seen |= (ngx_uint_t) 1 << i;

        return table[i].handler(ctx, &value);
    }

    return NGX_SMTP_REPLY_UNKNOWN_PARAM;
}


static ngx_int_t
ngx_smtp_param_size(ngx_smtp_param_ctx_t *ctx, ngx_str_t *value)
{
    off_t      size;
    size_t     i;
    u_char     ch;
    ngx_int_t  rc;

    if (value->len == 0 || value->len > NGX_SMTP_SIZE_DIGITS_MAX) {
        return NGX_SMTP_REPLY_BAD_PARAM;
    }

    size = 0;
    rc = NGX_OK;

    for (i = 0; i < value->len; i++) {
        ch = value->data[i];

        if (ch < '0' || ch > '9') {
            return NGX_SMTP_REPLY_BAD_PARAM;
        }

        if (size > (NGX_MAX_OFF_T_VALUE - (ch - '0')) / 10) {
            rc = NGX_SMTP_REPLY_TOO_LARGE;
            continue;
        }

        size = size * 10 + (ch - '0');
    }

    ctx->env->size = size;

    return rc;
}


static ngx_int_t
ngx_smtp_param_body(ngx_smtp_param_ctx_t *ctx, ngx_str_t *value)
{
    if (ngx_smtp_param_is(value, "7BIT")) {
        ctx->env->body = NGX_SMTP_BODY_7BIT;
        return NGX_OK;
    }

    if (ngx_smtp_param_is(value, "8BITMIME")) {
        ctx->env->body = NGX_SMTP_BODY_8BITMIME;
        return NGX_OK;
    }

    if (ngx_smtp_param_is(value, "BINARYMIME")) {
        return NGX_SMTP_REPLY_UNKNOWN_PARAM;
    }

    return NGX_SMTP_REPLY_BAD_PARAM;
}


static ngx_int_t
ngx_smtp_param_smtputf8(ngx_smtp_param_ctx_t *ctx, ngx_str_t *value)
{
    if (value->data) {
        return NGX_SMTP_REPLY_BAD_PARAM;
    }

    ctx->env->smtputf8 = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_param_ret(ngx_smtp_param_ctx_t *ctx, ngx_str_t *value)
{
    if (ngx_smtp_param_is(value, "FULL")) {
        ctx->env->ret = NGX_SMTP_RET_FULL;
        return NGX_OK;
    }

    if (ngx_smtp_param_is(value, "HDRS")) {
        ctx->env->ret = NGX_SMTP_RET_HDRS;
        return NGX_OK;
    }

    return NGX_SMTP_REPLY_BAD_PARAM;
}


static ngx_int_t
ngx_smtp_param_envid(ngx_smtp_param_ctx_t *ctx, ngx_str_t *value)
{
    if (value->len == 0
        || value->len > NGX_SMTP_ENVID_MAX
        || !ngx_smtp_xtext_valid(value))
    {
        return NGX_SMTP_REPLY_BAD_PARAM;
    }

    ctx->env->envid = *value;

    return NGX_OK;
}


/* RFC 4954 section 5: a server that does not trust the client ignores it */

static ngx_int_t
ngx_smtp_param_auth(ngx_smtp_param_ctx_t *ctx, ngx_str_t *value)
{
    if (value->len == 0
        || (!ngx_smtp_param_is(value, "<>") && !ngx_smtp_xtext_valid(value)))
    {
        return NGX_SMTP_REPLY_BAD_PARAM;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_param_requiretls(ngx_smtp_param_ctx_t *ctx, ngx_str_t *value)
{
    if (!(ctx->flags & NGX_SMTP_MAIL_REQUIRETLS)) {
        return NGX_SMTP_REPLY_UNKNOWN_PARAM;
    }

    if (value->data) {
        return NGX_SMTP_REPLY_BAD_PARAM;
    }

    ctx->env->requiretls = 1;

    return NGX_OK;
}


/* NEVER alone, or a list of the others (RFC 3461 section 4.1) */

static ngx_int_t
ngx_smtp_param_notify(ngx_smtp_param_ctx_t *ctx, ngx_str_t *value)
{
    u_char      *p, *last;
    ngx_str_t    item;
    ngx_uint_t   bit, notify;

    if (value->len == 0) {
        return NGX_SMTP_REPLY_BAD_PARAM;
    }

    notify = 0;

    p = value->data;
    last = p + value->len;

    for ( ;; ) {
        item.data = p;

        while (p < last && *p != ',') {
            p++;
        }

        item.len = p - item.data;

        if (ngx_smtp_param_is(&item, "NEVER")) {
            bit = NGX_SMTP_NOTIFY_NEVER;

        } else if (ngx_smtp_param_is(&item, "SUCCESS")) {
            bit = NGX_SMTP_NOTIFY_SUCCESS;

        } else if (ngx_smtp_param_is(&item, "FAILURE")) {
            bit = NGX_SMTP_NOTIFY_FAILURE;

        } else if (ngx_smtp_param_is(&item, "DELAY")) {
            bit = NGX_SMTP_NOTIFY_DELAY;

        } else {
            return NGX_SMTP_REPLY_BAD_PARAM;
        }

        if (notify & bit) {
            return NGX_SMTP_REPLY_BAD_PARAM;
        }

        notify |= bit;

        if (p == last) {
            break;
        }

        p++;
    }

    if ((notify & NGX_SMTP_NOTIFY_NEVER) && notify != NGX_SMTP_NOTIFY_NEVER) {
        return NGX_SMTP_REPLY_BAD_PARAM;
    }

    ctx->rcpt->notify = notify;

    return NGX_OK;
}


/* "addr-type;xtext" (RFC 3461 section 4.2) */

static ngx_int_t
ngx_smtp_param_orcpt(ngx_smtp_param_ctx_t *ctx, ngx_str_t *value)
{
    u_char     *p, *last;
    ngx_str_t   addr;

    if (value->len == 0 || value->len > NGX_SMTP_ORCPT_MAX) {
        return NGX_SMTP_REPLY_BAD_PARAM;
    }

    p = value->data;
    last = p + value->len;

    for ( /* void */ ; p < last && *p != ';'; p++) {
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')
            || (*p >= '0' && *p <= '9') || *p == '-')
        {
            continue;
        }

        return NGX_SMTP_REPLY_BAD_PARAM;
    }

    if (p == value->data || last - p < 2) {
        return NGX_SMTP_REPLY_BAD_PARAM;
    }

    addr.data = p + 1;
    addr.len = last - addr.data;

    if (!ngx_smtp_xtext_valid(&addr)
        && !((ctx->flags & NGX_SMTP_PATH_UTF8)
             && ngx_smtp_orcpt_utf8(value)))
    {
        return NGX_SMTP_REPLY_BAD_PARAM;
    }

    ctx->rcpt->orcpt = *value;

    return NGX_OK;
}


static ngx_uint_t
ngx_smtp_param_is(ngx_str_t *value, const char *name)
{
    return value->len == ngx_strlen(name)
           && ngx_strncasecmp(value->data, (u_char *) name, value->len) == 0;
}


ngx_uint_t
ngx_smtp_xtext_valid(ngx_str_t *s)
{
    u_char  *p, *last;

    p = s->data;
    last = p + s->len;

    for ( /* void */ ; p < last; p++) {

        if (*p <= 0x20 || *p >= 0x7f || *p == '=') {
            return 0;
        }

        if (*p == '+') {
            if (last - p < 3
                || ngx_smtp_xtext_hex(p[1]) == NGX_ERROR
                || ngx_smtp_xtext_hex(p[2]) == NGX_ERROR)
            {
                return 0;
            }

            p += 2;
        }
    }

    return 1;
}


ngx_uint_t
ngx_smtp_orcpt_utf8(ngx_str_t *s)
{
    u_char  *p, *last;

    static const u_char  type[] = "utf-8;";

    if (s->len < sizeof(type)
        || ngx_strncasecmp(s->data, (u_char *) type, sizeof(type) - 1) != 0)
    {
        return 0;
    }

    p = s->data + sizeof(type) - 1;
    last = s->data + s->len;

    if (!ngx_smtp_utf8_valid(p, last - p)) {
        return 0;
    }

    for ( /* void */ ; p < last; p++) {
        if (*p <= 0x20 || *p == 0x7f || *p == '=' || *p == '+') {
            return 0;
        }
    }

    return 1;
}


u_char *
ngx_smtp_utf8_xtext_encode(u_char *dst, ngx_str_t *src, ngx_uint_t literal)
{
    u_char    *p, *last;
    uint32_t   ch;

    p = src->data;
    last = p + src->len;

    while (p < last) {

        if (*p < 0x80) {
            ch = *p++;

        } else {
            ch = ngx_utf8_decode(&p, last - p);

            if (ch > 0x10ffff) {
                return NULL;
            }
        }

        if (ch >= 0x7f || ch <= 0x20
            || (literal && (ch == '+' || ch == '=' || ch == '\\')))
        {
            dst = ngx_sprintf(dst, "\\x{%02XD}", ch);

        } else {
            *dst++ = (u_char) ch;
        }
    }

    return dst;
}


ssize_t
ngx_smtp_xtext_decode(u_char *dst, ngx_str_t *src)
{
    u_char  *p, *last, *d;

    if (!ngx_smtp_xtext_valid(src)) {
        return NGX_ERROR;
    }

    p = src->data;
    last = p + src->len;

    for (d = dst; p < last; p++) {

        if (*p == '+') {
            *d++ = (u_char) (ngx_smtp_xtext_hex(p[1]) * 16
                             + ngx_smtp_xtext_hex(p[2]));
            p += 2;
            continue;
        }

        *d++ = *p;
    }

    return d - dst;
}


u_char *
ngx_smtp_xtext_encode(u_char *dst, ngx_str_t *src)
{
    u_char  ch;
    size_t  i;

    static const u_char  hex[] = "0123456789ABCDEF";

    for (i = 0; i < src->len; i++) {
        ch = src->data[i];

        if (ch <= 0x20 || ch >= 0x7f || ch == '+' || ch == '=') {
            *dst++ = '+';
            *dst++ = hex[ch >> 4];
            *dst++ = hex[ch & 0x0f];
            continue;
        }

        *dst++ = ch;
    }

    return dst;
}


/* upper case only: RFC 3461 section 4 */

static ngx_int_t
ngx_smtp_xtext_hex(u_char ch)
{
    if (ch >= '0' && ch <= '9') {
        return ch - '0';
    }

    if (ch >= 'A' && ch <= 'F') {
        return ch - 'A' + 10;
    }

    return NGX_ERROR;
}
