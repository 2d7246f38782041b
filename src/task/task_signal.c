/*
 * task_signal.c - signals become calls from the loop: the handler writes the signal's number into a pipe.
 *
 * Not libevent's signals, because of what happens between fork() and exec(): there a child still has the handlers and
 * the pipe of its parent, and a signal sent to it would be told to the parent (a master that kills a child it just
 * started would stop itself). Here the handler notices that it runs in another process and lets the signal take its
 * default course.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "task/task_int.h"

#define SIGNALS_MOST 64

static struct {
	volatile pid_t process;
	volatile int write_end;
	int read_end;
	struct event *event; /* owned */
	struct {
		void (*fn)(int signo, void *arg);
		void *arg;
	} on[SIGNALS_MOST];
} signals;

static void
on_signal(int signo)
{
	int saved_errno = errno;
	unsigned char number = (unsigned char)signo;

	if (getpid() == signals.process) {
		/* Full: as many arrivals are already noted, one more says nothing new. */
		(void)!write(signals.write_end, &number, 1);
	} else {
		(void)signal(signo, SIG_DFL);
		(void)raise(signo);
	}
	errno = saved_errno;
}

static void
on_pipe(evutil_socket_t fd, short what UNUSED, void *arg UNUSED)
{
	unsigned char numbers[64];
	ssize_t n = read(fd, numbers, sizeof(numbers));

	for (ssize_t i = 0; i < n; i++) {
		int signo = numbers[i];

		if (signals.on[signo].fn != NULL)
			signals.on[signo].fn(signo, signals.on[signo].arg);
	}
	task_note_slice("signal handler");
}

void
task_on_signal(int signo, void (*fn)(int signo, void *arg), void *arg)
{
	struct sigaction action = {.sa_flags = SA_RESTART};

	MUST(signo > 0 && signo < SIGNALS_MOST);
	MUST(task_loop.base != NULL);
	action.sa_handler = fn != NULL ? on_signal : SIG_DFL;
	(void)sigfillset(&action.sa_mask);
	signals.on[signo].fn = fn;
	signals.on[signo].arg = arg;
	MUST(sigaction(signo, &action, NULL) == 0);
}

void
task_signal_init(void)
{
	int ends[2];

	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0)
		log_fatal(71, "cannot create a pipe: %m");
	signals.read_end = ends[0];
	signals.write_end = ends[1];
	signals.process = getpid();
	signals.event = event_new(task_loop.base, ends[0], EV_READ | EV_PERSIST, on_pipe, NULL);
	MUST(signals.event != NULL && event_add(signals.event, NULL) == 0);
}

void
task_signal_done(void)
{
	for (int signo = 1; signo < SIGNALS_MOST; signo++)
		if (signals.on[signo].fn != NULL)
			task_on_signal(signo, NULL, NULL);
	event_free(signals.event);
	signals.event = NULL;
	(void)close(signals.read_end);
	(void)close(signals.write_end);
}
