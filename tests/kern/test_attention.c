/* Attention against its twin over shapes, windows, documents and caps; decoding against attention.
 */
#include "attention_set.h"
#include "check_main.h"

/* Scores are sums of Hd float products and the weights' relative error is the scores' absolute
 * one: a few 1e-7 at these magnitudes, more where a window leaves long sums of small weights. */
#define FWD_TOLERANCE 3e-6
#define LSE_TOLERANCE 2e-6
#define BWD_TOLERANCE 1e-5
/* A wrong key or a lost term changes results by far more than this. */
#define DIFFERENCE 1e-3

static void compare(struct attention_shape s, uint32_t longest)
{
    struct set t = set_new(s, longest ? documents(&s, longest) : NULL);
    run(&t);
    run_twin(&t);
    double out = ref_distance(t.out, t.out64, t.n_out), lse = ref_distance(t.lse, t.lse64, t.n_lse);
    double dqkv = ref_distance(t.dqkv, t.dqkv64, t.n_qkv);
    const char *where = "B %zu T %zu H %zu K %zu Hd %zu window %zu cap %g documents %u: %g";
#define AT s.B, s.T, s.H, s.K, s.Hd, s.window, (double)s.cap, longest
    ck_assert_msg(out < FWD_TOLERANCE, where, AT, out);
    ck_assert_msg(lse < LSE_TOLERANCE, where, AT, lse);
    ck_assert_msg(dqkv < BWD_TOLERANCE, where, AT, dqkv);
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
                                      {1, 1, 1},   {1, 1, 256}, {3, 1, 7},  {4, 2, 10}, {6, 3, 4},
                                      {12, 12, 3}, {8, 1, 33},  {16, 2, 2}, {5, 5, 1}};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        for (size_t T = 1; T < 200; T = T * 2 + 3)
            compare(shape(2, T, heads[i][0], heads[i][1], heads[i][2]), 0);
    compare(shape(1, 40, 300, 1, 2), 0); /* a group larger than a stack */
}
END_TEST

START_TEST(follows_the_twin_with_windows)
{
    static const size_t windows[] = {1, 2, 5, 31, 32, 33, 64, 128, 129, 1000};
    static const size_t lengths[] = {1, 4, 33, 128, 200, 300};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
        for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++) {
            struct attention_shape s = shape(1, lengths[j], 4, 2, 8);
            s.window = windows[i];
            compare(s, 0);
        }
}
END_TEST

START_TEST(follows_the_twin_with_caps_and_documents)
{
    for (size_t i = 0; i < ref_n_sizes; i++) {
        struct attention_shape s = shape(2, ref_sizes[i], 4, 2, 12);
        s.scale = 1.5f; /* scores well beyond the cap */
        s.cap = 3.0f;
        compare(s, 0);
        compare(s, 9);
        s.window = 6;
        compare(s, 9);
        s.cap = 0.0f;
        compare(s, 70);
    }
}
END_TEST

/* f(qkv) = dout · attention(qkv), for central differences. */
static double twin_value(const double *qkv, void *context)
{
    struct set *t = context;
    double sum = 0.0;
    ref_attention_fwd(t->out64, t->lse64, qkv, t->start, &t->s);
    for (size_t i = 0; i < t->n_out; i++)
        sum += t->out64[i] * (double)t->dout[i];
    return sum;
}

START_TEST(twin_has_the_right_gradient)
{
    for (int variant = 0; variant < 4; variant++) {
        struct attention_shape s = shape(2, 7, 4, 2, 3);
        s.cap = variant & 1 ? 0.7f : 0.0f;
        s.window = variant & 2 ? 3 : 0;
        struct set t = set_new(s, variant & 2 ? documents(&s, 5) : NULL);
        run_twin(&t);
        double *qkv = ref_widen(t.qkv, t.n_qkv);
        double off = ref_grad_distance(t.dqkv64, qkv, t.n_qkv, twin_value, &t);
        ck_assert_msg(off < REF_GRAD_TOLERANCE, "variant %d: %g", variant, off);
        t.dqkv64[3] += 1e-6; /* an error in one entry shows */
        ck_assert(ref_grad_distance(t.dqkv64, qkv, t.n_qkv, twin_value, &t) > REF_GRAD_TOLERANCE);
        free(qkv);
        set_free(&t);
    }
}
END_TEST

