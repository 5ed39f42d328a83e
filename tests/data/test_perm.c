/* The permutation is a bijection for every length, differs between keys, and stays what it is:
 * a run that is resumed next year must see the same order. */
#include "base/mem.h"
#include "check_main.h"
#include "data/perm.h"

#include <math.h>
#include <string.h>

static void is_bijection(uint64_t seed, uint64_t epoch, uint64_t n)
{
    char *seen;
    uint64_t outside = 0, twice = 0;
    ck_assert_int_eq(mem_alloc(&seen, n, 1, "seen"), 0);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t to = perm_at(seed, epoch, n, i);
        outside += to >= n;
        twice += to < n && seen[to]++;
    }
    ck_assert_msg(outside + twice == 0, "n %llu: %llu outside, %llu twice", (unsigned long long)n,
                  (unsigned long long)outside, (unsigned long long)twice);
    mem_free(seen);
}

START_TEST(small_lengths)
{
    for (uint64_t n = 1; n <= 300; n++)
        for (uint64_t seed = 0; seed < 3; seed++)
            is_bijection(seed, n % 5, n);
}
END_TEST

START_TEST(lengths_around_powers)
{
    static const uint64_t n[] = {1023, 1024, 1025, 4095, 4096, 4097, 16384, 16385, 65535, 100003};
    for (size_t i = 0; i < sizeof n / sizeof n[0]; i++)
        is_bijection(12345, i, n[i]);
}
END_TEST

/* A large domain cannot be walked through; no two of many values may meet, and all lie inside. */
static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

START_TEST(large_lengths)
{
    enum { SPOTS = 20000 };
    static uint64_t to[SPOTS];
    static const uint64_t n[] = {1ull << 40, (1ull << 40) + 1, (1ull << 40) - 1, UINT64_MAX,
                                 1ull << 63};
    for (size_t k = 0; k < sizeof n / sizeof n[0]; k++) {
        for (uint64_t i = 0; i < SPOTS; i++) {
            uint64_t from = i < SPOTS / 2 ? i : n[k] - 1 - i;
            to[i] = perm_at(7, 1, n[k], from);
            ck_assert_uint_lt(to[i], n[k]);
        }
        qsort(to, SPOTS, sizeof *to, compare);
        for (int i = 1; i < SPOTS; i++)
            ck_assert_uint_ne(to[i - 1], to[i]);
    }
}
END_TEST

/* Two random permutations agree in one place on the average (variance 1): a sum over PAIRS is
 * below its mean plus 6 standard deviations but for a chance of 1e-9. */
static void keys_differ(uint64_t seed_step, uint64_t epoch_step)
{
    enum { N = 2048, PAIRS = 64 };
    double agree = 0;
    for (uint64_t p = 0; p < PAIRS; p++)
        for (uint64_t i = 0; i < N; i++)
            agree += perm_at(p, p, N, i) == perm_at(p + seed_step, p + epoch_step, N, i);
    ck_assert_double_le(agree, PAIRS + 6 * sqrt(PAIRS));
}

START_TEST(neighbouring_keys_differ)
{
    keys_differ(1, 0);
    keys_differ(0, 1);
    keys_differ(1ull << 63, 0);
}
END_TEST

/* Neighbours must not stay neighbours, and positions must not hint at values: the correlation of N
 * random pairs is within 6/sqrt(N). */
START_TEST(order_is_lost)
{
    enum { N = 50000 };
    double sum = 0, mean = (N - 1) / 2.0, variance = ((double)N * N - 1) / 12;
    int neighbours = 0;
    for (uint64_t i = 0; i < N; i++) {
        uint64_t to = perm_at(3, 0, N, i);
        sum += ((double)i - mean) * ((double)to - mean) / variance;
        neighbours += i > 0 && to == perm_at(3, 0, N, i - 1) + 1;
    }
    ck_assert_double_le(fabs(sum / N), 6 / sqrt(N));
    ck_assert_int_le(neighbours, 7); /* one is expected */
}
END_TEST

/* All orders of three come up about equally: 600 keys, 6 orders, chi-square with 5 degrees of
 * freedom below its 1 - 1e-6 quantile. */
START_TEST(small_orders_are_even)
{
    enum { KEYS = 600 };
    const double LIMIT = 35.9;
    int count[27] = {0};
    for (uint64_t key = 0; key < KEYS; key++)
        count[perm_at(key, 0, 3, 0) * 9 + perm_at(key, 0, 3, 1) * 3 + perm_at(key, 0, 3, 2)]++;
    double chi = 0;
    int orders = 0;
    for (int i = 0; i < 27; i++) {
        orders += count[i] > 0;
        if (count[i] > 0)
            chi += pow(count[i] - KEYS / 6.0, 2) / (KEYS / 6.0);
    }
    ck_assert_int_eq(orders, 6);
    ck_assert_double_le(chi, LIMIT);
}
END_TEST

START_TEST(the_order_never_changes)
{
    static const uint64_t want[] = {591, 856, 825, 842, 958, 253, 80, 533};
    for (uint64_t i = 0; i < sizeof want / sizeof want[0]; i++)
        ck_assert_uint_eq(perm_at(42, 3, 1000, i), want[i]);
    ck_assert_uint_eq(perm_at(42, 3, 1ull << 40, 123456789), 241129812487ull);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, small_lengths);
    tcase_add_test(t, lengths_around_powers);
    tcase_add_test(t, large_lengths);
    tcase_add_test(t, neighbouring_keys_differ);
    tcase_add_test(t, order_is_lost);
    tcase_add_test(t, small_orders_are_even);
    tcase_add_test(t, the_order_never_changes);
}

int main(void)
{
    return run_suite("data/perm", add);
}
