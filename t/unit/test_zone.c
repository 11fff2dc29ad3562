
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Mail of the queues over all workers of a zone.  A process plays several
 * workers one after the other: ngx_pid says which it is, the slots of the
 * others stay as they are.
 *
 * sources: core/ngx_smtp_transaction.c core/ngx_smtp_content.c
 * sources: net/ngx_smtp_zone_strike.c core/ngx_smtp_work.c
 * sources: net/ngx_smtp_zone.c net/ngx_smtp_zone_usage.c
 * libs: -lcrypto
 */


#include "shim.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ngx_smtp_zone.h"


static ngx_shm_zone_t  shm_zone;
static ngx_uint_t      slab_blocks;
static ngx_uint_t      slab_full;
static void           *slabs[64];
static ngx_uint_t      locked;
static ngx_log_t       log;


/* what the shim has not */

void
ngx_shmtx_lock(ngx_shmtx_t *mtx)
{
    assert_int_equal(locked++, 0);
}


void
ngx_shmtx_unlock(ngx_shmtx_t *mtx)
{
    assert_int_equal(locked--, 1);
}


void *
ngx_slab_calloc_locked(ngx_slab_pool_t *pool, size_t size)
{
    ngx_uint_t  i;

    if (slab_full) {
        return NULL;
    }

    for (i = 0; slabs[i]; i++) { /* void */ }

    slab_blocks++;
    slabs[i] = calloc(1, size);

    return slabs[i];
}


void *
ngx_slab_calloc(ngx_slab_pool_t *pool, size_t size)
{
    assert_int_equal(locked, 0);

    return ngx_slab_calloc_locked(pool, size);
}


void *
ngx_slab_alloc(ngx_slab_pool_t *pool, size_t size)
{
    return ngx_slab_calloc(pool, size);
}


void
ngx_slab_free_locked(ngx_slab_pool_t *pool, void *p)
{
    ngx_uint_t  i;

    assert_int_equal(locked, 1);

    for (i = 0; slabs[i] != p; i++) {
        assert_true(i < 63);
    }

    slab_blocks--;
    slabs[i] = NULL;

    free(p);
}


ngx_shm_zone_t *
ngx_shared_memory_add(ngx_conf_t *cf, ngx_str_t *name, size_t size, void *tag)
{
    shm_zone.shm.name = *name;
    shm_zone.shm.size = size;

    return &shm_zone;
}


void
ngx_conf_log_error(ngx_uint_t level, ngx_conf_t *cf, ngx_err_t err,
    const char *fmt, ...)
{
}


static int
test_setup(void **state)
{
    ngx_str_t               name = ngx_string("smtp");
    ngx_conf_t              cf;
    ngx_pool_t             *pool;
    ngx_shm_zone_t         *z;

    static ngx_slab_pool_t  shpool;

    pool = ngx_create_pool(1024, NULL);

    ngx_memzero(&cf, sizeof(ngx_conf_t));
    ngx_memzero(&shm_zone, sizeof(ngx_shm_zone_t));
    ngx_memzero(&shpool, sizeof(ngx_slab_pool_t));

    cf.pool = pool;
    slab_full = 0;

    z = ngx_smtp_zone_add(&cf, &name, NGX_SMTP_ZONE_MIN_SIZE, NULL);

    assert_non_null(z);

    z->shm.addr = (u_char *) &shpool;

    assert_int_equal(z->init(z, NULL), NGX_OK);

    slab_blocks = 0;
    ngx_current_msec = 1000000;

    *state = pool;

    return 0;
}


static int
test_teardown(void **state)
{
    ngx_uint_t  i;

    for (i = 0; i < 64; i++) {
        free(slabs[i]);
        slabs[i] = NULL;
    }

    ngx_destroy_pool(*state);

    return 0;
}


/* pid becomes a worker with these queues; the one before stays */

