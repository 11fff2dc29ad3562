
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A scene for the store under faults, see store_scene.h.
 *
 * sources: t/unit/store_env.c t/unit/store_scene_judge.c t/unit/powerloss.c
 * sources: t/unit/powerloss_disk.c
 */


/*
 * See store_scene.h.  In a life with faults a mail may be refused and a
 * segment may not be ready: then what was to be done to it is left out, as
 * the relay would.
 */


#include "store_scene.h"
#include "ngx_smtp_store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


static int scene_nosync(int fd);
static void scene_accept(scene_t *s, env_worker_t *w, ngx_uint_t i,
    ngx_uint_t nrcpts);
static void scene_accepted(scene_t *s);
static void scene_large(env_worker_t *w, env_mail_t *mail);
static void scene_large_handler(void *data, ngx_int_t rc);
static ngx_smtp_message_t *scene_message(scene_t *s, env_worker_t *w,
    ngx_uint_t i);
static scene_fact_t *scene_fact(scene_t *s, ngx_uint_t i, scene_fact_e kind,
    uint64_t arg, ngx_uint_t given);
static void scene_told(scene_t *s);
static void scene_result(scene_t *s, env_worker_t *w, ngx_uint_t i,
    ngx_uint_t rcpt, ngx_uint_t status);
static void scene_wait(scene_t *s, env_worker_t *w, ngx_uint_t i,
    time_t delay);
static void scene_bounce(scene_t *s, env_worker_t *w, ngx_uint_t i,
    ngx_uint_t kind);
static void scene_bounced(scene_t *s, env_worker_t *w, ngx_uint_t i,
    ngx_uint_t final);
static void scene_keep(scene_t *s, env_worker_t *w, ngx_uint_t i,
    ngx_uint_t hold);
static void scene_end(scene_t *s, env_worker_t *w, ngx_uint_t i);
static void scene_first(scene_t *s);
static void scene_second(scene_t *s);
static void scene_third(scene_t *s);
static void scene_renewed(scene_t *s);
static void scene_meanwhile(scene_t *s, env_worker_t *w);
static void scene_meanwhile_one(scene_t *s, env_worker_t *w,
    ngx_uint_t phase);
static void scene_logged(scene_t *s);


char  scene_path[64], scene_disk[64], scene_disk2[64];

static ngx_uint_t      scene_read;
static ngx_smtp_sys_t  scene_sys;


static int
scene_nosync(int fd)
{
    return 0;
}


int
scene_setup(void **state)
{
    const char  *base;
    ngx_str_t    path;
    u_char       err[NGX_MAX_CONF_ERRSTR];

    /* a test that failed leaves its table behind */

    if (scene_sys.close == NULL) {
        scene_sys = ngx_smtp_sys;
    }

    power_free();

    ngx_smtp_sys = scene_sys;

    /* the disk is what powerloss.c says, so nothing has to wait for one */

    ngx_smtp_sys.fsync = scene_nosync;
    ngx_smtp_sys.fdatasync = scene_nosync;

    base = getenv("TMPDIR");

    if (base == NULL) {
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    }

    snprintf(scene_path, sizeof(scene_path), "%.30s/smtp-scene.XXXXXX", base);

    if (mkdtemp(scene_path) == NULL) {
        return -1;
    }

    snprintf(scene_disk, sizeof(scene_disk), "%.56s.disk", scene_path);
    snprintf(scene_disk2, sizeof(scene_disk2), "%.56s.disk2", scene_path);

    strcpy(env_path, scene_path);

    path = shim_str(env_path);

    if (ngx_smtp_store_check(&path, (uid_t) -1, (gid_t) -1, err) != NGX_OK) {
        return -1;
    }

    shim_log_reset();
    shim_time_set(1700000000, 0);
    ngx_smtp_task_init_worker();

    return 0;
}


int
scene_teardown(void **state)
{
    power_free();

    ngx_smtp_sys = scene_sys;

    power_remove(scene_path);
    power_remove(scene_disk);
    power_remove(scene_disk2);

    return 0;
}


/* mail */

size_t
scene_size(scene_t *s, ngx_uint_t i)
{
    if (i == SCENE_LARGE) {
        return 2000;
    }

    return (s->renew && i == SCENE_BIG) ? 1100000 : 700 + 10 * i;
}


