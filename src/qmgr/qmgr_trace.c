/*
 * qmgr_trace.c - see qmgr_trace.h. The rows of `notification` for what was expanded have negative recipient numbers: they are of no
 * recipient that the message still has.
 */
#include "qmgr/qmgr_trace.h"

#include <stdlib.h>

#include "base/mem.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_message.h"

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

void
qmgr_trace_add(const struct qmgr_message *m, struct queue_result *result, struct arena **arena)
{
	const struct queue_envelope *e = m->envelope;
	struct queue_notice *notices;
	size_t count = 0;

	if (result->rcpt->rcpt_no != 0 || result->rcpt->attempts != 0 || result->no_attempt)
		return;
	for (size_t i = 0; i < e->attr_count; i++)
		count += span_equal_str(e->attrs[i].name, "expanded");
	if (count == 0)
		return;
	if (*arena == NULL)
		*arena = mem_new(struct arena);
	notices = arena_alloc(*arena, (count + result->notice_count) * sizeof(*notices));
	for (size_t i = 0; i < result->notice_count; i++)
		notices[count + i] = result->notices[i];
	result->notices = notices;
	result->notice_count += count;
	for (size_t i = 0, n = 0; i < e->attr_count; i++) {
		if (!span_equal_str(e->attrs[i].name, "expanded"))
			continue;
		qmgr_trace_expanded(
		    e->attrs[i].value, -(int32_t)(n + 1), result->at, *arena, &notices[n]);
		n++;
	}
}
