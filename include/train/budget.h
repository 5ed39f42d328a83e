/* Memory that one rank will hold, part by part, before anything is allocated. `carat plan`, the
 * start banner and the trainer's own layout agree: all sizes come from the same functions. */
#ifndef CARAT_TRAIN_BUDGET_H
#define CARAT_TRAIN_BUDGET_H

#include "conf/config.h"
#include "model/spec.h"

enum { BUDGET_MAX_ROWS = 12 };

struct budget {
    int n;
    struct budget_row {
        const char *label; /* "optimizer state" */
        double bytes;
    } row[BUDGET_MAX_ROWS];
    double checkpoint_bytes; /* of one file: parameters and optimizer state */
};

/* For the rank that holds most of `ranks`. E_CONFIG for an unknown optimizer, E_MEM. Local. */
int budget_of(struct budget *b, const struct config *c, const struct model_spec *s, int ranks);
double budget_total(const struct budget *b);

#endif
