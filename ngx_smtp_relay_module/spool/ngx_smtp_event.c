
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Records of the log to bytes and back; the layout is section 4 of
 * docs/spool-format.md.  Pure: no I/O, no clock, no memory of its own.
 *
 * Reply texts and peers come from other machines: they are cut when written,
 * and lengths are checked when read.
 */


#include "ngx_smtp_event.h"
#include "ngx_smtp_crc32c.h"


#define NGX_SMTP_LOG_MAX_PAYLOAD    (64 * 1024 * 1024)

#define NGX_SMTP_EVENT_FIXED        12      /* number, time */
#define NGX_SMTP_RESULT_FIXED       10      /* with the text's length */
#define NGX_SMTP_SUMMARY_FIXED      56
#define NGX_SMTP_SEALED_FIXED       40
#define NGX_SMTP_LIVING_FIXED       16

#define NGX_SMTP_LOG_BARE_EVENT     (NGX_SMTP_LOG_RECORD + 64)

#define NGX_SMTP_SUMMARY_HOLD       1
#define NGX_SMTP_SUMMARY_LARGE      2
#define NGX_SMTP_SUMMARY_DELAY      4
#define NGX_SMTP_SUMMARY_BOUNCE     8
#define NGX_SMTP_SUMMARY_DELETE     16
#define NGX_SMTP_SUMMARY_STRIKE     32      /* two bits */

/* which parts follow number and time */
#define NGX_SMTP_EVENT_HAS_REPORT   0x01
#define NGX_SMTP_EVENT_HAS_ATTEMPTS 0x02
#define NGX_SMTP_EVENT_HAS_UNTIL    0x04
#define NGX_SMTP_EVENT_HAS_KIND     0x08
#define NGX_SMTP_EVENT_HAS_RESULTS  0x10
#define NGX_SMTP_EVENT_HAS_QUEUE    0x20


static size_t ngx_smtp_event_payload(const ngx_smtp_event_t *e);
static u_char *ngx_smtp_event_string_put(u_char *p, const ngx_str_t *s,
    size_t max);
static ngx_int_t ngx_smtp_event_string_get(u_char **pos, u_char *last,
    ngx_str_t *s);
static ngx_int_t ngx_smtp_event_results_get(u_char *p, u_char *last,
    ngx_smtp_event_t *e, ngx_smtp_result_t *results, ngx_uint_t *nresults);
static size_t ngx_smtp_summary_bitmap(ngx_uint_t nrcpts);


static const u_char  ngx_smtp_event_table[] = {
    0,
    /* RESULT */
    NGX_SMTP_EVENT_HAS_ATTEMPTS|NGX_SMTP_EVENT_HAS_RESULTS,
    /* DEFERRED */
    NGX_SMTP_EVENT_HAS_ATTEMPTS|NGX_SMTP_EVENT_HAS_UNTIL
    |NGX_SMTP_EVENT_HAS_RESULTS,
    /* HOLD, RELEASE */
    0,
    0,
    /* REPORT */
    NGX_SMTP_EVENT_HAS_REPORT|NGX_SMTP_EVENT_HAS_ATTEMPTS
    |NGX_SMTP_EVENT_HAS_UNTIL|NGX_SMTP_EVENT_HAS_KIND
    |NGX_SMTP_EVENT_HAS_RESULTS,
    /* REPORT_DEFERRED */
    NGX_SMTP_EVENT_HAS_REPORT|NGX_SMTP_EVENT_HAS_ATTEMPTS
    |NGX_SMTP_EVENT_HAS_UNTIL,
    /* REPORTED */
    NGX_SMTP_EVENT_HAS_REPORT,
    /* DONE */
    0,
    /* SETTLE */
    NGX_SMTP_EVENT_HAS_ATTEMPTS|NGX_SMTP_EVENT_HAS_UNTIL,
    /* WISH */
    NGX_SMTP_EVENT_HAS_KIND,
    /* STRIKE */
    NGX_SMTP_EVENT_HAS_ATTEMPTS|NGX_SMTP_EVENT_HAS_UNTIL
};


