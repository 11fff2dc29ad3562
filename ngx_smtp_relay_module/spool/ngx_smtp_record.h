
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The bytes of the data file (docs/spool-format.md): file headers, batch
 * headers, heads of messages, segment ids and queue ids as text.  Pure
 * functions over memory; all integers little-endian, CRC32C on everything.
 *
 * A head is one malloc'ed block made by ngx_smtp_record_encode(); the caller
 * frees it.  Decoded strings point into the block they were decoded from.
 */


#ifndef _NGX_SMTP_RECORD_H_INCLUDED_
#define _NGX_SMTP_RECORD_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_envelope.h"
#include "ngx_smtp_store.h"


#define NGX_SMTP_FORMAT_VERSION      1

#define NGX_SMTP_ID_SIZE             12     /* of a segment id, bytes */
#define NGX_SMTP_ID_TEXT             20     /* of a segment id, characters */
#define NGX_SMTP_KEY_SIZE            16

/* random bytes that make a segment: 6 for its id, then its key */
#define NGX_SMTP_SEGMENT_RANDOM      (6 + NGX_SMTP_KEY_SIZE)

#define NGX_SMTP_FILE_HEADER         64     /* of data file and log */
#define NGX_SMTP_BATCH_HEADER        64
#define NGX_SMTP_RECORD_HEADER       64     /* fixed part of a head */

#define NGX_SMTP_RECORD_MAX_HEAD     (16 * 1024 * 1024)

/* kinds of files with a file header */
#define NGX_SMTP_FILE_DATA           1
#define NGX_SMTP_FILE_LOG            2


/*
 * Milliseconds since 1970 (48 bits, big-endian: names sort by time), and 6
 * random bytes.
 */
typedef struct {
    u_char                  bytes[NGX_SMTP_ID_SIZE];
} ngx_smtp_segment_id_t;


/*
 * The key is a secret of the segment: it stands in each batch header and
 * seeds the CRC of log records, so that no mail's content and no peer's reply
 * can look like one to a recovery that searches.
 */
typedef struct {
    ngx_smtp_segment_id_t   id;
    u_char                  key[NGX_SMTP_KEY_SIZE];
    uint32_t                generation;
    uint32_t                version;    /* as read; written: current */
    time_t                  created;
} ngx_smtp_file_header_t;


typedef struct {
    uint64_t                length;     /* bytes behind the header */
    uint32_t                sequence;   /* from 1, rises, gaps allowed */
    uint32_t                messages;
} ngx_smtp_batch_t;


/* what the fixed part of a head says */
typedef struct {
    off_t                   content;    /* size of the body, bytes */
    time_t                  received;
    uint32_t                number;
    uint32_t                head_size;  /* all of the head */
    uint32_t                fields;     /* size of the fields block */
    uint32_t                meta;
    uint32_t                envelope;
    uint32_t                extensions;
    uint32_t                nrcpts;
    uint32_t                body_crc;
    unsigned                large:1;    /* body in <id>-<number>.body */
} ngx_smtp_record_t;


/* -- integers ------------------------------------------------------------ */

static ngx_inline u_char *
ngx_smtp_put16(u_char *p, uint32_t v)
{
    p[0] = (u_char) v;
    p[1] = (u_char) (v >> 8);

    return p + 2;
}


static ngx_inline u_char *
ngx_smtp_put32(u_char *p, uint32_t v)
{
    p[0] = (u_char) v;
    p[1] = (u_char) (v >> 8);
    p[2] = (u_char) (v >> 16);
    p[3] = (u_char) (v >> 24);

    return p + 4;
}


static ngx_inline u_char *
ngx_smtp_put64(u_char *p, uint64_t v)
{
    p = ngx_smtp_put32(p, (uint32_t) v);

    return ngx_smtp_put32(p, (uint32_t) (v >> 32));
}


static ngx_inline uint32_t
ngx_smtp_get16(const u_char *p)
{
    return (uint32_t) p[0] | (uint32_t) p[1] << 8;
}


static ngx_inline uint32_t
ngx_smtp_get32(const u_char *p)
{
    return (uint32_t) p[0] | (uint32_t) p[1] << 8
           | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}


static ngx_inline uint64_t
ngx_smtp_get64(const u_char *p)
{
    return (uint64_t) ngx_smtp_get32(p)
           | (uint64_t) ngx_smtp_get32(p + 4) << 32;
}


/* -- ids ----------------------------------------------------------------- */

/*
 * A new id from the time (milliseconds since 1970) and 6 random bytes.
 */
void ngx_smtp_segment_id_make(ngx_smtp_segment_id_t *id, uint64_t msec,
    const u_char *random);

/*
 * Writes the id as 20 characters of 0-9 a-z without i, l, o, u (base 32, most
 * significant first); returns the end.  Not NUL-terminated.
 */
u_char *ngx_smtp_segment_id_text(const ngx_smtp_segment_id_t *id,
    u_char *buf);

