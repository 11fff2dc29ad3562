
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The header scanner: a table of odd headers, limits, every table entry and
 * every mail of the public test data in slices of different sizes, the latter
 * compared with a plain scan of the whole message.
 *
 * sources: message/ngx_smtp_header.c
 */


#include "shim.h"
#include "ngx_smtp_header.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


typedef struct {
    const char   *text;
    size_t        size;         /* of the header; -1: all of the text */
    ngx_uint_t    fields;
    ngx_uint_t    malformed;
    ngx_uint_t    received;
    const char   *flags;        /* d date, m message-id, f from, a auto, 8 */
} test_case_t;


static ngx_int_t test_feed(void *ctx, u_char *data, size_t len);
static void test_flags(ngx_smtp_header_t *h, char *buf);
static void test_table(void **state);
static void test_nul(void **state);
static void test_limits(void **state);
static void test_long(void **state);
static void test_body(void **state);
static void test_8bit(void **state);
static void test_mails(void **state);
static void test_reference(u_char *data, size_t len, ngx_smtp_header_t *h);
static void test_compare(const char *path, u_char *data, size_t len);
static int test_mail(const char *path, const struct stat *sb, int type,
    struct FTW *ftw);


static const test_case_t  test_cases[] = {

    /* where it ends */

    { "\r\n", 2, 0, 0, 0, "" },
    { "", -1, 0, 0, 0, "" },
    { "\r\n\r\n", 2, 0, 0, 0, "" },
    { "A: b\r\n\r\nbody\r\n\r\n", 8, 1, 0, 0, "" },
    { "A: b\r\n", -1, 1, 0, 0, "" },
    { "A: b", -1, 1, 0, 0, "" },
    { "A: b\r\n\r", -1, 1, 1, 0, "" },
    { "A: b\n\nbody", -1, 1, 0, 0, "" },
    { "A: b\r\rC: d\r\n\r\n", 14, 1, 0, 0, "" },
    { "A: b\r\n\n\r\n\r\n", 11, 1, 1, 0, "" },
    { "A: b\r\n\r\r\n\r\n", 11, 1, 1, 0, "" },
    { "A: b\r\n\rC: d\r\n\r\n", 15, 1, 1, 0, "" },
    { "A: b\r\n \r\n\r\n", 11, 1, 0, 0, "" },
    { "A: b\r\n\t\r\nDate: c\r\n\r\n", 20, 2, 0, 0, "d" },
    { "A: b\r\r\n\r\n", 9, 1, 0, 0, "" },

    /* names */

    { "Date: x\r\nMessage-ID: y\r\nFrom: z\r\nAuto-Submitted: no\r\n\r\n",
      -1, 4, 0, 0, "dmfa" },
    { "DATE:\r\nmessage-id:\r\nfROM:\r\n\r\n", -1, 3, 0, 0, "dmf" },
    { "Date : x\r\nFrom \t: y\r\n\r\n", -1, 2, 0, 0, "df" },
    { "Dat: x\r\nDates: y\r\nMessage-Id-: z\r\n\r\n", -1, 3, 0, 0, "" },
    { "Auto-Submitted-For: x\r\nAuto-Submitte: y\r\n\r\n", -1, 2, 0, 0, "" },
    { "X-Date: x\r\nDate-X: y\r\n\r\n", -1, 2, 0, 0, "" },

    /* Received, and what looks like it */

    { "Received: a\r\nReceived: b\r\nreceived : c\r\n\r\n", -1, 3, 0, 3, "" },
    { "Received: a\r\n b\r\n Received: c\r\n\tReceived: d\r\n\r\n",
      -1, 1, 0, 1, "" },
    { "X: Received: a\r\n\r\n", -1, 1, 0, 0, "" },
    { "X-Received: a\r\nReceived-SPF: b\r\nReceive: c\r\n\r\n",
      -1, 3, 0, 0, "" },
    { "X: a\nReceived: b\r\n\r\n", -1, 1, 0, 0, "" },
    { "X: a\rReceived: b\r\n\r\n", -1, 1, 0, 0, "" },
    { "A: b\r\n\r\nReceived: c\r\n\r\n", 8, 1, 0, 0, "" },

    /* no fields */

    { "From me@example.com Mon\r\nDate: x\r\n\r\n", -1, 1, 1, 0, "d" },
    { "hello\r\nDate: x\r\n\r\n", -1, 1, 1, 0, "d" },
    { ": x\r\n:\r\n\r\n", -1, 0, 2, 0, "" },
    { " folded: first\r\nDate: x\r\n\r\n", -1, 1, 1, 0, "d" },
    { "Da te: x\r\n\r\n", -1, 0, 1, 0, "" },
    { "Date\001: x\r\n\r\n", -1, 0, 1, 0, "" },
    { "Date\r\n: x\r\n\r\n", -1, 0, 2, 0, "" },
    { "Date \r\n : x\r\n\r\n", -1, 0, 2, 0, "" },
    { "A: b\r\ntail", -1, 1, 1, 0, "" },
    { "A: b\r\ntail ", -1, 1, 1, 0, "" },

    /* bytes over 127 */

    { "Subject: \303\244\r\n\r\n", -1, 1, 0, 0, "8" },
    { "S: 0123456789012345678901234567890123456789\377\r\n\r\n",
      -1, 1, 0, 0, "8" },
    { "S\303\244: a\r\n\r\n", -1, 0, 1, 0, "8" },
    { "\303\r\n\r\n", -1, 0, 1, 0, "8" },
    { "S: a\r\n\r\303\r\n\r\n", -1, 1, 1, 0, "8" },
    { "S \303: a\r\n\r\n", -1, 0, 1, 0, "8" },
    { "S: a\r\n \303\244\r\n\r\n", -1, 1, 0, 0, "8" },
    { "S: a\r\n\r\n\303\244\r\n", 8, 1, 0, 0, "" },
};


