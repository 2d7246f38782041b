/*
 * qmgr_forward.c - see qmgr_forward.h. A recipient that is passed on keeps what else comes of it in memory until the other transport
 * has an outcome for it: only then does it happen. If it is deferred, or this process dies, the local agent is asked again.
 */
#include "qmgr/qmgr_forward.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bounce/bounce.h"
#include "mail/mail_addr.h"
#include "mail/mail_log.h"
#include "mail/mail_received.h"
#include "qmgr/qmgr_cleanup.h"
#include "qmgr/qmgr_content.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_message.h"
#include "qmgr/qmgr_outcome.h"
#include "qmgr/qmgr_receipt.h"
#include "qmgr/qmgr_schedule.h"
#include "service/delivery_forward.h"

/* New messages that one recipient may become. */
#define QMGR_FORWARD_MAX 1000
/* Notices about what one recipient expanded to; answers to a probe beyond these are only in the log. */
#define QMGR_ANSWERS_MAX 10000
/* Failures of one recipient that owners are told of, each by itself: of more the sender is told. */
#define QMGR_OWNED_MAX   100
/* Recipients that wait for another transport's outcome. */
#define QMGR_PASSED_MAX  100000

/* ---- passed on --------------------------------------------------------------------------------------------------- */

struct qmgr_passed_key {
	int64_t msg_id;
	int64_t rcpt_no;
};

/* What else comes of a recipient that `transport` is to deliver. */
struct qmgr_passed {
	struct qmgr_passed_key key;
	char *transport; /* owned */
	char *forwards;  /* owned */
};

static struct hmap qmgr_passed;

static void
qmgr_passed_free(struct qmgr_passed *p)
{
	if (p == NULL)
		return;
	mem_free(p->transport);
	mem_free(p->forwards);
	mem_free(p);
}

static struct qmgr_passed *
qmgr_passed_take(const struct qmgr_message *m, uint32_t rcpt)
{
	struct qmgr_passed_key key = {m->envelope->msg_id, m->envelope->rcpts[rcpt].rcpt_no};

	return qmgr_passed.count == 0 ? NULL : hmap_remove(&qmgr_passed, HMAP_KEY(key));
}

bool
qmgr_forward_waits(const struct qmgr_message *m, uint32_t rcpt)
{
	struct qmgr_passed_key key = {m->envelope->msg_id, m->envelope->rcpts[rcpt].rcpt_no};

	return qmgr_passed.count != 0 && hmap_get(&qmgr_passed, HMAP_KEY(key)) != NULL;
}

static void
qmgr_passed_keep(
    const struct qmgr_message *m, uint32_t rcpt, const char *transport, struct span forwards)
{
	struct qmgr_passed *p;

	if (forwards.len == 0)
		return;
	p = mem_new(struct qmgr_passed);
	p->key = (struct qmgr_passed_key){m->envelope->msg_id, m->envelope->rcpts[rcpt].rcpt_no};
	p->transport = mem_strdup(transport);
	p->forwards = span_dup(forwards);
	qmgr_passed_free(hmap_put(&qmgr_passed, HMAP_KEY(p->key), p));
}

/* "transport:nexthop" in the report. */
static void
qmgr_forward_pass(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt,
    const struct delivery_outcome *in, const char *from, const char *from_nexthop)
{
	size_t colon = span_find(in->text, ':');
	char *transport = span_dup(span_head(in->text, colon));
	char *nexthop = span_dup(span_from(in->text, colon + 1));

	if (transport[0] == '\0' || strcmp(transport, from) == 0 ||
	    qmgr_passed.count >= QMGR_PASSED_MAX) {
		const struct qmgr_outcome o = {
		    .status = DELIVERY_DEFERRED,
		    .dsn = "4.3.0",
		    .text = "cannot be passed on now",
		    .relay = "none",
		    .transport = from,
		    .nexthop = from_nexthop,
		    .program = from,
		};

		qmgr_outcome_add(q, m, rcpt, &o);
	} else {
		qmgr_passed_keep(m, rcpt, transport, in->forwards);
		qmgr_schedule_rcpt_to(q, m, rcpt, transport, nexthop);
	}
	mem_free(transport);
	mem_free(nexthop);
}