#define ngx_smtp_event_parts(type)                                            \
    ((type) == NGX_SMTP_LOG_MOVED ? NGX_SMTP_EVENT_HAS_QUEUE                  \
                                  : ngx_smtp_event_table[type])


/* events */

size_t
ngx_smtp_event_size(const ngx_smtp_event_t *e)
{
    return NGX_SMTP_LOG_RECORD + ngx_smtp_event_payload(e);
}


static size_t
ngx_smtp_event_payload(const ngx_smtp_event_t *e)
{
    size_t      size;
    ngx_uint_t  i, parts;

    parts = ngx_smtp_event_parts(e->type);

    size = NGX_SMTP_EVENT_FIXED
           + ((parts & NGX_SMTP_EVENT_HAS_REPORT) ? 4 : 0)
           + ((parts & NGX_SMTP_EVENT_HAS_ATTEMPTS) ? 4 : 0)
           + ((parts & NGX_SMTP_EVENT_HAS_UNTIL) ? 8 : 0)
           + ((parts & NGX_SMTP_EVENT_HAS_KIND) ? 1 : 0);

    if (parts & NGX_SMTP_EVENT_HAS_QUEUE) {
        return size + 2 + ngx_min(e->queue.len, NGX_SMTP_DESTINATION);
    }

    if (!(parts & NGX_SMTP_EVENT_HAS_RESULTS)) {
        return size;
    }

    size += 2 + ngx_min(e->peer.len, NGX_SMTP_PEER_TEXT) + 4;

    for (i = 0; i < e->nresults; i++) {
        size += NGX_SMTP_RESULT_FIXED
                + ngx_min(e->results[i].text.len, NGX_SMTP_RESULT_TEXT);
    }

    return size;
}


u_char *
ngx_smtp_event_put(u_char *p, const ngx_smtp_event_t *e)
{
    ngx_uint_t          i, parts;
    ngx_smtp_result_t  *result;

    parts = ngx_smtp_event_parts(e->type);

    p = ngx_smtp_event_header_put(p, e->type, ngx_smtp_event_payload(e));

    p = ngx_smtp_put32(p, e->number);
    p = ngx_smtp_put64(p, (uint64_t) e->time);

    if (parts & NGX_SMTP_EVENT_HAS_REPORT) {
        p = ngx_smtp_put32(p, e->report);
    }

    if (parts & NGX_SMTP_EVENT_HAS_ATTEMPTS) {
        p = ngx_smtp_put32(p, e->attempts);
    }

    if (parts & NGX_SMTP_EVENT_HAS_UNTIL) {
        p = ngx_smtp_put64(p, (uint64_t) e->until);
    }

    if (parts & NGX_SMTP_EVENT_HAS_KIND) {
        *p++ = (u_char) e->kind;
    }

    if (parts & NGX_SMTP_EVENT_HAS_QUEUE) {
        return ngx_smtp_event_string_put(p, &e->queue, NGX_SMTP_DESTINATION);
    }

    if (!(parts & NGX_SMTP_EVENT_HAS_RESULTS)) {
        return p;
    }

    p = ngx_smtp_event_string_put(p, &e->peer, NGX_SMTP_PEER_TEXT);
    p = ngx_smtp_put32(p, (uint32_t) e->nresults);

    for (i = 0; i < e->nresults; i++) {
        result = &e->results[i];

        p = ngx_smtp_put32(p, (uint32_t) result->rcpt);
        *p++ = (u_char) result->status;
        *p++ = 0;
        p = ngx_smtp_put16(p, (uint32_t) result->code);
        p = ngx_smtp_event_string_put(p, &result->text,
                                      NGX_SMTP_RESULT_TEXT);
    }

    return p;
}


