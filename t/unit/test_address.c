
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Paths and mailboxes: tables of good and bad ones, each also cut off at every
 * octet, in memory that ends where the input ends.
 *
 * sources: protocol/ngx_smtp_address.c t/unit/json.c
 */


#include "shim.h"

#include <string.h>

#include "json.h"
#include "ngx_smtp_address.h"


#define U  NGX_SMTP_PATH_UTF8
#define Z  NGX_SMTP_PATH_NULL
#define P  NGX_SMTP_PATH_POSTMASTER


typedef struct {
    const char   *in;
    ngx_uint_t    flags;
    ngx_int_t     rc;
    const char   *mailbox;
    const char   *rest;      /* behind the path */
} test_path_t;


static void test_paths(void **state);
static void test_cut(void **state);
static void test_slices(void **state);
static void test_lengths(void **state);
static void test_literals(void **state);
static void test_domains(void **state);
static void test_utf8(void **state);
static void test_equal(void **state);
static void test_testdata(void **state);
static ngx_int_t test_parse(const char *in, size_t len, ngx_uint_t flags,
    ngx_smtp_path_t *path, char *mailbox, char *rest);
static void test_long(ngx_uint_t local, ngx_uint_t domain, ngx_int_t rc);


static test_path_t  test_table[] = {
    { "<a@b>", 0, NGX_OK, "a@b", "" },
    { "<user@example.com> SIZE=1", 0, NGX_OK, "user@example.com", " SIZE=1" },
    { "<user@example.com>>", 0, NGX_OK, "user@example.com", ">" },
    { "<>", Z, NGX_OK, "", "" },
    { "<> BODY=7BIT", Z, NGX_OK, "", " BODY=7BIT" },
    { "<>", 0, NGX_SMTP_PATH_E_SYNTAX, NULL, NULL },
    { "<postmaster>", P, NGX_OK, "postmaster", "" },
    { "<PostMaster>", P, NGX_OK, "PostMaster", "" },
    { "<postmaster>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<postmaster@example.com>", P, NGX_OK, "postmaster@example.com", "" },
    { "<postmasters>", P, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<a.b+c=d!#$%&'*-/?^_`{|}~@x>", 0, NGX_OK,
      "a.b+c=d!#$%&'*-/?^_`{|}~@x", "" },

    /* quoted local parts: no shell, no SQL, no header sees them unquoted */

    { "<\"a b\"@x>", 0, NGX_OK, "\"a b\"@x", "" },
    { "<\"a'; DROP TABLE x; --\"@x>", 0, NGX_OK, "\"a'; DROP TABLE x; --\"@x",
      "" },
    { "<\"|/bin/sh\"@x>", 0, NGX_OK, "\"|/bin/sh\"@x", "" },
    { "<\"a\\\"b\\\\\"@x>", 0, NGX_OK, "\"a\\\"b\\\\\"@x", "" },
    { "<\"a>b@c\"@x>", 0, NGX_OK, "\"a>b@c\"@x", "" },
    { "<\"\"@x>", 0, NGX_OK, "\"\"@x", "" },
    { "<\"a\\\"@x>", 0, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },
    { "<\"a\"b@x>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<\"a\".b@x>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<a\"b\"@x>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<\"a\rb\"@x>", 0, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },
    { "<\"a\nb\"@x>", 0, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },
    { "<\"a\tb\"@x>", 0, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },
    { "<\"a\\\nb\"@x>", 0, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },
    { "<\"a\x7f\"@x>", 0, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },

    /* source routes are dropped */

    { "<@a:u@x>", 0, NGX_OK, "u@x", "" },
    { "<@a,@b.example,@[1.2.3.4]:u@x>", 0, NGX_OK, "u@x", "" },
    { "<@a,b:u@x>", 0, NGX_SMTP_PATH_E_SYNTAX, NULL, NULL },
    { "<@a u@x>", 0, NGX_SMTP_PATH_E_SYNTAX, NULL, NULL },
    { "<@:u@x>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<@a:>", Z, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },
    { "<@a:@b:u@x>", 0, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },
    { "<@a,@b>", 0, NGX_SMTP_PATH_E_SYNTAX, NULL, NULL },
    { "<@a,>", 0, NGX_SMTP_PATH_E_SYNTAX, NULL, NULL },

    /* malformed */

    { "", 0, NGX_SMTP_PATH_E_SYNTAX, NULL, NULL },
    { "a@b", 0, NGX_SMTP_PATH_E_SYNTAX, NULL, NULL },
    { " <a@b>", 0, NGX_SMTP_PATH_E_SYNTAX, NULL, NULL },
    { "< a@b>", 0, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },
    { "<a@b >", 0, NGX_SMTP_PATH_E_SYNTAX, NULL, NULL },
    { "<a @b>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<a>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<@>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<a@>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<a@b@c>", 0, NGX_SMTP_PATH_E_SYNTAX, NULL, NULL },
    { "<a@b,c@d>", 0, NGX_SMTP_PATH_E_SYNTAX, NULL, NULL },
    { "<.a@b>", 0, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },
    { "<a.@b>", 0, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },
    { "<a..b@c>", 0, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },
    { "<a@b..c>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<a@.b>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<a@b.>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<a@-b>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<a@b->", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<a@b-.c>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<a@_b.c_d>", 0, NGX_OK, "a@_b.c_d", "" },
    { "<a@b\r\nDATA>", 0, NGX_SMTP_PATH_E_SYNTAX, NULL, NULL },
    { "<a\\b@c>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<(comment)a@b>", 0, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },
    { "<a:b@c>", 0, NGX_SMTP_PATH_E_DOMAIN, NULL, NULL },
    { "<a@[1.2.3.4]>", 0, NGX_OK, "a@[1.2.3.4]", "" },
    { "<a@[1.2.3.4]x>", 0, NGX_SMTP_PATH_E_SYNTAX, NULL, NULL },
    { "<a@[1.2.3]>", 0, NGX_SMTP_PATH_E_LITERAL, NULL, NULL },
    { "<a@[1.2.3.4>", 0, NGX_SMTP_PATH_E_LITERAL, NULL, NULL },
    { "<a@[]>", 0, NGX_SMTP_PATH_E_LITERAL, NULL, NULL },

    /* RFC 6531 */

    { "<\xc3\xa4@x>", 0, NGX_SMTP_PATH_E_NEED_UTF8, NULL, NULL },
    { "<\xc3\xa4@x>", U, NGX_OK, "\xc3\xa4@x", "" },
    { "<a@\xc3\xa4.de>", U, NGX_OK, "a@\xc3\xa4.de", "" },
    { "<a@\xc3\xa4.de>", 0, NGX_SMTP_PATH_E_NEED_UTF8, NULL, NULL },
    { "<\"\xc3\xa4 b\"@x>", U, NGX_OK, "\"\xc3\xa4 b\"@x", "" },
    { "<\"\xc3\xa4\"@x>", 0, NGX_SMTP_PATH_E_NEED_UTF8, NULL, NULL },
    { "<\"\\\xc3\xa4\"@x>", U, NGX_SMTP_PATH_E_LOCAL, NULL, NULL },
    { "<\xc3@x>", U, NGX_SMTP_PATH_E_UTF8, NULL, NULL },
    { "<\xc0\x80@x>", U, NGX_SMTP_PATH_E_UTF8, NULL, NULL },
    { "<\xed\xa0\x80@x>", U, NGX_SMTP_PATH_E_UTF8, NULL, NULL },
    { "<a@\xff.de>", U, NGX_SMTP_PATH_E_UTF8, NULL, NULL },
    { "<@\xff:a@b>", U, NGX_SMTP_PATH_E_UTF8, NULL, NULL },
    { "<@\xc3\xa4:a@b>", 0, NGX_SMTP_PATH_E_NEED_UTF8, NULL, NULL }
};


static void
test_paths(void **state)
{
    char              mailbox[300], rest[300];
    ngx_int_t         rc;
    test_path_t      *t;
    ngx_smtp_path_t   path;

    for (t = test_table;
         t < test_table + sizeof(test_table) / sizeof(test_table[0]);
         t++)
    {
        rc = test_parse(t->in, strlen(t->in), t->flags, &path, mailbox, rest);

        if (rc != t->rc) {
            fail_msg("\"%s\": %s", t->in, ngx_smtp_path_error(rc));
        }

        if (rc == NGX_OK) {
            assert_string_equal(mailbox, t->mailbox);
            assert_string_equal(rest, t->rest);
        }

        /* NUL is nowhere good, not even quoted */

        assert_int_not_equal(test_parse("<\"a\0b\"@c>", 9, U, &path, mailbox,
                                        rest), NGX_OK);
        assert_int_not_equal(test_parse("<a@b\0c>", 7, U, &path, mailbox,
                                        rest), NGX_OK);
    }
}


/* a path without its end is never good */

static void
test_cut(void **state)
{
    char              mailbox[300], rest[300];
    size_t            len, n;
    test_path_t      *t;
    ngx_smtp_path_t   path;

    for (t = test_table;
         t < test_table + sizeof(test_table) / sizeof(test_table[0]);
         t++)
    {
        len = strlen(t->in) - ((t->rc == NGX_OK) ? strlen(t->rest) : 0);

        for (n = 0; n < len; n++) {
            assert_int_not_equal(test_parse(t->in, n, t->flags, &path,
                                            mailbox, rest), NGX_OK);
        }
    }
}


static void
test_slices(void **state)
{
    u_char           *pos, in[] = "<@r:\"a b\"@[IPv6:::1]> X";
    ngx_str_t         s;
    ngx_smtp_path_t   path;

    pos = in;

    assert_int_equal(ngx_smtp_path_parse(&pos, in + sizeof(in) - 1, 0, &path),
                     NGX_OK);
    assert_str_equal(&path.mailbox, "\"a b\"@[IPv6:::1]");
    assert_str_equal(&path.local, "\"a b\"");
    assert_str_equal(&path.domain, "[IPv6:::1]");
    assert_int_equal(path.quoted, 1);
    assert_int_equal(path.literal, 1);
    assert_int_equal(path.null, 0);
    assert_int_equal(path.utf8, 0);
    assert_int_equal(*pos, ' ');

    s = shim_str("\xc3\xa4@example.com");
    assert_int_equal(ngx_smtp_mailbox_parse(&s, U, &path), NGX_OK);
    assert_str_equal(&path.local, "\xc3\xa4");
    assert_str_equal(&path.domain, "example.com");
    assert_int_equal(path.utf8, 1);
    assert_int_equal(path.quoted, 0);

    s = shim_str("postmaster");
    assert_int_equal(ngx_smtp_mailbox_parse(&s, P, &path), NGX_OK);
    assert_int_equal(path.postmaster, 1);
    assert_int_equal(path.domain.len, 0);

    s = shim_str("a@b>");
    assert_int_equal(ngx_smtp_mailbox_parse(&s, 0, &path),
                     NGX_SMTP_PATH_E_SYNTAX);
    s = shim_str("<a@b>");
    assert_int_not_equal(ngx_smtp_mailbox_parse(&s, 0, &path), NGX_OK);
    s = shim_str("");
    assert_int_not_equal(ngx_smtp_mailbox_parse(&s, Z, &path), NGX_OK);
}


static void
test_lengths(void **state)
{
    test_long(64, 100, NGX_OK);
    test_long(65, 100, NGX_SMTP_PATH_E_LONG);
    test_long(1, 252, NGX_OK);
    test_long(1, 253, NGX_SMTP_PATH_E_LONG);
    test_long(64, 189, NGX_OK);
    test_long(64, 190, NGX_SMTP_PATH_E_LONG);
    test_long(1, 1000, NGX_SMTP_PATH_E_LONG);
    test_long(10000, 1, NGX_SMTP_PATH_E_LONG);
}


/* a domain of labels of 63 octets, the last one shorter */

static void
test_long(ngx_uint_t local, ngx_uint_t domain, ngx_int_t rc)
{
    u_char            buf[11000], *p;
    ngx_str_t         s;
    ngx_uint_t        i;
    ngx_smtp_path_t   path;

    p = buf;
    memset(p, 'l', local);
    p += local;
    *p++ = '@';

    for (i = 1; i <= domain; i++) {
        *p++ = (i % 64 == 0 && i < domain) ? '.' : 'd';
    }

    s.data = buf;
    s.len = p - buf;

    assert_int_equal(ngx_smtp_mailbox_parse(&s, 0, &path), rc);
}


static void
test_literals(void **state)
{
    ngx_str_t   s;
    ngx_uint_t  i;

    static const char  *good[] = {
        "[0.0.0.0]", "[255.255.255.255]", "[127.0.0.01]", "[IPv6:::]",
        "[ipv6:::1]", "[IPv6:1::]", "[IPv6:1:2:3:4:5:6:7:8]",
        "[IPv6:2001:db8::ff00:42:8329]", "[IPv6:1:2:3:4:5:6:7::]",
        "[IPv6:::ffff:1.2.3.4]", "[IPv6:1:2:3:4:5:6:1.2.3.4]",
        "[IPv6:ABCD:EF01::]"
    };

    static const char  *bad[] = {
        "", "[", "]", "[]", "[1]", "[1.2.3]", "[1.2.3.4.5]", "[1.2.3.256]",
        "[1.2.3.]", "[.1.2.3]", "[1..2.3]", "[1.2.3.1234]", "[1.2.3.-4]",
        "[1.2.3.4 ]", "[0x1.2.3.4]", "1.2.3.4", "[1.2.3.4", "1.2.3.4]",
        "[::1]", "[IPv6:]", "[IPv6::]", "[IPv6::1]", "[IPv6:1]", "[IPv6:1:]",
        "[IPv6:1:2:3:4:5:6:7]", "[IPv6:1:2:3:4:5:6:7:8:9]",
        "[IPv6:1:2:3:4:5:6:7:8::]", "[IPv6:::::]", "[IPv6:1::2::3]",
        "[IPv6:12345::]", "[IPv6:g::]", "[IPv6:1:2:3:4:5:6:7:1.2.3.4]",
        "[IPv6:::1.2.3]", "[IPv6:::1.2.3.4:5]", "[IPv6:fe80::1%eth0]",
        "[IPv5:::1]", "[Gen:x]", "[IPv6:1:2:3:4:5:6:7:]", "[IPv6:::1:]"
    };

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        s = shim_str(good[i]);

        if (ngx_smtp_literal_check(&s) != NGX_OK) {
            fail_msg("\"%s\" was refused", good[i]);
        }
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        s = shim_str(bad[i]);

        if (ngx_smtp_literal_check(&s) != NGX_SMTP_PATH_E_LITERAL) {
            fail_msg("\"%s\" was accepted", bad[i]);
        }
    }
}


