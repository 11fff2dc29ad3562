
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The state machine of a site; the diagram is in the header.  Memory belongs
 * to the caller.
 */


#include "ngx_smtp_site.h"
#include "ngx_smtp_schedule.h"


static ngx_uint_t ngx_smtp_site_max(ngx_smtp_site_t *site);
static ngx_uint_t ngx_smtp_site_initial(ngx_smtp_site_t *site);
static time_t ngx_smtp_site_backoff_min(ngx_smtp_site_t *site);
static time_t ngx_smtp_site_backoff_max(ngx_smtp_site_t *site);
static void ngx_smtp_site_shrink(ngx_smtp_site_t *site, time_t now);
static void ngx_smtp_site_die(ngx_smtp_site_t *site, time_t now,
    uint32_t seed);
static void ngx_smtp_site_revive(ngx_smtp_site_t *site);


void
ngx_smtp_site_conf_default(ngx_smtp_site_conf_t *conf)
{
    conf->initial = NGX_SMTP_SITE_INITIAL;
    conf->max = NGX_SMTP_SITE_MAX;
    conf->dead_after = NGX_SMTP_SITE_DEAD_AFTER;
    conf->backoff_min = NGX_SMTP_SITE_BACKOFF_MIN;
    conf->backoff_max = NGX_SMTP_SITE_BACKOFF_MAX;
}


void
ngx_smtp_site_init(ngx_smtp_site_t *site, ngx_smtp_site_conf_t *conf)
{
    ngx_memzero(site, sizeof(ngx_smtp_site_t));

    site->conf = conf;
    site->state = NGX_SMTP_SITE_ALIVE;
    site->window = ngx_smtp_site_initial(site);
    site->shrunk = -1;
}


ngx_int_t
ngx_smtp_site_may_open(ngx_smtp_site_t *site, time_t now, time_t *until)
{
    time_t  max;

    *until = 0;

    switch (site->state) {

    case NGX_SMTP_SITE_ALIVE:

        /* a reload may have lowered the limit below the window */

        return site->open < ngx_min(site->window, ngx_smtp_site_max(site))
               ? NGX_OK : NGX_AGAIN;

    case NGX_SMTP_SITE_DEAD:

        /* a clock that was put back must not prolong the back-off */

        max = ngx_smtp_site_backoff_max(site);
        max += max * NGX_SMTP_SCHEDULE_JITTER / 100;

        if (site->until > now + max) {
            site->until = now + max;
        }

        if (now >= site->until) {
            return NGX_OK;
        }

        *until = site->until;

        return NGX_DECLINED;

    default: /* NGX_SMTP_SITE_PROBE */

        return NGX_AGAIN;
    }
}


void
ngx_smtp_site_opened(ngx_smtp_site_t *site, ngx_smtp_site_slot_t *slot,
    time_t now)
{
    if (slot->open) {
        return;
    }

    slot->open = 1;
    site->open++;

    if (site->state == NGX_SMTP_SITE_DEAD) {
        site->state = NGX_SMTP_SITE_PROBE;
        site->probe = slot;
    }
}


void
ngx_smtp_site_closed(ngx_smtp_site_t *site, ngx_smtp_site_slot_t *slot,
    time_t now, uint32_t seed)
{
    if (!slot->open) {
        return;
    }

    slot->open = 0;
    site->open--;

    if (site->probe == slot) {
        ngx_smtp_site_die(site, now, seed);
    }
}


void
ngx_smtp_site_success(ngx_smtp_site_t *site, ngx_smtp_site_slot_t *slot)
{
    if (!slot->open) {
        return;
    }

    site->failures = 0;
    site->broken = 0;

    if (site->state != NGX_SMTP_SITE_ALIVE) {
        ngx_smtp_site_revive(site);
        return;
    }

    if (++site->credit < site->window) {
        return;
    }

    site->credit = 0;

    if (site->window < ngx_smtp_site_max(site)) {
        site->window++;
    }
}


