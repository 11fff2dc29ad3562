
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Disks made from the trace of powerloss.c: which of the calls that no sync
 * made durable are there after all is decided by the mode and the seed.
 */


#include "powerloss_internal.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define POWER_SECTOR    512


static unsigned power_random(unsigned seed, ngx_uint_t n);
static void power_contents(power_content_t *c, ngx_uint_t file, ngx_uint_t n,
    power_mode_e mode, unsigned seed);
static void power_apply(power_content_t *c, power_op_t *op, size_t len);
static void power_apply_torn(power_content_t *c, power_op_t *op,
    unsigned seed);
static void power_names(power_entries_t *list, ngx_uint_t n,
    power_mode_e mode, unsigned seed);
static int power_unlink(const char *path, const struct stat *st, int type,
    struct FTW *ftw);


static unsigned
power_random(unsigned seed, ngx_uint_t n)
{
    uint64_t  x;

    x = ((uint64_t) seed + 1) * 0x9e3779b97f4a7c15ull
        + (uint64_t) n * 0xbf58476d1ce4e5b9ull;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;

    return (unsigned) (x >> 33);
}


/* len: of what a write wrote */

static void
power_apply(power_content_t *c, power_op_t *op, size_t len)
{
    size_t  size;

    size = op->op == power_op_write ? op->offset + len : (size_t) op->offset;

    if (size > c->size) {
        c->data = realloc(c->data, size);

        if (c->data == NULL) {
            power_die("realloc()");
        }

        memset(c->data + c->size, 0, size - c->size);
        c->size = size;
    }

    if (op->op == power_op_truncate) {
        c->size = size;

    } else {
        memcpy(c->data + op->offset, op->data, len);
    }
}


static void
power_apply_torn(power_content_t *c, power_op_t *op, unsigned seed)
{
    off_t       pos, next;
    power_op_t  part;

    if (op->op == power_op_truncate) {
        power_apply(c, op, 0);
        return;
    }

    for (pos = op->offset; pos < op->offset + (off_t) op->len; pos = next) {
        next = ngx_min((pos / POWER_SECTOR + 1) * POWER_SECTOR,
                       op->offset + (off_t) op->len);

        if (power_random(seed, pos / POWER_SECTOR) & 1) {
            continue;
        }

        part = *op;
        part.offset = pos;
        part.data = op->data + (pos - op->offset);

        power_apply(c, &part, next - pos);
    }
}


static void
power_contents(power_content_t *c, ngx_uint_t file, ngx_uint_t n,
    power_mode_e mode, unsigned seed)
{
    size_t       live;
    ngx_uint_t   i, pending, last, k;
    power_op_t  *p;

    c->size = power_base[file].size;
    c->data = malloc(c->size + 1);

    if (c->data == NULL) {
        power_die("malloc()");
    }

    if (c->size) {
        memcpy(c->data, power_base[file].data, c->size);
    }

    pending = 0;
    live = c->size;

    for (i = 0; i < n; i++) {
        p = &power_ops[i];

        if (p->file == file && p->op <= power_op_truncate) {
            pending += p->durable >= n;
            live = p->op == power_op_write
                   ? ngx_max(live, (size_t) p->offset + p->len)
                   : (size_t) p->offset;
        }
    }

    seed = power_random(seed, file);
    last = pending ? power_random(seed, 1) % (pending + 1) : 0;

    for (i = 0, k = 0; i < n; i++) {
        p = &power_ops[i];

        if (p->file != file || p->op > power_op_truncate) {
            continue;
        }

        if (p->durable < n || mode <= power_half) {
            power_apply(c, p, p->len);
            continue;
        }

        k++;

        if (mode == power_some && k <= last) {
            power_apply(c, p, k < last ? p->len
                                       : p->len ? 1 + power_random(seed, 2)
                                                      % p->len
                                                : 0);

        } else if (mode == power_tear && power_random(seed, 16 + i) % 4) {
            power_apply_torn(c, p, power_random(seed, 17 + i));
        }
    }

    if (mode == power_half && n < power_nops && power_ops[n].file == file
        && power_ops[n].op == power_op_write)
    {
        power_apply(c, &power_ops[n], power_ops[n].len / 2);
    }

    /* the size may get to the disk before the bytes */

    if (mode == power_tear && live > c->size && power_random(seed, 3) % 4 == 0)
    {
        c->data = realloc(c->data, live);

        if (c->data == NULL) {
            power_die("realloc()");
        }

        memset(c->data + c->size, 0, live - c->size);
        c->size = live;
    }
}


static void
power_names(power_entries_t *list, ngx_uint_t n, power_mode_e mode,
    unsigned seed)
{
    ngx_uint_t   i, k, pending, last;
    power_op_t  *p;

    for (i = 0; i < power_first.n; i++) {
        power_put(list, power_first.elts[i].dir, power_first.elts[i].name,
                  power_first.elts[i].file);
    }

    for (i = 0, pending = 0; i < n; i++) {
        p = &power_ops[i];
        pending += p->op >= power_op_add && p->op <= power_op_rename
                   && p->durable >= n;
    }

    last = power_random(seed, 4) % (pending + 1);

    for (i = 0, k = 0; i < n; i++) {
        p = &power_ops[i];

        if (p->op < power_op_add || p->op > power_op_rename) {
            continue;
        }

        if (p->durable >= n && mode > power_half) {
            k++;

            if (mode == power_drop || (mode == power_some && k > last)
                || (mode == power_tear && (power_random(seed, 19 + i) & 1)))
            {
                continue;
            }
        }

        switch (p->op) {

        case power_op_add:
            power_put(list, p->dir, p->name, p->file);
            break;

        case power_op_delete:
            power_del(list, p->dir, p->name);
            break;

        default: /* power_op_rename */
            power_del(list, p->dir, p->name);
            power_put(list, p->dir2, p->name2, p->file);
        }
    }
}


void
power_make(const char *to, ngx_uint_t n, power_mode_e mode, unsigned seed)
{
    int              fd;
    char             path[512];
    ngx_uint_t       i;
    power_entries_t  list;
    power_content_t  c;

    power_remove(to);

    if (mkdir(to, 0700) == -1) {
        power_die(to);
    }

    for (i = 1; i < power_ndirs; i++) {
        snprintf(path, sizeof(path), "%.200s/%.255s", to, power_dirs[i]);

        if (mkdir(path, 0700) == -1) {
            power_die(path);
        }
    }

    memset(&list, 0, sizeof(power_entries_t));

    power_names(&list, n, mode, seed);

    for (i = 0; i < list.n; i++) {

        snprintf(path, sizeof(path), "%.200s/%.64s%s%.200s", to,
                 list.elts[i].dir ? power_dirs[list.elts[i].dir] : "",
                 list.elts[i].dir ? "/" : "", list.elts[i].name);

        power_contents(&c, list.elts[i].file, n, mode, seed);

        fd = open(path, O_WRONLY|O_CREAT|O_TRUNC, 0600);

        if (fd == -1 || write(fd, c.data, c.size) != (ssize_t) c.size) {
            power_die(path);
        }

        close(fd);
        free(c.data);
    }

    power_list_free(&list);
}


static int
power_unlink(const char *path, const struct stat *st, int type,
    struct FTW *ftw)
{
    return remove(path);
}


void
power_remove(const char *path)
{
    (void) nftw(path, power_unlink, 16, FTW_DEPTH|FTW_PHYS);
}
