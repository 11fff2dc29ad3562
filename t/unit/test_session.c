
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The life of a session between a socket that is played here and commands that
 * are: what comes in pieces, what the socket does not take, who waits, and for
 * how long.  NOOP and the like are the real ones; MAIL waits for an answer,
 * DATA reads up to a ".", and waits at a "w".
 *
 * sources: server/ngx_smtp_session.c server/ngx_smtp_session_command.c
 * sources: server/ngx_smtp_session_input.c server/ngx_smtp_session_output.c
 * sources: protocol/ngx_smtp_command.c protocol/ngx_smtp_line.c
 * sources: protocol/ngx_smtp_reply.c core/ngx_smtp_turn.c
 * libs: -lssl -lcrypto
 */


#include "shim.h"

#include "ngx_smtp_core.h"
#include "ngx_smtp_drain.h"
#include "ngx_smtp_zone.h"
#include "ngx_smtp_session_private.h"

#include <string.h>


#define OK        "250 2.0.0 Ok\r\n"
#define GREETING  "220 mx ESMTP\r\n"
#define HELP      "214 2.0.0 See RFC 5321\r\n"

#define MINUTE    60000


static void test_pieces(void **state);
static void test_burst(void **state);
static void test_unread(void **state);
static void test_unread_time(void **state);
static void test_waiting(void **state);
static void test_command_time(void **state);
static void test_data_time(void **state);
static void test_slow(void **state);
static void test_quit(void **state);
static void test_starttls(void **state);
static void test_early(void **state);
static void test_turn(void **state);
static void test_closing(void **state);
static void test_no_memory(void **state);
static void test_start(const char *early);
static void test_stop(void);
static void test_data(void);
static void test_say(const char *text);
static void test_take(size_t n);
static void test_said(const char *text);
static ssize_t test_recv(ngx_connection_t *c, u_char *buf, size_t size);
static ssize_t test_send(ngx_connection_t *c, u_char *buf, size_t size);


ngx_module_t                  ngx_smtp_relay_module;
ngx_module_t                  ngx_stream_core_module;

static ngx_smtp_slot_t        slot;
ngx_smtp_slot_t              *ngx_smtp_slot = &slot;

static ngx_smtp_srv_conf_t    conf;
static ngx_stream_session_t   stream;
static ngx_connection_t       conn;
static ngx_event_t            rev, wev;
static struct sockaddr_in     sin_client;
static ngx_buf_t              early_buf;
static ngx_stream_core_main_conf_t  cmcf;
static void                  *ctx[1], *srv_conf[1], *main_conf[1] = { &cmcf };

static const char            *in;         /* in the socket */
static char                   out[262144];
static size_t                 out_len, room;
static ngx_uint_t             finalized, slow, sends, forgotten;


/* what nginx has, and the rest of the server */

ngx_int_t
ngx_handle_read_event(ngx_event_t *ev, ngx_uint_t flags)
{
    return NGX_OK;
}


ngx_int_t
ngx_handle_write_event(ngx_event_t *ev, size_t lowat)
{
    return NGX_OK;
}


in_port_t
ngx_inet_get_port(struct sockaddr *sa)
{
    return 25;
}


void
ngx_stream_finalize_session(ngx_stream_session_t *st, ngx_uint_t rc)
{
    if (rev.timer_set) {
        ngx_event_del_timer(&rev);
    }

    if (wev.timer_set) {
        ngx_event_del_timer(&wev);
    }

    finalized = rc;
}


void
ngx_stream_core_run_phases(ngx_stream_session_t *st)
{
    assert_int_equal(forgotten, 1);
    forgotten = 2;
}


ngx_uint_t
ngx_smtp_draining(void)
{
    return 0;
}


ngx_uint_t
ngx_smtp_session_over_limit(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    return 0;
}


ngx_uint_t
ngx_smtp_identity_trusted(ngx_smtp_session_t *s)
{
    return 0;
}


void
ngx_smtp_identity_settle(ngx_smtp_session_t *s)
{
}


void
ngx_smtp_session_forget(ngx_smtp_session_t *s)
{
    forgotten = 1;
}


