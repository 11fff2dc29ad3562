
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Checks: connect, greeting, EHLO, TLS as smtp_pass_ssl says, QUIT.  Every
 * worker has a timer for each backend; who finds a check due takes its lease
 * in the zone, and the others look again when the next one is.
 *
 *   timer -> take -> probe -> report -> timer
 *              \____ not due, or another's ___/
 *
 * A probe lives in the pool of its peer; its deadline is that of all of it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "ngx_smtp_health.h"
#include "ngx_smtp_proxy_header.h"
#include "ngx_smtp_talk.h"


/* a lease is longer than its check; ms */
#define NGX_SMTP_HEALTH_LEASE   1000

/* workers do not all look at the same moment; ms */
#define NGX_SMTP_HEALTH_JITTER  50


/* of a backend that is checked */
struct ngx_smtp_health_s {
    ngx_smtp_pass_conf_t   *conf;
    ngx_smtp_backend_t     *backend;
    ngx_log_t              *log;
    ngx_event_t             timer;       /* a check is due; its deadline */

    ngx_smtp_peer_t        *peer;        /* NULL: no check is going on */
    ngx_smtp_talk_t         talk;
    ngx_smtp_client_t       client;
    ngx_str_t               tls_name;
    unsigned                reported:1;  /* only QUIT is left */
};


static ngx_int_t ngx_smtp_health_list(ngx_smtp_pass_conf_t *conf,
    ngx_pool_t *pool);
static ngx_smtp_backend_t *ngx_smtp_health_add(ngx_array_t *list,
    struct sockaddr *sockaddr, socklen_t socklen, ngx_str_t *name);
static ngx_smtp_backend_t *ngx_smtp_health_find(ngx_smtp_pass_conf_t *conf,
    struct sockaddr *sockaddr, socklen_t socklen);
static void ngx_smtp_health_timer(ngx_event_t *ev);
static void ngx_smtp_health_due(ngx_smtp_health_t *h);
static ngx_int_t ngx_smtp_health_probe(ngx_smtp_health_t *h);
static ngx_int_t ngx_smtp_health_connected(ngx_smtp_talk_t *talk);
static ngx_int_t ngx_smtp_health_ready(ngx_smtp_talk_t *talk);
static ngx_int_t ngx_smtp_health_input(ngx_smtp_talk_t *talk,
    ngx_int_t action);
static ngx_int_t ngx_smtp_health_none(ngx_smtp_talk_t *talk);
static void ngx_smtp_health_lost(ngx_smtp_talk_t *talk, ngx_uint_t how);
static void ngx_smtp_health_abandon(ngx_smtp_health_t *h);
static void ngx_smtp_health_closed(ngx_smtp_talk_t *talk);
static void ngx_smtp_health_failed(ngx_smtp_health_t *h);
static void ngx_smtp_health_report(ngx_smtp_health_t *h, ngx_uint_t ok,
    ngx_str_t *reason);
static void ngx_smtp_health_end(ngx_smtp_health_t *h);


static ngx_smtp_talk_callbacks_t  ngx_smtp_health_callbacks = {
    ngx_smtp_health_connected,
    ngx_smtp_health_input,
    ngx_smtp_health_ready,
    NULL,
    ngx_smtp_health_none,
    ngx_smtp_health_none,
    ngx_smtp_health_none,
    ngx_smtp_health_lost,
    ngx_smtp_health_closed
};


