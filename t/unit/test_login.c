
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Logins with the accounts file, the zone and the thread pool underneath, and
 * with a Redis that is played here: results, the cache, the bounds on hashing,
 * clients that leave at each stage, the end of a worker.
 *
 * sources: server/ngx_smtp_login.c server/ngx_smtp_accounts.c
 * sources: core/ngx_smtp_transaction.c core/ngx_smtp_content.c
 * sources: net/ngx_smtp_zone_strike.c core/ngx_smtp_work.c
 * sources: net/ngx_smtp_zone.c net/ngx_smtp_zone_usage.c core/ngx_smtp_task.c
 * sources: auth/ngx_smtp_account.c auth/ngx_smtp_password.c
 * libs: -lcrypt -lcrypto
 */


#include "shim.h"
#include "ngx_smtp_login.h"
#include "ngx_smtp_zone.h"

#include <sys/wait.h>
#include <unistd.h>


/* the hash of "secret" */
#define HASH                                                                  \
    "$5$rounds=1000$abcdefgh$XIppta5rT8zJUu4vAOKQXrwq9uY4Ijlz6VjyOmkx5i4"


/* what nginx has, as far as it is called */

ngx_module_t      ngx_smtp_relay_module;

static char       conf_error[1024];
static u_char     zone_memory[1024];
static size_t     slab_size;


void
ngx_shmtx_lock(ngx_shmtx_t *mtx)
{
    assert_int_equal(mtx->spin, 0);
    mtx->spin = 1;
}


void
ngx_shmtx_unlock(ngx_shmtx_t *mtx)
{
    assert_int_equal(mtx->spin, 1);
    mtx->spin = 0;
}


typedef struct slab_s  slab_t;

struct slab_s {
    slab_t  *next;
};

static slab_t  *slabs;


void *
ngx_slab_calloc(ngx_slab_pool_t *pool, size_t size)
{
    slab_t  *s;

    s = calloc(1, sizeof(slab_t) + size);
    s->next = slabs;
    slabs = s;
    slab_size += size;

    return s + 1;
}


void *
ngx_slab_alloc(ngx_slab_pool_t *pool, size_t size)
{
    return ngx_slab_calloc(pool, size);
}


void *
ngx_slab_calloc_locked(ngx_slab_pool_t *pool, size_t size)
{
    return ngx_slab_calloc(pool, size);
}


/* with all others, at the end */

void
ngx_slab_free_locked(ngx_slab_pool_t *pool, void *p)
{
}


static ngx_shm_zone_t  shm_zone;


ngx_shm_zone_t *
ngx_shared_memory_add(ngx_conf_t *cf, ngx_str_t *name, size_t size, void *tag)
{
    shm_zone.shm.name = *name;
    shm_zone.shm.size = size;
    shm_zone.tag = tag;

    return &shm_zone;
}


ngx_int_t
ngx_conf_full_name(ngx_cycle_t *cycle, ngx_str_t *name, ngx_uint_t prefix)
{
    return NGX_OK;
}


void
ngx_conf_log_error(ngx_uint_t level, ngx_conf_t *cf, ngx_err_t err,
    const char *fmt, ...)
{
    u_char   *p;
    va_list   args;

    va_start(args, fmt);
    p = ngx_vslprintf((u_char *) conf_error,
                      (u_char *) conf_error + sizeof(conf_error) - 1, fmt,
                      args);
    va_end(args);

    *p = '\0';
}


/* the played Redis: one request at a time is enough */

static ngx_smtp_redis_request_t   request;
static ngx_uint_t                 redis_asked, redis_canceled;
static ngx_uint_t                 redis_down;
static char                       redis_key[600];


ngx_smtp_redis_request_t *
ngx_smtp_redis_query(ngx_smtp_redis_conf_t *conf, ngx_str_t *argv,
    ngx_uint_t argc, ngx_smtp_redis_pt handler, void *data)
{
    if (redis_down) {
        return NULL;
    }

    assert_int_equal(argc, 5);
    assert_str_equal(&argv[0], "HMGET");
    assert_str_equal(&argv[2], "password");
    assert_str_equal(&argv[3], "enabled");
    assert_str_equal(&argv[4], "senders");

    memcpy(redis_key, argv[1].data, argv[1].len);
    redis_key[argv[1].len] = '\0';

    request.handler = handler;
    request.data = data;
    redis_asked++;

    return &request;
}


void
ngx_smtp_redis_cancel(ngx_smtp_redis_request_t *r)
{
    assert_ptr_equal(r, &request);
    r->handler = NULL;
    redis_canceled++;
}


