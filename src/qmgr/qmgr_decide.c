/*
 * qmgr_decide.c - see qmgr_decide.h.
 */
#include "qmgr/qmgr_decide.h"

#include "mail/mail_retry.h"
#include "qmgr/qmgr_outcome.h"

struct qmgr_rules
qmgr_decide_rules(const struct conf *conf)
{
	int64_t lifetime = conf_time(conf, CONF_maximal_queue_lifetime);

	return (struct qmgr_rules){
	    .lifetime = lifetime,
	    .bounce_lifetime = MIN(lifetime, conf_time(conf, CONF_bounce_queue_lifetime)),
	    .warning = conf_time(conf, CONF_delay_warning_time),
	    .backoff_min = conf_time(conf, CONF_minimal_backoff_time),
	    .backoff_max = conf_time(conf, CONF_maximal_backoff_time),
	    .soft_bounce = conf_bool(conf, CONF_soft_bounce),
	    .confirm = conf_bool(conf, CONF_confirm_delay_cleared),
	};
}

static int64_t
qmgr_decide_lifetime(const struct qmgr_rules *rules, const struct queue_result *r)
{
	return r->envelope->sender[0] != '\0' ? rules->lifetime : rules->bounce_lifetime;
}

/* Deferred once more, or too late for that? */
static void
qmgr_decide_deferred(const struct qmgr_rules *rules, struct queue_result *r)
{
	int64_t arrival = r->envelope->arrival;
	int64_t lifetime = qmgr_decide_lifetime(rules, r);

	r->expires_at = arrival + lifetime;
	r->warn_at =
	    rules->warning > 0 && r->envelope->sender[0] != '\0' ? arrival + rules->warning : 0;
	if (mail_retry_is_expired(r->at, arrival, lifetime)) {
		r->outcome = QUEUE_EXPIRED;
		r->notify = QUEUE_NOTIFY_FAILURE;
		r->action = "failed";
		return;
	}
	r->outcome = QUEUE_DEFERRED;
	r->next_attempt =
	    r->at + mail_retry_delay(r->at, arrival, rules->backoff_min, rules->backoff_max);
}

/* Who is told: RFC 3461 section 5.2; without NOTIFY only failures are reported. */
static unsigned
qmgr_decide_notify(const struct queue_result *r)
{
	unsigned wanted = r->rcpt->dsn_notify;

	if (r->outcome == QUEUE_BOUNCED || r->outcome == QUEUE_EXPIRED)
		return wanted == 0 || (wanted & QUEUE_NOTIFY_FAILURE) != 0 ? QUEUE_NOTIFY_FAILURE
									   : 0;
	if (r->outcome == QUEUE_SENT || r->outcome == QUEUE_DISCARDED)
		return wanted & QUEUE_NOTIFY_SUCCESS;
	return 0;
}

/* Was its sender warned of a delay? By the age that it had before this attempt; there is no other note of it. */
static bool
qmgr_decide_was_warned(const struct qmgr_rules *rules, const struct queue_result *r)
{
	unsigned wanted = r->rcpt->dsn_notify;

	return rules->warning > 0 && r->envelope->sender[0] != '\0' && r->rcpt->attempts > 0 &&
	       r->at - r->envelope->arrival > rules->warning &&
	       (wanted == 0 || (wanted & QUEUE_NOTIFY_DELAY) != 0);
}

/* An operator's order instead of another attempt. True when it decides. */
static bool
qmgr_decide_order(const struct qmgr_rules *rules, enum queue_verb order, struct queue_result *r)
{
	r->no_attempt = true;
	r->expires_at = r->envelope->arrival + qmgr_decide_lifetime(rules, r);
	switch (order) {
	case QUEUE_VERB_HOLD:
		r->outcome = QUEUE_HELD;
		return true;
	case QUEUE_VERB_DELETE:
		r->outcome = QUEUE_DELETED;
		return true;
	case QUEUE_VERB_REQUEUE:
		r->outcome = QUEUE_DEFERRED;
		r->next_attempt = r->at;
		return true;
	case QUEUE_VERB_RELEASE:
	case QUEUE_VERB_EXPIRE:
	case QUEUE_VERB_BOUNCE:
	case QUEUE_VERB_FLUSH:
		break;
	}
	r->no_attempt = false;
	return false;
}

void
qmgr_decide(const struct qmgr_rules *rules, enum queue_verb order, const struct qmgr_outcome *o,
    struct queue_result *r)
{
	if (o->order != 0)
		order = o->order;
	r->action = "failed";
	if (order != 0 && o->status == DELIVERY_DEFERRED && qmgr_decide_order(rules, order, r)) {
		r->notify = qmgr_decide_notify(r);
		return;
	}
	/* Not "sent": that would be a fact which outlives its report when the lease is lost. */
	if (rules->probe) {
		r->outcome = QUEUE_DISCARDED;
		return;
	}
	switch (o->status) {
	case DELIVERY_SENT:
		r->outcome = o->discarded ? QUEUE_DISCARDED : QUEUE_SENT;
		r->action = o->final || o->discarded ? "delivered" : "relayed";
		break;
	case DELIVERY_BOUNCED:
		if (rules->soft_bounce) {
			qmgr_decide_deferred(rules, r);
			break;
		}
		r->outcome = QUEUE_BOUNCED;
		r->expires_at = r->envelope->arrival + qmgr_decide_lifetime(rules, r);
		break;
	case DELIVERY_DEFERRED:
	case DELIVERY_UNTRIED:
	case DELIVERY_PASSED:
		qmgr_decide_deferred(rules, r);
		r->no_attempt = o->destination_dead;
		break;
	}
	r->notify = qmgr_decide_notify(r);
	if (o->passed_on)
		r->notify &= ~QUEUE_NOTIFY_SUCCESS;
	/* Whoever was warned hears that it went well after all. */
	if (rules->confirm && r->outcome == QUEUE_SENT && qmgr_decide_was_warned(rules, r))
		r->notify = QUEUE_NOTIFY_SUCCESS;
	if (o->told && r->outcome == QUEUE_BOUNCED)
		r->notify = 0;
}
