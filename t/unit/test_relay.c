
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Deliveries, with a store and connections made up here: what is said to the
 * peer, and in which order the store hears what.  Everything the store is told
 * is written to a journal:
 *
 *     out+        an answer to the end of data is outstanding; out- no more
 *     r0=1/250    recipient 0 got result 1 by code 250;  due=60 from now
 *     report(0)   a report about recipient 0;  reported, report=60 deferred
 *     stale       the memory of a fresh message is given back
 *     done        the message is ended
 *
 * sources: relay/ngx_smtp_relay.c relay/ngx_smtp_relay_conn.c
 *     relay/ngx_smtp_delivery.c relay/ngx_smtp_bounce.c
 *     protocol/ngx_smtp_client.c protocol/ngx_smtp_client_write.c
 *     protocol/ngx_smtp_response.c protocol/ngx_smtp_data.c
 *     protocol/ngx_smtp_address.c protocol/ngx_smtp_param.c
 *     protocol/ngx_smtp_reply.c
 *     queue/ngx_smtp_due.c queue/ngx_smtp_schedule.c queue/ngx_smtp_site.c
 *     message/ngx_smtp_dsn.c message/ngx_smtp_dsn_out.c
 *     message/ngx_smtp_dsn_status.c message/ngx_smtp_dsn_text.c
 *     message/ngx_smtp_header.c message/ngx_smtp_trace.c
 * libs: -lcrypto
 */


#include "shim.h"

#include "ngx_smtp_eval.h"
#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define TEST_PEERS    8
#define TEST_OUT      (256 * 1024)
#define TEST_RCPTS    8


typedef struct {
    ngx_smtp_message_t    m;
    ngx_smtp_envelope_t   envelope;
    ngx_smtp_rcpt_t       rcpts[TEST_RCPTS];
    ngx_smtp_report_t     report;
    ngx_smtp_result_t     results[TEST_RCPTS];
    char                  text[TEST_RCPTS][128];
    const char           *body;
    ngx_uint_t            ended;
    ngx_uint_t            readers;
} test_message_t;


typedef struct {
    ngx_smtp_peer_t      *peer;
    char                 *out;
    size_t                len;
    size_t                seen;
    ngx_uint_t            waits;      /* for the connection */
    ngx_uint_t            tls;        /* a handshake is under way */
    ngx_uint_t            closed;
    ngx_uint_t            failed;
    ngx_uint_t            reconnected;
} test_peer_t;


static char                   journal[16384];
static char                   logged[4096];
static test_peer_t            peers[TEST_PEERS];
static ngx_uint_t             npeers;
static ngx_uint_t             next_servers;
static ngx_uint_t             slow_reader;
static ngx_uint_t             open_readers;
static ngx_uint_t             block_output;
static ngx_uint_t             not_ready;
static ngx_smtp_reader_t     *waiting_reader;
static ngx_smtp_relay_t      *relay;
static ngx_pool_t            *pool;
static ngx_smtp_relay_conf_t  rcf;
static ngx_smtp_queue_conf_t  qcf;
static ngx_smtp_store_conf_t  scf;
static time_t                 retry[2];
static test_message_t         messages[8];
static ngx_uint_t             nmessages;

/* nginx's, which the shim has no use for */
ngx_uint_t                    ngx_stream_max_module;


static void note(const char *fmt, ...);
static int setup(void **state);
static int teardown(void **state);
static test_message_t *submit(const char *sender, const char *body, int n,
    ...);
static void settle(void);
static test_peer_t *peer(ngx_uint_t i);
static void say(ngx_uint_t i, const char *text);
static const char *heard(ngx_uint_t i);
static void open_session(ngx_uint_t i, const char *ehlo);
static void test_delivers(void **state);
static void test_reuses(void **state);
static void test_stuffing(void **state);
static void test_mixed(void **state);
static void test_bounce(void **state);
static void test_bounce_full(void **state);
static void test_no_bounce(void **state);
static void test_expires(void **state);
static void test_unknown(void **state);
static void test_outstanding_order(void **state);
static void test_not_ready(void **state);
static void test_refused(void **state);
static void test_next_server(void **state);
static void test_tls_fallback(void **state);
static void test_tls_require(void **state);
static void test_replaced(void **state);
static void test_replaced_421(void **state);
static void test_transactions(void **state);
static void test_slow_reader(void **state);
static void test_blocked(void **state);
static void test_leave(void **state);
static void test_forget(void **state);
static void test_stop(void **state);
static void test_too_large(void **state);
static void test_utf8(void **state);
static void test_bad_peer(void **state);
static void test_dead_site(void **state);


static void
note(const char *fmt, ...)
{
    size_t   n;
    va_list  args;

    n = strlen(journal);

    if (n) {
        journal[n++] = ' ';
    }

    va_start(args, fmt);
    vsnprintf(journal + n, sizeof(journal) - n, fmt, args);
    va_end(args);
}


#define assert_journal(text)                                                  \
    do {                                                                      \
        assert_string_equal(journal, text);                                   \
        journal[0] = '\0';                                                    \
    } while (0)


/* -- the store ----------------------------------------------------------- */


void
ngx_smtp_store_results(ngx_smtp_message_t *m, ngx_smtp_result_t *results,
    ngx_uint_t n, ngx_str_t *peer, time_t now, time_t due)
{
    ngx_uint_t  i;

    assert_true(n > 0);

    for (i = 0; i < n; i++) {
        note("r%d=%d/%d", (int) results[i].rcpt, (int) results[i].status,
             (int) results[i].code);

        if (results[i].status != NGX_SMTP_RESULT_DEFERRED) {
            assert_false(m->final_word & (1ull << results[i].rcpt));
            m->final_word |= 1ull << results[i].rcpt;
            m->npending--;
        }
    }

    if (due) {
        note("due=%d", (int) (due - now));
    }

    m->attempts++;
}


