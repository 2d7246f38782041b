/*
 * fuzz_smtp_reply.c - replies of a hostile server, and its EHLO list.
 */
#include <stddef.h>
#include <stdint.h>

#include "smtp/smtp_ehlo.h"
#include "smtp/smtp_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span rest = span_of((const char *)data, size);
	struct buf out CLEANUP(buf_done) = {0};
	struct smtp_reply reply = {0};
	struct smtp_ehlo ehlo;
	unsigned discard;
	struct err err;

	smtp_ehlo_parse(rest, size % 2 == 0 ? SMTP_EHLO_SIZE : 0, &ehlo);
	MUST(strlen(ehlo.auth) < sizeof(ehlo.auth) && strlen(ehlo.name) < sizeof(ehlo.name));
	(void)!smtp_ehlo_parse_discard(rest, &discard, &err);
	smtp_reply_write(&out, 250, "2.0.0", rest);
	MUST(out.len > 2 && out.ptr[out.len - 1] == '\n' && out.ptr[out.len - 2] == '\r');
	while (rest.len != 0) {
		size_t lf = span_find(rest, '\n');
		enum smtp_reply_step step =
		    smtp_reply_line(&reply, span_head(rest, lf), size % 2 == 0);

		MUST(step != SMTP_REPLY_DONE || mail_dsn_is_valid(span_str(reply.dsn)));
		MUST(reply.text.len <= 2 * SMTP_REPLY_TEXT_MAX + 1);
		buf_clear(&out);
		smtp_reply_text(&reply, &out);
		if (step != SMTP_REPLY_MORE)
			smtp_reply_clear(&reply);
		rest = span_from(rest, lf + 1);
	}
	smtp_reply_done(&reply);
	return 0;
}
