/*
 * load.h - the load generator's shared state: the plan (what to send, how fast, until when), the tally, and the
 * sessions. load.c owns options and the loop, load_session.c the SMTP dialogue, load_tally.c the figures and ledger.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct load_options {
	struct sockaddr_in server;
	int sessions;
	int64_t messages;   /* attempts; 0 = until the time is over */
	double seconds;     /* 0 = until the count is reached */
	double rate;        /* messages started per second; 0 = as fast as possible */
	size_t size;        /* of a message, header included */
	int recipients;     /* per message */
	int domains;        /* recipients are spread over this many domains */
	bool reuse;         /* several messages on a connection */
	bool pipelining;    /* used where the server offers it */
	bool retry;         /* a message without its 250 is sent again, under the same id */
	int window;         /* connections opened but not greeted yet, at most; 0 = any number */
	double timeout;     /* seconds without a reply after which a session is given up */
	double deadline;    /* seconds after which the whole run is cut off */
	const char *ledger; /* file with one line per attempt; NULL = none */
	const char *run_id; /* first part of each X-Bench-Id */
	bool idle;          /* no messages: open all sessions, hold them, then NOOP on each */
	double hold;        /* seconds to hold idle sessions */
};

/* How an attempt ended. IN_DOUBT: the connection broke after the final dot and before its reply. */
enum load_outcome { LOAD_ACCEPTED, LOAD_REFUSED, LOAD_FAILED, LOAD_IN_DOUBT, LOAD_N_OUTCOMES };

/* One attempt, as load_session.c knows it at its end. */
struct load_attempt {
	int64_t seq;
	enum load_outcome outcome;
	int code;             /* the refusing reply, else 0 */
	int recipients;       /* accepted ones */
	size_t body_bytes;    /* octets after the header's blank line */
	const char *queue_id; /* from "queued as X"; "-" if unknown */
	int64_t dot_ns;       /* just before the write that ends with the final dot */
	int64_t reply_ns;
};

struct load_tally {
	int64_t outcomes[LOAD_N_OUTCOMES];
	int64_t refused_4xx, refused_5xx;
	int64_t recipients; /* of accepted messages */
	int64_t connects, connect_errors, timeouts;
	int64_t start_ns, last_accept_ns;
	int64_t start_cpu_us; /* spent on options and the text pool */
	uint32_t *latency_us; /* dot to 250, one per accepted message */
	size_t n_latencies, max_latencies;
	FILE *ledger;
};

struct load_session;

struct load {
	struct load_options opt;
	struct load_tally tally;
	int epoll;
	int64_t next_seq;
	int64_t stop_ns;    /* no new message after this; 0 = no limit */
	bool cut_off;       /* the deadline of the whole run passed */
	int live;           /* sessions not finished */
	int opening;        /* sessions connected but not greeted */
	int ready;          /* idle sessions that wait */
	int noops_answered; /* idle sessions that answered at the end */
	bool pipelined;     /* at least one server reply offered PIPELINING */
	struct load_session *sessions;
	struct load_session *first_waiting,
	    *last_waiting; /* for their turn under opt.rate, in order */
};

/* May another message be started: now, later (a rate limit), or never again. Takes a number when now. */
enum load_turn { LOAD_NOW, LOAD_LATER, LOAD_NEVER };
enum load_turn load_take(struct load *load, int64_t *seq);

/* No message is begun any more, because of the time or a signal (a reached count does not matter here). */
bool load_is_over(const struct load *load);

/* Figures and ledger; the ledger's lines are described in tests/bench/README.md. */
void load_tally_start(struct load_tally *tally, const char *ledger_path);
void load_tally_add(
    struct load_tally *tally, const char *run_id, const struct load_attempt *attempt);
void load_tally_print(const struct load *load);
void load_tally_print_ready(const struct load *load);

/* All sessions, in state "new"; load_session_poll() lets them start. */
void load_session_init(struct load *load);

/* An epoll event on a session's socket. */
void load_session_event(struct load_session *session, uint32_t events);

/* Called every few milliseconds: starts what may start now, ends what is out of time. */
void load_session_poll(struct load *load, int64_t now);

/* The run's deadline passed: account for every message in hand. */
void load_session_cut_off(struct load *load);

/* Idle mode, after the hold: NOOP on each session, then QUIT. */
void load_session_wake_idle(struct load *load);

#endif
