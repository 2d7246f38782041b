/*
 * queue_claimed.c - claimed messages: built from rows, all their memory in one arena.
 */
#include "queue/queue_claimed.h"

#include <string.h>

#include "base/mem.h"
#include "queue/queue_int.h"

static struct queue_claimed *
claimed_new(struct queue_lease *lease)
{
	struct queue_claimed *m = mem_new(struct queue_claimed);

	queue_lease_ref(lease);
	m->lease = lease;
	m->set = lease->set;
	m->next_rcpt = -1;
	return m;
}

void
queue_claimed_free(struct queue_claimed **mm)
{
	struct queue_claimed *m = *mm;

	if (m == NULL)
		return;
	queue_lease_unref(&m->lease);
	arena_done(&m->arena);
	mem_free(m);
	*mm = NULL;
}

void
queue_claims_add(struct queue_claims *claims, struct queue_claimed *m)
{
	/* Doubling by powers of two: the count alone tells the room there is. */
	if ((claims->count & (claims->count - 1)) == 0)
		claims->items = mem_resize(
		    claims->items, MAX(2 * claims->count, (size_t)1), sizeof(claims->items[0]));
	claims->items[claims->count++] = m;
}

void
queue_claims_done(struct queue_claims *claims)
{
	for (size_t i = 0; i < claims->count; i++)
		queue_claimed_free(&claims->items[i]);
	mem_free(claims->items);
	*claims = (struct queue_claims){0};
}

/* ---- from the ring --------------------------------------------------------------------------------------------- */

/* Cuts the next line off a text in the arena, in place; NULL text gives NULL. */
static char *
next_line(char **text)
{
	char *line = *text;
	char *end;

	if (line == NULL)
		return NULL;
	end = strchr(line, '\n');
	if (end != NULL)
		*end++ = '\0';
	*text = end;
	return line;
}

static char *
text_column(struct arena *a, const struct db_result *r, size_t row, size_t column)
{
	return db_result_is_null(r, row, column) ? NULL
						 : arena_dup(a, db_result_span(r, row, column));
}

static const char *
or_null(const char *line)
{
	return line != NULL && *line != '\0' ? line : NULL;
}

static unsigned
notify_of(const char *line)
{
	uint64_t v = 0;

	if (line == NULL || !span_number(span_str(line), 15, &v))
		return 0;
	return (unsigned)v;
}

static void
mark_settled(bool *settled, size_t total, const struct db_result *r, size_t row)
{
	struct db_array_reader a;
	struct span element;

	if (db_result_is_null(r, row, QUEUE_CLAIMED_SETTLED) ||
	    !db_result_array(r, row, QUEUE_CLAIMED_SETTLED, &a))
		return;
	while (db_array_next(&a, &element)) {
		int64_t n = db_span_int(element);

		if (n >= 0 && (size_t)n < total)
			settled[n] = true;
	}
}

/* The recipients that are not settled. */
static void
read_lines(struct queue_claimed *m, const struct db_result *r, size_t row, size_t total, bool check)
{
	bool *settled = mem_zalloc(total);
	char *addrs = text_column(&m->arena, r, row, 10);
	char *origs = text_column(&m->arena, r, row, 11);
	char *orcpts = text_column(&m->arena, r, row, 12);
	char *notifies = text_column(&m->arena, r, row, 13);
	struct queue_rcpt *rcpts = arena_alloc(&m->arena, total * sizeof(*rcpts));
	size_t n = 0;

	if (check)
		mark_settled(settled, total, r, row);
	for (size_t i = 0; i < total; i++) {
		const char *addr = next_line(&addrs);
		const char *orig = next_line(&origs);
		const char *orcpt = next_line(&orcpts);
		const char *notify = next_line(&notifies);

		if (addr == NULL)
			break;
		if (settled[i])
			continue;
		rcpts[n++] = (struct queue_rcpt){
		    .rcpt_no = (int32_t)i,
		    .addr = addr,
		    .orig_addr = or_null(orig),
		    .dsn_orcpt = or_null(orcpt),
		    .dsn_notify = notify_of(notify),
		};
	}
	mem_free(settled);
	m->envelope.rcpts = rcpts;
	m->envelope.rcpt_count = n;
}

static void
read_attrs(struct queue_claimed *m, const struct db_result *r, size_t row, size_t column)
{
	struct span text = db_result_span(r, row, column);
	struct span copy = {arena_dup(&m->arena, text), text.len};

	queue_attrs_parse(copy, &m->arena, &m->envelope.attrs, &m->envelope.attr_count);
}