static void
test_domains(void **state)
{
    u_char      label[65];
    ngx_str_t   s;

    s = shim_str("");
    assert_int_equal(ngx_smtp_domain_check(&s, U), NGX_SMTP_PATH_E_DOMAIN);
    s = shim_str("example.com.");
    assert_int_equal(ngx_smtp_domain_check(&s, U), NGX_SMTP_PATH_E_DOMAIN);
    s = shim_str("example.com/");
    assert_int_equal(ngx_smtp_domain_check(&s, U), NGX_SMTP_PATH_E_DOMAIN);
    s = shim_str("[1.2.3.4]");
    assert_int_equal(ngx_smtp_domain_check(&s, U), NGX_SMTP_PATH_E_DOMAIN);
    s = shim_str("xn--l8jegik.example");
    assert_int_equal(ngx_smtp_domain_check(&s, 0), NGX_OK);
    s = shim_str("\xc3\xa4.example");
    assert_int_equal(ngx_smtp_domain_check(&s, 0), NGX_SMTP_PATH_E_NEED_UTF8);
    assert_int_equal(ngx_smtp_domain_check(&s, U), NGX_OK);
    s = shim_str("\xa4.example");
    assert_int_equal(ngx_smtp_domain_check(&s, U), NGX_SMTP_PATH_E_UTF8);

    memset(label, 'a', sizeof(label));
    s.data = label;

    s.len = 63;
    assert_int_equal(ngx_smtp_domain_check(&s, 0), NGX_OK);
    s.len = 64;
    assert_int_equal(ngx_smtp_domain_check(&s, 0), NGX_SMTP_PATH_E_LONG);
}