static void
scene_accept(scene_t *s, env_worker_t *w, ngx_uint_t i, ngx_uint_t nrcpts)
{
    env_mail_t  *mail;

    mail = &s->mail[i];

    if (i == SCENE_LARGE) {
        env_mail(mail, "internet", nrcpts, 0, i);
        scene_large(w, mail);

    } else {
        env_mail(mail, "internet", nrcpts, scene_size(s, i), i);
    }

    s->given[i] = power_calls();

    env_accept(w, mail);
}


/* those that were given have their answers */

static void
scene_accepted(scene_t *s)
{
    ngx_uint_t  i;

    env_pump();

    for (i = 0; i < SCENE_MAILS; i++) {

        if (s->mail[i].done && s->told[i] == SCENE_NEVER) {
            s->told[i] = power_calls();

            if (!s->faults) {
                assert_int_equal(s->mail[i].rc, NGX_OK);
            }
        }
    }
}


static void
scene_large_handler(void *data, ngx_int_t rc)
{
    scene_read++;
}


static void
scene_large(env_worker_t *w, env_mail_t *mail)
{
    size_t             i;
    u_char             c;
    ngx_uint_t         part;
    ngx_smtp_large_t  *l;

    l = ngx_smtp_large_open(w->store);
    assert_non_null(l);

    for (part = 0; part < 2; part++) {

        for (i = 0; i < 1000; i++) {
            c = env_byte(SCENE_LARGE, part * 1000 + i);
            (void) ngx_smtp_content_append(&mail->content, &c, 1, &shim_log);
        }

        if (part == 0) {
            scene_read = 0;
            ngx_smtp_large_write(l, ngx_smtp_content_take(&mail->content),
                                 scene_large_handler, NULL);
            env_pump();
            assert_int_equal(scene_read, 1);
        }
    }

    mail->accept.large = l;
}


/* NULL: it is not there, or may not be touched now */

static ngx_smtp_message_t *
scene_message(scene_t *s, env_worker_t *w, ngx_uint_t i)
{
    u_char              id[NGX_SMTP_QUEUE_ID_LEN];
    size_t              len;
    ngx_uint_t          k;
    ngx_smtp_accept_t  *a;

    a = &s->mail[i].accept;

    for (k = 0; k < w->nmessages; k++) {
        len = ngx_smtp_message_id(w->messages[k], id) - id;

        if (s->mail[i].done && s->mail[i].rc == NGX_OK
            && len == a->queue_id.len
            && memcmp(id, a->id, len) == 0
            && ngx_smtp_message_ready(w->messages[k]) == NGX_OK)
        {
            return w->messages[k];
        }
    }

    assert_true(s->faults);

    return NULL;
}


/* what happens to it */

static scene_fact_t *
scene_fact(scene_t *s, ngx_uint_t i, scene_fact_e kind, uint64_t arg,
    ngx_uint_t given)
{
    scene_fact_t  *f;

    assert_true(s->nfacts < SCENE_FACTS);

    f = &s->facts[s->nfacts++];

    f->kind = kind;
    f->mail = i;
    f->arg = arg;
    f->arg2 = 0;
    f->given = given;
    f->told = SCENE_NEVER;

    return f;
}


static void
scene_told(scene_t *s)
{
    ngx_uint_t  i;

    env_pump();

    for (i = 0; i < s->nfacts; i++) {

        if (s->facts[i].told == SCENE_NEVER) {
            s->facts[i].told = power_calls();
            s->facts[i].time = ngx_current_msec;
        }
    }
}


static void
scene_result(scene_t *s, env_worker_t *w, ngx_uint_t i, ngx_uint_t rcpt,
    ngx_uint_t status)
{
    ngx_smtp_message_t  *m;

    m = scene_message(s, w, i);

    if (m == NULL || ngx_smtp_message_final(m, rcpt)) {
        return;
    }

    (void) scene_fact(s, i, scene_final, rcpt, power_calls());
    env_result(m, rcpt, status, 0);
    scene_told(s);
}


static void
scene_wait(scene_t *s, env_worker_t *w, ngx_uint_t i, time_t delay)
{
    ngx_smtp_message_t  *m;

    m = scene_message(s, w, i);

    if (m == NULL) {
        return;
    }

    (void) scene_fact(s, i, scene_deferred, ngx_time() + delay,
                      power_calls());
    env_result(m, m->nrcpts - 1, NGX_SMTP_RESULT_DEFERRED,
               ngx_time() + delay);
    scene_told(s);
}


