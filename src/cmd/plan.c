#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/job.h"
#include "cmd/opts.h"
#include "cmd/probe.h"
#include "train/budget.h"
#include "train/derive.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

/* Of the rate of bare products, a training step reaches about this share: the rest goes to softmax,
 * norms, the loss, the optimizer and the memory they wait for. */
static const double STEP_EFFICIENCY = 0.8;
static const double RATE_SECONDS = 0.2;
static const double GIGA = 1e9;

struct request {
    int64_t ranks, ranks_a_node;
    double gflops, memory; /* 0: measured here, this machine's */
    bool json, lr_curve, help;
};

struct plan {
    const struct job *job;
    int64_t ranks, ranks_a_node, nodes;
    int64_t n_micro, accumulation; /* micro-batches a step: all, and of the busiest rank */
    int64_t n_steps;
    struct schedule schedule;
    struct str derivation;
    double n_params, flops_token, flops_step, tokens_step;
    struct budget budget;
    double node_bytes, limit_bytes;
    double rank_flops; /* FLOP/s of a rank in training */
    bool measured;
    double step_s, run_s, core_hours;
};

static int count_batch(struct plan *p, const struct request *r)
{
    const struct config *c = &p->job->conf;
    if (r->ranks < 1 || r->ranks > 1 << 20)
        return ERR(E_USAGE, "--ranks %" PRId64 ": at least 1", r->ranks);
    p->ranks = r->ranks;
    p->ranks_a_node =
        r->ranks_a_node > 0 && r->ranks_a_node < r->ranks ? r->ranks_a_node : r->ranks;
    p->nodes = (p->ranks + p->ranks_a_node - 1) / p->ranks_a_node;
    p->n_micro = derive_n_micro(c);
    p->accumulation = (p->n_micro + p->ranks - 1) / p->ranks;
    p->tokens_step = derive_step_tokens(c);
    p->n_params = spec_n_params(&p->job->spec);
    p->flops_token = spec_flops_per_token(&p->job->spec, (int)c->batch.seq_len);
    p->flops_step = p->flops_token * p->tokens_step;
    return OK;
}

static int count_length(struct plan *p)
{
    const struct job *j = p->job;
    bool epochs =
        j->conf.train.length.unit == UNIT_EPOCHS || j->conf.schedule.warmup.unit == UNIT_EPOCHS;
    if (epochs && !j->has_data)
        return ERR(E_DATA,
                   "%s is not there, so an epoch has no length; run `carat prepare`, or set "
                   "train.steps or train.tokens",
                   j->conf.data.train);
    p->n_steps = derive_steps(&j->conf, j->conf.train.length, j->n_samples, 0);
    if (p->n_steps < 1)
        return ERR(E_CONFIG, "the run has no step: %s holds fewer than batch.seq_len + 1 tokens",
                   j->conf.data.train);
    return derive_schedule(&p->schedule, &j->conf, j->n_samples, p->n_steps, &p->derivation);
}

static int count_memory(struct plan *p, const struct request *r)
{
    const struct team nodes = {.size = (int)p->ranks, .per = (int)p->ranks_a_node};
    TRY(budget_of(&p->budget, &p->job->conf, &p->job->spec, &nodes));
    p->node_bytes = budget_node(&p->budget);
    p->limit_bytes = r->memory > 0 ? r->memory : probe_memory_bytes();
    return OK;
}

static int count_time(struct plan *p, const struct request *r)
{
    const struct config *c = &p->job->conf;
    p->measured = r->gflops <= 0;
    p->rank_flops = r->gflops * GIGA;
    if (p->measured) {
        TRY(probe_gemm_flops(&p->rank_flops, (int)c->parallel.threads, RATE_SECONDS));
        p->rank_flops *= STEP_EFFICIENCY;
    }
    /* The busiest rank sets the pace; its last micro-batch may be the short one. */
    double sequences = (double)(p->accumulation * c->batch.micro);
    if (sequences > (double)c->batch.global)
        sequences = (double)c->batch.global;
    p->step_s = sequences * (double)c->batch.seq_len * p->flops_token / p->rank_flops;
    p->run_s = p->step_s * (double)p->n_steps;
    p->core_hours = p->run_s / 3600 * (double)(p->ranks * c->parallel.threads);
    return OK;
}

static int make_plan(struct plan *p, const struct job *j, const struct request *r)
{
    memset(p, 0, sizeof *p);
    p->job = j;
    TRY(count_batch(p, r));
    TRY(count_length(p));
    if (r->lr_curve)
        return OK;
    TRY(count_memory(p, r));
    return count_time(p, r);
}

