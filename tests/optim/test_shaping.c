/* Clipping by value and by rows, and penalties: against plain loops, and the same bits however the
 * slab is cut.
 * ranks: 1 2 3 4 */
#include "base/mem.h"
#include "base/rng.h"
#include "mpi_main.h"
#include "optim/shaping.h"

#include <math.h>
#include <string.h>

/* Rows that lie across blocks and pieces, a vector between matrices, and a gap. */
static const struct row_matrix MATRICES[] = {{64, 7, 5000}, {36000, 300, 100}, {70000, 2, 9001}};
enum { N_MATRICES = 3, N = 90000 };
static const struct optim_group GROUPS[] = {{.at = {0, 64}, .rate = 1},
                                            {.at = {64, 34936}, .decay = true, .rate = 1},
                                            {.at = {36000, 34000}, .decay = true, .rate = 1},
                                            {.at = {70000, 20000}, .rate = 1}};
enum { N_GROUPS = 4 };

/* One rounding to single precision after each of a few operations, and fixed point's 2^-60 of the
 * whole in a row's squares. */
static const float TOLERANCE = 1e-6f;
static const double SCALE = 1.0 / 48;

/* Gradients of very different size, so that some rows are clipped. */
static void fill(float *params, float *g)
{
    for (size_t i = 0; i < N; i++) {
        params[i] = (float)(0.1 * rng_normal(1, 1, i));
        g[i] = (float)(rng_normal(1, 2, i) * exp2((double)(i / 2500 % 9) - 4));
    }
    /* A row of zeros, and one whose gradient is zero. */
    memset(params + 36000, 0, 100 * sizeof *params);
    memset(g + 36100, 0, 100 * sizeof *g);
}

