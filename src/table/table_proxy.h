/*
 * table_proxy.h - asking tables in another process. Tables that block (unix, ldap, mysql, sqlite) and proxy:type:name are asked
 * through the service proxymap, over its UNIX socket, by every process that has an event loop; a lookup then waits in its
 * task only. Programs that may block (postmap, the workers of proxymap) ask themselves: table_proxy_ask_directly().
 *
 * One request at a time goes over a connection: a frame there, a frame back. What is in a frame is counted bytes, never text to
 * be parsed, since keys come from peers.
 */
#ifndef TABLE_TABLE_PROXY_H
#define TABLE_TABLE_PROXY_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"
#include "net/stream.h"
#include "table/table.h"

/*
 * From now on this process asks tables that block by itself, each time until the answer is there. For what needs a library see
 * table_backend.h.
 */
void table_proxy_ask_directly(void);

/* ---- frames, for both ends -------------------------------------------------------------------------------------- */

/* The largest frame: a key and a specification, or a value, and some. */
#define TABLE_PROXY_FRAME_MAX ((size_t)2 << 20)
#define TABLE_PROXY_HEAD      4

/* A lookup; spans point into the frame. */
struct table_proxy_request {
	bool
	    approved; /* "proxy:" stood in front: proxy_read_maps decides; else main.cf must name the table */
	unsigned flags; /* TABLE_* */
	struct span spec;
	struct span key;
};

enum table_proxy_status {
	TABLE_PROXY_NOT_FOUND,
	TABLE_PROXY_FOUND,
	TABLE_PROXY_RETRY, /* the table is away or broken; has been logged there */
	TABLE_PROXY_DENIED,
	TABLE_PROXY_STATUS_COUNT
};

/* Appends the whole frame, its length in front. */
void table_proxy_write_request(struct buf *out, const struct table_proxy_request *r);
void table_proxy_write_reply(struct buf *out, enum table_proxy_status status, struct span value);

/* Take the frame without its length. False on bytes that no end of ours sends. */
bool table_proxy_parse_request(struct span frame, struct table_proxy_request *ret) MUST_CHECK;
bool table_proxy_parse_reply(
    struct span frame, enum table_proxy_status *ret_status, struct span *ret_value) MUST_CHECK;

/* The length of the frame behind these TABLE_PROXY_HEAD bytes; false when it is none. */
bool table_proxy_parse_head(const unsigned char *head, size_t *ret) MUST_CHECK;

/* Reads one frame into `frame`, without its length. STREAM_TOO_LONG: what comes is no frame. Waits. */
enum stream_result table_proxy_read(struct stream *s, struct buf *frame);

/* Does `spec` name a table that blocks when it is asked? */
bool table_proxy_blocks(struct span spec);

/* ... or one that not every process can ask: proxymap answers for it although nobody wrote "proxy:". */
bool table_proxy_is_implied(struct span spec);

#endif
