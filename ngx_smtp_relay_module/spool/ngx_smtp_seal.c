
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Sealing a segment: summaries of its live messages, its pending reports and
 * SEALED, to the end of its log, in steps.  Blocking, for threads; a buffer of
 * 1 MB or one record is malloc'ed here.
 *
 * Here are also the seals that are made all at once, in place or as a log
 * that takes the place of a broken one.
 *
 * The log's end moves only when all of it was written, so that a seal that
 * does not fit is overwritten by the next event.  Nothing else may be written
 * to the log between the steps.
 */


#include "ngx_smtp_rewrite.h"
#include "ngx_smtp_pages.h"


#define NGX_SMTP_SEAL_BUFFER    (1024 * 1024)

/* summaries and reports of one step: some ms */
#define NGX_SMTP_SEAL_STEP      2048


struct ngx_smtp_seal_s {
    ngx_smtp_segment_file_t  *file;
    ngx_smtp_seal_content_t   content;
    ngx_smtp_fault_t          fault;
    ngx_uint_t                next;     /* summary, then report */
    ngx_uint_t                lenient;  /* heads need not be good */
    off_t                     start;    /* in the log */
    off_t                     pos;      /* in the log, of the buffer's start */
    uint32_t                  sequence;

    u_char                   *buf;
    u_char                   *last;
    u_char                   *end;

    u_char                   *head;     /* one message's, as read */
    size_t                    head_room;

    ngx_str_t                *queues;
    ngx_uint_t                nqueues;
    ngx_uint_t                queues_room;
};


static ngx_int_t ngx_smtp_seal_write(ngx_smtp_seal_t *s);
static ngx_int_t ngx_smtp_seal_mark(ngx_smtp_seal_t *s);
static ngx_int_t ngx_smtp_seal_end(ngx_smtp_seal_t *s);
static ngx_int_t ngx_smtp_seal_report(ngx_smtp_seal_t *s,
    const ngx_smtp_event_t *report);
static ngx_int_t ngx_smtp_seal_summary(ngx_smtp_seal_t *s,
    const ngx_smtp_summary_t *given);
static ngx_int_t ngx_smtp_seal_strings(ngx_smtp_seal_t *s,
    ngx_smtp_summary_t *summary);
static ngx_int_t ngx_smtp_seal_head(ngx_smtp_seal_t *s,
    ngx_smtp_summary_t *summary, ngx_smtp_record_t *r);
static ngx_int_t ngx_smtp_seal_queue(ngx_smtp_seal_t *s,
    const ngx_str_t *queue);
static ngx_int_t ngx_smtp_seal_room(ngx_smtp_seal_t *s, size_t size);
static ngx_int_t ngx_smtp_seal_flush(ngx_smtp_seal_t *s);
static ngx_int_t ngx_smtp_seal_memory(ngx_smtp_seal_t *s);


ngx_int_t
ngx_smtp_segment_seal(ngx_smtp_segment_file_t *f,
    ngx_smtp_summary_t *summaries, ngx_uint_t n, ngx_smtp_event_t *reports,
    ngx_uint_t nreports, uint32_t next_number, time_t now, time_t earliest)
{
    ngx_int_t                rc;
    ngx_smtp_seal_t         *s;
    ngx_smtp_seal_content_t  c;

    c.summaries = summaries;
    c.n = n;
    c.reports = reports;
    c.nreports = nreports;
    c.next_number = next_number;
    c.now = now;
    c.earliest = earliest;

    s = ngx_smtp_seal_start(f, &c);
    if (s == NULL) {
        return NGX_ERROR;
    }

    do {
        rc = ngx_smtp_seal_step(s);
    } while (rc == NGX_AGAIN);

    ngx_smtp_seal_free(s);

    return rc;
}


ngx_int_t
ngx_smtp_segment_relog(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f,
    ngx_smtp_summary_t *summaries, ngx_uint_t n, ngx_smtp_event_t *reports,
    ngx_uint_t nreports, uint32_t next_number, time_t now)
{
    ngx_int_t           rc;
    ngx_smtp_rewrite_t  rw;

    ngx_smtp_rewrite_start(&rw, spool, f, 0);

    rw.broken = 1;
    rw.content.summaries = summaries;
    rw.content.n = n;
    rw.content.reports = reports;
    rw.content.nreports = nreports;
    rw.content.next_number = next_number;
    rw.content.now = now;

    do {
        rc = ngx_smtp_rewrite_step(&rw);
    } while (rc == NGX_AGAIN);

    if (rc == NGX_OK) {
        rc = ngx_smtp_rewrite_commit(&rw);
    }

    ngx_smtp_rewrite_end(&rw);

    if (rc != NGX_OK) {
        f->fault = rw.fault;
    }

    return rc;
}


