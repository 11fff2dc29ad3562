
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A load client for SMTP servers that knows what was acknowledged.
 *
 * Every message carries an id of its own, in X-Load-Id and in the body; the
 * id of each one that got 250 after its end of data is written to a list,
 * with one write() an event loop iteration, so that the list is complete
 * when the server under test is killed.  Compare it by account.pl with what
 * sink.c has recorded.  The summary is one line of JSON on stdout.
 */


#include "load.h"


#define LOAD_EVENTS      256
#define LOAD_COMPLAINTS  5

#define LOAD_USAGE                                                           \
    "usage: load [options] host:port\n"                                      \
    "  -s n     sessions (50)\n"                                             \
    "  -m n     messages (1000, unlimited if -t is given)\n"                 \
    "  -t sec   begin no transaction after so long\n"                        \
    "  -c       a new connection for each message\n"                         \
    "  -p       pipelining: MAIL, RCPT and DATA in one write\n"              \
    "  -l n     size of a message, header included (4096)\n"                 \
    "  -T mode  off, implicit or starttls (off)\n"                           \
    "  -A u:p   log in by AUTH PLAIN\n"                                      \
    "  -f addr  sender (load@example.com)\n"                                 \
    "  -r addr  recipient (rcpt@example.net)\n"                              \
    "  -n n     recipients a message: addr, then local+1@domain, ... (1)\n"  \
    "  -o file  append what got 250: id, time, latency in seconds\n"         \
    "  -u file  append what did not: id, time, failed or unknown\n"          \
    "  -x text  prefix of the ids (made of time and pid)\n"                  \
    "  -w sec   give up when there is no progress for so long (10)\n"        \
    "  -k sec   longest wait for a reply (120)\n"                            \
    "  -i n     open n sessions, print \"ready n\", stay after EHLO until\n" \
    "           stdin is closed\n"                                           \
    "exit status: 0 no transaction failed, 1 some did, 2 incomplete run\n"


static void load_options(int argc, char **argv);
static int load_option(int c);
static void load_resolve(char *arg);
static void load_init(void);
static void load_loop(void);
static void load_timers(void);
static void load_stdin(void);
static void load_list_open(load_list_t *list, const char *name);
static void load_list_flush(load_list_t *list);
static double load_latency(double part);
static int load_compare(const void *one, const void *two);
static void load_summary(void);
static void load_signal(int signo);


load_conf_t              load_conf;
load_count_t             load_count;
load_list_t              load_acks;
load_list_t              load_others;

uint64_t                 load_time;
uint64_t                 load_last_ack;
uint64_t                 load_deadline;

char                     load_prefix[64];
char                    *load_body;

struct sockaddr_storage  load_addr;
socklen_t                load_addrlen;
SSL_CTX                 *load_ctx;
int                      load_ep;
int                      load_stopped;
volatile sig_atomic_t    load_stop;

static load_session_t   *load_sessions;
static uint32_t         *load_latencies;      /* microseconds */
static size_t            load_nlatencies;
static size_t            load_alatencies;
static uint64_t          load_started;
static int               load_stdin_watched;


int
main(int argc, char **argv)
{
    load_options(argc, argv);
    load_init();
    load_loop();
    load_summary();

    if (load_conf.idle) {
        return load_count.idle_lost || load_count.idling == 0 ? 2 : 0;
    }

    if (load_stopped || load_count.gave_up || load_count.acked == 0) {
        return 2;
    }

    return load_count.failed ? 1 : 0;
}


