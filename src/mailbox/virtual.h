/*
 * virtual.h - the virtual mailbox agent, virtual(8), as a service of master: what src/cmd/virtual.c starts.
 */
#ifndef MAILBOX_VIRTUAL_H
#define MAILBOX_VIRTUAL_H

#include "agent/agent.h"

extern const struct agent_kind virtual_agent_kind;

#endif
