
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What a client sends: whether a message can be put into words for this peer,
 * and the commands.  The dialogue is in ngx_smtp_client.c.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_address.h"
#include "ngx_smtp_client_private.h"
#include "ngx_smtp_param.h"


/* behind XCLIENT we speak as the client whose name it gave */
#define ngx_smtp_client_helo(cl)                                              \
    ((cl)->xclient && (cl)->conf.xclient_helo.len ? &(cl)->conf.xclient_helo  \
                                                  : &(cl)->conf.helo)


static ngx_uint_t ngx_smtp_client_judge_address(ngx_str_t *mailbox,
    ngx_uint_t utf8);
static u_char *ngx_smtp_client_command(ngx_smtp_client_t *cl, u_char *p,
    u_char *last);
static u_char *ngx_smtp_client_write_mail(ngx_smtp_client_t *cl, u_char *p,
    u_char *last);
static u_char *ngx_smtp_client_write_rcpt(ngx_smtp_client_t *cl, u_char *p,
    u_char *last);
static u_char *ngx_smtp_client_write_orcpt(ngx_smtp_client_t *cl,
    ngx_smtp_rcpt_t *rcpt, u_char *p, u_char *last);
static ngx_uint_t ngx_smtp_client_8bit(ngx_str_t *s);
static void ngx_smtp_client_written(ngx_smtp_client_t *cl);


/* can the peer take the message?  0: *v tells why not */

ngx_uint_t
ngx_smtp_client_judge(ngx_smtp_client_t *cl, ngx_smtp_client_tx_t *tx,
    ngx_smtp_verdict_t *v)
{
    ngx_uint_t  utf8;

    utf8 = (cl->caps.flags & NGX_SMTP_CAP_SMTPUTF8) ? 1 : 0;

    cl->utf8 = tx->smtputf8 && utf8;

    if (cl->caps.size && tx->size > cl->caps.size) {
        ngx_smtp_client_own(v, NGX_SMTP_CLIENT_ST_MAIL, 552, "5.3.4",
                            "the message is larger than the host accepts");
        return 0;
    }

    if (tx->need_utf8) {

        if (!utf8) {
            ngx_smtp_client_own(v, NGX_SMTP_CLIENT_ST_MAIL, 550, "5.6.7",
                                "the host does not support SMTPUTF8");
            return 0;
        }

        cl->utf8 = 1;
    }

    if (tx->requiretls
        && (!cl->tls || !(cl->caps.flags & NGX_SMTP_CAP_REQUIRETLS)))
    {
        ngx_smtp_client_own(v, NGX_SMTP_CLIENT_ST_MAIL, 550, "5.7.30",
                            "the host does not support REQUIRETLS");
        return 0;
    }

    if (tx->sender.len == 0) {
        return 1;
    }

    switch (ngx_smtp_client_judge_address(&tx->sender, utf8)) {

    case NGX_OK:
        return 1;

    case NGX_SMTP_PATH_E_NEED_UTF8:
        ngx_smtp_client_own(v, NGX_SMTP_CLIENT_ST_MAIL, 550, "5.6.7",
                            "the host does not support SMTPUTF8");
        return 0;

    default:
        ngx_smtp_client_own(v, NGX_SMTP_CLIENT_ST_MAIL, 553, "5.1.7",
                            "the sender address cannot be sent");
        return 0;
    }
}


/* recipients that cannot be named to this peer get their verdicts */

void
ngx_smtp_client_judge_rcpts(ngx_smtp_client_t *cl, ngx_smtp_client_tx_t *tx,
    ngx_uint_t i)
{
    ngx_uint_t          utf8;
    ngx_smtp_verdict_t  v;

    utf8 = (cl->caps.flags & NGX_SMTP_CAP_SMTPUTF8) ? 1 : 0;

    for ( /* void */ ; i < tx->nrcpts; i++) {

        switch (ngx_smtp_client_judge_address(&tx->rcpts[i]->mailbox, utf8)) {

        case NGX_OK:
            break;

        case NGX_SMTP_PATH_E_NEED_UTF8:
            ngx_smtp_client_own(&v, NGX_SMTP_CLIENT_ST_RCPT, 550, "5.6.7",
                                "the host does not support SMTPUTF8");
            ngx_smtp_client_tell(cl, i, &v);
            break;

        default:
            ngx_smtp_client_own(&v, NGX_SMTP_CLIENT_ST_RCPT, 553, "5.1.3",
                                "the recipient address cannot be sent");
            ngx_smtp_client_tell(cl, i, &v);
        }
    }
}


/*
 * The envelope was checked when it was accepted; but it comes from a disk, and
 * no octet of a disk may become a command of ours.
 */

static ngx_uint_t
ngx_smtp_client_judge_address(ngx_str_t *mailbox, ngx_uint_t utf8)
{
    ngx_smtp_path_t  path;

    return (ngx_uint_t) ngx_smtp_mailbox_parse(mailbox,
                                    NGX_SMTP_PATH_POSTMASTER
                                    |(utf8 ? NGX_SMTP_PATH_UTF8 : 0), &path);
}


/* the next recipient from i on that is not settled */

