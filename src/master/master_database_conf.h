/*
 * master_database_conf.h - the settings of the embedded PostgreSQL as text: scaled to the machine, durable always.
 */
#ifndef MASTER_MASTER_DATABASE_CONF_H
#define MASTER_MASTER_DATABASE_CONF_H

#include "base/base.h"
#include "base/buf.h"
#include "conf/conf.h"

struct master_database_machine {
	uint64_t memory; /* bytes that this host (or its control group) may use */
	uint64_t disk;   /* bytes free where the cluster is */
};

/* Appends rowpost.conf, which postgresql.conf includes; database_settings comes last and wins. */
void master_database_conf_settings(
    const struct conf *c, const struct master_database_machine *machine, struct buf *out);

/* Appends pg_hba.conf: each of our users by its system name, nobody else. */
void master_database_conf_access(const struct conf *c, struct buf *out);

/* Looks at this machine; `dir` is on the disk meant. */
void master_database_conf_machine(const char *dir, struct master_database_machine *ret);

#endif
