/*
 * proxymap_worker.c - answering one request: opening the table when it is first asked for, and the process that does nothing else,
 * for tables that block.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxymap/proxymap_int.h"
#include "table/table_query.h"

/*
 * The tables that were asked for: they stay open, as what is allowed is a short list. By flags and specification.
 */
static struct hmap proxymap_tables;

static struct table *
proxymap_table(struct conf *conf, const struct table_proxy_request *request)
{
	char *key CLEANUP(mem_free_str) =
	    mem_printf("%u %.*s", request->flags, SPAN_ARG(request->spec));
	struct table *t = hmap_get(&proxymap_tables, span_str(key));

	if (t != NULL)
		return t;
	t = table_open(conf, request->spec, request->flags);
	(void)hmap_put(&proxymap_tables, span_str(key), t);
	return t;
}

void
proxymap_answer(struct conf *conf, const struct table_proxy_request *request, struct buf *reply)
{
	static const enum table_proxy_status statuses[] = {
	    [TABLE_NOT_FOUND] = TABLE_PROXY_NOT_FOUND,
	    [TABLE_FOUND] = TABLE_PROXY_FOUND,
	    [TABLE_ERROR] = TABLE_PROXY_RETRY,
	};
	struct buf value CLEANUP(buf_done) = {0};
	enum table_result r;
	struct err err;

	r = table_lookup(proxymap_table(conf, request), request->key, TABLE_KEY_FULL, &value, &err);
	table_proxy_write_reply(reply, statuses[r], buf_span(&value));
}

/* ---- the process ------------------------------------------------------------------------------------------------ */

/* The service is gone, or done with this process. */
NO_RETURN static void
proxymap_worker_end(void)
{
	log_flush();
	_exit(EX_OK);
}

static void
proxymap_worker_read(int fd, void *ptr, size_t len)
{
	char *at = ptr;

	while (len > 0) {
		ssize_t n = recv(fd, at, len, MSG_WAITALL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			proxymap_worker_end();
		at += n;
		len -= (size_t)n;
	}
}

static void
proxymap_worker_write(int fd, struct span bytes)
{
	while (bytes.len > 0) {
		ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			proxymap_worker_end();
		bytes = span_from(bytes, (size_t)n);
	}
}

void
proxymap_worker_run(struct conf *conf, int fd)
{
	struct table_proxy_request request;
	struct buf frame = {0}, reply = {0};
	unsigned char head[TABLE_PROXY_HEAD];
	size_t len;

	table_proxy_ask_directly();
	for (;;) {
		proxymap_worker_read(fd, head, sizeof(head));
		MUST(table_proxy_parse_head(head, &len));
		buf_clear(&frame);
		proxymap_worker_read(fd, buf_room(&frame, len), len);
		buf_added(&frame, len);
		MUST(table_proxy_parse_request(buf_span(&frame), &request));
		buf_clear(&reply);
		proxymap_answer(conf, &request, &reply);
		proxymap_worker_write(fd, buf_span(&reply));
	}
}
