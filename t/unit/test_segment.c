
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Operations on a segment's files as single calls: what they leave on disk,
 * what they answer when something is in the way; and the check of a spool
 * directory at configuration time.
 *
 * sources: core/ngx_smtp_sys.c core/ngx_smtp_crc32c.c
 * sources: core/ngx_smtp_pages.c
 * sources: spool/ngx_smtp_record.c spool/ngx_smtp_event.c
 * sources: spool/ngx_smtp_spool_dir.c spool/ngx_smtp_segment.c
 * sources: spool/ngx_smtp_segment_log.c
 * sources: spool/ngx_smtp_seal.c spool/ngx_smtp_body.c
 * sources: spool/ngx_smtp_rewrite.c
 * sources: spool/ngx_smtp_rewrite_log.c
 * sources: spool/ngx_smtp_window.c spool/ngx_smtp_recovery.c
 * sources: spool/ngx_smtp_recovery_log.c spool/ngx_smtp_recovery_scan.c
 * sources: spool/ngx_smtp_spool_check.c t/unit/spool.c
 * sources: spool/ngx_smtp_errors.c
 * sources: spool/ngx_smtp_recovery_skip.c
 */


#include "spool.h"
#include "ngx_smtp_crc32c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>


static int test_no_space(int fd, int mode, off_t offset, off_t len);
static int test_unsupported(int fd, int mode, off_t offset, off_t len);
static int test_flock_lies(int fd, int operation);
static int test_flock_none(int fd, int operation);
static int test_fstatfs_nfs(int fd, struct statfs *st);
static ngx_int_t test_check(const char *path, const char *part);


static ngx_smtp_spool_t   spool;
static ngx_smtp_sys_t     test_real;
static const char        *path;
static off_t              test_space;       /* of test_no_space() */


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
    test_fault_clear();
    ngx_smtp_sys = test_real;
    test_spool_remove(&spool);
    return 0;
}


static int
test_no_space(int fd, int mode, off_t offset, off_t len)
{
    if (offset + len <= test_space) {
        return 0;
    }

    errno = ENOSPC;

    return -1;
}


static int
test_unsupported(int fd, int mode, off_t offset, off_t len)
{
    errno = EOPNOTSUPP;

    return -1;
}


