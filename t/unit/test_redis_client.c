
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The Redis client of a worker against a server that is played here: the
 * connection's send and recv are the test's, as are the events.
 *
 * sources: net/ngx_smtp_redis.c net/ngx_smtp_redis_conn.c
 * sources: net/ngx_smtp_redis_codec.c
 * libs: -lhiredis -lssl -lcrypto
 */


#include "shim.h"
#include "ngx_smtp_redis.h"

#include <unistd.h>


#define GET(k)  "*2\r\n$3\r\nGET\r\n$1\r\n" k "\r\n"


/* a connection as nginx would give it */

typedef struct {
    ngx_connection_t   c;
    ngx_event_t        read;
    ngx_event_t        write;
    int                pair[2];

    char               sent[8192];      /* by the client */
    size_t             nsent;
    size_t             room;            /* that send() still takes */
    const char        *data;            /* for recv() */
    size_t             len;
    int                end;             /* then: 0 AGAIN, 1 close, 2 error */
    int                closed;
} conn_t;


static conn_t       conns[64];
static ngx_uint_t   nconns;
static ngx_int_t    connect_rc[64];     /* by number of the attempt */
static ngx_uint_t   attempts;
static ngx_str_t   *names[64];


static ssize_t
conn_recv(ngx_connection_t *c, u_char *buf, size_t size)
{
    size_t   n;
    conn_t  *conn;

    conn = (conn_t *) c;
    assert_false(conn->closed);

    if (conn->len == 0) {
        return (conn->end == 0) ? NGX_AGAIN : (conn->end == 1) ? 0 : NGX_ERROR;
    }

    n = ngx_min(size, conn->len);
    memcpy(buf, conn->data, n);
    conn->data += n;
    conn->len -= n;

    return n;
}


static ssize_t
conn_send(ngx_connection_t *c, u_char *buf, size_t size)
{
    size_t   n;
    conn_t  *conn;

    conn = (conn_t *) c;
    assert_false(conn->closed);

    if (conn->end == 2) {
        return NGX_ERROR;
    }

    n = ngx_min(size, conn->room);

    if (n == 0) {
        c->write->ready = 0;
        return NGX_AGAIN;
    }

    assert_true(conn->nsent + n < sizeof(conn->sent));
    memcpy(conn->sent + conn->nsent, buf, n);
    conn->nsent += n;
    conn->room -= n;

    return n;
}


ngx_int_t
ngx_event_connect_peer(ngx_peer_connection_t *pc)
{
    conn_t     *conn;
    ngx_int_t   rc;

    names[attempts] = pc->name;
    rc = connect_rc[attempts++];

    if (rc == NGX_ERROR || rc == NGX_DECLINED) {
        return rc;
    }

    conn = &conns[nconns++];
    memset(conn, 0, sizeof(conn_t));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, conn->pair), 0);

    conn->room = sizeof(conn->sent) - 1;
    conn->c.fd = conn->pair[0];
    conn->c.read = &conn->read;
    conn->c.write = &conn->write;
    conn->c.recv = conn_recv;
    conn->c.send = conn_send;
    conn->read.data = &conn->c;
    conn->write.data = &conn->c;
    conn->write.write = 1;
    conn->write.ready = (rc == NGX_OK);

    pc->connection = &conn->c;

    return rc;
}


void
ngx_close_connection(ngx_connection_t *c)
{
    conn_t  *conn;

    conn = (conn_t *) c;
    assert_false(conn->closed);
    conn->closed = 1;

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    close(conn->pair[0]);
    close(conn->pair[1]);
    c->fd = -1;
}


ngx_int_t
ngx_event_get_peer(ngx_peer_connection_t *pc, void *data)
{
    return NGX_OK;
}


ngx_int_t
ngx_handle_read_event(ngx_event_t *rev, ngx_uint_t flags)
{
    return NGX_OK;
}


ngx_int_t
ngx_handle_write_event(ngx_event_t *wev, size_t lowat)
{
    return NGX_OK;
}


/* TLS is tested with a server; these are never called here */

#if (NGX_SSL)

