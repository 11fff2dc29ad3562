
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Heads of messages, batch headers and file headers to bytes and back; layouts
 * are sections 2 and 3 of docs/spool-format.md.  Pure: no I/O, no clock.
 *
 * What is read may be anything: a length is compared with what is left before
 * it is used, and nothing is taken for good because its CRC is (a newer or a
 * broken writer makes good CRCs, too).
 */


#include "ngx_smtp_record.h"
#include "ngx_smtp_crc32c.h"


#define NGX_SMTP_RECORD_MAGIC       0x4753454d      /* "MESG" */
#define NGX_SMTP_RECORD_VERSION     1
#define NGX_SMTP_RECORD_LARGE       1

#define NGX_SMTP_ENVELOPE_FIXED     12
#define NGX_SMTP_RCPT_FIXED         10      /* with its three lengths */
#define NGX_SMTP_EXTENSION_FIXED    8

#define NGX_SMTP_ENVELOPE_UTF8      1
#define NGX_SMTP_ENVELOPE_TLS       2


typedef struct {
    u_char             *pos;
    u_char             *last;
} ngx_smtp_cursor_t;


static ngx_int_t ngx_smtp_record_sizes(ngx_smtp_envelope_t *e,
    ngx_smtp_meta_t *m, ngx_str_t *fields, ngx_smtp_record_t *r);
static u_char *ngx_smtp_record_put_string(u_char *p, ngx_str_t *s);
static u_char *ngx_smtp_record_put_bytes(u_char *p, ngx_str_t *s);
static u_char *ngx_smtp_record_put_meta(u_char *p, ngx_smtp_meta_t *m);
static u_char *ngx_smtp_record_put_envelope(u_char *p,
    ngx_smtp_envelope_t *e);
static ngx_int_t ngx_smtp_record_get_string(ngx_smtp_cursor_t *c,
    ngx_str_t *s);
static ngx_int_t ngx_smtp_record_get_meta(ngx_smtp_cursor_t *c,
    ngx_pool_t *pool, ngx_smtp_meta_t *m);
static ngx_int_t ngx_smtp_record_get_envelope(ngx_smtp_cursor_t *c,
    ngx_pool_t *pool, ngx_uint_t nrcpts, ngx_smtp_envelope_t *e);
static ngx_int_t ngx_smtp_record_get_rcpt(ngx_smtp_cursor_t *c,
    ngx_smtp_rcpt_t *rcpt);
static ngx_int_t ngx_smtp_record_get_extensions(ngx_smtp_cursor_t *c);
static uint32_t ngx_smtp_record_crc(const u_char *head, size_t size);


static const u_char  ngx_smtp_id_alphabet[] =
    "0123456789abcdefghjkmnpqrstvwxyz";

static const u_char  ngx_smtp_file_magic[][8] = {
    { 0x89, 'S', 'M', 'T', 'P', 'D', 0x0d, 0x0a },
    { 0x89, 'S', 'M', 'T', 'P', 'L', 0x0d, 0x0a }
};

static const u_char  ngx_smtp_batch_magic[8] =
    { 0x8a, 'B', 'A', 'T', 'C', 'H', 0x0d, 0x0a };


/* ids */

void
ngx_smtp_segment_id_make(ngx_smtp_segment_id_t *id, uint64_t msec,
    const u_char *random)
{
    ngx_uint_t  i;

    for (i = 0; i < 6; i++) {
        id->bytes[i] = (u_char) (msec >> (40 - 8 * i));
        id->bytes[6 + i] = random[i];
    }
}


u_char *
ngx_smtp_segment_id_text(const ngx_smtp_segment_id_t *id, u_char *buf)
{
    uint32_t    acc;
    ngx_uint_t  i, n, bits;

    /* 100 bits of text for 96: the first character starts with 4 zeros */

    n = 0;
    acc = 0;
    bits = 4;

    for (i = 0; i < NGX_SMTP_ID_SIZE; i++) {
        acc = acc << 8 | id->bytes[i];
        bits += 8;

        while (bits >= 5) {
            bits -= 5;
            buf[n++] = ngx_smtp_id_alphabet[(acc >> bits) & 31];
        }

        acc &= (1 << bits) - 1;
    }

    return buf + n;
}


