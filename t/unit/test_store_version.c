
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A segment of a newer version, as an old binary meets it after an upgrade was
 * taken back: it is left alone, byte for byte and unlocked, the log is told
 * once, everything else is served; and when it can be read it is.
 *
 * sources: t/unit/store_env.c
 */


#include "store_env.h"
#include "ngx_smtp_segment.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>


static void test_data_version(void **state);
static void test_log_version(void **state);
static void test_record_type(void **state);
static void test_two_segments(void);
static void test_left_alone(const char *name, off_t size);
static void test_served_again(void);
static u_char *test_load(const char *name, off_t *size);
static void test_save(const char *name, u_char *data, off_t size);
static void test_names(void);


static env_mail_t  mail[2];
static char        data_name[128], log_name[128];   /* of mail 0 */


static u_char *
test_load(const char *name, off_t *size)
{
    int          fd;
    u_char      *data;
    struct stat  st;

    fd = open(name, O_RDONLY);
    assert_true(fd != -1);
    assert_int_equal(fstat(fd, &st), 0);

    *size = st.st_size;
    data = malloc(st.st_size + 4096);
    assert_non_null(data);
    assert_int_equal(read(fd, data, st.st_size), st.st_size);

    close(fd);

    return data;
}


static void
test_save(const char *name, u_char *data, off_t size)
{
    int  fd;

    fd = open(name, O_WRONLY|O_TRUNC);
    assert_true(fd != -1);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}


static void
test_names(void)
{
    char  id[NGX_SMTP_QUEUE_ID_LEN];

    snprintf(id, sizeof(id), "%.*s", NGX_SMTP_ID_TEXT, mail[0].accept.id);
    snprintf(data_name, sizeof(data_name), "%s/%s.data", env_path, id);
    snprintf(log_name, sizeof(log_name), "%s/%s.1.log", env_path, id);
}


/* mail 0 and mail 1, in a sealed segment each */

static void
test_two_segments(void)
{
    ngx_uint_t     i;
    env_worker_t  *w;

    for (i = 0; i < 2; i++) {
        w = env_start(0, NULL);
        env_time(300);

        env_mail(&mail[i], "internet", 2, 300, i);
        assert_int_equal(env_accepted(w, &mail[i]), NGX_OK);

        env_stop(w);
        shim_time_advance(100);
    }

    test_names();
}


/* name is the file that only a newer version can read */

static void
test_left_alone(const char *name, off_t size)
{
    int            fd;
    off_t          now;
    u_char        *before, *after;
    ngx_uint_t     i;
    env_worker_t  *w;
    struct stat    st, was;

    before = test_load(name, &now);
    assert_int_equal(now, size);
    assert_int_equal(stat(data_name, &was), 0);

    w = env_start(0, NULL);
    env_time(300);

    /* for a while, with looks and cleanings */

    for (i = 0; i < 4; i++) {
        env_time(20000);

        assert_int_equal(w->nmessages, i < 2);

        if (i == 1) {
            env_check_read(env_find(w, 1), 2, 300, 1);
            env_result(env_find(w, 1), 0, NGX_SMTP_RESULT_DELIVERED, 0);
            env_result(env_find(w, 1), 1, NGX_SMTP_RESULT_DELIVERED, 0);
            assert_int_equal(env_done(w, env_find(w, 1)), NGX_OK);
        }
    }

    assert_int_equal(shim_log_count("its mail waits"), 1);
    assert_int_equal(shim_log_count("start the newer one again"), 1);

    /* nobody has it */

    fd = open(data_name, O_RDWR);
    assert_true(fd != -1);
    assert_int_equal(flock(fd, LOCK_EX|LOCK_NB), 0);
    close(fd);

    env_stop(w);

    after = test_load(name, &now);
    assert_int_equal(now, size);
    assert_memory_equal(before, after, size);

    assert_int_equal(stat(data_name, &st), 0);
    assert_int_equal(st.st_mtim.tv_sec, was.st_mtim.tv_sec);
    assert_int_equal(st.st_mtim.tv_nsec, was.st_mtim.tv_nsec);
    assert_int_equal(st.st_size, was.st_size);
    assert_int_equal(access(log_name, F_OK), 0);

    free(before);
    free(after);
}


static void
test_served_again(void)
{
    env_worker_t  *w;

    w = env_start(0, NULL);
    env_time(300);

    assert_int_equal(w->nmessages, 1);
    env_check_read(env_find(w, 0), 2, 300, 0);

    env_stop(w);
}


static void
test_data_version(void **state)
{
    off_t    size;
    u_char  *data;

    test_two_segments();

    data = test_load(data_name, &size);

    /* all but magic and version may be something else there */

    data[8]++;
    data[50] ^= 0xff;
    test_save(data_name, data, size);

    test_left_alone(data_name, size);

    data[8]--;
    data[50] ^= 0xff;
    test_save(data_name, data, size);
    free(data);

    test_served_again();
}


static void
test_log_version(void **state)
{
    off_t    size;
    u_char  *log;

    test_two_segments();

    log = test_load(log_name, &size);

    log[8]++;
    test_save(log_name, log, size);

    test_left_alone(log_name, size);

    log[8]--;
    test_save(log_name, log, size);
    free(log);

    test_served_again();
}


/* a type of record nobody knows yet, which has to be understood */

static void
test_record_type(void **state)
{
    off_t                   size;
    u_char                 *log, *p;
    uint32_t                sequence;
    ngx_smtp_file_header_t  h;

    test_two_segments();

    log = test_load(log_name, &size);

    assert_int_equal(ngx_smtp_file_header_get(log, NGX_SMTP_FILE_HEADER,
                                              NGX_SMTP_FILE_LOG, &h), NGX_OK);

    p = log + size;

    memset(p, 0, 40);
    p[0] = 99;
    p[1] = NGX_SMTP_POLICY_REQUIRED;
    (void) ngx_smtp_put32(p + 4, 24);

    sequence = 1000000;
    ngx_smtp_log_seal(p, p + 40, ngx_smtp_log_seed(&h), &sequence);

    test_save(log_name, log, size + 40);

    test_left_alone(log_name, size + 40);

    test_save(log_name, log, size);
    free(log);

    test_served_again();
}


int
main(void)
{
#define test(name)                                                            \
    cmocka_unit_test_setup_teardown(name, env_setup, env_teardown)

    static const struct CMUnitTest  tests[] = {
        test(test_data_version),
        test(test_log_version),
        test(test_record_type),
    };

    return shim_run(tests);
}
