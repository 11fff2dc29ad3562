
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Recovery's view of the log.  A first reading finds how far it is good and
 * whether it is sealed; a second one applies it: from the summaries on, or,
 * after a scan of the data, from the start.
 */


#include "ngx_smtp_recovery_internal.h"


static ngx_int_t ngx_smtp_recovery_log_header(ngx_smtp_recovery_ctx_t *r);
static ngx_int_t ngx_smtp_recovery_log_bad(ngx_smtp_recovery_ctx_t *r,
    const char *name);
static ngx_int_t ngx_smtp_recovery_check(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_recovery_log_t *log, ngx_smtp_log_record_t *record, off_t pos,
    off_t next);
static void ngx_smtp_recovery_check_sealed(ngx_smtp_recovery_log_t *log,
    ngx_smtp_log_record_t *record, off_t pos, off_t next);
static ngx_int_t ngx_smtp_recovery_log_decide(ngx_smtp_recovery_ctx_t *r);
static ngx_int_t ngx_smtp_recovery_apply_record(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_log_record_t *record);
static ngx_int_t ngx_smtp_recovery_summary(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_log_record_t *record);
static int ngx_libc_cdecl ngx_smtp_recovery_by_number(const void *one,
    const void *two);
static ngx_int_t ngx_smtp_recovery_sort(ngx_smtp_recovery_ctx_t *r);
static ngx_int_t ngx_smtp_recovery_event(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_log_record_t *record);
static void ngx_smtp_recovery_error(void *data, uint32_t number,
    uint32_t hash);
static void ngx_smtp_recovery_apply(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_recovered_t *m, ngx_smtp_event_t *e);
static void ngx_smtp_recovery_final(ngx_smtp_recovered_t *m,
    ngx_smtp_event_t *e);
static ngx_int_t ngx_smtp_recovery_report(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_recovered_t *m, ngx_smtp_event_t *e);
static ngx_smtp_recovered_report_t **ngx_smtp_recovery_report_find(
    ngx_smtp_recovered_t *m, uint32_t number);


/* first reading */

ngx_int_t
ngx_smtp_recovery_log_open(ngx_smtp_recovery_ctx_t *r)
{
    char                      name[NGX_SMTP_FILE_NAME];
    ngx_int_t                 rc;
    struct stat               st;
    ngx_smtp_segment_file_t  *f;

    f = r->file;

    ngx_smtp_log_name(name, &f->header.id, f->header.generation);

    f->log = ngx_smtp_sys.openat(r->spool->dir, name,
                                 O_RDWR|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK, 0);
    if (f->log == -1) {

        if (ngx_errno != NGX_ENOENT) {
            (void) ngx_smtp_fault_set(&f->fault, "open() of log");
            return NGX_ERROR;
        }

        r->part = ngx_smtp_recovery_scan_start;
        return NGX_OK;
    }

    if (ngx_smtp_sys.fstat(f->log, &st) == -1) {
        (void) ngx_smtp_fault_set(&f->fault, "fstat() of log");
        return NGX_ERROR;
    }

    r->log.size = st.st_size;

    ngx_smtp_window_init(&r->window, f->log, st.st_size, "read() of log");

    rc = ngx_smtp_recovery_log_header(r);

    if (rc == NGX_DONE) {
        return ngx_smtp_recovery_log_bad(r, name);
    }

    if (rc == NGX_OK) {
        r->part = ngx_smtp_recovery_log_check;
    }

    return rc;
}


/* NGX_DONE: the header is damaged, or the log is another segment's */

