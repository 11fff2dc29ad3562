
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Messages and segments that workers died of (core/ngx_smtp_work.h).  Who
 * takes over a segment asks which of its messages the dead worker was at, and
 * records a strike against each.  Such a message waits a little, several of
 * them not equally long, so that the others are delivered meanwhile, and the
 * one that is guilty is alone when it is tried again.  An attempt that comes
 * to an end clears it; at three strikes it is put on hold.
 *
 * A segment of which three workers died while they read it is left alone.
 */


#include "ngx_smtp_store_internal.h"


void
ngx_smtp_message_work(ngx_smtp_message_t *m)
{
    ngx_smtp_work_on(NGX_SMTP_WORK_LOOP, m->segment->file.header.id.bytes,
                     m->number);
}


void
ngx_smtp_message_rest(ngx_smtp_message_t *m)
{
    ngx_smtp_work_t  *w;

    w = &ngx_smtp_works[NGX_SMTP_WORK_LOOP];

    if (w->used && w->number == m->number
        && ngx_memcmp(w->id, m->segment->file.header.id.bytes,
                      NGX_SMTP_ID_SIZE)
           == 0)
    {
        ngx_smtp_work_off(NGX_SMTP_WORK_LOOP);
    }
}


/* Its attempt came to an end, and the worker lives. */

void
ngx_smtp_strike_clear(ngx_smtp_message_t *m)
{
    m->strikes = 0;

    ngx_smtp_message_rest(m);
}


ngx_uint_t
ngx_smtp_strike_segment(ngx_smtp_segment_t *seg)
{
    u_char                 id[NGX_SMTP_ID_TEXT];
    ngx_uint_t             n;
    ngx_smtp_store_conf_t *conf;

    conf = seg->store->conf;

    if (conf->struck == NULL) {
        return 0;
    }

    n = conf->struck(seg->file.header.id.bytes, NULL);

    if (n == 0) {
        return 0;
    }

    (void) ngx_smtp_segment_id_text(&seg->file.header.id, id);

    if (n < NGX_SMTP_STRIKES) {
        ngx_log_error(NGX_LOG_WARN, seg->store->log, 0,
                      "spool \"%V\": segment %*s was being read when a worker "
                      "died (%ui of %d)", &conf->path,
                      (size_t) NGX_SMTP_ID_TEXT, id, n, NGX_SMTP_STRIKES);
        return 0;
    }

    ngx_log_error(NGX_LOG_CRIT, seg->store->log, 0,
                  "spool \"%V\": %ui workers died while they read segment "
                  "%*s, it is left alone: keep its files and report it; a "
                  "restart of nginx, not a reload, tries it again",
                  &conf->path, n, (size_t) NGX_SMTP_ID_TEXT, id);

    return 1;
}


void
ngx_smtp_strike_messages(ngx_smtp_segment_t *seg)
{
    u_char                 *id;
    ngx_smtp_store_conf_t  *conf;

    conf = seg->store->conf;

    if (conf->struck == NULL) {
        return;
    }

    id = seg->file.header.id.bytes;

    conf->acquit(id);

    (void) conf->struck(id, &seg->struck);
}


void
ngx_smtp_strike_message(ngx_smtp_message_t *m)
{
    u_char                *p, id[NGX_SMTP_QUEUE_ID_LEN];
    ngx_uint_t             i;
    ngx_queue_t           *q;
    ngx_smtp_event_t       e;
    ngx_smtp_report_t     *r;
    ngx_smtp_segment_t    *seg;

    seg = m->segment;

    for (i = 0; i < seg->struck.n; i++) {
        if (seg->struck.numbers[i] == m->number) {
            break;
        }
    }

    if (i == seg->struck.n || m->hold) {
        return;
    }

    m->strikes = ngx_min(m->strikes + 1, NGX_SMTP_STRIKES);
    m->due_at = ngx_max(m->due_at, ngx_time() + (time_t)
                           (NGX_SMTP_STRIKE_PAUSE * m->strikes + i));

    for (q = ngx_queue_head(&m->reports);
         q != ngx_queue_sentinel(&m->reports);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_smtp_report_t, link);
        r->due_at = ngx_max(r->due_at, m->due_at);
    }

    ngx_memzero(&e, sizeof(ngx_smtp_event_t));

    e.type = NGX_SMTP_LOG_STRIKE;
    e.number = m->number;
    e.time = ngx_time();
    e.until = m->due_at;
    e.attempts = m->strikes;

    ngx_smtp_event_record(seg, &e);

    p = ngx_smtp_message_id(m, id);

    if (m->strikes < NGX_SMTP_STRIKES) {
        ngx_log_error(NGX_LOG_WARN, seg->store->log, 0,
                      "spool \"%V\": message %*s was worked on when a worker "
                      "died (%d of %d)", &seg->store->conf->path,
                      (size_t) (p - id), id, (int) m->strikes,
                      NGX_SMTP_STRIKES);
        return;
    }

    ngx_smtp_store_hold(m, 1, ngx_time());

    ngx_log_error(NGX_LOG_CRIT, seg->store->log, 0,
                  "spool \"%V\": message %*s was worked on when %d workers "
                  "died, it is on hold: \"smtpq show\" shows it, \"smtpq "
                  "release\" tries it again, \"smtpq delete\" removes it",
                  &seg->store->conf->path, (size_t) (p - id), id,
                  NGX_SMTP_STRIKES);
}
