
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What recovery makes of the files of a segment: each state that a crash, a
 * power loss or a broken disk can leave, made by cutting and changing bytes.
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
 * sources: t/unit/spool.c
 * sources: spool/ngx_smtp_errors.c
 * sources: spool/ngx_smtp_recovery_skip.c
 */


#include "spool.h"
#include "ngx_smtp_crc32c.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define TEST_BATCHES    3


static void test_batches(ngx_smtp_segment_file_t *f, off_t *ends);
static ngx_uint_t test_batch_of(uint32_t number);
static void test_changes(ngx_uint_t log);
static void test_names(ngx_smtp_segment_file_t *f);
static void test_events(ngx_smtp_segment_file_t *f);
static ngx_uint_t test_recover_count(ngx_smtp_recovery_notes_t *notes);
static void test_put_record(ngx_smtp_segment_file_t *f, u_char *p,
    size_t size);


static ngx_smtp_spool_t       spool;
static ngx_smtp_segment_id_t  id;
static char                   data_name[NGX_SMTP_FILE_NAME];
static char                   log_name[NGX_SMTP_FILE_NAME];


static int
test_setup(void **state)
{
    test_sync_off();
    (void) test_spool_make(&spool);
    return 0;
}


static int
test_teardown(void **state)
{
    test_fault_clear();
    test_spool_remove(&spool);
    return 0;
}


static void
test_names(ngx_smtp_segment_file_t *f)
{
    id = f->header.id;

    ngx_smtp_data_name(data_name, &id);
    ngx_smtp_log_name(log_name, &id, 1);
}


/* 1 to 3, 4 to 5, 6 to 9; ends[0] is where the first begins */

static void
test_batches(ngx_smtp_segment_file_t *f, off_t *ends)
{
    assert_int_equal(test_segment_create(&spool, f, 1, 0), NGX_OK);
    test_names(f);

    ends[0] = f->data_end;
    assert_int_equal(test_append(f, 1, 3, NULL), NGX_OK);
    ends[1] = f->data_end;
    assert_int_equal(test_append(f, 4, 2, NULL), NGX_OK);
    ends[2] = f->data_end;
    assert_int_equal(test_append(f, 6, 4, NULL), NGX_OK);
    ends[3] = f->data_end;
}


static ngx_uint_t
test_batch_of(uint32_t number)
{
    return number <= 3 ? 1 : number <= 5 ? 2 : 3;
}


static ngx_uint_t
test_recover_count(ngx_smtp_recovery_notes_t *notes)
{
    ngx_int_t                 rc;
    ngx_uint_t                n;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    r = test_recover(&spool, &f, &id, &rc);
    assert_int_equal(rc, NGX_OK);

    n = r->nlive;
    *notes = r->notes;

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);

    return n;
}


static void
test_plain(void **state)
{
    off_t                      ends[TEST_BATCHES + 1];
    ngx_int_t                  rc;
    uint32_t                   i;
    ngx_smtp_recovery_t       *r;
    ngx_smtp_recovered_t      *m;
    ngx_smtp_segment_file_t    f;

    test_batches(&f, ends);
    ngx_smtp_segment_close(&spool, &f);

    r = test_recover(&spool, &f, &id, &rc);
    assert_int_equal(rc, NGX_OK);

    assert_int_equal(r->nlive, 9);
    assert_int_equal(r->nmessages, 9);
    assert_int_equal(r->nqueues, 2);
    assert_int_equal(r->next_number, 10);
    assert_int_equal(r->earliest, TEST_NOW + 1);
    assert_int_equal(r->notes.scanned, 1);
    assert_int_equal(r->notes.quarantined + r->notes.damaged + r->notes.torn
                     + r->notes.events_lost + r->notes.no_log, 0);
    assert_int_equal(f.data_end, ends[3]);
    assert_int_equal(f.batch, 3);

    for (i = 1; i <= 9; i++) {
        m = test_live(r, i);
        assert_non_null(m);
        assert_true(test_intact(&spool, &f, m));
        assert_int_equal(m->npending, test_nrcpts(i));
        assert_int_equal(m->due_at, TEST_NOW + i);
        assert_int_equal(m->received, TEST_NOW + i);
        assert_int_equal(m->attempts, 0);
        assert_int_equal(r->queues[m->queue].data[0], i % 2 ? 'i' : 'c');
        assert_true(m->owed >= ngx_smtp_log_need(0, m->nrcpts));
    }

    /* its log is good for more, the segment for none */

    assert_int_equal(test_append(&f, 20, 1, NULL), NGX_ERROR);
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_RESULT, 1, 0, 1, 0), NGX_OK);

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);
}


/* the data end anywhere: what was synced, and no more */

