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
#include "qmgr/qmgr_shard.h"
#include "queue/queue_expire.h"
#include "queue/queue_keeper.h"
#include "service/shelf.h"

/* After trouble with the database. */
#define QMGR_CLAIM_RETRY   (200 * CLOCK_MILLI)
#define QMGR_UPKEEP_TIME   CLOCK_SECOND
/*
 * Leases of dead nodes are looked for this often without a reason: a claim that was on its way when its node was declared dead may
 * commit behind the takeover.
 */
#define QMGR_TAKEOVER_TIME (3 * CLOCK_SECOND)

static int64_t
qmgr_statement_deadline(const struct qmgr_shard *s)
{
	return clock_deadline(conf_time(s->qmgr->service->conf, CONF_queue_database_timeout));
}

/* Everything a claim brought becomes messages of ours. */
static size_t
qmgr_claim_take(struct qmgr_shard *s, struct queue_claims *claims)
{
	size_t count = claims->count;

	for (size_t i = 0; i < count; i++) {
		struct queue_claimed *claimed = claims->items[i];

		claims->items[i] = NULL;
		qmgr_message_take(s, claimed);
	}
	queue_claims_done(claims);
	qmgr_schedule_run(s->qmgr);
	return count;
}

typedef bool qmgr_claim_fn(struct queue_desk *d, const struct queue_budget *budget,
    int64_t deadline, struct queue_claims *ret, struct err *err);

/* When the next claim makes sense: not while there is no room or no lease. */
static int64_t
qmgr_claim_when(
    struct qmgr_shard *s, qmgr_claim_fn *claim, int64_t (*due)(const struct queue_desk *d))
{
	struct queue_budget budget;
	bool room = qmgr_message_budget(s, claim == queue_claim_deferred, &budget);

	s->claim_blocked |= !room;
	if (!room || !cluster_node_may_claim(s->node))
		return clock_deadline(QMGR_CLAIM_RETRY);
	return due(s->desk);
}

/*
 * Deferred mail may be due because an operator flushed it: then no destination counts as dead any more, and defer_transports does not
 * hold it back. Does that make a difference?
 */
static bool
qmgr_claim_heeds_flush(const struct qmgr *q)
{
	return q->dead_destinations != 0 ||
	       *conf_str(q->service->conf, CONF_defer_transports) != '\0';
}

static bool
qmgr_claim_once(struct qmgr_shard *s, qmgr_claim_fn *claim, struct err *err)
{
	struct queue_claims claims = {0};
	struct queue_budget budget;
	struct buf numbers CLEANUP(buf_done) = {0};

	if (!cluster_node_may_claim(s->node) ||
	    !qmgr_message_budget(s, claim == queue_claim_deferred, &budget))
		return true;
	shelf_holds(s->qmgr->service->shelf, &budget.elsewhere_from, &numbers);
	budget.elsewhere_size = SHELF_LEAST;
	budget.elsewhere = buf_span(&numbers);
	s->claim_blocked = false;
	CRASH_POINT("claim-before");
	if (!claim(s->desk, &budget, qmgr_statement_deadline(s), &claims, err))
		return false;
	CRASH_POINT("claim-after");
	if (claims.count != 0 && claim == queue_claim_deferred && qmgr_claim_heeds_flush(s->qmgr))
		qmgr_order_run(s);
	(void)qmgr_claim_take(s, &claims);
	return true;
}

/* Claims again and again, when it is time; a poke, or room, makes it look at the time anew. */
static void
qmgr_claim_loop(
    struct qmgr_shard *s, qmgr_claim_fn *claim, int64_t (*due)(const struct queue_desk *d))
{
	int64_t not_before = 0;
	struct err err;

