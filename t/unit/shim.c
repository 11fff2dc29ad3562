
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The nginx functions of shim.h, for programs without nginx: memory, trees,
 * time, log, threads, events.  They follow nginx's documented behavior
 * (development guide, headers), including corner cases where the module
 * depends on them: ngx_gmtime() gives the full year, ngx_rbtree_delete() wipes
 * the node.  The tree is a treap with the priority taken from the address of
 * the node: no color bookkeeping, the same expected depth.
 */


#include "shim.h"

#include <assert.h>
#include <stdlib.h>


#define SHIM_LOG_SIZE  (1024 * 1024)


static void *shim_alloc(size_t size, ngx_uint_t zero);
static void *shim_pool_alloc(ngx_pool_t *pool, size_t size, ngx_uint_t zero);
static void shim_pool_clean(ngx_pool_t *pool);
static uint64_t shim_rbtree_priority(ngx_rbtree_node_t *node);
static void shim_rbtree_replace(ngx_rbtree_t *tree, ngx_rbtree_node_t *node,
    ngx_rbtree_node_t *by);
static void shim_rbtree_raise(ngx_rbtree_t *tree, ngx_rbtree_node_t *node);


ngx_uint_t            ngx_pagesize = 4096;
ngx_uint_t            ngx_pagesize_shift = 12;
ngx_uint_t            ngx_cacheline_size = 64;
ngx_int_t             ngx_ncpu = 2;
ngx_pid_t             ngx_pid = 1;
ngx_uint_t            ngx_process = NGX_PROCESS_SINGLE;
ngx_uint_t            ngx_worker;
sig_atomic_t          ngx_quit;
sig_atomic_t          ngx_terminate;
ngx_uint_t            ngx_exiting;

static ngx_cycle_t    shim_cycle = { .log = &shim_log };
volatile ngx_cycle_t  *ngx_cycle = &shim_cycle;

static ngx_time_t     shim_time = { 1700000000, 0, 0 };
volatile ngx_time_t  *ngx_cached_time = &shim_time;
volatile ngx_msec_t   ngx_current_msec = 1000000;
ngx_msec_t            shim_time_late;

static ngx_rbtree_node_t  shim_timer_sentinel;
ngx_rbtree_t          ngx_event_timer_rbtree = {
    &shim_timer_sentinel, &shim_timer_sentinel, ngx_rbtree_insert_timer_value
};

ngx_queue_t           ngx_posted_events = {
    &ngx_posted_events, &ngx_posted_events
};
ngx_queue_t           ngx_posted_next_events = {
    &ngx_posted_next_events, &ngx_posted_next_events
};

ngx_log_t             shim_log = { .log_level = NGX_LOG_INFO };

ngx_thread_pool_t    *shim_thread_pool = (ngx_thread_pool_t *) &shim_log;

static long           shim_alloc_left = -1;

static char           shim_log_data[SHIM_LOG_SIZE];
static size_t         shim_log_len;

static ngx_thread_task_t   *shim_tasks;
static ngx_thread_task_t  **shim_tasks_tail = &shim_tasks;
static ngx_thread_task_t   *shim_tasks_finished;
static ngx_thread_task_t  **shim_tasks_finished_tail = &shim_tasks_finished;
static ngx_uint_t           shim_tasks_refused;


/* memory */

static void *
shim_alloc(size_t size, ngx_uint_t zero)
{
    void  *p;

    if (shim_alloc_left == 0) {
        return NULL;
    }

    if (shim_alloc_left > 0) {
        shim_alloc_left--;
    }

    p = malloc(size);

    if (p == NULL) {
        return NULL;
    }

    /* nginx gives no zeros either: make reading what was not set visible */
    memset(p, zero ? 0 : 0xa5, size);

    return p;
}


void
shim_alloc_fail_after(long n)
{
    shim_alloc_left = n;
}


void *
ngx_alloc(size_t size, ngx_log_t *log)
{
    return shim_alloc(size, 0);
}


void *
ngx_calloc(size_t size, ngx_log_t *log)
{
    return shim_alloc(size, 1);
}


