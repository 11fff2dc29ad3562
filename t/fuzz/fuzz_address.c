
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Paths: what is accepted must be safe to put into a command again, and parse
 * to the same.  The first octet is the flags.
 *
 * sources: protocol/ngx_smtp_address.c
 */


#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include "ngx_smtp_address.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t            i;
    u_char           *buf, *pos, local[NGX_SMTP_LOCAL_MAX];
    ngx_str_t         s;
    ngx_uint_t        flags;
    ngx_smtp_path_t   path, again;

    if (size == 0) {
        return 0;
    }

    flags = data[0];
    size--;

    buf = malloc(size + 1);

    if (buf == NULL) {
        abort();
    }

    /* begins where the memory begins, ends where it ends */

    memcpy(buf + 1, data + 1, size);
    pos = buf + 1;

    if (ngx_smtp_path_parse(&pos, buf + 1 + size, flags, &path) == NGX_OK) {

        if (pos <= buf + 1 || pos > buf + 1 + size || pos[-1] != '>') {
            abort();
        }

        if (path.mailbox.len > NGX_SMTP_MAILBOX_MAX
            || path.local.len > NGX_SMTP_LOCAL_MAX
            || path.domain.len > NGX_SMTP_DOMAIN_MAX
            || path.null != (path.mailbox.len == 0)
            || (path.null && !(flags & NGX_SMTP_PATH_NULL))
            || (path.postmaster && !(flags & NGX_SMTP_PATH_POSTMASTER))
            || (path.utf8 && !(flags & NGX_SMTP_PATH_UTF8)))
        {
            abort();
        }

        for (i = 0; i < path.mailbox.len; i++) {
            if (path.mailbox.data[i] < 0x20 || path.mailbox.data[i] == 0x7f
                || (path.mailbox.data[i] >= 0x80 && !path.utf8))
            {
                abort();
            }
        }

        if (!path.null) {
            if (ngx_smtp_mailbox_parse(&path.mailbox, flags, &again) != NGX_OK
                || again.local.len != path.local.len
                || again.domain.len != path.domain.len
                || !ngx_smtp_mailbox_equal(&path, &again)
                || ngx_smtp_local_unquote(local, &path.local)
                   > path.local.len)
            {
                abort();
            }
        }
    }

    s.data = buf + 1;
    s.len = size;

    if (ngx_smtp_mailbox_parse(&s, flags, &path) == NGX_OK
        && path.mailbox.len != size)
    {
        abort();
    }

    (void) ngx_smtp_literal_check(&s);
    (void) ngx_smtp_domain_check(&s, flags);

    free(buf);

    return 0;
}
