
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The load client's SMTP dialogue: enter a state by sending a command, leave
 * it by its reply.
 *
 *   BANNER - EHLO [- STARTTLS - handshake - EHLO] [- AUTH] - ready
 *   ready - MAIL - RCPT ... - DATA - BODY - ready, or QUIT
 *
 * A transaction begins with the 250 to MAIL.  One that is refused or closed
 * after that has failed, except that with the connection lost between the
 * last byte of the end of data and its reply the result is unknown.  What
 * happens between transactions is no failure: the session connects again,
 * and its message, if it has taken one, is tried again.
 */


#include "load.h"


static int load_reply_mail(load_session_t *s, int code, const char *line);
static int load_reply_rcpt(load_session_t *s, int code, const char *line);
static int load_reply_data(load_session_t *s, int code, const char *line);
static int load_reply_body(load_session_t *s, int code, const char *line);
static int load_reply_setup(load_session_t *s, int code, const char *line);
static void load_greeted(load_session_t *s);
static void load_ready(load_session_t *s);
static void load_transaction(load_session_t *s);
static void load_body_send(load_session_t *s);
static void load_again(load_session_t *s);
static void load_failed(load_session_t *s, const char *step,
    const char *line);
static void load_unknown(load_session_t *s);
static void load_acked(load_session_t *s);
static size_t load_envelope_write(char *p, unsigned rcpts);
static size_t load_rcpt_write(char *p, unsigned i);
static size_t load_header_write(char *p, uint64_t msg);
static void load_id(char *p, uint64_t msg);


static const char  *load_states[] = {
    "closed", "connect", "TLS handshake", "banner", "EHLO", "STARTTLS",
    "AUTH", "MAIL", "RCPT", "DATA", "end of data", "RSET", "QUIT", "idle",
    "finished"
};

static char        *load_auth;
static size_t       load_body_len;


/*
 * All messages share the filler, which ends with the final dot; what differs
 * is written before it, and always has the same length.
 */

void
load_body_create(void)
{
    char    *p, head[LOAD_HEAD_SIZE];
    size_t   n, rest, len;

    len = load_header_write(head, 1);
    rest = load_conf.size > len ? load_conf.size - len : 0;

    load_body = malloc(rest + 8);
    if (load_body == NULL) {
        load_fatal("out of memory");
    }

    p = load_body;

    while (rest > 1) {
        n = rest < 78 ? rest : 78;

        if (rest - n == 1) {
            n--;
        }

        memset(p, 'a' + (int) (rest % 26), n - 2);
        memcpy(p + n - 2, "\r\n", 2);

        p += n;
        rest -= n;
    }

    memcpy(p, ".\r\n", 3);
    load_body_len = p + 3 - load_body;
}


void
load_auth_create(const char *user)
{
    char         *plain;
    size_t        len;
    const char   *colon;

    colon = strchr(user, ':');
    if (colon == NULL) {
        load_fatal("no \":\" in the value of -A");
    }

    len = strlen(user) + 1;

    if (len > LOAD_HEAD_SIZE) {
        load_fatal("the value of -A is too long");
    }

    plain = malloc(len);
    load_auth = malloc(16 + (len + 2) / 3 * 4 + 3);

    if (plain == NULL || load_auth == NULL) {
        load_fatal("out of memory");
    }

    plain[0] = '\0';
    memcpy(plain + 1, user, len - 1);
    plain[1 + colon - user] = '\0';

    strcpy(load_auth, "AUTH PLAIN ");
    EVP_EncodeBlock((unsigned char *) load_auth + 11, (unsigned char *) plain,
                    (int) len);
    strcat(load_auth, "\r\n");

    free(plain);
}


int
load_reply(load_session_t *s, int code, const char *line)
{
    switch (s->state) {

    case LOAD_MAIL:
        return load_reply_mail(s, code, line);

    case LOAD_RCPT:
        return load_reply_rcpt(s, code, line);

    case LOAD_DATA:
        return load_reply_data(s, code, line);

    case LOAD_BODY:
        return load_reply_body(s, code, line);

    case LOAD_RSET:
        if (code / 100 != 2) {
            load_lost(s, line);
            return -1;
        }

        load_ready(s);
        return 0;

    case LOAD_QUIT:
        load_close(s);
        load_again(s);
        return -1;

    case LOAD_IDLE:
        load_lost(s, line);
        return -1;

    default:
        return load_reply_setup(s, code, line);
    }
}


static int
load_reply_mail(load_session_t *s, int code, const char *line)
{
    if (code / 100 == 2) {
        load_count.messages++;

        s->away = 0;
        s->eod = 0;
        s->rcpt = 0;
        s->rcpt_ok = 0;
        s->refused = 0;
        s->state = LOAD_RCPT;

        if (!s->sent) {
            s->out_len = load_rcpt_write(s->out, 0);
            load_send(s, LOAD_RCPT);
        }

        return 0;
    }

    if (code / 100 == 5) {
        load_complain("MAIL refused: %s", line);
        load_stopped = 1;
    }

    load_lost(s, line);

    return -1;
}


