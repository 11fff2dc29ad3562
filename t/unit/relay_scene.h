
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * The scene of test_relay.c: a store, connections and a clock made up for the
 * deliveries, and what a test does with them.
 */


#ifndef _RELAY_SCENE_H_INCLUDED_
#define _RELAY_SCENE_H_INCLUDED_


#include "shim.h"

#include "ngx_smtp_eval.h"
#include "ngx_smtp_relay.h"
#include "ngx_smtp_relay_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define TEST_PEERS    8
#define TEST_OUT      (256 * 1024)
#define TEST_RCPTS    8
#define TEST_MESSAGES 1024
#define TEST_REPORTS  4


typedef struct {
    ngx_smtp_message_t    m;
    ngx_smtp_envelope_t   envelope;
    ngx_smtp_rcpt_t       rcpts[TEST_RCPTS];
    ngx_smtp_report_t     reports[TEST_REPORTS];
    ngx_smtp_result_t     results[TEST_REPORTS][TEST_RCPTS + 1];
    char                  text[TEST_REPORTS][TEST_RCPTS][128];
    const char           *body;
    ngx_uint_t            ended;
    ngx_uint_t            readers;
} test_message_t;


typedef struct {
    ngx_smtp_peer_t      *peer;
    char                 *out;
    size_t                len;
    size_t                seen;
    ngx_uint_t            waits;      /* for the connection */
    ngx_uint_t            tls;        /* a handshake is under way */
    ngx_uint_t            closed;
    ngx_uint_t            failed;
    ngx_uint_t            reconnected;
} test_peer_t;


extern char                   journal[16384];
extern char                   logged[4096];
extern test_peer_t            peers[TEST_PEERS];
extern ngx_uint_t             npeers;
extern ngx_uint_t             next_servers;
extern ngx_uint_t             slow_reader;
extern ngx_uint_t             open_readers;
extern ngx_uint_t             block_output;
extern ngx_uint_t             not_ready;
extern ngx_uint_t             timeouts_set;
extern ngx_msec_t             last_timeout;
extern ngx_uint_t             disk_full;
extern ngx_smtp_reader_t     *waiting_reader;
extern ngx_smtp_relay_t      *relay;
extern ngx_pool_t            *pool;
extern ngx_smtp_relay_conf_t  rcf;
extern ngx_smtp_queue_conf_t  qcf;
extern ngx_smtp_store_conf_t  scf;
extern time_t                 retry[2];
extern test_message_t         messages[TEST_MESSAGES];
extern ngx_uint_t             nmessages;


/* Has the store heard just this since the last look? */
#define assert_journal(text)                                                  \
    do {                                                                      \
        assert_string_equal(journal, text);                                   \
        journal[0] = '\0';                                                    \
    } while (0)


int scene_setup(void **state);
int scene_teardown(void **state);

/* a committed message with n recipients, as strings */
test_message_t *scene_submit(const char *sender, const char *body, int n,
    ...);

/* runs posted events until there are none */
void scene_settle(void);

/* the i-th connection that was ever made */
test_peer_t *scene_peer(ngx_uint_t i);

/* the connection is there; the peer says text; it is lost */
void scene_connected(ngx_uint_t i);
void scene_say(ngx_uint_t i, const char *text);
void scene_lose(ngx_uint_t i, ngx_uint_t failure);

/* what was written to it since the last look */
const char *scene_heard(ngx_uint_t i);

/* what the waiting reader asked for is there */
void scene_read(void);

/* connects, greets, and answers EHLO */
void scene_open_session(ngx_uint_t i, const char *ehlo);


#endif /* _RELAY_SCENE_H_INCLUDED_ */
