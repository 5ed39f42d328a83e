#include "optim/lrscale.h"

#include "base/err.h"
#include "optim/names.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Below this, an average of gradients is hardly one. */
static const double LEAST_BETA1 = 0.5;

static double kappa_of(const struct lrscale_job *j)
{
    return j->batch / j->base;
}

/* ---- maps ---- */

static double same(double x, const struct lrscale_job *j)
{
    (void)j;
    return x;
}

static double times(double x, const struct lrscale_job *j)
{
    return x * kappa_of(j);
}

static double times_root(double x, const struct lrscale_job *j)
{
    return x * sqrt(kappa_of(j));
}

static double over_root(double x, const struct lrscale_job *j)
{
    return x / sqrt(kappa_of(j));
}

/* A decay of 0 is no average. */
static double shorten(double x, const struct lrscale_job *j)
{
    return x > 0 ? 1 - kappa_of(j) * (1 - x) : 0;
}

static double to_power(double x, const struct lrscale_job *j)
{
    return pow(x, kappa_of(j));
}

/* Twice the highest rate over the rate at a batch: it falls up to the noise scale, then rises. */
static double surge(double batch, double noise_scale)
{
    return sqrt(noise_scale / batch) + sqrt(batch / noise_scale);
}

static double surge_adam(double x, const struct lrscale_job *j)
{
    return x * (surge(j->base, j->noise_scale) / surge(j->batch, j->noise_scale));
}

static double saturate(double x, const struct lrscale_job *j)
{
    return x * ((1 + j->noise_scale / j->base) / (1 + j->noise_scale / j->batch));
}

static const struct lrscale_map as_is = {same, "{x}"}, linear = {times, "{x} · {κ}"},
                                root = {times_root, "{x} · sqrt({κ})"},
                                by_root = {over_root, "{x} / sqrt({κ})"},
                                malladi_beta = {shorten, "1 - {κ} · (1 - {x})"},
                                half_life_beta = {to_power, "{x}^{κ}"},
                                surge_lr = {surge_adam,
                                            "{x} · (sqrt({Bn}/{base}) + sqrt({base}/{Bn}))"
                                            " / (sqrt({Bn}/{B}) + sqrt({B}/{Bn}))"},
                                surge_plain = {saturate,
                                               "{x} · (1 + {Bn}/{base}) / (1 + {Bn}/{B})"},
                                gain = {same, "{x} · sqrt(r), r the gain of each step, 1 to {κ}"},
                                gain_plain = {same, "{x} · r, r the gain of each step, 1 to {κ}"};

static const struct lrscale_rule rules[] = {
    {.name = "none",
     .lr = &as_is,
     .source = "as tuned, whatever the batch",
     .note = "nothing changes"},
    {.name = "linear",
     .lr = &linear,
     .small_batch = true,
     .made_for = FOR_PLAIN,
     .source = "Goyal et al. 2017",
     .note = "SGD, while the batch is small"},
    {.name = "sqrt",
     .lr = &root,
     .small_batch = true,
     .made_for = FOR_ADAPTIVE,
     .source = "Malladi et al. 2022",
     .note = "Adam and its like, while the batch is small; the rate alone"},
    {.name = "sqrt_decay",
     .lr = &root,
     .decay = &root,
     .small_batch = true,
     .made_for = FOR_ADAPTIVE,
     .source = "Wang & Aitchison 2024",
     .note = "AdamW: sqrt, and a token's share of the decay stays"},
    {.name = "malladi",
     .lr = &root,
     .beta = &malladi_beta,
     .eps = &by_root,
     .small_batch = true,
     .made_for = FOR_ADAPTIVE,
     .source = "Malladi et al. 2022",
     .note = "Adam and RMSprop, while the batch is small and κ(1 - β) < 1"},
    {.name = "half_life",
     .lr = &root,
     .beta = &half_life_beta,
     .eps = &by_root,
     .decay = &root,
     .small_batch = true,
     .made_for = FOR_ADAPTIVE,
     .source = "Marek et al. 2025",
     .note = "AdamW: averages and decay keep their half-life in tokens"},
    {.name = "surge",
     .lr = &surge_lr,
     .lr_plain = &surge_plain,
     .needs_noise_scale = true,
     .source = "Li et al. 2024",
     .note = "beyond the noise scale Bn too, where Adam's best rate falls"},
    {.name = "adascale",
     .lr = &gain,
     .lr_plain = &gain_plain,
     .per_step = true,
     .source = "Johnson et al. 2020",
     .note = "r is measured in each step; the schedule goes by it too"},
};

enum { N_RULES = sizeof rules / sizeof rules[0] };

