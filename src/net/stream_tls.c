/*
 * stream_tls.c - TLS on a stream: moves bytes between the socket and the engine of tls/tls.h, which does no I/O itself.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/err.h"
#include "net/net_int.h"
#include "task/task.h"
#include "tls/tls.h"

/* Encrypted input on its way from the socket to an engine; never held across a wait, so one is enough. */
static char scratch[32768];

/* A failure inside TLS has no errno of its own. */
static enum stream_result
tls_failed(struct stream *s)
{
	s->error = EPROTO;
	return STREAM_ERROR;
}

static enum stream_result
send_cipher(struct stream *s)
{
	struct iovec iov = {.iov_base = s->cipher.ptr, .iov_len = s->cipher.len};
	enum stream_result r;

	if (s->cipher.len == 0)
		return STREAM_OK;
	r = stream_send(s, &iov, 1);
	buf_clear(&s->cipher);
	return r;
}

/* Gives the engine more bytes from the peer. Waits. */
static enum stream_result
feed(struct stream *s)
{
	for (;;) {
		enum stream_result r;
		size_t n;

		if (!s->drained) {
			r = stream_receive_now(s, scratch, sizeof(scratch), &n);
			if (n > 0)
				tls_session_feed(s->tls, scratch, n);
			if (r != STREAM_OK || n > 0)
				return r;
		}
		r = stream_wait_input(s);
		if (r != STREAM_OK)
			return r;
	}
}

/* Decrypts what the engine has into the input buffer, up to its present room. */
static enum tls_step
decrypt(struct stream *s, size_t cap)
{
	struct err err = {0};
	enum tls_step step;
	size_t n, room;

	do {
		stream_make_room(s, cap);
		room = s->in_size - s->in_to;
		n = 0;
		step = tls_session_read(s->tls, s->in + s->in_to, room, &n, &s->cipher, &err);
		s->in_to += n;
	} while (step == TLS_DONE && s->in_to - s->in_from < STREAM_BUFFER_MAX);
	s->tls_has_more = step == TLS_DONE;
	return step;
}

enum stream_result
stream_tls_fill(struct stream *s, size_t cap)
{
	size_t before = s->in_to - s->in_from;

	for (;;) {
		enum tls_step step = decrypt(s, cap);
		enum stream_result r = send_cipher(s);

		if (s->in_to - s->in_from > before)
			return STREAM_OK;
		if (r != STREAM_OK)
			return r;
		if (step == TLS_CLOSED)
			return STREAM_EOF;
		if (step == TLS_FAILED)
			return tls_failed(s);
		r = feed(s);
		if (r != STREAM_OK)
			return r;
	}
}

enum stream_result
stream_tls_flush(struct stream *s)
{
	struct err err = {0};
	enum tls_step step = tls_session_write(s->tls, s->out.ptr, s->out.len, &s->cipher, &err);

	buf_clear(&s->out);
	if (step != TLS_DONE)
		return tls_failed(s);
	return send_cipher(s);
}

void
stream_tls_close(struct stream *s)
{
	/* Output that did not go out before will not go now. */
	if (s->cipher.len == 0 && s->error == 0) {
		tls_session_close(s->tls, &s->cipher);
		if (s->cipher.len > 0)
			(void)send(
			    s->fd, s->cipher.ptr, s->cipher.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	tls_session_free(&s->tls);
}

/* ---- handshake ------------------------------------------------------------------------------------------------- */

static bool
handshake_lost(struct stream *s, enum stream_result r, struct err *err)
{
	enum err_kind kind = r == STREAM_CANCELLED ? ERR_GONE : ERR_TEMP;

	return err_set(err, kind, "4.7.5", "TLS handshake: %s",
	    r == STREAM_ERROR ? strerror(s->error) : stream_result_text(r));
}

static bool
handshake(struct stream *s, struct err *err)
{
	for (;;) {
		enum tls_step step = tls_session_handshake(s->tls, &s->cipher, err);
		enum stream_result r = send_cipher(s); /* also the alert that says why it failed */

		if (step == TLS_FAILED)
			return false;
		if (r != STREAM_OK)
			return handshake_lost(s, r, err);
		if (step == TLS_DONE)
			return true;
		if (step == TLS_CLOSED)
			return handshake_lost(s, STREAM_EOF, err);
		r = feed(s);
		if (r != STREAM_OK)
			return handshake_lost(s, r, err);
	}
}

static bool
start_tls(struct stream *s, struct tls_context *tls, const char *server_name, struct err *err)
{
	MUST(s->tls == NULL && s->out.len == 0);
	s->tls = tls_session_new(tls, server_name);
	/* What is buffered came after what ended the talk in the clear: the peer's hello, behind a PROXY header. */
	if (s->in_to > s->in_from)
		tls_session_feed(s->tls, s->in + s->in_from, s->in_to - s->in_from);
	stream_discard_input(s);
	return handshake(s, err);
}

bool
stream_start_tls_server(struct stream *s, struct tls_context *tls, struct err *err)
{
	return start_tls(s, tls, NULL, err);
}

bool
stream_start_tls_client(
    struct stream *s, struct tls_context *tls, const char *server_name, struct err *err)
{
	return start_tls(s, tls, server_name, err);
}

bool
stream_tls_matches(const struct stream *s, const char *name)
{
	return s->tls != NULL && (name[0] == '.' ? tls_session_matches_domain(s->tls, name)
						 : tls_session_matches_name(s->tls, name));
}

const struct tls_peer *
stream_tls(const struct stream *s)
{
	return s->tls != NULL ? tls_session_peer(s->tls) : NULL;
}
