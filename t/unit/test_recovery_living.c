
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A log that was written anew, when most of the messages had ended, is damaged
 * in each of its records in turn: nothing that had ended comes back, nothing
 * that was live is lost.
 *
 * sources: core/ngx_smtp_sys.c core/ngx_smtp_crc32c.c
 * sources: core/ngx_smtp_pages.c
 * sources: spool/ngx_smtp_record.c spool/ngx_smtp_event.c
 * sources: spool/ngx_smtp_spool_dir.c spool/ngx_smtp_segment.c
 * sources: spool/ngx_smtp_segment_log.c
 * sources: spool/ngx_smtp_seal.c spool/ngx_smtp_body.c
 * sources: spool/ngx_smtp_window.c spool/ngx_smtp_recovery.c
 * sources: spool/ngx_smtp_recovery_log.c spool/ngx_smtp_recovery_scan.c
 * sources: spool/ngx_smtp_recovery_skip.c spool/ngx_smtp_errors.c
 * sources: spool/ngx_smtp_rewrite.c spool/ngx_smtp_rewrite_log.c
 * sources: t/unit/spool.c
 */


#include "spool.h"

#include <stdlib.h>
#include <string.h>


#define TEST_MESSAGES   20


static void test_make(void);
static void test_rewrite(ngx_smtp_recovery_t *r);
static void test_judge(off_t pos);


static ngx_smtp_spool_t         spool;
static ngx_smtp_segment_file_t  file;
static const char               test_lives[] = "---x--x-----------x-xx-";


/* those of test_lives[] live; 6 has a result for its first recipient */

static void
test_make(void)
{
    uint32_t              i;
    ngx_int_t             rc;
    ngx_smtp_recovery_t  *r;

    assert_int_equal(test_segment_create(&spool, &file, 1, 0), NGX_OK);

    for (i = 1; i <= TEST_MESSAGES; i += 5) {
        assert_int_equal(test_append(&file, i, 5, NULL), NGX_OK);
    }

    assert_int_equal(test_log(&file, NGX_SMTP_LOG_RESULT, 6, 0, 1, 0),
                     NGX_OK);

    for (i = 1; i <= TEST_MESSAGES; i++) {

        if (test_lives[i] == '-') {
            assert_int_equal(test_log(&file, NGX_SMTP_LOG_DONE, i, 0, 0, 0),
                             NGX_OK);
        }
    }

    ngx_smtp_segment_close(NULL, &file);

    r = test_recover(&spool, &file, &file.header.id, &rc);
    assert_non_null(r);

    test_rewrite(r);

    /* and an end behind it */

    assert_int_equal(test_log(&file, NGX_SMTP_LOG_DONE, 18, 0, 0, 0), NGX_OK);

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(NULL, &file);
}


static void
test_rewrite(ngx_smtp_recovery_t *r)
{
    ngx_int_t           rc;
    ngx_smtp_rewrite_t  rw;

    ngx_smtp_rewrite_start(&rw, &spool, &file, 0);
    test_say(r, TEST_NOW, &rw.content);

    do {
        rc = ngx_smtp_rewrite_step(&rw);
    } while (rc == NGX_AGAIN);

    assert_int_equal(rc, NGX_OK);
    assert_int_equal(ngx_smtp_rewrite_commit(&rw), NGX_OK);

    ngx_smtp_rewrite_end(&rw);
    test_said(&rw.content);
}


static void
test_judge(off_t pos)
{
    uint32_t                  i;
    ngx_int_t                 rc;
    ngx_uint_t                lives;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_recovered_t     *m;
    ngx_smtp_segment_file_t   f;

    r = test_recover(&spool, &f, &file.header.id, &rc);

    if (r == NULL) {
        fail_msg("record at %d: is not recovered", (int) pos);
    }

    for (i = 1; i <= TEST_MESSAGES; i++) {
        m = test_live(r, i);
        lives = test_lives[i] == 'x';

        /* its end may be what is damaged */

        if (i == 18 && m) {
            continue;
        }

        if (i == 18) {
            lives = 0;
        }

        if (lives != (m != NULL)) {
            fail_msg("record at %d: message %d is %s", (int) pos, (int) i,
                     m ? "back" : "lost");
        }

        if (m && (!test_intact(&spool, &f, m)
                  || test_final(m, 0) != (i == 6)))
        {
            fail_msg("record at %d: message %d is another", (int) pos,
                     (int) i);
        }
    }

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(NULL, &f);
}


static void
test_damaged(void **state)
{
    char         data_name[NGX_SMTP_FILE_NAME], log_name[NGX_SMTP_FILE_NAME];
    off_t        pos;
    size_t       size, data_size, length;
    u_char      *log, *data, *bad;
    ngx_uint_t   n;

    (void) test_spool_make(&spool);

    test_make();

    ngx_smtp_data_name(data_name, &file.header.id);
    ngx_smtp_log_name(log_name, &file.header.id, 1);

    data = test_file_read(data_name, &data_size);
    log = test_file_read(log_name, &size);
    bad = malloc(size);
    assert_non_null(bad);

    test_judge(0);

    n = 0;

    for (pos = NGX_SMTP_FILE_HEADER; pos < (off_t) size;
         pos += NGX_SMTP_LOG_RECORD + length)
    {
        length = ngx_smtp_get32(log + pos + 4);
        n++;

        memcpy(bad, log, size);
        bad[pos + NGX_SMTP_LOG_RECORD + length - 1] ^= 0x40;

        test_file_write(log_name, bad, size);
        test_file_write(data_name, data, data_size);

        test_judge(pos);
    }

    /* LIVING, the result, summaries, SEALED, the end */

    assert_int_equal(n, 1 + 1 + 4 + 1 + 1);

    free(bad);
    free(log);
    free(data);

    test_spool_remove(&spool);
}


static void
test_codec(void **state)
{
    u_char                  buf[256], *p, *next, *bits;
    size_t                  need;
    uint32_t                sequence, n;
    ngx_uint_t              i;
    ngx_smtp_summary_t      s[3];
    ngx_smtp_log_record_t   r;

    memset(s, 0, sizeof(s));

    s[0].number = 1;
    s[1].number = 8;
    s[2].number = 17;

    for (n = 0; n < 40; n++) {
        sequence = 0;

        p = ngx_smtp_living_put(buf, s, 3, n, TEST_NOW);
        assert_int_equal(p - buf, ngx_smtp_living_size(n));
        ngx_smtp_log_seal(buf, p, 1, &sequence);

        assert_int_equal(ngx_smtp_log_next(buf, p, 1, 0, &r, &next, &need),
                         NGX_OK);
        assert_int_equal(r.type, NGX_SMTP_LOG_LIVING);
        assert_int_equal(r.policy, 0);

        assert_int_equal(ngx_smtp_living_get(&r, &sequence, &bits), NGX_OK);
        assert_int_equal(sequence, n);

        for (i = 0; i < n; i++) {
            assert_int_equal(bits[i / 8] >> (i % 8) & 1,
                             i == 1 || i == 8 || i == 17);
        }

        /* a length that does not fit */

        r.length--;
        assert_int_equal(ngx_smtp_living_get(&r, &sequence, &bits),
                         NGX_ERROR);
        r.length += 2;
        assert_int_equal(ngx_smtp_living_get(&r, &sequence, &bits),
                         NGX_ERROR);
        r.length = 3;
        assert_int_equal(ngx_smtp_living_get(&r, &sequence, &bits),
                         NGX_ERROR);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_codec),
    };

    test_sync_off();

    return shim_run(tests);
}
