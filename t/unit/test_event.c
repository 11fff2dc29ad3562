
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Records of the log: there and back, each bit changed, each length cut, made
 * hostile; groups and sequences; and that what is reserved is enough.
 *
 * sources: core/ngx_smtp_crc32c.c spool/ngx_smtp_record.c
 * sources: spool/ngx_smtp_event.c
 */


#include "shim.h"
#include "ngx_smtp_event.h"
#include "ngx_smtp_crc32c.h"

#include <stdlib.h>
#include <string.h>


#define TEST_SEED       0x12345678


static void test_fill(ngx_smtp_event_t *e, ngx_uint_t type,
    ngx_smtp_result_t *results, ngx_uint_t n, size_t text);
static u_char *test_put(const ngx_smtp_event_t *e, size_t *size);
static void test_recrc(u_char *p, size_t size);


static u_char  test_long[2000];


static void
test_fill(ngx_smtp_event_t *e, ngx_uint_t type, ngx_smtp_result_t *results,
    ngx_uint_t n, size_t text)
{
    ngx_uint_t  i;

    memset(e, 0, sizeof(*e));
    memset(test_long, 'x', sizeof(test_long));

    for (i = 0; i < n; i++) {
        results[i].rcpt = i * 3;
        results[i].status = 1 + i % 5;
        results[i].code = 250 + i;
        results[i].text.data = test_long;
        results[i].text.len = text;
    }

    e->type = type;
    e->number = 77;
    e->time = 1700000000;
    e->until = 1700000600;
    e->attempts = 5;
    e->report = 2;
    e->kind = NGX_SMTP_REPORT_DELAY;
    e->peer = shim_str("mx.example.org[192.0.2.1]:25");
    e->results = results;
    e->nresults = n;
}


static u_char *
test_put(const ngx_smtp_event_t *e, size_t *size)
{
    u_char    *p;
    uint32_t   sequence;

    *size = ngx_smtp_event_size(e);

    p = malloc(*size);
    assert_ptr_equal(ngx_smtp_event_put(p, e), p + *size);

    sequence = 9;
    ngx_smtp_log_seal(p, p + *size, TEST_SEED, &sequence);
    assert_int_equal(sequence, 10);

    return p;
}


static void
test_recrc(u_char *p, size_t size)
{
    uint32_t  crc;

    crc = ngx_smtp_crc32c(TEST_SEED, p, 12);
    crc = ngx_smtp_crc32c(crc, p + 16, size - 16);
    ngx_smtp_put32(p + 12, crc);
}


static void
test_events(void **state)
{
    u_char                 *p, *next;
    size_t                  size, need;
    ngx_uint_t              type, n;
    ngx_smtp_event_t        e, back;
    ngx_smtp_result_t       results[3], read[3];
    ngx_smtp_log_record_t   r;

    for (type = NGX_SMTP_LOG_RESULT; type <= NGX_SMTP_LOG_STRIKE; type++) {

        if (type == NGX_SMTP_LOG_WISH) {
            continue;
        }

        test_fill(&e, type, results, 3, 20);
        p = test_put(&e, &size);

        assert_int_equal(ngx_smtp_log_next(p, p + size, TEST_SEED, 9, &r,
                                           &next, &need),
                         NGX_OK);
        assert_ptr_equal(next, p + size);
        assert_int_equal(r.type, type);
        assert_int_equal(r.policy, type == NGX_SMTP_LOG_STRIKE
                                   ? NGX_SMTP_POLICY_IGNORE
                                   : NGX_SMTP_POLICY_REQUIRED);
        assert_int_equal(r.sequence, 10);
        assert_int_equal(r.more, 0);

        n = 3;
        assert_int_equal(ngx_smtp_event_get(&r, &back, read, &n), NGX_OK);
        assert_int_equal(back.type, type);
        assert_int_equal(back.number, 77);
        assert_int_equal(back.time, 1700000000);

        if (type == NGX_SMTP_LOG_DEFERRED || type == NGX_SMTP_LOG_SETTLE
            || type == NGX_SMTP_LOG_STRIKE
            || type == NGX_SMTP_LOG_REPORT
            || type == NGX_SMTP_LOG_REPORT_DEFERRED)
        {
            assert_int_equal(back.until, 1700000600);
            assert_int_equal(back.attempts, 5);
        }

        if (type == NGX_SMTP_LOG_REPORT || type == NGX_SMTP_LOG_REPORTED
            || type == NGX_SMTP_LOG_REPORT_DEFERRED)
        {
            assert_int_equal(back.report, 2);
        }

        if (type == NGX_SMTP_LOG_REPORT) {
            assert_int_equal(back.kind, NGX_SMTP_REPORT_DELAY);
        }

        if (type != NGX_SMTP_LOG_RESULT && type != NGX_SMTP_LOG_DEFERRED
            && type != NGX_SMTP_LOG_REPORT)
        {
            assert_int_equal(n, 0);
            free(p);
            continue;
        }

        assert_int_equal(back.attempts, 5);
        assert_int_equal(n, 3);
        assert_int_equal(back.nresults, 3);
        assert_str_equal(&back.peer, "mx.example.org[192.0.2.1]:25");
        assert_int_equal(read[2].rcpt, 6);
        assert_int_equal(read[2].status, 3);
        assert_int_equal(read[2].code, 252);
        assert_int_equal(read[2].text.len, 20);
        assert_memory_equal(read[2].text.data, test_long, 20);

        /* without room: how much is needed */

        n = 2;
        assert_int_equal(ngx_smtp_event_get(&r, &back, read, &n), NGX_AGAIN);
        assert_int_equal(n, 3);
        n = 99;
        assert_int_equal(ngx_smtp_event_get(&r, &back, NULL, &n), NGX_AGAIN);
        assert_int_equal(n, 3);

        free(p);
    }
}