static void
test_create(void **state)
{
    char                       name[NGX_SMTP_FILE_NAME];
    struct stat                st;
    ngx_smtp_segment_file_t    f, other;

    assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);
    assert_int_equal(test_spool_files("", ".data"), 1);
    assert_int_equal(test_spool_files("", ".1.log"), 1);
    assert_int_equal(test_spool_files("tmp", ""), 0);
    assert_int_equal(f.data_end, NGX_SMTP_FILE_HEADER);
    assert_int_equal(f.log_end, NGX_SMTP_FILE_HEADER);

    ngx_smtp_data_name(name, &f.header.id);
    assert_int_equal(fstatat(spool.dir, name, &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(fcntl(f.data, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fcntl(f.log, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);

    /* the same id again: refused, the first one is not touched */

    assert_int_equal(test_segment_create(&spool, &other, 1, 0), NGX_ERROR);
    assert_int_equal(other.fault.err, EEXIST);
    assert_int_equal(other.data, -1);
    assert_int_equal(test_spool_files("", ".1.log"), 1);

    /* somebody has it; then nobody; then it is gone */

    assert_int_equal(ngx_smtp_segment_lock(&spool, &other, &f.header.id),
                     NGX_AGAIN);
    ngx_smtp_segment_close(&spool, &f);
    assert_int_equal(ngx_smtp_segment_lock(&spool, &other, &f.header.id),
                     NGX_OK);
    assert_memory_equal(other.header.key, f.header.key, NGX_SMTP_KEY_SIZE);
    ngx_smtp_segment_close(NULL, &other);

    unlinkat(spool.dir, name, 0);
    assert_int_equal(ngx_smtp_segment_lock(&spool, &other, &f.header.id),
                     NGX_AGAIN);
    assert_int_equal(other.data, -1);
}


static int  test_swap_times;
static char test_swap_name[NGX_SMTP_FILE_NAME];


/* between open and lock the file under the name becomes another one */

static int
test_flock_swap(int fd, int operation)
{
    int     copy;
    u_char  buf[NGX_SMTP_FILE_HEADER];

    if (test_swap_times) {
        test_swap_times--;
        assert_int_equal(pread(fd, buf, sizeof(buf), 0), sizeof(buf));
        unlinkat(spool.dir, test_swap_name, 0);
        copy = openat(spool.dir, test_swap_name, O_CREAT|O_RDWR, 0600);
        assert_int_equal(write(copy, buf, sizeof(buf)), sizeof(buf));
        close(copy);
    }

    return test_real.flock(fd, operation);
}


static void
test_lock_race(void **state)
{
    struct stat                st, named;
    ngx_smtp_segment_id_t      id;
    ngx_smtp_segment_file_t    f;

    assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);
    id = f.header.id;
    ngx_smtp_data_name(test_swap_name, &id);
    ngx_smtp_segment_close(NULL, &f);

    ngx_smtp_sys.flock = test_flock_swap;

    test_swap_times = 2;
    assert_int_equal(ngx_smtp_segment_lock(&spool, &f, &id), NGX_OK);

    /* what is locked is what has the name */

    assert_int_equal(fstat(f.data, &st), 0);
    assert_int_equal(fstatat(spool.dir, test_swap_name, &named, 0), 0);
    assert_true(st.st_ino == named.st_ino);
    ngx_smtp_segment_close(NULL, &f);

    /* not for ever */

    test_swap_times = 1000;
    assert_int_equal(ngx_smtp_segment_lock(&spool, &f, &id), NGX_AGAIN);
    assert_true(test_swap_times > 990);
}


static void
test_append_many(void **state)
{
    off_t                      offset, more;
    ngx_int_t                  rc;
    ngx_uint_t                 i;
    ngx_smtp_recovery_t       *r;
    ngx_smtp_segment_file_t    f;

    /* more elements than one call may have */

    assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);
    assert_int_equal(test_append(&f, 1, 700, &offset), NGX_OK);
    assert_int_equal(offset, NGX_SMTP_FILE_HEADER + NGX_SMTP_BATCH_HEADER);

    /* the next one, a few bytes at a time */

    more = f.data_end;
    test_fault_set(test_fault_short, 1, 0);
    assert_int_equal(test_append(&f, 701, 3, &offset), NGX_OK);
    assert_true(test_fault.hits > 10);
    test_fault_clear();
    assert_int_equal(offset, more + NGX_SMTP_BATCH_HEADER);
    ngx_smtp_segment_close(&spool, &f);

    r = test_recover(&spool, &f, &f.header.id, &rc);
    assert_int_equal(rc, NGX_OK);
    assert_int_equal(r->nlive, 703);

    for (i = 1; i <= 703; i++) {
        assert_true(test_intact(&spool, &f, test_live(r, i)));
    }

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);
}


