
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Workers' stores on a directory of the test, see store_env.h.
 *
 * sources: spool/ngx_smtp_body.c spool/ngx_smtp_errors.c
 * sources: spool/ngx_smtp_event.c spool/ngx_smtp_large.c
 * sources: spool/ngx_smtp_reader.c spool/ngx_smtp_record.c
 * sources: spool/ngx_smtp_recovery.c spool/ngx_smtp_recovery_log.c
 * sources: spool/ngx_smtp_recovery_scan.c spool/ngx_smtp_recovery_skip.c
 * sources: spool/ngx_smtp_rewrite.c spool/ngx_smtp_seal.c
 * sources: spool/ngx_smtp_rewrite_log.c
 * sources: spool/ngx_smtp_segment.c spool/ngx_smtp_snapshot.c
 * sources: spool/ngx_smtp_segment_log.c
 * sources: spool/ngx_smtp_spool_check.c spool/ngx_smtp_spool_dir.c
 * sources: spool/ngx_smtp_store.c spool/ngx_smtp_store_change.c
 * sources: spool/ngx_smtp_store_commit.c spool/ngx_smtp_store_event.c
 * sources: spool/ngx_smtp_store_file.c spool/ngx_smtp_store_leave.c
 * sources: spool/ngx_smtp_store_look.c
 * sources: spool/ngx_smtp_store_own.c spool/ngx_smtp_store_renew.c
 * sources: spool/ngx_smtp_store_strike.c spool/ngx_smtp_store_unknown.c
 * sources: spool/ngx_smtp_store_upkeep.c spool/ngx_smtp_store_walk.c
 * sources: spool/ngx_smtp_upkeep_run.c
 * sources: spool/ngx_smtp_store_write.c spool/ngx_smtp_window.c
 * sources: core/ngx_smtp_content.c core/ngx_smtp_crc32c.c
 * sources: core/ngx_smtp_sys.c core/ngx_smtp_task.c
 * sources: core/ngx_smtp_turn.c core/ngx_smtp_work.c
 * sources: core/ngx_smtp_pages.c spool/ngx_smtp_cells.c
 */


#include "store_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static void env_message(void *data, ngx_smtp_message_t *m);
static void env_forget(void *data, ngx_smtp_message_t *m);
static void env_handler(ngx_smtp_accept_t *a, ngx_int_t rc);
static ngx_uint_t env_fails(env_fault_t *f, int fd);
static const char *env_name(int fd);
static ssize_t env_pwritev(int fd, const struct iovec *iov, int n,
    off_t offset);
static int env_fdatasync(int fd);
static int env_fsync(int fd);
static int env_fstatvfs(int fd, struct statvfs *st);
static void env_read_handler(ngx_smtp_reader_t *r, ngx_int_t rc);


env_fault_t  env_fault_pwritev, env_fault_fdatasync, env_fault_fsync;
ngx_uint_t   env_data_syncs;
off_t        env_free;
off_t        env_inodes;
char         env_path[64];

static ngx_smtp_sys_t  env_sys;
static ngx_uint_t      env_sys_saved;
static ngx_uint_t      env_read_called;
static ngx_int_t       env_read_rc;


/* system calls */

static const char *
env_name(int fd)
{
    static char  name[512];

    DIR            *dir;
    char            path[64];
    ssize_t         n;
    struct stat     st;
    struct dirent  *de;

    /* a file that was linked later is told as deleted: look for its inode */

    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink) {
        dir = opendir(env_path);
        assert_non_null(dir);

        while ((de = readdir(dir)) != NULL) {
            if (de->d_ino == st.st_ino) {
                snprintf(name, sizeof(name), "%s/%s", env_path, de->d_name);
                closedir(dir);
                return name;
            }
        }

        closedir(dir);
    }

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

    n = readlink(path, name, sizeof(name) - 1);
    name[n < 0 ? 0 : n] = '\0';

    return name;
}


static ngx_uint_t
env_fails(env_fault_t *f, int fd)
{
    if (f->times == 0 || strstr(env_name(fd), f->match) == NULL) {
        return 0;
    }

    if (f->skip) {
        f->skip--;
        return 0;
    }

    f->times--;
    errno = f->err;

    return 1;
}


static ssize_t
env_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    return env_fails(&env_fault_pwritev, fd)
           ? -1 : env_sys.pwritev(fd, iov, n, offset);
}


