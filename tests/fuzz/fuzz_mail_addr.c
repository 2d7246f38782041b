/*
 * fuzz_mail_addr.c - addresses from peers. What is parsed can be written and parsed again to the same.
 */
#include <stddef.h>
#include <stdint.h>

#include "mail/mail_addr.h"
#include "mail/mail_addr_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The local part survives writing and reading; a domain may hold what only a literal can. */
static void
fuzz_mail_addr_again(struct span local)
{
	struct buf internal CLEANUP(buf_done) = {0};
	struct buf external CLEANUP(buf_done) = {0};
	struct buf again CLEANUP(buf_done) = {0};

	if (local.len == 0 || memchr(local.ptr, '\0', local.len) != NULL)
		return;
	buf_add_span(&internal, local);
	buf_add_str(&internal, "@d");
	mail_addr_quote(&external, buf_span(&internal));
	MUST(mail_addr_unquote(&again, buf_span(&external)));
	MUST(span_equal(buf_span(&again), buf_span(&internal)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_of((const char *)data, size);
	struct buf out CLEANUP(buf_done) = {0};
	struct mail_addr_list list;
	struct mail_addr_item item;
	struct span given;

	buf_add_char(&out, 'x');
	for (int strict = 0; strict < 2; strict++) {
		if (mail_addr_parse_path(text, strict != 0, &out, &given)) {
			MUST(given.len <= text.len);
			fuzz_mail_addr_again(mail_addr_split(span_from(buf_span(&out), 1)).local);
		}
		buf_truncate(&out, 1);
	}
	mail_addr_list_start(&list, text);
	while (mail_addr_list_next(&list, &item)) {
		MUST(item.addr.len <= size);
		(void)!mail_addr_list_internal(&item, &out);
	}
	(void)mail_addr_extension(text, "+-", size % 2 == 0);
	(void)mail_addr_is_domain(text);
	MUST(mail_addr_is_host(text) == (mail_addr_check_host(text) == MAIL_ADDR_HOST_OK));
	return 0;
}