ngx_int_t
ngx_smtp_segment_id_parse(ngx_smtp_segment_id_t *id, const u_char *text,
    size_t len)
{
    u_char      *p;
    uint32_t     acc;
    ngx_uint_t   i, n, bits;

    if (len != NGX_SMTP_ID_TEXT || (text[0] != '0' && text[0] != '1')) {
        return NGX_ERROR;
    }

    n = 0;
    acc = text[0] - '0';
    bits = 1;

    for (i = 1; i < NGX_SMTP_ID_TEXT; i++) {

        p = memchr(ngx_smtp_id_alphabet, text[i], 32);

        if (p == NULL) {
            return NGX_ERROR;
        }

        acc = acc << 5 | (uint32_t) (p - ngx_smtp_id_alphabet);
        bits += 5;

        if (bits >= 8) {
            bits -= 8;
            id->bytes[n++] = (u_char) (acc >> bits);
            acc &= (1 << bits) - 1;
        }
    }

    return NGX_OK;
}


u_char *
ngx_smtp_queue_id_text(const ngx_smtp_segment_id_t *id, uint32_t number,
    u_char *buf)
{
    buf = ngx_smtp_segment_id_text(id, buf);

    return ngx_sprintf(buf, "-%uD", number);
}


ngx_int_t
ngx_smtp_queue_id_parse(ngx_smtp_segment_id_t *id, uint32_t *number,
    const u_char *text, size_t len)
{
    uint64_t    n;
    ngx_uint_t  i;

    /* a number has no leading zero, so that an id has one spelling */

    if (len < NGX_SMTP_ID_TEXT + 2
        || len > NGX_SMTP_ID_TEXT + 1 + 10
        || text[NGX_SMTP_ID_TEXT] != '-'
        || (text[NGX_SMTP_ID_TEXT + 1] == '0' && len != NGX_SMTP_ID_TEXT + 2))
    {
        return NGX_ERROR;
    }

    n = 0;

    for (i = NGX_SMTP_ID_TEXT + 1; i < len; i++) {

        if (text[i] < '0' || text[i] > '9') {
            return NGX_ERROR;
        }

        n = n * 10 + (text[i] - '0');
    }

    if (n > 0xffffffff) {
        return NGX_ERROR;
    }

    *number = (uint32_t) n;

    return ngx_smtp_segment_id_parse(id, text, NGX_SMTP_ID_TEXT);
}


/* file and batch headers */

void
ngx_smtp_file_header_put(u_char *p, ngx_uint_t kind,
    const ngx_smtp_file_header_t *h)
{
    ngx_memzero(p, NGX_SMTP_FILE_HEADER);

    ngx_memcpy(p, ngx_smtp_file_magic[kind - 1], 8);
    ngx_smtp_put16(p + 8, NGX_SMTP_FORMAT_VERSION);
    ngx_smtp_put16(p + 10, NGX_SMTP_FILE_HEADER);
    ngx_smtp_put32(p + 12, h->generation);
    ngx_memcpy(p + 16, h->id.bytes, NGX_SMTP_ID_SIZE);
    ngx_memcpy(p + 28, h->key, NGX_SMTP_KEY_SIZE);
    ngx_smtp_put64(p + 44, (uint64_t) h->created);
    ngx_smtp_put32(p + 60, ngx_smtp_crc32c(0, p, 60));
}