static ngx_smtp_redis_reply_t
reply_string(const char *s)
{
    ngx_smtp_redis_reply_t  r;

    memset(&r, 0, sizeof(r));
    r.type = s ? NGX_SMTP_REDIS_STRING : NGX_SMTP_REDIS_NIL;

    if (s) {
        r.str = shim_str(s);
    }

    return r;
}


static void
redis_answer(ngx_smtp_redis_reply_t *reply)
{
    request.rc = reply ? NGX_OK : NGX_ERROR;
    request.reply = reply;
    request.handler(&request);
}


/* the answer to HMGET; NULL is nil */

static void
redis_account(const char *password, const char *enabled, const char *senders)
{
    ngx_smtp_redis_reply_t  reply, v[3], *elts[3];

    v[0] = reply_string(password);
    v[1] = reply_string(enabled);
    v[2] = reply_string(senders);
    elts[0] = &v[0];
    elts[1] = &v[1];
    elts[2] = &v[2];

    memset(&reply, 0, sizeof(reply));
    reply.type = NGX_SMTP_REDIS_ARRAY;
    reply.nelts = 3;
    reply.elts = elts;

    redis_answer(&reply);
}


/* what every test has */

static ngx_conf_t              cf;
static ngx_array_t             list;        /* of accounts sources */
static ngx_cycle_t             cycle;
static ngx_smtp_login_conf_t   conf;
static ngx_smtp_redis_conf_t   redis;

static ngx_uint_t              answers;
static ngx_int_t               last_rc;
static ngx_uint_t              last_senders;


static void
answered(ngx_smtp_login_t *l)
{
    answers++;
    last_rc = l->rc;

    if (l->rc == NGX_OK) {
        assert_non_null(l->account);
        assert_int_equal(l->account->enabled, 1);
        last_senders = l->account->senders.nelts;

    } else {
        assert_null(l->account);
    }

    if (l->data) {
        *(ngx_smtp_login_t **) l->data = NULL;
    }

    /* a session that ends in its own handler may do this */
    ngx_smtp_login_cancel(l);
}


static ngx_smtp_login_t *
start(const char *login, const char *password, const char *addr, void *data)
{
    ngx_str_t          l, p, a;
    ngx_smtp_login_t  *rc;

    l = shim_str(login);
    p = shim_str(password);
    a = shim_str(addr);

    l.data = (u_char *) strdup(login);
    p.data = (u_char *) strdup(password);

    rc = ngx_smtp_login_start(&conf, &l, &p, &a, answered, data);

    /* copied: the caller wipes */

    memset(l.data, '#', l.len);
    memset(p.data, '#', p.len);
    free(l.data);
    free(p.data);

    return rc;
}


static void
settle(void)
{
    while (shim_posted_run() + shim_tasks_drain()) {
        /* void */
    }
}


/* a login with the file, to its end */

static ngx_int_t
login(const char *name, const char *password)
{
    ngx_uint_t  before;

    before = answers;

    assert_non_null(start(name, password, "192.0.2.1", NULL));
    assert_int_equal(answers, before);

    settle();
    assert_int_equal(answers, before + 1);

    return last_rc;
}


static ngx_smtp_accounts_t *
load(const char *text)
{
    int                   fd;
    char                 *path;
    ngx_str_t             name;
    ngx_smtp_accounts_t  *accounts;

    path = ngx_pnalloc(cf.pool, 32);
    strcpy(path, "/tmp/smtp-accounts-XXXXXX");

    fd = mkstemp(path);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);

    name = shim_str(path);
    conf_error[0] = '\0';
    shim_log_reset();
    accounts = ngx_smtp_accounts_file_load(&cf, &list, &name);
    unlink(path);

    return accounts;
}


/* What is named a second time is not read again: the file is gone by then. */

static void
test_shared(void **state)
{
    ngx_str_t               path, other;
    ngx_smtp_redis_conf_t   second;

    path = conf.accounts->path;
    other = shim_str("/nonexistent/accounts");

    assert_ptr_equal(ngx_smtp_accounts_file_load(&cf, &list, &path),
                     conf.accounts);
    assert_int_equal(conf.accounts->naccounts, 3);
    assert_null(ngx_smtp_accounts_file_load(&cf, &list, &other));

    conf.accounts = ngx_smtp_accounts_redis(&cf, &list, &redis);
    assert_non_null(conf.accounts);
    assert_ptr_equal(ngx_smtp_accounts_redis(&cf, &list, &redis),
                     conf.accounts);

    memset(&second, 0, sizeof(second));
    assert_ptr_not_equal(ngx_smtp_accounts_redis(&cf, &list, &second),
                         conf.accounts);

    /* what was refused is not kept */

    assert_int_equal(list.nelts, 3);
    assert_null(load("alice\n"));
    assert_int_equal(list.nelts, 3);
}


