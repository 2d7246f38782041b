/*
 * sink.h - the counting SMTP sink: sink.c owns options, processes and the loop, sink_session.c the SMTP dialogue,
 * sink_rules.c the scripted misbehaviour, sink_ledger.c the record of what was delivered.
 */
#ifndef BENCH_SINK_H
#define BENCH_SINK_H

#include <stdbool.h>
#include <stdint.h>

#include "sink_stats.h"

/* Where a rule can act. DOT: the message is complete, its reply is not yet sent. */
enum sink_step {
	SINK_CONNECT,
	SINK_EHLO,
	SINK_MAIL,
	SINK_RCPT,
	SINK_DATA,
	SINK_DOT,
	SINK_QUIT,
	SINK_N_STEPS
};

enum sink_action { SINK_REPLY, SINK_DROP, SINK_STALL };

struct sink_rule {
	enum sink_action action;
	enum sink_step step;
	double share;   /* of the times this step is reached */
	int code;       /* SINK_REPLY */
	double seconds; /* SINK_STALL: then goes on as if nothing had been */
};

struct sink {
	struct sink_stats *stats; /* shared by all processes and the runner */
	int process;              /* 0 .. processes - 1 */
	int epoll;
	int listener;
	int stalled; /* sessions that wait for their stall to end */
	bool with_ledger;
	const char *id_header; /* its value is a message's id in the ledger */
};

/* Add a rule "451@rcpt=0.1", "drop@dot=0.05" or "stall@mail=0.01:30"; exits on anything else. */
void sink_rules_add(const char *text);

/* The rule that acts this time, or NULL. */
const struct sink_rule *sink_rules_pick(enum sink_step step);

/*
 * One line per message that is about to be answered with 250 (tests/bench/README.md). `recipients` are local parts,
 * joined by commas.
 */
void sink_ledger_open(const char *path);
void sink_ledger_add(const char *id, const char *recipients, uint64_t body_bytes, int64_t now_ns);

/* Write out what is buffered. */
void sink_ledger_flush(void);

struct sink_session;

/* Take every connection that waits. */
void sink_session_accept(struct sink *sink);

/* An epoll event on a session's socket; may free the session. */
void sink_session_event(struct sink_session *session, uint32_t events);

/* Go on with the sessions whose stall is over. */
void sink_session_poll(struct sink *sink, int64_t now_ns);

#endif
