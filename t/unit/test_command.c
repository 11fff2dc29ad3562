
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Verbs and their arguments by table; the session rules against a model that
 * has no flags: it looks at the history of the session, as RFC 5321 section
 * 4.1.4 tells it, for all sequences of commands up to a length.
 *
 * sources: protocol/ngx_smtp_command.c protocol/ngx_smtp_reply.c
 * sources: protocol/ngx_smtp_line.c t/unit/json.c
 */


#include "shim.h"

#include <string.h>

#include "json.h"
#include "ngx_smtp_command.h"
#include "ngx_smtp_line.h"


#define MODEL_DEPTH  8


/* what a client does, and whether the server carries it out */
typedef enum {
    EV_EHLO = 0,
    EV_HELO,
    EV_MAIL,
    EV_RCPT,
    EV_RCPT_REFUSED,
    EV_DATA,                 /* and the message; any final reply */
    EV_BDAT,
    EV_BDAT_LAST,
    EV_BDAT_FAILED,
    EV_RSET,
    EV_STARTTLS,
    EV_AUTH,
    EV_NOOP,
    EV_LAST
} test_event_e;


typedef struct {
    const char   *line;
    ngx_uint_t    verb;
    ngx_int_t     rc;
    const char   *arg;
} test_command_t;


typedef struct {
    const char   *arg;
    ngx_int_t     rc;
    off_t         size;
    ngx_uint_t    last;
} test_bdat_t;


typedef struct {
    const char   *arg;
    ngx_int_t     rc;
    const char   *mech;
    const char   *initial;   /* NULL: none */
} test_auth_t;


static void test_parse(void **state);
static void test_testdata(void **state);
static void test_names(void **state);
static void test_helo(void **state);
static void test_bdat(void **state);
static void test_auth(void **state);
static void test_rules_table(void **state);
static void test_rules_model(void **state);
static void test_model_run(ngx_smtp_rules_t *r, ngx_uint_t *history,
    ngx_uint_t n);
static void test_model_apply(ngx_smtp_rules_t *r, ngx_uint_t event);
static ngx_uint_t test_model_allows(ngx_smtp_rules_t *r, ngx_uint_t *history,
    ngx_uint_t n, ngx_uint_t event);


static ngx_uint_t  test_event_verb[] = {
    NGX_SMTP_VERB_EHLO, NGX_SMTP_VERB_HELO, NGX_SMTP_VERB_MAIL,
    NGX_SMTP_VERB_RCPT, NGX_SMTP_VERB_RCPT, NGX_SMTP_VERB_DATA,
    NGX_SMTP_VERB_BDAT, NGX_SMTP_VERB_BDAT, NGX_SMTP_VERB_BDAT,
    NGX_SMTP_VERB_RSET, NGX_SMTP_VERB_STARTTLS, NGX_SMTP_VERB_AUTH,
    NGX_SMTP_VERB_NOOP
};

static ngx_uint_t  test_model_runs;