static int
setup(void **state)
{
    ngx_str_t  name;

    memset(&cycle, 0, sizeof(cycle));
    memset(&cf, 0, sizeof(cf));
    memset(&conf, 0, sizeof(conf));
    memset(&redis, 0, sizeof(redis));
    memset(&shm_zone, 0, sizeof(shm_zone));
    memset(zone_memory, 0, sizeof(zone_memory));

    ngx_ncpu = 4;                           /* two hashes at a time */

    cf.pool = ngx_create_pool(4096, &shim_log);
    cf.log = &shim_log;
    cf.cycle = &cycle;

    assert_int_equal(ngx_array_init(&list, cf.pool, 4,
                                    sizeof(ngx_smtp_accounts_t *)),
                     NGX_OK);

    name = shim_str("smtp");
    shm_zone.shm.addr = zone_memory;
    shm_zone.shm.log = &shim_log;
    conf.zone = ngx_smtp_zone_add(&cf, &name, 4 * 1024 * 1024, &cycle);
    assert_int_equal(shm_zone.init(&shm_zone, NULL), NGX_OK);

    conf.thread_pool = shim_thread_pool;
    conf.cache_time = 300000;

    redis.name = shim_str("main");
    redis.prefix = shim_str("smtp:");

    answers = 0;
    redis_asked = 0;
    redis_canceled = 0;
    redis_down = 0;
    shim_log_reset();

    /* tickets are of processes: this must be one */
    ngx_pid = getpid();

    ngx_smtp_task_init_worker();
    ngx_smtp_zone_init_worker(conf.zone, &shim_log);

    conf.accounts = load("# accounts\n"
                         "alice " HASH
                         " senders=alice@example.com,@b.example\n"
                         "\n"
                         "Bob@Example.com\t" HASH " enabled=0\r\n"
                         "carol " HASH);
    assert_non_null(conf.accounts);
    assert_int_equal(conf.accounts->naccounts, 3);

    return 0;
}


static int
teardown(void **state)
{
    slab_t  *s;

    ngx_smtp_login_exit_worker();
    shim_tasks_drain();
    ngx_smtp_task_finish_all();
    ngx_smtp_zone_exit_worker();

    while (slabs) {
        s = slabs;
        slabs = s->next;
        free(s);
    }

    ngx_destroy_pool(cf.pool);

    return 0;
}


static void
test_file(void **state)
{
    assert_int_equal(login("alice", "secret"), NGX_OK);
    assert_int_equal(last_senders, 2);
    assert_int_equal(login("ALICE", "secret"), NGX_OK);
    assert_int_equal(login("carol", "secret"), NGX_OK);
    assert_int_equal(last_senders, 0);

    assert_int_equal(login("alice", "Secret"), NGX_DECLINED);
    assert_int_equal(login("alice", "secret "), NGX_DECLINED);
    assert_int_equal(login("nobody", "secret"), NGX_DECLINED);
    assert_int_equal(login("bob@example.com", "secret"), NGX_DECLINED);
    assert_int_equal(login("bob@example.com", "wrong"), NGX_DECLINED);
    assert_int_equal(login("", "secret"), NGX_DECLINED);
    assert_int_equal(login("alice\r\n", "secret"), NGX_DECLINED);

    assert_int_equal(ngx_smtp_slot->counts[NGX_SMTP_COUNT_AUTH_OK], 3);
    assert_int_equal(ngx_smtp_slot->counts[NGX_SMTP_COUNT_AUTH_FAILED], 7);
    assert_int_equal(ngx_smtp_slot->counts[NGX_SMTP_COUNT_AUTH_TEMP], 0);

    shim_tasks_refuse(1);
    assert_int_equal(login("alice", "secret2"), NGX_ERROR);
    assert_int_equal(ngx_smtp_slot->counts[NGX_SMTP_COUNT_AUTH_TEMP], 1);
}


/* all that ends in 535 computes one hash, of the cost of the store */

static void
test_same_way(void **state)
{
    size_t  i;

    static const char  *names[] = {
        "alice", "nobody", "bob@example.com", "\x01"
    };

    for (i = 0; i < 4; i++) {
        ngx_smtp_login_t  *l;

        l = start(names[i], "wrong", "192.0.2.1", NULL);
        assert_non_null(l);

        assert_int_equal(shim_posted_run(), 0);
        assert_int_equal(l->task.active, 1);
        assert_int_equal(l->verifier.len, sizeof(HASH) - 1);
        assert_memory_equal(l->verifier.data, "$5$rounds=1000$", 15);

        assert_int_equal(shim_tasks_run(), 1);
        assert_int_equal(shim_posted_run(), 1);
        assert_int_equal(answers, i + 1);
        assert_int_equal(last_rc, NGX_DECLINED);
    }
}