ngx_uint_t
ngx_smtp_client_next_rcpt(ngx_smtp_client_t *cl, ngx_uint_t i)
{
    while (i < cl->tx->nrcpts
           && cl->tx->state[i] != NGX_SMTP_CLIENT_RCPT_OPEN)
    {
        i++;
    }

    return i;
}


u_char *
ngx_smtp_client_write(ngx_smtp_client_t *cl, u_char *p, u_char *last)
{
    u_char  *q;

    while (cl->to_send != NGX_SMTP_CLIENT_NOTHING) {

        if (cl->pending && !(cl->caps.flags & NGX_SMTP_CAP_PIPELINING)) {
            break;
        }

        q = ngx_smtp_client_command(cl, p, last);

        if (q == NULL) {
            break;
        }

        p = q;

        ngx_smtp_client_written(cl);
    }

    return p;
}


/* NULL: no room */

static u_char *
ngx_smtp_client_command(ngx_smtp_client_t *cl, u_char *p, u_char *last)
{
    if (last - p < NGX_SMTP_CLIENT_COMMAND_MAX) {
        return NULL;
    }

    switch (cl->to_send) {

    case NGX_SMTP_CLIENT_ST_EHLO:
        return ngx_slprintf(p, last, "EHLO %V" CRLF,
                            ngx_smtp_client_helo(cl));

    case NGX_SMTP_CLIENT_ST_HELO:
        return ngx_slprintf(p, last, "HELO %V" CRLF,
                            ngx_smtp_client_helo(cl));

    case NGX_SMTP_CLIENT_ST_STARTTLS:
        return ngx_cpymem(p, "STARTTLS" CRLF, sizeof("STARTTLS" CRLF) - 1);

    case NGX_SMTP_CLIENT_ST_XCLIENT:
    case NGX_SMTP_CLIENT_ST_AUTH:
    case NGX_SMTP_CLIENT_ST_AUTH_USER:
    case NGX_SMTP_CLIENT_ST_AUTH_PASSWORD:
    case NGX_SMTP_CLIENT_ST_AUTH_RESPONSE:
    case NGX_SMTP_CLIENT_ST_AUTH_CANCEL:
        return ngx_smtp_client_write_login(cl, p, last);

    case NGX_SMTP_CLIENT_ST_RSET:
        return ngx_cpymem(p, "RSET" CRLF, sizeof("RSET" CRLF) - 1);

    case NGX_SMTP_CLIENT_ST_XFORWARD:
        return ngx_smtp_client_write_xforward(cl, p, last);

    case NGX_SMTP_CLIENT_ST_MAIL:
        return ngx_smtp_client_write_mail(cl, p, last);

    case NGX_SMTP_CLIENT_ST_RCPT:
        return ngx_smtp_client_write_rcpt(cl, p, last);

    case NGX_SMTP_CLIENT_ST_DATA:
        return ngx_cpymem(p, "DATA" CRLF, sizeof("DATA" CRLF) - 1);

    case NGX_SMTP_CLIENT_ST_DOT:
        return ngx_cpymem(p, "." CRLF, sizeof("." CRLF) - 1);

    default: /* NGX_SMTP_CLIENT_ST_QUIT */
        return ngx_cpymem(p, "QUIT" CRLF, sizeof("QUIT" CRLF) - 1);
    }
}


static u_char *
ngx_smtp_client_write_mail(ngx_smtp_client_t *cl, u_char *p, u_char *last)
{
    ngx_uint_t             caps;
    ngx_smtp_client_tx_t  *tx;

    tx = cl->tx;
    caps = cl->caps.flags;

    p = ngx_slprintf(p, last, "MAIL FROM:<%V>", &tx->sender);

    if ((caps & NGX_SMTP_CAP_SIZE) && tx->size > 0) {
        p = ngx_slprintf(p, last, " SIZE=%O", tx->size);
    }

    if ((caps & NGX_SMTP_CAP_8BITMIME) && tx->eightbit) {
        p = ngx_slprintf(p, last, " BODY=8BITMIME");
    }

    if (cl->utf8) {
        p = ngx_slprintf(p, last, " SMTPUTF8");
    }

    if (tx->requiretls) {
        p = ngx_slprintf(p, last, " REQUIRETLS");
    }

    if (caps & NGX_SMTP_CAP_DSN) {

        if (tx->ret == NGX_SMTP_RET_FULL) {
            p = ngx_slprintf(p, last, " RET=FULL");

        } else if (tx->ret == NGX_SMTP_RET_HDRS) {
            p = ngx_slprintf(p, last, " RET=HDRS");
        }

        if (tx->envid.len
            && tx->envid.len <= NGX_SMTP_ENVID_MAX
            && ngx_smtp_xtext_valid(&tx->envid))
        {
            p = ngx_slprintf(p, last, " ENVID=%V", &tx->envid);
        }
    }

    return ngx_slprintf(p, last, CRLF);
}


