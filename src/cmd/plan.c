#include "plan.h"

#include "base/err.h"
#include "base/log.h"
#include "base/plain.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/job.h"
#include "cmd/opts.h"
#include "cmd/probe.h"
#include "train/budget.h"
#include "train/derive.h"
#include "train/progress.h"
#include "train/rates.h"

#include <inttypes.h>
#include <string.h>

static const double GIGA = 1e9;

/* --nodes with the ranks of a node, or --ranks and as many nodes as that takes. */
static int place_ranks(struct plan *p, const struct request *r)
{
    p->ranks = r->ranks;
    p->ranks_a_node =
        r->ranks_a_node > 0 && r->ranks_a_node < r->ranks ? r->ranks_a_node : r->ranks;
    if (r->nodes > 0) {
        p->ranks_a_node = r->ranks_a_node > 0 ? r->ranks_a_node : (r->ranks - 1) / r->nodes + 1;
        p->ranks = r->ranks > 1 ? r->ranks : r->nodes * p->ranks_a_node;
    }
    p->nodes = (p->ranks + p->ranks_a_node - 1) / p->ranks_a_node;
    if (r->nodes > 0 && p->nodes != r->nodes)
        return ERR(E_USAGE, "%" PRId64 " ranks, %" PRId64 " a node, do not fill %" PRId64 " nodes",
                   p->ranks, p->ranks_a_node, r->nodes);
    return OK;
}

static int count_batch(struct plan *p, const struct request *r)
{
    const struct config *c = &p->job->conf;
    if (r->nodes < 0 || r->nodes > 1024)
        return ERR(E_USAGE, "--nodes %" PRId64 ": 1 to 1024", r->nodes);
    if (r->ranks < 1 || r->ranks > 1 << 20)
        return ERR(E_USAGE, "--ranks %" PRId64 ": at least 1", r->ranks);
    TRY(place_ranks(p, r));
    p->n_micro = derive_n_micro(c);
    p->accumulation = (p->n_micro + p->ranks - 1) / p->ranks;
    p->tokens_step = derive_step_tokens(c);
    p->n_params = spec_n_params(&p->job->spec);
    struct rates_work work;
    TRY(rates_work(&work, c, &p->job->spec));
    p->n_trained = work.n_trained;
    p->flops_token = work.flops_token;
    p->flops_step = p->flops_token * p->tokens_step;
    return OK;
}

static int count_length(struct plan *p)
{
    const struct job *j = p->job;
    if (j->conf.train.length.unit == UNIT_EPOCHS && !j->has_data)
        return ERR(E_DATA,
                   "%s is not there, so an epoch has no length; run `carat prepare`, or set "
                   "train.steps or train.tokens",
                   j->conf.data.train);
    TRY(derive_course(&p->course, &j->conf, j->n_samples, (struct ramp_at){0, 0}));
    if (p->course.n_steps < 1)
        return ERR(E_CONFIG, "the run has no step: %s holds fewer than batch.seq_len + 1 tokens",
                   j->conf.data.train);
    return OK;
}

static int count_rates(struct plan *p)
{
    const struct config *c = &p->job->conf;
    struct scaling *g = &p->scaling;
    TRY(derive_scaling(g, c));
    scaling_describe(g, &p->derivation);
    scaling_warn(g, c, &p->warnings);
    TRY(derive_schedule(&p->schedule, c, &p->course, g, &p->derivation));
    course_describe(&p->course, c, g, &p->derivation);
    course_warn(&p->course, c, &p->warnings);
    course_warn_idle(&p->course, c, p->ranks, &p->warnings);
    return rates_plan(c, &p->job->spec, &p->derivation);
}

static int count_memory(struct plan *p, const struct request *r)
{
    const struct team nodes = {.size = (int)p->ranks, .per = (int)p->ranks_a_node};
    TRY(budget_of(&p->budget, &p->job->conf, &p->job->spec, &nodes));
    p->node_bytes = budget_node(&p->budget);
    p->limit_bytes = r->memory > 0 ? r->memory : probe_memory_bytes();
    return OK;
}

double plan_tokens(const struct plan *p)
{
    return (double)course_at(&p->course, p->course.n_steps).samples *
           (double)p->job->conf.batch.seq_len;
}

double plan_step_s(const struct plan *p, int64_t batch)
{
    struct step_model m = p->model;
    m.global = batch;
    return step_model_time(&m, p->ranks).step_s;
}

