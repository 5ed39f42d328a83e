/* The look-up and its gradient, with repeated tokens. */
#include "check_main.h"
#include "kern/embed.h"
#include "ref/ref.h"

/* One product; sums over a token repeated up to 257 times. */
#define FWD_TOLERANCE 1e-7
#define BWD_TOLERANCE 5e-6

static void compare(size_t n, size_t D, uint32_t V)
{
    float *table = ref_random(V * D, 1, 1.0), *dx = ref_random(n * D, 2, 1.0);
    float *x = ref_floats(n * D), *dtable = ref_random(V * D, 3, 1.0);
    int32_t *token = ref_random_ints(n, 4, V);
    double *table64 = ref_widen(table, V * D), *dx64 = ref_widen(dx, n * D);
    double *x64 = ref_doubles(n * D), *dtable64 = ref_widen(dtable, V * D);
    embed_fwd(x, table, token, n, D, 2.5f);
    embed_bwd(dtable, dx, token, n, D, 2.5f);
    ref_embed_fwd(x64, table64, token, n, D, 2.5);
    ref_embed_bwd(dtable64, dx64, token, n, D, 2.5);
    ck_assert_double_lt(ref_distance(x, x64, n * D), FWD_TOLERANCE);
    ck_assert_double_lt(ref_distance(dtable, dtable64, V * D), BWD_TOLERANCE);
    free(table), free(dx), free(x), free(dtable), free(token);
    free(table64), free(dx64), free(x64), free(dtable64);
}

START_TEST(follows_the_twin)
{
    for (size_t i = 0; i < ref_n_sizes; i++) {
        compare(37, ref_sizes[i], 5); /* every token many times */
        compare(ref_sizes[i], 3, 1);
        compare(ref_sizes[i], 16, 1000);
    }
}
END_TEST

/* dx · embed(table) = embed'(dx) · table: the twin's backward is its transpose. */
START_TEST(twin_is_its_transpose)
{
    enum { N = 9, D = 4, V = 6 };
    double *table = ref_random_double(V * D, 1, 1.0), *dx = ref_random_double(N * D, 2, 1.0);
    double *x = ref_doubles(N * D), *dtable = ref_doubles(V * D), a = 0.0, b = 0.0;
    int32_t *token = ref_random_ints(N, 3, V);
    ref_embed_fwd(x, table, token, N, D, 3.0);
    ref_embed_bwd(dtable, dx, token, N, D, 3.0);
    for (size_t i = 0; i < N * D; i++)
        a += dx[i] * x[i];
    for (size_t i = 0; i < V * D; i++)
        b += dtable[i] * table[i];
    ck_assert_double_lt(a > b ? a - b : b - a, 1e-12);
    ck_assert(a != 0.0);
    free(table), free(dx), free(x), free(dtable), free(token);
}
END_TEST

/* The wrong row, and an overwritten sum, show. */
START_TEST(takes_the_row_and_adds)
{
    const float table[6] = {1, 2, 3, 4, 5, 6};
    const int32_t token[3] = {2, 0, 2};
    float x[6], dtable[6] = {10, 10, 10, 10, 10, 10};
    embed_fwd(x, table, token, 3, 2, 2.0f);
    ck_assert(x[0] == 10 && x[1] == 12 && x[2] == 2 && x[3] == 4 && x[4] == 10 && x[5] == 12);
    embed_bwd(dtable, table, token, 3, 2, 2.0f);
    ck_assert(dtable[0] == 16 && dtable[1] == 18 && dtable[2] == 10 && dtable[3] == 10);
    ck_assert(dtable[4] == 22 && dtable[5] == 26);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, twin_is_its_transpose);
    tcase_add_test(t, follows_the_twin);
    tcase_add_test(t, takes_the_row_and_adds);
}

int main(void)
{
    return run_suite("kern/embed", add);
}