/* a move and a wish, whole, cut anywhere, and with what there is none of */

static void
test_changes(void **state)
{
    u_char                 *p, *next;
    size_t                  size, need;
    ngx_uint_t              n, kind;
    ngx_smtp_event_t        e, back;
    ngx_smtp_log_record_t   r;

    static u_char  destination[] = "out\0[2001:db8::1]:25";

    for (kind = 0; kind < 4; kind++) {
        ngx_memzero(&e, sizeof(e));

        e.type = kind == 3 ? NGX_SMTP_LOG_MOVED : NGX_SMTP_LOG_WISH;
        e.number = 77;
        e.time = 1700000000;
        e.kind = kind;
        e.queue.data = destination;
        e.queue.len = sizeof(destination) - 1;

        p = test_put(&e, &size);

        assert_int_equal(ngx_smtp_log_next(p, p + size, TEST_SEED, 9, &r,
                                           &next, &need),
                         NGX_OK);
        assert_int_equal(r.policy, kind == 3 ? NGX_SMTP_POLICY_REQUIRED
                                             : NGX_SMTP_POLICY_IGNORE);
        assert_int_equal(ngx_smtp_event_get(&r, &back, NULL, &n), NGX_OK);
        assert_int_equal(back.number, 77);
        assert_int_equal(back.time, 1700000000);
        assert_int_equal(n, 0);

        if (kind == 3) {
            assert_int_equal(back.queue.len, sizeof(destination) - 1);
            assert_memory_equal(back.queue.data, destination,
                                sizeof(destination) - 1);

        } else {
            assert_int_equal(back.kind, kind);
            r.payload[r.length - 1] = 3;
            assert_int_equal(ngx_smtp_event_get(&r, &back, NULL, &n),
                             NGX_ERROR);
        }

        while (r.length) {
            r.length--;
            assert_int_equal(ngx_smtp_event_get(&r, &back, NULL, &n),
                             NGX_ERROR);
        }

        free(p);
    }

    /* there is no queue without a name */

    e.queue.len = 0;
    p = test_put(&e, &size);
    assert_int_equal(ngx_smtp_log_next(p, p + size, TEST_SEED, 9, &r, &next,
                                       &need),
                     NGX_OK);
    assert_int_equal(ngx_smtp_event_get(&r, &back, NULL, &n), NGX_ERROR);
    free(p);
}


