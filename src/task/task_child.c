/*
 * task_child.c - waiting for the end of children. SIGCHLD wakes whoever waits, and each looks for his own child: so a
 * child that nobody asks for here stays for somebody else's waitpid().
 */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "task/task_int.h"

static struct task_cond some_child_ended;
static uint64_t watched_generation; /* of the loop that calls on_child() */

static void
on_child(int signo UNUSED, void *arg UNUSED)
{
	task_cond_wake_all(&some_child_ended);
}

static void
watch_children(void)
{
	if (watched_generation == task_loop.generation)
		return;
	watched_generation = task_loop.generation;
	some_child_ended = (struct task_cond){0};
	task_on_signal(SIGCHLD, on_child, NULL);
}

enum task_wait
task_child_wait(int pid, int *ret_status, int64_t deadline)
{
	MUST(pid > 0);
	if (task_is_cancelled())
		return TASK_CANCELLED;
	watch_children();
	for (;;) {
		int status = -1;
		pid_t n = waitpid(pid, &status, WNOHANG);
		enum task_wait r;

		if (n == pid || (n < 0 && errno != EINTR)) {
			*ret_status = status;
			return TASK_READY;
		}
		r = task_cond_wait(&some_child_ended, deadline);
		if (r != TASK_READY)
			return r;
	}
}
