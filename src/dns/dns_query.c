/*
 * dns_query.c - c-ares on the event loop. Its sockets live in an epoll set of their own, whose descriptor is what the
 * loop watches: c-ares may open and close sockets at any time, and nobody waits on one of them. A task drives the set
 * while questions are open and ends with the last one; those who asked wait for a condition of their own question.
 */
#include <ares.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "dns/dns_int.h"
#include "task/task.h"

#define TRY_TIMEOUT           (5 * CLOCK_SECOND)
#define TRIES                 3
#define UDP_SIZE              1232
#define RCODE_FORMAT_ERROR    1
#define RCODE_NOT_IMPLEMENTED 4
#define EVENTS_MAX            16
#define TURNS_MAX             64
#define RESOLV_CONF           "/etc/resolv.conf"
#define RESOLV_RECHECK        (5 * CLOCK_SECOND)

static struct {
	bool on;
	ares_channel channel;
	int epoll;
	int wake; /* an eventfd: the driver is to look again how long it may sleep */
	struct task_fd *watch;
	struct task *driver; /* NULL while no question is open */
	size_t open;         /* questions c-ares works on */
	size_t abandoned;    /* of these, how many nobody waits for */
	char *servers;       /* owned; NULL: resolv.conf */
	int timeout_ms;
	bool timing_is_set; /* by the caller: resolv.conf does not matter */
	int tries;
	bool dnssec;
	bool no_edns; /* a name server did not understand EDNS */
	bool suspect; /* c-ares may have given up EDNS for good: open it anew when it is idle */
	struct timespec resolv_changed;
	int64_t resolv_check_at;
} resolver;

/* ---- channel ----------------------------------------------------------------------------------------------------- */

/* c-ares says what it wants to know of socket `fd`. */
static void
on_socket_state(void *arg UNUSED, ares_socket_t fd, int readable, int writable)
{
	struct epoll_event ev = {.data.fd = fd};

	if (readable)
		ev.events |= EPOLLIN;
	if (writable)
		ev.events |= EPOLLOUT;
	if (ev.events == 0)
		(void)epoll_ctl(resolver.epoll, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(resolver.epoll, EPOLL_CTL_MOD, fd, &ev) != 0)
		(void)epoll_ctl(resolver.epoll, EPOLL_CTL_ADD, fd, &ev);
}

/* "timeout:N attempts:N" among other words, bounded as resolv.conf(5) says. */
static void
resolv_option_words(struct span words)
{
	struct span word;
	uint64_t n;

	while (span_word(&words, " \t\r", &word)) {
		if (span_starts(word, "timeout:") && span_number(span_from(word, 8), INT32_MAX, &n))
			resolver.timeout_ms = (int)MIN(MAX(n, 1), 30) * 1000;
		else if (span_starts(word, "attempts:") &&
			 span_number(span_from(word, 9), INT32_MAX, &n))
			resolver.tries = (int)MIN(MAX(n, 1), 5);
	}
}

/* The "options" lines of resolv.conf and $RES_OPTIONS, which not every c-ares reads. */
static void
resolv_conf_options(void)
{
	FILE *f = resolver.timing_is_set ? NULL : fopen(RESOLV_CONF, "re");
	const char *own = getenv("RES_OPTIONS");
	char line[1024];

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		struct span rest = span_str(line);
		struct span word;

		rest = span_head(rest, span_find(rest, '\n'));
		if (span_word(&rest, " \t", &word) && span_equal_str(word, "options"))
			resolv_option_words(rest);
	}
	if (f != NULL)
		(void)fclose(f);
	if (own != NULL && !resolver.timing_is_set)
		resolv_option_words(span_str(own));
}

static bool
channel_open(struct err *err)
{
	struct ares_options o;
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB |
		   ARES_OPT_EDNSPSZ;
	int status;

	if (resolver.servers == NULL)
		resolv_conf_options();
	o = (struct ares_options){
	    .flags = ARES_FLAG_EDNS,
	    .timeout = resolver.timeout_ms,
	    .tries = resolver.tries,
	    .sock_state_cb = on_socket_state,
	    .ednspsz = UDP_SIZE,
	};
	status = ares_init_options(&resolver.channel, &o, mask);

	if (status == ARES_SUCCESS && resolver.servers != NULL) {
		status = ares_set_servers_ports_csv(resolver.channel, resolver.servers);
		if (status != ARES_SUCCESS)
			ares_destroy(resolver.channel);
	}
	if (status != ARES_SUCCESS)
		return err_set(err, ERR_CONFIG, "4.3.5", "name servers: %s", ares_strerror(status));
	return true;
}

static bool
resolv_conf_changed(void)
{
	struct stat st = {0};
	bool changed;

	if (resolver.servers != NULL || clock_mono_us() < resolver.resolv_check_at)
		return false;
	resolver.resolv_check_at = clock_deadline(RESOLV_RECHECK);
	(void)stat(RESOLV_CONF, &st);
	changed = memcmp(&st.st_mtim, &resolver.resolv_changed, sizeof(st.st_mtim)) != 0;
	resolver.resolv_changed = st.st_mtim;
	return changed;
}

