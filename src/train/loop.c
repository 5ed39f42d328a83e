#include "train/loop.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/watch.h"
#include "par/agree.h"
#include "par/vigil.h"
#include "train/evaluate.h"
#include "train/events.h"
#include "train/generate.h"
#include "train/progress.h"
#include "train/restart.h"
#include <math.h>
#include <stdio.h>

static bool due(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

static void fill_row(const struct trainer *t, const struct step_result *r, double row[M_N])
{
    double tokens_per_s = (double)r->batch * (double)t->conf->batch.seq_len / r->step_s;
    for (int i = 0; i < M_N; i++)
        row[i] = NAN;
    row[M_STEP] = (double)t->at.step;
    row[M_ATTEMPT] = (double)t->at.attempt;
    row[M_SAMPLES] = (double)t->at.samples;
    row[M_TOKENS] = t->at.targets;
    row[M_LOSS] = r->loss;
    row[M_ACCURACY] = r->accuracy;
    row[M_LR] = r->lr;
    row[M_GRAD_NORM] = r->grad_norm;
    row[M_CLIP] = r->clip;
    row[M_STEP_S] = r->step_s;
    row[M_TOKENS_PER_S] = tokens_per_s;
    row[M_PERPLEXITY] = exp(r->loss);
    row[M_BATCH] = (double)r->batch;
    monitor_fill(t, row);
    row[M_PEAK_FRACTION] = tokens_per_s * t->flops_token / t->peak_flops;
}

/* Every sequence of the split, or validate.samples of them. */
static int64_t validation_samples(const struct trainer *t)
{
    int64_t all = (int64_t)loader_n_samples(t->valid_loader), some = t->conf->validate.samples;
    return some > 0 && some < all ? some : all;
}

/* Validations at the run's end are left out: a longer run does not have them. */
static void observe(struct trainer *t, double loss)
{
    double at = derive_now(t->conf, trainer_at(t), &t->gain);
    if (due(t->at.step, t->conf->validate.every) && schedule_observe(&t->schedule, at, loss))
        log_info("plateau         %g validations in a row without a loss clearly below %.4f: the "
                 "rate is now %.3g of the schedule's",
                 t->schedule.patience + 1, t->schedule.plateau[PLATEAU_BEST],
                 t->schedule.plateau[PLATEAU_LEFT]);
}

static int validate(struct trainer *t, double row[M_N])
{
    struct evaluation e;
    double begin = clock_now_s();
    if (!t->valid_loader)
        return OK;
    TRY(evaluate(t->comm, t->model, t->params, t->valid_loader, validation_samples(t),
                 t->conf->batch.micro, (int)t->conf->batch.seq_len, NULL, &e));
    row[M_VALID_LOSS] = e.loss;
    row[M_VALID_ACCURACY] = e.accuracy;
    progress_valid(t, e.loss, e.accuracy, e.targets);
    observe(t, e.loss);
    int rc = metrics_amend(t->metrics, row);
    t->pending = t->pending != OK ? t->pending : rc;
    pace_valid(&t->pace, clock_now_s() - begin);
    return monitor_validated(t, e.loss);
}

static void on_piece(void *vigil, const char *piece)
{
    (void)piece;
    vigil_still(vigil);
}

/* That no sample of text could be made is no reason to end a run. */
static void show_sample(struct trainer *t, struct vigil *v)
{
    void *bytes = NULL;
    size_t n = 0;
    struct tokenizer *tok = NULL;
    struct generator *g = NULL;
    char *text = NULL;
    const struct config *c = t->conf;
    const struct sampling how = {.temperature = c->sample.temperature,
                                 .top_k = (int)c->sample.top_k,
                                 .top_p = c->sample.top_p,
                                 .seed = (uint64_t)c->run.seed};
    int rc;
    TRY_OUT(store_tokenizer(t->train_store.path, &bytes, &n));
    TRY_OUT(tokenizer_from_bytes(&tok, bytes, n, t->train_store.path));
    TRY_OUT(generator_new(&g, &t->spec, t->params, tok, (int)c->sample.tokens + 256));
    TRY_OUT(generate(g, &how, (uint64_t)t->at.step, c->sample.prompt, (int)c->sample.tokens,
                     on_piece, v, &text));
    log_info("sample          %s%s", c->sample.prompt, text);
out:
    if (rc != OK) {
        log_warn("no text sample: %s", err_message());
        err_clear();
    }
    mem_free(text);
    generator_free(g);
    tokenizer_free(tok);
    mem_free(bytes);
}

/* By root. Collective. */
static int sample(struct trainer *t)
{
    struct vigil v;
    if (t->comm->rank != 0)
        return vigil_wait(t->comm);
    vigil_begin(&v, t->comm);
    show_sample(t, &v);
    return vigil_end(&v);
}

/* For the next slice to know, where slices are cut by time: once there is a step, and a save was
 * measured, without which none can be kept in time. */
static void note_times(struct trainer *t)
{
    if (t->times.step_s == 0 || save_is_unmeasured(t))
        return;
    cut_watch_end(&t->cut);
    t->times.save_s = t->save_s;
    if (t->comm->rank == 0 && t->slice.limit_s > 0)
        slice_note(t->conf->run.dir, &t->times, t->comm->size);
}

static int save(struct trainer *t)
{
    TRY(trainer_save(t));
    note_times(t);
    return OK;
}

/* The first step is done and all that followed it: this start came to something. */
static void count_first(struct trainer *t, double step_s)
{
    if (t->times.step_s > 0)
        return;
    t->times.step_s = step_s;
    note_times(t);
    if (t->lock.held)
        restart_clear(t->conf->run.dir);
}

static void tell_straggler(struct trainer *t, int rank)
{
    const struct stragglers *s = &t->stragglers;
    struct event e = {.step = t->at.step, .value = s->factor[rank]};
    snprintf(e.kind, sizeof e.kind, "straggler");
    snprintf(e.action, sizeof e.action, "warn");
    snprintf(e.text, sizeof e.text,
             "step %lld: rank %d on %s took %.2f times as long as the median rank for its "
             "micro-batches, over %d steps, and the others wait for it; look at that node's load, "
             "clock and temperature",
             (long long)t->at.step, rank, s->all[rank].host, s->factor[rank], STRAGGLER_STEPS);
    log_warn("%s", e.text);
    monitor_record(t, &e);
}

/* Of one that stays slow once. */
static void look_for_stragglers(struct trainer *t, const struct step_result *r)
{
    bool looked;
    int rc = stragglers_step(&t->stragglers, t->comm, r->time[R_COMPUTE_S], r->micros, &looked);
    for (int i = 0; rc == OK && looked && t->comm->rank == 0; i++) {
        i = stragglers_next(&t->stragglers, t->comm, i);
        if (i < 0)
            break;
        tell_straggler(t, i);
    }
    t->pending = t->pending != OK ? t->pending : rc;
}

void loop_report(struct trainer *t, const struct step_result *r, double row[M_N])
{
    double rank_row[R_N];
    watch_phase(PHASE_METRICS);
    fill_row(t, r, row);
    for (int i = 0; i < R_N; i++)
        rank_row[i] = r->time[i];
    rank_row[R_SAVE_S] = t->unreported_save_s;
    rank_row[R_MEM_BYTES] = (double)mem_bytes();
    t->unreported_save_s = 0;
    int settled = r->settled ? metrics_settle(t->metrics) : OK;
    int rc = metrics_step(t->metrics, row, rank_row, monitor_by_layer(t));
    rc = settled != OK ? settled : rc;
    t->pending = t->pending != OK ? t->pending : rc;
    look_for_stragglers(t, r);
    pace_step(&t->pace, r->step_s / (double)r->batch);
    if (t->pending != OK) /* a step that is shown has its row */
        return;
    progress_step(t, r);
    progress_vitals(t, row);
}

/* Validation and a sample, by the weights that are worth it. */
static int look(struct trainer *t, double row[M_N], bool asked)
{
    const struct config *c = t->conf;
    bool validates = asked || due(t->at.step, c->validate.every);
    bool samples = due(t->at.step, c->sample.every);
    if (!validates && !samples)
        return OK;
    watch_phase(validates ? PHASE_VALIDATE : PHASE_SAMPLE);
    TRY(optimizer_show(t));
    if (validates)
        TRY(validate(t, row));
    watch_phase(samples ? PHASE_SAMPLE : PHASE_VALIDATE);
    if (samples)
        TRY(sample(t));
    TRY(optimizer_hide(t));
    watch_phase(PHASE_METRICS);
    return OK;
}

/* To measure a save takes a fixed step, the attempt's first: of which steps there are checkpoints
 * must not hang on how fast a machine is. */
static bool is_to_save(const struct trainer *t, const struct step_result *r)
{
    bool measures = t->at.step == t->first_step + 1 && save_is_unmeasured(t);
    return measures || r->save || due(t->at.step, t->conf->checkpoint.every);
}

/* *ends: whoever watches the run has seen enough. */
static int after_step(struct trainer *t, const struct step_result *r, bool *ends)
{
    double row[M_N];
    const struct watcher *w = t->watcher;
    bool last = t->at.step == t->n_steps;
    loop_report(t, r, row);
    if (monitor_wants_back(t))
        return monitor_go_back(t);
    TRY(look(t, row, last || (w != NULL && w->wants_loss(w->ctx, t, r))));
    *ends = w != NULL && w->has_seen(w->ctx, t, row[M_VALID_LOSS]);
    bool over = last || r->stop || *ends, saves = is_to_save(t, r);
    /* Behind a checkpoint a row that could not be written would be missing for ever. */
    if (over || saves)
        TRY(agree(t->comm, t->pending));
    if (over)
        return OK;
    int64_t before = t->saved_step;
    TRY(save_at_step(t, r->saving, saves));
    if (t->saved_step != before)
        note_times(t);
    return OK;
}

/* One step and what comes after it; what ended the run is worth its row. */
static int whole_step(struct trainer *t, struct step_result *r, bool *ends)
{
    int rc = trainer_step(t, r);
    if (rc == E_DIVERGED)
        loop_report(t, r, (double[M_N]){0});
    return rc != OK ? rc : after_step(t, r, ends);
}

/* Who queues the job again on 75 must not do so for ever: that code says that a step was gained. */
static int stop_here(struct trainer *t)
{
    TRY(agree(t->comm, t->pending));
    TRY(save(t));
    if (t->at.step > t->first_step)
        return E_STOPPED;
    return ERR(
        E_CONFIG,
        "the run stopped at step %lld and had begun at step %lld: no step was gained, for it "
        "went back meanwhile; give it more time",
        (long long)t->at.step, (long long)t->first_step);
}

static int run_steps(struct trainer *t)
{
    bool ends = t->watcher != NULL && t->watcher->has_seen(t->watcher->ctx, t, NAN);
    while (t->at.step < t->n_steps && !ends) {
        struct step_result r;
        int rc = whole_step(t, &r, &ends);
        if (rc == E_DIVERGED && t->monitor.sound)
            TRY(save(t));
        TRY(rc);
        count_first(t, r.step_s);
        if (r.stop && t->at.step < t->n_steps && !ends)
            return stop_here(t);
    }
    save_settle(t);
    return t->saved_step == t->at.step ? OK : save(t);
}

/* A run that ends by an error all ranks know of keeps the checkpoint that is on its way. */
static int end_of(struct trainer *t, int rc)
{
    struct err_kept cause;
    if (rc == OK || rc == E_RANK || rc == E_BUG)
        return rc;
    err_keep(&cause);
    save_settle(t);
    err_restore(&cause);
    return rc;
}

/* A request that came too late is none for the next start. */
static void drop_requests(const struct trainer *t)
{
    if (t->comm->rank != 0)
        return;
    (void)run_asked(t->conf->run.dir, "stop");
    (void)run_asked(t->conf->run.dir, "save");
}

int train_loop(struct trainer *t)
{
    progress_banner(t);
    monitor_say_kept(t->conf);
    if (t->at.step >= t->n_steps)
        log_info("nothing to do   the run is at step %lld of %lld; a greater train.steps goes on",
                 (long long)t->at.step, (long long)t->n_steps);
    if (t->saved_step < 0 && monitor_may_go_back(t->conf))
        TRY(trainer_save(t));
    t->first_step = t->at.step;
    t->times.startup_s = clock_now_s() - slice_since_s(&t->slice, t->init_s);
    int rc = end_of(t, run_steps(t));
    if (rc != OK && rc != E_STOPPED && rc != E_DIVERGED)
        return rc;
    watch_phase(PHASE_CLOSE);
    TRY(trainer_may_write(t));
    int closed = metrics_close(t->metrics);
    t->metrics = NULL; /* closed or not, it is freed */
    TRY(closed);
    if (rc == E_DIVERGED) /* said again: closing may have had words of its own */
        return *t->monitor.text != '\0' ? ERR(rc, "%s", t->monitor.text) : rc;
    if (rc == E_STOPPED && t->comm->rank == 0 && run_asked(t->conf->run.dir, "stop"))
        t->stop_cause = STOP_FILE; /* for good, whatever else wanted it too */
    drop_requests(t);
    if (t->lock.held)
        restart_clear(t->conf->run.dir);
    if (t->lock.held && rc == E_STOPPED)
        run_write_stopped(t->conf->run.dir, (long)t->at.step, t->stop_cause);
    progress_end(t, rc);
    return rc;
}
