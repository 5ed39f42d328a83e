/* What the passes over one model share: its spec, where its tensors lie in a slab, and the working
 * memory. Used by the model and by generation; not for other layers. */
#ifndef CARAT_MODEL_NET_H
#define CARAT_MODEL_NET_H

#include "base/prof.h"
#include "kern/softmax_ce.h"
#include "model/acts.h"
#include "model/linear.h"
#include "model/tensors.h"

struct net {
    struct model_spec spec;
    struct acts acts;
    struct tensor_table table;
    size_t at[TENSOR_N_KINDS]; /* a kind's offset in the slab, in layer 0 */
    size_t layer_stride;       /* floats from layer to layer in the slab */
    struct prof *prof;         /* borrowed; NULL: nothing is measured */
    float *most_logit;         /* attention's greatest score in a pass; the model's */
    /* With bfloat16 products: the library's part, and the packed weights. */
    struct gemm16 *products;
    struct forms forms;
    char *packed;
    bool owns_packed;
    /* Of training. */
    struct ce_terms also;
    double dropout;
    uint64_t dropout_seed;
    size_t lowest;                               /* offset of the lowest tensor that is trained */
    bool untrained[N_MATRICES][SPEC_MAX_LAYERS]; /* matrices that are frozen as a whole */
};

/* Checks the spec and takes a copy. E_CONFIG, E_MEM. */
int net_init(struct net *n, const struct model_spec *s, const struct act_plan *p);
void net_release(struct net *n);
/* Bytes that net_init would hold. */
size_t net_bytes(const struct model_spec *s, const struct act_plan *p);

/* Offset of a kind in a layer (0 for embedding and final norm). */
static inline size_t net_at(const struct net *n, enum tensor_kind kind, int layer)
{
    return n->at[kind] + (size_t)layer * n->layer_stride;
}

/* Whether the backward pass has to come as far down as a kind in a layer: it goes through tensors
 * in the order in which they lie in the slab, from its end. */
static inline bool net_reaches(const struct net *n, enum tensor_kind kind, int layer)
{
    return n->lowest <= net_at(n, kind, layer);
}

/* Marks what is frozen, by the table's rows; NULL: nothing. */
void net_set_frozen(struct net *n, const bool *frozen);

#endif
