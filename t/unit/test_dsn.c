
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Delivery reports: the text of each kind, and well-formedness with hostile
 * strings in every place.
 *
 *     test_dsn --print <case>
 *
 * writes a complete report; t/08-message-dsn.t reads it with a MIME parser.
 *
 * sources: message/ngx_smtp_dsn.c message/ngx_smtp_dsn_out.c
 *          message/ngx_smtp_dsn_status.c message/ngx_smtp_dsn_text.c
 *          message/ngx_smtp_header.c message/ngx_smtp_trace.c
 *          protocol/ngx_smtp_param.c protocol/ngx_smtp_address.c
 */


#include "shim.h"
#include "ngx_smtp_dsn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define T0  1767225600      /* 2026-01-01 00:00:00 UTC */

#define TEST_ORIGINAL                                                         \
    "Received: from a by b; Thu, 01 Jan 2026 00:00:00 +0000\r\n"              \
    "From: alice@example.com\r\n"                                             \
    "Subject: hello\r\n"                                                      \
    "\r\n"

#define TEST_BODY  "This is the body.\r\n--not the boundary\r\n"


typedef struct {
    const char            *name;
    void                 (*make)(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r);
} test_report_t;


static void test_make(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r);
static void test_make_failure(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r);
static void test_make_headers(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r);
static void test_make_delay(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r);
static void test_make_success(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r);
static void test_make_double(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r);
static void test_make_several(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r);
static void test_make_utf8(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r);
static void test_make_utf8_rcpt(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r);
static void test_make_8bit(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r);
static void test_make_hostile(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r);
static int test_print(const char *name);
static char *test_top(ngx_smtp_dsn_t *d);
static void test_well_formed(ngx_smtp_dsn_t *d, const char *top);
static char *test_line_end(const char *line);
static ngx_uint_t test_field(const char *line, size_t len);
static void test_has(const char *top, const char *text);
static void test_failure(void **state);
static void test_full(void **state);
static void test_expired(void **state);
static void test_delay(void **state);
static void test_success(void **state);
static void test_utf8(void **state);
static void test_utf8_rcpt(void **state);
static void test_orcpt(void **state);
static void test_remote(void **state);
static void test_folding(void **state);
static void test_advice(void **state);
static void test_boundary(void **state);
static void test_hostile(void **state);
static void test_many(void **state);
static void test_memory(void **state);


static ngx_pool_t  *test_pool;

static test_report_t  test_reports[] = {
    { "failure", test_make_failure },
    { "headers", test_make_headers },
    { "delay", test_make_delay },
    { "success", test_make_success },
    { "double", test_make_double },
    { "several", test_make_several },
    { "utf8", test_make_utf8 },
    { "utf8-rcpt", test_make_utf8_rcpt },
    { "8bit", test_make_8bit },
    { "hostile", test_make_hostile },
};


/* what can be asked for with --print */

static void
test_make(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r)
{
    memset(d, 0, sizeof(ngx_smtp_dsn_t));
    memset(r, 0, sizeof(ngx_smtp_dsn_rcpt_t));

    d->kind = NGX_SMTP_DSN_FAILURE;
    d->hostname = shim_str("mail.example.com");
    d->sender = shim_str("alice@example.com");
    d->queue_id = shim_str("65af-1-2");
    d->number = 7;
    d->boundary = shim_str("0123456789abcdef");
    d->arrived = T0;
    d->now = T0 + 3600;
    d->rcpts = r;
    d->nrcpts = 1;
    d->size = sizeof(TEST_ORIGINAL TEST_BODY) - 1;

    r->mailbox = shim_str("bob@example.org");
    r->result = NGX_SMTP_DSN_FAILED;
    r->code = 550;
    r->text = shim_str("5.1.1 User unknown");
    r->remote = shim_str("mx.example.org[192.0.2.1]:25");
    r->attempted = T0 + 1800;
}


static void
test_make_failure(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r)
{
    test_make(d, r);

    d->envid = shim_str("QQ314159+3D+2B");
    r->orcpt = shim_str("rfc822;Bob+2Btag@Example.ORG");
}


static void
test_make_headers(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r)
{
    test_make(d, r);

    d->ret = NGX_SMTP_RET_HDRS;
}


