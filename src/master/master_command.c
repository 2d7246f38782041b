/*
 * master_command.c - see master_command.h.
 */
#include "master/master_command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/span.h"
#include "master/master_client.h"
#include "master/master_database.h"
#include "master/master_dirs.h"
#include "master/master_programs.h"
#include "service/service_database.h"

#define POLL_US (20 * 1000)

/* Beyond drain_time: killing what did not go, and the database's own orderly end. */
#define STOP_MARGIN (90 * CLOCK_SECOND)

static int
fail(const char *text)
{
	log_line(LOG_LEVEL_FATAL, "%s", text);
	return 1;
}

static int
fail_not_running(void)
{
	return fail("the Rowpost mail system is not running");
}

/* ---- start -------------------------------------------------------------------------------------------------- */

static char *
master_program(struct master_command *cmd, struct err *err)
{
	struct buf path = {0};

	if (!master_programs_dir(cmd->conf, &path, err)) {
		buf_done(&path);
		return NULL;
	}
	buf_add_str(&path, "/master");
	return buf_take(&path);
}

NO_RETURN static void
exec_master(struct master_command *cmd, const char *program, int start_fd)
{
	char fd[16];
	const char *argv[9];
	size_t n = 0;

	argv[n++] = program;
	argv[n++] = "-c";
	argv[n++] = cmd->conf_dir;
	if (start_fd >= 0) {
		(void)snprintf(fd, sizeof(fd), "%d", start_fd);
		argv[n++] = "-S";
		argv[n++] = fd;
	}
	if (cmd->verbose > 0)
		argv[n++] = "-v";
	argv[n] = NULL;
	(void)execv(program, (char *const *)(uintptr_t)argv);
	log_fatal(EX_UNAVAILABLE, "%s: %s", program, strerror(errno));
}

/* In the child that becomes master: away from the terminal. Standard output stays where the log goes to it. */
static void
leave_terminal(struct master_command *cmd)
{
	bool to_stdout = strcmp(conf_str(cmd->conf, CONF_maillog_file), "/dev/stdout") == 0;
	int fd = open("/dev/null", O_RDWR);

	(void)setsid();
	(void)!chdir("/");
	if (fd < 0)
		return;
	(void)dup2(fd, STDIN_FILENO);
	if (!to_stdout)
		(void)dup2(fd, STDOUT_FILENO);
	(void)dup2(fd, STDERR_FILENO);
	if (fd > STDERR_FILENO)
		(void)close(fd);
}

/* What master writes into the pipe before it closes it. */
static void
read_report(int fd, struct buf *ret)
{
	char room[512];
	ssize_t n;

	while ((n = read(fd, room, sizeof(room))) > 0 || (n < 0 && errno == EINTR))
		if (n > 0)
			buf_add(ret, room, (size_t)n);
}

static int
spawn_master(struct master_command *cmd, const char *program)
{
	struct buf report CLEANUP(buf_done) = {0};
	int pipe_fds[2];
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) != 0)
		return fail(strerror(errno));
	log_flush();
	pid = fork();
	if (pid == 0) {
		leave_terminal(cmd);
		(void)close(pipe_fds[0]);
		(void)fcntl(pipe_fds[1], F_SETFD, 0);
		exec_master(cmd, program, pipe_fds[1]);
	}
	(void)close(pipe_fds[1]);
	if (pid > 0)
		read_report(pipe_fds[0], &report);
	(void)close(pipe_fds[0]);
	if (pid < 0)
		return fail("cannot start master");
	if (span_equal_str(buf_span(&report), "ok"))
		return 0;
	/* It says why, and goes. */
	(void)waitpid(pid, NULL, 0);
	return fail(report.len > 0 ? buf_str(&report) : "master died while starting: see the log");
}

static int
prepare_start(struct master_command *cmd, char **ret_program)
{
	struct err err;

	if (geteuid() != 0)
		return fail("to start the mail system you must be root");
	if (master_client_pid(cmd->conf) != 0)
		return fail("the Rowpost mail system is already running");
	if (master_command_check_files(cmd, true) != 0)
		return fail("the configuration has errors: the mail system is not started");
	*ret_program = master_program(cmd, &err);
	return *ret_program != NULL ? 0 : fail(err.text);
}

int
master_command_start(struct master_command *cmd)
{
	char *program CLEANUP(mem_free_str) = NULL;

	if (prepare_start(cmd, &program) != 0)
		return 1;
	log_info("starting the Rowpost mail system");
	return spawn_master(cmd, program);
}

int
master_command_start_fg(struct master_command *cmd)
{
	char *program CLEANUP(mem_free_str) = NULL;

	if (prepare_start(cmd, &program) != 0)
		return 1;
	log_info("starting the Rowpost mail system");
	exec_master(cmd, program, -1);
}

/* ---- stop --------------------------------------------------------------------------------------------------- */

/* Waits until `still_there` says no. */
static bool
wait_gone(struct master_command *cmd, bool (*still_there)(const struct conf *c), int64_t limit)
{
	int64_t deadline = clock_deadline(limit);

	while (still_there(cmd->conf)) {
		if (clock_mono_us() >= deadline)
			return false;
		(void)usleep(POLL_US);
	}
	return true;
}

static bool
master_there(const struct conf *c)
{
	return master_client_pid(c) != 0;
}

static bool
database_there(const struct conf *c)
{
	bool ready;

	return master_database_running(conf_str(c, CONF_database_directory), &ready) > 0;
}