ngx_int_t
ngx_smtp_health_start(ngx_smtp_pass_conf_t *conf, ngx_shm_zone_t *zone,
    ngx_cycle_t *cycle)
{
    u_char              *p;
    ngx_str_t            profile, *name;
    ngx_uint_t           i;
    ngx_smtp_health_t   *h;
    ngx_smtp_backend_t  *b;

    if (conf->upstream == NULL) {
        return NGX_OK;
    }

    if (ngx_smtp_health_list(conf, cycle->pool) != NGX_OK) {
        return NGX_ERROR;
    }

    b = conf->backends;
    name = conf->ssl_name.len ? &conf->ssl_name : &conf->host;

    profile.data = ngx_pnalloc(cycle->pool, 3 * NGX_INT_T_LEN + 3 + name->len);
    if (profile.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(profile.data, "%ui:%i:%ui:", conf->tls, conf->ssl_verify,
                    conf->proxy_protocol);

    if (conf->tls != NGX_SMTP_PASS_SSL_OFF) {
        p = ngx_cpymem(p, name->data, name->len);
    }

    profile.len = p - profile.data;

    for (i = 0; i < conf->nbackends; i++) {

        if (ngx_smtp_backend_claim(&b[i], zone, &profile) != NGX_OK) {
            ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                          "no room for upstream \"%V\" of \"smtp_pass %V\" in "
                          "smtp zone \"%V\": its health is not checked; make "
                          "\"smtp_zone\" larger",
                          &b[i].name, &conf->target, &zone->shm.name);
        }
    }

    if (conf->health_interval == 0) {
        return NGX_OK;
    }

    h = ngx_pcalloc(cycle->pool, conf->nbackends * sizeof(ngx_smtp_health_t));
    if (h == NULL) {
        return NGX_ERROR;
    }

    conf->health = h;

    for (i = 0; i < conf->nbackends; i++) {
        h[i].conf = conf;
        h[i].backend = &b[i];
        h[i].log = cycle->log;
        h[i].timer.handler = ngx_smtp_health_timer;
        h[i].timer.data = &h[i];
        h[i].timer.log = cycle->log;
        h[i].timer.cancelable = 1;

        if (b[i].sh) {
            ngx_add_timer(&h[i].timer,
                          1 + ngx_random() % NGX_SMTP_HEALTH_JITTER);
        }
    }

    return NGX_OK;
}


/* Those of upstream{}; of a host name, those it was resolved to. */

static ngx_int_t
ngx_smtp_health_list(ngx_smtp_pass_conf_t *conf, ngx_pool_t *pool)
{
    ngx_uint_t                       i, k;
    ngx_array_t                      list;
    ngx_smtp_backend_t              *b;
    ngx_stream_upstream_server_t    *us;
    ngx_stream_upstream_rr_peer_t   *peer;
    ngx_stream_upstream_rr_peers_t  *peers;

    if (ngx_array_init(&list, pool, 4, sizeof(ngx_smtp_backend_t)) != NGX_OK) {
        return NGX_ERROR;
    }

    if (conf->upstream->servers) {
        us = conf->upstream->servers->elts;

        for (i = 0; i < conf->upstream->servers->nelts; i++) {

            for (k = 0; k < us[i].naddrs && !us[i].down; k++) {

                /* "resolve": nginx keeps the port here, and no address */

                if (us[i].addrs[k].name.len == 0) {
                    continue;
                }

                b = ngx_smtp_health_add(&list, us[i].addrs[k].sockaddr,
                                        us[i].addrs[k].socklen,
                                        &us[i].addrs[k].name);
                if (b == NULL) {
                    return NGX_ERROR;
                }

                b->backup = us[i].backup;
            }
        }

    } else {

        /* implicit: always round robin */

        peers = conf->upstream->peer.data;

        for (peer = peers->peer; peer; peer = peer->next) {

            if (ngx_smtp_health_add(&list, peer->sockaddr, peer->socklen,
                                    &peer->name)
                == NULL)
            {
                return NGX_ERROR;
            }
        }
    }

    conf->backends = list.elts;
    conf->nbackends = list.nelts;

    return NGX_OK;
}


static ngx_smtp_backend_t *
ngx_smtp_health_add(ngx_array_t *list, struct sockaddr *sockaddr,
    socklen_t socklen, ngx_str_t *name)
{
    ngx_smtp_backend_t  *b;

    b = ngx_array_push(list);
    if (b == NULL) {
        return NULL;
    }

    ngx_memzero(b, sizeof(ngx_smtp_backend_t));

    b->sockaddr = sockaddr;
    b->socklen = socklen;
    b->name = *name;

    return b;
}


