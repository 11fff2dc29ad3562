
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Recovery of a segment: its steps, its memory, and what is put in order at
 * the end (tails cut, left-over files unlinked, room reserved).
 *
 *     log_open -> log_check -+-> (sealed) ------------> log_apply -> finish
 *         |                  |                             ^
 *         +--- no log -------+-> scan_start -> scan -------+
 *                                                \-- no log -> finish
 *
 * All memory is malloc'ed: it is made in a thread and freed by the event
 * loop.  Nothing is changed on disk before finish but a damaged log, which is
 * copied first.
 */


#include "ngx_smtp_recovery_internal.h"
#include "ngx_smtp_pages.h"


#define NGX_SMTP_ARENA_SIZE     (64 * 1024)

/* texts kept of a segment: twice what its record may have */
#define NGX_SMTP_RECOVERY_ERRORS  (2 * NGX_SMTP_ERRORS_RECORD)


static ngx_int_t ngx_smtp_recovery_data_tail(ngx_smtp_recovery_ctx_t *r);
static ngx_int_t ngx_smtp_recovery_log_tail(ngx_smtp_recovery_ctx_t *r);
static void ngx_smtp_recovery_left_over(ngx_smtp_recovery_ctx_t *r);
static void ngx_smtp_recovery_left_over_file(ngx_smtp_recovery_ctx_t *r,
    const char *name);
static ngx_int_t ngx_smtp_recovery_decimal(const char *p, uint32_t *number);
static void ngx_smtp_recovery_count(ngx_smtp_recovery_ctx_t *r);
static void ngx_smtp_recovery_unused(ngx_smtp_recovery_ctx_t *r);


ngx_smtp_recovery_t *
ngx_smtp_recovery_start(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f,
    time_t now)
{
    ngx_smtp_recovery_ctx_t  *r;

    r = calloc(1, sizeof(ngx_smtp_recovery_ctx_t));

    if (r == NULL) {
        return NULL;
    }

    r->recovery.ctx = r;
    r->recovery.errors.size = NGX_SMTP_RECOVERY_ERRORS;
    r->spool = spool;
    r->file = f;
    r->now = now;
    r->part = ngx_smtp_recovery_log_open;

    f->full = 1;

    return &r->recovery;
}


