
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Requests about a big queue: a hundred thousand messages made up in memory,
 * walked by the real code; envelopes are there at once.  Everything is found,
 * once, in pages and slices, within the time a request has; what a message
 * costs is printed.
 *
 * sources: relay/ngx_smtp_control.c relay/ngx_smtp_control_request.c
 * sources: relay/ngx_smtp_control_show.c relay/ngx_smtp_control_history.c
 * sources: relay/ngx_smtp_control_filter.c
 * sources: net/ngx_smtp_bus_codec.c core/ngx_smtp_json.c
 * sources: spool/ngx_smtp_store_walk.c spool/ngx_smtp_store_change.c
 * sources: spool/ngx_smtp_errors.c spool/ngx_smtp_event.c
 * sources: spool/ngx_smtp_record.c core/ngx_smtp_crc32c.c
 * sources: protocol/ngx_smtp_address.c
 */


#include "shim.h"

#include <ngx_stream.h>

#include "ngx_smtp_store_internal.h"
#include "ngx_smtp_control_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>


#define TEST_SEGMENTS  20
#define TEST_EACH      5000
#define TEST_ALL       (TEST_SEGMENTS * TEST_EACH)
#define TEST_TEXTS     100


/* what the last answer had */
typedef struct {
    ngx_uint_t              rows;
    uint64_t                tally[NGX_SMTP_CONTROL_RESULTS];
    uint64_t                count;
    ngx_uint_t              more;       /* a position was given */
    ngx_uint_t              overload;
    u_char                  position[NGX_SMTP_KEY_LEN];
    u_char                  last[NGX_SMTP_KEY_LEN];     /* row */
} test_answer_t;


static void test_next(void);
static void test_ask(ngx_smtp_control_request_t *request, ngx_uint_t *total,
    ngx_uint_t *requests, const char *what);
static void test_list(void **state);
static void test_filters(void **state);
static void test_count(void **state);
static void test_act(void **state);
static void test_bounds(void **state);
static void test_slow(void **state);
static void test_full(void **state);
static void test_late(void **state);


static ngx_smtp_store_t          store;
static ngx_smtp_segment_t        segments[TEST_SEGMENTS];
static ngx_smtp_message_t       *messages;
static ngx_smtp_relay_t          relay;
static ngx_smtp_route_t          route;
static ngx_smtp_bus_request_pt   bus_handler;
static void                     *bus_data;
static ngx_uint_t                bus_answered;
static test_answer_t             answer;
static ngx_uint_t                acted;
static ngx_uint_t                readers;
static ngx_smtp_reader_t        *slow[32];  /* in the order of their start */
static ngx_uint_t                nslow;
static ngx_uint_t                disk_slow;


/* what lies below and beside */

ngx_smtp_bus_t *
ngx_smtp_bus_start(ngx_str_t *path, ngx_smtp_bus_request_pt handler,
    void *data, ngx_log_t *log)
{
    bus_handler = handler;
    bus_data = data;

    return (ngx_smtp_bus_t *) &bus_handler;
}


void
ngx_smtp_bus_stop(ngx_smtp_bus_t *bus)
{
    /* void */
}


void
ngx_smtp_bus_answer(ngx_smtp_bus_call_t *call, ngx_str_t *out)
{
    u_char      *p, *last;
    ngx_str_t    value;
    ngx_uint_t   i, k, tag;

    memset(&answer, 0, sizeof(answer));
    bus_answered++;

    p = out->data;
    last = p + out->len;

    while (ngx_smtp_bus_field_next(&p, last, &tag, &value) == NGX_OK) {

        switch (tag) {

        case NGX_SMTP_CONTROL_TAG_ROW:

            /* rising */

            assert_true(memcmp(value.data, answer.last, NGX_SMTP_KEY_LEN)
                        > 0);
            memcpy(answer.last, value.data, NGX_SMTP_KEY_LEN);
            answer.rows++;
            break;

        case NGX_SMTP_CONTROL_TAG_POSITION:
            memcpy(answer.position, value.data, NGX_SMTP_KEY_LEN);
            answer.more = 1;
            break;

        case NGX_SMTP_CONTROL_TAG_OVERLOAD:
            answer.overload = 1;
            break;

        case NGX_SMTP_CONTROL_TAG_QUEUES:

            for (k = 0, i = 0; k < 8; k++) {
                i = i << 8 | value.data[k];
            }

            answer.count += i;
            break;

        case NGX_SMTP_CONTROL_TAG_TALLY:

            for (i = 0; i < NGX_SMTP_CONTROL_RESULTS; i++) {
                for (k = 0; k < 8; k++) {
                    answer.tally[i] = answer.tally[i] << 8
                                      | value.data[i * 8 + k];
                }
            }

            break;
        }
    }

    assert_ptr_equal(p, last);
}


