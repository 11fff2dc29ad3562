
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The side of the worker bus that listens and answers; the one that asks is in
 * ngx_smtp_bus_ask.c.
 *
 * The socket is made under another name and renamed when it listens: who
 * asks removes a socket that refuses connections, so none may ever be seen
 * that does not listen yet.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_smtp_bus.h"

#include <openssl/err.h>
#include <openssl/rand.h>


#define NGX_SMTP_BUS_RETRY      1000    /* ms, after listen failed */
#define NGX_SMTP_BUS_BACKLOG    64
#define NGX_SMTP_BUS_SILENCE    1000    /* ms, for the request to come */
#define NGX_SMTP_BUS_UNREAD     1000    /* ms, for the answer to be taken */


struct ngx_smtp_bus_s {
    ngx_log_t                *log;
    ngx_str_t                 path;
    ngx_smtp_bus_request_pt   handler;
    void                     *data;
    ngx_connection_t         *connection;   /* that listens */
    ngx_event_t               retry;
    void                     *dummy[4];
    ngx_queue_t               calls;
    ngx_uint_t                ncalls;
    struct sockaddr_un        addr;
    unsigned                  failed:1;     /* was logged */
};


static void ngx_smtp_bus_listen(ngx_smtp_bus_t *bus);
static ngx_int_t ngx_smtp_bus_bind(ngx_smtp_bus_t *bus, ngx_socket_t s,
    const char **what);
static void ngx_smtp_bus_retry_handler(ngx_event_t *ev);
static void ngx_smtp_bus_accept_handler(ngx_event_t *rev);
static void ngx_smtp_bus_call_start(ngx_smtp_bus_t *bus, ngx_socket_t s);
static void ngx_smtp_bus_read_handler(ngx_event_t *rev);
static void ngx_smtp_bus_write_handler(ngx_event_t *wev);
static void ngx_smtp_bus_send(ngx_smtp_bus_call_t *call);
static void ngx_smtp_bus_call_close(ngx_smtp_bus_call_t *call);


ngx_smtp_bus_t *
ngx_smtp_bus_start(ngx_str_t *path, ngx_smtp_bus_request_pt handler,
    void *data, ngx_log_t *log)
{
    ngx_smtp_bus_t  *bus;

    bus = ngx_calloc(sizeof(ngx_smtp_bus_t), log);
    if (bus == NULL) {
        return NULL;
    }

    bus->log = log;
    bus->path = *path;
    bus->handler = handler;
    bus->data = data;

    ngx_queue_init(&bus->calls);

    bus->dummy[3] = (void *) -1;

    bus->retry.handler = ngx_smtp_bus_retry_handler;
    bus->retry.data = bus->dummy;
    bus->retry.log = log;
    bus->retry.cancelable = 1;

    ngx_smtp_bus_listen(bus);

    return bus;
}


void
ngx_smtp_bus_stop(ngx_smtp_bus_t *bus)
{
    ngx_queue_t          *q;
    ngx_smtp_bus_call_t  *call;

    while (!ngx_queue_empty(&bus->calls)) {
        q = ngx_queue_head(&bus->calls);
        call = ngx_queue_data(q, ngx_smtp_bus_call_t, link);

        ngx_smtp_bus_call_close(call);
    }

    if (bus->retry.timer_set) {
        ngx_del_timer(&bus->retry);
    }

    if (bus->connection) {
        ngx_close_connection(bus->connection);
        (void) unlink(bus->addr.sun_path);
    }

    ngx_free(bus);
}


static void
ngx_smtp_bus_listen(ngx_smtp_bus_t *bus)
{
    const char        *what;
    ngx_err_t          err;
    ngx_socket_t       s;
    ngx_connection_t  *c;

    what = "socket()";

    s = socket(AF_UNIX, SOCK_SEQPACKET|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (s == (ngx_socket_t) -1 || ngx_smtp_bus_bind(bus, s, &what) != NGX_OK) {
        goto failed;
    }

    what = "a connection of nginx";
    ngx_set_errno(0);

    c = ngx_get_connection(s, bus->log);
    if (c == NULL) {
        (void) unlink(bus->addr.sun_path);
        goto failed;
    }

    c->data = bus;
    c->log = bus->log;
    c->read->log = bus->log;
    c->write->log = bus->log;
    c->read->handler = ngx_smtp_bus_accept_handler;
    c->write->handler = ngx_smtp_bus_accept_handler;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_close_connection(c);
        (void) unlink(bus->addr.sun_path);

        s = (ngx_socket_t) -1;
        goto failed;
    }

    bus->connection = c;
    bus->failed = 0;

    return;

failed:

    err = ngx_errno;

    if (s != (ngx_socket_t) -1) {
        (void) ngx_close_socket(s);
    }

    if (!bus->failed) {
        bus->failed = 1;

        ngx_log_error(NGX_LOG_WARN, bus->log, err,
                      "spool \"%V\": %s failed, this worker cannot be asked "
                      "about its mail; it is tried again every second",
                      &bus->path, what);
    }

    ngx_add_timer(&bus->retry, NGX_SMTP_BUS_RETRY);
}


