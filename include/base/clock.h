/* Time: monotonic seconds for measuring, UTC stamps for records. */
#ifndef CARAT_BASE_CLOCK_H
#define CARAT_BASE_CLOCK_H

#include <stddef.h>
#include <time.h>

/* Monotonic seconds from an arbitrary origin. */
double clock_now_s(void);
/* The moment s seconds (0 or more) from now by a clock, for calls that wait until then. */
struct timespec clock_after(clockid_t clock, double s);
/* "2026-11-24T02:30:01Z" into buf (at least 21 bytes); returns buf. */
char *clock_stamp(char *buf, size_t n);

#endif
