/*
 * load_session.c - one SMTP client session of the load generator.
 *
 * A session is in one step: the reply it waits for. The table step_handlers says what a reply does there. With
 * PIPELINING, MAIL, all RCPTs and DATA leave in one write and the steps only count the replies off (RFC 2920); without
 * it each step sends the next command. Invariants:
 *
 *   1. A session holds a message number exactly while `seq >= 0`, and gives it up only in finish_attempt().
 *   2. The socket is in the epoll set exactly while `fd >= 0`.
 *   3. A session in STEP_AT_REST is either in the waiting list (`waiting`, with or without a socket) or has a
 *      `wake_ns` and no socket.
 */
#include "load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "load_text.h"
#include "util.h"

#define IN_SIZE       2048
#define HEADER_MAX    512
#define COMMAND_MAX   128
#define RETRY_PAUSE   (100 * UTIL_NS_PER_MS)
#define QUEUE_ID_SIZE 64

enum step {
	STEP_AT_REST,
	STEP_GREETING,
	STEP_EHLO,
	STEP_MAIL,
	STEP_RCPT,
	STEP_DATA,
	STEP_DOT,
	STEP_RSET,
	STEP_IDLE,
	STEP_NOOP,
	STEP_QUIT,
	STEP_FINISHED,
	N_STEPS,
};

struct load_session {
	struct load *load;
	struct load_session *next_waiting;
	int fd;
	unsigned generation; /* counts this session's connections */
	enum step step;
	bool pipelining; /* offered by this server and wanted */
	bool ready;      /* counted in load->ready */
	bool wants_out;  /* EPOLLOUT is asked for */
	bool waiting;    /* in the list of load->first_waiting */
	int64_t seq;     /* message in hand, -1 = none */
	int rcpts_sent, rcpts_answered, rcpts_accepted;
	int refusal; /* first 4xx/5xx of this transaction */
	size_t body_bytes;
	int64_t dot_ns;
	int64_t wake_ns;     /* at rest: when to go on */
	int64_t deadline_ns; /* connected: when to give up */
	struct iovec out[3];
	int n_out;
	size_t in_len;
	char in[IN_SIZE];
	char *text; /* commands or message header being sent */
};

static void start_session(struct load_session *s);
static void next_message(struct load_session *s);

/* Room for a whole group of commands. */
static size_t
text_size(const struct load_options *opt)
{
	return HEADER_MAX + COMMAND_MAX * ((size_t)opt->recipients + 2);
}

void
load_session_init(struct load *load)
{
	load->sessions = util_alloc((size_t)load->opt.sessions, sizeof *load->sessions);
	load->live = load->opt.sessions;
	for (int i = 0; i < load->opt.sessions; i++) {
		struct load_session *s = &load->sessions[i];

		s->load = load;
		s->fd = -1;
		s->seq = -1;
		s->wake_ns = 1;
		s->text = util_alloc(text_size(&load->opt), 1);
	}
}

static void
touch(struct load_session *s)
{
	s->deadline_ns = util_now_ns() + (int64_t)(s->load->opt.timeout * 1e9);
}

static void
rest_until(struct load_session *s, int64_t wake_ns)
{
	s->step = STEP_AT_REST;
	s->wake_ns = wake_ns;
}

static void
close_socket(struct load_session *s)
{
	if (s->fd == -1)
		return;
	if (s->step == STEP_GREETING || s->step == STEP_EHLO)
		s->load->opening--;
	if (s->ready)
		s->load->ready--;
	s->ready = false;
	close(s->fd); /* leaves the epoll set by itself */
	s->fd = -1;
}

static void
finish_session(struct load_session *s)
{
	close_socket(s);
	s->step = STEP_FINISHED;
	s->load->live--;
}

/* The queue id of "250 2.0.0 Ok: queued as X" (Postfix's words), or "-". */
static void
find_queue_id(const char *text, char *id, size_t size)
{
	static const char words[] = "queued as ";
	const char *found = text ? strstr(text, words) : NULL;
	size_t len;

	snprintf(id, size, "-");
	if (found == NULL)
		return;
	found += sizeof words - 1;
	len = strcspn(found, " \r\n");
	if (len > 0 && len < size)
		snprintf(id, size, "%.*s", (int)len, found);
}