static int count_time(struct plan *p, const struct request *r)
{
    TRY(plan_model(p, r));
    p->time = step_model_time(&p->model, p->ranks);
    p->rank_flops =
        p->flops_token * (double)(p->model.micro * p->job->conf.batch.seq_len) / p->model.micro_s;
    p->run_s = 0;
    for (struct ramp_at at = {0, 0}, next; at.step < p->course.n_steps; at = next) {
        next = course_next(&p->course, at);
        p->run_s += plan_step_s(p, ramp_batch(&p->course.ramp, at)) * (double)(next.step - at.step);
    }
    p->core_hours = p->run_s / 3600 * (double)(p->ranks * p->job->conf.parallel.threads);
    return OK;
}

static int make_plan(struct plan *p, const struct job *j, const struct request *r)
{
    memset(p, 0, sizeof *p);
    p->job = j;
    TRY(count_batch(p, r));
    TRY(count_length(p));
    TRY(count_rates(p));
    if (r->lr_curve)
        return OK;
    TRY(count_memory(p, r));
    return count_time(p, r);
}

/* The curve's row of a step: its number from 1, the tokens consumed when it is done, its rate. */
static void print_lr_curve(const struct plan *p)
{
    puts("step,tokens,lr");
    const struct config *c = &p->job->conf;
    for (int64_t t = 0; t < p->course.n_steps; t++)
        printf("%" PRId64 ",%.0f,%.10g\n", t + 1,
               (double)course_at(&p->course, t + 1).samples * (double)c->batch.seq_len,
               derive_rate(&p->schedule, c, &p->course, &p->scaling, t));
}

