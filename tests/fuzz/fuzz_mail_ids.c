/*
 * fuzz_mail_ids.c - queue ids and status codes: what parses prints as it was.
 */
#include <stddef.h>
#include <stdint.h>

#include "mail/mail_dsn.h"
#include "mail/mail_queue_id.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_of((const char *)data, size);
	char id[MAIL_QUEUE_ID_SIZE];
	char dsn[MAIL_DSN_SIZE];
	int64_t msg_id;

	if (mail_queue_id_parse(text, &msg_id)) {
		mail_queue_id_format(msg_id, id);
		MUST(msg_id >= 0 && span_equal_str(text, id));
		MUST(mail_queue_id_looks_valid(text));
	}
	(void)mail_dsn_split(text, "5.0.0", dsn);
	MUST(mail_dsn_is_valid(span_str(dsn)));
	mail_dsn_of_reply((int)(size % 700), text, dsn);
	MUST(mail_dsn_is_valid(span_str(dsn)));
	return 0;
}
