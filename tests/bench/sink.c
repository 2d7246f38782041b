/*
 * sink.c - counting SMTP sink: accepts every message, keeps none. Options, processes and main loop; see sink.h for
 * the other parts. Counters live in a mapped file (sink_stats.h); they are printed as JSON on SIGUSR1 and at the end
 * (SIGTERM). With several processes, each has its own epoll set on the one listening socket.
 */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define TICK_MS      100
#define STALL_MS     5
#define CPU_EVERY_NS (50 * UTIL_NS_PER_MS)

static volatile sig_atomic_t stop_asked, print_asked;

static const char usage[] =
    "usage: sink [options] ADDRESS:PORT\n"
    "  -p, --processes N    processes on the one socket (1)\n"
    "  -s, --stats FILE     keep the counters in this file\n"
    "  -l, --ledger FILE    write a line for each message answered with 250\n"
    "  -i, --id-header NAME header whose value names a message there (X-Bench-Id)\n"
    "  -b, --misbehave RULE 451@rcpt=0.1  drop@dot=0.05  stall@mail=0.01:30\n"
    "                       (steps: connect ehlo mail rcpt data dot quit)\n";

/* clang-format off */
static const struct option long_options[] = {
	{"processes", required_argument, NULL, 'p'},
	{"stats",     required_argument, NULL, 's'},
	{"ledger",    required_argument, NULL, 'l'},
	{"id-header", required_argument, NULL, 'i'},
	{"misbehave", required_argument, NULL, 'b'},
	{NULL, 0, NULL, 0},
};
/* clang-format on */

struct options {
	int processes;
	const char *stats;
	const char *ledger;
	struct sockaddr_in address;
};

static void
set_option(struct options *opt, struct sink *sink, int c, const char *arg)
{
	switch (c) {
	case 'p':
		opt->processes = (int)util_parse_number("--processes", arg, 1, SINK_MAX_PROCS);
		break;
	case 's':
		opt->stats = arg;
		break;
	case 'l':
		opt->ledger = arg;
		break;
	case 'i':
		sink->id_header = arg;
		break;
	case 'b':
		sink_rules_add(arg);
		break;
	default:
		fputs(usage, stderr);
		exit(64);
	}
}

static void
parse_options(struct options *opt, struct sink *sink, int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "p:s:l:i:b:", long_options, NULL)) != -1)
		set_option(opt, sink, c, optarg);
	if (optind != argc - 1)
		set_option(opt, sink, '?', NULL);
	opt->address = util_parse_address(argv[optind]);
}

/* The counters, in the named file or in anonymous memory that the processes share. */
static struct sink_stats *
map_stats(const char *path)
{
	struct sink_stats *stats;
	int fd = -1, flags = MAP_SHARED;

	if (path == NULL) {
		flags |= MAP_ANONYMOUS;
	} else {
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (fd == -1 || ftruncate(fd, sizeof *stats) == -1)
			util_die("create %s", path);
	}
	stats = mmap(NULL, sizeof *stats, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (stats == MAP_FAILED)
		util_die("mmap");
	return stats;
}

static int
listen_on(const struct sockaddr_in *address, struct sink_stats *stats)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in bound;
	socklen_t len = sizeof bound;
	int one = 1;

	if (fd == -1)
		util_die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (const struct sockaddr *)address, sizeof *address) == -1)
		util_die("bind");
	if (listen(fd, 4096) == -1)
		util_die("listen");
	getsockname(fd, (struct sockaddr *)&bound, &len);
	atomic_store(&stats->port, ntohs(bound.sin_port));
	return fd;
}

/* Returns this process's number; `children` holds the others' ids in process 0. */
static int
fork_processes(int processes, pid_t *children)
{
	for (int i = 1; i < processes; i++) {
		children[i] = fork();
		if (children[i] == -1)
			util_die("fork");
		if (children[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGTERM);
			return i;
		}
	}
	return 0;
}

