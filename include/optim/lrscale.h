/* Batch-size scaling of the learning rate: from the rate tuned at a base batch to this batch.
 * A rule is a table row. Source: Goyal et al. 2017 (linear); Krizhevsky 2014, Malladi et al. 2022
 * (square root). */
#ifndef CARAT_OPTIM_LRSCALE_H
#define CARAT_OPTIM_LRSCALE_H

#include "base/str.h"

struct lrscale_rule {
    const char *name;               /* "sqrt" */
    double (*factor)(double kappa); /* rate multiplier for a batch kappa times the base */
    const char *formula;            /* "lr · sqrt(κ)" */
    const char *note;
};

int lrscale_find(const struct lrscale_rule **rule, const char *name); /* E_CONFIG, suggestion */
const struct lrscale_rule *lrscale_row(int i);

/* The peak rate for `batch` sequences when `lr` was tuned at `base_batch`; the derivation, line by
 * line, is added to *text when that is not NULL. */
double lrscale_peak(const struct lrscale_rule *rule, double lr, double base_batch, double batch,
                    struct str *text);

#endif
