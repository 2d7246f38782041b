/*
 * proxymap_int.h - the parts of the lookup service: what it may answer (proxymap_allowed.c), its blocking processes
 * (proxymap_pool.c), its sessions (proxymap_service.c).
 */
#ifndef PROXYMAP_PROXYMAP_INT_H
#define PROXYMAP_PROXYMAP_INT_H

#include "base/base.h"
#include "base/span.h"
#include "service/service.h"
#include "service/service_worker.h"
#include "table/table_proxy.h"

/* ---- what may be asked ------------------------------------------------------------------------------------------ */

struct proxymap_allowed;

/*
 * From proxy_read_maps (`writing`: proxy_write_maps) what "proxy:" may reach, and from all of main.cf and master.cf which
 * tables that block they name without it. The settings of the latter are read now and kept, while they may be. Trouble with
 * the files is logged: then nothing but proxy_read_maps is allowed.
 */
struct proxymap_allowed *proxymap_allowed_new(struct conf *conf, bool writing);
void proxymap_allowed_free(struct proxymap_allowed **a);

/* `approved`: with "proxy:" in front. */
bool proxymap_allowed_has(const struct proxymap_allowed *a, struct span spec, bool approved);

/* ---- processes that block --------------------------------------------------------------------------------------- */

/* What is said to them, in frames of service/link.h. */
enum proxymap_frame {
	PROXYMAP_REQUEST = 1, /* a table_proxy_request, as table_proxy_parse_request() takes it */
	PROXYMAP_ANSWER,      /* as table_proxy_parse_reply() takes it */
};

/* Processes for lookups, at most service->slots. */
struct service_worker_pool *proxymap_pool_new(struct service *service);

/*
 * Has one of them answer the request, a frame without its length, and appends the answer, a whole frame, to `reply`. Waits, for
 * a process to be free too.
 */
void proxymap_pool_ask(struct service_worker_pool *p, struct span request, struct buf *reply);

/* The life of such a process. */
NO_RETURN void proxymap_worker_run(struct conf *conf, int fd);

/* Looks up what `request` asks and appends the answer's frame. Waits, or blocks in a process that may. */
void proxymap_answer(
    struct conf *conf, const struct table_proxy_request *request, struct buf *reply);

#endif