static test_command_t  test_commands[] = {
    { "EHLO example.com", NGX_SMTP_VERB_EHLO, NGX_OK, "example.com" },
    { "ehlo example.com", NGX_SMTP_VERB_EHLO, NGX_OK, "example.com" },
    { "eHLo   x \t ", NGX_SMTP_VERB_EHLO, NGX_OK, "x" },
    { "EHLO", NGX_SMTP_VERB_EHLO, NGX_SMTP_REPLY_ARG_MISSING, "" },
    { "EHLO ", NGX_SMTP_VERB_EHLO, NGX_SMTP_REPLY_ARG_MISSING, "" },
    { "HELO a", NGX_SMTP_VERB_HELO, NGX_OK, "a" },
    { "MAIL FROM:<a@b>", NGX_SMTP_VERB_MAIL, NGX_OK, "FROM:<a@b>" },
    { "MAIL", NGX_SMTP_VERB_MAIL, NGX_SMTP_REPLY_ARG_MISSING, "" },
    { "MAIL\tFROM:<a@b>", NGX_SMTP_VERB_MAIL, NGX_OK, "FROM:<a@b>" },
    { "MAILFROM:<a@b>", NGX_SMTP_VERB_UNKNOWN, NGX_SMTP_REPLY_UNKNOWN, "" },
    { "RCPT TO:<a@b>", NGX_SMTP_VERB_RCPT, NGX_OK, "TO:<a@b>" },
    { "DATA", NGX_SMTP_VERB_DATA, NGX_OK, "" },
    { "DATA ", NGX_SMTP_VERB_DATA, NGX_OK, "" },
    { "DATA x", NGX_SMTP_VERB_DATA, NGX_SMTP_REPLY_ARG_FORBIDDEN, "x" },
    { "BDAT 1 LAST", NGX_SMTP_VERB_BDAT, NGX_OK, "1 LAST" },
    { "BDAT", NGX_SMTP_VERB_BDAT, NGX_SMTP_REPLY_ARG_MISSING, "" },
    { "RSET", NGX_SMTP_VERB_RSET, NGX_OK, "" },
    { "RSET now", NGX_SMTP_VERB_RSET, NGX_SMTP_REPLY_ARG_FORBIDDEN, "now" },
    { "NOOP", NGX_SMTP_VERB_NOOP, NGX_OK, "" },
    { "NOOP anything", NGX_SMTP_VERB_NOOP, NGX_OK, "anything" },
    { "VRFY", NGX_SMTP_VERB_VRFY, NGX_SMTP_REPLY_ARG_MISSING, "" },
    { "VRFY joe", NGX_SMTP_VERB_VRFY, NGX_OK, "joe" },
    { "EXPN list", NGX_SMTP_VERB_EXPN, NGX_OK, "list" },
    { "HELP", NGX_SMTP_VERB_HELP, NGX_OK, "" },
    { "HELP MAIL", NGX_SMTP_VERB_HELP, NGX_OK, "MAIL" },
    { "QUIT", NGX_SMTP_VERB_QUIT, NGX_OK, "" },
    { "QUIT x", NGX_SMTP_VERB_QUIT, NGX_SMTP_REPLY_ARG_FORBIDDEN, "x" },
    { "STARTTLS", NGX_SMTP_VERB_STARTTLS, NGX_OK, "" },
    { "STARTTLS x", NGX_SMTP_VERB_STARTTLS, NGX_SMTP_REPLY_ARG_FORBIDDEN,
      "x" },
    { "AUTH PLAIN =", NGX_SMTP_VERB_AUTH, NGX_OK, "PLAIN =" },
    { "AUTH", NGX_SMTP_VERB_AUTH, NGX_SMTP_REPLY_ARG_MISSING, "" },
    { "XCLIENT ADDR=1.2.3.4", NGX_SMTP_VERB_XCLIENT, NGX_OK,
      "ADDR=1.2.3.4" },
    { "", NGX_SMTP_VERB_UNKNOWN, NGX_SMTP_REPLY_UNKNOWN, "" },
    { " ", NGX_SMTP_VERB_UNKNOWN, NGX_SMTP_REPLY_UNKNOWN, "" },
    { " NOOP", NGX_SMTP_VERB_UNKNOWN, NGX_SMTP_REPLY_UNKNOWN, "NOOP" },
    { "NOO", NGX_SMTP_VERB_UNKNOWN, NGX_SMTP_REPLY_UNKNOWN, "" },
    { "NOOPS", NGX_SMTP_VERB_UNKNOWN, NGX_SMTP_REPLY_UNKNOWN, "" },
    { "unknown", NGX_SMTP_VERB_UNKNOWN, NGX_SMTP_REPLY_UNKNOWN, "" },
    { "GET / HTTP/1.1", NGX_SMTP_VERB_UNKNOWN, NGX_SMTP_REPLY_UNKNOWN,
      "/ HTTP/1.1" },
    { "B52", NGX_SMTP_VERB_UNKNOWN, NGX_SMTP_REPLY_UNKNOWN, "" },
    { "\xc3\xa4 x", NGX_SMTP_VERB_UNKNOWN, NGX_SMTP_REPLY_UNKNOWN, "x" }
};


