/*
 * qmgr_tables.h - the scheduler's way to tables of the cluster (cluster/cluster_table.h): connections of its own, so that a
 * lookup never waits behind mail.
 */
#ifndef QMGR_QMGR_TABLES_H
#define QMGR_QMGR_TABLES_H

struct service;

/* Sets it up for as long as the process lives. Does not connect. */
void qmgr_tables_start(const struct service *s);

#endif
