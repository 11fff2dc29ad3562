
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Large memory, in whole pages from the kernel: it goes back there as soon as
 * it is freed.  That of malloc() often does not: each thread has an arena that
 * keeps what it once needed, and small blocks that stay hold what was freed
 * below them.  Small sizes are malloc'ed.
 *
 * All functions may be used in threads.  The memory is not zeroed.
 */


#ifndef _NGX_SMTP_PAGES_H_INCLUDED_
#define _NGX_SMTP_PAGES_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* Aligned as malloc() does.  NULL: no memory, errno is set. */
void *ngx_smtp_pages_alloc(size_t size);

/*
 * As realloc(): p, which may be NULL, has moved, and its content with it.
 * NULL: no memory, and p is still valid.
 */
void *ngx_smtp_pages_realloc(void *p, size_t size);

/* p may be NULL. */
void ngx_smtp_pages_free(void *p);


#endif /* _NGX_SMTP_PAGES_H_INCLUDED_ */
