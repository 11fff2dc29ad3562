
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * In front of the memory is its size, by which it is also known where it came
 * from.  Pages that were never written to take no memory, so that who makes
 * room ahead pays for what is used.
 *
 * A sanitizer that looks for accesses beyond the end only knows malloc().
 */


#include "ngx_smtp_pages.h"

#include <sys/mman.h>


#if defined(__SANITIZE_ADDRESS__)
#define NGX_SMTP_PAGES_MIN  NGX_MAX_SIZE_T_VALUE
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NGX_SMTP_PAGES_MIN  NGX_MAX_SIZE_T_VALUE
#endif
#endif

#ifndef NGX_SMTP_PAGES_MIN
#define NGX_SMTP_PAGES_MIN  (64 * 1024)
#endif


/* as large as keeps the alignment */
typedef struct {
    size_t                   size;      /* this included */
    size_t                   unused;
} ngx_smtp_pages_head_t;


void *
ngx_smtp_pages_alloc(size_t size)
{
    void                   *p;
    ngx_smtp_pages_head_t  *head;

    size += sizeof(ngx_smtp_pages_head_t);

    if (size < NGX_SMTP_PAGES_MIN) {
        p = malloc(size);

    } else {
        p = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS,
                 -1, 0);

        if (p == MAP_FAILED) {
            p = NULL;
        }
    }

    if (p == NULL) {
        return NULL;
    }

    head = p;
    head->size = size;

    return &head[1];
}


void *
ngx_smtp_pages_realloc(void *p, size_t size)
{
    void                   *moved;
    size_t                  old;
    ngx_smtp_pages_head_t  *head;

    if (p == NULL) {
        return ngx_smtp_pages_alloc(size);
    }

    head = (ngx_smtp_pages_head_t *) p - 1;
    old = head->size;
    size += sizeof(ngx_smtp_pages_head_t);

    if (old < NGX_SMTP_PAGES_MIN && size < NGX_SMTP_PAGES_MIN) {
        head = realloc(head, size);

    } else if (old >= NGX_SMTP_PAGES_MIN && size >= NGX_SMTP_PAGES_MIN) {
        head = mremap(head, old, size, MREMAP_MAYMOVE);

        if (head == MAP_FAILED) {
            head = NULL;
        }

    } else {
        size -= sizeof(ngx_smtp_pages_head_t);

        moved = ngx_smtp_pages_alloc(size);

        if (moved) {
            old -= sizeof(ngx_smtp_pages_head_t);
            ngx_memcpy(moved, p, ngx_min(old, size));
            ngx_smtp_pages_free(p);
        }

        return moved;
    }

    if (head == NULL) {
        return NULL;
    }

    head->size = size;

    return &head[1];
}


void
ngx_smtp_pages_free(void *p)
{
    ngx_smtp_pages_head_t  *head;

    if (p == NULL) {
        return;
    }

    head = (ngx_smtp_pages_head_t *) p - 1;

    if (head->size < NGX_SMTP_PAGES_MIN) {
        free(head);
        return;
    }

    (void) munmap(head, head->size);
}
