
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The generator of delivery reports: its header, the part for programs, and
 * what stands around the original.  The part for people is in
 * ngx_smtp_dsn_text.c, filters of hostile strings in ngx_smtp_dsn_out.c.
 */


#include "ngx_smtp_dsn.h"
#include "ngx_smtp_dsn_out.h"
#include "ngx_smtp_param.h"
#include "ngx_smtp_trace.h"


#define NGX_SMTP_DSN_BOUNDARY_MAX  60

/*
 * Room: of texts, fixed fields and the strings of the report; the same of a
 * recipient; octets for an octet of a reply, which stands in two parts and is
 * folded there.
 */
#define NGX_SMTP_DSN_ROOM          16384
#define NGX_SMTP_DSN_RCPT_ROOM     2048
#define NGX_SMTP_DSN_TEXT_GROWTH   4


static ngx_uint_t ngx_smtp_dsn_prepare(ngx_smtp_dsn_t *d);
static size_t ngx_smtp_dsn_room(ngx_smtp_dsn_t *d);
static void ngx_smtp_dsn_header(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d);
static void ngx_smtp_dsn_machine(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d);
static void ngx_smtp_dsn_machine_rcpt(ngx_smtp_dsn_out_t *out,
    ngx_smtp_dsn_t *d, ngx_smtp_dsn_rcpt_t *r);
static void ngx_smtp_dsn_orcpt(ngx_smtp_dsn_out_t *out, ngx_str_t *orcpt);
static void ngx_smtp_dsn_envid(ngx_smtp_dsn_out_t *out, ngx_str_t *envid);
static void ngx_smtp_dsn_original(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d);


static const char  *ngx_smtp_dsn_subjects[] = {
    "",
    "Your message could not be delivered",
    "Your message is delayed",
    "Your message was sent on",
    "A report of failure could not be delivered"
};


static const char  *ngx_smtp_dsn_actions[] = {
    "failed",
    "delivered",
    "relayed",
    "failed",
    "failed",
    "delayed"
};


ngx_int_t
ngx_smtp_dsn_top(ngx_smtp_dsn_t *d, ngx_pool_t *pool, ngx_str_t *out)
{
    size_t               size;
    u_char              *start;
    ngx_smtp_dsn_out_t   o;

    o.utf8 = ngx_smtp_dsn_prepare(d);
    o.overflow = 0;

    size = ngx_smtp_dsn_room(d);

    start = ngx_pnalloc(pool, size);
    if (start == NULL) {
        return NGX_ERROR;
    }

    o.pos = start;
    o.last = start + size;

    ngx_smtp_dsn_header(&o, d);
    ngx_smtp_dsn_human(&o, d);
    ngx_smtp_dsn_machine(&o, d);
    ngx_smtp_dsn_original(&o, d);

    if (o.overflow) {
        return NGX_ERROR;
    }

    out->data = start;
    out->len = o.pos - start;

    return NGX_OK;
}


ngx_int_t
ngx_smtp_dsn_tail(ngx_smtp_dsn_t *d, ngx_pool_t *pool, ngx_str_t *out)
{
    u_char              *start;
    ngx_smtp_dsn_out_t   o;

    start = ngx_pnalloc(pool, NGX_SMTP_DSN_TOKEN_MAX * 2);
    if (start == NULL) {
        return NGX_ERROR;
    }

    o.utf8 = 0;
    o.overflow = 0;
    o.pos = start;
    o.last = start + NGX_SMTP_DSN_TOKEN_MAX * 2;

    ngx_smtp_dsn_puts(&o, CRLF "--");
    ngx_smtp_dsn_boundary(&o, d);
    ngx_smtp_dsn_puts(&o, "--" CRLF);

    out->data = start;
    out->len = o.pos - start;

    return NGX_OK;
}


/* decides what the report needs and returns; returns 1 if it is in UTF-8 */