/* the whole range of sequences, against the definition of RFC 3629 */

static void
test_utf8(void **state)
{
    u_char      buf[4];
    size_t      len;
    unsigned    code;

    for (code = 0; code <= 0x110000; code++) {

        if (code < 0x80) {
            buf[0] = code;
            len = 1;

        } else if (code < 0x800) {
            buf[0] = 0xc0 | (code >> 6);
            buf[1] = 0x80 | (code & 0x3f);
            len = 2;

        } else if (code < 0x10000) {
            buf[0] = 0xe0 | (code >> 12);
            buf[1] = 0x80 | ((code >> 6) & 0x3f);
            buf[2] = 0x80 | (code & 0x3f);
            len = 3;

        } else {
            buf[0] = 0xf0 | (code >> 18);
            buf[1] = 0x80 | ((code >> 12) & 0x3f);
            buf[2] = 0x80 | ((code >> 6) & 0x3f);
            buf[3] = 0x80 | (code & 0x3f);
            len = 4;
        }

        assert_int_equal(ngx_smtp_utf8_valid(buf, len),
                         code <= 0x10ffff
                         && !(code >= 0xd800 && code <= 0xdfff));

        if (len > 1) {
            assert_int_equal(ngx_smtp_utf8_valid(buf, len - 1), 0);
            assert_int_equal(ngx_smtp_utf8_valid(buf + 1, len - 1), 0);
        }
    }

    assert_int_equal(ngx_smtp_utf8_valid((u_char *) "\xc1\x80", 2), 0);
    assert_int_equal(ngx_smtp_utf8_valid((u_char *) "\xe0\x9f\xbf", 3), 0);
    assert_int_equal(ngx_smtp_utf8_valid((u_char *) "\xf0\x8f\xbf\xbf", 4), 0);
    assert_int_equal(ngx_smtp_utf8_valid((u_char *) "\xf5\x80\x80\x80", 4), 0);
    assert_int_equal(ngx_smtp_utf8_valid((u_char *) "\xc3\x28", 2), 0);
    assert_int_equal(ngx_smtp_utf8_valid((u_char *) "\xe2\x28\xa1", 3), 0);
    assert_int_equal(ngx_smtp_utf8_valid((u_char *) "\xf0\x90\x28\xbc", 4), 0);
    assert_int_equal(ngx_smtp_utf8_valid((u_char *) "", 0), 1);
}