static void
test_make_delay(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r)
{
    test_make(d, r);

    d->kind = NGX_SMTP_DSN_DELAY;
    d->until = T0 + 5 * 86400;
    d->gmtoff = 60;
    r->result = NGX_SMTP_DSN_DELAYED;
    r->code = 0;
    r->text = shim_str("4.4.1 connection timed out");
}


static void
test_make_success(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r)
{
    test_make(d, r);

    d->kind = NGX_SMTP_DSN_SUCCESS;
    r->result = NGX_SMTP_DSN_RELAYED;
    r->code = 250;
    r->text = shim_str("2.0.0 queued as 123");
}


static void
test_make_double(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r)
{
    test_make(d, r);

    d->kind = NGX_SMTP_DSN_DOUBLE;
    d->sender = shim_str("postmaster@example.com");
    d->nrcpts = 2;
    r[1] = r[0];
    r[1].remote.len = 0;
    r[1].attempted = 0;
    r[0].mailbox = shim_str("alice@example.com");
    r[0].text = shim_str("5.7.1 no reports here");
}


static void
test_make_several(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r)
{
    ngx_uint_t  i;

    test_make(d, r);

    d->nrcpts = 3;

    for (i = 1; i < 3; i++) {
        r[i] = r[0];
    }

    r[1].mailbox = shim_str("\"carol c\"@example.org");
    r[1].code = 452;
    r[1].result = NGX_SMTP_DSN_EXPIRED;
    r[1].text = shim_str("over quota");
    r[2].mailbox = shim_str("postmaster");
    r[2].code = 0;
    r[2].text = shim_str("5.4.4 no such domain");
    r[2].remote.len = 0;
    r[2].attempted = 0;
}


static void
test_make_utf8(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r)
{
    test_make(d, r);

    d->sender = shim_str("\303\244lice@example.com");
    d->orig_smtputf8 = 1;
    d->orig_header_8bit = 1;
    r->mailbox = shim_str("b\303\266b+x@example.org");
    r->orcpt = shim_str("utf-8;b\\x{F6}b@example.org");
    r->text = shim_str("5.1.1 Kein b\303\266b");
}


static void
test_make_utf8_rcpt(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r)
{
    test_make_utf8(d, r);

    d->sender = shim_str("alice@example.com");
    d->orig_header_8bit = 0;
}


static void
test_make_8bit(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r)
{
    test_make(d, r);

    d->orig_header_8bit = 1;
    d->orig_body_8bit = 1;
}


static void
test_make_hostile(ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r)
{
    test_make(d, r);

    d->envid = shim_str("x+0D+0AAction:+20delivered");
    r->mailbox = shim_str("bob\r\nAction: delivered\r\n@example.org");
    r->orcpt = shim_str("rfc822;x+0D+0A+0D+0AFinal-Recipient:+20y");
    r->text = shim_str("5.1.1 no\r\n\r\n--0123456789abcdef\r\n"
                       "Content-Type: text/html\r\n\r\n<b>x\t\001\177\377");
    r->remote = shim_str("mx\r\nStatus: 2.0.0");
}


static int
test_print(const char *name)
{
    size_t                i;
    ngx_str_t             out;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r[3];

    for (i = 0; i < sizeof(test_reports) / sizeof(test_reports[0]); i++) {

        if (strcmp(test_reports[i].name, name) != 0) {
            continue;
        }

        test_reports[i].make(&d, r);

        if (ngx_smtp_dsn_top(&d, test_pool, &out) != NGX_OK) {
            return 1;
        }

        fwrite(out.data, 1, out.len, stdout);
        fputs(TEST_ORIGINAL, stdout);

        if (d.full) {
            fputs(TEST_BODY, stdout);
        }

        if (ngx_smtp_dsn_tail(&d, test_pool, &out) != NGX_OK) {
            return 1;
        }

        fwrite(out.data, 1, out.len, stdout);

        return 0;
    }

    return 2;
}


/* the top as a string, checked */

static char *
test_top(ngx_smtp_dsn_t *d)
{
    char       *top;
    ngx_str_t   out;

    assert_int_equal(ngx_smtp_dsn_top(d, test_pool, &out), NGX_OK);

    assert_null(memchr(out.data, '\0', out.len));

    top = shim_cstr(test_pool, &out);
    test_well_formed(d, top);

    return top;
}


