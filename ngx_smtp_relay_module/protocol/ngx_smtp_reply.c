
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Replies of the server: the table, and writers that sanitize and cut.  All
 * memory is the caller's, the table is static.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_reply.h"


/* "250 ", "5.7.11 " and CRLF: what no reply is shorter than, and some more */
#define NGX_SMTP_REPLY_ROOM_MIN  16


static u_char *ngx_smtp_reply_code(u_char *p, ngx_uint_t code, u_char ch);
static u_char *ngx_smtp_reply_copy(u_char *p, u_char *last,
    const ngx_str_t *s);
static u_char *ngx_smtp_reply_text(u_char *p, u_char *last, ngx_str_t *text);


#define ngx_smtp_reply_row(id, code, enhanced, text)                          \
    { NGX_SMTP_REPLY_##id, code, ngx_string(enhanced), ngx_string(text) }


/* in the order of ngx_smtp_reply_e */

static const ngx_smtp_reply_t  ngx_smtp_replies[] = {

    ngx_smtp_reply_row(NONE, 451, "4.3.0", "Internal error"),

    ngx_smtp_reply_row(GREETING, 220, "", ""),
    ngx_smtp_reply_row(HELO, 250, "", ""),
    ngx_smtp_reply_row(BYE, 221, "2.0.0", "Bye"),
    ngx_smtp_reply_row(OK, 250, "2.0.0", "Ok"),
    ngx_smtp_reply_row(HELP, 214, "2.0.0", "See RFC 5321"),
    ngx_smtp_reply_row(VRFY, 252, "2.5.0",
                       "Cannot verify, but will take mail for this user"),
    ngx_smtp_reply_row(STARTTLS, 220, "2.0.0", "Ready to start TLS"),
    ngx_smtp_reply_row(XCLIENT, 220, "2.0.0", "Ok"),

    ngx_smtp_reply_row(MAIL_OK, 250, "2.1.0", "Ok"),
    ngx_smtp_reply_row(RCPT_OK, 250, "2.1.5", "Ok"),
    ngx_smtp_reply_row(DATA_GO, 354, "", "End data with <CR><LF>.<CR><LF>"),
    ngx_smtp_reply_row(BDAT_OK, 250, "2.0.0", "Ok:"),
    ngx_smtp_reply_row(QUEUED, 250, "2.0.0", "Ok: queued as"),

    ngx_smtp_reply_row(UNKNOWN, 500, "5.5.2", "Unknown command"),
    ngx_smtp_reply_row(NOT_IMPLEMENTED, 502, "5.5.1",
                       "Command not implemented"),
    ngx_smtp_reply_row(LINE_TOO_LONG, 500, "5.5.2", "Line too long"),
    ngx_smtp_reply_row(LINE_BAD, 500, "5.5.2",
                       "Bare CR, bare LF or NUL in command"),
    ngx_smtp_reply_row(BAD_SEQUENCE, 503, "5.5.1", "Bad sequence of commands"),
    ngx_smtp_reply_row(NEED_HELO, 503, "5.5.1", "Send EHLO first"),
    ngx_smtp_reply_row(NEED_MAIL, 503, "5.5.1", "Send MAIL first"),
    ngx_smtp_reply_row(NESTED_MAIL, 503, "5.5.1", "Sender already given"),
    ngx_smtp_reply_row(NO_RCPT, 554, "5.5.1", "No valid recipients"),
    ngx_smtp_reply_row(SYNTAX, 501, "5.5.4", "Syntax error in arguments"),
    ngx_smtp_reply_row(ARG_MISSING, 501, "5.5.4", "Argument required"),
    ngx_smtp_reply_row(ARG_FORBIDDEN, 501, "5.5.4", "No argument allowed"),
    ngx_smtp_reply_row(BAD_HELO, 501, "5.5.4", "Invalid domain name"),
    ngx_smtp_reply_row(BAD_PARAM, 501, "5.5.4", "Invalid parameter"),
    ngx_smtp_reply_row(UNKNOWN_PARAM, 555, "5.5.4", "Unsupported parameter"),
    ngx_smtp_reply_row(BAD_SENDER, 501, "5.1.7", "Bad sender address syntax"),
    ngx_smtp_reply_row(BAD_RCPT, 501, "5.1.3",
                       "Bad recipient address syntax"),
    ngx_smtp_reply_row(SENDER_UTF8, 550, "5.6.7",
                       "Sender address needs SMTPUTF8"),
    ngx_smtp_reply_row(RCPT_UTF8, 553, "5.6.7",
                       "Recipient address needs SMTPUTF8"),

    ngx_smtp_reply_row(TOO_LARGE, 552, "5.3.4",
                       "Message exceeds the size limit"),
    ngx_smtp_reply_row(TOO_MANY_RCPTS, 452, "4.5.3", "Too many recipients"),
    ngx_smtp_reply_row(TOO_MANY_MAILS, 421, "4.7.0",
                       "Too many messages in this session"),
    ngx_smtp_reply_row(TOO_MANY_ERRORS, 421, "4.7.0", "Too many errors"),
    ngx_smtp_reply_row(TOO_MANY_COMMANDS, 421, "4.7.0",
                       "Too many commands without mail"),
    ngx_smtp_reply_row(BUSY, 421, "4.3.2", "Too busy, try again later"),
    ngx_smtp_reply_row(SHUTDOWN, 421, "4.3.2",
                       "Service is being restarted, try again"),
    ngx_smtp_reply_row(DRAINING, 421, "4.3.2",
                       "Not taking mail now, try another server or later"),
    ngx_smtp_reply_row(TIMEOUT, 421, "4.4.2", "Timed out"),
    ngx_smtp_reply_row(TOO_SLOW, 421, "4.4.2", "Data comes too slowly"),
    ngx_smtp_reply_row(LOOP, 554, "5.4.6", "Too many hops"),
    ngx_smtp_reply_row(BARE_NEWLINE, 550, "5.6.0",
                       "Bare CR or LF in message, lines must end in CRLF"),

    ngx_smtp_reply_row(NEED_STARTTLS, 530, "5.7.0",
                       "Must issue a STARTTLS command first"),
    ngx_smtp_reply_row(NEED_AUTH, 530, "5.7.0", "Authentication required"),
    ngx_smtp_reply_row(RELAY_DENIED, 550, "5.7.1", "Relaying denied"),
    ngx_smtp_reply_row(DENIED, 550, "5.7.1", "Denied by policy"),
    ngx_smtp_reply_row(SENDER_DENIED, 553, "5.7.1",
                       "Sender address not owned by this login"),
    ngx_smtp_reply_row(CONNECT_DENIED, 554, "5.7.1", "No SMTP service here"),

    ngx_smtp_reply_row(TLS_UNAVAILABLE, 454, "4.7.0",
                       "TLS not available due to temporary reason"),
    ngx_smtp_reply_row(TLS_ACTIVE, 503, "5.5.1", "TLS is already active"),
    ngx_smtp_reply_row(AUTH_OK, 235, "2.7.0", "Authentication successful"),
    ngx_smtp_reply_row(AUTH_CONTINUE, 334, "", ""),
    ngx_smtp_reply_row(AUTH_FAILED, 535, "5.7.8",
                       "Authentication credentials invalid"),
    ngx_smtp_reply_row(AUTH_TEMPFAIL, 454, "4.7.0",
                       "Temporary authentication failure"),
    ngx_smtp_reply_row(AUTH_MECHANISM, 504, "5.5.4",
                       "Unknown authentication mechanism"),
    ngx_smtp_reply_row(AUTH_CANCELLED, 501, "5.7.0",
                       "Authentication cancelled"),
    ngx_smtp_reply_row(AUTH_MALFORMED, 501, "5.5.2",
                       "Cannot decode response"),
    ngx_smtp_reply_row(AUTH_ENCRYPTION, 538, "5.7.11",
                       "Encryption required for authentication"),
    ngx_smtp_reply_row(AUTH_TOO_LONG, 500, "5.5.6",
                       "Authentication exchange line is too long"),
    ngx_smtp_reply_row(AUTH_ACTIVE, 503, "5.5.1", "Already authenticated"),

    ngx_smtp_reply_row(DISK_FULL, 452, "4.3.1", "Insufficient system storage"),
    ngx_smtp_reply_row(QUEUE_FULL, 452, "4.3.1",
                       "Mail queue is full, try again later"),
    ngx_smtp_reply_row(IO_ERROR, 451, "4.3.0", "Cannot store the message"),
    ngx_smtp_reply_row(INTERNAL, 451, "4.3.0", "Internal error"),
    ngx_smtp_reply_row(INTERNAL_CLOSE, 421, "4.3.0",
                       "Internal error, closing"),
    ngx_smtp_reply_row(NO_UPSTREAM, 451, "4.4.1",
                       "Mail server does not answer"),
    ngx_smtp_reply_row(UPSTREAM_LOST, 451, "4.4.2",
                       "Connection to mail server lost")
};


const ngx_smtp_reply_t *
ngx_smtp_reply_get(ngx_uint_t id)
{
    if (id == NGX_SMTP_REPLY_NONE || id >= NGX_SMTP_REPLY_LAST) {
        id = NGX_SMTP_REPLY_INTERNAL;
    }

    return &ngx_smtp_replies[id];
}


u_char *
ngx_smtp_reply_write(u_char *p, u_char *last, ngx_uint_t id, ngx_str_t *detail)
{
    u_char                  *end;
    const ngx_smtp_reply_t  *rp;

    if (last - p < NGX_SMTP_REPLY_ROOM_MIN) {
        return p;
    }

    rp = ngx_smtp_reply_get(id);

    end = p + ngx_min(last - p, NGX_SMTP_REPLY_LINE_MAX) - 2;

    p = ngx_smtp_reply_code(p, rp->code, ' ');

    if (rp->enhanced.len) {
        p = ngx_smtp_reply_copy(p, end, &rp->enhanced);

        if (p < end) {
            *p++ = ' ';
        }
    }

    p = ngx_smtp_reply_copy(p, end, &rp->text);

    if (detail && detail->len) {

        if (rp->text.len && p < end) {
            *p++ = ' ';
        }

        p = ngx_smtp_reply_sanitize(p, end, detail);
    }

    *p++ = CR;
    *p++ = LF;

    return p;
}


u_char *
ngx_smtp_reply_line(u_char *p, u_char *last, ngx_uint_t code,
    ngx_str_t *enhanced, ngx_str_t *text, ngx_uint_t more)
{
    u_char  *end;

    if (last - p < NGX_SMTP_REPLY_ROOM_MIN) {
        return p;
    }

    end = p + ngx_min(last - p, NGX_SMTP_REPLY_LINE_MAX) - 2;

    p = ngx_smtp_reply_code(p, code, more ? '-' : ' ');

    if (enhanced && enhanced->len) {
        p = ngx_smtp_reply_text(p, end, enhanced);

        if (p < end) {
            *p++ = ' ';
        }
    }

    if (text) {
        p = ngx_smtp_reply_text(p, end, text);
    }

    *p++ = CR;
    *p++ = LF;

    return p;
}


/* there is room for it: NGX_SMTP_REPLY_ROOM_MIN */

static u_char *
ngx_smtp_reply_code(u_char *p, ngx_uint_t code, u_char ch)
{
    *p++ = (u_char) ('0' + code / 100 % 10);
    *p++ = (u_char) ('0' + code / 10 % 10);
    *p++ = (u_char) ('0' + code % 10);
    *p++ = ch;

    return p;
}


static u_char *
ngx_smtp_reply_copy(u_char *p, u_char *last, const ngx_str_t *s)
{
    return ngx_cpymem(p, s->data, ngx_min(s->len, (size_t) (last - p)));
}


static u_char *
ngx_smtp_reply_text(u_char *p, u_char *last, ngx_str_t *text)
{
    return text->len ? ngx_smtp_reply_sanitize(p, last, text) : p;
}


u_char *
ngx_smtp_reply_sanitize(u_char *p, u_char *last, ngx_str_t *text)
{
    u_char  ch;
    size_t  i, n;

    n = ngx_min(text->len, (size_t) (last - p));

    for (i = 0; i < n; i++) {
        ch = text->data[i];
        *p++ = (ch >= 0x20 && ch < 0x7f) ? ch : '?';
    }

    return p;
}
