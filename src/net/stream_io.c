/*
 * stream_io.c - a stream's socket: when to call recv() and when to wait, and sending.
 *
 * The descriptor is watched edge-triggered, so a wait is right only when the socket is empty. EAGAIN proves that, at the
 * price of a system call for each read; a read that came short proves it too, with one exception: an end or a reset that
 * was there already when the short read was made gives no further edge. The end of the stream is known from EPOLLRDHUP
 * (task_fd remembers it); for the reset we look once more a second later.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/net_int.h"
#include "task/task.h"

#define LOOK_AGAIN CLOCK_SECOND

static enum stream_result
wait_result(enum task_wait r)
{
	switch (r) {
	case TASK_READY:
		return STREAM_OK;
	case TASK_TIMEOUT:
		return STREAM_TIMEOUT;
	case TASK_CANCELLED:
		return STREAM_CANCELLED;
	}
	UNREACHED();
}

enum stream_result
stream_receive_now(struct stream *s, void *to, size_t size, size_t *ret_n)
{
	ssize_t n;

	*ret_n = 0;
	do
		n = recv(s->fd, to, size, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		s->drained = s->presumed = (size_t)n < size;
		*ret_n = (size_t)n;
		return STREAM_OK;
	}
	if (n == 0)
		return STREAM_EOF;
	if (errno == EAGAIN || errno == EWOULDBLOCK) {
		s->drained = true;
		s->presumed = false;
		return STREAM_OK;
	}
	s->error = errno;
	return STREAM_ERROR;
}

static void
free_idle_buffers(struct stream *s)
{
	if (s->in_from == s->in_to) {
		mem_free(s->in);
		s->in = NULL;
		s->in_size = s->in_from = s->in_to = s->in_scanned = 0;
	}
	if (s->out.len == 0)
		buf_done(&s->out);
	if (s->cipher.len == 0)
		buf_done(&s->cipher);
}

enum stream_result
stream_wait_input(struct stream *s)
{
	int64_t until = s->deadline;
	enum task_wait r;

	free_idle_buffers(s);
	if (s->presumed)
		until = MIN(until, clock_deadline(LOOK_AGAIN));
	r = task_fd_wait_read(s->watch, until);
	if (r == TASK_TIMEOUT && until < s->deadline)
		r = TASK_READY;
	if (r == TASK_READY)
		s->drained = s->presumed = false;
	return wait_result(r);
}

/* Drops the first `n` bytes of what iov[*first .. count) describes. */
static void
iov_advance(struct iovec *iov, size_t count, size_t *first, size_t n)
{
	while (*first < count && n >= iov[*first].iov_len) {
		n -= iov[*first].iov_len;
		(*first)++;
	}
	if (*first < count) {
		iov[*first].iov_base = (char *)iov[*first].iov_base + n;
		iov[*first].iov_len -= n;
	}
}

/* One system call. Most often there is one piece, and send() costs less than sendmsg(). */
static ssize_t
send_some(int fd, struct iovec *iov, size_t count)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};

	if (count == 1)
		return send(fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

enum stream_result
stream_send(struct stream *s, struct iovec *iov, size_t count)
{
	size_t first = 0;

	iov_advance(iov, count, &first, 0);
	while (first < count) {
		ssize_t n = send_some(s->fd, iov + first, count - first);
		enum task_wait r;

		if (n >= 0) {
			iov_advance(iov, count, &first, (size_t)n);
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EWOULDBLOCK) {
			s->error = errno;
			return STREAM_ERROR;
		}
		r = task_fd_wait_write(s->watch, s->deadline);
		if (r != TASK_READY)
			return wait_result(r);
	}
	return STREAM_OK;
}
