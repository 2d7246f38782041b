/*
 * table_tcp.c - tcp:host:port (tcp_table(5)): "get KEY", and one line as the answer: "200 VALUE", "500 no such key",
 * "400 trouble". In keys and values %XX stands for bytes that a line cannot hold.
 */
#include "backend/table_tcp.h"

#include "backend/backend_types.h"
#include "backend/table_net.h"
#include "base/clock.h"

#define TCP_LINE_MAX 4096 /* of an answer, its newline included */

static const struct table_net_rules tcp_rules = {
    .timeout = 100 * CLOCK_SECOND,
    .pause = CLOCK_SECOND,
    .limit = 100 * CLOCK_SECOND,
    .tries = 10,
    .until_there = true,
    .what = "TCP map ",
};

/* ---- the protocol --------------------------------------------------------------------------------------------------- */

void
table_tcp_quote(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		if (c <= ' ' || c >= 127 || c == '%')
			buf_printf(out, "%%%02X", (unsigned)c);
		else
			buf_add_char(out, (char)c);
	}
}

/* The value of a hexadecimal digit, or -1. */
static int
tcp_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool
tcp_unquote(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		int high, low;

		if (text.ptr[i] != '%') {
			buf_add_char(out, text.ptr[i]);
			continue;
		}
		high = i + 1 < text.len ? tcp_digit(text.ptr[i + 1]) : -1;
		low = i + 2 < text.len ? tcp_digit(text.ptr[i + 2]) : -1;
		if (high < 0 || low < 0)
			return false;
		buf_add_char(out, (char)(high * 16 + low));
		i += 2;
	}
	return true;
}

static bool
tcp_is_space(char c)
{
	return c == ' ' || c == '\t';
}

enum table_tcp_answer
table_tcp_answer(struct span line, struct buf *text)
{
	struct span code = span_head(line, 3), rest = span_from(line, 3);
	uint64_t number;

	buf_clear(text);
	if (!span_number(code, 999, &number) || code.len != 3 || rest.len == 0 ||
	    !tcp_is_space(rest.ptr[0]))
		return TABLE_TCP_MALFORMED;
	while (rest.len != 0 && tcp_is_space(rest.ptr[0]))
		rest = span_from(rest, 1);
	if (!tcp_unquote(text, rest) || span_find(buf_span(text), '\0') < text->len)
		return TABLE_TCP_MALFORMED;
	switch (number) {
	case 200:
		return TABLE_TCP_FOUND;
	case 400:
		return TABLE_TCP_ERROR;
	case 500:
		return TABLE_TCP_NOT_FOUND;
	default:
		return TABLE_TCP_BAD_CODE;
	}
}

/* ---- lookups -------------------------------------------------------------------------------------------------------- */

struct tcp_question {
	const struct table *table;
	struct buf request;
	struct buf *value;
	enum table_tcp_answer answer;
};

static enum table_net_result
tcp_failed(const struct tcp_question *q, const struct stream *s, const char *doing,
    enum stream_result r, struct err *err)
{
	(void)err_set(err, ERR_TEMP, "4.3.0", "%s %.*s: %s", doing, SPAN_ARG(q->table->argument),
	    r == STREAM_TOO_LONG ? "text longer than 4096" : table_net_reason(s, r));
	return r == STREAM_TOO_LONG ? TABLE_NET_BAD : TABLE_NET_LOST;
}

static enum table_net_result
tcp_talk(struct stream *s, void *arg, struct err *err)
{
	struct tcp_question *q = arg;
	enum stream_result r = stream_write_span(s, buf_span(&q->request));
	struct span line = {0};

	if (r == STREAM_OK)
		r = stream_flush(s);
	if (r != STREAM_OK)
		return tcp_failed(q, s, "write TCP map query to", r, err);
	r = stream_read_line(s, TCP_LINE_MAX - 1, &line, NULL);
	if (r != STREAM_OK)
		return tcp_failed(q, s, "read TCP map reply from", r, err);
	q->answer = table_tcp_answer(line, q->value);
	if (q->answer < TABLE_TCP_BAD_CODE)
		return TABLE_NET_OK;
	(void)err_set(err, ERR_TEMP, "4.3.0", "read TCP map reply from %.*s: %s: %.*s",
	    SPAN_ARG(q->table->argument),
	    q->answer == TABLE_TCP_BAD_CODE ? "bad status code" : "malformed reply",
	    SPAN_ARG(span_head(line, 100)));
	return TABLE_NET_BAD;
}

static bool
tcp_open(struct table *t, struct err *err)
{
	struct table_net *net;

	if (!table_net_is_trusted(t, err) ||
	    !table_net_open(t->conf, t->argument, false, &net, err))
		return false;
	t->state = net;
	return true;
}

static void
tcp_close(void *state)
{
	struct table_net *net = state;

	table_net_close(&net);
}

static enum table_result
tcp_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	struct tcp_question q = {.table = t, .value = value, .answer = TABLE_TCP_ERROR};
	enum table_net_result r;

	buf_add_str(&q.request, "get ");
	table_tcp_quote(&q.request, key);
	buf_add_char(&q.request, '\n');
	r = table_net_ask(t->state, &tcp_rules, tcp_talk, &q, err);
	buf_done(&q.request);
	/* What went wrong has been logged; a 400 speaks for itself. */
	err_clear(err);
	if (r != TABLE_NET_OK || q.answer == TABLE_TCP_ERROR)
		return TABLE_ERROR;
	return q.answer == TABLE_TCP_FOUND ? TABLE_FOUND : TABLE_NOT_FOUND;
}

const struct table_type table_tcp_type = {
    .name = "tcp",
    .open = tcp_open,
    .lookup = tcp_lookup,
    .close = tcp_close,
    .pattern = true,
    .network = true,
};