void
ngx_smtp_session_auth_end(ngx_smtp_session_t *s)
{
}


ngx_uint_t
ngx_smtp_session_login_left(ngx_smtp_session_t *s)
{
    return 0;
}


void
ngx_smtp_session_end_transaction(ngx_smtp_session_t *s)
{
}


ngx_uint_t
ngx_smtp_session_too_slow(ngx_smtp_session_t *s, size_t n)
{
    return slow;
}


ngx_int_t
ngx_smtp_session_auth_line(ngx_smtp_session_t *s, ngx_str_t *line)
{
    return NGX_OK;
}


ngx_int_t
ngx_smtp_session_auth_answered(ngx_smtp_session_t *s)
{
    return NGX_OK;
}


ngx_int_t
ngx_smtp_session_data_answered(ngx_smtp_session_t *s)
{
    return NGX_OK;
}


void
ngx_smtp_session_rcpt_answered(ngx_smtp_session_t *s)
{
    ngx_smtp_session_reply(s, NGX_SMTP_REPLY_OK, NULL);
}


ngx_int_t
ngx_smtp_session_answer(ngx_smtp_session_t *s, ngx_uint_t verb, ngx_int_t rc)
{
    return NGX_OK;
}


ngx_int_t
ngx_smtp_command_helo(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    ngx_smtp_rules_accept(&s->rules, cmd->verb);
    ngx_smtp_session_reply(s, NGX_SMTP_REPLY_OK, NULL);

    return NGX_OK;
}


ngx_int_t
ngx_smtp_command_mail(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    s->awaited = NGX_SMTP_VERB_RCPT;
    s->waiting = 1;

    return NGX_AGAIN;
}


ngx_int_t
ngx_smtp_command_data(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    s->state = NGX_SMTP_STATE_DATA;
    ngx_smtp_session_reply(s, NGX_SMTP_REPLY_DATA_GO, NULL);

    return NGX_OK;
}


ngx_int_t
ngx_smtp_session_data(ngx_smtp_session_t *s, u_char **pos, u_char *last)
{
    u_char  *p;

    while (*pos < last) {
        p = *pos;
        *pos += 1;

        if (*p == 'w') {
            s->awaited = NGX_SMTP_VERB_DATA;
            s->waiting = 1;

            return NGX_AGAIN;
        }

        if (*p == '.') {
            s->state = NGX_SMTP_STATE_COMMAND;
            s->timed = 0;
            ngx_smtp_session_reply(s, NGX_SMTP_REPLY_OK, NULL);

            return NGX_OK;
        }
    }

    return NGX_AGAIN;
}


ngx_int_t
ngx_smtp_command_rcpt(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    return NGX_OK;
}


ngx_int_t
ngx_smtp_command_bdat(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    return NGX_OK;
}


ngx_int_t
ngx_smtp_command_auth(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    return NGX_OK;
}


ngx_int_t
ngx_smtp_command_xclient(ngx_smtp_session_t *s, ngx_smtp_command_t *cmd)
{
    return NGX_OK;
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_burst),
        cmocka_unit_test(test_unread),
        cmocka_unit_test(test_unread_time),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_command_time),
        cmocka_unit_test(test_data_time),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_quit),
        cmocka_unit_test(test_starttls),
        cmocka_unit_test(test_early),
        cmocka_unit_test(test_turn),
        cmocka_unit_test(test_closing),
        cmocka_unit_test(test_no_memory)
    };

    return shim_run(tests);
}


/* octet by octet, and what is left over stays the session's own */

static void
test_pieces(void **state)
{
    char                 piece[2];
    const char          *p;
    ngx_smtp_session_t  *s;

    test_start(NULL);
    test_said(GREETING);

    s = ctx[0];
    assert_null(s->input.kept);

    for (p = "NOOP\r\nHELP\r\nNO"; *p; p++) {
        piece[0] = *p;
        piece[1] = '\0';
        test_say(piece);
    }

    test_said(GREETING OK HELP);

    assert_non_null(s->input.kept);
    assert_int_equal(s->input.last - s->input.pos, 2);

    test_say("OP x\r\n");
    test_said(GREETING OK HELP OK);
    assert_null(s->input.kept);
    assert_ptr_equal(s->input.pos, s->input.last);

    test_stop();
}


