
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A bad record in the middle of a log.  What follows it is found again by its
 * CRC, which starts with a secret of the segment, and its sequence, which
 * rises: no text of a peer that lies in the log can look like it.
 *
 * Records written together count together or not at all, so with a bad one
 * the rest of its group is left out.  Where the group of a bad record ended is
 * told by its header, if that can be believed; otherwise by the next record
 * that ends a group.
 */


#include "ngx_smtp_recovery_internal.h"


#define NGX_SMTP_SKIP_CRC       (256 * 1024 * 1024)     /* for one search */
#define NGX_SMTP_SKIP_GAP       (16 * 1024 * 1024)      /* of sequences */


static ngx_int_t ngx_smtp_recovery_skip_search(ngx_smtp_recovery_ctx_t *r,
    off_t *pos, uint32_t sequence, ngx_smtp_log_record_t *record,
    off_t *next);
static ngx_uint_t ngx_smtp_recovery_skip_candidate(ngx_smtp_recovery_ctx_t *r,
    u_char *p, off_t pos, uint32_t sequence);
static ngx_int_t ngx_smtp_recovery_skip_joined(ngx_smtp_recovery_ctx_t *r,
    off_t bad, off_t pos, uint32_t sequence, uint32_t before,
    ngx_uint_t *joined);
static ngx_int_t ngx_smtp_recovery_skip_add(ngx_smtp_recovery_ctx_t *r,
    off_t start, off_t end);


ngx_int_t
ngx_smtp_recovery_skip(ngx_smtp_recovery_ctx_t *r, off_t bad,
    uint32_t sequence)
{
    off_t                  pos, next;
    ngx_int_t              rc;
    ngx_uint_t             joined;
    ngx_smtp_log_record_t  record;

    joined = 1;

    for (pos = bad; joined; pos = next) {

        rc = ngx_smtp_recovery_record(r, pos, sequence, &record, &next);

        if (rc == NGX_DONE) {
            bad = pos++;

            rc = ngx_smtp_recovery_skip_search(r, &pos, sequence, &record,
                                               &next);
            if (rc != NGX_OK) {
                return rc;
            }

            rc = ngx_smtp_recovery_skip_joined(r, bad, pos, record.sequence,
                                               sequence, &joined);
            if (rc != NGX_OK) {
                return rc;
            }

            if (!joined) {
                break;
            }

            rc = ngx_smtp_recovery_record(r, pos, sequence, &record, &next);
        }

        if (rc != NGX_OK) {
            return rc;
        }

        joined = record.more;
        sequence = record.sequence;
    }

    rc = ngx_smtp_recovery_skip_add(r, r->log.pos, pos);

    if (rc != NGX_OK) {
        return rc;
    }

    r->log.pos = pos;
    r->log.good = pos;
    r->log.sequence = sequence;
    r->log.run = 0;

    return NGX_OK;
}


/* The next good record at or behind *pos.  NGX_DONE: there is none. */

static ngx_int_t
ngx_smtp_recovery_skip_search(ngx_smtp_recovery_ctx_t *r, off_t *pos,
    uint32_t sequence, ngx_smtp_log_record_t *record, off_t *next)
{
    off_t       at, tried;
    u_char     *p, *last;
    ngx_int_t   rc;

    tried = 0;

    for (at = *pos; tried < NGX_SMTP_SKIP_CRC; at++) {

        rc = ngx_smtp_window_get(&r->window, at, NGX_SMTP_LOG_RECORD, &p,
                                 &last, &r->file->fault);

        if (rc == NGX_DECLINED) {
            return NGX_DONE;
        }

        if (rc != NGX_OK) {
            return rc;
        }

        while (last - p >= NGX_SMTP_LOG_RECORD
               && !ngx_smtp_recovery_skip_candidate(r, p, at, sequence))
        {
            p++;
            at++;
        }

        if (last - p < NGX_SMTP_LOG_RECORD) {
            at--;
            continue;
        }

        tried += ngx_smtp_get32(p + 4);

        rc = ngx_smtp_recovery_record(r, at, sequence, record, next);

        if (rc != NGX_DONE) {
            *pos = at;
            return rc;
        }
    }

    return NGX_DONE;
}