ngx_int_t
ngx_smtp_file_header_get(const u_char *p, size_t len, ngx_uint_t kind,
    ngx_smtp_file_header_t *h)
{
    if (len < NGX_SMTP_FILE_HEADER
        || ngx_memcmp(p, ngx_smtp_file_magic[kind - 1], 8) != 0)
    {
        return NGX_ERROR;
    }

    h->version = ngx_smtp_get16(p + 8);

    if (h->version > NGX_SMTP_FORMAT_VERSION) {
        return NGX_DECLINED;
    }

    if (ngx_smtp_get32(p + 60) != ngx_smtp_crc32c(0, p, 60)
        || h->version == 0
        || ngx_smtp_get16(p + 10) != NGX_SMTP_FILE_HEADER)
    {
        return NGX_ERROR;
    }

    h->generation = ngx_smtp_get32(p + 12);
    ngx_memcpy(h->id.bytes, p + 16, NGX_SMTP_ID_SIZE);
    ngx_memcpy(h->key, p + 28, NGX_SMTP_KEY_SIZE);
    h->created = (time_t) ngx_smtp_get64(p + 44);

    return NGX_OK;
}


uint32_t
ngx_smtp_log_seed(const ngx_smtp_file_header_t *h)
{
    u_char  buf[NGX_SMTP_FILE_HEADER];

    ngx_smtp_file_header_put(buf, NGX_SMTP_FILE_LOG, h);

    return ngx_smtp_get32(buf + 60);
}


void
ngx_smtp_batch_put(u_char *p, const ngx_smtp_file_header_t *h,
    const ngx_smtp_batch_t *b)
{
    ngx_memcpy(p, ngx_smtp_batch_magic, 8);
    ngx_memcpy(p + 8, h->key, NGX_SMTP_KEY_SIZE);
    ngx_memcpy(p + 24, h->id.bytes, NGX_SMTP_ID_SIZE);
    ngx_smtp_put32(p + 36, h->generation);
    ngx_smtp_put32(p + 40, b->sequence);
    ngx_smtp_put32(p + 44, b->messages);
    ngx_smtp_put64(p + 48, b->length);
    ngx_smtp_put32(p + 56, 0);
    ngx_smtp_put32(p + 60, ngx_smtp_crc32c(0, p, 60));
}


ngx_int_t
ngx_smtp_batch_get(const u_char *p, size_t len,
    const ngx_smtp_file_header_t *h, ngx_smtp_batch_t *b)
{
    if (len < NGX_SMTP_BATCH_HEADER
        || ngx_memcmp(p, ngx_smtp_batch_magic, 8) != 0
        || ngx_memcmp(p + 8, h->key, NGX_SMTP_KEY_SIZE) != 0
        || ngx_memcmp(p + 24, h->id.bytes, NGX_SMTP_ID_SIZE) != 0
        || ngx_smtp_get32(p + 36) != h->generation
        || ngx_smtp_get32(p + 60) != ngx_smtp_crc32c(0, p, 60))
    {
        return NGX_ERROR;
    }

    b->sequence = ngx_smtp_get32(p + 40);
    b->messages = ngx_smtp_get32(p + 44);
    b->length = ngx_smtp_get64(p + 48);

    return NGX_OK;
}


u_char *
ngx_smtp_batch_search(u_char *p, u_char *last,
    const ngx_smtp_file_header_t *h)
{
    while (last - p >= NGX_SMTP_BATCH_MARK) {

        p = memchr(p, ngx_smtp_batch_magic[0],
                   last - p - NGX_SMTP_BATCH_MARK + 1);

        if (p == NULL) {
            return NULL;
        }

        if (ngx_memcmp(p, ngx_smtp_batch_magic, 8) == 0
            && ngx_memcmp(p + 8, h->key, NGX_SMTP_KEY_SIZE) == 0)
        {
            return p;
        }

        p++;
    }

    return NULL;
}


/* heads: encoding */

