
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * An SMTP server that accepts everything and keeps nothing of it but the
 * X-Load-Id of each message (load.c writes it): one line a message,
 *
 *     id recipients time state
 *
 * appended with one write() an event loop iteration, before the replies of
 * that iteration are sent, so that the record is complete when the sink is
 * killed.  The state is "ok", or "gone" when the client had left before its
 * end of data was answered (with -D): a real server would have delivered
 * such a message too.
 *
 * Strict about the end of data: only CRLF.CRLF.  Plain C, epoll, one thread;
 * connections are allocated one by one and own their buffers.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>


#define SINK_IN_SIZE    (64 * 1024)
#define SINK_LINE_SIZE  1024                  /* of a command */
#define SINK_KEEP_SIZE  128                   /* of a line of the message */
#define SINK_ID_SIZE    96
#define SINK_OUT_SIZE   8192
#define SINK_LOG_SIZE   (256 * 1024)
#define SINK_EVENTS     256

#define SINK_USAGE                                                           \
    "usage: sink [options] [host:]port\n"                                    \
    "  -o file  append what was received: id, recipients, time, state\n"     \
    "  -D ms    delay before the answer to the end of data\n"                \
    "  -r n     percent of 451 answers to RCPT\n"                            \
    "  -R n     percent of 550 answers to RCPT\n"                            \
    "  -e n     percent of 451 answers to the end of data\n"                 \
    "  -a       the id is anywhere in the message: of a returned one\n"      \
    "  -S n     seed of the random numbers behind -r, -R and -e (1)\n"       \
    "  -p       do not announce PIPELINING\n"                                \
    "prints \"listening host:port\" (port 0: any free one), and a summary\n" \
    "when it is ended by SIGTERM or SIGINT\n"


typedef struct sink_conn_s  sink_conn_t;

struct sink_conn_s {
    sink_conn_t     *next;                    /* of all */
    sink_conn_t    **prev;
    sink_conn_t     *flush_next;
    sink_conn_t     *wait_next;
    uint64_t         when;                    /* answer the end of data at */
    int              fd;                      /* -1: gone, answer pending */
    unsigned         rcpts;

    unsigned         data:1;                  /* reading a message */
    unsigned         mail:1;
    unsigned         delayed:1;               /* in sink_wait */
    unsigned         flushing:1;              /* in sink_flush */
    unsigned         writing:1;               /* EPOLLOUT is on */
    unsigned         quit:1;
    unsigned         header:1;                /* still in the header */
    unsigned         crlf:1;                  /* the line before ended so */
    unsigned         cr:1;                    /* last octet was CR */

    size_t           line_len;                /* length so far, all of it */
    size_t           out_len;
    size_t           out_pos;
    size_t           held_len;                /* read behind a delayed end */
    char            *held;

    char             id[SINK_ID_SIZE];
    char             line[SINK_LINE_SIZE];
    char             out[SINK_OUT_SIZE];
};


typedef struct {
    unsigned long    connections;
    unsigned long    messages;
    unsigned long    gone;
    unsigned long    refused_rcpts;
    unsigned long    refused_messages;
    unsigned long    without_id;
} sink_count_t;


static void sink_options(int argc, char **argv);
static void sink_listen(char *arg);
static void sink_loop(void);
static int sink_timeout(void);
static void sink_accept(void);
static void sink_event(sink_conn_t *c, uint32_t events);
static void sink_input(sink_conn_t *c, const char *p, size_t len);
static const char *sink_command_line(sink_conn_t *c, const char *p,
    const char *last);
static const char *sink_data_line(sink_conn_t *c, const char *p,
    const char *last);
static void sink_header_line(sink_conn_t *c);
static void sink_command(sink_conn_t *c);
static void sink_rcpt(sink_conn_t *c);
static void sink_data(sink_conn_t *c);
static void sink_end_of_data(sink_conn_t *c);
static void sink_answer(sink_conn_t *c);
static void sink_answer_delayed(void);
static void sink_hold(sink_conn_t *c, const char *p, size_t len);
static void sink_reply(sink_conn_t *c, const char *text);
static void sink_queue(sink_conn_t *c);
static void sink_flush_all(void);
static void sink_write(sink_conn_t *c);
static void sink_watch(sink_conn_t *c, unsigned writing);
static void sink_close(sink_conn_t *c);
static void sink_free(sink_conn_t *c);
static void sink_record(sink_conn_t *c, const char *state);
static void sink_record_flush(void);
static void sink_record_mend(void);
static int sink_unlucky(double percent);
static uint64_t sink_now(void);
static void sink_fatal(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));
static void sink_signal(int signo);


