
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The content of a message in memory: what came between 354 and the end of
 * data, or by BDAT, decoded (CRLF line ends, no dot-stuffing), as a chain of
 * blocks.  The server decodes straight into the last block, the sink takes the
 * blocks away.  Blocks are malloc'ed, not from a pool: they move from the
 * transaction to the spool's memory for the first delivery attempt.
 *
 * A sink may keep what it took in a file, for another one: then the octets
 * before those of the chain, size - buffered of them, are there.
 */


#ifndef _NGX_SMTP_CONTENT_H_INCLUDED_
#define _NGX_SMTP_CONTENT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* what the decoders of message data need to get on */
#define NGX_SMTP_CONTENT_ROOM  16


typedef struct ngx_smtp_block_s  ngx_smtp_block_t;

struct ngx_smtp_block_s {
    ngx_smtp_block_t   *next;
    u_char             *last;       /* end of what was written */
    u_char             *end;        /* end of the room */
    u_char              data[1];
};


/* from its begin on; may hold octets of the chain too */
typedef struct {
    ngx_fd_t            fd;
    off_t               size;
} ngx_smtp_content_file_t;


typedef struct {
    ngx_smtp_block_t   *first;
    ngx_smtp_block_t   *last;
    size_t              buffered;   /* bytes in the chain */
    off_t               size;       /* bytes ever appended (chain or file) */
    ngx_smtp_content_file_t
                       *file;       /* the sink's; NULL: none */
} ngx_smtp_content_t;


/*
 * Room for at least NGX_SMTP_CONTENT_ROOM bytes at the end of the content:
 * sets *last to the end of the room and returns its start, NULL without
 * memory.  The caller writes there and calls ngx_smtp_content_commit() with
 * where it stopped.  Blocks grow from 4 KB to 64 KB, so that a usual message
 * is one or two blocks.
 */
u_char *ngx_smtp_content_reserve(ngx_smtp_content_t *c, u_char **last,
    ngx_log_t *log);
void ngx_smtp_content_commit(ngx_smtp_content_t *c, u_char *pos);

/* Appends a copy of len bytes.  NGX_OK or NGX_ERROR (no memory). */
ngx_int_t ngx_smtp_content_append(ngx_smtp_content_t *c, const u_char *data,
    size_t len, ngx_log_t *log);

/*
 * Takes all blocks out of the content; the caller frees them with
 * ngx_smtp_block_free().  size keeps counting, buffered becomes 0.
 */
ngx_smtp_block_t *ngx_smtp_content_take(ngx_smtp_content_t *c);

/* Frees a chain of blocks; NULL is allowed. */
void ngx_smtp_block_free(ngx_smtp_block_t *b);

/* where the chain begins in the content */
#define ngx_smtp_content_offset(c)  ((c)->size - (off_t) (c)->buffered)

#define ngx_smtp_block_start(b)  ((b)->data)
#define ngx_smtp_block_size(b)   ((size_t) ((b)->last - (b)->data))


#endif /* _NGX_SMTP_CONTENT_H_INCLUDED_ */