static void
test_take_back(void **state)
{
    struct stat                st;
    ngx_smtp_segment_file_t    f;

    assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);
    assert_int_equal(test_append(&f, 1, 1, NULL), NGX_OK);

    /* no space for it, half of it written: cut, and the segment goes on */

    test_fault_set(test_fault_errno, 1, ENOSPC);
    test_fault.half = 1;
    assert_int_equal(test_append(&f, 2, 1, NULL), NGX_BUSY);
    assert_string_equal(test_fault.name, "pwritev");
    test_fault_clear();

    assert_int_equal(fstat(f.data, &st), 0);
    assert_int_equal(st.st_size, f.data_end);
    assert_int_equal(f.full, 0);
    assert_int_equal(f.fault.err, ENOSPC);
    assert_int_equal(test_append(&f, 3, 1, NULL), NGX_OK);

    /* the sync fails: never retried, no batch any more */

    test_fault_set(test_fault_errno, 2, EIO);
    assert_int_equal(test_append(&f, 4, 1, NULL), NGX_ERROR);
    assert_string_equal(test_fault.name, "fdatasync");
    test_fault_clear();
    assert_int_equal(fstat(f.data, &st), 0);
    assert_int_equal(st.st_size, f.data_end);
    assert_int_equal(f.full, 1);
    assert_int_equal(f.data_broken, 0);
    assert_int_equal(f.fault.err, EIO);
    assert_int_equal(test_append(&f, 5, 1, NULL), NGX_ERROR);
    assert_int_equal(f.fault.err, 0);
    ngx_smtp_segment_close(&spool, &f);

    /* nothing can be written at all: that is told */

    assert_int_equal(test_segment_create(&spool, &f, 2, 0), NGX_OK);
    test_fault_set(test_fault_all, 2, EIO);
    f.log_space = 1000000;
    assert_int_equal(test_append(&f, 1, 1, NULL), NGX_ERROR);
    test_fault_clear();
    assert_int_equal(f.data_broken, 1);
    assert_int_equal(f.log_broken, 1);
    ngx_smtp_segment_close(&spool, &f);
}


/* zeros ahead: with small batches that come in numbers; nothing needs them */

static void
test_zeros(void **state)
{
    off_t                     end;
    ngx_int_t                 rc;
    ngx_uint_t                i, n;
    struct stat               st;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);

    for (n = 1; f.data_zero <= f.data_end; n++) {
        assert_true(n < 100);
        assert_int_equal(test_append(&f, n, 1, NULL), NGX_OK);
    }

    assert_true(n > 10);
    assert_int_equal(fstat(f.data, &st), 0);
    assert_int_equal(st.st_size, f.data_zero);
    assert_true(st.st_size > f.data_end + 500000);

    /* written over, the file does not grow; what is taken back ends them */

    end = st.st_size;
    assert_int_equal(test_append(&f, n++, 1, NULL), NGX_OK);
    assert_int_equal(fstat(f.data, &st), 0);
    assert_int_equal(st.st_size, end);

    test_fault_set(test_fault_errno, 1, ENOSPC);
    test_fault.half = 1;
    assert_int_equal(test_append(&f, n, 1, NULL), NGX_BUSY);
    test_fault_clear();
    assert_int_equal(fstat(f.data, &st), 0);
    assert_int_equal(st.st_size, f.data_end);

    /* no space for zeros: the batch counts, and they are not tried again */

    test_fault_set(test_fault_errno, 2, ENOSPC);
    test_fault.half = 1;
    assert_int_equal(test_append(&f, n++, 1, NULL), NGX_OK);
    assert_string_equal(test_fault.name, "pwritev");
    assert_int_equal(test_fault.hits, 1);
    test_fault_clear();
    assert_int_equal(fstat(f.data, &st), 0);
    assert_int_equal(st.st_size, f.data_end);
    assert_int_equal(test_append(&f, n++, 1, NULL), NGX_OK);
    assert_int_equal(fstat(f.data, &st), 0);
    assert_int_equal(st.st_size, f.data_end);

    /* left behind by a killed process, they are no damage */

    f.no_zeros = 0;
    assert_int_equal(test_append(&f, n, 1, NULL), NGX_OK);
    assert_true(f.data_zero > f.data_end);
    ngx_smtp_segment_close(&spool, &f);

    r = test_recover(&spool, &f, &f.header.id, &rc);
    assert_int_equal(rc, NGX_OK);
    assert_int_equal(r->nlive, n);
    assert_int_equal(r->notes.torn + r->notes.damaged + r->notes.quarantined,
                     0);

    for (i = 1; i <= n; i++) {
        assert_true(test_intact(&spool, &f, test_live(r, i)));
    }

    assert_int_equal(fstat(f.data, &st), 0);
    assert_int_equal(st.st_size, f.data_end);

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);
}


