
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Cells of one size, as messages and their reports are: in blocks that live as
 * long as their owner; what is freed is used again.  What was never used of
 * the last block takes no memory.
 */


#ifndef _NGX_SMTP_CELLS_H_INCLUDED_
#define _NGX_SMTP_CELLS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct ngx_smtp_cell_s  ngx_smtp_cell_t;


struct ngx_smtp_cell_s {
    ngx_smtp_cell_t         *next;
};


/* zeroed, but for size: no cells yet */
typedef struct {
    size_t                   size;      /* of a cell, at least a pointer's */
    ngx_smtp_cell_t         *free;
    ngx_smtp_cell_t         *blocks;
    u_char                  *last;      /* of the newest block: unused yet */
    u_char                  *end;
} ngx_smtp_cells_t;


/* A zeroed cell.  NULL: no memory, which is logged. */
void *ngx_smtp_cell_alloc(ngx_smtp_cells_t *cells, ngx_log_t *log);

void ngx_smtp_cell_free(ngx_smtp_cells_t *cells, void *p);

/* Frees all blocks, whatever is in them. */
void ngx_smtp_cells_free(ngx_smtp_cells_t *cells);


#endif /* _NGX_SMTP_CELLS_H_INCLUDED_ */
