/*
 * smtpd_standalone.c - see smtpd_standalone.h. A session wants one socket, but standard input may be a file and is not standard
 * output: a second process passes the bytes on both ways.
 */
#include "smtpd/smtpd_standalone.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "dns/dns.h"
#include "net/net_addr.h"
#include "service/service_log.h"
#include "smtpd/smtpd_int.h"
#include "smtpd/smtpd_setup.h"
#include "task/task.h"

#define DEFAULT_DIR "/etc/rowpost"
#define PIECE       16384
#define NO_STALL    (365 * 86400 * CLOCK_SECOND)

/* ---- bytes ----------------------------------------------------------------------------------------------------- */

static bool
write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno != EINTR)
			return false;
		bytes += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* What is there goes on; false at the end. */
static bool
pass(int from, int to)
{
	char piece[PIECE];
	ssize_t n = read(from, piece, sizeof(piece));

	if (n < 0 && errno == EINTR)
		return true;
	return n > 0 && write_all(to, piece, (size_t)n);
}

/* Until the session closes its side. */
static void
pass_both_ways(int sock)
{
	struct pollfd fds[2] = {
	    {.fd = sock, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};

	for (;;) {
		if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
			return;
		if (fds[0].revents != 0 && !pass(sock, STDOUT_FILENO))
			return;
		if (fds[1].revents != 0 && !pass(STDIN_FILENO, sock)) {
			(void)shutdown(sock, SHUT_WR);
			fds[1].fd = -1;
		}
	}
}

/* ---- the session ------------------------------------------------------------------------------------------------- */

struct standalone {
	struct service service;
	struct smtpd_server server;
	int sock;
};

static void
standalone_run(void *arg)
{
	struct standalone *a = arg;
	struct net_addr peer;
	struct err err;

	if (!dns_init(&(struct dns_settings){0}, &err))
		log_warn("%s", err.text);
	MUST(net_addr_parse("127.0.0.1", 0, &peer));
	smtpd_session_run(stream_new(a->sock), &peer, &a->server);
	dns_done();
}

NO_RETURN static void
serve(struct conf *conf, int sock,
    bool (*drop)(void *arg, const struct queue_message *m, struct err *err))
{
	struct standalone *a = mem_new(struct standalone);
	struct err err;

	a->service = (struct service){.name = "stdin", .type = "unix", .conf = conf};
	a->server.service = &a->service;
	a->sock = sock;
	list_init(&a->server.sessions);
	if (!smtpd_setup_new(conf, &a->server.setup, &err))
		log_fatal(EX_CONFIG, "%s", err.text);
	a->server.setup->cleanup.store_elsewhere = drop;
	a->server.setup->cleanup.unchanged = true;
	a->server.setup->cleanup.store_arg = conf;
	/* The proxy of a listener has no part in this. */
	a->server.setup->haproxy = false;
	if (fcntl(sock, F_SETFL, O_NONBLOCK) != 0)
		log_fatal(EX_OSERR, "socket: %s", strerror(errno));
	/* postdrop is waited for without further ado: nobody else is here to be served. */
	task_init(&(struct task_settings){.stall_report = NO_STALL});
	MUST(task_start("smtpd session", standalone_run, a) != NULL);
	task_run();
	log_flush();
	smtpd_setup_unref(&a->server.setup);
	task_done();
	mem_free(a);
	conf_unref(&conf);
	exit(EX_OK);
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

bool
smtpd_standalone_is_wanted(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "-S") == 0)
			return true;
	return false;
}

static struct conf *
load(int argc, char **argv)
{
	struct conf_source source = {.program = "smtpd", .dir = getenv("MAIL_CONFIG")};
	struct service_log log = {.program = "smtpd", .also_stderr = false};
	struct conf *conf;
	struct err err;
	int option;

	while ((option = getopt(argc, argv, "+c:Sv")) != -1) {
		if (option == 'c')
			source.dir = optarg;
		else if (option == 'v')
			log.verbose++;
		else if (option != 'S')
			log_fatal(EX_USAGE, "usage: smtpd -S [-v] [-c config_dir]");
	}
	if (source.dir == NULL)
		source.dir = DEFAULT_DIR;
	if (!conf_load(&source, &conf, &err))
		log_fatal(EX_CONFIG, "%s", err.text);
	if (!service_log_setup(conf, &log, &err))
		log_debug("%s", err.text);
	if (chdir(conf_str(conf, CONF_queue_directory)) != 0)
		log_fatal(EX_CONFIG, "chdir %s: %s", conf_str(conf, CONF_queue_directory),
		    strerror(errno));
	return conf;
}

int
smtpd_standalone_main(
    int argc, char **argv, bool (*drop)(void *arg, const struct queue_message *m, struct err *err))
{
	struct conf *conf = load(argc, argv);
	int status = 0;
	int socks[2];
	pid_t pid;

	(void)signal(SIGPIPE, SIG_IGN);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks) != 0 || (pid = fork()) < 0)
		log_fatal(EX_OSERR, "start of the session: %s", strerror(errno));
	if (pid == 0) {
		(void)close(socks[0]);
		serve(conf, socks[1], drop);
	}
	(void)close(socks[1]);
	pass_both_ways(socks[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	conf_unref(&conf);
	return WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}