static ngx_int_t
test_feed(void *ctx, u_char *data, size_t len)
{
    return ngx_smtp_header_scan(ctx, data, len);
}


static void
test_flags(ngx_smtp_header_t *h, char *buf)
{
    if (h->date) {
        *buf++ = 'd';
    }

    if (h->message_id) {
        *buf++ = 'm';
    }

    if (h->from) {
        *buf++ = 'f';
    }

    if (h->auto_submitted) {
        *buf++ = 'a';
    }

    if (h->header_8bit) {
        *buf++ = '8';
    }

    *buf = '\0';
}


static void
test_table(void **state)
{
    char                buf[8];
    size_t              i, len, step, size;
    ngx_int_t           rc;
    const test_case_t  *c;
    ngx_smtp_header_t   h;

    for (i = 0; i < sizeof(test_cases) / sizeof(test_cases[0]); i++) {
        c = &test_cases[i];
        len = strlen(c->text);
        size = (c->size == (size_t) -1) ? len : c->size;

        for (step = 0; step <= len; step++) {
            ngx_smtp_header_init(&h, 0, 0);

            if (len) {
                (void) shim_feed(test_feed, &h, c->text, len, step);
            }

            rc = ngx_smtp_header_end(&h);
            test_flags(&h, buf);

            if (rc != NGX_OK || (size_t) h.size != size
                || h.fields != c->fields || h.malformed != c->malformed
                || h.received != c->received || strcmp(buf, c->flags) != 0)
            {
                fail_msg("case %zu step %zu: rc %ld size %ld fields %lu "
                         "malformed %lu received %lu flags %s", i, step,
                         (long) rc, (long) h.size, (long) h.fields,
                         (long) h.malformed, (long) h.received, buf);
            }
        }
    }
}


