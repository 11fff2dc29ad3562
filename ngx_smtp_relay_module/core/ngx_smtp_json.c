
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * JSON into a growing buffer; see the header.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_address.h"
#include "ngx_smtp_json.h"


#define NGX_SMTP_JSON_SIZE  4096


void
ngx_smtp_json_init(ngx_smtp_json_t *j, ngx_log_t *log)
{
    ngx_memzero(j, sizeof(ngx_smtp_json_t));

    j->log = log;
}


void
ngx_smtp_json_free(ngx_smtp_json_t *j)
{
    if (j->start) {
        ngx_free(j->start);
    }

    ngx_smtp_json_init(j, j->log);
}


ngx_int_t
ngx_smtp_json_room(ngx_smtp_json_t *j, size_t n)
{
    size_t   used, room;
    u_char  *p;

    if (j->failed) {
        return NGX_ERROR;
    }

    if ((size_t) (j->end - j->pos) >= n) {
        return NGX_OK;
    }

    used = j->pos - j->start;
    room = ngx_max(NGX_SMTP_JSON_SIZE, (used + n) * 2);

    p = ngx_alloc(room, j->log);
    if (p == NULL) {
        j->failed = 1;
        return NGX_ERROR;
    }

    if (used) {
        ngx_memcpy(p, j->start, used);
    }

    if (j->start) {
        ngx_free(j->start);
    }

    j->start = p;
    j->pos = p + used;
    j->end = p + room;

    return NGX_OK;
}


void
ngx_smtp_json_raw(ngx_smtp_json_t *j, const char *text)
{
    ngx_smtp_json_bytes(j, text, ngx_strlen(text));
}


void
ngx_smtp_json_bytes(ngx_smtp_json_t *j, const void *data, size_t len)
{
    if (len && ngx_smtp_json_room(j, len) == NGX_OK) {
        j->pos = ngx_cpymem(j->pos, data, len);
    }
}


void
ngx_smtp_json_string(ngx_smtp_json_t *j, ngx_str_t *s)
{
    u_char      *p, *last, *src, c;
    ngx_uint_t   n;

    if (ngx_smtp_json_room(j, s->len * 6 + 2) != NGX_OK) {
        return;
    }

    p = j->pos;
    src = s->data;
    last = src + s->len;

    *p++ = '"';

    while (src < last) {
        c = *src;

        n = (c > 0x7f) ? ngx_smtp_utf8_sequence(src, last) : 0;

        if (n) {
            p = ngx_cpymem(p, src, n);
            src += n;
            continue;
        }

        src++;

        if (c == '"' || c == '\\') {
            *p++ = '\\';
            *p++ = c;

        } else if (c < 0x20 || c >= 0x7f) {
            p = ngx_sprintf(p, "\\u00%02xi", (ngx_int_t) c);

        } else {
            *p++ = c;
        }
    }

    *p++ = '"';

    j->pos = p;
}


void
ngx_smtp_json_number(ngx_smtp_json_t *j, int64_t n)
{
    if (ngx_smtp_json_room(j, NGX_INT64_LEN) == NGX_OK) {
        j->pos = ngx_sprintf(j->pos, "%L", n);
    }
}


void
ngx_smtp_json_key(ngx_smtp_json_t *j, const char *name)
{
    if (j->pos > j->start && j->pos[-1] != '{' && j->pos[-1] != '[') {
        ngx_smtp_json_raw(j, ",");
    }

    ngx_smtp_json_raw(j, "\"");
    ngx_smtp_json_raw(j, name);
    ngx_smtp_json_raw(j, "\":");
}


void
ngx_smtp_json_member(ngx_smtp_json_t *j, const char *name, ngx_str_t *s)
{
    ngx_smtp_json_key(j, name);
    ngx_smtp_json_string(j, s);
}


void
ngx_smtp_json_text(ngx_smtp_json_t *j, const char *name, const char *text)
{
    ngx_smtp_json_key(j, name);
    ngx_smtp_json_raw(j, "\"");
    ngx_smtp_json_raw(j, text);
    ngx_smtp_json_raw(j, "\"");
}


void
ngx_smtp_json_count(ngx_smtp_json_t *j, const char *name, int64_t n)
{
    ngx_smtp_json_key(j, name);
    ngx_smtp_json_number(j, n);
}


void
ngx_smtp_json_flag(ngx_smtp_json_t *j, const char *name, ngx_uint_t on)
{
    ngx_smtp_json_key(j, name);
    ngx_smtp_json_raw(j, on ? "true" : "false");
}
