
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The log is opened by its name: the descriptor of the segment belongs to
 * whoever writes it, and may be replaced by a new log meanwhile.  Records are
 * believed by their CRC; the first one that is not good is the end, be it one
 * that is just being written.  Where only the end of a long log is read, its
 * first record is looked for byte by byte: only the worker knows the seed that
 * makes its CRC good.
 */


#include "ngx_smtp_store_internal.h"
#include "ngx_smtp_history.h"
#include "ngx_smtp_window.h"


typedef struct {
    ngx_smtp_history_t         history;     /* first: it is the public one */
    ngx_smtp_task_t            task;

    /* copies, for the thread */
    ngx_smtp_spool_t          *spool;
    ngx_smtp_segment_id_t      id;
    uint32_t                   generation;
    uint32_t                   number;

    ngx_smtp_window_t          window;
    uint32_t                   seed;
    ngx_smtp_history_event_t  *last;
    ngx_uint_t                 events;
    size_t                     bytes;

    ngx_uint_t                 closed;
} ngx_smtp_history_ctx_t;


static void ngx_smtp_history_run(void *data);
static ngx_int_t ngx_smtp_history_header(ngx_smtp_history_ctx_t *ctx);
static off_t ngx_smtp_history_start(ngx_smtp_history_ctx_t *ctx);
static ngx_int_t ngx_smtp_history_record(ngx_smtp_history_ctx_t *ctx,
    off_t pos, uint32_t sequence, ngx_smtp_log_record_t *r, off_t *next);
static ngx_int_t ngx_smtp_history_keep(ngx_smtp_history_ctx_t *ctx,
    ngx_smtp_log_record_t *r);
static ngx_uint_t ngx_smtp_history_known(ngx_smtp_history_ctx_t *ctx,
    ngx_smtp_event_t *e);
static void ngx_smtp_history_done(void *data);
static void ngx_smtp_history_free(ngx_smtp_history_ctx_t *ctx);


ngx_int_t
ngx_smtp_history_open(ngx_smtp_message_t *m,
    void (*handler)(ngx_smtp_history_t *h), void *data, ngx_log_t *log,
    ngx_smtp_history_t **h)
{
    ngx_smtp_store_t        *store;
    ngx_smtp_history_ctx_t  *ctx;

    ctx = ngx_calloc(sizeof(ngx_smtp_history_ctx_t), log);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    store = m->segment->store;

    ctx->history.handler = handler;
    ctx->history.data = data;
    ctx->spool = &store->spool;
    ctx->id = m->segment->file.header.id;
    ctx->generation = m->segment->file.header.generation;
    ctx->number = m->number;

    ngx_smtp_task_init(&ctx->task, "spool history", ngx_smtp_history_run,
                       ngx_smtp_history_done, ctx);

    if (ngx_smtp_task_post(store->conf->pool, &ctx->task, store->log)
        != NGX_OK)
    {
        ngx_free(ctx);
        return NGX_ERROR;
    }

    *h = &ctx->history;

    return NGX_AGAIN;
}


void
ngx_smtp_history_close(ngx_smtp_history_t *h)
{
    ngx_smtp_history_ctx_t  *ctx;

    ctx = (ngx_smtp_history_ctx_t *) h;

    if (ctx->task.active) {
        ctx->closed = 1;
        return;
    }

    ngx_smtp_history_free(ctx);
}


static void
ngx_smtp_history_run(void *data)
{
    ngx_smtp_history_ctx_t *ctx = data;

    int                    fd;
    char                   name[NGX_SMTP_FILE_NAME];
    off_t                  pos, next;
    uint32_t               sequence;
    struct stat            st;
    ngx_smtp_log_record_t  r;

    ngx_smtp_log_name(name, &ctx->id, ctx->generation);

    fd = ngx_smtp_sys.openat(ctx->spool->dir, name,
                             O_RDONLY|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK, 0);
    if (fd == -1) {
        return;
    }

    if (ngx_smtp_sys.fstat(fd, &st) == 0) {

        ngx_smtp_window_init(&ctx->window, fd, st.st_size, "read() of log");

        if (ngx_smtp_history_header(ctx) == NGX_OK) {

            pos = ngx_smtp_history_start(ctx);
            sequence = 0;

            while (ngx_smtp_history_record(ctx, pos, sequence, &r, &next)
                   == NGX_OK
                   && ngx_smtp_history_keep(ctx, &r) == NGX_OK)
            {
                sequence = r.sequence;
                pos = next;
            }
        }
    }

    ngx_smtp_window_free(&ctx->window);
    (void) ngx_smtp_sys.close(fd);
}