static void
test_nul(void **state)
{
    size_t             step;
    ngx_smtp_header_t  h;

    static const char  text[] =
        "D\0ate: x\r\nA\0\r\nB: \0\0\r\n\0\r\n\r\nbody";

    for (step = 0; step < sizeof(text); step++) {
        ngx_smtp_header_init(&h, 0, 0);

        assert_int_equal(shim_feed(test_feed, &h, text, sizeof(text) - 1,
                                   step),
                         NGX_OK);

        assert_int_equal(h.fields, 1);
        assert_int_equal(h.malformed, 3);
        assert_int_equal(h.size, sizeof(text) - 1 - 4);
        assert_int_equal(h.done, 1);
    }
}


/* the answer at a limit does not depend on the slices */

static void
test_limits(void **state)
{
    size_t             len, step, max;
    ngx_int_t          rc, expected;
    ngx_smtp_header_t  h;

    static const char  text[] = "A: b\r\nC: d\r\n e\r\nF: g\r\n\r\nbody body";

    len = sizeof(text) - 1;

    for (step = 0; step <= len; step++) {

        for (max = 1; max <= len; max++) {
            ngx_smtp_header_init(&h, max, 0);

            expected = (max < 24) ? NGX_SMTP_HEADER_TOO_LARGE : NGX_OK;

            rc = shim_feed(test_feed, &h, text, len, step);
            assert_int_equal(rc, expected);

            /* stays as it is */
            assert_int_equal(ngx_smtp_header_scan(&h, (u_char *) "x", 1),
                             expected);
            assert_int_equal(ngx_smtp_header_end(&h), expected);
            assert_int_equal(h.size, ngx_min(max, 24));
        }

        for (max = 1; max <= 4; max++) {
            ngx_smtp_header_init(&h, 0, max);

            expected = (max < 3) ? NGX_SMTP_HEADER_TOO_MANY : NGX_OK;

            rc = shim_feed(test_feed, &h, text, len, step);
            assert_int_equal(rc, expected);
            assert_int_equal(ngx_smtp_header_end(&h), expected);
            assert_int_equal(h.fields, ngx_min(max, 3));
        }
    }

    /* a header of just the limit that never ends is not over it */

    ngx_smtp_header_init(&h, 6, 0);
    assert_int_equal(ngx_smtp_header_scan(&h, (u_char *) "A: b\r\n", 6),
                     NGX_AGAIN);
    assert_int_equal(ngx_smtp_header_end(&h), NGX_OK);

    /* both at the same time: the first one met */

    ngx_smtp_header_init(&h, 8, 1);
    assert_int_equal(ngx_smtp_header_scan(&h, (u_char *) "A: b\r\nC: d\r\n",
                                          12),
                     NGX_SMTP_HEADER_TOO_MANY);
    ngx_smtp_header_init(&h, 7, 1);
    assert_int_equal(ngx_smtp_header_scan(&h, (u_char *) "A: b\r\nC: d\r\n",
                                          12),
                     NGX_SMTP_HEADER_TOO_LARGE);
}


/* a folded field of 100 KB, 100,000 fields, a line without an end */

static void
test_long(void **state)
{
    char               *buf;
    size_t              i, n;
    ngx_smtp_header_t   h;

    buf = malloc(1200001);
    assert_non_null(buf);

    n = sprintf(buf, "Received: x");

    for (i = 0; i < 10000; i++) {
        n += sprintf(buf + n, "\r\n Received:");
    }

    n += sprintf(buf + n, "\r\n\r\n");

    ngx_smtp_header_init(&h, 1000000, 2);
    assert_int_equal(shim_feed(test_feed, &h, buf, n, 4096), NGX_OK);
    assert_int_equal(h.received, 1);
    assert_int_equal(h.size, n);

    for (i = 0, n = 0; i < 100000; i++) {
        n += sprintf(buf + n, "Received: \r\n");
    }

    ngx_smtp_header_init(&h, 0, 0);
    assert_int_equal(shim_feed(test_feed, &h, buf, n, 1000), NGX_AGAIN);
    assert_int_equal(h.received, 100000);

    ngx_smtp_header_init(&h, 0, 1000);
    assert_int_equal(shim_feed(test_feed, &h, buf, n, 1000),
                     NGX_SMTP_HEADER_TOO_MANY);
    assert_int_equal(h.received, 1000);

    memset(buf, 'a', 1200000);

    ngx_smtp_header_init(&h, 100000, 0);
    assert_int_equal(shim_feed(test_feed, &h, buf, 1200000, 1000),
                     NGX_SMTP_HEADER_TOO_LARGE);
    assert_int_equal(h.size, 100000);

    free(buf);
}


