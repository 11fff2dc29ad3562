
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the spool reads back: heads, log records, and a whole recovery of a
 * segment whose files are the input.  CRCs are set right before, as a fuzzer
 * does not guess them and a damaged writer would have made them, too.
 *
 * The first byte chooses: a head, log records, a recovery.
 *
 * sources: core/ngx_smtp_sys.c core/ngx_smtp_crc32c.c
 * sources: core/ngx_smtp_pages.c
 * sources: spool/ngx_smtp_record.c spool/ngx_smtp_event.c
 * sources: spool/ngx_smtp_spool_dir.c spool/ngx_smtp_segment.c
 * sources: spool/ngx_smtp_segment_log.c
 * sources: spool/ngx_smtp_seal.c spool/ngx_smtp_body.c
 * sources: spool/ngx_smtp_rewrite.c
 * sources: spool/ngx_smtp_rewrite_log.c
 * sources: spool/ngx_smtp_window.c spool/ngx_smtp_recovery.c
 * sources: spool/ngx_smtp_recovery_log.c spool/ngx_smtp_recovery_scan.c
 * sources: spool/ngx_smtp_errors.c
 * sources: spool/ngx_smtp_recovery_skip.c
 */


#include "shim.h"
#include "ngx_smtp_recovery.h"
#include "ngx_smtp_crc32c.h"

#include <stdlib.h>
#include <string.h>


#define FUZZ_DATA       100
#define FUZZ_LOG        101
#define FUZZ_OTHER      102


typedef struct {
    u_char             *data;
    size_t              size;
} fuzz_file_t;


static void fuzz_check(ngx_uint_t ok);
static void fuzz_head(const uint8_t *data, size_t size);
static void fuzz_log(const uint8_t *data, size_t size);
static void fuzz_recovery(const uint8_t *data, size_t size);
static void fuzz_fix_head(u_char *p, size_t size);
static void fuzz_fix_log(u_char *p, u_char *last, uint32_t seed);
static void fuzz_fix_data(u_char *p, u_char *last,
    ngx_smtp_file_header_t *h);
static void fuzz_system(void);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static fuzz_file_t  fuzz_files[2];


static void
fuzz_check(ngx_uint_t ok)
{
    if (!ok) {
        abort();
    }
}


/* sets the CRC of a head as far as it is one */

static void
fuzz_fix_head(u_char *p, size_t size)
{
    uint32_t  crc;

    if (size < NGX_SMTP_RECORD_HEADER) {
        return;
    }

    crc = ngx_smtp_crc32c(0, p, 60);
    crc = ngx_smtp_crc32c(crc, p + NGX_SMTP_RECORD_HEADER,
                          size - NGX_SMTP_RECORD_HEADER);
    ngx_smtp_put32(p + 60, crc);
}


static void
fuzz_head(const uint8_t *data, size_t size)
{
    u_char               *head, *again;
    size_t                length;
    ngx_int_t             rc;
    ngx_str_t             fields, queue;
    ngx_pool_t           *pool;
    ngx_smtp_meta_t       m;
    ngx_smtp_record_t     r, read;
    ngx_smtp_envelope_t   e;

    head = malloc(size ? size : 1);
    memcpy(head, data, size);

    pool = ngx_create_pool(1024, &shim_log);

    if (size >= NGX_SMTP_RECORD_HEADER) {
        ngx_smtp_put32(head + 8, (uint32_t) size);
    }

    fuzz_fix_head(head, size);

    rc = ngx_smtp_record_decode(head, size, pool, &r, &e, &m, &fields);

    if (rc == NGX_OK) {

        fuzz_check(e.rcpts.nelts == r.nrcpts);
        fuzz_check(ngx_smtp_record_queue(head, &r, &queue) == NGX_OK);
        fuzz_check(queue.data == m.queue.data && queue.len == m.queue.len);
        fuzz_check(fields.data + fields.len == head + size);

        /* what was read can be written, and is the same then */

        again = ngx_smtp_record_encode(&e, &m, &fields, r.content, r.large,
                                       &length, &shim_log);
        fuzz_check(again != NULL);
        ngx_smtp_record_seal(again, r.number, r.content, r.body_crc);
        fuzz_check(ngx_smtp_record_check(again, length, &read) == NGX_OK);
        fuzz_check(read.fields == r.fields && read.meta == r.meta
                   && read.envelope == r.envelope
                   && read.number == r.number
                   && read.received == r.received);

        /* flags, reserved and unknown bits apart */

        fuzz_check(memcmp(again + 64, head + 64, r.meta) == 0);

        ngx_free(again);
    }

    ngx_destroy_pool(pool);
    free(head);
}


/* numbers the records and sets their CRCs */

