/*
 * operator_shape.c - see operator_shape.h. The table is qshape's to the byte.
 */
#include "operator/operator_shape.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "operator/operator_maildrop.h"
#include "queue/queue_list.h"

#define NAME_MIN 18 /* columns that are left for names at least */
#define CLEAR    "\033[H\033[2J\033[3J"

struct shape_row {
	char *name;   /* owned */
	size_t subs;  /* different names directly below, as they were met */
	uint64_t *at; /* owned: 0 all, from 1 on by age */
};

void
operator_shape_done(struct operator_shape *s)
{
	struct hmap_cursor at = {0};
	struct span key;
	void *v;

	while (hmap_next(&s->rows, &at, &key, &v)) {
		struct shape_row *row = v;

		mem_free(row->name);
		mem_free(row->at);
		mem_free(row);
	}
	hmap_done(&s->rows);
}

/* ---- counting ------------------------------------------------------------------------------------------------ */

/* Where the age after `end` ends; columns that nobody lives to see are all alike. */
static int64_t
next_end(const struct operator_shape_settings *s, int64_t end)
{
	int64_t more = end != 0 && !s->linear ? end : s->tick;

	return end > INT64_MAX / 120 - more ? end : end + more;
}

static size_t
bucket_of(const struct operator_shape_settings *s, int64_t age)
{
	int64_t end = s->tick;
	size_t b = 1;

	while (b < s->buckets && age >= end * 60) {
		end = next_end(s, end);
		b++;
	}
	return b;
}

static struct shape_row *
row_of(struct operator_shape *s, struct span name)
{
	struct shape_row *row = hmap_get(&s->rows, name);

	if (row != NULL)
		return row;
	row = mem_new(struct shape_row);
	row->name = span_dup(name);
	row->at = mem_zalloc((s->settings.buckets + 1) * sizeof(row->at[0]));
	(void)hmap_put(&s->rows, name, row);
	return row;
}

/* The domain in lower case, without dots that mean nothing; an address without a domain is its own. */
static void
domain_of(struct span address, struct buf *ret)
{
	struct span domain = span_from(
	    address, span_find(address, '@') < address.len ? span_find_last(address, '@') + 1 : 0);

	if (address.len == 0)
		domain = SPAN_LIT("MAILER-DAEMON");
	for (size_t i = 0; i < domain.len; i++) {
		char c = domain.ptr[i];

		if (c == '.' && (ret->len == 0 || i + 1 == domain.len || domain.ptr[i + 1] == '.'))
			continue;
		buf_add_char(ret, address.len != 0 ? (char)tolower((unsigned char)c) : c);
	}
}

/* ".example.com" of "a.example.com" and of ".a.example.com"; empty when only a top level domain would be left. */
static struct span
parent_of(struct span name)
{
	struct span rest = span_from(name, name.len > 0 && name.ptr[0] == '.' ? 1 : 0);
	struct span parent = span_from(rest, span_find(rest, '.'));

	return span_find(span_from(parent, 1), '.') < span_from(parent, 1).len ? parent
									       : SPAN_LIT("");
}

void
operator_shape_add(struct operator_shape *s, struct span address, int64_t age)
{
	struct buf domain CLEANUP(buf_done) = {0};
	size_t b = bucket_of(&s->settings, age);
	struct shape_row *total = row_of(s, SPAN_LIT("TOTAL"));
	bool fresh = false;
	struct span name;

	total->at[0]++;
	total->at[b]++;
	domain_of(address, &domain);
	for (name = buf_span(&domain); name.len > 0; name = parent_of(name)) {
		struct shape_row *row = row_of(s, name);

		row->subs += fresh;
		fresh = row->at[0] == 0;
		row->at[0]++;
		row->at[b]++;
		if (!s->settings.parents)
			break;
	}
}

/* ---- printing ------------------------------------------------------------------------------------------------ */

/* The heading of a column: "T", the end of its ages in minutes, and the last one's beginning with "+". */
static void
heading(const struct operator_shape_settings *s, size_t column, char *ret, size_t size)
{
	int64_t end = 0;

	for (size_t i = 1; i <= MIN(column, s->buckets - 1); i++)
		end = next_end(s, end);
	if (column == 0)
		(void)snprintf(ret, size, "T");
	else
		(void)snprintf(
		    ret, size, "%lld%s", (long long)end, column == s->buckets ? "+" : "");
}

static int
digits(uint64_t n)
{
	char text[32];

	return snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
}

/* Widths of the columns into `ret`; the width that is left for names. */
static size_t
columns(struct operator_shape *s, int *ret)
{
	const struct shape_row *total = row_of(s, SPAN_LIT("TOTAL"));
	size_t left = MAX(s->settings.width, (size_t)80);

	for (size_t i = 0; i <= s->settings.buckets; i++) {
		char head[32];

		heading(&s->settings, i, head, sizeof(head));
		ret[i] = MAX(MAX(digits(total->at[i]), (int)strlen(head)), 2) + 1;
		left -= MIN(left, (size_t)ret[i]);
	}
	return MAX(left, (size_t)NAME_MIN);
}