void
ngx_smtp_site_ready(ngx_smtp_site_t *site, ngx_smtp_site_slot_t *slot)
{
    if (!slot->open) {
        return;
    }

    site->failures = 0;

    if (site->state != NGX_SMTP_SITE_ALIVE && site->broken == 0) {
        ngx_smtp_site_revive(site);
    }
}


void
ngx_smtp_site_failure(ngx_smtp_site_t *site, ngx_smtp_site_slot_t *slot,
    ngx_uint_t kind, time_t now, uint32_t seed)
{
    ngx_uint_t  *row;

    if (!slot->open) {
        return;
    }

    if (kind == NGX_SMTP_SITE_MESSAGE) {
        site->failures = 0;
        site->broken = 0;

        if (site->state != NGX_SMTP_SITE_ALIVE) {
            ngx_smtp_site_revive(site);
        }

        return;
    }

    if (site->state != NGX_SMTP_SITE_ALIVE) {

        /* of the others that are still open nothing new is learned */

        if (site->probe == slot) {
            ngx_smtp_site_die(site, now, seed);
        }

        return;
    }

    if (kind == NGX_SMTP_SITE_CONNECT || site->window == 1) {

        row = (kind == NGX_SMTP_SITE_CONNECT) ? &site->failures
                                              : &site->broken;

        if (++*row >= ngx_max(site->conf->dead_after, 1)) {
            ngx_smtp_site_die(site, now, seed);
            return;
        }
    }

    ngx_smtp_site_shrink(site, now);
}


static void
ngx_smtp_site_shrink(ngx_smtp_site_t *site, time_t now)
{
    site->credit = 0;

    if (site->shrunk == now) {
        return;
    }

    site->shrunk = now;
    site->window = ngx_max(site->window / 2, 1);
}


static void
ngx_smtp_site_die(ngx_smtp_site_t *site, time_t now, uint32_t seed)
{
    if (site->state == NGX_SMTP_SITE_ALIVE) {
        site->backoff = ngx_smtp_site_backoff_min(site);
        site->died = now;

    } else {
        site->backoff = ngx_min(site->backoff * 2,
                                ngx_smtp_site_backoff_max(site));
    }

    site->state = NGX_SMTP_SITE_DEAD;
    site->until = now + ngx_smtp_schedule_jitter(site->backoff, seed);
    site->probe = NULL;
    site->failures = 0;
    site->credit = 0;
}


static void
ngx_smtp_site_revive(ngx_smtp_site_t *site)
{
    site->state = NGX_SMTP_SITE_ALIVE;
    site->window = ngx_smtp_site_initial(site);
    site->broken = 0;
    site->probe = NULL;
    site->backoff = 0;
    site->until = 0;
    site->credit = 0;
}


static ngx_uint_t
ngx_smtp_site_max(ngx_smtp_site_t *site)
{
    return ngx_max(site->conf->max, 1);
}


static ngx_uint_t
ngx_smtp_site_initial(ngx_smtp_site_t *site)
{
    ngx_uint_t  max;

    max = ngx_smtp_site_max(site);

    if (site->conf->initial == 0) {
        return 1;
    }

    return ngx_min(site->conf->initial, max);
}


static time_t
ngx_smtp_site_backoff_min(ngx_smtp_site_t *site)
{
    return ngx_max(site->conf->backoff_min, 1);
}


static time_t
ngx_smtp_site_backoff_max(ngx_smtp_site_t *site)
{
    return ngx_max(site->conf->backoff_max, ngx_smtp_site_backoff_min(site));
}


time_t
ngx_smtp_site_dead(ngx_smtp_site_t *site, time_t now)
{
    if (site->state == NGX_SMTP_SITE_ALIVE) {
        return 0;
    }

    return ngx_max(now - site->died, 0);
}


void
ngx_smtp_site_retry(ngx_smtp_site_t *site, time_t now)
{
    if (site->state == NGX_SMTP_SITE_DEAD && site->until > now) {
        site->until = now;
    }
}
