/*
 * mail_msgid.c - see mail_msgid.h.
 */
#include "mail/mail_msgid.h"

#include "base/clock.h"

void
mail_msgid_write(
    struct buf *out, bool stamp, int64_t second, const char *queue_id, const char *host)
{
	char text[32];

	buf_add_char(out, '<');
	if (stamp) {
		clock_format_utc(second, "%Y%m%d%H%M%S.", text, sizeof(text));
		buf_add_str(out, text);
	}
	buf_printf(out, "%s@%s>", queue_id, host);
}
