/* However the leaves are shared out, the additions are those of one tree. */
#include "check_main.h"
#include "par/sumplan.h"

#include <string.h>

enum { M_MAX = 70, SIZE_MAX_TESTED = 9, TEXT = 1024 };

/* A sum as text, "((0+1)+2)", so that two orders compare as strings. */
struct text {
    char s[TEXT];
};

static struct text joined(const struct text *a, const struct text *b)
{
    struct text t = {""};
    size_t n = strlen(a->s), m = strlen(b->s);
    ck_assert(n + m + 4 < TEXT);
    t.s[0] = '(';
    memcpy(t.s + 1, a->s, n);
    t.s[n + 1] = '+';
    memcpy(t.s + n + 2, b->s, m);
    t.s[n + m + 2] = ')';
    return t;
}

/* The tree by its definition: node (l, j) of leaves below n. */
static struct text node(int l, int j, int n)
{
    struct text t = {""};
    if (l == 0) {
        snprintf(t.s, sizeof t.s, "%d", j);
        return t;
    }
    struct text left = node(l - 1, 2 * j, n);
    if ((2 * j + 1) << (l - 1) >= n)
        return left;
    struct text right = node(l - 1, 2 * j + 1, n);
    return joined(&left, &right);
}

static struct text whole_tree(int n)
{
    int l = 0;
    while (1 << l < n)
        l++;
    return node(l, 0, n);
}

/* Follows the stack's additions with texts. */
struct stack {
    struct text at[SUMTREE_DEPTH];
    int n;
};

static void push(struct stack *s, const struct text *t, int merges)
{
    s->at[s->n++] = *t;
    for (; merges > 0; merges--, s->n--)
        s->at[s->n - 2] = joined(&s->at[s->n - 2], &s->at[s->n - 1]);
}

/* What rank r ends with. */
static int rank_sums(struct stack *s, bool exact, int n, int size, int r)
{
    struct sumtree t;
    struct range mine = split_even((size_t)n, size, r);
    int height = 0;
    sumtree_begin(&t, exact, n);
    s->n = 0;
    for (size_t i = 0; i < mine.n; i++) {
        struct text leaf;
        snprintf(leaf.s, sizeof leaf.s, "%d", (int)(mine.first + i));
        height = s->n + 1 > height ? s->n + 1 : height;
        push(s, &leaf, sumplan_stack(&t, mine, i));
        ck_assert_int_eq(s->n, t.n);
    }
    return height;
}

/* A rank's plan, its lists' arrays included. */
struct planned {
    struct sumplan plan;
    int rank_block[SIZE_MAX_TESTED + 1], root_block[M_MAX + 1], team_root[SIZE_MAX_TESTED + 1];
    struct fold_term part[M_MAX], whole[2 * M_MAX];
};

static void plan(struct planned *p, struct team t, bool exact, int n)
{
    struct sumlists lists = {p->rank_block, p->root_block, p->part, p->team_root, p->whole};
    p->plan = sumplan_of(&t, exact, n, &lists);
}

/* The blocks of the rank's team, in order. */
static void team_blocks(struct stack *blocks, const struct planned *p, struct team t, bool exact,
                        int n)
{
    int j = team_of(&t, t.rank);
    blocks->n = 0;
    for (int i = 0; i < team_size(&t, j); i++) {
        static struct stack rank;
        int r = team_first(&t, j) + i, height = rank_sums(&rank, exact, n, t.size, r);
        ck_assert_int_eq(p->rank_block[i], blocks->n);
        if (r == t.rank)
            ck_assert_int_eq(p->plan.n_slabs, height > 1 ? height : 1);
        for (int b = 0; b < rank.n; b++)
            blocks->at[blocks->n++] = rank.at[b];
    }
    ck_assert_int_eq(p->plan.n_blocks, blocks->n);
    ck_assert_int_eq(p->rank_block[team_size(&t, j)], blocks->n);
}

/* What a team sends: its blocks added up as its first rank's plan says. */
static void team_roots(struct stack *roots, struct team t, int j, bool exact, int n)
{
    static struct planned p;
    static struct stack blocks;
    t.rank = team_first(&t, j);
    plan(&p, t, exact, n);
    team_blocks(&blocks, &p, t, exact, n);
    roots->n = 0;
    for (int i = 0; i < p.plan.n_roots; i++) {
        static struct stack one;
        one.n = 0;
        for (int b = p.root_block[i]; b < p.root_block[i + 1]; b++) {
            push(&one, &blocks.at[b], p.part[b].merges);
            ck_assert_int_le(one.n, p.plan.n_tiles);
        }
        ck_assert_int_eq(one.n, 1);
        roots->at[roots->n++] = one.at[0];
    }
    ck_assert_int_eq(p.root_block[p.plan.n_roots], blocks.n);
}

