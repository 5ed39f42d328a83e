#include "bench.h"

#include "base/str.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const double GIGA = 1e9, MILLI = 1e-3, FARTHEST = 999;

double bench_floor_s(const struct prof_row *row, const struct bench_steps *s,
                     const struct machine_speed *m)
{
    double compute = row->flops / (bench_peak(s, m) / s->ranks);
    double memory = row->bytes / machine_bandwidth(m);
    return compute > memory ? compute : memory;
}

static double profile_s(const struct bench_steps *s)
{
    double sum = 0;
    for (int i = 0; i < PROF_N; i++)
        sum += s->profile.row[i].s;
    return sum;
}

double bench_io_share(const struct bench_steps *s)
{
    return s->io_s / s->step_s;
}

double bench_peak_fraction(const struct bench_steps *s, const struct machine_speed *m)
{
    return s->flops / s->step_s / bench_peak(s, m);
}

static void print_link(const char *where, const struct link *l)
{
    if (l->bytes_per_s > 0)
        printf("messages        %.3gus,%.3gGB/s %s\n", l->latency_s * 1e6, l->bytes_per_s / GIGA,
               where);
}

static void print_machine(const struct bench_steps *s, const struct machine_speed *m)
{
    printf("ranks           %d on %d node%s, %d thread%s each; %s, products by %s\n", s->ranks,
           s->nodes, s->nodes == 1 ? "" : "s", s->cores / s->ranks, s->cores == s->ranks ? "" : "s",
           s->precision, s->blas);
    if (s->crowded)
        puts("                more threads than processors: these figures say nothing of speed");
    printf("peak            %.4g GFLOP/s a core in fp32 (%s)", m->fma / GIGA, m->isa);
    if (m->bf16 > 0)
        printf(", %.4g in bf16", m->bf16 / GIGA);
    printf("\nbandwidth       %.3g GB/s a rank copying, %.3g a = b + s*c, all ranks at once\n",
           m->copy / GIGA, m->triad / GIGA);
    print_link("inside a node", &m->node);
    print_link("between nodes (for carat plan --net)", &m->net);
}

static void print_number(double v, const char *format)
{
    if (v > 0)
        printf(format, v);
    else
        printf("%9s", "-");
}

static void print_row(const char *part, const char *name, const struct prof_row *row, double all,
                      double floor_s)
{
    printf("%-10s %-11s", part, name);
    printf("%10.3f %6.1f%%", row->s / MILLI, 100 * row->s / all);
    print_number(row->flops / row->s / GIGA, "%9.1f");
    print_number(row->bytes / row->s / GIGA, "%9.2f");
    double share = 100 * floor_s / row->s;
    if (share > FARTHEST)
        printf("%9s\n", ">999%"); /* charged here, done in another phase's time */
    else if (share > 0)
        printf("%8.0f%%\n", share);
    else
        printf("%9s\n", "-");
}

static void print_phases(const struct bench_steps *s, const struct machine_speed *m)
{
    double all = profile_s(s);
    struct prof_row sum = {0};
    double floors = 0;
    int part = -1;
    printf("\n%-10s %-11s%10s %7s%9s%9s%9s\n", "part", "phase", "ms", "share", "GFLOP/s", "GB/s",
           "of floor");
    for (int p = 0; p < PART_N; p++)
        for (int i = 0; i < PROF_N; i++) {
            const struct prof_row *row = &s->profile.row[i];
            if ((int)PROF_NAMES[i].part != p || row->s <= 0)
                continue;
            double floor_s = bench_floor_s(row, s, m);
            print_row(part == p ? "" : PROF_PARTS[p], PROF_NAMES[i].name, row, all, floor_s);
            part = p;
            sum.s += row->s;
            sum.flops += row->flops;
            sum.bytes += row->bytes;
            floors += floor_s;
        }
    print_row("step", "", &sum, all, floors);
    puts("floor: the greater of FLOPs / peak and bytes / bandwidth; what the caches hold can beat "
         "it.\n");
}

