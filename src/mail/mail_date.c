/*
 * mail_date.c - see mail_date.h.
 */
#include "mail/mail_date.h"

#include "base/clock.h"

void
mail_date_write(struct buf *out, int64_t second)
{
	char text[80];

	clock_format_local(second, "%a, %e %b %Y %H:%M:%S %z (%Z)", text, sizeof(text));
	buf_add_str(out, text);
}