ngx_int_t
ngx_smtp_reader_peek(ngx_smtp_message_t *m, ngx_uint_t slice,
    void (*handler)(ngx_smtp_reader_t *r, ngx_int_t rc), void *data,
    ngx_log_t *log, ngx_smtp_reader_t **rp)
{
    char                *text;
    ngx_pool_t          *pool;
    ngx_smtp_rcpt_t     *rcpt;
    ngx_smtp_reader_t   *r;

    pool = ngx_create_pool(1024, log);
    r = ngx_pcalloc(pool, sizeof(ngx_smtp_reader_t));

    r->pool = pool;
    r->message = m;
    r->data = data;

    text = ngx_palloc(pool, 64);
    sprintf(text, "user%lu@example.net", (unsigned long) (m - messages));

    r->envelope.sender = shim_str("sender@example.com");
    r->envelope.sender_domain = shim_str("example.com");

    assert_int_equal(ngx_array_init(&r->envelope.rcpts, pool, 1,
                                    sizeof(ngx_smtp_rcpt_t)), NGX_OK);
    rcpt = ngx_array_push(&r->envelope.rcpts);
    memset(rcpt, 0, sizeof(ngx_smtp_rcpt_t));
    rcpt->mailbox = shim_str(text);
    rcpt->domain = shim_str("example.net");

    *rp = r;
    readers++;

    if (!disk_slow) {
        return NGX_OK;
    }

    r->handler = handler;

    if (nslow < sizeof(slow) / sizeof(slow[0])) {
        slow[nslow++] = r;
    }

    return NGX_AGAIN;
}


ngx_int_t
ngx_smtp_reader_next(ngx_smtp_reader_t *r, ngx_str_t *out)
{
    return NGX_DONE;
}


void
ngx_smtp_reader_close(ngx_smtp_reader_t *r)
{
    readers--;
    ngx_destroy_pool(r->pool);
}


ngx_int_t
ngx_smtp_history_open(ngx_smtp_message_t *m,
    void (*handler)(ngx_smtp_history_t *h), void *data, ngx_log_t *log,
    ngx_smtp_history_t **h)
{
    return NGX_ERROR;
}


void
ngx_smtp_history_close(ngx_smtp_history_t *h)
{
    fail();
}


ngx_uint_t
ngx_smtp_control_act(ngx_smtp_relay_t *rl, ngx_smtp_message_t *m,
    ngx_uint_t op, ngx_str_t *to, ngx_smtp_envelope_t *envelope)
{
    acted++;
    m->hold = (op == NGX_SMTP_CONTROL_HOLD);

    return NGX_SMTP_CONTROL_DONE;
}


ngx_smtp_route_t *
ngx_smtp_route_home(ngx_smtp_message_t *m)
{
    return m->data;
}


ngx_uint_t
ngx_smtp_message_final(ngx_smtp_message_t *m, ngx_uint_t i)
{
    return (ngx_uint_t) (m->final.word >> i & 1);
}


u_char *
ngx_smtp_message_id(ngx_smtp_message_t *m, u_char *buf)
{
    return ngx_smtp_queue_id_text(&m->segment->file.header.id, m->number,
                                  buf);
}


void
ngx_smtp_message_count(ngx_smtp_message_t *m, ngx_int_t n)
{
    /* void */
}


ngx_int_t
ngx_smtp_store_queue(ngx_smtp_store_t *s, ngx_str_t *name)
{
    return NGX_ERROR;
}


void
ngx_smtp_event_record(ngx_smtp_segment_t *seg, ngx_smtp_event_t *e)
{
    fail();
}


void
ngx_smtp_event_init(ngx_smtp_event_t *e, ngx_smtp_message_t *m,
    ngx_uint_t type, time_t now)
{
    fail();
}


/* the queue: out and in by turns; every text has its share of the errors */