static void
test_damage(void **state)
{
    u_char                 *p, *copy, *next;
    size_t                  size, i, need;
    ngx_smtp_event_t        e;
    ngx_smtp_result_t       results[2];
    ngx_smtp_log_record_t   r;

    test_fill(&e, NGX_SMTP_LOG_REPORT, results, 2, 10);
    p = test_put(&e, &size);

    for (i = 0; i < size * 8; i++) {
        p[i / 8] ^= 1 << (i % 8);

        /* a longer length wants more than there is: never good */

        assert_int_not_equal(ngx_smtp_log_next(p, p + size, TEST_SEED, 9, &r,
                                               &next, &need),
                             NGX_OK);
        p[i / 8] ^= 1 << (i % 8);
    }

    for (i = 0; i < size; i++) {
        copy = malloc(i ? i : 1);
        memcpy(copy, p, i);
        assert_int_equal(ngx_smtp_log_next(copy, copy + i, TEST_SEED, 9, &r,
                                           &next, &need),
                         NGX_AGAIN);
        assert_int_equal(need, i < 16 ? 16 : size);
        free(copy);
    }

    /* another log's, an older one's, zeros */

    assert_int_equal(ngx_smtp_log_next(p, p + size, TEST_SEED + 1, 9, &r,
                                       &next, &need),
                     NGX_ERROR);
    assert_int_equal(ngx_smtp_log_next(p, p + size, TEST_SEED, 10, &r, &next,
                                       &need),
                     NGX_ERROR);

    memset(p, 0, size);
    assert_int_equal(ngx_smtp_log_next(p, p + size, TEST_SEED, 0, &r, &next,
                                       &need),
                     NGX_ERROR);

    free(p);
}


static void
test_hostile(void **state)
{
    u_char                 *p, *next;
    size_t                  size, i, need;
    ngx_uint_t              type, n, v, good;
    ngx_smtp_event_t        e, back;
    ngx_smtp_result_t       results[3], read[3];
    ngx_smtp_log_record_t   r;

    static const u_char  values[] = { 0x00, 0x01, 0x04, 0x7f, 0xff };

    good = 0;

    for (type = NGX_SMTP_LOG_RESULT; type <= NGX_SMTP_LOG_STRIKE; type++) {

        if (type == NGX_SMTP_LOG_WISH) {
            continue;
        }

        test_fill(&e, type, results, 3, 12);
        p = test_put(&e, &size);

        for (i = 16; i < size; i++) {
            for (v = 0; v < sizeof(values); v++) {
                next = p;
                need = p[i];
                p[i] = values[v];
                test_recrc(p, size);

                assert_int_equal(ngx_smtp_log_next(p, p + size, TEST_SEED, 9,
                                                   &r, &next, &need),
                                 NGX_OK);
                n = 3;
                good += ngx_smtp_event_get(&r, &back, read, &n) == NGX_OK;

                (void) ngx_smtp_event_put(p, &e);
                ngx_smtp_put32(p + 8, 10);
                test_recrc(p, size);
            }
        }

        /* an event of another type has other parts */

        for (v = 0; v < 32; v++) {
            r.type = v;
            r.payload = p + 16;
            r.length = size - 16;
            n = 3;
            (void) ngx_smtp_event_get(&r, &back, read, &n);
        }

        free(p);
    }

    assert_true(good > 1000);
}


static void
test_groups(void **state)
{
    u_char                 *p, *last, *next;
    size_t                  size, need;
    uint32_t                sequence;
    ngx_uint_t              i;
    ngx_smtp_event_t        e;
    ngx_smtp_result_t       results[1];
    ngx_smtp_log_record_t   r;

    test_fill(&e, NGX_SMTP_LOG_RESULT, results, 1, 10);
    size = ngx_smtp_event_size(&e);
    p = malloc(3 * size);

    for (last = p, i = 0; i < 3; i++) {
        last = ngx_smtp_event_put(last, &e);
    }

    sequence = 41;
    ngx_smtp_log_seal(p, last, TEST_SEED, &sequence);
    assert_int_equal(sequence, 44);

    sequence = 0;

    for (next = p, i = 0; i < 3; i++) {
        assert_int_equal(ngx_smtp_log_next(next, last, TEST_SEED, sequence,
                                           &r, &next, &need),
                         NGX_OK);
        assert_int_equal(r.more, i < 2);
        assert_int_equal(r.sequence, 42 + i);
        sequence = r.sequence;
    }

    assert_ptr_equal(next, last);
    free(p);
}


