
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The stream module: its directives and where nginx calls it.  Blocks are in
 * ngx_smtp_conf_queue.c and ngx_smtp_conf_redis.c, server{} in
 * ngx_smtp_conf_server.c, what a worker does in ngx_smtp_worker.c.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_conf.h"
#include "ngx_smtp_sasl.h"


static void *ngx_smtp_relay_create_main_conf(ngx_conf_t *cf);
static char *ngx_smtp_relay_init_main_conf(ngx_conf_t *cf, void *conf);
static char *ngx_smtp_conf_size(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_conf_enum_t  ngx_smtp_starttls_values[] = {
    { ngx_string("off"), NGX_SMTP_STARTTLS_OFF },
    { ngx_string("on"), NGX_SMTP_STARTTLS_ON },
    { ngx_string("required"), NGX_SMTP_STARTTLS_REQUIRED },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_smtp_bare_newline_values[] = {
    { ngx_string("reject"), NGX_SMTP_BARE_REJECT },
    { ngx_string("normalize"), NGX_SMTP_BARE_NORMALIZE },
    { ngx_null_string, 0 }
};


/* "off", which is none of them, is ngx_smtp_conf_auth()'s */

static ngx_conf_bitmask_t  ngx_smtp_auth_values[] = {
    { ngx_string("plain"), NGX_SMTP_SASL_PLAIN },
    { ngx_string("login"), NGX_SMTP_SASL_LOGIN },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_smtp_pass_ssl_values[] = {
    { ngx_string("off"), NGX_SMTP_PASS_SSL_OFF },
    { ngx_string("starttls"), NGX_SMTP_PASS_SSL_STARTTLS },
    { ngx_string("on"), NGX_SMTP_PASS_SSL_ON },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_smtp_pass_proxy_protocol_values[] = {
    { ngx_string("off"), 0 },
    { ngx_string("v1"), 1 },
    { ngx_string("v2"), 2 },
    { ngx_null_string, 0 }
};


static ngx_conf_bitmask_t  ngx_smtp_pass_ssl_protocols[] = {
    { ngx_string("SSLv2"), NGX_SSL_SSLv2 },
    { ngx_string("SSLv3"), NGX_SSL_SSLv3 },
    { ngx_string("TLSv1"), NGX_SSL_TLSv1 },
    { ngx_string("TLSv1.1"), NGX_SSL_TLSv1_1 },
    { ngx_string("TLSv1.2"), NGX_SSL_TLSv1_2 },
    { ngx_string("TLSv1.3"), NGX_SSL_TLSv1_3 },
    { ngx_null_string, 0 }
};


static ngx_conf_bitmask_t  ngx_smtp_pass_next_values[] = {
    { ngx_string("error"), NGX_SMTP_PASS_ERROR },
    { ngx_string("timeout"), NGX_SMTP_PASS_TIMEOUT },
    { ngx_string("421"), NGX_SMTP_PASS_421 },
    { ngx_string("4xx"), NGX_SMTP_PASS_4XX },
    { ngx_string("off"), NGX_SMTP_PASS_OFF },
    { ngx_null_string, 0 }
};


static ngx_conf_bitmask_t  ngx_smtp_pass_extensions_values[] = {
    { ngx_string("smtputf8"), NGX_SMTP_EXTENSION_SMTPUTF8 },
    { ngx_string("dsn"), NGX_SMTP_EXTENSION_DSN },
    { ngx_string("off"), NGX_SMTP_PASS_EXTENSIONS_OFF },
    { ngx_null_string, 0 }
};


static ngx_conf_num_bounds_t  ngx_smtp_recipients_bounds = {
    ngx_conf_check_num_bounds, 1, 65535
};


/* with 0 no session would come to its first message */

static ngx_conf_num_bounds_t  ngx_smtp_idle_commands_bounds = {
    ngx_conf_check_num_bounds, 1, -1
};


static ngx_command_t  ngx_smtp_relay_commands[] = {

    { ngx_string("smtp_queue"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_smtp_conf_queue,
      NGX_STREAM_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_redis"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_smtp_conf_redis,
      NGX_STREAM_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_zone"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_zone,
      NGX_STREAM_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_thread_pool"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_smtp_conf_thread_pool,
      NGX_STREAM_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_auth_cache"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_msec,
      NGX_STREAM_MAIN_CONF_OFFSET,
      offsetof(ngx_smtp_main_conf_t, auth_cache),
      NULL },

    { ngx_string("smtp_drain"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_STREAM_MAIN_CONF_OFFSET,
      offsetof(ngx_smtp_main_conf_t, drain),
      NULL },

    { ngx_string("smtp_hostname"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, hostname),
      NULL },

    { ngx_string("smtp_starttls"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_enum,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, starttls),
      ngx_smtp_starttls_values },

    { ngx_string("smtp_auth"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_1MORE,
      ngx_smtp_conf_auth,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, auth),
      ngx_smtp_auth_values },

    { ngx_string("smtp_auth_plaintext"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, auth_plaintext),
      NULL },

    { ngx_string("smtp_accounts"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, accounts),
      NULL },

    { ngx_string("smtp_trust"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_1MORE,
      ngx_smtp_conf_trust,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_xclient"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_1MORE,
      ngx_smtp_conf_xclient,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_domains"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_1MORE,
      ngx_smtp_conf_domains,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_enqueue"),
      NGX_STREAM_SRV_CONF|NGX_CONF_TAKE12,
      ngx_smtp_conf_enqueue,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_pass"),
      NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_pass,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_pass_next_upstream"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_1MORE,
      ngx_smtp_conf_set_bitmask,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.next),
      &ngx_smtp_pass_next_values },

    { ngx_string("smtp_pass_next_upstream_tries"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_num,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.next_tries),
      NULL },

    { ngx_string("smtp_pass_next_upstream_timeout"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_msec,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.next_timeout),
      NULL },

    { ngx_string("smtp_pass_buffer_size"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_size,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.buffer_size),
      NULL },

    { ngx_string("smtp_pass_temp_path"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_pass_temp_path,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.temp_path),
      NULL },

    { ngx_string("smtp_pass_extensions"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_1MORE,
      ngx_smtp_conf_set_bitmask,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.extensions),
      &ngx_smtp_pass_extensions_values },

    { ngx_string("smtp_verify_recipient"),
      NGX_STREAM_SRV_CONF|NGX_CONF_1MORE,
      ngx_smtp_conf_verify,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_health_check"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_ANY,
      ngx_smtp_conf_health,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_pass_connect_timeout"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_timeout,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.connect_timeout),
      NULL },

    { ngx_string("smtp_pass_timeout"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_timeout,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.timeout),
      NULL },

    { ngx_string("smtp_pass_send_timeout"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_timeout,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.send_timeout),
      NULL },

    { ngx_string("smtp_pass_data_timeout"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_timeout,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.data_timeout),
      NULL },

    { ngx_string("smtp_pass_keepalive"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_num,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.keepalive),
      NULL },

    { ngx_string("smtp_pass_keepalive_timeout"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_timeout,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.keepalive_timeout),
      NULL },

    { ngx_string("smtp_pass_keepalive_time"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_msec,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.keepalive_time),
      NULL },

    { ngx_string("smtp_pass_keepalive_messages"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_num,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.keepalive_messages),
      &ngx_smtp_recipients_bounds },

    { ngx_string("smtp_pass_ssl"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_enum,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.tls),
      &ngx_smtp_pass_ssl_values },

    { ngx_string("smtp_pass_ssl_session_reuse"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, ssl.session_reuse),
      NULL },

    { ngx_string("smtp_pass_ssl_protocols"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_1MORE,
      ngx_smtp_conf_set_bitmask,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, ssl.protocols),
      &ngx_smtp_pass_ssl_protocols },

    { ngx_string("smtp_pass_ssl_ciphers"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, ssl.ciphers),
      NULL },

    { ngx_string("smtp_pass_ssl_name"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_stream_set_complex_value_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, ssl.name),
      NULL },

    { ngx_string("smtp_pass_ssl_server_name"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.ssl_server_name),
      NULL },

    { ngx_string("smtp_pass_ssl_verify"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.ssl_verify),
      NULL },

    { ngx_string("smtp_pass_ssl_verify_depth"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_num,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, ssl.verify_depth),
      NULL },

    { ngx_string("smtp_pass_ssl_trusted_certificate"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, ssl.trusted),
      NULL },

    { ngx_string("smtp_pass_ssl_crl"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, ssl.crl),
      NULL },

    { ngx_string("smtp_pass_ssl_certificate"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_stream_set_complex_value_zero_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, ssl.certificate),
      NULL },

    { ngx_string("smtp_pass_ssl_certificate_key"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_stream_set_complex_value_zero_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, ssl.key),
      NULL },

    { ngx_string("smtp_pass_ssl_password_file"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_pass_ssl_password_file,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_pass_ssl_conf_command"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE2,
      ngx_conf_set_keyval_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, ssl.commands),
      NULL },

    { ngx_string("smtp_pass_bind"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE12,
      ngx_smtp_conf_pass_bind,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_pass_proxy_protocol"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_enum,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.proxy_protocol),
      &ngx_smtp_pass_proxy_protocol_values },

    { ngx_string("smtp_pass_xclient"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.xclient),
      NULL },

    { ngx_string("smtp_pass_xforward"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_server_conf_t, pass.xforward),
      NULL },

    { ngx_string("smtp_pass_auth"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE123,
      ngx_smtp_conf_pass_auth,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("smtp_bare_newline"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_enum,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, bare_newline),
      ngx_smtp_bare_newline_values },

    { ngx_string("smtp_max_message_size"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_off,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, max_message_size),
      NULL },

    { ngx_string("smtp_max_recipients"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_num,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, max_recipients),
      &ngx_smtp_recipients_bounds },

    { ngx_string("smtp_max_line_size"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_size,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, max_line_size),
      NULL },

    { ngx_string("smtp_max_errors"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_num,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, max_errors),
      NULL },

    { ngx_string("smtp_max_idle_commands"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_num,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, max_idle_commands),
      &ngx_smtp_idle_commands_bounds },

    { ngx_string("smtp_max_hops"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_num,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, max_hops),
      NULL },

    { ngx_string("smtp_client_timeout"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_timeout,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, client_timeout),
      NULL },

    { ngx_string("smtp_data_timeout"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_timeout,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, data_timeout),
      NULL },

    { ngx_string("smtp_send_timeout"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_timeout,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, send_timeout),
      NULL },

    { ngx_string("smtp_min_data_rate"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_smtp_conf_set_size,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_smtp_srv_conf_t, min_data_rate),
      NULL },

    { ngx_string("smtp_log"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE12,
      ngx_smtp_conf_log,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    ngx_null_command
};


static ngx_stream_module_t  ngx_smtp_relay_module_ctx = {
    ngx_smtp_variables_add,                /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_smtp_relay_create_main_conf,       /* create main configuration */
    ngx_smtp_relay_init_main_conf,         /* init main configuration */

    ngx_smtp_conf_create_server,           /* create server configuration */
    ngx_smtp_conf_merge_server             /* merge server configuration */
};


ngx_module_t  ngx_smtp_relay_module = {
    NGX_MODULE_V1,
    &ngx_smtp_relay_module_ctx,            /* module context */
    ngx_smtp_relay_commands,               /* module directives */
    NGX_STREAM_MODULE,                     /* module type */
    NULL,                                  /* init master */
    ngx_smtp_worker_prepare,               /* init module */
    ngx_smtp_worker_init,                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_smtp_worker_exit,                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_smtp_relay_create_main_conf(ngx_conf_t *cf)
{
    ngx_smtp_main_conf_t  *smcf;

    smcf = ngx_pcalloc(cf->pool, sizeof(ngx_smtp_main_conf_t));
    if (smcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&smcf->queues, cf->pool, 4,
                       sizeof(ngx_smtp_queue_conf_t *))
        != NGX_OK
        || ngx_array_init(&smcf->stores, cf->pool, 4,
                          sizeof(ngx_smtp_store_conf_t *))
           != NGX_OK
        || ngx_array_init(&smcf->redis, cf->pool, 4,
                          sizeof(ngx_smtp_redis_conf_t *))
           != NGX_OK
        || ngx_array_init(&smcf->zones, cf->pool, 4, sizeof(ngx_shm_zone_t *))
           != NGX_OK
        || ngx_array_init(&smcf->accounts, cf->pool, 4,
                          sizeof(ngx_smtp_accounts_t *))
           != NGX_OK
        || ngx_array_init(&smcf->passes, cf->pool, 4,
                          sizeof(ngx_smtp_pass_conf_t *))
           != NGX_OK)
    {
        return NULL;
    }

    smcf->auth_cache = NGX_CONF_UNSET_MSEC;
    smcf->drain = NGX_CONF_UNSET;

    return smcf;
}


static char *
ngx_smtp_relay_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_smtp_main_conf_t *smcf = conf;

    ngx_str_t         name;
    ngx_shm_zone_t  **zone;

    smcf->ctx = cf->ctx;

    ngx_conf_init_msec_value(smcf->auth_cache, NGX_SMTP_LOGIN_CACHE_TIME);
    ngx_conf_init_value(smcf->drain, 0);

    /* a stream{} without SMTP costs nothing */

    if (smcf->queues.nelts == 0 && smcf->servers == 0) {
        return NGX_CONF_OK;
    }

    if (smcf->zones.nelts) {
        zone = smcf->zones.elts;
        smcf->zone = zone[0];

    } else {
        ngx_str_set(&name, "smtp_default");

        smcf->zone = ngx_smtp_zone_add(cf, &name, NGX_SMTP_ZONE_DEFAULT_SIZE,
                                       &ngx_smtp_relay_module);
        if (smcf->zone == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (smcf->commit_pool == NULL) {
        smcf->commit_pool = ngx_thread_pool_add(cf, NULL);
    }

    if (smcf->auth_pool == NULL) {
        smcf->auth_pool = ngx_thread_pool_add(cf, NULL);
    }

    if (smcf->commit_pool == NULL || smcf->auth_pool == NULL) {
        return NGX_CONF_ERROR;
    }

    return ngx_smtp_conf_init_queues(cf, smcf);
}


char *
ngx_smtp_conf_block(ngx_conf_t *cf, const char *name, ngx_command_t *commands,
    void *conf)
{
    char           *rv;
    ngx_str_t      *value;
    ngx_uint_t      n;
    ngx_command_t  *cmd;

    static ngx_uint_t  takes[] = {
        NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_CONF_TAKE2, NGX_CONF_TAKE3,
        NGX_CONF_TAKE4, NGX_CONF_TAKE5, NGX_CONF_TAKE6, NGX_CONF_TAKE7
    };

    value = cf->args->elts;
    n = cf->args->nelts - 1;

    /* nginx leaves it to blocks of this kind */

    if (n == 1 && ngx_strcmp(value[0].data, "include") == 0) {
        return ngx_conf_include(cf, NULL, conf);
    }

    for (cmd = commands; cmd->name.len; cmd++) {

        if (cmd->name.len != value[0].len
            || ngx_strncmp(cmd->name.data, value[0].data, value[0].len) != 0)
        {
            continue;
        }

        if ((cmd->type & NGX_CONF_1MORE) ? n < 1
            : (cmd->type & NGX_CONF_FLAG) ? n != 1
            : n > 7 || !(cmd->type & takes[n]))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid number of arguments in \"%V\" "
                               "directive", &value[0]);
            return NGX_CONF_ERROR;
        }

        rv = cmd->set(cf, cmd, conf);

        if (rv == NGX_CONF_OK || rv == NGX_CONF_ERROR) {
            return rv;
        }

        /* nginx would say where, but not what */

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" directive %s",
                           &value[0], rv);
        return NGX_CONF_ERROR;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown directive \"%V\" in %s{}", &value[0], name);

    return NGX_CONF_ERROR;
}


char *
ngx_smtp_conf_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_main_conf_t *smcf = conf;

    u_char           *p;
    ssize_t           size;
    ngx_str_t        *value, name, s;
    ngx_shm_zone_t  **zone;

    value = cf->args->elts;

    p = ngx_strlchr(value[1].data, value[1].data + value[1].len, ':');

    if (p == NULL || p == value[1].data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone \"%V\", must be \"name:size\" such "
                           "as \"smtp:4m\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    name.data = value[1].data;
    name.len = p - name.data;

    s.data = p + 1;
    s.len = value[1].data + value[1].len - s.data;

    size = ngx_parse_size(&s);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid size of zone \"%V\", must be a size "
                           "such as \"4m\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    zone = ngx_array_push(&smcf->zones);
    if (zone == NULL) {
        return NGX_CONF_ERROR;
    }

    *zone = ngx_smtp_zone_add(cf, &name, size, &ngx_smtp_relay_module);

    return *zone ? NGX_CONF_OK : NGX_CONF_ERROR;
}


char *
ngx_smtp_conf_thread_pool(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_main_conf_t *smcf = conf;

    ngx_str_t           *value, name;
    ngx_uint_t           i;
    ngx_thread_pool_t  **pool;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_smtp_conf_param(&value[i], &name, "commit=")) {
            pool = &smcf->commit_pool;

        } else if (ngx_smtp_conf_param(&value[i], &name, "auth=")) {
            pool = &smcf->auth_pool;

        } else {
            pool = NULL;
        }

        if (pool == NULL || name.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", must be "
                               "\"commit=pool\" or \"auth=pool\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (*pool) {
            return "is duplicate";
        }

        /* nginx tells the place of this line, if nobody makes the pool */

        *pool = ngx_thread_pool_add(cf, &name);

        if (*pool == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* smtp_max_line_size: the input buffer holds no longer line than AUTH's */

static char *
ngx_smtp_conf_size(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char    *rv;
    size_t   size;

    rv = ngx_smtp_conf_set_size(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    size = *(size_t *) ((u_char *) conf + cmd->offset);

    if (size < 512 || size > NGX_SMTP_SASL_MAX_LINE) {
        return "must be between 512 and 12k";
    }

    return NGX_CONF_OK;
}
