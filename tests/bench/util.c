/*
 * util.c - see util.h.
 */
#include "util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

int64_t
util_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UTIL_NS_PER_SECOND + ts.tv_nsec;
}

int64_t
util_cpu_us(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * INT64_C(1000000) + ru.ru_utime.tv_usec +
	       ru.ru_stime.tv_usec;
}

void
util_die(const char *fmt, ...)
{
	int error = errno;
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (error != 0)
		fprintf(stderr, ": %s", strerror(error));
	fputc('\n', stderr);
	exit(1);
}

void *
util_alloc(size_t count, size_t size)
{
	void *p = calloc(count, size);

	if (p == NULL)
		util_die("out of memory");
	return p;
}

struct sockaddr_in
util_parse_address(const char *text)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};
	char host[INET_ADDRSTRLEN];
	const char *colon = strrchr(text, ':');

	errno = 0;
	if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof host)
		util_die("want ADDRESS:PORT, got \"%s\"", text);
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	if (inet_pton(AF_INET, host, &sin.sin_addr) != 1)
		util_die("not a numeric IPv4 address: \"%s\"", host);
	sin.sin_port = htons((uint16_t)util_parse_number("port", colon + 1, 0, 65535));
	return sin;
}

double
util_parse_number(const char *option, const char *text, double min, double max)
{
	char *end;
	double value;

	errno = 0;
	value = strtod(text, &end);
	if (errno != 0 || end == text || *end != '\0' || !(value >= min && value <= max)) {
		errno = 0;
		util_die(
		    "%s: want a number from %.15g to %.15g, got \"%s\"", option, min, max, text);
	}
	return value;
}

void
util_raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

uint64_t
util_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

double
util_random_share(uint64_t *state)
{
	return (double)(util_random(state) >> 11) * 0x1p-53;
}
