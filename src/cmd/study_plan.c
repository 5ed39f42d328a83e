#include "study_parts.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "cmd/probe.h"
#include "par/agree.h"
#include "train/budget.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TIMED_STEPS = 8 };
#define MEMORY_SHARE 0.9 /* of what is free may be used for timing */
#define TIMED_S 5.0 /* no further step is timed after so long */

double study_own_tokens(const struct trial *t)
{
    double tokens = t->tokens - t->plan.parent_tokens;
    return tokens > 0 ? tokens : 0; /* NaN before its first publication */
}

bool speed_of_trials(struct trial_speed *s, const struct history *h)
{
    double tokens = 0, rank_s = 0;
    int n = 0;
    *s = (struct trial_speed){0};
    for (int i = 0; i < h->n; i++) {
        const struct trial *t = &h->trial[i];
        if (!(study_own_tokens(t) > 0 && t->train_s > 0 && t->ranks > 0))
            continue;
        tokens += study_own_tokens(t);
        rank_s += t->train_s * t->ranks;
        s->ranks = (int)t->ranks;
        n++;
    }
    if (n == 0)
        return false;
    s->rank_s = rank_s / tokens;
    snprintf(s->how, sizeof s->how, "as its %d trial%s so far took", n, n == 1 ? "" : "s");
    return true;
}

/* A micro-batch a rank: what a step of the whole batch does, without its accumulation. */
static struct config short_config(const struct config *conf, int ranks)
{
    struct config c = *conf;
    c.batch.ramp[0] = '\0';
    if (c.batch.micro * ranks < c.batch.global)
        c.batch.global = c.batch.micro * ranks;
    snprintf(c.scaling.rule, sizeof c.scaling.rule, "none");
    snprintf(c.schedule.name, sizeof c.schedule.name, "constant");
    c.schedule.warmup = (struct amount){0, UNIT_NONE};
    c.train.length = (struct amount){1e9, UNIT_STEPS};
    c.noise.every = 0;
    return c;
}

/* The quickest of a few steps after the first: short ones vary. All ranks see the same times. */
static int time_steps(double *seconds, int *n, struct trainer *t)
{
    struct step_result r;
    double spent = 0;
    *seconds = INFINITY;
    TRY(trainer_step(t, &r));
    for (*n = 0; *n < TIMED_STEPS && spent < TIMED_S; ++*n) {
        double begin = clock_now_s();
        TRY(trainer_step(t, &r));
        double one = clock_now_s() - begin;
        MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &one, 1, MPI_DOUBLE, MPI_MAX, t->comm->world));
        *seconds = fmin(*seconds, one);
        spent += one;
    }
    return OK;
}

/* A plan is asked for where a job may not fit: on a login node, on fewer ranks. */
static int check_memory(const struct config *conf, const struct job *j, const struct comm *c)
{
    static struct machine m;
    struct budget b;
    char need[32], has[32];
    probe_machine(&m);
    TRY(budget_of(&b, conf, &j->spec, &c->team));
    if (budget_node(&b) <= MEMORY_SHARE * m.free_bytes)
        return OK;
    return ERR(E_MEM, "a step takes %s of memory on this node, which has %s free",
               fmt_bytes(need, sizeof need, budget_node(&b)),
               fmt_bytes(has, sizeof has, m.free_bytes));
}

static int measure(struct trial_speed *s, const struct job *j, const struct comm *c)
{
    static struct trainer t;
    static struct config conf;
    double seconds;
    int n;
    conf = short_config(&j->conf, c->size);
    TRY(agree(c, check_memory(&conf, j, c)));
    TRY(trainer_init_apart(&t, &conf, &j->spec, c, START_ANEW));
    int rc = time_steps(&seconds, &n, &t);
    double tokens = (double)conf.batch.global * (double)conf.batch.seq_len;
    trainer_release(&t);
    TRY(rc);
    s->ranks = c->size;
    s->rank_s = seconds * c->size / tokens;
    snprintf(s->how, sizeof s->how, "by the quickest of %d steps here, %.3g tokens/s on %d rank%s",
             n, tokens / seconds, c->size, c->size == 1 ? "" : "s");
    return OK;
}

void speed_of_steps(struct trial_speed *s, const struct job *j, const struct comm *c)
{
    *s = (struct trial_speed){0};
    log_quiet(true);
    log_mute(true);
    int rc = measure(s, j, c);
    log_mute(false);
    log_quiet(false);
    if (rc != OK)
        snprintf(s->how, sizeof s->how, "no step was timed: %s", err_message());
    err_clear();
}