static void
test_file_errors(void **state)
{
    size_t     i;
    ngx_str_t  path;

    static const struct {
        const char  *text;
        const char  *error;
    } rows[] = {
        { "alice\n", "a blank, in /tmp/smtp-accounts" },
        { "\n# x\nalice " HASH "\nalice " HASH "\n", "duplicate account in" },
        { "alice " HASH "\nALICE " HASH, "duplicate account in" },
        { "alice $1$abcdefgh$y6iHhJNbuC0xpbk0w9pm80\n",
          "stored password of no supported scheme" },
        { "alice secret\n", "stored password of no supported scheme" },
        { "alice " HASH " foo=1", "unknown option, there are \"enabled=\"" },
    };

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_null(load(rows[i].text));

        if (shim_log_count(rows[i].error) != 1) {
            fail_msg("%s: %s", rows[i].text, shim_log_text());
        }
    }

    assert_null(load("\n# x\nalice " HASH "\nalice " HASH "\n"));
    assert_non_null(strstr(shim_log_text(), ":4\n"));

    assert_non_null(load(""));
    assert_non_null(load("# nobody yet\n"));

    path = shim_str("/nonexistent/accounts");
    assert_null(ngx_smtp_accounts_file_load(&cf, &list, &path));
    assert_non_null(strstr(conf_error, "\"/nonexistent/accounts\" failed"));

    path = shim_str("/tmp");
    assert_null(ngx_smtp_accounts_file_load(&cf, &list, &path));
}


static void
use_redis(void)
{
    conf.accounts = ngx_smtp_accounts_redis(&cf, &list, &redis);
    assert_non_null(conf.accounts);
}


static void
test_redis(void **state)
{
    size_t                   i;
    ngx_uint_t               n;
    ngx_smtp_redis_reply_t   reply, *elts[3];

    static const struct {
        const char  *password;
        const char  *enabled;
        const char  *senders;
        ngx_int_t    rc;
    } rows[] = {
        { HASH, NULL, NULL, NGX_OK },
        { HASH, "1", "a@b.example @c.example", NGX_OK },
        { HASH, "0", NULL, NGX_DECLINED },
        { HASH, "", NULL, NGX_DECLINED },
        { HASH, "true", NULL, NGX_DECLINED },
        { NULL, NULL, NULL, NGX_DECLINED },
        { NULL, "1", "a@b.example", NGX_DECLINED },
        { "", "1", NULL, NGX_DECLINED },
        { "secret", NULL, NULL, NGX_ERROR },
        { "$1$abcdefgh$y6iHhJNbuC0xpbk0w9pm80", NULL, NULL, NGX_ERROR },
        { HASH " ", NULL, NULL, NGX_ERROR },
        { HASH, "1", "nobody", NGX_ERROR },
    };

    use_redis();
    n = 0;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {

        assert_non_null(start("Alice*", "secret", "192.0.2.1", NULL));
        settle();
        assert_int_equal(answers, n);
        assert_string_equal(redis_key, "smtp:account:alice*");

        redis_account(rows[i].password, rows[i].enabled, rows[i].senders);
        assert_int_equal(answers, n);
        settle();
        assert_int_equal(answers, ++n);

        if (last_rc != rows[i].rc) {
            fail_msg("row %zu: %d", i, (int) last_rc);
        }
    }

    /* what is no such record */

    for (i = 0; i < 6; i++) {

        memset(&reply, 0, sizeof(reply));
        reply.type = (ngx_smtp_redis_type_e) i;
        elts[0] = elts[1] = elts[2] = &reply;

        if (i == NGX_SMTP_REDIS_ARRAY) {
            reply.nelts = 2;
            reply.elts = elts;
        }

        assert_non_null(start("alice", "secret", "192.0.2.1", NULL));
        redis_answer(&reply);
        settle();
        assert_int_equal(answers, ++n);
        assert_int_equal(last_rc, NGX_ERROR);
    }

    /* an array of arrays, of integers */

    for (i = 0; i < 2; i++) {
        ngx_smtp_redis_reply_t  inner;

        memset(&inner, 0, sizeof(inner));
        inner.type = i ? NGX_SMTP_REDIS_ARRAY : NGX_SMTP_REDIS_INTEGER;
        elts[0] = elts[1] = elts[2] = &inner;
        memset(&reply, 0, sizeof(reply));
        reply.type = NGX_SMTP_REDIS_ARRAY;
        reply.nelts = 3;
        reply.elts = elts;

        assert_non_null(start("alice", "secret", "192.0.2.1", NULL));
        redis_answer(&reply);
        settle();
        assert_int_equal(answers, ++n);
        assert_int_equal(last_rc, NGX_ERROR);
    }

    /* no answer, and no Redis at all */

    assert_non_null(start("alice", "secret", "192.0.2.1", NULL));
    redis_answer(NULL);
    settle();
    assert_int_equal(answers, ++n);
    assert_int_equal(last_rc, NGX_ERROR);

    redis_down = 1;
    assert_null(start("alice", "secret", "192.0.2.1", NULL));
    settle();
    assert_int_equal(answers, n);

    /* what cannot be a login is not asked for */

    i = redis_asked;
    redis_down = 0;
    assert_non_null(start("a\nb", "secret", "192.0.2.1", NULL));
    assert_int_equal(redis_asked, i);
    settle();
    assert_int_equal(answers, ++n);
    assert_int_equal(last_rc, NGX_DECLINED);
}


