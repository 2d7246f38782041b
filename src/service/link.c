/*
 * link.c - see link.h. Output gathers in one buffer and is written straight to the socket at the end of the loop's turn,
 * or sooner when much has gathered; only when the kernel takes no more does a writer task come into being, which waits on
 * a descriptor of its own so that it never touches the stream that the reader uses.
 *
 * The struct lives until its owner, a pending hook, the writer and whoever waits for the backlog have all let go of it.
 */
#include "service/link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "service/delivery.h"
#include "task/task.h"

#define LEN_SIZE   4
#define FRAME_MAX  (DELIVERY_FRAME_MAX + LINK_HEAD_SIZE)
#define SEND_EARLY 65536      /* do not let more than this gather in one turn */
#define IN_KEEP    (1u << 20) /* give larger input buffers back after use */

struct link {
	struct stream *stream; /* owned; NULL after link_free() */
	struct buf out;        /* frames; the first `sent` bytes are gone already */
	size_t sent;
	size_t frame_at; /* where the frame being built starts */
	bool building;
	bool broken; /* sending failed: the reader finds out by EOF */
	struct task_hook hook;
	struct task *writer;
	struct task_cond drained; /* woken when bytes have gone, and when the link broke */
	size_t refs;

	struct buf in;  /* a frame that did not arrive in one piece, with its head */
	size_t consume; /* bytes of the stream's buffer that the last frame occupies */
	bool in_given;  /* the frame in `in` was handed out */
};

static void
link_release(struct link *l)
{
	MUST(l->refs > 0);
	if (--l->refs > 0)
		return;
	buf_done(&l->out);
	buf_done(&l->in);
	mem_free(l);
}

/* ---- sending ------------------------------------------------------------------------------------------------ */

static void
break_off(struct link *l)
{
	l->broken = true;
	buf_clear(&l->out);
	l->sent = 0;
	/* The reader wakes up to EOF and takes the link down. */
	(void)shutdown(stream_fd(l->stream), SHUT_RDWR);
}

/* Hands the kernel what it takes. False when it takes no more for now. */
static bool
send_now(struct link *l)
{
	while (l->sent < l->out.len) {
		ssize_t n = send(stream_fd(l->stream), l->out.ptr + l->sent, l->out.len - l->sent,
		    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0) {
			break_off(l);
			break;
		}
		l->sent += (size_t)n;
	}
	if (l->sent == l->out.len) {
		buf_clear(&l->out);
		l->sent = 0;
	} else if (l->sent > l->out.len / 2) {
		buf_consume(&l->out, l->sent);
		l->sent = 0;
	}
	task_cond_wake_all(&l->drained);
	return l->out.len == 0;
}

/* Sends until all is gone, the link is broken or freed (which cancels this task). */
static void
writer_run(void *arg)
{
	struct link *l = arg;
	int fd = l->stream != NULL ? dup(stream_fd(l->stream)) : -1;
	struct task_fd *watch = fd >= 0 ? task_fd_new(fd) : NULL;

	if (fd < 0 && l->stream != NULL) {
		break_off(l);
		task_cond_wake_all(&l->drained);
	}
	while (!l->broken && task_fd_wait_write(watch, CLOCK_NEVER) == TASK_READY) {
		if (l->stream == NULL || send_now(l))
			break;
	}
	task_fd_free(&watch);
	if (fd >= 0)
		(void)close(fd);
	l->writer = NULL;
	link_release(l);
}

static void
send_or_wait(struct link *l)
{
	if (l->writer != NULL || l->broken || send_now(l))
		return;
	l->writer = task_start("link-writer", writer_run, l);
	if (l->writer == NULL)
		break_off(l);
	else
		l->refs++;
}

static void
at_turn_end(void *arg)
{
	struct link *l = arg;

	if (l->stream != NULL)
		send_or_wait(l);
	link_release(l);
}

struct link *
link_new(struct stream *stream)
{
	struct link *l = mem_new(struct link);

	l->stream = stream;
	l->hook.fn = at_turn_end;
	l->hook.arg = l;
	l->refs = 1;
	return l;
}

void
link_free(struct link **l)
{
	if (l == NULL || *l == NULL)
		return;
	stream_free(&(*l)->stream);
	(*l)->broken = true;
	if ((*l)->writer != NULL)
		task_cancel((*l)->writer);
	task_cond_wake_all(&(*l)->drained);
	link_release(*l);
	*l = NULL;
}

static void
patch_u32(char *at, size_t v)
{
	for (int i = 0; i < 4; i++)
		at[i] = (char)(v >> (24 - 8 * i));
}

struct buf *
link_send_begin(struct link *l, uint8_t type, uint32_t delivery)
{
	MUST(!l->building);
	l->building = true;
	l->frame_at = l->out.len;
	buf_add_u32(&l->out, 0);
	buf_add_u8(&l->out, type);
	buf_add_u32(&l->out, delivery);
	return &l->out;
}

