/* One optimizer step, from top to bottom. */
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/watch.h"
#include "par/agree.h"
#include "par/zero.h"
#include "train/feed.h"
#include "train/repeat.h"
#include "train/slice.h"
#include "train/stop.h"
#include "train/sums.h"
#include "train/trainer.h"
#include <math.h>
#include <string.h>

/* What a test's spike is: far above any gradient. */
#define SPIKE 1e6f

/* The seconds since *mark, which moves on to now. */
static double lap(double *mark)
{
    double now = clock_now_s(), s = now - *mark;
    *mark = now;
    return s;
}

/* A micro-batch whose reading failed still takes part, with a gradient of zero: the others wait for
 * its buckets. The step's packed reduction then ends all ranks alike. */
static void give_zero(struct trainer *t)
{
    memset(reducer_slab(t->reducer), 0, t->tensors->n_elems * sizeof(float));
    reducer_ready(t->reducer, 0, t->tensors->n_elems);
}

/* A grad_ready_fn on the way to the reducer, where tests spoil a gradient. */
static void pass_on(void *trainer, size_t first, size_t n)
{
    const struct trainer *t = trainer;
    if (first == 0 && fault_hit("grad"))
        reducer_slab(t->reducer)[0] = NAN;
    if (first == 0 && fault_hit("grad.spike"))
        reducer_slab(t->reducer)[0] = SPIKE;
    reducer_ready(t->reducer, first, n);
}

static int sum_gradients(struct trainer *t, struct sums *s, struct step_result *r)
{
    int rc = t->pending;
    double mark = clock_now_s();
    reducer_set_micros(t->reducer, derive_micros(t->conf, r->batch));
    struct range mine = reducer_begin(t->reducer);
    r->micros = (int64_t)mine.n;
    for (size_t i = 0; i < mine.n; i++) {
        struct batch_view b;
        struct pass_result p;
        watch_phase(PHASE_DATA);
        if (rc == OK)
            rc = feed_next(&t->feed, &b, (int)t->conf->batch.seq_len);
        prof_lap(t->prof, PROF_LOAD, 0, 0);
        r->time[R_LOAD_S] += lap(&mark);
        if (rc != OK) {
            give_zero(t);
            continue;
        }
        watch_phase(PHASE_COMPUTE);
        model_grad(t->model, t->params, &b, reducer_slab(t->reducer), &p, pass_on, t);
        sums_add_pass(s, &p);
        monitor_pass(t, s, &p);
        r->time[R_COMPUTE_S] += lap(&mark);
    }
    watch_phase(PHASE_REDUCE);
    int reduced = reducer_finish(t->reducer);
    s->sumsq = *reducer_sumsq(t->reducer);
    r->time[R_REDUCE_S] += lap(&mark);
    return rc != OK ? rc : reduced;
}

static void conclude(struct trainer *t, const struct sums *s, struct step_result *r)
{
    double n = (double)s->targets;
    r->targets = n;
    r->loss = exactsum_value(&s->loss) / n;
    r->accuracy = (double)s->correct / n;
    r->grad_norm = sqrt(exactsum_value(&s->sumsq)) / n;
    r->finite = isfinite(r->loss) && isfinite(r->grad_norm);
    r->clip = r->finite ? clip_scale(r->grad_norm, t->conf->optimizer.clip_norm) : 0;
    r->gain = gain_of(&t->gain, &t->scaling, r->batch);
    r->set = derive_step(&t->schedule, t->conf, &t->course, &t->scaling, trainer_at(t), &t->gain);
    if (t->forced_lr > 0)
        r->set.lr = t->forced_lr;
    r->set.lr *= t->monitor.back.rate;
    r->lr = r->set.lr;
    r->stop = s->stop > 0;
    r->save = s->save > 0;
    r->saving = s->saving > 0;
    r->settled = s->owing == 0;
}

static double update_bytes(const struct trainer *t)
{
    double floats = (double)shard_count(&t->state, t->state.rank);
    int moves = optim_moves(t->rule, optimizer_momentum(t->conf, t->rule));
    return (double)sizeof(float) * floats * moves;
}

/* Bytes that come to this rank's team from the others. */
static double gather_bytes(const struct trainer *t)
{
    const struct team *team = &t->holders.team;
    double own = 0;
    for (int i = 0; i < team_size(team, team_of(team, team->rank)); i++)
        own += (double)shard_count(&t->shard, team_first(team, team_of(team, team->rank)) + i);
    return (double)sizeof(float) * ((double)shard_total(&t->shard) - own);
}

/* With parallel.shard none every rank needs the whole gradient and updates all parameters, else it
 * updates its pieces and the others' come to it. */
