/*
 * util.h - the few things the load generator and the sink share: time, own CPU time, addresses, numbers from the
 * command line. These tools stand alone on purpose: a fault in Rowpost's rooms must not hide in its own yardstick.
 */
#ifndef BENCH_UTIL_H
#define BENCH_UTIL_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#define UTIL_NS_PER_MS     INT64_C(1000000)
#define UTIL_NS_PER_SECOND INT64_C(1000000000)

/* CLOCK_MONOTONIC: one clock for every process of the host, so that load, sink and runner can compare times. */
int64_t util_now_ns(void);

/* User and system time of this process so far, in microseconds. */
int64_t util_cpu_us(void);

/* Print "name: text: strerror" (the last part only when errno is set) and exit 1. */
void util_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Zero-filled memory for the life of the process; never NULL. */
void *util_alloc(size_t count, size_t size);

/* "127.0.0.1:2525", numeric only; exits on anything else. */
struct sockaddr_in util_parse_address(const char *text);

/* A number within [min, max]; exits with the option's name on anything else. */
double util_parse_number(const char *option, const char *text, double min, double max);

/* Raise the limit of open files to what the kernel allows this process. */
void util_raise_file_limit(void);

/* xorshift: the state must not be 0. */
uint64_t util_random(uint64_t *state);

/* Uniform in [0, 1). */
double util_random_share(uint64_t *state);

#endif
