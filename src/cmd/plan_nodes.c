#include "plan.h"

#include "base/err.h"
#include "cmd/net.h"
#include "train/optimizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* When nothing else is said: 100 Gbit/s InfiniBand; a core's share of a server's memory. */
static const char DEFAULT_NET[] = "2us,12.5GB/s";
static const double ASSUMED_BYTES_PER_S = 8e9, MEASURE_SECONDS = 3;
/* Two products of three are backward. */
static const double ASSUMED_BACKWARD = 2.0 / 3, GIGA = 1e9;
static const double GOOD = 0.9, BAD = 0.5, WORTH_IT = 0.02;

/* What is frozen is passed forward alone. Passes are measured as if nothing were. */
static void leave_out_frozen(struct step_rates *r, double all, double flops)
{
    double forward = all / 3, backward = r->micro_s * r->backward_share;
    double left = backward * (flops - forward) / (all - forward);
    r->micro_s += left - backward;
    r->backward_share = left / r->micro_s;
}

static int take_rates(struct plan *p, const struct request *r)
{
    const struct config *c = &p->job->conf;
    double all = spec_flops_per_token(&p->job->spec, (int)c->batch.seq_len);
    if (!p->measured) {
        double flops = all * (double)(c->batch.micro * c->batch.seq_len);
        p->rates = (struct step_rates){.micro_s = flops / (r->gflops * GIGA),
                                       .backward_share = ASSUMED_BACKWARD,
                                       .rank_bytes_per_s = ASSUMED_BYTES_PER_S};
    } else {
        TRY(step_rates(&p->rates, c, &p->job->spec, (int)p->ranks_a_node, MEASURE_SECONDS));
    }
    leave_out_frozen(&p->rates, all, p->flops_token);
    return OK;
}

int plan_model(struct plan *p, const struct request *r)
{
    const struct config *c = &p->job->conf;
    const struct optim_rule *rule;
    struct optimizer_work work;
    struct step_model *m = &p->model;
    p->measured = r->gflops <= 0;
    p->net_given = r->net != NULL;
    p->n_nodes_asked = r->nodes;
    TRY(net_parse(p->net_given ? r->net : DEFAULT_NET, &m->latency_s, &m->link_bytes_per_s));
    TRY(optim_find(&rule, c->optimizer.name));
    TRY(take_rates(p, r));
    m->n_params = p->n_params;
    m->n_trained = p->n_trained;
    m->global = c->batch.global;
    m->micro = c->batch.micro;
    m->seq_len = (double)c->batch.seq_len;
    TRY(optimizer_warn(c, rule));
    TRY(optimizer_work(&work, rule, c, &p->job->spec));
    m->moves = optim_moves(rule, optimizer_momentum(c, rule));
    m->sharded = strcmp(c->parallel.shard, "none") != 0;
    m->bucket_bytes = (double)((int64_t)c->parallel.bucket_mib << 20);
    m->shared = budget_shares_params(c);
    m->wire_bytes = (double)dtype_size(budget_reduction(c).wire);
    m->ranks_a_node = (int)p->ranks_a_node;
    m->micro_s = p->rates.micro_s;
    m->update_flops = work.all;
    m->most_flops = work.most;
    m->rank_flops_per_s = p->flops_token * (double)(c->batch.micro * c->batch.seq_len) / m->micro_s;
    m->pack_s = p->rates.pack_s;
    m->backward_share = p->rates.backward_share;
    m->rank_bytes_per_s = p->rates.rank_bytes_per_s;
    return OK;
}

/* 1, 2, 4, … and the last; 0 past it. */
static int64_t next_count(const struct plan *p, int64_t nodes)
{
    if (nodes >= p->n_nodes_asked)
        return 0;
    return 2 * nodes < p->n_nodes_asked ? 2 * nodes : p->n_nodes_asked;
}

static int64_t ranks_on(const struct plan *p, int64_t nodes)
{
    return nodes == p->nodes ? p->ranks : nodes * p->ranks_a_node;
}

static double on_bf16_wire(const struct plan *p, int64_t ranks)
{
    struct step_model m = p->model;
    m.wire_bytes = 2;
    return step_model_time(&m, ranks).tokens_per_s / step_model_time(&p->model, ranks).tokens_per_s;
}

static void print_row(const struct plan *p, int64_t nodes)
{
    int64_t ranks = ranks_on(p, nodes);
    struct step_time t = step_model_time(&p->model, ranks);
    int64_t batch = step_model_batch_for(&p->model, ranks, GOOD);
    char step[32], rate[32], want[32];
    snprintf(want, sizeof want, "%" PRId64, batch);
    printf("%6" PRId64 " %7" PRId64 " %7" PRId64 " %9s %8s %6.1f%% %8.1f%% %8.2fx %10s\n", nodes,
           ranks, t.per_rank, plan_step_text(step, sizeof step, t.step_s),
           fmt_si(rate, sizeof rate, t.tokens_per_s), 100 * step_model_efficiency(&p->model, ranks),
           100 * (t.step_s - t.passes_s) / t.step_s, on_bf16_wire(p, ranks),
           batch > 0 ? want : "none");
}

