/* A forward and backward pass on synthetic tokens, by phase, beside the FMA peak of the same run.
 *
 *     make .build/release/tests/bench/model
 *     env -u OPENBLAS_CORETYPE mpirun -n 2 .build/release/tests/bench/model W2 [bf16] [full]
 *
 * Shapes: W1 … W4 below, at what one of two ranks gets of a step. No messages are sent: ranks only
 * share the machine, as in training, so that any launcher of two processes will do. */
#include "model/model.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/prof.h"
#include "kern/gemm.h"
#include "kern/peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape {
    const char *name;
    int family, V, D, L, H, K, Hd, F, B, T;
} shapes[] = {
    {"W1", 3, 4096, 256, 6, 4, 1, 64, 1024, 8, 256},
    {"W2", 3, 32768, 640, 18, 4, 1, 256, 2048, 4, 512},
    {"W3", 3, 262144, 640, 18, 4, 1, 256, 2048, 2, 512},
    {"W4", 1, 50257, 768, 12, 12, 12, 64, 3072, 2, 256},
};

static void must(int rc)
{
    if (rc != OK) {
        fprintf(stderr, "%s\n", err_message());
        exit(rc);
    }
}

static struct model_spec spec_of(const struct shape *w)
{
    const struct {
        const char *field;
        int value;
    } fields[] = {{"vocab", w->V},    {"width", w->D},     {"layers", w->L}, {"heads", w->H},
                  {"kv_heads", w->K}, {"head_dim", w->Hd}, {"ffn", w->F}};
    struct model_spec s;
    spec_defaults(&s, w->family);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        must(spec_set(&s, fields[i].field, fields[i].value));
    return s;
}

static void print_profile(const struct prof *p, int steps, double peak)
{
    double all = 0;
    for (int i = 0; i < PROF_N; i++)
        all += p->row[i].s;
    for (int i = 0; i < PROF_N; i++) {
        const struct prof_row *r = &p->row[i];
        if (r->n == 0)
            continue;
        printf("  %-9s %-10s %8.2f ms %5.1f%%", PROF_PARTS[PROF_NAMES[i].part], PROF_NAMES[i].name,
               1e3 * r->s / steps, 100 * r->s / all);
        if (r->flops > 0)
            printf("  %5.1f%% of peak", 100 * r->flops / r->s / peak);
        printf("  %5.1f GB/s\n", r->bytes / r->s / 1e9);
    }
}

static void measure(const struct shape *w, const struct model_options *o, int steps)
{
    struct model_spec s = spec_of(w);
    struct model *m;
    float *params, *grads;
    int32_t *token;
    size_t n = (size_t)w->B * (size_t)w->T;
    struct prof prof = {0};
    struct pass_result r;
    must(model_new(&m, &s, w->B, w->T, o));
    must(model_set_forms(m, NULL));
    must(mem_alloc(&params, model_tensors(m)->n_elems, sizeof *params, "parameters"));
    must(mem_alloc(&grads, model_tensors(m)->n_elems, sizeof *grads, "gradients"));
    must(mem_alloc(&token, n + 1, sizeof *token, "tokens"));
    tensors_init_values(model_tensors(m), &s, 1, params);
    for (size_t i = 0; i <= n; i++)
        token[i] = (int32_t)(i * 2654435761u % (unsigned)w->V);
    struct batch_view b = {.B = w->B, .T = w->T, .token = token, .target = token + 1};
    model_pack(m, params, 0, 1);
    model_grad(m, params, &b, grads, &r, NULL, NULL);
    double peak = o->products == BF16 ? peak_bf16_flops(0.3) : peak_fma_flops(0.3);
    double begin = clock_now_s();
    model_set_prof(m, &prof);
    prof_start(&prof);
    for (int i = 0; i < steps; i++) {
        model_pack(m, params, 0, 1);
        model_grad(m, params, &b, grads, &r, NULL, NULL);
    }
    double seconds = (clock_now_s() - begin) / steps;
    double flops = spec_flops_per_token(&s, w->T) * (double)n;
    printf("%s %s: %.1f ms, %.0f tokens/s, %.1f%% of %.0f GFLOP/s; %.2f GiB held; loss %.4f\n",
           w->name, o->products == BF16 ? "bf16" : "fp32", 1e3 * seconds, (double)n / seconds,
           100 * flops / seconds / peak, peak / 1e9, (double)mem_bytes() / (1 << 30),
           r.loss_sum / r.n_targets);
    print_profile(&prof, steps, peak);
    mem_free(token), mem_free(grads), mem_free(params);
    model_free(m);
}

int main(int argc, char **argv)
{
    struct model_options o = {.training = true};
    const char *only = NULL;
    int steps = 3;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "bf16") == 0)
            o.products = BF16;
        else if (strcmp(argv[i], "full") == 0)
            o.recompute = RECOMPUTE_FULL;
        else if (strcmp(argv[i], "selective") == 0)
            o.recompute = RECOMPUTE_SELECTIVE;
        else if (atoi(argv[i]) > 0)
            steps = atoi(argv[i]);
        else
            only = argv[i];
    gemm_set_threads(1);
    printf("products by %s\n", gemm_kernel());
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (only == NULL || strcmp(shapes[i].name, only) == 0)
            measure(&shapes[i], &o, steps);
    return 0;
}