static int
test_setup(void **state)
{
    char                          text[64];
    ngx_str_t                     s;
    ngx_uint_t                    i;
    ngx_smtp_message_t           *m;
    ngx_smtp_segment_t           *seg;
    static ngx_str_t              queues[2];
    static ngx_smtp_store_conf_t  conf;

    memset(&store, 0, sizeof(store));
    memset(segments, 0, sizeof(segments));

    queues[0] = shim_str("out");
    queues[1] = shim_str("in");

    conf.queues.nelts = 2;
    conf.queues.elts = queues;

    store.conf = &conf;
    store.queues = queues;
    store.nqueues = 2;
    store.errors.size = NGX_SMTP_ERRORS_STORE;
    store.errors.table = NULL;

    ngx_queue_init(&store.segments);
    ngx_queue_init(&store.watches);
    ngx_queue_init(&store.walks);

    messages = calloc(TEST_ALL, sizeof(ngx_smtp_message_t));
    assert_non_null(messages);

    for (i = 0; i < TEST_ALL; i++) {
        m = &messages[i];
        seg = &segments[i / TEST_EACH];

        if (i % TEST_EACH == 0) {
            seg->store = &store;
            seg->state = ngx_smtp_state_open;
            seg->file.header.id.bytes[5] = (u_char) (i / TEST_EACH + 1);
            ngx_queue_init(&seg->messages);
            ngx_queue_insert_tail(&store.segments, &seg->link);
        }

        m->segment = seg;
        m->data = &route;
        m->number = i % TEST_EACH + 1;
        m->known = 1;
        m->nrcpts = 1;
        m->npending = 1;
        m->queue = i % 2;
        m->received = ngx_time() - 3600;
        m->due_at = ngx_time() + 3600;
        m->size = 4096;

        ngx_queue_init(&m->reports);
        ngx_queue_insert_tail(&seg->messages, &m->link);
        seg->live++;

        sprintf(text, "4.2.%d the mailbox of somebody is busy, try later %d",
                (int) (i % 7), (int) (i % TEST_TEXTS));
        s = shim_str(text);
        ngx_smtp_store_error(m, &s);
    }

    relay.log = &shim_log;

    assert_non_null(ngx_smtp_control_start(&relay, &store, &s, &shim_log));

    acted = 0;

    return 0;
}


static int
test_teardown(void **state)
{
    assert_int_equal(readers, 0);
    assert_true(ngx_queue_empty(&store.walks));
    assert_true(ngx_queue_empty(&store.watches));

    ngx_smtp_control_stop(bus_data);
    ngx_smtp_errors_free(&store.errors);
    free(messages);

    return 0;
}


static double
test_clock(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);

    return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}


/* the next iteration of the event loop */

static void
test_next(void)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&ngx_posted_next_events)) {
        q = ngx_queue_head(&ngx_posted_next_events);
        ngx_queue_remove(q);
        ngx_queue_insert_tail(&ngx_posted_events, q);
    }
}


/* One request after the other until the end; total: rows, acts or a count. */

static void
test_ask(ngx_smtp_control_request_t *request, ngx_uint_t *total,
    ngx_uint_t *requests, const char *what)
{
    double                start, took;
    u_char                id[NGX_SMTP_QUEUE_ID_LEN];
    ngx_str_t             payload;
    ngx_uint_t            n;
    ngx_pool_t           *pool;
    ngx_smtp_bus_call_t   call;

    *total = 0;
    *requests = 0;
    took = 0;

    request->limit = request->limit ? request->limit : 1000;

    for ( ;; ) {
        pool = ngx_create_pool(4096, &shim_log);

        assert_int_equal(ngx_smtp_control_encode(request, pool, &payload),
                         NGX_OK);
        memset(&call, 0, sizeof(call));
        n = bus_answered;
        start = test_clock();

        bus_handler(bus_data, &call, &payload);

        while (bus_answered == n) {
            (void) shim_posted_run();

            assert_true(bus_answered != n
                        || !ngx_queue_empty(&ngx_posted_next_events));
            test_next();
        }

        took += test_clock() - start;
        (*requests)++;

        ngx_destroy_pool(pool);

        assert_false(answer.overload);
        assert_true(answer.rows <= request->limit);

        *total += answer.rows + answer.tally[NGX_SMTP_CONTROL_DONE]
                  + answer.count;

        if (!answer.more) {
            break;
        }

        /* it goes on in any case */

        request->after.data = id;
        request->after.len = ngx_smtp_key_text(answer.position, id) - id;

        assert_true(*requests < TEST_ALL);
    }

    printf("# %s: %lu of %d, %.0f ns for each, %lu requests\n", what,
           (unsigned long) *total, TEST_ALL, took / TEST_ALL,
           (unsigned long) *requests);

    ngx_str_null(&request->after);
}