/* A header that may be one, before its CRC is computed. */

static ngx_uint_t
ngx_smtp_recovery_skip_candidate(ngx_smtp_recovery_ctx_t *r, u_char *p,
    off_t pos, uint32_t sequence)
{
    uint32_t  n;

    n = ngx_smtp_get32(p + 8);

    return p[0] != 0
           && p[1] <= NGX_SMTP_POLICY_REQUIRED
           && ngx_smtp_get16(p + 2) <= NGX_SMTP_LOG_MORE
           && n > sequence && n - sequence <= NGX_SMTP_SKIP_GAP
           && (off_t) ngx_smtp_get32(p + 4)
              <= r->log.size - pos - NGX_SMTP_LOG_RECORD;
}


/* Does the record at pos belong to the group of the bad one before it? */

static ngx_int_t
ngx_smtp_recovery_skip_joined(ngx_smtp_recovery_ctx_t *r, off_t bad,
    off_t pos, uint32_t sequence, uint32_t before, ngx_uint_t *joined)
{
    u_char     *p, *last;
    uint32_t    n;
    ngx_int_t   rc;

    *joined = 1;

    if (pos - bad < NGX_SMTP_LOG_RECORD) {
        return NGX_OK;
    }

    rc = ngx_smtp_window_get(&r->window, bad, NGX_SMTP_LOG_RECORD, &p, &last,
                             &r->file->fault);
    if (rc != NGX_OK) {
        return rc;
    }

    /* its length leads to the next record, and its sequence fits in between */

    n = ngx_smtp_get32(p + 8);

    if (ngx_smtp_recovery_skip_candidate(r, p, bad, before)
        && bad + NGX_SMTP_LOG_RECORD + (off_t) ngx_smtp_get32(p + 4) == pos
        && n < sequence)
    {
        *joined = ngx_smtp_get16(p + 2) & NGX_SMTP_LOG_MORE;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_recovery_skip_add(ngx_smtp_recovery_ctx_t *r, off_t start, off_t end)
{
    ngx_smtp_recovery_skip_t  *skip, **last;

    skip = ngx_smtp_recovery_alloc(r, sizeof(ngx_smtp_recovery_skip_t));

    if (skip == NULL) {
        return NGX_ERROR;
    }

    skip->start = start;
    skip->end = end;
    skip->next = NULL;

    for (last = &r->skips; *last; last = &(*last)->next) { /* void */ }

    *last = skip;

    return NGX_OK;
}


off_t
ngx_smtp_recovery_skipped(ngx_smtp_recovery_ctx_t *r, off_t pos)
{
    ngx_smtp_recovery_skip_t  *skip;

    for (skip = r->skips; skip; skip = skip->next) {
        if (skip->start <= pos && pos < skip->end) {
            return skip->end;
        }
    }

    return pos;
}


ngx_int_t
ngx_smtp_recovery_skip_keep(ngx_smtp_recovery_ctx_t *r)
{
    ngx_int_t                  rc;
    ngx_uint_t                 zero;
    ngx_smtp_recovery_skip_t  *skip;

    for (skip = r->skips; skip; skip = skip->next) {

        /* what is before the summaries is history */

        if (r->log.sealed_at && skip->end <= r->log.sealed.log_start) {
            continue;
        }

        rc = ngx_smtp_window_zero(&r->window, skip->start, skip->end, &zero,
                                  &r->file->fault);
        if (rc == NGX_ERROR) {
            return rc;
        }

        if (!zero) {
            (void) ngx_smtp_recovery_keep(r, r->file->log, skip->start,
                                          skip->end, "log");
        }

        r->recovery.notes.log_bad++;
    }

    return NGX_OK;
}
