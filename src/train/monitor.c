#include "train/monitor.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "train/events.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* After so many updates in a row were left out, the run is taken to have diverged. */
enum { MAX_SKIPPED = 10 };

enum action { DO_NOTHING, DO_WARN, DO_SKIP, DO_STOP, DO_BACK, N_ACTIONS };
static const char *const ACTION_NAMES[N_ACTIONS] = {"off", "warn", "skip", "stop", "back"};

#define KEY(member) "monitor." #member, offsetof(struct config, monitor.member)

/* key: says what is done; NULL: warns alone. */
static const struct detector_row {
    const char *name, *key;
    size_t action_at; /* in the configuration */
    const char *advice;
} ROWS[N_DETECTORS] = {
    [DETECT_NONFINITE] = {"nonfinite", KEY(nonfinite),
                          "lower optimizer.lr, lengthen schedule.warmup or lower "
                          "optimizer.clip_norm"},
    [DETECT_SPIKE] = {"spike", KEY(spike),
                      "where it does not come down again, lower optimizer.lr or "
                      "optimizer.clip_norm"},
    [DETECT_DIVERGED] = {"diverged", KEY(diverged),
                         "go on from an older checkpoint with a lower optimizer.lr or a longer "
                         "schedule.warmup"},
    [DETECT_OSCILLATION] = {"oscillation", KEY(oscillation),
                            "lower optimizer.lr or raise batch.global"},
    [DETECT_PLATEAU] = {"plateau", KEY(plateau),
                        "let the rate decay (schedule.name, train.steps), raise optimizer.lr or "
                        "train a larger model"},
    [DETECT_OVERFIT] = {"overfit", KEY(overfit),
                        "stop here, use more text, or raise optimizer.weight_decay or "
                        "regularize.dropout"},
    [DETECT_CLIP] = {"clip", NULL, 0,
                     "lower optimizer.lr, or raise optimizer.clip_norm where the norm is level"},
};

static enum action action_of(const struct config *c, enum detector which)
{
    if (ROWS[which].key == NULL)
        return DO_WARN;
    const char *set = (const char *)c + ROWS[which].action_at;
    for (int i = 0; i < N_ACTIONS; i++)
        if (strcmp(set, ACTION_NAMES[i]) == 0)
            return (enum action)i;
    return DO_NOTHING;
}

bool monitor_may_go_back(const struct config *c)
{
    for (int i = 0; i < N_DETECTORS; i++)
        if (action_of(c, (enum detector)i) == DO_BACK)
            return true;
    return false;
}

int64_t monitor_trouble_since(const struct trainer *t)
{
    const struct detect *d = &t->monitor.detect;
    bool grows = action_of(t->conf, DETECT_DIVERGED) == DO_BACK && d->s.above > 0;
    return grows ? (int64_t)d->s.above_since : 0;
}

void monitor_say_kept(const struct config *c)
{
    double covered = (double)c->checkpoint.every * (double)c->checkpoint.keep;
    if (action_of(c, DETECT_DIVERGED) == DO_BACK && covered < (double)c->monitor.diverged_steps)
        log_warn("checkpoint.keep %lld at every %lld steps covers less than the %lld steps "
                 "(monitor.diverged_steps) that it takes to see a divergence: an older checkpoint "
                 "is kept beside them while the loss is high; raise checkpoint.keep to have room "
                 "for it",
                 (long long)c->checkpoint.keep, (long long)c->checkpoint.every,
                 (long long)c->monitor.diverged_steps);
}

void monitor_quiet(struct config *c)
{
    for (int i = 0; i < N_DETECTORS; i++)
        if (ROWS[i].key != NULL)
            strcpy((char *)c + ROWS[i].action_at, i == DETECT_NONFINITE ? "skip" : "off");
    c->monitor.clip_limit = 1;
    strcpy(c->monitor.repeat, "off");
}

/* ---- state ---- */