/* ---- new messages ------------------------------------------------------------------------------------------------ */

/* A failure that somebody else than the sender is told of. */
struct qmgr_owned {
	struct queue_notice notice;
	const char *owner;
	bool of_list;
};

struct qmgr_forward {
	struct qmgr *qmgr;
	struct qmgr_message *message; /* held */
	uint32_t rcpt;
	struct arena *arena; /* of all texts and messages; goes with the outcome */
	struct delivery_outcome report;
	struct qmgr_receipt *receipt; /* a reference; goes with the outcome */
	const char *transport;
	const char *nexthop;
	bool told;   /* a failure that the report gives is among those that the records tell of */
	bool failed; /* there were such records */
	struct queue_message *messages;
	size_t count;
	struct queue_rcpt
	    *rcpts; /* of all messages, in their order; owned until they are in the arena */
	size_t rcpt_count;
	size_t rcpt_room;
	struct queue_notice
	    *failures; /* that the sender is told of; last the notice of the expansion */
	size_t failure_count;
	bool
	    gathered; /* they wait for the other recipients of the message, for one report of all */
	struct qmgr_owned *owned; /* failures that list owners are told of, one report each */
	size_t owned_count;
	const char *expanded; /* action of a report about that; NULL: none */
};

/* ---- records ----------------------------------------------------------------------------------------------------- */

static void
qmgr_forward_count(struct span records, size_t *messages, size_t *failures, size_t *rcpts)
{
	struct delivery_forward_record record;
	enum delivery_forward_kind kind;

	*messages = *failures = *rcpts = 0;
	while ((kind = delivery_forward_next(&records, &record)) != DELIVERY_FORWARD_END &&
	       kind != DELIVERY_FORWARD_MALFORMED) {
		*messages += kind == DELIVERY_FORWARD_MESSAGE;
		*failures += kind == DELIVERY_FORWARD_FAILURE;
		*rcpts += kind == DELIVERY_FORWARD_RCPT;
	}
}

/* Does the header section say that the body is 8-bit? As cleanup sees it in new mail, whatever the client once said. */
static bool
qmgr_forward_is_8bit(struct span content)
{
	static const char name[] = "Content-Transfer-Encoding:";

	while (content.len != 0 && content.ptr[0] != '\n') {
		struct span line = span_head(content, span_find(content, '\n'));

		content = span_from(content, line.len + 1);
		if (span_starts_nocase(line, name))
			return span_equal_nocase_str(
			    span_trim(span_from(line, sizeof(name) - 1)), "8bit");
	}
	return false;
}

/* What the message said should become of itself is over; where it came from goes with it, as in Postfix. */
static struct queue_attr *
qmgr_forward_attrs_kept(
    const struct qmgr_forward *f, const char *const *dropped, struct queue_envelope *e)
{
	const struct queue_envelope *from = f->message->envelope;
	struct queue_attr *attrs = arena_alloc(f->arena, (from->attr_count + 1) * sizeof(*attrs));

	for (size_t i = 0; i < from->attr_count; i++) {
		bool keep = true;

		for (size_t k = 0; dropped[k] != NULL; k++)
			keep = keep && !span_equal_str(from->attrs[i].name, dropped[k]);
		if (keep)
			attrs[e->attr_count++] = from->attrs[i];
	}
	e->attrs = attrs;
	return attrs;
}

static void
qmgr_forward_attrs(const struct qmgr_forward *f, struct span content, struct queue_envelope *e)
{
	static const char *const dropped[] = {
	    "content_filter", "expanded", "encoding", "verp", "trace", NULL};
	struct queue_attr *attrs = qmgr_forward_attrs_kept(f, dropped, e);

	if (qmgr_forward_is_8bit(content))
		attrs[e->attr_count++] =
		    (struct queue_attr){SPAN_LIT("encoding"), SPAN_LIT("8bit")};
}

