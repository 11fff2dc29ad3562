
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The shim itself: where it stands in for nginx, other tests rely on it.  The
 * expected results are those of nginx.
 */


#include "shim.h"


typedef struct {
    ngx_rbtree_node_t   node;
    ngx_uint_t          seq;
} test_node_t;


static void test_snprintf(void **state);
static void test_numbers(void **state);
static void test_base64(void **state);
static void test_utf8(void **state);
static void test_rbtree(void **state);
static void test_time(void **state);
static void test_pool(void **state);
static void test_log(void **state);
static void test_tasks(void **state);
static void test_feed(void **state);
static void test_digests(void **state);
static void test_pool_cleanup(void *data);
static void test_timer_handler(ngx_event_t *ev);
static void test_task_run(void *data, ngx_log_t *log);
static void test_task_done(ngx_event_t *ev);
static ngx_int_t test_feed_piece(void *ctx, u_char *data, size_t len);


#define fmt_is(expected, ...)                                                 \
    do {                                                                      \
        u_char  b_[256], *p_;                                                 \
        memset(b_, '!', sizeof(b_));                                          \
        p_ = ngx_snprintf(b_, sizeof(b_), __VA_ARGS__);                       \
        *p_ = '\0';                                                           \
        assert_string_equal((char *) b_, expected);                           \
    } while (0)


static void
test_snprintf(void **state)
{
    u_char     buf[8];
    ngx_str_t  s = ngx_string("abc");

    fmt_is("plain", "plain");
    fmt_is("abc|de|f", "%V|%*s|%s", &s, (size_t) 2, "def", "f");
    fmt_is("-1 4294967295 ff FF", "%d %ud %xd %Xd", -1, -1, 255, 255);
    fmt_is("00ff   5", "%04xd %3d", 255, 5);
    fmt_is("-07", "%02d", -7);
    fmt_is("18446744073709551615", "%uz", (size_t) -1);
    fmt_is("-5 5", "%i %ui", (ngx_int_t) -5, (ngx_uint_t) 5);
    fmt_is("-9223372036854775808", "%L", INT64_MIN);
    fmt_is("-1 7", "%M %M", (ngx_msec_t) -1, (ngx_msec_t) 7);
    fmt_is("123 456 78", "%O %T %P", (off_t) 123, (time_t) 456,
           (ngx_pid_t) 78);
    fmt_is("12345678 -2", "%uD %l", 12345678, -2L);
    fmt_is("%x\n", "%%%c%N", 'x');
    fmt_is("1.50 -0.3", "%.2f %.1f", 1.5, -0.25);
    fmt_is("0000000000000010", "%p", (void *) 16);
    fmt_is("616263", "%xV", &s);

    assert_ptr_equal(ngx_snprintf(buf, 4, "%s", "abcdefgh"), buf + 4);
    assert_memory_equal(buf, "abcd", 4);
    assert_ptr_equal(ngx_snprintf(buf, 3, "%ui", (ngx_uint_t) 12345),
                     buf + 3);
    assert_memory_equal(buf, "123", 3);
    assert_ptr_equal(ngx_snprintf(buf, 3, "a%Zb"), buf + 3);
    assert_memory_equal(buf, "a\0b", 3);
}


static void
test_numbers(void **state)
{
    assert_int_equal(ngx_atoi((u_char *) "0123", 4), 123);
    assert_int_equal(ngx_atoi((u_char *) "", 0), NGX_ERROR);
    assert_int_equal(ngx_atoi((u_char *) "-1", 2), NGX_ERROR);
    assert_int_equal(ngx_atoi((u_char *) "9223372036854775807", 19),
                     INT64_MAX);
    assert_int_equal(ngx_atoi((u_char *) "9223372036854775808", 19),
                     NGX_ERROR);
    assert_int_equal(ngx_hextoi((u_char *) "fF0", 3), 0xff0);
    assert_int_equal(ngx_hextoi((u_char *) "g", 1), NGX_ERROR);
    assert_int_equal(ngx_atoof((u_char *) "42", 2), 42);

    assert_int_equal(ngx_strncasecmp((u_char *) "EHLO x", (u_char *) "ehlo",
                                     4), 0);
    assert_true(ngx_strcasecmp((u_char *) "a", (u_char *) "B") < 0);
}


