
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Temporary files of the proxy: what is written is read, on file systems of
 * both kinds, by short writes; a disk that fails is told and logged once; an
 * object that is closed with a thread at work calls nobody any more.
 *
 * sources: relay/ngx_smtp_temp.c core/ngx_smtp_task.c core/ngx_smtp_sys.c
 * sources: core/ngx_smtp_content.c
 */


#include "shim.h"

#include "ngx_smtp_sys.h"
#include "ngx_smtp_temp.h"

#include <stdlib.h>
#include <string.h>


#define TEST_SIZE  3000000


static char             dir[64];
static u_char          *octets;
static ngx_uint_t       nwritten, nread, no_tmpfile;
static ngx_int_t        last_rc;
static ssize_t          write_max;
static ngx_uint_t       writes_left;    /* until the disk is full */
static int              opened;
static ngx_smtp_sys_t   real;


static int
test_openat(int at, const char *name, int flags, mode_t mode)
{
    int  fd;

    if (no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }

    fd = real.openat(at, name, flags, mode);

    opened += (fd != -1);

    return fd;
}


static int
test_close(int fd)
{
    opened--;

    return real.close(fd);
}


static ssize_t
test_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    struct iovec  one;

    if (writes_left-- == 0) {
        errno = ENOSPC;
        return -1;
    }

    if (write_max == 0) {
        return real.pwritev(fd, iov, n, offset);
    }

    one = iov[0];

    if ((ssize_t) one.iov_len > write_max) {
        one.iov_len = write_max;
    }

    return real.pwritev(fd, &one, 1, offset);
}


static ssize_t
test_pread(int fd, void *buf, size_t size, off_t offset)
{
    errno = EIO;

    return -1;
}


static void
test_written(void *data, ngx_int_t rc)
{
    assert_ptr_equal(data, &dir);
    nwritten++;
    last_rc = rc;
}


static void
test_was_read(void *data, ngx_int_t rc)
{
    assert_ptr_equal(data, &dir);
    nread++;
    last_rc = rc;
}


static int
setup(void **state)
{
    size_t  i;

    real = ngx_smtp_sys;

    ngx_smtp_sys.openat = test_openat;
    ngx_smtp_sys.close = test_close;
    ngx_smtp_sys.pwritev = test_pwritev;

    strcpy(dir, "/tmp/test_temp.XXXXXX");
    assert_non_null(mkdtemp(dir));

    octets = malloc(TEST_SIZE);
    assert_non_null(octets);

    for (i = 0; i < TEST_SIZE; i++) {
        octets[i] = i * 7 + i / 251;
    }

    nwritten = 0;
    nread = 0;
    no_tmpfile = 0;
    write_max = 0;
    writes_left = 1000000;
    opened = 0;
    last_rc = NGX_DONE;

    ngx_smtp_task_init_worker();

    return 0;
}


/* nothing is left, neither names nor descriptors */

static int
teardown(void **state)
{
    ngx_smtp_sys = real;

    free(octets);

    assert_int_equal(opened, 0);
    assert_int_equal(rmdir(dir), 0);

    return 0;
}


static ngx_smtp_temp_t *
test_create(void)
{
    ngx_smtp_temp_t  *t;

    t = ngx_smtp_temp_create((u_char *) dir, shim_thread_pool, test_written,
                             test_was_read, &dir);
    assert_non_null(t);

    return t;
}


/* a content of that many octets, from that of the test at this place on */

static ngx_smtp_block_t *
test_blocks(off_t at, size_t size)
{
    ngx_smtp_content_t  c;

    ngx_memzero(&c, sizeof(ngx_smtp_content_t));

    assert_int_equal(ngx_smtp_content_append(&c, octets + at, size, &shim_log),
                     NGX_OK);

    return ngx_smtp_content_take(&c);
}


static void
test_write(ngx_smtp_temp_t *t, off_t at, size_t size, ngx_int_t rc)
{
    ngx_uint_t         n;
    ngx_smtp_block_t  *b;

    n = nwritten;
    b = test_blocks(at, size);

    assert_int_equal(ngx_smtp_temp_write(t, b), NGX_OK);
    assert_true(ngx_smtp_temp_writing(t));
    assert_int_equal(nwritten, n);

    shim_tasks_run();

    assert_int_equal(nwritten, n + 1);
    assert_int_equal(last_rc, rc);
    assert_false(ngx_smtp_temp_writing(t));

    ngx_smtp_block_free(b);
}


static void
test_read(ngx_smtp_temp_t *t, off_t at, size_t size)
{
    assert_int_equal(ngx_smtp_temp_read(t, at, size), NGX_OK);
    shim_tasks_run();

    assert_int_equal(last_rc, NGX_OK);
    assert_int_equal(t->offset, at);
    assert_int_equal(t->got, size);
    assert_memory_equal(t->buf, octets + at, size);
}