static int add_rows(struct monitor *m, struct state *state)
{
    struct detect *d = &m->detect;
    int n = (int)m->limits.window;
    /* With another window they are other rows: what was seen in the old one is then forgotten. */
    snprintf(m->row_name[0], sizeof m->row_name[0], "watch.loss.%d", n);
    snprintf(m->row_name[1], sizeof m->row_name[1], "watch.grad.%d", n);
    TRY(state_add(state, "watch", (double *)&d->s, (int)(sizeof d->s / sizeof(double))));
    TRY(state_add(state, m->row_name[0], d->loss, n));
    TRY(state_add(state, m->row_name[1], d->grad, n));
    TRY(state_add(state, "watch.bins", (double *)d->bin, DETECT_BIN_N * DETECT_BINS));
    return state_add(state, "monitor.back", (double *)&m->back, 2);
}

int monitor_init(struct monitor *m, const struct config *c, const struct tensor_table *t,
                 const struct shard *s, struct state *state)
{
    memset(m, 0, sizeof *m);
    m->back.rate = 1;
    m->repeats = strcmp(c->monitor.repeat, "on") == 0;
    m->limits = (struct detect_limits){.spike_sigma = c->monitor.spike_sigma,
                                       .margin = c->monitor.margin,
                                       .oscillation = c->monitor.oscillation_limit,
                                       .clip_rate = c->monitor.clip_limit,
                                       .window = c->monitor.spike_window,
                                       .diverged_steps = c->monitor.diverged_steps,
                                       .overfit_times = c->monitor.overfit_times};
    TRY(add_rows(m, state));
    return vitals_init(&m->vitals, t, s);
}

void monitor_release(struct monitor *m)
{
    vitals_release(&m->vitals);
}

/* ---- telling and acting ---- */

void monitor_record(struct trainer *t, struct event *e)
{
    e->attempt = t->at.attempt;
    e->order_seed = (uint64_t)t->conf->run.seed;
    e->order_n = loader_n_samples(t->feed.loader);
    if (t->comm->rank != 0 || t->metrics == NULL)
        return;
    int rc = run_still_ours(&t->lock);
    if (rc == OK)
        rc = events_append(t->conf->run.dir, e);
    t->pending = t->pending != OK ? t->pending : rc;
}

/* The step that is under way, or was just completed. */
struct moment {
    int64_t step;
    uint64_t sample_first, sample_n;
};

static void tell(struct trainer *t, enum detector which, enum action action,
                 const struct sight *sight, const struct moment *at)
{
    static const char *const DONE[N_ACTIONS] = {[DO_SKIP] = "; the update is left out",
                                                [DO_STOP] = "; the run ends here",
                                                [DO_BACK] = "; the run goes back"};
    struct event e = {.step = at->step,
                      .value = sight->value,
                      .sample_first = at->sample_first,
                      .sample_n = at->sample_n};
    snprintf(e.kind, sizeof e.kind, "%s", ROWS[which].name);
    snprintf(e.action, sizeof e.action, "%s", ACTION_NAMES[action]);
    bool confirmed = t->monitor.confirmed && (which == DETECT_NONFINITE || which == DETECT_SPIKE);
    snprintf(e.text, sizeof e.text, "step %lld: %s%s%s; %s", (long long)at->step, sight->text,
             confirmed ? "; computed again it has the same bits: not the hardware but data or rate"
                       : "",
             DONE[action] ? DONE[action] : "", ROWS[which].advice);
    log_warn("%s", e.text);
    monitor_record(t, &e);
    memcpy(t->monitor.text, e.text, sizeof t->monitor.text);
}

/* What the action asks for becomes what is to follow this step. */
static void decide(struct trainer *t, enum detector which, const struct sight *sight,
                   const struct moment *at)
{
    struct monitor *m = &t->monitor;
    enum action action = action_of(t->conf, which);
    if (action == DO_NOTHING)
        return;
    if (action == DO_BACK && m->back.times >= (double)t->conf->monitor.back_most)
        action = DO_STOP;
    tell(t, which, action, sight, at);
    if (action == DO_STOP) {
        m->stops = true;
        m->sound =
            which == DETECT_OSCILLATION || which == DETECT_PLATEAU || which == DETECT_OVERFIT;
    }
    if (action == DO_BACK) {
        m->goes_back = true;
        m->before = sight->since;
    }
}

/* ---- a step ---- */

static bool due(int64_t every, int64_t step)
{
    return every > 0 && step % every == 0;
}