static void
test_torn_data(void **state)
{
    off_t                        ends[TEST_BATCHES + 1], len;
    size_t                       size;
    u_char                      *data;
    ngx_int_t                    rc;
    ngx_uint_t                   batch, want, kept;
    ngx_smtp_recovery_t         *r;
    ngx_smtp_segment_file_t      f;
    static const ngx_uint_t      counts[] = { 0, 3, 5, 9 };

    test_batches(&f, ends);
    ngx_smtp_segment_close(&spool, &f);

    data = test_file_read(data_name, &size);
    assert_int_equal(size, ends[3]);

    for (len = NGX_SMTP_FILE_HEADER; len <= (off_t) size; len++) {

        for (batch = 0; ends[batch + 1] <= len && batch < 2; batch++) {
            /* void */
        }

        want = len >= ends[3] ? 9 : counts[batch];

        test_file_write(data_name, data, (size_t) len);

        kept = test_spool_files("quarantine", ".data");

        r = test_recover(&spool, &f, &id, &rc);
        assert_int_equal(rc, NGX_OK);
        assert_int_equal(r->nlive, want);
        assert_int_equal(r->notes.damaged + r->notes.quarantined, 0);

        /* a mark behind the end is kept, less is nothing */

        if (len != (off_t) size && len - ends[batch] >= NGX_SMTP_BATCH_MARK) {
            assert_int_equal(r->notes.torn, 1);
            assert_int_equal(test_spool_files("quarantine", ".data"),
                             kept > batch ? kept : kept + 1);

        } else {
            assert_int_equal(r->notes.torn, 0);
        }

        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(&spool, &f);

        /* it was cut: nothing is left to tell */

        r = test_recover(&spool, &f, &id, &rc);
        assert_int_equal(rc, NGX_OK);
        assert_int_equal(r->nlive, want);
        assert_int_equal(r->notes.torn, 0);
        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(&spool, &f);
    }

    free(data);
}


/*
 * A bit is lost anywhere: of the batch it is in the messages that are good
 * stay, unless it is the last; all others stay.
 */
static void
test_changes(ngx_uint_t log)
{
    off_t                      ends[TEST_BATCHES + 1];
    size_t                     size, i;
    u_char                    *data, *kept;
    uint32_t                   n;
    ngx_int_t                  rc;
    ngx_uint_t                 batch, live, lost, salvaged;
    ngx_smtp_recovery_t       *r;
    ngx_smtp_recovered_t      *m;
    ngx_smtp_segment_file_t    f;

    test_batches(&f, ends);

    if (log) {
        /* proof that the last batch had been acknowledged */
        assert_int_equal(test_log(&f, NGX_SMTP_LOG_HOLD, 9, 0, 0, 0), NGX_OK);
    }

    ngx_smtp_segment_close(&spool, &f);

    data = test_file_read(data_name, &size);
    kept = malloc(size);
    salvaged = 0;

    for (i = NGX_SMTP_FILE_HEADER; i < size; i++) {

        memcpy(kept, data, size);
        kept[i] ^= 1 << (i % 8);
        test_file_write(data_name, kept, size);

        for (batch = 1; ends[batch] <= (off_t) i; batch++) {
            /* void */
        }

        r = test_recover(&spool, &f, &id, &rc);

        if (rc == NGX_DECLINED) {

            /* the version of a head: not ours to read */

            continue;
        }

        assert_int_equal(rc, NGX_OK);

        live = 0;
        lost = 0;

        for (n = 1; n <= 9; n++) {
            m = test_live(r, n);

            if (m == NULL) {
                lost++;
                assert_int_equal(test_batch_of(n), batch);
                continue;
            }

            live++;
            assert_true(test_intact(&spool, &f, m));
        }

        assert_int_equal(live, r->nlive);
        assert_true(r->next_number == 10 || batch == 3);

        if (batch < 3 || log) {

            /* a header can be lost without a message */

            assert_int_equal(r->notes.quarantined, 1);
            assert_true(r->notes.damaged >= lost);
            assert_int_equal(r->notes.torn, 0);
            salvaged += lost == 1;

        } else {
            assert_int_equal(lost, 4);
            assert_int_equal(r->notes.damaged, 0);
            assert_int_equal(r->notes.torn,
                             (off_t) i - ends[2] >= NGX_SMTP_BATCH_MARK);
        }

        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(&spool, &f);
    }

    assert_true(salvaged > (size_t) ends[2] / 3);

    free(data);
    free(kept);
}


static void
test_bit_rot(void **state)
{
    test_changes(0);
}


static void
test_bit_rot_last(void **state)
{
    test_changes(1);
}


