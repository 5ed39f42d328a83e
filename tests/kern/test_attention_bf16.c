/* Attention whose products read bfloat16, against the twin on rounded operands; and bfloat16
 * outputs. */
#include "attention_set.h"
#include "check_main.h"

/* Rounding to bfloat16 is off by at most this, relatively: 8 bits of significand. */
#define ROUNDING 0x1p-8
/* What single precision adds to that; the log-sum-exp has only this. */
#define FLOAT_TOLERANCE 3e-6

static float *rounded(const float *x, size_t n)
{
    float *y = ref_floats(n);
    for (size_t i = 0; i < n; i++)
        y[i] = bf16_to_f32(f32_to_bf16(x[i]));
    return y;
}

/* The twin on what the products read. */
static void run_twin_rounded(struct set *t)
{
    struct set r = *t;
    r.qkv = rounded(t->qkv, t->n_qkv);
    r.dout = rounded(t->dout, t->n_out);
    run_twin(&r);
    free(r.qkv), free(r.dout);
}

/* The greatest distance, and the root of the mean square one over that of `want`. */
static double greatest(const float *got, const double *want, size_t n)
{
    double most = 0.0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, isfinite(got[i]) ? fabs(got[i] - want[i]) : INFINITY);
    return most;
}

static double mean_square(const float *got, const double *want, size_t n)
{
    double off = 0.0, size = 0.0;
    for (size_t i = 0; i < n; i++) {
        off += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
    }
    return sqrt(off / size);
}

static double greatest_value(const struct set *t)
{
    double most = 0.0;
    size_t row = row_size(&t->s), values = t->s.K * t->s.Hd;
    for (size_t i = 0; i < t->n_qkv; i++)
        if (i % row >= row - values)
            most = fmax(most, fabs((double)t->qkv[i]));
    return most;
}

/* Weights add up to 1 and each is off by ROUNDING at most, so an output is off by ROUNDING of the
 * greatest value. In the gradients the weights', the outputs' and the scores' gradients' roundings
 * add up with random signs: three times less than ROUNDING each, in the mean square. */
static void compare(struct attention_shape s, uint32_t longest)
{
    s.products = BF16;
    struct set t = set_new(s, longest ? documents(&s, longest) : NULL);
    run(&t);
    run_twin_rounded(&t);
    double out = greatest(t.out, t.out64, t.n_out) / greatest_value(&t);
    double lse = ref_distance(t.lse, t.lse64, t.n_lse);
    double dqkv = mean_square(t.dqkv, t.dqkv64, t.n_qkv);
    const char *where = "B %zu T %zu H %zu K %zu Hd %zu window %zu cap %g documents %u: %g";
#define AT s.B, s.T, s.H, s.K, s.Hd, s.window, (double)s.cap, longest
    ck_assert_msg(out < ROUNDING + FLOAT_TOLERANCE, where, AT, out);
    ck_assert_msg(lse < FLOAT_TOLERANCE, where, AT, lse);
    ck_assert_msg(dqkv < ROUNDING, where, AT, dqkv);
#undef AT
    set_free(&t);
}

START_TEST(follows_the_twin_at_every_length)
{
    for (size_t i = 0; i < ref_n_sizes; i++) {
        compare(shape(1, ref_sizes[i], 4, 1, 16), 0);
        compare(shape(2, ref_sizes[i], 2, 2, 6), 0);
    }
}
END_TEST

START_TEST(follows_the_twin_over_heads)
{
    static const size_t heads[][3] = {/* H, K, Hd */
                                      {1, 1, 2},   {1, 1, 256}, {3, 1, 7},  {4, 2, 10}, {6, 3, 4},
                                      {12, 12, 3}, {8, 1, 33},  {16, 2, 2}, {5, 5, 32}};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        for (size_t T = 1; T < 200; T = T * 2 + 3)
            compare(shape(2, T, heads[i][0], heads[i][1], heads[i][2]), 0);
    compare(shape(1, 40, 300, 1, 2), 0);
}
END_TEST

START_TEST(follows_the_twin_with_windows_documents_and_caps)
{
    static const size_t windows[] = {0, 1, 2, 31, 33, 129};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
        for (size_t T = 3; T < 500; T = T * 3 + 2) {
            struct attention_shape s = shape(1, T, 4, 2, 12);
            s.window = windows[i];
            compare(s, 0);
            compare(s, 70);
            s.cap = 1.0f;
            compare(s, 9);
        }
}
END_TEST