static int
env_fdatasync(int fd)
{
    if (strstr(env_name(fd), ".data")) {
        env_data_syncs++;
    }

    return env_fails(&env_fault_fdatasync, fd) ? -1 : env_sys.fdatasync(fd);
}


static int
env_fsync(int fd)
{
    return env_fails(&env_fault_fsync, fd) ? -1 : env_sys.fsync(fd);
}


static int
env_fstatvfs(int fd, struct statvfs *st)
{
    int  rc;

    rc = env_sys.fstatvfs(fd, st);

    if (rc == 0 && env_free != -1) {
        st->f_bavail = env_free / st->f_frsize;
        st->f_bfree = st->f_bavail;
    }

    if (rc == 0 && env_inodes != -1) {
        st->f_files = (env_inodes == -2) ? 0 : 1000000;
        st->f_favail = (env_inodes == -2) ? 0 : env_inodes;
    }

    return rc;
}


int
env_setup(void **state)
{
    u_char       err[NGX_MAX_CONF_ERRSTR];
    ngx_str_t    path;
    const char  *base;

    if (!env_sys_saved) {
        env_sys = ngx_smtp_sys;
        env_sys_saved = 1;
    }

    ngx_smtp_sys.pwritev = env_pwritev;
    ngx_smtp_sys.fdatasync = env_fdatasync;
    ngx_smtp_sys.fsync = env_fsync;
    ngx_smtp_sys.fstatvfs = env_fstatvfs;

    memset(&env_fault_pwritev, 0, sizeof(env_fault_t));
    memset(&env_fault_fdatasync, 0, sizeof(env_fault_t));
    memset(&env_fault_fsync, 0, sizeof(env_fault_t));

    env_data_syncs = 0;
    env_free = -1;
    env_inodes = -1;

    base = getenv("TMPDIR");

    snprintf(env_path, sizeof(env_path), "%.30s/smtp-store-test.XXXXXX",
             base ? base : "/tmp");

    if (mkdtemp(env_path) == NULL) {
        return -1;
    }

    path = shim_str(env_path);

    if (ngx_smtp_store_check(&path, (uid_t) -1, (gid_t) -1, err) != NGX_OK) {
        return -1;
    }

    shim_log_reset();
    shim_time_set(1700000000, 0);
    ngx_smtp_task_init_worker();

    return 0;
}


int
env_teardown(void **state)
{
    char  command[128];

    snprintf(command, sizeof(command), "rm -rf %s", env_path);

    if (shim_log_count("alert:")) {
        fprintf(stderr, "%s", shim_log_text());
        return -1;
    }

    return system(command);
}


ngx_uint_t
env_files(const char *match)
{
    char     command[256], line[16];
    FILE    *f;

    snprintf(command, sizeof(command), "find %s -type f -name '*%s*' | wc -l",
             env_path, match);

    f = popen(command, "r");

    if (f == NULL || fgets(line, sizeof(line), f) == NULL) {
        fail();
    }

    pclose(f);

    return atoi(line);
}


/* workers */

static void
env_message(void *data, ngx_smtp_message_t *m)
{
    env_worker_t *w = data;

    assert_true(w->nmessages < ENV_MESSAGES);

    w->messages[w->nmessages++] = m;
    w->told++;
}


static void
env_forget(void *data, ngx_smtp_message_t *m)
{
    env_worker_t *w = data;

    ngx_uint_t  i;

    assert_false(m->outstanding);

    for (i = 0; i < w->nmessages; i++) {
        if (w->messages[i] == m) {
            w->messages[i] = w->messages[--w->nmessages];
            w->forgotten++;
            return;
        }
    }

    fail_msg("a message was forgotten that nobody knew");
}


env_worker_t *
env_start(size_t segment_size, const char **queues)
{
    env_worker_t  *w;
    ngx_uint_t     i, n;

    w = calloc(1, sizeof(env_worker_t));
    assert_non_null(w);

    for (n = 0; queues && queues[n]; n++) {
        w->queues[n] = shim_str(queues[n]);
    }

    if (n == 0) {
        w->queues[n++] = shim_str("internet");
    }

    w->conf.path = shim_str(env_path);
    w->conf.queues.elts = w->queues;
    w->conf.queues.nelts = n;
    w->conf.queues.size = sizeof(ngx_str_t);
    w->conf.pool = shim_thread_pool;
    w->conf.segment_size = segment_size ? segment_size : 64 * 1024 * 1024;
    w->conf.memory = 16 * 1024 * 1024;
    w->conf.handlers.message = env_message;
    w->conf.handlers.forget = env_forget;
    w->conf.data = w;
    w->conf.usage = w->usages;
    w->conf.commits = &w->commits;

    for (i = 0; i <= n; i++) {
        w->usages[i] = &w->usage[i];
    }

    w->store = ngx_smtp_store_start(&w->conf, &shim_log);
    assert_non_null(w->store);

    return w;
}


