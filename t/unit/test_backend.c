
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The table of backends, as several workers see it; the zone is played here.
 *
 * sources: net/ngx_smtp_backend.c
 * libs: -lcrypto
 */


#include "shim.h"
#include "ngx_smtp_backend.h"
#include "ngx_smtp_zone.h"

#include <netinet/in.h>


static void            *table;
static ngx_uint_t       locked;
static ngx_pid_t        dead;
static ngx_shm_zone_t   zone;


void
ngx_smtp_zone_lock(ngx_shm_zone_t *z)
{
    assert_int_equal(locked++, 0);
}


void
ngx_smtp_zone_unlock(ngx_shm_zone_t *z)
{
    assert_int_equal(locked--, 1);
}


void *
ngx_smtp_zone_table(ngx_shm_zone_t *z, ngx_uint_t id, size_t size)
{
    assert_int_equal(locked, 1);
    assert_int_equal(id, NGX_SMTP_ZONE_BACKENDS);

    return table;
}


ngx_uint_t
ngx_smtp_zone_is_dead(ngx_pid_t pid)
{
    return pid == dead;
}


static int
setup(void **state)
{
    table = calloc(NGX_SMTP_BACKENDS, sizeof(ngx_smtp_backend_sh_t));
    dead = 0;
    ngx_pid = 1;
    shim_time_set(1700000000, 0);

    return table == NULL;
}


static int
teardown(void **state)
{
    free(table);
    return 0;
}


/* a handle of a worker; addresses must outlive it */

static struct sockaddr_in  sins[NGX_SMTP_BACKENDS + 1];

static ngx_int_t
claim(ngx_smtp_backend_t *b, in_port_t port, const char *profile)
{
    ngx_str_t  p;

    p = shim_str(profile);

    sins[port].sin_family = AF_INET;
    sins[port].sin_port = htons(port);
    sins[port].sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    ngx_memzero(b, sizeof(ngx_smtp_backend_t));

    b->sockaddr = (struct sockaddr *) &sins[port];
    b->socklen = sizeof(struct sockaddr_in);

    return ngx_smtp_backend_claim(b, &zone, &p);
}


static ngx_int_t
report(ngx_smtp_backend_t *b, ngx_uint_t ok, ngx_uint_t needed)
{
    ngx_str_t  reason;

    reason = shim_str("broken");

    return ngx_smtp_backend_report(b, ok, needed, 1000, &reason);
}


/* a check that is due */

static ngx_int_t
check(ngx_smtp_backend_t *b, ngx_uint_t ok, ngx_uint_t needed)
{
    ngx_msec_t  wait;

    shim_time_advance(1000);

    assert_int_equal(ngx_smtp_backend_take(b, 1000, 500, &wait), NGX_OK);

    return report(b, ok, needed);
}


static void
test_keys(void **state)
{
    ngx_smtp_backend_t  a, b, c, d;

    assert_int_equal(claim(&a, 1, "0:0:"), NGX_OK);
    assert_int_equal(claim(&b, 1, "0:0:"), NGX_OK);
    assert_int_equal(claim(&c, 2, "0:0:"), NGX_OK);
    assert_int_equal(claim(&d, 1, "1:1:mta"), NGX_OK);

    assert_ptr_equal(a.sh, b.sh);
    assert_ptr_not_equal(a.sh, c.sh);
    assert_ptr_not_equal(a.sh, d.sh);

    /* what one learns the other knows */

    assert_int_equal(ngx_smtp_backend_offers(&a), 0);
    ngx_smtp_backend_learn(&b, NGX_SMTP_BACKEND_DSN);
    assert_int_equal(ngx_smtp_backend_offers(&a),
                     NGX_SMTP_BACKEND_KNOWN|NGX_SMTP_BACKEND_DSN);
    assert_int_equal(ngx_smtp_backend_offers(&d), 0);

    ngx_smtp_backend_learn(&b, 0);
    assert_int_equal(ngx_smtp_backend_offers(&a), NGX_SMTP_BACKEND_KNOWN);
}


static void
test_states(void **state)
{
    ngx_smtp_backend_t        a, b;
    ngx_smtp_backend_state_t  st;

    claim(&a, 1, "");
    claim(&b, 1, "");

    assert_int_equal(ngx_smtp_backend_down(&a), 0);

    assert_int_equal(check(&a, 1, 1), NGX_OK);
    assert_int_equal(check(&a, 0, 3), NGX_OK);
    assert_int_equal(check(&a, 0, 3), NGX_OK);

    /* a pass between: it begins anew */

    assert_int_equal(check(&a, 1, 1), NGX_OK);
    assert_int_equal(check(&a, 0, 3), NGX_OK);
    assert_int_equal(check(&a, 0, 3), NGX_OK);
    assert_int_equal(ngx_smtp_backend_down(&b), 0);
    assert_int_equal(check(&a, 0, 3), NGX_DONE);
    assert_int_equal(ngx_smtp_backend_down(&b), 1);
    assert_int_equal(check(&a, 0, 3), NGX_OK);

    assert_int_equal(check(&b, 1, 2), NGX_OK);
    assert_int_equal(ngx_smtp_backend_down(&a), 1);
    assert_int_equal(check(&b, 1, 2), NGX_DONE);
    assert_int_equal(ngx_smtp_backend_down(&a), 0);

    assert_int_equal(ngx_smtp_backend_state(&b, &st), NGX_OK);
    assert_int_equal(st.down, 0);
    assert_int_equal(st.checks, 10);
    assert_int_equal(st.failed, 6);
    assert_int_equal(st.changed, 1700000010);
    assert_int_equal(st.checked, 1700000010);
    assert_str_equal(&st.reason, "broken");
}


