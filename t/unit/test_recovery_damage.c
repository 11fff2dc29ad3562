
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A segment with records of all kinds, in which each record of the log, and
 * each part of the data, is damaged in turn, in several ways: what others say
 * counts all the same.  Only what the damaged record said itself, with those
 * written together with it, may be lost; and if its header is bad, so that
 * nobody knows where its group ended, the next group.  The log is told, and a
 * copy is put aside.  A second recovery has the same outcome.
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
 * sources: t/unit/spool.c
 * sources: spool/ngx_smtp_rewrite.c
 * sources: spool/ngx_smtp_rewrite_log.c
 */


#include "spool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define TEST_MESSAGES   7
#define TEST_FACTS      32
#define TEST_KINDS      5           /* of damage */


typedef enum {
    test_fact_final = 0,            /* of recipient arg */
    test_fact_report,
    test_fact_reported,
    test_fact_double,
    test_fact_hold,
    test_fact_release,
    test_fact_deferred,
    test_fact_done
} test_fact_e;


typedef struct {
    test_fact_e         kind;
    uint32_t            number;
    ngx_uint_t          arg;
    off_t               start;      /* of what was written together */
    off_t               end;
} test_fact_t;


static void test_fact(test_fact_e kind, uint32_t number, ngx_uint_t arg,
    off_t start);
static void test_record(ngx_uint_t type, uint32_t number, ngx_uint_t kind);
static void test_make(ngx_uint_t seal);
static void test_events_first(void);
static void test_events_second(void);
static void test_damage_log(ngx_uint_t seal);
static void test_damage_record(off_t pos, size_t length, ngx_uint_t how);
static void test_judge(off_t pos, ngx_uint_t how);
static void test_judge_fact(ngx_smtp_recovery_t *r, test_fact_t *f);
static ngx_uint_t test_superseded(test_fact_t *f);
static void test_fail(const char *what, uint32_t number);


static ngx_smtp_spool_t         spool;
static ngx_smtp_segment_file_t  file;
static test_fact_t              facts[TEST_FACTS];
static ngx_uint_t               nfacts;
static off_t                    sealed_from, sealed_to;
static off_t                    damaged, damaged_end;
static char                     data_name[NGX_SMTP_FILE_NAME];
static char                     log_name[NGX_SMTP_FILE_NAME];
static char                     now_testing[128];


static void
test_fact(test_fact_e kind, uint32_t number, ngx_uint_t arg, off_t start)
{
    test_fact_t  *f;

    assert_true(nfacts < TEST_FACTS);

    f = &facts[nfacts++];

    f->kind = kind;
    f->number = number;
    f->arg = arg;
    f->start = start;
    f->end = file.log_end;
}


static void
test_record(ngx_uint_t type, uint32_t number, ngx_uint_t kind)
{
    u_char             buf[4096], *p;
    ngx_smtp_event_t   e;
    ngx_smtp_result_t  result;

    memset(&e, 0, sizeof(e));
    memset(&result, 0, sizeof(result));

    result.status = NGX_SMTP_RESULT_FAILED;
    result.text = shim_str("5.0.0 it is not taken");

    e.type = type;
    e.number = number;
    e.time = TEST_NOW;
    e.until = TEST_NOW + 60;
    e.attempts = 1;
    e.report = 1;
    e.kind = kind;
    e.peer = shim_str("mx.example.com[192.0.2.7]:25");
    e.results = &result;
    e.nresults = 1;

    p = ngx_smtp_event_put(buf, &e);

    assert_int_equal(ngx_smtp_segment_log(&file, buf, p - buf, 1, 0), NGX_OK);
}


