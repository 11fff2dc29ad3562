
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * Handshakes and logins, one after the other: connects, makes a full TLS 1.3
 * handshake, and either says QUIT of its own accord (nothing is spoken: the
 * bare handshake), or is greeted, says EHLO, AUTH PLAIN and QUIT as an SMTP
 * client does.  Blocking: what is measured is the server, whose CPU time the
 * caller looks at; several are run at the same time.
 *
 *     login -n count [-A user:password] host:port
 *
 * Exit status: 0 all went well, 1 not.
 */


#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>


#define LOGIN_BUFFER  8192


static void login_once(SSL_CTX *ctx, struct sockaddr_in *addr,
    const char *auth);
static int login_connect(struct sockaddr_in *addr);
static void login_talk(SSL *ssl, const char *auth);
static void login_say(SSL *ssl, const char *text);
static void login_reply(SSL *ssl, const char *code);
static char *login_plain(const char *account);
static void login_fatal(const char *what);


int
main(int argc, char **argv)
{
    int                  c;
    long                 n;
    char                *auth, *colon;
    SSL_CTX             *ctx;
    struct sockaddr_in   addr;

    n = 1000;
    auth = NULL;

    while ((c = getopt(argc, argv, "n:A:")) != -1) {
        if (c == 'n') {
            n = atol(optarg);

        } else if (c == 'A') {
            auth = login_plain(optarg);

        } else {
            login_fatal("wrong option");
        }
    }

    if (optind != argc - 1 || (colon = strchr(argv[optind], ':')) == NULL) {
        login_fatal("no host:port");
    }

    *colon = '\0';

    memset(&addr, 0, sizeof(addr));
    addr.sin_family = AF_INET;
    addr.sin_port = htons(atoi(colon + 1));

    if (inet_pton(AF_INET, argv[optind], &addr.sin_addr) != 1) {
        login_fatal("no IPv4 address");
    }

    ctx = SSL_CTX_new(TLS_client_method());

    if (ctx == NULL
        || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1
        || SSL_CTX_set1_groups_list(ctx, "P-256") != 1)
    {
        login_fatal("no TLS 1.3 with P-256");
    }

    while (n--) {
        login_once(ctx, &addr, auth);
    }

    SSL_CTX_free(ctx);
    free(auth);

    return 0;
}


static void
login_once(SSL_CTX *ctx, struct sockaddr_in *addr, const char *auth)
{
    int   fd;
    SSL  *ssl;
    char  c;

    fd = login_connect(addr);
    ssl = SSL_new(ctx);

    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1) {
        login_fatal("TLS handshake");
    }

    if (auth) {
        login_talk(ssl, auth);

    } else {

        /* the server closes: it has nothing to say */

        (void) SSL_read(ssl, &c, 1);
    }

    SSL_set_quiet_shutdown(ssl, 1);
    SSL_free(ssl);
    close(fd);
}


static int
login_connect(struct sockaddr_in *addr)
{
    int             fd, on;
    struct timeval  tv;

    fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd == -1) {
        login_fatal("socket()");
    }

    on = 1;
    tv.tv_sec = 60;
    tv.tv_usec = 0;

    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));

    if (connect(fd, (struct sockaddr *) addr, sizeof(*addr)) == -1) {
        login_fatal("connect()");
    }

    return fd;
}


static void
login_talk(SSL *ssl, const char *auth)
{
    login_reply(ssl, "220");
    login_say(ssl, "EHLO bench.example\r\n");
    login_reply(ssl, "250");
    login_say(ssl, auth);
    login_reply(ssl, "235");
    login_say(ssl, "QUIT\r\n");
    login_reply(ssl, "221");
}


static void
login_say(SSL *ssl, const char *text)
{
    if (SSL_write(ssl, text, (int) strlen(text)) <= 0) {
        login_fatal("SSL_write()");
    }
}


/* Reads up to the end of a reply: a line whose fourth character is a space. */

static void
login_reply(SSL *ssl, const char *code)
{
    int    n, len;
    char  *line, *end, buf[LOGIN_BUFFER];

    len = 0;

    for ( ;; ) {
        n = SSL_read(ssl, buf + len, LOGIN_BUFFER - 1 - len);

        if (n <= 0) {
            login_fatal("no reply");
        }

        len += n;
        buf[len] = '\0';

        for (line = buf; (end = strstr(line, "\r\n")) != NULL; line = end + 2)
        {
            if (end - line >= 4 && line[3] != '-') {

                if (strncmp(line, code, 3) != 0) {
                    login_fatal(buf);
                }

                return;
            }
        }
    }
}


/* "user:password" as the command AUTH PLAIN */

static char *
login_plain(const char *account)
{
    char    *command, raw[512];
    size_t   i, len;

    len = strlen(account);

    if (len + 1 > sizeof(raw) || strchr(account, ':') == NULL) {
        login_fatal("no user:password");
    }

    raw[0] = '\0';
    memcpy(raw + 1, account, len);

    for (i = 1; raw[i] != ':'; i++) { /* void */ }

    raw[i] = '\0';

    command = calloc(1, 1024);

    if (command == NULL) {
        login_fatal("calloc()");
    }

    strcpy(command, "AUTH PLAIN ");
    EVP_EncodeBlock((unsigned char *) command + 11, (unsigned char *) raw,
                    (int) len + 1);
    strcat(command, "\r\n");

    return command;
}


static void
login_fatal(const char *what)
{
    fprintf(stderr, "login: %s failed: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}
