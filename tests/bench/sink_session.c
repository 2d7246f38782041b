/*
 * sink_session.c - one SMTP server session of the sink, made to cost little: everything that has arrived is handled
 * in one go, the replies of a pipelined group leave in one write, and a body is searched for its end, not parsed.
 *
 * A session reads commands, then a message's header by lines (for its id), then its body in bulk:
 *
 *	GREETING --> COMMAND --DATA--> HEADER --blank line--> BODY --CRLF.CRLF--> COMMAND
 *	                                  '------------ "." --------------------->'
 *
 * Each take_*() handles one piece of the input at `pos` and says whether to go on. A stalled session is out of the
 * epoll set; its input stays in in[], unread from the step that stalled, until sink_session_poll() goes on.
 */
#include "sink.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

#define IN_SIZE       ((size_t)64 << 10)
#define OUT_SIZE      ((size_t)256 << 10)
#define ID_SIZE       128
#define MAX_RCPT_TEXT ((size_t)16 << 20)

enum state { GREETING, COMMAND, HEADER, BODY, CLOSED };

struct sink_session {
	struct sink *sink;
	struct sink_session *next; /* in the free list or the list of stalled ones */
	int fd;
	enum state state;
	bool wants_out;    /* replies are left that the kernel did not take */
	bool stall_served; /* the step at the front of in[] had its stall */
	int64_t resume_ns;
	bool has_sender;
	uint64_t rcpts;
	uint64_t header_bytes, body_bytes;
	char id[ID_SIZE];
	char *rcpt_text; /* local parts joined by commas; only with a ledger */
	size_t rcpt_len, rcpt_max;
	size_t in_len, pos;
	char *pending; /* replies the kernel did not take */
	size_t pending_len;
	char in[IN_SIZE];
};

static struct sink_session *free_sessions, *stalled_sessions;

/* Replies of the session being handled; empty between events. */
static char out[OUT_SIZE];
static size_t out_len;

static void
reset_transaction(struct sink_session *s)
{
	s->has_sender = false;
	s->rcpts = 0;
	s->rcpt_len = 0;
	s->header_bytes = s->body_bytes = 0;
	s->id[0] = '\0';
}

static struct sink_session *
new_session(struct sink *sink, int fd)
{
	struct sink_session *s = free_sessions;

	if (s == NULL)
		s = util_alloc(1, sizeof *s);
	else
		free_sessions = s->next;
	s->sink = sink;
	s->fd = fd;
	s->state = GREETING;
	s->wants_out = s->stall_served = false;
	s->in_len = s->pos = 0;
	s->next = NULL;
	reset_transaction(s);
	return s;
}

static void
close_session(struct sink_session *s)
{
	close(s->fd);
	free(s->pending);
	s->pending = NULL;
	s->pending_len = 0;
	s->state = CLOSED;
	s->next = free_sessions;
	free_sessions = s;
}

static void
watch(struct sink_session *s, int operation, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = s};

	if (epoll_ctl(s->sink->epoll, operation, s->fd, &ev) == -1)
		util_die("epoll_ctl");
}

/* Keep replies for later, and read nothing more before they are gone. */
static void
keep_pending(struct sink_session *s, const char *data, size_t len)
{
	s->pending = realloc(s->pending, s->pending_len + len);
	if (s->pending == NULL)
		util_die("out of memory");
	memcpy(s->pending + s->pending_len, data, len);
	s->pending_len += len;
	if (!s->wants_out)
		watch(s, EPOLL_CTL_MOD, EPOLLOUT);
	s->wants_out = true;
}

/* False: the connection is gone and the session closed. */
static bool
flush_out(struct sink_session *s)
{
	size_t len = out_len;
	ssize_t n = 0;

	out_len = 0;
	if (len == 0)
		return true;
	if (!s->wants_out)
		n = send(s->fd, out, len, MSG_NOSIGNAL);
	if (n == -1 && errno != EAGAIN && errno != EINTR) {
		close_session(s);
		return false;
	}
	if (n < 0)
		n = 0;
	if ((size_t)n < len)
		keep_pending(s, out + n, len - (size_t)n);
	return true;
}

static bool
flush_pending(struct sink_session *s)
{
	ssize_t n = send(s->fd, s->pending, s->pending_len, MSG_NOSIGNAL);

	if (n == -1 && errno != EAGAIN && errno != EINTR) {
		close_session(s);
		return false;
	}
	if (n > 0) {
		s->pending_len -= (size_t)n;
		memmove(s->pending, s->pending + n, s->pending_len);
	}
	if (s->pending_len > 0)
		return false;
	s->wants_out = false;
	watch(s, EPOLL_CTL_MOD, EPOLLIN);
	return true;
}

