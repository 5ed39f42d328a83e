#include "cmd/amdahl.h"

#include <math.h>

/* T = a + b·x with x = 1/n is a straight line: one_s = a + b, serial = a / (a + b). Where noise
 * puts the share outside [0, 1], the nearest end is taken and one_s fitted alone. */
bool amdahl_fit(struct amdahl *out, const int *ranks, const double *seconds, int n)
{
    double sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (int i = 0; i < n; i++) {
        double x = 1.0 / ranks[i];
        sx += x;
        sy += seconds[i];
        sxx += x * x;
        sxy += x * seconds[i];
    }
    double det = n * sxx - sx * sx;
    if (n < 2 || det <= 1e-12 * n * sxx)
        return false;
    double b = (n * sxy - sx * sy) / det, a = (sy - b * sx) / n;
    if (a < 0)
        *out = (struct amdahl){sxy / sxx, 0};
    else if (b < 0)
        *out = (struct amdahl){sy / n, 1};
    else
        *out = (struct amdahl){a + b, a / (a + b)};
    return true;
}

double amdahl_time(const struct amdahl *a, double ranks)
{
    return a->one_s * (a->serial + (1 - a->serial) / ranks);
}

double amdahl_efficiency(const struct amdahl *a, double ranks)
{
    return 1 / (1 + a->serial * (ranks - 1));
}

double amdahl_ranks_at(const struct amdahl *a, double efficiency)
{
    return a->serial > 0 ? 1 + (1 / efficiency - 1) / a->serial : INFINITY;
}
