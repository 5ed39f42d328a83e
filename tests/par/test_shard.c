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

/* ---- zones ---- */

/* Rows, whole matrices between them, a zone of less than a block, and gaps that are nobody's. */
static const struct shard_zone zone_set[] = {
    {.first = 16, .n = 30 * B + 5, .unit = B},     {.first = 31 * B, .n = 7 * B + 100, .unit = 0},
    {.first = 39 * B, .n = 10, .unit = B},         {.first = 39 * B + 16, .n = 20 * B, .unit = 0},
    {.first = 60 * B + 32, .n = 3 * B, .unit = 0}, {.first = 64 * B, .n = 40 * B, .unit = 6 * B},
    {.first = 110 * B, .n = 2 * B + 1, .unit = 0},
};
enum { N_ZONES = N_OF(zone_set), ZONES_END = 120 * B };

static void for_each_deal(void (*test)(const struct shard *s))
{
    static const size_t bucket_bytes[] = {1, 4 * B * 4, 10 * B * 4, (size_t)1 << 30};
    for (size_t i = 0; i < N_OF(bucket_bytes); i++)
        for (size_t j = 0; j < N_OF(sizes); j++) {
            struct shard_zone zones[N_ZONES];
            struct shard s;
            memcpy(zones, zone_set, sizeof zones);
            ck_assert_int_eq(shard_deal(zones, N_ZONES, bucket_bytes[i], sizes[j]), 0);
            shard_init_zones(&s, ZONES_END, zones, N_ZONES, sizes[j], sizes[j] / 2);
            test(&s);
            shard_init_zones(&s, ZONES_END, zones, N_ZONES, 1, 0);
            test(&s);
        }
}

/* Every float of a zone has one owner, others have none. */
static void zones_are_owned(const struct shard *s)
{
    static unsigned char owners[ZONES_END];
    size_t owned = 0;
    memset(owners, 0, sizeof owners);
    for (int k = 0; k < s->n_buckets; k++)
        for (int r = 0; r < s->size; r++) {
            struct range p = shard_piece(s, k, r);
            ck_assert_uint_le(p.n, shard_piece_most(s));
            for (size_t i = p.first; i < p.first + p.n; i++)
                owners[i]++;
        }
    for (size_t z = 0; z < N_ZONES; z++) {
        for (size_t i = zone_set[z].first; i < zone_set[z].first + zone_set[z].n; i++)
            owned += owners[i] == 1;
        ck_assert(shard_holds(s, zone_set[z].first, zone_set[z].n));
    }
    ck_assert_uint_eq(owned, shard_total(s));
    for (size_t i = 0; i < ZONES_END; i++)
        owned -= owners[i];
    ck_assert_uint_eq(owned, 0);
    ck_assert(!shard_holds(s, 0, 16) && !shard_holds(s, 31 * B - 5, 5));
}

static void zones_are_cut_by_units(const struct shard *s)
{
    for (int k = 0; k < s->n_buckets; k++) {
        const struct shard_zone *z = shard_zone_of(s, k);
        struct range b = shard_bucket(s, k);
        int owners = 0;
        ck_assert(b.first >= z->first && b.first + b.n <= z->first + z->n);
        ck_assert_uint_eq((b.first - z->first) % B, 0);
        for (int r = 0; r < s->size; r++) {
            struct range p = shard_piece(s, k, r);
            owners += p.n > 0;
            if (p.n > 0 && z->unit > 0)
                ck_assert_uint_eq((p.first - z->first) % z->unit, 0);
        }
        if (z->unit == 0)
            ck_assert_int_eq(owners, 1);
        ck_assert_int_eq(shard_bucket_from(s, b.first), k);
        ck_assert_int_eq(shard_bucket_from(s, b.first + 1), k + 1);
    }
    ck_assert_int_eq(shard_bucket_from(s, 0), 0);
}

struct zone_visits {
    const struct shard *s;
    size_t at, end;
};

static void check_zone_visit(void *ctx, struct range p, size_t at)
{
    struct zone_visits *v = ctx;
    ck_assert_uint_eq(at, v->at);
    ck_assert_uint_ge(p.first, v->end);
    for (size_t z = 0; z < N_ZONES; z++)
        if (zone_set[z].unit == 0 && p.first >= zone_set[z].first &&
            p.first < zone_set[z].first + zone_set[z].n)
            ck_assert(p.first == zone_set[z].first && p.n == zone_set[z].n);
    v->at += p.n;
    v->end = p.first + p.n;
}

static void zones_are_visited(const struct shard *s)
{
    struct zone_visits v = {.s = s};
    shard_each(s, check_zone_visit, &v);
    ck_assert_uint_eq(v.at, shard_count(s, s->rank));
}

START_TEST(zones_have_owners_and_gaps_have_none)
{
    for_each_deal(zones_are_owned);
    for_each_deal(zones_are_cut_by_units);
    for_each_deal(offsets_add_up);
    for_each_deal(zones_are_visited);
}
END_TEST

/* Largest first to who has least: 20, 7+, 3 and 2+ blocks on two, three and four ranks. */
START_TEST(whole_zones_are_dealt_evenly)
{
    static const size_t most[] = {[2] = 20 * B, [3] = 20 * B, [4] = 20 * B};
    for (int size = 2; size <= 4; size++) {
        struct shard_zone zones[N_ZONES];
        size_t load[4] = {0};
        memcpy(zones, zone_set, sizeof zones);
        ck_assert_int_eq(shard_deal(zones, N_ZONES, 1, size), 0);
        for (size_t z = 0; z < N_ZONES; z++)
            if (zones[z].unit == 0)
                load[zones[z].from] += zones[z].n;
        for (int r = 0; r < size; r++) {
            ck_assert_uint_le(load[r], most[size]);
            ck_assert_uint_gt(load[r], 0);
        }
    }
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
    tcase_add_test(t, zones_have_owners_and_gaps_have_none);
    tcase_add_test(t, whole_zones_are_dealt_evenly);
    tcase_add_test(t, splits_are_even_and_in_order);
}

int main(void)
{
    return run_suite("par/shard", add);
}
