/*
 * queue_types.c - helpers for the plain values of the queue.
 */
#include "queue/queue_types.h"

#include <string.h>

#include "base/utf8.h"

const char *
queue_place_name(enum queue_place p)
{
	switch (p) {
	case QUEUE_INCOMING:
		return "incoming";
	case QUEUE_ACTIVE:
		return "active";
	case QUEUE_DEFERRED_PLACE:
		return "deferred";
	case QUEUE_HOLD:
		return "hold";
	}
	UNREACHED();
}

bool
queue_address_is_storable(struct span addr)
{
	if (addr.len > QUEUE_ADDRESS_MAX || !utf8_is_valid(addr))
		return false;
	for (size_t i = 0; i < addr.len; i++)
		if ((unsigned char)addr.ptr[i] < ' ' || addr.ptr[i] == 127)
			return false;
	return true;
}

struct span
queue_envelope_attr(const struct queue_envelope *e, const char *name)
{
	for (size_t i = 0; i < e->attr_count; i++)
		if (span_equal_str(e->attrs[i].name, name))
			return e->attrs[i].value;
	return (struct span){NULL, 0};
}

static void
add_line(struct buf *out, struct span text)
{
	size_t from = out->len;

	utf8_add_clean(out, text, QUEUE_TEXT_MAX);
	for (size_t i = from; i < out->len; i++)
		if (out->ptr[i] == '\n')
			out->ptr[i] = ' ';
}

void
queue_attrs_write(struct buf *out, const struct queue_attr *attrs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			buf_add_char(out, '\n');
		add_line(out, attrs[i].name);
		buf_add_char(out, '\n');
		add_line(out, attrs[i].value);
	}
}

static struct span
cut_line(struct span *rest)
{
	size_t at = span_find(*rest, '\n');
	struct span line = span_head(*rest, at);

	*rest = span_from(*rest, at + 1);
	return line;
}

void
queue_attrs_parse(
    struct span text, struct arena *arena, const struct queue_attr **ret, size_t *ret_count)
{
	size_t lines = text.len > 0 ? 1 : 0;
	struct queue_attr *attrs;

	for (size_t i = 0; i < text.len; i++)
		lines += text.ptr[i] == '\n';
	*ret_count = lines / 2;
	*ret = attrs = arena_alloc(arena, (lines / 2) * sizeof(*attrs));
	for (size_t i = 0; i < *ret_count; i++) {
		attrs[i].name = cut_line(&text);
		attrs[i].value = cut_line(&text);
	}
}

bool
queue_attrs_have(struct span text, const char *name)
{
	while (text.len > 0) {
		struct span line = cut_line(&text);

		if (span_equal_str(line, name))
			return true;
		(void)cut_line(&text);
	}
	return false;
}