static ngx_uint_t
ngx_smtp_dsn_prepare(ngx_smtp_dsn_t *d)
{
    off_t  max;

    max = d->max_full ? d->max_full : NGX_SMTP_DSN_FULL_MAX;

    d->full = (d->kind == NGX_SMTP_DSN_FAILURE
               && d->ret != NGX_SMTP_RET_HDRS
               && d->size <= max);

    d->smtputf8 = ngx_smtp_dsn_8bit(&d->sender);

    d->body_8bit = (d->smtputf8
                    || d->orig_header_8bit
                    || (d->full && d->orig_body_8bit));

    return d->smtputf8;
}


static size_t
ngx_smtp_dsn_room(ngx_smtp_dsn_t *d)
{
    size_t                size;
    ngx_uint_t            i;
    ngx_smtp_dsn_rcpt_t  *r;

    size = NGX_SMTP_DSN_ROOM;

    for (i = 0; i < d->nrcpts; i++) {
        r = &d->rcpts[i];

        size += NGX_SMTP_DSN_RCPT_ROOM
                + NGX_SMTP_DSN_TEXT_GROWTH
                  * ngx_min(r->text.len, NGX_SMTP_DSN_TEXT_MAX);

        /* an octet becomes \x{HH} at worst */

        size += ngx_min(r->mailbox.len * 6, NGX_SMTP_DSN_ADDRESS_MAX) * 2
                + ngx_min(r->orcpt.len * 6, NGX_SMTP_DSN_ADDRESS_MAX);
    }

    return size;
}


static void
ngx_smtp_dsn_header(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d)
{
    u_char     *p, buf[NGX_SMTP_MESSAGE_ID_MAX];
    u_char      unique[NGX_SMTP_DSN_TOKEN_MAX + NGX_INT_T_LEN + 3];
    ngx_str_t   s;

    ngx_smtp_dsn_puts(out, "From: Mail Delivery System <MAILER-DAEMON@");
    ngx_smtp_dsn_name(out, &d->hostname, NGX_SMTP_DSN_NAME_MAX);
    ngx_smtp_dsn_puts(out, ">" CRLF "To: ");
    ngx_smtp_dsn_address(out, &d->sender, NGX_SMTP_DSN_PLAIN);
    ngx_smtp_dsn_puts(out, CRLF "Subject: ");
    ngx_smtp_dsn_puts(out, ngx_smtp_dsn_subjects[ngx_min(d->kind, 4)]);
    ngx_smtp_dsn_puts(out, CRLF);

    ngx_smtp_dsn_date(out, "Date: ", d->now, d->gmtoff);

    s.len = ngx_min(d->queue_id.len, NGX_SMTP_DSN_TOKEN_MAX);
    s.data = unique;

    p = ngx_cpymem(unique, d->queue_id.data, s.len);
    p = ngx_sprintf(p, d->kind == NGX_SMTP_DSN_DOUBLE ? ".%ui.d" : ".%ui",
                    d->number);

    s.len = p - unique;

    p = ngx_smtp_trace_message_id(buf, &s, &d->hostname);
    ngx_smtp_dsn_put(out, buf, p - buf);

    ngx_smtp_dsn_puts(out,
                      "Auto-Submitted: auto-replied" CRLF
                      "MIME-Version: 1.0" CRLF
                      "Content-Type: multipart/report; report-type=");

    /* the subtype of the second part, RFC 6522 section 3 */

    if (out->utf8) {
        ngx_smtp_dsn_puts(out, "global-");
    }

    ngx_smtp_dsn_puts(out, "delivery-status;" CRLF "\tboundary=\"");
    ngx_smtp_dsn_boundary(out, d);
    ngx_smtp_dsn_puts(out, "\"" CRLF);

    if (d->body_8bit) {
        ngx_smtp_dsn_puts(out, "Content-Transfer-Encoding: 8bit" CRLF);
    }

    ngx_smtp_dsn_puts(out, CRLF "This is a report in MIME format." CRLF);
}