ngx_int_t
ngx_smtp_event_get(const ngx_smtp_log_record_t *r, ngx_smtp_event_t *e,
    ngx_smtp_result_t *results, ngx_uint_t *nresults)
{
    u_char      *p, *last;
    size_t       fixed;
    ngx_uint_t   parts;

    if (!ngx_smtp_event_known(r->type)) {
        return NGX_ERROR;
    }

    parts = ngx_smtp_event_parts(r->type);

    fixed = NGX_SMTP_EVENT_FIXED
            + ((parts & NGX_SMTP_EVENT_HAS_REPORT) ? 4 : 0)
            + ((parts & NGX_SMTP_EVENT_HAS_ATTEMPTS) ? 4 : 0)
            + ((parts & NGX_SMTP_EVENT_HAS_UNTIL) ? 8 : 0)
            + ((parts & NGX_SMTP_EVENT_HAS_KIND) ? 1 : 0);

    if (r->length < fixed) {
        return NGX_ERROR;
    }

    ngx_memzero(e, sizeof(ngx_smtp_event_t));

    p = r->payload;
    last = p + r->length;

    e->type = r->type;
    e->number = ngx_smtp_get32(p);
    e->time = (time_t) ngx_smtp_get64(p + 4);
    p += NGX_SMTP_EVENT_FIXED;

    if (parts & NGX_SMTP_EVENT_HAS_REPORT) {
        e->report = ngx_smtp_get32(p);
        p += 4;
    }

    if (parts & NGX_SMTP_EVENT_HAS_ATTEMPTS) {
        e->attempts = ngx_smtp_get32(p);
        p += 4;
    }

    if (parts & NGX_SMTP_EVENT_HAS_UNTIL) {
        e->until = (time_t) ngx_smtp_get64(p);
        p += 8;
    }

    if (parts & NGX_SMTP_EVENT_HAS_KIND) {
        e->kind = *p++;

        if (r->type == NGX_SMTP_LOG_WISH
            ? e->kind > NGX_SMTP_WISH_DELETE
            : (e->kind == 0 || e->kind > NGX_SMTP_REPORT_DOUBLE))
        {
            return NGX_ERROR;
        }
    }

    if (parts & NGX_SMTP_EVENT_HAS_QUEUE) {
        *nresults = 0;

        return (ngx_smtp_event_string_get(&p, last, &e->queue) == NGX_OK
                && p == last && e->queue.len)
               ? NGX_OK : NGX_ERROR;
    }

    if (!(parts & NGX_SMTP_EVENT_HAS_RESULTS)) {
        *nresults = 0;
        return p == last ? NGX_OK : NGX_ERROR;
    }

    return ngx_smtp_event_results_get(p, last, e, results, nresults);
}


static ngx_int_t
ngx_smtp_event_results_get(u_char *p, u_char *last, ngx_smtp_event_t *e,
    ngx_smtp_result_t *results, ngx_uint_t *nresults)
{
    ngx_str_t    text;
    ngx_uint_t   i, n, room;
    ngx_uint_t   status;

    room = results ? *nresults : 0;

    if (ngx_smtp_event_string_get(&p, last, &e->peer) != NGX_OK
        || last - p < 4)
    {
        return NGX_ERROR;
    }

    n = ngx_smtp_get32(p);
    p += 4;

    if (n > (size_t) (last - p) / NGX_SMTP_RESULT_FIXED) {
        return NGX_ERROR;
    }

    e->results = results;
    e->nresults = n;
    *nresults = n;

    if (n > room) {
        return NGX_AGAIN;
    }

    for (i = 0; i < n; i++) {

        if (last - p < NGX_SMTP_RESULT_FIXED) {
            return NGX_ERROR;
        }

        status = p[4];

        if (status == 0 || status > NGX_SMTP_RESULT_DEFERRED) {
            return NGX_ERROR;
        }

        results[i].rcpt = ngx_smtp_get32(p);
        results[i].status = status;
        results[i].code = ngx_smtp_get16(p + 6);
        p += NGX_SMTP_RESULT_FIXED - 2;

        if (ngx_smtp_event_string_get(&p, last, &text) != NGX_OK) {
            return NGX_ERROR;
        }

        results[i].text = text;
    }

    return p == last ? NGX_OK : NGX_ERROR;
}


/* summaries */

static size_t
ngx_smtp_summary_bitmap(ngx_uint_t nrcpts)
{
    return nrcpts <= 64 ? 8 : (nrcpts + 7) / 8;
}