static void
test_reserve(void **state)
{
    off_t                      space;
    ngx_int_t                  rc;
    ngx_smtp_segment_file_t    f;

    assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);
    assert_int_equal(f.owed, NGX_SMTP_LOG_MARKS);
    assert_true(f.log_space >= f.log_end + f.owed);

    /* a chunk is taken, its exact size when there is no more */

    ngx_smtp_sys.fallocate = test_no_space;
    test_space = f.log_space + 5000;
    space = f.log_space;

    assert_int_equal(ngx_smtp_segment_reserve(&f, space - f.log_end - f.owed
                                              + 5000),
                     NGX_OK);
    assert_int_equal(f.log_space, space + 5000);
    assert_int_equal(f.log_end + f.owed, f.log_space);

    rc = ngx_smtp_segment_reserve(&f, 1);
    assert_int_equal(rc, NGX_BUSY);
    assert_int_equal(f.log_end + f.owed, f.log_space);
    assert_int_equal(f.fault.err, ENOSPC);

    /* the disk is full: deferrals wait, results do not */

    assert_int_equal(test_log(&f, NGX_SMTP_LOG_DEFERRED, 1, 0, 1, 0),
                     NGX_BUSY);
    assert_int_equal(f.log_end, NGX_SMTP_FILE_HEADER);
    assert_int_equal(f.log_broken, 0);
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_RESULT, 1, 0, 1, 0), NGX_OK);
    assert_true(f.log_end > NGX_SMTP_FILE_HEADER);

    /* repaid, there is room for others */

    f.owed = NGX_SMTP_LOG_MARKS;
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_DEFERRED, 1, 0, 1, 0), NGX_OK);
    assert_int_equal(test_append(&f, 1, 1, NULL), NGX_OK);
    ngx_smtp_segment_close(&spool, &f);

    /* a file system that cannot */

    ngx_smtp_sys.fallocate = test_unsupported;
    assert_int_equal(test_segment_create(&spool, &f, 2, 0), NGX_OK);
    assert_int_equal(f.no_reserve, 1);
    assert_int_equal(test_append(&f, 1, 1, NULL), NGX_OK);
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_DEFERRED, 1, 0, 1, 0), NGX_OK);
    ngx_smtp_segment_close(&spool, &f);
}


static void
test_mtime(void **state)
{
    ngx_int_t                  rc;
    struct timespec            before, after;
    ngx_smtp_fault_t           fault;
    ngx_smtp_recovery_t       *r;
    ngx_smtp_spool_list_t      list;
    ngx_smtp_segment_file_t    f, g;

    assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);
    assert_int_equal(test_append(&f, 5, 1, NULL), NGX_OK);
    assert_int_equal(test_segment_create(&spool, &g, 2, 0), NGX_OK);
    assert_int_equal(test_append(&g, 3, 1, NULL), NGX_OK);

    ngx_smtp_spool_released(&spool, &before);
    assert_int_equal(before.tv_sec, 0);

    ngx_smtp_segment_close(&spool, &f);
    ngx_smtp_spool_released(&spool, &before);
    assert_true(before.tv_sec > TEST_NOW);

    usleep(20000);
    ngx_smtp_segment_close(&spool, &g);
    ngx_smtp_spool_released(&spool, &after);
    assert_true(after.tv_sec != before.tv_sec
                || after.tv_nsec != before.tv_nsec);

    /* what is due first is listed first */

    r = test_recover(&spool, &f, &f.header.id, &rc);
    assert_int_equal(test_seal(&f, r, TEST_NOW), NGX_OK);
    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);

    r = test_recover(&spool, &g, &g.header.id, &rc);
    assert_int_equal(test_seal(&g, r, TEST_NOW), NGX_OK);
    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &g);

    test_file_write("garbage", (u_char *) "x", 1);
    test_file_write("01jd8k3v9q2m7x4t5b6c.1.LOG", (u_char *) "x", 1);
    test_file_write("01jd8k3v9q2m7x4t5b6c.01.log", (u_char *) "x", 1);
    symlinkat("/etc/passwd", spool.dir, "01jd8k3v9q2m7x4t5b6c.data");

    assert_int_equal(ngx_smtp_spool_list(&spool, &list, &fault), NGX_OK);
    assert_int_equal(list.nsegments, 2);
    assert_int_equal(list.norphans, 0);
    assert_int_equal(list.strange, 4);
    assert_memory_equal(&list.segments[0].id, &g.header.id,
                        sizeof(g.header.id));
    assert_int_equal(list.segments[0].mtime.tv_sec, TEST_NOW + 3);
    assert_int_equal(list.segments[1].mtime.tv_sec, TEST_NOW + 5);
    ngx_smtp_spool_list_free(&list);

    /* settled, for events changed it */

    assert_int_equal(ngx_smtp_segment_lock(&spool, &f, &f.header.id),
                     NGX_OK);
    assert_int_equal(ngx_smtp_segment_settle(&f, TEST_NOW + 1), NGX_OK);
    ngx_smtp_segment_close(&spool, &f);
    assert_int_equal(ngx_smtp_spool_list(&spool, &list, &fault), NGX_OK);
    assert_memory_equal(&list.segments[0].id, &f.header.id,
                        sizeof(f.header.id));
    ngx_smtp_spool_list_free(&list);
}


