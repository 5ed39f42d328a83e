/* Scaling rules put to test: at each batch the rate is tuned by a grid that grows at its edges, and
 * each rule takes the best rate of the base batch there by its own formula. All trials train on the
 * same tokens; a rule holds at a batch where its loss is within study.harm of the tuned rate's.
 * Rules that change the rate alone are one more rate of the batch. */
#ifndef CARAT_STUDY_RULES_H
#define CARAT_STUDY_RULES_H

#include "base/str.h"
#include "conf/config.h"
#include "optim/lrscale.h"
#include "study/best_rate.h"
#include "study/planner.h"

enum { RULES_MOST_BATCHES = 32, RULES_MOST = 16 };

struct rules_setup {
    struct config conf;
    double batch[RULES_MOST_BATCHES]; /* rising, the base among them */
    const struct lrscale_rule *rule[RULES_MOST];
    int n_batches, n_rules;
    int base;          /* in batch: scaling.base_batch, or batch.global */
    double run_tokens; /* of each trial */
};

extern const struct planner PLANNER_RULES;

/* E_CONFIG naming the key. */
int rules_init(struct rules_setup *s, const struct config *job);

/* How many trials it takes: as far as can be told, and with grids that grow as far as they may. */
struct rules_facts {
    int n, n_most;
};
/* E_MEM; the numbers are there all the same. */
int rules_facts(struct rules_facts *f, const struct rules_setup *s, const struct history *h);

/* What the rule made of the base's rate at a batch. */
struct rules_cell {
    double lr;
    double loss;   /* NaN: has not ended, or failed; INFINITY: diverged */
    double excess; /* over the tuned loss */
    bool holds;
    bool impossible; /* the rule gives no settings there */
};

struct rules_batch {
    double batch;
    int n_trials, n_diverged;
    struct best_rate tuned; /* over all that differ in their rate alone */
    struct rules_cell cell[RULES_MOST];
};

/* From the base on, up and down, without a gap. */
struct rules_range {
    double low, high; /* batches; equal to the base where it holds nowhere else */
    int n;            /* batches beside the base */
    double excess;    /* mean, over those where it is known and finite */
};

struct rules_result {
    const struct rules_setup *setup;
    struct rules_batch batch[RULES_MOST_BATCHES];
    struct rules_range range[RULES_MOST];
    double exponent; /* x in lr* ~ B^x, over batches whose best rate lies within its grid; NaN */
    bool complete;   /* all trials have ended */
    int best;        /* the rule that holds widest; -1: none holds beside the base */
};
/* E_MEM. Pure. */
int rules_judge(struct rules_result *r, const struct rules_setup *s, const struct history *h);
/* Adds the table and what it says, in a sentence. */
void rules_show(struct str *text, const struct rules_result *r);

#endif