ngx_int_t
ngx_ssl_create_connection(ngx_ssl_t *ssl, ngx_connection_t *c,
    ngx_uint_t flags)
{
    return NGX_ERROR;
}


ngx_int_t
ngx_ssl_handshake(ngx_connection_t *c)
{
    return NGX_ERROR;
}


ngx_int_t
ngx_ssl_shutdown(ngx_connection_t *c)
{
    return NGX_ERROR;
}


ngx_int_t
ngx_ssl_check_host(ngx_connection_t *c, ngx_str_t *name)
{
    return NGX_ERROR;
}


void
ngx_ssl_error(ngx_uint_t level, ngx_log_t *log, ngx_err_t err, char *fmt, ...)
{
}

#endif


/* what the tests see */

static ngx_smtp_redis_conf_t   conf;
static ngx_addr_t              addrs[3];
static struct sockaddr_un      local = { .sun_family = AF_UNIX };
static char                    log_[4096];      /* answers, in order */


static void
answered(ngx_smtp_redis_request_t *r)
{
    char  text[300];

    if (r->rc != NGX_OK) {
        snprintf(text, sizeof(text), "%s=failed ", (char *) r->data);
        assert_null(r->reply);

    } else if (r->reply->type == NGX_SMTP_REDIS_NIL) {
        snprintf(text, sizeof(text), "%s=nil ", (char *) r->data);

    } else {
        snprintf(text, sizeof(text), "%s=%.*s ", (char *) r->data,
                 (int) r->reply->str.len, (char *) r->reply->str.data);
    }

    strcat(log_, text);
}


static ngx_smtp_redis_request_t *
query_as(const char *key, ngx_smtp_redis_pt handler)
{
    ngx_str_t                  argv[2];
    ngx_uint_t                 before;
    ngx_smtp_redis_request_t  *r;

    argv[0] = shim_str("GET");
    argv[1].data = (u_char *) strdup(key);
    argv[1].len = strlen(key);

    before = strlen(log_);
    r = ngx_smtp_redis_query(&conf, argv, 2, handler, (void *) key);

    /* no handler from within, and the arguments are copied */

    assert_int_equal(strlen(log_), before);
    memset(argv[1].data, '#', argv[1].len);
    free(argv[1].data);

    return r;
}


static ngx_smtp_redis_request_t *
query(const char *key)
{
    return query_as(key, answered);
}


#define last_conn  (&conns[nconns - 1])


static void
writable(void)
{
    conn_t  *conn;

    conn = last_conn;
    conn->write.ready = 1;
    conn->write.handler(&conn->write);
    shim_posted_run();
}


static void
give(const char *data, int end)
{
    conn_t  *conn;

    conn = last_conn;
    assert_int_equal(conn->len, 0);

    conn->data = data;
    conn->len = strlen(data);
    conn->end = end;
    conn->read.ready = 1;
    conn->read.handler(&conn->read);
    shim_posted_run();
}


static int
setup(void **state)
{
    static ngx_str_t  s[3] = {
        ngx_string("192.0.2.1:6379"),
        ngx_string("192.0.2.2:6379"),
        ngx_string("192.0.2.3:6379")
    };

    memset(&conf, 0, sizeof(conf));
    conf.name = shim_str("main");
    conf.timeout = 2000;
    conf.max_pending = 100;
    conf.servers.elts = addrs;
    conf.servers.nelts = 1;
    addrs[0].name = s[0];
    addrs[1].name = s[1];
    addrs[2].name = s[2];

    /* the connections are pairs of such sockets */

    addrs[0].sockaddr = (struct sockaddr *) &local;
    addrs[1].sockaddr = (struct sockaddr *) &local;
    addrs[2].sockaddr = (struct sockaddr *) &local;

    nconns = 0;
    attempts = 0;
    memset(connect_rc, 0, sizeof(connect_rc));
    log_[0] = '\0';
    shim_log_reset();

    return 0;
}