/* The curve's row of a step: its number from 1, the tokens consumed when it is done, its rate. */
static void print_lr_curve(const struct plan *p)
{
    puts("step,tokens,lr");
    for (int64_t t = 0; t < p->n_steps; t++)
        printf("%" PRId64 ",%.0f,%.10g\n", t + 1, (double)(t + 1) * p->tokens_step,
               derive_rate(&p->schedule, &p->job->conf, t));
}

static void print_model(const struct plan *p)
{
    const struct model_spec *s = &p->job->spec;
    const struct config *c = &p->job->conf;
    char a[32], b[32];
    printf("job             %s\n", p->job->name);
    printf(
        "model           Gemma %d, %d layers, width %d, %d heads (%d kv) of %d, feed-forward %d, "
        "vocabulary %d\n",
        s->family, s->L, s->D, s->H, s->K, s->Hd, s->F, s->V);
    printf("parameters      %s (%.0f)\n", fmt_si(a, sizeof a, p->n_params), p->n_params);
    printf("FLOPs           %s a token forward and backward, %s a step\n",
           fmt_si(a, sizeof a, p->flops_token), fmt_si(b, sizeof b, p->flops_step));
    if (p->job->has_data)
        printf("data            %s: %s tokens, %s sequences of %" PRId64 "\n", c->data.train,
               fmt_si(a, sizeof a, (double)p->job->n_tokens),
               fmt_si(b, sizeof b, (double)p->job->n_samples), c->batch.seq_len);
    else
        printf("data            %s is not there yet; vocabulary of the %s\n", c->data.train,
               c->model.vocab >= 0 ? "setting" : "preset");
}

static void print_batch(const struct plan *p)
{
    const struct config *c = &p->job->conf;
    char tokens[32];
    bool even = p->accumulation * c->batch.micro * p->ranks == c->batch.global;
    printf("batch           %" PRId64 " sequences = %" PRId64 " rank%s × micro-batch %" PRId64
           " × accumulation %" PRId64 "%s\n",
           c->batch.global, p->ranks, p->ranks == 1 ? "" : "s", c->batch.micro, p->accumulation,
           even ? "" : " (uneven: at most)");
    printf("                %" PRId64 " micro-batches and %s tokens a step\n", p->n_micro,
           fmt_si(tokens, sizeof tokens, p->tokens_step));
    if (p->n_micro < p->ranks)
        printf("                %" PRId64 " ranks have no micro-batch: lower batch.micro or use "
               "fewer ranks\n",
               p->ranks - p->n_micro);
}

static void print_length(const struct plan *p)
{
    char tokens[32];
    double all = p->tokens_step * (double)p->n_steps;
    printf("length          %" PRId64 " steps = %s tokens", p->n_steps,
           fmt_si(tokens, sizeof tokens, all));
    if (p->job->n_samples > 0)
        printf(" = %.3g epochs",
               all / ((double)p->job->n_samples * (double)p->job->conf.batch.seq_len));
    putchar('\n');
    fputs(p->derivation.s, stdout);
}

static void print_memory(const struct plan *p)
{
    char text[32], limit[32];
    const struct budget *b = &p->budget;
    printf("memory of a rank\n");
    for (int i = 0; i < b->n; i++)
        printf("  %-20s %12s%s\n", b->row[i].label, fmt_bytes(text, sizeof text, b->row[i].bytes),
               b->row[i].shared ? ", once a node" : "");
    printf("  %-20s %12s\n", "a rank's share", fmt_bytes(text, sizeof text, budget_total(b)));
    printf("memory of a node  %" PRId64 " rank%s: %s of %s\n", p->ranks_a_node,
           p->ranks_a_node == 1 ? "" : "s", fmt_bytes(text, sizeof text, p->node_bytes),
           fmt_bytes(limit, sizeof limit, p->limit_bytes));
    printf("checkpoint      %s a file, %" PRId64 " kept\n",
           fmt_bytes(text, sizeof text, b->checkpoint_bytes), p->job->conf.checkpoint.keep);
}

/* Steps are often shorter than what fmt_duration can tell apart. */
static char *step_text(char *buf, size_t n, double s)
{
    if (s >= 1)
        return fmt_duration(buf, n, s);
    snprintf(buf, n, "%.3g ms", 1000 * s);
    return buf;
}

static void print_time(const struct plan *p)
{
    char step[32], run[32];
    printf("rate            %.4g GFLOP/s a rank, %s\n", p->rank_flops / GIGA,
           p->measured ? "from matrix products measured here" : "as given");
    printf("time            about %s a step, %s in all, %.3g core-hours; messages and files not "
           "counted\n",
           step_text(step, sizeof step, p->step_s), fmt_duration(run, sizeof run, p->run_s),
           p->core_hours);
}

static void print_text(const struct plan *p)
{
    print_model(p);
    print_batch(p);
    print_length(p);
    print_memory(p);
    print_time(p);
}

