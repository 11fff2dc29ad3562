
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Heads, batch and file headers, ids: there and back; every byte changed, cut
 * or, with a CRC that fits, made hostile.
 *
 * sources: core/ngx_smtp_crc32c.c spool/ngx_smtp_record.c
 */


#include "shim.h"
#include "ngx_smtp_record.h"
#include "ngx_smtp_crc32c.h"

#include <stdlib.h>
#include <string.h>


static void test_envelope(ngx_pool_t *pool, ngx_smtp_envelope_t *e,
    ngx_smtp_meta_t *m, ngx_uint_t nrcpts);
static u_char *test_head(ngx_pool_t *pool, ngx_uint_t nrcpts, size_t *size);
static void test_crc_head(u_char *head, size_t size);


static void
test_crc(void **state)
{
    u_char      buf[64];
    uint32_t    crc;
    ngx_uint_t  i, from, to;

    /* the examples of RFC 3720 B.4 */

    memset(buf, 0, 32);
    assert_int_equal(ngx_smtp_crc32c(0, buf, 32), 0x8a9136aa);
    assert_int_equal(ngx_smtp_crc32c_table(0, buf, 32), 0x8a9136aa);

    memset(buf, 0xff, 32);
    assert_int_equal(ngx_smtp_crc32c(0, buf, 32), 0x62a8ab43);

    for (i = 0; i < 64; i++) {
        buf[i] = (u_char) i;
    }

    assert_int_equal(ngx_smtp_crc32c(0, buf, 32), 0x46dd794e);
    assert_int_equal(ngx_smtp_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(ngx_smtp_crc32c(0, buf, 0), 0);

    for (from = 0; from < 9; from++) {
        for (to = from; to <= 64; to++) {
            crc = ngx_smtp_crc32c_table(0, buf + from, to - from);

            assert_int_equal(ngx_smtp_crc32c(0, buf + from, to - from), crc);
            assert_int_equal(ngx_smtp_crc32c(ngx_smtp_crc32c(0, buf + from,
                                                             (to - from) / 3),
                                             buf + from + (to - from) / 3,
                                             to - from - (to - from) / 3),
                             crc);
        }
    }
}


static void
test_integers(void **state)
{
    u_char  buf[8];

    assert_ptr_equal(ngx_smtp_put64(buf, 0xf1e2d3c4b5a69788ull), buf + 8);
    assert_memory_equal(buf, "\x88\x97\xa6\xb5\xc4\xd3\xe2\xf1", 8);
    assert_true(ngx_smtp_get64(buf) == 0xf1e2d3c4b5a69788ull);
    assert_true(ngx_smtp_get32(buf + 4) == 0xf1e2d3c4);
    assert_true(ngx_smtp_get16(buf + 6) == 0xf1e2);
}


static void
test_ids(void **state)
{
    u_char                 text[64], other[64];
    uint32_t               number;
    ngx_uint_t             i, j, n;
    ngx_smtp_segment_id_t  id, back;

    ngx_smtp_segment_id_make(&id, 0x18c0ffee1234ull,
                             (u_char *) "\xff\x00\x80\x01\x7f\xfe");

    assert_ptr_equal(ngx_smtp_segment_id_text(&id, text),
                     text + NGX_SMTP_ID_TEXT);
    assert_int_equal(ngx_smtp_segment_id_parse(&back, text,
                                               NGX_SMTP_ID_TEXT),
                     NGX_OK);
    assert_memory_equal(id.bytes, back.bytes, NGX_SMTP_ID_SIZE);

    /* each bit makes another text, and comes back */

    for (i = 0; i < 96; i++) {
        id.bytes[i / 8] ^= 1 << (i % 8);
        ngx_smtp_segment_id_text(&id, other);
        assert_memory_not_equal(text, other, NGX_SMTP_ID_TEXT);
        assert_int_equal(ngx_smtp_segment_id_parse(&back, other,
                                                   NGX_SMTP_ID_TEXT),
                         NGX_OK);
        assert_memory_equal(id.bytes, back.bytes, NGX_SMTP_ID_SIZE);
        id.bytes[i / 8] ^= 1 << (i % 8);
    }

    /* any other character in any place */

    for (i = 0; i < NGX_SMTP_ID_TEXT; i++) {
        n = 0;
        memcpy(other, text, NGX_SMTP_ID_TEXT);

        for (j = 0; j < 256; j++) {
            other[i] = (u_char) j;
            n += ngx_smtp_segment_id_parse(&back, other, NGX_SMTP_ID_TEXT)
                 == NGX_OK;
        }

        assert_int_equal(n, i == 0 ? 2 : 32);
    }

    assert_int_equal(ngx_smtp_segment_id_parse(&back, text, 19), NGX_ERROR);
    assert_int_equal(ngx_smtp_segment_id_parse(&back, text, 21), NGX_ERROR);

    /* names sort by time */

    ngx_smtp_segment_id_make(&id, 0x18c0ffee1235ull,
                             (u_char *) "\x00\x00\x00\x00\x00\x00");
    ngx_smtp_segment_id_text(&id, other);
    assert_true(memcmp(text, other, NGX_SMTP_ID_TEXT) < 0);

    i = ngx_smtp_queue_id_text(&id, 4294967295u, text) - text;
    assert_int_equal(i, 31);
    assert_true(i < NGX_SMTP_QUEUE_ID_LEN);
    assert_int_equal(ngx_smtp_queue_id_parse(&back, &number, text, i),
                     NGX_OK);
    assert_int_equal(number, 4294967295u);
    assert_memory_equal(id.bytes, back.bytes, NGX_SMTP_ID_SIZE);
}


static void
test_queue_ids(void **state)
{
    u_char                 text[64];
    uint32_t               number;
    ngx_uint_t             i;
    ngx_smtp_segment_id_t  id;

    static const struct {
        const char  *text;
        ngx_int_t    rc;
    } tests[] = {
        { "01jd8k3v9q2m7x4t5b6c-17", NGX_OK },
        { "01jd8k3v9q2m7x4t5b6c-0", NGX_OK },
        { "01jd8k3v9q2m7x4t5b6c-4294967295", NGX_OK },
        { "01jd8k3v9q2m7x4t5b6c-4294967296", NGX_ERROR },
        { "01jd8k3v9q2m7x4t5b6c-99999999999", NGX_ERROR },
        { "01jd8k3v9q2m7x4t5b6c-017", NGX_ERROR },
        { "01jd8k3v9q2m7x4t5b6c-00", NGX_ERROR },
        { "01jd8k3v9q2m7x4t5b6c-", NGX_ERROR },
        { "01jd8k3v9q2m7x4t5b6c", NGX_ERROR },
        { "01jd8k3v9q2m7x4t5b6c.17", NGX_ERROR },
        { "01jd8k3v9q2m7x4t5b6c--1", NGX_ERROR },
        { "01jd8k3v9q2m7x4t5b6c-1 ", NGX_ERROR },
        { "01JD8K3V9Q2M7X4T5B6C-17", NGX_ERROR },
        { "21jd8k3v9q2m7x4t5b6c-17", NGX_ERROR },
        { "01jd8k3v9q2m7x4t5b6u-17", NGX_ERROR },
        { "01jd8k3v9q2m7x4t5b6-17", NGX_ERROR },
        { "", NGX_ERROR },
    };

    for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        assert_int_equal(ngx_smtp_queue_id_parse(&id, &number,
                                                 (u_char *) tests[i].text,
                                                 strlen(tests[i].text)),
                         tests[i].rc);

        if (tests[i].rc == NGX_OK) {
            *ngx_smtp_queue_id_text(&id, number, text) = '\0';
            assert_string_equal((char *) text, tests[i].text);
        }
    }
}


