
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What tests of the store share: stores on a directory of their own, several
 * at a time as several workers would have them, an upper layer that remembers
 * what it was told, messages to accept, and faults of chosen system calls.
 * Threads and time are the shim's, so that everything happens in an order the
 * test decides.
 */


#ifndef _NGX_SMTP_STORE_ENV_H_INCLUDED_
#define _NGX_SMTP_STORE_ENV_H_INCLUDED_


#include "shim.h"

#include "ngx_smtp_store.h"
#include "ngx_smtp_sys.h"
#include "ngx_smtp_task.h"


#define ENV_MESSAGES  4096


/* one worker's store */
typedef struct {
    ngx_smtp_store_conf_t   conf;
    ngx_smtp_store_t       *store;
    ngx_str_t               queues[3];
    ngx_smtp_usage_t        usage[4];   /* of queues, then of others */
    ngx_smtp_usage_t       *usages[4];
    ngx_atomic_t            commits;
    ngx_smtp_message_t     *messages[ENV_MESSAGES];    /* in order */
    ngx_uint_t              nmessages;
    ngx_uint_t              told;       /* ever handed up */
    ngx_uint_t              forgotten;
} env_worker_t;


typedef struct {
    ngx_smtp_accept_t       accept;
    ngx_smtp_envelope_t     envelope;
    ngx_smtp_meta_t         meta;
    ngx_smtp_content_t      content;
    ngx_smtp_rcpt_t         rcpts[100];
    ngx_int_t               rc;
    ngx_uint_t              done;
    ngx_uint_t              told;       /* env_worker_t told when it ended */
    env_worker_t           *worker;
    char                    sender[64];
} env_mail_t;


/* counts and faults of system calls on files whose name contains match */
typedef struct {
    const char             *match;
    ngx_uint_t              skip;       /* so many go well first */
    ngx_uint_t              times;      /* then so many fail */
    int                     err;
} env_fault_t;

extern env_fault_t  env_fault_pwritev, env_fault_fdatasync, env_fault_fsync;
extern ngx_uint_t   env_data_syncs;     /* fdatasync() of data files */
extern off_t        env_free;           /* what fstatvfs() tells; -1: truth */
extern off_t        env_inodes;         /* likewise; -2: it counts none */


/* a new directory; the sys table with faults; for setup and teardown */
int env_setup(void **state);
int env_teardown(void **state);
extern char  env_path[];

/* names in the directory that contain match */
ngx_uint_t env_files(const char *match);

/* queues: names, NULL-ended; segment_size 0: 64m */
env_worker_t *env_start(size_t segment_size, const char **queues);
/* exit_process: threads are joined first */
void env_stop(env_worker_t *w);
/* runs posted events and tasks until nothing moves */
void env_pump(void);
/* one thing of those that wait: events, a task, or its end; 0: none did */
ngx_uint_t env_step(void);
/* so many ms, with everything that happens in them */
void env_time(ngx_msec_t msec);

/*
 * Prepares a mail of n recipients and size bytes of content that depend on
 * seed, and gives it to the store; env_accepted() pumps and tells its end.
 */
void env_mail(env_mail_t *mail, const char *queue, ngx_uint_t n, size_t size,
    unsigned seed);
void env_accept(env_worker_t *w, env_mail_t *mail);
ngx_int_t env_accepted(env_worker_t *w, env_mail_t *mail);

/* the byte at offset i of the content of a seed */
u_char env_byte(unsigned seed, size_t i);

/* by sender, that env_mail() made from the seed; NULL: not there */
ngx_smtp_message_t *env_find(env_worker_t *w, unsigned seed);

/* the message's report with this number; NULL: not there */
ngx_smtp_report_t *env_report(ngx_smtp_message_t *m, uint64_t number);

/* reads the message and compares it with what env_mail() made */
void env_check_read(ngx_smtp_message_t *m, ngx_uint_t n, size_t size,
    unsigned seed);

/* one result for a recipient, recorded */
void env_result(ngx_smtp_message_t *m, ngx_uint_t rcpt, ngx_uint_t status,
    time_t due);

/* takes the message out of the worker's list and ends it */
ngx_int_t env_done(env_worker_t *w, ngx_smtp_message_t *m);


#endif /* _NGX_SMTP_STORE_ENV_H_INCLUDED_ */
