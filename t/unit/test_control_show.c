
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A message shown alone: what came from outside is JSON all the same, and
 * however much there is of it, the answer fits into one of the worker bus and
 * tells what is missing.
 *
 * sources: relay/ngx_smtp_control_show.c relay/ngx_smtp_control_history.c
 * sources: relay/ngx_smtp_control_request.c net/ngx_smtp_bus_codec.c
 * sources: core/ngx_smtp_json.c protocol/ngx_smtp_address.c t/unit/json.c
 */


#include "shim.h"

#include <ngx_stream.h>

#include "ngx_smtp_control_private.h"
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>


#define TEST_RCPTS    65535     /* the most that smtp_max_recipients allows */
#define TEST_REPORTS  40
#define TEST_EVENTS   6
#define TEST_RESULTS  80
#define TEST_TEXT     512


static void test_scene(ngx_uint_t nrcpts, ngx_str_t *text);
static ngx_uint_t test_count(const char *what);
static void test_balanced(void);
static json_t *test_parse(void);
static int test_end(void **state);
static void test_hostile(void **state);
static void test_usual(void **state);
static void test_huge(void **state);


static ngx_pool_t                *pool;
static ngx_smtp_relay_t           relay;
static ngx_smtp_route_t           route;
static ngx_smtp_message_t         message;
static ngx_smtp_reader_t          reader;
static ngx_smtp_history_t         history;
static ngx_smtp_history_event_t   events[TEST_EVENTS];
static ngx_smtp_report_t          reports[TEST_REPORTS];
static ngx_smtp_json_t            j;
static ngx_str_t                  test_text;
static ngx_uint_t                 slices;


/* what lies below */

ngx_smtp_route_t *
ngx_smtp_route_home(ngx_smtp_message_t *m)
{
    return &route;
}


u_char *
ngx_smtp_message_id(ngx_smtp_message_t *m, u_char *buf)
{
    return ngx_cpymem(buf, "01jd8k3v9q2m7x4t5b6c-1", 22);
}


void
ngx_smtp_message_queue(ngx_smtp_message_t *m, ngx_str_t *queue, ngx_str_t *hop)
{
    *queue = shim_str("out");
    ngx_str_null(hop);
}


ngx_int_t
ngx_smtp_message_error(ngx_smtp_message_t *m, ngx_str_t *text)
{
    *text = test_text;
    text->len = ngx_min(text->len, 250);

    return NGX_OK;
}


ngx_uint_t
ngx_smtp_message_final(ngx_smtp_message_t *m, ngx_uint_t i)
{
    return i == 0;
}


void
ngx_smtp_destination(ngx_str_t *destination, ngx_str_t *queue, ngx_str_t *hop)
{
    *queue = *destination;
    ngx_str_null(hop);
}


/* the same text over and over: a header without end */

ngx_int_t
ngx_smtp_reader_next(ngx_smtp_reader_t *r, ngx_str_t *out)
{
    if (slices == 0) {
        return NGX_DONE;
    }

    slices--;
    *out = test_text;

    return NGX_OK;
}


/* A message of so many recipients, in all of whose strings is this text. */

static void
test_scene(ngx_uint_t nrcpts, ngx_str_t *text)
{
    ngx_uint_t          i;
    ngx_smtp_rcpt_t    *rcpts;
    ngx_smtp_result_t  *results;

    test_text = *text;
    slices = 100000;

    pool = ngx_create_pool(4096, &shim_log);

    memset(&message, 0, sizeof(message));
    memset(&reader, 0, sizeof(reader));
    memset(&history, 0, sizeof(history));
    memset(events, 0, sizeof(events));
    memset(reports, 0, sizeof(reports));

    relay.log = &shim_log;

    ngx_queue_init(&message.reports);

    message.nrcpts = nrcpts;
    message.npending = nrcpts - 1;
    message.attempts = TEST_EVENTS;
    message.fresh = &message;

    reader.message = &message;
    reader.envelope.sender = *text;
    reader.envelope.envid = *text;
    reader.meta.helo = *text;
    reader.meta.login = *text;

    assert_int_equal(ngx_array_init(&reader.envelope.rcpts, pool, nrcpts,
                                    sizeof(ngx_smtp_rcpt_t)), NGX_OK);
    assert_int_equal(ngx_array_init(&reader.meta.vars, pool, 1,
                                    sizeof(ngx_keyval_t)), NGX_OK);

    rcpts = ngx_array_push_n(&reader.envelope.rcpts, nrcpts);
    results = ngx_pcalloc(pool, nrcpts * sizeof(ngx_smtp_result_t));

    memset(rcpts, 0, nrcpts * sizeof(ngx_smtp_rcpt_t));

    for (i = 0; i < nrcpts; i++) {
        rcpts[i].mailbox = *text;
        rcpts[i].orcpt = *text;

        results[i].rcpt = i;
        results[i].status = NGX_SMTP_RESULT_DEFERRED;
        results[i].code = 450 + i % 2;
        results[i].text = *text;
    }

    for (i = 0; i < TEST_REPORTS; i++) {
        reports[i].kind = NGX_SMTP_REPORT_FAILURE;
        reports[i].peer = *text;
        reports[i].results = results;
        reports[i].nresults = nrcpts;
        ngx_queue_insert_tail(&message.reports, &reports[i].link);
    }

    /* as much as a history may have */

    for (i = 0; i < TEST_EVENTS; i++) {
        events[i].next = (i + 1 < TEST_EVENTS) ? &events[i + 1] : NULL;
        events[i].event.type = NGX_SMTP_LOG_DEFERRED;
        events[i].event.attempts = i + 1;
        events[i].event.peer = *text;
        events[i].event.results = results;
        events[i].event.nresults = ngx_min(nrcpts, TEST_RESULTS);
    }

    history.first = events;
    history.whole = 1;

    ngx_smtp_json_init(&j, &shim_log);
    ngx_smtp_control_all(&j, &relay, &message, &reader, &history, ngx_time());

    assert_false(j.failed);
    test_balanced();
}


