
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The other half of shim.c: formatted output, strings, numbers, encodings and
 * checksums as nginx has them, corner cases included: base64 decoding stops at
 * the first "=", numbers have no sign, ngx_strstrn() takes a length less one.
 */


#include "shim.h"

#include <arpa/inet.h>
#include <assert.h>


typedef struct {
    u_char             *pos;
    u_char             *last;
} shim_out_t;


typedef struct {
    va_list             list;
} shim_args_t;


/* one conversion of a format */
typedef struct {
    u_char              pad;
    u_char              conversion;
    size_t              slen;
    int64_t             i64;
    ngx_uint_t          width;
    ngx_uint_t          frac;
    ngx_uint_t          hex;        /* 1: lower case, 2: upper case */
    ngx_uint_t          max;
    ngx_uint_t          sign;
} shim_format_t;


static void shim_out(shim_out_t *out, u_char c);
static void shim_out_number(shim_out_t *out, uint64_t n, ngx_uint_t negative,
    ngx_uint_t base, ngx_uint_t upper, u_char pad, ngx_uint_t width);
static void shim_out_bytes(shim_out_t *out, u_char *p, size_t len,
    ngx_uint_t hex);
static void shim_out_double(shim_out_t *out, double f, u_char pad,
    ngx_uint_t width, ngx_uint_t frac);
static ngx_int_t shim_integer(shim_format_t *f, shim_args_t *args);
static const char *shim_parse_format(shim_format_t *f, const char *fmt,
    shim_args_t *args);
static void shim_convert(shim_out_t *out, shim_format_t *f,
    shim_args_t *args);
static int64_t shim_parse_number(u_char *line, size_t n, ngx_uint_t base,
    int64_t max);
static void shim_encode_base64(ngx_str_t *dst, ngx_str_t *src,
    const char *alphabet, ngx_uint_t padding);
static ngx_int_t shim_decode_base64(ngx_str_t *dst, ngx_str_t *src,
    const char *alphabet);
static void shim_crc32_init(void) __attribute__((constructor));


static const char  shim_base64[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char  shim_base64url[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";


uint32_t              ngx_crc32_table256[256];
static uint32_t       shim_crc32_table16[16];
uint32_t             *ngx_crc32_table_short = shim_crc32_table16;


/* formatted output */

static void
shim_out(shim_out_t *out, u_char c)
{
    if (out->pos < out->last) {
        *out->pos++ = c;
    }
}


static void
shim_out_number(shim_out_t *out, uint64_t n, ngx_uint_t negative,
    ngx_uint_t base, ngx_uint_t upper, u_char pad, ngx_uint_t width)
{
    size_t       len;
    u_char       digits[64];
    const char  *set;

    set = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    len = 0;

    do {
        digits[len++] = set[n % base];
        n /= base;
    } while (n);

    if (negative) {
        shim_out(out, '-');
    }

    while (width > len) {
        shim_out(out, pad);
        width--;
    }

    while (len) {
        shim_out(out, digits[--len]);
    }
}


static void
shim_out_bytes(shim_out_t *out, u_char *p, size_t len, ngx_uint_t hex)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (hex) {
            shim_out_number(out, p[i], 0, 16, hex == 2, '0', 2);

        } else {
            shim_out(out, p[i]);
        }
    }
}


static void
shim_out_double(shim_out_t *out, double f, u_char pad, ngx_uint_t width,
    ngx_uint_t frac)
{
    uint64_t    whole, part, scale;
    ngx_uint_t  i;

    if (f < 0) {
        shim_out(out, '-');
        f = -f;
    }

    whole = (uint64_t) f;
    scale = 1;

    for (i = 0; i < frac; i++) {
        scale *= 10;
    }

    part = (uint64_t) ((f - (double) whole) * scale + 0.5);

    if (part == scale) {
        whole++;
        part = 0;
    }

    shim_out_number(out, whole, 0, 10, 0, pad, width);

    if (frac) {
        shim_out(out, '.');
        shim_out_number(out, part, 0, 10, 0, '0', frac);
    }
}


/*
 * An argument that is an integer: its value into *u64 and *i64, and whether it
 * is signed.  NGX_DECLINED for any other conversion.
 */

