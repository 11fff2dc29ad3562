
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The thread's part of the upkeep: one operation on the directory, or on the
 * files of a segment that is busy with it.  It touches only the job and what
 * that names.
 */


#include "ngx_smtp_store_internal.h"

#include <sys/random.h>


static ngx_int_t ngx_smtp_upkeep_run_create(ngx_smtp_upkeep_t *u);
static ngx_int_t ngx_smtp_upkeep_run_unlink(ngx_smtp_upkeep_t *u);
static ngx_int_t ngx_smtp_upkeep_run_recover(ngx_smtp_upkeep_t *u);
static void ngx_smtp_upkeep_run_close(ngx_smtp_upkeep_t *u);


void
ngx_smtp_upkeep_run(void *data)
{
    ngx_smtp_upkeep_t *u = data;

    ngx_smtp_spool_t         *spool;
    ngx_smtp_segment_t       *seg;
    ngx_smtp_segment_file_t  *f;

    seg = u->segment;
    spool = &u->store->spool;
    f = seg ? &seg->file : NULL;

    switch (u->op) {

    case ngx_smtp_upkeep_open:
        u->rc = ngx_smtp_spool_open(spool,
                                    (char *) u->store->conf->path.data,
                                    &u->fault);
        return;

    case ngx_smtp_upkeep_look:
        ngx_smtp_own_look(spool, u->look);
        return;

    case ngx_smtp_upkeep_space:
        u->rc = ngx_smtp_spool_space(spool, &u->space, &u->fault);
        return;

    case ngx_smtp_upkeep_create:
        u->rc = ngx_smtp_upkeep_run_create(u);
        break;

    case ngx_smtp_upkeep_stat:
        ngx_smtp_spool_released(spool, &u->released);
        return;

    case ngx_smtp_upkeep_close:
        ngx_smtp_upkeep_run_close(u);
        return;

    case ngx_smtp_upkeep_commit:
    case ngx_smtp_upkeep_rewrite:
        ngx_smtp_renew_run(u);
        return;

    case ngx_smtp_upkeep_release:
        u->rc = ngx_smtp_segment_release(spool, seg, u->now, &u->fault);
        return;

    case ngx_smtp_upkeep_remove:
        u->rc = ngx_smtp_segment_remove(spool, f, seg->dead, seg->ndead,
                                        u->now);
        break;

    case ngx_smtp_upkeep_sync:
        u->rc = ngx_smtp_segment_log_sync(f);
        break;

    case ngx_smtp_upkeep_unlink:
        u->rc = ngx_smtp_upkeep_run_unlink(u);
        return;

    case ngx_smtp_upkeep_reserve:
        u->rc = ngx_smtp_segment_reserve(f, 0);
        break;

    case ngx_smtp_upkeep_recover:
        u->rc = ngx_smtp_upkeep_run_recover(u);
        break;

    case ngx_smtp_upkeep_seal:
        u->rc = ngx_smtp_own_seal(seg, u->now);
        break;

    default:
        return;
    }

    if (u->rc != NGX_OK && u->rc != NGX_AGAIN && u->fault.what == NULL) {
        u->fault = f->fault;
    }
}


static ngx_int_t
ngx_smtp_upkeep_run_create(ngx_smtp_upkeep_t *u)
{
    u_char  random[NGX_SMTP_SEGMENT_RANDOM];

    if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random)) {
        return ngx_smtp_fault_set(&u->fault, "getrandom()");
    }

    return ngx_smtp_segment_create(&u->store->spool, &u->segment->file,
                                   u->msec, random, u->prezero);
}


static ngx_int_t
ngx_smtp_upkeep_run_unlink(ngx_smtp_upkeep_t *u)
{
    ngx_int_t   rc;
    ngx_uint_t  i;

    for (i = 0; i < u->nbodies; i++) {
        rc = ngx_smtp_body_unlink(&u->store->spool,
                                  &u->segment->file.header.id, u->bodies[i],
                                  &u->fault);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_upkeep_run_recover(ngx_smtp_upkeep_t *u)
{
    ngx_smtp_segment_t  *seg;

    seg = u->segment;

    if (seg->recovery == NULL) {
        seg->recovery = ngx_smtp_recovery_start(&u->store->spool, &seg->file,
                                                u->now);
        if (seg->recovery == NULL) {
            ngx_set_errno(ENOMEM);
            return ngx_smtp_fault_set(&u->fault, "malloc() for recovery");
        }
    }

    return ngx_smtp_recovery_step(seg->recovery);
}


static void
ngx_smtp_upkeep_run_close(ngx_smtp_upkeep_t *u)
{
    ngx_uint_t  i;

    for (i = 0; i < u->nfiles; i++) {
        ngx_smtp_body_abort(&u->store->spool, &u->files[i]);
    }
}