static void
test_list(void **state)
{
    ngx_uint_t                  total, requests;
    ngx_smtp_control_request_t  request;

    memset(&request, 0, sizeof(request));

    request.op = NGX_SMTP_CONTROL_LIST;

    test_ask(&request, &total, &requests, "list");
    assert_int_equal(total, TEST_ALL);
    assert_true(requests >= TEST_ALL / 1000);
}


static void
test_filters(void **state)
{
    ngx_uint_t                  total, requests;
    ngx_smtp_control_request_t  request;

    memset(&request, 0, sizeof(request));

    request.op = NGX_SMTP_CONTROL_LIST;

    request.error = shim_str("TRY later 77");
    test_ask(&request, &total, &requests, "error");
    assert_int_equal(total, TEST_ALL / TEST_TEXTS);

    request.error = shim_str("nothing like it");
    test_ask(&request, &total, &requests, "no error");
    assert_int_equal(total, 0);

    request.error.len = 0;
    request.queue = shim_str("nowhere");
    test_ask(&request, &total, &requests, "no queue");
    assert_int_equal(total, 0);

    request.queue.len = 0;
    request.older = 7200;
    test_ask(&request, &total, &requests, "age");
    assert_int_equal(total, 0);

    request.older = 0;
    request.state = NGX_SMTP_CONTROL_HELD;
    test_ask(&request, &total, &requests, "state");
    assert_int_equal(total, 0);

    request.state = 0;
    request.recipient = shim_str("user77777@example.net");
    test_ask(&request, &total, &requests, "recipient");
    assert_int_equal(total, 1);
}


static void
test_count(void **state)
{
    ngx_uint_t                  total, requests;
    ngx_smtp_control_request_t  request;

    memset(&request, 0, sizeof(request));

    request.op = NGX_SMTP_CONTROL_COUNT;

    test_ask(&request, &total, &requests, "count");
    assert_int_equal(total, TEST_ALL);
}


static void
test_act(void **state)
{
    ngx_uint_t                  total, requests;
    ngx_smtp_control_request_t  request;

    memset(&request, 0, sizeof(request));

    request.op = NGX_SMTP_CONTROL_HOLD;
    request.queue = shim_str("in");

    test_ask(&request, &total, &requests, "hold by queue");
    assert_int_equal(total, TEST_ALL / 2);
    assert_int_equal(acted, TEST_ALL / 2);

    request.op = NGX_SMTP_CONTROL_RELEASE;
    request.queue.len = 0;
    request.state = NGX_SMTP_CONTROL_HELD;

    test_ask(&request, &total, &requests, "release by state");
    assert_int_equal(total, TEST_ALL / 2);
}


/* too many at a time, and one whose asker leaves */

static void
test_bounds(void **state)
{
    ngx_str_t                    payload;
    ngx_uint_t                   i, n;
    ngx_pool_t                  *pool;
    ngx_smtp_bus_call_t          calls[20];
    ngx_smtp_control_request_t   request;

    memset(&request, 0, sizeof(request));
    memset(calls, 0, sizeof(calls));

    request.op = NGX_SMTP_CONTROL_LIST;
    request.limit = 1000;

    pool = ngx_create_pool(4096, &shim_log);
    assert_int_equal(ngx_smtp_control_encode(&request, pool, &payload),
                     NGX_OK);

    n = bus_answered;

    for (i = 0; i < 20; i++) {
        bus_handler(bus_data, &calls[i], &payload);
    }

    assert_int_equal(bus_answered, n + 4);
    assert_true(answer.overload);

    for (i = 0; i < 16; i++) {
        calls[i].gone(calls[i].data);
    }

    assert_int_equal(shim_posted_run(), 0);
    assert_int_equal(bus_answered, n + 4);

    ngx_destroy_pool(pool);
}


/* a disk that stops: the page ends in time, behind what was read */

