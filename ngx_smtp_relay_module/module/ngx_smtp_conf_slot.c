
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Setters of single values: those of nginx, which say of a wrong one only that
 * it is invalid.  These tell which value of which directive it was and what
 * to write instead.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_conf.h"


/* an ngx_conf_enum_t or ngx_conf_bitmask_t: of either the name comes first */
#define ngx_smtp_conf_choice(table, i, size)                                  \
    ((ngx_str_t *) ((u_char *) (table) + (i) * (size)))


static char *ngx_smtp_conf_told(ngx_conf_t *cf, char *rv, const char *what);
static ngx_int_t ngx_smtp_conf_chosen(ngx_conf_t *cf, ngx_str_t *value,
    void *table, size_t size);


char *
ngx_smtp_conf_set_num(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_smtp_conf_told(cf, ngx_conf_set_num_slot(cf, cmd, conf),
                              "a number");
}


char *
ngx_smtp_conf_set_size(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_smtp_conf_told(cf, ngx_conf_set_size_slot(cf, cmd, conf),
                              "a size such as \"4096\", \"64k\" or \"10m\"");
}


char *
ngx_smtp_conf_set_off(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_smtp_conf_told(cf, ngx_conf_set_off_slot(cf, cmd, conf),
                              "a size such as \"64k\", \"10m\" or \"1g\"");
}


char *
ngx_smtp_conf_set_sec(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_smtp_conf_told(cf, ngx_conf_set_sec_slot(cf, cmd, conf),
                              "a time such as \"30s\", \"5m\" or \"4h\"");
}


char *
ngx_smtp_conf_set_msec(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_smtp_conf_told(cf, ngx_conf_set_msec_slot(cf, cmd, conf),
                              "a time such as \"500ms\", \"30s\" or \"5m\"");
}


/* no time at all would fail everything, or wait for ever */

char *
ngx_smtp_conf_set_timeout(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char       *rv;
    ngx_str_t  *value;

    rv = ngx_smtp_conf_set_msec(cf, cmd, conf);

    if (rv != NGX_CONF_OK
        || *(ngx_msec_t *) ((u_char *) conf + cmd->offset) != 0)
    {
        return rv;
    }

    value = cf->args->elts;

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "\"%V\" must not be 0, write a time such as \"30s\" "
                       "or \"5m\"", &value[0]);
    return NGX_CONF_ERROR;
}


char *
ngx_smtp_conf_set_enum(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    if (ngx_smtp_conf_chosen(cf, &value[1], cmd->post,
                             sizeof(ngx_conf_enum_t))
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return ngx_conf_set_enum_slot(cf, cmd, conf);
}


char *
ngx_smtp_conf_set_bitmask(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t   *value;
    ngx_uint_t   i;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_smtp_conf_chosen(cf, &value[i], cmd->post,
                                 sizeof(ngx_conf_bitmask_t))
            != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return ngx_conf_set_bitmask_slot(cf, cmd, conf);
}


/* rv of a setter of nginx; what it leaves to its caller to say is said here */

static char *
ngx_smtp_conf_told(ngx_conf_t *cf, char *rv, const char *what)
{
    ngx_str_t  *value;

    if (rv == NGX_CONF_OK || rv == NGX_CONF_ERROR
        || ngx_strncmp(rv, "invalid", 7) != 0)
    {
        return rv;
    }

    value = cf->args->elts;

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" of \"%V\", must be %s",
                       &value[1], &value[0], what);
    return NGX_CONF_ERROR;
}


/* whether the table has it; NGX_ERROR: not, and logged what it has */

static ngx_int_t
ngx_smtp_conf_chosen(ngx_conf_t *cf, ngx_str_t *value, void *table,
    size_t size)
{
    u_char      *p, *last;
    ngx_str_t   *name, *directive;
    ngx_uint_t   i;
    u_char       choices[NGX_MAX_CONF_ERRSTR / 2];

    p = choices;
    last = choices + sizeof(choices);

    for (i = 0; /* void */ ; i++) {
        name = ngx_smtp_conf_choice(table, i, size);

        if (name->len == 0) {
            break;
        }

        if (name->len == value->len
            && ngx_strncasecmp(name->data, value->data, value->len) == 0)
        {
            return NGX_OK;
        }

        p = ngx_slprintf(p, last, "%s\"%V\"", i ? ", " : "", name);
    }

    directive = cf->args->elts;

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" of \"%V\", must be one of "
                       "%*s",
                       value, directive, (size_t) (p - choices), choices);
    return NGX_ERROR;
}
