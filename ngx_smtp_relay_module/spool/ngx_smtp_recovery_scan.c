
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Recovery's scan of the data file: batch after batch, message after message,
 * CRCs checked.  What is bad with something good, or something acknowledged,
 * behind it is corruption and put aside; what is bad at the end was never
 * acknowledged and is cut (docs/spool-format.md, section 5).
 */


#include "ngx_smtp_recovery_internal.h"


static ngx_int_t ngx_smtp_recovery_scan(ngx_smtp_recovery_ctx_t *r);
static ngx_int_t ngx_smtp_recovery_scan_batch(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_batch_t *batch);
static ngx_int_t ngx_smtp_recovery_scan_messages(ngx_smtp_recovery_ctx_t *r,
    off_t pos, off_t end, ngx_uint_t count);
static ngx_int_t ngx_smtp_recovery_scan_message(ngx_smtp_recovery_ctx_t *r,
    off_t pos, off_t end, off_t *next);
static ngx_int_t ngx_smtp_recovery_scan_past(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_record_t *record, off_t pos, off_t end, off_t *next);
static ngx_int_t ngx_smtp_recovery_scan_add(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_record_t *record, uint16_t queue, off_t pos);
static ngx_int_t ngx_smtp_recovery_scan_bad(ngx_smtp_recovery_ctx_t *r,
    off_t from);
static void ngx_smtp_recovery_scan_corrupt(ngx_smtp_recovery_ctx_t *r,
    off_t end);
static ngx_int_t ngx_smtp_recovery_scan_end(ngx_smtp_recovery_ctx_t *r);
static ngx_uint_t ngx_smtp_recovery_scan_acknowledged(
    ngx_smtp_recovery_ctx_t *r);