void
link_send_end(struct link *l)
{
	size_t len = l->out.len - l->frame_at;

	MUST(l->building && len >= LINK_HEAD_SIZE && len <= FRAME_MAX);
	l->building = false;
	if (l->broken) {
		buf_clear(&l->out);
		return;
	}
	patch_u32(l->out.ptr + l->frame_at, len - LEN_SIZE);
	if (link_backlog(l) >= SEND_EARLY) {
		send_or_wait(l);
	} else if (!l->hook.pending && l->writer == NULL) {
		l->refs++;
		task_hook_at_turn_end(&l->hook);
	}
}

bool
link_send(struct link *l, uint8_t type, uint32_t delivery, struct span payload)
{
	buf_add_span(link_send_begin(l, type, delivery), payload);
	link_send_end(l);
	return !l->broken;
}

size_t
link_backlog(const struct link *l)
{
	return l->out.len - l->sent;
}

static enum stream_result
wait_backlog(struct link *l, size_t max, int64_t deadline)
{
	while (!l->broken && link_backlog(l) > max) {
		switch (task_cond_wait(&l->drained, deadline)) {
		case TASK_READY:
			break;
		case TASK_TIMEOUT:
			return STREAM_TIMEOUT;
		case TASK_CANCELLED:
			return STREAM_CANCELLED;
		}
	}
	return l->broken ? STREAM_ERROR : STREAM_OK;
}

enum stream_result
link_wait_backlog(struct link *l, size_t max, int64_t deadline)
{
	enum stream_result r;

	l->refs++;
	r = wait_backlog(l, max, deadline);
	link_release(l);
	return r;
}

/* ---- receiving ---------------------------------------------------------------------------------------------- */

static size_t
get_u32(const char *at)
{
	const unsigned char *p = (const unsigned char *)at;

	return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

/* The size of the frame that starts with these bytes, or, while that is unknown, of its length field. */
static bool
frame_size(struct span bytes, size_t *ret)
{
	size_t len;

	*ret = LEN_SIZE;
	if (bytes.len < LEN_SIZE)
		return true;
	len = get_u32(bytes.ptr);
	*ret = LEN_SIZE + len;
	return len >= LINK_HEAD_SIZE - LEN_SIZE && *ret <= FRAME_MAX;
}

/* Lets go of the frame that the last call returned. */
static void
drop_last(struct link *l)
{
	stream_consume(l->stream, l->consume);
	l->consume = 0;
	if (!l->in_given)
		return;
	l->in_given = false;
	if (l->in.size > IN_KEEP)
		buf_done(&l->in);
	buf_clear(&l->in);
}

static void
take_apart(struct span frame, uint8_t *ret_type, uint32_t *ret_delivery, struct span *ret_payload)
{
	*ret_type = (uint8_t)frame.ptr[LEN_SIZE];
	*ret_delivery = (uint32_t)get_u32(frame.ptr + LEN_SIZE + 1);
	*ret_payload = span_from(frame, LINK_HEAD_SIZE);
}

/*
 * One step: whole frames are returned where they lie in the stream's buffer; the pieces of one that came in parts are
 * gathered. *ret_frame stays empty while there is none.
 */
static enum stream_result
receive_step(struct link *l, struct span *ret_frame)
{
	struct span bytes;
	size_t want;
	enum stream_result r = stream_peek(l->stream, &bytes);

	if (r != STREAM_OK)
		return r;
	if (l->in.len == 0) {
		if (!frame_size(bytes, &want))
			return STREAM_ERROR;
		if (want > LEN_SIZE && bytes.len >= want) {
			*ret_frame = span_head(bytes, want);
			l->consume = want;
			return STREAM_OK;
		}
	}
	if (!frame_size(buf_span(&l->in), &want))
		return STREAM_ERROR;
	bytes = span_head(bytes, want - l->in.len);
	buf_add_span(&l->in, bytes);
	stream_consume(l->stream, bytes.len);
	if (l->in.len == want && want > LEN_SIZE) {
		*ret_frame = buf_span(&l->in);
		l->in_given = true;
	}
	return STREAM_OK;
}

enum stream_result
link_receive(struct link *l, int64_t deadline, uint8_t *ret_type, uint32_t *ret_delivery,
    struct span *ret_payload)
{
	struct span frame = {0};

	drop_last(l);
	stream_set_deadline(l->stream, deadline);
	while (frame.len == 0) {
		enum stream_result r = receive_step(l, &frame);

		if (r != STREAM_OK)
			return r;
	}
	take_apart(frame, ret_type, ret_delivery, ret_payload);
	return STREAM_OK;
}
