/*
 * qmgr_trace.c - see qmgr_trace.h. The rows of `notification` for what was expanded have negative recipient numbers: they are of no
 * recipient that the message still has.
 */
#include "qmgr/qmgr_trace.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_message.h"
#include "qmgr/qmgr_outcome.h"

static struct span
qmgr_trace_field(struct span *rest)
{
	size_t tab = span_find(*rest, '\t');
	struct span field = span_head(*rest, tab);

	*rest = span_from(*rest, tab + 1);
	return field;
}

/* NULL: the field is empty. */
static const char *
qmgr_trace_text(struct span field, struct arena *arena)
{
	return field.len != 0 ? arena_dup(arena, field) : NULL;
}

/* The attribute "expanded" (queue_types.h). */
static void
qmgr_trace_expanded(
    struct span value, int32_t rcpt_no, int64_t at, struct arena *arena, struct queue_notice *ret)
{
	const char *notify = arena_dup(arena, qmgr_trace_field(&value));

	*ret = (struct queue_notice){
	    .rcpt_no = rcpt_no,
	    .kind = QUEUE_NOTIFY_SUCCESS,
	    .action = "expanded",
	    .dsn_notify = (unsigned)strtoul(notify, NULL, 10),
	    .dsn = "2.0.0",
	    .text = "alias expanded",
	    .at = at,
	};
	ret->addr = arena_dup(arena, qmgr_trace_field(&value));
	ret->orig_addr = qmgr_trace_text(qmgr_trace_field(&value), arena);
	ret->dsn_orcpt = qmgr_trace_text(qmgr_trace_field(&value), arena);
}

/* How an attempt ended, for whoever wants to know it. */
static void
qmgr_trace_attempt(
    const struct queue_result *r, const char *action, struct arena *arena, struct queue_notice *ret)
{
	const struct queue_rcpt *rcpt = r->rcpt;
	bool via = r->relay != NULL && r->relay[0] != '\0' && strcmp(r->relay, "none") != 0;

	*ret = (struct queue_notice){
	    .rcpt_no = rcpt->rcpt_no,
	    .kind = QUEUE_NOTIFY_SUCCESS,
	    .action = arena_strdup(arena, action),
	    .addr = rcpt->addr,
	    .orig_addr = rcpt->orig_addr,
	    .dsn_orcpt = rcpt->dsn_orcpt,
	    .dsn_notify = rcpt->dsn_notify,
	    .dsn = r->dsn,
	    .text = arena_printf(arena, "%s%s%s%s", via ? "delivery via " : "", via ? r->relay : "",
		via ? ": " : "", r->text != NULL ? r->text : ""),
	    .remote_mta = r->remote_mta,
	    .diagnostic = r->diagnostic,
	    .at = r->at,
	};
}

static size_t
qmgr_trace_count(const struct queue_envelope *e, const struct queue_rcpt *rcpt)
{
	size_t count = 0;

	for (size_t i = 0; i < e->attr_count && rcpt->rcpt_no == 0; i++)
		count += span_equal_str(e->attrs[i].name, "expanded");
	return count;
}

void
qmgr_trace_add(const struct qmgr_message *m, struct queue_result *result, struct arena **arena)
{
	const struct queue_envelope *e = m->envelope;
	bool record = queue_envelope_attr(e, "trace").len != 0;
	size_t expanded = qmgr_trace_count(e, result->rcpt);
	size_t given = result->notice_count;
	struct queue_notice *notices;
	bool told = false;
	size_t count = 0;

	if (result->rcpt->attempts != 0 || result->no_attempt || (expanded == 0 && !record))
		return;
	if (*arena == NULL)
		*arena = mem_new(struct arena);
	notices = arena_alloc(*arena, (expanded + given + record) * sizeof(*notices));
	for (size_t i = 0; expanded != 0 && i < e->attr_count; i++) {
		if (!span_equal_str(e->attrs[i].name, "expanded"))
			continue;
		qmgr_trace_expanded(
		    e->attrs[i].value, -(int32_t)(count + 1), result->at, *arena, &notices[count]);
		count++;
	}
	for (size_t i = 0; i < given; i++) {
		told |= result->notices[i].kind == QUEUE_NOTIFY_SUCCESS;
		notices[count++] = result->notices[i];
	}
	/* One of its own has the same key. */
	if (record && !told && result->notify != QUEUE_NOTIFY_SUCCESS)
		qmgr_trace_attempt(result,
		    result->outcome == QUEUE_DEFERRED ? "delayed" : result->action, *arena,
		    &notices[count++]);
	result->notices = notices;
	result->notice_count = count;
}

void
qmgr_trace_add_probe(
    const struct qmgr_outcome *o, struct queue_result *result, struct arena **arena)
{
	size_t given = result->notice_count;
	struct queue_notice *notices;

	/* An operator's order is no answer; the local agent has answered for each that it expanded to. */
	if (result->no_attempt || o->told)
		return;
	if (*arena == NULL)
		*arena = mem_new(struct arena);
	notices = arena_alloc(*arena, (given + 1) * sizeof(*notices));
	for (size_t i = 0; i < given; i++)
		notices[i] = result->notices[i];
	qmgr_trace_attempt(result, delivery_probe_word(o->status), *arena, &notices[given]);
	result->notices = notices;
	result->notice_count = given + 1;
}
