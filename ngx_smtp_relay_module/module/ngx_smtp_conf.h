
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the files of module/ share: the configuration of stream{}, the setters
 * of directives, the hooks of a worker.  Structures live in the cycle's pool.
 */


#ifndef _NGX_SMTP_CONF_H_INCLUDED_
#define _NGX_SMTP_CONF_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>
#include <ngx_thread_pool.h>

#include "ngx_smtp_core.h"
#include "ngx_smtp_server.h"
#include "ngx_smtp_login.h"
#include "ngx_smtp_redis.h"
#include "ngx_smtp_pass.h"
#include "ngx_smtp_relay.h"
#include "ngx_smtp_store.h"
#include "ngx_smtp_verify.h"
#include "ngx_smtp_zone.h"


typedef struct {
    ngx_array_t                   queues;     /* ngx_smtp_queue_conf_t * */
    ngx_array_t                   stores;     /* ngx_smtp_store_conf_t * */
    ngx_array_t                   redis;      /* ngx_smtp_redis_conf_t * */
    ngx_array_t                   zones;      /* ngx_shm_zone_t * */
    ngx_array_t                   accounts;   /* ngx_smtp_accounts_t * */

    ngx_shm_zone_t               *zone;       /* the first, or the default */
    ngx_msec_t                    auth_cache;
    ngx_flag_t                    drain;

    ngx_thread_pool_t            *commit_pool;    /* of smtp_thread_pool, */
    ngx_thread_pool_t            *auth_pool;      /* or the default one */

    ngx_stream_conf_ctx_t        *ctx;        /* of stream{} */
    ngx_smtp_relay_conf_t         relay;
    ngx_array_t                   passes;     /* ngx_smtp_pass_conf_t * */
    ngx_uint_t                    servers;    /* server{} blocks with a sink */
} ngx_smtp_main_conf_t;


/* smtp_pass_ssl_...: what the context of TLS is made of */
typedef struct {
    ngx_uint_t                    protocols;
    ngx_str_t                     ciphers;
    ngx_stream_complex_value_t   *name;
    ngx_str_t                     trusted;
    ngx_str_t                     crl;
    ngx_uint_t                    verify_depth;
    ngx_stream_complex_value_t   *certificate;
    ngx_stream_complex_value_t   *key;
    ngx_array_t                  *passwords;  /* of ngx_str_t */
    ngx_array_t                  *commands;   /* of ngx_keyval_t */
    ngx_flag_t                    session_reuse;
} ngx_smtp_pass_ssl_conf_t;


/* a server{} block: what the session knows, and what merging needs */
typedef struct {
    ngx_smtp_srv_conf_t           server;     /* must be first */

    ngx_smtp_pass_conf_t          pass;       /* smtp_pass */
    ngx_smtp_pass_ssl_conf_t      ssl;        /* smtp_pass_ssl_... */
    ngx_smtp_verify_conf_t       *verify;     /* NULL: none */
    u_char                       *verify_file;
    ngx_uint_t                    verify_line;

    ngx_str_t                     enqueue;    /* name of the queue */
    ngx_str_t                     accounts;   /* value of smtp_accounts */
    ngx_hash_keys_arrays_t       *domains_keys;
    ngx_uint_t                    domains_off;    /* nothing is inherited */
    ngx_open_file_t              *log;        /* smtp_log; NULL: none */
    ngx_flag_t                    log_set;
} ngx_smtp_server_conf_t;