u_char *
ngx_smtp_record_encode(ngx_smtp_envelope_t *e, ngx_smtp_meta_t *m,
    ngx_str_t *fields, off_t content_size, ngx_uint_t large, size_t *size,
    ngx_log_t *log)
{
    u_char             *p, *head;
    ngx_smtp_record_t   r;

    if (content_size < 0
        || ngx_smtp_record_sizes(e, m, fields, &r) != NGX_OK)
    {
        return NULL;
    }

    head = ngx_alloc(r.head_size, log);
    if (head == NULL) {
        return NULL;
    }

    ngx_smtp_put32(head, NGX_SMTP_RECORD_MAGIC);
    ngx_smtp_put16(head + 4, NGX_SMTP_RECORD_VERSION);
    ngx_smtp_put16(head + 6, large ? NGX_SMTP_RECORD_LARGE : 0);
    ngx_smtp_put32(head + 8, r.head_size);
    ngx_smtp_put32(head + 12, 0);
    ngx_smtp_put64(head + 16, (uint64_t) content_size);
    ngx_smtp_put32(head + 24, 0);
    ngx_smtp_put32(head + 28, r.fields);
    ngx_smtp_put32(head + 32, r.meta);
    ngx_smtp_put32(head + 36, r.envelope);
    ngx_smtp_put32(head + 40, 0);
    ngx_smtp_put32(head + 44, r.nrcpts);
    ngx_smtp_put64(head + 48, (uint64_t) m->received);
    ngx_smtp_put32(head + 56, 0);
    ngx_smtp_put32(head + 60, 0);

    p = ngx_smtp_record_put_meta(head + NGX_SMTP_RECORD_HEADER, m);
    p = ngx_smtp_record_put_envelope(p, e);
    ngx_smtp_record_put_bytes(p, fields);

    *size = r.head_size;

    return head;
}


void
ngx_smtp_record_seal(u_char *head, uint32_t number, off_t content_size,
    uint32_t body_crc)
{
    ngx_smtp_put32(head + 12, number);
    ngx_smtp_put64(head + 16, (uint64_t) content_size);
    ngx_smtp_put32(head + 24, body_crc);
    ngx_smtp_put32(head + 60,
                   ngx_smtp_record_crc(head, ngx_smtp_get32(head + 8)));
}


static ngx_int_t
ngx_smtp_record_sizes(ngx_smtp_envelope_t *e, ngx_smtp_meta_t *m,
    ngx_str_t *fields, ngx_smtp_record_t *r)
{
    uint64_t          meta, envelope, total;
    ngx_uint_t        i, longest;
    ngx_keyval_t     *kv;
    ngx_smtp_rcpt_t  *rcpt;

    if (e->rcpts.nelts == 0 || m->vars.nelts > 65535) {
        return NGX_ERROR;
    }

    longest = ngx_max(m->queue.len, m->server.len);
    longest = ngx_max(longest, m->client.len);
    longest = ngx_max(longest, m->helo.len);
    longest = ngx_max(longest, m->login.len);
    longest = ngx_max(longest, e->sender.len);
    longest = ngx_max(longest, e->sender_domain.len);
    longest = ngx_max(longest, e->envid.len);

    meta = 5 * 2 + m->queue.len + m->server.len + m->client.len + m->helo.len
           + m->login.len + 2;

    kv = m->vars.elts;
    for (i = 0; i < m->vars.nelts; i++) {
        longest = ngx_max(longest, kv[i].key.len);
        meta += 2 + kv[i].key.len + 4 + (uint64_t) kv[i].value.len;
    }

    envelope = NGX_SMTP_ENVELOPE_FIXED + 3 * 2 + e->sender.len
               + e->sender_domain.len + e->envid.len;

    rcpt = e->rcpts.elts;
    for (i = 0; i < e->rcpts.nelts; i++) {
        longest = ngx_max(longest, rcpt[i].mailbox.len);
        longest = ngx_max(longest, rcpt[i].domain.len);
        longest = ngx_max(longest, rcpt[i].orcpt.len);
        envelope += NGX_SMTP_RCPT_FIXED + (uint64_t) rcpt[i].mailbox.len
                    + rcpt[i].domain.len + rcpt[i].orcpt.len;
    }

    total = NGX_SMTP_RECORD_HEADER + meta + envelope + fields->len;

    if (longest > 65535 || total > NGX_SMTP_RECORD_MAX_HEAD) {
        return NGX_ERROR;
    }

    r->head_size = (uint32_t) total;
    r->fields = (uint32_t) fields->len;
    r->meta = (uint32_t) meta;
    r->envelope = (uint32_t) envelope;
    r->nrcpts = (uint32_t) e->rcpts.nelts;

    return NGX_OK;
}


