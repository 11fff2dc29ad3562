
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the zone holds, for the files that work on it: ngx_smtp_zone.c (slots,
 * logins, hashing) and ngx_smtp_zone_usage.c (mail of the queues).
 * Everything lives as long as the zone; only what belongs to a slot comes and
 * goes with its worker.
 */


#ifndef _NGX_SMTP_ZONE_PRIVATE_H_INCLUDED_
#define _NGX_SMTP_ZONE_PRIVATE_H_INCLUDED_


#include "ngx_smtp_zone.h"
#include "ngx_smtp_transaction.h"


#define NGX_SMTP_ZONE_HASHING       64
#define NGX_SMTP_ZONE_LEFT          64
#define NGX_SMTP_ZONE_SUSPECTS      16


typedef struct {
    u_char               key[NGX_SMTP_ZONE_KEY_LEN];
    ngx_msec_t           expires;       /* of ngx_current_msec */
    ngx_uint_t           used;
} ngx_smtp_zone_login_t;


/* a hash being computed */
typedef struct {
    ngx_pid_t            pid;           /* 0: free */
    ngx_uint_t           seq;
    ngx_msec_t           started;
    size_t               len;
    u_char               addr[NGX_SOCKADDR_STRLEN];
} ngx_smtp_zone_ticket_t;


typedef struct {
    ngx_uint_t               seq;
    ngx_smtp_zone_ticket_t   tickets[NGX_SMTP_ZONE_HASHING];
} ngx_smtp_zone_hashing_t;


/* a segment that workers died of while they read it */
typedef struct {
    u_char                   id[NGX_SMTP_WORK_ID];
    ngx_uint_t               strikes;       /* 0: free */
} ngx_smtp_zone_suspect_t;


typedef struct {
    u_char                   key[NGX_SMTP_ZONE_KEY_LEN];
    ngx_atomic_uint_t        generation;
    ngx_atomic_uint_t        counts[NGX_SMTP_COUNTS];   /* of the ended */

    ngx_smtp_zone_hashing_t  hashing;

    ngx_uint_t               nslots;
    ngx_smtp_slot_t         *slots;

    ngx_uint_t               nbuckets;  /* a power of 2 */
    ngx_smtp_zone_login_t   *logins;    /* WAYS for each bucket */

    ngx_uint_t               nleft;         /* ever put there */
    ngx_smtp_work_t          left[NGX_SMTP_ZONE_LEFT];
    ngx_uint_t               nsuspects;
    ngx_smtp_zone_suspect_t  suspects[NGX_SMTP_ZONE_SUSPECTS];

    void                    *tables[NGX_SMTP_ZONE_TABLES];
} ngx_smtp_zone_sh_t;


typedef struct {
    ngx_smtp_zone_sh_t      *sh;
    ngx_slab_pool_t         *shpool;
} ngx_smtp_zone_t;


/* the zone of this worker's slot; NULL: the slot is private */
extern ngx_smtp_zone_t  *ngx_smtp_slot_zone;


/* The slot's usage goes with its worker. */
void ngx_smtp_zone_usage_free_locked(ngx_smtp_zone_t *zone,
    ngx_smtp_slot_t *slot);

/* What its worker was at when it died. */
void ngx_smtp_zone_left_locked(ngx_smtp_zone_sh_t *sh, ngx_smtp_slot_t *slot);

/* Adds a live slot's usage to the gauges. */
void ngx_smtp_zone_usage_gauges(ngx_smtp_slot_t *slot,
    ngx_atomic_uint_t *gauges);

/* Forgets the private usage, if there is one. */
void ngx_smtp_zone_usage_exit(void);


#endif /* _NGX_SMTP_ZONE_PRIVATE_H_INCLUDED_ */
