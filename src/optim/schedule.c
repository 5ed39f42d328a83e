#include "optim/schedule.h"

#include "base/err.h"
#include "optim/names.h"
#include "schedule_rules.h"

#include <math.h>
#include <string.h>

/* Own values: where torch.optim.lr_scheduler or the paper has some, those. */
static const struct schedule_rule rules[] = {
    {.name = "constant", .keys = "", .share = share_constant, .note = "the peak rate to the end"},
    {.name = "step",
     .keys = "gamma every",
     .share = share_step,
     .jumps = true,
     .note = "times gamma after every so much"},
    {.name = "multi_step",
     .alias = "multistep",
     .keys = "gamma milestones",
     .share = share_multi_step,
     .jumps = true,
     .note = "times gamma at each milestone"},
    {.name = "exponential",
     .keys = "gamma every",
     .share = share_exponential,
     .note = "falls evenly, by gamma over every so much"},
    {.name = "polynomial",
     .keys = "power final",
     .share = share_polynomial,
     .own = {.final = 0.1, .power = 1},
     .note = "(1 - x)^power to the final rate"},
    {.name = "linear",
     .keys = "final",
     .share = share_linear,
     .own = {.final = 0.1},
     .note = "a straight line to the final rate"},
    {.name = "cosine",
     .keys = "final",
     .share = share_cosine,
     .own = {.final = 0.1},
     .note = "half a cosine to the final rate (Loshchilov & Hutter 2017)"},
    {.name = "restarts",
     .alias = "sgdr",
     .keys = "cycle cycle_mult final",
     .share = share_restarts,
     .jumps = true,
     .own = {.final = 0.1},
     .note = "cosines from the peak to the final rate (Loshchilov & Hutter 2017)"},
    {.name = "cyclical",
     .alias = "triangular",
     .keys = "cycle rise base",
     .share = share_cyclical,
     .rises = true,
     .own = {.base = 0.25, .rise = 0.5},
     .note = "up and down in lines (Smith 2017)"},
    {.name = "cyclical2",
     .alias = "triangular2",
     .keys = "cycle rise base",
     .share = share_cyclical2,
     .rises = true,
     .own = {.base = 0.25, .rise = 0.5},
     .note = "the same, each cycle half as high as the one before"},
    {.name = "cyclical_exp",
     .alias = "exp_range",
     .keys = "cycle rise base gamma every",
     .share = share_cyclical_exp,
     .rises = true,
     .own = {.base = 0.25, .rise = 0.5},
     .note = "the same, its height falling by gamma over every so much"},
    {.name = "one_cycle",
     .alias = "onecycle",
     .keys = "rise base final phases momentum_low momentum_high",
     .share = share_one_cycle,
     .momentum = momentum_one_cycle,
     .rises = true,
     .own = {.final = 4e-6, .base = 0.04, .rise = 0.3},
     .note = "up, then down; momentum the other way (Smith & Topin 2018)"},
    {.name = "inverse_sqrt",
     .alias = "rsqrt",
     .keys = "timescale",
     .share = share_inverse_sqrt,
     .note = "1/sqrt(t) after the warmup (Vaswani et al. 2017)"},
    {.name = "warmup_stable_decay",
     .alias = "wsd",
     .keys = "decay decay_shape final",
     .share = share_wsd,
     .note = "the peak rate, then a decay at the end (Hu et al. 2024)"},
    {.name = "power",
     .keys = "power timescale",
     .share = share_power,
     .own = {.power = -0.51},
     .note = "t^power after the warmup (Shen et al. 2024)"},
    {.name = "reduce_on_plateau",
     .alias = "plateau",
     .keys = "factor patience threshold final",
     .share = share_constant,
     .observes = true,
     .note = "times the factor when the validation loss no longer falls"},
    {.name = "piecewise", .keys = "pieces", .note = "rules in turn"},
};

enum { N_RULES = sizeof rules / sizeof rules[0] };

const struct schedule_rule *schedule_row(int i)
{
    return i >= 0 && i < N_RULES ? &rules[i] : NULL;
}

int schedule_find(const struct schedule_rule **rule, const char *name)
{
    const char *names[N_RULES];
    int at;
    for (int i = 0; i < N_RULES; i++) {
        names[i] = rules[i].name;
        if (rules[i].alias != NULL && strcmp(rules[i].alias, name) == 0) {
            *rule = &rules[i];
            return OK;
        }
    }
    TRY(names_find(&at, "schedule", name, names, N_RULES));
    *rule = &rules[at];
    return OK;
}

