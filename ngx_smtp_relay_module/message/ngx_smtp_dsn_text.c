
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The part of a report that is for people: which recipient, what the other
 * side said, what to do about it.
 */


#include "ngx_smtp_dsn_out.h"
#include "ngx_smtp_trace.h"


#define NGX_SMTP_DSN_MINUTE        60
#define NGX_SMTP_DSN_HOUR          3600
#define NGX_SMTP_DSN_DAY           86400


typedef struct {
    const char          *prefix;        /* of the status, without the class */
    const char          *text;
} ngx_smtp_dsn_advice_t;


static void ngx_smtp_dsn_intro(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d);
static void ngx_smtp_dsn_human_rcpt(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d,
    ngx_smtp_dsn_rcpt_t *r);
static void ngx_smtp_dsn_advise(ngx_smtp_dsn_out_t *out,
    ngx_smtp_dsn_rcpt_t *r);
static void ngx_smtp_dsn_period(ngx_smtp_dsn_out_t *out, time_t t);


/* the first match counts */

static ngx_smtp_dsn_advice_t  ngx_smtp_dsn_advices[] = {

    { ".1.8",
      "    That host does not accept your own address as a sender." CRLF
      "    Please check the address your mail program uses." CRLF },

    { ".1.7",
      "    That host does not accept your own address as a sender." CRLF
      "    Please check the address your mail program uses." CRLF },

    { ".1.",
      "    Please check the address for typing errors, and send your" CRLF
      "    message again to the right one." CRLF },

    { ".2.2",
      "    The mailbox is full.  Please tell the recipient in another" CRLF
      "    way, or send your message again later." CRLF },

    { ".2.3",
      "    The message is too large for that mailbox.  Please send a" CRLF
      "    smaller one, or share the attachment in another way." CRLF },

    { ".3.4",
      "    The message is too large for that host.  Please send a smaller" CRLF
      "    one, or share the attachment in another way." CRLF },

    { ".4.6",
      "    The message went in circles between mail servers.  Please pass" CRLF
      "    this report on to your postmaster." CRLF },

    { ".4.",
      "    The other side could not be reached.  If the address is right," CRLF
      "    please send your message again later." CRLF },

    { ".6.7",
      "    A mail server on the way does not support internationalized" CRLF
      "    addresses.  Please use an address in plain ASCII, if there is" CRLF
      "    one." CRLF },

    { ".7.",
      "    The message was refused by a rule of that host.  Only its" CRLF
      "    administrators can change that; the recipient may be able to" CRLF
      "    ask them." CRLF },

    { "",
      "    If this does not tell you what to do, please pass this report" CRLF
      "    on to your postmaster." CRLF },
};


void
ngx_smtp_dsn_human(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d)
{
    ngx_uint_t  i;

    ngx_smtp_dsn_puts(out, CRLF "--");
    ngx_smtp_dsn_boundary(out, d);
    ngx_smtp_dsn_puts(out, CRLF "Content-Description: Notification" CRLF);

    if (out->utf8) {
        ngx_smtp_dsn_puts(out,
                          "Content-Type: text/plain; charset=utf-8" CRLF
                          "Content-Transfer-Encoding: 8bit" CRLF);
    } else {
        ngx_smtp_dsn_puts(out,
                          "Content-Type: text/plain; charset=us-ascii" CRLF);
    }

    ngx_smtp_dsn_puts(out, CRLF "This is the mail server ");
    ngx_smtp_dsn_name(out, &d->hostname, NGX_SMTP_DSN_NAME_MAX);
    ngx_smtp_dsn_puts(out, "." CRLF CRLF);

    ngx_smtp_dsn_intro(out, d);

    for (i = 0; i < d->nrcpts; i++) {
        ngx_smtp_dsn_human_rcpt(out, d, &d->rcpts[i]);
    }
}


static void
ngx_smtp_dsn_intro(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d)
{
    u_char   *p, buf[NGX_SMTP_DATE_LEN];

    switch (d->kind) {

    case NGX_SMTP_DSN_DELAY:

        ngx_smtp_dsn_puts(out,
            "Your message could not be delivered yet to the recipients" CRLF
            "below.  You need not send it again: this server keeps it," CRLF
            "and goes on trying");

        if (d->until) {
            ngx_smtp_dsn_puts(out, " until" CRLF);
            p = ngx_smtp_trace_date(buf, d->until, d->gmtoff);
            ngx_smtp_dsn_put(out, buf, p - buf);
        }

        ngx_smtp_dsn_puts(out, "." CRLF);
        break;

    case NGX_SMTP_DSN_SUCCESS:

        ngx_smtp_dsn_puts(out,
            "You asked to be told: your message was sent on to the" CRLF
            "recipients below." CRLF);
        break;

    case NGX_SMTP_DSN_DOUBLE:

        ngx_smtp_dsn_puts(out,
            "A message could not be delivered, and neither could the" CRLF
            "report of that to its sender.  Both stand below: the sender" CRLF
            "first, then the recipients who have not got the message." CRLF
            "Nothing more will be done about it." CRLF);
        break;

    default: /* NGX_SMTP_DSN_FAILURE */

        ngx_smtp_dsn_puts(out,
            "Your message could not be delivered to the recipients below." CRLF
            "They have not received it, and it will not be tried again." CRLF);
        break;
    }
}


