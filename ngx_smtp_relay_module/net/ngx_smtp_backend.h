
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What all workers, of this and of older generations, know of a backend: is it
 * down, and what did it offer in EHLO.  It is kept in a table of the zone by a
 * key, of its address and of how it is spoken to, so that a reload finds it
 * again.
 *
 * A worker has a handle for each backend it is configured with.  A place that
 * nobody touched for an hour may become another backend's: a handle whose
 * place is no longer its own knows nothing, and changes nothing.
 *
 * Checks have one *owner* at a time: who finds one due takes the lease, which
 * ends with the report, with its time, or with its owner's life.
 */


#ifndef _NGX_SMTP_BACKEND_H_INCLUDED_
#define _NGX_SMTP_BACKEND_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_SMTP_BACKENDS            256    /* places in a zone */
#define NGX_SMTP_BACKEND_KEY_LEN     16
#define NGX_SMTP_BACKEND_REASON_MAX  127

/* what it offered; 0: nobody spoke with it yet */
#define NGX_SMTP_BACKEND_KNOWN       0x01
#define NGX_SMTP_BACKEND_SMTPUTF8    0x02
#define NGX_SMTP_BACKEND_DSN         0x04


/* in the zone; down and offers are read without lock */
typedef struct {
    u_char                      key[NGX_SMTP_BACKEND_KEY_LEN];
    ngx_uint_t                  used;
    ngx_atomic_t                down;
    ngx_atomic_t                offers;     /* NGX_SMTP_BACKEND_* */

    time_t                      touched;
    time_t                      checked;    /* the last report; 0: none */
    time_t                      changed;    /* of down; 0: never */
    ngx_uint_t                  checks;
    ngx_uint_t                  failed;     /* of them */
    ngx_uint_t                  fails;      /* in a row */
    ngx_uint_t                  passes;

    ngx_pid_t                   owner;      /* 0: nobody checks */
    ngx_msec_t                  lease;      /* until, of ngx_current_msec */
    ngx_msec_t                  next;       /* no check before */
    unsigned                    due:1;      /* next was set */

    size_t                      reason_len;
    u_char                      reason[NGX_SMTP_BACKEND_REASON_MAX];
} ngx_smtp_backend_sh_t;


/* the handle of a worker */
typedef struct {
    struct sockaddr            *sockaddr;
    socklen_t                   socklen;
    ngx_str_t                   name;
    unsigned                    backup:1;

    ngx_shm_zone_t             *zone;
    ngx_smtp_backend_sh_t      *sh;         /* NULL: see ..._claim() */
    u_char                      key[NGX_SMTP_BACKEND_KEY_LEN];
} ngx_smtp_backend_t;


/* what a status shows */
typedef struct {
    ngx_uint_t                  down;
    ngx_uint_t                  offers;     /* NGX_SMTP_BACKEND_* */
    time_t                      checked;
    time_t                      changed;
    ngx_uint_t                  checks;
    ngx_uint_t                  failed;
    ngx_str_t                   reason;     /* of the last failure */
    u_char                      text[NGX_SMTP_BACKEND_REASON_MAX];
} ngx_smtp_backend_state_t;


/*
 * Finds or makes the place of a backend; sockaddr, socklen and name are set.
 * profile: how it is spoken to; the same address with another one is another
 * backend.  NGX_OK; NGX_DECLINED: the table is full, or has no room in the
 * zone: the handle may be used, and knows nothing.
 */
ngx_int_t ngx_smtp_backend_claim(ngx_smtp_backend_t *b, ngx_shm_zone_t *zone,
    ngx_str_t *profile);

/* 1 if checks found it down. */
ngx_uint_t ngx_smtp_backend_down(ngx_smtp_backend_t *b);

/* What it offered, NGX_SMTP_BACKEND_*; 0: not known. */
ngx_uint_t ngx_smtp_backend_offers(ngx_smtp_backend_t *b);

/* It offered that; KNOWN is added. */
void ngx_smtp_backend_learn(ngx_smtp_backend_t *b, ngx_uint_t offers);

/*
 * Takes the lease of a check that may take so long (ms).  NGX_OK: it is ours,
 * and ends with ngx_smtp_backend_report() or ..._release(); NGX_AGAIN: ask
 * again after *wait ms; NGX_DECLINED: there is nothing to be known.
 */
ngx_int_t ngx_smtp_backend_take(ngx_smtp_backend_t *b, ngx_msec_t interval,
    ngx_msec_t lease, ngx_msec_t *wait);

/*
 * The outcome of a check; so many in a row change the state.  reason: of a
 * failure, kept as far as there is room.  NGX_DONE: the state changed;
 * NGX_OK; NGX_DECLINED: the lease was lost meanwhile, nothing was noted.
 */
ngx_int_t ngx_smtp_backend_report(ngx_smtp_backend_t *b, ngx_uint_t ok,
    ngx_uint_t needed, ngx_msec_t interval, ngx_str_t *reason);

/* The check was given up: anybody may begin one at once. */
void ngx_smtp_backend_release(ngx_smtp_backend_t *b);

/* NGX_OK, or NGX_DECLINED: nothing is known. */
ngx_int_t ngx_smtp_backend_state(ngx_smtp_backend_t *b,
    ngx_smtp_backend_state_t *st);


#endif /* _NGX_SMTP_BACKEND_H_INCLUDED_ */
