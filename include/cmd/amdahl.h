/* How the time of a fixed amount of work falls with the ranks that share it.
 * Source: Amdahl 1967, Validity of the single processor approach. */
#ifndef CARAT_CMD_AMDAHL_H
#define CARAT_CMD_AMDAHL_H

#include <stdbool.h>

enum { AMDAHL_MAX_COUNTS = 16 };

/* T(n) = one_s · (serial + (1 - serial) / n) */
struct amdahl {
    double one_s, serial;
};

/* Least squares over n ≥ 2 measured counts, of which two differ; serial is kept in [0, 1]. False
 * when there are too few. */
bool amdahl_fit(struct amdahl *a, const int *ranks, const double *seconds, int n);
double amdahl_time(const struct amdahl *a, double ranks);
/* T(1) / (n · T(n)) */
double amdahl_efficiency(const struct amdahl *a, double ranks);
/* The count at which so much efficiency is left; infinite without a serial share. */
double amdahl_ranks_at(const struct amdahl *a, double efficiency);

#endif