static void
test_has(const char *top, const char *text)
{
    if (strstr(top, text) == NULL) {
        fail_msg("\"%s\" is not in:\n%s", text, top);
    }
}


/* a field of the second part that we write? */

static ngx_uint_t
test_field(const char *line, size_t len)
{
    size_t  i, n;

    static const char  *names[] = {
        "Original-Envelope-Id: ", "Reporting-MTA: dns; ", "X-Queue-ID: ",
        "Arrival-Date: ", "Original-Recipient: ", "Final-Recipient: ",
        "Action: ", "Status: ", "Remote-MTA: dns; ", "Diagnostic-Code: ",
        "Last-Attempt-Date: ", "Will-Retry-Until: "
    };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        n = strlen(names[i]);

        if (len >= n && memcmp(line, names[i], n) == 0) {
            return i + 1;
        }
    }

    return 0;
}


/* the next CRLF, or NULL; the sanitizer makes strstr() slow */

static char *
test_line_end(const char *line)
{
    for ( /* void */ ; *line; line++) {
        if (line[0] == '\r' && line[1] == '\n') {
            return (char *) line;
        }
    }

    return NULL;
}


/*
 * Lines, character set, delimiters, and in the second part: only our fields,
 * each once, as many groups as recipients.
 */

static void
test_well_formed(ngx_smtp_dsn_t *d, const char *top)
{
    char         delimiter[80];
    size_t       i, len;
    ngx_uint_t   part, groups, status, field, seen;
    const char  *line, *end;

    part = 0;
    groups = 0;
    status = 0;
    seen = 0;

    end = strstr(top, "boundary=\"");
    assert_non_null(end);
    end += 10;
    len = strcspn(end, "\"");
    assert_true(len > 0 && len <= 70);
    sprintf(delimiter, "--%.*s", (int) len, end);

    for (line = top; *line; line = end + 2) {
        end = test_line_end(line);

        if (end == NULL) {
            fail_msg("no CRLF at the end:\n%s", top);
        }

        len = end - line;
        assert_true(len < 998);

        for (i = 0; i < len; i++) {

            if ((u_char) line[i] == 127
                || ((u_char) line[i] < 32 && line[i] != '\t')
                || ((line[i] & 0x80) && !d->smtputf8))
            {
                fail_msg("byte %02x in:\n%s", (u_char) line[i], top);
            }
        }

        if (strncmp(line, delimiter, strlen(delimiter)) == 0) {
            assert_int_equal(len, strlen(delimiter));
            part++;
            status = 0;
            continue;
        }

        if (part == 0 && len && *line != '\t' && *line != ' '
            && strncmp(line, "This is", 7) != 0)
        {
            assert_non_null(memchr(line, ':', len));
        }

        if (part != 2) {
            continue;
        }

        if (len == 0) {
            /* behind the fields of the part, then between groups */
            status++;
            seen = 0;
            continue;
        }

        if (status == 0 || *line == ' ') {
            continue;
        }

        field = test_field(line, len);

        if (field == 0) {
            fail_msg("not our field: %.*s\n%s", (int) len, line, top);
        }

        if (seen & (1 << field)) {
            fail_msg("twice: %.*s\n%s", (int) len, line, top);
        }

        seen |= (1 << field);
        groups += (field == 6);

        /* the group of the message, or one of a recipient */
        assert_int_equal(status == 1, field <= 4);
    }

    assert_int_equal(part, 3);
    assert_int_equal(groups, d->nrcpts);
}