static uint64_t                sink_delay;    /* nanoseconds */
static double                  sink_rcpt_percent;
static double                  sink_fail_percent;
static double                  sink_data_percent;
static int                     sink_anywhere;
static int                     sink_pipelining = 1;
static int                     sink_log = -1;

static int                     sink_ep;
static int                     sink_listener;
static uint64_t                sink_time;
static sink_count_t            sink_count;

static sink_conn_t            *sink_conns;    /* all */
static sink_conn_t            *sink_flush;    /* have replies to send */
static sink_conn_t            *sink_wait;     /* oldest first */
static sink_conn_t           **sink_wait_end = &sink_wait;

static char                    sink_buf[SINK_IN_SIZE];
static char                    sink_log_buf[SINK_LOG_SIZE];
static size_t                  sink_log_len;

static volatile sig_atomic_t   sink_stop;


int
main(int argc, char **argv)
{
    struct rlimit     rl;
    struct sigaction  sa;

    sink_options(argc, argv);

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
        rl.rlim_cur = rl.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &rl);
    }

    memset(&sa, 0, sizeof(struct sigaction));
    sa.sa_handler = sink_signal;

    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);

    sink_loop();

    while (sink_conns) {
        sink_free(sink_conns);
    }

    printf("{\"connections\": %lu, \"messages\": %lu, \"gone\": %lu, "
           "\"refused_rcpts\": %lu, \"refused_messages\": %lu, "
           "\"without_id\": %lu}\n",
           sink_count.connections, sink_count.messages, sink_count.gone,
           sink_count.refused_rcpts, sink_count.refused_messages,
           sink_count.without_id);

    return 0;
}


static void
sink_options(int argc, char **argv)
{
    int  c;

    for ( ;; ) {
        c = getopt(argc, argv, "o:D:r:R:e:S:pa");

        if (c == -1) {
            break;
        }

        switch (c) {

        case 'o':
            sink_log = open(optarg, O_RDWR|O_CREAT|O_APPEND|O_CLOEXEC, 0644);
            if (sink_log == -1) {
                sink_fatal("open(\"%s\") failed: %s", optarg,
                           strerror(errno));
            }

            sink_record_mend();
            break;

        case 'D':
            sink_delay = strtoull(optarg, NULL, 10) * 1000000;
            break;

        case 'r':
            sink_rcpt_percent = atof(optarg);
            break;

        case 'R':
            sink_fail_percent = atof(optarg);
            break;

        case 'a':
            sink_anywhere = 1;
            break;

        case 'e':
            sink_data_percent = atof(optarg);
            break;

        case 'S':
            srand48(atol(optarg));
            break;

        case 'p':
            sink_pipelining = 0;
            break;

        default:
            fputs(SINK_USAGE, stderr);
            exit(2);
        }
    }

    if (optind != argc - 1) {
        fputs(SINK_USAGE, stderr);
        exit(2);
    }

    sink_listen(argv[optind]);
}


