/*
 * net_int.h - a stream from the inside, for stream.c (buffers, lines), stream_io.c (the socket) and stream_tls.c.
 *
 * Input flows socket -> [TLS] -> in; output flows out -> [TLS -> cipher] -> socket. A stream that waits for input with
 * nothing buffered owns no buffer at all.
 */
#ifndef NET_NET_INT_H
#define NET_NET_INT_H

#include "base/buf.h"
#include "net/stream.h"

struct iovec;
struct task_fd;
struct tls_session;

#define STREAM_BUFFER_MIN ((size_t)4096)
#define STREAM_BUFFER_MAX ((size_t)65536)

struct stream {
	int fd;                /* owned */
	int error;             /* errno of the last failure */
	struct task_fd *watch; /* owned */
	int64_t deadline;

	char *in;       /* owned; NULL while nothing is buffered */
	size_t in_size; /* bytes allocated */
	size_t in_from; /* the buffered bytes are in[in_from .. in_to) */
	size_t in_to;
	size_t in_scanned; /* so many of them are known to hold no LF */
	size_t in_next;    /* size of the next buffer, by what the last reads gave */

	struct buf out; /* gathered, in the clear */

	bool drained;  /* the socket is known to be empty: wait before the next recv() */
	bool presumed; /* ... but only because the last read came short */

	struct tls_session *tls; /* owned; NULL: plain */
	struct buf cipher;       /* encrypted, to be sent */
	bool tls_has_more;       /* decrypting stopped for want of room */
};

/* stream_new() for a descriptor that is watched already; owns both. */
struct stream *stream_new_watched(int fd, struct task_fd *watch);

/* Makes room behind the buffered input, at least one byte; never beyond `cap` bytes in all. */
void stream_make_room(struct stream *s, size_t cap);

/* Counts `n` bytes that were put at in + in_to, where `room` bytes were asked for. */
void stream_got_input(struct stream *s, size_t n, size_t room);

/* Waits until the socket may have input; frees idle buffers first. */
enum stream_result stream_wait_input(struct stream *s);

/* One recv() without waiting. STREAM_OK with *ret_n = 0: nothing is there now. */
enum stream_result stream_receive_now(struct stream *s, void *to, size_t size, size_t *ret_n);

/* Sends all of it. Waits. */
enum stream_result stream_send(struct stream *s, struct iovec *iov, size_t count);

/* As in stream.c, for a stream with TLS: adds decrypted input to `in`; sends `out`. */
enum stream_result stream_tls_fill(struct stream *s, size_t cap);
enum stream_result stream_tls_flush(struct stream *s);

/* Tells the peer that nothing more will come, if that is possible without waiting; frees the session. */
void stream_tls_close(struct stream *s);

#endif