static void
test_events_first(void)
{
    off_t       start;
    ngx_uint_t  i;

    for (i = 0; i < 2; i++) {
        start = file.log_end;
        (void) test_log(&file, NGX_SMTP_LOG_RESULT, 1, i, i + 1, 0);
        test_fact(test_fact_final, 1, i, start);
    }

    start = file.log_end;
    assert_int_equal(test_log_failed(&file, 2, 1), NGX_OK);
    test_fact(test_fact_final, 2, 0, start);
    test_fact(test_fact_report, 2, 1, start);

    start = file.log_end;
    test_record(NGX_SMTP_LOG_HOLD, 3, 0);
    test_fact(test_fact_hold, 3, 0, start);

    start = file.log_end;
    test_record(NGX_SMTP_LOG_HOLD, 4, 0);
    test_fact(test_fact_hold, 4, 0, start);

    start = file.log_end;
    (void) test_log(&file, NGX_SMTP_LOG_DEFERRED, 5, 0, 60, TEST_NOW + 900);
    test_fact(test_fact_deferred, 5, TEST_NOW + 900, start);

    start = file.log_end;
    assert_int_equal(test_log_failed(&file, 7, 1), NGX_OK);
    test_fact(test_fact_final, 7, 0, start);
    test_fact(test_fact_report, 7, 1, start);

    test_record(NGX_SMTP_LOG_REPORT_DEFERRED, 7, 0);
}


static void
test_events_second(void)
{
    off_t  start;

    start = file.log_end;
    test_record(NGX_SMTP_LOG_DONE, 1, 0);
    test_fact(test_fact_done, 1, 0, start);

    start = file.log_end;
    test_record(NGX_SMTP_LOG_REPORTED, 2, 0);
    test_fact(test_fact_reported, 2, 1, start);

    start = file.log_end;
    test_record(NGX_SMTP_LOG_RELEASE, 4, 0);
    test_fact(test_fact_release, 4, 0, start);

    start = file.log_end;
    test_record(NGX_SMTP_LOG_SETTLE, 6, 0);
    test_fact(test_fact_deferred, 6, TEST_NOW + 60, start);

    start = file.log_end;
    test_record(NGX_SMTP_LOG_REPORT, 7, NGX_SMTP_REPORT_DOUBLE);
    test_fact(test_fact_double, 7, 1, start);

    start = file.log_end;
    (void) test_log(&file, NGX_SMTP_LOG_RESULT, 5, 68, 70, 0);
    test_fact(test_fact_final, 5, 68, start);
    test_fact(test_fact_final, 5, 69, start);
}


static void
test_make(ngx_uint_t seal)
{
    uint32_t              i;
    ngx_int_t             rc;
    ngx_smtp_recovery_t  *r;

    nfacts = 0;
    sealed_from = 0;
    sealed_to = 0;

    assert_int_equal(test_segment_create(&spool, &file, 1, 0), NGX_OK);

    ngx_smtp_data_name(data_name, &file.header.id);
    ngx_smtp_log_name(log_name, &file.header.id, 1);

    for (i = 1; i <= TEST_MESSAGES; i++) {
        assert_int_equal(test_append(&file, i, 1, NULL), NGX_OK);
    }

    test_events_first();

    if (seal) {
        sealed_from = file.log_end;

        ngx_smtp_segment_close(NULL, &file);
        r = test_recover(&spool, &file, &file.header.id, &rc);
        assert_non_null(r);
        assert_int_equal(test_seal(&file, r, TEST_NOW), NGX_OK);
        ngx_smtp_recovery_free(r);

        sealed_to = file.log_end;
    }

    test_events_second();

    ngx_smtp_segment_close(NULL, &file);
}


static void
test_fail(const char *what, uint32_t number)
{
    fail_msg("%s: message %u %s", now_testing, number, what);
}


/* a later fact of the same message says something else */

static ngx_uint_t
test_superseded(test_fact_t *f)
{
    test_fact_t  *g;

    for (g = f + 1; g < facts + nfacts; g++) {

        if (g->number == f->number
            && ((f->kind == test_fact_hold && g->kind == test_fact_release)
                || (f->kind == test_fact_report
                    && g->kind == test_fact_reported)))
        {
            return 1;
        }
    }

    return 0;
}