static void
test_slow(void **state)
{
    ngx_str_t                    payload;
    ngx_uint_t                   n;
    ngx_pool_t                  *pool;
    ngx_smtp_bus_call_t          call;
    ngx_smtp_control_request_t   request;

    memset(&request, 0, sizeof(request));
    memset(&call, 0, sizeof(call));

    request.op = NGX_SMTP_CONTROL_LIST;
    request.limit = 1000;

    pool = ngx_create_pool(4096, &shim_log);
    assert_int_equal(ngx_smtp_control_encode(&request, pool, &payload),
                     NGX_OK);

    n = bus_answered;
    disk_slow = 1;
    nslow = 0;

    bus_handler(bus_data, &call, &payload);
    (void) shim_posted_run();

    /* the ring is full, and nothing was read */

    assert_int_equal(bus_answered, n);
    assert_int_equal(readers, 16);

    /* the first one comes late: it is what the page has */

    usleep(NGX_SMTP_CONTROL_BUDGET + 1000);

    slow[0]->handler(slow[0], NGX_OK);
    (void) shim_posted_run();

    while (bus_answered == n) {
        test_next();
        assert_int_not_equal(shim_posted_run(), 0);
    }

    assert_int_equal(answer.rows, 1);
    assert_true(answer.more);
    assert_memory_equal(answer.position, answer.last, NGX_SMTP_KEY_LEN);
    assert_int_equal(readers, 0);

    disk_slow = 0;
    ngx_destroy_pool(pool);
}


/* a full page waits for nothing, and the next one begins behind its last row,
   whatever else was read */

static void
test_full(void **state)
{
    ngx_str_t                    payload;
    ngx_uint_t                   i, n;
    ngx_pool_t                  *pool;
    ngx_smtp_bus_call_t          call;
    ngx_smtp_control_request_t   request;

    memset(&request, 0, sizeof(request));
    memset(&call, 0, sizeof(call));

    request.op = NGX_SMTP_CONTROL_LIST;
    request.limit = 2;

    pool = ngx_create_pool(4096, &shim_log);
    assert_int_equal(ngx_smtp_control_encode(&request, pool, &payload),
                     NGX_OK);

    n = bus_answered;
    disk_slow = 1;
    nslow = 0;

    bus_handler(bus_data, &call, &payload);
    (void) shim_posted_run();

    assert_int_equal(bus_answered, n);
    assert_int_equal(nslow, 16);

    /* more than the page has, and then the time is over */

    for (i = 0; i < 5; i++) {
        slow[i]->handler(slow[i], NGX_OK);
    }

    (void) shim_posted_run();
    usleep(NGX_SMTP_CONTROL_BUDGET + 1000);

    if (bus_answered == n) {
        slow[5]->handler(slow[5], NGX_OK);
        (void) shim_posted_run();
    }

    assert_int_equal(bus_answered, n + 1);
    assert_int_equal(answer.rows, 2);
    assert_true(answer.more);
    assert_memory_equal(answer.position, answer.last, NGX_SMTP_KEY_LEN);
    assert_int_equal(readers, 0);

    disk_slow = 0;
    ngx_destroy_pool(pool);
}


/* a message that is asked for by its id is found, however late it gets */

static void
test_late(void **state)
{
    u_char                       id[NGX_SMTP_QUEUE_ID_LEN];
    ngx_str_t                    payload;
    ngx_uint_t                   n;
    ngx_pool_t                  *pool;
    ngx_smtp_bus_call_t          call;
    ngx_smtp_control_request_t   request;

    memset(&request, 0, sizeof(request));
    memset(&call, 0, sizeof(call));

    request.op = NGX_SMTP_CONTROL_SHOW;
    request.limit = 100;
    request.id.data = id;
    request.id.len = ngx_smtp_message_id(&messages[2 * TEST_EACH - 1], id)
                     - id;

    pool = ngx_create_pool(4096, &shim_log);
    assert_int_equal(ngx_smtp_control_encode(&request, pool, &payload),
                     NGX_OK);

    n = bus_answered;

    bus_handler(bus_data, &call, &payload);
    usleep(NGX_SMTP_CONTROL_BUDGET + 1000);

    do {
        test_next();
    } while (shim_posted_run() && bus_answered == n);

    assert_int_equal(bus_answered, n + 1);
    assert_int_equal(answer.rows, 1);
    assert_false(answer.more);

    ngx_destroy_pool(pool);
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_list, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_filters, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_count, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_act, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_bounds, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_slow, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_full, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_late, test_setup,
                                        test_teardown),
    };

    return shim_run(tests);
}
