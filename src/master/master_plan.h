/*
 * master_plan.h - what master.cf and main.cf ask for, worked out: which programs with which arguments, how many processes,
 * how many slots each, which sockets. Starts and binds nothing, so that a reload can compare the new plan with the
 * running one before it touches anything.
 */
#ifndef MASTER_MASTER_PLAN_H
#define MASTER_MASTER_PLAN_H

#include <sys/socket.h>
#include <sys/types.h>

#include "base/base.h"
#include "base/err.h"
#include "conf/conf.h"
#include "conf/conf_check.h"
#include "conf/master_cf.h"
#include "master/master_kinds.h"

/* A socket to listen on. Two wants with the same key are the same socket. */
struct master_want {
	char *key; /* owned; "inet:127.0.0.1:25", "inet:[::]:25", "unix:private/qmgr" */
	int family;
	struct sockaddr_storage addr; /* inet */
	bool
	    wildcard; /* all interfaces of a family that the kernel may lack: failing is no error then */
	/* unix: owner and mode of the file; ids that do not exist yet are -1 */
	uid_t uid;
	gid_t gid;
	unsigned mode;
};

struct master_plan_service {
	char *name; /* owned; columns 1 and 2 of master.cf: together the identity */
	char *type; /* owned */
	const struct master_kind *kind;
	char *program; /* owned; path to execute */
	size_t processes;
	size_t slots; /* of all processes together */
	int verbose;
	struct conf_override *overrides; /* owned, texts too */
	size_t override_count;
	char **args; /* owned, texts too: without options and outer braces */
	size_t arg_count;
	struct master_want *wants; /* owned */
	size_t want_count;
	/*
	 * All that makes a running process of the service differ from a freshly started one, in one text: when it
	 * changes, the processes are replaced. Owned.
	 */
	char *fingerprint;
};

/* A line of master.cf that does not mean all it says: not started, and why; a column without effect. */
struct master_note {
	char *text; /* owned; "service bounce: built in, no process needed" */
	int line;
	/* CONF_ERROR: `rowpost check` fails, start goes on without the service, as Postfix does. */
	enum conf_severity severity;
};

struct master_plan {
	struct master_plan_service *services; /* owned; what is to run */
	size_t count;
	struct master_note *notes; /* owned */
	size_t note_count;
};

struct master_plan_source {
	const struct conf *conf;
	const struct master_cf *services;
	const char *program_dir;
	size_t cpus;
};

/*
 * False with ERR_CONFIG "FILE: line N: ..." for an address that cannot be understood or an inet service without program.
 * Blocks in the resolver for host names in addresses.
 */
bool master_plan_make(
    const struct master_plan_source *source, struct master_plan *ret, struct err *err) MUST_CHECK;

void master_plan_done(struct master_plan *plan);

/* The service with this identity, or NULL. */
const struct master_plan_service *master_plan_find(
    const struct master_plan *plan, const char *name, const char *type);

/* The share of process `instance` of `slots`; the first ones get what does not divide. */
size_t master_plan_share(size_t slots, size_t processes, size_t instance);

#endif