static int update(struct trainer *t, struct step_result *r)
{
    struct optim_step s = optimizer_settings(t->conf, &r->set);
    s.grad_scale = r->clip / r->targets;
    bool sharded = t->state.size == t->shard.size;
    float *grad = reducer_sum(t->reducer);
    const struct comm each = comm_without_teams(t->comm);
    double mark = clock_now_s();
    if (!sharded) {
        watch_phase(PHASE_REDUCE);
        TRY(zero_allgather(&each, &t->shard, grad));
    }
    prof_lap(t->prof, PROF_REDUCE, 0, 0);
    r->time[R_REDUCE_S] += lap(&mark);
    watch_phase(PHASE_OPTIM);
    monitor_before(t);
    regularizer_apply(t, grad, s.grad_scale, r->grad_norm, r->targets);
    optim_update(&t->optim, &s, t->params, grad);
    r->lr = t->optim.lr;
    prof_lap(t->prof, PROF_OPTIM, 0, update_bytes(t));
    monitor_after(t);
    r->time[R_OPTIM_S] = lap(&mark);
    watch_phase(PHASE_GATHER);
    int rc = sharded ? zero_allgather(&t->holders, &t->shard, t->params) : OK;
    prof_lap(t->prof, PROF_GATHER, 0, t->prof != NULL ? gather_bytes(t) : 0);
    r->time[R_GATHER_S] = lap(&mark);
    return rc != OK ? rc : trainer_pack(t);
}

/* A file in the run folder that asks for something; who keeps none is not asked. Root. */
static bool is_asked(const struct trainer *t, const char *what)
{
    return t->start == START_RUN && run_asked(t->conf->run.dir, what);
}

/* Whether there is no time for what comes until the next occasion to save: a validation that is due
 * after this step, and a step like this one. */
static bool time_is_up(struct trainer *t, double step_s)
{
    int64_t every = t->conf->validate.every;
    bool validates = every > 0 && (t->at.step + 1) % every == 0;
    double next_s = step_s + (validates ? t->pace.valid_s : 0);
    do {
        double left_s = t->slice.limit_s - (clock_now_s() - t->slice.begun_s);
        if (!slice_is_up(left_s, t->slice.limit_s, t->save_s, next_s))
            return false;
    } while (slice_is_longer(&t->slice));
    return true;
}

/* Root alone looks at files and clocks, so that there is one opinion. */
static bool wants_stop(struct trainer *t, double step_s)
{
    if (stop_signal() != 0)
        return true;
    if (t->comm->rank != 0)
        return false;
    bool asked = is_asked(t, "stop"), up = time_is_up(t, step_s);
    if ((asked || up) && t->stop_cause != STOP_FILE) /* a step that is repeated asks again */
        t->stop_cause = asked ? STOP_FILE : STOP_TIME;
    return asked || up;
}

/* What AdaScale goes by in the steps that follow. */
static void take_gain(struct trainer *t)
{
    if (t->noise.weight == 0)
        return;
    t->gain.trace = noise_trace(&t->noise);
    t->gain.signal = noise_signal(&t->noise);
}

/* The step's gradient, its sums over all ranks, and what follows from them: changes nothing that a
 * second call would not find as it was. */
static int compute(struct trainer *t, struct sums *s, struct step_result *r)
{
    double begin = clock_now_s();
    monitor_begin(t);
    int rc = sum_gradients(t, s, r);
    if (rc == OK && !run_heartbeat(&t->lock))
        rc = run_still_ours(&t->lock);
    s->stop = wants_stop(t, clock_now_s() - begin);
    s->save = t->comm->rank == 0 && is_asked(t, "save");
    s->saving = save_is_busy(t);
    s->owing = t->metrics != NULL && metrics_owes(t->metrics);
    double mark = clock_now_s();
    watch_phase(PHASE_AGREE);
    TRY(sums_reduce(t->comm, s, rc));
    prof_lap(t->prof, PROF_AGREE, 0, 0);
    r->time[R_REDUCE_S] += lap(&mark);
    conclude(t, s, r);
    return OK;
}

int trainer_step(struct trainer *t, struct step_result *r)
{
    double begin = clock_now_s();
    struct sums s = {0};
    *r = (struct step_result){.batch = ramp_batch(&t->course.ramp, trainer_at(t))};
    watch_step(t->at.step + 1);
    prof_start(t->prof);
    replicas_spoil(t);
    TRY(compute(t, &s, r));
    TRY(replicas_due(t));
    if (monitor_suspects(t, r))
        TRY(repeat_step(t, compute, &s, r));
    bool allowed = monitor_allows(t, r, &s);
    if (allowed)
        TRY(update(t, r));
    watch_phase(PHASE_AGREE);
    int rc = monitor_conclude(t, r, allowed);
    prof_lap(t->prof, PROF_REST, 0, 0);
    r->step_s = clock_now_s() - begin;
    gain_count(&t->gain, &t->scaling, r->batch); /* the gain that it had */
    take_gain(t);
    t->at.step++;
    t->at.samples += (uint64_t)r->batch;
    t->at.sched_samples += r->batch;
    t->at.targets += r->targets;
    t->at.train_s += r->step_s;
    t->n_steps = derive_end(&t->course, &t->scaling, trainer_at(t), &t->gain);
    return rc;
}
