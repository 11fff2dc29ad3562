
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Status codes of results, and who wants to be told of them.
 *
 * sources: message/ngx_smtp_dsn_status.c
 */


#include "shim.h"
#include "ngx_smtp_dsn.h"

#include <stdlib.h>
#include <string.h>


static void test_status(void **state);
static void test_wanted(void **state);


static void
test_status(void **state)
{
    size_t     i;
    u_char    *p;
    ngx_str_t  text, status;

    static const struct {
        ngx_uint_t   result;
        ngx_uint_t   code;
        const char  *text;
        const char  *status;
    } c[] = {

        /* the enhanced code of the reply */

        { NGX_SMTP_DSN_FAILED, 550, "5.1.1 x", "5.1.1" },
        { NGX_SMTP_DSN_FAILED, 550, "5.1.1", "5.1.1" },
        { NGX_SMTP_DSN_FAILED, 550, "5.123.456 x", "5.123.456" },
        { NGX_SMTP_DSN_EXPIRED, 452, "4.2.2 x", "4.2.2" },
        { NGX_SMTP_DSN_DELAYED, 421, "4.7.0 x", "4.7.0" },
        { NGX_SMTP_DSN_RELAYED, 250, "2.6.0 x", "2.6.0" },

        /* malformed, or of another class */

        { NGX_SMTP_DSN_FAILED, 550, "4.1.1 x", "5.0.0" },
        { NGX_SMTP_DSN_FAILED, 550, "2.1.1 x", "5.0.0" },
        { NGX_SMTP_DSN_FAILED, 550, "5.1.1x", "5.0.0" },
        { NGX_SMTP_DSN_FAILED, 550, "5.1.1.1 x", "5.0.0" },
        { NGX_SMTP_DSN_FAILED, 550, "5.1234.1 x", "5.0.0" },
        { NGX_SMTP_DSN_FAILED, 550, "5..1 x", "5.0.0" },
        { NGX_SMTP_DSN_FAILED, 550, "5.1. x", "5.0.0" },
        { NGX_SMTP_DSN_FAILED, 550, "5.1", "5.0.0" },
        { NGX_SMTP_DSN_FAILED, 550, "5.1.", "5.0.0" },
        { NGX_SMTP_DSN_FAILED, 550, "3.1.1 x", "5.0.0" },
        { NGX_SMTP_DSN_FAILED, 550, "", "5.0.0" },
        { NGX_SMTP_DSN_EXPIRED, 450, "5.1.1 x", "4.2.0" },
        { NGX_SMTP_DSN_RELAYED, 250, "5.1.1 x", "2.0.0" },

        /* from the code */

        { NGX_SMTP_DSN_FAILED, 552, "too big", "5.3.4" },
        { NGX_SMTP_DSN_FAILED, 556, "null mx", "5.1.10" },
        { NGX_SMTP_DSN_FAILED, 599, "x", "5.0.0" },
        { NGX_SMTP_DSN_DELAYED, 451, "x", "4.3.0" },
        { NGX_SMTP_DSN_DELAYED, 499, "x", "4.0.0" },
        { NGX_SMTP_DSN_RELAYED, 250, "ok", "2.0.0" },
        { NGX_SMTP_DSN_DELIVERED, 0, "", "2.0.0" },

        /* ours */

        { NGX_SMTP_DSN_FAILED, 0, "5.4.4 no host", "5.4.4" },
        { NGX_SMTP_DSN_EXPIRED, 0, "4.4.1 timed out", "4.4.1" },
        { NGX_SMTP_DSN_EXPIRED, 0, "timed out", "4.4.7" },
        { NGX_SMTP_DSN_FAILED, 0, "x", "5.0.0" },
        { NGX_SMTP_DSN_DELAYED, 0, "x", "4.0.0" },
        { NGX_SMTP_DSN_FAILED, 0, "2.0.0 x", "5.0.0" },

        /* nonsense codes */

        { NGX_SMTP_DSN_FAILED, 250, "2.0.0 x", "5.0.0" },
        { NGX_SMTP_DSN_FAILED, 354, "x", "5.0.0" },
        { NGX_SMTP_DSN_FAILED, 99999, "x", "5.0.0" },
        { NGX_SMTP_DSN_FAILED, (ngx_uint_t) -1, "x", "5.0.0" },
    };

    for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        text.len = strlen(c[i].text);
        text.data = malloc(text.len + 1);
        p = malloc(NGX_SMTP_DSN_STATUS_LEN);
        assert_non_null(text.data);
        assert_non_null(p);

        /* no NUL behind it */
        memcpy(text.data, c[i].text, text.len);
        text.data[text.len] = '7';

        status.data = p;
        status.len = ngx_smtp_dsn_status(p, c[i].result, c[i].code, &text) - p;

        if (status.len != strlen(c[i].status)
            || memcmp(p, c[i].status, status.len) != 0)
        {
            fail_msg("case %zu: %.*s", i, (int) status.len, (char *) p);
        }

        free(text.data);
        free(p);
    }
}


static void
test_wanted(void **state)
{
    size_t      n, r;
    ngx_uint_t  want;

    for (n = 0; n < 16; n++) {
        for (r = 0; r < 8; r++) {

            switch (r) {

            case NGX_SMTP_DSN_FAILED:
            case NGX_SMTP_DSN_EXPIRED:
                want = (n == 0 || (n & 4)) ? NGX_SMTP_DSN_FAILURE : 0;
                break;

            case NGX_SMTP_DSN_DELAYED:
                want = (n == 0 || (n & 8)) ? NGX_SMTP_DSN_DELAY : 0;
                break;

            case NGX_SMTP_DSN_RELAYED:
                want = (n & 2) ? NGX_SMTP_DSN_SUCCESS : 0;
                break;

            default:
                want = 0;
            }

            if (n & NGX_SMTP_NOTIFY_NEVER) {
                want = 0;
            }

            assert_int_equal(ngx_smtp_dsn_wanted(n, r), want);
        }
    }
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_wanted),
    };

    return shim_run(tests);
}
