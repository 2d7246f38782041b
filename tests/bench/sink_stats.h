/*
 * sink_stats.h - the sink's counters, in a file that the runner maps: it can poll them without a signal or a system
 * call in the sink. Little struct of 64-bit words in a fixed order; tests/bench/tools.py reads it by that order.
 */
#ifndef BENCH_SINK_STATS_H
#define BENCH_SINK_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#define SINK_STATS_MAGIC UINT64_C(0x31736b6e69732d62)
#define SINK_MAX_PROCS   8

struct sink_stats {
	_Atomic uint64_t magic;
	_Atomic uint64_t port; /* the one really bound */
	_Atomic uint64_t connections;
	_Atomic uint64_t messages;   /* answered with 250 */
	_Atomic uint64_t recipients; /* of these messages */
	_Atomic uint64_t bytes;      /* of these messages, header included */
	_Atomic uint64_t refused;    /* replies 4xx and 5xx by script */
	_Atomic uint64_t dropped;    /* connections dropped by script */
	_Atomic uint64_t stalled;    /* stalls by script */
	_Atomic uint64_t first_ns;   /* CLOCK_MONOTONIC of the first message's 250 */
	_Atomic uint64_t last_ns;    /* and of the last one's */
	_Atomic uint64_t cpu_us[SINK_MAX_PROCS];
};

#endif
