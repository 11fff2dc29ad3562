
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Logins of a worker.  Each is an object with its own pool that is at any
 * moment in exactly one place: with Redis, in the queue for a hashing slot, in
 * a thread, or among the posted events with its result.  Cancel frees it at
 * once, but for the thread, which is waited for.
 */


#include "ngx_smtp_login.h"
#include "ngx_smtp_zone.h"

#include <sys/resource.h>
#include <sys/syscall.h>


#define NGX_SMTP_LOGIN_RETRY  20        /* ms between looks at the slots */
#define NGX_SMTP_LOGIN_NICE   10
#define NGX_SMTP_LOGIN_NET    8         /* bytes of an IPv6 network */


static ngx_int_t ngx_smtp_login_origin(ngx_smtp_login_t *l);
static void ngx_smtp_login_fetch_file(ngx_smtp_login_t *l);
static ngx_int_t ngx_smtp_login_fetch_redis(ngx_smtp_login_t *l);
static void ngx_smtp_login_redis_handler(ngx_smtp_redis_request_t *r);
static ngx_int_t ngx_smtp_login_parse_reply(ngx_smtp_login_t *l,
    ngx_smtp_redis_reply_t *reply);
static void ngx_smtp_login_check(ngx_smtp_login_t *l);
static ngx_int_t ngx_smtp_login_dummy(ngx_smtp_login_t *l);
static void ngx_smtp_login_enqueue(ngx_smtp_login_t *l);
static void ngx_smtp_login_pump(void);
static void ngx_smtp_login_timer_handler(ngx_event_t *ev);
static void ngx_smtp_login_run(void *data);
static void ngx_smtp_login_done(void *data);
static void ngx_smtp_login_finish(ngx_smtp_login_t *l, ngx_int_t rc);
static void ngx_smtp_login_event_handler(ngx_event_t *ev);
static void ngx_smtp_login_free(ngx_smtp_login_t *l);
static void ngx_smtp_login_wipe(ngx_str_t *s);
static ngx_int_t ngx_smtp_login_strdup(ngx_pool_t *pool, ngx_str_t *dst,
    ngx_str_t *src);


static ngx_queue_t  ngx_smtp_logins;            /* all of the worker */
static ngx_queue_t  ngx_smtp_login_waiting;     /* for a hashing slot */
static ngx_uint_t   ngx_smtp_login_nwaiting;
static ngx_event_t  ngx_smtp_login_timer;
static void        *ngx_smtp_login_timer_dummy[4];
static ngx_uint_t   ngx_smtp_login_started;


ngx_smtp_login_t *
ngx_smtp_login_start(ngx_smtp_login_conf_t *conf, ngx_str_t *login,
    ngx_str_t *password, ngx_str_t *addr, ngx_smtp_login_pt handler,
    void *data)
{
    ngx_pool_t        *pool;
    ngx_smtp_login_t  *l;

    if (!ngx_smtp_login_started) {
        ngx_queue_init(&ngx_smtp_logins);
        ngx_queue_init(&ngx_smtp_login_waiting);
        ngx_smtp_login_nwaiting = 0;

        ngx_memzero(&ngx_smtp_login_timer, sizeof(ngx_event_t));
        ngx_smtp_login_timer_dummy[3] = (void *) -1;
        ngx_smtp_login_timer.data = ngx_smtp_login_timer_dummy;
        ngx_smtp_login_timer.handler = ngx_smtp_login_timer_handler;
        ngx_smtp_login_timer.log = ngx_cycle->log;

        ngx_smtp_login_started = 1;
    }

    pool = ngx_create_pool(4096, ngx_cycle->log);

    if (pool == NULL) {
        ngx_smtp_count(NGX_SMTP_COUNT_AUTH_TEMP);
        return NULL;
    }

    l = ngx_pcalloc(pool, sizeof(ngx_smtp_login_t));

    if (l == NULL) {
        ngx_destroy_pool(pool);
        ngx_smtp_count(NGX_SMTP_COUNT_AUTH_TEMP);
        return NULL;
    }

    l->pool = pool;
    l->conf = conf;
    l->log = ngx_cycle->log;
    l->handler = handler;
    l->data = data;

    l->dummy[3] = (void *) -1;
    l->event.data = l->dummy;
    l->event.handler = ngx_smtp_login_event_handler;
    l->event.log = l->log;

    ngx_smtp_task_init(&l->task, "password check", ngx_smtp_login_run,
                       ngx_smtp_login_done, l);

    ngx_queue_insert_tail(&ngx_smtp_logins, &l->queue);

    if (ngx_smtp_login_strdup(pool, &l->name, login) != NGX_OK
        || ngx_smtp_login_strdup(pool, &l->password, password) != NGX_OK
        || ngx_smtp_login_strdup(pool, &l->addr, addr) != NGX_OK
        || ngx_smtp_login_origin(l) != NGX_OK)
    {
        goto failed;
    }

    if (ngx_smtp_account_normalize(&l->name) != NGX_OK) {

        /* what cannot be a login is an unknown one */

        ngx_smtp_login_check(l);
        return l;
    }

    if (conf->accounts->redis == NULL) {
        ngx_smtp_login_fetch_file(l);
        return l;
    }

    if (ngx_smtp_login_fetch_redis(l) != NGX_OK) {
        goto failed;
    }

    return l;

failed:

    ngx_smtp_login_free(l);
    ngx_smtp_count(NGX_SMTP_COUNT_AUTH_TEMP);

    return NULL;
}