/* Begins anew with the name servers, when no question is open: after trouble, or with other servers. */
static void
channel_refresh(void)
{
	struct err err;

	if (resolver.open > 0)
		return;
	if (resolv_conf_changed()) {
		resolver.no_edns = false;
		dns_cache_clear();
	} else if (!resolver.suspect) {
		return;
	}
	resolver.suspect = false;
	ares_destroy(resolver.channel);
	resolver.on = channel_open(&err);
}

bool
dns_init(const struct dns_settings *settings, struct err *err)
{
	struct epoll_event ev = {.events = EPOLLIN};
	struct stat st = {0};

	MUST(!resolver.on);
	memset(&resolver, 0, sizeof(resolver));
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return err_set(err, ERR_CONFIG, "4.3.0", "the resolver library does not start");
	resolver.epoll = epoll_create1(EPOLL_CLOEXEC);
	resolver.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (resolver.epoll < 0 || resolver.wake < 0)
		return err_set(err, ERR_TEMP, "4.3.0", "out of descriptors");
	ev.data.fd = resolver.wake;
	(void)epoll_ctl(resolver.epoll, EPOLL_CTL_ADD, resolver.wake, &ev);
	resolver.servers = mem_strdup(settings->servers);
	resolver.timeout_ms =
	    (int)((settings->timeout > 0 ? settings->timeout : TRY_TIMEOUT) / CLOCK_MILLI);
	resolver.tries = settings->tries > 0 ? settings->tries : TRIES;
	resolver.timing_is_set = settings->timeout > 0;
	resolver.dnssec = settings->dnssec;
	(void)stat(RESOLV_CONF, &st);
	resolver.resolv_changed = st.st_mtim;
	resolver.watch = task_fd_new(resolver.epoll);
	resolver.on = channel_open(err);
	if (!resolver.on)
		dns_done();
	return resolver.on;
}

bool
dns_is_ready(void)
{
	return resolver.on;
}

void
dns_done(void)
{
	/* Ends all questions; those who wait get DNS_CANCELLED. */
	if (resolver.on)
		ares_destroy(resolver.channel);
	resolver.on = false;
	if (resolver.driver != NULL)
		task_cancel(resolver.driver);
	while (resolver.driver != NULL)
		(void)task_yield();
	task_fd_free(&resolver.watch);
	if (resolver.epoll > 0)
		close(resolver.epoll);
	if (resolver.wake > 0)
		close(resolver.wake);
	mem_free(resolver.servers);
	memset(&resolver, 0, sizeof(resolver));
	ares_library_cleanup();
	dns_cache_done();
	dns_hosts_done();
}

bool
dns_query_is_dnssec(void)
{
	return resolver.dnssec;
}

/* ---- driver ---------------------------------------------------------------------------------------------------------- */

static int64_t
driver_deadline(void)
{
	struct timeval buffer;
	const struct timeval *tv = ares_timeout(resolver.channel, NULL, &buffer);

	if (tv == NULL)
		return CLOCK_NEVER;
	return clock_deadline((int64_t)tv->tv_sec * CLOCK_SECOND + tv->tv_usec);
}

/* Serves what the kernel says is ready. False: nothing was. */
static bool
driver_serve(void)
{
	struct epoll_event ev[EVENTS_MAX];
	int n = epoll_wait(resolver.epoll, ev, EVENTS_MAX, 0);

	for (int i = 0; i < n; i++) {
		int fd = ev[i].data.fd;
		bool write = (ev[i].events & EPOLLOUT) != 0;
		bool read = (ev[i].events & ~(unsigned)EPOLLOUT) != 0;
		eventfd_t ignored;

		if (fd == resolver.wake)
			(void)eventfd_read(fd, &ignored);
		else
			ares_process_fd(resolver.channel, read ? fd : ARES_SOCKET_BAD,
			    write ? fd : ARES_SOCKET_BAD);
	}
	return n > 0;
}

/*
 * Lets c-ares read and write, and look at its clock. It may read less than there is (TCP: length, then answer), and the
 * loop hears of the set's descriptor once only: so until nothing is ready, and once more later if that takes long.
 */
