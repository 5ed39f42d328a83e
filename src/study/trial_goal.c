/* When a trial validates, and where it has come to its goal. Pure functions. */
#include "study/trial_parts.h"

#include <math.h>

/* Nats of a step's own training loss above the target, or the first one that matters: from there on
 * a trial looks. Wide, for one step's loss is noisy and its average comes late. */
#define NEAR_TARGET 0.5

struct trial_goal trial_goal(const struct task *task)
{
    const struct trial_plan *p = &task->trial.plan;
    bool pauses = task->milestone < p->n_milestones;
    bool limited = p->most_tokens > 0;
    return (struct trial_goal){.milestone = pauses ? p->milestones[task->milestone] : INFINITY,
                               .target = p->target,
                               .watch = p->watch > 0 ? p->watch : p->target,
                               .most_tokens = limited ? p->most_tokens : INFINITY,
                               .validations = p->validations};
}

bool goal_is_reached(const struct trial_goal *g, const struct trial_place *at, double loss)
{
    return at->tokens >= g->milestone || at->tokens >= g->most_tokens ||
           (g->target > 0 && loss <= g->target);
}

static bool crosses(double limit, const struct trial_place *before, const struct trial_place *at)
{
    return before->tokens < limit && at->tokens >= limit;
}

/* Steps apart by a share of what was done, from the first on: found without memory, so that a
 * resumed trial looks at the same ones. */
static bool on_geometric_grid(double step, int n)
{
    double at = 1;
    while (at < step)
        at += fmax(1, floor(at / n));
    return at == step;
}

static bool on_even_grid(double before, double step, double n_steps, int n)
{
    return floor(step * n / n_steps) > floor(before * n / n_steps);
}

bool goal_wants_loss(const struct trial_goal *g, const struct trial_place *before,
                     const struct trial_place *at, double n_steps, double train_loss)
{
    if (crosses(g->milestone, before, at) || crosses(g->most_tokens, before, at))
        return true;
    if (g->validations < 1)
        return false;
    if (g->target > 0)
        return train_loss <= g->watch + NEAR_TARGET && on_geometric_grid(at->step, g->validations);
    return on_even_grid(before->step, at->step, n_steps, g->validations);
}
