
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>


static ngx_command_t  ngx_smtp_starttls_commands[] = {

    ngx_null_command
};


static ngx_stream_module_t  ngx_smtp_starttls_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL                                   /* merge server configuration */
};


ngx_module_t  ngx_smtp_starttls_module = {
    NGX_MODULE_V1,
    &ngx_smtp_starttls_module_ctx,             /* module context */
    ngx_smtp_starttls_commands,                /* module directives */
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