static ngx_int_t
shim_integer(shim_format_t *f, shim_args_t *args)
{
    f->i64 = 0;

    switch (f->conversion) {

    case 'O':
        f->i64 = (int64_t) va_arg(args->list, off_t);
        f->sign = 1;
        break;

    case 'P':
        f->i64 = (int64_t) va_arg(args->list, ngx_pid_t);
        f->sign = 1;
        break;

    case 'T':
        f->i64 = (int64_t) va_arg(args->list, time_t);
        f->sign = 1;
        break;

    case 'r':
        f->i64 = (int64_t) va_arg(args->list, rlim_t);
        f->sign = 1;
        break;

    case 'M':
        f->i64 = (int64_t) va_arg(args->list, ngx_msec_t);
        f->sign = (f->i64 == -1);
        break;

    case 'z':
        f->i64 = (int64_t) va_arg(args->list, ssize_t);
        break;

    case 'i':
        f->i64 = (int64_t) va_arg(args->list, ngx_int_t);
        f->width = f->max ? NGX_INT_T_LEN : f->width;
        break;

    case 'l':
        f->i64 = (int64_t) va_arg(args->list, long);
        break;

    case 'L':
        f->i64 = va_arg(args->list, int64_t);
        break;

    case 'A':
        f->i64 = (int64_t) va_arg(args->list, ngx_atomic_int_t);
        f->width = f->max ? NGX_ATOMIC_T_LEN : f->width;
        break;

    case 'd':
    case 'D':
        f->i64 = (int64_t) va_arg(args->list, int32_t);

        if (!f->sign) {
            f->i64 = (uint32_t) f->i64;
        }
        break;

    case 'p':
        f->i64 = (int64_t) (intptr_t) va_arg(args->list, void *);
        f->sign = 0;
        f->hex = 2;
        f->pad = '0';
        f->width = 2 * sizeof(void *);
        break;

    default:
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* "%[0][width][u][m][x|X][.n][*]conversion"; fmt is behind the "%" */

static const char *
shim_parse_format(shim_format_t *f, const char *fmt, shim_args_t *args)
{
    f->pad = (*fmt == '0') ? '0' : ' ';
    f->slen = (size_t) -1;
    f->width = 0;
    f->frac = 0;
    f->hex = 0;
    f->max = 0;
    f->sign = 1;

    while (*fmt >= '0' && *fmt <= '9') {
        f->width = f->width * 10 + (*fmt++ - '0');
    }

    for ( /* void */ ; strchr("umxX.*", *fmt) && *fmt; fmt++) {

        if (*fmt == 'u') {
            f->sign = 0;

        } else if (*fmt == 'm') {
            f->max = 1;

        } else if (*fmt == '*') {
            f->slen = va_arg(args->list, size_t);

        } else if (*fmt == '.') {
            while (fmt[1] >= '0' && fmt[1] <= '9') {
                f->frac = f->frac * 10 + (*++fmt - '0');
            }

        } else {
            f->hex = (*fmt == 'X') ? 2 : 1;
            f->sign = 0;
        }
    }

    f->conversion = *fmt;

    return fmt;
}


static void
shim_convert(shim_out_t *out, shim_format_t *f, shim_args_t *args)
{
    u_char                *s;
    ngx_str_t             *v;
    ngx_variable_value_t  *vv;

    if (shim_integer(f, args) == NGX_OK) {
        shim_out_number(out, (f->sign && f->i64 < 0)
                             ? - (uint64_t) f->i64 : (uint64_t) f->i64,
                        f->sign && f->i64 < 0, f->hex ? 16 : 10, f->hex == 2,
                        f->pad, f->width);
        return;
    }

    switch (f->conversion) {

    case 'V':
        v = va_arg(args->list, ngx_str_t *);
        shim_out_bytes(out, v->data, v->len, f->hex);
        break;

    case 'v':
        vv = va_arg(args->list, ngx_variable_value_t *);
        shim_out_bytes(out, vv->data, vv->len, f->hex);
        break;

    case 's':
        s = va_arg(args->list, u_char *);
        shim_out_bytes(out, s, (f->slen == (size_t) -1) ? ngx_strlen(s)
                                                        : f->slen, f->hex);
        break;

    case 'c':
        shim_out(out, (u_char) va_arg(args->list, int));
        break;

    case 'f':
        shim_out_double(out, va_arg(args->list, double), f->pad, f->width,
                        f->frac);
        break;

    case 'Z':
        shim_out(out, '\0');
        break;

    case 'N':
        shim_out(out, LF);
        break;

    default:
        shim_out(out, f->conversion);
        break;
    }
}


u_char *
ngx_vslprintf(u_char *buf, u_char *last, const char *fmt, va_list list)
{
    shim_out_t     out;
    shim_args_t    args;
    shim_format_t  f;

    out.pos = buf;
    out.last = last;

    va_copy(args.list, list);

    for ( /* void */ ; *fmt && out.pos < last; fmt++) {

        if (*fmt != '%') {
            shim_out(&out, (u_char) *fmt);
            continue;
        }

        fmt = shim_parse_format(&f, fmt + 1, &args);

        if (*fmt == '\0') {
            break;
        }

        shim_convert(&out, &f, &args);
    }

    va_end(args.list);

    return out.pos;
}


u_char *
ngx_sprintf(u_char *buf, const char *fmt, ...)
{
    u_char   *p;
    va_list   args;

    va_start(args, fmt);
    p = ngx_vslprintf(buf, (u_char *) UINTPTR_MAX, fmt, args);
    va_end(args);

    return p;
}


u_char *
ngx_snprintf(u_char *buf, size_t max, const char *fmt, ...)
{
    u_char   *p;
    va_list   args;

    va_start(args, fmt);
    p = ngx_vslprintf(buf, buf + max, fmt, args);
    va_end(args);

    return p;
}


u_char *
ngx_slprintf(u_char *buf, u_char *last, const char *fmt, ...)
{
    u_char   *p;
    va_list   args;

    va_start(args, fmt);
    p = ngx_vslprintf(buf, last, fmt, args);
    va_end(args);

    return p;
}


/* strings */

void
ngx_explicit_memzero(void *buf, size_t n)
{
    memset(buf, 0, n);
    __asm__ volatile ("" : : "r" (buf) : "memory");
}


void
ngx_strlow(u_char *dst, u_char *src, size_t n)
{
    while (n--) {
        *dst++ = ngx_tolower(*src);
        src++;
    }
}


size_t
ngx_strnlen(u_char *p, size_t n)
{
    return strnlen((char *) p, n);
}


u_char *
ngx_cpystrn(u_char *dst, u_char *src, size_t n)
{
    if (n == 0) {
        return dst;
    }

    while (--n && *src) {
        *dst++ = *src++;
    }

    *dst = '\0';

    return dst;
}


u_char *
ngx_pstrdup(ngx_pool_t *pool, ngx_str_t *src)
{
    u_char  *dst;

    dst = ngx_pnalloc(pool, src->len);

    if (dst) {
        memcpy(dst, src->data, src->len);
    }

    return dst;
}


ngx_int_t
ngx_strcasecmp(u_char *s1, u_char *s2)
{
    return ngx_strncasecmp(s1, s2, (size_t) -1);
}


ngx_int_t
ngx_strncasecmp(u_char *s1, u_char *s2, size_t n)
{
    ngx_int_t  c1, c2;

    while (n--) {
        c1 = ngx_tolower(*s1);
        c2 = ngx_tolower(*s2);

        if (c1 != c2 || c1 == 0) {
            return c1 - c2;
        }

        s1++;
        s2++;
    }

    return 0;
}


/* within the first n bytes of a NUL-terminated s1 */

u_char *
ngx_strnstr(u_char *s1, char *s2, size_t n)
{
    size_t  len;

    len = strlen(s2);

    for ( /* void */ ; n >= len && *s1; s1++, n--) {
        if (strncmp((char *) s1, s2, len) == 0) {
            return s1;
        }
    }

    return NULL;
}


/* n is the length of s2 less one, as in nginx */

u_char *
ngx_strstrn(u_char *s1, char *s2, size_t n)
{
    for ( /* void */ ; *s1; s1++) {
        if (strncmp((char *) s1, s2, n + 1) == 0) {
            return s1;
        }
    }

    return NULL;
}


u_char *
ngx_strcasestrn(u_char *s1, char *s2, size_t n)
{
    for ( /* void */ ; *s1; s1++) {
        if (ngx_strncasecmp(s1, (u_char *) s2, n + 1) == 0) {
            return s1;
        }
    }

    return NULL;
}


u_char *
ngx_strlcasestrn(u_char *s1, u_char *last, u_char *s2, size_t n)
{
    for ( /* void */ ; (size_t) (last - s1) > n; s1++) {
        if (ngx_strncasecmp(s1, s2, n + 1) == 0) {
            return s1;
        }
    }

    return NULL;
}


ngx_int_t
ngx_memn2cmp(u_char *s1, u_char *s2, size_t n1, size_t n2)
{
    int  rc;

    rc = memcmp(s1, s2, ngx_min(n1, n2));

    if (rc) {
        return rc;
    }

    return (n1 == n2) ? 0 : (n1 < n2) ? -1 : 1;
}


void
ngx_sort(void *base, size_t n, size_t size,
    ngx_int_t (*cmp)(const void *, const void *))
{
    size_t   i, j;
    u_char  *p, tmp[1024];

    p = base;

    assert(size <= sizeof(tmp));

    for (i = 1; i < n; i++) {
        memcpy(tmp, p + i * size, size);

        for (j = i; j > 0 && cmp(p + (j - 1) * size, tmp) > 0; j--) {
            memcpy(p + j * size, p + (j - 1) * size, size);
        }

        memcpy(p + j * size, tmp, size);
    }
}


/* numbers: the whole of the line, no sign, or NGX_ERROR */

static int64_t
shim_parse_number(u_char *line, size_t n, ngx_uint_t base, int64_t max)
{
    int64_t     value;
    ngx_uint_t  d;

    if (n == 0) {
        return NGX_ERROR;
    }

    for (value = 0; n--; line++) {

        if (*line >= '0' && *line <= '9') {
            d = *line - '0';

        } else if (base == 16 && (*line | 0x20) >= 'a'
                   && (*line | 0x20) <= 'f')
        {
            d = (*line | 0x20) - 'a' + 10;

        } else {
            return NGX_ERROR;
        }

        if (value > (max - (int64_t) d) / (int64_t) base) {
            return NGX_ERROR;
        }

        value = value * base + d;
    }

    return value;
}


ngx_int_t
ngx_atoi(u_char *line, size_t n)
{
    return shim_parse_number(line, n, 10, NGX_MAX_INT_T_VALUE);
}


ssize_t
ngx_atosz(u_char *line, size_t n)
{
    return shim_parse_number(line, n, 10, NGX_MAX_SIZE_T_VALUE);
}


off_t
ngx_atoof(u_char *line, size_t n)
{
    return shim_parse_number(line, n, 10, NGX_MAX_OFF_T_VALUE);
}


time_t
ngx_atotm(u_char *line, size_t n)
{
    return shim_parse_number(line, n, 10, NGX_MAX_TIME_T_VALUE);
}


ngx_int_t
ngx_hextoi(u_char *line, size_t n)
{
    return shim_parse_number(line, n, 16, NGX_MAX_INT_T_VALUE);
}


#if (NGX_HAVE_INET6)

ngx_int_t
ngx_inet6_addr(u_char *p, size_t len, u_char *addr)
{
    char  text[64];

    if (len >= sizeof(text)) {
        return NGX_ERROR;
    }

    memcpy(text, p, len);
    text[len] = '\0';

    return inet_pton(AF_INET6, text, addr) == 1 ? NGX_OK : NGX_ERROR;
}

#endif


/* encodings */

u_char *
ngx_hex_dump(u_char *dst, u_char *src, size_t len)
{
    static const char  hex[] = "0123456789abcdef";

    while (len--) {
        *dst++ = hex[*src >> 4];
        *dst++ = hex[*src++ & 0xf];
    }

    return dst;
}


static void
shim_encode_base64(ngx_str_t *dst, ngx_str_t *src, const char *alphabet,
    ngx_uint_t padding)
{
    size_t    i, k, have;
    u_char   *d;
    uint32_t  group;

    d = dst->data;

    for (i = 0; i < src->len; i += 3) {
        have = ngx_min(src->len - i, 3);
        group = 0;

        for (k = 0; k < 3; k++) {
            group = (group << 8) | (k < have ? src->data[i + k] : 0);
        }

        for (k = 0; k < 4; k++) {
            if (k <= have) {
                *d++ = alphabet[(group >> (18 - 6 * k)) & 0x3f];

            } else if (padding) {
                *d++ = '=';
            }
        }
    }

    dst->len = d - dst->data;
}


void
ngx_encode_base64(ngx_str_t *dst, ngx_str_t *src)
{
    shim_encode_base64(dst, src, shim_base64, 1);
}


void
ngx_encode_base64url(ngx_str_t *dst, ngx_str_t *src)
{
    shim_encode_base64(dst, src, shim_base64url, 0);
}


/*
 * Decodes up to the first "=" and does not look behind it; leftover bits need
 * not be zero.  Whoever wants more has to check it himself, as with nginx.
 */

static ngx_int_t
shim_decode_base64(ngx_str_t *dst, ngx_str_t *src, const char *alphabet)
{
    size_t       len, i;
    u_char      *d;
    uint32_t     group;
    const char  *p;

    for (len = 0; len < src->len && src->data[len] != '='; len++) {
        if (src->data[len] == '\0' || !strchr(alphabet, src->data[len])) {
            return NGX_ERROR;
        }
    }

    if (len % 4 == 1) {
        return NGX_ERROR;
    }

    d = dst->data;
    group = 0;

    for (i = 0; i < len; i++) {
        p = strchr(alphabet, src->data[i]);
        group = (group << 6) | (uint32_t) (p - alphabet);

        if (i % 4) {
            *d++ = (u_char) (group >> (6 - 2 * (i % 4)));
        }
    }

    dst->len = d - dst->data;

    return NGX_OK;
}


ngx_int_t
ngx_decode_base64(ngx_str_t *dst, ngx_str_t *src)
{
    return shim_decode_base64(dst, src, shim_base64);
}


ngx_int_t
ngx_decode_base64url(ngx_str_t *dst, ngx_str_t *src)
{
    return shim_decode_base64(dst, src, shim_base64url);
}


/*
 * 0xffffffff: not UTF-8, 0xfffffffe: incomplete.  As lax as that of nginx
 * 1.22, the oldest one: it takes leading bytes above 0xf7, and surrogates and
 * numbers above 0x10ffff as every version does.
 */

uint32_t
ngx_utf8_decode(u_char **p, size_t n)
{
    size_t    len;
    uint32_t  u, least;

    u = **p;

    if (u >= 0xc2 && u <= 0xdf) {
        u &= 0x1f;
        least = 0x80;
        len = 1;

    } else if (u >= 0xe0 && u <= 0xef) {
        u &= 0x0f;
        least = 0x800;
        len = 2;

    } else if (u >= 0xf0) {
        u &= 0x07;
        least = 0x10000;
        len = 3;

    } else {
        (*p)++;
        return 0xffffffff;
    }

    if (n - 1 < len) {
        return 0xfffffffe;
    }

    for ((*p)++; len; len--) {
        if (*(*p) < 0x80) {
            (*p)++;
            return 0xffffffff;
        }

        u = (u << 6) | (*(*p)++ & 0x3f);
    }

    return (u < least) ? 0xffffffff : u;
}


/* without a destination: how many bytes more the escaped text has */

uintptr_t
ngx_escape_json(u_char *dst, u_char *src, size_t size)
{
    u_char        c;
    size_t        extra;
    const char   *p;

    static const char  from[] = "\n\r\t\b\f\"\\";
    static const char  to[] = "nrtbf\"\\";

    for (extra = 0; size--; src++) {
        c = *src;
        p = c ? strchr(from, c) : NULL;

        if (p) {
            extra++;

            if (dst) {
                *dst++ = '\\';
                *dst++ = to[p - from];
            }

        } else if (c < 0x20) {
            extra += sizeof("\\u001f") - 2;

            if (dst) {
                dst = ngx_sprintf(dst, "\\u%04Xd", c);
            }

        } else if (dst) {
            *dst++ = c;
        }
    }

    return dst ? (uintptr_t) dst : (uintptr_t) extra;
}


uint32_t
ngx_murmur_hash2(u_char *data, size_t len)
{
    uint32_t  h, k;

    for (h = 0 ^ (uint32_t) len; len >= 4; data += 4, len -= 4) {
        k = data[0] | data[1] << 8 | data[2] << 16 | (uint32_t) data[3] << 24;
        k *= 0x5bd1e995;
        k ^= k >> 24;
        k *= 0x5bd1e995;

        h = (h * 0x5bd1e995) ^ k;
    }

    if (len) {
        while (len--) {
            h ^= (uint32_t) data[len] << (8 * len);
        }

        h *= 0x5bd1e995;
    }

    h ^= h >> 13;
    h *= 0x5bd1e995;

    return h ^ (h >> 15);
}


static void
shim_crc32_init(void)
{
    uint32_t    c;
    ngx_uint_t  i, k;

    for (i = 0; i < 256; i++) {
        c = (uint32_t) i;

        for (k = 0; k < 8; k++) {
            c = (c & 1) ? (c >> 1) ^ 0xedb88320 : c >> 1;
        }

        ngx_crc32_table256[i] = c;

        if (i % 16 == 0) {
            shim_crc32_table16[i / 16] = c;
        }
    }
}
