/* Binds the ranks of a node to processors of their own, as par/place.h deals them out. To be done
 * before the large allocations, whose pages lie where they are first written, and before libraries
 * start their threads, which inherit the binding. No result depends on it. */
#ifndef CARAT_PAR_PIN_H
#define CARAT_PAR_PIN_H

#include "par/comm.h"
#include "par/place.h"

struct pin {
    struct place place;    /* of this rank */
    enum place_kind worst; /* of all ranks */
    bool bound;            /* this rank was bound here */
};

/* threads: of each rank; bind false: looks only. Open MPI binds one or two ranks to a core each
 * when nothing is said; a rank with more threads takes back what mpirun itself may use, unless a
 * policy was asked for. Collective. E_RANK, E_MEM. */
int pin_ranks(struct pin *p, const struct comm *c, int threads, bool bind);

#endif
