/*
 * proxymap_int.h - the parts of the lookup service: what it may answer (proxymap_allowed.c), its blocking processes
 * (proxymap_pool.c), its sessions (proxymap_service.c).
 */
#ifndef PROXYMAP_PROXYMAP_INT_H
#define PROXYMAP_PROXYMAP_INT_H

#include "base/base.h"
#include "base/span.h"
#include "service/service.h"
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

/* ---- tables of the cluster -------------------------------------------------------------------------------------- */

/* This process's way to them, for as long as it lives. Does not connect. */
void proxymap_tables_start(const struct service *s);

/* ---- processes that block --------------------------------------------------------------------------------------- */

/* Makes processes on demand, at most service->slots; keeps them for max_idle. */
struct proxymap_pool;
struct proxymap_pool *proxymap_pool_new(struct service *service);

/*
 * Has one of them answer the request `frame` (without its length) and appends the answer, a whole frame, to `reply`. Waits, for
 * a process to be free too.
 */
void proxymap_pool_ask(struct proxymap_pool *p, struct span frame, struct buf *reply);

/* Sends the processes away; those that answer end after their answer. Waits a little. */
void proxymap_pool_stop(struct proxymap_pool *p);

/* The life of such a process. */
NO_RETURN void proxymap_worker_run(struct conf *conf, int fd);

/* Looks up what `request` asks and appends the answer's frame. Waits, or blocks in a process that may. */
void proxymap_answer(
    struct conf *conf, const struct table_proxy_request *request, struct buf *reply);

#endif
