
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * hiredis as codec.  Its reader keeps unparsed bytes in memory of its own; the
 * reply objects are ours, in a pool that goes with the next reply.  hiredis
 * would allocate an array of as many elements as the server says: our
 * functions refuse that, which ends the reader.
 */


#include "ngx_smtp_redis_codec.h"


#define NGX_SMTP_REDIS_POOL_SIZE  1024

#if (HIREDIS_MAJOR >= 1)
typedef size_t  ngx_smtp_redis_count_t;
#else
typedef int     ngx_smtp_redis_count_t;
#endif


static void *ngx_smtp_redis_create(const redisReadTask *task,
    ngx_smtp_redis_type_e type);
static void *ngx_smtp_redis_create_string(const redisReadTask *task,
    char *str, size_t len);
static void *ngx_smtp_redis_create_array(const redisReadTask *task,
    ngx_smtp_redis_count_t nelts);
static void *ngx_smtp_redis_create_integer(const redisReadTask *task,
    long long value);
static void *ngx_smtp_redis_create_nil(const redisReadTask *task);
#if (HIREDIS_MAJOR >= 1)
static void *ngx_smtp_redis_create_double(const redisReadTask *task,
    double value, char *str, size_t len);
static void *ngx_smtp_redis_create_bool(const redisReadTask *task, int value);
#endif
static void ngx_smtp_redis_free_object(void *reply);


/* by name: 1.0 put members in between */
static redisReplyObjectFunctions  ngx_smtp_redis_functions = {
    .createString = ngx_smtp_redis_create_string,
    .createArray = ngx_smtp_redis_create_array,
    .createInteger = ngx_smtp_redis_create_integer,
    .createNil = ngx_smtp_redis_create_nil,
#if (HIREDIS_MAJOR >= 1)
    .createDouble = ngx_smtp_redis_create_double,
    .createBool = ngx_smtp_redis_create_bool,
#endif
    .freeObject = ngx_smtp_redis_free_object
};


