/*
 * qmqpd_session.c - one connection: a netstring that holds the message, the sender and the recipients, each a netstring again; then
 * one reply, K (stored), Z (try again) or D (never).
 *
 * The envelope comes behind the content. A small content waits for it in memory; a large one goes its way at once, and then
 * the Received: line cannot name the recipient.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_queue_id.h"
#include "mail/mail_received.h"
#include "qmqpd/qmqpd_int.h"
#include "queue/queue_front.h"
#include "queue/queue_types.h"
#include "task/task.h"

#define DIGITS_MAX 9

/* What a client may still send when it has its answer. */
#define DRAIN_TIME (2 * CLOCK_SECOND)
#define DRAIN_MAX  (1u << 20)

enum qmqpd_status {
	QMQPD_OK = 'K',
	QMQPD_RETRY = 'Z',
	QMQPD_HARD = 'D',
};

struct qmqpd_session {
	struct qmqpd_server *server;
	struct qmqpd_setup *setup; /* own reference */
	struct stream *stream;     /* owned */
	struct net_addr peer;
	char name[QMQPD_NAME_SIZE];
	char address[NET_ADDR_TEXT];
	char client[QMQPD_NAME_SIZE + NET_ADDR_TEXT + 16]; /* "name[address]", for the log */
	int64_t msg_id;
	char queue_id[MAIL_QUEUE_ID_SIZE];
	struct arena arena;
	struct cleanup *cleanup;
	struct buf content; /* small: kept until the envelope is known */
	size_t left;        /* bytes of the outer netstring not read yet */
	size_t rcpts;
	const char *rcpt;   /* the last one, as given */
	const char *where;  /* what is being done, for the log */
	const char *reason; /* why it failed; NULL: it did not */
	bool can_answer;    /* ... and the client is there to hear of it */
	bool begun;         /* the Received: line was written */
};

/* ---- netstrings ------------------------------------------------------------------------------------------------- */

static bool
broken(struct qmqpd_session *s, const char *reason, bool can_answer)
{
	s->reason = reason;
	s->can_answer = can_answer;
	return false;
}

static bool
io(struct qmqpd_session *s, enum stream_result r)
{
	if (r == STREAM_OK)
		return true;
	return broken(s, r == STREAM_TIMEOUT ? "read/write timeout" : "lost connection", false);
}

static bool
read_bytes(struct qmqpd_session *s, char *to, size_t len, bool inside)
{
	if (inside && len > s->left)
		return broken(s, "netstring format error", true);
	stream_set_deadline(
	    s->stream, clock_deadline(conf_time(s->setup->conf, CONF_qmqpd_timeout)));
	if (!io(s, stream_read_full(s->stream, to, len)))
		return false;
	s->left -= inside ? len : 0;
	return true;
}

/* "123:" */
static bool
read_length(struct qmqpd_session *s, bool inside, size_t *ret)
{
	size_t length = 0;
	char c;

	for (size_t digits = 0;; digits++) {
		if (!read_bytes(s, &c, 1, inside))
			return false;
		if (c == ':' && digits > 0)
			break;
		if (c < '0' || c > '9')
			return broken(s, "netstring format error", true);
		if (digits >= DIGITS_MAX)
			return broken(s, "netstring length exceeds storage limit", true);
		length = length * 10 + (size_t)(c - '0');
	}
	*ret = length;
	return true;
}

static bool
read_comma(struct qmqpd_session *s, bool inside)
{
	char c;

	if (!read_bytes(s, &c, 1, inside))
		return false;
	return c == ',' || broken(s, "netstring format error", true);
}

/* A short text: an address. */
static bool
read_text(struct qmqpd_session *s, const char **ret)
{
	char text[QUEUE_ADDRESS_MAX + 1];
	size_t length;

	if (!read_length(s, true, &length))
		return false;
	if (length > QUEUE_ADDRESS_MAX)
		return broken(s, "netstring length exceeds storage limit", true);
	if (!read_bytes(s, text, length, true) || !read_comma(s, true))
		return false;
	*ret = arena_dup(&s->arena, span_of(text, length));
	return true;
}

/* ---- the message -------------------------------------------------------------------------------------------------- */

/* A mailbox's separator on top becomes a header; white space there must not continue ours. */
static void
guard_top(struct qmqpd_session *s, struct span first)
{
	size_t quote = span_starts(first, ">") ? 1 : 0;

	if (span_starts(span_from(first, quote), "From "))
		buf_add_str(cleanup_content(s->cleanup), "X-Mailbox-Line: ");
	else if (first.len != 0 && (first.ptr[0] == ' ' || first.ptr[0] == '\t'))
		buf_add_char(cleanup_content(s->cleanup), '\n');
}

