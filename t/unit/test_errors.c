
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Texts of last errors: remembered, forgotten, and taken along by the record
 * of a sealed log, which is read with any byte changed and cut anywhere.
 *
 * sources: spool/ngx_smtp_errors.c spool/ngx_smtp_event.c
 * sources: core/ngx_smtp_crc32c.c
 */


#include "shim.h"

#include "ngx_smtp_errors.h"
#include "ngx_smtp_crc32c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define TEST_SIZE  512


typedef struct {
    uint32_t    hash[2000];
    ngx_uint_t  told;
} test_told_t;


static ngx_str_t test_text(char *buf, ngx_uint_t i);
static void test_tell(void *data, uint32_t number, uint32_t hash);
static void test_record_of(ngx_str_t *out, ngx_smtp_log_record_t *r);
static void test_table(void **state);
static void test_long(void **state);
static void test_forgotten(void **state);
static void test_record(void **state);
static void test_many(void **state);
static void test_damage(void **state);


static ngx_str_t
test_text(char *buf, ngx_uint_t i)
{
    ngx_str_t  s;

    s.data = (u_char *) buf;
    s.len = sprintf(buf, "4.2.1 error number %lu", (unsigned long) i);

    return s;
}


static void
test_tell(void *data, uint32_t number, uint32_t hash)
{
    test_told_t *told = data;

    assert_true(number < 2000);

    told->hash[number] = hash;
    told->told++;
}


static void
test_record_of(ngx_str_t *out, ngx_smtp_log_record_t *r)
{
    memset(r, 0, sizeof(ngx_smtp_log_record_t));

    r->type = out->data[0];
    r->policy = out->data[1];
    r->payload = out->data + NGX_SMTP_LOG_RECORD;
    r->length = out->len - NGX_SMTP_LOG_RECORD;
}


static void
test_table(void **state)
{
    char                buf[64];
    uint32_t            a, b;
    ngx_str_t           s, empty = ngx_null_string;
    ngx_smtp_error_t   *e;
    ngx_smtp_errors_t   errors = { NULL, TEST_SIZE };

    assert_null(ngx_smtp_errors_find(&errors, 1));
    assert_int_equal(ngx_smtp_errors_put(&errors, &empty), 0);
    assert_null(errors.table);

    s = test_text(buf, 1);
    a = ngx_smtp_errors_put(&errors, &s);
    assert_int_not_equal(a, 0);
    assert_int_equal(ngx_smtp_errors_put(&errors, &s), a);

    s = test_text(buf, 2);
    b = ngx_smtp_errors_put(&errors, &s);
    assert_int_not_equal(a, b);

    e = ngx_smtp_errors_find(&errors, b);
    assert_non_null(e);
    assert_int_equal(e->len, s.len);
    assert_memory_equal(e->text, s.data, s.len);

    e = ngx_smtp_errors_find(&errors, a);
    assert_memory_equal(e->text, "4.2.1 error number 1", e->len);

    assert_null(ngx_smtp_errors_find(&errors, 0));
    assert_null(ngx_smtp_errors_find(&errors, a ^ 0x10000));

    ngx_smtp_errors_free(&errors);
    ngx_smtp_errors_free(&errors);
}


/* what is cut has the hash of what is left: it is put again after a restart */

static void
test_long(void **state)
{
    char                text[600];
    uint32_t            hash;
    ngx_str_t           s;
    ngx_smtp_error_t   *e;
    ngx_smtp_errors_t   errors = { NULL, TEST_SIZE };

    memset(text, 'x', sizeof(text));

    s.data = (u_char *) text;
    s.len = sizeof(text);

    hash = ngx_smtp_errors_put(&errors, &s);
    e = ngx_smtp_errors_find(&errors, hash);
    assert_int_equal(e->len, NGX_SMTP_ERROR_TEXT);

    s.len = e->len;
    assert_int_equal(ngx_smtp_errors_put(&errors, &s), hash);

    ngx_smtp_errors_free(&errors);
}


/* a full table forgets what was not used for longest, and stays in bounds */

static void
test_forgotten(void **state)
{
    char                buf[64];
    uint32_t            often, hash;
    ngx_str_t           s;
    ngx_uint_t          i, n;
    ngx_smtp_errors_t   errors = { NULL, TEST_SIZE };

    s = test_text(buf, 100000);
    often = ngx_smtp_errors_put(&errors, &s);

    for (i = 0; i < 5000; i++) {
        s = test_text(buf, i);
        hash = ngx_smtp_errors_put(&errors, &s);
        assert_non_null(ngx_smtp_errors_find(&errors, hash));

        s = test_text(buf, 100000);
        assert_int_equal(ngx_smtp_errors_put(&errors, &s), often);
    }

    assert_non_null(ngx_smtp_errors_find(&errors, often));

    for (i = 0, n = 0; i < 5000; i++) {
        s = test_text(buf, i);
        n += ngx_smtp_errors_find(&errors, ngx_smtp_crc32c(0, s.data, s.len))
             != NULL;
    }

    assert_true(n > TEST_SIZE / 2);
    assert_true(n < TEST_SIZE);

    ngx_smtp_errors_free(&errors);
}


