/* Every float has one owner, shards are even, and pieces begin at whole blocks. */
#include "check_main.h"
#include "par/shard.h"

#include <string.h>

#define B SHARD_BLOCK

static const struct {
    size_t n, bucket_bytes;
} slab[] = {
    {0, 1},
    {1, 1},
    {B, 1},
    {B + 1, 1},
    {10 * B, 12 * B},
    {10 * B - 1, 4 * B * 4},
    {33 * B + 7, 4},
    {33 * B + 7, 7 * B * 4},
    {100 * B + 1, 16 * B * 4 + 1},
    {5 * B, (size_t)1 << 40},
};
static const int sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 16, 100};

#define N_OF(a) (sizeof(a) / sizeof(a)[0])

static void for_each_case(void (*test)(const struct shard *s))
{
    for (size_t i = 0; i < N_OF(slab); i++)
        for (size_t j = 0; j < N_OF(sizes); j++) {
            struct shard s;
            shard_init(&s, slab[i].n, slab[i].bucket_bytes, sizes[j], sizes[j] / 2);
            test(&s);
        }
}

static void buckets_cover(const struct shard *s)
{
    size_t at = 0;
    ck_assert_uint_eq(s->all.bucket % B, 0);
    for (int k = 0; k < s->n_buckets; k++) {
        struct range b = shard_bucket(s, k);
        ck_assert_uint_eq(b.first, at);
        ck_assert_uint_gt(b.n, 0);
        at += b.n;
    }
    ck_assert_uint_eq(at, s->n);
}

START_TEST(buckets_cover_the_slab)
{
    for_each_case(buckets_cover);
    struct shard s;
    shard_init(&s, 10 * B, 2 * B * sizeof(float) + 1, 2, 0);
    ck_assert_uint_eq(s.all.bucket, 2 * B);
    shard_init(&s, 10 * B, 2 * B * sizeof(float) + 4, 2, 0);
    ck_assert_uint_eq(s.all.bucket, 3 * B);
}
END_TEST

/* In rank order the pieces of a bucket follow each other without gap or overlap. */
static void pieces_cover(const struct shard *s)
{
    for (int k = 0; k < s->n_buckets; k++) {
        struct range b = shard_bucket(s, k);
        size_t at = b.first;
        for (int r = 0; r < s->size; r++) {
            struct range p = shard_piece(s, k, r);
            ck_assert_uint_eq(p.first, at);
            if (p.n > 0)
                ck_assert_uint_eq(p.first % B, 0);
            at += p.n;
        }
        ck_assert_uint_eq(at, b.first + b.n);
    }
}

START_TEST(pieces_cover_each_bucket_once)
{
    for_each_case(pieces_cover);
}
END_TEST

static void offsets_add_up(const struct shard *s)
{
    for (int r = 0; r < s->size; r++) {
        size_t at = 0;
        for (int k = 0; k < s->n_buckets; k++) {
            ck_assert_uint_eq(shard_offset(s, k, r), at);
            at += shard_piece(s, k, r).n;
        }
        ck_assert_uint_eq(shard_count(s, r), at);
    }
}

START_TEST(offsets_are_the_sums_of_pieces)
{
    for_each_case(offsets_add_up);
}
END_TEST

static void shards_are_even(const struct shard *s)
{
    size_t least = s->n, most = 0;
    for (int r = 0; r < s->size; r++) {
        size_t n = shard_count(s, r);
        least = n < least ? n : least;
        most = n > most ? n : most;
    }
    /* One block from dealing, and one where the slab's last block is short. */
    ck_assert_uint_le(most, least + 2 * B);
}

START_TEST(shards_differ_by_a_block)
{
    for_each_case(shards_are_even);
}
END_TEST

struct visits {
    const struct shard *s;
    size_t at;
    int k;
};

static void check_visit(void *ctx, struct range p, size_t at)
{
    struct visits *v = ctx;
    ck_assert_uint_eq(at, v->at);
    while (shard_piece(v->s, v->k, v->s->rank).n == 0)
        v->k++;
    ck_assert_uint_eq(p.first, shard_piece(v->s, v->k, v->s->rank).first);
    ck_assert_uint_gt(p.n, 0);
    v->at += p.n;
    v->k++;
}

static void visits_pieces(const struct shard *s)
{
    struct visits v = {.s = s};
    shard_each(s, check_visit, &v);
    ck_assert_uint_eq(v.at, shard_count(s, s->rank));
}

START_TEST(each_visits_this_ranks_pieces_in_order)
{
    for_each_case(visits_pieces);
}
END_TEST

START_TEST(splits_are_even_and_in_order)
{
    static const size_t count[] = {0, 1, 2, 7, 64, 1000, ((size_t)1 << 62) + 3};
    for (size_t i = 0; i < N_OF(count); i++)
        for (size_t j = 0; j < N_OF(sizes); j++) {
            size_t at = 0, even = count[i] / (size_t)sizes[j];
            for (int r = 0; r < sizes[j]; r++) {
                struct range p = split_even(count[i], sizes[j], r);
                ck_assert_uint_eq(p.first, at);
                ck_assert(p.n == even || p.n == even + 1);
                at += p.n;
            }
            ck_assert_uint_eq(at, count[i]);
        }
    /* 5 items on 3 ranks: floor(5·r/3) = 0, 1, 3, 5. */
    ck_assert_uint_eq(split_even(5, 3, 1).first, 1);
    ck_assert_uint_eq(split_even(5, 3, 2).first, 3);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, buckets_cover_the_slab);
    tcase_add_test(t, pieces_cover_each_bucket_once);
    tcase_add_test(t, offsets_are_the_sums_of_pieces);
    tcase_add_test(t, shards_differ_by_a_block);
    tcase_add_test(t, each_visits_this_ranks_pieces_in_order);
    tcase_add_test(t, splits_are_even_and_in_order);
}

int main(void)
{
    return run_suite("par/shard", add);
}