static void
test_orphans(void **state)
{
    char                       name[NGX_SMTP_FILE_NAME];
    u_char                    *log;
    size_t                     size;
    ngx_smtp_fault_t           fault;
    ngx_smtp_orphan_t          orphan;
    ngx_smtp_spool_list_t      list;
    ngx_smtp_segment_file_t    f;

    assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);
    orphan.id = f.header.id;
    orphan.generation = 1;
    ngx_smtp_log_name(name, &f.header.id, 1);

    /* not one */

    assert_int_equal(ngx_smtp_spool_orphan(&spool, &orphan, &fault), NGX_OK);
    assert_int_equal(test_spool_files("", ".log"), 1);

    /* one that is the end of a removal: the log as it was before it went */

    log = test_file_read(name, &size);
    free(log);
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_DONE, 1, 0, 0, 0), NGX_OK);
    test_fault_set(test_fault_none, 0, 0);
    test_fault.what = test_fault_errno;
    test_fault.at = 5;      /* pwritev, fdatasync, unlinkat, fsync, unlinkat */
    test_fault.err = EIO;
    assert_int_equal(ngx_smtp_segment_remove(&spool, &f, NULL, 0, TEST_NOW),
                     NGX_ERROR);
    assert_string_equal(test_fault.name, "unlinkat");
    test_fault_clear();
    assert_int_equal(test_spool_files("", ".data"), 0);
    assert_int_equal(test_spool_files("", ".log"), 1);
    ngx_smtp_segment_close(&spool, &f);

    log = test_file_read(name, &size);

    assert_int_equal(ngx_smtp_spool_list(&spool, &list, &fault), NGX_OK);
    assert_int_equal(list.nsegments, 0);
    assert_int_equal(list.norphans, 1);
    assert_int_equal(list.orphans[0].generation, 1);

    /* one that does not end so is left */

    test_file_write(name, log, size - NGX_SMTP_LOG_MARK);
    assert_int_equal(ngx_smtp_spool_orphan(&spool, &list.orphans[0], &fault),
                     NGX_DECLINED);
    test_file_write(name, log, size - 1);
    assert_int_equal(ngx_smtp_spool_orphan(&spool, &list.orphans[0], &fault),
                     NGX_DECLINED);
    test_file_write(name, log, 10);
    assert_int_equal(ngx_smtp_spool_orphan(&spool, &list.orphans[0], &fault),
                     NGX_DECLINED);
    assert_int_equal(test_spool_files("", ".log"), 1);

    test_file_write(name, log, size);
    assert_int_equal(ngx_smtp_spool_orphan(&spool, &list.orphans[0], &fault),
                     NGX_OK);
    assert_int_equal(test_spool_files("", ".log"), 0);

    /* somebody did it before */

    assert_int_equal(ngx_smtp_spool_orphan(&spool, &list.orphans[0], &fault),
                     NGX_OK);

    ngx_smtp_spool_list_free(&list);
    free(log);
}