ngx_int_t
ngx_smtp_recovery_step(ngx_smtp_recovery_t *recovery)
{
    ngx_int_t                 rc;
    ngx_smtp_recovery_ctx_t  *r;

    r = recovery->ctx;

    r->budget = r->window.read + NGX_SMTP_RECOVERY_STEP;

    while (r->part) {

        if (r->window.read >= r->budget) {
            return NGX_AGAIN;
        }

        rc = r->part(r);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


void
ngx_smtp_recovery_free(ngx_smtp_recovery_t *recovery)
{
    ngx_smtp_arena_t         *a, *next;
    ngx_smtp_recovery_ctx_t  *r;

    if (recovery == NULL) {
        return;
    }

    r = recovery->ctx;

    for (a = r->arena; a; a = next) {
        next = a->next;
        free(a);
    }

    ngx_smtp_window_free(&r->window);

    ngx_smtp_errors_free(&recovery->errors);

    free(r->results);
    ngx_smtp_pages_free(recovery->messages);
    free(recovery->queues);
    free(r);
}


/* putting in order */

ngx_int_t
ngx_smtp_recovery_finish(ngx_smtp_recovery_ctx_t *r)
{
    ngx_int_t                 rc;
    ngx_smtp_segment_file_t  *f;

    f = r->file;

    f->data_end = r->scan_end;

    /*
     * The one before us may have been killed right behind a rename: what is
     * recorded here, or unlinked, must not meet the old files after a loss of
     * power.
     */

    if (ngx_smtp_sys.fsync(r->spool->dir) == -1) {
        return ngx_smtp_fault_set(&f->fault, "fsync() of spool directory");
    }

    rc = ngx_smtp_recovery_data_tail(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (f->log != -1) {
        rc = ngx_smtp_recovery_log_tail(r);

    } else if (r->recovery.notes.no_log) {
        rc = ngx_smtp_segment_log_create(r->spool, f, r->now);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_smtp_recovery_count(r);
    ngx_smtp_recovery_unused(r);
    ngx_smtp_recovery_left_over(r);

    if (f->log != -1) {

        /* no room: nothing is sent until there is some, the caller asks */

        (void) ngx_smtp_segment_log_extend(f, f->log_end + f->owed);
    }

    ngx_smtp_window_free(&r->window);

    r->part = NULL;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_recovery_data_tail(ngx_smtp_recovery_ctx_t *r)
{
    off_t                     found;
    ngx_int_t                 rc;
    ngx_smtp_segment_file_t  *f;

    f = r->file;

    if (r->data_size <= r->scan_end) {
        return NGX_OK;
    }

    ngx_smtp_window_init(&r->window, f->data, r->data_size,
                         "read() of segment data");

    rc = ngx_smtp_window_search(&r->window, r->scan_end, &f->header, &found,
                                &f->fault);
    if (rc == NGX_ERROR) {
        return rc;
    }

    if (rc == NGX_OK) {

        if (ngx_smtp_recovery_keep(r, f->data, r->scan_end, r->data_size,
                                   "data")
            != NGX_OK)
        {
            return NGX_OK;
        }

        r->recovery.notes.torn++;
    }

    /* not synced: a tail that comes back is found again */

    (void) ngx_smtp_sys.ftruncate(f->data, r->scan_end);

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_recovery_log_tail(ngx_smtp_recovery_ctx_t *r)
{
    ngx_int_t                 rc;
    ngx_uint_t                zero;
    ngx_smtp_segment_file_t  *f;

    f = r->file;

    f->seed = r->log.seed;
    f->sequence = r->log.sequence;
    f->log_end = r->log.good;
    f->log_space = r->log.good;

    if (r->log.sealed_at) {
        f->log_base = r->log.sealed_at - r->log.sealed.log_start;
    }

    if (r->log.size > r->log.good) {

        ngx_smtp_window_init(&r->window, f->log, r->log.size, "read() of log");

        rc = ngx_smtp_window_zero(&r->window, r->log.good, r->log.size, &zero,
                                  &f->fault);
        if (rc == NGX_ERROR) {
            return rc;
        }

        if (!zero) {
            (void) ngx_smtp_recovery_keep(r, f->log, r->log.good, r->log.size,
                                          "log");
            r->recovery.notes.events_lost++;
        }

        if (ngx_smtp_sys.ftruncate(f->log, r->log.good) == -1) {
            return ngx_smtp_fault_set(&f->fault, "ftruncate() of log");
        }
    }

    /* events of a killed process are believed: put them on disk first */

    if (ngx_smtp_sys.fdatasync(f->log) == -1) {
        return ngx_smtp_fault_set(&f->fault, "fdatasync() of log");
    }

    return NGX_OK;
}


/* faults here leave files behind for the next time, no more */

static void
ngx_smtp_recovery_left_over(ngx_smtp_recovery_ctx_t *r)
{
    int             fd;
    DIR            *dir;
    char            name[NGX_SMTP_FILE_NAME];
    u_char         *p;
    struct dirent  *de;

    /* a damaged head may be that of a message with a body: touch nothing */

    if (r->recovery.notes.damaged || r->recovery.notes.quarantined) {
        return;
    }

    p = ngx_smtp_segment_id_text(&r->file->header.id, (u_char *) name);

    *p = '\0';
    (void) ngx_smtp_sys.unlinkat(r->spool->tmp, name, 0);

    ngx_memcpy(p, ".log", sizeof(".log"));
    (void) ngx_smtp_sys.unlinkat(r->spool->tmp, name, 0);

    fd = ngx_smtp_sys.openat(r->spool->dir, ".",
                             O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0);
    if (fd == -1) {
        return;
    }

    dir = ngx_smtp_sys.fdopendir(fd);

    if (dir == NULL) {
        (void) ngx_smtp_sys.close(fd);
        return;
    }

    for ( ;; ) {
        de = ngx_smtp_sys.readdir(dir);

        if (de == NULL) {
            break;
        }

        if (ngx_strncmp(de->d_name, name, NGX_SMTP_ID_TEXT) == 0) {
            ngx_smtp_recovery_left_over_file(r, de->d_name);
        }
    }

    (void) ngx_smtp_sys.closedir(dir);
}


static void
ngx_smtp_recovery_left_over_file(ngx_smtp_recovery_ctx_t *r, const char *name)
{
    char                      check[NGX_SMTP_FILE_NAME];
    uint32_t                  number;
    ngx_smtp_recovered_t     *m;
    ngx_smtp_segment_file_t  *f;

    f = r->file;

    if (ngx_smtp_recovery_decimal(name + NGX_SMTP_ID_TEXT, &number)
        != NGX_OK)
    {
        return;
    }

    ngx_smtp_body_name(check, &f->header.id, number);

    if (ngx_strcmp(check, name) == 0) {
        m = ngx_smtp_recovery_find(r, number);

        if (m && m->large && !m->done) {
            return;
        }

        r->recovery.notes.bodies++;
        (void) ngx_smtp_sys.unlinkat(r->spool->dir, name, 0);

        return;
    }

    ngx_smtp_log_name(check, &f->header.id, number);

    if (ngx_strcmp(check, name) == 0 && number != f->header.generation) {
        (void) ngx_smtp_sys.unlinkat(r->spool->dir, name, 0);
    }
}


/* the number behind a separator; what follows is compared by the caller */

static ngx_int_t
ngx_smtp_recovery_decimal(const char *p, uint32_t *number)
{
    uint64_t  n;

    if (*p++ == '\0') {
        return NGX_ERROR;
    }

    n = 0;

    for ( /* void */ ; *p >= '0' && *p <= '9'; p++) {
        n = n * 10 + (*p - '0');

        if (n > 0xffffffff) {
            return NGX_ERROR;
        }
    }

    *number = (uint32_t) n;

    return NGX_OK;
}


static void
ngx_smtp_recovery_count(ngx_smtp_recovery_ctx_t *r)
{
    time_t                        due, earliest;
    ngx_uint_t                    i;
    ngx_smtp_recovered_t         *m;
    ngx_smtp_recovered_report_t  *report;

    earliest = 0;

    r->file->owed = NGX_SMTP_LOG_MARKS;

    for (i = 0; i < r->recovery.nmessages; i++) {
        m = &r->recovery.messages[i];

        if (m->done) {
            continue;
        }

        r->recovery.nlive++;

        /* as DONE repays it, which does not know what was pending once */

        m->owed = (uint32_t) ngx_smtp_log_need(
                                 r->log.sealed_at ? 0 : m->head_size,
                                 m->nrcpts);

        due = m->npending ? m->due_at : r->now;

        if (!m->hold && (earliest == 0 || due < earliest)) {
            earliest = due;
        }

        for (report = m->reports; report; report = report->next) {

            if (earliest == 0 || report->due_at < earliest) {
                earliest = report->due_at;
            }

            /* its end, or that it goes to the postmaster */

            m->owed += (uint32_t) (ngx_smtp_log_need(0, 1)
                                   + report->nresults * 16);
        }

        r->file->owed += m->owed;
    }

    r->recovery.earliest = earliest;
}


/* Where nothing is any more nothing depends on who knows it. */

static void
ngx_smtp_recovery_unused(ngx_smtp_recovery_ctx_t *r)
{
    u_char      *used;
    ngx_uint_t   i;

    used = calloc(1, r->recovery.nqueues + 1);

    if (used == NULL) {
        return;
    }

    for (i = 0; i < r->recovery.nmessages; i++) {
        if (!r->recovery.messages[i].done) {
            used[r->recovery.messages[i].queue] = 1;
        }
    }

    for (i = 0; i < r->recovery.nqueues; i++) {
        if (!used[i]) {
            r->recovery.queues[i].data = NULL;
            r->recovery.queues[i].len = 0;
        }
    }

    free(used);
}


/* memory */

void *
ngx_smtp_recovery_alloc(ngx_smtp_recovery_ctx_t *r, size_t size)
{
    size_t             room;
    ngx_smtp_arena_t  *a;

    size = ngx_align(size, sizeof(uint64_t));

    a = r->arena;

    if (a == NULL || a->size - a->used < size) {
        room = ngx_max(size, NGX_SMTP_ARENA_SIZE);

        a = malloc(sizeof(ngx_smtp_arena_t) + room);

        if (a == NULL) {
            (void) ngx_smtp_recovery_memory(r);
            return NULL;
        }

        a->used = 0;
        a->size = room;
        a->next = r->arena;
        r->arena = a;
    }

    a->used += size;

    return a->data + a->used - size;
}


ngx_smtp_recovered_t *
ngx_smtp_recovery_add(ngx_smtp_recovery_ctx_t *r, ngx_uint_t nrcpts)
{
    void                  *p;
    size_t                 size;
    ngx_uint_t             room;
    ngx_smtp_recovered_t  *m;

    if (r->recovery.nmessages == r->room) {
        room = r->room ? 2 * r->room : 256;
        p = ngx_smtp_pages_realloc(r->recovery.messages,
                                   room * sizeof(ngx_smtp_recovered_t));

        if (p == NULL) {
            (void) ngx_smtp_recovery_memory(r);
            return NULL;
        }

        r->recovery.messages = p;
        r->room = room;
    }

    m = &r->recovery.messages[r->recovery.nmessages];

    ngx_memzero(m, sizeof(ngx_smtp_recovered_t));

    m->nrcpts = (uint32_t) nrcpts;
    m->npending = (uint32_t) nrcpts;

    if (nrcpts > 64) {
        size = (nrcpts + 7) / 8;
        m->final = ngx_smtp_recovery_alloc(r, size);

        if (m->final == NULL) {
            return NULL;
        }

        ngx_memzero(m->final, size);
    }

    r->recovery.nmessages++;

    return m;
}


ngx_int_t
ngx_smtp_recovery_queue(ngx_smtp_recovery_ctx_t *r, ngx_str_t *name,
    uint16_t *index)
{
    void        *p;
    ngx_str_t   *q;
    ngx_uint_t   i, room;

    for (i = r->recovery.nqueues; i > 0; i--) {
        q = &r->recovery.queues[i - 1];

        if (q->len == name->len
            && ngx_memcmp(q->data, name->data, q->len) == 0)
        {
            *index = (uint16_t) (i - 1);
            return NGX_OK;
        }
    }

    if (r->recovery.nqueues == r->queues_room) {
        room = r->queues_room ? 2 * r->queues_room : 16;

        if (room > 65536) {
            return ngx_smtp_recovery_memory(r);
        }

        p = realloc(r->recovery.queues, room * sizeof(ngx_str_t));

        if (p == NULL) {
            return ngx_smtp_recovery_memory(r);
        }

        r->recovery.queues = p;
        r->queues_room = room;
    }

    q = &r->recovery.queues[r->recovery.nqueues];

    q->len = name->len;
    q->data = ngx_smtp_recovery_alloc(r, name->len + 1);

    if (q->data == NULL) {
        return NGX_ERROR;
    }

    *ngx_cpymem(q->data, name->data, name->len) = '\0';

    *index = (uint16_t) r->recovery.nqueues++;

    return NGX_OK;
}


ngx_int_t
ngx_smtp_recovery_memory(ngx_smtp_recovery_ctx_t *r)
{
    ngx_set_errno(NGX_ENOMEM);

    (void) ngx_smtp_fault_set(&r->file->fault, "malloc() for recovery");

    return NGX_ERROR;
}


ngx_smtp_recovered_t *
ngx_smtp_recovery_find(ngx_smtp_recovery_ctx_t *r, uint32_t number)
{
    ngx_uint_t             low, high, middle;
    ngx_smtp_recovered_t  *m;

    m = r->recovery.messages;
    low = 0;
    high = r->recovery.nmessages;

    while (low < high) {
        middle = (low + high) / 2;

        if (m[middle].number == number) {
            return &m[middle];
        }

        if (m[middle].number < number) {
            low = middle + 1;

        } else {
            high = middle;
        }
    }

    return NULL;
}


ngx_int_t
ngx_smtp_recovery_keep(ngx_smtp_recovery_ctx_t *r, int fd, off_t start,
    off_t end, const char *kind)
{
    u_char  *p;
    char     name[NGX_SMTP_FILE_NAME + NGX_OFF_T_LEN];

    p = ngx_smtp_segment_id_text(&r->file->header.id, (u_char *) name);

    ngx_sprintf(p, ".%uD.%O.%s%Z", r->file->header.generation, start, kind);

    return ngx_smtp_spool_quarantine(r->spool, fd, start, end, name,
                                     &r->file->fault);
}