static void
test_file_header(void **state)
{
    off_t                      ends[TEST_BATCHES + 1];
    size_t                     size;
    u_char                    *data;
    ngx_int_t                  rc;
    ngx_smtp_segment_file_t    f;

    test_batches(&f, ends);
    ngx_smtp_segment_close(&spool, &f);

    data = test_file_read(data_name, &size);

    data[30] ^= 1;
    test_file_write(data_name, data, size);
    assert_null(test_recover(&spool, &f, &id, &rc));
    assert_int_equal(rc, NGX_ERROR);
    assert_int_equal(f.fault.err, 0);
    assert_int_equal(f.data, -1);
    data[30] ^= 1;

    data[8] = NGX_SMTP_FORMAT_VERSION + 1;
    test_file_write(data_name, data, size);
    assert_null(test_recover(&spool, &f, &id, &rc));
    assert_int_equal(rc, NGX_DECLINED);
    assert_int_equal(f.header.version, NGX_SMTP_FORMAT_VERSION + 1);
    data[8] = NGX_SMTP_FORMAT_VERSION;

    free(data);

    /* a newer log */

    data = test_file_read(log_name, &size);
    data[8] = NGX_SMTP_FORMAT_VERSION + 1;
    test_file_write(log_name, data, size);
    assert_null(test_recover(&spool, &f, &id, &rc));
    assert_int_equal(rc, NGX_DECLINED);

    free(data);
}


/* a mail that holds a batch, but not the key, is only a mail */

static void
test_forged(void **state)
{
    size_t                     size, at;
    u_char                    *data, *fake;
    struct iovec               iov[5];
    off_t                      offset;
    ngx_int_t                  rc;
    ngx_smtp_batch_t           b;
    test_message_t             m, inner;
    ngx_smtp_recovery_t       *r;
    ngx_smtp_file_header_t     h;
    ngx_smtp_segment_file_t    f;

    assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);
    test_names(&f);

    test_message_make(&m, 1, 0);
    test_message_make(&inner, 2, 0);

    /* all that a client can know, and a guess for the key */

    h = f.header;
    memset(h.key, 0, NGX_SMTP_KEY_SIZE);

    b.sequence = 2;
    b.messages = 1;
    b.length = inner.head_size + inner.content_size;

    size = NGX_SMTP_BATCH_HEADER + b.length;
    fake = malloc(size);
    ngx_smtp_batch_put(fake, &h, &b);
    memcpy(fake + 64, inner.head, inner.head_size);
    memcpy(fake + 64 + inner.head_size, inner.content, inner.content_size);

    ngx_smtp_record_seal(m.head, 1, (off_t) size,
                         ngx_smtp_crc32c(0, fake, size));

    iov[1].iov_base = m.head;
    iov[1].iov_len = m.head_size;
    iov[2].iov_base = fake;
    iov[2].iov_len = size;

    assert_int_equal(ngx_smtp_segment_append(&f, iov, 3, 1, &offset), NGX_OK);
    assert_int_equal(test_append(&f, 3, 1, NULL), NGX_OK);
    ngx_smtp_segment_close(&spool, &f);
    free(fake);

    /* the batch around it loses its header, and then its head */

    data = test_file_read(data_name, &size);

    for (at = NGX_SMTP_FILE_HEADER; at < 64 + 64 + 64; at += 8) {
        data[at] ^= 0x10;
        test_file_write(data_name, data, size);
        data[at] ^= 0x10;

        r = test_recover(&spool, &f, &id, &rc);
        assert_int_equal(rc, NGX_OK);
        assert_int_equal(r->nlive, test_live(r, 1) ? 2 : 1);
        assert_non_null(test_live(r, 3));
        assert_null(test_live(r, 2));
        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(&spool, &f);
    }

    free(data);
    test_message_free(&m);
    test_message_free(&inner);
}


/* zeros written ahead are no damage, and are cut */

static void
test_zeros(void **state)
{
    size_t                      size;
    u_char                     *data;
    ngx_uint_t                  live;
    ngx_smtp_segment_file_t     f;
    ngx_smtp_recovery_notes_t   notes;

    assert_int_equal(test_segment_create(&spool, &f, 1, 300000), NGX_OK);
    test_names(&f);
    assert_int_equal(test_append(&f, 1, 3, NULL), NGX_OK);

    data = test_file_read(data_name, &size);
    assert_int_equal(size, 300064);
    free(data);

    ngx_smtp_segment_close(&spool, &f);

    live = test_recover_count(&notes);
    assert_int_equal(live, 3);
    assert_int_equal(notes.torn + notes.damaged + notes.quarantined, 0);

    data = test_file_read(data_name, &size);
    assert_int_equal(size, f.data_end);
    free(data);
}


/* the log */

