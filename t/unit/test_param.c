
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Arguments of MAIL and RCPT by table, in memory that ends where they end;
 * xtext both ways.
 *
 * sources: protocol/ngx_smtp_param.c protocol/ngx_smtp_address.c
 * sources: t/unit/json.c
 */


#include "shim.h"

#include <string.h>

#include "json.h"
#include "ngx_smtp_param.h"


#define OK        NGX_OK
#define BAD       NGX_SMTP_REPLY_BAD_PARAM
#define UNKNOWN   NGX_SMTP_REPLY_UNKNOWN_PARAM
#define SYNTAX    NGX_SMTP_REPLY_SYNTAX


typedef struct {
    const char   *arg;
    ngx_int_t     rc;
    const char   *result;    /* of rc NGX_OK; else what is at fault */
} test_row_t;


static void test_mail(void **state);
static void test_rcpt(void **state);
static void test_untouched(void **state);
static void test_lengths(void **state);
static void test_requiretls(void **state);
static void test_xtext(void **state);
static void test_testdata(void **state);
static ngx_uint_t test_params(json_t *table, ngx_uint_t mail, ngx_uint_t good);
static ngx_int_t test_mail_parse(const char *in, char *out);
static ngx_int_t test_rcpt_parse(const char *in, ngx_uint_t flags, char *out);
static char *test_put(char *p, const char *name, ngx_str_t *s);


/* path, then size/body/ret/envid/smtputf8 where set */