/* a report, with what it is about: recipient 0, or the delay of the last */

static void
scene_bounce(scene_t *s, env_worker_t *w, ngx_uint_t i, ngx_uint_t kind)
{
    ngx_str_t            peer;
    scene_fact_t        *f;
    ngx_smtp_result_t    result;
    ngx_smtp_message_t  *m;

    m = scene_message(s, w, i);

    if (m == NULL || ngx_smtp_message_final(m, 0)) {
        return;
    }

    result.rcpt = 0;
    result.code = 550;
    result.text = shim_str("5.1.1 no such user");
    result.status = kind == NGX_SMTP_REPORT_SUCCESS
                    ? NGX_SMTP_RESULT_RELAYED : NGX_SMTP_RESULT_FAILED;

    peer = shim_str("mx.example.org[192.0.2.2]:25");

    f = scene_fact(s, i, scene_report, m->nreports + 1, power_calls());
    f->arg2 = kind;

    if (kind == NGX_SMTP_REPORT_DELAY) {
        result.status = NGX_SMTP_RESULT_DEFERRED;
        assert_non_null(ngx_smtp_store_report_delay(m, &result, 1, &peer,
                                                    ngx_time()));

    } else {
        (void) scene_fact(s, i, scene_final, 0, power_calls());
        ngx_smtp_store_results(m, &result, 1, &peer, ngx_time(), 0, 0);
        assert_non_null(ngx_smtp_store_report(m, kind, &result, 1, &peer,
                                              ngx_time()));
    }

    scene_told(s);
}


/* its first report: delivered, or not for good */

static void
scene_bounced(scene_t *s, env_worker_t *w, ngx_uint_t i, ngx_uint_t final)
{
    ngx_str_t            peer;
    ngx_smtp_report_t   *r;
    ngx_smtp_result_t    result;
    ngx_smtp_message_t  *m;

    m = scene_message(s, w, i);

    if (m == NULL || ngx_queue_empty(&m->reports)) {
        assert_true(s->faults);
        return;
    }

    r = ngx_queue_data(ngx_queue_head(&m->reports), ngx_smtp_report_t, link);

    if (final) {
        (void) scene_fact(s, i, scene_reported, r->number, power_calls());
        ngx_smtp_store_reported(r, ngx_time());
        scene_told(s);
        return;
    }

    ngx_smtp_store_report_deferred(r, ngx_time(), ngx_time() + 60);
    env_pump();

    memset(&result, 0, sizeof(result));

    result.status = NGX_SMTP_RESULT_FAILED;
    result.code = 551;
    result.text = shim_str("5.7.1 not here either");

    peer = shim_str("mx.example.com[192.0.2.3]:25");

    (void) scene_fact(s, i, scene_double, r->number, power_calls());
    assert_int_equal(ngx_smtp_store_report_double(r, &result, &peer,
                                                  ngx_time()),
                     NGX_OK);
    scene_told(s);
}


static void
scene_keep(scene_t *s, env_worker_t *w, ngx_uint_t i, ngx_uint_t hold)
{
    ngx_smtp_message_t  *m;

    m = scene_message(s, w, i);

    if (m == NULL) {
        return;
    }

    (void) scene_fact(s, i, hold ? scene_hold : scene_release, 0,
                      power_calls());
    ngx_smtp_store_hold(m, hold, ngx_time());
    scene_told(s);
}


/* all recipients that wait, all reports, the end */

static void
scene_end(scene_t *s, env_worker_t *w, ngx_uint_t i)
{
    ngx_uint_t           k;
    ngx_smtp_message_t  *m;

    m = scene_message(s, w, i);

    for (k = 0; m && k < m->nrcpts; k++) {
        scene_result(s, w, i, k, NGX_SMTP_RESULT_DELIVERED);
        m = scene_message(s, w, i);
    }

    while (m && !ngx_queue_empty(&m->reports)) {
        scene_bounced(s, w, i, 1);
        m = scene_message(s, w, i);
    }

    if (m) {
        (void) scene_fact(s, i, scene_done, 0, power_calls());
        assert_int_equal(env_done(w, m), NGX_OK);
        scene_told(s);
    }
}


/* the workers */