void
ngx_smtp_login_cancel(ngx_smtp_login_t *l)
{
    if (l->ending) {
        return;
    }

    l->handler = NULL;

    if (l->task.active) {
        return;
    }

    ngx_smtp_login_free(l);
}


void
ngx_smtp_login_exit_worker(void)
{
    ngx_queue_t       *q, *next;
    ngx_smtp_login_t  *l;

    if (!ngx_smtp_login_started) {
        return;
    }

    for (q = ngx_queue_head(&ngx_smtp_logins);
         q != ngx_queue_sentinel(&ngx_smtp_logins);
         q = next)
    {
        next = ngx_queue_next(q);
        l = ngx_queue_data(q, ngx_smtp_login_t, queue);

        ngx_smtp_login_cancel(l);
    }

    if (ngx_smtp_login_timer.timer_set) {
        ngx_del_timer(&ngx_smtp_login_timer);
    }
}


/*
 * Who has one IPv6 address has all of its /64, and with them would have every
 * place there is.  Not where IPv4 addresses are embedded: those are others'.
 */

static ngx_int_t
ngx_smtp_login_origin(ngx_smtp_login_t *l)
{
#if (NGX_HAVE_INET6)

    u_char      *p, ip[16];
    ngx_uint_t   i;

    static u_char  embedded[][12] = {
        { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff },           /* mapped */
        { 0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0 }         /* NAT64 */
    };

    l->origin = l->addr;

    if (ngx_strlchr(l->addr.data, l->addr.data + l->addr.len, ':') == NULL
        || ngx_inet6_addr(l->addr.data, l->addr.len, ip) != NGX_OK)
    {
        return NGX_OK;
    }

    for (i = 0; i < 2; i++) {
        if (ngx_memcmp(ip, embedded[i], 12) == 0) {
            return NGX_OK;
        }
    }

    p = ngx_pnalloc(l->pool, 2 * NGX_SMTP_LOGIN_NET);

    if (p == NULL) {
        return NGX_ERROR;
    }

    l->origin.data = p;
    l->origin.len = ngx_hex_dump(p, ip, NGX_SMTP_LOGIN_NET) - p;

#else

    l->origin = l->addr;

#endif

    return NGX_OK;
}


static void
ngx_smtp_login_fetch_file(ngx_smtp_login_t *l)
{
    l->account = ngx_smtp_accounts_file_find(l->conf->accounts, &l->name);

    ngx_smtp_login_check(l);
}


