
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * smtp_pass_ssl and smtp_pass_ssl_...: TLS to backends.  Names, values and
 * defaults are those of proxy_ssl_... in nginx's stream proxy, except that
 * TLS 1.2 is the oldest one by default.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_conf.h"
#include "ngx_smtp_compat.h"


static char *ngx_smtp_conf_pass_ssl_check(ngx_conf_t *cf,
    ngx_smtp_server_conf_t *conf);
static char *ngx_smtp_conf_pass_ssl_context(ngx_conf_t *cf,
    ngx_smtp_server_conf_t *conf);
static char *ngx_smtp_conf_pass_ssl_certificate(ngx_conf_t *cf,
    ngx_smtp_server_conf_t *conf);


char *
ngx_smtp_conf_pass_ssl_password_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_smtp_server_conf_t *sscf = conf;

    ngx_str_t  *value;

    if (sscf->ssl.passwords != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    sscf->ssl.passwords = ngx_ssl_read_password_file(cf, &value[1]);

    return sscf->ssl.passwords ? NGX_CONF_OK : NGX_CONF_ERROR;
}


void
ngx_smtp_conf_create_pass_ssl(ngx_smtp_server_conf_t *conf)
{
    conf->pass.tls = NGX_CONF_UNSET_UINT;
    conf->pass.ssl_verify = NGX_CONF_UNSET;
    conf->pass.ssl_server_name = NGX_CONF_UNSET;

    conf->ssl.name = NGX_CONF_UNSET_PTR;
    conf->ssl.certificate = NGX_CONF_UNSET_PTR;
    conf->ssl.key = NGX_CONF_UNSET_PTR;
    conf->ssl.passwords = NGX_CONF_UNSET_PTR;
    conf->ssl.commands = NGX_CONF_UNSET_PTR;
    conf->ssl.session_reuse = NGX_CONF_UNSET;
    conf->ssl.verify_depth = NGX_CONF_UNSET_UINT;
}


