#include "base/clock.h"

#include <time.h>

double clock_now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

char *clock_stamp(char *buf, size_t n)
{
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    if (strftime(buf, n, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0 && n > 0)
        buf[0] = '\0';
    return buf;
}