/* An embedded PostgreSQL without a master, left by one that was killed. */
static bool
stop_database(struct master_command *cmd)
{
	bool ready;
	pid_t pid;

	if (!service_database_is_embedded(cmd->conf))
		return true;
	pid = master_database_running(conf_str(cmd->conf, CONF_database_directory), &ready);
	if (pid == 0)
		return true;
	(void)kill(pid, SIGINT);
	return wait_gone(cmd, database_there, STOP_MARGIN);
}

/* master is gone; so must be its processes, which leave by themselves. */
static int
stop_rest(struct master_command *cmd, int64_t limit, bool keep_database)
{
	if (!wait_gone(cmd, master_client_has_processes, limit))
		return fail("service processes do not go: see the log");
	if (!keep_database && !stop_database(cmd))
		return fail("the embedded PostgreSQL does not stop");
	return 0;
}

static int
stop_by(struct master_command *cmd, const char *question, const char *text)
{
	int64_t limit = conf_time(cmd->conf, CONF_drain_time) + STOP_MARGIN;
	bool keep = strcmp(question, MASTER_ASK_STOP_KEEP) == 0;
	pid_t pid = master_client_pid(cmd->conf);
	struct buf answer CLEANUP(buf_done) = {0};
	struct err err;

	if (geteuid() != 0)
		return fail("to stop the mail system you must be root");
	if (pid == 0 && !master_client_has_processes(cmd->conf) &&
	    (keep || !service_database_is_embedded(cmd->conf) || !database_there(cmd->conf)))
		return fail_not_running();
	log_info("%s", text);
	if (pid != 0 &&
	    !master_client_ask(cmd->conf, question, (int)(limit / CLOCK_SECOND), &answer, &err))
		(void)kill(pid, SIGTERM);
	if (pid != 0 && !wait_gone(cmd, master_there, limit)) {
		log_warn("master does not go, killing it");
		(void)kill(pid, SIGKILL);
	}
	return stop_rest(cmd, limit, keep);
}

int
master_command_stop(struct master_command *cmd)
{
	return stop_by(cmd, MASTER_ASK_STOP, "stopping the Rowpost mail system");
}

int
master_command_stop_keep(struct master_command *cmd)
{
	return stop_by(cmd, MASTER_ASK_STOP_KEEP, "stopping the Rowpost mail system");
}

int
master_command_drain(struct master_command *cmd)
{
	return stop_by(cmd, MASTER_ASK_STOP, "draining the Rowpost mail system");
}

int
master_command_abort(struct master_command *cmd)
{
	return stop_by(cmd, MASTER_ASK_ABORT, "aborting the Rowpost mail system");
}

/* ---- while it runs ------------------------------------------------------------------------------------------ */

int
master_command_reload(struct master_command *cmd)
{
	struct buf answer CLEANUP(buf_done) = {0};
	struct err err;

	if (master_client_pid(cmd->conf) == 0)
		return fail_not_running();
	log_info("refreshing the Rowpost mail system");
	if (!master_client_ask(cmd->conf, MASTER_ASK_RELOAD, 120, &answer, &err))
		return fail(err.text);
	return 0;
}

int
master_command_status(struct master_command *cmd)
{
	struct buf answer CLEANUP(buf_done) = {0};
	pid_t pid = master_client_pid(cmd->conf);
	struct err err;

	if (pid == 0) {
		log_info("the Rowpost mail system is not running");
		return 1;
	}
	log_info("the Rowpost mail system is running: PID: %d", (int)pid);
	if (geteuid() == 0 && master_client_ask(cmd->conf, MASTER_ASK_STATUS, 10, &answer, &err))
		(void)fputs(buf_str(&answer), stdout);
	return 0;
}

/* ---- log rotation ------------------------------------------------------------------------------------------- */

static int
compress(struct master_command *cmd, const char *file)
{
	const char *compressor = conf_str(cmd->conf, CONF_maillog_file_compressor);
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		(void)execlp(compressor, compressor, file, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		return fail("the old log file cannot be compressed");
	return 0;
}

int
master_command_logrotate(struct master_command *cmd)
{
	const char *file = conf_str(cmd->conf, CONF_maillog_file);
	struct buf old CLEANUP(buf_done) = {0};
	struct buf answer CLEANUP(buf_done) = {0};
	char suffix[64];
	struct err err;

	if (file[0] == '\0' || strcmp(file, "/dev/stdout") == 0)
		return fail("maillog_file is not a file: there is nothing to rotate");
	clock_format_local(clock_real_us() / CLOCK_SECOND,
	    conf_str(cmd->conf, CONF_maillog_file_rotate_suffix), suffix, sizeof(suffix));
	buf_printf(&old, "%s.%s", file, suffix);
	if (access(buf_str(&old), F_OK) == 0)
		return fail("the rotated log file exists already");
	if (rename(file, buf_str(&old)) != 0)
		return fail(strerror(errno));
	if (master_client_pid(cmd->conf) != 0 &&
	    !master_client_ask(cmd->conf, MASTER_ASK_LOGROTATE, 30, &answer, &err))
		return fail(err.text);
	/* Processes get the new file by message: those that are busy may add a line to the old one for a moment. */
	(void)sleep(1);
	return compress(cmd, buf_str(&old));
}

/* ---- the installation --------------------------------------------------------------------------------------- */

int
master_command_set_permissions(struct master_command *cmd)
{
	struct err err;

	if (geteuid() != 0)
		return fail("to set permissions you must be root");
	if (!master_dirs_make_users(cmd->conf, &err) || !master_dirs_prepare(cmd->conf, &err) ||
	    !master_dirs_set_gid(cmd->conf, &err))
		return fail(err.text);
	return 0;
}
