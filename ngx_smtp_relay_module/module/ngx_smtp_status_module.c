
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The http module: smtp_status in a location shows the mail that is queued,
 * and with control=on changes its fate.  docs/control.md has the interface.
 * Compiled only into an nginx that has http; works without a stream{} block,
 * there is nothing to be seen then.
 *
 * The request may land in any worker.  It asks all of them over the worker bus
 * (its own included) and is answered when they have, or after 200 ms.
 *
 * A page of another origin must not get at it: the Host must be an
 * address, localhost or listed, whatever name a resolver gave for us; an
 * Origin must be that of the Host.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_smtp_drain.h"
#include "ngx_smtp_status.h"


typedef struct {
    ngx_flag_t                    control;
    ngx_array_t                  *hosts;    /* ngx_str_t, lower case */
    unsigned                      enabled:1;
} ngx_smtp_status_loc_conf_t;


typedef struct {
    ngx_http_request_t           *request;
    ngx_smtp_status_conf_t        conf;
    ngx_smtp_control_request_t    control;
    ngx_smtp_bus_ask_t            ask;
} ngx_smtp_status_ctx_t;


static ngx_int_t ngx_smtp_status_handler(ngx_http_request_t *r);
static ngx_uint_t ngx_smtp_status_route(ngx_http_request_t *r,
    ngx_smtp_control_request_t *control, const char **error);
static ngx_uint_t ngx_smtp_status_drain(ngx_http_request_t *r,
    ngx_str_t *name, const char **error);
static ngx_uint_t ngx_smtp_status_bare(ngx_http_request_t *r,
    const char **error);
static ngx_uint_t ngx_smtp_status_action(ngx_str_t *name);
static ngx_uint_t ngx_smtp_status_method(ngx_http_request_t *r,
    ngx_uint_t writes, const char **error);
static ngx_uint_t ngx_smtp_status_origin(ngx_http_request_t *r,
    const char **error);
static ngx_uint_t ngx_smtp_status_host(ngx_http_request_t *r);
static ngx_str_t *ngx_smtp_status_field_value(ngx_http_request_t *r,
    const char *name);
static ngx_int_t ngx_smtp_status_ask(ngx_http_request_t *r,
    ngx_smtp_control_request_t *control);
static void ngx_smtp_status_done(ngx_smtp_bus_ask_t *ask);
static void ngx_smtp_status_cleanup(void *data);
static ngx_int_t ngx_smtp_status_error(ngx_http_request_t *r,
    ngx_uint_t status, const char *error);
static ngx_int_t ngx_smtp_status_send(ngx_http_request_t *r,
    ngx_uint_t status, u_char *data, size_t len);
static ngx_int_t ngx_smtp_status_header(ngx_http_request_t *r, char *name,
    char *value);
