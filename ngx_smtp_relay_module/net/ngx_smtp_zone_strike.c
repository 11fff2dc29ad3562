
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What workers were at when they died.  Nobody has to be told that a worker
 * died, and no process is asked whether it lives: whoever asks has the lock on
 * the segment, so another worker that names it in its slot lost it, and a lock
 * is lost only with the process.  (One that leaves names nothing any more.)
 *
 * A slot that is taken over before anybody asked leaves its names in a ring.
 * Strikes of messages are recorded in their segment's log; those of a segment,
 * which cannot be read, stay here.
 */


#include "ngx_smtp_zone_private.h"


static void ngx_smtp_zone_strike(ngx_smtp_zone_sh_t *sh, ngx_smtp_work_t *w,
    u_char *id, ngx_smtp_struck_t *struck);
static ngx_smtp_zone_suspect_t *ngx_smtp_zone_suspect(ngx_smtp_zone_sh_t *sh,
    u_char *id);


ngx_uint_t
ngx_smtp_zone_struck(u_char *id, ngx_smtp_struck_t *struck)
{
    ngx_uint_t                i, k, strikes;
    ngx_smtp_zone_t          *zone;
    ngx_smtp_zone_sh_t       *sh;
    ngx_smtp_zone_suspect_t  *s;

    if (struck) {
        struck->n = 0;
    }

    zone = ngx_smtp_slot_zone;

    if (zone == NULL) {
        return 0;
    }

    sh = zone->sh;

    ngx_shmtx_lock(&zone->shpool->mutex);

    for (i = 0; i < sh->nslots; i++) {

        if (sh->slots[i].pid == 0 || &sh->slots[i] == ngx_smtp_slot) {
            continue;
        }

        for (k = 0; k < NGX_SMTP_WORKS; k++) {
            ngx_smtp_zone_strike(sh, &sh->slots[i].works[k], id, struck);
        }
    }

    for (i = 0; i < NGX_SMTP_ZONE_LEFT; i++) {
        ngx_smtp_zone_strike(sh, &sh->left[i], id, struck);
    }

    s = ngx_smtp_zone_suspect(sh, id);
    strikes = s ? s->strikes : 0;

    ngx_shmtx_unlock(&zone->shpool->mutex);

    return strikes;
}


static void
ngx_smtp_zone_strike(ngx_smtp_zone_sh_t *sh, ngx_smtp_work_t *w, u_char *id,
    ngx_smtp_struck_t *struck)
{
    ngx_uint_t                i;
    ngx_smtp_zone_suspect_t  *s;

    if (!w->used || (struck == NULL) != (w->number == 0)
        || ngx_memcmp(w->id, id, NGX_SMTP_WORK_ID) != 0)
    {
        return;
    }

    w->used = 0;

    if (w->number == 0) {
        s = ngx_smtp_zone_suspect(sh, id);

        if (s == NULL) {
            s = &sh->suspects[sh->nsuspects++ % NGX_SMTP_ZONE_SUSPECTS];

            ngx_memcpy(s->id, id, NGX_SMTP_WORK_ID);
            s->strikes = 0;
        }

        s->strikes++;

        return;
    }

    for (i = 0; i < struck->n; i++) {
        if (struck->numbers[i] == w->number) {
            return;
        }
    }

    if (struck->n < NGX_SMTP_WORKS) {
        struck->numbers[struck->n++] = w->number;
    }
}


static ngx_smtp_zone_suspect_t *
ngx_smtp_zone_suspect(ngx_smtp_zone_sh_t *sh, u_char *id)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_SMTP_ZONE_SUSPECTS; i++) {

        if (sh->suspects[i].strikes
            && ngx_memcmp(sh->suspects[i].id, id, NGX_SMTP_WORK_ID) == 0)
        {
            return &sh->suspects[i];
        }
    }

    return NULL;
}


void
ngx_smtp_zone_acquit(u_char *id)
{
    ngx_smtp_zone_t          *zone;
    ngx_smtp_zone_suspect_t  *s;

    zone = ngx_smtp_slot_zone;

    if (zone == NULL) {
        return;
    }

    ngx_shmtx_lock(&zone->shpool->mutex);

    s = ngx_smtp_zone_suspect(zone->sh, id);

    if (s) {
        s->strikes = 0;
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


void
ngx_smtp_zone_left_locked(ngx_smtp_zone_sh_t *sh, ngx_smtp_slot_t *slot)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_SMTP_WORKS; i++) {
        if (slot->works[i].used) {
            sh->left[sh->nleft++ % NGX_SMTP_ZONE_LEFT] = slot->works[i];
        }
    }
}
