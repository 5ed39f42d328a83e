/* The products with weights, in single precision straight from the slab, in bfloat16 from packed
 * forms. Each matrix W[out,in] takes part in three: the forward product, the gradient of its input,
 * and its own gradient. Used by the passes; not for other layers. */
#ifndef CARAT_MODEL_LINEAR_H
#define CARAT_MODEL_LINEAR_H

#include "kern/gemm16.h"
#include "model/acts.h"
#include "model/tensors.h"

/* Tensors that lie together are one matrix. The embedding is the last layer's, tied. */
enum matrix { MATRIX_QKV, MATRIX_O, MATRIX_GATE_UP, MATRIX_DOWN, MATRIX_EMBED, N_MATRICES };

struct matrix_shape {
    size_t out, in;
    size_t ld; /* elements between rows of outputs, and the rows of a packed form */
};

/* Where packed forms lie, in bytes from their memory. */
struct forms {
    size_t at[N_MATRICES][N_FORMS];
    size_t layer_stride; /* of all matrices but the embedding */
    size_t bytes;
};

struct net;

struct matrix_shape linear_shape(const struct model_spec *s, enum matrix m);
/* The first tensor of a matrix; and the matrix of a tensor, N_MATRICES for norms. */
enum tensor_kind linear_tensor(enum matrix m);
enum matrix linear_matrix(enum tensor_kind k);
void forms_plan(struct forms *f, const struct model_spec *s);

/* y[N,out] = x[N,in] · Wᵀ. */
void linear_fwd(const struct net *n, enum matrix m, int layer, const float *params, struct rows y,
                struct rows x, size_t N);
/* dx[N,in] = dy[N,out] · W. */
void linear_bwd_input(const struct net *n, enum matrix m, int layer, const float *params,
                      struct rows dx, struct rows dy, size_t N);
/* W's place in grads = dyᵀ · x over N rows, added to what is there when add. Nothing for a matrix
 * that is frozen; products done. */
int linear_bwd_weight(const struct net *n, enum matrix m, int layer, float *grads, struct rows dy,
                      struct rows x, size_t N, bool add);

/* Packs a part of all weights into their forms: parts 0 … n_parts-1 make the whole. */
void linear_pack(const struct net *n, const float *params, int part, int n_parts);

#endif
