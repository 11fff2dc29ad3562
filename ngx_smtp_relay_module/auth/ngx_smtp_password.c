
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Verification of stored passwords.  A verifier is first taken apart and its
 * form and cost are checked, so that a record of the store can neither make
 * crypt(3) fall back to an old scheme nor occupy a thread for minutes.
 * Everything lives on the stack of the calling thread and is zeroed.
 */


#include "ngx_smtp_password.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>


#define NGX_SMTP_PASSWORD_SHA_ROUNDS    5000    /* when not stored */
#define NGX_SMTP_PASSWORD_MAX_SCRAM_SALT  64
#define NGX_SMTP_PASSWORD_MAX_YESCRYPT    'C'   /* of N: 128 MB */
#define NGX_SMTP_PASSWORD_KEY             32    /* SHA-256 */


/* a verifier taken apart; the slices point into it */
typedef struct {
    ngx_uint_t    scheme;
    ngx_uint_t    cost;             /* comparable within a scheme */
    ngx_str_t     salt;             /* as written */
    ngx_str_t     hash;             /* crypt(3): up to the end */
    ngx_str_t     stored;           /* SCRAM: base64 */
    ngx_str_t     server;
} ngx_smtp_password_parts_t;


static ngx_int_t ngx_smtp_password_parse(ngx_str_t *verifier,
    ngx_smtp_password_parts_t *parts);
static ngx_int_t ngx_smtp_password_parse_bcrypt(u_char *p, u_char *last,
    ngx_smtp_password_parts_t *parts);
static ngx_int_t ngx_smtp_password_parse_sha(u_char *p, u_char *last,
    ngx_smtp_password_parts_t *parts);
static ngx_int_t ngx_smtp_password_parse_yescrypt(u_char *p, u_char *last,
    ngx_smtp_password_parts_t *parts);
static ngx_int_t ngx_smtp_password_parse_scram(u_char *p, u_char *last,
    ngx_smtp_password_parts_t *parts);
static u_char *ngx_smtp_password_slice(u_char *p, u_char *last, u_char end,
    ngx_str_t *slice);
static ngx_uint_t ngx_smtp_password_is_crypt64(ngx_str_t *s);
static ngx_int_t ngx_smtp_password_crypt(ngx_str_t *verifier,
    ngx_str_t *password);
static ngx_int_t ngx_smtp_password_scram(ngx_smtp_password_parts_t *parts,
    ngx_str_t *password);
static ngx_int_t ngx_smtp_password_base64(ngx_str_t *src, u_char *buf,
    size_t size, size_t *len);


/* $6$ with default rounds: what nothing is known of costs */
static ngx_str_t  ngx_smtp_password_default = ngx_string(
    "$6$................$"
    "..........................................."
    "...........................................");


ngx_uint_t
ngx_smtp_password_scheme(ngx_str_t *verifier)
{
    ngx_smtp_password_parts_t  parts;

    if (ngx_smtp_password_parse(verifier, &parts) != NGX_OK) {
        return NGX_SMTP_PASSWORD_NONE;
    }

    return parts.scheme;
}


ngx_int_t
ngx_smtp_password_verify(ngx_str_t *verifier, ngx_str_t *password)
{
    ngx_smtp_password_parts_t  parts;

    if (ngx_smtp_password_parse(verifier, &parts) != NGX_OK) {
        return NGX_ERROR;
    }

    if (parts.scheme == NGX_SMTP_PASSWORD_SCRAM) {
        return ngx_smtp_password_scram(&parts, password);
    }

    return ngx_smtp_password_crypt(verifier, password);
}


void
ngx_smtp_password_dummy(ngx_str_t *verifier, u_char *buf, ngx_str_t *dummy)
{
    ngx_smtp_password_parts_t  parts;

    if (verifier == NULL
        || ngx_smtp_password_parse(verifier, &parts) != NGX_OK)
    {
        verifier = &ngx_smtp_password_default;
        (void) ngx_smtp_password_parse(verifier, &parts);
    }

    ngx_memcpy(buf, verifier->data, verifier->len);

    dummy->data = buf;
    dummy->len = verifier->len;

#define ngx_smtp_password_blank(s, c)                                         \
    ngx_memset(buf + ((s).data - verifier->data), c, (s).len)

    if (parts.scheme == NGX_SMTP_PASSWORD_SCRAM) {

        /* "=" stays where it is, so that the lengths stay what they are */

        while (parts.salt.len && parts.salt.data[parts.salt.len - 1] == '=') {
            parts.salt.len--;
        }

        parts.stored.len--;
        parts.server.len--;

        ngx_smtp_password_blank(parts.salt, 'A');
        ngx_smtp_password_blank(parts.stored, 'A');
        ngx_smtp_password_blank(parts.server, 'A');

    } else {
        ngx_smtp_password_blank(parts.salt, '.');
        ngx_smtp_password_blank(parts.hash, '.');
    }

#undef ngx_smtp_password_blank
}


