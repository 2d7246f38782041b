/*
 * clock.c - the only place that asks the system for the time: see clock.h.
 */
#include "base/clock.h"

#include <time.h>

static int64_t clock_fake_mono = -1;
static int64_t clock_fake_real = -1;

static int64_t
clock_read(clockid_t id)
{
	struct timespec ts;

	MUST(clock_gettime(id, &ts) == 0);
	return (int64_t)ts.tv_sec * CLOCK_SECOND + ts.tv_nsec / 1000;
}

int64_t
clock_mono_us(void)
{
	return clock_fake_mono >= 0 ? clock_fake_mono : clock_read(CLOCK_MONOTONIC);
}

int64_t
clock_real_us(void)
{
	return clock_fake_real >= 0 ? clock_fake_real : clock_read(CLOCK_REALTIME);
}

int64_t
clock_deadline(int64_t us)
{
	int64_t at;

	if (us == CLOCK_NEVER || __builtin_add_overflow(clock_mono_us(), us, &at))
		return CLOCK_NEVER;
	return at;
}

static void
clock_format(const struct tm *tm, const char *fmt, char *out, size_t size)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	if (strftime(out, size, fmt, tm) == 0)
		out[0] = '\0';
#pragma GCC diagnostic pop
}

void
clock_format_local(int64_t second, const char *fmt, char *out, size_t size)
{
	time_t t = (time_t)second;
	struct tm tm;

	MUST(localtime_r(&t, &tm) != NULL);
	clock_format(&tm, fmt, out, size);
}

void
clock_format_utc(int64_t second, const char *fmt, char *out, size_t size)
{
	time_t t = (time_t)second;
	struct tm tm;

	MUST(gmtime_r(&t, &tm) != NULL);
	clock_format(&tm, fmt, out, size);
}

void
clock_format_mail(int64_t second, char *out, size_t size)
{
	clock_format_local(second, "%a, %e %b %Y %H:%M:%S %z (%Z)", out, size);
	/* "%e" pads with a blank where RFC 5322 wants one digit after one blank: "Sat,  1 Nov" */
	if (size > 6 && out[5] == ' ')
		for (char *p = out + 5; *p != '\0'; p++)
			p[0] = p[1];
}

void
clock_fake(int64_t mono_us, int64_t real_us)
{
	clock_fake_mono = mono_us;
	clock_fake_real = real_us;
}
