
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A scene for the store under faults, see store_scene.h.
 *
 * sources: t/unit/store_env.c t/unit/powerloss.c t/unit/powerloss_disk.c
 */


/*
 * See store_scene.h.  In a life with faults a mail may be refused and a
 * segment may not be ready: then what was to be done to it is left out, as
 * the relay would.
 */


#include "store_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define SCENE_SEGMENT   8192
#define SCENE_NEVER     ((ngx_uint_t) -1)


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
static void scene_fail(scene_t *s, ngx_uint_t i, const char *what);
static ngx_uint_t scene_mail_of(scene_t *s, ngx_smtp_message_t *m);
static ngx_uint_t scene_known(scene_t *s, ngx_smtp_message_t *m);
static void scene_reader(ngx_smtp_reader_t *r, ngx_int_t rc);
static void scene_text(scene_t *s, ngx_uint_t i, ngx_smtp_message_t *m);
static void scene_judge_mail(scene_t *s, ngx_uint_t i, ngx_uint_t n,
    ngx_uint_t power, ngx_smtp_message_t *m);
static ngx_uint_t scene_must(scene_t *s, scene_fact_t *f, ngx_uint_t n,
    ngx_uint_t power);
static ngx_uint_t scene_later(scene_t *s, scene_fact_t *f, scene_fact_e kind,
    ngx_uint_t n);
static ngx_smtp_report_t *scene_report_of(ngx_smtp_message_t *m,
    uint64_t number);
static void scene_judge_fact(scene_t *s, scene_fact_t *f, ngx_uint_t n,
    ngx_uint_t power, ngx_smtp_message_t *m);
static void scene_run(scene_t *s, ngx_uint_t power, ngx_uint_t workers,
    ngx_smtp_message_t **messages, env_worker_t **w);
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

