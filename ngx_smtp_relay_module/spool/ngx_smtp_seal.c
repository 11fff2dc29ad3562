
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Sealing a segment: summaries of its live messages, its pending reports and
 * SEALED, to the end of its log or into a new log that replaces a broken one.
 * Blocking, for threads; a buffer of 1 MB or one record is malloc'ed here.
 *
 * The log's end moves only when all of it was written, so that a seal that
 * does not fit is overwritten by the next event.
 */


#include "ngx_smtp_segment.h"

#include <sys/file.h>


#define NGX_SMTP_SEAL_BUFFER    (1024 * 1024)


typedef struct {
    ngx_smtp_segment_file_t  *file;
    ngx_smtp_fault_t          fault;
    off_t                     pos;      /* in the log, of the buffer's start */
    uint32_t                  seed;
    uint32_t                  sequence;
    int                       fd;       /* the log written to */
    unsigned                  fresh:1;  /* a new log: no reservation yet */

    u_char                   *buf;
    u_char                   *last;
    u_char                   *end;

    u_char                   *head;     /* one message's, as read */
    size_t                    head_room;

    ngx_str_t                *queues;
    ngx_uint_t                nqueues;
    ngx_uint_t                queues_room;
} ngx_smtp_seal_t;


/* what is written: the arguments of both entry points */
typedef struct {
    ngx_smtp_summary_t       *summaries;
    ngx_uint_t                n;
    ngx_smtp_event_t         *reports;
    ngx_uint_t                nreports;
    uint32_t                  next_number;
    time_t                    now;
} ngx_smtp_seal_content_t;


static ngx_int_t ngx_smtp_seal_write(ngx_smtp_seal_t *s,
    ngx_smtp_seal_content_t *c);
static ngx_int_t ngx_smtp_seal_summary(ngx_smtp_seal_t *s,
    const ngx_smtp_summary_t *given);
static ngx_int_t ngx_smtp_seal_strings(ngx_smtp_seal_t *s,
    ngx_smtp_summary_t *summary);
static ngx_int_t ngx_smtp_seal_queue(ngx_smtp_seal_t *s,
    const ngx_str_t *queue);
static ngx_int_t ngx_smtp_seal_room(ngx_smtp_seal_t *s, size_t size);
static ngx_int_t ngx_smtp_seal_flush(ngx_smtp_seal_t *s);
static ngx_int_t ngx_smtp_seal_memory(ngx_smtp_seal_t *s);
static void ngx_smtp_seal_free(ngx_smtp_seal_t *s);
static int ngx_smtp_relog_open(ngx_smtp_spool_t *spool,
    ngx_smtp_segment_file_t *f, ngx_smtp_seal_t *s, const char *tmp,
    time_t now);
static void ngx_smtp_seal_times(ngx_smtp_segment_file_t *f, time_t earliest);
static ngx_uint_t ngx_smtp_seal_shed(ngx_smtp_segment_file_t *f);


