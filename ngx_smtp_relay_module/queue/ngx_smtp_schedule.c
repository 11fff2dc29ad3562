
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Retry times and expiry; see the header.  No state, no memory.
 */


#include "ngx_smtp_schedule.h"


/* no sum of configured intervals can overflow below this, s: ten years */
#define NGX_SMTP_SCHEDULE_MAX  (10 * 365 * 86400)


static time_t ngx_smtp_schedule_waited(ngx_smtp_schedule_t *s,
    ngx_uint_t attempts);
static time_t ngx_smtp_schedule_age(ngx_smtp_schedule_t *s, time_t received,
    ngx_uint_t attempts, time_t now);


ngx_int_t
ngx_smtp_schedule_next(ngx_smtp_schedule_t *s, time_t received,
    ngx_uint_t attempts, time_t now, uint32_t seed, time_t *due)
{
    time_t  age, wait;

    wait = ngx_smtp_schedule_interval(s, attempts);
    wait = ngx_smtp_schedule_jitter(wait, seed);

    age = ngx_smtp_schedule_age(s, received, attempts, now);

    if (s->expire > 0 && age >= s->expire - wait) {
        *due = now;
        return NGX_DONE;
    }

    *due = now + wait;

    return NGX_OK;
}


time_t
ngx_smtp_schedule_interval(ngx_smtp_schedule_t *s, ngx_uint_t attempts)
{
    time_t  wait;

    if (attempts == 0) {
        attempts = 1;
    }

    wait = s->retry[ngx_min(attempts, s->nretry) - 1];

    if (wait < 1) {
        return 1;
    }

    return ngx_min(wait, NGX_SMTP_SCHEDULE_MAX);
}


time_t
ngx_smtp_schedule_load(ngx_smtp_schedule_t *s, ngx_uint_t attempts,
    time_t due, time_t now)
{
    time_t  wait, max;

    wait = ngx_smtp_schedule_interval(s, attempts);
    max = wait + wait * NGX_SMTP_SCHEDULE_JITTER / 100;

    if (max < NGX_SMTP_SCHEDULE_UNKNOWN) {
        max = NGX_SMTP_SCHEDULE_UNKNOWN;
    }

    /* not due - now: either may be anything */

    if (due <= now + max) {
        return due;
    }

    return attempts ? now + wait : now;
}


ngx_uint_t
ngx_smtp_schedule_expired(ngx_smtp_schedule_t *s, time_t received,
    ngx_uint_t attempts, time_t now)
{
    if (s->expire <= 0) {
        return 0;
    }

    return ngx_smtp_schedule_older(s, received, attempts, now, s->expire);
}


ngx_uint_t
ngx_smtp_schedule_older(ngx_smtp_schedule_t *s, time_t received,
    ngx_uint_t attempts, time_t now, time_t age)
{
    return ngx_smtp_schedule_age(s, received, attempts, now) >= age;
}


time_t
ngx_smtp_schedule_jitter(time_t value, uint32_t seed)
{
    time_t  span;

    if (value < 1) {
        return value;
    }

    if (value > NGX_SMTP_SCHEDULE_MAX) {
        value = NGX_SMTP_SCHEDULE_MAX;
    }

    span = value * NGX_SMTP_SCHEDULE_JITTER / 100;

    return value - span + (time_t) (seed % (uint32_t) (2 * span + 1));
}


static time_t
ngx_smtp_schedule_age(ngx_smtp_schedule_t *s, time_t received,
    ngx_uint_t attempts, time_t now)
{
    if (received < 0) {
        received = 0;
    }

    if (received <= now) {
        return now - received;
    }

    return ngx_smtp_schedule_waited(s, attempts);
}


/* what the intervals up to attempt number `attempts' sum up to */

static time_t
ngx_smtp_schedule_waited(ngx_smtp_schedule_t *s, ngx_uint_t attempts)
{
    time_t      sum;
    ngx_uint_t  i;

    sum = 0;

    for (i = 1; i < attempts && i < s->nretry; i++) {
        sum += ngx_smtp_schedule_interval(s, i);
    }

    if (i < attempts) {
        /* an attempt is counted in 16 bits, so this fits 64 */
        sum += (time_t) ngx_min(attempts - i, 65536)
               * ngx_smtp_schedule_interval(s, s->nretry);
    }

    return sum;
}
