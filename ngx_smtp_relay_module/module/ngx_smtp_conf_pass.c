
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * smtp_pass and what belongs to it: where mail is handed to, when the next
 * server or the spool has it instead.  TLS: ngx_smtp_conf_pass_ssl.c.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_client.h"
#include "ngx_smtp_conf.h"


static char *ngx_smtp_conf_pass_literal(ngx_conf_t *cf,
    ngx_smtp_pass_conf_t *pass);
static ngx_stream_complex_value_t *ngx_smtp_conf_pass_value(ngx_conf_t *cf,
    ngx_str_t *value);


/* smtp_pass_temp_path off */
static ngx_path_t  ngx_smtp_pass_temp_off;

static ngx_conf_bitmask_t  ngx_smtp_pass_fallback_values[] = {
    { ngx_string("error"), NGX_SMTP_PASS_ERROR },
    { ngx_string("timeout"), NGX_SMTP_PASS_TIMEOUT },
    { ngx_string("421"), NGX_SMTP_PASS_421 },
    { ngx_string("4xx"), NGX_SMTP_PASS_4XX },
    { ngx_null_string, 0 }
};


char *
ngx_smtp_conf_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_server_conf_t *sscf = conf;

    ngx_str_t             *value;
    ngx_smtp_pass_conf_t  *pass;

    pass = &sscf->pass;

    if (pass->target.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs the name of an upstream{}, an address, or a variable";
    }

    if (ngx_smtp_conf_sink(cf, sscf) != NGX_CONF_OK) {
        return "cannot be used together with another content directive";
    }

    return ngx_smtp_conf_pass_target(cf, pass, &value[1]);
}


