
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Coders of message data, driven in pieces, and a model to compare them with
 * that has the whole input at hand.  Pieces of input and room for output are
 * memory of exactly their size, so that a sanitizer sees an octet too many.
 */


#ifndef _DATA_MODEL_H_INCLUDED_
#define _DATA_MODEL_H_INCLUDED_


#include "shim.h"

#include "ngx_smtp_data.h"


#define R    NGX_SMTP_NEWLINE_REJECT
#define N    NGX_SMTP_NEWLINE_NORMALIZE

#define CRS  NGX_SMTP_DATA_BARE_CR
#define LFS  NGX_SMTP_DATA_BARE_LF


typedef struct {
    u_char        data[1024];
    size_t        len;
    size_t        used;      /* input consumed */
    ngx_uint_t    seen;
    ngx_int_t     rc;
} test_out_t;


/*
 * The coders, given step octets at once (0: all) and room octets of output at
 * a time.  test_chunks: two chunks, the first one of first octets, the last
 * one finished.
 */
void test_decode(const u_char *in, size_t len, ngx_uint_t newline,
    size_t step, size_t room, test_out_t *out);
void test_chunks(const u_char *in, size_t len, size_t first,
    ngx_uint_t newline, size_t step, size_t room, test_out_t *out);
void test_encode(const u_char *in, size_t len, size_t step, size_t room,
    test_out_t *out);

/* by clean prefixes, as the header of the coders tells it */
void test_encode_clean(const u_char *in, size_t len, size_t step,
    test_out_t *out);

/* What has to come out: of DATA (dots) or BDAT, and of the encoder. */
void test_model_decode(const u_char *in, size_t len, ngx_uint_t newline,
    ngx_uint_t dots, test_out_t *out);
void test_model_encode(const u_char *in, size_t len, test_out_t *out);

/* Fails, and shows input and both, unless b is as a. */
void test_same(const u_char *in, size_t len, test_out_t *a, test_out_t *b);


#endif /* _DATA_MODEL_H_INCLUDED_ */
