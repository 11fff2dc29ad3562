
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The block smtp_queue NAME { }, and what follows from all of them: the next
 * hops as upstreams, TLS contexts, stores (ngx_smtp_conf_store.c).
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_address.h"
#include "ngx_smtp_command.h"
#include "ngx_smtp_conf_queue.h"
#include "ngx_smtp_compat.h"


#define NGX_SMTP_QUEUE_EXPIRE        (5 * 24 * 3600)
#define NGX_SMTP_QUEUE_MIN_SEGMENT   (1024 * 1024)
#define NGX_SMTP_QUEUE_MAX_SEGMENT   (1024 * 1024 * 1024)


static char *ngx_smtp_queue_handler(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf);
static char *ngx_smtp_queue_next_hop(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_smtp_queue_retry(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_smtp_queue_spool(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_smtp_queue_min_free(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_smtp_queue_bind(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_smtp_queue_postmaster(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static void ngx_smtp_queue_unset(ngx_smtp_queue_block_t *b);
static char *ngx_smtp_queue_defaults(ngx_conf_t *cf,
    ngx_smtp_queue_block_t *b);
static void ngx_smtp_queue_doubt(ngx_conf_t *cf, ngx_smtp_queue_block_t *b);
static char *ngx_smtp_queue_hostname(ngx_conf_t *cf,
    ngx_smtp_queue_block_t *b);
static char *ngx_smtp_queue_tls(ngx_conf_t *cf, ngx_smtp_queue_conf_t *q);


static ngx_conf_enum_t  ngx_smtp_queue_tls_values[] = {
    { ngx_string("off"), NGX_SMTP_RELAY_TLS_OFF },
    { ngx_string("opportunistic"), NGX_SMTP_RELAY_TLS_OPPORTUNISTIC },
    { ngx_string("require"), NGX_SMTP_RELAY_TLS_REQUIRE },
    { ngx_null_string, 0 }
};


static ngx_conf_num_bounds_t  ngx_smtp_queue_count_bounds = {
    ngx_conf_check_num_bounds, 1, 65535
};


static ngx_command_t  ngx_smtp_queue_commands[] = {

    { ngx_string("spool"),
      NGX_CONF_TAKE1,
      ngx_smtp_queue_spool,
      0,
      0,
      NULL },

    { ngx_string("spool_segment_size"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_size,
      0,
      offsetof(ngx_smtp_queue_block_t, segment_size),
      NULL },

    { ngx_string("spool_min_free"),
      NGX_CONF_TAKE12,
      ngx_smtp_queue_min_free,
      0,
      0,
      NULL },

    { ngx_string("spool_memory"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_size,
      0,
      offsetof(ngx_smtp_queue_block_t, memory),
      NULL },

    { ngx_string("hostname"),
      NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_smtp_queue_conf_t, hostname),
      NULL },

    { ngx_string("next_hop"),
      NGX_CONF_TAKE1,
      ngx_smtp_queue_next_hop,
      0,
      0,
      NULL },

    { ngx_string("bind"),
      NGX_CONF_TAKE1,
      ngx_smtp_queue_bind,
      0,
      0,
      NULL },

    { ngx_string("tls"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_enum,
      0,
      offsetof(ngx_smtp_queue_conf_t, tls),
      ngx_smtp_queue_tls_values },

    { ngx_string("tls_name"),
      NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_smtp_queue_conf_t, tls_name),
      NULL },

    { ngx_string("retry"),
      NGX_CONF_1MORE,
      ngx_smtp_queue_retry,
      0,
      0,
      NULL },

    { ngx_string("expire"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_sec,
      0,
      offsetof(ngx_smtp_queue_conf_t, expire),
      NULL },

    { ngx_string("delay_warning"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_sec,
      0,
      offsetof(ngx_smtp_queue_conf_t, delay_warning),
      NULL },

    { ngx_string("postmaster"),
      NGX_CONF_TAKE1,
      ngx_smtp_queue_postmaster,
      0,
      0,
      NULL },

    { ngx_string("report_queue"),
      NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_smtp_queue_block_t, report),
      NULL },

    { ngx_string("bounce_size"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_off,
      0,
      offsetof(ngx_smtp_queue_conf_t, bounce_size),
      NULL },

    { ngx_string("connect_timeout"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_timeout,
      0,
      offsetof(ngx_smtp_queue_conf_t, connect_timeout),
      NULL },

    { ngx_string("command_timeout"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_timeout,
      0,
      offsetof(ngx_smtp_queue_conf_t, command_timeout),
      NULL },

    { ngx_string("send_timeout"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_timeout,
      0,
      offsetof(ngx_smtp_queue_conf_t, send_timeout),
      NULL },

    { ngx_string("data_timeout"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_timeout,
      0,
      offsetof(ngx_smtp_queue_conf_t, data_timeout),
      NULL },

    { ngx_string("idle_timeout"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_msec,
      0,
      offsetof(ngx_smtp_queue_conf_t, idle_timeout),
      NULL },

    { ngx_string("max_connections"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_num,
      0,
      offsetof(ngx_smtp_queue_conf_t, max_connections),
      &ngx_smtp_queue_count_bounds },

    { ngx_string("max_connection_messages"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_num,
      0,
      offsetof(ngx_smtp_queue_conf_t, connection_messages),
      &ngx_smtp_queue_count_bounds },

    { ngx_string("max_messages"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_num,
      0,
      offsetof(ngx_smtp_queue_conf_t, max_messages),
      NULL },

    { ngx_string("max_size"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_off,
      0,
      offsetof(ngx_smtp_queue_conf_t, max_size),
      NULL },

    { ngx_string("max_recipients"),
      NGX_CONF_TAKE1,
      ngx_smtp_conf_set_num,
      0,
      offsetof(ngx_smtp_queue_conf_t, max_rcpts),
      &ngx_smtp_queue_count_bounds },

    ngx_null_command
};


char *
ngx_smtp_conf_queue(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_main_conf_t *smcf = conf;

    char                    *rv;
    ngx_str_t               *value;
    ngx_conf_t               save;
    ngx_smtp_queue_conf_t  **q;
    ngx_smtp_queue_block_t  *b;

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs a name";
    }

    if (ngx_smtp_conf_find_queue(smcf, &value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate smtp_queue \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    b = ngx_pcalloc(cf->pool, sizeof(ngx_smtp_queue_block_t));
    q = ngx_array_push(&smcf->queues);

    if (b == NULL || q == NULL) {
        return NGX_CONF_ERROR;
    }

    *q = &b->queue;

    b->queue.name = value[1];
    b->file = cf->conf_file->file.name.data;
    b->line = cf->conf_file->line;

    ngx_smtp_queue_unset(b);

    save = *cf;
    cf->handler = ngx_smtp_queue_handler;
    cf->handler_conf = (void *) b;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_smtp_queue_defaults(cf, b);
}


static char *
ngx_smtp_queue_handler(ngx_conf_t *cf, ngx_command_t *dummy, void *conf)
{
    return ngx_smtp_conf_block(cf, "smtp_queue", ngx_smtp_queue_commands,
                               conf);
}


static void
ngx_smtp_queue_unset(ngx_smtp_queue_block_t *b)
{
    ngx_smtp_queue_conf_t  *q;

    q = &b->queue;

    q->tls = NGX_CONF_UNSET_UINT;
    q->expire = NGX_CONF_UNSET;
    q->delay_warning = NGX_CONF_UNSET;
    q->bounce_size = NGX_CONF_UNSET;
    q->connect_timeout = NGX_CONF_UNSET_MSEC;
    q->command_timeout = NGX_CONF_UNSET_MSEC;
    q->send_timeout = NGX_CONF_UNSET_MSEC;
    q->data_timeout = NGX_CONF_UNSET_MSEC;
    q->idle_timeout = NGX_CONF_UNSET_MSEC;
    q->max_connections = NGX_CONF_UNSET_UINT;
    q->connection_messages = NGX_CONF_UNSET_UINT;
    q->max_messages = NGX_CONF_UNSET_UINT;
    q->max_size = NGX_CONF_UNSET;
    q->max_rcpts = NGX_CONF_UNSET_UINT;

    b->segment_size = NGX_CONF_UNSET_SIZE;
    b->min_free = NGX_CONF_UNSET;
    b->min_inodes = NGX_CONF_UNSET_UINT;
    b->memory = NGX_CONF_UNSET_SIZE;
}


static char *
ngx_smtp_queue_defaults(ngx_conf_t *cf, ngx_smtp_queue_block_t *b)
{
    time_t                 *t;
    ngx_uint_t              i;
    ngx_smtp_queue_conf_t  *q;

    static time_t  retry[] = { 60, 300, 900, 3600, 4 * 3600 };

    q = &b->queue;

    if (b->spool.len == 0) {
        return ngx_smtp_queue_error(cf, b, "has no \"spool\"", NULL);
    }

    if (q->upstream == NULL) {
        return ngx_smtp_queue_error(cf, b, "has no \"next_hop\"", NULL);
    }

    if (b->segment_size != NGX_CONF_UNSET_SIZE
        && (b->segment_size < NGX_SMTP_QUEUE_MIN_SEGMENT
            || b->segment_size > NGX_SMTP_QUEUE_MAX_SEGMENT))
    {
        return ngx_smtp_queue_error(cf, b, "has a \"spool_segment_size\" that "
                                    "is not between 1m and 1g", NULL);
    }

    ngx_conf_init_uint_value(q->tls, NGX_SMTP_RELAY_TLS_OPPORTUNISTIC);
    ngx_conf_init_value(q->expire, NGX_SMTP_QUEUE_EXPIRE);
    ngx_conf_init_value(q->delay_warning, 0);
    ngx_conf_init_value(q->bounce_size, NGX_SMTP_RELAY_BOUNCE_SIZE);
    ngx_conf_init_msec_value(q->connect_timeout,
                             NGX_SMTP_RELAY_CONNECT_TIMEOUT);
    ngx_conf_init_msec_value(q->command_timeout,
                             NGX_SMTP_RELAY_COMMAND_TIMEOUT);
    ngx_conf_init_msec_value(q->send_timeout, NGX_SMTP_RELAY_SEND_TIMEOUT);
    ngx_conf_init_msec_value(q->data_timeout, NGX_SMTP_RELAY_DATA_TIMEOUT);
    ngx_conf_init_msec_value(q->idle_timeout, NGX_SMTP_RELAY_IDLE_TIMEOUT);
    ngx_conf_init_uint_value(q->max_connections,
                             NGX_SMTP_RELAY_MAX_CONNECTIONS);
    ngx_conf_init_uint_value(q->connection_messages,
                             NGX_SMTP_RELAY_MAX_MESSAGES);
    ngx_conf_init_uint_value(q->max_messages, 0);
    ngx_conf_init_value(q->max_size, 0);
    ngx_conf_init_uint_value(q->max_rcpts, NGX_SMTP_RELAY_MAX_RCPTS);

    if (q->retry.elts == NULL) {

        if (ngx_array_init(&q->retry, cf->pool, 5, sizeof(time_t))
            != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }

        for (i = 0; i < sizeof(retry) / sizeof(time_t); i++) {
            t = ngx_array_push(&q->retry);
            if (t == NULL) {
                return NGX_CONF_ERROR;
            }

            *t = retry[i];
        }
    }

    ngx_smtp_queue_doubt(cf, b);

    return NGX_CONF_OK;
}


/* "max_messages" once was what "max_connection_messages" is */

static void
ngx_smtp_queue_doubt(ngx_conf_t *cf, ngx_smtp_queue_block_t *b)
{
    ngx_smtp_queue_conf_t  *q;

    q = &b->queue;

    if (q->max_messages == 0 || q->max_messages >= q->connection_messages) {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                  "\"max_messages %ui\" lets no more messages than that into "
                  "smtp_queue \"%V\"; those that go through one connection, "
                  "%ui, are limited by \"max_connection_messages\": write "
                  "that instead, or set it to no more than \"max_messages\" "
                  "in %s:%ui",
                  q->max_messages, &q->name, q->connection_messages,
                  b->file, b->line);
}


char *
ngx_smtp_queue_error(ngx_conf_t *cf, ngx_smtp_queue_block_t *b,
    const char *text, ngx_str_t *value)
{
    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "smtp_queue \"%V\" %s%s%V%s in %s:%ui", &b->queue.name, text,
                  value ? " \"" : "", value ? value : &(ngx_str_t) { 0, NULL },
                  value ? "\"" : "", b->file, b->line);

    return NGX_CONF_ERROR;
}


static char *
ngx_smtp_queue_postmaster(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_queue_block_t *b = conf;

    ngx_str_t              *value;
    ngx_smtp_path_t         path;
    ngx_smtp_queue_conf_t  *q;

    q = &b->queue;

    if (q->postmaster.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_smtp_mailbox_parse(&value[1], NGX_SMTP_PATH_UTF8, &path)
        != NGX_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid address \"%V\", must be one such as "
                           "\"postmaster@example.com\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    q->postmaster = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_smtp_queue_spool(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_queue_block_t *b = conf;

    ngx_str_t  *value;

    if (b->spool.len) {
        return "is duplicate";
    }

    value = cf->args->elts;
    b->spool = value[1];

    while (b->spool.len > 1 && b->spool.data[b->spool.len - 1] == '/') {
        b->spool.data[--b->spool.len] = '\0';
    }

    return ngx_conf_full_name(cf->cycle, &b->spool, 0) == NGX_OK
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static char *
ngx_smtp_queue_next_hop(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_queue_block_t *b = conf;

    ngx_url_t               u;
    ngx_str_t              *value;
    ngx_smtp_queue_conf_t  *q;

    q = &b->queue;
    value = cf->args->elts;

    if (q->next_hop.len) {
        return "is duplicate";
    }

    if ((value[1].len == 2 && ngx_strncmp(value[1].data, "mx", 2) == 0)
        || ngx_strlchr(value[1].data, value[1].data + value[1].len, '$'))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"next_hop %V\" is not supported by this version, "
                           "write \"host:port\" or the name of an upstream{}",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = value[1];
    u.no_resolve = 1;

    /* host:port becomes an upstream of one server, as for proxy_pass */

    q->upstream = ngx_stream_upstream_add(cf, &u, 0);
    if (q->upstream == NULL) {
        return NGX_CONF_ERROR;
    }

    q->next_hop = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_smtp_queue_retry(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_queue_block_t *b = conf;

    time_t      *t;
    ngx_str_t   *value;
    ngx_uint_t   i;

    if (b->queue.retry.elts) {
        return "is duplicate";
    }

    if (ngx_array_init(&b->queue.retry, cf->pool, cf->args->nelts,
                       sizeof(time_t))
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        t = ngx_array_push(&b->queue.retry);
        if (t == NULL) {
            return NGX_CONF_ERROR;
        }

        *t = ngx_parse_time(&value[i], 1);

        if (*t == (time_t) NGX_ERROR || *t == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid time \"%V\", must be a list such as "
                               "\"1m 5m 1h\"", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* spool_min_free SIZE [inodes=NUMBER] */

static char *
ngx_smtp_queue_min_free(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_queue_block_t *b = conf;

    ngx_int_t   n;
    ngx_str_t  *value;

    if (b->min_free != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    b->min_free = ngx_parse_offset(&value[1]);

    if (b->min_free == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" of \"%V\", must be a size "
                           "such as \"1g\"", &value[1], &value[0]);
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    n = NGX_ERROR;

    if (ngx_strncmp(value[2].data, "inodes=", 7) == 0) {
        n = ngx_atoi(value[2].data + 7, value[2].len - 7);
    }

    if (n == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", must be "
                           "\"inodes=number\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    b->min_inodes = n;

    return NGX_CONF_OK;
}


static char *
ngx_smtp_queue_bind(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_queue_block_t *b = conf;

    ngx_int_t    rc;
    ngx_str_t   *value;
    ngx_addr_t  *addr;

    if (b->queue.local) {
        return "is duplicate";
    }

    value = cf->args->elts;

    addr = ngx_palloc(cf->pool, sizeof(ngx_addr_t));
    if (addr == NULL) {
        return NGX_CONF_ERROR;
    }

    rc = ngx_parse_addr_port(cf->pool, addr, value[1].data, value[1].len);

    if (rc == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    if (rc == NGX_DECLINED) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid address \"%V\", must be one of this "
                           "machine's such as \"192.0.2.1\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    addr->name = value[1];
    b->queue.local = addr;

    return NGX_CONF_OK;
}


ngx_smtp_queue_conf_t *
ngx_smtp_conf_find_queue(ngx_smtp_main_conf_t *smcf, ngx_str_t *name)
{
    ngx_uint_t               i;
    ngx_smtp_queue_conf_t  **q;

    q = smcf->queues.elts;

    for (i = 0; i < smcf->queues.nelts; i++) {

        if (q[i]->name.len == name->len
            && ngx_strncmp(q[i]->name.data, name->data, name->len) == 0)
        {
            return q[i];
        }
    }

    return NULL;
}


char *
ngx_smtp_conf_init_queues(ngx_conf_t *cf, ngx_smtp_main_conf_t *smcf)
{
    ngx_uint_t               i;
    ngx_smtp_queue_conf_t  **q;
    ngx_smtp_queue_block_t  *b;

    q = smcf->queues.elts;

    for (i = 0; i < smcf->queues.nelts; i++) {
        b = (ngx_smtp_queue_block_t *) q[i];

        if (b->report.len) {
            q[i]->report_queue = ngx_smtp_conf_find_queue(smcf, &b->report);

            if (q[i]->report_queue == NULL) {
                return ngx_smtp_queue_error(cf, b, "has an unknown "
                                            "\"report_queue\"", &b->report);
            }
        }

        if (ngx_smtp_queue_hostname(cf, b) != NGX_CONF_OK
            || ngx_smtp_conf_queue_store(cf, smcf, b) != NGX_CONF_OK
            || ngx_smtp_queue_tls(cf, q[i]) != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return ngx_smtp_conf_init_stores(cf, smcf);
}


/* it stands in EHLO, and in the fields of reports */

static char *
ngx_smtp_queue_hostname(ngx_conf_t *cf, ngx_smtp_queue_block_t *b)
{
    ngx_str_t            *name;
    ngx_smtp_srv_conf_t  *conf;

    conf = ngx_stream_conf_get_module_srv_conf(cf, ngx_smtp_relay_module);
    name = &b->queue.hostname;

    if (name->len == 0) {
        *name = conf->hostname.len ? conf->hostname : cf->cycle->hostname;
    }

    if (ngx_smtp_helo_check(name) == NGX_OK) {
        return NGX_CONF_OK;
    }

    return ngx_smtp_queue_error(cf, b, "needs a \"hostname\", by default "
                                "\"smtp_hostname\" of stream{} or the name of "
                                "this machine, such as \"mail.example.com\", "
                                "and has", name);
}


static char *
ngx_smtp_queue_tls(ngx_conf_t *cf, ngx_smtp_queue_conf_t *q)
{
    ngx_pool_cleanup_t  *cln;

    if (q->tls == NGX_SMTP_RELAY_TLS_OFF) {
        return NGX_CONF_OK;
    }

    q->ssl = ngx_pcalloc(cf->pool, sizeof(ngx_ssl_t));
    if (q->ssl == NULL) {
        return NGX_CONF_ERROR;
    }

    q->ssl->log = cf->log;

    if (ngx_ssl_create(q->ssl, NGX_SMTP_CLIENT_PROTOCOLS, NULL) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(q->ssl);
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = q->ssl;

    return NGX_CONF_OK;
}