static void
test_failure(void **state)
{
    ngx_str_t             tail;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r;

    test_make_failure(&d, &r);

    assert_string_equal(test_top(&d),
        "From: Mail Delivery System <MAILER-DAEMON@mail.example.com>\r\n"
        "To: alice@example.com\r\n"
        "Subject: Your message could not be delivered\r\n"
        "Date: Thu, 01 Jan 2026 01:00:00 +0000\r\n"
        "Message-ID: <65af-1-2.7@mail.example.com>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status;\r\n"
        "\tboundary=\"0123456789abcdef\"\r\n"
        "\r\n"
        "This is a report in MIME format.\r\n"
        "\r\n"
        "--0123456789abcdef\r\n"
        "Content-Description: Notification\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n"
        "\r\n"
        "This is the mail server mail.example.com.\r\n"
        "\r\n"
        "Your message could not be delivered to the recipients below.\r\n"
        "They have not received it, and it will not be tried again.\r\n"
        "\r\n"
        "<bob@example.org>\r\n"
        "    The host mx.example.org\r\n"
        "    answered:\r\n"
        "\r\n"
        "        550 5.1.1 User unknown\r\n"
        "\r\n"
        "    Please check the address for typing errors, and send your\r\n"
        "    message again to the right one.\r\n"
        "\r\n"
        "--0123456789abcdef\r\n"
        "Content-Description: Delivery report\r\n"
        "Content-Type: message/delivery-status\r\n"
        "\r\n"
        "Original-Envelope-Id: QQ314159=+\r\n"
        "Reporting-MTA: dns; mail.example.com\r\n"
        "X-Queue-ID: 65af-1-2\r\n"
        "Arrival-Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
        "\r\n"
        "Original-Recipient: rfc822; Bob+tag@Example.ORG\r\n"
        "Final-Recipient: rfc822; bob@example.org\r\n"
        "Action: failed\r\n"
        "Status: 5.1.1\r\n"
        "Remote-MTA: dns; mx.example.org\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 User unknown\r\n"
        "Last-Attempt-Date: Thu, 01 Jan 2026 00:30:00 +0000\r\n"
        "\r\n"
        "--0123456789abcdef\r\n"
        "Content-Description: Your message\r\n"
        "Content-Type: message/rfc822\r\n"
        "\r\n");

    assert_int_equal(d.full, 1);
    assert_int_equal(d.smtputf8, 0);
    assert_int_equal(d.body_8bit, 0);

    assert_int_equal(ngx_smtp_dsn_tail(&d, test_pool, &tail), NGX_OK);
    assert_str_equal(&tail, "\r\n--0123456789abcdef--\r\n");

    /* the same again */

    assert_string_equal(test_top(&d), test_top(&d));
}


static void
test_full(void **state)
{
    char                 *top;
    size_t                i;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r;

    static const struct {
        ngx_uint_t  kind;
        ngx_uint_t  ret;
        off_t       size;
        off_t       max;
        unsigned    full;
    } c[] = {
        { NGX_SMTP_DSN_FAILURE, NGX_SMTP_RET_UNSET, 100, 0, 1 },
        { NGX_SMTP_DSN_FAILURE, NGX_SMTP_RET_FULL, 100, 0, 1 },
        { NGX_SMTP_DSN_FAILURE, NGX_SMTP_RET_HDRS, 100, 0, 0 },
        { NGX_SMTP_DSN_FAILURE, NGX_SMTP_RET_FULL, 51200, 0, 1 },
        { NGX_SMTP_DSN_FAILURE, NGX_SMTP_RET_FULL, 51201, 0, 0 },
        { NGX_SMTP_DSN_FAILURE, NGX_SMTP_RET_UNSET, 51201, 0, 0 },
        { NGX_SMTP_DSN_FAILURE, NGX_SMTP_RET_FULL, 100, 99, 0 },
        { NGX_SMTP_DSN_FAILURE, NGX_SMTP_RET_FULL, 100, 100, 1 },
        { NGX_SMTP_DSN_DELAY, NGX_SMTP_RET_FULL, 100, 0, 0 },
        { NGX_SMTP_DSN_SUCCESS, NGX_SMTP_RET_FULL, 100, 0, 0 },
    };

    for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        test_make(&d, &r);

        d.kind = c[i].kind;
        d.ret = c[i].ret;
        d.size = c[i].size;
        d.max_full = c[i].max;
        d.orig_body_8bit = 1;

        top = test_top(&d);

        assert_int_equal(d.full, c[i].full);

        /* an 8-bit body counts only when it is returned */
        assert_int_equal(d.body_8bit, c[i].full);

        test_has(top, d.full ? "Content-Type: message/rfc822\r\n"
                               "Content-Transfer-Encoding: 8bit\r\n\r\n"
                             : "Content-Type: text/rfc822-headers\r\n\r\n");
    }
}