void
env_stop(env_worker_t *w)
{
    shim_tasks_join();

    ngx_smtp_store_stop(w->store);

    /* of all stores of the process, so they go on with new tasks */
    ngx_smtp_task_init_worker();

    free(w);
}


void
env_pump(void)
{
    ngx_uint_t  n;

    do {
        n = 0;

        if (!ngx_queue_empty(&ngx_posted_next_events)) {
            ngx_queue_add(&ngx_posted_events, &ngx_posted_next_events);
            ngx_queue_init(&ngx_posted_next_events);
        }

        n += shim_posted_run();
        n += shim_tasks_run();

    } while (n);
}


ngx_uint_t
env_step(void)
{
    if (!ngx_queue_empty(&ngx_posted_next_events)) {
        ngx_queue_add(&ngx_posted_events, &ngx_posted_next_events);
        ngx_queue_init(&ngx_posted_next_events);
    }

    return shim_posted_run() || shim_tasks_work() || shim_tasks_deliver();
}


void
env_time(ngx_msec_t msec)
{
    ngx_msec_t  step;

    env_pump();

    while (msec) {
        step = ngx_min(msec, 50);
        msec -= step;

        shim_time_advance(step);
        env_pump();
    }
}


/* mail */

u_char
env_byte(unsigned seed, size_t i)
{
    return (u_char) ((seed * 2654435761u + i * 40503u + (i >> 8)) >> 7);
}


void
env_mail(env_mail_t *mail, const char *queue, ngx_uint_t n, size_t size,
    unsigned seed)
{
    u_char      *p, *last;
    size_t       i, len;
    ngx_uint_t   k;

    memset(mail, 0, sizeof(env_mail_t));

    snprintf(mail->sender, sizeof(mail->sender), "s%u@example.com", seed);

    mail->envelope.sender = shim_str(mail->sender);
    mail->envelope.sender_domain = shim_str("example.com");
    mail->envelope.rcpts.elts = mail->rcpts;
    mail->envelope.rcpts.nelts = n;
    mail->envelope.rcpts.size = sizeof(ngx_smtp_rcpt_t);

    for (k = 0; k < n; k++) {
        mail->rcpts[k].mailbox = shim_str("rcpt@example.org");
        mail->rcpts[k].domain = shim_str("example.org");
    }

    mail->meta.queue = shim_str(queue);
    mail->meta.client = shim_str("192.0.2.1");
    mail->meta.helo = shim_str("client.example");
    mail->meta.received = ngx_time();
    mail->meta.vars.size = sizeof(ngx_keyval_t);

    for (i = 0; i < size; /* void */ ) {
        p = ngx_smtp_content_reserve(&mail->content, &last, &shim_log);
        assert_non_null(p);

        for (len = 0; p + len < last && i < size; len++, i++) {
            p[len] = env_byte(seed, i);
        }

        ngx_smtp_content_commit(&mail->content, p + len);
    }

    mail->accept.envelope = &mail->envelope;
    mail->accept.meta = &mail->meta;
    mail->accept.fields = shim_str("Received: by test\r\n");
    mail->accept.content = &mail->content;
    mail->accept.handler = env_handler;
    mail->accept.data = mail;
}


static void
env_handler(ngx_smtp_accept_t *a, ngx_int_t rc)
{
    env_mail_t *mail = a->data;

    assert_int_equal(mail->done, 0);

    mail->done = 1;
    mail->rc = rc;
    mail->told = mail->worker->told;
}


void
env_accept(env_worker_t *w, env_mail_t *mail)
{
    mail->worker = w;
    ngx_smtp_store_accept(w->store, &mail->accept);
}


ngx_int_t
env_accepted(env_worker_t *w, env_mail_t *mail)
{
    env_accept(w, mail);
    env_pump();

    assert_int_equal(mail->done, 1);

    return mail->rc;
}


