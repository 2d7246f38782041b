/*
 * stream.c - buffered reading and writing for one task: see stream.h. The socket is in stream_io.c, TLS in stream_tls.c.
 */
#include "net/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/net_int.h"
#include "task/task.h"
#include "tls/tls.h"

/* ---- life ------------------------------------------------------------------------------------------------------ */

struct stream *
stream_new_watched(int fd, struct task_fd *watch)
{
	struct stream *s = mem_new(struct stream);
	int on = 1;

	s->fd = fd;
	s->watch = watch;
	s->deadline = CLOCK_NEVER;
	s->in_next = STREAM_BUFFER_MIN;
	/* Replies are written whole: waiting to fill a segment only costs time. Fails on UNIX sockets, rightly. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return s;
}

struct stream *
stream_new(int fd)
{
	return stream_new_watched(fd, task_fd_new(fd));
}

void
stream_free(struct stream **s)
{
	struct stream *gone = *s;

	if (gone == NULL)
		return;
	*s = NULL;
	if (gone->tls != NULL)
		stream_tls_close(gone);
	task_fd_free(&gone->watch);
	(void)close(gone->fd);
	mem_free(gone->in);
	buf_done(&gone->out);
	buf_done(&gone->cipher);
	mem_free(gone);
}

int
stream_fd(const struct stream *s)
{
	return s->fd;
}

int
stream_errno(const struct stream *s)
{
	return s->error;
}

void
stream_set_deadline(struct stream *s, int64_t deadline)
{
	s->deadline = deadline;
}

/* ---- the input buffer ------------------------------------------------------------------------------------------ */

static void
replace_buffer(struct stream *s, size_t size)
{
	mem_free(s->in);
	s->in = mem_alloc(size);
	s->in_size = size;
}

void
stream_make_room(struct stream *s, size_t cap)
{
	if (s->in_from == s->in_to) {
		s->in_from = s->in_to = s->in_scanned = 0;
		if (s->in_size < s->in_next)
			replace_buffer(s, s->in_next);
		return;
	}
	if (s->in_to < s->in_size)
		return;
	if (s->in_from > 0) {
		memmove(s->in, s->in + s->in_from, s->in_to - s->in_from);
		s->in_to -= s->in_from;
		s->in_from = 0;
		return;
	}
	MUST(s->in_size < cap);
	s->in_size = MIN(4 * s->in_size, cap);
	s->in = mem_resize(s->in, s->in_size, 1);
}

void
stream_got_input(struct stream *s, size_t n, size_t room)
{
	s->in_to += n;
	if (n == room && s->in_next < STREAM_BUFFER_MAX)
		s->in_next *= 4;
	else if (n < s->in_next / 8 && s->in_next > STREAM_BUFFER_MIN)
		s->in_next /= 4;
}

/* Adds at least one byte to the input, which may grow to `cap` bytes. */
static enum stream_result
fill(struct stream *s, size_t cap)
{
	enum stream_result r;
	size_t n, room;

	if (task_is_cancelled())
		return STREAM_CANCELLED;
	if (s->tls != NULL)
		return stream_tls_fill(s, cap);
	for (;;) {
		if (!s->drained) {
			stream_make_room(s, cap);
			room = s->in_size - s->in_to;
			r = stream_receive_now(s, s->in + s->in_to, room, &n);
			stream_got_input(s, n, room);
			if (r != STREAM_OK || n > 0)
				return r;
		}
		r = stream_wait_input(s);
		if (r != STREAM_OK)
			return r;
	}
}

static size_t
buffered(const struct stream *s)
{
	return s->in_to - s->in_from;
}

bool
stream_has_input(struct stream *s)
{
	return buffered(s) > 0 || s->tls_has_more;
}

size_t
stream_input_size(const struct stream *s)
{
	return buffered(s);
}

void
stream_discard_input(struct stream *s)
{
	s->in_from = s->in_to = s->in_scanned = 0;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

void
stream_consume(struct stream *s, size_t n)
{
	MUST(n <= buffered(s));
	s->in_from += n;
	s->in_scanned = 0;
}

/* Consumes the line whose LF is the byte at index `lf`. */
static enum stream_result
take_line(struct stream *s, size_t lf, size_t max, struct span *ret_line, bool *ret_bare_lf)
{
	const char *line = s->in + s->in_from;
	bool bare = lf == 0 || line[lf - 1] != '\r';
	size_t len = bare ? lf : lf - 1;

	if (len > max) {
		*ret_line = span_of(line, max);
		stream_consume(s, max);
		return STREAM_TOO_LONG;
	}
	*ret_line = span_of(line, len);
	if (ret_bare_lf != NULL)
		*ret_bare_lf = bare;
	stream_consume(s, lf + 1);
	return STREAM_OK;
}

enum stream_result
stream_read_line(struct stream *s, size_t max, struct span *ret_line, bool *ret_bare_lf)
{
	for (;;) {
		size_t look = MIN(buffered(s), max + 2);
		const char *line = s->in + s->in_from;
		const char *lf = look > s->in_scanned
				     ? memchr(line + s->in_scanned, '\n', look - s->in_scanned)
				     : NULL;
		enum stream_result r;

		if (lf != NULL)
			return take_line(s, (size_t)(lf - line), max, ret_line, ret_bare_lf);
		s->in_scanned = look;
		if (look == max + 2) {
			*ret_line = span_of(line, max);
			stream_consume(s, max);
			return STREAM_TOO_LONG;
		}
		r = fill(s, MAX(STREAM_BUFFER_MAX, max + 2));
		if (r != STREAM_OK)
			return r;
	}
}

enum stream_result
stream_peek(struct stream *s, struct span *ret_bytes)
{
	if (buffered(s) == 0) {
		enum stream_result r = fill(s, STREAM_BUFFER_MAX);

		if (r != STREAM_OK)
			return r;
	}
	*ret_bytes = span_of(s->in + s->in_from, buffered(s));
	return STREAM_OK;
}

/* Into the caller's memory without a copy on the way: what is long and not encrypted. */
static enum stream_result
receive_direct(struct stream *s, char *to, size_t len, size_t *ret_n)
{
	enum stream_result r = STREAM_OK;

	*ret_n = 0;
	if (task_is_cancelled())
		return STREAM_CANCELLED;
	if (s->drained)
		r = stream_wait_input(s);
	if (r == STREAM_OK)
		r = stream_receive_now(s, to, len, ret_n);
	return r;
}

enum stream_result
stream_read_full(struct stream *s, void *to, size_t len)
{
	char *at = to;

	while (len > 0) {
		enum stream_result r = STREAM_OK;
		size_t n = MIN(len, buffered(s));

		if (n > 0) {
			memcpy(at, s->in + s->in_from, n);
			stream_consume(s, n);
		} else if (s->tls == NULL && len >= STREAM_BUFFER_MIN) {
			r = receive_direct(s, at, len, &n);
		} else {
			r = fill(s, STREAM_BUFFER_MAX);
		}
		if (r != STREAM_OK)
			return r;
		at += n;
		len -= n;
	}
	return STREAM_OK;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

enum stream_result
stream_flush(struct stream *s)
{
	struct iovec iov = {.iov_base = s->out.ptr, .iov_len = s->out.len};
	enum stream_result r;

	if (s->out.len == 0)
		return STREAM_OK;
	if (s->tls != NULL)
		return stream_tls_flush(s);
	r = stream_send(s, &iov, 1);
	buf_clear(&s->out);
	return r;
}

/* What has gathered and `len` bytes more, in one go. */
static enum stream_result
send_with(struct stream *s, const void *ptr, size_t len)
{
	union {
		const void *in;
		void *out;
	} unconst = {.in = ptr}; /* struct iovec has no const; sendmsg() does not write */
	struct iovec iov[2] = {{s->out.ptr, s->out.len}, {unconst.out, len}};
	enum stream_result r = stream_send(s, iov, 2);

	buf_clear(&s->out);
	return r;
}

enum stream_result
stream_write(struct stream *s, const void *ptr, size_t len)
{
	const char *from = ptr;

	if (s->out.len + len <= STREAM_BUFFER_MAX) {
		buf_add(&s->out, ptr, len);
		return STREAM_OK;
	}
	if (s->tls == NULL)
		return send_with(s, ptr, len);
	while (len > 0) {
		size_t n = MIN(len, STREAM_BUFFER_MAX - s->out.len);
		enum stream_result r = STREAM_OK;

		buf_add(&s->out, from, n);
		from += n;
		len -= n;
		if (s->out.len == STREAM_BUFFER_MAX)
			r = stream_flush(s);
		if (r != STREAM_OK)
			return r;
	}
	return STREAM_OK;
}

enum stream_result
stream_write_span(struct stream *s, struct span bytes)
{
	return stream_write(s, bytes.ptr, bytes.len);
}

enum stream_result
stream_printf(struct stream *s, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	buf_vprintf(&s->out, fmt, args);
	va_end(args);
	return s->out.len > STREAM_BUFFER_MAX ? stream_flush(s) : STREAM_OK;
}

/* ---- words ----------------------------------------------------------------------------------------------------- */

const char *
stream_result_text(enum stream_result r)
{
	switch (r) {
	case STREAM_OK:
		return "ok";
	case STREAM_EOF:
	case STREAM_ERROR:
		return "lost connection";
	case STREAM_TIMEOUT:
		return "timeout";
	case STREAM_TOO_LONG:
		return "line too long";
	case STREAM_CANCELLED:
		return "shutting down";
	}
	UNREACHED();
}
