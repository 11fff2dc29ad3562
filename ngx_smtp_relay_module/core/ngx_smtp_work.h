
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What a worker is at, for those who find it dead: a message that crashes each
 * worker that touches it must not do so for ever.  The event loop works on one
 * message at a time; it is named until another one is, or until its attempt is
 * over, so that a message which makes somebody else kill the worker is found,
 * too.  Threads have places of their own: one that reads a segment, several
 * that read messages.
 *
 * The places are in the worker's slot of the zone (net/ngx_smtp_zone.h), which
 * has them until the end of the process; in a worker that leaves, and without
 * a zone, they are private: whoever is killed because it did not leave in time
 * accuses nobody.  Written by the event loop only, read by other processes.
 */


#ifndef _NGX_SMTP_WORK_H_INCLUDED_
#define _NGX_SMTP_WORK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_SMTP_WORK_ID        12      /* bytes of a segment's id */

/* places */
#define NGX_SMTP_WORK_LOOP      0
#define NGX_SMTP_WORK_RECOVERY  1
#define NGX_SMTP_WORK_READ      2       /* the first of those of readers */
#define NGX_SMTP_WORKS          10


typedef struct {
    ngx_atomic_t         used;
    uint32_t             number;        /* of the message; 0: the segment */
    u_char               id[NGX_SMTP_WORK_ID];
} ngx_smtp_work_t;


/* messages of a segment that dead workers were at */
typedef struct {
    ngx_uint_t           n;
    uint32_t             numbers[NGX_SMTP_WORKS];
} ngx_smtp_struck_t;


/* NGX_SMTP_WORKS places, always valid */
extern ngx_smtp_work_t  *ngx_smtp_works;

/* From now on works is written, NULL: the private ones; others are cleared. */
void ngx_smtp_works_set(ngx_smtp_work_t *works);

/* Names what is worked on; clears a place. */
void ngx_smtp_work_on(ngx_uint_t place, u_char *id, uint32_t number);
void ngx_smtp_work_off(ngx_uint_t place);

/* A free place for a reader, which it has then; 0: there is none. */
ngx_uint_t ngx_smtp_work_reader(u_char *id, uint32_t number);


#endif /* _NGX_SMTP_WORK_H_INCLUDED_ */