static test_row_t  test_mails[] = {
    { "FROM:<a@b>", OK, "a@b" },
    { "from:<a@b>", OK, "a@b" },
    { "FROM: <a@b>", OK, "a@b" },
    { "FROM:  <a@b>  SIZE=1", OK, "a@b size:1" },
    { "FROM:<>", OK, "" },
    { "FROM:<@x,@y:a@b> SIZE=0", OK, "a@b" },
    { "FROM:<a@b> SIZE=1000 BODY=8BITMIME", OK, "a@b size:1000 body:2" },
    { "FROM:<a@b> body=7bit", OK, "a@b body:1" },
    { "FROM:<a@b> SMTPUTF8", OK, "a@b utf8" },
    { "FROM:<\xc3\xa4@b> SMTPUTF8", OK, "\xc3\xa4@b utf8" },
    { "FROM:<\xc3\xa4@b>", NGX_SMTP_REPLY_SENDER_UTF8, "\xc3\xa4@b" },
    { "FROM:<a@b> RET=FULL ENVID=x+20y", OK, "a@b ret:1 envid:x+20y" },
    { "FROM:<a@b> RET=hdrs", OK, "a@b ret:2" },
    { "FROM:<a@b> AUTH=<>", OK, "a@b" },
    { "FROM:<a@b> AUTH=e+3Dmc2@example.com", OK, "a@b" },
    { "FROM:<a@b> SIZE=2147483648", OK, "a@b size:2147483648" },
    { "FROM:<a@b> SIZE=9223372036854775807", OK,
      "a@b size:9223372036854775807" },
    { "FROM:<a@b> SIZE=9223372036854775808", NGX_SMTP_REPLY_TOO_LARGE,
      "SIZE=9223372036854775808" },
    { "FROM:<a@b> SIZE=99999999999999999999", NGX_SMTP_REPLY_TOO_LARGE,
      "SIZE=99999999999999999999" },
    { "FROM:<a@b> SIZE=100000000000000000000", BAD,
      "SIZE=100000000000000000000" },
    { "FROM:<a@b> SIZE=00000000000000000001", OK, "a@b size:1" },
    { "FROM:<a@b> SIZE", BAD, "SIZE" },
    { "FROM:<a@b> SIZE=", BAD, "SIZE=" },
    { "FROM:<a@b> SIZE=-1", BAD, "SIZE=-1" },
    { "FROM:<a@b> SIZE=1k", BAD, "SIZE=1k" },
    { "FROM:<a@b> SIZE=\"1\"", BAD, "SIZE=\"1\"" },
    { "FROM:<a@b> SIZE=1 SIZE=1", BAD, "SIZE=1" },
    { "FROM:<a@b> SIZE=1 size=2", BAD, "size=2" },
    { "FROM:<a@b> BODY=BINARYMIME", UNKNOWN, "BODY=BINARYMIME" },
    { "FROM:<a@b> BODY=9BIT", BAD, "BODY=9BIT" },
    { "FROM:<a@b> BODY", BAD, "BODY" },
    { "FROM:<a@b> SMTPUTF8=1", BAD, "SMTPUTF8=1" },
    { "FROM:<a@b> SMTPUTF8 SMTPUTF8", BAD, "SMTPUTF8" },
    { "FROM:<a@b> RET=BOTH", BAD, "RET=BOTH" },
    { "FROM:<a@b> RET", BAD, "RET" },
    { "FROM:<a@b> ENVID=+zz", BAD, "ENVID=+zz" },
    { "FROM:<a@b> ENVID=+4", BAD, "ENVID=+4" },
    { "FROM:<a@b> ENVID=+4a", BAD, "ENVID=+4a" },
    { "FROM:<a@b> ENVID=a=b", BAD, "ENVID=a=b" },
    { "FROM:<a@b> ENVID", BAD, "ENVID" },
    { "FROM:<a@b> AUTH", BAD, "AUTH" },
    { "FROM:<a@b> AUTH=+", BAD, "AUTH=+" },
    { "FROM:<a@b> REQUIRETLS", UNKNOWN, "REQUIRETLS" },
    { "FROM:<a@b> X", UNKNOWN, "X" },
    { "FROM:<a@b> X-Y=z", UNKNOWN, "X-Y=z" },
    { "FROM:<a@b> X=", BAD, "X=" },
    { "FROM:<a@b> =X", BAD, "=X" },
    { "FROM:<a@b> -X", BAD, "-X" },
    { "FROM:<a@b> X\tSIZE=1", BAD, "X\tSIZE=1" },
    { "FROM:<a@b> X=\x01", BAD, "X=\x01" },
    { "FROM:<a@b> X=\xc3\xa4", BAD, "X=\xc3\xa4" },
    { "FROM:<a@b> NOTIFY=NEVER", UNKNOWN, "NOTIFY=NEVER" },
    { "FROM:<a@b>SIZE=1", NGX_SMTP_REPLY_BAD_SENDER, "<a@b>SIZE=1" },
    { "FROM:<a@b>> SIZE=1", NGX_SMTP_REPLY_BAD_SENDER, "<a@b>> SIZE=1" },
    { "FROM:a@b", NGX_SMTP_REPLY_BAD_SENDER, "a@b" },
    { "FROM:<a>", NGX_SMTP_REPLY_BAD_SENDER, "<a>" },
    { "FROM:<postmaster>", NGX_SMTP_REPLY_BAD_SENDER, "<postmaster>" },
    { "FROM:<\xff@b> SMTPUTF8", NGX_SMTP_REPLY_BAD_SENDER,
      "<\xff@b> SMTPUTF8" },
    { "FROM:<a@b", NGX_SMTP_REPLY_BAD_SENDER, "<a@b" },
    { "FROM:", SYNTAX, "" },
    { "FROM: ", SYNTAX, "" },
    { "FROM", SYNTAX, "" },
    { "FROM <a@b>", SYNTAX, "" },
    { "FROM :<a@b>", SYNTAX, "" },
    { "TO:<a@b>", SYNTAX, "" },
    { "<a@b>", SYNTAX, "" },
    { "", SYNTAX, "" }
};