/* The sum as the owner of a piece makes it: its team's blocks and the other teams' roots. */
static struct text owners_sum(struct team t, bool exact, int n)
{
    static struct planned p;
    static struct stack owner, blocks, roots;
    int term = 0, received = 0, tiles = 0;
    plan(&p, t, exact, n);
    team_blocks(&blocks, &p, t, exact, n);
    owner.n = 0;
    for (int j = 0; j < team_count(&t); j++) {
        bool own = j == team_of(&t, t.rank);
        const struct stack *s = own ? &blocks : &roots;
        if (!own)
            team_roots(&roots, t, j, exact, n);
        ck_assert_int_eq(p.team_root[j], received);
        for (int i = 0; i < s->n; i++) {
            tiles = owner.n + 1 > tiles ? owner.n + 1 : tiles;
            push(&owner, &s->at[i], p.whole[term++].merges);
        }
        received += own ? 0 : s->n;
    }
    ck_assert_int_eq(p.plan.n_received, received);
    ck_assert_int_le(tiles, p.plan.n_tiles);
    ck_assert_int_eq(owner.n, 1);
    return owner.at[0];
}

/* The sum of the last rank, in one team. */
static struct text planned_sum(bool exact, int n, int size)
{
    struct team t = {.size = size, .per = size, .rank = size - 1};
    return owners_sum(t, exact, n);
}

START_TEST(every_sharing_gives_the_tree)
{
    for (int n = 1; n <= M_MAX; n++) {
        struct text want = whole_tree(n);
        for (int size = 1; size <= SIZE_MAX_TESTED; size += n < 20 ? 1 : 3)
            for (int per = 1; per <= size; per++)
                for (int rank = 0; rank < size; rank += per) {
                    struct team t = {.size = size, .per = per, .rank = rank};
                    ck_assert_str_eq(owners_sum(t, true, n).s, want.s);
                }
    }
}
END_TEST

START_TEST(the_tree_is_the_one_described)
{
    ck_assert_str_eq(planned_sum(true, 1, 1).s, "0");
    ck_assert_str_eq(planned_sum(true, 3, 2).s, "((0+1)+2)");
    ck_assert_str_eq(planned_sum(true, 7, 3).s, "(((0+1)+(2+3))+((4+5)+6))");
}
END_TEST

START_TEST(fast_sums_by_rank)
{
    struct team apart = {.size = 2, .per = 1, .rank = 0};
    ck_assert_str_eq(planned_sum(false, 6, 2).s, "((((0+1)+2)+(3+4))+5)");
    ck_assert_str_eq(owners_sum(apart, false, 6).s, "(((0+1)+2)+((3+4)+5))");
    ck_assert_str_eq(planned_sum(false, 5, 1).s, "((((0+1)+2)+3)+4)");
    ck_assert_str_eq(planned_sum(false, 2, 4).s, "(0+1)");
}
END_TEST

static int slabs(bool exact, int64_t n, int size, int r)
{
    struct team t = {.size = size, .per = size, .rank = r};
    return sumplan_of(&t, exact, n, NULL).n_slabs;
}

START_TEST(slabs_grow_with_the_logarithm)
{
    /* Aligned ranges of 1, 2, 4 and 8: one slab, and one more with each doubling. */
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(slabs(true, 4 << i, 4, 3), i + 1);
    ck_assert_int_eq(slabs(true, 1 << 20, 1, 0), 21);
    ck_assert_int_eq(slabs(false, 1 << 20, 1, 0), 2);
    ck_assert_int_eq(slabs(false, 4, 4, 1), 1);
    ck_assert_int_eq(slabs(true, 2, 4, 0), 1); /* for the sum */
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, every_sharing_gives_the_tree);
    tcase_add_test(t, the_tree_is_the_one_described);
    tcase_add_test(t, fast_sums_by_rank);
    tcase_add_test(t, slabs_grow_with_the_logarithm);
}

int main(void)
{
    return run_suite("par/sumtree", add);
}