static test_bdat_t  test_bdats[] = {
    { "0", NGX_OK, 0, 0 },
    { "0 LAST", NGX_OK, 0, 1 },
    { "1 last", NGX_OK, 1, 1 },
    { "86   LaSt", NGX_OK, 86, 1 },
    { "007", NGX_OK, 7, 0 },
    { "2147483647", NGX_OK, 2147483647LL, 0 },
    { "2147483648", NGX_OK, 2147483648LL, 0 },
    { "4294967296 LAST", NGX_OK, 4294967296LL, 1 },
    { "9223372036854775807", NGX_OK, NGX_MAX_OFF_T_VALUE, 0 },
    { "9223372036854775808", NGX_SMTP_REPLY_TOO_LARGE, 0, 0 },
    { "18446744073709551616", NGX_SMTP_REPLY_TOO_LARGE, 0, 0 },
    { "18446744073709551617 LAST", NGX_SMTP_REPLY_TOO_LARGE, 0, 1 },
    { "99999999999999999999999999999999", NGX_SMTP_REPLY_TOO_LARGE, 0, 0 },
    { "", NGX_SMTP_REPLY_SYNTAX, 0, 0 },
    { "-1", NGX_SMTP_REPLY_SYNTAX, 0, 0 },
    { "+1", NGX_SMTP_REPLY_SYNTAX, 0, 0 },
    { "0x10", NGX_SMTP_REPLY_SYNTAX, 0, 0 },
    { "1.5", NGX_SMTP_REPLY_SYNTAX, 0, 0 },
    { "LAST", NGX_SMTP_REPLY_SYNTAX, 0, 0 },
    { "1LAST", NGX_SMTP_REPLY_SYNTAX, 0, 0 },
    { "1 LASTS", NGX_SMTP_REPLY_SYNTAX, 0, 0 },
    { "1 LAST LAST", NGX_SMTP_REPLY_SYNTAX, 0, 0 },
    { "1 2", NGX_SMTP_REPLY_SYNTAX, 0, 0 },
    { "1\tLAST", NGX_SMTP_REPLY_SYNTAX, 0, 0 }
};


static test_auth_t  test_auths[] = {
    { "PLAIN", NGX_OK, "PLAIN", NULL },
    { "plain AGEAYg==", NGX_OK, "plain", "AGEAYg==" },
    { "LOGIN =", NGX_OK, "LOGIN", "" },
    { "SCRAM-SHA-256 biws", NGX_OK, "SCRAM-SHA-256", "biws" },
    { "X  a", NGX_OK, "X", "a" },
    { "ABCDEFGHIJKLMNOPQRST", NGX_OK, "ABCDEFGHIJKLMNOPQRST", NULL },
    { "ABCDEFGHIJKLMNOPQRSTU", NGX_SMTP_REPLY_SYNTAX, NULL, NULL },
    { "PLAIN a b", NGX_SMTP_REPLY_SYNTAX, NULL, NULL },
    { "PLAIN a\tb", NGX_SMTP_REPLY_SYNTAX, NULL, NULL },
    { "PLAIN \x80", NGX_SMTP_REPLY_SYNTAX, NULL, NULL },
    { "PL.AIN", NGX_SMTP_REPLY_SYNTAX, NULL, NULL },
    { "PLAIN\tx", NGX_SMTP_REPLY_SYNTAX, NULL, NULL },
    { "", NGX_SMTP_REPLY_SYNTAX, NULL, NULL }
};


