
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Section 6 of docs/spool-format.md, row by row: each row is a system call of
 * a step.  The step is run on a disk of powerloss.h; the state right after
 * that call is made twice, for a killed process and for a loss of power that
 * takes everything not synced, and recovered.  Then the step is run again with
 * that call failing with ENOSPC and with EIO.  What is found is a short text:
 *
 *   -            nothing
 *   log          a log alone that says its segment was ended, removed
 *   0            a segment without mail, removed
 *   2:01h        message 2 is live, recipient 1 is final, it is on hold
 *   2:0d3        its next attempt is put off, 3 attempts were made
 *   2:1(1.2)     report 1 is due, of kind 2
 *   +body        a body that no live message names was left (and unlinked)
 *   !            the log is told of damage or loss
 *
 * The table here and the tables there have the same rows, with the same calls.
 *
 * sources: core/ngx_smtp_sys.c core/ngx_smtp_crc32c.c
 * sources: core/ngx_smtp_pages.c
 * sources: spool/ngx_smtp_record.c spool/ngx_smtp_event.c
 * sources: spool/ngx_smtp_spool_dir.c spool/ngx_smtp_segment.c
 * sources: spool/ngx_smtp_segment_log.c
 * sources: spool/ngx_smtp_seal.c spool/ngx_smtp_body.c
 * sources: spool/ngx_smtp_window.c spool/ngx_smtp_recovery.c
 * sources: spool/ngx_smtp_recovery_log.c spool/ngx_smtp_recovery_scan.c
 * sources: spool/ngx_smtp_errors.c
 * sources: t/unit/spool.c t/unit/powerloss.c t/unit/powerloss_disk.c
 * sources: spool/ngx_smtp_recovery_skip.c
 * sources: spool/ngx_smtp_rewrite.c
 * sources: spool/ngx_smtp_rewrite_log.c
 */


#include "spool.h"
#include "powerloss.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define TEST_LARGE      3
#define TEST_TAIL       "what was being written"


/* a step: prepare is before the trace, run in it; rc of what it does */
typedef struct {
    const char         *name;
    ngx_int_t         (*prepare)(void);
    ngx_int_t         (*run)(void);
    const char         *fail;       /* fdatasync() of such a file fails */
} test_step_t;


typedef struct {
    const char         *row;        /* section and first cell */
    const char         *call;       /* as in the second cell */
    test_step_t        *step;
    const char         *part;       /* of the file's name; NULL: the start */
    ngx_uint_t          nth;        /* such call in the step, from 1 */
    const char         *killed;
    const char         *lost;       /* after a loss of power */
    const char         *enospc;     /* "rc found"; NULL: cannot be */
    const char         *eio;
} test_row_t;


static ngx_int_t test_prepare_none(void);
static ngx_int_t test_prepare_one(void);
static ngx_int_t test_prepare_load(void);
static ngx_int_t test_prepare_large(void);
static ngx_int_t test_prepare_zeros(void);
static ngx_int_t test_prepare_torn(void);
static ngx_int_t test_prepare_no_log(void);
static ngx_int_t test_prepare_broken(void);
static ngx_int_t test_prepare_ended(void);
static ngx_int_t test_prepare_mostly(void);
static ngx_int_t test_run_create(void);
static ngx_int_t test_run_large(void);
static ngx_int_t test_run_accept(void);
static ngx_int_t test_run_deliver(void);
static ngx_int_t test_run_report(void);
static ngx_int_t test_run_delay(void);
static ngx_int_t test_run_seal(void);
static ngx_int_t test_run_leave(void);
static ngx_int_t test_run_adopt(void);
static ngx_int_t test_run_relog(void);
static ngx_int_t test_run_compact(void);
static ngx_int_t test_run_remove(void);
static ngx_int_t test_event(ngx_uint_t type, uint32_t number,
    ngx_uint_t kind);