size_t
ngx_smtp_summary_size(const ngx_smtp_summary_t *s)
{
    return NGX_SMTP_LOG_RECORD + NGX_SMTP_SUMMARY_FIXED
           + 2 + s->queue.len + 12 + ngx_smtp_summary_bitmap(s->nrcpts)
           + s->strings.len;
}


u_char *
ngx_smtp_summary_put(u_char *p, const ngx_smtp_summary_t *s)
{
    p = ngx_smtp_event_header_put(p, NGX_SMTP_LOG_SUMMARY,
                                  ngx_smtp_summary_size(s)
                                  - NGX_SMTP_LOG_RECORD);

    p = ngx_smtp_put32(p, s->number);
    p = ngx_smtp_put32(p, s->head_size);
    p = ngx_smtp_put32(p, s->nrcpts);
    p = ngx_smtp_put32(p, s->attempts);
    p = ngx_smtp_put32(p, s->reports);
    p = ngx_smtp_put32(p, (s->hold ? NGX_SMTP_SUMMARY_HOLD : 0)
                          | (s->large ? NGX_SMTP_SUMMARY_LARGE : 0)
                          | (s->delay_told ? NGX_SMTP_SUMMARY_DELAY : 0)
                          | (s->wish == NGX_SMTP_WISH_BOUNCE
                             ? NGX_SMTP_SUMMARY_BOUNCE : 0)
                          | (s->wish == NGX_SMTP_WISH_DELETE
                             ? NGX_SMTP_SUMMARY_DELETE : 0)
                          | s->strikes * NGX_SMTP_SUMMARY_STRIKE);
    p = ngx_smtp_put64(p, (uint64_t) s->offset);
    p = ngx_smtp_put64(p, (uint64_t) s->size);
    p = ngx_smtp_put64(p, (uint64_t) s->received);
    p = ngx_smtp_put64(p, (uint64_t) s->due_at);
    p = ngx_smtp_event_string_put(p, &s->queue, 65535);
    p = ngx_smtp_put32(p, s->meta);
    p = ngx_smtp_put32(p, s->envelope);
    p = ngx_smtp_put32(p, (uint32_t) s->strings.len);

    if (s->nrcpts > 64) {
        p = ngx_cpymem(p, s->final, ngx_smtp_summary_bitmap(s->nrcpts));

    } else {
        p = ngx_smtp_put64(p, s->final_word);
    }

    if (s->strings.len) {
        p = ngx_cpymem(p, s->strings.data, s->strings.len);
    }

    return p;
}