static void
test_bodies(void **state)
{
    u_char                     buf[3000];
    ngx_uint_t                 i;
    struct iovec               iov[2];
    ngx_smtp_fault_t           fault;
    ngx_smtp_body_file_t       b, back;
    ngx_smtp_segment_file_t    f;

    assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);

    for (i = 0; i < 2; i++) {

        /* with and without O_TMPFILE */

        assert_true(i || spool.tmpfile);
        spool.tmpfile = i == 0;

        assert_int_equal(ngx_smtp_body_create(&spool, &b, "12-1"), NGX_OK);
        assert_int_equal(test_spool_files("tmp", ""), i);

        memset(buf, 'a', sizeof(buf));
        iov[0].iov_base = buf;
        iov[0].iov_len = 1000;
        iov[1].iov_base = buf + 1000;
        iov[1].iov_len = 500;
        assert_int_equal(ngx_smtp_body_write(&b, iov, 2), NGX_OK);
        iov[0].iov_base = buf + 1500;
        iov[0].iov_len = 1500;
        assert_int_equal(ngx_smtp_body_write(&b, iov, 1), NGX_OK);
        assert_int_equal(b.size, 3000);
        assert_int_equal(b.crc, ngx_smtp_crc32c(0, buf, 3000));
        assert_int_equal(test_spool_files("", ".body"), 0);

        assert_int_equal(ngx_smtp_body_commit(&spool, &b, &f.header.id, 7),
                         NGX_OK);
        assert_int_equal(b.fd, -1);
        assert_int_equal(test_spool_files("", "-7.body"), 1);
        assert_int_equal(test_spool_files("tmp", ""), 0);

        assert_int_equal(ngx_smtp_body_open(&spool, &back, &f.header.id, 7),
                         NGX_OK);
        assert_int_equal(back.size, 3000);
        assert_int_equal(ngx_smtp_body_read(&back, buf, 2999, 1, &fault),
                         NGX_OK);
        assert_int_equal(ngx_smtp_body_read(&back, buf, 3000, 1, &fault),
                         NGX_ERROR);
        assert_int_equal(fault.err, 0);
        ngx_smtp_body_close(&back);

        /* a body of that name is there: nothing is overwritten or left */

        assert_int_equal(ngx_smtp_body_create(&spool, &b, "12-2"), NGX_OK);
        assert_int_equal(ngx_smtp_body_commit(&spool, &b, &f.header.id, 7),
                         NGX_ERROR);
        assert_int_equal(b.fault.err, EEXIST);
        assert_int_equal(test_spool_files("tmp", ""), 0);

        assert_int_equal(ngx_smtp_body_create(&spool, &b, "12-3"), NGX_OK);
        ngx_smtp_body_abort(&spool, &b);
        assert_int_equal(test_spool_files("tmp", ""), 0);

        assert_int_equal(ngx_smtp_body_unlink(&spool, &f.header.id, 7,
                                              &fault),
                         NGX_OK);
        assert_int_equal(ngx_smtp_body_unlink(&spool, &f.header.id, 7,
                                              &fault),
                         NGX_OK);
        assert_int_equal(ngx_smtp_body_open(&spool, &back, &f.header.id, 7),
                         NGX_ERROR);
        assert_int_equal(back.fault.err, ENOENT);
    }

    ngx_smtp_segment_close(&spool, &f);
}


/* in tmp/: what is locked or young stays */

