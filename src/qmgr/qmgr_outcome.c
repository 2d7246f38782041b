/*
 * qmgr_outcome.c - see qmgr_outcome.h. What follows from an outcome is decided in qmgr_decide.c.
 */
#include "qmgr/qmgr_outcome.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_log.h"
#include "qmgr/qmgr_decide.h"
#include "qmgr/qmgr_doubt.h"
#include "qmgr/qmgr_forward.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_message.h"
#include "qmgr/qmgr_order.h"
#include "qmgr/qmgr_receipt.h"
#include "qmgr/qmgr_schedule.h"
#include "qmgr/qmgr_shard.h"
#include "qmgr/qmgr_trace.h"

/* Facts from agents about messages that nobody here holds: forgotten after this long, or when there are too many. */
#define QMGR_FACT_LIFE (600 * CLOCK_SECOND)
#define QMGR_FACT_MAX  100000

/*
 * Outcomes that wait are second copies if we lose the lease: there may be so many batches of them, and no answer from the database for
 * this part of a lease, before nothing more is handed out.
 */
#define QMGR_BEHIND_BATCHES 4
#define QMGR_BEHIND_PART    10

/* Pause before outcomes that could not be stored are tried again. */
#define QMGR_RECORD_RETRY (200 * CLOCK_MILLI)

/* A result on its way to the database, with everything it points to. */
struct qmgr_record {
	struct list node; /* in shard->records */
	struct queue_result result;
	struct qmgr_message *message;
	char *texts;                  /* owned: the strings of `result` */
	struct arena *arena;          /* owned: its forwards; NULL: none */
	struct qmgr_receipt *receipt; /* a reference; NULL: none */
};

struct qmgr_fact_key {
	int64_t msg_id;
	int64_t rcpt_no;
};

struct qmgr_fact {
	struct list node; /* in qmgr->facts, oldest first */
	struct qmgr_fact_key key;
	int64_t until; /* mono us */
	struct delivery_outcome outcome;
	char *bytes;                  /* owned: what `outcome` points to */
	struct qmgr_receipt *receipt; /* a reference; NULL: none */
};

/* ---- gathering ---- */

static const char *
qmgr_keep(char **at, const char *text)
{
	const char *kept = *at;
	size_t len = text != NULL ? strlen(text) : 0;

	if (text == NULL)
		return NULL;
	memcpy(*at, text, len + 1);
	*at += len + 1;
	return kept;
}

static size_t
qmgr_kept_size(const char *text)
{
	return text != NULL ? strlen(text) + 1 : 0;
}

/* Copies the texts of an outcome into one block that lives as long as the record. */
static void
qmgr_record_texts(struct qmgr_record *rec, const struct qmgr_outcome *o)
{
	size_t size = sizeof(o->dsn) + qmgr_kept_size(o->text) + qmgr_kept_size(o->relay) +
		      qmgr_kept_size(o->transport) + qmgr_kept_size(o->nexthop) +
		      qmgr_kept_size(o->remote_mta) + qmgr_kept_size(o->diagnostic);
	char *at = rec->texts = mem_alloc(size);

	rec->result.dsn = qmgr_keep(&at, o->dsn);
	rec->result.text = qmgr_keep(&at, o->text);
	rec->result.relay = qmgr_keep(&at, o->relay);
	rec->result.transport = qmgr_keep(&at, o->transport);
	rec->result.nexthop = qmgr_keep(&at, o->nexthop);
	rec->result.remote_mta = qmgr_keep(&at, o->remote_mta);
	rec->result.diagnostic = qmgr_keep(&at, o->diagnostic);
}

