#include "train/progress.h"
#include "base/err.h"
#include "base/isa.h"
#include "base/log.h"
#include "base/mem.h"
#include "kern/blas_core.h"
#include "kern/gemm.h"
#include "train/budget.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void log_lines(const char *text)
{
    for (const char *p = text; p && *p;) {
        size_t n = strcspn(p, "\n");
        log_info("%.*s", (int)n, p);
        p += n + (p[n] == '\n');
    }
}

static void banner_batch(const struct trainer *t)
{
    const struct config *c = t->conf;
    char tokens[32];
    int64_t most = (t->n_micro + t->comm->size - 1) / t->comm->size;
    log_info("batch           %lld sequences = %d rank%s × micro-batch %lld × accumulation %lld%s; "
             "%s tokens a step",
             (long long)c->batch.global, t->comm->size, t->comm->size == 1 ? "" : "s",
             (long long)c->batch.micro, (long long)most,
             most * c->batch.micro * t->comm->size == c->batch.global ? "" : " (uneven: at most)",
             fmt_si(tokens, sizeof tokens, (double)c->batch.global * (double)c->batch.seq_len));
    if (t->n_micro == 1 && c->noise.every != 0)
        log_info("noise scale     not measured: a step is one micro-batch; batch.micro below "
                 "batch.global measures it");
    if (t->n_micro < t->comm->size)
        log_warn("%d of %d ranks have no micro-batch; lower batch.micro or use fewer ranks",
                 t->comm->size - (int)t->n_micro, t->comm->size);
}

static void banner_memory(const struct trainer *t)
{
    struct budget b;
    char total[32], part[32];
    struct str line = {0};
    if (budget_of(&b, t->conf, &t->spec, &t->comm->team) != OK) {
        err_clear();
        return;
    }
    for (int i = 0; i < b.n; i++)
        str_addf(&line, "%s%s %s%s", i ? ", " : "", b.row[i].label,
                 fmt_bytes(part, sizeof part, b.row[i].bytes), b.row[i].shared ? " a node" : "");
    log_info("memory          %s a node: %s", fmt_bytes(total, sizeof total, budget_node(&b)),
             line.s);
    str_release(&line);
}

/* Where rank 0 runs, and what `carat doctor` would say first of a slow run. */
static void banner_place(const struct trainer *t)
{
    const char *coretype = getenv("OPENBLAS_CORETYPE"), *trouble = place_trouble(t->pin.worst);
    const char *fix = gemm_library() == GEMM_OPENBLAS
                          ? blas_core_fix(gemm_core(), simd_of_cpu(), coretype)
                          : NULL;
    struct cpuset now;
    char cpus[64];
    cpuset_of_process(&now, 0);
    log_info("processors      rank 0 on %s, %s", cpuset_text(cpus, sizeof cpus, &now),
             t->pin.bound ? "its share of the node's" : "as started");
    if (trouble)
        log_warn("%s (%d threads and %.4g processors on this node): %s", trouble,
                 t->pin.place.threads, t->pin.place.usable, place_fix(t->pin.worst));
    if (fix)
        log_warn("the BLAS kernel %s is too small for this processor (%s), which makes products "
                 "slow: %s",
                 gemm_core(), simd_name(simd_of_cpu()), fix);
}

void progress_banner(const struct trainer *t)
{
    const struct config *c = t->conf;
    const struct model_spec *s = &t->spec;
    char a[32], b[32];
    log_info("model           Gemma %d, %d layers, width %d, %d heads (%d kv) of %d, "
             "feed-forward %d, vocabulary %d",
             s->family, s->L, s->D, s->H, s->K, s->Hd, s->F, s->V);
    log_info("parameters      %s; %s FLOPs a token", fmt_si(a, sizeof a, spec_n_params(s)),
             fmt_si(b, sizeof b, t->flops_token));
    log_info("data            %s: %s tokens, %s sequences of %lld", c->data.train,
             fmt_si(a, sizeof a, (double)t->train_store.n_tokens),
             fmt_si(b, sizeof b, (double)loader_n_samples(t->feed.loader)),
             (long long)c->batch.seq_len);
    banner_batch(t);
    log_lines(t->lr_derivation.s);
    log_warn_lines(t->lr_warnings.s);
    log_info("optimizer       %s, weight decay %g on matrices, clip %g; state %s, reduction %s",
             c->optimizer.name, c->optimizer.weight_decay, c->optimizer.clip_norm,
             t->state.size < t->shard.size ? "whole on every rank" : "sharded over ranks",
             c->parallel.reduce);
    banner_memory(t);
    log_info("machine         %d rank%s on %d node%s, %lld thread%s each, kernels %s, products %s, "
             "peak %.4g GFLOP/s",
             t->comm->size, t->comm->size == 1 ? "" : "s", t->comm->n_nodes,
             t->comm->n_nodes == 1 ? "" : "s", (long long)c->parallel.threads,
             c->parallel.threads == 1 ? "" : "s", isa_name(), gemm_kernel(), t->peak_flops / 1e9);
    banner_place(t);
    log_info("run             %s, steps %lld to %lld", c->run.dir, (long long)t->at.step,
             (long long)t->n_steps);
    if (t->slice.limit_s > 0)
        log_info("time limit      %s, by %s", fmt_duration(a, sizeof a, t->slice.limit_s),
                 t->slice.of_job ? "the end of the Slurm job" : "train.time_limit");
}

