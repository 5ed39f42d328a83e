#include "par/sumplan.h"

static int max_of(int a, int b)
{
    return a > b ? a : b;
}

int sumplan_stack(struct sumtree *t, struct range mine, size_t i, int size)
{
    struct span leaf = {(int64_t)(mine.first + i), (int64_t)(mine.first + i + 1)};
    if (size > 1 || i + 1 < mine.n)
        return sumtree_push(t, leaf);
    sumtree_hold(t, leaf);
    return 0;
}

/* Leaves on the stack what rank r ends with; returns the stack's greatest height. */
static int stack_rank(struct sumtree *t, const struct shard *s, int r)
{
    struct range mine = split_even((size_t)t->n_micro, s->size, r);
    int height = 0;
    for (size_t i = 0; i < mine.n; i++) {
        height = max_of(height, t->n + 1);
        sumplan_stack(t, mine, i, s->size);
    }
    return height;
}

/* Adds a rank's blocks to the owner's sum. */
static void collect(struct sumplan *p, struct sumtree *owner, const struct sumtree *rank,
                    struct fold_term *term)
{
    for (int i = 0; i < rank->n; i++) {
        p->n_tiles = max_of(p->n_tiles, owner->n + 1);
        int merges = sumtree_push(owner, rank->at[i]);
        if (term != NULL)
            term[p->n_blocks].merges = merges;
        p->n_blocks++;
    }
}

struct sumplan sumplan_of(const struct shard *s, bool exact, int64_t n_micro, int *first_block,
                          struct fold_term *term)
{
    struct sumplan p = {0};
    struct sumtree owner, rank;
    sumtree_begin(&owner, exact, n_micro);
    for (int r = 0; r < s->size; r++) {
        if (first_block != NULL)
            first_block[r] = p.n_blocks;
        sumtree_begin(&rank, exact, n_micro);
        int height = stack_rank(&rank, s, r);
        collect(&p, &owner, &rank, term);
        if (r == s->rank)
            p.n_slabs = height;
        else
            p.n_received += rank.n;
        if (s->size > 1)
            p.n_rounds = max_of(p.n_rounds, rank.n);
    }
    if (first_block != NULL)
        first_block[s->size] = p.n_blocks;
    return p;
}

struct sumplan sumplan_max(const struct sumplan *a, const struct sumplan *b)
{
    return (struct sumplan){
        .n_slabs = max_of(a->n_slabs, b->n_slabs),
        .n_received = max_of(a->n_received, b->n_received),
        .n_blocks = max_of(a->n_blocks, b->n_blocks),
        .n_rounds = max_of(a->n_rounds, b->n_rounds),
        .n_tiles = max_of(a->n_tiles, b->n_tiles),
    };
}
