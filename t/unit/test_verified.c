
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The table of recipients that backends were asked for; the zone is played
 * here, with keys that can be chosen.
 *
 * sources: net/ngx_smtp_verified.c
 */


#include "shim.h"
#include "ngx_smtp_verified.h"


static void            *table;
static size_t           table_size;
static ngx_uint_t       locked;
static ngx_uint_t       no_room;
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
    assert_int_equal(id, NGX_SMTP_ZONE_VERIFIED);

    if (no_room) {
        return NULL;
    }

    if (table == NULL) {
        table = calloc(1, size);
        table_size = size;
    }

    assert_int_equal(size, table_size);

    return table;
}


ngx_int_t
ngx_smtp_zone_login_key(ngx_shm_zone_t *z, ngx_str_t *login,
    ngx_str_t *verifier, ngx_str_t *password,
    u_char key[NGX_SMTP_ZONE_KEY_LEN])
{
    assert_int_equal(login->len, 0);
    assert_str_equal(verifier, "mta");
    assert_str_equal(password, "a@b.test");

    memset(key, 'k', NGX_SMTP_ZONE_KEY_LEN);

    return NGX_OK;
}


static int
setup(void **state)
{
    table = NULL;
    no_room = 0;
    zone.shm.size = 512 * 1024;
    shim_time_set(1700000000, 0);

    return 0;
}


static int
teardown(void **state)
{
    free(table);
    return 0;
}


/* the n-th key of bucket 0 */

static u_char *
key(ngx_uint_t n)
{
    static u_char  k[NGX_SMTP_ZONE_KEY_LEN];

    memset(k, 0, sizeof(k));
    memcpy(k + 8, &n, sizeof(n));

    return k;
}


static void
put(ngx_uint_t n, ngx_uint_t st, ngx_msec_t ttl)
{
    ngx_smtp_verified_t  v;

    ngx_memzero(&v, sizeof(v));

    v.state = st;

    ngx_smtp_verified_put(&zone, key(n), &v, ttl);
}


/* its state, or -1 */

static ngx_int_t
get(ngx_uint_t n)
{
    ngx_smtp_verified_t  v;

    return ngx_smtp_verified_get(&zone, key(n), &v) == NGX_OK
           ? (ngx_int_t) v.state : -1;
}


static void
test_time(void **state)
{
    assert_int_equal(get(1), -1);

    put(1, NGX_SMTP_VERIFIED_BAD, 1000);
    put(2, NGX_SMTP_VERIFIED_GOOD, 2000);

    shim_time_advance(999);
    assert_int_equal(get(1), NGX_SMTP_VERIFIED_BAD);
    assert_int_equal(get(2), NGX_SMTP_VERIFIED_GOOD);

    shim_time_advance(1);
    assert_int_equal(get(1), -1);
    assert_int_equal(get(2), NGX_SMTP_VERIFIED_GOOD);

    /* what is said last counts */

    put(2, NGX_SMTP_VERIFIED_DOWN, 5000);
    assert_int_equal(get(2), NGX_SMTP_VERIFIED_DOWN);
    shim_time_advance(4999);
    assert_int_equal(get(2), NGX_SMTP_VERIFIED_DOWN);
}


static void
test_full(void **state)
{
    ngx_uint_t  i;

    /* a bucket has four places; of five the one goes that ends first */

    put(1, NGX_SMTP_VERIFIED_GOOD, 4000);
    put(2, NGX_SMTP_VERIFIED_GOOD, 1000);
    put(3, NGX_SMTP_VERIFIED_GOOD, 3000);
    put(4, NGX_SMTP_VERIFIED_GOOD, 2000);
    put(5, NGX_SMTP_VERIFIED_BAD, 500);

    assert_int_equal(get(2), -1);
    assert_int_equal(get(5), NGX_SMTP_VERIFIED_BAD);

    put(6, NGX_SMTP_VERIFIED_BAD, 9000);

    assert_int_equal(get(5), -1);

    for (i = 1; i <= 6; i++) {
        if (i != 2 && i != 5) {
            assert_int_not_equal(get(i), -1);
        }
    }

    /* all of it is in its eighth of the zone */

    assert_true(table_size <= zone.shm.size / 8);
    assert_true(table_size > zone.shm.size / 32);
}


static void
test_no_room(void **state)
{
    no_room = 1;

    put(1, NGX_SMTP_VERIFIED_BAD, 1000);
    assert_int_equal(get(1), -1);
}


static void
test_reply(void **state)
{
    u_char               k[NGX_SMTP_ZONE_KEY_LEN], text[200];
    ngx_str_t            status, s, rcpt;
    ngx_smtp_verified_t  v, w;

    status = shim_str("5.1.1");
    s = shim_str("no such user");

    ngx_memzero(&v, sizeof(v));
    v.state = NGX_SMTP_VERIFIED_BAD;
    ngx_smtp_verified_reply(&v, 550, &status, &s);

    status = shim_str("mta");
    rcpt = shim_str("a@b.test");
    assert_int_equal(ngx_smtp_verified_key(&zone, &status, &rcpt, k), NGX_OK);

    ngx_smtp_verified_put(&zone, k, &v, 1000);
    assert_int_equal(ngx_smtp_verified_get(&zone, k, &w), NGX_OK);

    assert_int_equal(w.code, 550);
    assert_int_equal(w.status_len, 5);
    assert_memory_equal(w.status, "5.1.1", 5);
    assert_int_equal(w.text_len, 12);
    assert_memory_equal(w.text, "no such user", 12);

    memset(text, 'x', sizeof(text));
    s.data = text;
    s.len = sizeof(text);

    ngx_smtp_verified_reply(&v, 550, &s, &s);
    assert_int_equal(v.status_len, NGX_SMTP_VERIFIED_STATUS_MAX);
    assert_int_equal(v.text_len, NGX_SMTP_VERIFIED_TEXT_MAX);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reply, setup, teardown),
    };

    return shim_run(tests);
}
