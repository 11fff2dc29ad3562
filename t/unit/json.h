
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A reader of JSON files, enough for tables of test data.  Strings come out as
 * octets: \uXXXX as UTF-8, surrogate pairs not needed so far.  json_free()
 * releases the whole tree.
 */


#ifndef _NGX_SMTP_TEST_JSON_H_INCLUDED_
#define _NGX_SMTP_TEST_JSON_H_INCLUDED_


#include "shim.h"


typedef enum {
    JSON_NULL = 0,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
} json_type_e;


typedef struct json_s  json_t;

struct json_s {
    json_type_e    type;
    double         number;           /* JSON_BOOL: 0 or 1 */
    ngx_str_t      str;              /* JSON_STRING; NUL-terminated too */
    char          *name;             /* of a member of an object */
    json_t        *child;            /* first member */
    json_t        *next;
};


/* NULL if the file is absent or unreadable; malformed JSON aborts */
json_t *json_load(const char *path);

void json_free(json_t *js);

/* the member, or NULL; also for js NULL or no object */
json_t *json_get(json_t *js, const char *name);

/* the string of a member; NULL if absent or no string */
ngx_str_t *json_str(json_t *js, const char *name);


/* the public test data beside the repository */
#define TESTDATA  SHIM_ROOT "/../shared/testdata/"


#endif /* _NGX_SMTP_TEST_JSON_H_INCLUDED_ */