/* Measuring reads every gradient once more: measured, 1 % of what 512 tokens take to make one. */
static int64_t noise_every(const struct config *c)
{
    const int64_t cheap = 512, tokens = c->batch.micro * c->batch.seq_len;
    return c->noise.every >= 0 ? c->noise.every : (cheap + tokens - 1) / tokens;
}

void monitor_begin(struct trainer *t)
{
    struct monitor *m = &t->monitor;
    int64_t step = t->at.step + 1;
    m->stops = m->goes_back = m->sound = m->confirmed = false;
    m->vitals_due = due(t->conf->monitor.every, step);
    m->noise_due = due(noise_every(t->conf), step) && t->n_micro > 1;
    vitals_begin(&m->vitals);
    reducer_measure(t->reducer, m->noise_due);
}

void monitor_pass(struct trainer *t, struct sums *s, const struct pass_result *p)
{
    struct vitals *v = &t->monitor.vitals;
    v->most_logit = fmax(v->most_logit, p->most_logit);
    if (!t->monitor.noise_due || p->n_targets == 0)
        return;
    double squares = reducer_last_squares(t->reducer);
    s->given = crc32c(s->given, &squares, sizeof squares);
    exactsum_add(&s->each, squares / p->n_targets);
    s->n_each++;
}

void monitor_before(struct trainer *t)
{
    if (t->monitor.vitals_due)
        vitals_before(&t->monitor.vitals, t->params);
    prof_lap(t->prof, PROF_MONITOR, 0, 0);
}

void monitor_after(struct trainer *t)
{
    if (t->monitor.vitals_due)
        vitals_after(&t->monitor.vitals, t->params);
    prof_lap(t->prof, PROF_MONITOR, 0, 0);
}

static void take_noise(struct trainer *t, const struct step_result *r, const struct sums *s)
{
    const struct noise_sums n = {.each_sq = exactsum_value(&s->each),
                                 .total_sq = exactsum_value(&s->sumsq),
                                 .targets = r->targets,
                                 .n = s->n_each,
                                 .batch = (double)r->batch};
    if (t->monitor.noise_due)
        noise_take(&t->noise, &n, t->conf->noise.decay);
}

/* Rules that hold while the batch is small against the noise scale: once, when the run has come far
 * enough for the scale to say something of what is to come. */
static void judge_scaling(struct trainer *t, const struct step_result *r)
{
    const double far_enough = 0.1, errors = 2;
    const struct scaling *g = &t->scaling;
    double scale = noise_scale(&t->noise), error = noise_error(&t->noise), batch = (double)r->batch;
    if (t->monitor.told_of_noise || !g->rule->small_batch || batch <= g->job.base ||
        (double)t->at.step < far_enough * (double)t->n_steps || !(scale + errors * error < batch))
        return;
    t->monitor.told_of_noise = true;
    log_warn("step %lld: the gradient noise scale is %.3g (± %.2g) sequences and the batch %lld: "
             "above it scaling.rule %s gives too high a rate; set scaling.rule=surge with "
             "scaling.noise_scale=%.3g, or lower batch.global",
             (long long)t->at.step + 1, scale, error, (long long)r->batch, g->rule->name, scale);
}

static struct moment this_step(const struct trainer *t, const struct step_result *r)
{
    return (struct moment){t->at.step + 1, t->at.samples, (uint64_t)r->batch};
}

static bool too_many_skipped(struct trainer *t)
{
    if (++t->at.skipped < MAX_SKIPPED)
        return false;
    snprintf(t->monitor.text, sizeof t->monitor.text,
             "%d updates in a row were left out; %s, and go on from an older checkpoint",
             MAX_SKIPPED, ROWS[DETECT_NONFINITE].advice);
    return true;
}

bool monitor_suspects(const struct trainer *t, const struct step_result *r)
{
    const struct monitor *m = &t->monitor;
    const struct detect_step v = {
        .step = t->at.step + 1, .loss = r->loss, .grad_norm = r->grad_norm};
    return m->repeats && detect_suspects(&m->detect, &m->limits, &v);
}

void monitor_confirm(struct trainer *t)
{
    t->monitor.confirmed = true;
}