static int
test_end(void **state)
{
    ngx_smtp_json_free(&j);
    ngx_destroy_pool(pool);

    return 0;
}


static ngx_uint_t
test_count(const char *what)
{
    u_char      *p;
    ngx_uint_t   n;

    n = 0;

    for (p = j.start; /* void */ ; p++) {
        p = memmem(p, j.pos - p, what, strlen(what));

        if (p == NULL) {
            return n;
        }

        n++;
    }
}


/* one value, whatever is in its strings */

static void
test_balanced(void)
{
    u_char      *p;
    ngx_int_t    depth;
    ngx_uint_t   string;

    depth = 0;
    string = 0;

    for (p = j.start; p < j.pos; p++) {

        assert_true(*p >= 0x20 && *p != 0x7f);

        if (*p == '"') {
            string = !string;

        } else if (string) {
            p += (*p == '\\');

        } else if (*p == '{' || *p == '[') {
            depth++;

        } else if (*p == '}' || *p == ']') {
            depth--;
            assert_true(depth > 0 || p == j.pos - 1);
        }
    }

    assert_int_equal(depth, 0);
    assert_false(string);
}


static json_t *
test_parse(void)
{
    int      fd;
    char     path[64];
    json_t  *js;

    fd = memfd_create("answer", 0);

    assert_true(fd != -1);
    assert_int_equal(write(fd, j.start, j.pos - j.start), j.pos - j.start);

    sprintf(path, "/proc/self/fd/%d", fd);
    js = json_load(path);

    (void) close(fd);

    return js;
}


/* each text comes out as it is, what is not UTF-8 as if it were ISO 8859-1 */

static void
test_hostile(void **state)
{
    json_t     *js, *rcpt;
    size_t      i;
    ngx_str_t   text, *s;

    static const struct {
        const char  *in;
        const char  *out;
    } texts[] = {
        { "\"quoted\\ \"@x.test", "\"quoted\\ \"@x.test" },
        { "\x1b]0;title\x07\x1b[2J", "\x1b]0;title\x07\x1b[2J" },
        { "\x7f\x01\t", "\x7f\x01\t" },
        { "caf\xc3\xa9@x.test", "caf\xc3\xa9@x.test" },
        { "caf\xe9@x.test", "caf\xc3\xa9@x.test" },
        { "\xe2\x80\xa8\xe2\x80\xa9", "\xe2\x80\xa8\xe2\x80\xa9" },
        { "\xc2\x9b" "2J", "\xc2\x9b" "2J" },
        { "\x9b" "2J", "\xc2\x9b" "2J" },
        { "\xed\xa0\x80", "\xc3\xad\xc2\xa0\xc2\x80" },
        { "\xc3", "\xc3\x83" },
        { "caf\xc3\xa9 caf\xe9 \xe2\x82",
          "caf\xc3\xa9 caf\xc3\xa9 \xc3\xa2\xc2\x82" },
        { "</script>", "</script>" }
    };

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {

        text = shim_str(texts[i].in);
        test_scene(2, &text);

        js = test_parse();
        assert_non_null(js);

        rcpt = json_get(js, "recipients")->child;
        assert_string_equal(json_str(rcpt, "address")->data, texts[i].out);
        assert_string_equal(json_str(rcpt, "orcpt")->data, texts[i].out);

        s = json_str(js, "helo");
        assert_string_equal(s->data, texts[i].out);
        s = json_str(js, "error");
        assert_string_equal(s->data, texts[i].out);

        json_free(js);
        test_end(state);
    }
}


static void
test_usual(void **state)
{
    ngx_str_t  text;

    text = shim_str("somebody.or.other@department.example.com");

    test_scene(1000, &text);

    assert_int_equal(test_count("\"address\":"), 1000);
    assert_int_equal(test_count("\"more_recipients\":"), 0);
    assert_int_equal(test_count("\"final\":true"), 1);
    assert_true(ngx_smtp_json_size(&j) < NGX_SMTP_BUS_ANSWER_MAX - 4096);

    test_end(state);
}


static void
test_huge(void **state)
{
    u_char      buf[TEST_TEXT];
    ngx_str_t   text;
    ngx_uint_t  i, n;

    static const u_char  chars[] = { 'a', '"', 0x01, 0xe9 };

    text.data = buf;
    text.len = sizeof(buf);

    for (i = 0; i < sizeof(chars); i++) {

        memset(buf, chars[i], sizeof(buf));
        test_scene(TEST_RCPTS, &text);

        /* tag and key of the row, what the worker says besides */

        if (ngx_smtp_json_size(&j) > NGX_SMTP_BUS_ANSWER_MAX - 4096) {
            fail_msg("%02x: %zu bytes", chars[i], ngx_smtp_json_size(&j));
        }

        n = test_count("\"address\":");

        assert_true(n > 100 && n < TEST_RCPTS);
        assert_int_equal(test_count("\"more_recipients\":"), 1);
        assert_int_equal(test_count("\"more_reports\":"), 1);
        assert_int_equal(test_count("\"event\":"), TEST_EVENTS);

        test_end(state);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_usual),
        cmocka_unit_test(test_huge),
    };

    return shim_run(tests);
}
