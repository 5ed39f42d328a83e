/* The rotation against its twin; its transpose turns back; only the given heads move. */
#include "check_main.h"
#include "kern/rope.h"
#include "ref/ref.h"

#include <math.h>
#include <string.h>

/* Angles are exact to float's rounding of sine and cosine; two products and a sum follow. */
#define TOLERANCE  3e-7
#define DIFFERENCE 1e-3

enum { PAD = 7 };

struct set {
    size_t B, T, first, heads, Hd, ld;
    double base, factor;
    float *table, *x;
    double *x64; /* [B·T, heads·Hd] */
};

static struct set set_new(size_t B, size_t T, size_t first, size_t heads, size_t Hd)
{
    struct set s = {.B = B, .T = T, .first = first, .heads = heads, .Hd = Hd};
    s.base = 10000.0, s.factor = 8.0;
    s.ld = heads * Hd + PAD;
    s.table = ref_floats((first + T) * Hd);
    rope_table(s.table, first + T, Hd, s.base, s.factor);
    s.x = ref_random(B * T * s.ld, 1, 1.0);
    s.x64 = ref_doubles(B * T * heads * Hd);
    for (size_t i = 0; i < B * T; i++)
        for (size_t j = 0; j < heads * Hd; j++)
            s.x64[i * heads * Hd + j] = s.x[i * s.ld + j];
    return s;
}

static void set_free(struct set *s)
{
    free(s->table), free(s->x), free(s->x64);
}

static double distance(const struct set *s)
{
    return ref_distance_rows(s->x, s->ld, s->x64, s->B * s->T, s->heads * s->Hd);
}

static void compare(size_t B, size_t T, size_t first, size_t heads, size_t Hd)
{
    struct set s = set_new(B, T, first, heads, Hd);
    float *was = ref_random(B * T * s.ld, 1, 1.0); /* the same values as x */
    double *x64 = ref_doubles(B * T * heads * Hd);
    memcpy(x64, s.x64, B * T * heads * Hd * sizeof *x64);
    rope_fwd(s.x, s.ld, s.table, B, T, first, heads, Hd);
    ref_rope(s.x64, B, T, first, heads, Hd, s.base, s.factor, 1);
    ck_assert_msg(distance(&s) < TOLERANCE, "B %zu T %zu heads %zu Hd %zu: %g", B, T, heads, Hd,
                  distance(&s));
    for (size_t i = 0; i < B * T; i++)
        ck_assert(memcmp(s.x + i * s.ld + heads * Hd, was + i * s.ld + heads * Hd,
                         PAD * sizeof *was) == 0);
    rope_bwd(s.x, s.ld, s.table, B, T, first, heads, Hd);
    memcpy(s.x64, x64, B * T * heads * Hd * sizeof *x64);
    ck_assert_double_lt(distance(&s), 2.0 * TOLERANCE);
    free(was), free(x64);
    set_free(&s);
}

START_TEST(follows_the_twin)
{
    for (size_t i = 0; i < ref_n_sizes; i++) {
        compare(1, 5, 0, 3, 2 * ref_sizes[i]);
        compare(2, ref_sizes[i], 11, 1, 6);
        compare(1, 2, 3, ref_sizes[i], 4);
    }
}
END_TEST

/* dy · rope(x) = rope'(dy) · x for any x and dy: the twin's backward is its transpose. */
START_TEST(twin_turns_back)
{
    enum { N = 2 * 5 * 3 * 8 };
    double *x = ref_random_double(N, 1, 1.0), *dy = ref_random_double(N, 2, 1.0);
    double *y = ref_random_double(N, 1, 1.0), *dx = ref_random_double(N, 2, 1.0);
    ref_rope(y, 2, 5, 4, 3, 8, 100.0, 1.0, 1);
    ref_rope(dx, 2, 5, 4, 3, 8, 100.0, 1.0, -1);
    double a = 0.0, b = 0.0, unturned = 0.0;
    for (size_t i = 0; i < N; i++) {
        a += dy[i] * y[i];
        b += dx[i] * x[i];
        unturned += dy[i] * x[i];
    }
    ck_assert_double_lt(fabs(a - b), 1e-12);
    ck_assert_double_gt(fabs(a - unturned), DIFFERENCE);
    free(x), free(dy), free(y), free(dx);
}
END_TEST

START_TEST(table_holds_the_angles)
{
    float *t = ref_floats(3000 * 8);
    rope_table(t, 3000, 8, 1e6, 8.0);
    ck_assert(t[0] == 1.0f && t[1] == 0.0f);
    for (size_t p = 0; p < 3000; p += 999)
        for (size_t i = 0; i < 4; i++) {
            double angle = (double)p / (pow(1e6, (double)i / 4.0) * 8.0);
            ck_assert_double_le(fabs((double)t[p * 8 + i * 2] - cos(angle)), 0x1p-24);
            ck_assert_double_le(fabs((double)t[p * 8 + i * 2 + 1] - sin(angle)), 0x1p-24);
        }
    free(t);
}
END_TEST

/* A position, a base or a factor that is off shows, and so does pairing neighbours. */
START_TEST(every_argument_counts)
{
    for (int variant = 0; variant < 4; variant++) {
        struct set s = set_new(1, 9, 2, 2, 8);
        rope_fwd(s.x, s.ld, s.table, 1, 9, variant == 1 ? 1 : 2, 2, 8);
        double base = variant == 2 ? 10500.0 : s.base, factor = variant == 3 ? 8.5 : s.factor;
        ref_rope(s.x64, 1, 9, 2, 2, 8, base, factor, 1);
        ck_assert((distance(&s) > DIFFERENCE) == (variant > 0));
        set_free(&s);
    }
    float x[4] = {1, 0, 0, 0}, t[2 * 4];
    rope_table(t, 2, 4, 10000.0, 1.0);
    rope_fwd(x, 4, t, 1, 1, 1, 1, 4);
    ck_assert(x[1] == 0.0f && x[3] == 0.0f && x[2] > 0.8f); /* sin 1 */
}
END_TEST

START_TEST(does_not_depend_on_alignment)
{
    struct set s = set_new(1, 4, 0, 2, 50);
    float *x = ref_floats(4 * s.ld + 1);
    memcpy(x + 1, s.x, 4 * s.ld * sizeof *x);
    rope_fwd(x + 1, s.ld, s.table, 1, 4, 0, 2, 50);
    rope_fwd(s.x, s.ld, s.table, 1, 4, 0, 2, 50);
    ck_assert(memcmp(x + 1, s.x, 4 * s.ld * sizeof *x) == 0);
    free(x);
    set_free(&s);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, twin_turns_back);
    tcase_add_test(t, table_holds_the_angles);
    tcase_add_test(t, follows_the_twin);
    tcase_add_test(t, every_argument_counts);
    tcase_add_test(t, does_not_depend_on_alignment);
}

int main(void)
{
    return run_suite("kern/rope", add);
}
