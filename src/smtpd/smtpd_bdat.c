/*
 * smtpd_bdat.c - BDAT (RFC 3030): the message in chunks of counted bytes. The chunk follows its command whatever we think
 * of it, so each is read to its end, wanted or not, before the reply; else its bytes would be taken for commands.
 */
#include "smtpd/smtpd_int.h"

#include "base/log.h"
#include "smtp/smtp_ehlo.h"
#include "task/task.h"

/* Input taken between two looks at the other tasks. */
#define SMTPD_BDAT_SLICE 65536

static const char *
smtpd_queue_id(const struct smtpd_session *s)
{
	return s->mail.msg_id != 0 ? s->mail.queue_id : "NOQUEUE";
}

/* Reads the chunk into cleanup; `wanted` false: drops it. */
static enum stream_result
smtpd_bdat_read(struct smtpd_session *s, const struct smtp_bdat *chunk, bool wanted)
{
	uint64_t left = chunk->size;
	size_t added = 0;

	s->mail.deadline = 0; /* each chunk is a request of its own */

	while (left > 0) {
		struct span bytes;
		enum stream_result r;

		smtpd_content_deadline(s, added);
		r = stream_peek(s->stream, &bytes);
		if (r != STREAM_OK)
			return r;
		bytes = span_head(bytes, (size_t)MIN(left, SMTPD_BDAT_SLICE));
		left -= bytes.len;
		added = bytes.len;
		if (wanted)
			smtp_data_read_chunk(&s->mail.in, bytes, chunk->last && left == 0,
			    cleanup_content(s->mail.cleanup));
		stream_consume(s->stream, bytes.len);
		s->mail.content_bytes += bytes.len;
		if (wanted)
			cleanup_added(s->mail.cleanup);
		(void)task_yield();
	}
	if (wanted && chunk->last && chunk->size == 0)
		smtp_data_read_chunk(
		    &s->mail.in, span_of("", 0), true, cleanup_content(s->mail.cleanup));
	return STREAM_OK;
}

/* May this chunk be part of a message? Answers if not. The first one begins the message. */
static bool
smtpd_bdat_allowed(struct smtpd_session *s, const struct smtp_bdat *chunk)
{
	if (s->mail.chunks_failed) {
		smtpd_reply(s, 551, "5.0.0", "Discarded %llu bytes after earlier error",
		    (unsigned long long)chunk->size);
		return false;
	}
	/* Clients could go on for ever with these. */
	if (chunk->size == 0 && !chunk->last) {
		log_warn("%s: null BDAT request from %s[%s]", smtpd_queue_id(s), s->client_name,
		    s->client_address);
		smtpd_reply(s, 551, "5.7.1", "Null BDAT request");
		return false;
	}
	if (s->state == SMTPD_STATE_BDAT)
		return true;
	if (!smtpd_content_allowed(s))
		return false;
	smtpd_content_begin(s);
	smtpd_enter(s, SMTPD_STATE_BDAT);
	return true;
}

/* A chunk that cannot be taken whole is refused before it comes. */
static bool
smtpd_bdat_fits(struct smtpd_session *s, const struct smtp_bdat *chunk)
{
	size_t limit = s->setup->message_size_limit;
	uint64_t size = smtpd_content_size(s);

	if (limit == 0 || (size <= limit && chunk->size <= limit - size))
		return true;
	log_warn("%s: BDAT request from %s[%s] exceeds message size limit", smtpd_queue_id(s),
	    s->client_name, s->client_address);
	smtpd_reply(s, 552, "5.3.4", "Chunk exceeds message size limit");
	return false;
}

/* After a refused chunk: those that follow belong to the same message, up to the last one. */
static void
smtpd_bdat_failed(struct smtpd_session *s, const struct smtp_bdat *chunk)
{
	if (s->state == SMTPD_STATE_CLOSED)
		return;
	if (chunk->last)
		return smtpd_mail_reset(s);
	s->mail.chunks_failed = true;
}

static void
smtpd_bdat_lost(struct smtpd_session *s, enum stream_result why)
{
	if (s->mail.cleanup != NULL)
		return smtpd_content_lost(s, "BDAT", why);
	if (why == STREAM_TIMEOUT)
		smtpd_give_up(s, "4.4.2", "Error: timeout exceeded");
	else
		smtpd_enter(s, SMTPD_STATE_CLOSED);
}

void
smtpd_bdat(struct smtpd_session *s, struct span args)
{
	struct smtp_bdat chunk;
	enum stream_result r;
	struct err err;
	uint64_t size;
	bool wanted;

	if ((s->offers & SMTP_EHLO_CHUNKING) == 0) {
		smtpd_reply(s, 521, "5.5.1", "Error: command not implemented");
		return smtpd_enter(s, SMTPD_STATE_CLOSED);
	}
	/* Where the next command begins is not known then. */
	if (!smtp_command_parse_bdat(args, &chunk, &err)) {
		log_warn("%s: malformed BDAT command syntax from %s[%s]: BDAT%s%.*s",
		    smtpd_queue_id(s), s->client_name, s->client_address, args.len != 0 ? " " : "",
		    SPAN_ARG(span_head(args, 100)));
		smtpd_reply_err(s, &err);
		return smtpd_enter(s, SMTPD_STATE_CLOSED);
	}
	wanted = smtpd_bdat_allowed(s, &chunk) && smtpd_bdat_fits(s, &chunk);
	if (s->state == SMTPD_STATE_CLOSED)
		return;
	r = smtpd_bdat_read(s, &chunk, wanted);
	if (r != STREAM_OK)
		return smtpd_bdat_lost(s, r);
	if (!wanted)
		return smtpd_bdat_failed(s, &chunk);
	if (!chunk.last)
		return smtpd_reply(
		    s, 250, "2.0.0", "Ok: %llu bytes", (unsigned long long)chunk.size);
	/* The line end of a last line without one is ours. */
	size = smtpd_content_size(s) + (s->mail.in.unended ? 2 : 0);
	if (!smtpd_content_end(s))
		return smtpd_mail_reset(s);
	smtpd_reply(s, 250, "2.0.0", "Ok: %llu bytes queued as %s", (unsigned long long)size,
	    s->mail.queue_id);
	smtpd_content_done(s);
}
