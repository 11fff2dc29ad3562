
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * How much a destination can take, and whether it lives: the limits and the
 * health of one site (ordered host set, port, TLS level, source) in a worker.
 * Opens no connection and knows no clock: the caller asks before it opens one
 * and tells what became of it.
 *
 *                    dead_after failures in a row
 *          +-------+ ---------------------------> +------+
 *     ---> | ALIVE |                              | DEAD | <-+
 *          +-------+ <--------------------------- +------+   |
 *              ^      success, or a refused           |      | the probe
 *              |      message, of any connection;     |      | failed, or
 *              |      see ngx_smtp_site_ready()       |      | was closed
 *              |              back-off is over and    |      | without a
 *              |              the probe is opened     v      | result:
 *              |                                  +-------+  | longer
 *              +--------------------------------- | PROBE | -+ back-off
 *                success, or a refused message    +-------+
 *
 * ALIVE: up to `window' connections.  The window starts at `initial', grows by
 * one for each window of successes up to `max', and is halved by a failure
 * (at most once a second: connections that fail together are one event).
 * DEAD: no connection until the back-off is over; those still open go on.
 * PROBE: exactly one connection is tried; nobody else may open.
 *
 * Two rows of failures are counted: of connections that came to no session,
 * and of sessions that broke before a message had its answer.
 */


#ifndef _NGX_SMTP_SITE_H_INCLUDED_
#define _NGX_SMTP_SITE_H_INCLUDED_


#include "ngx_smtp_pure.h"


/* states */
#define NGX_SMTP_SITE_ALIVE     0
#define NGX_SMTP_SITE_DEAD      1
#define NGX_SMTP_SITE_PROBE     2

/* kinds of failures */
#define NGX_SMTP_SITE_CONNECT   1   /* no session: refused, timed out, no or
                                       bad banner, TLS failed, EHLO refused */
#define NGX_SMTP_SITE_SESSION   2   /* a session broke: 421, closed, timed
                                       out, garbage */
#define NGX_SMTP_SITE_MESSAGE   3   /* a message or recipient was refused (4xx
                                       or 5xx); the site itself is well */

/* defaults of ngx_smtp_site_conf_t */
#define NGX_SMTP_SITE_INITIAL   5
#define NGX_SMTP_SITE_MAX       20
#define NGX_SMTP_SITE_DEAD_AFTER  3
#define NGX_SMTP_SITE_BACKOFF_MIN  60
#define NGX_SMTP_SITE_BACKOFF_MAX  900


typedef struct {
    ngx_uint_t              initial;    /* window at the start */
    ngx_uint_t              max;        /* window at most, per worker */
    ngx_uint_t              dead_after; /* failures in a row */
    time_t                  backoff_min;    /* s, doubles with each probe */
    time_t                  backoff_max;    /* s */
} ngx_smtp_site_conf_t;


/*
 * A connection as its site sees it: embedded in the connection, zeroed before
 * its first use.  Makes closing twice, or a late word of a closed
 * connection, harmless.
 */
typedef struct {
    unsigned                open:1;
} ngx_smtp_site_slot_t;


typedef struct {
    ngx_smtp_site_conf_t   *conf;       /* the caller's; outlives the site */
    ngx_uint_t              state;      /* NGX_SMTP_SITE_ALIVE ... */
    ngx_uint_t              window;     /* connections allowed when alive */
    ngx_uint_t              open;       /* connections opened, not closed */
    ngx_uint_t              failures;   /* CONNECT in a row */
    ngx_uint_t              broken;     /* SESSION in a row, as counted */
    ngx_uint_t              credit;     /* successes since the window grew */
    time_t                  backoff;    /* s, the current one */
    time_t                  until;      /* DEAD: when the probe is allowed */
    time_t                  died;       /* DEAD, PROBE: when it did */
    time_t                  shrunk;     /* when the window was last halved */
    ngx_smtp_site_slot_t   *probe;      /* PROBE: whose it is; compared only */
} ngx_smtp_site_t;


/* Fills a configuration with the defaults above. */
void ngx_smtp_site_conf_default(ngx_smtp_site_conf_t *conf);

/*
 * A new site is ALIVE.  conf is kept, not copied; values out of range are
 * corrected when used (initial 1..max, dead_after at least 1, backoff_min at
 * least 1, backoff_max at least backoff_min).
 */
void ngx_smtp_site_init(ngx_smtp_site_t *site, ngx_smtp_site_conf_t *conf);

/*
 * May a connection be opened now?  now: s, of any clock that does not often
 * jump; all functions of a site use the same one.  Changes no count.
 *
 * NGX_OK       yes; if the site is DEAD, this one will be the probe
 * NGX_AGAIN    not before a connection is closed (window full), or
 *              the probe has a result; *until is 0
 * NGX_DECLINED dead; ask again at *until (> now)
 */
ngx_int_t ngx_smtp_site_may_open(ngx_smtp_site_t *site, time_t now,
    time_t *until);

/*
 * A connection is being opened, after NGX_OK of may_open at the same now.
 * Counts it and marks the slot; if the site is DEAD, this is the probe.
 */
void ngx_smtp_site_opened(ngx_smtp_site_t *site, ngx_smtp_site_slot_t *slot,
    time_t now);

/*
 * The connection is closed, however.  A probe that is closed without success
 * or failure counts as failed.  seed: 32 random bits for the jitter of the
 * back-off.  Nothing happens for a slot that is not open.
 */
void ngx_smtp_site_closed(ngx_smtp_site_t *site, ngx_smtp_site_slot_t *slot,
    time_t now, uint32_t seed);

/*
 * A message went through (250 to the end of data).  Ends all rows of failures
 * and revives a dead site, whatever the slot, as long as it is open.
 */
void ngx_smtp_site_success(ngx_smtp_site_t *site, ngx_smtp_site_slot_t *slot);

/*
 * A fresh session came as far as EHLO and waits for work.  Ends a row of
 * failed connections, and revives a dead site unless sessions broke behind
 * that before: then only what is said of a message does.
 */
void ngx_smtp_site_ready(ngx_smtp_site_t *site, ngx_smtp_site_slot_t *slot);

/*
 * Something failed.  CONNECT: the window is halved, dead_after of them in a
 * row make the site DEAD; the back-off starts at backoff_min and doubles with
 * each failed probe.  SESSION: the window is halved; counts towards DEAD only
 * when the window was already 1, or for a probe.  MESSAGE: ends a row of
 * failures and revives a dead site, but does not let the window grow.
 *
 * Call it before ngx_smtp_site_closed().  Nothing happens for a slot that is
 * not open.
 */
void ngx_smtp_site_failure(ngx_smtp_site_t *site, ngx_smtp_site_slot_t *slot,
    ngx_uint_t kind, time_t now, uint32_t seed);

/* How long it has been dead, with all probes that failed, s; 0: it lives. */
time_t ngx_smtp_site_dead(ngx_smtp_site_t *site, time_t now);

/* Somebody knows better: a dead site may be probed at once. */
void ngx_smtp_site_retry(ngx_smtp_site_t *site, time_t now);


#endif /* _NGX_SMTP_SITE_H_INCLUDED_ */