static void
test_body(void **state)
{
    ngx_smtp_header_t  h;

    ngx_smtp_header_init(&h, 0, 0);

    assert_int_equal(ngx_smtp_header_scan(&h, (u_char *) "A: b\r\n\r\n\377",
                                          9),
                     NGX_OK);
    assert_int_equal(h.size, 8);
    assert_int_equal(h.header_8bit, 0);
    assert_int_equal(h.body_8bit, 0);

    ngx_smtp_header_body(&h, (u_char *) "plain", 5);
    assert_int_equal(h.body_8bit, 0);
    ngx_smtp_header_body(&h, (u_char *) "\377", 1);
    assert_int_equal(h.body_8bit, 1);
    ngx_smtp_header_body(&h, (u_char *) "plain", 5);
    assert_int_equal(h.body_8bit, 1);
    assert_int_equal(h.header_8bit, 0);
}


static void
test_8bit(void **state)
{
    u_char  *p;
    size_t   len, i;

    for (len = 0; len < 100; len++) {
        p = malloc(len + 1);
        assert_non_null(p);
        memset(p, 0x7f, len + 1);

        /* at an odd address too */
        assert_int_equal(ngx_smtp_header_8bit(p, len), 0);
        assert_int_equal(ngx_smtp_header_8bit(p + 1, len), 0);

        for (i = 0; i < len; i++) {
            p[i + 1] = 0x80;
            assert_int_equal(ngx_smtp_header_8bit(p + 1, len), 1);
            p[i + 1] = 0x7f;
        }

        free(p);
    }
}


/* the same by looking at the whole message */