static void
test_events(ngx_smtp_segment_file_t *f)
{
    assert_int_equal(test_log(f, NGX_SMTP_LOG_RESULT, 1, 0, 1, 0), NGX_OK);
    assert_int_equal(test_log(f, NGX_SMTP_LOG_DEFERRED, 1, 1, 2,
                              TEST_NOW + 60),
                     NGX_OK);
    assert_int_equal(test_log(f, NGX_SMTP_LOG_RESULT, 3, 0, 1, 0), NGX_OK);
    assert_int_equal(test_log(f, NGX_SMTP_LOG_DONE, 3, 0, 0, 0), NGX_OK);
    assert_int_equal(test_log_failed(f, 2, 1), NGX_OK);
    assert_int_equal(test_log(f, NGX_SMTP_LOG_RESULT, 5, 3, 70, 0), NGX_OK);
    assert_int_equal(test_log(f, NGX_SMTP_LOG_HOLD, 4, 0, 0, 0), NGX_OK);
    assert_int_equal(test_log(f, NGX_SMTP_LOG_SETTLE, 6, 0, 0,
                              TEST_NOW + 600),
                     NGX_OK);
    assert_int_equal(test_log(f, NGX_SMTP_LOG_HOLD, 7, 0, 0, 0), NGX_OK);
    assert_int_equal(test_log(f, NGX_SMTP_LOG_RELEASE, 7, 0, 0, 0), NGX_OK);
    assert_int_equal(test_log_failed(f, 8, 1), NGX_OK);
    assert_int_equal(test_log(f, NGX_SMTP_LOG_REPORT_DEFERRED, 8, 0, 0,
                              TEST_NOW + 90),
                     NGX_OK);
    assert_int_equal(test_log_failed(f, 9, 1), NGX_OK);
    assert_int_equal(test_log(f, NGX_SMTP_LOG_REPORTED, 9, 0, 0, 0), NGX_OK);
}


static void
test_check_events(ngx_smtp_recovery_t *r)
{
    ngx_uint_t                    i;
    ngx_smtp_recovered_t         *m;
    ngx_smtp_recovered_report_t  *p;

    assert_int_equal(r->nlive, 8);
    assert_int_equal(r->notes.events_lost, 0);
    assert_null(test_live(r, 3));

    m = test_live(r, 1);
    assert_int_equal(m->npending, 1);
    assert_int_equal(test_final(m, 0), 1);
    assert_int_equal(test_final(m, 1), 0);
    assert_int_equal(m->attempts, 1);
    assert_int_equal(m->due_at, TEST_NOW + 60);

    m = test_live(r, 2);
    assert_int_equal(m->npending, 2);
    assert_int_equal(m->nreports, 1);
    p = m->reports;
    assert_non_null(p);
    assert_null(p->next);
    assert_int_equal(p->number, 1);
    assert_int_equal(p->kind, NGX_SMTP_REPORT_FAILURE);
    assert_int_equal(p->attempts, 0);
    assert_int_equal(p->created, TEST_NOW);
    assert_int_equal(p->due_at, TEST_NOW + 5);
    assert_str_equal(&p->peer, "mx.example.com[192.0.2.7]:25");
    assert_int_equal(p->nresults, 1);
    assert_int_equal(p->results[0].rcpt, 0);
    assert_int_equal(p->results[0].status, NGX_SMTP_RESULT_FAILED);
    assert_int_equal(p->results[0].code, 550);
    assert_str_equal(&p->results[0].text, "5.1.1 no such user");

    m = test_live(r, 5);
    assert_int_equal(m->npending, 3);
    assert_non_null(m->final);

    for (i = 0; i < 70; i++) {
        assert_int_equal(test_final(m, i), i >= 3);
    }

    assert_int_equal(test_live(r, 4)->hold, 1);
    assert_int_equal(test_live(r, 6)->due_at, TEST_NOW + 600);
    assert_int_equal(test_live(r, 6)->attempts, 1);
    assert_int_equal(test_live(r, 7)->hold, 0);

    m = test_live(r, 8);
    assert_non_null(m->reports);
    assert_int_equal(m->reports->due_at, TEST_NOW + 90);
    assert_int_equal(m->reports->attempts, 1);

    m = test_live(r, 9);
    assert_null(m->reports);
    assert_int_equal(m->nreports, 1);
    assert_int_equal(m->npending, 0);
}