char *
ngx_smtp_conf_merge_pass_ssl(ngx_conf_t *cf, ngx_smtp_server_conf_t *prev,
    ngx_smtp_server_conf_t *conf)
{
    ngx_smtp_pass_conf_t      *p, *c;
    ngx_smtp_pass_ssl_conf_t  *ps, *cs;

    p = &prev->pass;
    c = &conf->pass;
    ps = &prev->ssl;
    cs = &conf->ssl;

    ngx_conf_merge_uint_value(c->tls, p->tls, NGX_SMTP_PASS_SSL_OFF);
    ngx_conf_merge_value(c->ssl_verify, p->ssl_verify, 0);
    ngx_conf_merge_value(c->ssl_server_name, p->ssl_server_name, 0);

    ngx_conf_merge_bitmask_value(cs->protocols, ps->protocols,
                                 (NGX_CONF_BITMASK_SET
                                  |NGX_SMTP_CLIENT_PROTOCOLS));
    ngx_conf_merge_str_value(cs->ciphers, ps->ciphers, "DEFAULT");
    ngx_conf_merge_ptr_value(cs->name, ps->name, NULL);
    ngx_conf_merge_str_value(cs->trusted, ps->trusted, "");
    ngx_conf_merge_str_value(cs->crl, ps->crl, "");
    ngx_conf_merge_uint_value(cs->verify_depth, ps->verify_depth, 1);
    ngx_conf_merge_ptr_value(cs->certificate, ps->certificate, NULL);
    ngx_conf_merge_ptr_value(cs->key, ps->key, NULL);
    ngx_conf_merge_ptr_value(cs->passwords, ps->passwords, NULL);
    ngx_conf_merge_ptr_value(cs->commands, ps->commands, NULL);
    ngx_conf_merge_value(cs->session_reuse, ps->session_reuse, 1);

    if (c->target.len == 0) {
        return NGX_CONF_OK;
    }

    if (cs->name) {
        if (cs->name->lengths) {
            c->ssl_name_value = cs->name;

        } else {
            c->ssl_name = cs->name->value;
        }
    }

    if (ngx_smtp_conf_pass_ssl_check(cf, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return c->tls == NGX_SMTP_PASS_SSL_OFF
           ? NGX_CONF_OK : ngx_smtp_conf_pass_ssl_context(cf, conf);
}


static char *
ngx_smtp_conf_pass_ssl_check(ngx_conf_t *cf, ngx_smtp_server_conf_t *conf)
{
    ngx_smtp_pass_conf_t  *c;

    c = &conf->pass;

    if (c->ssl_verify && c->tls == NGX_SMTP_PASS_SSL_OFF) {
        return ngx_smtp_conf_error(cf, &conf->server,
                                   "\"smtp_pass_ssl_verify\" needs "
                                   "\"smtp_pass_ssl starttls\" or \"on\"");
    }

    if (c->ssl_verify && conf->ssl.trusted.len == 0) {
        return ngx_smtp_conf_error(cf, &conf->server,
                                   "\"smtp_pass_ssl_verify\" needs "
                                   "\"smtp_pass_ssl_trusted_certificate\"");
    }

    if (conf->ssl.crl.len && conf->ssl.trusted.len == 0) {
        return ngx_smtp_conf_error(cf, &conf->server,
                                   "\"smtp_pass_ssl_crl\" needs "
                                   "\"smtp_pass_ssl_trusted_certificate\"");
    }

    if ((conf->ssl.certificate == NULL) != (conf->ssl.key == NULL)) {
        return ngx_smtp_conf_error(cf, &conf->server,
                                   "\"smtp_pass_ssl_certificate\" and "
                                   "\"smtp_pass_ssl_certificate_key\" go "
                                   "together");
    }

    return NGX_CONF_OK;
}


static char *
ngx_smtp_conf_pass_ssl_context(ngx_conf_t *cf, ngx_smtp_server_conf_t *conf)
{
    ngx_ssl_t                 *ssl;
    ngx_pool_cleanup_t        *cln;
    ngx_smtp_pass_ssl_conf_t  *cs;

    cs = &conf->ssl;

    ssl = ngx_pcalloc(cf->pool, sizeof(ngx_ssl_t));
    if (ssl == NULL) {
        return NGX_CONF_ERROR;
    }

    ssl->log = cf->log;

    if (ngx_ssl_create(ssl, cs->protocols, NULL) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(ssl);
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = ssl;

    conf->pass.ssl = ssl;

    if (ngx_ssl_ciphers(cf, ssl, &cs->ciphers, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (cs->certificate
        && ngx_smtp_conf_pass_ssl_certificate(cf, conf) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (cs->trusted.len
        && (ngx_ssl_trusted_certificate(cf, ssl, &cs->trusted,
                                        cs->verify_depth)
            != NGX_OK
            || ngx_ssl_crl(cf, ssl, &cs->crl) != NGX_OK))
    {
        return NGX_CONF_ERROR;
    }

    if (cs->session_reuse) {
        if (ngx_ssl_client_session_cache(cf, ssl, 1) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        conf->pass.ssl_resume = ngx_smtp_resume_create(cf->pool);
        if (conf->pass.ssl_resume == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return ngx_ssl_conf_commands(cf, ssl, cs->commands) == NGX_OK
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* Ours: of the context, or with variables chosen for each connection. */

static char *
ngx_smtp_conf_pass_ssl_certificate(ngx_conf_t *cf,
    ngx_smtp_server_conf_t *conf)
{
    ngx_smtp_pass_conf_t      *c;
    ngx_smtp_pass_ssl_conf_t  *cs;

    c = &conf->pass;
    cs = &conf->ssl;

    if (cs->certificate->lengths || cs->key->lengths) {
        c->ssl_certificate = cs->certificate;
        c->ssl_key = cs->key;
        c->ssl_passwords = ngx_ssl_preserve_passwords(cf, cs->passwords);

        return c->ssl_passwords ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    if (cs->certificate->value.len == 0) {

        /* "": none, as it would be inherited */

        return NGX_CONF_OK;
    }

    return ngx_ssl_certificate(cf, c->ssl, &cs->certificate->value,
                               &cs->key->value, cs->passwords)
           == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}
