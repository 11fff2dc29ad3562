
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * TLS sessions to be resumed.  A fixed number of cells in a queue, the last
 * used one first; it is looked through from begin to end, once a handshake.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_smtp_resume.h"

#include <openssl/evp.h>


typedef struct {
    ngx_queue_t               link;
    ngx_ssl_session_t        *session;    /* NULL: empty */
    u_char                    id[NGX_SMTP_RESUME_ID];
} ngx_smtp_resume_cell_t;


struct ngx_smtp_resume_s {
    ngx_queue_t               queue;
    ngx_smtp_resume_cell_t    cells[NGX_SMTP_RESUME_SIZE];
};


static void ngx_smtp_resume_cleanup(void *data);
static ngx_smtp_resume_cell_t *ngx_smtp_resume_find(ngx_smtp_resume_t *table,
    u_char *id);


ngx_smtp_resume_t *
ngx_smtp_resume_create(ngx_pool_t *pool)
{
    ngx_uint_t           i;
    ngx_smtp_resume_t   *table;
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(pool, sizeof(ngx_smtp_resume_t));
    if (cln == NULL) {
        return NULL;
    }

    table = cln->data;

    ngx_memzero(table, sizeof(ngx_smtp_resume_t));

    ngx_queue_init(&table->queue);

    for (i = 0; i < NGX_SMTP_RESUME_SIZE; i++) {
        ngx_queue_insert_tail(&table->queue, &table->cells[i].link);
    }

    cln->handler = ngx_smtp_resume_cleanup;

    return table;
}


static void
ngx_smtp_resume_cleanup(void *data)
{
    ngx_smtp_resume_t *table = data;

    ngx_uint_t  i;

    for (i = 0; i < NGX_SMTP_RESUME_SIZE; i++) {
        if (table->cells[i].session) {
            ngx_ssl_free_session(table->cells[i].session);
            table->cells[i].session = NULL;
        }
    }
}


void
ngx_smtp_resume_id(u_char *id, ngx_str_t *parts, ngx_uint_t n)
{
    ngx_uint_t   i, ok;
    EVP_MD_CTX  *md;

    md = EVP_MD_CTX_new();

    ok = (md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);

    for (i = 0; ok && i < n; i++) {
        ok = EVP_DigestUpdate(md, &parts[i].len, sizeof(size_t)) == 1
             && EVP_DigestUpdate(md, parts[i].data, parts[i].len) == 1;
    }

    if (!ok || EVP_DigestFinal_ex(md, id, NULL) != 1) {

        /* nobody's: a session that is never found */

        RAND_bytes(id, NGX_SMTP_RESUME_ID);
        ERR_clear_error();
    }

    EVP_MD_CTX_free(md);
}


ngx_ssl_session_t *
ngx_smtp_resume_get(ngx_smtp_resume_t *table, u_char *id)
{
    ngx_smtp_resume_cell_t  *cell;

    cell = ngx_smtp_resume_find(table, id);

    return cell ? cell->session : NULL;
}


void
ngx_smtp_resume_put(ngx_smtp_resume_t *table, u_char *id,
    ngx_ssl_session_t *session)
{
    ngx_queue_t             *q;
    ngx_smtp_resume_cell_t  *cell;

    cell = ngx_smtp_resume_find(table, id);

    if (cell == NULL) {
        q = ngx_queue_last(&table->queue);
        cell = ngx_queue_data(q, ngx_smtp_resume_cell_t, link);

        ngx_memcpy(cell->id, id, NGX_SMTP_RESUME_ID);

        ngx_queue_remove(&cell->link);
        ngx_queue_insert_head(&table->queue, &cell->link);
    }

    if (cell->session) {
        ngx_ssl_free_session(cell->session);
    }

    cell->session = session;
}


void
ngx_smtp_resume_drop(ngx_smtp_resume_t *table, u_char *id)
{
    ngx_smtp_resume_cell_t  *cell;

    cell = ngx_smtp_resume_find(table, id);

    if (cell == NULL) {
        return;
    }

    ngx_ssl_free_session(cell->session);
    cell->session = NULL;

    ngx_queue_remove(&cell->link);
    ngx_queue_insert_tail(&table->queue, &cell->link);
}


/* It becomes the last used one. */

static ngx_smtp_resume_cell_t *
ngx_smtp_resume_find(ngx_smtp_resume_t *table, u_char *id)
{
    ngx_queue_t             *q;
    ngx_smtp_resume_cell_t  *cell;

    for (q = ngx_queue_head(&table->queue);
         q != ngx_queue_sentinel(&table->queue);
         q = ngx_queue_next(q))
    {
        cell = ngx_queue_data(q, ngx_smtp_resume_cell_t, link);

        if (cell->session
            && ngx_memcmp(cell->id, id, NGX_SMTP_RESUME_ID) == 0)
        {
            ngx_queue_remove(&cell->link);
            ngx_queue_insert_head(&table->queue, &cell->link);

            return cell;
        }
    }

    return NULL;
}