static u_char *
ngx_smtp_record_put_string(u_char *p, ngx_str_t *s)
{
    p = ngx_smtp_put16(p, (uint32_t) s->len);

    return ngx_smtp_record_put_bytes(p, s);
}


static u_char *
ngx_smtp_record_put_bytes(u_char *p, ngx_str_t *s)
{
    /* an empty string may have no data at all */

    if (s->len == 0) {
        return p;
    }

    return ngx_cpymem(p, s->data, s->len);
}


static u_char *
ngx_smtp_record_put_meta(u_char *p, ngx_smtp_meta_t *m)
{
    ngx_uint_t     i;
    ngx_keyval_t  *kv;

    p = ngx_smtp_record_put_string(p, &m->queue);
    p = ngx_smtp_record_put_string(p, &m->server);
    p = ngx_smtp_record_put_string(p, &m->client);
    p = ngx_smtp_record_put_string(p, &m->helo);
    p = ngx_smtp_record_put_string(p, &m->login);
    p = ngx_smtp_put16(p, (uint32_t) m->vars.nelts);

    kv = m->vars.elts;

    for (i = 0; i < m->vars.nelts; i++) {
        p = ngx_smtp_record_put_string(p, &kv[i].key);
        p = ngx_smtp_put32(p, (uint32_t) kv[i].value.len);
        p = ngx_smtp_record_put_bytes(p, &kv[i].value);
    }

    return p;
}


static u_char *
ngx_smtp_record_put_envelope(u_char *p, ngx_smtp_envelope_t *e)
{
    ngx_uint_t        i;
    ngx_smtp_rcpt_t  *rcpt;

    *p++ = e->body;
    *p++ = e->ret;
    *p++ = (e->smtputf8 ? NGX_SMTP_ENVELOPE_UTF8 : 0)
           | (e->requiretls ? NGX_SMTP_ENVELOPE_TLS : 0);
    *p++ = 0;

    p = ngx_smtp_put64(p, (uint64_t) e->size);
    p = ngx_smtp_record_put_string(p, &e->sender);
    p = ngx_smtp_record_put_string(p, &e->sender_domain);
    p = ngx_smtp_record_put_string(p, &e->envid);

    rcpt = e->rcpts.elts;

    for (i = 0; i < e->rcpts.nelts; i++) {
        *p++ = (u_char) rcpt[i].notify;
        *p++ = 0;
        p = ngx_smtp_put16(p, 0);
        p = ngx_smtp_record_put_string(p, &rcpt[i].mailbox);
        p = ngx_smtp_record_put_string(p, &rcpt[i].domain);
        p = ngx_smtp_record_put_string(p, &rcpt[i].orcpt);
    }

    return p;
}


/* heads: decoding */

