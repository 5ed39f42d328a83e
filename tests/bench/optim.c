/* What an update costs by each rule, against the bytes that it must move at the rate that memory
 * gives when all ranks ask at once. Muon's products are told apart, against the library's rate for
 * one of them. For `make bench`: ranks: 2 */
#include "optim/optim.h"
#include "bench/bench.h"
#include "kern/gemm.h"

#include <string.h>

/* Half of the slab is an embedding, the rest matrices between activations. */
enum { SIDE = 1024, N_HIDDEN = 16, EMBED_ROWS = SIDE * N_HIDDEN, N_GROUPS = N_HIDDEN + 1 };
#define N_FLOATS ((size_t)SIDE * (EMBED_ROWS + SIDE * N_HIDDEN))

static struct optim_group groups[N_GROUPS];

static void lay_out(void)
{
    size_t at = 0;
    for (int i = 0; i < N_GROUPS; i++) {
        size_t rows = i == 0 ? EMBED_ROWS : SIDE;
        groups[i] = (struct optim_group){.at = {at, rows * SIDE},
                                         .decay = true,
                                         .rate = 1,
                                         .rows = rows,
                                         .cols = SIDE,
                                         .hidden = i > 0};
        at += rows * SIDE;
    }
}

struct updating {
    struct optim_layout layout;
    struct optim o;
    struct optim_step step;
    float *params, *grad;
};

static void update(void *ctx)
{
    struct updating *u = ctx;
    u->step.t++;
    optim_update(&u->o, &u->step, u->params, u->grad);
}

static struct updating updating_of(const struct optim_rule *rule, double momentum)
{
    struct updating u = {.step = {.lr = 1e-3,
                                  .beta1 = 0.9,
                                  .beta2 = 0.95,
                                  .eps = rule->eps,
                                  .momentum = momentum,
                                  .weight_decay = 0.1,
                                  .grad_scale = 0.5,
                                  .trust = 1e-3,
                                  .d0 = 1e-6,
                                  .hyper_cap = 10}};
    must(optim_layout_init(&u.layout, rule, groups, N_GROUPS, N_FLOATS, (size_t)16 * MIB,
                           world.size));
    return u;
}

/* Seconds of an update; the state is there for as long. */
static double update_s(const struct optim_rule *rule, double momentum)
{
    struct updating u = updating_of(rule, momentum);
    u.params = floats(N_FLOATS);
    u.grad = floats(N_FLOATS);
    must(optim_init(&u.o, rule, &u.layout, groups, N_GROUPS, momentum, &world));
    optim_begin(&u.o, u.params, false);
    optim_hide(&u.o, u.params);
    double s = timed(update, &u, N_FLOATS * sizeof(float));
    optim_release(&u.o);
    optim_layout_release(&u.layout);
    mem_free(u.params);
    mem_free(u.grad);
    return s;
}

static void bench_rule(const struct optim_rule *rule, double momentum, double rate)
{
    int each = (int)sizeof(float) * optim_moves(rule, momentum);
    double bytes = (double)each * (double)N_FLOATS / world.size, s = update_s(rule, momentum);
    char name[32];
    snprintf(name, sizeof name, "%s%s", rule->name, momentum > 0 ? ", momentum" : "");
    print("%18s %14d %10.1f %10.2f %10.2f\n", name, each, s * 1e3, bytes / s * 1e-9,
          s / (bytes / rate));
}

/* ---- muon's products ---- */

struct product {
    float *a, *b, *c;
};

static void multiply(void *ctx)
{
    struct product *p = ctx;
    gemm_nn(p->c, SIDE, p->a, SIDE, p->b, SIDE, SIDE, SIDE, SIDE, 1, 0);
}

static double product_flops(void)
{
    size_t n = (size_t)SIDE * SIDE;
    struct product p = {floats(n), floats(n), floats(n)};
    double s = timed(multiply, &p, (size_t)64 * MIB);
    mem_free(p.a);
    mem_free(p.b);
    mem_free(p.c);
    return 2.0 * SIDE * SIDE * SIDE / s;
}

/* Three square products in each of five steps; the other passes move what muon's own do. */
static void bench_muon(const struct optim_rule *rule, double rate)
{
    double s = update_s(rule, rule->momentum), per = (double)N_HIDDEN / world.size;
    double flops = per * 5 * 3 * 2.0 * SIDE * SIDE * SIDE, library = product_flops();
    double bytes = sizeof(float) * rule->moves * (double)N_FLOATS / world.size;
    print("\nmuon: %.1f ms, of which memory takes %.1f; the rest are %.1f GFLOP at %.1f GFLOP/s a "
          "rank, %.0f%% of the library's %.1f\n",
          s * 1e3, bytes / rate * 1e3, flops * 1e-9, flops / (s - bytes / rate) * 1e-9,
          100 * flops / (s - bytes / rate) / library, library * 1e-9);
}

int main(int argc, char **argv)
{
    must(comm_init(&world, &argc, &argv));
    lay_out();
    double rate = memory_rate((size_t)64 * MIB);
    print("memory: %.2f GB/s a rank with %d ranks at once, read and written\n", rate * 1e-9,
          world.size);
    print("updating %.0f MiB of parameters; the last column: time over that of the bytes alone\n",
          (double)(N_FLOATS * sizeof(float)) / MIB);
    print("%18s %14s %10s %10s %10s\n", "rule", "bytes a value", "ms", "GB/s", "x floor");
    for (int i = 0; optim_row(i) != NULL; i++) {
        const struct optim_rule *rule = optim_row(i);
        bool products = strcmp(rule->name, "muon") == 0;
        if (!products && rule->momentum == 0)
            bench_rule(rule, 0, rate);
        if (!products && rule->last_is_momentum)
            bench_rule(rule, 0.9, rate);
        if (products)
            bench_muon(rule, rate);
    }
    comm_end(&world);
    return 0;
}