static int
teardown(void **state)
{
    ngx_uint_t  i;

    ngx_smtp_redis_exit_worker();
    shim_posted_run();
    shim_alloc_fail_after(-1);

    for (i = 0; i < nconns; i++) {
        assert_true(conns[i].closed);
    }

    return 0;
}


static void
test_basic(void **state)
{
    connect_rc[0] = NGX_AGAIN;

    assert_non_null(query("a"));
    assert_int_equal(nconns, 1);
    shim_posted_run();
    assert_string_equal(last_conn->sent, "");
    assert_int_equal(last_conn->c.idle, 0);

    writable();
    assert_string_equal(last_conn->sent, GET("a"));

    give("$1\r\nA\r\n", 0);
    assert_string_equal(log_, "a=A ");
    assert_int_equal(last_conn->c.idle, 1);

    /* idle for long: nothing happens, no timer is left */

    shim_time_advance(3600000);
    assert_int_equal(last_conn->closed, 0);
    assert_ptr_equal(ngx_event_timer_rbtree.root,
                     ngx_event_timer_rbtree.sentinel);

    /* several at a time, on the same connection, in order */

    assert_non_null(query("b"));
    assert_int_equal(last_conn->c.idle, 0);
    assert_non_null(query("c"));
    assert_non_null(query("d"));
    assert_string_equal(last_conn->sent, GET("a"));
    shim_posted_run();
    assert_string_equal(last_conn->sent, GET("a") GET("b") GET("c") GET("d"));

    give("$1\r\nB\r\n-ERR n", 0);
    assert_string_equal(log_, "a=A b=B ");
    give("o\r\n$-1", 0);
    assert_string_equal(log_, "a=A b=B c=ERR no ");
    give("\r\n", 0);
    assert_string_equal(log_, "a=A b=B c=ERR no d=nil ");
    assert_int_equal(last_conn->c.idle, 1);
    assert_int_equal(nconns, 1);
}


static void
test_connected_at_once(void **state)
{
    connect_rc[0] = NGX_OK;

    assert_non_null(query("a"));
    assert_string_equal(last_conn->sent, "");
    shim_posted_run();
    assert_string_equal(last_conn->sent, GET("a"));
    give("+A\r\n", 0);
    assert_string_equal(log_, "a=A ");
}


static void
test_slow_writes(void **state)
{
    assert_non_null(query("a"));
    assert_non_null(query("b"));
    last_conn->room = 5;
    shim_posted_run();
    assert_string_equal(last_conn->sent, "*2\r\n$");

    last_conn->room = 20;
    writable();
    assert_int_equal(last_conn->nsent, 25);

    last_conn->room = 100;
    writable();
    assert_string_equal(last_conn->sent, GET("a") GET("b"));

    give("+A\r\n+B\r\n", 0);
    assert_string_equal(log_, "a=A b=B ");

    /* a reply before the command was out is one to nothing */

    assert_non_null(query("c"));
    last_conn->room = 5;
    connect_rc[1] = NGX_ERROR;
    shim_posted_run();
    give("+C\r\n", 0);
    assert_string_equal(log_, "a=A b=B c=failed ");
}


#define HELLO                                                                 \
    "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$3\r\np w\r\n"                            \
    "*2\r\n$6\r\nSELECT\r\n$1\r\n7\r\n"


static void
test_hello(void **state)
{
    conf.username = shim_str("u");
    conf.password = shim_str("p w");
    conf.database = 7;

    /* nothing is asked before both were granted */

    assert_non_null(query("a"));
    shim_posted_run();
    assert_string_equal(last_conn->sent, HELLO);
    assert_non_null(query("b"));
    shim_posted_run();
    give("+OK\r\n", 0);
    assert_string_equal(last_conn->sent, HELLO);
    give("+OK\r\n", 0);
    assert_string_equal(last_conn->sent, HELLO GET("a") GET("b"));
    give("+A\r\n+B\r\n", 0);
    assert_string_equal(log_, "a=A b=B ");

    /* again on each connection; refused, the request fails */

    give("", 1);
    assert_int_equal(last_conn->closed, 1);
    assert_int_equal(nconns, 1);
    assert_non_null(query("c"));
    shim_posted_run();
    assert_string_equal(last_conn->sent, HELLO);
    give("+OK\r\n-ERR DB index is out of range\r\n", 0);
    assert_string_equal(log_, "a=A b=B c=failed ");
    assert_int_equal(last_conn->closed, 1);
    assert_int_equal(shim_log_count("refused AUTH or SELECT"), 1);

    /* never does a password go into the log */

    assert_null(strstr(shim_log_text(), "p w"));
}


