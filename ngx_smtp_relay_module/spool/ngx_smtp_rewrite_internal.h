
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What the two parts of a rewriting share: its steps, the data and the commit
 * (ngx_smtp_rewrite.c), and what is taken over of the old log (_log.c).  Not
 * for others.
 */


#ifndef _NGX_SMTP_REWRITE_INTERNAL_H_INCLUDED_
#define _NGX_SMTP_REWRITE_INTERNAL_H_INCLUDED_


#include "ngx_smtp_rewrite.h"


/* copied, and synced, in one step */
#define NGX_SMTP_COPY_STEP      (1024 * 1024)


/* parts: as ngx_smtp_rewrite_step() */
ngx_int_t ngx_smtp_rewrite_history(ngx_smtp_rewrite_t *rw);
ngx_int_t ngx_smtp_rewrite_tail(ngx_smtp_rewrite_t *rw);
/* begins with the seal, which is the part behind the history */
ngx_int_t ngx_smtp_rewrite_sealing(ngx_smtp_rewrite_t *rw);

/* Writes who lives. */
ngx_int_t ngx_smtp_rewrite_living(ngx_smtp_rewrite_t *rw);

/*
 * Copies some of what the old log has between rw->tail and rw->log_end.
 * NGX_AGAIN: call again if there is more; else the code of the whole.
 */
ngx_int_t ngx_smtp_rewrite_tail_some(ngx_smtp_rewrite_t *rw);

/* Makes rw->buf this large at least; NGX_ERROR: no memory, with rw->fault. */
ngx_int_t ngx_smtp_rewrite_room(ngx_smtp_rewrite_t *rw, size_t size);


#endif /* _NGX_SMTP_REWRITE_INTERNAL_H_INCLUDED_ */
