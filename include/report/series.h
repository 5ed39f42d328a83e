/* Rows of numbers on their way into a figure: smoothed, thinned, and with marks for its axes. NaN
 * stands where nothing was measured and breaks a line. */
#ifndef CARAT_REPORT_SERIES_H
#define CARAT_REPORT_SERIES_H

#include <stdbool.h>
#include <stdint.h>

/* Least and greatest finite value; lo > hi: there is none. */
struct extent {
    double lo, hi;
};
#define EXTENT_NONE ((struct extent){1, 0})
void extent_add(struct extent *e, const double *v, int64_t n);
bool extent_any(const struct extent *e);

/* In the place of each value the mean of those around it, whose weights fall off exponentially on
 * both sides and come to about `steps` values. What is not finite is passed over, and is NaN.
 * Without memory for it the values stay as they are. */
void series_smooth(double *v, int64_t n, double steps);

/* Drops what is not finite where values mostly stand alone between such rows: they are measured
 * every so many steps, and a line is to join them. Elsewhere gaps stay. z as below; returns the new
 * n. */
int64_t series_join(double *x, double *y, double *z, int64_t n);

/* Leaves at most 2·buckets + 2 points of a series in x order: where there are more, both ends and
 * the least and the greatest of each of `buckets` equal parts of x, in their order, so that spikes
 * stay. Gaps of a whole bucket stay gaps. What is not finite becomes NaN. Works in place (x, y [n];
 * z, a second value that goes with y, may be NULL); returns the new n. */
int64_t series_thin(double *x, double *y, double *z, int64_t n, int buckets);

/* Median of the finite values, NaN when there is none. E_MEM leaves NaN. */
double series_median(const double *v, int64_t n);
/* The last finite value, or NaN. */
double series_last(const double *v, int64_t n);

/* Marks of an axis: 1, 2, 5 times a power of ten; on a logarithmic one such that few are enough and
 * each decade looks alike. At most SERIES_MAX_TICKS; returns how many. */
enum { SERIES_MAX_TICKS = 12 };
int series_ticks(double at[SERIES_MAX_TICKS], struct extent e, bool logarithmic);

#endif