static void
read_content(struct queue_claimed *m, const struct db_result *r, size_t row, size_t column)
{
	struct span content;

	if (db_result_is_null(r, row, column))
		return;
	content = db_result_span(r, row, column);
	m->content = span_of(arena_dup(&m->arena, content), content.len);
	m->content_here = true;
}

struct queue_claimed *
queue_claimed_from_ring(
    struct queue_lease *lease, const struct db_result *r, size_t row, bool settled)
{
	struct queue_claimed *m = claimed_new(lease);
	struct queue_envelope *e = &m->envelope;

	e->msg_id = db_result_int(r, row, 2);
	e->arrival = db_result_time(r, row, 3);
	e->size = (uint64_t)db_result_int(r, row, 4);
	m->content_id = db_result_is_null(r, row, 5) ? 0 : db_result_int(r, row, 5);
	m->total = (int32_t)db_result_int(r, row, 6);
	e->sender = text_column(&m->arena, r, row, 7);
	read_attrs(m, r, row, 8);
	read_content(m, r, row, 9);
	if (db_result_is_null(r, row, 10))
		m->next_rcpt = 0;
	else
		read_lines(m, r, row, (size_t)m->total, settled);
	if (m->next_rcpt < 0 && e->rcpt_count == 0)
		queue_claimed_free(&m);
	else if (m->content_id != 0)
		lease->content_id = m->content_id;
	return m;
}

/* ---- recipients from rows --------------------------------------------------------------------------------------- */

static void
read_rows(struct queue_claimed *m, const struct db_result *r, size_t from, size_t to, size_t column)
{
	struct queue_rcpt *rcpts = arena_alloc(&m->arena, (to - from) * sizeof(*rcpts));

	for (size_t i = from; i < to; i++)
		rcpts[i - from] = (struct queue_rcpt){
		    .rcpt_no = (int32_t)db_result_int(r, i, column),
		    .attempts = (int32_t)db_result_int(r, i, column + 1),
		    .dsn_notify = (unsigned)db_result_int(r, i, column + 2),
		    .addr = text_column(&m->arena, r, i, column + 3),
		    .orig_addr = text_column(&m->arena, r, i, column + 4),
		    .dsn_orcpt = text_column(&m->arena, r, i, column + 5),
		};
	m->envelope.rcpts = rcpts;
	m->envelope.rcpt_count = to - from;
}

static void
copy_attrs(struct queue_claimed *m, const struct queue_envelope *from)
{
	struct queue_attr *attrs =
	    arena_alloc(&m->arena, from->attr_count * sizeof(struct queue_attr));

	for (size_t i = 0; i < from->attr_count; i++) {
		struct queue_attr a = from->attrs[i];

		attrs[i].name = span_of(arena_dup(&m->arena, a.name), a.name.len);
		attrs[i].value = span_of(arena_dup(&m->arena, a.value), a.value.len);
	}
	m->envelope.attrs = attrs;
	m->envelope.attr_count = from->attr_count;
}

struct queue_claimed *
queue_claimed_from_page(const struct queue_claimed *like, const struct db_result *r, size_t limit)
{
	struct queue_claimed *m = claimed_new(like->lease);
	size_t rows = db_result_rows(r);

	m->envelope = like->envelope;
	m->envelope.sender = arena_strdup(&m->arena, like->envelope.sender);
	copy_attrs(m, &like->envelope);
	m->content_id = like->content_id;
	m->set = like->set;
	m->from_deferred = like->from_deferred;
	m->total = like->total;
	if (like->content_here) {
		m->content = span_of(arena_dup(&m->arena, like->content), like->content.len);
		m->content_here = true;
	}
	read_rows(m, r, 0, rows, 0);
	if (rows == limit)
		m->next_rcpt = m->envelope.rcpts[rows - 1].rcpt_no + 1;
	return m;
}

struct queue_claimed *
queue_claimed_from_deferred(struct queue_lease *lease, const struct db_result *r, size_t *at)
{
	struct queue_claimed *m = claimed_new(lease);
	struct queue_envelope *e = &m->envelope;
	size_t first = *at;
	size_t end = first;

	m->from_deferred = true;
	m->set = -1;
	e->msg_id = db_result_int(r, first, 0);
	e->arrival = db_result_time(r, first, 1);
	e->size = (uint64_t)db_result_int(r, first, 2);
	m->content_id = db_result_is_null(r, first, 3) ? 0 : db_result_int(r, first, 3);
	e->sender = text_column(&m->arena, r, first, 4);
	read_attrs(m, r, first, 5);
	read_content(m, r, first, 6);
	while (end < db_result_rows(r) && db_result_int(r, end, 0) == e->msg_id)
		end++;
	read_rows(m, r, first, end, 7);
	*at = end;
	return m;
}