/* The same message, by another way. */
static void
qmgr_forward_attrs_as_is(const struct qmgr_forward *f, struct span pass, struct queue_envelope *e)
{
	static const char *const dropped[] = {"content_filter", "expanded", "trace", NULL};
	struct queue_attr *attrs = qmgr_forward_attrs_kept(f, dropped, e);

	attrs[e->attr_count++] =
	    (struct queue_attr){SPAN_LIT("content_filter"), span_str(arena_dup(f->arena, pass))};
}

/* With the headers that new mail gets. */
static struct span
qmgr_forward_content(
    const struct qmgr_forward *f, int64_t msg_id, struct span delivered, struct span content)
{
	const struct bounce_settings *s = &f->qmgr->setup->bounce;
	char id[MAIL_QUEUE_ID_SIZE];
	struct buf out = {0};
	char *copy;
	size_t len;

	mail_queue_id_format(msg_id, id);
	mail_received_write_internal(
	    &out, s->hostname, s->mail_name, id, clock_real_us() / CLOCK_SECOND);
	if (delivered.len != 0) {
		/* In lower case and as it is, as Postfix has it here. */
		buf_add_str(&out, "Delivered-To: ");
		buf_add_span(&out, delivered);
		mail_addr_fold(out.ptr + out.len - delivered.len, delivered.len);
		buf_add_char(&out, '\n');
	}
	buf_add_span(&out, content);
	len = out.len;
	copy = arena_dup(f->arena, buf_span(&out));
	buf_done(&out);
	return span_of(copy, len);
}

static bool
qmgr_forward_begin(struct qmgr_forward *f, const struct delivery_forward *from, struct span content,
    struct err *err)
{
	struct queue_message *m = &f->messages[f->count];

	if (!queue_desk_mint(f->message->shard->desk, &m->envelope.msg_id, err))
		return false;
	f->count++;
	m->envelope.sender = arena_dup(f->arena, from->sender);
	m->envelope.arrival = clock_real_us();
	if (from->pass.len != 0) {
		m->content = span_of(arena_dup(f->arena, content), content.len);
		qmgr_forward_attrs_as_is(f, from->pass, &m->envelope);
	} else {
		m->content = qmgr_forward_content(f, m->envelope.msg_id, from->delivered, content);
		qmgr_forward_attrs(f, content, &m->envelope);
	}
	m->envelope.size = m->content.len;
	return true;
}

static void
qmgr_forward_add_rcpt(
    struct qmgr_forward *f, const struct delivery_forward_rcpt *from, const char *addr)
{
	if (f->rcpt_count == f->rcpt_room) {
		f->rcpt_room = f->rcpt_room * 2 + 16;
		f->rcpts = mem_resize(f->rcpts, f->rcpt_room, sizeof(f->rcpts[0]));
	}
	f->rcpts[f->rcpt_count++] = (struct queue_rcpt){
	    .addr = addr,
	    .orig_addr = from->orig_addr.len != 0 ? arena_dup(f->arena, from->orig_addr) : NULL,
	    .dsn_orcpt = from->dsn_orcpt.len != 0 ? arena_dup(f->arena, from->dsn_orcpt) : NULL,
	    .dsn_notify = from->dsn_notify,
	};
	f->messages[f->count - 1].envelope.rcpt_count++;
}

static bool
qmgr_forward_rcpt(struct qmgr_forward *f, const struct delivery_forward_rcpt *from, struct err *err)
{
	if (f->count == 0)
		return err_set(err, ERR_TEMP, "4.3.0", "malformed forward");
	qmgr_forward_add_rcpt(f, from, arena_dup(f->arena, from->addr));
	return true;
}