static ngx_int_t
ngx_smtp_bus_bind(ngx_smtp_bus_t *bus, ngx_socket_t s, const char **what)
{
    u_char              *p, *last, random[6], hex[12];
    struct sockaddr_un   tmp;

    *what = "RAND_bytes()";

    if (RAND_bytes(random, sizeof(random)) != 1) {
        ERR_clear_error();
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(hex, random, sizeof(random));

    ngx_memzero(&tmp, sizeof(struct sockaddr_un));
    ngx_memzero(&bus->addr, sizeof(struct sockaddr_un));

    tmp.sun_family = AF_UNIX;
    bus->addr.sun_family = AF_UNIX;

    last = (u_char *) bus->addr.sun_path + sizeof(bus->addr.sun_path) - 1;

    p = ngx_snprintf((u_char *) bus->addr.sun_path,
                     sizeof(bus->addr.sun_path) - 1, "%V/run/%P-%*s",
                     &bus->path, ngx_pid, sizeof(hex), hex);

    *what = "making a socket's name";
    ngx_set_errno(NGX_ENAMETOOLONG);

    if (p >= last) {
        return NGX_ERROR;
    }

    (void) ngx_snprintf((u_char *) tmp.sun_path, sizeof(tmp.sun_path) - 1,
                        "%V/run/.%P-%*s", &bus->path, ngx_pid, sizeof(hex),
                        hex);

    *what = "bind() of the socket in run/";

    if (bind(s, (struct sockaddr *) &tmp, sizeof(struct sockaddr_un)) == -1) {
        return NGX_ERROR;
    }

    *what = "preparing the socket in run/";

    if (chmod(tmp.sun_path, 0600) == -1
        || listen(s, NGX_SMTP_BUS_BACKLOG) == -1
        || rename(tmp.sun_path, bus->addr.sun_path) == -1)
    {
        (void) unlink(tmp.sun_path);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_smtp_bus_retry_handler(ngx_event_t *ev)
{
    ngx_smtp_bus_t  *bus;

    bus = (ngx_smtp_bus_t *)
              ((u_char *) ev->data - offsetof(ngx_smtp_bus_t, dummy));

    if (bus->connection == NULL) {
        ngx_smtp_bus_listen(bus);
    }
}


static void
ngx_smtp_bus_accept_handler(ngx_event_t *rev)
{
    ngx_uint_t         n;
    ngx_socket_t       s;
    ngx_smtp_bus_t    *bus;
    ngx_connection_t  *c;

    c = rev->data;
    bus = c->data;

    /* worker_shutdown_timeout is over: nginx calls every connection */

    if (c->close) {
        bus->connection = NULL;
        (void) unlink(bus->addr.sun_path);
        ngx_close_connection(c);
        return;
    }

    for (n = 0; n < NGX_SMTP_BUS_CALLS; n++) {

        s = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK|SOCK_CLOEXEC);

        if (s == (ngx_socket_t) -1) {

            if (ngx_errno == NGX_EINTR || ngx_errno == NGX_ECONNABORTED) {
                continue;
            }

            /* of EMFILE and the like: who asks runs into its time-out */

            rev->ready = 0;
            return;
        }

        if (bus->ncalls >= NGX_SMTP_BUS_CALLS) {
            (void) ngx_close_socket(s);
            continue;
        }

        ngx_smtp_bus_call_start(bus, s);
    }

    ngx_post_event(rev, &ngx_posted_next_events);
}


static void
ngx_smtp_bus_call_start(ngx_smtp_bus_t *bus, ngx_socket_t s)
{
    ngx_connection_t     *c;
    ngx_smtp_bus_call_t  *call;

    c = ngx_get_connection(s, bus->log);

    if (c == NULL) {
        (void) ngx_close_socket(s);
        return;
    }

    call = ngx_calloc(sizeof(ngx_smtp_bus_call_t), bus->log);

    if (call == NULL) {
        ngx_close_connection(c);
        return;
    }

    call->bus = bus;
    call->connection = c;

    c->data = call;
    c->log = bus->log;
    c->read->log = bus->log;
    c->write->log = bus->log;
    c->read->handler = ngx_smtp_bus_read_handler;
    c->write->handler = ngx_smtp_bus_write_handler;
    c->read->cancelable = 1;
    c->write->cancelable = 1;

    ngx_queue_insert_tail(&bus->calls, &call->link);
    bus->ncalls++;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_smtp_bus_call_close(call);
        return;
    }

    ngx_add_timer(c->read, NGX_SMTP_BUS_SILENCE);
}


static void
ngx_smtp_bus_read_handler(ngx_event_t *rev)
{
    u_char                *buf;
    ssize_t                n;
    ngx_connection_t      *c;
    ngx_smtp_bus_t        *bus;
    ngx_smtp_bus_call_t   *call;
    ngx_smtp_bus_packet_t  packet;

    static u_char  buffer[NGX_SMTP_BUS_PACKET];

    c = rev->data;
    call = c->data;
    bus = call->bus;
    buf = buffer;

    ngx_log_debug0(NGX_LOG_DEBUG_EVENT, bus->log, 0, "smtp bus read");

    if (c->close || rev->timedout) {
        ngx_smtp_bus_call_close(call);
        return;
    }

    n = recv(c->fd, buf, NGX_SMTP_BUS_PACKET, 0);

    if (n == -1 && (ngx_errno == NGX_EAGAIN || ngx_errno == NGX_EINTR)) {
        rev->ready = 0;

        if (ngx_handle_read_event(rev, 0) != NGX_OK) {
            ngx_smtp_bus_call_close(call);
        }

        return;
    }

    /* gone, or it says more than it may */

    if (n <= 0 || call->asked
        || ngx_smtp_bus_packet_get(buf, n, &packet) != NGX_OK
        || packet.kind != NGX_SMTP_BUS_REQUEST || packet.rest)
    {
        ngx_smtp_bus_call_close(call);
        return;
    }

    if (rev->timer_set) {
        ngx_del_timer(rev);
    }

    call->asked = 1;
    call->id = packet.id;

    /* to hear of its end; what is in the buffer stays for the handler */

    rev->ready = 0;

    if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_smtp_bus_call_close(call);
        return;
    }

    bus->handler(bus->data, call, &packet.piece);
}