static void
qmgr_log_delivery(const struct qmgr_message *m, const struct queue_rcpt *rcpt,
    const struct qmgr_outcome *o, int64_t now)
{
	static const char *const names[] = {[DELIVERY_SENT] = "sent",
	    [DELIVERY_DEFERRED] = "deferred",
	    [DELIVERY_BOUNCED] = "bounced"};
	struct buf line CLEANUP(buf_done) = {0};
	const struct mail_log_delivery d = {
	    .queue_id = m->queue_id,
	    .recipient = rcpt->addr,
	    .orig_recipient = rcpt->orig_addr,
	    .relay = o->relay,
	    .times = {.arrival = m->envelope->arrival,
		.active = m->activated,
		.handed = now,
		.done = now},
	    .dsn = o->dsn,
	    .status = m->probe ? delivery_probe_word(o->status) : names[o->status],
	    .text = span_str(o->text),
	};

	mail_log_delivery(&line, &d);
	log_info_as(o->program, "%s", buf_str(&line));
}

void
qmgr_outcome_add(
    struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, const struct qmgr_outcome *o)
{
	struct qmgr_rules rules = qmgr_decide_rules(q->service->conf);
	enum queue_verb order = qmgr_order_of(m, m->envelope->rcpts[rcpt].rcpt_no);
	struct qmgr_record *rec = mem_new(struct qmgr_record);

	rec->message = m;
	rec->result.lease = m->claimed->lease;
	rec->result.envelope = m->envelope;
	rec->result.rcpt = &m->envelope->rcpts[rcpt];
	rec->result.at = clock_real_us();
	qmgr_record_texts(rec, o);
	rules.probe = m->probe;
	qmgr_decide(&rules, order, o, &rec->result);
	m->notified |= rec->result.notify != 0;
	rec->arena = o->arena;
	rec->receipt = o->receipt;
	/* What is tried again will be expanded again. */
	if (rec->result.outcome == QUEUE_SENT || rec->result.outcome == QUEUE_BOUNCED ||
	    (m->probe && !rec->result.no_attempt)) {
		rec->result.forwards = o->forwards;
		rec->result.forward_count = o->forward_count;
		rec->result.notices = o->notices;
		rec->result.notice_count = o->notice_count;
	}
	if (m->probe)
		qmgr_trace_add_probe(o, &rec->result, &rec->arena);
	else
		qmgr_trace_add(m, &rec->result, &rec->arena);
	m->notified |= rec->result.notice_count != 0;
	if (o->program != NULL)
		qmgr_log_delivery(m, rec->result.rcpt, o, rec->result.at);
	if (rec->result.outcome == QUEUE_EXPIRED)
		qmgr_message_log_expired(m);
	MUST(m->undecided > 0);
	m->undecided--;
	list_add(&m->shard->records, &rec->node);
	if (m->shard->record_count++ == 0)
		m->shard->record_since = clock_mono_us();
	task_cond_wake_one(&m->shard->record_wanted);
}

/* ---- recording ---- */

static void
qmgr_record_free(struct qmgr_shard *s, struct qmgr_record *rec)
{
	list_remove(&rec->node);
	s->record_count--;
	if (rec->arena != NULL)
		arena_done(rec->arena);
	mem_free(rec->arena);
	qmgr_receipt_drop(&rec->receipt);
	mem_free(rec->texts);
	mem_free(rec);
}

/* A stored outcome is forgotten; the message with its last one (I3). */
static void
qmgr_record_settled(struct qmgr_shard *s, struct qmgr_record *rec)
{
	struct qmgr_message *m = rec->message;
	bool stored = rec->result.recorded == QUEUE_RECORD_STORED;

	if (rec->result.recorded == QUEUE_RECORD_FENCED)
		cluster_node_suspect(s->node);
	if (rec->result.outcome == QUEUE_DEFERRED || rec->result.outcome == QUEUE_HELD || !stored)
		m->stays = true;
	qmgr_record_free(s, rec);
	qmgr_message_settled(s->qmgr, m);
}

