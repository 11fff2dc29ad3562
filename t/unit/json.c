
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A reader of JSON files: see the header.  Recursive descent over the file in
 * memory; anything unexpected aborts, as test data is trusted.
 */


#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static json_t *json_value(const char **p);
static void json_members(json_t *js, const char **p, char close);
static void json_string(const char **p, ngx_str_t *str);
static u_char *json_utf8(u_char *d, unsigned code);
static void json_space(const char **p);
static void json_expect(const char **p, const char *what);


json_t *
json_load(const char *path)
{
    FILE        *f;
    long         size;
    char        *text;
    json_t      *js;
    const char  *p;

    f = fopen(path, "rb");

    if (f == NULL) {
        return NULL;
    }

    fseek(f, 0, SEEK_END);
    size = ftell(f);
    rewind(f);

    text = malloc(size + 1);

    if (text == NULL || fread(text, 1, size, f) != (size_t) size) {
        abort();
    }

    text[size] = '\0';
    fclose(f);

    p = text;
    js = json_value(&p);

    free(text);

    return js;
}


void
json_free(json_t *js)
{
    json_t  *next;

    for ( /* void */ ; js; js = next) {
        next = js->next;
        json_free(js->child);
        free(js->str.data);
        free(js->name);
        free(js);
    }
}


json_t *
json_get(json_t *js, const char *name)
{
    if (js == NULL || js->type != JSON_OBJECT) {
        return NULL;
    }

    for (js = js->child; js; js = js->next) {
        if (strcmp(js->name, name) == 0) {
            return js;
        }
    }

    return NULL;
}


ngx_str_t *
json_str(json_t *js, const char *name)
{
    js = json_get(js, name);

    return (js && js->type == JSON_STRING) ? &js->str : NULL;
}


static json_t *
json_value(const char **p)
{
    char    *end;
    json_t  *js;

    js = calloc(1, sizeof(json_t));

    if (js == NULL) {
        abort();
    }

    json_space(p);

    switch (**p) {

    case '{':
        js->type = JSON_OBJECT;
        json_members(js, p, '}');
        break;

    case '[':
        js->type = JSON_ARRAY;
        json_members(js, p, ']');
        break;

    case '"':
        js->type = JSON_STRING;
        json_string(p, &js->str);
        break;

    case 't':
        js->type = JSON_BOOL;
        js->number = 1;
        json_expect(p, "true");
        break;

    case 'f':
        js->type = JSON_BOOL;
        json_expect(p, "false");
        break;

    case 'n':
        json_expect(p, "null");
        break;

    default:
        js->type = JSON_NUMBER;
        js->number = strtod(*p, &end);

        if (end == *p) {
            abort();
        }

        *p = end;
    }

    json_space(p);

    return js;
}


static void
json_members(json_t *js, const char **p, char close)
{
    json_t     *member, **next;
    ngx_str_t   name;

    (*p)++;
    next = &js->child;

    for (json_space(p); **p != close; json_space(p)) {

        name.data = NULL;

        if (close == '}') {
            json_string(p, &name);
            json_space(p);
            json_expect(p, ":");
        }

        member = json_value(p);
        member->name = (char *) name.data;

        *next = member;
        next = &member->next;

        if (**p != close) {
            json_expect(p, ",");
        }
    }

    (*p)++;
}


static void
json_string(const char **p, ngx_str_t *str)
{
    char      hex[5];
    u_char   *d;

    json_expect(p, "\"");

    d = malloc(strlen(*p) + 1);

    if (d == NULL) {
        abort();
    }

    str->data = d;

    for ( /* void */ ; **p != '"'; (*p)++) {

        if (**p == '\0') {
            abort();
        }

        if (**p != '\\') {
            *d++ = **p;
            continue;
        }

        (*p)++;

        switch (**p) {

        case 'n':
            *d++ = '\n';
            break;

        case 'r':
            *d++ = '\r';
            break;

        case 't':
            *d++ = '\t';
            break;

        case 'b':
            *d++ = '\b';
            break;

        case 'f':
            *d++ = '\f';
            break;

        case 'u':
            memcpy(hex, *p + 1, 4);
            hex[4] = '\0';
            d = json_utf8(d, strtoul(hex, NULL, 16));
            *p += 4;
            break;

        default: /* one of " \ / */
            *d++ = **p;
        }
    }

    *d = '\0';
    str->len = d - str->data;
    str->data = realloc(str->data, str->len + 1);

    if (str->data == NULL) {
        abort();
    }

    (*p)++;
}


static u_char *
json_utf8(u_char *d, unsigned code)
{
    if (code < 0x80) {
        *d++ = code;

    } else if (code < 0x800) {
        *d++ = 0xc0 | (code >> 6);
        *d++ = 0x80 | (code & 0x3f);

    } else {
        *d++ = 0xe0 | (code >> 12);
        *d++ = 0x80 | ((code >> 6) & 0x3f);
        *d++ = 0x80 | (code & 0x3f);
    }

    return d;
}


static void
json_space(const char **p)
{
    while (**p == ' ' || **p == '\t' || **p == '\r' || **p == '\n') {
        (*p)++;
    }
}


static void
json_expect(const char **p, const char *what)
{
    if (strncmp(*p, what, strlen(what)) != 0) {
        fprintf(stderr, "json: \"%s\" expected at \"%.20s\"\n", what, *p);
        abort();
    }

    *p += strlen(what);
}