static void
scene_first(scene_t *s)
{
    ngx_uint_t     i;
    env_worker_t  *w;

    w = env_start(SCENE_SEGMENT, NULL);
    env_time(300);

    for (i = 0; i < 10; i++) {
        scene_accept(s, w, i, i == SCENE_MANY ? 70 : 2);

        /* some have their batch alone, some share one */

        if (i % 3 == 2 || s->faults) {
            scene_accepted(s);
            env_time(50);
        }
    }

    env_time(50);
    scene_accepted(s);

    scene_result(s, w, 1, 0, NGX_SMTP_RESULT_DELIVERED);
    scene_wait(s, w, 1, 5000);
    scene_keep(s, w, 3, 1);
    scene_keep(s, w, 4, 1);
    scene_result(s, w, 5, 68, NGX_SMTP_RESULT_DELIVERED);
    scene_bounce(s, w, 6, NGX_SMTP_REPORT_FAILURE);
    scene_wait(s, w, 7, 3000);
    scene_bounce(s, w, 7, NGX_SMTP_REPORT_DELAY);
    env_time(800);
    scene_bounce(s, w, 8, NGX_SMTP_REPORT_SUCCESS);
    scene_bounce(s, w, 9, NGX_SMTP_REPORT_FAILURE);
    scene_end(s, w, 0);
    scene_bounced(s, w, 6, 1);
    env_time(800);
    scene_bounced(s, w, 9, 0);

    /* a log that breaks, and what is written anew */

    scene_result(s, w, 2, 0, NGX_SMTP_RESULT_DELIVERED);

    if (!s->faults) {
        power_fail("fdatasync", ".log", EIO);
    }

    env_time(3000);
    scene_bounced(s, w, 7, 1);
    env_time(300);

    /* it leaves, and mail still comes */

    ngx_smtp_store_leave(w->store);
    scene_accept(s, w, 10, 2);
    env_time(s->faults ? 6000 : 1500);
    scene_accepted(s);

    assert_int_equal(w->nmessages, 0);
    env_stop(w);
}


static void
scene_second(scene_t *s)
{
    env_worker_t        *w;
    ngx_smtp_message_t  *m;

    w = env_start(SCENE_SEGMENT, NULL);
    env_time(s->faults ? 13000 : 500);

    scene_accept(s, w, 11, 1);
    scene_accept(s, w, 12, 3);
    env_time(50);
    scene_accepted(s);

    scene_end(s, w, 1);
    scene_keep(s, w, 4, 0);
    scene_bounced(s, w, 9, 1);
    scene_end(s, w, 6);
    env_time(900);

    /* an answer that does not come before the worker has to go */

    m = scene_message(s, w, 10);

    if (m) {
        ngx_smtp_message_outstanding(m, 1, ngx_time() + 600);
    }

    scene_wait(s, w, 12, 700);

    env_stop(w);
    scene_told(s);
}


static void
scene_third(scene_t *s)
{
    ngx_uint_t     i;
    env_worker_t  *w;

    w = env_start(SCENE_SEGMENT, NULL);
    env_time(s->faults ? 13000 : 500);

    for (i = 0; i < 5; i++) {
        if (i >= 2) {
            scene_end(s, w, i);
        }
    }

    scene_end(s, w, 11);
    scene_accept(s, w, 13, 2);
    env_time(1500);
    scene_accepted(s);
    scene_result(s, w, 13, 0, NGX_SMTP_RESULT_DELIVERED);

    env_stop(w);
}


/*
 * Most of a segment is one mail, and that is delivered: what is left is
 * compacted, while this and that happens to it.
 */