static ngx_int_t
ngx_smtp_login_fetch_redis(ngx_smtp_login_t *l)
{
    u_char                 *p;
    ngx_str_t               argv[5];
    ngx_smtp_redis_conf_t  *redis;

    redis = l->conf->accounts->redis;

    ngx_str_set(&argv[0], "HMGET");

    argv[1].len = redis->prefix.len + sizeof(NGX_SMTP_LOGIN_KEY) - 1
                  + l->name.len;
    argv[1].data = ngx_pnalloc(l->pool, argv[1].len);

    if (argv[1].data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(argv[1].data, redis->prefix.data, redis->prefix.len);
    p = ngx_cpymem(p, NGX_SMTP_LOGIN_KEY, sizeof(NGX_SMTP_LOGIN_KEY) - 1);
    ngx_memcpy(p, l->name.data, l->name.len);

    ngx_str_set(&argv[2], "password");
    ngx_str_set(&argv[3], "enabled");
    ngx_str_set(&argv[4], "senders");

    l->request = ngx_smtp_redis_query(redis, argv, 5,
                                      ngx_smtp_login_redis_handler, l);

    return l->request ? NGX_OK : NGX_ERROR;
}


static void
ngx_smtp_login_redis_handler(ngx_smtp_redis_request_t *r)
{
    ngx_smtp_login_t *l = r->data;

    l->request = NULL;

    if (r->rc != NGX_OK
        || ngx_smtp_login_parse_reply(l, r->reply) != NGX_OK)
    {
        ngx_smtp_login_finish(l, NGX_ERROR);
        return;
    }

    ngx_smtp_login_check(l);
}


/* the values of password, enabled and senders; nil: no such field */

static ngx_int_t
ngx_smtp_login_parse_reply(ngx_smtp_login_t *l, ngx_smtp_redis_reply_t *reply)
{
    ngx_int_t                rc;
    ngx_uint_t               i;
    const char              *reason;
    ngx_smtp_account_t      *account;
    ngx_smtp_redis_reply_t  *value;

    static ngx_str_t  names[] = {
        ngx_string("password"),
        ngx_string("enabled"),
        ngx_string("senders")
    };

    if (reply->type == NGX_SMTP_REDIS_FAILURE) {
        ngx_log_error(NGX_LOG_ERR, l->log, 0,
                      "redis \"%V\" refused to give account \"%V\": \"%V\"",
                      &l->conf->accounts->redis->name, &l->name, &reply->str);
        return NGX_ERROR;
    }

    reason = "not an array of three";

    if (reply->type != NGX_SMTP_REDIS_ARRAY || reply->nelts != 3) {
        goto invalid;
    }

    account = ngx_palloc(l->pool, sizeof(ngx_smtp_account_t));

    if (account == NULL
        || ngx_smtp_account_init(account, &l->name, l->pool) != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < 3; i++) {

        value = reply->elts[i];

        if (value->type == NGX_SMTP_REDIS_NIL) {
            continue;
        }

        if (value->type != NGX_SMTP_REDIS_STRING) {
            reason = "not a string";
            goto invalid;
        }

        rc = ngx_smtp_account_set(account, &names[i], &value->str, l->pool,
                                  &reason);

        if (rc == NGX_DECLINED) {
            goto invalid;
        }

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }
    }

    /* without password there is nobody to log in */

    l->account = account->verifier.len ? account : NULL;

    return NGX_OK;

invalid:

    ngx_log_error(NGX_LOG_ERR, l->log, 0,
                  "redis \"%V\" gave an invalid account \"%V\": %s",
                  &l->conf->accounts->redis->name, &l->name, reason);

    return NGX_ERROR;
}


/*
 * The record is here, or known not to be.  From now on all ways that end in
 * 535 are the same: one hash of the store's usual cost.
 */

static void
ngx_smtp_login_check(ngx_smtp_login_t *l)
{
    ngx_smtp_login_conf_t  *conf;

    conf = l->conf;

    if (l->account) {

        if (ngx_smtp_password_scheme(&l->account->verifier)
            == NGX_SMTP_PASSWORD_NONE)
        {
            ngx_log_error(NGX_LOG_ERR, l->log, 0,
                          "stored password of account \"%V\" is of no "
                          "supported scheme or cost", &l->name);
            ngx_smtp_login_finish(l, NGX_ERROR);
            return;
        }

        if (conf->accounts->redis) {
            ngx_smtp_accounts_seen(conf->accounts, &l->account->verifier);
        }

        l->usable = l->account->enabled;
    }

    if (!l->usable) {

        if (ngx_smtp_login_dummy(l) != NGX_OK) {
            ngx_smtp_login_finish(l, NGX_ERROR);
            return;
        }

        ngx_smtp_login_enqueue(l);
        return;
    }

    l->verifier = l->account->verifier;

    if (conf->zone && conf->cache_time
        && ngx_smtp_zone_login_key(conf->zone, &l->name, &l->verifier,
                                   &l->password, l->key)
           == NGX_OK)
    {
        l->has_key = 1;

        if (ngx_smtp_zone_login_get(conf->zone, l->key) == NGX_OK) {
            l->cached = 1;
            ngx_smtp_login_finish(l, NGX_OK);
            return;
        }
    }

    ngx_smtp_login_enqueue(l);
}