ngx_uint_t
ngx_smtp_password_same_cost(ngx_str_t *a, ngx_str_t *b)
{
    ngx_smtp_password_parts_t  pa, pb;

    if (ngx_smtp_password_parse(a, &pa) != NGX_OK
        || ngx_smtp_password_parse(b, &pb) != NGX_OK)
    {
        return 0;
    }

    return pa.scheme == pb.scheme && pa.cost == pb.cost;
}


static ngx_int_t
ngx_smtp_password_parse(ngx_str_t *verifier, ngx_smtp_password_parts_t *parts)
{
    u_char  *p, *last;
    size_t   len;

    p = verifier->data;
    len = verifier->len;
    last = p + len;

    ngx_memzero(parts, sizeof(ngx_smtp_password_parts_t));

    if (len > NGX_SMTP_PASSWORD_MAX) {
        return NGX_ERROR;
    }

    if (len > 14 && ngx_memcmp(p, "SCRAM-SHA-256$", 14) == 0) {
        return ngx_smtp_password_parse_scram(p + 14, last, parts);
    }

    if (len < 4 || p[0] != '$') {
        return NGX_ERROR;
    }

    if (p[1] == '2' && (p[2] == 'a' || p[2] == 'b' || p[2] == 'y')
        && p[3] == '$')
    {
        return ngx_smtp_password_parse_bcrypt(p + 4, last, parts);
    }

    if (p[2] != '$') {
        return NGX_ERROR;
    }

    switch (p[1]) {

    case '5':
        parts->scheme = NGX_SMTP_PASSWORD_SHA256;
        return ngx_smtp_password_parse_sha(p + 3, last, parts);

    case '6':
        parts->scheme = NGX_SMTP_PASSWORD_SHA512;
        return ngx_smtp_password_parse_sha(p + 3, last, parts);

    case 'y':
        return ngx_smtp_password_parse_yescrypt(p + 3, last, parts);

    default:
        return NGX_ERROR;
    }
}


/* $2b$NN$ and 22 characters of salt, 31 of hash */