static void
begin_content(struct qmqpd_session *s, struct span first)
{
	const struct mail_received received = {
	    .helo = s->name,
	    .client_name = s->name,
	    .client_addr = s->address,
	    .host = s->setup->cleanup.hostname,
	    .mail_name = s->setup->cleanup.mail_name,
	    .protocol = "QMQP",
	    .queue_id = s->queue_id,
	    .second = cleanup_envelope(s->cleanup)->arrival / CLOCK_SECOND,
	    .rcpt = s->rcpts == 1 ? s->rcpt : NULL,
	};

	if (s->begun)
		return;
	s->begun = true;
	mail_received_write(cleanup_content(s->cleanup), &received);
	guard_top(s, first);
}

static void
add_content(struct qmqpd_session *s, struct span piece)
{
	struct buf *content = cleanup_content(s->cleanup);

	begin_content(s, piece);
	buf_add_span(content, piece);
	/* As smtpd does with what comes by SMTP: no CR may look like a line end to anybody. */
	for (size_t i = content->len - piece.len; s->setup->replace_cr && i < content->len; i++)
		if (content->ptr[i] == '\r')
			content->ptr[i] = ' ';
	cleanup_added(s->cleanup);
	(void)task_yield();
}

static bool
read_content(struct qmqpd_session *s)
{
	char piece[4096];
	size_t length;
	bool small;

	if (!read_length(s, true, &length))
		return false;
	small = length <= s->setup->cleanup.inline_limit;
	for (size_t n; length > 0; length -= n) {
		n = MIN(length, sizeof(piece));
		if (!read_bytes(s, piece, n, true))
			return false;
		if (small)
			buf_add(&s->content, piece, n);
		else
			add_content(s, span_of(piece, n));
	}
	return read_comma(s, true);
}

static bool
read_envelope(struct qmqpd_session *s)
{
	struct cleanup_envelope *e = cleanup_envelope(s->cleanup);
	const char *addr;

	s->where = "receiving sender address";
	if (!read_text(s, &addr))
		return false;
	if (addr[0] != '\0' && !queue_address_is_storable(span_str(addr)))
		return broken(s, "bad sender address", true);
	if (addr[0] != '\0')
		e->sender = rewrite_address(s->setup->rewrite, &s->arena, span_str(addr));
	s->where = "receiving recipient address";
	while (s->left > 0) {
		if (!read_text(s, &s->rcpt))
			return false;
		if (!queue_address_is_storable(span_str(s->rcpt)) || s->rcpt[0] == '\0')
			return broken(s, "bad recipient address", true);
		s->rcpts++;
		cleanup_add_rcpt(s->cleanup,
		    rewrite_address(s->setup->rewrite, &s->arena, span_str(s->rcpt)), s->rcpt, NULL,
		    0);
	}
	return true;
}

static bool
begin_message(struct qmqpd_session *s, struct err *err)
{
	struct cleanup_envelope *e;
	struct queue_front *front = cleanup_front_pick(&s->server->front, err);

	if (front == NULL || !queue_front_mint(front, &s->msg_id, err))
		return false;
	mail_queue_id_format(s->msg_id, s->queue_id);
	s->cleanup = cleanup_new(&s->setup->cleanup, front);
	e = cleanup_envelope(s->cleanup);
	e->msg_id = s->msg_id;
	e->queue_id = s->queue_id;
	e->arrival = clock_real_us();
	e->sender = "";
	e->client_name = s->name;
	e->client_address = s->address;
	e->client_reverse_name = s->name;
	e->client_protocol = "QMQP";
	e->content_filter = conf_str(s->setup->conf, CONF_content_filter);
	e->complete_headers = true;
	e->orcpt_as_mapped = true;
	log_info("%s: client=%s", s->queue_id, s->client);
	return true;
}

static bool
receive(struct qmqpd_session *s)
{
	s->where = "receiving QMQP packet header";
	if (!read_length(s, false, &s->left))
		return false;
	s->where = "receiving message content";
	if (!read_content(s) || !read_envelope(s))
		return false;
	return read_comma(s, false);
}

/* ---- the reply ---------------------------------------------------------------------------------------------------- */