static test_row_t  test_rcpts[] = {
    { "TO:<a@b>", OK, "a@b" },
    { "to: <a@b>", OK, "a@b" },
    { "TO:<Postmaster>", OK, "Postmaster" },
    { "TO:<a@b> NOTIFY=NEVER", OK, "a@b notify:1" },
    { "TO:<a@b> NOTIFY=success,FAILURE,Delay", OK, "a@b notify:14" },
    { "TO:<a@b> NOTIFY=FAILURE ORCPT=rfc822;x+2By@z", OK,
      "a@b notify:4 orcpt:rfc822;x+2By@z" },
    { "TO:<a@b> ORCPT=utf-8;\\x{E4}@z", OK, "a@b orcpt:utf-8;\\x{E4}@z" },
    { "TO:<a@b> NOTIFY=NEVER,DELAY", BAD, "NOTIFY=NEVER,DELAY" },
    { "TO:<a@b> NOTIFY=DELAY,DELAY", BAD, "NOTIFY=DELAY,DELAY" },
    { "TO:<a@b> NOTIFY=DELAY,", BAD, "NOTIFY=DELAY," },
    { "TO:<a@b> NOTIFY=,DELAY", BAD, "NOTIFY=,DELAY" },
    { "TO:<a@b> NOTIFY=SOMETIMES", BAD, "NOTIFY=SOMETIMES" },
    { "TO:<a@b> NOTIFY", BAD, "NOTIFY" },
    { "TO:<a@b> NOTIFY=", BAD, "NOTIFY=" },
    { "TO:<a@b> NOTIFY=DELAY NOTIFY=DELAY", BAD, "NOTIFY=DELAY" },
    { "TO:<a@b> ORCPT", BAD, "ORCPT" },
    { "TO:<a@b> ORCPT=rfc822", BAD, "ORCPT=rfc822" },
    { "TO:<a@b> ORCPT=rfc822;", BAD, "ORCPT=rfc822;" },
    { "TO:<a@b> ORCPT=;a@b", BAD, "ORCPT=;a@b" },
    { "TO:<a@b> ORCPT=rfc822;++", BAD, "ORCPT=rfc822;++" },
    { "TO:<a@b> ORCPT=rfc822;a=b", BAD, "ORCPT=rfc822;a=b" },
    { "TO:<a@b> ORCPT=rf_c;a", BAD, "ORCPT=rf_c;a" },
    { "TO:<a@b> SIZE=1", UNKNOWN, "SIZE=1" },
    { "TO:<>", NGX_SMTP_REPLY_BAD_RCPT, "<>" },
    { "TO:<a>", NGX_SMTP_REPLY_BAD_RCPT, "<a>" },
    { "TO:a@b", NGX_SMTP_REPLY_BAD_RCPT, "a@b" },
    { "TO:<a@b>,<c@d>", NGX_SMTP_REPLY_BAD_RCPT, "<a@b>,<c@d>" },
    { "TO:<a@b> <c@d>", BAD, "<c@d>" },
    { "TO:<\xc3\xa4@b>", NGX_SMTP_REPLY_RCPT_UTF8, "<\xc3\xa4@b>" },
    { "FROM:<a@b>", SYNTAX, "" },
    { "TO:", SYNTAX, "" },
    { "TO", SYNTAX, "" }
};


static void
test_mail(void **state)
{
    char         out[600];
    ngx_int_t    rc;
    test_row_t  *t;

    for (t = test_mails;
         t < test_mails + sizeof(test_mails) / sizeof(test_mails[0]);
         t++)
    {
        rc = test_mail_parse(t->arg, out);

        if (rc != t->rc || strcmp(out, t->result) != 0) {
            fail_msg("\"%s\": rc %ld, \"%s\"", t->arg, (long) rc, out);
        }
    }
}


