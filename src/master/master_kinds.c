/*
 * master_kinds.c - see master_kinds.h.
 */
#include "master/master_kinds.h"

#include <string.h>

/* clang-format off */
static const struct master_kind kinds[] = {
	/* command            program     runs as            processes       listens           shelf            vital */
	{ "smtpd",           "smtpd",    SERVICE_FRONT_END, MASTER_FRONT,   MASTER_LINE,      MASTER_PUTS,     true  },
	{ "qmqpd",           "qmqpd",    SERVICE_FRONT_END, MASTER_FRONT,   MASTER_LINE,      MASTER_PUTS,     true  },
	{ "pickup",          "pickup",   SERVICE_FRONT_END, MASTER_ONE,     MASTER_LINE,      MASTER_PUTS,     true  },
	{ "qmgr",            "qmgr",     SERVICE_SCHEDULER, MASTER_ONE,     MASTER_SCHEDULER, MASTER_TAKES,    true  },
	{ "oqmgr",           "qmgr",     SERVICE_SCHEDULER, MASTER_ONE,     MASTER_SCHEDULER, MASTER_TAKES,    true  },
	{ "nqmgr",           "qmgr",     SERVICE_SCHEDULER, MASTER_ONE,     MASTER_SCHEDULER, MASTER_TAKES,    true  },
	{ "smtp",            "smtp",     SERVICE_AGENT,     MASTER_AGENT,   MASTER_NOTHING,   MASTER_TAKES,    true  },
	{ "lmtp",            "lmtp",     SERVICE_AGENT,     MASTER_AGENT,   MASTER_NOTHING,   MASTER_TAKES,    true  },
	{ "local",           "local",    SERVICE_ROOT,      MASTER_ONE,     MASTER_NOTHING,   MASTER_TAKES,    true  },
	{ "virtual",         "virtual",  SERVICE_ROOT,      MASTER_ONE,     MASTER_NOTHING,   MASTER_TAKES,    true  },
	{ "pipe",            "pipe",     SERVICE_ROOT,      MASTER_ONE,     MASTER_NOTHING,   MASTER_TAKES,    true  },
	{ "proxymap",        "proxymap", SERVICE_FRONT_END, MASTER_RENEWED, MASTER_LINE,      MASTER_NO_SHELF, true  },
	{ "spawn",           "spawn",    SERVICE_ROOT,      MASTER_ONE,     MASTER_LINE,      MASTER_NO_SHELF, true  },
	{ "postscreen",      "postscreen", SERVICE_FRONT_END, MASTER_ONE,   MASTER_LINE,      MASTER_NO_SHELF, true  },
	{ "console",         "console",  SERVICE_CONSOLE,   MASTER_ONE,     MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "error",           NULL,       SERVICE_SCHEDULER, MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "discard",         NULL,       SERVICE_SCHEDULER, MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "cleanup",         NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "trivial-rewrite", NULL,       SERVICE_SCHEDULER, MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "bounce",          NULL,       SERVICE_SCHEDULER, MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "verify",          NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "flush",           NULL,       SERVICE_SCHEDULER, MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "anvil",           NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "showq",           NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "tlsmgr",          NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "tlsproxy",        NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "dnsblog",         NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "scache",          NULL,       SERVICE_AGENT,     MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
	{ "postlogd",        NULL,       SERVICE_ROOT,      MASTER_BUILTIN, MASTER_NOTHING,   MASTER_NO_SHELF, false },
};
/* clang-format on */

const struct master_kind *
master_kind_find(const char *command)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(kinds[i].command, command) == 0)
			return &kinds[i];
	return NULL;
}

const struct master_kind *
master_kind_at(size_t i)
{
	return i < ARRAY_LEN(kinds) ? &kinds[i] : NULL;
}
