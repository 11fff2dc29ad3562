
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What clients and stores say about logins: lines of an AUTH exchange, a line
 * of the accounts file, a stored password.  The first octet says which; lines
 * of an exchange are separated by LF.
 *
 * sources: auth/ngx_smtp_sasl.c auth/ngx_smtp_account.c
 * sources: auth/ngx_smtp_password.c
 * libs: -lcrypt -lcrypto
 */


#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include "ngx_smtp_account.h"
#include "ngx_smtp_password.h"
#include "ngx_smtp_sasl.h"


static void fuzz_exchange(u_char *p, u_char *last, ngx_uint_t mechanism,
    ngx_uint_t initial);
static void fuzz_line(u_char *p, u_char *last);
static void fuzz_verifier(u_char *p, u_char *last);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char  *buf;

    if (size == 0) {
        return 0;
    }

    buf = malloc(size);

    if (buf == NULL) {
        abort();
    }

    memcpy(buf, data, size);

    switch (data[0]) {

    case 'P':
        fuzz_exchange(buf + 1, buf + size, NGX_SMTP_SASL_PLAIN, 0);
        break;

    case 'p':
        fuzz_exchange(buf + 1, buf + size, NGX_SMTP_SASL_PLAIN, 1);
        break;

    case 'L':
        fuzz_exchange(buf + 1, buf + size, NGX_SMTP_SASL_LOGIN, 0);
        break;

    case 'l':
        fuzz_exchange(buf + 1, buf + size, NGX_SMTP_SASL_LOGIN, 1);
        break;

    case 'A':
        fuzz_line(buf + 1, buf + size);
        break;

    default:
        fuzz_verifier(buf + 1, buf + size);
    }

    free(buf);

    return 0;
}


static void
fuzz_exchange(u_char *p, u_char *last, ngx_uint_t mechanism,
    ngx_uint_t initial)
{
    u_char           *eol;
    ngx_int_t         rc;
    ngx_str_t         line;
    ngx_uint_t        n;
    ngx_smtp_sasl_t   sasl;

    rc = initial ? NGX_AGAIN : ngx_smtp_sasl_start(&sasl, mechanism, NULL);

    for (n = 0; rc == NGX_AGAIN && p < last; n++) {

        eol = memchr(p, '\n', last - p);
        eol = eol ? eol : last;

        line.data = p;
        line.len = eol - p;
        p = eol + 1;

        rc = (initial && n == 0)
             ? ngx_smtp_sasl_start(&sasl, mechanism, &line)
             : ngx_smtp_sasl_step(&sasl, &line);

        if (n > 2) {
            abort();
        }
    }

    if (rc == NGX_OK
        && (sasl.login.len == 0
            || sasl.login.len > NGX_SMTP_SASL_MAX_LOGIN
            || memchr(sasl.login.data, 0, sasl.login.len) != NULL
            || sasl.password.len == 0
            || sasl.password.len > NGX_SMTP_SASL_MAX_PASSWORD
            || memchr(sasl.password.data, 0, sasl.password.len) != NULL))
    {
        abort();
    }

    if (rc != NGX_OK && rc != NGX_AGAIN && sasl.password.len != 0) {
        abort();
    }
}


static void
fuzz_line(u_char *p, u_char *last)
{
    ngx_int_t            rc;
    ngx_str_t            line, again;
    ngx_pool_t          *pool;
    const char          *reason;
    ngx_smtp_account_t   a;

    pool = ngx_create_pool(1024, &shim_log);

    if (pool == NULL) {
        abort();
    }

    line.data = p;
    line.len = last - p;
    reason = NULL;

    rc = ngx_smtp_account_parse_line(&a, &line, pool, &reason);

    if (rc == NGX_ERROR || (rc == NGX_DECLINED && reason == NULL)) {
        abort();
    }

    if (rc == NGX_OK) {

        again = a.login;

        if (ngx_smtp_account_normalize(&again) != NGX_OK
            || a.verifier.len == 0
            || ngx_smtp_account_copy(&a, pool) == NULL)
        {
            abort();
        }

        (void) ngx_smtp_account_may_send(&a, &a.login);
        (void) ngx_smtp_account_may_send(&a, &line);
    }

    ngx_destroy_pool(pool);
}


static void
fuzz_verifier(u_char *p, u_char *last)
{
    u_char      buf[NGX_SMTP_PASSWORD_MAX];
    ngx_str_t   v, dummy;

    v.data = p;
    v.len = last - p;

    ngx_smtp_password_dummy(&v, buf, &dummy);

    if (ngx_smtp_password_scheme(&dummy) == NGX_SMTP_PASSWORD_NONE) {
        abort();
    }

    if (ngx_smtp_password_scheme(&v) != NGX_SMTP_PASSWORD_NONE
        && (dummy.len != v.len || !ngx_smtp_password_same_cost(&v, &dummy)))
    {
        abort();
    }
}
