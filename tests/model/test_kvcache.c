/* Generation agrees with whole passes, however the tokens are fed. */
#include "model/kvcache.h"

#include "base/err.h"
#include "ref/fixture.h"
#include "tiny.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The same sums in another order, in float32. */
#define TOL 2e-5
/* The reference folders' logits reach 18 and are allowed 3e-4 against the truth; two float32 ways
 * may be twice as far from each other as each is from it. */
#define TOL_FOLDER 1e-4

/* Feeds `token` in pieces of 1, then `piece`, …; compares the logits behind each piece. */
static void compare(const struct model_spec *s, const float *params, const int32_t *token, int T,
                    int piece, double tolerance)
{
    size_t V = (size_t)s->V;
    float *all = malloc((size_t)T * V * sizeof *all), *got = malloc(V * sizeof *got);
    struct batch_view b = {.B = 1, .T = T, .token = token, .target = token};
    struct model *m;
    struct kvcache *c;
    ck_assert_int_eq(model_new(&m, s, 1, T, &(struct model_options){0}), OK);
    ck_assert_int_eq(kvcache_new(&c, s, T), OK);
    model_logits(m, params, &b, all);
    for (int repeat = 0; repeat < 2; repeat++) {
        for (int at = 0, n; at < T; at += n) {
            n = at == 0 ? 1 : piece;
            n = n < T - at ? n : T - at;
            ck_assert_int_eq(kvcache_feed(c, params, token + at, n, got), OK);
            ck_assert_int_eq(kvcache_length(c), at + n);
            for (size_t v = 0; v < V; v++)
                ck_assert_double_eq_tol(got[v], all[(size_t)(at + n - 1) * V + v], tolerance);
        }
        kvcache_reset(c);
    }
    kvcache_free(c);
    model_free(m);
    free(all);
    free(got);
}

/* Longer than what goes through the layers at a time. */
enum { LONG_T = 300 };

START_TEST(agrees_with_whole_passes)
{
    for (int family = 1; family <= 3; family++) {
        struct model_spec s = tiny_spec(family);
        struct tensor_table t;
        int32_t token[LONG_T];
        for (int i = 0; i < LONG_T; i++)
            token[i] = (int32_t)(rng_uniform(1, 2, (uint64_t)i) * s.V);
        ck_assert_int_eq(tensors_init(&t, &s), OK);
        float *params = tiny_params(&t, 11);
        compare(&s, params, token, TINY_T, 1, TOL);
        compare(&s, params, token, TINY_T, 4, TOL);
        compare(&s, params, token, LONG_T, LONG_T, TOL);
        mem_free(params);
        tensors_release(&t);
    }
}
END_TEST

static void compare_folder(const char *folder)
{
    struct fixture f;
    ck_assert_msg(fixture_load(&f, folder) == OK, "%s", err_message());
    for (int b = 0; b < f.batch.B; b++) {
        compare(&f.spec, f.params, f.token + b * f.batch.T, f.batch.T, 1, TOL_FOLDER);
        compare(&f.spec, f.params, f.token + b * f.batch.T, f.batch.T, 5, TOL_FOLDER);
    }
    fixture_release(&f);
}

START_TEST(agrees_on_reference_folders)
{
    if (fixture_each(compare_folder) == 0)
        printf("SKIP: no reference folders at ../shared/fixtures (CARAT_SHARED)\n");
}
END_TEST

START_TEST(feeding_allocates_nothing)
{
    struct model_spec s = tiny_spec(3);
    struct tensor_table t;
    struct kvcache *c;
    float logits[64];
    int32_t token[3] = {1, 2, 3};
    ck_assert_int_eq(tensors_init(&t, &s), OK);
    float *params = tiny_params(&t, 1);
    ck_assert_int_eq(kvcache_new(&c, &s, 8), OK);
    size_t before = mem_n_allocs();
    ck_assert_int_eq(kvcache_feed(c, params, token, 3, logits), OK);
    ck_assert_int_eq(kvcache_feed(c, params, token, 1, logits), OK);
    ck_assert_uint_eq(mem_n_allocs(), before);
    kvcache_free(c);
    mem_free(params);
    tensors_release(&t);
}
END_TEST

START_TEST(refuses_what_does_not_fit)
{
    struct model_spec s = tiny_spec(1);
    struct tensor_table t;
    struct kvcache *c;
    float logits[64];
    int32_t token[5] = {1, 2, 3, 4, 5}, unknown[1] = {s.V};
    ck_assert_int_eq(kvcache_new(&c, &s, 0), E_CONFIG);
    ck_assert_int_eq(tensors_init(&t, &s), OK);
    float *params = tiny_params(&t, 1);
    size_t before = mem_bytes();
    ck_assert_int_eq(kvcache_new(&c, &s, 4), OK);
    ck_assert_int_eq(kvcache_feed(c, params, token, 5, logits), E_DATA);
    ck_assert_int_eq(kvcache_feed(c, params, token, 0, logits), E_DATA);
    ck_assert_int_eq(kvcache_feed(c, params, unknown, 1, logits), E_DATA);
    ck_assert_int_eq(kvcache_length(c), 0);
    ck_assert_int_eq(kvcache_feed(c, params, token, 4, logits), OK);
    ck_assert_int_eq(kvcache_feed(c, params, token, 1, logits), E_DATA);
    ck_assert_int_eq(kvcache_length(c), 4);
    kvcache_free(c);
    ck_assert_uint_eq(mem_bytes(), before);
    mem_free(params);
    tensors_release(&t);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, agrees_with_whole_passes);
    tcase_add_test(t, agrees_on_reference_folders);
    tcase_add_test(t, feeding_allocates_nothing);
    tcase_add_test(t, refuses_what_does_not_fit);
}

int main(void)
{
    return run_suite("model/kvcache", add);
}