struct cost {
    double left, core_hours, hours; /* tokens; NaN: not known */
};

static struct cost cost_of(const struct study_view *v, const struct foresight *f,
                           const struct trial_speed *s, const struct crew *w)
{
    struct study_counts c;
    study_count(&c, &v->history);
    double left = fmax(f->tokens - c.tokens, 0), rank_s = left * s->rank_s;
    if (s->rank_s == 0)
        return (struct cost){left, NAN, NAN};
    return (struct cost){left, rank_s * (double)v->job->conf.parallel.threads / 3600,
                         rank_s / (w->ranks * w->workers) / 3600};
}

static void say_time(const struct cost *cost, const struct trial_speed *s, const struct crew *w)
{
    char time[32];
    if (isnan(cost->hours)) {
        log_info("time            not known: %s", s->how);
        return;
    }
    log_info("time            about %.3g core-hours, %s here with %d worker%s of %d rank%s; %s",
             cost->core_hours, fmt_duration(time, sizeof time, cost->hours * 3600), w->workers,
             w->workers == 1 ? "" : "s", w->ranks, w->ranks == 1 ? "" : "s", s->how);
}

static void say_crew(const struct crew *w)
{
    if (w->idle > 0)
        log_warn("%d rank%s idle: study.ranks is %d, and %d of them make %d worker%s", w->idle,
                 w->idle == 1 ? " is" : "s are", w->ranks, w->ranks * w->workers, w->workers,
                 w->workers == 1 ? "" : "s");
}

/* The planner's own lines, below one another. */
static void say_details(const struct study_command *k, const struct study_view *v)
{
    struct str lines = {0};
    if (k->describe != NULL)
        k->describe(v, &lines);
    for (const char *at = lines.s; at != NULL && *at != '\0';) {
        int n = (int)strcspn(at, "\n");
        log_info("                %.*s", n, at);
        at += n + (at[n] == '\n');
    }
    str_release(&lines);
}

void study_say_plan(const struct study_command *k, const struct study_view *v,
                    const struct trial_speed *s, const struct crew *w)
{
    struct foresight f = {0};
    struct study_counts c;
    struct str so_far = {0};
    char all[32], most[48] = "", left[32], one[32];
    k->foresee(v, &f);
    study_count(&c, &v->history);
    study_counts_text(&so_far, &c);
    struct cost cost = cost_of(v, &f, s, w);
    log_info("%-15s %s", k->name, f.what);
    say_details(k, v);
    log_info("folder          %s: %s", v->study->dir, so_far.len > 0 ? so_far.s : "new");
    if (f.most_tokens > f.tokens)
        snprintf(most, sizeof most, " (%s if none is given up)",
                 fmt_si(one, sizeof one, f.most_tokens));
    log_info("cost            %s%d trials, %s tokens%s; %s still to come",
             f.trials > 0 ? "" : "at least ", f.trials > 0 ? f.trials : v->history.n,
             fmt_si(all, sizeof all, f.tokens), most, fmt_si(left, sizeof left, cost.left));
    if (cost.left > 0)
        say_time(&cost, s, w);
    say_crew(w);
    str_release(&so_far);
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

void study_json_plan(json_t *root, const struct study_command *k, const struct study_view *v,
                     const struct trial_speed *s, const struct crew *w)
{
    struct foresight f = {0};
    k->foresee(v, &f);
    struct cost cost = cost_of(v, &f, s, w);
    json_t *o = json_object();
    json_object_set_new(o, "what", json_string(f.what));
    json_object_set_new(o, "trials", json_integer(f.trials));
    json_object_set_new(o, "tokens", number(f.tokens));
    json_object_set_new(o, "most_tokens", number(f.most_tokens));
    json_object_set_new(o, "tokens_left", number(cost.left));
    json_object_set_new(o, "core_hours_left", number(cost.core_hours));
    json_object_set_new(o, "hours_left", number(cost.hours));
    json_object_set_new(o, "measured", json_string(s->how));
    json_object_set_new(o, "workers", json_integer(w->workers));
    json_object_set_new(o, "ranks_a_worker", json_integer(w->ranks));
    json_object_set_new(root, "plan", o);
}

void study_count(struct study_counts *c, const struct history *h)
{
    *c = (struct study_counts){0};
    for (int i = 0; i < h->n; i++) {
        const struct trial *t = &h->trial[i];
        c->n[t->state]++;
        c->ended += t->state > TRIAL_RUNNING;
        c->tokens += study_own_tokens(t);
        if (t->train_s > 0 && t->ranks > 0)
            c->rank_s += t->train_s * t->ranks;
    }
}