/* Records up to a batch from the front of the list; false: nothing could be stored. */
static bool
qmgr_record_batch(struct qmgr_shard *s, struct err *err)
{
	size_t limit = conf_size(s->qmgr->service->conf, CONF_queue_result_batch_limit);
	struct queue_result **results = mem_alloc(limit * sizeof(struct queue_result *));
	struct qmgr_record **records = mem_alloc(limit * sizeof(struct qmgr_record *));
	size_t count = 0;
	bool ok;

	LIST_FOREACH (rec, &s->records, struct qmgr_record, node) {
		if (count == limit)
			break;
		rec->result.recorded = QUEUE_RECORD_NOT_YET;
		rec->message->in_batch++;
		records[count] = rec;
		results[count++] = &rec->result;
	}
	/* `last`: with this batch nothing of the message is left in our hands, so its bounce is complete. */
	for (size_t i = 0; i < count; i++)
		records[i]->result.last = qmgr_message_is_last(records[i]->message);
	/* A bounce that waits for the last outcome is composed with it, were this a plain one otherwise. */
	for (size_t i = 0; i < count; i++)
		records[i]->result.notified =
		    records[i]->result.last && qmgr_message_is_notified(records[i]->message);
	for (size_t i = 0; i < count; i++)
		records[i]->message->in_batch = 0;
	CRASH_POINT("record-before");
	ok = queue_record_flush(s->desk, results, count,
	    clock_deadline(conf_time(s->qmgr->service->conf, CONF_queue_database_timeout)), err);
	CRASH_POINT("record-after");
	/* It answered, were it about rows that somebody has locked. */
	if (ok)
		s->record_since = clock_mono_us();
	for (size_t i = 0; i < count; i++) {
		if (records[i]->result.recorded != QUEUE_RECORD_NOT_YET) {
			qmgr_record_settled(s, records[i]);
			continue;
		}
		/* Behind the others: a locked row must not keep them waiting. */
		ok = false;
		list_remove(&records[i]->node);
		list_add(&s->records, &records[i]->node);
	}
	mem_free(results);
	mem_free(records);
	return ok;
}

void
qmgr_outcome_task(void *arg)
{
	struct qmgr_shard *s = arg;
	struct err err;

	/* Also while we leave: deliveries under way still report. The end of the process ends it. */
	for (;;) {
		if (s->record_count == 0) {
			if (task_cond_wait(&s->record_wanted, CLOCK_NEVER) == TASK_CANCELLED)
				return;
			continue;
		}
		if (task_lock_take(&s->record_lock, CLOCK_NEVER) != TASK_READY)
			return;
		err_clear(&err);
		bool ok = s->record_count == 0 || qmgr_record_batch(s, &err);

		task_lock_give(&s->record_lock);
		task_cond_wake_all(&s->qmgr->record_done);
		qmgr_shard_recorded(s);
		if (!ok && err.kind != ERR_NONE)
			qmgr_shard_trouble(s, &err);
		if (!ok && task_sleep_until(clock_deadline(QMGR_RECORD_RETRY)) == TASK_CANCELLED)
			return;
	}
}

bool
qmgr_outcome_pending(const struct qmgr *q)
{
	for (size_t i = 0; i < q->shard_count; i++)
		if (q->shards[i]->record_count != 0)
			return true;
	return false;
}

bool
qmgr_outcome_is_behind(const struct qmgr_shard *s)
{
	const struct conf *conf = s->qmgr->service->conf;

	if (s->record_count == 0)
		return false;
	return s->record_count >=
		   QMGR_BEHIND_BATCHES * conf_size(conf, CONF_queue_result_batch_limit) ||
	       clock_mono_us() - s->record_since >
		   conf_time(conf, CONF_node_lease_time) / QMGR_BEHIND_PART;
}

bool
qmgr_outcome_flush(struct qmgr_shard *s)
{
	struct err err;
	bool ok = true;

	if (task_lock_take(&s->record_lock, CLOCK_NEVER) != TASK_READY)
		return false;
	for (size_t rounds = s->record_count; ok && s->record_count != 0 && rounds > 0; rounds--)
		ok = qmgr_record_batch(s, &err);
	task_lock_give(&s->record_lock);
	return ok;
}

