/*
 * master_listen.h - the listening sockets of all services. They outlive the processes that use them: a service that
 * restarts, or is replaced by a reload, finds its connections waiting in the kernel.
 */
#ifndef MASTER_MASTER_LISTEN_H
#define MASTER_MASTER_LISTEN_H

#include "base/base.h"
#include "base/err.h"
#include "master/master_plan.h"

struct master_socket;

struct master_sockets {
	struct master_socket *list; /* owned */
	size_t count;
};

/*
 * Opens what `plan` wants and the set does not have. On failure (ERR_TEMP when the address is in use, else ERR_CONFIG)
 * the set is as before. UNIX sockets are made relative to the working directory, which is queue_directory.
 */
bool master_sockets_open(
    struct master_sockets *set, const struct master_plan *plan, struct err *err) MUST_CHECK;

/* Closes what no service of `plan` (NULL: no plan) wants. */
void master_sockets_close(struct master_sockets *set, const struct master_plan *plan);

/* The descriptor for `key`; -1 for a wildcard of a family that the kernel does not have. */
int master_sockets_fd(const struct master_sockets *set, const char *key);

#endif