static void
test_log_events(void **state)
{
    off_t                      ends[TEST_BATCHES + 1];
    size_t                     size;
    u_char                    *data;
    ngx_int_t                  rc;
    ngx_uint_t                 pass;
    ngx_smtp_recovery_t       *r;
    ngx_smtp_segment_file_t    f;

    test_batches(&f, ends);
    test_events(&f);
    ngx_smtp_segment_close(&spool, &f);

    /* by a scan, then by summaries: the same, twice, with the data unread */

    for (pass = 0; pass < 3; pass++) {
        r = test_recover(&spool, &f, &id, &rc);
        assert_int_equal(rc, NGX_OK);
        assert_int_equal(r->notes.scanned, pass == 0);
        test_check_events(r);
        assert_int_equal(r->next_number, 10);
        assert_int_equal(f.data_end, ends[3]);

        if (pass == 0) {
            assert_int_equal(test_seal(&f, r, TEST_NOW), NGX_OK);
            assert_int_equal(r->earliest, TEST_NOW);
        }

        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(&spool, &f);

        if (pass == 1) {

            /* the data file is not looked at, but for its length */

            data = test_file_read(data_name, &size);
            memset(data + 64, 0xee, size - 64);
            test_file_write(data_name, data, size);
            free(data);
        }
    }
}


/* events after the seal, and a second seal on top */

static void
test_after_seal(void **state)
{
    off_t                      ends[TEST_BATCHES + 1];
    ngx_int_t                  rc;
    ngx_uint_t                 pass;
    ngx_smtp_recovery_t       *r;
    ngx_smtp_segment_file_t    f;

    test_batches(&f, ends);
    test_events(&f);
    ngx_smtp_segment_close(&spool, &f);

    r = test_recover(&spool, &f, &id, &rc);
    assert_int_equal(rc, NGX_OK);
    assert_int_equal(test_seal(&f, r, TEST_NOW), NGX_OK);
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_RESULT, 1, 1, 2, 0), NGX_OK);
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_DONE, 1, 0, 0, 0), NGX_OK);
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_REPORTED, 2, 0, 0, 0),
                     NGX_OK);
    assert_int_equal(test_log_failed(&f, 2, 2), NGX_OK);
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_RELEASE, 4, 0, 0, 0), NGX_OK);
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_DONE, 3, 0, 0, 0), NGX_OK);
    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);

    for (pass = 0; pass < 2; pass++) {
        r = test_recover(&spool, &f, &id, &rc);
        assert_int_equal(rc, NGX_OK);
        assert_int_equal(r->notes.scanned, 0);
        assert_int_equal(r->nlive, 7);
        assert_null(test_live(r, 1));
        assert_non_null(test_live(r, 2)->reports);
        assert_int_equal(test_live(r, 2)->reports->number, 2);
        assert_null(test_live(r, 2)->reports->next);
        assert_int_equal(test_live(r, 2)->nreports, 2);
        assert_int_equal(test_live(r, 4)->hold, 0);
        assert_non_null(test_live(r, 8)->reports);

        assert_int_equal(test_seal(&f, r, TEST_NOW), NGX_OK);
        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(&spool, &f);
    }
}


/*
 * The log ends anywhere: the state is that after some event, never a mixture,
 * and what was not cut can be built upon.
 */
static void
test_torn_log(void **state)
{
    off_t                        ends[TEST_BATCHES + 1];
    size_t                       size, len, start;
    u_char                      *log;
    ngx_int_t                    rc;
    ngx_uint_t                   done;
    ngx_smtp_recovery_t         *r;
    ngx_smtp_recovered_t        *m;
    ngx_smtp_segment_file_t      f;

    test_batches(&f, ends);
    test_events(&f);
    ngx_smtp_segment_close(&spool, &f);

    r = test_recover(&spool, &f, &id, &rc);
    assert_int_equal(rc, NGX_OK);
    start = (size_t) f.log_end;
    assert_int_equal(test_seal(&f, r, TEST_NOW), NGX_OK);
    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);

    log = test_file_read(log_name, &size);

    for (len = NGX_SMTP_FILE_HEADER; len <= size; len++) {
        test_file_write(log_name, log, len);

        r = test_recover(&spool, &f, &id, &rc);
        assert_int_equal(rc, NGX_OK);
        assert_int_equal(r->notes.damaged + r->notes.quarantined, 0);
        assert_int_equal(r->notes.scanned, len != size);
        assert_int_equal(r->notes.no_log, 0);

        done = test_live(r, 3) == NULL;
        assert_int_equal(r->nlive, 9 - done);

        /* a failure and its report are there together */

        m = test_live(r, 2);
        assert_int_equal(m->npending, m->reports ? 2 : 3);

        m = test_live(r, 8);
        assert_int_equal(m->npending, m->reports ? 2 : 3);

        if (len >= start) {
            test_live(r, 1)->reports = NULL;
            r->notes.events_lost = 0;
            test_check_events(r);
        }

        /* appended to, it is good again */

        assert_int_equal(test_log(&f, NGX_SMTP_LOG_DONE, 7, 0, 0, 0),
                         NGX_OK);
        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(&spool, &f);

        r = test_recover(&spool, &f, &id, &rc);
        assert_int_equal(rc, NGX_OK);
        assert_int_equal(r->nlive, 8 - done);
        assert_null(test_live(r, 7));
        assert_int_equal(r->notes.events_lost, 0);
        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(&spool, &f);
    }

    free(log);
}