static void
load_options(int argc, char **argv)
{
    int  c;

    load_conf.sessions = 50;
    load_conf.rcpts = 1;
    load_conf.size = 4096;
    load_conf.wait = 10 * LOAD_SEC;
    load_conf.stall = 120 * LOAD_SEC;
    load_conf.sender = "load@example.com";
    load_conf.rcpt = "rcpt@example.net";

    load_acks.fd = -1;
    load_others.fd = -1;

    snprintf(load_prefix, sizeof(load_prefix), "%llx.%lx",
             (unsigned long long) (load_wall() * 1000), (long) getpid());

    for ( ;; ) {
        c = getopt(argc, argv, "s:m:t:cpl:T:A:f:r:n:o:u:x:w:k:i:");

        if (c == -1) {
            break;
        }

        if (load_option(c) == -1) {
            goto usage;
        }
    }

    if (optind != argc - 1 || load_conf.sessions == 0 || load_conf.rcpts == 0
        || strlen(load_conf.sender) > 256 || strlen(load_conf.rcpt) > 256)
    {
        goto usage;
    }

    if (load_conf.messages == 0 && load_conf.seconds == 0) {
        load_conf.messages = 1000;
    }

    load_resolve(argv[optind]);

    return;

usage:

    fputs(LOAD_USAGE, stderr);
    exit(2);
}


static int
load_option(int c)
{
    char         *end;
    double        n;
    const char   *arg;

    arg = optarg ? optarg : "0";
    n = strtod(arg, &end);

    if (strchr("smtlnwki", c) && (*end != '\0' || n < 0)) {
        return -1;
    }

    switch (c) {

    case 's':
        load_conf.sessions = (unsigned) n;
        break;

    case 'm':
        load_conf.messages = (uint64_t) n;
        break;

    case 't':
        load_conf.seconds = n;
        break;

    case 'c':
        load_conf.per_message = 1;
        break;

    case 'p':
        load_conf.pipelining = 1;
        break;

    case 'l':
        load_conf.size = (size_t) n;
        break;

    case 'T':
        if (strcmp(arg, "implicit") == 0) {
            load_conf.tls = LOAD_TLS_IMPLICIT;

        } else if (strcmp(arg, "starttls") == 0) {
            load_conf.tls = LOAD_TLS_STARTTLS;

        } else if (strcmp(arg, "off") != 0) {
            return -1;
        }

        break;

    case 'A':
        load_auth_create(arg);
        break;

    case 'f':
        load_conf.sender = arg;
        break;

    case 'r':
        load_conf.rcpt = arg;
        break;

    case 'n':
        load_conf.rcpts = (unsigned) n;
        break;

    case 'o':
        load_list_open(&load_acks, arg);
        break;

    case 'u':
        load_list_open(&load_others, arg);
        break;

    case 'x':
        snprintf(load_prefix, sizeof(load_prefix), "%s", arg);
        break;

    case 'w':
        load_conf.wait = (uint64_t) (n * LOAD_SEC);
        break;

    case 'k':
        load_conf.stall = (uint64_t) (n * LOAD_SEC);
        break;

    case 'i':
        load_conf.idle = 1;
        load_conf.sessions = (unsigned) n;
        break;

    default:
        return -1;
    }

    return 0;
}


static void
load_resolve(char *arg)
{
    int               rc;
    char             *port;
    struct addrinfo  *res, hints;

    port = strrchr(arg, ':');
    if (port == NULL) {
        load_fatal("no port in \"%s\"", arg);
    }

    *port++ = '\0';

    if (*arg == '[' && port[-2] == ']') {
        port[-2] = '\0';
        arg++;
    }

    memset(&hints, 0, sizeof(struct addrinfo));
    hints.ai_socktype = SOCK_STREAM;

    rc = getaddrinfo(*arg ? arg : "127.0.0.1", port, &hints, &res);
    if (rc != 0) {
        load_fatal("%s: %s", arg, gai_strerror(rc));
    }

    memcpy(&load_addr, res->ai_addr, res->ai_addrlen);
    load_addrlen = res->ai_addrlen;
    freeaddrinfo(res);
}


