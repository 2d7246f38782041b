/*
 * probe.c - a service that does nothing but show how it was started: stands in for smtpd, qmgr and smtp (by the name it is
 * called under) in the tests of master. Each connection gets a line of facts, then an echo of what it sends; it
 * lasts until the client goes, also while the service drains.
 */
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/span.h"
#include "service/service.h"
#include "task/task.h"

static struct task *acceptors[SERVICE_LISTEN_MAX];

static void
facts(const struct service *s, struct buf *out)
{
	gid_t groups[16];
	int count = getgroups(ARRAY_LEN(groups), groups);

	buf_printf(out,
	    "pid=%d name=%s type=%s instance=%zu/%zu slots=%zu uid=%d groups=%d dumpable=%d "
	    "nnp=%d hostname=%s args=",
	    (int)getpid(), s->name, s->type, s->instance, s->instances, s->slots, (int)geteuid(),
	    count, prctl(PR_GET_DUMPABLE), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
	    conf_str(s->conf, CONF_myhostname));
	for (size_t i = 0; i < s->arg_count; i++)
		buf_printf(out, "%s|", s->args[i]);
	buf_add_char(out, '\n');
}

struct session {
	struct service *service;
	int fd;
};

static void
session_run(void *arg)
{
	struct session *session = arg;
	struct task_fd *watch = task_fd_new(session->fd);
	struct buf out CLEANUP(buf_done) = {0};
	char room[256];

	facts(session->service, &out);
	(void)!write(session->fd, out.ptr, out.len);
	for (;;) {
		ssize_t n = read(session->fd, room, sizeof(room));

		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		if (n > 0)
			(void)!write(session->fd, room, (size_t)n);
		else if (task_fd_wait_read(watch, CLOCK_NEVER) != TASK_READY)
			break;
	}
	task_fd_free(&watch);
	(void)close(session->fd);
	mem_free(session);
}

struct acceptor {
	struct service *service;
	size_t i;
};

static void
accept_run(void *arg)
{
	struct acceptor *a = arg;
	int fd = a->service->listen_fds[a->i];
	struct task_fd *watch = task_fd_new(fd);

	while (!a->service->leaving) {
		int c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (c >= 0) {
			struct session *session = mem_new(struct session);

			*session = (struct session){a->service, c};
			(void)task_start("session", session_run, session);
		} else if (task_fd_wait_read(watch, CLOCK_NEVER) != TASK_READY) {
			break;
		}
	}
	task_fd_free(&watch);
	(void)close(fd);
	acceptors[a->i] = NULL;
	mem_free(a);
}

/* An agent has no socket: something must keep it alive. */
static void
agent_run(void *arg UNUSED)
{
	(void)task_sleep_until(CLOCK_NEVER);
}

static void
run(struct service *s)
{
	log_info("probe %s: %zu sockets, private/qmgr %s", s->name, s->listen_count,
	    service_listen_fd(s, "private/qmgr") >= 0 ? "yes" : "no");
	for (size_t i = 0; i < s->listen_count; i++) {
		struct acceptor *a = mem_new(struct acceptor);

		*a = (struct acceptor){s, i};
		acceptors[i] = task_start("acceptor", accept_run, a);
	}
	if (s->listen_count == 0)
		(void)task_start("agent", agent_run, NULL);
}

static void
reload(struct service *s)
{
	log_info("probe %s: reloaded, hostname %s", s->name, conf_str(s->conf, CONF_myhostname));
}

static void
stopping(struct service *s)
{
	log_info("probe %s: stopping", s->name);
	for (size_t i = 0; i < s->listen_count; i++)
		if (acceptors[i] != NULL)
			task_cancel(acceptors[i]);
	if (s->listen_count == 0)
		task_stop(CLOCK_SECOND);
}

static void
init(struct service *s)
{
	/* A way to die young, and one to hang in the start. */
	if (conf_has(s->conf, CONF_smtpd_banner, "die"))
		log_fatal(77, "probe %s: told to die", s->name);
	if (conf_has(s->conf, CONF_smtpd_banner, "stop"))
		(void)raise(SIGSTOP);
}

int
main(int argc, char **argv)
{
	static struct service_kind kind = {
	    .init = init, .run = run, .reload = reload, .stopping = stopping};
	const char *slash = strrchr(argv[0], '/');

	kind.program = slash != NULL ? slash + 1 : argv[0];
	kind.privilege = SERVICE_FRONT_END;
	if (strcmp(kind.program, "qmgr") == 0)
		kind.privilege = SERVICE_SCHEDULER;
	if (strcmp(kind.program, "smtp") == 0)
		kind.privilege = SERVICE_AGENT;
	return service_main(argc, argv, &kind);
}