static void
test_rcpt(void **state)
{
    char         out[600];
    ngx_int_t    rc;
    test_row_t  *t;

    for (t = test_rcpts;
         t < test_rcpts + sizeof(test_rcpts) / sizeof(test_rcpts[0]);
         t++)
    {
        rc = test_rcpt_parse(t->arg, NGX_SMTP_PATH_POSTMASTER, out);

        if (rc != t->rc || strcmp(out, t->result) != 0) {
            fail_msg("\"%s\": rc %ld, \"%s\"", t->arg, (long) rc, out);
        }
    }

    assert_int_equal(test_rcpt_parse("TO:<postmaster>", 0, out),
                     NGX_SMTP_REPLY_BAD_RCPT);
    assert_int_equal(test_rcpt_parse("TO:<>", NGX_SMTP_PATH_NULL, out),
                     NGX_SMTP_REPLY_BAD_RCPT);
    assert_int_equal(test_rcpt_parse("TO:<\xc3\xa4@b>", NGX_SMTP_PATH_UTF8,
                                     out), NGX_OK);
    assert_int_equal(test_rcpt_parse("TO:<\xc3@b>", NGX_SMTP_PATH_UTF8, out),
                     NGX_SMTP_REPLY_BAD_RCPT);

    /* octets of UTF-8 in ORCPT: of their type, and with SMTPUTF8, only */

    assert_int_equal(test_rcpt_parse("TO:<a@b> ORCPT=utf-8;\xc3\xa4@b",
                                     NGX_SMTP_PATH_UTF8, out), NGX_OK);
    assert_string_equal(out, "a@b orcpt:utf-8;\xc3\xa4@b");
    assert_int_equal(test_rcpt_parse("TO:<a@b> ORCPT=utf-8;\xc3\xa4@b", 0,
                                     out), BAD);
    assert_int_equal(test_rcpt_parse("TO:<a@b> ORCPT=rfc822;\xc3\xa4@b",
                                     NGX_SMTP_PATH_UTF8, out), BAD);
    assert_int_equal(test_rcpt_parse("TO:<a@b> ORCPT=utf-8;\xc3@b",
                                     NGX_SMTP_PATH_UTF8, out), BAD);
    assert_int_equal(test_rcpt_parse("TO:<a@b> ORCPT=utf-8;\xc3\xa4=b",
                                     NGX_SMTP_PATH_UTF8, out), BAD);
    assert_int_equal(test_rcpt_parse("TO:<a@b> ORCPT=utf-8;",
                                     NGX_SMTP_PATH_UTF8, out), BAD);
}


/* a second MAIL does not inherit from the first, and sender is not touched */

static void
test_untouched(void **state)
{
    ngx_str_t             arg;
    ngx_smtp_rcpt_t       rcpt;
    ngx_smtp_path_t       path;
    ngx_smtp_envelope_t   env;

    memset(&env, 0xff, sizeof(env));
    arg = shim_str("FROM:<a@b>");

    assert_int_equal(ngx_smtp_mail_parse(&arg, 0, &path, &env, NULL), NGX_OK);
    assert_int_equal(env.size, 0);
    assert_int_equal(env.body, NGX_SMTP_BODY_UNSET);
    assert_int_equal(env.ret, NGX_SMTP_RET_UNSET);
    assert_int_equal(env.smtputf8, 0);
    assert_int_equal(env.requiretls, 0);
    assert_int_equal(env.envid.len, 0);
    assert_int_equal(env.sender.len, (size_t) -1);

    memset(&rcpt, 0xff, sizeof(rcpt));
    arg = shim_str("TO:<a@b>");

    assert_int_equal(ngx_smtp_rcpt_parse(&arg, 0, &path, &rcpt, NULL), NGX_OK);
    assert_int_equal(rcpt.notify, 0);
    assert_int_equal(rcpt.orcpt.len, 0);
    assert_int_equal(rcpt.mailbox.len, (size_t) -1);
}


