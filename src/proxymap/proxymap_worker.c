/*
 * proxymap_worker.c - answering one request: opening the table when it is first asked for, and the process that does nothing else,
 * for tables that block.
 */
#include <unistd.h>

#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxymap/proxymap_int.h"
#include "service/service_fork.h"
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
	if (value.len >= TABLE_PROXY_FRAME_MAX) {
		log_warn("%.*s: the result for \"%.*s\" is larger than any answer",
		    SPAN_ARG(request->spec), SPAN_ARG(span_head(request->key, 100)));
		r = TABLE_ERROR;
		buf_clear(&value);
	}
	table_proxy_write_reply(reply, statuses[r], buf_span(&value));
}

/* ---- the process ------------------------------------------------------------------------------------------------ */

void
proxymap_worker_run(struct conf *conf, int fd)
{
	struct table_proxy_request request;
	struct buf frame = {0}, reply = {0};

	table_proxy_ask_directly();
	for (;;) {
		service_fork_receive(fd, PROXYMAP_REQUEST, &frame);
		MUST(table_proxy_parse_request(buf_span(&frame), &request));
		buf_clear(&reply);
		proxymap_answer(conf, &request, &reply);
		/* Frames of the link have their length in front already. */
		service_fork_send(
		    fd, PROXYMAP_ANSWER, span_from(buf_span(&reply), TABLE_PROXY_HEAD));
	}
}