static void
test_base64(void **state)
{
    size_t      i;
    u_char      buf[32], back[32];
    ngx_str_t   s, d, e;

    static const struct {
        const char  *plain;
        const char  *coded;
    } t[] = {
        { "", "" },
        { "f", "Zg==" },
        { "fo", "Zm8=" },
        { "foo", "Zm9v" },
        { "foobar", "Zm9vYmFy" },
        { "\377\376\375", "//79" }
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        s = shim_str(t[i].plain);
        d.data = buf;
        ngx_encode_base64(&d, &s);

        assert_int_equal(d.len, strlen(t[i].coded));
        assert_memory_equal(d.data, t[i].coded, d.len);

        e.data = back;
        assert_int_equal(ngx_decode_base64(&e, &d), NGX_OK);
        assert_int_equal(e.len, s.len);
        assert_memory_equal(e.data, s.data, s.len);
    }

    e.data = back;

    s = shim_str("A");
    assert_int_equal(ngx_decode_base64(&e, &s), NGX_ERROR);
    s = shim_str("A*==");
    assert_int_equal(ngx_decode_base64(&e, &s), NGX_ERROR);

    s = shim_str("Zg=*");
    assert_int_equal(ngx_decode_base64(&e, &s), NGX_OK);
    assert_int_equal(e.len, 1);
}


static void
test_utf8(void **state)
{
    size_t   i;
    u_char  *p;

    static const struct {
        const char  *text;
        size_t       len;
        uint32_t     code;
    } t[] = {
        { "\303\251", 2, 0xe9 },
        { "\342\202\254", 3, 0x20ac },
        { "\360\237\230\200", 4, 0x1f600 },
        { "\303", 1, 0xfffffffe },
        { "\300\200", 2, 0xffffffff },
        { "\340\200\200", 3, 0xffffffff },
        { "\303A", 2, 0xffffffff },
        { "\201", 1, 0xffffffff },
        { "\377", 1, 0xfffffffe },
        { "\374\220\200\200", 4, 0x110000 }
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        p = (u_char *) t[i].text;
        assert_int_equal(ngx_utf8_decode(&p, t[i].len), t[i].code);
    }
}


static void
test_rbtree(void **state)
{
    size_t              i, n;
    ngx_uint_t          last;
    test_node_t        *nodes;
    ngx_rbtree_t        tree;
    ngx_rbtree_node_t  *node, sentinel;

    ngx_rbtree_init(&tree, &sentinel, ngx_rbtree_insert_value);

    nodes = calloc(1000, sizeof(test_node_t));
    assert_non_null(nodes);

    for (i = 0; i < 1000; i++) {
        nodes[i].node.key = (i * 7919) % 500;
        nodes[i].seq = i;
        ngx_rbtree_insert(&tree, &nodes[i].node);
    }

    for (i = 0; i < 1000; i += 3) {
        ngx_rbtree_delete(&tree, &nodes[i].node);
        assert_null(nodes[i].node.parent);
    }

    last = 0;
    n = 0;

    for (node = ngx_rbtree_min(tree.root, tree.sentinel);
         node;
         node = ngx_rbtree_next(&tree, node))
    {
        assert_true(node->key >= last);
        assert_true(((test_node_t *) node)->seq % 3 != 0);
        last = node->key;
        n++;
    }

    assert_int_equal(n, 666);

    while (tree.root != tree.sentinel) {
        ngx_rbtree_delete(&tree, tree.root);
        n--;
    }

    assert_int_equal(n, 0);

    free(nodes);
}


static ngx_uint_t  test_fired;


static void
test_timer_handler(ngx_event_t *ev)
{
    assert_true(ev->timedout);

    test_fired++;

    if (test_fired == 1) {
        ngx_add_timer(ev, 2000);
    }
}


static void
test_time(void **state)
{
    void         *dummy[4] = { NULL, NULL, NULL, NULL };
    ngx_tm_t      tm;
    ngx_event_t   ev;

    ngx_gmtime(951782400, &tm);
    assert_int_equal(tm.ngx_tm_year, 2000);
    assert_int_equal(tm.ngx_tm_mon, 2);
    assert_int_equal(tm.ngx_tm_mday, 29);

    shim_time_set(1000, 500);
    assert_int_equal(ngx_time(), 1000);

    ngx_memzero(&ev, sizeof(ev));
    ev.handler = test_timer_handler;
    ev.data = dummy;
    ev.log = &shim_log;

    test_fired = 0;
    ngx_add_timer(&ev, 1000);

    shim_time_advance(999);
    assert_int_equal(test_fired, 0);

    shim_time_advance(1);
    assert_int_equal(test_fired, 1);
    assert_int_equal(ngx_time(), 1001);
    assert_int_equal(ngx_timeofday()->msec, 500);

    shim_time_advance(10000);
    assert_int_equal(test_fired, 2);
    assert_int_equal(ngx_time(), 1011);
}


static void
test_pool_cleanup(void *data)
{
    test_fired += *(ngx_uint_t *) data;
}


