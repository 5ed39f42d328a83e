/* Root works alone and the others wait for it, for longer than a watchdog would let them: now and
 * then it tells them that it still works. */
#ifndef CARAT_PAR_VIGIL_H
#define CARAT_PAR_VIGIL_H

#include "par/comm.h"

struct vigil {
    const struct comm *c;
    double told_s; /* when the others heard last */
    int rc;
};

/* Root begins. Local. */
void vigil_begin(struct vigil *v, const struct comm *c);
/* Root, as often as it likes: the others hear of it every few seconds. */
void vigil_still(void *vigil);
/* Root is done, and the others go on. E_RANK. */
int vigil_end(struct vigil *v);
/* The others, meanwhile; each word of root's is progress of their own (base/watch.h). E_RANK. */
int vigil_wait(const struct comm *c);

#endif
