
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A growing buffer for answers, with the pieces of JSON.  malloc'ed, freed by
 * its owner with ngx_smtp_json_free(); a failed allocation is remembered and
 * everything after it ignored, so that only the end has to be checked.
 */


#ifndef _NGX_SMTP_JSON_H_INCLUDED_
#define _NGX_SMTP_JSON_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct {
    u_char                 *start;
    u_char                 *pos;
    u_char                 *end;
    ngx_log_t              *log;
    unsigned                failed:1;
} ngx_smtp_json_t;


/* Of an empty buffer; nothing is allocated yet. */
void ngx_smtp_json_init(ngx_smtp_json_t *j, ngx_log_t *log);
void ngx_smtp_json_free(ngx_smtp_json_t *j);

#define ngx_smtp_json_size(j)  ((size_t) ((j)->pos - (j)->start))

/* Room for n bytes at j->pos; NGX_OK or NGX_ERROR. */
ngx_int_t ngx_smtp_json_room(ngx_smtp_json_t *j, size_t n);

/* Bytes as they are; of a C string, of a buffer. */
void ngx_smtp_json_raw(ngx_smtp_json_t *j, const char *text);
void ngx_smtp_json_bytes(ngx_smtp_json_t *j, const void *data, size_t len);

/*
 * Values, and members of an object: a comma before all but the first.  What is
 * not UTF-8 in a text, such as a character that was cut off, is shown as if it
 * were ISO 8859-1.
 */
void ngx_smtp_json_string(ngx_smtp_json_t *j, ngx_str_t *s);
void ngx_smtp_json_number(ngx_smtp_json_t *j, int64_t n);
void ngx_smtp_json_key(ngx_smtp_json_t *j, const char *name);
void ngx_smtp_json_member(ngx_smtp_json_t *j, const char *name, ngx_str_t *s);
void ngx_smtp_json_text(ngx_smtp_json_t *j, const char *name,
    const char *text);
void ngx_smtp_json_count(ngx_smtp_json_t *j, const char *name, int64_t n);
void ngx_smtp_json_flag(ngx_smtp_json_t *j, const char *name, ngx_uint_t on);


#endif /* _NGX_SMTP_JSON_H_INCLUDED_ */