static void
test_record(void **state)
{
    char                    buf[64];
    ngx_str_t               s, out;
    ngx_uint_t              i;
    test_told_t            *told;
    ngx_smtp_errors_t       errors = { NULL, TEST_SIZE };
    ngx_smtp_errors_t       back = { NULL, TEST_SIZE };
    ngx_smtp_error_of_t     of[1000];
    ngx_smtp_log_record_t   r;

    /* nothing to tell */

    assert_int_equal(ngx_smtp_errors_record(&errors, NULL, 0, 1, &out),
                     NGX_OK);
    assert_int_equal(out.len, 0);

    for (i = 0; i < 1000; i++) {
        s = test_text(buf, i % 7);
        of[i].number = i + 1;
        of[i].hash = ngx_smtp_errors_put(&errors, &s);
    }

    /* one whose text is not known any more */

    of[500].hash = 12345;

    assert_int_equal(ngx_smtp_errors_record(&errors, of, 1000, 1700000000,
                                            &out),
                     NGX_OK);
    test_record_of(&out, &r);
    assert_int_equal(r.type, NGX_SMTP_LOG_ERRORS);
    assert_int_equal(r.policy, NGX_SMTP_POLICY_IGNORE);
    assert_true(out.len < 1000 * 8 + 7 * 30 + 100);

    told = calloc(1, sizeof(test_told_t));
    assert_int_equal(ngx_smtp_errors_read(&back, &r, test_tell, told),
                     NGX_OK);
    assert_int_equal(told->told, 999);

    for (i = 0; i < 1000; i++) {
        assert_int_equal(told->hash[i + 1], i == 500 ? 0 : of[i].hash);
        assert_true(i == 500 || ngx_smtp_errors_find(&back, of[i].hash));
    }

    free(told);
    free(out.data);
    ngx_smtp_errors_free(&errors);
    ngx_smtp_errors_free(&back);
}


/* more texts than a record takes */

static void
test_many(void **state)
{
    char                    buf[64];
    ngx_str_t               s, out;
    ngx_uint_t              i;
    test_told_t            *told;
    ngx_smtp_errors_t       errors = { NULL, NGX_SMTP_ERRORS_STORE };
    ngx_smtp_errors_t       back = { NULL, TEST_SIZE };
    ngx_smtp_errors_t       merged = { NULL, NGX_SMTP_ERRORS_STORE };
    ngx_smtp_error_of_t     of[1000];
    ngx_smtp_log_record_t   r;

    for (i = 0; i < 1000; i++) {
        s = test_text(buf, i);
        of[i].number = i + 1;
        of[i].hash = ngx_smtp_errors_put(&errors, &s);
    }

    assert_int_equal(ngx_smtp_errors_record(&errors, of, 1000, 1, &out),
                     NGX_OK);
    test_record_of(&out, &r);

    told = calloc(1, sizeof(test_told_t));
    assert_int_equal(ngx_smtp_errors_read(&back, &r, test_tell, told),
                     NGX_OK);
    assert_int_equal(told->told, NGX_SMTP_ERRORS_RECORD);
    assert_int_equal(told->hash[1], of[0].hash);

    ngx_smtp_errors_merge(&merged, &back);
    assert_non_null(ngx_smtp_errors_find(&merged, of[0].hash));

    free(told);
    free(out.data);
    ngx_smtp_errors_free(&errors);
    ngx_smtp_errors_free(&back);
    ngx_smtp_errors_free(&merged);
}


static void
test_damage(void **state)
{
    char                    buf[64];
    u_char                 *copy;
    size_t                  i;
    ngx_str_t               s, out;
    test_told_t            *told;
    ngx_smtp_errors_t       errors = { NULL, TEST_SIZE };
    ngx_smtp_errors_t       back = { NULL, TEST_SIZE };
    ngx_smtp_error_of_t     of[3];
    ngx_smtp_log_record_t   r;

    for (i = 0; i < 3; i++) {
        s = test_text(buf, i);
        of[i].number = i;
        of[i].hash = ngx_smtp_errors_put(&errors, &s);
    }

    assert_int_equal(ngx_smtp_errors_record(&errors, of, 3, 1, &out), NGX_OK);

    told = calloc(1, sizeof(test_told_t));
    test_record_of(&out, &r);

    for (i = 0; i < r.length; i++) {

        /* of that size, for a sanitizer to see what lies behind */

        copy = malloc(i ? i : 1);
        memcpy(copy, out.data + NGX_SMTP_LOG_RECORD, i);

        r.payload = copy;
        r.length = i;

        assert_int_equal(ngx_smtp_errors_read(&back, &r, test_tell, told),
                         NGX_ERROR);
        free(copy);

        test_record_of(&out, &r);
    }

    for (i = 12; i < 18; i++) {
        r.payload[i] ^= 0xff;
        assert_int_equal(ngx_smtp_errors_read(&back, &r, test_tell, told),
                         NGX_ERROR);
        r.payload[i] ^= 0xff;
    }

    /* an index beyond the texts */

    r.payload[r.length - 4] = 3;
    assert_int_equal(ngx_smtp_errors_read(&back, &r, test_tell, told),
                     NGX_ERROR);

    free(told);
    free(out.data);
    ngx_smtp_errors_free(&errors);
    ngx_smtp_errors_free(&back);
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_damage),
    };

    return shim_run(tests);
}