static ngx_int_t
ngx_smtp_login_dummy(ngx_smtp_login_t *l)
{
    u_char     *buf;
    ngx_str_t  *like;

    buf = ngx_pnalloc(l->pool, NGX_SMTP_PASSWORD_MAX);

    if (buf == NULL) {
        return NGX_ERROR;
    }

    /* a disabled account costs what it did when it was enabled */

    like = l->account ? &l->account->verifier
                      : ngx_smtp_accounts_usual(l->conf->accounts);

    ngx_smtp_password_dummy(like, buf, &l->verifier);

    return NGX_OK;
}


static void
ngx_smtp_login_enqueue(ngx_smtp_login_t *l)
{
    ngx_uint_t         same;
    ngx_queue_t       *q;
    ngx_smtp_login_t  *w;

    same = 0;

    for (q = ngx_queue_head(&ngx_smtp_login_waiting);
         q != ngx_queue_sentinel(&ngx_smtp_login_waiting);
         q = ngx_queue_next(q))
    {
        w = ngx_queue_data(q, ngx_smtp_login_t, waiting);

        if (w->origin.len == l->origin.len
            && ngx_memcmp(w->origin.data, l->origin.data, l->origin.len) == 0)
        {
            same++;
        }
    }

    if (same >= NGX_SMTP_LOGIN_MAX_SAME
        || ngx_smtp_login_nwaiting >= NGX_SMTP_LOGIN_MAX_WAITING)
    {
        ngx_log_error(NGX_LOG_WARN, l->log, 0,
                      "too many logins are waiting, client: %V", &l->addr);
        ngx_smtp_login_finish(l, NGX_ERROR);
        return;
    }

    l->is_waiting = 1;
    l->deadline = ngx_current_msec + NGX_SMTP_LOGIN_MAX_WAIT;

    ngx_queue_insert_tail(&ngx_smtp_login_waiting, &l->waiting);
    ngx_smtp_login_nwaiting++;

    ngx_smtp_login_pump();
}


/* starts those of the queue that may; other workers' slots are polled for */

static void
ngx_smtp_login_pump(void)
{
    ngx_int_t          rc;
    ngx_uint_t         full;
    ngx_queue_t       *q, *next;
    ngx_smtp_login_t  *l;

    full = 0;

    for (q = ngx_queue_head(&ngx_smtp_login_waiting);
         q != ngx_queue_sentinel(&ngx_smtp_login_waiting);
         q = next)
    {
        next = ngx_queue_next(q);
        l = ngx_queue_data(q, ngx_smtp_login_t, waiting);

        rc = full ? NGX_AGAIN
                  : ngx_smtp_zone_hashing_take(l->conf->zone, &l->origin,
                                               &l->ticket);

        if (rc != NGX_OK) {
            full = (rc == NGX_AGAIN);

            if ((ngx_msec_int_t) (l->deadline - ngx_current_msec) > 0) {
                continue;
            }
        }

        ngx_queue_remove(q);
        ngx_smtp_login_nwaiting--;
        l->is_waiting = 0;

        if (rc != NGX_OK) {
            ngx_log_error(NGX_LOG_WARN, l->log, 0,
                          "login waited too long for its password check, "
                          "client: %V", &l->addr);
            ngx_smtp_login_finish(l, NGX_ERROR);
            continue;
        }

        l->has_ticket = 1;

        if (ngx_smtp_task_post(l->conf->thread_pool, &l->task, l->log)
            != NGX_OK)
        {
            ngx_smtp_login_finish(l, NGX_ERROR);
        }
    }

    if (ngx_smtp_login_nwaiting && !ngx_smtp_login_timer.timer_set) {
        ngx_add_timer(&ngx_smtp_login_timer, NGX_SMTP_LOGIN_RETRY);
    }
}


static void
ngx_smtp_login_timer_handler(ngx_event_t *ev)
{
    ngx_smtp_login_pump();
}


/* in a thread */