ngx_int_t
ngx_smtp_segment_seal(ngx_smtp_segment_file_t *f,
    ngx_smtp_summary_t *summaries, ngx_uint_t n, ngx_smtp_event_t *reports,
    ngx_uint_t nreports, uint32_t next_number, time_t now, time_t earliest)
{
    ngx_int_t                rc;
    struct stat              st;
    ngx_smtp_seal_t          s;
    ngx_smtp_seal_content_t  c;

    f->full = 1;

    if (f->log == -1 || f->log_broken) {
        f->fault.err = 0;
        f->fault.what = "log is broken";
        return NGX_ERROR;
    }

    c.summaries = summaries;
    c.n = n;
    c.reports = reports;
    c.nreports = nreports;
    c.next_number = next_number;
    c.now = now;

    do {
        ngx_memzero(&s, sizeof(ngx_smtp_seal_t));

        s.file = f;
        s.fd = f->log;
        s.pos = f->log_end;
        s.seed = f->seed;
        s.sequence = f->sequence;

        rc = ngx_smtp_seal_write(&s, &c);

        f->sequence = s.sequence;

        ngx_smtp_seal_free(&s);

        /* no room is reserved for the tail, and it is only good to have */

    } while (rc == NGX_BUSY && ngx_smtp_seal_shed(f));

    if (rc != NGX_OK) {
        f->fault = s.fault;
        return rc;
    }

    f->log_end = s.pos;
    f->log_space = ngx_max(f->log_space, f->log_end);
    f->log_dirty = 1;

    rc = ngx_smtp_segment_log_sync(f);

    if (rc != NGX_OK) {
        return rc;
    }

    /* zeros written ahead, or a cut that failed: SEALED rules over them */

    if (ngx_smtp_sys.fstat(f->data, &st) == 0 && st.st_size > f->data_end) {
        (void) ngx_smtp_sys.ftruncate(f->data, f->data_end);
    }

    ngx_smtp_seal_times(f, earliest);

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


static ngx_uint_t
ngx_smtp_seal_shed(ngx_smtp_segment_file_t *f)
{
    if (f->tail.len == 0) {
        return 0;
    }

    f->tail.len = 0;

    return 1;
}


static void
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


ngx_int_t
ngx_smtp_segment_relog(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f,
    ngx_smtp_summary_t *summaries, ngx_uint_t n, ngx_smtp_event_t *reports,
    ngx_uint_t nreports, uint32_t next_number, time_t now)
{
    char                     tmp[NGX_SMTP_FILE_NAME];
    char                     name[NGX_SMTP_FILE_NAME];
    ngx_int_t                rc;
    ngx_smtp_seal_t          s;
    ngx_smtp_seal_content_t  c;

    f->full = 1;

    ngx_memzero(&s, sizeof(ngx_smtp_seal_t));

    s.file = f;
    s.fresh = 1;

    c.summaries = summaries;
    c.n = n;
    c.reports = reports;
    c.nreports = nreports;
    c.next_number = next_number;
    c.now = now;

    ngx_sprintf(ngx_smtp_segment_id_text(&f->header.id, (u_char *) tmp),
                ".log%Z");
    ngx_smtp_log_name(name, &f->header.id, f->header.generation);

    s.fd = ngx_smtp_relog_open(spool, f, &s, tmp, now);

    if (s.fd == -1) {
        rc = (s.fault.err == ENOSPC || s.fault.err == EDQUOT) ? NGX_BUSY
                                                              : NGX_ERROR;
        f->fault = s.fault;
        return rc;
    }

    rc = ngx_smtp_seal_write(&s, &c);

    ngx_smtp_seal_free(&s);

    if (rc == NGX_OK && ngx_smtp_sys.fsync(s.fd) == -1) {
        rc = ngx_smtp_fault_set(&s.fault, "fsync() of replacement log");
    }

    if (rc == NGX_OK
        && ngx_smtp_sys.renameat2(spool->tmp, tmp, spool->dir, name, 0) == -1)
    {
        rc = ngx_smtp_fault_set(&s.fault, "rename() of replacement log");
    }

    if (rc != NGX_OK) {
        (void) ngx_smtp_sys.unlinkat(spool->tmp, tmp, 0);
        (void) ngx_smtp_sys.close(s.fd);
        f->fault = s.fault;
        return rc;
    }

    /* the old one has no name any more, whether that is on disk or not */

    if (f->log != -1) {
        (void) ngx_smtp_sys.close(f->log);
    }

    f->log = s.fd;
    f->log_end = s.pos;
    f->log_space = s.pos;
    f->seed = s.seed;
    f->sequence = s.sequence;
    f->log_dirty = 0;
    f->log_broken = 1;
    f->ended = 0;

    if (ngx_smtp_sys.fsync(spool->dir) == -1) {
        return ngx_smtp_fault_set(&f->fault, "fsync() of spool directory");
    }

    rc = ngx_smtp_segment_log_extend(f, f->log_end + f->owed);

    if (rc == NGX_OK) {
        f->log_broken = 0;
    }

    return rc;
}


static int
ngx_smtp_relog_open(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f,
    ngx_smtp_seal_t *s, const char *tmp, time_t now)
{
    int                     fd;
    u_char                  header[NGX_SMTP_FILE_HEADER];
    struct iovec            iov;
    ngx_smtp_file_header_t  h;

    /* one that an earlier owner left is taken: the segment is ours */

    fd = ngx_smtp_sys.openat(spool->tmp, tmp,
                             O_CREAT|O_TRUNC|O_RDWR|O_CLOEXEC|O_NOFOLLOW,
                             0600);
    if (fd == -1) {
        (void) ngx_smtp_fault_set(&s->fault, "open() of replacement log");
        return -1;
    }

    /* against the cleaning of tmp/ */

    (void) ngx_smtp_sys.flock(fd, LOCK_EX|LOCK_NB);

    h = f->header;
    h.created = now;

    ngx_smtp_file_header_put(header, NGX_SMTP_FILE_LOG, &h);

    iov.iov_base = header;
    iov.iov_len = NGX_SMTP_FILE_HEADER;

    if (ngx_smtp_write_all(fd, &iov, 1, 0, &s->fault,
                           "write() of replacement log")
        != NGX_OK)
    {
        (void) ngx_smtp_sys.unlinkat(spool->tmp, tmp, 0);
        (void) ngx_smtp_sys.close(fd);
        return -1;
    }

    s->seed = ngx_smtp_log_seed(&h);
    s->pos = NGX_SMTP_FILE_HEADER;

    return fd;
}


static ngx_int_t
ngx_smtp_seal_write(ngx_smtp_seal_t *s, ngx_smtp_seal_content_t *c)
{
    ngx_int_t          rc;
    ngx_uint_t         i;
    ngx_smtp_sealed_t  sealed;

    ngx_memzero(&sealed, sizeof(ngx_smtp_sealed_t));

    sealed.data_end = s->file->data_end;
    sealed.log_start = s->pos;
    sealed.summaries = (uint32_t) c->n;
    sealed.reports = (uint32_t) c->nreports;
    sealed.next_number = c->next_number;
    sealed.time = c->now;

    for (i = 0; i < c->n; i++) {
        rc = ngx_smtp_seal_summary(s, &c->summaries[i]);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    for (i = 0; i < c->nreports; i++) {
        rc = ngx_smtp_seal_room(s, ngx_smtp_event_size(&c->reports[i]));

        if (rc != NGX_OK) {
            return rc;
        }

        s->last = ngx_smtp_event_put(s->last, &c->reports[i]);
    }

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

    if (ngx_smtp_segment_read(s->file, s->head, summary->head_size,
                              summary->offset, &s->fault)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_smtp_record_check(s->head, summary->head_size, &r) != NGX_OK
        || r.number != summary->number)
    {
        s->fault.err = 0;
        s->fault.what = "damaged message head";
        return NGX_ERROR;
    }

    summary->strings.data = s->head + NGX_SMTP_RECORD_HEADER;
    summary->strings.len = r.meta + r.envelope + r.extensions;
    summary->meta = r.meta;
    summary->envelope = r.envelope;

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
        p = realloc(s->buf, room);

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

    if (!s->fresh) {
        rc = ngx_smtp_segment_log_extend(s->file, s->pos + (off_t) size);

        if (rc != NGX_OK) {
            s->fault = s->file->fault;
            return rc;
        }
    }

    ngx_smtp_log_seal(s->buf, s->last, s->seed, &s->sequence);

    iov.iov_base = s->buf;
    iov.iov_len = size;

    rc = ngx_smtp_write_all(s->fd, &iov, 1, s->pos, &s->fault,
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


static void
ngx_smtp_seal_free(ngx_smtp_seal_t *s)
{
    free(s->buf);
    free(s->head);
    free(s->queues);
}
