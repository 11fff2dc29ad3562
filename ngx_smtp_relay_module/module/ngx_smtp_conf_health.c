
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * smtp_health_check, and the list of proxies whose backends a worker gets to
 * know.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_conf.h"


static ngx_int_t ngx_smtp_conf_health_param(ngx_smtp_pass_conf_t *pass,
    ngx_str_t *value);
static void ngx_smtp_conf_health_resolved(ngx_conf_t *cf,
    ngx_smtp_server_conf_t *conf, ngx_smtp_pass_conf_t *pass);


char *
ngx_smtp_conf_health(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_server_conf_t *sscf = conf;

    ngx_str_t             *value;
    ngx_uint_t             i;
    ngx_smtp_pass_conf_t  *pass;

    pass = &sscf->pass;
    value = cf->args->elts;

    if (pass->health_interval != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    pass->health_interval = NGX_SMTP_HEALTH_INTERVAL;
    pass->health_timeout = NGX_SMTP_HEALTH_TIMEOUT;
    pass->health_fails = 1;
    pass->health_passes = 1;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        pass->health_interval = 0;
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_smtp_conf_health_param(pass, &value[i]) != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", must be \"off\", "
                               "\"interval=time\", \"timeout=time\", "
                               "\"fails=number\" or \"passes=number\", none "
                               "of them 0", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_smtp_conf_health_param(ngx_smtp_pass_conf_t *pass, ngx_str_t *value)
{
    ngx_int_t    n;
    ngx_str_t    arg;
    ngx_uint_t  *number;
    ngx_msec_t  *time;

    time = NULL;
    number = NULL;

    if (ngx_smtp_conf_param(value, &arg, "interval=")) {
        time = &pass->health_interval;

    } else if (ngx_smtp_conf_param(value, &arg, "timeout=")) {
        time = &pass->health_timeout;

    } else if (ngx_smtp_conf_param(value, &arg, "fails=")) {
        number = &pass->health_fails;

    } else if (ngx_smtp_conf_param(value, &arg, "passes=")) {
        number = &pass->health_passes;

    } else {
        return NGX_ERROR;
    }

    n = time ? ngx_parse_time(&arg, 0) : ngx_atoi(arg.data, arg.len);

    if (n == NGX_ERROR || n == 0) {
        return NGX_ERROR;
    }

    if (time) {
        *time = n;

    } else {
        *number = n;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_smtp_conf_param(ngx_str_t *value, ngx_str_t *arg, const char *name)
{
    size_t  len;

    len = ngx_strlen(name);

    if (value->len < len || ngx_strncmp(value->data, name, len) != 0) {
        return 0;
    }

    arg->data = value->data + len;
    arg->len = value->len - len;

    return 1;
}


char *
ngx_smtp_conf_merge_health(ngx_conf_t *cf, ngx_smtp_server_conf_t *prev,
    ngx_smtp_server_conf_t *conf)
{
    ngx_uint_t             own;
    ngx_smtp_pass_conf_t  *p, *c;

    p = &prev->pass;
    c = &conf->pass;

    own = (c->health_interval != NGX_CONF_UNSET_MSEC);

    if (!own) {
        c->health_interval = p->health_interval;
        c->health_timeout = p->health_timeout;
        c->health_fails = p->health_fails;
        c->health_passes = p->health_passes;
    }

    if (c->health_interval == NGX_CONF_UNSET_MSEC) {
        c->health_interval = 0;
    }

    if (c->upstream) {
        return ngx_smtp_conf_list_backends(cf, conf, c);
    }

    /* the time is left set: it holds for the verifier's backends, too */

    if (own && c->health_interval && conf->server.sink
        && (conf->verify == NULL || conf->verify->pass.upstream == NULL))
    {
        return ngx_smtp_conf_error(cf, &conf->server,
                                   "\"smtp_health_check\" needs "
                                   "\"smtp_pass\" or "
                                   "\"smtp_verify_recipient\" with the name "
                                   "of an upstream{} or an address: what a "
                                   "variable names is not known");
    }

    ngx_smtp_conf_health_unknown(cf, conf, c, "smtp_pass");

    return NGX_CONF_OK;
}


/* What is asked for cannot be had: the operator may rely on it. */

void
ngx_smtp_conf_health_unknown(ngx_conf_t *cf, ngx_smtp_server_conf_t *conf,
    ngx_smtp_pass_conf_t *pass, const char *name)
{
    if (pass->value == NULL || pass->health_interval == 0) {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                  "\"smtp_health_check\" does not check the servers of "
                  "\"%s %V\", as it is not known whom a variable names; name "
                  "an upstream{}, or say \"smtp_health_check off\" in this "
                  "server{}, in %s:%ui", name, &pass->target,
                  conf->server.file, conf->server.line);
}


/* "server ... resolve": its addresses are not known yet, and have no names */

static void
ngx_smtp_conf_health_resolved(ngx_conf_t *cf, ngx_smtp_server_conf_t *conf,
    ngx_smtp_pass_conf_t *pass)
{
    ngx_uint_t                     i;
    ngx_array_t                   *servers;
    ngx_stream_upstream_server_t  *us;

    servers = pass->upstream->servers;
    us = servers ? servers->elts : NULL;

    for (i = 0; servers && i < servers->nelts; i++) {

        if (us[i].down || (us[i].naddrs && us[i].addrs[0].name.len)) {
            continue;
        }

        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"smtp_health_check\" does not check \"server %V\" of "
                      "upstream{} \"%V\", as its addresses are not known "
                      "before nginx runs; leave out \"resolve\", or say "
                      "\"smtp_health_check off\" in this server{}, in %s:%ui",
                      &us[i].name, &pass->upstream->host, conf->server.file,
                      conf->server.line);
    }
}


char *
ngx_smtp_conf_list_backends(ngx_conf_t *cf, ngx_smtp_server_conf_t *conf,
    ngx_smtp_pass_conf_t *pass)
{
    ngx_smtp_pass_conf_t  **place;
    ngx_smtp_main_conf_t   *smcf;

    if (pass->health_interval) {
        ngx_smtp_conf_health_resolved(cf, conf, pass);
    }

    smcf = ngx_stream_conf_get_module_main_conf(cf, ngx_smtp_relay_module);

    place = ngx_array_push(&smcf->passes);
    if (place == NULL) {
        return NGX_CONF_ERROR;
    }

    *place = pass;

    return NGX_CONF_OK;
}
