
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * server{} blocks: who may relay, what is done with the mail, and the checks
 * that refuse a configuration which would make an open relay, or one that
 * could not work.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_command.h"
#include "ngx_smtp_address.h"
#include "ngx_smtp_conf.h"
#include "ngx_smtp_compat.h"
#include "ngx_smtp_enqueue.h"


#define NGX_SMTP_MAX_MESSAGE_SIZE   (50 * 1024 * 1024)
#define NGX_SMTP_MAX_RECIPIENTS     1000
#define NGX_SMTP_MAX_ERRORS         20
#define NGX_SMTP_MAX_IDLE_COMMANDS  100
#define NGX_SMTP_MAX_HOPS           50
#define NGX_SMTP_MAX_LINE_SIZE      4096
#define NGX_SMTP_CLIENT_TIMEOUT     300000
#define NGX_SMTP_DATA_TIMEOUT       180000
#define NGX_SMTP_SEND_TIMEOUT       60000
#define NGX_SMTP_MIN_DATA_RATE      64

/* the longest name in smtp_domains, and what a hash keeps with it */
#define NGX_SMTP_DOMAINS_BUCKET     512


static void ngx_smtp_conf_doubt(ngx_conf_t *cf, ngx_smtp_srv_conf_t *conf);
static char *ngx_smtp_conf_init_sink(ngx_conf_t *cf,
    ngx_smtp_server_conf_t *conf);
static ngx_int_t ngx_smtp_conf_domain_check(ngx_str_t *name);
static char *ngx_smtp_conf_init_domains(ngx_conf_t *cf,
    ngx_smtp_server_conf_t *conf);
static char *ngx_smtp_conf_init_login(ngx_conf_t *cf,
    ngx_smtp_server_conf_t *conf);
static int ngx_libc_cdecl ngx_smtp_conf_cmp_wildcards(const void *one,
    const void *two);


void *
ngx_smtp_conf_create_server(ngx_conf_t *cf)
{
    ngx_smtp_srv_conf_t     *s;
    ngx_smtp_server_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_smtp_server_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    s = &conf->server;

    s->starttls = NGX_CONF_UNSET_UINT;
    s->auth_plaintext = NGX_CONF_UNSET;
    s->bare_newline = NGX_CONF_UNSET_UINT;
    s->max_message_size = NGX_CONF_UNSET;
    s->max_recipients = NGX_CONF_UNSET_UINT;
    s->max_errors = NGX_CONF_UNSET_UINT;
    s->max_idle_commands = NGX_CONF_UNSET_UINT;
    s->max_hops = NGX_CONF_UNSET_UINT;
    s->max_line_size = NGX_CONF_UNSET_SIZE;
    s->client_timeout = NGX_CONF_UNSET_MSEC;
    s->data_timeout = NGX_CONF_UNSET_MSEC;
    s->send_timeout = NGX_CONF_UNSET_MSEC;
    s->min_data_rate = NGX_CONF_UNSET_SIZE;

    conf->log_set = 0;

    ngx_smtp_conf_create_pass(conf);

    return conf;
}


