
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * See spool.h.  Faults of the helpers themselves end the program: a test must
 * not go on without its files.
 */


#include "spool.h"
#include "ngx_smtp_crc32c.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>


#define TEST_RCPT_TEXT  64


static int test_unlink(const char *path, const struct stat *st, int type,
    struct FTW *ftw);
static void test_die(const char *what);
static int test_nosync(int fd);
static ngx_uint_t test_hit(const char *name, ngx_uint_t writes);


test_fault_t           test_fault;

static ngx_smtp_sys_t  test_sys;        /* the real one */
static char            test_path[64];


static void
test_die(const char *what)
{
    fprintf(stderr, "test helper: %s: %s\n", what, strerror(errno));
    abort();
}


/* system calls */

static ngx_uint_t
test_hit(const char *name, ngx_uint_t writes)
{
    test_fault.calls++;

    switch (test_fault.what) {

    case test_fault_stop:

        if (test_fault.calls == test_fault.at) {
            _exit(9);
        }

        return 0;

    case test_fault_errno:

        if (test_fault.calls != test_fault.at) {
            return 0;
        }

        break;

    case test_fault_all:

        if (test_fault.calls < test_fault.at
            || (!writes && test_fault.calls != test_fault.at))
        {
            return 0;
        }

        break;

    default:
        return 0;
    }

    if (test_fault.hits++ == 0) {
        test_fault.name = name;
    }

    errno = test_fault.err;

    return 1;
}


#define test_call(name, writes, params, args)                                 \
    static int                                                                \
    test_##name params                                                        \
    {                                                                         \
        return test_hit(#name, writes) ? -1 : test_sys.name args;             \
    }

test_call(fsync, 1, (int fd), (fd))
test_call(fdatasync, 1, (int fd), (fd))
test_call(ftruncate, 1, (int fd, off_t size), (fd, size))
test_call(fallocate, 1, (int fd, int mode, off_t offset, off_t len),
    (fd, mode, offset, len))
test_call(flock, 0, (int fd, int operation), (fd, operation))
test_call(fstat, 0, (int fd, struct stat *st), (fd, st))
test_call(fstatat, 0, (int dir, const char *name, struct stat *st, int flags),
    (dir, name, st, flags))
test_call(linkat, 1, (int olddir, const char *oldname, int newdir,
    const char *newname, int flags),
    (olddir, oldname, newdir, newname, flags))
test_call(renameat2, 1, (int olddir, const char *oldname, int newdir,
    const char *newname, unsigned flags),
    (olddir, oldname, newdir, newname, flags))
test_call(unlinkat, 1, (int dir, const char *name, int flags),
    (dir, name, flags))
test_call(futimens, 1, (int fd, const struct timespec times[2]), (fd, times))
test_call(openat, 0, (int dir, const char *name, int flags, mode_t mode),
    (dir, name, flags, mode))


/* closes all the same: what the kernel does */

static int
test_close(int fd)
{
    int  rc;

    if (test_hit("close", 0)) {
        (void) test_sys.close(fd);
        errno = test_fault.err;
        return -1;
    }

    rc = test_sys.close(fd);

    return rc;
}


static ssize_t
test_pread(int fd, void *buf, size_t size, off_t offset)
{
    return test_hit("pread", 0) ? -1 : test_sys.pread(fd, buf, size, offset);
}


static ssize_t
test_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    int           i;
    size_t        size;
    struct iovec  cut;

    /* half of it gets to the disk before the stop or the error */

    if (test_fault.half && test_fault.calls + 1 == test_fault.at) {
        cut = iov[n - 1];
        cut.iov_len /= 2;

        for (i = 0, size = 0; i < n - 1; i++) {
            size += iov[i].iov_len;
        }

        (void) test_sys.pwritev(fd, iov, n - 1, offset);
        (void) test_sys.pwritev(fd, &cut, 1, offset + (off_t) size);
    }

    if (test_hit("pwritev", 1)) {
        return -1;
    }

    if (test_fault.what == test_fault_short
        && test_fault.calls >= test_fault.at)
    {
        for (i = 0, size = 0; i < n; i++) {
            size += iov[i].iov_len;
        }

        /* half of the first element, or a byte */

        cut = iov[0];
        cut.iov_len = ngx_max(1, cut.iov_len / 2);

        if (size > 1 && test_fault.hits < 1000) {
            test_fault.hits++;
            return test_sys.pwritev(fd, &cut, 1, offset);
        }
    }

    return test_sys.pwritev(fd, iov, n, offset);
}