static void
test_clean(void **state)
{
    time_t                     now;
    ngx_smtp_body_file_t       b;
    ngx_smtp_segment_file_t    f;

    now = time(NULL);
    spool.tmpfile = 0;

    assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);
    assert_int_equal(test_spool_files("tmp", ""), 0);

    assert_int_equal(ngx_smtp_body_create(&spool, &b, "1-1"), NGX_OK);
    test_file_write("tmp/dead", (u_char *) "x", 1);
    assert_int_equal(test_spool_files("tmp", ""), 2);

    ngx_smtp_spool_clean(&spool, now);
    assert_int_equal(test_spool_files("tmp", ""), 2);

    ngx_smtp_spool_clean(&spool, now + 100);
    assert_int_equal(test_spool_files("tmp", ""), 1);
    assert_int_equal(test_spool_files("tmp", "1-1"), 1);

    close(b.fd);
    ngx_smtp_spool_clean(&spool, now + 100);
    assert_int_equal(test_spool_files("tmp", ""), 0);

    /* a body without its segment; one with data, one with a log */

    test_file_write("01jd8k3v9q2m7x4t5b6c-1.body", (u_char *) "x", 1);
    test_file_write("01jd8k3v9q2m7x4t5b6d-1.body", (u_char *) "x", 1);
    test_file_write("01jd8k3v9q2m7x4t5b6d.1.log", (u_char *) "x", 1);
    test_file_write("01jd8k3v9q2m7x4t5b6e-1.body", (u_char *) "x", 1);
    test_file_write("01jd8k3v9q2m7x4t5b6e.data", (u_char *) "x", 1);
    ngx_smtp_spool_clean(&spool, now);
    assert_int_equal(test_spool_files("", "6c-1.body"), 0);
    assert_int_equal(test_spool_files("", ".body"), 2);

    ngx_smtp_segment_close(&spool, &f);
}


static void
test_quarantine(void **state)
{
    u_char                    *copy;
    size_t                     size;
    ngx_smtp_fault_t           fault;
    ngx_smtp_segment_file_t    f;

    assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);

    test_fault_set(test_fault_short, 1, 0);
    assert_int_equal(ngx_smtp_spool_quarantine(&spool, f.data, 10, 60, "q",
                                               &fault),
                     NGX_OK);
    test_fault_clear();

    copy = test_file_read("quarantine/q", &size);
    assert_int_equal(size, 50);
    free(copy);

    /* the same again is not written again; another size is */

    test_fault_set(test_fault_all, 1, EIO);
    test_fault.at = 2;
    assert_int_equal(ngx_smtp_spool_quarantine(&spool, f.data, 10, 60, "q",
                                               &fault),
                     NGX_OK);
    assert_int_equal(ngx_smtp_spool_quarantine(&spool, f.data, 10, 61, "q",
                                               &fault),
                     NGX_ERROR);
    test_fault_clear();

    copy = test_file_read("quarantine/q", &size);
    assert_int_equal(size, 50);
    free(copy);

    ngx_smtp_segment_close(&spool, &f);
}


/* the check */

static int
test_flock_lies(int fd, int operation)
{
    return 0;
}


static int
test_flock_none(int fd, int operation)
{
    errno = ENOLCK;

    return -1;
}


static int
test_fstatfs_nfs(int fd, struct statfs *st)
{
    memset(st, 0, sizeof(*st));
    st->f_type = 0x6969;

    return 0;
}


static ngx_int_t
test_check(const char *name, const char *part)
{
    u_char     err[NGX_MAX_CONF_ERRSTR];
    ngx_int_t  rc;
    ngx_str_t  dir;

    dir = shim_str(name);
    err[0] = '\0';

    rc = ngx_smtp_store_check(&dir, (uid_t) -1, (gid_t) -1, err);

    if (part == NULL) {
        assert_int_equal(rc, NGX_OK);
        assert_string_equal((char *) err, "");

    } else {
        assert_int_equal(rc, NGX_ERROR);

        if (strstr((char *) err, part) == NULL) {
            assert_string_equal((char *) err, part);
        }
    }

    return rc;
}


