/*
 * clock.h - time, in microseconds, from one place, so that tests can set it. Deadlines are monotonic; what people and
 * tables see is real time (UTC since 1970).
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/base.h"

#define CLOCK_MILLI  INT64_C(1000)
#define CLOCK_SECOND INT64_C(1000000)

/* "No deadline", for waits that something else ends. */
#define CLOCK_NEVER INT64_MAX

/* Monotonic time; never goes back, unrelated between hosts. */
int64_t clock_mono_us(void);

/* Real time since 1970-01-01 UTC. */
int64_t clock_real_us(void);

/* The deadline `us` from now (CLOCK_NEVER stays CLOCK_NEVER; saturates). */
int64_t clock_deadline(int64_t us);

/* strftime() in local time / UTC for `second` since 1970; always terminates `out`. */
void clock_format_local(int64_t second, const char *fmt, char *out, size_t size);
void clock_format_utc(int64_t second, const char *fmt, char *out, size_t size);

/* "Sat, 21 Nov 2026 12:00:00 +0000 (UTC)" as in Received: and Date:, local zone (RFC 5322 section 3.3). */
void clock_format_mail(int64_t second, char *out, size_t size);

/* Tests only: both clocks stand at these values until called with negative ones. */
void clock_fake(int64_t mono_us, int64_t real_us);

#endif