/* New mail goes through cleanup; what is passed on as it is does not. May wait for tables. */
static bool
qmgr_forward_cleanup(struct qmgr_forward *f, struct err *err)
{
	const struct service *service = f->qmgr->service;
	const struct qmgr_cleanup_way way = {
	    .local = span_equal_str(
		queue_envelope_attr(f->message->envelope, "rewrite_context"), "local"),
	};

	for (size_t i = 0; i < f->count; i++) {
		struct queue_message *m = &f->messages[i];

		if (queue_envelope_attr(&m->envelope, "content_filter").len != 0)
			continue;
		if (qmgr_cleanup_is_idle(service->conf))
			bounce_log_id(m);
		else if (!qmgr_cleanup_run(service->conf, &way, m, f->arena, err))
			return false;
	}
	return true;
}

/* Each message gets its share of the recipients. */
static void
qmgr_forward_share(struct qmgr_forward *f)
{
	struct queue_rcpt *at = arena_alloc(f->arena, (f->rcpt_count + 1) * sizeof(*at));

	if (f->rcpt_count != 0)
		memcpy(at, f->rcpts, f->rcpt_count * sizeof(*at));
	mem_free(f->rcpts);
	f->rcpts = NULL;
	for (size_t i = 0; i < f->count; i++) {
		f->messages[i].envelope.rcpts = at;
		at += f->messages[i].envelope.rcpt_count;
	}
}

/* One of many notices about this recipient, told apart by a number that is no recipient's, in the order in which they came. */
static int32_t
qmgr_forward_number(const struct qmgr_forward *f)
{
	int32_t rcpt_no = f->message->envelope->rcpts[f->rcpt].rcpt_no;

	return INT32_MIN + rcpt_no * QMGR_ANSWERS_MAX + (int32_t)f->failure_count;
}

/* An answer to a probe. False: there are too many. */
static bool
qmgr_forward_answer(const struct qmgr_forward *f, struct queue_notice *n)
{
	bool good = n->dsn[0] == '2';

	if (!f->gathered)
		return false;
	n->rcpt_no = qmgr_forward_number(f);
	n->kind = QUEUE_NOTIFY_SUCCESS;
	n->action = delivery_probe_word(good ? DELIVERY_SENT : DELIVERY_BOUNCED);
	n->text = arena_printf(f->arena, "delivery via local: %s", n->text);
	return true;
}

static void
qmgr_forward_failure(struct qmgr_forward *f, const struct delivery_failure *from)
{
	const struct queue_rcpt *rcpt = &f->message->envelope->rcpts[f->rcpt];
	struct queue_notice n = {
	    .rcpt_no = rcpt->rcpt_no,
	    .kind = QUEUE_NOTIFY_FAILURE,
	    .action = "failed",
	    .addr = arena_dup(f->arena, from->addr),
	    .orig_addr = rcpt->orig_addr != NULL ? rcpt->orig_addr : rcpt->addr,
	    .dsn_orcpt = rcpt->dsn_orcpt,
	    .dsn_notify = rcpt->dsn_notify,
	    .dsn = arena_dup(f->arena, from->dsn),
	    .text = arena_dup(f->arena, from->text),
	    .remote_mta = "",
	    .diagnostic = arena_dup(f->arena, from->diagnostic),
	    .at = clock_real_us(),
	};

	f->failed = true;
	if (f->message->probe) {
		if (qmgr_forward_answer(f, &n))
			f->failures[f->failure_count++] = n;
		return;
	}
	if (from->of_list) {
		n.orig_addr = "";
		n.dsn_orcpt = NULL;
	}
	if (n.dsn_notify != 0 && (n.dsn_notify & QUEUE_NOTIFY_FAILURE) == 0)
		return;
	if (from->owner.len == 0 || f->owned_count == QMGR_OWNED_MAX) {
		if (f->gathered)
			n.rcpt_no = qmgr_forward_number(f);
		f->failures[f->failure_count++] = n;
		return;
	}
	f->owned[f->owned_count++] = (struct qmgr_owned){
	    .notice = n,
	    .owner = arena_dup(f->arena, from->owner),
	    .of_list = from->of_list,
	};
}