void *
ngx_memalign(size_t alignment, size_t size, ngx_log_t *log)
{
    void  *p;

    if (shim_alloc_left == 0 || posix_memalign(&p, alignment, size) != 0) {
        return NULL;
    }

    if (shim_alloc_left > 0) {
        shim_alloc_left--;
    }

    return p;
}


/* pools: every block is in the list of large ones */

ngx_pool_t *
ngx_create_pool(size_t size, ngx_log_t *log)
{
    ngx_pool_t  *pool;

    pool = shim_alloc(sizeof(ngx_pool_t), 1);

    if (pool) {
        pool->log = log;
        pool->current = pool;
        pool->max = size;
    }

    return pool;
}


static void
shim_pool_clean(ngx_pool_t *pool)
{
    ngx_pool_large_t  *l;

    while (pool->large) {
        l = pool->large;
        pool->large = l->next;

        free(l->alloc);
        free(l);
    }
}


void
ngx_destroy_pool(ngx_pool_t *pool)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = pool->cleanup; cln; cln = cln->next) {
        if (cln->handler) {
            cln->handler(cln->data);
        }
    }

    shim_pool_clean(pool);
    free(pool);
}


void
ngx_reset_pool(ngx_pool_t *pool)
{
    shim_pool_clean(pool);
    pool->chain = NULL;
}


static void *
shim_pool_alloc(ngx_pool_t *pool, size_t size, ngx_uint_t zero)
{
    ngx_pool_large_t  *l;

    l = malloc(sizeof(ngx_pool_large_t));
    if (l == NULL) {
        return NULL;
    }

    l->alloc = shim_alloc(size, zero);

    if (l->alloc == NULL) {
        free(l);
        return NULL;
    }

    l->next = pool->large;
    pool->large = l;

    return l->alloc;
}


void *
ngx_palloc(ngx_pool_t *pool, size_t size)
{
    return shim_pool_alloc(pool, size, 0);
}


void *
ngx_pnalloc(ngx_pool_t *pool, size_t size)
{
    return shim_pool_alloc(pool, size, 0);
}


void *
ngx_pcalloc(ngx_pool_t *pool, size_t size)
{
    return shim_pool_alloc(pool, size, 1);
}


/* nginx frees large blocks only and says NGX_DECLINED for all others */