static json_t *derivation_json(const char *text)
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

static json_t *model_json(const struct model_spec *s)
{
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "family", s->family, "vocab", s->V,
                     "width", s->D, "layers", s->L, "heads", s->H, "kv_heads", s->K, "head_dim",
                     s->Hd, "ffn", s->F);
}

static int print_json(const struct plan *p)
{
    json_t *j = json_pack(
        "{s:s, s:o, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:f, s:I, s:f, s:f, s:o, s:o, s:f, s:f, "
        "s:f, "
        "s:f}",
        "job", p->job->name, "model", model_json(&p->job->spec), "parameters", p->n_params,
        "flops_per_token", p->flops_token, "flops_per_step", p->flops_step, "ranks",
        (json_int_t)p->ranks, "nodes", (json_int_t)p->nodes, "micro_batches",
        (json_int_t)p->n_micro, "accumulation", (json_int_t)p->accumulation, "tokens_per_step",
        p->tokens_step, "steps", (json_int_t)p->n_steps, "tokens",
        p->tokens_step * (double)p->n_steps, "peak_lr", p->schedule.peak, "lr_derivation",
        derivation_json(p->derivation.s), "memory", memory_json(p), "rank_flops", p->rank_flops,
        "step_s", p->step_s, "run_s", p->run_s, "core_hours", p->core_hours);
    if (j == NULL)
        return ERR(E_BUG, "the plan is no valid JSON");
    json_dumpf(j, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(j);
    return OK;
}

/* What makes the largest part smaller. */
static const char *remedy(const struct budget *b)
{
    static const struct {
        const char *label, *fix;
    } rows[] = {
        {"activations", "lower batch.micro or batch.seq_len"},
        {"gradients", "set parallel.reduce=fast"},
        {"optimizer state", "set parallel.shard=optimizer and share it among more ranks"},
    };
    const struct budget_row *most = &b->row[0];
    for (int i = 1; i < b->n; i++)
        most = b->row[i].bytes > most->bytes ? &b->row[i] : most;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].label, most->label) == 0)
            return rows[i].fix;
    return "use fewer ranks a node or a smaller model";
}

static int check_fit(const struct plan *p)
{
    char need[32], have[32];
    if (p->node_bytes <= p->limit_bytes)
        return OK;
    return ERR(E_MEM, "the job will not fit: a node needs %s and has %s; %s",
               fmt_bytes(need, sizeof need, p->node_bytes),
               fmt_bytes(have, sizeof have, p->limit_bytes), remedy(&p->budget));
}

static int show(const struct plan *p, const struct request *r)
{
    if (r->lr_curve) {
        print_lr_curve(p);
        return OK;
    }
    if (r->json)
        TRY(print_json(p));
    else
        print_text(p);
    return check_fit(p);
}

static int run(const struct request *r, int argc, char **argv)
{
    static struct job j;
    struct plan p;
    j.without_data = true;
    TRY(job_load(&j, argc, argv));
    if (j.print_only)
        return OK;
    int rc = make_plan(&p, &j, r);
    if (rc == OK)
        rc = show(&p, r);
    str_release(&p.derivation);
    return rc;
}

int cmd_plan(int argc, char **argv)
{
    struct request r = {.ranks = 1};
    const struct opt table[] = {
        {"ranks", 'n', OPT_INT, &r.ranks, "N", "ranks of the job (default 1)"},
        {"ranks-per-node", 0, OPT_INT, &r.ranks_a_node, "N", "of them on one node (default: all)"},
        {"memory", 0, OPT_F64, &r.memory, "SIZE",
         "memory of a node, such as 64GiB (default: this machine's)"},
        {"gflops", 0, OPT_F64, &r.gflops, "X",
         "GFLOP/s that a rank reaches in training (default: from products measured here)"},
        {"lr-curve", 0, OPT_FLAG, &r.lr_curve, NULL, "print step,tokens,lr as CSV, nothing else"},
        {"json", 0, OPT_FLAG, &r.json, NULL, "print JSON"},
        JOB_OPTIONS,
        {"help", 'h', OPT_FLAG, &r.help, NULL, "this text"},
    };
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (r.help) {
        opts_help(stdout, "carat plan JOB [key=value …] [options]",
                  "Tells before a run what it will take: parameters, FLOPs, micro-batches, the "
                  "learning rate line by line, memory of a rank and a node, checkpoint size, time. "
                  "Needs no MPI, and no data unless the length is in epochs. Exit code 71 when the "
                  "job will not fit.",
                  table, N,
                  "carat plan jobs/quickstart.yaml --ranks 8 --memory 64GiB batch.micro=4");
        return OK;
    }
    return run(&r, argc, argv);
}
