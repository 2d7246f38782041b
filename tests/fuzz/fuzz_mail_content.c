/*
 * fuzz_mail_content.c - contents: header sections, notifications about them, conversion to 7 bits in any cut.
 */
#include <stddef.h>
#include <stdint.h>

#include "mail/mail_header.h"
#include "mail/mail_qp.h"
#include "mail/mail_report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
fuzz_mail_content_headers(struct span content)
{
	struct buf out CLEANUP(buf_done) = {0};
	struct mail_header_iter iter;
	struct mail_header header;
	struct mail_header_scan scan;
	size_t sum = 0;

	mail_header_start(&iter, content);
	while (mail_header_next(&iter, &header)) {
		MUST(header.raw.len > 0 && header.name.len > 0);
		sum += header.raw.len;
		mail_header_unfold(&out, header.value);
		mail_header_write(&out, "X", header.value);
	}
	mail_header_scan(content, &scan);
	MUST(scan.headers == sum && scan.body >= sum && scan.body <= content.len);
}

static void
fuzz_mail_content_report(struct span content)
{
	struct buf out CLEANUP(buf_done) = {0};
	const struct mail_report_rcpt rcpt = {
	    .final = span_head(content, 40),
	    .orig_addr = span_head(content, 20),
	    .action = "failed",
	    .dsn = "5.0.0",
	    .text = content,
	};
	const struct mail_report report = {
	    .settings = {.host = "h", .origin = "o", .mail_name = "M", .threaded = true},
	    .queue_id = "a",
	    .new_id = "b",
	    .headers_only = content.len % 2 == 0,
	    .content = content,
	    .rcpts = &rcpt,
	    .rcpt_count = 1,
	};

	mail_report_write(&out, &report);
}

static void
fuzz_mail_content_convert(struct span content, size_t each, struct buf *out)
{
	struct mail_qp *qp = mail_qp_new();

	for (size_t at = 0; at < content.len; at += each)
		mail_qp_write(qp, span_head(span_from(content, at), each), out);
	mail_qp_finish(qp, out);
	mail_qp_free(&qp);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span content = span_of((const char *)data, size);
	struct buf whole CLEANUP(buf_done) = {0};
	struct buf pieces CLEANUP(buf_done) = {0};

	if (size == 0)
		return 0;
	fuzz_mail_content_headers(content);
	fuzz_mail_content_report(content);
	fuzz_mail_content_convert(content, size, &whole);
	fuzz_mail_content_convert(content, 1 + data[0] % 7u, &pieces);
	MUST(span_equal(buf_span(&whole), buf_span(&pieces)));
	return 0;
}