static void
scene_accept(scene_t *s, env_worker_t *w, ngx_uint_t i, ngx_uint_t nrcpts)
{
    env_mail_t  *mail;

    mail = &s->mail[i];

    if (i == SCENE_LARGE) {
        env_mail(mail, "internet", nrcpts, 0, i);
        scene_large(w, mail);

    } else {
        env_mail(mail, "internet", nrcpts, 700 + 10 * i, i);
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
        ngx_smtp_store_results(m, &result, 1, &peer, ngx_time(), 0);
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


void
scene_play(scene_t *s)
{
    ngx_uint_t  i, faults;

    faults = s->faults;

    memset(s, 0, sizeof(scene_t));

    s->faults = faults;

    for (i = 0; i < SCENE_MAILS; i++) {
        s->given[i] = SCENE_NEVER;
        s->told[i] = SCENE_NEVER;
    }

    strcpy(env_path, scene_path);

    scene_first(s);
    scene_second(s);
    scene_third(s);

    for (i = 0; i < SCENE_MAILS; i++) {
        assert_int_equal(s->mail[i].done, 1);
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


/* judgment */

static void
scene_fail(scene_t *s, ngx_uint_t i, const char *what)
{
    fprintf(stderr, "%s", shim_log_text());
    fail_msg("%s: mail %d %s", s->what ? s->what : "", (int) i, what);
}


static void
scene_reader(ngx_smtp_reader_t *r, ngx_int_t rc)
{
    scene_read = rc == NGX_OK ? 1 : 2;
}


/* it was acknowledged */

static ngx_uint_t
scene_known(scene_t *s, ngx_smtp_message_t *m)
{
    u_char      id[NGX_SMTP_QUEUE_ID_LEN];
    size_t      len;
    ngx_uint_t  i;

    len = ngx_smtp_message_id(m, id) - id;

    for (i = 0; i < SCENE_MAILS; i++) {
        if (s->mail[i].rc == NGX_OK && len == s->mail[i].accept.queue_id.len
            && memcmp(id, s->mail[i].accept.id, len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* by the sender, which env_mail() made of the number */

static ngx_uint_t
scene_mail_of(scene_t *s, ngx_smtp_message_t *m)
{
    char                sender[64];
    ngx_int_t           rc;
    ngx_uint_t          i;
    ngx_smtp_reader_t  *r;

    scene_read = 0;

    rc = ngx_smtp_reader_peek(m, 0, scene_reader, NULL, &shim_log, &r);

    if (rc == NGX_AGAIN) {
        env_pump();
        rc = scene_read == 1 ? NGX_OK : NGX_ERROR;
    }

    if (rc != NGX_OK) {

        /*
         * A batch that could not be taken back was seen, believed, and then
         * lost with the power: it had no 250.
         */

        if (!s->again || scene_known(s, m)) {
            scene_fail(s, m->number, "by its number cannot be read");
        }

        ngx_smtp_reader_close(r);

        return SCENE_MAILS;
    }

    for (i = 0; i < SCENE_MAILS; i++) {
        snprintf(sender, sizeof(sender), "s%u@example.com", (unsigned) i);

        if (r->envelope.sender.len == strlen(sender)
            && memcmp(r->envelope.sender.data, sender, strlen(sender)) == 0)
        {
            break;
        }
    }

    ngx_smtp_reader_close(r);

    if (i == SCENE_MAILS) {
        scene_fail(s, i, "came from nowhere");
    }

    return i;
}


static void
scene_text(scene_t *s, ngx_uint_t i, ngx_smtp_message_t *m)
{
    char               *p;
    ngx_uint_t          k;
    ngx_queue_t        *q;
    ngx_smtp_report_t  *r;

    p = s->found + strlen(s->found);

    p += sprintf(p, "%d: n%u o%ld p%u f", (int) i, m->number,
                 (long) m->offset, m->npending);

    for (k = 0; k < m->nrcpts; k++) {
        *p++ = ngx_smtp_message_final(m, k) ? '1' : '0';
    }

    p += sprintf(p, " a%u d%ld h%u l%u t%u r%u", m->attempts,
                 (long) m->due_at, m->hold, m->large, m->delay_told,
                 m->nreports);

    for (q = ngx_queue_head(&m->reports);
         q != ngx_queue_sentinel(&m->reports);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_smtp_report_t, link);

        p += sprintf(p, " (%u k%u a%u d%ld n%d %.*s)", r->number, r->kind,
                     r->attempts, (long) r->due_at, (int) r->nresults,
                     (int) r->results[0].text.len, r->results[0].text.data);
    }

    strcpy(p, "\n");
    assert_true(p < s->found + sizeof(s->found) - 1024);
}


/* the fact has to be on the disk */

static ngx_uint_t
scene_must(scene_t *s, scene_fact_t *f, ngx_uint_t n, ngx_uint_t power)
{
    if (n < f->told || s->doubtful) {
        return 0;
    }

    /* with faults it is not known when it was written, but in the end it is */

    if (s->faults) {
        return n == power_calls() && !power;
    }

    return !power || power_time(n) - f->time > 1000;
}


/* the other fact about the same thing may be there already */

static ngx_uint_t
scene_later(scene_t *s, scene_fact_t *f, scene_fact_e kind, ngx_uint_t n)
{
    ngx_uint_t  i;

    for (i = f - s->facts + 1; i < s->nfacts; i++) {
        if (s->facts[i].mail == f->mail && s->facts[i].kind == kind
            && s->facts[i].given < n
            && (kind == scene_hold || kind == scene_release
                || kind == scene_deferred || s->facts[i].arg == f->arg))
        {
            return 1;
        }
    }

    return 0;
}


static ngx_smtp_report_t *
scene_report_of(ngx_smtp_message_t *m, uint64_t number)
{
    ngx_queue_t        *q;
    ngx_smtp_report_t  *r;

    for (q = ngx_queue_head(&m->reports);
         q != ngx_queue_sentinel(&m->reports);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_smtp_report_t, link);

        if (r->number == number) {
            return r;
        }
    }

    return NULL;
}


static void
scene_judge_fact(scene_t *s, scene_fact_t *f, ngx_uint_t n, ngx_uint_t power,
    ngx_smtp_message_t *m)
{
    ngx_uint_t          may, must;
    ngx_smtp_report_t  *r;

    may = f->given < n;
    must = scene_must(s, f, n, power);

    switch (f->kind) {

    case scene_final:
        if (must ? !ngx_smtp_message_final(m, f->arg)
                 : !may && ngx_smtp_message_final(m, f->arg))
        {
            scene_fail(s, f->mail, "lost a final result, or has one too many");
        }

        return;

    case scene_deferred:
        if (must && m->due_at != (time_t) f->arg
            && !scene_later(s, f, scene_deferred, n) && f->mail != 10)
        {
            scene_fail(s, f->mail, "is tried at another time");
        }

        return;

    case scene_hold:
    case scene_release:
        if (must && m->hold != (f->kind == scene_hold)
            && !scene_later(s, f, f->kind == scene_hold ? scene_release
                                                        : scene_hold, n))
        {
            scene_fail(s, f->mail, "is on hold, or not, as it was not");
        }

        return;

    case scene_report:
        r = scene_report_of(m, f->arg);

        if (!may && r) {
            scene_fail(s, f->mail, "reports what did not happen");
        }

        if (must && r == NULL && !scene_later(s, f, scene_reported, n)) {
            scene_fail(s, f->mail, "lost a report");
        }

        if (f->arg2 == NGX_SMTP_REPORT_DELAY) {

            if (m->delay_told != (m->nreports >= f->arg)) {
                scene_fail(s, f->mail, "may report a delay twice");
            }

        } else if (ngx_smtp_message_final(m, 0) != (m->nreports >= f->arg)) {
            scene_fail(s, f->mail, "has a result without its report");
        }

        return;

    case scene_reported:
        if (must && scene_report_of(m, f->arg)) {
            scene_fail(s, f->mail, "reports again");
        }

        return;

    case scene_double:
        r = scene_report_of(m, f->arg);

        if (r && (must ? r->kind != NGX_SMTP_REPORT_DOUBLE
                       : !may && r->kind == NGX_SMTP_REPORT_DOUBLE))
        {
            scene_fail(s, f->mail, "reports to the wrong one");
        }

        return;

    default: /* scene_done */
        if (must) {
            scene_fail(s, f->mail, "was ended and came back");
        }
    }
}


static void
scene_judge_mail(scene_t *s, ngx_uint_t i, ngx_uint_t n, ngx_uint_t power,
    ngx_smtp_message_t *m)
{
    ngx_int_t      left;
    ngx_uint_t     k, ended;
    scene_fact_t  *f;

    /* with its last result and report written it is ended by whoever reads */

    left = s->mail[i].envelope.rcpts.nelts;

    for (k = 0; k < s->nfacts; k++) {
        f = &s->facts[k];

        if (f->mail == i && f->given < n) {
            left -= f->kind == scene_final || f->kind == scene_reported;
            left += f->kind == scene_report;
        }
    }

    ended = (left <= 0);

    if (m == NULL) {

        if (s->mail[i].rc == NGX_OK && n >= s->told[i] && !ended) {
            scene_fail(s, i, "was acknowledged and is lost");
        }

        return;
    }

    if (n <= s->given[i]) {
        scene_fail(s, i, "is there before it came");
    }

    if (s->mail[i].rc != NGX_OK) {

        if (n >= s->told[i] && !s->again) {
            scene_fail(s, i, "was refused and is there");
        }

        return;
    }

    if (n % 8 == i % 8 || i == SCENE_LARGE) {
        env_check_read(m, i == SCENE_MANY ? 70 : s->mail[i].envelope.rcpts
                                                                     .nelts,
                       i == SCENE_LARGE ? 2000 : 700 + 10 * i, i);
    }

    for (k = 0; k < s->nfacts; k++) {
        if (s->facts[k].mail == i) {
            scene_judge_fact(s, &s->facts[k], n, power, m);
        }
    }
}


/* starts the workers, and tells what they found, by mail */

static void
scene_run(scene_t *s, ngx_uint_t power, ngx_uint_t workers,
    ngx_smtp_message_t **messages, env_worker_t **w)
{
    ngx_uint_t           i, k, n;
    ngx_smtp_message_t  *m;

    memset(messages, 0, SCENE_MAILS * sizeof(ngx_smtp_message_t *));

    shim_log_reset();

    for (k = 0; k < workers; k++) {
        w[k] = env_start(SCENE_SEGMENT, NULL);
        w[k]->conf.workers = workers;
    }

    env_time(workers == 1 ? 300 : 1200);

    s->found[0] = '\0';

    for (k = 0; k < workers; k++) {

        for (n = 0; n < w[k]->nmessages; n++) {
            m = w[k]->messages[n];
            i = scene_mail_of(s, m);

            if (i == SCENE_MAILS) {
                continue;
            }

            if (messages[i]) {
                scene_fail(s, i, "is there twice");
            }

            messages[i] = m;
        }
    }

    for (i = 0; i < SCENE_MAILS; i++) {
        if (messages[i]) {
            scene_text(s, i, messages[i]);
        }
    }

    s->looked = power_calls();

    for (i = 0; i < 3; i++) {
        static const char  *bad[] = {
            "is damaged", "has no log", "but no data"
        };

        /*
         * A sync that failed and a loss of power later: what was seen after
         * the one is gone after the other, and nobody can know.
         */

        if (shim_log_count(bad[i]) && !s->again && !(s->faults && power)) {
            scene_fail(s, SCENE_MAILS, "and the log says there is damage");
        }
    }
}


void
scene_look(scene_t *s, ngx_uint_t workers)
{
    ngx_uint_t           k;
    env_worker_t        *w[2];
    ngx_smtp_message_t  *messages[SCENE_MAILS];

    scene_run(s, 0, workers, messages, w);

    for (k = 0; k < workers; k++) {
        env_stop(w[k]);
    }
}


void
scene_judge(scene_t *s, ngx_uint_t n, ngx_uint_t power, ngx_uint_t workers)
{
    ngx_uint_t           i, k;
    env_worker_t        *w[2];
    ngx_smtp_message_t  *messages[SCENE_MAILS];

    scene_run(s, power, workers, messages, w);

    for (i = 0; i < SCENE_MAILS; i++) {
        scene_judge_mail(s, i, n, power, messages[i]);
    }

    for (k = 0; k < workers; k++) {
        env_stop(w[k]);
    }
}
