
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Configuration of a named Redis: defaults, servers, checks, TLS context.
 * Everything lives in the pool of the configuration.
 */


#include "ngx_smtp_redis.h"


static ngx_int_t ngx_smtp_redis_conf_ssl(ngx_conf_t *cf,
    ngx_smtp_redis_conf_t *conf);


ngx_smtp_redis_conf_t *
ngx_smtp_redis_conf_create(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_smtp_redis_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_smtp_redis_conf_t));

    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     host, username, password, prefix, tls_name,
     *     tls_trusted_certificate
     *     ssl = NULL
     *     redis = NULL
     */

    conf->name = *name;
    conf->database = NGX_CONF_UNSET;
    conf->timeout = NGX_CONF_UNSET_MSEC;
    conf->max_pending = NGX_CONF_UNSET_UINT;
    conf->tls = NGX_CONF_UNSET;
    conf->tls_verify = NGX_CONF_UNSET;

    conf->file = cf->conf_file->file.name.data;
    conf->line = cf->conf_file->line;

    if (ngx_array_init(&conf->servers, cf->pool, 2, sizeof(ngx_addr_t))
        != NGX_OK)
    {
        return NULL;
    }

    return conf;
}


ngx_int_t
ngx_smtp_redis_conf_server(ngx_conf_t *cf, ngx_smtp_redis_conf_t *conf,
    ngx_str_t *url)
{
    ngx_url_t    u;
    ngx_uint_t   i;
    ngx_addr_t  *addr;

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = *url;
    u.default_port = NGX_SMTP_REDIS_PORT;

    if (ngx_parse_url(cf->pool, &u) != NGX_OK) {

        if (u.err) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "%s in Redis server \"%V\"", u.err, &u.url);
        }

        return NGX_ERROR;
    }

    if (u.naddrs == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no address of Redis server \"%V\"", &u.url);
        return NGX_ERROR;
    }

    if (conf->servers.nelts == 0) {
        conf->host = u.host;
    }

    for (i = 0; i < u.naddrs; i++) {
        addr = ngx_array_push(&conf->servers);

        if (addr == NULL) {
            return NGX_ERROR;
        }

        *addr = u.addrs[i];
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_redis_conf_init(ngx_conf_t *cf, ngx_smtp_redis_conf_t *conf)
{
    const char  *err;

    if (conf->prefix.data == NULL) {
        ngx_str_set(&conf->prefix, NGX_SMTP_REDIS_PREFIX);
    }

    ngx_conf_init_value(conf->database, 0);
    ngx_conf_init_msec_value(conf->timeout, NGX_SMTP_REDIS_TIMEOUT);
    ngx_conf_init_uint_value(conf->max_pending, NGX_SMTP_REDIS_MAX_PENDING);
    ngx_conf_init_value(conf->tls, 0);
    ngx_conf_init_value(conf->tls_verify,
                        conf->tls_trusted_certificate.len != 0);

    err = NULL;

    if (conf->servers.nelts == 0) {
        err = "has no \"server\", add one such as \"server 127.0.0.1:6379\"";

    } else if (conf->username.len && conf->password.len == 0) {
        err = "has a \"username\" without a \"password\"";

    } else if (conf->timeout == 0) {
        err = "has \"timeout 0\", write a time such as \"2s\"";

    } else if (conf->database < 0) {
        err = "has an invalid \"database\", write a number such as \"0\"";

    } else if (!conf->tls
               && (conf->tls_verify || conf->tls_name.len
                   || conf->tls_trusted_certificate.len))
    {
        err = "has parameters of TLS without \"tls on\"";

    } else if (conf->tls_verify && conf->tls_trusted_certificate.len == 0) {
        err = "has \"tls_verify on\" without a "
              "\"tls_trusted_certificate\"";
    }

    if (err) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "smtp_redis \"%V\" %s in %s:%ui",
                      &conf->name, err, conf->file, conf->line);
        return NGX_ERROR;
    }

    if (!conf->tls) {
        return NGX_OK;
    }

    return ngx_smtp_redis_conf_ssl(cf, conf);
}


static ngx_int_t
ngx_smtp_redis_conf_ssl(ngx_conf_t *cf, ngx_smtp_redis_conf_t *conf)
{
#if (NGX_SSL)

    u_char              *p;
    in_addr_t            addr;
    ngx_str_t           *name;
    ngx_pool_cleanup_t  *cln;

    conf->ssl = ngx_pcalloc(cf->pool, sizeof(ngx_ssl_t));

    if (conf->ssl == NULL) {
        return NGX_ERROR;
    }

    conf->ssl->log = cf->log;

    if (ngx_ssl_create(conf->ssl, NGX_SSL_TLSv1_2|NGX_SSL_TLSv1_3, NULL)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);

    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(conf->ssl);
        return NGX_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = conf->ssl;

    if (conf->tls_verify
        && ngx_ssl_trusted_certificate(cf, conf->ssl,
                                       &conf->tls_trusted_certificate, 10)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    name = &conf->tls_name;

    if (name->len == 0) {

        /* an address is no name; "unix:" leaves no host */

        addr = ngx_inet_addr(conf->host.data, conf->host.len);

        if (conf->host.len == 0 || conf->host.data[0] == '['
            || conf->host.data[0] == '/' || addr != INADDR_NONE)
        {
            if (conf->tls_verify) {
                ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                              "smtp_redis \"%V\" has a server without a name "
                              "to verify: set \"tls_name\" in %s:%ui",
                              &conf->name, conf->file, conf->line);
                return NGX_ERROR;
            }

            return NGX_OK;
        }

        *name = conf->host;
    }

    p = ngx_pnalloc(cf->pool, name->len + 1);

    if (p == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn(p, name->data, name->len + 1);
    name->data = p;

    return NGX_OK;

#else

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "\"tls\" in smtp_redis \"%V\" in %s:%ui needs nginx "
                  "with OpenSSL", &conf->name, conf->file, conf->line);
    return NGX_ERROR;

#endif
}