/* How far the outputs move when the shape is changed but the data is not. */
static double moved(struct attention_shape a, struct attention_shape b, int32_t *start_b)
{
    struct set x = set_new(a, NULL), y = set_new(b, start_b);
    run(&x);
    run(&y);
    double *want = ref_widen(x.out, x.n_out), *dwant = ref_widen(x.dqkv, x.n_qkv);
    double out = ref_distance(y.out, want, x.n_out), dqkv = ref_distance(y.dqkv, dwant, x.n_qkv);
    free(want), free(dwant);
    set_free(&x), set_free(&y);
    return fmin(out, dqkv);
}

START_TEST(every_feature_counts)
{
    struct attention_shape a = shape(2, 70, 4, 2, 8), b = a;
    ck_assert(moved(a, a, NULL) == 0.0);
    a.window = 5, b.window = 6;
    ck_assert(moved(a, b, NULL) > DIFFERENCE);
    a.window = 0, b.window = 69; /* one key of one query */
    ck_assert(moved(a, b, NULL) > 0.0);
    b.window = 70; /* all keys: as no window */
    ck_assert(moved(a, b, NULL) == 0.0);
    b.window = 0;
    b.cap = 1.0f;
    ck_assert(moved(a, b, NULL) > DIFFERENCE);
    b.cap = 0.0f;
    b.scale = a.scale * 1.01f;
    ck_assert(moved(a, b, NULL) > DIFFERENCE);
    b.scale = a.scale;
    int32_t *start = ref_random_ints(2 * 70, 1, 1); /* all 0: as none */
    ck_assert(moved(a, b, start) == 0.0);
    start = ref_random_ints(2 * 70, 1, 1);
    for (size_t i = 40; i < 70; i++)
        start[i] = 40;
    ck_assert(moved(a, b, start) > DIFFERENCE);
}
END_TEST

START_TEST(sees_no_later_and_no_other_document)
{
    struct attention_shape s = shape(1, 90, 2, 1, 8);
    struct set t = set_new(s, ref_random_ints(s.T, 1, 1));
    for (size_t i = 50; i < s.T; i++)
        t.start[i] = 50;
    run(&t);
    double *out = ref_widen(t.out, t.n_out);
    for (size_t i = 0; i < 50 * row_size(&s); i++)
        t.qkv[i] *= -3.0f; /* the first document changes, then the second's last position */
    run(&t);
    size_t at = 50 * s.H * s.Hd;
    ck_assert(ref_distance(t.out + at, out + at, t.n_out - at) == 0.0);
    ck_assert(ref_distance(t.out, out, at) > DIFFERENCE);
    free(out);
    out = ref_widen(t.out, t.n_out);
    t.qkv[89 * row_size(&s) + s.H * s.Hd] += 5.0f; /* key */
    run(&t);
    at = 89 * s.H * s.Hd;
    ck_assert(ref_distance(t.out, out, at) == 0.0);
    ck_assert(ref_distance(t.out + at, out + at, t.n_out - at) > 0.0);
    free(out);
    set_free(&t);
}
END_TEST

/* The same bits at every alignment of every array. */
START_TEST(does_not_depend_on_alignment)
{
    struct attention_shape s = shape(1, 75, 3, 1, 10);
    s.cap = 2.0f;
    struct set t = set_new(s, NULL);
    run(&t);
    float *qkv = ref_floats(t.n_qkv + 1), *out = ref_floats(t.n_out + 1);
    float *dout = ref_floats(t.n_out + 1), *dqkv = ref_floats(t.n_qkv + 1);
    float *lse = ref_floats(t.n_lse + 1), *scratch = ref_floats(attention_scratch(&s) + 1);
    memcpy(qkv + 1, t.qkv, t.n_qkv * sizeof *qkv);
    memcpy(dout + 1, t.dout, t.n_out * sizeof *dout);
    attention_fwd(out + 1, F32, lse + 1, qkv + 1, NULL, &s, scratch + 1);
    attention_bwd(dqkv + 1, dout + 1, out + 1, F32, lse + 1, qkv + 1, NULL, &s, scratch + 1);
    ck_assert(memcmp(out + 1, t.out, t.n_out * sizeof *out) == 0);
    ck_assert(memcmp(lse + 1, t.lse, t.n_lse * sizeof *lse) == 0);
    ck_assert(memcmp(dqkv + 1, t.dqkv, t.n_qkv * sizeof *dqkv) == 0);
    attention_fwd(t.out, F32, NULL, t.qkv, NULL, &s, t.scratch); /* lse is optional */
    ck_assert(memcmp(out + 1, t.out, t.n_out * sizeof *out) == 0);
    free(qkv), free(out), free(dout), free(dqkv), free(lse), free(scratch);
    set_free(&t);
}
END_TEST

