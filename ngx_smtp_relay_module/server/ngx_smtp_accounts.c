
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Sources of accounts: the accounts file, read once when the configuration is,
 * however many server{} blocks name it, and what is known of a Redis.
 * Everything is in the pool of the
 * configuration; only the counts of password costs change afterwards, each
 * worker its own copy.
 */


#include "ngx_smtp_login.h"


#define NGX_SMTP_ACCOUNTS_MAX_FILE  (64 * 1024 * 1024)


typedef struct {
    ngx_str_node_t       sn;
    ngx_smtp_account_t   account;
} ngx_smtp_accounts_node_t;


static ngx_smtp_accounts_t *ngx_smtp_accounts_listed(ngx_array_t *list,
    ngx_smtp_redis_conf_t *redis, ngx_str_t *path);
static ngx_int_t ngx_smtp_accounts_list(ngx_array_t *list,
    ngx_smtp_accounts_t *accounts);
static ngx_int_t ngx_smtp_accounts_read(ngx_conf_t *cf, ngx_str_t *path,
    ngx_str_t *text);
static ngx_int_t ngx_smtp_accounts_parse(ngx_conf_t *cf,
    ngx_smtp_accounts_t *accounts, ngx_str_t *text);
static ngx_int_t ngx_smtp_accounts_add(ngx_conf_t *cf,
    ngx_smtp_accounts_t *accounts, ngx_smtp_account_t *account,
    const char **reason);


ngx_smtp_accounts_t *
ngx_smtp_accounts_file_load(ngx_conf_t *cf, ngx_array_t *list, ngx_str_t *path)
{
    ngx_int_t             rc;
    ngx_str_t             text, full;
    ngx_rbtree_node_t    *sentinel;
    ngx_smtp_accounts_t  *accounts;

    full = *path;

    if (ngx_conf_full_name(cf->cycle, &full, 1) != NGX_OK) {
        return NULL;
    }

    accounts = ngx_smtp_accounts_listed(list, NULL, &full);

    if (accounts) {
        return accounts;
    }

    accounts = ngx_pcalloc(cf->pool, sizeof(ngx_smtp_accounts_t));

    if (accounts == NULL) {
        return NULL;
    }

    accounts->path = full;

    accounts->file = ngx_palloc(cf->pool, sizeof(ngx_rbtree_t));
    sentinel = ngx_palloc(cf->pool, sizeof(ngx_rbtree_node_t));

    if (accounts->file == NULL || sentinel == NULL) {
        return NULL;
    }

    ngx_rbtree_init(accounts->file, sentinel, ngx_str_rbtree_insert_value);

    if (ngx_smtp_accounts_read(cf, &accounts->path, &text) != NGX_OK) {
        return NULL;
    }

    rc = ngx_smtp_accounts_parse(cf, accounts, &text);

    ngx_explicit_memzero(text.data, text.len);
    ngx_free(text.data);

    if (rc != NGX_OK || ngx_smtp_accounts_list(list, accounts) != NGX_OK) {
        return NULL;
    }

    return accounts;
}


ngx_smtp_accounts_t *
ngx_smtp_accounts_redis(ngx_conf_t *cf, ngx_array_t *list,
    ngx_smtp_redis_conf_t *redis)
{
    ngx_smtp_accounts_t  *accounts;

    accounts = ngx_smtp_accounts_listed(list, redis, NULL);

    if (accounts) {
        return accounts;
    }

    accounts = ngx_pcalloc(cf->pool, sizeof(ngx_smtp_accounts_t));

    if (accounts == NULL) {
        return NULL;
    }

    accounts->redis = redis;

    return ngx_smtp_accounts_list(list, accounts) == NGX_OK ? accounts : NULL;
}


static ngx_smtp_accounts_t *
ngx_smtp_accounts_listed(ngx_array_t *list, ngx_smtp_redis_conf_t *redis,
    ngx_str_t *path)
{
    ngx_uint_t             i;
    ngx_smtp_accounts_t  **accounts;

    accounts = list->elts;

    for (i = 0; i < list->nelts; i++) {

        if (accounts[i]->redis != redis) {
            continue;
        }

        if (redis || (accounts[i]->path.len == path->len
                      && ngx_memcmp(accounts[i]->path.data, path->data,
                                    path->len)
                         == 0))
        {
            return accounts[i];
        }
    }

    return NULL;
}


static ngx_int_t
ngx_smtp_accounts_list(ngx_array_t *list, ngx_smtp_accounts_t *accounts)
{
    ngx_smtp_accounts_t  **place;

    place = ngx_array_push(list);

    if (place == NULL) {
        return NGX_ERROR;
    }

    *place = accounts;

    return NGX_OK;
}


ngx_smtp_account_t *
ngx_smtp_accounts_file_find(ngx_smtp_accounts_t *accounts, ngx_str_t *login)
{
    uint32_t                   hash;
    ngx_smtp_accounts_node_t  *node;

    hash = ngx_crc32_long(login->data, login->len);

    node = (ngx_smtp_accounts_node_t *)
               ngx_str_rbtree_lookup(accounts->file, login, hash);

    return node ? &node->account : NULL;
}