/* Turns the records into messages. */
static bool
qmgr_forward_records(struct qmgr_forward *f, struct span content, struct err *err)
{
	struct span records = f->report.forwards;
	struct delivery_forward_record record;

	for (;;) {
		switch (delivery_forward_next(&records, &record)) {
		case DELIVERY_FORWARD_MESSAGE:
			if (!qmgr_forward_begin(f, &record.message, content, err))
				return false;
			break;
		case DELIVERY_FORWARD_RCPT:
			if (!qmgr_forward_rcpt(f, &record.rcpt, err))
				return false;
			break;
		case DELIVERY_FORWARD_FAILURE:
			qmgr_forward_failure(f, &record.failure);
			break;
		case DELIVERY_FORWARD_EXPANDED:
			f->expanded = arena_dup(f->arena, record.action);
			break;
		case DELIVERY_FORWARD_END:
			return true;
		case DELIVERY_FORWARD_MALFORMED:
			return err_set(err, ERR_TEMP, "4.3.0", "malformed forward");
		}
	}
}

static bool
qmgr_forward_read(struct qmgr_forward *f, struct span content, struct err *err)
{
	size_t messages, failures, rcpts;
	bool ok;

	qmgr_forward_count(f->report.forwards, &messages, &failures, &rcpts);
	if (messages > QMGR_FORWARD_MAX)
		return err_set(err, ERR_TEMP, "4.3.0", "too many messages to forward");
	f->messages = arena_alloc(
	    f->arena, (messages + (QMGR_OWNED_MAX + 2) * QUEUE_COMPOSE_MAX) * sizeof(*f->messages));
	f->failures = arena_alloc(f->arena, (failures + 1) * sizeof(*f->failures));
	f->gathered = failures <= QMGR_ANSWERS_MAX &&
		      f->message->envelope->rcpts[f->rcpt].rcpt_no < INT32_MAX / QMGR_ANSWERS_MAX;
	f->owned = arena_alloc(f->arena, QMGR_OWNED_MAX * sizeof(*f->owned));
	ok = qmgr_forward_records(f, content, err);
	qmgr_forward_share(f);
	return ok && qmgr_forward_cleanup(f, err);
}

/* A report of failures to the sender, or to an owner. */
static bool
qmgr_forward_tell(struct qmgr_forward *f, struct span content,
    const struct queue_envelope *envelope, const char *owner, const struct queue_notice *notices,
    size_t count, struct err *err)
{
	size_t limit = f->qmgr->setup->bounce.size_limit;
	struct qmgr_setup *setup;
	int64_t ids[QUEUE_COMPOSE_MAX];
	const struct queue_bounce b = {
	    .envelope = envelope,
	    .content = span_head(content, limit),
	    .content_is_all = content.len <= limit,
	    .kind = QUEUE_NOTIFY_FAILURE,
	    .owner = owner,
	    .notices = notices,
	    .notice_count = count,
	};

	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		if (!queue_desk_mint(f->message->shard->desk, &ids[i], err))
			return false;
	setup = qmgr_setup_ref(f->qmgr->setup);
	f->count += bounce_compose(
	    &setup->bounce, &b, ids, f->messages + f->count, QUEUE_COMPOSE_MAX, f->arena);
	qmgr_setup_unref(&setup);
	return true;
}

/* The owner of a list knows nothing of how the sender wants his reports. */
static bool
qmgr_forward_tell_owner(
    struct qmgr_forward *f, struct span content, const struct qmgr_owned *o, struct err *err)
{
	static const char *const dropped[] = {"envid", "ret", NULL};
	struct queue_envelope plain = *f->message->envelope;

	if (o->of_list) {
		plain.attr_count = 0;
		(void)qmgr_forward_attrs_kept(f, dropped, &plain);
	}
	return qmgr_forward_tell(f, content, &plain, o->owner, &o->notice, 1, err);
}

