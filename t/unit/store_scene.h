
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * A scene of three workers, one after the other, on a disk of powerloss.h,
 * with everything in it that the store can do to a spool: accept, deliver,
 * defer, hold and release, the four kinds of reports, a large body, a log
 * that breaks and is written anew, sealing, leaving (with mail that comes
 * meanwhile), adoption, an answer that is outstanding at exit, removal.
 *
 * The scene keeps what the store was asked and what it told, each with its
 * place in the trace, so that any disk made from the trace can be judged:
 *
 * Another life, of two workers, has a segment that is compacted, with events
 * in between: scene.renew.
 *
 *   scene_setup();  scene_play(&scene);  power_stop();
 *   power_make(scene_disk, n, mode, seed);
 *   scene_judge(&scene, n, mode, workers);
 *   scene_teardown(&scene);
 */


#ifndef _NGX_SMTP_STORE_SCENE_H_INCLUDED_
#define _NGX_SMTP_STORE_SCENE_H_INCLUDED_


#include "store_env.h"
#include "powerloss.h"


#define SCENE_MAILS     14
#define SCENE_LARGE     2           /* this one has a large body */
#define SCENE_MANY      5           /* this one has 70 recipients */
#define SCENE_BIG       6           /* of the life with a compaction */
#define SCENE_FACTS     128

#define SCENE_SEGMENT   8192
#define SCENE_NEVER     ((ngx_uint_t) -1)


typedef enum {
    scene_final = 0,        /* arg: recipient */
    scene_deferred,         /* arg: until */
    scene_hold,
    scene_release,
    scene_report,           /* arg: number; arg2: kind */
    scene_reported,         /* arg: number */
    scene_double,           /* arg: number */
    scene_done
} scene_fact_e;


typedef struct {
    scene_fact_e        kind;
    ngx_uint_t          mail;
    uint64_t            arg;
    ngx_uint_t          arg2;
    ngx_uint_t          given;      /* calls before: may be on the disk */
    ngx_uint_t          told;       /* calls after: the kernel has it */
    ngx_msec_t          time;       /* of told */
} scene_fact_t;


typedef struct {
    env_mail_t          mail[SCENE_MAILS];
    ngx_uint_t          given[SCENE_MAILS];
    ngx_uint_t          told[SCENE_MAILS];      /* of the answer */
    scene_fact_t        facts[SCENE_FACTS];
    ngx_uint_t          nfacts;
    ngx_uint_t          renew;      /* the life with a compaction */
    ngx_uint_t          faults;     /* calls may fail: fewer promises */
    ngx_uint_t          again;      /* refused mail may come back: logged */
    ngx_uint_t          doubtful;   /* events could not be written: logged */
    const char         *what;       /* for messages */
    char                found[8192];    /* what the last judgment saw */
    ngx_uint_t          looked;     /* calls when it was seen */
} scene_t;


/* the scene is played in one folder, disks are made in others */
extern char  scene_path[64], scene_disk[64], scene_disk2[64];

int scene_setup(void **state);
int scene_teardown(void **state);

/* bytes of content of a mail */
size_t scene_size(scene_t *s, ngx_uint_t i);

/* the whole life, under power_start() */
void scene_play(scene_t *s);

/*
 * Starts so many workers (1 or 2) on env_path, looks at all they found, and
 * lets them leave.  Fails unless everything is as it has to be after the n-th
 * call; power: that was a loss of power, else the processes were killed.
 * found is set: two states are equal when these texts are.
 */
void scene_judge(scene_t *s, ngx_uint_t n, ngx_uint_t power,
    ngx_uint_t workers);

/* only looks, and sets found */
void scene_look(scene_t *s, ngx_uint_t workers);


#endif /* _NGX_SMTP_STORE_SCENE_H_INCLUDED_ */