/* What is left, for people: "?" while nothing is known. */
static const char *time_left(const struct trainer *t, char *buf, size_t n)
{
    struct pace pace = t->pace;
    int64_t all = course_at(&t->course, t->n_steps).samples;
    const struct pace_plan plan = {t->at.step, t->n_steps, t->conf->validate.every,
                                   t->conf->checkpoint.every, (double)(all - t->at.sched_samples)};
    pace.save_s = t->save_held_s;
    double left = pace_left_s(&pace, &plan);
    return isnan(left) ? "?" : fmt_duration(buf, n, left);
}

void progress_step(const struct trainer *t, const struct step_result *r)
{
    const struct config *c = t->conf;
    if (t->comm->rank != 0)
        return;
    char rate[32], left[32], line[256];
    double tokens_per_s = (double)r->batch * (double)c->batch.seq_len / r->step_s;
    double peak = tokens_per_s * t->flops_token / t->peak_flops;
    snprintf(line, sizeof line,
             "step %6lld/%lld  loss %.4f  lr %.2e  grad %.3f  %s tok/s  %2.0f%% peak  left %s",
             (long long)t->at.step, (long long)t->n_steps, r->loss, r->lr, r->grad_norm,
             fmt_si(rate, sizeof rate, tokens_per_s), 100 * peak, time_left(t, left, sizeof left));
    if (log_is_terminal()) {
        log_status("%s", line);
        log_file("%s", line);
    } else if (t->at.step % c->train.log_every == 0 || t->at.step == t->n_steps) {
        log_info("%s", line);
    }
}

/* A second line now and then, and beside each validation: what the step's own is too short for. */
static bool vitals_are_due(const struct trainer *t)
{
    const int64_t lines = 50, step = t->at.step, valid = t->conf->validate.every;
    return step % (lines * t->conf->train.log_every) == 0 || (valid > 0 && step % valid == 0) ||
           step == t->n_steps;
}

static void add_figure(struct str *line, const char *name, const char *form, double v)
{
    if (isnan(v))
        return;
    str_addf(line, "  %s ", name);
    str_addf(line, form, v);
}

void progress_vitals(const struct trainer *t, const double row[M_N])
{
    struct str line = {0};
    if (t->comm->rank != 0 || !vitals_are_due(t))
        return;
    add_figure(&line, "accuracy", "%.1f%%", 100 * row[M_ACCURACY]);
    add_figure(&line, "perplexity", "%.4g", row[M_PERPLEXITY]);
    add_figure(&line, "update", "%.2e", row[M_UPDATE_RATIO]);
    add_figure(&line, "clipped", "%.0f%%", 100 * row[M_CLIP_RATE]);
    add_figure(&line, "logit", "%.3g", row[M_ATTENTION_LOGIT]);
    add_figure(&line, "noise", "%.3g", row[M_NOISE_SCALE]);
    add_figure(&line, "±", "%.2g", row[M_NOISE_ERROR]);
    add_figure(&line, "critical", "%.3g", row[M_CRITICAL_BATCH]);
    log_info("vitals %4lld     %s", (long long)t->at.step, line.s);
    str_release(&line);
}

void progress_valid(const struct trainer *t, double loss, double accuracy, double targets)
{
    char n[32];
    log_info("valid %5lld       loss %.4f  perplexity %.2f  accuracy %.1f%%  (%s targets)",
             (long long)t->at.step, loss, exp(loss), 100 * accuracy, fmt_si(n, sizeof n, targets));
}

void progress_sparkline(struct str *out, const double *v, int64_t n, int width)
{
    static const char *const bar[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double lo = INFINITY, hi = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(v[i]))
            continue;
        lo = fmin(lo, v[i]);
        hi = fmax(hi, v[i]);
    }
    int columns = n < width ? (int)n : width;
    for (int c = 0; c < columns; c++) {
        int64_t from = n * c / columns, to = n * (c + 1) / columns, kept = 0;
        double sum = 0;
        for (int64_t i = from; i < to; i++)
            if (isfinite(v[i])) {
                sum += v[i];
                kept++;
            }
        double height = kept && hi > lo ? (sum / (double)kept - lo) / (hi - lo) : 0;
        str_add(out, kept ? bar[(int)(height * 7 + 0.5)] : " ");
    }
}

static void end_curve(const char *run_dir)
{
    double *rows = NULL, *loss = NULL;
    int64_t n = 0, bad = 0;
    struct str curve = {0};
    if (metrics_read(run_dir, &rows, &n, &bad) == OK && n > 0 &&
        mem_alloc(&loss, (size_t)n, sizeof *loss, "loss curve") == OK) {
        for (int64_t i = 0; i < n; i++)
            loss[i] = rows[i * M_N + M_LOSS];
        progress_sparkline(&curve, loss, n, 60);
        log_info("loss            %.3f %s %.3f", loss[0], curve.s, loss[n - 1]);
    }
    err_clear();
    str_release(&curve);
    mem_free(loss);
    mem_free(rows);
}

void progress_end(const struct trainer *t, int rc)
{
    static const char *const stopped[] = {
        [STOP_SIGNAL] = "by a signal: run the same command again to go on",
        [STOP_FILE] = "by the file stop: run the same command again to go on",
        [STOP_TIME] = "the time is up: run the same command again to go on"};
    const char *dir = t->conf->run.dir;
    if (t->comm->rank != 0)
        return;
    end_curve(dir);
    char took[32];
    log_info("%s %s of training; %s", rc == OK ? "done           " : "stopped        ",
             fmt_duration(took, sizeof took, t->at.train_s),
             rc == OK ? "the run is complete" : stopped[t->stop_cause]);
    log_info("files           %s/checkpoints, %s/metrics.h5, %s/log.txt", dir, dir, dir);
    log_info("next            carat generate %s --prompt \"...\"", dir);
    log_info("                carat eval %s", dir);
    log_info("                carat export %s --output folder", dir);
}
