#include "par/sumtree.h"

void sumtree_begin(struct sumtree *t, bool exact, int64_t n_micro)
{
    t->exact = exact;
    t->n_micro = n_micro;
    t->n = 0;
}

/* The left half is always whole, the right one ends with its node or with the last leaf. */
static bool are_halves(const struct sumtree *t, struct span left, struct span right)
{
    if (!t->exact)
        return true;
    int64_t half = left.end - left.first, end = left.end + half;
    bool is_node = (half & (half - 1)) == 0 && left.first % (2 * half) == 0;
    return is_node && right.end == (end < t->n_micro ? end : t->n_micro);
}

void sumtree_hold(struct sumtree *t, struct span s)
{
    t->at[t->n++] = s;
}

int sumtree_push(struct sumtree *t, struct span s)
{
    int merges = 0;
    sumtree_hold(t, s);
    for (; t->n > 1 && are_halves(t, t->at[t->n - 2], t->at[t->n - 1]); merges++) {
        t->at[t->n - 2].end = t->at[t->n - 1].end;
        t->n--;
    }
    return merges;
}