const struct lrscale_rule *lrscale_row(int i)
{
    return i >= 0 && i < N_RULES ? &rules[i] : NULL;
}

int lrscale_find(const struct lrscale_rule **rule, const char *name)
{
    const char *names[N_RULES];
    int at;
    for (int i = 0; i < N_RULES; i++)
        names[i] = rules[i].name;
    TRY(names_find(&at, "scaling.rule: rule", name, names, N_RULES));
    *rule = &rules[at];
    return OK;
}

bool lrscale_is_adaptive(const char *optimizer)
{
    static const char *const plain[] = {"sgd", "sgd_hd", "lars"};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strcmp(optimizer, plain[i]) == 0)
            return false;
    return true;
}

/* ---- settings ---- */

/* What a rule maps, and how it is called. */
struct quantity {
    const char *name, *letter; /* "weight decay", "λ" */
    const struct lrscale_map *map;
    double base;
};
enum { N_QUANTITIES = 5 };

static const struct lrscale_map *lr_map(const struct lrscale_rule *r, const struct lrscale_job *j)
{
    return r->lr_plain != NULL && !j->adaptive ? r->lr_plain : r->lr;
}

static void quantities(struct quantity q[N_QUANTITIES], const struct lrscale_rule *r,
                       const struct optim_settings *s, const struct lrscale_job *j)
{
    q[0] = (struct quantity){"learning rate", "lr", lr_map(r, j), s->lr};
    q[1] = (struct quantity){"beta1", "β", r->beta, s->beta1};
    q[2] = (struct quantity){"beta2", "β", r->beta, s->beta2};
    q[3] = (struct quantity){"eps", "ε", r->eps, s->eps};
    q[4] = (struct quantity){"weight decay", "λ", r->decay, s->weight_decay};
}

static double value(const struct quantity *q, const struct lrscale_job *j)
{
    return q->map != NULL ? q->map->of(q->base, j) : q->base;
}

struct optim_settings lrscale_settings(const struct lrscale_rule *rule,
                                       const struct optim_settings *base,
                                       const struct lrscale_job *j)
{
    struct quantity q[N_QUANTITIES];
    quantities(q, rule, base, j);
    return (struct optim_settings){.lr = value(&q[0], j),
                                   .beta1 = value(&q[1], j),
                                   .beta2 = value(&q[2], j),
                                   .eps = value(&q[3], j),
                                   .momentum = base->momentum,
                                   .weight_decay = value(&q[4], j)};
}

/* ---- text ---- */

/* A formula's names and what stands for them. */
struct binding {
    const char *name;
    char text[32];
};

/* A name that has no binding stands for itself. */
static const char *bound(const struct binding *b, const char *name, size_t n)
{
    for (; b->name != NULL; b++)
        if (strlen(b->name) == n && memcmp(b->name, name, n) == 0)
            return b->text;
    return NULL;
}

static void add_formula(struct str *text, const char *formula, const struct binding *b)
{
    while (*formula != '\0') {
        size_t n = strcspn(formula, "{");
        str_addn(text, formula, n);
        formula += n;
        if (*formula == '\0')
            break;
        size_t len = strcspn(++formula, "}");
        const char *now = bound(b, formula, len);
        if (now != NULL)
            str_add(text, now);
        else
            str_addn(text, formula, len);
        formula += len + 1;
    }
}

static void add_values(struct str *text, const struct quantity *q, const char *format,
                       const struct lrscale_job *j)
{
    struct binding b[] = {{"x", ""}, {"κ", ""}, {"base", ""}, {"B", ""}, {"Bn", ""}, {NULL, ""}};
    snprintf(b[0].text, sizeof b[0].text, format, q->base);
    snprintf(b[1].text, sizeof b[1].text, "%.2f", kappa_of(j));
    snprintf(b[2].text, sizeof b[2].text, "%.15g", j->base);
    snprintf(b[3].text, sizeof b[3].text, "%.15g", j->batch);
    snprintf(b[4].text, sizeof b[4].text, "%.4g", j->noise_scale);
    add_formula(text, q->map->formula, b);
    if (q->map->of == same)
        return;
    str_add(text, " = ");
    str_addf(text, format, value(q, j));
}

void lrscale_derive(struct str *text, const struct lrscale_rule *rule,
                    const struct optim_settings *base, const struct lrscale_job *j)
{
    char head[32];
    struct quantity q[N_QUANTITIES];
    quantities(q, rule, base, j);
    str_addf(text, "learning rate   %.3e tuned at %.15g sequences\n", base->lr, j->base);
    str_addf(text, "this batch      %.15g sequences = %.2f × the base\n", j->batch, kappa_of(j));
    snprintf(head, sizeof head, "%s rule", rule->name);
    str_addf(text, "%-15s ", head);
    add_values(text, &q[0], "%.3e", j);
    str_addf(text, "   (%s)\n", rule->source);
    for (int i = 1; i < N_QUANTITIES; i++) {
        if (q[i].map == NULL || q[i].base == 0)
            continue;
        str_addf(text, "%-15s ", q[i].name);
        add_values(text, &q[i], "%.6g", j);
        str_add(text, "\n");
    }
}