static void
test_lengths(void **state)
{
    char  arg[12000], out[12000];

    static const struct {
        const char   *prefix;
        ngx_uint_t    len;
        ngx_int_t     rc;
    } table[] = {
        { "FROM:<a@b> ENVID=", 100, OK },
        { "FROM:<a@b> ENVID=", 101, BAD },
        { "FROM:<a@b> ENVID=", 10240, BAD },
        { "FROM:<a@b> X=", 10240, UNKNOWN },
        { "FROM:<a@b> X", 10240, UNKNOWN },
        { "FROM:<a@b> BODY=", 10240, BAD },
        { "TO:<a@b> ORCPT=rfc822;", 493, OK },
        { "TO:<a@b> ORCPT=rfc822;", 494, BAD },
        { "TO:<a@b> NOTIFY=", 10240, BAD }
    };

    ngx_int_t   rc;
    ngx_uint_t  i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        strcpy(arg, table[i].prefix);
        memset(arg + strlen(arg), 'x', table[i].len);
        arg[strlen(table[i].prefix) + table[i].len] = '\0';

        rc = (arg[0] == 'F') ? test_mail_parse(arg, out)
                             : test_rcpt_parse(arg, 0, out);

        if (rc != table[i].rc) {
            fail_msg("%s %lu: rc %ld", table[i].prefix,
                     (unsigned long) table[i].len, (long) rc);
        }
    }
}


static void
test_requiretls(void **state)
{
    ngx_str_t             arg, bad;
    ngx_smtp_path_t       path;
    ngx_smtp_envelope_t   env;

    arg = shim_str("FROM:<a@b> REQUIRETLS");
    assert_int_equal(ngx_smtp_mail_parse(&arg, NGX_SMTP_MAIL_REQUIRETLS, &path,
                                         &env, &bad), NGX_OK);
    assert_int_equal(env.requiretls, 1);

    arg = shim_str("FROM:<a@b> REQUIRETLS=x");
    assert_int_equal(ngx_smtp_mail_parse(&arg, NGX_SMTP_MAIL_REQUIRETLS, &path,
                                         &env, &bad), BAD);
    assert_str_equal(&bad, "REQUIRETLS=x");
}


static void
test_xtext(void **state)
{
    u_char      all[256], text[768], back[768];
    size_t      i;
    ngx_str_t   s;

    for (i = 0; i < sizeof(all); i++) {
        all[i] = i;
    }

    s.data = all;
    s.len = sizeof(all);
    s.len = ngx_smtp_xtext_encode(text, &s) - text;
    s.data = text;

    assert_int_equal(ngx_smtp_xtext_valid(&s), 1);

    for (i = 0; i < s.len; i++) {
        assert_true(text[i] > 0x20 && text[i] < 0x7f && text[i] != '=');
    }

    assert_int_equal(ngx_smtp_xtext_decode(back, &s), sizeof(all));
    assert_memory_equal(back, all, sizeof(all));

    /* in place */

    assert_int_equal(ngx_smtp_xtext_decode(text, &s), sizeof(all));
    assert_memory_equal(text, all, sizeof(all));

    s = shim_str("+3D");
    assert_int_equal(ngx_smtp_xtext_decode(back, &s), 1);
    assert_int_equal(back[0], '=');

    s = shim_str("a+3");
    assert_int_equal(ngx_smtp_xtext_decode(back, &s), NGX_ERROR);
    s = shim_str("a+");
    assert_int_equal(ngx_smtp_xtext_decode(back, &s), NGX_ERROR);
    s = shim_str("a b");
    assert_int_equal(ngx_smtp_xtext_decode(back, &s), NGX_ERROR);
    s = shim_str("");
    assert_int_equal(ngx_smtp_xtext_decode(back, &s), 0);
}


/*
 * Differences: the source refuses parameters of extensions it was told not to
 * offer (rows without "caps", or with extensions of its own), BINARYMIME is
 * never offered here.
 */

static void
test_testdata(void **state)
{
    json_t      *js, *tables;
    ngx_uint_t   n;

    js = json_load(TESTDATA "smtp-syntax/dovecot-smtp-params.json");

    if (js == NULL) {
        print_message("# no test data in ../shared/testdata\n");
        skip();
    }

    tables = json_get(js, "tables");

    n = test_params(json_get(tables, "valid_mail_params_parse_tests"), 1, 1)
        + test_params(json_get(tables, "invalid_mail_params_parse_tests"), 1,
                      0)
        + test_params(json_get(tables, "valid_rcpt_params_parse_tests"), 0, 1)
        + test_params(json_get(tables, "invalid_rcpt_params_parse_tests"), 0,
                      0);

    assert_true(n >= 16);

    json_free(js);
}