static ngx_int_t
ngx_smtp_password_parse_bcrypt(u_char *p, u_char *last,
    ngx_smtp_password_parts_t *parts)
{
    ngx_int_t  cost;

    if (last - p != 2 + 1 + 22 + 31 || p[2] != '$') {
        return NGX_ERROR;
    }

    cost = ngx_atoi(p, 2);

    if (cost < 4 || cost > NGX_SMTP_PASSWORD_MAX_BCRYPT_COST) {
        return NGX_ERROR;
    }

    parts->scheme = NGX_SMTP_PASSWORD_BCRYPT;
    parts->cost = cost;

    parts->salt.data = p + 3;
    parts->salt.len = 22;
    parts->hash.data = p + 3 + 22;
    parts->hash.len = 31;

    if (!ngx_smtp_password_is_crypt64(&parts->salt)
        || !ngx_smtp_password_is_crypt64(&parts->hash))
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* [rounds=N$]salt$hash */

static ngx_int_t
ngx_smtp_password_parse_sha(u_char *p, u_char *last,
    ngx_smtp_password_parts_t *parts)
{
    size_t     len;
    ngx_int_t  rounds;
    ngx_str_t  digits;

    parts->cost = NGX_SMTP_PASSWORD_SHA_ROUNDS;

    if (last - p > 7 && ngx_memcmp(p, "rounds=", 7) == 0) {

        p = ngx_smtp_password_slice(p + 7, last, '$', &digits);

        if (p == NULL || digits.len == 0 || digits.data[0] == '0') {
            return NGX_ERROR;
        }

        rounds = ngx_atoi(digits.data, digits.len);

        if (rounds < 1000 || rounds > NGX_SMTP_PASSWORD_MAX_SHA_ROUNDS) {
            return NGX_ERROR;
        }

        parts->cost = rounds;
    }

    p = ngx_smtp_password_slice(p, last, '$', &parts->salt);

    if (p == NULL || parts->salt.len == 0 || parts->salt.len > 16) {
        return NGX_ERROR;
    }

    parts->hash.data = p;
    parts->hash.len = last - p;

    len = (parts->scheme == NGX_SMTP_PASSWORD_SHA256) ? 43 : 86;

    if (parts->hash.len != len
        || !ngx_smtp_password_is_crypt64(&parts->salt)
        || !ngx_smtp_password_is_crypt64(&parts->hash))
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* jNr$salt$hash: flavor, log2 of N, r, each one character */

static ngx_int_t
ngx_smtp_password_parse_yescrypt(u_char *p, u_char *last,
    ngx_smtp_password_parts_t *parts)
{
    ngx_str_t  params;

    p = ngx_smtp_password_slice(p, last, '$', &params);

    if (p == NULL || params.len != 3 || params.data[0] != 'j'
        || !ngx_smtp_password_is_crypt64(&params)
        || params.data[1] > NGX_SMTP_PASSWORD_MAX_YESCRYPT
        || params.data[2] > 'T')
    {
        return NGX_ERROR;
    }

    p = ngx_smtp_password_slice(p, last, '$', &parts->salt);

    if (p == NULL || parts->salt.len == 0 || parts->salt.len > 86) {
        return NGX_ERROR;
    }

    parts->scheme = NGX_SMTP_PASSWORD_YESCRYPT;
    parts->cost = (params.data[1] << 8) + params.data[2];

    parts->hash.data = p;
    parts->hash.len = last - p;

    if (parts->hash.len != 43
        || !ngx_smtp_password_is_crypt64(&parts->salt)
        || !ngx_smtp_password_is_crypt64(&parts->hash))
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* RFC 5803 as PostgreSQL has it: iterations:salt$StoredKey:ServerKey */

static ngx_int_t
ngx_smtp_password_parse_scram(u_char *p, u_char *last,
    ngx_smtp_password_parts_t *parts)
{
    size_t     len;
    u_char     buf[NGX_SMTP_PASSWORD_MAX_SCRAM_SALT];
    ngx_int_t  iterations;
    ngx_str_t  digits;

    p = ngx_smtp_password_slice(p, last, ':', &digits);

    if (p == NULL) {
        return NGX_ERROR;
    }

    iterations = ngx_atoi(digits.data, digits.len);

    if (iterations < 1 || iterations > NGX_SMTP_PASSWORD_MAX_SCRAM_ITER) {
        return NGX_ERROR;
    }

    p = ngx_smtp_password_slice(p, last, '$', &parts->salt);

    if (p == NULL
        || ngx_smtp_password_base64(&parts->salt, buf, sizeof(buf), &len)
           != NGX_OK
        || len == 0)
    {
        return NGX_ERROR;
    }

    p = ngx_smtp_password_slice(p, last, ':', &parts->stored);

    if (p == NULL
        || ngx_smtp_password_base64(&parts->stored, buf, sizeof(buf), &len)
           != NGX_OK
        || len != NGX_SMTP_PASSWORD_KEY)
    {
        return NGX_ERROR;
    }

    parts->server.data = p;
    parts->server.len = last - p;

    if (ngx_smtp_password_base64(&parts->server, buf, sizeof(buf), &len)
        != NGX_OK
        || len != NGX_SMTP_PASSWORD_KEY)
    {
        return NGX_ERROR;
    }

    parts->scheme = NGX_SMTP_PASSWORD_SCRAM;
    parts->cost = iterations;

    return NGX_OK;
}


/* what is up to a separator; returns what follows it, NULL without one */

static u_char *
ngx_smtp_password_slice(u_char *p, u_char *last, u_char end, ngx_str_t *slice)
{
    u_char  *q;

    q = ngx_strlchr(p, last, end);

    if (q == NULL) {
        return NULL;
    }

    slice->data = p;
    slice->len = q - p;

    return q + 1;
}


static ngx_uint_t
ngx_smtp_password_is_crypt64(ngx_str_t *s)
{
    u_char  *p, *last;

    last = s->data + s->len;

    for (p = s->data; p < last; p++) {

        if ((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z')
            || (*p >= '0' && *p <= '9') || *p == '.' || *p == '/')
        {
            continue;
        }

        return 0;
    }

    return 1;
}


static ngx_int_t
ngx_smtp_password_crypt(ngx_str_t *verifier, ngx_str_t *password)
{
    char               *hash;
    char                key[CRYPT_MAX_PASSPHRASE_SIZE];
    char                setting[NGX_SMTP_PASSWORD_MAX + 1];
    size_t              len;
    ngx_int_t           rc;
    struct crypt_data   data;

    /*
     * crypt(3) refuses a longer key without doing the work; what is cut here
     * can match nothing, but takes the usual time
     */

    len = ngx_min(password->len, sizeof(key) - 1);

    ngx_memcpy(key, password->data, len);
    key[len] = '\0';

    ngx_memcpy(setting, verifier->data, verifier->len);
    setting[verifier->len] = '\0';

    ngx_memzero(&data, sizeof(struct crypt_data));

    hash = crypt_r(key, setting, &data);

    if (hash == NULL || hash[0] == '*') {
        rc = NGX_ERROR;

    } else if (ngx_strlen(hash) == verifier->len
               && CRYPTO_memcmp(hash, setting, verifier->len) == 0
               && len == password->len)
    {
        rc = NGX_OK;

    } else {
        rc = NGX_DECLINED;
    }

    ngx_explicit_memzero(key, sizeof(key));
    ngx_explicit_memzero(setting, sizeof(setting));
    ngx_explicit_memzero(&data, sizeof(struct crypt_data));

    return rc;
}


/*
 * RFC 5802 section 3 from the password's side: StoredKey is the hash of
 * ClientKey.  The password is taken as it is, without SASLprep.
 */

static ngx_int_t
ngx_smtp_password_scram(ngx_smtp_password_parts_t *parts,
    ngx_str_t *password)
{
    u_char        salted[NGX_SMTP_PASSWORD_KEY];
    u_char        client[NGX_SMTP_PASSWORD_KEY];
    u_char        computed[NGX_SMTP_PASSWORD_KEY];
    u_char        salt[NGX_SMTP_PASSWORD_MAX_SCRAM_SALT];
    u_char        stored[NGX_SMTP_PASSWORD_MAX_SCRAM_SALT];
    size_t        salt_len, stored_len;
    ngx_int_t     rc;
    unsigned int  len;

    rc = NGX_ERROR;
    len = 0;

    if (ngx_smtp_password_base64(&parts->salt, salt, sizeof(salt), &salt_len)
        != NGX_OK
        || ngx_smtp_password_base64(&parts->stored, stored, sizeof(stored),
                                    &stored_len)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (PKCS5_PBKDF2_HMAC((char *) password->data, password->len, salt,
                          salt_len, parts->cost, EVP_sha256(),
                          sizeof(salted), salted)
        == 1
        && HMAC(EVP_sha256(), salted, sizeof(salted), (u_char *) "Client Key",
                10, client, &len)
           != NULL
        && EVP_Digest(client, len, computed, &len, EVP_sha256(), NULL) == 1)
    {
        rc = (CRYPTO_memcmp(computed, stored, sizeof(computed)) == 0)
             ? NGX_OK : NGX_DECLINED;

    } else {
        /* stale errors of a thread would surface in its next use of TLS */
        ERR_clear_error();
    }

    ngx_explicit_memzero(salted, sizeof(salted));
    ngx_explicit_memzero(client, sizeof(client));
    ngx_explicit_memzero(computed, sizeof(computed));
    ngx_explicit_memzero(stored, sizeof(stored));

    return rc;
}


static ngx_int_t
ngx_smtp_password_base64(ngx_str_t *src, u_char *buf, size_t size,
    size_t *len)
{
    size_t     i, n;
    ngx_str_t  in, out;

    n = src->len;

    if (n == 0 || n % 4 != 0 || n / 4 * 3 > size + 2) {
        return NGX_ERROR;
    }

    while (n > src->len - 2 && src->data[n - 1] == '=') {
        n--;
    }

    if (n / 4 * 3 + (n % 4 ? n % 4 - 1 : 0) > size) {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {
        if (src->data[i] == '=') {
            return NGX_ERROR;
        }
    }

    in.data = src->data;
    in.len = n;
    out.data = buf;

    if (ngx_decode_base64(&out, &in) != NGX_OK) {
        return NGX_ERROR;
    }

    *len = out.len;

    return NGX_OK;
}