/* a bit is lost in the log: no message goes, none comes back as another */

static void
test_log_rot(void **state)
{
    off_t                        ends[TEST_BATCHES + 1];
    size_t                       size, i;
    u_char                      *log, *copy;
    ngx_int_t                    rc;
    uint32_t                     n;
    ngx_smtp_recovery_t         *r;
    ngx_smtp_recovered_t        *m;
    ngx_smtp_segment_file_t      f;

    test_batches(&f, ends);
    test_events(&f);
    ngx_smtp_segment_close(&spool, &f);

    r = test_recover(&spool, &f, &id, &rc);
    assert_int_equal(rc, NGX_OK);
    assert_int_equal(test_seal(&f, r, TEST_NOW), NGX_OK);
    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);

    log = test_file_read(log_name, &size);
    copy = malloc(size);

    for (i = 0; i < size; i++) {
        memcpy(copy, log, size);
        copy[i] ^= 1 << (i % 8);
        test_file_write(log_name, copy, size);

        r = test_recover(&spool, &f, &id, &rc);

        if (i == 8 || i == 9) {

            /* the version: newer, or none at all */

            if (rc == NGX_DECLINED) {
                assert_null(r);
                continue;
            }
        }

        assert_int_equal(rc, NGX_OK);
        assert_int_equal(r->notes.no_log, i < NGX_SMTP_FILE_HEADER);
        /* what is before the summaries is not needed */

        assert_true(r->notes.events_lost || r->notes.quarantined
                    || r->notes.log_bad || !r->notes.scanned);
        assert_int_equal(r->notes.damaged, 0);

        for (n = 1; n <= 9; n++) {
            m = test_live(r, n);
            assert_true(m || n == 3);

            if (m) {
                assert_true(test_intact(&spool, &f, m));
            }
        }

        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(&spool, &f);
    }

    free(log);
    free(copy);
}


static void
test_no_log(void **state)
{
    off_t                       ends[TEST_BATCHES + 1];
    ngx_uint_t                  live;
    ngx_smtp_segment_file_t     f;
    ngx_smtp_recovery_notes_t   notes;

    test_batches(&f, ends);
    test_events(&f);
    ngx_smtp_segment_close(&spool, &f);

    unlinkat(spool.dir, log_name, 0);

    live = test_recover_count(&notes);
    assert_int_equal(live, 9);
    assert_int_equal(notes.no_log, 1);

    /* it has one now */

    live = test_recover_count(&notes);
    assert_int_equal(live, 9);
    assert_int_equal(notes.no_log, 0);

    /* an empty one, as a power loss may leave */

    test_file_write(log_name, (u_char *) "", 0);
    live = test_recover_count(&notes);
    assert_int_equal(live, 9);
    assert_int_equal(notes.no_log, 1);
    assert_int_equal(notes.quarantined, 0);
}


/* what a stop while a segment is made leaves */

static void
test_empty(void **state)
{
    ngx_int_t                  rc;
    ngx_uint_t                 pass;
    ngx_smtp_recovery_t       *r;
    ngx_smtp_segment_file_t    f;

    for (pass = 0; pass < 3; pass++) {
        assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);
        test_names(&f);
        ngx_smtp_segment_close(&spool, &f);

        if (pass == 1) {
            unlinkat(spool.dir, log_name, 0);
        }

        if (pass == 2) {
            test_file_write(log_name, (u_char *) "", 0);
        }

        r = test_recover(&spool, &f, &id, &rc);
        assert_int_equal(rc, NGX_OK);
        assert_int_equal(r->nlive, 0);
        assert_int_equal(r->notes.no_log, 0);
        ngx_smtp_recovery_free(r);

        assert_int_equal(ngx_smtp_segment_remove(&spool, &f, NULL, 0,
                                                 TEST_NOW),
                         NGX_OK);
        assert_int_equal(test_spool_files("", "."), 0);
    }
}


/* SEALED says where the data end: a batch behind it was refused */

