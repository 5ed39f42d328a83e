/* Workers that run a planner's trials on a made-up objective, in made-up time: what a study does,
 * without folders and training. */
#ifndef CARAT_TESTS_SIMULATE_H
#define CARAT_TESTS_SIMULATE_H

#include "base/mem.h"
#include "base/rng.h"
#include "study/planner.h"
#include "study/search.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIM_MOST_TRIALS = 2000, SIM_MOST_WORKERS = 64 };

/* Loss of a point after `share` of the run; NaN: diverged. */
typedef double sim_loss(const struct space *s, const double *point, double share);

struct sim {
    struct history h;
    double tokens; /* of a run */
    sim_loss *loss;
    const struct planner *planner;
    void *self;
    struct {
        int trial; /* -1: idle */
        double until;
        double pace; /* time for a whole run */
    } worker[SIM_MOST_WORKERS];
    int n_workers;
};

static inline void sim_validate(struct sim *m, struct trial *t, double tokens)
{
    double point[SPACE_MAX_AXES];
    struct curve_point *more;
    ck_assert(space_read(search_space(m->self), &t->plan, point));
    ck_assert_int_eq(mem_alloc(&more, (size_t)t->n_curve + 1, sizeof *more, "curve"), 0);
    if (t->n_curve > 0)
        memcpy(more, t->curve, (size_t)t->n_curve * sizeof *more);
    mem_free(t->curve);
    t->curve = more;
    t->value = m->loss(search_space(m->self), point, tokens / m->tokens);
    t->tokens = tokens;
    t->curve[t->n_curve++] = (struct curve_point){.tokens = tokens, .loss = t->value};
}

/* The worker's trial comes to its next milestone or its end. */
static inline void sim_finish(struct sim *m, int w)
{
    struct trial *t = &m->h.trial[m->worker[w].trial];
    bool last = t->n_reached == t->plan.n_milestones;
    sim_validate(m, t, last ? m->tokens : t->plan.milestones[t->n_reached]);
    t->state = isnan(t->value) ? TRIAL_DIVERGED : last ? TRIAL_DONE : TRIAL_WAITING;
    t->n_reached += !last && !isnan(t->value);
    m->worker[w].trial = -1;
}

/* Gives worker w a trial, from the time now on. */
static inline void sim_begin(struct sim *m, int w, int i, double now)
{
    struct trial *t = &m->h.trial[i];
    double from = t->n_reached > 0 ? t->plan.milestones[t->n_reached - 1]
                                   : (t->plan.parent >= 0 ? t->plan.parent_tokens : 0);
    double to = t->n_reached < t->plan.n_milestones ? t->plan.milestones[t->n_reached] : m->tokens;
    t->state = TRIAL_RUNNING;
    m->worker[w].trial = i;
    m->worker[w].until = now + (to - from) / m->tokens * m->worker[w].pace *
                                   (0.5 + rng_uniform(99, (uint64_t)w, (uint64_t)i));
}

/* A waiting trial that may go on; -1: none. Each end may let others go on. */
static inline int sim_waiting(struct sim *m)
{
    enum answer answer;
    char why[256];
    for (int i = 0; i < m->h.n; i++) {
        struct trial *t = &m->h.trial[i];
        if (t->state != TRIAL_WAITING || t->n_reached == 0)
            continue;
        ck_assert_int_eq(m->planner->judge(m->self, &m->h, i, t->n_reached - 1, &answer, why), 0);
        if (answer == ANSWER_GO)
            return i;
        if (answer == ANSWER_STOP) {
            t->state = TRIAL_PRUNED;
            snprintf(t->why, sizeof t->why, "%s", why);
            i = -1;
        }
    }
    return -1;
}

/* The same, else a new one; -1: none now. *ended: there will be none. */
static inline int sim_next(struct sim *m, bool *ended)
{
    enum answer answer;
    int waiting = sim_waiting(m);
    if (waiting >= 0)
        return waiting;
    struct trial *t = &m->h.trial[m->h.n];
    memset(t, 0, sizeof *t);
    ck_assert_int_eq(m->planner->propose(m->self, &m->h, &t->plan, &answer), 0);
    *ended = answer == ANSWER_STOP;
    if (answer != ANSWER_GO) {
        mem_free(t->plan.set);
        mem_free(t->plan.milestones);
        return -1;
    }
    t->number = m->h.n;
    t->value = NAN;
    ck_assert_int_lt(m->h.n, SIM_MOST_TRIALS);
    return m->h.n++;
}

static inline int sim_first_to_finish(const struct sim *m)
{
    int first = -1;
    for (int w = 0; w < m->n_workers; w++)
        if (m->worker[w].trial >= 0 && (first < 0 || m->worker[w].until < m->worker[first].until))
            first = w;
    return first;
}

/* Runs it all. Nobody may be left waiting for what never comes. */
static inline void sim_run(struct sim *m, int n_workers, uint64_t seed)
{
    double now = 0;
    bool ended = false;
    ck_assert_int_eq(mem_alloc(&m->h.trial, SIM_MOST_TRIALS + 1, sizeof(struct trial), "trials"),
                     0);
    m->n_workers = n_workers;
    for (int w = 0; w < n_workers; w++) {
        m->worker[w].trial = -1;
        m->worker[w].pace = 1 + 9 * rng_uniform(seed, 1, (uint64_t)w);
    }
    for (;;) {
        for (int w = 0; w < n_workers; w++) {
            int i = m->worker[w].trial < 0 ? sim_next(m, &ended) : -1;
            if (i >= 0)
                sim_begin(m, w, i, now);
        }
        int w = sim_first_to_finish(m);
        if (w < 0)
            break;
        now = m->worker[w].until;
        sim_finish(m, w);
    }
    ck_assert_msg(ended, "trials wait for each other");
    for (int i = 0; i < m->h.n; i++)
        ck_assert_msg(trial_ended(&m->h.trial[i]), "trial %d waits for ever", i);
}

static inline void sim_release(struct sim *m)
{
    for (int i = 0; i < m->h.n; i++) {
        mem_free(m->h.trial[i].plan.set);
        mem_free(m->h.trial[i].plan.milestones);
        mem_free(m->h.trial[i].curve);
    }
    mem_free(m->h.trial);
    memset(&m->h, 0, sizeof m->h);
}

#endif