static void
fuzz_fix_log(u_char *p, u_char *last, uint32_t seed)
{
    size_t    length;
    uint32_t  crc, sequence;

    for (sequence = 1; last - p >= NGX_SMTP_LOG_RECORD; sequence++) {

        length = ngx_smtp_get32(p + 4) & 0x3ff;
        length = ngx_min(length, (size_t) (last - p) - NGX_SMTP_LOG_RECORD);

        ngx_smtp_put32(p + 4, (uint32_t) length);
        ngx_smtp_put32(p + 8, sequence);
        p[1] &= 1;

        crc = ngx_smtp_crc32c(seed, p, 12);
        crc = ngx_smtp_crc32c(crc, p + NGX_SMTP_LOG_RECORD, length);
        ngx_smtp_put32(p + 12, crc);

        p += NGX_SMTP_LOG_RECORD + length;
    }
}


static void
fuzz_log(const uint8_t *data, size_t size)
{
    u_char                 *buf, *p, *last, *again;
    off_t                   end;
    size_t                  need;
    time_t                  when;
    uint32_t                sequence;
    ngx_str_t               queues[8];
    ngx_uint_t              n;
    ngx_smtp_event_t        e;
    ngx_smtp_sealed_t       sealed;
    ngx_smtp_result_t       results[64];
    ngx_smtp_summary_t      s;
    ngx_smtp_log_record_t   r;

    buf = malloc(size ? size : 1);
    memcpy(buf, data, size);
    last = buf + size;

    fuzz_fix_log(buf, last, 77);

    sequence = 0;

    for (p = buf;
         ngx_smtp_log_next(p, last, 77, sequence, &r, &p, &need) == NGX_OK;
         sequence = r.sequence)
    {
        n = 64;

        if (ngx_smtp_event_get(&r, &e, results, &n) == NGX_OK) {
            need = ngx_smtp_event_size(&e);
            again = malloc(need);
            fuzz_check(ngx_smtp_event_put(again, &e) == again + need);

            if (need == r.length + NGX_SMTP_LOG_RECORD && n == 0) {
                fuzz_check(memcmp(again + NGX_SMTP_LOG_RECORD, r.payload,
                                  r.length) == 0);
            }

            free(again);
        }

        if (ngx_smtp_summary_get(&r, &s) == NGX_OK) {
            fuzz_check(ngx_smtp_summary_size(&s)
                       == r.length + NGX_SMTP_LOG_RECORD);
            again = malloc(r.length + NGX_SMTP_LOG_RECORD);
            fuzz_check(ngx_smtp_summary_put(again, &s)
                       == again + r.length + NGX_SMTP_LOG_RECORD);
            free(again);
        }

        (void) ngx_smtp_sealed_get(&r, &sealed, queues, 8);
        (void) ngx_smtp_mark_get(&r, &end, &when);
    }

    free(buf);
}


/* files in memory */

static int
fuzz_openat(int dir, const char *name, int flags, mode_t mode)
{
    if (strstr(name, ".log") && !(flags & O_CREAT)) {

        if (fuzz_files[1].size == 0) {
            errno = ENOENT;
            return -1;
        }

        return FUZZ_LOG;
    }

    if (flags & O_DIRECTORY) {
        errno = EIO;
        return -1;
    }

    return FUZZ_OTHER;
}


static ssize_t
fuzz_pread(int fd, void *buf, size_t size, off_t offset)
{
    fuzz_file_t  *f;

    fuzz_check(fd == FUZZ_DATA || fd == FUZZ_LOG);

    f = &fuzz_files[fd - FUZZ_DATA];

    if (offset >= (off_t) f->size) {
        return 0;
    }

    size = ngx_min(size, f->size - (size_t) offset);
    memcpy(buf, f->data + offset, size);

    return (ssize_t) size;
}


static ssize_t
fuzz_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    return (ssize_t) iov[0].iov_len;
}


static int
fuzz_fstat(int fd, struct stat *st)
{
    fuzz_check(fd == FUZZ_DATA || fd == FUZZ_LOG);

    memset(st, 0, sizeof(*st));
    st->st_size = (off_t) fuzz_files[fd - FUZZ_DATA].size;

    return 0;
}


static int
fuzz_fstatat(int dir, const char *name, struct stat *st, int flags)
{
    errno = ENOENT;

    return -1;
}


static int
fuzz_ftruncate(int fd, off_t size)
{
    fuzz_check(fd == FUZZ_DATA || fd == FUZZ_LOG);
    fuzz_check(size >= NGX_SMTP_FILE_HEADER
               && size < (off_t) fuzz_files[fd - FUZZ_DATA].size);

    return 0;
}


static int
fuzz_ok(int fd)
{
    return 0;
}


static int
fuzz_fallocate(int fd, int mode, off_t offset, off_t len)
{
    fuzz_check(offset >= 0 && len > 0);

    return 0;
}


static int
fuzz_unlinkat(int dir, const char *name, int flags)
{
    return 0;
}


static int
fuzz_renameat2(int olddir, const char *oldname, int newdir,
    const char *newname, unsigned flags)
{
    return 0;
}