	while (!s->qmgr->stopping) {
		int64_t next = MAX(qmgr_claim_when(s, claim, due), not_before);

		if (next > clock_mono_us()) {
			if (task_cond_wait(&s->claim_wanted, next) == TASK_CANCELLED)
				return;
			continue;
		}
		if (qmgr_claim_once(s, claim, &err))
			continue;
		qmgr_shard_trouble(s, &err);
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

/*
 * What agents of ours may have delivered stays in our hands until they report; what they have delivered comes into them, for nobody else
 * knows of it.
 */
static bool
qmgr_claim_adopt(struct qmgr_shard *s)
{
	const struct qmgr *q = s->qmgr;
	size_t most = q->doubts.count + q->facts_by_key.count;
	int64_t *msg_ids = mem_alloc(most * sizeof(*msg_ids));
	int32_t *rcpt_nos = mem_alloc(most * sizeof(*rcpt_nos));
	size_t count = qmgr_doubt_list(q, msg_ids, rcpt_nos);
	struct queue_claims claims = {0};
	struct err err;
	bool ok;

	count += qmgr_outcome_list_known(q, msg_ids + count, rcpt_nos + count);
	ok = count == 0 || queue_claim_adopt(s->desk, msg_ids, rcpt_nos, count,
			       qmgr_statement_deadline(s), &claims, &err);
	mem_free(msg_ids);
	mem_free(rcpt_nos);
	if (!ok)
		qmgr_shard_trouble(s, &err);
	(void)qmgr_claim_take(s, &claims);
	return ok;
}

void
qmgr_claim_takeover(struct qmgr_shard *s)
{
	bool more = true;

	if (clock_mono_us() < s->qmgr->takeover_after || !cluster_node_may_claim(s->node) ||
	    !qmgr_claim_adopt(s))
		return; /* the upkeep comes back to it */
	while (more && !s->qmgr->stopping) {
		struct queue_claims claims = {0};
		struct queue_budget budget;
		struct err err;

		if (!cluster_node_may_claim(s->node) || !qmgr_message_budget(s, false, &budget))
			return; /* the upkeep comes back to it */
		if (!queue_claim_takeover(
			s->desk, &budget, qmgr_statement_deadline(s), &claims, &more, &err)) {
			qmgr_shard_trouble(s, &err);
			return;
		}
		CRASH_POINT("takeover-after");
		if (qmgr_claim_take(s, &claims) == 0 && !more)
			s->takeover_wanted = false;
	}
}

bool
qmgr_claim_reread(struct qmgr_shard *s)
{
	struct queue_claims claims = {0};
	struct err err;

	if (!queue_claim_reread(s->desk, qmgr_statement_deadline(s), &claims, &err)) {
		qmgr_shard_trouble(s, &err);
		return false;
	}
	(void)qmgr_claim_take(s, &claims);
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
qmgr_claim_expire(struct qmgr_shard *s)
{
	const struct queue_expiry how = {
	    .on_expired = qmgr_on_expired, .on_removed = qmgr_on_removed};
	bool more = true;
	struct err err;

	while (more && !s->qmgr->stopping) {
		if (!queue_expire_run(s->desk, &how, qmgr_statement_deadline(s), &more, &err))
			return qmgr_shard_trouble(s, &err);
		CRASH_POINT("expire-after");
	}
}

void
qmgr_claim_upkeep_task(void *arg)
{
	struct qmgr_shard *s = arg;
	int64_t takeover_at = 0;
	struct err err;

	while (!s->qmgr->stopping) {
		if (cluster_node_may_claim(s->node)) {
			if (!queue_keeper_run(s->desk, qmgr_statement_deadline(s), &err))
				qmgr_shard_trouble(s, &err);
			if (!queue_claim_promote_stragglers(
				s->desk, qmgr_statement_deadline(s), &err))
				qmgr_shard_trouble(s, &err);
			qmgr_claim_expire(s);
			qmgr_order_run(s);
		}
		if (s->takeover_wanted || clock_mono_us() >= takeover_at) {
			qmgr_claim_takeover(s);
			takeover_at = clock_deadline(QMGR_TAKEOVER_TIME);
		}
		qmgr_schedule_run(s->qmgr);
		if (task_cond_wait(&s->upkeep_wanted, clock_deadline(QMGR_UPKEEP_TIME)) ==
		    TASK_CANCELLED)
			return;
	}
}
