/*
 * random.c - see random.h. A small pool saves a system call per number.
 */
#include "base/random.h"

#include <sys/random.h>
#include <unistd.h>

uint64_t
random_u64(void)
{
	static uint64_t pool[32];
	static size_t left;
	static pid_t owner;

	/* A child must not repeat its parent's numbers. */
	if (left == 0 || owner != getpid()) {
		size_t got = 0;

		while (got < sizeof(pool)) {
			ssize_t n = getrandom((char *)pool + got, sizeof(pool) - got, 0);

			MUST(n > 0);
			got += (size_t)n;
		}
		left = ARRAY_LEN(pool);
		owner = getpid();
	}
	return pool[--left];
}

int64_t
random_epoch(void)
{
	int64_t epoch;

	do
		epoch = (int64_t)(random_u64() >> 1);
	while (epoch == 0);
	return epoch;
}

uint32_t
random_below(uint32_t n)
{
	MUST(n > 0);
	return (uint32_t)(((random_u64() >> 32) * n) >> 32);
}
