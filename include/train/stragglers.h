/* Ranks that compute more slowly than the others: a throttled or shared processor, or a sick node,
 * holds up all of them. */
#ifndef CARAT_TRAIN_STRAGGLERS_H
#define CARAT_TRAIN_STRAGGLERS_H

#include "par/comm.h"

#include <stdbool.h>
#include <stdint.h>

/* What a rank spent in so many steps: seconds of computing without waits, and micro-batches. */
enum { STRAGGLER_STEPS = 20 };
struct rank_work {
    double s, micros;
    char host[64];
};

struct stragglers {
    int steps;             /* since the last look */
    struct rank_work mine; /* in them */
    struct rank_work *all; /* root's: [size] */
    double *factor;        /* root's: [2 size], the latter half is room */
    bool *told;            /* root's: [size], of a spell that still lasts */
};

int stragglers_init(struct stragglers *s, const struct comm *c);
void stragglers_release(struct stragglers *s);

/* How many times as long as the (lower) median of those that computed each rank takes for a
 * micro-batch; 0 for who computed none. by: [n], room: [n]. */
void stragglers_factors(double *by, double *room, const struct rank_work *work, int n);
/* Whether a rank of this factor holds up the others enough to be told of: 1.3 times the median, and
 * not by moments alone. */
bool stragglers_is_slow(double factor, const struct rank_work *work);

/* A step's computing is counted. *looked in every 20th: root has the work of all then, and their
 * factors. Collective then. E_RANK. */
int stragglers_step(struct stragglers *s, const struct comm *c, double compute_s, int64_t micros,
                    bool *looked);
/* Root, after a look, once: the next rank that has become slow, of those from `from` on; -1: none.
 */
int stragglers_next(struct stragglers *s, const struct comm *c, int from);

#endif