static void
test_directory(void **state)
{
    char         sub[128], link[128], deep[256];
    struct stat  st;

    /* made when it is missing, the same when it is there */

    snprintf(sub, sizeof(sub), "%s/new", path);
    test_check(sub, NULL);
    test_check(sub, NULL);
    assert_int_equal(stat(sub, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(test_spool_files("new/tmp", ""), 0);
    assert_int_equal(test_spool_files("new", ""), 3);

    chmod(sub, 0750);
    test_check(sub, "has mode 0750");
    test_check(sub, "chmod 0700");
    chmod(sub, 0700);

    snprintf(deep, sizeof(deep), "%s/tmp", sub);
    chmod(deep, 0777);
    test_check(sub, "/tmp\" has mode 0777");
    chmod(deep, 0700);
    test_check(sub, NULL);

    snprintf(link, sizeof(link), "%s/link", path);
    assert_int_equal(symlink(sub, link), 0);
    test_check(link, "is a symbolic link");

    test_file_write("file", (u_char *) "x", 1);
    snprintf(link, sizeof(link), "%s/file", path);
    test_check(link, "cannot be opened as a directory");

    snprintf(link, sizeof(link), "%s/no/such", path);
    test_check(link, "cannot be created: No such file or directory");

    test_check("relative", "must be an absolute path");
    test_check("", "must be an absolute path");

    memset(deep, 'x', 100);
    deep[0] = '/';
    deep[100] = '\0';
    test_check(deep, "is too long");

    /* a folder in it that is a link */

    snprintf(deep, sizeof(deep), "%s/run", sub);
    assert_int_equal(rmdir(deep), 0);
    assert_int_equal(symlink("/tmp", deep), 0);
    test_check(sub, "/run\" is a symbolic link");
    assert_int_equal(unlink(deep), 0);
    test_check(sub, NULL);
}


static void
test_directory_system(void **state)
{
    u_char       err[NGX_MAX_CONF_ERRSTR];
    char         sub[128];
    ngx_str_t    dir;
    struct stat  st;

    snprintf(sub, sizeof(sub), "%s/new", path);
    test_check(sub, NULL);

    ngx_smtp_sys.fstatfs = test_fstatfs_nfs;
    test_check(sub, "network file system");
    ngx_smtp_sys = test_real;

    ngx_smtp_sys.flock = test_flock_lies;
    test_check(sub, "locks do not exclude");

    ngx_smtp_sys.flock = test_flock_none;
    test_check(sub, "without locks");
    ngx_smtp_sys = test_real;

    if (geteuid() != 0) {
        skip();
    }

    /* as root, for workers of another user */

    dir = shim_str(sub);
    assert_int_equal(ngx_smtp_store_check(&dir, 65534, 65534, err),
                     NGX_ERROR);
    assert_non_null(strstr((char *) err, "workers run as uid 65534"));

    snprintf(sub, sizeof(sub), "%s/given", path);
    dir = shim_str(sub);
    assert_int_equal(ngx_smtp_store_check(&dir, 65534, 65534, err), NGX_OK);
    assert_int_equal(stat(sub, &st), 0);
    assert_int_equal(st.st_uid, 65534);
    assert_int_equal(st.st_gid, 65534);
    assert_int_equal(ngx_smtp_store_check(&dir, 65534, 65534, err), NGX_OK);
}


static void
test_open(void **state)
{
    ngx_smtp_fault_t  fault;
    ngx_smtp_space_t  space;
    ngx_smtp_spool_t  other;

    assert_int_equal(ngx_smtp_spool_open(&other, "/nonexistent", &fault),
                     NGX_ERROR);
    assert_int_equal(fault.err, ENOENT);
    assert_int_equal(other.dir, -1);

    assert_int_equal(ngx_smtp_spool_space(&spool, &space, &fault), NGX_OK);
    assert_true(space.bytes > 0);
    assert_true(space.inodes > 0 || space.inodes == -1);
}


int
main(void)
{
#define test(name)                                                            \
    cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

    static const struct CMUnitTest  tests[] = {
        test(test_create),
        test(test_lock_race),
        test(test_append_many),
        test(test_take_back),
        test(test_zeros),
        test(test_reserve),
        test(test_mtime),
        test(test_orphans),
        test(test_bodies),
        test(test_clean),
        test(test_quarantine),
        test(test_directory),
        test(test_directory_system),
        test(test_open),
    };

    return shim_run(tests);
}