ngx_int_t
ngx_smtp_summary_get(const ngx_smtp_log_record_t *r, ngx_smtp_summary_t *s)
{
    u_char    *p, *last;
    size_t     bitmap;
    uint32_t   flags, strings;

    if (r->type != NGX_SMTP_LOG_SUMMARY
        || r->length < NGX_SMTP_SUMMARY_FIXED)
    {
        return NGX_ERROR;
    }

    ngx_memzero(s, sizeof(ngx_smtp_summary_t));

    p = r->payload;
    last = p + r->length;

    s->number = ngx_smtp_get32(p);
    s->head_size = ngx_smtp_get32(p + 4);
    s->nrcpts = ngx_smtp_get32(p + 8);
    s->attempts = ngx_smtp_get32(p + 12);
    s->reports = ngx_smtp_get32(p + 16);
    flags = ngx_smtp_get32(p + 20);
    s->hold = (flags & NGX_SMTP_SUMMARY_HOLD) ? 1 : 0;
    s->large = (flags & NGX_SMTP_SUMMARY_LARGE) ? 1 : 0;
    s->delay_told = (flags & NGX_SMTP_SUMMARY_DELAY) ? 1 : 0;
    s->wish = (flags & NGX_SMTP_SUMMARY_DELETE) ? NGX_SMTP_WISH_DELETE
              : (flags & NGX_SMTP_SUMMARY_BOUNCE) ? NGX_SMTP_WISH_BOUNCE
                                                  : NGX_SMTP_WISH_NONE;
    s->strikes = flags / NGX_SMTP_SUMMARY_STRIKE & 3;
    s->offset = (off_t) ngx_smtp_get64(p + 24);
    s->size = (off_t) ngx_smtp_get64(p + 32);
    s->received = (time_t) ngx_smtp_get64(p + 40);
    s->due_at = (time_t) ngx_smtp_get64(p + 48);
    p += NGX_SMTP_SUMMARY_FIXED;

    if (ngx_smtp_event_string_get(&p, last, &s->queue) != NGX_OK
        || last - p < 12
        || s->offset < NGX_SMTP_FILE_HEADER
        || s->size < 0
        || s->nrcpts == 0
        || s->nrcpts > NGX_SMTP_RECORD_MAX_HEAD
        || s->head_size < NGX_SMTP_RECORD_HEADER
        || s->head_size > NGX_SMTP_RECORD_MAX_HEAD)
    {
        return NGX_ERROR;
    }

    s->meta = ngx_smtp_get32(p);
    s->envelope = ngx_smtp_get32(p + 4);
    strings = ngx_smtp_get32(p + 8);
    p += 12;

    bitmap = ngx_smtp_summary_bitmap(s->nrcpts);

    if ((size_t) (last - p) < bitmap
        || (size_t) (last - p) - bitmap != strings
        || (strings && (uint64_t) s->meta + s->envelope > strings))
    {
        return NGX_ERROR;
    }

    if (s->nrcpts > 64) {
        s->final = p;

    } else {
        s->final_word = ngx_smtp_get64(p);
    }

    s->strings.data = p + bitmap;
    s->strings.len = strings;

    return NGX_OK;
}


/* the segment */

size_t
ngx_smtp_sealed_size(const ngx_smtp_sealed_t *s)
{
    size_t      size;
    ngx_uint_t  i;

    size = NGX_SMTP_LOG_RECORD + NGX_SMTP_SEALED_FIXED;

    for (i = 0; i < s->nqueues; i++) {
        size += 2 + s->queues[i].len;
    }

    return size;
}


u_char *
ngx_smtp_sealed_put(u_char *p, const ngx_smtp_sealed_t *s)
{
    ngx_uint_t  i;

    p = ngx_smtp_event_header_put(p, NGX_SMTP_LOG_SEALED,
                                  ngx_smtp_sealed_size(s)
                                  - NGX_SMTP_LOG_RECORD);

    p = ngx_smtp_put64(p, (uint64_t) s->data_end);
    p = ngx_smtp_put64(p, (uint64_t) s->log_start);
    p = ngx_smtp_put32(p, s->summaries);
    p = ngx_smtp_put32(p, s->reports);
    p = ngx_smtp_put32(p, s->next_number);
    p = ngx_smtp_put64(p, (uint64_t) s->time);
    p = ngx_smtp_put32(p, (uint32_t) s->nqueues);

    for (i = 0; i < s->nqueues; i++) {
        p = ngx_smtp_event_string_put(p, &s->queues[i], 65535);
    }

    return p;
}


ngx_int_t
ngx_smtp_sealed_get(const ngx_smtp_log_record_t *r, ngx_smtp_sealed_t *s,
    ngx_str_t *queues, ngx_uint_t room)
{
    u_char      *p, *last;
    ngx_str_t    name;
    ngx_uint_t   i;

    if (r->type != NGX_SMTP_LOG_SEALED || r->length < NGX_SMTP_SEALED_FIXED) {
        return NGX_ERROR;
    }

    p = r->payload;
    last = p + r->length;

    s->data_end = (off_t) ngx_smtp_get64(p);
    s->log_start = (off_t) ngx_smtp_get64(p + 8);
    s->summaries = ngx_smtp_get32(p + 16);
    s->reports = ngx_smtp_get32(p + 20);
    s->next_number = ngx_smtp_get32(p + 24);
    s->time = (time_t) ngx_smtp_get64(p + 28);
    s->nqueues = ngx_smtp_get32(p + 36);
    s->queues = queues;
    p += NGX_SMTP_SEALED_FIXED;

    if (s->data_end < NGX_SMTP_FILE_HEADER
        || s->log_start < NGX_SMTP_FILE_HEADER
        || s->nqueues > (size_t) (last - p) / 2)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < s->nqueues; i++) {

        if (ngx_smtp_event_string_get(&p, last, &name) != NGX_OK) {
            return NGX_ERROR;
        }

        if (queues && i < room) {
            queues[i] = name;
        }
    }

    return p == last ? NGX_OK : NGX_ERROR;
}


