
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Parsing of account records and matching of senders.  Accounts own nothing:
 * their strings are in the pool of the caller.
 */


#include "ngx_smtp_account.h"


static ngx_int_t ngx_smtp_account_senders(ngx_smtp_account_t *a,
    ngx_str_t *value, ngx_pool_t *pool, const char **reason);
static ngx_uint_t ngx_smtp_account_token(u_char **pos, u_char *last,
    ngx_uint_t commas, ngx_str_t *token);
static ngx_int_t ngx_smtp_account_option(ngx_smtp_account_t *a,
    ngx_str_t *token, ngx_pool_t *pool, const char **reason);
static ngx_int_t ngx_smtp_account_strdup(ngx_pool_t *pool, ngx_str_t *dst,
    ngx_str_t *src);


ngx_int_t
ngx_smtp_account_normalize(ngx_str_t *login)
{
    size_t  i;

    if (login->len == 0 || login->len > NGX_SMTP_ACCOUNT_MAX_LOGIN) {
        return NGX_DECLINED;
    }

    for (i = 0; i < login->len; i++) {

        if (login->data[i] < 0x20 || login->data[i] == 0x7f) {
            return NGX_DECLINED;
        }
    }

    ngx_strlow(login->data, login->data, login->len);

    return NGX_OK;
}