static void test_summary(ngx_smtp_summary_t *s);
static void test_start(test_step_t *step);
static void test_end(void);
static ngx_uint_t test_find(test_row_t *row);
static char *test_found(const char *path);
static char *test_found_segment(char *p, ngx_smtp_spool_t *spool,
    const ngx_smtp_segment_id_t *id);
static void test_row(test_row_t *row);
static void test_row_fault(test_row_t *row, ngx_uint_t number, int err,
    const char *want);
static void test_compare(test_row_t *row, const char *what, const char *want,
    const char *found);


static ngx_smtp_spool_t         spool;
static ngx_smtp_segment_file_t  file;
static ngx_smtp_body_file_t     body;
static off_t                    test_offset;    /* of message 2 */
static ngx_smtp_summary_t       test_one;       /* of it */
static char                     test_path[64], test_disk[80];
static ngx_uint_t               test_first;     /* call of the step */
static ngx_uint_t               test_wrong;


static test_step_t  create = { "create", test_prepare_none, test_run_create,
                               NULL };
static test_step_t  large = { "large", test_prepare_one, test_run_large,
                              NULL };
static test_step_t  accept_one = { "accept", test_prepare_one,
                                   test_run_accept, NULL };
static test_step_t  accept_load = { "accept, zeros ahead", test_prepare_load,
                                    test_run_accept, NULL };
static test_step_t  take_back = { "take back", test_prepare_one,
                                  test_run_accept, ".data" };
static test_step_t  deliver = { "deliver", test_prepare_large,
                                test_run_deliver, NULL };
static test_step_t  report = { "report", test_prepare_one, test_run_report,
                               NULL };
static test_step_t  delay = { "delay", test_prepare_one, test_run_delay,
                              NULL };
static test_step_t  seal = { "seal", test_prepare_zeros, test_run_seal,
                             NULL };
static test_step_t  leave = { "leave", test_prepare_zeros, test_run_leave,
                              NULL };
static test_step_t  adopt = { "adopt", test_prepare_torn, test_run_adopt,
                              NULL };
static test_step_t  no_log = { "adopt without log", test_prepare_no_log,
                               test_run_adopt, NULL };
static test_step_t  relog = { "relog", test_prepare_broken, test_run_relog,
                              NULL };
static test_step_t  compact = { "compact", test_prepare_mostly,
                                test_run_compact, NULL };
static test_step_t  remove_it = { "remove", test_prepare_ended,
                                  test_run_remove, NULL };


static test_row_t  test_rows[] = {
#include "spool_states.h"
};


/* the steps; message 2 has three recipients, 3 one and a large body */

static ngx_int_t
test_prepare_none(void)
{
    return NGX_OK;
}


