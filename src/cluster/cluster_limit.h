/*
 * cluster_limit.h - limits over all nodes: how many deliveries to one destination run at once in the whole cluster. Each
 * node that has mail for it holds a block of the slots; the blocks together are never more than the limit, whoever is
 * dead or cut off: a dead node's block is given out only when its deliveries have ended for sure. Nodes that want
 * more than there is get the same number; what is left goes round.
 *
 * The rule for the caller: from the moment in which it tells `used` until it knows the answer it starts nothing, and
 * then it runs no more than `slots`, and only while its lease lasts (cluster_node_may_deliver()). After an
 * error it keeps to `used`.
 */
#ifndef CLUSTER_CLUSTER_LIMIT_H
#define CLUSTER_CLUSTER_LIMIT_H

#include "base/base.h"
#include "base/err.h"
#include "db/db.h"

struct cluster_limit {
	const char *name; /* of what is limited: "transport:nexthop" */
	int32_t limit;    /* in the whole cluster, above 0 */
	int32_t used;     /* by us, at this moment */
	int32_t want;     /* that we would run, those included; 0: we are done with it */
	int32_t slots;    /* the answer */
};

/*
 * Asks for all of `list` in one transaction; to be called once a second for what is in use. `epoch`: of our node; `grace`: how
 * long after a node's death its agents may still deliver, us. False: the database is away, or the epoch is dead (ERR_GONE).
 * Waits.
 */
bool cluster_limit_lease(struct db_conn *c, int64_t epoch, int64_t grace,
    struct cluster_limit *list, size_t count, int64_t deadline, struct err *err) MUST_CHECK;

#endif