ngx_int_t
ngx_smtp_recovery_scan_start(ngx_smtp_recovery_ctx_t *r)
{
    struct stat               st;
    ngx_smtp_segment_file_t  *f;

    f = r->file;

    if (ngx_smtp_sys.fstat(f->data, &st) == -1) {
        (void) ngx_smtp_fault_set(&f->fault, "fstat() of segment data");
        return NGX_ERROR;
    }

    r->data_size = st.st_size;
    r->limit = st.st_size;

    if (r->log.data_end && r->log.data_end < r->limit) {
        r->limit = r->log.data_end;
    }

    r->pos = NGX_SMTP_FILE_HEADER;
    r->scan_end = NGX_SMTP_FILE_HEADER;
    r->sorted = 1;
    r->recovery.notes.scanned = 1;

    ngx_smtp_window_init(&r->window, f->data, r->limit,
                         "read() of segment data");

    r->part = ngx_smtp_recovery_scan;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_recovery_scan(ngx_smtp_recovery_ctx_t *r)
{
    u_char            *p, *last;
    ngx_int_t          rc;
    ngx_smtp_batch_t   batch;

    while (r->window.read < r->budget) {

        rc = ngx_smtp_window_get(&r->window, r->pos, NGX_SMTP_BATCH_HEADER,
                                 &p, &last, &r->file->fault);
        if (rc == NGX_ERROR) {
            return rc;
        }

        if (rc == NGX_DECLINED) {
            return ngx_smtp_recovery_scan_end(r);
        }

        if (ngx_smtp_batch_get(p, last - p, &r->file->header, &batch)
            == NGX_OK)
        {
            rc = ngx_smtp_recovery_scan_batch(r, &batch);

        } else {
            rc = ngx_smtp_recovery_scan_bad(r, r->pos + 1);
        }

        if (rc == NGX_DONE) {
            return ngx_smtp_recovery_scan_end(r);
        }

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_AGAIN;
}


/* a good header is at r->pos.  NGX_DONE: the rest is bad */

static ngx_int_t
ngx_smtp_recovery_scan_batch(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_batch_t *batch)
{
    off_t       start, end;
    ngx_int_t   rc;
    ngx_uint_t  cut;

    /*
     * A batch is written after the one before it was acknowledged, or taken
     * back: what is bad before this header had its 250.
     */

    if (r->bad.start) {
        ngx_smtp_recovery_scan_corrupt(r, r->pos);
    }

    r->batches++;
    r->file->batch = ngx_max(r->file->batch, batch->sequence);

    start = r->pos + NGX_SMTP_BATCH_HEADER;
    cut = batch->length > (uint64_t) (r->limit - start);
    end = cut ? r->limit : start + (off_t) batch->length;

    rc = ngx_smtp_recovery_scan_messages(r, start, end, batch->messages);

    if (rc == NGX_OK && !cut) {
        r->pos = end;
        r->scan_end = end;
        r->bad.first = r->recovery.nmessages;
        return NGX_OK;
    }

    if (rc != NGX_OK && rc != NGX_DONE) {
        return rc;
    }

    r->bad.start = r->pos;

    return ngx_smtp_recovery_scan_bad(r, end);
}


/*
 * Takes in the messages that are good; count 0: not known how many there are.
 * NGX_DONE: not all were.
 */
static ngx_int_t
ngx_smtp_recovery_scan_messages(ngx_smtp_recovery_ctx_t *r, off_t pos,
    off_t end, ngx_uint_t count)
{
    off_t       next;
    ngx_int_t   rc;
    ngx_uint_t  bad, n;

    bad = 0;
    r->bad.number = 0;

    for (n = 0; pos < end; n++) {

        next = 0;

        rc = ngx_smtp_recovery_scan_message(r, pos, end, &next);

        if (rc == NGX_ERROR || rc == NGX_DECLINED) {
            return rc;
        }

        if (rc == NGX_DONE) {
            bad++;
        }

        if (next == 0) {

            /* where the next one starts is not known */

            n++;
            break;
        }

        pos = next;
    }

    if (n < count) {
        bad += count - n;
    }

    r->bad.damaged += bad;

    return (bad || (count && n != count)) ? NGX_DONE : NGX_OK;
}


/*
 * NGX_DONE: the message is bad; *next is set all the same when its end is
 * known.
 */
static ngx_int_t
ngx_smtp_recovery_scan_message(ngx_smtp_recovery_ctx_t *r, off_t pos,
    off_t end, off_t *next)
{
    u_char                   *p, *last;
    off_t                     size;
    uint32_t                  crc;
    uint16_t                  queue;
    ngx_int_t                 rc;
    ngx_str_t                 name;
    ngx_smtp_record_t         record;
    ngx_smtp_segment_file_t  *f;

    f = r->file;

    if (end - pos < NGX_SMTP_RECORD_HEADER) {
        return NGX_DONE;
    }

    rc = ngx_smtp_window_get(&r->window, pos, NGX_SMTP_RECORD_HEADER, &p,
                             &last, &f->fault);
    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? NGX_DONE : rc;
    }

    if (ngx_smtp_record_header(p, last - p, &record) == NGX_ERROR
        || record.head_size > end - pos)
    {
        return NGX_DONE;
    }

    rc = ngx_smtp_window_get(&r->window, pos, record.head_size, &p, &last,
                             &f->fault);
    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? NGX_DONE : rc;
    }

    rc = ngx_smtp_record_check(p, record.head_size, &record);

    if (rc == NGX_DECLINED) {
        r->recovery.notes.new_type = 1;
        return NGX_DECLINED;
    }

    if (rc != NGX_OK) {
        return ngx_smtp_recovery_scan_past(r, &record, pos, end, next);
    }

    if (pos == r->pos + NGX_SMTP_BATCH_HEADER) {
        r->bad.number = record.number;
    }

    size = record.large ? 0 : record.content;

    if (size > end - pos - (off_t) record.head_size
        || record.number <= r->last_number
        || ngx_smtp_record_queue(p, &record, &name) != NGX_OK)
    {
        return NGX_DONE;
    }

    /* the head leaves the window when the content is read */

    rc = ngx_smtp_recovery_queue(r, &name, &queue);

    if (rc != NGX_OK) {
        return rc;
    }

    if (!record.large) {
        rc = ngx_smtp_window_crc(&r->window, pos + record.head_size, size,
                                 &crc, &f->fault);
        if (rc == NGX_ERROR) {
            return rc;
        }

        *next = pos + record.head_size + size;

        if (rc != NGX_OK || crc != record.body_crc) {
            return NGX_DONE;
        }
    }

    *next = pos + record.head_size + size;

    return ngx_smtp_recovery_scan_add(r, &record, queue, pos);
}