static void
reply(struct sink_session *s, const char *text)
{
	size_t len = strlen(text);

	if (out_len + len > OUT_SIZE && !flush_out(s))
		return;
	memcpy(out + out_len, text, len);
	out_len += len;
}

static void
reply_scripted(struct sink_session *s, int code)
{
	char text[64];

	atomic_fetch_add_explicit(&s->sink->stats->refused, 1, memory_order_relaxed);
	snprintf(text, sizeof text, "%d %d.3.0 scripted reply\r\n", code, code / 100);
	reply(s, text);
}

/* Replies so far are sent first, then silence until `seconds` are over. */
static void
stall(struct sink_session *s, double seconds)
{
	if (!flush_out(s))
		return;
	atomic_fetch_add_explicit(&s->sink->stats->stalled, 1, memory_order_relaxed);
	epoll_ctl(s->sink->epoll, EPOLL_CTL_DEL, s->fd, NULL);
	s->resume_ns = util_now_ns() + (int64_t)(seconds * 1e9);
	s->stall_served = true;
	s->next = stalled_sessions;
	stalled_sessions = s;
	s->sink->stalled++;
}

enum verdict {
	GO_ON, /* no rule hit: answer as always */
	DONE,  /* the rule gave the answer */
	HOLD,  /* stalled: this step is to be handled again later */
	GONE,  /* the session is closed */
};

static enum verdict
apply_rules(struct sink_session *s, enum sink_step step)
{
	const struct sink_rule *rule = s->stall_served ? NULL : sink_rules_pick(step);

	s->stall_served = false;
	if (rule == NULL)
		return GO_ON;
	switch (rule->action) {
	case SINK_REPLY:
		reply_scripted(s, rule->code);
		return DONE;
	case SINK_STALL:
		stall(s, rule->seconds);
		return s->state == CLOSED ? GONE : HOLD;
	case SINK_DROP:
		break;
	}
	atomic_fetch_add_explicit(&s->sink->stats->dropped, 1, memory_order_relaxed);
	out_len = 0;
	close_session(s);
	return GONE;
}

/* Add the local part of "RCPT TO:<local@domain>" to the message's list. */
static void
note_recipient(struct sink_session *s, const char *line, size_t len)
{
	const char *start = memchr(line, '<', len), *at;
	size_t local;

	if (start == NULL)
		return;
	start++;
	at = memchr(start, '@', len - (size_t)(start - line));
	local = at ? (size_t)(at - start) : 0;
	if (s->rcpt_len + local + 2 > s->rcpt_max && s->rcpt_max < MAX_RCPT_TEXT) {
		s->rcpt_max = (s->rcpt_max + local + 256) * 2;
		s->rcpt_text = realloc(s->rcpt_text, s->rcpt_max);
		if (s->rcpt_text == NULL)
			util_die("out of memory");
	}
	if (s->rcpt_len + local + 2 > s->rcpt_max)
		return;
	if (s->rcpt_len > 0)
		s->rcpt_text[s->rcpt_len++] = ',';
	memcpy(s->rcpt_text + s->rcpt_len, start, local);
	s->rcpt_len += local;
	s->rcpt_text[s->rcpt_len] = '\0';
}

static void
on_ehlo(struct sink_session *s, const char *line, size_t len)
{
	(void)line;
	(void)len;
	reply(s, "250-sink.example.net\r\n250-PIPELINING\r\n250-SIZE 268435456\r\n"
		 "250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n");
}

static void
on_helo(struct sink_session *s, const char *line, size_t len)
{
	(void)line;
	(void)len;
	reply(s, "250 sink.example.net\r\n");
}

static void
on_mail(struct sink_session *s, const char *line, size_t len)
{
	(void)line;
	(void)len;
	reset_transaction(s);
	s->has_sender = true;
	reply(s, "250 2.1.0 Ok\r\n");
}

static void
on_rcpt(struct sink_session *s, const char *line, size_t len)
{
	if (!s->has_sender) {
		reply(s, "503 5.5.1 Need MAIL first\r\n");
		return;
	}
	s->rcpts++;
	if (s->sink->with_ledger)
		note_recipient(s, line, len);
	reply(s, "250 2.1.5 Ok\r\n");
}