u_char *
ngx_smtp_mark_put(u_char *p, ngx_uint_t type, off_t data_end, time_t now)
{
    p = ngx_smtp_event_header_put(p, type, NGX_SMTP_LOG_MARK
                                           - NGX_SMTP_LOG_RECORD);
    p = ngx_smtp_put64(p, (uint64_t) data_end);

    return ngx_smtp_put64(p, (uint64_t) now);
}


ngx_int_t
ngx_smtp_mark_get(const ngx_smtp_log_record_t *r, off_t *data_end,
    time_t *time)
{
    if (r->length != NGX_SMTP_LOG_MARK - NGX_SMTP_LOG_RECORD) {
        return NGX_ERROR;
    }

    *data_end = (off_t) ngx_smtp_get64(r->payload);
    *time = (time_t) ngx_smtp_get64(r->payload + 8);

    return *data_end < 0 ? NGX_ERROR : NGX_OK;
}


size_t
ngx_smtp_living_size(uint32_t next)
{
    return NGX_SMTP_LOG_RECORD + NGX_SMTP_LIVING_FIXED
           + ((size_t) next + 7) / 8;
}


u_char *
ngx_smtp_living_put(u_char *p, const ngx_smtp_summary_t *summaries,
    ngx_uint_t n, uint32_t next, time_t now)
{
    size_t      size;
    uint32_t    number;
    ngx_uint_t  i;

    size = ngx_smtp_living_size(next) - NGX_SMTP_LOG_RECORD;

    p = ngx_smtp_event_header_put(p, NGX_SMTP_LOG_LIVING, size);
    p = ngx_smtp_put32(p, 0);
    p = ngx_smtp_put64(p, (uint64_t) now);
    p = ngx_smtp_put32(p, next);

    size -= NGX_SMTP_LIVING_FIXED;

    ngx_memzero(p, size);

    for (i = 0; i < n; i++) {
        number = summaries[i].number;

        if (number < next) {
            p[number / 8] |= 1 << (number % 8);
        }
    }

    return p + size;
}


ngx_int_t
ngx_smtp_living_get(const ngx_smtp_log_record_t *r, uint32_t *next,
    u_char **bits)
{
    if (r->length < NGX_SMTP_LIVING_FIXED) {
        return NGX_ERROR;
    }

    *next = ngx_smtp_get32(r->payload + 12);
    *bits = r->payload + NGX_SMTP_LIVING_FIXED;

    return r->length == ngx_smtp_living_size(*next) - NGX_SMTP_LOG_RECORD
           ? NGX_OK : NGX_ERROR;
}


/* records */

void
ngx_smtp_log_seal(u_char *p, u_char *last, uint32_t seed, uint32_t *sequence)
{
    u_char    *next;
    uint32_t   crc;

    for ( /* void */ ; p < last; p = next) {

        next = p + NGX_SMTP_LOG_RECORD + ngx_smtp_get32(p + 4);

        ngx_smtp_put16(p + 2, next < last ? NGX_SMTP_LOG_MORE : 0);
        ngx_smtp_put32(p + 8, ++*sequence);

        crc = ngx_smtp_crc32c(seed, p, 12);
        crc = ngx_smtp_crc32c(crc, p + NGX_SMTP_LOG_RECORD,
                              next - p - NGX_SMTP_LOG_RECORD);
        ngx_smtp_put32(p + 12, crc);
    }
}