ngx_smtp_report_t *
ngx_smtp_store_report(ngx_smtp_message_t *m, ngx_uint_t kind,
    ngx_smtp_result_t *results, ngx_uint_t n, ngx_str_t *peer, time_t now)
{
    ngx_uint_t       i;
    test_message_t  *tm;

    tm = (test_message_t *) m;

    assert_int_equal(kind, NGX_SMTP_REPORT_FAILURE);

    tm->report.message = m;
    tm->report.kind = kind;
    tm->report.results = tm->results;
    tm->report.nresults = n;
    tm->report.created = now;
    tm->report.number = 7;
    tm->report.peer = *peer;
    tm->report.peer.data = (u_char *) "[192.0.2.1]:25";
    tm->report.peer.len = strlen("[192.0.2.1]:25");

    for (i = 0; i < n; i++) {
        tm->results[i] = results[i];

        memcpy(tm->text[i], results[i].text.data, results[i].text.len);
        tm->results[i].text.data = (u_char *) tm->text[i];

        note("report(%d)", (int) results[i].rcpt);
    }

    ngx_queue_insert_tail(&m->reports, &tm->report.link);

    return &tm->report;
}


void
ngx_smtp_store_report_deferred(ngx_smtp_report_t *r, time_t now, time_t due)
{
    r->attempts++;
    note("report=%d", (int) (due - now));
}


void
ngx_smtp_store_reported(ngx_smtp_report_t *r, time_t now)
{
    ngx_queue_remove(&r->link);
    note("reported");
}


ngx_int_t
ngx_smtp_store_done(ngx_smtp_message_t *m, time_t now)
{
    assert_int_equal(((test_message_t *) m)->readers, 0);
    assert_false(m->busy);
    assert_false(m->scheduled);
    assert_int_equal(m->npending, 0);

    if (!ngx_queue_empty(&m->reports)) {
        return NGX_DECLINED;
    }

    note("done");

    ((test_message_t *) m)->ended = 1;

    /* whoever looks at it again is seen */

    memset(m, 0xa5, sizeof(ngx_smtp_message_t));

    return NGX_OK;
}


void
ngx_smtp_message_outstanding(ngx_smtp_message_t *m, ngx_uint_t on,
    time_t until)
{
    assert_true(on != m->outstanding);
    assert_true(!on || until == ngx_time() + 600);

    m->outstanding = on;
    note(on ? "out+" : "out-");
}


ngx_int_t
ngx_smtp_message_ready(ngx_smtp_message_t *m)
{
    return not_ready ? NGX_AGAIN : NGX_OK;
}


ngx_uint_t
ngx_smtp_message_final(ngx_smtp_message_t *m, ngx_uint_t i)
{
    return (m->final_word & (1ull << i)) ? 1 : 0;
}


u_char *
ngx_smtp_message_id(ngx_smtp_message_t *m, u_char *buf)
{
    return ngx_cpymem(buf, "QID", 3);
}


void
ngx_smtp_message_stale(ngx_smtp_message_t *m)
{
    assert_non_null(m->fresh);
    assert_int_equal(((test_message_t *) m)->readers, 0);

    m->fresh = NULL;
    note("stale");
}


ngx_int_t
ngx_smtp_reader_open(ngx_smtp_message_t *m,
    void (*handler)(ngx_smtp_reader_t *r, ngx_int_t rc), void *data,
    ngx_log_t *log, ngx_smtp_reader_t **rp)
{
    ngx_pool_t         *p;
    ngx_smtp_reader_t  *r;

    p = ngx_create_pool(1024, log);
    r = ngx_pcalloc(p, sizeof(ngx_smtp_reader_t));

    r->pool = p;
    r->message = m;
    r->handler = handler;
    r->data = data;
    r->envelope = ((test_message_t *) m)->envelope;
    r->meta.client = shim_str("192.0.2.9");

    open_readers++;
    ((test_message_t *) m)->readers++;
    *rp = r;

    if (slow_reader) {
        waiting_reader = r;
        return NGX_AGAIN;
    }

    return NGX_OK;
}


/* the message in lines: every slice ends somewhere else */

ngx_int_t
ngx_smtp_reader_next(ngx_smtp_reader_t *r, ngx_str_t *out)
{
    char        *end;
    uintptr_t    at;
    const char  *body;

    body = ((test_message_t *) r->message)->body;
    at = (uintptr_t) r->ctx;

    if (body[at] == '\0') {
        return NGX_DONE;
    }

    if (slow_reader == 2 && waiting_reader == NULL) {
        waiting_reader = r;
        return NGX_AGAIN;
    }

    if (slow_reader == 2) {
        waiting_reader = NULL;
    }

    end = strchr(body + at, '\n');

    out->data = (u_char *) body + at;
    out->len = end ? (size_t) (end + 1 - body) - at : strlen(body + at);

    r->ctx = (void *) (at + out->len);

    return NGX_OK;
}


void
ngx_smtp_reader_rewind(ngx_smtp_reader_t *r)
{
    r->ctx = NULL;
}


void
ngx_smtp_reader_close(ngx_smtp_reader_t *r)
{
    if (waiting_reader == r) {
        waiting_reader = NULL;
    }

    open_readers--;
    ((test_message_t *) r->message)->readers--;
    ngx_destroy_pool(r->pool);
}


/* -- connections --------------------------------------------------------- */


void
ngx_smtp_peer_init_worker(void)
{
}


ngx_smtp_peer_t *
ngx_smtp_peer_create(ngx_log_t *log, ngx_msec_t send_timeout,
    ngx_smtp_peer_pt handler, void *data)
{
    ngx_pool_t       *p;
    ngx_smtp_peer_t  *sp;

    assert_true(npeers < TEST_PEERS);

    p = ngx_create_pool(1024, log);
    sp = ngx_pcalloc(p, sizeof(ngx_smtp_peer_t));

    sp->pool = p;
    sp->log = *log;
    sp->handler = handler;
    sp->in.start = ngx_pnalloc(p, NGX_SMTP_PEER_INPUT);
    sp->in.pos = sp->in.start;
    sp->in.last = sp->in.start;
    sp->in.end = sp->in.start + NGX_SMTP_PEER_INPUT;

    memset(&peers[npeers], 0, sizeof(test_peer_t));
    peers[npeers].peer = sp;
    peers[npeers].out = calloc(1, TEST_OUT);
    npeers++;

    return sp;
}