void
test_fault_set(test_fault_e what, ngx_uint_t at, int err)
{
    if (test_sys.close == NULL) {
        test_sys = ngx_smtp_sys;
    }

    ngx_memzero(&test_fault, sizeof(test_fault_t));

    test_fault.what = what;
    test_fault.at = at;
    test_fault.err = err;

    ngx_smtp_sys.close = test_close;
    ngx_smtp_sys.openat = test_openat;
    ngx_smtp_sys.pread = test_pread;
    ngx_smtp_sys.pwritev = test_pwritev;
    ngx_smtp_sys.fsync = test_fsync;
    ngx_smtp_sys.fdatasync = test_fdatasync;
    ngx_smtp_sys.ftruncate = test_ftruncate;
    ngx_smtp_sys.fallocate = test_fallocate;
    ngx_smtp_sys.flock = test_flock;
    ngx_smtp_sys.fstat = test_fstat;
    ngx_smtp_sys.fstatat = test_fstatat;
    ngx_smtp_sys.linkat = test_linkat;
    ngx_smtp_sys.renameat2 = test_renameat2;
    ngx_smtp_sys.unlinkat = test_unlinkat;
    ngx_smtp_sys.futimens = test_futimens;
}


void
test_fault_clear(void)
{
    if (test_sys.close) {
        ngx_smtp_sys = test_sys;
    }

    test_fault.what = test_fault_none;
}


static int
test_nosync(int fd)
{
    return 0;
}


void
test_sync_off(void)
{
    ngx_smtp_sys.fsync = test_nosync;
    ngx_smtp_sys.fdatasync = test_nosync;
}


/* the folder */

const char *
test_spool_make(ngx_smtp_spool_t *spool)
{
    const char        *base;
    ngx_smtp_fault_t   fault;

    base = getenv("TMPDIR");

    if (base == NULL && ngx_smtp_sys.fsync == test_nosync
        && access("/dev/shm", W_OK) == 0)
    {
        base = "/dev/shm";
    }

    snprintf(test_path, sizeof(test_path), "%.30s/smtp-spool-XXXXXX",
             base ? base : "/tmp");

    if (mkdtemp(test_path) == NULL) {
        test_die("mkdtemp()");
    }

    if (ngx_smtp_spool_open(spool, test_path, &fault) != NGX_OK) {
        test_die("ngx_smtp_spool_open()");
    }

    return test_path;
}


static int
test_unlink(const char *path, const struct stat *st, int type,
    struct FTW *ftw)
{
    return remove(path);
}


void
test_spool_remove(ngx_smtp_spool_t *spool)
{
    ngx_smtp_spool_close(spool);

    (void) nftw(test_path, test_unlink, 16, FTW_DEPTH|FTW_PHYS);
}


ngx_uint_t
test_spool_files(const char *sub, const char *part)
{
    DIR            *dir;
    char            path[128];
    ngx_uint_t      n;
    struct dirent  *de;

    snprintf(path, sizeof(path), "%s/%s", test_path, sub);

    dir = opendir(path);
    if (dir == NULL) {
        test_die("opendir()");
    }

    n = 0;

    while ((de = readdir(dir)) != NULL) {
        n += de->d_name[0] != '.' && strstr(de->d_name, part) != NULL;
    }

    closedir(dir);

    return n;
}


u_char *
test_file_read(const char *name, size_t *size)
{
    FILE    *f;
    char     path[256];
    u_char  *data;

    snprintf(path, sizeof(path), "%s/%s", test_path, name);

    f = fopen(path, "rb");
    if (f == NULL) {
        test_die(path);
    }

    fseek(f, 0, SEEK_END);
    *size = ftell(f);
    rewind(f);

    data = malloc(*size + 1);

    if (data == NULL || fread(data, 1, *size, f) != *size) {
        test_die("fread()");
    }

    fclose(f);

    return data;
}


void
test_file_write(const char *name, const u_char *data, size_t size)
{
    FILE  *f;
    char   path[256];

    snprintf(path, sizeof(path), "%s/%s", test_path, name);

    f = fopen(path, "wb");

    if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0) {
        test_die(path);
    }
}


