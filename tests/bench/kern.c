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
#include "kern/vec.h"
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
    printf("%-26s %8.3f ns/element %8.1f GB/s    %5.1f%% of memcpy's %.1f GB/s\n", name,
           s / elements * 1e9, bytes / s * 1e-9, floor / s * 100.0, bytes / floor * 1e-9);
}

/* A case limited by arithmetic. */
static void by_flops(const char *name, work_fn *work, struct job *j, double elements, double flops)
{
    if (only && !strstr(name, only))
        return;
    double s = seconds_of(work, j);
    printf("%-26s %8.3f ns/element %8.1f GFLOP/s %5.1f%% of the FMA peak\n", name,
           s / elements * 1e9, flops / s * 1e-9, flops / s / peak_flops * 100.0);
}

static void gemm_512(struct job *j)
{
    gemm_nt(j->c, 2048, j->a, 640, j->b, 640, 512, 2048, 640, 1.0f, 0.0f);
}

static void norm_fwd(struct job *j)
{
    rmsnorm_fwd(j->b, F32, j->d1, j->d, j->a, j->d1, j->c, j->n, j->d1, EPS);
}

static void norm_bwd(struct job *j)
{
    rmsnorm_bwd(j->b, F32, j->d1, j->c + j->d1, j->b, j->d1, j->a, j->d1, j->d, j->c, j->n, j->d1,
                0);
}

static void norm_add(struct job *j)
{
    rmsnorm_residual_fwd(j->b, NULL, F32, 0, j->d, NULL, j->b, j->a, j->c, NULL, j->n, j->d1, EPS);
}

static void heads(struct job *j)
{
    struct heads_shape s = {.B = j->n / 512, .T = 512, .H = 4, .K = 1, .Hd = j->d1, .eps = EPS};
    heads_fwd(j->b, 6 * j->d1, j->d, j->a, 6 * j->d1, j->scratch, j->scratch, j->c, &s);
}

static void glu_fwd(struct job *j)
{
    geglu_fwd(j->b, F32, j->d1, j->a, F32, 2 * j->d1, j->n, j->d1);
}

static void glu_bwd(struct job *j)
{
    geglu_bwd(j->b, j->c, j->c, F32, j->d1, j->a, F32, 2 * j->d1, j->n, j->d1);
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
    softmax_ce(j->d, NULL, j->a, F32, j->V, j->a, j->V, j->token, NULL, j->n, j->V, 0.0f);
}

static void loss_capped(struct job *j)
{
    softmax_ce(j->d, NULL, j->a, F32, j->V, j->a, j->V, j->token, NULL, j->n, j->V, 30.0f);
}

static void loss_only(struct job *j)
{
    softmax_ce(j->d, NULL, NULL, F32, 0, j->a, j->V, j->token, NULL, j->n, j->V, 0.0f);
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

static void exps(struct job *j)
{
    vec_exp(j->b, j->a, j->n);
}

static void tanhs(struct job *j)
{
    vec_tanh(j->b, j->a, j->n);
}

static void sum(struct job *j)
{
    vec_add(j->b, j->a, j->n);
}

static void sum2(struct job *j)
{
    vec_sum2(j->c, j->a, j->b, j->n);
}

static void sumsq(struct job *j)
{
    j->scratch[0] = (float)vec_sumsq(j->a, j->n);
}

static void finite(struct job *j)
{
    j->scratch[0] = vec_finite(j->a, j->n);
}

static void bench_vec(struct job *j)
{
    j->n = 4096; /* in the first cache: what the arithmetic takes */
    by_bytes("vec_exp 4096", exps, j, 4096, 8 * 4096.0);
    by_bytes("vec_tanh 4096", tanhs, j, 4096, 8 * 4096.0);
    j->n = N;
    double n = (double)j->n;
    by_bytes("vec_add 64 MiB", sum, j, n, 12 * n);
    by_bytes("vec_sum2 64 MiB", sum2, j, n, 12 * n);
    by_bytes("vec_sumsq 64 MiB", sumsq, j, n, 4 * n);
    by_bytes("vec_finite 64 MiB", finite, j, n, 4 * n);
}

static void bench_rows(struct job *j)
{
    j->n = 2048, j->d1 = 640;
    double e = (double)(j->n * j->d1);
    by_bytes("rmsnorm_fwd 2048x640", norm_fwd, j, e, 8 * e);
    by_bytes("rmsnorm_bwd 2048x640", norm_bwd, j, e, 12 * e);
    by_bytes("rmsnorm_add 2048x640", norm_add, j, e, 12 * e);
    by_bytes("embed_fwd 2048x640", look_up, j, e, 8 * e);
    by_bytes("embed_bwd 2048x640", look_up_bwd, j, e, 12 * e);
    j->d1 = 256;
    rope_table(j->c, 512, 256, 10000.0, 1.0);
    e = (double)(j->n * 6 * j->d1);
    by_bytes("heads 2048x6x256", heads, j, e, 8 * e);
    j->d1 = 2048;
    e = (double)(j->n * j->d1);
    by_bytes("geglu_fwd 2048x2048", glu_fwd, j, e, 12 * e);
    by_bytes("geglu_bwd 2048x2048", glu_bwd, j, e, 24 * e);
}

static void bench_loss(struct job *j)
{
    static const size_t sizes[] = {4096, 32768, 262144};
    for (size_t i = 0; i < 3; i++) {
        char name[64];
        j->V = sizes[i], j->n = (1 << 22) / j->V;
        double e = (double)(j->n * j->V);
        snprintf(name, sizeof name, "loss only %zux%zu", j->n, j->V);
        by_bytes(name, loss_only, j, e, 4 * e);
        snprintf(name, sizeof name, "loss+grad %zux%zu", j->n, j->V);
        by_bytes(name, loss, j, e, 8 * e);
        snprintf(name, sizeof name, "loss+grad, cap %zux%zu", j->n, j->V);
        by_bytes(name, loss_capped, j, e, 8 * e);
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
    bench_vec(&j);
    free(j.a), free(j.b), free(j.c), free(j.d), free(j.scratch), free(j.token);
    return 0;
}
