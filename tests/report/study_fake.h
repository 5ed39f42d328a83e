/* Whole studies on disk whose trials are computed: each sequence counts for 1/(1 + B/CRITICAL), and
 * for less the further the rate is from the best, which grows with the root of the batch. Then
 * steps to a loss are Smin + Emin/B with Emin/Smin = CRITICAL, whatever the loss. */
#ifndef CARAT_TESTS_STUDY_FAKE_H
#define CARAT_TESTS_STUDY_FAKE_H

#include "base/err.h"
#include "base/mem.h"
#include "check_main.h"
#include "conf/config_file.h"
#include "study/planner.h"
#include "study/range_curve.h"

#include <math.h>
#include <string.h>

#define FAKE_CRITICAL   24.0
#define FAKE_BEST_AT_16 0.004
#define FAKE_DIVERGES   0.06
#define FAKE_SEQ_LEN    64.0

enum { FAKE_POINTS = 40, FAKE_RANGE = 100 };

static inline double fake_number(const struct trial *t, const char *key, double other)
{
    double v;
    const char *text = trial_setting(&t->plan, key);
    return text != NULL && parse_f64(text, &v) ? v : other;
}

static inline double fake_loss(const struct trial *t, const struct config *job, double tokens)
{
    double batch = fake_number(t, "batch.global", (double)job->batch.global);
    double lr = fake_number(t, "optimizer.lr", job->optimizer.lr);
    double base = fake_number(t, "scaling.base_batch", batch);
    const char *rule = trial_setting(&t->plan, "scaling.rule");
    if (rule != NULL && strcmp(rule, "sqrt") == 0)
        lr *= sqrt(batch / base);
    if (lr > FAKE_DIVERGES)
        return NAN;
    double off = log(lr / (FAKE_BEST_AT_16 * sqrt(batch / 16)));
    double seen = tokens / FAKE_SEQ_LEN / (1 + batch / FAKE_CRITICAL) * exp(-0.25 * off * off);
    const char *schedule = trial_setting(&t->plan, "schedule.name");
    double harm = schedule != NULL && strcmp(schedule, "constant") == 0 ? 0.06 : 0;
    return 1.5 + 4 * pow(1 + seen / 20, -0.35) + harm;
}

static inline void fake_validate(struct trial *t, double batch, double tokens, double loss,
                                 double step_s)
{
    double step = tokens / (batch * FAKE_SEQ_LEN);
    t->curve[t->n_curve++] = (struct curve_point){step, tokens, loss, step * step_s};
    t->value = loss;
    t->steps = step;
    t->tokens = tokens;
    t->train_s = step * step_s;
}

/* Up to its milestone, target or end; the state it is then in. */
static inline enum trial_state fake_train(struct task *task, const struct config *job, double end)
{
    struct trial *t = &task->trial;
    double batch = fake_number(t, "batch.global", (double)job->batch.global);
    double first = 20 * FAKE_SEQ_LEN, by = pow(end / first, 1.0 / (FAKE_POINTS - 1));
    bool pauses = task->milestone < t->plan.n_milestones;
    double stop = pauses ? t->plan.milestones[task->milestone] : end;
    t->ranks = fake_number(t, "study.ranks", 1);
    t->step_s = 0.004 + 0.001 * batch / t->ranks;
    t->noise_scale = batch > 1 ? FAKE_CRITICAL * 0.8 : NAN;
    for (int i = 0; i < FAKE_POINTS; i++) {
        double tokens = i + 1 < FAKE_POINTS ? first * pow(by, i) : end;
        if (tokens <= t->tokens)
            continue;
        tokens = fmin(tokens, stop);
        double loss = fake_loss(t, job, tokens);
        if (isnan(loss)) {
            snprintf(t->why, sizeof t->why, "the loss was not finite at step 3 <of> \"many\"");
            t->value = NAN;
            return TRIAL_DIVERGED;
        }
        fake_validate(t, batch, tokens, loss, t->step_s);
        if (loss <= t->plan.target || tokens >= stop)
            break;
    }
    return pauses && t->value > t->plan.target ? TRIAL_WAITING : TRIAL_DONE;
}

