/* A grid of learning rates around a centre, which grows while its best one is at an edge. Rates
 * are known by their index: 0 is the centre, 1 the next higher. Pure functions. */
#ifndef CARAT_STUDY_RATE_GRID_H
#define CARAT_STUDY_RATE_GRID_H

struct rate_grid {
    double centre;
    double step; /* factor from one rate to the next */
    int n;       /* rates at first */
    int extend;  /* rates that may be added on either side */
};

/* The first and last index of the rates at first; one more is above the centre than below when n is
 * even. */
int rate_grid_low(const struct rate_grid *g);
int rate_grid_high(const struct rate_grid *g);
/* The rate of an index, to four digits. */
double rate_grid_rate(const struct rate_grid *g, int index);
/* The index of a rate of this grid. */
int rate_grid_index(const struct rate_grid *g, double lr);

/* What came of a rate. score: what is to be little, such as the steps to a target; INFINITY where
 * it was never reached. loss: the last one, which orders those that never reached it; NaN where
 * training diverged. */
struct grid_point {
    int index;
    double score, loss;
};
/* The best of n >= 1 points. */
int rate_grid_best(const struct grid_point *p, int n);
/* The side on which the best of n points has no neighbour yet though there may be one: -1, 1, or 0
 * when there is none. Where all diverged the better rate is lower. */
int rate_grid_side(const struct rate_grid *g, const struct grid_point *p, int n);

#endif