static test_peer_t *
test_find(ngx_smtp_peer_t *p)
{
    ngx_uint_t  i;

    for (i = 0; i < npeers; i++) {
        if (peers[i].peer == p && !peers[i].closed) {
            return &peers[i];
        }
    }

    fail_msg("no such peer");
    return NULL;
}


void
ngx_smtp_peer_connect_upstream(ngx_smtp_peer_t *p, ngx_stream_session_t *s,
    ngx_stream_upstream_srv_conf_t *uscf, ngx_addr_t *local,
    ngx_msec_t timeout)
{
    struct sockaddr_in  *sin;

    sin = &p->address.sockaddr_in;
    sin->sin_family = AF_INET;
    sin->sin_port = htons(25);
    sin->sin_addr.s_addr = htonl(0xc0000201);

    p->sockaddr = &p->address.sockaddr;
    p->socklen = sizeof(struct sockaddr_in);
    ngx_str_set(&p->name, "192.0.2.1:25");

    test_find(p)->waits = 1;
}


ngx_int_t
ngx_smtp_peer_next(ngx_smtp_peer_t *p)
{
    p->in.pos = p->in.last = p->in.start;

    if (next_servers == 0) {
        return NGX_DECLINED;
    }

    next_servers--;
    test_find(p)->waits = 1;

    return NGX_AGAIN;
}


void
ngx_smtp_peer_reconnect(ngx_smtp_peer_t *p)
{
    p->in.pos = p->in.last = p->in.start;
    test_find(p)->waits = 1;
    test_find(p)->reconnected++;
}


ngx_int_t
ngx_smtp_peer_starttls(ngx_smtp_peer_t *p, ngx_ssl_t *ssl, ngx_str_t *name,
    ngx_uint_t verify)
{
    test_find(p)->tls = 1;
    return NGX_AGAIN;
}


void
ngx_smtp_peer_tls_info(ngx_smtp_peer_t *p, ngx_str_t *protocol,
    ngx_str_t *cipher)
{
    ngx_str_null(protocol);
    ngx_str_null(cipher);
}


ngx_int_t
ngx_smtp_peer_put(ngx_smtp_peer_t *p, const u_char *data, size_t len)
{
    test_peer_t  *tp;

    tp = test_find(p);

    assert_true(tp->len + len < TEST_OUT);
    memcpy(tp->out + tp->len, data, len);
    tp->len += len;
    p->out_size += len;

    return NGX_OK;
}


ngx_int_t
ngx_smtp_peer_ref(ngx_smtp_peer_t *p, u_char *data, size_t len)
{
    return ngx_smtp_peer_put(p, data, len);
}


ngx_int_t
ngx_smtp_peer_flush(ngx_smtp_peer_t *p)
{
    if (block_output && p->out_size) {
        p->blocked = 1;
        return NGX_AGAIN;
    }

    p->out_size = 0;

    return NGX_OK;
}


void
ngx_smtp_peer_timeout(ngx_smtp_peer_t *p, ngx_msec_t timeout)
{
}


void
ngx_smtp_peer_idle(ngx_smtp_peer_t *p, ngx_uint_t on)
{
}


void
ngx_smtp_peer_close(ngx_smtp_peer_t *p, ngx_uint_t failed)
{
    test_peer_t  *tp;

    tp = test_find(p);
    tp->closed = 1;
    tp->failed = failed;

    ngx_destroy_pool(p->pool);
}


ngx_stream_session_t *
ngx_smtp_eval_create_stored(ngx_pool_t *pool, ngx_log_t *log,
    void **main_conf, void **srv_conf, ngx_str_t *addr,
    ngx_smtp_eval_ctx_t *ctx)
{
    return ngx_pcalloc(pool, sizeof(ngx_stream_session_t));
}


ngx_smtp_eval_ctx_t *
ngx_smtp_eval_get_ctx(ngx_stream_session_t *s)
{
    static ngx_smtp_eval_ctx_t  ctx;

    return &ctx;
}


size_t
ngx_sock_ntop(struct sockaddr *sa, socklen_t socklen, u_char *text, size_t len,
    ngx_uint_t port)
{
    return ngx_cpymem(text, "192.0.2.1", 9) - text;
}


in_port_t
ngx_inet_get_port(struct sockaddr *sa)
{
    return ntohs(((struct sockaddr_in *) sa)->sin_port);
}


/* -- the scene ----------------------------------------------------------- */


static void
test_log(void *data, ngx_smtp_attempt_t *a)
{
    size_t  n;

    n = strlen(logged);

    snprintf(logged + n, sizeof(logged) - n, "[%d %d %.*s]",
             (int) a->outcome, (int) a->code, (int) a->reply.len,
             (char *) a->reply.data);
}