char *
ngx_smtp_conf_merge_server(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_smtp_server_conf_t *prev = parent;
    ngx_smtp_server_conf_t *conf = child;

    ngx_smtp_srv_conf_t  *p, *s;

    p = &prev->server;
    s = &conf->server;

    ngx_conf_merge_str_value(s->hostname, p->hostname, "");

    if (s->hostname.len == 0) {
        s->hostname = cf->cycle->hostname;
    }

    s->name = s->hostname;

    ngx_conf_merge_uint_value(s->starttls, p->starttls,
                              NGX_SMTP_STARTTLS_OFF);
    ngx_conf_merge_bitmask_value(s->auth, p->auth, 0);
    s->auth &= ~NGX_CONF_BITMASK_SET;
    ngx_conf_merge_value(s->auth_plaintext, p->auth_plaintext, 0);
    ngx_conf_merge_uint_value(s->bare_newline, p->bare_newline,
                              NGX_SMTP_BARE_REJECT);
    ngx_conf_merge_off_value(s->max_message_size, p->max_message_size,
                             NGX_SMTP_MAX_MESSAGE_SIZE);
    ngx_conf_merge_uint_value(s->max_recipients, p->max_recipients,
                              NGX_SMTP_MAX_RECIPIENTS);
    ngx_conf_merge_uint_value(s->max_errors, p->max_errors,
                              NGX_SMTP_MAX_ERRORS);
    ngx_conf_merge_uint_value(s->max_idle_commands, p->max_idle_commands,
                              NGX_SMTP_MAX_IDLE_COMMANDS);
    ngx_conf_merge_uint_value(s->max_hops, p->max_hops, NGX_SMTP_MAX_HOPS);
    ngx_conf_merge_size_value(s->max_line_size, p->max_line_size,
                              NGX_SMTP_MAX_LINE_SIZE);
    ngx_conf_merge_msec_value(s->client_timeout, p->client_timeout,
                              NGX_SMTP_CLIENT_TIMEOUT);
    ngx_conf_merge_msec_value(s->data_timeout, p->data_timeout,
                              NGX_SMTP_DATA_TIMEOUT);
    ngx_conf_merge_msec_value(s->send_timeout, p->send_timeout,
                              NGX_SMTP_SEND_TIMEOUT);
    ngx_conf_merge_size_value(s->min_data_rate, p->min_data_rate,
                              NGX_SMTP_MIN_DATA_RATE);
    ngx_conf_merge_str_value(conf->accounts, prev->accounts, "");

    ngx_smtp_conf_merge_networks(p, s);

    if (!conf->domains_off && conf->domains_keys == NULL
        && s->domains_values == NULL && !s->domains_open)
    {
        conf->domains_keys = prev->domains_keys;
        s->domains_values = p->domains_values;
        s->domains_open = p->domains_open;
    }

    if (!conf->log_set) {
        conf->log = prev->log;
        conf->log_set = prev->log_set;
    }

    if (conf->log) {
        s->logs = conf->log;
        s->log_handler = ngx_smtp_log_transaction;
    }

    if (ngx_smtp_conf_merge_pass(cf, prev, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_smtp_conf_merge_verify(cf, prev, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    if (s->sink == NULL) {
        return NGX_CONF_OK;
    }

    /* it stands in replies, in Received, in EHLO of a report's delivery */

    if (ngx_smtp_helo_check(&s->hostname) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"smtp_hostname\", by default the name of this "
                      "machine, must be a domain name such as "
                      "\"mail.example.com\", and is \"%V\" in %s:%ui",
                      &s->hostname, s->file, s->line);
        return NGX_CONF_ERROR;
    }

    if (ngx_smtp_conf_check_networks(cf, s) != NGX_CONF_OK
        || ngx_smtp_conf_init_domains(cf, conf) != NGX_CONF_OK
        || ngx_smtp_conf_init_login(cf, conf) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    ngx_smtp_conf_doubt(cf, s);

    return ngx_smtp_conf_init_sink(cf, conf);
}


/* What works as it is said, but hardly as it is meant. */

static void
ngx_smtp_conf_doubt(ngx_conf_t *cf, ngx_smtp_srv_conf_t *conf)
{
    if (conf->auth && !conf->auth_plaintext
        && conf->starttls == NGX_SMTP_STARTTLS_OFF
        && !ngx_smtp_compat_listen_ssl(cf))
    {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "nobody can log in: \"smtp_auth\" is offered under TLS "
                      "only, and this server{} has none; add "
                      "\"smtp_starttls required\" or \"listen ... ssl\", or "
                      "say \"smtp_auth off\", in %s:%ui",
                      conf->file, conf->line);
    }

    if (conf->auth == 0 && conf->trust_values == NULL
        && (conf->trust == NULL || conf->trust->nelts == 0)
        && (conf->xclient == NULL || conf->xclient->nelts == 0)
        && conf->domains == NULL && conf->domains_values == NULL)
    {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "this server{} refuses all mail, as nobody may relay "
                      "here: say who may log in by \"smtp_auth\", which "
                      "networks are trusted by \"smtp_trust\", or which "
                      "domains are ours by \"smtp_domains\", in %s:%ui",
                      conf->file, conf->line);
    }
}


/* The sinks: the spool, a proxy, a proxy with the spool behind it. */

static char *
ngx_smtp_conf_init_sink(ngx_conf_t *cf, ngx_smtp_server_conf_t *conf)
{
    ngx_smtp_srv_conf_t    *s;
    ngx_smtp_main_conf_t   *smcf;
    ngx_smtp_queue_conf_t  *queue;

    s = &conf->server;
    queue = NULL;

    if (conf->enqueue.len) {
        smcf = ngx_stream_conf_get_module_main_conf(cf, ngx_smtp_relay_module);

        queue = ngx_smtp_conf_find_queue(smcf, &conf->enqueue);

        if (queue == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"smtp_enqueue %V\" names a queue that no "
                          "\"smtp_queue\" defines in %s:%ui",
                          &conf->enqueue, s->file, s->line);
            return NGX_CONF_ERROR;
        }
    }

    if (conf->pass.target.len == 0) {
        s->sink = &ngx_smtp_enqueue_sink;
        s->sink_conf = queue;

        return NGX_CONF_OK;
    }

    conf->pass.queue = queue;
    ngx_smtp_conf_pass_temp(cf, &conf->pass);

    s->sink = &ngx_smtp_pass_sink;
    s->sink_conf = &conf->pass;

    if (queue && queue->next_hop.len == 2
        && ngx_strncmp(queue->next_hop.data, "mx", 2) == 0)
    {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "queue \"%V\" behind \"smtp_pass\" delivers to \"mx\", "
                      "past the backends of \"smtp_pass\", or back to us in "
                      "%s:%ui", &queue->name, s->file, s->line);
    }

    return NGX_CONF_OK;
}


