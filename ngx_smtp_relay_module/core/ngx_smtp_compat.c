
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What needs more than a macro to be the same in all versions of nginx.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_compat.h"


/* what is asked of a listener */
#define NGX_SMTP_COMPAT_PROXY  0
#define NGX_SMTP_COMPAT_SSL    1


static ngx_uint_t ngx_smtp_compat_listen(ngx_conf_t *cf, ngx_uint_t what);


ngx_uint_t
ngx_smtp_compat_proxy_protocol(ngx_conf_t *cf)
{
    return ngx_smtp_compat_listen(cf, NGX_SMTP_COMPAT_PROXY);
}


ngx_uint_t
ngx_smtp_compat_listen_ssl(ngx_conf_t *cf)
{
    return ngx_smtp_compat_listen(cf, NGX_SMTP_COMPAT_SSL);
}


#if (NGX_SMTP_COMPAT_LISTEN)

static ngx_uint_t
ngx_smtp_compat_listen(ngx_conf_t *cf, ngx_uint_t what)
{
    ngx_uint_t                    i, on;
    ngx_stream_listen_t          *ls;
    ngx_stream_conf_ctx_t        *ctx;
    ngx_stream_core_main_conf_t  *cmcf;

    ctx = cf->ctx;
    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);

    ls = cmcf->listen.elts;

    for (i = 0; i < cmcf->listen.nelts; i++) {

        on = (what == NGX_SMTP_COMPAT_SSL) ? ls[i].ssl : ls[i].proxy_protocol;

        if (on && ls[i].ctx->srv_conf == ctx->srv_conf) {
            return 1;
        }
    }

    return 0;
}

#else

static ngx_uint_t
ngx_smtp_compat_listen(ngx_conf_t *cf, ngx_uint_t what)
{
    ngx_uint_t                     i, j, k, on;
    ngx_stream_conf_ctx_t         *ctx;
    ngx_stream_conf_port_t        *port;
    ngx_stream_conf_addr_t        *addr;
    ngx_stream_core_srv_conf_t   **cscf;
    ngx_stream_core_main_conf_t   *cmcf;

    ctx = cf->ctx;
    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);

    if (cmcf->ports == NULL) {
        return 0;
    }

    port = cmcf->ports->elts;

    for (i = 0; i < cmcf->ports->nelts; i++) {
        addr = port[i].addrs.elts;

        for (j = 0; j < port[i].addrs.nelts; j++) {

            on = (what == NGX_SMTP_COMPAT_SSL) ? addr[j].opt.ssl
                                               : addr[j].opt.proxy_protocol;
            if (!on) {
                continue;
            }

            cscf = addr[j].servers.elts;

            for (k = 0; k < addr[j].servers.nelts; k++) {

                if (cscf[k]->ctx->srv_conf == ctx->srv_conf) {
                    return 1;
                }
            }
        }
    }

    return 0;
}

#endif
