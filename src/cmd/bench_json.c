#include "bench.h"

#include "base/err.h"

#include <jansson.h>
#include <string.h>

static json_t *link_json(const struct link *l)
{
    if (l->bytes_per_s <= 0)
        return json_null();
    return json_pack("{s:f, s:f}", "latency_s", l->latency_s, "bytes_per_s", l->bytes_per_s);
}

static json_t *machine_json(const struct machine_speed *m)
{
    return json_pack("{s:f, s:f, s:s, s:f, s:f, s:o, s:o}", "fp32_flops_a_core", m->fma,
                     "bf16_flops_a_core", m->bf16, "isa", m->isa, "copy_bytes_per_s_a_rank",
                     m->copy, "triad_bytes_per_s_a_rank", m->triad, "messages_in_node",
                     link_json(&m->node), "messages_between_nodes", link_json(&m->net));
}

static json_t *phases_json(const struct bench_steps *s, const struct machine_speed *m)
{
    json_t *list = json_array();
    for (int i = 0; i < PROF_N; i++) {
        const struct prof_row *row = &s->profile.row[i];
        if (row->s <= 0)
            continue;
        double floor_s = bench_floor_s(row, s, m);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:f}", "part",
                                        PROF_PARTS[PROF_NAMES[i].part], "phase", PROF_NAMES[i].name,
                                        "s", row->s, "flops_per_s", row->flops / row->s,
                                        "bytes_per_s", row->bytes / row->s, "floor_s", floor_s,
                                        "floor_fraction", floor_s / row->s));
    }
    return list;
}

static json_t *plan_json(const struct bench_steps *s)
{
    json_t *rank = json_object();
    for (int i = 0; i < s->budget.n; i++)
        json_object_set_new(
            rank, s->budget.row[i].label,
            json_real(s->budget.row[i].bytes / (s->budget.row[i].shared ? s->budget.ranks : 1)));
    return json_pack("{s:f, s:f, s:o}", "rank_bytes", budget_total(&s->budget), "node_bytes",
                     budget_node(&s->budget), "rank", rank);
}

static json_t *count_json(const struct bench_scaling *s, int i)
{
    double share = (double)s->ranks[i] / s->ranks[0];
    double weak = s->weak_tokens[i] / s->weak_s[i], first = s->weak_tokens[0] / s->weak_s[0];
    return json_pack("{s:i, s:b, s:f, s:f, s:f, s:I, s:f, s:f, s:f}", "ranks", s->ranks[i],
                     "crowded", s->crowded[i], "strong_step_s", s->strong_s[i],
                     "strong_tokens_per_s", s->strong_tokens / s->strong_s[i], "strong_efficiency",
                     s->strong_s[0] / s->strong_s[i] / share, "weak_batch",
                     (json_int_t)s->weak_global[i], "weak_step_s", s->weak_s[i],
                     "weak_tokens_per_s", weak, "weak_efficiency", weak / first / share);
}

static json_t *scaling_json(const struct bench_scaling *s)
{
    json_t *counts = json_array(), *fit = json_null();
    if (s == NULL) {
        json_decref(counts);
        return json_null();
    }
    for (int i = 0; i < s->n; i++)
        json_array_append_new(counts, count_json(s, i));
    if (s->fitted)
        fit = json_pack("{s:f, s:f, s:i, s:s}", "one_rank_s", s->fit.one_s, "serial_share",
                        s->fit.serial, "counts", s->n_fitted, "formula",
                        "one_rank_s * (serial_share + (1 - serial_share) / ranks)");
    return json_pack("{s:o, s:o, s:s}", "counts", counts, "amdahl", fit, "advice", s->advice);
}

int bench_print_json(const struct job *j, const struct bench_folder *f, const struct bench_steps *s,
                     const struct machine_speed *m, const struct bench_scaling *scaling)
{
    json_t *o =
        json_pack("{s:s, s:b, s:i, s:i, s:i, s:b, s:s, s:s, s:I, s:I}", "job", j->name,
                  "synthetic_tokens", f->synthetic, "ranks", s->ranks, "nodes", s->nodes, "cores",
                  s->cores, "crowded", s->crowded, "precision", s->precision, "blas", s->blas,
                  "batch_global", (json_int_t)s->global, "steps", (json_int_t)s->n_steps);
    json_t *rates = json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "step_s", s->step_s,
        "fastest_step_s", s->fastest_s, "slowest_step_s", s->slowest_s, "tokens_per_step",
        s->tokens, "tokens_per_s", s->tokens / s->step_s, "flops_per_s", s->flops / s->step_s,
        "peak_flops", bench_peak(s, m), "peak_fraction", bench_peak_fraction(s, m), "io_fraction",
        bench_io_share(s), "memory_bytes", s->all_bytes, "rank_memory_bytes", s->rank_bytes);
    json_t *parts = json_pack("{s:o, s:o, s:o, s:o, s:[f, f]}", "plan", plan_json(s), "machine",
                              machine_json(m), "phases", phases_json(s, m), "scaling",
                              scaling_json(scaling), "passes_s", s->compute_s[0], s->compute_s[1]);
    int bad = o == NULL || rates == NULL || parts == NULL || json_object_update(o, rates) != 0 ||
              json_object_update(o, parts) != 0 ||
              json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(8)) != 0;
    putchar('\n');
    json_decref(o);
    json_decref(rates);
    json_decref(parts);
    return bad ? ERR(E_BUG, "the figures are no valid JSON") : OK;
}
