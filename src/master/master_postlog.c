/*
 * master_postlog.c - postlogd, built in: with maillog_file set, processes that may not open that file (commands run by
 * users, mostly) send their finished lines as datagrams to public/postlog. And log rotation: the new file is opened
 * here, as root, and handed to every process.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "master/master_int.h"
#include "service/service_log.h"

#define LINE_MAX_BYTES 8192

struct postlog {
	struct master *master;
	int fd;
};

/* The sender formed the line; here only what could forge a second one is taken out. */
static void
write_down(struct master *m, char *line, size_t len)
{
	while (len > 0 && line[len - 1] == '\n')
		len--;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[len] = '\n';
	if (m->log_fd >= 0)
		(void)!write(m->log_fd, line, len + 1);
}

static void
postlog_run(void *arg)
{
	struct postlog *p = arg;
	struct task_fd *watch = task_fd_new(p->fd);
	char line[LINE_MAX_BYTES + 1];

	for (;;) {
		ssize_t n = recv(p->fd, line, LINE_MAX_BYTES, MSG_DONTWAIT);

		if (n > 0)
			write_down(p->master, line, (size_t)n);
		else if (n < 0 && errno != EAGAIN && errno != EINTR)
			break;
		else if (n < 0 && task_fd_wait_read(watch, CLOCK_NEVER) != TASK_READY)
			break;
	}
	task_fd_free(&watch);
	(void)close(p->fd);
	mem_free(p);
}

void
master_postlog_start(struct master *m)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = SERVICE_LOG_SOCKET};
	struct postlog *p;
	struct err err;
	int fd;

	if (!service_log_open(m->conf, &m->log_fd, &err) || m->log_fd < 0)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	(void)unlink(SERVICE_LOG_SOCKET);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 ||
	    chmod(SERVICE_LOG_SOCKET, 0666) != 0) {
		log_warn("%s: %s", SERVICE_LOG_SOCKET, strerror(errno));
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	p = mem_new(struct postlog);
	*p = (struct postlog){m, fd};
	MUST(task_start("postlog", postlog_run, p) != NULL);
}

bool
master_postlog_reopen(struct master *m, struct err *err)
{
	int fd;

	if (!service_log_open(m->conf, &fd, err))
		return false;
	if (fd < 0)
		return err_set(err, ERR_CONFIG, "", "maillog_file is empty: there is no log file");
	LIST_FOREACH (job, &m->jobs, struct master_job, node)
		master_job_new_log(job, fd);
	LIST_FOREACH (job, &m->leaving, struct master_job, node)
		master_job_new_log(job, fd);
	log_reopen(fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
	if (m->log_fd >= 0)
		(void)close(m->log_fd);
	m->log_fd = fd;
	return true;
}