static void
test_expired(void **state)
{
    char                 *top;
    size_t                i;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r;

    static const struct {
        time_t       age;
        const char  *text;
    } c[] = {
        { -5, "    Given up.\r\n" },
        { 0, "    Given up.\r\n" },
        { 1, "    Given up after 1 second.\r\n" },
        { 119, "    Given up after 119 seconds.\r\n" },
        { 120, "    Given up after 2 minutes.\r\n" },
        { 7199, "    Given up after 119 minutes.\r\n" },
        { 7200, "    Given up after 2 hours.\r\n" },
        { 5 * 86400 + 1, "    Given up after 5 days.\r\n" },
    };

    for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        test_make(&d, &r);

        d.now = d.arrived + c[i].age;
        r.result = NGX_SMTP_DSN_EXPIRED;
        r.code = 0;
        r.text = shim_str("connection refused");

        top = test_top(&d);

        test_has(top, c[i].text);
        test_has(top, "    To the host mx.example.org\r\n"
                      "    this happened:\r\n\r\n"
                      "        connection refused\r\n");
        test_has(top, "Action: failed\r\nStatus: 4.4.7\r\n");
        test_has(top, "Diagnostic-Code: X-nginx; connection refused\r\n");
    }

    /* nothing known at all */

    r.text.len = 0;
    r.remote.len = 0;
    r.attempted = 0;
    d.arrived = 0;

    top = test_top(&d);

    test_has(top, "    Given up.\r\n    The reason:\r\n\r\n"
                  "        (nothing more is known)\r\n");
    assert_null(strstr(top, "Diagnostic-Code"));
    assert_null(strstr(top, "Remote-MTA"));
    assert_null(strstr(top, "Last-Attempt-Date"));
    assert_null(strstr(top, "Arrival-Date"));
}


static void
test_delay(void **state)
{
    char                 *top;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r;

    test_make_delay(&d, &r);
    top = test_top(&d);

    test_has(top, "Subject: Your message is delayed\r\n");
    test_has(top, "goes on trying until\r\n"
                  "Tue, 06 Jan 2026 01:00:00 +0100.\r\n");
    test_has(top, "Action: delayed\r\nStatus: 4.4.1\r\n");
    test_has(top, "Will-Retry-Until: Tue, 06 Jan 2026 01:00:00 +0100\r\n");
    assert_null(strstr(top, "Please"));

    d.until = 0;
    top = test_top(&d);

    test_has(top, "goes on trying.\r\n");
    assert_null(strstr(top, "Will-Retry-Until"));
}


static void
test_success(void **state)
{
    char                 *top;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r;

    test_make_success(&d, &r);
    top = test_top(&d);

    test_has(top, "Subject: Your message was sent on\r\n");
    test_has(top, "Action: relayed\r\nStatus: 2.0.0\r\n");
    test_has(top, "only\r\n    hear of it again if something fails.\r\n");
    test_has(top, "Content-Type: text/rfc822-headers\r\n");

    r.result = NGX_SMTP_DSN_DELIVERED;
    top = test_top(&d);

    test_has(top, "Action: delivered\r\nStatus: 2.0.0\r\n");
    assert_null(strstr(top, "again if"));
}


static void
test_utf8(void **state)
{
    char                 *top;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r;

    test_make_utf8(&d, &r);
    top = test_top(&d);

    assert_int_equal(d.smtputf8, 1);
    assert_int_equal(d.body_8bit, 1);

    test_has(top, "\r\nTo: \303\244lice@example.com\r\n");
    test_has(top, "report-type=global-delivery-status;\r\n");
    test_has(top, "charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n");
    test_has(top, "<b\303\266b+x@example.org>\r\n");
    test_has(top, "550 5.1.1 Kein b\303\266b\r\n");
    test_has(top, "Content-Type: message/global-delivery-status\r\n"
                  "Content-Transfer-Encoding: 8bit\r\n");
    test_has(top, "Original-Recipient: utf-8; b\\x{F6}b@example.org\r\n");
    test_has(top, "Final-Recipient: utf-8; b\303\266b+x@example.org\r\n");
    test_has(top, "Content-Type: message/global\r\n"
                  "Content-Transfer-Encoding: 8bit\r\n");

    d.ret = NGX_SMTP_RET_HDRS;
    test_has(test_top(&d), "Content-Type: message/global-headers\r\n"
                           "Content-Transfer-Encoding: 8bit\r\n");
}


