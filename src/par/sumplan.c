#include "par/sumplan.h"

static int max_of(int a, int b)
{
    return a > b ? a : b;
}

int sumplan_stack(struct sumtree *t, struct range mine, size_t i)
{
    struct span leaf = {(int64_t)(mine.first + i), (int64_t)(mine.first + i + 1)};
    if (i + 1 < mine.n)
        return sumtree_push(t, leaf);
    sumtree_hold(t, leaf);
    return 0;
}

/* Leaves on the stack what rank r ends with; returns the stack's greatest height. */
static int stack_rank(struct sumtree *t, int size, int r)
{
    struct range mine = split_even((size_t)t->n_micro, size, r);
    int height = 0;
    for (size_t i = 0; i < mine.n; i++) {
        height = max_of(height, t->n + 1);
        sumplan_stack(t, mine, i);
    }
    return height;
}

struct collector {
    struct sumplan plan;
    const struct sumlists *lists;
    struct sumtree owner; /* the whole sum */
    struct sumtree roots; /* one team's */
};

/* Adds a block or a foreign root to the whole sum. */
static void add_term(struct collector *c, struct span s)
{
    struct sumplan *p = &c->plan;
    p->n_tiles = max_of(p->n_tiles, c->owner.n + 1);
    int merges = sumtree_push(&c->owner, s);
    if (c->lists != NULL)
        c->lists->whole[p->n_received + p->n_blocks].merges = merges;
}

/* A block of this rank's team. */
static void add_block(struct collector *c, struct span s)
{
    struct sumplan *p = &c->plan;
    add_term(c, s);
    p->n_tiles = max_of(p->n_tiles, c->roots.n + 1);
    if (c->lists != NULL)
        c->lists->root_block[c->roots.n] = p->n_blocks;
    int merges = sumtree_push(&c->roots, s);
    if (c->lists != NULL)
        c->lists->part[p->n_blocks].merges = merges;
    p->n_blocks++;
}

static void collect_own(struct collector *c, const struct team *t)
{
    int first = team_first(t, team_of(t, t->rank)), n = team_size(t, team_of(t, t->rank));
    for (int i = 0; i < n; i++) {
        struct sumtree rank;
        sumtree_begin(&rank, c->owner.exact, c->owner.n_micro);
        int height = stack_rank(&rank, t->size, first + i);
        if (first + i == t->rank)
            c->plan.n_slabs = max_of(height, 1);
        if (c->lists != NULL)
            c->lists->rank_block[i] = c->plan.n_blocks;
        for (int b = 0; b < rank.n; b++)
            add_block(c, rank.at[b]);
    }
    c->plan.n_roots = c->roots.n;
    if (c->lists != NULL) {
        c->lists->rank_block[n] = c->plan.n_blocks;
        c->lists->root_block[c->roots.n] = c->plan.n_blocks;
    }
}

static void collect_other(struct collector *c, const struct team *t, int j)
{
    for (int i = 0; i < team_size(t, j); i++) {
        struct sumtree rank;
        sumtree_begin(&rank, c->owner.exact, c->owner.n_micro);
        stack_rank(&rank, t->size, team_first(t, j) + i);
        for (int b = 0; b < rank.n; b++)
            sumtree_push(&c->roots, rank.at[b]);
    }
    for (int b = 0; b < c->roots.n; b++) {
        add_term(c, c->roots.at[b]);
        c->plan.n_received++;
    }
}

struct sumplan sumplan_of(const struct team *t, bool exact, int64_t n_micro,
                          const struct sumlists *lists)
{
    struct collector c = {.lists = lists};
    int n = team_count(t), mine = team_of(t, t->rank);
    sumtree_begin(&c.owner, exact, n_micro);
    for (int j = 0; j < n; j++) {
        if (lists != NULL)
            lists->team_root[j] = c.plan.n_received;
        sumtree_begin(&c.roots, exact, n_micro);
        if (j == mine)
            collect_own(&c, t);
        else
            collect_other(&c, t, j);
    }
    if (lists != NULL)
        lists->team_root[n] = c.plan.n_received;
    return c.plan;
}