static int
load_reply_setup(load_session_t *s, int code, const char *line)
{
    if (code / 100 != 2) {
        if (code / 100 == 5 && s->state != LOAD_BANNER) {
            load_complain("%s refused: %s", load_states[s->state], line);
            load_stopped = 1;
        }

        load_lost(s, line);
        return -1;
    }

    switch (s->state) {

    case LOAD_BANNER:
        s->can_starttls = 0;
        s->pipelining = 0;
        load_command(s, LOAD_EHLO, "EHLO load.example\r\n");
        return 0;

    case LOAD_EHLO:
        load_greeted(s);
        return 0;

    case LOAD_STARTTLS:
        /* whatever came in plaintext behind the 220 is dropped */
        s->in_len = 0;
        s->pipelining = 0;
        load_handshake_start(s);
        return -1;

    default:    /* LOAD_AUTH */
        load_ready(s);
        return 0;
    }
}


static int
load_reply_rcpt(load_session_t *s, int code, const char *line)
{
    if (code / 100 == 2) {
        s->rcpt_ok++;

    } else {
        load_count.refused_rcpts++;
        load_failed(s, "RCPT", line);

        if (code == 421) {
            load_lost(s, line);
            return -1;
        }
    }

    if (++s->rcpt < load_conf.rcpts) {
        if (!s->sent) {
            s->out_len = load_rcpt_write(s->out, s->rcpt);
            load_send(s, LOAD_RCPT);
        }

        return 0;
    }

    if (s->sent) {
        s->state = LOAD_DATA;
        return 0;
    }

    if (s->rcpt_ok == 0) {
        s->msg = 0;
        load_command(s, LOAD_RSET, "RSET\r\n");
        return 0;
    }

    load_command(s, LOAD_DATA, "DATA\r\n");
    return 0;
}


static int
load_reply_data(load_session_t *s, int code, const char *line)
{
    if (code == 354 && s->rcpt_ok) {
        load_body_send(s);
        return 0;
    }

    load_failed(s, "DATA", line);

    if (code == 421 || code == 354) {
        load_lost(s, line);
        return -1;
    }

    s->msg = 0;
    load_command(s, LOAD_RSET, "RSET\r\n");

    return 0;
}


static int
load_reply_body(load_session_t *s, int code, const char *line)
{
    load_time = load_now();

    if (s->eod == 0) {
        load_failed(s, "reply before the end of data", line);
        load_lost(s, line);
        return -1;
    }

    if (code / 100 == 2) {
        load_acked(s);
        load_ready(s);
        return 0;
    }

    load_failed(s, "end of data", line);

    if (code == 421) {
        load_lost(s, line);
        return -1;
    }

    s->msg = 0;
    load_ready(s);

    return 0;
}


static void
load_greeted(load_session_t *s)
{
    if (load_conf.tls == LOAD_TLS_STARTTLS && !s->tls) {
        if (!s->can_starttls) {
            load_complain("STARTTLS is not offered");
            load_stopped = 1;
            return;
        }

        load_command(s, LOAD_STARTTLS, "STARTTLS\r\n");
        return;
    }

    if (load_auth) {
        load_command(s, LOAD_AUTH, load_auth);
        return;
    }

    load_ready(s);
}


/* the session is between two transactions */

static void
load_ready(load_session_t *s)
{
    int  again;

    again = s->state > LOAD_AUTH;

    if (!again) {
        load_count.opening--;
    }

    if (load_conf.idle) {
        s->away = 0;
        s->state = LOAD_IDLE;
        load_count.idling++;
        return;
    }

    if (s->msg == 0 && !load_done() && !(load_conf.per_message && again)) {
        s->msg = ++load_count.taken;
    }

    if (s->msg == 0 || load_stop
        || (load_deadline && load_time >= load_deadline))
    {
        load_command(s, LOAD_QUIT, "QUIT\r\n");
        return;
    }

    load_transaction(s);
}


static void
load_transaction(load_session_t *s)
{
    s->sent = load_conf.pipelining && s->pipelining;
    s->out_len = load_envelope_write(s->out,
                                     s->sent ? load_conf.rcpts : 0);

    load_send(s, LOAD_MAIL);
}


static void
load_body_send(load_session_t *s)
{
    s->out_len = load_header_write(s->out, s->msg);
    s->body_len = load_body_len;

    load_send(s, LOAD_BODY);
}


void
load_command(load_session_t *s, load_state_e state, const char *line)
{
    s->out_len = strlen(line);
    memcpy(s->out, line, s->out_len);

    load_send(s, state);
}


/* MAIL and, if rcpts is set, all that comes before the message */

