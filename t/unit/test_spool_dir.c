
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The spool directory: several threads that put something into quarantine at
 * the same time, and a folder of it that is a file system of its own.
 *
 * sources: core/ngx_smtp_sys.c core/ngx_smtp_crc32c.c
 * sources: core/ngx_smtp_pages.c
 * sources: spool/ngx_smtp_record.c spool/ngx_smtp_event.c
 * sources: spool/ngx_smtp_spool_dir.c spool/ngx_smtp_segment.c
 * sources: spool/ngx_smtp_segment_log.c spool/ngx_smtp_spool_check.c
 * sources: spool/ngx_smtp_seal.c spool/ngx_smtp_body.c
 * sources: spool/ngx_smtp_window.c spool/ngx_smtp_recovery.c
 * sources: spool/ngx_smtp_recovery_log.c spool/ngx_smtp_recovery_scan.c
 * sources: spool/ngx_smtp_recovery_skip.c spool/ngx_smtp_errors.c
 * sources: spool/ngx_smtp_rewrite.c spool/ngx_smtp_rewrite_log.c
 * sources: t/unit/spool.c
 */


#include "spool.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define TEST_PART   100


static ssize_t test_pwritev(int fd, const struct iovec *iov, int n,
    off_t offset);
static int test_fstat(int fd, struct stat *st);
static void test_copied(const char *name, u_char c);


static ngx_smtp_spool_t  spool;
static const char       *path;
static ngx_smtp_sys_t    test_real;
static int               test_fd;
static ngx_uint_t        test_nested;
static const char       *test_mounted;


static int
test_setup(void **state)
{
    test_real = ngx_smtp_sys;
    path = test_spool_make(&spool);

    return 0;
}


static int
test_teardown(void **state)
{
    ngx_smtp_sys = test_real;
    test_spool_remove(&spool);

    return 0;
}


/* while the first copy is written another thread makes one of the same file */

static ssize_t
test_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    ngx_smtp_fault_t  fault;

    if (test_nested++ == 0) {
        assert_int_equal(ngx_smtp_spool_quarantine(&spool, test_fd, TEST_PART,
                                                   2 * TEST_PART, "two",
                                                   &fault), NGX_OK);
    }

    return test_real.pwritev(fd, iov, n, offset);
}


static void
test_copied(const char *name, u_char c)
{
    char    sub[64];
    size_t  i, size;
    u_char  *p;

    snprintf(sub, sizeof(sub), "quarantine/%s", name);

    p = test_file_read(sub, &size);
    assert_int_equal(size, TEST_PART);

    for (i = 0; i < size; i++) {
        assert_int_equal(p[i], c);
    }

    free(p);
}


static void
test_quarantine(void **state)
{
    char              name[128];
    u_char            data[2 * TEST_PART];
    ngx_smtp_fault_t  fault;

    memset(data, 'a', TEST_PART);
    memset(data + TEST_PART, 'b', TEST_PART);
    test_file_write("file", data, sizeof(data));

    snprintf(name, sizeof(name), "%s/file", path);
    test_fd = open(name, O_RDONLY);
    assert_true(test_fd != -1);

    test_nested = 0;
    ngx_smtp_sys.pwritev = test_pwritev;

    assert_int_equal(ngx_smtp_spool_quarantine(&spool, test_fd, 0, TEST_PART,
                                               "one", &fault), NGX_OK);
    close(test_fd);

    assert_int_equal(test_nested, 2);

    test_copied("one", 'a');
    test_copied("two", 'b');

    assert_int_equal(test_spool_files("quarantine", ""), 2);
}


static int
test_fstat(int fd, struct stat *st)
{
    char     link[32], name[256];
    ssize_t  n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);

    n = readlink(link, name, sizeof(name) - 1);
    assert_true(n > 0);
    name[n] = '\0';

    if (test_real.fstat(fd, st) == -1) {
        return -1;
    }

    if (strcmp(strrchr(name, '/'), test_mounted) == 0) {
        st->st_dev++;
    }

    return 0;
}


static void
test_device(void **state)
{
    char       sub[128];
    u_char     err[NGX_MAX_CONF_ERRSTR];
    ngx_str_t  dir;

    snprintf(sub, sizeof(sub), "%s/new", path);
    dir = shim_str(sub);

    ngx_smtp_sys.fstat = test_fstat;

    /* copies are made there, nothing is moved to the spool */

    test_mounted = "/quarantine";
    assert_int_equal(ngx_smtp_store_check(&dir, (uid_t) -1, (gid_t) -1, err),
                     NGX_OK);

    test_mounted = "/tmp";
    assert_int_equal(ngx_smtp_store_check(&dir, (uid_t) -1, (gid_t) -1, err),
                     NGX_ERROR);
    assert_non_null(strstr((char *) err, "/new/tmp\" is on a file system of "
                                         "its own"));
}


int
main(void)
{
#define test(name)                                                            \
    cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

    const struct CMUnitTest  tests[] = {
        test(test_quarantine),
        test(test_device),
    };

    return shim_run(tests);
}
