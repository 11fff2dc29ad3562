
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A module without directives that is initialized before ngx_stream_ssl_module
 * (see config).  It looks at the servers with smtp_starttls: those without a
 * certificate are refused in words that name the directive, and in nginx
 * before 1.25.5 they are marked as if they had "listen ... ssl", without which
 * their TLS context would not be made.
 *
 * When everything is read and merged it refuses what looks at the client's
 * first octets and cannot work with us.  Whether it is set is read where the
 * directive has put it: the modules are not ours, and may be loaded after us.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_conf.h"
#include "ngx_smtp_compat.h"


typedef struct {
    ngx_str_t      name;
    ngx_uint_t     always;      /* also without smtp_starttls */
    const char    *reason;
} ngx_smtp_starttls_refused_t;


static void *ngx_smtp_starttls_create_main_conf(ngx_conf_t *cf);
static char *ngx_smtp_starttls_init_main_conf(ngx_conf_t *cf, void *conf);
static ngx_int_t ngx_smtp_starttls_init(ngx_conf_t *cf,
    ngx_stream_conf_ctx_t *ctx);
static ngx_int_t ngx_smtp_starttls_postconf(ngx_conf_t *cf);
static ngx_int_t ngx_smtp_starttls_check(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf, ngx_smtp_srv_conf_t *s);
static ngx_uint_t ngx_smtp_starttls_is_set(ngx_command_t *cmd, void *conf);


static ngx_smtp_starttls_refused_t  ngx_smtp_starttls_refused[] = {

    { ngx_string("ssl_preread"), 1,
      "waits for the client to speak first, which in SMTP the server does" },

    { ngx_string("js_preread"), 0,
      "cannot be used together with \"smtp_starttls\", it would be called "
      "again after the handshake: use \"js_access\"" },

    { ngx_null_string, 0, NULL }
};


static ngx_command_t  ngx_smtp_starttls_commands[] = {

    ngx_null_command
};


static ngx_stream_module_t  ngx_smtp_starttls_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_smtp_starttls_postconf,            /* postconfiguration */

    ngx_smtp_starttls_create_main_conf,    /* create main configuration */
    ngx_smtp_starttls_init_main_conf,      /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL                                   /* merge server configuration */
};


ngx_module_t  ngx_smtp_starttls_module = {
    NGX_MODULE_V1,
    &ngx_smtp_starttls_module_ctx,         /* module context */
    ngx_smtp_starttls_commands,            /* module directives */
    NGX_STREAM_MODULE,                     /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* nginx calls init_main_conf only where there is a main configuration */

static void *
ngx_smtp_starttls_create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_uint_t));
}


static char *
ngx_smtp_starttls_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_uint_t                     i;
    ngx_stream_core_srv_conf_t   **cscf;
    ngx_stream_core_main_conf_t   *cmcf;

    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);

    cscf = cmcf->servers.elts;

    for (i = 0; i < cmcf->servers.nelts; i++) {

        if (ngx_smtp_starttls_init(cf, cscf[i]->ctx) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* Nothing is merged yet: what a server does not set is stream{}'s. */

static ngx_int_t
ngx_smtp_starttls_init(ngx_conf_t *cf, ngx_stream_conf_ctx_t *ctx)
{
    ngx_uint_t                   starttls;
    ngx_smtp_srv_conf_t         *conf, *main_conf;
    ngx_stream_conf_ctx_t       *main_ctx;
    ngx_smtp_stream_ssl_conf_t  *ssl, *main_ssl;

    main_ctx = cf->ctx;

    conf = ctx->srv_conf[ngx_smtp_relay_module.ctx_index];
    main_conf = main_ctx->srv_conf[ngx_smtp_relay_module.ctx_index];

    starttls = conf->starttls;

    if (starttls == NGX_CONF_UNSET_UINT) {
        starttls = main_conf->starttls;
    }

    if (conf->sink == NULL || starttls == NGX_CONF_UNSET_UINT
        || starttls == NGX_SMTP_STARTTLS_OFF)
    {
        return NGX_OK;
    }

    ssl = ctx->srv_conf[ngx_stream_ssl_module.ctx_index];
    main_ssl = main_ctx->srv_conf[ngx_stream_ssl_module.ctx_index];

    if ((ssl->certificates == NULL || ssl->certificates == NGX_CONF_UNSET_PTR)
        && (main_ssl->certificates == NULL
            || main_ssl->certificates == NGX_CONF_UNSET_PTR))
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"smtp_starttls\" needs \"ssl_certificate\" and "
                      "\"ssl_certificate_key\" in %s:%ui",
                      conf->file, conf->line);
        return NGX_ERROR;
    }

#if (NGX_SMTP_COMPAT_SSL_LISTEN)

    if (!ssl->listen) {
        ssl->listen = 1;
        ssl->file = conf->file;
        ssl->line = conf->line;
    }

#endif

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_starttls_postconf(ngx_conf_t *cf)
{
    void                         *conf;
    ngx_uint_t                    i, m;
    ngx_module_t                 *module;
    ngx_command_t                *cmd;
    ngx_smtp_srv_conf_t          *s;
    ngx_stream_core_srv_conf_t  **cscf;
    ngx_stream_core_main_conf_t  *cmcf;

    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);

    cscf = cmcf->servers.elts;

    for (i = 0; i < cmcf->servers.nelts; i++) {

        s = cscf[i]->ctx->srv_conf[ngx_smtp_relay_module.ctx_index];

        if (s->sink == NULL) {
            continue;
        }

        for (m = 0; cf->cycle->modules[m]; m++) {

            module = cf->cycle->modules[m];

            if (module->type != NGX_STREAM_MODULE) {
                continue;
            }

            conf = cscf[i]->ctx->srv_conf[module->ctx_index];

            for (cmd = module->commands; cmd && cmd->name.len; cmd++) {
                if (ngx_smtp_starttls_check(cf, cmd, conf, s) != NGX_OK) {
                    return NGX_ERROR;
                }
            }
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_starttls_check(ngx_conf_t *cf, ngx_command_t *cmd, void *conf,
    ngx_smtp_srv_conf_t *s)
{
    ngx_smtp_starttls_refused_t  *r;

    for (r = ngx_smtp_starttls_refused; r->name.len; r++) {

        if (cmd->name.len != r->name.len
            || ngx_strncmp(cmd->name.data, r->name.data, r->name.len) != 0
            || !ngx_smtp_starttls_is_set(cmd, conf)
            || (!r->always && s->starttls == NGX_SMTP_STARTTLS_OFF))
        {
            continue;
        }

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "\"%V\" %s in %s:%ui",
                      &r->name, r->reason, s->file, s->line);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* By nginx's own functions for directives; of others nothing is known. */

static ngx_uint_t
ngx_smtp_starttls_is_set(ngx_command_t *cmd, void *conf)
{
    void  *value;

    if (cmd->conf != NGX_STREAM_SRV_CONF_OFFSET || conf == NULL) {
        return 0;
    }

    value = (u_char *) conf + cmd->offset;

    if (cmd->set == ngx_conf_set_flag_slot) {
        return *(ngx_flag_t *) value == 1;
    }

    if (cmd->set == ngx_conf_set_str_slot) {
        return ((ngx_str_t *) value)->len != 0;
    }

    return 0;
}