static void
fuzz_system(void)
{
    ngx_smtp_sys.openat = fuzz_openat;
    ngx_smtp_sys.close = fuzz_ok;
    ngx_smtp_sys.pread = fuzz_pread;
    ngx_smtp_sys.pwritev = fuzz_pwritev;
    ngx_smtp_sys.fsync = fuzz_ok;
    ngx_smtp_sys.fdatasync = fuzz_ok;
    ngx_smtp_sys.ftruncate = fuzz_ftruncate;
    ngx_smtp_sys.fallocate = fuzz_fallocate;
    ngx_smtp_sys.fstat = fuzz_fstat;
    ngx_smtp_sys.fstatat = fuzz_fstatat;
    ngx_smtp_sys.unlinkat = fuzz_unlinkat;
    ngx_smtp_sys.renameat2 = fuzz_renameat2;
}


/*
 * Wherever the input has a byte 0x8a at a place where a batch may be, a header
 * is written there; heads behind it get their CRCs.
 */
static void
fuzz_fix_data(u_char *p, u_char *last, ngx_smtp_file_header_t *h)
{
    u_char            *end;
    size_t             size;
    uint32_t           sequence;
    ngx_smtp_batch_t   b;

    for (sequence = 1; last - p >= NGX_SMTP_BATCH_HEADER; sequence++) {

        if (*p != 0x8a) {
            p++;
            continue;
        }

        b.sequence = sequence;
        b.messages = p[44] & 7;
        b.length = ngx_smtp_get16(p + 48) & 0xfff;
        ngx_smtp_batch_put(p, h, &b);

        p += NGX_SMTP_BATCH_HEADER;
        end = p + ngx_min(b.length, (uint64_t) (last - p));

        while (end - p >= NGX_SMTP_RECORD_HEADER) {
            size = ngx_smtp_get16(p + 8);

            if (size < NGX_SMTP_RECORD_HEADER || size > (size_t) (end - p)) {
                break;
            }

            fuzz_fix_head(p, size);

            p += size + ngx_min(ngx_smtp_get16(p + 16),
                                (uint32_t) (end - p - size));
        }

        p = end;
    }
}


static void
fuzz_recovery(const uint8_t *data, size_t size)
{
    size_t                    cut;
    ngx_int_t                 rc;
    ngx_uint_t                i, live;
    ngx_smtp_spool_t          spool;
    ngx_smtp_recovery_t      *r;
    ngx_smtp_recovered_t     *m;
    ngx_smtp_segment_file_t   f;

    if (size < 2) {
        return;
    }

    fuzz_system();

    memset(&spool, 0, sizeof(spool));
    memset(&f, 0, sizeof(f));

    f.data = FUZZ_DATA;
    f.log = -1;
    f.header.generation = 1;
    memset(f.header.key, 0x33, NGX_SMTP_KEY_SIZE);

    cut = (size - 2) * data[0] / 255;

    for (i = 0; i < 2; i++) {
        fuzz_files[i].size = NGX_SMTP_FILE_HEADER
                             + (i == 0 ? cut : size - 2 - cut);
        fuzz_files[i].data = malloc(fuzz_files[i].size);
        ngx_smtp_file_header_put(fuzz_files[i].data, i + 1, &f.header);
    }

    memcpy(fuzz_files[0].data + NGX_SMTP_FILE_HEADER, data + 2, cut);
    memcpy(fuzz_files[1].data + NGX_SMTP_FILE_HEADER, data + 2 + cut,
           size - 2 - cut);

    fuzz_fix_data(fuzz_files[0].data + NGX_SMTP_FILE_HEADER,
                  fuzz_files[0].data + fuzz_files[0].size, &f.header);
    fuzz_fix_log(fuzz_files[1].data + NGX_SMTP_FILE_HEADER,
                 fuzz_files[1].data + fuzz_files[1].size,
                 ngx_smtp_log_seed(&f.header));

    if (data[1] & 1) {
        fuzz_files[1].size = 0;
    }

    r = ngx_smtp_recovery_start(&spool, &f, 1700000000);

    do {
        rc = ngx_smtp_recovery_step(r);
    } while (rc == NGX_AGAIN);

    if (rc == NGX_OK) {
        live = 0;

        for (i = 0; i < r->nmessages; i++) {
            m = &r->messages[i];

            fuzz_check(i == 0 || r->messages[i - 1].number < m->number);
            fuzz_check(m->queue < r->nqueues);
            fuzz_check(m->nrcpts > 0 && m->npending <= m->nrcpts);
            fuzz_check((m->final != NULL) == (m->nrcpts > 64));
            fuzz_check(m->offset >= NGX_SMTP_FILE_HEADER);
            fuzz_check(m->offset + m->head_size <= f.data_end);
            live += !m->done;
        }

        fuzz_check(live == r->nlive);
    }

    ngx_smtp_recovery_free(r);

    free(fuzz_files[0].data);
    free(fuzz_files[1].data);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }

    switch (data[0] % 3) {

    case 0:
        fuzz_head(data + 1, size - 1);
        break;

    case 1:
        fuzz_log(data + 1, size - 1);
        break;

    default:
        fuzz_recovery(data + 1, size - 1);
    }

    return 0;
}
