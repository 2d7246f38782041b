/*
 * master_process.c - one service process through all its lives: fork, descriptors, exec, "ready", death, pause, again.
 *
 * A process that dies is started again at once. Only when it died young (before it was ready, or within restart_delay_min
 * of its start) for the second time running does a pause begin, which doubles up to restart_delay_max. A kill -9 of one
 * that was ready says nothing about its health.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "master/master_int.h"
#include "service/service_control.h"
#include "service/service_options.h"

/* Descriptors are first moved up here, then down to their places, so that none lands on another. */
#define FD_PARK 256

/* ---- the child's side --------------------------------------------------------------------------------------- */

/* Moves the descriptors to 3, 4, ... and closes all others. Between fork and exec. */
static void
place_descriptors(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD, FD_PARK);
		if (fds[i] < 0)
			_exit(EX_OSERR);
	}
	for (size_t i = 0; i < count; i++)
		if (dup2(fds[i], SERVICE_LISTEN_FIRST + (int)i) < 0)
			_exit(EX_OSERR);
	(void)close_range(SERVICE_LISTEN_FIRST + (unsigned)count, ~0U, 0);
}

/* Undoes what a process inherits from master's own set-up. */
static void
clean_slate(void)
{
	sigset_t none;
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	/* master asks the kernel to be spared; its children do not. */
	if (fd >= 0) {
		(void)!write(fd, "0\n", 2);
		(void)close(fd);
	}
	(void)setsid();
	(void)signal(SIGPIPE, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
become_null(int to)
{
	int fd = open("/dev/null", O_RDWR);

	if (fd >= 0 && fd != to) {
		(void)dup2(fd, to);
		(void)close(fd);
	}
}

/* ---- starting ----------------------------------------------------------------------------------------------- */

static int
shelf_of(const struct master_process *p)
{
	switch (p->job->plan.kind->shelf) {
	case MASTER_PUTS:
		return p->job->master->shelf;
	case MASTER_TAKES:
		return p->job->master->shelf_to_read;
	case MASTER_NO_SHELF:
		break;
	}
	return -1;
}

/* The listening descriptors of the service, *ret_listen of them, then control, lock and shelf. Returns how many in all. */
static size_t
gather_descriptors(const struct master_process *p, int child_end, int *ret_fds, size_t *ret_listen)
{
	const struct master_plan_service *plan = &p->job->plan;
	size_t count = 0;

	for (size_t i = 0; i < plan->want_count; i++) {
		int fd = master_sockets_fd(&p->job->master->sockets, plan->wants[i].key);

		if (fd >= 0)
			ret_fds[count++] = fd;
	}
	*ret_listen = count;
	ret_fds[count++] = child_end;
	ret_fds[count++] = p->job->master->process_lock;
	if (shelf_of(p) >= 0)
		ret_fds[count++] = shelf_of(p);
	return count;
}

static char **
make_argv(const struct master_process *p, size_t listen_count)
{
	const struct master_plan_service *plan = &p->job->plan;
	struct service_options options = {
	    .conf_dir = p->job->master->conf_dir,
	    .name = plan->name,
	    .type = plan->type,
	    .instance = p->instance,
	    .instances = plan->processes,
	    .slots = master_plan_share(plan->slots, plan->processes, p->instance),
	    .listen_count = listen_count,
	    .control_fd = SERVICE_LISTEN_FIRST + (int)listen_count,
	    .lock_fd = SERVICE_LISTEN_FIRST + (int)listen_count + 1,
	    .shelf_fd = shelf_of(p) < 0 ? -1 : SERVICE_LISTEN_FIRST + (int)listen_count + 2,
	    .verbose = plan->verbose,
	    .overrides = plan->overrides,
	    .override_count = plan->override_count,
	    .args = plan->args,
	    .arg_count = plan->arg_count,
	};

	return service_options_argv(plan->program, &options);
}

static bool
start(struct master_process *p)
{
	int pair[2], fds[SERVICE_LISTEN_MAX + 3];
	size_t listen_count, count;
	char **argv;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
		log_warn("cannot start %s: %s", p->job->plan.program, strerror(errno));
		return false;
	}
	count = gather_descriptors(p, pair[1], fds, &listen_count);
	argv = make_argv(p, listen_count);
	log_flush();
	pid = fork();
	if (pid == 0) {
		clean_slate();
		service_control_signals(SIG_BLOCK);
		become_null(STDIN_FILENO);
		place_descriptors(fds, count);
		(void)execv(argv[0], argv);
		_exit(EX_UNAVAILABLE);
	}
	service_options_free_argv(&argv);
	(void)close(pair[1]);
	if (pid < 0) {
		log_warn("cannot start %s: %s", p->job->plan.program, strerror(errno));
		(void)close(pair[0]);
		return false;
	}
	p->pid = pid;
	p->control = pair[0];
	p->state = MASTER_PROCESS_STARTING;
	p->started = clock_mono_us();
	p->starts++;
	return true;
}

/* ---- watching ----------------------------------------------------------------------------------------------- */

/* Until the process says "ready", or closes its end. */
static bool
wait_ready(struct master_process *p)
{
	struct task_fd *watch = task_fd_new(p->control);
	enum service_message message = SERVICE_GONE;
	int fd = -1;

	while (!service_control_receive(p->control, &message, &fd))
		if (task_fd_wait_read(watch, CLOCK_NEVER) != TASK_READY)
			break;
	if (fd >= 0)
		(void)close(fd);
	task_fd_free(&watch);
	return message == SERVICE_READY;
}

static void
report_end(const struct master_process *p, pid_t pid, int status)
{
	const char *program = p->job->plan.program;

	if (WIFSIGNALED(status))
		log_warn(
		    "process %s pid %d killed by signal %d", program, (int)pid, WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		log_warn(
		    "process %s pid %d exit status %d", program, (int)pid, WEXITSTATUS(status));
	else if (!p->job->leaving)
		log_warn("process %s pid %d went without being told", program, (int)pid);
}

/* One life of the process. True when it became ready and did not die young. */
static bool
live(struct master_process *p)
{
	bool ready = wait_ready(p);
	int64_t started = p->started;
	pid_t pid = p->pid;
	int status = 0;

	if (ready && p->state == MASTER_PROCESS_STARTING)
		p->state = MASTER_PROCESS_READY;
	task_cond_wake_all(&p->job->master->changed);
	(void)task_child_wait(pid, &status, CLOCK_NEVER);
	p->pid = 0;
	p->state = MASTER_PROCESS_PAUSE;
	(void)close(p->control);
	p->control = -1;
	report_end(p, pid, status);
	if (!ready)
		p->failures++;
	if (ready && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	return ready &&
	       clock_mono_us() - started >= conf_time(p->job->master->conf, CONF_restart_delay_min);
}

/* Waits out the pause that the last life has earned. */
static void
pause_before_next(struct master_process *p, bool good)
{
	const struct conf *c = p->job->master->conf;
	int64_t least = MAX(conf_time(c, CONF_restart_delay_min), CLOCK_MILLI);
	int64_t now = p->delay;

	if (good) {
		p->delay = 0;
		return;
	}
	/* 0, then the least, then doubling. */
	p->delay = now == 0 ? least : MIN(now * 2, conf_time(c, CONF_restart_delay_max));
	if (now == 0)
		return;
	log_warn("%s: bad command startup -- throttling", p->job->plan.program);
	(void)task_cond_wait(&p->job->changed, clock_deadline(now));
}

void
master_process_keep(void *arg)
{
	struct master_process *p = arg;

	while (!p->job->leaving && !task_is_cancelled()) {
		bool good = start(p) && live(p);

		task_cond_wake_all(&p->job->master->changed);
		if (!p->job->leaving)
			pause_before_next(p, good);
	}
}

void
master_process_signal(struct master_process *p, int signo)
{
	if (p->pid > 0)
		(void)kill(p->pid, signo);
}

/* ---- short-lived helpers ------------------------------------------------------------------------------------ */

NO_RETURN static void
helper_child(
    struct master *m, enum service_privilege privilege, int out, int (*body)(void *arg), void *arg)
{
	clean_slate();
	become_null(STDIN_FILENO);
	if (dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
		_exit(EX_OSERR);
	(void)close_range(STDERR_FILENO + 1, ~0U, 0);
	(void)!chdir("/");
	service_privilege_drop(m->conf, privilege);
	_exit(body(arg));
}

/* Reads until EOF; only the first bytes are kept. */
#define OUTPUT_MAX 4096
static void
read_output(int fd, int64_t deadline, struct buf *out)
{
	struct task_fd *watch = task_fd_new(fd);
	char room[1024];

	for (;;) {
		ssize_t n = read(fd, room, sizeof(room));

		if (n > 0 && out->len < OUTPUT_MAX)
			buf_add(out, room, (size_t)n);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			break;
		if (n < 0 && task_fd_wait_read(watch, deadline) != TASK_READY)
			break;
	}
	task_fd_free(&watch);
}

bool
master_process_call(struct master *m, enum service_privilege privilege, int (*body)(void *arg),
    void *arg, int64_t deadline, struct buf *ret_output, int *ret_status, struct err *err)
{
	int pipe_fds[2], status = 0;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0)
		return err_set(err, ERR_TEMP, "", "pipe: %s", strerror(errno));
	log_flush();
	pid = fork();
	if (pid == 0)
		helper_child(m, privilege, pipe_fds[1], body, arg);
	(void)close(pipe_fds[1]);
	if (pid > 0) {
		read_output(pipe_fds[0], deadline, ret_output);
		if (task_child_wait(pid, &status, deadline) != TASK_READY) {
			(void)kill(pid, SIGKILL);
			(void)task_child_wait(pid, &status, clock_deadline(10 * CLOCK_SECOND));
		}
	}
	(void)close(pipe_fds[0]);
	if (pid < 0)
		return err_set(err, ERR_TEMP, "", "fork: %s", strerror(errno));
	*ret_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	if (*ret_status == 0)
		return true;
	return err_set(
	    err, ERR_TEMP, "", "exit status %d: %.300s", *ret_status, buf_str(ret_output));
}

pid_t
master_process_detach(struct master *m, enum service_privilege privilege, int (*body)(void *arg),
    void *arg, struct err *err)
{
	pid_t pid;

	log_flush();
	pid = fork();
	if (pid == 0)
		helper_child(m, privilege, STDERR_FILENO, body, arg);
	if (pid < 0) {
		(void)err_set(err, ERR_TEMP, "", "fork: %s", strerror(errno));
		return 0;
	}
	return pid;
}

static int
exec_body(void *arg)
{
	char *const *argv = arg;

	(void)execv(argv[0], argv);
	(void)dprintf(STDERR_FILENO, "%s: %s", argv[0], strerror(errno));
	return EX_UNAVAILABLE;
}

bool
master_process_run(struct master *m, enum service_privilege privilege, const char *const argv[],
    int64_t deadline, struct buf *ret_output, int *ret_status, struct err *err)
{
	/* execv() wants char *const *, though it changes nothing */
	if (master_process_call(m, privilege, exec_body, (void *)(uintptr_t)argv, deadline,
		ret_output, ret_status, err))
		return true;
	return err_prefix(err, "%s", argv[0]);
}