static ngx_smtp_backend_t *
ngx_smtp_health_find(ngx_smtp_pass_conf_t *conf, struct sockaddr *sockaddr,
    socklen_t socklen)
{
    ngx_uint_t           i;
    ngx_smtp_backend_t  *b;

    b = conf->backends;

    for (i = 0; i < conf->nbackends; i++) {

        if (ngx_cmp_sockaddr(b[i].sockaddr, b[i].socklen, sockaddr, socklen, 1)
            == NGX_OK)
        {
            return &b[i];
        }
    }

    return NULL;
}


void
ngx_smtp_health_stop(ngx_smtp_pass_conf_t *conf)
{
    ngx_uint_t          i;
    ngx_smtp_health_t  *h;

    h = conf->health;

    if (h == NULL) {
        return;
    }

    conf->health = NULL;

    for (i = 0; i < conf->nbackends; i++) {

        if (h[i].peer && !h[i].reported) {
            ngx_smtp_backend_release(h[i].backend);
        }

        ngx_smtp_health_end(&h[i]);

        if (h[i].timer.timer_set) {
            ngx_del_timer(&h[i].timer);
        }
    }
}


ngx_uint_t
ngx_smtp_health_down(ngx_smtp_pass_conf_t *conf, struct sockaddr *sockaddr,
    socklen_t socklen)
{
    ngx_smtp_backend_t  *b;

    if (conf->health_interval == 0) {
        return 0;
    }

    b = ngx_smtp_health_find(conf, sockaddr, socklen);

    return b && ngx_smtp_backend_down(b);
}


void
ngx_smtp_health_learn(ngx_smtp_pass_conf_t *conf, struct sockaddr *sockaddr,
    socklen_t socklen, ngx_smtp_caps_t *caps)
{
    ngx_uint_t           offers;
    ngx_smtp_backend_t  *b;

    b = ngx_smtp_health_find(conf, sockaddr, socklen);

    if (b == NULL) {
        return;
    }

    offers = 0;

    if (caps->flags & NGX_SMTP_CAP_SMTPUTF8) {
        offers |= NGX_SMTP_BACKEND_SMTPUTF8;
    }

    if (caps->flags & NGX_SMTP_CAP_DSN) {
        offers |= NGX_SMTP_BACKEND_DSN;
    }

    ngx_smtp_backend_learn(b, offers);
}


ngx_uint_t
ngx_smtp_health_extensions(ngx_smtp_pass_conf_t *conf)
{
    ngx_uint_t           i, n, all, offers;
    ngx_smtp_backend_t  *b;

    b = conf->backends;
    all = NGX_SMTP_BACKEND_SMTPUTF8|NGX_SMTP_BACKEND_DSN;
    n = 0;

    for (i = 0; i < conf->nbackends && all; i++) {

        if (conf->health_interval && ngx_smtp_backend_down(&b[i])) {
            continue;
        }

        offers = ngx_smtp_backend_offers(&b[i]);

        if (offers == 0 && b[i].backup) {
            continue;
        }

        all &= offers;
        n++;
    }

    if (n == 0) {
        return 0;
    }

    return ((all & NGX_SMTP_BACKEND_SMTPUTF8) ? NGX_SMTP_EXTENSION_SMTPUTF8
                                              : 0)
           | ((all & NGX_SMTP_BACKEND_DSN) ? NGX_SMTP_EXTENSION_DSN : 0);
}


static void
ngx_smtp_health_timer(ngx_event_t *ev)
{
    ngx_smtp_health_t  *h;

    h = ev->data;

    if (h->peer == NULL) {
        ngx_smtp_health_due(h);
        return;
    }

    if (!h->reported) {
        (void) ngx_smtp_client_lost(&h->client, NGX_SMTP_CLIENT_LOST_TIMEOUT);
        ngx_smtp_health_failed(h);
        return;
    }

    /* no reply to QUIT: never mind */

    ngx_smtp_health_end(h);
    ngx_add_timer(&h->timer, h->conf->health_interval);
}


