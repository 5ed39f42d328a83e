/* Memory brought into the cache while products run on something else: heads' rows lie so far apart
 * that the machine does not guess them, and nothing but products is slow enough to hide the wait.
 */
#ifndef CARAT_SRC_KERN_ATTN_AHEAD_H
#define CARAT_SRC_KERN_ATTN_AHEAD_H

#include <stddef.h>

enum {
    MOST_PIECES = 6,
    LINE = 64,
    LINES_AT_A_TIME = 16, /* more would make the product wait */
};

/* n rows of so many bytes, `stride` bytes apart. */
struct piece {
    const char *at;
    size_t stride, bytes, n;
};

struct ahead {
    struct piece piece[MOST_PIECES]; /* the last one comes first */
    size_t n;
    size_t done; /* bytes of its first row */
};

static inline void ahead_add(struct ahead *a, struct piece p)
{
    if (p.n > 0 && a->n < MOST_PIECES)
        a->piece[a->n++] = p;
    a->done = 0;
}

/* Asks for a few lines; called once a micro tile. */
static inline void ahead_step(struct ahead *a)
{
    size_t left = LINES_AT_A_TIME * LINE;
    while (left > 0 && a->n > 0) {
        struct piece *p = &a->piece[a->n - 1];
        size_t end = a->done + left < p->bytes ? a->done + left : p->bytes;
        for (size_t i = a->done; i < end; i += LINE)
            __builtin_prefetch(p->at + i);
        left -= end - a->done < left ? end - a->done : left;
        a->done = end;
        if (end < p->bytes)
            continue;
        a->done = 0;
        p->at += p->stride;
        a->n -= --p->n == 0;
    }
}

#endif