/* The id from exactly 20 characters.  NGX_OK; NGX_ERROR: not an id's text. */
ngx_int_t ngx_smtp_segment_id_parse(ngx_smtp_segment_id_t *id,
    const u_char *text, size_t len);

/*
 * The queue id of a message: the segment's text, "-", the number in decimal;
 * at most 31 characters (of NGX_SMTP_QUEUE_ID_LEN), not NUL-terminated.
 */
u_char *ngx_smtp_queue_id_text(const ngx_smtp_segment_id_t *id,
    uint32_t number, u_char *buf);

/* The reverse; NGX_ERROR for anything that the function above cannot give. */
ngx_int_t ngx_smtp_queue_id_parse(ngx_smtp_segment_id_t *id,
    uint32_t *number, const u_char *text, size_t len);


/* -- file and batch headers ---------------------------------------------- */

/* Writes the NGX_SMTP_FILE_HEADER bytes; kind is NGX_SMTP_FILE_*. */
void ngx_smtp_file_header_put(u_char *p, ngx_uint_t kind,
    const ngx_smtp_file_header_t *h);

/*
 * Reads one.  NGX_OK; NGX_DECLINED: a newer format (version is set): leave the
 * file alone; NGX_ERROR: not such a file, or damaged.
 */
ngx_int_t ngx_smtp_file_header_get(const u_char *p, size_t len,
    ngx_uint_t kind, ngx_smtp_file_header_t *h);

/* The seed of the CRCs of the log with this header. */
uint32_t ngx_smtp_log_seed(const ngx_smtp_file_header_t *h);

/* Writes the NGX_SMTP_BATCH_HEADER bytes of a batch of the segment. */
void ngx_smtp_batch_put(u_char *p, const ngx_smtp_file_header_t *h,
    const ngx_smtp_batch_t *b);

/* NGX_OK, or NGX_ERROR: not a good batch header of this segment. */
ngx_int_t ngx_smtp_batch_get(const u_char *p, size_t len,
    const ngx_smtp_file_header_t *h, ngx_smtp_batch_t *b);

/*
 * The first place in p..last where a batch header of this segment starts
 * (its first bytes fit; it may be cut off or damaged), or NULL.  A match needs
 * NGX_SMTP_BATCH_MARK bytes.
 */
#define NGX_SMTP_BATCH_MARK          (8 + NGX_SMTP_KEY_SIZE)

u_char *ngx_smtp_batch_search(u_char *p, u_char *last,
    const ngx_smtp_file_header_t *h);


/* -- heads --------------------------------------------------------------- */

/*
 * Encodes a head: envelope, meta and the fields block that goes above the
 * content of content_size bytes.  Returns a block from ngx_alloc(), its size
 * in *size, without number, body CRC and own CRC; NULL without memory or when
 * a string is too long for the format (over 65535 bytes; variables' values and
 * fields over 16 MB in all).  log is only for ngx_alloc(); may be NULL in a
 * thread if ngx_alloc() cannot fail there.
 */
u_char *ngx_smtp_record_encode(ngx_smtp_envelope_t *e, ngx_smtp_meta_t *m,
    ngx_str_t *fields, off_t content_size, ngx_uint_t large, size_t *size,
    ngx_log_t *log);

/*
 * Completes an encoded head before it is written: number, CRC32C of the
 * content (ngx_smtp_crc32c() over all of it, from 0), CRC32C of the head.
 * content_size is what it is now (it may have been unknown to encode).
 */
void ngx_smtp_record_seal(u_char *head, uint32_t number, off_t content_size,
    uint32_t body_crc);

/*
 * Reads the fixed part of a head from NGX_SMTP_RECORD_HEADER bytes and checks
 * that the sizes in it make sense; its CRC covers the whole head and is
 * checked by ngx_smtp_record_check().  NGX_OK, NGX_ERROR, or NGX_DECLINED for
 * a head of a newer version.
 */
ngx_int_t ngx_smtp_record_header(const u_char *p, size_t len,
    ngx_smtp_record_t *r);

/* Header and CRC of a whole head of len bytes.  As above. */
ngx_int_t ngx_smtp_record_check(const u_char *head, size_t len,
    ngx_smtp_record_t *r);

/*
 * The name of the queue, from a head that passed ngx_smtp_record_check().
 * NGX_OK or NGX_ERROR; the string points into the head.
 */
ngx_int_t ngx_smtp_record_queue(u_char *head, ngx_smtp_record_t *r,
    ngx_str_t *queue);

/*
 * Checks and decodes a whole head of len bytes (hostile ones are refused, not
 * believed).  Strings point into head, arrays are from pool.  NGX_OK;
 * NGX_ERROR: damaged, or no memory; NGX_DECLINED: newer version.
 */
ngx_int_t ngx_smtp_record_decode(u_char *head, size_t len, ngx_pool_t *pool,
    ngx_smtp_record_t *r, ngx_smtp_envelope_t *e, ngx_smtp_meta_t *m,
    ngx_str_t *fields);


#endif /* _NGX_SMTP_RECORD_H_INCLUDED_ */