static void
reply(struct qmqpd_session *s, bool log_it, enum qmqpd_status status, const char *text)
{
	const struct conf *conf = s->setup->conf;
	struct buf out CLEANUP(buf_done) = {0};

	if (status == QMQPD_HARD && conf_bool(conf, CONF_soft_bounce))
		status = QMQPD_RETRY;
	if (log_it && status == QMQPD_OK)
		log_info("%s: %s: %s", s->queue_id, s->client, text);
	else if (log_it)
		log_warn("%s: %s: %s", s->queue_id, s->client, text);
	/* Slows down a client that runs wild. */
	if (status != QMQPD_OK)
		(void)task_sleep_until(clock_deadline(conf_time(conf, CONF_qmqpd_error_delay)));
	buf_printf(&out, "%zu:%c%s,", strlen(text) + 1, (int)status, text);
	stream_set_deadline(s->stream, clock_deadline(conf_time(conf, CONF_qmqpd_timeout)));
	if (io(s, stream_write_span(s->stream, buf_span(&out))))
		(void)io(s, stream_flush(s->stream));
}

static void
reply_err(struct qmqpd_session *s, const struct err *err)
{
	struct buf text CLEANUP(buf_done) = {0};
	const char *prefix = strncmp(err->text, "Error: ", 7) == 0 ? "" : "Error: ";

	buf_printf(&text, "%s%s", prefix, err->text);
	reply(s, true, err->kind == ERR_PERM ? QMQPD_HARD : QMQPD_RETRY, buf_str(&text));
}

static void
store(struct qmqpd_session *s)
{
	struct buf text CLEANUP(buf_done) = {0};
	struct err err;

	s->where = "sending completion status";
	if (s->rcpts == 0)
		return reply(s, true, QMQPD_HARD, "Error: no recipients specified");
	begin_content(s, buf_span(&s->content));
	if (s->content.len != 0)
		add_content(s, buf_span(&s->content));
	if (!cleanup_finish(s->cleanup, &err))
		return reply_err(s, &err);
	buf_printf(&text, "Ok: queued as %s", s->queue_id);
	reply(s, false, QMQPD_OK, buf_str(&text));
}

/* Closing with input unread would reset the connection, and the client might not see our answer. */
static void
drain(struct qmqpd_session *s)
{
	struct span bytes;
	size_t left = DRAIN_MAX;

	(void)shutdown(stream_fd(s->stream), SHUT_WR);
	stream_set_deadline(s->stream, clock_deadline(DRAIN_TIME));
	while (left > 0 && stream_peek(s->stream, &bytes) == STREAM_OK) {
		stream_consume(s->stream, bytes.len);
		left -= MIN(left, bytes.len);
	}
}

static bool
is_authorized(const struct qmqpd_session *s)
{
	struct span name = strcmp(s->name, "unknown") != 0 ? span_str(s->name) : (struct span){0};
	bool found = false;
	struct err err;

	return conf_net_list_match_client(s->setup->clients, name, s->setup->subdomains,
		   span_str(s->address), NULL, &found, &err) &&
	       found;
}

static void
talk(struct qmqpd_session *s)
{
	struct buf text CLEANUP(buf_done) = {0};
	struct err err;

	if (!is_authorized(s)) {
		buf_printf(&text, "Error: %s is not authorized to use this service", s->client);
		return reply(s, true, QMQPD_HARD, buf_str(&text));
	}
	if (!begin_message(s, &err))
		return reply_err(s, &err);
	if (receive(s))
		store(s);
	if (s->reason == NULL)
		return;
	log_info("%s: %s: %s while %s", s->queue_id, s->client, s->reason, s->where);
	if (!s->can_answer)
		return;
	buf_printf(&text, "%s while %s", s->reason, s->where);
	reply(s, false, QMQPD_HARD, buf_str(&text));
}

static void
name_client(struct qmqpd_session *s)
{
	net_addr_unmap(&s->peer);
	net_addr_text(&s->peer, s->address, sizeof(s->address));
	qmqpd_peer_name(&s->peer, s->name);
	if (conf_bool(s->setup->conf, CONF_qmqpd_client_port_logging))
		(void)snprintf(s->client, sizeof(s->client), "%s[%s]:%u", s->name, s->address,
		    net_addr_port(&s->peer));
	else
		(void)snprintf(s->client, sizeof(s->client), "%s[%s]", s->name, s->address);
}

void
qmqpd_session_run(struct stream *stream, const struct net_addr *peer, void *arg)
{
	struct qmqpd_server *server = arg;
	struct qmqpd_session *s = mem_new(struct qmqpd_session);

	s->server = server;
	s->setup = qmqpd_setup_ref(server->setup);
	s->stream = stream;
	s->peer = *peer;
	(void)snprintf(s->queue_id, sizeof(s->queue_id), "NOQUEUE");
	name_client(s);
	log_info("connect from %s", s->client);
	talk(s);
	drain(s);
	log_info("disconnect from %s", s->client);
	cleanup_free(&s->cleanup);
	buf_done(&s->content);
	arena_done(&s->arena);
	stream_free(&s->stream);
	qmqpd_setup_unref(&s->setup);
	mem_free(s);
}