/* the account is fetched each time, only the hash is saved */

static void
test_cache(void **state)
{
    ngx_uint_t  asked;

    static const char  other[] =
        "$5$rounds=1000$abcdefgi$XIppta5rT8zJUu4vAOKQXrwq9uY4Ijlz6VjyOmkx5i4";

#define hashes(password, hash, enabled, n, result)                            \
    assert_non_null(start("alice", password, "192.0.2.1", NULL));             \
    redis_account(hash, enabled, NULL);                                       \
    assert_int_equal(shim_tasks_drain(), n);                                  \
    settle();                                                                 \
    assert_int_equal(last_rc, result)

    use_redis();
    ngx_smtp_slot->counts[NGX_SMTP_COUNT_AUTH_CACHED] = 0;

    hashes("secret", HASH, NULL, 1, NGX_OK);
    asked = redis_asked;
    hashes("secret", HASH, NULL, 0, NGX_OK);
    assert_int_equal(redis_asked, asked + 1);
    assert_int_equal(ngx_smtp_slot->counts[NGX_SMTP_COUNT_AUTH_CACHED], 1);

    /* failures are not remembered, nor mixed up */

    hashes("wrong", HASH, NULL, 1, NGX_DECLINED);
    hashes("wrong", HASH, NULL, 1, NGX_DECLINED);
    hashes("secret", HASH, NULL, 0, NGX_OK);

    /* a changed password and a disabled account act at once */

    hashes("secret", other, NULL, 1, NGX_DECLINED);
    hashes("secret", HASH, "0", 1, NGX_DECLINED);
    hashes("secret", HASH, "1", 0, NGX_OK);

    /* another login with the same hash is another one */

    assert_non_null(start("carol", "secret", "192.0.2.1", NULL));
    redis_account(HASH, NULL, NULL);
    assert_int_equal(shim_tasks_drain(), 1);
    settle();

    /* it ends */

    shim_time_advance(300001);
    hashes("secret", HASH, NULL, 1, NGX_OK);

    conf.cache_time = 0;
    hashes("secret", HASH, NULL, 1, NGX_OK);
    hashes("secret", HASH, NULL, 1, NGX_OK);
}


/* two at a time, one for each address, the others in order */

static void
test_bounds(void **state)
{
    char               addr[32];
    ngx_uint_t         i;
    ngx_smtp_login_t  *l[4];

    conf.cache_time = 0;

    l[0] = start("alice", "secret", "192.0.2.1", &l[0]);
    l[1] = start("alice", "secret", "192.0.2.1", &l[1]);
    l[2] = start("alice", "secret", "192.0.2.2", &l[2]);
    l[3] = start("alice", "secret", "192.0.2.3", &l[3]);

    assert_int_equal(l[0]->task.active, 1);
    assert_int_equal(l[1]->task.active, 0);
    assert_int_equal(l[1]->is_waiting, 1);
    assert_int_equal(l[2]->task.active, 1);
    assert_int_equal(l[3]->task.active, 0);

    /* one ends, the next starts at once */

    assert_int_equal(shim_tasks_run(), 1);
    shim_posted_run();
    assert_int_equal(answers, 1);
    assert_null(l[0]);
    assert_int_equal(l[1]->task.active, 1);
    assert_int_equal(l[3]->task.active, 0);

    settle();
    assert_int_equal(answers, 4);

    /* of one address: one hashing, 8 waiting; the tenth is told so */

    for (i = 0; i < 10; i++) {
        assert_non_null(start("alice", "secret", "192.0.2.1", NULL));
    }

    shim_posted_run();
    assert_int_equal(answers, 5);
    assert_int_equal(last_rc, NGX_ERROR);

    settle();
    assert_int_equal(answers, 14);
    assert_int_equal(last_rc, NGX_OK);

    /* of all: 2 hashing, 64 waiting */

    for (i = 0; i < 68; i++) {
        snprintf(addr, sizeof(addr), "192.0.2.%d", (int) i);
        assert_non_null(start("alice", "secret", addr, NULL));
    }

    shim_posted_run();
    assert_int_equal(answers, 16);
    assert_int_equal(last_rc, NGX_ERROR);

    settle();
    assert_int_equal(answers, 14 + 68);
    assert_int_equal(last_rc, NGX_OK);
}


