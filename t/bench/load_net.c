
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The load client's connections: non-blocking sockets, level-triggered
 * epoll, TLS by OpenSSL without verification.  Input is handed on by the
 * line, output is a header of the session's own and the body all share.
 */


#include "load.h"


static void load_connected(load_session_t *s);
static void load_handshake(load_session_t *s);
static void load_read(load_session_t *s);
static ssize_t load_recv(load_session_t *s);
static int load_tls_result(int err);
static int load_lines(load_session_t *s);
static void load_write(load_session_t *s);
static ssize_t load_write_some(load_session_t *s);
static void load_watch(load_session_t *s, unsigned writing);


void
load_connect(load_session_t *s)
{
    int                  one;
    struct epoll_event   ee;

    s->fd = socket(load_addr.ss_family,
                   SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
    if (s->fd == -1) {
        load_fatal("socket() failed: %s", strerror(errno));
    }

    one = 1;
    (void) setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(int));

    load_count.closed--;
    load_count.opening++;

    s->state = LOAD_CONNECT;
    s->active = load_time;
    s->in_len = 0;
    s->out_len = s->out_pos = 0;
    s->body_len = s->body_pos = 0;
    s->tls = 0;
    s->writing = 1;

    memset(&ee, 0, sizeof(struct epoll_event));
    ee.events = EPOLLIN|EPOLLOUT;
    ee.data.ptr = s;

    if (epoll_ctl(load_ep, EPOLL_CTL_ADD, s->fd, &ee) == -1) {
        load_fatal("epoll_ctl() failed: %s", strerror(errno));
    }

    if (connect(s->fd, (struct sockaddr *) &load_addr, load_addrlen) == -1
        && errno != EINPROGRESS)
    {
        load_lost(s, strerror(errno));
    }
}


static void
load_connected(load_session_t *s)
{
    int        err;
    socklen_t  len;

    err = 0;
    len = sizeof(int);

    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1 || err) {
        load_lost(s, strerror(err ? err : errno));
        return;
    }

    s->active = load_time;

    if (s->lost) {
        s->lost = 0;
        load_count.reconnects++;
    }

    if (load_conf.tls == LOAD_TLS_IMPLICIT) {
        load_handshake_start(s);
        return;
    }

    s->state = LOAD_BANNER;
    load_watch(s, 0);
}


void
load_handshake_start(load_session_t *s)
{
    s->state = LOAD_HANDSHAKE;
    s->ssl = SSL_new(load_ctx);

    if (s->ssl == NULL || SSL_set_fd(s->ssl, s->fd) == 0) {
        load_fatal("SSL_new() failed");
    }

    SSL_set_connect_state(s->ssl);
    load_handshake(s);
}


static void
load_handshake(load_session_t *s)
{
    int  n, err;

    ERR_clear_error();
    n = SSL_do_handshake(s->ssl);

    if (n == 1) {
        s->tls = 1;
        s->active = load_time;
        load_watch(s, 0);

        if (load_conf.tls == LOAD_TLS_IMPLICIT) {
            s->state = LOAD_BANNER;
            load_read(s);
            return;
        }

        load_command(s, LOAD_EHLO, "EHLO load.example\r\n");
        return;
    }

    err = SSL_get_error(s->ssl, n);

    if (err == SSL_ERROR_WANT_READ || err == SSL_ERROR_WANT_WRITE) {
        load_watch(s, err == SSL_ERROR_WANT_WRITE);
        return;
    }

    load_lost(s, "TLS handshake failed");
}


void
load_event(load_session_t *s, uint32_t events)
{
    unsigned  serial;

    serial = s->serial;

    switch (s->state) {

    case LOAD_CLOSED:
    case LOAD_FINISHED:
        return;

    case LOAD_CONNECT:
        load_connected(s);
        return;

    case LOAD_HANDSHAKE:
        load_handshake(s);
        return;

    default:
        break;
    }

    /* replies first: what came before a reset still counts */

    if (events & (EPOLLIN|EPOLLHUP|EPOLLERR)) {
        load_read(s);
    }

    if ((events & EPOLLOUT) && s->serial == serial && s->writing) {
        load_write(s);
    }
}


static void
load_read(load_session_t *s)
{
    ssize_t   n;
    unsigned  serial;

    serial = s->serial;

    for ( ;; ) {
        n = load_recv(s);

        if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }

        if (n <= 0) {
            load_lost(s, n == 0 ? "connection closed" : strerror(errno));
            return;
        }

        s->in_len += n;

        if (load_lines(s) == -1 || s->serial != serial) {
            return;
        }

        /* level-triggered: only what OpenSSL holds must be asked for */

        if (s->ssl == NULL || SSL_pending(s->ssl) == 0) {
            return;
        }
    }
}


static ssize_t
load_recv(load_session_t *s)
{
    int     n, err;
    size_t  room;

    room = LOAD_IN_SIZE - 1 - s->in_len;

    if (room == 0) {
        errno = EMSGSIZE;
        return -1;
    }

    if (s->ssl == NULL) {
        return recv(s->fd, s->in + s->in_len, room, 0);
    }

    ERR_clear_error();
    n = SSL_read(s->ssl, s->in + s->in_len, (int) room);

    if (n > 0) {
        return n;
    }

    err = SSL_get_error(s->ssl, n);

    if (err == SSL_ERROR_ZERO_RETURN) {
        return 0;
    }

    return load_tls_result(err);
}