static void
sink_listen(char *arg)
{
    int                       rc, one;
    char                     *port, text[128], num[16];
    socklen_t                 len;
    const char               *host;
    struct addrinfo          *res, hints;
    struct epoll_event        ee;
    struct sockaddr_storage   ss;

    host = "127.0.0.1";
    port = strrchr(arg, ':');

    if (port) {
        *port++ = '\0';
        host = arg;

    } else {
        port = arg;
    }

    memset(&hints, 0, sizeof(struct addrinfo));
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE;

    rc = getaddrinfo(host, port, &hints, &res);
    if (rc != 0) {
        sink_fatal("%s: %s", host, gai_strerror(rc));
    }

    one = 1;
    sink_listener = socket(res->ai_family,
                           SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (sink_listener == -1
        || setsockopt(sink_listener, SOL_SOCKET, SO_REUSEADDR, &one,
                      sizeof(int)) == -1
        || bind(sink_listener, res->ai_addr, res->ai_addrlen) == -1
        || listen(sink_listener, 4096) == -1)
    {
        sink_fatal("cannot listen on %s:%s: %s", host, port, strerror(errno));
    }

    freeaddrinfo(res);

    len = sizeof(struct sockaddr_storage);

    if (getsockname(sink_listener, (struct sockaddr *) &ss, &len) == -1
        || getnameinfo((struct sockaddr *) &ss, len, text, sizeof(text), num,
                       sizeof(num), NI_NUMERICHOST|NI_NUMERICSERV) != 0)
    {
        sink_fatal("getsockname() failed");
    }

    printf("listening %s:%s\n", text, num);
    fflush(stdout);

    memset(&ee, 0, sizeof(struct epoll_event));
    ee.events = EPOLLIN;

    sink_ep = epoll_create1(EPOLL_CLOEXEC);

    if (sink_ep == -1
        || epoll_ctl(sink_ep, EPOLL_CTL_ADD, sink_listener, &ee) == -1)
    {
        sink_fatal("epoll failed: %s", strerror(errno));
    }
}


static void
sink_loop(void)
{
    int                  i, n;
    struct epoll_event   ee[SINK_EVENTS];

    while (!sink_stop) {

        n = epoll_wait(sink_ep, ee, SINK_EVENTS, sink_timeout());

        if (n == -1 && errno != EINTR) {
            sink_fatal("epoll_wait() failed: %s", strerror(errno));
        }

        sink_time = sink_now();
        sink_answer_delayed();

        for (i = 0; i < n; i++) {
            if (ee[i].data.ptr) {
                sink_event(ee[i].data.ptr, ee[i].events);

            } else {
                sink_accept();
            }
        }

        /* the record is written before anyone is told */

        sink_record_flush();
        sink_flush_all();
    }
}


/*
 * A signal that arrives between the test of sink_stop and epoll_wait() is
 * seen at the end of the wait, hence the upper bound.
 */

static int
sink_timeout(void)
{
    uint64_t  ms;

    if (sink_wait == NULL) {
        return 200;
    }

    if (sink_wait->when <= sink_time) {
        return 0;
    }

    ms = (sink_wait->when - sink_time) / 1000000 + 1;

    return ms < 200 ? (int) ms : 200;
}


static void
sink_accept(void)
{
    int                  fd, one;
    sink_conn_t         *c;
    struct epoll_event   ee;

    for ( ;; ) {
        fd = accept4(sink_listener, NULL, NULL, SOCK_NONBLOCK|SOCK_CLOEXEC);

        if (fd == -1) {
            return;
        }

        c = calloc(1, sizeof(sink_conn_t));
        if (c == NULL) {
            sink_fatal("out of memory");
        }

        one = 1;
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(int));

        c->fd = fd;
        c->next = sink_conns;
        c->prev = &sink_conns;

        if (sink_conns) {
            sink_conns->prev = &c->next;
        }

        sink_conns = c;
        sink_count.connections++;

        memset(&ee, 0, sizeof(struct epoll_event));
        ee.events = EPOLLIN;
        ee.data.ptr = c;

        if (epoll_ctl(sink_ep, EPOLL_CTL_ADD, fd, &ee) == -1) {
            sink_fatal("epoll_ctl() failed: %s", strerror(errno));
        }

        sink_reply(c, "220 sink.example ESMTP\r\n");
    }
}


static void
sink_event(sink_conn_t *c, uint32_t events)
{
    ssize_t  n;

    if (events & EPOLLOUT) {
        sink_write(c);
    }

    if (c->fd == -1 || (events & (EPOLLIN|EPOLLHUP|EPOLLERR)) == 0) {
        return;
    }

    /* one read per event: the epoll is level-triggered */

    n = recv(c->fd, sink_buf, SINK_IN_SIZE, 0);

    if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }

    if (n <= 0) {
        sink_close(c);
        return;
    }

    sink_input(c, sink_buf, (size_t) n);
}


