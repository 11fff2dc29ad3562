
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The shared memory zone (directive smtp_zone; the first one is the one used
 * here): a slot for every worker, of this and of older generations, with its
 * counters and gauges; the cache of verified logins; the bound on password
 * hashing in all workers together.
 *
 * A worker writes only to its own slot, without a lock.  Everything else is
 * under the slab mutex, the only lock that the master releases when a worker
 * dies (NGINX-NOTES P32), held for a few instructions.  Nothing here may be
 * called from a thread.  A reload inherits the zone when its size is the same.
 */


#ifndef _NGX_SMTP_ZONE_H_INCLUDED_
#define _NGX_SMTP_ZONE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_usage.h"
#include "ngx_smtp_work.h"


#define NGX_SMTP_ZONE_DEFAULT_SIZE  (4 * 1024 * 1024)
#define NGX_SMTP_ZONE_MIN_SIZE      (512 * 1024)
#define NGX_SMTP_ZONE_KEY_LEN       32


/* tables of other files, see ngx_smtp_zone_table() */
typedef enum {
    NGX_SMTP_ZONE_BACKENDS = 0,     /* ngx_smtp_backend.c */
    NGX_SMTP_ZONE_VERIFIED,         /* ngx_smtp_verified.c */
    NGX_SMTP_ZONE_TABLES
} ngx_smtp_zone_table_e;


/* totals: a worker that ends leaves them behind */
typedef enum {
    NGX_SMTP_COUNT_SESSIONS = 0,    /* sessions ever started */
    NGX_SMTP_COUNT_REFUSED,         /* ... that got 421 or 554 as greeting */
    NGX_SMTP_COUNT_TLS,             /* ... that reached TLS */
    NGX_SMTP_COUNT_AUTH_OK,
    NGX_SMTP_COUNT_AUTH_FAILED,     /* 535 */
    NGX_SMTP_COUNT_AUTH_TEMP,       /* 454 */
    NGX_SMTP_COUNT_AUTH_CACHED,     /* of AUTH_OK: without hashing */
    NGX_SMTP_COUNT_ACCEPTED,        /* messages answered 250 */
    NGX_SMTP_COUNT_REJECTED,        /* messages answered 5xx at their end */
    NGX_SMTP_COUNT_TEMPFAILED,      /* messages answered 4xx at their end */
    NGX_SMTP_COUNT_BYTES,           /* of accepted messages */
    NGX_SMTP_COUNT_ATTEMPTS,        /* delivery attempts */
    NGX_SMTP_COUNT_DELIVERED,       /* recipients */
    NGX_SMTP_COUNT_DEFERRED,        /* recipients, each time */
    NGX_SMTP_COUNT_BOUNCED,         /* recipients that failed for good */
    NGX_SMTP_COUNT_EXPIRED,         /* of BOUNCED: by time */
    NGX_SMTP_COUNT_COMMITS,         /* batches synced */
    NGX_SMTP_COUNTS
} ngx_smtp_count_e;


/* what is now: a worker that ends takes them along */
typedef enum {
    NGX_SMTP_GAUGE_SESSIONS = 0,
    NGX_SMTP_GAUGE_QUEUED,          /* messages owned; summed up from usage */
    NGX_SMTP_GAUGE_HELD,            /* messages on hold; likewise */
    NGX_SMTP_GAUGE_OUTBOUND,        /* connections to next hops */
    NGX_SMTP_GAUGE_RECEIVING,       /* transactions with clients */
    NGX_SMTP_GAUGES
} ngx_smtp_gauge_e;


/*
 * A worker's own slot, or a private one that nobody reads when there is no
 * zone or no slot is free: always valid.  Aligned to avoid false sharing.
 */
typedef struct {
    ngx_atomic_t        pid;        /* 0: free */
    ngx_atomic_t        generation; /* of the zone, never used twice */
    ngx_atomic_t        counts[NGX_SMTP_COUNTS];
    ngx_atomic_t        gauges[NGX_SMTP_GAUGES];
    ngx_smtp_usage_t   *usage;      /* in the zone, as long as the slot; NULL:
                                       the worker has no queues */
    ngx_uint_t          nusage;
    ngx_smtp_work_t     works[NGX_SMTP_WORKS];  /* not of a private one */
    u_char              pad[64];
} ngx_smtp_slot_t;


extern ngx_smtp_slot_t  *ngx_smtp_slot;


/* names as a status shows them, in the order of the enums */
extern ngx_str_t  ngx_smtp_count_names[];
extern ngx_str_t  ngx_smtp_gauge_names[];


#define ngx_smtp_count(id)          (void) (ngx_smtp_slot->counts[id]++)
#define ngx_smtp_count_add(id, n)   (void) (ngx_smtp_slot->counts[id] += (n))
#define ngx_smtp_gauge_inc(id)      (void) (ngx_smtp_slot->gauges[id]++)
#define ngx_smtp_gauge_dec(id)      (void) (ngx_smtp_slot->gauges[id]--)
#define ngx_smtp_gauge_set(id, n)   (void) (ngx_smtp_slot->gauges[id] = (n))


/*
 * A message was answered at its end, with that code of SMTP; also one whose
 * client did not wait for it.
 */
void ngx_smtp_count_message(ngx_uint_t code, off_t bytes);


