
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What differs between the versions of nginx this module builds against.
 * nginx_version is tested in this header only, so that it lists all that is
 * to be looked at again when a version is given up or a new one comes out.
 */


#ifndef _NGX_SMTP_COMPAT_H_INCLUDED_
#define _NGX_SMTP_COMPAT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#if (nginx_version < 1022000)
#error "ngx_smtp_relay_module needs nginx 1.22.0 or newer"
#endif

#if !(NGX_THREADS)
#error "ngx_smtp_relay_module needs nginx built with --with-threads"
#endif


#endif /* _NGX_SMTP_COMPAT_H_INCLUDED_ */
