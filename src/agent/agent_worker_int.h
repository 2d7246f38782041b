/*
 * agent_worker_int.h - what agent and worker say to each other over their socket: frames as of service/link.h, delivery number
 * 0. The agent sends REQUEST; the worker asks as often as it likes, one question at a time, and ends with RESULT.
 */
#ifndef AGENT_AGENT_WORKER_INT_H
#define AGENT_AGENT_WORKER_INT_H

#include "agent/agent_worker.h"

enum agent_worker_frame {
	AGENT_WORKER_REQUEST = 1, /* agent: a delivery_request */
	AGENT_WORKER_CONTENT,     /* worker: u8 from the front; the next piece, please */
	AGENT_WORKER_PIECE,       /* agent: u8 AGENT_WORKER_PIECE_ bits, bytes */
	AGENT_WORKER_LOOKUP,      /* worker: u32 parameter, u8 enum agent_work_key, key */
	AGENT_WORKER_VALUE,       /* agent: u8 enum agent_work_lookup, value or reason */
	AGENT_WORKER_MAY_GO_ON,   /* worker: before what cannot be taken back */
	AGENT_WORKER_GO_ON,       /* agent: u8 yes or no */
	AGENT_WORKER_RESULT,      /* worker: a delivery_result */
};

#define AGENT_WORKER_PIECE_OK   1u
#define AGENT_WORKER_PIECE_LAST 2u

/* The whole life of a worker process; `fd` is a blocking socket to the agent. */
NO_RETURN void agent_worker_main(
    const struct service *service, const struct agent_worker_kind *kind, int fd);

#endif