static ngx_int_t
ngx_smtp_recovery_log_header(ngx_smtp_recovery_ctx_t *r)
{
    u_char                   *p, *last;
    ngx_int_t                 rc;
    ngx_smtp_file_header_t    h;
    ngx_smtp_segment_file_t  *f;

    f = r->file;

    rc = ngx_smtp_window_get(&r->window, 0, NGX_SMTP_FILE_HEADER, &p, &last,
                             &f->fault);

    if (rc == NGX_OK) {
        rc = ngx_smtp_file_header_get(p, last - p, NGX_SMTP_FILE_LOG, &h);

        if (rc == NGX_DECLINED) {
            f->header.version = h.version;
            r->recovery.notes.new_type = 1;
            return NGX_DECLINED;
        }

        if (rc == NGX_ERROR
            || ngx_memcmp(h.id.bytes, f->header.id.bytes, NGX_SMTP_ID_SIZE)
               != 0
            || ngx_memcmp(h.key, f->header.key, NGX_SMTP_KEY_SIZE) != 0
            || h.generation != f->header.generation)
        {
            return NGX_DONE;
        }

        r->log.seed = ngx_smtp_log_seed(&h);
        r->log.pos = NGX_SMTP_FILE_HEADER;
        r->log.good = NGX_SMTP_FILE_HEADER;

        return NGX_OK;
    }

    return rc == NGX_DECLINED ? NGX_DONE : rc;
}


/*
 * A log that says nothing is put aside whole and counts as none.  A stop while
 * a segment is created leaves one without a whole header, and no batch.
 */
static ngx_int_t
ngx_smtp_recovery_log_bad(ngx_smtp_recovery_ctx_t *r, const char *name)
{
    ngx_int_t                 rc;
    ngx_smtp_segment_file_t  *f;

    f = r->file;
    rc = NGX_OK;

    if (r->log.size > NGX_SMTP_FILE_HEADER) {
        rc = ngx_smtp_recovery_keep(r, f->log, 0, r->log.size, "log");

        if (rc == NGX_OK) {
            r->recovery.notes.quarantined++;
        }
    }

    if (rc == NGX_OK
        && ngx_smtp_sys.unlinkat(r->spool->dir, name, 0) == -1
        && ngx_errno != NGX_ENOENT)
    {
        (void) ngx_smtp_fault_set(&f->fault, "unlink() of damaged log");
        rc = NGX_ERROR;
    }

    if (rc != NGX_OK) {
        return rc;
    }

    (void) ngx_smtp_sys.close(f->log);
    f->log = -1;

    ngx_memzero(&r->log, sizeof(ngx_smtp_recovery_log_t));

    r->part = ngx_smtp_recovery_scan_start;

    return NGX_OK;
}


ngx_int_t
ngx_smtp_recovery_log_check(ngx_smtp_recovery_ctx_t *r)
{
    off_t                    next;
    ngx_int_t                rc;
    ngx_smtp_log_record_t    record;
    ngx_smtp_recovery_log_t  log;

    while (r->window.read < r->budget) {

        /* a copy takes in a group; it counts when the group is complete */

        log = r->log;

        do {
            rc = ngx_smtp_recovery_record(r, log.pos, log.sequence, &record,
                                          &next);

            if (rc == NGX_DONE) {
                rc = ngx_smtp_recovery_skip(r, log.pos, log.sequence);

                if (rc == NGX_DONE) {
                    return ngx_smtp_recovery_log_decide(r);
                }

                if (rc != NGX_OK) {
                    return rc;
                }

                log = r->log;
                break;
            }

            if (rc != NGX_OK) {
                return rc;
            }

            rc = ngx_smtp_recovery_check(r, &log, &record, log.pos, next);

            if (rc != NGX_OK) {
                return rc;
            }

            log.pos = next;
            log.sequence = record.sequence;

        } while (record.more);

        log.good = log.pos;
        r->log = log;
    }

    return NGX_AGAIN;
}


