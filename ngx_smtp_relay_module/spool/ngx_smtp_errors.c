
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The table is set-associative: a hash names a set, a set has its texts in the
 * order of their last use.
 */


#include "ngx_smtp_errors.h"
#include "ngx_smtp_crc32c.h"


#define NGX_SMTP_ERRORS_FIXED   20      /* zero, time, two numbers */
#define NGX_SMTP_ERRORS_PAIR    8
#define NGX_SMTP_ERRORS_PLACES  (4 * NGX_SMTP_ERRORS_RECORD)


/* the texts of a record, and where each is, by its hash */
typedef struct {
    ngx_smtp_error_t  *texts[NGX_SMTP_ERRORS_RECORD];
    ngx_uint_t         n;
    uint16_t           places[NGX_SMTP_ERRORS_PLACES];
} ngx_smtp_errors_told_t;


static ngx_smtp_error_t *ngx_smtp_errors_set(ngx_smtp_errors_t *errors,
    uint32_t hash);
static void ngx_smtp_errors_texts(ngx_smtp_errors_t *errors,
    const ngx_smtp_error_of_t *of, ngx_uint_t n, ngx_smtp_errors_told_t *t);
static uint16_t *ngx_smtp_errors_place(ngx_smtp_errors_told_t *t,
    uint32_t hash);


static ngx_smtp_error_t *
ngx_smtp_errors_set(ngx_smtp_errors_t *errors, uint32_t hash)
{
    return &errors->table[hash % (errors->size / NGX_SMTP_ERROR_WAYS)
                          * NGX_SMTP_ERROR_WAYS];
}


uint32_t
ngx_smtp_errors_put(ngx_smtp_errors_t *errors, const ngx_str_t *text)
{
    size_t             len;
    uint32_t           hash;
    ngx_uint_t         i;
    ngx_smtp_error_t   found, *e;

    if (text->len == 0) {
        return 0;
    }

    if (errors->table == NULL) {
        errors->table = calloc(errors->size, sizeof(ngx_smtp_error_t));

        if (errors->table == NULL) {
            return 0;
        }
    }

    len = ngx_min(text->len, NGX_SMTP_ERROR_TEXT);
    hash = ngx_smtp_crc32c(0, text->data, len);
    hash = hash ? hash : 1;

    e = ngx_smtp_errors_set(errors, hash);

    for (i = 0; i < NGX_SMTP_ERROR_WAYS - 1; i++) {
        if (e[i].hash == hash) {
            break;
        }
    }

    if (i == 0) {
        return hash;
    }

    if (e[i].hash == hash) {
        found = e[i];

    } else {
        ngx_memzero(&found, sizeof(ngx_smtp_error_t));

        found.hash = hash;
        found.len = (u_char) len;
        ngx_memcpy(found.text, text->data, len);
    }

    ngx_memmove(&e[1], &e[0], i * sizeof(ngx_smtp_error_t));

    e[0] = found;

    return hash;
}


ngx_smtp_error_t *
ngx_smtp_errors_find(ngx_smtp_errors_t *errors, uint32_t hash)
{
    ngx_uint_t         i;
    ngx_smtp_error_t  *e;

    if (hash == 0 || errors->table == NULL) {
        return NULL;
    }

    e = ngx_smtp_errors_set(errors, hash);

    for (i = 0; i < NGX_SMTP_ERROR_WAYS; i++) {
        if (e[i].hash == hash) {
            return &e[i];
        }
    }

    return NULL;
}


void
ngx_smtp_errors_merge(ngx_smtp_errors_t *errors, ngx_smtp_errors_t *other)
{
    ngx_str_t          text;
    ngx_uint_t         i;
    ngx_smtp_error_t  *e;

    e = other->table;

    for (i = 0; e && i < other->size; i++) {

        text.data = e[i].text;
        text.len = e[i].len;

        (void) ngx_smtp_errors_put(errors, &text);
    }
}


void
ngx_smtp_errors_free(ngx_smtp_errors_t *errors)
{
    free(errors->table);
    errors->table = NULL;
}