static void
ngx_smtp_login_run(void *data)
{
    ngx_smtp_login_t *l = data;

    static __thread ngx_uint_t  niced;

    if (l->conf->nice && !niced) {
        niced = 1;

        /* on Linux the priority is that of a thread; a failure costs little */

        (void) setpriority(PRIO_PROCESS, (id_t) syscall(SYS_gettid),
                           NGX_SMTP_LOGIN_NICE);
    }

    l->verified = ngx_smtp_password_verify(&l->verifier, &l->password);
}


static void
ngx_smtp_login_done(void *data)
{
    ngx_smtp_login_t *l = data;

    ngx_smtp_login_conf_t  *conf;

    conf = l->conf;

    ngx_smtp_zone_hashing_give(conf->zone, l->ticket);
    l->has_ticket = 0;

    if (l->usable && l->verified == NGX_OK && l->has_key) {
        ngx_smtp_zone_login_put(conf->zone, l->key, conf->cache_time);
    }

    if (l->handler == NULL) {
        ngx_smtp_login_free(l);

    } else if (l->usable && l->verified == NGX_OK) {
        ngx_smtp_login_finish(l, NGX_OK);

    } else if (l->usable && l->verified == NGX_ERROR) {
        ngx_log_error(NGX_LOG_ERR, l->log, 0,
                      "stored password of account \"%V\" cannot be checked",
                      &l->name);
        ngx_smtp_login_finish(l, NGX_ERROR);

    } else {
        ngx_smtp_login_finish(l, NGX_DECLINED);
    }

    ngx_smtp_login_pump();
}


/*
 * The result is delivered by an event, so that no caller of start() or of
 * redis finds its session finalized when it returns.
 */

static void
ngx_smtp_login_finish(ngx_smtp_login_t *l, ngx_int_t rc)
{
    l->rc = rc;

    if (rc != NGX_OK) {
        l->account = NULL;
    }

    if (l->has_ticket) {
        ngx_smtp_zone_hashing_give(l->conf->zone, l->ticket);
        l->has_ticket = 0;
    }

    ngx_smtp_login_wipe(&l->password);

    ngx_post_event(&l->event, &ngx_posted_events);
}


static void
ngx_smtp_login_event_handler(ngx_event_t *ev)
{
    ngx_smtp_login_t  *l;

    l = (ngx_smtp_login_t *) ((u_char *) ev
                              - offsetof(ngx_smtp_login_t, event));

    ngx_log_debug2(NGX_LOG_DEBUG_STREAM, ev->log, 0,
                   "smtp login \"%V\": %i", &l->name, l->rc);

    ngx_smtp_count((l->rc == NGX_OK) ? NGX_SMTP_COUNT_AUTH_OK
                   : (l->rc == NGX_DECLINED) ? NGX_SMTP_COUNT_AUTH_FAILED
                                             : NGX_SMTP_COUNT_AUTH_TEMP);

    if (l->cached) {
        ngx_smtp_count(NGX_SMTP_COUNT_AUTH_CACHED);
    }

    l->ending = 1;
    l->handler(l);

    ngx_smtp_login_free(l);
}


/* takes it out of wherever it is; not while a thread has it */

static void
ngx_smtp_login_free(ngx_smtp_login_t *l)
{
    if (l->request) {
        ngx_smtp_redis_cancel(l->request);
    }

    if (l->is_waiting) {
        ngx_queue_remove(&l->waiting);
        ngx_smtp_login_nwaiting--;
    }

    if (l->has_ticket) {
        ngx_smtp_zone_hashing_give(l->conf->zone, l->ticket);
    }

    if (l->event.posted) {
        ngx_delete_posted_event(&l->event);
    }

    ngx_queue_remove(&l->queue);

    ngx_smtp_login_wipe(&l->password);

    /* an account of the file is not ours to wipe */

    if (l->conf->accounts->redis && l->account) {
        ngx_smtp_login_wipe(&l->account->verifier);
    }

    ngx_destroy_pool(l->pool);
}


static void
ngx_smtp_login_wipe(ngx_str_t *s)
{
    if (s->len) {
        ngx_explicit_memzero(s->data, s->len);
        s->len = 0;
    }
}


static ngx_int_t
ngx_smtp_login_strdup(ngx_pool_t *pool, ngx_str_t *dst, ngx_str_t *src)
{
    dst->data = ngx_pnalloc(pool, src->len ? src->len : 1);

    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(dst->data, src->data, src->len);
    dst->len = src->len;

    return NGX_OK;
}