static void
sink_input(sink_conn_t *c, const char *p, size_t len)
{
    const char  *last;

    last = p + len;

    while (p < last && c->fd != -1 && !c->quit) {

        if (c->delayed) {
            sink_hold(c, p, last - p);
            return;
        }

        p = c->data ? sink_data_line(c, p, last)
                    : sink_command_line(c, p, last);
    }
}


static const char *
sink_command_line(sink_conn_t *c, const char *p, const char *last)
{
    size_t       len;
    const char  *nl;

    nl = memchr(p, '\n', last - p);
    len = (nl ? nl : last) - p;

    if (len > SINK_LINE_SIZE - 1 - c->line_len) {
        sink_reply(c, "500 5.5.2 Line too long\r\n");
        c->quit = 1;
        return last;
    }

    memcpy(c->line + c->line_len, p, len);
    c->line_len += len;

    if (nl == NULL) {
        return last;
    }

    if (c->line_len && c->line[c->line_len - 1] == '\r') {
        c->line_len--;
    }

    c->line[c->line_len] = '\0';
    c->line_len = 0;

    sink_command(c);

    return nl + 1;
}


/* of each line only the beginning is kept; line_len counts all of it */

static const char *
sink_data_line(sink_conn_t *c, const char *p, const char *last)
{
    int          crlf;
    size_t       len, n;
    const char  *nl;

    nl = memchr(p, '\n', last - p);
    len = (nl ? nl : last) - p;

    if (c->line_len < SINK_KEEP_SIZE - 1) {
        n = SINK_KEEP_SIZE - 1 - c->line_len;
        memcpy(c->line + c->line_len, p, len < n ? len : n);
    }

    if (len) {
        c->cr = (p[len - 1] == '\r');
    }

    c->line_len += len;

    if (nl == NULL) {
        return last;
    }

    crlf = c->cr;

    if (c->line_len == 2 && crlf && c->crlf && c->line[0] == '.') {
        c->line_len = 0;
        sink_end_of_data(c);
        return nl + 1;
    }

    if (c->header) {
        sink_header_line(c);
    }

    c->crlf = crlf;
    c->cr = 0;
    c->line_len = 0;

    return nl + 1;
}


static void
sink_header_line(sink_conn_t *c)
{
    char    *p, *last;
    size_t   len;

    len = c->line_len < SINK_KEEP_SIZE - 1 ? c->line_len : SINK_KEEP_SIZE - 1;

    while (len && c->line[len - 1] == '\r') {
        len--;
    }

    if (len == 0) {
        c->header = sink_anywhere;
        return;
    }

    c->line[len] = '\0';

    if (strncasecmp(c->line, "X-Load-Id:", 10) != 0) {
        return;
    }

    for (p = c->line + 10; *p == ' ' || *p == '\t'; p++) { /* void */ }

    last = p + strcspn(p, " \t");

    if (last - p < SINK_ID_SIZE) {
        memcpy(c->id, p, last - p);
        c->id[last - p] = '\0';
        c->header = !sink_anywhere;
    }
}


static void
sink_command(sink_conn_t *c)
{
    const char  *p;

    p = c->line;

    if (strncasecmp(p, "RCPT ", 5) == 0) {
        sink_rcpt(c);

    } else if (strncasecmp(p, "MAIL ", 5) == 0) {
        if (c->mail) {
            sink_reply(c, "503 5.5.1 Nested MAIL\r\n");
            return;
        }

        c->mail = 1;
        c->rcpts = 0;
        sink_reply(c, "250 2.1.0 Ok\r\n");

    } else if (strcasecmp(p, "DATA") == 0) {
        sink_data(c);

    } else if (strcasecmp(p, "RSET") == 0) {
        c->mail = 0;
        c->rcpts = 0;
        sink_reply(c, "250 2.0.0 Ok\r\n");

    } else if (strcasecmp(p, "QUIT") == 0) {
        c->quit = 1;
        sink_reply(c, "221 2.0.0 Bye\r\n");

    } else if (strcasecmp(p, "NOOP") == 0) {
        sink_reply(c, "250 2.0.0 Ok\r\n");

    } else if (strncasecmp(p, "EHLO ", 5) == 0) {
        c->mail = 0;
        sink_reply(c, sink_pipelining
                      ? "250-sink.example\r\n250-PIPELINING\r\n"
                        "250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
                      : "250-sink.example\r\n250-8BITMIME\r\n"
                        "250 ENHANCEDSTATUSCODES\r\n");

    } else if (strncasecmp(p, "HELO ", 5) == 0) {
        c->mail = 0;
        sink_reply(c, "250 sink.example\r\n");

    } else {
        sink_reply(c, "500 5.5.2 Unknown command\r\n");
    }
}


