
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * What all layers with nginx underneath know of the module: its own
 * declaration, by which they find configurations and contexts of sessions.
 */


#ifndef _NGX_SMTP_CORE_H_INCLUDED_
#define _NGX_SMTP_CORE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


extern ngx_module_t  ngx_smtp_relay_module;


#endif /* _NGX_SMTP_CORE_H_INCLUDED_ */
