
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Cells: see the header.  Blocks are pages of their own, so that no large
 * piece of the heap is held by the messages that wait above it.
 */


#include "ngx_smtp_cells.h"
#include "ngx_smtp_pages.h"


#define NGX_SMTP_CELL_BLOCK  (256 * 1024)


static ngx_int_t ngx_smtp_cells_add(ngx_smtp_cells_t *cells, ngx_log_t *log);


void *
ngx_smtp_cell_alloc(ngx_smtp_cells_t *cells, ngx_log_t *log)
{
    size_t            size;
    ngx_smtp_cell_t  *cell;

    cell = cells->free;

    if (cell) {
        cells->free = cell->next;
        ngx_memzero(cell, cells->size);

        return cell;
    }

    size = ngx_align(cells->size, NGX_ALIGNMENT);

    if ((size_t) (cells->end - cells->last) < size
        && ngx_smtp_cells_add(cells, log) != NGX_OK)
    {
        return NULL;
    }

    cell = (ngx_smtp_cell_t *) cells->last;
    cells->last += size;

    ngx_memzero(cell, cells->size);

    return cell;
}


/* one more block */

static ngx_int_t
ngx_smtp_cells_add(ngx_smtp_cells_t *cells, ngx_log_t *log)
{
    u_char           *p;
    ngx_smtp_cell_t  *block;

    p = ngx_smtp_pages_alloc(NGX_SMTP_CELL_BLOCK);

    if (p == NULL) {
        ngx_log_error(NGX_LOG_EMERG, log, ngx_errno,
                      "no memory for %uz bytes of the queue",
                      (size_t) NGX_SMTP_CELL_BLOCK);
        return NGX_ERROR;
    }

    block = (ngx_smtp_cell_t *) p;
    block->next = cells->blocks;

    cells->blocks = block;
    cells->last = p + ngx_align(sizeof(ngx_smtp_cell_t), NGX_ALIGNMENT);
    cells->end = p + NGX_SMTP_CELL_BLOCK;

    return NGX_OK;
}


void
ngx_smtp_cell_free(ngx_smtp_cells_t *cells, void *p)
{
    ngx_smtp_cell_t  *cell = p;

    cell->next = cells->free;
    cells->free = cell;
}


void
ngx_smtp_cells_free(ngx_smtp_cells_t *cells)
{
    ngx_smtp_cell_t  *cell, *next;

    for (cell = cells->blocks; cell; cell = next) {
        next = cell->next;
        ngx_smtp_pages_free(cell);
    }
}
