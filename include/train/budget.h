/* Memory that ranks and nodes will hold, part by part, before anything is allocated. `carat plan`,
 * the start banner and the trainer's own layout agree: all sizes come from the same functions. */
#ifndef CARAT_TRAIN_BUDGET_H
#define CARAT_TRAIN_BUDGET_H

#include "conf/config.h"
#include "model/spec.h"
#include "par/reduce.h"
#include "par/team.h"

enum { BUDGET_MAX_ROWS = 12 };

struct budget {
    int n;
    int ranks; /* of the fullest node */
    struct budget_row {
        const char *label; /* "optimizer state" */
        double bytes;      /* of a rank, or of a node */
        bool shared;       /* held once a node */
    } row[BUDGET_MAX_ROWS];
    double checkpoint_bytes; /* of one file: parameters and optimizer state */
};

/* For the rank that holds most, where the teams (t->rank does not matter) are the nodes. E_CONFIG
 * for an unknown optimizer, E_MEM. Local. */
int budget_of(struct budget *b, const struct config *c, const struct model_spec *s,
              const struct team *t);
/* A rank's own, and its part of what its node shares. */
double budget_total(const struct budget *b);
/* Of the fullest node. */
double budget_node(const struct budget *b);

/* How a job's gradients are summed, and whether a node holds parameters once. */
struct reduce_options budget_reduction(const struct config *c);
bool budget_shares_params(const struct config *c);

#endif
