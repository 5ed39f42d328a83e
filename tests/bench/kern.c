/* Kernel speeds against what the machine does in the same run: the FMA peak of one core, and a
 * memcpy of as many bytes in as large a footprint.
 *
 *     make .build/release/tests/bench/kern
 *     env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE .build/release/tests/bench/kern [NAME]
 *
 * (Either variable can halve the products, so the program unsets them as well, but the BLAS may
 * have read them before main.) On a shared machine only the ratios carry. */
#include "base/clock.h"
#include "kern/attention.h"
#include "kern/embed.h"
#include "kern/geglu.h"
#include "kern/gemm.h"
#include "kern/heads.h"
#include "kern/peak.h"
#include "kern/rmsnorm.h"
#include "kern/rope.h"
#include "kern/softmax_ce.h"
#include "ref/ref.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPS 1e-6f

enum { N = 1 << 24 }; /* floats in each array */

/* What a case works on: arrays large enough for all of them, and a shape. */
struct job {
    float *a, *b, *c, *d, *scratch;
    int32_t *token;
    size_t n, d1, V; /* rows, row length, vocabulary */
    enum dtype t;    /* of outputs */
    size_t pad;      /* between rows of the feed-forward's arrays */
    struct attention_shape s;
};

typedef void work_fn(struct job *j);

static double peak_flops;
static const char *only;

/* Best of several goes, each long enough for the clock. */
static double seconds_of(work_fn *work, struct job *j)
{
    double best = 1e30, spent = 0.0;
    work(j);
    for (int go = 0; go < 400 && (go < 5 || spent < 0.4); go++) {
        double begin = clock_now_s();
        work(j);
        double s = clock_now_s() - begin;
        spent += s;
        best = s < best ? s : best;
    }
    return best;
}

/* Values of a type in all arrays: patterns of another would be denormal ones here and there. */
static void fill(struct job *j, enum dtype t)
{
    float *x = ref_random(N, 1, 1.0), *arrays[] = {j->a, j->b, j->c, j->d};
    void *typed = ref_typed(x, t, N);
    for (int i = 0; i < 4; i++)
        memcpy(arrays[i], typed, N * dtype_size(t));
    free(x), free(typed);
}

static void copy(struct job *j)
{
    memcpy(j->b, j->a, j->n);
}

/* Seconds that memcpy takes to move so many bytes (half read, half written). */
static double copy_seconds(const struct job *j, double bytes)
{
    double most = 2.0 * N * sizeof(float);
    struct job c = *j;
    c.n = (size_t)((bytes < most ? bytes : most) / 2.0);
    return seconds_of(copy, &c) * bytes / (2.0 * (double)c.n);
}

/* A case limited by memory: elements, and bytes read and written. */
static void by_bytes(const char *name, work_fn *work, struct job *j, double elements, double bytes)
{
    if (only && !strstr(name, only))
        return;
    double s = seconds_of(work, j), floor = copy_seconds(j, bytes);
    printf("%-34s %8.3f ns/element %8.1f GB/s    %5.1f%% of memcpy's %.1f GB/s\n", name,
           s / elements * 1e9, bytes / s * 1e-9, floor / s * 100.0, bytes / floor * 1e-9);
}

/* A case limited by arithmetic. */
static void by_flops(const char *name, work_fn *work, struct job *j, double elements, double flops)
{
    if (only && !strstr(name, only))
        return;
    double s = seconds_of(work, j);
    printf("%-34s %8.3f ns/element %8.1f GFLOP/s %5.1f%% of the FMA peak\n", name,
           s / elements * 1e9, flops / s * 1e-9, flops / s / peak_flops * 100.0);
}

static void gemm_512(struct job *j)
{
    gemm_nt(j->c, 2048, j->a, 640, j->b, 640, 512, 2048, 640, 1.0f, 0.0f);
}

static void norm_fwd(struct job *j)
{
    rmsnorm_fwd(j->b, j->t, j->d1, j->d, j->a, j->d1, j->scratch, j->n, j->d1, EPS);
}

static void norm_bwd(struct job *j)
{
    rmsnorm_bwd(j->b, F32, j->d1, j->scratch + j->d1, j->c, j->d1, j->a, j->d1, j->d, j->scratch,
                j->n, j->d1, 0);
}

/* res and out in the first half of b, y in a's place behind the branch. */
static void residual(struct job *j)
{
    const float *w = j->scratch;
    rmsnorm_residual_fwd(j->b, j->c, j->t, j->d1, j->d, j->d + j->n, j->b, j->a, w, w + j->d1, j->n,
                         j->d1, EPS);
}

static void residual_bwd(struct job *j)
{
    float *w = j->scratch;
    size_t d = j->d1, e = j->n * d;
    rmsnorm_residual_bwd(j->a, j->b, j->t, d, w + 2 * d, w + 3 * d, j->a + e, j->c, j->d, w,
                         j->c + e, j->d + j->n, w + d, j->n, d);
}

