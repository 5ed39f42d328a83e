/* The order of a sum over micro-batches, as a stack of partial sums: pure arithmetic.
 *
 * Each partial sum covers a span of micro-batches. A new one goes on top of the stack; while the
 * two topmost are the halves of one node of the tree, they are added, left + right, and become one.
 */
#ifndef CARAT_PAR_SUMTREE_H
#define CARAT_PAR_SUMTREE_H

#include <stdbool.h>
#include <stdint.h>

/* Of a range of 2^40 micro-batches the stack holds at most 79 nodes and the newest. */
#define SUMTREE_DEPTH 80
#define SUMTREE_MAX   ((int64_t)1 << 40)

struct span {
    int64_t first, end;
};

struct sumtree {
    bool exact;      /* else: one running sum, in the order of arrival */
    int64_t n_micro; /* leaves of the whole tree */
    int n;           /* partial sums on the stack */
    struct span at[SUMTREE_DEPTH];
};

void sumtree_begin(struct sumtree *t, bool exact, int64_t n_micro);
/* Puts the span that follows on top; returns how many additions of the two topmost follow. */
int sumtree_push(struct sumtree *t, struct span s);
/* The same without additions: the newest span stays by itself. */
void sumtree_hold(struct sumtree *t, struct span s);

#endif