/*
 * A head that is damaged, in its strings perhaps: where its sizes lead to a
 * good head, or to the end of the batch, they can be believed.  It is only
 * looked at there, since a body may have anything in it.
 */
static ngx_int_t
ngx_smtp_recovery_scan_past(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_record_t *record, off_t pos, off_t end, off_t *next)
{
    u_char             *p, *last;
    off_t               size, after;
    ngx_int_t           rc;
    ngx_smtp_record_t   follows;

    size = record->large ? 0 : record->content;
    after = pos + (off_t) record->head_size;

    if (size > end - after) {
        return NGX_DONE;
    }

    after += size;

    if (after == end) {
        *next = after;
        return NGX_DONE;
    }

    rc = ngx_smtp_window_get(&r->window, after, NGX_SMTP_RECORD_HEADER, &p,
                             &last, &r->file->fault);
    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? NGX_DONE : rc;
    }

    if (ngx_smtp_record_header(p, last - p, &follows) == NGX_ERROR
        || (off_t) follows.head_size > end - after)
    {
        return NGX_DONE;
    }

    rc = ngx_smtp_window_get(&r->window, after, follows.head_size, &p, &last,
                             &r->file->fault);
    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? NGX_DONE : rc;
    }

    if (ngx_smtp_record_check(p, follows.head_size, &follows) != NGX_ERROR
        && follows.number > r->last_number)
    {
        *next = after;
    }

    return NGX_DONE;
}


static ngx_int_t
ngx_smtp_recovery_scan_add(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_record_t *record, uint16_t queue, off_t pos)
{
    ngx_smtp_recovered_t  *m;

    m = ngx_smtp_recovery_add(r, record->nrcpts);

    if (m == NULL) {
        return NGX_ERROR;
    }

    m->number = record->number;
    m->head_size = record->head_size;
    m->offset = pos;
    m->size = record->content + record->fields;
    m->received = record->received;
    m->due_at = record->received;
    m->large = record->large;
    m->queue = queue;

    r->last_number = record->number;

    return NGX_OK;
}


/*
 * There is a bad part at r->pos: looks for a batch from there on.  NGX_DONE:
 * there is none.
 */
static ngx_int_t
ngx_smtp_recovery_scan_bad(ngx_smtp_recovery_ctx_t *r, off_t from)
{
    off_t      found;
    ngx_int_t  rc, searched;

    searched = ngx_smtp_window_search(&r->window, from, &r->file->header,
                                      &found, &r->file->fault);
    if (searched == NGX_ERROR) {
        return searched;
    }

    if (searched == NGX_DECLINED) {
        found = r->limit;
    }

    if (r->bad.start == 0) {

        /* after a good batch: with its header lost, its place is known */

        r->bad.start = r->pos;

        rc = ngx_smtp_recovery_scan_messages(r, r->pos
                                                + NGX_SMTP_BATCH_HEADER,
                                             found, 0);
        if (rc == NGX_ERROR || rc == NGX_DECLINED) {
            return rc;
        }
    }

    r->pos = found;

    return searched == NGX_OK ? NGX_OK : NGX_DONE;
}


/* bad.start..end was acknowledged: a copy is put aside, what is good stays */

static void
ngx_smtp_recovery_scan_corrupt(ngx_smtp_recovery_ctx_t *r, off_t end)
{
    ngx_smtp_recovery_notes_t  *notes;

    notes = &r->recovery.notes;

    /* the data are left where they are, whether the copy can be made or not */

    (void) ngx_smtp_recovery_keep(r, r->file->data, r->bad.start, end,
                                  "data");

    notes->quarantined++;
    notes->damaged += r->bad.damaged;

    r->bad.start = 0;
    r->bad.damaged = 0;
    r->bad.first = r->recovery.nmessages;
    r->scan_end = end;
}


