
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What is reported, and the status codes of RFC 3463.
 */


#include "ngx_smtp_dsn.h"


typedef struct {
    ngx_uint_t           code;
    const char          *detail;        /* of the status, without the class */
} ngx_smtp_dsn_code_t;


static u_char *ngx_smtp_dsn_enhanced(u_char *buf, ngx_uint_t class,
    ngx_str_t *text);


/* for replies without an enhanced code: what the code means in RFC 5321 */

static ngx_smtp_dsn_code_t  ngx_smtp_dsn_codes[] = {
    { 421, ".3.2" },
    { 450, ".2.0" },
    { 451, ".3.0" },
    { 452, ".3.1" },
    { 454, ".7.0" },
    { 455, ".5.4" },
    { 500, ".5.2" },
    { 501, ".5.4" },
    { 502, ".5.1" },
    { 503, ".5.1" },
    { 504, ".5.4" },
    { 521, ".3.2" },
    { 530, ".7.0" },
    { 535, ".7.8" },
    { 550, ".0.0" },
    { 551, ".1.6" },
    { 552, ".3.4" },
    { 553, ".1.3" },
    { 554, ".0.0" },
    { 555, ".5.4" },
    { 556, ".1.10" },
    { 0, NULL }
};


ngx_uint_t
ngx_smtp_dsn_wanted(ngx_uint_t notify, ngx_uint_t result)
{
    if (notify & NGX_SMTP_NOTIFY_NEVER) {
        return 0;
    }

    switch (result) {

    case NGX_SMTP_DSN_FAILED:
    case NGX_SMTP_DSN_EXPIRED:
        return (notify == 0 || (notify & NGX_SMTP_NOTIFY_FAILURE))
               ? NGX_SMTP_DSN_FAILURE : 0;

    case NGX_SMTP_DSN_DELAYED:
        return (notify == 0 || (notify & NGX_SMTP_NOTIFY_DELAY))
               ? NGX_SMTP_DSN_DELAY : 0;

    case NGX_SMTP_DSN_RELAYED:
        return (notify & NGX_SMTP_NOTIFY_SUCCESS) ? NGX_SMTP_DSN_SUCCESS : 0;

    default:
        return 0;
    }
}


u_char *
ngx_smtp_dsn_status(u_char *buf, ngx_uint_t result, ngx_uint_t code,
    ngx_str_t *text)
{
    u_char               *p;
    ngx_uint_t            class;
    const char           *detail;
    ngx_smtp_dsn_code_t  *c;

    /*
     * Our own words come without code, and say 4 or 5 as they mean it; a
     * reply that gave up a message (EXPIRED) keeps its class 4.
     */

    class = code / 100;

    if (class != 2 && class != 4 && class != 5) {
        class = 0;
        code = 0;
    }

    if (result == NGX_SMTP_DSN_DELIVERED || result == NGX_SMTP_DSN_RELAYED) {
        class = 2;

    } else if (class == 2) {
        /* no failure is told by a 2yz, and no status may say so */
        class = 0;
        code = 0;
    }

    p = ngx_smtp_dsn_enhanced(buf, class, text);

    if (p && !(class == 0 && *buf == '2')) {
        return p;
    }

    detail = ".0.0";

    if (class == 0) {

        switch (result) {

        case NGX_SMTP_DSN_FAILED:
            class = 5;
            break;

        case NGX_SMTP_DSN_EXPIRED:
            class = 4;
            detail = ".4.7";
            break;

        default: /* NGX_SMTP_DSN_DELAYED */
            class = 4;
            break;
        }
    }

    for (c = ngx_smtp_dsn_codes; code && class != 2 && c->code; c++) {
        if (c->code == code) {
            detail = c->detail;
            break;
        }
    }

    return ngx_sprintf(buf, "%ui%s", class, detail);
}


/*
 * Copies the enhanced code (RFC 3463 section 2) that text begins with, of this
 * class, or of any if class is 0.  NULL: there is none.
 */

static u_char *
ngx_smtp_dsn_enhanced(u_char *buf, ngx_uint_t class, ngx_str_t *text)
{
    u_char      *p, *last;
    ngx_uint_t   i, digits;

    p = text->data;
    last = p + text->len;

    if (text->len < sizeof("5.0.0") - 1
        || (*p != '2' && *p != '4' && *p != '5')
        || (class && (ngx_uint_t) (*p - '0') != class))
    {
        return NULL;
    }

    p++;

    for (i = 0; i < 2; i++) {

        if (p == last || *p++ != '.') {
            return NULL;
        }

        for (digits = 0; p < last && *p >= '0' && *p <= '9'; p++) {
            digits++;
        }

        if (digits == 0 || digits > 3) {
            return NULL;
        }
    }

    if (p < last && *p != ' ') {
        return NULL;
    }

    return ngx_cpymem(buf, text->data, p - text->data);
}
