/* What the passes over one model share: its spec, where its tensors lie in a slab, and the working
 * memory. Used by the model and by generation; not for other layers. */
#ifndef CARAT_MODEL_NET_H
#define CARAT_MODEL_NET_H

#include "base/prof.h"
#include "model/acts.h"
#include "model/tensors.h"

struct net {
    struct model_spec spec;
    struct acts acts;
    struct tensor_table table;
    size_t at[TENSOR_N_KINDS]; /* a kind's offset in the slab, in layer 0 */
    size_t layer_stride;       /* floats from layer to layer in the slab */
    struct prof *prof;         /* borrowed; NULL: nothing is measured */
};

/* Checks the spec and takes a copy. n_rows: positions in all; T: the longest sequence.
 * E_CONFIG, E_MEM. */
int net_init(struct net *n, const struct model_spec *s, size_t n_rows, size_t T, enum act_use use);
void net_release(struct net *n);
/* Bytes that net_init would hold. */
size_t net_bytes(const struct model_spec *s, size_t n_rows, size_t T, enum act_use use);

/* Offset of a kind in a layer (0 for embedding and final norm). */
static inline size_t net_at(const struct net *n, enum tensor_kind kind, int layer)
{
    return n->at[kind] + (size_t)layer * n->layer_stride;
}

/* Charges the time since the last lap to products of rows·cols·k multiply-adds each, or to passes
 * over so many floats. */
void net_lap_products(const struct net *n, enum prof_phase phase, int n_products, size_t rows,
                      size_t cols, size_t k);
void net_lap_pass(const struct net *n, enum prof_phase phase, size_t floats);

#endif