static int
setup(void **state)
{
    ngx_str_t               *name;
    ngx_smtp_queue_conf_t  **q;

    journal[0] = '\0';
    logged[0] = '\0';
    npeers = 0;
    nmessages = 0;
    next_servers = 0;
    slow_reader = 0;
    block_output = 0;
    not_ready = 0;
    open_readers = 0;
    waiting_reader = NULL;
    ngx_exiting = 0;

    pool = ngx_create_pool(4096, &shim_log);

    memset(&qcf, 0, sizeof(qcf));
    memset(&scf, 0, sizeof(scf));
    memset(&rcf, 0, sizeof(rcf));

    qcf.name = shim_str("q");
    qcf.store = &scf;
    qcf.hostname = shim_str("relay.test");
    qcf.next_hop = shim_str("mta");
    qcf.expire = 1000;
    qcf.connect_timeout = 1000;
    qcf.command_timeout = 1000;
    qcf.send_timeout = 1000;
    qcf.data_timeout = 600000;
    qcf.idle_timeout = 5000;
    qcf.max_connections = 4;
    qcf.max_messages = 100;
    qcf.max_rcpts = 100;
    qcf.bounce_size = 10000;

    retry[0] = 60;
    retry[1] = 300;
    qcf.retry.elts = retry;
    qcf.retry.nelts = 2;

    assert_int_equal(ngx_array_init(&scf.queues, pool, 1, sizeof(ngx_str_t)),
                     NGX_OK);
    name = ngx_array_push(&scf.queues);
    *name = qcf.name;

    assert_int_equal(ngx_array_init(&rcf.queues, pool, 1,
                                    sizeof(ngx_smtp_queue_conf_t *)),
                     NGX_OK);
    q = ngx_array_push(&rcf.queues);
    *q = &qcf;

    rcf.log_handler = test_log;

    relay = ngx_smtp_relay_start(&rcf, &shim_log);
    assert_non_null(relay);
    assert_int_equal(ngx_smtp_relay_bind(relay, &scf), NGX_OK);

    return 0;
}


static int
teardown(void **state)
{
    ngx_uint_t  i;

    ngx_smtp_relay_stop(relay);
    ngx_destroy_pool(relay->pool);
    ngx_destroy_pool(pool);

    for (i = 0; i < npeers; i++) {
        assert_true(peers[i].closed);
        free(peers[i].out);
    }

    assert_int_equal(open_readers, 0);

    return 0;
}


/* a committed message with n recipients, "never" after one: NOTIFY=NEVER */

static test_message_t *
submit(const char *sender, const char *body, int n, ...)
{
    int               i;
    va_list           args;
    test_message_t   *tm;
    ngx_smtp_rcpt_t  *r;

    tm = &messages[nmessages++];
    memset(tm, 0, sizeof(test_message_t));

    tm->body = body;
    tm->envelope.sender = shim_str(sender);
    tm->envelope.sender_domain = shim_str("from.test");

    va_start(args, n);

    for (i = 0; i < n; i++) {
        r = &tm->rcpts[i];
        r->mailbox = shim_str(va_arg(args, const char *));
        r->domain = shim_str("to.test");
    }

    va_end(args);

    tm->envelope.rcpts.elts = tm->rcpts;
    tm->envelope.rcpts.nelts = n;
    tm->envelope.rcpts.size = sizeof(ngx_smtp_rcpt_t);

    ngx_queue_init(&tm->m.reports);
    tm->m.received = ngx_time();
    tm->m.due_at = ngx_time();
    tm->m.size = strlen(body);
    tm->m.nrcpts = n;
    tm->m.npending = n;
    tm->m.fresh = tm;

    scf.handlers.message(scf.data, &tm->m);

    return tm;
}


static void
settle(void)
{
    while (shim_posted_run()) { /* void */ }
}


static test_peer_t *
peer(ngx_uint_t i)
{
    assert_true(i < npeers);
    return &peers[i];
}


static void
say(ngx_uint_t i, const char *text)
{
    ngx_smtp_peer_t  *p;

    assert_false(peer(i)->closed);

    p = peer(i)->peer;

    if (p->in.pos == p->in.last) {
        p->in.pos = p->in.last = p->in.start;
    }

    p->in.last = ngx_cpymem(p->in.last, text, strlen(text));
    p->handler(p, NGX_SMTP_PEER_READ);

    settle();
}


/* what was written since the last look */

static const char *
heard(ngx_uint_t i)
{
    test_peer_t  *tp;
    const char   *text;

    tp = peer(i);
    tp->out[tp->len] = '\0';
    text = tp->out + tp->seen;
    tp->seen = tp->len;

    return text;
}


static void
lose(ngx_uint_t i, ngx_uint_t failure)
{
    ngx_smtp_peer_t  *p;

    p = peer(i)->peer;
    p->failure = failure;
    p->handler(p, NGX_SMTP_PEER_FAILED);

    settle();
}


static void
connected(ngx_uint_t i)
{
    assert_true(peer(i)->waits);
    peer(i)->waits = 0;
    peer(i)->peer->handler(peer(i)->peer, NGX_SMTP_PEER_CONNECTED);
}


static void
open_session(ngx_uint_t i, const char *ehlo)
{
    connected(i);
    say(i, "220 hello\r\n");
    assert_string_equal(heard(i), "EHLO relay.test\r\n");
    say(i, ehlo);
}


static const char  pipelining[] = "250-mx\r\n250-PIPELINING\r\n"
                                  "250-SIZE 1000\r\n250 8BITMIME\r\n";


static void
test_delivers(void **state)
{
    test_message_t  *tm;

    tm = submit("a@from.test", "Subject: x\r\n\r\nhello\r\n", 1, "b@to.test");
    settle();

    open_session(0, pipelining);
    assert_string_equal(heard(0), "MAIL FROM:<a@from.test> SIZE=21\r\n"
                                  "RCPT TO:<b@to.test>\r\nDATA\r\n");
    assert_journal("");

    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_string_equal(heard(0), "Subject: x\r\n\r\nhello\r\n.\r\n");
    assert_journal("out+");
    assert_false(tm->ended);

    say(0, "250 2.0.0 taken\r\n");
    assert_journal("r0=1/250 out- done");
    assert_true(tm->ended);
    assert_string_equal(logged, "[1 250 2.0.0 taken]");

    /* the connection is kept, then ended politely */

    assert_false(peer(0)->closed);
    lose(0, NGX_SMTP_PEER_TIMEDOUT);
    assert_string_equal(heard(0), "QUIT\r\n");
    say(0, "221 bye\r\n");
    assert_true(peer(0)->closed);
    assert_false(peer(0)->failed);
}