static u_char *
ngx_smtp_client_write_rcpt(ngx_smtp_client_t *cl, u_char *p, u_char *last)
{
    ngx_uint_t        i;
    u_char           *start;
    ngx_smtp_rcpt_t  *rcpt;

    static const struct {
        ngx_uint_t    bit;
        const char   *name;
    } notify[] = {
        { NGX_SMTP_NOTIFY_NEVER, "NEVER" },
        { NGX_SMTP_NOTIFY_SUCCESS, "SUCCESS" },
        { NGX_SMTP_NOTIFY_FAILURE, "FAILURE" },
        { NGX_SMTP_NOTIFY_DELAY, "DELAY" }
    };

    rcpt = cl->tx->rcpts[cl->rcpt_send];

    p = ngx_slprintf(p, last, "RCPT TO:<%V>", &rcpt->mailbox);

    if (cl->caps.flags & NGX_SMTP_CAP_DSN) {

        if (rcpt->notify) {
            p = ngx_slprintf(p, last, " NOTIFY=");
            start = p;

            for (i = 0; i < sizeof(notify) / sizeof(notify[0]); i++) {
                if (rcpt->notify & notify[i].bit) {
                    p = ngx_slprintf(p, last, "%s%s", p > start ? "," : "",
                                     notify[i].name);
                }
            }
        }

        p = ngx_smtp_client_write_orcpt(cl, rcpt, p, last);
    }

    return ngx_slprintf(p, last, CRLF);
}


/*
 * ORCPT as it came, or else the recipient as it came, so that later hosts,
 * which may rewrite it, can tell the sender about whom they talk (RFC 3461
 * section 5.2.1).  Reports say NEVER, and nothing is told about them.
 */

static u_char *
ngx_smtp_client_write_orcpt(ngx_smtp_client_t *cl, ngx_smtp_rcpt_t *rcpt,
    u_char *p, u_char *last)
{
    u_char       *q, buf[6 * NGX_SMTP_ORCPT_MAX];
    ngx_str_t     orcpt;
    const char   *type;

    if (rcpt->orcpt.len > NGX_SMTP_ORCPT_MAX
        || rcpt->mailbox.len > NGX_SMTP_ORCPT_MAX)
    {
        return p;
    }

    orcpt.data = buf;

    if (rcpt->orcpt.len) {
        type = "";

        if (ngx_smtp_xtext_valid(&rcpt->orcpt)) {
            q = ngx_cpymem(buf, rcpt->orcpt.data, rcpt->orcpt.len);

        } else if (ngx_smtp_orcpt_utf8(&rcpt->orcpt)) {
            q = ngx_smtp_utf8_xtext_encode(buf, &rcpt->orcpt, 0);

        } else {
            return p;
        }

    } else if (rcpt->notify == NGX_SMTP_NOTIFY_NEVER) {
        return p;

    } else if (ngx_smtp_client_8bit(&rcpt->mailbox)) {
        type = "utf-8;";
        q = ngx_smtp_utf8_xtext_encode(buf, &rcpt->mailbox, 1);

    } else {
        type = "rfc822;";
        q = ngx_smtp_xtext_encode(buf, &rcpt->mailbox);
    }

    if (q == NULL || q + ngx_strlen(type) > buf + NGX_SMTP_ORCPT_MAX) {
        return p;
    }

    orcpt.len = q - buf;

    return ngx_slprintf(p, last, " ORCPT=%s%V", type, &orcpt);
}


static ngx_uint_t
ngx_smtp_client_8bit(ngx_str_t *s)
{
    size_t  i;

    for (i = 0; i < s->len; i++) {
        if (s->data[i] & 0x80) {
            return 1;
        }
    }

    return 0;
}


/* a command was written: what comes after it */

static void
ngx_smtp_client_written(ngx_smtp_client_t *cl)
{
    cl->pending++;

    switch (cl->to_send) {

    case NGX_SMTP_CLIENT_ST_RSET:
        cl->to_send = (cl->tx == NULL) ? NGX_SMTP_CLIENT_NOTHING
                      : cl->xf_send ? NGX_SMTP_CLIENT_ST_XFORWARD
                      : NGX_SMTP_CLIENT_ST_MAIL;
        break;

    case NGX_SMTP_CLIENT_ST_XFORWARD:
        cl->xf_send &= cl->xf_send - 1;

        if (cl->xf_send == 0) {
            cl->to_send = NGX_SMTP_CLIENT_ST_MAIL;
        }

        break;

    case NGX_SMTP_CLIENT_ST_MAIL:
        cl->to_send = NGX_SMTP_CLIENT_ST_RCPT;
        break;

    case NGX_SMTP_CLIENT_ST_RCPT:
        cl->rcpt_send = ngx_smtp_client_next_rcpt(cl, cl->rcpt_send + 1);

        if (cl->rcpt_send == cl->tx->nrcpts) {
            cl->to_send = cl->tx->more ? NGX_SMTP_CLIENT_NOTHING
                                       : NGX_SMTP_CLIENT_ST_DATA;
        }

        break;

    case NGX_SMTP_CLIENT_ST_DATA:
        cl->data_sent = 1;
        cl->to_send = NGX_SMTP_CLIENT_NOTHING;
        break;

    default:
        cl->to_send = NGX_SMTP_CLIENT_NOTHING;
    }
}
