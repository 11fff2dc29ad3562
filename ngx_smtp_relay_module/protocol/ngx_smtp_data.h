
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Message data on the wire: DATA (RFC 5321 section 4.5.2) and BDAT (RFC 3030)
 * coming in, DATA going out.  Inside of the module a message is its octets
 * with CRLF line ends and without dot-stuffing.  All coders work from one
 * slice to another, stop at any octet and go on there; they own nothing.
 *
 * Only CRLF.CRLF ends data, whatever the policy on bare newlines is; and only
 * a dot behind CRLF (or at the very begin) is a stuffed one: a line end that
 * another reader might not see must not change what we see.
 */


#ifndef _NGX_SMTP_DATA_H_INCLUDED_
#define _NGX_SMTP_DATA_H_INCLUDED_


#include "ngx_smtp_pure.h"
#include "ngx_smtp_line.h"           /* NGX_SMTP_NEWLINE_* */


/* coders: beside NGX_AGAIN (more input, please) and NGX_DONE */
#define NGX_SMTP_DATA_FULL     1     /* more output room, please */

/* ngx_smtp_data_decoder_t.seen */
#define NGX_SMTP_DATA_BARE_CR  0x01
#define NGX_SMTP_DATA_BARE_LF  0x02
#define NGX_SMTP_DATA_NUL      0x04
#define NGX_SMTP_DATA_8BIT     0x08  /* an octet >= 0x80 */


typedef struct {
    off_t               size;        /* octets of the message so far */
    off_t               left;        /* BDAT: octets of the chunk to come */
    ngx_uint_t          newline;     /* NGX_SMTP_NEWLINE_* */
    ngx_uint_t          seen;        /* NGX_SMTP_DATA_* so far */
    ngx_uint_t          state;       /* private */
} ngx_smtp_data_decoder_t;


typedef struct {
    ngx_uint_t          state;       /* private */
} ngx_smtp_data_encoder_t;


/*
 * Prepares for a message, by DATA or BDAT.  newline: NGX_SMTP_NEWLINE_*.
 * REJECT: bare CR and LF are recorded in d->seen and come out as they are; the
 * server reads on to the end and refuses the message (BARE_NEWLINE).
 * NORMALIZE: each bare CR and each bare LF comes out as CRLF, and is recorded.
 * A NUL is content: recorded, never an error here.
 */
void ngx_smtp_data_decoder_init(ngx_smtp_data_decoder_t *d,
    ngx_uint_t newline);

/*
 * Decodes DATA from [*pos, last) to [*out, out_last); both pointers advance.
 * out NULL: the message is dropped, only the end is looked for; d->size counts
 * on.  Input and output must not overlap.
 *
 * NGX_AGAIN: all input was consumed; NGX_SMTP_DATA_FULL: the output has no
 * room left, input may remain; NGX_DONE: the end was seen and *pos is just
 * behind it: what follows is the next command.  Give at least 4 octets of
 * output room for progress.
 */
ngx_int_t ngx_smtp_data_decode(ngx_smtp_data_decoder_t *d, u_char **pos,
    u_char *last, u_char **out, u_char *out_last);

/* A BDAT chunk of size octets follows. */
void ngx_smtp_chunk_begin(ngx_smtp_data_decoder_t *d, off_t size);

/*
 * Decodes the octets of a chunk, as ngx_smtp_data_decode() does; NGX_DONE: the
 * chunk is complete.  A CRLF may be split between chunks.
 */
ngx_int_t ngx_smtp_chunk_decode(ngx_smtp_data_decoder_t *d, u_char **pos,
    u_char *last, u_char **out, u_char *out_last);

/*
 * The chunk was the last one: writes what is still held back, and CRLF if the
 * last line has none, since a message that came by BDAT may leave by DATA.  An
 * empty message stays empty.  NGX_DONE or NGX_SMTP_DATA_FULL (call again with
 * room; 4 octets always suffice).  out NULL: as above.
 */
ngx_int_t ngx_smtp_chunk_finish(ngx_smtp_data_decoder_t *d, u_char **out,
    u_char *out_last);


/* Prepares to send a message by DATA. */
void ngx_smtp_data_encoder_init(ngx_smtp_data_encoder_t *e);

/*
 * Encodes the message from [*pos, last) to [*out, out_last): leading dots are
 * doubled; a bare CR or LF, which a message of ours should not have, becomes
 * CRLF.  NGX_AGAIN: all input was consumed (give more, or end);
 * NGX_SMTP_DATA_FULL: the output has no room left for the next octet (at most
 * 4 are needed).
 */
ngx_int_t ngx_smtp_data_encode(ngx_smtp_data_encoder_t *e, u_char **pos,
    u_char *last, u_char **out, u_char *out_last);

/*
 * Writes the end of data: what the last line lacks of its CRLF, and ".CRLF".
 * NGX_DONE, or NGX_SMTP_DATA_FULL if less than 5 octets of room are left:
 * nothing was written then.
 */
ngx_int_t ngx_smtp_data_encode_end(ngx_smtp_data_encoder_t *e, u_char **out,
    u_char *out_last);

/*
 * The longest prefix of [pos, last) that may be sent as it is: returns its
 * end, and takes the prefix as encoded.  So a message is sent without copying:
 *
 *     p = ngx_smtp_data_clean(e, pos, last);     send [pos, p);
 *     if (p < last)       a dot is to be doubled, or a newline to be mended:
 *         one call of ngx_smtp_data_encode() with [p, p + 1) into 4 octets,
 *         then again from p + 1.
 */
u_char *ngx_smtp_data_clean(ngx_smtp_data_encoder_t *e, u_char *pos,
    u_char *last);


#endif /* _NGX_SMTP_DATA_H_INCLUDED_ */