static void print_model(const struct plan *p)
{
    const struct model_spec *s = &p->job->spec;
    const struct config *c = &p->job->conf;
    char a[32], b[32];
    plain_print(stdout, "job             %s\n", p->job->name);
    printf(
        "model           Gemma %d, %d layers, width %d, %d heads (%d kv) of %d, feed-forward %d, "
        "vocabulary %d\n",
        s->family, s->L, s->D, s->H, s->K, s->Hd, s->F, s->V);
    printf("parameters      %s (%.0f)\n", fmt_si(a, sizeof a, p->n_params), p->n_params);
    printf("FLOPs           %s a token forward and backward, %s a step\n",
           fmt_si(a, sizeof a, p->flops_token), fmt_si(b, sizeof b, p->flops_step));
    if (p->job->has_data)
        plain_print(stdout, "data            %s: %s tokens, %s sequences of %" PRId64 "\n",
                    c->data.train, fmt_si(a, sizeof a, (double)p->job->n_tokens),
                    fmt_si(b, sizeof b, (double)p->job->n_samples), c->batch.seq_len);
    else
        plain_print(stdout, "data            %s is not there yet; vocabulary of the %s\n",
                    c->data.train, c->model.vocab >= 0 ? "setting" : "preset");
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

/* The rate from the first step to the last, in one line. */
static void print_sketch(const struct plan *p)
{
    enum { WIDTH = 60, POINTS = 8 * WIDTH };
    double rate[POINTS];
    struct str line = {0};
    int64_t all = p->course.n_steps, n = all < POINTS ? all : POINTS;
    for (int64_t i = 0; i < n; i++)
        rate[i] = derive_rate(&p->schedule, &p->job->conf, &p->course, &p->scaling, i * all / n);
    progress_sparkline(&line, rate, n, WIDTH);
    printf("curve           %s\n", line.s);
    str_release(&line);
}

static void print_length(const struct plan *p)
{
    char tokens[32];
    double all = plan_tokens(p);
    printf("length          %" PRId64 " steps = %s tokens", p->course.n_steps,
           fmt_si(tokens, sizeof tokens, all));
    if (p->job->n_samples > 0)
        printf(" = %.3g epochs",
               all / ((double)p->job->n_samples * (double)p->job->conf.batch.seq_len));
    putchar('\n');
    plain_put(stdout, p->derivation.s);
    print_sketch(p);
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
char *plan_step_text(char *buf, size_t n, double s)
{
    if (s >= 10)
        return fmt_duration(buf, n, s);
    snprintf(buf, n, "%.3g %s", s >= 1 ? s : 1000 * s, s >= 1 ? "s" : "ms");
    return buf;
}

static void print_rates(const struct plan *p)
{
    const struct step_model *m = &p->model;
    char how[128] = "as given; memory assumed";
    if (p->measured)
        snprintf(how, sizeof how, "%s measured here, %d at once",
                 p->rates.whole ? "passes of a micro-batch" : "parts of a pass", p->rates.copies);
    printf("rate            %.4g GFLOP/s and %.3g GB/s a rank: %s\n", p->rank_flops / GIGA,
           m->rank_bytes_per_s / GIGA, how);
    if (p->nodes > 1)
        printf("network         %.3g us and %.4g GB/s a node%s\n", m->latency_s * 1e6,
               m->link_bytes_per_s / GIGA, p->net_given ? "" : " (assumed; --net says otherwise)");
}

static void print_time(const struct plan *p)
{
    const struct step_time *t = &p->time;
    char step[32], passes[32], sums[32], sent[32], update[32], gather[32], run[32];
    print_rates(p);
    printf("step            about %s: passes %s, sums %s, messages waited for %s, optimizer %s, "
           "parameters %s\n",
           plan_step_text(step, sizeof step, t->step_s),
           plan_step_text(passes, sizeof passes, t->passes_s),
           plan_step_text(sums, sizeof sums, t->sum_s),
           plan_step_text(sent, sizeof sent, t->exposed_s + t->agree_s),
           plan_step_text(update, sizeof update, t->optim_s),
           plan_step_text(gather, sizeof gather, t->gather_s + t->pack_s));
    printf("time            %s in all, %.3g core-hours; validation and files not counted\n",
           fmt_duration(run, sizeof run, p->run_s), p->core_hours);
}

static void print_text(const struct plan *p)
{
    print_model(p);
    print_batch(p);
    print_length(p);
    print_memory(p);
    print_time(p);
    if (p->n_nodes_asked > 0)
        plan_print_nodes(p);
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
        {"checkpoint staging", "set checkpoint.async=off"},
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
        TRY(plan_print_json(p));
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
    if (rc == OK) {
        log_warn_lines(p.warnings.s);
        rc = show(&p, r);
    }
    str_release(&p.derivation);
    str_release(&p.warnings);
    return rc;
}

int cmd_plan(int argc, char **argv)
{
    struct request r = {.ranks = 1};
    const struct opt table[] = {
        {"ranks", 'n', OPT_INT, &r.ranks, "N", "ranks of the job (default 1)"},
        {"ranks-per-node", 0, OPT_INT, &r.ranks_a_node, "N", "of them on one node (default: all)"},
        {"nodes", 0, OPT_INT, &r.nodes, "N",
         "a table for 1, 2, 4, … N nodes of --ranks-per-node ranks"},
        {"net", 0, OPT_STR, &r.net, "LATENCY,BANDWIDTH",
         "between nodes, such as 2us,25GB/s (default 2us,12.5GB/s): `carat bench` measures it"},
        {"memory", 0, OPT_F64, &r.memory, "SIZE",
         "memory of a node, such as 64GiB (default: this machine's)"},
        {"gflops", 0, OPT_F64, &r.gflops, "X",
         "GFLOP/s of a rank's passes (default: measured here in about 3 s, by as many processes "
         "as a node has ranks or this machine processors)"},
        {"lr-curve", 0, OPT_FLAG, &r.lr_curve, NULL, "print step,tokens,lr as CSV, nothing else"},
        {"json", 0, OPT_FLAG, &r.json, NULL, "print JSON"},
        JOB_OPTIONS,
        {"help", 'h', OPT_FLAG, &r.help, NULL, "this text"},
    };
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (r.help) {
        opts_help(
            stdout, "carat plan JOB [key=value …] [options]",
            "Tells before a run what it will take: parameters, FLOPs, micro-batches, the "
            "learning rate line by line, memory of a rank and a node, checkpoint size, time. "
            "Needs no MPI, and no data unless the length is in epochs. Exit code 71 when the "
            "job will not fit. Between nodes a message takes latency + bytes / bandwidth; "
            "gradients travel beside the last micro-batch's backward pass. Contention, "
            "stragglers and files are not modelled: with many nodes it is a lower bound.",
            table, N,
            "carat plan jobs/quickstart.yaml --ranks 8 --memory 64GiB batch.micro=4\n"
            "carat plan jobs/gemma3-270m.yaml --nodes 64 --ranks-per-node 32 --net 2us,25GB/s");
        return OK;
    }
    return run(&r, argc, argv);
}
