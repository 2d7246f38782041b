/*
 * qmgr_claim.c - see qmgr_claim.h.
 */
#include "qmgr/qmgr_claim.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_log.h"
#include "qmgr/qmgr_doubt.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_message.h"
#include "qmgr/qmgr_order.h"
#include "qmgr/qmgr_outcome.h"
#include "qmgr/qmgr_schedule.h"
#include "qmgr/qmgr_transport.h"
#include "queue/queue_expire.h"
#include "queue/queue_keeper.h"

/* After trouble with the database. */
#define QMGR_CLAIM_RETRY   (200 * CLOCK_MILLI)
#define QMGR_UPKEEP_TIME   CLOCK_SECOND
/*
 * Leases of dead nodes are looked for this often without a reason: a claim that was on its way when its node was declared dead may
 * commit behind the takeover.
 */
#define QMGR_TAKEOVER_TIME (3 * CLOCK_SECOND)

static int64_t
qmgr_statement_deadline(const struct qmgr *q)
{
	return clock_deadline(conf_time(q->service->conf, CONF_queue_database_timeout));
}

/* Everything a claim brought becomes messages of ours. */
static size_t
qmgr_claim_take(struct qmgr *q, struct queue_claims *claims)
{
	size_t count = claims->count;

	for (size_t i = 0; i < count; i++) {
		struct queue_claimed *claimed = claims->items[i];

		claims->items[i] = NULL;
		qmgr_message_take(q, claimed);
	}
	queue_claims_done(claims);
	qmgr_schedule_run(q);
	return count;
}

typedef bool qmgr_claim_fn(struct queue_desk *d, const struct queue_budget *budget,
    int64_t deadline, struct queue_claims *ret, struct err *err);

/* When the next claim makes sense: not while there is no room or no lease. */
static int64_t
qmgr_claim_when(struct qmgr *q, qmgr_claim_fn *claim, int64_t (*due)(const struct queue_desk *d))
{
	struct queue_budget budget;
	bool room = qmgr_message_budget(q, claim == queue_claim_deferred, &budget);

	q->claim_blocked |= !room;
	if (!room || !cluster_node_may_claim(q->node))
		return clock_deadline(QMGR_CLAIM_RETRY);
	return due(q->desk);
}

static bool
qmgr_claim_once(struct qmgr *q, qmgr_claim_fn *claim, struct err *err)
{
	struct queue_claims claims = {0};
	struct queue_budget budget;

	if (!cluster_node_may_claim(q->node) ||
	    !qmgr_message_budget(q, claim == queue_claim_deferred, &budget))
		return true;
	q->claim_blocked = false;
	CRASH_POINT("claim-before");
	if (!claim(q->desk, &budget, qmgr_statement_deadline(q), &claims, err))
		return false;
	CRASH_POINT("claim-after");
	/* Deferred mail may be due because an operator flushed it: then no destination counts as dead any more. */
	if (claims.count != 0 && claim == queue_claim_deferred && q->dead_destinations != 0)
		qmgr_order_run(q);
	(void)qmgr_claim_take(q, &claims);
	return true;
}

/* Claims again and again, when it is time; a poke, or room, makes it look at the time anew. */
static void
qmgr_claim_loop(struct qmgr *q, qmgr_claim_fn *claim, int64_t (*due)(const struct queue_desk *d))
{
	int64_t not_before = 0;
	struct err err;

	while (!q->stopping) {
		int64_t next = MAX(qmgr_claim_when(q, claim, due), not_before);

		if (next > clock_mono_us()) {
			if (task_cond_wait(&q->claim_wanted, next) == TASK_CANCELLED)
				return;
			continue;
		}
		if (qmgr_claim_once(q, claim, &err))
			continue;
		qmgr_trouble(q, &err);
		not_before = clock_deadline(QMGR_CLAIM_RETRY);
	}
}

void
qmgr_claim_incoming_task(void *arg)
{
	qmgr_claim_loop(arg, queue_claim_incoming, queue_claim_incoming_due);
}

void
qmgr_claim_deferred_task(void *arg)
{
	qmgr_claim_loop(arg, queue_claim_deferred, queue_claim_deferred_due);
}