static void
test_headers(void **state)
{
    u_char                  buf[NGX_SMTP_FILE_HEADER];
    u_char                  batch[NGX_SMTP_BATCH_HEADER], wide[200];
    uint32_t                seed;
    ngx_uint_t              i;
    ngx_smtp_batch_t        b, back;
    ngx_smtp_file_header_t  h, read;

    memset(&h, 0, sizeof(h));
    memset(h.id.bytes, 0x11, NGX_SMTP_ID_SIZE);
    memset(h.key, 0x77, NGX_SMTP_KEY_SIZE);
    h.generation = 3;
    h.created = 1700000000;

    ngx_smtp_file_header_put(buf, NGX_SMTP_FILE_DATA, &h);

    assert_int_equal(ngx_smtp_file_header_get(buf, sizeof(buf),
                                              NGX_SMTP_FILE_DATA, &read),
                     NGX_OK);
    assert_int_equal(read.generation, 3);
    assert_int_equal(read.version, NGX_SMTP_FORMAT_VERSION);
    assert_int_equal(read.created, 1700000000);
    assert_memory_equal(read.key, h.key, NGX_SMTP_KEY_SIZE);
    assert_memory_equal(read.id.bytes, h.id.bytes, NGX_SMTP_ID_SIZE);

    assert_int_equal(ngx_smtp_file_header_get(buf, sizeof(buf),
                                              NGX_SMTP_FILE_LOG, &read),
                     NGX_ERROR);
    assert_int_equal(ngx_smtp_file_header_get(buf, sizeof(buf) - 1,
                                              NGX_SMTP_FILE_DATA, &read),
                     NGX_ERROR);

    /* each bit: damaged, or, in the version, taken for a newer one */

    for (i = 0; i < sizeof(buf) * 8; i++) {
        buf[i / 8] ^= 1 << (i % 8);
        assert_int_equal(ngx_smtp_file_header_get(buf, sizeof(buf),
                                                  NGX_SMTP_FILE_DATA, &read),
                         i / 8 == 9 || (i / 8 == 8 && i % 8 > 0)
                         ? NGX_DECLINED : NGX_ERROR);
        buf[i / 8] ^= 1 << (i % 8);
    }

    seed = ngx_smtp_log_seed(&h);
    h.key[5] ^= 1;
    assert_int_not_equal(ngx_smtp_log_seed(&h), seed);
    h.key[5] ^= 1;

    b.length = 0x123456789ull;
    b.sequence = 9;
    b.messages = 50;

    ngx_smtp_batch_put(batch, &h, &b);
    assert_int_equal(ngx_smtp_batch_get(batch, sizeof(batch), &h, &back),
                     NGX_OK);
    assert_true(back.length == b.length);
    assert_int_equal(back.sequence, 9);
    assert_int_equal(back.messages, 50);

    for (i = 0; i < sizeof(batch) * 8; i++) {
        batch[i / 8] ^= 1 << (i % 8);
        assert_int_equal(ngx_smtp_batch_get(batch, sizeof(batch), &h, &back),
                         NGX_ERROR);
        batch[i / 8] ^= 1 << (i % 8);
    }

    assert_int_equal(ngx_smtp_batch_get(batch, 63, &h, &back), NGX_ERROR);

    /* another segment's */

    h.id.bytes[0] ^= 1;
    assert_int_equal(ngx_smtp_batch_get(batch, 64, &h, &back), NGX_ERROR);
    h.id.bytes[0] ^= 1;
    h.generation++;
    assert_int_equal(ngx_smtp_batch_get(batch, 64, &h, &back), NGX_ERROR);

    /* found wherever it is whole, even after what begins like it */

    for (i = 0; i <= sizeof(wide) - NGX_SMTP_BATCH_MARK; i++) {
        memset(wide, 0x8a, sizeof(wide));
        memcpy(wide + i, batch, ngx_min(sizeof(batch), sizeof(wide) - i));
        assert_ptr_equal(ngx_smtp_batch_search(wide, wide + sizeof(wide),
                                               &h),
                         wide + i);
        assert_null(ngx_smtp_batch_search(wide, wide + i
                                          + NGX_SMTP_BATCH_MARK - 1, &h));
        assert_null(ngx_smtp_batch_search(wide + i + 1,
                                          wide + sizeof(wide), &h));
    }

    /* a mail can hold all but the key */

    memset(batch + 8, 0, NGX_SMTP_KEY_SIZE);
    assert_null(ngx_smtp_batch_search(batch, batch + sizeof(batch), &h));
}


