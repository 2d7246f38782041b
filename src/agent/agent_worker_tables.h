/*
 * agent_worker_tables.h - the tables that workers may ask for, open in the agent's own process, where a lookup may wait for the
 * network without holding up other deliveries.
 */
#ifndef AGENT_AGENT_WORKER_TABLES_H
#define AGENT_AGENT_WORKER_TABLES_H

#include "agent/agent_worker.h"
#include "agent/agent_worker_side.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"
#include "conf/conf.h"

struct agent_worker_tables;

/* Opens the tables of the kind. Keeps a reference to `conf`. */
struct agent_worker_tables *agent_worker_tables_new(
    struct conf *conf, const struct agent_worker_kind *kind);
void agent_worker_tables_free(struct agent_worker_tables **t);

/*
 * Is a lookup for `param` one for a process that may block: of tables that wait for a server, with nobody between (TABLE_NO_PROXY)?
 * Not where one of them needs the event loop.
 */
bool agent_worker_tables_block(const struct conf *conf, const struct agent_worker_kind *kind,
    enum conf_param param, enum agent_work_key how);

/* See agent_work_lookup(). A parameter that was not opened finds nothing. May wait. */
enum agent_work_lookup agent_worker_tables_find(struct agent_worker_tables *t,
    enum conf_param param, enum agent_work_key how, struct span key, struct buf *value);

#endif
