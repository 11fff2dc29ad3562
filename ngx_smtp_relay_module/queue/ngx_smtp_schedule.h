
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * When a message is tried again, and when it is given up.  Pure functions of
 * the retry list, the number of attempts and the wall clock: nothing is kept,
 * so a restart or another worker goes on where this one stopped.  The
 * wall clock may be wrong or jump: no result lies more than one retry interval
 * in the future, and a message from the future still expires.
 */


#ifndef _NGX_SMTP_SCHEDULE_H_INCLUDED_
#define _NGX_SMTP_SCHEDULE_H_INCLUDED_


#include "ngx_smtp_pure.h"


/* jitter: up to this many percent earlier or later */
#define NGX_SMTP_SCHEDULE_JITTER    10

/*
 * the longest wait, s, after an end of data without answer: it may exceed a
 * short retry interval, so ngx_smtp_schedule_load() lets it stand
 */
#define NGX_SMTP_SCHEDULE_UNKNOWN   900


typedef struct {
    time_t                 *retry;      /* intervals, s; the last repeats */
    ngx_uint_t              nretry;     /* at least 1 */
    time_t                  expire;     /* s after it was received; 0: never */
} ngx_smtp_schedule_t;


/*
 * An attempt has failed for now: when is the next one?
 *
 * received, now: wall clock, s.  attempts: made so far, this one included (0
 * is taken as 1).  seed: 32 random bits, for the jitter.
 *
 * NGX_OK       *due is set, now < *due <= now + interval + jitter
 * NGX_DONE     expired: the next attempt would not come before received +
 *              expire.  *due is now
 *
 * If received is in the future (the clock was wrong then, or is now), the age
 * of the message is taken as the sum of the intervals waited so far.
 */
ngx_int_t ngx_smtp_schedule_next(ngx_smtp_schedule_t *s, time_t received,
    ngx_uint_t attempts, time_t now, uint32_t seed, time_t *due);

/*
 * The interval, s, between attempt number `attempts' and the next one, without
 * jitter; at least 1.
 */
time_t ngx_smtp_schedule_interval(ngx_smtp_schedule_t *s, ngx_uint_t attempts);

/*
 * A message was read from disk with this due time: returns when to try it.
 * That is due, unless it lies further away than one interval with its jitter
 * and than NGX_SMTP_SCHEDULE_UNKNOWN (the clock was ahead): then now +
 * interval, or now if it was never tried.  A due time in the past stays, so
 * that the order of waiting messages is kept.
 */
time_t ngx_smtp_schedule_load(ngx_smtp_schedule_t *s, ngx_uint_t attempts,
    time_t due, time_t now);

/*
 * Has a message received then expired, apart from any attempt?  1 or 0.
 */
ngx_uint_t ngx_smtp_schedule_expired(ngx_smtp_schedule_t *s, time_t received,
    ngx_uint_t attempts, time_t now);

/*
 * Is a message received then at least so old (s), its age taken as above?  For
 * what is told to its sender meanwhile.  1 or 0.
 */
ngx_uint_t ngx_smtp_schedule_older(ngx_smtp_schedule_t *s, time_t received,
    ngx_uint_t attempts, time_t now, time_t age);

/*
 * Spreads a value: value +- NGX_SMTP_SCHEDULE_JITTER percent as the seed says,
 * at least 1 for a positive value.
 */
time_t ngx_smtp_schedule_jitter(time_t value, uint32_t seed);


#endif /* _NGX_SMTP_SCHEDULE_H_INCLUDED_ */