ngx_smtp_seal_t *
ngx_smtp_seal_start(ngx_smtp_segment_file_t *f,
    const ngx_smtp_seal_content_t *content)
{
    ngx_smtp_seal_t  *s;

    f->full = 1;

    s = calloc(1, sizeof(ngx_smtp_seal_t));

    if (s == NULL) {
        ngx_set_errno(NGX_ENOMEM);
        (void) ngx_smtp_fault_set(&f->fault, "malloc() to seal");
        return NULL;
    }

    s->file = f;
    s->content = *content;
    s->start = f->log_end;
    s->pos = f->log_end;
    s->sequence = f->sequence;

    return s;
}


void
ngx_smtp_seal_lenient(ngx_smtp_seal_t *s)
{
    s->lenient = 1;
}


ngx_int_t
ngx_smtp_seal_step(ngx_smtp_seal_t *s)
{
    ngx_int_t                 rc;
    ngx_smtp_segment_file_t  *f;

    f = s->file;

    if (f->log == -1 || f->log_broken) {
        f->fault.err = 0;
        f->fault.what = "log is broken";
        return NGX_ERROR;
    }

    rc = ngx_smtp_seal_write(s);

    /* numbers of a write that failed are not used again */

    f->sequence = s->sequence;

    if (rc == NGX_BUSY && f->tail.len) {

        /* no room is reserved for the tail, and it is only good to have */

        f->tail.len = 0;

        s->pos = s->start;
        s->last = s->buf;
        s->next = 0;
        s->nqueues = 0;

        return NGX_AGAIN;
    }

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    if (rc != NGX_OK) {
        f->fault = s->fault;
        return rc;
    }

    return ngx_smtp_seal_end(s);
}


static ngx_int_t
ngx_smtp_seal_end(ngx_smtp_seal_t *s)
{
    ngx_int_t                 rc;
    struct stat               st;
    ngx_smtp_segment_file_t  *f;

    f = s->file;

    f->log_end = s->pos;
    f->log_space = ngx_max(f->log_space, f->log_end);
    f->log_dirty = 1;

    rc = ngx_smtp_segment_log_sync(f);

    if (rc != NGX_OK) {
        return rc;
    }

    f->log_base = s->pos - s->start;

    /* zeros written ahead, or a cut that failed: SEALED rules over them */

    if (ngx_smtp_sys.fstat(f->data, &st) == 0 && st.st_size > f->data_end) {
        (void) ngx_smtp_sys.ftruncate(f->data, f->data_end);
    }

    ngx_smtp_seal_times(f, s->content.earliest);

    return NGX_OK;
}


ngx_int_t
ngx_smtp_segment_settle(ngx_smtp_segment_file_t *f, time_t earliest)
{
    ngx_int_t  rc;

    rc = NGX_OK;

    if (f->log != -1) {
        rc = ngx_smtp_segment_log_sync(f);
    }

    ngx_smtp_seal_times(f, earliest);

    return rc;
}


void
ngx_smtp_seal_times(ngx_smtp_segment_file_t *f, time_t earliest)
{
    struct timespec  times[2];

    times[0].tv_sec = 0;
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_sec = earliest;
    times[1].tv_nsec = earliest ? 0 : UTIME_NOW;

    /* a wrong time only makes others find it later */

    (void) ngx_smtp_sys.futimens(f->data, times);
}