/* a /64 is one client; addresses that embed others' are as many as these */

static void
test_bounds_ipv6(void **state)
{
    ngx_uint_t         i;
    ngx_smtp_login_t  *l[2];

    static const struct {
        const char  *one;
        const char  *two;
        ngx_uint_t   same;
    } rows[] = {
        { "2001:db8::1", "2001:db8::2", 1 },
        { "2001:db8::1", "2001:db8:0:0:ffff:1:2:3", 1 },
        { "2001:db8::1", "2001:db8:0:1::1", 0 },
        { "::ffff:192.0.2.1", "::ffff:192.0.2.2", 0 },
        { "::ffff:192.0.2.1", "::ffff:192.0.2.1", 1 },
        { "64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2", 0 },
        { "not:an:address", "not:an:addresS", 0 },
    };

    conf.cache_time = 0;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        l[0] = start("alice", "secret", rows[i].one, NULL);
        l[1] = start("alice", "secret", rows[i].two, NULL);

        assert_int_equal(l[0]->task.active, 1);

        if (l[1]->task.active == rows[i].same) {
            fail_msg("%s, %s", rows[i].one, rows[i].two);
        }

        settle();
    }
}


/* slots taken by another worker: waited for, not longer than ten seconds */

static void
test_other_worker(void **state)
{
    int          status;
    pid_t        pid;
    ngx_str_t    a, b;
    ngx_uint_t   t1, t2;

    a = shim_str("198.51.100.1");
    b = shim_str("198.51.100.2");
    conf.cache_time = 0;

    pid = fork();

    if (pid == 0) {
        alarm(60);
        pause();
        _exit(0);
    }

    ngx_pid = pid;
    assert_int_equal(ngx_smtp_zone_hashing_take(conf.zone, &a, &t1), NGX_OK);
    assert_int_equal(ngx_smtp_zone_hashing_take(conf.zone, &a, &t2), NGX_BUSY);
    assert_int_equal(ngx_smtp_zone_hashing_take(conf.zone, &b, &t2), NGX_OK);
    ngx_pid = getpid();

    /* a ticket is given back by its owner only */

    ngx_smtp_zone_hashing_give(conf.zone, t1);

    assert_non_null(start("alice", "secret", "192.0.2.1", NULL));
    settle();
    assert_int_equal(answers, 0);

    shim_time_advance(5000);
    settle();
    assert_int_equal(answers, 0);

    shim_time_advance(5100);
    settle();
    assert_int_equal(answers, 1);
    assert_int_equal(last_rc, NGX_ERROR);

    /* the other one dies: its slots are free */

    assert_non_null(start("alice", "secret", "192.0.2.1", NULL));
    settle();
    assert_int_equal(answers, 1);

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);

    shim_time_advance(50);
    settle();
    assert_int_equal(answers, 2);
    assert_int_equal(last_rc, NGX_OK);

    /* what is held for minutes is taken back, and not given back twice */

    assert_int_equal(ngx_smtp_zone_hashing_take(conf.zone, &a, &t1), NGX_OK);
    shim_time_advance(121000);
    assert_int_equal(ngx_smtp_zone_hashing_take(conf.zone, &a, &t2), NGX_OK);
    ngx_smtp_zone_hashing_give(conf.zone, t1);
    assert_int_equal(ngx_smtp_zone_hashing_take(conf.zone, &a, &t1), NGX_BUSY);
    ngx_smtp_zone_hashing_give(conf.zone, t2);
    assert_int_equal(ngx_smtp_zone_hashing_take(conf.zone, &a, &t1), NGX_OK);
    ngx_smtp_zone_hashing_give(conf.zone, t1);
}


