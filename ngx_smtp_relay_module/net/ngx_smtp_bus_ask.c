
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The side of the worker bus that asks: connects to every socket there is,
 * its own worker's included, sends the request, collects the answers.
 *
 * Workers that are killed while nobody asks leave any number of sockets, so
 * run/ is read in slices, within the time of the answers.  What is dead in it
 * is handed to a thread: removing writes to the disk.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_smtp_bus.h"


#define NGX_SMTP_BUS_SLICE  64      /* names in run/ without a break */


static void ngx_smtp_bus_ask_init(ngx_smtp_bus_ask_t *ask);
static ngx_int_t ngx_smtp_bus_ask_slice(ngx_smtp_bus_ask_t *ask);
static void ngx_smtp_bus_ask_open(ngx_smtp_bus_ask_t *ask, ngx_str_t *path);
static void ngx_smtp_bus_ask_close(ngx_smtp_bus_ask_t *ask);
static void ngx_smtp_bus_ask_next(ngx_event_t *ev);
static void ngx_smtp_bus_ask_less(ngx_smtp_bus_ask_t *ask);
static ngx_uint_t ngx_smtp_bus_name(const char *name);
static ngx_int_t ngx_smtp_bus_ask_worker(ngx_smtp_bus_ask_t *ask,
    ngx_str_t *path, const char *name);
static void ngx_smtp_bus_ask_dead(ngx_smtp_bus_ask_t *ask, ngx_str_t *path,
    const char *name);
static ngx_int_t ngx_smtp_bus_connect(ngx_smtp_bus_worker_t *w,
    ngx_socket_t s);
static void ngx_smtp_bus_worker_handler(ngx_event_t *rev);
static void ngx_smtp_bus_worker_dummy(ngx_event_t *wev);
static ngx_int_t ngx_smtp_bus_worker_read(ngx_smtp_bus_worker_t *w);
static ngx_int_t ngx_smtp_bus_worker_piece(ngx_smtp_bus_worker_t *w,
    ngx_smtp_bus_packet_t *packet);
static void ngx_smtp_bus_worker_done(ngx_smtp_bus_worker_t *w,
    ngx_uint_t state);
static void ngx_smtp_bus_ask_handler(ngx_event_t *ev);