static void
test_reuses(void **state)
{
    submit("a@from.test", "one\r\n", 1, "b@to.test");
    settle();
    open_session(0, pipelining);
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    say(0, "250 ok\r\n");
    assert_journal("out+ r0=1/250 out- done");

    heard(0);
    submit("c@from.test", "two\r\n", 1, "d@to.test");
    settle();

    assert_int_equal(npeers, 1);
    assert_string_equal(heard(0), "MAIL FROM:<c@from.test> SIZE=5\r\n"
                                  "RCPT TO:<d@to.test>\r\nDATA\r\n");
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    say(0, "250 ok\r\n");
    assert_journal("out+ r0=1/250 out- done");
}


static void
test_stuffing(void **state)
{
    char  *big;

    submit("a@from.test", ".dot\r\n..\r\nx\r\n.\r\nlast", 1, "b@to.test");
    settle();
    open_session(0, pipelining);
    heard(0);
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_string_equal(heard(0),
                        "..dot\r\n...\r\nx\r\n..\r\nlast\r\n.\r\n");
    say(0, "250 ok\r\n");

    /* one that is sent from where it lies */

    big = malloc(20001);
    memset(big, 'x', 20000);
    big[0] = '.';
    big[19998] = '\r';
    big[19999] = '\n';
    big[20000] = '\0';

    submit("a@from.test", big, 1, "b@to.test");
    qcf.max_messages = 100;
    settle();
    heard(0);

    /* SIZE 1000 of the first peer refuses it: told without a command */

    assert_journal("out+ r0=1/250 out- done r0=3/0 report(0) stale");

    free(big);
}


static void
test_mixed(void **state)
{
    test_message_t  *tm;

    tm = submit("a@from.test", "x\r\n", 3, "b@to.test", "c@to.test",
                "d@to.test");
    settle();
    open_session(0, pipelining);
    say(0, "250 ok\r\n250 ok\r\n450 4.2.1 later\r\n550 5.1.1 never\r\n"
           "354 go\r\n");
    say(0, "250 ok\r\n");

    assert_string_equal(logged, "[2 450 4.2.1 later]");

    journal[strlen("out+ r1=5/450 r2=3/550 r0=1/250 due=")] = '\0';
    assert_journal("out+ r1=5/450 r2=3/550 r0=1/250 due=");

    assert_int_equal(tm->m.npending, 1);
    assert_true(tm->m.scheduled);
    assert_null(tm->m.fresh);
    assert_true(tm->m.due_at >= ngx_time() + 54);
    assert_true(tm->m.due_at <= ngx_time() + 66);

    /* the report went on the same connection and waits for its replies */

    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    say(0, "250 ok\r\n");

    /* the retry names the one that is left */

    journal[0] = '\0';
    heard(0);
    lose(0, NGX_SMTP_PEER_CLOSED);

    shim_time_advance(70000);
    settle();
    open_session(1, pipelining);
    assert_string_equal(heard(1), "MAIL FROM:<a@from.test> SIZE=3\r\n"
                                  "RCPT TO:<c@to.test>\r\nDATA\r\n");
    say(1, "250 ok\r\n250 ok\r\n354 go\r\n");
    say(1, "250 ok\r\n");
    assert_journal("out+ r1=1/250 out- done");
}


static void
test_bounce(void **state)
{
    const char  *text;

    submit("a@from.test", "Subject: s\r\nX: y\r\n\r\nsecret body\r\n", 1,
           "b@to.test");
    settle();
    open_session(0, pipelining);
    heard(0);
    say(0, "250 ok\r\n550 5.1.1 no such user\r\n503 no\r\n");
    assert_string_equal(logged, "[4 550 5.1.1 no such user]");
    assert_journal("r0=3/550 report(0) stale");

    text = heard(0);
    assert_non_null(strstr(text, "RSET\r\nMAIL FROM:<>"));
    assert_non_null(strstr(text, "RCPT TO:<a@from.test>"));

    say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    text = heard(0);
    assert_non_null(strstr(text, "To: a@from.test\r\n"));
    assert_non_null(strstr(text, "multipart/report"));
    assert_non_null(strstr(text, "rfc822; b@to.test"));
    assert_non_null(strstr(text, "Status: 5.1.1\r\n"));
    assert_non_null(strstr(text, "550 5.1.1 no such user"));
    assert_non_null(strstr(text, "Subject: s\r\n"));
    assert_null(strstr(text, "secret body"));
    assert_string_equal(text + strlen(text) - 5, "\r\n.\r\n");

    say(0, "250 ok\r\n");
    assert_journal("out+ reported out- done");
}


static void
test_bounce_full(void **state)
{
    const char      *text;
    test_message_t  *tm;

    tm = submit("a@from.test", "Subject: s\r\n\r\n.body\r\n", 1, "b@to.test");
    tm->envelope.ret = NGX_SMTP_RET_FULL;
    settle();
    open_session(0, "250-mx\r\n250 PIPELINING\r\n");
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    say(0, "554 5.7.1 spam\r\n");
    assert_journal("out+ r0=3/554 out- report(0) stale");

    heard(0);
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    text = heard(0);
    assert_non_null(strstr(text, "Subject: s\r\n\r\n..body\r\n"));

    /* a report that is refused for good is not reported */

    say(0, "550 no\r\n");
    assert_journal("out+ reported out- done");
    assert_int_equal(shim_log_count("report about QID"), 1);
}


static void
test_no_bounce(void **state)
{
    test_message_t  *tm;

    submit("", "x\r\n", 1, "b@to.test");
    settle();
    open_session(0, pipelining);
    say(0, "250 ok\r\n550 no\r\n503 no\r\n");
    assert_journal("r0=3/550 done");

    tm = submit("a@from.test", "x\r\n", 1, "b@to.test");
    tm->rcpts[0].notify = NGX_SMTP_NOTIFY_NEVER;
    settle();
    say(0, "250 ok\r\n250 ok\r\n550 no\r\n503 no\r\n");
    assert_journal("r0=3/550 done");
}