/* messages */

ngx_uint_t
test_nrcpts(uint32_t number)
{
    return number % 5 == 0 ? TEST_MANY : 1 + number % 3;
}


u_char *
test_content(uint32_t number, size_t *size)
{
    u_char  *p;
    size_t   i;

    *size = 100 + 37 * (number % 11);

    p = malloc(*size);
    if (p == NULL) {
        test_die("malloc()");
    }

    for (i = 0; i < *size; i++) {
        p[i] = (u_char) (number * 7 + i);
    }

    return p;
}


void
test_message_make(test_message_t *m, uint32_t number, ngx_uint_t large)
{
    char                  text[TEST_MANY][TEST_RCPT_TEXT], sender[32];
    char                  field[64];
    ngx_uint_t            i;
    ngx_str_t             fields;
    ngx_keyval_t          kv;
    ngx_smtp_rcpt_t       rcpts[TEST_MANY];
    ngx_smtp_meta_t       meta;
    ngx_smtp_envelope_t   e;

    ngx_memzero(&e, sizeof(e));
    ngx_memzero(&meta, sizeof(meta));
    ngx_memzero(rcpts, sizeof(rcpts));

    m->nrcpts = test_nrcpts(number);
    m->content = test_content(number, &m->content_size);

    snprintf(sender, sizeof(sender), "s%u@example.org", number);
    snprintf(field, sizeof(field), "Received: by us; %u\r\n", number);

    for (i = 0; i < m->nrcpts; i++) {
        snprintf(text[i], TEST_RCPT_TEXT, "r%u-%lu@example.com", number, i);
        rcpts[i].mailbox = shim_str(text[i]);
        rcpts[i].domain = shim_str("example.com");
    }

    e.sender = shim_str(sender);
    e.sender_domain = shim_str("example.org");
    e.rcpts.elts = rcpts;
    e.rcpts.nelts = m->nrcpts;

    kv.key = shim_str("smtp_user");
    kv.value = shim_str("somebody");

    meta.queue = shim_str(number % 2 ? "internet" : "cluster");
    meta.client = shim_str("192.0.2.1");
    meta.vars.elts = &kv;
    meta.vars.nelts = 1;
    meta.received = TEST_NOW + number;

    fields = shim_str(field);

    m->head = ngx_smtp_record_encode(&e, &meta, &fields, 0, large,
                                     &m->head_size, &shim_log);
    if (m->head == NULL) {
        test_die("ngx_smtp_record_encode()");
    }

    ngx_smtp_record_seal(m->head, number, (off_t) m->content_size,
                         ngx_smtp_crc32c(0, m->content, m->content_size));
}


void
test_message_free(test_message_t *m)
{
    free(m->head);
    free(m->content);
}


ngx_int_t
test_segment_create(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f,
    ngx_uint_t seed, off_t prezero)
{
    u_char      random[NGX_SMTP_SEGMENT_RANDOM];
    ngx_uint_t  i;

    for (i = 0; i < NGX_SMTP_SEGMENT_RANDOM; i++) {
        random[i] = (u_char) (seed * 31 + i * 7 + 1);
    }

    return ngx_smtp_segment_create(spool, f, (uint64_t) TEST_NOW * 1000 + seed,
                                   random, prezero);
}


ngx_int_t
test_append(ngx_smtp_segment_file_t *f, uint32_t first, ngx_uint_t n,
    off_t *offset)
{
    off_t            need, unused;
    ngx_int_t        rc;
    ngx_uint_t       i, niov;
    struct iovec    *iov;
    test_message_t  *m;

    m = calloc(n, sizeof(test_message_t));
    iov = calloc(1 + 2 * n, sizeof(struct iovec));

    need = 0;
    niov = 1;

    for (i = 0; i < n; i++) {
        test_message_make(&m[i], first + i, 0);

        need += ngx_smtp_log_need(m[i].head_size, m[i].nrcpts);

        iov[niov].iov_base = m[i].head;
        iov[niov++].iov_len = m[i].head_size;
        iov[niov].iov_base = m[i].content;
        iov[niov++].iov_len = m[i].content_size;
    }

    rc = ngx_smtp_segment_reserve(f, need);

    if (rc == NGX_OK) {
        rc = ngx_smtp_segment_append(f, iov, niov, n,
                                     offset ? offset : &unused);
        if (rc != NGX_OK) {
            f->owed -= need;
        }
    }

    for (i = 0; i < n; i++) {
        test_message_free(&m[i]);
    }

    free(m);
    free(iov);

    return rc;
}


