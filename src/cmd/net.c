#include "cmd/net.h"

#include "base/err.h"
#include "base/str.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 64 };

/* A number that one of the units follows; the unit's factor is applied. */
static bool read_unit(const char *text, const char *const *unit, const double *factor, int n,
                      double *out)
{
    char *end;
    *out = strtod(text, &end);
    for (int i = 0; i < n && end != text; i++)
        if (strcmp(end, unit[i]) == 0) {
            *out *= factor[i];
            return isfinite(*out) && *out >= 0;
        }
    return false;
}

static bool read_latency(const char *text, double *s)
{
    static const char *const unit[] = {"s", "ms", "us", "µs", "ns"};
    static const double factor[] = {1, 1e-3, 1e-6, 1e-6, 1e-9};
    return read_unit(text, unit, factor, sizeof factor / sizeof *factor, s);
}

static bool cut_end(char *text, const char *suffix)
{
    if (!str_ends(text, suffix))
        return false;
    text[strlen(text) - strlen(suffix)] = '\0';
    return true;
}

static bool read_bandwidth(char *text, double *bytes_per_s)
{
    double parts = 1;
    if (!cut_end(text, "/s"))
        return false;
    if (cut_end(text, "bit"))
        parts = 8;
    else if (!cut_end(text, "B"))
        return false;
    if (!parse_si(text, bytes_per_s) || *bytes_per_s <= 0)
        return false;
    *bytes_per_s /= parts;
    return true;
}

int net_parse(const char *text, double *latency_s, double *bytes_per_s)
{
    char copy[TEXT_MAX];
    size_t n = strlen(text), first = strcspn(text, ",");
    if (n < sizeof copy && first < n) {
        memcpy(copy, text, n + 1);
        copy[first] = '\0';
        if (read_latency(copy, latency_s) && read_bandwidth(copy + first + 1, bytes_per_s))
            return OK;
    }
    return ERR(E_USAGE, "--net takes LATENCY,BANDWIDTH such as 2us,25GB/s, not \"%s\"", text);
}