/* the client leaves at each stage */

static void
test_cancel(void **state)
{
    ngx_smtp_login_t  *l, *w;

    conf.cache_time = 0;

    /* result posted, or in the thread's hands */

    l = start("alice", "secret", "192.0.2.1", NULL);
    ngx_smtp_login_cancel(l);
    assert_int_equal(shim_tasks_drain(), 1);
    settle();
    assert_int_equal(answers, 0);

    /* between the thread and the event */

    l = start("alice", "secret", "192.0.2.1", NULL);
    assert_int_equal(shim_tasks_run(), 1);
    ngx_smtp_login_cancel(l);
    assert_int_equal(shim_posted_run(), 0);
    assert_int_equal(answers, 0);

    /* waiting; its place is free then, and the other one goes on */

    l = start("alice", "secret", "192.0.2.1", NULL);
    w = start("alice", "secret", "192.0.2.1", NULL);
    assert_int_equal(w->is_waiting, 1);
    ngx_smtp_login_cancel(w);
    settle();
    assert_int_equal(answers, 1);

    /* a slot is not lost by any of this */

    l = start("alice", "secret", "192.0.2.1", NULL);
    assert_int_equal(l->task.active, 1);
    settle();
    assert_int_equal(answers, 2);
    assert_int_equal(last_rc, NGX_OK);

    /* Redis is asked */

    use_redis();
    l = start("alice", "secret", "192.0.2.1", NULL);
    ngx_smtp_login_cancel(l);
    assert_int_equal(redis_canceled, 1);
    settle();
    assert_int_equal(answers, 2);

    /* Redis has failed, the result is posted */

    l = start("alice", "secret", "192.0.2.1", NULL);
    redis_answer(NULL);
    ngx_smtp_login_cancel(l);
    settle();
    assert_int_equal(redis_canceled, 1);
    assert_int_equal(answers, 2);
}


static void
test_thread_queue_full(void **state)
{
    ngx_smtp_login_t  *l;

    shim_tasks_refuse(1);
    assert_int_equal(login("alice", "secret"), NGX_ERROR);

    l = start("alice", "secret", "192.0.2.1", NULL);
    assert_int_equal(l->task.active, 1);
    settle();
    assert_int_equal(last_rc, NGX_OK);
}


static void
test_no_memory(void **state)
{
    long        n, got;
    ngx_uint_t  before;

    got = 0;

    for (n = 0; n < 20; n++) {
        before = answers;

        shim_alloc_fail_after(n);
        if (start("nobody", "secret", "192.0.2.1", NULL)) {
            shim_posted_run();
            shim_alloc_fail_after(-1);
            settle();
            assert_int_equal(answers, before + 1);
            got += (last_rc == NGX_DECLINED);
        }
        shim_alloc_fail_after(-1);
        settle();
    }

    assert_true(got > 0 && got < 20);
}


/* the worker ends with logins at each stage; nothing is called or lost */

static void
test_exit(void **state)
{
    conf.cache_time = 0;

    (void) start("alice", "secret", "192.0.2.1", NULL);
    (void) start("alice", "secret", "192.0.2.1", NULL);
    (void) start("alice", "secret", "192.0.2.2", NULL);
    shim_tasks_work();

    use_redis();
    (void) start("alice", "secret", "192.0.2.3", NULL);

    ngx_smtp_login_exit_worker();

    /* which nginx leaves to ngx_smtp_task_finish_all() */
    shim_tasks_drain();

    assert_int_equal(redis_canceled, 1);
    assert_int_equal(answers, 0);
    assert_int_equal(shim_posted_run(), 0);

    /* the sanitizer says whether everything was freed */
}


/* counters of the living and the dead, gauges of the living */