static void
test_expires(void **state)
{
    test_message_t  *tm;

    tm = submit("a@from.test", "x\r\n", 1, "b@to.test");
    tm->m.received = ngx_time() - 990;
    tm->m.attempts = 3;
    settle();
    open_session(0, pipelining);
    say(0, "450 4.3.0 later\r\n503 no\r\n503 no\r\n");
    assert_journal("r0=4/450 report(0) stale");
    assert_string_equal(logged, "[5 450 4.3.0 later]");
}


static void
test_unknown(void **state)
{
    test_message_t  *tm;

    tm = submit("a@from.test", "x\r\n", 1, "b@to.test");
    settle();
    open_session(0, pipelining);
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_journal("out+");

    lose(0, NGX_SMTP_PEER_CLOSED);
    assert_journal("r0=5/0 due=600 out- stale");
    assert_true(peer(0)->closed);
    assert_int_equal(tm->m.due_at, ngx_time() + 600);
    assert_int_equal(npeers, 1);
}


static void
test_outstanding_order(void **state)
{
    submit("a@from.test", "x\r\n", 1, "b@to.test");
    settle();
    open_session(0, pipelining);
    heard(0);

    block_output = 1;
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_journal("out+");
    block_output = 0;

    say(0, "452 4.3.1 full\r\n");
    journal[strlen("r0=5/452 due=")] = '\0';
    assert_journal("r0=5/452 due=");
}


static void
test_not_ready(void **state)
{
    test_message_t  *tm;

    tm = submit("a@from.test", "x\r\n", 1, "b@to.test");
    settle();
    open_session(0, pipelining);
    heard(0);

    /* its results could not be recorded: the message must not end there */

    not_ready = 1;
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_null(strstr(heard(0), "\r\n.\r\n"));
    assert_true(peer(0)->closed);
    assert_null(strstr(journal, "out+"));
    assert_true(tm->m.scheduled);

    /* and nothing is tried before it is ready */

    journal[0] = '\0';
    shim_time_advance(400000);
    settle();
    assert_int_equal(npeers, 1);

    not_ready = 0;
    shim_time_advance(2000);
    settle();
    assert_int_equal(npeers, 2);
}


static void
test_refused(void **state)
{
    test_message_t  *tm;

    tm = submit("a@from.test", "x\r\n", 2, "b@to.test", "c@to.test");
    settle();
    assert_true(peer(0)->waits);
    peer(0)->peer->err = ECONNREFUSED;
    lose(0, NGX_SMTP_PEER_REFUSED);

    journal[strlen("r0=5/0 r1=5/0 due=")] = '\0';
    assert_journal("r0=5/0 r1=5/0 due=");
    assert_true(peer(0)->closed);
    assert_true(tm->m.scheduled);
    assert_string_equal(logged, "[3 0 4.4.1 connect to mta failed: "
                                "Connection refused]");
}


static void
test_next_server(void **state)
{
    submit("a@from.test", "x\r\n", 1, "b@to.test");
    settle();

    next_servers = 1;
    connected(0);
    say(0, "554 go away\r\n");
    assert_journal("");
    assert_true(peer(0)->waits);

    /* a 5xx before MAIL is no bounce */

    connected(0);
    say(0, "554 go away\r\n");
    journal[strlen("r0=5/0 due=")] = '\0';
    assert_journal("r0=5/0 due=");
    assert_true(peer(0)->closed);
    assert_true(peer(0)->failed);
}


static void
test_tls_fallback(void **state)
{
    qcf.tls = NGX_SMTP_RELAY_TLS_OPPORTUNISTIC;

    submit("a@from.test", "x\r\n", 1, "b@to.test");
    settle();
    open_session(0, "250-mx\r\n250 STARTTLS\r\n");
    assert_string_equal(heard(0), "STARTTLS\r\n");
    say(0, "220 go\r\n");
    assert_true(peer(0)->tls);

    lose(0, NGX_SMTP_PEER_TLS);
    assert_int_equal(peer(0)->reconnected, 1);
    assert_journal("");

    /* the second time in clear */

    open_session(0, "250-mx\r\n250 STARTTLS\r\n");
    assert_string_equal(heard(0), "MAIL FROM:<a@from.test>\r\n");
    say(0, "250 ok\r\n");
    say(0, "250 ok\r\n");
    say(0, "354 ok\r\n");
    say(0, "250 ok\r\n");
    assert_journal("out+ r0=1/250 out- done");
}


static void
test_tls_require(void **state)
{
    qcf.tls = NGX_SMTP_RELAY_TLS_REQUIRE;

    submit("a@from.test", "x\r\n", 1, "b@to.test");
    settle();
    open_session(0, "250-mx\r\n250 STARTTLS\r\n");
    say(0, "220 go\r\n");
    lose(0, NGX_SMTP_PEER_TLS);
    assert_int_equal(peer(0)->reconnected, 0);
    assert_true(peer(0)->closed);
    journal[strlen("r0=5/0 due=")] = '\0';
    assert_journal("r0=5/0 due=");

    /* stripped */

    submit("a@from.test", "x\r\n", 1, "b@to.test");
    settle();
    heard(1);
    connected(1);
    say(1, "220 hello\r\n");
    heard(1);
    say(1, "250 mx\r\n");
    assert_string_equal(heard(1), "");
    assert_true(peer(1)->closed);
}


static void
test_replaced(void **state)
{
    submit("a@from.test", "x\r\n", 1, "b@to.test");
    settle();
    open_session(0, pipelining);
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    say(0, "250 ok\r\n");
    journal[0] = '\0';

    submit("a@from.test", "y\r\n", 1, "b@to.test");
    settle();
    lose(0, NGX_SMTP_PEER_CLOSED);

    /* at once, and no attempt was counted */

    assert_journal("");
    assert_true(peer(0)->closed);
    assert_int_equal(npeers, 2);

    open_session(1, pipelining);
    say(1, "250 ok\r\n250 ok\r\n354 go\r\n");
    say(1, "250 ok\r\n");
    assert_journal("out+ r0=1/250 out- done");
}