static void
test_hello_password_only(void **state)
{
    conf.password = shim_str("pw");

    assert_non_null(query("a"));
    shim_posted_run();
    assert_string_equal(last_conn->sent, "*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n");
    give("$2\r\nOK\r\n", 0);
    assert_string_equal(log_, "a=failed ");
}


/* in the order of the configuration, each once */

static void
test_servers(void **state)
{
    conf.servers.nelts = 3;
    connect_rc[0] = NGX_DECLINED;
    connect_rc[1] = NGX_AGAIN;
    connect_rc[2] = NGX_AGAIN;

    assert_non_null(query("a"));
    assert_int_equal(attempts, 2);
    assert_ptr_equal(names[1], &addrs[1].name);

    /* connect() fails later */

    close(last_conn->pair[0]);
    last_conn->c.fd = -1;
    last_conn->pair[0] = -1;
    writable();
    assert_int_equal(attempts, 3);
    assert_ptr_equal(names[2], &addrs[2].name);
    assert_string_equal(log_, "");

    /* the third does not answer the SYN */

    shim_time_advance(2010);
    shim_posted_run();
    assert_int_equal(attempts, 3);
    assert_string_equal(log_, "a=failed ");
    assert_int_equal(last_conn->closed, 1);

    /* all were tried: nothing is, until the back-off is over */

    assert_null(query("b"));
    assert_int_equal(attempts, 3);

    shim_time_advance(60);
    connect_rc[3] = NGX_ERROR;
    connect_rc[4] = NGX_OK;
    assert_non_null(query("c"));
    assert_int_equal(attempts, 5);
    shim_posted_run();
    give("+C\r\n", 0);
    assert_string_equal(log_, "a=failed c=C ");

    /* it was of use: when it closes, the first one is preferred again */

    give("", 1);
    assert_non_null(query("d"));
    assert_int_equal(attempts, 6);
    assert_ptr_equal(names[5], &addrs[0].name);
}


static void
test_backoff(void **state)
{
    ngx_uint_t  i, n;

    static const ngx_msec_t  waits[] = { 50, 100, 200, 400, 800, 1000, 1000 };

    for (i = 0; i < 64; i++) {
        connect_rc[i] = NGX_DECLINED;
    }

    for (i = 0; i < 7; i++) {
        n = attempts;
        assert_null(query("a"));
        assert_int_equal(attempts, n + 1);

        shim_time_advance(waits[i] - 1);
        assert_null(query("a"));
        assert_int_equal(attempts, n + 1);

        shim_time_advance(1);
    }

    /* back: all is forgotten */

    connect_rc[attempts] = NGX_OK;
    assert_non_null(query("b"));
    shim_posted_run();
    give("+B\r\n", 1);
    assert_string_equal(log_, "b=B ");

    n = attempts;
    assert_null(query("c"));
    shim_time_advance(50);
    assert_null(query("c"));
    assert_int_equal(attempts, n + 2);
}


/*
 * What a server says of itself is no answer to what it was asked: the next
 * one is, by all that were sent together, until one has an answer.
 */