static ngx_smtp_usage_t *
worker(pid_t pid, const char *first, const char *second)
{
    ngx_str_t          name[2], *names[2];
    ngx_smtp_usage_t  *usage;

    static ngx_smtp_work_t  works[NGX_SMTP_WORKS];

    name[0].data = (u_char *) first;
    name[0].len = strlen(first);
    name[1].data = (u_char *) second;
    name[1].len = strlen(second);

    names[0] = &name[0];
    names[1] = &name[1];

    /* the one before does not know that it is not the process any more */

    ngx_smtp_works = works;
    ngx_pid = pid;

    ngx_smtp_zone_init_worker(&shm_zone, &log);

    usage = ngx_smtp_zone_usage(names, 2, &log);

    assert_non_null(usage);

    return usage;
}


static void
sum_is(ngx_smtp_usage_t *usage, ngx_uint_t messages, ngx_uint_t bytes)
{
    ngx_atomic_uint_t  m, b;

    ngx_smtp_zone_usage_sum(usage, &m, &b);

    assert_int_equal(m, messages);
    assert_int_equal(b, bytes);
}


static void
test_sum(void **state)
{
    ngx_atomic_uint_t   counts[NGX_SMTP_COUNTS], gauges[NGX_SMTP_GAUGES];
    ngx_smtp_usage_t   *one, *two;

    one = worker(getppid(), "in", "out");

    one[0].messages = 3;
    one[0].bytes = 300;
    one[1].messages = 5;
    one[1].bytes = 5000;
    one[1].held = 2;
    one[2].messages = 7;

    sum_is(&one[0], 3, 300);

    /* of another configuration: the other order, and another queue */

    two = worker(getpid(), "out", "new");

    two[0].messages = 10;
    two[0].bytes = 1;
    two[0].held = 1;

    sum_is(&two[0], 15, 5001);
    sum_is(&two[1], 0, 0);
    sum_is(&two[2], 7, 0);

    /* its own are seen at once, those of others after a while */

    two[0].messages++;
    one[1].messages++;
    sum_is(&two[0], 16, 5001);

    ngx_current_msec += NGX_SMTP_ZONE_USAGE_AGE;
    sum_is(&two[0], 17, 5001);

    ngx_smtp_zone_totals(&shm_zone, counts, gauges);

    assert_int_equal(gauges[NGX_SMTP_GAUGE_QUEUED], 3 + 6 + 7 + 11);
    assert_int_equal(gauges[NGX_SMTP_GAUGE_HELD], 3);

    /* a worker that ends takes along what it had */

    assert_int_equal(slab_blocks, 2);

    ngx_smtp_zone_exit_worker();

    ngx_smtp_zone_totals(&shm_zone, counts, gauges);
    assert_int_equal(gauges[NGX_SMTP_GAUGE_QUEUED], 16);
    assert_int_equal(slab_blocks, 1);

    /* one that lives under the same id again has nothing */

    one = worker(getppid(), "in", "out");
    assert_int_equal(slab_blocks, 1);
    sum_is(&one[1], 0, 0);

    ngx_smtp_zone_exit_worker();
    assert_int_equal(slab_blocks, 0);
}


static void
test_dead(void **state)
{
    int                 status;
    pid_t               pid;
    ngx_smtp_usage_t   *one, *two;
    ngx_atomic_uint_t   counts[NGX_SMTP_COUNTS], gauges[NGX_SMTP_GAUGES];

    pid = fork();

    if (pid == 0) {
        _exit(0);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);

    /* killed: nobody gave its slot back */

    one = worker(pid, "in", "out");
    one[0].messages = 3;

    ngx_smtp_zone_totals(&shm_zone, counts, gauges);
    assert_int_equal(gauges[NGX_SMTP_GAUGE_QUEUED], 0);

    two = worker(getpid(), "in", "out");
    sum_is(&two[0], 0, 0);
    assert_int_equal(slab_blocks, 1);

    ngx_smtp_zone_exit_worker();
    assert_int_equal(slab_blocks, 0);
}


/* without a zone, or room in it, a worker counts for itself */

static void
test_private(void **state)
{
    ngx_str_t          name = ngx_string("in"), *names[1];
    ngx_smtp_usage_t  *usage;

    slab_full = 1;

    usage = worker(getpid(), "in", "out");
    usage[0].messages = 3;
    sum_is(&usage[0], 3, 0);

    ngx_smtp_zone_exit_worker();

    ngx_smtp_zone_init_worker(NULL, &log);

    names[0] = &name;
    usage = ngx_smtp_zone_usage(names, 1, &log);

    assert_non_null(usage);
    usage[0].messages = 4;
    sum_is(&usage[0], 4, 0);

    ngx_smtp_zone_exit_worker();
}


