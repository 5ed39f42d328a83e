/* What a step measures beside its loss: norms of the gradient by layer, the size of the update
 * against the weights, and the greatest attention logit. The same bits on any number of ranks.
 *
 * The update is seen from outside: some blocks of the weights are kept before it and compared after
 * it. All of them in small models; of larger ones blocks at equal distances, so that the ratio is
 * an estimate there. */
#ifndef CARAT_TRAIN_VITALS_H
#define CARAT_TRAIN_VITALS_H

#include "model/tensors.h"
#include "par/squares.h"

struct vitals {
    int n_groups; /* the embedding, the layers, the final norm */
    struct shard shard;
    struct squares by;
    struct squares_of *part;
    struct exactsum *sum; /* [3][n_groups]: gradient, change, weights */
    int64_t *packed;      /* the same on its way */
    size_t stride;        /* one block in so many is kept */
    float *kept;          /* this rank's, one after the other */
    const float *params;  /* the slab, during vitals_before and vitals_after */
    double *by_layer;     /* [n_groups][L_N]: of the last step */
    double update_ratio;  /* of all weights; NaN where not measured, as are the others */
    double most_logit;    /* in a step: this rank's; after it, of all */
};

/* The shard says whose pieces this rank looks at (copied). E_MEM. */
int vitals_init(struct vitals *v, const struct tensor_table *t, const struct shard *s);
void vitals_release(struct vitals *v);
/* Bytes that vitals_init holds. */
size_t vitals_bytes(const struct tensor_table *t, const struct shard *s);

/* Where the reducer puts the gradient's squares: [n_groups]. */
struct exactsum *vitals_gradient(struct vitals *v);
/* A step begins. Local. */
void vitals_begin(struct vitals *v);
/* Before and after the update of the slab. Local. */
void vitals_before(struct vitals *v, const float *params);
void vitals_after(struct vitals *v, const float *params);
/* The step is not measured: what this rank has is forgotten. Local. */
void vitals_leave(struct vitals *v);
/* Sums up over the ranks; the gradients are sums over so many targets. updated: vitals_after was
 * called. Collective. E_RANK. */
int vitals_conclude(struct vitals *v, const struct comm *c, double targets, bool updated);

#endif
