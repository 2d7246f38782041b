/*
 * cluster_counter.h - numbers that all processes of the cluster add up (rule 5a.15): by key, what is open now, and what has
 * happened in the last time unit. Counting looks at memory only: our own count at once, that of the others within about two
 * seconds, since each process appends what is new to it once a second and reads what the others appended. While the
 * database is away we count alone.
 */
#ifndef CLUSTER_CLUSTER_COUNTER_H
#define CLUSTER_CLUSTER_COUNTER_H

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"
#include "db/db.h"

/* Kinds of events under one key. */
#define CLUSTER_COUNTER_KINDS 5

struct cluster_counter;

/* Zero in a number means its default. */
struct cluster_counter_settings {
	struct db_pool *
	    pool; /* borrowed; role front end; a connection is taken once a second, when there is something to say */
	int64_t window; /* us: over which events are counted; 60 s */
	int64_t pause;  /* us between two exchanges with the others; 1 s */
};

/* Starts its task. */
struct cluster_counter *cluster_counter_new(const struct cluster_counter_settings *settings);

/* Tells the others that nothing is open here any more, if that is quickly done. Waits. */
void cluster_counter_free(struct cluster_counter **c);

/* Another time unit: events so far are forgotten. */
void cluster_counter_set_window(struct cluster_counter *c, int64_t window);

/* One more, or one less, is open here. Returns how many there are everywhere. Never waits. */
unsigned cluster_counter_open(struct cluster_counter *c, struct span key);
unsigned cluster_counter_close(struct cluster_counter *c, struct span key);

/* An event of a kind below CLUSTER_COUNTER_KINDS. Returns how many there were everywhere in the time unit. Never waits. */
unsigned cluster_counter_event(struct cluster_counter *c, struct span key, unsigned kind);

/* The same numbers, nothing counted. For tests and reports. */
unsigned cluster_counter_is_open(const struct cluster_counter *c, struct span key);
unsigned cluster_counter_events(struct cluster_counter *c, struct span key, unsigned kind);

/* Exchanges with the others now. False: the database is away. Waits. For tests; the task does it by itself. */
bool cluster_counter_exchange(
    struct cluster_counter *c, int64_t deadline, struct err *err) MUST_CHECK;

#endif
