/*
 * bench_task.c - what the runtime costs: `make bench-task`. Each figure is the best of some rounds, since everything
 * that disturbs a measurement makes it longer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "base/clock.h"
#include "base/mem.h"
#include "task/task.h"

#define ROUNDS 5
#define PARKED 10000

struct bench {
	const char *name;
	int count; /* operations of one run */
	void (*run)(int count);
};

static struct task_chan *there;
static struct task_chan *back;
static struct task_cond cond;
static int64_t bench_best;

/* ---- switches -------------------------------------------------------------------------------------------------- */

static void
bench_yield(int count)
{
	for (int i = 0; i < count; i++)
		(void)task_yield();
}

static void
echo(void *arg UNUSED)
{
	void *item;

	while (task_chan_receive(there, &item, CLOCK_NEVER) == TASK_READY)
		(void)task_chan_send(back, item, CLOCK_NEVER);
}

static void
bench_channel(int count)
{
	void *item;

	there = task_chan_new(1);
	back = task_chan_new(1);
	MUST(task_start("echo", echo, NULL) != NULL);
	for (int i = 0; i < count; i++) {
		(void)task_chan_send(there, &cond, CLOCK_NEVER);
		(void)task_chan_receive(back, &item, CLOCK_NEVER);
	}
	task_chan_close(there);
	while (task_count() > 1)
		(void)task_yield();
	task_chan_free(&there);
	task_chan_free(&back);
}

static void
nothing(void *arg UNUSED)
{
}

static void
bench_start(int count)
{
	for (int i = 0; i < count; i++) {
		MUST(task_start("nothing", nothing, NULL) != NULL);
		if (i % 100 == 99)
			(void)task_yield();
	}
}

/* ---- timers ---------------------------------------------------------------------------------------------------- */

static void
on_timer(void *arg UNUSED)
{
}

/* Arms and disarms timers among 10,000 others. */
static void
bench_timer(int count)
{
	struct task_timer *timers = mem_zalloc(PARKED * sizeof(*timers));
	int64_t far = clock_deadline(300 * CLOCK_SECOND);

	for (int i = 0; i < PARKED; i++) {
		timers[i].fn = on_timer;
		task_timer_arm(&timers[i], far + (int64_t)i * 7919 % PARKED);
	}
	for (int i = 0; i < count; i++) {
		task_timer_disarm(&timers[i * 31 % PARKED]);
		task_timer_arm(&timers[i * 31 % PARKED], far + i);
	}
	for (int i = 0; i < PARKED; i++)
		task_timer_disarm(&timers[i]);
	mem_free(timers);
}

static void
wake_partner(void *arg)
{
	int *left = arg;

	while (*left > 0) {
		task_cond_wake_one(&cond);
		(void)task_yield();
	}
}

/* A wait with a deadline that something else ends: what every read of every session does. */
static void
bench_deadline(int count)
{
	int64_t far = clock_deadline(300 * CLOCK_SECOND);
	int left = count;

	MUST(task_start("partner", wake_partner, &left) != NULL);
	for (; left > 0; left--)
		(void)task_cond_wait(&cond, far + left);
	(void)task_yield();
}

/* ---- descriptors ----------------------------------------------------------------------------------------------- */

static void
echo_bytes(void *arg)
{
	int fd = *(int *)arg;
	struct task_fd *watch = task_fd_new(fd);
	char c;

	for (;;) {
		ssize_t n = recv(fd, &c, 1, 0);

		if (n == 0)
			break;
		if (n > 0)
			MUST(send(fd, &c, 1, 0) == 1);
		else
			(void)task_fd_wait_read(watch, CLOCK_NEVER);
	}
	task_fd_free(&watch);
	(void)close(fd);
}

static void
bench_socket(int count)
{
	int ends[2];
	struct task_fd *watch;
	char c = 'x';

	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
	watch = task_fd_new(ends[0]);
	MUST(task_start("echo", echo_bytes, &ends[1]) != NULL);
	for (int i = 0; i < count; i++) {
		MUST(send(ends[0], &c, 1, 0) == 1);
		while (recv(ends[0], &c, 1, 0) != 1)
			(void)task_fd_wait_read(watch, CLOCK_NEVER);
	}
	task_fd_free(&watch);
	(void)close(ends[0]);
	while (task_count() > 1)
		(void)task_sleep_until(clock_deadline(CLOCK_MILLI));
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static size_t
resident_kb(void)
{
	char line[128];
	size_t kb = 0;
	FILE *f = fopen("/proc/self/status", "re");

	MUST(f != NULL);
	while (fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, "VmRSS:", 6) == 0)
			kb = strtoul(line + 6, NULL, 10);
	(void)fclose(f);
	return kb;
}

/* As deep as a TLS handshake goes. */
__attribute__((noinline)) static void
use_stack(void)
{
	volatile char much[9000];

	for (size_t i = 0; i < sizeof(much); i += 64)
		much[i] = 1;
	MUST(much[64] == 1);
}

static void
park(void *arg UNUSED)
{
	use_stack();
	(void)task_cond_wait(&cond, clock_deadline(300 * CLOCK_SECOND));
}

static void
measure_memory(void *arg UNUSED)
{
	size_t before = resident_kb(), busy, idle, pooled;

	for (int i = 0; i < PARKED; i++)
		MUST(task_start("parked", park, NULL) != NULL);
	(void)task_yield();
	busy = resident_kb();
	(void)task_sleep_until(clock_deadline(7 * CLOCK_SECOND));
	idle = resident_kb();
	task_cond_wake_all(&cond);
	(void)task_yield();
	(void)task_sleep_until(clock_deadline(8 * CLOCK_SECOND));
	pooled = resident_kb();
	printf("%d parked tasks, each having used 9 KB of stack:\n", PARKED);
	printf("  at once                     %7zu KB, %5.1f KB a task\n", busy - before,
	    (double)(busy - before) / PARKED);
	printf("  after 7 s                   %7zu KB, %5.1f KB a task\n", idle - before,
	    (double)(idle - before) / PARKED);
	printf("  ended, 8 s later            %7zu KB, %5.1f KB a task\n", pooled - before,
	    (double)(pooled - before) / PARKED);
}

/* ---- all ------------------------------------------------------------------------------------------------------- */

static const struct bench benches[] = {
    {"yield (2 switches)", 1000000, bench_yield},
    {"channel there and back", 200000, bench_channel},
    {"task start and end", 200000, bench_start},
    {"timer disarm and arm, of 10,000", 1000000, bench_timer},
    {"wait with a deadline, woken", 500000, bench_deadline},
    {"byte over a socket and back", 50000, bench_socket},
};

static void
run_bench(void *arg)
{
	const struct bench *b = arg;
	int64_t begin = clock_mono_us(), used;

	b->run(b->count);
	used = clock_mono_us() - begin;
	bench_best = MIN(bench_best, used);
}

int
main(void)
{
	task_init(NULL);
	for (size_t i = 0; i < ARRAY_LEN(benches); i++) {
		struct bench b = benches[i];

		bench_best = INT64_MAX;
		for (int round = 0; round < ROUNDS; round++) {
			MUST(task_start("bench", run_bench, &b) != NULL);
			task_run();
		}
		printf("%-32s %8.1f ns\n", b.name, (double)bench_best * 1000 / b.count);
	}
	if (getenv("MEMORY") != NULL) {
		MUST(task_start("memory", measure_memory, NULL) != NULL);
		task_run();
	}
	task_done();
	return 0;
}
