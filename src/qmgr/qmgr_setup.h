/*
 * qmgr_setup.h - what the scheduler compiles from one configuration: how addresses are routed, how notices look. Counted: whoever
 * waits in it, for a table, keeps it over a reload.
 */
#ifndef QMGR_QMGR_SETUP_H
#define QMGR_QMGR_SETUP_H

#include "bounce/bounce.h"
#include "conf/conf.h"
#include "rewrite/rewrite.h"

struct qmgr;

struct qmgr_setup {
	int refs;
	struct conf *conf;             /* counted */
	struct rewrite *rewrite;       /* owned */
	struct bounce_settings bounce; /* owned; points into `conf` */
};

/* From the present configuration. */
bool qmgr_setup_new(struct qmgr *q, struct qmgr_setup **ret, struct err *err) MUST_CHECK;

struct qmgr_setup *qmgr_setup_ref(struct qmgr_setup *setup);

/* Accepts NULL. */
void qmgr_setup_unref(struct qmgr_setup **setup);

#endif
