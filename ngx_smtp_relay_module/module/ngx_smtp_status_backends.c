
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The backends of smtp_pass in the answer of smtp_status: what all workers
 * know of them stands in the zone, so nobody has to be asked.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_smtp_conf.h"
#include "ngx_smtp_status.h"


static void ngx_smtp_status_backend(ngx_smtp_pass_conf_t *pass,
    ngx_smtp_backend_t *b, ngx_smtp_json_t *j);


void
ngx_smtp_status_backends(ngx_smtp_json_t *j)
{
    ngx_uint_t              i, k, n;
    ngx_cycle_t            *cycle;
    ngx_smtp_pass_conf_t  **pass;
    ngx_smtp_main_conf_t   *smcf;

    cycle = (ngx_cycle_t *) ngx_cycle;

    smcf = ngx_stream_cycle_get_module_main_conf(cycle, ngx_smtp_relay_module);

    ngx_smtp_json_key(j, "backends");
    ngx_smtp_json_raw(j, "[");

    n = 0;
    pass = smcf ? smcf->passes.elts : NULL;

    for (i = 0; smcf && i < smcf->passes.nelts; i++) {

        for (k = 0; k < pass[i]->nbackends; k++) {
            ngx_smtp_json_raw(j, n++ ? ",{" : "{");
            ngx_smtp_status_backend(pass[i], &pass[i]->backends[k], j);
            ngx_smtp_json_raw(j, "}");
        }
    }

    ngx_smtp_json_raw(j, "]");
}


static void
ngx_smtp_status_backend(ngx_smtp_pass_conf_t *pass, ngx_smtp_backend_t *b,
    ngx_smtp_json_t *j)
{
    ngx_smtp_backend_state_t  st;

    ngx_smtp_json_member(j, "pass", &pass->target);
    ngx_smtp_json_member(j, "server", &b->name);
    ngx_smtp_json_flag(j, "backup", b->backup);

    if (ngx_smtp_backend_state(b, &st) != NGX_OK) {
        ngx_smtp_json_text(j, "state", "unknown");
        return;
    }

    ngx_smtp_json_text(j, "state", (pass->health_interval == 0 || !st.checked)
                                   ? "unchecked" : st.down ? "down" : "up");

    if (pass->health_interval && st.checked) {
        ngx_smtp_json_count(j, "checked", st.checked);
        ngx_smtp_json_count(j, "changed", st.changed);
        ngx_smtp_json_count(j, "checks", st.checks);
        ngx_smtp_json_count(j, "failed", st.failed);

        if (st.reason.len) {
            ngx_smtp_json_member(j, "last_failure", &st.reason);
        }
    }

    if (st.offers) {
        ngx_smtp_json_flag(j, "smtputf8",
                           (st.offers & NGX_SMTP_BACKEND_SMTPUTF8) != 0);
        ngx_smtp_json_flag(j, "dsn", (st.offers & NGX_SMTP_BACKEND_DSN) != 0);
    }
}