static void
ngx_smtp_dsn_machine(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d)
{
    ngx_uint_t  i;

    ngx_smtp_dsn_puts(out, CRLF "--");
    ngx_smtp_dsn_boundary(out, d);
    ngx_smtp_dsn_puts(out, CRLF "Content-Description: Delivery report" CRLF);

    if (out->utf8) {
        ngx_smtp_dsn_puts(out,
                          "Content-Type: message/global-delivery-status" CRLF
                          "Content-Transfer-Encoding: 8bit" CRLF);
    } else {
        ngx_smtp_dsn_puts(out, "Content-Type: message/delivery-status" CRLF);
    }

    ngx_smtp_dsn_puts(out, CRLF);

    if (d->envid.len) {
        ngx_smtp_dsn_envid(out, &d->envid);
    }

    ngx_smtp_dsn_puts(out, "Reporting-MTA: dns; ");
    ngx_smtp_dsn_name(out, &d->hostname, NGX_SMTP_DSN_NAME_MAX);
    ngx_smtp_dsn_puts(out, CRLF);

    if (d->queue_id.len) {
        ngx_smtp_dsn_puts(out, "X-Queue-ID: ");
        ngx_smtp_dsn_name(out, &d->queue_id, NGX_SMTP_DSN_TOKEN_MAX);
        ngx_smtp_dsn_puts(out, CRLF);
    }

    if (d->arrived > 0) {
        ngx_smtp_dsn_date(out, "Arrival-Date: ", d->arrived, d->gmtoff);
    }

    for (i = 0; i < d->nrcpts; i++) {
        ngx_smtp_dsn_machine_rcpt(out, d, &d->rcpts[i]);
    }
}


static void
ngx_smtp_dsn_machine_rcpt(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d,
    ngx_smtp_dsn_rcpt_t *r)
{
    u_char      *p, buf[NGX_INT_T_LEN + 1];
    ngx_uint_t   utf8;

    ngx_smtp_dsn_puts(out, CRLF);

    if (r->orcpt.len) {
        ngx_smtp_dsn_orcpt(out, &r->orcpt);
    }

    utf8 = ngx_smtp_dsn_8bit(&r->mailbox);

    ngx_smtp_dsn_puts(out, utf8 ? "Final-Recipient: utf-8; "
                                : "Final-Recipient: rfc822; ");
    ngx_smtp_dsn_address(out, &r->mailbox, NGX_SMTP_DSN_XTEXT);

    ngx_smtp_dsn_puts(out, CRLF "Action: ");
    ngx_smtp_dsn_puts(out, ngx_smtp_dsn_actions[r->result
                                                > NGX_SMTP_DSN_DELAYED
                                                ? 0 : r->result]);

    ngx_smtp_dsn_puts(out, CRLF "Status: ");
    p = ngx_smtp_dsn_status(buf, r->result, r->code, &r->text);
    ngx_smtp_dsn_put(out, buf, p - buf);
    ngx_smtp_dsn_puts(out, CRLF);

    if (r->remote.len) {
        ngx_smtp_dsn_puts(out, "Remote-MTA: dns; ");
        ngx_smtp_dsn_remote(out, &r->remote);
        ngx_smtp_dsn_puts(out, CRLF);
    }

    if (r->code || r->text.len) {

        if (r->code) {
            ngx_smtp_dsn_puts(out, "Diagnostic-Code: smtp; ");
            p = ngx_sprintf(buf, "%ui ", r->code);
            ngx_smtp_dsn_put(out, buf, p - buf);

        } else {
            ngx_smtp_dsn_puts(out, "Diagnostic-Code: X-nginx; ");
        }

        ngx_smtp_dsn_text(out, &r->text, r->code ? 27 : 26, CRLF "    ");
        ngx_smtp_dsn_puts(out, CRLF);
    }

    if (r->attempted > 0) {
        ngx_smtp_dsn_date(out, "Last-Attempt-Date: ", r->attempted, d->gmtoff);
    }

    if (r->result == NGX_SMTP_DSN_DELAYED && d->until > 0) {
        ngx_smtp_dsn_date(out, "Will-Retry-Until: ", d->until, d->gmtoff);
    }
}


/*
 * Original-Recipient: "type;xtext" as received.  An address of type utf-8 has
 * an encoding of its own, which is valid here too (RFC 6533 section 3).
 */

