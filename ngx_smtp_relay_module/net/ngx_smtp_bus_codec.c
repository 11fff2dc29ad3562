
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Packets and fields of the worker bus; see the header.  The peer is a process
 * of the same user, but perhaps another version: nothing is taken on trust.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_bus_codec.h"


static u_char *ngx_smtp_bus_put32(u_char *p, uint32_t n);
static uint32_t ngx_smtp_bus_get32(u_char *p);


u_char *
ngx_smtp_bus_packet_put(u_char *p, ngx_smtp_bus_packet_t *packet)
{
    *p++ = 'S';
    *p++ = 'B';
    *p++ = NGX_SMTP_BUS_VERSION;
    *p++ = (u_char) packet->kind;

    p = ngx_smtp_bus_put32(p, packet->id);

    return ngx_smtp_bus_put32(p, packet->rest);
}


ngx_int_t
ngx_smtp_bus_packet_get(u_char *data, size_t len,
    ngx_smtp_bus_packet_t *packet)
{
    size_t  max;

    if (len < NGX_SMTP_BUS_HEADER || data[0] != 'S' || data[1] != 'B') {
        return NGX_ERROR;
    }

    packet->kind = data[3];
    packet->id = ngx_smtp_bus_get32(data + 4);
    packet->rest = ngx_smtp_bus_get32(data + 8);
    packet->piece.data = data + NGX_SMTP_BUS_HEADER;
    packet->piece.len = len - NGX_SMTP_BUS_HEADER;

    if (data[2] != NGX_SMTP_BUS_VERSION) {
        return NGX_DECLINED;
    }

    switch (packet->kind) {

    case NGX_SMTP_BUS_REQUEST:
        max = NGX_SMTP_BUS_REQUEST_MAX;
        break;

    case NGX_SMTP_BUS_ANSWER:
        max = NGX_SMTP_BUS_ANSWER_MAX;
        break;

    default:
        return NGX_ERROR;
    }

    if (packet->piece.len > max || packet->rest > max - packet->piece.len) {
        return NGX_ERROR;
    }

    /* a packet that brings nothing would never come to an end */

    if (packet->rest && packet->piece.len == 0) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


u_char *
ngx_smtp_bus_field_put(u_char *p, ngx_uint_t tag, const void *data, size_t len)
{
    *p++ = (u_char) (tag >> 8);
    *p++ = (u_char) tag;

    p = ngx_smtp_bus_put32(p, (uint32_t) len);

    return len ? ngx_cpymem(p, data, len) : p;
}


u_char *
ngx_smtp_bus_number_put(u_char *p, ngx_uint_t tag, uint64_t n)
{
    u_char  buf[8];

    (void) ngx_smtp_bus_put32(buf, (uint32_t) (n >> 32));
    (void) ngx_smtp_bus_put32(buf + 4, (uint32_t) n);

    return ngx_smtp_bus_field_put(p, tag, buf, sizeof(buf));
}


ngx_int_t
ngx_smtp_bus_field_next(u_char **pos, u_char *last, ngx_uint_t *tag,
    ngx_str_t *value)
{
    size_t   len;
    u_char  *p;

    p = *pos;

    if (p == last) {
        return NGX_DONE;
    }

    if (last - p < NGX_SMTP_BUS_FIELD) {
        return NGX_ERROR;
    }

    len = ngx_smtp_bus_get32(p + 2);

    if (len > (size_t) (last - p) - NGX_SMTP_BUS_FIELD) {
        return NGX_ERROR;
    }

    *tag = (ngx_uint_t) p[0] << 8 | p[1];

    value->data = p + NGX_SMTP_BUS_FIELD;
    value->len = len;

    *pos = value->data + len;

    return NGX_OK;
}


uint64_t
ngx_smtp_bus_number(ngx_str_t *value)
{
    if (value->len != 8) {
        return 0;
    }

    return (uint64_t) ngx_smtp_bus_get32(value->data) << 32
           | ngx_smtp_bus_get32(value->data + 4);
}


static u_char *
ngx_smtp_bus_put32(u_char *p, uint32_t n)
{
    *p++ = (u_char) (n >> 24);
    *p++ = (u_char) (n >> 16);
    *p++ = (u_char) (n >> 8);
    *p++ = (u_char) n;

    return p;
}


static uint32_t
ngx_smtp_bus_get32(u_char *p)
{
    return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16
           | (uint32_t) p[2] << 8 | p[3];
}
