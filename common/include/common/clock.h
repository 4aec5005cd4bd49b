/* The two clocks: monotonic milliseconds for every decision, wall-clock seconds for what people
 * read. */
#pragma once

#include <stdint.h>

/** Monotonic milliseconds (CLOCK_MONOTONIC); comparable between processes of one machine. */
uint64_t clock_now_ms(void);

/** Monotonic microseconds, for measuring latency. */
uint64_t clock_now_us(void);

/** Unix time in seconds. */
int64_t clock_unix_s(void);

/** Unix time in milliseconds. */
int64_t clock_unix_ms(void);
