
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The places that name what a worker is at.  A place that is being written
 * counts as free: a worker that dies right then accuses nobody.
 */


#include "ngx_smtp_work.h"


static ngx_smtp_work_t   ngx_smtp_works_private[NGX_SMTP_WORKS];

ngx_smtp_work_t         *ngx_smtp_works = ngx_smtp_works_private;


void
ngx_smtp_works_set(ngx_smtp_work_t *works)
{
    ngx_uint_t  i;

    /* of tasks in flight, whose places are cleared later, in the new ones */

    for (i = 0; i < NGX_SMTP_WORKS; i++) {
        ngx_smtp_works[i].used = 0;
    }

    ngx_smtp_works = works ? works : ngx_smtp_works_private;
}


void
ngx_smtp_work_on(ngx_uint_t place, u_char *id, uint32_t number)
{
    ngx_smtp_work_t  *w;

    w = &ngx_smtp_works[place];

    w->used = 0;
    ngx_memory_barrier();

    w->number = number;
    ngx_memcpy(w->id, id, NGX_SMTP_WORK_ID);

    ngx_memory_barrier();
    w->used = 1;
}


void
ngx_smtp_work_off(ngx_uint_t place)
{
    ngx_smtp_works[place].used = 0;
}


ngx_uint_t
ngx_smtp_work_reader(u_char *id, uint32_t number)
{
    ngx_uint_t  i;

    for (i = NGX_SMTP_WORK_READ; i < NGX_SMTP_WORKS; i++) {

        if (!ngx_smtp_works[i].used) {
            ngx_smtp_work_on(i, id, number);
            return i;
        }
    }

    return 0;
}
