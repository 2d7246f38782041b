/*
 * lmtp.h - the LMTP client as a service of master: what src/cmd/lmtp.c starts. It is the SMTP client with LHLO and a reply
 * per recipient.
 */
#ifndef CLIENT_LMTP_H
#define CLIENT_LMTP_H

#include "agent/agent.h"

extern const struct agent_kind lmtp_agent_kind;

#endif