ngx_smtp_message_t *
env_find(env_worker_t *w, unsigned seed)
{
    ngx_int_t            rc;
    ngx_uint_t           i, found;
    char                 sender[64];
    ngx_smtp_reader_t   *r;

    snprintf(sender, sizeof(sender), "s%u@example.com", seed);

    for (i = 0; i < w->nmessages; i++) {
        env_read_called = 0;

        rc = ngx_smtp_reader_open(w->messages[i], env_read_handler, NULL,
                                  &shim_log, &r);

        if (rc == NGX_AGAIN) {
            env_pump();
            assert_int_equal(env_read_called, 1);
            rc = env_read_rc;
        }

        assert_int_equal(rc, NGX_OK);

        found = (r->envelope.sender.len == strlen(sender)
                 && memcmp(r->envelope.sender.data, sender,
                           r->envelope.sender.len) == 0);

        ngx_smtp_reader_close(r);

        if (found) {
            return w->messages[i];
        }
    }

    return NULL;
}


static void
env_read_handler(ngx_smtp_reader_t *r, ngx_int_t rc)
{
    env_read_called++;
    env_read_rc = rc;
}


ngx_smtp_report_t *
env_report(ngx_smtp_message_t *m, uint64_t number)
{
    ngx_queue_t        *q;
    ngx_smtp_report_t  *r;

    for (q = ngx_queue_head(&m->reports);
         q != ngx_queue_sentinel(&m->reports);
         q = ngx_queue_next(q))
    {
        r = ngx_queue_data(q, ngx_smtp_report_t, link);

        if (r->number == number) {
            return r;
        }
    }

    return NULL;
}


void
env_check_read(ngx_smtp_message_t *m, ngx_uint_t n, size_t size,
    unsigned seed)
{
    size_t              i, total;
    ngx_int_t           rc;
    ngx_str_t           s;
    ngx_uint_t          pass;
    ngx_smtp_reader_t  *r;

    env_read_called = 0;

    rc = ngx_smtp_reader_open(m, env_read_handler, NULL, &shim_log, &r);

    if (rc == NGX_AGAIN) {
        env_pump();
        assert_int_equal(env_read_called, 1);
        rc = env_read_rc;
    }

    assert_int_equal(rc, NGX_OK);
    assert_int_equal(r->envelope.rcpts.nelts, n);
    assert_str_equal(&r->meta.client, "192.0.2.1");

    for (pass = 0; pass < 2; pass++) {

        assert_int_equal(ngx_smtp_reader_next(r, &s), NGX_OK);
        assert_str_equal(&s, "Received: by test\r\n");

        for (total = 0; /* void */; /* void */ ) {
            rc = ngx_smtp_reader_next(r, &s);

            if (rc == NGX_AGAIN) {
                env_read_called = 0;
                env_pump();
                assert_int_equal(env_read_called, 1);
                assert_int_equal(env_read_rc, NGX_OK);
                continue;
            }

            if (rc != NGX_OK) {
                break;
            }

            assert_true(s.len > 0);

            for (i = 0; i < s.len; i++) {
                assert_int_equal(s.data[i], env_byte(seed, total + i));
            }

            total += s.len;
        }

        assert_int_equal(rc, NGX_DONE);
        assert_int_equal(total, size);

        ngx_smtp_reader_rewind(r);
    }

    ngx_smtp_reader_close(r);
}


void
env_result(ngx_smtp_message_t *m, ngx_uint_t rcpt, ngx_uint_t status,
    time_t due)
{
    ngx_str_t          peer;
    ngx_smtp_result_t  result;

    result.rcpt = rcpt;
    result.status = status;
    result.code = (status == NGX_SMTP_RESULT_DELIVERED) ? 250 : 450;
    result.text = shim_str("2.0.0 what the peer said");

    peer = shim_str("mx.example.org[192.0.2.2]:25");

    ngx_smtp_store_results(m, &result, 1, &peer, ngx_time(), due, 0);
}


ngx_int_t
env_done(env_worker_t *w, ngx_smtp_message_t *m)
{
    ngx_int_t   rc;
    ngx_uint_t  i;

    rc = ngx_smtp_store_done(m, ngx_time());

    if (rc != NGX_OK) {
        return rc;
    }

    for (i = 0; i < w->nmessages; i++) {
        if (w->messages[i] == m) {
            w->messages[i] = w->messages[--w->nmessages];
            return NGX_OK;
        }
    }

    fail_msg("an unknown message was ended");

    return NGX_ERROR;
}
