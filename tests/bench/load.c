/*
 * load.c - SMTP load generator: one process, one epoll set, many sessions. Options and main loop; see load.h for the
 * other parts. Prints one JSON object on standard output (in idle mode a first one when all sessions are ready).
 */
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load_text.h"
#include "util.h"

#define POLL_INTERVAL_NS (10 * UTIL_NS_PER_MS)

static volatile sig_atomic_t stop_asked;

static const char usage[] =
    "usage: load [options] ADDRESS:PORT\n"
    "  -s, --sessions N      sessions at once (1)\n"
    "  -m, --messages N      stop after N messages\n"
    "  -t, --seconds T       stop after T seconds\n"
    "  -r, --rate R          start at most R messages a second\n"
    "  -l, --size BYTES      size of a message, header included (4096)\n"
    "  -c, --recipients N    recipients per message (1)\n"
    "  -D, --domains N       spread recipients over N domains (1)\n"
    "  -n, --new             a connection for each message (default: connections are reused)\n"
    "      --no-pipelining   one command at a time even where PIPELINING is offered\n"
    "      --retry           send a message again until it is accepted\n"
    "      --window N        at most N connections not yet greeted\n"
    "      --timeout T       give a session up after T seconds without a reply (30)\n"
    "      --deadline T      cut the whole run off after T seconds (600)\n"
    "      --ledger FILE     write a line for each attempt\n"
    "      --run-id TEXT     first part of X-Bench-Id (process id)\n"
    "      --idle            send nothing: open the sessions, hold them, NOOP on each\n"
    "      --hold T          seconds to hold idle sessions, or until SIGUSR1 (5)\n";

/* clang-format off */
enum { OPT_NO_PIPELINING = 256, OPT_RETRY, OPT_WINDOW, OPT_TIMEOUT, OPT_DEADLINE, OPT_LEDGER, OPT_RUN_ID, OPT_IDLE, OPT_HOLD };

static const struct option long_options[] = {
	{"sessions",      required_argument, NULL, 's'},
	{"messages",      required_argument, NULL, 'm'},
	{"seconds",       required_argument, NULL, 't'},
	{"rate",          required_argument, NULL, 'r'},
	{"size",          required_argument, NULL, 'l'},
	{"recipients",    required_argument, NULL, 'c'},
	{"domains",       required_argument, NULL, 'D'},
	{"new",           no_argument,       NULL, 'n'},
	{"no-pipelining", no_argument,       NULL, OPT_NO_PIPELINING},
	{"retry",         no_argument,       NULL, OPT_RETRY},
	{"window",        required_argument, NULL, OPT_WINDOW},
	{"timeout",       required_argument, NULL, OPT_TIMEOUT},
	{"deadline",      required_argument, NULL, OPT_DEADLINE},
	{"ledger",        required_argument, NULL, OPT_LEDGER},
	{"run-id",        required_argument, NULL, OPT_RUN_ID},
	{"idle",          no_argument,       NULL, OPT_IDLE},
	{"hold",          required_argument, NULL, OPT_HOLD},
	{NULL, 0, NULL, 0},
};
/* clang-format on */

static void
set_option(struct load_options *opt, int c, const char *arg)
{
	switch (c) {
	case 's':
		opt->sessions = (int)util_parse_number("--sessions", arg, 1, 60000);
		break;
	case 'm':
		opt->messages = (int64_t)util_parse_number("--messages", arg, 1, 1e9);
		break;
	case 't':
		opt->seconds = util_parse_number("--seconds", arg, 0.01, 1e6);
		break;
	case 'r':
		opt->rate = util_parse_number("--rate", arg, 0.01, 1e7);
		break;
	case 'l':
		opt->size = (size_t)util_parse_number("--size", arg, 512, 256 << 20);
		break;
	case 'c':
		opt->recipients = (int)util_parse_number("--recipients", arg, 1, 100000);
		break;
	case 'D':
		opt->domains = (int)util_parse_number("--domains", arg, 1, 1e6);
		break;
	case 'n':
		opt->reuse = false;
		break;
	case OPT_NO_PIPELINING:
		opt->pipelining = false;
		break;
	case OPT_RETRY:
		opt->retry = true;
		break;
	case OPT_WINDOW:
		opt->window = (int)util_parse_number("--window", arg, 1, 60000);
		break;
	case OPT_TIMEOUT:
		opt->timeout = util_parse_number("--timeout", arg, 0.1, 3600);
		break;
	case OPT_DEADLINE:
		opt->deadline = util_parse_number("--deadline", arg, 0.1, 1e6);
		break;
	case OPT_LEDGER:
		opt->ledger = arg;
		break;
	case OPT_RUN_ID:
		opt->run_id = arg;
		break;
	case OPT_IDLE:
		opt->idle = true;
		break;
	case OPT_HOLD:
		opt->hold = util_parse_number("--hold", arg, 0, 86400);
		break;
	default:
		fputs(usage, stderr);
		exit(64);
	}
}