/* x[n, d] with rows ld apart, `gap` between them. */
static float *spread(const float *x, size_t n, size_t d, size_t ld, float gap)
{
    float *y = ref_floats(n * ld);
    for (size_t i = 0; i < n * ld; i++)
        y[i] = i % ld < d ? x[i / ld * d + i % ld] : gap;
    return y;
}

/* The same bits whatever lies between rows, which stays what it was. */
START_TEST(leaves_alone_what_lies_between_rows)
{
    struct attention_shape s = shape(2, 75, 4, 2, 10), wide = s;
    struct set t = set_new(s, documents(&s, 60));
    size_t n = s.B * s.T, row = row_size(&s), D = s.H * s.Hd;
    wide.ldqkv = row + 5, wide.ldout = D + 3;
    run(&t);
    float *qkv = spread(t.qkv, n, row, wide.ldqkv, NAN);
    float *dout = spread(t.dout, n, D, wide.ldout, NAN);
    float *out = spread(t.dout, n, D, wide.ldout, 7.0f), *lse = ref_floats(t.n_lse);
    float *dqkv = spread(t.qkv, n, row, wide.ldqkv, 7.0f);
    float *want_out = spread(t.out, n, D, wide.ldout, 7.0f);
    float *want_dqkv = spread(t.dqkv, n, row, wide.ldqkv, 7.0f);
    attention_fwd(out, F32, lse, qkv, t.start, &wide, t.scratch);
    attention_bwd(dqkv, dout, out, F32, lse, qkv, t.start, &wide, t.scratch);
    ck_assert(memcmp(out, want_out, n * wide.ldout * sizeof *out) == 0);
    ck_assert(memcmp(lse, t.lse, t.n_lse * sizeof *lse) == 0);
    ck_assert(memcmp(dqkv, want_dqkv, n * wide.ldqkv * sizeof *dqkv) == 0);
    free(qkv), free(dout), free(out), free(lse), free(dqkv), free(want_out), free(want_dqkv);
    set_free(&t);
}
END_TEST

/* Large scores neither overflow nor underflow; NaN in is NaN out. */
START_TEST(survives_large_scores)
{
    struct attention_shape s = shape(1, 40, 2, 1, 8);
    s.scale = 100.0f;
    struct set t = set_new(s, NULL);
    run(&t);
    run_twin(&t);
    /* scores up to 2300 carry an absolute error of 2e-4, which is the weights' relative one */
    ck_assert_double_lt(ref_distance(t.out, t.out64, t.n_out), 2e-3);
    for (size_t i = 0; i < t.n_qkv; i++)
        ck_assert(isfinite(t.dqkv[i]));
    t.qkv[7 * row_size(&s) + s.H * s.Hd] = NAN; /* a key of position 7 */
    run(&t);
    ck_assert(isfinite(t.out[7 * s.H * s.Hd - 1]));
    for (size_t i = 7 * s.H * s.Hd; i < t.n_out; i++)
        ck_assert(isnan(t.out[i]));
    set_free(&t);
}
END_TEST

/* The last position, decoded from a cache whose rows are wider than needed. */
static void decode_like_twin(struct attention_shape s)
{
    struct set t = set_new(s, NULL);
    run_twin(&t);
    size_t ld = s.K * s.Hd + 3, row = row_size(&s), D = s.H * s.Hd;
    float *keys = ref_floats(s.T * ld), *values = ref_floats(s.T * ld), *out = ref_floats(D);
    float *scratch = ref_floats(s.T);
    for (size_t j = 0; j < s.T; j++) {
        memcpy(keys + j * ld, t.qkv + j * row + D, s.K * s.Hd * sizeof *keys);
        memcpy(values + j * ld, t.qkv + j * row + D + s.K * s.Hd, s.K * s.Hd * sizeof *keys);
    }
    attention_decode(out, t.qkv + (s.T - 1) * row, keys, values, ld, s.T, &s, scratch);
    double off = ref_distance(out, t.out64 + (s.T - 1) * D, D);
    ck_assert_msg(off < FWD_TOLERANCE, "T %zu window %zu cap %g: %g", s.T, s.window, (double)s.cap,
                  off);
    free(keys), free(values), free(out), free(scratch);
    set_free(&t);
}