static ngx_uint_t
test_params(json_t *table, ngx_uint_t mail, ngx_uint_t good)
{
    char        arg[600], out[600];
    json_t     *t;
    ngx_int_t   rc;
    ngx_uint_t  n;
    ngx_str_t  *s;

    for (n = 0, t = table->child; t; t = t->next) {
        s = json_str(t, "input");

        if (json_str(t, "caps") == NULL
            || json_str(t, "extensions")
            || ngx_strstr(s->data, "BINARYMIME"))
        {
            continue;
        }

        n++;

        if (mail) {
            snprintf(arg, sizeof(arg), "FROM:<a@b> %s", s->data);
            rc = test_mail_parse(arg, out);

        } else {
            snprintf(arg, sizeof(arg), "TO:<a@b> %s", s->data);
            rc = test_rcpt_parse(arg, 0, out);
        }

        if ((rc == NGX_OK) != good) {
            fail_msg("\"%s\": rc %ld", arg, (long) rc);
        }
    }

    return n;
}


static ngx_int_t
test_mail_parse(const char *in, char *out)
{
    char                 *p;
    ngx_int_t             rc;
    ngx_str_t             arg, bad;
    ngx_smtp_path_t       path;
    ngx_smtp_envelope_t   env;

    arg.len = strlen(in);
    arg.data = malloc(arg.len + 1);
    assert_non_null(arg.data);
    memcpy(arg.data + 1, in, arg.len);

    /* ends where the memory ends */

    arg.data++;

    rc = ngx_smtp_mail_parse(&arg, 0, &path, &env, &bad);

    p = out;

    if (rc != NGX_OK) {
        p = test_put(p, "", &bad);

    } else {
        p = test_put(p, "", &path.mailbox);

        assert_int_equal(path.null, path.mailbox.len == 0);

        if (env.size) {
            p += sprintf(p, " size:%lld", (long long) env.size);
        }

        if (env.body) {
            p += sprintf(p, " body:%u", (unsigned) env.body);
        }

        if (env.ret) {
            p += sprintf(p, " ret:%u", (unsigned) env.ret);
        }

        if (env.envid.len) {
            p = test_put(p, " envid:", &env.envid);
        }

        if (env.smtputf8) {
            p += sprintf(p, " utf8");
        }
    }

    *p = '\0';

    free(arg.data - 1);

    return rc;
}


static ngx_int_t
test_rcpt_parse(const char *in, ngx_uint_t flags, char *out)
{
    char             *p;
    ngx_int_t         rc;
    ngx_str_t         arg, bad;
    ngx_smtp_path_t   path;
    ngx_smtp_rcpt_t   rcpt;

    arg.len = strlen(in);
    arg.data = malloc(arg.len + 1);
    assert_non_null(arg.data);
    memcpy(arg.data + 1, in, arg.len);

    arg.data++;

    rc = ngx_smtp_rcpt_parse(&arg, flags, &path, &rcpt, &bad);

    p = out;

    if (rc != NGX_OK) {
        p = test_put(p, "", &bad);

    } else {
        p = test_put(p, "", &path.mailbox);

        if (rcpt.notify) {
            p += sprintf(p, " notify:%lu", (unsigned long) rcpt.notify);
        }

        if (rcpt.orcpt.len) {
            p = test_put(p, " orcpt:", &rcpt.orcpt);
        }
    }

    *p = '\0';

    free(arg.data - 1);

    return rc;
}


static char *
test_put(char *p, const char *name, ngx_str_t *s)
{
    strcpy(p, name);
    p += strlen(name);

    if (s->len) {
        memcpy(p, s->data, s->len);
    }

    return p + s->len;
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_mail),
        cmocka_unit_test(test_rcpt),
        cmocka_unit_test(test_untouched),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_requiretls),
        cmocka_unit_test(test_xtext),
        cmocka_unit_test(test_testdata)
    };

    return shim_run(tests);
}