static void
test_replaced_421(void **state)
{
    submit("a@from.test", "x\r\n", 1, "b@to.test");
    settle();
    open_session(0, pipelining);
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    say(0, "250 ok\r\n");
    journal[0] = '\0';

    submit("a@from.test", "y\r\n", 1, "b@to.test");
    settle();
    say(0, "421 too idle\r\n");
    assert_journal("");
    assert_int_equal(npeers, 2);

    /* on a fresh connection it counts */

    open_session(1, pipelining);
    say(1, "421 too busy\r\n");
    journal[strlen("r0=5/421 due=")] = '\0';
    assert_journal("r0=5/421 due=");
}


static void
test_transactions(void **state)
{
    qcf.max_rcpts = 2;

    submit("a@from.test", "x\r\n", 3, "b@to.test", "c@to.test", "d@to.test");
    settle();
    open_session(0, pipelining);
    assert_string_equal(heard(0), "MAIL FROM:<a@from.test> SIZE=3\r\n"
                                  "RCPT TO:<b@to.test>\r\n"
                                  "RCPT TO:<c@to.test>\r\nDATA\r\n");
    say(0, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    say(0, "250 ok\r\n");
    assert_journal("out+ r0=1/250 r1=1/250 out-");

    heard(0);
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_string_equal(heard(0), "x\r\n.\r\n");
    say(0, "250 ok\r\n");
    assert_journal("out+ r2=1/250 out- done");

    /* the peer's own limit holds, and its close between the two is harmless */

    submit("a@from.test", "x\r\n", 2, "b@to.test", "c@to.test");
    settle();
    say(0, "421 bye\r\n");
    open_session(1, "250-mx\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=1\r\n");
    say(1, "250 ok\r\n250 ok\r\n354 go\r\n");
    say(1, "250 ok\r\n");
    lose(1, NGX_SMTP_PEER_CLOSED);
    journal[strlen("out+ r0=1/250 out- r1=5/0")] = '\0';
    assert_journal("out+ r0=1/250 out- r1=5/0");
}


static void
test_slow_reader(void **state)
{
    slow_reader = 2;

    submit("a@from.test", "one\r\ntwo\r\n", 1, "b@to.test");
    settle();

    /* nobody connects before the envelope is there */

    assert_false(peer(0)->waits);
    assert_non_null(waiting_reader);
    waiting_reader->handler(waiting_reader, NGX_OK);
    waiting_reader = NULL;
    settle();

    open_session(0, pipelining);
    heard(0);
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_string_equal(heard(0), "");

    waiting_reader->handler(waiting_reader, NGX_OK);
    settle();
    assert_string_equal(heard(0), "one\r\n");
    waiting_reader->handler(waiting_reader, NGX_OK);
    settle();
    assert_string_equal(heard(0), "two\r\n.\r\n");
    say(0, "250 ok\r\n");
    assert_journal("out+ r0=1/250 out- done");

    /* the disk fails in the middle: no end of data */

    submit("a@from.test", "one\r\ntwo\r\n", 1, "b@to.test");
    settle();
    waiting_reader->handler(waiting_reader, NGX_OK);
    waiting_reader = NULL;
    settle();
    heard(0);
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    waiting_reader->handler(waiting_reader, NGX_ERROR);
    settle();
    assert_string_equal(heard(0), "");
    assert_true(peer(0)->closed);
    journal[strlen("r0=5/0 due=")] = '\0';
    assert_journal("r0=5/0 due=");
}


static void
test_blocked(void **state)
{
    char             *big;
    size_t            i, n;
    ngx_smtp_peer_t  *p;

    n = 100000;
    big = malloc(n + 1);

    for (i = 0; i < n; i++) {
        big[i] = (i % 100 == 98) ? '\r' : (i % 100 == 99) ? '\n' : 'x';
    }

    big[n] = '\0';

    submit("a@from.test", big, 1, "b@to.test");
    settle();
    open_session(0, "250-mx\r\n250 PIPELINING\r\n");
    heard(0);

    block_output = 1;
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_true(strlen(heard(0)) < 40000);
    assert_journal("");

    p = peer(0)->peer;
    block_output = 0;
    p->blocked = 0;
    p->out_size = 0;
    p->handler(p, NGX_SMTP_PEER_SENT);
    settle();
    heard(0);
    assert_journal("out+");
    say(0, "250 ok\r\n");
    assert_journal("r0=1/250 out- done");

    assert_non_null(strstr(peer(0)->out, big));

    free(big);
}


static void
test_leave(void **state)
{
    test_message_t  *before, *after, *idle;

    idle = submit("a@from.test", "i\r\n", 1, "b@to.test");
    after = submit("a@from.test", "a\r\n", 1, "b@to.test");
    before = submit("a@from.test", "b\r\n", 1, "b@to.test");
    settle();
    assert_int_equal(npeers, 3);

    open_session(0, pipelining);
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");
    say(0, "250 ok\r\n");
    assert_true(idle->ended);

    open_session(1, pipelining);
    say(1, "250 ok\r\n250 ok\r\n354 go\r\n");
    open_session(2, pipelining);
    journal[0] = '\0';
    heard(0);

    ngx_exiting = 1;
    ngx_smtp_relay_leave(relay);
    settle();

    assert_string_equal(heard(0), "QUIT\r\n");
    assert_true(peer(0)->closed);
    assert_false(peer(1)->closed);
    assert_true(peer(2)->closed);
    assert_journal("");
    assert_true(before->m.scheduled);
    assert_false(before->m.busy);
    assert_true(after->m.outstanding);

    say(1, "250 ok\r\n");
    assert_journal("r0=1/250 out- done");
    assert_string_equal(heard(1) + strlen(peer(1)->out) - 6, "");
    assert_int_equal(npeers, 3);

    /* what is still ours after five seconds is served */

    shim_time_advance(6000);
    settle();
    assert_int_equal(npeers, 4);
}


static void
test_forget(void **state)
{
    test_message_t  *tm, *other;

    tm = submit("a@from.test", "x\r\n", 1, "b@to.test");
    settle();
    open_session(0, pipelining);
    other = submit("a@from.test", "y\r\n", 1, "b@to.test");

    scf.handlers.forget(scf.data, &tm->m);
    scf.handlers.forget(scf.data, &other->m);
    memset(&tm->m, 0xa5, sizeof(ngx_smtp_message_t));
    memset(&other->m, 0xa5, sizeof(ngx_smtp_message_t));
    settle();

    assert_true(peer(0)->closed);
    assert_journal("");

    shim_time_advance(100000);
    settle();
    assert_int_equal(npeers, 1);
}


static void
test_stop(void **state)
{
    test_message_t  *tm;

    tm = submit("a@from.test", "x\r\n", 1, "b@to.test");
    settle();
    open_session(0, pipelining);
    say(0, "250 ok\r\n250 ok\r\n354 go\r\n");

    ngx_smtp_relay_stop(relay);

    /* the store writes what was outstanding */

    assert_journal("out+");
    assert_true(tm->m.outstanding);
    assert_true(peer(0)->closed);
}


static void
test_too_large(void **state)
{
    submit("a@from.test", "0123456789\r\n", 1, "b@to.test");
    settle();
    open_session(0, "250-mx\r\n250 SIZE 5\r\n");
    assert_string_equal(logged, "[4 0 5.3.4 the message is larger than the "
                                "host accepts]");
    assert_non_null(strstr(journal, "r0=3/0 report(0)"));
}


static void
test_utf8(void **state)
{
    test_message_t  *tm;

    /* it says it needs SMTPUTF8, but does not */

    tm = submit("a@from.test", "Subject: x\r\n\r\n", 1, "b@to.test");
    tm->envelope.smtputf8 = 1;
    settle();
    open_session(0, "250 mx\r\n");
    assert_string_equal(heard(0), "MAIL FROM:<a@from.test>\r\n");
    say(0, "250 ok\r\n");
    say(0, "250 ok\r\n");
    say(0, "354 ok\r\n");
    assert_string_equal(heard(0) + strlen("RCPT TO:<b@to.test>\r\nDATA\r\n"),
                        "Subject: x\r\n\r\n.\r\n");
    say(0, "250 ok\r\n");
    journal[0] = '\0';
    logged[0] = '\0';

    tm = submit("a@from.test", "Subject: \xc3\xa4\r\n\r\n", 1, "b@to.test");
    tm->envelope.smtputf8 = 1;
    settle();
    assert_non_null(strstr(journal, "r0=3/0 report(0)"));
    assert_non_null(strstr(logged, "[4 0 5.6.7 "));
}


/* whatever a peer says, and wherever it hangs up: one result, no leak */

static void
test_bad_peer(void **state)
{
    size_t            i, k;
    const char      **t;
    test_message_t   *tm;

    static const char *const  bad[] = {
        "250 early\r\n", "354 what\r\n", "354 a\r\n354 b\r\n", "999 x\r\n",
        "abc\r\n", "250-a\r\n251 b\r\n", "421 bye\r\n", "550 no\r\n",
        "450 no\r\n", "", "250 a\r\n250 b\r\n250 c\r\n250 d\r\n250 e\r\n"
    };

    static const char *good[] = {
        "220 hello\r\n", pipelining, "250 ok\r\n", "250 ok\r\n", "354 go\r\n",
        "250 ok\r\n", NULL
    };

    teardown(NULL);

    for (k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {

        for (i = 0; good[i]; i++) {
            setup(NULL);

            tm = submit("a@from.test", "x\r\n", 1, "b@to.test");
            settle();
            connected(0);

            for (t = good; t < good + i; t++) {
                say(0, *t);
            }

            say(0, bad[k]);

            if (!peer(0)->closed) {
                lose(0, NGX_SMTP_PEER_CLOSED);
            }

            /* a report may be under way on the same connection */

            if (!peer(0)->closed) {
                lose(0, NGX_SMTP_PEER_CLOSED);
            }

            assert_true(peer(0)->closed);

            if (!tm->ended) {
                assert_true(tm->m.attempts == 1);
                assert_false(tm->m.outstanding);
                assert_true(tm->m.scheduled || tm->m.busy
                            || !ngx_queue_empty(&tm->m.reports));
            }

            teardown(NULL);
        }
    }

    setup(NULL);
}


static void
test_dead_site(void **state)
{
    ngx_uint_t       i;
    test_message_t  *old;

    /* three failures in a row, and nothing is tried any more */

    for (i = 0; i < 3; i++) {
        submit("a@from.test", "x\r\n", 1, "b@to.test");
        settle();
        lose(i, NGX_SMTP_PEER_REFUSED);
    }

    submit("a@from.test", "x\r\n", 1, "b@to.test");
    settle();
    assert_int_equal(npeers, 3);

    /* but what has expired is given up, in its turn */

    scf.handlers.forget(scf.data, &messages[3].m);
    journal[0] = '\0';

    old = submit("a@from.test", "x\r\n", 1, "b@to.test");
    old->m.received = ngx_time() - 5000;
    old->m.attempts = 9;
    settle();
    assert_int_equal(npeers, 3);
    assert_journal("r0=4/0 report(0) stale");

    /* one probe after the back-off */

    shim_time_advance(70000);
    settle();
    assert_int_equal(npeers, 4);
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_delivers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stuffing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mixed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounce, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounce_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_bounce, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expires, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outstanding_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_not_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_next_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tls_fallback, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tls_require, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replaced_421, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transactions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(test_blocked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leave, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forget, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_utf8, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_peer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dead_site, setup, teardown),
    };

    return shim_run(tests);
}