static void
load_init(void)
{
    size_t         size;
    unsigned       i;
    struct rlimit  rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
        rl.rlim_cur = rl.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &rl);
    }

    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, load_signal);
    signal(SIGINT, load_signal);

    if (load_conf.tls != LOAD_TLS_OFF) {
        load_ctx = SSL_CTX_new(TLS_client_method());
        if (load_ctx == NULL) {
            load_fatal("SSL_CTX_new() failed");
        }

        SSL_CTX_set_mode(load_ctx, SSL_MODE_ENABLE_PARTIAL_WRITE
                                   |SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                                   |SSL_MODE_RELEASE_BUFFERS);
    }

    load_body_create();

    load_ep = epoll_create1(EPOLL_CLOEXEC);
    if (load_ep == -1) {
        load_fatal("epoll_create1() failed: %s", strerror(errno));
    }

    load_sessions = calloc(load_conf.sessions, sizeof(load_session_t));
    if (load_sessions == NULL) {
        load_fatal("out of memory");
    }

    size = 2 * LOAD_HEAD_SIZE + load_conf.rcpts * (size_t) 320;

    for (i = 0; i < load_conf.sessions; i++) {
        load_sessions[i].fd = -1;
        load_sessions[i].backoff = LOAD_BACKOFF_MIN;
        load_sessions[i].out = malloc(size);

        if (load_sessions[i].out == NULL) {
            load_fatal("out of memory");
        }
    }

    load_count.running = load_conf.sessions;
    load_count.closed = load_conf.sessions;

    load_time = load_now();
    load_started = load_time;
    load_last_ack = load_time;

    if (load_conf.seconds > 0) {
        load_deadline = load_time + (uint64_t) (load_conf.seconds * LOAD_SEC);
    }
}


static void
load_loop(void)
{
    int                  i, n;
    char                 c;
    uint64_t             timers;
    struct epoll_event   ee[LOAD_EVENTS];

    timers = 0;

    for ( ;; ) {
        if (load_time >= timers) {
            load_timers();
            timers = load_time + (load_count.closed ? 5 : 100) * LOAD_MSEC;
        }

        if (load_conf.idle && !load_stdin_watched
            && load_count.idling == load_count.running)
        {
            load_stdin();
        }

        load_list_flush(&load_acks);
        load_list_flush(&load_others);

        if (load_count.running == 0 || load_stopped || load_stop > 1
            || (load_conf.idle && load_stop))
        {
            return;
        }

        n = epoll_wait(load_ep, ee, LOAD_EVENTS, load_count.closed ? 5 : 100);

        if (n == -1 && errno != EINTR) {
            load_fatal("epoll_wait() failed: %s", strerror(errno));
        }

        load_time = load_now();

        for (i = 0; i < n; i++) {
            if (ee[i].data.ptr) {
                load_event(ee[i].data.ptr, ee[i].events);

            } else if (read(STDIN_FILENO, &c, 1) <= 0) {
                load_stopped = 1;
            }
        }
    }
}


static void
load_timers(void)
{
    unsigned         i;
    load_session_t  *s;

    for (i = 0; i < load_conf.sessions; i++) {
        s = &load_sessions[i];

        switch (s->state) {

        case LOAD_FINISHED:
        case LOAD_IDLE:
            break;

        case LOAD_CLOSED:
            if (load_done() && (s->msg == 0 || load_stop
                                || (load_deadline
                                    && load_time >= load_deadline)))
            {
                load_finish(s);
                break;
            }

            if (load_time >= s->when
                && (!load_conf.idle || load_count.opening < LOAD_OPENING_MAX))
            {
                load_connect(s);
            }

            break;

        default:
            if (load_time > s->active + load_conf.stall) {
                load_lost(s, "no reply");
            }
        }
    }
}


/* all idle sessions stand: say so, and watch for the end of stdin */

static void
load_stdin(void)
{
    struct epoll_event  ee;

    load_stdin_watched = 1;

    printf("ready %u\n", load_count.idling);
    fflush(stdout);

    memset(&ee, 0, sizeof(struct epoll_event));
    ee.events = EPOLLIN;

    if (epoll_ctl(load_ep, EPOLL_CTL_ADD, STDIN_FILENO, &ee) == -1) {
        /* a file: there is nothing to wait for */
        load_stopped = 1;
    }
}


