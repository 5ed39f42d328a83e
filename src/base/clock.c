#include "base/clock.h"

#include <stdint.h>

double clock_now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct timespec clock_after(clockid_t clock, double s)
{
    enum { A_SECOND = 1000000000 };
    struct timespec t;
    clock_gettime(clock, &t);
    int64_t ns = t.tv_nsec + (int64_t)(s * A_SECOND);
    t.tv_sec += (time_t)(ns / A_SECOND);
    t.tv_nsec = (long)(ns % A_SECOND);
    return t;
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
