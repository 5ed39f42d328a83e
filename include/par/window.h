/* Memory that the ranks of a team share: each reads and writes the others' parts in place. Source:
 * MPI 3.1, 11.2.3 (MPI_Win_allocate_shared).
 *
 * It lives in /dev/shm, which containers often make small; a page that finds no room there ends the
 * process by a signal. So room is asked for first, and who gets none does without teams. */
#ifndef CARAT_PAR_WINDOW_H
#define CARAT_PAR_WINDOW_H

#include "base/mem.h"
#include "par/comm.h"
#include <stddef.h>

struct window;

/* Whether every node has room for windows with this many bytes for this rank; a warning says where
 * not, and what it is for. True where no team has two ranks. Collective. E_RANK. */
int window_fits(bool *fits, const struct comm *c, size_t bytes, const char *what);
/* A part of `bytes` bytes (may be 0) for each rank of the team, aligned to MEM_ALIGN; for a team of
 * one, plain memory. The first to write a page decides on which part of the node it lies.
 * Collective. E_RANK, E_MEM. */
int window_new(struct window **w, const struct comm *c, size_t bytes, const char *what);
/* Bytes that window_new holds on one rank of such teams: for plans. */
size_t window_bytes(const struct team *t, size_t bytes);
/* Collective over the team. NULL is allowed. */
void window_free(struct window *w);
/* The part of the team's i-th rank; NULL where it has no bytes. Local. */
void *window_part(const struct window *w, int i);
/* All ranks of the team come to this point, and what each wrote before is seen by all after it.
 * Collective over the team. E_RANK. */
int window_meet(const struct comm *c);

#endif