static void
test_envelope(ngx_pool_t *pool, ngx_smtp_envelope_t *e, ngx_smtp_meta_t *m,
    ngx_uint_t nrcpts)
{
    ngx_uint_t        i;
    ngx_keyval_t     *kv;
    ngx_smtp_rcpt_t  *rcpt;

    memset(e, 0, sizeof(*e));
    memset(m, 0, sizeof(*m));

    e->sender = shim_str("sender@example.org");
    e->sender_domain = shim_str("example.org");
    e->envid = shim_str("QQ+2Bdsn");
    e->size = 123456789012ll;
    e->body = NGX_SMTP_BODY_8BITMIME;
    e->ret = NGX_SMTP_RET_HDRS;
    e->smtputf8 = 1;
    e->requiretls = 1;

    ngx_array_init(&e->rcpts, pool, 4, sizeof(ngx_smtp_rcpt_t));

    for (i = 0; i < nrcpts; i++) {
        rcpt = ngx_array_push(&e->rcpts);
        memset(rcpt, 0, sizeof(*rcpt));
        rcpt->mailbox.data = ngx_pnalloc(pool, 32);
        rcpt->mailbox.len = ngx_sprintf(rcpt->mailbox.data,
                                        "r%ui@example.com", i)
                            - rcpt->mailbox.data;
        rcpt->domain = shim_str("example.com");
        rcpt->notify = i % 16;

        if (i % 2) {
            rcpt->orcpt = shim_str("rfc822;other+40example.com");
        }
    }

    m->queue = shim_str("internet");
    m->server = shim_str("mail.example.com");
    m->client = shim_str("2001:db8::1");
    m->helo = shim_str("client.example.net");
    m->login = shim_str("alice");
    m->received = 1700000001;

    ngx_array_init(&m->vars, pool, 2, sizeof(ngx_keyval_t));
    kv = ngx_array_push(&m->vars);
    kv->key = shim_str("tenant");
    kv->value = shim_str("blue");
    kv = ngx_array_push(&m->vars);
    kv->key = shim_str("empty");
    kv->value = shim_str("");
}