/* setters; the usual contract of ngx_command_t.set */
char *ngx_smtp_conf_queue(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_thread_pool(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_smtp_conf_auth(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_trust(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_xclient(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_domains(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_enqueue(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_pass_auth(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_verify(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_health(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_pass_temp_path(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_smtp_conf_pass_bind(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_log(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/*
 * Setters of nginx (ngx_conf_set_..._slot), with the same cmd->offset and
 * cmd->post, that tell what to write instead of a wrong value.  timeout: an
 * msec that must not be 0.
 */
char *ngx_smtp_conf_set_num(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_set_size(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_set_off(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_set_sec(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_set_msec(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_set_timeout(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_smtp_conf_set_enum(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_smtp_conf_set_bitmask(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * Carries out one directive of a block of ours (name is smtp_queue or
 * smtp_redis) by the table of its directives; for cf->handler.
 */
char *ngx_smtp_conf_block(ngx_conf_t *cf, const char *name,
    ngx_command_t *commands, void *conf);

/* merge and check of a server{} block; NGX_CONF_OK, or logged */
void *ngx_smtp_conf_create_server(ngx_conf_t *cf);
char *ngx_smtp_conf_merge_server(ngx_conf_t *cf, void *parent, void *child);

/* the same for smtp_trust and smtp_xclient */
void ngx_smtp_conf_merge_networks(ngx_smtp_srv_conf_t *prev,
    ngx_smtp_srv_conf_t *conf);
char *ngx_smtp_conf_check_networks(ngx_conf_t *cf, ngx_smtp_srv_conf_t *conf);

/* 1 for a directive that says "off" and nothing else */
ngx_uint_t ngx_smtp_conf_off(ngx_conf_t *cf);

/* adds a value with variables to *values, which is made if it is NULL */
char *ngx_smtp_conf_value(ngx_conf_t *cf, ngx_str_t *value,
    ngx_array_t **values);

/*
 * The index of a stream module that may be absent, or NGX_ERROR; nobody else
 * sees its types: the first member of its configuration is what is looked at,
 * and has been it in all versions.
 */
ngx_int_t ngx_smtp_conf_module(ngx_conf_t *cf, const char *name);

/* the same for what belongs to smtp_pass */
void ngx_smtp_conf_create_pass(ngx_smtp_server_conf_t *conf);
char *ngx_smtp_conf_merge_pass(ngx_conf_t *cf, ngx_smtp_server_conf_t *prev,
    ngx_smtp_server_conf_t *conf);

/* the same for smtp_health_check; lists the proxy of the block */
char *ngx_smtp_conf_merge_health(ngx_conf_t *cf, ngx_smtp_server_conf_t *prev,
    ngx_smtp_server_conf_t *conf);

/* workers get to know the backends of pass->upstream; pass is not moved */
char *ngx_smtp_conf_list_backends(ngx_conf_t *cf,
    ngx_smtp_server_conf_t *conf, ngx_smtp_pass_conf_t *pass);

/* warns if backends are to be checked, but are named by variables of name */
void ngx_smtp_conf_health_unknown(ngx_conf_t *cf,
    ngx_smtp_server_conf_t *conf, ngx_smtp_pass_conf_t *pass,
    const char *name);

/* the same for smtp_verify_recipient, when all of smtp_pass is merged */
char *ngx_smtp_conf_merge_verify(ngx_conf_t *cf, ngx_smtp_server_conf_t *prev,
    ngx_smtp_server_conf_t *conf);

/* a name, an address or variables: who is asked */
char *ngx_smtp_conf_pass_target(ngx_conf_t *cf, ngx_smtp_pass_conf_t *pass,
    ngx_str_t *value);

/* what cannot be with what, when all of it is merged */
char *ngx_smtp_conf_pass_check(ngx_conf_t *cf, ngx_smtp_server_conf_t *conf);

/* 1 if value begins with name ("interval="); *arg is the rest */
ngx_uint_t ngx_smtp_conf_param(ngx_str_t *value, ngx_str_t *arg,
    const char *name);

/* where smtp_pass keeps copies of large messages; its queue is known */
void ngx_smtp_conf_pass_temp(ngx_conf_t *cf, ngx_smtp_pass_conf_t *pass);

/* the same for TLS to backends; after the rest of smtp_pass */
char *ngx_smtp_conf_pass_ssl_password_file(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
void ngx_smtp_conf_create_pass_ssl(ngx_smtp_server_conf_t *conf);
char *ngx_smtp_conf_merge_pass_ssl(ngx_conf_t *cf,
    ngx_smtp_server_conf_t *prev, ngx_smtp_server_conf_t *conf);

/* parameter fallback= of smtp_enqueue */
char *ngx_smtp_conf_fallback(ngx_conf_t *cf, ngx_smtp_server_conf_t *sscf,
    ngx_str_t *value);

/* makes the server{} block ours; NGX_CONF_ERROR: it is another module's */
char *ngx_smtp_conf_sink(ngx_conf_t *cf, ngx_smtp_server_conf_t *sscf);

/* logs text with the place of the sink; returns NGX_CONF_ERROR */
char *ngx_smtp_conf_error(ngx_conf_t *cf, ngx_smtp_srv_conf_t *conf,
    const char *text);

/* all queues are read: names, stores, thread pools; before the merges */
char *ngx_smtp_conf_init_queues(ngx_conf_t *cf, ngx_smtp_main_conf_t *smcf);

ngx_smtp_queue_conf_t *ngx_smtp_conf_find_queue(ngx_smtp_main_conf_t *smcf,
    ngx_str_t *name);
ngx_smtp_redis_conf_t *ngx_smtp_conf_find_redis(ngx_smtp_main_conf_t *smcf,
    ngx_str_t *name);

/* preconfiguration: the $smtp_* variables */
ngx_int_t ngx_smtp_variables_add(ngx_conf_t *cf);

/* smtp_log: one line a transaction (txn->logs), one a delivery attempt */
void ngx_smtp_log_transaction(ngx_smtp_transaction_t *txn);
void ngx_smtp_log_attempt(void *data, ngx_smtp_attempt_t *a);

/* init_module, init_process and exit_process */
ngx_int_t ngx_smtp_worker_prepare(ngx_cycle_t *cycle);
ngx_int_t ngx_smtp_worker_init(ngx_cycle_t *cycle);
void ngx_smtp_worker_exit(ngx_cycle_t *cycle);


#endif /* _NGX_SMTP_CONF_H_INCLUDED_ */