static void
ngx_smtp_health_due(ngx_smtp_health_t *h)
{
    ngx_int_t              rc;
    ngx_msec_t             wait;
    ngx_smtp_pass_conf_t  *conf;

    if (ngx_exiting || ngx_quit || ngx_terminate) {
        return;
    }

    conf = h->conf;
    wait = conf->health_interval;

    rc = ngx_smtp_backend_take(h->backend, conf->health_interval,
                               conf->health_timeout + NGX_SMTP_HEALTH_LEASE,
                               &wait);

    if (rc == NGX_OK) {

        if (ngx_smtp_health_probe(h) == NGX_OK) {
            ngx_add_timer(&h->timer, conf->health_timeout);
            return;
        }

        ngx_smtp_backend_release(h->backend);
    }

    ngx_add_timer(&h->timer, wait + ngx_random() % NGX_SMTP_HEALTH_JITTER);
}


static ngx_int_t
ngx_smtp_health_probe(ngx_smtp_health_t *h)
{
    ngx_smtp_peer_t         *p;
    ngx_smtp_talk_t         *talk;
    ngx_smtp_pass_conf_t    *conf;
    ngx_smtp_client_conf_t   cc;

    conf = h->conf;

    p = ngx_smtp_peer_create(h->log, conf->health_timeout,
                             ngx_smtp_talk_handler, &h->talk);
    if (p == NULL) {
        return NGX_ERROR;
    }

    /* what happens is told once, by us */

    if (!(p->log.log_level & NGX_LOG_DEBUG_STREAM)) {
        p->log.log_level = ngx_min(p->log.log_level, NGX_LOG_CRIT);
    }

    p->no_sni = !conf->ssl_server_name;

    h->peer = p;
    h->reported = 0;
    h->tls_name = conf->ssl_name.len ? conf->ssl_name : conf->host;

    ngx_memzero(&cc, sizeof(ngx_smtp_client_conf_t));

    cc.helo = conf->hostname;
    cc.tls = (conf->tls == NGX_SMTP_PASS_SSL_STARTTLS)
             ? NGX_SMTP_CLIENT_TLS_REQUIRE : NGX_SMTP_CLIENT_TLS_OFF;
    cc.tls_on = (conf->tls == NGX_SMTP_PASS_SSL_ON);

    ngx_smtp_client_init(&h->client, &cc);

    talk = &h->talk;

    talk->callbacks = &ngx_smtp_health_callbacks;
    talk->peer = p;
    talk->client = &h->client;
    talk->data = h;
    talk->timeout = conf->health_timeout;
    talk->data_timeout = conf->health_timeout;
    talk->ssl = conf->ssl;
    talk->tls_name = &h->tls_name;

    /* a name that is the transaction's is nobody's here */

    talk->verify = conf->ssl_verify && conf->ssl_name_value == NULL;

    p->transparent = conf->bind_transparent;

    ngx_smtp_peer_connect(p, h->backend->sockaddr, h->backend->socklen,
                          &h->backend->name, conf->bind,
                          conf->health_timeout);

    return NGX_OK;
}


/* A backend that waits for a PROXY header gets one: we are the client. */