void
ngx_smtp_bus_answer(ngx_smtp_bus_call_t *call, ngx_str_t *answer)
{
    call->gone = NULL;
    call->answered = 1;

    if (answer->len > NGX_SMTP_BUS_ANSWER_MAX) {
        ngx_log_error(NGX_LOG_ALERT, call->bus->log, 0,
                      "worker bus: an answer of %uz bytes is too long",
                      answer->len);

        ngx_smtp_bus_call_close(call);
        return;
    }

    call->answer = ngx_alloc(answer->len + 1, call->bus->log);

    if (call->answer == NULL) {
        ngx_smtp_bus_call_close(call);
        return;
    }

    ngx_memcpy(call->answer, answer->data, answer->len);
    call->size = answer->len;

    ngx_smtp_bus_send(call);
}


static void
ngx_smtp_bus_write_handler(ngx_event_t *wev)
{
    ngx_connection_t     *c;
    ngx_smtp_bus_call_t  *call;

    c = wev->data;
    call = c->data;

    if (c->close) {
        ngx_smtp_bus_call_close(call);
        return;
    }

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, call->bus->log, 0,
                      "worker bus: an answer was not taken, %uz of %uz bytes "
                      "were sent", call->sent, call->size);

        ngx_smtp_bus_call_close(call);
        return;
    }

    if (call->answered) {
        ngx_smtp_bus_send(call);
    }
}


static void
ngx_smtp_bus_send(ngx_smtp_bus_call_t *call)
{
    u_char                  header[NGX_SMTP_BUS_HEADER];
    ssize_t                 n;
    struct iovec            iov[2];
    struct msghdr           msg;
    ngx_connection_t       *c;
    ngx_smtp_bus_packet_t   packet;

    c = call->connection;

    do {
        packet.kind = NGX_SMTP_BUS_ANSWER;
        packet.id = call->id;
        packet.piece.len = ngx_min(call->size - call->sent,
                                   NGX_SMTP_BUS_PIECE);
        packet.rest = (uint32_t) (call->size - call->sent - packet.piece.len);

        (void) ngx_smtp_bus_packet_put(header, &packet);

        iov[0].iov_base = header;
        iov[0].iov_len = NGX_SMTP_BUS_HEADER;
        iov[1].iov_base = call->answer + call->sent;
        iov[1].iov_len = packet.piece.len;

        ngx_memzero(&msg, sizeof(struct msghdr));

        msg.msg_iov = iov;
        msg.msg_iovlen = 2;

        n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);

        if (n == -1 && (ngx_errno == NGX_EAGAIN || ngx_errno == NGX_EINTR)) {
            c->write->ready = 0;

            /* the time is that of the whole answer: who asks leaves earlier */

            if (!c->write->timer_set) {
                ngx_add_timer(c->write, NGX_SMTP_BUS_UNREAD);
            }

            if (ngx_handle_write_event(c->write, 0) == NGX_OK) {
                return;
            }
        }

        if (n == -1) {
            break;
        }

        call->sent += packet.piece.len;

    } while (call->sent < call->size);

    /* what was sent stays readable for the other side */

    ngx_smtp_bus_call_close(call);
}


static void
ngx_smtp_bus_call_close(ngx_smtp_bus_call_t *call)
{
    ngx_queue_remove(&call->link);
    call->bus->ncalls--;

    if (call->asked && !call->answered && call->gone) {
        call->gone(call->data);
    }

    ngx_close_connection(call->connection);

    ngx_free(call->answer);
    ngx_free(call);
}
