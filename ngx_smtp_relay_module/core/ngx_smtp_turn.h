
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Turns: an iteration of the event loop works for a bounded time, however
 * much there is to do.  Work is counted in octets that were handled, or what
 * takes as long; when an iteration has done its share, whoever has more to do
 * waits in line, and the line goes on with the next iteration, in order, so
 * that nobody starves.  One line for the whole worker; owns no memory.
 */


#ifndef _NGX_SMTP_TURN_H_INCLUDED_
#define _NGX_SMTP_TURN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>


/* what an iteration may do: about 2 ms of CPU time */
#define NGX_SMTP_TURN_SHARE    (1024 * 1024)

/* what a command costs, with its reply */
#define NGX_SMTP_TURN_COMMAND  1024


/* a place in the line, embedded in whatever waits; zeroed: not in it */
typedef struct {
    ngx_queue_t    link;
    void         (*handler)(void *data);
    void          *data;
} ngx_smtp_turn_t;


/* Counts work that is done now. */
void ngx_smtp_turn_spend(size_t octets);

/* Has this iteration done its share?  1 or 0. */
ngx_uint_t ngx_smtp_turn_over(void);

/*
 * All work this worker ever counted, in octets; it wraps around.  Who finds
 * the same number in the next iteration knows that no session did anything.
 */
size_t ngx_smtp_turn_work(void);

/*
 * Goes to the end of the line, or keeps its place; handler(data) is called
 * once, in a later iteration.
 */
void ngx_smtp_turn_wait(ngx_smtp_turn_t *t);

/* Leaves the line; always allowed. */
void ngx_smtp_turn_cancel(ngx_smtp_turn_t *t);


#endif /* _NGX_SMTP_TURN_H_INCLUDED_ */