static void
test_lease(void **state)
{
    ngx_msec_t          wait;
    ngx_smtp_backend_t  a, b;

    claim(&a, 1, "");
    claim(&b, 1, "");

    assert_int_equal(ngx_smtp_backend_take(&a, 1000, 500, &wait), NGX_OK);

    /* another worker, while the first one checks */

    ngx_pid = 2;
    shim_time_advance(100);
    assert_int_equal(ngx_smtp_backend_take(&b, 1000, 500, &wait), NGX_AGAIN);
    assert_int_equal(wait, 400);
    assert_int_equal(report(&b, 0, 1), NGX_DECLINED);
    assert_int_equal(ngx_smtp_backend_down(&a), 0);
    ngx_smtp_backend_release(&b);
    assert_int_equal(ngx_smtp_backend_take(&b, 1000, 500, &wait), NGX_AGAIN);

    /* the first one died */

    dead = 1;
    assert_int_equal(ngx_smtp_backend_take(&b, 1000, 500, &wait), NGX_OK);
    dead = 0;

    /* or only hung: its report comes too late */

    ngx_pid = 1;
    assert_int_equal(report(&a, 0, 1), NGX_DECLINED);
    shim_time_advance(501);
    assert_int_equal(ngx_smtp_backend_take(&a, 1000, 500, &wait), NGX_OK);
    assert_int_equal(report(&a, 1, 1), NGX_OK);

    /* the next one in a second; or sooner, if the interval is shorter now */

    ngx_pid = 2;
    shim_time_advance(100);
    assert_int_equal(ngx_smtp_backend_take(&b, 1000, 500, &wait), NGX_AGAIN);
    assert_int_equal(wait, 900);
    assert_int_equal(ngx_smtp_backend_take(&b, 200, 500, &wait), NGX_OK);

    /* given up: at once */

    ngx_smtp_backend_release(&b);
    ngx_pid = 1;
    shim_time_advance(900);
    assert_int_equal(ngx_smtp_backend_take(&a, 1000, 500, &wait), NGX_OK);
}


static void
test_full(void **state)
{
    ngx_uint_t                i;
    ngx_msec_t                wait;
    ngx_smtp_backend_t        first, b;
    ngx_smtp_backend_state_t  st;

    claim(&first, 0, "");
    ngx_smtp_backend_learn(&first, NGX_SMTP_BACKEND_DSN);

    shim_time_advance(10000);

    for (i = 1; i < NGX_SMTP_BACKENDS; i++) {
        assert_int_equal(claim(&b, i, ""), NGX_OK);
    }

    assert_int_equal(claim(&b, i, ""), NGX_DECLINED);
    assert_int_equal(ngx_smtp_backend_down(&b), 0);
    assert_int_equal(ngx_smtp_backend_offers(&b), 0);
    ngx_smtp_backend_learn(&b, NGX_SMTP_BACKEND_DSN);
    assert_int_equal(ngx_smtp_backend_take(&b, 1, 1, &wait), NGX_DECLINED);
    assert_int_equal(ngx_smtp_backend_state(&b, &st), NGX_DECLINED);

    /* after an hour the oldest place is another's, and its handle knows it */

    shim_time_advance(3600 * 1000 - 10000);
    assert_int_equal(claim(&b, i, ""), NGX_OK);
    assert_ptr_equal(b.sh, first.sh);
    assert_int_equal(ngx_smtp_backend_offers(&first), 0);
    ngx_smtp_backend_learn(&first, NGX_SMTP_BACKEND_DSN);
    assert_int_equal(ngx_smtp_backend_offers(&b), 0);
    assert_int_equal(ngx_smtp_backend_take(&first, 1, 1, &wait), NGX_DECLINED);
    assert_int_equal(ngx_smtp_backend_take(&b, 1, 9, &wait), NGX_OK);
    assert_int_equal(report(&first, 0, 1), NGX_DECLINED);
    ngx_smtp_backend_release(&first);
    assert_int_equal(report(&b, 0, 1), NGX_DONE);
    assert_int_equal(ngx_smtp_backend_down(&first), 0);
    assert_int_equal(ngx_smtp_backend_state(&first, &st), NGX_DECLINED);

    /* no room in the zone */

    free(table);
    table = NULL;
    assert_int_equal(claim(&b, 1, ""), NGX_DECLINED);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_states, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
    };

    return shim_run(tests);
}