/* Failures of addresses that the recipient expanded to. */
static bool
qmgr_forward_reports(struct qmgr_forward *f, struct span content, struct err *err)
{
	if (f->message->probe)
		return true;
	for (size_t i = 0; i < f->owned_count; i++)
		if (!qmgr_forward_tell_owner(f, content, &f->owned[i], err))
			return false;
	return f->gathered || f->failure_count == 0 ||
	       qmgr_forward_tell(
		   f, content, f->message->envelope, NULL, f->failures, f->failure_count, err);
}

/* That it was expanded goes into one report with what else succeeded. */
static struct queue_notice
qmgr_forward_expanded(const struct qmgr_forward *f)
{
	const struct queue_rcpt *rcpt = &f->message->envelope->rcpts[f->rcpt];

	return (struct queue_notice){
	    .rcpt_no = rcpt->rcpt_no,
	    .kind = QUEUE_NOTIFY_SUCCESS,
	    .action = f->expanded,
	    .addr = rcpt->addr,
	    .orig_addr = rcpt->orig_addr,
	    .dsn_orcpt = rcpt->dsn_orcpt,
	    .dsn_notify = rcpt->dsn_notify,
	    .dsn = "2.0.0",
	    .text = "delivery via local: alias expanded",
	    .at = clock_real_us(),
	};
}

/* What goes with the outcome of the recipient. */
static void
qmgr_forward_notices(struct qmgr_forward *f, struct qmgr_outcome *o)
{
	if (!f->gathered)
		f->failure_count = 0;
	if (f->expanded != NULL && !f->message->probe)
		f->failures[f->failure_count++] = qmgr_forward_expanded(f);
	o->notices = f->failures;
	o->notice_count = f->failure_count;
}

/* ---- outcomes ---------------------------------------------------------------------------------------------------- */

/* One line for each new message, as the local agent would write it. */
static void
qmgr_forward_log(const struct qmgr_forward *f, size_t count)
{
	const struct qmgr_message *m = f->message;
	const struct queue_rcpt *rcpt = &m->envelope->rcpts[f->rcpt];
	int64_t now = clock_real_us();

	for (size_t i = 0; i < count; i++) {
		char id[MAIL_QUEUE_ID_SIZE];
		char text[MAIL_QUEUE_ID_SIZE + 16];
		struct buf line CLEANUP(buf_done) = {0};
		struct mail_log_delivery d = {
		    .queue_id = m->queue_id,
		    .recipient = rcpt->addr,
		    .orig_recipient = rcpt->orig_addr,
		    .relay = "local",
		    .times = {.arrival = m->envelope->arrival,
			.active = m->activated,
			.handed = now,
			.done = now},
		    .dsn = "2.0.0",
		    .status = "sent",
		};

		mail_queue_id_format(f->messages[i].envelope.msg_id, id);
		(void)snprintf(text, sizeof(text), "forwarded as %s", id);
		d.text = span_str(text);
		mail_log_delivery(&line, &d);
		log_info_as("local", "%s", buf_str(&line));
	}
}

static void
qmgr_forward_add(struct qmgr_forward *f, const struct err *trouble)
{
	const struct delivery_outcome *in = &f->report;
	struct qmgr_outcome o = {
	    .status = in->status,
	    .final = in->final,
	    /* Who is delivered to by the new messages is reported by them. */
	    .passed_on = in->passed_on || (!in->final && f->count != 0),
	    .text = in->text.ptr,
	    .relay = in->relay.ptr,
	    .remote_mta = in->remote_mta.ptr,
	    .diagnostic = in->diagnostic.ptr,
	    .told = f->told && f->failed,
	    .transport = f->transport,
	    .nexthop = f->nexthop,
	    .forwards = f->messages,
	    .forward_count = f->count,
	    .arena = f->arena,
	    .receipt = f->receipt,
	};

	(void)snprintf(o.dsn, sizeof(o.dsn), "%.*s", SPAN_ARG(in->dsn));
	if (trouble == NULL)
		qmgr_forward_notices(f, &o);
	if (trouble != NULL) {
		o.told = false;
		o.status = DELIVERY_DEFERRED;
		(void)snprintf(o.dsn, sizeof(o.dsn), "4.3.0");
		o.text = arena_printf(f->arena, "cannot forward: %s", trouble->text);
		o.program = "local";
		o.forward_count = 0;
	}
	qmgr_outcome_add(f->qmgr, f->message, f->rcpt, &o);
}