/* the sender's address is ASCII: the report goes without SMTPUTF8 */

static void
test_utf8_rcpt(void **state)
{
    char                 *top;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r;

    test_make_utf8_rcpt(&d, &r);
    top = test_top(&d);

    assert_int_equal(d.smtputf8, 0);
    assert_int_equal(d.body_8bit, 0);

    test_has(top, "report-type=delivery-status;\r\n");
    test_has(top, "<b\\x{F6}b\\x{2B}x@example.org>\r\n");
    test_has(top, "550 5.1.1 Kein b?b\r\n");
    test_has(top, "Original-Recipient: utf-8; b\\x{F6}b@example.org\r\n");
    test_has(top, "Final-Recipient: utf-8; "
                  "b\\x{F6}b\\x{2B}x@example.org\r\n");
    test_has(top, "Content-Type: message/rfc822\r\n\r\n");

    r.mailbox = shim_str("\"\\\\ \360\237\230\200=\"@example.org");
    test_has(test_top(&d), "Final-Recipient: utf-8; "
             "\"\\x{5C}\\x{5C}\\x{20}\\x{1F600}\\x{3D}\"@example.org\r\n");

    /* the header of the original needs 8 bits, not SMTPUTF8 */

    d.orig_header_8bit = 1;
    top = test_top(&d);

    assert_int_equal(d.smtputf8, 0);
    assert_int_equal(d.body_8bit, 1);
    test_has(top, "\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
    test_has(top, "Content-Type: message/global\r\n"
                  "Content-Transfer-Encoding: 8bit\r\n");

    /* and one that never claimed to be UTF-8 is not called so */

    d.orig_smtputf8 = 0;
    test_has(test_top(&d), "Content-Type: message/rfc822\r\n"
                           "Content-Transfer-Encoding: 8bit\r\n");
}


static void
test_orcpt(void **state)
{
    char                  field[256];
    char                 *top;
    size_t                i;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r;

    static const struct {
        const char  *orcpt;
        const char  *field;
    } c[] = {
        { "rfc822;bob@example.org", "rfc822; bob@example.org" },
        { "RFC822;a+2Bb+3D@example.org", "RFC822; a+b=@example.org" },
        { "rfc822;a+C3+A4@example.org", "rfc822; a?@example.org" },
        { "rfc822;a+0Ab", "rfc822; a?b" },
        { "rfc822;a+zz", "rfc822; a+zz" },
        { "rfc822;", "rfc822; " },
        { "x400;+2Fc=x", "x400; +2Fc=x" },
        { "utf-8;a\\x{E4}@example.org", "utf-8; a\\x{E4}@example.org" },
        { "UTF-8;a\303\244@example.org", "UTF-8; a\\x{E4}@example.org" },
        { "a\r\nb;c", "a??b; c" },
        { "no type", NULL },
    };

    for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        test_make(&d, &r);
        r.orcpt = shim_str(c[i].orcpt);
        top = test_top(&d);

        if (c[i].field) {
            sprintf(field, "\r\n\r\nOriginal-Recipient: %s\r\nFinal",
                    c[i].field);
            test_has(top, field);

        } else {
            assert_null(strstr(top, "Original-Recipient"));
        }
    }
}


static void
test_remote(void **state)
{
    char                  field[256];
    size_t                i;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r;

    static const struct {
        const char  *remote;
        const char  *name;
    } c[] = {
        { "mx.example.org", "mx.example.org" },
        { "mx.example.org:25", "mx.example.org" },
        { "mx.example.org[192.0.2.1]:25", "mx.example.org" },
        { "mx.example.org[192.0.2.1]", "mx.example.org" },
        { "192.0.2.1", "[192.0.2.1]" },
        { "192.0.2.1:25", "[192.0.2.1]" },
        { "[192.0.2.1]:25", "[192.0.2.1]" },
        { "[2001:db8::1]:25", "[IPv6:2001:db8::1]" },
        { "[2001:db8::1", "[IPv6:2001:db8::1]" },
        { "2001:db8::1", "[IPv6:2001:db8::1]" },
        { "mx\r\nX: y", "mx??X" },
    };

    for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        test_make(&d, &r);
        r.remote = shim_str(c[i].remote);

        sprintf(field, "\r\nRemote-MTA: dns; %s\r\n", c[i].name);
        test_has(test_top(&d), field);

        sprintf(field, "\r\n    The host %s\r\n", c[i].name);
        test_has(test_top(&d), field);
    }
}