char *
ngx_smtp_conf_enqueue(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_server_conf_t *sscf = conf;

    ngx_str_t  *value;

    if (sscf->enqueue.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs the name of an \"smtp_queue\"";
    }

    sscf->enqueue = value[1];

    if (cf->args->nelts == 3
        && ngx_smtp_conf_fallback(cf, sscf, &value[2]) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (ngx_smtp_conf_sink(cf, sscf) != NGX_CONF_OK) {
        return "cannot be used together with another content directive";
    }

    return NGX_CONF_OK;
}


char *
ngx_smtp_conf_sink(ngx_conf_t *cf, ngx_smtp_server_conf_t *sscf)
{
    ngx_smtp_main_conf_t        *smcf;
    ngx_stream_core_srv_conf_t  *cscf;

    if (sscf->server.sink) {
        return NGX_CONF_OK;
    }

    /* which one is known when all is read; a sink there must be */

    sscf->server.sink = &ngx_smtp_enqueue_sink;
    sscf->server.file = cf->conf_file->file.name.data;
    sscf->server.line = cf->conf_file->line;

    smcf = ngx_stream_conf_get_module_main_conf(cf, ngx_smtp_relay_module);
    smcf->servers++;

    cscf = ngx_stream_conf_get_module_srv_conf(cf, ngx_stream_core_module);

    if (cscf->handler) {
        return NGX_CONF_ERROR;
    }

    cscf->handler = ngx_smtp_server_handler;

    return NGX_CONF_OK;
}


char *
ngx_smtp_conf_domains(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_server_conf_t *sscf = conf;

    ngx_int_t             rc;
    ngx_str_t            *value, name;
    ngx_uint_t            i, last;
    ngx_smtp_srv_conf_t  *s;

    s = &sscf->server;
    value = cf->args->elts;
    last = cf->args->nelts - 1;

    if (sscf->domains_off) {
        return "is duplicate";
    }

    if (ngx_smtp_conf_off(cf)) {

        if (sscf->domains_keys || s->domains_values || s->domains_open) {
            return "is duplicate";
        }

        sscf->domains_off = 1;

        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (i == last && ngx_strcmp(value[i].data, "open") == 0) {
            if (i == 1) {
                return "needs \"* open\" to accept mail for all domains";
            }

            break;
        }

        if (ngx_strcmp(value[i].data, "*") == 0
            || ngx_strcmp(value[i].data, ".") == 0)
        {
            if (ngx_strcmp(value[last].data, "open") != 0) {
                return "would accept mail for all domains from anybody; add "
                       "\"open\" at its end if that is meant";
            }

            s->domains_open = 1;
            continue;
        }

        if (value[i].data[0] == '$') {
            if (ngx_smtp_conf_value(cf, &value[i], &s->domains_values)
                != NGX_CONF_OK)
            {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        if (sscf->domains_keys == NULL) {
            sscf->domains_keys = ngx_pcalloc(cf->pool,
                                             sizeof(ngx_hash_keys_arrays_t));
            if (sscf->domains_keys == NULL) {
                return NGX_CONF_ERROR;
            }

            sscf->domains_keys->pool = cf->pool;
            sscf->domains_keys->temp_pool = cf->temp_pool;

            if (ngx_hash_keys_array_init(sscf->domains_keys, NGX_HASH_LARGE)
                != NGX_OK)
            {
                return NGX_CONF_ERROR;
            }
        }

        name = value[i];

        /* any pointer will do, but a wildcard hash uses its lowest bits */

        rc = NGX_DECLINED;

        if (ngx_smtp_conf_domain_check(&name) == NGX_OK) {
            rc = ngx_hash_add_key(sscf->domains_keys, &name, sscf,
                                  NGX_HASH_WILDCARD_KEY);
        }

        if (rc == NGX_ERROR) {
            return NGX_CONF_ERROR;
        }

        if (rc == NGX_DECLINED) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid domain \"%V\", must be "
                               "\"example.com\", \".example.com\", "
                               "\"*.example.com\" (there is no other "
                               "wildcard), or a variable, which may be a map "
                               "of addresses", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (rc == NGX_BUSY) {
            ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                               "duplicate domain \"%V\"", &value[i]);
        }
    }

    return NGX_CONF_OK;
}


/* an address, a list with commas or a network would match nothing, ever */

static ngx_int_t
ngx_smtp_conf_domain_check(ngx_str_t *name)
{
    ngx_str_t  domain;

    domain = *name;

    if (ngx_strcmp(domain.data, "off") == 0) {
        return NGX_DECLINED;
    }

    if (domain.len > 1 && domain.data[0] == '[') {
        return ngx_smtp_literal_check(&domain);
    }

    if (domain.len > 2 && domain.data[0] == '*' && domain.data[1] == '.') {
        domain.data += 2;
        domain.len -= 2;

    } else if (domain.len > 1 && domain.data[0] == '.') {
        domain.data++;
        domain.len--;
    }

    return ngx_smtp_domain_check(&domain, NGX_SMTP_PATH_UTF8);
}


/* smtp_auth mechanism ... | off */

char *
ngx_smtp_conf_auth(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_server_conf_t *sscf = conf;

    ngx_uint_t  *auth;

    auth = &sscf->server.auth;

    /* set, but to no mechanism: what stream{} says is not inherited */

    if (*auth == NGX_CONF_BITMASK_SET) {
        return "is duplicate";
    }

    if (!ngx_smtp_conf_off(cf)) {
        return ngx_smtp_conf_set_bitmask(cf, cmd, conf);
    }

    if (*auth) {
        return "is duplicate";
    }

    *auth = NGX_CONF_BITMASK_SET;

    return NGX_CONF_OK;
}


ngx_uint_t
ngx_smtp_conf_off(ngx_conf_t *cf)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    return cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0;
}


char *
ngx_smtp_conf_value(ngx_conf_t *cf, ngx_str_t *value, ngx_array_t **values)
{
    ngx_stream_complex_value_t           *cv, **slot;
    ngx_stream_compile_complex_value_t    ccv;

    if (*values == NULL) {
        *values = ngx_array_create(cf->pool, 1,
                                   sizeof(ngx_stream_complex_value_t *));
        if (*values == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    slot = ngx_array_push(*values);
    cv = ngx_palloc(cf->pool, sizeof(ngx_stream_complex_value_t));

    if (slot == NULL || cv == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = cv;

    ngx_memzero(&ccv, sizeof(ngx_stream_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = value;
    ccv.complex_value = cv;

    return ngx_stream_compile_complex_value(&ccv) == NGX_OK ? NGX_CONF_OK
                                                            : NGX_CONF_ERROR;
}


static char *
ngx_smtp_conf_init_domains(ngx_conf_t *cf, ngx_smtp_server_conf_t *conf)
{
    ngx_hash_init_t          hash;
    ngx_hash_keys_arrays_t  *keys;

    keys = conf->domains_keys;

    if (keys == NULL) {

        /* "*" alone: the hash is empty, the flag decides */

        if (conf->server.domains_open) {
            conf->server.domains = ngx_pcalloc(cf->pool,
                                               sizeof(ngx_hash_combined_t));
            if (conf->server.domains == NULL) {
                return NGX_CONF_ERROR;
            }
        }

        return NGX_CONF_OK;
    }

    conf->server.domains = ngx_pcalloc(cf->pool, sizeof(ngx_hash_combined_t));
    if (conf->server.domains == NULL) {
        return NGX_CONF_ERROR;
    }

    hash.key = ngx_hash_key_lc;
    hash.max_size = 65536;
    hash.bucket_size = ngx_align(NGX_SMTP_DOMAINS_BUCKET, ngx_cacheline_size);
    hash.name = "smtp_domains";
    hash.pool = cf->pool;

    if (keys->keys.nelts) {
        hash.hash = &conf->server.domains->hash;
        hash.temp_pool = NULL;

        if (ngx_hash_init(&hash, keys->keys.elts, keys->keys.nelts) != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    if (keys->dns_wc_head.nelts) {
        ngx_qsort(keys->dns_wc_head.elts, keys->dns_wc_head.nelts,
                  sizeof(ngx_hash_key_t), ngx_smtp_conf_cmp_wildcards);

        hash.hash = NULL;
        hash.temp_pool = cf->temp_pool;

        if (ngx_hash_wildcard_init(&hash, keys->dns_wc_head.elts,
                                   keys->dns_wc_head.nelts)
            != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }

        conf->server.domains->wc_head = (ngx_hash_wildcard_t *) hash.hash;
    }

    return NGX_CONF_OK;
}


static int ngx_libc_cdecl
ngx_smtp_conf_cmp_wildcards(const void *one, const void *two)
{
    ngx_hash_key_t  *first, *second;

    first = (ngx_hash_key_t *) one;
    second = (ngx_hash_key_t *) two;

    return ngx_dns_strcmp(first->key.data, second->key.data);
}


static char *
ngx_smtp_conf_init_login(ngx_conf_t *cf, ngx_smtp_server_conf_t *conf)
{
    ngx_str_t               name;
    ngx_smtp_accounts_t    *accounts;
    ngx_smtp_srv_conf_t    *s;
    ngx_smtp_main_conf_t   *smcf;
    ngx_smtp_redis_conf_t  *redis;

    s = &conf->server;

    if (s->auth == 0) {
        return NGX_CONF_OK;
    }

    if (conf->accounts.len == 0) {
        return ngx_smtp_conf_error(cf, s, "\"smtp_auth\" needs "
                                   "\"smtp_accounts redis=NAME\" or "
                                   "\"smtp_accounts file=PATH\"");
    }

    smcf = ngx_stream_conf_get_module_main_conf(cf, ngx_smtp_relay_module);

    if (ngx_strncmp(conf->accounts.data, "redis=", 6) == 0) {
        name.data = conf->accounts.data + 6;
        name.len = conf->accounts.len - 6;

        redis = ngx_smtp_conf_find_redis(smcf, &name);

        if (redis == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"smtp_accounts %V\" names a Redis that no "
                          "\"smtp_redis\" defines in %s:%ui",
                          &conf->accounts, s->file, s->line);
            return NGX_CONF_ERROR;
        }

        accounts = ngx_smtp_accounts_redis(cf, &smcf->accounts, redis);

    } else if (ngx_strncmp(conf->accounts.data, "file=", 5) == 0) {
        name.data = conf->accounts.data + 5;
        name.len = conf->accounts.len - 5;

        accounts = ngx_smtp_accounts_file_load(cf, &smcf->accounts, &name);

    } else {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "invalid value \"%V\" of \"smtp_accounts\", must be "
                      "\"redis=NAME\" or \"file=PATH\" in %s:%ui",
                      &conf->accounts, s->file, s->line);
        return NGX_CONF_ERROR;
    }

    if (accounts == NULL) {
        return NGX_CONF_ERROR;
    }

    s->login = ngx_pcalloc(cf->pool, sizeof(ngx_smtp_login_conf_t));
    if (s->login == NULL) {
        return NGX_CONF_ERROR;
    }

    s->login->accounts = accounts;
    s->login->zone = smcf->zone;
    s->login->thread_pool = smcf->auth_pool;
    s->login->cache_time = smcf->auth_cache;
    s->login->nice = (smcf->auth_pool != smcf->commit_pool);

    return NGX_CONF_OK;
}


ngx_int_t
ngx_smtp_conf_module(ngx_conf_t *cf, const char *name)
{
    ngx_uint_t  i;

    for (i = 0; cf->cycle->modules[i]; i++) {

        if (cf->cycle->modules[i]->type == NGX_STREAM_MODULE
            && ngx_strcmp(cf->cycle->modules[i]->name, name) == 0)
        {
            return cf->cycle->modules[i]->ctx_index;
        }
    }

    return NGX_ERROR;
}


char *
ngx_smtp_conf_error(ngx_conf_t *cf, ngx_smtp_srv_conf_t *conf,
    const char *text)
{
    ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "%s in %s:%ui", text, conf->file,
                  conf->line);

    return NGX_CONF_ERROR;
}