START_TEST(decodes_like_attention)
{
    for (size_t i = 0; i < ref_n_sizes; i++) {
        struct attention_shape s = shape(1, ref_sizes[i], 6, 2, 9);
        decode_like_twin(s);
        s.window = 7;
        decode_like_twin(s);
        s.cap = 2.0f;
        decode_like_twin(s);
    }
}
END_TEST

/* Several tiles and several blocks, heads of every Gemma size. */
START_TEST(follows_the_twin_over_many_tiles)
{
    static const size_t heads[][3] = {{4, 1, 64}, {3, 3, 256}, {2, 1, 100}};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct attention_shape s = shape(1, 401, heads[i][0], heads[i][1], heads[i][2]);
        compare(s, 0);
        s.window = 139;
        compare(s, 0);
        compare(s, 300);
        s.cap = 1.5f;
        compare(s, 300);
    }
}
END_TEST

/* Over all queries and the keys that each sees. */
static double greatest_score(const struct set *t)
{
    const struct attention_shape *s = &t->s;
    double most = -INFINITY;
    for (size_t at = 0; at < s->B * s->T * s->H; at++) {
        size_t row = at / s->H, h = at % s->H, i = row % s->T, first = row - i, lo = 0;
        const float *q = t->qkv + row * row_size(s) + h * s->Hd;
        if (s->window != 0 && i + 1 > s->window)
            lo = i + 1 - s->window;
        if (t->start != NULL && (size_t)t->start[row] > lo)
            lo = (size_t)t->start[row];
        for (size_t j = lo; j <= i; j++) {
            const float *k = t->qkv + (first + j) * row_size(s) + (s->H + h / (s->H / s->K)) * s->Hd;
            double z = 0;
            for (size_t e = 0; e < s->Hd; e++)
                z += (double)q[e] * (double)k[e] * (double)s->scale;
            most = fmax(most, s->cap != 0 ? (double)s->cap * tanh(z / (double)s->cap) : z);
        }
    }
    return most;
}

static void compare_greatest(struct attention_shape s, uint32_t longest)
{
    struct set t = set_new(s, longest ? documents(&s, longest) : NULL);
    double want = greatest_score(&t);
    double got = (double)attention_fwd(t.out, F32, NULL, t.qkv, t.start, &t.s, t.scratch);
    ck_assert_msg(fabs(got - want) < FWD_TOLERANCE * fmax(1, fabs(want)), "%g, not %g", got, want);
    set_free(&t);
}

START_TEST(tells_the_greatest_score)
{
    for (size_t i = 0; i < ref_n_sizes; i++) {
        struct attention_shape s = shape(2, ref_sizes[i], 4, 2, 12);
        compare_greatest(s, 0);
        compare_greatest(s, 9);
        s.window = 6;
        compare_greatest(s, 0);
        s.cap = 1.5f;
        compare_greatest(s, 9);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, twin_has_the_right_gradient);
    tcase_add_test(t, follows_the_twin_at_every_length);
    tcase_add_test(t, follows_the_twin_over_heads);
    tcase_add_test(t, follows_the_twin_with_windows);
    tcase_add_test(t, follows_the_twin_with_caps_and_documents);
    tcase_add_test(t, follows_the_twin_over_many_tiles);
    tcase_add_test(t, every_feature_counts);
    tcase_add_test(t, sees_no_later_and_no_other_document);
    tcase_add_test(t, does_not_depend_on_alignment);
    tcase_add_test(t, leaves_alone_what_lies_between_rows);
    tcase_add_test(t, survives_large_scores);
    tcase_add_test(t, tells_the_greatest_score);
    tcase_add_test(t, decodes_like_attention);
}

int main(void)
{
    return run_suite("kern/attention", add);
}
