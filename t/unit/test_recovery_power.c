
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A worker is killed right behind a call that changes a name; another one
 * takes the segment over and records something; then the power is lost.  The
 * names that nobody synced may be the old ones again, in any order: what was
 * recorded, and synced, counts all the same.
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
 * sources: t/unit/spool.c t/unit/powerloss.c t/unit/powerloss_disk.c
 */


#include "spool.h"
#include "powerloss.h"

#include <stdio.h>
#include <string.h>


#define TEST_SEEDS      16


static void test_start(void);
static void test_end(void);
static void test_kill(ngx_uint_t n);
static void test_rewrite(ngx_uint_t data, const char *killed);
static void test_take_over(void);
static void test_disks(void (*judge)(ngx_smtp_spool_t *disk));
static void test_judge(ngx_smtp_spool_t *disk);
static void test_judge_removed(ngx_smtp_spool_t *disk);


static ngx_smtp_spool_t         spool;
static ngx_smtp_segment_file_t  file;
static ngx_smtp_recovery_t     *test_found;
static char                     test_path[64], test_disk[80];
static char                     now_testing[128];
static const char              *test_killed;    /* behind this call */
static ngx_uint_t               test_kills;


/* three messages, of which the first has ended; owned, and traced */

static void
test_start(void)
{
    ngx_int_t         rc;
    ngx_smtp_fault_t  fault;

    snprintf(test_path, sizeof(test_path), "%s", test_spool_make(&spool));
    snprintf(test_disk, sizeof(test_disk), "%s.disk", test_path);

    ngx_smtp_spool_close(&spool);

    power_start(test_path);

    assert_int_equal(ngx_smtp_spool_open(&spool, test_path, &fault), NGX_OK);

    assert_int_equal(test_segment_create(&spool, &file, 1, 0), NGX_OK);
    assert_int_equal(test_append(&file, 1, 3, NULL), NGX_OK);
    assert_int_equal(test_log(&file, NGX_SMTP_LOG_DONE, 1, 0, 0, 0), NGX_OK);
    ngx_smtp_segment_close(NULL, &file);

    test_found = test_recover(&spool, &file, &file.header.id, &rc);
    assert_non_null(test_found);
    assert_int_equal(test_seal(&file, test_found, TEST_NOW), NGX_OK);

    test_kills = 0;
    power_hook = test_kill;
}


static void
test_end(void)
{
    assert_int_equal(test_kills, 1);

    power_hook = NULL;
    power_stop();

    ngx_smtp_recovery_free(test_found);

    test_spool_remove(&spool);
    power_remove(test_disk);
    power_free();
}


static void
test_kill(ngx_uint_t n)
{
    if (test_kills == 0 && strstr(power_name(n - 1), test_killed)) {
        test_kills = 1;
        power_dead_at = n;
    }
}


static void
test_rewrite(ngx_uint_t data, const char *killed)
{
    ngx_int_t           rc;
    ngx_smtp_rewrite_t  rw;

    test_killed = killed;

    test_start();

    ngx_smtp_rewrite_start(&rw, &spool, &file, data);
    test_say(test_found, TEST_NOW, &rw.content);

    do {
        rw.log_end = file.log_end;
        rc = ngx_smtp_rewrite_step(&rw);
    } while (rc == NGX_AGAIN);

    assert_int_equal(rc, NGX_OK);
    assert_int_equal(ngx_smtp_rewrite_commit(&rw), NGX_ERROR);

    ngx_smtp_rewrite_end(&rw);
    test_said(&rw.content);

    if (rw.old_data != -1) {
        (void) ngx_smtp_sys.close(rw.old_data);
    }

    ngx_smtp_segment_close(NULL, &file);
    power_dead_at = 0;

    test_take_over();
    test_disks(test_judge);
    test_end();
}


/* message 2 has its result, synced */

static void
test_take_over(void)
{
    ngx_int_t                 rc;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    r = test_recover(&spool, &f, &file.header.id, &rc);
    assert_non_null(r);
    assert_int_equal(r->nlive, 2);

    assert_int_equal(test_log(&f, NGX_SMTP_LOG_RESULT, 2, 0, 1, 0), NGX_OK);
    assert_int_equal(ngx_smtp_segment_log_sync(&f), NGX_OK);

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(NULL, &f);
}


static void
test_disks(void (*judge)(ngx_smtp_spool_t *disk))
{
    unsigned          seed;
    ngx_uint_t        mode;
    ngx_smtp_fault_t  fault;
    ngx_smtp_spool_t  disk;

    for (mode = power_drop; mode <= power_tear; mode++) {

        for (seed = 0; seed < TEST_SEEDS; seed++) {

            snprintf(now_testing, sizeof(now_testing),
                     "killed after %s, power lost in mode %d, seed %u",
                     test_killed, (int) mode, seed);

            power_make(test_disk, power_calls(), mode, seed);

            assert_int_equal(ngx_smtp_spool_open(&disk, test_disk, &fault),
                             NGX_OK);
            judge(&disk);
            ngx_smtp_spool_close(&disk);
        }
    }
}


static void
test_judge(ngx_smtp_spool_t *disk)
{
    ngx_int_t                 rc;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    r = test_recover(disk, &f, &file.header.id, &rc);

    if (r == NULL) {
        fail_msg("%s: is not recovered", now_testing);
    }

    if (r->notes.no_log || r->notes.damaged || r->notes.quarantined) {
        fail_msg("%s: is said to be damaged", now_testing);
    }

    if (r->nlive != 2 || !test_live(r, 2) || !test_live(r, 3)) {
        fail_msg("%s: %d are live", now_testing, (int) r->nlive);
    }

    if (!test_final(test_live(r, 2), 0)) {
        fail_msg("%s: a result is lost", now_testing);
    }

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(NULL, &f);
}


static void
test_relogged(void **state)
{
    test_rewrite(0, "renameat2 ");
}


static void
test_compacted(void **state)
{
    test_rewrite(1, "renameat2 ");
}


/* the segment is not there, or has no mail */

static void
test_judge_removed(ngx_smtp_spool_t *disk)
{
    ngx_int_t                 rc;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    r = test_recover(disk, &f, &file.header.id, &rc);

    if (r == NULL) {
        assert_int_equal(rc, NGX_AGAIN);
        return;
    }

    if (r->nlive) {
        fail_msg("%s: %d messages are back", now_testing, (int) r->nlive);
    }

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(NULL, &f);
}


/* the log that is left alone is removed by another one */

static void
test_removed(void **state)
{
    ngx_smtp_fault_t       fault;
    ngx_smtp_spool_list_t  list;

    test_killed = "unlinkat ";

    test_start();

    assert_int_equal(ngx_smtp_segment_remove(&spool, &file, NULL, 0,
                                             TEST_NOW), NGX_ERROR);
    ngx_smtp_segment_close(NULL, &file);
    power_dead_at = 0;

    assert_int_equal(ngx_smtp_spool_list(&spool, &list, &fault), NGX_OK);
    assert_int_equal(list.nsegments, 0);
    assert_int_equal(list.norphans, 1);
    assert_int_equal(ngx_smtp_spool_orphan(&spool, &list.orphans[0], &fault),
                     NGX_OK);
    ngx_smtp_spool_list_free(&list);

    assert_int_equal(test_spool_files("", ".log"), 0);

    test_disks(test_judge_removed);
    test_end();
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_relogged),
        cmocka_unit_test(test_compacted),
        cmocka_unit_test(test_removed),
    };

    return shim_run(tests);
}