/* Rounding the operands beforehand changes no bit; not rounding them at all changes many. */
START_TEST(rounds_its_operands)
{
    struct attention_shape s = shape(1, 77, 4, 2, 24);
    struct set plain = set_new(s, NULL);
    s.products = BF16;
    struct set t = set_new(s, NULL), r = set_new(s, NULL);
    free(r.qkv), free(r.dout);
    r.qkv = rounded(t.qkv, t.n_qkv), r.dout = rounded(t.dout, t.n_out);
    run(&plain), run(&t), run(&r);
    ck_assert(memcmp(t.out, r.out, t.n_out * sizeof *t.out) == 0);
    ck_assert(memcmp(t.lse, r.lse, t.n_lse * sizeof *t.lse) == 0);
    ck_assert(memcmp(t.dqkv, r.dqkv, t.n_qkv * sizeof *t.dqkv) == 0);
    double *out = ref_widen(plain.out, t.n_out), *dqkv = ref_widen(plain.dqkv, t.n_qkv);
    ck_assert(mean_square(t.out, out, t.n_out) > ROUNDING / 10);
    ck_assert(mean_square(t.dqkv, dqkv, t.n_qkv) > ROUNDING / 10);
    free(out), free(dqkv);
    set_free(&plain), set_free(&t), set_free(&r);
}
END_TEST

/* The weights and the scores' gradients are operands too: against the twin on rounded inputs
 * something of their rounding is left. */
START_TEST(rounds_weights_and_gradients)
{
    struct attention_shape s = shape(1, 100, 2, 1, 16);
    s.products = BF16;
    struct set t = set_new(s, NULL);
    size_t row = row_size(&s), n = s.T * row;
    run(&t);
    run_twin_rounded(&t);
    ck_assert(mean_square(t.out, t.out64, t.n_out) > ROUNDING / 30);
    double off[2] = {0.0, 0.0}; /* of queries and keys, of values */
    for (size_t i = 0; i < n; i++) {
        double *most = &off[i % row >= row - s.Hd];
        *most = fmax(*most, fabs(t.dqkv[i] - t.dqkv64[i]));
    }
    ck_assert(off[0] > ROUNDING / 30 && off[1] > ROUNDING / 30);
    set_free(&t);
}
END_TEST

/* A bfloat16 output is the other one rounded, and serves the backward pass up to that rounding. */
START_TEST(writes_and_reads_a_narrow_output)
{
    for (enum dtype products = F32; products <= BF16; products++) {
        struct attention_shape s = shape(2, 70, 4, 2, 25);
        s.products = products;
        struct set t = set_new(s, NULL);
        uint16_t *narrow = calloc(t.n_out, sizeof *narrow), *want = calloc(t.n_out, sizeof *want);
        run(&t);
        double *dqkv = ref_widen(t.dqkv, t.n_qkv);
        bf16_narrow(want, t.out, t.n_out);
        attention_fwd(narrow, BF16, t.lse, t.qkv, NULL, &t.s, t.scratch);
        ck_assert(memcmp(narrow, want, t.n_out * sizeof *narrow) == 0);
        attention_bwd(t.dqkv, t.dout, narrow, BF16, t.lse, t.qkv, NULL, &t.s, t.scratch);
        double off = mean_square(t.dqkv, dqkv, t.n_qkv);
        ck_assert_msg(off < ROUNDING, "%g", off);
        ck_assert(off > 0.0); /* it was read */
        free(narrow), free(want), free(dqkv);
        set_free(&t);
    }
}
END_TEST

/* The same bits at every alignment, and the same again. */
START_TEST(does_not_depend_on_alignment)
{
    struct attention_shape s = shape(1, 75, 3, 1, 10);
    s.products = BF16;
    struct set t = set_new(s, NULL);
    run(&t);
    float *qkv = ref_floats(t.n_qkv + 1), *out = ref_floats(t.n_out + 1);
    float *dqkv = ref_floats(t.n_qkv + 1), *lse = ref_floats(t.n_lse + 1);
    float *scratch = ref_floats(attention_scratch(&s) + 1);
    memcpy(qkv + 1, t.qkv, t.n_qkv * sizeof *qkv);
    attention_fwd(out + 1, F32, lse + 1, qkv + 1, NULL, &s, scratch + 1);
    attention_bwd(dqkv + 1, t.dout, out + 1, F32, lse + 1, qkv + 1, NULL, &s, scratch + 1);
    ck_assert(memcmp(out + 1, t.out, t.n_out * sizeof *out) == 0);
    ck_assert(memcmp(lse + 1, t.lse, t.n_lse * sizeof *lse) == 0);
    ck_assert(memcmp(dqkv + 1, t.dqkv, t.n_qkv * sizeof *dqkv) == 0);
    free(qkv), free(out), free(dqkv), free(lse), free(scratch);
    set_free(&t);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, follows_the_twin_at_every_length);
    tcase_add_test(t, follows_the_twin_over_heads);
    tcase_add_test(t, follows_the_twin_with_windows_documents_and_caps);
    tcase_add_test(t, rounds_its_operands);
    tcase_add_test(t, rounds_weights_and_gradients);
    tcase_add_test(t, writes_and_reads_a_narrow_output);
    tcase_add_test(t, does_not_depend_on_alignment);
}

int main(void)
{
    return run_suite("kern/attention, bf16", add);
}
