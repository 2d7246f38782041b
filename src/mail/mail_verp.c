/*
 * mail_verp.c - see mail_verp.h.
 */
#include "mail/mail_verp.h"

#include "mail/mail_addr.h"

bool
mail_verp_write(struct buf *out, struct span delimiters, struct span sender, struct span rcpt)
{
	struct mail_addr from = mail_addr_split(sender);
	struct mail_addr to = mail_addr_split(rcpt);

	if (delimiters.len != 2 || sender.len == 0)
		return false;
	buf_add_span(out, from.local);
	buf_add_char(out, delimiters.ptr[0]);
	buf_add_span(out, to.local);
	if (to.has_domain) {
		buf_add_char(out, delimiters.ptr[1]);
		buf_add_span(out, to.domain);
	}
	if (from.has_domain) {
		buf_add_char(out, '@');
		buf_add_span(out, from.domain);
	}
	return true;
}
