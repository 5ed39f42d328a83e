/* The trials of a test of scaling rules, in the order of their numbers. */
#ifndef CARAT_STUDY_RULES_CELLS_H
#define CARAT_STUDY_RULES_CELLS_H

#include "study/rules.h"

struct rules_trial {
    double batch, lr; /* lr: at scaling.base_batch where the rule is none of the rate alone */
    const struct lrscale_rule *rule; /* NULL: this rate as it is */
};
struct rules_list {
    struct rules_trial *trial; /* mem_free */
    int n, room;
    double base_lr; /* the base batch's best rate; NaN: not known */
    bool complete;  /* there will be no more */
};

/* The trials that follow from those that have ended, stage by stage: a stage begins once all before
 * it have ended, so that their order does not depend on which is fast. E_MEM. */
int rules_lay_out(struct rules_list *l, const struct rules_setup *s, const struct history *h);
/* The rule's settings at the batch, from the base's best rate; false: it gives none. */
bool rules_settings(struct optim_settings *out, const struct rules_setup *s,
                    const struct lrscale_rule *rule, double base_lr, double batch);
/* The rule changes the rate and nothing else. */
bool rules_rate_alone(const struct lrscale_rule *rule);
/* The trial of a rate (rule NULL), or of a rule, at a batch; -1: none. */
int rules_find(const struct rules_list *l, const struct lrscale_rule *rule, double batch,
               double lr);
/* A trial's loss at its end: NaN, where it has none, or failed; INFINITY: diverged. */
double rules_loss(const struct history *h, int i);
/* Rates and losses of the batch's trials that have ended, of rates as they are; into x[list.n]. */
int rules_scores(struct rate_score *x, const struct rules_list *l, const struct history *h,
                 double batch);

#endif
