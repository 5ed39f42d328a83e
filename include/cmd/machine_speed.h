/* What the ranks' machine can do, measured by all of them at once. */
#ifndef CARAT_CMD_MACHINE_SPEED_H
#define CARAT_CMD_MACHINE_SPEED_H

#include "par/comm.h"

/* A message of n bytes takes latency_s + n / bytes_per_s; 0 and 0: there is no such pair. */
struct link {
    double latency_s, bytes_per_s;
};

struct machine_speed {
    int cores;             /* ranks · threads */
    double fma, bf16;      /* FLOP/s of a core, mean; bf16 0: some CPU cannot */
    double copy, triad;    /* bytes/s of a rank, mean: read and written */
    struct link node, net; /* inside a node, between nodes */
    const char *isa;       /* of the FMA peak, on root */
};

/* Collective. E_MEM. */
int machine_speed(struct machine_speed *m, const struct comm *c, int threads);
/* The mean with a later measurement: a shared machine's speed drifts. Local. */
void machine_speed_add(struct machine_speed *m, const struct machine_speed *later);
/* Bytes/s of a rank: the better of copy and triad. */
double machine_bandwidth(const struct machine_speed *m);

#endif