static void
test_judge_fact(ngx_smtp_recovery_t *r, test_fact_t *f)
{
    ngx_smtp_recovered_t  *m;

    /* what the damaged record said, unless it was sealed later */

    if (f->start < damaged_end && damaged < f->end
        && (sealed_from == 0 || f->start >= sealed_to))
    {
        return;
    }

    m = test_live(r, f->number);

    if (m == NULL || (f->kind == test_fact_done && m->npending == 0)) {
        return;
    }

    switch (f->kind) {

    case test_fact_final:
        if (!test_final(m, f->arg)) {
            test_fail("lost a result", f->number);
        }

        return;

    case test_fact_report:
        if (m->reports == NULL && !test_superseded(f)) {
            test_fail("lost a report", f->number);
        }

        return;

    case test_fact_reported:
        if (m->reports) {
            test_fail("reports again", f->number);
        }

        return;

    case test_fact_double:
        if (m->reports && m->reports->kind != NGX_SMTP_REPORT_DOUBLE) {
            test_fail("reports to the wrong one", f->number);
        }

        return;

    case test_fact_hold:
    case test_fact_release:
        if (m->hold != (f->kind == test_fact_hold) && !test_superseded(f)) {
            test_fail("is on hold, or not, as it was not", f->number);
        }

        return;

    case test_fact_deferred:
        if (m->due_at != (time_t) f->arg) {
            test_fail("is tried at another time", f->number);
        }

        return;

    default: /* test_fact_done */
        test_fail("was ended and came back", f->number);
    }
}


static void
test_judge(off_t pos, ngx_uint_t how)
{
    uint32_t                  i;
    ngx_int_t                 rc;
    ngx_uint_t                k, pass;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_recovered_t     *m;
    ngx_smtp_segment_file_t   f;

    for (pass = 0; pass < 2; pass++) {

        snprintf(now_testing, sizeof(now_testing),
                 "%s, record at %d damaged in way %d, recovery %d",
                 sealed_from ? "sealed" : "not sealed", (int) pos, (int) how,
                 (int) pass);

        r = test_recover(&spool, &f, &file.header.id, &rc);

        if (r == NULL) {
            test_fail("is not recovered", 0);
        }

        if (r->notes.damaged || r->notes.no_log) {
            test_fail("is said to be lost", 0);
        }

        /* before the summaries is history, and zeros at the end are nothing */

        if (pass == 0 && how != 4 && !r->notes.log_bad && !r->notes.events_lost
            && (sealed_from == 0 || pos >= sealed_from))
        {
            test_fail("and all others: nothing is told", 0);
        }

        for (i = 1; i <= TEST_MESSAGES; i++) {
            m = test_live(r, i);

            if (m == NULL && i != 1) {
                test_fail("is lost", i);
            }

            if (m && !test_intact(&spool, &f, m)) {
                test_fail("is damaged", i);
            }

            /* a result and its report: both or neither */

            if (m && i == 2 && m->nreports != test_final(m, 0)) {
                test_fail("has a result without its report", i);
            }
        }

        for (k = 0; k < nfacts; k++) {
            test_judge_fact(r, &facts[k]);
        }

        if (r->notes.scanned) {
            assert_int_equal(test_seal(&f, r, TEST_NOW), NGX_OK);
        }

        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(NULL, &f);
    }
}


static void
test_damage_record(off_t pos, size_t length, ngx_uint_t how)
{
    off_t    end;
    size_t   size, data_size;
    u_char  *log, *data;

    log = test_file_read(log_name, &size);
    data = test_file_read(data_name, &data_size);

    damaged = pos;
    damaged_end = pos + 1;

    for (end = pos + NGX_SMTP_LOG_RECORD + length;
         how >= 2 && end < (off_t) size;
         end = damaged_end)
    {
        damaged_end = end + NGX_SMTP_LOG_RECORD
                      + ngx_smtp_get32(log + end + 4);

        if (!(ngx_smtp_get16(log + end + 2) & NGX_SMTP_LOG_MORE)) {
            break;
        }
    }

    switch (how) {

    case 0:                         /* the last byte */
        log[pos + NGX_SMTP_LOG_RECORD + length - 1] ^= 0x40;
        break;

    case 1:                         /* the type */
        log[pos] ^= 0x80;
        break;

    case 2:                         /* a length that leads into others */
        log[pos + 4] ^= 0x10;
        break;

    case 3:                         /* a length beyond the end */
        log[pos + 6] ^= 0x20;
        break;

    default:                        /* a hole */
        memset(log + pos, 0, NGX_SMTP_LOG_RECORD + length);
    }

    test_file_write(log_name, log, size);

    test_judge(pos, how);

    /* as it was */

    free(log);

    test_file_write(data_name, data, data_size);
    free(data);
}