static void
test_end(void **state)
{
    size_t                       size, more;
    u_char                      *data, *tail;
    off_t                        ends[TEST_BATCHES + 1];
    ngx_uint_t                   live;
    ngx_smtp_segment_file_t      f;
    ngx_smtp_recovery_notes_t    notes;

    test_batches(&f, ends);

    data = test_file_read(data_name, &size);

    /* the disk fails: the batch is taken back, END is written */

    test_fault_set(test_fault_none, 0, 0);
    test_fault.what = test_fault_errno;
    test_fault.err = EIO;
    test_fault.at = 3;              /* fallocate, pwritev, fdatasync */
    f.log_space = f.log_end;
    f.owed = 0;
    assert_int_equal(test_append(&f, 10, 2, NULL), NGX_ERROR);
    assert_string_equal(test_fault.name, "fdatasync");
    assert_int_equal(f.full, 1);
    assert_int_equal(f.data_broken, 0);
    test_fault_clear();
    ngx_smtp_segment_close(&spool, &f);

    tail = test_file_read(data_name, &more);
    assert_int_equal(more, size);
    free(tail);

    /* and comes back with a power loss */

    assert_int_equal(ngx_smtp_segment_lock(&spool, &f, &id), NGX_OK);
    tail = malloc(size + (size_t) (ends[3] - ends[2]));
    memcpy(tail, data, size);
    memcpy(tail + size, data + ends[2], (size_t) (ends[3] - ends[2]));
    ngx_smtp_segment_close(NULL, &f);
    test_file_write(data_name, tail, size + (size_t) (ends[3] - ends[2]));

    live = test_recover_count(&notes);
    assert_int_equal(live, 9);
    assert_int_equal(notes.torn, 1);
    assert_int_equal(notes.damaged, 0);

    /* data that END names and that are not there were acknowledged */

    test_file_write(data_name, data, (size_t) ends[2]);
    live = test_recover_count(&notes);
    assert_int_equal(live, 5);
    assert_true(notes.damaged > 0);

    free(data);
    free(tail);
}


static void
test_short_data(void **state)
{
    off_t                       ends[TEST_BATCHES + 1];
    size_t                      size;
    u_char                     *data;
    ngx_int_t                   rc;
    ngx_uint_t                  live;
    ngx_smtp_recovery_t        *r;
    ngx_smtp_segment_file_t     f;
    ngx_smtp_recovery_notes_t   notes;

    test_batches(&f, ends);
    ngx_smtp_segment_close(&spool, &f);

    r = test_recover(&spool, &f, &id, &rc);
    assert_int_equal(test_seal(&f, r, TEST_NOW), NGX_OK);
    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);

    /* sealed, and shorter than SEALED says */

    data = test_file_read(data_name, &size);
    test_file_write(data_name, data, size - 1);
    free(data);

    live = test_recover_count(&notes);

    /* the last batch is damaged, its good messages are there */

    assert_int_equal(live, 8);
    assert_int_equal(notes.quarantined, 1);
    assert_true(notes.damaged > 0);
    assert_int_equal(notes.scanned, 1);
}


/* writes records as they are, sealed */

static void
test_put_record(ngx_smtp_segment_file_t *f, u_char *p, size_t size)
{
    assert_int_equal(ngx_smtp_segment_log(f, p, size, 1, 0), NGX_OK);
}


static void
test_new_types(void **state)
{
    u_char                     buf[NGX_SMTP_LOG_MARK];
    off_t                      ends[TEST_BATCHES + 1];
    ngx_int_t                  rc;
    ngx_smtp_recovery_t       *r;
    ngx_smtp_segment_file_t    f;

    test_batches(&f, ends);

    /* one that may be skipped, then one that may not */

    ngx_smtp_mark_put(buf, 99, 0, 0);
    buf[1] = NGX_SMTP_POLICY_IGNORE;
    test_put_record(&f, buf, sizeof(buf));
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_DONE, 1, 0, 0, 0), NGX_OK);
    ngx_smtp_segment_close(&spool, &f);

    r = test_recover(&spool, &f, &id, &rc);
    assert_int_equal(rc, NGX_OK);
    assert_int_equal(r->nlive, 8);
    ngx_smtp_recovery_free(r);

    ngx_smtp_mark_put(buf, 99, 0, 0);
    test_put_record(&f, buf, sizeof(buf));
    ngx_smtp_segment_close(&spool, &f);

    assert_null(test_recover(&spool, &f, &id, &rc));
    assert_int_equal(rc, NGX_DECLINED);
}


/* a seal that does not fit is as if it had not been tried */