/* replies to what came together go out together */

static void
test_burst(void **state)
{
    test_start(NULL);
    sends = 0;

    test_say("NOOP\r\nNOOP\r\nNOOP\r\nRS");
    assert_int_equal(sends, 1);

    test_say("ET\r\n");
    assert_int_equal(sends, 2);
    test_said(GREETING OK OK OK OK);

    test_stop();
}


/* while replies are left over nothing is read; none is lost or repeated */

static void
test_unread(void **state)
{
    ngx_uint_t           i;
    ngx_smtp_session_t  *s;

    test_start(NULL);

    s = ctx[0];

    test_take(sizeof(GREETING) - 1 + 20);

    test_say("NOOP\r\nNOOP\r\nNOOP\r\n");
    assert_non_null(s->output.kept);
    assert_true(wev.timer_set);

    in = "NOOP\r\nNOOP";
    rev.ready = 1;
    rev.handler(&rev);
    assert_int_equal(strlen(in), 10);

    for (i = 1; s->output.kept; i++) {
        assert_true(i < 20);
        test_take(room + 3);
    }

    assert_true(i > 5);
    assert_false(wev.timer_set);

    /* the rest was read without another event of the socket */

    assert_int_equal(strlen(in), 0);
    test_take(sizeof(out));
    test_said(GREETING OK OK OK OK);
    assert_int_equal(s->input.last - s->input.pos, 4);

    test_stop();
}


/* only taking replies gives a client more time to take them */

static void
test_unread_time(void **state)
{
    test_start(NULL);
    test_take(sizeof(GREETING) - 1);

    test_say("NOOP\r\nNOOP\r\n");

    shim_time_advance(MINUTE - 1);
    test_take(room);
    test_take(room + 1);

    shim_time_advance(MINUTE - 1);
    assert_int_equal(finalized, 0);

    test_take(room);
    shim_time_advance(2);
    assert_int_equal(finalized, NGX_STREAM_OK);
    assert_int_equal(shim_log_count("client takes no replies"), 1);

    test_stop();
}


/* what the client sends meanwhile waits, and its time does not run */

static void
test_waiting(void **state)
{
    ngx_smtp_session_t  *s;

    test_start(NULL);

    s = ctx[0];

    test_say("HELO me\r\nMAIL FROM:<>\r\nNOOP\r\n");
    assert_true(s->waiting);
    assert_false(conn.idle);
    test_said(GREETING OK);

    shim_time_advance(20 * MINUTE);
    assert_int_equal(finalized, 0);
    ngx_smtp_session_resume(s);
    (void) shim_posted_run();
    test_said(GREETING OK OK OK);
    assert_true(conn.idle);

    /* all of it begins now */

    shim_time_advance(5 * MINUTE - 400);
    assert_int_equal(finalized, 0);

    shim_time_advance(800);
    assert_int_equal(finalized, NGX_STREAM_OK);
    test_said(GREETING OK OK OK "421 4.4.2 Timed out\r\n");
    assert_int_equal(shim_log_count("client timed out"), 1);

    test_stop();
}


/* each command has its time; one that drips in does not prolong it */

static void
test_command_time(void **state)
{
    ngx_uint_t  i;
    ngx_msec_t  key;

    test_start(NULL);

    key = rev.timer.key;

    for (i = 0; i < 18; i++) {
        shim_time_advance(MINUTE);
        test_say("NOOP\r\n");
        assert_int_equal(finalized, 0);
        assert_true(rev.timer_set);

        if (i < 4) {

            /* a command costs no change of the tree */

            assert_int_equal(rev.timer.key, key);
        }
    }

    /* the timer fires once before its time here */

    for (i = 0; i < 4; i++) {
        shim_time_advance(MINUTE);
        test_say("N");
        assert_int_equal(finalized, 0);
    }

    shim_time_advance(MINUTE - 400);
    assert_int_equal(finalized, 0);

    shim_time_advance(800);
    assert_int_equal(finalized, NGX_STREAM_OK);

    test_stop();
}


