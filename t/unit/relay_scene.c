
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The made-up store and connections: they check what they are told against
 * the contracts of ngx_smtp_store.h and ngx_smtp_peer.h, and write it down.
 */


#include "relay_scene.h"
#include "ngx_smtp_zone.h"


char                   journal[16384];
char                   logged[4096];
test_peer_t            peers[TEST_PEERS];
ngx_uint_t             npeers;
ngx_uint_t             next_servers;
ngx_uint_t             slow_reader;
ngx_uint_t             open_readers;
ngx_uint_t             block_output;
ngx_uint_t             not_ready;
ngx_uint_t             timeouts_set;
ngx_msec_t             last_timeout;
ngx_uint_t             disk_full;
ngx_smtp_reader_t     *waiting_reader;
ngx_smtp_relay_t      *relay;
ngx_pool_t            *pool;
ngx_smtp_relay_conf_t  rcf;
ngx_smtp_queue_conf_t  qcf;
ngx_smtp_store_conf_t  scf;
time_t                 retry[2];
test_message_t         messages[TEST_MESSAGES];
ngx_uint_t             nmessages;

static ngx_smtp_slot_t  slot;
ngx_smtp_slot_t       *ngx_smtp_slot = &slot;

/* nginx's, which the shim has no use for */
ngx_uint_t             ngx_stream_max_module;


static void scene_note(const char *fmt, ...);
static test_peer_t *test_find(ngx_smtp_peer_t *p);
static void test_log(void *data, ngx_smtp_attempt_t *a);


static void
scene_note(const char *fmt, ...)
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


/* -- the store ----------------------------------------------------------- */

void
ngx_smtp_message_work(ngx_smtp_message_t *m)
{
}


void
ngx_smtp_store_results(ngx_smtp_message_t *m, ngx_smtp_result_t *results,
    ngx_uint_t n, ngx_str_t *peer, time_t now, time_t due, ngx_uint_t more)
{
    ngx_uint_t  i;

    assert_true(n > 0);

    for (i = 0; i < n; i++) {
        scene_note("r%d=%d/%d", (int) results[i].rcpt,
                   (int) results[i].status, (int) results[i].code);

        if (results[i].status != NGX_SMTP_RESULT_DEFERRED) {
            assert_false(m->final.word & (1ull << results[i].rcpt));
            m->final.word |= 1ull << results[i].rcpt;
            m->npending--;
        }
    }

    if (due) {
        scene_note("due=%d", (int) (due - now));
    }

    m->attempts += !more;
}


ngx_smtp_report_t *
ngx_smtp_store_report(ngx_smtp_message_t *m, ngx_uint_t kind,
    ngx_smtp_result_t *results, ngx_uint_t n, ngx_str_t *peer, time_t now)
{
    char               *text;
    ngx_uint_t          i, k;
    test_message_t     *tm;
    ngx_smtp_report_t  *r;

    static const char  *names[] = { "", "report", "delay", "success" };

    tm = (test_message_t *) m;
    k = m->nreports++;

    assert_in_range(k, 0, TEST_REPORTS - 1);
    assert_in_range(kind, NGX_SMTP_REPORT_FAILURE, NGX_SMTP_REPORT_SUCCESS);

    r = &tm->reports[k];

    r->message = m;
    r->kind = kind;
    r->results = tm->results[k];
    r->nresults = n;
    r->created = now;
    r->number = 7 + k;
    r->peer.data = (u_char *) "[192.0.2.1]:25";
    r->peer.len = strlen("[192.0.2.1]:25");

    for (i = 0; i < n; i++) {
        text = tm->text[k][i];

        r->results[i] = results[i];

        memcpy(text, results[i].text.data, results[i].text.len);
        r->results[i].text.data = (u_char *) text;

        scene_note("%s(%d)", names[kind], (int) results[i].rcpt);
    }

    ngx_queue_insert_tail(&m->reports, &r->link);

    return r;
}


ngx_smtp_report_t *
ngx_smtp_store_report_delay(ngx_smtp_message_t *m,
    ngx_smtp_result_t *results, ngx_uint_t n, ngx_str_t *peer, time_t now)
{
    ngx_uint_t  i;

    if (disk_full) {
        return NULL;
    }

    assert_false(m->delay_told);
    assert_int_not_equal(n, 0);

    for (i = 0; i < n; i++) {
        assert_false(ngx_smtp_message_final(m, results[i].rcpt));
        assert_int_equal(results[i].status, NGX_SMTP_RESULT_DEFERRED);
    }

    m->delay_told = 1;

    return ngx_smtp_store_report(m, NGX_SMTP_REPORT_DELAY, results, n, peer,
                                 now);
}


ngx_int_t
ngx_smtp_store_report_double(ngx_smtp_report_t *r, ngx_smtp_result_t *failure,
    ngx_str_t *peer, time_t now)
{
    static char  text[128];

    assert_int_equal(r->kind, NGX_SMTP_REPORT_FAILURE);

    memmove(&r->results[1], r->results,
            r->nresults * sizeof(ngx_smtp_result_t));
    memcpy(text, failure->text.data, failure->text.len);

    r->results[0] = *failure;
    r->results[0].text.data = (u_char *) text;
    r->nresults++;
    r->kind = NGX_SMTP_REPORT_DOUBLE;
    r->attempts = 0;
    r->created = now;

    scene_note("double");

    return NGX_OK;
}


