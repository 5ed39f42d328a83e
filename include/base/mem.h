/* Memory: aligned, labelled, counted allocations, and arenas that are cut from one of them.
 *
 * The counts let a test hold that a training step allocates nothing, and let the program report
 * its peak beside the plan's prediction. */
#ifndef CARAT_BASE_MEM_H
#define CARAT_BASE_MEM_H

#include <stddef.h>

#define MEM_ALIGN 64

/* n × size bytes, aligned to MEM_ALIGN, zeroed; *out is NULL when n or size is 0. The label is
 * kept by reference (a literal) and named in the error. E_MEM on overflow or when out of memory.
 * Free with mem_free. */
int mem_alloc(void *out, size_t n, size_t size, const char *label);
void mem_free(void *p);
/* Takes a pointer to the pointer, frees and clears it. */
#define MEM_FREE(p) (mem_free(p), (p) = NULL)

/* Counts memory that comes from elsewhere, such as a window shared with other processes, as held,
 * and no more as held. */
void mem_count_in(size_t bytes);
void mem_count_out(size_t bytes);

/* Allocations made so far, bytes held now, and the most ever held. */
size_t mem_n_allocs(void);
size_t mem_bytes(void);
size_t mem_peak_bytes(void);

/* A stack of scratch memory cut from one allocation. */
struct arena {
    char *base;
    size_t size, used, peak; /* bytes */
};

/* E_MEM when there is no room. */
int arena_init(struct arena *a, size_t bytes, const char *label);
void arena_release(struct arena *a);
/* n × size bytes, aligned to MEM_ALIGN, not cleared. An arena is sized from tables beforehand, so
 * running out is a bug: fatal(E_BUG). */
void *arena_push(struct arena *a, size_t n, size_t size);
/* Marks and returns to a depth: everything pushed since is given back. */
size_t arena_mark(const struct arena *a);
void arena_pop(struct arena *a, size_t mark);
/* Bytes that a push of n × size takes with its alignment: for sizing tables. */
size_t arena_need(size_t n, size_t size);

#endif
