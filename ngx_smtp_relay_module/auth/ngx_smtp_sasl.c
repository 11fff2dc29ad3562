
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * SASL PLAIN and LOGIN, server side.  Nothing is decoded that does not fit:
 * the length and the alphabet of a line are checked first.  The decoded
 * secrets are only in the buffer of the exchange, which the caller owns.
 */


#include "ngx_smtp_sasl.h"


#define NGX_SMTP_SASL_WANT_RESPONSE  0      /* of PLAIN */
#define NGX_SMTP_SASL_WANT_LOGIN     1
#define NGX_SMTP_SASL_WANT_PASSWORD  2
#define NGX_SMTP_SASL_DONE           3


static ngx_int_t ngx_smtp_sasl_response(ngx_smtp_sasl_t *sasl,
    ngx_str_t *line);
static ngx_int_t ngx_smtp_sasl_plain(ngx_smtp_sasl_t *sasl, ngx_str_t *line);
static ngx_int_t ngx_smtp_sasl_login(ngx_smtp_sasl_t *sasl, ngx_str_t *line);
static ngx_int_t ngx_smtp_sasl_password(ngx_smtp_sasl_t *sasl,
    ngx_str_t *line);
static ngx_int_t ngx_smtp_sasl_decode(ngx_smtp_sasl_t *sasl, ngx_str_t *line,
    u_char *buf, size_t size, ngx_str_t *out);
static ngx_int_t ngx_smtp_sasl_check(ngx_smtp_sasl_t *sasl);
static ngx_int_t ngx_smtp_sasl_fail(ngx_smtp_sasl_t *sasl, ngx_int_t rc,
    const char *reason);


ngx_smtp_sasl_mechanism_t  ngx_smtp_sasl_mechanisms[] = {
    { ngx_string("PLAIN"), NGX_SMTP_SASL_PLAIN },
    { ngx_string("LOGIN"), NGX_SMTP_SASL_LOGIN },
    { ngx_null_string, 0 }
};


/* what clients of LOGIN expect: "Username:" and "Password:" */
static ngx_str_t  ngx_smtp_sasl_ask_nothing = ngx_string("");
static ngx_str_t  ngx_smtp_sasl_ask_login = ngx_string("VXNlcm5hbWU6");
static ngx_str_t  ngx_smtp_sasl_ask_password = ngx_string("UGFzc3dvcmQ6");


ngx_uint_t
ngx_smtp_sasl_mechanism(ngx_str_t *name)
{
    ngx_smtp_sasl_mechanism_t  *m;

    for (m = ngx_smtp_sasl_mechanisms; m->name.len; m++) {

        if (m->name.len == name->len
            && ngx_strncasecmp(m->name.data, name->data, name->len) == 0)
        {
            return m->mask;
        }
    }

    return 0;
}


ngx_int_t
ngx_smtp_sasl_start(ngx_smtp_sasl_t *sasl, ngx_uint_t mechanism,
    ngx_str_t *initial)
{
    ngx_str_t  empty;

    ngx_memzero(sasl, sizeof(ngx_smtp_sasl_t));

    sasl->mechanism = mechanism;

    switch (mechanism) {

    case NGX_SMTP_SASL_PLAIN:
        sasl->state = NGX_SMTP_SASL_WANT_RESPONSE;
        sasl->challenge = ngx_smtp_sasl_ask_nothing;
        break;

    case NGX_SMTP_SASL_LOGIN:
        sasl->state = NGX_SMTP_SASL_WANT_LOGIN;
        sasl->challenge = ngx_smtp_sasl_ask_login;
        break;

    default:
        return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_MALFORMED,
                                  "unknown mechanism");
    }

    if (initial == NULL) {
        return NGX_AGAIN;
    }

    if (initial->len == 1 && initial->data[0] == '=') {
        ngx_str_set(&empty, "");
        return ngx_smtp_sasl_response(sasl, &empty);
    }

    if (initial->len == 0) {
        return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_MALFORMED,
                                  "empty initial response not sent as \"=\"");
    }

    return ngx_smtp_sasl_response(sasl, initial);
}


ngx_int_t
ngx_smtp_sasl_step(ngx_smtp_sasl_t *sasl, ngx_str_t *line)
{
    if (line->len == 1 && line->data[0] == '*') {
        return ngx_smtp_sasl_fail(sasl, NGX_DECLINED, "canceled by client");
    }

    return ngx_smtp_sasl_response(sasl, line);
}


void
ngx_smtp_sasl_wipe(ngx_smtp_sasl_t *sasl)
{
    ngx_explicit_memzero(sasl, sizeof(ngx_smtp_sasl_t));

    sasl->state = NGX_SMTP_SASL_DONE;
}


static ngx_int_t
ngx_smtp_sasl_response(ngx_smtp_sasl_t *sasl, ngx_str_t *line)
{
    if (line->len > NGX_SMTP_SASL_MAX_LINE) {
        return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_TOO_LONG,
                                  "line too long");
    }

    switch (sasl->state) {

    case NGX_SMTP_SASL_WANT_RESPONSE:
        return ngx_smtp_sasl_plain(sasl, line);

    case NGX_SMTP_SASL_WANT_LOGIN:
        return ngx_smtp_sasl_login(sasl, line);

    case NGX_SMTP_SASL_WANT_PASSWORD:
        return ngx_smtp_sasl_password(sasl, line);

    default:
        return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_MALFORMED,
                                  "exchange is over");
    }
}


