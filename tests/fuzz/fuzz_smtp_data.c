/*
 * fuzz_smtp_data.c - contents on the wire. The result is the same however the input is cut; what is sent comes back; and
 * what was received never ends early when it is sent on.
 */
#include <stddef.h>
#include <stdint.h>

#include "smtp/smtp_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t
fuzz_smtp_data_read(struct smtp_data_in *d, struct span in, size_t each, struct buf *out)
{
	size_t used = 0;

	while (used < in.len && !d->done)
		used += smtp_data_read(d, span_head(span_from(in, used), each), out);
	return used;
}

static void
fuzz_smtp_data_cut(struct span in, enum smtp_data_mode mode, bool replace_cr, size_t each)
{
	struct smtp_data_in whole = {.mode = mode, .replace_cr = replace_cr};
	struct smtp_data_in pieces = whole;
	struct buf a CLEANUP(buf_done) = {0};
	struct buf b CLEANUP(buf_done) = {0};
	size_t used = fuzz_smtp_data_read(&whole, in, in.len, &a);

	MUST(fuzz_smtp_data_read(&pieces, in, each, &b) == used);
	MUST(whole.done == pieces.done && whole.bare_lf == pieces.bare_lf);
	if (whole.done)
		MUST(span_equal(buf_span(&a), buf_span(&b)));
}

/* "A: b" in front, so that the first line is not special; an LF at the end, as the queue has it. */
static void
fuzz_smtp_data_round(struct span in, size_t limit, size_t each)
{
	struct smtp_data_out w = {.line_limit = limit};
	struct smtp_data_in d = {0};
	struct buf content CLEANUP(buf_done) = {0};
	struct buf wire CLEANUP(buf_done) = {0};
	struct buf back CLEANUP(buf_done) = {0};

	buf_add_str(&content, "A: b\n");
	buf_add_span(&content, in);
	buf_add_char(&content, '\n');
	for (size_t at = 0; at < content.len; at += each)
		smtp_data_write(&w, span_head(span_from(buf_span(&content), at), each), &wire);
	smtp_data_write_end(&w, &wire);
	MUST(smtp_data_read(&d, buf_span(&wire), &back) == wire.len && d.done);
	MUST(d.bare_lf == 0);
	if (limit == 0)
		MUST(span_equal(buf_span(&content), buf_span(&back)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of((const char *)data, size);
	struct smtp_data_in chunks = {0};
	struct buf out CLEANUP(buf_done) = {0};
	size_t each;

	if (size == 0)
		return 0;
	each = 1 + data[0] % 9u;
	for (int mode = SMTP_DATA_NORMALIZE; mode <= SMTP_DATA_REJECT; mode++)
		fuzz_smtp_data_cut(in, (enum smtp_data_mode)mode, size % 2 == 0, each);
	fuzz_smtp_data_round(in, 0, each);
	fuzz_smtp_data_round(in, 2 + size % 20, each);
	smtp_data_read_chunk(&chunks, span_head(in, size / 2), false, &out);
	smtp_data_read_chunk(&chunks, span_from(in, size / 2), true, &out);
	MUST(out.len == 0 || out.ptr[out.len - 1] == '\n');
	return 0;
}
