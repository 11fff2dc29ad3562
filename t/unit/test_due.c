
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The due tree against a sorted array: order, equal times, removal anywhere.
 *
 * sources: queue/ngx_smtp_due.c
 */


#include "shim.h"
#include "ngx_smtp_due.h"

#include <stdlib.h>
#include <string.h>


#define TEST_NODES  1000


typedef struct {
    ngx_rbtree_node_t   node;
    time_t              due;
    ngx_uint_t          seq;
    unsigned            in:1;
} test_node_t;


static int test_order(const void *a, const void *b);
static void test_simple(void **state);
static void test_fifo(void **state);
static void test_random(void **state);


static int
test_order(const void *a, const void *b)
{
    const test_node_t  *x, *y;

    x = *(test_node_t * const *) a;
    y = *(test_node_t * const *) b;

    if (x->due != y->due) {
        return (x->due < y->due) ? -1 : 1;
    }

    return (x->seq < y->seq) ? -1 : 1;
}


static void
test_simple(void **state)
{
    time_t              due;
    ngx_smtp_due_t      d;
    ngx_rbtree_node_t   n[4], *out[4];

    ngx_smtp_due_init(&d);

    assert_int_equal(d.count, 0);
    assert_null(ngx_smtp_due_first(&d));
    assert_null(ngx_smtp_due_pop(&d, INT64_MAX));
    assert_int_equal(ngx_smtp_due_next(&d, &due), NGX_DECLINED);
    assert_int_equal(ngx_smtp_due_pop_many(&d, INT64_MAX, out, 4), 0);

    /* beyond 32 bits, and before the epoch */

    ngx_smtp_due_insert(&d, &n[0], 5000000000LL);
    ngx_smtp_due_insert(&d, &n[1], 1700000000);
    ngx_smtp_due_insert(&d, &n[2], -5);
    ngx_smtp_due_insert(&d, &n[3], 4294967296LL);

    assert_int_equal(d.count, 4);
    assert_int_equal(ngx_smtp_due_next(&d, &due), NGX_OK);
    assert_int_equal(due, 0);
    assert_ptr_equal(ngx_smtp_due_first(&d), &n[2]);
    assert_int_equal(ngx_smtp_due_at(&n[3]), 4294967296LL);

    assert_null(ngx_smtp_due_pop(&d, -1));
    assert_ptr_equal(ngx_smtp_due_pop(&d, 0), &n[2]);
    assert_null(ngx_smtp_due_pop(&d, 1699999999));

    assert_int_equal(ngx_smtp_due_pop_many(&d, 1700000000, out, 4), 1);
    assert_ptr_equal(out[0], &n[1]);

    assert_int_equal(ngx_smtp_due_pop_many(&d, INT64_MAX, out, 1), 1);
    assert_ptr_equal(out[0], &n[3]);

    ngx_smtp_due_remove(&d, &n[0]);
    assert_int_equal(d.count, 0);
    assert_null(ngx_smtp_due_first(&d));
}


/* the order of one second is the order of arrival, also after removals */

static void
test_fifo(void **state)
{
    size_t               i, n;
    ngx_smtp_due_t       d;
    ngx_rbtree_node_t   *out[TEST_NODES];

    static test_node_t  nodes[TEST_NODES];

    ngx_smtp_due_init(&d);

    for (i = 0; i < TEST_NODES; i++) {
        ngx_smtp_due_insert(&d, &nodes[i].node, 100);
    }

    for (i = 0; i < TEST_NODES; i += 3) {
        ngx_smtp_due_remove(&d, &nodes[i].node);
    }

    n = ngx_smtp_due_pop_many(&d, 100, out, TEST_NODES);

    assert_int_equal(n, TEST_NODES - (TEST_NODES + 2) / 3);

    for (i = 0, n = 0; i < TEST_NODES; i++) {
        if (i % 3) {
            assert_ptr_equal(out[n++], &nodes[i].node);
        }
    }
}


static void
test_random(void **state)
{
    time_t          now;
    size_t          i, k, n, round;
    ngx_uint_t      seq;
    test_node_t    *want[TEST_NODES], *t;
    ngx_smtp_due_t  d;

    static test_node_t  nodes[TEST_NODES];

    srandom(1);
    ngx_smtp_due_init(&d);
    seq = 0;

    for (round = 0; round < 200; round++) {

        /* in and out at random */

        for (k = 0; k < 500; k++) {
            t = &nodes[random() % TEST_NODES];

            if (t->in) {
                ngx_smtp_due_remove(&d, &t->node);
                t->in = 0;

            } else {
                t->due = random() % 50;
                t->seq = seq++;
                t->in = 1;
                ngx_smtp_due_insert(&d, &t->node, t->due);
            }
        }

        for (i = 0, n = 0; i < TEST_NODES; i++) {
            if (nodes[i].in) {
                want[n++] = &nodes[i];
            }
        }

        assert_int_equal(d.count, n);
        qsort(want, n, sizeof(test_node_t *), test_order);

        now = random() % 60;

        for (i = 0; i < n && want[i]->due <= now; i++) {
            t = (test_node_t *) ngx_smtp_due_pop(&d, now);
            assert_ptr_equal(t, want[i]);
            t->in = 0;
        }

        assert_null(ngx_smtp_due_pop(&d, now));

        if (i < n) {
            assert_ptr_equal(ngx_smtp_due_first(&d), &want[i]->node);
            assert_int_equal(ngx_smtp_due_at(ngx_smtp_due_first(&d)),
                             want[i]->due);
        }
    }
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_simple),
        cmocka_unit_test(test_fifo),
        cmocka_unit_test(test_random),
    };

    return shim_run(tests);
}
