
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * For t/18-preread.t: a module of the preread phase, as those of others are.
 *
 *   js_preread name;      is only remembered, where njs remembers it
 *   test_preread octets;  reads as much before it goes on, under TLS only
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>


typedef struct {
    ngx_str_t    js;
    ngx_int_t    octets;
} ngx_stream_test_conf_t;


static ngx_int_t ngx_stream_test_handler(ngx_stream_session_t *s);
static ngx_int_t ngx_stream_test_init(ngx_conf_t *cf);
static void *ngx_stream_test_create_conf(ngx_conf_t *cf);
static char *ngx_stream_test_merge_conf(ngx_conf_t *cf, void *parent,
    void *child);


static ngx_command_t  ngx_stream_test_commands[] = {

    { ngx_string("js_preread"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_test_conf_t, js),
      NULL },

    { ngx_string("test_preread"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_test_conf_t, octets),
      NULL },

    ngx_null_command
};


static ngx_stream_module_t  ngx_stream_test_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_stream_test_init,                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_stream_test_create_conf,           /* create server configuration */
    ngx_stream_test_merge_conf             /* merge server configuration */
};


ngx_module_t  ngx_stream_test_module = {
    NGX_MODULE_V1,
    &ngx_stream_test_module_ctx,           /* module context */
    ngx_stream_test_commands,              /* module directives */
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


/* what nginx looks for in a file that it loads */

ngx_module_t  *ngx_modules[] = {
    &ngx_stream_test_module,
    NULL
};

char  *ngx_module_names[] = {
    "ngx_stream_test_module",
    NULL
};

char  *ngx_module_order[] = {
    NULL
};


static ngx_int_t
ngx_stream_test_handler(ngx_stream_session_t *s)
{
    ngx_buf_t               *b;
    ngx_stream_test_conf_t  *conf;

    conf = ngx_stream_get_module_srv_conf(s, ngx_stream_test_module);

    if (conf->octets == 0 || s->connection->ssl == NULL) {
        return NGX_DECLINED;
    }

    b = s->connection->buffer;

    if (b == NULL || b->last - b->pos < conf->octets) {
        return NGX_AGAIN;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_test_init(ngx_conf_t *cf)
{
    ngx_stream_handler_pt        *h;
    ngx_stream_core_main_conf_t  *cmcf;

    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_STREAM_PREREAD_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_stream_test_handler;

    return NGX_OK;
}


static void *
ngx_stream_test_create_conf(ngx_conf_t *cf)
{
    ngx_stream_test_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_stream_test_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->octets = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_stream_test_merge_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_stream_test_conf_t *prev = parent;
    ngx_stream_test_conf_t *conf = child;

    ngx_conf_merge_str_value(conf->js, prev->js, "");
    ngx_conf_merge_value(conf->octets, prev->octets, 0);

    return NGX_CONF_OK;
}
