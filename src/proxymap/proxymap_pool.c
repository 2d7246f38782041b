/*
 * proxymap_pool.c - lookups that may block, in processes of their own, at most maxproc of them. One that does not answer is killed: its
 * request is answered with "try again".
 */
#include "base/clock.h"
#include "base/log.h"
#include "proxymap/proxymap_int.h"
#include "service/link.h"
#include "service/service_worker.h"

/* What takes longer has come to a standstill; who asked has given up before. */
#define PROXYMAP_LOOKUP_MAX (150 * CLOCK_SECOND)
#define PROXYMAP_QUEUE_MAX  (120 * CLOCK_SECOND)

static void
proxymap_pool_body(void *arg, int fd)
{
	proxymap_worker_run(((const struct service *)arg)->conf, fd);
}

struct service_worker_pool *
proxymap_pool_new(struct service *service)
{
	static const struct service_worker_kind kind = {
	    .word = "lookup",
	    .body = proxymap_pool_body,
	};

	return service_worker_pool_new(service, &kind, MAX(service->slots, (size_t)1), service);
}

/* Passes the request on and appends what comes back to `reply`. */
static bool
proxymap_pool_talk(struct link *l, struct span request, struct buf *reply)
{
	enum table_proxy_status status;
	struct span answer;
	struct span value;
	uint32_t number;
	uint8_t type;

	(void)link_send(l, PROXYMAP_REQUEST, 0, request);
	if (link_receive(l, clock_deadline(PROXYMAP_LOOKUP_MAX), &type, &number, &answer) !=
		STREAM_OK ||
	    type != PROXYMAP_ANSWER || !table_proxy_parse_reply(answer, &status, &value))
		return false;
	table_proxy_write_reply(reply, status, value);
	return true;
}

void
proxymap_pool_ask(struct service_worker_pool *p, struct span request, struct buf *reply)
{
	struct service_worker *w = service_worker_take(p, clock_deadline(PROXYMAP_QUEUE_MAX));
	bool ok;

	if (w == NULL) {
		log_warn("no lookup process is free");
		table_proxy_write_reply(reply, TABLE_PROXY_RETRY, (struct span){0});
		return;
	}
	ok = proxymap_pool_talk(service_worker_link(w), request, reply);
	if (!ok) {
		log_warn("lookup process %d gave no answer", (int)service_worker_pid(w));
		table_proxy_write_reply(reply, TABLE_PROXY_RETRY, (struct span){0});
	}
	service_worker_give(&w, ok);
}