/* Invariant 1: every attempt ends here, once. With --retry an unaccepted one keeps its number. */
static void
finish_attempt(struct load_session *s, enum load_outcome outcome, const char *reply)
{
	char id[QUEUE_ID_SIZE];
	struct load_attempt attempt = {
	    .seq = s->seq,
	    .outcome = outcome,
	    .code = s->refusal,
	    .recipients = s->rcpts_accepted,
	    .body_bytes = s->body_bytes,
	    .queue_id = id,
	    .dot_ns = s->dot_ns,
	    .reply_ns = util_now_ns(),
	};

	if (s->seq < 0)
		return;
	find_queue_id(outcome == LOAD_ACCEPTED ? reply : NULL, id, sizeof id);
	load_tally_add(&s->load->tally, s->load->opt.run_id, &attempt);
	if (outcome == LOAD_ACCEPTED || !s->load->opt.retry || load_is_over(s->load))
		s->seq = -1;
}

/* The connection is of no more use: say what became of the message, pause, and start again. */
static void
lose_connection(struct load_session *s)
{
	if (s->step == STEP_GREETING)
		s->load->tally.connect_errors++;
	if (s->step == STEP_DOT && s->n_out == 0)
		finish_attempt(s, LOAD_IN_DOUBT, NULL);
	else
		finish_attempt(s, s->refusal ? LOAD_REFUSED : LOAD_FAILED, NULL);
	close_socket(s);
	if (!s->waiting)
		rest_until(s, util_now_ns() + RETRY_PAUSE);
}

/* Ask for EPOLLOUT only while something is left to write. */
static void
want_out(struct load_session *s, bool wanted)
{
	struct epoll_event ev = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = s};

	if (s->wants_out == wanted)
		return;
	epoll_ctl(s->load->epoll, EPOLL_CTL_MOD, s->fd, &ev);
	s->wants_out = wanted;
}

/* Drop `sent` octets from the front of out[]. */
static void
consume_out(struct load_session *s, size_t sent)
{
	int done = 0;

	while (done < s->n_out && sent >= s->out[done].iov_len)
		sent -= s->out[done++].iov_len;
	s->n_out -= done;
	memmove(s->out, s->out + done, (size_t)s->n_out * sizeof *s->out);
	if (s->n_out > 0) {
		s->out[0].iov_base = (char *)s->out[0].iov_base + sent;
		s->out[0].iov_len -= sent;
	}
}

/* Write what out[] holds, as much as the kernel takes; the rest follows on EPOLLOUT. */
static void
flush(struct load_session *s)
{
	ssize_t n;

	/* Before the write: on another core the reply may be there when it returns. The last part's time stays. */
	touch(s);
	if (s->step == STEP_DOT)
		s->dot_ns = util_now_ns();
	n = writev(s->fd, s->out, s->n_out);
	if (n == -1 && errno != EAGAIN && errno != EINTR) {
		lose_connection(s);
		return;
	}
	if (n > 0)
		consume_out(s, (size_t)n);
	want_out(s, s->n_out > 0);
}

static void
send_text(struct load_session *s, size_t len, enum step step)
{
	s->step = step;
	s->out[0] = (struct iovec){s->text, len};
	s->n_out = 1;
	flush(s);
}

static void
send_command(struct load_session *s, const char *command, enum step step)
{
	send_text(s, (size_t)snprintf(s->text, COMMAND_MAX, "%s\r\n", command), step);
}

static size_t
add_mail(const struct load_session *s, char *out)
{
	return (size_t)snprintf(
	    out, COMMAND_MAX, "MAIL FROM:<s%lld@example.com>\r\n", (long long)(s->seq % 1000));
}

static size_t
add_rcpt(const struct load_session *s, char *out, int n)
{
	const struct load_options *opt = &s->load->opt;
	int64_t domain = (s->seq + n) % opt->domains;

	if (opt->domains == 1)
		return (size_t)snprintf(out, COMMAND_MAX, "RCPT TO:<r%d.%lld@example.net>\r\n", n,
		    (long long)(s->seq % 1000));
	return (size_t)snprintf(out, COMMAND_MAX, "RCPT TO:<r%d.%lld@d%lld.example.net>\r\n", n,
	    (long long)(s->seq % 1000), (long long)domain);
}