ngx_int_t
ngx_smtp_log_next(u_char *p, u_char *last, uint32_t seed, uint32_t sequence,
    ngx_smtp_log_record_t *r, u_char **next, size_t *need)
{
    size_t    length;
    uint32_t  crc;

    if (last - p < NGX_SMTP_LOG_RECORD) {
        *need = NGX_SMTP_LOG_RECORD;
        return NGX_AGAIN;
    }

    length = ngx_smtp_get32(p + 4);

    if (p[0] == 0
        || p[1] > NGX_SMTP_POLICY_REQUIRED
        || length > NGX_SMTP_LOG_MAX_PAYLOAD
        || ngx_smtp_get32(p + 8) <= sequence)
    {
        return NGX_ERROR;
    }

    if ((size_t) (last - p) - NGX_SMTP_LOG_RECORD < length) {
        *need = NGX_SMTP_LOG_RECORD + length;
        return NGX_AGAIN;
    }

    crc = ngx_smtp_crc32c(seed, p, 12);
    crc = ngx_smtp_crc32c(crc, p + NGX_SMTP_LOG_RECORD, length);

    if (crc != ngx_smtp_get32(p + 12)) {
        return NGX_ERROR;
    }

    r->type = p[0];
    r->policy = p[1];
    r->more = (ngx_smtp_get16(p + 2) & NGX_SMTP_LOG_MORE) ? 1 : 0;
    r->sequence = ngx_smtp_get32(p + 8);
    r->payload = p + NGX_SMTP_LOG_RECORD;
    r->length = length;

    *next = p + NGX_SMTP_LOG_RECORD + length;

    return NGX_OK;
}


size_t
ngx_smtp_log_need(size_t head_size, ngx_uint_t nrcpts)
{
    size_t  summary, rcpt;

    summary = NGX_SMTP_LOG_RECORD + NGX_SMTP_SUMMARY_FIXED + 2 + 12
              + ngx_smtp_summary_bitmap(nrcpts) + head_size;

    /* RESULT, REPORT with its texts, REPORTED without */

    rcpt = 2 * (NGX_SMTP_LOG_MAX_EVENT + NGX_SMTP_LOG_MAX_RESULT)
           + NGX_SMTP_LOG_BARE_EVENT;

    /* a failure report that becomes one to the postmaster: without texts */

    rcpt += NGX_SMTP_LOG_BARE_EVENT + 2 * NGX_SMTP_RESULT_FIXED;

    /* the same for a report on a delay */

    rcpt += NGX_SMTP_RESULT_FIXED;

    /* it and its REPORTED; SETTLE, DONE */

    return summary + nrcpts * rcpt + 4 * NGX_SMTP_LOG_BARE_EVENT;
}


u_char *
ngx_smtp_event_header_put(u_char *p, ngx_uint_t type, size_t length)
{
    *p++ = (u_char) type;

    switch (type) {

    case NGX_SMTP_LOG_SUMMARY:
    case NGX_SMTP_LOG_WISH:
    case NGX_SMTP_LOG_STRIKE:
    case NGX_SMTP_LOG_ERRORS:
    case NGX_SMTP_LOG_LIVING:
        *p++ = NGX_SMTP_POLICY_IGNORE;
        break;

    default:
        *p++ = NGX_SMTP_POLICY_REQUIRED;
    }

    p = ngx_smtp_put16(p, 0);
    p = ngx_smtp_put32(p, (uint32_t) length);

    /* sequence and CRC */

    p = ngx_smtp_put32(p, 0);

    return ngx_smtp_put32(p, 0);
}


static u_char *
ngx_smtp_event_string_put(u_char *p, const ngx_str_t *s, size_t max)
{
    size_t  len;

    len = ngx_min(s->len, max);

    p = ngx_smtp_put16(p, (uint32_t) len);

    return len ? ngx_cpymem(p, s->data, len) : p;
}


static ngx_int_t
ngx_smtp_event_string_get(u_char **pos, u_char *last, ngx_str_t *s)
{
    u_char  *p;
    size_t   len;

    p = *pos;

    if (last - p < 2) {
        return NGX_ERROR;
    }

    len = ngx_smtp_get16(p);
    p += 2;

    if ((size_t) (last - p) < len) {
        return NGX_ERROR;
    }

    s->data = p;
    s->len = len;

    *pos = p + len;

    return NGX_OK;
}