/* What agents of ours may have delivered stays in our hands until they report. */
static bool
qmgr_claim_adopt(struct qmgr *q)
{
	struct queue_claims claims = {0};
	int64_t *msg_ids;
	int32_t *rcpt_nos;
	size_t count = qmgr_doubt_list(q, &msg_ids, &rcpt_nos);
	struct err err;
	bool ok = count == 0 || queue_claim_adopt(q->desk, msg_ids, rcpt_nos, count,
				    qmgr_statement_deadline(q), &claims, &err);

	mem_free(msg_ids);
	mem_free(rcpt_nos);
	if (!ok)
		qmgr_trouble(q, &err);
	(void)qmgr_claim_take(q, &claims);
	return ok;
}

void
qmgr_claim_takeover(struct qmgr *q)
{
	bool more = true;

	if (clock_mono_us() < q->takeover_after || !cluster_node_may_claim(q->node) ||
	    !qmgr_claim_adopt(q))
		return; /* the upkeep comes back to it */
	while (more && !q->stopping) {
		struct queue_claims claims = {0};
		struct queue_budget budget;
		struct err err;

		if (!cluster_node_may_claim(q->node) || !qmgr_message_budget(q, false, &budget))
			return; /* the upkeep comes back to it */
		if (!queue_claim_takeover(
			q->desk, &budget, qmgr_statement_deadline(q), &claims, &more, &err)) {
			qmgr_trouble(q, &err);
			return;
		}
		CRASH_POINT("takeover-after");
		if (qmgr_claim_take(q, &claims) == 0 && !more)
			q->takeover_wanted = false;
	}
}

bool
qmgr_claim_reread(struct qmgr *q)
{
	struct queue_claims claims = {0};
	struct err err;

	if (!queue_claim_reread(q->desk, qmgr_statement_deadline(q), &claims, &err)) {
		qmgr_trouble(q, &err);
		return false;
	}
	(void)qmgr_claim_take(q, &claims);
	return true;
}

static void
qmgr_on_expired(void *arg UNUSED, int64_t msg_id, const char *sender, bool forced)
{
	struct buf line CLEANUP(buf_done) = {0};
	char queue_id[MAIL_QUEUE_ID_SIZE];

	mail_queue_id_format(msg_id, queue_id);
	mail_log_expired(&line, queue_id, sender, forced);
	log_info("%s", buf_str(&line));
}

static void
qmgr_on_removed(void *arg UNUSED, int64_t msg_id)
{
	struct buf line CLEANUP(buf_done) = {0};
	char queue_id[MAIL_QUEUE_ID_SIZE];

	mail_queue_id_format(msg_id, queue_id);
	mail_log_removed(&line, queue_id);
	log_info("%s", buf_str(&line));
}

static void
qmgr_claim_expire(struct qmgr *q)
{
	const struct queue_expiry how = {
	    .on_expired = qmgr_on_expired, .on_removed = qmgr_on_removed};
	bool more = true;
	struct err err;

	while (more && !q->stopping) {
		if (!queue_expire_run(q->desk, &how, qmgr_statement_deadline(q), &more, &err))
			return qmgr_trouble(q, &err);
		CRASH_POINT("expire-after");
	}
}

void
qmgr_claim_upkeep_task(void *arg)
{
	struct qmgr *q = arg;
	int64_t takeover_at = 0;
	struct err err;

	while (!q->stopping) {
		qmgr_schedule_tick(q);
		if (cluster_node_may_claim(q->node)) {
			if (!queue_keeper_run(q->desk, qmgr_statement_deadline(q), &err))
				qmgr_trouble(q, &err);
			if (!queue_claim_promote_stragglers(
				q->desk, qmgr_statement_deadline(q), &err))
				qmgr_trouble(q, &err);
			qmgr_claim_expire(q);
			qmgr_order_run(q);
		}
		if (q->takeover_wanted || clock_mono_us() >= takeover_at) {
			qmgr_claim_takeover(q);
			takeover_at = clock_deadline(QMGR_TAKEOVER_TIME);
		}
		qmgr_transport_sweep(q);
		qmgr_schedule_run(q);
		if (task_cond_wait(&q->upkeep_wanted, clock_deadline(QMGR_UPKEEP_TIME)) ==
		    TASK_CANCELLED)
			return;
	}
}
