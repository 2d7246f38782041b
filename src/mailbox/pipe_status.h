/*
 * pipe_status.h - what the end of a delivery command means: exit statuses of sysexits.h, signals, and output that begins with an
 * enhanced status code. Pure.
 */
#ifndef MAILBOX_PIPE_STATUS_H
#define MAILBOX_PIPE_STATUS_H

#include "base/arena.h"
#include "base/base.h"
#include "base/span.h"
#include "service/delivery.h"

struct pipe_status {
	enum delivery_status status;
	const char *dsn;
	const char *text;       /* for log and sender; for a success: the command's output, or "" */
	const char *diagnostic; /* "x-unix; data format error"; NULL: none */
};

/*
 * `wait_status` as of waitpid(); `command` for messages; `output` as pipe_status_clean() left it. Texts are in `arena` or
 * constant.
 */
void pipe_status_judge(int wait_status, const char *command, struct span output,
    struct arena *arena, struct pipe_status *ret);

/* The command ran out of time and was killed. */
void pipe_status_late(
    const char *command, struct span output, struct arena *arena, struct pipe_status *ret);

/*
 * Output of a command as one line: line ends and tabs become blanks, also at the end, control characters and what is not UTF-8 '_'.
 * In place.
 */
void pipe_status_clean(char *output, size_t len);

#endif
