
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Removes the sockets of dead workers in a thread, see the header.  A failure
 * is not told: who asks next finds the socket again.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_smtp_bus_dead.h"
#include "ngx_smtp_task.h"


struct ngx_smtp_bus_dead_s {
    ngx_smtp_task_t    task;
    ngx_str_t          path;
    ngx_log_t         *log;
    ngx_uint_t         n;
    ngx_uint_t         removed;
    char               names[NGX_SMTP_BUS_DEAD][NGX_SMTP_BUS_NAME];
};


static void ngx_smtp_bus_dead_run(void *data);
static void ngx_smtp_bus_dead_done(void *data);


static ngx_uint_t  ngx_smtp_bus_dead_lists;


ngx_smtp_bus_dead_t *
ngx_smtp_bus_dead_create(ngx_str_t *path, ngx_log_t *log)
{
    ngx_smtp_bus_dead_t  *dead;

    if (ngx_smtp_bus_dead_lists == NGX_SMTP_BUS_DEAD_LISTS) {
        return NULL;
    }

    dead = ngx_calloc(sizeof(ngx_smtp_bus_dead_t), log);
    if (dead == NULL) {
        return NULL;
    }

    dead->path = *path;
    dead->log = log;

    ngx_smtp_bus_dead_lists++;

    return dead;
}


void
ngx_smtp_bus_dead_add(ngx_smtp_bus_dead_t *dead, const char *name)
{
    if (dead->n < NGX_SMTP_BUS_DEAD) {
        (void) ngx_cpystrn((u_char *) dead->names[dead->n++],
                           (u_char *) name, NGX_SMTP_BUS_NAME);
    }
}


void
ngx_smtp_bus_dead_remove(ngx_smtp_bus_dead_t *dead,
    ngx_thread_pool_t *threads)
{
    ngx_smtp_task_init(&dead->task, "removing sockets of dead workers",
                       ngx_smtp_bus_dead_run, ngx_smtp_bus_dead_done, dead);

    if (ngx_smtp_task_post(threads, &dead->task, dead->log) != NGX_OK) {
        ngx_smtp_bus_dead_done(dead);
    }
}


static void
ngx_smtp_bus_dead_run(void *data)
{
    ngx_smtp_bus_dead_t *dead = data;

    int         fd;
    u_char      run[sizeof(((struct sockaddr_un *) 0)->sun_path)];
    ngx_uint_t  i;

    (void) ngx_snprintf(run, sizeof(run), "%V/run%Z", &dead->path);

    fd = open((char *) run, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    if (fd == -1) {
        return;
    }

    for (i = 0; i < dead->n; i++) {
        dead->removed += (unlinkat(fd, dead->names[i], 0) == 0);
    }

    (void) close(fd);
}


static void
ngx_smtp_bus_dead_done(void *data)
{
    ngx_smtp_bus_dead_t *dead = data;

    if (dead->removed) {
        ngx_log_error(NGX_LOG_INFO, dead->log, 0,
                      "%ui sockets of dead workers were removed from "
                      "\"%V/run\"", dead->removed, &dead->path);
    }

    ngx_free(dead);

    ngx_smtp_bus_dead_lists--;
}