/* a shorter time, each read prolongs it; then the command's again */

static void
test_data_time(void **state)
{
    ngx_uint_t           i;
    ngx_smtp_session_t  *s;

    test_start(NULL);

    s = ctx[0];

    test_data();

    for (i = 0; i < 5; i++) {
        shim_time_advance(3 * MINUTE - 400);
        assert_int_equal(finalized, 0);
        test_say("text");
    }

    /* the sink has its time, the client's does not run */

    test_say("w");
    assert_true(s->waiting);
    shim_time_advance(20 * MINUTE);
    assert_int_equal(finalized, 0);

    ngx_smtp_session_resume(s);
    (void) shim_posted_run();

    shim_time_advance(3 * MINUTE - 400);
    assert_int_equal(finalized, 0);

    test_say(".");

    shim_time_advance(5 * MINUTE - 400);
    assert_int_equal(finalized, 0);

    test_stop();

    /* it is not that of the command before */

    test_start(NULL);
    test_data();

    shim_time_advance(3 * MINUTE - 400);
    assert_int_equal(finalized, 0);

    shim_time_advance(800);
    assert_int_equal(finalized, NGX_STREAM_OK);

    test_stop();
}


static void
test_slow(void **state)
{
    test_start(NULL);

    slow = 1;
    test_say("NOOP\r\n");
    assert_int_equal(finalized, NGX_STREAM_OK);
    test_said(GREETING "421 4.4.2 Data comes too slowly\r\n");

    test_stop();
}


/* what is behind QUIT is dropped, its reply is not */

static void
test_quit(void **state)
{
    test_start(NULL);
    test_take(sizeof(GREETING) - 1 + 4);

    test_say("QUIT\r\nNOOP\r\n");
    assert_int_equal(finalized, 0);

    test_take(sizeof(out));
    assert_int_equal(finalized, NGX_STREAM_OK);
    test_said(GREETING "221 2.0.0 Bye\r\n");

    test_stop();

    test_start(NULL);
    in = NULL;
    rev.ready = 1;
    rev.handler(&rev);
    assert_int_equal(finalized, NGX_STREAM_OK);
    assert_int_equal(shim_log_count("client closed connection"), 1);

    test_stop();
}


/* nginx ends a session whose handshake fails: no login is left in it */

static void
test_starttls(void **state)
{
    test_start(NULL);
    ((ngx_smtp_session_t *) ctx[0])->rules.offer_starttls = 1;

    test_say("EHLO me\r\nSTARTTLS\r\nNOOP\r\n");
    assert_int_equal(forgotten, 2);
    test_said(GREETING OK "220 2.0.0 Ready to start TLS\r\n");

    test_stop();
}


/* what came before the session was there */

static void
test_early(void **state)
{
    test_start("NOOP\r\nNO");
    test_said(GREETING OK);

    test_say("OP\r\n");
    test_said(GREETING OK OK);

    test_stop();
}


/* an iteration that has done its share leaves the rest to the next */

static void
test_turn(void **state)
{
    ngx_smtp_session_t  *s;

    test_start(NULL);

    s = ctx[0];

    ngx_smtp_turn_spend(NGX_SMTP_TURN_SHARE);

    test_say("NOOP\r\n");
    test_said(GREETING);
    assert_non_null(s->turn.link.next);

    shim_time_advance(1);
    s->turn.handler(s->turn.data);
    test_said(GREETING OK);
    assert_null(s->turn.link.next);

    test_stop();
}


/* a worker that leaves serves what was sent, then says so */

static void
test_closing(void **state)
{
    test_start(NULL);

    ngx_exiting = 1;
    in = "NOOP\r\n";
    conn.close = 1;
    rev.handler(&rev);
    ngx_exiting = 0;

    assert_int_equal(finalized, NGX_STREAM_OK);
    test_said(GREETING OK "421 4.3.2 Service is being restarted");

    test_stop();
}


