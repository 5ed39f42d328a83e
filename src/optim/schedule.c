#include "optim/schedule.h"

#include "base/err.h"
#include "optim/names.h"

#include <math.h>

static double constant(const struct schedule *s, double x)
{
    (void)s;
    (void)x;
    return 1;
}

static double linear(const struct schedule *s, double x)
{
    return 1 + (s->final_share - 1) * x;
}

static double cosine(const struct schedule *s, double x)
{
    return s->final_share + (1 - s->final_share) * (1 + cos(M_PI * x)) / 2;
}

static const struct schedule_rule rules[] = {
    {"constant", constant, "the peak rate to the end"},
    {"linear", linear, "a straight line to the final rate"},
    {"cosine", cosine, "half a cosine to the final rate (Loshchilov & Hutter 2017)"},
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
    for (int i = 0; i < N_RULES; i++)
        names[i] = rules[i].name;
    TRY(names_find(&at, "schedule", name, names, N_RULES));
    *rule = &rules[at];
    return OK;
}

double schedule_rate(const struct schedule *s, double c, double batch_tokens)
{
    double warmup = s->warmup_tokens, left = s->total_tokens - warmup;
    double warm = c + batch_tokens < warmup ? (c + batch_tokens) / warmup : 1;
    /* Without tokens after the warmup, what comes then is the end. */
    double x = c <= warmup ? 0 : left > 0 ? fmin((c - warmup) / left, 1) : 1;
    return s->peak * warm * s->rule->share(s, x);
}
