
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Input of a session: what is left over is kept, used from where it is kept,
 * and never copied more often than its size halves.
 *
 * sources: server/ngx_smtp_session_input.c
 */


#include "shim.h"

#include "ngx_smtp_session_private.h"

#include <string.h>


#define SIZE  60000


static void test_left_over(void **state);
static void test_used_in_place(void **state);
static void test_no_memory(void **state);
static void test_start(const char *text, size_t len);
static ssize_t test_recv(ngx_connection_t *c, u_char *buf, size_t size);


static ngx_smtp_session_t   session;
static ngx_connection_t     conn;
static const char          *in;
static size_t               in_len;


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_left_over),
        cmocka_unit_test(test_used_in_place),
        cmocka_unit_test(test_no_memory)
    };

    return shim_run(tests);
}


/* half a line, and what comes behind it; nothing is left at the end */

static void
test_left_over(void **state)
{
    u_char            *p;
    ngx_smtp_input_t  *i;

    i = &session.input;

    test_start("NOOP\r\nMA", 8);
    assert_null(i->kept);

    i->pos += 6;
    assert_int_equal(ngx_smtp_session_input_close(&session), NGX_OK);
    assert_non_null(i->kept);
    assert_int_equal(i->size, 2);

    p = i->kept;
    ngx_smtp_session_input_open(&session);
    assert_ptr_equal(i->pos, p);

    in = "IL x\r\n";
    in_len = 6;
    assert_int_equal(ngx_smtp_session_input_read(&session), 6);
    assert_null(i->kept);
    assert_int_equal(i->last - i->pos, 8);
    assert_memory_equal(i->pos, "MAIL x\r\n", 8);

    i->pos = i->last;
    assert_int_equal(ngx_smtp_session_input_close(&session), NGX_OK);
    assert_null(i->pos);
    assert_null(i->kept);

    ngx_smtp_session_input_open(&session);
    assert_non_null(i->pos);
    assert_ptr_equal(i->pos, i->last);
    ngx_smtp_session_input_drop(&session);
}


/* many commands, each waits for an answer: they are copied twice at most */

static void
test_used_in_place(void **state)
{
    size_t             n, copied;
    u_char            *kept;
    static char        text[SIZE];
    ngx_smtp_input_t  *i;

    i = &session.input;

    for (n = 0; n < SIZE; n++) {
        text[n] = (char) n;
    }

    test_start(text, SIZE);

    copied = 0;
    kept = NULL;

    for (n = 10; n < SIZE; n += 10) {
        i->pos += 10;
        assert_int_equal(ngx_smtp_session_input_close(&session), NGX_OK);

        if (i->kept != kept) {
            kept = i->kept;
            copied += i->size;
        }

        /* nor is more kept than twice of what is left */

        assert_true(i->size <= 2 * (SIZE - n) + 20);
        assert_int_equal(i->last - i->pos, SIZE - n);
        assert_memory_equal(i->pos, text + n, SIZE - n);

        ngx_smtp_session_input_open(&session);
    }

    assert_true(copied <= 2 * SIZE);

    i->pos += 10;
    assert_int_equal(ngx_smtp_session_input_close(&session), NGX_OK);
    assert_null(i->kept);
}


static void
test_no_memory(void **state)
{
    ngx_smtp_input_t  *i;

    i = &session.input;

    test_start("NOOP\r\n", 6);
    shim_alloc_fail_after(0);
    assert_int_equal(ngx_smtp_session_input_close(&session), NGX_ERROR);
    shim_alloc_fail_after(-1);

    /* what is kept already can stay where it is */

    assert_int_equal(ngx_smtp_session_input_close(&session), NGX_OK);
    i->pos += 5;
    shim_alloc_fail_after(0);
    assert_int_equal(ngx_smtp_session_input_close(&session), NGX_OK);
    shim_alloc_fail_after(-1);
    assert_memory_equal(i->pos, "\n", 1);

    ngx_smtp_session_input_drop(&session);
    assert_null(i->pos);
}


static void
test_start(const char *text, size_t len)
{
    memset(&session, 0, sizeof(session));

    session.connection = &conn;
    conn.log = &shim_log;
    conn.recv = test_recv;

    in = text;
    in_len = len;

    assert_int_equal(ngx_smtp_session_input_init(), NGX_OK);
    ngx_smtp_session_input_open(&session);
    assert_int_equal(ngx_smtp_session_input_read(&session), len);
}


static ssize_t
test_recv(ngx_connection_t *c, u_char *buf, size_t size)
{
    if (in_len > size) {
        return NGX_ERROR;
    }

    memcpy(buf, in, in_len);

    return in_len;
}