static ngx_int_t
ngx_smtp_history_header(ngx_smtp_history_ctx_t *ctx)
{
    u_char                  *p, *last;
    ngx_smtp_fault_t         fault;
    ngx_smtp_file_header_t   h;

    if (ngx_smtp_window_get(&ctx->window, 0, NGX_SMTP_FILE_HEADER, &p, &last,
                            &fault)
        != NGX_OK
        || ngx_smtp_file_header_get(p, last - p, NGX_SMTP_FILE_LOG, &h)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ctx->seed = ngx_smtp_log_seed(&h);

    return NGX_OK;
}


/* Where to begin; the end of the file if there is no record. */

static off_t
ngx_smtp_history_start(ngx_smtp_history_ctx_t *ctx)
{
    off_t                   pos, next;
    u_char                 *p, *last;
    ngx_smtp_fault_t        fault;
    ngx_smtp_log_record_t   r;

    if (ctx->window.size <= NGX_SMTP_HISTORY_LOG) {
        ctx->history.whole = 1;
        return NGX_SMTP_FILE_HEADER;
    }

    for (pos = ctx->window.size - NGX_SMTP_HISTORY_LOG;
         pos < ctx->window.size;
         pos++)
    {
        if (ngx_smtp_window_get(&ctx->window, pos, NGX_SMTP_LOG_RECORD, &p,
                                &last, &fault)
            != NGX_OK)
        {
            break;
        }

        /* types, policy, flags and length that a record may have */

        if (p[0] == 0 || p[0] > NGX_SMTP_LOG_COMPACTED || p[1] > 1
            || p[2] > 1 || p[3] != 0
            || (off_t) ngx_smtp_get32(p + 4) > ctx->window.size - pos)
        {
            continue;
        }

        if (ngx_smtp_history_record(ctx, pos, 0, &r, &next) == NGX_OK) {
            return pos;
        }
    }

    return ctx->window.size;
}


static ngx_int_t
ngx_smtp_history_record(ngx_smtp_history_ctx_t *ctx, off_t pos,
    uint32_t sequence, ngx_smtp_log_record_t *r, off_t *next)
{
    u_char            *p, *last, *end;
    size_t             need;
    ngx_int_t          rc;
    ngx_smtp_fault_t   fault;

    need = NGX_SMTP_LOG_RECORD;

    do {
        if (ngx_smtp_window_get(&ctx->window, pos, need, &p, &last, &fault)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        rc = ngx_smtp_log_next(p, last, ctx->seed, sequence, r, &end, &need);

    } while (rc == NGX_AGAIN);

    if (rc == NGX_OK) {
        *next = pos + (end - p);
    }

    return rc;
}


static ngx_int_t
ngx_smtp_history_keep(ngx_smtp_history_ctx_t *ctx, ngx_smtp_log_record_t *r)
{
    size_t                     size;
    ngx_uint_t                 n;
    ngx_smtp_event_t           e;
    ngx_smtp_log_record_t      copy;
    ngx_smtp_history_event_t  *he;

    if (!ngx_smtp_event_known(r->type)
        || r->length < 4
        || ngx_smtp_get32(r->payload) != ctx->number)
    {
        return NGX_OK;
    }

    n = 0;

    if (ngx_smtp_event_get(r, &e, NULL, &n) == NGX_ERROR
        || ngx_smtp_history_known(ctx, &e))
    {
        return NGX_OK;
    }

    size = sizeof(ngx_smtp_history_event_t) + n * sizeof(ngx_smtp_result_t)
           + r->length;

    while (ctx->history.first
           && (ctx->events == NGX_SMTP_HISTORY_EVENTS
               || ctx->bytes + size > NGX_SMTP_HISTORY_BYTES))
    {
        he = ctx->history.first;
        ctx->history.first = he->next;
        ctx->history.whole = 0;
        ctx->bytes -= he->size;
        ctx->events--;

        free(he);
    }

    if (size > NGX_SMTP_HISTORY_BYTES) {
        ctx->history.whole = 0;
        return NGX_OK;
    }

    he = malloc(size);

    if (he == NULL) {
        ctx->history.whole = 0;
        return NGX_ERROR;
    }

    he->next = NULL;
    he->size = size;

    copy = *r;
    copy.payload = (u_char *) (he + 1) + n * sizeof(ngx_smtp_result_t);

    ngx_memcpy(copy.payload, r->payload, r->length);

    if (ngx_smtp_event_get(&copy, &he->event, (ngx_smtp_result_t *) (he + 1),
                           &n)
        != NGX_OK)
    {
        free(he);
        return NGX_OK;
    }

    if (ctx->history.first) {
        ctx->last->next = he;

    } else {
        ctx->history.first = he;
    }

    ctx->last = he;
    ctx->bytes += size;
    ctx->events++;

    return NGX_OK;
}


/* A seal tells pending reports once more. */

static ngx_uint_t
ngx_smtp_history_known(ngx_smtp_history_ctx_t *ctx, ngx_smtp_event_t *e)
{
    ngx_smtp_history_event_t  *he;

    if (e->type != NGX_SMTP_LOG_REPORT) {
        return 0;
    }

    for (he = ctx->history.first; he; he = he->next) {

        if (he->event.type == NGX_SMTP_LOG_REPORT
            && he->event.report == e->report && he->event.kind == e->kind)
        {
            return 1;
        }
    }

    return 0;
}


static void
ngx_smtp_history_done(void *data)
{
    ngx_smtp_history_ctx_t *ctx = data;

    if (ctx->closed) {
        ngx_smtp_history_free(ctx);
        return;
    }

    ctx->history.handler(&ctx->history);
}


static void
ngx_smtp_history_free(ngx_smtp_history_ctx_t *ctx)
{
    ngx_smtp_history_event_t  *he;

    while (ctx->history.first) {
        he = ctx->history.first;
        ctx->history.first = he->next;
        free(he);
    }

    ngx_free(ctx);
}
