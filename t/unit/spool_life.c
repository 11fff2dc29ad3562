
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * See spool_life.h.
 *
 * sources: t/unit/spool.c
 */


#include "spool_life.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>


static void life_accepted(ngx_smtp_segment_file_t *f, uint32_t first,
    ngx_uint_t n, ngx_int_t rc);
static void life_fail(const char *what, uint32_t number);
static void life_judge(ngx_uint_t one);
static void life_judge_segment(const ngx_smtp_segment_id_t *id,
    ngx_uint_t one);
static void life_judge_message(ngx_smtp_recovery_t *r,
    ngx_smtp_segment_file_t *f, uint32_t number);
static void life_end_all(ngx_smtp_recovery_t *r, ngx_smtp_segment_file_t *f);


life_model_t      *life;
ngx_smtp_spool_t   life_spool;

static char        life_what[128];


/* the life */

int
life_setup(void **state)
{
    test_sync_off();
    (void) test_spool_make(&life_spool);

    life = mmap(NULL, sizeof(life_model_t), PROT_READ|PROT_WRITE,
                 MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    return life == MAP_FAILED;
}


int
life_teardown(void **state)
{
    munmap(life, sizeof(life_model_t));
    test_spool_remove(&life_spool);

    return 0;
}


void
life_accept(ngx_smtp_segment_file_t *f, uint32_t first, ngx_uint_t n)
{
    ngx_uint_t  i;

    for (i = first; i < first + n; i++) {
        life->fate[i].accept = 1;
    }

    life_accepted(f, first, n, test_append(f, first, n, NULL));
}


void
life_accept_large(ngx_smtp_segment_file_t *f)
{
    off_t                  offset, need;
    ngx_int_t              rc;
    struct iovec           iov[2];
    test_message_t         m;
    ngx_smtp_fault_t       fault;
    ngx_smtp_body_file_t   b;

    life->fate[LIFE_LARGE].accept = 1;

    test_message_make(&m, LIFE_LARGE, 1);

    need = ngx_smtp_log_need(m.head_size, m.nrcpts);

    rc = ngx_smtp_body_create(&life_spool, &b, "body-1");

    if (rc == NGX_OK) {
        iov[0].iov_base = m.content;
        iov[0].iov_len = m.content_size;

        rc = ngx_smtp_body_write(&b, iov, 1);

        if (rc == NGX_OK) {
            rc = ngx_smtp_segment_reserve(f, need);
        }

        if (rc != NGX_OK) {
            ngx_smtp_body_abort(&life_spool, &b);
        }
    }

    if (rc == NGX_OK) {
        rc = ngx_smtp_body_commit(&life_spool, &b, &f->header.id, LIFE_LARGE);
    }

    if (rc == NGX_OK) {
        iov[1].iov_base = m.head;
        iov[1].iov_len = m.head_size;

        rc = ngx_smtp_segment_append(f, iov, 2, 1, &offset);

        if (rc != NGX_OK && !f->data_broken) {
            (void) ngx_smtp_body_unlink(&life_spool, &f->header.id, LIFE_LARGE,
                                        &fault);
        }
    }

    life_accepted(f, LIFE_LARGE, 1, rc);
    test_message_free(&m);
}


static void
life_accepted(ngx_smtp_segment_file_t *f, uint32_t first, ngx_uint_t n,
    ngx_int_t rc)
{
    ngx_uint_t  i;

    for (i = first; i < first + n; i++) {

        if (rc == NGX_OK) {
            life->fate[i].accept = 2;

        } else {
            life->fate[i].refused = 1;
        }
    }

    life->broken |= f->data_broken;
}


void
life_event(ngx_smtp_segment_file_t *f, ngx_uint_t type, uint32_t number,
    unsigned char *fate)
{
    ngx_int_t  rc;

    if (life->fate[number].accept != 2) {
        return;
    }

    /* what could not be recorded may be recorded the next time */

    *fate = ngx_max(*fate, 1);

    if (type == NGX_SMTP_LOG_REPORT) {
        rc = test_log_failed(f, number, 1);

    } else {
        rc = test_log(f, type, number, 0, type == NGX_SMTP_LOG_RESULT, 0);
    }

    if (rc == NGX_OK) {
        *fate = 2;
    }
}


void
life_end_large(ngx_smtp_segment_file_t *f)
{
    unsigned char     *done;
    ngx_smtp_fault_t   fault;

    done = &life->fate[LIFE_LARGE].done;

    life_event(f, NGX_SMTP_LOG_DONE, LIFE_LARGE, done);

    if (ngx_smtp_segment_log_sync(f) == NGX_OK && *done == 2) {
        (void) ngx_smtp_body_unlink(&life_spool, &f->header.id, LIFE_LARGE,
                                    &fault);
    }
}


ngx_smtp_recovery_t *
life_adopt(ngx_smtp_segment_file_t *f)
{
    ngx_int_t             rc;
    ngx_uint_t            i;
    ngx_smtp_recovery_t  *r;

    r = NULL;

    for (i = 0; i < 3 && r == NULL; i++) {
        r = test_recover(&life_spool, f, &life->id, &rc);
    }

    return r;
}


/* one life, and the judgment */

ngx_uint_t
life_run(const char *kind, void (*youth)(void),
    void (*lead)(void), test_fault_e what, ngx_uint_t at, int err,
    ngx_uint_t half, ngx_uint_t one)
{
    int    status;
    pid_t  pid;

    static const char  *names[] = { "none", "stop", "once", "all", "short" };

    memset(life, 0, sizeof(life_model_t));

    (void) snprintf(life_what, sizeof(life_what), "%s%s at %lu, %s, %s", kind,
                    names[what], (unsigned long) at,
                    err == EIO ? "EIO" : err == ENOSPC ? "ENOSPC" : "-",
                    half ? "half" : "whole");

    if (youth) {
        youth();
    }

    pid = (what == test_fault_stop) ? fork() : 0;

    assert_true(pid >= 0);

    if (pid == 0) {
        test_fault_set(what, at, err);
        test_fault.half = half;

        lead();

        life->finished = 1;
        life->calls = test_fault.calls;

        if (what == test_fault_stop) {
            _exit(0);
        }

        test_fault_clear();
        test_sync_off();

    } else {
        assert_int_equal(waitpid(pid, &status, 0), pid);

        if (!WIFEXITED(status)
            || WEXITSTATUS(status) != (life->finished ? 0 : 9))
        {
            life_fail("died", 0);
        }
    }

    life_judge(one);

    return life->calls;
}


static void
life_judge(ngx_uint_t one)
{
    uint32_t               i;
    ngx_uint_t             n;
    ngx_smtp_fault_t       fault;
    ngx_smtp_spool_list_t  list;

    ngx_smtp_spool_clean(&life_spool, time(NULL) + 3600);

    if (ngx_smtp_spool_list(&life_spool, &list, &fault) != NGX_OK) {
        life_fail("is not listed", 0);
    }

    for (n = 0; n < list.norphans; n++) {

        if (ngx_smtp_spool_orphan(&life_spool, &list.orphans[n], &fault)
            != NGX_OK)
        {
            life_fail("has a log without data", 0);
        }
    }

    if (list.strange) {
        life_fail("has a strange file", 0);
    }

    if (one && (list.norphans || list.nsegments != 1)) {
        life_fail("is not where it belongs", 0);
    }

    for (n = 0; n < list.nsegments; n++) {
        life_judge_segment(&list.segments[n].id, one);
    }

    if (list.nsegments == 0) {

        for (i = 1; i < LIFE_MESSAGES; i++) {
            life_judge_message(NULL, NULL, i);
        }
    }

    if (life->removed && list.nsegments) {
        life_fail("is removed, its segment is not", 0);
    }

    ngx_smtp_spool_list_free(&list);

    /* of all that nothing is left */

    ngx_smtp_spool_clean(&life_spool, time(NULL) + 3600);

    if (test_spool_files("", ".") || test_spool_files("tmp", "")) {
        life_fail("left files behind", 0);
    }
}


/* thrice: nothing a recovery or a seal does may change the state */

static void
life_judge_segment(const ngx_smtp_segment_id_t *id, ngx_uint_t one)
{
    uint32_t                  i;
    ngx_int_t                 rc;
    ngx_uint_t                pass;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_segment_file_t   f;

    for (pass = 0; pass < 3; pass++) {
        r = test_recover(&life_spool, &f, id, &rc);

        if (r == NULL) {
            life_fail("cannot be recovered", 0);
        }

        if (r->notes.damaged || r->notes.quarantined || r->notes.no_log
            || (one && r->notes.torn)
            || (pass && (r->notes.torn || r->notes.events_lost)))
        {
            life_fail("is said to be damaged", 0);
        }

        if (one && (test_spool_files("", ".log") != 1
                    || test_spool_files("", ".data") != 1
                    || test_spool_files("tmp", "") != 0))
        {
            life_fail("left files behind", 0);
        }

        if (memcmp(id, &life->id, sizeof(life->id)) == 0) {

            for (i = 1; i < LIFE_MESSAGES; i++) {
                life_judge_message(r, &f, i);
            }

        } else if (r->nlive) {
            life_fail("is in a segment that was not made", 0);
        }

        if (pass == 1 && r->nlive && test_seal(&f, r, TEST_NOW) != NGX_OK) {
            life_fail("cannot be sealed", 0);
        }

        if (pass == 2) {
            life_end_all(r, &f);

        } else {
            ngx_smtp_segment_close(&life_spool, &f);
        }

        ngx_smtp_recovery_free(r);
    }
}


static void
life_judge_message(ngx_smtp_recovery_t *r, ngx_smtp_segment_file_t *f,
    uint32_t number)
{
    life_fate_t           *fate;
    ngx_smtp_recovered_t  *m;

    fate = &life->fate[number];
    m = r ? test_live(r, number) : NULL;

    if (m == NULL) {

        if (fate->accept == 2 && !fate->done) {
            life_fail("was acknowledged and is lost", number);
        }

        return;
    }

    if (fate->accept == 0) {
        life_fail("came from nowhere", number);
    }

    if (fate->refused) {

        if (!life->broken) {
            life_fail("was refused and is there", number);
        }

        return;
    }

    if (fate->done == 2) {
        life_fail("was ended and came back", number);
    }

    if (!test_intact(&life_spool, f, m)) {
        life_fail("is damaged", number);
    }

    if (fate->result == 2 && !test_final(m, 0)) {
        life_fail("lost its result", number);
    }

    if (!fate->result && !fate->report && m->npending != m->nrcpts) {
        life_fail("has a result it never had", number);
    }

    if (fate->report && m->nreports != test_final(m, 0)) {
        life_fail("has a failure without a report", number);
    }

    if (fate->report == 2 && !fate->reported && m->reports == NULL) {
        life_fail("lost its report", number);
    }

    if (fate->reported == 2 && m->reports) {
        life_fail("reports again", number);
    }

    if (fate->release == 2 ? m->hold
                           : fate->hold == 2 && !fate->release && !m->hold)
    {
        life_fail("is on hold, or not, as it was not", number);
    }
}


static void
life_end_all(ngx_smtp_recovery_t *r, ngx_smtp_segment_file_t *f)
{
    ngx_uint_t   i, n;
    uint32_t    *numbers;

    numbers = calloc(r->nmessages + 1, sizeof(uint32_t));
    n = 0;

    for (i = 0; i < r->nmessages; i++) {

        if (r->messages[i].done) {
            continue;
        }

        if (r->messages[i].large) {
            numbers[n++] = r->messages[i].number;
        }

        if (test_log(f, NGX_SMTP_LOG_DONE, r->messages[i].number, 0, 0, 0)
            != NGX_OK)
        {
            life_fail("cannot be ended", r->messages[i].number);
        }
    }

    if (ngx_smtp_segment_remove(&life_spool, f, numbers, n, TEST_NOW)
        != NGX_OK)
    {
        life_fail("is the last, the segment cannot be removed", 0);
    }

    free(numbers);
}


static void
life_fail(const char *what, uint32_t number)
{
    fprintf(stderr, "# %s: message %u %s\n", life_what, number, what);
    fail();
}