static void
test_folding(void **state)
{
    char                  text[3000], *top, *line, *end;
    size_t                i, k, n;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r;

    test_make(&d, &r);

    r.text = shim_str("5.7.1 Message refused: the quick brown fox jumps over"
                      " the lazy dog,  and then over\tthe other one");
    top = test_top(&d);

    test_has(top,
        "        550 5.7.1 Message refused: the quick brown fox jumps over"
        " the lazy\r\n"
        "        dog, and then over the other one\r\n");
    test_has(top,
        "Diagnostic-Code: smtp; 550 5.7.1 Message refused: the quick brown fox"
        " jumps\r\n"
        "    over the lazy dog, and then over the other one\r\n");

    /* words of each length: no line over 78, or over a word */

    for (n = 1; n < 300; n++) {

        for (i = 0, k = 0; k < sizeof(text) - n - 2; i++) {
            memset(text + k, 'a' + i % 26, n);
            k += n;
            text[k++] = ' ';
        }

        text[k] = '\0';
        r.text = shim_str(text);

        top = test_top(&d);

        for (line = top; *line; line = end + 2) {
            end = test_line_end(line);
            assert_true(end - line <= 76 || n > 40);
            assert_true(end - line <= 250);
        }
    }

    /* cut, not in a character */

    test_make_utf8(&d, &r);
    memset(text, 'a', sizeof(text));

    for (i = 1; i + 2 < sizeof(text); i += 2) {
        memcpy(text + i, "\303\244", 2);
    }

    r.text.data = (u_char *) text;
    r.text.len = sizeof(text);
    top = test_top(&d);
    assert_true(strlen(top) < 6000);

    /* the only words: blanks */

    memset(text, ' ', sizeof(text));
    test_has(test_top(&d), "        550 \r\n");
}


static void
test_advice(void **state)
{
    char                  text[32];
    size_t                i;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r;

    static const struct {
        const char  *status;
        const char  *advice;
    } c[] = {
        { "5.1.1", "typing errors" },
        { "5.1.7", "your own address" },
        { "5.1.8", "your own address" },
        { "5.1.10", "typing errors" },
        { "5.2.2", "is full" },
        { "5.2.21", "pass this report" },
        { "5.2.3", "too large for that mailbox" },
        { "5.3.4", "too large for that host" },
        { "5.4.6", "in circles" },
        { "5.4.1", "could not be reached" },
        { "5.6.7", "internationalized" },
        { "5.7.26", "by a rule" },
        { "5.0.0", "pass this report" },
        { "5.10.1", "pass this report" },
    };

    for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        test_make(&d, &r);
        sprintf(text, "%s x", c[i].status);
        r.text = shim_str(text);

        test_has(test_top(&d), c[i].advice);
    }
}


static void
test_boundary(void **state)
{
    char                 *top;
    ngx_str_t             tail;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r;

    test_make(&d, &r);
    d.boundary.len = 0;
    top = test_top(&d);

    test_has(top, "boundary=\"=_7.65af-1-2\"\r\n");
    assert_int_equal(ngx_smtp_dsn_tail(&d, test_pool, &tail), NGX_OK);
    assert_str_equal(&tail, "\r\n--=_7.65af-1-2--\r\n");

    d.queue_id = shim_str("0123456789012345678901234567890123456789"
                          "0123456789012345678901234567890123456789");
    d.number = (ngx_uint_t) -1;
    (void) test_top(&d);

    d.boundary = d.queue_id;
    (void) test_top(&d);

    d.boundary = shim_str("a\"b\r\nc ;");
    test_has(test_top(&d), "boundary=\"a?b??c??\"\r\n");
}