static ngx_int_t
test_prepare_one(void)
{
    if (test_segment_create(&spool, &file, 1, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    return test_append(&file, 2, 1, &test_offset);
}


/* as if many batches had come: the next one has zeros written ahead */

static ngx_int_t
test_prepare_load(void)
{
    if (test_prepare_one() != NGX_OK) {
        return NGX_ERROR;
    }

    file.batch = 1000;

    return NGX_OK;
}


static ngx_int_t
test_prepare_large(void)
{
    return test_prepare_one() == NGX_OK ? test_run_large() : NGX_ERROR;
}


static ngx_int_t
test_prepare_zeros(void)
{
    if (test_segment_create(&spool, &file, 1, 9000) != NGX_OK
        || test_append(&file, 2, 1, &test_offset) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return test_event(NGX_SMTP_LOG_RESULT, 2, 0);
}


/* a batch and a record that were cut short, and a body nobody knows */

static ngx_int_t
test_prepare_torn(void)
{
    int                fd;
    char               name[NGX_SMTP_FILE_NAME];
    u_char             tail[NGX_SMTP_BATCH_HEADER + 100];
    struct iovec       iov;
    ngx_smtp_batch_t   batch;
    ngx_smtp_fault_t   fault;

    if (test_prepare_one() != NGX_OK
        || test_event(NGX_SMTP_LOG_RESULT, 2, 0) != NGX_OK
        || ngx_smtp_segment_log_sync(&file) != NGX_OK)
    {
        return NGX_ERROR;
    }

    memset(tail, 'x', sizeof(tail));

    batch.sequence = 2;
    batch.messages = 1;
    batch.length = 4000;

    ngx_smtp_batch_put(tail, &file.header, &batch);

    iov.iov_base = tail;
    iov.iov_len = sizeof(tail);

    if (ngx_smtp_write_all(file.data, &iov, 1, file.data_end, &fault, "")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    iov.iov_base = TEST_TAIL;
    iov.iov_len = sizeof(TEST_TAIL) - 1;

    if (ngx_smtp_write_all(file.log, &iov, 1, file.log_end, &fault, "")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_smtp_body_name(name, &file.header.id, 77);

    fd = ngx_smtp_sys.openat(spool.dir, name, O_CREAT|O_WRONLY, 0600);

    if (fd == -1 || ngx_smtp_sys.fsync(file.data) == -1
        || ngx_smtp_sys.fsync(file.log) == -1)
    {
        return NGX_ERROR;
    }

    (void) ngx_smtp_sys.close(fd);
    ngx_smtp_segment_close(NULL, &file);

    return ngx_smtp_sys.fsync(spool.dir) == 0 ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
test_prepare_no_log(void)
{
    char  name[NGX_SMTP_FILE_NAME];

    if (test_prepare_one() != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_smtp_log_name(name, &file.header.id, 1);
    ngx_smtp_segment_close(NULL, &file);

    return ngx_smtp_sys.unlinkat(spool.dir, name, 0) == 0
           && ngx_smtp_sys.fsync(spool.dir) == 0 ? NGX_OK : NGX_ERROR;
}


/* the result that did not get to the disk is in the summary */

static ngx_int_t
test_prepare_broken(void)
{
    if (test_prepare_one() != NGX_OK) {
        return NGX_ERROR;
    }

    file.log_broken = 1;

    return NGX_OK;
}


static ngx_int_t
test_prepare_ended(void)
{
    if (test_prepare_large() != NGX_OK
        || test_event(NGX_SMTP_LOG_DONE, 2, 0) != NGX_OK
        || test_event(NGX_SMTP_LOG_DONE, TEST_LARGE, 0) != NGX_OK
        || ngx_smtp_segment_log_sync(&file) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* two of three have ended, in another batch than the one that lives */

static ngx_int_t
test_prepare_mostly(void)
{
    if (test_prepare_one() != NGX_OK
        || test_append(&file, 4, 2, NULL) != NGX_OK
        || test_event(NGX_SMTP_LOG_RESULT, 2, 0) != NGX_OK
        || test_event(NGX_SMTP_LOG_DONE, 4, 0) != NGX_OK
        || test_event(NGX_SMTP_LOG_DONE, 5, 0) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_smtp_segment_log_sync(&file);
}


static ngx_int_t
test_run_create(void)
{
    return test_segment_create(&spool, &file, 1, 0);
}


static ngx_int_t
test_run_large(void)
{
    off_t             offset;
    ngx_int_t         rc;
    struct iovec      iov[2];
    test_message_t    m;
    ngx_smtp_fault_t  fault;

    test_message_make(&m, TEST_LARGE, 1);

    rc = ngx_smtp_body_create(&spool, &body, "body-1");

    if (rc == NGX_OK) {
        iov[0].iov_base = m.content;
        iov[0].iov_len = m.content_size;

        rc = ngx_smtp_body_write(&body, iov, 1);

        if (rc != NGX_OK) {
            ngx_smtp_body_abort(&spool, &body);
        }
    }

    if (rc == NGX_OK) {
        rc = ngx_smtp_body_commit(&spool, &body, &file.header.id, TEST_LARGE);
    }

    if (rc == NGX_OK) {
        rc = ngx_smtp_segment_reserve(&file, ngx_smtp_log_need(m.head_size,
                                                               1));
    }

    if (rc == NGX_OK) {
        iov[1].iov_base = m.head;
        iov[1].iov_len = m.head_size;

        rc = ngx_smtp_segment_append(&file, iov, 2, 1, &offset);

        if (rc != NGX_OK) {
            (void) ngx_smtp_body_unlink(&spool, &file.header.id, TEST_LARGE,
                                        &fault);
        }
    }

    test_message_free(&m);

    return rc;
}


static ngx_int_t
test_run_accept(void)
{
    /* room that has to be asked for */

    file.log_space = file.log_end;

    return test_append(&file, 4, 1, NULL);
}


static ngx_int_t
test_run_deliver(void)
{
    ngx_int_t         rc;
    ngx_smtp_fault_t  fault;

    rc = test_event(NGX_SMTP_LOG_DONE, TEST_LARGE, 0);

    if (rc == NGX_OK) {
        rc = ngx_smtp_segment_log_sync(&file);
    }

    return rc == NGX_OK ? ngx_smtp_body_unlink(&spool, &file.header.id,
                                               TEST_LARGE, &fault)
                        : rc;
}


static ngx_int_t
test_run_report(void)
{
    ngx_int_t  rc;

    rc = test_log_failed(&file, 2, 1);

    if (rc == NGX_OK) {
        rc = ngx_smtp_segment_log_sync(&file);
    }

    if (rc == NGX_OK) {
        rc = test_event(NGX_SMTP_LOG_REPORT_DEFERRED, 2, 0);
    }

    if (rc == NGX_OK) {
        rc = test_event(NGX_SMTP_LOG_REPORTED, 2, 0);
    }

    return rc == NGX_OK ? ngx_smtp_segment_log_sync(&file) : rc;
}


static ngx_int_t
test_run_delay(void)
{
    ngx_int_t  rc;

    rc = test_event(NGX_SMTP_LOG_REPORT, 2, NGX_SMTP_REPORT_DELAY);

    if (rc == NGX_OK) {
        rc = ngx_smtp_segment_log_sync(&file);
    }

    if (rc == NGX_OK) {
        rc = test_log_failed(&file, 2, 2);
    }

    if (rc == NGX_OK) {
        rc = ngx_smtp_segment_log_sync(&file);
    }

    return rc == NGX_OK ? test_event(NGX_SMTP_LOG_REPORT, 2,
                                     NGX_SMTP_REPORT_DOUBLE)
                        : rc;
}


/* an event with one result; a double takes the place of report 2 */

static ngx_int_t
test_event(ngx_uint_t type, uint32_t number, ngx_uint_t kind)
{
    u_char             buf[4096], *p;
    ngx_smtp_event_t   e;
    ngx_smtp_result_t  result;

    memset(&e, 0, sizeof(e));
    memset(&result, 0, sizeof(result));

    result.status = kind ? NGX_SMTP_RESULT_DEFERRED
                         : NGX_SMTP_RESULT_DELIVERED;
    result.text = shim_str("2.0.0 it is taken");

    e.type = type;
    e.number = number;
    e.time = TEST_NOW;
    e.until = TEST_NOW + 60;
    e.attempts = 1;
    e.report = kind == NGX_SMTP_REPORT_DOUBLE ? 2 : 1;
    e.kind = kind;
    e.peer = shim_str("mx.example.com[192.0.2.7]:25");
    e.results = &result;
    e.nresults = 1;

    p = ngx_smtp_event_put(buf, &e);

    return ngx_smtp_segment_log(&file, buf, p - buf,
                                type != NGX_SMTP_LOG_REPORT_DEFERRED, 0);
}


/* of message 2, whose first recipient is final */

static void
test_summary(ngx_smtp_summary_t *s)
{
    test_message_t  m;

    test_message_make(&m, 2, 0);

    memset(s, 0, sizeof(ngx_smtp_summary_t));

    s->number = 2;
    s->head_size = m.head_size;
    s->nrcpts = 3;
    s->attempts = 1;
    s->offset = test_offset;
    s->size = m.content_size;
    s->received = TEST_NOW;
    s->due_at = TEST_NOW;
    s->queue = shim_str("cluster");
    s->final_word = 1;

    test_message_free(&m);
}


static ngx_int_t
test_run_seal(void)
{
    /* the names of its queues need more than is there */

    file.log_space = file.log_end;

    test_summary(&test_one);

    return ngx_smtp_segment_seal(&file, &test_one, 1, NULL, 0, 3, TEST_NOW,
                                 TEST_NOW);
}


static ngx_int_t
test_run_leave(void)
{
    ngx_int_t  rc;

    rc = ngx_smtp_segment_settle(&file, TEST_NOW);

    ngx_smtp_segment_close(&spool, &file);

    return rc;
}


static ngx_int_t
test_run_adopt(void)
{
    ngx_int_t             rc;
    ngx_smtp_recovery_t  *r;

    r = test_recover(&spool, &file, &file.header.id, &rc);

    if (r == NULL) {
        return rc;
    }

    rc = test_seal(&file, r, TEST_NOW);

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(NULL, &file);

    return rc;
}


static ngx_int_t
test_run_relog(void)
{
    test_summary(&test_one);

    return ngx_smtp_segment_relog(&spool, &file, &test_one, 1, NULL, 0, 3,
                                  TEST_NOW);
}


/* one more recipient gets a result meanwhile */

static ngx_int_t
test_run_compact(void)
{
    ngx_int_t           rc;
    ngx_smtp_rewrite_t  rw;

    ngx_smtp_rewrite_start(&rw, &spool, &file, 1);

    test_summary(&test_one);

    rw.content.summaries = &test_one;
    rw.content.n = 1;
    rw.content.next_number = 6;
    rw.content.now = TEST_NOW;
    rw.content.earliest = TEST_NOW;

    rc = test_log(&file, NGX_SMTP_LOG_RESULT, 2, 1, 2, 0);

    while (rc == NGX_OK && rw.part) {
        rw.log_end = file.log_end;

        rc = ngx_smtp_rewrite_step(&rw);

        if (rc == NGX_AGAIN) {
            rc = NGX_OK;
        }
    }

    if (rc == NGX_OK) {
        rc = ngx_smtp_rewrite_commit(&rw);
    }

    ngx_smtp_rewrite_end(&rw);

    if (rw.old_data != -1) {
        (void) ngx_smtp_sys.close(rw.old_data);
    }

    return rc;
}


static ngx_int_t
test_run_remove(void)
{
    uint32_t  number;

    number = TEST_LARGE;

    return ngx_smtp_segment_remove(&spool, &file, &number, 1, TEST_NOW);
}


/* running a step */

static void
test_start(test_step_t *step)
{
    ngx_smtp_fault_t  fault;

    snprintf(test_path, sizeof(test_path), "%s", test_spool_make(&spool));
    snprintf(test_disk, sizeof(test_disk), "%s.disk", test_path);

    /* traced from here on, with the descriptors that are open */

    ngx_smtp_spool_close(&spool);

    power_start(test_path);

    assert_int_equal(ngx_smtp_spool_open(&spool, test_path, &fault), NGX_OK);

    memset(&file, 0, sizeof(file));

    file.data = -1;
    file.log = -1;

    assert_int_equal(step->prepare(), NGX_OK);

    test_first = power_calls();
}


static void
test_end(void)
{
    if (file.data > 0) {
        ngx_smtp_segment_close(NULL, &file);
    }

    file.data = -1;
    file.log = -1;

    power_stop();
    test_spool_remove(&spool);
    power_remove(test_disk);
    power_free();
}


/* the place of the row's call in the trace */

static ngx_uint_t
test_find(test_row_t *row)
{
    char        want[64];
    ngx_uint_t  n, nth;

    nth = 0;

    snprintf(want, sizeof(want), "%s ", row->call);

    for (n = test_first; n < power_calls(); n++) {

        if (strncmp(power_name(n), want, strlen(want)) == 0
            && strstr(power_name(n), row->part) && ++nth == row->nth)
        {
            return n;
        }
    }

    for (n = test_first; n < power_calls(); n++) {
        fprintf(stderr, "# %s\n", power_name(n));
    }

    fail_msg("%s: no %s of %s in step \"%s\"", row->row, row->call, row->part,
             row->step->name);

    return 0;
}


/* what is found */

static char *
test_found_segment(char *p, ngx_smtp_spool_t *spool,
    const ngx_smtp_segment_id_t *id)
{
    ngx_int_t                     rc;
    ngx_uint_t                    i, k;
    ngx_smtp_recovery_t          *r;
    ngx_smtp_recovered_t         *m;
    ngx_smtp_segment_file_t       f;
    ngx_smtp_recovered_report_t  *report;

    r = test_recover(spool, &f, id, &rc);

    if (r == NULL) {
        return p + sprintf(p, " rc%d", (int) rc);
    }

    if (r->notes.damaged || r->notes.quarantined || r->notes.no_log
        || r->notes.torn || r->notes.events_lost)
    {
        p += sprintf(p, " !");
    }

    if (r->notes.bodies) {
        p += sprintf(p, " +body");
    }

    for (i = 0; i < r->nmessages; i++) {
        m = &r->messages[i];

        if (m->done) {
            continue;
        }

        p += sprintf(p, " %u:", m->number);

        for (k = 0; k < m->nrcpts; k++) {
            *p++ = test_final(m, k) ? '1' : '0';
        }

        if (m->hold) {
            *p++ = 'h';
        }

        if (m->delay_told) {
            *p++ = 'd';
        }

        *p = '\0';

        for (report = m->reports; report; report = report->next) {
            p += sprintf(p, "(%u.%u%s)", report->number,
                         (unsigned) report->kind,
                         report->due_at > TEST_NOW + 30 ? "+" : "");
        }

        if (!test_intact(spool, &f, m)) {
            p += sprintf(p, "damaged");
        }
    }

    if (r->nlive == 0) {
        p += sprintf(p, " 0");
        rc = ngx_smtp_segment_remove(spool, &f, NULL, 0, TEST_NOW);

        if (rc != NGX_OK) {
            p += sprintf(p, "not removed");
        }

    } else if (r->notes.scanned) {
        rc = test_seal(&f, r, TEST_NOW);

        if (rc != NGX_OK) {
            p += sprintf(p, "not sealed");
        }
    }

    ngx_smtp_recovery_free(r);
    ngx_smtp_segment_close(NULL, &f);

    return p;
}


static char *
test_found(const char *path)
{
    static char  text[1024];

    char                   *p;
    ngx_uint_t              i;
    ngx_smtp_spool_t        s;
    ngx_smtp_fault_t        fault;
    ngx_smtp_spool_list_t   list;

    assert_int_equal(ngx_smtp_spool_open(&s, path, &fault), NGX_OK);
    assert_int_equal(ngx_smtp_spool_list(&s, &list, &fault), NGX_OK);

    p = text;
    *p = '\0';

    for (i = 0; i < list.norphans; i++) {
        p += sprintf(p, "%s", ngx_smtp_spool_orphan(&s, &list.orphans[i],
                                                    &fault)
                              == NGX_OK ? " log" : " !log");
    }

    for (i = 0; i < list.nsegments; i++) {
        p = test_found_segment(p, &s, &list.segments[i].id);
    }

    if (list.nsegments == 0 && list.norphans == 0) {
        p += sprintf(p, " -");
    }

    ngx_smtp_spool_list_free(&list);
    ngx_smtp_spool_close(&s);

    return text + 1;
}


/* the test of a row */

static void
test_compare(test_row_t *row, const char *what, const char *want,
    const char *found)
{
    if (want && strcmp(want, found) == 0) {
        return;
    }

    test_wrong++;
    fprintf(stderr, "# %s, %s: \"%s\" is found, not \"%s\"\n", row->row, what,
            found, want ? want : "?");
}


static void
test_row_fault(test_row_t *row, ngx_uint_t number, int err, const char *want)
{
    char        text[1024];
    ngx_int_t   rc;

    if (want == NULL) {
        return;
    }

    test_start(row->step);

    power_fail(row->step->fail ? "fdatasync" : NULL, row->step->fail, EIO);

    power_fault.at = number;
    power_fault.times = strcmp(row->call, "fallocate") == 0 ? 2 : 1;
    power_fault.err = err;

    rc = row->step->run();

    assert_in_range(power_fault.hits, 1, 2);

    if (file.data > 0) {
        ngx_smtp_segment_close(NULL, &file);
    }

    power_fault.at = 0;

    snprintf(text, sizeof(text), "%s %s",
             rc == NGX_OK ? "ok" : rc == NGX_BUSY ? "busy" : "error",
             test_found(test_path));

    test_compare(row, err == EIO ? "EIO" : "ENOSPC", want, text);

    test_end();
}


static void
test_row(test_row_t *row)
{
    ngx_uint_t  n, number;

    test_start(row->step);

    n = power_calls();
    number = row->nth ? power_fault.calls + row->nth : 0;

    power_all = 1;

    power_fail(row->step->fail ? "fdatasync" : NULL, row->step->fail, EIO);
    (void) row->step->run();

    power_all = 0;

    if (row->part) {
        n = test_find(row) + 1;
        number = power_number(n - 1);
    }

    power_make(test_disk, n, power_keep, 0);
    test_compare(row, "killed", row->killed, test_found(test_disk));

    power_make(test_disk, n, power_drop, 0);
    test_compare(row, "power lost", row->lost, test_found(test_disk));

    test_end();

    if (number) {
        test_row_fault(row, number, ENOSPC, row->enospc);
        test_row_fault(row, number, EIO, row->eio);
    }
}


static void
test_states(void **state)
{
    ngx_uint_t  i;

    test_sync_off();
    test_wrong = 0;

    for (i = 0; i < sizeof(test_rows) / sizeof(test_row_t); i++) {
        test_row(&test_rows[i]);
    }

    assert_int_equal(test_wrong, 0);
}


/* the tables of the document have the same rows */

static void
test_document(void **state)
{
    int          c;
    FILE        *f;
    char         line[2048], section[16], row[32], call[32], *p;
    ngx_uint_t   i, dashes;

    f = fopen(SHIM_ROOT "/docs/spool-format.md", "r");
    assert_non_null(f);

    section[0] = '\0';
    dashes = 0;
    i = 0;

    while (fgets(line, sizeof(line), f)) {

        if (line[0] == '#') {
            c = sscanf(line, "### %15s ", section);
            dashes = 0;

            if (c != 1 || section[0] != '6') {
                section[0] = '\0';
            }
        }

        if (!section[0] || line[0] != '|' || line[1] != ' '
            || line[2] == '#')
        {
            continue;
        }

        snprintf(row, sizeof(row), "%s %.*s", section,
                 (int) strcspn(line + 2, " "), line + 2);

        if (line[2] == '-') {
            sprintf(row + strlen(row), "%d", (int) ++dashes);
        }

        /* the call is the first word in backticks of the second cell */

        p = strchr(line + 2, '|') + 2;
        call[0] = '\0';

        if (line[2] != '-') {
            p += strcspn(p, "`");
            (void) sscanf(p, "`%31[a-z0-9]", call);
        }

        if (i == sizeof(test_rows) / sizeof(test_row_t)
            || strcmp(row, test_rows[i].row) != 0
            || (line[2] != '-' && strcmp(call, test_rows[i].call) != 0))
        {
            fail_msg("row \"%s\" (%s) of docs/spool-format.md is not the next "
                     "one of the test, which is \"%s\"", row, call,
                     i < sizeof(test_rows) / sizeof(test_row_t)
                     ? test_rows[i].row : "none");
        }

        i++;
    }

    fclose(f);

    assert_int_equal(i, sizeof(test_rows) / sizeof(test_row_t));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_states),
    };

    return shim_run(tests);
}