static ngx_int_t
ngx_smtp_recovery_scan_end(ngx_smtp_recovery_ctx_t *r)
{
    ngx_uint_t                  zero;
    ngx_int_t                   rc;
    ngx_smtp_segment_file_t    *f;
    ngx_smtp_recovery_notes_t  *notes;

    f = r->file;
    notes = &r->recovery.notes;

    if (ngx_smtp_recovery_scan_acknowledged(r)) {

        if (r->bad.start == 0) {
            r->bad.start = r->scan_end;
            notes->damaged++;
        }

        rc = ngx_smtp_window_zero(&r->window, r->bad.start, r->limit, &zero,
                                  &f->fault);
        if (rc == NGX_ERROR) {
            return rc;
        }

        if (zero) {
            notes->damaged += ngx_max(r->bad.damaged, 1);
            r->bad.start = 0;
            r->scan_end = ngx_max(r->scan_end, ngx_min(r->limit,
                                                       r->log.data_end));

        } else {
            ngx_smtp_recovery_scan_corrupt(r, r->limit);
        }
    }

    /* a torn tail: even a message that is whole was not acknowledged */

    if (r->bad.start) {
        r->recovery.nmessages = r->bad.first;
    }

    if (ngx_smtp_sys.fdatasync(f->data) == -1) {
        return ngx_smtp_fault_set(&f->fault, "fdatasync() of segment data");
    }

    r->recovery.next_number = ngx_max(r->last_number, r->log.max_event) + 1;

    if (f->log == -1) {

        /* nothing was ever in it: a stop while it was created */

        if (r->batches == 0 && r->recovery.nmessages == 0
            && notes->quarantined == 0 && notes->damaged == 0)
        {
            r->part = ngx_smtp_recovery_finish;
            return NGX_OK;
        }

        notes->no_log = 1;
        r->part = ngx_smtp_recovery_finish;

        return NGX_OK;
    }

    ngx_smtp_window_init(&r->window, f->log, r->log.size, "read() of log");

    r->pos = NGX_SMTP_FILE_HEADER;
    r->part = ngx_smtp_recovery_log_apply;

    return NGX_OK;
}


/*
 * The log may know better: of an end of the data that is behind, or of a
 * message that was sent, and so had been acknowledged with all of its batch.
 * If it is none of those before the bad part it was in it, read or not: unless
 * that starts with a later one, as numbers ascend.  Then it was in what is put
 * aside already.
 */
static ngx_uint_t
ngx_smtp_recovery_scan_acknowledged(ngx_smtp_recovery_ctx_t *r)
{
    uint32_t    last;
    ngx_uint_t  n;

    n = r->bad.start ? r->bad.first : r->recovery.nmessages;
    last = n ? r->recovery.messages[n - 1].number : 0;

    if (r->bad.start && r->bad.number > r->log.max_event) {
        last = r->log.max_event;
    }

    return r->log.data_end > r->scan_end || r->log.max_event > last;
}


/*
 * A log that was written anew does not tell of those that had ended by then:
 * without this they would all come back when its summaries are damaged.
 */
void
ngx_smtp_recovery_scan_living(ngx_smtp_recovery_ctx_t *r,
    ngx_smtp_log_record_t *record)
{
    u_char                *bits;
    uint32_t               next;
    ngx_uint_t             i;
    ngx_smtp_recovered_t  *m;

    if (r->log.sealed_at
        || ngx_smtp_living_get(record, &next, &bits) != NGX_OK)
    {
        return;
    }

    for (i = 0; i < r->recovery.nmessages; i++) {
        m = &r->recovery.messages[i];

        if (m->number < next && !(bits[m->number / 8] >> (m->number % 8) & 1))
        {
            m->done = 1;
        }
    }
}