static size_t
load_envelope_write(char *p, unsigned rcpts)
{
    char      *start;
    unsigned   i;

    start = p;

    p += sprintf(p, "MAIL FROM:<%s>\r\n", load_conf.sender);

    for (i = 0; i < rcpts; i++) {
        p += load_rcpt_write(p, i);
    }

    if (rcpts) {
        p += sprintf(p, "DATA\r\n");
    }

    return p - start;
}


static size_t
load_rcpt_write(char *p, unsigned i)
{
    const char  *at;

    at = strrchr(load_conf.rcpt, '@');

    if (i == 0 || at == NULL) {
        return sprintf(p, "RCPT TO:<%s>\r\n", load_conf.rcpt);
    }

    return sprintf(p, "RCPT TO:<%.*s+%u%s>\r\n", (int) (at - load_conf.rcpt),
                   load_conf.rcpt, i, at);
}


static size_t
load_header_write(char *p, uint64_t msg)
{
    int            n;
    char           id[LOAD_ID_SIZE];
    time_t         t;
    struct tm      tm;

    static char    date[64];
    static time_t  last;

    t = time(NULL);

    if (t != last) {
        last = t;
        gmtime_r(&t, &tm);
        strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &tm);
    }

    load_id(id, msg);

    n = snprintf(p, LOAD_HEAD_SIZE,
                 "X-Load-Id: %s\r\n"
                 "Date: %s\r\n"
                 "From: <%.256s>\r\n"
                 "To: undisclosed-recipients:;\r\n"
                 "Subject: load\r\n"
                 "Message-ID: <%s@load.example>\r\n"
                 "MIME-Version: 1.0\r\n"
                 "Content-Type: text/plain; charset=us-ascii\r\n"
                 "\r\n"
                 "This is message %s\r\n",
                 id, date, load_conf.sender, id, id);

    return (size_t) n;
}


/* the transaction is counted once, however many steps were refused */

static void
load_failed(load_session_t *s, const char *step, const char *line)
{
    char  id[LOAD_ID_SIZE];

    if (s->refused) {
        return;
    }

    s->refused = 1;
    load_count.failed++;

    load_id(id, s->msg);
    load_list_add(&load_others, "%s %.6f failed\n", id, load_wall());
    load_complain("%s failed at %s: %s", id, step, line);
}


static void
load_unknown(load_session_t *s)
{
    char  id[LOAD_ID_SIZE];

    load_count.unknown++;

    load_id(id, s->msg);
    load_list_add(&load_others, "%s %.6f unknown\n", id, load_wall());

    s->msg = 0;
}


static void
load_acked(load_session_t *s)
{
    char  id[LOAD_ID_SIZE];

    load_count.acked++;
    load_last_ack = load_time;
    load_latency_add(load_time - s->eod);

    load_id(id, s->msg);
    load_list_add(&load_acks, "%s %.6f %.6f\n", id, load_wall(),
                  (double) (load_time - s->eod) / LOAD_SEC);

    s->msg = 0;
    s->backoff = LOAD_BACKOFF_MIN;
}


void
load_lost(load_session_t *s, const char *why)
{
    load_state_e  state;

    state = s->state;

    if (state == LOAD_BODY && s->eod && !s->refused) {
        load_unknown(s);

    } else if (state == LOAD_RCPT || state == LOAD_DATA || state == LOAD_BODY)
    {
        load_failed(s, load_states[state], why);
        s->msg = 0;
    }

    load_close(s);

    if (state == LOAD_QUIT) {
        load_again(s);
        return;
    }

    s->lost = 1;

    if (state == LOAD_IDLE) {
        load_count.idling--;
        load_count.idle_lost++;
        load_complain("idle session lost: %s", why);
        load_finish(s);
        return;
    }

    if (s->away == 0) {
        s->away = load_time;

    } else if (load_time - s->away > load_conf.wait) {
        load_count.gave_up++;
        load_count.idle_lost++;
        load_complain("gave up: %s", why);
        load_finish(s);
        return;
    }

    s->when = load_time + s->backoff;
    s->backoff *= 2;

    if (s->backoff > LOAD_BACKOFF_MAX) {
        s->backoff = LOAD_BACKOFF_MAX;
    }
}


/* after QUIT */

static void
load_again(load_session_t *s)
{
    if (load_done()) {
        load_finish(s);
        return;
    }

    load_connect(s);
}


void
load_finish(load_session_t *s)
{
    s->state = LOAD_FINISHED;

    load_count.closed--;
    load_count.running--;
}


int
load_done(void)
{
    if (load_conf.idle) {
        return 0;
    }

    return load_stop || (load_deadline && load_time >= load_deadline)
           || (load_conf.messages && load_count.taken >= load_conf.messages);
}


static void
load_id(char *p, uint64_t msg)
{
    snprintf(p, LOAD_ID_SIZE, "%s-%08llu", load_prefix,
             (unsigned long long) msg);
}