static void
load_list_open(load_list_t *list, const char *name)
{
    list->fd = open(name, O_WRONLY|O_CREAT|O_APPEND|O_CLOEXEC, 0644);
    if (list->fd == -1) {
        load_fatal("open(\"%s\") failed: %s", name, strerror(errno));
    }
}


void
load_list_add(load_list_t *list, const char *fmt, ...)
{
    va_list  args;

    if (list->fd == -1) {
        return;
    }

    if (list->len + 256 > LOAD_LOG_SIZE) {
        load_list_flush(list);
    }

    va_start(args, fmt);
    list->len += vsnprintf(list->buf + list->len, 256, fmt, args);
    va_end(args);
}


static void
load_list_flush(load_list_t *list)
{
    size_t   pos;
    ssize_t  n;

    for (pos = 0; pos < list->len; pos += n) {
        n = write(list->fd, list->buf + pos, list->len - pos);

        if (n == -1) {
            if (errno == EINTR) {
                n = 0;
                continue;
            }

            load_fatal("write() failed: %s", strerror(errno));
        }
    }

    list->len = 0;
}


void
load_latency_add(uint64_t ns)
{
    if (load_nlatencies == load_alatencies) {
        load_alatencies = load_alatencies ? load_alatencies * 2 : 65536;
        load_latencies = realloc(load_latencies,
                                 load_alatencies * sizeof(uint32_t));

        if (load_latencies == NULL) {
            load_fatal("out of memory");
        }
    }

    load_latencies[load_nlatencies++] = (uint32_t) (ns / 1000);
}


/* milliseconds; the load_latencies are sorted */

static double
load_latency(double part)
{
    if (load_nlatencies == 0) {
        return 0;
    }

    return load_latencies[(size_t) (part * (load_nlatencies - 1))] / 1000.0;
}


static int
load_compare(const void *one, const void *two)
{
    uint32_t  a, b;

    a = *(const uint32_t *) one;
    b = *(const uint32_t *) two;

    return a < b ? -1 : a > b;
}


static void
load_summary(void)
{
    double         seconds;
    load_count_t  *c;

    c = &load_count;

    if (load_conf.idle) {
        printf("{\"idle\": %u, \"lost\": %u}\n", c->idling, c->idle_lost);
        return;
    }

    if (load_nlatencies) {
        qsort(load_latencies, load_nlatencies, sizeof(uint32_t),
              load_compare);
    }

    seconds = (double) ((c->acked ? load_last_ack : load_now()) - load_started)
              / LOAD_SEC;

    printf("{\"messages\": %llu, \"acked\": %llu, \"failed\": %llu, "
           "\"unknown\": %llu, ",
           (unsigned long long) c->messages, (unsigned long long) c->acked,
           (unsigned long long) c->failed, (unsigned long long) c->unknown);

    printf("\"refused_rcpts\": %llu, \"reconnects\": %llu, "
           "\"gave_up\": %u, ",
           (unsigned long long) c->refused_rcpts,
           (unsigned long long) c->reconnects, c->gave_up);

    printf("\"rate\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"max_ms\": %.3f, \"seconds\": %.3f}\n",
           seconds > 0 ? c->acked / seconds : 0,
           load_latency(0.5), load_latency(0.99), load_latency(1.0), seconds);
}


uint64_t
load_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * LOAD_SEC + (uint64_t) ts.tv_nsec;
}


double
load_wall(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / LOAD_SEC;
}


void
load_fatal(const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    fputs("load: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);

    exit(2);
}


void
load_complain(const char *fmt, ...)
{
    va_list  args;

    if (load_count.complaints++ >= LOAD_COMPLAINTS) {
        return;
    }

    va_start(args, fmt);
    fputs("load: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
}


static void
load_signal(int signo)
{
    load_stop++;
}