static void
test_equal(void **state)
{
    ngx_str_t         a, b;
    ngx_uint_t        i;
    ngx_smtp_path_t   pa, pb;

    static const struct {
        const char   *a;
        const char   *b;
        ngx_uint_t    equal;
    } table[] = {
        { "a@b", "a@b", 1 },
        { "a@b", "a@B", 1 },
        { "a@b", "A@b", 0 },
        { "a@b", "a@c", 0 },
        { "a@b", "a@bc", 0 },
        { "\"a\"@b", "a@b", 1 },
        { "\"\\a\"@b", "a@b", 1 },
        { "\"a b\"@c", "\"a\\ b\"@c", 1 },
        { "\"a\\\"b\"@c", "\"a\"@c", 0 },
        { "\"\\\\\"@c", "\"\\\\\\\\\"@c", 0 },
        { "\"a@b\"@c", "\"a\\@b\"@c", 1 },
        { "\"\"@c", "a@c", 0 },
        { "postmaster", "POSTMASTER", 1 },
        { "postmaster", "postmaster@b", 0 }
    };

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        a = shim_str(table[i].a);
        b = shim_str(table[i].b);

        assert_int_equal(ngx_smtp_mailbox_parse(&a, P, &pa), NGX_OK);
        assert_int_equal(ngx_smtp_mailbox_parse(&b, P, &pb), NGX_OK);

        if (ngx_smtp_mailbox_equal(&pa, &pb) != table[i].equal
            || ngx_smtp_mailbox_equal(&pb, &pa) != table[i].equal)
        {
            fail_msg("\"%s\" and \"%s\"", table[i].a, table[i].b);
        }
    }
}