static void
test_pool(void **state)
{
    size_t               i;
    u_char              *p;
    ngx_pool_t          *pool;
    ngx_uint_t          *n;
    ngx_array_t         *a;
    ngx_pool_cleanup_t  *cln;

    pool = ngx_create_pool(256, &shim_log);
    assert_non_null(pool);

    p = ngx_pcalloc(pool, 100);
    assert_int_equal(p[99], 0);

    a = ngx_array_create(pool, 1, sizeof(ngx_uint_t));

    for (i = 0; i < 100; i++) {
        n = ngx_array_push(a);
        *n = i;
    }

    assert_int_equal(((ngx_uint_t *) a->elts)[57], 57);

    cln = ngx_pool_cleanup_add(pool, sizeof(ngx_uint_t));
    cln->handler = test_pool_cleanup;
    *(ngx_uint_t *) cln->data = 5;

    shim_alloc_fail_after(1);
    assert_non_null(ngx_palloc(pool, 1));
    assert_null(ngx_palloc(pool, 1));
    shim_alloc_fail_after(-1);

    test_fired = 0;
    ngx_destroy_pool(pool);
    assert_int_equal(test_fired, 5);
}


static void
test_log(void **state)
{
    shim_log_reset();

    ngx_log_error(NGX_LOG_CRIT, &shim_log, ENOENT, "open \"%s\"", "x");
    ngx_log_debug0(NGX_LOG_DEBUG_STREAM, &shim_log, 0, "not kept");

    assert_string_equal(shim_log_text(),
                        "crit: open \"x\" (2: No such file or directory)\n");
    assert_int_equal(shim_log_count("crit: open"), 1);
    assert_int_equal(shim_log_count("kept"), 0);

    shim_log_reset();
}


static void
test_task_run(void *data, ngx_log_t *log)
{
    *(ngx_uint_t *) data += 1;
}


static void
test_task_done(ngx_event_t *ev)
{
    *(ngx_uint_t *) ev->data += 10;
}


static void
test_tasks(void **state)
{
    ngx_uint_t         n;
    ngx_thread_task_t  task;

    n = 0;

    ngx_memzero(&task, sizeof(task));
    task.ctx = &n;
    task.handler = test_task_run;
    task.event.data = &n;
    task.event.handler = test_task_done;

    shim_tasks_refuse(1);
    assert_int_equal(ngx_thread_task_post(shim_thread_pool, &task),
                     NGX_ERROR);
    assert_int_equal(ngx_thread_task_post(shim_thread_pool, &task), NGX_OK);
    assert_int_equal(ngx_thread_task_post(shim_thread_pool, &task),
                     NGX_ERROR);
    assert_int_equal(shim_log_count("alert: "), 1);
    shim_log_reset();

    assert_int_equal(n, 0);
    assert_int_equal(shim_tasks_work(), 1);
    assert_int_equal(n, 1);
    assert_int_equal(shim_tasks_deliver(), 1);
    assert_int_equal(n, 11);
    assert_int_equal(shim_tasks_run(), 0);
}


static ngx_int_t
test_feed_piece(void *ctx, u_char *data, size_t len)
{
    char  *p;

    p = ctx;

    strncat(p, (char *) data, len);
    strcat(p, "|");

    return (data[len - 1] == 'f') ? NGX_DONE : NGX_AGAIN;
}


static void
test_feed(void **state)
{
    char  buf[32];

    buf[0] = '\0';
    assert_int_equal(shim_feed(test_feed_piece, buf, "abcde", 5, 2),
                     NGX_AGAIN);
    assert_string_equal(buf, "ab|cd|e|");

    buf[0] = '\0';
    assert_int_equal(shim_feed(test_feed_piece, buf, "abcdef", 6, 0),
                     NGX_DONE);
    assert_string_equal(buf, "abcdef|");

    buf[0] = '\0';
    assert_int_equal(shim_feed(test_feed_piece, buf, "afb", 3, 1), NGX_DONE);
    assert_string_equal(buf, "a|f|");
}


static void
test_digests(void **state)
{
    u_char     buf[64], *p;
    ngx_str_t  s = ngx_string("a\"\\\n\001\303\251");

    assert_int_equal(ngx_crc32_long((u_char *) "123456789", 9), 0xcbf43926);
    assert_int_equal(ngx_crc32_short((u_char *) "123456789", 9), 0xcbf43926);
    assert_int_equal(ngx_murmur_hash2((u_char *) "", 0), 0);

    p = (u_char *) ngx_escape_json(buf, s.data, s.len);
    *p = '\0';
    assert_string_equal((char *) buf, "a\\\"\\\\\\n\\u0001\303\251");
    assert_int_equal(ngx_escape_json(NULL, s.data, s.len), 3 + 5);

    p = ngx_hex_dump(buf, (u_char *) "\000\377", 2);
    *p = '\0';
    assert_string_equal((char *) buf, "00ff");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_snprintf),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_rbtree),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_feed),
        cmocka_unit_test(test_digests)
    };

    return shim_run(tests);
}
