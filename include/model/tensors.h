/* The tensors of a model: one row each, in the order in which they lie in the slab.
 *
 * Parameters, gradients and optimizer state are slabs of n_elems floats with the same layout.
 * Query, key and value weights follow each other without a gap, so do gate and up: each is one
 * product. */
#ifndef CARAT_MODEL_TENSORS_H
#define CARAT_MODEL_TENSORS_H

#include "model/spec.h"

enum tensor_kind {
    TENSOR_EMBED,
    TENSOR_INPUT_NORM,
    TENSOR_Q,
    TENSOR_K,
    TENSOR_V,
    TENSOR_Q_NORM,
    TENSOR_K_NORM,
    TENSOR_O,
    TENSOR_POST_ATTN_NORM,
    TENSOR_PRE_FFN_NORM,
    TENSOR_GATE,
    TENSOR_UP,
    TENSOR_DOWN,
    TENSOR_POST_FFN_NORM,
    TENSOR_FINAL_NORM,
    TENSOR_N_KINDS
};

struct tensor {
    char name[80]; /* Hugging Face's: "model.layers.0.mlp.up_proj.weight" */
    enum tensor_kind kind;
    int layer; /* -1: embedding and final norm */
    int n_dims;
    size_t dims[2];   /* [out,in] row-major, or [d] */
    size_t offset, n; /* place in the slab and count, in floats */
    bool decay;       /* weight decay applies (matrices) */
    bool frozen;      /* not trained: its gradient is zero */
};

struct tensor_table {
    struct tensor *row;
    int n;
    size_t n_elems;  /* of a slab: the end of the last tensor (groups are aligned to 16 floats;
                        gaps are zero and stay zero) */
    size_t n_params; /* without gaps */
};

/* Rows that the table of a spec has. */
size_t tensors_count(const struct model_spec *s);
/* Builds the table; release with tensors_release. E_MEM. */
int tensors_init(struct tensor_table *t, const struct model_spec *s);
void tensors_release(struct tensor_table *t);
/* Row of a kind in a layer (-1 for embedding and final norm), and by name; NULL where there is
 * none. Every layer has the same kinds at the same distances. */
const struct tensor *tensors_get(const struct tensor_table *t, enum tensor_kind kind, int layer);
const struct tensor *tensors_find(const struct tensor_table *t, const char *name);
/* Fills the slab with the initial values: matrices N(0, std²), the embedding N(0, std²), norms 0.
 * A value depends on (seed, row, index in the row's tensor) alone. std of o_proj and down_proj is
 * divided by sqrt(2L), and with muP that of all matrices in layers by sqrt(width / mup_base). */
void tensors_init_values(const struct tensor_table *t, const struct model_spec *s, uint64_t seed,
                         float *slab);

#endif