ngx_int_t
ngx_smtp_bus_ask(ngx_smtp_bus_ask_t *ask, ngx_str_t *paths, ngx_uint_t npaths,
    ngx_str_t *request, ngx_msec_t timeout, ngx_pool_t *pool, ngx_log_t *log)
{
    u_char                 *p;
    ngx_smtp_bus_packet_t   packet;

    ask->pool = pool;
    ask->log = log;
    ask->paths = paths;
    ask->npaths = npaths;

    if (request->len > NGX_SMTP_BUS_REQUEST_MAX
        || ngx_array_init(&ask->workers, pool, 8,
                          sizeof(ngx_smtp_bus_worker_t *))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ask->packet.len = NGX_SMTP_BUS_HEADER + request->len;
    ask->packet.data = ngx_pnalloc(pool, ask->packet.len);

    if (ask->packet.data == NULL) {
        return NGX_ERROR;
    }

    packet.kind = NGX_SMTP_BUS_REQUEST;
    packet.id = (uint32_t) ngx_random();
    packet.rest = 0;

    p = ngx_smtp_bus_packet_put(ask->packet.data, &packet);
    ngx_memcpy(p, request->data, request->len);

    ngx_smtp_bus_ask_init(ask);

    ngx_add_timer(&ask->event, timeout);

    if (ngx_smtp_bus_ask_slice(ask) != NGX_OK) {
        ngx_smtp_bus_ask_end(ask);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_smtp_bus_ask_init(ngx_smtp_bus_ask_t *ask)
{
    ask->dummy[3] = (void *) -1;

    ask->event.handler = ngx_smtp_bus_ask_handler;
    ask->event.data = ask->dummy;
    ask->event.log = ask->log;

    ask->slice.handler = ngx_smtp_bus_ask_next;
    ask->slice.data = ask->dummy;
    ask->slice.log = ask->log;

    ask->waiting = 1;
}


/* Some names; NGX_OK, now and when they were the last, or NGX_ERROR. */

static ngx_int_t
ngx_smtp_bus_ask_slice(ngx_smtp_bus_ask_t *ask)
{
    ngx_str_t      *path;
    ngx_uint_t      n;
    struct dirent  *de;

    for (n = 0; n < NGX_SMTP_BUS_SLICE; n++) {

        if (ask->path == ask->npaths) {
            break;
        }

        path = &ask->paths[ask->path];

        if (ask->dir == NULL) {
            ngx_smtp_bus_ask_open(ask, path);
            continue;
        }

        de = readdir(ask->dir);

        if (de == NULL) {
            ngx_smtp_bus_ask_close(ask);
            ask->path++;
            continue;
        }

        if (!ngx_smtp_bus_name(de->d_name)) {
            continue;
        }

        if (ask->workers.nelts == NGX_SMTP_BUS_WORKERS) {
            ask->partial = 1;
            ask->path = ask->npaths;
            break;
        }

        if (ngx_smtp_bus_ask_worker(ask, path, de->d_name) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, ask->log, 0,
                   "smtp bus: %ui names in run/", n);

    if (ask->path < ask->npaths) {
        ngx_post_event(&ask->slice, &ngx_posted_next_events);
        return NGX_OK;
    }

    ngx_smtp_bus_ask_close(ask);
    ngx_smtp_bus_ask_less(ask);

    return NGX_OK;
}


/*
 * On the event loop, and not in a thread: they may all hang in a write to a
 * disk that is stuck, and this is how the operator looks at it.  The sockets
 * that are bound keep the folder in memory; its time of access, which would be
 * a write that waits for the journal, is left alone.
 */

static void
ngx_smtp_bus_ask_open(ngx_smtp_bus_ask_t *ask, ngx_str_t *path)
{
    int      fd;
    char     run[sizeof(((struct sockaddr_un *) 0)->sun_path)];
    u_char  *p;

    p = ngx_snprintf((u_char *) run, sizeof(run) - 1, "%V/run", path);
    *p = '\0';

    fd = open(run, O_RDONLY|O_DIRECTORY|O_CLOEXEC|O_NOATIME);

    if (fd == -1 && ngx_errno == NGX_EPERM) {

        /* it is not ours */

        fd = open(run, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    }

    ask->dir = (fd == -1) ? NULL : fdopendir(fd);

    if (ask->dir == NULL) {
        ngx_log_error(NGX_LOG_WARN, ask->log, ngx_errno,
                      "open(\"%s\") failed, its workers cannot be asked",
                      run);

        ask->partial = 1;
        ask->path++;

        if (fd != -1) {
            (void) close(fd);
        }
    }
}


/* The folder was read, or will not be read to its end. */

static void
ngx_smtp_bus_ask_close(ngx_smtp_bus_ask_t *ask)
{
    if (ask->dir) {
        (void) closedir(ask->dir);
        ask->dir = NULL;
    }

    if (ask->dead) {
        ngx_smtp_bus_dead_remove(ask->dead, ask->threads);
        ask->dead = NULL;
    }
}


static void
ngx_smtp_bus_ask_next(ngx_event_t *ev)
{
    ngx_smtp_bus_ask_t  *ask;

    ask = (ngx_smtp_bus_ask_t *)
              ((u_char *) ev->data - offsetof(ngx_smtp_bus_ask_t, dummy));

    if (ngx_smtp_bus_ask_slice(ask) != NGX_OK) {
        ask->partial = 1;

        ngx_smtp_bus_ask_close(ask);
        ngx_smtp_bus_ask_less(ask);
    }
}


static void
ngx_smtp_bus_ask_less(ngx_smtp_bus_ask_t *ask)
{
    if (--ask->waiting == 0) {
        ngx_post_event(&ask->event, &ngx_posted_events);
    }
}


/* <digits>-<12 hexadecimal digits> */

static ngx_uint_t
ngx_smtp_bus_name(const char *name)
{
    const char  *p;

    for (p = name; *p >= '0' && *p <= '9'; p++) { /* void */ }

    if (p == name || p - name > 10 || *p++ != '-') {
        return 0;
    }

    return strlen(p) == 12 && strspn(p, "0123456789abcdef") == 12;
}


static ngx_int_t
ngx_smtp_bus_ask_worker(ngx_smtp_bus_ask_t *ask, ngx_str_t *path,
    const char *name)
{
    ssize_t                   n;
    ngx_err_t                 err;
    ngx_socket_t              s;
    struct sockaddr_un        addr;
    ngx_smtp_bus_worker_t    *w, **wp;

    ngx_memzero(&addr, sizeof(struct sockaddr_un));
    addr.sun_family = AF_UNIX;

    (void) ngx_snprintf((u_char *) addr.sun_path, sizeof(addr.sun_path) - 1,
                        "%V/run/%s", path, name);

    s = socket(AF_UNIX, SOCK_SEQPACKET|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
    if (s == (ngx_socket_t) -1) {
        return NGX_ERROR;
    }

    err = 0;

    if (connect(s, (struct sockaddr *) &addr, sizeof(struct sockaddr_un))
        == -1)
    {
        err = ngx_errno;
    }

    if (err == NGX_ECONNREFUSED || err == NGX_ENOENT) {

        /* nobody listens: its worker was killed */

        (void) ngx_close_socket(s);

        if (err == NGX_ECONNREFUSED) {
            ngx_smtp_bus_ask_dead(ask, path, name);
        }

        return NGX_OK;
    }

    w = ngx_pcalloc(ask->pool, sizeof(ngx_smtp_bus_worker_t));
    wp = ngx_array_push(&ask->workers);

    if (wp) {
        *wp = w;
    }

    if (w) {
        w->ask = ask;
        w->name.len = ngx_strlen(name);
        w->name.data = ngx_pnalloc(ask->pool, w->name.len);
    }

    if (w == NULL || wp == NULL || w->name.data == NULL) {

        if (wp) {
            ask->workers.nelts--;
        }

        (void) ngx_close_socket(s);
        return NGX_ERROR;
    }

    ngx_memcpy(w->name.data, name, w->name.len);

    n = err ? -1 : send(s, ask->packet.data, ask->packet.len, MSG_NOSIGNAL);

    if (n == -1 || ngx_smtp_bus_connect(w, s) != NGX_OK) {

        /* its backlog is full: it is stuck */

        w->state = (err == NGX_EAGAIN) ? NGX_SMTP_BUS_SILENT
                                       : NGX_SMTP_BUS_FAILED;
        (void) ngx_close_socket(s);
    }

    return NGX_OK;
}


static void
ngx_smtp_bus_ask_dead(ngx_smtp_bus_ask_t *ask, ngx_str_t *path,
    const char *name)
{
    if (ask->dead == NULL) {
        ask->dead = ngx_smtp_bus_dead_create(path, ask->log);
    }

    if (ask->dead) {
        ngx_smtp_bus_dead_add(ask->dead, name);
    }
}


static ngx_int_t
ngx_smtp_bus_connect(ngx_smtp_bus_worker_t *w, ngx_socket_t s)
{
    ngx_log_t         *log;
    ngx_connection_t  *c;

    log = w->ask->log;

    c = ngx_get_connection(s, log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    c->data = w;
    c->log = log;
    c->read->log = log;
    c->write->log = log;
    c->read->handler = ngx_smtp_bus_worker_handler;
    c->write->handler = ngx_smtp_bus_worker_dummy;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
        return NGX_ERROR;
    }

    w->connection = c;
    w->ask->waiting++;

    return NGX_OK;
}


static void
ngx_smtp_bus_worker_dummy(ngx_event_t *wev)
{
    /* the request is one packet, and was sent */
}


static void
ngx_smtp_bus_worker_handler(ngx_event_t *rev)
{
    ngx_int_t               rc;
    ngx_connection_t       *c;
    ngx_smtp_bus_worker_t  *w;

    c = rev->data;
    w = c->data;

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, w->ask->log, 0,
                   "smtp bus answer of %V", &w->name);

    if (c->close) {
        ngx_smtp_bus_worker_done(w, NGX_SMTP_BUS_FAILED);
        return;
    }

    do {
        rc = ngx_smtp_bus_worker_read(w);
    } while (rc == NGX_OK);

    if (rc == NGX_AGAIN && ngx_handle_read_event(rev, 0) == NGX_OK) {
        return;
    }

    ngx_smtp_bus_worker_done(w, (rc == NGX_DONE) ? NGX_SMTP_BUS_ANSWERED
                                                 : NGX_SMTP_BUS_FAILED);
}


/* One packet.  NGX_OK, NGX_AGAIN, NGX_DONE: it was the last; NGX_ERROR. */

static ngx_int_t
ngx_smtp_bus_worker_read(ngx_smtp_bus_worker_t *w)
{
    ssize_t                n;
    uint32_t               id;
    ngx_connection_t      *c;
    ngx_smtp_bus_packet_t  packet, own;

    static u_char  buffer[NGX_SMTP_BUS_PACKET];

    c = w->connection;

    n = recv(c->fd, buffer, NGX_SMTP_BUS_PACKET, 0);

    if (n == -1) {
        if (ngx_errno == NGX_EINTR) {
            return NGX_OK;
        }

        c->read->ready = 0;

        return (ngx_errno == NGX_EAGAIN) ? NGX_AGAIN : NGX_ERROR;
    }

    (void) ngx_smtp_bus_packet_get(w->ask->packet.data, w->ask->packet.len,
                                   &own);
    id = own.id;

    if (ngx_smtp_bus_packet_get(buffer, n, &packet) != NGX_OK
        || packet.kind != NGX_SMTP_BUS_ANSWER || packet.id != id
        || ngx_smtp_bus_worker_piece(w, &packet) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return packet.rest ? NGX_OK : NGX_DONE;
}


static ngx_int_t
ngx_smtp_bus_worker_piece(ngx_smtp_bus_worker_t *w,
    ngx_smtp_bus_packet_t *packet)
{
    /* the first packet tells the size of all */

    if (w->answer.data == NULL) {
        w->room = packet->piece.len + packet->rest;
        w->answer.data = ngx_alloc(w->room + 1, w->ask->log);

        if (w->answer.data == NULL) {
            return NGX_ERROR;
        }
    }

    if (packet->piece.len + packet->rest != w->room - w->answer.len) {
        return NGX_ERROR;
    }

    ngx_memcpy(w->answer.data + w->answer.len, packet->piece.data,
               packet->piece.len);
    w->answer.len += packet->piece.len;

    return NGX_OK;
}


static void
ngx_smtp_bus_worker_done(ngx_smtp_bus_worker_t *w, ngx_uint_t state)
{
    w->state = state;

    ngx_close_connection(w->connection);
    w->connection = NULL;

    ngx_smtp_bus_ask_less(w->ask);
}


static void
ngx_smtp_bus_ask_handler(ngx_event_t *ev)
{
    ngx_uint_t               i;
    ngx_smtp_bus_ask_t      *ask;
    ngx_smtp_bus_worker_t  **w;

    ask = (ngx_smtp_bus_ask_t *)
              ((u_char *) ev->data - offsetof(ngx_smtp_bus_ask_t, dummy));

    if (ev->timer_set) {
        ngx_del_timer(ev);
    }

    if (ask->slice.posted) {
        ngx_delete_posted_event(&ask->slice);
        ask->partial = 1;
    }

    ngx_smtp_bus_ask_close(ask);

    w = ask->workers.elts;

    for (i = 0; i < ask->workers.nelts; i++) {

        if (w[i]->connection) {
            ngx_close_connection(w[i]->connection);

            w[i]->connection = NULL;
            w[i]->state = NGX_SMTP_BUS_SILENT;
        }
    }

    ask->waiting = 0;
    ask->handler(ask);
}


void
ngx_smtp_bus_ask_end(ngx_smtp_bus_ask_t *ask)
{
    ngx_uint_t               i;
    ngx_smtp_bus_worker_t  **w;

    if (ask->event.timer_set) {
        ngx_del_timer(&ask->event);
    }

    if (ask->event.posted) {
        ngx_delete_posted_event(&ask->event);
    }

    if (ask->slice.posted) {
        ngx_delete_posted_event(&ask->slice);
    }

    ngx_smtp_bus_ask_close(ask);

    w = ask->workers.elts;

    for (i = 0; i < ask->workers.nelts; i++) {

        if (w[i]->connection) {
            ngx_close_connection(w[i]->connection);
            w[i]->connection = NULL;
        }

        if (w[i]->answer.data) {
            ngx_free(w[i]->answer.data);
            ngx_str_null(&w[i]->answer);
        }
    }

    ask->waiting = 0;
    ask->workers.nelts = 0;
}