static void
test_unfit(void **state)
{
    conf.servers.nelts = 3;

    /* also one that was of use before */

    assert_non_null(query("a"));
    shim_posted_run();
    give("+A\r\n", 0);

    assert_non_null(query("b"));
    assert_non_null(query("c"));
    shim_posted_run();
    give("-LOADING Redis is loading the dataset in memory\r\n"
         "-LOADING Redis is loading the dataset in memory\r\n", 0);
    shim_posted_run();

    assert_string_equal(log_, "a=A ");
    assert_int_equal(nconns, 2);
    assert_ptr_equal(names[attempts - 1], &addrs[1].name);
    assert_string_equal(last_conn->sent, GET("b") GET("c"));

    give("-ERR max number of clients reached\r\n", 1);
    shim_posted_run();

    assert_string_equal(log_, "a=A ");
    assert_int_equal(nconns, 3);
    assert_ptr_equal(names[attempts - 1], &addrs[2].name);
    assert_string_equal(last_conn->sent, GET("b") GET("c"));

    give("+B\r\n-WRONGTYPE Operation\r\n", 0);
    assert_string_equal(log_, "a=A b=B c=WRONGTYPE Operation ");
    assert_int_equal(nconns, 3);
    assert_int_equal(shim_log_count("of no use now"), 2);

    /* all of them: who asks is told, and they are left alone for a while */

    log_[0] = '\0';
    assert_non_null(query("d"));
    shim_posted_run();
    give("-MASTERDOWN Link with MASTER is down\r\n", 0);
    assert_ptr_equal(names[attempts - 1], &addrs[0].name);
    shim_posted_run();
    give("-NOAUTH Authentication required.\r\n", 0);
    shim_posted_run();
    give("-BUSY Redis is busy\r\n", 0);
    assert_string_equal(log_, "d=failed ");
    assert_int_equal(nconns, 5);
    assert_null(query("e"));
}


/* Redis is restarted, or closes idle clients: sent once more, not twice */

static void
test_resend(void **state)
{
    assert_non_null(query("a"));
    shim_posted_run();
    give("+A\r\n", 0);

    assert_non_null(query("b"));
    assert_non_null(query("c"));
    shim_posted_run();
    give("+B\r\n+", 1);
    assert_string_equal(log_, "a=A b=B ");
    assert_int_equal(nconns, 2);
    assert_string_equal(last_conn->sent, GET("c"));

    /* the half of a reply that had come is not part of this one */

    assert_non_null(query("d"));
    shim_posted_run();
    give("+C\r\n", 2);
    assert_string_equal(log_, "a=A b=B c=C ");
    assert_int_equal(nconns, 3);
    last_conn->end = 0;
    assert_string_equal(last_conn->sent, GET("d"));

    /* d was sent twice now */

    give("", 1);
    assert_string_equal(log_, "a=A b=B c=C d=failed ");
    assert_int_equal(nconns, 3);
}


static void
test_timeout(void **state)
{
    assert_non_null(query("a"));
    shim_posted_run();
    give("+A\r\n", 0);

    assert_non_null(query("b"));
    shim_posted_run();
    shim_time_advance(1500);
    assert_non_null(query("c"));
    shim_posted_run();
    assert_string_equal(log_, "a=A ");

    /* c cannot be answered before b */

    shim_time_advance(900);
    assert_string_equal(log_, "a=A b=failed c=failed ");
    assert_int_equal(last_conn->closed, 1);
    assert_int_equal(nconns, 1);
    assert_int_equal(shim_log_count("Redis timed out"), 1);

    /* with another server, both are asked there */

    conf.servers.nelts = 2;
    shim_time_advance(1000);
    log_[0] = '\0';
    assert_non_null(query("d"));
    shim_posted_run();
    assert_ptr_equal(names[attempts - 1], &addrs[0].name);
    give("+D\r\n", 0);
    assert_non_null(query("e"));
    shim_posted_run();
    shim_time_advance(2400);
    shim_posted_run();
    assert_ptr_equal(names[attempts - 1], &addrs[1].name);
    assert_string_equal(last_conn->sent, GET("e"));
    give("+E\r\n", 0);
    assert_string_equal(log_, "d=D e=E ");
}


/* answers that keep coming keep the connection */

static void
test_no_timeout(void **state)
{
    ngx_uint_t  i;

    assert_non_null(query("a"));
    shim_posted_run();

    for (i = 0; i < 10; i++) {
        assert_non_null(query("b"));
        shim_posted_run();
        shim_time_advance(900);
        give("+x\r\n", 0);
        assert_int_equal(last_conn->closed, 0);
    }
}


