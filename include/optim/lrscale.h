/* Batch-size scaling: from the settings tuned at a base batch to those of another batch. A rule is
 * a table row, made of maps: each takes one quantity from the base to the batch, kappa times as
 * large. The rate follows the global batch, never the number of ranks.
 * Sources: Goyal et al. 2017 (linear); Krizhevsky 2014, Malladi et al. 2022 (square root); Wang &
 * Aitchison 2024 (decay); Marek et al. 2025 (half-life); Li et al. 2024, for SGD McCandlish et al.
 * 2018 (surge); Johnson et al. 2020 (AdaScale). */
#ifndef CARAT_OPTIM_LRSCALE_H
#define CARAT_OPTIM_LRSCALE_H

#include "base/str.h"
#include "optim/settings.h"

#include <stdbool.h>

/* From where to where; batches in sequences. */
struct lrscale_job {
    double base, batch;
    double noise_scale; /* gradient noise scale in sequences; 0: not known */
    bool adaptive;      /* the optimizer divides by the gradient's size, as Adam does */
};

struct lrscale_map {
    double (*of)(double x, const struct lrscale_job *j);
    /* "{x} · sqrt({κ})": the derivation puts values in for {x}, {κ}, {base}, {B} and {Bn}. */
    const char *formula;
};

struct lrscale_rule {
    const char *name; /* "sqrt" */
    const struct lrscale_map *lr;
    const struct lrscale_map *lr_plain; /* where it is another for SGD and its like, or NULL */
    const struct lrscale_map *beta;     /* of beta1 and beta2; NULL: unchanged, as the next two */
    const struct lrscale_map *eps;
    const struct lrscale_map *decay;
    bool small_batch;       /* holds while the batch is well below the noise scale */
    bool needs_noise_scale; /* known beforehand */
    bool per_step;          /* each step's gain multiplies the rate: adascale_gain */
    enum { FOR_ANY, FOR_PLAIN, FOR_ADAPTIVE } made_for;
    const char *source, *note;
};

int lrscale_find(const struct lrscale_rule **rule, const char *name); /* E_CONFIG, suggestion */
const struct lrscale_rule *lrscale_row(int i);

/* Whether an optimizer divides by the gradient's size: all do but SGD and its relatives. */
bool lrscale_is_adaptive(const char *optimizer);

/* The settings at j->batch, from those at j->base. */
struct optim_settings lrscale_settings(const struct lrscale_rule *rule,
                                       const struct optim_settings *base,
                                       const struct lrscale_job *j);
/* Adds how each changed setting comes about, a line each. */
void lrscale_derive(struct str *text, const struct lrscale_rule *rule,
                    const struct optim_settings *base, const struct lrscale_job *j);
/* Adds the rule's formulas, of Adam: "lr · sqrt(κ), β^κ". */
void lrscale_formulas(struct str *text, const struct lrscale_rule *rule);
/* E_CONFIG where the rule gives no settings at all: it needs a noise scale, or an average's decay
 * would be 0 or less. */
int lrscale_check(const struct lrscale_rule *rule, const struct optim_settings *base,
                  const struct lrscale_job *j);
/* Adds a line for each way in which the rule is outside what it was made for. */
void lrscale_warn(struct str *lines, const struct lrscale_rule *rule,
                  const struct optim_settings *base, const struct lrscale_job *j);

/* AdaScale's gain of a batch that is `scale` times the base batch, from 1 (no noise) to scale (all
 * noise): the progress of one step in steps at the base batch. variance: of the gradient of a base
 * batch, all elements together; signal: squared norm of the true gradient. Estimates may be
 * negative. Source: Johnson et al. 2020, section 3, eq. 1. */
double adascale_gain(double variance, double signal, double scale);

#endif