static void
on_data(struct sink_session *s, const char *line, size_t len)
{
	(void)line;
	(void)len;
	if (s->rcpts == 0) {
		reply(s, "554 5.5.1 No valid recipients\r\n");
		return;
	}
	s->state = HEADER;
	reply(s, "354 Go ahead\r\n");
}

static void
on_rset(struct sink_session *s, const char *line, size_t len)
{
	(void)line;
	(void)len;
	reset_transaction(s);
	reply(s, "250 2.0.0 Ok\r\n");
}

static void
on_noop(struct sink_session *s, const char *line, size_t len)
{
	(void)line;
	(void)len;
	reply(s, "250 2.0.0 Ok\r\n");
}

static void
on_quit(struct sink_session *s, const char *line, size_t len)
{
	(void)line;
	(void)len;
	reply(s, "221 2.0.0 Bye\r\n");
	/* Replies that the kernel did not take yet are worth more than a prompt close. */
	if (flush_out(s) && !s->wants_out)
		close_session(s);
}

/* clang-format off */
static const struct command {
	char verb[5];
	enum sink_step step; /* SINK_N_STEPS: no rules here */
	void (*handle)(struct sink_session *s, const char *line, size_t len);
} commands[] = {
	{ "RCPT", SINK_RCPT,    on_rcpt },
	{ "MAIL", SINK_MAIL,    on_mail },
	{ "DATA", SINK_DATA,    on_data },
	{ "EHLO", SINK_EHLO,    on_ehlo },
	{ "HELO", SINK_EHLO,    on_helo },
	{ "RSET", SINK_N_STEPS, on_rset },
	{ "NOOP", SINK_N_STEPS, on_noop },
	{ "QUIT", SINK_QUIT,    on_quit },
};
/* clang-format on */

static bool
take_greeting(struct sink_session *s)
{
	enum verdict verdict = apply_rules(s, SINK_CONNECT);

	if (verdict == GO_ON)
		reply(s, "220 sink.example.net ESMTP\r\n");
	if (verdict == GO_ON || verdict == DONE)
		s->state = COMMAND;
	return s->state == COMMAND;
}

static const struct command *
find_command(const char *line, size_t len)
{
	for (size_t i = 0; len >= 4 && i < sizeof commands / sizeof *commands; i++) {
		if (strncasecmp(line, commands[i].verb, 4) == 0)
			return &commands[i];
	}
	return NULL;
}

static bool
take_command(struct sink_session *s)
{
	const char *line = s->in + s->pos;
	const char *end = memchr(line, '\n', s->in_len - s->pos);
	size_t len = end ? (size_t)(end - line) + 1 : 0;
	const struct command *command = find_command(line, len);
	enum verdict verdict = GO_ON;

	if (end == NULL)
		return false;
	if (command != NULL)
		verdict = apply_rules(s, command->step);
	if (verdict == HOLD || verdict == GONE)
		return false;
	s->pos += len;
	if (command == NULL)
		reply(s, "500 5.5.2 Command unrecognized\r\n");
	else if (verdict == GO_ON)
		command->handle(s, line, len);
	return s->state != CLOSED;
}

static void
count_message(struct sink_session *s)
{
	struct sink_stats *stats = s->sink->stats;
	uint64_t now = (uint64_t)util_now_ns(), none = 0;

	if (s->sink->with_ledger)
		sink_ledger_add(s->id[0] ? s->id : "-", s->rcpt_len ? s->rcpt_text : "-",
		    s->body_bytes, (int64_t)now);
	if (atomic_load_explicit(&stats->first_ns, memory_order_relaxed) == 0)
		atomic_compare_exchange_strong(&stats->first_ns, &none, now);
	atomic_store_explicit(&stats->last_ns, now, memory_order_relaxed);
	atomic_fetch_add_explicit(&stats->recipients, s->rcpts, memory_order_relaxed);
	atomic_fetch_add_explicit(
	    &stats->bytes, s->header_bytes + s->body_bytes, memory_order_relaxed);
	/* Last, so that who sees the count sees the rest. */
	atomic_fetch_add_explicit(&stats->messages, 1, memory_order_release);
}

/* The message's end is found: `body` octets of body and `end` octets of terminator are left of it at `pos`. */
static bool
take_end(struct sink_session *s, size_t body, size_t end)
{
	enum verdict verdict = apply_rules(s, SINK_DOT);

	if (verdict == HOLD || verdict == GONE)
		return false;
	s->pos += body + end;
	s->body_bytes += body;
	if (verdict == GO_ON) {
		count_message(s);
		reply(s, "250 2.0.0 Ok\r\n");
	}
	reset_transaction(s);
	if (s->state != CLOSED)
		s->state = COMMAND;
	return s->state != CLOSED;
}

