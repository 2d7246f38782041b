/*
 * crash.c - the crash points of test builds: see crash.h.
 */
#include "base/crash.h"

#ifdef CRASHPOINTS

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/log.h"

#define CRASH_FILE_MAX 4096

/* "NAME", or "PROGRAM:NAME" of another program's? */
static bool
crash_is(const char *point, const char *name)
{
	const char *colon = strchr(point, ':');
	size_t len = colon != NULL ? (size_t)(colon - point) : 0;

	if (colon == NULL)
		return strcmp(point, name) == 0;
	return strcmp(colon + 1, name) == 0 && strlen(program_invocation_short_name) == len &&
	       strncmp(point, program_invocation_short_name, len) == 0;
}

/* Finds "NAME ACTION COUNT" in `text`; counts down and rewrites the line in `text`. True when the count is reached. */
static bool
crash_due(char *text, const char *name, char *ret_action, size_t action_size)
{
	char out[CRASH_FILE_MAX] = "";
	size_t used = 0;
	bool due = false;
	char *rest = text;

	for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
		char point[64];
		char action[16];
		int count = 1;

		if (sscanf(line, "%63s %15s %d", point, action, &count) < 2)
			continue;
		if (crash_is(point, name) && --count <= 0) {
			(void)snprintf(ret_action, action_size, "%s", action);
			due = true;
			continue;
		}
		used += (size_t)snprintf(
		    out + used, sizeof(out) - used, "%s %s %d\n", point, action, count);
	}
	memcpy(text, out, sizeof(out));
	return due;
}

static bool
crash_take(const char *path, const char *name, char *ret_action, size_t action_size)
{
	char text[CRASH_FILE_MAX] = "";
	bool due = false;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return false;
	if (flock(fd, LOCK_EX) == 0 && read(fd, text, sizeof(text) - 1) > 0 &&
	    strstr(text, name) != NULL) {
		due = crash_due(text, name, ret_action, action_size);
		if (ftruncate(fd, 0) != 0 || pwrite(fd, text, strlen(text), 0) < 0)
			due = false;
	}
	(void)close(fd);
	return due;
}

void
crash_point(const char *name)
{
	const char *path = getenv("ROWPOST_CRASH");
	char action[16] = "";

	if (path == NULL || !crash_take(path, name, action, sizeof(action)))
		return;
	log_info("crash point %s: %s", name, action);
	log_flush();
	(void)kill(getpid(), strcmp(action, "stop") == 0 ? SIGSTOP : SIGKILL);
}

#endif
