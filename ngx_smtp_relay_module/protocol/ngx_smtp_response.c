
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Replies of a peer: octets are collected to lines in a buffer of the parser,
 * lines to a reply.  Nothing is allocated.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_smtp_reply.h"
#include "ngx_smtp_response.h"


typedef struct {
    ngx_str_t           name;
    ngx_uint_t          flag;
} ngx_smtp_keyword_t;


static void ngx_smtp_response_reset(ngx_smtp_response_t *r);
static ngx_int_t ngx_smtp_response_append(ngx_smtp_response_t *r, u_char *p,
    size_t n);
static ngx_int_t ngx_smtp_response_line(ngx_smtp_response_t *r);
static void ngx_smtp_response_status(ngx_smtp_response_t *r, ngx_str_t *text);
static size_t ngx_smtp_response_status_len(ngx_uint_t code, ngx_str_t *text);
static void ngx_smtp_response_text(ngx_smtp_response_t *r, ngx_str_t *text);
static void ngx_smtp_caps_limits(ngx_smtp_caps_t *caps, ngx_str_t *args);
static ngx_uint_t ngx_smtp_keywords(const ngx_smtp_keyword_t *table,
    ngx_str_t *args);
static ngx_uint_t ngx_smtp_keyword_flag(const ngx_smtp_keyword_t *table,
    ngx_str_t *name);
static ngx_uint_t ngx_smtp_next_word(ngx_str_t *args, ngx_str_t *word);
static off_t ngx_smtp_caps_number(u_char *p, u_char *last, off_t max);


static const ngx_smtp_keyword_t  ngx_smtp_caps_keywords[] = {
    { ngx_string("PIPELINING"), NGX_SMTP_CAP_PIPELINING },
    { ngx_string("SIZE"), NGX_SMTP_CAP_SIZE },
    { ngx_string("8BITMIME"), NGX_SMTP_CAP_8BITMIME },
    { ngx_string("SMTPUTF8"), NGX_SMTP_CAP_SMTPUTF8 },
    { ngx_string("STARTTLS"), NGX_SMTP_CAP_STARTTLS },
    { ngx_string("DSN"), NGX_SMTP_CAP_DSN },
    { ngx_string("CHUNKING"), NGX_SMTP_CAP_CHUNKING },
    { ngx_string("ENHANCEDSTATUSCODES"), NGX_SMTP_CAP_STATUSCODES },
    { ngx_string("AUTH"), NGX_SMTP_CAP_AUTH },
    { ngx_string("LIMITS"), NGX_SMTP_CAP_LIMITS },
    { ngx_string("REQUIRETLS"), NGX_SMTP_CAP_REQUIRETLS },
    { ngx_string("XCLIENT"), NGX_SMTP_CAP_XCLIENT },
    { ngx_string("XFORWARD"), NGX_SMTP_CAP_XFORWARD },
    { ngx_string("BINARYMIME"), NGX_SMTP_CAP_BINARYMIME },
    { ngx_null_string, 0 }
};


static const ngx_smtp_keyword_t  ngx_smtp_caps_auth[] = {
    { ngx_string("PLAIN"), NGX_SMTP_CAP_AUTH_PLAIN },
    { ngx_string("LOGIN"), NGX_SMTP_CAP_AUTH_LOGIN },
    { ngx_string("SCRAM-SHA-256"), NGX_SMTP_CAP_AUTH_SCRAM },
    { ngx_string("EXTERNAL"), NGX_SMTP_CAP_AUTH_EXTERNAL },
    { ngx_string("XOAUTH2"), NGX_SMTP_CAP_AUTH_XOAUTH2 },
    { ngx_null_string, 0 }
};