static void
test_garbage(void **state)
{
    size_t       i;
    char        *big;

    static const char  *rows[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        "*100000\r\n",
        "?",
    };

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        log_[0] = '\0';
        assert_non_null(query("a"));
        shim_posted_run();
        give(rows[i], 0);
        assert_string_equal(log_, "a=failed ");
        assert_int_equal(last_conn->closed, 1);
        shim_time_advance(1000);
    }

    /* without end */

    big = malloc(70001);
    memset(big, 'x', 70000);
    big[0] = '+';
    big[70000] = '\0';

    log_[0] = '\0';
    assert_non_null(query("a"));
    shim_posted_run();
    give(big, 0);
    assert_string_equal(log_, "a=failed ");
    assert_int_equal(shim_log_count("too big reply"), 1);
    shim_time_advance(1000);
    free(big);

    /* one reply too many; what follows it is not trusted */

    log_[0] = '\0';
    assert_non_null(query("a"));
    shim_posted_run();
    give("+A\r\n+B\r\n", 0);
    assert_string_equal(log_, "a=A ");
    assert_int_equal(last_conn->closed, 1);
    assert_int_equal(shim_log_count("reply to nothing"), 1);

    assert_non_null(query("b"));
    shim_posted_run();
    assert_string_equal(last_conn->sent, GET("b"));
    give("+real\r\n", 0);
    assert_string_equal(log_, "a=A b=real ");
}


static void
test_cancel(void **state)
{
    ngx_smtp_redis_request_t  *a, *b, *c, *d;

    /* while it connects: b goes at once */

    connect_rc[0] = NGX_AGAIN;
    a = query("a");
    b = query("b");
    c = query("c");
    assert_non_null(c);
    ngx_smtp_redis_cancel(b);
    writable();
    assert_string_equal(last_conn->sent, GET("a") GET("c"));

    /* sent: its reply is read and dropped */

    ngx_smtp_redis_cancel(a);
    give("+A\r\n+C\r\n", 0);
    assert_string_equal(log_, "c=C ");

    /* half sent */

    d = query("d");
    assert_non_null(query("e"));
    last_conn->room = 7;
    shim_posted_run();
    ngx_smtp_redis_cancel(d);
    last_conn->room = 1000;
    writable();
    give("+D\r\n+E\r\n", 0);
    assert_string_equal(log_, "c=C e=E ");

    /*
     * offered: TLS took nothing, but wants to be given the same again, or it
     * ends with a "bad write retry"
     */

    d = query("d");
    assert_non_null(query("e"));
    memset(last_conn->sent, 0, last_conn->nsent);
    last_conn->nsent = 0;
    last_conn->room = 0;
    shim_posted_run();
    ngx_smtp_redis_cancel(d);
    last_conn->room = 1000;
    writable();
    assert_string_equal(last_conn->sent, GET("d") GET("e"));
    give("+D\r\n+E\r\n", 0);
    assert_string_equal(log_, "c=C e=E e=E ");

    /* all of them: the connection is idle, and none is made for nobody */

    a = query("a");
    shim_posted_run();
    ngx_smtp_redis_cancel(a);
    give("", 1);
    assert_int_equal(nconns, 1);
    assert_string_equal(log_, "c=C e=E e=E ");

    connect_rc[1] = NGX_AGAIN;
    a = query("a");
    ngx_smtp_redis_cancel(a);
    assert_int_equal(last_conn->c.idle, 1);
    shim_time_advance(3000);
    assert_int_equal(last_conn->closed, 1);
    assert_int_equal(nconns, 2);
}


static ngx_smtp_redis_request_t  *other;


static void
cancels_other(ngx_smtp_redis_request_t *r)
{
    answered(r);
    ngx_smtp_redis_cancel(other);
}


static void
asks_again(ngx_smtp_redis_request_t *r)
{
    answered(r);
    other = query("z");
}


/* what a handler may do */

