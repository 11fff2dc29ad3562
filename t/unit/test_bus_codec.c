
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Packets and fields of the worker bus: what is written can be read, and what
 * is cut off, too large or of another version is told from it.
 *
 * sources: net/ngx_smtp_bus_codec.c
 */


#include "shim.h"
#include "ngx_smtp_bus_codec.h"

#include <stdlib.h>
#include <string.h>


static void test_packet(void **state);
static void test_packet_wrong(void **state);
static void test_fields(void **state);
static void test_fields_cut(void **state);
static ngx_int_t test_get(ngx_uint_t kind, uint32_t rest, size_t len,
    ngx_smtp_bus_packet_t *packet);


static void
test_packet(void **state)
{
    u_char                 buf[64];
    ngx_smtp_bus_packet_t  in, out;

    in.kind = NGX_SMTP_BUS_ANSWER;
    in.id = 0xfedcba98;
    in.rest = 70000;

    assert_ptr_equal(ngx_smtp_bus_packet_put(buf, &in),
                     buf + NGX_SMTP_BUS_HEADER);
    memcpy(buf + NGX_SMTP_BUS_HEADER, "text", 4);

    assert_int_equal(ngx_smtp_bus_packet_get(buf, NGX_SMTP_BUS_HEADER + 4,
                                             &out), NGX_OK);
    assert_int_equal(out.kind, NGX_SMTP_BUS_ANSWER);
    assert_int_equal(out.id, 0xfedcba98);
    assert_int_equal(out.rest, 70000);
    assert_str_equal(&out.piece, "text");
}


/* A packet of len bytes of payload, read in memory of exactly its size. */

static ngx_int_t
test_get(ngx_uint_t kind, uint32_t rest, size_t len,
    ngx_smtp_bus_packet_t *packet)
{
    u_char     *buf;
    ngx_int_t   rc;

    packet->kind = kind;
    packet->id = 1;
    packet->rest = rest;

    buf = calloc(1, NGX_SMTP_BUS_HEADER + len);
    assert_non_null(buf);

    (void) ngx_smtp_bus_packet_put(buf, packet);
    rc = ngx_smtp_bus_packet_get(buf, NGX_SMTP_BUS_HEADER + len, packet);

    free(buf);

    return rc;
}


static void
test_packet_wrong(void **state)
{
    u_char                 buf[NGX_SMTP_BUS_HEADER];
    size_t                 n;
    ngx_smtp_bus_packet_t  p;

    p.kind = NGX_SMTP_BUS_REQUEST;
    p.id = 1;
    p.rest = 0;

    (void) ngx_smtp_bus_packet_put(buf, &p);

    for (n = 0; n < NGX_SMTP_BUS_HEADER; n++) {
        assert_int_equal(ngx_smtp_bus_packet_get(buf, n, &p), NGX_ERROR);
    }

    assert_int_equal(ngx_smtp_bus_packet_get(buf, n, &p), NGX_OK);

    buf[2]++;
    assert_int_equal(ngx_smtp_bus_packet_get(buf, n, &p), NGX_DECLINED);
    buf[2]--;

    buf[1]++;
    assert_int_equal(ngx_smtp_bus_packet_get(buf, n, &p), NGX_ERROR);

    assert_int_equal(test_get(0, 0, 1, &p), NGX_ERROR);
    assert_int_equal(test_get(3, 0, 1, &p), NGX_ERROR);

    assert_int_equal(test_get(NGX_SMTP_BUS_REQUEST, 0,
                              NGX_SMTP_BUS_REQUEST_MAX, &p), NGX_OK);
    assert_int_equal(test_get(NGX_SMTP_BUS_REQUEST, 0,
                              NGX_SMTP_BUS_REQUEST_MAX + 1, &p), NGX_ERROR);
    assert_int_equal(test_get(NGX_SMTP_BUS_ANSWER,
                              NGX_SMTP_BUS_ANSWER_MAX - 10, 10, &p), NGX_OK);
    assert_int_equal(test_get(NGX_SMTP_BUS_ANSWER,
                              NGX_SMTP_BUS_ANSWER_MAX - 9, 10, &p),
                     NGX_ERROR);
    assert_int_equal(test_get(NGX_SMTP_BUS_ANSWER, 0xffffffff, 10, &p),
                     NGX_ERROR);

    /* more is said to come, but nothing came */

    assert_int_equal(test_get(NGX_SMTP_BUS_ANSWER, 5, 0, &p), NGX_ERROR);
    assert_int_equal(test_get(NGX_SMTP_BUS_ANSWER, 0, 0, &p), NGX_OK);
}


static void
test_fields(void **state)
{
    u_char      buf[128], *p, *last;
    ngx_str_t   value;
    ngx_uint_t  tag;

    p = ngx_smtp_bus_field_put(buf, 0x1234, "abc", 3);
    p = ngx_smtp_bus_field_put(p, 1, NULL, 0);
    last = ngx_smtp_bus_number_put(p, 2, 0x0102030405060708ull);
    p = buf;

    assert_int_equal(ngx_smtp_bus_field_next(&p, last, &tag, &value), NGX_OK);
    assert_int_equal(tag, 0x1234);
    assert_str_equal(&value, "abc");
    assert_int_equal(ngx_smtp_bus_number(&value), 0);

    assert_int_equal(ngx_smtp_bus_field_next(&p, last, &tag, &value), NGX_OK);
    assert_int_equal(tag, 1);
    assert_int_equal(value.len, 0);

    assert_int_equal(ngx_smtp_bus_field_next(&p, last, &tag, &value), NGX_OK);
    assert_int_equal(tag, 2);
    assert_true(ngx_smtp_bus_number(&value) == 0x0102030405060708ull);

    assert_int_equal(ngx_smtp_bus_field_next(&p, last, &tag, &value),
                     NGX_DONE);
}


static void
test_fields_cut(void **state)
{
    u_char      buf[64], *copy, *p, *last;
    size_t      n;
    ngx_int_t   rc;
    ngx_str_t   value;
    ngx_uint_t  tag;

    p = ngx_smtp_bus_field_put(buf, 1, "abc", 3);
    last = ngx_smtp_bus_field_put(p, 2, "defg", 4);

    for (n = 1; n < (size_t) (last - buf); n++) {

        copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, buf, n);

        p = copy;

        do {
            rc = ngx_smtp_bus_field_next(&p, copy + n, &tag, &value);
        } while (rc == NGX_OK);

        /* the end of the first one is an end */

        assert_int_equal(rc, n == NGX_SMTP_BUS_FIELD + 3 ? NGX_DONE
                                                         : NGX_ERROR);
        free(copy);
    }

    memset(buf, 0xff, sizeof(buf));
    p = buf;

    assert_int_equal(ngx_smtp_bus_field_next(&p, buf + sizeof(buf), &tag,
                                             &value), NGX_ERROR);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_packet),
        cmocka_unit_test(test_packet_wrong),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_fields_cut),
    };

    return shim_run(tests);
}