/* MAIL, every RCPT and DATA in one write (RFC 2920 section 3.1). */
static void
send_group(struct load_session *s)
{
	size_t len = add_mail(s, s->text);

	for (int i = 0; i < s->load->opt.recipients; i++)
		len += add_rcpt(s, s->text + len, i);
	memcpy(s->text + len, "DATA\r\n", 6);
	s->rcpts_sent = s->load->opt.recipients;
	send_text(s, len + 6, STEP_MAIL);
}

static void
begin_transaction(struct load_session *s)
{
	s->rcpts_sent = s->rcpts_answered = s->rcpts_accepted = 0;
	s->refusal = 0;
	s->body_bytes = 0;
	s->dot_ns = 0;
	if (s->pipelining)
		send_group(s);
	else
		send_text(s, add_mail(s, s->text), STEP_MAIL);
}

static size_t
add_header(const struct load_session *s, char *out)
{
	const char *run = s->load->opt.run_id;
	long long seq = (long long)s->seq;

	return (size_t)snprintf(out, HEADER_MAX,
	    "From: Sender %lld <s%lld@example.com>\r\n"
	    "To: Recipient <r0.%lld@example.net>\r\n"
	    "Subject: report %lld of run %s\r\n"
	    "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\n"
	    "Message-ID: <%s.%lld@bench.example.com>\r\n"
	    "X-Bench-Id: %s-%lld\r\n"
	    "\r\n",
	    seq % 1000, seq % 1000, seq % 1000, seq, run, run, seq, run, seq);
}

/* Header, body, tail and dot in one write. */
static void
send_message(struct load_session *s)
{
	static char tail[] = "\r\n.\r\n";
	size_t header = add_header(s, s->text);
	size_t body = s->load->opt.size > header + 2 ? s->load->opt.size - header - 2 : 0;
	const char *slice = load_text_slice((uint64_t)s->seq, &body);

	s->step = STEP_DOT;
	s->body_bytes = body + 2;
	s->out[0] = (struct iovec){s->text, header};
	s->out[1] = (struct iovec){(char *)(uintptr_t)slice, body};
	s->out[2] = (struct iovec){tail, sizeof tail - 1};
	s->n_out = 3;
	flush(s);
}

/* A transaction that will not be accepted: leave the server in a clean state for the next one. */
static void
abandon(struct load_session *s)
{
	finish_attempt(s, LOAD_REFUSED, NULL);
	if (s->load->opt.reuse)
		send_command(s, "RSET", STEP_RSET);
	else
		send_command(s, "QUIT", STEP_QUIT);
}

static void
on_greeting(struct load_session *s, int code, const char *text)
{
	(void)text;
	if (code != 220) {
		s->refusal = code;
		lose_connection(s);
		return;
	}
	send_command(s, "EHLO load.example.com", STEP_EHLO);
}

static void
on_ehlo(struct load_session *s, int code, const char *text)
{
	(void)text;
	if (code != 250) {
		s->refusal = code;
		lose_connection(s);
		return;
	}
	s->load->opening--;
	s->load->pipelined |= s->pipelining;
	if (s->load->opt.idle) {
		s->step = STEP_IDLE;
		s->ready = true;
		s->load->ready++;
		s->deadline_ns = INT64_MAX;
		return;
	}
	begin_transaction(s);
}

static void
note_refusal(struct load_session *s, int code)
{
	if (s->refusal == 0 && code >= 400)
		s->refusal = code;
}

static void
on_mail(struct load_session *s, int code, const char *text)
{
	(void)text;
	note_refusal(s, code);
	if (s->pipelining)
		s->step = STEP_RCPT;
	else if (code != 250)
		abandon(s);
	else
		send_text(s, add_rcpt(s, s->text, s->rcpts_sent++), STEP_RCPT);
}

static void
on_rcpt(struct load_session *s, int code, const char *text)
{
	(void)text;
	s->rcpts_answered++;
	s->rcpts_accepted += code == 250;
	note_refusal(s, code);
	if (s->rcpts_answered < s->rcpts_sent)
		return;
	if (s->pipelining)
		s->step = STEP_DATA;
	else if (s->rcpts_sent < s->load->opt.recipients)
		send_text(s, add_rcpt(s, s->text, s->rcpts_sent++), STEP_RCPT);
	else if (s->rcpts_accepted == 0)
		abandon(s);
	else
		send_command(s, "DATA", STEP_DATA);
}