/* events */

ngx_int_t
test_log(ngx_smtp_segment_file_t *f, ngx_uint_t type, uint32_t number,
    ngx_uint_t from, ngx_uint_t to, time_t until)
{
    u_char             *buf;
    size_t              size;
    ngx_int_t           rc;
    ngx_uint_t          i;
    ngx_smtp_event_t    e;
    ngx_smtp_result_t   results[TEST_MANY];

    ngx_memzero(&e, sizeof(e));

    for (i = from; i < to; i++) {
        results[i - from].rcpt = i;
        results[i - from].status = type == NGX_SMTP_LOG_DEFERRED
                                   ? NGX_SMTP_RESULT_DEFERRED
                                   : NGX_SMTP_RESULT_DELIVERED;
        results[i - from].code = 250;
        results[i - from].text = shim_str("2.0.0 it is taken");
    }

    e.type = type;
    e.number = number;
    e.time = TEST_NOW;
    e.until = until;
    e.attempts = 1;
    e.report = 1;
    e.peer = shim_str("mx.example.com[192.0.2.7]:25");
    e.results = results;
    e.nresults = to - from;

    size = ngx_smtp_event_size(&e);
    buf = malloc(size);

    ngx_smtp_event_put(buf, &e);

    rc = ngx_smtp_segment_log(f, buf, size, type != NGX_SMTP_LOG_DEFERRED
                                            && type != NGX_SMTP_LOG_HOLD
                                            && type != NGX_SMTP_LOG_RELEASE,
                              0);
    free(buf);

    return rc;
}


ngx_int_t
test_log_failed(ngx_smtp_segment_file_t *f, uint32_t number, uint32_t report)
{
    u_char             *buf, *p;
    size_t              size;
    ngx_int_t           rc;
    ngx_smtp_event_t    e;
    ngx_smtp_result_t   result;

    ngx_memzero(&e, sizeof(e));

    result.rcpt = 0;
    result.status = NGX_SMTP_RESULT_FAILED;
    result.code = 550;
    result.text = shim_str("5.1.1 no such user");

    e.type = NGX_SMTP_LOG_RESULT;
    e.number = number;
    e.time = TEST_NOW;
    e.until = TEST_NOW + 5;
    e.attempts = 1;
    e.report = report;
    e.kind = NGX_SMTP_REPORT_FAILURE;
    e.peer = shim_str("mx.example.com[192.0.2.7]:25");
    e.results = &result;
    e.nresults = 1;

    size = ngx_smtp_event_size(&e);
    e.type = NGX_SMTP_LOG_REPORT;
    e.attempts = 0;
    size += ngx_smtp_event_size(&e);

    buf = malloc(size);

    e.type = NGX_SMTP_LOG_RESULT;
    e.attempts = 1;
    p = ngx_smtp_event_put(buf, &e);
    e.type = NGX_SMTP_LOG_REPORT;
    e.attempts = 0;
    ngx_smtp_event_put(p, &e);

    rc = ngx_smtp_segment_log(f, buf, size, 1, 0);

    free(buf);

    return rc;
}


/* recovery */

ngx_smtp_recovery_t *
test_recover(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f,
    const ngx_smtp_segment_id_t *id, ngx_int_t *rc)
{
    ngx_smtp_recovery_t  *r;

    *rc = ngx_smtp_segment_lock(spool, f, id);

    if (*rc != NGX_OK) {
        return NULL;
    }

    r = ngx_smtp_recovery_start(spool, f, TEST_NOW);

    do {
        *rc = ngx_smtp_recovery_step(r);
    } while (*rc == NGX_AGAIN);

    if (*rc != NGX_OK) {
        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(NULL, f);
        return NULL;
    }

    return r;
}


