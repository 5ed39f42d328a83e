/* Which processors each rank of a node gets: arithmetic alone, nothing is bound here. */
#ifndef CARAT_PAR_PLACE_H
#define CARAT_PAR_PLACE_H

#include "base/topology.h"

/* What there is to say of a rank's place, the worst last. */
enum place_kind {
    PLACE_KEPT,     /* its own processors already, or the only rank that sees them */
    PLACE_SHARED,   /* ranks that see the same processors take a share of them each */
    PLACE_SIBLINGS, /* threads share cores: enough processors, but fewer cores than threads */
    PLACE_NARROW,   /* bound to fewer processors than threads, though the node has more */
    PLACE_OVERLAP,  /* ranks see different sets with processors in common */
    PLACE_CROWDED,  /* more threads on the node than processors or their time */
    PLACE_N
};

struct place {
    enum place_kind kind;
    struct cpuset cpus; /* where the rank is to run: what it sees, or its share of that */
    int threads;        /* of all ranks of the node together */
    double usable;      /* processors that they have: those they see, or the quota if less */
    int n_numa;         /* NUMA nodes that cpus lie on */
};

/* The place of rank `rank` of the n ranks of a node, each with `threads` threads. seen[n]: the
 * processors that each may use now; quota as in topology_quota. A share is whole cores with all
 * their hardware threads, next to each other, inside one NUMA node where the ranks can be dealt out
 * that way; hardware threads are shared out only when there are fewer cores than threads. Shares
 * take in all processors: what a rank has beyond its threads is for the loader, for MPI, and for
 * other jobs on the machine. PLACE_NARROW and those after it change nothing. */
void place_rank(struct place *p, const struct topology *t, const struct cpuset *seen, int n,
                int rank, int threads, double quota);

/* What is wrong and how to mend it, for people; NULL for the kinds that are well. */
const char *place_trouble(enum place_kind kind);
const char *place_fix(enum place_kind kind);

#endif
