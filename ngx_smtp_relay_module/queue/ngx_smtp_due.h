
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What is due when, of one queue or route in a worker: a tree of nodes that
 * are embedded in whatever waits, ordered by second; nodes of the same second
 * come out in the order they went in.  Owns no memory.  A node is in at most
 * one tree; whether it is in one is its owner's to know.
 *
 * The structure holds the tree's sentinel: it must not be moved after init.
 */


#ifndef _NGX_SMTP_DUE_H_INCLUDED_
#define _NGX_SMTP_DUE_H_INCLUDED_


#include "ngx_smtp_pure.h"


typedef struct {
    ngx_rbtree_t            tree;
    ngx_rbtree_node_t       sentinel;
    ngx_uint_t              count;      /* of nodes in the tree */
} ngx_smtp_due_t;


/* Makes an empty schedule. */
void ngx_smtp_due_init(ngx_smtp_due_t *d);

/*
 * Puts a node in; due is in seconds, a negative one counts as 0.  Behind all
 * nodes of the same second.
 */
void ngx_smtp_due_insert(ngx_smtp_due_t *d, ngx_rbtree_node_t *node,
    time_t due);

/* Takes a node out; it must be in this tree. */
void ngx_smtp_due_remove(ngx_smtp_due_t *d, ngx_rbtree_node_t *node);

/* The first node, still in the tree, or NULL. */
ngx_rbtree_node_t *ngx_smtp_due_first(ngx_smtp_due_t *d);

/*
 * When is the first node due?  NGX_OK: *due is set; NGX_DECLINED: empty.
 */
ngx_int_t ngx_smtp_due_next(ngx_smtp_due_t *d, time_t *due);

/* Takes out and returns the first node if it is due by now, else NULL. */
ngx_rbtree_node_t *ngx_smtp_due_pop(ngx_smtp_due_t *d, time_t now);

/*
 * Takes out up to n nodes that are due by now and stores them in order.
 * Returns how many.
 */
ngx_uint_t ngx_smtp_due_pop_many(ngx_smtp_due_t *d, time_t now,
    ngx_rbtree_node_t **nodes, ngx_uint_t n);

/* The due second of a node that is in a tree. */
#define ngx_smtp_due_at(node)  ((time_t) (node)->key)


#endif /* _NGX_SMTP_DUE_H_INCLUDED_ */