ngx_int_t
ngx_smtp_record_header(const u_char *p, size_t len, ngx_smtp_record_t *r)
{
    uint64_t  total, content;

    if (len < NGX_SMTP_RECORD_HEADER
        || ngx_smtp_get32(p) != NGX_SMTP_RECORD_MAGIC)
    {
        return NGX_ERROR;
    }

    content = ngx_smtp_get64(p + 16);

    r->head_size = ngx_smtp_get32(p + 8);
    r->number = ngx_smtp_get32(p + 12);
    r->content = (off_t) content;
    r->body_crc = ngx_smtp_get32(p + 24);
    r->fields = ngx_smtp_get32(p + 28);
    r->meta = ngx_smtp_get32(p + 32);
    r->envelope = ngx_smtp_get32(p + 36);
    r->extensions = ngx_smtp_get32(p + 40);
    r->nrcpts = ngx_smtp_get32(p + 44);
    r->received = (time_t) ngx_smtp_get64(p + 48);
    r->large = (ngx_smtp_get16(p + 6) & NGX_SMTP_RECORD_LARGE) ? 1 : 0;

    total = NGX_SMTP_RECORD_HEADER + (uint64_t) r->fields + r->meta
            + r->envelope + r->extensions;

    if (r->head_size > NGX_SMTP_RECORD_MAX_HEAD
        || content > (uint64_t) NGX_MAX_OFF_T_VALUE / 2
        || total != r->head_size
        || r->nrcpts == 0
        || r->nrcpts > r->envelope / NGX_SMTP_RCPT_FIXED)
    {
        return NGX_ERROR;
    }

    if (ngx_smtp_get16(p + 4) > NGX_SMTP_RECORD_VERSION) {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


ngx_int_t
ngx_smtp_record_check(const u_char *head, size_t len, ngx_smtp_record_t *r)
{
    ngx_int_t  rc;

    rc = ngx_smtp_record_header(head, len, r);

    if (rc == NGX_ERROR || r->head_size != len
        || ngx_smtp_get32(head + 60) != ngx_smtp_record_crc(head, len))
    {
        return NGX_ERROR;
    }

    return rc;
}


ngx_int_t
ngx_smtp_record_queue(u_char *head, ngx_smtp_record_t *r, ngx_str_t *queue)
{
    ngx_smtp_cursor_t  c;

    c.pos = head + NGX_SMTP_RECORD_HEADER;
    c.last = c.pos + r->meta;

    return ngx_smtp_record_get_string(&c, queue);
}


ngx_int_t
ngx_smtp_record_decode(u_char *head, size_t len, ngx_pool_t *pool,
    ngx_smtp_record_t *r, ngx_smtp_envelope_t *e, ngx_smtp_meta_t *m,
    ngx_str_t *fields)
{
    ngx_int_t          rc;
    ngx_smtp_cursor_t  c;

    rc = ngx_smtp_record_check(head, len, r);

    if (rc != NGX_OK) {
        return rc;
    }

    c.pos = head + NGX_SMTP_RECORD_HEADER;
    c.last = c.pos + r->meta;

    if (ngx_smtp_record_get_meta(&c, pool, m) != NGX_OK) {
        return NGX_ERROR;
    }

    m->received = r->received;

    c.last = c.pos + r->envelope;

    if (ngx_smtp_record_get_envelope(&c, pool, r->nrcpts, e) != NGX_OK) {
        return NGX_ERROR;
    }

    c.last = c.pos + r->extensions;

    rc = ngx_smtp_record_get_extensions(&c);

    if (rc != NGX_OK) {
        return rc;
    }

    fields->data = c.pos;
    fields->len = r->fields;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_record_get_string(ngx_smtp_cursor_t *c, ngx_str_t *s)
{
    size_t  len;

    if (c->last - c->pos < 2) {
        return NGX_ERROR;
    }

    len = ngx_smtp_get16(c->pos);

    if ((size_t) (c->last - c->pos) - 2 < len) {
        return NGX_ERROR;
    }

    s->data = c->pos + 2;
    s->len = len;

    c->pos += 2 + len;

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_record_get_meta(ngx_smtp_cursor_t *c, ngx_pool_t *pool,
    ngx_smtp_meta_t *m)
{
    size_t         len;
    ngx_uint_t     i, n;
    ngx_keyval_t  *kv;

    if (ngx_smtp_record_get_string(c, &m->queue) != NGX_OK
        || ngx_smtp_record_get_string(c, &m->server) != NGX_OK
        || ngx_smtp_record_get_string(c, &m->client) != NGX_OK
        || ngx_smtp_record_get_string(c, &m->helo) != NGX_OK
        || ngx_smtp_record_get_string(c, &m->login) != NGX_OK
        || c->last - c->pos < 2)
    {
        return NGX_ERROR;
    }

    n = ngx_smtp_get16(c->pos);
    c->pos += 2;

    if (n > (size_t) (c->last - c->pos) / 6) {
        return NGX_ERROR;
    }

    if (ngx_array_init(&m->vars, pool, n ? n : 1, sizeof(ngx_keyval_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {

        kv = ngx_array_push(&m->vars);

        if (kv == NULL
            || ngx_smtp_record_get_string(c, &kv->key) != NGX_OK
            || c->last - c->pos < 4)
        {
            return NGX_ERROR;
        }

        len = ngx_smtp_get32(c->pos);
        c->pos += 4;

        if ((size_t) (c->last - c->pos) < len) {
            return NGX_ERROR;
        }

        kv->value.data = c->pos;
        kv->value.len = len;
        c->pos += len;
    }

    return c->pos == c->last ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_smtp_record_get_envelope(ngx_smtp_cursor_t *c, ngx_pool_t *pool,
    ngx_uint_t nrcpts, ngx_smtp_envelope_t *e)
{
    u_char           *p;
    ngx_uint_t        i;
    ngx_smtp_rcpt_t  *rcpt;

    p = c->pos;

    if (c->last - p < NGX_SMTP_ENVELOPE_FIXED
        || p[0] > NGX_SMTP_BODY_8BITMIME
        || p[1] > NGX_SMTP_RET_HDRS
        || (ngx_smtp_get64(p + 4) >> 63) != 0)
    {
        return NGX_ERROR;
    }

    e->body = p[0];
    e->ret = p[1];
    e->smtputf8 = (p[2] & NGX_SMTP_ENVELOPE_UTF8) ? 1 : 0;
    e->requiretls = (p[2] & NGX_SMTP_ENVELOPE_TLS) ? 1 : 0;
    e->size = (off_t) ngx_smtp_get64(p + 4);

    c->pos += NGX_SMTP_ENVELOPE_FIXED;

    if (ngx_smtp_record_get_string(c, &e->sender) != NGX_OK
        || ngx_smtp_record_get_string(c, &e->sender_domain) != NGX_OK
        || ngx_smtp_record_get_string(c, &e->envid) != NGX_OK
        || nrcpts > (size_t) (c->last - c->pos) / NGX_SMTP_RCPT_FIXED)
    {
        return NGX_ERROR;
    }

    if (ngx_array_init(&e->rcpts, pool, nrcpts, sizeof(ngx_smtp_rcpt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < nrcpts; i++) {

        rcpt = ngx_array_push(&e->rcpts);

        if (rcpt == NULL || ngx_smtp_record_get_rcpt(c, rcpt) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return c->pos == c->last ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_smtp_record_get_rcpt(ngx_smtp_cursor_t *c, ngx_smtp_rcpt_t *rcpt)
{
    if (c->last - c->pos < NGX_SMTP_RCPT_FIXED
        || c->pos[0] > (NGX_SMTP_NOTIFY_NEVER|NGX_SMTP_NOTIFY_SUCCESS
                        |NGX_SMTP_NOTIFY_FAILURE|NGX_SMTP_NOTIFY_DELAY))
    {
        return NGX_ERROR;
    }

    rcpt->notify = c->pos[0];
    c->pos += 4;

    if (ngx_smtp_record_get_string(c, &rcpt->mailbox) != NGX_OK
        || ngx_smtp_record_get_string(c, &rcpt->domain) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_smtp_record_get_string(c, &rcpt->orcpt);
}


static ngx_int_t
ngx_smtp_record_get_extensions(ngx_smtp_cursor_t *c)
{
    u_char  *p;
    size_t   len;

    while (c->pos < c->last) {

        p = c->pos;

        if (c->last - p < NGX_SMTP_EXTENSION_FIXED) {
            return NGX_ERROR;
        }

        len = ngx_smtp_get32(p + 4);

        if ((size_t) (c->last - p) - NGX_SMTP_EXTENSION_FIXED < len) {
            return NGX_ERROR;
        }

        /* none is known yet */

        if (p[2] != 0) {
            return NGX_DECLINED;
        }

        c->pos += NGX_SMTP_EXTENSION_FIXED + len;
    }

    return NGX_OK;
}


static uint32_t
ngx_smtp_record_crc(const u_char *head, size_t size)
{
    uint32_t  crc;

    crc = ngx_smtp_crc32c(0, head, 60);

    return ngx_smtp_crc32c(crc, head + NGX_SMTP_RECORD_HEADER,
                           size - NGX_SMTP_RECORD_HEADER);
}
