
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The block smtp_redis NAME { }: what net/ngx_smtp_redis.h asks for.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_conf.h"


static char *ngx_smtp_redis_handler(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf);
static char *ngx_smtp_redis_server(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_smtp_redis_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_smtp_redis_commands[] = {

    { ngx_string("server"),
      NGX_CONF_TAKE1,
      ngx_smtp_redis_server,
      0,
      0,
      NULL },

    { ngx_string("username"),
      NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_smtp_redis_conf_t, username),
      NULL },

    { ngx_string("password"),
      NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_smtp_redis_conf_t, password),
      NULL },

    { ngx_string("database"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_num,
      0,
      offsetof(ngx_smtp_redis_conf_t, database),
      NULL },

    { ngx_string("prefix"),
      NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_smtp_redis_conf_t, prefix),
      NULL },

    { ngx_string("timeout"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_msec,
      0,
      offsetof(ngx_smtp_redis_conf_t, timeout),
      NULL },

    { ngx_string("tls"),
      NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_smtp_redis_conf_t, tls),
      NULL },

    { ngx_string("tls_verify"),
      NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_smtp_redis_conf_t, tls_verify),
      NULL },

    { ngx_string("tls_name"),
      NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_smtp_redis_conf_t, tls_name),
      NULL },

    { ngx_string("tls_trusted_certificate"),
      NGX_CONF_TAKE1,
      ngx_smtp_redis_file,
      0,
      offsetof(ngx_smtp_redis_conf_t, tls_trusted_certificate),
      NULL },

    ngx_null_command
};


char *
ngx_smtp_conf_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_main_conf_t *smcf = conf;

    char                    *rv;
    ngx_str_t               *value;
    ngx_conf_t               save;
    ngx_smtp_redis_conf_t  **r;

    value = cf->args->elts;

    if (ngx_smtp_conf_find_redis(smcf, &value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate smtp_redis \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    r = ngx_array_push(&smcf->redis);
    if (r == NULL) {
        return NGX_CONF_ERROR;
    }

    *r = ngx_smtp_redis_conf_create(cf, &value[1]);
    if (*r == NULL) {
        return NGX_CONF_ERROR;
    }

    save = *cf;
    cf->handler = ngx_smtp_redis_handler;
    cf->handler_conf = (void *) *r;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_smtp_redis_conf_init(cf, *r) == NGX_OK ? NGX_CONF_OK
                                                      : NGX_CONF_ERROR;
}


static char *
ngx_smtp_redis_handler(ngx_conf_t *cf, ngx_command_t *dummy, void *conf)
{
    return ngx_smtp_conf_block(cf, "smtp_redis", ngx_smtp_redis_commands,
                               conf);
}


static char *
ngx_smtp_redis_server(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    return ngx_smtp_redis_conf_server(cf, conf, &value[1]) == NGX_OK
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static char *
ngx_smtp_redis_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char       *rv;
    ngx_str_t  *name;

    rv = ngx_conf_set_str_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    name = (ngx_str_t *) ((u_char *) conf + cmd->offset);

    return ngx_conf_full_name(cf->cycle, name, 1) == NGX_OK ? NGX_CONF_OK
                                                            : NGX_CONF_ERROR;
}


ngx_smtp_redis_conf_t *
ngx_smtp_conf_find_redis(ngx_smtp_main_conf_t *smcf, ngx_str_t *name)
{
    ngx_uint_t               i;
    ngx_smtp_redis_conf_t  **r;

    r = smcf->redis.elts;

    for (i = 0; i < smcf->redis.nelts; i++) {

        if (r[i]->name.len == name->len
            && ngx_strncmp(r[i]->name.data, name->data, name->len) == 0)
        {
            return r[i];
        }
    }

    return NULL;
}