static void
test_summaries(void **state)
{
    u_char                 *p, *next;
    uint8_t                 bitmap[13];
    size_t                  size, need, i;
    uint32_t                sequence;
    ngx_uint_t              many;
    ngx_smtp_summary_t      s, back;
    ngx_smtp_log_record_t   r;

    for (many = 0; many < 2; many++) {
        memset(&s, 0, sizeof(s));
        memset(bitmap, 0x5a, sizeof(bitmap));

        s.number = 12;
        s.head_size = 300;
        s.nrcpts = many ? 100 : 64;
        s.attempts = 3;
        s.reports = 1;
        s.offset = 4096;
        s.size = 70000;
        s.received = 1700000000;
        s.due_at = 1700000009;
        s.queue = shim_str("internet");
        s.final = many ? bitmap : NULL;
        s.final_word = 0x8000000000000001ull;
        s.strings = shim_str("meta and envelope");
        s.meta = 4;
        s.envelope = 13;
        s.hold = 1;
        s.large = many;
        s.wish = many ? NGX_SMTP_WISH_DELETE : NGX_SMTP_WISH_BOUNCE;

        size = ngx_smtp_summary_size(&s);
        p = malloc(size);
        assert_ptr_equal(ngx_smtp_summary_put(p, &s), p + size);

        sequence = 0;
        ngx_smtp_log_seal(p, p + size, TEST_SEED, &sequence);

        assert_int_equal(ngx_smtp_log_next(p, p + size, TEST_SEED, 0, &r,
                                           &next, &need),
                         NGX_OK);
        assert_int_equal(r.policy, NGX_SMTP_POLICY_IGNORE);
        assert_int_equal(ngx_smtp_summary_get(&r, &back), NGX_OK);
        assert_int_equal(back.number, 12);
        assert_int_equal(back.wish, s.wish);
        assert_int_equal(back.head_size, 300);
        assert_int_equal(back.nrcpts, s.nrcpts);
        assert_int_equal(back.attempts, 3);
        assert_int_equal(back.reports, 1);
        assert_int_equal(back.offset, 4096);
        assert_int_equal(back.size, 70000);
        assert_int_equal(back.received, 1700000000);
        assert_int_equal(back.due_at, 1700000009);
        assert_str_equal(&back.queue, "internet");
        assert_str_equal(&back.strings, "meta and envelope");
        assert_int_equal(back.meta, 4);
        assert_int_equal(back.envelope, 13);
        assert_int_equal(back.hold, 1);
        assert_int_equal(back.large, many);

        if (many) {
            assert_memory_equal(back.final, bitmap, 13);

        } else {
            assert_null(back.final);
            assert_true(back.final_word == s.final_word);
        }

        /* any length but its own */

        for (i = 0; i < r.length; i++) {
            next = malloc(i ? i : 1);
            memcpy(next, p + 16, i);
            r.payload = next;
            need = r.length;
            r.length = i;
            assert_int_equal(ngx_smtp_summary_get(&r, &back), NGX_ERROR);
            r.length = need;
            free(next);
        }

        /* sizes that are none */

        r.payload = p + 16;

        ngx_smtp_put32(p + 16 + 8, 0);
        assert_int_equal(ngx_smtp_summary_get(&r, &back), NGX_ERROR);
        ngx_smtp_put32(p + 16 + 8, 0xffffffff);
        assert_int_equal(ngx_smtp_summary_get(&r, &back), NGX_ERROR);
        ngx_smtp_put32(p + 16 + 8, s.nrcpts);
        ngx_smtp_put64(p + 16 + 24, 1ull << 63);
        assert_int_equal(ngx_smtp_summary_get(&r, &back), NGX_ERROR);
        ngx_smtp_put64(p + 16 + 24, 4096);
        ngx_smtp_put32(p + 16 + 4, 63);
        assert_int_equal(ngx_smtp_summary_get(&r, &back), NGX_ERROR);

        free(p);
    }
}