static u_char *
test_head(ngx_pool_t *pool, ngx_uint_t nrcpts, size_t *size)
{
    u_char               *head;
    ngx_str_t             fields;
    ngx_smtp_meta_t       m;
    ngx_smtp_envelope_t   e;

    test_envelope(pool, &e, &m, nrcpts);
    fields = shim_str("Received: from a by b\r\n");

    head = ngx_smtp_record_encode(&e, &m, &fields, 4096, 0, size, &shim_log);
    assert_non_null(head);

    ngx_smtp_record_seal(head, 7, 4096, 0xabcdef01);

    return head;
}


/* sets the CRC of a head that was changed, so that only contents tell */

static void
test_crc_head(u_char *head, size_t size)
{
    uint32_t  crc;

    crc = ngx_smtp_crc32c(0, head, 60);

    if (size > NGX_SMTP_RECORD_HEADER) {
        crc = ngx_smtp_crc32c(crc, head + 64, size - 64);
    }

    ngx_smtp_put32(head + 60, crc);
}


static void
test_round_trip(void **state)
{
    u_char               *head;
    size_t                size;
    ngx_uint_t            i, n;
    ngx_str_t             fields, queue;
    ngx_pool_t           *pool;
    ngx_keyval_t         *kv;
    ngx_smtp_rcpt_t      *rcpt;
    ngx_smtp_meta_t       m;
    ngx_smtp_record_t     r;
    ngx_smtp_envelope_t   e;

    static const ngx_uint_t  counts[] = { 1, 2, 64, 65, 1000 };

    for (n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
        pool = ngx_create_pool(4096, &shim_log);
        head = test_head(pool, counts[n], &size);

        assert_int_equal(ngx_smtp_record_header(head, 64, &r), NGX_OK);
        assert_int_equal(r.head_size, size);
        assert_int_equal(ngx_smtp_record_check(head, size, &r), NGX_OK);
        assert_int_equal(ngx_smtp_record_queue(head, &r, &queue), NGX_OK);
        assert_str_equal(&queue, "internet");

        assert_int_equal(ngx_smtp_record_decode(head, size, pool, &r, &e, &m,
                                                &fields),
                         NGX_OK);

        assert_int_equal(r.number, 7);
        assert_int_equal(r.content, 4096);
        assert_true(r.body_crc == 0xabcdef01);
        assert_int_equal(r.nrcpts, counts[n]);
        assert_int_equal(r.large, 0);
        assert_str_equal(&fields, "Received: from a by b\r\n");
        assert_str_equal(&m.queue, "internet");
        assert_str_equal(&m.server, "mail.example.com");
        assert_str_equal(&m.client, "2001:db8::1");
        assert_str_equal(&m.helo, "client.example.net");
        assert_str_equal(&m.login, "alice");
        assert_int_equal(m.received, 1700000001);
        assert_int_equal(m.vars.nelts, 2);
        kv = m.vars.elts;
        assert_str_equal(&kv[0].key, "tenant");
        assert_str_equal(&kv[0].value, "blue");
        assert_str_equal(&kv[1].key, "empty");
        assert_str_equal(&kv[1].value, "");
        assert_str_equal(&e.sender, "sender@example.org");
        assert_str_equal(&e.sender_domain, "example.org");
        assert_str_equal(&e.envid, "QQ+2Bdsn");
        assert_true(e.size == 123456789012ll);
        assert_int_equal(e.body, NGX_SMTP_BODY_8BITMIME);
        assert_int_equal(e.ret, NGX_SMTP_RET_HDRS);
        assert_int_equal(e.smtputf8, 1);
        assert_int_equal(e.requiretls, 1);
        assert_int_equal(e.rcpts.nelts, counts[n]);

        rcpt = e.rcpts.elts;

        for (i = 0; i < counts[n]; i++) {
            assert_int_equal(rcpt[i].notify, i % 16);
            assert_str_equal(&rcpt[i].domain, "example.com");
            assert_int_equal(rcpt[i].orcpt.len, i % 2 ? 26 : 0);
            assert_int_equal(rcpt[i].mailbox.data[0], 'r');
            assert_int_equal(ngx_atoi(rcpt[i].mailbox.data + 1,
                                      rcpt[i].mailbox.len - 13),
                             i);
        }

        ngx_free(head);
        ngx_destroy_pool(pool);
    }
}