ngx_int_t
ngx_smtp_redis_format(ngx_pool_t *pool, ngx_str_t *argv, ngx_uint_t argc,
    ngx_str_t *out)
{
    char         *cmd;
    size_t       *lens;
    long long     len;
    ngx_uint_t    i;
    const char  **args;

    args = ngx_palloc(pool, argc * sizeof(char *));
    lens = ngx_palloc(pool, argc * sizeof(size_t));

    if (args == NULL || lens == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < argc; i++) {
        args[i] = (char *) argv[i].data;
        lens[i] = argv[i].len;
    }

    len = redisFormatCommandArgv(&cmd, argc, args, lens);

    if (len < 0) {
        return NGX_ERROR;
    }

    out->len = len;
    out->data = ngx_pnalloc(pool, len);

    if (out->data != NULL) {
        ngx_memcpy(out->data, cmd, len);
    }

    /* a password of the server may be among the arguments */

    ngx_explicit_memzero(cmd, len);
    redisFreeCommand(cmd);

    return (out->data != NULL) ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_smtp_redis_reader_init(ngx_smtp_redis_reader_t *rd, size_t max,
    ngx_log_t *log)
{
    ngx_memzero(rd, sizeof(ngx_smtp_redis_reader_t));

    rd->max = max;
    rd->log = log;

    rd->reader = redisReaderCreateWithFunctions(&ngx_smtp_redis_functions);

    if (rd->reader == NULL) {
        return NGX_ERROR;
    }

    rd->reader->privdata = rd;

    return NGX_OK;
}


void
ngx_smtp_redis_reader_cleanup(ngx_smtp_redis_reader_t *rd)
{
    if (rd->reader) {
        redisReaderFree(rd->reader);
        rd->reader = NULL;
    }

    if (rd->pool) {
        ngx_destroy_pool(rd->pool);
        rd->pool = NULL;
    }
}


ngx_int_t
ngx_smtp_redis_reader_next(ngx_smtp_redis_reader_t *rd, u_char **pos,
    u_char *last, ngx_smtp_redis_reply_t **reply)
{
    void    *obj;
    size_t   size, left;

    if (rd->reason) {
        return NGX_ERROR;
    }

    if (!rd->started) {

        /* the reply of the last call is of no interest any more */

        if (rd->pool) {
            ngx_destroy_pool(rd->pool);
            rd->pool = NULL;
        }

        rd->pool = ngx_create_pool(NGX_SMTP_REDIS_POOL_SIZE, rd->log);

        if (rd->pool == NULL) {
            rd->reason = "no memory";
            return NGX_ERROR;
        }

        rd->started = 1;
    }

    for ( ;; ) {

        obj = NULL;

        if (redisReaderGetReply(rd->reader, &obj) != REDIS_OK) {

            if (rd->reason == NULL) {
                rd->reason = "invalid reply";
            }

            return NGX_ERROR;
        }

        if (obj) {
            rd->started = 0;

            /* what is left in the reader belongs to the next reply */

            rd->fed = rd->reader->len - rd->reader->pos;

            *reply = obj;

            return NGX_OK;
        }

        size = last - *pos;

        if (size == 0) {
            return NGX_AGAIN;
        }

        left = rd->max - rd->fed;

        if (left == 0) {
            rd->reason = "too big reply";
            return NGX_ERROR;
        }

        size = ngx_min(size, left);

        if (redisReaderFeed(rd->reader, (char *) *pos, size) != REDIS_OK) {
            rd->reason = "no memory";
            return NGX_ERROR;
        }

        *pos += size;
        rd->fed += size;
    }
}


static void *
ngx_smtp_redis_create(const redisReadTask *task, ngx_smtp_redis_type_e type)
{
    ngx_smtp_redis_reader_t  *rd = task->privdata;

    ngx_smtp_redis_reply_t  *reply, *parent;

    reply = ngx_pcalloc(rd->pool, sizeof(ngx_smtp_redis_reply_t));

    if (reply == NULL) {
        rd->reason = "no memory";
        return NULL;
    }

    reply->type = type;

    if (task->parent) {
        parent = task->parent->obj;
        parent->elts[task->idx] = reply;
    }

    return reply;
}


static void *
ngx_smtp_redis_create_string(const redisReadTask *task, char *str, size_t len)
{
    ngx_smtp_redis_reader_t  *rd = task->privdata;

    ngx_smtp_redis_type_e    type;
    ngx_smtp_redis_reply_t  *reply;

    switch (task->type) {

    case REDIS_REPLY_STATUS:
        type = NGX_SMTP_REDIS_STATUS;
        break;

    case REDIS_REPLY_ERROR:
        type = NGX_SMTP_REDIS_FAILURE;
        break;

    default:
        type = NGX_SMTP_REDIS_STRING;
        break;
    }

    reply = ngx_smtp_redis_create(task, type);

    if (reply == NULL) {
        return NULL;
    }

    reply->str.data = ngx_pnalloc(rd->pool, len ? len : 1);

    if (reply->str.data == NULL) {
        rd->reason = "no memory";
        return NULL;
    }

    ngx_memcpy(reply->str.data, str, len);
    reply->str.len = len;

    return reply;
}


static void *
ngx_smtp_redis_create_array(const redisReadTask *task,
    ngx_smtp_redis_count_t nelts)
{
    ngx_smtp_redis_reader_t  *rd = task->privdata;

    ngx_smtp_redis_reply_t  *reply;

    if (nelts > NGX_SMTP_REDIS_MAX_ELEMENTS) {
        rd->reason = "too many elements in reply";
        return NULL;
    }

    reply = ngx_smtp_redis_create(task, NGX_SMTP_REDIS_ARRAY);

    if (reply == NULL || nelts <= 0) {
        return reply;
    }

    reply->elts = ngx_pcalloc(rd->pool, nelts * sizeof(void *));

    if (reply->elts == NULL) {
        rd->reason = "no memory";
        return NULL;
    }

    reply->nelts = nelts;

    return reply;
}


static void *
ngx_smtp_redis_create_integer(const redisReadTask *task, long long value)
{
    ngx_smtp_redis_reply_t  *reply;

    reply = ngx_smtp_redis_create(task, NGX_SMTP_REDIS_INTEGER);

    if (reply) {
        reply->integer = value;
    }

    return reply;
}


static void *
ngx_smtp_redis_create_nil(const redisReadTask *task)
{
    return ngx_smtp_redis_create(task, NGX_SMTP_REDIS_NIL);
}


#if (HIREDIS_MAJOR >= 1)

/* RESP3 is never asked for: such a server answers nonsense */

static void *
ngx_smtp_redis_create_double(const redisReadTask *task, double value,
    char *str, size_t len)
{
    ngx_smtp_redis_reader_t  *rd = task->privdata;

    rd->reason = "RESP3 reply";

    return NULL;
}


static void *
ngx_smtp_redis_create_bool(const redisReadTask *task, int value)
{
    return ngx_smtp_redis_create_double(task, 0, NULL, 0);
}

#endif


static void
ngx_smtp_redis_free_object(void *reply)
{
    /* in the pool of the reader */
}