/* ---- from agents ---- */

/* Without the place it was delivered to. */
static void
qmgr_outcome_of_report(const struct delivery_outcome *in, struct qmgr_outcome *ret)
{
	*ret = (struct qmgr_outcome){
	    .status = in->status,
	    .final = in->final,
	    .passed_on = in->passed_on,
	    .text = span_dup(in->text),
	    .relay = span_dup(in->relay),
	    .remote_mta = span_dup(in->remote_mta),
	    .diagnostic = span_dup(in->diagnostic),
	};
	(void)snprintf(ret->dsn, sizeof(ret->dsn), "%.*s", SPAN_ARG(in->dsn));
}

void
qmgr_outcome_from_agent(
    const struct sched_entry *e, const struct delivery_outcome *in, struct qmgr_outcome *ret)
{
	qmgr_outcome_of_report(in, ret);
	ret->transport = e->destination->transport->name;
	ret->nexthop = e->destination->nexthop;
}

void
qmgr_outcome_done(struct qmgr_outcome *o)
{
	mem_free((void *)(uintptr_t)o->text);
	mem_free((void *)(uintptr_t)o->relay);
	mem_free((void *)(uintptr_t)o->remote_mta);
	mem_free((void *)(uintptr_t)o->diagnostic);
}

/* Already out of the map, or never in it. */
static void
qmgr_fact_free(struct qmgr_fact *f)
{
	list_remove(&f->node);
	qmgr_receipt_drop(&f->receipt);
	mem_free(f->bytes);
	mem_free(f);
}

static struct span
qmgr_fact_keep(char **at, struct span text)
{
	struct span kept = span_of(*at, text.len);

	if (text.len != 0)
		memcpy(*at, text.ptr, text.len);
	(*at)[text.len] = '\0';
	*at += text.len + 1;
	return kept;
}

static void
qmgr_fact_copy(struct qmgr_fact *f, const struct delivery_outcome *o)
{
	const struct span *from[] = {&o->dsn, &o->text, &o->relay, &o->remote_mta, &o->diagnostic,
	    &o->reply_status, &o->forwards};
	struct span *to[] = {&f->outcome.dsn, &f->outcome.text, &f->outcome.relay,
	    &f->outcome.remote_mta, &f->outcome.diagnostic, &f->outcome.reply_status,
	    &f->outcome.forwards};
	size_t size = 0;
	char *at;

	for (size_t i = 0; i < ARRAY_LEN(from); i++)
		size += from[i]->len + 1;
	f->outcome = *o;
	at = f->bytes = mem_alloc(size);
	for (size_t i = 0; i < ARRAY_LEN(from); i++)
		*to[i] = qmgr_fact_keep(&at, *from[i]);
}

static void
qmgr_fact_add(
    struct qmgr *q, int64_t msg_id, const struct delivery_outcome *o, struct qmgr_receipt *receipt)
{
	struct qmgr_fact *f = mem_new(struct qmgr_fact);
	struct qmgr_fact *oldest;

	f->key = (struct qmgr_fact_key){msg_id, o->rcpt_no};
	f->until = clock_deadline(QMGR_FACT_LIFE);
	f->receipt = qmgr_receipt_ref(receipt);
	qmgr_fact_copy(f, o);
	list_add(&q->facts, &f->node);
	oldest = hmap_put(&q->facts_by_key, HMAP_KEY(f->key), f);
	if (oldest != NULL)
		qmgr_fact_free(oldest);
	oldest = LIST_FIRST(&q->facts, struct qmgr_fact, node);
	if (q->facts_by_key.count <= QMGR_FACT_MAX && oldest->until >= clock_mono_us())
		return;
	(void)hmap_remove(&q->facts_by_key, HMAP_KEY(oldest->key));
	qmgr_fact_free(oldest);
}