/*
 * Configuration: declares the zone; tag is the module.  NULL after an error
 * was logged: a size below NGX_SMTP_ZONE_MIN_SIZE, a name used with another
 * size.  A zone declared before is returned again.
 */
ngx_shm_zone_t *ngx_smtp_zone_add(ngx_conf_t *cf, ngx_str_t *name,
    size_t size, void *tag);

/*
 * init_process (workers and single process only): claims a slot of the zone;
 * zone may be NULL.  Never fails: without a free slot (256 live workers) a
 * private one is used and a warning logged.
 */
void ngx_smtp_zone_init_worker(ngx_shm_zone_t *zone, ngx_log_t *log);

/* exit_process: adds the counts to the zone's totals and frees the slot. */
void ngx_smtp_zone_exit_worker(void);

/* The generation of this worker's slot, 0 if private. */
ngx_uint_t ngx_smtp_zone_generation(void);

/*
 * Sums of all live workers and, for counts, of those that ended.  Arrays of
 * NGX_SMTP_COUNTS and NGX_SMTP_GAUGES; any process that has the zone.
 */
void ngx_smtp_zone_totals(ngx_shm_zone_t *zone, ngx_atomic_uint_t *counts,
    ngx_atomic_uint_t *gauges);


/* -- ngx_smtp_zone_usage.c ------------------------------------------------ */

/*
 * init_process, after ngx_smtp_zone_init_worker(): the worker's usage of n
 * queues, in the order of names, and behind them that of queues that are not
 * configured: n + 1 elements that live until ngx_smtp_zone_exit_worker().
 * Without a slot, or room in the zone, they are private and seen by nobody
 * else, which is logged.  NULL: no memory.
 */
ngx_smtp_usage_t *ngx_smtp_zone_usage(ngx_str_t **names, ngx_uint_t n,
    ngx_log_t *log);

/*
 * What all live workers of the zone have in the queue of usage[i], an element
 * of what ngx_smtp_zone_usage() gave.  Of the others it may be as old as
 * NGX_SMTP_ZONE_USAGE_AGE.
 */
#define NGX_SMTP_ZONE_USAGE_AGE  100     /* ms */

void ngx_smtp_zone_usage_sum(ngx_smtp_usage_t *usage,
    ngx_atomic_uint_t *messages, ngx_atomic_uint_t *bytes);


/* -- ngx_smtp_zone_strike.c ----------------------------------------------- */

/*
 * For who has just locked the segment of this id (NGX_SMTP_WORK_ID bytes).
 * With struck: which messages dead workers were at; told once.  Without: how
 * many workers died while they read it.
 */
ngx_uint_t ngx_smtp_zone_struck(u_char *id, ngx_smtp_struck_t *struck);

/* The segment was read, and nobody died. */
void ngx_smtp_zone_acquit(u_char *id);


/* -- ngx_smtp_zone.c, again ----------------------------------------------- */

/*
 * Cache of verified logins (D10).  The key is an HMAC-SHA256 with a random key
 * of the zone over login, stored verifier and password: nothing in the zone
 * allows testing passwords without that key.  key() returns NGX_OK or
 * NGX_ERROR (the library failed: do without the cache).
 */
ngx_int_t ngx_smtp_zone_login_key(ngx_shm_zone_t *zone, ngx_str_t *login,
    ngx_str_t *verifier, ngx_str_t *password,
    u_char key[NGX_SMTP_ZONE_KEY_LEN]);

/* NGX_OK: verified not longer ago than put() allowed; NGX_DECLINED. */
ngx_int_t ngx_smtp_zone_login_get(ngx_shm_zone_t *zone, u_char *key);

/* Remembers a successful login for ttl milliseconds. */
void ngx_smtp_zone_login_put(ngx_shm_zone_t *zone, u_char *key,
    ngx_msec_t ttl);

/*
 * Hashing slots: at most max(1, cores / 2) in all workers and one for each
 * client (addr, of at most NGX_SOCKADDR_STRLEN bytes, names it).  take()
 * returns NGX_OK and a ticket that give() needs; NGX_AGAIN: all taken;
 * NGX_BUSY: one for this address is.  Tickets of dead workers and those older
 * than 2 minutes are taken back.  Without a zone (NULL) the same bounds hold
 * within the worker.
 */
ngx_int_t ngx_smtp_zone_hashing_take(ngx_shm_zone_t *zone, ngx_str_t *addr,
    ngx_uint_t *ticket);
void ngx_smtp_zone_hashing_give(ngx_shm_zone_t *zone, ngx_uint_t ticket);

/*
 * Tables of other files of net/.  A table is a piece of zeroed memory that is
 * made when it is first asked for, and kept by reloads; its size must not
 * depend on anything but the size of the zone.  NULL: there is no room.  To be
 * called, and the table used, between lock and unlock.
 */
void ngx_smtp_zone_lock(ngx_shm_zone_t *zone);
void ngx_smtp_zone_unlock(ngx_shm_zone_t *zone);
void *ngx_smtp_zone_table(ngx_shm_zone_t *zone, ngx_uint_t id, size_t size);

/* 1 if there is no process of that id. */
ngx_uint_t ngx_smtp_zone_is_dead(ngx_pid_t pid);


#endif /* _NGX_SMTP_ZONE_H_INCLUDED_ */