static void
test_damage_log(ngx_uint_t seal)
{
    off_t        pos;
    size_t       size, length;
    u_char      *log;
    ngx_uint_t   how, n;

    (void) test_spool_make(&spool);

    test_make(seal);

    log = test_file_read(log_name, &size);
    n = 0;

    for (pos = NGX_SMTP_FILE_HEADER; pos < (off_t) size;
         pos += NGX_SMTP_LOG_RECORD + length)
    {
        length = ngx_smtp_get32(log + pos + 4);
        n++;

        for (how = 0; how < TEST_KINDS; how++) {
            test_file_write(log_name, log, size);
            test_damage_record(pos, length, how);
        }
    }

    assert_true(n > (seal ? 23 : 15));
    assert_true(test_spool_files("quarantine", ".log") > 4);

    free(log);
    test_spool_remove(&spool);
}


static void
test_log_record(void **state)
{
    test_damage_log(0);
}


static void
test_sealed_record(void **state)
{
    test_damage_log(1);
}


/* one message's bytes, anywhere: all the others are there */

static void
test_data_byte(void **state)
{
    off_t                     pos;
    size_t                    size, log_size;
    u_char                   *data, *log, *bad;
    uint32_t                  i;
    ngx_int_t                 rc;
    ngx_uint_t                lost;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_recovered_t     *m;
    ngx_smtp_segment_file_t   f;

    (void) test_spool_make(&spool);

    test_make(0);

    data = test_file_read(data_name, &size);
    log = test_file_read(log_name, &log_size);
    bad = malloc(size);
    assert_non_null(bad);

    for (pos = NGX_SMTP_FILE_HEADER; pos < (off_t) size; pos += 23) {

        memcpy(bad, data, size);
        bad[pos] ^= 0x11;

        test_file_write(data_name, bad, size);
        test_file_write(log_name, log, log_size);

        snprintf(now_testing, sizeof(now_testing), "byte %d of the data",
                 (int) pos);

        r = test_recover(&spool, &f, &file.header.id, &rc);

        if (r == NULL) {
            test_fail("is not recovered", 0);
        }

        for (i = 2, lost = 0; i <= TEST_MESSAGES; i++) {
            m = test_live(r, i);
            lost += m == NULL;

            if (m && !test_intact(&spool, &f, m)) {
                test_fail("is damaged", i);
            }
        }

        if (lost > 1) {
            test_fail("and another are lost", 0);
        }

        if (!r->notes.quarantined || (lost && !r->notes.damaged)) {
            test_fail("and others: nothing is told", 0);
        }

        damaged = 0;
        damaged_end = 0;

        for (i = 0; i < nfacts; i++) {
            test_judge_fact(r, &facts[i]);
        }

        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(NULL, &f);
    }

    free(bad);
    free(data);
    free(log);

    test_spool_remove(&spool);
}


/*
 * All in one batch, of which only the first message was sent: that proves it
 * was acknowledged, whatever is damaged; and a head whose sizes are good hides
 * nothing behind it.
 */
static void
test_data_batch(void **state)
{
    off_t                     pos, start, starts[TEST_MESSAGES + 2];
    size_t                    size, log_size;
    u_char                   *data, *log, *bad;
    uint32_t                  i, n;
    ngx_int_t                 rc;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_recovered_t     *m;
    ngx_smtp_segment_file_t   f;

    (void) test_spool_make(&spool);

    assert_int_equal(test_segment_create(&spool, &file, 1, 0), NGX_OK);

    ngx_smtp_data_name(data_name, &file.header.id);
    ngx_smtp_log_name(log_name, &file.header.id, 1);

    assert_int_equal(test_append(&file, 1, TEST_MESSAGES, &start), NGX_OK);
    assert_int_equal(test_log(&file, NGX_SMTP_LOG_RESULT, 1, 0, 1, 0),
                     NGX_OK);
    ngx_smtp_segment_close(NULL, &file);

    data = test_file_read(data_name, &size);
    log = test_file_read(log_name, &log_size);
    bad = malloc(size);
    assert_non_null(bad);

    for (i = 1, pos = start; i <= TEST_MESSAGES; i++) {
        starts[i] = pos;
        pos += ngx_smtp_get32(data + pos + 8) + ngx_smtp_get64(data + pos
                                                               + 16);
    }

    starts[i] = pos;
    assert_int_equal(pos, size);

    for (pos = start, n = 1; pos < (off_t) size; pos += 23) {

        n += (pos >= starts[n + 1]);

        memcpy(bad, data, size);
        bad[pos] ^= 0x11;

        test_file_write(data_name, bad, size);
        test_file_write(log_name, log, log_size);

        snprintf(now_testing, sizeof(now_testing),
                 "byte %d of message %d in a batch", (int) (pos - starts[n]),
                 (int) n);

        r = test_recover(&spool, &f, &file.header.id, &rc);

        if (r == NULL) {
            test_fail("is not recovered", 0);
        }

        for (i = 1; i <= TEST_MESSAGES; i++) {
            m = test_live(r, i);

            if (m && !test_intact(&spool, &f, m)) {
                test_fail("is damaged", i);
            }

            /* where nobody knows its size those behind it are not found */

            if (m == NULL && i != n
                && (i < n || pos - starts[n] >= NGX_SMTP_RECORD_HEADER))
            {
                test_fail("is lost", i);
            }
        }

        if (!r->notes.quarantined || !r->notes.damaged) {
            test_fail("and others: nothing is told", 0);
        }

        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(NULL, &f);
    }

    free(bad);
    free(data);
    free(log);

    test_spool_remove(&spool);
}


