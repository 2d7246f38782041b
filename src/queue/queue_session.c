/*
 * queue_session.c - see queue_session.h.
 */
#include "queue/queue_session.h"

#include "base/base.h"
#include "db/db.h"
#include "queue/queue_schema.h"

/*
 * Sequential scans off: an empty or freshly emptied set of the ring must never be planned as one. Generic plans: the
 * statements are made for one plan each. JIT costs more than these statements. Keepalives: the server must soon notice that a
 * node is gone, for its locks.
 */
#define COMMON                                                                                     \
	"-c search_path=pg_catalog -c timezone=UTC -c client_min_messages=warning -c jit=off "     \
	"-c synchronous_commit=on "                                                                \
	"-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
#define PATIENT " -c idle_in_transaction_session_timeout=30s"
/* Shorter than any lease: a scheduler that stands still in a transaction must not keep others from what it has locked. */
#define BRISK   " -c idle_in_transaction_session_timeout=2s"
#define HOT     " -c enable_seqscan=off -c plan_cache_mode=force_generic_plan -c statement_timeout=30s"

const char *
queue_session_options(enum queue_session s)
{
	switch (s) {
	case QUEUE_SESSION_FRONT:
		return COMMON PATIENT HOT " -c lock_timeout=5s";
	case QUEUE_SESSION_SCHEDULER:
		/* No outcome waits longer than this for somebody's lock (rule 5a.13). */
		return COMMON BRISK HOT " -c lock_timeout=200ms";
	case QUEUE_SESSION_OPERATOR:
		return COMMON PATIENT " -c statement_timeout=5min -c lock_timeout=5s";
	case QUEUE_SESSION_OWNER:
		return COMMON PATIENT " -c lock_timeout=60s";
	}
	UNREACHED();
}

const char *
queue_session_role(enum queue_session s)
{
	switch (s) {
	case QUEUE_SESSION_FRONT:
		return "rowpost_front";
	case QUEUE_SESSION_SCHEDULER:
		return "rowpost_scheduler";
	case QUEUE_SESSION_OPERATOR:
		return "rowpost_operator";
	case QUEUE_SESSION_OWNER:
		return NULL;
	}
	UNREACHED();
}

void
queue_session_settings(enum queue_session s, struct db_settings *ret)
{
	ret->role = queue_session_role(s);
	ret->options = queue_session_options(s);
	ret->on_connect = queue_schema_check;
}
