/*
 * local.h - delivery to users of this host, local(8), as a service of master: what src/cmd/local.c starts.
 */
#ifndef MAILBOX_LOCAL_H
#define MAILBOX_LOCAL_H

#include "agent/agent.h"

extern const struct agent_kind local_agent_kind;

#endif
