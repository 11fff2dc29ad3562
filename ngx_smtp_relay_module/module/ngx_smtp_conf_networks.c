
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Directives that name networks: smtp_trust and smtp_xclient, and what
 * nginx -t refuses of them.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_conf.h"
#include "ngx_smtp_compat.h"


static char *ngx_smtp_conf_no_networks(ngx_conf_t *cf, ngx_array_t **networks);
static char *ngx_smtp_conf_network(ngx_conf_t *cf, ngx_str_t *value,
    ngx_array_t **networks, const char *what);
static ngx_uint_t ngx_smtp_conf_covers_all(ngx_array_t *networks);
static ngx_uint_t ngx_smtp_conf_trusts_all(ngx_cidr_t *cidr);
static char *ngx_smtp_conf_check_trust(ngx_conf_t *cf,
    ngx_smtp_srv_conf_t *conf);
static char *ngx_smtp_conf_check_xclient(ngx_conf_t *cf,
    ngx_smtp_srv_conf_t *conf);
static ngx_uint_t ngx_smtp_conf_realip(ngx_conf_t *cf);


char *
ngx_smtp_conf_trust(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_server_conf_t *sscf = conf;

    char                 *rv;
    ngx_str_t            *value;
    ngx_uint_t            i;
    ngx_smtp_srv_conf_t  *s;

    s = &sscf->server;
    value = cf->args->elts;

    if (s->trust && s->trust->nelts == 0) {
        return "is duplicate";
    }

    if (ngx_smtp_conf_off(cf)) {
        return (s->trust || s->trust_values)
               ? "is duplicate" : ngx_smtp_conf_no_networks(cf, &s->trust);
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (i == cf->args->nelts - 1 && ngx_strcmp(value[i].data, "open") == 0)
        {
            if (i == 1) {
                return "needs networks before \"open\"";
            }

            s->trust_open = 1;
            continue;
        }

        if (value[i].data[0] == '$') {
            rv = ngx_smtp_conf_value(cf, &value[i], &s->trust_values);

        } else {
            rv = ngx_smtp_conf_network(cf, &value[i], &s->trust,
                                       "\"10.0.0.0/8\", a variable, or "
                                       "\"unix:\"");
        }

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_smtp_conf_xclient(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_server_conf_t *sscf = conf;

    ngx_str_t            *value;
    ngx_uint_t            i;
    ngx_smtp_srv_conf_t  *s;

    s = &sscf->server;
    value = cf->args->elts;

    if (s->xclient && s->xclient->nelts == 0) {
        return "is duplicate";
    }

    if (ngx_smtp_conf_off(cf)) {
        return s->xclient ? "is duplicate"
                          : ngx_smtp_conf_no_networks(cf, &s->xclient);
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (i == cf->args->nelts - 1 && ngx_strcmp(value[i].data, "open") == 0)
        {
            if (i == 1) {
                return "needs networks before \"open\"";
            }

            s->xclient_open = 1;
            continue;
        }

        if (ngx_smtp_conf_network(cf, &value[i], &s->xclient,
                                  "\"10.0.0.7/32\", or \"unix:\"")
            != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* "off": an empty list, instead of that of stream{} */

static char *
ngx_smtp_conf_no_networks(ngx_conf_t *cf, ngx_array_t **networks)
{
    *networks = ngx_array_create(cf->pool, 1, sizeof(ngx_cidr_t));

    return *networks ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static char *
ngx_smtp_conf_network(ngx_conf_t *cf, ngx_str_t *value, ngx_array_t **networks,
    const char *what)
{
    ngx_int_t    rc;
    ngx_cidr_t  *cidr;

    if (*networks == NULL) {
        *networks = ngx_array_create(cf->pool, 4, sizeof(ngx_cidr_t));
        if (*networks == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    cidr = ngx_array_push(*networks);
    if (cidr == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(cidr, sizeof(ngx_cidr_t));

#if (NGX_HAVE_UNIX_DOMAIN)
    if (ngx_strcmp(value->data, "unix:") == 0) {
        cidr->family = AF_UNIX;
        return NGX_CONF_OK;
    }
#endif

    rc = ngx_ptocidr(value, cidr);

    if (rc == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid address \"%V\", must be a network such as "
                           "%s", value, what);
        return NGX_CONF_ERROR;
    }

    if (rc == NGX_DONE) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "low address bits of %V are meaningless", value);
    }

    return NGX_CONF_OK;
}


void
ngx_smtp_conf_merge_networks(ngx_smtp_srv_conf_t *prev,
    ngx_smtp_srv_conf_t *conf)
{
    if (conf->trust == NULL && conf->trust_values == NULL) {
        conf->trust = prev->trust;
        conf->trust_values = prev->trust_values;
        conf->trust_open = prev->trust_open;
    }

    if (conf->xclient == NULL) {
        conf->xclient = prev->xclient;
        conf->xclient_open = prev->xclient_open;
    }
}


char *
ngx_smtp_conf_check_networks(ngx_conf_t *cf, ngx_smtp_srv_conf_t *conf)
{
    if (ngx_smtp_conf_check_trust(cf, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_smtp_conf_check_xclient(cf, conf);
}


static char *
ngx_smtp_conf_check_trust(ngx_conf_t *cf, ngx_smtp_srv_conf_t *conf)
{
    if (conf->trust_open
        || ((conf->trust == NULL || conf->trust->nelts == 0)
            && conf->trust_values == NULL))
    {
        return NGX_CONF_OK;
    }

    if (ngx_smtp_conf_covers_all(conf->trust)) {
        return ngx_smtp_conf_error(cf, conf, "\"smtp_trust\" covers all "
                                   "addresses, which makes an open relay; "
                                   "name your networks, or add \"open\" "
                                   "at its end if that is meant");
    }

    if (ngx_smtp_compat_proxy_protocol(cf) && !ngx_smtp_conf_realip(cf)) {
        return ngx_smtp_conf_error(cf, conf, "\"smtp_trust\" on a listener "
                                   "with \"proxy_protocol\" would see the "
                                   "address of the proxy, not of the client; "
                                   "add \"set_real_ip_from\", or \"open\" at "
                                   "the end of \"smtp_trust\" if that is "
                                   "meant");
    }

    return NGX_CONF_OK;
}


static char *
ngx_smtp_conf_check_xclient(ngx_conf_t *cf, ngx_smtp_srv_conf_t *conf)
{
    if (conf->xclient == NULL || conf->xclient_open) {
        return NGX_CONF_OK;
    }

    if (ngx_smtp_conf_covers_all(conf->xclient)) {
        return ngx_smtp_conf_error(cf, conf, "\"smtp_xclient\" covers all "
                                   "addresses: anybody could say to be "
                                   "anybody; name your filters, or add "
                                   "\"open\" at its end if that is meant");
    }

    if (conf->xclient->nelts && ngx_smtp_compat_proxy_protocol(cf)
        && !ngx_smtp_conf_realip(cf))
    {
        return ngx_smtp_conf_error(cf, conf, "\"smtp_xclient\" on a listener "
                                   "with \"proxy_protocol\" would see the "
                                   "address of the proxy, not of the filter; "
                                   "add \"set_real_ip_from\", or \"open\" at "
                                   "the end of \"smtp_xclient\" if that is "
                                   "meant");
    }

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_smtp_conf_covers_all(ngx_array_t *networks)
{
    ngx_uint_t   i;
    ngx_cidr_t  *cidr;

    cidr = networks ? networks->elts : NULL;

    for (i = 0; networks && i < networks->nelts; i++) {

        if (ngx_smtp_conf_trusts_all(&cidr[i])) {
            return 1;
        }
    }

    return 0;
}


/*
 * A network so large that it is no trust: all of IPv4 may come in two halves,
 * all public IPv6 addresses are in 2000::/3.
 */

static ngx_uint_t
ngx_smtp_conf_trusts_all(ngx_cidr_t *cidr)
{
    switch (cidr->family) {

#if (NGX_HAVE_INET6)
    case AF_INET6:
        return (cidr->u.in6.mask.s6_addr[0] & 0xf0) == 0
               || cidr->u.in6.mask.s6_addr[0] == 0xe0
               || cidr->u.in6.mask.s6_addr[0] == 0xc0
               || cidr->u.in6.mask.s6_addr[0] == 0x80;
#endif

#if (NGX_HAVE_UNIX_DOMAIN)
    case AF_UNIX:
        return 0;
#endif

    default: /* AF_INET */
        return (ntohl(cidr->u.in.mask) & 0x7fffffff) == 0;
    }
}


static ngx_uint_t
ngx_smtp_conf_realip(ngx_conf_t *cf)
{
    ngx_int_t               i;
    ngx_array_t           **from;
    ngx_stream_conf_ctx_t  *ctx;

    i = ngx_smtp_conf_module(cf, "ngx_stream_realip_module");

    if (i == NGX_ERROR) {
        return 0;
    }

    ctx = cf->ctx;
    from = ctx->srv_conf[i];

    return *from != NULL && *from != NGX_CONF_UNSET_PTR && (*from)->nelts;
}
