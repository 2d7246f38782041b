/*
 * stream.h - a buffered connection for one task: lines, counted bytes, raw bytes; plain or TLS with the same calls.
 * Output gathers until stream_flush(); input is limited by the caller. TCP_NODELAY is set. All calls that may wait take
 * their deadline from the stream (stream_set_deadline), renewed by the owner for each command or each step.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "base/base.h"
#include "base/span.h"

struct stream;
struct tls_context;
struct tls_peer;
struct err;

enum stream_result {
	STREAM_OK,
	STREAM_EOF,     /* the peer closed in order (or reset the connection: STREAM_ERROR) */
	STREAM_TIMEOUT, /* the deadline passed */
	STREAM_ERROR,   /* errno of the last call is in stream_errno() */
	STREAM_TOO_LONG, /* a line longer than allowed; its first part is returned, the rest is still to be read */
	STREAM_CANCELLED, /* the task was cancelled */
};

/* Wraps the connected non-blocking socket `fd`, which the stream then owns. */
struct stream *stream_new(int fd);

/* Closes; what was not flushed is dropped. Accepts NULL. */
void stream_free(struct stream **s);

int stream_fd(const struct stream *s);
int stream_errno(const struct stream *s);

/* Monotonic us; CLOCK_NEVER = none (the default). Holds until changed. */
void stream_set_deadline(struct stream *s, int64_t deadline);

/*
 * Reads one line up to LF; the returned span leaves out LF and a CR before it, and is valid until the next read. `max` is
 * the longest line in bytes without its end. *ret_bare_lf (may be NULL): the line ended in LF without CR. Waits.
 */
enum stream_result stream_read_line(
    struct stream *s, size_t max, struct span *ret_line, bool *ret_bare_lf);

/*
 * Waits until at least one byte is buffered and returns all that is (at most 64 KB), without consuming it: the caller
 * takes what it understands with stream_consume(). Valid until the next read. This is how DATA is read.
 */
enum stream_result stream_peek(struct stream *s, struct span *ret_bytes);
void stream_consume(struct stream *s, size_t n);

/* Reads exactly `len` bytes into `to`. Waits. */
enum stream_result stream_read_full(struct stream *s, void *to, size_t len);

/* True if input is already buffered: the peer has pipelined, or stream_read_line() would not wait. Never waits. */
bool stream_has_input(struct stream *s);
size_t stream_input_size(const struct stream *s);

/* Drops all buffered input (STARTTLS: nothing sent in the clear may survive it, RFC 3207 section 5). */
void stream_discard_input(struct stream *s);

/* Adds to the output. Waits only when more than 64 KB have gathered. */
enum stream_result stream_write(struct stream *s, const void *ptr, size_t len);
enum stream_result stream_write_span(struct stream *s, struct span bytes);
enum stream_result stream_printf(struct stream *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Sends what has gathered. Waits. */
enum stream_result stream_flush(struct stream *s);

/* Switches to TLS by handshake as server / client; see tls/tls.h for contexts and what is known of the peer. Waits. */
bool stream_start_tls_server(struct stream *s, struct tls_context *tls, struct err *err);
bool stream_start_tls_client(
    struct stream *s, struct tls_context *tls, const char *server_name, struct err *err);
/* Does the peer's certificate cover `name`; with a leading dot: any name below it? False without TLS. */
bool stream_tls_matches(const struct stream *s, const char *name);
/* What TLS found out; NULL on a plain stream. Borrowed. */
const struct tls_peer *stream_tls(const struct stream *s);

/* "lost connection", "timeout", ... as Postfix words it in its logs. */
const char *stream_result_text(enum stream_result r);

#endif
