/*
 * pipe_command.c - see pipe_command.h. One loop feeds the command and takes its output, so that neither side can hold the other
 * up. A command that does not read its input to the end has read enough if it ends with status 0.
 */
#include "mailbox/pipe_command.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"

/* As much of a command's output as is kept. */
#define PIPE_OUTPUT_MAX   4096
#define PIPE_DEFAULT_PATH "/usr/bin:/bin"
#define PIPE_SHELL        "/bin/sh"

/* What a command line may hold and still be run without a shell. */
static const char pipe_plain[] = "1234567890!@%-_=+:,./ \t"
				 "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

struct pipe_run {
	pid_t pid;
	int in;  /* to its standard input; -1: closed */
	int out; /* from its standard output and error; -1: closed */
	int64_t deadline;
	bool late;
	struct buf output;
};

/* ---- the child ---- */

/* The command itself cannot be run: its output says so, as if it had said so itself. */
NO_RETURN static void
pipe_child_fail(const struct pipe_command *c, const char *call, const char *what)
{
	(void)dprintf(STDERR_FILENO, "%s: fatal: %s%s %s: %s\n", c->program,
	    c->argv != NULL ? "pipe_command: " : "", call, what, strerror(errno));
	_exit(EX_TEMPFAIL);
}

/* Its surroundings are not as they should be: that is the administrator's concern. */
NO_RETURN static void
pipe_child_refuse(const char *what, const char *which)
{
	log_warn("%s%s%s: %s", what, which[0] != '\0' ? " " : "", which, strerror(errno));
	log_flush();
	_exit(EX_TEMPFAIL);
}

/* "NAME" keeps what is there, "NAME=VALUE" sets. */
static void
pipe_child_export(const struct conf *conf, const char *item)
{
	char *copy = mem_strdup(item);
	char *equals = strchr(copy, '=');

	if (equals != NULL) {
		*equals = '\0';
		(void)setenv(copy, equals + 1, 1);
	} else if (strcmp(copy, "MAIL_CONFIG") == 0) {
		(void)setenv(copy, conf_dir(conf), 1);
	}
	mem_free(copy);
}

static void
pipe_child_environment(const struct conf *conf, const struct pipe_command *c)
{
	struct span rest = span_str(conf_str(conf, CONF_export_environment));
	struct buf kept = {0};
	struct span item;

	/* The values first: clearenv() forgets them. */
	while (span_word(&rest, ", \t\r\n", &item)) {
		char *name = span_dup(item);
		const char *value = getenv(name);

		if (strchr(name, '=') != NULL || value == NULL)
			buf_add_str(&kept, name);
		else
			buf_printf(&kept, "%s=%s", name, value);
		buf_add_char(&kept, '\0');
		mem_free(name);
	}
	(void)clearenv();
	(void)setenv("PATH", PIPE_DEFAULT_PATH, 1);
	for (size_t at = 0; at < kept.len; at += strlen(kept.ptr + at) + 1)
		pipe_child_export(conf, kept.ptr + at);
	for (size_t i = 0; c->env != NULL && c->env[i] != NULL; i++)
		pipe_child_export(conf, c->env[i]);
}

static void
pipe_child_rights(const struct pipe_command *c)
{
	if (c->chroot != NULL && (chroot(c->chroot) != 0 || chdir("/") != 0))
		pipe_child_refuse("cannot chroot to", c->chroot);
	if ((getuid() == 0 && setgroups(1, &c->gid) != 0) ||
	    setresgid(c->gid, c->gid, c->gid) != 0 || setresuid(c->uid, c->uid, c->uid) != 0)
		pipe_child_refuse("cannot take the rights of the user of a command", "");
	if (c->directory != NULL && chdir(c->directory) != 0)
		pipe_child_refuse("cannot change to the directory of a command:", c->directory);
}

static void
pipe_child_limits(const struct pipe_command *c)
{
	const struct rlimit limit = {.rlim_cur = c->file_limit, .rlim_max = c->file_limit};

	if (c->file_limit != 0)
		(void)setrlimit(RLIMIT_FSIZE, &limit);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGHUP, SIG_DFL);
	(void)close_range(STDERR_FILENO + 1, ~0U, 0);
}