static void
sink_rcpt(sink_conn_t *c)
{
    if (!c->mail) {
        sink_reply(c, "503 5.5.1 MAIL first\r\n");
        return;
    }

    if (sink_unlucky(sink_rcpt_percent)) {
        sink_count.refused_rcpts++;
        sink_reply(c, "451 4.3.0 Not this time\r\n");
        return;
    }

    if (sink_unlucky(sink_fail_percent)) {
        sink_reply(c, "550 5.1.1 Never\r\n");
        return;
    }

    c->rcpts++;
    sink_reply(c, "250 2.1.5 Ok\r\n");
}


static void
sink_data(sink_conn_t *c)
{
    if (c->rcpts == 0) {
        sink_reply(c, "503 5.5.1 RCPT first\r\n");
        return;
    }

    c->data = 1;
    c->header = 1;
    c->crlf = 1;
    c->cr = 0;
    c->id[0] = '\0';

    sink_reply(c, "354 Go on\r\n");
}


static void
sink_end_of_data(sink_conn_t *c)
{
    c->data = 0;
    c->mail = 0;

    if (sink_delay == 0) {
        sink_answer(c);
        return;
    }

    /* the delay is the same for all, so the list stays sorted */

    c->delayed = 1;
    c->when = sink_time + sink_delay;
    c->wait_next = NULL;
    *sink_wait_end = c;
    sink_wait_end = &c->wait_next;
}


static void
sink_answer(sink_conn_t *c)
{
    if (sink_unlucky(sink_data_percent)) {
        sink_count.refused_messages++;
        sink_reply(c, "451 4.3.0 Not this time\r\n");
        return;
    }

    sink_count.messages++;

    if (c->fd == -1) {
        sink_count.gone++;
    }

    sink_record(c, c->fd == -1 ? "gone" : "ok");
    sink_reply(c, "250 2.0.0 Ok\r\n");
}


static void
sink_answer_delayed(void)
{
    char         *held;
    size_t        len;
    sink_conn_t  *c;

    while (sink_wait && sink_wait->when <= sink_time) {
        c = sink_wait;
        sink_wait = c->wait_next;

        if (sink_wait == NULL) {
            sink_wait_end = &sink_wait;
        }

        c->delayed = 0;
        sink_answer(c);

        if (c->fd == -1) {
            sink_queue(c);
            continue;
        }

        held = c->held;
        len = c->held_len;
        c->held = NULL;
        c->held_len = 0;

        if (held) {
            sink_input(c, held, len);
            free(held);
        }
    }
}


/* what a client sends behind an end of data that is not answered yet */

static void
sink_hold(sink_conn_t *c, const char *p, size_t len)
{
    char  *held;

    held = realloc(c->held, c->held_len + len);

    if (held == NULL) {
        sink_fatal("out of memory");
    }

    memcpy(held + c->held_len, p, len);

    c->held = held;
    c->held_len += len;
}


/*
 * A client that sends commands without reading the replies is cut off when
 * the buffer is full.
 */

static void
sink_reply(sink_conn_t *c, const char *text)
{
    size_t  len;

    if (c->fd == -1) {
        return;
    }

    len = strlen(text);

    if (len > SINK_OUT_SIZE - c->out_len) {
        c->out_len = 0;
        c->out_pos = 0;
        c->quit = 1;

    } else {
        memcpy(c->out + c->out_len, text, len);
        c->out_len += len;
    }

    sink_queue(c);
}