/* If this header line is the id header, keep its value. */
static void
note_id(struct sink_session *s, const char *line, size_t len)
{
	size_t name = strlen(s->sink->id_header);

	if (len <= name + 1 || line[name] != ':' ||
	    strncasecmp(line, s->sink->id_header, name) != 0)
		return;
	line += name + 1;
	len -= name + 1;
	while (len > 0 && *line == ' ') {
		line++;
		len--;
	}
	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		len--;
	if (len < ID_SIZE && memchr(line, ' ', len) == NULL)
		snprintf(s->id, ID_SIZE, "%.*s", (int)len, line);
}

static bool
take_header_line(struct sink_session *s)
{
	const char *line = s->in + s->pos;
	const char *end = memchr(line, '\n', s->in_len - s->pos);
	size_t len = end ? (size_t)(end - line) + 1 : 0;

	if (end == NULL)
		return false;
	if (len == 3 && memcmp(line, ".\r\n", 3) == 0)
		return take_end(s, 0, 3);
	s->header_bytes += len;
	if (len == 2 && line[0] == '\r') {
		/* The blank line's CRLF is left there, so that a body of nothing but the dot is found by it. */
		s->state = BODY;
		return true;
	}
	if (s->sink->with_ledger)
		note_id(s, line, len);
	s->pos += len;
	return true;
}

/* The blank line's CRLF is counted and the last line's is not, so the count of body octets is right. */
static bool
take_body(struct sink_session *s)
{
	const char *data = s->in + s->pos;
	size_t len = s->in_len - s->pos;
	const char *end = memmem(data, len, "\r\n.\r\n", 5);

	if (end != NULL)
		return take_end(s, (size_t)(end - data), 5);
	if (len > 4) {
		s->body_bytes += len - 4;
		s->pos += len - 4;
	}
	return false;
}

static bool
take_next(struct sink_session *s)
{
	switch (s->state) {
	case GREETING:
		return take_greeting(s);
	case COMMAND:
		return take_command(s);
	case HEADER:
		return take_header_line(s);
	case BODY:
		return take_body(s);
	case CLOSED:
		break;
	}
	return false;
}

/* in[] is full of one line: a header is read on as body, a command is refused. */
static void
handle_full(struct sink_session *s)
{
	if (s->state == HEADER) {
		s->state = BODY;
	} else if (s->state == COMMAND) {
		reply(s, "500 5.5.2 Line too long\r\n");
		if (flush_out(s))
			close_session(s);
	}
}

static void
handle_input(struct sink_session *s)
{
	while (take_next(s))
		;
	if (s->state == CLOSED)
		return;
	s->in_len -= s->pos;
	memmove(s->in, s->in + s->pos, s->in_len);
	s->pos = 0;
	if (s->in_len == IN_SIZE)
		handle_full(s);
	if (s->state != CLOSED)
		flush_out(s);
}

static void
set_nodelay(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

void
sink_session_accept(struct sink *sink)
{
	for (;;) {
		int fd = accept4(sink->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct sink_session *s;

		if (fd == -1 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd == -1 && errno == EAGAIN)
			return;
		if (fd == -1)
			util_die("accept");
		set_nodelay(fd);
		atomic_fetch_add_explicit(&sink->stats->connections, 1, memory_order_relaxed);
		s = new_session(sink, fd);
		watch(s, EPOLL_CTL_ADD, EPOLLIN);
		handle_input(s);
	}
}

void
sink_session_event(struct sink_session *s, uint32_t events)
{
	ssize_t n;

	if (s->wants_out) {
		if (!flush_pending(s))
			return;
	} else if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
		return;
	}
	n = recv(s->fd, s->in + s->in_len, IN_SIZE - s->in_len, 0);
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_session(s);
		return;
	}
	s->in_len += (size_t)n;
	handle_input(s);
}

void
sink_session_poll(struct sink *sink, int64_t now_ns)
{
	struct sink_session *s = stalled_sessions, *next;

	stalled_sessions = NULL;
	for (; s != NULL; s = next) {
		next = s->next;
		if (now_ns < s->resume_ns) {
			s->next = stalled_sessions;
			stalled_sessions = s;
			continue;
		}
		sink->stalled--;
		watch(s, EPOLL_CTL_ADD, s->wants_out ? EPOLLOUT : EPOLLIN);
		handle_input(s);
	}
}
