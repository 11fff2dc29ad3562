
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The Redis protocol (RESP2) on top of hiredis: commands to bytes, bytes to
 * replies.  No I/O.  Replies are built in a pool of the reader instead of
 * malloc, with bounds on bytes, elements and depth, so that a server that
 * answers nonsense costs a bounded amount of memory.
 */


#ifndef _NGX_SMTP_REDIS_CODEC_H_INCLUDED_
#define _NGX_SMTP_REDIS_CODEC_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <hiredis/hiredis.h>


#define NGX_SMTP_REDIS_MAX_REPLY     65536  /* bytes on the wire */
#define NGX_SMTP_REDIS_MAX_ELEMENTS  256    /* of one array */


typedef enum {
    NGX_SMTP_REDIS_STRING = 0,
    NGX_SMTP_REDIS_STATUS,
    NGX_SMTP_REDIS_FAILURE,                 /* "-ERR ..." */
    NGX_SMTP_REDIS_INTEGER,
    NGX_SMTP_REDIS_NIL,
    NGX_SMTP_REDIS_ARRAY
} ngx_smtp_redis_type_e;


typedef struct ngx_smtp_redis_reply_s  ngx_smtp_redis_reply_t;

struct ngx_smtp_redis_reply_s {
    ngx_smtp_redis_type_e      type;
    ngx_str_t                  str;         /* STRING, STATUS, FAILURE */
    int64_t                    integer;
    ngx_uint_t                 nelts;       /* ARRAY */
    ngx_smtp_redis_reply_t   **elts;
};


typedef struct {
    redisReader               *reader;
    ngx_pool_t                *pool;        /* of the reply being read */
    ngx_log_t                 *log;
    size_t                     max;         /* bytes of one reply */
    size_t                     fed;         /* ... since the last one */
    const char                *reason;      /* of NGX_ERROR */
    unsigned                   started:1;   /* pool holds a part of a reply */
} ngx_smtp_redis_reader_t;


/*
 * Formats a command into the pool: *out.  Arguments may hold any byte.
 * NGX_OK or NGX_ERROR (no memory).
 */
ngx_int_t ngx_smtp_redis_format(ngx_pool_t *pool, ngx_str_t *argv,
    ngx_uint_t argc, ngx_str_t *out);

/* NGX_OK or NGX_ERROR (no memory); max is the limit of one reply. */
ngx_int_t ngx_smtp_redis_reader_init(ngx_smtp_redis_reader_t *rd, size_t max,
    ngx_log_t *log);

void ngx_smtp_redis_reader_cleanup(ngx_smtp_redis_reader_t *rd);

/*
 * Reads up to the next complete reply.  Takes bytes from *pos up to last and
 * advances *pos.  NGX_OK: *reply, valid until the next call; call again before
 * feeding more.  NGX_AGAIN: all taken, more needed.  NGX_ERROR: not RESP2, or
 * over a limit; the reader is of no more use, reason says why.
 */
ngx_int_t ngx_smtp_redis_reader_next(ngx_smtp_redis_reader_t *rd,
    u_char **pos, u_char *last, ngx_smtp_redis_reply_t **reply);


#endif /* _NGX_SMTP_REDIS_CODEC_H_INCLUDED_ */
