/* The model's forward and backward pass over slabs that the caller owns. Knows nothing of MPI. */
#ifndef CARAT_MODEL_MODEL_H
#define CARAT_MODEL_MODEL_H

#include "base/mem.h"
#include "base/prof.h"
#include "kern/softmax_ce.h"
#include "model/acts.h"
#include "model/tensors.h"

/* What one pass reads; all borrowed. B·T positions, row-major. */
struct batch_view {
    int B, T;
    const int32_t *token;  /* [B,T] inputs, 0 … V-1 */
    const int32_t *target; /* [B,T] next tokens */
    const float *weight;   /* [B,T] 1 where the target's loss counts, else 0; NULL: all 1 */
    const int32_t *start;  /* [B,T] first position that (b,t) may attend to; NULL: 0 */
    uint64_t first; /* the first sequence's place in the training order: dropout draws by it */
};

/* What a pass yields: sums over its counted targets, so that they add up over micro-batches. */
struct pass_result {
    double loss_sum;   /* nats */
    double n_targets;  /* counted targets (sum of weights) */
    double n_correct;  /* counted targets that had the greatest logit */
    double most_logit; /* the greatest of attention's scores, cap included; not a sum */
};

struct model;

/* What a model is made for. */
struct model_options {
    bool training;            /* keeps what the backward pass needs */
    enum dtype products;      /* BF16: products read bfloat16 and sum in single precision */
    enum recompute recompute; /* of what is not kept */
    struct ce_terms also;     /* what gradients are of beside the loss */
    double dropout;           /* in gradients' passes: share of what blocks add to the stream */
    uint64_t seed;            /* of dropout */
};

/* A pass's working memory for at most B×T positions. Takes a copy of the spec. E_MEM; E_CONFIG,
 * also where products in BF16 lack a library or a CPU for them. */
int model_new(struct model **m, const struct model_spec *s, int B, int T,
              const struct model_options *o);
void model_free(struct model *m);
/* Bytes that model_new would hold, the slabs and packed weights not included: for plans. Exact;
 * SIZE_MAX where model_new refuses the batch. */
size_t model_bytes(const struct model_spec *s, int B, int T, const struct model_options *o);

/* Products in BF16 read weights from packed forms of so many bytes; 0 in F32, and the calls below
 * then do nothing. */
size_t model_forms_bytes(const struct model_spec *s, enum dtype products);
/* Gives the memory for them: zeroed, aligned to MEM_ALIGN, borrowed, and maybe shared with other
 * processes; NULL: the model takes its own. Before the first pass. E_MEM. */
int model_set_forms(struct model *m, void *memory);
/* Packs a part of the parameters: parts 0 … n_parts-1 make the whole, in any order, and in several
 * processes where they share the memory. To be done after every change of the parameters, before
 * the next pass. Charges PROF_PACK. Local. */
void model_pack(struct model *m, const float *params, int part, int n_parts);

/* Passes charge their time to the phases of a running stopwatch, up to each call of a
 * grad_ready_fn. Borrowed; NULL, as at first: nothing is measured. */
void model_set_prof(struct model *m, struct prof *p);
const struct model_spec *model_get_spec(const struct model *m);
const struct tensor_table *model_tensors(const struct model *m);

/* Tensors (in the table's order) whose gradients are not wanted: they become zero, and neither
 * their products nor the backward pass below the lowest of the others is computed. The others'
 * gradients keep their bits. NULL: none, as at first. */
void model_set_frozen(struct model *m, const bool *frozen);

/* Loss without gradients. token_loss[B,T] (not weighted) is filled when not NULL. Local. */
void model_loss(struct model *m, const float *params, const struct batch_view *b,
                struct pass_result *out, float *token_loss);

/* Called when grads[first … first+n-1] of this pass are final; in order from the slab's end to its
 * beginning without overlap, covering all n_elems. */
typedef void (*grad_ready_fn)(void *ctx, size_t first, size_t n);

/* Loss and gradients of the SUM of weighted token losses (not their mean) and of what the options
 * add to them: grads[n_elems] is overwritten. The loss in *out is the cross-entropy alone, with
 * dropout. ready may be NULL. Allocates nothing. Local. */
void model_grad(struct model *m, const float *params, const struct batch_view *b, float *grads,
                struct pass_result *out, grad_ready_fn ready, void *ctx);

/* Logits, final soft cap included: logits[B,T,V]. For tests and small evaluations. Local. */
void model_logits(struct model *m, const float *params, const struct batch_view *b, float *logits);

#endif
