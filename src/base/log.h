/*
 * log.h - one log line at a time, in Postfix's frame, to a file, to standard output or to syslog. The only formatter
 * of the frame:
 *
 *	file, stdout:  Nov 21 12:00:00 host postfix/smtpd[123]: warning: text
 *	syslog:        postfix/smtpd[123]: warning: text
 *
 * Control characters in the text become '?'. Rooms below `queue` log nothing above debug: they fill struct err.
 * Callers keep secrets out. Lines are written at once unless a buffering writer is set up with log_buffered(); a
 * panic or fatal line always flushes.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/base.h"

enum log_level {
	LOG_LEVEL_DEBUG, /* only with verbose > 0 */
	LOG_LEVEL_INFO,  /* no word in front of the text */
	LOG_LEVEL_WARN,  /* "warning: " */
	LOG_LEVEL_ERROR, /* "error: " */
	LOG_LEVEL_FATAL, /* "fatal: " */
	LOG_LEVEL_PANIC, /* "panic: " */
};

struct log_settings {
	const char *tag; /* "postfix/smtpd": copied */
	const char
	    *host; /* first label of the host name, for files: copied; NULL: from the system */
	int fd;    /* an open O_APPEND file or standard output; -1: none */
	bool use_syslog;  /* to syslog(3) with `facility` */
	int facility;     /* LOG_MAIL and the like */
	bool also_stderr; /* a copy of each line for a person at a terminal, without the time */
	const char *stderr_tag; /* the tag there, "postqueue": copied; NULL: `tag` */
	int verbose;            /* number of -v options */
};

/* Sets up or changes the log. Before the first call lines go to standard error, tag "rowpost". Takes over `fd`. */
void log_setup(const struct log_settings *settings);

/* Replaces the file (after rotation); takes over `fd` and closes the old one. */
void log_reopen(int fd);

/* Counts calls of log_reopen(): a forked worker with an older number writes to a file that was rotated away. */
unsigned log_generation(void);

/* Collect lines in memory until log_flush(), or until 32 KB have gathered. The event loop flushes once a turn. */
void log_buffered(bool on);
void log_flush(void);

/* True when debug lines are wanted: to skip costly arguments. */
bool log_is_verbose(void);

void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * An info line under the name of another program of Postfix's ("cleanup", "bounce", "error") whose work this process does: the
 * last part of the tag is replaced, since log analysers go by it.
 */
void log_info_as(const char *program, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * From here on all lines go under the name of `program` (a constant), until log_act_as(NULL). Not to be waited in between: the
 * other tasks' lines would go there too.
 */
void log_act_as(const char *program);

/* From here on lines go to `keep` and nowhere else, until log_hold(NULL, NULL): for what is found before its time. Not to be waited in between. */
void log_hold(void (*keep)(void *arg, enum log_level level, const char *text), void *arg);

#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (UNLIKELY(log_is_verbose()))                                                    \
			log_line(LOG_LEVEL_DEBUG, __VA_ARGS__);                                    \
	} while (0)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)

/* A broken environment at start: logs the line and exits with `status` (sysexits.h). */
NO_RETURN void log_fatal(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
