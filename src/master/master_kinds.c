/*
 * master_kinds.c - see master_kinds.h.
 */
#include "master/master_kinds.h"

#include <string.h>

/* clang-format off */
static const struct master_kind kinds[] = {
	/* command            program     runs as            processes       listens           vital */
	{ "smtpd",           "smtpd",    SERVICE_FRONT_END, MASTER_FRONT,   MASTER_LINE,      true  },
	{ "qmqpd",           "qmqpd",    SERVICE_FRONT_END, MASTER_FRONT,   MASTER_LINE,      true  },
	{ "pickup",          "pickup",   SERVICE_FRONT_END, MASTER_ONE,     MASTER_LINE,      true  },
	{ "qmgr",            "qmgr",     SERVICE_SCHEDULER, MASTER_ONE,     MASTER_SCHEDULER, true  },
	{ "oqmgr",           "qmgr",     SERVICE_SCHEDULER, MASTER_ONE,     MASTER_SCHEDULER, true  },
	{ "nqmgr",           "qmgr",     SERVICE_SCHEDULER, MASTER_ONE,     MASTER_SCHEDULER, true  },
	{ "smtp",            "smtp",     SERVICE_AGENT,     MASTER_AGENT,   MASTER_NOTHING,   true  },
	{ "lmtp",            "lmtp",     SERVICE_AGENT,     MASTER_AGENT,   MASTER_NOTHING,   true  },
	{ "local",           "local",    SERVICE_ROOT,      MASTER_ONE,     MASTER_NOTHING,   true  },
	{ "virtual",         "virtual",  SERVICE_ROOT,      MASTER_ONE,     MASTER_NOTHING,   true  },
	{ "pipe",            "pipe",     SERVICE_ROOT,      MASTER_ONE,     MASTER_NOTHING,   true  },
	{ "proxymap",        "proxymap", SERVICE_FRONT_END, MASTER_RENEWED, MASTER_LINE,      true  },
	{ "spawn",           "spawn",    SERVICE_ROOT,      MASTER_ONE,     MASTER_LINE,      true  },
	{ "postscreen",      "postscreen", SERVICE_FRONT_END, MASTER_ONE,   MASTER_LINE,      true  },
	{ "console",         "console",  SERVICE_CONSOLE,   MASTER_ONE,     MASTER_NOTHING,   false },
	{ "error",           NULL,       SERVICE_SCHEDULER, MASTER_BUILTIN, MASTER_NOTHING,   false },
	{ "discard",         NULL,       SERVICE_SCHEDULER, MASTER_BUILTIN, MASTER_NOTHING,   false },
	{ "cleanup",         NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   false },
	{ "trivial-rewrite", NULL,       SERVICE_SCHEDULER, MASTER_BUILTIN, MASTER_NOTHING,   false },
	{ "bounce",          NULL,       SERVICE_SCHEDULER, MASTER_BUILTIN, MASTER_NOTHING,   false },
	{ "verify",          NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   false },
	{ "flush",           NULL,       SERVICE_SCHEDULER, MASTER_BUILTIN, MASTER_NOTHING,   false },
	{ "anvil",           NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   false },
	{ "showq",           NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   false },
	{ "tlsmgr",          NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   false },
	{ "tlsproxy",        NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   false },
	{ "dnsblog",         NULL,       SERVICE_FRONT_END, MASTER_BUILTIN, MASTER_NOTHING,   false },
	{ "scache",          NULL,       SERVICE_AGENT,     MASTER_BUILTIN, MASTER_NOTHING,   false },
	{ "postlogd",        NULL,       SERVICE_ROOT,      MASTER_BUILTIN, MASTER_NOTHING,   false },
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