static double sumsq(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

static void plain_rows(const float *params, float *g, double most)
{
    for (int k = 0; k < N_MATRICES; k++)
        for (size_t i = 0; i < MATRICES[k].rows; i++) {
            size_t at = MATRICES[k].first + i * MATRICES[k].cols, n = MATRICES[k].cols;
            double norm = SCALE * sqrt(sumsq(g + at, n));
            double limit = most * fmax(sqrt(sumsq(params + at, n)), 1e-3);
            for (size_t j = 0; norm > limit && j < n; j++)
                g[at + j] *= (float)(limit / norm);
        }
}

static void plain_elements(const struct shaping *s, const float *params, float *g)
{
    for (int k = 0; k < N_GROUPS; k++)
        for (size_t i = GROUPS[k].at.first; i < GROUPS[k].at.first + GROUPS[k].at.n; i++) {
            double x = (double)g[i] * SCALE, w = (double)params[i];
            if (s->clip_value > 0)
                x = fmin(fmax(x, -s->clip_value), s->clip_value);
            if (GROUPS[k].decay)
                x += s->l2 * w + s->l1 * (w > 0 ? 1 : w < 0 ? -1 : 0);
            g[i] = (float)(x / SCALE);
        }
}

static void keep_mine(void *ctx, struct range piece, size_t at)
{
    float *const *x = ctx;
    (void)at;
    memcpy(x[0] + piece.first, x[1] + piece.first, piece.n * sizeof **x);
}

/* Shapes this rank's pieces for buckets of so many bytes, and puts all ranks' together. */
static void shape(float *out, const struct shaping *s, const float *params, const float *g,
                  size_t bucket, int size)
{
    struct row_clip r;
    struct shard sh;
    float *mine, *whole;
    shard_init(&sh, N, bucket, size, size > 1 ? ck_world.rank : 0);
    ck_assert_int_eq(mem_alloc(&mine, N, sizeof *mine, "test"), OK);
    ck_assert_int_eq(mem_alloc(&whole, N, sizeof *whole, "test"), OK);
    ck_assert_int_eq(row_clip_init(&r, MATRICES, N_MATRICES), OK);
    memcpy(mine, g, N * sizeof *mine);
    if (s->clip_adaptive > 0)
        ck_all(&ck_world, row_clip(&r, size > 1 ? &ck_world : NULL, &sh, params, mine, SCALE,
                                   sumsq(g, N), s->clip_adaptive) == OK);
    shape_elements(s, &sh, GROUPS, N_GROUPS, params, mine, SCALE);
    shard_each(&sh, keep_mine, (float *[]){whole, mine});
    if (size > 1)
        MPI_Allreduce(MPI_IN_PLACE, whole, N, MPI_FLOAT, MPI_SUM, ck_world.world);
    memcpy(out, whole, N * sizeof *out);
    row_clip_release(&r);
    mem_free(mine);
    mem_free(whole);
}

static void compare(const struct shaping *s)
{
    static float params[N], g[N], want[N], one[N], got[N];
    static const size_t buckets[] = {1 << 14, 1 << 16, 1 << 20};
    fill(params, g);
    memcpy(want, g, sizeof g);
    if (s->clip_adaptive > 0)
        plain_rows(params, want, s->clip_adaptive);
    plain_elements(s, params, want);
    shape(one, s, params, g, 1 << 16, 1);
    for (size_t i = 0; i < N; i++)
        ck_assert_msg(fabsf(one[i] - want[i]) <= TOLERANCE * (fabsf(want[i]) + fabsf(g[i])),
                      "%zu: %g, %g wanted", i, (double)one[i], (double)want[i]);
    for (size_t k = 0; k < sizeof buckets / sizeof *buckets; k++) {
        shape(got, s, params, g, buckets[k], ck_world.size);
        ck_all(&ck_world, memcmp(got, one, sizeof got) == 0);
    }
}

START_TEST(follows_plain_loops)
{
    compare(&(struct shaping){.clip_value = 0.02});
    compare(&(struct shaping){.l1 = 1e-3});
    compare(&(struct shaping){.l2 = 0.1});
    compare(&(struct shaping){.clip_adaptive = 0.05});
    compare(&(struct shaping){.clip_adaptive = 0.01, .clip_value = 0.01, .l1 = 1e-3, .l2 = 0.1});
}
END_TEST

/* How many rows are clipped: neither none nor all, or the test above says nothing. */
START_TEST(some_rows_are_clipped)
{
    static float params[N], g[N], out[N];
    size_t n_clipped = 0, n_rows = 0;
    fill(params, g);
    shape(out, &(struct shaping){.clip_adaptive = 0.05}, params, g, 1 << 16, ck_world.size);
    for (int k = 0; k < N_MATRICES; k++)
        for (size_t i = 0; i < MATRICES[k].rows; i++, n_rows++) {
            size_t at = MATRICES[k].first + i * MATRICES[k].cols;
            n_clipped += memcmp(out + at, g + at, MATRICES[k].cols * sizeof *g) != 0;
        }
    ck_assert_uint_gt(n_clipped, n_rows / 10);
    ck_assert_uint_lt(n_clipped, n_rows - n_rows / 10);
    /* Between the matrices nothing is. */
    ck_assert_mem_eq(out, g, 64 * sizeof *g);
    ck_assert_mem_eq(out + 66000, g + 66000, 4000 * sizeof *g);
}
END_TEST

START_TEST(off_touches_nothing)
{
    static float params[N], g[N], out[N];
    fill(params, g);
    shape(out, &(struct shaping){0}, params, g, 1 << 16, ck_world.size);
    ck_assert_mem_eq(out, g, sizeof g);
}
END_TEST

/* A gradient of zeros, or so small that its squares are none, is left as it is. */
START_TEST(survives_gradients_that_vanish)
{
    static float params[N], g[N], out[N];
    fill(params, g);
    memset(g, 0, sizeof g);
    for (int i = 0; i < 2; i++) {
        shape(out, &(struct shaping){.clip_adaptive = 0.05}, params, g, 1 << 16, ck_world.size);
        ck_assert_mem_eq(out, g, sizeof g);
        for (size_t j = 0; j < N; j++)
            g[j] = 1e-44f;
    }
}
END_TEST

START_TEST(bytes_are_exact)
{
    struct row_clip r;
    size_t before = mem_bytes();
    ck_assert_int_eq(row_clip_init(&r, MATRICES, N_MATRICES), OK);
    ck_assert_uint_eq(mem_bytes() - before, row_clip_bytes(MATRICES, N_MATRICES));
    row_clip_release(&r);
    ck_assert_uint_eq(mem_bytes(), before);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, follows_plain_loops);
    tcase_add_test(t, some_rows_are_clipped);
    tcase_add_test(t, off_touches_nothing);
    tcase_add_test(t, survives_gradients_that_vanish);
    tcase_add_test(t, bytes_are_exact);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "optim/shaping", add);
}