static void
test_parse(void **state)
{
    ngx_int_t            rc;
    ngx_str_t            line;
    test_command_t      *t;
    ngx_smtp_command_t   cmd;

    for (t = test_commands;
         t < test_commands + sizeof(test_commands) / sizeof(test_commands[0]);
         t++)
    {
        line = shim_str(t->line);

        rc = ngx_smtp_command_parse(&line, &cmd);

        if (rc != t->rc || cmd.verb != t->verb
            || cmd.arg.len != strlen(t->arg)
            || memcmp(cmd.arg.data, t->arg, cmd.arg.len) != 0)
        {
            fail_msg("\"%s\": rc %ld, verb %lu", t->line, (long) rc,
                     (unsigned long) cmd.verb);
        }
    }
}


/*
 * Differences: "EHLO  example.com" with two spaces is good here.  Limits are
 * of the whole line here, so rows about those of parameters do not apply.
 */

static void
test_testdata(void **state)
{
    json_t              *js, *tables, *t;
    u_char              *pos, *last;
    ngx_int_t            rc;
    ngx_str_t           *s, line;
    ngx_uint_t           n;
    ngx_smtp_line_t      ln;
    ngx_smtp_command_t   cmd;

    js = json_load(TESTDATA "smtp-syntax/dovecot-smtp-command-parser.json");

    if (js == NULL) {
        print_message("# no test data in ../shared/testdata\n");
        skip();
    }

    tables = json_get(js, "tables");
    n = 0;

    for (t = json_get(tables, "valid_command_parse_tests")->child; t;
         t = t->next)
    {
        s = json_str(t, "command");
        pos = s->data;
        last = pos + s->len;

        ngx_smtp_line_init(&ln, NGX_SMTP_COMMAND_LINE_MAX, 0);

        assert_int_equal(ngx_smtp_line_next(&ln, &pos, last, &line), NGX_OK);
        assert_int_equal(ln.bad, 0);
        assert_ptr_equal(pos, last);
        assert_int_equal(ngx_smtp_command_parse(&line, &cmd), NGX_OK);

        s = json_str(t, "cmd_name");
        assert_int_equal(cmd.name.len, s->len);
        assert_memory_equal(cmd.name.data, s->data, s->len);

        s = json_str(t, "cmd_params");
        assert_int_equal(cmd.arg.len, s->len);
        assert_memory_equal(cmd.arg.data, s->data, s->len);
        n++;
    }

    assert_true(n >= 4);

    for (t = json_get(tables, "invalid_command_parse_tests")->child; t;
         t = t->next)
    {
        s = json_str(t, "command");

        if (s == NULL
            || json_get(t, "limits")
            || strncmp((char *) s->data, "EHLO  ", 6) == 0)
        {
            continue;
        }

        pos = s->data;

        ngx_smtp_line_init(&ln, NGX_SMTP_COMMAND_LINE_MAX, 0);

        assert_int_equal(ngx_smtp_line_next(&ln, &pos, pos + s->len, &line),
                         NGX_OK);

        rc = ngx_smtp_command_parse(&line, &cmd);

        assert_true(ln.bad || rc != NGX_OK);
    }

    json_free(js);
}


static void
test_names(void **state)
{
    ngx_str_t            name;
    ngx_uint_t           verb;
    ngx_smtp_command_t   cmd;

    for (verb = 1; verb < NGX_SMTP_VERB_LAST; verb++) {
        name = *ngx_smtp_verb_name(verb);

        (void) ngx_smtp_command_parse(&name, &cmd);

        assert_int_equal(cmd.verb, verb);
    }

    name = *ngx_smtp_verb_name(NGX_SMTP_VERB_LAST + 5);
    assert_str_equal(&name, "unknown");
}


