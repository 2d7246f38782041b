/*
 * postconf_print.c - lines as postconf prints them: see postconf_int.h.
 */
#include "conf/postconf_int.h"

#define BLANKS " \t\r\n\v\f"
#define INDENT "    "

void
postconf_words(struct buf *ret, const char *text, size_t limit, size_t *column)
{
	struct span rest = span_str(text), word;

	while (span_word(&rest, BLANKS, &word)) {
		if (*column > 0 && limit != 0 && *column + 1 + word.len > limit) {
			buf_add_str(ret, "\n" INDENT);
			*column = sizeof(INDENT) - 1;
		} else if (*column > 0) {
			buf_add_char(ret, ' ');
			(*column)++;
		}
		buf_add_span(ret, word);
		*column += word.len;
	}
}

void
postconf_setting(struct postconf *pc, const char *name, const char *value)
{
	size_t column = 0;

	if (!pc->hide_names)
		postconf_words(&pc->out, name, 0, &column);
	if (!pc->hide_names && !pc->hide_values)
		postconf_words(&pc->out, "=", 0, &column);
	if (!pc->hide_values)
		postconf_words(&pc->out, value, pc->fold ? POSTCONF_LINE : 0, &column);
	buf_add_char(&pc->out, '\n');
}