static const ngx_smtp_keyword_t  ngx_smtp_caps_xclient[] = {
    { ngx_string("NAME"), NGX_SMTP_CAP_XCLIENT_NAME },
    { ngx_string("ADDR"), NGX_SMTP_CAP_XCLIENT_ADDR },
    { ngx_string("PORT"), NGX_SMTP_CAP_XCLIENT_PORT },
    { ngx_string("PROTO"), NGX_SMTP_CAP_XCLIENT_PROTO },
    { ngx_string("HELO"), NGX_SMTP_CAP_XCLIENT_HELO },
    { ngx_string("LOGIN"), NGX_SMTP_CAP_XCLIENT_LOGIN },
    { ngx_string("DESTADDR"), NGX_SMTP_CAP_XCLIENT_DESTADDR },
    { ngx_string("DESTPORT"), NGX_SMTP_CAP_XCLIENT_DESTPORT },
    { ngx_null_string, 0 }
};


static const ngx_smtp_keyword_t  ngx_smtp_caps_xforward[] = {
    { ngx_string("NAME"), NGX_SMTP_CAP_XFORWARD_NAME },
    { ngx_string("ADDR"), NGX_SMTP_CAP_XFORWARD_ADDR },
    { ngx_string("PORT"), NGX_SMTP_CAP_XFORWARD_PORT },
    { ngx_string("PROTO"), NGX_SMTP_CAP_XFORWARD_PROTO },
    { ngx_string("HELO"), NGX_SMTP_CAP_XFORWARD_HELO },
    { ngx_string("IDENT"), NGX_SMTP_CAP_XFORWARD_IDENT },
    { ngx_string("SOURCE"), NGX_SMTP_CAP_XFORWARD_SOURCE },
    { ngx_null_string, 0 }
};


void
ngx_smtp_response_init(ngx_smtp_response_t *r)
{
    r->error = NULL;
    r->handler = NULL;
    r->data = NULL;

    ngx_smtp_response_reset(r);
}


static void
ngx_smtp_response_reset(ngx_smtp_response_t *r)
{
    r->code = 0;
    r->status.len = 0;
    r->status.data = r->status_buf;
    r->text.len = 0;
    r->text.data = r->text_buf;
    r->text_last = r->text_buf;

    r->len = 0;
    r->line_size = 0;
    r->size = 0;
    r->lines = 0;
    r->done = 0;
}


ngx_int_t
ngx_smtp_response_parse(ngx_smtp_response_t *r, u_char **pos, u_char *last)
{
    size_t      n;
    u_char     *p, *lf;
    ngx_int_t   rc;

    if (r->done) {
        ngx_smtp_response_reset(r);
    }

    while (*pos < last) {
        p = *pos;

        lf = memchr(p, LF, last - p);
        n = (lf ? lf + 1 : last) - p;

        *pos = p + n;

        if (ngx_smtp_response_append(r, p, n) != NGX_OK) {
            return NGX_ERROR;
        }

        if (lf == NULL) {
            break;
        }

        rc = ngx_smtp_response_line(r);

        if (rc != NGX_AGAIN) {
            return rc;
        }
    }

    return NGX_AGAIN;
}


/* part of a line, its LF included if that has come */

static ngx_int_t
ngx_smtp_response_append(ngx_smtp_response_t *r, u_char *p, size_t n)
{
    if (memchr(p, '\0', n)) {
        r->error = "NUL in reply";
        return NGX_ERROR;
    }

    if (n > NGX_SMTP_RESPONSE_LINE_MAX - r->line_size) {
        r->error = "reply line too long";
        return NGX_ERROR;
    }

    if (n > NGX_SMTP_RESPONSE_SIZE_MAX - r->size) {
        r->error = "reply too long";
        return NGX_ERROR;
    }

    r->line_size += n;
    r->size += n;

    if (p[n - 1] == LF) {
        n--;
    }

    n = ngx_min(n, sizeof(r->line) - r->len);

    ngx_memcpy(r->line + r->len, p, n);
    r->len += n;

    return NGX_OK;
}


/* a line is complete */

