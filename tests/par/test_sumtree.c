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
        push(s, &leaf, sumplan_stack(&t, mine, i, size));
        ck_assert_int_eq(s->n, t.n);
    }
    return height;
}

/* All ranks' sums put together as the plan says; checks the plan's figures. */
static struct text planned_sum(bool exact, int n, int size)
{
    static struct stack owner, rank;
    static struct fold_term term[M_MAX];
    int first[SIZE_MAX_TESTED + 1], tiles = 0, rounds = 0;
    owner.n = 0;
    for (int r = 0; r < size; r++) {
        struct shard s;
        shard_init(&s, 1, 1, size, r);
        struct sumplan p = sumplan_of(&s, exact, n, first, term);
        ck_assert_int_eq(p.n_slabs, rank_sums(&rank, exact, n, size, r));
        ck_assert_int_eq(rank.n, first[r + 1] - first[r]);
        ck_assert_int_eq(p.n_blocks, first[size]);
        ck_assert_int_eq(p.n_received, p.n_blocks - rank.n);
        rounds = rank.n > rounds ? rank.n : rounds;
        for (int i = 0; i < rank.n; i++) {
            tiles = owner.n + 1 > tiles ? owner.n + 1 : tiles;
            push(&owner, &rank.at[i], term[first[r] + i].merges);
        }
        if (r + 1 == size) {
            ck_assert_int_eq(p.n_tiles, tiles);
            ck_assert_int_eq(p.n_rounds, size > 1 ? rounds : 0);
        }
    }
    ck_assert_int_eq(owner.n, 1);
    return owner.at[0];
}

START_TEST(every_sharing_gives_the_tree)
{
    for (int n = 1; n <= M_MAX; n++) {
        struct text want = whole_tree(n);
        for (int size = 1; size <= SIZE_MAX_TESTED; size++)
            ck_assert_str_eq(planned_sum(true, n, size).s, want.s);
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
    ck_assert_str_eq(planned_sum(false, 6, 2).s, "(((0+1)+2)+((3+4)+5))");
    ck_assert_str_eq(planned_sum(false, 5, 1).s, "((((0+1)+2)+3)+4)");
    ck_assert_str_eq(planned_sum(false, 2, 4).s, "(0+1)");
}
END_TEST

static int slabs(bool exact, int64_t n, int size, int r)
{
    struct shard s;
    shard_init(&s, 1, 1, size, r);
    return sumplan_of(&s, exact, n, NULL, NULL).n_slabs;
}

START_TEST(slabs_grow_with_the_logarithm)
{
    /* Aligned ranges of 1, 2, 4 and 8: one slab, and one more with each doubling. */
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(slabs(true, 4 << i, 4, 3), i + 1);
    ck_assert_int_eq(slabs(true, 1 << 20, 1, 0), 21);
    ck_assert_int_eq(slabs(false, 1 << 20, 1, 0), 2);
    ck_assert_int_eq(slabs(false, 4, 4, 1), 1);
    ck_assert_int_eq(slabs(true, 2, 4, 0), 0);
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