static void
on_data(struct load_session *s, int code, const char *text)
{
	(void)text;
	if (code != 354) {
		note_refusal(s, code);
		abandon(s);
	} else if (s->rcpts_accepted == 0) {
		/* RFC 2920 section 3.1: 354 without a valid recipient is answered with a lone dot. */
		send_command(s, ".", STEP_DOT);
	} else {
		send_message(s);
	}
}

static void
on_dot(struct load_session *s, int code, const char *text)
{
	if (s->n_out > 0) {
		/* Refused before all of it was sent: the rest would be taken for commands. */
		note_refusal(s, code);
		lose_connection(s);
		return;
	}
	if (code == 250 && s->rcpts_accepted > 0) {
		finish_attempt(s, LOAD_ACCEPTED, text);
	} else {
		note_refusal(s, code);
		finish_attempt(s, LOAD_REFUSED, text);
	}
	next_message(s);
}

static void
on_rset(struct load_session *s, int code, const char *text)
{
	(void)code;
	(void)text;
	next_message(s);
}

static void
on_unasked(struct load_session *s, int code, const char *text)
{
	(void)code;
	(void)text;
	lose_connection(s);
}

static void
on_noop(struct load_session *s, int code, const char *text)
{
	(void)text;
	s->load->noops_answered += code == 250;
	finish_session(s);
}

static void
on_quit(struct load_session *s, int code, const char *text)
{
	(void)code;
	(void)text;
	close_socket(s);
	start_session(s);
}

typedef void step_handler(struct load_session *s, int code, const char *text);

/* clang-format off */
static step_handler *const step_handlers[N_STEPS] = {
	[STEP_GREETING] = on_greeting,
	[STEP_EHLO]     = on_ehlo,
	[STEP_MAIL]     = on_mail,
	[STEP_RCPT]     = on_rcpt,
	[STEP_DATA]     = on_data,
	[STEP_DOT]      = on_dot,
	[STEP_RSET]     = on_rset,
	[STEP_IDLE]     = on_unasked,
	[STEP_NOOP]     = on_noop,
	[STEP_QUIT]     = on_quit,
};
/* clang-format on */

static void
wait_for_turn(struct load_session *s)
{
	struct load *load = s->load;

	s->wake_ns = 0;
	s->waiting = true;
	s->next_waiting = NULL;
	if (load->first_waiting == NULL)
		load->first_waiting = s;
	else
		load->last_waiting->next_waiting = s;
	load->last_waiting = s;
}

/* A number for the next message, unless one to be retried is in hand. */
static enum load_turn
take_turn(struct load_session *s)
{
	if (s->seq >= 0)
		return LOAD_NOW;
	return load_take(s->load, &s->seq);
}

/* After a transaction on an open connection. */
static void
next_message(struct load_session *s)
{
	if (!s->load->opt.reuse) {
		send_command(s, "QUIT", STEP_QUIT);
		return;
	}
	switch (take_turn(s)) {
	case LOAD_NOW:
		begin_transaction(s);
		break;
	case LOAD_LATER:
		s->step = STEP_AT_REST;
		s->deadline_ns = INT64_MAX;
		wait_for_turn(s);
		break;
	case LOAD_NEVER:
		send_command(s, "QUIT", STEP_QUIT);
		break;
	}
}

static void
connect_socket(struct load_session *s)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = s};
	const struct sockaddr_in *server = &s->load->opt.server;
	int one = 1;

	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd == -1)
		util_die("socket");
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	s->generation++;
	s->step = STEP_GREETING;
	s->load->opening++;
	s->load->tally.connects++;
	s->pipelining = false;
	s->wants_out = false;
	s->in_len = 0;
	s->n_out = 0;
	s->refusal = 0;
	touch(s);
	if (connect(s->fd, (const struct sockaddr *)server, sizeof *server) == -1 &&
	    errno != EINPROGRESS) {
		lose_connection(s);
		return;
	}
	if (epoll_ctl(s->load->epoll, EPOLL_CTL_ADD, s->fd, &ev) == -1)
		util_die("epoll_ctl");
}

