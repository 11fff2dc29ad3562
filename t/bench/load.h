
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The load client, shared declarations:
 *
 *   load.c          options, event loop, lists, summary
 *   load_session.c  the SMTP dialogue and what its replies count as
 *   load_net.c      connections, TLS, splitting into lines
 *
 * One thread; all sessions are allocated at start and own their buffers.
 */


#ifndef _NGX_SMTP_LOAD_H_INCLUDED_
#define _NGX_SMTP_LOAD_H_INCLUDED_


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
#include <sys/uio.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>


#define LOAD_IN_SIZE      4096
#define LOAD_HEAD_SIZE    1024
#define LOAD_ID_SIZE      96
#define LOAD_LOG_SIZE     (64 * 1024)

#define LOAD_SEC          1000000000ull
#define LOAD_MSEC         1000000ull

#define LOAD_BACKOFF_MIN  (10 * LOAD_MSEC)
#define LOAD_BACKOFF_MAX  (200 * LOAD_MSEC)

#define LOAD_OPENING_MAX  64                  /* idle sessions at a time */


/* the order matters: up to LOAD_AUTH a session is being set up */

typedef enum {
    LOAD_CLOSED = 0,                          /* waits for s->when */
    LOAD_CONNECT,
    LOAD_HANDSHAKE,
    LOAD_BANNER,
    LOAD_EHLO,
    LOAD_STARTTLS,
    LOAD_AUTH,
    LOAD_MAIL,
    LOAD_RCPT,
    LOAD_DATA,
    LOAD_BODY,
    LOAD_RSET,
    LOAD_QUIT,
    LOAD_IDLE,
    LOAD_FINISHED
} load_state_e;


typedef enum {
    LOAD_TLS_OFF = 0,
    LOAD_TLS_IMPLICIT,
    LOAD_TLS_STARTTLS
} load_tls_e;


typedef struct {
    int             fd;                       /* -1: not wanted */
    size_t          len;
    char            buf[LOAD_LOG_SIZE];
} load_list_t;


typedef struct {
    SSL            *ssl;
    char           *out;                      /* commands, or the header */
    size_t          out_len;
    size_t          out_pos;
    size_t          body_len;                 /* of load_body, behind out */
    size_t          body_pos;
    size_t          in_len;

    uint64_t        when;                     /* connect again at */
    uint64_t        backoff;
    uint64_t        away;                     /* no progress since, or 0 */
    uint64_t        active;                   /* last reply */
    uint64_t        eod;                      /* end of data sent at, or 0 */
    uint64_t        msg;                      /* number, 0: none taken */

    load_state_e    state;
    int             fd;
    unsigned        serial;                   /* of the connection */
    unsigned        rcpt;                     /* replies to RCPT seen */
    unsigned        rcpt_ok;

    unsigned        tls:1;
    unsigned        lost:1;                   /* next connect is a reconnect */
    unsigned        pipelining:1;             /* announced */
    unsigned        can_starttls:1;
    unsigned        sent:1;                   /* envelope sent in one piece */
    unsigned        refused:1;                /* counted as failed already */
    unsigned        writing:1;                /* EPOLLOUT is on */

    char            in[LOAD_IN_SIZE];
} load_session_t;


typedef struct {
    const char     *sender;
    const char     *rcpt;
    uint64_t        messages;                 /* 0: unlimited */
    uint64_t        wait;
    uint64_t        stall;
    double          seconds;
    size_t          size;
    load_tls_e      tls;
    unsigned        sessions;
    unsigned        rcpts;
    unsigned        idle:1;
    unsigned        per_message:1;
    unsigned        pipelining:1;
} load_conf_t;


typedef struct {
    uint64_t        taken;                    /* numbers given to sessions */
    uint64_t        messages;                 /* transactions begun */
    uint64_t        acked;
    uint64_t        failed;
    uint64_t        unknown;
    uint64_t        refused_rcpts;
    uint64_t        reconnects;
    unsigned        running;                  /* sessions not finished */
    unsigned        closed;                   /* sessions that wait */
    unsigned        opening;                  /* sessions being set up */
    unsigned        idling;
    unsigned        idle_lost;
    unsigned        gave_up;
    unsigned        complaints;
} load_count_t;


/* load.c */

void load_list_add(load_list_t *list, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void load_latency_add(uint64_t ns);
uint64_t load_now(void);                      /* monotonic, nanoseconds */
double load_wall(void);                       /* seconds since the epoch */
void load_fatal(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));
void load_complain(const char *fmt, ...)      /* the first few only */
    __attribute__((format(printf, 1, 2)));

/* load_net.c: each may lose the connection, then s->serial has changed */

void load_connect(load_session_t *s);
void load_event(load_session_t *s, uint32_t events);
void load_handshake_start(load_session_t *s);

/* sends s->out up to out_len, then body_len bytes of load_body */
void load_send(load_session_t *s, load_state_e state);

void load_close(load_session_t *s);

/* load_session.c */

void load_body_create(void);
void load_auth_create(const char *user);
void load_command(load_session_t *s, load_state_e state, const char *line);

/* a complete reply: -1 when what is still buffered must not be read */
int load_reply(load_session_t *s, int code, const char *line);

/* the connection ended, or must end, for another reason than our QUIT */
void load_lost(load_session_t *s, const char *why);

void load_finish(load_session_t *s);          /* never connects again */
int load_done(void);                          /* no more messages to take */


extern load_conf_t              load_conf;
extern load_count_t             load_count;
extern load_list_t              load_acks;
extern load_list_t              load_others;

extern uint64_t                 load_time;    /* of this iteration */
extern uint64_t                 load_last_ack;
extern uint64_t                 load_deadline;

extern char                     load_prefix[64];
extern char                    *load_body;    /* filler and the final dot */

extern struct sockaddr_storage  load_addr;
extern socklen_t                load_addrlen;
extern SSL_CTX                 *load_ctx;
extern int                      load_ep;
extern int                      load_stopped; /* going on makes no sense */
extern volatile sig_atomic_t    load_stop;    /* signals received */


#endif /* _NGX_SMTP_LOAD_H_INCLUDED_ */