/* A name that does not fit shows its end behind a plus sign, and that of a parent keeps its dot. */
static void
print_name(const char *name, size_t width, struct buf *out)
{
	size_t len = strlen(name);

	if (len <= width)
		buf_printf(out, "%*s%s", (int)(width - len), "", name);
	else if (name[0] == '.')
		buf_printf(out, ".+%s", name + len - width + 2);
	else
		buf_printf(out, "+%s", name + len - width + 1);
}

/* The most first, of equals the shorter name, and so on. */
static int
compare(const void *a, const void *b)
{
	const struct shape_row *x = *(const struct shape_row *const *)a;
	const struct shape_row *y = *(const struct shape_row *const *)b;
	size_t xlen = strlen(x->name);
	size_t ylen = strlen(y->name);

	if (x->at[0] != y->at[0])
		return x->at[0] > y->at[0] ? -1 : 1;
	if (xlen != ylen)
		return xlen < ylen ? -1 : 1;
	return strcmp(x->name, y->name);
}

static struct shape_row **
sorted(const struct operator_shape *s)
{
	struct shape_row **rows = mem_alloc(s->rows.count * sizeof(struct shape_row *));
	struct hmap_cursor at = {0};
	struct span key;
	size_t n = 0;
	void *v;

	while (hmap_next(&s->rows, &at, &key, &v))
		rows[n++] = v;
	qsort(rows, n, sizeof(rows[0]), compare);
	return rows;
}

void
operator_shape_table(struct operator_shape *s, struct buf *out)
{
	int *widths = mem_zalloc((s->settings.buckets + 1) * sizeof(int));
	size_t width = columns(s, widths);
	struct shape_row **rows = sorted(s);
	size_t shown = 0;

	print_name("", width, out);
	for (size_t i = 0; i <= s->settings.buckets; i++) {
		char head[32];

		heading(&s->settings, i, head, sizeof(head));
		buf_printf(out, "%*s", widths[i], head);
	}
	buf_add_char(out, '\n');
	for (size_t r = 0; r < s->rows.count; r++) {
		if (rows[r]->name[0] == '.' && rows[r]->subs < s->settings.subs)
			continue;
		if (s->settings.top > 0 && ++shown > s->settings.top)
			break;
		print_name(rows[r]->name, width, out);
		for (size_t i = 0; i <= s->settings.buckets; i++)
			buf_printf(out, "%*llu", widths[i], (unsigned long long)rows[r]->at[i]);
		buf_add_char(out, '\n');
	}
	mem_free(rows);
	mem_free(widths);
}

/* ---- from the queue ------------------------------------------------------------------------------------------ */

struct look {
	struct operator_shape shape;
	int64_t now;
	int64_t last; /* message */
	size_t messages;
};

static void
show(struct look *l)
{
	struct buf out CLEANUP(buf_done) = {0};

	if (l->shape.settings.every > 0)
		buf_add_str(&out, CLEAR);
	operator_shape_table(&l->shape, &out);
	operator_session_print(out.ptr, out.len);
}

static void
count_row(void *arg, const struct queue_list_row *row)
{
	struct look *l = arg;
	int64_t age = (l->now - row->arrival) / CLOCK_SECOND;
	bool fresh = l->messages == 0 || row->msg_id != l->last;

	if (fresh && l->shape.settings.every > 0 && l->messages > 0 &&
	    l->messages % l->shape.settings.every == 0)
		show(l);
	l->messages += fresh;
	l->last = row->msg_id;
	if (!l->shape.settings.senders)
		operator_shape_add(&l->shape, span_str(row->addr), age);
	else if (fresh)
		operator_shape_add(&l->shape, span_str(row->sender), age);
}

static bool
look_into(struct look *l, struct db_conn *conn, enum queue_place place, struct err *err)
{
	struct queue_list *rows CLEANUP(queue_list_free) =
	    queue_list_new(conn, &(struct queue_list_filter){.place = &place});
	struct queue_list_row row;
	bool end = false;

	while (!end) {
		if (!queue_list_next(rows, clock_deadline(OPERATOR_PATIENCE), &row, &end, err))
			return false;
		if (!end)
			count_row(l, &row);
	}
	return true;
}

static bool
look_at_all(struct operator_session *s, struct look *l, struct err *err)
{
	unsigned places = l->shape.settings.places;

	if (l->shape.settings.files)
		operator_maildrop_each(operator_session_conf(s), count_row, l);
	for (size_t i = 0; places != 0 && i < operator_session_shards(s); i++) {
		struct db_conn *conn = operator_session_conn(s, i, err);

		if (conn == NULL)
			return false;
		for (enum queue_place p = QUEUE_INCOMING; p <= QUEUE_HOLD; p++)
			if ((places & 1u << p) != 0 && !look_into(l, conn, p, err))
				return false;
	}
	return true;
}

bool
operator_shape_print(struct operator_session *s, void *arg, struct err *err)
{
	const struct operator_shape_settings *settings = arg;
	struct look l = {.shape = {.settings = *settings}, .now = clock_real_us()};
	bool good = look_at_all(s, &l, err);

	if (good)
		show(&l);
	operator_shape_done(&l.shape);
	return good;
}
