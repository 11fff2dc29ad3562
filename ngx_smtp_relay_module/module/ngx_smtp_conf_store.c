
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Stores, one for each path that "spool" of a queue names.  Queues that name
 * the same path share its store, and what is set for it: a store has what one
 * of them says, and two must not contradict each other.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_conf_queue.h"


#define NGX_SMTP_STORE_CONF_SEGMENT  (64 * 1024 * 1024)
#define NGX_SMTP_STORE_CONF_MEMORY   (64 * 1024 * 1024)
#define NGX_SMTP_STORE_CONF_INODES   100


static ngx_int_t ngx_smtp_store_conf_check(ngx_conf_t *cf,
    ngx_smtp_main_conf_t *smcf, ngx_smtp_store_conf_t *sc);


char *
ngx_smtp_conf_queue_store(ngx_conf_t *cf, ngx_smtp_main_conf_t *smcf,
    ngx_smtp_queue_block_t *b)
{
    ngx_str_t               *name;
    ngx_uint_t               i;
    ngx_smtp_store_conf_t  **slot, *sc;

    sc = NULL;
    slot = smcf->stores.elts;

    for (i = 0; i < smcf->stores.nelts; i++) {

        if (slot[i]->path.len == b->spool.len
            && ngx_strncmp(slot[i]->path.data, b->spool.data, b->spool.len)
               == 0)
        {
            sc = slot[i];
            break;
        }
    }

    if (sc == NULL) {
        slot = ngx_array_push(&smcf->stores);
        sc = ngx_pcalloc(cf->pool, sizeof(ngx_smtp_store_conf_t));

        if (slot == NULL || sc == NULL
            || ngx_array_init(&sc->queues, cf->pool, 4, sizeof(ngx_str_t))
               != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }

        *slot = sc;

        sc->path = b->spool;
        sc->pool = smcf->commit_pool;
        sc->segment_size = NGX_CONF_UNSET_SIZE;
        sc->min_free = NGX_CONF_UNSET;
        sc->min_inodes = NGX_CONF_UNSET_UINT;
        sc->memory = NGX_CONF_UNSET_SIZE;
    }

    name = ngx_array_push(&sc->queues);
    if (name == NULL) {
        return NGX_CONF_ERROR;
    }

    *name = b->queue.name;
    b->queue.store = sc;

    if ((b->segment_size != NGX_CONF_UNSET_SIZE
         && sc->segment_size != NGX_CONF_UNSET_SIZE
         && b->segment_size != sc->segment_size)
        || (b->min_free != NGX_CONF_UNSET && sc->min_free != NGX_CONF_UNSET
            && b->min_free != sc->min_free)
        || (b->min_inodes != NGX_CONF_UNSET_UINT
            && sc->min_inodes != NGX_CONF_UNSET_UINT
            && b->min_inodes != sc->min_inodes)
        || (b->memory != NGX_CONF_UNSET_SIZE
            && sc->memory != NGX_CONF_UNSET_SIZE && b->memory != sc->memory))
    {
        return ngx_smtp_queue_error(cf, b, "shares its spool with another "
                                    "queue that sets \"spool_...\" "
                                    "differently", NULL);
    }

    ngx_conf_merge_size_value(sc->segment_size, b->segment_size,
                              NGX_CONF_UNSET_SIZE);
    ngx_conf_merge_size_value(sc->memory, b->memory, NGX_CONF_UNSET_SIZE);

    if (sc->min_free == NGX_CONF_UNSET) {
        sc->min_free = b->min_free;
    }

    if (sc->min_inodes == NGX_CONF_UNSET_UINT) {
        sc->min_inodes = b->min_inodes;
    }

    return NGX_CONF_OK;
}


char *
ngx_smtp_conf_init_stores(ngx_conf_t *cf, ngx_smtp_main_conf_t *smcf)
{
    ngx_uint_t               i;
    ngx_smtp_store_conf_t  **sc;

    sc = smcf->stores.elts;

    for (i = 0; i < smcf->stores.nelts; i++) {

        if (sc[i]->segment_size == NGX_CONF_UNSET_SIZE) {
            sc[i]->segment_size = NGX_SMTP_STORE_CONF_SEGMENT;
        }

        if (sc[i]->memory == NGX_CONF_UNSET_SIZE) {
            sc[i]->memory = NGX_SMTP_STORE_CONF_MEMORY;
        }

        if (sc[i]->min_free == NGX_CONF_UNSET) {
            sc[i]->min_free = 2 * (off_t) sc[i]->segment_size;
        }

        if (sc[i]->min_inodes == NGX_CONF_UNSET_UINT) {
            sc[i]->min_inodes = NGX_SMTP_STORE_CONF_INODES;
        }

        if (ngx_smtp_store_conf_check(cf, smcf, sc[i]) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_smtp_store_conf_check(ngx_conf_t *cf, ngx_smtp_main_conf_t *smcf,
    ngx_smtp_store_conf_t *sc)
{
    uid_t                     user;
    gid_t                     group;
    struct group             *grp;
    struct passwd            *pwd;
    ngx_core_conf_t          *ccf;
    ngx_smtp_queue_block_t  **b;
    u_char                    err[NGX_MAX_CONF_ERRSTR];

    user = (uid_t) -1;
    group = (gid_t) -1;

    if (geteuid() == 0) {
        ccf = (ngx_core_conf_t *) ngx_get_conf(cf->cycle->conf_ctx,
                                               ngx_core_module);
        user = ccf->user;
        group = ccf->group;

        /* no "user": the one nginx was built with */

        if (user == (uid_t) NGX_CONF_UNSET_UINT) {
            pwd = getpwnam(NGX_USER);
            grp = getgrnam(NGX_GROUP);

            user = pwd ? pwd->pw_uid : (uid_t) -1;
            group = grp ? grp->gr_gid : (gid_t) -1;
        }
    }

    if (ngx_smtp_store_check(&sc->path, user, group, err) != NGX_OK) {

        /* of the queues that share it, the first one names the place */

        b = smcf->queues.elts;

        while ((*b)->queue.store != sc) {
            b++;
        }

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "%s in %s:%ui", err,
                      (*b)->file, (*b)->line);
        return NGX_ERROR;
    }

    return NGX_OK;
}
