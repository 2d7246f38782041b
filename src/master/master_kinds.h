/*
 * master_kinds.h - the one table of what a command in master.cf means here: which program it is, as whom it runs, how
 * many processes, or that another part of Rowpost does its work.
 */
#ifndef MASTER_MASTER_KINDS_H
#define MASTER_MASTER_KINDS_H

#include "base/base.h"
#include "service/service_privilege.h"

/* How many processes a line of master.cf gets. */
enum master_spread {
	MASTER_BUILTIN, /* none: another part does its work; the line is accepted */
	MASTER_ONE,
	MASTER_RENEWED, /* one, which a reload replaces: it reads at start what its user may not read later */
	MASTER_FRONT, /* smtpd_processes, sessions shared among them */
	MASTER_AGENT, /* smtp_agent_processes, slots shared among them */
};

/* What a service listens on. */
enum master_listens {
	MASTER_NOTHING,
	MASTER_LINE,      /* what its line says */
	MASTER_SCHEDULER, /* its line, and private/qmgr for the agents */
};

/* What it does with the shelf of contents (service/shelf.h). */
enum master_shelf {
	MASTER_NO_SHELF,
	MASTER_PUTS,
	MASTER_TAKES,
};

struct master_kind {
	const char *command; /* first word of the command column */
	const char *program;
	enum service_privilege privilege;
	enum master_spread spread;
	enum master_listens listens;
	enum master_shelf shelf;
	bool vital; /* `start` fails when it does not come up */
};

/* NULL: no such kind. */
const struct master_kind *master_kind_find(const char *command);

/* Row by row, for tests and documentation; NULL at the end. */
const struct master_kind *master_kind_at(size_t i);

#endif