static void
test_helo(void **state)
{
    u_char       buf[300];
    ngx_str_t    s;
    ngx_uint_t   i;

    static const char  *good[] = {
        "example.com", "a", "localhost", "my_host.local", "-x-", "1.2.3.4",
        "host.", "::1", "[1.2.3.4]", "[IPv6:::1]", "[anything@here]",
        "DESKTOP-ABC123"
    };

    static const char  *bad[] = {
        "", "a b", "a\tb", "a\rb", "a\nb", "a\x7f", "a\x80", "\xc3\xa4.de",
        "<a>", "a@b", "[", "[]", "[a", "a]", "[a]b", "[a b]", "[a\\]",
        "[[a]]", "[\x01]", "(x)", "a;b", "a\"b"
    };

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        s = shim_str(good[i]);

        if (ngx_smtp_helo_check(&s) != NGX_OK) {
            fail_msg("\"%s\" was refused", good[i]);
        }
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        s = shim_str(bad[i]);

        if (ngx_smtp_helo_check(&s) != NGX_SMTP_REPLY_BAD_HELO) {
            fail_msg("\"%s\" was accepted", bad[i]);
        }
    }

    memset(buf, 'a', sizeof(buf));
    s.data = buf;

    s.len = 255;
    assert_int_equal(ngx_smtp_helo_check(&s), NGX_OK);

    s.len = 256;
    assert_int_equal(ngx_smtp_helo_check(&s), NGX_SMTP_REPLY_BAD_HELO);

    s.data = (u_char *) "a\0b";
    s.len = 3;
    assert_int_equal(ngx_smtp_helo_check(&s), NGX_SMTP_REPLY_BAD_HELO);
}


static void
test_bdat(void **state)
{
    off_t         size;
    ngx_int_t     rc;
    ngx_str_t     arg;
    ngx_uint_t    last;
    test_bdat_t  *t;

    for (t = test_bdats;
         t < test_bdats + sizeof(test_bdats) / sizeof(test_bdats[0]);
         t++)
    {
        arg = shim_str(t->arg);

        rc = ngx_smtp_bdat_parse(&arg, &size, &last);

        if (rc != t->rc || size != t->size || last != t->last) {
            fail_msg("\"%s\": rc %ld, size %lld, last %lu", t->arg, (long) rc,
                     (long long) size, (unsigned long) last);
        }
    }
}


static void
test_auth(void **state)
{
    ngx_int_t     rc;
    ngx_str_t     arg, mech, initial;
    test_auth_t  *t;

    for (t = test_auths;
         t < test_auths + sizeof(test_auths) / sizeof(test_auths[0]);
         t++)
    {
        arg = shim_str(t->arg);

        rc = ngx_smtp_auth_parse(&arg, &mech, &initial);

        if (rc != t->rc) {
            fail_msg("\"%s\": rc %ld", t->arg, (long) rc);
        }

        if (rc != NGX_OK) {
            continue;
        }

        assert_int_equal(mech.len, strlen(t->mech));
        assert_memory_equal(mech.data, t->mech, mech.len);

        if (t->initial == NULL) {
            assert_null(initial.data);
            assert_int_equal(initial.len, 0);
            continue;
        }

        assert_non_null(initial.data);
        assert_int_equal(initial.len, strlen(t->initial));
        assert_memory_equal(initial.data, t->initial, initial.len);
    }
}


/* what the model below does not tell apart: which reply refuses */