static void
test_reference(u_char *data, size_t len, ngx_smtp_header_t *h)
{
    size_t       i;
    u_char      *p, *last, *end, *colon;
    ngx_uint_t   bad;

    memset(h, 0, sizeof(ngx_smtp_header_t));

    last = data + len;

    for (p = data; p < last; p = end + 2) {
        end = memmem(p, last - p, "\r\n", 2);

        if (end == NULL) {
            end = last;
        }

        for (i = 0; p + i < end; i++) {
            h->header_8bit |= (p[i] >> 7);
        }

        if (end == p) {
            h->size = p + 2 - data;
            return;
        }

        if ((*p == ' ' || *p == '\t') && h->fields) {

            if (end == last) {
                break;
            }

            continue;
        }

        colon = memchr(p, ':', end - p);
        bad = (colon == NULL || colon == p);

        if (!bad) {
            i = colon - p;

            while (i && (p[i - 1] == ' ' || p[i - 1] == '\t')) {
                i--;
            }

            bad = (i == 0);

            while (i && !bad) {
                i--;
                bad = (p[i] < 33 || p[i] > 126);
            }
        }

        if (bad) {
            h->malformed++;

        } else {
            h->fields++;

            i = strspn((char *) p, "abcdefghijklmnopqrstuvwxyz-"
                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ");

            h->received += (i == 8 && strncasecmp((char *) p, "received", 8)
                                      == 0);
            h->date |= (i == 4 && strncasecmp((char *) p, "date", 4) == 0
                        && strchr(": \t", p[4]));
            h->from |= (i == 4 && strncasecmp((char *) p, "from", 4) == 0
                        && strchr(": \t", p[4]));
            h->message_id |= (i == 10
                              && strncasecmp((char *) p, "message-id", 10)
                                 == 0);
            h->auto_submitted |= (i == 14
                                  && strncasecmp((char *) p,
                                                 "auto-submitted", 14) == 0);
        }

        if (end == last) {
            break;
        }
    }

    h->size = len;
}


static void
test_compare(const char *path, u_char *data, size_t len)
{
    size_t             i, step;
    ngx_smtp_header_t  h, ref;

    static const size_t  steps[] = { 0, 1, 2, 3, 7, 64, 1000, 4096 };

    test_reference(data, len, &ref);

    for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        step = steps[i];

        ngx_smtp_header_init(&h, 0, 0);

        /* a slice of nothing would not be a slice; NGX_OK ends the feeding */

        if (len && shim_feed(test_feed, &h, data, len, step) == NGX_OK) {
            assert_int_equal(h.done, 1);
        }

        assert_int_equal(ngx_smtp_header_end(&h), NGX_OK);

        if (h.size != ref.size || h.fields != ref.fields
            || h.malformed != ref.malformed || h.received != ref.received
            || h.date != ref.date || h.from != ref.from
            || h.message_id != ref.message_id
            || h.auto_submitted != ref.auto_submitted
            || h.header_8bit != ref.header_8bit)
        {
            fail_msg("%s, step %zu: size %ld/%ld fields %lu/%lu malformed "
                     "%lu/%lu received %lu/%lu date %d/%d from %d/%d id %d/%d "
                     "8bit %d/%d", path, step, (long) h.size, (long) ref.size,
                     (long) h.fields, (long) ref.fields, (long) h.malformed,
                     (long) ref.malformed, (long) h.received,
                     (long) ref.received, h.date, ref.date, h.from, ref.from,
                     h.message_id, ref.message_id, h.header_8bit,
                     ref.header_8bit);
        }
    }
}


static size_t  test_nmails;
static size_t  test_nfields;


static int
test_mail(const char *path, const struct stat *sb, int type, struct FTW *ftw)
{
    FILE               *f;
    size_t              i, len, n;
    u_char             *raw, *mail;
    ngx_smtp_header_t   ref;

    if (type != FTW_F || strstr(path, "manifest.json")) {
        return 0;
    }

    len = sb->st_size;

    /* room for a NUL, which strspn() of the reference stops at */

    raw = malloc(len + 1);
    mail = malloc(2 * len + 1);
    f = fopen(path, "rb");

    assert_non_null(raw);
    assert_non_null(mail);
    assert_non_null(f);
    assert_int_equal(fread(raw, 1, len, f), len);

    fclose(f);

    raw[len] = '\0';

    test_compare(path, raw, len);

    for (i = 0, n = 0; i < len; i++) {

        if (raw[i] == '\n' && (i == 0 || raw[i - 1] != '\r')) {
            mail[n++] = '\r';
        }

        mail[n++] = raw[i];
    }

    mail[n] = '\0';

    test_compare(path, mail, n);

    test_reference(mail, n, &ref);

    test_nmails++;
    test_nfields += ref.fields;

    free(raw);
    free(mail);

    return 0;
}


static void
test_mails(void **state)
{
    static const char  dir[] = SHIM_ROOT "/../shared/testdata/mime";

    if (nftw(dir, test_mail, 16, FTW_PHYS) != 0) {
        print_message("# no mails in ../shared/testdata/mime\n");
        skip();
    }

    print_message("# %zu mails, %zu fields\n", test_nmails, test_nfields);

    assert_true(test_nmails > 500);
    assert_true(test_nfields > 5 * test_nmails);
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_nul),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_body),
        cmocka_unit_test(test_8bit),
        cmocka_unit_test(test_mails),
    };

    return shim_run(tests);
}
