/*
 * log.c - the log writer: see log.h. Writing never fails towards the caller: a full disk must not stop mail.
 */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

#define LOG_TEXT_MAX   4096
#define LOG_GATHER_MAX 32768

static struct {
	char *tag;
	char *host;
	int fd;
	bool use_syslog;
	int facility;
	bool also_stderr;
	char *stderr_tag;
	int verbose;
	const char *acting; /* log_act_as(); NULL: as ourselves */
	void (*keep)(void *arg, enum log_level level, const char *text); /* log_hold() */
	void *keep_arg;
	bool ready;
	bool buffered;
	unsigned generation; /* calls of log_reopen() */
	bool forked;         /* the number of the process must be asked for again */
	struct buf gathered;
	int64_t
	    stamp_second; /* the second that `stamp` shows: strftime once a second, not once a line */
	char stamp[32];
} log_state = {.fd = -1, .stamp_second = -1};

static const struct {
	const char *word;
	int priority;
} log_levels[] = {
    [LOG_LEVEL_DEBUG] = {"", LOG_INFO},
    [LOG_LEVEL_INFO] = {"", LOG_INFO},
    [LOG_LEVEL_WARN] = {"warning: ", LOG_WARNING},
    [LOG_LEVEL_ERROR] = {"error: ", LOG_ERR},
    [LOG_LEVEL_FATAL] = {"fatal: ", LOG_CRIT},
    [LOG_LEVEL_PANIC] = {"panic: ", LOG_CRIT},
};

static void
log_forked(void)
{
	log_state.forked = true;
}

static char *
log_host_name(const char *host)
{
	char name[256] = "localhost";

	if (host == NULL) {
		(void)gethostname(name, sizeof(name) - 1);
		host = name;
	}
	return mem_dup(host, strcspn(host, "."));
}

void
log_setup(const struct log_settings *s)
{
	log_flush();
	mem_free(log_state.tag);
	mem_free(log_state.host);
	mem_free(log_state.stderr_tag);
	log_state.tag = mem_strdup(s->tag);
	log_state.stderr_tag = mem_strdup(s->stderr_tag != NULL ? s->stderr_tag : s->tag);
	log_state.host = log_host_name(s->host);
	if (log_state.fd >= 0 && log_state.fd != s->fd && log_state.fd > STDERR_FILENO)
		(void)close(log_state.fd);
	log_state.fd = s->fd;
	log_state.use_syslog = s->use_syslog;
	log_state.facility = s->facility;
	log_state.also_stderr = s->also_stderr;
	log_state.verbose = s->verbose;
	log_state.ready = true;
	if (s->use_syslog)
		openlog(log_state.tag, LOG_PID | LOG_NDELAY, s->facility);
}

void
log_reopen(int fd)
{
	log_flush();
	if (log_state.fd > STDERR_FILENO)
		(void)close(log_state.fd);
	log_state.fd = fd;
	log_state.generation++;
}

unsigned
log_generation(void)
{
	return log_state.generation;
}

void
log_buffered(bool on)
{
	log_flush();
	log_state.buffered = on;
}

bool
log_is_verbose(void)
{
	return log_state.verbose > 0;
}

static void
log_write_all(int fd, const char *ptr, size_t len)
{
	while (len != 0) {
		ssize_t n = write(fd, ptr, len);

		if (n <= 0)
			return; /* a lost line is better than a stopped relay */
		ptr += n;
		len -= (size_t)n;
	}
}

void
log_flush(void)
{
	if (log_state.gathered.len == 0)
		return;
	if (log_state.fd >= 0)
		log_write_all(log_state.fd, log_state.gathered.ptr, log_state.gathered.len);
	buf_clear(&log_state.gathered);
}

/* getpid() is a system call; a process changes its number only by fork(). */
static int
log_pid(void)
{
	static pid_t pid;
	static bool watched;

	if (!watched) {
		watched = true;
		(void)pthread_atfork(NULL, NULL, log_forked);
	}
	if (pid == 0 || log_state.forked) {
		pid = getpid();
		log_state.forked = false;
	}
	return (int)pid;
}

static const char *
log_stamp(void)
{
	int64_t second = clock_real_us() / CLOCK_SECOND;

	if (second != log_state.stamp_second) {
		clock_format_local(
		    second, "%b %e %H:%M:%S", log_state.stamp, sizeof(log_state.stamp));
		log_state.stamp_second = second;
	}
	return log_state.stamp;
}

static void
log_clean(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p != '\0'; p++)
		if (*p < ' ' || *p == 0x7f)
			*p = '?';
}

/* The tag in front of the line: ours, or the one of `program` beside us. */
static int
log_tag_stem(const char *program)
{
	const char *slash = strrchr(log_state.tag, '/');

	if (program == NULL)
		return (int)strlen(log_state.tag);
	return slash != NULL ? (int)(slash + 1 - log_state.tag) : 0;
}

static void
log_to_file(const char *program, const char *word, const char *text)
{
	buf_printf(&log_state.gathered, "%s %s %.*s%s[%d]: %s%s\n", log_stamp(), log_state.host,
	    log_tag_stem(program), log_state.tag, program != NULL ? program : "", log_pid(), word,
	    text);
	if (!log_state.buffered || log_state.gathered.len >= LOG_GATHER_MAX)
		log_flush();
}

static void
log_to_syslog(const char *program, int priority, const char *word, const char *text)
{
	char tag[256];

	if (program == NULL) {
		syslog(priority, "%s%s", word, text);
		return;
	}
	(void)snprintf(tag, sizeof(tag), "%.*s%s", log_tag_stem(program), log_state.tag, program);
	openlog(tag, LOG_PID | LOG_NDELAY, log_state.facility);
	syslog(priority, "%s%s", word, text);
	openlog(log_state.tag, LOG_PID | LOG_NDELAY, log_state.facility);
}

static void log_vline(enum log_level level, const char *program, const char *fmt, va_list args)
    PRINTF_LIKE(3, 0);

static void
log_vline(enum log_level level, const char *program, const char *fmt, va_list args)
{
	const char *word = log_levels[level].word;
	char text[LOG_TEXT_MAX];

	if (level == LOG_LEVEL_DEBUG && log_state.verbose == 0)
		return;
	(void)vsnprintf(text, sizeof(text), fmt, args);
	log_clean(text);
	if (log_state.keep != NULL && level < LOG_LEVEL_FATAL) {
		log_state.keep(log_state.keep_arg, level, text);
		return;
	}
	if (log_state.fd >= 0)
		log_to_file(program, word, text);
	if (log_state.use_syslog)
		log_to_syslog(program, log_levels[level].priority, word, text);
	if (!log_state.ready || log_state.also_stderr)
		(void)fprintf(stderr, "%s%s: %s%s\n", program != NULL ? "postfix/" : "",
		    program != NULL   ? program
		    : log_state.ready ? log_state.stderr_tag
				      : "rowpost",
		    word, text);
	if (level >= LOG_LEVEL_FATAL)
		log_flush();
}

void
log_line(enum log_level level, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_vline(level, log_state.acting, fmt, args);
	va_end(args);
}

void
log_act_as(const char *program)
{
	log_state.acting = program;
}

void
log_hold(void (*keep)(void *arg, enum log_level level, const char *text), void *arg)
{
	log_state.keep = keep;
	log_state.keep_arg = arg;
}

void
log_info_as(const char *program, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_vline(LOG_LEVEL_INFO, program, fmt, args);
	va_end(args);
}

void
log_fatal(int status, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_vline(LOG_LEVEL_FATAL, NULL, fmt, args);
	va_end(args);
	exit(status);
}
