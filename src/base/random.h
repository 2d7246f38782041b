/*
 * random.h - random numbers from the kernel: epochs, seeds, the order of equal MX hosts.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include "base/base.h"

/* 64 random bits. */
uint64_t random_u64(void);

/* 63 random bits, never 0: an epoch (positive as a PostgreSQL int8). */
int64_t random_epoch(void);

/* A number from 0 to n - 1, n > 0. */
uint32_t random_below(uint32_t n);

#endif