static void
parse_options(struct load_options *opt, int argc, char **argv)
{
	static char default_run_id[16];
	int c;

	snprintf(default_run_id, sizeof default_run_id, "%d", (int)getpid());
	*opt = (struct load_options){
	    .sessions = 1,
	    .size = 4096,
	    .recipients = 1,
	    .domains = 1,
	    .reuse = true,
	    .pipelining = true,
	    .timeout = 30,
	    .deadline = 600,
	    .run_id = default_run_id,
	    .hold = 5,
	};
	while ((c = getopt_long(argc, argv, "s:m:t:r:l:c:D:n", long_options, NULL)) != -1)
		set_option(opt, c, optarg);
	if (optind != argc - 1)
		set_option(opt, '?', NULL);
	opt->server = util_parse_address(argv[optind]);
	if (!opt->idle && opt->messages == 0 && opt->seconds == 0)
		util_die("--messages or --seconds is needed");
	if (strlen(opt->run_id) > 64)
		util_die("--run-id is longer than 64");
}

bool
load_is_over(const struct load *load)
{
	return stop_asked || (load->stop_ns > 0 && util_now_ns() >= load->stop_ns);
}

enum load_turn
load_take(struct load *load, int64_t *seq)
{
	if (load_is_over(load) || (load->opt.messages > 0 && load->next_seq >= load->opt.messages))
		return LOAD_NEVER;
	if (load->opt.rate > 0) {
		double due = (double)load->next_seq / load->opt.rate * (double)UTIL_NS_PER_SECOND;

		if (util_now_ns() < load->tally.start_ns + (int64_t)due)
			return LOAD_LATER;
	}
	*seq = load->next_seq++;
	return LOAD_NOW;
}

/* Handle what epoll has, and call the poll function at its interval; until `until` is true or time is over. */
static void
run_loop(struct load *load, bool (*until)(const struct load *), int64_t end_ns)
{
	struct epoll_event events[256];
	int64_t next_poll = 0;

	while (!until(load)) {
		int64_t now = util_now_ns();
		int n;

		if (now >= end_ns) {
			load->cut_off = true;
			return;
		}
		if (now >= next_poll || load->first_waiting != NULL) {
			load_session_poll(load, now);
			next_poll = now + POLL_INTERVAL_NS;
		}
		/* A rate limit wants starts that are even, so the interval is a millisecond then. */
		n = epoll_wait(load->epoll, events, 256, load->opt.rate > 0 ? 1 : 10);
		if (n == -1 && errno != EINTR)
			util_die("epoll_wait");
		for (int i = 0; i < n; i++)
			load_session_event(events[i].data.ptr, events[i].events);
	}
}

static bool
all_finished(const struct load *load)
{
	return load->live == 0;
}

static bool
all_ready(const struct load *load)
{
	return load->ready == load->live;
}

static bool
hold_stopped(const struct load *load)
{
	(void)load;
	return stop_asked;
}

/* Open, report, hold, wake. A server that greets only some of the sessions still gets its report, at the deadline. */
static void
run_idle(struct load *load, int64_t deadline_ns)
{
	run_loop(load, all_ready, deadline_ns);
	load_tally_print_ready(load);
	load->cut_off = false;
	run_loop(load, hold_stopped, util_now_ns() + (int64_t)(load->opt.hold * 1e9));
	load->cut_off = false;
	load_session_wake_idle(load);
	run_loop(load, all_finished, util_now_ns() + (int64_t)(load->opt.timeout * 1e9));
}

static void
on_stop(int sig)
{
	(void)sig;
	stop_asked = 1;
}

static void
catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_stop};

	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int
main(int argc, char **argv)
{
	static struct load load;
	int64_t deadline_ns;

	parse_options(&load.opt, argc, argv);
	catch_signals();
	util_raise_file_limit();
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (load.epoll == -1)
		util_die("epoll_create1");
	load_text_init(load.opt.size);
	load_session_init(&load);

	load_tally_start(&load.tally, load.opt.ledger);
	deadline_ns = load.tally.start_ns + (int64_t)(load.opt.deadline * 1e9);
	if (load.opt.seconds > 0)
		load.stop_ns = load.tally.start_ns + (int64_t)(load.opt.seconds * 1e9);
	if (load.opt.idle)
		run_idle(&load, deadline_ns);
	else
		run_loop(&load, all_finished, deadline_ns);
	if (load.cut_off)
		load_session_cut_off(&load);
	load_tally_print(&load);
	return load.cut_off ? 2 : 0;
}