static ngx_int_t
ngx_smtp_health_connected(ngx_smtp_talk_t *talk)
{
    u_char             *last, buf[NGX_SMTP_PROXY_HEADER_MAX];
    ngx_connection_t   *c;
    ngx_smtp_health_t  *h;

    h = talk->data;

    if (h->conf->proxy_protocol == 0) {
        return NGX_OK;
    }

    c = talk->peer->connection;

    if (ngx_connection_local_sockaddr(c, NULL, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    last = ngx_smtp_proxy_header_write(buf, h->conf->proxy_protocol,
                                       c->local_sockaddr,
                                       talk->peer->sockaddr);

    return ngx_smtp_peer_put(talk->peer, buf, last - buf) == NGX_OK
           && ngx_smtp_peer_flush(talk->peer) == NGX_OK
           ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_smtp_health_ready(ngx_smtp_talk_t *talk)
{
    ngx_str_t           none;
    ngx_smtp_health_t  *h;

    h = talk->data;

    ngx_smtp_health_learn(h->conf, h->backend->sockaddr, h->backend->socklen,
                          &h->client.caps);

    ngx_str_null(&none);
    ngx_smtp_health_report(h, 1, &none);

    /* the timer is that of the deadline still */

    return ngx_smtp_client_quit(&h->client);
}


static ngx_int_t
ngx_smtp_health_input(ngx_smtp_talk_t *talk, ngx_int_t action)
{
    return action;
}


/* of a body there is none */

static ngx_int_t
ngx_smtp_health_none(ngx_smtp_talk_t *talk)
{
    return NGX_DECLINED;
}


static void
ngx_smtp_health_lost(ngx_smtp_talk_t *talk, ngx_uint_t how)
{
    ngx_smtp_health_t  *h;

    h = talk->data;

    if (how == NGX_SMTP_CLIENT_LOST_LOCAL || h->peer->unable) {

        /* that tells nothing of the backend */

        ngx_smtp_health_abandon(h);
        return;
    }

    if (!h->reported) {
        (void) ngx_smtp_client_lost(&h->client, how);
    }

    ngx_smtp_health_failed(h);
}


/* The worker ends, or had no memory, socket or address of its own. */

static void
ngx_smtp_health_abandon(ngx_smtp_health_t *h)
{
    if (ngx_exiting || ngx_quit || ngx_terminate) {
        ngx_smtp_health_stop(h->conf);
        return;
    }

    if (!h->reported) {
        ngx_smtp_backend_release(h->backend);
    }

    ngx_smtp_health_end(h);

    ngx_add_timer(&h->timer, h->conf->health_interval);
}


static void
ngx_smtp_health_closed(ngx_smtp_talk_t *talk)
{
    ngx_smtp_health_failed(talk->data);
}


/* The end of a check, in whatever way; client.verdict tells why. */

static void
ngx_smtp_health_failed(ngx_smtp_health_t *h)
{
    u_char              *p, *last;
    ngx_str_t            reason;
    ngx_smtp_verdict_t  *v;
    u_char               buf[NGX_SMTP_BACKEND_REASON_MAX];

    if (!h->reported) {
        v = &h->client.verdict;
        last = buf + sizeof(buf);

        if (h->peer->failure == NGX_SMTP_PEER_REFUSED) {
            p = ngx_slprintf(buf, last, "no connection");

            if (h->peer->err && p + 3 < last) {
                *p++ = ':';
                *p++ = ' ';
                p = ngx_strerror(h->peer->err, p, last - p);
            }

        } else if (v->local) {
            p = ngx_slprintf(buf, last, "%V", &v->text);

        } else {
            p = ngx_slprintf(buf, last, "%ui %V", v->code, &v->text);
        }

        reason.data = buf;
        reason.len = p - buf;

        ngx_smtp_health_report(h, 0, &reason);
    }

    ngx_smtp_health_end(h);

    ngx_add_timer(&h->timer, h->conf->health_interval);
}


static void
ngx_smtp_health_report(ngx_smtp_health_t *h, ngx_uint_t ok, ngx_str_t *reason)
{
    ngx_uint_t             n;
    ngx_smtp_pass_conf_t  *conf;

    conf = h->conf;
    n = ok ? conf->health_passes : conf->health_fails;

    h->reported = 1;

    if (ngx_smtp_backend_report(h->backend, ok, n, conf->health_interval,
                                reason)
        != NGX_DONE)
    {
        return;
    }

    if (ok) {
        ngx_log_error(NGX_LOG_NOTICE, h->log, 0,
                      "upstream \"%V\" of \"smtp_pass %V\" is up again, "
                      "health checks passed: %ui", &h->backend->name,
                      &conf->target, n);
        return;
    }

    ngx_log_error(NGX_LOG_WARN, h->log, 0,
                  "upstream \"%V\" of \"smtp_pass %V\" is down, health "
                  "checks failed: %ui, the last one: %V", &h->backend->name,
                  &conf->target, n, reason);
}


static void
ngx_smtp_health_end(ngx_smtp_health_t *h)
{
    if (h->peer) {
        ngx_smtp_peer_close(h->peer, 0);
        h->peer = NULL;
    }
}
