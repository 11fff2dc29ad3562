
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Cells, and the pages they are in: nothing overlaps, what was freed is used
 * again and zeroed, content moves along when memory grows or shrinks across
 * the size from which on it is pages.  With AddressSanitizer, which the C
 * tests have, all of it is malloc'ed; UNIT_SAN= tests the pages.
 *
 * sources: spool/ngx_smtp_cells.c core/ngx_smtp_pages.c
 */


#include "shim.h"

#include "ngx_smtp_cells.h"
#include "ngx_smtp_pages.h"

#include <string.h>


#define TEST_CELLS  4000
#define TEST_SIZE   176     /* of all: more than two blocks */


static void test_cells(void **state);
static void test_pages(void **state);
static ngx_uint_t test_is(u_char *p, ngx_uint_t c, size_t size);


static u_char  *cell[TEST_CELLS];


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_cells),
        cmocka_unit_test(test_pages),
    };

    return shim_run(tests);
}


static void
test_cells(void **state)
{
    u_char            *p;
    ngx_uint_t         i;
    ngx_smtp_cells_t   cells;

    ngx_memzero(&cells, sizeof(ngx_smtp_cells_t));
    cells.size = TEST_SIZE;

    for (i = 0; i < TEST_CELLS; i++) {
        cell[i] = ngx_smtp_cell_alloc(&cells, &shim_log);

        assert_non_null(cell[i]);
        assert_int_equal((uintptr_t) cell[i] % NGX_ALIGNMENT, 0);
        assert_true(test_is(cell[i], 0, TEST_SIZE));

        memset(cell[i], 1 + i % 255, TEST_SIZE);
    }

    for (i = 0; i < TEST_CELLS; i++) {
        assert_true(test_is(cell[i], 1 + i % 255, TEST_SIZE));
    }

    for (i = 0; i < TEST_CELLS; i += 2) {
        ngx_smtp_cell_free(&cells, cell[i]);
    }

    for (i = 0; i < TEST_CELLS; i += 2) {
        p = ngx_smtp_cell_alloc(&cells, &shim_log);

        /* the last one that was freed */

        assert_ptr_equal(p, cell[TEST_CELLS - 2 - i]);
        assert_true(test_is(p, 0, TEST_SIZE));
    }

    for (i = 1; i < TEST_CELLS; i += 2) {
        assert_true(test_is(cell[i], 1 + i % 255, TEST_SIZE));
    }

    ngx_smtp_cells_free(&cells);
}


static void
test_pages(void **state)
{
    size_t       known, same;
    u_char      *p;
    ngx_uint_t   i;

    static const size_t  sizes[] = {
        1, 65519, 65520, 65521, 262144, 5000000, 262144, 100, 70000, 65519
    };

    p = NULL;
    known = 0;

    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        p = ngx_smtp_pages_realloc(p, sizes[i]);

        assert_non_null(p);
        assert_int_equal((uintptr_t) p % 16, 0);

        same = ngx_min(known, sizes[i]);
        assert_true(test_is(p, i, same));

        memset(p, i + 1, sizes[i]);
        known = sizes[i];
    }

    ngx_smtp_pages_free(p);
    ngx_smtp_pages_free(NULL);
}


static ngx_uint_t
test_is(u_char *p, ngx_uint_t c, size_t size)
{
    size_t  i;

    for (i = 0; i < size; i++) {
        if (p[i] != c) {
            return 0;
        }
    }

    return 1;
}
