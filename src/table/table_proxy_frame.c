/*
 * table_proxy_frame.c - the bytes between a process and proxymap: see table_proxy.h. Numbers are in network order:
 *
 *	request  u32 length, u8 approved, u32 flags, u32 length of the specification, specification, key
 *	reply    u32 length, u8 status, value
 */
#include <string.h>

#include "table/table_proxy.h"

#define REQUEST_HEAD 9

static void
table_proxy_put_length(struct buf *out, size_t len)
{
	MUST(len <= TABLE_PROXY_FRAME_MAX);
	buf_add_u32(out, (uint32_t)len);
}

void
table_proxy_write_request(struct buf *out, const struct table_proxy_request *r)
{
	table_proxy_put_length(out, REQUEST_HEAD + r->spec.len + r->key.len);
	buf_add_u8(out, r->approved);
	buf_add_u32(out, r->flags);
	buf_add_u32(out, (uint32_t)r->spec.len);
	buf_add_span(out, r->spec);
	buf_add_span(out, r->key);
}

void
table_proxy_write_reply(struct buf *out, enum table_proxy_status status, struct span value)
{
	table_proxy_put_length(out, 1 + value.len);
	buf_add_u8(out, (uint8_t)status);
	buf_add_span(out, value);
}

static uint32_t
table_proxy_u32(const char *at)
{
	const unsigned char *b = (const unsigned char *)at;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

bool
table_proxy_parse_request(struct span frame, struct table_proxy_request *ret)
{
	size_t spec;

	if (frame.len < REQUEST_HEAD)
		return false;
	spec = table_proxy_u32(frame.ptr + 5);
	if (spec > frame.len - REQUEST_HEAD)
		return false;
	*ret = (struct table_proxy_request){
	    .approved = frame.ptr[0] != 0,
	    .flags = table_proxy_u32(frame.ptr + 1),
	    .spec = span_of(frame.ptr + REQUEST_HEAD, spec),
	    .key = span_from(frame, REQUEST_HEAD + spec),
	};
	return true;
}

bool
table_proxy_parse_reply(
    struct span frame, enum table_proxy_status *ret_status, struct span *ret_value)
{
	if (frame.len < 1 || (unsigned char)frame.ptr[0] >= TABLE_PROXY_STATUS_COUNT)
		return false;
	*ret_status = (enum table_proxy_status)frame.ptr[0];
	*ret_value = span_from(frame, 1);
	return true;
}

bool
table_proxy_parse_head(const unsigned char *head, size_t *ret)
{
	size_t len = table_proxy_u32((const char *)head);

	if (len > TABLE_PROXY_FRAME_MAX)
		return false;
	*ret = len;
	return true;
}

enum stream_result
table_proxy_read(struct stream *s, struct buf *frame)
{
	unsigned char head[TABLE_PROXY_HEAD];
	enum stream_result r = stream_read_full(s, head, sizeof(head));
	size_t len;

	buf_clear(frame);
	if (r != STREAM_OK)
		return r;
	if (!table_proxy_parse_head(head, &len))
		return STREAM_TOO_LONG;
	r = stream_read_full(s, buf_room(frame, len), len);
	if (r == STREAM_OK)
		buf_added(frame, len);
	return r;
}