static void
scene_renewed(scene_t *s)
{
    ngx_uint_t     i;
    env_worker_t  *w;

    w = env_start(SCENE_SEGMENT, NULL);
    env_time(300);

    for (i = 0; i < 9; i++) {
        scene_accept(s, w, i, i == SCENE_MANY ? 70 : 2);
    }

    env_time(50);
    scene_accepted(s);

    scene_result(s, w, 0, 1, NGX_SMTP_RESULT_DELIVERED);
    scene_wait(s, w, 1, 5000);
    scene_keep(s, w, 3, 1);
    scene_keep(s, w, 4, 1);
    scene_result(s, w, SCENE_MANY, 68, NGX_SMTP_RESULT_DELIVERED);
    scene_end(s, w, SCENE_BIG);
    scene_bounce(s, w, 7, NGX_SMTP_REPORT_FAILURE);
    env_time(1000);
    scene_bounce(s, w, 8, NGX_SMTP_REPORT_DELAY);

    /* the segment is full; five seconds after that */

    scene_accept(s, w, 9, 2);
    env_time(50);
    scene_accepted(s);

    scene_wait(s, w, 8, 3000);
    scene_meanwhile(s, w);
    scene_told(s);

    scene_keep(s, w, 4, 0);
    scene_result(s, w, 9, 0, NGX_SMTP_RESULT_DELIVERED);
    env_time(1500);
    scene_result(s, w, 4, 1, NGX_SMTP_RESULT_DELIVERED);

    ngx_smtp_store_leave(w->store);
    env_time(s->faults ? 6000 : 1500);
    env_stop(w);

    w = env_start(SCENE_SEGMENT, NULL);
    env_time(s->faults ? 13000 : 500);

    for (i = 3; i < 10; i++) {
        if (i != SCENE_BIG) {
            scene_end(s, w, i);
        }
    }

    env_time(1500);
    env_stop(w);
}


/* six seconds, and what happens when the new files are made */

static void
scene_meanwhile(scene_t *s, env_worker_t *w)
{
    ngx_uint_t           i, phases, phase;
    ngx_smtp_renewal_t  *r;

    for (i = 0, phases = 0; i < 120; i++) {

        while (env_step()) {
            r = w->store->renewal;
            phase = r ? r->phase : ngx_smtp_renew_phase_snapshot;

            /* once in each */

            if (!(phases & (1 << phase))) {
                phases |= 1 << phase;

                if (phase > ngx_smtp_renew_phase_snapshot) {
                    scene_meanwhile_one(s, w, phase);
                }
            }
        }

        shim_time_advance(50);
    }

    if (!s->faults) {
        assert_int_equal(shim_log_count("compacted, from"), 1);
        assert_true(phases & (1 << ngx_smtp_renew_phase_steps));
    }
}


/* nothing may be pumped here: the renewal goes on step by step */

static void
scene_meanwhile_one(scene_t *s, env_worker_t *w, ngx_uint_t phase)
{
    ngx_smtp_message_t  *m;

    m = scene_message(s, w, phase == ngx_smtp_renew_phase_steps ? 0 : 3);

    if (m == NULL) {
        return;
    }

    if (phase == ngx_smtp_renew_phase_steps) {

        /* the last recipient of one, and its end; one more of another */

        (void) scene_fact(s, 0, scene_final, 0, power_calls());
        env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);

        (void) scene_fact(s, 0, scene_done, 0, power_calls());
        (void) env_done(w, m);

        m = scene_message(s, w, SCENE_MANY);

        if (m) {
            (void) scene_fact(s, SCENE_MANY, scene_final, 3, power_calls());
            env_result(m, 3, NGX_SMTP_RESULT_DELIVERED, 0);
        }

        return;
    }

    /* the loop looks for all, or moves them */

    if (m->hold) {
        (void) scene_fact(s, 3, scene_release, 0, power_calls());
        ngx_smtp_store_hold(m, 0, ngx_time());
    }

    if (!ngx_smtp_message_final(m, 0)) {
        (void) scene_fact(s, 3, scene_final, 0, power_calls());
        env_result(m, 0, NGX_SMTP_RESULT_DELIVERED, 0);
    }
}


void
scene_play(scene_t *s)
{
    ngx_uint_t  i, faults, renew;

    faults = s->faults;
    renew = s->renew;

    memset(s, 0, sizeof(scene_t));

    s->faults = faults;
    s->renew = renew;

    for (i = 0; i < SCENE_MAILS; i++) {
        s->given[i] = SCENE_NEVER;
        s->told[i] = SCENE_NEVER;
    }

    strcpy(env_path, scene_path);

    if (s->renew) {
        scene_renewed(s);

    } else {
        scene_first(s);
        scene_second(s);
        scene_third(s);
    }

    for (i = 0; i < SCENE_MAILS; i++) {
        assert_int_equal(s->mail[i].done, s->given[i] != SCENE_NEVER);
    }

    scene_logged(s);
}


/* what the log says makes promises smaller */

static void
scene_logged(scene_t *s)
{
    s->again = shim_log_count("could not be taken back");

    s->doubtful = shim_log_count("could not be written at exit")
                  + shim_log_count("without its summary")
                  + shim_log_count("kept in memory only");
}