static void
test_rules_table(void **state)
{
    ngx_smtp_rules_t  r;

#define check(verb)  ngx_smtp_rules_check(&r, NGX_SMTP_VERB_##verb)
#define accept(verb)  ngx_smtp_rules_accept(&r, NGX_SMTP_VERB_##verb)
#define is(verb, reply)                                                       \
    assert_int_equal(check(verb), NGX_SMTP_REPLY_##reply)
#define ok(verb)  assert_int_equal(check(verb), NGX_OK)

    memset(&r, 0, sizeof(r));

    is(UNKNOWN, UNKNOWN);
    is(LAST, UNKNOWN);
    is(MAIL, NEED_HELO);
    is(RCPT, NEED_HELO);
    is(DATA, NEED_HELO);
    is(BDAT, NEED_HELO);
    is(STARTTLS, NOT_IMPLEMENTED);
    is(AUTH, NOT_IMPLEMENTED);
    is(XCLIENT, NOT_IMPLEMENTED);
    is(EXPN, NOT_IMPLEMENTED);
    ok(RSET);
    ok(NOOP);
    ok(VRFY);
    ok(HELP);
    ok(QUIT);

    r.offer_starttls = 1;
    r.need_starttls = 1;
    r.offer_auth = 1;
    r.need_auth = 1;

    accept(HELO);
    is(STARTTLS, BAD_SEQUENCE);

    accept(EHLO);
    is(MAIL, NEED_STARTTLS);
    is(AUTH, NEED_STARTTLS);
    is(RSET, NEED_STARTTLS);
    is(VRFY, NEED_STARTTLS);
    ok(NOOP);
    ok(QUIT);
    ok(EHLO);
    ok(STARTTLS);

    r.need_starttls = 0;
    is(AUTH, AUTH_ENCRYPTION);
    r.plaintext_auth = 1;
    ok(AUTH);
    accept(AUTH);
    is(AUTH, AUTH_ACTIVE);
    accept(STARTTLS);

    assert_int_equal(r.tls, 1);
    assert_int_equal(r.auth, 0);
    assert_int_equal(r.helo, 0);

    is(MAIL, NEED_HELO);
    accept(EHLO);
    is(STARTTLS, TLS_ACTIVE);
    is(MAIL, NEED_AUTH);
    ok(AUTH);
    accept(AUTH);
    ok(MAIL);
    is(RCPT, NEED_MAIL);
    is(DATA, NEED_MAIL);
    is(BDAT, NEED_MAIL);
    accept(MAIL);
    is(MAIL, NESTED_MAIL);
    is(AUTH, BAD_SEQUENCE);
    is(STARTTLS, BAD_SEQUENCE);
    is(DATA, NO_RCPT);
    is(BDAT, NO_RCPT);
    ok(RCPT);
    accept(RCPT);
    accept(RCPT);
    assert_int_equal(r.rcpts, 2);
    ok(DATA);
    ok(BDAT);
    accept(BDAT);
    is(DATA, BAD_SEQUENCE);
    is(RCPT, BAD_SEQUENCE);
    is(MAIL, NESTED_MAIL);
    ok(BDAT);
    ngx_smtp_rules_bdat_failed(&r);
    is(BDAT, BAD_SEQUENCE);
    is(MAIL, BAD_SEQUENCE);
    is(AUTH, BAD_SEQUENCE);
    is(STARTTLS, BAD_SEQUENCE);
    ok(RSET);
    ok(NOOP);
    ok(EHLO);
    ok(QUIT);
    accept(RSET);
    ok(MAIL);
    assert_int_equal(r.auth, 1);

    r.offer_xclient = 1;
    ok(XCLIENT);
    accept(XCLIENT);
    assert_int_equal(r.helo, 0);
    assert_int_equal(r.auth, 0);
    assert_int_equal(r.tls, 1);

    /* EHLO in the middle of a transaction is RSET too */

    accept(EHLO);
    accept(AUTH);
    accept(MAIL);
    accept(RCPT);
    accept(EHLO);
    is(RCPT, NEED_MAIL);
    assert_int_equal(r.auth, 1);

    /* BDAT belongs to EHLO */

    accept(HELO);
    accept(MAIL);
    accept(RCPT);
    is(BDAT, BAD_SEQUENCE);
    ok(DATA);
}


static void
test_rules_model(void **state)
{
    ngx_uint_t        i, history[MODEL_DEPTH];
    ngx_smtp_rules_t  r;

    /* STARTTLS offered, login needed, login in the clear allowed */

    for (i = 0; i < 8; i++) {
        memset(&r, 0, sizeof(r));

        r.offer_auth = 1;
        r.offer_starttls = i & 1;
        r.need_auth = (i >> 1) & 1;
        r.plaintext_auth = (i >> 2) & 1;

        test_model_run(&r, history, 0);
    }

    /* refused commands end a branch: it is not 13 to the power of 8 */

    print_message("# %lu runs\n", test_model_runs);
    assert_true(test_model_runs > 1000000);
}


static void
test_model_run(ngx_smtp_rules_t *r, ngx_uint_t *history, ngx_uint_t n)
{
    ngx_int_t         rc;
    ngx_uint_t        event, allowed, i;
    ngx_smtp_rules_t  next;

    if (n == MODEL_DEPTH) {
        return;
    }

    for (event = 0; event < EV_LAST; event++) {

        test_model_runs++;

        rc = ngx_smtp_rules_check(r, test_event_verb[event]);
        allowed = test_model_allows(r, history, n, event);

        if ((rc == NGX_OK) != allowed) {
            for (i = 0; i < n; i++) {
                print_message("# %s\n", ngx_smtp_verb_name(
                              test_event_verb[history[i]])->data);
            }

            fail_msg("then %s: %s, but the model says otherwise",
                     ngx_smtp_verb_name(test_event_verb[event])->data,
                     rc == NGX_OK ? "allowed" : "refused");
        }

        if (rc != NGX_OK) {
            continue;
        }

        next = *r;
        test_model_apply(&next, event);

        history[n] = event;
        test_model_run(&next, history, n + 1);
    }
}


/* as a server does it */

static void
test_model_apply(ngx_smtp_rules_t *r, ngx_uint_t event)
{
    switch (event) {

    case EV_RCPT_REFUSED:
        break;

    case EV_DATA:
    case EV_BDAT_LAST:
        ngx_smtp_rules_reset(r);
        break;

    case EV_BDAT_FAILED:
        ngx_smtp_rules_bdat_failed(r);
        break;

    default:
        ngx_smtp_rules_accept(r, test_event_verb[event]);
    }
}


/* history: only what was carried out */

static ngx_uint_t
test_model_allows(ngx_smtp_rules_t *r, ngx_uint_t *history, ngx_uint_t n,
    ngx_uint_t event)
{
    ngx_uint_t  i, tls, esmtp, helo, login, mail, rcpt, chunk, failed;

    /* since the session began anew: the begin, or STARTTLS */

    tls = 0;
    helo = 0;
    esmtp = 0;
    login = 0;

    for (i = n; i-- > 0; ) {

        if (history[i] == EV_STARTTLS) {
            tls = 1;
            break;
        }

        if (!helo && (history[i] == EV_EHLO || history[i] == EV_HELO)) {
            helo = 1;
            esmtp = (history[i] == EV_EHLO);
        }

        if (history[i] == EV_AUTH) {
            login = 1;
        }
    }

    /* since the last end of a transaction */

    mail = 0;
    rcpt = 0;
    chunk = 0;
    failed = 0;

    for (i = n; i-- > 0; ) {

        if (history[i] == EV_EHLO || history[i] == EV_HELO
            || history[i] == EV_RSET || history[i] == EV_STARTTLS
            || history[i] == EV_DATA || history[i] == EV_BDAT_LAST)
        {
            break;
        }

        mail |= (history[i] == EV_MAIL);
        rcpt |= (history[i] == EV_RCPT);
        chunk |= (history[i] == EV_BDAT);
        failed |= (history[i] == EV_BDAT_FAILED);
    }

    switch (event) {

    case EV_EHLO:
    case EV_HELO:
    case EV_RSET:
    case EV_NOOP:
        return 1;

    case EV_MAIL:
        return helo && !mail && (login || !r->need_auth);

    case EV_RCPT:
    case EV_RCPT_REFUSED:
        return mail && !chunk && !failed;

    case EV_DATA:
        return mail && rcpt && !chunk && !failed;

    case EV_BDAT:
    case EV_BDAT_LAST:
    case EV_BDAT_FAILED:
        return esmtp && mail && rcpt && !failed;

    case EV_STARTTLS:
        return r->offer_starttls && esmtp && !tls && !mail;

    default: /* EV_AUTH */
        return esmtp && !login && !mail && (tls || r->plaintext_auth);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_testdata),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_helo),
        cmocka_unit_test(test_bdat),
        cmocka_unit_test(test_auth),
        cmocka_unit_test(test_rules_table),
        cmocka_unit_test(test_rules_model)
    };

    return shim_run(tests);
}