void
ngx_smtp_store_report_deferred(ngx_smtp_report_t *r, time_t now, time_t due)
{
    r->attempts++;
    scene_note("report=%d", (int) (due - now));
}


void
ngx_smtp_store_reported(ngx_smtp_report_t *r, time_t now)
{
    ngx_queue_remove(&r->link);
    scene_note("reported");
}


void
ngx_smtp_store_hold(ngx_smtp_message_t *m, ngx_uint_t hold, time_t now)
{
    if (m->hold != (hold != 0)) {
        scene_note(hold ? "hold" : "release");
        m->hold = (hold != 0);
    }
}


void
ngx_smtp_store_wish(ngx_smtp_message_t *m, ngx_uint_t wish, time_t now)
{
    scene_note(wish == NGX_SMTP_WISH_DELETE ? "wish-delete" : "wish-bounce");
    m->wish = wish;
}


void
ngx_smtp_store_error(ngx_smtp_message_t *m, ngx_str_t *text)
{
    /* void */
}


/* there is one queue, and no other next hop */

ngx_int_t
ngx_smtp_store_move(ngx_smtp_message_t *m, ngx_str_t *queue, ngx_str_t *hop,
    time_t now)
{
    return NGX_DECLINED;
}


void
ngx_smtp_message_queue(ngx_smtp_message_t *m, ngx_str_t *queue,
    ngx_str_t *hop)
{
    *queue = shim_str("out");
    ngx_str_null(hop);
}


void *
ngx_smtp_message_data(ngx_smtp_message_t *m)
{
    return NULL;
}


ngx_smtp_route_t *
ngx_smtp_route_find(ngx_smtp_relay_store_t *rs, ngx_str_t *queue,
    ngx_str_t *hop, ngx_uint_t max)
{
    return NULL;
}


void
ngx_smtp_peer_connect(ngx_smtp_peer_t *p, struct sockaddr *sockaddr,
    socklen_t socklen, ngx_str_t *name, ngx_addr_t *local, ngx_msec_t timeout)
{
    fail();
}


ngx_int_t
ngx_smtp_store_done(ngx_smtp_message_t *m, time_t now)
{
    assert_false(m->busy);
    assert_false(m->scheduled);
    assert_int_equal(m->npending, 0);

    if (!ngx_queue_empty(&m->reports)) {
        return NGX_DECLINED;
    }

    assert_int_equal(((test_message_t *) m)->readers, 0);

    scene_note("done");

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
    scene_note(on ? "out+" : "out-");
}


ngx_int_t
ngx_smtp_message_ready(ngx_smtp_message_t *m)
{
    return not_ready ? NGX_AGAIN : NGX_OK;
}


ngx_uint_t
ngx_smtp_message_final(ngx_smtp_message_t *m, ngx_uint_t i)
{
    return (m->final.word & (1ull << i)) ? 1 : 0;
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
    scene_note("stale");
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
    timeouts_set++;
    last_timeout = timeout;
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


int
scene_setup(void **state)
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
    disk_full = 0;
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
    qcf.connection_messages = 100;
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


int
scene_teardown(void **state)
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


test_message_t *
scene_submit(const char *sender, const char *body, int n, ...)
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


void
scene_settle(void)
{
    do {
        ngx_queue_add(&ngx_posted_events, &ngx_posted_next_events);
        ngx_queue_init(&ngx_posted_next_events);

    } while (shim_posted_run()
             || !ngx_queue_empty(&ngx_posted_next_events));
}


test_peer_t *
scene_peer(ngx_uint_t i)
{
    assert_true(i < npeers);
    return &peers[i];
}


void
scene_say(ngx_uint_t i, const char *text)
{
    ngx_smtp_peer_t  *p;

    assert_false(scene_peer(i)->closed);

    p = scene_peer(i)->peer;

    if (p->in.pos == p->in.last) {
        p->in.pos = p->in.last = p->in.start;
    }

    p->in.last = ngx_cpymem(p->in.last, text, strlen(text));
    p->handler(p, NGX_SMTP_PEER_READ);

    scene_settle();
}


void
scene_read(void)
{
    void               *at;
    ngx_smtp_reader_t  *r;

    r = waiting_reader;
    at = r->ctx;

    r->handler(r, NGX_OK);

    /* no slice was asked for: it was opened */

    if (waiting_reader == r && r->ctx == at) {
        waiting_reader = NULL;
    }

    scene_settle();
}


/* what was written since the last look */

const char *
scene_heard(ngx_uint_t i)
{
    test_peer_t  *tp;
    const char   *text;

    tp = scene_peer(i);
    tp->out[tp->len] = '\0';
    text = tp->out + tp->seen;
    tp->seen = tp->len;

    return text;
}


void
scene_lose(ngx_uint_t i, ngx_uint_t failure)
{
    ngx_smtp_peer_t  *p;

    p = scene_peer(i)->peer;
    p->failure = failure;
    p->handler(p, NGX_SMTP_PEER_FAILED);

    scene_settle();
}


void
scene_connected(ngx_uint_t i)
{
    assert_true(scene_peer(i)->waits);
    scene_peer(i)->waits = 0;
    scene_peer(i)->peer->handler(scene_peer(i)->peer, NGX_SMTP_PEER_CONNECTED);
}


void
scene_open_session(ngx_uint_t i, const char *ehlo)
{
    scene_connected(i);
    scene_say(i, "220 hello\r\n");
    assert_string_equal(scene_heard(i), "EHLO relay.test\r\n");
    scene_say(i, ehlo);
}
