/*
 * qmgr_setup.c - see qmgr_setup.h.
 */
#include "qmgr/qmgr_setup.h"

#include "base/mem.h"
#include "qmgr/qmgr_cleanup.h"
#include "qmgr/qmgr_int.h"

bool
qmgr_setup_new(struct qmgr *q, struct qmgr_setup **ret, struct err *err)
{
	struct conf *conf = q->service->conf;
	struct rewrite *rewrite;
	struct qmgr_setup *setup;

	if (!rewrite_new(conf, &rewrite, err))
		return false;
	setup = mem_new(struct qmgr_setup);
	setup->refs = 1;
	setup->conf = conf_ref(conf);
	setup->rewrite = rewrite;
	setup->bounce = bounce_settings_from(conf);
	setup->bounce.cleanup = qmgr_cleanup_bounce;
	setup->bounce.cleanup_arg = q;
	*ret = setup;
	return true;
}

struct qmgr_setup *
qmgr_setup_ref(struct qmgr_setup *setup)
{
	setup->refs++;
	return setup;
}

void
qmgr_setup_unref(struct qmgr_setup **setup)
{
	struct qmgr_setup *old = *setup;

	*setup = NULL;
	if (old == NULL || --old->refs > 0)
		return;
	rewrite_free(&old->rewrite);
	bounce_settings_done(&old->bounce);
	conf_unref(&old->conf);
	mem_free(old);
}