ngx_int_t
ngx_smtp_recovery_record(ngx_smtp_recovery_ctx_t *r, off_t pos,
    uint32_t sequence, ngx_smtp_log_record_t *record, off_t *next)
{
    u_char      *p, *last, *end;
    size_t       need;
    ngx_int_t    rc;

    need = NGX_SMTP_LOG_RECORD;

    do {
        rc = ngx_smtp_window_get(&r->window, pos, need, &p, &last,
                                 &r->file->fault);

        if (rc == NGX_DECLINED) {
            return NGX_DONE;
        }

        if (rc != NGX_OK) {
            return rc;
        }

        rc = ngx_smtp_log_next(p, last, r->log.seed, sequence, record, &end,
                               &need);

    } while (rc == NGX_AGAIN);

    if (rc != NGX_OK) {
        return NGX_DONE;
    }

    *next = pos + (end - p);

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_recovery_check(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_recovery_log_t *log, ngx_smtp_log_record_t *record, off_t pos,
    off_t next)
{
    off_t     end;
    time_t    time;
    uint32_t  number;

    switch (record->type) {

    case NGX_SMTP_LOG_SUMMARY:

        if (log->run == 0) {
            log->run = pos;
            log->run_summaries = 0;
            log->run_reports = 0;
        }

        log->run_summaries++;

        return NGX_OK;

    case NGX_SMTP_LOG_SEALED:
        ngx_smtp_recovery_check_sealed(log, record, pos, next);
        break;

    case NGX_SMTP_LOG_END:

        if (ngx_smtp_mark_get(record, &end, &time) == NGX_OK
            && end >= NGX_SMTP_FILE_HEADER)
        {
            log->data_end = end;
        }

        break;

    case NGX_SMTP_LOG_SEGMENT_DONE:
    case NGX_SMTP_LOG_ERRORS:
    case NGX_SMTP_LOG_LIVING:
        break;

    default:

        if (!ngx_smtp_event_known(record->type)) {

            if (record->policy == NGX_SMTP_POLICY_REQUIRED) {
                r->recovery.notes.new_type = 1;
                return NGX_DECLINED;
            }

            break;
        }

        if (record->length >= 4) {
            number = ngx_smtp_get32(record->payload);
            log->max_event = ngx_max(log->max_event, number);
        }

        if (record->type == NGX_SMTP_LOG_REPORT && log->run) {
            log->run_reports++;
            return NGX_OK;
        }
    }

    log->run = 0;

    return NGX_OK;
}


static void
ngx_smtp_recovery_check_sealed(ngx_smtp_recovery_log_t *log,
    ngx_smtp_log_record_t *record, off_t pos, off_t next)
{
    ngx_smtp_sealed_t  sealed;

    if (log->run == 0) {
        log->run = pos;
        log->run_summaries = 0;
        log->run_reports = 0;
    }

    if (ngx_smtp_sealed_get(record, &sealed, NULL, 0) != NGX_OK) {
        return;
    }

    /* where the data end holds even if a summary is missing */

    log->data_end = sealed.data_end;

    if (sealed.log_start == log->run
        && sealed.summaries == log->run_summaries
        && sealed.reports == log->run_reports)
    {
        log->sealed = sealed;
        log->sealed_at = next;
    }
}


static ngx_int_t
ngx_smtp_recovery_log_decide(ngx_smtp_recovery_ctx_t *r)
{
    ngx_int_t                 rc;
    struct stat               st;
    ngx_smtp_segment_file_t  *f;

    f = r->file;

    rc = ngx_smtp_recovery_skip_keep(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_smtp_sys.fstat(f->data, &st) == -1) {
        (void) ngx_smtp_fault_set(&f->fault, "fstat() of segment data");
        return NGX_ERROR;
    }

    if (r->log.sealed_at == 0 || st.st_size < r->log.sealed.data_end) {
        r->log.sealed_at = 0;
        r->part = ngx_smtp_recovery_scan_start;
        return NGX_OK;
    }

    r->data_size = st.st_size;
    r->scan_end = r->log.sealed.data_end;
    r->recovery.next_number = r->log.sealed.next_number;
    r->pos = r->log.sealed.log_start;
    r->part = ngx_smtp_recovery_log_apply;

    return NGX_OK;
}


/* second reading */

ngx_int_t
ngx_smtp_recovery_log_apply(ngx_smtp_recovery_ctx_t *r)
{
    off_t                  next;
    ngx_int_t              rc;
    ngx_smtp_log_record_t  record;

    while (r->pos < r->log.good) {

        if (r->window.read >= r->budget) {
            return NGX_AGAIN;
        }

        next = ngx_smtp_recovery_skipped(r, r->pos);

        if (next != r->pos) {
            r->pos = next;
            continue;
        }

        rc = ngx_smtp_recovery_record(r, r->pos, 0, &record, &next);

        if (rc != NGX_OK) {

            /* it was good a moment ago */

            if (rc == NGX_DONE) {
                r->file->fault.err = 0;
                r->file->fault.what = "log changed while it was read";
            }

            return NGX_ERROR;
        }

        rc = ngx_smtp_recovery_apply_record(r, &record);

        if (rc == NGX_DECLINED) {

            /* summaries that cannot be believed: as if not sealed */

            r->log.sealed_at = 0;
            r->recovery.nmessages = 0;
            r->recovery.next_number = 0;
            r->part = ngx_smtp_recovery_scan_start;
            return NGX_OK;
        }

        if (rc != NGX_OK) {
            return rc;
        }

        r->pos = next;
    }

    r->part = ngx_smtp_recovery_finish;

    return NGX_OK;
}


/* NGX_DECLINED: the summaries are no good */

static ngx_int_t
ngx_smtp_recovery_apply_record(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_log_record_t *record)
{
    ngx_int_t  rc;

    if (record->type == NGX_SMTP_LOG_SUMMARY) {
        return ngx_smtp_recovery_summary(r, record);
    }

    if (!r->sorted) {
        rc = ngx_smtp_recovery_sort(r);

        if (rc != NGX_OK) {
            return rc;
        }

        r->sorted = 1;
    }

    if (ngx_smtp_event_known(record->type)) {
        return ngx_smtp_recovery_event(r, record);
    }

    if (record->type == NGX_SMTP_LOG_LIVING) {
        ngx_smtp_recovery_scan_living(r, record);
    }

    /* nothing depends on it */

    if (record->type == NGX_SMTP_LOG_ERRORS) {
        (void) ngx_smtp_errors_read(&r->recovery.errors, record,
                                    ngx_smtp_recovery_error, r);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_recovery_summary(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_log_record_t *record)
{
    size_t                 n;
    ngx_uint_t             i;
    ngx_smtp_summary_t     s;
    ngx_smtp_recovered_t  *m;

    /* those of a seal that was not finished: the scan tells all of it */

    if (r->log.sealed_at == 0 || r->pos >= r->log.sealed_at) {
        return NGX_OK;
    }

    if (ngx_smtp_summary_get(record, &s) != NGX_OK
        || s.offset > r->log.sealed.data_end - (off_t) s.head_size)
    {
        return NGX_DECLINED;
    }

    m = ngx_smtp_recovery_add(r, s.nrcpts);

    if (m == NULL
        || ngx_smtp_recovery_queue(r, &s.queue, &m->queue) != NGX_OK)
    {
        return NGX_ERROR;
    }

    m->number = s.number;
    m->head_size = s.head_size;
    m->offset = s.offset;
    m->size = s.size;
    m->received = s.received;
    m->due_at = s.due_at;
    m->attempts = (uint16_t) ngx_min(s.attempts, 0xffff);
    m->nreports = s.reports;
    m->hold = s.hold;
    m->strikes = s.strikes;
    m->large = s.large;
    m->delay_told = s.delay_told;
    m->wish = s.wish;

    if (m->final) {
        n = (s.nrcpts + 7) / 8;
        ngx_memcpy(m->final, s.final, n);

        for (i = 0; i < s.nrcpts; i++) {
            m->npending -= (m->final[i / 8] >> (i % 8)) & 1;
        }

    } else {
        m->final_word = s.final_word;

        for (i = 0; i < s.nrcpts; i++) {
            m->npending -= (uint32_t) (m->final_word >> i) & 1;
        }
    }

    return NGX_OK;
}


static int ngx_libc_cdecl
ngx_smtp_recovery_by_number(const void *one, const void *two)
{
    const ngx_smtp_recovered_t  *a, *b;

    a = one;
    b = two;

    return a->number < b->number ? -1 : a->number > b->number;
}


static ngx_int_t
ngx_smtp_recovery_sort(ngx_smtp_recovery_ctx_t *r)
{
    ngx_uint_t             i, sorted;
    ngx_smtp_recovered_t  *m;

    m = r->recovery.messages;
    sorted = 1;

    for (i = 1; i < r->recovery.nmessages; i++) {
        sorted &= m[i - 1].number < m[i].number;
    }

    if (sorted) {
        return NGX_OK;
    }

    ngx_qsort(m, r->recovery.nmessages, sizeof(ngx_smtp_recovered_t),
              ngx_smtp_recovery_by_number);

    for (i = 1; i < r->recovery.nmessages; i++) {

        if (m[i - 1].number == m[i].number) {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_recovery_event(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_log_record_t *record)
{
    ngx_int_t              rc;
    ngx_uint_t             n;
    ngx_smtp_event_t       e;
    ngx_smtp_result_t     *results;
    ngx_smtp_recovered_t  *m;

    n = r->results_room;

    rc = ngx_smtp_event_get(record, &e, r->results, &n);

    if (rc == NGX_AGAIN) {
        results = realloc(r->results, n * sizeof(ngx_smtp_result_t));

        if (results == NULL) {
            return ngx_smtp_recovery_memory(r);
        }

        r->results = results;
        r->results_room = n;

        rc = ngx_smtp_event_get(record, &e, results, &n);
    }

    if (rc != NGX_OK) {

        /* good CRC, bad contents: written wrongly; it tells nothing */

        r->recovery.notes.events_lost++;
        return NGX_OK;
    }

    /* no message: it ended before the seal, or is damaged */

    m = ngx_smtp_recovery_find(r, e.number);

    if (m == NULL) {
        return NGX_OK;
    }

    if (e.type == NGX_SMTP_LOG_REPORT) {
        return ngx_smtp_recovery_report(r, m, &e);
    }

    if (e.type == NGX_SMTP_LOG_MOVED) {
        return ngx_smtp_recovery_queue(r, &e.queue, &m->queue);
    }

    ngx_smtp_recovery_apply(r, m, &e);

    return NGX_OK;
}


static void
ngx_smtp_recovery_error(void *data, uint32_t number, uint32_t hash)
{
    ngx_smtp_recovery_ctx_t *r = data;

    ngx_smtp_recovered_t  *m;

    m = ngx_smtp_recovery_find(r, number);

    if (m) {
        m->error = hash;
    }
}


static void
ngx_smtp_recovery_apply(ngx_smtp_recovery_ctx_t *r, ngx_smtp_recovered_t *m,
    ngx_smtp_event_t *e)
{
    ngx_smtp_recovered_report_t  **p;

    switch (e->type) {

    case NGX_SMTP_LOG_RESULT:
        m->strikes = 0;
        m->attempts = (uint16_t) ngx_min(e->attempts, 0xffff);
        ngx_smtp_recovery_final(m, e);
        break;

    case NGX_SMTP_LOG_STRIKE:
        m->strikes = ngx_min(e->attempts, NGX_SMTP_STRIKES);
        m->due_at = e->until;
        break;

    case NGX_SMTP_LOG_DEFERRED:
        m->strikes = 0;

        if (e->nresults) {
            m->error = ngx_smtp_errors_put(&r->recovery.errors,
                                           &e->results[e->nresults - 1].text);
        }

        /* fall through */

    case NGX_SMTP_LOG_SETTLE:
        m->attempts = (uint16_t) ngx_min(e->attempts, 0xffff);
        m->due_at = e->until;
        break;

    case NGX_SMTP_LOG_HOLD:
        m->hold = 1;
        break;

    case NGX_SMTP_LOG_RELEASE:
        m->hold = 0;
        m->strikes = 0;
        break;

    case NGX_SMTP_LOG_REPORT_DEFERRED:
        m->strikes = 0;
        p = ngx_smtp_recovery_report_find(m, e->report);

        if (*p && (*p)->number == e->report) {
            (*p)->attempts = e->attempts;
            (*p)->due_at = e->until;
        }

        break;

    case NGX_SMTP_LOG_REPORTED:
        m->strikes = 0;
        p = ngx_smtp_recovery_report_find(m, e->report);

        if (*p && (*p)->number == e->report) {
            *p = (*p)->next;
        }

        break;

    case NGX_SMTP_LOG_DONE:
        m->done = 1;
        break;

    case NGX_SMTP_LOG_WISH:
        m->wish = e->kind;
        break;
    }
}


static void
ngx_smtp_recovery_final(ngx_smtp_recovered_t *m, ngx_smtp_event_t *e)
{
    uint64_t    bit;
    ngx_uint_t  i, n;

    for (i = 0; i < e->nresults; i++) {
        n = e->results[i].rcpt;

        if (n >= m->nrcpts
            || e->results[i].status == NGX_SMTP_RESULT_DEFERRED)
        {
            continue;
        }

        if (m->final == NULL) {
            bit = (uint64_t) 1 << n;

            if (!(m->final_word & bit)) {
                m->final_word |= bit;
                m->npending--;
            }

        } else if (!(m->final[n / 8] & (1 << (n % 8)))) {
            m->final[n / 8] |= 1 << (n % 8);
            m->npending--;
        }
    }
}


/* where the report with this number is in the list, or belongs */

static ngx_smtp_recovered_report_t **
ngx_smtp_recovery_report_find(ngx_smtp_recovered_t *m, uint32_t number)
{
    ngx_smtp_recovered_report_t  **p;

    for (p = &m->reports; *p && (*p)->number < number; p = &(*p)->next) {
        /* void */
    }

    return p;
}


static ngx_int_t
ngx_smtp_recovery_report(ngx_smtp_recovery_ctx_t *r, ngx_smtp_recovered_t *m,
    ngx_smtp_event_t *e)
{
    u_char                        *p;
    size_t                         size;
    ngx_uint_t                     i;
    ngx_smtp_recovered_report_t   *report, *next, **place;

    place = ngx_smtp_recovery_report_find(m, e->report);
    next = *place;

    if (next && next->number == e->report) {

        /* only a failure report changes: into one to the postmaster */

        if (e->kind != NGX_SMTP_REPORT_DOUBLE) {
            return NGX_OK;
        }

        next = next->next;
    }

    if (e->kind == NGX_SMTP_REPORT_DELAY) {
        m->delay_told = 1;
    }

    size = e->peer.len;

    for (i = 0; i < e->nresults; i++) {
        size += e->results[i].text.len;
    }

    size += sizeof(ngx_smtp_recovered_report_t)
            + e->nresults * sizeof(ngx_smtp_result_t);

    report = ngx_smtp_recovery_alloc(r, size);

    if (report == NULL) {
        return NGX_ERROR;
    }

    report->next = next;
    report->created = e->time;
    report->due_at = e->until;
    report->number = e->report;
    report->attempts = e->attempts;
    report->kind = e->kind;
    report->nresults = e->nresults;
    report->results = (ngx_smtp_result_t *) (report + 1);

    p = (u_char *) (report->results + e->nresults);

    report->peer.len = e->peer.len;
    report->peer.data = p;
    p = ngx_cpymem(p, e->peer.data, e->peer.len);

    for (i = 0; i < e->nresults; i++) {
        report->results[i] = e->results[i];
        report->results[i].text.data = p;
        p = ngx_cpymem(p, e->results[i].text.data, e->results[i].text.len);
    }

    *place = report;

    m->nreports = ngx_max(m->nreports, e->report);

    return NGX_OK;
}
