#include "plan.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

static json_t *lines_json(const char *text)
{
    json_t *lines = json_array();
    for (const char *at = text; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, "\n");
        json_array_append_new(lines, json_stringn(at, n));
        at += n + (at[n] == '\n');
    }
    return lines;
}

static json_t *memory_json(const struct plan *p)
{
    json_t *rank = json_object();
    for (int i = 0; i < p->budget.n; i++)
        json_object_set_new(
            rank, p->budget.row[i].label,
            json_real(p->budget.row[i].bytes / (p->budget.row[i].shared ? p->budget.ranks : 1)));
    return json_pack("{s:o, s:f, s:f, s:f, s:b, s:f}", "rank", rank, "rank_bytes",
                     budget_total(&p->budget), "node_bytes", p->node_bytes, "limit_bytes",
                     p->limit_bytes, "fits", p->node_bytes <= p->limit_bytes, "checkpoint_bytes",
                     p->budget.checkpoint_bytes);
}

static json_t *time_json(const struct step_time *t)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "passes_s", t->passes_s, "sum_s",
                     t->sum_s, "messages_hidden_s", t->hidden_s, "messages_exposed_s", t->exposed_s,
                     "optimizer_s", t->optim_s, "gather_s", t->gather_s, "pack_s", t->pack_s,
                     "agree_s", t->agree_s);
}

static json_t *model_json(const struct model_spec *s)
{
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "family", s->family, "vocab", s->V,
                     "width", s->D, "layers", s->L, "heads", s->H, "kv_heads", s->K, "head_dim",
                     s->Hd, "ffn", s->F);
}

/* A row a stage, also where there is but one. */
static json_t *ramp_json(const struct plan *p)
{
    const struct course *k = &p->course;
    json_t *rows = json_array();
    struct ramp_at at = {0, 0}, next;
    for (; at.step < k->n_steps; at = next) {
        int64_t batch = ramp_batch(&k->ramp, at);
        next = course_next(k, at);
        json_array_append_new(
            rows,
            json_pack("{s:f, s:I, s:I, s:I, s:f, s:f}", "from_token",
                      (double)at.samples * (double)p->job->conf.batch.seq_len, "batch",
                      (json_int_t)batch, "steps", (json_int_t)(next.step - at.step),
                      "micro_batches", (json_int_t)derive_micros(&p->job->conf, batch), "peak_lr",
                      derive_settings(&p->scaling, batch).lr, "step_s", plan_step_s(p, batch)));
    }
    return rows;
}

int plan_print_json(const struct plan *p)
{
    json_t *j = json_pack(
        "{s:s, s:o, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:f, s:I, s:f, s:f, s:o, s:o, s:f, s:o, "
        "s:f, s:f, s:f, s:f, s:o, s:o, s:o}",
        "job", p->job->name, "model", model_json(&p->job->spec), "parameters", p->n_params,
        "flops_per_token", p->flops_token, "flops_per_step", p->flops_step, "ranks",
        (json_int_t)p->ranks, "nodes", (json_int_t)p->nodes, "micro_batches",
        (json_int_t)p->n_micro, "accumulation", (json_int_t)p->accumulation, "tokens_per_step",
        p->tokens_step, "steps", (json_int_t)p->course.n_steps, "tokens", plan_tokens(p), "peak_lr",
        p->schedule.peak, "lr_derivation", lines_json(p->derivation.s), "memory", memory_json(p),
        "rank_flops", p->rank_flops, "step", time_json(&p->time), "step_s", p->time.step_s,
        "tokens_per_s", p->time.tokens_per_s, "run_s", p->run_s, "core_hours", p->core_hours,
        "scaling", plan_nodes_json(p), "batch_ramp", ramp_json(p), "warnings",
        lines_json(p->warnings.s));
    if (j == NULL)
        return ERR(E_BUG, "the plan is no valid JSON");
    json_dumpf(j, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(j);
    return OK;
}