static void
driver_turn(void)
{
	int turns = 0;

	while (turns < TURNS_MAX && driver_serve())
		turns++;
	if (turns == TURNS_MAX)
		(void)eventfd_write(resolver.wake, 1);
	ares_process_fd(resolver.channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void
driver_task(void *arg UNUSED)
{
	/* Questions nobody waits for are not worth staying for. */
	while (resolver.on && resolver.open > resolver.abandoned) {
		if (task_fd_wait_read(resolver.watch, driver_deadline()) == TASK_CANCELLED)
			break;
		if (resolver.on)
			driver_turn();
	}
	resolver.driver = NULL;
	if (resolver.on && resolver.open > 0)
		ares_cancel(resolver.channel);
}

static bool
driver_start(void)
{
	if (resolver.driver != NULL) {
		(void)eventfd_write(resolver.wake, 1);
		return true;
	}
	resolver.driver = task_start("dns", driver_task, NULL);
	return resolver.driver != NULL;
}

/* ---- questions --------------------------------------------------------------------------------------------------------- */

void
dns_query_free(struct dns_query *q)
{
	buf_done(&q->key);
	buf_done(&q->question);
	buf_done(&q->answer);
	mem_free(q);
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *bytes, int len);
static void query_unref(struct dns_query *q);

static void
query_send(struct dns_query *q)
{
	ares_send(resolver.channel, (const unsigned char *)q->question.ptr, (int)q->question.len,
	    on_answer, q);
}

/* True if the server did not understand EDNS, and was asked again in the manner of 1987. */
static bool
query_simplify(struct dns_query *q, const unsigned char *bytes, int len)
{
	int rcode = len > 3 ? bytes[3] & 0x0f : 0;

	if (!q->extended || (rcode != RCODE_FORMAT_ERROR && rcode != RCODE_NOT_IMPLEMENTED))
		return false;
	resolver.no_edns = true;
	q->extended = false;
	dns_wire_drop_edns(&q->question);
	query_send(q);
	return true;
}

static void
on_answer(void *arg, int status, int timeouts UNUSED, unsigned char *bytes, int len)
{
	struct dns_query *q = arg;

	if (q->refs > 0 && resolver.on && bytes != NULL && query_simplify(q, bytes, len))
		return;
	resolver.open--;
	if (bytes == NULL)
		resolver.suspect = true;
	if (q->refs == 0)
		resolver.abandoned--;
	q->done = true;
	q->status = status;
	if (bytes != NULL && len > 0)
		buf_add(&q->answer, bytes, (size_t)len);
	task_cond_wake_all(&q->cond);
	/* Whoever waits has it before it can be dropped. */
	q->refs++;
	dns_cache_settle(q);
	query_unref(q);
}

/* One less waits for it. */
static void
query_unref(struct dns_query *q)
{
	MUST(q->refs > 0);
	if (--q->refs > 0)
		return;
	if (!q->done) {
		resolver.abandoned++;
		(void)eventfd_write(resolver.wake, 1);
	} else if (q->key.len == 0) {
		dns_query_free(q);
	}
}

/* One more waits for a question that is known. */
static struct dns_query *
query_ref(struct dns_query *q)
{
	if (q->refs++ == 0 && !q->done)
		resolver.abandoned--;
	return q;
}

/* Sends a new question. */
static struct dns_query *
query_new(const char *name, int type, bool search)
{
	struct dns_query *q = mem_new(struct dns_query);

	q->refs = 1;
	dns_cache_add(q, name, type, search);
	resolver.open++;
	/* Either may call on_answer() before it returns. */
	if (search) {
		ares_search(resolver.channel, name, 1, type, on_answer, q);
	} else {
		dns_wire_query(&q->question, (uint16_t)random_u64(), name, type, resolver.dnssec);
		q->extended = !resolver.no_edns;
		if (resolver.no_edns)
			dns_wire_drop_edns(&q->question);
		query_send(q);
	}
	return q;
}

struct dns_query *
dns_query_start(const char *name, int type, bool search)
{
	struct dns_query *q;

	if (resolver.on)
		channel_refresh();
	if (!resolver.on)
		return NULL;
	q = dns_cache_find(name, type, search);
	q = q != NULL ? query_ref(q) : query_new(name, type, search);
	if (!q->done && !driver_start()) {
		query_unref(q);
		return NULL;
	}
	return q;
}

static enum dns_status
query_status(const struct dns_query *q)
{
	/* c-ares turns some answers into an error of its own, and hands the answer over with it. */
	if (q->answer.len > 0)
		return DNS_FOUND;
	switch (q->status) {
	case ARES_ENODATA:
		return DNS_NO_DATA;
	case ARES_ENOTFOUND:
		return DNS_NOT_FOUND;
	case ARES_EBADNAME:
	case ARES_EBADRESP:
	case ARES_EFORMERR:
		return DNS_INVALID;
	case ARES_ECANCELLED:
	case ARES_EDESTRUCTION:
		return DNS_CANCELLED;
	default:
		return DNS_RETRY;
	}
}

enum dns_status
dns_query_wait(struct dns_query **query, int64_t deadline, struct buf *ret_answer)
{
	struct dns_query *q = *query;
	enum task_wait w = TASK_READY;
	enum dns_status status;

	*query = NULL;
	if (q == NULL)
		return DNS_RETRY;
	while (!q->done && w == TASK_READY)
		w = task_cond_wait(&q->cond, deadline);
	if (!q->done) {
		query_unref(q);
		return w == TASK_CANCELLED ? DNS_CANCELLED : DNS_RETRY;
	}
	status = query_status(q);
	if (status == DNS_FOUND)
		buf_add_span(ret_answer, buf_span(&q->answer));
	query_unref(q);
	return status;
}