static void
test_handlers(void **state)
{
    assert_non_null(query_as("a", cancels_other));
    other = query("b");
    shim_posted_run();
    give("+A\r\n+B\r\n", 0);
    assert_string_equal(log_, "a=A ");

    assert_non_null(query_as("c", asks_again));
    shim_posted_run();
    give("+C\r\n", 0);
    assert_non_null(other);
    give("+Z\r\n", 0);
    assert_string_equal(log_, "a=A c=C z=Z ");

    /* the same when the connection fails */

    log_[0] = '\0';
    connect_rc[1] = NGX_ERROR;
    assert_non_null(query_as("a", cancels_other));
    other = query("b");
    shim_posted_run();
    give("", 1);
    assert_string_equal(log_, "a=failed ");

    shim_time_advance(100);
    log_[0] = '\0';
    connect_rc[3] = NGX_ERROR;
    assert_non_null(query_as("c", asks_again));
    shim_posted_run();
    give("?", 0);
    assert_string_equal(log_, "c=failed ");
    assert_null(other);
}


static void
test_max_pending(void **state)
{
    ngx_uint_t  i;

    for (i = 0; i < 100; i++) {
        assert_non_null(query("a"));
    }

    assert_null(query("b"));
    shim_posted_run();
    assert_null(query("b"));
    give("+A\r\n", 0);
    assert_non_null(query("b"));
    assert_null(query("b"));
    assert_string_equal(log_, "a=A ");

    /* said once, until it was better */

    assert_int_equal(shim_log_count("too many requests pending"), 1);

    for (i = 0; i < 60; i++) {
        give("+A\r\n", 0);
    }

    for (i = 0; i < 60; i++) {
        assert_non_null(query("c"));
    }

    assert_null(query("b"));
    assert_int_equal(shim_log_count("too many requests pending"), 2);
}


/* nginx closes: idle at QUIT, any at worker_shutdown_timeout */

static void
test_close(void **state)
{
    assert_non_null(query("a"));
    shim_posted_run();
    give("+A\r\n", 0);
    assert_int_equal(last_conn->c.idle, 1);

    last_conn->c.close = 1;
    last_conn->read.handler(&last_conn->read);
    assert_int_equal(last_conn->closed, 1);

    /* a session that lasts may still ask */

    assert_non_null(query("b"));
    assert_non_null(query("c"));
    shim_posted_run();
    assert_int_equal(nconns, 2);

    last_conn->c.close = 1;
    last_conn->write.handler(&last_conn->write);
    assert_int_equal(last_conn->closed, 1);
    assert_string_equal(log_, "a=A b=failed c=failed ");
    assert_ptr_equal(ngx_event_timer_rbtree.root,
                     ngx_event_timer_rbtree.sentinel);
}


static void
test_exit(void **state)
{
    assert_non_null(query("a"));
    shim_posted_run();
    assert_non_null(query("b"));

    ngx_smtp_redis_exit_worker();
    assert_int_equal(last_conn->closed, 1);
    assert_string_equal(log_, "");
    assert_null(conf.redis);
    assert_int_equal(shim_posted_run(), 0);
    shim_time_advance(10000);
    assert_string_equal(log_, "");

    ngx_smtp_redis_exit_worker();
}


static void
test_no_memory(void **state)
{
    long                       n, failed;
    ngx_smtp_redis_request_t  *r;

    failed = 0;

    for (n = 0; n < 14; n++) {
        shim_alloc_fail_after(n);
        r = query("a");

        if (r) {
            shim_posted_run();

            if (nconns && !last_conn->closed) {
                give("+A\r\n", 1);
            }

        } else {
            failed++;
        }

        shim_alloc_fail_after(-1);
        shim_time_advance(2000);
        shim_posted_run();

        ngx_smtp_redis_exit_worker();
    }

    assert_in_range(failed, 3, 13);
    assert_non_null(strstr(log_, "a=A "));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_basic, setup, teardown),
        cmocka_unit_test_setup_teardown(test_connected_at_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_slow_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hello, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hello_password_only, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_servers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backoff, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unfit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resend, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timeout, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_timeout, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_handlers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_max_pending, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };

    return shim_run(tests);
}
