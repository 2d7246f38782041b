/*
 * qmgr_cleanup.h - what cleanup makes of mail that comes into being in the scheduler, bounces and forwarded mail: tables change its
 * recipients and header addresses; header and body checks see it where internal_mail_filter_classes says so.
 */
#ifndef QMGR_QMGR_CLEANUP_H
#define QMGR_QMGR_CLEANUP_H

#include "base/arena.h"
#include "base/err.h"
#include "queue/queue_types.h"

struct conf;
struct qmgr;

struct qmgr_cleanup_way {
	bool checks; /* header and body checks look at it */
	bool local;  /* its headers are rewritten and completed as those of local mail */
};

/*
 * Changes `m`, whose id is its own by now; texts are in `arena`. False: it cannot be told (a table is away, a check refuses it), and `m`
 * is as it was. A message that a check discards has no recipients afterwards. May wait for tables.
 */
bool qmgr_cleanup_run(struct conf *conf, const struct qmgr_cleanup_way *way,
    struct queue_message *m, struct arena *arena, struct err *err) MUST_CHECK;

/* Does nothing want to look at mail of ours, so that qmgr_cleanup_run() need not be asked? */
bool qmgr_cleanup_is_idle(struct conf *conf);

/* bounce_settings.cleanup; `arg`: struct qmgr. */
bool qmgr_cleanup_bounce(void *arg, struct queue_message *m, struct arena *arena);

#endif
