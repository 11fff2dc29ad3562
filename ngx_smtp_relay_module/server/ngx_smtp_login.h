
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A login: the account is fetched (Redis or accounts file), the cache of
 * verified logins asked, the password hashed in a thread, the answer given.
 *
 *   start -> fetch -> cache hit -----------------------------> handler
 *                 \-> wait for a hashing slot -> thread -----> handler
 *
 * An unknown login, an account without password and a disabled one take the
 * same way with a verifier that nothing matches, so that neither reply nor
 * time tells them from a wrong password.  The request has its own pool, holds
 * copies of login and password, zeroed as soon as they are of no use, and
 * outlives a session that lets go of it.
 *
 * The counters AUTH_OK, AUTH_FAILED, AUTH_TEMP and AUTH_CACHED of the zone are
 * kept here, and nowhere else.
 */


#ifndef _NGX_SMTP_LOGIN_H_INCLUDED_
#define _NGX_SMTP_LOGIN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_thread_pool.h>

#include "ngx_smtp_account.h"
#include "ngx_smtp_password.h"
#include "ngx_smtp_redis.h"
#include "ngx_smtp_task.h"


#define NGX_SMTP_LOGIN_KEY          "account:"  /* after the prefix */
#define NGX_SMTP_LOGIN_CACHE_TIME   300000
#define NGX_SMTP_LOGIN_MAX_WAITING  64      /* for a hashing slot, a worker */
#define NGX_SMTP_LOGIN_MAX_SAME     8       /* ... of one client */
#define NGX_SMTP_LOGIN_MAX_WAIT     10000   /* ms */
#define NGX_SMTP_LOGIN_COSTS        8


typedef struct ngx_smtp_login_s  ngx_smtp_login_t;

typedef void (*ngx_smtp_login_pt)(ngx_smtp_login_t *login);


/* how often a cost of verifiers was seen in a store */
typedef struct {
    ngx_uint_t                   count;
    ngx_str_t                    verifier;  /* a dummy of this cost, in buf */
    u_char                       buf[NGX_SMTP_PASSWORD_MAX];
} ngx_smtp_login_cost_t;


/*
 * Where accounts come from (directive smtp_accounts): exactly one of redis and
 * file.
 */
typedef struct {
    ngx_smtp_redis_conf_t       *redis;

    ngx_str_t                    path;      /* accounts file, full */
    ngx_rbtree_t                *file;      /* of ngx_str_node_t */
    ngx_uint_t                   naccounts;

    ngx_smtp_login_cost_t        costs[NGX_SMTP_LOGIN_COSTS];
} ngx_smtp_accounts_t;


/* what the server{} block says; must outlive its logins (the cycle does) */
typedef struct {
    ngx_smtp_accounts_t         *accounts;
    ngx_shm_zone_t              *zone;      /* NULL: no cache */
    ngx_thread_pool_t           *thread_pool;
    ngx_msec_t                   cache_time;    /* ms, 0: no cache */
    unsigned                     nice:1;    /* the pool serves nothing else:
                                               its threads go to nice +10 */
} ngx_smtp_login_conf_t;


struct ngx_smtp_login_s {
    /* set by start(), for the handler */
    void                        *data;
    ngx_int_t                    rc;        /* NGX_OK, NGX_DECLINED: 535,
                                               NGX_ERROR: 454 */
    ngx_smtp_account_t          *account;   /* with NGX_OK only; see
                                               ngx_smtp_account_copy() */
    ngx_str_t                    name;      /* login, normalized if it could
                                               be; for the log */
    /* private */
    ngx_smtp_login_pt            handler;   /* NULL: canceled */
    ngx_smtp_login_conf_t       *conf;
    ngx_pool_t                  *pool;
    ngx_log_t                   *log;
    ngx_queue_t                  queue;     /* all of the worker */
    ngx_queue_t                  waiting;
    ngx_str_t                    password;
    ngx_str_t                    addr;      /* for the log */
    ngx_str_t                    origin;    /* who counts as one client */
    ngx_str_t                    verifier;  /* to be hashed against */
    ngx_smtp_redis_request_t    *request;
    ngx_smtp_task_t              task;
    ngx_event_t                  event;     /* posts the result */
    void                        *dummy[4];  /* stands for a connection in
                                               debug logs of the event */
    ngx_msec_t                   deadline;
    ngx_uint_t                   ticket;
    ngx_int_t                    verified;  /* result of the thread */
    u_char                       key[32];   /* of the cache */
    unsigned                     has_key:1;
    unsigned                     has_ticket:1;
    unsigned                     is_waiting:1;
    unsigned                     usable:1;  /* success may be granted */
    unsigned                     cached:1;
    unsigned                     ending:1;  /* the handler is running */
};


/*
 * Configuration: an accounts source from the value of smtp_accounts
 * ("file=PATH", relative to the configuration): reads the file now, unless it
 * is in the list already.  The list, of ngx_smtp_accounts_t *, is that of the
 * configuration: who names the same source shares it.  NULL after an error was
 * logged with its file and line.
 */
ngx_smtp_accounts_t *ngx_smtp_accounts_file_load(ngx_conf_t *cf,
    ngx_array_t *list, ngx_str_t *path);

/* The same for "redis=NAME".  NULL without memory. */
ngx_smtp_accounts_t *ngx_smtp_accounts_redis(ngx_conf_t *cf,
    ngx_array_t *list, ngx_smtp_redis_conf_t *redis);

/* The account of a normalized login in the file, or NULL. */
ngx_smtp_account_t *ngx_smtp_accounts_file_find(ngx_smtp_accounts_t *accounts,
    ngx_str_t *login);

/*
 * For unknown logins: seen() counts the cost of a stored password, usual()
 * gives a verifier of the cost seen most often, or NULL.
 */
void ngx_smtp_accounts_seen(ngx_smtp_accounts_t *accounts,
    ngx_str_t *verifier);
ngx_str_t *ngx_smtp_accounts_usual(ngx_smtp_accounts_t *accounts);

/*
 * Starts a login.  login and password are copied, the caller wipes its own;
 * addr is the client address as text without port; for the bounds on hashing
 * all of an IPv6 /64 is one client.  handler(login) is called once, from the
 * event loop, never from within this function; login and all it points to are
 * freed after it returned.  NULL: nothing could be started (no memory, Redis
 * down, too many waiting): 454 4.7.0.
 *
 * The request holds no timer for the caller: every stage has its own limit
 * (Redis time-out, 10 s of waiting, then the hashing).
 */
ngx_smtp_login_t *ngx_smtp_login_start(ngx_smtp_login_conf_t *conf,
    ngx_str_t *login, ngx_str_t *password, ngx_str_t *addr,
    ngx_smtp_login_pt handler, void *data);

/*
 * The session leaves: the handler will not be called.  From within the handler
 * it does nothing.
 */
void ngx_smtp_login_cancel(ngx_smtp_login_t *login);

/*
 * exit_process: cancels all.  Before ngx_smtp_task_finish_all() (which ends
 * those in a thread), ngx_smtp_redis_exit_worker() and
 * ngx_smtp_zone_exit_worker().
 */
void ngx_smtp_login_exit_worker(void);


#endif /* _NGX_SMTP_LOGIN_H_INCLUDED_ */