void
test_say(ngx_smtp_recovery_t *r, time_t now, ngx_smtp_seal_content_t *c)
{
    ngx_uint_t                    i;
    ngx_smtp_event_t             *e;
    ngx_smtp_summary_t           *s;
    ngx_smtp_recovered_t         *m;
    ngx_smtp_recovered_report_t  *p;

    memset(c, 0, sizeof(ngx_smtp_seal_content_t));

    c->next_number = r->next_number;
    c->now = now;
    c->earliest = r->earliest;
    c->summaries = calloc(r->nmessages + 1, sizeof(ngx_smtp_summary_t));
    c->reports = calloc(8 * (r->nmessages + 1), sizeof(ngx_smtp_event_t));

    for (i = 0; i < r->nmessages; i++) {
        m = &r->messages[i];

        if (m->done) {
            continue;
        }

        s = &c->summaries[c->n++];
        s->number = m->number;
        s->head_size = m->head_size;
        s->nrcpts = m->nrcpts;
        s->attempts = m->attempts;
        s->reports = m->nreports;
        s->offset = m->offset;
        s->size = m->size;
        s->received = m->received;
        s->due_at = m->due_at;
        s->queue = r->queues[m->queue];
        s->final = m->final;
        s->final_word = m->final_word;
        s->hold = m->hold;
        s->wish = m->wish;
        s->large = m->large;
        s->delay_told = m->delay_told;

        for (p = m->reports; p; p = p->next) {
            e = &c->reports[c->nreports++];
            e->type = NGX_SMTP_LOG_REPORT;
            e->number = m->number;
            e->time = p->created;
            e->until = p->due_at;
            e->attempts = p->attempts;
            e->report = p->number;
            e->kind = p->kind;
            e->peer = p->peer;
            e->results = p->results;
            e->nresults = p->nresults;
        }
    }
}


void
test_said(ngx_smtp_seal_content_t *c)
{
    free(c->summaries);
    free(c->reports);
}


ngx_int_t
test_seal(ngx_smtp_segment_file_t *f, ngx_smtp_recovery_t *r, time_t now)
{
    ngx_int_t                rc;
    ngx_smtp_seal_content_t  c;

    test_say(r, now, &c);

    rc = ngx_smtp_segment_seal(f, c.summaries, c.n, c.reports, c.nreports,
                               c.next_number, now, c.earliest);
    test_said(&c);

    return rc;
}


ngx_int_t
test_relog(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f,
    ngx_smtp_recovery_t *r, time_t now)
{
    ngx_int_t                rc;
    ngx_smtp_seal_content_t  c;

    test_say(r, now, &c);

    rc = ngx_smtp_segment_relog(spool, f, c.summaries, c.n, c.reports,
                                c.nreports, c.next_number, now);
    test_said(&c);

    return rc;
}


ngx_smtp_recovered_t *
test_live(ngx_smtp_recovery_t *r, uint32_t number)
{
    ngx_uint_t  i;

    for (i = 0; i < r->nmessages; i++) {

        if (r->messages[i].number == number && !r->messages[i].done) {
            return &r->messages[i];
        }
    }

    return NULL;
}


ngx_uint_t
test_intact(ngx_smtp_spool_t *spool, ngx_smtp_segment_file_t *f,
    ngx_smtp_recovered_t *m)
{
    u_char                *head, *content;
    ngx_int_t              rc;
    ngx_uint_t             same;
    test_message_t         want;
    ngx_smtp_fault_t       fault;
    ngx_smtp_body_file_t   body;

    test_message_make(&want, m->number, m->large);

    head = malloc(m->head_size);
    content = malloc(want.content_size);
    same = 0;

    if (m->head_size == want.head_size && m->nrcpts == want.nrcpts
        && ngx_smtp_segment_read(f, head, m->head_size, m->offset, &fault)
           == NGX_OK
        && memcmp(head, want.head, want.head_size) == 0)
    {
        if (m->large) {
            rc = ngx_smtp_body_open(spool, &body, &f->header.id, m->number);

            if (rc == NGX_OK) {
                rc = ngx_smtp_body_read(&body, content, want.content_size, 0,
                                        &fault);
                ngx_smtp_body_close(&body);
            }

        } else {
            rc = ngx_smtp_segment_read(f, content, want.content_size,
                                       m->offset + m->head_size, &fault);
        }

        same = rc == NGX_OK
               && memcmp(content, want.content, want.content_size) == 0;
    }

    free(head);
    free(content);
    test_message_free(&want);

    return same;
}


ngx_uint_t
test_final(ngx_smtp_recovered_t *m, ngx_uint_t i)
{
    return m->final ? (m->final[i / 8] >> (i % 8)) & 1
                    : (m->final_word >> i) & 1;
}