/* -1 with errno as of recv() and send() */

static int
load_tls_result(int err)
{
    if (err == SSL_ERROR_WANT_READ || err == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;

    } else if (err != SSL_ERROR_SYSCALL || errno == 0) {
        errno = ECONNRESET;
    }

    return -1;
}


/* handles the complete lines in s->in; -1 when that must not go on */

static int
load_lines(load_session_t *s)
{
    int        code;
    char      *p, *nl, *last;
    unsigned   serial;

    serial = s->serial;
    p = s->in;
    last = s->in + s->in_len;

    for ( ;; ) {
        nl = memchr(p, '\n', last - p);
        if (nl == NULL) {
            break;
        }

        *nl = '\0';

        if (nl > p && nl[-1] == '\r') {
            nl[-1] = '\0';
        }

        code = atoi(p);

        if (strlen(p) < 3 || code < 200 || code > 599) {
            load_lost(s, "no valid reply");
            return -1;
        }

        if (s->state == LOAD_EHLO && strlen(p) > 4) {
            if (strcasecmp(p + 4, "PIPELINING") == 0) {
                s->pipelining = 1;

            } else if (strcasecmp(p + 4, "STARTTLS") == 0) {
                s->can_starttls = 1;
            }
        }

        if (p[3] != '-') {
            s->active = load_time;

            if (load_reply(s, code, p) == -1 || s->serial != serial) {
                return -1;
            }
        }

        p = nl + 1;
    }

    s->in_len = last - p;
    memmove(s->in, p, s->in_len);

    return 0;
}


/* sends s->out[0 .. out_len) and as much of the body as is asked for */

void
load_send(load_session_t *s, load_state_e state)
{
    s->state = state;
    s->out_pos = 0;
    s->body_pos = 0;

    load_write(s);
}


static void
load_write(load_session_t *s)
{
    ssize_t  n;

    while (s->out_pos < s->out_len || s->body_pos < s->body_len) {

        n = load_write_some(s);

        if (n == -1) {
            if (errno == EINTR) {
                continue;
            }

            /*
             * After any other error the reading side finds out: replies
             * that are still unread come before the end of the connection.
             */

            load_watch(s, errno == EAGAIN);
            return;
        }

        if (s->out_pos < s->out_len) {
            if ((size_t) n <= s->out_len - s->out_pos) {
                s->out_pos += n;
                continue;
            }

            n -= s->out_len - s->out_pos;
            s->out_pos = s->out_len;
        }

        s->body_pos += n;
    }

    if (s->body_len) {
        s->body_len = s->body_pos = 0;
        s->eod = load_now();
    }

    s->out_len = s->out_pos = 0;
    load_watch(s, 0);
}


static ssize_t
load_write_some(load_session_t *s)
{
    int            n;
    const char    *p;
    size_t         len;
    struct iovec   iov[2];
    struct msghdr  msg;

    if (s->ssl == NULL) {
        memset(&msg, 0, sizeof(struct msghdr));
        msg.msg_iov = iov;
        msg.msg_iovlen = 2;

        iov[0].iov_base = s->out + s->out_pos;
        iov[0].iov_len = s->out_len - s->out_pos;
        iov[1].iov_base = load_body + s->body_pos;
        iov[1].iov_len = s->body_len - s->body_pos;

        return sendmsg(s->fd, &msg, MSG_NOSIGNAL);
    }

    p = s->out + s->out_pos;
    len = s->out_len - s->out_pos;

    if (len == 0) {
        p = load_body + s->body_pos;
        len = s->body_len - s->body_pos;
    }

    ERR_clear_error();
    n = SSL_write(s->ssl, p, (int) (len > 16384 ? 16384 : len));

    return n > 0 ? n : load_tls_result(SSL_get_error(s->ssl, n));
}


static void
load_watch(load_session_t *s, unsigned writing)
{
    struct epoll_event  ee;

    if (s->writing == writing) {
        return;
    }

    s->writing = writing;

    memset(&ee, 0, sizeof(struct epoll_event));
    ee.events = writing ? EPOLLIN|EPOLLOUT : EPOLLIN;
    ee.data.ptr = s;

    if (epoll_ctl(load_ep, EPOLL_CTL_MOD, s->fd, &ee) == -1) {
        load_fatal("epoll_ctl() failed: %s", strerror(errno));
    }
}


/* frees what belongs to the connection */

void
load_close(load_session_t *s)
{
    if (s->state < LOAD_MAIL) {
        load_count.opening--;
    }

    if (s->ssl) {
        SSL_set_quiet_shutdown(s->ssl, 1);
        SSL_free(s->ssl);
        s->ssl = NULL;
    }

    close(s->fd);

    s->fd = -1;
    s->serial++;
    s->state = LOAD_CLOSED;
    s->when = load_time;
    load_count.closed++;
}