/* Where a recipient goes that was delivered, or not, without our asking: as if it were asked for now. */
static void
qmgr_outcome_add_resolved(
    struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, struct qmgr_outcome *o)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct rewrite_route route;

	qmgr_schedule_route(q, m, rcpt, &arena, &route);
	o->transport = route.transport;
	o->nexthop = route.nexthop;
	qmgr_outcome_add(q, m, rcpt, o);
}

void
qmgr_outcome_unreported(
    struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, const char *transport, const char *why)
{
	struct qmgr_outcome o = {
	    .status = DELIVERY_DEFERRED,
	    .dsn = "4.3.0",
	    .text = why,
	    .relay = "none",
	    .program = transport,
	};

	qmgr_outcome_add_resolved(q, m, rcpt, &o);
}

/* A local agent's report that is more than an outcome. */
static bool
qmgr_outcome_is_forward(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt,
    const struct delivery_outcome *in, struct qmgr_receipt *receipt)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct rewrite_route route;

	qmgr_schedule_route(q, m, rcpt, &arena, &route);
	return qmgr_forward_takes(q, m, rcpt, in, route.transport, route.nexthop, receipt);
}

/* A report to another scheduler, about a recipient that is here now. */
static void
qmgr_outcome_inherit(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt,
    const struct delivery_outcome *in, struct qmgr_receipt *receipt)
{
	struct qmgr_outcome o;

	if (in->status == DELIVERY_UNTRIED)
		return qmgr_order_rcpt_untried(q, m, rcpt);
	if (qmgr_outcome_is_forward(q, m, rcpt, in, receipt))
		return;
	qmgr_outcome_of_report(in, &o);
	o.receipt = qmgr_receipt_ref(receipt);
	qmgr_outcome_add_resolved(q, m, rcpt, &o);
	qmgr_outcome_done(&o);
}

void
qmgr_outcome_of_stranger(
    struct qmgr *q, const struct delivery_result *result, struct qmgr_receipt *receipt)
{
	struct qmgr_message *older;

	for (size_t i = 0; i < result->outcome_count; i++) {
		const struct delivery_outcome *o = &result->outcomes[i];
		struct qmgr_message *held;
		uint32_t rcpt;

		/* What else was to come of it is lost: it must be done again as a whole. */
		bool sent = o->status == DELIVERY_SENT && !result->partly;

		if (!qmgr_doubt_end(q, result->msg_id, o->rcpt_no, &held, &rcpt)) {
			if (sent)
				qmgr_fact_add(q, result->msg_id, o, receipt);
		} else if (sent || o->status != DELIVERY_SENT) {
			qmgr_outcome_inherit(q, held, rcpt, o, receipt);
		} else {
			qmgr_order_rcpt_untried(q, held, rcpt);
		}
	}
	/* Recipients that wait in this process already are taken out of their line. */
	for (struct qmgr_message *m = qmgr_message_find(q, result->msg_id); m != NULL; m = older) {
		older = m->older;
		qmgr_schedule_recheck(q, m);
	}
}

bool
qmgr_outcome_known(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt)
{
	struct qmgr_fact_key key = {m->envelope->msg_id, m->envelope->rcpts[rcpt].rcpt_no};
	struct qmgr_fact *f;

	if (q->facts_by_key.count == 0)
		return false;
	f = hmap_remove(&q->facts_by_key, HMAP_KEY(key));
	if (f == NULL)
		return false;
	qmgr_outcome_inherit(q, m, rcpt, &f->outcome, f->receipt);
	CRASH_POINT("outcome-inherited");
	qmgr_fact_free(f);
	return true;
}

size_t
qmgr_outcome_list_known(const struct qmgr *q, int64_t *ret_msg_ids, int32_t *ret_rcpt_nos)
{
	size_t count = 0;

	LIST_FOREACH (f, &q->facts, struct qmgr_fact, node) {
		ret_msg_ids[count] = f->key.msg_id;
		ret_rcpt_nos[count++] = (int32_t)f->key.rcpt_no;
	}
	return count;
}