ngx_int_t
ngx_smtp_account_init(ngx_smtp_account_t *a, ngx_str_t *login,
    ngx_pool_t *pool)
{
    ngx_memzero(a, sizeof(ngx_smtp_account_t));

    a->enabled = 1;

    if (ngx_smtp_account_strdup(pool, &a->login, login) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_account_set(ngx_smtp_account_t *a, ngx_str_t *name,
    ngx_str_t *value, ngx_pool_t *pool, const char **reason)
{
    size_t  i;

    if (name->len == 8 && ngx_memcmp(name->data, "password", 8) == 0) {

        if (value->len > NGX_SMTP_ACCOUNT_MAX_VERIFIER) {
            *reason = "stored password too long";
            return NGX_DECLINED;
        }

        for (i = 0; i < value->len; i++) {
            if (value->data[i] <= 0x20 || value->data[i] >= 0x7f) {
                *reason = "invalid character in stored password";
                return NGX_DECLINED;
            }
        }

        return ngx_smtp_account_strdup(pool, &a->verifier, value);
    }

    if (name->len == 7 && ngx_memcmp(name->data, "enabled", 7) == 0) {
        a->enabled = (value->len == 1 && value->data[0] == '1');
        return NGX_OK;
    }

    if (name->len == 7 && ngx_memcmp(name->data, "senders", 7) == 0) {
        return ngx_smtp_account_senders(a, value, pool, reason);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_account_senders(ngx_smtp_account_t *a, ngx_str_t *value,
    ngx_pool_t *pool, const char **reason)
{
    u_char     *p, *last;
    ngx_str_t   token, *sender;

    if (ngx_array_init(&a->senders, pool, 2, sizeof(ngx_str_t)) != NGX_OK) {
        return NGX_ERROR;
    }

    a->has_senders = 1;

    p = value->data;
    last = p + value->len;

    while (ngx_smtp_account_token(&p, last, 1, &token)) {

        if (ngx_strlchr(token.data, token.data + token.len, '@') == NULL
            || token.data[token.len - 1] == '@')
        {
            *reason = "sender is neither an address nor @domain";
            return NGX_DECLINED;
        }

        if (a->senders.nelts == NGX_SMTP_ACCOUNT_MAX_SENDERS) {
            *reason = "too many senders";
            return NGX_DECLINED;
        }

        sender = ngx_array_push(&a->senders);

        if (sender == NULL
            || ngx_smtp_account_strdup(pool, sender, &token) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_account_parse_line(ngx_smtp_account_t *a, ngx_str_t *line,
    ngx_pool_t *pool, const char **reason)
{
    u_char     *p, *last;
    ngx_int_t   rc;
    ngx_str_t   login, token, name;

    p = line->data;
    last = p + line->len;

    if (p < last && last[-1] == '\r') {
        last--;
    }

    if (!ngx_smtp_account_token(&p, last, 0, &login)
        || login.data[0] == '#')
    {
        return NGX_DONE;
    }

    if (!ngx_smtp_account_token(&p, last, 0, &token)) {
        *reason = "no stored password, it stands behind the login and a "
                  "blank,";
        return NGX_DECLINED;
    }

    if (ngx_smtp_account_init(a, &login, pool) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_smtp_account_normalize(&a->login) != NGX_OK) {
        *reason = "invalid login";
        return NGX_DECLINED;
    }

    ngx_str_set(&name, "password");

    rc = ngx_smtp_account_set(a, &name, &token, pool, reason);

    while (rc == NGX_OK && ngx_smtp_account_token(&p, last, 0, &token)) {
        rc = ngx_smtp_account_option(a, &token, pool, reason);
    }

    return rc;
}


/* the file is written by hand, so that nothing unknown is let pass there */

static ngx_int_t
ngx_smtp_account_option(ngx_smtp_account_t *a, ngx_str_t *token,
    ngx_pool_t *pool, const char **reason)
{
    u_char     *p;
    ngx_str_t   name, value;

    p = ngx_strlchr(token->data, token->data + token->len, '=');

    if (p == NULL) {
        *reason = "option is not name=value";
        return NGX_DECLINED;
    }

    name.data = token->data;
    name.len = p - token->data;

    value.data = p + 1;
    value.len = token->data + token->len - value.data;

    if (name.len == 7 && ngx_memcmp(name.data, "enabled", 7) == 0) {

        if (value.len != 1 || (value.data[0] != '0' && value.data[0] != '1')) {
            *reason = "enabled is neither 0 nor 1";
            return NGX_DECLINED;
        }

        if (a->has_enabled) {
            *reason = "enabled is there twice";
            return NGX_DECLINED;
        }

        a->has_enabled = 1;

    } else if (name.len != 7 || ngx_memcmp(name.data, "senders", 7) != 0) {
        *reason = "unknown option, there are \"enabled=\" and \"senders=\",";
        return NGX_DECLINED;

    } else if (a->has_senders) {
        *reason = "senders are there twice, commas separate them,";
        return NGX_DECLINED;
    }

    return ngx_smtp_account_set(a, &name, &value, pool, reason);
}


ngx_uint_t
ngx_smtp_account_may_send(ngx_smtp_account_t *a, ngx_str_t *address)
{
    u_char      *p;
    ngx_str_t   *sender, domain;
    ngx_uint_t   i;

    /* a quoted local part may hold an "@": the domain is after the last */

    for (p = address->data + address->len; p > address->data; p--) {
        if (p[-1] == '@') {
            p--;
            break;
        }
    }

    domain.data = p;
    domain.len = address->data + address->len - p;

    if (domain.len < 2 || domain.len == address->len || *p != '@') {
        return 0;
    }

    sender = a->senders.elts;

    for (i = 0; i < a->senders.nelts; i++) {

        if (sender[i].data[0] == '@') {

            if (sender[i].len == domain.len
                && ngx_strncasecmp(sender[i].data, domain.data, domain.len)
                   == 0)
            {
                return 1;
            }

            continue;
        }

        if (sender[i].len == address->len
            && ngx_strncasecmp(sender[i].data, address->data, address->len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


ngx_smtp_account_t *
ngx_smtp_account_copy(ngx_smtp_account_t *a, ngx_pool_t *pool)
{
    ngx_str_t           *src, *dst;
    ngx_uint_t           i;
    ngx_smtp_account_t  *copy;

    copy = ngx_palloc(pool, sizeof(ngx_smtp_account_t));

    if (copy == NULL
        || ngx_smtp_account_init(copy, &a->login, pool) != NGX_OK)
    {
        return NULL;
    }

    copy->enabled = a->enabled;
    copy->has_senders = a->has_senders;

    if (a->senders.nelts == 0) {
        return copy;
    }

    if (ngx_array_init(&copy->senders, pool, a->senders.nelts,
                       sizeof(ngx_str_t))
        != NGX_OK)
    {
        return NULL;
    }

    src = a->senders.elts;

    for (i = 0; i < a->senders.nelts; i++) {
        dst = ngx_array_push(&copy->senders);

        if (dst == NULL
            || ngx_smtp_account_strdup(pool, dst, &src[i]) != NGX_OK)
        {
            return NULL;
        }
    }

    return copy;
}


/* the next run of bytes between separators; 0 at the end */

static ngx_uint_t
ngx_smtp_account_token(u_char **pos, u_char *last, ngx_uint_t commas,
    ngx_str_t *token)
{
    u_char  *p;

#define ngx_smtp_account_is_sep(c)                                            \
    ((c) == ' ' || (c) == '\t'                                                \
     || (commas && ((c) == ',' || (c) == '\n' || (c) == '\r')))

    for (p = *pos; p < last && ngx_smtp_account_is_sep(*p); p++) {
        /* void */
    }

    token->data = p;

    while (p < last && !ngx_smtp_account_is_sep(*p)) {
        p++;
    }

    token->len = p - token->data;
    *pos = p;

    return token->len != 0;

#undef ngx_smtp_account_is_sep
}


static ngx_int_t
ngx_smtp_account_strdup(ngx_pool_t *pool, ngx_str_t *dst, ngx_str_t *src)
{
    dst->len = 0;
    dst->data = ngx_pnalloc(pool, src->len ? src->len : 1);

    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(dst->data, src->data, src->len);
    dst->len = src->len;

    return NGX_OK;
}