/*
 * The last message of a batch cannot be read, but the log tells of it.  That
 * says nothing of the batch behind it, which is torn and starts later: without
 * a 250 its client sends it again.  An event of its own says all; and where
 * nobody knows with which message it starts nothing is lost.
 */
static void
test_data_tail(void **state)
{
    off_t                     pos, start, tail;
    size_t                    size, log_size;
    u_char                   *data, *log, *bad;
    uint32_t                  known;
    ngx_int_t                 rc;
    ngx_uint_t                how, kept;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    for (known = 3; known <= 4; known++) {

        (void) test_spool_make(&spool);

        assert_int_equal(test_segment_create(&spool, &file, 1, 0), NGX_OK);

        ngx_smtp_data_name(data_name, &file.header.id);
        ngx_smtp_log_name(log_name, &file.header.id, 1);

        assert_int_equal(test_append(&file, 1, 2, &start), NGX_OK);
        assert_int_equal(test_append(&file, 3, 1, &start), NGX_OK);
        assert_int_equal(test_append(&file, 4, 3, &tail), NGX_OK);
        (void) test_log(&file, NGX_SMTP_LOG_DEFERRED, known, 0, 1,
                        TEST_NOW + 900);
        ngx_smtp_segment_close(NULL, &file);

        data = test_file_read(data_name, &size);
        log = test_file_read(log_name, &log_size);
        bad = malloc(size);
        assert_non_null(bad);

        for (how = 0; how < 3; how++) {

            snprintf(now_testing, sizeof(now_testing),
                     "event of %d, torn in way %d", (int) known, (int) how);

            memcpy(bad, data, size);

            /* the last byte of 3; then of 6, of the content or head of 4 */

            bad[tail - NGX_SMTP_BATCH_HEADER - 1] ^= 0x11;

            pos = tail + ngx_smtp_get32(data + tail + 8);
            bad[how == 0 ? (off_t) size - 1 : pos - (off_t) (how - 1)] ^= 0x11;

            kept = (known == 4 || how == 2);

            test_file_write(data_name, bad, size);
            test_file_write(log_name, log, log_size);

            r = test_recover(&spool, &f, &file.header.id, &rc);

            if (r == NULL) {
                test_fail("is not recovered", 0);
            }

            if (!test_live(r, 1) || !test_live(r, 2) || test_live(r, 3)) {
                test_fail("and others: not what is readable", 3);
            }

            if ((test_live(r, 5) != NULL) != kept) {
                test_fail(kept ? "is lost" : "is kept", 5);
            }

            if (r->notes.quarantined != 1 + kept
                || r->notes.damaged != 1 + kept)
            {
                test_fail("is told of wrongly", 4);
            }

            ngx_smtp_recovery_free(r);
            ngx_smtp_segment_close(NULL, &f);
        }

        free(bad);
        free(data);
        free(log);

        test_spool_remove(&spool);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_log_record),
        cmocka_unit_test(test_sealed_record),
        cmocka_unit_test(test_data_byte),
        cmocka_unit_test(test_data_batch),
        cmocka_unit_test(test_data_tail),
    };

    test_sync_off();

    return shim_run(tests);
}