static ngx_int_t
ngx_smtp_seal_write(ngx_smtp_seal_t *s)
{
    ngx_int_t                 rc;
    ngx_uint_t                i;
    ngx_smtp_seal_content_t  *c;

    c = &s->content;

    for (i = 0; i < NGX_SMTP_SEAL_STEP; i++, s->next++) {

        if (s->next < c->n) {
            rc = ngx_smtp_seal_summary(s, &c->summaries[s->next]);

        } else if (s->next < c->n + c->nreports) {
            rc = ngx_smtp_seal_report(s, &c->reports[s->next - c->n]);

        } else {
            return ngx_smtp_seal_mark(s);
        }

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_AGAIN;
}


static ngx_int_t
ngx_smtp_seal_mark(ngx_smtp_seal_t *s)
{
    ngx_int_t          rc;
    ngx_smtp_sealed_t  sealed;

    ngx_memzero(&sealed, sizeof(ngx_smtp_sealed_t));

    sealed.data_end = s->file->data_end;
    sealed.log_start = s->start;
    sealed.summaries = (uint32_t) s->content.n;
    sealed.reports = (uint32_t) s->content.nreports;
    sealed.next_number = s->content.next_number;
    sealed.time = s->content.now;
    sealed.nqueues = s->nqueues;
    sealed.queues = s->queues;

    /* what follows SEALED counts with it, or not at all */

    rc = ngx_smtp_seal_room(s, ngx_smtp_sealed_size(&sealed)
                               + s->file->tail.len);
    if (rc != NGX_OK) {
        return rc;
    }

    s->last = ngx_smtp_sealed_put(s->last, &sealed);

    if (s->file->tail.len) {
        s->last = ngx_cpymem(s->last, s->file->tail.data, s->file->tail.len);
    }

    return ngx_smtp_seal_flush(s);
}


static ngx_int_t
ngx_smtp_seal_report(ngx_smtp_seal_t *s, const ngx_smtp_event_t *report)
{
    ngx_int_t  rc;

    rc = ngx_smtp_seal_room(s, ngx_smtp_event_size(report));

    if (rc == NGX_OK) {
        s->last = ngx_smtp_event_put(s->last, report);
    }

    return rc;
}


static ngx_int_t
ngx_smtp_seal_summary(ngx_smtp_seal_t *s, const ngx_smtp_summary_t *given)
{
    ngx_int_t           rc;
    ngx_smtp_summary_t  summary;

    summary = *given;

    if (summary.strings.data == NULL) {
        rc = ngx_smtp_seal_strings(s, &summary);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    rc = ngx_smtp_seal_queue(s, &given->queue);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_smtp_seal_room(s, ngx_smtp_summary_size(&summary));

    if (rc != NGX_OK) {
        return rc;
    }

    s->last = ngx_smtp_summary_put(s->last, &summary);

    return NGX_OK;
}


/* what the index does not keep is in the data file, usually still in memory */

static ngx_int_t
ngx_smtp_seal_strings(ngx_smtp_seal_t *s, ngx_smtp_summary_t *summary)
{
    u_char             *p;
    ngx_smtp_record_t   r;

    if (summary->head_size > s->head_room) {
        p = realloc(s->head, summary->head_size);

        if (p == NULL) {
            return ngx_smtp_seal_memory(s);
        }

        s->head = p;
        s->head_room = summary->head_size;
    }

    if (ngx_smtp_seal_head(s, summary, &r) != NGX_OK) {

        /* whoever reads the message finds out, and puts it on hold */

        return s->lenient ? NGX_OK : NGX_ERROR;
    }

    summary->strings.data = s->head + NGX_SMTP_RECORD_HEADER;
    summary->strings.len = r.meta + r.envelope + r.extensions;
    summary->meta = r.meta;
    summary->envelope = r.envelope;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_seal_head(ngx_smtp_seal_t *s, ngx_smtp_summary_t *summary,
    ngx_smtp_record_t *r)
{
    if (ngx_smtp_segment_read(s->file, s->head, summary->head_size,
                              summary->offset, &s->fault)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_smtp_record_check(s->head, summary->head_size, r) != NGX_OK
        || r->number != summary->number)
    {
        s->fault.err = 0;
        s->fault.what = "damaged message head";
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_seal_queue(ngx_smtp_seal_t *s, const ngx_str_t *queue)
{
    ngx_str_t   *p;
    ngx_uint_t   i, n;

    /* from the last on: neighbors are often of one queue */

    for (i = s->nqueues; i > 0; i--) {
        p = &s->queues[i - 1];

        if (p->len == queue->len
            && (p->len == 0
                || ngx_memcmp(p->data, queue->data, p->len) == 0))
        {
            return NGX_OK;
        }
    }

    if (s->nqueues == s->queues_room) {
        n = s->queues_room ? 2 * s->queues_room : 16;
        p = realloc(s->queues, n * sizeof(ngx_str_t));

        if (p == NULL) {
            return ngx_smtp_seal_memory(s);
        }

        s->queues = p;
        s->queues_room = n;
    }

    s->queues[s->nqueues++] = *queue;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_seal_room(ngx_smtp_seal_t *s, size_t size)
{
    u_char     *p;
    size_t      room;
    ngx_int_t   rc;

    if ((size_t) (s->end - s->last) >= size) {
        return NGX_OK;
    }

    rc = ngx_smtp_seal_flush(s);

    if (rc != NGX_OK) {
        return rc;
    }

    if ((size_t) (s->end - s->buf) < size) {
        room = ngx_max(size, NGX_SMTP_SEAL_BUFFER);
        p = ngx_smtp_pages_realloc(s->buf, room);

        if (p == NULL) {
            return ngx_smtp_seal_memory(s);
        }

        s->buf = p;
        s->last = p;
        s->end = p + room;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_seal_flush(ngx_smtp_seal_t *s)
{
    size_t         size;
    ngx_int_t      rc;
    struct iovec   iov;

    size = s->last - s->buf;

    if (size == 0) {
        return NGX_OK;
    }

    rc = ngx_smtp_segment_log_extend(s->file, s->pos + (off_t) size);

    if (rc != NGX_OK) {
        s->fault = s->file->fault;
        return rc;
    }

    ngx_smtp_log_seal(s->buf, s->last, s->file->seed, &s->sequence);

    iov.iov_base = s->buf;
    iov.iov_len = size;

    rc = ngx_smtp_write_all(s->file->log, &iov, 1, s->pos, &s->fault,
                            "write() of summaries");

    s->pos += size;
    s->last = s->buf;

    return rc;
}


static ngx_int_t
ngx_smtp_seal_memory(ngx_smtp_seal_t *s)
{
    ngx_set_errno(NGX_ENOMEM);

    (void) ngx_smtp_fault_set(&s->fault, "malloc() to seal");

    return NGX_ERROR;
}


void
ngx_smtp_seal_free(ngx_smtp_seal_t *s)
{
    if (s == NULL) {
        return;
    }

    ngx_smtp_pages_free(s->buf);
    free(s->head);
    free(s->queues);
    free(s);
}
