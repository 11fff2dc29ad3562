
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the two files of powerloss.h share: the trace that one of them keeps,
 * and the other makes disks of.
 */


#ifndef _NGX_SMTP_TEST_POWERLOSS_INTERNAL_H_INCLUDED_
#define _NGX_SMTP_TEST_POWERLOSS_INTERNAL_H_INCLUDED_


#include "powerloss.h"


#define POWER_DIRS      8           /* the folder, and those in it */
#define POWER_NEVER     ((ngx_uint_t) -1)


typedef enum {
    power_op_write = 0,
    power_op_truncate,
    power_op_add,               /* a name of a file */
    power_op_delete,
    power_op_rename,
    power_op_sync,
    power_op_failed,            /* a sync */
    power_op_other              /* changes nothing; with power_all */
} power_op_e;


typedef struct {
    power_op_e          op;
    const char         *call;
    ngx_uint_t          file;
    ngx_uint_t          dir;
    ngx_uint_t          dir2;       /* rename: to */
    char               *name;
    char               *name2;
    off_t               offset;     /* of a write; or the size */
    size_t              len;
    u_char             *data;
    ngx_uint_t          durable;    /* index of the sync that made it so */
    ngx_uint_t          doomed;     /* a sync failed: no later one does */
    ngx_uint_t          is_dir;     /* a sync of a folder */
    ngx_uint_t          number;     /* among calls of all kinds */
    ngx_msec_t          time;
} power_op_t;


typedef struct {
    u_char             *data;
    size_t              size;
} power_content_t;


typedef struct {
    ngx_uint_t          dir;
    char               *name;
    ngx_uint_t          file;
} power_entry_t;


typedef struct {
    power_entry_t      *elts;
    ngx_uint_t          n;
} power_entries_t;


extern power_op_t       *power_ops;
extern ngx_uint_t        power_nops;
extern power_content_t  *power_base;        /* of each file, at the start */
extern power_entries_t   power_first;       /* names at the start */
extern char             *power_dirs[POWER_DIRS];
extern ngx_uint_t        power_ndirs;


void power_die(const char *what);
ngx_uint_t power_find(power_entries_t *list, ngx_uint_t dir,
    const char *name);
void power_put(power_entries_t *list, ngx_uint_t dir,
    const char *name, ngx_uint_t file);
void power_del(power_entries_t *list, ngx_uint_t dir,
    const char *name);
void power_list_free(power_entries_t *list);


#endif /* _NGX_SMTP_TEST_POWERLOSS_INTERNAL_H_INCLUDED_ */
