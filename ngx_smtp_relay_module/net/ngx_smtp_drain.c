
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The switch of draining, see ngx_smtp_drain.h.  A reload may load another
 * copy of this file, with variables of its own: what finds the page again is
 * the environment, of the master for a reload, and in nginx's list of what a
 * new binary is given.  A descriptor found there is believed only if what it
 * leads to is such a page.
 */


#include "ngx_smtp_drain.h"

#include <sys/mman.h>


#define NGX_SMTP_DRAIN_ENV    "NGX_SMTP_DRAIN"
#define NGX_SMTP_DRAIN_MAGIC  "smtpdra1"


typedef struct {
    u_char         magic[8];
    ngx_atomic_t   on;
    ngx_atomic_t   changed;     /* ngx_current_msec: of the machine's clock
                                   that does not jump, so one for all */
} ngx_smtp_drain_page_t;


static ngx_smtp_drain_page_t *ngx_smtp_drain_find(int *fd);
static ngx_smtp_drain_page_t *ngx_smtp_drain_make(ngx_cycle_t *cycle,
    int *fd);
static ngx_int_t ngx_smtp_drain_export(ngx_cycle_t *cycle, int fd);


static ngx_smtp_drain_page_t  *ngx_smtp_drain_page;
static int                     ngx_smtp_drain_fd = -1;
static ngx_uint_t              ngx_smtp_drain_conf;


void
ngx_smtp_drain_init(ngx_cycle_t *cycle)
{
    if (ngx_smtp_drain_page == NULL) {
        ngx_smtp_drain_page = ngx_smtp_drain_find(&ngx_smtp_drain_fd);
    }

    if (ngx_smtp_drain_page == NULL) {
        ngx_smtp_drain_page = ngx_smtp_drain_make(cycle, &ngx_smtp_drain_fd);
    }

    if (ngx_smtp_drain_page == NULL) {
        return;
    }

    /* the list is that of a cycle */

    if (ngx_smtp_drain_fd != -1
        && ngx_smtp_drain_export(cycle, ngx_smtp_drain_fd) != NGX_OK)
    {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "no memory: a new binary will not know that mail is "
                      "to be refused by \"smtpq drain on\"");
    }

    if (ngx_smtp_drain_page->on) {
        ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                      "draining goes on: new mail is refused, until "
                      "\"smtpq drain off\"");
    }
}


static ngx_smtp_drain_page_t *
ngx_smtp_drain_find(int *fd)
{
    char                   *value;
    ngx_int_t               n;
    ngx_file_info_t         fi;
    ngx_smtp_drain_page_t  *page;

    value = getenv(NGX_SMTP_DRAIN_ENV);

    if (value == NULL) {
        return NULL;
    }

    n = ngx_atoi((u_char *) value, ngx_strlen(value));

    if (n == NGX_ERROR || n > NGX_MAX_INT32_VALUE
        || ngx_fd_info((int) n, &fi) == NGX_FILE_ERROR
        || !ngx_is_file(&fi)
        || ngx_file_size(&fi) != (off_t) ngx_pagesize)
    {
        return NULL;
    }

    page = mmap(NULL, ngx_pagesize, PROT_READ|PROT_WRITE, MAP_SHARED, (int) n,
                0);

    if (page == MAP_FAILED) {
        return NULL;
    }

    if (ngx_memcmp(page->magic, NGX_SMTP_DRAIN_MAGIC, sizeof(page->magic))
        != 0)
    {
        (void) munmap(page, ngx_pagesize);
        return NULL;
    }

    *fd = (int) n;

    return page;
}


static ngx_smtp_drain_page_t *
ngx_smtp_drain_make(ngx_cycle_t *cycle, int *fd)
{
    int                     n;
    ngx_smtp_drain_page_t  *page;

    /* not close on exec: it is for a new binary */

    n = memfd_create("ngx_smtp_drain", 0);

    if (n != -1 && ftruncate(n, ngx_pagesize) == -1) {
        (void) close(n);
        n = -1;
    }

    if (n == -1) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, ngx_errno,
                      "no memory file: what \"smtpq drain on\" says will end "
                      "with this binary");
    }

    page = mmap(NULL, ngx_pagesize, PROT_READ|PROT_WRITE,
                MAP_SHARED|(n == -1 ? MAP_ANONYMOUS : 0), n, 0);

    if (page == MAP_FAILED) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, ngx_errno,
                      "no memory: \"smtpq drain on\" will not be possible");

        if (n != -1) {
            (void) close(n);
        }

        return NULL;
    }

    ngx_memcpy(page->magic, NGX_SMTP_DRAIN_MAGIC, sizeof(page->magic));

    *fd = n;

    return page;
}


static ngx_int_t
ngx_smtp_drain_export(ngx_cycle_t *cycle, int fd)
{
    u_char           *p;
    ngx_str_t        *var;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    p = ngx_pnalloc(cycle->pool, sizeof(NGX_SMTP_DRAIN_ENV "=")
                                 + NGX_INT32_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    /* the length is that of the name: nginx looks for "=" behind it */

    var = ngx_array_push(&ccf->env);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->data = p;
    var->len = sizeof(NGX_SMTP_DRAIN_ENV) - 1;

    p = ngx_sprintf(p, NGX_SMTP_DRAIN_ENV "=%d%Z", fd);

    return setenv(NGX_SMTP_DRAIN_ENV, (char *) &var->data[var->len + 1], 1)
           == 0 ? NGX_OK : NGX_ERROR;
}


void
ngx_smtp_drain_init_worker(ngx_uint_t configured)
{
    ngx_smtp_drain_conf = configured;
}


ngx_uint_t
ngx_smtp_draining(void)
{
    return ngx_smtp_drain_conf
           || (ngx_smtp_drain_page && ngx_smtp_drain_page->on);
}


ngx_uint_t
ngx_smtp_drain_configured(void)
{
    return ngx_smtp_drain_conf;
}


ngx_int_t
ngx_smtp_drain_switch(ngx_uint_t on)
{
    if (ngx_smtp_drain_page == NULL) {
        return NGX_ERROR;
    }

    if (ngx_smtp_drain_page->on != on) {
        ngx_smtp_drain_page->on = on;
        ngx_smtp_drain_touch();
    }

    return NGX_OK;
}


void
ngx_smtp_drain_touch(void)
{
    if (ngx_smtp_drain_page) {
        ngx_smtp_drain_page->changed = ngx_current_msec;
    }
}


ngx_msec_t
ngx_smtp_drain_settled(void)
{
    ngx_msec_int_t  msec;

    if (ngx_smtp_drain_page == NULL) {
        return 0;
    }

    msec = (ngx_msec_int_t) (ngx_current_msec - ngx_smtp_drain_page->changed);

    return ngx_max(msec, 0);
}