static void
test_sealed(void **state)
{
    u_char                 *p, *next;
    size_t                  size, need, i;
    off_t                   end;
    time_t                  when;
    uint32_t                sequence;
    ngx_str_t               queues[2], read[2];
    ngx_smtp_sealed_t       s, back;
    ngx_smtp_log_record_t   r;

    queues[0] = shim_str("internet");
    queues[1] = shim_str("cluster");

    s.data_end = 123456;
    s.log_start = 789;
    s.summaries = 3;
    s.reports = 1;
    s.next_number = 8;
    s.time = 1700000000;
    s.nqueues = 2;
    s.queues = queues;

    size = ngx_smtp_sealed_size(&s);
    p = malloc(size);
    assert_ptr_equal(ngx_smtp_sealed_put(p, &s), p + size);

    sequence = 0;
    ngx_smtp_log_seal(p, p + size, TEST_SEED, &sequence);
    assert_int_equal(ngx_smtp_log_next(p, p + size, TEST_SEED, 0, &r, &next,
                                       &need),
                     NGX_OK);
    assert_int_equal(ngx_smtp_sealed_get(&r, &back, read, 2), NGX_OK);
    assert_int_equal(back.data_end, 123456);
    assert_int_equal(back.log_start, 789);
    assert_int_equal(back.summaries, 3);
    assert_int_equal(back.reports, 1);
    assert_int_equal(back.next_number, 8);
    assert_int_equal(back.time, 1700000000);
    assert_int_equal(back.nqueues, 2);
    assert_str_equal(&read[1], "cluster");
    assert_int_equal(ngx_smtp_sealed_get(&r, &back, NULL, 0), NGX_OK);
    assert_int_equal(ngx_smtp_sealed_get(&r, &back, read, 1), NGX_OK);

    for (i = 0, need = r.length; i < need; i++) {
        r.length = i;
        assert_int_equal(ngx_smtp_sealed_get(&r, &back, read, 2), NGX_ERROR);
    }

    free(p);

    p = malloc(NGX_SMTP_LOG_MARK);
    assert_ptr_equal(ngx_smtp_mark_put(p, NGX_SMTP_LOG_END, 4711, 12),
                     p + NGX_SMTP_LOG_MARK);
    ngx_smtp_log_seal(p, p + NGX_SMTP_LOG_MARK, TEST_SEED, &sequence);
    assert_int_equal(ngx_smtp_log_next(p, p + NGX_SMTP_LOG_MARK, TEST_SEED,
                                       1, &r, &next, &need),
                     NGX_OK);
    assert_int_equal(r.type, NGX_SMTP_LOG_END);
    assert_int_equal(ngx_smtp_mark_get(&r, &end, &when), NGX_OK);
    assert_int_equal(end, 4711);
    assert_int_equal(when, 12);

    r.length--;
    assert_int_equal(ngx_smtp_mark_get(&r, &end, &when), NGX_ERROR);
    free(p);
}


/* texts of any length: cut, and what was reserved is enough for them */

static void
test_room(void **state)
{
    size_t              used, head;
    ngx_uint_t          i, n;
    ngx_smtp_event_t    e;
    ngx_smtp_result_t   results[200];
    ngx_smtp_summary_t  s;

    static const ngx_uint_t  counts[] = { 1, 2, 64, 65, 200 };

    for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        n = counts[i];
        head = 5000;

        /* each recipient fails alone and is reported alone */

        test_fill(&e, NGX_SMTP_LOG_RESULT, results, n, sizeof(test_long));
        e.peer.data = test_long;
        e.peer.len = sizeof(test_long);
        e.nresults = 1;

        used = n * ngx_smtp_event_size(&e);
        assert_true(ngx_smtp_event_size(&e)
                    <= NGX_SMTP_LOG_MAX_EVENT + NGX_SMTP_LOG_MAX_RESULT);

        e.type = NGX_SMTP_LOG_REPORT;
        used += n * ngx_smtp_event_size(&e);
        e.type = NGX_SMTP_LOG_REPORTED;
        used += n * ngx_smtp_event_size(&e);
        e.type = NGX_SMTP_LOG_SETTLE;
        used += ngx_smtp_event_size(&e);
        e.type = NGX_SMTP_LOG_DONE;
        used += ngx_smtp_event_size(&e);

        assert_true(used <= ngx_smtp_log_need(0, n));

        memset(&s, 0, sizeof(s));
        s.nrcpts = n;
        s.queue = shim_str("a queue, whose name is in the head as well");
        s.strings.len = head - NGX_SMTP_RECORD_HEADER;

        used += ngx_smtp_summary_size(&s);

        assert_true(used <= ngx_smtp_log_need(head, n));

        /* and not wasteful */

        assert_true(ngx_smtp_log_need(head, n) < used + 400 * (n + 1));
    }
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_summaries),
        cmocka_unit_test(test_sealed),
        cmocka_unit_test(test_room),
    };

    return shim_run(tests);
}
