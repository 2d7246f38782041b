/*
 * table_base64.c - values that are files: how postmap -F stores them (RFC 4648 section 4).
 */
#include "base/log.h"
#include "base/mem.h"
#include "table/table_type.h"

static const char table_base64_letters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
table_base64_encode(struct buf *out, struct span bytes)
{
	const uint8_t *p = (const uint8_t *)bytes.ptr;

	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t n = MIN(bytes.len - i, 3);
		uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			     (n > 2 ? (uint32_t)p[i + 2] : 0);

		for (size_t k = 0; k < 4; k++)
			buf_add_char(
			    out, k <= n ? table_base64_letters[v >> (18 - 6 * k) & 63] : '=');
	}
}

bool
table_base64_decode(struct buf *out, struct span text)
{
	uint32_t v = 0;
	unsigned bits = 0;

	if (text.len % 4 != 0)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		const char *at;

		/* One or two '=' at the very end, nothing else behind the letters. */
		if (text.ptr[i] == '=')
			return i + 2 >= text.len && text.ptr[text.len - 1] == '=';
		at = memchr(table_base64_letters, text.ptr[i], 64);
		if (at == NULL)
			return false;
		v = (v << 6 | (uint32_t)(at - table_base64_letters)) & 0xffff;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			buf_add_char(out, (char)(v >> bits & 0xff));
		}
	}
	return true;
}

bool
table_add_files(struct buf *out, struct span names, struct err *err)
{
	struct span name;
	bool first = true;

	while (span_word(&names, ", \t\r\n", &name)) {
		char *path CLEANUP(mem_free_str) = span_dup(name);

		if (!first)
			buf_add_char(out, '\n');
		first = false;
		if (!table_read_file(path, "open", out, NULL, err))
			return false;
	}
	return true;
}

bool
table_take_stored(
    const struct table *t, struct span key, struct span stored, struct buf *value, struct err *err)
{
	if ((t->flags & TABLE_FILE_VALUES) == 0) {
		buf_add_span(value, stored);
		return true;
	}
	if (table_base64_decode(value, stored))
		return true;
	log_warn("table %s: key %.*s: malformed BASE64 value: %.*s", t->spec, SPAN_ARG(key),
	    SPAN_ARG(span_head(stored, 100)));
	return err_set(err, ERR_CONFIG, "4.3.5", "malformed BASE64 value");
}