/* From rest, with or without a connection that waited for its turn. */
static void
start_session(struct load_session *s)
{
	enum load_turn turn = s->load->opt.idle ? LOAD_NOW : take_turn(s);

	s->step = STEP_AT_REST;
	s->wake_ns = 0;
	if (turn == LOAD_NOW && s->fd >= 0)
		begin_transaction(s);
	else if (turn == LOAD_NOW)
		connect_socket(s);
	else if (turn == LOAD_LATER)
		wait_for_turn(s);
	else if (s->fd >= 0)
		send_command(s, "QUIT", STEP_QUIT);
	else
		finish_session(s);
}

/* One reply line, CRLF cut off. Only the last line of a reply counts, but for EHLO's keywords. */
static void
handle_line(struct load_session *s, const char *line, size_t len)
{
	int code = 0;

	if (len < 3 || step_handlers[s->step] == NULL) {
		lose_connection(s);
		return;
	}
	for (int i = 0; i < 3; i++)
		code = code * 10 + (line[i] - '0');
	if (s->step == STEP_EHLO && len >= 14 && strncasecmp(line + 4, "PIPELINING", 10) == 0)
		s->pipelining = s->load->opt.pipelining;
	if (len > 3 && line[3] == '-')
		return;
	if (code == 421) {
		note_refusal(s, code);
		lose_connection(s);
		return;
	}
	step_handlers[s->step](s, code, line);
}

/* Every complete line; stops when a handler closed or replaced the connection. */
static void
handle_input(struct load_session *s)
{
	char *line = s->in, *end;
	unsigned generation = s->generation;

	while ((end = memchr(line, '\n', s->in_len)) != NULL) {
		size_t len = (size_t)(end - line);

		s->in_len -= len + 1;
		*end = '\0';
		handle_line(s, line, len);
		line = end + 1;
		if (s->fd == -1 || s->generation != generation)
			return;
	}
	memmove(s->in, line, s->in_len);
	if (s->in_len == sizeof s->in)
		lose_connection(s);
}

void
load_session_event(struct load_session *s, uint32_t events)
{
	ssize_t n;

	if (s->fd == -1)
		return;
	if ((events & EPOLLOUT) && s->n_out > 0)
		flush(s);
	if (s->fd == -1 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	n = read(s->fd, s->in + s->in_len, sizeof s->in - s->in_len);
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		if (s->step == STEP_QUIT)
			on_quit(s, 0, "");
		else
			lose_connection(s);
		return;
	}
	touch(s);
	s->in_len += (size_t)n;
	handle_input(s);
}

/* Sessions that wait for the rate limit go in the order they came. */
static void
poll_waiting(struct load *load)
{
	while (load->first_waiting != NULL) {
		struct load_session *s = load->first_waiting;

		if (s->seq < 0 && load_take(load, &s->seq) == LOAD_LATER)
			return;
		load->first_waiting = s->next_waiting;
		s->waiting = false;
		start_session(s);
	}
}

/* When time is over, a session that was never greeted has nothing to finish. */
static bool
is_pointless(const struct load_session *s)
{
	return (s->step == STEP_GREETING || s->step == STEP_EHLO) && load_is_over(s->load);
}

void
load_session_poll(struct load *load, int64_t now)
{
	poll_waiting(load);
	for (int i = 0; i < load->opt.sessions; i++) {
		struct load_session *s = &load->sessions[i];

		if (s->step == STEP_FINISHED)
			continue;
		if (s->fd == -1 && s->wake_ns > 0 && now >= s->wake_ns) {
			if (load->opt.window == 0 || load->opening < load->opt.window)
				start_session(s);
		} else if (s->fd >= 0 && is_pointless(s)) {
			s->seq = -1;
			finish_session(s);
		} else if (s->fd >= 0 && now >= s->deadline_ns) {
			load->tally.timeouts++;
			lose_connection(s);
		}
	}
}

void
load_session_cut_off(struct load *load)
{
	for (int i = 0; i < load->opt.sessions; i++) {
		struct load_session *s = &load->sessions[i];

		if (s->fd >= 0 && s->seq >= 0)
			lose_connection(s);
	}
}

void
load_session_wake_idle(struct load *load)
{
	for (int i = 0; i < load->opt.sessions; i++) {
		struct load_session *s = &load->sessions[i];

		if (s->step == STEP_IDLE)
			send_command(s, "NOOP", STEP_NOOP);
		else if (s->step != STEP_FINISHED)
			finish_session(s);
	}
}