static void
qmgr_forward_finish(struct qmgr_forward *f, struct span content)
{
	struct err err;
	size_t forwards;
	bool ok = qmgr_forward_read(f, content, &err);

	forwards = f->count;
	ok = ok && qmgr_forward_reports(f, content, &err);
	if (ok)
		qmgr_forward_log(f, forwards);
	qmgr_forward_add(f, ok ? NULL : &err);
	qmgr_message_unhold(f->qmgr, f->message);
	mem_free(f);
}

/* The content did not come with the claim, or tables must be asked. */
static void
qmgr_forward_run(void *arg)
{
	struct qmgr_forward *f = arg;
	const struct qmgr_message *m = f->message;
	struct buf content CLEANUP(buf_done) = {0};
	struct err err;

	if (m->claimed->content_here) {
		qmgr_forward_finish(f, m->claimed->content);
		return;
	}
	if (qmgr_content_read(f->qmgr, m, 0, m->envelope->size, &content, &err)) {
		qmgr_forward_finish(f, buf_span(&content));
		return;
	}
	qmgr_forward_add(f, &err);
	qmgr_message_unhold(f->qmgr, f->message);
	mem_free(f);
}

static void
qmgr_forward_start(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt,
    const struct delivery_outcome *in, struct span forwards, const char *transport,
    const char *nexthop, struct qmgr_receipt *receipt)
{
	struct qmgr_forward *f = mem_new(struct qmgr_forward);
	struct arena *a = f->arena = mem_new(struct arena);
	struct err err;

	f->qmgr = q;
	f->message = m;
	f->rcpt = rcpt;
	f->receipt = qmgr_receipt_ref(receipt);
	f->transport = arena_strdup(a, transport);
	f->nexthop = arena_strdup(a, nexthop);
	f->report = *in;
	f->told = in->forwards.len != 0;
	f->report.dsn = span_str(arena_dup(a, in->dsn));
	f->report.text = span_str(arena_dup(a, in->text));
	f->report.relay = span_str(arena_dup(a, in->relay));
	f->report.remote_mta = span_str(arena_dup(a, in->remote_mta));
	f->report.diagnostic = span_str(arena_dup(a, in->diagnostic));
	f->report.forwards = span_of(arena_dup(a, forwards), forwards.len);
	m->holds++;
	if (m->claimed->content_here && qmgr_cleanup_is_idle(q->service->conf)) {
		qmgr_forward_finish(f, m->claimed->content);
	} else if (task_group_start(&q->tasks, "forward", qmgr_forward_run, f) == NULL) {
		(void)err_set(&err, ERR_TEMP, "4.3.0", "too many tasks");
		qmgr_forward_add(f, &err);
		qmgr_message_unhold(q, m);
		mem_free(f);
	}
}

bool
qmgr_forward_takes(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt,
    const struct delivery_outcome *in, const char *transport, const char *nexthop,
    struct qmgr_receipt *receipt)
{
	struct qmgr_passed *p = qmgr_passed_take(m, rcpt);
	bool settled = in->status == DELIVERY_SENT || in->status == DELIVERY_BOUNCED || m->probe;
	bool mine = true;

	if (in->status == DELIVERY_PASSED)
		qmgr_forward_pass(q, m, rcpt, in, transport, nexthop);
	else if (settled && in->forwards.len != 0)
		qmgr_forward_start(q, m, rcpt, in, in->forwards, transport, nexthop, receipt);
	else if (settled && p != NULL && strcmp(p->transport, transport) == 0)
		qmgr_forward_start(
		    q, m, rcpt, in, span_str(p->forwards), transport, nexthop, receipt);
	else
		mine = false;
	qmgr_passed_free(p);
	return mine;
}
