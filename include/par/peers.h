/* Reading the memory of the other ranks on this node, where the system allows it: one copy instead
 * of the two that a message takes. Source: process_vm_readv(2). */
#ifndef CARAT_PAR_PEERS_H
#define CARAT_PAR_PEERS_H

#include "par/comm.h"
#include <stddef.h>

struct peers;

/* Tries it out between all ranks. *p is NULL on every rank when some rank cannot read another, or
 * lives on another node, or is alone: messages have to do then. Collective. E_RANK, E_MEM. */
int peers_new(struct peers **p, const struct comm *c);
void peers_free(struct peers *p);
/* to[n] = what lies at `from` in that rank's address space. Local. E_RANK. */
int peers_read(const struct peers *p, int rank, void *to, const void *from, size_t n);

#endif