static ngx_int_t
ngx_smtp_response_line(ngx_smtp_response_t *r)
{
    u_char     *p;
    size_t      len;
    ngx_str_t   text;
    ngx_uint_t  code, more;

    p = r->line;
    len = r->len;

    if (len && p[len - 1] == CR) {
        len--;
    }

    if (len < 3
        || p[0] < '2' || p[0] > '5'
        || p[1] < '0' || p[1] > '9'
        || p[2] < '0' || p[2] > '9')
    {
        r->error = "invalid reply code";
        return NGX_ERROR;
    }

    if (len > 3 && p[3] != ' ' && p[3] != '-') {
        r->error = "invalid character behind reply code";
        return NGX_ERROR;
    }

    code = (p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0');
    more = (len > 3 && p[3] == '-');

    if (r->lines && code != r->code) {
        r->error = "different codes in one reply";
        return NGX_ERROR;
    }

    if (++r->lines > NGX_SMTP_RESPONSE_LINES_MAX) {
        r->error = "too many lines in reply";
        return NGX_ERROR;
    }

    r->code = code;

    text.data = (len > 3) ? p + 4 : p + 3;
    text.len = (len > 3) ? len - 4 : 0;

    if (r->handler) {
        r->handler(r->data, code, r->lines - 1, &text);
    }

    ngx_smtp_response_status(r, &text);
    ngx_smtp_response_text(r, &text);

    r->len = 0;
    r->line_size = 0;

    if (more) {
        return NGX_AGAIN;
    }

    r->text.len = r->text_last - r->text_buf;
    r->done = 1;

    return NGX_OK;
}


/* takes the enhanced code off the text; the first line's is the reply's */

static void
ngx_smtp_response_status(ngx_smtp_response_t *r, ngx_str_t *text)
{
    size_t  n;

    n = ngx_smtp_response_status_len(r->code, text);

    if (n == 0) {
        return;
    }

    if (r->lines == 1) {
        ngx_memcpy(r->status_buf, text->data, n);
        r->status.len = n;

    } else if (n != r->status.len
               || ngx_memcmp(text->data, r->status_buf, n) != 0)
    {
        return;
    }

    text->data += n;
    text->len -= n;

    if (text->len) {
        text->data++;
        text->len--;
    }
}


/* "c.sss.ddd" and a space or the end, c being the class of the reply code */

static size_t
ngx_smtp_response_status_len(ngx_uint_t code, ngx_str_t *text)
{
    u_char      *p, *last;
    ngx_uint_t   i, digits;

    p = text->data;
    last = p + text->len;

    if (p == last || (ngx_uint_t) (*p - '0') != code / 100 || *p == '3') {
        return 0;
    }

    p++;

    for (i = 0; i < 2; i++) {

        if (p == last || *p++ != '.') {
            return 0;
        }

        for (digits = 0; p < last && *p >= '0' && *p <= '9'; digits++) {
            p++;
        }

        if (digits == 0 || digits > 3) {
            return 0;
        }
    }

    if (p < last && *p != ' ') {
        return 0;
    }

    return p - text->data;
}


static void
ngx_smtp_response_text(ngx_smtp_response_t *r, ngx_str_t *text)
{
    u_char  *end;

    end = r->text_buf + NGX_SMTP_RESPONSE_TEXT_MAX;

    if (text->len == 0) {
        return;
    }

    if (r->text_last > r->text_buf && r->text_last < end) {
        *r->text_last++ = ' ';
    }

    r->text_last = ngx_smtp_reply_sanitize(r->text_last, end, text);
}


void
ngx_smtp_caps_line(void *data, ngx_uint_t code, ngx_uint_t n, ngx_str_t *line)
{
    ngx_smtp_caps_t *caps = data;

    u_char      *p;
    ngx_str_t    args, name;
    ngx_uint_t   flag;

    if (code != 250 || n == 0) {
        return;
    }

    args = *line;

    if (!ngx_smtp_next_word(&args, &name)) {
        return;
    }

    flag = ngx_smtp_keyword_flag(ngx_smtp_caps_keywords, &name);

    if (flag == 0) {

        /* "AUTH=LOGIN PLAIN", from before RFC 2554 */

        if (name.len > 5
            && ngx_strncasecmp(name.data, (u_char *) "AUTH=", 5) == 0)
        {
            p = name.data + 5;
            args.len = line->data + line->len - p;
            args.data = p;
            flag = NGX_SMTP_CAP_AUTH;

        } else {
            return;
        }
    }

    caps->flags |= flag;

    switch (flag) {

    case NGX_SMTP_CAP_SIZE:
        if (ngx_smtp_next_word(&args, &name)) {
            caps->size = ngx_smtp_caps_number(name.data, name.data + name.len,
                                              NGX_MAX_OFF_T_VALUE);
        }

        break;

    case NGX_SMTP_CAP_AUTH:
        caps->auth |= ngx_smtp_keywords(ngx_smtp_caps_auth, &args);
        break;

    case NGX_SMTP_CAP_XCLIENT:
        caps->xclient |= ngx_smtp_keywords(ngx_smtp_caps_xclient, &args);
        break;

    case NGX_SMTP_CAP_XFORWARD:
        caps->xforward |= ngx_smtp_keywords(ngx_smtp_caps_xforward, &args);
        break;

    case NGX_SMTP_CAP_LIMITS:
        ngx_smtp_caps_limits(caps, &args);
        break;

    default:
        break;
    }
}


/* RFC 9422 section 3: "RCPTMAX=20 MAILMAX=5" */

static void
ngx_smtp_caps_limits(ngx_smtp_caps_t *caps, ngx_str_t *args)
{
    u_char     *p, *last;
    ngx_str_t   word;

    while (ngx_smtp_next_word(args, &word)) {
        p = word.data;
        last = p + word.len;

        if (word.len <= 8) {
            continue;
        }

        /* six digits are the most that the RFC allows */

        if (ngx_strncasecmp(p, (u_char *) "RCPTMAX=", 8) == 0) {
            caps->rcptmax = ngx_smtp_caps_number(p + 8, last, 999999);

        } else if (ngx_strncasecmp(p, (u_char *) "MAILMAX=", 8) == 0) {
            caps->mailmax = ngx_smtp_caps_number(p + 8, last, 999999);
        }
    }
}


static ngx_uint_t
ngx_smtp_keywords(const ngx_smtp_keyword_t *table, ngx_str_t *args)
{
    ngx_str_t   word;
    ngx_uint_t  flags;

    flags = 0;

    while (ngx_smtp_next_word(args, &word)) {
        flags |= ngx_smtp_keyword_flag(table, &word);
    }

    return flags;
}


static ngx_uint_t
ngx_smtp_keyword_flag(const ngx_smtp_keyword_t *table, ngx_str_t *name)
{
    for ( /* void */ ; table->name.len; table++) {
        if (table->name.len == name->len
            && ngx_strncasecmp(table->name.data, name->data, name->len) == 0)
        {
            return table->flag;
        }
    }

    return 0;
}


/* takes the next word off args; 0 if there is none */

static ngx_uint_t
ngx_smtp_next_word(ngx_str_t *args, ngx_str_t *word)
{
    u_char  *p, *last;

    p = args->data;
    last = p + args->len;

    while (p < last && (*p == ' ' || *p == '\t')) {
        p++;
    }

    word->data = p;

    while (p < last && *p != ' ' && *p != '\t') {
        p++;
    }

    word->len = p - word->data;

    args->data = p;
    args->len = last - p;

    return word->len != 0;
}


/* what is no number or beyond max is 0: no limit */

static off_t
ngx_smtp_caps_number(u_char *p, u_char *last, off_t max)
{
    off_t  n;

    n = 0;

    for ( /* void */ ; p < last; p++) {

        if (*p < '0' || *p > '9' || n > (max - (*p - '0')) / 10) {
            return 0;
        }

        n = n * 10 + (*p - '0');
    }

    return n;
}