static void
sink_queue(sink_conn_t *c)
{
    if (!c->flushing) {
        c->flushing = 1;
        c->flush_next = sink_flush;
        sink_flush = c;
    }
}


/* the only place where a connection is freed: no event refers to it here */

static void
sink_flush_all(void)
{
    sink_conn_t  *c, *list;

    list = sink_flush;
    sink_flush = NULL;

    while (list) {
        c = list;
        list = c->flush_next;
        c->flushing = 0;

        if (c->fd != -1) {
            sink_write(c);
        }

        if (c->fd == -1 && !c->delayed && !c->flushing) {
            sink_free(c);
        }
    }

    /* closed while they were written */

    if (sink_flush) {
        sink_flush_all();
    }
}


static void
sink_write(sink_conn_t *c)
{
    ssize_t  n;

    while (c->out_pos < c->out_len) {
        n = send(c->fd, c->out + c->out_pos, c->out_len - c->out_pos,
                 MSG_NOSIGNAL);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1 && errno == EAGAIN) {
            sink_watch(c, 1);
            return;
        }

        if (n == -1) {
            sink_close(c);
            return;
        }

        c->out_pos += n;
    }

    c->out_len = 0;
    c->out_pos = 0;

    if (c->quit) {
        sink_close(c);
        return;
    }

    sink_watch(c, 0);
}


static void
sink_watch(sink_conn_t *c, unsigned writing)
{
    struct epoll_event  ee;

    if (c->writing == writing) {
        return;
    }

    c->writing = writing;

    memset(&ee, 0, sizeof(struct epoll_event));
    ee.events = writing ? EPOLLIN|EPOLLOUT : EPOLLIN;
    ee.data.ptr = c;

    if (epoll_ctl(sink_ep, EPOLL_CTL_MOD, c->fd, &ee) == -1) {
        sink_fatal("epoll_ctl() failed: %s", strerror(errno));
    }
}


static void
sink_close(sink_conn_t *c)
{
    close(c->fd);
    c->fd = -1;

    sink_queue(c);
}


static void
sink_free(sink_conn_t *c)
{
    *c->prev = c->next;

    if (c->next) {
        c->next->prev = c->prev;
    }

    if (c->fd != -1) {
        close(c->fd);
    }

    free(c->held);
    free(c);
}


static void
sink_record(sink_conn_t *c, const char *state)
{
    struct timespec  ts;

    if (c->id[0] == '\0') {
        sink_count.without_id++;
        return;
    }

    if (sink_log == -1) {
        return;
    }

    if (SINK_LOG_SIZE - sink_log_len < 256) {
        sink_record_flush();
    }

    clock_gettime(CLOCK_REALTIME, &ts);

    sink_log_len += snprintf(sink_log_buf + sink_log_len, 256,
                             "%s %u %lld.%06ld %s\n", c->id, c->rcpts,
                             (long long) ts.tv_sec, ts.tv_nsec / 1000, state);
}


/*
 * A kill in the middle of a write() leaves half a line, of a message nobody
 * was told about: the next line must not become a part of it.
 */

static void
sink_record_mend(void)
{
    char   c;
    off_t  size;

    size = lseek(sink_log, 0, SEEK_END);

    while (size > 0 && pread(sink_log, &c, 1, size - 1) == 1 && c != '\n') {
        size--;
    }

    if (size >= 0 && ftruncate(sink_log, size) == -1 && errno != EINVAL) {
        sink_fatal("ftruncate() failed: %s", strerror(errno));
    }
}


static void
sink_record_flush(void)
{
    size_t   pos;
    ssize_t  n;

    for (pos = 0; pos < sink_log_len; pos += n) {
        n = write(sink_log, sink_log_buf + pos, sink_log_len - pos);

        if (n == -1) {
            if (errno != EINTR) {
                sink_fatal("write() failed: %s", strerror(errno));
            }

            n = 0;
        }
    }

    sink_log_len = 0;
}


static int
sink_unlucky(double percent)
{
    return percent > 0 && drand48() * 100 < percent;
}


static uint64_t
sink_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}


static void
sink_fatal(const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    fputs("sink: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);

    exit(2);
}


static void
sink_signal(int signo)
{
    sink_stop = 1;
}
