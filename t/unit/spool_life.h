
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Lives of one segment with something happening at one of its system calls,
 * and the judgment on what is left.  A life tells in life->fate what it tried
 * and what it was told; where it stops a child process leads it, so that this
 * is in shared memory.
 *
 *   life_setup();
 *   calls = life_run("", youth, lead, test_fault_none, 0, 0, 0, one);
 *   life_run("", youth, lead, test_fault_stop, at, 0, half, one);  for each
 *   life_teardown();
 */


#ifndef _NGX_SMTP_TEST_SPOOL_LIFE_H_INCLUDED_
#define _NGX_SMTP_TEST_SPOOL_LIFE_H_INCLUDED_


#include "spool.h"


#define LIFE_MESSAGES   13          /* numbers 1 to 12, or less */
#define LIFE_LARGE      3           /* this one has a large body */


/* 1: tried; 2: and told that it worked */
typedef struct {
    unsigned char           accept;
    unsigned char           refused;
    unsigned char           result;     /* of recipient 0 */
    unsigned char           report;
    unsigned char           reported;
    unsigned char           hold;
    unsigned char           release;
    unsigned char           done;
} life_fate_t;


typedef struct {
    life_fate_t             fate[LIFE_MESSAGES];
    ngx_smtp_segment_id_t   id;
    ngx_uint_t              created;
    ngx_uint_t              generation;
    ngx_uint_t              broken;     /* a batch could not be taken back */
    ngx_uint_t              removed;
    ngx_uint_t              finished;
    ngx_uint_t              calls;
} life_model_t;


extern life_model_t      *life;
extern ngx_smtp_spool_t   life_spool;

int life_setup(void **state);
int life_teardown(void **state);

/* n messages, as one batch; the large one */
void life_accept(ngx_smtp_segment_file_t *f, uint32_t first, ngx_uint_t n);
void life_accept_large(ngx_smtp_segment_file_t *f);

/* an event of a message that was accepted; fate: what it becomes true of */
void life_event(ngx_smtp_segment_file_t *f, ngx_uint_t type, uint32_t number,
    unsigned char *fate);
/* DONE of the large one, synced, and then its body goes */
void life_end_large(ngx_smtp_segment_file_t *f);

/* a fault at adoption is over the next time; NULL: it is not */
ngx_smtp_recovery_t *life_adopt(ngx_smtp_segment_file_t *f);

/*
 * One life, and the judgment.  kind: for messages, of all that is said below.
 * youth: what comes before the first call that counts, or NULL.
 * one: there has to be one segment in the end, in one generation, with nothing
 * to be cut.  Returns the system calls.
 */
ngx_uint_t life_run(const char *kind, void (*youth)(void),
    void (*lead)(void), test_fault_e what, ngx_uint_t at, int err,
    ngx_uint_t half, ngx_uint_t one);


#endif /* _NGX_SMTP_TEST_SPOOL_LIFE_H_INCLUDED_ */