char *
ngx_smtp_conf_pass_target(ngx_conf_t *cf, ngx_smtp_pass_conf_t *pass,
    ngx_str_t *value)
{
    pass->target = *value;

    if (ngx_stream_script_variables_count(value) == 0) {
        return ngx_smtp_conf_pass_literal(cf, pass);
    }

    pass->value = ngx_smtp_conf_pass_value(cf, value);

    return pass->value ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static char *
ngx_smtp_conf_pass_literal(ngx_conf_t *cf, ngx_smtp_pass_conf_t *pass)
{
    ngx_url_t  u;

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = pass->target;
    u.no_resolve = 1;

    /* host:port becomes an upstream of one server, as for proxy_pass */

    pass->upstream = ngx_stream_upstream_add(cf, &u, 0);
    if (pass->upstream == NULL) {
        return NGX_CONF_ERROR;
    }

    pass->host = u.host;

    return NGX_CONF_OK;
}


/* smtp_pass_auth user password [xoauth2] | client | off */

char *
ngx_smtp_conf_pass_auth(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_server_conf_t *sscf = conf;

    ngx_str_t             *value;
    ngx_smtp_pass_conf_t  *pass;

    pass = &sscf->pass;

    if (pass->auth != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2) {

        if (ngx_strcmp(value[1].data, "off") == 0) {
            pass->auth = NGX_SMTP_PASS_AUTH_OFF;
            return NGX_CONF_OK;
        }

        if (ngx_strcmp(value[1].data, "client") == 0) {
            pass->auth = NGX_SMTP_PASS_AUTH_CLIENT;
            return NGX_CONF_OK;
        }

        return "must be \"off\", \"client\", or a user and a password";
    }

    pass->auth = NGX_SMTP_PASS_AUTH_SERVICE;

    if (cf->args->nelts == 4) {

        if (ngx_strcmp(value[3].data, "xoauth2") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", must be \"xoauth2\"",
                               &value[3]);
            return NGX_CONF_ERROR;
        }

        pass->auth = NGX_SMTP_PASS_AUTH_XOAUTH2;
    }

    if (value[1].len == 0 || value[1].len > NGX_SMTP_CLIENT_USER_MAX
        || value[2].len == 0 || value[2].len > NGX_SMTP_CLIENT_SECRET_MAX)
    {
        return "needs a user of 1 to 255 characters, and a password of 1 to "
               "4096";
    }

    pass->user = ngx_smtp_conf_pass_value(cf, &value[1]);
    pass->password = ngx_smtp_conf_pass_value(cf, &value[2]);

    return (pass->user && pass->password) ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* with variables or without; NULL: logged */

static ngx_stream_complex_value_t *
ngx_smtp_conf_pass_value(ngx_conf_t *cf, ngx_str_t *value)
{
    ngx_stream_complex_value_t          *cv;
    ngx_stream_compile_complex_value_t   ccv;

    cv = ngx_palloc(cf->pool, sizeof(ngx_stream_complex_value_t));
    if (cv == NULL) {
        return NULL;
    }

    ngx_memzero(&ccv, sizeof(ngx_stream_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = value;
    ccv.complex_value = cv;

    return ngx_stream_compile_complex_value(&ccv) == NGX_OK ? cv : NULL;
}


/* smtp_pass_temp_path path | off */

char *
ngx_smtp_conf_pass_temp_path(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_server_conf_t *sscf = conf;

    ngx_str_t  *value;

    value = cf->args->elts;

    if (sscf->pass.temp_path) {
        return "is duplicate";
    }

    if (value[1].len == 0) {
        return "needs a path, or \"off\"";
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        sscf->pass.temp_path = &ngx_smtp_pass_temp_off;
        return NGX_CONF_OK;
    }

    return ngx_conf_set_path_slot(cf, cmd, conf);
}


/*
 * Without the directive a copy is made where it is for the spool that stands
 * behind: in its own file system.
 */

void
ngx_smtp_conf_pass_temp(ngx_conf_t *cf, ngx_smtp_pass_conf_t *pass)
{
    ngx_smtp_main_conf_t  *smcf;

    smcf = ngx_stream_conf_get_module_main_conf(cf, ngx_smtp_relay_module);

    pass->temp_pool = smcf->commit_pool;

    if (pass->temp_path == &ngx_smtp_pass_temp_off) {
        pass->temp_folder = NULL;

    } else if (pass->temp_path) {
        pass->temp_folder = pass->temp_path->name.data;

    } else if (pass->queue) {
        pass->temp_folder = pass->queue->store->path.data;
    }
}


/* smtp_pass_bind address [transparent] | off */

char *
ngx_smtp_conf_pass_bind(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_server_conf_t *sscf = conf;

    ngx_int_t              rc;
    ngx_str_t             *value;
    ngx_core_conf_t       *ccf;
    ngx_smtp_pass_conf_t  *pass;

    pass = &sscf->pass;

    if (pass->bind != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    pass->bind = NULL;
    pass->bind_value = NULL;
    pass->bind_transparent = 0;

    if (cf->args->nelts == 3) {

        if (ngx_strcmp(value[2].data, "transparent") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", must be "
                               "\"transparent\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        /* workers keep the right to use addresses that are not theirs */

        ccf = (ngx_core_conf_t *) ngx_get_conf(cf->cycle->conf_ctx,
                                               ngx_core_module);
        ccf->transparent = 1;

        pass->bind_transparent = 1;

    } else if (ngx_strcmp(value[1].data, "off") == 0) {
        return NGX_CONF_OK;
    }

    if (ngx_stream_script_variables_count(&value[1])) {
        pass->bind_value = ngx_smtp_conf_pass_value(cf, &value[1]);

        return pass->bind_value ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    pass->bind = ngx_palloc(cf->pool, sizeof(ngx_addr_t));
    if (pass->bind == NULL) {
        return NGX_CONF_ERROR;
    }

    rc = ngx_parse_addr_port(cf->pool, pass->bind, value[1].data,
                             value[1].len);

    if (rc == NGX_DECLINED) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid address \"%V\", must be one of this "
                           "machine's, a variable, or \"off\"", &value[1]);
    }

    if (rc != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    pass->bind->name = value[1];

    return NGX_CONF_OK;
}


/* the second argument of smtp_enqueue */

char *
ngx_smtp_conf_fallback(ngx_conf_t *cf, ngx_smtp_server_conf_t *sscf,
    ngx_str_t *value)
{
    u_char      *p, *last, *end;
    ngx_uint_t   i;

    if (value->len <= 9 || ngx_strncmp(value->data, "fallback=", 9) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", must be "
                           "\"fallback=error,timeout,421,4xx\" or some of "
                           "these", value);
        return NGX_CONF_ERROR;
    }

    last = value->data + value->len;

    for (p = value->data + 9; p <= last; p = end + 1) {
        end = ngx_strlchr(p, last, ',');

        if (end == NULL) {
            end = last;
        }

        for (i = 0; ngx_smtp_pass_fallback_values[i].name.len; i++) {

            if (ngx_smtp_pass_fallback_values[i].name.len
                == (size_t) (end - p)
                && ngx_strncmp(ngx_smtp_pass_fallback_values[i].name.data, p,
                               end - p)
                   == 0)
            {
                sscf->pass.fallback |= ngx_smtp_pass_fallback_values[i].mask;
                break;
            }
        }

        if (ngx_smtp_pass_fallback_values[i].name.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid value \"%*s\" in \"%V\", must be "
                               "\"error\", \"timeout\", \"421\" or \"4xx\"",
                               (size_t) (end - p), p, value);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


void
ngx_smtp_conf_create_pass(ngx_smtp_server_conf_t *conf)
{
    ngx_smtp_pass_conf_t  *p;

    p = &conf->pass;

    p->next_tries = NGX_CONF_UNSET_UINT;
    p->next_timeout = NGX_CONF_UNSET_MSEC;
    p->buffer_size = NGX_CONF_UNSET_SIZE;
    p->connect_timeout = NGX_CONF_UNSET_MSEC;
    p->timeout = NGX_CONF_UNSET_MSEC;
    p->send_timeout = NGX_CONF_UNSET_MSEC;
    p->data_timeout = NGX_CONF_UNSET_MSEC;
    p->keepalive = NGX_CONF_UNSET_UINT;
    p->keepalive_messages = NGX_CONF_UNSET_UINT;
    p->keepalive_timeout = NGX_CONF_UNSET_MSEC;
    p->keepalive_time = NGX_CONF_UNSET_MSEC;
    p->bind = NGX_CONF_UNSET_PTR;
    p->proxy_protocol = NGX_CONF_UNSET_UINT;
    p->auth = NGX_CONF_UNSET_UINT;
    p->xclient = NGX_CONF_UNSET;
    p->xforward = NGX_CONF_UNSET;

    p->health_interval = NGX_CONF_UNSET_MSEC;

    ngx_smtp_conf_create_pass_ssl(conf);
}


char *
ngx_smtp_conf_merge_pass(ngx_conf_t *cf, ngx_smtp_server_conf_t *prev,
    ngx_smtp_server_conf_t *conf)
{
    ngx_smtp_pass_conf_t  *p, *c;

    p = &prev->pass;
    c = &conf->pass;

    ngx_conf_merge_bitmask_value(c->next, p->next,
                                 (NGX_CONF_BITMASK_SET|NGX_SMTP_PASS_ERROR
                                  |NGX_SMTP_PASS_TIMEOUT|NGX_SMTP_PASS_421));

    if (c->next & NGX_SMTP_PASS_OFF) {
        c->next = NGX_CONF_BITMASK_SET;
    }

    ngx_conf_merge_uint_value(c->next_tries, p->next_tries, 0);
    ngx_conf_merge_msec_value(c->next_timeout, p->next_timeout, 0);
    ngx_conf_merge_size_value(c->buffer_size, p->buffer_size,
                              NGX_SMTP_PASS_BUFFER_SIZE);

    if (c->temp_path == NULL) {
        c->temp_path = p->temp_path;
    }

    ngx_conf_merge_msec_value(c->connect_timeout, p->connect_timeout,
                              NGX_SMTP_PASS_CONNECT_TIMEOUT);
    ngx_conf_merge_msec_value(c->timeout, p->timeout,
                              NGX_SMTP_PASS_TIMEOUT_COMMAND);
    ngx_conf_merge_msec_value(c->send_timeout, p->send_timeout,
                              NGX_SMTP_PASS_SEND_TIMEOUT);
    ngx_conf_merge_msec_value(c->data_timeout, p->data_timeout,
                              NGX_SMTP_PASS_DATA_TIMEOUT);
    ngx_conf_merge_uint_value(c->keepalive, p->keepalive,
                              NGX_SMTP_PASS_KEEPALIVE);
    ngx_conf_merge_uint_value(c->keepalive_messages, p->keepalive_messages,
                              NGX_SMTP_PASS_KEEPALIVE_MESSAGES);
    ngx_conf_merge_msec_value(c->keepalive_timeout, p->keepalive_timeout,
                              NGX_SMTP_PASS_KEEPALIVE_TIMEOUT);
    ngx_conf_merge_msec_value(c->keepalive_time, p->keepalive_time,
                              NGX_SMTP_PASS_KEEPALIVE_TIME);
    ngx_conf_merge_uint_value(c->proxy_protocol, p->proxy_protocol, 0);
    ngx_conf_merge_value(c->xclient, p->xclient, 0);
    ngx_conf_merge_value(c->xforward, p->xforward, 0);
    ngx_conf_merge_bitmask_value(c->extensions, p->extensions,
                                 NGX_CONF_BITMASK_SET);

    if (c->bind == NGX_CONF_UNSET_PTR) {
        ngx_conf_merge_ptr_value(c->bind, p->bind, NULL);
        c->bind_value = p->bind_value;
        c->bind_transparent = p->bind_transparent;
    }

    if (c->auth == NGX_CONF_UNSET_UINT) {
        ngx_conf_merge_uint_value(c->auth, p->auth, NGX_SMTP_PASS_AUTH_OFF);
        c->user = p->user;
        c->password = p->password;
    }

    ngx_queue_init(&c->idle);

    if (ngx_smtp_conf_merge_health(cf, prev, conf) != NGX_CONF_OK
        || ngx_smtp_conf_merge_pass_ssl(cf, prev, conf) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (c->target.len == 0) {

        if (c->fallback) {
            return ngx_smtp_conf_error(cf, &conf->server, "\"fallback=\" of "
                                       "\"smtp_enqueue\" needs \"smtp_pass\"");
        }

        return NGX_CONF_OK;
    }

    c->hostname = conf->server.hostname;

    if (c->fallback == 0) {
        c->fallback = NGX_SMTP_PASS_ERROR|NGX_SMTP_PASS_TIMEOUT
                      |NGX_SMTP_PASS_421;
    }

    return ngx_smtp_conf_pass_check(cf, conf);
}


char *
ngx_smtp_conf_pass_check(ngx_conf_t *cf, ngx_smtp_server_conf_t *conf)
{
    ngx_smtp_pass_conf_t  *c;

    c = &conf->pass;

    if (c->auth != NGX_SMTP_PASS_AUTH_OFF && !c->ssl_verify) {
        return ngx_smtp_conf_error(cf, &conf->server,
                                   "\"smtp_pass_auth\" would give the "
                                   "password to a backend that is not "
                                   "verified: it needs "
                                   "\"smtp_pass_ssl_verify\"");
    }

    if (c->auth == NGX_SMTP_PASS_AUTH_CLIENT) {

        if (conf->server.auth == 0) {
            return ngx_smtp_conf_error(cf, &conf->server,
                                       "\"smtp_pass_auth client\" passes "
                                       "logins of clients on: it needs "
                                       "\"smtp_auth\"");
        }

        conf->server.keep_password = 1;
    }

    return NGX_CONF_OK;
}