/* RFC 4616 section 2: [authzid] NUL authcid NUL passwd */

static ngx_int_t
ngx_smtp_sasl_plain(ngx_smtp_sasl_t *sasl, ngx_str_t *line)
{
    u_char     *p, *last;
    ngx_int_t   rc;
    ngx_str_t   msg, authzid;

    rc = ngx_smtp_sasl_decode(sasl, line, sasl->buf, sizeof(sasl->buf), &msg);

    if (rc != NGX_OK) {
        return rc;
    }

    last = msg.data + msg.len;

    p = ngx_strlchr(msg.data, last, '\0');

    if (p == NULL) {
        return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_MALFORMED,
                                  "no NUL in PLAIN response");
    }

    authzid.data = msg.data;
    authzid.len = p - msg.data;

    sasl->login.data = p + 1;

    p = ngx_strlchr(p + 1, last, '\0');

    if (p == NULL) {
        return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_MALFORMED,
                                  "one NUL only in PLAIN response");
    }

    sasl->login.len = p - sasl->login.data;

    sasl->password.data = p + 1;
    sasl->password.len = last - (p + 1);

    if (ngx_strlchr(p + 1, last, '\0') != NULL) {
        return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_MALFORMED,
                                  "third NUL in PLAIN response");
    }

    /* nobody may act for another: an identity is empty or the login itself */

    if (authzid.len
        && (authzid.len != sasl->login.len
            || ngx_strncasecmp(authzid.data, sasl->login.data, authzid.len)
               != 0))
    {
        return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_REFUSED,
                                  "authorization identity is not the login");
    }

    return ngx_smtp_sasl_check(sasl);
}


static ngx_int_t
ngx_smtp_sasl_login(ngx_smtp_sasl_t *sasl, ngx_str_t *line)
{
    ngx_int_t  rc;

    rc = ngx_smtp_sasl_decode(sasl, line, sasl->buf, NGX_SMTP_SASL_MAX_LOGIN,
                              &sasl->login);
    if (rc != NGX_OK) {
        return rc;
    }

    /* an empty or bad one is refused only after the password: no shortcut */

    sasl->state = NGX_SMTP_SASL_WANT_PASSWORD;
    sasl->challenge = ngx_smtp_sasl_ask_password;

    return NGX_AGAIN;
}


static ngx_int_t
ngx_smtp_sasl_password(ngx_smtp_sasl_t *sasl, ngx_str_t *line)
{
    ngx_int_t  rc;

    rc = ngx_smtp_sasl_decode(sasl, line,
                              sasl->buf + NGX_SMTP_SASL_MAX_LOGIN,
                              NGX_SMTP_SASL_MAX_PASSWORD, &sasl->password);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_smtp_sasl_check(sasl);
}


/*
 * Strict RFC 4648: full groups of four, padding at the very end only.  nginx's
 * decoder ends at the first "=" and would not see what follows it.
 */

static ngx_int_t
ngx_smtp_sasl_decode(ngx_smtp_sasl_t *sasl, ngx_str_t *line, u_char *buf,
    size_t size, ngx_str_t *out)
{
    u_char     *p, *last;
    size_t      len, pad;
    ngx_str_t   src;

    out->data = buf;
    out->len = 0;

    len = line->len;
    pad = 0;

    if (len == 0) {
        return NGX_OK;
    }

    if (len % 4 != 0) {
        goto malformed;
    }

    while (pad < 2 && len && line->data[len - 1] == '=') {
        len--;
        pad++;
    }

    last = line->data + len;

    for (p = line->data; p < last; p++) {

        if ((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z')
            || (*p >= '0' && *p <= '9') || *p == '+' || *p == '/')
        {
            continue;
        }

        goto malformed;
    }

    if (line->len / 4 * 3 - pad > size) {
        return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_TOO_LONG,
                                  "login or password too long");
    }

    src.data = line->data;
    src.len = len;

    if (ngx_decode_base64(out, &src) != NGX_OK) {
        goto malformed;
    }

    return NGX_OK;

malformed:

    return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_MALFORMED,
                              "malformed base64");
}


static ngx_int_t
ngx_smtp_sasl_check(ngx_smtp_sasl_t *sasl)
{
    ngx_str_t  *login, *password;

    login = &sasl->login;
    password = &sasl->password;

    if (login->len > NGX_SMTP_SASL_MAX_LOGIN
        || password->len > NGX_SMTP_SASL_MAX_PASSWORD)
    {
        return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_TOO_LONG,
                                  "login or password too long");
    }

    if (login->len == 0) {
        return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_REFUSED, "empty login");
    }

    if (password->len == 0) {
        return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_REFUSED,
                                  "empty password");
    }

    /* possible by LOGIN only; crypt(3) would stop at it */

    if (ngx_strlchr(login->data, login->data + login->len, '\0') != NULL
        || ngx_strlchr(password->data, password->data + password->len, '\0')
           != NULL)
    {
        return ngx_smtp_sasl_fail(sasl, NGX_SMTP_SASL_REFUSED,
                                  "NUL in login or password");
    }

    sasl->state = NGX_SMTP_SASL_DONE;
    ngx_str_null(&sasl->challenge);

    return NGX_OK;
}


static ngx_int_t
ngx_smtp_sasl_fail(ngx_smtp_sasl_t *sasl, ngx_int_t rc, const char *reason)
{
    ngx_smtp_sasl_wipe(sasl);

    sasl->reason = reason;

    return rc;
}