static void
test_smallest(void **state)
{
    u_char               *head;
    size_t                size;
    ngx_str_t             fields;
    ngx_pool_t           *pool;
    ngx_smtp_rcpt_t       rcpt, *p;
    ngx_smtp_meta_t       m;
    ngx_smtp_record_t     r;
    ngx_smtp_envelope_t   e;

    /* the null sender, "postmaster" alone, nothing else */

    memset(&m, 0, sizeof(m));
    memset(&e, 0, sizeof(e));
    memset(&rcpt, 0, sizeof(rcpt));

    rcpt.mailbox = shim_str("postmaster");
    e.rcpts.elts = &rcpt;
    e.rcpts.nelts = 1;
    ngx_str_null(&fields);

    pool = ngx_create_pool(4096, &shim_log);
    head = ngx_smtp_record_encode(&e, &m, &fields, 0, 1, &size, &shim_log);
    assert_non_null(head);
    assert_int_equal(size, 64 + 12 + 18 + 10 + 10);

    /* unsealed it is not good */

    assert_int_equal(ngx_smtp_record_check(head, size, &r), NGX_ERROR);

    /* the size of a large one is known only at its end */

    ngx_smtp_record_seal(head, 1, 5000000000ll, 0);

    assert_int_equal(ngx_smtp_record_decode(head, size, pool, &r, &e, &m,
                                            &fields),
                     NGX_OK);
    assert_int_equal(r.large, 1);
    assert_true(r.content == 5000000000ll);
    assert_int_equal(e.sender.len, 0);
    assert_int_equal(fields.len, 0);
    p = e.rcpts.elts;
    assert_str_equal(&p->mailbox, "postmaster");
    assert_int_equal(p->domain.len, 0);

    ngx_free(head);
    ngx_destroy_pool(pool);
}


static void
test_limits(void **state)
{
    u_char               *head, *big;
    size_t                size;
    ngx_str_t             fields;
    ngx_pool_t           *pool;
    ngx_keyval_t         *kv;
    ngx_smtp_meta_t       m;
    ngx_smtp_envelope_t   e;

    pool = ngx_create_pool(4096, &shim_log);
    test_envelope(pool, &e, &m, 1);
    ngx_str_null(&fields);

    big = malloc(NGX_SMTP_RECORD_MAX_HEAD);
    memset(big, 'x', NGX_SMTP_RECORD_MAX_HEAD);

    /* strings: 65535 fit */

    m.helo.data = big;
    m.helo.len = 65535;
    head = ngx_smtp_record_encode(&e, &m, &fields, 0, 0, &size, &shim_log);
    assert_non_null(head);
    ngx_free(head);

    m.helo.len = 65536;
    assert_null(ngx_smtp_record_encode(&e, &m, &fields, 0, 0, &size,
                                       &shim_log));
    m.helo.len = 10;

    /* a variable may be longer, but all has an end */

    kv = m.vars.elts;
    kv[0].value.data = big;
    kv[0].value.len = 70000;
    head = ngx_smtp_record_encode(&e, &m, &fields, 0, 0, &size, &shim_log);
    assert_non_null(head);
    ngx_free(head);

    kv[0].value.len = NGX_SMTP_RECORD_MAX_HEAD;
    assert_null(ngx_smtp_record_encode(&e, &m, &fields, 0, 0, &size,
                                       &shim_log));
    kv[0].value.len = 0;

    fields.data = big;
    fields.len = NGX_SMTP_RECORD_MAX_HEAD - 100;
    assert_null(ngx_smtp_record_encode(&e, &m, &fields, 0, 0, &size,
                                       &shim_log));
    fields.len = 0;

    /* nobody to deliver to; no memory; no size */

    e.rcpts.nelts = 0;
    assert_null(ngx_smtp_record_encode(&e, &m, &fields, 0, 0, &size,
                                       &shim_log));
    e.rcpts.nelts = 1;
    assert_null(ngx_smtp_record_encode(&e, &m, &fields, -1, 0, &size,
                                       &shim_log));

    shim_alloc_fail_after(0);
    assert_null(ngx_smtp_record_encode(&e, &m, &fields, 0, 0, &size,
                                       &shim_log));
    shim_alloc_fail_after(-1);

    free(big);
    ngx_destroy_pool(pool);
}