static void *ngx_smtp_status_create_loc_conf(ngx_conf_t *cf);
static char *ngx_smtp_status_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_smtp_status_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_smtp_status_commands[] = {

    { ngx_string("smtp_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_ANY,
      ngx_smtp_status_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    ngx_null_command
};


static ngx_http_module_t  ngx_smtp_status_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_smtp_status_create_loc_conf,       /* create location configuration */
    ngx_smtp_status_merge_loc_conf         /* merge location configuration */
};


ngx_module_t  ngx_smtp_status_module = {
    NGX_MODULE_V1,
    &ngx_smtp_status_module_ctx,           /* module context */
    ngx_smtp_status_commands,              /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_smtp_status_handler(ngx_http_request_t *r)
{
    u_char                       key[NGX_SMTP_KEY_LEN];
    ngx_int_t                    rc;
    ngx_uint_t                   status;
    const char                  *error;
    ngx_smtp_control_request_t   control;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0, "smtp status");

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_memzero(&control, sizeof(ngx_smtp_control_request_t));

    status = ngx_smtp_status_origin(r, &error);

    if (status == 0) {
        status = ngx_smtp_status_route(r, &control, &error);
    }

    if (status) {
        return ngx_smtp_status_error(r, status, error);
    }

    error = ngx_smtp_control_query(&control, &r->args, r->pool);

    if (error) {
        return ngx_smtp_status_error(r, NGX_HTTP_BAD_REQUEST, error);
    }

    if (control.after.len
        && ngx_smtp_key_parse(&control.after, key) != NGX_OK)
    {
        return ngx_smtp_status_error(r, NGX_HTTP_BAD_REQUEST,
                                     "invalid \"after\", must be the id of a "
                                     "message");
    }

    if (control.op > NGX_SMTP_CONTROL_SHOW && !control.all
        && !ngx_smtp_control_filtered(&control))
    {
        return ngx_smtp_status_error(r, NGX_HTTP_BAD_REQUEST,
                                     "an action needs a filter, or \"all=1\"");
    }

    return ngx_smtp_status_ask(r, &control);
}


/*
 *  /                     GET
 *  /drain/on, /drain/off  POST
 *  /queue                GET
 *  /queue/<action>       POST
 *  /message/<id>         GET
 *  /message/<id>/<action>  POST
 */

static ngx_uint_t
ngx_smtp_status_route(ngx_http_request_t *r,
    ngx_smtp_control_request_t *control, const char **error)
{
    u_char                    *p, *last, key[NGX_SMTP_KEY_LEN];
    ngx_str_t                  part[4];
    ngx_uint_t                 n, status;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    p = r->uri.data + ngx_min(clcf->name.len, r->uri.len);
    last = r->uri.data + r->uri.len;

    *error = "there is nothing of this name";

    /* /smtpqueue is not in /smtp */

    if (p < last && *p != '/' && p[-1] != '/') {
        return NGX_HTTP_NOT_FOUND;
    }

    for (n = 0; n < 4; n++) {

        while (p < last && *p == '/') {
            p++;
        }

        part[n].data = p;

        while (p < last && *p != '/') {
            p++;
        }

        part[n].len = p - part[n].data;

        if (part[n].len == 0) {
            break;
        }
    }

    if (n == 0) {
        control->op = NGX_SMTP_CONTROL_COUNT;
        status = ngx_smtp_status_method(r, 0, error);

        return status ? status : ngx_smtp_status_bare(r, error);
    }

    if (part[0].len == 5 && ngx_strncmp(part[0].data, "queue", 5) == 0
        && n <= 2)
    {
        control->op = (n == 1) ? NGX_SMTP_CONTROL_LIST
                               : ngx_smtp_status_action(&part[1]);

        return control->op ? ngx_smtp_status_method(r, n == 2, error)
                           : NGX_HTTP_NOT_FOUND;
    }

    if (part[0].len == 5 && ngx_strncmp(part[0].data, "drain", 5) == 0
        && n == 2)
    {
        control->op = NGX_SMTP_CONTROL_COUNT;
        return ngx_smtp_status_drain(r, &part[1], error);
    }

    if (part[0].len == 7 && ngx_strncmp(part[0].data, "message", 7) == 0
        && (n == 2 || n == 3))
    {
        control->id = part[1];
        control->op = (n == 2) ? NGX_SMTP_CONTROL_SHOW
                               : ngx_smtp_status_action(&part[2]);

        if (ngx_smtp_key_parse(&part[1], key) != NGX_OK) {
            *error = "no such message";
            control->op = 0;
        }

        return control->op ? ngx_smtp_status_method(r, n == 3, error)
                           : NGX_HTTP_NOT_FOUND;
    }

    return NGX_HTTP_NOT_FOUND;
}


/* Switches it; the answer is the status then. */

static ngx_uint_t
ngx_smtp_status_drain(ngx_http_request_t *r, ngx_str_t *name,
    const char **error)
{
    ngx_uint_t              on, status;
    ngx_smtp_status_conf_t  conf;

    on = (name->len == 2 && ngx_strncmp(name->data, "on", 2) == 0);

    if (!on && (name->len != 3 || ngx_strncmp(name->data, "off", 3) != 0)) {
        return NGX_HTTP_NOT_FOUND;
    }

    status = ngx_smtp_status_method(r, 1, error);

    if (status == 0) {
        status = ngx_smtp_status_bare(r, error);
    }

    if (status) {
        return status;
    }

    if (ngx_smtp_status_conf(&conf, r->pool) != NGX_OK) {
        *error = "no memory";
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (conf.zone == NULL) {
        *error = "there is no server for mail";
        return NGX_HTTP_NOT_FOUND;
    }

    if (ngx_smtp_drain_switch(on) != NGX_OK) {
        *error = "there was no memory for the switch when nginx started";
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    /* which does not end it, but then a reload will */

    if (!on && ngx_smtp_drain_configured()) {
        *error = "the configuration has \"smtp_drain on\": "
                 "remove it, and reload nginx";
        return NGX_HTTP_CONFLICT;
    }

    ngx_log_error(NGX_LOG_NOTICE, r->connection->log, 0,
                  on ? "draining: new mail is refused"
                     : "draining is over: new mail is taken");

    return 0;
}


/* The status is that of everything, or "drained" would tell of a part. */

static ngx_uint_t
ngx_smtp_status_bare(ngx_http_request_t *r, const char **error)
{
    if (r->args.len == 0) {
        return 0;
    }

    *error = "this takes no arguments";

    return NGX_HTTP_BAD_REQUEST;
}


static ngx_uint_t
ngx_smtp_status_action(ngx_str_t *name)
{
    ngx_uint_t  i;

    for (i = NGX_SMTP_CONTROL_FLUSH; ngx_smtp_control_ops[i]; i++) {

        if (ngx_strlen(ngx_smtp_control_ops[i]) == name->len
            && ngx_strncmp(ngx_smtp_control_ops[i], name->data, name->len)
               == 0)
        {
            return i;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_smtp_status_method(ngx_http_request_t *r, ngx_uint_t writes,
    const char **error)
{
    ngx_smtp_status_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_smtp_status_module);

    *error = "no memory";

    if (!writes) {

        if (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD)) {
            return 0;
        }

        if (ngx_smtp_status_header(r, "Allow", "GET, HEAD") != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        *error = "this is only shown, use GET";

        return NGX_HTTP_NOT_ALLOWED;
    }

    if (!(r->method & NGX_HTTP_POST)) {

        if (ngx_smtp_status_header(r, "Allow", "POST") != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        *error = "this is an action, use POST";

        return NGX_HTTP_NOT_ALLOWED;
    }

    if (slcf->control != 1) {
        *error = "control is off here";
        return NGX_HTTP_FORBIDDEN;
    }

    return 0;
}


static ngx_uint_t
ngx_smtp_status_origin(ngx_http_request_t *r, const char **error)
{
    ngx_str_t  *origin, *site, *host;

    *error = "the Host is not known here, see smtp_status host=";

    if (!ngx_smtp_status_host(r)) {
        return NGX_HTTP_FORBIDDEN;
    }

    *error = "requests of other origins are refused";

    site = ngx_smtp_status_field_value(r, "sec-fetch-site");

    if (site
        && (site->len == sizeof("cross-site") - 1
            || site->len == sizeof("same-site") - 1)
        && (ngx_strncasecmp(site->data, (u_char *) "cross-site", site->len)
            == 0
            || ngx_strncasecmp(site->data, (u_char *) "same-site", site->len)
               == 0))
    {
        return NGX_HTTP_FORBIDDEN;
    }

    origin = ngx_smtp_status_field_value(r, "origin");

    if (origin == NULL) {
        return 0;
    }

    host = &r->headers_in.host->value;

    if (origin->len > host->len + 3
        && (ngx_strncasecmp(origin->data, (u_char *) "http://", 7) == 0
            || ngx_strncasecmp(origin->data, (u_char *) "https://", 8) == 0)
        && (origin->len == host->len + 7 || origin->len == host->len + 8)
        && ngx_strncasecmp(origin->data + origin->len - host->len,
                           host->data, host->len)
           == 0
        && origin->data[origin->len - host->len - 1] == '/')
    {
        return 0;
    }

    return NGX_HTTP_FORBIDDEN;
}


static ngx_uint_t
ngx_smtp_status_host(ngx_http_request_t *r)
{
    ngx_str_t                   *hosts, *host;
    ngx_uint_t                   i;
    ngx_smtp_status_loc_conf_t  *slcf;
#if (NGX_HAVE_INET6)
    u_char                       addr[16];
#endif

    host = &r->headers_in.server;

    if (r->headers_in.host == NULL || host->len == 0) {
        return 0;
    }

    if (host->len == sizeof("localhost") - 1
        && ngx_strncasecmp(host->data, (u_char *) "localhost", host->len)
           == 0)
    {
        return 1;
    }

    if (ngx_inet_addr(host->data, host->len) != INADDR_NONE) {
        return 1;
    }

#if (NGX_HAVE_INET6)
    if (host->len > 2 && host->data[0] == '['
        && host->data[host->len - 1] == ']'
        && ngx_inet6_addr(host->data + 1, host->len - 2, addr) == NGX_OK)
    {
        return 1;
    }
#endif

    slcf = ngx_http_get_module_loc_conf(r, ngx_smtp_status_module);

    if (slcf->hosts == NULL) {
        return 0;
    }

    hosts = slcf->hosts->elts;

    for (i = 0; i < slcf->hosts->nelts; i++) {
        if (hosts[i].len == host->len
            && ngx_strncasecmp(hosts[i].data, host->data, host->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* The last one of this name: whoever adds one must not be overridden. */

static ngx_str_t *
ngx_smtp_status_field_value(ngx_http_request_t *r, const char *name)
{
    ngx_str_t        *value;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    value = NULL;
    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return value;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == ngx_strlen(name)
            && ngx_strncmp(h[i].lowcase_key, name, h[i].key.len) == 0)
        {
            value = &h[i].value;
        }
    }
}


static ngx_int_t
ngx_smtp_status_ask(ngx_http_request_t *r, ngx_smtp_control_request_t *control)
{
    ngx_str_t               request;
    ngx_http_cleanup_t     *cln;
    ngx_smtp_status_ctx_t  *ctx;

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_smtp_status_ctx_t));
    cln = ngx_http_cleanup_add(r, 0);

    if (ctx == NULL || cln == NULL
        || ngx_smtp_status_conf(&ctx->conf, r->pool) != NGX_OK
        || ngx_smtp_control_encode(control, r->pool, &request) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->request = r;
    ctx->control = *control;
    ctx->ask.handler = ngx_smtp_status_done;
    ctx->ask.data = ctx;
    ctx->ask.threads = ctx->conf.threads;

    if (ngx_smtp_bus_ask(&ctx->ask, ctx->conf.paths, ctx->conf.npaths,
                         &request, NGX_SMTP_BUS_TIMEOUT, r->pool,
                         ngx_cycle->log)
        != NGX_OK)
    {
        return ngx_smtp_status_error(r, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                     "no memory, or no files may be opened");
    }

    cln->handler = ngx_smtp_status_cleanup;
    cln->data = ctx;

    r->main->count++;

    return NGX_DONE;
}


static void
ngx_smtp_status_done(ngx_smtp_bus_ask_t *ask)
{
    ngx_int_t               rc;
    ngx_uint_t              status;
    ngx_smtp_json_t         j;
    ngx_connection_t       *c;
    ngx_http_request_t     *r;
    ngx_smtp_status_ctx_t  *ctx;

    ctx = ask->data;
    r = ctx->request;
    c = r->connection;

    ngx_smtp_json_init(&j, c->log);

    status = ngx_smtp_status_answer(&ctx->conf, &ctx->control, ask, &j);

    ngx_smtp_json_raw(&j, "\n");
    ngx_smtp_bus_ask_end(ask);

    if (status == NGX_HTTP_INTERNAL_SERVER_ERROR || j.failed) {
        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;

    } else if (status == NGX_HTTP_SERVICE_UNAVAILABLE
               && ngx_smtp_status_header(r, "Retry-After", "1") != NGX_OK)
    {
        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;

    } else {
        rc = ngx_smtp_status_send(r, status, j.start,
                                  ngx_smtp_json_size(&j));
    }

    ngx_smtp_json_free(&j);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static void
ngx_smtp_status_cleanup(void *data)
{
    ngx_smtp_status_ctx_t *ctx = data;

    ngx_smtp_bus_ask_end(&ctx->ask);
}


static ngx_int_t
ngx_smtp_status_error(ngx_http_request_t *r, ngx_uint_t status,
    const char *error)
{
    ngx_int_t        rc;
    ngx_smtp_json_t  j;
    ngx_str_t        text;

    text.data = (u_char *) error;
    text.len = ngx_strlen(error);

    ngx_smtp_json_init(&j, r->connection->log);

    ngx_smtp_json_raw(&j, "{");
    ngx_smtp_json_member(&j, "error", &text);
    ngx_smtp_json_raw(&j, "}\n");

    rc = j.failed ? NGX_HTTP_INTERNAL_SERVER_ERROR
                  : ngx_smtp_status_send(r, status, j.start,
                                         ngx_smtp_json_size(&j));
    ngx_smtp_json_free(&j);

    return rc;
}


static ngx_int_t
ngx_smtp_status_send(ngx_http_request_t *r, ngx_uint_t status, u_char *data,
    size_t len)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    b = ngx_create_temp_buf(r->pool, len);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last = ngx_cpymem(b->last, data, len);
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    r->headers_out.status = status;
    r->headers_out.content_length_n = len;

    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (ngx_smtp_status_header(r, "Cache-Control", "no-store") != NGX_OK
        || ngx_smtp_status_header(r, "X-Content-Type-Options", "nosniff")
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static ngx_int_t
ngx_smtp_status_header(ngx_http_request_t *r, char *name, char *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value.data = (u_char *) value;
    h->value.len = ngx_strlen(value);

    return NGX_OK;
}


static void *
ngx_smtp_status_create_loc_conf(ngx_conf_t *cf)
{
    ngx_smtp_status_loc_conf_t  *slcf;

    slcf = ngx_pcalloc(cf->pool, sizeof(ngx_smtp_status_loc_conf_t));
    if (slcf == NULL) {
        return NULL;
    }

    slcf->control = NGX_CONF_UNSET;

    return slcf;
}


/*
 * Of one location: what it allows is not inherited by those inside of it.  Its
 * blocks "limit_except" and "if" are no locations of their own.
 */

static char *
ngx_smtp_status_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_smtp_status_loc_conf_t *prev = parent;
    ngx_smtp_status_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (!clcf->noname || !prev->enabled) {
        return NGX_CONF_OK;
    }

    *conf = *prev;

    /* nginx takes the handler from the block of "limit_except" alone */

    if (clcf->lmt_excpt && clcf->handler == NULL) {
        clcf->handler = ngx_smtp_status_handler;
    }

    return NGX_CONF_OK;
}


static char *
ngx_smtp_status_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_smtp_status_loc_conf_t *slcf = conf;

    ngx_str_t                 *value, *host;
    ngx_uint_t                 i;
    ngx_http_core_loc_conf_t  *clcf;

    if (slcf->enabled) {
        return "is duplicate";
    }

    slcf->enabled = 1;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->named || clcf->noname
#if (NGX_PCRE)
        || clcf->regex
#endif
       )
    {
        return "needs a location with a plain prefix";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "control=on") == 0
            || ngx_strcmp(value[i].data, "control=off") == 0)
        {
            if (slcf->control != NGX_CONF_UNSET) {
                return "has duplicate \"control\"";
            }

            slcf->control = (value[i].len == sizeof("control=on") - 1);
            continue;
        }

        if (ngx_strncmp(value[i].data, "host=", 5) == 0 && value[i].len > 5) {

            if (slcf->hosts == NULL) {
                slcf->hosts = ngx_array_create(cf->pool, 2,
                                               sizeof(ngx_str_t));
                if (slcf->hosts == NULL) {
                    return NGX_CONF_ERROR;
                }
            }

            host = ngx_array_push(slcf->hosts);
            if (host == NULL) {
                return NGX_CONF_ERROR;
            }

            host->data = value[i].data + 5;
            host->len = value[i].len - 5;

            if (strpbrk((char *) host->data, ":/*")) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid host \"%V\", must be a name "
                                   "without port; addresses need not be "
                                   "given", host);
                return NGX_CONF_ERROR;
            }

            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", must be "
                           "\"control=on\", \"control=off\" or \"host=name\"",
                           &value[i]);
        return NGX_CONF_ERROR;
    }

    clcf->handler = ngx_smtp_status_handler;

    return NGX_CONF_OK;
}