static void
ngx_smtp_dsn_human_rcpt(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_t *d,
    ngx_smtp_dsn_rcpt_t *r)
{
    u_char  *p, buf[NGX_INT_T_LEN + 1];

    ngx_smtp_dsn_puts(out, CRLF "<");
    ngx_smtp_dsn_address(out, &r->mailbox, NGX_SMTP_DSN_XTEXT);
    ngx_smtp_dsn_puts(out, ">" CRLF "    ");

    if (r->result == NGX_SMTP_DSN_EXPIRED) {
        ngx_smtp_dsn_puts(out, "Given up");

        if (d->arrived > 0 && d->now > d->arrived) {
            ngx_smtp_dsn_puts(out, " after ");
            ngx_smtp_dsn_period(out, d->now - d->arrived);
        }

        ngx_smtp_dsn_puts(out, "." CRLF "    ");
    }

    if (r->remote.len) {
        ngx_smtp_dsn_puts(out, r->code ? "The host " : "To the host ");
        ngx_smtp_dsn_remote(out, &r->remote);

        /* a name may be long: the rest goes on a line of its own */

        ngx_smtp_dsn_puts(out, CRLF "    ");
        ngx_smtp_dsn_puts(out, r->code ? "answered:" : "this happened:");

    } else {
        ngx_smtp_dsn_puts(out, r->code ? "The other side answered:"
                                       : "The reason:");
    }

    ngx_smtp_dsn_puts(out, CRLF CRLF "        ");

    if (r->code) {
        p = ngx_sprintf(buf, "%ui ", r->code);
        ngx_smtp_dsn_put(out, buf, p - buf);
    }

    if (r->text.len) {
        ngx_smtp_dsn_text(out, &r->text, r->code ? 12 : 8, CRLF "        ");

    } else if (r->code == 0) {
        ngx_smtp_dsn_puts(out, "(nothing more is known)");
    }

    ngx_smtp_dsn_puts(out, CRLF CRLF);

    if (d->kind == NGX_SMTP_DSN_FAILURE) {
        ngx_smtp_dsn_advise(out, r);

    } else if (r->result == NGX_SMTP_DSN_RELAYED) {
        ngx_smtp_dsn_puts(out,
            "    That host sends no reports of success: you will only" CRLF
            "    hear of it again if something fails." CRLF);
    }
}


static void
ngx_smtp_dsn_advise(ngx_smtp_dsn_out_t *out, ngx_smtp_dsn_rcpt_t *r)
{
    u_char                 *p, status[NGX_SMTP_DSN_STATUS_LEN];
    size_t                  len;
    ngx_smtp_dsn_advice_t  *a;

    p = ngx_smtp_dsn_status(status, r->result, r->code, &r->text);

    for (a = ngx_smtp_dsn_advices; /* void */ ; a++) {
        len = ngx_strlen(a->prefix);

        if (len == 0) {
            break;
        }

        /* ".2.2" must not match ".2.25" */

        if (ngx_strncmp(status + 1, a->prefix, len) == 0
            && (a->prefix[len - 1] == '.' || status + 1 + len == p))
        {
            break;
        }
    }

    ngx_smtp_dsn_puts(out, a->text);
}


static void
ngx_smtp_dsn_period(ngx_smtp_dsn_out_t *out, time_t t)
{
    u_char      *p, buf[NGX_TIME_T_LEN + sizeof(" minutes")];
    const char  *unit;

    if (t >= 2 * NGX_SMTP_DSN_DAY) {
        t /= NGX_SMTP_DSN_DAY;
        unit = "days";

    } else if (t >= 2 * NGX_SMTP_DSN_HOUR) {
        t /= NGX_SMTP_DSN_HOUR;
        unit = "hours";

    } else if (t >= 2 * NGX_SMTP_DSN_MINUTE) {
        t /= NGX_SMTP_DSN_MINUTE;
        unit = "minutes";

    } else {
        unit = (t == 1) ? "second" : "seconds";
    }

    p = ngx_sprintf(buf, "%T %s", t, unit);
    ngx_smtp_dsn_put(out, buf, p - buf);
}