ngx_int_t
ngx_smtp_errors_record(ngx_smtp_errors_t *errors,
    const ngx_smtp_error_of_t *of, ngx_uint_t n, time_t now, ngx_str_t *out)
{
    size_t                   size;
    u_char                  *p, *count;
    ngx_uint_t               i, k, told;
    ngx_smtp_errors_told_t   t;

    ngx_str_null(out);

    ngx_smtp_errors_texts(errors, of, n, &t);

    if (t.n == 0) {
        return NGX_OK;
    }

    size = NGX_SMTP_LOG_RECORD + NGX_SMTP_ERRORS_FIXED
           + n * NGX_SMTP_ERRORS_PAIR;

    for (i = 0; i < t.n; i++) {
        size += 2 + t.texts[i]->len;
    }

    out->data = malloc(size);

    if (out->data == NULL) {
        return NGX_ERROR;
    }

    p = out->data + NGX_SMTP_LOG_RECORD;

    p = ngx_smtp_put32(p, 0);
    p = ngx_smtp_put64(p, (uint64_t) now);
    p = ngx_smtp_put32(p, (uint32_t) t.n);

    for (i = 0; i < t.n; i++) {
        p = ngx_smtp_put16(p, t.texts[i]->len);
        p = ngx_cpymem(p, t.texts[i]->text, t.texts[i]->len);
    }

    count = p;
    p += 4;

    for (i = 0, told = 0; i < n; i++) {

        k = *ngx_smtp_errors_place(&t, of[i].hash);

        if (k) {
            p = ngx_smtp_put32(p, of[i].number);
            p = ngx_smtp_put32(p, (uint32_t) k - 1);
            told++;
        }
    }

    ngx_smtp_put32(count, (uint32_t) told);

    out->len = p - out->data;

    ngx_smtp_event_header_put(out->data, NGX_SMTP_LOG_ERRORS,
                              out->len - NGX_SMTP_LOG_RECORD);

    return NGX_OK;
}


/* The different texts of these messages, as far as they are known. */

static void
ngx_smtp_errors_texts(ngx_smtp_errors_t *errors,
    const ngx_smtp_error_of_t *of, ngx_uint_t n, ngx_smtp_errors_told_t *t)
{
    uint16_t          *place;
    ngx_uint_t         i;
    ngx_smtp_error_t  *e;

    ngx_memzero(t, sizeof(ngx_smtp_errors_told_t));

    for (i = 0; i < n && t->n < NGX_SMTP_ERRORS_RECORD; i++) {

        place = ngx_smtp_errors_place(t, of[i].hash);

        if (*place) {
            continue;
        }

        e = ngx_smtp_errors_find(errors, of[i].hash);

        if (e) {
            t->texts[t->n++] = e;
            *place = t->n;
        }
    }
}


/* Where the text of this hash is, or would be: its number from 1, or 0. */

static uint16_t *
ngx_smtp_errors_place(ngx_smtp_errors_told_t *t, uint32_t hash)
{
    ngx_uint_t  i;

    /* a quarter is in use at most, so it ends */

    for (i = hash % NGX_SMTP_ERRORS_PLACES;
         t->places[i] && t->texts[t->places[i] - 1]->hash != hash;
         i = (i + 1) % NGX_SMTP_ERRORS_PLACES)
    {
        /* void */
    }

    return &t->places[i];
}


ngx_int_t
ngx_smtp_errors_read(ngx_smtp_errors_t *errors,
    const ngx_smtp_log_record_t *r,
    void (*handler)(void *data, uint32_t number, uint32_t hash), void *data)
{
    u_char      *p, *last;
    uint32_t     i, n, k, hashes[NGX_SMTP_ERRORS_RECORD];
    ngx_str_t    text;

    if (r->length < NGX_SMTP_ERRORS_FIXED) {
        return NGX_ERROR;
    }

    p = r->payload + 12;
    last = r->payload + r->length;

    n = ngx_smtp_get32(p);
    p += 4;

    if (n > NGX_SMTP_ERRORS_RECORD) {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {

        if (last - p < 2) {
            return NGX_ERROR;
        }

        text.len = ngx_smtp_get16(p);
        text.data = p + 2;

        if ((size_t) (last - text.data) < text.len) {
            return NGX_ERROR;
        }

        hashes[i] = ngx_smtp_errors_put(errors, &text);
        p = text.data + text.len;
    }

    if (last - p < 4) {
        return NGX_ERROR;
    }

    k = ngx_smtp_get32(p);
    p += 4;

    if ((size_t) (last - p) != (size_t) k * NGX_SMTP_ERRORS_PAIR) {
        return NGX_ERROR;
    }

    for ( /* void */ ; p < last; p += NGX_SMTP_ERRORS_PAIR) {

        i = ngx_smtp_get32(p + 4);

        if (i >= n) {
            return NGX_ERROR;
        }

        handler(data, ngx_smtp_get32(p), hashes[i]);
    }

    return NGX_OK;
}