static void
test_counters(void **state)
{
    int                 status;
    pid_t               pid;
    ngx_uint_t          generation;
    ngx_shm_zone_t      next;
    ngx_smtp_slot_t    *slot;
    ngx_atomic_uint_t   counts[NGX_SMTP_COUNTS], gauges[NGX_SMTP_GAUGES];

    generation = ngx_smtp_zone_generation();
    assert_true(generation > 0);

    ngx_smtp_count(NGX_SMTP_COUNT_ACCEPTED);
    ngx_smtp_count_add(NGX_SMTP_COUNT_BYTES, 1000);
    ngx_smtp_gauge_inc(NGX_SMTP_GAUGE_SESSIONS);
    ngx_smtp_gauge_set(NGX_SMTP_GAUGE_QUEUED, 7);

    /* another worker, of the same process here */

    pid = fork();

    if (pid == 0) {
        alarm(60);
        pause();
        _exit(0);
    }

    slot = ngx_smtp_slot;
    ngx_pid = pid;
    ngx_smtp_zone_init_worker(conf.zone, &shim_log);
    assert_ptr_not_equal(ngx_smtp_slot, slot);
    assert_int_equal(ngx_smtp_zone_generation(), generation + 1);
    ngx_smtp_count(NGX_SMTP_COUNT_ACCEPTED);
    ngx_smtp_gauge_set(NGX_SMTP_GAUGE_QUEUED, 5);

    ngx_smtp_zone_totals(conf.zone, counts, gauges);
    assert_int_equal(counts[NGX_SMTP_COUNT_ACCEPTED], 2);
    assert_int_equal(counts[NGX_SMTP_COUNT_BYTES], 1000);
    assert_int_equal(gauges[NGX_SMTP_GAUGE_SESSIONS], 1);
    assert_int_equal(gauges[NGX_SMTP_GAUGE_QUEUED], 12);

    /* it is killed: what it had is gone, what it did is not */

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);

    ngx_smtp_zone_totals(conf.zone, counts, gauges);
    assert_int_equal(counts[NGX_SMTP_COUNT_ACCEPTED], 2);
    assert_int_equal(gauges[NGX_SMTP_GAUGE_QUEUED], 7);

    /* a reload: the next worker inherits the zone and takes the dead's slot */

    next = shm_zone;
    next.data = ngx_pcalloc(cf.pool, 64);
    assert_int_equal(next.init(&next, shm_zone.data), NGX_OK);

    slot = ngx_smtp_slot;
    ngx_pid = getpid();
    ngx_smtp_zone_init_worker(&next, &shim_log);
    assert_int_equal(ngx_smtp_zone_generation(), generation + 2);

    ngx_smtp_zone_totals(&next, counts, gauges);
    assert_int_equal(counts[NGX_SMTP_COUNT_ACCEPTED], 2);
    assert_int_equal(gauges[NGX_SMTP_GAUGE_QUEUED], 0);

    /* it ends in peace */

    ngx_smtp_count(NGX_SMTP_COUNT_ACCEPTED);
    ngx_smtp_zone_exit_worker();
    assert_int_equal(ngx_smtp_zone_generation(), 0);
    ngx_smtp_count(NGX_SMTP_COUNT_ACCEPTED);

    ngx_smtp_zone_totals(&next, counts, gauges);
    assert_int_equal(counts[NGX_SMTP_COUNT_ACCEPTED], 3);
}


static void
test_zone_limits(void **state)
{
    u_char        key[NGX_SMTP_ZONE_KEY_LEN];
    ngx_str_t     name;
    ngx_uint_t    i, k, found;

    /* it fits in the smallest zone, and a smaller one is refused */

    name = shim_str("small");
    assert_null(ngx_smtp_zone_add(&cf, &name, NGX_SMTP_ZONE_MIN_SIZE - 1,
                                  &cycle));
    assert_non_null(strstr(conf_error, "too small"));

    memset(&shm_zone, 0, sizeof(shm_zone));
    memset(zone_memory, 0, sizeof(zone_memory));
    shm_zone.shm.addr = zone_memory;
    shm_zone.shm.log = &shim_log;
    slab_size = 0;
    assert_ptr_equal(ngx_smtp_zone_add(&cf, &name, NGX_SMTP_ZONE_MIN_SIZE,
                                       &cycle),
                     &shm_zone);
    assert_int_equal(shm_zone.init(&shm_zone, NULL), NGX_OK);
    assert_in_range(slab_size, 1, NGX_SMTP_ZONE_MIN_SIZE * 3 / 4);

    /* more logins than it has room for: the newest are remembered */

    for (i = 0; i < 10000; i++) {
        memset(key, 0, sizeof(key));
        memcpy(key, &i, sizeof(i));
        ngx_smtp_zone_login_put(&shm_zone, key, 1000 + i);
        assert_int_equal(ngx_smtp_zone_login_get(&shm_zone, key), NGX_OK);
    }

    found = 0;

    for (i = 0; i < 10000; i++) {
        memset(key, 0, sizeof(key));
        memcpy(key, &i, sizeof(i));
        k = (ngx_smtp_zone_login_get(&shm_zone, key) == NGX_OK);
        found += k;

        if (i >= 9900) {
            assert_int_equal(k, 1);
        }
    }

    assert_in_range(found, 1000, 9999);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_redis, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cache, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds_ipv6, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_worker, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_thread_queue_full, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_counters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_zone_limits, setup, teardown),
    };

    return shim_run(tests);
}