bool schedule_is(const char *name, const char *rule)
{
    for (int i = 0; i < N_RULES; i++)
        if (strcmp(rules[i].name, rule) == 0)
            return strcmp(name, rule) == 0 ||
                   (rules[i].alias != NULL && strcmp(name, rules[i].alias) == 0);
    return false;
}

bool schedule_reads(const struct schedule_rule *rule, const char *key)
{
    size_t n = strlen(key);
    for (const char *at = rule->keys; *at != '\0';) {
        size_t len = strcspn(at, " ");
        if (len == n && memcmp(at, key, n) == 0)
            return true;
        at += len + (at[len] == ' ');
    }
    return false;
}

static const char *const shapes[] = {[WARMUP_LINEAR] = "linear",
                                     [WARMUP_CONSTANT] = "constant",
                                     [WARMUP_GRADUAL] = "gradual",
                                     [WARMUP_EXPONENTIAL] = "exponential",
                                     [WARMUP_NONE] = "none"};

enum warmup_shape warmup_find(const char *name)
{
    for (int i = 0; i <= WARMUP_NONE; i++)
        if (strcmp(shapes[i], name) == 0)
            return (enum warmup_shape)i;
    return WARMUP_LINEAR;
}

const char *warmup_name(enum warmup_shape shape)
{
    return shapes[shape];
}

/* Goyal et al. 2017 (gradual), Ma & Yarats 2021 (exponential, from its first step on). */
static double warmup_share(const struct schedule_warmup *w, double c, double b)
{
    if (w->length <= 0)
        return 1;
    switch (w->shape) {
    case WARMUP_LINEAR:
        return fmin(1, (c + b) / w->length);
    case WARMUP_CONSTANT:
        return c < w->length ? w->start : 1;
    case WARMUP_GRADUAL:
        return c < w->length ? w->start + (1 - w->start) * (c / w->length) : 1;
    case WARMUP_EXPONENTIAL:
        return -expm1(-(c + b) / w->tau);
    case WARMUP_NONE:
        break;
    }
    return 1;
}

static const struct schedule_piece *piece_at(const struct schedule *s, double c)
{
    int i = s->n - 1;
    while (i > 0 && c < s->piece[i].start)
        i--;
    return &s->piece[i];
}

struct schedule_point schedule_at(const struct schedule *s, double c, double b)
{
    const struct schedule_piece *p = piece_at(s, c);
    double u = fmax(c - p->start, 0);
    double left = p->follows_plateau ? s->plateau[PLATEAU_LEFT] : 1;
    return (struct schedule_point){
        .rate = s->peak * left * warmup_share(&s->warmup, c, b) * p->rule->share(p, u, b),
        .momentum = p->rule->momentum != NULL ? p->rule->momentum(p, u, b) : NAN,
    };
}

double schedule_piece_end(const struct schedule_piece *p)
{
    static const double JUST_BEFORE = 1 - 1e-9;
    return p->rule->share(p, p->rule->jumps ? p->length * JUST_BEFORE : p->length, 0);
}

void schedule_reset(struct schedule *s)
{
    s->plateau[PLATEAU_BEST] = INFINITY;
    s->plateau[PLATEAU_BAD] = 0;
    s->plateau[PLATEAU_LEFT] = 1;
}

bool schedule_observe(struct schedule *s, double c, double loss)
{
    const struct schedule_piece *p = piece_at(s, c);
    double *is = s->plateau, before = is[PLATEAU_LEFT];
    if (!p->rule->observes || c < p->start)
        return false;
    if (loss < is[PLATEAU_BEST] * (1 - s->threshold)) {
        is[PLATEAU_BEST] = loss;
        is[PLATEAU_BAD] = 0;
        return false;
    }
    if (++is[PLATEAU_BAD] <= s->patience)
        return false;
    is[PLATEAU_BAD] = 0;
    is[PLATEAU_LEFT] = fmax(before * s->factor, fmin(p->final / p->top, before));
    return is[PLATEAU_LEFT] < before;
}

bool schedule_has_plateau(const struct schedule *s)
{
    for (int i = 0; i < s->n; i++)
        if (s->piece[i].rule->observes)
            return true;
    return false;
}
