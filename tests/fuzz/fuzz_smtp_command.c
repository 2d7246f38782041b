/*
 * fuzz_smtp_command.c - command lines: a refusal always has a reply, an address taken is one that can be written.
 */
#include <stddef.h>
#include <stdint.h>

#include "mail/mail_dsn.h"
#include "smtp/smtp_command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
fuzz_smtp_command_refused(const struct err *err)
{
	MUST(err->smtp_code >= 400 && err->smtp_code <= 599);
	MUST(mail_dsn_is_valid(span_str(err->dsn)) && err->text[0] != '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span line = span_of((const char *)data, size);
	const struct smtp_command_options options = {
	    .strict_envelopes = size % 2 == 0,
	    .strict_smtputf8 = size % 3 == 0,
	    .verp = true,
	    .verp_delimiters = "+=",
	};
	struct arena arena CLEANUP(arena_done) = {0};
	struct buf out CLEANUP(buf_done) = {0};
	struct buf back CLEANUP(buf_done) = {0};
	struct span verb, args;
	struct smtp_mail mail;
	struct smtp_rcpt rcpt;
	struct smtp_bdat bdat;
	struct err err;

	smtp_command_split(line, &verb, &args);
	if (!smtp_command_parse_mail(args, &options, &arena, &mail, &err))
		fuzz_smtp_command_refused(&err);
	else
		smtp_command_write_mail(&out, span_str(mail.addr));
	if (!smtp_command_parse_rcpt(args, &options, &arena, &rcpt, &err))
		fuzz_smtp_command_refused(&err);
	else
		MUST(rcpt.addr[0] != '\0');
	if (!smtp_command_parse_vrfy(args, &options, &arena, &rcpt, &err))
		fuzz_smtp_command_refused(&err);
	if (!smtp_command_parse_bdat(args, &bdat, &err))
		fuzz_smtp_command_refused(&err);
	buf_clear(&out);
	smtp_command_xtext_encode(args, &out);
	MUST(smtp_command_xtext_decode(buf_span(&out), &back));
	MUST(span_equal(buf_span(&back), args));
	return 0;
}