static void
print_stats(const struct sink_stats *stats)
{
	uint64_t messages = atomic_load(&stats->messages), cpu_us = 0;
	uint64_t first = atomic_load(&stats->first_ns), last = atomic_load(&stats->last_ns);

	for (int i = 0; i < SINK_MAX_PROCS; i++)
		cpu_us += atomic_load(&stats->cpu_us[i]);
	printf("{\"connections\": %llu, \"messages\": %llu, \"recipients\": %llu, \"bytes\": %llu, "
	       "\"refused\": %llu, \"dropped\": %llu, \"stalled\": %llu, ",
	    (unsigned long long)stats->connections, (unsigned long long)messages,
	    (unsigned long long)stats->recipients, (unsigned long long)stats->bytes,
	    (unsigned long long)stats->refused, (unsigned long long)stats->dropped,
	    (unsigned long long)stats->stalled);
	printf("\"first_ns\": %llu, \"last_ns\": %llu, \"seconds\": %.6f, \"cpu_ms\": %.3f, "
	       "\"cpu_ms_per_message\": %.4f}\n",
	    (unsigned long long)first, (unsigned long long)last, (double)(last - first) / 1e9,
	    (double)cpu_us / 1000, messages ? (double)cpu_us / 1000 / (double)messages : 0);
	fflush(stdout);
}

static void
publish_cpu(struct sink *sink)
{
	atomic_store_explicit(
	    &sink->stats->cpu_us[sink->process], (uint64_t)util_cpu_us(), memory_order_relaxed);
}

static void
start_epoll(struct sink *sink)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = NULL};

	sink->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (sink->epoll == -1 || epoll_ctl(sink->epoll, EPOLL_CTL_ADD, sink->listener, &ev) == -1)
		util_die("epoll");
}

/* What is due by the clock: stalls that end, own CPU time, the ledger, a printout that was asked for. */
static void
do_timed_work(struct sink *sink, int64_t now, bool idle)
{
	static int64_t next_publish;

	if (sink->stalled > 0)
		sink_session_poll(sink, now);
	if (!idle && now < next_publish)
		return;
	publish_cpu(sink);
	sink_ledger_flush();
	next_publish = now + CPU_EVERY_NS;
	if (print_asked && sink->process == 0)
		print_stats(sink->stats);
	print_asked = 0;
}

static void
run_loop(struct sink *sink)
{
	struct epoll_event events[256];

	while (!stop_asked) {
		int n = epoll_wait(sink->epoll, events, 256, sink->stalled ? STALL_MS : TICK_MS);

		if (n == -1 && errno != EINTR)
			util_die("epoll_wait");
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == NULL)
				sink_session_accept(sink);
			else
				sink_session_event(events[i].data.ptr, events[i].events);
		}
		do_timed_work(sink, util_now_ns(), n <= 0);
	}
	publish_cpu(sink);
	sink_ledger_flush();
}

static void
on_signal(int sig)
{
	if (sig == SIGUSR1)
		print_asked = 1;
	else
		stop_asked = 1;
}

static void
catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void
stop_children(const pid_t *children)
{
	for (int i = 1; i < SINK_MAX_PROCS; i++) {
		if (children[i] > 0 && kill(children[i], SIGTERM) == 0)
			waitpid(children[i], NULL, 0);
	}
}

int
main(int argc, char **argv)
{
	struct options opt = {.processes = 1};
	static struct sink sink = {.id_header = "X-Bench-Id"};
	pid_t children[SINK_MAX_PROCS] = {0};

	parse_options(&opt, &sink, argc, argv);
	catch_signals();
	util_raise_file_limit();
	if (opt.ledger != NULL) {
		sink_ledger_open(opt.ledger);
		sink.with_ledger = true;
	}
	sink.stats = map_stats(opt.stats);
	sink.listener = listen_on(&opt.address, sink.stats);
	/* Last: who waits for the magic number may connect now. */
	atomic_store(&sink.stats->magic, SINK_STATS_MAGIC);
	sink.process = fork_processes(opt.processes, children);
	start_epoll(&sink);
	run_loop(&sink);
	if (sink.process == 0) {
		stop_children(children);
		print_stats(sink.stats);
	}
	return 0;
}
