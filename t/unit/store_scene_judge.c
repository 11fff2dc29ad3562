
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What workers find on a disk of store_scene.h, and whether that is what it
 * has to be.
 */


#include "store_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


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
static void scene_judge_fact(scene_t *s, scene_fact_t *f, ngx_uint_t n,
    ngx_uint_t power, ngx_smtp_message_t *m);
static void scene_run(scene_t *s, ngx_uint_t power, ngx_uint_t workers,
    ngx_smtp_message_t **messages, env_worker_t **w);


static ngx_uint_t  scene_read;


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
        r = env_report(m, f->arg);

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
        if (must && env_report(m, f->arg)) {
            scene_fail(s, f->mail, "reports again");
        }

        return;

    case scene_double:
        r = env_report(m, f->arg);

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
                       scene_size(s, i), i);
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