/* The words of a line that needs no shell. */
static char **
pipe_child_words(const char *line)
{
	struct span rest = span_str(line);
	struct span word;
	char **words = NULL;
	size_t n = 0;

	while (span_word(&rest, " \t", &word)) {
		words = mem_resize(words, n + 2, sizeof(char *));
		words[n++] = span_dup(word);
		words[n] = NULL;
	}
	return words;
}

NO_RETURN static void
pipe_child_exec_line(const struct pipe_command *c)
{
	char **words;

	if (c->shell != NULL && c->shell[0] != '\0') {
		words = pipe_child_words(c->shell);
		size_t n = 0;

		while (words != NULL && words[n] != NULL)
			n++;
		words = mem_resize(words, n + 2, sizeof(char *));
		words[n] = mem_strdup(c->command);
		words[n + 1] = NULL;
		(void)execvp(words[0], words);
		pipe_child_fail(c, "execvp", words[0]);
	}
	words = c->command[strspn(c->command, pipe_plain)] == '\0' ? pipe_child_words(c->command)
								   : NULL;
	if (words != NULL) {
		(void)execvp(words[0], words);
		/* Perhaps a word that only a shell knows. */
		if (errno != ENOENT || strchr(words[0], '/') != NULL)
			pipe_child_fail(c, "execvp", words[0]);
	}
	(void)execl(PIPE_SHELL, "sh", "-c", c->command, (char *)NULL);
	pipe_child_fail(c, "execl", PIPE_SHELL);
}

/* Whoever is killed while he feeds a command takes it with him: half a message must not be taken for a whole one. */
static void
pipe_child_tie(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		_exit(EX_TEMPFAIL);
}

NO_RETURN static void
pipe_child(const struct conf *conf, const struct pipe_command *c, int in, int out, pid_t parent)
{
	agent_work_become_root();
	(void)setsid();
	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
	    dup2(out, STDERR_FILENO) < 0)
		_exit(EX_TEMPFAIL);
	pipe_child_environment(conf, c);
	pipe_child_rights(c);
	pipe_child_limits(c);
	/* Last: another user's process would be let go again. */
	pipe_child_tie(parent);
	if (c->argv == NULL)
		pipe_child_exec_line(c);
	(void)execvp(c->argv[0], (char *const *)(uintptr_t)c->argv);
	pipe_child_fail(c, "execvp", c->argv[0]);
}

/* ---- the parent ---- */

static void
pipe_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static bool
pipe_start(struct agent_work *w, const struct pipe_command *c, struct pipe_run *run)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1};
	pid_t self = getpid();

	run->pid = -1;
	if (pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0) {
		run->pid = fork();
		if (run->pid == 0)
			pipe_child(w->conf, c, in[0], out[1], self);
	}
	pipe_close(&in[0]);
	pipe_close(&out[1]);
	run->in = in[1];
	run->out = out[0];
	if (run->pid < 0) {
		int error = errno;

		pipe_close(&run->in);
		pipe_close(&run->out);
		errno = error;
		return false;
	}
	(void)fcntl(run->in, F_SETFL, O_NONBLOCK);
	(void)fcntl(run->out, F_SETFL, O_NONBLOCK);
	return true;
}

static void
pipe_take_output(struct pipe_run *run)
{
	char room[4096];
	ssize_t n = read(run->out, room, sizeof(room));

	if (n > 0)
		buf_add(&run->output, room, MIN((size_t)n, PIPE_OUTPUT_MAX - run->output.len));
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		pipe_close(&run->out);
}