ngx_int_t
ngx_pfree(ngx_pool_t *pool, void *p)
{
    ngx_pool_large_t  *l, **prev;

    for (prev = &pool->large; *prev; prev = &(*prev)->next) {
        l = *prev;

        if (l->alloc == p) {
            *prev = l->next;
            free(l->alloc);
            free(l);
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


ngx_pool_cleanup_t *
ngx_pool_cleanup_add(ngx_pool_t *pool, size_t size)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_palloc(pool, sizeof(ngx_pool_cleanup_t));
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = NULL;
    cln->data = NULL;

    if (size) {
        cln->data = ngx_palloc(pool, size);
        if (cln->data == NULL) {
            return NULL;
        }
    }

    cln->next = pool->cleanup;
    pool->cleanup = cln;

    return cln;
}


ngx_buf_t *
ngx_create_temp_buf(ngx_pool_t *pool, size_t size)
{
    ngx_buf_t  *b;

    b = ngx_pcalloc(pool, sizeof(ngx_buf_t));
    if (b == NULL) {
        return NULL;
    }

    b->start = ngx_palloc(pool, size);
    if (b->start == NULL) {
        return NULL;
    }

    b->pos = b->start;
    b->last = b->start;
    b->end = b->start + size;
    b->temporary = 1;

    return b;
}


ngx_chain_t *
ngx_alloc_chain_link(ngx_pool_t *pool)
{
    return ngx_palloc(pool, sizeof(ngx_chain_t));
}


/* arrays and lists */

ngx_array_t *
ngx_array_create(ngx_pool_t *p, ngx_uint_t n, size_t size)
{
    ngx_array_t  *a;

    a = ngx_palloc(p, sizeof(ngx_array_t));

    if (a == NULL || ngx_array_init(a, p, n, size) != NGX_OK) {
        return NULL;
    }

    return a;
}


void
ngx_array_destroy(ngx_array_t *a)
{
    (void) ngx_pfree(a->pool, a->elts);
}


void *
ngx_array_push(ngx_array_t *a)
{
    return ngx_array_push_n(a, 1);
}


/* an element keeps its address only until the next push, as in nginx */

void *
ngx_array_push_n(ngx_array_t *a, ngx_uint_t n)
{
    void        *elts;
    ngx_uint_t   nalloc;

    if (a->nelts + n > a->nalloc) {
        nalloc = 2 * ngx_max(n, a->nalloc);

        elts = ngx_palloc(a->pool, nalloc * a->size);
        if (elts == NULL) {
            return NULL;
        }

        memcpy(elts, a->elts, a->nelts * a->size);

        a->elts = elts;
        a->nalloc = nalloc;
    }

    a->nelts += n;

    return (u_char *) a->elts + (a->nelts - n) * a->size;
}


ngx_list_t *
ngx_list_create(ngx_pool_t *pool, ngx_uint_t n, size_t size)
{
    ngx_list_t  *list;

    list = ngx_palloc(pool, sizeof(ngx_list_t));

    if (list == NULL || ngx_list_init(list, pool, n, size) != NGX_OK) {
        return NULL;
    }

    return list;
}


void *
ngx_list_push(ngx_list_t *list)
{
    ngx_list_part_t  *part;

    part = list->last;

    if (part->nelts == list->nalloc) {
        part = ngx_pcalloc(list->pool, sizeof(ngx_list_part_t));
        if (part == NULL) {
            return NULL;
        }

        part->elts = ngx_palloc(list->pool, list->nalloc * list->size);
        if (part->elts == NULL) {
            return NULL;
        }

        list->last->next = part;
        list->last = part;
    }

    return (u_char *) part->elts + list->size * part->nelts++;
}


/* a stable merge of the halves would be faster, and longer */

void
ngx_queue_sort(ngx_queue_t *queue,
    ngx_int_t (*cmp)(const ngx_queue_t *, const ngx_queue_t *))
{
    ngx_queue_t  *q, *next, *place;

    for (q = ngx_queue_head(queue);
         q != ngx_queue_sentinel(queue);
         q = next)
    {
        next = ngx_queue_next(q);
        place = ngx_queue_prev(q);

        ngx_queue_remove(q);

        while (place != ngx_queue_sentinel(queue) && cmp(place, q) > 0) {
            place = ngx_queue_prev(place);
        }

        ngx_queue_insert_after(place, q);
    }
}


/* trees */

static uint64_t
shim_rbtree_priority(ngx_rbtree_node_t *node)
{
    uint64_t  n;

    n = (uint64_t) (uintptr_t) node;

    n *= 0x9e3779b97f4a7c15ULL;
    n ^= n >> 29;
    n *= 0xbf58476d1ce4e5b9ULL;

    return n ^ (n >> 32);
}


static void
shim_rbtree_replace(ngx_rbtree_t *tree, ngx_rbtree_node_t *node,
    ngx_rbtree_node_t *by)
{
    if (node == tree->root) {
        tree->root = by;

    } else if (node == node->parent->left) {
        node->parent->left = by;

    } else {
        node->parent->right = by;
    }

    if (by != tree->sentinel) {
        by->parent = node->parent;
    }
}


/* one rotation: the node takes the place of its parent */

static void
shim_rbtree_raise(ngx_rbtree_t *tree, ngx_rbtree_node_t *node)
{
    ngx_rbtree_node_t  *parent, *moved;

    parent = node->parent;

    shim_rbtree_replace(tree, parent, node);

    if (node == parent->left) {
        moved = node->right;
        parent->left = moved;
        node->right = parent;

    } else {
        moved = node->left;
        parent->right = moved;
        node->left = parent;
    }

    if (moved != tree->sentinel) {
        moved->parent = parent;
    }

    parent->parent = node;
}


void
ngx_rbtree_insert(ngx_rbtree_t *tree, ngx_rbtree_node_t *node)
{
    if (tree->root == tree->sentinel) {
        node->parent = NULL;
        node->left = tree->sentinel;
        node->right = tree->sentinel;
        ngx_rbt_black(node);
        tree->root = node;
        return;
    }

    tree->insert(tree->root, node, tree->sentinel);

    while (node != tree->root
           && shim_rbtree_priority(node) > shim_rbtree_priority(node->parent))
    {
        shim_rbtree_raise(tree, node);
    }
}


void
ngx_rbtree_delete(ngx_rbtree_t *tree, ngx_rbtree_node_t *node)
{
    ngx_rbtree_node_t  *child;

    for ( ;; ) {

        if (node->left == tree->sentinel) {
            child = node->right;
            break;
        }

        if (node->right == tree->sentinel) {
            child = node->left;
            break;
        }

        if (shim_rbtree_priority(node->left)
            > shim_rbtree_priority(node->right))
        {
            shim_rbtree_raise(tree, node->left);

        } else {
            shim_rbtree_raise(tree, node->right);
        }
    }

    shim_rbtree_replace(tree, node, child);

    node->left = NULL;
    node->right = NULL;
    node->parent = NULL;
    node->key = 0;
}


void
ngx_rbtree_insert_value(ngx_rbtree_node_t *root, ngx_rbtree_node_t *node,
    ngx_rbtree_node_t *sentinel)
{
    ngx_rbtree_node_t  **p;

    for ( ;; ) {
        p = (node->key < root->key) ? &root->left : &root->right;

        if (*p == sentinel) {
            break;
        }

        root = *p;
    }

    *p = node;
    node->parent = root;
    node->left = sentinel;
    node->right = sentinel;
    ngx_rbt_red(node);
}


/* times may wrap: their order is that of the signed difference */

void
ngx_rbtree_insert_timer_value(ngx_rbtree_node_t *root,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel)
{
    ngx_rbtree_node_t  **p;

    for ( ;; ) {
        p = ((ngx_rbtree_key_int_t) (node->key - root->key) < 0)
            ? &root->left : &root->right;

        if (*p == sentinel) {
            break;
        }

        root = *p;
    }

    *p = node;
    node->parent = root;
    node->left = sentinel;
    node->right = sentinel;
    ngx_rbt_red(node);
}


ngx_rbtree_node_t *
ngx_rbtree_next(ngx_rbtree_t *tree, ngx_rbtree_node_t *node)
{
    if (node->right != tree->sentinel) {
        return ngx_rbtree_min(node->right, tree->sentinel);
    }

    while (node != tree->root && node == node->parent->right) {
        node = node->parent;
    }

    return (node == tree->root) ? NULL : node->parent;
}


void
ngx_str_rbtree_insert_value(ngx_rbtree_node_t *temp, ngx_rbtree_node_t *node,
    ngx_rbtree_node_t *sentinel)
{
    ngx_int_t            rc;
    ngx_str_node_t      *n, *t;
    ngx_rbtree_node_t  **p;

    for ( ;; ) {
        n = (ngx_str_node_t *) node;
        t = (ngx_str_node_t *) temp;

        if (node->key != temp->key) {
            rc = (node->key < temp->key) ? -1 : 1;

        } else if (n->str.len != t->str.len) {
            rc = (n->str.len < t->str.len) ? -1 : 1;

        } else {
            rc = memcmp(n->str.data, t->str.data, n->str.len);
        }

        p = (rc < 0) ? &temp->left : &temp->right;

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


ngx_str_node_t *
ngx_str_rbtree_lookup(ngx_rbtree_t *rbtree, ngx_str_t *name, uint32_t hash)
{
    ngx_int_t           rc;
    ngx_str_node_t     *n;
    ngx_rbtree_node_t  *node;

    for (node = rbtree->root; node != rbtree->sentinel; /* void */ ) {
        n = (ngx_str_node_t *) node;

        if (hash != node->key) {
            rc = (hash < node->key) ? -1 : 1;

        } else if (name->len != n->str.len) {
            rc = (name->len < n->str.len) ? -1 : 1;

        } else {
            rc = memcmp(name->data, n->str.data, name->len);

            if (rc == 0) {
                return n;
            }
        }

        node = (rc < 0) ? node->left : node->right;
    }

    return NULL;
}


/* time */

void
ngx_gmtime(time_t t, ngx_tm_t *tp)
{
    if (t < 0) {
        t = 0;
    }

    (void) gmtime_r(&t, tp);

    tp->tm_mon++;
    tp->tm_year += 1900;
}


void
shim_time_set(time_t sec, ngx_uint_t msec)
{
    shim_time.sec = sec;
    shim_time.msec = msec;
    ngx_current_msec = (ngx_msec_t) sec * 1000 + msec;
}


void
ngx_time_update(void)
{
    ngx_current_msec += shim_time_late;
    shim_time_late = 0;
}


void
shim_wall_set(time_t sec)
{
    shim_time.sec = sec;
}


void
shim_time_advance(ngx_msec_t msec)
{
    ngx_msec_t          target, step;
    ngx_event_t        *ev;
    ngx_rbtree_t       *tree;
    ngx_rbtree_node_t  *node;

    tree = &ngx_event_timer_rbtree;
    target = ngx_current_msec + msec;

    for ( ;; ) {
        node = NULL;
        step = target - ngx_current_msec;

        if (tree->root != tree->sentinel) {
            node = ngx_rbtree_min(tree->root, tree->sentinel);

            if ((ngx_msec_int_t) (node->key - target) > 0) {
                node = NULL;

            } else if ((ngx_msec_int_t) (node->key - ngx_current_msec) > 0) {
                step = node->key - ngx_current_msec;

            } else {
                step = 0;
            }
        }

        ngx_current_msec += step;

        shim_time.msec += step;
        shim_time.sec += shim_time.msec / 1000;
        shim_time.msec %= 1000;

        if (node == NULL) {
            return;
        }

        ev = ngx_rbtree_data(node, ngx_event_t, timer);

        ngx_rbtree_delete(tree, &ev->timer);
        ev->timer_set = 0;
        ev->timedout = 1;
        ev->handler(ev);
    }
}


void
shim_seed(unsigned seed)
{
    srandom(seed);
}


/* log */

void
ngx_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err,
    const char *fmt, ...)
{
    u_char   *p, *last, line[NGX_MAX_ERROR_STR];
    va_list   args;

    static const char  *levels[] = {
        "stderr", "emerg", "alert", "crit", "error", "warn", "notice", "info",
        "debug"
    };

    last = line + sizeof(line) - 1;

    p = ngx_slprintf(line, last, "%s: ", levels[ngx_min(level, 8)]);

    va_start(args, fmt);
    p = ngx_vslprintf(p, last, fmt, args);
    va_end(args);

    if (err) {
        p = ngx_slprintf(p, last, " (%d: %s)", err, strerror(err));
    }

    if (log->handler && level != NGX_LOG_DEBUG) {
        p = log->handler(log, p, last - p);
    }

    *p++ = LF;

    if ((size_t) (p - line) < SHIM_LOG_SIZE - shim_log_len) {
        memcpy(shim_log_data + shim_log_len, line, p - line);
        shim_log_len += p - line;
        shim_log_data[shim_log_len] = '\0';
    }
}


const char *
shim_log_text(void)
{
    return shim_log_data;
}


size_t
shim_log_count(const char *text)
{
    char    *line, *end, *hit;
    size_t   n;

    n = 0;

    for (line = shim_log_data; *line; line = end + 1) {
        end = strchr(line, '\n');
        hit = strstr(line, text);

        if (hit && hit < end) {
            n++;
        }
    }

    return n;
}


void
shim_log_reset(void)
{
    shim_log_len = 0;
    shim_log_data[0] = '\0';
}


/* threads */

ngx_int_t
ngx_thread_task_post(ngx_thread_pool_t *tp, ngx_thread_task_t *task)
{
    if (task->event.active) {
        ngx_log_error(NGX_LOG_ALERT, &shim_log, 0, "task already active");
        return NGX_ERROR;
    }

    if (shim_tasks_refused) {
        shim_tasks_refused--;
        return NGX_ERROR;
    }

    task->event.active = 1;
    task->next = NULL;

    *shim_tasks_tail = task;
    shim_tasks_tail = &task->next;

    return NGX_OK;
}


ngx_thread_task_t *
ngx_thread_task_alloc(ngx_pool_t *pool, size_t size)
{
    ngx_thread_task_t  *task;

    task = ngx_pcalloc(pool, sizeof(ngx_thread_task_t) + size);

    if (task) {
        task->ctx = task + 1;
    }

    return task;
}


ngx_uint_t
shim_tasks_work(void)
{
    ngx_thread_task_t  *task;

    task = shim_tasks;

    if (task == NULL) {
        return 0;
    }

    shim_tasks = task->next;

    if (shim_tasks == NULL) {
        shim_tasks_tail = &shim_tasks;
    }

    task->handler(task->ctx, &shim_log);

    task->next = NULL;
    *shim_tasks_finished_tail = task;
    shim_tasks_finished_tail = &task->next;

    return 1;
}


ngx_uint_t
shim_tasks_deliver(void)
{
    ngx_thread_task_t  *task;

    task = shim_tasks_finished;

    if (task == NULL) {
        return 0;
    }

    shim_tasks_finished = task->next;

    if (shim_tasks_finished == NULL) {
        shim_tasks_finished_tail = &shim_tasks_finished;
    }

    task->event.complete = 1;
    task->event.active = 0;
    task->event.handler(&task->event);

    return 1;
}


ngx_uint_t
shim_tasks_run(void)
{
    ngx_uint_t  n;

    n = shim_tasks_work();

    return shim_tasks_deliver() | n;
}


ngx_uint_t
shim_tasks_drain(void)
{
    ngx_uint_t  n;

    for (n = 0; shim_tasks_run(); n++) { /* void */ }

    return n;
}


void
shim_tasks_join(void)
{
    while (shim_tasks_work()) { /* void */ }

    shim_tasks_finished = NULL;
    shim_tasks_finished_tail = &shim_tasks_finished;
}


void
shim_tasks_refuse(ngx_uint_t n)
{
    shim_tasks_refused = n;
}


/* events */

ngx_uint_t
shim_posted_run(void)
{
    ngx_uint_t    n;
    ngx_event_t  *ev;
    ngx_queue_t  *q;

    for (n = 0; !ngx_queue_empty(&ngx_posted_events); n++) {
        q = ngx_queue_head(&ngx_posted_events);
        ev = ngx_queue_data(q, ngx_event_t, queue);

        ngx_delete_posted_event(ev);
        ev->handler(ev);
    }

    return n;
}


/* tests */

ngx_str_t
shim_str(const char *s)
{
    ngx_str_t  str;

    str.len = strlen(s);
    str.data = (u_char *) s;

    return str;
}


char *
shim_cstr(ngx_pool_t *pool, ngx_str_t *s)
{
    u_char  *p;

    p = ngx_pnalloc(pool, s->len + 1);

    assert(p != NULL);

    (void) ngx_cpymem(p, s->data, s->len);
    p[s->len] = '\0';

    return (char *) p;
}


ngx_int_t
shim_feed(shim_feed_pt feed, void *ctx, const void *data, size_t len,
    size_t step)
{
    size_t         n;
    u_char        *piece;
    ngx_int_t      rc;
    const u_char  *p;

    p = data;
    rc = NGX_AGAIN;

    do {
        n = (step == 0) ? len : ngx_min(step, len);

        piece = malloc(n);
        assert(piece != NULL);

        memcpy(piece, p, n);
        rc = feed(ctx, piece, n);
        free(piece);

        p += n;
        len -= n;

    } while (len && (rc == NGX_OK || rc == NGX_AGAIN));

    return rc;
}