static void
test_no_memory(void **state)
{
    test_start(NULL);
    shim_alloc_fail_after(0);
    test_say("NO");
    shim_alloc_fail_after(-1);
    assert_int_equal(finalized, NGX_STREAM_OK);
    test_stop();

    test_start(NULL);
    test_take(sizeof(GREETING) - 1);
    shim_alloc_fail_after(0);
    test_say("NOOP\r\n");
    shim_alloc_fail_after(-1);
    assert_int_equal(finalized, NGX_STREAM_OK);
    test_stop();
}


static void
test_start(const char *early)
{
    ngx_memzero(&stream, sizeof(ngx_stream_session_t));
    ngx_memzero(&conn, sizeof(ngx_connection_t));
    ngx_memzero(&rev, sizeof(ngx_event_t));
    ngx_memzero(&wev, sizeof(ngx_event_t));
    ngx_memzero(&conf, sizeof(ngx_smtp_srv_conf_t));

    shim_log_reset();
    shim_time_advance(1000);

    ngx_str_set(&conf.hostname, "mx");
    conf.max_line_size = 512;
    conf.client_timeout = 5 * MINUTE;
    conf.data_timeout = 3 * MINUTE;
    conf.send_timeout = MINUTE;

    ctx[0] = NULL;
    srv_conf[0] = &conf;

    stream.connection = &conn;
    stream.ctx = ctx;
    stream.srv_conf = srv_conf;
    stream.main_conf = main_conf;

    sin_client.sin_family = AF_INET;

    conn.pool = ngx_create_pool(1024, &shim_log);
    conn.log = &shim_log;
    conn.data = &stream;
    conn.sockaddr = (struct sockaddr *) &sin_client;
    conn.read = &rev;
    conn.write = &wev;
    conn.recv = test_recv;
    conn.send = test_send;

    rev.data = &conn;
    wev.data = &conn;
    rev.log = &shim_log;
    wev.log = &shim_log;
    rev.index = NGX_INVALID_INDEX;
    wev.index = NGX_INVALID_INDEX;

    if (early) {
        early_buf.pos = (u_char *) early;
        early_buf.last = early_buf.pos + strlen(early);
        conn.buffer = &early_buf;
    }

    in = "";
    out_len = 0;
    room = sizeof(out);
    finalized = 0;
    slow = 0;
    forgotten = 0;

    ngx_smtp_server_handler(&stream);
}


static void
test_stop(void)
{
    if (finalized == 0) {
        conn.close = 1;
        conn.error = 1;
        rev.handler(&rev);
        assert_int_equal(finalized, NGX_STREAM_OK);
    }

    ngx_destroy_pool(conn.pool);

    assert_ptr_equal(ngx_event_timer_rbtree.root,
                     ngx_event_timer_rbtree.sentinel);
}


static void
test_data(void)
{
    ngx_smtp_session_t  *s;

    s = ctx[0];
    s->rules.helo = 1;
    s->rules.mail = 1;
    s->rules.rcpts = 1;

    test_say("DATA\r\n");
    assert_int_equal(s->state, NGX_SMTP_STATE_DATA);
}


/* the client sends */

static void
test_say(const char *text)
{
    in = text;
    rev.ready = 1;
    rev.handler(&rev);
}


/* the client has taken n octets in all, the socket has room again */

static void
test_take(size_t n)
{
    room = n;
    wev.ready = 1;
    wev.handler(&wev);
}


/* what the client got begins with text */

static void
test_said(const char *text)
{
    out[out_len] = '\0';

    if (strncmp(out, text, strlen(text)) != 0) {
        fail_msg("\"%s\" instead of \"%s\"", out, text);
    }
}


static ssize_t
test_recv(ngx_connection_t *c, u_char *buf, size_t size)
{
    size_t  n;

    if (in == NULL) {
        return 0;
    }

    n = ngx_min(strlen(in), size);

    if (n == 0) {
        rev.ready = 0;
        return NGX_AGAIN;
    }

    ngx_memcpy(buf, in, n);
    in += n;

    return n;
}


static ssize_t
test_send(ngx_connection_t *c, u_char *buf, size_t size)
{
    size_t  n;

    n = ngx_min(size, room - out_len);

    if (n == 0) {
        wev.ready = 0;
        return NGX_AGAIN;
    }

    ngx_memcpy(out + out_len, buf, n);
    out_len += n;
    sends++;

    return n;
}