static void
ngx_smtp_dsn_orcpt(ngx_smtp_dsn_out_t *out, ngx_str_t *orcpt)
{
    u_char      *p, *last, buf[NGX_SMTP_ORCPT_MAX];
    ssize_t      n;
    ngx_str_t    type, addr;
    ngx_uint_t   utf8;

    last = orcpt->data + ngx_min(orcpt->len, NGX_SMTP_ORCPT_MAX);
    p = ngx_strlchr(orcpt->data, last, ';');

    if (p == NULL) {
        return;
    }

    type.data = orcpt->data;
    type.len = p - orcpt->data;

    addr.data = p + 1;
    addr.len = last - addr.data;

    utf8 = (type.len == 5
            && ngx_strncasecmp(type.data, (u_char *) "utf-8", 5) == 0);

    if (!utf8) {
        n = ngx_smtp_xtext_decode(buf, &addr);

        if (n != NGX_ERROR) {
            addr.data = buf;
            addr.len = n;
        }
    }

    ngx_smtp_dsn_puts(out, "Original-Recipient: ");
    ngx_smtp_dsn_name(out, &type, NGX_SMTP_DSN_TOKEN_MAX);
    ngx_smtp_dsn_puts(out, "; ");

    /* only what is not ASCII is encoded: a backslash may be an encoding's */

    ngx_smtp_dsn_address(out, &addr, utf8 ? NGX_SMTP_DSN_UNICODE
                                          : NGX_SMTP_DSN_PLAIN);
    ngx_smtp_dsn_puts(out, CRLF);
}


static void
ngx_smtp_dsn_envid(ngx_smtp_dsn_out_t *out, ngx_str_t *envid)
{
    u_char     buf[NGX_SMTP_ENVID_MAX];
    ssize_t    n;
    ngx_str_t  s;

    s.data = envid->data;
    s.len = ngx_min(envid->len, NGX_SMTP_ENVID_MAX);

    n = ngx_smtp_xtext_decode(buf, &s);

    if (n != NGX_ERROR) {
        s.data = buf;
        s.len = n;
    }

    ngx_smtp_dsn_puts(out, "Original-Envelope-Id: ");
    ngx_smtp_dsn_address(out, &s, NGX_SMTP_DSN_PLAIN);
    ngx_smtp_dsn_puts(out, CRLF);
}


/* opens the third part; message/global* is for headers in UTF-8 (RFC 6533) */

static void
ngx_smtp_dsn_original(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d)
{
    ngx_uint_t  global;

    global = (d->orig_smtputf8 && d->orig_header_8bit);

    ngx_smtp_dsn_puts(out, CRLF "--");
    ngx_smtp_dsn_boundary(out, d);

    if (d->full) {
        ngx_smtp_dsn_puts(out, CRLF "Content-Description: Your message" CRLF);
        ngx_smtp_dsn_puts(out, global ? "Content-Type: message/global" CRLF
                                      : "Content-Type: message/rfc822" CRLF);

    } else {
        ngx_smtp_dsn_puts(out, CRLF "Content-Description: Header of your "
                               "message" CRLF);
        ngx_smtp_dsn_puts(out,
                          global ? "Content-Type: message/global-headers" CRLF
                                 : "Content-Type: text/rfc822-headers" CRLF);
    }

    if (d->orig_header_8bit || (d->full && d->orig_body_8bit)) {
        ngx_smtp_dsn_puts(out, "Content-Transfer-Encoding: 8bit" CRLF);
    }

    ngx_smtp_dsn_puts(out, CRLF);
}


void
ngx_smtp_dsn_boundary(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d)
{
    u_char     *p, buf[NGX_SMTP_DSN_BOUNDARY_MAX];
    ngx_str_t   s;

    if (d->boundary.len) {
        ngx_smtp_dsn_name(out, &d->boundary, NGX_SMTP_DSN_BOUNDARY_MAX);
        return;
    }

    s.data = d->queue_id.data;
    s.len = ngx_min(d->queue_id.len,
                    NGX_SMTP_DSN_BOUNDARY_MAX - NGX_INT_T_LEN - 3);

    p = ngx_sprintf(buf, "=_%ui.", d->number);
    ngx_smtp_dsn_put(out, buf, p - buf);
    ngx_smtp_dsn_name(out, &s, NGX_SMTP_DSN_BOUNDARY_MAX);
}