static struct heads_shape heads_of(const struct job *j)
{
    return (struct heads_shape){.B = 1, .T = j->n, .H = 4, .K = 1, .Hd = j->d1, .eps = EPS};
}

static void heads(struct job *j)
{
    struct heads_shape s = heads_of(j);
    const float *w = j->scratch;
    heads_fwd(j->b, 6 * j->d1, j->d, j->a, 6 * j->d1, w, w + j->d1, w + 2 * j->d1, &s);
}

static void heads_back(struct job *j)
{
    struct heads_shape s = heads_of(j);
    float *w = j->scratch, *table = w + 4 * j->d1;
    size_t ld = 6 * j->d1;
    heads_bwd(j->c, j->t, ld, w + 2 * j->d1, w + 3 * j->d1, j->b, ld, j->a, ld, j->d, w, w + j->d1,
              table, &s);
}

static void glu_fwd(struct job *j)
{
    geglu_fwd(j->b, j->t, j->d1 + j->pad, j->a, j->t, 2 * j->d1 + j->pad, j->n, j->d1);
}

/* Not in place, where the values would sink to denormal ones from run to run. */
static void glu_bwd(struct job *j)
{
    geglu_bwd(j->c, j->d, j->b, j->t, j->d1 + j->pad, j->a, j->t, 2 * j->d1 + j->pad, j->n, j->d1);
}

static void look_up(struct job *j)
{
    embed_fwd(j->b, j->a, j->token, j->n, j->d1, 2.0f);
}

static void look_up_bwd(struct job *j)
{
    embed_bwd(j->a, j->b, j->token, j->n, j->d1, 2.0f);
}

static void loss(struct job *j)
{
    softmax_ce(j->d, NULL, j->a, F32, j->V, j->a, j->V, j->token, NULL, j->n, j->V, 0.0f,
               (struct ce_terms){0});
}

/* A bf16 gradient in the first half of each row of logits. */
static void loss_bf16(struct job *j)
{
    softmax_ce(j->d, NULL, j->a, BF16, 2 * j->V, j->a, j->V, j->token, NULL, j->n, j->V, 0.0f,
               (struct ce_terms){0});
}

static void loss_apart(struct job *j)
{
    softmax_ce(j->d, NULL, j->b, j->t, j->V, j->a, j->V, j->token, NULL, j->n, j->V, 0.0f,
               (struct ce_terms){0});
}

static void loss_capped(struct job *j)
{
    softmax_ce(j->d, NULL, j->a, F32, j->V, j->a, j->V, j->token, NULL, j->n, j->V, 30.0f,
               (struct ce_terms){0});
}

static void loss_only(struct job *j)
{
    softmax_ce(j->d, NULL, NULL, F32, 0, j->a, j->V, j->token, NULL, j->n, j->V, 0.0f,
               (struct ce_terms){0});
}

static void attend(struct job *j)
{
    attention_fwd(j->b, F32, j->d, j->a, NULL, &j->s, j->scratch);
}

static void attend_bwd(struct job *j)
{
    attention_bwd(j->c, j->b, j->b, F32, j->d, j->a, NULL, &j->s, j->scratch);
}

static void decode(struct job *j)
{
    size_t ld = j->s.K * j->s.Hd;
    attention_decode(j->c, j->a, j->b, j->b + j->n * ld, ld, j->n, &j->s, j->scratch);
}

/* A case of n rows of d1 values: few rows, which stay in the second cache and show what the
 * arithmetic takes, and as many as a step has. */
struct row_case {
    const char *name;
    work_fn *work;
    size_t d1, heads; /* elements in a row: d1 · heads */
    double f32, bf16; /* bytes an element in either type of output; 0: no such case */
    int typed_inputs; /* the inputs have that type as well */
};

static void bench_rows(struct job *j)
{
    static const struct row_case cases[] = {
        {"rmsnorm_fwd", norm_fwd, 640, 1, 8, 6, 0},
        {"rmsnorm_bwd", norm_bwd, 640, 1, 12, 0, 0},
        {"residual_fwd", residual, 640, 1, 16, 14, 0},
        {"residual_bwd", residual_bwd, 640, 1, 24, 22, 0},
        {"embed_fwd", look_up, 640, 1, 8, 0, 0},
        {"embed_bwd", look_up_bwd, 640, 1, 12, 0, 0},
        {"heads_fwd", heads, 256, 6, 8, 0, 0},
        {"heads_bwd", heads_back, 256, 6, 12, 10, 0},
        {"geglu_fwd", glu_fwd, 2048, 1, 12, 6, 1},
        {"geglu_bwd", glu_bwd, 2048, 1, 24, 12, 1},
    };
    static const size_t rows[] = {24, 2048};
    rope_table(j->scratch + 4096, 2048, 256, 10000.0, 1.0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int k = 0; k < 4; k++) {
            const struct row_case *c = &cases[i];
            char name[64];
            j->n = rows[k % 2], j->d1 = c->d1, j->t = k / 2 ? BF16 : F32;
            double bytes = k / 2 ? c->bf16 : c->f32, e = (double)(j->n * j->d1 * c->heads);
            snprintf(name, sizeof name, "%s %zux%zu%s", c->name, j->n, j->d1 * c->heads,
                     k / 2 ? " bf16" : "");
            if (bytes == 0 || (only && !strstr(name, only)))
                continue;
            fill(j, c->typed_inputs ? j->t : F32);
            by_bytes(name, c->work, j, e, bytes * e);
        }
}