static void
test_hostile(void **state)
{
    size_t                i, k, len, round;
    u_char                noise[700];
    ngx_str_t            *s, text;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t   r[3];

    for (i = 0; i < sizeof(test_reports) / sizeof(test_reports[0]); i++) {
        test_reports[i].make(&d, r);
        (void) test_top(&d);
    }

    test_make_hostile(&d, r);
    test_has(test_top(&d), "Original-Envelope-Id: x??Action: delivered\r\n");
    test_has(test_top(&d), "Final-Recipient: rfc822; bob??Action: delivered??"
                           "@example.org\r\nAction: failed\r\n");

    srandom(3);

    for (round = 0; round < 20000; round++) {
        test_reports[round % 9].make(&d, r);

        if (round & 1) {
            d.sender = shim_str("\303\244@example.com");
        }

        len = random() % ((round % 10) ? 40 : sizeof(noise));

        for (k = 0; k < len; k++) {
            noise[k] = (random() % 3) ? (u_char) random()
                                      : (u_char) "\r\n:;\\()<>\" +="
                                                 [random() % 13];
        }

        text.data = malloc(len + 1);
        assert_non_null(text.data);
        memcpy(text.data, noise, len);
        text.len = len;

        switch (random() % 10) {
        case 0:  s = &d.hostname;  break;
        case 1:  s = &d.sender;  break;
        case 2:  s = &d.envid;  break;
        case 3:  s = &d.queue_id;  break;
        case 4:  s = &r[0].mailbox;  break;
        case 5:  s = &r[0].orcpt;  break;
        case 6:  s = &r[0].remote;  break;
        default:  s = &r[0].text;  break;
        }

        *s = text;
        (void) test_top(&d);

        free(text.data);
        ngx_reset_pool(test_pool);
    }
}


/* room is enough for the longest strings of many recipients */

static void
test_many(void **state)
{
    u_char               *big;
    size_t                i;
    ngx_str_t             s;
    ngx_smtp_dsn_t        d;
    ngx_smtp_dsn_rcpt_t  *r;

    r = calloc(1000, sizeof(ngx_smtp_dsn_rcpt_t));
    big = malloc(5000);
    assert_non_null(r);
    assert_non_null(big);

    test_make_delay(&d, r);
    d.nrcpts = 1000;

    for (i = 0; i < 5000; i++) {
        big[i] = "\303\244+"[i % 3];
    }

    s.data = big;
    s.len = 5000;

    r[0].orcpt = s;
    ngx_memcpy(big, "utf-8;", 6);
    r[0].mailbox = s;
    r[0].remote = s;
    r[0].text = s;

    for (i = 1; i < 1000; i++) {
        r[i] = r[0];
    }

    d.hostname = s;
    d.queue_id = s;
    d.envid = s;
    d.boundary = s;
    d.sender = s;

    (void) test_top(&d);
    assert_int_equal(d.smtputf8, 1);

    d.sender = shim_str("alice@example.com");
    (void) test_top(&d);

    /* words of one letter grow most */

    for (i = 0; i < 5000; i++) {
        big[i] = " a"[i & 1];
    }

    (void) test_top(&d);

    free(big);
    free(r);
    ngx_reset_pool(test_pool);
}


static void
test_memory(void **state)
{
    ngx_str_t            out;
    ngx_smtp_dsn_t       d;
    ngx_smtp_dsn_rcpt_t  r;

    test_make(&d, &r);

    shim_alloc_fail_after(0);
    assert_int_equal(ngx_smtp_dsn_top(&d, test_pool, &out), NGX_ERROR);
    assert_int_equal(ngx_smtp_dsn_tail(&d, test_pool, &out), NGX_ERROR);
    shim_alloc_fail_after(-1);

    assert_int_equal(ngx_smtp_dsn_top(&d, test_pool, &out), NGX_OK);
}


int
main(int argc, char **argv)
{
    int  rc;

    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_failure),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_delay),
        cmocka_unit_test(test_success),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_utf8_rcpt),
        cmocka_unit_test(test_orcpt),
        cmocka_unit_test(test_remote),
        cmocka_unit_test(test_folding),
        cmocka_unit_test(test_advice),
        cmocka_unit_test(test_boundary),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_memory),
    };

    test_pool = ngx_create_pool(4096, &shim_log);

    if (argc == 3 && strcmp(argv[1], "--print") == 0) {
        rc = test_print(argv[2]);

    } else {
        rc = shim_run(tests);
    }

    ngx_destroy_pool(test_pool);

    return rc;
}
