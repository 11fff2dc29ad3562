
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * TLS on an outbound connection, as its client.  The handshake is nginx's;
 * here are the name that is asked for, and the look at the certificate.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>
#include <ngx_stream.h>

#include "ngx_smtp_compat.h"
#include "ngx_smtp_peer.h"
#include "ngx_smtp_peer_private.h"


static ngx_int_t ngx_smtp_peer_tls_prepare(ngx_smtp_peer_t *p);
static void ngx_smtp_peer_tls_save(ngx_connection_t *c);
static void ngx_smtp_peer_tls_failed(ngx_smtp_peer_t *p, ngx_uint_t failure);
static void ngx_smtp_peer_handshake_handler(ngx_connection_t *c);
static ngx_int_t ngx_smtp_peer_server_name(ngx_smtp_peer_t *p);


ngx_int_t
ngx_smtp_peer_starttls(ngx_smtp_peer_t *p, ngx_ssl_t *ssl, ngx_str_t *name,
    ngx_uint_t verify)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    c = p->connection;

    if (p->in.pos != p->in.last) {
        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "next hop sent data in clear after its reply to "
                      "STARTTLS");
        return NGX_DECLINED;
    }

    p->log.action = "SSL handshaking to next hop";
    p->verify = verify ? 1 : 0;

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (ngx_ssl_create_connection(ssl, c, NGX_SSL_BUFFER|NGX_SSL_CLIENT)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_str_null(&p->tls_name);

    if (name->len) {

        /* with the NUL that OpenSSL wants */

        p->tls_name.data = ngx_pnalloc(p->pool, name->len + 1);
        if (p->tls_name.data == NULL) {
            return NGX_ERROR;
        }

        (void) ngx_cpystrn(p->tls_name.data, name->data, name->len + 1);
        p->tls_name.len = name->len;

        if (!p->no_sni && ngx_smtp_peer_server_name(p) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (p->tls && ngx_smtp_peer_tls_prepare(p) != NGX_OK) {
        return NGX_ERROR;
    }

    /* a handshake is nothing that a leaving worker waits for */

    c->read->cancelable = 1;

    rc = ngx_ssl_handshake(c);

    if (rc == NGX_AGAIN) {
        c->ssl->handler = ngx_smtp_peer_handshake_handler;
        return NGX_AGAIN;
    }

    ngx_smtp_peer_post(p, NGX_SMTP_PEER_SECURED, 0);

    return NGX_AGAIN;
}


static ngx_int_t
ngx_smtp_peer_tls_prepare(ngx_smtp_peer_t *p)
{
    ngx_connection_t     *c;
    ngx_ssl_session_t    *session;
    ngx_smtp_peer_tls_t  *tls;

    c = p->connection;
    tls = p->tls;

    if (tls->certificate.len
        && ngx_smtp_compat_certificate(c, p->pool, &tls->certificate,
                                       &tls->key, tls->passwords)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (tls->resume == NULL) {
        return NGX_OK;
    }

    c->ssl->save_session = ngx_smtp_peer_tls_save;

    session = ngx_smtp_resume_get(tls->resume, tls->id);

    if (session && ngx_ssl_set_session(c, session) != NGX_OK) {

        /* it goes without */

        ngx_smtp_resume_drop(tls->resume, tls->id);
    }

    return NGX_OK;
}


/* TLS 1.3 has tickets for us at any time after the handshake. */

static void
ngx_smtp_peer_tls_save(ngx_connection_t *c)
{
    ngx_smtp_peer_t    *p;
    ngx_ssl_session_t  *session;

    p = c->data;

    session = ngx_ssl_get_session(c);

    if (session) {
        ngx_smtp_resume_put(p->tls->resume, p->tls->id, session);
    }
}


/* What a session that is no good would make worse again is forgotten. */

static void
ngx_smtp_peer_tls_failed(ngx_smtp_peer_t *p, ngx_uint_t failure)
{
    if (p->tls && p->tls->resume) {
        ngx_smtp_resume_drop(p->tls->resume, p->tls->id);
    }

    ngx_smtp_peer_failed(p, failure, 0);
}


static void
ngx_smtp_peer_handshake_handler(ngx_connection_t *c)
{
    ngx_smtp_peer_handshaked(c->data);
}


void
ngx_smtp_peer_handshaked(ngx_smtp_peer_t *p)
{
    long               rc;
    ngx_connection_t  *c;

    c = p->connection;

    c->read->handler = ngx_smtp_peer_read_handler;
    c->write->handler = ngx_smtp_peer_write_handler;
    c->read->cancelable = 0;

    if (c->close) {
        p->handler(p, NGX_SMTP_PEER_SHUTDOWN);
        return;
    }

    if (c->read->timedout) {
        c->read->timedout = 0;
        ngx_smtp_peer_failed(p, NGX_SMTP_PEER_TIMEDOUT, NGX_ETIMEDOUT);
        return;
    }

    if (!c->ssl->handshaked) {
        ngx_smtp_peer_tls_failed(p, NGX_SMTP_PEER_TLS);
        return;
    }

    if (p->verify) {
        rc = SSL_get_verify_result(c->ssl->connection);

        if (rc != X509_V_OK) {
            ngx_log_error(NGX_LOG_ERR, c->log, 0,
                          "next hop SSL certificate verify error: (%l:%s)",
                          rc, X509_verify_cert_error_string(rc));
            ngx_smtp_peer_tls_failed(p, NGX_SMTP_PEER_VERIFY);
            return;
        }

        if (ngx_ssl_check_host(c, &p->tls_name) != NGX_OK) {
            ngx_log_error(NGX_LOG_ERR, c->log, 0,
                          "next hop SSL certificate does not match \"%V\"",
                          &p->tls_name);
            ngx_smtp_peer_tls_failed(p, NGX_SMTP_PEER_VERIFY);
            return;
        }
    }

    p->log.action = "talking to next hop";
    p->secure = 1;

    /* decrypted bytes raise no edge */

    ngx_post_event(c->read, &ngx_posted_events);

    p->handler(p, NGX_SMTP_PEER_SECURED);
}


static ngx_int_t
ngx_smtp_peer_server_name(ngx_smtp_peer_t *p)
{
#ifdef SSL_CTRL_SET_TLSEXT_HOSTNAME

    if (ngx_inet_addr(p->tls_name.data, p->tls_name.len) != INADDR_NONE
        || p->tls_name.data[0] == '['
        || ngx_strlchr(p->tls_name.data, p->tls_name.data + p->tls_name.len,
                       ':'))
    {
        return NGX_OK;
    }

    if (SSL_set_tlsext_host_name(p->connection->ssl->connection,
                                 (char *) p->tls_name.data)
        == 0)
    {
        ngx_ssl_error(NGX_LOG_ERR, &p->log, 0,
                      "SSL_set_tlsext_host_name(\"%s\") failed",
                      p->tls_name.data);
        return NGX_ERROR;
    }

#endif

    return NGX_OK;
}


void
ngx_smtp_peer_tls_info(ngx_smtp_peer_t *p, ngx_str_t *protocol,
    ngx_str_t *cipher)
{
    SSL  *ssl;

    ngx_str_null(protocol);
    ngx_str_null(cipher);

    if (!p->secure || p->connection == NULL || p->connection->ssl == NULL) {
        return;
    }

    /* static strings of OpenSSL */

    ssl = p->connection->ssl->connection;

    protocol->data = (u_char *) SSL_get_version(ssl);
    protocol->len = ngx_strlen(protocol->data);

    cipher->data = (u_char *) SSL_get_cipher_name(ssl);
    cipher->len = cipher->data ? ngx_strlen(cipher->data) : 0;
}
