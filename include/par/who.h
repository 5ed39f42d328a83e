/* Names ranks for people: "ranks 0-63 on node1, rank 70 on node2". */
#ifndef CARAT_PAR_WHO_H
#define CARAT_PAR_WHO_H

#include "par/comm.h"

/* Those ranks of c that say `me`, with their hosts, into text[size] on every rank; "no rank" where
 * none does. A long list is cut at whole entries and ends in " and others". Collective. E_RANK,
 * E_MEM. */
int who(char *text, size_t size, const struct comm *c, bool me);

#endif