/* Waits until the command reads (or, without `write`, only for its output). False when time is over. */
static bool
pipe_wait(struct pipe_run *run, bool write)
{
	struct pollfd fds[2] = {{.fd = run->out, .events = POLLIN}, {.fd = -1, .events = POLLOUT}};
	int64_t left = run->deadline - clock_mono_us();

	if (left <= 0) {
		run->late = true;
		return false;
	}
	if (write)
		fds[1].fd = run->in;
	if (poll(fds, 2, (int)MIN(left / CLOCK_MILLI + 1, 3600 * 1000)) > 0 && fds[0].revents != 0)
		pipe_take_output(run);
	return true;
}

static bool
pipe_feed(void *arg, struct span bytes)
{
	struct pipe_run *run = arg;

	while (bytes.len > 0) {
		ssize_t n = write(run->in, bytes.ptr, bytes.len);

		if (n > 0) {
			bytes = span_from(bytes, (size_t)n);
		} else if (n < 0 && errno == EAGAIN) {
			if (!pipe_wait(run, true))
				return false;
		} else if (n < 0 && errno != EINTR) {
			return false;
		}
	}
	return true;
}

/* All that it started, or it alone, if it has not come as far as its own session. */
static void
pipe_kill(const struct pipe_run *run)
{
	(void)kill(-run->pid, SIGKILL);
	(void)kill(run->pid, SIGKILL);
}

/* Its end, and what it says until then. Whoever closed its output may take its time. */
static int
pipe_reap(struct pipe_run *run)
{
	int status = 0;

	/* Half a message must not be taken for a whole one: who is late sees no end of file. */
	if (run->late)
		pipe_kill(run);
	pipe_close(&run->in);
	while (run->out >= 0 && !run->late && pipe_wait(run, false))
		continue;
	while (!run->late && waitpid(run->pid, &status, WNOHANG) == 0) {
		if (clock_mono_us() >= run->deadline)
			run->late = true;
		else
			(void)poll(NULL, 0, 5);
	}
	if (run->late) {
		pipe_kill(run);
		while (waitpid(run->pid, &status, 0) < 0 && errno == EINTR)
			continue;
	}
	pipe_close(&run->out);
	return status;
}

static void
pipe_settled(struct agent_work *w, const struct pipe_command *c, struct pipe_run *run,
    enum mailbox_copy_result copied, int error, int status, struct pipe_status *ret)
{
	const char *name = c->argv != NULL ? c->argv[0] : c->command;
	struct span output;

	pipe_status_clean(run->output.ptr, run->output.len);
	output = buf_span(&run->output);
	if (copied == MAILBOX_COPY_NO_CONTENT)
		*ret = (struct pipe_status){DELIVERY_DEFERRED, "4.3.0",
		    "the content of the message is not to be had now", NULL};
	else if (run->late)
		pipe_status_late(name, output, &w->arena, ret);
	else
		pipe_status_judge(status, name, output, &w->arena, ret);
	if (ret->status == DELIVERY_SENT && copied == MAILBOX_COPY_WRITE && error != EPIPE)
		*ret = (struct pipe_status){DELIVERY_DEFERRED, "4.3.0",
		    arena_printf(&w->arena, "error writing message: %s", strerror(error)), NULL};
}

bool
pipe_command_run(struct agent_work *w, const struct pipe_command *c,
    const struct mailbox_copy *copy, struct pipe_status *ret)
{
	struct pipe_run run = {.deadline = clock_deadline(c->time_limit)};
	enum mailbox_copy_result copied;
	int error, status;

	if (!agent_work_may_go_on(w))
		return false;
	if (!pipe_start(w, c, &run)) {
		*ret = (struct pipe_status){DELIVERY_DEFERRED, "4.3.0",
		    arena_printf(&w->arena, "cannot start a command: %s", strerror(errno)), NULL};
		return true;
	}
	copied = mailbox_copy_run(w, copy, pipe_feed, &run);
	error = errno;
	/* A message without its end must not be taken for one: the command is not to see an end of file. */
	if (copied == MAILBOX_COPY_NO_CONTENT)
		pipe_kill(&run);
	status = pipe_reap(&run);
	CRASH_POINT("command-ended");
	pipe_settled(w, c, &run, copied, error, status, ret);
	buf_done(&run.output);
	return true;
}
