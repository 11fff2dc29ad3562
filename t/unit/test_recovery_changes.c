
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What an operator changed, and last errors, in all the ways a segment is
 * recovered: by a scan, by the summaries and the record behind SEALED, by
 * events behind that, and from a log that was replaced.
 *
 * sources: core/ngx_smtp_sys.c core/ngx_smtp_crc32c.c
 * sources: core/ngx_smtp_pages.c
 * sources: spool/ngx_smtp_record.c spool/ngx_smtp_event.c
 * sources: spool/ngx_smtp_spool_dir.c spool/ngx_smtp_segment.c
 * sources: spool/ngx_smtp_segment_log.c
 * sources: spool/ngx_smtp_seal.c spool/ngx_smtp_body.c
 * sources: spool/ngx_smtp_window.c spool/ngx_smtp_recovery.c
 * sources: spool/ngx_smtp_recovery_log.c spool/ngx_smtp_recovery_scan.c
 * sources: t/unit/spool.c
 * sources: spool/ngx_smtp_errors.c
 * sources: spool/ngx_smtp_recovery_skip.c
 * sources: spool/ngx_smtp_rewrite.c
 * sources: spool/ngx_smtp_rewrite_log.c
 */


#include "spool.h"
#include "ngx_smtp_errors.h"

#include <stdlib.h>
#include <string.h>


static void test_log_change(ngx_smtp_segment_file_t *f, ngx_uint_t type,
    uint32_t number, ngx_uint_t kind, ngx_str_t destination);
static ngx_uint_t test_goes_to(ngx_smtp_recovery_t *r, uint32_t number,
    const char *name, size_t len);
static void test_check_changes(ngx_smtp_recovery_t *r);
static void test_operator(void **state);


static ngx_smtp_spool_t       spool;
static ngx_smtp_segment_id_t  id;


static int
test_setup(void **state)
{
    test_sync_off();
    (void) test_spool_make(&spool);
    return 0;
}


static int
test_teardown(void **state)
{
    test_spool_remove(&spool);
    return 0;
}


static void
test_log_change(ngx_smtp_segment_file_t *f, ngx_uint_t type, uint32_t number,
    ngx_uint_t kind, ngx_str_t destination)
{
    u_char             buf[512];
    size_t             size;
    ngx_smtp_event_t   e;

    memset(&e, 0, sizeof(e));

    e.type = type;
    e.number = number;
    e.time = TEST_NOW;
    e.kind = kind;
    e.queue = destination;

    size = ngx_smtp_event_size(&e);
    assert_true(size <= sizeof(buf));
    ngx_smtp_event_put(buf, &e);

    assert_int_equal(ngx_smtp_segment_log(f, buf, size, 0, 0), NGX_OK);
}


static ngx_uint_t
test_goes_to(ngx_smtp_recovery_t *r, uint32_t number, const char *name,
    size_t len)
{
    ngx_str_t  *q;

    q = &r->queues[test_live(r, number)->queue];

    return q->len == len && memcmp(q->data, name, len) == 0;
}


static void
test_check_changes(ngx_smtp_recovery_t *r)
{
    ngx_str_t          text;
    ngx_uint_t         i, n;
    ngx_smtp_error_t  *e;

    assert_true(test_goes_to(r, 2, "other", 5));
    assert_true(test_goes_to(r, 4, "other\0backup", 12));
    assert_int_equal(test_live(r, 4)->wish, NGX_SMTP_WISH_DELETE);
    assert_int_equal(test_live(r, 8)->wish, NGX_SMTP_WISH_BOUNCE);
    assert_int_equal(test_live(r, 2)->wish, NGX_SMTP_WISH_NONE);

    text = shim_str("2.0.0 it is taken");
    e = ngx_smtp_errors_find(&r->errors, test_live(r, 2)->error);
    assert_non_null(e);
    assert_int_equal(e->len, text.len);
    assert_memory_equal(e->text, text.data, text.len);
    assert_int_equal(test_live(r, 8)->error, 0);

    /* a destination that nobody has any more counts for nothing */

    for (i = 0, n = 0; i < r->nqueues; i++) {
        n += r->queues[i].data == NULL;
        assert_true(r->queues[i].data == NULL
                    || r->queues[i].len != 7
                    || memcmp(r->queues[i].data, "nowhere", 7) != 0);
    }

    assert_true(n <= 1);
}


static void
test_operator(void **state)
{
    ngx_int_t                  rc;
    ngx_uint_t                 pass;
    ngx_smtp_error_of_t        of[1];
    ngx_smtp_recovery_t       *r;
    ngx_smtp_segment_file_t    f;

    assert_int_equal(test_segment_create(&spool, &f, 1, 0), NGX_OK);
    id = f.header.id;
    assert_int_equal(test_append(&f, 1, 9, NULL), NGX_OK);

    test_log_change(&f, NGX_SMTP_LOG_MOVED, 2, 0, shim_str("nowhere"));
    test_log_change(&f, NGX_SMTP_LOG_MOVED, 2, 0, shim_str("other"));
    test_log_change(&f, NGX_SMTP_LOG_MOVED, 4, 0,
                    ((ngx_str_t) { 12, (u_char *) "other\0backup" }));
    test_log_change(&f, NGX_SMTP_LOG_WISH, 2, NGX_SMTP_WISH_BOUNCE,
                    shim_str(""));
    test_log_change(&f, NGX_SMTP_LOG_WISH, 2, NGX_SMTP_WISH_NONE,
                    shim_str(""));
    test_log_change(&f, NGX_SMTP_LOG_WISH, 4, NGX_SMTP_WISH_DELETE,
                    shim_str(""));
    test_log_change(&f, NGX_SMTP_LOG_WISH, 8, NGX_SMTP_WISH_BOUNCE,
                    shim_str(""));
    assert_int_equal(test_log(&f, NGX_SMTP_LOG_DEFERRED, 2, 0, 1,
                              TEST_NOW + 60),
                     NGX_OK);
    ngx_smtp_segment_close(&spool, &f);

    for (pass = 0; pass < 4; pass++) {
        r = test_recover(&spool, &f, &id, &rc);
        assert_int_equal(rc, NGX_OK);
        assert_int_equal(r->notes.scanned, pass == 0);
        assert_int_equal(r->notes.events_lost, 0);
        test_check_changes(r);

        /* a seal has the texts behind it, as the store asks for */

        of[0].number = 2;
        of[0].hash = test_live(r, 2)->error;
        assert_int_equal(ngx_smtp_errors_record(&r->errors, of, 1, TEST_NOW,
                                                &f.tail),
                         NGX_OK);
        assert_true(f.tail.len > 0);

        if (pass == 0) {
            assert_int_equal(test_seal(&f, r, TEST_NOW), NGX_OK);

        } else if (pass == 1) {
            assert_int_equal(test_relog(&spool, &f, r, TEST_NOW), NGX_OK);

        } else if (pass == 2) {
            test_log_change(&f, NGX_SMTP_LOG_MOVED, 4, 0,
                            shim_str("nowhere"));
            test_log_change(&f, NGX_SMTP_LOG_MOVED, 4, 0,
                            ((ngx_str_t) { 12,
                                           (u_char *) "other\0backup" }));
        }

        free(f.tail.data);
        ngx_smtp_recovery_free(r);
        ngx_smtp_segment_close(&spool, &f);
    }
}


int
main(void)
{
    static const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_operator, test_setup,
                                        test_teardown),
    };

    return shim_run(tests);
}