/* A loss that falls to three times the best rate and rises behind. */
static inline enum trial_state fake_range(struct trial *t, const struct config *job)
{
    double batch = fake_number(t, "batch.global", (double)job->batch.global);
    double low = log(FAKE_BEST_AT_16 * sqrt(batch / 16) / 3), high = low + log(9);
    t->ranks = 1;
    t->step_s = 0.01;
    t->noise_scale = NAN;
    for (int i = 0; i < FAKE_RANGE; i++) {
        double x = log(range_rate(&RANGE_DEFAULT, i));
        double loss = x < low    ? 5.5
                      : x < high ? 5.5 - (x - low)
                                 : 5.5 - (high - low) + 2 * (x - high);
        fake_validate(t, batch, (i + 1) * batch * FAKE_SEQ_LEN, loss, 0.01);
    }
    t->value = NAN;
    return TRIAL_DONE;
}

static inline void fake_run(struct study *s, struct task *task, const struct config *job,
                            double run_tokens)
{
    struct trial *t = &task->trial;
    struct curve_point *room;
    double end = t->plan.most_tokens > 0 ? t->plan.most_tokens : run_tokens;
    ck_assert_int_eq(mem_alloc(&room, (size_t)t->n_curve + FAKE_RANGE, sizeof *room, "curve"), OK);
    if (t->n_curve > 0)
        memcpy(room, t->curve, (size_t)t->n_curve * sizeof *room);
    t->curve = room; /* what it had belongs to the study */
    t->state = strcmp(t->plan.role, "range") == 0 ? fake_range(t, job) : fake_train(task, job, end);
    if (t->state == TRIAL_WAITING)
        ck_assert_msg(study_reached(s, &task->claim, t) == OK, "%s", err_message());
    else
        ck_assert_msg(study_end(s, &task->claim, t) == OK, "%s", err_message());
    claim_give_back(&task->claim);
    mem_free(room);
}

/* A study of this kind in the folder: at most so many pieces of work are done. */
static inline void fake_study(const char *dir, const char *kind, const char *text, int most)
{
    static struct config job;
    struct conf_origins origins;
    struct study s;
    const struct planner *p = planner_find(kind);
    char *resolved;
    void *self = NULL;
    enum answer answer = ANSWER_GO;
    ck_assert_msg(conf_load_text(&job, &origins, text, "job") == OK, "%s", err_message());
    ck_assert_int_eq(conf_text(&job, NULL, &resolved), OK);
    ck_assert_msg(study_open(&s, dir, kind, resolved, 60, 3) == OK, "%s", err_message());
    ck_assert_msg(p->open(&self, &s, &job) == OK, "%s", err_message());
    double a_step = (double)(job.batch.global * job.batch.seq_len);
    double run = job.train.length.unit == UNIT_STEPS ? job.train.length.value * a_step
                                                     : job.train.length.value;
    for (int i = 0; i < most && answer == ANSWER_GO; i++) {
        struct task task = {0};
        ck_assert_msg(study_next(&s, p, self, &task, &answer) == OK, "%s", err_message());
        if (answer == ANSWER_GO)
            fake_run(&s, &task, &job, run);
    }
    p->close(self);
    study_close(&s);
    mem_free(resolved);
}

#define FAKE_JOB                                                                                   \
    "run: {dir: runs/x, seed: 7}\nmodel.preset: gemma1-nano\ndata.train: none.h5\n"                \
    "batch: {global: 16, micro: 1, seq_len: 64}\n"                                                 \
    "optimizer: {name: adamw, lr: 0.004}\nschedule.warmup: 0 tokens\n"

static const char FAKE_STUDY[] =
    FAKE_JOB "train.tokens: 400000\nschedule.name: constant\n"
             "study: {batches: '1,4,16,64,256', targets: '2.6,2.4,2.2', rates: 3, rate_step: 1.7, "
             "extend: 2, seeds: 2, rank_counts: '1,2,4'}\n";
static const char FAKE_SEARCH[] =
    FAKE_JOB "train.steps: 400\n"
             "search: {space: 'optimizer.lr log 1e-4 1e-1; optimizer.beta2 uniform 0.9 0.999; "
             "schedule.name choice cosine constant wsd', trials: 40, prune: asha, rule: tpe}\n";
static const char FAKE_RULES[] =
    FAKE_JOB "train.steps: 400\nstudy: {batches: '4,16,64,256', rules: 'none,linear,sqrt', "
             "rates: 3, extend: 3}\n";
static const char FAKE_BRANCH[] =
    FAKE_JOB "train.steps: 1000\n"
             "study: {from: '100@102400,300@307200,500@512000', branch: 100 steps, "
             "factors: '1,2,4,8'}\n";

#endif