/*
 * Differences: this source also has tables for addresses without brackets and
 * for user names; and it can be lenient (dots at the ends of a local part, a
 * domain that begins with "-"): the same inputs are in its tables of bad ones,
 * where we agree.
 */

static void
test_testdata(void **state)
{
    char              mailbox[300], rest[300];
    json_t           *js, *tables, *t;
    ngx_int_t         rc;
    ngx_str_t        *s, *flags, *local, *domain;
    ngx_uint_t        good, bad, lenient;
    ngx_smtp_path_t   path;

    js = json_load(TESTDATA "smtp-syntax/dovecot-smtp-address.json");

    if (js == NULL) {
        print_message("# no test data in ../shared/testdata\n");
        skip();
    }

    tables = json_get(js, "tables");
    good = 0;
    bad = 0;

    for (t = json_get(tables, "valid_mailbox_parse_tests")->child; t;
         t = t->next)
    {
        s = json_str(t, "input");
        rc = ngx_smtp_mailbox_parse(s, U, &path);

        lenient = ngx_strstr(s->data, "@-") || ngx_strstr(s->data, ".@")
                  || ngx_strstr(s->data, "..") || s->len == 0;

        if ((rc == NGX_OK) == lenient) {
            fail_msg("\"%s\": %s", s->data, ngx_smtp_path_error(rc));
        }

        if (lenient) {
            continue;
        }

        good++;

        domain = json_str(json_get(t, "address"), "domain");
        assert_int_equal(path.domain.len, domain->len);
        assert_memory_equal(path.domain.data, domain->data, domain->len);

        local = json_str(json_get(t, "address"), "localpart");
        assert_int_equal(ngx_smtp_local_unquote((u_char *) mailbox,
                                                &path.local), local->len);
        assert_memory_equal(mailbox, local->data, local->len);
    }

    for (t = json_get(tables, "invalid_mailbox_parse_tests")->child; t;
         t = t->next)
    {
        s = json_str(t, "input");
        bad++;

        if (ngx_smtp_mailbox_parse(s, 0, &path) == NGX_OK) {
            fail_msg("\"%s\" was accepted", s->data);
        }
    }

    for (t = json_get(tables, "valid_path_parse_tests")->child; t; t = t->next)
    {
        s = json_str(t, "input");
        flags = json_str(t, "flags");

        if (flags && (ngx_strstr(flags->data, "ALLOW_LOCALPART")
                      || ngx_strstr(flags->data, "IGNORE_BROKEN")
                      || ngx_strstr(flags->data, "BRACKETS_OPTIONAL")))
        {
            continue;
        }

        good++;
        rc = test_parse((char *) s->data, s->len, U|Z, &path, mailbox, rest);

        if (rc != NGX_OK || *rest) {
            fail_msg("\"%s\": %s", s->data, ngx_smtp_path_error(rc));
        }
    }

    for (t = json_get(tables, "invalid_path_parse_tests")->child; t;
         t = t->next)
    {
        s = json_str(t, "input");
        bad++;

        rc = test_parse((char *) s->data, s->len, Z, &path, mailbox, rest);

        if (rc == NGX_OK && *rest == '\0') {
            fail_msg("\"%s\" was accepted", s->data);
        }
    }

    assert_true(good >= 8);
    assert_true(bad >= 50);

    json_free(js);
}


/* parses a copy that ends where the input ends */

static ngx_int_t
test_parse(const char *in, size_t len, ngx_uint_t flags,
    ngx_smtp_path_t *path, char *mailbox, char *rest)
{
    u_char     *buf, *pos, *last;
    ngx_int_t   rc;

    buf = malloc(len + (len == 0));
    assert_non_null(buf);
    memcpy(buf, in, len);

    pos = buf;
    last = buf + len;

    rc = ngx_smtp_path_parse(&pos, last, flags, path);

    if (rc == NGX_OK) {
        assert_true(pos > buf && pos <= last);

        memcpy(mailbox, path->mailbox.data, path->mailbox.len);
        mailbox[path->mailbox.len] = '\0';

        memcpy(rest, pos, last - pos);
        rest[last - pos] = '\0';
    }

    free(buf);

    return rc;
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_domains),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_testdata)
    };

    return shim_run(tests);
}