static void
test_damage(void **state)
{
    u_char               *head, *copy;
    size_t                size, i;
    ngx_str_t             fields;
    ngx_pool_t           *pool;
    ngx_smtp_meta_t       m;
    ngx_smtp_record_t     r;
    ngx_smtp_envelope_t   e;

    pool = ngx_create_pool(4096, &shim_log);
    head = test_head(pool, 3, &size);

    /* every bit */

    for (i = 0; i < size * 8; i++) {
        head[i / 8] ^= 1 << (i % 8);
        assert_int_equal(ngx_smtp_record_decode(head, size, pool, &r, &e, &m,
                                                &fields),
                         NGX_ERROR);
        head[i / 8] ^= 1 << (i % 8);
    }

    /* every length, in memory of just that size */

    for (i = 0; i < size; i++) {
        copy = malloc(i ? i : 1);
        memcpy(copy, head, i);
        assert_int_equal(ngx_smtp_record_decode(copy, i, pool, &r, &e, &m,
                                                &fields),
                         NGX_ERROR);
        free(copy);
    }

    ngx_free(head);
    ngx_destroy_pool(pool);
}


static void
test_hostile(void **state)
{
    u_char               *head, *copy;
    size_t                size, i;
    ngx_int_t             rc;
    ngx_str_t             fields;
    ngx_uint_t            n, good;
    ngx_pool_t           *pool;
    ngx_smtp_meta_t       m;
    ngx_smtp_record_t     r;
    ngx_smtp_envelope_t   e;

    static const u_char  values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };

    pool = ngx_create_pool(4096, &shim_log);
    head = test_head(pool, 3, &size);
    good = 0;

    /* every byte, with a CRC that fits: bounds are ASan's to check */

    for (i = 0; i < size; i++) {

        for (n = 0; n < sizeof(values); n++) {
            copy = malloc(size);
            memcpy(copy, head, size);
            copy[i] = values[n];
            test_crc_head(copy, size);

            rc = ngx_smtp_record_decode(copy, size, pool, &r, &e, &m,
                                        &fields);

            if (rc == NGX_OK) {
                good++;
                assert_int_equal(e.rcpts.nelts, r.nrcpts);
                assert_true(fields.data >= copy
                            && fields.data + fields.len == copy + size);
            }

            free(copy);
        }
    }

    /* text may be anything, lengths may not */

    assert_true(good > 500);
    assert_true(good < size * sizeof(values));

    /* a newer version of the head, a required and an optional extension */

    ngx_smtp_put16(head + 4, 2);
    test_crc_head(head, size);
    assert_int_equal(ngx_smtp_record_check(head, size, &r), NGX_DECLINED);
    ngx_smtp_put16(head + 4, 1);

    n = ngx_smtp_get32(head + 28);
    ngx_smtp_put32(head + 28, n - 10);
    ngx_smtp_put32(head + 40, 10);
    memcpy(head + size - n, "\x01\x00\x00\x00\x02\x00\x00\x00zz", 10);
    test_crc_head(head, size);
    assert_int_equal(ngx_smtp_record_decode(head, size, pool, &r, &e, &m,
                                            &fields),
                     NGX_OK);
    assert_int_equal(fields.len, n - 10);

    head[size - n + 2] = 1;
    test_crc_head(head, size);
    assert_int_equal(ngx_smtp_record_decode(head, size, pool, &r, &e, &m,
                                            &fields),
                     NGX_DECLINED);

    head[size - n + 2] = 0;
    head[size - n + 4] = 3;
    test_crc_head(head, size);
    assert_int_equal(ngx_smtp_record_decode(head, size, pool, &r, &e, &m,
                                            &fields),
                     NGX_ERROR);

    ngx_free(head);
    ngx_destroy_pool(pool);
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_queue_ids),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_smallest),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_hostile),
    };

    return shim_run(tests);
}