static void print_memory(const struct bench_steps *s)
{
    char all[32], one[32], plan[32];
    double predicted = budget_total(&s->budget);
    printf("memory          %s in all (shared pages once), %s the largest rank; plan: %s a rank "
           "(measured: %+.1f%%)\n",
           fmt_bytes(all, sizeof all, s->all_bytes), fmt_bytes(one, sizeof one, s->rank_bytes),
           fmt_bytes(plan, sizeof plan, predicted), 100 * (s->rank_bytes / predicted - 1));
}

void bench_print(const struct job *j, const struct bench_folder *f, const struct bench_steps *s,
                 const struct machine_speed *m)
{
    const struct config *c = &j->conf;
    const struct model_spec *d = &j->spec;
    char rate[32];
    printf("job             %s: Gemma %d, %d layers, width %d, %d heads (%d kv) of %d, "
           "feed-forward %d, vocabulary %d\n",
           j->name, d->family, d->L, d->D, d->H, d->K, d->Hd, d->F, d->V);
    printf("batch           %" PRId64 " sequences of %" PRId64 ", micro-batch %" PRId64 "; %s\n",
           c->batch.global, c->batch.seq_len, c->batch.micro,
           f->synthetic ? "made-up tokens" : c->data.train);
    print_machine(s, m);
    printf("steps           %" PRId64 ", median %.4g ms (%.4g to %.4g); passes %.4g ms on the "
           "busiest rank (%d), %.4g on the idlest\n",
           s->n_steps, s->step_s / MILLI, s->fastest_s / MILLI, s->slowest_s / MILLI,
           s->compute_s[1] / MILLI, s->busiest, s->compute_s[0] / MILLI);
    print_phases(s, m);
    printf("tokens          %s a second\n", fmt_si(rate, sizeof rate, s->tokens / s->step_s));
    printf("peak            %.1f%% of the %s peak of %d core%s: %.4g of %.4g GFLOP/s\n",
           100 * bench_peak_fraction(s, m), s->precision, s->cores, s->cores == 1 ? "" : "s",
           s->flops / s->step_s / GIGA, bench_peak(s, m) / GIGA);
    print_memory(s);
    printf("beside it       data, metrics and progress take %.2f%% of a step\n",
           100 * bench_io_share(s));
}

static void print_counts(const struct bench_scaling *s)
{
    printf("\n%6s %10s %9s %7s %8s %10s %9s %7s\n", "ranks", "strong ms", "tok/s", "speedup",
           "effic.", "weak ms", "tok/s", "effic.");
    for (int i = 0; i < s->n; i++) {
        char strong[32], weak[32];
        double speedup = s->strong_s[0] / s->strong_s[i];
        double share = (double)s->ranks[i] / s->ranks[0];
        double weak_rate = s->weak_tokens[i] / s->weak_s[i];
        printf("%6d %10.4g %9s %7.2f %7.0f%% %10.4g %9s %6.0f%%%s\n", s->ranks[i],
               s->strong_s[i] / MILLI,
               fmt_si(strong, sizeof strong, s->strong_tokens / s->strong_s[i]), speedup,
               100 * speedup / share, s->weak_s[i] / MILLI, fmt_si(weak, sizeof weak, weak_rate),
               100 * weak_rate / (s->weak_tokens[0] / s->weak_s[0]) / share,
               s->crowded[i] ? "  more threads than processors" : "");
    }
    printf("strong: %" PRId64 " sequences a step throughout; weak: from %" PRId64 " to %" PRId64
           ".\n",
           s->strong_global, s->weak_global[0], s->weak_global[s->n - 1]);
}

void bench_print_scaling(const struct bench_scaling *s)
{
    print_counts(s);
    if (s->fitted)
        printf("Amdahl's fit    T(n) = %.4g ms * (s + (1 - s) / n), s = %.2f%%, least squares over "
               "%d counts\n",
               s->fit.one_s / MILLI, 100 * s->fit.serial, s->n_fitted);
    printf("advice          %s\n", s->advice);
}