static void
test_half_seal(void **state)
{
    off_t                      ends[TEST_BATCHES + 1], log_end;
    ngx_int_t                  rc;
    ngx_uint_t                 at;
    ngx_smtp_recovery_t       *r;
    ngx_smtp_segment_file_t    f;

    test_batches(&f, ends);
    test_events(&f);
    ngx_smtp_segment_close(&spool, &f);

    r = test_recover(&spool, &f, &id, &rc);
    assert_int_equal(rc, NGX_OK);
    log_end = f.log_end;

    /* reads of heads, then the write */

    test_fault_set(test_fault_errno, 9, ENOSPC);
    test_fault.half = 1;

    assert_int_equal(test_seal(&f, r, TEST_NOW), NGX_BUSY);
    assert_string_equal(test_fault.name, "pwritev");
    test_fault_clear();
    assert_int_equal(f.log_end, log_end);
    assert_int_equal(f.log_broken, 0);

    /* half of it was written; an event goes over it */

    assert_int_equal(test_log(&f, NGX_SMTP_LOG_DONE, 7, 0, 0, 0), NGX_OK);
    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);

    r = test_recover(&spool, &f, &id, &rc);
    assert_int_equal(rc, NGX_OK);
    assert_int_equal(r->notes.scanned, 1);
    assert_int_equal(r->nlive, 7);
    assert_null(test_live(r, 7));

    for (at = 1; at < 9; at++) {
        if (at != 3 && at != 7) {
            assert_non_null(test_live(r, at));
        }
    }

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);
}


static void
test_relogged(void **state)
{
    off_t                      ends[TEST_BATCHES + 1];
    ngx_int_t                  rc;
    ngx_smtp_recovery_t       *r;
    ngx_smtp_segment_file_t    f;

    test_batches(&f, ends);
    test_events(&f);
    ngx_smtp_segment_close(&spool, &f);

    r = test_recover(&spool, &f, &id, &rc);
    assert_int_equal(rc, NGX_OK);

    assert_int_equal(test_log(&f, NGX_SMTP_LOG_HOLD, 7, 0, 0, 0), NGX_OK);
    test_fault_set(test_fault_errno, 1, EIO);
    assert_int_equal(ngx_smtp_segment_log_sync(&f), NGX_ERROR);
    test_fault_clear();
    assert_int_equal(f.log_broken, 1);
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_DONE, 7, 0, 0, 0), NGX_ERROR);
    assert_int_equal(ngx_smtp_segment_reserve(&f, 0), NGX_ERROR);

    assert_int_equal(test_relog(&spool, &f, r, TEST_NOW), NGX_OK);
    assert_int_equal(f.log_broken, 0);
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_DONE, 7, 0, 0, 0), NGX_OK);
    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);

    r = test_recover(&spool, &f, &id, &rc);
    assert_int_equal(rc, NGX_OK);
    assert_int_equal(r->notes.scanned, 0);
    assert_int_equal(r->nlive, 7);
    assert_null(test_live(r, 7));
    assert_non_null(test_live(r, 2)->reports);
    assert_int_equal(test_spool_files("tmp", ""), 0);
    assert_int_equal(test_spool_files("", ".log"), 1);
    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(&spool, &f);
}


/* files that belong to the segment but to no message */

static void
test_left_over(void **state)
{
    char                        name[NGX_SMTP_FILE_NAME];
    off_t                       ends[TEST_BATCHES + 1];
    ngx_uint_t                  live;
    ngx_smtp_segment_id_t       other;
    ngx_smtp_segment_file_t     f;
    ngx_smtp_recovery_notes_t   notes;

    test_batches(&f, ends);
    ngx_smtp_segment_close(&spool, &f);

    ngx_smtp_body_name(name, &id, 4);
    test_file_write(name, (u_char *) "x", 1);
    ngx_smtp_body_name(name, &id, 4000000000u);
    test_file_write(name, (u_char *) "x", 1);
    ngx_smtp_log_name(name, &id, 2);
    test_file_write(name, (u_char *) "x", 1);

    other = id;
    other.bytes[11] ^= 1;
    ngx_smtp_body_name(name, &other, 4);
    test_file_write(name, (u_char *) "x", 1);

    live = test_recover_count(&notes);
    assert_int_equal(live, 9);
    assert_int_equal(notes.bodies, 2);
    assert_int_equal(test_spool_files("", ".body"), 1);
    assert_int_equal(test_spool_files("", ".log"), 1);
}


int
main(void)
{
#define test(name)                                                            \
    cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

    static const struct CMUnitTest  tests[] = {
        test(test_plain),
        test(test_torn_data),
        test(test_bit_rot),
        test(test_bit_rot_last),
        test(test_file_header),
        test(test_forged),
        test(test_zeros),
        test(test_log_events),
        test(test_after_seal),
        test(test_torn_log),
        test(test_log_rot),
        test(test_no_log),
        test(test_empty),
        test(test_end),
        test(test_short_data),
        test(test_new_types),
        test(test_half_seal),
        test(test_relogged),
        test(test_left_over),
    };

    return shim_run(tests);
}