void lrscale_formulas(struct str *text, const struct lrscale_rule *rule)
{
    static const struct optim_settings any;
    const struct lrscale_job adaptive = {.adaptive = true};
    struct quantity q[N_QUANTITIES];
    const char *between = "";
    quantities(q, rule, &any, &adaptive);
    for (int i = 0; i < N_QUANTITIES; i++) {
        struct binding b[] = {{"x", ""}, {NULL, ""}};
        if (q[i].map == NULL || (i > 0 && q[i].map == q[i - 1].map && q[i].map == rule->beta))
            continue;
        snprintf(b[0].text, sizeof b[0].text, "%s", q[i].letter);
        str_add(text, between);
        add_formula(text, q[i].map->formula, b);
        between = ", ";
    }
}

/* ---- regimes ---- */

/* An average that this optimizer takes and that the rule leaves none of. */
static bool loses(double beta, const struct lrscale_rule *rule, const struct lrscale_job *j)
{
    return j->adaptive && rule->beta != NULL && beta > 0 && rule->beta->of(beta, j) <= 0;
}

int lrscale_check(const struct lrscale_rule *rule, const struct optim_settings *base,
                  const struct lrscale_job *j)
{
    double beta = loses(base->beta1, rule, j) ? base->beta1 : base->beta2;
    if (rule->needs_noise_scale && j->noise_scale <= 0)
        return ERR(E_CONFIG,
                   "scaling.rule %s needs scaling.noise_scale, the gradient noise scale in "
                   "sequences that an earlier run measured; set it, or set scaling.rule=sqrt",
                   rule->name);
    if (loses(beta, rule, j))
        return ERR(E_CONFIG,
                   "scaling.rule %s: κ(1 - β) is %.3g with β %g at %.4g times scaling.base_batch, "
                   "and has to be below 1; set scaling.rule=half_life, or tune nearer to this "
                   "batch",
                   rule->name, kappa_of(j) * (1 - beta), beta, kappa_of(j));
    return OK;
}

static void warn_of_optimizer(struct str *lines, const struct lrscale_rule *rule,
                              const struct lrscale_job *j)
{
    if (rule->made_for == FOR_PLAIN && j->adaptive)
        str_addf(lines,
                 "scaling.rule %s overshoots for Adam and its like, whose best rate grows with the "
                 "root of the batch; set scaling.rule=sqrt or half_life\n",
                 rule->name);
    if (rule->made_for == FOR_ADAPTIVE && !j->adaptive)
        str_addf(lines,
                 "scaling.rule %s is for Adam and its like; for this optimizer set "
                 "scaling.rule=linear\n",
                 rule->name);
}

void lrscale_warn(struct str *lines, const struct lrscale_rule *rule,
                  const struct optim_settings *base, const struct lrscale_job *j)
{
    double beta1 = lrscale_settings(rule, base, j).beta1;
    if (kappa_of(j) != 1)
        warn_of_optimizer(lines, rule, j);
    if (rule->small_batch && j->noise_scale > 0 && j->batch > j->noise_scale)
        str_addf(lines,
                 "a batch of %.15g is above scaling.noise_scale (%.4g), where scaling.rule %s "
                 "gives too high a rate; set scaling.rule=surge or lower batch.global\n",
                 j->batch, j->noise_scale, rule->name);
    if (j->adaptive && rule->beta != NULL && beta1 > 0 && beta1 < LEAST_BETA1)
        str_addf(lines,
                 "scaling.rule %s makes beta1 %.3g at this batch, below %g: hardly an average; "
                 "lower batch.global or tune optimizer.lr nearer to it\n",
                 rule->name, beta1, LEAST_BETA1);
    if (rule->per_step && kappa_of(j) <= 1)
        str_addf(lines,
                 "scaling.rule %s does nothing at a batch of at most scaling.base_batch (%.15g)\n",
                 rule->name, j->base);
}

/* ---- AdaScale ---- */

double adascale_gain(double variance, double signal, double scale)
{
    double v = fmax(variance, 0), s = fmax(signal, 0);
    if (!(scale > 1) || !(v + s > 0))
        return 1;
    return fmin(fmax((v + s) / (v / scale + s), 1), scale);
}