bool monitor_allows(struct trainer *t, struct step_result *r, const struct sums *s)
{
    struct monitor *m = &t->monitor;
    const struct detect_step v = {
        .step = t->at.step + 1, .loss = r->loss, .grad_norm = r->grad_norm};
    const struct moment at = this_step(t, r);
    struct sight sight = {0};
    enum detector which = DETECT_NONFINITE;
    bool met = detect_nonfinite(&m->detect, &v, &sight);
    if (!met) {
        which = DETECT_SPIKE;
        met = detect_spike(&m->detect, &m->limits, &v, &sight);
    }
    enum action action = action_of(t->conf, which);
    bool leaves_out = met && action >= DO_SKIP;
    if (!met) /* one gradient far out, updated by or not, would stay in the averages for long */
        take_noise(t, r, s);
    judge_scaling(t, r);
    /* What is done is told each time, what is only seen once. */
    if (leaves_out || sight.is_new)
        decide(t, which, &sight, &at);
    if (!leaves_out)
        t->at.skipped = 0;
    else if (action == DO_SKIP && too_many_skipped(t))
        m->stops = true;
    r->clip = leaves_out ? 0 : r->clip;
    return !leaves_out;
}

typedef bool (*detector_fn)(struct detect *d, const struct detect_limits *l,
                            const struct detect_step *v, struct sight *out);
static const detector_fn OF_MANY_STEPS[N_DETECTORS] = {[DETECT_DIVERGED] = detect_diverged,
                                                       [DETECT_OSCILLATION] = detect_oscillation,
                                                       [DETECT_PLATEAU] = detect_plateau,
                                                       [DETECT_CLIP] = detect_clip};

static int outcome(const struct monitor *m)
{
    return m->stops ? ERR(E_DIVERGED, "%s", m->text) : OK;
}

int monitor_conclude(struct trainer *t, const struct step_result *r, bool updated)
{
    struct monitor *m = &t->monitor;
    const struct moment at = this_step(t, r);
    const struct detect_step v = {.step = at.step,
                                  .loss = r->loss,
                                  .grad_norm = r->grad_norm,
                                  .tokens = t->at.targets + r->targets,
                                  .clipped = r->clip < 1};
    if (m->vitals_due)
        TRY(vitals_conclude(&m->vitals, t->comm, r->targets, updated));
    else
        vitals_leave(&m->vitals);
    prof_lap(t->prof, PROF_MONITOR, 0, 0);
    if (!r->finite)
        return outcome(m);
    detect_average(&m->detect, &v);
    for (int i = 0; i < N_DETECTORS; i++) {
        struct sight sight = {0};
        bool met = OF_MANY_STEPS[i] != NULL && OF_MANY_STEPS[i](&m->detect, &m->limits, &v, &sight);
        if (met && sight.is_new && !m->stops && !m->goes_back)
            decide(t, (enum detector)i, &sight, &at);
    }
    return outcome(m);
}

int monitor_validated(struct trainer *t, double valid_loss)
{
    struct monitor *m = &t->monitor;
    struct sight sight = {0};
    const struct moment at = {.step = t->at.step};
    if (detect_overfit(&m->detect, &m->limits, t->at.step, valid_loss, &sight) && sight.is_new)
        decide(t, DETECT_OVERFIT, &sight, &at);
    return outcome(m);
}

void monitor_fill(const struct trainer *t, double row[M_N])
{
    const struct monitor *m = &t->monitor;
    row[M_LOSS_SMOOTH] = detect_smooth_loss(&m->detect);
    row[M_CLIP_RATE] = detect_clip_rate(&m->detect);
    if (m->vitals_due) {
        row[M_UPDATE_RATIO] = m->vitals.update_ratio;
        row[M_ATTENTION_LOGIT] = m->vitals.most_logit;
    }
    if (m->noise_due && t->noise.weight > 0) {
        row[M_NOISE_SCALE] = noise_scale(&t->noise);
        row[M_NOISE_ERROR] = noise_error(&t->noise);
        row[M_CRITICAL_BATCH] = noise_critical(&t->noise);
        row[M_NOISE_TRACE] = t->noise.last_trace;
        row[M_NOISE_SIGNAL] = t->noise.last_signal;
    }
}

const double *monitor_by_layer(const struct trainer *t)
{
    return t->monitor.vitals_due ? t->monitor.vitals.by_layer : NULL;
}

bool monitor_wants_back(const struct trainer *t)
{
    return t->monitor.goes_back;
}
