/* Searches over the model's shape at equal FLOPs: each trial trains on as many tokens as make its
 * FLOPs those of the job's own model, with rates that are muP's, so that one learning rate serves
 * all widths. A model is widened by heads of the job's size: what the space leaves out of width,
 * heads, key/value heads and feed-forward width follows in proportion.
 * Source: Yang et al. 2021 (muP). */
#ifndef CARAT_STUDY_ARCH_H
#define CARAT_STUDY_ARCH_H

#include "conf/config.h"
#include "model/spec.h"
#include "study/space.h"

struct arch {
    struct config conf;
    struct model_spec spec; /* the job's */
    double flops;           /* of a token of it */
};

/* E_CONFIG without rates.mup_base where widths differ, with a space that varies no shape, and with
 * a budget in tokens, in which models do not compare; E_DATA. */
int arch_open(struct arch *a, const struct space *s, const struct config *job);
/* Adds what follows from the plan's shape: the sizes that depend on it, and train.tokens of a run
 * that takes run_tokens of the job's model; its milestones move as its length does. Whatever the
 * point, the sizes are whole. E_CONFIG, E_MEM. */
int arch_complete(const struct arch *a, const struct space *s, double run_tokens,
                  struct trial_plan *plan);

#endif