/* The first count whose efficiency lies under a share; 0: none does. */
static int64_t first_under(const struct plan *p, double share)
{
    for (int64_t n = 1; n > 0; n = next_count(p, n))
        if (step_model_efficiency(&p->model, ranks_on(p, n)) < share)
            return n;
    return 0;
}

static void advise_on_batch(const struct plan *p, struct str *out, int64_t nodes)
{
    int64_t ranks = ranks_on(p, nodes), n_micro = p->n_micro;
    int64_t batch = step_model_batch_for(&p->model, ranks, GOOD);
    if (n_micro < ranks)
        str_addf(out,
                 "; there, %" PRId64 " of %" PRId64 " ranks have no micro-batch: lower "
                 "batch.micro or raise batch.global",
                 ranks - n_micro, ranks);
    else if (n_micro % ranks != 0)
        str_addf(out, "; there, micro-batches do not divide evenly among %" PRId64 " ranks", ranks);
    if (batch > p->model.global)
        str_addf(out, "; batch.global=%" PRId64 " would bring it back to %.0f%%", batch,
                 100 * GOOD);
}

static void advise_on_wire(const struct plan *p, struct str *out)
{
    for (int64_t n = 1; n > 0; n = next_count(p, n)) {
        double gain = on_bf16_wire(p, ranks_on(p, n)) - 1;
        if (gain < WORTH_IT)
            continue;
        str_addf(out, "; gradients sent in bf16 pay from %" PRId64 " nodes on (%.0f%% there)", n,
                 100 * gain);
        return;
    }
    str_add(out, "; sending gradients in bf16 gains nothing here");
}

static void advise(const struct plan *p, struct str *out)
{
    int64_t good = first_under(p, GOOD), bad = first_under(p, BAD);
    if (good == 0)
        str_addf(out, "efficiency stays above %.0f%% to the end", 100 * GOOD);
    else
        str_addf(out, "efficiency falls under %.0f%% at %" PRId64 " nodes", 100 * GOOD, good);
    if (bad > 0)
        str_addf(out, " and under %.0f%% at %" PRId64, 100 * BAD, bad);
    if (good > 0)
        advise_on_batch(p, out, good);
    if (p->n_nodes_asked > 1)
        advise_on_wire(p, out);
}

void plan_print_nodes(const struct plan *p)
{
    struct str text = {0};
    printf("\n%6s %7s %7s %9s %8s %7s %9s %9s %10s\n", "nodes", "ranks", "passes", "step", "tok/s",
           "effic.", "no pass", "bf16 wire", "90% at");
    for (int64_t n = 1; n > 0; n = next_count(p, n))
        print_row(p, n);
    puts("passes: micro-batches of the busiest rank; no pass: share of the step; 90% at: the\n"
         "batch.global with that efficiency. Network contention, stragglers and files are not in "
         "it.");
    advise(p, &text);
    printf("advice          %s\n", text.s);
    str_release(&text);
}

static json_t *row_json(const struct plan *p, int64_t nodes)
{
    int64_t ranks = ranks_on(p, nodes);
    struct step_time t = step_model_time(&p->model, ranks);
    return json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:I}", "nodes",
                     (json_int_t)nodes, "ranks", (json_int_t)ranks, "micro_batches_a_rank",
                     (json_int_t)t.per_rank, "step_s", t.step_s, "tokens_per_s", t.tokens_per_s,
                     "efficiency", step_model_efficiency(&p->model, ranks), "messages_exposed_s",
                     t.exposed_s, "gather_s", t.gather_s, "bf16_wire_speedup",
                     on_bf16_wire(p, ranks), "batch_for_90_percent",
                     (json_int_t)step_model_batch_for(&p->model, ranks, GOOD));
}

json_t *plan_nodes_json(const struct plan *p)
{
    if (p->n_nodes_asked == 0)
        return json_null();
    json_t *list = json_array();
    struct str text = {0};
    for (int64_t n = 1; n > 0; n = next_count(p, n))
        json_array_append_new(list, row_json(p, n));
    advise(p, &text);
    json_t *all = json_pack("{s:o, s:s, s:f, s:f}", "counts", list, "advice", text.s, "latency_s",
                            p->model.latency_s, "link_bytes_per_s", p->model.link_bytes_per_s);
    str_release(&text);
    return all;
}