static void
test_whole(void)
{
    off_t             at;
    ngx_smtp_temp_t  *t;

    t = test_create();

    /* more blocks than one call takes, a single octet, the rest */

    test_write(t, 0, 2000000, NGX_OK);
    test_write(t, 2000000, 1, NGX_OK);
    test_write(t, 2000001, TEST_SIZE - 2000001, NGX_OK);
    assert_int_equal(t->file.size, TEST_SIZE);

    for (at = 0; at < TEST_SIZE; at += NGX_SMTP_TEMP_PIECE) {
        test_read(t, at, ngx_min(TEST_SIZE - at, NGX_SMTP_TEMP_PIECE));
    }

    test_read(t, 1999999, 3);
    assert_int_equal(opened, 1);

    ngx_smtp_temp_close(t);
    assert_int_equal(opened, 1);
    shim_tasks_run();
    assert_int_equal(opened, 0);
}


static void
test_life(void **state)
{
    test_whole();
}


static void
test_named(void **state)
{
    no_tmpfile = 1;
    test_whole();
}


static void
test_short(void **state)
{
    write_max = 1000;
    test_whole();
}


static void
test_full(void **state)
{
    ngx_uint_t        i;
    ngx_smtp_temp_t  *t;

    shim_log_reset();

    for (i = 0; i < 3; i++) {
        t = test_create();

        test_write(t, 0, 100000, NGX_OK);

        writes_left = 1;
        write_max = 10;
        test_write(t, 100000, 1000, NGX_ERROR);
        assert_true(t->broken);

        /* what was there before is */

        writes_left = 1000000;
        write_max = 0;
        assert_int_equal(t->file.size, 100000);
        test_read(t, 65536, 100000 - 65536);

        ngx_smtp_temp_close(t);
        shim_tasks_run();
    }

    assert_int_equal(shim_log_count("could not be written"), 1);
    shim_log_reset();
}


static void
test_no_folder(void **state)
{
    char              path[80];
    ngx_smtp_temp_t  *t;

    t = test_create();
    snprintf(path, sizeof(path), "%s/none", dir);
    t->path = path;

    test_write(t, 0, 1000, NGX_ERROR);
    assert_true(t->broken);
    assert_int_equal(opened, 0);

    ngx_smtp_temp_close(t);
    shim_log_reset();
}


static void
test_unreadable(void **state)
{
    ngx_smtp_temp_t  *t;

    t = test_create();
    test_write(t, 0, 1000, NGX_OK);

    ngx_smtp_sys.pread = test_pread;

    assert_int_equal(ngx_smtp_temp_read(t, 0, 1000), NGX_OK);
    shim_tasks_run();
    assert_int_equal(last_rc, NGX_ERROR);
    assert_int_equal(t->got, 0);
    assert_int_equal(t->read_err, EIO);

    ngx_smtp_sys.pread = real.pread;

    /* behind its end */

    assert_int_equal(ngx_smtp_temp_read(t, 500, 1000), NGX_OK);
    shim_tasks_run();
    assert_int_equal(last_rc, NGX_ERROR);

    ngx_smtp_temp_close(t);
    shim_tasks_run();
    shim_log_reset();
}


/* closed while threads are at work, before and after they are done */

static void
test_close_early(void **state)
{
    ngx_uint_t         i;
    ngx_smtp_temp_t   *t;
    ngx_smtp_block_t  *b;

    b = test_blocks(0, 100000);

    for (i = 0; i < 4; i++) {
        t = test_create();
        test_write(t, 0, 1000, NGX_OK);

        nwritten = 0;
        nread = 0;

        assert_int_equal(ngx_smtp_temp_write(t, b), NGX_OK);

        if (i >= 2) {
            assert_int_equal(ngx_smtp_temp_read(t, 0, 1000), NGX_OK);
        }

        if (i & 1) {
            shim_tasks_work();
        }

        ngx_smtp_temp_close(t);

        while (shim_tasks_run()) { /* void */ }

        assert_int_equal(nwritten + nread, 0);
        assert_int_equal(opened, 0);
    }

    ngx_smtp_block_free(b);

    /* nothing was ever written */

    ngx_smtp_temp_close(test_create());
}


static void
test_refused(void **state)
{
    ngx_smtp_temp_t   *t;
    ngx_smtp_block_t  *b;

    b = test_blocks(0, 1000);
    t = test_create();

    test_write(t, 0, 1000, NGX_OK);

    shim_tasks_refuse(1);
    assert_int_equal(ngx_smtp_temp_read(t, 0, 10), NGX_ERROR);

    shim_tasks_refuse(1);
    assert_int_equal(ngx_smtp_temp_write(t, b), NGX_ERROR);
    assert_true(t->broken);

    shim_tasks_refuse(1);
    ngx_smtp_temp_close(t);
    assert_int_equal(opened, 0);

    ngx_smtp_block_free(b);
    shim_log_reset();
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_short, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_early, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
    };

    return shim_run(tests);
}
