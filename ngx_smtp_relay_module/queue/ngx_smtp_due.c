
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A red-black tree by due second.  That nodes of one second come out in the
 * order they went in needs no counter: a new node goes to the right of
 * all its equals, and neither rotations nor deletions change the order of a
 * tree.
 */


#include "ngx_smtp_due.h"


static void ngx_smtp_due_insert_node(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel);


void
ngx_smtp_due_init(ngx_smtp_due_t *d)
{
    ngx_rbtree_init(&d->tree, &d->sentinel, ngx_smtp_due_insert_node);

    d->count = 0;
}


void
ngx_smtp_due_insert(ngx_smtp_due_t *d, ngx_rbtree_node_t *node, time_t due)
{
    if (due < 0) {
        due = 0;
    }

    node->key = (ngx_rbtree_key_t) due;

    ngx_rbtree_insert(&d->tree, node);

    d->count++;
}


void
ngx_smtp_due_remove(ngx_smtp_due_t *d, ngx_rbtree_node_t *node)
{
    ngx_rbtree_delete(&d->tree, node);

    d->count--;
}


ngx_rbtree_node_t *
ngx_smtp_due_first(ngx_smtp_due_t *d)
{
    if (d->tree.root == d->tree.sentinel) {
        return NULL;
    }

    return ngx_rbtree_min(d->tree.root, d->tree.sentinel);
}


ngx_int_t
ngx_smtp_due_next(ngx_smtp_due_t *d, time_t *due)
{
    ngx_rbtree_node_t  *node;

    node = ngx_smtp_due_first(d);

    if (node == NULL) {
        return NGX_DECLINED;
    }

    *due = ngx_smtp_due_at(node);

    return NGX_OK;
}


ngx_rbtree_node_t *
ngx_smtp_due_pop(ngx_smtp_due_t *d, time_t now)
{
    ngx_rbtree_node_t  *node;

    node = ngx_smtp_due_first(d);

    if (node == NULL || ngx_smtp_due_at(node) > now) {
        return NULL;
    }

    ngx_smtp_due_remove(d, node);

    return node;
}


ngx_uint_t
ngx_smtp_due_pop_many(ngx_smtp_due_t *d, time_t now, ngx_rbtree_node_t **nodes,
    ngx_uint_t n)
{
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {
        nodes[i] = ngx_smtp_due_pop(d, now);

        if (nodes[i] == NULL) {
            break;
        }
    }

    return i;
}


/* as ngx_rbtree_insert_value(), with the order of equal keys promised */

static void
ngx_smtp_due_insert_node(ngx_rbtree_node_t *temp, ngx_rbtree_node_t *node,
    ngx_rbtree_node_t *sentinel)
{
    ngx_rbtree_node_t  **p;

    for ( ;; ) {
        p = (node->key < temp->key) ? &temp->left : &temp->right;

        if (*p == sentinel) {
            break;
        }

        temp = *p;
    }

    *p = node;

    node->parent = temp;
    node->left = sentinel;
    node->right = sentinel;

    ngx_rbt_red(node);
}
