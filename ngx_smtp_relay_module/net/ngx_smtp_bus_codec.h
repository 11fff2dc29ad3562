
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What goes over the worker bus: packets, and the fields of a request or an
 * answer.  No I/O; what is read points into what was handed in.
 *
 *   packet   "SB" version kind id(4) rest(4) then bytes of the payload
 *   field    tag(2) length(4) then the value
 *
 * Integers are big-endian.  A payload is the bytes of all packets of one kind
 * and id, in their order; rest says how many bytes of it are still to come.
 * Who reads passes over fields whose tag it does not know, so that workers of
 * different versions understand each other; what cannot be understood in that
 * way is another version.  docs/architecture.md has the tags.
 */


#ifndef _NGX_SMTP_BUS_CODEC_H_INCLUDED_
#define _NGX_SMTP_BUS_CODEC_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_SMTP_BUS_VERSION        1

#define NGX_SMTP_BUS_HEADER         12
#define NGX_SMTP_BUS_PACKET         32768       /* header included */
#define NGX_SMTP_BUS_PIECE          (NGX_SMTP_BUS_PACKET                      \
                                     - NGX_SMTP_BUS_HEADER)
#define NGX_SMTP_BUS_REQUEST_MAX    16384       /* payload: one packet */
#define NGX_SMTP_BUS_ANSWER_MAX     (4 * 1024 * 1024)

/* kinds */
#define NGX_SMTP_BUS_REQUEST        1
#define NGX_SMTP_BUS_ANSWER         2

#define NGX_SMTP_BUS_FIELD          6           /* header of a field */


typedef struct {
    ngx_uint_t              kind;
    uint32_t                id;
    uint32_t                rest;       /* bytes of the payload to come */
    ngx_str_t               piece;
} ngx_smtp_bus_packet_t;


/* Writes the NGX_SMTP_BUS_HEADER bytes; returns the end. */
u_char *ngx_smtp_bus_packet_put(u_char *p, ngx_smtp_bus_packet_t *packet);

/*
 * NGX_OK; NGX_DECLINED: of another version; NGX_ERROR: no packet of ours, or
 * with sizes beyond the limits of its kind.
 */
ngx_int_t ngx_smtp_bus_packet_get(u_char *data, size_t len,
    ngx_smtp_bus_packet_t *packet);

/* Writes a field; room for NGX_SMTP_BUS_FIELD + len.  Returns the end. */
u_char *ngx_smtp_bus_field_put(u_char *p, ngx_uint_t tag, const void *data,
    size_t len);
u_char *ngx_smtp_bus_number_put(u_char *p, ngx_uint_t tag, uint64_t n);

/* The next field.  NGX_OK; NGX_DONE: at the end; NGX_ERROR: cut off. */
ngx_int_t ngx_smtp_bus_field_next(u_char **pos, u_char *last, ngx_uint_t *tag,
    ngx_str_t *value);

/* A number as number_put() wrote it; 0 for what is none. */
uint64_t ngx_smtp_bus_number(ngx_str_t *value);


#endif /* _NGX_SMTP_BUS_CODEC_H_INCLUDED_ */
