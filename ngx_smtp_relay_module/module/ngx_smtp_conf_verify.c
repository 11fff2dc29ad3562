
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * smtp_verify_recipient.  How the backend is asked is what smtp_pass_... of
 * the server{} block says, with or without an smtp_pass there.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_address.h"
#include "ngx_smtp_conf.h"


static ngx_int_t ngx_smtp_conf_verify_param(ngx_smtp_verify_conf_t *v,
    ngx_str_t *value);
static ngx_int_t ngx_smtp_conf_verify_sender(ngx_smtp_verify_conf_t *v,
    ngx_str_t *value);


char *
ngx_smtp_conf_verify(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_server_conf_t *sscf = conf;

    ngx_str_t               *value;
    ngx_uint_t               i;
    ngx_smtp_verify_conf_t  *v;

    if (sscf->verify) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs the name of an upstream{}, an address, or a variable";
    }

    v = ngx_pcalloc(cf->pool, sizeof(ngx_smtp_verify_conf_t));
    if (v == NULL) {
        return NGX_CONF_ERROR;
    }

    sscf->verify = v;
    sscf->verify_file = cf->conf_file->file.name.data;
    sscf->verify_line = cf->conf_file->line;

    v->positive_ttl = NGX_SMTP_VERIFY_POSITIVE;
    v->negative_ttl = NGX_SMTP_VERIFY_NEGATIVE;
    v->timeout = NGX_SMTP_VERIFY_TIMEOUT;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_smtp_conf_verify_param(v, &value[i]) != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", must be "
                               "\"positive_ttl=time\", \"negative_ttl=time\", "
                               "\"timeout=time\", none of them 0, "
                               "\"tempfail=accept\", \"tempfail=defer\", or "
                               "\"sender=address\"", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    return ngx_smtp_conf_pass_target(cf, &v->pass, &value[1]);
}


static ngx_int_t
ngx_smtp_conf_verify_param(ngx_smtp_verify_conf_t *v, ngx_str_t *value)
{
    ngx_int_t    n;
    ngx_str_t    arg;
    ngx_msec_t  *time;

    if (ngx_smtp_conf_param(value, &arg, "tempfail=")) {

        if (ngx_strcmp(arg.data, "accept") != 0
            && ngx_strcmp(arg.data, "defer") != 0)
        {
            return NGX_ERROR;
        }

        v->defer = (arg.data[0] == 'd');
        return NGX_OK;
    }

    if (ngx_smtp_conf_param(value, &arg, "sender=")) {
        return ngx_smtp_conf_verify_sender(v, &arg);
    }

    if (ngx_smtp_conf_param(value, &arg, "positive_ttl=")) {
        time = &v->positive_ttl;

    } else if (ngx_smtp_conf_param(value, &arg, "negative_ttl=")) {
        time = &v->negative_ttl;

    } else if (ngx_smtp_conf_param(value, &arg, "timeout=")) {
        time = &v->timeout;

    } else {
        return NGX_ERROR;
    }

    n = ngx_parse_time(&arg, 0);

    if (n == NGX_ERROR || n == 0) {
        return NGX_ERROR;
    }

    *time = n;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_conf_verify_sender(ngx_smtp_verify_conf_t *v, ngx_str_t *value)
{
    ngx_smtp_path_t  path;

    if (value->len == 2 && ngx_strncmp(value->data, "<>", 2) == 0) {
        ngx_str_null(&v->sender);
        return NGX_OK;
    }

    if (ngx_smtp_mailbox_parse(value, 0, &path) != NGX_OK) {
        return NGX_ERROR;
    }

    v->sender = *value;

    return NGX_OK;
}


/* conf is merged, all but this */

char *
ngx_smtp_conf_merge_verify(ngx_conf_t *cf, ngx_smtp_server_conf_t *prev,
    ngx_smtp_server_conf_t *conf)
{
    ngx_smtp_pass_conf_t     pass, *c;
    ngx_smtp_main_conf_t    *smcf;
    ngx_smtp_server_conf_t   copy;
    ngx_smtp_verify_conf_t  *v;

    v = conf->verify;

    if (v == NULL) {
        return NGX_CONF_OK;
    }

    if (conf->server.sink == NULL || conf->enqueue.len == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"smtp_verify_recipient\" needs \"smtp_enqueue\" in "
                      "the same server{}: where mail is only passed on, the "
                      "backend is asked in any case, in %s:%ui",
                      conf->verify_file, conf->verify_line);
        return NGX_CONF_ERROR;
    }

    /* TLS for this target, by the same directives */

    pass = v->pass;

    copy = *conf;
    c = &copy.pass;

    if (c->auth == NGX_SMTP_PASS_AUTH_CLIENT) {

        /* a backend may refuse everybody there is when nobody has logged in */

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"smtp_verify_recipient\" asks for all clients alike "
                      "and cannot log in as one of them, as "
                      "\"smtp_pass_auth client\" says: set a user and a "
                      "password there, or \"off\", in %s:%ui",
                      conf->verify_file, conf->verify_line);
        return NGX_CONF_ERROR;
    }

    c->target = pass.target;
    c->value = pass.value;
    c->upstream = pass.upstream;
    c->host = pass.host;
    c->hostname = conf->server.hostname;

    if (ngx_smtp_conf_merge_pass_ssl(cf, prev, &copy) != NGX_CONF_OK
        || ngx_smtp_conf_pass_check(cf, &copy) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    v->pass = *c;
    c = &v->pass;

    /* a question is nobody's mail */

    c->queue = NULL;
    c->fallback = 0;
    c->xclient = 0;
    c->xforward = 0;
    c->temp_path = NULL;
    c->temp_folder = NULL;

    c->connect_timeout = ngx_min(c->connect_timeout, v->timeout);
    c->timeout = ngx_min(c->timeout, v->timeout);
    c->send_timeout = ngx_min(c->send_timeout, v->timeout);

    ngx_queue_init(&c->idle);

    /* who is not checked need not be known: a question is offered nothing */

    if (c->upstream == NULL) {
        ngx_smtp_conf_health_unknown(cf, conf, c, "smtp_verify_recipient");
        c->health_interval = 0;

    } else if (c->health_interval
               && ngx_smtp_conf_list_backends(cf, conf, c) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    smcf = ngx_stream_conf_get_module_main_conf(cf, ngx_smtp_relay_module);

    v->zone = smcf->zone;

    conf->server.verifier = &ngx_smtp_verifier;
    conf->server.verifier_conf = v;

    return NGX_CONF_OK;
}