static void bench_loss(struct job *j)
{
    static const size_t sizes[] = {4096, 32768, 50257, 262144};
    static const struct {
        const char *name;
        work_fn *work;
        double bytes;
        enum dtype t;
    } cases[] = {{"loss only", loss_only, 4, F32},
                 {"loss+grad", loss, 8, F32},
                 {"loss+grad bf16", loss_bf16, 6, BF16},
                 {"loss+grad apart", loss_apart, 8, F32},
                 {"loss+grad apart bf16", loss_apart, 6, BF16},
                 {"loss+grad, cap", loss_capped, 8, F32}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            char name[64];
            j->V = sizes[i], j->n = (1 << 23) / j->V, j->t = cases[k].t;
            double e = (double)(j->n * j->V);
            snprintf(name, sizeof name, "%s %zux%zu", cases[k].name, j->n, j->V);
            if (!only || strstr(name, only))
                fill(j, F32);
            by_bytes(name, cases[k].work, j, e, cases[k].bytes * e);
        }
}

/* Pairs of a query and a key that it sees, over all heads. */
static double pairs(const struct attention_shape *s)
{
    double n = 0.0;
    for (size_t i = 1; i <= s->T; i++)
        n += (double)(s->window != 0 && i > s->window ? s->window : i);
    return n * (double)(s->B * s->H);
}

/* Credited are the pairs that are seen, two products forward and four backward; the scores that
 * the backward pass computes again are not. */
static void bench_attention_shape(struct job *j, const struct attention_shape *s)
{
    char name[80];
    double p = pairs(s), Hd = (double)s->Hd;
    j->s = *s;
    j->s.scale = 0.1f;
    snprintf(name, sizeof name, "T%zu H%zu K%zu Hd%zu%s%s%s", s->T, s->H, s->K, s->Hd,
             s->window ? " window" : "", s->cap != 0.0f ? " cap" : "",
             s->products == BF16 ? " bf16" : "");
    by_flops(name, attend, j, p, 4 * Hd * p);
    by_flops("            its backward", attend_bwd, j, p, 8 * Hd * p);
}

static void bench_attention(struct job *j)
{
    static const struct attention_shape shapes[] = {
        {.B = 4, .T = 256, .H = 4, .K = 1, .Hd = 64},
        {.B = 2, .T = 512, .H = 4, .K = 1, .Hd = 256},
        {.B = 2, .T = 256, .H = 12, .K = 12, .Hd = 64},
        {.B = 1, .T = 2048, .H = 4, .K = 1, .Hd = 64},
        {.B = 1, .T = 512, .H = 16, .K = 16, .Hd = 256},
        {.B = 1, .T = 2048, .H = 4, .K = 1, .Hd = 256, .window = 512},
        {.B = 1, .T = 1024, .H = 8, .K = 4, .Hd = 256, .cap = 50.0f}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (enum dtype type = F32; type <= BF16; type++) {
            struct attention_shape s = shapes[i];
            s.products = type;
            bench_attention_shape(j, &s);
        }
    j->s = shapes[1];
    j->n = 512;
    by_bytes("decode T512 H4 K1 Hd256", decode, j, 512 * 4, 8.0 * 512 * 256);
}

static void loop_products(struct job *j)
{
    by_flops("gemm_nt 512x2048x640", gemm_512, j, 512.0 * 2048.0, 2.0 * 512 * 2048 * 640);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    unsetenv("OPENBLAS_CORETYPE");
    unsetenv("OPENBLAS_L2_SIZE");
    only = argc > 1 ? argv[1] : NULL;
    gemm_set_threads(1);
    struct job j = {.a = ref_random(N, 1, 1.0), .b = ref_random(N, 2, 1.0)};
    j.c = ref_random(N, 3, 1.0), j.d = ref_random(N, 4, 1.0), j.scratch = ref_random(N, 5, 1.0);
    j.token = ref_random_ints(1 << 16, 6, 4096);
    peak_flops = peak_fma_flops(0.2);
    printf("%s; %s\nFMA peak of one core %.1f GFLOP/s\n", gemm_core(), gemm_version(),
           peak_flops * 1e-9);
    loop_products(&j);
    bench_attention(&j);
    bench_loss(&j);
    bench_rows(&j);
    free(j.a), free(j.b), free(j.c), free(j.d), free(j.scratch), free(j.token);
    return 0;
}