void
ngx_smtp_accounts_seen(ngx_smtp_accounts_t *accounts, ngx_str_t *verifier)
{
    ngx_uint_t              i;
    ngx_smtp_login_cost_t  *cost, *place;

    place = &accounts->costs[0];

    for (i = 0; i < NGX_SMTP_LOGIN_COSTS; i++) {

        cost = &accounts->costs[i];

        if (cost->count
            && ngx_smtp_password_same_cost(&cost->verifier, verifier))
        {
            cost->count++;
            return;
        }

        if (cost->count < place->count) {
            place = cost;
        }
    }

    place->count = 1;
    ngx_smtp_password_dummy(verifier, place->buf, &place->verifier);
}


ngx_str_t *
ngx_smtp_accounts_usual(ngx_smtp_accounts_t *accounts)
{
    ngx_uint_t              i;
    ngx_smtp_login_cost_t  *cost;

    cost = &accounts->costs[0];

    for (i = 1; i < NGX_SMTP_LOGIN_COSTS; i++) {

        if (accounts->costs[i].count > cost->count) {
            cost = &accounts->costs[i];
        }
    }

    return cost->count ? &cost->verifier : NULL;
}


/* into memory of its own, that can be wiped and given back */

static ngx_int_t
ngx_smtp_accounts_read(ngx_conf_t *cf, ngx_str_t *path, ngx_str_t *text)
{
    off_t            size;
    size_t           room;
    ssize_t          n;
    ngx_fd_t         fd;
    ngx_file_info_t  fi;

    text->len = 0;
    text->data = NULL;

    fd = ngx_open_file(path->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", path);
        return NGX_ERROR;
    }

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_fd_info_n " \"%V\" failed", path);
        goto failed;
    }

    size = ngx_file_size(&fi);

    if (!ngx_is_file(&fi) || size > NGX_SMTP_ACCOUNTS_MAX_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "accounts file \"%V\" is not a file of at most "
                           "64 megabytes", path);
        goto failed;
    }

    room = (size_t) size;
    text->data = ngx_alloc(room + 1, cf->log);

    if (text->data == NULL) {
        goto failed;
    }

    while (text->len < room) {

        n = ngx_read_fd(fd, text->data + text->len, room - text->len);

        if (n == -1) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                               ngx_read_fd_n " \"%V\" failed", path);
            ngx_free(text->data);
            goto failed;
        }

        if (n == 0) {
            break;
        }

        text->len += n;
    }

    (void) ngx_close_file(fd);

    return NGX_OK;

failed:

    (void) ngx_close_file(fd);

    return NGX_ERROR;
}


static ngx_int_t
ngx_smtp_accounts_parse(ngx_conf_t *cf, ngx_smtp_accounts_t *accounts,
    ngx_str_t *text)
{
    u_char              *p, *last, *eol;
    ngx_int_t            rc;
    ngx_str_t            line;
    ngx_uint_t           n;
    const char          *reason;
    ngx_smtp_account_t   account;

    last = text->data + text->len;

    for (p = text->data, n = 1; p < last; p = eol + 1, n++) {

        eol = ngx_strlchr(p, last, LF);

        if (eol == NULL) {
            eol = last;
        }

        line.data = p;
        line.len = eol - p;

        reason = NULL;

        rc = ngx_smtp_account_parse_line(&account, &line, cf->pool, &reason);

        if (rc == NGX_DONE) {
            continue;
        }

        if (rc == NGX_OK) {
            rc = ngx_smtp_accounts_add(cf, accounts, &account, &reason);
        }

        if (rc == NGX_DECLINED) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "%s in %V:%ui",
                          reason, &accounts->path, n);
            return NGX_ERROR;
        }

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_accounts_add(ngx_conf_t *cf, ngx_smtp_accounts_t *accounts,
    ngx_smtp_account_t *account, const char **reason)
{
    ngx_smtp_accounts_node_t  *node;

    if (ngx_smtp_password_scheme(&account->verifier)
        == NGX_SMTP_PASSWORD_NONE)
    {
        *reason = "stored password of no supported scheme or cost, make one "
                  "by \"openssl passwd -6\",";
        return NGX_DECLINED;
    }

    if (ngx_smtp_accounts_file_find(accounts, &account->login)) {
        *reason = "duplicate account";
        return NGX_DECLINED;
    }

    node = ngx_palloc(cf->pool, sizeof(ngx_smtp_accounts_node_t));

    if (node == NULL) {
        return NGX_ERROR;
    }

    node->account = *account;
    node->sn.str = account->login;
    node->sn.node.key = ngx_crc32_long(account->login.data,
                                       account->login.len);

    ngx_rbtree_insert(accounts->file, &node->sn.node);
    accounts->naccounts++;

    ngx_smtp_accounts_seen(accounts, &account->verifier);

    return NGX_OK;
}