/* what a worker was at when it died, for who has the segment now */

static void
test_struck(void **state)
{
    u_char             a[NGX_SMTP_WORK_ID] = "segment-a", b[] = "segment-b..";
    ngx_smtp_struck_t  struck;

    (void) worker(getppid(), "in", "out");

    ngx_smtp_work_on(NGX_SMTP_WORK_LOOP, a, 7);
    ngx_smtp_work_on(NGX_SMTP_WORK_RECOVERY, b, 0);
    assert_int_equal(ngx_smtp_work_reader(a, 8), NGX_SMTP_WORK_READ);
    assert_int_equal(ngx_smtp_work_reader(a, 9), NGX_SMTP_WORK_READ + 1);
    ngx_smtp_work_off(NGX_SMTP_WORK_READ);

    /* its own slot accuses nobody */

    assert_int_equal(ngx_smtp_zone_struck(a, &struck), 0);
    assert_int_equal(struck.n, 0);

    (void) worker(getpid(), "in", "out");

    assert_int_equal(ngx_smtp_zone_struck(a, NULL), 0);
    assert_int_equal(ngx_smtp_zone_struck(b, &struck), 0);
    assert_int_equal(struck.n, 0);

    (void) ngx_smtp_zone_struck(a, &struck);
    assert_int_equal(struck.n, 2);
    assert_int_equal(struck.numbers[0], 7);
    assert_int_equal(struck.numbers[1], 9);

    /* told once */

    (void) ngx_smtp_zone_struck(a, &struck);
    assert_int_equal(struck.n, 0);

    /* strikes of a segment add up, until it could be read */

    assert_int_equal(ngx_smtp_zone_struck(b, NULL), 1);
    assert_int_equal(ngx_smtp_zone_struck(b, NULL), 1);

    ngx_smtp_work_on(NGX_SMTP_WORK_RECOVERY, b, 0);
    (void) worker(getppid(), "in", "out");
    assert_int_equal(ngx_smtp_zone_struck(b, NULL), 2);

    ngx_smtp_zone_acquit(b);
    assert_int_equal(ngx_smtp_zone_struck(b, NULL), 0);

    /* one that leaves, or ends, was killed by nothing */

    ngx_smtp_work_on(NGX_SMTP_WORK_LOOP, a, 7);
    ngx_smtp_works_set(NULL);
    ngx_smtp_work_on(NGX_SMTP_WORK_LOOP, a, 8);

    (void) worker(getpid(), "in", "out");
    ngx_smtp_work_on(NGX_SMTP_WORK_LOOP, a, 9);
    ngx_smtp_zone_exit_worker();

    (void) worker(getpid(), "in", "out");
    (void) ngx_smtp_zone_struck(a, &struck);
    assert_int_equal(struck.n, 0);

    ngx_smtp_zone_exit_worker();
}


/* its slot was taken over before somebody had the segment */

static void
test_struck_left(void **state)
{
    int                status;
    pid_t              pid;
    u_char             a[NGX_SMTP_WORK_ID] = "segment-a";
    ngx_smtp_struck_t  struck;

    pid = fork();

    if (pid == 0) {
        _exit(0);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);

    (void) worker(pid, "in", "out");
    ngx_smtp_work_on(NGX_SMTP_WORK_LOOP, a, 7);

    (void) worker(getpid(), "in", "out");
    ngx_smtp_work_on(NGX_SMTP_WORK_LOOP, a, 8);

    (void) ngx_smtp_zone_struck(a, &struck);
    assert_int_equal(struck.n, 1);
    assert_int_equal(struck.numbers[0], 7);

    (void) ngx_smtp_zone_struck(a, &struck);
    assert_int_equal(struck.n, 0);

    ngx_smtp_zone_exit_worker();
}


int
main(void)
{
#define test(name)                                                            \
    cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

    const struct CMUnitTest  tests[] = {
        test(test_sum),
        test(test_dead),
        test(test_private),
        test(test_struck),
        test(test_struck_left),
    };

    return shim_run(tests);
}
